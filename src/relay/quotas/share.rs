//! What this shard may spend for a subject, and who waits for more.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::super::Relay;
use super::super::command::Refusal;
use super::super::connection::{Connection, Incoming};
use super::super::keys::{ConnectionKey, RouteKey, SessionKey};
use super::super::slots::{Slots, key};
use super::home::{Balance, Borrowing, Loan};
use super::{QuotaHandoff, Quotas, Rate, Subject};
use crate::metrics::{QuotaLabel, SubjectLabel};
use crate::wire::Head;

key!(
    /// A subject that somebody spends for on this shard.
    ShareKey
);

/// What is borrowed at a time, in parts of a second.
const PARTS: u64 = 20;

#[derive(Clone, Copy, Default, Debug)]
struct Purse {
    /// Below 0: owed.
    left: i64,
    /// More was asked for.
    asked: bool,
    /// Something was lent since the share was made: a new one must not be a way to spend first.
    lent: bool,
}

#[derive(Debug)]
struct Share {
    subject: Subject,
    /// Connections and sessions that spend here.
    spenders: usize,
    purses: [Purse; Rate::ALL.len()],
    /// Connections that are not read until nothing is owed, in turn.
    waiting: VecDeque<ConnectionKey>,
}

impl Share {
    /// The rate at which more was spent than lent.
    fn owes(&self, quotas: &Quotas) -> Option<Rate> {
        let quota = quotas.of(self.subject.kind());
        let owed = |rate: &Rate| {
            let purse = &self.purses[*rate as usize];
            quota.rate(*rate) > 0 && (purse.left < 0 || !purse.lent)
        };
        Rate::ALL.into_iter().find(owed)
    }
}

/// Why a connection is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Hold {
    /// Somebody that it spends for owes.
    Owes = 1,
    /// Homes are asked about its AUTH.
    Auth = 2,
}

/// The shares of one shard.
#[derive(Default)]
pub(in crate::relay) struct Shares {
    shares: Slots<ShareKey, Share>,
    by_subject: HashMap<Subject, ShareKey>,
    /// What was owed there is paid back: who waits may go on.
    relieved: VecDeque<ShareKey>,
    /// Connections that wait no more for that reason.
    freed: VecDeque<(ConnectionKey, Hold)>,
}

impl Shares {
    pub fn len(&self) -> usize {
        self.shares.len()
    }

    fn join(&mut self, subject: Subject) -> ShareKey {
        let key = *self
            .by_subject
            .entry(subject)
            .or_insert_with_key(|subject| {
                self.shares.insert(Share {
                    subject: subject.clone(),
                    spenders: 0,
                    purses: Default::default(),
                    waiting: VecDeque::new(),
                })
            });
        if let Some(share) = self.shares.get_mut(key) {
            share.spenders += 1;
        }
        key
    }
}

impl Relay {
    /// One more spends for this subject, if anything of it is bounded.
    pub(super) fn join_share(&mut self, now: Instant, subject: Subject) -> Option<ShareKey> {
        if !self.settings.quotas.of(subject.kind()).has_rates() {
            return None;
        }
        let key = self.shares.join(subject);
        self.borrow(now, key);
        Some(key)
    }

    pub(super) fn leave_share(&mut self, now: Instant, key: ShareKey) {
        let Some(share) = self.shares.shares.get_mut(key) else {
            return;
        };
        share.spenders -= 1;
        if share.spenders > 0 {
            return;
        }
        let share = self.shares.shares.remove(key).expect("looked up above");
        self.shares.by_subject.remove(&share.subject);
        let balance = Balance {
            units: share.purses.map(|purse| purse.left),
            subject: share.subject.clone(),
        };
        self.message_home(now, &share.subject, QuotaHandoff::Settle(Box::new(balance)));
        // They spend for others too, or have gone.
        let freed = share.waiting.into_iter().map(|key| (key, Hold::Owes));
        self.shares.freed.extend(freed);
    }

    /// Asks the home for more before all is spent.
    fn borrow(&mut self, now: Instant, key: ShareKey) {
        for rate in Rate::ALL {
            let Some(share) = self.shares.shares.get_mut(key) else {
                return;
            };
            let per_second = self.settings.quotas.of(share.subject.kind()).rate(rate);
            let purse = &mut share.purses[rate as usize];
            let piece = (per_second / PARTS).max(1) as i64;
            if per_second == 0 || purse.asked || purse.left > piece / 2 {
                continue;
            }
            purse.asked = true;
            let borrowing = Borrowing {
                subject: share.subject.clone(),
                rate,
                units: (piece - purse.left) as u64,
                from: self.shard,
                share: key,
            };
            let subject = borrowing.subject.clone();
            self.message_home(now, &subject, QuotaHandoff::Borrow(Box::new(borrowing)));
        }
    }

    pub(super) fn lent(&mut self, now: Instant, loan: Loan) {
        let Some(share) = self.shares.shares.get_mut(loan.share) else {
            let mut units = [0; Rate::ALL.len()];
            units[loan.rate as usize] = loan.units as i64;
            let balance = Balance {
                subject: loan.subject.clone(),
                units,
            };
            let message = QuotaHandoff::Settle(Box::new(balance));
            return self.message_home(now, &loan.subject, message);
        };
        let purse = &mut share.purses[loan.rate as usize];
        purse.left = purse.left.saturating_add(loan.units as i64);
        purse.asked = false;
        purse.lent = true;
        let goes_on = share.owes(&self.settings.quotas).is_none() && !share.waiting.is_empty();
        if goes_on {
            self.shares.relieved.push_back(loan.share);
        }
        self.borrow(now, loan.share);
    }

    /// So much was spent; past what was lent the connection is held, see
    /// [`hold_before_message`](Self::hold_before_message).
    fn spend(
        &mut self,
        now: Instant,
        shares: impl IntoIterator<Item = ShareKey>,
        rate: Rate,
        units: u64,
    ) {
        for share_key in shares {
            let Some(share) = self.shares.shares.get_mut(share_key) else {
                continue;
            };
            if self.settings.quotas.of(share.subject.kind()).rate(rate) == 0 {
                continue;
            }
            let purse = &mut share.purses[rate as usize];
            purse.left = purse.left.saturating_sub_unsigned(units);
            self.borrow(now, share_key);
        }
    }

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

    /// Whether what this connection sends counts for anything.
    #[inline]
    pub(in crate::relay) fn has_spending(&self, key: ConnectionKey) -> bool {
        let connection = self.connections.get(key);
        connection.is_some_and(|connection| connection.spending.is_some())
    }

    /// Sends the head of a chunk into its route, if its message is not too large.
    pub(in crate::relay) fn begin_counted(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        route: RouteKey,
        head: Head,
        hops: usize,
    ) -> Incoming {
        let id = head.message_id().unwrap_or_default();
        let new = self
            .routes
            .get(route)
            .is_some_and(|route| !route.has_begun(id));
        self.spend_chunk(now, key, route, new);
        if let Err(kind) = self.fits(key, route, &head) {
            self.metrics.quota_exceeded(kind, QuotaLabel::MessageOctets);
            self.stop_message(now, route, &head);
            self.refuse_send(now, key, &head, &Refusal::STOP);
            return Incoming::PastIt;
        }
        self.begin(now, key, route, head, hops)
    }

    /// More octets have come than the message may have.
    pub(in crate::relay) fn stop_too_large(&mut self, now: Instant, route: RouteKey) {
        let session = self.routes.get(route).and_then(|route| route.session);
        if let Some((_, kind)) = self.message_bound(session) {
            self.metrics.quota_exceeded(kind, QuotaLabel::MessageOctets);
        }
        self.stop_arriving(now, route);
    }

    /// An AUTH counts for the prefix that it comes from.
    pub(in crate::relay) fn spend_auth(&mut self, now: Instant, key: ConnectionKey) {
        let spending = self.connections.get(key).and_then(Connection::spending);
        let prefix = spending.and_then(|spending| spending.prefix);
        self.spend(now, prefix, Rate::Auths, 1);
    }

    /// A chunk has begun; `new` if it is the first of its message.
    fn spend_chunk(&mut self, now: Instant, key: ConnectionKey, route: RouteKey, new: bool) {
        let session = self.routes.get(route).and_then(|route| route.session);
        let Some(spending) = self
            .connections
            .get_mut(key)
            .and_then(|c| c.spending.as_mut())
        else {
            return;
        };
        spending.session = session;
        if new {
            let shares = self.spenders(key);
            self.spend(now, shares.into_iter().flatten(), Rate::Messages, 1);
        }
    }

    /// Octets of a chunk have come in. False: the message is too large.
    pub(in crate::relay) fn spend_octets(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        octets: usize,
    ) -> bool {
        let spending = self
            .connections
            .get_mut(key)
            .and_then(|c| c.spending.as_mut());
        let Some(spending) = spending else {
            return true;
        };
        spending.position += octets as u64;
        let fits = spending
            .last
            .is_none_or(|last| spending.position <= last + 1);
        let shares = self.spenders(key);
        self.spend(
            now,
            shares.into_iter().flatten(),
            Rate::Octets,
            octets as u64,
        );
        fits
    }

    /// Where the connection spends for what is coming in.
    fn spenders(&self, key: ConnectionKey) -> [Option<ShareKey>; 3] {
        let Some(spending) = self.connections.get(key).and_then(Connection::spending) else {
            return [None; 3];
        };
        let counted = spending
            .session
            .and_then(|session| self.sessions.get(session)?.counted.as_ref());
        let [user, realm] = counted.map_or([None; 2], |counted| counted.shares);
        [user, realm, spending.prefix]
    }

    /// The largest message that may come by this route; 0: of any size. And whose bound it is.
    fn message_bound(&self, session: Option<SessionKey>) -> Option<(u64, SubjectLabel)> {
        let kinds: &[SubjectLabel] = match session {
            Some(_) => &SubjectLabel::ALL,
            None => &[SubjectLabel::Prefix],
        };
        let bound = |kind: &SubjectLabel| (self.settings.quotas.of(*kind).message_octets, *kind);
        let bounds = kinds.iter().map(bound);
        bounds
            .filter(|(octets, _)| *octets > 0)
            .min_by_key(|(octets, _)| *octets)
    }

    /// Whether the message of this chunk is known to be too large (D-35), and how far it may go.
    fn fits(
        &mut self,
        key: ConnectionKey,
        route: RouteKey,
        head: &Head,
    ) -> Result<(), SubjectLabel> {
        let session = self.routes.get(route).and_then(|route| route.session);
        let bound = self.message_bound(session);
        let Some(spending) = self
            .connections
            .get_mut(key)
            .and_then(|c| c.spending.as_mut())
        else {
            return Ok(());
        };
        let range = head.byte_range();
        spending.position = range.map_or(1, |range| range.start);
        spending.last = bound.map(|(octets, _)| octets);
        let Some((octets, kind)) = bound else {
            return Ok(());
        };
        let announced = range.and_then(|range| range.total.max(range.end));
        let known = announced
            .unwrap_or(0)
            .max(spending.position.saturating_sub(1));
        match known > octets {
            true => Err(kind),
            false => Ok(()),
        }
    }
}
