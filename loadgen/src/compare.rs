//! `msrpload compare`: two results beside each other, and whether what has changed is more than noise.

mod figures;
mod noise;
mod tolerance;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use crate::output::{Output, print};
use crate::report;
use crate::summary::{SCHEMA, Summary, text};

use figures::{Better, Figure, figures};
use noise::Noise;
pub use tolerance::Tolerance;

/// Compares two results that --json has written.
///
/// Exit code 1 when a figure has become worse by more than --tolerance and by more than the noise within the two runs; when
/// anything was lost or wrong in the second that was not in the first; 2 when the two cannot be read.
#[derive(Clone, Debug, Args)]
pub struct Compare {
    /// What was before.
    before: PathBuf,
    /// What is now.
    after: PathBuf,
    /// By how much a figure may be worse: 5%, or also 5%,p99=10%,rate=2%.
    #[arg(long, value_name = "LIST", default_value = "5%", value_parser = tolerance::parse)]
    tolerance: Tolerance,
    /// Write a page here with both runs' curves.
    #[arg(long, value_name = "FILE.html")]
    html: Option<PathBuf>,
}

/// How a figure has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the same, or neither better nor worse.
    Neutral,
    /// The change lies within the noise.
    Noise,
    /// Within the tolerance.
    Tolerated,
    Better,
    Worse,
}

/// A figure of both.
#[derive(Clone, Debug)]
pub struct Delta {
    pub name: String,
    pub before: Option<f64>,
    pub after: Option<f64>,
    /// Per cent of what was before; `None`: that was nothing.
    pub percent: Option<f64>,
    /// Two standard errors of the difference, in per cent, where the intervals of both runs tell.
    pub noise_percent: Option<f64>,
    pub verdict: Verdict,
}

pub fn compare(options: &Compare) -> Result<u8, String> {
    let mut page = Output::maybe("--html", options.html.as_ref())?;
    let (before, after) = (read(&options.before)?, read(&options.after)?);
    let deltas = deltas(&before, &after, &options.tolerance);
    let warnings = differences(&before.summary, &after.summary);
    if let Some(page) = &mut page {
        let names = [&options.before, &options.after].map(|file| file.display().to_string());
        let text = report::comparison_page(
            &names,
            [&before.summary, &after.summary],
            &deltas,
            &warnings,
        );
        page.write(text.as_bytes())?;
    }
    print(&table(&deltas, &warnings))?;
    Ok(u8::from(
        deltas.iter().any(|delta| delta.verdict == Verdict::Worse),
    ))
}

/// A result as it was read: typed, and every figure.
pub struct Read {
    pub summary: Summary,
    value: Value,
}

fn read(file: &Path) -> Result<Read, String> {
    let wrong = |what: String| format!("{}: {what}", file.display());
    let text = fs::read_to_string(file).map_err(|e| wrong(e.to_string()))?;
    let value: Value = serde_json::from_str(&text).map_err(|e| wrong(format!("no JSON: {e}")))?;
    let schema = value.get("schema").and_then(Value::as_u64);
    if schema != Some(SCHEMA.into()) || value.get("measured").is_none() {
        let found = schema.map_or_else(|| "none".to_owned(), |schema| schema.to_string());
        return Err(wrong(format!(
            "no result of one run in schema {SCHEMA} (found: {found}); make it anew with --json"
        )));
    }
    let summary = serde_json::from_value(value.clone()).map_err(|e| wrong(e.to_string()))?;
    Ok(Read { summary, value })
}

fn deltas(before: &Read, after: &Read, tolerance: &Tolerance) -> Vec<Delta> {
    let (old, new) = (figures(&before.value), figures(&after.value));
    let mut names: Vec<&String> = old.keys().collect();
    names.extend(new.keys().filter(|name| !old.contains_key(*name)));
    names
        .into_iter()
        .map(|name| {
            let figure = Figure::of(name);
            let values = (old.get(name).copied(), new.get(name).copied());
            let noise = Noise::of(name, &before.summary, &after.summary);
            delta(name, &figure, values, noise, tolerance)
        })
        .collect()
}

fn delta(
    name: &str,
    figure: &Figure,
    (before, after): (Option<f64>, Option<f64>),
    noise: Option<Noise>,
    tolerance: &Tolerance,
) -> Delta {
    let both = before.zip(after);
    let percent = both.and_then(|(a, b)| (a != 0.0).then(|| (b - a) / a.abs() * 100.0));
    let noise_percent = both
        .zip(noise)
        .and_then(|((a, _), noise)| (a != 0.0).then(|| noise.bound / a.abs() * 100.0));
    let change = both.map_or(0.0, |(a, b)| b - a);
    let worse = match figure.better {
        Better::Lower => change > 0.0,
        Better::Higher => change < 0.0,
        Better::Neither => false,
    };
    let allowed = tolerance.percent(name);
    let verdict = match (figure.better, percent) {
        _ if change == 0.0 || figure.better == Better::Neither => Verdict::Neutral,
        // One lost message is one too many, whatever share that is.
        _ if figure.is_fault => {
            if worse {
                Verdict::Worse
            } else {
                Verdict::Better
            }
        }
        _ if noise.is_some_and(|noise| change.abs() <= noise.bound) => Verdict::Noise,
        (_, Some(percent)) if percent.abs() <= allowed => Verdict::Tolerated,
        _ if worse => Verdict::Worse,
        _ => Verdict::Better,
    };
    Delta {
        name: name.to_owned(),
        before,
        after,
        percent,
        noise_percent,
        verdict,
    }
}

/// What makes the two hard to compare.
fn differences(before: &Summary, after: &Summary) -> Vec<String> {
    let mut out = Vec::new();
    if before.host != after.host {
        out.push(format!(
            "they were made on different machines: {}; {}",
            before.host.text(),
            after.host.text()
        ));
    }
    if before.workload != after.workload {
        out.push(format!(
            "they are of different workloads: {}; {}",
            before.workload, after.workload
        ));
    } else if before.configuration != after.configuration {
        out.push("they were configured differently; see `configuration` in both".into());
    }
    for (name, summary) in [("the first", before), ("the second", after)] {
        for warning in &summary.warnings {
            out.push(format!("{name}: {warning}"));
        }
    }
    out
}

fn table(deltas: &[Delta], warnings: &[String]) -> String {
    let mut out = format!(
        "  {:<44}{:>14}{:>14}{:>10}{:>10}\n",
        "", "before", "after", "change", "noise"
    );
    for delta in deltas {
        let percent = |p: Option<f64>, sign: &str| match (p, sign) {
            (None, _) => String::new(),
            (Some(p), "+") => format!("{p:+.1} %"),
            (Some(p), _) => format!("{sign}{p:.1} %"),
        };
        let line = format!(
            "  {:<44}{:>14}{:>14}{:>10}{:>10}  {}",
            delta.name,
            number(delta.before),
            number(delta.after),
            percent(delta.percent, "+"),
            percent(delta.noise_percent, "±"),
            match delta.verdict {
                Verdict::Worse => "WORSE",
                Verdict::Better => "better",
                Verdict::Noise => "noise",
                Verdict::Tolerated | Verdict::Neutral => "",
            }
        );
        let _ = writeln!(out, "{}", line.trim_end());
    }
    for warning in warnings {
        let _ = writeln!(out, "  {:<20}{warning}", "warning");
    }
    out
}

/// As short as it can be said.
pub fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), text::number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::{Interval, Latency};

    /// A run whose intervals have these p99s and rates.
    fn result(p99: f64, rate: f64, scatter: f64, lost: u64) -> Read {
        let latency = |p99: f64| Latency {
            count: 100,
            p50: Some(p99 / 2.0),
            p99: Some(p99),
            ..Latency::default()
        };
        let mut summary = Summary {
            schema: SCHEMA,
            ..Summary::default()
        };
        summary.measured.delivery_us = latency(p99);
        summary.measured.messages_per_second = rate;
        summary.counts.lost = lost;
        summary.intervals = (0..20)
            .map(|number| {
                let sign = if number % 2 == 0 { 1.0 } else { -1.0 };
                Interval {
                    seconds: 1.0,
                    delivered: (rate * (1.0 + sign * scatter)) as u64,
                    delivery_us: latency(p99 * (1.0 + sign * scatter)),
                    ..Interval::default()
                }
            })
            .collect();
        let value = serde_json::to_value(&summary).unwrap();
        Read { summary, value }
    }

    fn verdict(before: &Read, after: &Read, tolerance: &str, name: &str) -> Verdict {
        let tolerance = tolerance::parse(tolerance).unwrap();
        let all = deltas(before, after, &tolerance);
        let found = all.iter().find(|delta| delta.name == name);
        found.unwrap_or_else(|| panic!("{name}: {all:?}")).verdict
    }

    const P99: &str = "measured.delivery_us.p99";

    #[test]
    fn a_change_is_judged_by_direction_tolerance_and_noise() {
        let before = result(1_000.0, 5_000.0, 0.01, 0);
        assert_eq!(
            verdict(&before, &result(1_200.0, 5_000.0, 0.01, 0), "5%", P99),
            Verdict::Worse
        );
        assert_eq!(
            verdict(&before, &result(800.0, 5_000.0, 0.01, 0), "5%", P99),
            Verdict::Better
        );
        assert_eq!(
            verdict(&before, &result(1_030.0, 5_000.0, 0.01, 0), "5%", P99),
            Verdict::Tolerated
        );
        assert_eq!(
            verdict(
                &before,
                &result(1_200.0, 5_000.0, 0.01, 0),
                "5%,p99=25%",
                P99
            ),
            Verdict::Tolerated
        );
        // The same change among intervals that scatter by more.
        let noisy = result(1_000.0, 5_000.0, 0.6, 0);
        assert_eq!(
            verdict(&noisy, &result(1_200.0, 5_000.0, 0.6, 0), "5%", P99),
            Verdict::Noise
        );
        let slower = result(1_000.0, 4_000.0, 0.01, 0);
        assert_eq!(
            verdict(&before, &slower, "5%", "measured.messages_per_second"),
            Verdict::Worse
        );
    }

    #[test]
    fn one_lost_message_is_worse_whatever_is_tolerated() {
        let (before, after) = (result(1.0, 1.0, 0.0, 0), result(1.0, 1.0, 0.0, 1));
        assert_eq!(
            verdict(&before, &after, "50%", "counts.lost"),
            Verdict::Worse
        );
        assert_eq!(
            verdict(&after, &before, "50%", "counts.lost"),
            Verdict::Better
        );
    }
}
