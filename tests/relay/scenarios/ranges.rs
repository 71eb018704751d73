//! What Byte-Range says when a chunk leaves (CHK-08, CHK-09, CHK-17, D-28, D-39), by whichever walk.

use msrpload::codec::{Builder, Message};

use crate::setup::{Client, client, last, respond};
use crate::world::{Options, World};

fn send(
    from: &Client,
    to: &Client,
    id: &str,
    range: Option<&str>,
    octets: usize,
    flag: u8,
) -> Builder {
    Builder::request(&format!("tid{id}"), "SEND")
        .to_path(&[&from.token, &to.token, &to.uri])
        .from_path(&[&from.uri])
        .header("Message-ID", id)
        .maybe_header("Byte-Range", range)
        .header("Content-Type", "text/plain")
        .body(&vec![b'x'; octets])
        .flag(flag)
}

fn arrives(world: &mut World, from: &Client, to: &Client) -> Message {
    let arrived = last(world, to.peer);
    respond(world, to.peer, &arrived, 200);
    world.run();
    assert_eq!(last(world, from.peer).code(), Some(200));
    arrived
}

/// D-39: what deployed clients write on a short chunk that is whole, and what leaves. Each three times, so that the last
/// ones go by comparing; on one shard and over two.
#[test]
fn a_short_whole_message_leaves_with_its_exact_range() {
    for workers in [1, 2] {
        let mut world = World::new(Options::workers(workers));
        let a = client(&mut world, 0, "a");
        let b = client(&mut world, usize::from(workers) - 1, "b");
        for (sent, octets, flag, left) in [
            (Some("1-*/*"), 18, b'$', "1-18/18"),
            (None, 18, b'$', "1-18/18"),
            (Some("1-25/25"), 18, b'$', "1-18/18"),
            (Some("1-24/21"), 18, b'$', "1-18/18"),
            (Some("1-*/25"), 18, b'$', "1-18/18"),
            (Some("1-18/*"), 18, b'$', "1-18/18"),
            (Some("1-5/5"), 18, b'$', "1-18/18"),
            (Some("1-18/18"), 18, b'$', "1-18/18"),
            (Some("1-*/*"), 0, b'$', "1-0/0"),
            (Some("1-7/7"), 0, b'$', "1-0/0"),
            (Some("1-*/*"), 2048, b'$', "1-2048/2048"),
            // The last chunk of a message: the total cannot be less than its end.
            (Some("11-*/*"), 8, b'$', "11-18/18"),
            (Some("11-18/12"), 8, b'$', "11-18/18"),
            (Some("11-20/18"), 8, b'$', "11-18/18"),
            (Some("11-18/25"), 8, b'$', "11-18/25"),
            // Of what is not the end nothing is known.
            (Some("1-25/25"), 18, b'+', "1-18/25"),
            (Some("1-*/*"), 18, b'+', "1-18/*"),
            (Some("1-4/4"), 18, b'+', "1-18/4"),
            (None, 18, b'+', "1-18/*"),
            (Some("1-25/25"), 18, b'#', "1-18/25"),
        ] {
            for round in 0..4 {
                let id = format!("m{workers}{round}");
                let octets = send(&a, &b, &id, sent, octets, flag).encode();
                world.write(a.peer, &octets);
                world.run();
                let arrived = arrives(&mut world, &a, &b);
                assert_eq!(
                    arrived.header("Byte-Range"),
                    Some(left),
                    "{sent:?}, round {round}"
                );
                assert_eq!(arrived.flag, flag);
            }
        }
        world.end();
    }
}

/// SYN-12: a bodiless SEND without Byte-Range stays as it is; what has one is told exactly.
#[test]
fn a_bodiless_send_has_no_octet() {
    let mut world = World::new(Options::default());
    let a = client(&mut world, 0, "a");
    let b = client(&mut world, 0, "b");
    for (sent, left) in [
        (None, None),
        (Some("1-*/*"), Some("1-0/0")),
        (Some("1-0/0"), Some("1-0/0")),
    ] {
        let request = Builder::request("tid1", "SEND")
            .to_path(&[&a.token, &b.token, &b.uri])
            .from_path(&[&a.uri])
            .header("Message-ID", "m1")
            .maybe_header("Byte-Range", sent);
        world.write(a.peer, &request.encode());
        world.run();
        let arrived = arrives(&mut world, &a, &b);
        assert_eq!((arrived.header("Byte-Range"), &arrived.body), (left, &None));
    }
    world.end();
}

/// CHK-02, D-39: a long chunk that is whole before its head leaves tells its total, and stays interruptible.
#[test]
fn a_long_whole_message_leaves_with_its_total() {
    for sent in [Some("1-*/*"), None, Some("1-9000/9000"), Some("1-10000/*")] {
        let mut world = World::new(Options {
            kernel_octets: 1000,
            ..Options::default()
        });
        let a = client(&mut world, 0, "a");
        let b = client(&mut world, 0, "b");
        // What goes before keeps it until it is whole.
        world.sockets[b.peer].reading = false;
        for id in ["before1", "before2"] {
            world.write(
                a.peer,
                &send(&a, &b, id, Some("1-2000/2000"), 2000, b'$').encode(),
            );
            world.run();
        }
        world.write(a.peer, &send(&a, &b, "long", sent, 10_000, b'$').encode());
        world.run();
        world.sockets[b.peer].reading = true;
        world.run();
        let mut at = 1;
        for arrived in world.messages(b.peer) {
            respond(&mut world, b.peer, &arrived, 200);
            if arrived.message_id() != Some("long") {
                continue;
            }
            let range = arrived.byte_range().expect("a range");
            assert_eq!((range.start, range.total), (at, Some(10_000)), "{sent:?}");
            let long = arrived.body().len() > 2048;
            assert_eq!(range.end.is_none(), long, "{sent:?}");
            at += arrived.body().len() as u64;
        }
        assert_eq!(at, 10_001);
        world.run();
        world.messages(a.peer);
        world.end();
    }
}

/// D-39: a message whose length nobody knew while it left has its total on its last piece.
#[test]
fn the_last_piece_tells_a_total_that_nobody_knew_before() {
    for sent in [Some("1-*/*"), None, Some("1-9000/9000")] {
        let mut world = World::new(Options::default());
        let a = client(&mut world, 0, "a");
        let b = client(&mut world, 0, "b");
        let octets = send(&a, &b, "long", sent, 10_000, b'$').encode();
        let (front, back) = octets.split_at(octets.len() - 1000);
        world.write(a.peer, front);
        world.run();
        // Something else for the receiver ends the open piece.
        let nickname = Builder::request("nick", "NICKNAME")
            .to_path(&[&a.token, &b.token, &b.uri])
            .from_path(&[&a.uri]);
        let other = client(&mut world, 0, "c");
        let nickname = nickname.to_owned().encode();
        let nickname = String::from_utf8(nickname).expect("text");
        let nickname = nickname
            .replace(&a.token, &other.token)
            .replace(&a.uri, &other.uri);
        world.write(other.peer, nickname.as_bytes());
        world.run();
        world.write(a.peer, back);
        world.run();
        let mut arrived = world.messages(b.peer);
        arrived.retain(|message| message.method() == Some("SEND"));
        for piece in &arrived {
            respond(&mut world, b.peer, piece, 200);
        }
        let (last, before) = arrived.split_last().expect("pieces");
        assert!(!before.is_empty(), "it was interrupted");
        let total = sent.and_then(|sent| sent.ends_with("9000").then_some(9000));
        for piece in before {
            assert_eq!(piece.byte_range().expect("a range").total, total);
        }
        let range = last.byte_range().expect("a range");
        assert_eq!(
            (range.end, range.total),
            (Some(10_000), Some(10_000)),
            "{sent:?}"
        );
        world.advance(std::time::Duration::from_secs(40));
        world.end();
    }
}
