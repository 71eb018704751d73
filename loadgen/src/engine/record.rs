//! What one thread measures: latencies and sums of the measured stretch, and of the last moments
//! for the display.
//!
//! A latency belongs to the time when its message was due. A rate counts what happened within the
//! measured stretch.

use hdrhistogram::Histogram;

use crate::plan::Role;

use super::series::Series;

/// Latencies from 1 us to 100 s with three digits, in nanoseconds.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 100_000_000_000, 3).expect("the bounds are valid")
}

/// Messages and octets of the measured stretch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sums {
    /// Messages due in it that were sent.
    pub sent: u64,
    /// Messages due in it that never were, because their connection took no more.
    pub not_sent: u64,
    /// And because this program did not get to it.
    pub not_sent_own: u64,
    /// Within it, whenever due: these make the rates.
    pub acknowledged: u64,
    pub delivered: u64,
    pub octets: u64,
    /// Chunks received.
    pub chunks: u64,
}

impl Sums {
    pub fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.not_sent += other.not_sent;
        self.not_sent_own += other.not_sent_own;
        self.acknowledged += other.acknowledged;
        self.delivered += other.delivered;
        self.octets += other.octets;
        self.chunks += other.chunks;
    }
}

/// What belongs to one group, or to the receiver that stands still.
#[derive(Clone, Debug)]
pub struct Bucket {
    pub sums: Sums,
    /// From due to whole at the receiver; what never came with the time it has waited.
    pub delivery: Histogram<u64>,
    /// From due to the last 200.
    pub acknowledgement: Histogram<u64>,
    /// From due to the success report.
    pub confirmation: Histogram<u64>,
    /// From due to the failure's being known, in the whole run.
    pub reports: Histogram<u64>,
}

impl Default for Bucket {
    fn default() -> Self {
        Self {
            sums: Sums::default(),
            delivery: histogram(),
            acknowledgement: histogram(),
            confirmation: histogram(),
            reports: histogram(),
        }
    }
}

impl Bucket {
    pub fn merge(&mut self, other: &Self) {
        self.sums.add(&other.sums);
        for (ours, theirs) in [
            (&mut self.delivery, &other.delivery),
            (&mut self.acknowledgement, &other.acknowledgement),
            (&mut self.confirmation, &other.confirmation),
            (&mut self.reports, &other.reports),
        ] {
            ours.add(theirs).expect("all have the same bounds");
        }
    }
}

pub struct Record {
    /// By bucket, whose it is; the last is the receiver's that stands still.
    roles: Vec<Option<Role>>,
    /// From when to when things are measured, on the engine's clock.
    pub window: (u64, u64),
    /// The measured stretch in intervals, of the groups that the run is about.
    pub series: Series,
    pub buckets: Vec<Bucket>,
    /// The bucket of the one group that the run is about, until [`Self::complete`].
    pub only_main: Option<usize>,
    /// From when a round was due to both clients' having left.
    pub rounds: Histogram<u64>,
    /// How long 200s were really held.
    pub held: Histogram<u64>,
    /// How late the thread was, for each message that was due at a time.
    pub lateness: Histogram<u64>,
    pub connecting: Histogram<u64>,
    pub handshake: Histogram<u64>,
    /// From TLS's being established to a WebSocket.
    pub upgrade: Histogram<u64>,
    pub auth: Histogram<u64>,
    /// From the loss of a session's connection to its being able to send again.
    pub recovery: Histogram<u64>,
    /// Since the display last looked.
    pub recent: Histogram<u64>,
}

/// Whose event it is: the place of its results, and what it is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    pub bucket: usize,
    /// `None`: a session whose receiver stands still.
    pub role: Option<Role>,
}

impl Owner {
    pub fn is_main(self) -> bool {
        self.role == Some(Role::Main)
    }
}

impl Record {
    pub fn new(buckets: usize) -> Self {
        Self {
            roles: vec![None; buckets],
            window: (u64::MAX, u64::MAX),
            series: Series::default(),
            buckets: vec![Bucket::default(); buckets],
            only_main: None,
            rounds: histogram(),
            held: histogram(),
            lateness: histogram(),
            connecting: histogram(),
            handshake: histogram(),
            upgrade: histogram(),
            auth: histogram(),
            recovery: histogram(),
            recent: histogram(),
        }
    }

    /// Those of the groups, in their order.
    pub fn set_roles(&mut self, groups: impl Iterator<Item = Role>) {
        for (ours, role) in self.roles.iter_mut().zip(groups) {
            *ours = Some(role);
        }
    }

    /// What the run is about, films, and the receiver that stands still.
    pub fn totals(&self) -> [Bucket; 3] {
        [Some(Role::Main), Some(Role::Film), None].map(|role| {
            let mut sum = Bucket::default();
            let all = self.roles.iter().zip(&self.buckets);
            for (_, bucket) in all.filter(|(of, _)| **of == role) {
                sum.merge(bucket);
            }
            sum
        })
    }

    /// Where one group is all that the run is about, its latencies are those of the intervals: kept once, and added up by
    /// [`Self::complete`].
    fn keeps_in_bucket(&self, owner: Owner) -> bool {
        !owner.is_main() || self.only_main.is_none()
    }

    /// At the end of a run, before anybody looks.
    pub fn complete(&mut self) {
        if let Some(bucket) = self.only_main.take() {
            for interval in self.series.intervals() {
                self.buckets[bucket]
                    .delivery
                    .add(&interval.delivery)
                    .expect("all have the same bounds");
            }
        }
    }

    pub fn measures(&self, time: u64) -> bool {
        self.window.0 <= time && time < self.window.1
    }

    pub fn sent(&mut self, owner: Owner, due_at: u64) {
        if self.measures(due_at) {
            self.buckets[owner.bucket].sums.sent += 1;
            if owner.is_main() {
                self.series.at(due_at).sent += 1;
            }
        }
    }

    /// `took` nanoseconds from when it was due.
    pub fn delivered(&mut self, owner: Owner, now: u64, due_at: u64, took: u64) {
        let (now_measured, due_measured) = (self.measures(now), self.measures(due_at));
        let in_bucket = self.keeps_in_bucket(owner);
        let bucket = &mut self.buckets[owner.bucket];
        bucket.sums.delivered += u64::from(now_measured);
        if in_bucket && due_measured {
            bucket.delivery.saturating_record(took);
        }
        if !owner.is_main() {
            return;
        }
        self.recent.saturating_record(took);
        if now_measured {
            self.series.at(now).delivered += 1;
        }
        if due_measured {
            self.series.at(due_at).delivery.saturating_record(took);
        }
    }

    pub fn acknowledged(&mut self, owner: Owner, now: u64, due_at: u64, took: u64) {
        let (now_measured, due_measured) = (self.measures(now), self.measures(due_at));
        let bucket = &mut self.buckets[owner.bucket];
        if due_measured {
            bucket.acknowledgement.saturating_record(took);
        }
        if now_measured {
            bucket.sums.acknowledged += 1;
            if owner.is_main() {
                self.series.at(now).acknowledged += 1;
            }
        }
    }

    pub fn confirmed(&mut self, owner: Owner, due_at: u64, took: u64) {
        if self.measures(due_at) {
            self.buckets[owner.bucket]
                .confirmation
                .saturating_record(took);
        }
    }

    pub fn reported(&mut self, owner: Owner, now: u64, due_at: u64, took: u64) {
        if self.measures(due_at) {
            self.buckets[owner.bucket].reports.saturating_record(took);
        }
        if owner.is_main() && self.measures(now) {
            self.series.at(now).reported += 1;
        }
    }

    /// A message that is lost, or that was open at the end, has waited so long at least.
    pub fn waited(&mut self, owner: Owner, due_at: u64, waited: u64, lost: bool, unanswered: bool) {
        if !self.measures(due_at) {
            return;
        }
        let bucket = &mut self.buckets[owner.bucket];
        if unanswered {
            bucket.acknowledgement.saturating_record(waited);
        }
        if !lost {
            return;
        }
        if self.keeps_in_bucket(owner) {
            self.buckets[owner.bucket]
                .delivery
                .saturating_record(waited);
        }
        if owner.is_main() {
            let interval = self.series.at(due_at);
            interval.lost += 1;
            interval.delivery.saturating_record(waited);
        }
    }

    /// A message that was due and was not sent until the end. With `waited` it was the relay that took no more.
    pub fn not_sent(&mut self, owner: Owner, due_at: u64, waited: Option<u64>) {
        if !self.measures(due_at) {
            return;
        }
        let in_bucket = self.keeps_in_bucket(owner);
        let bucket = &mut self.buckets[owner.bucket];
        match waited {
            Some(waited) => {
                bucket.sums.not_sent += 1;
                if in_bucket {
                    bucket.delivery.saturating_record(waited);
                }
            }
            None => bucket.sums.not_sent_own += 1,
        }
        if owner.is_main() {
            let interval = self.series.at(due_at);
            interval.not_sent += 1;
            if let Some(waited) = waited {
                interval.delivery.saturating_record(waited);
            }
        }
    }

    pub fn octets_arrived(&mut self, owner: Owner, now: u64, octets: u64) {
        if !self.measures(now) {
            return;
        }
        self.buckets[owner.bucket].sums.octets += octets;
        let interval = self.series.at(now);
        match owner.role {
            Some(Role::Film) => interval.film_octets += octets,
            Some(Role::Main) | None => interval.octets += octets,
        }
    }

    pub fn merge(&mut self, other: &Self) {
        self.series.merge(&other.series);
        for (ours, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            ours.merge(theirs);
        }
        for (ours, theirs) in [
            (&mut self.rounds, &other.rounds),
            (&mut self.held, &other.held),
            (&mut self.lateness, &other.lateness),
            (&mut self.connecting, &other.connecting),
            (&mut self.handshake, &other.handshake),
            (&mut self.upgrade, &other.upgrade),
            (&mut self.auth, &other.auth),
            (&mut self.recovery, &other.recovery),
        ] {
            ours.add(theirs).expect("all have the same bounds");
        }
    }
}
