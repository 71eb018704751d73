//! Passwords that are guessed: failed AUTHs count for the connection, the source prefix and the
//! user (AUT-22, D-37, SEC-06), and nobody is locked out by what others did.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use msrpd::relay::{Settings, Transport};

use crate::setup::{AUTH_URI, USERS, answer_as, auth, last, settings};
use crate::world::{Options, Peer, World};

const ALICE: (&str, &str) = USERS[0];
const BOB: (&str, &str) = USERS[1];
const GUESS: (&str, &str) = ("bob", "guessed");
const URI: &str = "msrps://g.example.net:2855/g;tcp";

fn world(workers: u16, change: impl FnOnce(&mut Settings)) -> World {
    let mut settings = settings();
    change(&mut settings);
    let mut world = World::new(Options {
        settings,
        ..Options::workers(workers)
    });
    world.checks = false;
    world
}

fn from(world: &mut World, number: u32) {
    world.from = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number));
}

/// The answer to credentials of this user, right or wrong.
fn tries_to(world: &mut World, peer: Peer, user: (&str, &str), to: &str) -> u16 {
    world.write(peer, &auth(URI, &[to], "auth1", None, None));
    world.run_until_answered(peer);
    let challenge = last(world, peer);
    let authorization = answer_as(user, &challenge, to, 1);
    world.write(peer, &auth(URI, &[to], "auth2", None, Some(&authorization)));
    world.run_until_answered(peer);
    last(world, peer).code().expect("an answer")
}

fn tries(world: &mut World, peer: Peer, user: (&str, &str)) -> u16 {
    tries_to(world, peer, user, AUTH_URI)
}

/// On a connection of its own, on each shard in turn.
fn tries_once(world: &mut World, user: (&str, &str)) -> u16 {
    let shard = world.sockets.len() % world.shards.len();
    let peer = world.connect(shard, Transport::Tls);
    let code = tries(world, peer, user);
    world.reset(peer);
    world.run();
    code
}

/// How many of so many guesses, each on a connection of its own, are judged.
fn judged(world: &mut World, user: (&str, &str), guesses: usize) -> usize {
    let codes: Vec<u16> = (0..guesses).map(|_| tries_once(world, user)).collect();
    let judged = codes.iter().filter(|code| **code == 401).count();
    let stopped = codes.iter().filter(|code| **code == 408).count();
    assert_eq!(judged + stopped, guesses, "{codes:?}");
    judged
}

/// AUT-22: whoever has an account cannot wipe out what he failed for another user.
#[test]
fn aut_22_success_of_one_user_does_not_clear_the_failures_of_another() {
    let mut world = world(1, |_| {});
    let peer = world.connect(0, Transport::Tls);
    assert_eq!(tries(&mut world, peer, ALICE), 200);
    for _ in 0..2 {
        assert_eq!(tries(&mut world, peer, GUESS), 401);
        assert_eq!(tries(&mut world, peer, ALICE), 200);
    }
    assert_eq!(tries(&mut world, peer, GUESS), 401);
    world.run();
    assert!(!world.sockets[peer].alive(), "the third one closes");
}

/// AUT-22: success of a user clears his own failures, and they are forgotten after a while.
#[test]
fn aut_22_failures_are_cleared_by_their_own_user_and_by_time() {
    let mut world = world(1, |_| {});
    let peer = world.connect(0, Transport::Tls);
    for _ in 0..4 {
        for _ in 0..2 {
            assert_eq!(tries(&mut world, peer, GUESS), 401);
        }
        assert_eq!(tries(&mut world, peer, BOB), 200);
    }
    for _ in 0..3 {
        for _ in 0..2 {
            assert_eq!(tries(&mut world, peer, GUESS), 401);
        }
        world.advance(Duration::from_secs(601));
    }
    assert!(world.sockets[peer].alive());
}

/// SEC-06: new connections do not make guesses free, and other users and other sources get in.
#[test]
fn sec_06_guesses_for_a_user_from_one_source_have_a_rate_over_all_connections_and_shards() {
    for workers in [1, 3] {
        let mut world = world(workers, |_| {});
        from(&mut world, 1);
        assert_eq!(judged(&mut world, GUESS, 300), 60);
        assert_eq!(tries_once(&mut world, BOB), 408, "nobody is told");
        assert_eq!(tries_once(&mut world, ALICE), 200, "another user");
        from(&mut world, 2);
        assert_eq!(tries_once(&mut world, BOB), 200, "from elsewhere");
        from(&mut world, 1);
        // The sixtieth part of ten minutes for each.
        world.advance(Duration::from_secs(101));
        let more = judged(&mut world, GUESS, 40);
        assert!((9..=11).contains(&more), "{more} after 101 s");
    }
}

/// SEC-06: one source that goes through the users has a rate, too.
#[test]
fn sec_06_failures_of_one_source_have_a_rate_whatever_the_user() {
    let mut world = world(2, |settings| {
        settings.limits.auth_failures_per_prefix = 30;
    });
    from(&mut world, 1);
    let names: Vec<String> = (0..100).map(|number| format!("user{number}")).collect();
    let codes: Vec<u16> = names
        .iter()
        .map(|name| tries_once(&mut world, (name, "x")))
        .collect();
    assert_eq!(codes.iter().filter(|code| **code == 401).count(), 30);
    assert_eq!(tries_once(&mut world, BOB), 408);
    from(&mut world, 2);
    assert_eq!(tries_once(&mut world, BOB), 200);
    from(&mut world, 1);
    world.advance(Duration::from_secs(25));
    assert_eq!(tries_once(&mut world, BOB), 200, "some have drained");
}

/// SEC-06: many sources for one user get one guess each once his count is used up, and the user
/// gets in from wherever he has not failed.
#[test]
fn sec_06_many_sources_cannot_guess_freely_nor_lock_the_user_out() {
    let mut world = world(2, |settings| {
        settings.limits.auth_failures_per_user = 50;
        settings.limits.auth_failures_per_user_and_prefix = 20;
    });
    let mut judged_in_all = 0;
    for source in 0..3 {
        from(&mut world, source);
        judged_in_all += judged(&mut world, GUESS, 30);
    }
    assert_eq!(judged_in_all, 50, "twenty, twenty, ten");
    for source in 10..40 {
        from(&mut world, source);
        assert_eq!(judged(&mut world, GUESS, 5), 1, "one for each source");
    }
    from(&mut world, 100);
    assert_eq!(tries_once(&mut world, BOB), 200);
    // What he mistypes himself costs him a moment there.
    assert_eq!(tries_once(&mut world, GUESS), 401);
    assert_eq!(tries_once(&mut world, BOB), 408);
    world.advance(Duration::from_secs(31));
    assert_eq!(tries_once(&mut world, BOB), 200);
}

/// AUT-12: whether a user exists shows in none of it.
#[test]
fn aut_12_counts_of_failures_do_not_tell_who_exists() {
    let mut world = world(2, |_| {});
    from(&mut world, 1);
    let known = judged(&mut world, GUESS, 100);
    from(&mut world, 2);
    let unknown = judged(&mut world, ("nobody", "guessed"), 100);
    assert_eq!(known, unknown);
}

/// Where the operator wants none of it.
#[test]
fn sec_06_counts_of_failures_can_be_turned_off() {
    let mut world = world(1, |settings| {
        settings.limits.auth_failures_per_prefix = 0;
        settings.limits.auth_failures_per_user = 0;
        settings.limits.auth_failures_per_user_and_prefix = 0;
    });
    assert_eq!(judged(&mut world, GUESS, 500), 500);
}
