//! Heads near a bound, and links that others share (SYN-23, SYN-25, SEC-06): whatever one client sends, the link between
//! two relays goes on.

use std::time::Duration;

use msrpd::relay::CloseReason;
use msrpload::codec::{Builder, Message, build_send};

use crate::relays::{FAR, R2_URI, auth_through, dial_in, end_sessions};
use crate::setup::{Client, client, last, respond, settings, whole};
use crate::world::{Ended, Options, Peer, World};

fn two_relays() -> (World, [Client; 4]) {
    let mut world = World::new(Options {
        more_relays: vec![1],
        ..Options::default()
    });
    let clients = ["a", "c"].map(|name| client(&mut world, 0, name));
    let far = ["b", "d"].map(|name| client(&mut world, 1, name));
    let [(a, c), (b, d)] = [clients, far].map(|[one, two]| (one, two));
    // The link is up before anything else.
    chat(&mut world, &c, &d, "first");
    (world, [a, b, c, d])
}

/// A message of others, from end to end.
fn chat(world: &mut World, from: &Client, to: &Client, id: &str) {
    world.write(from.peer, &whole(from, to, id, "yes", b"from others"));
    world.run();
    let arrived = last(world, to.peer);
    assert_eq!(arrived.body(), b"from others");
    respond(world, to.peer, &arrived, 200);
    world.run();
    assert_eq!(last(world, from.peer).code(), Some(200));
}

fn links_alive(world: &World) -> bool {
    let mut links = world
        .sockets
        .iter()
        .filter(|socket| socket.partner.is_some());
    links.all(|socket| socket.alive())
}

/// A request of `a` to `b` with an own line, so long that the head, end-line or blank line included, has so many octets.
fn of_octets(
    a: &Client,
    b: &Client,
    tid: &str,
    method: &str,
    body: bool,
    octets: usize,
) -> Vec<u8> {
    let path = a.path_to(b);
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let request = |filler: usize| {
        let request = Builder::request(tid, method)
            .to_path(&path)
            .from_path(&[&a.uri])
            .header("X", &"x".repeat(filler))
            .header("Message-ID", tid);
        match body {
            true => request.body(b"hello"),
            false => request,
        }
    };
    let length = |octets: &[u8]| match body {
        true => memchr::memmem::find(octets, b"\r\n\r\n").expect("a blank line") + 4,
        false => octets.len(),
    };
    let least = length(&request(0).encode());
    let made = request(octets - least).encode();
    assert_eq!(length(&made), octets);
    made
}

/// SYN-25: our transact-id, the Byte-Range and our URI in From-Path would push it past the next relay's bound, so it is
/// refused here. It costs nobody else anything.
#[test]
fn a_head_that_would_outgrow_the_bound_is_refused_and_the_link_goes_on() {
    let (mut world, [a, b, c, d]) = two_relays();
    let mut codes = Vec::new();
    let tids = (0..).map(|number| format!("t{number:03}"));
    let lengths = [32_500, 32_600, 32_700, 32_760, 32_767, 32_768];
    let all = lengths.iter().flat_map(|octets| {
        [
            ("SEND", true),
            ("SEND", false),
            ("NICKNAME", false),
            ("WIGGLE", false),
        ]
        .map(|(method, body)| (*octets, method, body))
    });
    for ((octets, method, body), tid) in all.zip(tids) {
        let request = of_octets(&a, &b, &tid, method, body, octets);
        world.write(a.peer, &request);
        world.run();
        let arrived = world.messages(b.peer);
        for arrived in &arrived {
            respond(&mut world, b.peer, arrived, 200);
        }
        world.run();
        let answer = last(&mut world, a.peer);
        let refused = answer.code() == Some(400);
        assert!(
            refused || answer.code() == Some(200),
            "{octets} {method}: {answer:?}"
        );
        assert_eq!(arrived.is_empty(), refused, "{octets} {method}");
        codes.push((octets, refused));
        chat(&mut world, &c, &d, &format!("chat{tid}"));
        assert!(links_alive(&world), "{octets} octets of {method}");
    }
    assert!(
        codes.iter().all(|(octets, refused)| match octets {
            ..=32_600 => !refused,
            32_767.. => *refused,
            _ => true,
        }),
        "{codes:?}"
    );
    world.end();
}

/// SYN-25: two hundred such requests cost none of two hundred messages of others on the same link, which are under way
/// together with them.
#[test]
fn two_hundred_bad_heads_cost_others_no_message() {
    let (mut world, [a, b, c, d]) = two_relays();
    let path = a.path_to(&b);
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let mut delivered = 0;
    for number in 0..200 {
        let bad = match number % 2 {
            0 => of_octets(&a, &b, "abcd", "SEND", true, 32_768),
            _ => Builder::request("abcd", &"M".repeat(2036))
                .to_path(&path)
                .from_path(&[&a.uri])
                .encode(),
        };
        let id = format!("m{number}");
        world.write(c.peer, &whole(&c, &d, &id, "yes", b"from others"));
        world.write(a.peer, &bad);
        world.run();
        world.messages(a.peer);
        world.messages(c.peer);
        for arrived in world.messages(d.peer) {
            delivered += 1;
            respond(&mut world, d.peer, &arrived, 200);
        }
        world.run();
        assert!(world.messages(c.peer).is_empty(), "nothing was reported");
    }
    assert_eq!(delivered, 200);
    assert!(links_alive(&world));
    world.end();
}

/// SYN-25: a start line grows by what our transact-id is longer.
#[test]
fn a_method_whose_start_line_would_outgrow_the_bound_is_refused_and_the_link_goes_on() {
    let (mut world, [a, b, c, d]) = two_relays();
    for (letters, code) in [(2020, None), (2021, Some(400)), (2036, Some(400))] {
        let path = a.path_to(&b);
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let request = Builder::request("abcd", &"M".repeat(letters))
            .to_path(&path)
            .from_path(&[&a.uri]);
        world.write(a.peer, &request.encode());
        world.run();
        let answers: Vec<_> = world.messages(a.peer).iter().map(Message::code).collect();
        assert_eq!(answers, Vec::from_iter(code.map(Some)), "{letters}");
        assert_eq!(world.messages(b.peer).len(), usize::from(code.is_none()));
        chat(&mut world, &c, &d, &format!("chat{letters}"));
        assert!(links_alive(&world), "{letters} letters");
    }
    world.end();
}

/// SYN-25, URI-02: From-Path grows by our URI, and a Byte-Range is added.
#[test]
fn paths_and_header_lines_that_would_outgrow_the_bound_are_refused() {
    let (mut world, [a, b, c, d]) = two_relays();
    let path = a.path_to(&b);
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    for (uris, lines, code) in [(30, 0, 200), (32, 0, 400), (1, 123, 200), (1, 124, 400)] {
        let mut from = vec![a.uri.as_str()];
        from.extend(vec!["msrps://x.invalid:1/x;tcp"; uris - 1]);
        let mut send = Builder::request("abcd", "SEND")
            .to_path(&path)
            .from_path(&from)
            .header("Message-ID", "m1");
        for _ in 0..lines {
            send = send.header("X", "y");
        }
        world.write(
            a.peer,
            &send
                .header("Content-Type", "text/plain")
                .body(b"hello")
                .encode(),
        );
        world.run();
        assert_eq!(
            last(&mut world, a.peer).code(),
            Some(code),
            "{uris} {lines}"
        );
        for arrived in world.messages(b.peer) {
            respond(&mut world, b.peer, &arrived, 200);
        }
        chat(&mut world, &c, &d, &format!("chat{uris}x{lines}"));
        assert!(links_alive(&world));
    }
    world.end();
}

/// The link stands at R2, which is played by hand, and has passed a message.
fn by_hand() -> (World, Client, Peer) {
    let mut world = World::new(Options::default());
    let a = client(&mut world, 0, "a");
    let link = dial_in(&mut world, 0);
    good(&mut world, link, &a, "first");
    (world, a, link)
}

/// A message of others by the link.
fn good(world: &mut World, link: Peer, a: &Client, tid: &str) {
    let to = [a.token.as_str(), &a.uri];
    let octets = build_send(tid, &to, &[R2_URI, FAR], tid, "1-2/2", b"hi", b'$');
    world.write(link, &octets);
    world.run();
    let arrived = last(world, a.peer);
    respond(world, a.peer, &arrived, 200);
    world.run();
    let answer = last(world, link);
    assert_eq!((answer.tid.as_str(), answer.code()), (tid, Some(200)));
}

/// SYN-23, SYN-25: a relay with other bounds than ours sends a head that is too long for us. That request is refused; the
/// next one is as good as ever, however the octets were cut.
#[test]
fn a_head_that_is_too_long_costs_its_request_and_not_the_link() {
    for size in [usize::MAX, 1000, 7] {
        let (mut world, a, link) = by_hand();
        world.read_max = size;
        for (number, (octets, body)) in [36_865, 40_000, 200_000]
            .into_iter()
            .flat_map(|octets| [(octets, true), (octets, false)])
            .enumerate()
        {
            let tid = format!("long{number}");
            let send = Builder::request(&tid, "SEND")
                .to_path(&[&a.token, &a.uri])
                .from_path(&[R2_URI, FAR])
                .header("Message-ID", "m1")
                .header("X", &"x".repeat(octets / 2))
                .header("Y", &"y".repeat(octets / 2));
            let send = match body {
                // What looks like a head's end within a line, and like an end-line, is none.
                true => send
                    .header("Z", &format!("-------{tid}$"))
                    .body(b"\r\n-------long$\r\n"),
                false => send,
            };
            world.write(link, &send.encode());
            world.run();
            let answer = last(&mut world, link);
            assert_eq!(
                (answer.tid.as_str(), answer.code()),
                (tid.as_str(), Some(400))
            );
            assert!(world.messages(a.peer).is_empty());
            good(&mut world, link, &a, &format!("good{number}"));
        }
        end_sessions(world);
    }
}

/// SYN-22, SYN-23: the transact-id tells where a message ends, whatever follows it in the start line.
#[test]
fn an_unreadable_start_line_costs_its_message_and_not_the_link() {
    let (mut world, a, link) = by_hand();
    let lines = [
        "send".to_owned(),
        "2000".to_owned(),
        "SEND SEND".to_owned(),
        "M".repeat(3000),
        format!("200 {}", "x".repeat(5000)),
    ];
    for (number, line) in lines.iter().enumerate() {
        for body in ["", "\r\nbody\r\nTo-Path: x\r\n\r\n"] {
            let octets = format!(
                "MSRP wrong{number} {line}\r\nTo-Path: {} {}\r\nFrom-Path: {R2_URI} {FAR}\r\n{body}-------wrong{number}$\r\n",
                a.token, a.uri
            );
            world.write(link, octets.as_bytes());
            world.run();
            for answer in world.messages(link) {
                assert_eq!(answer.code(), Some(400), "{line}: {answer:?}");
            }
            assert!(world.messages(a.peer).is_empty());
            good(&mut world, link, &a, &format!("good{number}{}", body.len()));
        }
    }
    end_sessions(world);
}

/// SYN-22: what has no transact-id, or is no MSRP, still ends a link: there is no telling where it ends.
#[test]
fn without_a_transact_id_the_framing_of_a_link_is_lost() {
    for octets in [
        "GARBAGE\r\n",
        "MSRP ab SEND\r\n",
        &format!("MSRP {}", "a".repeat(5000)),
    ] {
        let (mut world, _, link) = by_hand();
        world.write(link, octets.as_bytes());
        world.run();
        assert!(
            matches!(
                world.sockets[link].ended,
                Some(Ended::Closed(CloseReason::Framing(_)))
            ),
            "{octets}"
        );
        end_sessions(world);
    }
}

/// SYN-17: a body that is too long for its method is not forwarded, and refused where it is a relay's.
#[test]
fn a_long_body_of_another_method_costs_its_request_and_not_the_link() {
    let (mut world, a, link) = by_hand();
    for (method, code) in [("NICKNAME", Some(400)), ("REPORT", None)] {
        let request = Builder::request("abcd", method)
            .to_path(&[&a.token, &a.uri])
            .from_path(&[R2_URI, FAR])
            .header("Content-Type", "text/plain")
            .body(&[b'x'; 30_000]);
        world.write(link, &request.encode());
        world.run();
        let answers: Vec<_> = world.messages(link).iter().map(Message::code).collect();
        assert_eq!(answers, Vec::from_iter(code.map(Some)), "{method}");
        assert!(world.messages(a.peer).is_empty());
        good(&mut world, link, &a, &format!("good{method}"));
    }
    end_sessions(world);
}

/// UPT-04: the 200 to an AUTH holds its From-Path twice. One that could not go back is refused before anything is granted.
#[test]
fn an_auth_whose_answer_would_outgrow_the_bound_is_refused() {
    let mut world = World::new(Options::default());
    let link = dial_in(&mut world, 0);
    let long = format!("msrps://far.invalid:2855/{};tcp", "s".repeat(17_000));
    let octets = auth_through(crate::setup::AUTH_URI, "auth1", None, None);
    let octets = String::from_utf8(octets).expect("text").replace(FAR, &long);
    world.write(link, octets.as_bytes());
    world.run();
    let answer = last(&mut world, link);
    assert_eq!(answer.code(), Some(400));
    assert!(world.sockets[link].alive());
    world.end();
}

/// SEC-06, D-29: a source that stalls within its body keeps no chunk open at the next hop for longer than that one waits,
/// even where nothing else uses the link; what comes late is sent as a continuation.
#[test]
fn a_body_that_stalls_ends_its_piece_and_not_the_link() {
    let mut settings = settings();
    settings.limits.body_timeout = Duration::from_secs(40);
    let mut world = World::new(Options {
        more_relays: vec![1],
        settings,
        ..Options::default()
    });
    let a = client(&mut world, 0, "a");
    let b = client(&mut world, 1, "b");
    chat(&mut world, &a, &b, "first");
    let send = whole(&a, &b, "slow", "yes", &[b'x'; 6000]);
    let (front, back) = send.split_at(send.len() - 2000);
    world.write(a.peer, front);
    world.run();
    // Just before the relay's own patience with its client is over.
    world.advance(Duration::from_millis(39_900));
    world.run();
    let pieces = world.messages(b.peer);
    assert!(!pieces.is_empty(), "its piece has ended");
    for piece in &pieces {
        assert_eq!(piece.flag, b'+');
        respond(&mut world, b.peer, piece, 200);
    }
    world.write(a.peer, back);
    world.run();
    let rest = last(&mut world, b.peer);
    assert_eq!(rest.flag, b'$');
    let before: usize = pieces.iter().map(|piece| piece.body().len()).sum();
    assert_eq!(before + rest.body().len(), 6000);
    respond(&mut world, b.peer, &rest, 200);
    world.run();
    assert_eq!(last(&mut world, a.peer).code(), Some(200));
    assert!(links_alive(&world));

    // And one that never goes on ends with its client, not with the link.
    world.write(a.peer, front);
    world.run();
    world.advance(Duration::from_secs(60));
    world.run();
    assert!(!world.sockets[a.peer].alive());
    assert!(links_alive(&world));
    world.end();
}

/// SEC-06: a relay that lets a body stall on its link for twice our time is given up; for less it is not.
#[test]
fn a_body_may_stall_on_a_link_for_twice_the_time() {
    let (mut world, a, link) = by_hand();
    let to = [a.token.as_str(), &a.uri];
    let octets = build_send(
        "slow",
        &to,
        &[R2_URI, FAR],
        "slow",
        "1-*/5000",
        &[b'x'; 5000],
        b'$',
    );
    world.write(link, &octets[..octets.len() - 1000]);
    world.run();
    world.advance(Duration::from_secs(590));
    assert!(world.sockets[link].alive());
    world.advance(Duration::from_secs(20));
    assert_eq!(
        world.sockets[link].ended,
        Some(Ended::Closed(CloseReason::TooSlow))
    );
    end_sessions(world);
}
