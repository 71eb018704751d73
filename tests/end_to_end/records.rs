//! Records of sessions (docs/records.md): their sums are those of the metrics and of whoever sent, and no sink holds up a
//! relay.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::reloading::{RELOADED, change, reload};
use crate::support::client::{Client, SOON};
use crate::support::link::Link;
use crate::support::random::heavy;
use crate::support::relay::{Relay, Setup};

const FILE: &str = "sessions.jsonl";
/// Pairs of the load generator, each with two connections.
const PAIRS: usize = 6;

fn recording() -> Setup {
    Setup::new()
        .set("relay.workers", 2)
        .set("records.file", FILE)
}

pub fn read(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// All records, once there are so many and no session lives.
fn records(relay: &Relay, how_many: usize) -> Vec<Value> {
    relay.metric_becomes("msrpd_records_written_total", &[], |written| {
        written >= how_many as f64
    });
    relay.metric_becomes("msrpd_sessions", &[], |sessions| sessions == 0.0);
    let records = read(&relay.dir().join(FILE));
    assert_eq!(records.len(), how_many);
    records
}

pub fn sum(records: &[Value], direction: &str, field: &str) -> u64 {
    let numbers = records.iter().map(|record| &record[direction][field]);
    numbers
        .map(|number| number.as_u64().expect("a number"))
        .sum()
}

/// Every sum is the metric's.
fn agrees_with_metrics(relay: &Relay, records: &[Value]) {
    for direction in ["sent", "received"] {
        for (field, name) in [
            ("octets", "msrpd_session_octets_total"),
            ("chunks", "msrpd_session_chunks_total"),
            ("messages", "msrpd_session_messages_total"),
            ("reports", "msrpd_session_reports_total"),
            ("failed", "msrpd_session_chunks_failed_total"),
        ] {
            let label = format!("direction=\"{direction}\"");
            let counted = relay.metric(name, &[&label]);
            assert_eq!(
                sum(records, direction, field) as f64,
                counted,
                "{name} {direction}"
            );
        }
    }
}

/// The load generator, which stands where cargo has put the relay.
pub fn load_generator() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_msrpd")).with_file_name("msrpload");
    if !path.exists() {
        let built = Command::new(env!("CARGO"))
            .args(["build", "-p", "loadgen", "--bin", "msrpload"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(built.expect("cargo runs").success());
    }
    path
}

fn load(relay: &Relay, arguments: &[&str]) -> Child {
    Command::new(load_generator())
        .args(["--address", &relay.tls.to_string(), "--host", &relay.host])
        .args(["--user", "alice:wonderland", "--user", "bob:builder"])
        .args([
            "--pairs",
            &PAIRS.to_string(),
            "--quiet",
            "--json",
            "load.json",
        ])
        .args(["--ca", "ca.pem"])
        .args(arguments)
        .current_dir(relay.dir())
        .stdout(Stdio::null())
        .spawn()
        .expect("msrpload starts")
}

/// What the load generator's ledger says in the end.
fn ledger(relay: &Relay, mut child: Child) -> Value {
    child.wait().expect("msrpload ends");
    let text = std::fs::read_to_string(relay.dir().join("load.json")).expect("a summary");
    let summary: Value = serde_json::from_str(&text).expect("JSON");
    println!("{} {}", summary["counts"], summary["warmup"]);
    summary
}

/// Of the whole run: the relay knows of no warm-up.
fn count(ledger: &Value, field: &str) -> u64 {
    let part = |part: &str| ledger[part][field].as_u64().expect("a number");
    part("counts") + part("warmup")
}

#[test]
fn sums_are_those_of_the_metrics_and_of_the_load_generator() {
    let _turn = heavy();
    let relay = recording().start();
    let mut expected = 0;
    let [mut octets, mut messages] = [0, 0];
    for arguments in [
        &[
            "chat",
            "--sender",
            "both",
            "--size",
            "1-3000",
            "--window",
            "8",
            "--duration",
            "2s",
        ][..],
        &[
            "file",
            "--sender",
            "both",
            "--message-size",
            "300000",
            "--chunk-size",
            "10000",
            "--duration",
            "1s",
        ],
    ] {
        let ledger = ledger(&relay, load(&relay, arguments));
        assert!(count(&ledger, "delivered") > 10, "there was load");
        expected += 2 * PAIRS;
        octets += count(&ledger, "octets_delivered");
        // Each pair begins with a message without octets that its ledger has not.
        messages += count(&ledger, "acknowledged") + PAIRS as u64;
        let records = records(&relay, expected);
        for direction in ["sent", "received"] {
            assert_eq!(sum(&records, direction, "octets"), octets, "{direction}");
            assert_eq!(
                sum(&records, direction, "messages"),
                messages,
                "{direction}"
            );
            let taken = relay.metric("msrpd_chunks_taken_total", &[]);
            assert_eq!(
                sum(&records, direction, "chunks") as f64,
                taken,
                "{direction}"
            );
        }
        agrees_with_metrics(&relay, &records);
        assert!(
            records
                .iter()
                .all(|record| record["cause"] == "closed" && record["relay"].is_null())
        );
    }
    // Strangers send: what passes one URI counts once.
    let arguments = [
        "chat",
        "--sender",
        "foreign",
        "--size",
        "700",
        "--window",
        "4",
        "--duration",
        "1s",
    ];
    let ledger = ledger(&relay, load(&relay, &arguments));
    let records = records(&relay, expected + PAIRS);
    assert_eq!(
        sum(&records, "received", "octets"),
        octets + count(&ledger, "octets_delivered")
    );
    assert_eq!(sum(&records, "sent", "octets"), octets);
    agrees_with_metrics(&relay, &records);
}

/// CON-12: the load generator's clients are all closed by the relay, in order, so each 200 that it got is a message taken.
#[test]
fn con_12_sums_are_those_of_the_load_generator_after_a_drain_too() {
    let _turn = heavy();
    for rate in [None, Some("60KiB")] {
        let relay = recording().start();
        let mut arguments = vec![
            "chat",
            "--sender",
            "both",
            "--size",
            "777",
            "--window",
            "8",
            "--duration",
            "20s",
        ];
        arguments.extend(rate.iter().flat_map(|rate| ["--receiver-rate", *rate]));
        let child = load(&relay, &arguments);
        relay.metric_becomes("msrpd_chunks_taken_total", &[], |taken| taken > 500.0);
        relay.signal(libc::SIGTERM);
        let ledger = ledger(&relay, child);
        assert_eq!(relay.exit_within(SOON).code(), Some(0), "{}", relay.log());
        let records = read(&relay.dir().join(FILE));
        assert_eq!(records.len(), 2 * PAIRS);
        assert!(records.iter().all(|record| record["cause"] == "drained"));
        let acknowledged = count(&ledger, "acknowledged");
        assert!(acknowledged > 100, "there was load");
        for direction in ["sent", "received"] {
            assert_eq!(
                sum(&records, direction, "octets"),
                acknowledged * 777,
                "{direction}"
            );
            let messages = acknowledged + PAIRS as u64;
            assert_eq!(
                sum(&records, direction, "messages"),
                messages,
                "{direction}"
            );
        }
    }
}

/// CON-12, RPT-11: what a receiver has not answered is reported in a drain, and stands in both records as failed.
#[test]
fn con_12_what_a_drain_reports_stands_in_the_records() {
    let _turn = heavy();
    let relay = recording().set("relay.drain_timeout", "2s").start();
    let mut link = Link::neighbours(&relay);
    let mut octets = 0;
    for number in 1..20 {
        let text = "x".repeat(number * 100);
        octets += text.len() as u64;
        let draft = link.draft().text(&text);
        link.a.send(draft.octets());
        assert_eq!(link.a.response_to(&draft.tid).code(), Some(200));
    }
    relay.signal(libc::SIGTERM);
    for _ in 1..20 {
        assert_eq!(
            link.a
                .expect_method("REPORT")
                .status()
                .map(|status| status.1),
            Some(408)
        );
    }
    drop(link);
    assert_eq!(relay.exit_within(SOON).code(), Some(0));
    let records = read(&relay.dir().join(FILE));
    let [alice, bob] = ["alice", "bob"].map(|user| {
        let mut found = records.iter().filter(|record| record["user"] == user);
        found.next().expect("a record")
    });
    let all = serde_json::json!({"octets": octets, "chunks": 19, "messages": 19, "reports": 0, "failed": 19});
    assert_eq!((&alice["sent"], &bob["received"]), (&all, &all));
    assert_eq!(
        (&alice["received"]["reports"], &bob["sent"]["chunks"]),
        (&19.into(), &0.into())
    );
    assert_eq!(records.len(), 2);
}

/// A session of nobody in particular begins and ends.
fn come_and_go(relay: &Relay) {
    drop(Client::authenticated(relay, "carol"));
}

#[test]
fn a_renamed_file_is_left_with_sighup() {
    let relay = recording().start();
    let [path, moved] = [FILE, "sessions.jsonl.1"].map(|name| relay.dir().join(name));
    come_and_go(&relay);
    records(&relay, 1);
    std::fs::rename(&path, &moved).expect("renamed");
    reload(&relay, RELOADED);
    come_and_go(&relay);
    relay.metric_becomes("msrpd_records_written_total", &[], |written| written == 2.0);
    assert_eq!((read(&moved).len(), read(&path).len()), (1, 1));
    // Whatever else the file has in it.
    std::fs::rename(&path, &moved).expect("renamed");
    change(&relay, &[("relay.nonsense", "1")]);
    reload(&relay, "not reloaded");
    come_and_go(&relay);
    relay.metric_becomes("msrpd_records_written_total", &[], |written| written == 3.0);
    assert_eq!((read(&moved).len(), read(&path).len()), (1, 1));
}

#[test]
fn a_reload_changes_where_records_go() {
    let relay = recording().start();
    let waits = Client::authenticated(&relay, "alice");
    let path = relay.dir().join("collector");
    let listener = UnixListener::bind(&path).expect("a socket");
    let configuration = relay.dir().join("msrpd.toml");
    let text = std::fs::read_to_string(&configuration).expect("the configuration");
    let with = |records: &str| text.replace(&format!("file = \"{FILE}\""), records);
    std::fs::write(&configuration, with("socket = \"collector\"")).expect("written");
    reload(&relay, RELOADED);
    drop(waits);
    let (stream, _) = listener.accept().expect("a connection");
    let line = BufReader::new(stream).lines().next().expect("a line");
    let record: Value = serde_json::from_str(&line.expect("text")).expect("JSON");
    assert_eq!(
        (&record["user"], &record["version"]),
        (&"alice".into(), &1.into())
    );
    assert!(read(&relay.dir().join(FILE)).is_empty());
    // What cannot be written is refused, and the old place stays.
    std::fs::write(&configuration, with("file = \"no/such/folder/x\"")).expect("written");
    reload(&relay, "not reloaded");
    // None, and again.
    std::fs::write(&configuration, with("")).expect("written");
    reload(&relay, RELOADED);
    come_and_go(&relay);
    relay.metric_becomes("msrpd_sessions", &[], |sessions| sessions == 0.0);
    std::fs::write(&configuration, &text).expect("written");
    reload(&relay, RELOADED);
    come_and_go(&relay);
    relay.metric_becomes("msrpd_records_written_total", &[], |written| written == 2.0);
    assert_eq!(read(&relay.dir().join(FILE)).len(), 1);
}

/// A disk that is full, and a pipe and a socket that nobody reads: messages pass, what is lost is counted, and it is said once.
#[test]
fn a_sink_that_takes_nothing_holds_up_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let [pipe, socket] = ["pipe", "socket"].map(|name| folder.path().join(name));
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo").success());
    let _listener = UnixListener::bind(&socket).expect("a socket");
    let shown = |path: &Path| path.to_str().expect("text").to_owned();
    std::thread::scope(|scope| {
        for (key, target) in [
            ("records.file", "/dev/full".to_owned()),
            ("records.file", shown(&pipe)),
            ("records.socket", shown(&folder.path().join("nobody"))),
        ] {
            scope.spawn(move || takes_nothing(key, &target));
        }
    });
}

fn takes_nothing(key: &str, target: &str) {
    let relay = Setup::new()
        .set("relay.workers", 2)
        .set(key, target)
        .set("limits.records_waiting", 2)
        .start();
    let mut link = Link::neighbours(&relay);
    let until = Instant::now() + SOON;
    let mut gone = 0.0;
    while relay.metric("msrpd_records_lost_total", &[]) < 5.0 {
        assert!(Instant::now() < until, "{target}: nothing is lost");
        come_and_go(&relay);
        gone += 1.0;
        link.still_works();
    }
    assert_eq!(relay.metric("msrpd_records_up", &[]), 0.0, "{target}");
    relay.metric_becomes("msrpd_sessions", &[], |sessions| sessions == 2.0);
    let all =
        ["written", "lost"].map(|what| relay.metric(&format!("msrpd_records_{what}_total"), &[]));
    let waiting = relay.metric("msrpd_records_waiting", &[]);
    assert_eq!(all[0] + all[1] + waiting, gone, "{target}");
    assert_eq!(all[0], 0.0, "{target}");
    sleep(Duration::from_millis(1200));
    for words in ["records cannot be written", "records are lost"] {
        assert_eq!(relay.log().matches(words).count(), 1, "{}", relay.log());
    }
    link.still_works();
    // Nor does it hold up the end.
    relay.signal(libc::SIGTERM);
    drop(link);
    assert_eq!(relay.exit_within(Duration::from_secs(5)).code(), Some(0));
    assert!(
        relay.log().contains("not written before the end"),
        "{}",
        relay.log()
    );
}

/// The address is the one that the balancer names.
#[test]
fn a_record_names_whom_a_balancer_speaks_for() {
    let relay = recording()
        .set_listeners_list("proxy_protocol_from", &["127.0.0.1"])
        .start();
    let line = b"PROXY TCP4 203.0.113.7 198.51.100.1 40001 2855\r\n";
    let mut client = Client::tls_behind(&relay, &[&line[..]]).expect("a handshake");
    client.obtain_token();
    drop(client);
    let [record] = &records(&relay, 1)[..] else {
        unreachable!("there is one")
    };
    assert_eq!(record["peer"], "203.0.113.7:40001");
    assert_eq!(record["host"], relay.host);
    let times = ["start", "end"].map(|when| record[when].as_str().expect("a time").to_owned());
    assert!(times[0] <= times[1] && times[0].ends_with('Z'), "{times:?}");
}
