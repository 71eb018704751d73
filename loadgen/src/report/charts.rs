//! The pictures of one run.

use hdrhistogram::Histogram;

use crate::run::{Sample, Trace};
use crate::summary::{Interval, Summary};
use crate::usage::ProcessUsage;

use super::chart::{self, Axis, Line, Scale};
use super::{heat, round_micros, short, trimmed};

/// A picture with what it is about.
pub struct Chart {
    title: &'static str,
    about: String,
    drawing: String,
    /// It has a row of its own.
    wide: bool,
}

impl Chart {
    pub fn new(title: &'static str, about: impl Into<String>, drawing: String) -> Self {
        Self {
            title,
            about: about.into(),
            drawing,
            wide: false,
        }
    }

    /// In a row of its own, for which its axis must be [`chart::WIDE`].
    pub fn wide(self) -> Self {
        Self { wide: true, ..self }
    }

    pub fn section(&self) -> String {
        let class = if self.wide { "wide" } else { "" };
        format!(
            "<section class=\"{class}\"><h2>{}</h2><p class=\"about\">{}</p>{}</section>",
            self.title, self.about, self.drawing
        )
    }
}

pub fn of_run(summary: &Summary, trace: &Trace) -> Vec<Chart> {
    let mut charts = Vec::new();
    let time = time_axis(summary, trace);
    // The last interval of a run that was cut short may be a sliver: its rate would mislead.
    let whole = |i: &&Interval| i.seconds > trace.interval.as_secs_f64() * 0.5;
    let intervals: Vec<&Interval> = summary.intervals.iter().filter(whole).collect();
    if summary.counts.sent > 0 && !intervals.is_empty() {
        charts.push(throughput(&time, &intervals));
        if intervals.iter().any(|i| i.film_octets > 0) {
            let mb = points(&intervals, |i| Some(i.film_octets as f64 / i.seconds / 1e6));
            let y = Axis::from_zero("MB/s", mb.iter().map(|p| p.1), short);
            let drawing = chart::lines(&time, &y, &[line("films", 'b', mb)]);
            charts.push(Chart::new("Films", "MB a second of all films.", drawing));
        }
        charts.push(percentiles(trace));
        charts.push(quantiles_over_time(&time, &intervals));
        charts.push(heat_map(&time, trace));
    }
    if summary.counts.sent == 0 || summary.churn.is_some() {
        charts.extend(connecting(trace, chart::WIDTH));
    }
    charts.extend(usage(&time, trace));
    // With an odd number of halves one would stand beside nothing.
    if charts.iter().filter(|chart| !chart.wide).count() % 2 == 1 {
        let first = match summary.counts.sent > 0 && !intervals.is_empty() {
            true => Some(throughput(&wide(&time), &intervals)),
            false => connecting(trace, chart::WIDE),
        };
        if let Some(first) = first {
            charts[0] = first.wide();
        }
    }
    charts
}

fn wide(axis: &Axis) -> Axis {
    Axis {
        width: chart::WIDE,
        ..*axis
    }
}

fn line(name: &str, class: char, points: Vec<(f64, f64)>) -> Line {
    Line {
        name: name.into(),
        class,
        points,
    }
}

fn time_axis(summary: &Summary, trace: &Trace) -> Axis {
    Axis {
        label: "seconds",
        width: chart::WIDTH,
        scale: Scale::Linear,
        min: 0.0,
        max: summary.measured.seconds.max(trace.interval.as_secs_f64()),
        show: |s| format!("{}", (s * 10.0).round() / 10.0),
    }
}

/// At the middle of each interval.
fn points(intervals: &[&Interval], value: impl Fn(&Interval) -> Option<f64>) -> Vec<(f64, f64)> {
    let point = |i: &&Interval| Some((i.at + i.seconds / 2.0, value(i)?));
    intervals.iter().filter_map(point).collect()
}

fn throughput(time: &Axis, intervals: &[&Interval]) -> Chart {
    let rates = points(intervals, |i| Some(i.delivered as f64 / i.seconds));
    let target = points(intervals, |i| i.target_per_second);
    let y = Axis::from_zero(
        "messages/s",
        rates.iter().chain(&target).map(|p| p.1),
        short,
    );
    let mut lines = vec![line("delivered", 'a', rates)];
    if !target.is_empty() {
        lines.push(line("asked for", 't', target));
    }
    if intervals.iter().any(|i| i.reported > 0) {
        lines.push(line(
            "reported",
            'd',
            points(intervals, |i| Some(i.reported as f64 / i.seconds)),
        ));
    }
    if intervals.iter().any(|i| i.not_sent + i.lost > 0) {
        let gone = points(intervals, |i| {
            Some((i.not_sent + i.lost) as f64 / i.seconds)
        });
        lines.push(line("not sent or lost", 'b', gone));
    }
    Chart::new(
        "Throughput",
        "Messages a second.",
        chart::lines(time, &y, &lines),
    )
}

/// Percentile over latency, as HdrHistogram's own plots have it.
pub fn nines(count: u64) -> Axis {
    Axis {
        label: "percentile",
        width: chart::WIDTH,
        scale: Scale::Nines,
        min: 0.0,
        max: (1.0 - 1.0 / count.max(10) as f64).min(0.999_999),
        show: |q| format!("{}%", trimmed(q * 100.0)),
    }
}

fn percentiles(trace: &Trace) -> Chart {
    let [main, ..] = trace.record.totals();
    let mut curves = vec![("delivery", 'a', &main.delivery)];
    if !main.acknowledgement.is_empty() {
        curves.push(("the sender's 200", 'b', &main.acknowledgement));
    }
    if let Some(forward) = trace.scraped.get("msrpd_forward_duration_seconds") {
        curves.push(("within the relay", 'c', forward));
    }
    curves_of(
        chart::WIDTH,
        "Latency by percentile",
        "How long the given share of messages took at most. What was lost or never sent is in it with the time it has waited.",
        &curves,
    )
}

fn curves_of(
    width: f64,
    title: &'static str,
    about: &str,
    curves: &[(&str, char, &Histogram<u64>)],
) -> Chart {
    let count = curves.iter().map(|(_, _, h)| h.len()).max().unwrap_or(1);
    let x = Axis {
        width,
        ..nines(count)
    };
    let lines: Vec<Line> = curves
        .iter()
        .filter(|(_, _, h)| !h.is_empty())
        .map(|(name, class, h)| {
            let points = (0..=100).map(|i| {
                let nines = f64::from(i) / 100.0 * -(1.0 - x.max).log10();
                let q = 1.0 - 10_f64.powf(-nines);
                (q, (h.value_at_quantile(q) as f64 / 1e3).max(0.1))
            });
            line(name, *class, points.collect())
        })
        .collect();
    let values = lines.iter().flat_map(|l| l.points.iter().map(|p| p.1));
    let y = Axis::log("latency", values, round_micros);
    Chart::new(title, about, chart::lines(&x, &y, &lines))
}

fn quantiles_over_time(time: &Axis, intervals: &[&Interval]) -> Chart {
    let lines = [
        line("p50", 'a', points(intervals, |i| i.delivery_us.p50)),
        line("p99", 'b', points(intervals, |i| i.delivery_us.p99)),
        line("maximum", 'd', points(intervals, |i| i.delivery_us.max)),
    ];
    let values = lines
        .iter()
        .flat_map(|l| l.points.iter().map(|p| p.1.max(1.0)));
    let y = Axis::log("latency", values, round_micros);
    let about = "Of the messages that were due in each interval.";
    Chart::new("Quantiles over time", about, chart::lines(time, &y, &lines))
}

fn heat_map(time: &Axis, trace: &Trace) -> Chart {
    let intervals = trace.record.series.intervals();
    let histograms: Vec<&Histogram<u64>> = intervals.iter().map(|i| &i.delivery).collect();
    let seen = histograms.iter().filter(|h| !h.is_empty());
    let ends = seen.flat_map(|h| [h.min() as f64 / 1e3, h.max() as f64 / 1e3]);
    let y = Axis::log("latency", ends.map(|v| v.max(1.0)), round_micros);
    let seconds = trace.interval.as_secs_f64();
    let drawing = heat::map(&wide(time), &y, seconds, &histograms);
    Chart::new(
        "Latency over time",
        "Each column is an interval; the stronger its colour, the more messages took so long.",
        drawing,
    )
    .wide()
}

/// How long connections took to come about.
fn connecting(trace: &Trace, width: f64) -> Option<Chart> {
    let r = &trace.record;
    let mut about = "TCP; TLS from TCP's being connected; both requests of AUTH.";
    let mut curves = vec![
        ("TCP", 'a', &r.connecting),
        ("TLS", 'b', &r.handshake),
        ("AUTH", 'c', &r.auth),
    ];
    if !r.upgrade.is_empty() {
        curves.push(("WebSocket", 'd', &r.upgrade));
        about = "TCP; TLS from TCP's being connected; WebSocket from there; both requests of AUTH.";
    }
    curves
        .iter()
        .any(|(_, _, h)| !h.is_empty())
        .then(|| curves_of(width, "Connecting, by percentile", about, &curves))
}

fn usage(time: &Axis, trace: &Trace) -> Vec<Chart> {
    let samples = &trace.samples;
    let mut charts = Vec::new();
    let relay = shares(samples, |s| s.relay);
    let own = shares(samples, |s| s.own);
    let watched = !relay.is_empty();
    let both = relay.iter().chain(&own).map(|p| p.1);
    let y = Axis::from_zero("CPU", both, |v| format!("{}%", trimmed(v)));
    let mut lines = Vec::new();
    if watched {
        lines.push(line("relay", 'a', relay));
    }
    lines.push(line("msrpload", 'b', own));
    let about = match watched {
        true => "Per cent of one core.",
        false => "Per cent of one core. The relay was not watched: --relay-pid.",
    };
    charts.push(Chart::new("CPU", about, chart::lines(time, &y, &lines)));
    let memory: Vec<(f64, f64)> = samples
        .iter()
        .filter_map(|s| Some((s.at.as_secs_f64(), s.relay?.rss_octets as f64 / 1_048_576.0)))
        .collect();
    if watched {
        let y = Axis::from_zero("MiB", memory.iter().map(|p| p.1), short);
        let drawing = chart::lines(time, &y, &[line("relay", 'a', memory)]);
        charts.push(Chart::new("Relay memory", "Resident MiB.", drawing));
    }
    charts
}

/// Per cent of a core between each two samples.
fn shares(samples: &[Sample], of: fn(&Sample) -> Option<ProcessUsage>) -> Vec<(f64, f64)> {
    let pairs = samples.windows(2);
    pairs
        .filter_map(|pair| {
            let used = of(&pair[1])?.since(&of(&pair[0])?).cpu.as_secs_f64();
            let took = (pair[1].taken - pair[0].taken).as_secs_f64();
            let meant = (pair[1].at - pair[0].at).as_secs_f64();
            let at = (pair[0].at + pair[1].at).as_secs_f64() / 2.0;
            // Of two that were taken too near to each other the share means nothing.
            (took > meant / 2.0).then_some((at, used / took * 100.0))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_sample_that_came_late_makes_no_peak() {
        let began = Instant::now();
        let sample = |at: u64, taken: u64| Sample {
            at: Duration::from_millis(at),
            taken: began + Duration::from_millis(taken),
            relay: None,
            own: Some(ProcessUsage {
                // Half a core, and the readings themselves cost a little.
                cpu: Duration::from_micros(taken * 500 + at),
                ..ProcessUsage::default()
            }),
        };
        // The second was taken late, and so lies next to the third.
        let samples = [
            sample(0, 0),
            sample(100, 198),
            sample(200, 200),
            sample(300, 300),
        ];
        let shares = shares(&samples, |s| s.own);
        assert_eq!(shares.len(), 2);
        assert!(
            shares.iter().all(|(_, share)| (45.0..55.0).contains(share)),
            "{shares:?}"
        );
    }
}
