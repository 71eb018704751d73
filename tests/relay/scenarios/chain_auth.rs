//! A next relay that lies about AUTHs which pass here (AUT-23): only the chain through it suffers.

use std::time::Duration;

use msrpd::relay::{CloseReason, Settings};
use msrpload::codec::{Builder, Message};

use crate::relays::{R2, R2_URI};
use crate::setup::{Client, HOST, client, last, respond, settings, whole};
use crate::world::{Ended, Options, Peer, World};

const R3_URI: &str = "msrps://r3.example.net:2855/t3;tcp";

fn world(workers: u16, change: impl FnOnce(&mut Settings)) -> World {
    let mut settings = settings();
    change(&mut settings);
    World::new(Options {
        workers,
        settings,
        ..Options::default()
    })
}

/// `a` sends an AUTH to the end of this path, with credentials or without.
fn asks(world: &mut World, a: &Client, path: &[&str], credentials: bool) {
    let mut to = vec![a.token.as_str()];
    to.extend(path);
    let authorization = "Digest username=\"alice\", realm=\"r2\", nonce=\"n\", response=\"0\"";
    let auth = Builder::request("auth1", "AUTH")
        .to_path(&to)
        .from_path(&[&a.uri])
        .maybe_header("Authorization", credentials.then_some(authorization))
        .encode();
    world.write(a.peer, &auth);
    world.run();
}

fn challenges(world: &mut World, link: Peer, challenge: &str) {
    let asked = last(world, link);
    assert_eq!(asked.method(), Some("AUTH"));
    let to: Vec<&str> = asked.from_path.iter().map(String::as_str).collect();
    let answer = Builder::response(&asked.tid, 401, Some("Unauthorized"))
        .to_path(&to)
        .from_path(&[&asked.to_path[0]])
        .header("WWW-Authenticate", challenge)
        .encode();
    world.write(link, &answer);
    world.run();
}

/// The link to R2, which an AUTH without credentials has opened.
fn linked(world: &mut World, a: &Client) -> Peer {
    asks(world, a, &[R2_URI], false);
    let link = world.dial_succeeds(0, Some(&[R2]));
    world.run();
    challenges(world, link, "Digest realm=\"r2\", nonce=\"n\"");
    assert_eq!(last(world, a.peer).code(), Some(401));
    link
}

fn chats(world: &mut World, a: &Client, b: &Client, id: &str) {
    let octets = whole(a, b, id, "yes", b"hello");
    world.write(a.peer, &octets);
    world.run();
    let arrived = last(world, b.peer);
    respond(world, b.peer, &arrived, 200);
    world.run();
    assert_eq!(last(world, a.peer).code(), Some(200));
}

/// AUT-23: a relay that refuses whatever credentials it gets takes its own chain from the user, and
/// nothing else.
#[test]
fn aut_23_a_relay_that_refuses_everything_costs_its_own_chain_only() {
    for workers in [1, 3] {
        let mut world = world(workers, |_| {});
        let a = client(&mut world, 0, "a");
        let b = client(&mut world, usize::from(workers - 1), "b");
        let link = linked(&mut world, &a);
        for _ in 0..3 {
            asks(&mut world, &a, &[R2_URI], true);
            challenges(&mut world, link, "Digest realm=\"r2\", nonce=\"n\"");
            assert_eq!(last(&mut world, a.peer).code(), Some(401));
        }
        // That relay gets no more of them, under whatever session-id.
        for uri in [R2_URI, "msrps://R2.example.net.:2855/other;tcp"] {
            asks(&mut world, &a, &[uri], true);
            assert_eq!(last(&mut world, a.peer).code(), Some(403));
            assert!(world.messages(link).is_empty());
        }
        // What the user has here goes on, and so do chains to others.
        chats(&mut world, &a, &b, "msg1");
        asks(&mut world, &a, &[R3_URI], true);
        assert_eq!(world.dialling.len(), 1);
        world.dial_fails(0);
        world.run();
        assert_eq!(last(&mut world, a.peer).code(), Some(408));
        // The relay's connection, and others' chains through it, stay.
        asks(&mut world, &b, &[R2_URI], true);
        let asked = last(&mut world, link);
        assert_eq!(asked.method(), Some("AUTH"));
        respond(&mut world, link, &asked, 401);
        world.run();
        assert!(world.sockets[a.peer].alive());
        world.messages(b.peer);
        // Some time later the user may try again.
        world.advance(Duration::from_secs(601));
        asks(&mut world, &a, &[R2_URI], true);
        assert_eq!(last(&mut world, link).method(), Some("AUTH"));
        world.end();
    }
}

/// AUT-23: who goes on when told that it is no use guesses, and is closed.
#[test]
fn aut_23_who_goes_on_guessing_is_closed() {
    let mut world = world(2, |_| {});
    let a = client(&mut world, 0, "a");
    let link = linked(&mut world, &a);
    for _ in 0..3 {
        asks(&mut world, &a, &[R2_URI], true);
        challenges(&mut world, link, "Digest realm=\"r2\", nonce=\"n\"");
        world.messages(a.peer);
    }
    for number in 0..4 {
        assert!(world.sockets[a.peer].alive(), "{number}");
        asks(&mut world, &a, &[R2_URI], true);
        assert_eq!(last(&mut world, a.peer).code(), Some(403));
    }
    assert_eq!(
        world.sockets[a.peer].ended,
        Some(Ended::Closed(CloseReason::TooManyAuthFailures))
    );
    world.end();
}

/// SEC-07: targets that are spelt anew each time do not begin anew each time.
#[test]
fn aut_23_many_targets_share_a_bound() {
    let mut world = world(1, |_| {});
    let a = client(&mut world, 0, "a");
    let link = linked(&mut world, &a);
    let mut passed = 0;
    for number in 0..100 {
        let far = format!("msrps://far{number}.example.net:2855/x;tcp");
        asks(&mut world, &a, &[R2_URI, &far], true);
        if !world.sockets[a.peer].alive() {
            break;
        }
        let asked = world.messages(link);
        if let [asked] = &asked[..] {
            passed += 1;
            respond(&mut world, link, asked, 401);
            world.run();
        }
        world.messages(a.peer);
    }
    assert_eq!(passed, 16 + 3);
    world.end();
}

/// AUT-23: whoever asks elsewhere for the password of our realm does not get to ask.
#[test]
fn aut_23_a_challenge_from_elsewhere_that_names_our_realm_is_not_forwarded() {
    for workers in [1, 3] {
        let mut world = world(workers, |_| {});
        let a = client(&mut world, usize::from(workers - 1), "a");
        let link = linked(&mut world, &a);
        for challenge in [
            format!("Digest realm=\"{HOST}\", nonce=\"n\", qop=\"auth\""),
            format!("Digest nonce=\"n\", Realm = {HOST}"),
            "Digest realm=\"RELAY.example.com\", nonce=\"n\"".to_owned(),
            format!("Digest realm=\"r2\", nonce=\"n\", Digest realm=\"{HOST}\""),
            "Digest realm=\"rel\\ay.example.com\", nonce=\"n\"".to_owned(),
            format!("Digest realm=\"{HOST}\", nonce=\"n\", stale=true"),
        ] {
            asks(&mut world, &a, &[R2_URI], false);
            challenges(&mut world, link, &challenge);
            let answer: Message = last(&mut world, a.peer);
            assert_eq!(answer.code(), Some(403), "{challenge}");
            assert_eq!(answer.header("WWW-Authenticate"), None);
        }
        asks(&mut world, &a, &[R2_URI], false);
        challenges(&mut world, link, "Digest realm=\"r2\", nonce=\"n\"");
        assert_eq!(last(&mut world, a.peer).code(), Some(401));
        world.end();
    }
}

/// AUT-23: relays of one operator may be of one realm.
#[test]
fn aut_23_a_listed_relay_may_ask_for_our_realm() {
    let mut world = world(1, |settings| settings.peers_allow = vec![R2.into()]);
    let a = client(&mut world, 0, "a");
    let link = linked(&mut world, &a);
    asks(&mut world, &a, &[R2_URI], false);
    challenges(
        &mut world,
        link,
        &format!("Digest realm=\"{HOST}\", nonce=\"n\""),
    );
    assert_eq!(last(&mut world, a.peer).code(), Some(401));
    world.end();
}
