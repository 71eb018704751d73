//! SIGTERM while everybody sends (CON-12, CON-14): whatever was acknowledged was delivered, or is reported.
//!
//! Many small relays at a time, each drained once; the tests of one receiver and number of shards do so twenty times.

use std::collections::HashSet;
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::records;
use crate::support::client::{Client, Ending, Nothing};
use crate::support::link::Link;
use crate::support::message::{Draft, response};
use crate::support::random::heavy;
use crate::support::relay::{Relay, Setup};

/// Each with a relay of its own.
const ROUNDS: usize = 20;
/// Of them, at the same time.
const AT_ONCE: usize = 4;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// A drain ends within a second after `drain_timeout`; with allowance for a busy machine.
const END_MAX: Duration = Duration::from_millis(4500);
/// Sent and not yet answered.
const WINDOW: usize = 16;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Receiver {
    KeepsUp,
    Slow,
    /// Reads nothing before the relay has ended.
    Stands,
}

#[test]
fn nothing_is_lost_silently_if_receivers_keep_up() {
    twenty_times(Receiver::KeepsUp);
}

#[test]
fn nothing_is_lost_silently_if_receivers_are_slow() {
    twenty_times(Receiver::Slow);
}

#[test]
fn nothing_is_lost_silently_if_receivers_stand_still() {
    twenty_times(Receiver::Stands);
}

fn twenty_times(receiver: Receiver) {
    let _turn = heavy();
    for workers in [1, 2] {
        let rounds: Vec<usize> = (0..ROUNDS).collect();
        let mut acknowledged = 0;
        for together in rounds.chunks(AT_ONCE) {
            thread::scope(|scope| {
                let round = |round| scope.spawn(move || drained(receiver, workers, round));
                let threads: Vec<_> = together.iter().map(|n| round(*n)).collect();
                for thread in threads {
                    acknowledged += thread.join().expect("a round that went well");
                }
            });
        }
        println!("{receiver:?}, workers = {workers}: {acknowledged} messages acknowledged");
        assert!(acknowledged > ROUNDS, "there was load");
    }
}

/// One relay from start to end; how many messages were acknowledged.
fn drained(receiver: Receiver, workers: i64, round: usize) -> usize {
    let relay = Setup::new()
        .set("relay.workers", workers)
        .set("relay.drain_timeout", "2s")
        .set("records.file", "sessions.jsonl")
        .start();
    let links = [Link::inbound_tcp(&relay), Link::neighbours(&relay)];
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let threads = links.map(|Link { a, p, to_p, .. }| {
            let sender = scope.spawn(move || sends(a, &to_p));
            let over = &over;
            (sender, scope.spawn(move || receives(p, receiver, over)))
        });
        let knocking = scope.spawn(|| knocks(&relay));
        thread::sleep(Duration::from_millis(60 + 13 * round as u64));
        let begun = Instant::now();
        relay.signal(libc::SIGTERM);
        let status = relay.exit_within(END_MAX);
        let took = begun.elapsed();
        over.store(true, Ordering::Relaxed);
        assert_eq!(status.code(), Some(0), "{}", relay.log());
        if receiver != Receiver::Stands {
            assert!(took < END_MAX, "{took:?}");
        }
        knocking.join().expect("nobody was reset");
        let (mut acknowledged, mut octets) = (0, 0);
        for (sender, receiver) in threads {
            let sent = sender.join().expect("a sender that went well");
            let delivered = receiver.join().expect("a receiver that went well");
            for id in &sent.acknowledged {
                let known = delivered.contains(id) || sent.reported.contains(id);
                assert!(
                    known,
                    "round {round}: {id} was lost silently\n{}",
                    relay.log()
                );
            }
            acknowledged += sent.acknowledged.len();
            octets += sent.octets;
        }
        // Both who sent have sessions, and one who received.
        let records = records::read(&relay.dir().join("sessions.jsonl"));
        assert_eq!(records.len(), 3, "round {round}: {records:?}");
        let sums = ["messages", "octets"].map(|field| records::sum(&records, "sent", field));
        assert_eq!(sums, [acknowledged as u64, octets], "round {round}");
        acknowledged
    })
}

#[derive(Default)]
struct Sent {
    acknowledged: HashSet<String>,
    /// Of the messages acknowledged.
    octets: u64,
    reported: HashSet<String>,
}

/// Sends until the relay closes the connection, which it does in order and between two messages.
fn sends(mut a: Client, to_p: &str) -> Sent {
    let mut sent = Sent::default();
    let mut open: Vec<(String, String, usize)> = Vec::new();
    let mut pending = Vec::new();
    let mut number = 0_usize;
    loop {
        if pending.is_empty() && open.len() < WINDOW {
            number += 1;
            let text = "x".repeat(300 + number * 1777 % 20_000);
            let draft = Draft::send(to_p, &a.uri).text(&text);
            open.push((draft.tid.clone(), draft.message_id.clone(), text.len()));
            pending = draft.octets();
        }
        let written = a.write(&pending, Duration::from_millis(5));
        pending.drain(..written);
        let message = match a.receive(Duration::from_millis(1)) {
            Ok(message) => message,
            Err(Nothing::Timeout) => continue,
            Err(Nothing::Ended(ending)) => {
                assert_eq!(ending, Ending::Clean);
                assert!(a.is_between_messages(), "a chunk without end-line");
                return sent;
            }
        };
        if let Some(code) = message.code() {
            if let Some(at) = open.iter().position(|(tid, ..)| *tid == message.tid) {
                let (_, id, octets) = open.remove(at);
                if code == 200 {
                    sent.octets += octets as u64;
                    sent.acknowledged.insert(id);
                }
            }
        } else if message.method() == Some("REPORT")
            && let Some(id) = message.message_id()
        {
            sent.reported.insert(id.to_owned());
        }
    }
}

/// Whole messages that came.
fn receives(mut p: Client, kind: Receiver, over: &AtomicBool) -> HashSet<String> {
    let mut delivered = HashSet::new();
    while kind == Receiver::Stands && !over.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(10));
    }
    loop {
        match p.receive(Duration::from_millis(500)) {
            Ok(message) if message.method() == Some("SEND") => {
                if kind == Receiver::Slow {
                    thread::sleep(Duration::from_millis(3));
                }
                let answer = response(&message, "200 OK");
                p.write(&answer, Duration::from_millis(100));
                if message.flag == b'$' {
                    delivered.extend(message.message_id().map(str::to_owned));
                }
            }
            Ok(_) | Err(Nothing::Timeout) => {}
            Err(Nothing::Ended(ending)) => {
                if kind != Receiver::Stands {
                    assert_eq!(ending, Ending::Clean);
                    assert!(p.is_between_messages(), "a chunk without end-line");
                }
                return delivered;
            }
        }
    }
}

/// Connects until nobody is let in any more. Whoever got in is closed in order.
fn knocks(relay: &Relay) {
    let mut connected = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&relay.tcp, Duration::from_millis(300)) {
        connected.push(stream);
        thread::sleep(Duration::from_millis(1));
    }
    assert!(!connected.is_empty());
    for mut stream in connected {
        let patience = Some(DRAIN_TIMEOUT + END_MAX);
        stream.set_read_timeout(patience).expect("a timeout");
        match stream.read(&mut [0; 64]) {
            Ok(0) => {}
            Ok(_) => panic!("nothing was asked for"),
            Err(error) => assert_ne!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
        }
    }
}
