//! What a run was to do, for its result: options and defaults resolved, and nothing secret.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::arrivals::Arrivals;
use crate::ledger::Report;
use crate::plan::{Group, Pace, Plan, Role, Shape, Standing, Work};

pub fn configuration(plan: &Plan) -> Value {
    json!({
        "relays": (0..plan.relays.len()).map(|number| relay(plan, number)).collect::<Vec<_>>(),
        "groups": plan.groups.iter().map(|one| group(one, plan)).collect::<Vec<_>>(),
        "idle_connections": (plan.work == Work::Idle).then_some(plan.connections),
        "idle_transport": (plan.work == Work::Idle).then_some(plan.idle_transport.name()),
        "rounds": plan.rounds.map(|rounds| json!({ "per_second": rounds.rate })),
        "standing": match plan.standing {
            Standing::Nobody => None,
            Standing::Chat => Some("chat"),
            Standing::Film => Some("film"),
        },
        "hostile_connections": plan.hostile,
        "threads": plan.threads,
        "cpus": plan.cpus,
        "source_spread": plan.source_spread,
        "opening_at_once": plan.opening_at_once,
        "connect_timeout_seconds": plan.connect_timeout.as_secs_f64(),
        "auth_timeout_seconds": plan.auth_timeout.as_secs_f64(),
        "reconnect": plan.reconnect,
        "warmup_seconds": plan.warmup.as_secs_f64(),
        "duration_seconds": plan.duration.as_secs_f64(),
        "patience_seconds": plan.patience.as_secs_f64(),
    })
}

fn relay(plan: &Plan, number: usize) -> Value {
    let relay = &plan.relays[number];
    json!({
        "addresses": plan
            .ways(number)
            .into_iter()
            .map(|transport| (transport.name(), relay.address(transport).to_string()))
            .collect::<BTreeMap<_, _>>(),
        "host": relay.host,
        "realm": relay.realm,
        "users": relay.users.len(),
    })
}

fn group(group: &Group, plan: &Plan) -> Value {
    let (window, arrivals, from, to) = match &group.pace {
        Pace::Window(window) => (Some(window), None, None, None),
        Pace::Open(arrivals, profile) => (
            None,
            Some(match arrivals {
                Arrivals::Even => "even",
                Arrivals::Poisson => "poisson",
            }),
            Some(profile.rate_at(0.0)),
            Some(profile.rate_at(plan.duration.as_secs_f64())),
        ),
    };
    json!({
        "name": group.name,
        "role": match group.role {
            Role::Main => "main",
            Role::Film => "film",
        },
        "sessions": group.sessions,
        "sessions_per_connection": group.sessions_per_connection,
        "shares_connections_of": group.shares.map(|other| &plan.groups[other].name),
        "shapes": group.shapes.iter().map(|shape| name(*shape)).collect::<Vec<_>>(),
        "sender_transport": group.sender_transport.name(),
        "receiver_transport": group.receiver_transport.name(),
        "window": window,
        "arrivals": arrivals,
        "per_second_at_begin": from,
        "per_second_at_end": to,
        "sizes": group.sizes.to_string(),
        "chunk_octets": group.chunk_octets,
        "messages_each": group.messages_max,
        "failure_report": match group.report {
            Report::Yes => "yes",
            Report::Partial => "partial",
            Report::No => "no",
        },
        "success_report": group.success_report,
        "content_type": group.content_type,
        "hold_ms": group.hold.map(|(low, high)| [low, high].map(|time| time.as_secs_f64() * 1e3)),
        "receiver_octets_per_second": group.receiver_rate,
        "own_tls_settings": group.client_config.is_some(),
    })
}

fn name(shape: Shape) -> &'static str {
    match shape {
        Shape::Foreign => "foreign sender",
        Shape::Both => "both authenticated",
        Shape::ReceiverConnects => "authenticated sender, receiver connects",
        Shape::RelayDials => "authenticated sender, relay dials",
        Shape::Piped => "through a proxy",
    }
}
