//! What a run was to do, for its result: options and defaults resolved, and nothing secret.

use serde_json::{Value, json};

use crate::arrivals::Arrivals;
use crate::ledger::Report;
use crate::plan::{Group, Pace, Plan, Relay, Role, Shape, Standing, Work};

pub fn configuration(plan: &Plan) -> Value {
    json!({
        "relays": plan.relays.iter().map(relay).collect::<Vec<_>>(),
        "foreign_clients_connect_to": plan.foreign_address.to_string(),
        "foreign_clients_use_tls": plan.foreign_tls,
        "groups": plan.groups.iter().map(|one| group(one, plan)).collect::<Vec<_>>(),
        "idle_connections": (plan.work == Work::Idle).then_some(plan.connections),
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
        "reconnect": plan.reconnect,
        "warmup_seconds": plan.warmup.as_secs_f64(),
        "duration_seconds": plan.duration.as_secs_f64(),
        "patience_seconds": plan.patience.as_secs_f64(),
    })
}

fn relay(relay: &Relay) -> Value {
    json!({
        "address": relay.address.to_string(),
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
