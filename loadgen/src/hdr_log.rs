//! HdrHistogram logs (the interval format of its Java tools): written by `--hdr`, added up by `msrpload merge`.
//!
//! A line is one histogram in nanoseconds, with a tag, and its maximum in milliseconds. Delivery latency comes in
//! intervals; other tags once, over all of the run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{
    IntervalLogIterator, IntervalLogWriterBuilder, LogEntry, Tag,
};
use hdrhistogram::serialization::{Deserializer, V2DeflateSerializer};

use crate::engine::record::histogram;
use crate::output::{Output, print};
use crate::summary::Latency;
use crate::summary::text::grouped;

const DELIVERY: &str = "delivery";
/// Nanoseconds of a millisecond: maxima stand in the log in the unit that its other readers expect.
const MAX_DIVISOR: f64 = 1e6;

/// One line of a log.
pub struct Line {
    pub tag: &'static str,
    /// Since the beginning of the measured stretch.
    pub start: Duration,
    pub length: Duration,
    pub histogram: Histogram<u64>,
}

/// The lines of a run.
pub fn write(output: &mut Output, began: SystemTime, lines: &[Line]) -> Result<(), String> {
    let lines = lines.iter().map(|line| {
        let at = (line.tag, line.start, line.length);
        (at, &line.histogram)
    });
    output.write(&encode(began, lines)?)
}

fn encode<'a>(
    base: SystemTime,
    lines: impl Iterator<Item = ((&'a str, Duration, Duration), &'a Histogram<u64>)>,
) -> Result<Vec<u8>, String> {
    let mut octets = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("msrpload; values in ns, maxima in ms")
        .with_max_value_divisor(MAX_DIVISOR)
        .with_start_time(base)
        .with_base_time(base)
        .begin_log_with(&mut octets, &mut serializer)
        .map_err(|e| e.to_string())?;
    for ((tag, start, length), histogram) in lines {
        log.write_histogram(histogram, start, length, Tag::new(tag))
            .map_err(|e| format!("{e:?}"))?;
    }
    Ok(octets)
}

/// Adds up HdrHistogram logs that `msrpload --hdr` wrote, of several machines or of several runs.
#[derive(Clone, Debug, Args)]
pub struct Merge {
    /// Logs to add up.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Write what came of it here, as a log again: intervals that began together are added up, others kept.
    #[arg(long, value_name = "FILE")]
    hdr: Option<PathBuf>,
}

/// By tag, start since the epoch, and length.
type Lines = BTreeMap<(String, Duration, Duration), Histogram<u64>>;

/// Prints one row per tag.
pub fn merge(options: &Merge) -> Result<(), String> {
    let output = Output::maybe("--hdr", options.hdr.as_ref())?;
    let mut lines = Lines::new();
    for file in &options.files {
        let octets = fs::read(file).map_err(|e| format!("{}: {e}", file.display()))?;
        read(&octets, &mut lines).map_err(|e| format!("{}: {e}", file.display()))?;
    }
    let mut sums: BTreeMap<&str, Histogram<u64>> = BTreeMap::new();
    for ((tag, ..), histogram) in &lines {
        let sum = sums.entry(tag).or_insert_with(new_histogram);
        sum.add(histogram).map_err(|e| e.to_string())?;
    }
    let mut table = String::new();
    for (tag, sum) in &sums {
        let count = grouped(sum.len());
        let _ = writeln!(table, "  {tag:<16}{}  ({count})", Latency::of(sum).text());
    }
    print(&table)?;
    let Some(mut output) = output else {
        return Ok(());
    };
    let base = lines.keys().map(|(_, start, _)| *start).min();
    let base = base.unwrap_or_default();
    let mut sorted: Vec<_> = lines.iter().collect();
    sorted.sort_by_key(|((_, start, _), _)| *start);
    let sorted = sorted
        .into_iter()
        .map(|((tag, start, length), h)| ((tag.as_str(), *start - base, *length), h));
    output.write(&encode(UNIX_EPOCH + base, sorted)?)
}

fn new_histogram() -> Histogram<u64> {
    let mut new = histogram();
    // Logs of other tools may hold larger values.
    new.auto(true);
    new
}

fn read(octets: &[u8], lines: &mut Lines) -> Result<(), String> {
    let mut base = Duration::ZERO;
    let mut found = false;
    let mut deserializer = Deserializer::new();
    for entry in IntervalLogIterator::new(octets) {
        match entry.map_err(|e| format!("no HdrHistogram log: {e:?}"))? {
            LogEntry::StartTime(_) => {}
            LogEntry::BaseTime(time) => base = time,
            LogEntry::Interval(line) => {
                let encoded = STANDARD
                    .decode(line.encoded_histogram())
                    .map_err(|e| e.to_string())?;
                let histogram: Histogram<u64> =
                    deserializer
                        .deserialize(&mut encoded.as_slice())
                        .map_err(|e| format!("a histogram cannot be read: {e}"))?;
                let tag = line.tag().map_or(DELIVERY, |tag| tag.as_str());
                let key = (
                    tag.to_owned(),
                    base + line.start_timestamp(),
                    line.duration(),
                );
                let sum = lines.entry(key).or_insert_with(new_histogram);
                sum.add(&histogram).map_err(|e| e.to_string())?;
                found = true;
            }
        }
    }
    match found {
        true => Ok(()),
        false => Err("no histogram in it: is it a log that --hdr wrote?".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(values: std::ops::Range<u64>, start_seconds: u64) -> Vec<u8> {
        let mut one = histogram();
        for value in values {
            one.record(value * 1_000_000).unwrap();
        }
        let at = (DELIVERY, Duration::ZERO, Duration::from_secs(1));
        encode(
            UNIX_EPOCH + Duration::from_secs(start_seconds),
            [(at, &one)].into_iter(),
        )
        .unwrap()
    }

    #[test]
    fn two_logs_add_up_to_what_one_would_have_been() {
        let mut lines = Lines::new();
        read(&log(1..501, 1_000), &mut lines).unwrap();
        read(&log(501..1001, 1_000), &mut lines).unwrap();
        assert_eq!(lines.len(), 1);
        let merged = lines.values().next().unwrap();
        assert_eq!(merged.len(), 1_000);
        for (q, wanted) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1_000.0)] {
            let found = merged.value_at_quantile(q) as f64 / 1e6;
            assert!((found - wanted).abs() < wanted * 0.002, "{q}: {found}");
        }
        // Another time is another line.
        read(&log(1..2, 1_001), &mut lines).unwrap();
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn maxima_are_in_the_unit_that_the_log_names() {
        let text = String::from_utf8(log(1..501, 1_000)).unwrap();
        assert!(text.contains("maxima in ms"), "{text}");
        let line = text
            .lines()
            .find(|line| line.starts_with("Tag=delivery,"))
            .unwrap();
        let max: f64 = line.split(',').nth(3).unwrap().parse().unwrap();
        assert!((max - 500.0).abs() < 1.0, "{line}");
    }

    #[test]
    fn what_is_no_log_is_refused() {
        for octets in [&b""[..], b"#comment\n", b"hello, world\n"] {
            assert!(read(octets, &mut Lines::new()).is_err());
        }
    }
}
