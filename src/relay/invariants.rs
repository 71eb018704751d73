//! What has to hold between two calls, and at the end: for tests and debug builds.

use bytes::Bytes;

use super::Relay;
use super::keys::ConnectionKey;
use super::limits::FLUSH_OCTETS;
use super::transaction::Kind;
use crate::wire::FailureReport;

impl Relay {
    /// Panics unless the ledger balances, sums are right and bounds are kept. For tests and
    /// debug builds: it looks at everything.
    pub fn assert_invariants(&self) {
        let ledger = &self.metrics.ledger;
        assert!(
            ledger.balanced(),
            "custody ledger out of balance: {ledger:?}"
        );
        assert_eq!(ledger.held, self.custodies.held(), "held custodies");
        let outstanding: usize = self.routes.iter().map(|(_, route)| route.outstanding).sum();
        assert_eq!(outstanding, self.outstanding, "sum of outstanding octets");
        self.assert_remembered();
        let unanswered: usize = self.flows.iter().map(|(_, flow)| flow.unanswered).sum();
        assert_eq!(unanswered, self.count_unanswered(), "unanswered octets");
        assert!(
            self.ups.is_empty(),
            "verdicts are delivered within the call"
        );
        assert!(
            self.settling.is_empty(),
            "closing connections are looked at within the call"
        );
        assert!(
            self.strays.is_empty(),
            "REPORTs find their way within the call"
        );
        assert!(
            self.custodies.ways.done.is_empty(),
            "shares are handed in within the call"
        );
        self.assert_census();
        self.assert_served();
        self.dials.assert_sums();
        for (key, connection) in self.connections.iter() {
            let pauses = self
                .routes
                .iter()
                .filter(|(_, route)| route.source == key && route.pause.is_some());
            assert_eq!(
                pauses.count() + usize::from(connection.held != 0),
                connection.pauses,
                "pausing routes of {key:?}"
            );
            assert!(
                connection.dialled.is_none()
                    || connection.established
                    || self.dials.is_waiting_or_under_way(key),
                "{key:?} is dialled in its turn"
            );
            let egress = &connection.egress;
            assert_eq!(egress.turns.unread, connection.paused_since.is_some());
            for flow_key in &egress.flows {
                let flow = self
                    .flows
                    .get(*flow_key)
                    .expect("a connection's flows exist");
                assert_eq!(flow.connection, key);
                assert!(
                    egress.is_in_place(*flow_key, flow),
                    "{flow_key:?} is forgotten"
                );
            }
        }
        let rated = self.flows.iter().filter(|(_, flow)| flow.rate.is_some());
        self.resting.assert_counts(rated.count());
        for (key, flow) in self.flows.iter() {
            let rests = self.resting.rests(key);
            assert_eq!(flow.rests, rests, "{key:?} rests");
            assert!(
                self.connections.contains(flow.connection) || self.ends.has(flow.connection),
                "a flow leads to a connection"
            );
            for chunk in flow.queue.iter() {
                let octets: usize = chunk.body().map(Bytes::len).sum();
                assert_eq!(octets, chunk.unsent, "octets of a queued chunk");
            }
        }
        // A source is read up to one flush beyond its bound; small chunks cost more than they show.
        let limits = &self.settings.limits;
        let bound = limits
            .queued_octets_per_session
            .max(limits.queued_octets_shared)
            + 4 * FLUSH_OCTETS;
        for (key, route) in self.routes.iter() {
            assert!(
                route.outstanding <= bound,
                "{key:?} holds {} octets",
                route.outstanding
            );
        }
    }

    /// The octets that flows have under way without an answer, counted afresh.
    fn count_unanswered(&self) -> usize {
        let written = self
            .transactions
            .iter()
            .filter_map(|open| match &open.kind {
                Kind::Send(piece)
                    if piece.failure_report == FailureReport::Yes
                        && self.flows.contains(piece.flow) =>
                {
                    Some((piece.end - piece.start) as usize)
                }
                _ => None,
            });
        let open = self.flows.iter().filter_map(|(_, flow)| {
            let chunk = flow.queue.front()?;
            chunk.piece.as_ref().map(|piece| piece.unanswered)
        });
        written.sum::<usize>() + open.sum::<usize>()
    }

    /// What is on its way, in a line: for the messages of failed tests.
    pub fn describe(&self) -> String {
        let busy: Vec<ConnectionKey> = self
            .connections
            .iter()
            .filter(|(_, connection)| !connection.egress.is_idle(&self.flows))
            .map(|(key, _)| key)
            .collect();
        let unread: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.deaf || connection.paused_since.is_some())
            .map(|(key, c)| {
                (
                    key,
                    c.deaf,
                    c.pauses,
                    c.egress.control_octets,
                    c.closing.clone(),
                    c.egress.in_flight,
                )
            })
            .collect();
        let held: usize = self
            .routes
            .iter()
            .filter(|(_, route)| !route.is_idle())
            .count();
        format!(
            "custodies {}, transactions {}, outstanding {}, pending AUTHs {}, routes not idle {held}, busy {busy:?}, unread {unread:?}, \
             {:?}",
            self.custodies.len(),
            self.transactions.len(),
            self.outstanding,
            self.pending_auths.len(),
            self.metrics.ledger
        )
    }

    /// Panics unless every table is empty: for the end of tests, when all connections are gone.
    pub fn assert_empty(&self) {
        assert_eq!(self.connections.len(), 0, "connections");
        assert_eq!(self.sessions.len(), 0, "sessions");
        assert_eq!(self.ending.len(), 0, "sessions without their record");
        assert_eq!(self.custodies.ways.len(), 0, "ways");
        assert_eq!(self.routes.len(), 0, "routes");
        assert_eq!(self.flows.len(), 0, "flows");
        assert_eq!(
            self.remembered(),
            self.remembered_in_tables(),
            "octets remembered"
        );
        assert_eq!(self.holders.len(), 0, "parties that hold something");
        assert_eq!(self.custodies.len(), 0, "custodies");
        assert_eq!(self.transactions.len(), 0, "transactions");
        assert_eq!(self.pending_auths.len(), 0, "pending AUTHs");
        assert_eq!(self.homes.counting(), 0, "subjects that count");
        assert_eq!(self.shares.len(), 0, "subjects that spend");
        assert_eq!(self.next_hops.len(), 0, "next hops");
        assert_eq!(self.served.len(), 0, "hosts that links lead to");
        assert_eq!(self.parked.len(), 0, "openings that wait for a link");
        assert_eq!(self.probation.len(), 0, "connections on probation");
        assert_eq!(self.outstanding, 0, "outstanding octets");
    }

    /// Everything that is neither a connection nor a session has gone: for the end of tests.
    pub fn is_quiet(&self) -> bool {
        self.custodies.len() == 0
            && self.transactions.len() == 0
            && self.outstanding == 0
            && self.orphans.is_empty()
            && self.ends.is_empty()
            && self.pending_auths.len() == 0
            && self.parked.is_empty()
            && self.connections.iter().all(|(_, connection)| {
                connection.egress.is_idle(&self.flows) && connection.pauses == 0
            })
    }
}
