//! Every figure of a result, by its path in the JSON, and which way it is better.

use std::collections::BTreeMap;

use serde_json::Value;

/// Parts of a result that are no figures of it.
const LEFT_OUT: &[&str] = &[
    "schema",
    "configuration",
    "host",
    "intervals",
    "percentiles_us",
    "notices",
    "thresholds",
    "hostile",
    "pids",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    Lower,
    Higher,
    /// It says how much was done, or about whom.
    Neither,
}

pub struct Figure {
    pub better: Better,
    /// It should be 0.
    pub is_fault: bool,
}

impl Figure {
    pub fn of(path: &str) -> Self {
        let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
        let is_fault = parent.ends_with("wrong")
            || parent == "stray"
            || matches!(
                name,
                "lost" | "unanswered" | "unconfirmed" | "lost_connections"
            );
        let better = match name {
            _ if is_fault => Better::Lower,
            // A single value says little, and how long receivers hold is what was asked for.
            "max" | "count" => Better::Neither,
            _ if parent.ends_with("held_us") => Better::Neither,
            _ if parent.ends_with("_us") || parent.starts_with("scraped_us") => Better::Lower,
            "messages_per_second" | "megabytes_per_second" | "achieved_percent" => Better::Higher,
            "rounds_per_second"
            | "handshakes_per_second"
            | "auths_per_second"
            | "connections_per_second" => Better::Higher,
            "not_sent" | "not_sent_own" | "reported" => Better::Lower,
            _ if name.starts_with("cpu_us")
                || name.starts_with("cpu_ns")
                || name.starts_with("rss_") =>
            {
                Better::Lower
            }
            _ if name.starts_with("relay_cpu_us") => Better::Lower,
            _ => Better::Neither,
        };
        // What this program needs, and how late it was, is not the relay's merit or fault.
        let better = match path.starts_with("own.") {
            true => Better::Neither,
            false => better,
        };
        Self { better, is_fault }
    }
}

/// Numbers by their path. Where a list has named members, as groups, these names stand in the path.
pub fn figures(value: &Value) -> BTreeMap<String, f64> {
    let mut found = BTreeMap::new();
    gather("", value, &mut found);
    found
}

fn gather(path: &str, value: &Value, found: &mut BTreeMap<String, f64>) {
    let below = |name: &str| match path {
        "" => name.to_owned(),
        _ => format!("{path}.{name}"),
    };
    match value {
        Value::Number(number) => {
            if let Some(number) = number.as_f64() {
                found.insert(path.to_owned(), number);
            }
        }
        Value::Object(members) => {
            for (name, member) in members
                .iter()
                .filter(|(name, _)| !LEFT_OUT.contains(&name.as_str()))
            {
                gather(&below(name), member, found);
            }
        }
        Value::Array(members) => {
            for member in members {
                if let Some(name) = member.get("name").and_then(Value::as_str) {
                    gather(&below(name), member, found);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn figures_have_paths_and_directions() {
        let found = figures(&json!({
            "schema": 2,
            "measured": { "delivery_us": { "p99": 5.5, "p50": null } },
            "groups": [{ "name": "chat", "messages_per_second": 7 }],
            "intervals": [{ "at": 1 }],
        }));
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "groups.chat.messages_per_second",
                "measured.delivery_us.p99"
            ]
        );
        for (path, better) in [
            ("measured.delivery_us.p99", Better::Lower),
            ("measured.delivery_us.max", Better::Neither),
            ("measured.held_us.p50", Better::Neither),
            ("groups.chat.messages_per_second", Better::Higher),
            ("relay.cpu_us_per_message", Better::Lower),
            ("own.cpu_us_per_message", Better::Neither),
            (
                "scraped_us.msrpd_forward_duration_seconds.p50",
                Better::Lower,
            ),
            ("counts.wrong.octets", Better::Lower),
            ("counts.sent", Better::Neither),
        ] {
            assert_eq!(Figure::of(path).better, better, "{path}");
        }
        assert!(
            Figure::of("counts.wrong.octets").is_fault && !Figure::of("counts.reported").is_fault
        );
    }
}
