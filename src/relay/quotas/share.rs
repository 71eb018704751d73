//! What this shard may spend for a subject, and who waits for more.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::super::Relay;
use super::super::keys::ConnectionKey;
use super::super::slots::{Slots, key};
use super::hold::Hold;
use super::home::{Balance, Borrowing, Loan};
use super::{QuotaHandoff, Quotas, Rate, Subject};

key!(
    /// A subject that somebody spends for on this shard.
    ShareKey
);

/// What is borrowed at a time, in parts of a second.
const PARTS: u64 = 20;

#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Purse {
    /// Below 0: owed.
    left: i64,
    /// More was asked for.
    asked: bool,
    /// Something was lent since the share was made: a new one must not be a way to spend first.
    pub(super) lent: bool,
}

#[derive(Debug)]
pub(super) struct Share {
    pub(super) subject: Subject,
    /// Connections and sessions that spend here.
    spenders: usize,
    pub(super) purses: [Purse; Rate::ALL.len()],
    /// Connections that are not read until nothing is owed, in turn.
    pub(super) waiting: VecDeque<ConnectionKey>,
}

impl Share {
    /// The rate at which more was spent than lent.
    pub(super) fn owes(&self, quotas: &Quotas) -> Option<Rate> {
        let quota = quotas.of(self.subject.kind());
        let owed = |rate: &Rate| {
            let purse = &self.purses[*rate as usize];
            quota.rate(*rate) > 0 && (purse.left < 0 || !purse.lent)
        };
        Rate::ALL.into_iter().find(owed)
    }
}

/// The shares of one shard.
#[derive(Default)]
pub(in crate::relay) struct Shares {
    pub(super) shares: Slots<ShareKey, Share>,
    by_subject: HashMap<Subject, ShareKey>,
    /// What was owed there is paid back: who waits may go on.
    pub(super) relieved: VecDeque<ShareKey>,
    /// Connections that wait no more for that reason.
    pub(super) freed: VecDeque<(ConnectionKey, Hold)>,
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
    pub(super) fn borrow(&mut self, now: Instant, key: ShareKey) {
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
    pub(super) fn spend(
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
}
