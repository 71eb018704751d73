//! Several relays in a row (RFC 4976 §5.1, §6.3): AUTH from the inside to the outside, and SEND
//! over all of them.

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

/// URI-12: a path that comes back to a relay that it has left is refused where it begins, whatever
/// goes by it, and every relay on it refuses it too.
#[test]
fn uri_12_a_path_that_comes_back_is_refused_at_once() {
    for workers in [1, 3] {
        let mut world = world(3, workers);
        let far = world.relays[1].start;
        let a = chained(&mut world, 0, "a", &[1]);
        let b = chained(&mut world, far, "b", &[0, 2]);
        let c = chained(&mut world, 0, "c", &[1]);
        world.advance(Duration::from_secs(1));
        let links_before = links(&world).len();
        let ring: Vec<String> = (0..15)
            .flat_map(|_| a.use_path.clone())
            .chain([b.uri.clone()])
            .collect();
        let after_two = [&a.use_path[..], &b.use_path[2..], &a.use_path[..1]].concat();
        let beside = [
            a.use_path[0].clone(),
            "msrps://x.example.org:2855/x;tcp".to_owned(),
            "msrps://relay.example.com:2855/unknown;tcp".to_owned(),
            b.uri.clone(),
        ];
        for (method, path) in [
            ("SEND", a.path_to(&b)),
            ("SEND", a.path_to(&c)),
            ("SEND", ring.clone()),
            ("SEND", after_two.clone()),
            ("SEND", beside.to_vec()),
            ("NICKNAME", a.path_to(&b)),
            ("AUTH", after_two),
            ("AUTH", [&a.use_path[..], &[auth_uri(0)]].concat()),
        ] {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            let request = Builder::request("tid1", method)
                .to_path(&path)
                .from_path(&[&a.uri])
                .header("Message-ID", "m1")
                .encode();
            let handoffs = world.handoffs;
            world.write(a.peer, &request);
            world.run();
            let refused = last(&mut world, a.peer);
            assert_eq!(refused.code(), Some(481), "{method} {path:?}");
            assert_eq!(world.handoffs, handoffs, "{method} {path:?}");
        }
        assert_eq!(links(&world).len(), links_before);
        assert!(world.dialling.is_empty());
        for client in [&b, &c] {
            assert!(world.messages(client.peer).is_empty());
        }
        // A path that leaves each relay once goes through, also where two URIs of one follow one another.
        let d = client(&mut world, far, "d");
        send(&mut world, &a, &d, b"there");
        world.run();
        assert_eq!(last(&mut world, d.peer).body(), b"there");
        world.end();
    }
}
