//! Several relays in a row (RFC 4976 §5.1, §6.3): AUTH from the inside to the outside, and SEND
//! over all of them.

use std::collections::BTreeSet;
use std::time::Duration;

use msrpload::codec::Builder;

use crate::setup::{Client, auth_uri, authenticate_at, client, last, respond};
use crate::world::{Options, Peer, World};

fn world(relays: u16, workers: u16) -> World {
    World::new(Options {
        workers,
        more_relays: vec![workers; usize::from(relays) - 1],
        ..Options::default()
    })
}

/// A client of the first relay that AUTHs outwards at the others too.
fn chained(world: &mut World, shard: usize, name: &str, relays: &[usize]) -> Client {
    let mut made = client(world, shard, name);
    for relay in relays {
        let uri = auth_uri(*relay);
        assert!(
            authenticate_at(world, &mut made, &uri, None),
            "AUTH at {relay}"
        );
    }
    made
}

fn send(world: &mut World, from: &Client, to: &Client, body: &[u8]) {
    let path = from.path_to(to);
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let send = Builder::request("tid1", "SEND")
        .to_path(&path)
        .from_path(&[&from.uri])
        .header("Message-ID", "m1")
        .header("Byte-Range", &format!("1-{}/{}", body.len(), body.len()))
        .header("Content-Type", "text/plain")
        .body(body);
    world.write(from.peer, &send.encode());
}

/// Links that are alive, one end of each.
fn links(world: &World) -> Vec<Peer> {
    (0..world.sockets.len())
        .filter(|peer| {
            world.sockets[*peer]
                .partner
                .is_some_and(|other| other > *peer)
        })
        .filter(|peer| world.sockets[*peer].alive())
        .collect()
}

/// FNS-07, UPT-04, UPT-09, FWD-02: the Use-Path grows from inside to outside, and what is sent
/// along it and back arrives with From-Path as the way back.
#[test]
fn a_message_passes_three_relays_each_way() {
    for workers in [1, 3] {
        let mut world = world(3, workers);
        let a = chained(&mut world, 0, "a", &[1, 2]);
        let far = world.relays[2].start;
        let b = client(&mut world, far, "b");
        assert_eq!(a.use_path.len(), 3);
        for (from, to) in [(&a, &b), (&b, &a)] {
            send(&mut world, from, to, b"over three relays");
            world.run();
            let arrived = last(&mut world, to.peer);
            assert_eq!(arrived.body(), b"over three relays");
            let mut way_back = from.path_to(to);
            way_back.pop();
            way_back.reverse();
            way_back.push(from.uri.clone());
            assert_eq!(arrived.from_path, way_back);
            assert_eq!(last(&mut world, from.peer).code(), Some(200));
            respond(&mut world, to.peer, &arrived, 200);
            world.run();
            assert!(world.is_quiet());
        }
        world.end();
    }
}

/// RPT-07, RPT-11, RSP-10: a refusal at the far end becomes one REPORT, which finds its way
/// back over all relays.
#[test]
fn a_refusal_behind_two_relays_is_reported_once() {
    let mut world = world(2, 2);
    let a = client(&mut world, 1, "a");
    let far = world.relays[1].start;
    let b = client(&mut world, far, "b");
    send(&mut world, &a, &b, b"no, thanks");
    world.run();
    let arrived = last(&mut world, b.peer);
    assert_eq!(last(&mut world, a.peer).code(), Some(200));
    respond(&mut world, b.peer, &arrived, 481);
    world.run();
    let report = last(&mut world, a.peer);
    assert_eq!(report.method(), Some("REPORT"));
    assert_eq!(report.status().map(|status| status.1), Some(481));
    assert_eq!(report.to_path, [a.uri.as_str()]);
    assert!(world.is_quiet());
    world.end();
}

/// RPT-14, CON-11: a link that dies is reported at once by who waits for an answer of it, and
/// the next message opens another.
#[test]
fn a_lost_link_is_reported_at_once_and_dialled_again() {
    let mut world = world(2, 2);
    let a = client(&mut world, 1, "a");
    let far = world.relays[1].start;
    let b = client(&mut world, far, "b");
    send(&mut world, &a, &b, b"first");
    world.run();
    let arrived = last(&mut world, b.peer);
    respond(&mut world, b.peer, &arrived, 200);
    world.run();
    world.messages(a.peer);
    for link in links(&world) {
        let partner = world.sockets[link].partner.expect("a link has two ends");
        let until = world.now + Duration::from_secs(60);
        world.sockets[link].stalled_until = Some(until);
        world.sockets[partner].stalled_until = Some(until);
    }
    send(&mut world, &a, &b, b"into nothing");
    world.run();
    assert_eq!(last(&mut world, a.peer).code(), Some(200));
    for link in links(&world) {
        world.reset(link);
    }
    world.run();
    let report = last(&mut world, a.peer);
    assert_eq!(report.method(), Some("REPORT"));
    assert_eq!(report.status().map(|status| status.1), Some(408));
    assert!(links(&world).is_empty());
    send(&mut world, &a, &b, b"again");
    world.run();
    assert_eq!(last(&mut world, b.peer).body(), b"again");
    world.end();
}

/// FWD-16, FWD-03: a film whose path crosses a link twice comes to wait behind itself. It is refused
/// once, its sender is told, and the link is free again.
#[test]
fn a_film_that_waits_behind_itself_is_refused() {
    let mut world = world(2, 1);
    let far = world.relays[1].start;
    let a = chained(&mut world, 0, "a", &[1]);
    let b = chained(&mut world, far, "b", &[0]);
    let there_and_back_and_there = a.path_to(&b);
    assert_eq!(there_and_back_and_there.len(), 5);
    world.sockets[b.peer].reading = false;
    let path: Vec<&str> = there_and_back_and_there
        .iter()
        .map(String::as_str)
        .collect();
    let film = Builder::request("tid1", "SEND")
        .to_path(&path)
        .from_path(&[&a.uri])
        .header("Message-ID", "m1")
        .header("Byte-Range", "1-*/*")
        .header("Content-Type", "text/plain")
        .body(&vec![b'x'; 4 << 20]);
    world.write(a.peer, &film.encode());
    world.advance(Duration::from_secs(1));
    world.sockets[b.peer].reading = true;
    world.advance(Duration::from_secs(15));
    let mut told: Vec<_> = world.messages(a.peer);
    for piece in world.messages(b.peer) {
        respond(&mut world, b.peer, &piece, 200);
    }
    world.advance(Duration::from_secs(31));
    told.extend(world.messages(a.peer));
    // One REPORT for each chunk that the first relay had cut it into and was refused.
    let refused: Vec<_> = told
        .iter()
        .filter(|message| message.method() == Some("REPORT"))
        .collect();
    assert!(!refused.is_empty(), "it is not lost in silence");
    let mut starts = BTreeSet::new();
    for report in refused {
        assert_eq!(report.status().map(|status| status.1), Some(413));
        assert!(starts.insert(report.byte_range().map(|range| range.start)));
    }
    assert!(world.is_quiet());
    // Chats take the same way.
    let c = client(&mut world, far, "c");
    send(&mut world, &c, &a, b"still open");
    world.run();
    assert_eq!(last(&mut world, a.peer).body(), b"still open");
    world.end();
}
