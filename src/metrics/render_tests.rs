//! The exposition as a scraper reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;

fn process(shards: &[ShardSnapshot]) -> ProcessMetrics {
    let recent = forward_total(shards);
    ProcessMetrics {
        facts: Facts {
            certificates: vec![
                (
                    "/etc/relay.pem".to_owned(),
                    UNIX_EPOCH + Duration::from_secs(1_900_000_000),
                ),
                ("odd \"name\"".to_owned(), UNIX_EPOCH),
            ],
            reload_successful: true,
            reloaded: UNIX_EPOCH + Duration::from_secs(1_800_000_000),
        },
        records: RecordTotals {
            written: 7,
            lost: 1,
            waiting: 2,
            up: false,
        },
        recent_forward: recent,
    }
}

fn busy(shard: u16) -> ShardSnapshot {
    let mut metrics = Box::<ShardMetrics>::default();
    for (n, method) in MethodLabel::ALL.into_iter().enumerate() {
        for _ in 0..n + usize::from(shard) {
            metrics.request(method, Direction::In);
            metrics
                .forward_duration
                .record(Duration::from_micros(7 << (2 * n)));
            metrics.auth_duration.record_n(Duration::from_millis(3), 2);
        }
    }
    metrics.response(200, Direction::Out);
    metrics.response(499, Direction::Out);
    metrics.report(408, ReportOrigin::Relay);
    metrics.refusal(RefusalReason::Credentials);
    metrics.closed(CloseReason::Idle);
    metrics.connections[TransportLabel::Wss as usize][RoleLabel::Client as usize] = 1;
    metrics.octets_in = 5;
    metrics.ledger.taken = 3;
    metrics.ledger.held = 2;
    for along in Along::ALL {
        let traffic = &mut metrics.ledger.sessions[along as usize];
        traffic.chunk(1000, along == Along::Sent);
        traffic.reports += 2;
        traffic.failed += 1;
    }
    metrics.ledger.dropped[DropReason::SourceGone as usize] = 1;
    ShardSnapshot {
        shard,
        up: shard != 1,
        numbers: metrics,
    }
}

fn shown(shards: &[ShardSnapshot]) -> String {
    render(shards, &process(shards))
}

/// Name with labels and value of each sample.
fn samples(text: &str) -> Vec<(&str, f64)> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            (series, value.parse().expect("a number"))
        })
        .collect()
}

#[test]
fn the_numbers_of_all_shards_add_up() {
    let text = shown(&[busy(0), busy(1), busy(2)]);
    let samples: BTreeMap<_, _> = samples(&text).into_iter().collect();
    for (series, value) in [
        (
            concat!(
                "msrpd_build_info{version=\"",
                env!("CARGO_PKG_VERSION"),
                "\"}"
            ),
            1.0,
        ),
        (
            "msrpd_tls_certificate_expiry_timestamp_seconds{file=\"/etc/relay.pem\"}",
            1_900_000_000.0,
        ),
        (
            r#"msrpd_tls_certificate_expiry_timestamp_seconds{file="odd \"name\""}"#,
            0.0,
        ),
        ("msrpd_config_last_reload_successful", 1.0),
        (
            "msrpd_config_last_reload_success_timestamp_seconds",
            1_800_000_000.0,
        ),
        ("msrpd_shard_up{shard=\"1\"}", 0.0),
        ("msrpd_shard_up{shard=\"2\"}", 1.0),
        ("msrpd_shard_connections{shard=\"2\"}", 1.0),
        ("msrpd_connections{transport=\"wss\",role=\"client\"}", 3.0),
        (
            "msrpd_requests_total{method=\"SEND\",direction=\"in\"}",
            3.0,
        ),
        (
            "msrpd_requests_total{method=\"other\",direction=\"in\"}",
            15.0,
        ),
        ("msrpd_responses_total{code=\"200\",direction=\"out\"}", 3.0),
        (
            "msrpd_responses_total{code=\"other\",direction=\"out\"}",
            3.0,
        ),
        ("msrpd_reports_total{status=\"408\",origin=\"relay\"}", 3.0),
        ("msrpd_octets_total{direction=\"in\"}", 15.0),
        ("msrpd_chunks_taken_total", 9.0),
        ("msrpd_session_octets_total{direction=\"sent\"}", 3000.0),
        ("msrpd_session_chunks_total{direction=\"received\"}", 3.0),
        ("msrpd_session_messages_total{direction=\"sent\"}", 3.0),
        ("msrpd_session_messages_total{direction=\"received\"}", 0.0),
        ("msrpd_session_reports_total{direction=\"sent\"}", 6.0),
        (
            "msrpd_session_chunks_failed_total{direction=\"received\"}",
            3.0,
        ),
        ("msrpd_records_written_total", 7.0),
        ("msrpd_records_lost_total", 1.0),
        ("msrpd_records_waiting", 2.0),
        ("msrpd_records_up", 0.0),
        ("msrpd_chunks_held", 6.0),
        ("msrpd_chunks_dropped_total{reason=\"source_gone\"}", 3.0),
        ("msrpd_refusals_total{reason=\"credentials\"}", 3.0),
        ("msrpd_connections_closed_total{reason=\"idle\"}", 3.0),
        ("msrpd_auth_duration_seconds_count", 90.0),
        ("msrpd_auth_duration_seconds_bucket{le=\"0.0025\"}", 0.0),
        ("msrpd_auth_duration_seconds_bucket{le=\"0.005\"}", 90.0),
        ("msrpd_auth_duration_seconds_sum", 0.27),
        ("msrpd_loop_duration_seconds_count", 0.0),
    ] {
        assert_eq!(samples.get(series), Some(&value), "{series}\n{text}");
    }
    let median = samples["msrpd_forward_latency_seconds{quantile=\"0.5\"}"];
    assert!((median / 0.000448 - 1.0).abs() < 0.01, "{median}");
}

#[test]
fn every_series_has_help_type_and_a_legal_name() {
    let text = shown(&[busy(0), busy(1)]);
    let mut helped = BTreeSet::new();
    let mut kinds = BTreeMap::new();
    let mut family = "";
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, about) = help.split_once(' ').expect("an explanation");
            assert!(helped.insert(name), "{name} twice");
            assert!(about.ends_with('.'), "{about}");
            family = name;
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a type");
            assert_eq!(name, family);
            kinds.insert(name, kind);
        } else {
            let name = line.split(['{', ' ']).next().expect("a name");
            assert!(name.starts_with("msrpd_"), "{name}");
            assert!(
                name.bytes()
                    .all(|o| o.is_ascii_lowercase() || o == b'_' || o == b':'),
                "{name}"
            );
            match kinds[family] {
                "histogram" => {
                    let suffix = name.strip_prefix(family).expect("series under its family");
                    assert!(["_bucket", "_sum", "_count"].contains(&suffix), "{name}");
                }
                "counter" => assert!(name == family && name.ends_with("_total"), "{name}"),
                _ => assert!(name == family && !name.ends_with("_total"), "{name}"),
            }
        }
    }
    assert_eq!(helped, kinds.keys().copied().collect());
}

#[test]
fn no_series_stands_twice_and_there_are_at_most_500() {
    let shards: Vec<_> = (0..64).map(busy).collect();
    let text = shown(&shards);
    let samples = samples(&text);
    let distinct: BTreeSet<_> = samples.iter().map(|(series, _)| series).collect();
    assert_eq!(distinct.len(), samples.len());
    println!("{} series with 64 shards", samples.len());
    assert!(samples.len() <= 500, "{}", samples.len());
}

#[test]
fn every_histogram_rises() {
    let text = shown(&[busy(0), busy(3)]);
    let samples = samples(&text);
    for (name, ..) in HISTOGRAMS {
        let buckets: Vec<f64> = samples
            .iter()
            .filter(|(series, _)| series.starts_with(&format!("msrpd_{name}_bucket")))
            .map(|(_, value)| *value)
            .collect();
        assert_eq!(buckets.len(), EDGES_MICROS.len() + 1);
        assert!(buckets.is_sorted(), "{name}: {buckets:?}");
        let count = samples
            .iter()
            .find(|(series, _)| *series == format!("msrpd_{name}_count"));
        assert_eq!(buckets.last(), count.map(|(_, value)| value));
    }
}

#[test]
fn edges_rise_in_plain_decimals() {
    assert!(EDGES_MICROS.is_sorted());
    let text = shown(&[busy(0)]);
    for (le, rest) in [
        ("0.00001", "10 us"),
        ("0.0025", "2.5 ms"),
        ("1", "1 s"),
        ("30", "30 s"),
    ] {
        assert!(
            text.contains(&format!(
                "msrpd_loop_duration_seconds_bucket{{le=\"{le}\"}}"
            )),
            "{rest}"
        );
    }
}

#[test]
fn promtool_accepts_the_exposition() {
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        assert!(std::env::var_os("CI").is_none(), "CI installs promtool");
        println!("skipped: promtool is not installed");
        return;
    };
    let text = shown(&[busy(0), busy(1)]);
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8(said).expect("text");
    // Over the last 30 to 60 s, as a summary would be, and yet gauges: nobody has to know a count to read them.
    let known =
        "msrpd_forward_latency_seconds non-summary metrics should not have \"quantile\" label";
    let unknown: Vec<&str> = said
        .lines()
        .filter(|line| !line.is_empty() && *line != known)
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    // 3: there was something to say about style.
    assert!(matches!(output.status.code(), Some(0 | 3)), "{said}");
}

#[test]
fn every_metric_that_the_operators_guide_names_exists() {
    let text = shown(&[busy(0)]);
    let guide = include_str!("../../docs/operating.md");
    let is_part = |character: char| character.is_ascii_lowercase() || character == '_';
    let named: BTreeSet<&str> = guide
        .split(|character| !is_part(character))
        .filter(|word| word.starts_with("msrpd_"))
        .collect();
    assert!(named.len() > 8, "{named:?}");
    for name in named {
        assert!(text.contains(name), "{name}");
    }
}

#[test]
fn histograms_are_json_that_any_reader_of_v2_decodes() {
    let json: serde_json::Value =
        serde_json::from_str(&histograms_json(&[busy(1), busy(2)])).unwrap();
    let object = json.as_object().expect("an object");
    assert_eq!(object.len(), HISTOGRAMS.len());
    for (name, ..) in HISTOGRAMS {
        let row = &object[&format!("msrpd_{name}")];
        assert_eq!(row["unit"], "ns");
        let octets = STANDARD
            .decode(row["hdr_v2_base64"].as_str().unwrap())
            .unwrap();
        let read: hdrhistogram::Histogram<u64> = hdrhistogram::serialization::Deserializer::new()
            .deserialize(&mut &octets[..])
            .unwrap();
        assert_eq!(row["count"], read.len());
    }
    assert_eq!(object["msrpd_auth_duration_seconds"]["count"], 70);
}
