//! The measured stretch in intervals, for the logs and pictures that are made of it.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::record::histogram;

/// Intervals of a run: enough for a picture, few enough to be kept in memory.
const INTERVALS: u32 = 60;
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// How long an interval of a measured stretch is.
pub fn interval(duration: Duration) -> Duration {
    (duration / INTERVALS).max(INTERVAL_MIN)
}

#[derive(Clone, Debug)]
pub struct Interval {
    /// Messages that were due here: what was sent of them, and what never was.
    pub sent: u64,
    pub not_sent: u64,
    /// Of these, the ones that were neither delivered nor reported in the end.
    pub lost: u64,
    /// Messages of which these things happened here.
    pub delivered: u64,
    pub acknowledged: u64,
    pub reported: u64,
    pub octets: u64,
    pub film_octets: u64,
    /// Delivery latencies of the messages that were due here, whenever they came. Those that never came are in it with the
    /// time they have waited.
    pub delivery: Histogram<u64>,
}

impl Default for Interval {
    fn default() -> Self {
        Self {
            sent: 0,
            not_sent: 0,
            lost: 0,
            delivered: 0,
            acknowledged: 0,
            reported: 0,
            octets: 0,
            film_octets: 0,
            delivery: histogram(),
        }
    }
}

/// Intervals from the beginning of the measured stretch on.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// When it begins and how long an interval is, in nanoseconds of the engine's clock.
    from: u64,
    length: u64,
    intervals: Vec<Interval>,
}

impl Series {
    pub fn new(from: u64, length: Duration) -> Self {
        Self {
            from,
            length: length.as_nanos() as u64,
            intervals: Vec::new(),
        }
    }

    /// The interval of a time within the measured stretch.
    pub fn at(&mut self, now: u64) -> &mut Interval {
        let place = ((now - self.from) / self.length.max(1)) as usize;
        while self.intervals.len() <= place {
            self.intervals.push(Interval::default());
        }
        &mut self.intervals[place]
    }

    pub fn intervals(&self) -> &[Interval] {
        &self.intervals
    }

    /// Adds another thread's.
    pub fn merge(&mut self, other: &Self) {
        if self.intervals.len() < other.intervals.len() {
            self.intervals
                .resize_with(other.intervals.len(), Interval::default);
        }
        for (ours, theirs) in self.intervals.iter_mut().zip(&other.intervals) {
            ours.sent += theirs.sent;
            ours.not_sent += theirs.not_sent;
            ours.lost += theirs.lost;
            ours.delivered += theirs.delivered;
            ours.acknowledged += theirs.acknowledged;
            ours.octets += theirs.octets;
            ours.film_octets += theirs.film_octets;
            ours.reported += theirs.reported;
            ours.delivery
                .add(&theirs.delivery)
                .expect("all have the same bounds");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_fall_into_their_intervals_also_of_two_threads() {
        let length = Duration::from_nanos(10);
        let (mut one, mut two) = (Series::new(100, length), Series::new(100, length));
        one.at(100).octets += 1;
        one.at(109).octets += 2;
        two.at(125).octets += 4;
        two.at(125).delivery.record(5_000).unwrap();
        one.merge(&two);
        let octets: Vec<u64> = one.intervals().iter().map(|i| i.octets).collect();
        assert_eq!(octets, [3, 0, 4]);
        assert_eq!(one.intervals()[2].delivery.len(), 1);
    }

    #[test]
    fn a_stretch_has_about_sixty_intervals() {
        assert_eq!(interval(Duration::from_secs(600)), Duration::from_secs(10));
        assert_eq!(interval(Duration::from_secs(1)), INTERVAL_MIN);
    }
}
