//! For whom bounds do not hold that are for one user: a relay that the operator lets in and whose
//! certificate names the host of its first From-Path, and nobody else (AUT-22, AUT-24, TLS-07).

use std::time::Duration;

use msrpd::relay::{CloseReason, Quota, Quotas, Settings};
use msrpload::codec::Builder;

use crate::relays::{FAR, R2, R2_URI};
use crate::setup::{AUTH_URI, answer_as, auth, client, last, respond, settings};
use crate::world::{Ended, Options, Peer, World};

/// The From-Path of somebody who has a certificate, and the names in it.
const NO_RELAYS: [(&str, &[&str], &[&str]); 5] = [
    ("no name at all", &[], &[R2_URI]),
    ("another name", &["other.example.net"], &[R2_URI]),
    (
        "a client's From-Path",
        &[R2],
        &["msrps://c.invalid:2855/sc;tcp"],
    ),
    (
        "the name behind a client's",
        &[R2],
        &["msrps://c.invalid:2855/sc;tcp", R2_URI],
    ),
    ("a wildcard too short", &["*.net"], &[R2_URI]),
];

const RELAYS: [(&str, &[&str], &[&str]); 3] = [
    ("a relay", &[R2], &[R2_URI, FAR]),
    ("a relay by a wildcard", &["*.example.net"], &[R2_URI, FAR]),
    (
        "a relay with a dot",
        &[R2],
        &["msrps://r2.example.net.:2855/t2;tcp", FAR],
    ),
];

fn world(change: impl FnOnce(&mut Settings)) -> World {
    let mut settings = settings();
    change(&mut settings);
    World::new(Options {
        workers: 2,
        settings,
        ..Options::default()
    })
}

/// So many wrong passwords; how many were answered before the connection was closed.
fn guesses(world: &mut World, peer: Peer, from: &[&str], wrong: usize) -> usize {
    for number in 0..wrong {
        let ask = |authorization: Option<&str>| {
            Builder::request("auth1", "AUTH")
                .to_path(&[AUTH_URI])
                .from_path(from)
                .maybe_header("Authorization", authorization)
                .encode()
        };
        if !world.sockets[peer].alive() {
            return number;
        }
        world.write(peer, &ask(None));
        world.run();
        let challenge = last(world, peer);
        let authorization = answer_as(("alice", "guess"), &challenge, AUTH_URI, 1);
        world.write(peer, &ask(Some(&authorization)));
        world.run();
        world.messages(peer);
    }
    wrong
}

/// AUT-22: several failed AUTHs close the connection of whoever is no relay, whatever its certificate.
#[test]
fn aut_22_a_certificate_alone_does_not_lift_the_bound_on_failed_auths() {
    for (case, names, from) in NO_RELAYS {
        let mut world = world(|_| {});
        let peer = world.connect_verified(0, names);
        let guessed = guesses(&mut world, peer, from, 20);
        assert_eq!(guessed, 3, "{case}");
        world.end();
    }
    for (case, names, from) in RELAYS {
        let mut world = world(|_| {});
        let peer = world.connect_verified(0, names);
        assert_eq!(guesses(&mut world, peer, from, 20), 20, "{case}");
        assert!(world.sockets[peer].alive(), "{case}");
        world.end();
    }
}

/// AUT-22: who has been a relay and then speaks for a client is one from then on.
#[test]
fn aut_22_a_relay_that_speaks_for_a_client_loses_what_relays_have() {
    let mut world = world(|_| {});
    let peer = world.connect_verified(0, &[R2]);
    assert_eq!(guesses(&mut world, peer, &[R2_URI, FAR], 5), 5);
    let client = "msrps://c.invalid:2855/sc;tcp";
    world.write(peer, &auth(client, &[AUTH_URI], "auth1", None, None));
    world.run();
    world.messages(peer);
    assert!(guesses(&mut world, peer, &[R2_URI, FAR], 5) <= 3);
    assert!(!world.sockets[peer].alive());
    world.end();
}

/// AUT-24, TLS-09: a blocked relay has no more rights than anybody, by whatever name it goes and however
/// that is spelt.
#[test]
fn aut_24_a_blocked_relay_is_refused_by_every_name_and_spelling() {
    let wild = "msrps://x.wild.test:2855/t;tcp";
    let bad = "msrps://bad.wild.test:2855/t;tcp";
    let dotted = "msrps://bad.wild.test.:2855/t;tcp";
    let dots = "msrps://BAD.wild.test..:2855/t;tcp";
    for (block, names, from) in [
        ("bad.wild.test", &["*.wild.test"][..], wild),
        ("bad.wild.test", &["*.wild.test"], bad),
        ("bad.wild.test", &["bad.wild.test"], dotted),
        ("bad.wild.test", &["bad.wild.test."], dots),
        ("bad.wild.test.", &["bad.wild.test"], bad),
        ("BAD.wild.test.", &["x.wild.test", "bad.wild.test"], wild),
    ] {
        let mut world = world(|settings| settings.peers_block = vec![block.into()]);
        let a = client(&mut world, 0, "a");
        let peer = world.connect_verified(1, names);
        for (method, to) in [
            ("SEND", vec![a.token.as_str(), &a.uri]),
            ("AUTH", vec![AUTH_URI]),
            ("NICKNAME", vec![&a.token, &a.uri]),
        ] {
            let request = Builder::request("tid1", method)
                .to_path(&to)
                .from_path(&[from])
                .header("Message-ID", "m1")
                .encode();
            world.write(peer, &request);
            world.run();
            assert_eq!(last(&mut world, peer).code(), Some(403), "{block}: {from}");
        }
        assert_eq!(
            world.sockets[peer].ended,
            Some(Ended::Closed(CloseReason::TooManyFailures)),
            "{block}: {from}"
        );
        assert!(world.messages(a.peer).is_empty());
        world.end();
    }
}

/// AUT-24: nor is it dialled under another spelling.
#[test]
fn aut_24_a_blocked_relay_is_not_dialled_by_another_spelling() {
    let mut world = world(|settings| settings.peers_block = vec![R2.into()]);
    let a = client(&mut world, 0, "a");
    for host in ["r2.example.net.", "R2.example.net..", "%722.example.net%2E"] {
        let relay = format!("msrps://{host}:2855/t2;tcp");
        let to = [a.token.as_str(), &relay, FAR];
        let octets =
            msrpload::codec::build_send("tid1", &to, &[&a.uri], "m1", "1-2/2", b"hi", b'$');
        world.write(a.peer, &octets);
        world.run();
        assert!(world.dialling.is_empty(), "{host}");
        assert_eq!(last(&mut world, a.peer).code(), Some(403), "{host}");
    }
    world.end();
}

fn prefix(quota: Quota) -> Quotas {
    Quotas {
        prefix: quota,
        ..Quotas::default()
    }
}

/// SEC-06: connections of a prefix count, but those of relays.
#[test]
fn sec_06_a_certificate_alone_does_not_lift_the_bound_on_connections() {
    let two = prefix(Quota {
        connections: 2,
        ..Quota::default()
    });
    for (is_relay, cases) in [(false, &NO_RELAYS[..]), (true, &RELAYS)] {
        for (case, names, from) in cases {
            let mut world = world(|settings| settings.quotas = two);
            let mut alive = 0;
            for _ in 0..6 {
                let peer = world.connect_verified(0, names);
                world.run();
                if world.sockets[peer].alive() {
                    guesses(&mut world, peer, from, 1);
                }
                alive += usize::from(world.sockets[peer].alive());
            }
            assert_eq!(alive, if is_relay { 6 } else { 2 }, "{case}");
            world.end();
        }
    }
}

/// SEC-06: so do messages.
#[test]
fn sec_06_a_certificate_alone_does_not_lift_the_rate_of_messages() {
    let five = prefix(Quota {
        messages_per_second: 5,
        ..Quota::default()
    });
    for (is_relay, cases) in [(false, &NO_RELAYS[..]), (true, &RELAYS)] {
        for (case, names, from) in cases {
            let mut world = world(|settings| settings.quotas = five);
            let a = client(&mut world, 0, "a");
            let peer = world.connect_verified(1, names);
            for number in 0..200 {
                let id = format!("msg{number}");
                let to = [a.token.as_str(), &a.uri];
                let octets = msrpload::codec::build_send(&id, &to, from, &id, "1-2/2", b"hi", b'$');
                world.write(peer, &octets);
            }
            world.run();
            world.advance(Duration::from_secs(2));
            let arrived = world.messages(a.peer);
            for message in &arrived {
                respond(&mut world, a.peer, message, 200);
            }
            world.run();
            match is_relay {
                true => assert_eq!(arrived.len(), 200, "{case}"),
                false => assert!(
                    (1..30).contains(&arrived.len()),
                    "{case}: {}",
                    arrived.len()
                ),
            }
            world.reset(peer);
            world.advance(Duration::from_secs(60));
            world.end();
        }
    }
}
