//! How connections end, and what ends with them (RPT-14, CON-11, UPT-08).

use std::time::Instant;

use super::Relay;
use super::command::{CloseReason, Command, Loss, Refusal};
use super::connection::{Connection, Incoming};
use super::custody::Fate;
use super::egress::Carried;
use super::handoff::{Handoff, Hop, Up};
use super::keys::{ConnectionKey, FlowKey, Place, RouteKey, TransactionKey};
use super::leaving::Leaving;
use super::planted::{Fault, planted};
use super::records::EndCause;
use super::route::Down;
use super::transaction::{Forwarded, Kind};
use crate::metrics::DropReason;
use crate::wire::FailureReport;

impl Relay {
    /// Ends a connection in order: what it is owed is still sent. Nothing more is read of it from
    /// here on; the rest is left to [`deliver_ups`](Self::deliver_ups), so that connections that
    /// end one another do it one after the other, however many they are.
    pub(super) fn close(&mut self, now: Instant, key: ConnectionKey, reason: CloseReason) {
        self.now = now;
        if let Some(connection) = self.connections.get_mut(key) {
            connection.deaf = true;
            connection.closing.get_or_insert(reason);
        }
        self.settle_later(key);
    }

    /// Ends a connection at once.
    pub(super) fn abort(&mut self, now: Instant, key: ConnectionKey, reason: CloseReason) {
        self.read_out(now, key);
        if !self.connections.contains(key) {
            return;
        }
        self.take_apart(now, key, false, EndCause::of(reason.label()));
        self.metrics.closed(reason.label());
        self.commands.push_back(Command::Abort {
            connection: key,
            reason,
        });
    }

    pub(super) fn connection_lost(&mut self, now: Instant, key: ConnectionKey, loss: &Loss) {
        self.read_out(now, key);
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        let closing = connection.closing.clone();
        let label = match (closing, loss) {
            (Some(reason), _) => reason.label(),
            (None, Loss::Closed) => crate::metrics::CloseReason::Lost,
            (None, Loss::Vanished) => crate::metrics::CloseReason::Vanished,
            (None, Loss::Tls(_)) => crate::metrics::CloseReason::Tls,
            (None, Loss::DialFailed(_)) => crate::metrics::CloseReason::DialFailed,
            (None, Loss::DialDenied(_)) => crate::metrics::CloseReason::DialDenied,
            (None, Loss::NoProxyHeader) => crate::metrics::CloseReason::ProxyHeader,
            (None, Loss::NotUpgraded) => crate::metrics::CloseReason::NotUpgraded,
            (None, Loss::Unresponsive) => crate::metrics::CloseReason::Unresponsive,
        };
        if *loss == Loss::Vanished {
            self.fell_silent(key);
        }
        self.judge_dial(now, key, loss);
        self.take_apart(now, key, false, EndCause::of(label));
        self.metrics.closed(label);
    }

    /// A closing connection may have got its last answer: looked at by
    /// [`deliver_ups`](Self::deliver_ups), once however often it is told.
    pub(super) fn settle_later(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connections.get_mut(key)
            && connection.closing.is_some()
            && !std::mem::replace(&mut connection.settling, true)
        {
            self.settling.push_back(key);
        }
    }

    /// Looks at the next closing connection.
    pub(super) fn settle_next(&mut self, now: Instant) {
        let Some(key) = self.settling.pop_front() else {
            return;
        };
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        connection.settling = false;
        if !connection.ended {
            self.begin_to_end(now, key);
        }
        self.announce(key);
        self.settle_closing(now, key);
    }

    /// A connection begins to end: only what it is owed is left of it.
    fn begin_to_end(&mut self, now: Instant, key: ConnectionKey) {
        self.read_out(now, key);
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        connection.ended = true;
        connection.ends = true;
        connection.deaf = true;
        let cause = connection.closing.as_ref().map(CloseReason::label);
        if let Some(cause) = cause {
            self.take_apart(now, key, true, EndCause::of(cause));
        }
    }

    /// A closing connection goes once everything it is owed is in the kernel.
    fn settle_closing(&mut self, now: Instant, key: ConnectionKey) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        let Some(reason) = connection.closing.clone() else {
            return;
        };
        let owes = connection.leaves
            || !connection.retired.is_empty()
            || !connection.egress.is_idle(&self.flows);
        if connection.established && owes {
            return;
        }
        self.take_apart(now, key, false, EndCause::of(reason.label()));
        self.metrics.closed(reason.label());
        self.commands.push_back(Command::Close {
            connection: key,
            reason,
        });
    }

    /// Nobody finds it any more. Its place is free once what it leaves is worked off.
    fn remove(&mut self, now: Instant, key: ConnectionKey) {
        self.forget_spending(now, key);
        self.remember_gone(now, key);
        let Some(mut connection) = self.leave_table(key) else {
            return;
        };
        self.probation.leave(key);
        // REPORTs that the kernel had nothing of may take another link (RPT-11).
        let unwritten = connection.egress.unwritten_reports();
        self.strays
            .extend(unwritten.map(|(octets, code)| (key, octets, code)));
    }

    /// Everything that lives and dies with a connection. With `wire_alive` its responses,
    /// REPORTs and the end-line of an open chunk still go out; without it is gone. `cause` is what
    /// ends its sessions. What may be much is worked off in many turns: see [`Leaving`].
    ///
    /// It delivers nothing: what it says to other connections waits in `ups` and `settling` for
    /// [`deliver_ups`](Self::deliver_ups), which ends every call.
    fn take_apart(&mut self, now: Instant, key: ConnectionKey, wire_alive: bool, cause: EndCause) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        connection.had_sessions |= !connection.sessions.is_empty();
        let refusal = gone(connection);
        let incoming = std::mem::replace(&mut connection.incoming, Incoming::Nothing);
        let hops = std::mem::take(&mut connection.hops);
        let sessions = std::mem::take(&mut connection.sessions);
        let failed = connection.dialled.is_some() && !connection.heard && !wire_alive;
        let mut routes: Vec<RouteKey> = connection.all_routes().collect();
        routes.extend(std::mem::take(&mut connection.retired));
        connection.forget_routes();
        routes.sort_unstable();
        connection.leaves = true;
        let flows = connection.egress.flows.iter().copied().collect();
        let place = Place {
            shard: self.shard,
            connection: key,
        };
        for hop in hops {
            self.unreachable_by(now, hop, place, failed);
        }
        self.give_up_claims(key);
        self.recount_own(key);
        self.count_served(key);
        self.recount(key);
        if let Incoming::Send { route, .. } = incoming {
            self.push(now, route, Down::Cut);
        }
        for (number, route) in routes.into_iter().enumerate() {
            let at_once = number < self.settings.ends_at_once;
            // Whole requests whose verdict is still on its way are answered (CON-10).
            if wire_alive
                && self
                    .routes
                    .get(route)
                    .is_some_and(|route| !route.is_settled())
            {
                self.retire(route);
            } else if at_once {
                self.drop_route(now, route);
            } else {
                self.orphans.push(route);
            }
        }
        if !wire_alive {
            self.fail_carried(key);
            self.remove(now, key);
        }
        self.work_off_now(
            now,
            Leaving::new(key, wire_alive, refusal, cause, sessions, flows),
        );
    }

    /// The flow's source hears that it has ended. An open chunk keeps the flow until its
    /// end-line is written.
    pub(super) fn close_flow(&mut self, key: FlowKey, refusal: &Refusal, wire_alive: bool) {
        let Some(flow) = self.flows.get_mut(key) else {
            return;
        };
        flow.arriving = None;
        flow.source_gone = true;
        self.way_over(key);
        let Some(flow) = self.flows.get_mut(key) else {
            return;
        };
        if !std::mem::replace(&mut flow.closed, true) {
            let back = flow.back;
            self.ups.push_back((back, Up::Closed(refusal.clone())));
        }
        let Some(flow) = self.flows.get(key) else {
            return;
        };
        if !wire_alive || flow.queue.is_empty() {
            let connection = flow.connection;
            let flow = self.flows.remove(key).expect("looked up above");
            self.resting.leave(&flow);
            if let Some(connection) = self.connections.get_mut(connection) {
                connection.egress.forget_flow(key, &flow, &self.flows);
            }
        }
    }

    /// RPT-14: one REPORT for an open transaction with Failure-Report yes.
    pub(super) fn fail_transaction(
        &mut self,
        now: Instant,
        key: TransactionKey,
        refusal: &Refusal,
    ) {
        let Some(open) = self.transactions.get(key) else {
            return;
        };
        let untold = planted(Fault::LinkLossUntold) && self.gone_links.knows(open.connection);
        match &open.kind {
            Kind::Send(_) if untold => self.piece_ended(key, Fate::Answered),
            Kind::Send(piece)
                if piece.failure_report == FailureReport::Yes && !piece.answered_early =>
            {
                self.piece_failed(key, refusal);
            }
            Kind::Send(piece) if piece.answered_early => self.piece_ended(key, Fate::Answered),
            Kind::Send(_) => self.piece_ended(key, Fate::Released),
            Kind::Other(_) => self.forwarded_failed(now, key, &Refusal::NEXT_HOP_LOST),
        }
    }

    /// What was written under Failure-Report no and may not have reached the kernel.
    fn fail_carried(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        for carried in std::mem::take(&mut connection.egress.carried) {
            if let Carried::Released { covered, .. } = carried {
                for custody in covered.iter() {
                    let fate = Fate::Dropped(DropReason::FailureReportNo);
                    self.custodies
                        .piece_resolved(*custody, fate, &mut self.metrics.ledger);
                }
            }
        }
    }

    /// A forwarded request lost its next hop (D-33).
    pub(super) fn forwarded_failed(
        &mut self,
        now: Instant,
        key: TransactionKey,
        refusal: &Refusal,
    ) {
        let Some(transaction) = self.transactions.remove(key) else {
            return;
        };
        let Kind::Other(forwarded) = transaction.kind else {
            return;
        };
        self.unanswered(now, forwarded, refusal);
    }

    /// A forwarded request gets no answer of its next hop: an AUTH is answered here, the rest is silence (D-33).
    pub(super) fn unanswered(&mut self, now: Instant, forwarded: Forwarded, refusal: &Refusal) {
        if forwarded.auth.is_some() {
            self.answer_forwarded(
                now,
                forwarded.return_to,
                &forwarded.incoming_transact_id,
                &forwarded.incoming_from_path,
                &forwarded.own_uri,
                refusal.code,
            );
        }
    }

    /// Tells the hop's home; `failed` if the connection was dialled and never spoke.
    pub(super) fn unreachable_by(&mut self, now: Instant, hop: Hop, place: Place, failed: bool) {
        if planted(Fault::HopKept) {
            return;
        }
        let home = self.hash_key.home(hop.authority(), self.workers);
        if home == self.shard {
            self.unregister(now, hop, place, failed);
        } else {
            let gone = Handoff::Unregister { hop, place, failed };
            self.hand(home, gone);
        }
    }

    /// More connections on probation than the operator allows: the oldest of the source prefix that
    /// has most of them goes (CON-01, CON-05).
    pub(super) fn crowd(&mut self, now: Instant) {
        let limits = &self.settings.limits;
        let bound = limits.unauthenticated.div_ceil(usize::from(self.workers));
        while self.probation.len() > bound {
            let Some(first) = self.probation.first_to_go() else {
                return;
            };
            // It leaves whatever becomes of it: one that closes has its own time.
            self.probation.leave(first);
            let waits = self.connections.get(first);
            if waits.is_some_and(|c| !c.proven && c.closing.is_none()) {
                self.abort(now, first, CloseReason::Crowded);
            }
        }
    }
}

/// The code for what was on its way to this connection (D-10).
fn gone(connection: &Connection) -> Refusal {
    if connection.had_sessions {
        Refusal::CLIENT_GONE
    } else {
        Refusal::NEXT_HOP_LOST
    }
}
