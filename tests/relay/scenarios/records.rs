//! What is said of a session once it has ended: why, and what counted for it.

use std::time::Duration;

use msrpd::metrics::{CloseReason, Traffic};
use msrpd::relay::{EndCause, SessionRecord, Transport};
use msrpload::codec::{Builder, Message};

use crate::relays::{R2, chained_auth, dial_in};
use crate::setup::{
    self, Client, auth_uri, authenticate, authenticate_at, client, foreign, last, respond,
};
use crate::world::{Options, World};

/// A SEND with so many octets by this path.
fn send(path: &[&str], from: &str, id: &str, octets: usize) -> Builder {
    Builder::request(&format!("tid{id}"), "SEND")
        .to_path(path)
        .from_path(&[from])
        .header("Message-ID", id)
        .header("Byte-Range", &format!("1-{octets}/{octets}"))
        .header("Content-Type", "text/plain")
        .body(&vec![b'x'; octets])
}

fn report(path: &[&str], from: &str, id: &str) -> Vec<u8> {
    Builder::request(&format!("rep{id}"), "REPORT")
        .to_path(path)
        .from_path(&[from])
        .header("Message-ID", id)
        .header("Byte-Range", "1-10/10")
        .header("Status", "000 200 OK")
        .encode()
}

fn traffic([octets, chunks, messages, reports, failed]: [u64; 5]) -> Traffic {
    Traffic {
        octets,
        chunks,
        messages,
        reports,
        failed,
    }
}

/// The records that have come since the last look.
fn records(world: &World, seen: &mut usize) -> Vec<SessionRecord> {
    let all = &world.records[*seen..];
    *seen = world.records.len();
    all.iter().map(|(_, record)| record.clone()).collect()
}

fn the_record(world: &World, seen: &mut usize) -> SessionRecord {
    let mut records = records(world, seen);
    assert_eq!(records.len(), 1, "exactly one: {records:?}");
    records.remove(0)
}

/// The receiver answers all that it got.
fn answer_all(world: &mut World, receiver: &Client) -> Vec<Message> {
    let got = world.messages(receiver.peer);
    for message in &got {
        if message.method() == Some("SEND") {
            respond(world, receiver.peer, message, 200);
        }
    }
    world.run();
    got
}

/// UPT-06, UPT-08, CON-12: why, when, and whose.
#[test]
fn upt_08_every_end_of_a_session_has_its_cause() {
    for shards in [1, 2] {
        let mut world = World::new(Options::workers(shards));
        let shard = usize::from(shards - 1);
        let mut seen = 0;
        let minute = Duration::from_secs(60);

        let began = world.now;
        let a = client(&mut world, shard, "a");
        world.advance(minute);
        world.shut(a.peer);
        world.run();
        let record = the_record(&world, &mut seen);
        assert_eq!(record.cause, EndCause::Closed(CloseReason::EndOfStream));
        assert_eq!((record.began, record.ended), (began, began + minute));
        assert_eq!((&*record.user, &*record.realm), ("alice", setup::HOST));
        let port = record.peer.expect("an address").port();
        assert_eq!(usize::from(port), 40_000 + a.peer);
        assert_eq!(record.relay, None);

        let a = client(&mut world, shard, "a");
        world.reset(a.peer);
        assert_eq!(
            the_record(&world, &mut seen).cause,
            EndCause::Closed(CloseReason::Lost)
        );

        let a = client(&mut world, shard, "a");
        world.write(a.peer, b"MSRP garbage without an end\r\n\r\n\r\n");
        world.run();
        let cause = the_record(&world, &mut seen).cause;
        assert_eq!(cause, EndCause::Closed(CloseReason::Framing));

        let peer = world.connect(shard, Transport::Tls);
        authenticate(&mut world, peer, "msrps://a.invalid:2855/sa;tcp", Some(60));
        world.advance(minute);
        let record = the_record(&world, &mut seen);
        assert_eq!(record.cause, EndCause::Expired);
        assert_eq!(record.ended - record.began, minute);

        // Its holder has a certificate, and holds the URI for itself.
        let peer = world.connect_verified(shard, &["b.invalid"]);
        authenticate(&mut world, peer, "msrps://a.invalid:2855/sa;tcp", None);
        world.rejudge(peer, None);
        world.run();
        assert_eq!(the_record(&world, &mut seen).cause, EndCause::Revoked);

        // A client, and a relay that holds a URI for one of its own.
        let a = client(&mut world, 0, "a");
        let link = dial_in(&mut world, shard);
        chained_auth(&mut world, link);
        let deadline = world.now + Duration::from_secs(2);
        for shard in 0..usize::from(shards) {
            let now = world.now;
            world.shards[shard].drain(now, deadline);
        }
        world.advance(Duration::from_secs(1));
        assert!(records(&world, &mut seen).is_empty(), "they are alive");
        for shard in 0..usize::from(shards) {
            let now = world.now;
            world.shards[shard].close_all(now);
            world.obey();
        }
        world.run();
        let mut ended = records(&world, &mut seen);
        assert!(ended.iter().all(|record| record.cause == EndCause::Drained));
        ended.sort_by_key(|record| record.relay.is_some());
        let holders: Vec<_> = ended.iter().map(|record| record.relay.as_deref()).collect();
        assert_eq!(holders, [None, Some(R2)], "{}", a.peer);
        world.end();
    }
}

/// URI-11: what passes two URIs counts for both, once each way; REPORTs too.
#[test]
fn uri_11_a_chunk_counts_for_each_session_that_it_passes() {
    for shards in [1, 2] {
        let mut world = World::new(Options::workers(shards));
        let a = client(&mut world, 0, "a");
        let b = client(&mut world, usize::from(shards - 1), "b");
        let to_b = [&*a.token, &b.token, &b.uri];
        let to_a = [&*b.token, &a.token, &a.uri];
        // Three messages, one of them in two chunks and one aborted: four chunks, two messages.
        for (id, octets, flag) in [
            ("m1", 700, '$'),
            ("m2", 5000, '+'),
            ("m3", 40, '#'),
            ("m2", 0, '$'),
        ] {
            let mut draft = send(&to_b, &a.uri, id, octets);
            if flag != '$' {
                draft = draft.flag(flag as u8);
            }
            world.write(a.peer, &draft.encode());
            world.run();
            answer_all(&mut world, &b);
        }
        world.write(b.peer, &send(&to_a, &b.uri, "m4", 10).encode());
        world.write(b.peer, &report(&to_a, &b.uri, "m1"));
        world.run();
        let got = answer_all(&mut world, &a);
        assert!(got.iter().any(|message| message.method() == Some("REPORT")));
        // Neither a keepalive nor what is refused; what leads to b by its own URI alone counts for b.
        let alive = Builder::request("alive", "SEND")
            .to_path(&[&a.token])
            .from_path(&[&a.uri])
            .header("Message-ID", "m5")
            .header("Byte-Range", "1-0/0");
        world.write(a.peer, &alive.encode());
        world.write(
            a.peer,
            &send(&[&a.token, &a.token, &b.uri], &a.uri, "m6", 8).encode(),
        );
        world.write(a.peer, &send(&[&b.token, &b.uri], &a.uri, "m7", 9).encode());
        world.run();
        answer_all(&mut world, &b);
        let mut seen = 0;
        let (there, back) = (traffic([5740, 4, 2, 0, 0]), traffic([10, 1, 1, 1, 0]));
        world.reset(a.peer);
        world.run();
        let record = the_record(&world, &mut seen);
        assert_eq!((record.sent, record.received), (there, back), "{shards}");
        world.reset(b.peer);
        world.run();
        let record = the_record(&world, &mut seen);
        let mut received = there;
        received.add(&traffic([9, 1, 1, 0, 0]));
        assert_eq!((record.sent, record.received), (back, received), "{shards}");
        world.end();
    }
}

/// RPT-11: a chunk that was taken and failed counts as such for both; the REPORT goes to the one that sent it.
#[test]
fn rpt_11_what_failed_after_it_was_taken_counts_as_failed_too() {
    for shards in [1, 2] {
        let mut world = World::new(Options::workers(shards));
        let a = client(&mut world, 0, "a");
        let b = client(&mut world, usize::from(shards - 1), "b");
        let p = foreign(&mut world, 0, "p");
        let to_b = [&*a.token, &b.token, &b.uri];
        world.write(a.peer, &send(&to_b, &a.uri, "m1", 100).encode());
        world.run();
        let refused = last(&mut world, b.peer);
        respond(&mut world, b.peer, &refused, 413);
        world.run();
        // From a stranger, which has no session that the REPORT could count for.
        world.write(
            p.peer,
            &send(&[&b.token, &b.uri], &p.uri, "m2", 20).encode(),
        );
        world.run();
        let refused = last(&mut world, b.peer);
        respond(&mut world, b.peer, &refused, 413);
        world.run();
        // Refused at once: never taken.
        let unknown = a.token.replace("2855/", "2855/x");
        world.write(
            a.peer,
            &send(&[&unknown, &b.uri], &a.uri, "m3", 30).encode(),
        );
        world.run();
        let codes: Vec<_> = (world.messages(a.peer).iter())
            .map(|m| m.code().or(m.status().map(|status| status.1)))
            .collect();
        assert_eq!(codes, [Some(200), Some(413), Some(481)], "{shards}");
        world.reset(a.peer);
        world.reset(b.peer);
        world.run();
        let ended = records(&world, &mut 0);
        assert_eq!(ended.len(), 2);
        let sums: Vec<_> = ended.iter().map(|r| (r.sent, r.received)).collect();
        let of_a = (traffic([100, 1, 1, 0, 1]), traffic([0, 0, 0, 1, 0]));
        let of_b = (traffic([0; 5]), traffic([120, 2, 2, 0, 2]));
        assert!(sums.contains(&of_a) && sums.contains(&of_b), "{sums:?}");
        world.end();
    }
}

/// UPT-06: what was begun under a URI goes on when its time is over, and counts for it.
#[test]
fn upt_06_a_record_waits_for_what_was_begun() {
    for shards in [1, 2] {
        let mut world = World::new(Options::workers(shards));
        let b = client(&mut world, usize::from(shards - 1), "b");
        let peer = world.connect(0, Transport::Tls);
        let uri = "msrps://a.invalid:2855/sa;tcp";
        let token = authenticate(&mut world, peer, uri, Some(60));
        let draft = send(&[&token, &b.token, &b.uri], uri, "m1", 5000);
        let octets = draft.encode();
        world.write(peer, &octets[..octets.len() - 1000]);
        world.advance(Duration::from_secs(59));
        let expires = world.now + Duration::from_secs(1);
        world.advance(Duration::from_secs(10));
        let mut seen = 0;
        assert!(records(&world, &mut seen).is_empty(), "it still comes");
        world.write(peer, &octets[octets.len() - 1000..]);
        world.run();
        assert!(records(&world, &mut seen).is_empty(), "it has no answer");
        // Nothing begins under it any more.
        world.write(
            peer,
            &send(&[&token, &b.token, &b.uri], uri, "m2", 10).encode(),
        );
        world.run();
        let codes: Vec<_> = world.messages(peer).iter().map(Message::code).collect();
        assert_eq!(codes, [Some(200), Some(481)]);
        world.advance(Duration::from_secs(31));
        let record = the_record(&world, &mut seen);
        assert_eq!((record.cause, record.ended), (EndCause::Expired, expires));
        assert_eq!(record.sent, traffic([5000, 1, 1, 0, 1]));
        assert_eq!(record.received, traffic([0, 0, 0, 1, 0]), "408");
        world.end();
    }
}

/// UPT-04: each relay of a chain has a record of what passed its own URIs.
#[test]
fn upt_04_every_relay_records_its_own_sessions() {
    for shards in [1, 3] {
        let mut world = World::new(Options {
            workers: shards,
            more_relays: vec![shards],
            ..Options::default()
        });
        let mut a = client(&mut world, 0, "a");
        assert!(authenticate_at(&mut world, &mut a, &auth_uri(1), Some(600)));
        let b = client(&mut world, usize::from(shards), "b");
        let path = a.path_to(&b);
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let back = b.path_to(&a);
        let back: Vec<&str> = back.iter().map(String::as_str).collect();
        for n in 0..5 {
            world.write(
                a.peer,
                &send(&path, &a.uri, &format!("m{n}"), 300_000).encode(),
            );
            world.write(
                b.peer,
                &send(&back, &b.uri, &format!("n{n}"), 1000).encode(),
            );
            for _ in 0..50 {
                world.advance(Duration::from_millis(1));
                answer_all(&mut world, &b);
                answer_all(&mut world, &a);
            }
        }
        world.reset(a.peer);
        world.reset(b.peer);
        world.advance(Duration::from_secs(601));
        let of = |relay, holder: Option<&str>| {
            let mut found = world
                .records
                .iter()
                .filter(|(whose, record)| *whose == relay && record.relay.as_deref() == holder);
            let (_, record) = found.next().expect("a record");
            assert!(found.next().is_none());
            record
        };
        let (at_0, at_1) = (of(0, None), of(1, Some(setup::HOST)));
        assert_eq!(at_0.sent, traffic([1_500_000, 5, 5, 0, 0]));
        assert_eq!(at_0.received, traffic([5000, 5, 5, 0, 0]));
        // Between relays messages are cut: other chunks, the same octets and messages.
        assert_eq!((at_1.sent.octets, at_1.sent.messages), (1_500_000, 5));
        assert!(at_1.sent.chunks > 5);
        assert_eq!(at_1.received, traffic([5000, 5, 5, 0, 0]));
        assert_eq!(at_1.cause, EndCause::Expired);
        let of_b = of(1, None);
        assert_eq!(of_b.received, at_1.sent);
        assert_eq!(of_b.sent, at_1.received);
        world.end();
    }
}
