//! What a remote side makes the relay remember: routes, sessions and requests that wait for their
//! answers. All of it and what is queued count against one total, with a share for each connection
//! (SEC-06, SEC-07). Costs are what the tables and the allocator take, measured, not what shows.

use std::collections::HashMap;
use std::time::Instant;

use super::Relay;
use super::auth_request::{AuthStep, PendingAuth};
use super::claims::{ClaimedUri, Standing};
use super::command::Refusal;
use super::connection::Connection;
use super::custody::Covered;
use super::flow::Flow;
use super::handoff::Hop;
use super::holders::{FAIR_OCTETS, Party, Rank};
use super::keys::{ConnectionKey, PendingAuthKey, RouteKey};
use super::limits::FLUSH_OCTETS;
use super::route::Route;
use super::session::{Holder, Session};
use super::transaction::{Kind, Transaction};
use crate::wire::{Authority, Host};

/// A route, its flow and its way, with all messages begun that it remembers, besides the To-Path that it keeps four times.
const ROUTE_OCTETS: usize = 3584;
/// Messages refused that a route remembers, once there was one.
const REFUSED_OCTETS: usize = 2048;
/// A session, besides its paths and names.
const SESSION_OCTETS: usize = 1024;
/// A request that waits for its answer, besides its head.
const TRANSACTION_OCTETS: usize = 1024;
/// Each chunk that waits for the same answer, besides the first.
const CHUNK_OCTETS: usize = 256;
/// An AUTH that waits for another shard or a database, with names and proof, besides its head.
const PENDING_OCTETS: usize = 1536;
/// A URI that is claimed under a token, besides its text.
const CLAIM_OCTETS: usize = 256;
/// What a connection remembers of each claim.
pub(super) const CLAIMED_OCTETS: usize = 128;
/// A connection that is being opened, in the table and in its queue, besides the next hop's name.
const DIAL_OCTETS: usize = 3072;
/// A next hop that a connection leads to: its name three times, for all shards may keep it.
const HOP_OCTETS: usize = 512;
/// Relays that have refused credentials of a connection, once one has.
const CHAINS_OCTETS: usize = 8192;
/// An entry of a table with a bound of its own, besides the name in it.
const ENTRY_OCTETS: usize = 192;
/// A nonce, and a count of failed AUTHs.
const NONCE_OCTETS: usize = 96;
const GUESS_OCTETS: usize = 96;

/// A connection that goes on as it should has less than this in its decoder, and less in responses and
/// REPORTs: those count in steps.
const WAITING_STEP: usize = 4096;

pub(super) fn waiting_steps(octets: usize) -> usize {
    octets - octets % WAITING_STEP
}

/// Entries that a queue keeps room for.
const KEPT: usize = 256;

/// Idle routes that make room in one go.
const ROUTES_AT_ONCE: usize = 512;

impl Authority {
    fn memory(&self) -> usize {
        let host = match &self.host {
            Host::Name(name) => name.len(),
            Host::Ip(_) => 0,
        };
        host + self.transport.len()
    }
}

/// A next hop in a table with a bound of its own.
pub(super) fn hop_entry(hop: &Hop) -> usize {
    ENTRY_OCTETS + hop.authority().memory()
}

/// A host in such a table.
pub(super) fn host_entry(host: &Host) -> usize {
    ENTRY_OCTETS
        + match host {
            Host::Name(name) => name.len(),
            Host::Ip(_) => 0,
        }
}

impl Route {
    pub fn memory(&self) -> usize {
        let gives = self.gives.as_ref().map_or(0, |gives| gives.memory());
        let refused = if self.has_refused() {
            REFUSED_OCTETS
        } else {
            0
        };
        ROUTE_OCTETS + 4 * self.to_path.len() + gives + refused + self.kept_heads
    }
}

impl Standing {
    fn memory(&self) -> usize {
        match self {
            Self::Relay(hop) => hop_entry(hop),
            Self::Claim(_, uri) => uri.memory(),
        }
    }
}

impl ClaimedUri {
    pub fn memory(&self) -> usize {
        CLAIM_OCTETS + self.text_octets()
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
        let further = match &self.kind {
            Kind::Send(piece) => further_chunks(&piece.covered),
            Kind::Other(_) => 0,
        };
        TRANSACTION_OCTETS + self.kind.octets() + further
    }
}

/// What the chunks besides the first cost that wait for one answer.
pub(super) fn further_chunks(covered: &Covered) -> usize {
    covered.len().saturating_sub(1) * CHUNK_OCTETS
}

impl PendingAuth {
    pub fn memory(&self) -> usize {
        PENDING_OCTETS + self.head.memory()
    }
}

impl Connection {
    /// What it keeps itself, besides what every connection does.
    fn own_memory(&self) -> usize {
        let hops = self
            .hops
            .iter()
            .map(|hop| HOP_OCTETS + 3 * hop.authority().memory());
        let names = self.verified.iter().flat_map(|names| &names.names);
        let names = names.map(|name| name.len() + ENTRY_OCTETS);
        let dial = if self.dialled.is_some() {
            DIAL_OCTETS
        } else {
            0
        };
        let chains = if self.failed_chains.is_some() {
            CHAINS_OCTETS
        } else {
            0
        };
        let claims = self.claims.len() * CLAIMED_OCTETS;
        hops.chain(names).sum::<usize>() + dial + chains + claims + self.undecoded + self.control
    }
}

impl Relay {
    /// What this shard remembers, and what is queued.
    #[inline]
    pub fn remembered(&self) -> usize {
        self.remembered + self.outstanding + self.transactions.octets()
    }

    /// What connections and sessions do not account for: tables with a bound of their own, whose
    /// entries end with time.
    pub fn remembered_in_tables(&self) -> usize {
        self.tables
    }

    /// What the connection may hold is in use, or memory is short and it has its part of it. A
    /// relay has no share: it carries many.
    fn may_hold(&self, connection: &Connection, octets: usize, rank: Rank) -> bool {
        let share = self.settings.limits.remembered_octets_per_connection;
        if connection.remembered + octets > share && !connection.speaks_for_many() {
            return false;
        }
        if self.remembered() + octets <= self.memory_steps.free {
            return true;
        }
        let held = self.holders.octets(connection.party) + connection.outstanding;
        self.has_room_for(rank.max(connection.party.rank), octets, held + octets)
    }

    /// Whether the connection may make us remember so much more.
    pub(super) fn has_memory(&self, key: ConnectionKey, octets: usize) -> bool {
        self.connections
            .get(key)
            .is_some_and(|connection| self.may_hold(connection, octets, Rank::Stranger))
    }

    /// The same for a request that is about to prove who sends it: it is short, and is over soon.
    pub(super) fn has_memory_for_proof(&self, key: ConnectionKey, octets: usize) -> bool {
        self.connections
            .get(key)
            .is_some_and(|connection| self.may_hold(connection, octets, Rank::User))
    }

    /// Whether a user, or a relay for one, who has proved it may have a session of so many octets.
    pub(super) fn has_memory_for_session(&self, key: ConnectionKey, session: &Session) -> bool {
        let octets = session.memory();
        let Some(connection) = self.connections.get(key) else {
            return false;
        };
        let party = match &session.holder {
            Holder::Relay(name) => self.party_of_relay(name),
            Holder::Client(_) => Party::user(&self.hash_key, &session.user, &session.realm),
        };
        let share = self.settings.limits.remembered_octets_per_connection;
        (party.rank == Rank::Relay || connection.remembered + octets <= share)
            && self.has_room_for(party.rank, octets, self.holders.octets(party) + octets)
    }

    /// Whether a chunk of this connection may begin, as far as the total goes.
    pub(super) fn has_memory_for_chunk(&self, key: ConnectionKey) -> bool {
        !self.is_memory_short() || self.has_memory(key, 0)
    }

    /// Whether as much waits for answers of this connection as may.
    pub(super) fn is_beyond_answers(&self, flow: &Flow) -> bool {
        let waits = self.transactions.octets_of(flow.connection);
        if waits <= FAIR_OCTETS {
            return false;
        }
        let Some(connection) = self.connections.get(flow.connection) else {
            return false;
        };
        let share = self.settings.limits.remembered_octets_per_connection;
        let rank = connection.party.rank;
        (waits > share && !connection.speaks_for_many()) || !self.has_room_for(rank, 0, waits)
    }

    pub(super) fn remember(&mut self, key: ConnectionKey, octets: usize) {
        self.remembered += octets;
        if let Some(connection) = self.connections.get_mut(key) {
            connection.remembered += octets;
            self.holders.add(connection.party, octets);
        }
    }

    pub(super) fn forget(&mut self, key: ConnectionKey, octets: usize) {
        self.remembered -= octets;
        if let Some(connection) = self.connections.get_mut(key) {
            connection.remembered -= octets;
            self.holders.take(connection.party, octets);
        }
    }

    /// What is remembered of a route has changed: before it was so much.
    pub(super) fn route_changed(&mut self, key: RouteKey, before: usize) {
        let Some(route) = self.routes.get(key) else {
            return;
        };
        let (source, after) = (route.source, route.memory());
        self.forget(source, before);
        self.remember(source, after);
    }

    /// A relay's session outlives its connections: it is charged to the relay's name.
    pub(super) fn remember_session(&mut self, holder: &Holder, octets: usize) {
        match holder {
            Holder::Client(key) => self.remember(*key, octets),
            Holder::Relay(name) => {
                self.remembered += octets;
                let party = self.party_of_relay(name);
                self.holders.add(party, octets);
            }
        }
    }

    pub(super) fn forget_session(&mut self, holder: &Holder, octets: usize) {
        match holder {
            Holder::Client(key) => self.forget(*key, octets),
            Holder::Relay(name) => {
                self.remembered -= octets;
                let party = self.party_of_relay(name);
                self.holders.take(party, octets);
            }
        }
    }

    /// What is kept of somebody who claims something, on the session's shard: the claimant's own
    /// shard has looked whether he may.
    pub(super) fn remember_claim(&mut self, octets: usize) {
        self.remembered += octets;
    }

    pub(super) fn forget_claims(&mut self, octets: usize) {
        self.remembered -= octets;
    }

    /// A request waits for another shard or a database. None: memory is short, or its connection
    /// has made us remember as much as it may.
    pub(super) fn keep_waiting(&mut self, mut pending: PendingAuth) -> Option<PendingAuthKey> {
        pending.head = pending.head.into_own_memory();
        let (key, octets) = (pending.connection, pending.memory());
        if !self.has_memory_for_proof(key, octets) {
            self.no_room_to_wait(&pending);
            return None;
        }
        self.remember(key, octets);
        Some(self.pending_auths.insert(pending))
    }

    fn no_room_to_wait(&mut self, pending: &PendingAuth) {
        let (now, key, head) = (self.now, pending.connection, &pending.head);
        match pending.step {
            AuthStep::Keepalive => self.refuse_send(now, key, head, &Refusal::MEMORY),
            _ => self.refuse_request(now, key, head, &Refusal::NO_ROOM_TO_WAIT),
        }
    }

    /// It waits no longer.
    pub(super) fn take_waiting(&mut self, key: PendingAuthKey) -> Option<PendingAuth> {
        let pending = self.pending_auths.remove(key)?;
        self.forget(pending.connection, pending.memory());
        Some(pending)
    }

    /// What the connection itself keeps may have changed.
    pub(super) fn recount_own(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let octets = connection.own_memory();
        let before = std::mem::replace(&mut connection.own, octets);
        if before != octets {
            self.forget(key, before);
            self.remember(key, octets);
        }
    }

    /// Whether memory is short, and this connection or whom it is charged to has more than its part.
    pub(super) fn is_beyond_its_part(&self, key: ConnectionKey) -> bool {
        self.is_memory_short() && !self.has_memory(key, 0)
    }

    /// The same for the tables of this shard that no connection accounts for.
    pub(super) fn recount_tables(&mut self) {
        let octets = self.octets_of_tables();
        self.remembered = self.remembered - self.tables + octets;
        self.tables = octets;
    }

    fn octets_of_tables(&self) -> usize {
        self.next_hops.octets()
            + self.nonces.len() * NONCE_OCTETS
            + self.guesses.len() * GUESS_OCTETS
            + self.gone_links.octets()
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
    pub fn give_back_memory(&mut self, now: Instant) {
        self.now = now;
        self.connections.give_back();
        self.routes.give_back();
        self.flows.give_back();
        self.pending_auths.give_back();
        self.sessions.give_back();
        self.transactions.give_back();
        self.custodies.give_back();
        self.next_hops.give_back(now);
        self.recount_tables();
        self.holders.shrink_to(KEPT);
        self.probation.shrink_to(KEPT);
        self.commands.shrink_to(KEPT);
        self.ups.shrink_to(KEPT);
        self.settling.shrink_to(KEPT);
        self.scratch.shrink_to(FLUSH_OCTETS);
    }

    /// Ends some routes of connections that have gone. There may be more.
    pub(super) fn end_orphans(&mut self, now: Instant) {
        for _ in 0..self.settings.ends_at_once {
            let Some(route) = self.orphans.pop() else {
                break;
            };
            self.drop_route(now, route);
        }
        if self.orphans.is_empty() {
            self.orphans.shrink_to(KEPT);
        }
    }
}

impl Relay {
    /// Panics unless a count of all comes to the same.
    pub(super) fn assert_remembered(&self) {
        let mut of_connection: HashMap<ConnectionKey, usize> = HashMap::new();
        let mut counted = 0;
        let mut count = |key: Option<ConnectionKey>, octets: usize| {
            counted += octets;
            if let Some(key) = key {
                *of_connection.entry(key).or_default() += octets;
            }
        };
        for (_, route) in self.routes.iter() {
            count(Some(route.source), route.memory());
        }
        let ending = self.ending.values().map(|(session, ..)| session);
        for session in self.sessions.iter().chain(ending) {
            let key = match session.holder {
                Holder::Client(key) => Some(key),
                Holder::Relay(_) => None,
            };
            count(key, session.memory());
            let claims = session.claims.keys().map(ClaimedUri::memory);
            count(None, claims.sum());
        }
        for (_, pending) in self.pending_auths.iter() {
            count(Some(pending.connection), pending.memory());
        }
        for (key, connection) in self.connections.iter() {
            assert_eq!(connection.own_memory(), connection.own, "own of {key:?}");
            count(Some(key), connection.own);
        }
        assert_eq!(self.octets_of_tables(), self.tables, "octets of tables");
        self.next_hops.assert_octets();
        assert_eq!(counted + self.tables, self.remembered, "octets remembered");
        for (key, connection) in self.connections.iter() {
            let counted = of_connection.get(&key).copied().unwrap_or_default();
            assert_eq!(counted, connection.remembered, "octets of {key:?}");
        }
        self.assert_holders();
        let transactions: usize = self.transactions.iter().map(Transaction::memory).sum();
        assert_eq!(transactions, self.transactions.octets(), "of transactions");
    }
}
