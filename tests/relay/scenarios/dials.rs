//! Connections being opened: one user's that come to nothing leave room for everybody else's
//! (DNS-07, SEC-03, SEC-07).

use std::time::Duration;

use msrpd::relay::Settings;
use msrpload::codec::{Builder, Message};

use crate::setup::{
    AUTH_URI, Client, USERS, answer_as, auth, client, foreign, last, respond, settings,
};
use crate::world::{Options, World};

/// A client that AUTHs as this user.
fn client_as(world: &mut World, shard: usize, name: &str, user: (&str, &str)) -> Client {
    let mut client = foreign(world, shard, name);
    let uri = client.uri.clone();
    world.write(client.peer, &auth(&uri, &[AUTH_URI], "auth1", None, None));
    world.run_until_answered(client.peer);
    let challenge = last(world, client.peer);
    let authorization = answer_as(user, &challenge, AUTH_URI, 1);
    let again = auth(&uri, &[AUTH_URI], "auth2", None, Some(&authorization));
    world.write(client.peer, &again);
    world.run_until_answered(client.peer);
    let granted = last(world, client.peer);
    let use_path = granted.header("Use-Path").expect("a Use-Path");
    client.token = use_path.to_owned();
    client.use_path = vec![use_path.to_owned()];
    client
}

fn send_to(world: &mut World, from: &Client, host: &str, id: &str) {
    let far = format!("msrps://{host}:2855/far;tcp");
    let octets = Builder::request(&format!("tid{id}"), "SEND")
        .to_path(&[&from.token, &far])
        .from_path(&[&from.uri])
        .header("Message-ID", id)
        .header("Byte-Range", "1-2/2")
        .header("Content-Type", "text/plain")
        .body(b"hi")
        .encode();
    world.write(from.peer, &octets);
    world.run();
}

/// Requests that make the relay dial so many hosts.
fn send_to_many(world: &mut World, from: &Client, prefix: &str, count: usize) {
    for number in 0..count {
        send_to(
            world,
            from,
            &format!("{prefix}{number}.example"),
            &format!("{prefix}{number}"),
        );
    }
}

/// The hosts being dialled that begin so, in order.
fn dialled(world: &World, prefix: &str) -> Vec<String> {
    let hosts = world.dialling.iter().map(|dial| {
        let (_, rest) = dial.target.split_once("//").expect("a scheme");
        rest.split(':').next().expect("a host").to_owned()
    });
    hosts.filter(|host| host.starts_with(prefix)).collect()
}

fn fail(world: &mut World, host: &str) {
    let at = world.dialling.iter().position(|d| d.target.contains(host));
    world.dial_fails(at.expect("it is dialled"));
    world.run();
}

fn codes(messages: &[Message]) -> Vec<u16> {
    messages.iter().filter_map(Message::code).collect()
}

fn world(workers: u16, change: impl FnOnce(&mut Settings)) -> World {
    let mut settings = settings();
    change(&mut settings);
    World::new(Options {
        settings,
        ..Options::workers(workers)
    })
}

/// DNS-07, SEC-03: names that nobody answers for cost their user's share and nobody else's.
#[test]
fn dns_07_one_users_dials_that_hang_leave_the_others_theirs() {
    for workers in [1, 2, 4] {
        let mut world = world(workers, |_| {});
        world.checks = false;
        let mallory = client_as(&mut world, 0, "m", USERS[0]);
        send_to_many(&mut world, &mallory, "h", 760);
        // Each shard has an equal share, and hosts are spread over shards.
        assert!(dialled(&world, "h").len() <= 32, "one session's share");
        let again = client_as(&mut world, 0, "n", USERS[0]);
        send_to_many(&mut world, &again, "i", 200);
        let both = dialled(&world, "h").len() + dialled(&world, "i").len();
        assert!((33..=64).contains(&both), "one user's share: {both}");
        let bob = client_as(&mut world, usize::from(workers - 1), "b", USERS[1]);
        for number in 0..8 {
            send_to(&mut world, &bob, &format!("b{number}.example"), "b");
            assert_eq!(dialled(&world, "b").len(), number + 1, "at once");
        }
        for shard in &world.shards {
            shard.assert_invariants();
        }
        let numbers = |prefix: &str| {
            let of = world.dialling.iter().filter(|dial| {
                let (_, host) = dial.target.split_once("//").expect("a scheme");
                host.starts_with(prefix)
            });
            let mut numbers: Vec<u64> = of.map(|dial| dial.on_behalf_of).collect();
            numbers.dedup();
            numbers
        };
        assert_eq!(numbers("h").len(), 1, "one user's look-ups have one number");
        assert_eq!(numbers("h"), numbers("i"), "in all his sessions");
        assert_ne!(numbers("h"), numbers("b"));
    }
}

/// Slots that become free go to the users in turn, and to a user's sessions in turn.
#[test]
fn dns_07_slots_go_to_the_users_in_turn_and_to_a_users_sessions_in_turn() {
    let mut world = world(1, |settings| {
        settings.limits.dials = 4;
        settings.limits.dials_reserved = 0;
        settings.limits.dials_per_user = 4;
        settings.limits.dials_per_session = 4;
    });
    let mallory = client_as(&mut world, 0, "m", USERS[0]);
    let other = client_as(&mut world, 0, "n", USERS[0]);
    let bob = client_as(&mut world, 0, "b", USERS[1]);
    send_to_many(&mut world, &mallory, "h", 20);
    send_to_many(&mut world, &other, "o", 20);
    send_to_many(&mut world, &bob, "b", 20);
    assert_eq!(dialled(&world, "h").len(), 4, "all there are");
    let mut begun = Vec::new();
    for number in 0..12 {
        let before: Vec<String> = dialled(&world, "");
        let first = before.first().expect("one is under way").clone();
        fail(&mut world, &first);
        let after = dialled(&world, "");
        let new: Vec<&String> = after.iter().filter(|host| !before.contains(host)).collect();
        assert_eq!(new.len(), 1, "one ended, one began: {number}");
        begun.push(new[0].chars().next().expect("a letter"));
    }
    let begun: String = begun.into_iter().collect();
    assert_eq!(begun, "hbobhbobhbob");
    world.end();
}

/// Whatever strangers' names keep, what was reached before is found again.
#[test]
fn dns_07_the_reserve_is_for_next_hops_that_were_reached_before() {
    let mut world = world(1, |settings| {
        settings.limits.dials = 4;
        settings.limits.dials_reserved = 2;
    });
    let bob = client_as(&mut world, 0, "b", USERS[1]);
    send_to(&mut world, &bob, "known.example", "k1");
    let link = world.dial_succeeds(0, Some(&["known.example"]));
    world.run();
    let request = last(&mut world, link);
    respond(&mut world, link, &request, 200);
    world.run();
    world.reset(link);
    world.run();
    world.messages(bob.peer);
    let mallory = client_as(&mut world, 0, "m", USERS[0]);
    send_to_many(&mut world, &mallory, "h", 20);
    assert_eq!(dialled(&world, "h").len(), 2, "all but the reserve");
    send_to(&mut world, &bob, "new.example", "n1");
    assert!(dialled(&world, "new").is_empty(), "waits for its turn");
    send_to(&mut world, &bob, "known.example", "k2");
    assert_eq!(dialled(&world, "known").len(), 1, "from the reserve");
    fail(&mut world, "h0.example");
    assert_eq!(dialled(&world, "new").len(), 0, "mallory was first");
    fail(&mut world, "h1.example");
    assert_eq!(dialled(&world, "new").len(), 1, "now it is bob's turn");
    world.end();
}

/// RPT-05, D-10: a wait that is over is a 408, and says nothing about the next hop.
#[test]
fn rpt_05_what_waits_too_long_for_its_turn_fails_with_408_and_is_tried_again_at_once() {
    let mut world = world(1, |settings| {
        settings.limits.dials_per_session = 1;
        settings.limits.dial_wait = Duration::from_secs(5);
    });
    let a = client(&mut world, 0, "a");
    send_to(&mut world, &a, "h0.example", "m0");
    send_to(&mut world, &a, "h1.example", "m1");
    assert_eq!(codes(&world.messages(a.peer)), [200, 200], "queued");
    assert_eq!(dialled(&world, "h"), ["h0.example"]);
    world.advance(Duration::from_millis(4900));
    assert!(world.messages(a.peer).is_empty());
    world.advance(Duration::from_millis(200));
    let report = last(&mut world, a.peer);
    assert_eq!(report.header("Status"), Some("000 408 Timeout"));
    assert_eq!(report.message_id(), Some("m1"));
    // The first one has come to nothing meanwhile, and there is no back-off for the other.
    fail(&mut world, "h0.example");
    world.messages(a.peer);
    send_to(&mut world, &a, "h1.example", "m2");
    assert_eq!(dialled(&world, "h"), ["h1.example"]);
    world.end();
}

/// SEC-07: what waits is bounded for each user and in all; the user with the most gives way.
#[test]
fn sec_07_dials_that_wait_are_bounded_and_the_user_with_the_most_gives_way() {
    let mut world = world(1, |settings| {
        settings.limits.dials = 2;
        settings.limits.dials_reserved = 0;
        settings.limits.dials_waiting = 10;
        settings.limits.dials_waiting_per_user = 8;
    });
    let mallory = client_as(&mut world, 0, "m", USERS[0]);
    send_to_many(&mut world, &mallory, "h", 12);
    // Two are under way and eight wait.
    let mut expected = vec![200; 10];
    expected.extend([408, 408]);
    assert_eq!(codes(&world.messages(mallory.peer)), expected);
    let bob = client_as(&mut world, 0, "b", USERS[1]);
    send_to_many(&mut world, &bob, "b", 4);
    assert_eq!(codes(&world.messages(bob.peer)), [200; 4], "there is room");
    world.advance(Duration::from_millis(50));
    let reports = world.messages(mallory.peer);
    let failed: Vec<&str> = reports.iter().filter_map(Message::message_id).collect();
    assert_eq!(failed, ["h9", "h8"], "the youngest of whoever has the most");
    for report in &reports {
        assert_eq!(report.header("Status"), Some("000 408 Timeout"));
    }
    // Six wait of the one and four of the other: two more are all that the second may have.
    send_to_many(&mut world, &bob, "c", 3);
    assert_eq!(codes(&world.messages(bob.peer)), [200, 408, 408]);
    world.end();
}

/// Nobody draws a next hop that others need into his own queue.
#[test]
fn dns_07_a_next_hop_that_waits_for_one_user_is_dialled_for_another() {
    let mut world = world(1, |settings| settings.limits.dials_per_session = 1);
    let mallory = client_as(&mut world, 0, "m", USERS[0]);
    send_to_many(&mut world, &mallory, "h", 9);
    send_to(&mut world, &mallory, "wanted.example", "w1");
    assert!(dialled(&world, "wanted").is_empty());
    let bob = client_as(&mut world, 0, "b", USERS[1]);
    send_to(&mut world, &bob, "wanted.example", "w2");
    assert_eq!(dialled(&world, "wanted").len(), 1, "in bob's turn");
    // And not the other way round: what waits for bob stays with bob.
    send_to(&mut world, &bob, "mine.example", "w3");
    send_to(&mut world, &mallory, "mine.example", "w4");
    fail(&mut world, "wanted.example");
    assert_eq!(dialled(&world, "mine").len(), 1);
    world.end();
}

/// FNS-07: an AUTH that leads onward takes turns, too.
#[test]
fn dns_07_chained_auths_take_turns_like_sends() {
    let mut world = world(1, |settings| settings.limits.dials_per_session = 3);
    let a = client(&mut world, 0, "a");
    for number in 0..10 {
        let next = format!("msrps://r{number}.example;tcp");
        let onward = auth(
            &a.uri,
            &[&a.token, &next],
            &format!("onward{number}"),
            None,
            None,
        );
        world.write(a.peer, &onward);
        world.run();
    }
    assert_eq!(dialled(&world, "r").len(), 3);
    world.advance(Duration::from_secs(11));
    let answers = codes(&world.messages(a.peer));
    assert_eq!(answers, [408; 7], "they have waited in vain");
    world.end();
}

/// CON-05, SEC-07: connections to last hops that one user had dialled are bounded while they are up, too; others
/// have theirs, and one that ends makes room.
#[test]
fn sec_07_last_hops_that_are_up_count_for_the_user_who_had_them_dialled() {
    let mut world = world(1, |settings| settings.limits.dialled_per_user = 3);
    let mallory = client_as(&mut world, 0, "m", USERS[0]);
    let mut up = Vec::new();
    let come_up = |world: &mut World, name: &str| {
        let peer = world.dial_succeeds(0, Some(&[name]));
        world.run();
        peer
    };
    for number in 0..3 {
        let name = format!("h{number}.example");
        send_to(&mut world, &mallory, &name, &format!("m{number}"));
        up.push(come_up(&mut world, &name));
    }
    assert_eq!(codes(&world.messages(mallory.peer)), [200; 3]);
    send_to(&mut world, &mallory, "h3.example", "m3");
    assert!(dialled(&world, "h").is_empty());
    assert_eq!(codes(&world.messages(mallory.peer)), [408]);
    // What is up serves her on.
    send_to(&mut world, &mallory, "h0.example", "m4");
    assert_eq!(codes(&world.messages(mallory.peer)), [200]);
    let bob = client_as(&mut world, 0, "b", USERS[1]);
    send_to(&mut world, &bob, "b.example", "b0");
    assert_eq!(dialled(&world, "b").len(), 1);
    come_up(&mut world, "b.example");
    world.reset(up[1]);
    world.run();
    world.messages(mallory.peer);
    send_to(&mut world, &mallory, "h5.example", "m5");
    assert_eq!(dialled(&world, "h5").len(), 1);
    world.end();
}
