//! `--metrics ADDR`: what the live view shows, as Prometheus text, while the run goes on.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::thread;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::observer::{Phase, Published, Snapshot};
use crate::summary::Latency;

/// Serves from a thread of its own until the program ends.
pub fn serve(address: SocketAddr, published: Published) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("--metrics {address}: {e}");
    let listener = std::net::TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(failed)?;
    let serving = async move {
        let answer = move || {
            let text = published.lock().map(|snapshot| text(&snapshot));
            let headers = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
            std::future::ready((headers, text.unwrap_or_default()))
        };
        let listener = TcpListener::from_std(listener)?;
        axum::serve(listener, Router::new().route("/metrics", get(answer))).await
    };
    thread::Builder::new()
        .name("metrics".into())
        .spawn(move || runtime.block_on(serving))
        .map_err(failed)?;
    Ok(())
}

fn text(s: &Snapshot) -> String {
    let mut out = String::new();
    let phase = match s.phase {
        Phase::SettingUp => 0.0,
        Phase::WarmUp => 1.0,
        Phase::Measuring => 2.0,
        Phase::Settling => 3.0,
    };
    let gauges = [
        (
            "phase",
            "0 setting up, 1 warm-up, 2 measuring, 3 settling.",
            Some(phase),
        ),
        (
            "elapsed_seconds",
            "Since the run began.",
            Some(s.elapsed.as_secs_f64()),
        ),
        (
            "connections",
            "Connections that are open and logged in.",
            Some(s.connections as f64),
        ),
        (
            "messages_under_way",
            "Messages that are not settled.",
            Some(s.unsettled as f64),
        ),
        (
            "target_messages_per_second",
            "What an open loop is to send now.",
            s.target,
        ),
        (
            "relay_cpu_share",
            "CPU of the relay, in cores.",
            s.relay_cpu,
        ),
        (
            "relay_resident_bytes",
            "Memory of the relay.",
            s.relay_rss.map(|octets| octets as f64),
        ),
        (
            "own_cpu_share",
            "CPU of the load generator, in cores.",
            s.own_cpu,
        ),
    ];
    for (name, help, value) in gauges {
        if let Some(value) = value {
            metric(&mut out, name, help, "gauge", value);
        }
    }
    let counters = [
        (
            "messages_sent_total",
            "Messages sent, the warm-up included.",
            s.sent,
        ),
        (
            "messages_delivered_total",
            "Messages whole at their receiver.",
            s.delivered,
        ),
        (
            "messages_acknowledged_total",
            "Messages with all their 200s.",
            s.acknowledged,
        ),
        (
            "messages_reported_total",
            "Messages whose failure was told.",
            s.reported,
        ),
        ("faults_total", "What must never happen.", s.wrong),
        (
            "octets_delivered_total",
            "Octets of bodies delivered.",
            s.octets,
        ),
        (
            "connections_lost_total",
            "Connections that ended although nobody here closed them.",
            s.lost_connections,
        ),
    ];
    for (name, help, value) in counters {
        metric(&mut out, name, help, "counter", value as f64);
    }
    latency(
        &mut out,
        "delivery_seconds",
        "Delivery latency since the measured stretch began.",
        &s.whole,
    );
    latency(
        &mut out,
        "delivery_recent_seconds",
        "Delivery latency of the last moments.",
        &s.recent,
    );
    out
}

fn metric(out: &mut String, name: &str, help: &str, kind: &str, value: f64) {
    let _ = writeln!(
        out,
        "# HELP msrpload_{name} {help}\n# TYPE msrpload_{name} {kind}\nmsrpload_{name} {value}"
    );
}

fn latency(out: &mut String, name: &str, help: &str, latency: &Latency) {
    let _ = writeln!(
        out,
        "# HELP msrpload_{name} {help}\n# TYPE msrpload_{name} summary"
    );
    for (quantile, value) in [
        ("0.5", latency.p50),
        ("0.9", latency.p90),
        ("0.99", latency.p99),
        ("0.999", latency.p999),
        ("1", latency.max),
    ] {
        if let Some(us) = value {
            let _ = writeln!(
                out,
                "msrpload_{name}{{quantile=\"{quantile}\"}} {}",
                us / 1e6
            );
        }
    }
    let count = latency.count;
    let sum = latency.mean.unwrap_or(0.0) * count as f64 / 1e6;
    let _ = writeln!(
        out,
        "msrpload_{name}_sum {sum}\nmsrpload_{name}_count {count}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_has_its_type_and_what_is_not_known_is_left_out() {
        let mut snapshot = Snapshot {
            sent: 7,
            ..Snapshot::default()
        };
        snapshot.whole.count = 2;
        snapshot.whole.p50 = Some(1_500.0);
        let text = text(&snapshot);
        assert!(text.contains(
            "# TYPE msrpload_messages_sent_total counter\nmsrpload_messages_sent_total 7\n"
        ));
        assert!(
            text.contains("msrpload_delivery_seconds{quantile=\"0.5\"} 0.0015\n"),
            "{text}"
        );
        assert!(!text.contains("relay_cpu_share"));
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split([' ', '{']).next().unwrap();
            let base = name.trim_end_matches("_sum").trim_end_matches("_count");
            assert!(text.contains(&format!("# TYPE {base} ")), "{line}");
        }
    }
}
