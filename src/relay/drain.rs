//! The end of a run (CON-12, CON-14): nothing new begins, what was begun may finish, what is
//! held at the end is reported.

use std::time::Instant;

use super::Relay;
use super::command::{CloseReason, Refusal};
use super::connection::Incoming;
use super::keys::{ConnectionKey, RouteKey};
use super::records::EndCause;
use super::route::{Down, Target};
use super::timers::Timer;
use super::transaction::Kind;
use crate::wire::FailureReport;

/// A drain under way.
pub(super) struct Drain {
    /// Chunks begun have been ended.
    pub half_over: bool,
}

impl Relay {
    /// Begins to drain. A new SEND gets 481 and an AUTH 408; chunks begun may finish until half
    /// of the time to `deadline` is over, then end `+`; at `deadline` what is held is reported.
    pub fn drain(&mut self, now: Instant, deadline: Instant) {
        self.now = now;
        if self.draining.is_some() {
            return;
        }
        self.draining = Some(Drain { half_over: false });
        self.timers.set(
            now + deadline.saturating_duration_since(now) / 2,
            Timer::DrainHalf,
        );
        self.timers.set(deadline, Timer::DrainEnd);
        self.end_quotas(now);
        self.end_look_ups();
        self.deliver_ups(now);
    }

    /// Nothing is held, no chunk is coming in, and no AUTH waits for another shard. What still waits
    /// to be written is answers, and closing sends them: clients that go on asking must not keep
    /// the relay alive.
    pub fn is_drained(&self) -> bool {
        self.custodies.len() == 0
            && self.outstanding == 0
            && self.pending_auths.len() == 0
            && self
                .connections
                .iter()
                .all(|(_, connection)| !matches!(connection.incoming, Incoming::Send { .. }))
    }

    /// Closes every connection in order; what they are owed is still sent. To be called on all
    /// shards once all are drained, or their time is over and their REPORTs have crossed.
    pub fn close_all(&mut self, now: Instant) {
        self.now = now;
        for key in self.connections.keys() {
            self.close(now, key, CloseReason::Drain);
            self.deliver_ups(now);
        }
        // Other relays' outlive their connections.
        for key in self.sessions.keys() {
            self.end_session(now, key, EndCause::Drained);
        }
        self.deliver_ups(now);
    }

    /// Chunks that are still coming in end `+` at the next hop and are refused.
    pub(super) fn drain_half(&mut self, now: Instant) {
        if let Some(drain) = &mut self.draining {
            drain.half_over = true;
        }
        for key in self.connections.keys() {
            self.cut_arriving(now, key);
            self.deliver_ups(now);
        }
    }

    fn cut_arriving(&mut self, now: Instant, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if !matches!(connection.incoming, Incoming::Send { .. }) {
            return;
        }
        let Incoming::Send { route, head, .. } =
            std::mem::replace(&mut connection.incoming, Incoming::PastIt)
        else {
            unreachable!("matched above");
        };
        self.push(now, route, Down::Cut);
        self.refuse_send(now, key, &head, &Refusal::DRAINING);
    }

    /// The time is over: what is held is reported (Failure-Report yes) or released.
    pub(super) fn drain_end(&mut self, now: Instant) {
        self.drain_half(now);
        for (key, wire_alive) in self.flows.keys().into_iter().map(|key| (key, true)) {
            let mut all = usize::MAX;
            self.fail_flow(key, &Refusal::NEXT_HOP_LOST, wire_alive, &mut all);
        }
        for key in self.transactions.keys() {
            let Some(transaction) = self.transactions.get(key) else {
                continue;
            };
            match &transaction.kind {
                Kind::Send(piece) if piece.failure_report == FailureReport::Yes => {
                    self.piece_failed(key, &Refusal::NEXT_HOP_LOST);
                }
                Kind::Send(_) => self.piece_ended(key, super::custody::Fate::Released),
                Kind::Other(_) => self.forwarded_failed(now, key, &Refusal::NEXT_HOP_LOST),
            }
        }
        self.deliver_ups(now);
    }

    /// We refuse what comes by a route: its flow ends what it has of the chunk.
    pub(super) fn stop_flow(&mut self, now: Instant, key: RouteKey, target: Target) {
        match target {
            Target::Opening => {
                if let Some(route) = self.routes.get_mut(key) {
                    route.pending.push_back(Down::Stop);
                }
            }
            Target::Flow { shard, flow } if shard == self.shard => self.down(now, flow, Down::Stop),
            Target::Flow { shard, flow } => {
                self.hand(
                    shard,
                    super::handoff::Handoff::Down {
                        flow,
                        down: Down::Stop,
                    },
                );
            }
        }
    }
}
