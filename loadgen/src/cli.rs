//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::compare::Compare;
use crate::hdr_log::Merge;
use crate::options::Options;
use crate::search::Search;

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
  msrpload chat --address relay.example.com:8443 --transport wss --user alice:secret-a
      as browsers come: MSRP over WebSocket (RFC 7977)
  msrpload chat --dev --rate 5000 --scrape --report run.html --hdr run.hdr
      a page to look at, the relay's own view of its latency, and a log for other tools
  msrpload chat --dev --threshold 'p99<5ms,lost=0,rate>10000' --json result.json
      exit code 1 when a bound is not kept

  msrpload chat --dev --stages 'ramp 30s 20k, hold 30s' --arrivals poisson --trace messages.ndjson
      a rising rate, scattered as that of many people is, and one line for each message
  msrpload search chat --dev --slo 'p99<10ms,lost=0'
      the highest rate at which that holds
  msrpload --dev --scenario evening.toml
      several groups of clients, each with its own habits
  msrpload compare before.json after.json --tolerance 5%
      what has changed, and whether it is more than noise
  msrpload merge a.hdr b.hdr
      latencies of several runs or machines together (msrpload merge --help)

Exit code: 0 all is well; 1 something was lost or wrong, or a threshold was missed;
2 the run could not be made.";

/// A load generator for MSRP relays (RFC 4976) that accounts for every octet.
///
/// It opens pairs of clients through the relay, sends messages whose octets it can check, and says
/// what became of each: sent, acknowledged, delivered, reported, lost.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "msrpload",
    version,
    after_help = EXAMPLES,
    max_term_width = 100,
    args_override_self = true,
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    #[command(flatten)]
    pub options: Options,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Clone, Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one, once")]
pub enum Command {
    Merge(Merge),
    Compare(Compare),
    Search(Search),
    /// Print a script with which a shell completes the options.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a folder.
    Manual {
        /// The folder.
        folder: PathBuf,
    },
}

/// The command line without passwords, for results that others read.
pub fn shown(arguments: impl Iterator<Item = String>) -> String {
    const SECRET: [&str; 2] = ["--user", "--via-user"];
    let hide = |text: &str| match text.split_once(':') {
        Some((name, _)) => format!("{name}:***"),
        None => text.to_owned(),
    };
    let mut secret_follows = false;
    let words = arguments.map(|word| {
        let hidden = match word.split_once('=') {
            _ if secret_follows => hide(&word),
            Some((option, value)) if SECRET.contains(&option) => {
                format!("{option}={}", hide(value))
            }
            _ => word.clone(),
        };
        secret_follows = SECRET.contains(&word.as_str());
        quoted(&hidden)
    });
    words.collect::<Vec<_>>().join(" ")
}

/// So that it can be given to a shell again.
fn quoted(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:=,@%+[]*".contains(&b);
    match !word.is_empty() && word.bytes().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Workload;
    use clap::CommandFactory;

    fn shown_of(words: &[&str]) -> String {
        shown(words.iter().map(|word| (*word).to_owned()))
    }

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(
            shown_of(&[
                "msrpload",
                "--user",
                "a:secret",
                "--via-user=b:secret",
                "--threshold",
                "p99<5ms"
            ]),
            "msrpload --user a:*** --via-user=b:*** --threshold 'p99<5ms'"
        );
        assert_eq!(
            shown_of(&["msrpload", "--user", "a:se:cr=et", "x"]),
            "msrpload --user a:*** x"
        );
    }

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
        let options = Cli::parse_from(["msrpload", "--dev"]).options;
        assert_eq!(options.dev, Some("./msrpd-dev".into()));
        assert_eq!(options.workload, Workload::Mix);
        let options = Cli::parse_from(["msrpload", "chat", "--dev", "x", "--cpu", "1,2"]).options;
        assert_eq!(
            (options.workload, options.cpu),
            (Workload::Chat, vec![1, 2])
        );
        let search = Cli::parse_from(["msrpload", "search", "chat", "--dev", "--slo", "p99<10ms"]);
        assert!(matches!(search.command, Some(Command::Search(_))));
        let merge = Cli::parse_from(["msrpload", "merge", "a.hdr"]);
        assert!(matches!(merge.command, Some(Command::Merge(_))));
    }
}
