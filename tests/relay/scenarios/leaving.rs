//! What ends at once and is much ends in many turns, and others are served between (SEC-06, RPT-14).
//! Work is counted in what a turn ends, not in time.

use std::time::Duration;

use msrpd::relay::Transport;
use msrpload::codec::Builder;

use crate::setup::{AUTH_URI, answer, auth, client, client_uri, foreign, last, respond, whole};
use crate::world::{Options, World};

use super::memory::by_own_path;

/// What a turn may end of each kind, twice over: it may end flows and transactions.
const AT_ONCE: u64 = 512;

fn world() -> World {
    let mut options = Options::default();
    options.settings.limits.remembered_octets_per_connection = 1 << 30;
    World::unchecked(options)
}

fn reported(world: &World) -> u64 {
    world.shards[0].metrics().ledger.reported
}

/// Turns until nothing is due at once. After each, what `check` says.
fn turns(world: &mut World, mut check: impl FnMut(&mut World)) -> usize {
    let mut turns = 0;
    while world.shards[0]
        .next_timeout()
        .is_some_and(|due| due <= world.now)
    {
        world.time_out();
        turns += 1;
        check(world);
        assert!(turns < 10_000, "it does not end");
    }
    turns
}

/// RPT-14, SEC-06: 16,384 paths lead to a receiver that is lost, with a SEND on each that waits for its answer. Each turn
/// reports a part of them, all are reported once, and a chat beside is served meanwhile.
#[test]
fn rpt_14_what_a_lost_receiver_owed_is_reported_in_many_turns() {
    const PATHS: usize = 16_384;
    let mut world = world();
    let a = client(&mut world, 0, "a");
    let b = client(&mut world, 0, "b");
    let c = client(&mut world, 0, "c");
    let m = foreign(&mut world, 0, "m");
    for number in 0..PATHS {
        world.write(m.peer, &by_own_path(&a, &m.uri, number, "yes"));
    }
    world.run();
    assert_eq!(world.messages(m.peer).len(), PATHS, "each has its 200");
    assert_eq!(world.messages(a.peer).len(), PATHS);
    let ledger = world.shards[0].metrics().ledger.clone();
    assert_eq!((ledger.held, ledger.reported), (PATHS as u64, 0));
    world.reset(a.peer);
    assert!(reported(&world) <= AT_ONCE, "{}", reported(&world));
    let mut before = (reported(&world), world.shards[0].remembered());
    let mut chats = 0;
    let count = turns(&mut world, |world| {
        let now = (reported(world), world.shards[0].remembered());
        assert!(now.0 - before.0 <= AT_ONCE, "{} to {}", before.0, now.0);
        let freed = before.1.saturating_sub(now.1);
        assert!(freed <= AT_ONCE as usize * 8_192, "{freed}");
        before = now;
        if chats < 20 {
            let id = format!("c{chats}");
            world.write(b.peer, &whole(&b, &c, &id, "yes", b"hi"));
            world.run();
            let chat = last(world, c.peer);
            assert_eq!(chat.body(), b"hi");
            respond(world, c.peer, &chat, 200);
            assert_eq!(last(world, b.peer).code(), Some(200));
            chats += 1;
        }
        world.run();
    });
    assert!(count >= 2 * PATHS / AT_ONCE as usize, "{count} turns");
    assert_eq!(chats, 20);
    let reports = world.messages(m.peer);
    assert_eq!(reports.len(), PATHS, "one for each");
    assert_eq!(reported(&world), PATHS as u64);
    assert_eq!(
        reports[0].header("Message-ID"),
        Some("m0"),
        "the oldest first"
    );
    world.end();
}

/// RPT-14: the same for what is queued for a receiver that does not read.
#[test]
fn rpt_14_what_is_queued_for_a_lost_receiver_is_reported_in_many_turns() {
    const PATHS: usize = 8192;
    let mut world = world();
    let a = client(&mut world, 0, "a");
    let m = foreign(&mut world, 0, "m");
    world.sockets[a.peer].reading = false;
    for number in 0..PATHS {
        world.write(m.peer, &by_own_path(&a, &m.uri, number, "yes"));
    }
    world.run();
    let taken = world.messages(m.peer).len();
    world.reset(a.peer);
    let mut before = reported(&world);
    assert!(before <= AT_ONCE, "{before}");
    turns(&mut world, |world| {
        let now = reported(world);
        assert!(now - before <= AT_ONCE, "{before} to {now}");
        before = now;
        world.run();
    });
    assert_eq!(reported(&world), taken as u64);
    world.end();
}

/// RPT-02, TMR-01: requests whose answers are overdue at the same moment are reported in many turns.
#[test]
fn rpt_02_answers_that_are_overdue_together_are_reported_in_many_turns() {
    const PATHS: usize = 4096;
    let mut world = world();
    let a = client(&mut world, 0, "a");
    let m = foreign(&mut world, 0, "m");
    for number in 0..PATHS {
        world.write(m.peer, &by_own_path(&a, &m.uri, number, "yes"));
    }
    world.run();
    world.messages(m.peer);
    world.now += Duration::from_secs(31);
    let mut before = reported(&world);
    let count = turns(&mut world, |world| {
        let now = reported(world);
        assert!(now - before <= AT_ONCE, "{before} to {now}");
        before = now;
        world.run();
    });
    assert!(count >= PATHS / AT_ONCE as usize, "{count} turns");
    assert_eq!(reported(&world), PATHS as u64);
    world.end();
}

/// UPT-08: the many URIs of a client that is lost end in many turns; none of them leads anywhere from the first on.
#[test]
fn upt_08_many_uris_of_a_lost_client_end_in_many_turns() {
    const SESSIONS: usize = 2000;
    let mut world = world();
    let b = client(&mut world, 0, "b");
    let peer = world.connect(0, Transport::Tls);
    let uri = client_uri("a");
    let mut tokens = Vec::new();
    for _ in 0..SESSIONS {
        world.write(peer, &auth(&uri, &[AUTH_URI], "auth1", None, None));
        world.run();
        let authorization = answer(&last(&mut world, peer), AUTH_URI, 1);
        let auth = auth(&uri, &[AUTH_URI], "auth2", None, Some(&authorization));
        world.write(peer, &auth);
        world.run();
        let granted = last(&mut world, peer);
        tokens.push(granted.header("Use-Path").expect("a URI").to_owned());
    }
    world.reset(peer);
    let left = world.shards[0].sessions();
    assert!((SESSIONS - 512..SESSIONS).contains(&left), "{left}");
    for token in [&tokens[0], &tokens[SESSIONS - 1]] {
        let send = Builder::request("tid1", "SEND")
            .to_path(&[&b.token, token, &uri])
            .from_path(&[&b.uri])
            .header("Message-ID", "m1")
            .header("Byte-Range", "1-1/1")
            .body(b"x");
        world.write(b.peer, &send.encode());
        world.run();
        assert_eq!(last(&mut world, b.peer).code(), Some(481));
    }
    let mut before = left;
    let count = turns(&mut world, |world| {
        let now = world.shards[0].sessions();
        assert!(before - now <= 512, "{before} to {now}");
        before = now;
    });
    assert_eq!((count, before), (3, 1));
    world.end();
}

/// CON-10: a connection that ends in order with much to fail does it in many turns as well, and goes
/// once it is done.
#[test]
fn con_10_a_close_in_order_ends_much_in_many_turns() {
    const PATHS: usize = 4096;
    let mut world = world();
    let a = client(&mut world, 0, "a");
    let m = foreign(&mut world, 0, "m");
    for number in 0..PATHS {
        world.write(m.peer, &by_own_path(&a, &m.uri, number, "yes"));
    }
    world.run();
    world.messages(m.peer);
    world.messages(a.peer);
    world.shut(a.peer);
    world.run();
    let mut before = reported(&world);
    assert!(before <= AT_ONCE, "{before}");
    assert!(world.sockets[a.peer].alive());
    turns(&mut world, |world| {
        let now = reported(world);
        assert!(now - before <= AT_ONCE, "{before} to {now}");
        before = now;
        world.run();
    });
    assert_eq!(reported(&world), PATHS as u64);
    assert!(!world.sockets[a.peer].alive());
    world.end();
}
