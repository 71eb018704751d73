//! Messages that come whole, with a head that came before, take the short walk; what becomes of
//! them is what would have become of them anyway.

use std::time::Duration;

use msrpd::relay::Limits;
use msrpload::codec::Message;

use crate::setup::{
    Client, USERS, auth_uri, authenticate_at, client, foreign, reload, respond, whole,
};
use crate::world::{Options, World};

/// So many alike have come that the next one takes the short walk.
const ALIKE: usize = 3;

fn options(workers: u16, limits: impl FnOnce(&mut Limits)) -> Options {
    let mut options = Options::workers(workers);
    limits(&mut options.settings.limits);
    options
}

/// A foreign sender, and a receiver on the last shard.
fn pair(world: &mut World, workers: u16) -> (Client, Client) {
    let receiver = client(world, usize::from(workers) - 1, "alice");
    (foreign(world, 0, "bob"), receiver)
}

/// One more message from one to the other.
fn chat(world: &mut World, from: &Client, to: &Client, number: usize) {
    let body = format!("This is number {number}");
    let id = format!("m{number}");
    world.write(from.peer, &whole(from, to, &id, "yes", body.as_bytes()));
    world.run();
}

/// All SENDs that have arrived, answered.
fn answered(world: &mut World, to: &Client) -> Vec<Message> {
    let arrived = world.messages(to.peer);
    for message in &arrived {
        respond(world, to.peer, message, 200);
    }
    world.run();
    arrived
}

fn codes(world: &mut World, of: &Client) -> Vec<(String, Option<u16>)> {
    let messages = world.messages(of.peer);
    messages
        .into_iter()
        .map(|message| (message.tid.clone(), message.code()))
        .collect()
}

fn treads(world: &mut World, from: &Client, to: &Client) {
    for number in 0..ALIKE {
        chat(world, from, to, number);
    }
    assert_eq!(answered(world, to).len(), ALIKE);
    assert_eq!(codes(world, from).len(), ALIKE);
}

/// FWD-02, URI-02, CHK-02, RSP-01, RSP-03: each with its own Message-ID, transact-id and range.
#[test]
fn messages_with_the_same_head_arrive_each_as_itself() {
    for workers in [1, 2] {
        let mut world = World::new(options(workers, |_| {}));
        let (bob, alice) = pair(&mut world, workers);
        treads(&mut world, &bob, &alice);
        let handoffs = |world: &World| -> u64 {
            let shards = world.shards.iter();
            shards.map(|shard| shard.metrics().handoffs).sum()
        };
        // Whatever is told once has been.
        chat(&mut world, &bob, &alice, 9);
        let before = handoffs(&world);
        for number in [10, 123, 4567] {
            chat(&mut world, &bob, &alice, number);
        }
        // The chunk, its verdict, its credit.
        let expected = if workers == 1 { 0 } else { 9 };
        assert_eq!(handoffs(&world) - before, expected);
        let arrived = answered(&mut world, &alice);
        let mut seen = std::collections::BTreeSet::new();
        for (message, number) in arrived.iter().zip([9, 10, 123, 4567]) {
            let body = format!("This is number {number}");
            assert_eq!(message.message_id(), Some(&*format!("m{number}")));
            assert_eq!(message.body.as_deref(), Some(body.as_bytes()));
            let range = format!("1-{0}/{0}", body.len());
            assert_eq!(message.header("Byte-Range"), Some(&*range));
            assert_eq!(message.to_path, std::slice::from_ref(&alice.uri));
            assert_eq!(message.from_path, [alice.token.clone(), bob.uri.clone()]);
            assert!(seen.insert(message.tid.clone()), "fresh transact-ids");
        }
        assert_eq!(arrived.len(), 4);
        for (answer, number) in world.messages(bob.peer).iter().zip([9, 10, 123, 4567]) {
            assert_eq!(answer.code(), Some(200));
            assert_eq!(answer.tid, format!("tidm{number}"));
            assert_eq!(answer.message_id(), Some(&*format!("m{number}")));
            assert_eq!(answer.to_path, std::slice::from_ref(&bob.uri));
            assert_eq!(answer.from_path, std::slice::from_ref(&alice.token));
        }
        world.end();
    }
}

/// UPT-14, URI-09: a token that has ended is refused as it is on the long walk.
#[test]
fn an_expired_session_refuses_what_came_before() {
    for workers in [1, 2] {
        let mut world = World::new(options(workers, |_| {}));
        let mut alice = foreign(&mut world, usize::from(workers) - 1, "alice");
        let uri = auth_uri(0);
        assert!(authenticate_at(&mut world, &mut alice, &uri, Some(60)));
        assert_eq!(USERS[0].0, "alice");
        let bob = foreign(&mut world, 0, "bob");
        treads(&mut world, &bob, &alice);
        world.advance(Duration::from_secs(61));
        chat(&mut world, &bob, &alice, 9);
        assert_eq!(codes(&mut world, &bob), [("tidm9".to_owned(), Some(481))]);
        assert_eq!(answered(&mut world, &alice).len(), 0);
        world.end();
    }
}

/// CON-12: what a reload forbids is forbidden to the next message.
#[test]
fn a_reload_is_heard_of() {
    for workers in [1, 2] {
        let mut world = World::new(options(workers, |_| {}));
        let (bob, alice) = pair(&mut world, workers);
        treads(&mut world, &bob, &alice);
        reload(&mut world, |settings| settings.signed_content_only = true);
        chat(&mut world, &bob, &alice, 9);
        assert_eq!(codes(&mut world, &bob), [("tidm9".to_owned(), Some(415))]);
        world.end();
    }
}

/// CON-12
#[test]
fn a_relay_that_drains_takes_nothing_more() {
    for workers in [1, 2] {
        let mut world = World::new(options(workers, |_| {}));
        let (bob, alice) = pair(&mut world, workers);
        treads(&mut world, &bob, &alice);
        let deadline = world.now + Duration::from_secs(30);
        for shard in &mut world.shards {
            shard.drain(world.now, deadline);
        }
        chat(&mut world, &bob, &alice, 9);
        assert_eq!(codes(&mut world, &bob), [("tidm9".to_owned(), Some(481))]);
        world.end();
    }
}

/// FWD-16: with as many transactions open as may be the next chunk is refused, and only that.
#[test]
fn too_many_open_transactions_refuse_the_next_message() {
    for workers in [1, 2] {
        let bound = ALIKE + 2;
        let mut world = World::new(options(workers, |limits| {
            limits.transactions_per_session = bound;
        }));
        let (bob, alice) = pair(&mut world, workers);
        treads(&mut world, &bob, &alice);
        for number in 0..=bound {
            chat(&mut world, &bob, &alice, 10 + number);
        }
        let mut expected = vec![Some(200); bound];
        expected.push(Some(413));
        let answers = world.messages(bob.peer);
        let codes: Vec<_> = answers.iter().map(Message::code).collect();
        assert_eq!(codes, expected);
        let refused = answers.last().expect("looked at above");
        assert_eq!(refused.to_path, std::slice::from_ref(&bob.uri));
        assert_eq!(refused.from_path, std::slice::from_ref(&alice.token));
        assert_eq!(refused.message_id(), Some(&*format!("m{}", 10 + bound)));
        assert_eq!(answered(&mut world, &alice).len(), bound);
        chat(&mut world, &bob, &alice, 99);
        assert_eq!(answered(&mut world, &alice).len(), 1);
        world.end();
    }
}

/// RPT-06: what fails after its 200 is reported, with its own Message-ID and range.
#[test]
fn a_failure_of_one_message_is_reported_for_that_one() {
    for workers in [1, 2] {
        let mut world = World::new(options(workers, |_| {}));
        let (bob, alice) = pair(&mut world, workers);
        treads(&mut world, &bob, &alice);
        for number in [10, 11, 12] {
            chat(&mut world, &bob, &alice, number);
        }
        let arrived = world.messages(alice.peer);
        for (message, code) in arrived.iter().zip([200, 403, 200]) {
            respond(&mut world, alice.peer, message, code);
        }
        world.run();
        let reports: Vec<_> = world
            .messages(bob.peer)
            .into_iter()
            .filter(|message| message.method() == Some("REPORT"))
            .collect();
        assert_eq!(reports.len(), 1);
        assert_eq!(reports[0].message_id(), Some("m11"));
        assert_eq!(reports[0].header("Byte-Range"), Some("1-17/17"));
        assert_eq!(
            reports[0].header("Status"),
            Some("000 403 said the receiver")
        );
        world.end();
    }
}

/// TMR-03: only a chunk with Failure-Report partial takes the place of another one.
#[test]
fn a_chunk_without_reports_makes_nobody_forget_a_partial_one() {
    for workers in [1, 2] {
        let bound = 2;
        let mut world = World::new(options(workers, |limits| {
            limits.transactions_per_session = bound;
        }));
        let (bob, alice) = pair(&mut world, workers);
        let wishes = ["partial"; 2].into_iter().chain(["no"; ALIKE + 1]);
        for (number, wish) in wishes.enumerate() {
            let message = whole(&bob, &alice, &number.to_string(), wish, b"Hi");
            world.write(bob.peer, &message);
            world.run();
        }
        let arrived = world.messages(alice.peer);
        assert_eq!(arrived.len(), bound + ALIKE + 1);
        respond(&mut world, alice.peer, &arrived[0], 403);
        world.run();
        let said = world.messages(bob.peer);
        assert_eq!(
            said.len(),
            1,
            "the oldest partial one is still watched over"
        );
        assert_eq!(said[0].message_id(), Some("0"));
        world.end();
    }
}
