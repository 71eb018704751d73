//! The result of a run: as numbers (JSON), as a table for people, and as exit code.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::hostile::HostileResult;
use crate::ledger::{Counts, Wrong};

/// A latency distribution in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Latency {
    pub count: u64,
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl Latency {
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |q| histogram.value_at_quantile(q) as f64 / 1e3;
        if histogram.is_empty() {
            return Self::default();
        }
        Self {
            count: histogram.len(),
            mean: histogram.mean() / 1e3,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max() as f64 / 1e3,
        }
    }
}

/// What happened within the measured stretch.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Measured {
    pub seconds: f64,
    pub sent: u64,
    pub delivered: u64,
    pub chunks_received: u64,
    pub messages_per_second: f64,
    pub octets: u64,
    pub megabytes_per_second: f64,
    /// From sent (open loop: due) to whole at the receiver.
    pub delivery_us: Latency,
    /// From sent (open loop: due) to the last 200.
    pub acknowledgement_us: Latency,
    /// For how long receivers held their 200s.
    pub held_us: Latency,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct SetUp {
    pub connections: usize,
    pub seconds: f64,
    pub connections_per_second: f64,
    pub tcp_us: Latency,
    /// TLS alone, from TCP's being connected.
    pub handshake_us: Latency,
    /// Both requests, from the first to the 200.
    pub auth_us: Latency,
    /// The relay's CPU for one connection: TCP, TLS, AUTH.
    pub relay_cpu_us_per_connection: Option<f64>,
}

/// What became of the films beside the chats.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct FilmResult {
    pub sessions: usize,
    /// Films; delivered means whole, reported refused or failed.
    pub counts: Counts,
    /// Octets that arrived in the measured stretch.
    pub octets: u64,
    pub megabytes_per_second: f64,
    /// Of whole films, in the whole run.
    pub delivery_us: Latency,
}

/// Clients that come and go.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct ChurnResult {
    /// Rounds that ended in the measured stretch.
    pub rounds: u64,
    pub rounds_per_second: f64,
    pub handshakes_per_second: f64,
    pub auths_per_second: f64,
    /// From when a round was due to both clients' having left.
    pub round_us: Latency,
    pub tcp_us: Latency,
    pub handshake_us: Latency,
    pub auth_us: Latency,
    pub relay_cpu_us_per_round: Option<f64>,
}

/// What became of the messages to a receiver that stands still.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct StandingResult {
    pub counts: Counts,
    /// From when a message was due to its failure's being known.
    pub reported_after_us: Latency,
    /// Whether the relay has closed its connection, as far as one sees without reading.
    pub connections_ended: u64,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Relay {
    pub pids: Vec<u32>,
    pub cpu_seconds: f64,
    pub user_seconds: f64,
    pub system_seconds: f64,
    pub cpu_share: f64,
    pub cpu_us_per_message: Option<f64>,
    pub cpu_us_per_chunk: Option<f64>,
    pub cpu_ns_per_octet: Option<f64>,
    pub rss_mib_before: f64,
    pub rss_mib_set_up: f64,
    pub rss_mib_end: f64,
    /// What all connections added, for each.
    pub rss_kib_per_connection: f64,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Own {
    pub cpu_us_per_message: Option<f64>,
    /// Share of one core, of all threads together.
    pub cpu_share: f64,
    /// Share of the time in which we could run and something else had the core.
    pub waited_share: f64,
    pub threads: usize,
    /// How late we were for what was due at a time.
    pub lateness_us: Latency,
}

/// Quantiles of the whole way less those of the relay's own forwarding: the kernels, the network and
/// both ends of this program, which was as late as `own` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Between {
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    pub own_p50: f64,
    pub own_p99: f64,
    pub own_p999: f64,
}

impl Between {
    pub fn of(whole: &Latency, within: &Latency, own: &Latency) -> Option<Self> {
        (whole.count > 0 && within.count > 0).then_some(Self {
            p50: whole.p50 - within.p50,
            p99: whole.p99 - within.p99,
            p999: whole.p999 - within.p999,
            own_p50: own.p50,
            own_p99: own.p99,
            own_p999: own.p999,
        })
    }

    /// For the table and the report.
    pub fn text(&self) -> String {
        let own = match self.own_p999 > 0.0 {
            true => format!(
                "; this program was late by {}, {}, {}",
                micros(self.own_p50),
                micros(self.own_p99),
                micros(self.own_p999)
            ),
            false => String::new(),
        };
        format!(
            "p50 {}  p99 {}  p99.9 {}  in kernels, network and clients{own}",
            micros(self.p50),
            micros(self.p99),
            micros(self.p999)
        )
    }
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    pub workload: String,
    pub command: String,
    pub version: String,
    pub counts: Counts,
    /// Faults that belong to no session.
    pub stray: Wrong,
    pub success_reports: u64,
    pub lost_connections: u64,
    pub measured: Measured,
    pub films: Option<FilmResult>,
    pub churn: Option<ChurnResult>,
    pub standing: Option<StandingResult>,
    pub hostile: Option<HostileResult>,
    pub set_up: SetUp,
    pub relay: Option<Relay>,
    /// What the relay says it measured itself in the same stretch, by the names of its metrics.
    pub scraped_us: BTreeMap<String, Latency>,
    /// What lies between the relay's forwarding and the whole way of a message, where the relay
    /// was scraped.
    pub between_us: Option<Between>,
    pub own: Own,
    pub waited_at_end_seconds: f64,
    /// Examples of what went wrong.
    pub notices: Vec<String>,
    pub notices_dropped: u64,
    pub warnings: Vec<String>,
    pub missed_thresholds: Vec<String>,
    pub fatal: Option<String>,
}

impl Summary {
    pub fn wrong(&self) -> u64 {
        let all = self.all_counts().map(|counts| counts.wrong.total());
        all.sum::<u64>() + self.stray.total()
    }

    /// Of all kinds of sessions.
    fn all_counts(&self) -> impl Iterator<Item = &Counts> {
        let films = self.films.iter().map(|films| &films.counts);
        let standing = self.standing.iter().map(|standing| &standing.counts);
        std::iter::once(&self.counts).chain(films).chain(standing)
    }

    /// 0, 1 or 2 as `--help` says.
    pub fn exit_code(&self) -> u8 {
        let nothing = self.counts.sent > 0 && self.counts.delivered == 0;
        let bad = self.all_counts().any(|c| c.lost + c.unanswered > 0)
            || self.wrong() > 0
            || self.lost_connections > 0
            || nothing
            || !self.missed_thresholds.is_empty();
        match (&self.fatal, bad) {
            (Some(_), _) if self.counts.sent == 0 => 2,
            (Some(_), _) | (None, true) => 1,
            (None, false) => 0,
        }
    }

    /// A result by the name that thresholds use; times in microseconds.
    pub fn value(&self, name: &str) -> Option<f64> {
        let m = &self.measured;
        Some(match name {
            "p50" => m.delivery_us.p50,
            "p90" => m.delivery_us.p90,
            "p99" => m.delivery_us.p99,
            "p99.9" => m.delivery_us.p999,
            "max" => m.delivery_us.max,
            "ack_p99" => m.acknowledgement_us.p99,
            "sent" => self.counts.sent as f64,
            "acknowledged" => self.counts.acknowledged as f64,
            "delivered" => self.counts.delivered as f64,
            "reported" => self.counts.reported as f64,
            "lost" => self.counts.lost as f64,
            "wrong" => self.wrong() as f64,
            "rate" => m.messages_per_second,
            "mbps" => m.megabytes_per_second,
            "films_delivered" => self.films?.counts.delivered as f64,
            "films_reported" => self.films?.counts.reported as f64,
            "films_lost" => self.films?.counts.lost as f64,
            "standing_reported_max" => self.standing?.reported_after_us.max,
            "relay_us" => self.relay.as_ref()?.cpu_us_per_message?,
            "relay_ns_per_octet" => self.relay.as_ref()?.cpu_ns_per_octet?,
            "rss_kib_per_connection" => self.relay.as_ref()?.rss_kib_per_connection,
            "own_us" => self.own.cpu_us_per_message?,
            _ => return None,
        })
    }

    /// The table that ends a run.
    pub fn table(&self) -> String {
        let mut out = String::new();
        let mut row = |name: &str, value: String| {
            let _ = writeln!(out, "  {name:<20}{value}");
        };
        let c = &self.counts;
        if c.sent > 0 {
            row("sent", grouped(c.sent));
            row("acknowledged", grouped(c.acknowledged));
            row("delivered", grouped(c.delivered));
            row("reported", grouped(c.reported));
            row("lost", grouped(c.lost));
            if c.unanswered > 0 {
                row("without 200", grouped(c.unanswered));
            }
            row("wrong", self.wrong_text());
            if c.overtaken > 0 {
                row("overtaken", grouped(c.overtaken));
            }
            if self.success_reports > 0 {
                row("success reports", grouped(self.success_reports));
            }
            let m = &self.measured;
            row(
                "rate",
                format!(
                    "{} messages/s",
                    grouped(m.messages_per_second.round() as u64)
                ),
            );
            row("throughput", format!("{:.1} MB/s", m.megabytes_per_second));
            row("delivery", latency(&m.delivery_us));
            if m.acknowledgement_us.count > 0 {
                row("200", latency(&m.acknowledgement_us));
            }
            if m.held_us.count > 0 {
                row("200s held", latency(&m.held_us));
            }
        }
        self.beside_rows(&mut row);
        for (name, latencies) in &self.scraped_us {
            let name = name.trim_start_matches("msrpd_");
            let name = name.trim_end_matches("_duration_seconds");
            row(&format!("relay: {name}"), latency(latencies));
        }
        if let Some(between) = &self.between_us {
            row("outside the relay", between.text());
        }
        self.set_up_rows(&mut row);
        self.cost_rows(&mut row);
        if self.lost_connections > 0 {
            row(
                "connections",
                format!(
                    "{} ended although nobody here closed them",
                    self.lost_connections
                ),
            );
        }
        for (title, lines) in [
            ("notice", &self.notices),
            ("warning", &self.warnings),
            ("missed", &self.missed_thresholds),
        ] {
            for line in lines {
                let _ = writeln!(out, "  {title:<20}{line}");
            }
        }
        if self.notices_dropped > 0 {
            let _ = writeln!(out, "  {:<20}and {} more", "notice", self.notices_dropped);
        }
        out
    }

    fn beside_rows(&self, row: &mut impl FnMut(&str, String)) {
        if let Some(films) = &self.films {
            let c = &films.counts;
            let mut text = format!(
                "{} sent, {} whole, {} refused or failed, {} lost, {:.1} MB/s",
                c.sent, c.delivered, c.reported, c.lost, films.megabytes_per_second
            );
            if films.delivery_us.count > 0 {
                let _ = write!(text, ", {} each", micros(films.delivery_us.p50));
            }
            row("films", text);
        }
        if let Some(churn) = &self.churn {
            row(
                "rounds",
                format!(
                    "{:.0}/s  {}",
                    churn.rounds_per_second,
                    latency(&churn.round_us)
                ),
            );
            for (name, rate, took) in [
                ("TLS", churn.handshakes_per_second, &churn.handshake_us),
                ("AUTH", churn.auths_per_second, &churn.auth_us),
            ] {
                row(name, format!("{rate:.0}/s  {}", latency(took)));
            }
            if let Some(us) = churn.relay_cpu_us_per_round {
                row("relay CPU", format!("{us:.0} us per round"));
            }
        }
        if let Some(hostile) = &self.hostile {
            let sum = hostile.sum();
            row(
                "bad company",
                format!(
                    "{} connections, {} opened, {} thrown out, {} not let in",
                    hostile.connections,
                    grouped(sum.opened),
                    grouped(sum.ended),
                    grouped(sum.refused)
                ),
            );
        }
        if let Some(standing) = &self.standing {
            let c = &standing.counts;
            let mut text = format!(
                "{} messages to a receiver that stands still, {} arrived, {} reported, {} lost",
                c.sent, c.delivered, c.reported, c.lost
            );
            if c.reported > 0 {
                let after = micros(standing.reported_after_us.max);
                let _ = write!(text, ", the last after {after}");
            }
            row("standing", text);
        }
    }

    fn set_up_rows(&self, row: &mut impl FnMut(&str, String)) {
        let s = &self.set_up;
        if self.counts.sent > 0 {
            return;
        }
        row(
            "connections",
            format!(
                "{} in {:.1} s, {:.0}/s",
                grouped(s.connections as u64),
                s.seconds,
                s.connections_per_second
            ),
        );
        row("TLS", latency(&s.handshake_us));
        row("AUTH", latency(&s.auth_us));
        if let Some(us) = s.relay_cpu_us_per_connection {
            row(
                "relay CPU",
                format!("{us:.1} us per connection with TLS and AUTH"),
            );
        }
    }

    fn cost_rows(&self, row: &mut impl FnMut(&str, String)) {
        if let Some(r) = &self.relay {
            let mut text = format!(
                "{:.0} % of a core (user {:.2} s, system {:.2} s)",
                r.cpu_share * 100.0,
                r.user_seconds,
                r.system_seconds
            );
            if let Some(us) = r.cpu_us_per_message {
                let _ = write!(text, ", {us:.2} us per message");
            }
            if let Some(ns) = r.cpu_ns_per_octet {
                let _ = write!(text, ", {ns:.2} ns per octet");
            }
            row("relay CPU", text);
            let each = match self.counts.sent {
                0 => format!(" ({:.2} KiB each)", r.rss_kib_per_connection),
                _ => String::new(),
            };
            row(
                "relay RSS",
                format!(
                    "{:.1} MiB before, {:.1} with all connections, {:.1} at the end{each}",
                    r.rss_mib_before, r.rss_mib_set_up, r.rss_mib_end
                ),
            );
        }
        let o = &self.own;
        let mut text = format!("{:.0} % of a core", o.cpu_share * 100.0);
        if let Some(us) = o.cpu_us_per_message {
            let _ = write!(text, ", {us:.2} us per message");
        }
        let _ = write!(
            text,
            ", waited for it {:.1} % of the time",
            o.waited_share * 100.0
        );
        if o.lateness_us.count > 0 {
            let _ = write!(text, ", late by p99 {}", micros(o.lateness_us.p99));
        }
        row("own CPU", text);
    }

    fn wrong_text(&self) -> String {
        let mut all = self.counts.wrong;
        all.add(&self.stray);
        let parts = [
            (all.octets, "pieces with wrong octets"),
            (all.doubled_octets, "octets doubled"),
            (all.unknown, "never sent"),
            (all.ranges, "false ranges or flags"),
            (all.order, "pieces out of order"),
            (all.headers, "heads changed"),
            (all.answers, "answers not due"),
        ];
        let named: Vec<String> = parts
            .iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, what)| format!("{n} {what}"))
            .collect();
        match named.is_empty() {
            true => "0".into(),
            false => format!("{}: {}", grouped(all.total()), named.join(", ")),
        }
    }
}

pub fn latency(l: &Latency) -> String {
    format!(
        "p50 {}  p99 {}  p99.9 {}  max {}",
        micros(l.p50),
        micros(l.p99),
        micros(l.p999),
        micros(l.max)
    )
}

/// Microseconds in the unit that reads best.
pub fn micros(us: f64) -> String {
    match us {
        _ if us < 1_000.0 => format!("{us:.0} us"),
        _ if us < 100_000.0 => format!("{:.2} ms", us / 1e3),
        _ if us < 1_000_000.0 => format!("{:.0} ms", us / 1e3),
        _ => format!("{:.2} s", us / 1e6),
    }
}

/// `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(123), "123");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(micros(250.4), "250 us");
        assert_eq!(micros(2_500.0), "2.50 ms");
    }

    #[test]
    fn anything_lost_or_wrong_is_exit_code_1() {
        let good = Summary {
            counts: Counts {
                sent: 5,
                delivered: 5,
                acknowledged: 5,
                ..Counts::default()
            },
            ..Summary::default()
        };
        assert_eq!(good.exit_code(), 0);
        let with = |change: fn(&mut Summary)| {
            let mut summary = good.clone();
            change(&mut summary);
            summary.exit_code()
        };
        assert_eq!(with(|s| s.counts.lost = 1), 1);
        assert_eq!(with(|s| s.counts.unanswered = 1), 1);
        assert_eq!(with(|s| s.counts.wrong.octets = 1), 1);
        assert_eq!(with(|s| s.stray.answers = 1), 1);
        assert_eq!(with(|s| s.lost_connections = 1), 1);
        assert_eq!(with(|s| s.counts.delivered = 0), 1);
        assert_eq!(with(|s| s.fatal = Some("gone".into())), 1);
        assert_eq!(with(|s| s.counts.reported = 1), 0);
    }
}
