//! A rate as a bucket: it fills evenly, holds a quarter of a second's worth, and whoever finds
//! anything in it may take more than that, which the next ones wait for.

use std::time::{Duration, Instant};

/// Millionths of a unit.
const MICRO: i64 = 1_000_000;
/// What it holds, in parts of a second.
const PARTS: u64 = 4;

#[derive(Debug)]
pub(super) struct Bucket {
    level: i64,
    at: Instant,
    /// Units in a second that it was filled for; 0: it is not in use.
    rate: u64,
}

impl Bucket {
    /// Full.
    pub fn new(now: Instant, rate: u64) -> Self {
        Self {
            level: capacity(rate),
            at: now,
            rate,
        }
    }

    /// Up to now, at the rate that holds from now on.
    pub fn fill(&mut self, now: Instant, rate: u64) {
        if rate != self.rate {
            *self = Self::new(now, rate);
            return;
        }
        let micros = now.saturating_duration_since(self.at).as_micros();
        let gained = micros.saturating_mul(u128::from(rate));
        let gained = i64::try_from(gained).unwrap_or(i64::MAX);
        self.level = self.level.saturating_add(gained).min(capacity(rate));
        self.at = now;
    }

    pub fn is_full(&self) -> bool {
        self.level >= capacity(self.rate)
    }

    pub fn has_some(&self) -> bool {
        self.rate == 0 || self.level > 0
    }

    pub fn take(&mut self, units: u64) {
        if self.rate > 0 {
            let micros = i64::try_from(units)
                .unwrap_or(i64::MAX)
                .saturating_mul(MICRO);
            self.level = self.level.saturating_sub(micros);
        }
    }

    /// Somebody has brought back so much, or owed it.
    pub fn settle(&mut self, units: i64) {
        if self.rate > 0 {
            let level = self.level.saturating_add(units.saturating_mul(MICRO));
            self.level = level.min(capacity(self.rate));
        }
    }

    /// Until there is something in it again.
    pub fn empty_for(&self) -> Duration {
        self.time_to(1)
    }

    /// Until it is full.
    pub fn filling_for(&self) -> Duration {
        self.time_to(capacity(self.rate))
    }

    fn time_to(&self, level: i64) -> Duration {
        let missing = level.saturating_sub(self.level).max(0) as u64;
        match self.rate {
            0 => Duration::ZERO,
            rate => Duration::from_micros(missing.div_ceil(rate)),
        }
    }
}

fn capacity(rate: u64) -> i64 {
    let units = (rate / PARTS).max(1);
    i64::try_from(units)
        .unwrap_or(i64::MAX)
        .saturating_mul(MICRO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_over_time_is_the_rate() {
        for rate in [1, 7, 1000, 10_000_000_000] {
            let began = Instant::now();
            let mut bucket = Bucket::new(began, rate);
            let (mut now, mut taken) = (began, 0);
            let piece = (rate / 20).max(1);
            while now < began + Duration::from_secs(40) {
                bucket.fill(now, rate);
                match bucket.has_some() {
                    true => {
                        bucket.take(piece);
                        taken += piece;
                    }
                    false => now += bucket.empty_for(),
                }
            }
            let fair = rate * 40;
            assert!(taken >= fair && taken - fair <= capacity(rate) as u64 / MICRO as u64 + piece);
        }
    }

    #[test]
    fn a_full_bucket_stays_full_and_a_new_rate_begins_anew() {
        let now = Instant::now();
        let mut bucket = Bucket::new(now, 100);
        bucket.fill(now + Duration::from_secs(1 << 40), 100);
        assert!(bucket.is_full() && bucket.filling_for().is_zero());
        bucket.take(1 << 40);
        assert!(!bucket.has_some());
        bucket.fill(now, 0);
        assert!(bucket.has_some() && bucket.is_full());
    }
}
