//! Whether the relay's histograms say what happened, by the account of the load generator; and many idle connections.

use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use rustix::process::{Resource, getrlimit};
use serde_json::Value;

use crate::records::load_generator;
use crate::support::random::heavy;
use crate::support::relay::{Relay, Setup};

fn two_shards() -> Relay {
    Setup::new().set("relay.workers", 2).start()
}

/// A run of the load generator, which reads the relay's histograms at both ends of it.
fn run(relay: &Relay, arguments: &[&str]) -> Value {
    let scrape = format!("http://127.0.0.1:{}", relay.admin_port());
    let status = Command::new(load_generator())
        .args(["--address", &relay.tls.to_string(), "--host", &relay.host])
        .args(["--user", "alice:wonderland", "--user", "bob:builder"])
        .args(["--ca", "ca.pem", "--quiet", "--json", "load.json"])
        .args(["--relay-pid", &relay.pid().to_string(), "--scrape", &scrape])
        .args(arguments)
        .current_dir(relay.dir())
        .stdout(Stdio::null())
        .status()
        .expect("msrpload runs");
    let text = std::fs::read_to_string(relay.dir().join("load.json")).expect("a summary");
    assert!(status.success(), "{text}");
    serde_json::from_str(&text).expect("JSON")
}

fn number(summary: &Value, pointer: &str) -> f64 {
    summary
        .pointer(pointer)
        .and_then(Value::as_f64)
        .unwrap_or_else(|| panic!("no {pointer} in {summary}"))
}

/// Microseconds at p50, p99 and p99.9.
fn quantiles(summary: &Value, pointer: &str) -> [f64; 3] {
    ["p50", "p99", "p999"].map(|quantile| number(summary, &format!("{pointer}/{quantile}")))
}

/// As `/histograms` serves it: nanoseconds since the start.
fn histogram(relay: &Relay, name: &str) -> Histogram<u64> {
    let (code, text) = relay.get("/histograms").expect("histograms");
    assert_eq!(code, 200);
    let all: Value = serde_json::from_str(&text).expect("JSON");
    let octets = STANDARD.decode(all[name]["hdr_v2_base64"].as_str().expect("a histogram"));
    Deserializer::new()
        .deserialize(&mut &octets.expect("base64")[..])
        .expect("HdrHistogram V2")
}

fn series(relay: &Relay) -> usize {
    let (code, text) = relay.get("/metrics").expect("metrics");
    assert_eq!(code, 200);
    text.lines().filter(|line| !line.starts_with('#')).count()
}

#[test]
fn the_time_of_a_transaction_is_that_for_which_receivers_hold_their_answers() {
    let _turn = heavy();
    let relay = two_shards();
    let arguments = ["--pairs", "50", "--window", "6", "--hold", "5ms-500ms"];
    let arguments = [&["chat", "--duration", "6s"], &arguments[..]].concat();
    let summary = run(&relay, &arguments);
    assert!(number(&summary, "/measured/held_us/count") > 2000.0);
    let held = quantiles(&summary, "/measured/held_us");
    let told = quantiles(&summary, "/scraped_us/msrpd_transaction_duration_seconds");
    for (held, told) in held.into_iter().zip(told) {
        assert!((told - held).abs() <= held * 0.1, "{told} us, held {held}");
    }
}

#[test]
fn forwarding_takes_no_longer_than_the_whole_way() {
    let _turn = heavy();
    let relay = two_shards();
    let arguments = ["--pairs", "20", "--rate", "1000", "--warmup", "0s"];
    let arguments = [&["chat", "--duration", "5s"], &arguments[..]].concat();
    let summary = run(&relay, &arguments);
    let whole = quantiles(&summary, "/measured/delivery_us");
    let within = quantiles(&summary, "/scraped_us/msrpd_forward_duration_seconds");
    for (whole, within) in whole.into_iter().zip(within) {
        assert!(0.0 < within && within <= whole, "{within} of {whole} us");
    }
    // The gauges look back at least 30 s, so at all of it, as the cumulative histogram does.
    let all = histogram(&relay, "msrpd_forward_duration_seconds");
    for quantile in [0.5, 0.99, 0.999] {
        let label = format!("quantile=\"{quantile}\"");
        let gauge = relay.metric("msrpd_forward_latency_seconds", &[&label]) * 1e9;
        let told = all.value_at_quantile(quantile) as f64;
        assert!(
            (gauge - told).abs() <= told * 0.02,
            "p{quantile}: gauge {gauge} ns, histogram {told} ns"
        );
    }
    assert!(series(&relay) <= 500);
}

#[test]
fn eighteen_thousand_idle_connections_are_held() {
    let _turn = heavy();
    // As many as the machine allows, if that is less.
    let room = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let connections = room.saturating_sub(700).min(18_000);
    println!("{connections} connections");
    let relay = two_shards();
    let count = connections.to_string();
    let arguments = ["--source-spread", "--duration", "12s", "--warmup", "0s"];
    let arguments = [&["idle", "--connections", &count], &arguments[..]].concat();
    let summary = run(&relay, &arguments);
    assert_eq!(number(&summary, "/set_up/connections"), connections as f64);
    assert_eq!(number(&summary, "/lost_connections"), 0.0);
    let each = number(&summary, "/relay/rss_kib_per_connection");
    println!("{each:.2} KiB each");
    assert!(each <= 9.0, "{each} KiB for each connection");
    assert!(series(&relay) <= 500);
    relay.metric_becomes("msrpd_sessions", &[], |sessions| sessions == 0.0);
    std::thread::sleep(Duration::from_millis(100));
    assert!(relay.log().lines().count() < 50, "{}", relay.log());
}
