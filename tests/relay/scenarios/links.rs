//! Links to other relays: which connection leads where, and what a certificate entitles to
//! (CON-06 to CON-09, TLS-07, D-34).

use msrpd::relay::{CloseReason, Reached, Verify};
use msrpload::codec::{Message, build_send};

use crate::relays::{FAR, R2, R2_URI, dial_in, verified};
use crate::setup::{Client, client, last, respond};
use crate::world::{Ended, Options, Peer, World};

/// What `a` sends to the far client through the other relay.
fn send_far(world: &mut World, a: &Client, tid: &str) {
    send_by(world, a, tid, R2_URI);
}

fn send_by(world: &mut World, a: &Client, tid: &str, relay: &str) {
    let to = [a.token.as_str(), relay, FAR];
    let octets = build_send(tid, &to, &[&a.uri], tid, "1-2/2", b"hi", b'$');
    world.write(a.peer, &octets);
    world.run();
}

/// What the far client sends to `a` through the other relay.
fn send_near(world: &mut World, link: Peer, a: &Client, tid: &str) {
    let to = [a.token.as_str(), &a.uri];
    let octets = build_send(tid, &to, &[R2_URI, FAR], tid, "1-2/2", b"hi", b'$');
    world.write(link, &octets);
    world.run();
}

/// A SEND has arrived there and is answered.
fn arrives(world: &mut World, link: Peer) -> Message {
    let arrived = last(world, link);
    respond(world, link, &arrived, 200);
    world.run();
    arrived
}

/// The link stands at R2, and has shown by a request that it does.
fn link_in(world: &mut World, shard: usize, a: &Client) -> Peer {
    let link = dial_in(world, shard);
    send_near(world, link, a, "near");
    arrives(world, a.peer);
    assert_eq!(last(world, link).code(), Some(200));
    link
}

/// CON-07, D-34: requests go back by the connection that the other relay opened.
#[test]
fn con_07_a_relay_that_connected_in_gets_requests_over_its_connection() {
    for (workers, shard) in [(1, 0), (3, 2)] {
        let mut world = World::new(Options::workers(workers));
        let a = client(&mut world, 0, "a");
        let link = link_in(&mut world, shard, &a);
        send_far(&mut world, &a, "far1");
        assert!(world.dialling.is_empty());
        arrives(&mut world, link);
        assert_eq!(last(&mut world, a.peer).code(), Some(200));
        world.end();
    }
}

/// TLS-07: a certificate that is no longer good ends the rights at once and the link in order.
#[test]
fn tls_07_a_link_that_no_longer_verifies_is_closed_in_order_and_replaced() {
    let mut world = World::new(Options::workers(2));
    let a = client(&mut world, 0, "a");
    let link = link_in(&mut world, 1, &a);
    world.rejudge(link, verified(&[R2]));
    send_far(&mut world, &a, "far1");
    let arrived = last(&mut world, link);
    assert_eq!(last(&mut world, a.peer).code(), Some(200));
    world.rejudge(link, None);
    assert_eq!(
        world.sockets[link].ended,
        Some(Ended::Closed(CloseReason::Unverified))
    );
    world.run();
    let report = last(&mut world, a.peer);
    assert_eq!(
        report.header("Status"),
        Some("000 408 Timeout"),
        "{arrived:?}"
    );
    send_far(&mut world, &a, "far2");
    assert_eq!(world.dialling.len(), 1);
    assert_eq!(world.dialling[0].verify, Verify::Relay);
    world.end();
}

/// DNS-03, DNS-08: the AUTH's next hop had no port; the URI that comes back has one, and a host
/// of the farm.
#[test]
fn dns_08_a_link_found_by_srv_serves_the_uris_of_the_host_that_it_reached() {
    for workers in [1, 4] {
        let mut world = World::new(Options::workers(workers));
        let a = client(&mut world, 0, "a");
        let auth = msrpload::codec::Builder::request("tid1", "AUTH")
            .to_path(&[&a.token, "msrps://example.net;tcp"])
            .from_path(&[&a.uri])
            .encode();
        world.write(a.peer, &auth);
        world.run();
        assert_eq!(world.dialling.len(), 1);
        assert_eq!(world.dialling[0].target, "msrps://example.net;tcp");
        world.dial_reaches(
            0,
            Reached {
                target: Some("R2.example.net.".into()),
                port: 2855,
            },
        );
        let link = world.dial_succeeds(0, Some(&["example.net", R2]));
        world.run();
        assert_eq!(last(&mut world, link).from_path.len(), 2);
        for (tid, relay) in [("far1", R2_URI), ("far2", "msrps://example.net:2855/x;tcp")] {
            send_by(&mut world, &a, tid, relay);
            assert!(world.dialling.is_empty(), "{relay} is there already");
            arrives(&mut world, link);
            assert_eq!(last(&mut world, a.peer).code(), Some(200));
        }
        send_by(&mut world, &a, "far3", "msrps://r2.example.net:2856/x;tcp");
        assert_eq!(world.dialling.len(), 1, "another port is another relay");
        world.end();
    }
}

/// TLS-10: the target of the SRV record alone proves nothing.
#[test]
fn tls_10_a_srv_target_that_the_certificate_does_not_name_is_dialled_by_its_own_name() {
    let mut world = World::new(Options::workers(1));
    let a = client(&mut world, 0, "a");
    let auth = msrpload::codec::Builder::request("tid1", "AUTH")
        .to_path(&[&a.token, "msrps://example.net;tcp"])
        .from_path(&[&a.uri])
        .encode();
    world.write(a.peer, &auth);
    world.run();
    world.dial_reaches(
        0,
        Reached {
            target: Some(R2.into()),
            port: 2855,
        },
    );
    world.dial_succeeds(0, Some(&["example.net"]));
    world.run();
    send_far(&mut world, &a, "far1");
    assert_eq!(world.dialling.len(), 1);
    assert_eq!(world.dialling[0].target, "msrps://r2.example.net:2855;tcp");
    world.end();
}
