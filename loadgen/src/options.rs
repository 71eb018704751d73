//! The options of a run.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::arrivals::{Arrivals, Stage, parse_rates, parse_stages};
use crate::plan::Transport;
use crate::sizes::Sizes;
use crate::units::{parse_duration, parse_hold, parse_octets};

/// What a run does, to whom, and what it leaves behind.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// What to do.
    #[arg(value_enum, default_value_t = Workload::Mix)]
    pub workload: Workload,
    /// Groups of clients from a TOML file, each with its own sizes, rates and sessions, instead of a workload
    /// (docs/load-testing.md).
    #[arg(long, value_name = "FILE.toml", conflicts_with = "workload")]
    pub scenario: Option<PathBuf>,

    /// Take address, authority and users from the folder of `msrpd dev`.
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = "./msrpd-dev", help_heading = "Relay")]
    pub dev: Option<PathBuf>,
    /// Where the relay listens: for TLS, or for the one --transport.
    #[arg(long, value_name = "HOST:PORT", help_heading = "Relay")]
    pub address: Option<String>,
    /// The relay's name in MSRP URIs and in its certificate [default: the host of --address].
    #[arg(long, value_name = "NAME", help_heading = "Relay")]
    pub host: Option<String>,
    /// The authorities (PEM) that the relay's certificate must come from [default: those of the system].
    #[arg(long, value_name = "FILE", help_heading = "Relay")]
    pub ca: Option<PathBuf>,
    /// Trust the authorities of the system as well.
    #[arg(long, help_heading = "Relay")]
    pub system_roots: bool,
    /// A certificate chain (PEM) that clients show to a relay that asks for one.
    #[arg(
        long,
        value_name = "FILE",
        requires = "client_key",
        help_heading = "Relay"
    )]
    pub client_certificate: Option<PathBuf>,
    /// The key (PEM) to it.
    #[arg(
        long,
        value_name = "FILE",
        requires = "client_certificate",
        help_heading = "Relay"
    )]
    pub client_key: Option<PathBuf>,
    /// The realm that the relay must ask for [default: any].
    #[arg(long, help_heading = "Relay")]
    pub realm: Option<String>,
    /// A user to log in as; repeat it for several, who then take turns. Everybody on this machine can see the password in the
    /// list of processes: --user-file and --password-file keep it out of there, and MSRPLOAD_USER and MSRPLOAD_PASSWORD
    /// in the environment do for all but the same user and root.
    #[arg(long = "user", value_name = "NAME[:PASSWORD]", help_heading = "Relay")]
    pub users: Vec<String>,
    /// A file with one NAME:PASSWORD per line.
    #[arg(
        long,
        alias = "users-file",
        value_name = "FILE",
        help_heading = "Relay"
    )]
    pub user_file: Option<PathBuf>,
    /// A file with the password of users who are given by name alone.
    #[arg(long, value_name = "FILE", help_heading = "Relay")]
    pub password_file: Option<PathBuf>,
    /// Everybody uses TLS. This is the default.
    #[arg(long, conflicts_with = "tcp", help_heading = "Relay")]
    pub tls: bool,
    /// Foreign clients use plain TCP and connect to this listener of the relay. Authenticated ones
    /// cannot: AUTH needs TLS (RFC 4976 §9.2).
    #[arg(long, value_name = "HOST:PORT", help_heading = "Relay")]
    pub tcp: Option<String>,
    /// By what clients come: TLS, plain TCP (foreign ones; those who log in use TLS then), or WebSocket (RFC 7977) with TLS
    /// or, as behind a server that ends TLS, without [default: tls].
    #[arg(long, value_enum, conflicts_with = "tls", help_heading = "Relay")]
    pub transport: Option<Transport>,
    /// By what senders come [default: as --transport].
    #[arg(long, value_enum, conflicts_with = "tls", help_heading = "Relay")]
    pub sender_transport: Option<Transport>,
    /// By what receivers come [default: as --transport].
    #[arg(long, value_enum, conflicts_with = "tls", help_heading = "Relay")]
    pub receiver_transport: Option<Transport>,
    /// Where the relay listens for WebSocket over TLS, if it is not --address.
    #[arg(long, value_name = "HOST:PORT", help_heading = "Relay")]
    pub wss: Option<String>,
    /// Where it listens for WebSocket without TLS, if it is not --address.
    #[arg(long, value_name = "HOST:PORT", help_heading = "Relay")]
    pub ws: Option<String>,
    /// Read CPU and memory of this process and its children; repeat it for a second relay, and they are added up.
    #[arg(long = "relay-pid", value_name = "PID", help_heading = "Relay")]
    pub relay_pids: Vec<u32>,

    /// Read /histograms here before and after the measured stretch, and print what the relay itself measured in it. With
    /// --dev the address may be left out; with two relays repeat it, and they are added up.
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "", help_heading = "Relay")]
    pub scrape: Vec<String>,

    /// Senders log in at the relay above, receivers at a second one, and messages go through both: To-Path is A's URI,
    /// B's URI, receiver. With --dev the second one is that of `msrpd dev --two`.
    #[arg(long, help_heading = "Second relay")]
    pub via: bool,
    /// Where the second relay listens for TLS.
    #[arg(long, value_name = "HOST:PORT", help_heading = "Second relay")]
    pub via_address: Option<String>,
    /// Its name in MSRP URIs and in its certificate [default: the host of --via-address].
    #[arg(long, value_name = "NAME", help_heading = "Second relay")]
    pub via_host: Option<String>,
    /// The authorities (PEM) that its certificate must come from [default: those of --ca].
    #[arg(long, value_name = "FILE", help_heading = "Second relay")]
    pub via_ca: Option<PathBuf>,
    /// The realm that it must ask for [default: any].
    #[arg(long, value_name = "REALM", help_heading = "Second relay")]
    pub via_realm: Option<String>,
    /// A user to log in as at the second relay; repeat it for several [default: those of --user].
    #[arg(
        long = "via-user",
        value_name = "NAME[:PASSWORD]",
        help_heading = "Second relay"
    )]
    pub via_users: Vec<String>,

    /// Who is authenticated: the receiver (foreign sender), the sender, or both; mix takes turns.
    #[arg(long, value_enum, help_heading = "Clients")]
    pub sender: Option<Sender>,
    /// With --sender authenticated: does the foreign receiver connect to the relay, or does the
    /// relay dial it? The latter needs a relay that may dial this machine.
    #[arg(long, value_enum, default_value_t = Receiver::Connects, help_heading = "Clients")]
    pub receiver: Receiver,
    /// Address where receivers listen for the relay.
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), help_heading = "Clients")]
    pub listen_address: IpAddr,
    /// The port where the workload pipe listens; the proxy has to lead there.
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = 34_900,
        help_heading = "Clients"
    )]
    pub listen_port: u16,
    /// Their host name in URIs, for which the certificate must be good [default: localhost].
    #[arg(long, value_name = "NAME", help_heading = "Clients")]
    pub listen_host: Option<String>,
    /// Their certificate chain (PEM). Without one they listen by plain TCP.
    #[arg(
        long,
        value_name = "FILE",
        requires = "listen_key",
        help_heading = "Clients"
    )]
    pub listen_certificate: Option<PathBuf>,
    /// The key (PEM) to it.
    #[arg(
        long,
        value_name = "FILE",
        requires = "listen_certificate",
        help_heading = "Clients"
    )]
    pub listen_key: Option<PathBuf>,
    /// Pairs of clients, each with connections of its own [default: 50; file: 4; mix: 12].
    /// In the workload mixed these are the chats.
    #[arg(long, help_heading = "Clients")]
    pub pairs: Option<usize>,
    /// Chat sessions that share a pair of connections, each with an AUTH and URIs of its own.
    #[arg(
        long,
        default_value_t = 1,
        value_name = "SESSIONS",
        help_heading = "Clients"
    )]
    pub sessions_per_connection: usize,
    /// Connections of the workload idle.
    #[arg(long, default_value_t = 1000, help_heading = "Clients")]
    pub connections: usize,
    /// Connections that are being opened at one time.
    #[arg(long, default_value_t = 64, help_heading = "Clients")]
    pub opening: usize,
    /// How long TCP, TLS and the upgrade to WebSocket of one connection may take.
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = parse_duration, help_heading = "Clients")]
    pub connect_timeout: Duration,
    /// How long the relay may take to answer an AUTH.
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = parse_duration, help_heading = "Clients")]
    pub auth_timeout: Duration,
    /// A connection that is lost is opened again, with a new AUTH, until that works: for a relay that restarts. What was under
    /// way on it counts as lost, but does not make the run fail.
    #[arg(long, help_heading = "Clients")]
    pub reconnect: bool,
    /// Connect from many addresses in 127.0.0.0/8: one address has 28,000 ports only.
    #[arg(long, help_heading = "Clients")]
    pub source_spread: bool,

    /// Octets of a chat message: a number; a range such as 100-2000; sizes or ranges with weights, as in
    /// 100=60,300-900=30,8KiB=10; or lognormal:MEDIAN:SIGMA[:MAX], as in lognormal:200:1.2.
    #[arg(long, default_value = "300", value_parser = crate::sizes::parse, help_heading = "Messages")]
    pub size: Sizes,
    /// Octets of a message of the workload file.
    #[arg(long, default_value = "1MiB", value_parser = parse_octets, help_heading = "Messages")]
    pub message_size: u64,
    /// Octets of a chunk at most.
    #[arg(long, default_value = "64KiB", value_parser = parse_octets, help_heading = "Messages")]
    pub chunk_size: u64,
    /// Workload churn: messages of a round. --rate counts rounds a second there [default: as fast as it goes].
    #[arg(
        long,
        default_value_t = 3,
        value_name = "COUNT",
        help_heading = "Messages"
    )]
    pub messages: u64,
    /// Closed loop: messages that each pair keeps under way, the next begun when one is settled [default: file: 2,
    /// mix: 4, churn: 1].
    #[arg(long, conflicts_with = "rate", help_heading = "Messages")]
    pub window: Option<usize>,
    /// Open loop: messages a second, all pairs together, however late the relay is; 1k..20k/60s rises from one to the other.
    /// Latencies count from when a message was due, so that a relay that stops does not hide how long all had to wait
    /// (coordinated omission) [default where there is no --window: 1000].
    #[arg(long, value_name = "PER_SECOND", value_parser = stages_of_rates, help_heading = "Messages")]
    pub rate: Option<Stages>,
    /// Open loop by stages, such as 'ramp 10s 5k, hold 30s, ramp 5s 0'; --duration is as long as they are, unless it is given.
    #[arg(long, value_name = "LIST", value_parser = stages, conflicts_with_all = ["rate", "window"], help_heading = "Messages")]
    pub stages: Option<Stages>,
    /// Open loop: messages are due at equal distances, or independently of each other.
    #[arg(long, value_enum, default_value_t = Arrivals::Even, help_heading = "Messages")]
    pub arrivals: Arrivals,
    /// The Failure-Report that senders ask for.
    #[arg(long, value_enum, default_value_t = FailureReport::Yes, help_heading = "Messages")]
    pub failure_report: FailureReport,
    /// Ask for success reports, which the receivers make. A message is settled once its own has come.
    #[arg(long, help_heading = "Messages")]
    pub success_report: bool,
    /// The Content-Type of messages.
    #[arg(long, default_value = "application/octet-stream", value_name = "TYPE", value_parser = content_type, help_heading = "Messages")]
    pub content_type: String,
    /// Receivers keep each 200 back for a time drawn from this range, such as 5ms-500ms.
    #[arg(long, value_parser = parse_hold, help_heading = "Messages")]
    pub hold: Option<(Duration, Duration)>,
    /// Octets a second that each receiver reads.
    #[arg(long, value_name = "OCTETS", value_parser = parse_octets, help_heading = "Messages")]
    pub receiver_rate: Option<u64>,

    /// Sessions of the workload mixed that send a film each, one after the other.
    #[arg(
        long,
        default_value_t = 1,
        value_name = "SESSIONS",
        help_heading = "Films"
    )]
    pub films: usize,
    /// Octets of a film; --chunk-size says how it is cut.
    #[arg(long, default_value = "1GiB", value_parser = parse_octets, help_heading = "Films")]
    pub film_size: u64,
    /// Films have connections of their own, or go by those of the first chats, between whose messages they are
    /// interrupted.
    #[arg(long, value_enum, default_value_t = FilmOn::Own, help_heading = "Films")]
    pub film_on: FilmOn,
    /// Octets a second that each receiver of a film reads.
    #[arg(long, value_name = "OCTETS", value_parser = parse_octets, help_heading = "Films")]
    pub film_receiver_rate: Option<u64>,
    /// Films that each session sends [default: until the end of the run].
    #[arg(long, value_name = "COUNT", help_heading = "Films")]
    pub film_count: Option<u64>,
    /// The receiver of the first chat, or of the first film, reads nothing once the run has begun. Its session is
    /// accounted for apart: the relay has to report its messages, and to let the others be.
    #[arg(long, value_enum, value_name = "WHOSE", help_heading = "Films")]
    pub standing: Option<StandingOption>,

    /// Workload hostile: connections of the bad company; who is thrown out comes again.
    #[arg(
        long,
        default_value_t = 200,
        value_name = "COUNT",
        help_heading = "Bad company"
    )]
    pub hostile: usize,

    /// How long to measure [default: 10s, or as long as the stages are].
    #[arg(long, value_name = "TIME", value_parser = parse_duration, help_heading = "Run")]
    pub duration: Option<Duration>,
    /// How long to run before that; nothing of it is in the result [default: 1s].
    #[arg(long, value_name = "TIME", value_parser = parse_duration, help_heading = "Run")]
    pub warmup: Option<Duration>,
    /// How long to wait at the end for what is neither delivered nor reported, from when anything was last settled: a
    /// relay has 30 s to report a timeout [default: 35s].
    #[arg(long, value_name = "TIME", value_parser = parse_duration, help_heading = "Run")]
    pub patience: Option<Duration>,
    /// Cores to run on, one thread each, such as 1 or 1,2,3 [default: one thread, not pinned].
    #[arg(long, value_delimiter = ',', help_heading = "Run")]
    pub cpu: Vec<usize>,
    /// Threads, where that is not the number of cores.
    #[arg(long, help_heading = "Run")]
    pub threads: Option<usize>,
    /// Write the result here as JSON.
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    pub json: Option<PathBuf>,
    /// Write a page here that shows the run: throughput, latency, the relay's CPU and memory. It needs no network.
    #[arg(long, value_name = "FILE.html", help_heading = "Run")]
    pub report: Option<PathBuf>,
    /// Write latencies here as an HdrHistogram log, in intervals; `msrpload merge FILES` adds such logs up.
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    pub hdr: Option<PathBuf>,
    /// Write a line of JSON for each message here: its Message-ID, session, times and fate.
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    pub trace: Option<PathBuf>,
    /// Trace one of so many messages of each session.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "trace", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Run")]
    pub trace_every: u64,
    /// Serve /metrics here as Prometheus text while the run goes on, such as 127.0.0.1:9900.
    #[arg(long, value_name = "ADDR", help_heading = "Run")]
    pub metrics: Option<SocketAddr>,
    /// Bounds that set the exit code, such as 'p99<5ms,lost=0,rate>10000,achieved>99%,tls_p99<50ms abort'. Quantiles of the
    /// delivery: mean p50 p90 p95 p99 p99.9 p99.99 max; of something else after ack_ confirm_ report_ tcp_ tls_ upgrade_ auth_
    /// round_ held_ recovery_ late_; of a group of a scenario after its name and a dot. Others: sent due not_sent
    /// achieved acknowledged delivered reported lost wrong (with % behind them: of what was sent) rate mbps relay_us
    /// relay_ns_per_octet rss_kib_per_connection own_us own_stalled lost_connections films_delivered films_reported
    /// films_lost standing_reported_max outage_lost reauths. One that ends in `abort` ends the run when it is broken.
    #[arg(long, value_name = "LIST", value_parser = crate::threshold::parse, help_heading = "Run")]
    pub threshold: Option<crate::threshold::Thresholds>,
    /// No progress while it runs.
    #[arg(long, short, help_heading = "Run")]
    pub quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// Chat of all kinds of pairs, for a first look.
    Mix,
    /// Short messages.
    Chat,
    /// Big messages in chunks.
    File,
    /// Chats beside films; the latency is that of the chats alone.
    Mixed,
    /// Chat through two relays (--via).
    Chain,
    /// Connections that log in and then do nothing.
    Idle,
    /// Pairs connect, log in, exchange a few messages, leave, and begin again.
    Churn,
    /// Chat beside bad company: connections that say nothing, half a handshake, noise, a head octet by octet, requests
    /// to nobody, and a receiver that stands still.
    Hostile,
    /// The octets of a chat through a proxy that knows nothing of MSRP, to a listener of our own.
    Pipe,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FilmOn {
    /// Connections of their own.
    Own,
    /// The same sessions as chats.
    Shared,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StandingOption {
    Chat,
    Film,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sender {
    Foreign,
    Authenticated,
    Both,
    Mix,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Receiver {
    Connects,
    Listens,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailureReport {
    Yes,
    Partial,
    No,
}

/// Stages as one value of the command line.
#[derive(Clone, Debug, PartialEq)]
pub struct Stages(pub Vec<Stage>);

fn stages(text: &str) -> Result<Stages, String> {
    parse_stages(text).map(Stages)
}

fn stages_of_rates(text: &str) -> Result<Stages, String> {
    parse_rates(text).map(Stages)
}

/// It becomes a header as it stands.
pub fn content_type(text: &str) -> Result<String, String> {
    let fits = text.contains('/') && text.bytes().all(|b| (0x20..0x7f).contains(&b));
    fits.then(|| text.to_owned())
        .ok_or_else(|| format!("`{text}` is no Content-Type; write text/plain"))
}
