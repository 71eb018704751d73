//! The msrpd binary: its commands.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use msrpd::server;

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An MSRP relay (RFC 4975, RFC 4976).
#[derive(Parser)]
#[command(version, after_help = EXAMPLES, subcommand_required = true, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the relay.
    #[command(after_help = RUN)]
    Run {
        /// The operator's file; msrpd.sample.toml explains every key.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Look for everything that would end start-up, without starting.
    #[command(after_help = CHECK)]
    Check {
        /// The operator's file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The relay is running: it holds the addresses, do not try to listen on them.
        #[arg(long)]
        running: bool,
    },
    /// Print the settings in force, defaults included and without secrets; `check` accepts the output.
    Config {
        /// The operator's file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Make certificates, users and a configuration for trying things out, and run the relay with them.
    #[command(after_help = DEV)]
    Dev {
        /// Where to make them; what is there is kept.
        #[arg(long, value_name = "DIR", default_value = "msrpd-dev")]
        dir: PathBuf,
        /// Run two relays that know each other: relay-a.localhost:2855 and relay-b.localhost:2856.
        #[arg(long)]
        two: bool,
        /// Run this one of the two, and end in order when the process that started it ends.
        #[arg(long, value_name = "NAME", hide = true, conflicts_with = "two")]
        one_of_two: Option<String>,
    },
    /// Add a user to an htdigest file, or change the password of one.
    #[command(after_help = PASSWD)]
    Passwd {
        /// The users' file that [auth] htdigest names; made if it is not there.
        file: PathBuf,
        /// The realm of the challenge: [auth] realm, or the relay's host name.
        realm: String,
        /// The user's name.
        user: String,
        /// Write a SHA-256 hash, for [auth] algorithms = ["SHA-256", "MD5"]; without, an MD5 one.
        #[arg(long)]
        sha256: bool,
        /// Write hashes of the algorithms that [auth] algorithms of this configuration has.
        #[arg(long, value_name = "FILE", conflicts_with = "sha256")]
        config: Option<PathBuf>,
    },
    /// Say what is wrong with MSRP octets, message by message.
    #[command(after_help = EXPLAIN)]
    Explain {
        /// What one side of a connection sent, or both in turn, without TLS; stdin if it is not given.
        file: Option<PathBuf>,
    },
    /// Print a user name and a password that are good for a time.
    #[command(after_help = MINT)]
    Mint {
        /// A file that [auth] shared_secret_files names.
        #[arg(long, value_name = "F")]
        secret_file: PathBuf,
        /// How long they are good; no session lives longer.
        #[arg(long, value_name = "TIME", default_value = "1d", value_parser = msrpd::config::parse_duration)]
        lifetime: Duration,
        /// Whom they are for; stands in records and quotas.
        user: String,
    },
}

const EXAMPLES: &str = "\
Examples:
  msrpd dev                                    try it out on this machine
  msrpd check --config /etc/msrpd/msrpd.toml   is the configuration good?
  msrpd run --config /etc/msrpd/msrpd.toml     serve";

const RUN: &str = "\
Signals:
  SIGTERM, SIGINT   drain: finish or report what is held, close connections in order, exit;
                    a second one ends at once
  SIGQUIT           end at once, as by a second SIGTERM
  SIGHUP            read the file, certificates and users again
  SIGUSR1           open the file of records again under its name

Exit codes:
  0  drained
  1  something has to be mended first; stderr says what, where, and what to do
  3  ended by a second signal before the drain was over

Example:
  msrpd run --config /etc/msrpd/msrpd.toml";

const CHECK: &str = "\
Reports all problems at once, each with its file, line, column and what to do.

Exit codes:
  0  good, maybe with warnings
  1  at least one error

Examples:
  msrpd check --config /etc/msrpd/msrpd.toml
  msrpd check --running --config /etc/msrpd/msrpd.toml && systemctl reload msrpd";

const DEV: &str = "\
The folder then holds ca.pem, relay.pem, relay.key, users.htdigest, msrpd.toml, and dev.toml with
the users' passwords, which `msrpload --dev` reads.

http://127.0.0.1:9855/ is a chat page for these users: open it in two tabs.

With --two it holds relay-a.pem, .key and .toml and those of relay-b as well; `msrpload --dev --via`
sends through both.

Examples:
  msrpd dev
  msrpd dev --two
  msrpd dev --dir /tmp/relay";

const PASSWD: &str = "\
Asks for the password twice, or reads one line from stdin where that is no terminal.
All hashes that the user has are replaced, whatever their algorithm.
A running relay takes the change up with SIGHUP.

Examples:
  msrpd passwd /etc/msrpd/users.htdigest example.com alice
  pwgen 20 1 | msrpd passwd /etc/msrpd/users.htdigest example.com alice";

const EXPLAIN: &str = "\
Reads with the relay's own decoder. For each message: where it begins, its headers, and
  wrong  what the relay refuses, drops or closes for
  odd    what the standards have otherwise, and the relay lets pass
each with the section that says how it should be. Digests are left out; URIs are not: they hold
tokens, so look before you post the output.

Where framing is lost it goes on at the next line that begins with MSRP; a relay would close.

Exit codes:
  0  nothing is wrong
  1  something is, or the file cannot be read

Examples:
  msrpd explain capture.msrp
  tshark -r call.pcapng -q -z follow,tcp,raw,0 | tail -n +7 | xxd -r -p | msrpd explain";

const MINT: &str = "\
The user name is SECONDS:USER, its end in Unix time; the password is the Base64 text of
HMAC-SHA-1(secret, user name), as for TURN servers (coturn: use-auth-secret). Whoever has the
secret can make them without this command.

Examples:
  openssl rand -hex 32 > /etc/msrpd/secret
  msrpd mint --secret-file /etc/msrpd/secret alice
  msrpd mint --secret-file /etc/msrpd/secret --lifetime 2h alice";

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run { config } => server::run(&config),
        Command::Check { config, running } => server::check(&config, running),
        Command::Config { config } => server::show(&config),
        Command::Dev {
            dir,
            one_of_two: Some(name),
            ..
        } => server::dev_one_of_two(&dir, &name),
        Command::Dev { dir, two, .. } => server::dev(&dir, two),
        Command::Passwd {
            file,
            realm,
            user,
            sha256,
            config,
        } => server::passwd(&file, &realm, &user, sha256, config.as_deref()),
        Command::Explain { file } => server::explain(file.as_deref()),
        Command::Mint {
            secret_file,
            lifetime,
            user,
        } => server::mint(&secret_file, lifetime, &user),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Arguments;

    #[test]
    fn the_manual_page_has_every_command_and_option() {
        let page = include_str!("../docs/man/msrpd.1").replace("\\-", "-");
        let commands = Arguments::command();
        let mut seen = 0;
        for command in commands.get_subcommands().filter(|c| !c.is_hide_set()) {
            let name = command.get_name();
            assert!(page.contains(&format!("\n.B {name}\n")), "no {name}");
            for option in command.get_arguments().filter(|a| !a.is_hide_set()) {
                seen += 1;
                match option.get_long() {
                    Some(long) => {
                        let described = format!("\n.TP\n\\fB--{long}\\fR");
                        assert!(page.contains(&described), "no --{long} of {name}");
                    }
                    None => {
                        let value = option.get_id().as_str().to_uppercase();
                        let shown = format!("\\fI{value}\\fR");
                        assert!(page.contains(&shown), "no {value} of {name}");
                    }
                }
            }
        }
        assert!(seen > 5, "the options were found");
    }
}
