//! Connections that fell silent while an answer was due, and who goes before them (D-41).

use std::time::Duration;

use msrpd::relay::Transport;
use msrpload::codec::build_send;

use crate::relays::{FAR, R2, R2_URI, dial_in};
use crate::setup::{Client, client, last, respond, settings};
use crate::world::{Options, Peer, World};

const P: &str = "msrps://p.example.net:2855/sp;tcp";

/// The hop timer, and a moment.
const EXPIRED: Duration = Duration::from_millis(30_100);

/// `a` sends to the far client; nobody has answered yet.
fn send_far(world: &mut World, a: &Client, id: &str) {
    let to = [a.token.as_str(), R2_URI, FAR];
    let octets = build_send(id, &to, &[&a.uri], id, "1-2/2", b"hi", b'$');
    world.write(a.peer, &octets);
    world.run();
}

/// R2 passes something on to `a`, who answers.
fn says(world: &mut World, link: Peer, a: &Client, id: &str) {
    let to = [a.token.as_str(), &a.uri];
    world.write(
        link,
        &build_send(id, &to, &[R2_URI, FAR], id, "1-2/2", b"hi", b'$'),
    );
    world.run();
    let arrived = last(world, a.peer);
    respond(world, a.peer, &arrived, 200);
    world.run();
    assert_eq!(last(world, link).code(), Some(200));
}

/// What `a` sends next arrives there and nowhere else, and is answered.
#[track_caller]
fn goes_by(world: &mut World, a: &Client, link: Peer, others: &[Peer], id: &str) {
    send_far(world, a, id);
    assert!(world.dialling.is_empty(), "somebody is dialled");
    let arrived = last(world, link);
    assert_eq!(arrived.message_id(), Some(id));
    respond(world, link, &arrived, 200);
    for other in others {
        assert!(world.messages(*other).is_empty());
    }
    world.run();
    assert_eq!(last(world, a.peer).code(), Some(200));
}

/// A SEND that nobody answers: 200 from us, and 408 once the hop timer is over.
#[track_caller]
fn expires(world: &mut World, a: &Client, link: Peer, id: &str) {
    send_far(world, a, id);
    assert_eq!(last(world, link).message_id(), Some(id));
    assert_eq!(last(world, a.peer).code(), Some(200));
    world.advance(EXPIRED);
    assert_eq!(
        last(world, a.peer).header("Status"),
        Some("000 408 Timeout")
    );
}

/// D-41: of several links the one that was heard last serves, not the oldest.
#[test]
fn d_41_a_relay_that_came_back_on_a_new_link_serves_at_once() {
    for workers in [1, 3] {
        let mut world = World::new(Options::workers(workers));
        let a = client(&mut world, 0, "a");
        let old = dial_in(&mut world, usize::from(workers - 1));
        says(&mut world, old, &a, "near1");
        goes_by(&mut world, &a, old, &[], "far1");
        // Its host is gone without a word, and it is back.
        let new = dial_in(&mut world, 0);
        says(&mut world, new, &a, "near2");
        let b = client(&mut world, 0, "b");
        goes_by(&mut world, &b, new, &[old], "far2");
        // The old one lives after all.
        world.advance(Duration::from_secs(1));
        says(&mut world, old, &a, "near3");
        let c = client(&mut world, 0, "c");
        goes_by(&mut world, &c, old, &[new], "far3");
        world.end();
    }
}

/// D-41: a link on which an answer was missed is passed over, also for whoever used it; an octet from it ends that.
#[test]
fn d_41_a_silent_link_is_passed_over_until_it_is_heard_again() {
    for workers in [1, 3] {
        let mut world = World::new(Options::workers(workers));
        let a = client(&mut world, 0, "a");
        let old = dial_in(&mut world, usize::from(workers - 1));
        says(&mut world, old, &a, "near1");
        expires(&mut world, &a, old, "far1");
        send_far(&mut world, &a, "far2");
        assert_eq!(world.dialling.len(), 1, "a fresh dial");
        let new = world.dial_succeeds(0, Some(&[R2]));
        world.run();
        let arrived = last(&mut world, new);
        assert_eq!(arrived.message_id(), Some("far2"));
        respond(&mut world, new, &arrived, 200);
        world.run();
        assert!(world.messages(old).is_empty());
        assert_eq!(last(&mut world, a.peer).code(), Some(200));
        goes_by(&mut world, &a, new, &[old], "far3");
        // The new one falls silent, and the old one speaks.
        expires(&mut world, &a, new, "far4");
        says(&mut world, old, &a, "near2");
        goes_by(&mut world, &a, old, &[new], "far5");
        world.end();
    }
}

/// D-41, CON-08: where no dial succeeds, who fell silent is better than nobody; and whoever answers to nothing collects no
/// connections.
#[test]
fn d_41_a_silent_link_serves_where_there_is_nobody_else() {
    let mut world = World::new(Options::workers(1));
    let a = client(&mut world, 0, "a");
    let old = dial_in(&mut world, 0);
    says(&mut world, old, &a, "near1");
    expires(&mut world, &a, old, "far1");
    send_far(&mut world, &a, "far2");
    world.dial_fails(0);
    world.run();
    world.messages(a.peer);
    goes_by(&mut world, &a, old, &[], "far3");
    let mut links = vec![old];
    for round in 0..6 {
        world.advance(Duration::from_secs(60));
        let id = format!("again{round}");
        send_far(&mut world, &a, &id);
        if !world.dialling.is_empty() {
            let link = world.dial_succeeds(0, Some(&[R2]));
            links.push(link);
            world.run();
        }
        world.advance(EXPIRED);
    }
    assert_eq!(links.len(), 2, "two that say nothing, and no third");
    world.end();
}

/// TMR-03, RPT-03: with Failure-Report partial nobody has to answer.
#[test]
fn d_41_a_link_that_owes_no_answer_is_not_silent() {
    let mut world = World::new(Options::workers(1));
    let a = client(&mut world, 0, "a");
    let link = dial_in(&mut world, 0);
    says(&mut world, link, &a, "near1");
    let to = [a.token.as_str(), R2_URI, FAR];
    let octets = msrpload::codec::Builder::request("tid1", "SEND")
        .to_path(&to)
        .from_path(&[&a.uri])
        .header("Message-ID", "partial")
        .header("Byte-Range", "1-2/2")
        .header("Failure-Report", "partial")
        .header("Content-Type", "text/plain")
        .body(b"hi")
        .encode();
    world.write(a.peer, &octets);
    world.advance(EXPIRED);
    assert_eq!(last(&mut world, link).message_id(), Some("partial"));
    goes_by(&mut world, &a, link, &[], "far1");
    world.end();
}

/// P writes to `a` by a connection of its own.
fn writes(world: &mut World, shard: usize, a: &Client, id: &str) -> Peer {
    let peer = world.connect(shard, Transport::Tls);
    let to = [a.token.as_str(), &a.uri];
    world.write(peer, &build_send(id, &to, &[P], id, "1-2/2", b"hi", b'$'));
    world.run();
    let arrived = last(world, a.peer);
    respond(world, a.peer, &arrived, 200);
    world.run();
    assert_eq!(last(world, peer).code(), Some(200));
    peer
}

fn send_p(world: &mut World, a: &Client, id: &str) {
    let to = [a.token.as_str(), P];
    world.write(
        a.peer,
        &build_send(id, &to, &[&a.uri], id, "1-2/2", b"hi", b'$'),
    );
    world.run();
}

/// D-34, D-41: the first connection keeps the URI while it answers; a peer that is back gets what is sent to it once the
/// first one has missed an answer, or has vanished.
#[test]
fn d_41_a_peer_that_came_back_under_its_uri_gets_its_answers() {
    for (workers, vanishes) in [(1, false), (3, false), (1, true), (3, true)] {
        let mut settings = settings();
        settings.limits.stall_timeout = Duration::from_secs(600);
        let mut world = World::new(Options {
            settings,
            ..Options::workers(workers)
        });
        let a = client(&mut world, 0, "a");
        let first = writes(&mut world, usize::from(workers - 1), &a, "near1");
        let second = writes(&mut world, 0, &a, "near2");
        send_p(&mut world, &a, "tell1");
        assert_eq!(last(&mut world, first).message_id(), Some("tell1"));
        assert!(world.messages(second).is_empty());
        match vanishes {
            true => {
                world.vanish(first);
                world.run();
            }
            false => world.advance(EXPIRED),
        }
        world.messages(a.peer);
        send_p(&mut world, &a, "tell2");
        assert!(world.dialling.is_empty());
        let arrived = last(&mut world, second);
        assert_eq!(arrived.message_id(), Some("tell2"));
        respond(&mut world, second, &arrived, 200);
        world.run();
        assert!(world.messages(first).is_empty());
        world.end();
    }
}
