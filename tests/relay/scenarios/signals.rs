//! Who says what of a request, and how often: one signal for each failed chunk, none by us for
//! what is no SEND, and the timers behind them (FNS, RPT, TMR rows).

use std::time::Duration;

use msrpload::codec::{Builder, Message};

use crate::setup::{Client, client, last, respond};
use crate::world::{Options, World};

fn send(from: &Client, to: &Client, id: &str, wish: &str) -> Builder {
    Builder::request(&format!("tid{id}"), "SEND")
        .to_path(&[&from.token, &to.token, &to.uri])
        .from_path(&[&from.uri])
        .header("Message-ID", id)
        .header("Failure-Report", wish)
        .header("Content-Type", "text/plain")
}

/// Both on one shard, and on two.
fn one_shard_and_two(play: impl Fn(&mut World, &Client, &Client)) {
    for workers in [1, 2] {
        let mut world = World::new(Options::workers(workers));
        let a = client(&mut world, 0, "a");
        let b = client(&mut world, usize::from(workers - 1), "b");
        play(&mut world, &a, &b);
        world.end();
    }
}

/// Codes of responses and of REPORTs, told apart.
fn signals(messages: &[Message]) -> Vec<(bool, u16)> {
    messages
        .iter()
        .map(|message| match message.code() {
            Some(code) => (false, code),
            None => (true, message.status().expect("a REPORT").1),
        })
        .collect()
}

/// FNS-02, FNS-04, RSP-05: the far end alone answers what is no SEND, and with the whole way
/// back; the sender finds its own transact-id in it.
#[test]
fn fns_02_a_nickname_and_an_unknown_method_are_answered_by_the_far_end_alone() {
    one_shard_and_two(|world, a, b| {
        for (method, code) in [("NICKNAME", 425), ("FOO", 200)] {
            let request = Builder::request("tid1", method)
                .to_path(&[&a.token, &b.token, &b.uri])
                .from_path(&[&a.uri]);
            world.write(a.peer, &request.encode());
            world.run();
            assert!(world.messages(a.peer).is_empty(), "{method}: no 200 by us");
            let arrived = last(world, b.peer);
            assert_eq!(arrived.method(), Some(method));
            assert_ne!(arrived.tid, "tid1", "FWD-06");
            let way_back: Vec<&str> = arrived.from_path.iter().map(String::as_str).collect();
            let answer = Builder::response(&arrived.tid, code, Some("said b"))
                .to_path(&way_back)
                .from_path(&[&b.uri]);
            world.write(b.peer, &answer.encode());
            world.run();
            let answer = last(world, a.peer);
            assert_eq!((answer.code(), answer.tid.as_str()), (Some(code), "tid1"));
            assert_eq!(answer.to_path, [a.uri.as_str()]);
            assert_eq!(answer.from_path, [a.token.as_str(), &b.token, &b.uri]);
        }
    });
}

/// RPT-13, RPT-06: who refuses a chunk that is still coming in is heard at once, and once.
#[test]
fn rpt_13_a_refusal_in_mid_chunk_is_the_only_signal() {
    one_shard_and_two(|world, a, b| {
        let body = vec![b'x'; 10_000];
        let send = send(a, b, "m1", "yes")
            .header("Byte-Range", "1-*/*")
            .body(&body);
        world.sockets[b.peer].reading = false;
        world.write(a.peer, &send.encode_head());
        world.write(a.peer, &body[..5000]);
        world.run();
        let tid = world.unread_tid(b.peer);
        world.sockets[b.peer].reading = true;
        let refusal = Builder::response(&tid, 413, None)
            .to_path(&[&b.token])
            .from_path(&[&b.uri]);
        world.write(b.peer, &refusal.encode());
        world.run();
        let mut heard = world.messages(a.peer);
        world.write(a.peer, &body[5000..]);
        world.write(a.peer, &send.encode_end());
        world.run();
        world.advance(Duration::from_secs(40));
        heard.extend(world.messages(a.peer));
        assert_eq!(signals(&heard), [(false, 413)]);
        assert_eq!(last(world, b.peer).flag, b'#', "the rest never comes");
    });
}

/// RPT-06: a chunk that was acknowledged and left in pieces is reported in parts that do not
/// overlap, though each piece is refused, and the connection is lost after that.
#[test]
fn rpt_06_no_octet_is_reported_twice_although_pieces_are_refused_and_the_receiver_goes() {
    let mut world = World::new(Options {
        kernel_octets: 1000,
        ..Options::default()
    });
    let a = client(&mut world, 0, "a");
    let b = client(&mut world, 0, "b");
    let c = client(&mut world, 0, "c");
    world.sockets[b.peer].reading = false;
    let body = vec![b'x'; 500_000];
    let film = send(&a, &b, "m1", "yes")
        .header("Byte-Range", "1-500000/500000")
        .body(&body);
    world.write(a.peer, &film.encode());
    world.run();
    // Somebody else's message cuts it.
    world.write(c.peer, &send(&c, &b, "m2", "no").body(b"hi").encode());
    world.run();
    world.sockets[b.peer].reading = true;
    world.run();
    let mut heard = world.messages(a.peer);
    let pieces = world.messages(b.peer);
    let pieces: Vec<&Message> = pieces
        .iter()
        .filter(|piece| piece.message_id() == Some("m1"))
        .collect();
    assert!(pieces.len() > 1, "it was cut");
    respond(&mut world, b.peer, pieces[0], 403);
    respond(&mut world, b.peer, pieces[0], 403);
    world.run();
    world.reset(b.peer);
    world.run();
    world.advance(Duration::from_secs(40));
    heard.extend(world.messages(a.peer));
    let mut at = 1;
    for report in heard.iter().filter(|message| message.code().is_none()) {
        let range = report.byte_range().expect("a range");
        assert_eq!(range.start, at, "neither twice nor left out");
        at = range.end.expect("an end") + 1;
    }
    assert_eq!(at, 500_001);
    assert_eq!(signals(&heard)[..2], [(false, 200), (true, 403)]);
    world.end();
}

/// TMR-01, TMR-02: the thirty seconds run from the last octet that the kernel took, and what
/// comes after them says nothing more.
#[test]
fn tmr_01_the_hop_timer_runs_from_the_last_octet() {
    one_shard_and_two(|world, a, b| {
        let body = vec![b'x'; 200_000];
        world.sockets[b.peer].reading = false;
        let send = send(a, b, "m1", "yes")
            .header("Byte-Range", "1-200000/200000")
            .body(&body);
        world.write(a.peer, &send.encode());
        world.advance(Duration::from_secs(20));
        world.sockets[b.peer].reading = true;
        world.advance(Duration::from_millis(29_900));
        let early = world.messages(a.peer);
        assert_eq!(signals(&early), [(false, 200)], "nothing before its time");
        world.advance(Duration::from_millis(1100));
        let report = last(world, a.peer);
        assert_eq!(report.header("Status"), Some("000 408 Timeout"));
        for piece in &world.messages(b.peer) {
            respond(world, b.peer, piece, 481);
        }
        world.advance(Duration::from_secs(40));
        assert!(world.messages(a.peer).is_empty(), "TMR-02");
    });
}

/// RPT-03, TMR-03, RPT-01: silence is no failure for `partial`, a refusal is; `no` hears neither.
#[test]
fn rpt_03_partial_hears_of_refusals_and_never_of_silence() {
    for (wish, code, heard) in [
        ("partial", None, &[][..]),
        ("partial", Some(403), &[(true, 403)]),
        ("no", None, &[]),
        ("no", Some(403), &[]),
    ] {
        one_shard_and_two(|world, a, b| {
            world.write(a.peer, &send(a, b, "m1", wish).body(b"hi").encode());
            world.run();
            let arrived = last(world, b.peer);
            world.advance(Duration::from_secs(20));
            if let Some(code) = code {
                respond(world, b.peer, &arrived, code);
            }
            world.advance(Duration::from_secs(60));
            let signals = signals(&world.messages(a.peer));
            assert_eq!(signals, heard, "{wish} {code:?}");
            assert!(world.is_quiet(), "{wish}: nothing is kept");
        });
    }
}
