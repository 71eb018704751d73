//! What one thread measures: latencies and sums of the measured stretch, and of the last moments
//! for the display.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::series::Series;
use super::session::Role;

/// Latencies from 1 us to 100 s with three digits, in nanoseconds.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 100_000_000_000, 3).expect("the bounds are valid")
}

/// Events that count as measured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sums {
    pub sent: u64,
    pub acknowledged: u64,
    pub delivered: u64,
    pub octets: u64,
    /// Chunks received.
    pub chunks: u64,
}

impl Sums {
    pub fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        self.delivered += other.delivered;
        self.octets += other.octets;
        self.chunks += other.chunks;
    }
}

pub struct Record {
    /// From when to when events are measured, on the engine's clock.
    pub window: (u64, u64),
    /// The measured stretch in intervals.
    pub series: Series,
    /// Of the main sessions, of films, of those whose receiver stands still.
    pub sums: Sums,
    pub film_sums: Sums,
    pub standing_sums: Sums,
    /// From sent (open loop: from due) to whole at the receiver.
    pub delivery: Histogram<u64>,
    /// From sent (open loop: from due) to the last 200.
    pub acknowledgement: Histogram<u64>,
    /// From when a round was due to both clients' having left.
    pub rounds: Histogram<u64>,
    /// Whole films, however they ended within the run.
    pub films: Histogram<u64>,
    /// From due to the report, of messages to a receiver that stands still, in the whole run.
    pub standing_reports: Histogram<u64>,
    /// How long 200s were really held.
    pub held: Histogram<u64>,
    /// How late the thread was for what was due at a time.
    pub lateness: Histogram<u64>,
    pub connecting: Histogram<u64>,
    pub handshake: Histogram<u64>,
    pub auth: Histogram<u64>,
    /// Since the display last looked.
    pub recent: Histogram<u64>,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            window: (u64::MAX, u64::MAX),
            series: Series::default(),
            sums: Sums::default(),
            film_sums: Sums::default(),
            standing_sums: Sums::default(),
            rounds: histogram(),
            films: histogram(),
            standing_reports: histogram(),
            delivery: histogram(),
            acknowledgement: histogram(),
            held: histogram(),
            lateness: histogram(),
            connecting: histogram(),
            handshake: histogram(),
            auth: histogram(),
            recent: histogram(),
        }
    }
}

impl Record {
    pub fn measures(&self, now: u64) -> bool {
        self.window.0 <= now && now < self.window.1
    }

    pub fn sums_of(&mut self, role: Role) -> &mut Sums {
        match role {
            Role::Main => &mut self.sums,
            Role::Film => &mut self.film_sums,
            Role::Standing => &mut self.standing_sums,
        }
    }

    pub fn delivered(&mut self, role: Role, now: u64, due_at: u64) {
        let took = now.saturating_sub(due_at);
        match role {
            Role::Main => self.recent.saturating_record(took),
            Role::Film => self.films.saturating_record(took),
            Role::Standing => {}
        }
        if self.measures(now) {
            self.sums_of(role).delivered += 1;
            if role == Role::Main {
                self.delivery.saturating_record(took);
                self.series.at(now).delivery.saturating_record(took);
            }
        }
    }

    pub fn acknowledged(&mut self, role: Role, now: u64, due_at: u64) {
        if !self.measures(now) {
            return;
        }
        self.sums_of(role).acknowledged += 1;
        if role == Role::Main {
            self.acknowledgement
                .saturating_record(now.saturating_sub(due_at));
            self.series.at(now).acknowledged += 1;
        }
    }

    pub fn reported(&mut self, role: Role, now: u64, due_at: u64) {
        if role == Role::Main && self.measures(now) {
            self.series.at(now).reported += 1;
        }
        if role == Role::Standing {
            self.standing_reports
                .saturating_record(now.saturating_sub(due_at));
        }
    }

    pub fn octets_arrived(&mut self, role: Role, now: u64, octets: u64) {
        if !self.measures(now) {
            return;
        }
        self.sums_of(role).octets += octets;
        let interval = self.series.at(now);
        match role {
            Role::Film => interval.film_octets += octets,
            Role::Main | Role::Standing => interval.octets += octets,
        }
    }

    pub fn merge(&mut self, other: &Self) {
        self.series.merge(&other.series);
        self.sums.add(&other.sums);
        self.film_sums.add(&other.film_sums);
        self.standing_sums.add(&other.standing_sums);
        for (ours, theirs) in [
            (&mut self.delivery, &other.delivery),
            (&mut self.acknowledgement, &other.acknowledgement),
            (&mut self.rounds, &other.rounds),
            (&mut self.films, &other.films),
            (&mut self.standing_reports, &other.standing_reports),
            (&mut self.held, &other.held),
            (&mut self.lateness, &other.lateness),
            (&mut self.connecting, &other.connecting),
            (&mut self.handshake, &other.handshake),
            (&mut self.auth, &other.auth),
        ] {
            ours.add(theirs).expect("all have the same bounds");
        }
    }
}

/// A quantile as a duration.
pub fn quantile(histogram: &Histogram<u64>, q: f64) -> Duration {
    Duration::from_nanos(histogram.value_at_quantile(q))
}
