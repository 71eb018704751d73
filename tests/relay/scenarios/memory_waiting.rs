//! What a connection has begun to send, and what it does not take of its answers, counts (SEC-07).

use msrpd::metrics::CloseReason as Label;
use msrpd::relay::Transport;
use msrpload::codec::Builder;

use crate::setup::{AUTH_URI, Client, client, foreign, last, whole};
use crate::world::{Options, World};

const TOTAL: usize = 4 << 20;

/// Small enough to be filled.
fn small() -> World {
    let mut options = Options::default();
    options.settings.limits.remembered_octets_total = TOTAL;
    World::unchecked(options)
}

fn closed(world: &World, label: Label) -> u64 {
    world.shards[0].metrics().closures(label)
}

/// A head of 30 KB, as far as its last line.
fn unfinished(number: usize) -> Vec<u8> {
    let mut octets = format!("MSRP tid{number} SEND\r\nTo-Path: {AUTH_URI}\r\n").into_bytes();
    while octets.len() < 30_000 {
        octets.extend_from_slice(format!("X-{number}: {}\r\n", "x".repeat(900)).as_bytes());
    }
    octets
}

fn chat(world: &mut World, b: &Client, c: &Client) {
    world.write(b.peer, &whole(b, c, "m1", "yes", b"hi"));
    world.run();
    assert_eq!(last(world, b.peer).code(), Some(200));
}

/// SEC-07: the head of a request that is not whole counts as far as it has come, and no longer than
/// it takes.
#[test]
fn sec_07_an_unfinished_head_counts() {
    let mut world = small();
    let peer = world.connect(0, Transport::Tls);
    world.run();
    let before = world.shards[0].remembered();
    world.write(peer, &unfinished(1));
    world.run();
    let held = world.shards[0].remembered() - before;
    assert!((24_000..80_000).contains(&held), "{held}");
    world.write(
        peer,
        b"From-Path: msrps://m.invalid:1/x;tcp\r\n-------tid1$\r\n",
    );
    world.run();
    let left = world.shards[0].remembered() - before;
    assert!(left < 4096, "{left}");
    world.end();
}

/// SEC-06, SEC-07: many connections of one source with unfinished heads are closed when memory is
/// short and they have more than their part of it. Others go on, and may come.
#[test]
fn sec_06_unfinished_heads_of_one_source_shut_nobody_out() {
    let mut world = small();
    let b = client(&mut world, 0, "b");
    let c = client(&mut world, 0, "c");
    world.from = std::net::Ipv4Addr::new(10, 1, 2, 3).into();
    for number in 0..300 {
        let peer = world.connect(0, Transport::Tls);
        world.write(peer, &unfinished(number));
        world.run();
    }
    let used = world.shards[0].remembered();
    assert!(used <= TOTAL / 4 * 3 + 65_536, "{used} of {TOTAL}");
    assert!(closed(&world, Label::Memory) > 100);
    chat(&mut world, &b, &c);
    world.from = std::net::Ipv4Addr::new(10, 9, 9, 9).into();
    let d = client(&mut world, 0, "d");
    chat(&mut world, &b, &d);
    world.end();
}

/// A client has so many requests refused, and reads nothing of that.
fn ask_and_read_nothing(world: &mut World, a: &Client, requests: usize) {
    world.sockets[a.peer].reading = false;
    let unknown = a.token.replace(";tcp", "x;tcp");
    for number in 0..requests {
        let request = Builder::request(&format!("tid{number}"), "SEND")
            .to_path(&[&unknown, &a.uri])
            .from_path(&[&a.uri])
            .header("Message-ID", "m1")
            .header("Byte-Range", "1-0/0");
        world.write(a.peer, &request.encode());
        world.run();
    }
}

/// SEC-07: responses that a connection does not take count until it takes them.
#[test]
fn sec_07_answers_that_are_not_taken_count() {
    let mut world = World::unchecked(Options::default());
    let a = client(&mut world, 0, "a");
    let before = world.shards[0].remembered();
    ask_and_read_nothing(&mut world, &a, 3000);
    let held = world.shards[0].remembered() - before;
    assert!(held > 262_144, "{held}");
    world.sockets[a.peer].reading = true;
    world.run();
    let answers = world.messages(a.peer);
    assert!(answers.iter().all(|answer| answer.code() == Some(481)));
    assert_eq!(answers.len(), 3000);
    let left = world.shards[0].remembered() - before;
    assert!(left < 4096, "{left}");
    world.end();
}

/// SEC-06: while memory is short whoever takes no answers, and has more than his part of it, is not
/// read. Once he takes them he goes on, and gets all.
#[test]
fn sec_06_whoever_takes_no_answers_is_not_read_while_memory_is_short() {
    const EACH: usize = 6000;
    let mut world = small();
    let c = client(&mut world, 0, "c");
    let rude: Vec<Client> = (0..8)
        .map(|number| client(&mut world, 0, &format!("a{number}")))
        .collect();
    for a in &rude {
        ask_and_read_nothing(&mut world, a, EACH);
    }
    let used = world.shards[0].remembered();
    assert!(used > TOTAL / 2, "{used}: memory is not short");
    assert!(used <= TOTAL / 4 * 3 + 262_144, "{used} of {TOTAL}");
    let last = rude.last().expect("there are some");
    assert!(world.sockets[last.peer].consumed < world.sockets[last.peer].written);
    world.from = std::net::Ipv4Addr::new(10, 9, 9, 9).into();
    let m = foreign(&mut world, 0, "m");
    chat(&mut world, &m, &c);
    for a in &rude {
        world.sockets[a.peer].reading = true;
    }
    world.run();
    for a in &rude {
        assert_eq!(world.messages(a.peer).len(), EACH);
    }
    world.end();
}
