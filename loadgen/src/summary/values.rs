//! Results by the names that thresholds use.

use super::text::{micros, number};
use super::{Latency, QUANTILES, Summary};

/// Names that stand for one figure each. Times are in microseconds.
const PLAIN: &[&str] = &[
    "sent",
    "due",
    "not_sent",
    "achieved",
    "acknowledged",
    "delivered",
    "reported",
    "lost",
    "wrong",
    "rate",
    "mbps",
    "relay_us",
    "relay_ns_per_octet",
    "rss_kib_per_connection",
    "own_us",
    "own_stalled",
    "lost_connections",
    "films_delivered",
    "films_reported",
    "films_lost",
    "standing_reported_max",
    "outage_lost",
    "reauths",
];

/// With `%` behind them: of what was sent.
const SHARES: &[&str] = &[
    "acknowledged",
    "delivered",
    "reported",
    "lost",
    "wrong",
    "not_sent",
];

/// Before a quantile, as in `tls_p99`; without one it is the delivery.
const LATENCIES: &[&str] = &[
    "ack", "confirm", "report", "tcp", "tls", "upgrade", "auth", "round", "held", "recovery",
    "late",
];

/// What a group has besides quantiles.
const OF_GROUPS: &[&str] = &[
    "rate",
    "mbps",
    "lost",
    "reported",
    "delivered",
    "sent",
    "not_sent",
];

/// Whether a threshold may have this name. `chat.p99` is of the group `chat`.
pub fn is_known(name: &str) -> bool {
    let share = name
        .strip_suffix('%')
        .is_some_and(|share| SHARES.contains(&share) || share == "achieved");
    let latency = name
        .split_once('_')
        .is_some_and(|(kind, quantile)| LATENCIES.contains(&kind) && QUANTILES.contains(&quantile));
    let of_group = name.split_once('.').is_some_and(|(group, rest)| {
        let quantile = rest.strip_prefix("ack_").unwrap_or(rest);
        !group.is_empty() && (OF_GROUPS.contains(&rest) || QUANTILES.contains(&quantile))
    });
    share || latency || of_group || PLAIN.contains(&name) || QUANTILES.contains(&name)
}

/// A result by its name, with its unit.
pub fn shown(name: &str, value: f64) -> String {
    let is_quantile = QUANTILES.iter().any(|quantile| {
        let before = name.strip_suffix(quantile);
        before.is_some_and(|before| before.is_empty() || before.ends_with(['_', '.']))
    });
    match name {
        _ if is_quantile || name == "own_stalled" => micros(value),
        "relay_us" | "own_us" => format!("{} us", number(value)),
        _ if name.ends_with('%') || name == "achieved" => format!("{} %", number(value)),
        _ => number(value),
    }
}

/// For an error message.
pub fn known() -> String {
    format!(
        "{}; with %: {}; quantiles ({}) of the delivery, or after {} and _; of a group: NAME.p99",
        PLAIN.join(" "),
        SHARES.join(" "),
        QUANTILES.join(" "),
        LATENCIES.join(" ")
    )
}

impl Summary {
    /// `None`: there is no such result in this run.
    pub fn value(&self, name: &str) -> Option<f64> {
        if let Some((group, rest)) = name.split_once('.')
            && let Some(group) = self.groups.iter().find(|one| one.name == group)
        {
            return match rest {
                "rate" => Some(group.messages_per_second),
                "mbps" => Some(group.megabytes_per_second),
                "lost" => Some(group.counts.lost as f64),
                "reported" => Some(group.counts.reported as f64),
                "delivered" => Some(group.counts.delivered as f64),
                "sent" => Some(group.counts.sent as f64),
                "not_sent" => Some(group.not_sent as f64),
                _ => match rest.strip_prefix("ack_") {
                    Some(quantile) => group.acknowledgement_us.by_name(quantile),
                    None => group.delivery_us.by_name(rest),
                },
            };
        }
        if let Some(share) = name.strip_suffix('%') {
            if share == "achieved" {
                return self.measured.achieved_percent;
            }
            let of = match share {
                "not_sent" => self.measured.due,
                _ => self.counts.sent,
            };
            return (of > 0).then(|| self.plain(share).map(|value| value * 100.0 / of as f64))?;
        }
        if let Some(value) = self.measured.delivery_us.by_name(name) {
            return Some(value);
        }
        if let Some((kind, quantile)) = name.split_once('_')
            && let Some(latency) = self.latency(kind)
            && QUANTILES.contains(&quantile)
        {
            return latency.by_name(quantile);
        }
        self.plain(name)
    }

    fn latency(&self, kind: &str) -> Option<Latency> {
        let m = &self.measured;
        Some(match kind {
            "ack" => m.acknowledgement_us,
            "confirm" => m.confirmation_us,
            "report" => m.report_us,
            "held" => m.held_us,
            "tcp" => self.set_up.tcp_us,
            "tls" => self.set_up.handshake_us,
            "upgrade" => self.set_up.upgrade_us,
            "auth" => self.set_up.auth_us,
            "round" => self.churn?.round_us,
            "recovery" => self.reconnect?.recovery_us,
            "late" => self.own.lateness_us,
            _ => return None,
        })
    }

    fn plain(&self, name: &str) -> Option<f64> {
        let (m, c) = (&self.measured, &self.counts);
        Some(match name {
            "sent" => c.sent as f64,
            "due" => m.due as f64,
            "not_sent" => (m.not_sent + m.not_sent_own) as f64,
            "achieved" => m.achieved_percent?,
            "acknowledged" => c.acknowledged as f64,
            "delivered" => c.delivered as f64,
            "reported" => c.reported as f64,
            "lost" => c.lost as f64,
            "wrong" => self.wrong() as f64,
            "rate" => m.messages_per_second,
            "mbps" => m.megabytes_per_second,
            "lost_connections" => self.lost_connections as f64,
            "films_delivered" => self.films?.counts.delivered as f64,
            "films_reported" => self.films?.counts.reported as f64,
            "films_lost" => self.films?.counts.lost as f64,
            "standing_reported_max" => self.standing?.reported_after_us.max?,
            "outage_lost" => self.reconnect?.lost as f64,
            "reauths" => self.reconnect?.auths as f64,
            "relay_us" => self.relay.as_ref()?.cpu_us_per_message?,
            "relay_ns_per_octet" => self.relay.as_ref()?.cpu_ns_per_octet?,
            "rss_kib_per_connection" => self.relay.as_ref()?.rss_kib_per_connection?,
            "own_us" => self.own.cpu_us_per_message?,
            "own_stalled" => self.own.stalled_seconds * 1e6,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::record::histogram;

    #[test]
    fn every_known_name_of_a_whole_result_has_a_value() {
        let mut one = histogram();
        one.record(2_000_000).unwrap();
        let latency = Latency::of(&one);
        let mut summary = Summary::default();
        summary.counts.sent = 200;
        summary.counts.lost = 1;
        summary.measured.due = 200;
        summary.measured.achieved_percent = Some(100.0);
        summary.measured.delivery_us = latency;
        summary.measured.acknowledgement_us = latency;
        summary.set_up.handshake_us = latency;
        summary.groups = vec![super::super::GroupResult {
            name: "chat".into(),
            delivery_us: latency,
            ..Default::default()
        }];
        for (name, value) in [
            ("p95", 2_000.0),
            ("p99.9", 2_000.0),
            ("ack_p50", 2_000.0),
            ("tls_p99.9", 2_000.0),
            ("chat.p99", 2_000.0),
            ("lost%", 0.5),
            ("achieved", 100.0),
            ("achieved%", 100.0),
            ("sent", 200.0),
        ] {
            assert!(is_known(name), "{name}");
            let found = summary.value(name).unwrap();
            assert!((found - value).abs() < value * 0.01, "{name}: {found}");
        }
        for (name, value, text) in [
            ("p99", 6_627.327, "6.63 ms"),
            ("chat.ack_p99.9", 12.0, "12 us"),
            ("standing_reported_max", 2e6, "2.00 s"),
            ("own_us", 1.5, "1.500 us"),
            ("lost%", 0.5, "0.500 %"),
            ("rate", 1_234.56, "1235"),
            ("lost", 3.0, "3"),
        ] {
            assert_eq!(shown(name, value), text, "{name}");
        }
        for name in ["p98", "tls_p98", "lost_p50", "p99%", "chat.p98", ""] {
            assert!(!is_known(name), "{name}");
        }
        for name in ["auth_p50", "films_lost", "rss_kib_per_connection"] {
            assert!(is_known(name) && summary.value(name).is_none(), "{name}");
        }
    }
}
