//! More time for a URI in use (UPT-13, D-19): an AUTH to the URI itself, also over relays.

use std::time::Duration;

use msrpload::codec::{Builder, Message, build_send};
use msrpload::digest::{Answer, Asker, Challenge, Spelling};

use crate::setup::{Client, auth, auth_uri, authenticate_at, client, last};
use crate::world::{Options, World};

const ALICE: (&str, &str) = ("alice", "wonderland");
const BOB: (&str, &str) = ("bob", "builder");

fn world(relays: usize, workers: u16) -> World {
    World::new(Options {
        workers,
        more_relays: vec![workers; relays - 1],
        ..Options::default()
    })
}

/// A client of the first relay with a URI of each, for so many seconds at the last one.
fn chained(world: &mut World, relays: usize, expires: u32) -> Client {
    let mut made = client(world, 0, "a");
    if relays == 1 {
        made.use_path.clear();
        assert!(authenticate_at(
            world,
            &mut made,
            &auth_uri(0),
            Some(expires)
        ));
    }
    for relay in 1..relays {
        let seconds = if relay == relays - 1 { expires } else { 86_400 };
        assert!(authenticate_at(
            world,
            &mut made,
            &auth_uri(relay),
            Some(seconds)
        ));
    }
    assert_eq!(made.use_path.len(), relays);
    made
}

/// AUTHs to the last of these URIs, through those before it; gives the answer.
fn refresh(
    world: &mut World,
    from: &Client,
    path: &[String],
    (user, password): (&str, &str),
    expires: u32,
) -> Message {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let uri = path[path.len() - 1];
    let mut authorization = None;
    for tid in ["more1", "more2"] {
        let octets = auth(
            &from.uri,
            &path,
            tid,
            Some(expires),
            authorization.as_deref(),
        );
        world.write(from.peer, &octets);
        world.run();
        let answer = last(world, from.peer);
        assert_eq!(answer.tid, tid);
        if answer.code() != Some(401) || authorization.is_some() {
            return answer;
        }
        let challenge = Challenge::choose(answer.headers_named("WWW-Authenticate"));
        let asker = Asker {
            user,
            password,
            uri,
        };
        let challenge = challenge.expect("a challenge");
        let made = Answer::new(&challenge, asker, "c0ffee", 1, Spelling::default());
        authorization = Some(made.authorization);
    }
    unreachable!("the second answer returns")
}

/// The code for a keepalive to one's own URI: whether it lives (FWD-14).
fn keepalive(world: &mut World, from: &Client, path: &[String]) -> Option<u16> {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let octets = Builder::request("alive1", "SEND")
        .to_path(&path)
        .from_path(&[&from.uri])
        .header("Message-ID", "m1")
        .header("Byte-Range", "1-0/0")
        .encode();
    world.write(from.peer, &octets);
    world.run();
    let mut answers = world.messages(from.peer);
    let report = answers
        .iter()
        .find_map(|answer| answer.status().map(|status| status.1));
    let answer = answers.remove(0);
    report.or(answer.code())
}

fn lose_links(world: &mut World) {
    for peer in 0..world.sockets.len() {
        if world.sockets[peer].partner.is_some() && world.sockets[peer].alive() {
            world.reset(peer);
        }
    }
    world.run();
}

/// UPT-13, UPT-04, UPT-06: the same Use-Path, and the new time counts.
#[test]
fn upt_13_a_refresh_prolongs_the_very_uri_over_any_number_of_relays() {
    for (relays, workers) in [(1, 1), (1, 3), (2, 1), (2, 3), (3, 1), (3, 4)] {
        let mut world = world(relays, workers);
        let a = chained(&mut world, relays, 60);
        for _ in 0..3 {
            world.advance(Duration::from_secs(50));
            let granted = refresh(&mut world, &a, &a.use_path, ALICE, 60);
            assert_eq!(granted.code(), Some(200), "{granted:?}");
            assert_eq!(granted.header("Use-Path"), Some(&*a.use_path.join(" ")));
            assert_eq!(granted.header("Expires"), Some("60"));
        }
        world.advance(Duration::from_secs(55));
        assert_eq!(keepalive(&mut world, &a, &a.use_path), Some(200));
        world.advance(Duration::from_secs(7));
        assert_eq!(keepalive(&mut world, &a, &a.use_path), Some(481));
        let late = refresh(&mut world, &a, &a.use_path, ALICE, 60);
        assert_eq!(late.code(), Some(481), "{relays} relays, {workers} shards");
        world.end();
    }
}

/// UPT-09, UPT-13: whichever link of the relay the refresh comes by, and on whichever shard.
#[test]
fn upt_13_a_refresh_comes_by_any_link_of_the_relay_that_holds_the_uri() {
    for relays in [2, 3] {
        let mut world = world(relays, 4);
        let a = chained(&mut world, relays, 600);
        for round in 0..8 {
            lose_links(&mut world);
            world.advance(Duration::from_secs(1));
            let granted = refresh(&mut world, &a, &a.use_path, ALICE, 600);
            assert_eq!(granted.code(), Some(200), "round {round}: {granted:?}");
            assert_eq!(granted.header("Use-Path"), Some(&*a.use_path.join(" ")));
            assert_eq!(keepalive(&mut world, &a, &a.use_path), Some(200));
        }
        world.end();
    }
}

/// UPT-12, UPT-13: another user, another client and another relay hear that it is unknown, and
/// no time is added.
#[test]
fn upt_13_nobody_else_prolongs_a_uri() {
    for workers in [1, 3] {
        let mut world = world(3, workers);
        let mut a = chained(&mut world, 2, 60);
        let stranger = {
            let shard = world.relays[2].start;
            let mut stranger = client(&mut world, shard, "d");
            // It has a way through its own relay to the one that keeps the URI.
            stranger.use_path.truncate(1);
            stranger
        };
        let near = world.relays[1].start;
        let near = client(&mut world, near, "e");
        world.advance(Duration::from_secs(30));
        let uri = a.use_path[1].clone();
        let others = [
            ("another user", &a, a.use_path.clone(), BOB),
            (
                "another relay",
                &stranger,
                vec![stranger.use_path[0].clone(), uri.clone()],
                ALICE,
            ),
            ("a client of that relay", &near, vec![uri.clone()], ALICE),
        ];
        for (who, from, path, user) in others {
            let answer = refresh(&mut world, from, &path, user, 600);
            assert_eq!(answer.code(), Some(481), "{who}");
            assert_eq!(answer.header("Use-Path"), None);
        }
        world.advance(Duration::from_secs(31));
        assert_eq!(keepalive(&mut world, &a, &a.use_path), Some(481));
        // A new AUTH gets a new one.
        a.use_path.truncate(1);
        assert!(authenticate_at(&mut world, &mut a, &auth_uri(1), Some(60)));
        assert_ne!(a.use_path[1], uri);
        world.end();
    }
}

/// AUT-14, AUT-25: a refresh does not get by with an Authorization that was used before, over
/// whatever link it comes.
#[test]
fn aut_25_a_refresh_seen_before_is_refused_on_another_link() {
    let mut world = world(2, 3);
    let a = chained(&mut world, 2, 600);
    let path: Vec<&str> = a.use_path.iter().map(String::as_str).collect();
    world.write(a.peer, &auth(&a.uri, &path, "more1", Some(600), None));
    world.run();
    let challenge = last(&mut world, a.peer);
    let authorization = crate::setup::answer(&challenge, path[1], 1);
    let octets = auth(&a.uri, &path, "more2", Some(600), Some(&authorization));
    world.write(a.peer, &octets);
    world.run();
    assert_eq!(last(&mut world, a.peer).code(), Some(200));
    for _ in 0..4 {
        lose_links(&mut world);
        world.advance(Duration::from_secs(1));
        world.write(a.peer, &octets);
        world.run();
        let answer = last(&mut world, a.peer);
        assert_eq!(answer.code(), Some(401));
        let header = answer.header("WWW-Authenticate").expect("a challenge");
        assert!(header.contains("stale=true"), "{header}");
    }
    world.end();
}

/// UPT-01, CON-07: an AUTH that comes over a link which we opened gets a URI with our port.
#[test]
fn upt_01_a_uri_handed_out_over_a_link_of_ours_has_our_port() {
    let mut world = world(2, 2);
    let a = chained(&mut world, 2, 600);
    let far = world.relays[1].start;
    let mut b = client(&mut world, far, "b");
    let links = world.sockets.iter().filter(|s| s.partner.is_some()).count();
    assert!(authenticate_at(&mut world, &mut b, &auth_uri(0), None));
    let now = world.sockets.iter().filter(|s| s.partner.is_some()).count();
    assert!(b.use_path[1].contains("relay.example.com:2855/"), "{b:?}");
    // `relay.example.com` without a port may lead elsewhere: it is dialled, once.
    assert!(now <= links + 2);
    let path = [
        a.use_path[0].as_str(),
        &b.use_path[1],
        &b.use_path[0],
        &b.uri,
    ];
    let send = build_send("tid1", &path, &[&a.uri], "m1", "1-2/2", b"hi", b'$');
    world.write(a.peer, &send);
    world.run();
    assert_eq!(last(&mut world, a.peer).code(), Some(200));
    let arrived = last(&mut world, b.peer);
    assert_eq!(arrived.body(), b"hi");
    world.end();
}
