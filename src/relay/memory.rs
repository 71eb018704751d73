//! What a remote side makes the relay remember: routes, sessions and requests that wait for their
//! answers. All of it and what is queued count against one total, with a share for each connection
//! (SEC-06, SEC-07). Costs are what the tables and the allocator take, measured, not what shows.

use std::time::Instant;

use super::Relay;
use super::command::Refusal;
use super::connection::Connection;
use super::flow::Flow;
use super::keys::{ConnectionKey, RouteKey};
use super::limits::FLUSH_OCTETS;
use super::route::Route;
use super::session::{Holder, Session};
use super::transaction::Transaction;

/// A route, its flow and its way, besides the To-Path that it keeps four times.
const ROUTE_OCTETS: usize = 3072;
/// A session, besides its paths and names.
const SESSION_OCTETS: usize = 1024;
/// A request that waits for its answer, besides its head.
const TRANSACTION_OCTETS: usize = 1024;
/// A connection that holds less than this is not the one that fills the memory: it goes on also
/// when the total is reached.
const FAIR_OCTETS: usize = 16_384;

/// Entries that a queue keeps room for.
const KEPT: usize = 256;

/// Routes that end in one go. The rest of a connection's ends in the next ones, so that others wait
/// for no more than that.
pub(super) const ROUTES_AT_ONCE: usize = 512;

impl Route {
    pub fn memory(&self) -> usize {
        ROUTE_OCTETS + 4 * self.to_path.len()
    }
}

impl Session {
    pub fn memory(&self) -> usize {
        SESSION_OCTETS
            + self.use_path.len()
            + self.leads_to.len()
            + self.user.len()
            + self.realm.len()
    }
}

impl Transaction {
    pub fn memory(&self) -> usize {
        TRANSACTION_OCTETS + self.kind.octets()
    }
}

impl Relay {
    /// What this shard remembers, and what is queued.
    pub fn remembered(&self) -> usize {
        self.remembered + self.outstanding + self.transactions.octets()
    }

    /// The shard's part of the total is in use.
    pub(super) fn is_memory_full(&self) -> bool {
        let total = self.settings.limits.remembered_octets_total;
        self.remembered() >= total / usize::from(self.workers)
    }

    /// What the connection may hold is in use, or the total, and not by others alone. A verified
    /// relay has no share: it carries many.
    fn is_beyond_share(&self, connection: &Connection, holds: usize) -> bool {
        let share = self.settings.limits.remembered_octets_per_connection;
        (holds > share && connection.verified.is_none())
            || (self.is_memory_full() && holds > FAIR_OCTETS)
    }

    /// Whether the connection may make us remember so much more.
    pub(super) fn has_memory(&self, key: ConnectionKey, octets: usize) -> bool {
        self.connections.get(key).is_some_and(|connection| {
            !self.is_beyond_share(connection, connection.remembered + octets)
        })
    }

    /// Whether a chunk of this connection may begin, as far as the total goes.
    pub(super) fn has_memory_for_chunk(&self, key: ConnectionKey) -> bool {
        !self.is_memory_full()
            || self.connections.get(key).is_some_and(|connection| {
                connection.remembered + connection.outstanding <= FAIR_OCTETS
            })
    }

    /// Whether as much waits for answers of this connection as may.
    pub(super) fn is_beyond_answers(&self, flow: &Flow) -> bool {
        let waits = self.transactions.octets_of(flow.connection);
        let connection = self.connections.get(flow.connection);
        waits > FAIR_OCTETS
            && connection.is_some_and(|connection| self.is_beyond_share(connection, waits))
    }

    pub(super) fn remember(&mut self, key: ConnectionKey, octets: usize) {
        self.remembered += octets;
        if let Some(connection) = self.connections.get_mut(key) {
            connection.remembered += octets;
        }
    }

    pub(super) fn forget(&mut self, key: ConnectionKey, octets: usize) {
        self.remembered -= octets;
        if let Some(connection) = self.connections.get_mut(key) {
            connection.remembered -= octets;
        }
    }

    /// A relay's session outlives its connections: it counts against the total alone.
    pub(super) fn remember_session(&mut self, holder: &Holder, octets: usize) {
        match holder {
            Holder::Client(key) => self.remember(*key, octets),
            Holder::Relay(_) => self.remembered += octets,
        }
    }

    pub(super) fn forget_session(&mut self, holder: &Holder, octets: usize) {
        match holder {
            Holder::Client(key) => self.forget(*key, octets),
            Holder::Relay(_) => self.remembered -= octets,
        }
    }

    /// Room for one more route: the connection's own that nothing is on its way by go first, those
    /// unused for longest. They are found again by asking anew.
    pub(super) fn make_room_for_route(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        route: &Route,
    ) -> Result<(), Refusal> {
        let bound = self.settings.limits.routes_per_connection;
        let connection = self.connections.get(key).ok_or(Refusal::NO_SESSION)?;
        let routes = connection.count_routes();
        let many = routes >= bound;
        if !many && self.has_memory(key, route.memory()) {
            return Ok(());
        }
        let mut idle: Vec<(Instant, RouteKey)> = connection
            .all_routes()
            .filter_map(|key| {
                self.routes
                    .get(key)
                    .filter(|route| route.is_idle())
                    .map(|route| (route.used, key))
            })
            .collect();
        idle.sort_unstable();
        idle.truncate((routes / 4 + 1).min(ROUTES_AT_ONCE));
        let freed = !idle.is_empty();
        for (_, route) in idle {
            self.drop_route(now, route);
        }
        match freed {
            false if many => Err(Refusal::STOP),
            _ if self.has_memory(key, route.memory()) => Ok(()),
            _ => Err(Refusal::MEMORY),
        }
    }

    /// Gives back what an onslaught has made large and nothing uses now. To be called now and then,
    /// when there is nothing else to do.
    pub fn give_back_memory(&mut self) {
        self.connections.give_back();
        self.routes.give_back();
        self.flows.give_back();
        self.pending_auths.give_back();
        self.sessions.give_back();
        self.transactions.give_back();
        self.custodies.give_back();
        self.probation.shrink_to(KEPT);
        self.commands.shrink_to(KEPT);
        self.ups.shrink_to(KEPT);
        self.settling.shrink_to(KEPT);
        self.scratch.shrink_to(FLUSH_OCTETS);
    }

    /// Ends some routes of connections that have gone. There may be more.
    pub(super) fn end_orphans(&mut self, now: Instant) {
        for _ in 0..ROUTES_AT_ONCE {
            let Some(route) = self.orphans.pop() else {
                break;
            };
            self.drop_route(now, route);
        }
        if self.orphans.is_empty() {
            self.orphans.shrink_to(ROUTES_AT_ONCE);
        }
    }
}

impl Relay {
    /// Panics unless a count of all comes to the same.
    pub(super) fn assert_remembered(&self) {
        let routes = self.routes.iter().map(|(_, route)| route.memory());
        let sessions = self.sessions.iter().map(Session::memory);
        let counted: usize = routes.chain(sessions).sum();
        assert_eq!(counted, self.remembered, "octets remembered");
        let transactions: usize = self.transactions.iter().map(Transaction::memory).sum();
        assert_eq!(transactions, self.transactions.octets(), "of transactions");
        for (key, connection) in self.connections.iter() {
            let routes = self.routes.iter().map(|(_, route)| route);
            let routes = routes
                .filter(|route| route.source == key)
                .map(Route::memory);
            let held = |session: &&Session| session.holder == Holder::Client(key);
            let sessions = self.sessions.iter().filter(held).map(Session::memory);
            let counted: usize = routes.chain(sessions).sum();
            assert_eq!(counted, connection.remembered, "octets of {key:?}");
        }
    }
}
