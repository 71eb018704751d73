//! How chunks are cut and merged on their way (RFC 4975 §5.1, §7.1.1; CHK rows).

use msrpload::codec::{Builder, Message};

use crate::setup::{Client, client, last};
use crate::world::{Options, World};

fn chunk(from: &Client, to: &Client, id: &str, start: usize, body: &[u8], flag: u8) -> Vec<u8> {
    let end = start + body.len() - 1;
    Builder::request(&format!("tid{id}x{start}"), "SEND")
        .to_path(&[&from.token, &to.token, &to.uri])
        .from_path(&[&from.uri])
        .header("Message-ID", id)
        .header("Byte-Range", &format!("{start}-{end}/*"))
        .header("X-Kept", "as it is")
        .header("Content-Type", "text/plain")
        .body(body)
        .flag(flag)
        .encode()
}

fn octets(count: usize) -> Vec<u8> {
    (0..count).map(|at| b'a' + (at * 7 % 26) as u8).collect()
}

/// The pieces follow one another and together are the message.
fn assert_whole(pieces: &[Message], body: &[u8]) {
    let mut at = 1;
    let mut joined = Vec::new();
    for piece in pieces {
        let range = piece.byte_range().expect("a range");
        assert_eq!(range.start, at as u64, "CHK-04, CHK-08");
        let long = piece.body().len() > 2048;
        assert!(!long || range.end.is_none(), "CHK-02: {range:?}");
        at += piece.body().len();
        if let Some(end) = range.end {
            assert_eq!(end + 1, at as u64, "CHK-09");
        }
        assert_eq!(piece.header("X-Kept"), Some("as it is"), "CHK-16");
        joined.extend_from_slice(piece.body());
    }
    assert!(joined == body, "the octets changed");
    let (last, others) = pieces.split_last().expect("a piece");
    assert_eq!(last.flag, b'$', "CHK-05");
    assert!(others.iter().all(|piece| piece.flag == b'+'), "CHK-05");
}

/// CHK-11, CHK-15: what waits is merged, in few pieces; each part's custody is kept.
#[test]
fn small_chunks_of_one_message_that_wait_are_merged() {
    let mut world = World::new(Options {
        kernel_octets: 1000,
        ..Options::default()
    });
    let a = client(&mut world, 0, "a");
    let b = client(&mut world, 0, "b");
    world.sockets[b.peer].reading = false;
    let body = octets(20_000);
    for (index, part) in body.chunks(100).enumerate() {
        let flag = if index == 199 { b'$' } else { b'+' };
        let chunk = chunk(&a, &b, "m", index * 100 + 1, part, flag);
        world.write(a.peer, &chunk);
    }
    world.run();
    assert_eq!(world.messages(a.peer).len(), 200, "each is answered");
    world.sockets[b.peer].reading = true;
    world.run();
    let pieces = world.messages(b.peer);
    assert_whole(&pieces, &body);
    assert!(pieces.len() <= 6, "{} pieces", pieces.len());
    for piece in &pieces {
        crate::setup::respond(&mut world, b.peer, piece, 200);
    }
    world.run();
    assert!(world.is_quiet());
    world.end();
}

/// CHK-11: chunks of two messages are never mixed, nor those that do not follow one another.
#[test]
fn chunks_of_two_messages_are_not_merged() {
    let mut world = World::new(Options {
        kernel_octets: 1000,
        ..Options::default()
    });
    let a = client(&mut world, 0, "a");
    let b = client(&mut world, 0, "b");
    world.sockets[b.peer].reading = false;
    let body = octets(3000);
    for (index, part) in body.chunks(100).enumerate() {
        let flag = if index == 29 { b'$' } else { b'+' };
        for id in ["m1", "m2"] {
            world.write(a.peer, &chunk(&a, &b, id, index * 100 + 1, part, flag));
        }
    }
    // A repetition is forwarded as it came (CHK-21).
    world.write(a.peer, &chunk(&a, &b, "m3", 5, b"later", b'+'));
    world.write(a.peer, &chunk(&a, &b, "m3", 1, b"early", b'$'));
    world.run();
    world.sockets[b.peer].reading = true;
    world.run();
    let arrived = world.messages(b.peer);
    for id in ["m1", "m2"] {
        let of = |message: &&Message| message.message_id() == Some(id);
        let pieces: Vec<Message> = arrived.iter().filter(of).cloned().collect();
        assert_whole(&pieces, &body);
    }
    let others: Vec<&[u8]> = arrived[60..].iter().map(Message::body).collect();
    assert_eq!(others, [b"later", b"early"]);
}

/// CHK-14: an acknowledged chunk does not wait for more of the one that was merged behind it.
#[test]
fn what_was_answered_leaves_although_the_next_chunk_stalls() {
    let mut world = World::new(Options {
        kernel_octets: 400,
        ..Options::default()
    });
    let a = client(&mut world, 0, "a");
    let b = client(&mut world, 0, "b");
    world.sockets[b.peer].reading = false;
    let body = octets(300);
    for index in 0..3 {
        let part = &body[index * 100..][..100];
        world.write(a.peer, &chunk(&a, &b, "m", index * 100 + 1, part, b'+'));
    }
    let next = chunk(&a, &b, "m", 301, b"never", b'$');
    let head = next.len() - b"never\r\n-------tidmx301$\r\n".len();
    world.write(a.peer, &next[..head]);
    world.run();
    world.sockets[b.peer].reading = true;
    world.run();
    // Something else waits, so that the open piece ends.
    let c = client(&mut world, 0, "c");
    world.write(c.peer, &chunk(&c, &b, "other", 1, b"hello", b'$'));
    world.run();
    let arrived = world.messages(b.peer);
    let of = |message: &&Message| message.message_id() == Some("m");
    let count: usize = arrived.iter().filter(of).map(|m| m.body().len()).sum();
    assert_eq!(count, 300, "all that was answered");
    world.write(a.peer, &next[head..]);
    world.run();
    let end = last(&mut world, b.peer);
    assert_eq!((end.body(), end.flag), (&b"never"[..], b'$'));
}

/// CHK-15: alone on its connection a message leaves as it came.
#[test]
fn a_message_alone_leaves_as_one_chunk() {
    let mut world = World::new(Options::default());
    let a = client(&mut world, 0, "a");
    let b = client(&mut world, 0, "b");
    let body = octets(1_000_000);
    world.write(a.peer, &chunk(&a, &b, "m", 1, &body, b'$'));
    world.run();
    let pieces = world.messages(b.peer);
    assert_whole(&pieces, &body);
    assert_eq!(pieces.len(), 1);
}
