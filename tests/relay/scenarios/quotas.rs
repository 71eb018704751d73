//! What users, realms and source prefixes may have, over all shards (SEC-06).

use std::time::Duration;

use msrpd::metrics::{QuotaLabel, SubjectLabel};
use msrpd::relay::{CloseReason, Quota, Quotas, Transport};
use msrpload::codec::build_send;

use crate::setup::{
    self, AUTH_URI, Client, USERS, answer_as, auth, client_uri, last, settings, whole,
};
use crate::world::{Ended, Options, Peer, World};

const ALICE: usize = 0;
const BOB: usize = 1;
const SECOND: Duration = Duration::from_secs(1);

fn world(workers: u16, quotas: Quotas) -> World {
    let mut settings = settings();
    settings.quotas = quotas;
    World::new(Options {
        workers,
        settings,
        ..Options::default()
    })
}

fn of_user(user: Quota) -> Quotas {
    Quotas {
        user,
        ..Quotas::default()
    }
}

fn reload(world: &mut World, quotas: Quotas) {
    setup::reload(world, |settings| settings.quotas = quotas);
}

/// Sends both requests of an AUTH, as fast as it is challenged.
fn ask(world: &mut World, peer: Peer, name: &str, user: usize) {
    let uri = client_uri(name);
    world.write(peer, &auth(&uri, &[AUTH_URI], "auth1", None, None));
    world.run();
    let challenge = last(world, peer);
    let authorization = answer_as(USERS[user], &challenge, AUTH_URI, 1);
    world.write(
        peer,
        &auth(&uri, &[AUTH_URI], "auth2", None, Some(&authorization)),
    );
    world.run();
}

/// The code of its answer, and the client.
fn join(world: &mut World, shard: usize, name: &str, user: usize) -> (u16, Client) {
    let peer = world.connect(shard, Transport::Tls);
    let mut client = Client {
        peer,
        uri: client_uri(name),
        token: String::new(),
        use_path: Vec::new(),
    };
    let code = join_on(world, &mut client, name, user);
    (code, client)
}

fn join_on(world: &mut World, client: &mut Client, name: &str, user: usize) -> u16 {
    ask(world, client.peer, name, user);
    let answer = last(world, client.peer);
    if let Some(use_path) = answer.header("Use-Path") {
        client.token = use_path.to_owned();
        client.use_path = vec![use_path.to_owned()];
    }
    answer.code().expect("a response")
}

fn exceeded(world: &World, subject: SubjectLabel, quota: QuotaLabel) -> u64 {
    let shards = world.shards.iter();
    shards
        .map(|shard| shard.metrics().quotas_exceeded(subject, quota))
        .sum()
}

/// One whole message without an answer.
fn message(from: &Client, to: &Client, id: &str, octets: usize) -> Vec<u8> {
    whole(from, to, id, "no", &vec![b'x'; octets])
}

#[test]
fn sec_06_sessions_are_counted_over_all_shards() {
    let three = Quota {
        sessions: 3,
        ..Quota::default()
    };
    let kinds = [
        (SubjectLabel::User, of_user(three)),
        (
            SubjectLabel::Realm,
            Quotas {
                realm: three,
                ..Quotas::default()
            },
        ),
        (
            SubjectLabel::Prefix,
            Quotas {
                prefix: three,
                ..Quotas::default()
            },
        ),
    ];
    for (kind, quotas) in kinds {
        let mut world = world(4, quotas);
        let clients: Vec<Client> = (0..3)
            .map(|shard| {
                let (code, client) = join(&mut world, shard, &format!("a{shard}"), ALICE);
                assert_eq!(code, 200);
                client
            })
            .collect();
        let (code, mut fourth) = join(&mut world, 3, "a3", ALICE);
        assert_eq!(code, 403, "{kind:?}");
        assert_eq!(exceeded(&world, kind, QuotaLabel::Sessions), 1);
        // Whose password was right has not failed: its connection stays (AUT-17).
        assert!(world.sockets[fourth.peer].alive());
        // Another user counts for himself, and for the others' realm and prefix.
        world.from = [10, 0, 0, u8::from(kind != SubjectLabel::Prefix)].into();
        let (code, _) = join(&mut world, 2, "b", BOB);
        assert_eq!(
            code,
            if kind == SubjectLabel::Realm {
                403
            } else {
                200
            }
        );
        // One leaves: there is room for one, exactly.
        world.reset(clients[0].peer);
        world.run();
        assert_eq!(join_on(&mut world, &mut fourth, "a3", ALICE), 200);
        assert_eq!(join_on(&mut world, &mut fourth, "a4", ALICE), 403);
        world.end();
    }
}

/// UPT-06: what has expired counts no more.
#[test]
fn sec_06_an_expired_session_makes_room() {
    let mut world = world(
        2,
        of_user(Quota {
            sessions: 1,
            ..Quota::default()
        }),
    );
    let (code, mut client) = join(&mut world, 0, "a0", ALICE);
    assert_eq!(code, 200);
    assert_eq!(join_on(&mut world, &mut client, "a1", ALICE), 403);
    world.advance(Duration::from_secs(86_401));
    let (code, _) = join(&mut world, 1, "a2", ALICE);
    assert_eq!(code, 200);
    world.end();
}

#[test]
fn sec_06_connections_of_a_prefix_are_counted_over_all_shards() {
    let mut world = world(
        4,
        Quotas {
            prefix: Quota {
                connections: 3,
                ..Quota::default()
            },
            ..Quotas::default()
        },
    );
    let first: Vec<Peer> = (0..3)
        .map(|shard| world.connect(shard, Transport::Tls))
        .collect();
    let fourth = world.connect_raw(3, Transport::Tls);
    world.run();
    assert_eq!(
        world.sockets[fourth].ended,
        Some(Ended::Aborted(CloseReason::Quota))
    );
    assert_eq!(
        exceeded(&world, SubjectLabel::Prefix, QuotaLabel::Connections),
        1
    );
    // The same /64 is the same subscriber, the next one is not; an IPv4 address is one in the
    // dress of IPv6 too.
    world.from = "::ffff:127.0.0.1".parse().expect("an address");
    let dressed = world.connect_raw(0, Transport::Tls);
    world.run();
    assert!(!world.sockets[dressed].alive());
    for (address, lives) in [
        ("2001:db8::1", true),
        ("2001:db8::2", true),
        ("2001:db8::ffff:1", true),
        ("2001:db8:0:0:ffff::1", false),
        ("2001:db8:0:1::1", true),
    ] {
        world.from = address.parse().expect("an address");
        let peer = world.connect_raw(1, Transport::Tls);
        world.run();
        assert_eq!(world.sockets[peer].alive(), lives, "{address}");
    }
    world.reset(first[1]);
    world.run();
    world.from = [127, 0, 0, 1].into();
    let again = world.connect(3, Transport::Tls);
    world.run();
    assert!(world.sockets[again].alive());
    world.end();
}

/// It is asked for and gone before the answer: it counts no more.
#[test]
fn sec_06_a_connection_that_has_gone_meanwhile_does_not_count() {
    let mut world = world(
        4,
        Quotas {
            prefix: Quota {
                connections: 1,
                ..Quota::default()
            },
            ..Quotas::default()
        },
    );
    for round in 0..20 {
        let gone = world.connect_raw(round % 4, Transport::Tls);
        world.reset(gone);
        world.notice(gone);
        world.run();
    }
    let peer = world.connect(2, Transport::Tls);
    world.run();
    assert!(world.sockets[peer].alive());
    world.end();
}

#[test]
fn sec_06_connections_of_a_user_are_those_that_hold_a_session() {
    let mut world = world(
        4,
        of_user(Quota {
            connections: 2,
            ..Quota::default()
        }),
    );
    let (code, mut first) = join(&mut world, 0, "a0", ALICE);
    assert_eq!(code, 200);
    // More sessions on a connection that counts.
    assert_eq!(join_on(&mut world, &mut first, "a1", ALICE), 200);
    let (code, _) = join(&mut world, 1, "a2", ALICE);
    assert_eq!(code, 200);
    let (code, mut third) = join(&mut world, 2, "a3", ALICE);
    assert_eq!(code, 403);
    assert_eq!(
        exceeded(&world, SubjectLabel::User, QuotaLabel::Connections),
        1
    );
    assert_eq!(join_on(&mut world, &mut third, "b", BOB), 200);
    world.reset(first.peer);
    world.run();
    assert_eq!(join_on(&mut world, &mut third, "a3", ALICE), 200);
    world.end();
}

/// How many messages and octets a user's connections get through in so many seconds.
fn delivered(
    world: &mut World,
    senders: &[Client],
    receiver: &Client,
    octets: usize,
    seconds: u32,
) -> (u64, u64) {
    world.checks = false;
    for (number, sender) in senders.iter().enumerate() {
        for message_number in 0..3000 {
            let id = format!("m{number}.{message_number}");
            let octets = message(sender, receiver, &id, octets);
            world.write(sender.peer, &octets);
        }
    }
    let (mut messages, mut all) = (0, 0);
    for _ in 0..seconds * 10 {
        world.advance(SECOND / 10);
        for message in world.messages(receiver.peer) {
            messages += u64::from(message.flag == b'$');
            all += message.body().len() as u64;
        }
    }
    // Heads count as well; each message is read with one.
    let (sender, id) = (&senders[0], "m0.1000");
    let head = self::message(sender, receiver, id, octets).len() - octets;
    (messages, all + messages * head as u64)
}

fn assert_near(found: u64, wanted: u64) {
    let ratio = found as f64 / wanted as f64;
    assert!((0.9..=1.1).contains(&ratio), "{found} instead of {wanted}");
}

/// What exceeds a rate is slowed and not answered with errors: all shards together get what one
/// would get.
#[test]
fn sec_06_rates_hold_over_four_shards() {
    for busy in [1, 4] {
        for subject in [
            SubjectLabel::User,
            SubjectLabel::Realm,
            SubjectLabel::Prefix,
        ] {
            let mut world = world(4, Quotas::default());
            let quota = Quota {
                messages_per_second: 100,
                ..Quota::default()
            };
            reload(&mut world, quotas_of(subject, quota));
            let (senders, receiver) = pairs(&mut world, busy);
            let (messages, _) = delivered(&mut world, &senders, &receiver, 300, 10);
            assert_near(messages, 1000);
            assert!(exceeded(&world, subject, QuotaLabel::Messages) > 0);
            for sender in &senders {
                assert!(world.messages(sender.peer).is_empty(), "nothing is refused");
            }

            let quota = Quota {
                octets_per_second: 100_000,
                ..Quota::default()
            };
            let mut world = self::world(4, quotas_of(subject, quota));
            let (senders, receiver) = pairs(&mut world, busy);
            let (_, octets) = delivered(&mut world, &senders, &receiver, 3000, 10);
            assert_near(octets, 1_000_000);
            assert!(exceeded(&world, subject, QuotaLabel::Octets) > 0);
        }
    }
}

fn quotas_of(subject: SubjectLabel, quota: Quota) -> Quotas {
    let mut quotas = Quotas::default();
    match subject {
        SubjectLabel::User => quotas.user = quota,
        SubjectLabel::Realm => quotas.realm = quota,
        SubjectLabel::Prefix => quotas.prefix = quota,
        SubjectLabel::Balancer => quotas.balancer = quota,
    }
    quotas
}

/// Alice's connections, one for each shard, and bob's, who only receives.
fn pairs(world: &mut World, busy: usize) -> (Vec<Client>, Client) {
    let senders = (0..busy)
        .map(|shard| join(world, shard, &format!("a{shard}"), ALICE).1)
        .collect();
    let (code, receiver) = join(world, 0, "b", BOB);
    assert_eq!(code, 200);
    (senders, receiver)
}

/// A rate has a second's share of it to spend at once, and no more for being cut into many
/// connections one after the other: what one owed is not forgotten with it.
#[test]
fn sec_06_a_new_connection_does_not_begin_anew() {
    let quota = Quota {
        messages_per_second: 10,
        ..Quota::default()
    };
    let mut world = world(4, of_user(quota));
    let (code, receiver) = join(&mut world, 0, "b", BOB);
    assert_eq!(code, 200);
    let mut messages = 0;
    for round in 0..200 {
        let (code, sender) = join(&mut world, round % 4, &format!("a{round}"), ALICE);
        assert_eq!(code, 200);
        for number in 0..5 {
            let octets = message(&sender, &receiver, &format!("m{round}.{number}"), 10);
            world.write(sender.peer, &octets);
        }
        world.advance(SECOND / 20);
        world.reset(sender.peer);
        world.run();
        messages += world.messages(receiver.peer).len();
    }
    assert!(messages <= 100 + 20, "{messages} in ten seconds");
    world.advance(10 * SECOND);
    world.end();
}

#[test]
fn sec_06_auths_of_a_user_wait_for_their_turn() {
    let quota = Quota {
        auths_per_second: 5,
        ..Quota::default()
    };
    let mut world = world(4, of_user(quota));
    let began = world.now;
    let peers: Vec<Peer> = (0..50)
        .map(|number| {
            let peer = world.connect(number % 4, Transport::Tls);
            ask(&mut world, peer, &format!("a{number}"), ALICE);
            peer
        })
        .collect();
    let mut granted = 0;
    while granted < 50 {
        assert!(world.now < began + 30 * SECOND, "{granted}");
        world.advance(SECOND / 10);
        for peer in &peers {
            for answer in world.messages(*peer) {
                assert_eq!(answer.code(), Some(200));
                granted += 1;
            }
        }
    }
    let seconds = (world.now - began).as_secs_f64();
    assert!((8.0..=11.0).contains(&seconds), "{seconds}");
    world.end();
}

/// Failed ones count for the prefix, so that nobody can slow down another user by guessing.
#[test]
fn sec_06_auths_of_a_prefix_count_whatever_they_prove() {
    let mut world = world(
        4,
        Quotas {
            prefix: Quota {
                auths_per_second: 10,
                ..Quota::default()
            },
            ..Quotas::default()
        },
    );
    let began = world.now;
    let peers: Vec<Peer> = (0..4)
        .map(|shard| world.connect(shard, Transport::Tls))
        .collect();
    for round in 0..25 {
        for peer in &peers {
            let uri = client_uri("x");
            let tid = format!("auth{round}");
            world.write(*peer, &auth(&uri, &[AUTH_URI], &tid, None, None));
        }
    }
    let mut challenged = 0;
    while challenged < 100 {
        assert!(world.now < began + 30 * SECOND, "{challenged}");
        world.advance(SECOND / 10);
        challenged += peers
            .iter()
            .map(|peer| world.messages(*peer).len())
            .sum::<usize>();
    }
    let seconds = (world.now - began).as_secs_f64();
    assert!((9.0..=11.0).contains(&seconds), "{seconds}");
    assert!(exceeded(&world, SubjectLabel::Prefix, QuotaLabel::Auths) > 0);
    world.end();
}

/// D-35: too large by what it says, by how far it has come, or by where it goes on.
#[test]
fn sec_06_a_message_that_is_too_large_is_refused_with_413() {
    let quota = Quota {
        message_octets: 10_000,
        ..Quota::default()
    };
    for range in [
        "1-10001/10001",
        "1-*/10001",
        "1-10001/*",
        "1-*/*",
        "10002-10003/*",
    ] {
        let mut world = world(2, of_user(quota));
        let (senders, receiver) = pairs(&mut world, 1);
        let sender = &senders[0];
        let path = sender.path_to(&receiver);
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let octets = match range {
            "10002-10003/*" => 2,
            _ => 10_001,
        };
        let body = vec![b'x'; octets];
        let send = build_send("tid1", &path, &[&sender.uri], "m1", range, &body, b'$');
        world.write(sender.peer, &send);
        world.run();
        let answer = last(&mut world, sender.peer);
        assert_eq!(answer.code(), Some(413), "{range}");
        assert_eq!(
            exceeded(&world, SubjectLabel::User, QuotaLabel::MessageOctets),
            1
        );
        let fits = vec![b'x'; 10_000];
        let send = build_send("tid2", &path, &[&sender.uri], "m2", "1-*/*", &fits, b'$');
        world.write(sender.peer, &send);
        world.run();
        let arrived = world.messages(receiver.peer);
        assert_eq!(
            arrived.last().expect("the one that fits").body().len() % 10_000,
            0
        );
        assert_eq!(last(&mut world, sender.peer).code(), Some(200));
        world.end();
    }
}

/// What is established stays, and counts.
#[test]
fn con_12_a_reload_counts_what_is_there_and_sheds_nothing() {
    let mut world = world(4, Quotas::default());
    let clients: Vec<Client> = (0..4)
        .map(|shard| join(&mut world, shard, &format!("a{shard}"), ALICE).1)
        .collect();
    let two = Quota {
        sessions: 2,
        connections: 2,
        messages_per_second: 1000,
        ..Quota::default()
    };
    let bounds = Quotas {
        user: two,
        realm: two,
        prefix: two,
        ..Quotas::default()
    };
    reload(&mut world, bounds);
    for client in &clients {
        assert!(world.sockets[client.peer].alive());
    }
    let sessions: usize = world.shards.iter().map(|shard| shard.sessions()).sum();
    assert_eq!(sessions, 4);
    // Three must leave before there is room.
    for client in &clients[..2] {
        world.reset(client.peer);
        world.run();
        let refused = world.connect_raw(0, Transport::Tls);
        world.run();
        assert!(!world.sockets[refused].alive());
        world.from = [10, 0, 0, 1].into();
        assert_eq!(join(&mut world, 1, "again", ALICE).0, 403);
        let last = world.sockets.len() - 1;
        world.reset(last);
        world.run();
        world.from = [127, 0, 0, 1].into();
    }
    world.reset(clients[2].peer);
    world.run();
    let (code, _) = join(&mut world, 3, "again", ALICE);
    assert_eq!(code, 200);
    // And off again: nothing is counted any more, nothing is left.
    reload(&mut world, Quotas::default());
    for number in 0..4 {
        assert_eq!(join(&mut world, 2, &format!("c{number}"), ALICE).0, 200);
    }
    world.end();
}

/// Bounds that are lifted let go who waited for them.
#[test]
fn con_12_a_reload_lets_those_go_on_who_wait() {
    let quota = Quota {
        messages_per_second: 1,
        ..Quota::default()
    };
    let mut world = world(4, of_user(quota));
    let (senders, receiver) = pairs(&mut world, 4);
    for sender in &senders {
        for number in 0..50 {
            let octets = message(sender, &receiver, &format!("m{number}"), 10);
            world.write(sender.peer, &octets);
        }
    }
    world.advance(SECOND);
    assert!(world.messages(receiver.peer).len() < 20);
    reload(&mut world, Quotas::default());
    assert!(world.messages(receiver.peer).len() > 180);
    world.end();
}

/// CON-12: the drain does not wait for rates, and what was read is dealt with.
#[test]
fn con_12_a_drain_waits_for_no_quota() {
    let quota = Quota {
        messages_per_second: 1,
        ..Quota::default()
    };
    let mut world = world(4, of_user(quota));
    let (senders, receiver) = pairs(&mut world, 4);
    for sender in &senders {
        let path = sender.path_to(&receiver);
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        for number in 0..50 {
            let id = format!("m{number}");
            let tid = format!("tid{id}");
            let send = build_send(&tid, &path, &[&sender.uri], &id, "1-2/2", b"ok", b'$');
            world.write(sender.peer, &send);
        }
        world.shut(sender.peer);
    }
    world.run();
    let deadline = world.now + 10 * SECOND;
    for shard in &mut world.shards {
        shard.drain(world.now, deadline);
    }
    world.obey();
    world.run();
    for sender in &senders {
        assert_eq!(world.messages(sender.peer).len(), 50, "each has an answer");
    }
    world.end();
}

/// Two AUTHs that are judged at the same time may both count their connection; when they end,
/// nothing is left of it.
#[test]
fn sec_06_a_connection_that_was_counted_twice_leaves_twice() {
    for first_to_go in [0, 1] {
        let quota = Quota {
            connections: 2,
            ..Quota::default()
        };
        let mut world = world(4, of_user(quota));
        let peer = world.connect(0, Transport::Tls);
        let mut both = Vec::new();
        for (number, expires) in [60, 120].into_iter().enumerate() {
            let uri = client_uri(&format!("a{number}"));
            world.write(peer, &auth(&uri, &[AUTH_URI], "auth1", None, None));
            world.run();
            let challenge = last(&mut world, peer);
            let authorization = answer_as(USERS[ALICE], &challenge, AUTH_URI, 1);
            let expires = if first_to_go == 0 {
                expires
            } else {
                180 - expires
            };
            let tid = format!("auth{number}x");
            both.extend(auth(
                &uri,
                &[AUTH_URI],
                &tid,
                Some(expires),
                Some(&authorization),
            ));
        }
        world.write(peer, &both);
        world.run();
        for answer in world.messages(peer) {
            assert_eq!(answer.code(), Some(200));
        }
        // One has expired, the other has not: the connection still counts.
        world.advance(90 * SECOND);
        let (code, _) = join(&mut world, 1, "b1", ALICE);
        assert_eq!(code, 200);
        world.advance(60 * SECOND);
        let others: Vec<u16> = (2..4)
            .map(|shard| join(&mut world, shard, &format!("b{shard}"), ALICE).0)
            .collect();
        assert_eq!(others, [200, 403]);
        world.end();
    }
}

/// SEC-07: AUTHs that wait are bounded, whoever has gone meanwhile.
#[test]
fn sec_07_auths_that_wait_for_their_turn_are_bounded() {
    let quota = Quota {
        auths_per_second: 1,
        ..Quota::default()
    };
    let mut world = world(2, of_user(quota));
    world.checks = false;
    let mut codes = Vec::new();
    for number in 0..300 {
        let peer = world.connect(number % 2, Transport::Tls);
        ask(&mut world, peer, &format!("a{number}"), ALICE);
        codes.extend(world.messages(peer).iter().map(|answer| answer.code()));
        world.reset(peer);
    }
    world.run();
    let at_once = codes.iter().filter(|code| **code == Some(200)).count();
    let too_many = codes.iter().filter(|code| **code == Some(408)).count();
    assert!((1..=3).contains(&at_once), "{at_once}");
    assert!((264..=268).contains(&too_many), "{too_many}");
    world.advance(60 * SECOND);
    world.end();
}

/// SEC-06: connections that were idle do not each spend once more for a user who owes, and each
/// second as many messages come as may, whole: nobody waits for its turn with half a message.
#[test]
fn sec_06_many_connections_of_one_user_take_turns() {
    let messages = Quota {
        messages_per_second: 10,
        ..Quota::default()
    };
    // A body of 1,000 octets comes with a head of about 285.
    let octets = Quota {
        octets_per_second: 12_850,
        ..Quota::default()
    };
    for quota in [messages, octets] {
        let mut world = world(4, of_user(quota));
        world.checks = false;
        let (code, receiver) = join(&mut world, 0, "b", BOB);
        assert_eq!(code, 200);
        let senders: Vec<Client> = (0..200)
            .map(|number| join(&mut world, number % 4, &format!("a{number}"), ALICE).1)
            .collect();
        for (number, sender) in senders.iter().enumerate() {
            let octets = message(sender, &receiver, &format!("m{number}"), 1000);
            world.write(sender.peer, &octets);
        }
        let mut all = 0;
        for second in 0..20 {
            world.advance(SECOND);
            let came = world.messages(receiver.peer).len();
            let expected = if second == 0 { 8..=20 } else { 8..=12 };
            assert!(
                second == 19 || expected.contains(&came),
                "{came} in second {second} of {quota:?}"
            );
            all += came;
        }
        assert_eq!(all, 200);
        world.end();
    }
}
