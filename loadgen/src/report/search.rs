//! The page of `msrpload search`: latency over throughput, and what came of each rate.

use std::fmt::Write as _;

use crate::search::Step;
use crate::summary::text::{micros, rounded};

use super::chart::{self, Axis, Line};
use super::charts::Chart;
use super::tables::section;
use super::{END, banner, begin, escaped, round_micros, short};

pub fn search_page(command: &str, slo: &str, found: Option<f64>, steps: &[Step]) -> String {
    let mut out = begin("search");
    let _ = write!(out, "<pre class=\"command\">{}</pre>", escaped(command));
    out += &match found {
        Some(rate) => format!(
            "<div class=\"tiles\"><div class=\"tile row\"><b>{}</b><span>messages/s, the highest rate at which {} holds</span></div></div>",
            rounded(rate),
            escaped(slo)
        ),
        None => banner(
            "bad",
            &format!("{slo} holds at none of the rates that were tried"),
        ),
    };
    out += &curve(steps).section();
    out += &table(steps);
    out + END
}

fn curve(steps: &[Step]) -> Chart {
    let points = |value: fn(&Step) -> Option<f64>| -> Vec<(f64, f64)> {
        steps
            .iter()
            .filter_map(|step| Some((step.rate, value(step)?)))
            .collect()
    };
    let line = |name: &str, class, value| Line {
        name: name.into(),
        class,
        points: points(value),
    };
    let lines = [
        line("p50", 'a', |step| step.result.measured.delivery_us.p50),
        line("p99", 'b', |step| step.result.measured.delivery_us.p99),
        line("p99.9", 'd', |step| step.result.measured.delivery_us.p999),
    ];
    let x = Axis {
        width: chart::WIDE,
        ..Axis::from_zero(
            "messages/s asked for",
            steps.iter().map(|step| step.rate),
            short,
        )
    };
    let values = lines
        .iter()
        .flat_map(|l| l.points.iter().map(|p| p.1.max(1.0)));
    let y = Axis::log("latency", values, round_micros);
    let about = "Each point is a run of its own at one rate.";
    Chart::new(
        "Latency over throughput",
        about,
        chart::lines(&x, &y, &lines),
    )
    .wide()
}

fn table(steps: &[Step]) -> String {
    let mut rows = String::from(
        "<tr><th class=\"figure\">Asked for</th><th class=\"figure\">Delivered</th><th class=\"figure\">p50</th><th class=\"figure\">p99</th><th class=\"figure\">p99.9</th><th class=\"figure\">Lost</th><th></th></tr>",
    );
    for step in steps {
        let m = &step.result.measured;
        let time = |us: Option<f64>| us.map_or_else(|| "none".to_owned(), micros);
        let (class, word) = match step.held {
            true => ("good", "held".to_owned()),
            false => ("red", step.missed.join("; ")),
        };
        let _ = write!(
            rows,
            "<tr><td class=\"figure\">{}/s</td><td class=\"figure\">{}/s</td><td class=\"figure\">{}</td>\
             <td class=\"figure\">{}</td><td class=\"figure\">{}</td><td class=\"figure\">{}</td><td class=\"{class}\">{}</td></tr>",
            rounded(step.rate),
            rounded(m.messages_per_second),
            time(m.delivery_us.p50),
            time(m.delivery_us.p99),
            time(m.delivery_us.p999),
            step.result.counts.lost,
            escaped(&word)
        );
    }
    section(
        "Every rate",
        "",
        &format!("<div class=\"scroll\"><table>{rows}</table></div>"),
    )
}
