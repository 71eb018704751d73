//! The page of `msrpload search`: latency over throughput, and what came of each rate.

use std::fmt::Write as _;

use crate::search::Step;
use crate::summary::text::{grouped, micros, rounded};

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
    const NAMES: [&str; 6] = ["Asked for", "Delivered", "p50", "p99", "p99.9", "Lost"];
    let mut rows = String::from("<tr class=\"head\">");
    for name in NAMES {
        let _ = write!(rows, "<th class=\"figure\">{name}</th>");
    }
    rows += "<th></th></tr>";
    for step in steps {
        let m = &step.result.measured;
        let time = |us: Option<f64>| us.map_or_else(|| "none".to_owned(), micros);
        let (class, word) = match step.held {
            true => ("good", "held".to_owned()),
            false => ("red", step.missed.join("; ")),
        };
        let values = [
            format!("{}/s", rounded(step.rate)),
            format!("{}/s", rounded(m.messages_per_second)),
            time(m.delivery_us.p50),
            time(m.delivery_us.p99),
            time(m.delivery_us.p999),
            grouped(step.result.counts.lost),
        ];
        rows += "<tr>";
        // On a narrow screen each cell says what it is.
        for (name, value) in NAMES.into_iter().zip(values) {
            let _ = write!(
                rows,
                "<td class=\"figure\" data-name=\"{name}\">{value}</td>"
            );
        }
        let _ = write!(rows, "<td class=\"{class}\">{}</td></tr>", escaped(&word));
    }
    section(
        "Every rate",
        "",
        &format!("<table class=\"steps\">{rows}</table>"),
    )
}
