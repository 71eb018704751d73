//! Who sends when on a connection that many share (CHK-03, CHK-13, FWD-12, design: *Egress*).

use std::time::Duration;

use msrpload::codec::{Builder, Message};
use rustix::time::{ClockId, clock_gettime};

use crate::setup::{Client, client, last, respond};
use crate::world::{Options, Peer, World};

/// A SEND from one client of the relay to another.
fn send(from: &Client, to: &Client, id: &str, range: &str, flag: u8) -> Builder {
    Builder::request(&format!("tid{id}"), "SEND")
        .to_path(&[&from.token, &to.token, &to.uri])
        .from_path(&[&from.uri])
        .header("Message-ID", id)
        .header("Byte-Range", range)
        .header("Content-Type", "text/plain")
        .flag(flag)
}

/// A client that does not read unless it is told to.
fn slow_client(world: &mut World, name: &str) -> Client {
    let client = client(world, 0, name);
    world.sockets[client.peer].reading = false;
    client
}

/// A film of so many octets, written as far as the relay reads it.
fn film(world: &mut World, from: &Client, to: &Client, id: &str, octets: usize) {
    let send = send(from, to, id, &format!("1-*/{octets}"), b'$');
    let send = send.body(&vec![b'f'; octets]);
    world.write(from.peer, &send.encode());
}

/// The far end reads so many octets, then everything else happens.
fn read(world: &mut World, peer: Peer, octets: usize) -> Vec<Message> {
    world.fetch(peer, octets);
    world.run();
    world.messages(peer)
}

fn of<'a>(messages: &'a [Message], id: &str) -> Vec<&'a Message> {
    messages
        .iter()
        .filter(|message| message.message_id() == Some(id))
        .collect()
}

/// CHK-13: what a chat line waits for is the send in flight, the kernel's unsent octets, and one
/// more quantum, however many films there are.
#[test]
fn a_newcomers_small_message_goes_before_all_films() {
    let mut world = World::new(Options {
        kernel_octets: 16_384,
        ..Options::default()
    });
    let b = slow_client(&mut world, "b");
    for number in 0..20 {
        let a = client(&mut world, 0, &format!("a{number}"));
        film(&mut world, &a, &b, &format!("film{number}"), 2_000_000);
    }
    world.run();
    for _ in 0..40 {
        read(&mut world, b.peer, 16_384);
    }
    let c = client(&mut world, 0, "c");
    for number in 0..10 {
        let id = format!("chat{number}");
        let chat = send(&c, &b, &id, "1-2/2", b'$').body(b"hi");
        world.write(c.peer, &chat.encode());
        world.run();
        let mut octets = 0;
        loop {
            let messages = read(&mut world, b.peer, 1024);
            octets += 1024;
            if !of(&messages, &id).is_empty() {
                break;
            }
            // Kernel, flight, what an open chunk may still bring, and heads.
            assert!(octets <= 16_384 + 16_384 + 2048 + 8192, "{id} waits");
        }
        // Time for the line to have come to it.
        for _ in 0..12 {
            read(&mut world, b.peer, 16_384);
        }
    }
}

/// CHK-13: two films and one that sends a short message whenever its last one has arrived.
#[test]
fn a_session_that_comes_and_goes_gets_no_more_than_its_share() {
    let mut world = World::new(Options {
        kernel_octets: 4096,
        ..Options::default()
    });
    world.checks = false;
    let b = slow_client(&mut world, "b");
    for name in ["one", "two"] {
        let a = client(&mut world, 0, name);
        film(&mut world, &a, &b, name, 6_000_000);
    }
    let c = client(&mut world, 0, "c");
    let body = vec![b'c'; 8000];
    let (mut sent, mut arrived, mut films) = (0, 0, 0);
    for _ in 0..1500 {
        if sent == arrived {
            sent += 1;
            let chat = send(&c, &b, &format!("chat{sent}"), "1-8000/8000", b'$').body(&body);
            world.write(c.peer, &chat.encode());
        }
        for message in read(&mut world, b.peer, 2048) {
            match message.message_id() {
                Some("one" | "two") => films += message.body().len(),
                _ if message.flag == b'$' => arrived += 1,
                _ => {}
            }
        }
    }
    let chats = arrived * 8000;
    assert!(chats > 100_000, "{chats}");
    assert!(
        chats * 2 <= films + films / 5,
        "the comer and goer got {chats} octets, two films together {films}"
    );
}

/// CHK-03, CHK-04: within one flush, too.
#[test]
fn responses_and_reports_leave_before_more_of_a_body() {
    let mut world = World::new(Options {
        kernel_octets: 65_536,
        ..Options::default()
    });
    let b = slow_client(&mut world, "b");
    let a = client(&mut world, 0, "a");
    let c = client(&mut world, 0, "c");
    // C refuses what B sent: a REPORT for B. And B sends again: a response for B.
    world.write(
        b.peer,
        &send(&b, &c, "m1", "1-2/2", b'$').body(b"no").encode(),
    );
    world.run();
    let refused = last(&mut world, c.peer);
    world.fetch(b.peer, usize::MAX);
    world.messages(b.peer);
    film(&mut world, &a, &b, "film", 1_500_000);
    world.run();
    respond(&mut world, c.peer, &refused, 481);
    let second = send(&b, &c, "m2", "1-2/2", b'$').body(b"no");
    world.write(b.peer, &second.encode());
    world.run();
    // What is in the kernel and in flight cannot be called back: one piece, cut as it stood.
    let mut order = Vec::new();
    while order.len() < 4 {
        for message in read(&mut world, b.peer, 16_384) {
            order.push(match (message.method(), message.flag) {
                (Some("SEND"), b'+') => "film+",
                (Some("REPORT"), _) => "REPORT",
                (None, _) => "response",
                _ => "film",
            });
        }
    }
    assert_eq!(order[..3], ["film+", "response", "REPORT"], "{order:?}");
}

/// FWD-12: requests other than SEND go before SENDs, but not all the time.
#[test]
fn requests_without_end_leave_half_of_a_connection_to_the_sessions() {
    let mut world = World::new(Options {
        kernel_octets: 4096,
        ..Options::default()
    });
    let b = slow_client(&mut world, "b");
    let a = client(&mut world, 0, "a");
    let c = client(&mut world, 0, "c");
    film(&mut world, &a, &b, "film", 4_000_000);
    let name = "n".repeat(6000);
    let (mut names, mut films) = (0, 0);
    for number in 0..600 {
        let request = Builder::request(&format!("tid{number}"), "NICKNAME")
            .to_path(&[&c.token, &b.token, &b.uri])
            .from_path(&[&c.uri])
            .header("Use-Nickname", &format!("\"{name}\""));
        world.write(c.peer, &request.encode());
        for message in read(&mut world, b.peer, 4096) {
            match message.method() {
                Some("SEND") => films += message.raw.len(),
                _ => names += message.raw.len(),
            }
        }
    }
    assert!(names > 100_000, "{names}");
    assert!(films * 3 > names * 2, "requests {names}, film {films}");
}

/// Nothing that is done for one session looks at all others of the connection.
#[test]
fn a_message_costs_the_same_beside_ten_thousand_sessions() {
    let few = cost_of_a_message(100);
    let many = cost_of_a_message(10_000);
    assert!(
        many < few * 10,
        "beside 100 sessions a message takes {few:?}, beside 10,000 {many:?}"
    );
}

/// The CPU time that one message takes of so many sessions over one connection, and the end of all
/// of them; the best of three.
fn cost_of_a_message(sessions: u32) -> Duration {
    let mut world = World::new(Options {
        kernel_octets: 16_384,
        ..Options::default()
    });
    world.checks = false;
    let b = slow_client(&mut world, "b");
    world.sockets[b.peer].reading = true;
    let tokens: Vec<String> = (0..sessions)
        .map(|_| crate::setup::authenticate(&mut world, b.peer, &b.uri, None))
        .collect();
    world.sockets[b.peer].reading = false;
    let best = (0..3).map(|round| {
        let link = world.connect_verified(0, &["relay-b.example.net"]);
        let mut octets = Vec::new();
        for (number, token) in tokens.iter().enumerate() {
            let send = Builder::request(&format!("r{round}t{number}"), "SEND")
                .to_path(&[token, &b.uri])
                .from_path(&["msrps://relay-b.example.net:2855/x;tcp", "msrps://p/p;tcp"])
                .header("Message-ID", "m")
                .header("Failure-Report", "no")
                .header("Byte-Range", "1-2/2")
                .header("Content-Type", "text/plain")
                .body(b"hi");
            octets.extend(send.encode());
        }
        world.write(link, &octets);
        let began = thread_time();
        while world.read_some(link, 1 << 20) {}
        world.reset(link);
        let mut octets = 0;
        loop {
            world.transmit(b.peer);
            let took = world.take(b.peer, usize::MAX);
            let before = world.sockets[b.peer].fetched;
            if !world.fetch(b.peer, usize::MAX) && !took {
                break;
            }
            octets += world.sockets[b.peer].fetched - before;
        }
        assert!(octets > 100 * u64::from(sessions), "all of it arrives");
        (thread_time() - began) / sessions
    });
    best.min().expect("three rounds")
}

/// CPU time of this thread: what else the machine does does not count.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
