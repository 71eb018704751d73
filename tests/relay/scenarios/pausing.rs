//! When a source is not read, and when it is read again (FWD-15, FWD-16, design: *Pausing*).

use std::time::{Duration, Instant};

use msrpd::metrics::RefusalReason;
use msrpload::codec::{Builder, Message, build_send};

use crate::setup::{Client, client, last, respond, settings};
use crate::world::{Options, Peer, World};

/// Answers that a client does not take stop it from making more of them, and only so long.
#[test]
fn a_client_that_leaves_its_answers_is_read_again_once_it_takes_them() {
    let mut settings = settings();
    settings.limits.control_octets = 2000;
    let mut world = World::new(Options {
        settings,
        kernel_octets: 512,
        ..Options::default()
    });
    world.read_max = 500;
    let a = client(&mut world, 0, "a");
    let b = client(&mut world, 0, "b");
    world.sockets[a.peer].reading = false;
    for number in 0..60 {
        let id = format!("m{number}");
        let tid = format!("tid{number}");
        let to = [a.token.as_str(), &b.token, &b.uri];
        world.write(
            a.peer,
            &build_send(&tid, &to, &[&a.uri], &id, "1-2/2", b"hi", b'$'),
        );
    }
    world.run();
    assert!(
        world.sockets[a.peer].inbound_len() > 0,
        "it is read no more"
    );
    world.sockets[a.peer].reading = true;
    world.run();
    assert_eq!(world.sockets[a.peer].inbound_len(), 0);
    assert_eq!(world.messages(a.peer).len(), 60);
    assert_eq!(world.messages(b.peer).len(), 60);
    world.end();
}

/// A SEND from a client to another one.
fn chunk(from: &Client, to: &Client, id: &str, tid: &str, range: &str) -> Builder {
    Builder::request(tid, "SEND")
        .to_path(&[&from.token, &to.token, &to.uri])
        .from_path(&[&from.uri])
        .header("Message-ID", id)
        .header("Byte-Range", range)
        .header("Content-Type", "text/plain")
}

/// FWD-15: a slower receiver slows its film, which waits at its source, and loses nothing.
#[test]
fn a_slow_receiver_slows_its_film_and_loses_nothing() {
    let mut world = World::new(Options::default());
    let a = client(&mut world, 0, "a");
    let b = client(&mut world, 0, "b");
    world.sockets[b.peer].reading = false;
    let body: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    let film = chunk(&a, &b, "film", "tid1", "1-3000000/3000000").body(&body);
    world.write(a.peer, &film.encode());
    world.run();
    let fetched = world.sockets[b.peer].fetched;
    let metrics = world.shards[0].metrics();
    let refused: u64 = RefusalReason::ALL
        .map(|reason| metrics.refused(reason))
        .iter()
        .sum();
    assert_eq!((metrics.pauses, refused), (1, 0), "a pause refuses nothing");
    let mut arrived = Vec::new();
    while arrived.is_empty() {
        // Longer than any shared source may be paused.
        world.advance(Duration::from_millis(400));
        assert!(world.fetch(b.peer, 16_384), "the film stands still");
        world.run();
        let held = world.sockets[a.peer].consumed - (world.sockets[b.peer].fetched - fetched);
        // Its bound, one read, what is in flight and in the kernel, heads.
        assert!(held <= 4 * 65_536 + 4096, "{held} octets are held");
        arrived = world.messages(b.peer);
    }
    assert!(arrived[0].body() == body, "whole and unchanged");
    assert_eq!(last(&mut world, a.peer).code(), Some(200));
}

/// What another relay sends for many of its clients over one connection.
struct Relayed {
    link: Peer,
    receivers: Vec<Client>,
    next_tid: u32,
}

const FROM: &str = "msrps://relay-b.example.net:2855/tok;tcp";

impl Relayed {
    fn new(world: &mut World, sessions: usize) -> Self {
        let receivers: Vec<Client> = (0..sessions)
            .map(|number| client(world, 0, &format!("b{number}")))
            .collect();
        let link = world.connect_verified(0, &["relay-b.example.net"]);
        Self {
            link,
            receivers,
            next_tid: 0,
        }
    }

    /// Writes a chunk; gives its transact-id.
    fn send(&mut self, world: &mut World, to: usize, id: &str, range: &str, body: &[u8]) -> String {
        self.next_tid += 1;
        let tid = format!("tid{}", self.next_tid);
        let receiver = &self.receivers[to];
        let flag = if range.contains('*') { b'+' } else { b'$' };
        let send = Builder::request(&tid, "SEND")
            .to_path(&[&receiver.token, &receiver.uri])
            .from_path(&[FROM, "msrps://p.example.net:2855/p;tcp"])
            .header("Message-ID", id)
            .header("Byte-Range", range)
            .header("Content-Type", "text/plain")
            .body(body)
            .flag(flag);
        world.write(self.link, &send.encode());
        tid
    }

    /// A chat line; gives how long it took to arrive.
    fn chat(&mut self, world: &mut World, to: usize) -> Duration {
        let began = world.now;
        self.send(world, to, &format!("chat{}", self.next_tid), "1-2/2", b"hi");
        world.run();
        let peer = self.receivers[to].peer;
        loop {
            let arrived = world.messages(peer);
            for message in &arrived {
                respond(world, peer, message, 200);
            }
            if !arrived.is_empty() {
                return world.now - began;
            }
            assert!(world.now - began < Duration::from_secs(40), "a chat waits");
            world.advance(Duration::from_millis(1));
        }
    }
}

/// One tick of the timers' wheel.
const TICK: Duration = Duration::from_millis(16);
const SHARED_PAUSE: Duration = Duration::from_millis(250);

/// FWD-16, RSP-10, D-35, TMR-08: the receiver of one of twenty sessions stands still. The others
/// wait for `shared_pause` once; its message is refused once; what it had been answered for is
/// reported within 31 s, its small messages too.
#[test]
fn a_receiver_that_stands_still_costs_the_others_one_short_pause() {
    let mut world = World::new(Options::default());
    world.checks = false;
    let mut relayed = Relayed::new(&mut world, 20);
    for other in 1..20 {
        relayed.chat(&mut world, other);
    }
    world.messages(relayed.link);
    let began = world.now;
    world.sockets[relayed.receivers[0].peer].reading = false;
    let small = relayed.send(&mut world, 0, "small", "1-2/2", b"hi");
    let (mut film, mut waited, mut next) = (Vec::new(), Duration::ZERO, 1);
    for round in 0..30 {
        let range = format!("{next}-*/4000000");
        film.push(relayed.send(&mut world, 0, "film", &range, &[b'f'; 65_536]));
        next += 65_536;
        waited += relayed.chat(&mut world, 1 + round % 19);
        world.advance(Duration::from_millis(20));
    }
    assert!(waited <= SHARED_PAUSE + TICK, "{waited:?}");
    assert!(waited > SHARED_PAUSE / 2, "it paused at all");
    let codes: Vec<Option<u16>> = {
        let told = world.messages(relayed.link);
        assert!(told.iter().all(|m| m.method().is_none()), "no REPORT yet");
        let code = |tid: &String| told.iter().find(|m| m.tid == *tid).map(|m| m.code());
        assert_eq!(code(&small), Some(Some(200)));
        film.iter()
            .map(|tid| code(tid).expect("one answer each"))
            .collect()
    };
    let mut taken = codes.iter().filter(|code| **code == Some(200)).count();
    assert!(taken >= 14, "a mebibyte is held: {codes:?}");
    assert!(codes[..taken].iter().all(|code| *code == Some(200)));
    assert!(codes[taken..].iter().all(|code| *code == Some(413)));
    assert!(taken < codes.len());
    // Now nothing waits any more, nor when ten seconds are over.
    world.advance(Duration::from_secs(11));
    let range = "1-*/4000000";
    for _ in 0..4 {
        let again = relayed.send(&mut world, 0, "again", range, &[b'f'; 65_536]);
        assert_eq!(relayed.chat(&mut world, 1), Duration::ZERO);
        let told = world.messages(relayed.link);
        let code = told.iter().find(|m| m.tid == again).and_then(Message::code);
        if code == Some(413) {
            break;
        }
        taken += 1;
    }
    let late = relayed.send(&mut world, 0, "late", "1-2/2", b"hi");
    let waited = relayed.chat(&mut world, 1);
    assert_eq!(waited, Duration::ZERO);
    let told = world.messages(relayed.link);
    assert!(told.iter().any(|m| m.tid == late && m.code() == Some(200)));
    world.advance(began + Duration::from_secs(31) - world.now);
    let told = world.messages(relayed.link);
    let (mut small, mut reported) = (0, 0);
    for report in &told {
        assert_eq!(report.method(), Some("REPORT"), "{report:?}");
        let range = report.byte_range().expect("a range");
        let octets = range.end.expect("an end") + 1 - range.start;
        match report.message_id() {
            Some("small" | "late") => small += octets,
            _ => reported += octets,
        }
    }
    assert_eq!((small, reported), (4, taken as u64 * 65_536), "{told:?}");
    let waited = relayed.chat(&mut world, 2);
    assert_eq!(waited, Duration::ZERO);
}

/// FWD-16: whatever one session does, in no 10 s does it stop the others for longer.
#[test]
fn one_session_pauses_a_shared_source_shortly_in_any_ten_seconds() {
    let mut world = World::new(Options::default());
    world.checks = false;
    let mut relayed = Relayed::new(&mut world, 3);
    relayed.chat(&mut world, 1);
    let slow = relayed.receivers[0].peer;
    world.sockets[slow].reading = false;
    let step = Duration::from_millis(5);
    let mut paused: Vec<Instant> = Vec::new();
    for round in 0..5000_u32 {
        if world.sockets[relayed.link].inbound_len() == 0 {
            // Another message each time: one that was refused is not let in again.
            let id = format!("m{round}");
            relayed.send(&mut world, 0, &id, "1-65536/65536", &[b'm'; 65_536]);
            if round % 100 == 0 {
                relayed.send(&mut world, 1, &format!("chat{round}"), "1-2/2", b"hi");
            }
        }
        // In bursts: it stands still, then it takes much.
        if round % 600 > 500 {
            for _ in 0..4 {
                world.fetch(slow, 65_536);
                world.run();
            }
        }
        world.advance(step);
        for peer in [slow, relayed.receivers[1].peer] {
            for message in world.messages(peer) {
                respond(&mut world, peer, &message, 200);
            }
        }
        world.messages(relayed.link);
        let socket = &world.sockets[relayed.link];
        if world.shards[socket.shard].read_room(socket.key) == 0 {
            paused.push(world.now);
        }
    }
    assert!(paused.len() > 100, "it is paused again and again");
    for (index, first) in paused.iter().enumerate() {
        let within = paused[index..]
            .iter()
            .take_while(|at| **at - *first < Duration::from_secs(10));
        let time = step * within.count() as u32;
        // Each pause may end a tick late, and is seen a step longer.
        assert!(time <= SHARED_PAUSE + 4 * (TICK + step), "{time:?} in 10 s");
    }
}

/// Design, *Pausing*: once all queued octets are too many, a session has its private bound.
#[test]
fn beyond_the_total_a_shared_source_pauses_at_the_private_bound() {
    for (total, expected) in [(1_073_741_824, 1_048_576), (1_048_576, 65_536)] {
        let mut settings = settings();
        settings.limits.queued_octets_total = total;
        // One half of it is the other shard's.
        let mut world = World::new(Options {
            settings,
            workers: 2,
            kernel_octets: 4096,
            ..Options::default()
        });
        world.checks = false;
        let mut relayed = Relayed::new(&mut world, 14);
        for receiver in &relayed.receivers[..13] {
            world.sockets[receiver.peer].reading = false;
        }
        relayed.chat(&mut world, 13);
        for to in 1..13 {
            relayed.send(&mut world, to, "m", "1-*/*", &[b'm'; 50_000]);
        }
        world.run();
        let before = world.sockets[relayed.link].consumed;
        relayed.send(&mut world, 0, "film", "1-*/*", &vec![b'f'; 2_000_000]);
        world.run();
        let read = (world.sockets[relayed.link].consumed - before) as usize;
        // What is in flight, in the kernel and in one read.
        assert!(read >= expected && read <= expected + 4 * 65_536, "{read}");
    }
}

/// Design, *Timers*: B's answer is behind what is not read of its own film.
#[test]
fn a_timer_stands_still_while_the_answer_is_not_read() {
    let mut world = World::new(Options::default());
    let a = client(&mut world, 0, "a");
    let b = client(&mut world, 0, "b");
    let c = client(&mut world, 0, "c");
    let long = |id: &str| {
        let send = chunk(&b, &c, id, &format!("tid{id}"), "1-2000000/2000000");
        send.body(&vec![b'f'; 2_000_000]).encode()
    };
    world.sockets[c.peer].reading = false;
    world.write(b.peer, &long("film1"));
    world.run();
    world.write(
        a.peer,
        &chunk(&a, &b, "m", "tid1", "1-2/2").body(b"hi").encode(),
    );
    world.run();
    assert_eq!(last(&mut world, a.peer).code(), Some(200));
    let asked = world.messages(b.peer);
    respond(&mut world, b.peer, &asked[0], 200);
    world.write(b.peer, &long("film2"));
    // C takes an octet now and then, so that it is not given up.
    for _ in 0..8 {
        world.advance(Duration::from_secs(5));
        world.fetch(c.peer, 1000);
        world.run();
    }
    assert!(world.messages(a.peer).is_empty(), "40 s, and no REPORT");
    world.sockets[c.peer].reading = true;
    world.run();
    for message in world.messages(c.peer) {
        respond(&mut world, c.peer, &message, 200);
    }
    world.advance(Duration::from_secs(40));
    assert!(world.messages(a.peer).is_empty(), "the answer was there");
    let answers = world.messages(b.peer);
    let codes: Vec<_> = answers.iter().map(Message::code).collect();
    assert_eq!(codes, [Some(200), Some(200)]);
}

/// Design, *Timers*: and no longer than 30 s more.
#[test]
fn a_timer_stands_still_for_thirty_seconds_at_most() {
    let mut settings = settings();
    settings.limits.stall_timeout = Duration::from_secs(300);
    let mut world = World::new(Options {
        settings,
        ..Options::default()
    });
    let a = client(&mut world, 0, "a");
    let b = client(&mut world, 0, "b");
    let c = client(&mut world, 0, "c");
    world.sockets[c.peer].reading = false;
    let film = chunk(&b, &c, "film", "tid1", "1-2000000/2000000");
    world.write(b.peer, &film.body(&vec![b'f'; 2_000_000]).encode());
    world.run();
    world.write(
        a.peer,
        &chunk(&a, &b, "m", "tid1", "1-2/2").body(b"hi").encode(),
    );
    world.advance(Duration::from_secs(59));
    assert_eq!(last(&mut world, a.peer).code(), Some(200));
    world.advance(Duration::from_secs(2));
    let report = last(&mut world, a.peer);
    assert_eq!(report.status().map(|status| status.1), Some(408));
}

/// SYN-25: a head of many octets that has nothing to send yet does not count against its bound.
#[test]
fn a_large_head_does_not_keep_its_own_source_paused() {
    let mut settings = settings();
    settings.limits.head_octets = 65_000;
    let mut world = World::new(Options {
        settings,
        ..Options::default()
    });
    let a = client(&mut world, 0, "a");
    let b = client(&mut world, 0, "b");
    world.sockets[b.peer].reading = false;
    let body = vec![b'f'; 500_000];
    for (number, large) in [35_000, 44_000].into_iter().enumerate() {
        let send = chunk(&a, &b, &format!("m{number}"), "tid1", "1-500000/500000");
        let send = send.header("X-Large", &"x".repeat(large)).body(&body);
        let head = send.encode_head();
        // Its first octet alone, at first.
        world.write(a.peer, &head);
        world.write(a.peer, b"f");
        world.run();
        world.sockets[b.peer].reading = true;
        world.run();
        world.write(a.peer, &body[1..]);
        world.write(a.peer, &send.encode_end());
        world.run();
        assert_eq!(last(&mut world, a.peer).code(), Some(200));
        let arrived = last(&mut world, b.peer);
        assert!(arrived.body() == body);
        respond(&mut world, b.peer, &arrived, 200);
        world.sockets[b.peer].reading = false;
    }
}

/// D-35, TMR-03: too many open transactions never pause anybody.
#[test]
fn too_many_open_transactions_refuse_a_chunk_or_forget_the_oldest() {
    let mut settings = settings();
    settings.limits.transactions_per_session = 16;
    let mut world = World::new(Options {
        settings,
        ..Options::default()
    });
    let a = client(&mut world, 0, "a");
    let b = client(&mut world, 0, "b");
    let send = |world: &mut World, number: usize, wish: &str| {
        let tid = format!("tid{number}");
        let send = chunk(&a, &b, &format!("m{number}"), &tid, "1-2/2");
        let send = send.header("Failure-Report", wish).body(b"hi");
        world.write(a.peer, &send.encode());
        world.run();
        world.messages(a.peer)
    };
    for number in 0..16 {
        assert_eq!(send(&mut world, number, "yes")[0].code(), Some(200));
    }
    assert_eq!(send(&mut world, 16, "yes")[0].code(), Some(413));
    let asked = world.messages(b.peer);
    assert_eq!(asked.len(), 16);
    for message in &asked {
        respond(&mut world, b.peer, message, 200);
    }
    world.run();
    for number in 20..37 {
        assert!(send(&mut world, number, "partial").is_empty());
    }
    assert_eq!(world.shards[0].metrics().forgotten, 1);
    let asked = world.messages(b.peer);
    assert_eq!(asked.len(), 17, "each was delivered");
    for message in &asked[..2] {
        respond(&mut world, b.peer, message, 481);
    }
    world.run();
    let report = last(&mut world, a.peer);
    assert_eq!(report.message_id(), Some("m21"), "the oldest is forgotten");
}

/// Design, *Pausing*: films beside films only wait for one another, and all arrive whole.
#[test]
fn a_slow_film_beside_films_only_is_never_refused() {
    const CHUNKS: usize = 30;
    let mut world = World::new(Options::default());
    world.checks = false;
    let mut relayed = Relayed::new(&mut world, 3);
    let slow = relayed.receivers[0].peer;
    world.sockets[slow].reading = false;
    for number in 0..CHUNKS {
        for to in 0..3 {
            let start = number * 65_536 + 1;
            let range = format!("{start}-*/{}", CHUNKS * 65_536);
            relayed.send(
                &mut world,
                to,
                &format!("film{to}"),
                &range,
                &[b'f'; 65_536],
            );
        }
    }
    let mut octets = [0; 3];
    // A mebibyte a second, and the film is of two.
    for _ in 0..250 {
        world.advance(Duration::from_millis(10));
        world.fetch(slow, 10_486);
        for (receiver, octets) in relayed.receivers.iter().zip(&mut octets) {
            for message in world.messages(receiver.peer) {
                *octets += message.body().len();
                respond(&mut world, receiver.peer, &message, 200);
            }
        }
    }
    assert_eq!(octets, [CHUNKS * 65_536; 3]);
    let told = world.messages(relayed.link);
    assert_eq!(told.len(), 3 * CHUNKS);
    assert!(told.iter().all(|message| message.code() == Some(200)));
}
