//! `--report`: one page that shows a run, complete in one file: no script, nothing to fetch.

mod chart;
mod heat;

use std::fmt::Write as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;

use crate::run::{Sample, Trace};
use crate::summary::{Summary, grouped, micros};
use crate::usage::ProcessUsage;
use chart::{Axis, Line, Scale};

pub fn write(file: &Path, summary: &Summary, trace: &Trace) -> Result<(), String> {
    std::fs::write(file, page(summary, trace))
        .map_err(|e| format!("--report {}: {e}", file.display()))
}

fn page(summary: &Summary, trace: &Trace) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>msrpload {0}</title><style>{STYLE}</style></head><body><main>\
         <h1>msrpload <b>{0}</b></h1><p class=\"sub\">{1} &middot; {2:.1} s measured</p>\
         <pre class=\"command\">{3}</pre>",
        escaped(&summary.workload),
        date(trace.began),
        summary.measured.seconds,
        escaped(&summary.command),
    );
    let bad = [summary.fatal.as_slice(), &summary.missed_thresholds].concat();
    for (class, lines) in [("bad", &bad), ("warn", &summary.warnings)] {
        for line in lines {
            let _ = write!(out, "<p class=\"{class}\">{}</p>", escaped(line));
        }
    }
    out += &tiles(summary);
    for (title, about, svg) in charts(summary, trace) {
        let class = if svg.contains("class=\"heat\"") {
            "wide"
        } else {
            ""
        };
        let _ = write!(
            out,
            "<section class=\"{class}\"><h2>{title}</h2><p class=\"about\">{about}</p>{svg}</section>"
        );
    }
    let _ = writeln!(
        out,
        "<section class=\"wide\"><h2>All figures</h2><pre>{}</pre></section></main></body></html>",
        escaped(&summary.table())
    );
    out
}

fn tiles(summary: &Summary) -> String {
    let m = &summary.measured;
    let c = &summary.counts;
    let whole = |number: f64| grouped(number.round() as u64);
    let mut tiles = Vec::new();
    if c.sent > 0 {
        tiles.push(("messages/s", whole(m.messages_per_second), false));
        tiles.push(("p50", micros(m.delivery_us.p50), false));
        tiles.push(("p99", micros(m.delivery_us.p99), false));
        tiles.push(("p99.9", micros(m.delivery_us.p999), false));
        tiles.push(("delivered", grouped(c.delivered), false));
        tiles.push(("reported", grouped(c.reported), false));
        tiles.push(("lost", grouped(c.lost), c.lost > 0));
        tiles.push(("wrong", grouped(summary.wrong()), summary.wrong() > 0));
    } else {
        let s = &summary.set_up;
        tiles.push(("connections", grouped(s.connections as u64), false));
        tiles.push(("connections/s", whole(s.connections_per_second), false));
        tiles.push(("TLS p50", micros(s.handshake_us.p50), false));
        tiles.push(("AUTH p50", micros(s.auth_us.p50), false));
    }
    if let Some(relay) = &summary.relay {
        if let Some(us) = relay.cpu_us_per_message {
            tiles.push(("relay CPU per message", format!("{us:.2} us"), false));
        }
        let memory = format!("{:.1} MiB", relay.rss_mib_end);
        tiles.push(("relay memory", memory, false));
    }
    if let Some(us) = summary.own.cpu_us_per_message {
        tiles.push(("own CPU per message", format!("{us:.2} us"), false));
    }
    let mut out = String::from("<div class=\"tiles\">");
    for (name, value, bad) in tiles {
        let class = if bad { "tile red" } else { "tile" };
        let _ = write!(
            out,
            "<div class=\"{class}\"><b>{value}</b><span>{name}</span></div>"
        );
    }
    out + "</div>"
}

type Chart = (&'static str, String, String);

fn charts(summary: &Summary, trace: &Trace) -> Vec<Chart> {
    let mut charts = Vec::new();
    let seconds = trace.interval.as_secs_f64();
    let intervals = trace.record.series.intervals();
    let time = Axis {
        label: "seconds",
        width: chart::WIDTH,
        scale: Scale::Linear,
        min: 0.0,
        max: summary.measured.seconds.max(seconds),
        show: |s| format!("{}", (s * 10.0).round() / 10.0),
    };
    // The last interval of a run that was cut short may be a sliver: its rate would mislead.
    let whole = ((summary.measured.seconds / seconds + 1e-6) as usize).min(intervals.len());
    if summary.counts.sent > 0 && whole > 0 {
        let middle = |i: usize| (i as f64 + 0.5) * seconds;
        let over_time = |value: &dyn Fn(usize) -> f64| -> Vec<(f64, f64)> {
            (0..whole).map(|i| (middle(i), value(i))).collect()
        };
        let rates = over_time(&|i| intervals[i].delivery.len() as f64 / seconds);
        let y = Axis::from_zero("messages/s", rates.iter().map(|p| p.1), short);
        let delivered = Line {
            name: "delivered",
            class: 'a',
            points: rates,
        };
        let reported = over_time(&|i| intervals[i].reported as f64 / seconds);
        let mut lines = vec![delivered];
        if intervals.iter().any(|i| i.reported > 0) {
            lines.push(Line {
                name: "reported",
                class: 'd',
                points: reported,
            });
        }
        charts.push((
            "Throughput",
            "Messages a second.".into(),
            chart::lines(&time, &y, &lines),
        ));
        if intervals.iter().any(|i| i.film_octets > 0) {
            let mb = over_time(&|i| intervals[i].film_octets as f64 / seconds / 1e6);
            let y = Axis::from_zero("MB/s", mb.iter().map(|p| p.1), short);
            let line = Line {
                name: "films",
                class: 'b',
                points: mb,
            };
            charts.push((
                "Films",
                "MB a second of all films.".into(),
                chart::lines(&time, &y, &[line]),
            ));
        }
        charts.push(percentiles(summary, trace));
        let histograms: Vec<&Histogram<u64>> = intervals.iter().map(|i| &i.delivery).collect();
        let seen = histograms.iter().filter(|h| !h.is_empty());
        let ends = seen.flat_map(|h| [h.min() as f64 / 1e3, h.max() as f64 / 1e3]);
        let y = Axis::log("latency", ends.map(|v| v.max(1.0)), round_micros);
        let time = Axis {
            width: chart::WIDE,
            ..time
        };
        charts.push((
            "Latency over time",
            "Each column is an interval; the stronger its colour, the more messages took so long."
                .into(),
            heat::map(&time, &y, seconds, &histograms),
        ));
    }
    charts.extend(usage(&time, &trace.samples));
    charts
}

fn percentiles(summary: &Summary, trace: &Trace) -> Chart {
    let r = &trace.record;
    let mut curves = vec![("delivery", 'a', &r.delivery)];
    if !r.acknowledgement.is_empty() {
        curves.push(("the sender's 200", 'b', &r.acknowledgement));
    }
    if let Some(forward) = trace.scraped.get("msrpd_forward_duration_seconds") {
        curves.push(("within the relay", 'c', forward));
    }
    let count = curves.iter().map(|(_, _, h)| h.len()).max().unwrap_or(1);
    let x = Axis {
        label: "percentile",
        width: chart::WIDTH,
        scale: Scale::Nines,
        min: 0.0,
        max: (1.0 - 1.0 / count.max(10) as f64).min(0.999_999),
        show: |q| format!("{}%", trimmed(q * 100.0)),
    };
    let lines: Vec<Line> = curves
        .into_iter()
        .filter(|(_, _, h)| !h.is_empty())
        .map(|(name, class, h)| {
            let points = (0..=100).map(|i| {
                let nines = f64::from(i) / 100.0 * -(1.0 - x.max).log10();
                let q = 1.0 - 10_f64.powf(-nines);
                (q, (h.value_at_quantile(q) as f64 / 1e3).max(0.1))
            });
            Line {
                name,
                class,
                points: points.collect(),
            }
        })
        .collect();
    let values = lines.iter().flat_map(|l| l.points.iter().map(|p| p.1));
    let y = Axis::log("latency", values, round_micros);
    let mut about = "How long the given share of messages took at most.".to_owned();
    if let Some(between) = &summary.between_us {
        about += &format!(" Between the relay and the whole way: {}.", between.text());
    }
    ("Latency by percentile", about, chart::lines(&x, &y, &lines))
}

fn usage(time: &Axis, samples: &[Sample]) -> Vec<Chart> {
    let mut charts = Vec::new();
    let shares = |of: fn(&Sample) -> Option<ProcessUsage>| -> Vec<(f64, f64)> {
        let pairs = samples.windows(2);
        pairs
            .filter_map(|pair| {
                let used = of(&pair[1])?.since(&of(&pair[0])?).cpu.as_secs_f64();
                let took = (pair[1].taken - pair[0].taken).as_secs_f64().max(1e-6);
                let at = (pair[0].at + pair[1].at).as_secs_f64() / 2.0;
                Some((at, used / took * 100.0))
            })
            .collect()
    };
    let relay = shares(|s| s.relay);
    let own = shares(|s| s.own);
    let watched = !relay.is_empty();
    let both = relay.iter().chain(&own).map(|p| p.1);
    let y = Axis::from_zero("CPU", both, |v| format!("{}%", trimmed(v)));
    let mut lines = Vec::new();
    if watched {
        lines.push(Line {
            name: "relay",
            class: 'a',
            points: relay,
        });
    }
    lines.push(Line {
        name: "msrpload",
        class: 'b',
        points: own,
    });
    let about = match watched {
        true => "Per cent of one core.".into(),
        false => "Per cent of one core. The relay was not watched: --relay-pid.".into(),
    };
    charts.push(("CPU", about, chart::lines(time, &y, &lines)));
    let memory: Vec<(f64, f64)> = samples
        .iter()
        .filter_map(|s| Some((s.at.as_secs_f64(), s.relay?.rss_octets as f64 / 1_048_576.0)))
        .collect();
    if watched {
        let y = Axis::from_zero("MiB", memory.iter().map(|p| p.1), short);
        let line = Line {
            name: "relay",
            class: 'a',
            points: memory,
        };
        charts.push((
            "Relay memory",
            "Resident MiB.".into(),
            chart::lines(time, &y, &[line]),
        ));
    }
    charts
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

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// `2026-11-25 04:30 UTC`, by the calendar that runs from 1 March.
fn date(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

const STYLE: &str = include_str!("report/style.css");

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn dates_are_right() {
        let at = |seconds| date(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01 00:00 UTC");
        assert_eq!(at(951_827_696), "2000-02-29 12:34 UTC");
        assert_eq!(at(1_795_582_800), "2026-11-25 05:00 UTC");
    }

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
