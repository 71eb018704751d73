//! Whoever has spent more than was lent is held: not read, and what was read waits for its turn.

use std::time::Instant;

use super::super::Relay;
use super::super::connection::Incoming;
use super::super::keys::ConnectionKey;
use super::share::ShareKey;

/// Why a connection is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Hold {
    /// Somebody that it spends for owes.
    Owes = 1,
    /// Homes are asked about its AUTH.
    Auth = 2,
}

impl Relay {
    /// Whoever spends for somebody who owes begins no message: many connections could else each
    /// spend once more. What was read of a message that has begun goes on, so that nobody waits
    /// for its turn with half a message.
    pub(in crate::relay) fn hold_before_message(&mut self, key: ConnectionKey) {
        let connection = self.connections.get(key);
        if connection.is_some_and(|connection| matches!(connection.incoming, Incoming::Nothing)) {
            self.hold_if_anything_is_owed(key);
        }
    }

    pub(in crate::relay) fn hold_if_anything_is_owed(&mut self, key: ConnectionKey) {
        for share in self.spenders(key).into_iter().flatten() {
            self.hold_if_owed(key, share);
        }
    }

    /// Whoever spends for somebody who owes waits with the others.
    pub(super) fn hold_if_owed(&mut self, key: ConnectionKey, share: ShareKey) {
        if self.draining.is_some() {
            return;
        }
        let Some(owing) = self.shares.shares.get_mut(share) else {
            return;
        };
        let Some(rate) = owing.owes(&self.settings.quotas) else {
            return;
        };
        let kind = owing.subject.kind();
        let exceeds = owing.purses[rate as usize].lent;
        if self.hold(key, Hold::Owes)
            && let Some(owing) = self.shares.shares.get_mut(share)
        {
            owing.waiting.push_back(key);
            if exceeds {
                self.metrics.quota_exceeded(kind, rate.label());
            }
        }
    }

    /// The connection is not read, and what was read of it waits. False: it does so already.
    pub(super) fn hold(&mut self, key: ConnectionKey, why: Hold) -> bool {
        let Some(connection) = self.connections.get_mut(key) else {
            return false;
        };
        if connection.held & why as u8 != 0 || connection.ends {
            return false;
        }
        if connection.held == 0 {
            connection.pauses += 1;
        }
        connection.held |= why as u8;
        self.judge_control(key);
        true
    }

    /// What it waited for is there: it goes on at the end of the call.
    pub(super) fn free(&mut self, key: ConnectionKey, why: Hold) {
        self.shares.freed.push_back((key, why));
    }

    /// It is read again, if it was not.
    fn unhold(&mut self, key: ConnectionKey, why: Hold) -> bool {
        let Some(connection) = self.connections.get_mut(key) else {
            return false;
        };
        let held = connection.held;
        connection.held &= !(why as u8);
        let goes_on = held != 0 && connection.held == 0;
        if goes_on {
            self.unpause(key);
        }
        goes_on
    }

    /// It ends: the responses among what was read of it count (CON-10), and what had begun. What
    /// had not waited for its turn, and coming again and again must not be a way to have it.
    pub(in crate::relay) fn read_out(&mut self, now: Instant, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.held != 0 {
            connection.ends = true;
            for why in [Hold::Owes, Hold::Auth] {
                self.unhold(key, why);
            }
            if let Some(connection) = self.connections.get_mut(key) {
                connection.deaf = false;
            }
            self.decode(now, key);
        }
    }

    /// At the end of a call: who has waited for what is paid back now goes on, in turn, while
    /// there is something left.
    #[inline]
    pub(in crate::relay) fn relieve(&mut self, now: Instant) {
        if !self.shares.relieved.is_empty() || !self.shares.freed.is_empty() {
            self.relieve_waiting(now);
        }
    }

    #[cold]
    fn relieve_waiting(&mut self, now: Instant) {
        while let Some((connection, why)) = self.shares.freed.pop_front() {
            self.let_go_on(now, connection, why);
        }
        while let Some(key) = self.shares.relieved.pop_front() {
            while let Some(share) = self.shares.shares.get_mut(key)
                && share.owes(&self.settings.quotas).is_none()
                && let Some(connection) = share.waiting.pop_front()
            {
                self.let_go_on(now, connection, Hold::Owes);
            }
        }
    }

    /// Everybody who waits goes on: a drain has begun, or bounds have changed.
    pub(super) fn relieve_all(&mut self, now: Instant) {
        for key in self.shares.shares.keys() {
            let Some(share) = self.shares.shares.get_mut(key) else {
                continue;
            };
            let waiting = share.waiting.drain(..).map(|key| (key, Hold::Owes));
            self.shares.freed.extend(waiting);
            self.borrow(now, key);
        }
    }

    fn let_go_on(&mut self, now: Instant, key: ConnectionKey, why: Hold) {
        if self.unhold(key, why) {
            self.go_on(now, key);
        }
    }

    /// A drain has begun: what was read is to be dealt with, whatever it costs.
    pub(in crate::relay) fn end_quotas(&mut self, now: Instant) {
        if self.settings.quotas.any() {
            self.serve_all(now);
            self.relieve_all(now);
            self.relieve(now);
        }
    }
}
