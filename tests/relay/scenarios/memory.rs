//! What a remote side makes the relay remember counts against one total, with a share for each
//! connection; the rest is refused, and others go on (SEC-06, SEC-07).

use std::time::Duration;

use msrpd::metrics::RefusalReason;
use msrpd::relay::Transport;
use msrpload::codec::{Builder, Message};

use crate::relays::{FAR, R2_URI, dial_in, end_sessions};
use crate::setup::{AUTH_URI, Client, answer, auth, authenticate, client, foreign, last, whole};
use crate::world::{Options, Peer, World};

const SHARE: usize = 1 << 20;

fn world() -> World {
    let mut options = Options::default();
    options.settings.limits.remembered_octets_per_connection = SHARE;
    World::unchecked(options)
}

pub(super) fn refused(world: &World) -> u64 {
    let shards = world.shards.iter();
    shards
        .map(|shard| shard.metrics().refused(RefusalReason::Memory))
        .sum()
}

/// One octet under the token of `a`, by a path of its own.
pub(super) fn by_own_path(a: &Client, from: &str, number: usize, wish: &str) -> Vec<u8> {
    let (authority, _) = a.uri.rsplit_once('/').expect("a session-id");
    let last = format!("{authority}/r{number};tcp");
    Builder::request(&format!("tid{number}"), "SEND")
        .to_path(&[&a.token, &last])
        .from_path(&[from])
        .header("Message-ID", &format!("m{number}"))
        .header("Byte-Range", "1-1/1")
        .header("Failure-Report", wish)
        .header("Content-Type", "text/plain")
        .body(b"x")
        .encode()
}

pub(super) fn codes(messages: &[Message], code: u16) -> usize {
    messages.iter().filter(|m| m.code() == Some(code)).count()
}

/// SEC-07: paths that nothing is on its way by make room for new ones: nobody is refused, and the
/// connection holds its share.
#[test]
fn sec_07_idle_paths_make_room_within_the_share() {
    let mut world = world();
    let a = client(&mut world, 0, "a");
    let m = foreign(&mut world, 0, "m");
    for number in 0..4000 {
        world.write(m.peer, &by_own_path(&a, &m.uri, number, "no"));
    }
    world.run();
    assert_eq!(world.messages(a.peer).len(), 4000);
    assert_eq!(refused(&world), 0);
    let remembered = world.shards[0].remembered();
    assert!(remembered < SHARE + 65_536, "{remembered}");
    world.end();
}

/// SEC-07: paths that all have something on their way are refused beyond the share, and somebody
/// else's are not.
#[test]
fn sec_07_busy_paths_beyond_the_share_are_refused() {
    let mut world = world();
    let a = client(&mut world, 0, "a");
    let b = client(&mut world, 0, "b");
    let m = foreign(&mut world, 0, "m");
    world.sockets[a.peer].reading = false;
    for number in 0..4000 {
        world.write(m.peer, &by_own_path(&a, &m.uri, number, "yes"));
    }
    world.run();
    let answers = world.messages(m.peer);
    let stopped = codes(&answers, 413);
    assert!(stopped > 1000, "{stopped} of 4000");
    assert_eq!(refused(&world), stopped as u64);
    let remembered = world.shards[0].remembered();
    assert!(remembered < 3 * SHARE, "{remembered}");
    world.write(b.peer, &whole(&b, &b, "m1", "yes", b"hi"));
    world.run();
    assert_eq!(codes(&world.messages(b.peer), 413), 0);
    world.end();
}

/// SEC-07, TMR-01: chunks that a receiver leaves unanswered are refused beyond its share, with
/// whatever Failure-Report takes an answer, and 30 s later there is room again.
#[test]
fn sec_07_unanswered_chunks_beyond_the_share_are_refused() {
    for wish in ["yes", "partial"] {
        let mut world = world();
        let a = client(&mut world, 0, "a");
        let b = client(&mut world, 0, "b");
        for number in 0..2000 {
            // Of its own path each: none has an older one to forget.
            world.write(b.peer, &by_own_path(&a, &b.uri, number, wish));
        }
        world.run();
        let answers = world.messages(b.peer);
        let stopped = codes(&answers, 413);
        assert!(stopped > 500, "{wish}: {stopped} of 2000");
        assert_eq!(refused(&world), stopped as u64, "{wish}");
        let remembered = world.shards[0].remembered();
        assert!(remembered < 3 * SHARE, "{wish}: {remembered}");
        world.advance(Duration::from_secs(31));
        world.messages(b.peer);
        world.write(b.peer, &by_own_path(&a, &b.uri, 1, wish));
        world.run();
        assert_eq!(codes(&world.messages(b.peer), 413), 0, "{wish}");
        world.end();
    }
}

/// SEC-07: a verified relay carries many, and has no share.
#[test]
fn sec_07_a_relay_has_no_share() {
    let mut world = world();
    let a = client(&mut world, 0, "a");
    let link = dial_in(&mut world, 0);
    for number in 0..2000 {
        let octets = by_own_path(&a, &format!("{R2_URI} {FAR}"), number, "no");
        world.write(link, &octets);
    }
    world.run();
    for number in 0..2000 {
        let send = Builder::request(&format!("tid{number}"), "SEND")
            .to_path(&[&a.token, R2_URI, FAR])
            .from_path(&[&a.uri])
            .header("Message-ID", &format!("m{number}"))
            .header("Byte-Range", "1-1/1")
            .header("Content-Type", "text/plain")
            .body(b"x");
        world.write(a.peer, &send.encode());
    }
    world.run();
    assert_eq!(refused(&world), 0);
    end_sessions(world);
}

/// SEC-07, UPT-06: Use-Path URIs with long From-Paths fill a connection's share; then AUTH gets 403.
#[test]
fn sec_07_sessions_with_long_paths_fill_a_share() {
    let mut world = world();
    let peer = world.connect(0, Transport::Tls);
    let uri = format!("msrps://a.invalid:2855/{};tcp", "s".repeat(8_000));
    let granted = (0..).take_while(|_| ask(&mut world, peer, &uri) == Some(200));
    let granted = granted.count();
    assert!((105..=118).contains(&granted), "{granted}");
    assert_eq!(refused(&world), 1);
    let shard = &world.shards[0];
    assert!(shard.remembered() - shard.remembered_in_tables() <= SHARE);
    world.end();
}

/// The code of a whole digest exchange.
fn ask(world: &mut World, peer: Peer, uri: &str) -> Option<u16> {
    world.write(peer, &auth(uri, &[AUTH_URI], "auth1", None, None));
    world.run();
    let authorization = answer(&last(world, peer), AUTH_URI, 1);
    let auth = auth(uri, &[AUTH_URI], "auth2", None, Some(&authorization));
    world.write(peer, &auth);
    world.run();
    last(world, peer).code()
}

/// SEC-06: with the total in use whoever holds much is refused, and whoever holds little goes on.
#[test]
fn sec_06_the_total_is_for_those_who_hold_little() {
    let mut options = Options::default();
    options.settings.limits.remembered_octets_total = SHARE;
    let mut world = World::unchecked(options);
    let a = client(&mut world, 0, "a");
    let b = client(&mut world, 0, "b");
    let c = client(&mut world, 0, "c");
    let m = foreign(&mut world, 0, "m");
    world.sockets[a.peer].reading = false;
    for number in 0..2000 {
        world.write(m.peer, &by_own_path(&a, &m.uri, number, "yes"));
    }
    world.run();
    assert!(codes(&world.messages(m.peer), 413) > 500);
    for number in 0..3 {
        let id = format!("m{number}");
        world.write(b.peer, &whole(&b, &c, &id, "yes", b"hi"));
        world.run();
        assert_eq!(last(&mut world, b.peer).code(), Some(200));
        assert_eq!(last(&mut world, c.peer).body(), b"hi");
    }
    world.end();
}

/// UPT-06, UPT-13: a URI ends when its last AUTH said, later or earlier than the one before.
#[test]
fn upt_06_a_uri_ends_when_its_last_auth_said() {
    for (first, then) in [(60, 600), (600, 60)] {
        let mut world = World::new(Options::default());
        let peer = world.connect(0, Transport::Tls);
        let uri = "msrps://a.invalid:2855/sa;tcp";
        let token = authenticate(&mut world, peer, uri, Some(first));
        for round in 0..20 {
            let expires = if round == 19 { then } else { first + round };
            world.write(peer, &auth(uri, &[&token], "auth1", Some(expires), None));
            world.run();
            let authorization = answer(&last(&mut world, peer), &token, 1);
            let auth = auth(uri, &[&token], "auth2", Some(expires), Some(&authorization));
            world.write(peer, &auth);
            world.run();
            assert_eq!(last(&mut world, peer).code(), Some(200));
        }
        let then = u64::from(then);
        world.advance(Duration::from_secs(then - 1));
        assert_eq!(world.shards[0].sessions(), 1);
        world.advance(Duration::from_secs(1));
        assert_eq!(world.shards[0].sessions(), 0);
        world.end();
    }
}

/// SYN-19, SYN-25: a host of more than 253 octets is none.
#[test]
fn syn_25_a_host_name_has_at_most_253_octets() {
    let mut world = World::new(Options::default());
    let a = client(&mut world, 0, "a");
    for (octets, code) in [(253, 200), (254, 400)] {
        let host = "h".repeat(octets);
        let to = format!("msrps://{host}:2855/x;tcp");
        let send = Builder::request("tid1", "SEND")
            .to_path(&[&a.token, &to])
            .from_path(&[&a.uri])
            .header("Message-ID", "m1")
            .header("Byte-Range", "1-1/1")
            .header("Content-Type", "text/plain")
            .body(b"x");
        world.write(a.peer, &send.encode());
        world.run();
        if code == 200 {
            assert_eq!(world.dialling.len(), 1, "it is looked for");
            world.dial_fails(0);
            world.run();
            world.messages(a.peer);
        } else {
            assert!(world.dialling.is_empty());
            assert_eq!(last(&mut world, a.peer).code(), Some(400));
        }
    }
    world.end();
}

/// AUT-10: no user and no realm has more than 255 octets.
#[test]
fn aut_10_a_user_name_has_at_most_255_octets() {
    let mut world = World::new(Options::default());
    let peer = world.connect(0, Transport::Tls);
    let uri = "msrps://a.invalid:2855/sa;tcp";
    for (octets, code) in [(255, 401), (256, 400)] {
        world.write(peer, &auth(uri, &[AUTH_URI], "auth1", None, None));
        world.run();
        let authorization = answer(&last(&mut world, peer), AUTH_URI, 1);
        let long = format!("username=\"{}\"", "u".repeat(octets));
        let authorization = authorization.replace("username=\"alice\"", &long);
        let auth = auth(uri, &[AUTH_URI], "auth2", None, Some(&authorization));
        world.write(peer, &auth);
        world.run();
        assert_eq!(last(&mut world, peer).code(), Some(code), "{octets}");
    }
    world.end();
}

/// SEC-06: when a connection with many paths goes, a turn ends a part of them; the rest ends in the
/// next ones, and what comes between is served between.
#[test]
fn sec_06_many_paths_end_in_many_turns() {
    let mut options = Options::default();
    options.settings.limits.remembered_octets_per_connection = 1 << 30;
    let mut world = World::unchecked(options);
    let a = client(&mut world, 0, "a");
    let m = foreign(&mut world, 0, "m");
    for number in 0..8192 {
        world.write(m.peer, &by_own_path(&a, &m.uri, number, "no"));
    }
    world.run();
    let full = world.shards[0].remembered();
    world.reset(m.peer);
    let mut turns = 1;
    let mut before = world.shards[0].remembered();
    assert!(before < full && before > full / 2);
    while world.shards[0].next_timeout() == Some(world.now) {
        world.time_out();
        let after = world.shards[0].remembered();
        assert!(before - after <= full / 16 + 4096, "{before} to {after}");
        before = after;
        turns += 1;
    }
    assert_eq!(turns, 16);
    assert!(before < 16_384, "{before}");
    world.end();
}
