//! Options that a workload would ignore are refused: whoever gives one believes that it does something.

use clap::ArgMatches;
use clap::parser::ValueSource;

use crate::options::{Options, Workload};

use Workload::{Chain, Chat, Churn, File, Hostile, Idle, Mix, Mixed, Pipe};

/// All that send messages.
const SENDING: &[Workload] = &[Mix, Chat, File, Mixed, Chain, Churn, Hostile, Pipe];
/// Of these, the ones that may go on for as long as the run does.
const STEADY: &[Workload] = &[Mix, Chat, File, Mixed, Chain, Hostile, Pipe];
const WITH_RELAY: &[Workload] = &[Mix, Chat, File, Mixed, Churn, Hostile];

/// All with a relay: a proxy that knows nothing of MSRP is not asked for WebSocket.
const EXCEPT_PIPE: &[Workload] = &[Mix, Chat, File, Mixed, Chain, Idle, Churn, Hostile];

/// Options that some workloads only look at.
const USED_BY: &[(&str, &[Workload])] = &[
    ("pairs", SENDING),
    ("connections", &[Idle]),
    ("sender", WITH_RELAY),
    ("receiver", WITH_RELAY),
    (
        "sessions_per_connection",
        &[Mix, Chat, File, Mixed, Chain, Churn, Hostile],
    ),
    ("transport", EXCEPT_PIPE),
    ("wss", EXCEPT_PIPE),
    ("ws", EXCEPT_PIPE),
    (
        "sender_transport",
        &[Mix, Chat, File, Mixed, Chain, Churn, Hostile],
    ),
    (
        "receiver_transport",
        &[Mix, Chat, File, Mixed, Chain, Churn, Hostile],
    ),
    ("listen_port", &[Pipe]),
    ("listen_address", SENDING),
    ("listen_host", SENDING),
    ("listen_certificate", SENDING),
    ("listen_key", SENDING),
    ("size", &[Mix, Chat, Mixed, Chain, Churn, Hostile, Pipe]),
    ("message_size", &[File]),
    ("chunk_size", SENDING),
    ("messages", &[Churn]),
    ("window", SENDING),
    ("rate", SENDING),
    ("stages", STEADY),
    ("arrivals", STEADY),
    ("failure_report", SENDING),
    ("success_report", SENDING),
    ("content_type", SENDING),
    ("hold", SENDING),
    ("receiver_rate", SENDING),
    ("reconnect", &[Mix, Chat, File, Mixed, Chain, Hostile]),
    ("films", &[Mixed]),
    ("film_size", &[Mixed]),
    ("film_on", &[Mixed]),
    ("film_receiver_rate", &[Mixed]),
    ("film_count", &[Mixed]),
    ("standing", &[Mix, Chat, Mixed, Chain, Hostile]),
    ("hostile", &[Hostile]),
    (
        "users",
        &[Mix, Chat, File, Mixed, Chain, Idle, Churn, Hostile],
    ),
    (
        "user_file",
        &[Mix, Chat, File, Mixed, Chain, Idle, Churn, Hostile],
    ),
    (
        "realm",
        &[Mix, Chat, File, Mixed, Chain, Idle, Churn, Hostile],
    ),
    ("trace", SENDING),
];

/// A scenario says these itself, for each of its groups.
const OF_GROUPS: &[&str] = &[
    "pairs",
    "connections",
    "sender",
    "receiver",
    "sender_transport",
    "receiver_transport",
    "sessions_per_connection",
    "size",
    "message_size",
    "chunk_size",
    "messages",
    "window",
    "rate",
    "stages",
    "arrivals",
    "failure_report",
    "success_report",
    "content_type",
    "hold",
    "receiver_rate",
    "films",
    "film_size",
    "film_on",
    "film_receiver_rate",
    "film_count",
    "standing",
    "hostile",
    "listen_port",
];

pub fn check(options: &Options, matches: &ArgMatches) -> Result<(), String> {
    let is_given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let option = |id: &str| match id {
        "users" => "--user".to_owned(),
        _ => format!("--{}", id.replace('_', "-")),
    };
    if options.scenario.is_some() {
        return match OF_GROUPS.iter().find(|id| is_given(id)) {
            Some(id) => Err(format!(
                "with --scenario {} stands in the file, for each group",
                option(id)
            )),
            None => Ok(()),
        };
    }
    let ignored = |(_, used_by): &&(&str, &[Workload])| !used_by.contains(&options.workload);
    if let Some((id, used_by)) = USED_BY.iter().filter(ignored).find(|(id, _)| is_given(id)) {
        let names: Vec<String> = used_by
            .iter()
            .map(|w| format!("{w:?}").to_lowercase())
            .collect();
        return Err(format!(
            "the workload {} does not look at {}; leave it out, or take {}",
            format!("{:?}", options.workload).to_lowercase(),
            option(id),
            names.join(", ")
        ));
    }
    if options.arrivals != crate::arrivals::Arrivals::Even && options.window.is_some() {
        return Err(
            "--arrivals is for an open loop: give --rate or --stages instead of --window".into(),
        );
    }
    let open_only = is_given("arrivals") && options.rate.is_none() && options.stages.is_none();
    if open_only && matches!(options.workload, File | Mix) {
        return Err("--arrivals is for an open loop: give --rate or --stages".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::{CommandFactory, FromArgMatches};

    fn checked(words: &[&str]) -> Result<(), String> {
        let all = [&["msrpload"], words].concat();
        let matches = Cli::command().get_matches_from(all);
        let options = Cli::from_arg_matches(&matches).unwrap().options;
        check(&options, &matches)
    }

    #[test]
    fn what_a_workload_ignores_is_refused_by_name() {
        let refused = checked(&["idle", "--rate", "5"]).unwrap_err();
        assert!(
            refused.contains("idle") && refused.contains("--rate"),
            "{refused}"
        );
        assert!(
            checked(&["chat", "--films", "2"])
                .unwrap_err()
                .contains("mixed")
        );
        assert!(
            checked(&["pipe", "--user", "a:b"])
                .unwrap_err()
                .contains("--user")
        );
        assert!(checked(&["chat", "--window", "2", "--arrivals", "poisson"]).is_err());
        for good in [
            &["chat", "--rate", "5k", "--arrivals", "poisson"][..],
            &["mixed", "--window", "4", "--films", "2"],
            &["idle", "--connections", "5", "--duration", "1s"],
            &["--dev"],
        ] {
            assert_eq!(checked(good), Ok(()), "{good:?}");
        }
    }

    #[test]
    fn every_option_of_the_table_exists() {
        let command = Cli::command();
        let known = |id: &str| {
            command
                .get_arguments()
                .any(|argument| argument.get_id() == id)
        };
        for id in USED_BY.iter().map(|(id, _)| id).chain(OF_GROUPS) {
            assert!(known(id), "{id}");
        }
    }
}
