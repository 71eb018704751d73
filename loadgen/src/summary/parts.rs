//! The parts of a result. Times are microseconds unless the name says otherwise; shares are of one core.

use serde::{Deserialize, Serialize};

use crate::ledger::Counts;

use super::latency::Latency;

/// What happened within the measured stretch; the warm-up is in nothing of it.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Measured {
    pub seconds: f64,
    pub warmup_seconds: f64,
    /// Messages due in it (closed loop: those that were sent).
    pub due: u64,
    /// Of these, sent.
    pub sent: u64,
    /// And those that never were: their connection took no more; this program did not get to them.
    pub not_sent: u64,
    pub not_sent_own: u64,
    /// Open loop: per cent of what was due that was sent.
    pub achieved_percent: Option<f64>,
    /// Open loop: messages a second that were due.
    pub asked_per_second: Option<f64>,
    /// Whatever arrived within it, whenever it was due: the rates are made of these.
    pub delivered: u64,
    pub chunks_received: u64,
    pub messages_per_second: f64,
    pub octets: u64,
    pub megabytes_per_second: f64,
    /// From due (closed loop: sent) to whole at the receiver, of messages due in the measured stretch. Those that were
    /// lost, still open at the end, or never sent because the relay took no more, are in it with the time they have waited.
    pub delivery_us: Latency,
    /// From due to the last 200.
    pub acknowledgement_us: Latency,
    /// From due to the success report.
    pub confirmation_us: Latency,
    /// From due to the failure's being known.
    pub report_us: Latency,
    /// For how long receivers held their 200s.
    pub held_us: Latency,
}

/// One group of clients.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupResult {
    pub name: String,
    pub sessions: usize,
    pub counts: Counts,
    pub due: u64,
    pub not_sent: u64,
    pub messages_per_second: f64,
    pub megabytes_per_second: f64,
    pub delivery_us: Latency,
    pub acknowledgement_us: Latency,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SetUp {
    pub connections: usize,
    pub seconds: f64,
    pub connections_per_second: f64,
    pub tcp_us: Latency,
    /// TLS alone, from TCP's being connected.
    pub handshake_us: Latency,
    /// WebSocket, from TLS's being established.
    pub upgrade_us: Latency,
    /// Both requests, from the first to the 200.
    pub auth_us: Latency,
    /// The relay's CPU for one connection: TCP, TLS, AUTH.
    pub relay_cpu_us_per_connection: Option<f64>,
}

/// What became of the films beside the chats.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FilmResult {
    pub sessions: usize,
    /// Films; delivered means whole, reported refused or failed.
    pub counts: Counts,
    /// Octets that arrived in the measured stretch.
    pub octets: u64,
    pub megabytes_per_second: f64,
    /// Of whole films. They begin with the measured stretch.
    pub delivery_us: Latency,
}

/// Clients that come and go.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ChurnResult {
    /// Rounds that were due in the measured stretch and ended.
    pub rounds: u64,
    pub rounds_per_second: f64,
    pub handshakes_per_second: f64,
    pub auths_per_second: f64,
    /// From when a round was due to both clients' having left.
    pub round_us: Latency,
    pub tcp_us: Latency,
    pub handshake_us: Latency,
    pub upgrade_us: Latency,
    pub auth_us: Latency,
    pub relay_cpu_us_per_round: Option<f64>,
}

/// What became of the messages to a receiver that stands still.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StandingResult {
    pub counts: Counts,
    /// From when a message was due to its failure's being known.
    pub reported_after_us: Latency,
    /// Whether the relay has closed its connection, as far as one sees without reading.
    pub connections_ended: u64,
}

/// Connections that were lost and opened again.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ReconnectResult {
    pub connections_lost: u64,
    /// Sessions that lost a connection, once for each time, and those that were back.
    pub sessions_broken: u64,
    pub sessions_back: u64,
    /// Messages that were under way then, and of which nothing was heard any more; part of `lost`.
    pub lost: u64,
    /// AUTHs that succeeded after the run had begun.
    pub auths: u64,
    pub attempts_failed: u64,
    /// From the loss to being able to send again, for each session.
    pub recovery_us: Latency,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
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
    /// What all connections added, for each. Not known of a relay that has served before: it fills memory that it has kept.
    pub rss_kib_per_connection: Option<f64>,
    /// Why that is not known.
    pub served_before: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Own {
    pub cpu_us_per_message: Option<f64>,
    /// Of all threads that make load together, and of the busiest one alone.
    pub cpu_share: f64,
    pub busiest_thread_share: f64,
    /// Share of the time in which we could run and something else had the core.
    pub waited_share: f64,
    pub threads: usize,
    /// How late we were, for each message that was due at a time and that its connection would have taken.
    pub lateness_us: Latency,
    /// How often this program stood still for more than 10 ms beyond what it meant to, since the measured stretch began.
    /// Latencies are counted less that time.
    pub stalls: u64,
    pub stalled_seconds: f64,
    pub stall_seconds_max: f64,
}

/// One interval of the measured stretch.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Interval {
    /// Seconds since the beginning of the measured stretch.
    pub at: f64,
    pub seconds: f64,
    /// Messages a second that were to be due at its middle.
    pub target_per_second: Option<f64>,
    /// Messages that were due in it.
    pub sent: u64,
    pub not_sent: u64,
    pub lost: u64,
    /// Messages of which these things happened in it.
    pub delivered: u64,
    pub acknowledged: u64,
    pub reported: u64,
    pub octets: u64,
    pub film_octets: u64,
    /// Of the messages that were due in it.
    pub delivery_us: Latency,
}

/// A threshold, and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verdict {
    pub bound: String,
    /// `None`: there is no such result in this run.
    pub value: Option<f64>,
    pub kept: bool,
    /// It has ended the run.
    pub aborted: bool,
}
