//! Connections that end with very many routes: the relay and everybody else on it stay.

use std::thread;
use std::time::Duration;

use crate::pair::chat;
use crate::support::client::{Client, Ending};
use crate::support::link::Link;
use crate::support::message::Draft;
use crate::support::random::heavy;
use crate::support::relay::{Relay, Setup};

/// As many as one connection may have.
const ROUTES: usize = 16_384;
/// How long a loaded machine may take to forward so many.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two shards, and room for all the paths of one connection.
fn roomy() -> Relay {
    Setup::new()
        .set("relay.workers", 2)
        .set("limits.remembered_octets_per_connection", 1 << 30)
        .start()
}

/// Somebody without an account who knows the token of P, and has sent by so many paths.
fn stranger(relay: &Relay, link: &mut Link) -> Client {
    let mut stranger = Client::tls(relay);
    let (authority, _) = link.p.uri.rsplit_once('/').expect("a session-id");
    let mut octets = Vec::new();
    for number in 0..ROUTES {
        let to = format!("{} {authority}/r{number};tcp", link.p.token);
        let send = Draft::send(&to, &stranger.uri).failure_report("no");
        octets.extend_from_slice(&send.text("x").octets());
    }
    let p = &mut link.p;
    thread::scope(|scope| {
        let reads = scope.spawn(move || {
            for _ in 0..ROUTES {
                p.expect_within(PATIENCE);
            }
        });
        stranger.send(&octets);
        reads.join().expect("the receiver gets all of them");
    });
    stranger
}

/// SEC-07, CON-10: somebody without an account who knows a live token sends by 16,384 paths and
/// leaves, in order or not, from either shard. It is closed once and nobody else hears of it.
#[test]
fn sec_07_a_stranger_with_many_routes_ends_nothing_but_its_connection() {
    let _turn = heavy();
    let relay = roomy();
    let mut link = Link::neighbours(&relay);
    chat(&mut link, "before");
    let closed = |reason: &str| {
        let label = format!("reason=\"{reason}\"");
        relay.metric("msrpd_connections_closed_total", &[&label])
    };
    for round in 0..4 {
        let in_order = round < 2;
        let mut stranger = stranger(&relay, &mut link);
        let (ended, lost) = (closed("end_of_stream"), closed("lost"));
        if in_order {
            stranger.half_close();
            assert_eq!(stranger.closed_within(PATIENCE), Ending::Clean);
            assert_eq!(closed("end_of_stream") - ended, 1.0);
        } else {
            stranger.reset();
            let labels = ["reason=\"lost\""];
            relay.metric_becomes("msrpd_connections_closed_total", &labels, |now| now > lost);
            assert_eq!(closed("lost") - lost, 1.0);
        }
        chat(&mut link, "after");
    }
    drop(link);
    relay.assert_ledger_is_settled();
}

/// CON-12: the same routes are open when the relay is told to end, and it does so in order.
#[test]
fn con_12_a_drain_with_many_routes_open_exits_with_0() {
    let _turn = heavy();
    let relay = roomy();
    let mut link = Link::neighbours(&relay);
    let mut stranger = stranger(&relay, &mut link);
    relay.signal(libc::SIGTERM);
    assert_eq!(stranger.closed_within(PATIENCE), Ending::Clean);
    assert_eq!(link.p.closed_within(PATIENCE), Ending::Clean);
    assert_eq!(relay.exit_within(PATIENCE).code(), Some(0));
}
