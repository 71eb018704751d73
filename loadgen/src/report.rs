//! `--report`: one page that shows a run, complete in one file: no script, nothing to fetch. The comparison of two runs and
//! the result of a search have pages of the same make.

mod chart;
mod charts;
mod comparison;
mod heat;
mod search;
mod tables;
mod tiles;

use std::fmt::Write as _;

use crate::run::Trace;
use crate::summary::Summary;

pub use comparison::comparison_page;
pub use search::search_page;

const STYLE: &str = include_str!("report/style.css");

/// The page of one run.
pub fn page(summary: &Summary, trace: &Trace) -> String {
    let m = &summary.measured;
    let mut out = begin(&summary.workload);
    let _ = write!(
        out,
        "<p class=\"sub\">{} &middot; {:.1} s measured after {:.1} s of warm-up &middot; msrpload {}</p>\
         <pre class=\"command\">{}</pre>",
        escaped(&summary.began),
        m.seconds,
        m.warmup_seconds,
        escaped(&summary.version),
        escaped(&summary.command),
    );
    for line in summary.fatal.iter().chain(&summary.missed_thresholds) {
        out += &banner("bad", line);
    }
    for line in summary.ended_early.iter().chain(&summary.warnings) {
        out += &banner("warn", line);
    }
    out += &tiles::of_run(summary);
    out += &tables::thresholds(summary);
    for chart in charts::of_run(summary, trace) {
        out += &chart.section();
    }
    out += &tables::notices(summary);
    out += &tables::figures(summary);
    out += &tables::configuration(summary);
    out + END
}

const END: &str = "</main></body></html>\n";

fn begin(what: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>msrpload {0}</title><style>{STYLE}</style></head><body><main>\
         <h1>msrpload <b>{0}</b></h1>",
        escaped(what)
    )
}

fn banner(class: &str, text: &str) -> String {
    format!("<p class=\"{class}\">{}</p>", escaped(text))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Microseconds as short as they can be said.
fn round_micros(us: f64) -> String {
    match us {
        v if v >= 1e6 => format!("{} s", trimmed((v / 1e4).round() / 1e2)),
        v if v >= 1e3 => format!("{} ms", trimmed((v / 1e1).round() / 1e2)),
        v => format!("{} us", trimmed((v * 10.0).round() / 10.0)),
    }
}

/// `1500` as `1.5k`.
fn short(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{}M", trimmed(v / 1e6)),
        v if v >= 1e3 => format!("{}k", trimmed(v / 1e3)),
        v => trimmed(v),
    }
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    match value.abs() >= 100.0 {
        true => format!("{value:.0}"),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_is_escaped() {
        assert_eq!(
            escaped("<a href=\"x\">&"),
            "&lt;a href=&quot;x&quot;&gt;&amp;"
        );
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(short(1_500.0), "1.5k");
        assert_eq!(short(20_000.0), "20k");
        assert_eq!(trimmed(99.9), "99.9");
        assert_eq!(trimmed(100.0), "100");
    }
}
