//! What a relay sends to another one: cut, and not more than is answered (design: *Pausing*).

use std::sync::Arc;
use std::time::Duration;

use msrpload::codec::{Builder, Message, build_send};

use crate::setup::{
    Client, auth_uri, authenticate_at, client, credentials, host, last, reload, respond, settings,
    whole,
};
use crate::world::{Options, Peer, World};

const RELAY_B: &str = "msrps://relay-b.example.net:2855/tok;tcp";
const PIECE: usize = 262_144;
const WINDOW: usize = 1_048_576;

/// A SEND to somebody behind another relay.
fn send(from: &Client, id: &str, wish: &str, range: &str, body: &[u8]) -> Vec<u8> {
    Builder::request(&format!("tid{id}"), "SEND")
        .to_path(&[&from.token, RELAY_B, "msrps://p.example.net:2855/p;tcp"])
        .from_path(&[&from.uri])
        .header("Message-ID", id)
        .header("Failure-Report", wish)
        .header("Byte-Range", range)
        .header("Content-Type", "text/plain")
        .body(body)
        .encode()
}

/// The other relay, once somebody has sent towards it.
fn link(world: &mut World) -> Peer {
    world.run();
    assert_eq!(world.dialling.len(), 1);
    let link = world.dial_succeeds(0, Some(&["relay-b.example.net"]));
    world.run();
    link
}

fn bodies(pieces: &[Message]) -> usize {
    pieces.iter().map(|piece| piece.body().len()).sum()
}

/// A film waits at its own source once 1 MiB of it is unanswered; a chat does not wait with it;
/// each answer lets more of it go.
#[test]
fn a_film_to_another_relay_is_cut_and_waits_for_answers() {
    let mut world = World::new(Options::default());
    let a = client(&mut world, 0, "a");
    let c = client(&mut world, 0, "c");
    let film = vec![b'f'; 3_000_000];
    world.write(a.peer, &send(&a, "film", "yes", "1-*/*", &film));
    let link = link(&mut world);
    let mut pieces = world.messages(link);
    assert_eq!(bodies(&pieces), WINDOW);
    assert!(world.is_between_messages(link), "no piece stays open");
    let consumed = world.sockets[a.peer].consumed as usize;
    assert!(consumed < WINDOW + 200_000, "{consumed} octets were read");
    world.write(c.peer, &send(&c, "chat", "yes", "1-2/2", b"hi"));
    world.run();
    assert_eq!(last(&mut world, link).message_id(), Some("chat"));
    let mut answered = 0;
    while answered < pieces.len() {
        let before = pieces.len();
        respond(&mut world, link, &pieces[answered].clone(), 200);
        world.advance(Duration::from_millis(10));
        pieces.extend(world.messages(link));
        assert!(pieces.len() <= before + 1, "one answer, one piece");
        answered += 1;
    }
    assert_eq!(bodies(&pieces), film.len());
    let mut at = 1;
    for piece in &pieces {
        assert!(piece.body().len() <= PIECE);
        assert_eq!(piece.byte_range().expect("a range").start, at);
        at += piece.body().len() as u64;
        assert_eq!(piece.flag == b'$', at as usize == film.len() + 1);
    }
    assert_eq!(last(&mut world, a.peer).code(), Some(200));
    assert_eq!(last(&mut world, c.peer).code(), Some(200));
}

/// TMR-01, RPT-06: the wait for answers ends by the hop timer, with one signal.
#[test]
fn a_film_that_nobody_answers_fails_after_thirty_seconds() {
    let mut world = World::new(Options::default());
    let a = client(&mut world, 0, "a");
    let film = vec![b'f'; 3_000_000];
    world.write(a.peer, &send(&a, "film", "yes", "1-*/*", &film));
    let link = link(&mut world);
    world.advance(Duration::from_secs(29));
    assert!(world.messages(a.peer).is_empty());
    world.advance(Duration::from_secs(2));
    assert_eq!(last(&mut world, a.peer).code(), Some(408));
    assert_eq!(world.sockets[a.peer].inbound_len(), 0, "read past");
    assert_eq!(bodies(&world.messages(link)), WINDOW);
    world.write(a.peer, &send(&a, "next", "yes", "1-2/2", b"hi"));
    world.run();
    // The film has not ended: what the session sends keeps its link (CHK-12).
    let next = last(&mut world, link);
    assert_eq!(next.message_id(), Some("next"));
    respond(&mut world, link, &next, 200);
    world.run();
    assert!(world.is_quiet());
}

/// Nothing is answered that asks for no answer: the link's own flow control has to do.
#[test]
fn without_failure_report_yes_a_film_is_cut_and_waits_for_nobody() {
    for wish in ["no", "partial"] {
        let mut world = World::new(Options::default());
        let a = client(&mut world, 0, "a");
        let film = vec![b'f'; 3_000_000];
        world.write(a.peer, &send(&a, "film", wish, "1-*/*", &film));
        let link = link(&mut world);
        let pieces = world.messages(link);
        assert_eq!(bodies(&pieces), film.len());
        assert!(pieces.iter().all(|piece| piece.body().len() <= PIECE));
    }
}

/// Films each way between two clients of two relays, over what links there are; the clients
/// read so many octets every 10 ms.
fn films_both_ways(relays: usize, workers: u16, pace: usize, wish: &str) {
    let mut settings = settings();
    // Less than the kernel holds, as the defaults are less than large buffers hold.
    settings.limits.link_piece_octets = 16_384;
    settings.limits.link_unanswered_octets = 65_536;
    let mut world = World::new(Options {
        settings,
        workers,
        more_relays: vec![workers; relays - 1],
        kernel_octets: 262_144,
        ..Options::default()
    });
    world.checks = false;
    let far = world.relays[relays - 1].start;
    let mut a = client(&mut world, 0, "a");
    for relay in 1..relays - 1 {
        assert!(authenticate_at(&mut world, &mut a, &auth_uri(relay), None));
    }
    let clients = [a, client(&mut world, far, "b")];
    let film: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    for (from, to) in [(0, 1), (1, 0)] {
        let path = clients[from].path_to(&clients[to]);
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let send = Builder::request("tidfilm", "SEND")
            .to_path(&path)
            .from_path(&[&clients[from].uri])
            .header("Message-ID", "film")
            .header("Failure-Report", wish)
            .header("Byte-Range", &format!("1-*/{}", film.len()))
            .header("Content-Type", "text/plain")
            .body(&film);
        world.write(clients[from].peer, &send.encode());
    }
    let mut arrived = [Vec::new(), Vec::new()];
    let mut said = [Vec::new(), Vec::new()];
    for client in &clients {
        world.sockets[client.peer].reading = false;
    }
    // Twice as long as the pace needs.
    for _ in 0..2 * film.len() / pace + 200 {
        for (client, (arrived, said)) in clients.iter().zip(arrived.iter_mut().zip(&mut said)) {
            world.fetch(client.peer, pace);
            for message in world.messages(client.peer) {
                if message.method() == Some("SEND") {
                    arrived.extend_from_slice(message.body());
                    let octets = Builder::response_to(&message, 200, None).encode();
                    said.push(octets);
                } else {
                    assert_eq!(message.code(), Some(200), "{message:?}");
                }
            }
            // A client answers between its own messages.
            if world.sockets[client.peer].inbound_len() == 0 && wish == "yes" {
                for octets in said.drain(..) {
                    world.write(client.peer, &octets);
                }
            }
        }
        world.advance(Duration::from_millis(10));
    }
    for (arrived, said) in arrived.iter().zip(&said) {
        assert!(arrived.len() == film.len(), "{} octets", arrived.len());
        assert!(*arrived == film, "the octets changed");
        assert!(wish == "no" || said.is_empty(), "all is answered");
    }
    assert!(world.is_quiet());
}

/// FWD-12, FWD-15: neither side waits for the other for ever.
#[test]
fn films_both_ways_over_several_relays_arrive_whole() {
    for (relays, workers) in [(2, 1), (2, 2), (3, 1), (4, 1)] {
        films_both_ways(relays, workers, 1 << 20, "yes");
        films_both_ways(relays, workers, 16_384, "yes");
    }
    films_both_ways(3, 1, 16_384, "no");
}

/// TMR-08, FWD-16: a receiver behind another relay stands still. Its film's link is not read
/// for just as long, and lives on.
#[test]
fn a_receiver_that_stands_still_behind_a_relay_does_not_end_the_link() {
    let mut world = World::new(Options {
        more_relays: vec![1],
        ..Options::default()
    });
    let far = world.relays[1].start;
    let a = client(&mut world, 0, "a");
    let b = client(&mut world, far, "b");
    let d = client(&mut world, far, "d");
    world.sockets[b.peer].reading = false;
    let to = |client: &Client, id: &str, body: &[u8]| whole(&a, client, id, "yes", body);
    world.write(a.peer, &to(&b, "small", b"hi"));
    world.write(a.peer, &to(&b, "film", &vec![b'f'; 6_000_000]));
    world.run();
    world.advance(Duration::from_secs(31));
    let told = world.messages(a.peer);
    let reports = told.iter().filter(|m| m.method() == Some("REPORT"));
    let of_small = reports.filter(|report| report.message_id() == Some("small"));
    assert_eq!(of_small.count(), 1, "{told:?}");
    let film: Vec<_> = told.iter().filter(|m| m.tid == "tidfilm").collect();
    assert_eq!(film.len(), 1, "{told:?}");
    assert!(film[0].code().is_some_and(|code| code >= 400), "{film:?}");
    let links = world.sockets.iter().filter(|s| s.partner.is_some());
    assert!(links.clone().count() >= 2);
    for link in links {
        assert!(link.alive(), "the link ended: {:?}", link.ended);
    }
    world.write(a.peer, &to(&d, "other", b"hi"));
    world.run();
    let other = last(&mut world, d.peer);
    assert_eq!(other.message_id(), Some("other"));
}

const MIB: u64 = 1_048_576;

/// Who else uses the links.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Chats {
    None,
    /// Another client, all the time.
    OfAnother,
    /// The one that sends the film, before it.
    OfTheSame,
}

/// How long a film takes over a chain of relays with these rates.
fn film_takes(rates: &[u64], links_per_next_hop: u32, chats: Chats) -> Duration {
    const STEP: Duration = Duration::from_millis(10);
    let mut world = World::new(Options {
        more_relays: vec![1; rates.len() - 1],
        ..Options::default()
    });
    world.checks = false;
    for (relay, rate) in rates.iter().enumerate() {
        let mut settings = settings();
        settings.hosts[0] = host(relay);
        settings.links_per_next_hop = links_per_next_hop;
        settings.limits.link_octets_per_second = *rate;
        let (auth, users) = credentials(relay);
        let shard = world.relays[relay].start;
        world.shards[shard].reconfigure(world.now, Arc::new(settings), auth, users);
    }
    let far = rates.len() - 1;
    let join = |world: &mut World, name: &str| {
        let mut client = client(world, 0, name);
        for relay in 1..far {
            assert!(authenticate_at(world, &mut client, &auth_uri(relay), None));
        }
        client
    };
    let (a, c) = (join(&mut world, "a"), join(&mut world, "c"));
    let (b, d) = (client(&mut world, far, "b"), client(&mut world, far, "d"));
    let film: Vec<u8> = (0..4_000_000_u32).map(|at| (at % 251) as u8).collect();
    if chats == Chats::OfTheSame {
        let octets = whole(&a, &d, "before", "yes", b"hi");
        world.write(a.peer, &octets);
        world.advance(STEP);
        let chat = last(&mut world, d.peer);
        respond(&mut world, d.peer, &chat, 200);
        world.advance(STEP);
        assert_eq!(last(&mut world, a.peer).code(), Some(200));
    }
    let octets = whole(&a, &b, "film", "yes", &film);
    world.write(a.peer, &octets);
    let mut arrived = Vec::new();
    let began = world.now;
    while arrived.len() < film.len() {
        assert!(world.now < began + Duration::from_secs(60), "it comes");
        let id = format!("chat{}", arrived.len());
        if chats == Chats::OfAnother {
            let octets = whole(&c, &d, &id, "yes", b"hi");
            world.write(c.peer, &octets);
        }
        world.advance(STEP);
        if chats == Chats::OfAnother {
            let chat = last(&mut world, d.peer);
            assert_eq!(chat.message_id(), Some(&*id), "it does not wait");
            respond(&mut world, d.peer, &chat, 200);
        }
        for piece in world.messages(b.peer) {
            arrived.extend_from_slice(piece.body());
            respond(&mut world, b.peer, &piece, 200);
        }
    }
    let took = world.now - began;
    assert!(arrived == film, "the octets changed");
    world.advance(STEP);
    assert_eq!(last(&mut world, a.peer).code(), Some(200));
    assert!(world.is_quiet());
    took
}

/// FWD-15: by a link that chats use, too, a film goes at the rate that it may have; no chat waits
/// for it. By a link without any, or with a link for films, it goes as fast as it can.
#[test]
fn a_film_beside_chats_keeps_its_rate() {
    let at_once = Duration::from_secs(1);
    assert!(film_takes(&[MIB, MIB], 1, Chats::None) < at_once);
    assert!(film_takes(&[MIB, MIB], 2, Chats::OfAnother) < at_once);
    assert!(film_takes(&[1 << 40, MIB], 1, Chats::OfAnother) < at_once);
    let took = film_takes(&[MIB, MIB], 1, Chats::OfAnother).as_millis();
    assert!((3500..4000).contains(&took), "{took} ms");
    let took = film_takes(&[4 * MIB, MIB], 1, Chats::OfAnother).as_millis();
    assert!((850..1200).contains(&took), "{took} ms");
}

/// FWD-16: the first relay bounds it and no other one: what came faster than it may leave would
/// have to be refused there.
#[test]
fn a_film_of_another_relay_has_no_rate() {
    let at_once = Duration::from_secs(1);
    assert!(film_takes(&[1 << 40, MIB, MIB], 1, Chats::OfAnother) < at_once);
}

/// FWD-16: nor has one whose source sends chats, too, and must not wait for it.
#[test]
fn a_film_from_a_source_that_chats_is_not_refused_for_its_rate() {
    let took = film_takes(&[MIB, MIB], 1, Chats::OfTheSame);
    assert!(took < Duration::from_secs(1), "{took:?}");
}

/// A reload lets more of a film go that waits for answers.
#[test]
fn a_film_that_waits_hears_of_a_reload() {
    let mut world = World::new(Options::default());
    let a = client(&mut world, 0, "a");
    let film = vec![b'f'; 3_000_000];
    world.write(a.peer, &send(&a, "film", "yes", "1-*/*", &film));
    let link = link(&mut world);
    assert_eq!(bodies(&world.messages(link)), WINDOW);
    reload(&mut world, |settings| {
        settings.limits.link_unanswered_octets = 2 * WINDOW;
    });
    assert_eq!(bodies(&world.messages(link)), WINDOW);
}

/// FWD-15: the rate is one source's, however many receivers it spells: four films at once take as
/// long as one of their length.
#[test]
fn films_of_one_source_to_many_receivers_share_one_rate() {
    const STEP: Duration = Duration::from_millis(10);
    const FILMS: usize = 4;
    const CHUNK: usize = 65_536;
    const CHUNKS: usize = 20;
    let mut world = World::new(Options {
        more_relays: vec![1],
        ..Options::default()
    });
    world.checks = false;
    for relay in 0..2 {
        let mut settings = settings();
        settings.hosts[0] = host(relay);
        settings.links_per_next_hop = 1;
        settings.limits.link_octets_per_second = MIB;
        let (auth, users) = credentials(relay);
        let shard = world.relays[relay].start;
        world.shards[shard].reconfigure(world.now, Arc::new(settings), auth, users);
    }
    let a = client(&mut world, 0, "a");
    let c = client(&mut world, 0, "c");
    let d = client(&mut world, 1, "d");
    let receivers: Vec<Client> = (0..FILMS)
        .map(|number| client(&mut world, 1, &format!("b{number}")))
        .collect();
    // Chunk by chunk in turn, so that all are under way.
    let (body, total) = ([b'x'; CHUNK], CHUNK * CHUNKS);
    for chunk in 0..CHUNKS {
        for (number, receiver) in receivers.iter().enumerate() {
            let path = a.path_to(receiver);
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            let (start, end) = (chunk * CHUNK + 1, (chunk + 1) * CHUNK);
            let flag = if chunk + 1 == CHUNKS { b'$' } else { b'+' };
            let range = format!("{start}-{end}/{total}");
            let (tid, id) = (format!("tid{number}x{chunk}"), format!("film{number}"));
            let octets = build_send(&tid, &path, &[&a.uri], &id, &range, &body, flag);
            world.write(a.peer, &octets);
        }
    }
    let began = world.now;
    let mut arrived = 0;
    while arrived < FILMS * total {
        assert!(world.now < began + Duration::from_secs(60), "they come");
        let octets = whole(&c, &d, &format!("chat{arrived}"), "no", b"hi");
        world.write(c.peer, &octets);
        world.advance(STEP);
        world.messages(d.peer);
        for receiver in &receivers {
            for piece in world.messages(receiver.peer) {
                arrived += piece.body().len();
                respond(&mut world, receiver.peer, &piece, 200);
            }
        }
    }
    let took = (world.now - began).as_millis();
    assert!(took > 4000, "5 MiB at 1 MiB a second in {took} ms");
}
