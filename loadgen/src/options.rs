//! The command line.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::sizes::Sizes;

const EXAMPLES: &str = "\
Examples:
  msrpload --dev
      ten seconds of chat of all kinds through the relay that `cargo run --release -- dev` runs
  msrpload chat --dev --rate 5000 --sender both
      open loop: 5,000 messages a second, latency counted from when each was due
  msrpload chat --dev --pairs 50 --window 16 --cpu 1
      closed loop: every sender keeps 16 messages of 300 octets under way
  msrpload file --dev --message-size 1MiB --chunk-size 64KiB --pairs 4
      big messages
  msrpload --dev --via
      through two relays, those of `cargo run --release -- dev --two`: senders log in at A, receivers at B
  msrpload mixed --dev --pairs 100 --rate 1000 --film-size 64MiB --film-receiver-rate 1MiB
      the latency of chats beside a film whose receiver is slow
  msrpload churn --dev --pairs 16 --messages 3
      connect, AUTH, three messages, leave, over and over; rates of handshakes and AUTHs
  msrpload hostile --dev --pairs 50 --rate 2000 --hostile 200
      200 connections of bad company and a receiver that stands still: what do the chats notice?
  msrpload pipe --address 127.0.0.1:34000 --host relay.test --ca ca.crt --window 16 \
      --listen-port 34900 --listen-certificate server.crt --listen-key server.key --relay-pid 4711
      the octets of a chat through a TLS proxy on port 34000 that leads to our listener on port 34900
  msrpload idle --dev --connections 10000 --source-spread
      10,000 authenticated connections held; memory of the relay for each
  msrpload chat --address 127.0.0.1:31000 --host relay.test --ca ca.crt --user alice:secret-a
      any other RFC 4976 relay
  msrpload chat --dev --rate 5000 --scrape --report run.html --hdr run.hdr
      a page to look at, the relay's own view of its latency, and a log for other tools
  msrpload chat --dev --threshold 'p99<5ms,lost=0,rate>10000' --json result.json
      exit code 1 when a bound is not kept

  msrpload merge a.hdr b.hdr
      latencies of several runs or machines together (msrpload merge --help)

Exit code: 0 all is well; 1 something was lost or wrong, or a threshold was missed;
2 the run could not be made.";

/// A load generator for MSRP relays (RFC 4976) that accounts for every octet.
///
/// It opens pairs of clients through the relay, sends messages whose octets it can check, and says
/// what became of each: sent, acknowledged, delivered, reported, lost.
#[derive(Clone, Debug, Parser)]
#[command(name = "msrpload", version, after_help = EXAMPLES, max_term_width = 100, args_override_self = true)]
pub struct Options {
    /// What to do.
    #[arg(value_enum, default_value_t = Workload::Mix)]
    pub workload: Workload,

    /// Take address, authority and users from the folder of `msrpd dev`.
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = "./msrpd-dev", help_heading = "Relay")]
    pub dev: Option<PathBuf>,
    /// Where the relay listens for TLS.
    #[arg(long, value_name = "HOST:PORT", help_heading = "Relay")]
    pub address: Option<String>,
    /// The relay's name in MSRP URIs and in its certificate [default: the host of --address].
    #[arg(long, value_name = "NAME", help_heading = "Relay")]
    pub host: Option<String>,
    /// The authorities (PEM) that the relay's certificate must come from.
    #[arg(long, value_name = "FILE", help_heading = "Relay")]
    pub ca: Option<PathBuf>,
    /// The realm that the relay must ask for [default: any].
    #[arg(long, help_heading = "Relay")]
    pub realm: Option<String>,
    /// A user to log in as; repeat it for several, who then take turns.
    #[arg(long = "user", value_name = "NAME:PASSWORD", help_heading = "Relay")]
    pub users: Vec<String>,
    /// A file with one NAME:PASSWORD per line.
    #[arg(long, value_name = "FILE", help_heading = "Relay")]
    pub users_file: Option<PathBuf>,
    /// Everybody uses TLS. This is the default.
    #[arg(long, conflicts_with = "tcp", help_heading = "Relay")]
    pub tls: bool,
    /// Foreign clients use plain TCP and connect to this listener of the relay. Authenticated ones
    /// cannot: AUTH needs TLS (RFC 4976 §9.2).
    #[arg(long, value_name = "HOST:PORT", help_heading = "Relay")]
    pub tcp: Option<String>,
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
        value_name = "NAME:PASSWORD",
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
    /// Connections of the workload idle.
    #[arg(long, default_value_t = 1000, help_heading = "Clients")]
    pub connections: usize,
    /// Connections that are being opened at one time.
    #[arg(long, default_value_t = 64, help_heading = "Clients")]
    pub opening: usize,
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
    /// Open loop: messages a second, all pairs together, however late the relay is. Latencies count from when a message
    /// was due, so that a relay that stops does not hide how long all had to wait (coordinated omission) [default where
    /// there is no --window: 1000].
    #[arg(long, value_name = "PER_SECOND", help_heading = "Messages")]
    pub rate: Option<f64>,
    /// The Failure-Report that senders ask for.
    #[arg(long, value_enum, default_value_t = FailureReport::Yes, help_heading = "Messages")]
    pub failure_report: FailureReport,
    /// Ask for success reports. Receivers here make none: this only adds the header.
    #[arg(long, help_heading = "Messages")]
    pub success_report: bool,
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

    /// How long to measure.
    #[arg(long, default_value = "10s", value_parser = parse_duration, help_heading = "Run")]
    pub duration: Duration,
    /// How long to run before that.
    #[arg(long, default_value = "1s", value_parser = parse_duration, help_heading = "Run")]
    pub warmup: Duration,
    /// How long to wait at the end for what is neither delivered nor reported, from when anything was last settled: a
    /// relay has 30 s to report a timeout.
    #[arg(long, default_value = "35s", value_parser = parse_duration, help_heading = "Run")]
    pub patience: Duration,
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
    /// Bounds that set the exit code, such as 'p99<5ms,lost=0,rate>10000'. Names: p50 p90 p99
    /// p99.9 max ack_p99 sent acknowledged delivered reported lost wrong rate mbps relay_us
    /// relay_ns_per_octet rss_kib_per_connection own_us films_delivered films_reported films_lost
    /// standing_reported_max.
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

/// `10s`, `500ms`, `2m`; a bare number is seconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == 'µ');
    let value: f64 = digits
        .parse()
        .map_err(|_| format!("`{text}` is no time; write 10s, 500ms or 2m"))?;
    let seconds = match &text[digits.len()..] {
        "" | "s" => value,
        "ms" => value / 1e3,
        "us" | "µs" => value / 1e6,
        "ns" => value / 1e9,
        "m" | "min" => value * 60.0,
        "h" => value * 3600.0,
        unit => {
            return Err(format!(
                "unknown unit `{unit}`; write ns, us, ms, s, m or h"
            ));
        }
    };
    Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string())
}

/// `300`, `64KiB`, `1MiB`, `2GiB`, also with kB, MB, GB of thousands.
pub fn parse_octets(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let value: u64 = digits
        .parse()
        .map_err(|_| format!("`{text}` is no size; write 300, 64KiB or 1MiB"))?;
    let unit: u64 = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        unit => return Err(format!("unknown unit `{unit}`; write KiB, MiB or GiB")),
    };
    match value.checked_mul(unit) {
        Some(octets) if octets > 0 => Ok(octets),
        _ => Err(format!("`{text}` is out of range")),
    }
}

fn parse_hold(text: &str) -> Result<(Duration, Duration), String> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    // `5-500` without units is what one means in milliseconds.
    let one = |t: &str| match t.bytes().all(|b| b.is_ascii_digit()) {
        true => parse_duration(&format!("{t}ms")),
        false => parse_duration(t),
    };
    let (low, high) = (one(low)?, one(high)?);
    (low <= high)
        .then_some((low, high))
        .ok_or_else(|| format!("`{text}` runs backwards"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_with_units_are_read() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_duration("1.5"), Ok(Duration::from_millis(1500)));
        assert!(parse_duration("soon").is_err() && parse_duration("-1s").is_err());
        assert_eq!(parse_octets("64KiB"), Ok(65_536));
        assert_eq!(parse_octets("4GiB"), Ok(1 << 32));
        assert!(parse_octets("0").is_err() && parse_octets("1x").is_err());
        let hold = (Duration::from_millis(5), Duration::from_millis(500));
        assert_eq!(parse_hold("5-500"), Ok(hold));
        assert_eq!(parse_hold("5ms-0.5s"), Ok(hold));
    }

    #[test]
    fn command_line_is_consistent() {
        use clap::CommandFactory;
        Options::command().debug_assert();
        let options = Options::parse_from(["msrpload", "--dev"]);
        assert_eq!(options.dev, Some("./msrpd-dev".into()));
        assert_eq!(options.workload, Workload::Mix);
        let options = Options::parse_from(["msrpload", "chat", "--dev", "x", "--cpu", "1,2"]);
        assert_eq!(
            (options.workload, options.cpu),
            (Workload::Chat, vec![1, 2])
        );
    }
}
