//! The groups of clients that the options of a workload make.

use std::time::Duration;

use crate::arrivals::{Profile, Stage};
use crate::ledger::Report;
use crate::options::{FailureReport, FilmOn, Options, Receiver, Sender, Workload};
use crate::plan::{Group, Pace, Role, Shape};
use crate::sizes::Sizes;

use super::transports::Wishes;
use super::{RATE, wants_via};

pub fn of_options(options: &Options, warmup: Duration) -> Result<Vec<Group>, String> {
    if options.workload == Workload::Idle {
        return match options.connections {
            0 => Err("--connections must be more than nothing".into()),
            _ => Ok(Vec::new()),
        };
    }
    let sessions = options.pairs.unwrap_or(match options.workload {
        Workload::File => 4,
        Workload::Mix => 12,
        Workload::Churn => 16,
        _ => 50,
    });
    let shapes = shapes(options)?;
    if sessions == 0 || options.sessions_per_connection == 0 {
        return Err("--pairs and --sessions-per-connection must be more than nothing".into());
    }
    if options.sessions_per_connection > 1 && shapes.iter().any(|shape| shape.receiver_listens()) {
        return Err(
            "with --sessions-per-connection receivers connect: leave --receiver listens out".into(),
        );
    }
    let (sender_transport, receiver_transport) =
        Wishes::of_options(options).resolve(options, &shapes)?;
    let main = Group {
        name: format!("{:?}", options.workload).to_lowercase(),
        role: Role::Main,
        sessions,
        sessions_per_connection: options.sessions_per_connection,
        shares: None,
        sender_transport,
        receiver_transport,
        shapes,
        pace: pace(options, warmup)?,
        sizes: match options.workload {
            Workload::File => Sizes::Fixed(options.message_size),
            _ => options.size.clone(),
        },
        chunk_octets: options.chunk_size,
        messages_max: (options.workload == Workload::Churn).then_some(options.messages.max(1)),
        report: report(options.failure_report),
        success_report: options.success_report,
        content_type: options.content_type.clone(),
        hold: options.hold,
        receiver_rate: options.receiver_rate,
        client_config: None,
    };
    let films = films(options, &main)?;
    Ok(std::iter::once(main).chain(films).collect())
}

pub fn report(asked: FailureReport) -> Report {
    match asked {
        FailureReport::Yes => Report::Yes,
        FailureReport::Partial => Report::Partial,
        FailureReport::No => Report::No,
    }
}

/// A window asks for a closed loop, and latencies are for open ones.
fn pace(options: &Options, warmup: Duration) -> Result<Pace, String> {
    let by_default = match options.workload {
        Workload::File => Some(2),
        Workload::Mix => Some(4),
        Workload::Churn => Some(1),
        _ => None,
    };
    if options.workload == Workload::Churn {
        if options.stages.is_some() || (options.rate.is_some() && constant_rate(options).is_none())
        {
            return Err("churn has one rate of rounds: write --rate 20".into());
        }
        return closed(options.window.or(by_default).unwrap_or(1));
    }
    let stages = options.rate.as_ref().or(options.stages.as_ref());
    match (options.window, stages) {
        (_, Some(stages)) => open(options, warmup, &stages.0),
        (Some(window), None) => closed(window),
        (None, None) => match by_default {
            Some(window) => closed(window),
            None => Ok(Pace::Open(options.arrivals, Profile::constant(RATE))),
        },
    }
}

fn closed(window: usize) -> Result<Pace, String> {
    match window {
        0 => Err("--window must be more than nothing".into()),
        _ => Ok(Pace::Window(window)),
    }
}

fn open(options: &Options, warmup: Duration, stages: &[Stage]) -> Result<Pace, String> {
    match stages
        .iter()
        .any(|stage| stage.from > 0.0 || stage.to > 0.0)
    {
        true => Ok(Pace::Open(
            options.arrivals,
            Profile::staged(warmup, stages),
        )),
        false => Err("--rate must be more than nothing".into()),
    }
}

/// The one rate that --rate asks for.
pub fn constant_rate(options: &Options) -> Option<f64> {
    match &options.rate.as_ref()?.0[..] {
        [stage] if stage.from == stage.to => Some(stage.to),
        _ => None,
    }
}

/// How long the stages of the options take, if there are some.
pub fn stages_length(options: &Options) -> Option<Duration> {
    let stages = options.stages.as_ref().or(options.rate.as_ref())?;
    let length: Duration = stages.0.iter().map(|stage| stage.length).sum();
    (length > Duration::ZERO).then_some(length)
}

fn films(options: &Options, main: &Group) -> Result<Option<Group>, String> {
    if options.workload != Workload::Mixed || options.films == 0 {
        return Ok(None);
    }
    let shared = options.film_on == FilmOn::Shared;
    if shared && options.film_receiver_rate.is_some() {
        return Err("--film-receiver-rate slows a connection as a whole, and with --film-on shared chats use it too: leave one of the two out".into());
    }
    Ok(Some(Group {
        name: "films".into(),
        role: Role::Film,
        sessions: options.films,
        sessions_per_connection: 1,
        shares: shared.then_some(0),
        pace: Pace::Window(1),
        sizes: Sizes::Fixed(options.film_size),
        messages_max: options.film_count,
        receiver_rate: options.film_receiver_rate,
        ..main.clone()
    }))
}

pub fn shapes(options: &Options) -> Result<Vec<Shape>, String> {
    if options.workload == Workload::Pipe {
        return match wants_via(options) || options.sender.is_some() {
            true => Err(
                "pipe goes through a proxy where nobody logs in: leave --via and --sender out"
                    .into(),
            ),
            false => Ok(vec![Shape::Piped]),
        };
    }
    if wants_via(options) {
        return match options.sender {
            None | Some(Sender::Both) => Ok(vec![Shape::Both]),
            Some(_) => Err(
                "with --via senders log in at the first relay and receivers at the second: leave --sender out".into(),
            ),
        };
    }
    let authenticated = match options.receiver {
        Receiver::Connects => Shape::ReceiverConnects,
        Receiver::Listens => Shape::RelayDials,
    };
    let by_default = if options.workload == Workload::Mix {
        Sender::Mix
    } else {
        Sender::Foreign
    };
    Ok(match options.sender.unwrap_or(by_default) {
        Sender::Foreign => vec![Shape::Foreign],
        Sender::Authenticated => vec![authenticated],
        Sender::Both => vec![Shape::Both],
        Sender::Mix => vec![Shape::Foreign, Shape::Both, authenticated],
    })
}
