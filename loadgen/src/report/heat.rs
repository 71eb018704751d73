//! Latency over time as a heat map: how many messages of each interval took how long.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

use crate::summary::text::grouped;

use super::chart::{Axis, both, open};

/// Rows for one decade of latency.
const ROWS_PER_DECADE: i32 = 14;

/// `intervals` are latencies in nanoseconds; the axes are in seconds and microseconds.
pub fn map(x: &Axis, y: &Axis, seconds: f64, intervals: &[&Histogram<u64>]) -> String {
    let rows: Vec<Vec<(i32, u64)>> = intervals.iter().map(|h| rows(h)).collect();
    let most = rows.iter().flatten().map(|(_, count)| *count).max();
    let most = most.unwrap_or(1);
    both(x, |x| drawn(x, y, seconds, &rows, most)) + &scale(most)
}

/// What the strength of the colour says.
fn scale(most: u64) -> String {
    let mut steps: Vec<u64> = std::iter::successors(Some(1_u64), |step| step.checked_mul(10))
        .take_while(|step| *step < most)
        .collect();
    steps.push(most);
    let mut out = String::from("<p class=\"legend\">Messages in one field:");
    for step in steps {
        let _ = write!(
            out,
            " <span class=\"field\" style=\"opacity:{:.2}\"></span>{}",
            strength(step, most),
            grouped(step)
        );
    }
    out + "</p>"
}

fn strength(count: u64, most: u64) -> f64 {
    0.08 + 0.92 * (count as f64).ln_1p() / (most as f64).ln_1p()
}

fn drawn(x: &Axis, y: &Axis, seconds: f64, rows: &[Vec<(i32, u64)>], most: u64) -> String {
    let mut out = open(x, y);
    for (number, column) in rows.iter().enumerate() {
        let (left, right) = (number as f64 * seconds, (number as f64 + 1.0) * seconds);
        let (left, right) = (x.x(left), x.x(right));
        for (row, count) in column {
            let (low, high) = (bound(*row), bound(row + 1));
            let (top, bottom) = (y.y(high), y.y(low));
            let strength = strength(*count, most);
            let _ = write!(
                out,
                "<rect class=\"heat\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill-opacity=\"{strength:.2}\"><title>{count} messages took {} to {}</title></rect>",
                (right - left).max(1.0),
                (bottom - top).max(1.0),
                (y.show)(low),
                (y.show)(high)
            );
        }
    }
    out + "</svg>"
}

/// The lower end of a row in microseconds.
fn bound(row: i32) -> f64 {
    10_f64.powf(f64::from(row) / f64::from(ROWS_PER_DECADE))
}

/// How many values of a histogram fall into each row.
fn rows(histogram: &Histogram<u64>) -> Vec<(i32, u64)> {
    let mut rows: Vec<(i32, u64)> = Vec::new();
    for value in histogram.iter_recorded() {
        let micros = value.value_iterated_to() as f64 / 1e3;
        let row = (micros.max(1e-3).log10() * f64::from(ROWS_PER_DECADE)).floor() as i32;
        match rows.last_mut() {
            Some((last, count)) if *last == row => *count += value.count_at_value(),
            _ => rows.push((row, value.count_at_value())),
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::record::histogram;

    #[test]
    fn every_value_is_in_one_row_that_holds_it() {
        let mut one = histogram();
        for micros in [100_u64, 101, 950, 40_000] {
            one.record(micros * 1_000).unwrap();
        }
        let rows = rows(&one);
        assert_eq!(rows.iter().map(|(_, count)| count).sum::<u64>(), 4);
        for (row, _) in &rows {
            assert!(bound(*row) < bound(row + 1));
        }
        let (first, count) = rows[0];
        assert!(bound(first) <= 101.0 && bound(first + 1) > 101.0 && count == 2);
    }
}
