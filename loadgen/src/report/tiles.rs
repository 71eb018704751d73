//! The figures that one looks for first.

use std::fmt::Write as _;

use crate::summary::Summary;
use crate::summary::text::{grouped, micros, number, rounded};

struct Tile {
    name: &'static str,
    value: String,
    bad: bool,
}

pub fn of_run(summary: &Summary) -> String {
    let mut tiles = Vec::new();
    let mut add = |name, value: String, bad| tiles.push(Tile { name, value, bad });
    let (m, c, s) = (&summary.measured, &summary.counts, &summary.set_up);
    let time = |us: Option<f64>| us.map_or_else(|| "none".to_owned(), micros);
    if c.sent + m.due > 0 {
        add("messages/s", rounded(m.messages_per_second), false);
        if let (Some(asked), Some(achieved)) = (m.asked_per_second, m.achieved_percent) {
            add("asked for a second", rounded(asked), false);
            add(
                "of what was due was sent",
                format!("{achieved:.1} %"),
                achieved < 99.0,
            );
        }
        add("p50", time(m.delivery_us.p50), m.delivery_us.count == 0);
        add("p99", time(m.delivery_us.p99), false);
        add("p99.9", time(m.delivery_us.p999), false);
        add("maximum", time(m.delivery_us.max), false);
        add("delivered", grouped(c.delivered), c.delivered == 0);
        add("reported", grouped(c.reported), false);
        add("lost", grouped(c.lost), c.lost > 0);
        add("wrong", grouped(summary.wrong()), summary.wrong() > 0);
    }
    if let Some(churn) = &summary.churn {
        add("rounds/s", rounded(churn.rounds_per_second), false);
        add("handshakes/s", rounded(churn.handshakes_per_second), false);
        add("AUTHs/s", rounded(churn.auths_per_second), false);
    }
    if c.sent == 0 {
        add("connections", grouped(s.connections as u64), false);
        add("connections/s", rounded(s.connections_per_second), false);
    }
    if c.sent == 0 || summary.churn.is_some() {
        if s.handshake_us.count > 0 {
            add("TLS p50", time(s.handshake_us.p50), false);
        }
        if s.upgrade_us.count > 0 {
            add("WebSocket p50", time(s.upgrade_us.p50), false);
        }
        add("AUTH p50", time(s.auth_us.p50), false);
    }
    if let Some(relay) = &summary.relay {
        if let Some(us) = relay.cpu_us_per_message {
            add("relay CPU per message", format!("{} us", number(us)), false);
        }
        add(
            "relay memory",
            format!("{:.1} MiB", relay.rss_mib_end),
            false,
        );
        if let Some(kib) = relay.rss_kib_per_connection.filter(|_| c.sent == 0) {
            add("relay memory for each", format!("{kib:.2} KiB"), false);
        }
    }
    if let Some(us) = summary.own.cpu_us_per_message {
        add("own CPU per message", format!("{} us", number(us)), false);
    }
    let mut out = String::from("<div class=\"tiles\">");
    for tile in tiles {
        let class = if tile.bad { "tile red" } else { "tile" };
        let _ = write!(
            out,
            "<div class=\"{class}\"><b>{}</b><span>{}</span></div>",
            tile.value, tile.name
        );
    }
    out + "</div>"
}
