//! SEND goes through, paths are rewritten, the 200 comes at the end-line (FWD, URI, CHK).

use msrpload::codec::{Builder, build_send};

use crate::setup::{client, foreign, last, respond};
use crate::world::{Options, World};

/// Two worlds: both clients on one shard, and on two.
fn one_shard_and_two(play: impl Fn(&mut World, usize)) {
    for workers in [1, 2] {
        let mut world = World::new(Options::workers(workers));
        play(&mut world, usize::from(workers - 1));
        world.end();
    }
}

/// URI-02, URI-11, FWD-02, RSP-01.
#[test]
fn send_is_forwarded_with_paths_rewritten_and_answered_at_its_end_line() {
    one_shard_and_two(|world, other| {
        let a = client(world, 0, "a");
        let b = client(world, other, "b");
        let send = Builder::request("tid1", "SEND")
            .to_path(&[&a.token, &b.token, &b.uri])
            .from_path(&[&a.uri])
            .header("Message-ID", "m1")
            .header("Byte-Range", "1-5/5")
            .header("X-Foo", "b")
            .header("Content-Type", "text/plain")
            .body(b"hello");
        world.write(a.peer, &send.encode_head());
        world.write(a.peer, b"hello");
        world.run();
        assert!(
            world.messages(a.peer).is_empty(),
            "no 200 before the end-line (D-09)"
        );
        world.write(a.peer, &send.encode_end());
        world.run();
        let arrived = last(world, b.peer);
        assert_eq!(arrived.to_path, [b.uri.as_str()]);
        assert_eq!(arrived.from_path, [b.token.as_str(), &a.token, &a.uri]);
        assert_eq!(arrived.body(), b"hello");
        assert_eq!(arrived.header("X-Foo"), Some("b"));
        assert_ne!(arrived.tid, "tid1", "FWD-06");
        let ok = last(world, a.peer);
        assert_eq!((ok.code(), ok.tid.as_str()), (Some(200), "tid1"));
        assert_eq!(ok.to_path, [a.uri.as_str()]);
        assert_eq!(ok.from_path, [a.token.as_str()]);
        respond(world, b.peer, &arrived, 200);
        world.run();
        assert!(world.is_quiet());
        assert!(world.messages(a.peer).is_empty(), "RSP-07");
    });
}

/// UPT-10 case (b), FWD-11: a client that never sent is reached under its token.
#[test]
fn a_foreign_client_reaches_a_client_by_its_use_path() {
    one_shard_and_two(|world, other| {
        let a = client(world, 0, "a");
        let p = foreign(world, other, "p");
        world.write(
            p.peer,
            &build_send(
                "tid1",
                &[&a.token, &a.uri],
                &[&p.uri],
                "m1",
                "1-2/2",
                b"hi",
                b'$',
            ),
        );
        world.run();
        let arrived = last(world, a.peer);
        assert_eq!(arrived.from_path, [a.token.as_str(), &p.uri]);
        assert_eq!(last(world, p.peer).code(), Some(200));
        respond(world, a.peer, &arrived, 200);
        world.run();
        assert!(world.is_quiet());
    });
}
