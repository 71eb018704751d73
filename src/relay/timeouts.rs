//! What happens when time passes and nothing else does.

use std::time::{Duration, Instant};

use super::Relay;
use super::command::{CloseReason, Refusal};
use super::connection::Incoming;
use super::custody::Fate;
use super::keys::{ConnectionKey, SessionKey, TransactionKey};
use super::limits::{LINK_STALL_GRACE, STANDSTILL_LOOK, TIMER_STANDSTILL};
use super::records::EndCause;
use super::route::Down;
use super::route::Pause;
use super::session::Holder;
use super::timers::Timer;
use super::transaction::{Kind, Progress};
use crate::wire::FailureReport;

impl Relay {
    /// Looks at everything that is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        let mut due = Vec::new();
        self.timers.due(now, &mut due);
        for timer in due {
            self.timer(now, timer);
            self.deliver_ups(now);
        }
        // Of what may be many thousand at once a part; the next call comes at once.
        let mut left = self.settings.ends_at_once;
        while left > 0
            && let Some(key) = self.sessions.first_ended(now)
        {
            left -= 1;
            self.session_over_time(now, key);
            self.deliver_ups(now);
        }
        self.end_orphans(now);
        self.go_on_ending(now);
        self.deliver_ups(now);
        self.wake_rested(now);
        let mut left = self.settings.ends_at_once;
        while left > 0
            && let Some(key) = self.transactions.first_due(now)
        {
            left -= 1;
            self.transaction_due(now, key);
            self.deliver_ups(now);
        }
        self.relieve(now);
    }

    /// The process has stood still for `gap` until `now`, stopped or without a core: whoever it
    /// waits for could not be heard, so that time counts against nobody. Sessions and nonces end
    /// by the clock all the same.
    pub fn stood_still(&mut self, now: Instant, gap: Duration) {
        self.now = now;
        let later = |since: &mut Instant| *since = (*since + gap).min(now);
        for connection in self.connections.values_mut() {
            later(&mut connection.used);
            connection.egress.waiting_since.iter_mut().for_each(later);
            connection.unfinished_since.iter_mut().for_each(later);
            connection.paused_since.iter_mut().for_each(later);
        }
        for route in self.routes.values_mut() {
            if let Some(Pause::Alone { since } | Pause::Shared { since }) = &mut route.pause {
                later(since);
            }
        }
        self.transactions.prolong(gap);
    }

    fn timer(&mut self, now: Instant, timer: Timer) {
        match timer {
            Timer::Probation(key) => self.probation_over(now, key),
            Timer::Progress(key) => self.progress_due(now, key),
            Timer::Stall(key) => self.stall_due(now, key),
            Timer::Idle(key) => self.idle_due(now, key),
            Timer::SharedPause(key) => self.shared_pause_over(now, key),
            Timer::LinkPause(key) => self.link_pause_over(now, key),
            Timer::Transaction(key) => {
                let waits = self
                    .transactions
                    .get(key)
                    .is_some_and(|open| open.progress == Progress::Waiting);
                if waits {
                    self.transaction_due(now, key);
                }
            }
            Timer::DialTurn(key) => self.dial_turn_due(now, key),
            Timer::Quota(key) => self.quota_due(now, key),
            Timer::DrainHalf => self.drain_half(now),
            Timer::DrainEnd => self.drain_end(now),
        }
    }

    /// TMR-05, CON-01.
    fn probation_over(&mut self, now: Instant, key: ConnectionKey) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        if connection.proven || connection.closing.is_some() {
            return;
        }
        if connection.established {
            self.close(now, key, CloseReason::Probation);
        } else {
            self.abort(now, key, CloseReason::Probation);
        }
    }

    fn progress_due(&mut self, now: Instant, key: ConnectionKey) {
        let limits = &self.settings.limits;
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.progress_timer.is_some_and(|at| at <= now) {
            connection.progress_timer = None;
        }
        let Some(since) = connection.unfinished_since else {
            return;
        };
        if connection.paused_since.is_some() {
            // It is us who do not read.
            connection.unfinished_since = Some(now);
        }
        let since = connection.unfinished_since.unwrap_or(since);
        let patience = match &connection.incoming {
            Incoming::Nothing => limits.head_timeout,
            // A relay ends what stalls on it after half its own time; ours may be shorter than that.
            _ if connection.verified.is_some() => 2 * limits.body_timeout,
            _ => limits.body_timeout,
        };
        // What stalls here stands open at the next hop, which has a time of its own.
        let rest_at = since + limits.body_timeout / 2;
        let due = since + patience;
        let stalls = match connection.incoming {
            Incoming::Send { route, .. } if rest_at <= now => Some(route),
            _ => None,
        };
        if due <= now {
            return self.close(now, key, CloseReason::TooSlow);
        }
        let next = if rest_at > now { rest_at.min(due) } else { due };
        self.look_at_progress(key, next);
        if let Some(route) = stalls {
            self.push(now, route, Down::Stall);
        }
    }

    /// Looks at that time whether the message goes on, if nobody does so before: one that comes in
    /// many reads sets no timer with each.
    pub(super) fn look_at_progress(&mut self, key: ConnectionKey, at: Instant) {
        if let Some(connection) = self.connections.get_mut(key)
            && connection.progress_timer.is_none_or(|set| at < set)
        {
            connection.progress_timer = Some(at);
            self.timers.set(at, Timer::Progress(key));
        }
    }

    /// TMR-08: the kernel took nothing for so long.
    fn stall_due(&mut self, now: Instant, key: ConnectionKey) {
        let mut patience = self.settings.limits.stall_timeout;
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.verified.is_some() {
            patience += LINK_STALL_GRACE;
        }
        connection.stall_timer = false;
        let Some(since) = connection.egress.waiting_since else {
            return;
        };
        if since + patience > now {
            connection.stall_timer = true;
            self.timers.set(since + patience, Timer::Stall(key));
        } else {
            self.abort(now, key, CloseReason::Stalled);
        }
    }

    /// CON-03, CON-04.
    fn idle_due(&mut self, now: Instant, key: ConnectionKey) {
        let patience = self.settings.idle_timeout;
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        let busy = !connection.is_unused() || !connection.egress.is_idle(&self.flows);
        let due = connection.used + patience;
        if busy || due > now {
            self.timers
                .set(due.max(now + patience / 4), Timer::Idle(key));
        } else {
            self.close(now, key, CloseReason::Idle);
        }
    }

    /// UPT-06.
    fn session_over_time(&mut self, now: Instant, key: SessionKey) {
        let holder = self.end_session(now, key, EndCause::Expired);
        if let Some(Holder::Client(holder)) = holder
            && let Some(connection) = self.connections.get_mut(holder)
        {
            connection.sessions.remove(&key);
            connection.used = now;
            self.recount(holder);
        }
    }

    /// While we do not read the connection, the answer may well be there: the timer stands
    /// still, for a while.
    fn transaction_due(&mut self, now: Instant, key: TransactionKey) {
        let Some(transaction) = self.transactions.get(key) else {
            return;
        };
        let unread = self.unread_time(transaction.connection);
        let stood = unread.saturating_sub(transaction.unread_before);
        let mut due = transaction.deadline + stood.min(TIMER_STANDSTILL);
        let paused = self
            .connections
            .get(transaction.connection)
            .is_some_and(|c| c.paused_since.is_some());
        if paused && stood < TIMER_STANDSTILL {
            due = due.max(now + STANDSTILL_LOOK.min(TIMER_STANDSTILL - stood));
        }
        if due > now {
            self.transactions.stand_still(key);
            self.timers.set(due, Timer::Transaction(key));
        } else {
            self.transaction_expired(now, key);
        }
    }

    /// No answer in time: 408 for Failure-Report yes, nothing for partial (RPT-02, RPT-03,
    /// D-11); an AUTH is answered, other requests are forgotten (TMR-06, D-33).
    fn transaction_expired(&mut self, now: Instant, key: TransactionKey) {
        let Some(transaction) = self.transactions.get(key) else {
            return;
        };
        let (connection, sent_at) = (transaction.connection, transaction.sent_at);
        let was_due = match &transaction.kind {
            Kind::Send(piece) => piece.failure_report == FailureReport::Yes,
            Kind::Other(_) => true,
        };
        if was_due {
            self.answer_missing(connection, sent_at);
        }
        let transaction = self.transactions.get(key).expect("looked up above");
        match &transaction.kind {
            Kind::Send(piece) if piece.failure_report == FailureReport::Yes => {
                self.metrics
                    .refusal(crate::metrics::RefusalReason::NextHopLost);
                self.piece_failed(key, &Refusal::NEXT_HOP_LOST);
            }
            Kind::Send(_) => self.piece_ended(key, Fate::Released),
            Kind::Other(_) => self.forwarded_failed(now, key, &Refusal::NEXT_HOP_LOST),
        }
    }
}
