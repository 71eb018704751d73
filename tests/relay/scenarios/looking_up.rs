//! Users whom only a database knows (AUT-12): the AUTH waits for it, and what cannot be judged is
//! no failed attempt.

use std::sync::Arc;
use std::time::Duration;

use msrpd::auth::{Algorithm, Ha1, Hashes, Settings as AuthSettings, Users};
use msrpd::metrics::{LookUpLabel, RefusalReason};
use msrpd::relay::{LookedUp, Transport};

use crate::setup::{AUTH_URI, HOST, answer_as, auth, client_uri, credentials, last, settings};
use crate::world::{Options, Peer, World};

const CAROL: (&str, &str) = ("carol", "in the database");

fn world(workers: u16) -> World {
    let mut world = World::new(Options::workers(workers));
    configure(&mut world, |_| {});
    world
}

/// Alice is known here, others are looked up.
fn configure(world: &mut World, change: impl Fn(&mut Users)) {
    let (_, users) = credentials(0);
    let mut users = (*users).clone();
    change(&mut users);
    let users = Arc::new(users);
    let auth = Arc::new(AuthSettings {
        realm: Some(HOST.to_owned()),
        algorithms: vec![Algorithm::Md5, Algorithm::Sha256],
        looks_up: true,
        ..AuthSettings::default()
    });
    let mut settings = settings();
    settings.limits.look_ups = 8 * world.shards.len();
    let settings = Arc::new(settings);
    for shard in &mut world.shards {
        shard.reconfigure(world.now, settings.clone(), auth.clone(), users.clone());
    }
}

fn found((user, password): (&str, &str)) -> LookedUp {
    let of = |algorithm| Some(Ha1::of(algorithm, user, HOST, password));
    LookedUp::Found(Hashes {
        md5: of(Algorithm::Md5),
        sha256: of(Algorithm::Sha256),
    })
}

/// A challenge, and an answer to it as this user; what comes next is not waited for.
fn ask(world: &mut World, peer: Peer, tid: &str, user: (&str, &str)) {
    let uri = client_uri("c");
    world.write(peer, &auth(&uri, &[AUTH_URI], "auth1", None, None));
    world.run();
    let challenge = last(world, peer);
    assert_eq!(challenge.code(), Some(401));
    let authorization = answer_as(user, &challenge, AUTH_URI, 1);
    let auth = auth(&uri, &[AUTH_URI], tid, None, Some(&authorization));
    world.write(peer, &auth);
    world.run();
}

fn code(world: &mut World, peer: Peer) -> Option<u16> {
    world.run();
    last(world, peer).code()
}

#[test]
fn aut_12_a_user_is_what_the_database_says() {
    for workers in [1, 4] {
        let mut world = world(workers);
        let peer = world.connect(0, Transport::Tls);
        ask(&mut world, peer, "auth2", CAROL);
        assert!(world.messages(peer).is_empty(), "it waits");
        let asked = &world.looking_up[0];
        assert_eq!((&*asked.user, &*asked.realm), ("carol", HOST));
        world.looked_up(found(CAROL));
        assert_eq!(code(&mut world, peer), Some(200));
        ask(&mut world, peer, "auth3", CAROL);
        world.looked_up(found(("carol", "another password")));
        assert_eq!(code(&mut world, peer), Some(401));
        ask(&mut world, peer, "auth4", CAROL);
        world.looked_up(LookedUp::Nobody);
        assert_eq!(code(&mut world, peer), Some(401));
        // A row without a hash for what the client has chosen proves nothing.
        ask(&mut world, peer, "auth5", CAROL);
        world.looked_up(LookedUp::Found(Hashes::default()));
        world.run();
        assert_eq!(world.messages(peer)[0].code(), Some(401));
        // AUT-22: three wrong ones.
        assert!(!world.sockets[peer].alive());
        world.end();
    }
}

/// 408, and as often as it takes.
#[test]
fn aut_22_what_cannot_be_judged_is_no_failed_attempt() {
    let mut world = world(2);
    let peer = world.connect(1, Transport::Tls);
    for number in 0..10 {
        ask(&mut world, peer, &format!("auth{number}x"), CAROL);
        world.looked_up(LookedUp::Failed);
        assert_eq!(code(&mut world, peer), Some(408));
    }
    ask(&mut world, peer, "auth2", CAROL);
    world.looked_up(found(CAROL));
    assert_eq!(code(&mut world, peer), Some(200));
    let shard = world.shards[1].metrics();
    assert_eq!(shard.refused(RefusalReason::UserNotLookedUp), 10);
    assert_eq!(shard.refused(RefusalReason::Credentials), 0);
    assert_eq!(shard.look_ups(LookUpLabel::Failed), 10);
    assert_eq!(shard.look_ups(LookUpLabel::Found), 1);
    world.end();
}

/// Nobody is asked about users who are known here, nor by whoever was not challenged.
#[test]
fn aut_12_only_what_is_not_known_here_is_looked_up() {
    let mut world = world(1);
    configure(&mut world, |users| {
        let ha1 = Ha1::of(Algorithm::Md5, "dave", HOST, "only MD5");
        users
            .set("dave", HOST, Algorithm::Md5, ha1)
            .expect("a user");
        users.set_secrets(vec![
            msrpd::auth::SharedSecret::parse(b"a secret that makes users\n").expect("a secret"),
        ]);
    });
    let peer = world.connect(0, Transport::Tls);
    ask(&mut world, peer, "auth2", ("alice", "wonderland"));
    assert_eq!(code(&mut world, peer), Some(401));
    // SHA-256 is what the client chooses, and his hash is another one.
    ask(&mut world, peer, "auth3", ("dave", "only MD5"));
    assert_eq!(code(&mut world, peer), Some(401));
    assert!(world.looking_up.is_empty());
    // A nonce that is not ours.
    let uri = client_uri("c");
    let forged = format!(
        "Digest username=\"carol\", realm=\"{HOST}\", nonce=\"made up\", uri=\"{AUTH_URI}\", \
         qop=auth, nc=00000001, cnonce=\"c\", algorithm=MD5, response=\"{}\"",
        "0".repeat(32)
    );
    let peer = world.connect(0, Transport::Tls);
    world.write(peer, &auth(&uri, &[AUTH_URI], "auth4", None, Some(&forged)));
    assert_eq!(code(&mut world, peer), Some(401));
    assert!(world.looking_up.is_empty());
    // What looks like a credential for a time may be somebody's name.
    ask(
        &mut world,
        peer,
        "auth5",
        ("4915112345678", "a subscriber's"),
    );
    assert_eq!(world.looking_up[0].user, "4915112345678");
    world.looked_up(found(("4915112345678", "a subscriber's")));
    assert_eq!(code(&mut world, peer), Some(200));
    world.end();
}

#[test]
fn sec_07_look_ups_are_bounded() {
    let mut world = world(1);
    let peer = world.connect(0, Transport::Tls);
    for number in 0..4 {
        ask(&mut world, peer, &format!("auth{number}x"), CAROL);
    }
    assert_eq!(world.looking_up.len(), 4);
    ask(&mut world, peer, "auth9", CAROL);
    assert_eq!(code(&mut world, peer), Some(408), "four of one connection");
    let others: Vec<Peer> = (0..5)
        .map(|_| {
            let other = world.connect(0, Transport::Tls);
            ask(&mut world, other, "auth2", CAROL);
            other
        })
        .collect();
    assert_eq!(world.looking_up.len(), 8);
    assert_eq!(code(&mut world, others[4]), Some(408), "eight in all");
    while !world.looking_up.is_empty() {
        world.looked_up(found(CAROL));
        world.run();
    }
    for other in &others[..4] {
        assert_eq!(code(&mut world, *other), Some(200));
    }
    assert_eq!(world.messages(peer).len(), 4);
    ask(&mut world, peer, "auth8", CAROL);
    assert_eq!(world.looking_up.len(), 1, "there is room again");
    world.end();
}

/// Whoever has gone is not answered, and a drain does not wait for the database.
#[test]
fn con_12_an_answer_that_comes_too_late_is_none() {
    let mut world = world(1);
    let gone = world.connect(0, Transport::Tls);
    ask(&mut world, gone, "auth2", CAROL);
    world.reset(gone);
    world.run();
    world.looked_up(found(CAROL));
    assert_eq!(world.shards[0].sessions(), 0);
    let peer = world.connect(0, Transport::Tls);
    ask(&mut world, peer, "auth2", CAROL);
    let deadline = world.now + Duration::from_secs(10);
    world.shards[0].drain(world.now, deadline);
    world.obey();
    assert!(world.shards[0].is_drained());
    world.looked_up(found(CAROL));
    assert_eq!(code(&mut world, peer), Some(408));
    world.end();
}

/// CON-12: an AUTH whose user is being looked up when a drain begins is answered 408 then, and what
/// the database says later finds nobody.
#[test]
fn con_12_an_auth_that_waits_for_the_database_is_answered_when_a_drain_begins() {
    let mut world = world(1);
    let peer = world.connect(0, Transport::Tls);
    ask(&mut world, peer, "auth2", CAROL);
    assert_eq!(world.looking_up.len(), 1);
    let deadline = world.now + Duration::from_secs(10);
    world.shards[0].drain(world.now, deadline);
    world.obey();
    world.run();
    assert_eq!(last(&mut world, peer).code(), Some(408));
    assert!(world.shards[0].is_drained());
    world.looked_up(found(CAROL));
    world.run();
    assert!(world.messages(peer).is_empty(), "one answer");
    world.end();
}

/// CON-12: one that waits for another shard's word keeps the drain waiting: that comes soon.
#[test]
fn con_12_a_drain_waits_for_auths_that_another_shard_is_asked_about() {
    let mut asked = 0;
    for seed in 1..20 {
        let mut world = World::new(Options {
            seed,
            handoff_delay: Duration::from_millis(20),
            ..Options::workers(4)
        });
        let peer = world.connect(0, Transport::Tls);
        let alice = ("alice", "wonderland");
        ask(&mut world, peer, "auth2", alice);
        if !world.messages(peer).is_empty() {
            // The nonce's home is this shard.
            continue;
        }
        asked += 1;
        let deadline = world.now + Duration::from_secs(10);
        for shard in &mut world.shards {
            shard.drain(world.now, deadline);
        }
        world.obey();
        assert!(!world.shards[0].is_drained());
        world.advance(Duration::from_millis(100));
        assert_eq!(world.messages(peer).len(), 1, "an answer, whichever");
        assert!(world.shards[0].is_drained());
        world.end();
    }
    assert!(asked > 0, "some nonces have another home");
}
