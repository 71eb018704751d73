//! What a run leaves behind: logs that add up, a page that stands alone, the relay's own view.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod fake_relay;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use fake_relay::{FakeRelay, Fault, HOST};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2Serializer};
use serde_json::Value;

fn msrpload(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_msrpload"))
        .current_dir(folder)
        .args(arguments)
        .output()
        .unwrap();
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let both = text(&output.stdout) + &text(&output.stderr);
    (output.status.code().unwrap(), both)
}

fn chat(folder: &Path, relay: &FakeRelay, more: &[&str]) -> Value {
    let address = relay.address.to_string();
    let arguments = [
        &[
            "chat",
            "--address",
            &address,
            "--host",
            HOST,
            "--ca",
            "ca.pem",
        ],
        &[
            "--user",
            "alice:wonderland",
            "--pairs",
            "2",
            "--rate",
            "300",
        ][..],
        &["--duration", "600ms", "--warmup", "100ms", "--quiet"],
        &["--json", "result.json"],
        more,
    ];
    let (code, text) = msrpload(folder, &arguments.concat());
    assert_eq!(code, 0, "{text}");
    let result = std::fs::read_to_string(folder.join("result.json")).unwrap();
    serde_json::from_str(&result).unwrap()
}

fn number(result: &Value, path: &str) -> u64 {
    let found = result.pointer(path).and_then(Value::as_u64);
    found.unwrap_or_else(|| panic!("{path}: {result}"))
}

#[test]
fn logs_of_two_runs_add_up() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let relay = FakeRelay::start(&folder.join("ca.pem"), Fault::None);
    let counted: u64 = ["a.hdr", "b.hdr"]
        .iter()
        .map(|name| {
            number(
                &chat(folder, &relay, &["--hdr", name]),
                "/measured/delivery_us/count",
            )
        })
        .sum();
    let (code, text) = msrpload(folder, &["merge", "a.hdr", "b.hdr", "--hdr", "sum.hdr"]);
    assert_eq!(code, 0, "{text}");
    let row = text.lines().find(|l| l.contains("delivery")).unwrap();
    assert!(row.ends_with(&format!("({counted})")), "{counted}: {text}");
    assert!(text.contains("auth") && text.contains("p99.9"), "{text}");
    // The sum is a log like the others.
    let (_, again) = msrpload(folder, &["merge", "sum.hdr"]);
    assert_eq!(again, text);
    let log = std::fs::read_to_string(folder.join("a.hdr")).unwrap();
    let intervals = log.lines().filter(|l| l.starts_with("Tag=delivery,"));
    assert!(intervals.count() >= 5, "{log}");

    let (code, text) = msrpload(folder, &["merge", "ca.pem"]);
    assert!(code == 2 && text.contains("ca.pem"), "{text}");
}

#[test]
fn report_is_one_page_that_needs_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let relay = FakeRelay::start(&folder.join("ca.pem"), Fault::None);
    let own = std::process::id().to_string();
    chat(
        folder,
        &relay,
        &["--report", "run.html", "--relay-pid", &own],
    );
    let page = std::fs::read_to_string(folder.join("run.html")).unwrap();
    for part in [
        "Throughput",
        "percentile",
        "Latency over time",
        "Relay memory",
        "prefers-color-scheme",
    ] {
        assert!(page.contains(part), "{part}");
    }
    for outside in [
        "http:", "https:", "src=", "<script", "@import", "url(", "NaN",
    ] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.matches("<rect").count() > 10 && page.matches("<svg").count() == 12);
}

/// Serves a histogram that has three more values, of 7 ms, at its second reading.
fn admin() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut one = Histogram::<u64>::new_with_bounds(1_000, 60_000_000_000, 2).unwrap();
        one.record_n(2_000_000, 50).unwrap();
        for mut client in listener.incoming().flatten() {
            let mut request = [0; 512];
            let octets = client.read(&mut request).unwrap();
            if request[..octets].starts_with(b"GET /metrics HTTP/1.1\r\n") {
                let answer = b"HTTP/1.0 200 OK\r\n\r\n# HELP other_build_info x\nmsrpd_build_info{version=\"4.5.6\",io_uring=\"yes\"} 1\n";
                client.write_all(answer).unwrap();
                continue;
            }
            assert!(request[..octets].starts_with(b"GET /histograms HTTP/1.1\r\n"));
            let mut encoded = Vec::new();
            V2Serializer::new().serialize(&one, &mut encoded).unwrap();
            let text = base64::engine::general_purpose::STANDARD.encode(encoded);
            let answer = format!(
                "HTTP/1.0 200 OK\r\n\r\n{{\"msrpd_forward_duration_seconds\":{{\"hdr_v2_base64\":\"{text}\"}}}}"
            );
            client.write_all(answer.as_bytes()).unwrap();
            one.record_n(7_000_000, 3).unwrap();
        }
    });
    address
}

#[test]
fn relays_own_view_is_that_of_the_measured_stretch() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let relay = FakeRelay::start(&folder.join("ca.pem"), Fault::None);
    let result = chat(folder, &relay, &["--scrape", &admin()]);
    let view = result
        .pointer("/scraped_us/msrpd_forward_duration_seconds")
        .unwrap();
    assert_eq!(number(view, "/count"), 3);
    let p50 = view.pointer("/p50").and_then(Value::as_f64).unwrap();
    assert!((6_900.0..7_100.0).contains(&p50), "{p50}");
    assert_eq!(result.pointer("/relay_versions/0").unwrap(), "msrpd 4.5.6");
    // Quantiles are not subtracted from each other: what is left over would be none.
    assert!(result.pointer("/between_us").is_none());

    // A relay that cannot be asked costs a warning, not the run.
    let result = chat(folder, &relay, &["--scrape", "127.0.0.1:1"]);
    let warnings = result.pointer("/warnings").unwrap().to_string();
    assert!(warnings.contains("--scrape"), "{warnings}");
}
