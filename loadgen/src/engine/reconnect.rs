//! `--reconnect`: what is lost in a run is opened again, as a new client with a new AUTH, until it
//! works; its sessions begin again with their first SEND.

use std::cmp::Reverse;
use std::io;
use std::time::Duration;

use crate::notices::Kind;

use super::connection::Stage;
use super::session::Stage as SessionStage;
use super::{Engine, setup};

/// Between the loss of a connection, or a vain attempt, and the next one. Octets of the other end may
/// still come in this time.
const RETRY: Duration = Duration::from_millis(200);

impl Engine {
    /// Whether what is lost now is opened again.
    pub(super) fn returns(&self) -> bool {
        let is_running = self.sending.0 != u64::MAX && !self.is_over && !self.closing;
        self.board.plan.reconnect && is_running
    }

    /// A connection is lost: both ends of its sessions will begin again.
    pub(super) fn return_later(&mut self, key: usize) {
        let due = self.board.now + RETRY.as_nanos() as u64;
        for place in self.connections[key].sessions.clone() {
            let session = &mut self.board.sessions[place];
            if session.broken_at == 0 {
                session.broken_at = self.board.now;
                self.reconnected.sessions_broken += 1;
                self.board.bound = self.board.bound.saturating_sub(1);
            }
            session.stage = SessionStage::Broken;
            for end in session.ends() {
                self.returning.push(Reverse((due, end)));
            }
        }
        self.returning.push(Reverse((due, key)));
    }

    /// Opens what is due to be opened again.
    pub(super) fn reconnect(&mut self) {
        while let Some(&Reverse((due, key))) = self.returning.peek()
            && due <= self.board.now
        {
            self.returning.pop();
            if self.is_over {
                continue;
            }
            if matches!(
                self.connections[key].stage,
                Stage::Closed | Stage::Returning
            ) {
                self.begin_again(key);
            }
        }
    }

    /// Opens a lost connection, and with it the other end of the sessions that it broke: what that still had under way
    /// belongs to nobody any more.
    fn begin_again(&mut self, key: usize) {
        let mut keys = vec![key];
        for place in self.connections[key].sessions.clone() {
            if self.board.sessions[place].stage != SessionStage::Broken {
                continue;
            }
            self.reconnected.lost += self.board.close_account(place);
            let session = &mut self.board.sessions[place];
            session.outgoing = None;
            session.abort = false;
            session.stage = SessionStage::Opening;
            keys.extend(session.ends().filter(|end| *end != key));
        }
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let connection = &self.connections[key];
            match connection.stage {
                Stage::Ready if connection.link.is_some() => self.leave(key),
                Stage::Closed | Stage::Returning => self.renew(key),
                // It is on its way already.
                _ => continue,
            }
            if !self.connections[key].accepted {
                self.open(key);
            }
        }
    }

    /// A new client in the place of one whose connection is over.
    pub(super) fn renew(&mut self, key: usize) {
        if self.connections[key].accepted {
            // The relay dialled; it will again, at the listener.
            self.connections[key].stage = Stage::Closed;
            for place in std::mem::take(&mut self.connections[key].sessions) {
                self.board.sessions[place].receiver = None;
            }
            return;
        }
        let connection = &self.connections[key];
        let transport = connection.transport;
        let seats = connection.endpoint.seats.len();
        let uris = (0..seats)
            .map(|_| setup::client_uri(key, transport))
            .collect();
        self.connections[key].renew(uris);
    }

    /// An attempt was in vain.
    pub(super) fn try_again(&mut self, key: usize, error: &io::Error) {
        self.reconnected.attempts_failed += 1;
        let cause = error.to_string();
        self.board
            .notices
            .note(Kind::CannotReconnect, None, cause, None, String::new);
        self.connections[key].stage = Stage::Returning;
        let due = self.board.now + RETRY.as_nanos() as u64;
        self.returning.push(Reverse((due, key)));
    }
}
