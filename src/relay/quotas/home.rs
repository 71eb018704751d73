//! A subject's home: what lives of it is counted here, and its rates are lent from here.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::super::Relay;
use super::super::handoff::Handoff;
use super::super::keys::ShardId;
use super::super::slots::{Slots, key};
use super::super::timers::Timer;
use super::bucket::Bucket;
use super::share::ShareKey;
use super::{Asker, Claim, Left, Quota, QuotaHandoff, Rate, Subject, Verdict};
use crate::metrics::QuotaLabel;

/// AUTHs of one subject that may wait for their turn however low the rate is.
const AUTHS_WAITING: u64 = 32;

key!(
    /// What is known of a subject at its home.
    StandingKey
);

/// May there be one more?
#[derive(Debug)]
pub struct Question {
    pub(super) subject: Subject,
    pub(super) claim: Claim,
    pub(super) from: ShardId,
    pub(super) asker: Asker,
}

impl Question {
    fn verdict(self, refused: Option<QuotaLabel>) -> Verdict {
        Verdict {
            subject: self.subject,
            claim: self.claim,
            asker: self.asker,
            refused,
        }
    }
}

/// A shard wants to spend so much more.
#[derive(Debug)]
pub struct Borrowing {
    pub(super) subject: Subject,
    pub(super) rate: Rate,
    pub(super) units: u64,
    pub(super) from: ShardId,
    pub(super) share: ShareKey,
}

/// And may.
#[derive(Debug)]
pub struct Loan {
    pub(super) subject: Subject,
    pub(super) share: ShareKey,
    pub(super) rate: Rate,
    pub(super) units: u64,
}

/// Somebody's balance where a shard has nothing more to do with the subject: what it had left,
/// or still owed.
#[derive(Debug)]
pub struct Balance {
    pub(super) subject: Subject,
    pub(super) units: [i64; Rate::ALL.len()],
}

/// Whoever waits for a bucket, in turn: one borrowing of each shard, and a bounded number of AUTHs.
#[derive(Debug)]
enum Waiting {
    Question(Box<Question>),
    Borrowing(Box<Borrowing>),
}

#[derive(Debug)]
struct Standing {
    subject: Subject,
    sessions: u32,
    connections: u32,
    buckets: [Bucket; Rate::ALL.len()],
    waiting: [VecDeque<Waiting>; Rate::ALL.len()],
    /// A timer is set for then.
    timer: Option<Instant>,
}

/// All subjects whose home this shard is, and of which something lives or was spent just now.
#[derive(Default)]
pub(in crate::relay) struct Homes {
    standings: Slots<StandingKey, Standing>,
    by_subject: HashMap<Subject, StandingKey>,
    /// What this shard has told itself; empty between calls.
    to_self: VecDeque<QuotaHandoff>,
    /// That is being worked off.
    works_off: bool,
}

impl Homes {
    /// Subjects of which something is counted.
    pub fn counting(&self) -> usize {
        let standings = self.standings.iter();
        standings.filter(|(_, standing)| standing.lives()).count()
    }

    fn waiting(&self, subject: &Subject, rate: Rate) -> usize {
        let key = self.by_subject.get(subject);
        let standing = key.and_then(|key| self.standings.get(*key));
        standing.map_or(0, |standing| standing.waiting[rate as usize].len())
    }

    fn of(&mut self, now: Instant, subject: Subject, quota: &Quota) -> StandingKey {
        if let Some(key) = self.by_subject.get(&subject) {
            return *key;
        }
        let key = self.standings.insert(Standing {
            subject: subject.clone(),
            sessions: 0,
            connections: 0,
            buckets: Rate::ALL.map(|rate| Bucket::new(now, quota.rate(rate))),
            waiting: Default::default(),
            timer: None,
        });
        self.by_subject.insert(subject, key);
        key
    }

    fn remove(&mut self, key: StandingKey) {
        if let Some(standing) = self.standings.remove(key) {
            self.by_subject.remove(&standing.subject);
        }
    }
}

impl Standing {
    /// What stands in the way of one more; nothing: it is counted.
    fn admit(&mut self, claim: Claim, quota: &Quota, asker: Asker) -> Option<QuotaLabel> {
        let is_full = |bound: u32, lives: u32| bound > 0 && lives >= bound;
        if asker != Asker::Established {
            if claim.session && is_full(quota.sessions, self.sessions) {
                return Some(QuotaLabel::Sessions);
            }
            if claim.connection && is_full(quota.connections, self.connections) {
                return Some(QuotaLabel::Connections);
            }
        }
        self.sessions += u32::from(claim.session);
        self.connections += u32::from(claim.connection);
        None
    }

    /// A shard that asks again does so for a share of its own that is younger.
    fn wait(&mut self, rate: Rate, waiting: Waiting) {
        let queue = &mut self.waiting[rate as usize];
        if let Waiting::Borrowing(new) = &waiting {
            let same = queue
                .iter_mut()
                .find(|old| matches!(old, Waiting::Borrowing(old) if old.from == new.from));
            if let Some(same) = same {
                *same = waiting;
                return;
            }
        }
        queue.push_back(waiting);
    }

    fn lives(&self) -> bool {
        self.sessions > 0
            || self.connections > 0
            || self.waiting.iter().any(|waiting| !waiting.is_empty())
    }
}

impl Relay {
    /// To a subject's home, wherever that is.
    pub(super) fn message_home(&mut self, now: Instant, subject: &Subject, message: QuotaHandoff) {
        let home = subject.home(&self.hash_key, self.workers);
        self.quota_to(now, home, message);
    }

    fn quota_to(&mut self, now: Instant, shard: ShardId, message: QuotaHandoff) {
        if shard == self.shard {
            self.homes.to_self.push_back(message);
            self.quotas_to_self(now);
        } else {
            self.hand(shard, Handoff::Quota(message));
        }
    }

    /// What this shard tells itself. Within itself it does nothing: one verdict leads to the next
    /// question, and the outermost loop works them off, so that the stack does not grow.
    fn quotas_to_self(&mut self, now: Instant) {
        if std::mem::replace(&mut self.homes.works_off, true) {
            return;
        }
        while let Some(message) = self.homes.to_self.pop_front() {
            self.quota(now, message);
        }
        self.homes.works_off = false;
    }

    pub(in crate::relay) fn quota(&mut self, now: Instant, message: QuotaHandoff) {
        match message {
            QuotaHandoff::Ask(question) => self.quota_asked(now, question),
            QuotaHandoff::Verdict(verdict) => match verdict.asker {
                Asker::Auth(pending) => self.auth_admitted(now, pending, verdict.refused),
                Asker::Accept(connection) => self.accept_admitted(now, connection, verdict),
                Asker::Established => {}
            },
            QuotaHandoff::Leave(left) => self.quota_left(now, left),
            QuotaHandoff::Borrow(borrowing) => {
                let (subject, rate) = (borrowing.subject.clone(), borrowing.rate);
                self.wait_for_rate(now, subject, rate, Waiting::Borrowing(borrowing));
            }
            QuotaHandoff::Settle(balance) => self.settled(now, *balance),
            QuotaHandoff::Lent(loan) => self.lent(now, loan),
        }
    }

    fn quota_asked(&mut self, now: Instant, question: Box<Question>) {
        if !question.claim.auth {
            return self.decide(now, *question);
        }
        // More would wait in vain: their connections are closed after the time of probation.
        let rate = self
            .settings
            .quotas
            .of(question.subject.kind())
            .rate(Rate::Auths);
        let bound = rate.saturating_mul(self.settings.limits.probation.as_secs());
        let waiting = self.homes.waiting(&question.subject, Rate::Auths) as u64;
        if waiting >= bound.max(AUTHS_WAITING) {
            let from = question.from;
            let verdict = question.verdict(Some(QuotaLabel::Auths));
            return self.quota_to(now, from, QuotaHandoff::Verdict(verdict));
        }
        let subject = question.subject.clone();
        self.wait_for_rate(now, subject, Rate::Auths, Waiting::Question(question));
    }

    fn decide(&mut self, now: Instant, question: Question) {
        let quota = *self.settings.quotas.of(question.subject.kind());
        let key = self.homes.of(now, question.subject.clone(), &quota);
        let standing = self.homes.standings.get_mut(key).expect("just found");
        let refused = standing.admit(question.claim, &quota, question.asker);
        self.look_after(now, key);
        if question.asker != Asker::Established {
            let from = question.from;
            let verdict = question.verdict(refused);
            self.quota_to(now, from, QuotaHandoff::Verdict(verdict));
        }
    }

    fn quota_left(&mut self, now: Instant, Left { subject, claim }: Left) {
        let Some(key) = self.homes.by_subject.get(&subject).copied() else {
            return;
        };
        if let Some(standing) = self.homes.standings.get_mut(key) {
            standing.sessions -= u32::from(claim.session);
            standing.connections -= u32::from(claim.connection);
        }
        self.look_after(now, key);
    }

    fn wait_for_rate(&mut self, now: Instant, subject: Subject, rate: Rate, waiting: Waiting) {
        let quota = *self.settings.quotas.of(subject.kind());
        let key = self.homes.of(now, subject, &quota);
        let standing = self.homes.standings.get_mut(key).expect("just found");
        standing.wait(rate, waiting);
        self.serve(now, key);
    }

    fn settled(&mut self, now: Instant, balance: Balance) {
        let quota = *self.settings.quotas.of(balance.subject.kind());
        let key = self.homes.of(now, balance.subject, &quota);
        let standing = self.homes.standings.get_mut(key).expect("just found");
        for rate in Rate::ALL {
            let bucket = &mut standing.buckets[rate as usize];
            bucket.fill(now, quota.rate(rate));
            bucket.settle(balance.units[rate as usize]);
        }
        self.serve(now, key);
    }

    /// Whose turn it is gets what it wants while there is anything.
    fn serve(&mut self, now: Instant, key: StandingKey) {
        for rate in Rate::ALL {
            while let Some(waiting) = self.next_served(now, key, rate) {
                match waiting {
                    Waiting::Question(question) => self.decide(now, *question),
                    Waiting::Borrowing(borrowing) => {
                        let loan = Loan {
                            subject: borrowing.subject,
                            share: borrowing.share,
                            rate,
                            units: borrowing.units,
                        };
                        self.quota_to(now, borrowing.from, QuotaHandoff::Lent(loan));
                    }
                }
            }
        }
        self.look_after(now, key);
    }

    fn next_served(&mut self, now: Instant, key: StandingKey, rate: Rate) -> Option<Waiting> {
        let draining = self.draining.is_some();
        let standing = self.homes.standings.get_mut(key)?;
        let quota = self.settings.quotas.of(standing.subject.kind());
        let bucket = &mut standing.buckets[rate as usize];
        bucket.fill(now, quota.rate(rate));
        if !bucket.has_some() && !draining {
            return None;
        }
        let waiting = standing.waiting[rate as usize].pop_front()?;
        bucket.take(match &waiting {
            Waiting::Question(_) => 1,
            Waiting::Borrowing(borrowing) => borrowing.units,
        });
        Some(waiting)
    }

    /// Forgets the subject if nothing is to be known of it, or looks again when that may be, or
    /// when somebody can be served.
    fn look_after(&mut self, now: Instant, key: StandingKey) {
        let Some(standing) = self.homes.standings.get_mut(key) else {
            return;
        };
        let quota = self.settings.quotas.of(standing.subject.kind());
        let mut next: Option<Instant> = None;
        for rate in Rate::ALL {
            let bucket = &mut standing.buckets[rate as usize];
            bucket.fill(now, quota.rate(rate));
            let wait = match standing.waiting[rate as usize].is_empty() {
                false => bucket.empty_for(),
                true if bucket.is_full() => continue,
                true => bucket.filling_for(),
            };
            next = Some(next.map_or(now + wait, |next| next.min(now + wait)));
        }
        match next {
            Some(at) if standing.timer.is_none_or(|timer| at < timer) => {
                standing.timer = Some(at);
                self.timers.set(at, Timer::Quota(key));
            }
            None if !standing.lives() => self.homes.remove(key),
            _ => {}
        }
    }

    pub(in crate::relay) fn quota_due(&mut self, now: Instant, key: StandingKey) {
        let Some(standing) = self.homes.standings.get_mut(key) else {
            return;
        };
        if standing.timer.is_some_and(|at| at <= now) {
            standing.timer = None;
            self.serve(now, key);
        }
    }

    /// Nobody waits any more: a drain has begun, or bounds have changed.
    pub(super) fn serve_all(&mut self, now: Instant) {
        for key in self.homes.standings.keys() {
            self.serve(now, key);
        }
    }
}
