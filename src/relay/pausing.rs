//! When a source is not read, and when a message is refused instead (design: *Pausing*;
//! FWD-15, FWD-16, D-35).
//!
//! At a bound the source waits. Where nothing else lives on it, or only films, it waits until
//! the queue has halved: a slower receiver slows its film and loses nothing. A link to a relay
//! waits not so long that the other side takes it for dead. A source that carries chats too waits
//! for `shared_pause` at most. Then the message is refused with 413 and the rest flows.

use std::time::{Duration, Instant};

use crate::wire::Head;

use super::Relay;
use super::command::{Command, Refusal};
use super::connection::Incoming;
use super::keys::{ConnectionKey, RouteKey};
use super::limits::{FLUSH_OCTETS, READ_OCTETS_MIN};
use super::memory::waiting_steps;
use super::planted::{Fault, planted};
use super::route::{Down, Pause, Target};
use super::timers::Timer;

impl Relay {
    /// After something was sent into a route: is it too much?
    pub(super) fn judge_pause(&mut self, now: Instant, key: RouteKey) {
        let limits = &self.settings.limits;
        let Some(route) = self.routes.get_mut(key) else {
            return;
        };
        let source = route.source;
        let Some(connection) = self.connections.get(source) else {
            return;
        };
        let bound = limits.queued_octets_per_session;
        // A flow that waits for a chunk that fits into a frame must get all of it.
        let full = match route.frames || route.target == Target::Opening {
            true => bound,
            false => room_for_one_read(bound),
        };
        if route.pause.is_some() || route.queued() < full {
            return;
        }
        if !connection.carries_other_chats(now, key, route) {
            let is_link = connection.verified.is_some();
            route.pause = Some(Pause::Alone { since: now });
            if is_link {
                self.timers
                    .set(now + self.link_pause(), Timer::LinkPause(key));
            }
            self.pause(source);
            return;
        }
        if route.queued() < self.shared_bound() {
            return;
        }
        let route = self.routes.get_mut(key).expect("looked up above");
        let left = route.pause_left(now, self.settings.limits.shared_pause);
        if route.stuck || left.is_zero() {
            self.stop_arriving(now, key);
            return;
        }
        route.pause = Some(Pause::Shared { since: now });
        self.timers.set(now + left, Timer::SharedPause(key));
        self.pause(source);
    }

    /// What a session may hold where its source carries others too.
    fn shared_bound(&self) -> usize {
        let limits = &self.settings.limits;
        if self.outstanding >= limits.queued_octets_total / usize::from(self.workers) {
            limits.queued_octets_per_session
        } else {
            limits.queued_octets_shared
        }
    }

    /// After credit came back: may the source go on?
    pub(super) fn judge_resume(&mut self, now: Instant, key: RouteKey) {
        let private = self.settings.limits.queued_octets_per_session;
        let shared = self.shared_bound();
        let Some(route) = self.routes.get_mut(key) else {
            return;
        };
        if route.stuck && route.queued() <= shared / 2 {
            route.stuck = false;
        }
        let bound = match route.pause {
            None => return,
            Some(Pause::Alone { .. }) => private,
            Some(Pause::Shared { .. }) => shared,
        };
        if route.queued() <= bound / 2 {
            let source = route.source;
            self.end_pause(now, key);
            self.unpause(source);
        }
    }

    fn end_pause(&mut self, now: Instant, key: RouteKey) {
        let Some(route) = self.routes.get_mut(key) else {
            return;
        };
        if let Some(Pause::Shared { since }) = route.pause.take() {
            route.spend_pause(now, now.saturating_duration_since(since));
        }
    }

    /// The time for which this session may stop the others is over (FWD-16).
    pub(super) fn shared_pause_over(&mut self, now: Instant, key: RouteKey) {
        let allowed = self.settings.limits.shared_pause;
        let Some(route) = self.routes.get_mut(key) else {
            return;
        };
        let Some(Pause::Shared { since }) = route.pause else {
            return;
        };
        let over = since + route.pause_left(now, allowed);
        if over > now {
            // The timer of an earlier pause, or one that has fallen out of the window since.
            self.timers.set(over, Timer::SharedPause(key));
            return;
        }
        let source = route.source;
        route.stuck = true;
        self.end_pause(now, key);
        self.unpause(source);
        self.stop_arriving(now, key);
    }

    /// A link that is not read stalls for the relay at its other end, which gives it up after
    /// `stall_timeout` with all that is under way; its transactions expire as soon.
    fn link_pause(&self) -> Duration {
        self.settings.limits.stall_timeout / 3
    }

    /// A session alone on a link has held it for so long: its receiver is too slow for it.
    pub(super) fn link_pause_over(&mut self, now: Instant, key: RouteKey) {
        let Some(route) = self.routes.get(key) else {
            return;
        };
        let Some(Pause::Alone { since }) = route.pause else {
            return;
        };
        if since + self.link_pause() > now {
            // The timer of an earlier pause.
            return;
        }
        let source = route.source;
        self.end_pause(now, key);
        self.unpause(source);
        self.stop_arriving(now, key);
    }

    /// Refuses the message that is coming in by this route: what is queued of this chunk ends
    /// `#`, later chunks of it are refused at once.
    pub(super) fn stop_arriving(&mut self, now: Instant, key: RouteKey) {
        let Some(route) = self.routes.get(key) else {
            return;
        };
        let target = route.target;
        if self.refuse_arriving(now, key, None, &Refusal::STOP) {
            self.stop_flow(now, key, target);
        }
    }

    /// Whether a REPORT on this route would be beyond what its bound leaves to them. Nobody hears
    /// of one that is not forwarded: a film on the same way must not cost it (RPT-12).
    pub(super) fn must_stop_report(&mut self, now: Instant, key: RouteKey) -> bool {
        self.is_beyond(now, key, self.shared_bound() + FLUSH_OCTETS)
    }

    /// Whether a new chunk on this route would be beyond its bound, and a pause of no use.
    pub(super) fn must_stop(&mut self, now: Instant, key: RouteKey) -> bool {
        self.is_beyond(now, key, self.shared_bound())
    }

    fn is_beyond(&mut self, now: Instant, key: RouteKey, bound: usize) -> bool {
        let allowed = self.settings.limits.shared_pause;
        let Some(route) = self.routes.get_mut(key) else {
            return false;
        };
        route.queued() >= bound && route.pause.is_none() && route.pause_left(now, allowed).is_zero()
    }

    pub(super) fn stop_message(&mut self, now: Instant, key: RouteKey, head: &Head) {
        if let Some(id) = head.message_id() {
            self.remember_refused(now, key, id);
        }
    }

    /// Later chunks of this message are refused at once (D-35).
    pub(super) fn remember_refused(&mut self, now: Instant, key: RouteKey, message_id: &[u8]) {
        let Some(route) = self.routes.get_mut(key) else {
            return;
        };
        let before = route.memory();
        route.remember_refused(now, &self.hash_key, message_id);
        self.route_changed(key, before);
    }

    /// Responses and REPORTs that a connection does not take are made by its own requests:
    /// while too many wait it is not read.
    pub(super) fn judge_control(&mut self, key: ConnectionKey) {
        self.update_pause(key);
    }

    fn pause(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.pauses += 1;
        }
        self.metrics.pauses += 1;
        self.update_pause(key);
    }

    pub(super) fn unpause(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.pauses -= 1;
        }
        self.update_pause(key);
    }

    fn update_pause(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        // While memory is short they are made for nobody who has more than its part of it, but for
        // relays: two of them could wait for one another.
        let control = waiting_steps(connection.egress.control_octets);
        let judged = control > 0 && !connection.speaks_for_many();
        if control != connection.control {
            self.count_control(key, control);
        }
        let beyond = judged && self.is_beyond_its_part(key);
        let (now, limits) = (self.now, &self.settings.limits);
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let full = beyond
            || connection.egress.control_octets >= limits.control_octets
            || (!connection.speaks_for_many()
                && connection.outstanding >= limits.queued_octets_per_connection);
        let paused = (connection.pauses > 0 || full) && !planted(Fault::UnpausedSource);
        if paused == connection.paused_since.is_some() {
            if paused {
                self.hurry_incoming(now, key);
            }
            return;
        }
        connection.egress.turns.set_unread(paused, &mut self.flows);
        let Some(since) = connection.paused_since.take() else {
            connection.paused_since = Some(now);
            self.announce(key);
            self.hurry_incoming(now, key);
            return;
        };
        connection.unread += now.saturating_duration_since(since);
        if !planted(Fault::LostResume) {
            self.commands.push_back(Command::Resume(key));
        }
    }

    #[cold]
    fn count_control(&mut self, key: ConnectionKey, octets: usize) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.control = octets;
        }
        self.recount_own(key);
    }

    /// A chunk has begun in its flow; its connection may be one that is not read.
    pub(super) fn hurry_begun(&mut self, now: Instant, key: RouteKey) {
        let Some(route) = self.routes.get_mut(key) else {
            return;
        };
        route.hurried = false;
        let source = route.source;
        let connection = self.connections.get(source);
        if connection.is_some_and(|source| source.paused_since.is_some()) {
            self.hurry_incoming(now, source);
        }
    }

    /// The connection is not read, and the chunk that is arriving waits in its flow for the rest of it: neither would
    /// ever go on, unless the flow sends what it has.
    fn hurry_incoming(&mut self, now: Instant, key: ConnectionKey) {
        let incoming = self.connections.get(key).map(|source| &source.incoming);
        let Some(&Incoming::Send { route: key, .. }) = incoming else {
            return;
        };
        let Some(route) = self.routes.get_mut(key) else {
            return;
        };
        let waits =
            (route.frames || route.target == Target::Opening) && !planted(Fault::FrameWaits);
        if waits && !route.hurried && route.arriving_octets > 0 && route.holds_arriving_only() {
            route.hurried = true;
            self.push(now, key, Down::Hurry);
        }
    }

    /// For how long, ever, a connection was not read: its answers' timers stand still
    /// meanwhile.
    pub(super) fn unread_time(&self, key: ConnectionKey) -> Duration {
        self.connections
            .get(key)
            .map_or(Duration::ZERO, |connection| {
                let since = connection.paused_since;
                connection.unread
                    + since.map_or(Duration::ZERO, |since| {
                        self.now.saturating_duration_since(since)
                    })
            })
    }

    /// Room in the session that the connection is sending into. Between messages it is that of the last one, for what comes
    /// next is most likely its; but only where its receiver has taken nothing since the last look: else what is outstanding
    /// just waits for the end of this turn, and a read cut there would only cost.
    pub(super) fn room(&mut self, key: ConnectionKey) -> usize {
        let bound = self.settings.limits.queued_octets_per_session;
        let Some(connection) = self.connections.get(key) else {
            return 0;
        };
        let (route, inside) = match &connection.incoming {
            Incoming::Send { route, .. } => (Some(*route), true),
            _ => (connection.last_route, false),
        };
        let Some(route) = route.and_then(|route| self.routes.get_mut(route)) else {
            return FLUSH_OCTETS;
        };
        let moves = std::mem::take(&mut route.credited);
        match moves && !inside {
            true => FLUSH_OCTETS,
            false => bound.saturating_sub(route.outstanding),
        }
    }
}

/// A source is paused when this much is queued of it: the read that brings it there may bring a record more.
fn room_for_one_read(bound: usize) -> usize {
    bound - READ_OCTETS_MIN.min(bound / 4)
}
