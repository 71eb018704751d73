//! Sinks that take nothing, too little, or go away.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::thread::{sleep, spawn};
use std::time::Instant;

use super::*;
use crate::metrics::{CloseReason, Traffic};
use crate::relay::{EndCause, SessionRecord};

const SOON: Duration = Duration::from_secs(20);

fn record(number: u64) -> Box<SessionRecord> {
    let now = Instant::now();
    Box::new(SessionRecord {
        began: now,
        ended: now,
        user: Arc::from("alice"),
        realm: Arc::from("example.com"),
        peer: None,
        relay: None,
        cause: EndCause::Closed(CloseReason::Lost),
        sent: Traffic {
            octets: number,
            ..Traffic::default()
        },
        received: Traffic::default(),
    })
}

fn sink(target: Target, depth: usize) -> (Sink, Arc<RecordCounts>) {
    let counts = Arc::<RecordCounts>::default();
    let sink = Sink::start(target, depth, "relay.test".to_owned(), counts.clone());
    (sink.expect("a sink"), counts)
}

fn becomes(what: &str, mut wanted: impl FnMut() -> bool) {
    let until = Instant::now() + SOON;
    while !wanted() {
        assert!(Instant::now() < until, "{what}");
        sleep(Duration::from_millis(5));
    }
}

/// The numbers of the records in whole lines; what is no JSON is skipped.
fn numbers(text: &str) -> Vec<u64> {
    text.lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .map(|line| line["sent"]["octets"].as_u64().expect("a number"))
        .collect()
}

fn read(path: &Path) -> Vec<u64> {
    numbers(&std::fs::read_to_string(path).unwrap_or_default())
}

/// Sends records until the sink is down and more are lost; says how many were sent. The sender is never held up for long,
/// whoever reads.
fn overfill(sink: &Sink, counts: &RecordCounts) -> u64 {
    let records = sink.records();
    let until = Instant::now() + SOON;
    let mut sent = 0;
    let mut lost_since_down = 0;
    while lost_since_down < 100 {
        assert!(Instant::now() < until, "nothing is ever lost");
        let before = totals(counts);
        let began = Instant::now();
        records.send(record(sent));
        assert!(began.elapsed() < Duration::from_secs(2), "a shard waited");
        sent += 1;
        let lost = totals(counts).lost > before.lost;
        lost_since_down += u32::from(lost && !before.up);
        if lost && before.up {
            sleep(Duration::from_millis(1));
        }
    }
    sent
}

/// Every record that was sent is written, waits, or is lost.
fn accounted(counts: &RecordCounts, sent: u64) {
    becomes("records vanish", || {
        let totals = totals(counts);
        totals.written + totals.waiting + totals.lost == sent
    });
}

#[test]
fn a_socket_that_nobody_reads_costs_what_does_not_fit_the_queue() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("collector");
    let listener = UnixListener::bind(&path).expect("a socket");
    let (sink, counts) = sink(Target::Socket(path), 64);
    let sent = overfill(&sink, &counts);
    accounted(&counts, sent);
    // Somebody reads after all: what waited comes, each record once and whole.
    let (stream, _) = listener.accept().expect("a connection");
    let reader = spawn(move || {
        let mut text = String::new();
        BufReader::new(stream)
            .read_to_string(&mut text)
            .expect("lines");
        text
    });
    becomes("it stays down", || totals(&counts).up);
    becomes("they wait for ever", || totals(&counts).waiting == 0);
    sink.records().send(record(u64::MAX));
    becomes("the last one waits", || totals(&counts).waiting == 0);
    sink.finish(SOON);
    let got = numbers(&reader.join().expect("a reader"));
    let totals = totals(&counts);
    assert_eq!(got.len() as u64, totals.written);
    assert_eq!(totals.written + totals.lost, sent + 1);
    assert!(got.is_sorted_by(|one, next| one < next));
    assert_eq!(got.last(), Some(&u64::MAX));
}

#[test]
fn a_pipe_that_nobody_reads_costs_what_does_not_fit_the_queue() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pipe");
    let made = Command::new("mkfifo").arg(&path).status().expect("mkfifo");
    assert!(made.success());
    assert!(matches!(
        probe(&Target::File(path.clone())),
        Ok(Probed::NobodyThere(_))
    ));
    let (sink, counts) = sink(Target::File(path.clone()), 64);
    let sent = overfill(&sink, &counts);
    accounted(&counts, sent);
    let pipe = std::fs::File::open(&path).expect("a reader");
    let first = BufReader::new(pipe)
        .lines()
        .next()
        .expect("a line")
        .expect("text");
    assert_eq!(numbers(&first), [0]);
}

#[test]
fn a_full_disk_costs_what_does_not_fit_the_queue() {
    let (sink, counts) = sink(Target::File("/dev/full".into()), 64);
    let sent = overfill(&sink, &counts);
    accounted(&counts, sent);
    assert_eq!(totals(&counts).written, 0);
    // It does not hold up the end, and what waited is lost then.
    let began = Instant::now();
    sink.finish(SOON);
    assert!(began.elapsed() < SOON / 2, "{:?}", began.elapsed());
    assert_eq!((totals(&counts).lost, totals(&counts).waiting), (sent, 0));
}

#[test]
fn a_file_is_opened_again_under_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let [path, moved] = ["records", "records.1"].map(|name| folder.path().join(name));
    let (sink, counts) = sink(Target::File(path.clone()), 1024);
    let records = sink.records();
    for number in 0..100 {
        records.send(record(number));
    }
    becomes("they wait for ever", || totals(&counts).waiting == 0);
    std::fs::rename(&path, &moved).expect("renamed");
    records.send(record(100));
    becomes("it waits for ever", || totals(&counts).waiting == 0);
    sink.reopen();
    becomes("no new file", || path.exists());
    for number in 101..200 {
        records.send(record(number));
    }
    sink.finish(SOON);
    assert_eq!(read(&moved), (0..=100).collect::<Vec<_>>());
    assert_eq!(read(&path), (101..200).collect::<Vec<_>>());
    assert_eq!((totals(&counts).written, totals(&counts).lost), (200, 0));
}

#[test]
fn a_line_that_was_cut_short_takes_no_other_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("records");
    std::fs::write(&path, "{\"version\":1,\"sent\":{\"oct").expect("written");
    let (sink, _) = sink(Target::File(path.clone()), 16);
    sink.records().send(record(7));
    sink.finish(SOON);
    assert_eq!(read(&path), [7]);
    let text = std::fs::read_to_string(&path).expect("read");
    assert_eq!(text.lines().count(), 2, "{text}");
}

#[test]
fn a_collector_that_comes_later_or_again_gets_what_waited() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("collector");
    let target = Target::Socket(path.clone());
    assert!(matches!(probe(&target), Ok(Probed::NobodyThere(_))));
    let (sink, counts) = sink(target.clone(), 1024);
    let records = sink.records();
    records.send(record(0));
    becomes("it counts as up", || !totals(&counts).up);
    let mut got = Vec::new();
    for round in 1..3 {
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).expect("a socket");
        let (stream, _) = listener.accept().expect("a connection");
        records.send(record(round));
        let mut lines = BufReader::new(stream).lines();
        while got.last() != Some(&round) {
            got.extend(numbers(&lines.next().expect("a line").expect("text")));
        }
        // It goes away, and that is seen at the next record.
        drop((lines, listener));
        records.send(record(100 + round));
        becomes("it counts as up", || !totals(&counts).up);
    }
    assert_eq!(got, [0, 1, 101, 2], "nothing was lost");
    assert_eq!(totals(&counts).lost, 0);
}

#[test]
fn what_can_never_take_a_record_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("file"), "").expect("written");
    let _listener = UnixListener::bind(at("socket")).expect("a socket");
    for target in [
        Target::File(folder.path().to_owned()),
        Target::File(at("no/such/folder")),
        Target::File(at("socket")),
        Target::Socket(at("file")),
        Target::Socket(at("no/such/folder")),
    ] {
        assert!(probe(&target).is_err(), "{target:?}");
    }
    let new = at("new");
    assert!(matches!(
        probe(&Target::File(new.clone())),
        Ok(Probed::Good)
    ));
    assert!(!new.exists(), "a look leaves nothing behind");
}
