//! What sessions may send and when: closed loop, open loop, pieces of big messages.

use std::cmp::Reverse;

use crate::ids;
use crate::ledger::Begun;
use crate::pattern::Pattern;

use super::Engine;
use super::connection::Connection;
use super::requests::Request;
use super::session::{Outgoing, Pace};

/// Plain octets queued on a connection before its sessions wait: enough for full records and one
/// large write, little enough to stay in the cache.
const QUEUED_OCTETS: usize = 64 * 1024;
/// A larger chunk must be interruptible (RFC 4975 §7.1.1).
const UNINTERRUPTIBLE_OCTETS: u64 = 2048;
/// Open loop: unsettled messages of one session that are kept; what is due beyond that waits, and counts as waiting.
const UNSETTLED_MAX: usize = 100_000;

impl Engine {
    pub(super) fn pump_ready(&mut self) {
        if self.board.ready.is_empty() {
            return;
        }
        // A session may stand here several times; the second time finds nothing to do.
        let mut ready = std::mem::take(&mut self.board.ready);
        for place in ready.drain(..) {
            self.pump(place);
        }
        // Keep the room; pumping adds nothing to the list.
        if self.board.ready.is_empty() {
            self.board.ready = ready;
        }
    }

    /// Queues what the session may send, until its connection is full.
    fn pump(&mut self, place: usize) {
        if !self.board.sessions[place].is_ready() {
            return;
        }
        let key = self.board.sessions[place].sender;
        loop {
            if self.connections[key].link.is_none() {
                return;
            }
            if self.board.sessions[place].abort {
                self.abort_message(place, key);
            }
            if self.board.sessions[place].outgoing.is_none() && !self.begin_message(place) {
                return;
            }
            let connection = &mut self.connections[key];
            if connection.endpoint.out.len() >= QUEUED_OCTETS || link_is_busy(connection) {
                self.board.sessions[place].is_blocked = true;
                if !connection.endpoint.blocked.contains(&place) {
                    connection.endpoint.blocked.push(place);
                }
                self.touch(key);
                return;
            }
            self.interrupt_others(place, key);
            self.send_piece(place, key);
            self.touch(key);
        }
    }

    /// Ends the chunk of another session on this connection: nobody waits for a film (RFC 4975 §7.1.1).
    fn interrupt_others(&mut self, place: usize, key: usize) {
        let endpoint = &mut self.connections[key].endpoint;
        let Some(other) = endpoint.in_chunk.filter(|other| *other != place) else {
            return;
        };
        endpoint.in_chunk = None;
        if let Some(outgoing) = &mut self.board.sessions[other].outgoing {
            endpoint.requests.shorten(&outgoing.tid, outgoing.at);
            outgoing.chunk_end = outgoing.at;
            endpoint.out.end_line(&outgoing.tid, b'+');
        }
    }

    /// Sends no more of a message that has failed.
    fn abort_message(&mut self, place: usize, key: usize) {
        let session = &mut self.board.sessions[place];
        session.abort = false;
        let Some(outgoing) = session.outgoing.take() else {
            return;
        };
        let endpoint = &mut self.connections[key].endpoint;
        if endpoint.in_chunk == Some(place) {
            endpoint.in_chunk = None;
            endpoint.requests.shorten(&outgoing.tid, outgoing.at);
            endpoint.out.end_line(&outgoing.tid, b'#');
        }
        let progress = session.ledger.abandoned(outgoing.message, self.board.now);
        self.board.progressed(place, progress);
        self.touch(key);
    }

    /// Begins the next message if there may be one now.
    fn begin_message(&mut self, place: usize) -> bool {
        let now = self.board.now;
        let session = &mut self.board.sessions[place];
        if now < self.sending.0 {
            return false;
        }
        // Films and what stands still have no warm-up.
        if !session.flow.owner.is_main() && now < self.board.record.window.0 {
            return false;
        }
        if session.has_begun_all() {
            if session.ledger.unsettled() == 0 && self.board.plan.rounds.is_some() {
                self.leaving.push(place);
            }
            return false;
        }
        if self.is_over {
            return false;
        }
        let due_at = match session.flow.pace {
            Pace::Window(window) if session.ledger.unsettled() >= window => return false,
            Pace::Window(_) if now >= self.sending.1 => return false,
            Pace::Window(_) => now,
            Pace::Open => match self.take_due(place) {
                Some(due_at) => due_at,
                None => return false,
            },
        };
        let session = &mut self.board.sessions[place];
        let size = session.draw_size();
        let trace_every = self.board.plan.trace_every;
        let message = session.ledger.begin(Begun {
            size,
            due_at,
            sent_at: now,
            measured: self.board.record.measures(due_at),
            traced: trace_every > 0 && session.ledger.begun().is_multiple_of(trace_every),
        });
        self.board.record.sent(session.flow.owner, due_at);
        session.outgoing = Some(Outgoing {
            message,
            size,
            origin: Pattern::origin(session.id, message),
            at: 0,
            chunk_end: 0,
            tid: [0; ids::TID_OCTETS],
        });
        true
    }

    /// Open loop: when the message was due that may begin now. Each has its own place on the time line; delays do not
    /// shift it.
    fn take_due(&mut self, place: usize) -> Option<u64> {
        let now = self.board.now;
        let session = &mut self.board.sessions[place];
        let due = session.next_due;
        if due > now || due >= self.sending.1 {
            self.schedule(place);
            return None;
        }
        if session.ledger.unsettled() >= UNSETTLED_MAX {
            session.is_blocked = true;
            return None;
        }
        if std::mem::take(&mut session.is_blocked) {
            session.free_since = now;
        }
        // What waited for its connection waited for the relay, the rest for us.
        let late = now.saturating_sub(due.max(session.free_since));
        self.next_due(place);
        if self.board.record.measures(due) {
            self.board.record.lateness.saturating_record(late);
        }
        Some(due)
    }

    /// Moves an open loop's session on to its next message.
    pub(super) fn next_due(&mut self, place: usize) {
        self.board.sessions[place].places.advance();
        self.board.sessions[place].next_due = self.due_at(place);
    }

    /// When the session's next message is due, on the engine's clock.
    pub(super) fn due_at(&self, place: usize) -> u64 {
        let session = &self.board.sessions[place];
        let Some(profile) = &self.profiles[session.slot.group] else {
            return u64::MAX;
        };
        let seconds = profile.time_at(session.places.next);
        // The measured stretch is never that near to the clock's beginning that this would be below 0.
        let origin = self.board.record.window.0 as f64;
        match seconds.is_finite() {
            true => (origin + seconds * 1e9) as u64,
            false => u64::MAX,
        }
    }

    /// At the end: what was due and never began.
    pub(super) fn count_not_sent(&mut self) {
        let now = self.board.now;
        for place in 0..self.board.sessions.len() {
            if self.board.sessions[place].flow.pace != Pace::Open {
                continue;
            }
            while self.board.sessions[place].next_due < self.sending.1 {
                let session = &self.board.sessions[place];
                let (owner, due) = (session.flow.owner, session.next_due);
                let by_relay =
                    session.is_blocked || session.outgoing.is_some() || !session.is_ready();
                let waited = self.board.stalls.awake(due, now);
                self.board
                    .record
                    .not_sent(owner, due, by_relay.then_some(waited));
                self.next_due(place);
            }
        }
    }

    /// Looks at the session again when its next message (or round) is due.
    pub(super) fn schedule(&mut self, place: usize) {
        let session = &mut self.board.sessions[place];
        if session.next_due < self.sending.1 && !session.is_scheduled {
            session.is_scheduled = true;
            self.scheduled.push(Reverse((session.next_due, place)));
        }
    }

    /// Queues the next piece of the message that is going out.
    fn send_piece(&mut self, place: usize, key: usize) {
        let shared = self.connections[key].sessions.len() > 1;
        let endpoint = &mut self.connections[key].endpoint;
        let session = &mut self.board.sessions[place];
        let (Some(outgoing), Some(template)) = (&mut session.outgoing, &session.template) else {
            return;
        };
        if outgoing.at == outgoing.chunk_end {
            let from = outgoing.at;
            let to = outgoing.size.min(from + session.flow.chunk_octets);
            let message = outgoing.message;
            let request = Request::Chunk {
                session: place,
                message,
                from,
                to,
            };
            outgoing.tid = endpoint.request(request, session.flow.report);
            outgoing.chunk_end = to;
            let id = ids::message_id(self.board.run, session.id, message);
            let may_be_interrupted = shared && to - from > UNINTERRUPTIBLE_OCTETS;
            let end = (!may_be_interrupted).then_some(to);
            template.head(
                &mut endpoint.out.octets,
                &outgoing.tid,
                &id,
                (from, end),
                outgoing.size,
            );
            endpoint.in_chunk = Some(place);
            session
                .ledger
                .chunk_sent(message, to == outgoing.size, self.board.now);
        }
        let piece = (outgoing.chunk_end - outgoing.at).min(QUEUED_OCTETS as u64);
        self.board.pattern.append(
            &mut endpoint.out.octets,
            outgoing.origin,
            outgoing.at,
            piece as usize,
        );
        outgoing.at += piece;
        if outgoing.at == outgoing.chunk_end {
            let whole = outgoing.at == outgoing.size;
            let flag = if whole { b'$' } else { b'+' };
            endpoint.out.end_line(&outgoing.tid, flag);
            endpoint.in_chunk = None;
            if whole {
                session.outgoing = None;
            }
        }
    }
}

fn link_is_busy(connection: &Connection) -> bool {
    connection
        .link
        .as_ref()
        .is_none_or(|link| link.waiting() > 0)
}
