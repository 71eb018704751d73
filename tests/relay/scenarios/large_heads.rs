//! Heads that are sent again with every continuation (CHK-04, CHK-14): they cost what they cost, and no more than the octets
//! that they carry.

use std::time::Duration;

use crate::setup::{Client, client, respond, whole};
use crate::world::{Options, World};
use msrpload::codec::Builder;

/// A SEND of `a` to `b` with a head of so many octets.
fn with_head(a: &Client, b: &Client, head: usize, octets: usize) -> Builder {
    let path = a.path_to(b);
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    Builder::request("film", "SEND")
        .to_path(&path)
        .from_path(&[&a.uri])
        .header("Message-ID", "film")
        .header("Byte-Range", &format!("1-*/{octets}"))
        .header("X", &"x".repeat(head))
        .header("Content-Type", "text/plain")
        .body(&vec![b'f'; octets])
}

/// Answers what has arrived; how many octets of the film there were, and how many messages of others.
fn answer(world: &mut World, b: &Client) -> (usize, usize) {
    let (mut film, mut others) = (0, 0);
    for arrived in world.messages(b.peer) {
        match arrived.message_id() {
            Some("film") => film += arrived.body().len(),
            _ => others += 1,
        }
        respond(world, b.peer, &arrived, 200);
    }
    (film, others)
}

/// A film whose head has 30 KB, interrupted by every message of somebody else: it is sent with less than two octets of head
/// for each of its own, whatever comes between.
#[test]
fn interruptions_repeat_no_more_of_a_head_than_there_is_body() {
    for head in [300, 3000, 30_000] {
        let mut world = World::new(Options::default());
        let a = client(&mut world, 0, "a");
        let c = client(&mut world, 0, "c");
        let b = client(&mut world, 0, "b");
        let octets = 600_000;
        let film = with_head(&a, &b, head, octets).encode();
        let before = world.sockets[b.peer].fetched;
        let (mut came, mut chats, mut sent) = (0, 0, 0);
        for (number, part) in film.chunks(3000).enumerate() {
            world.write(a.peer, part);
            world.write(
                c.peer,
                &whole(&c, &b, &format!("m{number}"), "yes", b"a chat line"),
            );
            world.run();
            sent += 1;
            let (film, others) = answer(&mut world, &b);
            (came, chats) = (came + film, chats + others);
            world.run();
            world.messages(c.peer);
            world.advance(Duration::from_millis(5));
        }
        world.advance(Duration::from_secs(1));
        let (film, others) = answer(&mut world, &b);
        (came, chats) = (came + film, chats + others);
        assert_eq!((came, chats), (octets, sent), "{head}");
        let fetched = (world.sockets[b.peer].fetched - before) as usize;
        let of_chats = sent * 500;
        assert!(
            fetched < 5 * octets / 2 + of_chats,
            "{head}: {fetched} octets for {octets}"
        );
        world.run();
        world.messages(a.peer);
        world.end();
    }
}

/// A source that sends octet by octet, each between two messages of others, does not have its head sent with each.
#[test]
fn a_source_that_trickles_has_its_head_sent_at_a_bounded_rate() {
    let mut world = World::new(Options::default());
    let a = client(&mut world, 0, "a");
    let c = client(&mut world, 0, "c");
    let b = client(&mut world, 0, "b");
    let send = with_head(&a, &b, 30_000, 400).encode();
    let head = memchr::memmem::find(&send, b"\r\n\r\n").expect("a blank line") + 4;
    world.write(a.peer, &send[..head]);
    let before = world.sockets[b.peer].fetched;
    let (mut came, mut chats) = (0, 0);
    for number in 0..400 {
        world.write(a.peer, &send[head + number..][..1]);
        for id in ["x", "y"] {
            let id = format!("{id}{number}");
            world.write(c.peer, &whole(&c, &b, &id, "yes", b"a chat line"));
        }
        world.run();
        let (film, others) = answer(&mut world, &b);
        (came, chats) = (came + film, chats + others);
        world.run();
        world.messages(c.peer);
        world.advance(Duration::from_millis(1));
    }
    assert_eq!(chats, 800, "nobody else waits");
    world.write(a.peer, &send[head + 400..]);
    world.advance(Duration::from_secs(1));
    let (film, _) = answer(&mut world, &b);
    assert_eq!(came + film, 400, "all of it arrives");
    // 0.4 s at 128 KiB in a second, and the first and the last.
    let fetched = (world.sockets[b.peer].fetched - before) as usize;
    assert!(
        fetched < 53_000 + 2 * 31_000 + 800 * 500,
        "{fetched} octets"
    );
    world.run();
    world.messages(a.peer);
    world.end();
}
