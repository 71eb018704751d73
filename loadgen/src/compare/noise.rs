//! How much a figure scatters within a run, by its intervals, and so how far two runs may lie apart by chance.

use crate::summary::{Interval, Summary};

/// Fewer intervals say nothing about how they scatter.
const INTERVALS_MIN: usize = 5;

#[derive(Clone, Copy, Debug)]
pub struct Noise {
    /// Two standard errors of the difference of the two runs' means.
    pub bound: f64,
}

impl Noise {
    pub fn of(path: &str, before: &Summary, after: &Summary) -> Option<Self> {
        let value = of_interval(path)?;
        let [a, b] = [before, after].map(|summary| squared_error(&summary.intervals, value));
        Some(Self {
            bound: 2.0 * (a? + b?).sqrt(),
        })
    }
}

fn of_interval(path: &str) -> Option<fn(&Interval) -> Option<f64>> {
    Some(match path {
        "measured.messages_per_second" => |i| Some(i.delivered as f64 / i.seconds),
        "measured.megabytes_per_second" => |i| Some(i.octets as f64 / i.seconds / 1e6),
        "measured.delivery_us.mean" => |i| i.delivery_us.mean,
        "measured.delivery_us.p50" => |i| i.delivery_us.p50,
        "measured.delivery_us.p90" => |i| i.delivery_us.p90,
        "measured.delivery_us.p95" => |i| i.delivery_us.p95,
        "measured.delivery_us.p99" => |i| i.delivery_us.p99,
        "measured.delivery_us.p999" => |i| i.delivery_us.p999,
        _ => return None,
    })
}

/// Of the mean over the intervals.
fn squared_error(intervals: &[Interval], value: fn(&Interval) -> Option<f64>) -> Option<f64> {
    let whole = intervals.iter().filter(|interval| interval.seconds > 0.0);
    let values: Vec<f64> = whole.filter_map(value).collect();
    if values.len() < INTERVALS_MIN {
        return None;
    }
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values
        .iter()
        .map(|value| (value - mean).powi(2))
        .sum::<f64>()
        / (count - 1.0);
    Some(variance / count)
}
