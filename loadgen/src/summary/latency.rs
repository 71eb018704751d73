//! A latency distribution in figures.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::text::micros;

/// Microseconds. Without a single value there is no quantile: `null`, not 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Latency {
    pub count: u64,
    pub mean: Option<f64>,
    pub p50: Option<f64>,
    pub p90: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
    pub p999: Option<f64>,
    pub p9999: Option<f64>,
    pub max: Option<f64>,
}

impl Latency {
    pub fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |q| Some(histogram.value_at_quantile(q) as f64 / 1e3);
        Self {
            count: histogram.len(),
            mean: Some(histogram.mean() / 1e3),
            p50: at(0.5),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: Some(histogram.max() as f64 / 1e3),
        }
    }

    /// Of messages some of which never came: with none that came there is no latency.
    pub fn of_delivered(histogram: &Histogram<u64>, delivered: u64) -> Self {
        match delivered {
            0 => Self::default(),
            _ => Self::of(histogram),
        }
    }

    /// By the name that thresholds use.
    pub fn by_name(&self, name: &str) -> Option<f64> {
        match name {
            "mean" => self.mean,
            "p50" => self.p50,
            "p90" => self.p90,
            "p95" => self.p95,
            "p99" => self.p99,
            "p99.9" => self.p999,
            "p99.99" => self.p9999,
            "max" => self.max,
            _ => None,
        }
    }

    /// For a row of the table.
    pub fn text(&self) -> String {
        let (Some(p50), Some(p99), Some(p999), Some(max)) =
            (self.p50, self.p99, self.p999, self.max)
        else {
            return "none".into();
        };
        format!(
            "p50 {}  p99 {}  p99.9 {}  max {}",
            micros(p50),
            micros(p99),
            micros(p999),
            micros(max)
        )
    }
}

/// The names of [`Latency::by_name`].
pub const QUANTILES: &[&str] = &["mean", "p50", "p90", "p95", "p99", "p99.9", "p99.99", "max"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::record::histogram;

    #[test]
    fn without_a_value_there_is_no_quantile() {
        let nothing = Latency::of(&histogram());
        assert_eq!((nothing.p50, nothing.text().as_str()), (None, "none"));
        let json = serde_json::to_value(nothing).unwrap();
        assert!(json["p99"].is_null() && json["count"] == 0);
        let mut lost = histogram();
        lost.record(35_000_000_000).unwrap();
        assert_eq!(Latency::of_delivered(&lost, 0), Latency::default());
        assert_eq!(Latency::of_delivered(&lost, 1).count, 1);
        for name in QUANTILES {
            assert!(Latency::of(&lost).by_name(name).is_some(), "{name}");
        }
    }
}
