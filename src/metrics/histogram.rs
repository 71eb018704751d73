//! Durations in hdrhistogram: two digits from 1 us to 60 s. What is shorter counts as 1 us, what
//! is longer as 60 s.
//!
//! Values are nanoseconds, so that two digits hold at 1 us too. All histograms have one shape:
//! adding and subtracting them cannot fail.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram as Hdr;
use hdrhistogram::serialization::{Serializer, V2Serializer};

const SHORTEST: Duration = Duration::from_micros(1);
const LONGEST: Duration = Duration::from_secs(60);
/// Cells are 8 ns wide up to 2 us, and 1/256 to 1/128 of the value above: 27 KiB in all.
const LOWEST_DISCERNIBLE_NANOS: u64 = 8;
const DIGITS: u8 = 2;

/// One cumulative histogram. Its memory is taken with the first value.
#[derive(Clone, Default)]
pub struct Histogram {
    cells: Option<Box<Hdr<u64>>>,
    sum_nanos: u128,
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, duration: Duration) {
        self.record_n(duration, 1);
    }

    /// The same duration `count` times.
    pub fn record_n(&mut self, duration: Duration, count: u64) {
        let duration = duration.clamp(SHORTEST, LONGEST);
        self.cells_mut().saturating_record_n(nanos(duration), count);
        self.sum_nanos += duration.as_nanos() * u128::from(count);
    }

    /// Takes in what another one counted.
    pub fn merge(&mut self, other: &Self) {
        if let Some(cells) = &other.cells {
            self.cells_mut()
                .add(&**cells)
                .expect("all have the same shape");
        }
        self.sum_nanos += other.sum_nanos;
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.cells.as_ref().map_or(0, |cells| cells.len())
    }

    /// Their sum, each taken as at least 1 us and at most 60 s.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(u64::try_from(self.sum_nanos).unwrap_or(u64::MAX))
    }

    /// How many are at most as long as each of the rising `edges`. The cell that an edge lies in
    /// counts below it, so that an edge is up to 0.8 % higher than it says.
    pub fn counts_up_to(&self, edges: &[Duration]) -> Vec<u64> {
        let Some(cells) = &self.cells else {
            return vec![0; edges.len()];
        };
        let mut recorded = cells.iter_recorded().peekable();
        let mut count = 0;
        let up_to = |edge: &Duration| {
            let edge = cells.highest_equivalent(nanos(*edge));
            while let Some(cell) = recorded.next_if(|cell| cell.value_iterated_to() <= edge) {
                count += cell.count_at_value();
            }
            count
        };
        edges.iter().map(up_to).collect()
    }

    /// The duration that a share of all does not exceed; zero if there are none.
    pub fn quantile(&self, quantile: f64) -> Duration {
        let cells = self.cells.as_ref();
        let nanos = cells.map_or(0, |cells| cells.value_at_quantile(quantile));
        Duration::from_nanos(nanos).min(LONGEST)
    }

    /// What came since `earlier`, a former state of this histogram.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut difference = self.clone();
        if let (Some(now), Some(then)) = (&mut difference.cells, &earlier.cells) {
            // A reading that is not a former state leaves the difference as large as it can be.
            let _ = now.subtract(&**then);
        }
        difference.sum_nanos = self.sum_nanos.saturating_sub(earlier.sum_nanos);
        difference
    }

    /// HdrHistogram V2, uncompressed, as other tools read it; nanoseconds.
    pub fn to_v2(&self) -> Vec<u8> {
        let mut octets = Vec::new();
        let cells = self.cells.as_deref().cloned().unwrap_or_else(empty);
        V2Serializer::new()
            .serialize(&cells, &mut octets)
            .expect("a Vec takes all, and no count reaches 2^63");
        octets
    }

    fn cells_mut(&mut self) -> &mut Hdr<u64> {
        self.cells.get_or_insert_with(|| Box::new(empty()))
    }
}

fn empty() -> Hdr<u64> {
    Hdr::new_with_bounds(LOWEST_DISCERNIBLE_NANOS, nanos(LONGEST), DIGITS)
        .expect("the bounds are constants that fit")
}

/// For durations of at most centuries.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What came in the last 30 to 60 s: the difference to a reading of that age.
///
/// It knows only what it is shown: observed less often than every 30 s, it looks back to the
/// observation before.
#[derive(Default)]
pub struct Quantiles {
    readings: VecDeque<(Instant, Histogram)>,
}

impl Quantiles {
    /// What is shorter says too little.
    const SHORTEST_STRETCH: Duration = Duration::from_secs(30);
    /// Readings kept lie at least so far apart: with observations every 30 s or more often, the
    /// youngest of at least 30 s is at most 60 s old, and there are at most four.
    const STEP: Duration = Duration::from_secs(15);

    /// Takes the present state of a cumulative histogram and says what came lately: all, as long
    /// as no observation is old enough.
    pub fn observe(&mut self, now: Instant, total: &Histogram) -> Histogram {
        let is_old = |at: Instant, age| now.saturating_duration_since(at) >= age;
        let can_serve = |at: Instant| is_old(at, Self::SHORTEST_STRETCH);
        // The youngest reading that is old enough is the base; older ones have served.
        while self.readings.get(1).is_some_and(|(at, _)| can_serve(*at)) {
            self.readings.pop_front();
        }
        let last = self.readings.back();
        if last.is_none_or(|(at, _)| is_old(*at, Self::STEP)) {
            self.readings.push_back((now, total.clone()));
        }
        match self.readings.front() {
            Some((at, base)) if can_serve(*at) => total.since(base),
            _ => total.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SplitMix64, as numbers from 0 to 1.
    fn shares(seed: u64) -> impl FnMut() -> f64 {
        let mut state = seed;
        move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)) as f64 / u64::MAX as f64
        }
    }

    /// How latencies may lie: a name, and a value from two numbers from 0 to 1.
    type Shape = (&'static str, fn(f64, f64) -> f64);

    const SHAPES: [Shape; 7] = [
        // Every decade gets its share.
        ("log-uniform from 0.5 us to 40 s", |share, _| {
            5e-7 * (40.0 / 5e-7_f64).powf(share)
        }),
        ("uniform to 10 ms", |share, _| share * 1e-2),
        ("exponential around 200 us", |share, _| {
            -2e-4 * (1.0 - share).max(1e-12).ln()
        }),
        ("log-normal around 1 ms", |one, other| {
            let normal =
                (-2.0 * one.max(1e-12).ln()).sqrt() * (std::f64::consts::TAU * other).cos();
            1e-3 * normal.exp()
        }),
        ("a heavy tail from 50 us", |share, _| {
            (5e-5 / (1.0 - share).max(1e-9).powf(1.0 / 1.1)).min(40.0)
        }),
        ("two humps, 100 us and 5 s", |share, which| {
            let hump = if which < 0.985 { 1e-4 } else { 5.0 };
            hump * (0.9 + share / 5.0)
        }),
        ("always the same", |_, _| 123.4e-6),
    ];

    fn durations_of(shape: Shape, seed: u64, n: usize) -> Vec<Duration> {
        let mut share = shares(seed);
        (0..n)
            .map(|_| Duration::from_secs_f64(shape.1(share(), share())))
            .collect()
    }

    fn durations(seed: u64, n: usize) -> Vec<Duration> {
        durations_of(SHAPES[0], seed, n)
    }

    fn assert_quantiles(what: &str, histogram: &Histogram, mut all: Vec<Duration>) {
        all.sort();
        for quantile in [0.5, 0.99, 0.999] {
            let index = (all.len() as f64 * quantile).ceil() as usize - 1;
            let exact = all[index].max(SHORTEST).as_secs_f64();
            let told = histogram.quantile(quantile).as_secs_f64();
            assert!(
                (told - exact).abs() <= exact * 0.01,
                "{what}, p{quantile}: {told} instead of {exact}"
            );
        }
        assert_eq!(histogram.count(), all.len() as u64);
        let sum: f64 = all.iter().map(|d| (*d).max(SHORTEST).as_secs_f64()).sum();
        assert!((histogram.sum().as_secs_f64() - sum).abs() < sum * 1e-6);
    }

    #[test]
    fn quantiles_are_within_one_percent() {
        for shape in SHAPES {
            for seed in 0..20 {
                let all = durations_of(shape, seed, 20_000);
                let mut histogram = Histogram::default();
                all.iter().for_each(|&duration| histogram.record(duration));
                assert_quantiles(shape.0, &histogram, all);
            }
        }
    }

    #[test]
    fn quantiles_are_within_one_percent_after_merging_shards() {
        let mut merged = Histogram::default();
        let mut everything = Vec::new();
        for shard in 0..8 {
            // Shards that see different loads, in shape and size.
            let scale = shard as u32 + 1;
            let shape = SHAPES[shard as usize % SHAPES.len()];
            let all: Vec<_> = durations_of(shape, 100 + shard, 5_000 * scale as usize)
                .into_iter()
                .map(|duration| duration / scale)
                .collect();
            let mut histogram = Histogram::default();
            all.iter().for_each(|&duration| histogram.record(duration));
            merged.merge(&histogram);
            everything.extend(all);
        }
        assert_quantiles("merged", &merged, everything);
    }

    #[test]
    fn every_cell_is_within_one_percent() {
        let cells = empty();
        let mut value = nanos(SHORTEST);
        while value <= nanos(LONGEST) {
            let width = cells.highest_equivalent(value) - cells.lowest_equivalent(value);
            assert!(width as f64 <= value as f64 * 0.01, "{width} at {value}");
            value += (value / 300).max(1);
        }
    }

    #[test]
    fn what_is_out_of_range_counts_at_the_bounds() {
        let mut histogram = Histogram::default();
        histogram.record(Duration::ZERO);
        histogram.record(Duration::from_nanos(999));
        histogram.record_n(Duration::MAX, 2);
        assert_eq!(histogram.count(), 4);
        assert_eq!(histogram.counts_up_to(&[SHORTEST, LONGEST]), [2, 4]);
        assert_eq!(histogram.quantile(1.0), LONGEST);
        assert_eq!(histogram.sum(), 2 * (LONGEST + SHORTEST));
    }

    #[test]
    fn a_value_on_an_edge_is_below_it() {
        for edge in [10, 25, 50, 100, 250, 500, 1000, 2500, 1_000_000, 30_000_000] {
            let edge = Duration::from_micros(edge);
            let mut histogram = Histogram::default();
            histogram.record(edge);
            histogram.record(edge + edge / 50);
            assert_eq!(
                histogram.counts_up_to(&[edge - edge / 50, edge, edge * 2]),
                [0, 1, 2]
            );
        }
    }

    #[test]
    fn two_readings_subtract() {
        let mut histogram = Histogram::default();
        histogram.record(Duration::from_millis(1));
        let earlier = histogram.clone();
        histogram.record_n(Duration::from_millis(7), 3);
        let stretch = histogram.since(&earlier);
        assert_eq!(stretch.count(), 3);
        assert_eq!(stretch.counts_up_to(&[Duration::from_millis(2)]), [0]);
        assert_eq!(stretch.sum(), Duration::from_millis(21));
        assert_eq!(histogram.since(&Histogram::default()).count(), 4);
    }

    #[test]
    fn the_encoding_is_read_back() {
        let mut histogram = Histogram::default();
        for duration in durations(7, 1000) {
            histogram.record(duration);
        }
        for histogram in [histogram, Histogram::default()] {
            let octets = histogram.to_v2();
            let read: Hdr<u64> = hdrhistogram::serialization::Deserializer::new()
                .deserialize(&mut &octets[..])
                .expect("V2");
            assert_eq!(
                read,
                histogram.cells.as_deref().cloned().unwrap_or_else(empty)
            );
        }
    }

    #[test]
    fn recent_values_are_those_of_the_last_thirty_to_sixty_seconds() {
        let start = Instant::now();
        for step in 1..=30 {
            let mut quantiles = Quantiles::default();
            let mut total = Histogram::default();
            // One value a second, told apart by its second.
            let mut recorded = 0;
            for second in (0..400).step_by(step) {
                while recorded <= second as u64 {
                    total.record(Duration::from_millis(1 + recorded));
                    recorded += 1;
                }
                let recent = quantiles.observe(start + Duration::from_secs(second as u64), &total);
                let span = recent.count();
                if second < 30 {
                    assert_eq!(span, recorded, "step {step} second {second}");
                } else {
                    assert!(
                        (30..=60).contains(&span),
                        "step {step} second {second}: {span}"
                    );
                    let oldest = Duration::from_millis(recorded - span);
                    assert_eq!(recent.counts_up_to(&[oldest * 98 / 100]), [0]);
                }
                assert!(quantiles.readings.len() <= 4);
            }
        }
    }

    #[test]
    fn an_idle_time_shows_nothing() {
        let start = Instant::now();
        let mut quantiles = Quantiles::default();
        let mut total = Histogram::default();
        total.record(SHORTEST);
        assert_eq!(quantiles.observe(start, &total).count(), 1);
        let later = start + Duration::from_secs(90);
        assert_eq!(quantiles.observe(later, &total).count(), 0);
    }
}
