//! The second link to another relay, which films have to themselves (design: *Next hops*).

use std::time::Duration;

use msrpload::codec::build_send;

use crate::relays::{FAR, R2, R2_URI, dial_in};
use crate::setup::{Client, client, last, respond, settings};
use crate::world::{Options, Peer, World};

const FILM: u64 = 8 * 1_048_576;

/// One chunk of a message, by its start and length.
fn chunk(world: &mut World, a: &Client, id: &str, start: u64, total: &str, flag: u8) {
    let body = [b'x'; 1000];
    let range = format!("{start}-{}/{total}", start + 999);
    let tid = format!("{id}.{start}");
    let to = [a.token.as_str(), R2_URI, FAR];
    let octets = build_send(&tid, &to, &[&a.uri], id, &range, &body, flag);
    world.write(a.peer, &octets);
    world.run();
}

fn film(world: &mut World, a: &Client, id: &str, start: u64, flag: u8) {
    chunk(world, a, id, start, &FILM.to_string(), flag);
}

fn chat(world: &mut World, a: &Client, id: &str) {
    chunk(world, a, id, 1, "1000", b'$');
}

/// The Message-IDs that have arrived at a link; each is answered.
fn arrived(world: &mut World, link: Peer) -> Vec<String> {
    let messages = world.messages(link);
    for message in &messages {
        respond(world, link, message, 200);
    }
    world.run();
    let id = |message: &msrpload::codec::Message| message.header("Message-ID").map(str::to_owned);
    messages.iter().filter_map(id).collect()
}

/// A client, and the link that its chats have made.
fn with_link(world: &mut World) -> (Client, Peer) {
    let a = client(world, 0, "a");
    chat(world, &a, "first");
    let link = world.dial_succeeds(0, Some(&[R2]));
    world.run();
    assert_eq!(arrived(world, link), ["first"]);
    world.messages(a.peer);
    (a, link)
}

#[test]
fn films_take_a_second_link_and_chats_keep_the_first() {
    for workers in [1, 2, 4] {
        let mut world = World::new(Options::workers(workers));
        let (a, link) = with_link(&mut world);
        film(&mut world, &a, "film1", 1, b'+');
        assert_eq!(world.dialling.len(), 1);
        let shard = world.dialling[0].shard;
        let other = shard != world.sockets[link].shard;
        assert_eq!(other, workers > 1, "on another shard where there is one");
        // Nobody waits for the film.
        chat(&mut world, &a, "chat1");
        assert_eq!(arrived(&mut world, link), ["chat1"]);
        film(&mut world, &a, "film1", 1001, b'+');
        assert_eq!(world.dialling.len(), 1, "one dial for all films");
        let films = world.dial_succeeds(0, Some(&[R2]));
        world.run();
        let ids = arrived(&mut world, films);
        assert!(
            !ids.is_empty() && ids.iter().all(|id| id == "film1"),
            "{ids:?}"
        );
        // Another session's film, and the rest of this one.
        let b = client(&mut world, usize::from(workers - 1), "b");
        film(&mut world, &b, "film2", 1, b'$');
        film(&mut world, &a, "film1", 2001, b'$');
        chat(&mut world, &a, "chat2");
        assert_eq!(arrived(&mut world, films), ["film2", "film1"]);
        assert_eq!(arrived(&mut world, link), ["chat2"]);
        assert!(world.dialling.is_empty());
        assert!(world.is_quiet());
        world.end();
    }
}

/// CHK-12: what a chunk announces does not change the way that its message has taken.
#[test]
fn chk_12_a_message_stays_on_one_link() {
    let mut world = World::new(Options::workers(2));
    let (a, link) = with_link(&mut world);
    film(&mut world, &a, "film1", 1, b'+');
    let films = world.dial_succeeds(0, Some(&[R2]));
    world.run();
    chunk(&mut world, &a, "film1", 1001, "*", b'$');
    let ids = arrived(&mut world, films);
    assert!(
        !ids.is_empty() && ids.iter().all(|id| id == "film1"),
        "{ids:?}"
    );
    chunk(&mut world, &a, "grows", 1, "*", b'+');
    film(&mut world, &a, "grows", 1001, b'$');
    let ids = arrived(&mut world, link);
    assert!(
        !ids.is_empty() && ids.iter().all(|id| id == "grows"),
        "{ids:?}"
    );
    // The next message under that name is another one.
    film(&mut world, &a, "grows", 1, b'$');
    assert_eq!(arrived(&mut world, films), ["grows"]);
    world.end();
}

#[test]
fn a_film_goes_with_the_chats_if_the_second_link_is_refused() {
    for workers in [1, 3] {
        let mut world = World::new(Options::workers(workers));
        let (a, link) = with_link(&mut world);
        film(&mut world, &a, "film1", 1, b'$');
        assert!(arrived(&mut world, link).is_empty());
        world.dial_fails(0);
        world.run();
        assert_eq!(arrived(&mut world, link), ["film1"]);
        assert_eq!(last(&mut world, a.peer).code(), Some(200));
        film(&mut world, &a, "film2", 1, b'$');
        assert!(world.dialling.is_empty(), "it was refused just now");
        assert_eq!(arrived(&mut world, link), ["film2"]);
        world.advance(Duration::from_secs(2));
        film(&mut world, &a, "film3", 1, b'$');
        assert_eq!(world.dialling.len(), 1, "and is tried again later");
        let films = world.dial_succeeds(0, Some(&[R2]));
        world.run();
        assert_eq!(arrived(&mut world, films), ["film3"]);
        world.end();
    }
}

#[test]
fn a_film_that_comes_first_leaves_the_chats_a_link_of_their_own() {
    for workers in [1, 3] {
        let mut world = World::new(Options::workers(workers));
        let a = client(&mut world, 0, "a");
        film(&mut world, &a, "film1", 1, b'+');
        assert_eq!(world.dialling.len(), 1);
        let films = world.dial_succeeds(0, Some(&[R2]));
        chat(&mut world, &a, "chat1");
        assert_eq!(world.dialling.len(), 1);
        let link = world.dial_succeeds(0, Some(&[R2]));
        world.run();
        film(&mut world, &a, "film1", 1001, b'$');
        let ids = arrived(&mut world, films);
        assert!(
            !ids.is_empty() && ids.iter().all(|id| id == "film1"),
            "{ids:?}"
        );
        assert_eq!(arrived(&mut world, link), ["chat1"]);
        world.end();
    }
}

/// RPT-05: the connect timeout is waited for once.
#[test]
fn rpt_05_a_film_to_a_relay_that_is_not_there_is_reported_after_one_dial() {
    let mut world = World::new(Options::workers(2));
    let a = client(&mut world, 0, "a");
    film(&mut world, &a, "film1", 1, b'$');
    assert_eq!(last(&mut world, a.peer).code(), Some(200));
    world.dial_fails(0);
    world.run();
    let report = last(&mut world, a.peer);
    assert_eq!(report.header("Status"), Some("000 408 Timeout"));
    film(&mut world, &a, "film2", 1, b'$');
    chat(&mut world, &a, "chat1");
    let codes: Vec<_> = world.messages(a.peer).iter().map(|m| m.code()).collect();
    assert_eq!(codes, [Some(408), Some(408)]);
    assert!(world.dialling.is_empty());
    world.end();
}

/// CON-07: a link that the other relay opened is the first one; the second is dialled.
#[test]
fn con_07_an_inbound_link_serves_the_chats_and_the_second_is_dialled() {
    let mut world = World::new(Options::workers(3));
    let a = client(&mut world, 0, "a");
    let link = dial_in(&mut world, 2);
    let to = [a.token.as_str(), &a.uri];
    let near = build_send("near1", &to, &[R2_URI, FAR], "near1", "1-2/2", b"hi", b'$');
    world.write(link, &near);
    world.run();
    world.messages(link);
    world.messages(a.peer);
    film(&mut world, &a, "film1", 1, b'$');
    assert_eq!(world.dialling.len(), 1);
    assert_eq!(world.dialling[0].shard, 0);
    let films = world.dial_succeeds(0, Some(&[R2]));
    world.run();
    chat(&mut world, &a, "chat1");
    assert_eq!(arrived(&mut world, films), ["film1"]);
    assert_eq!(arrived(&mut world, link), ["chat1"]);
    world.end();
}

#[test]
fn one_link_is_all_where_the_operator_wants_one_and_towards_clients() {
    let mut settings = settings();
    settings.links_per_next_hop = 1;
    let mut world = World::new(Options {
        settings,
        ..Options::workers(2)
    });
    let (a, link) = with_link(&mut world);
    film(&mut world, &a, "film1", 1, b'$');
    assert!(world.dialling.is_empty());
    assert_eq!(arrived(&mut world, link), ["film1"]);
    world.end();
    let mut world = World::new(Options::workers(2));
    let a = client(&mut world, 0, "a");
    let far = "msrps://p.example.net:2855/p;tcp";
    for (id, range) in [("chat1", "1-2/2"), ("film1", "1-2/8388608")] {
        let to = [a.token.as_str(), far];
        let send = build_send(id, &to, &[&a.uri], id, range, b"hi", b'$');
        world.write(a.peer, &send);
        world.run();
        assert_eq!(world.dialling.len(), 1);
    }
    world.end();
}

/// RPT-14: the loss of one link is the loss of what is on it.
#[test]
fn rpt_14_the_loss_of_the_link_for_films_leaves_the_chats_alone() {
    let mut world = World::new(Options::workers(3));
    let (a, link) = with_link(&mut world);
    film(&mut world, &a, "film1", 1, b'$');
    let films = world.dial_succeeds(0, Some(&[R2]));
    world.run();
    assert_eq!(last(&mut world, a.peer).code(), Some(200));
    world.messages(films);
    world.reset(films);
    world.run();
    let report = last(&mut world, a.peer);
    assert_eq!(report.header("Status"), Some("000 408 Timeout"));
    chat(&mut world, &a, "chat1");
    assert_eq!(arrived(&mut world, link), ["chat1"]);
    world.advance(Duration::from_secs(2));
    film(&mut world, &a, "film2", 1, b'$');
    assert_eq!(world.dialling.len(), 1);
    let films = world.dial_succeeds(0, Some(&[R2]));
    world.run();
    assert_eq!(arrived(&mut world, films), ["film2"]);
    world.end();
}

/// SEC-01, CON-09: who may not cause a dial does not cause a second one either.
#[test]
fn con_09_a_strangers_film_opens_no_link() {
    let mut world = World::new(Options::workers(2));
    let (a, _) = with_link(&mut world);
    let p = crate::setup::foreign(&mut world, 0, "p");
    let to = [a.token.as_str(), R2_URI, FAR];
    let send = build_send("film1", &to, &[&p.uri], "film1", "1-2/8388608", b"hi", b'$');
    world.write(p.peer, &send);
    world.run();
    assert_eq!(last(&mut world, p.peer).code(), Some(481));
    assert!(world.dialling.is_empty());
    world.end();
}
