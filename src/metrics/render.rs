//! The text of a scrape (Prometheus exposition format 0.0.4), and `/histograms`.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::labels::{
    Along, CloseReason, Direction, DropReason, LookUpLabel, MethodLabel, OddResponse, QuotaLabel,
    RefusalReason, ReportOrigin, RoleLabel, SubjectLabel, TransportLabel,
};
use super::{CODES, Histogram, Ledger, ShardMetrics, Traffic};

/// A shard's numbers, and whether it answered in time or these are its last ones.
pub struct ShardSnapshot {
    pub shard: u16,
    pub up: bool,
    pub numbers: Box<ShardMetrics>,
}

/// What is true of the process as a whole, until the next reload.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Our certificates' files, and when each expires.
    pub certificates: Vec<(String, SystemTime)>,
    /// Whether the settings in force are those of the file, as of the last reload.
    pub reload_successful: bool,
    /// When settings were last taken from the file.
    pub reloaded: SystemTime,
}

/// What became of the records of sessions, ever.
#[derive(Clone, Copy, Debug)]
pub struct RecordTotals {
    pub written: u64,
    pub lost: u64,
    /// On their way.
    pub waiting: u64,
    /// They can be written, or are not to be.
    pub up: bool,
}

/// Numbers of the process as a whole.
pub struct ProcessMetrics {
    pub facts: Facts,
    pub records: RecordTotals,
    /// Forward latency of the last 30 to 60 s.
    pub recent_forward: Histogram,
}

/// 1-2.5-5 steps from 10 us to 30 s, in microseconds.
const EDGES_MICROS: [u64; 21] = [
    10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000, 25_000_000, 30_000_000,
];

struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(
            self.0,
            "# HELP msrpd_{name} {help}\n# TYPE msrpd_{name} {kind}"
        );
    }

    fn line(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = match labels {
            "" => writeln!(self.0, "msrpd_{name} {value}"),
            labels => writeln!(self.0, "msrpd_{name}{{{labels}}} {value}"),
        };
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
        self.head(name, kind, help);
        self.line(name, "", value);
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head(name, "histogram", help);
        let edges = EDGES_MICROS.map(Duration::from_micros);
        for (edge, count) in edges.iter().zip(histogram.counts_up_to(&edges)) {
            let label = format!("le=\"{}\"", edge.as_secs_f64());
            self.line(&format!("{name}_bucket"), &label, count);
        }
        self.line(&format!("{name}_bucket"), "le=\"+Inf\"", histogram.count());
        self.line(&format!("{name}_sum"), "", histogram.sum().as_secs_f64());
        self.line(&format!("{name}_count"), "", histogram.count());
    }
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// As between the quotes of a label.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

fn facts(text: &mut Text, facts: &Facts) {
    let name = "tls_certificate_expiry_timestamp_seconds";
    if !facts.certificates.is_empty() {
        text.head(name, "gauge", "When our certificates expire.");
    }
    for (file, expiry) in &facts.certificates {
        let label = format!("file=\"{}\"", escaped(file));
        text.line(name, &label, unix_seconds(*expiry));
    }
    text.one(
        "config_last_reload_successful",
        "gauge",
        "Whether the last reload took the file; 0: the settings before it are in force.",
        u8::from(facts.reload_successful),
    );
    text.one(
        "config_last_reload_success_timestamp_seconds",
        "gauge",
        "When settings were last taken from the file.",
        unix_seconds(facts.reloaded),
    );
}

fn codes() -> impl Iterator<Item = (usize, String)> {
    let known = CODES.iter().map(u16::to_string);
    known.chain(["other".to_owned()]).enumerate()
}

type Pick = fn(&ShardMetrics) -> &Histogram;

const HISTOGRAMS: [(&str, &str, Pick); 5] = [
    (
        "forward_duration_seconds",
        "Last octet of a chunk received to its last octet handed to the kernel.",
        |numbers| &numbers.forward_duration,
    ),
    (
        "transaction_duration_seconds",
        "Time until the next hop answered.",
        |numbers| &numbers.transaction_duration,
    ),
    (
        "handshake_duration_seconds",
        "Connection accepted or dialled to TLS established.",
        |numbers| &numbers.handshake_duration,
    ),
    (
        "auth_duration_seconds",
        "AUTH with credentials received to answered.",
        |numbers| &numbers.auth_duration,
    ),
    (
        "loop_duration_seconds",
        "One batch of completions and its follow-up on a shard.",
        |numbers| &numbers.loop_duration,
    ),
];

fn merged(shards: &[ShardSnapshot], pick: Pick) -> Histogram {
    let mut all = Histogram::default();
    for shard in shards {
        all.merge(pick(&shard.numbers));
    }
    all
}

/// Forward latency of all shards, for [`super::Quantiles`].
pub fn forward_total(shards: &[ShardSnapshot]) -> Histogram {
    merged(shards, |numbers| &numbers.forward_duration)
}

/// The whole text of `/metrics`.
pub fn render(shards: &[ShardSnapshot], process: &ProcessMetrics) -> String {
    let mut text = Text(String::with_capacity(32 * 1024));
    for (name, help, pick) in HISTOGRAMS {
        text.histogram(name, help, &merged(shards, pick));
    }
    text.head(
        "forward_latency_seconds",
        "gauge",
        "Forward latency over the last 30 to 60 s.",
    );
    for (label, quantile) in [("0.5", 0.5), ("0.99", 0.99), ("0.999", 0.999)] {
        let value = process.recent_forward.quantile(quantile).as_secs_f64();
        text.line(
            "forward_latency_seconds",
            &format!("quantile=\"{label}\""),
            value,
        );
    }
    connections(&mut text, shards);
    traffic(&mut text, shards);
    ledger(&mut text, shards);
    reasons(&mut text, shards);
    records(&mut text, &process.records);
    facts(&mut text, &process.facts);
    text.head("build_info", "gauge", "What runs here.");
    text.line(
        "build_info",
        concat!("version=\"", env!("CARGO_PKG_VERSION"), "\""),
        1,
    );
    text.0
}

fn sum(shards: &[ShardSnapshot], pick: impl Fn(&ShardMetrics) -> u64) -> u64 {
    shards.iter().map(|shard| pick(&shard.numbers)).sum()
}

fn connections(text: &mut Text, shards: &[ShardSnapshot]) {
    text.head("connections", "gauge", "Open connections.");
    for transport in TransportLabel::ALL {
        for role in RoleLabel::ALL {
            let labels = format!(
                "transport=\"{}\",role=\"{}\"",
                transport.text(),
                role.text()
            );
            let value = sum(shards, |numbers| {
                numbers.connections[transport as usize][role as usize]
            });
            text.line("connections", &labels, value);
        }
    }
    text.head("shard_connections", "gauge", "Open connections of a shard.");
    for shard in shards {
        let value: u64 = shard.numbers.connections.iter().flatten().sum();
        text.line(
            "shard_connections",
            &format!("shard=\"{}\"", shard.shard),
            value,
        );
    }
    text.head(
        "shard_up",
        "gauge",
        "Whether a shard answered this scrape within 1 s.",
    );
    for shard in shards {
        text.line(
            "shard_up",
            &format!("shard=\"{}\"", shard.shard),
            u8::from(shard.up),
        );
    }
    text.one(
        "sessions",
        "gauge",
        "Live Use-Path URIs.",
        sum(shards, |numbers| numbers.sessions),
    );
}

fn traffic(text: &mut Text, shards: &[ShardSnapshot]) {
    text.head("requests_total", "counter", "MSRP requests.");
    for method in MethodLabel::ALL {
        for direction in Direction::ALL {
            let labels = format!(
                "method=\"{}\",direction=\"{}\"",
                method.text(),
                direction.text()
            );
            let value = sum(shards, |numbers| {
                numbers.requests[method as usize][direction as usize]
            });
            text.line("requests_total", &labels, value);
        }
    }
    text.head("responses_total", "counter", "MSRP responses.");
    for (index, code) in codes() {
        for direction in Direction::ALL {
            let labels = format!("code=\"{code}\",direction=\"{}\"", direction.text());
            let value = sum(shards, |numbers| {
                numbers.responses[index][direction as usize]
            });
            text.line("responses_total", &labels, value);
        }
    }
    text.head("reports_total", "counter", "REPORTs sent, by status.");
    for (index, code) in codes() {
        for origin in ReportOrigin::ALL {
            let labels = format!("status=\"{code}\",origin=\"{}\"", origin.text());
            text.line(
                "reports_total",
                &labels,
                sum(shards, |numbers| numbers.reports[index][origin as usize]),
            );
        }
    }
    text.head("octets_total", "counter", "MSRP octets, without TLS.");
    text.line(
        "octets_total",
        "direction=\"in\"",
        sum(shards, |numbers| numbers.octets_in),
    );
    text.line(
        "octets_total",
        "direction=\"out\"",
        sum(shards, |numbers| numbers.octets_out),
    );
    text.one(
        "pauses_total",
        "counter",
        "How often a source was not read for a while, because of what was queued of it.",
        sum(shards, |numbers| numbers.pauses),
    );
    text.one(
        "transactions_forgotten_total",
        "counter",
        "Transactions with Failure-Report partial that were forgotten at limits.transactions_per_session.",
        sum(shards, |numbers| numbers.forgotten),
    );
    text.one(
        "handoffs_total",
        "counter",
        "Messages handed to another shard.",
        sum(shards, |numbers| numbers.handoffs),
    );
}

fn ledger(text: &mut Text, shards: &[ShardSnapshot]) {
    let mut all = Ledger::default();
    for shard in shards {
        all.add(&shard.numbers.ledger);
    }
    text.one(
        "chunks_taken_total",
        "counter",
        "Chunks that we took responsibility for.",
        all.taken,
    );
    text.one(
        "chunks_answered_total",
        "counter",
        "Chunks whose pieces all have a 2xx.",
        all.answered,
    );
    text.one(
        "chunks_reported_total",
        "counter",
        "Chunks that failed and were reported.",
        all.reported,
    );
    text.one(
        "chunks_released_total",
        "counter",
        "Chunks for which no answer was due.",
        all.released,
    );
    text.head(
        "chunks_dropped_total",
        "counter",
        "Chunks whose failure may not or cannot be told.",
    );
    for reason in DropReason::ALL {
        let labels = format!("reason=\"{}\"", reason.text());
        text.line(
            "chunks_dropped_total",
            &labels,
            all.dropped[reason as usize],
        );
    }
    text.one(
        "chunks_held",
        "gauge",
        "Chunks taken and not yet resolved.",
        all.held,
    );
    for (name, help, pick) in TRAFFIC {
        text.head(name, "counter", help);
        for along in Along::ALL {
            let labels = format!("direction=\"{}\"", along.text());
            text.line(name, &labels, pick(&all.sessions[along as usize]));
        }
    }
}

type Count = fn(&Traffic) -> u64;

/// As in the records of sessions: a chunk counts for each session whose URI it passed.
const TRAFFIC: [(&str, &str, Count); 5] = [
    (
        "session_octets_total",
        "Octets of bodies of chunks taken, for each session that they passed.",
        |traffic| traffic.octets,
    ),
    (
        "session_chunks_total",
        "Chunks taken, for each session that they passed.",
        |traffic| traffic.chunks,
    ),
    (
        "session_messages_total",
        "Messages whose last chunk was taken, for each session that they passed.",
        |traffic| traffic.messages,
    ),
    (
        "session_reports_total",
        "REPORTs, for each session that they passed or were made for.",
        |traffic| traffic.reports,
    ),
    (
        "session_chunks_failed_total",
        "Chunks taken that failed, for each session that they passed.",
        |traffic| traffic.failed,
    ),
];

fn records(text: &mut Text, records: &RecordTotals) {
    text.one(
        "records_written_total",
        "counter",
        "Records of sessions that the file or the socket has taken.",
        records.written,
    );
    text.one(
        "records_lost_total",
        "counter",
        "Records of sessions that found no room to wait.",
        records.lost,
    );
    text.one(
        "records_waiting",
        "gauge",
        "Records of sessions on their way.",
        records.waiting,
    );
    text.one(
        "records_up",
        "gauge",
        "Whether records can be written; 1 where none are to be.",
        u8::from(records.up),
    );
}

fn reasons(text: &mut Text, shards: &[ShardSnapshot]) {
    text.head(
        "refusals_total",
        "counter",
        "Requests and connections refused.",
    );
    for reason in RefusalReason::ALL {
        let labels = format!("reason=\"{}\"", reason.text());
        text.line(
            "refusals_total",
            &labels,
            sum(shards, |numbers| numbers.refusals[reason as usize]),
        );
    }
    text.one(
        "crlf_between_messages_total",
        "counter",
        "CRLF that came between messages, as clients send to keep a connection alive; skipped.",
        sum(shards, |numbers| numbers.crlf_skipped),
    );
    text.head(
        "responses_odd_total",
        "counter",
        "Responses of next hops that were odd, by what was: taken for what they mean, unless nothing tells.",
    );
    for kind in OddResponse::ALL {
        let labels = format!("kind=\"{}\"", kind.text());
        text.line(
            "responses_odd_total",
            &labels,
            sum(shards, |numbers| numbers.odd_responses[kind as usize]),
        );
    }
    text.head(
        "user_lookups_total",
        "counter",
        "Users looked up in the database or the memory of it, by what came of it.",
    );
    for result in LookUpLabel::ALL {
        let labels = format!("result=\"{}\"", result.text());
        text.line(
            "user_lookups_total",
            &labels,
            sum(shards, |numbers| numbers.look_ups[result as usize]),
        );
    }
    text.head(
        "quota_exceeded_total",
        "counter",
        "Quotas that stood in the way: sessions, connections and messages refused, connections not read for a while.",
    );
    for subject in SubjectLabel::ALL {
        for quota in QuotaLabel::ALL {
            let labels = format!("subject=\"{}\",quota=\"{}\"", subject.text(), quota.text());
            text.line(
                "quota_exceeded_total",
                &labels,
                sum(shards, |numbers| {
                    numbers.quotas[subject as usize][quota as usize]
                }),
            );
        }
    }
    text.head(
        "connections_closed_total",
        "counter",
        "Connections that ended, by cause.",
    );
    for reason in CloseReason::ALL {
        let labels = format!("reason=\"{}\"", reason.text());
        text.line(
            "connections_closed_total",
            &labels,
            sum(shards, |numbers| numbers.closed[reason as usize]),
        );
    }
}

/// `/histograms`: cumulative HdrHistograms (V2, base64) of all shards together, values in
/// nanoseconds. Two readings subtracted give any stretch exactly.
pub fn histograms_json(shards: &[ShardSnapshot]) -> String {
    let mut text = String::from("{");
    for (index, (name, _, pick)) in HISTOGRAMS.into_iter().enumerate() {
        let histogram = merged(shards, pick);
        let comma = if index > 0 { "," } else { "" };
        let encoded = STANDARD.encode(histogram.to_v2());
        let _ = write!(
            text,
            "{comma}\"msrpd_{name}\":{{\"unit\":\"ns\",\"count\":{},\"hdr_v2_base64\":\"{encoded}\"}}",
            histogram.count()
        );
    }
    text.push('}');
    text
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
