//! The page of `msrpload compare`: both runs' curves in one picture, and every figure with its change.

use std::fmt::Write as _;

use crate::compare::{Delta, Verdict, number};
use crate::summary::{Interval, Summary};

use super::chart::{self, Axis, Line, Scale};
use super::charts::{Chart, nines};
use super::tables::section;
use super::{END, banner, begin, escaped, round_micros, short};

pub fn comparison_page(
    names: &[String; 2],
    summaries: [&Summary; 2],
    deltas: &[Delta],
    warnings: &[String],
) -> String {
    let mut out = begin("comparison");
    for (class, name, summary) in [
        ("a", &names[0], summaries[0]),
        ("b", &names[1], summaries[1]),
    ] {
        let _ = write!(
            out,
            "<p class=\"sub\"><span class=\"key {class}\"></span>{}: {} &middot; {} &middot; {:.1} s measured</p>\
             <pre class=\"command\">{}</pre>",
            escaped(name),
            escaped(&summary.workload),
            escaped(&summary.began),
            summary.measured.seconds,
            escaped(&summary.command)
        );
    }
    let worse: Vec<&str> = deltas
        .iter()
        .filter(|delta| delta.verdict == Verdict::Worse)
        .map(|delta| delta.name.as_str())
        .collect();
    if !worse.is_empty() {
        out += &banner("bad", &format!("worse: {}", worse.join(", ")));
    }
    for warning in warnings {
        out += &banner("warn", warning);
    }
    out += &percentiles(names, summaries).section();
    for (title, about, value) in over_time() {
        out += &series(title, about, names, summaries, value).section();
    }
    out += &table(deltas);
    out + END
}

fn lines(names: &[String; 2], points: [Vec<(f64, f64)>; 2]) -> Vec<Line> {
    let both = names.iter().zip(['a', 'b']).zip(points);
    both.map(|((name, class), points)| Line {
        name: escaped(name),
        class,
        points,
    })
    .collect()
}

fn percentiles(names: &[String; 2], summaries: [&Summary; 2]) -> Chart {
    let count = summaries
        .map(|s| s.measured.delivery_us.count)
        .into_iter()
        .max();
    let x = nines(count.unwrap_or(1));
    let lines = lines(names, summaries.map(|s| s.percentiles_us.clone()));
    let values = lines
        .iter()
        .flat_map(|l| l.points.iter().map(|p| p.1.max(0.1)));
    let y = Axis::log("latency", values, round_micros);
    let about = "How long the given share of messages took at most.";
    Chart::new("Latency by percentile", about, chart::lines(&x, &y, &lines))
}

type Value = fn(&Interval) -> Option<f64>;

fn over_time() -> [(&'static str, &'static str, Value); 3] {
    [
        ("Throughput", "Messages a second.", |i| {
            Some(i.delivered as f64 / i.seconds)
        }),
        (
            "p50 over time",
            "Of the messages that were due in each interval.",
            |i| i.delivery_us.p50,
        ),
        (
            "p99 over time",
            "Of the messages that were due in each interval.",
            |i| i.delivery_us.p99,
        ),
    ]
}

fn series(
    title: &'static str,
    about: &str,
    names: &[String; 2],
    summaries: [&Summary; 2],
    value: Value,
) -> Chart {
    let points = summaries.map(|s| {
        let whole = s.intervals.iter().filter(|i| i.seconds > 0.0);
        let point = |i: &Interval| Some((i.at + i.seconds / 2.0, value(i)?));
        whole.filter_map(point).collect::<Vec<_>>()
    });
    let seconds = summaries.map(|s| s.measured.seconds);
    let x = Axis {
        label: "seconds",
        width: chart::WIDTH,
        scale: Scale::Linear,
        min: 0.0,
        max: seconds[0].max(seconds[1]).max(0.1),
        show: |s| format!("{}", (s * 10.0).round() / 10.0),
    };
    let lines = lines(names, points);
    let values: Vec<f64> = lines
        .iter()
        .flat_map(|l| l.points.iter().map(|p| p.1))
        .collect();
    let y = match title {
        "Throughput" => Axis::from_zero("messages/s", values.into_iter(), short),
        _ => Axis::log(
            "latency",
            values.into_iter().map(|v| v.max(1.0)),
            round_micros,
        ),
    };
    Chart::new(title, about, chart::lines(&x, &y, &lines))
}

fn table(deltas: &[Delta]) -> String {
    let same = |delta: &&Delta| delta.before == delta.after;
    let (alike, different): (Vec<&Delta>, Vec<&Delta>) = deltas.iter().partition(same);
    let mut inside = rows(&different);
    if !alike.is_empty() {
        let count = alike.len();
        let _ = write!(
            inside,
            "<details><summary>{count} more are the same in both</summary>{}</details>",
            rows(&alike)
        );
    }
    section(
        "Every figure",
        "Noise: two standard errors of the difference, by how the intervals of both runs scatter. Times are in microseconds.",
        &inside,
    )
}

fn rows(deltas: &[&Delta]) -> String {
    let mut rows = String::from(
        "<tr class=\"head\"><th>Figure</th><th class=\"figure\">Before</th><th class=\"figure\">After</th><th class=\"figure\">Change</th><th class=\"figure\">Noise</th><th></th></tr>",
    );
    for delta in deltas {
        let (class, word) = match delta.verdict {
            Verdict::Worse => ("red", "worse"),
            Verdict::Better => ("good", "better"),
            Verdict::Noise => ("", "noise"),
            Verdict::Tolerated => ("", "tolerated"),
            Verdict::Neutral => ("", ""),
        };
        let change = delta
            .percent
            .map_or_else(String::new, |p| format!("{p:+.1} %"));
        let noise = delta
            .noise_percent
            .map_or_else(String::new, |p| format!("&plusmn;{p:.1} %"));
        let _ = write!(
            rows,
            "<tr><th>{}</th><td class=\"figure\">{}</td><td class=\"figure\">{}</td><td class=\"figure {class}\">{change}</td>\
             <td class=\"figure\">{noise}</td><td class=\"{class}\">{word}</td></tr>",
            escaped(&delta.name),
            number(delta.before),
            number(delta.after)
        );
    }
    format!("<table class=\"deltas\">{rows}</table>")
}
