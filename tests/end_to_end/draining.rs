//! SIGTERM (CON-12, CON-14).

use std::thread;
use std::time::{Duration, Instant};

use crate::pair::{across, two_shards};
use crate::records;
use crate::support::client::{Client, Ending, SOON};
use crate::support::message::{Draft, response};
use crate::support::random::heavy;
use crate::support::relay::{Relay, Setup};

const IDLE: usize = 1000;
/// Who authenticate, and later read, at the same time.
const THREADS: usize = 8;

#[test]
fn drain_waits_for_what_is_held_on_the_other_shard() {
    let _turn = heavy();
    let relay = two_shards();
    let mut link = across(&relay);
    let held = link.draft().text("wait for my answer");
    let got = link.pass(&held);
    assert_eq!(link.a.response_to(&held.tid).code(), Some(200));

    relay.signal(libc::SIGTERM);
    becomes_unready(&relay);
    let late = link.draft().text("too late");
    link.a.send(late.octets());
    assert_eq!(link.a.response_to(&late.tid).code(), Some(481));
    let auth = link.p.auth(&[]);
    assert_eq!(auth.code(), Some(408));
    assert_eq!(relay.get("/readyz").map(|(code, _)| code), Some(503));

    link.p.send(response(&got, "200 OK"));
    assert_eq!(link.a.closed(), Ending::Clean);
    assert_eq!(link.p.closed(), Ending::Clean);
    drop(link);
    assert_eq!(relay.exit_within(Duration::from_secs(5)).code(), Some(0));
}

#[test]
fn drain_with_1000_idle_sessions_takes_less_than_2_s() {
    let _turn = heavy();
    let relay = Setup::new()
        .set("relay.workers", 2)
        .set("records.file", "sessions.jsonl")
        .start();
    let clients: Vec<Vec<Client>> = thread::scope(|scope| {
        let alice = || {
            (0..IDLE / THREADS)
                .map(|_| Client::authenticated(&relay, "alice"))
                .collect()
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(alice)).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    relay.metric_becomes("msrpd_sessions", &[], |sessions| sessions == IDLE as f64);

    let began = Instant::now();
    relay.signal(libc::SIGTERM);
    becomes_unready(&relay);
    thread::scope(|scope| {
        for clients in clients {
            scope.spawn(|| {
                for mut client in clients {
                    assert_eq!(client.closed(), Ending::Clean);
                }
            });
        }
    });
    let status = relay.exit_within(SOON);
    let took = began.elapsed();
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(2), "{took:?}");
    let records = records::read(&relay.dir().join("sessions.jsonl"));
    assert_eq!(records.len(), IDLE, "each has its record by then");
}

#[test]
fn second_sigterm_ends_at_once() {
    let _turn = heavy();
    let relay = two_shards();
    let mut link = across(&relay);
    let held: Draft = link.draft().text("never answered");
    link.pass(&held);
    relay.signal(libc::SIGTERM);
    becomes_unready(&relay);
    relay.signal(libc::SIGTERM);
    let status = relay.exit_within(Duration::from_secs(1));
    assert_eq!(status.code(), Some(3));
}

/// Waits for the 503 of `/readyz`; while the relay runs it answers one way or the other.
fn becomes_unready(relay: &Relay) {
    let end = Instant::now() + SOON;
    while relay.get("/readyz").expect("the relay still answers").0 != 503 {
        assert!(Instant::now() < end, "/readyz stays 200");
    }
}
