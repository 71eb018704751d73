//! Latencies in hdrhistogram: 1 us to 60 s, two digits. What is shorter counts as 1 us, what
//! is longer as 60 s.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram as Hdr;
use hdrhistogram::serialization::{Serializer, V2Serializer};

const LOWEST_MICROS: u64 = 1;
const HIGHEST_MICROS: u64 = 60_000_000;

/// One cumulative histogram. Its memory is taken with the first value.
#[derive(Clone, Default)]
pub struct Histogram {
    values: Option<Box<Hdr<u64>>>,
    sum_nanos: u128,
}

fn empty() -> Hdr<u64> {
    Hdr::new_with_bounds(LOWEST_MICROS, HIGHEST_MICROS, 2)
        .expect("the bounds are constants that fit")
}

impl Histogram {
    pub fn record(&mut self, duration: Duration) {
        self.record_n(duration, 1);
    }

    /// The same value `count` times.
    pub fn record_n(&mut self, duration: Duration, count: u64) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.values
            .get_or_insert_with(|| Box::new(empty()))
            .saturating_record_correct(micros, count);
        self.sum_nanos += duration.as_nanos() * u128::from(count);
    }

    pub fn merge(&mut self, other: &Self) {
        if let Some(values) = &other.values {
            let merged = self.values.get_or_insert_with(|| Box::new(empty()));
            merged.add(&**values).expect("all have the same bounds");
        }
        self.sum_nanos += other.sum_nanos;
    }

    pub fn count(&self) -> u64 {
        self.values.as_ref().map_or(0, |values| values.len())
    }

    pub fn sum(&self) -> Duration {
        Duration::from_nanos(u64::try_from(self.sum_nanos).unwrap_or(u64::MAX))
    }

    /// Values of at most `bound`.
    pub fn count_up_to(&self, bound: Duration) -> u64 {
        let micros = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
        self.values
            .as_ref()
            .map_or(0, |values| values.count_between(0, micros))
    }

    /// The value that a share of all values does not exceed.
    pub fn quantile(&self, quantile: f64) -> Duration {
        let micros = self
            .values
            .as_ref()
            .map_or(0, |values| values.value_at_quantile(quantile));
        Duration::from_micros(micros)
    }

    /// What came since `earlier`, a former state of this histogram.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut difference = self.clone();
        if let (Some(now), Some(then)) = (&mut difference.values, &earlier.values) {
            // A reading that is not a former state leaves the difference as large as it can be.
            let _ = now.subtract(&**then);
        }
        difference.sum_nanos = self.sum_nanos.saturating_sub(earlier.sum_nanos);
        difference
    }

    /// HdrHistogram V2, uncompressed, as other tools read it.
    pub fn to_v2(&self) -> Vec<u8> {
        let mut octets = Vec::new();
        let values = self.values.as_deref().cloned().unwrap_or_else(empty);
        V2Serializer::new()
            .serialize(&values, &mut octets)
            .expect("a Vec takes all");
        octets
    }
}

trait Saturating {
    fn saturating_record_correct(&mut self, micros: u64, count: u64);
}

impl Saturating for Hdr<u64> {
    fn saturating_record_correct(&mut self, micros: u64, count: u64) {
        let micros = micros.clamp(LOWEST_MICROS, HIGHEST_MICROS);
        self.record_n(micros, count)
            .expect("the value is within the bounds");
    }
}

/// Quantiles over the last 30 to 60 s: the difference to a reading of that age.
#[derive(Default)]
pub struct Quantiles {
    readings: Vec<(Instant, Histogram)>,
}

impl Quantiles {
    const AGE: Duration = Duration::from_secs(30);

    /// Takes the present state of a cumulative histogram and says what came lately.
    pub fn observe(&mut self, now: Instant, total: &Histogram) -> Histogram {
        let old_enough = |at: &Instant| now.saturating_duration_since(*at) >= Self::AGE;
        // The youngest reading that is old enough is the base; older ones have served.
        while self.readings.get(1).is_some_and(|(at, _)| old_enough(at)) {
            self.readings.remove(0);
        }
        if self.readings.last().is_none_or(|(at, _)| old_enough(at)) {
            self.readings.push((now, total.clone()));
        }
        let base = self
            .readings
            .first()
            .filter(|(at, _)| *at < now)
            .map(|(_, base)| base);
        base.map_or_else(|| total.clone(), |base| total.since(base))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_differ_from_a_sorted_list_by_at_most_one_per_cent_also_after_merging() {
        let mut shards = [Histogram::default(), Histogram::default()];
        let mut values = Vec::new();
        let mut seed = 12_345u64;
        for index in 0..20_000 {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let micros = 5 + (seed >> 40) % 200_000;
            values.push(micros);
            shards[index % 2].record(Duration::from_micros(micros));
        }
        values.sort_unstable();
        let [mut merged, other] = shards;
        merged.merge(&other);
        assert_eq!(merged.count(), 20_000);
        for quantile in [0.5, 0.99, 0.999] {
            let exact =
                values[((values.len() as f64 * quantile).ceil() as usize).max(1) - 1] as f64;
            let got = merged.quantile(quantile).as_micros() as f64;
            assert!(
                (got - exact).abs() / exact <= 0.01,
                "{quantile}: {got} for {exact}"
            );
        }
    }

    #[test]
    fn values_outside_the_bounds_count_at_the_bounds() {
        let mut histogram = Histogram::default();
        histogram.record(Duration::from_nanos(10));
        histogram.record(Duration::from_secs(600));
        assert_eq!(histogram.count_up_to(Duration::from_micros(1)), 1);
        assert_eq!(histogram.count(), 2);
    }
}
