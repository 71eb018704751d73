//! Responses as deployed clients write them (RSP-04, RSP-11, D-40): connection and transact-id tell what they answer. And what
//! must not come back with them (SEC-09).

use std::time::Duration;

use msrpd::metrics::OddResponse;
use msrpd::relay::Transport;
use msrpload::codec::{Builder, Message};

use crate::relays::{FAR, R2_URI, dial_in, end_sessions};
use crate::setup::{Client, client, last, respond, whole};
use crate::world::{Options, Peer, World};

fn world() -> (World, Client, Client) {
    let mut world = World::new(Options::workers(2));
    let a = client(&mut world, 0, "a");
    let b = client(&mut world, 1, "b");
    (world, a, b)
}

/// A SEND of `a` that has arrived at `b`, and its 200.
fn sent(world: &mut World, a: &Client, b: &Client, id: &str, wish: &str) -> Message {
    world.write(a.peer, &whole(a, b, id, wish, b"hello"));
    world.run();
    let answers = world.messages(a.peer);
    assert_eq!(answers.len(), usize::from(wish == "yes"));
    last(world, b.peer)
}

fn counted(world: &World, kind: OddResponse) -> u64 {
    let shards = world.shards.iter();
    shards
        .map(|shard| shard.metrics().odd_responses(kind))
        .sum()
}

/// A response to a request with these two header lines first, in this order.
fn with_paths(request: &Message, status: &str, paths: &[(&str, &[String])], more: &str) -> Vec<u8> {
    let paths: String = paths
        .iter()
        .map(|(name, uris)| format!("{name}: {}\r\n", uris.join(" ")))
        .collect();
    let tid = &request.tid;
    format!("MSRP {tid} {status}\r\n{paths}{more}-------{tid}$\r\n").into_bytes()
}

type Paths<'a> = Vec<(&'static str, &'a [String])>;

/// What deployed peers write instead of `To-Path: previous hop`, `From-Path: own URI`.
fn replays(request: &Message) -> Vec<(OddResponse, Paths<'_>)> {
    let (to, from) = (&request.to_path[..], &request.from_path[..]);
    let last = from.len() - 1;
    vec![
        // The last From-Path URI, and not the first.
        (
            OddResponse::NotToUs,
            vec![("To-Path", &from[last..]), ("From-Path", &to[..1])],
        ),
        // Both paths as they were.
        (
            OddResponse::Unswapped,
            vec![("To-Path", to), ("From-Path", from)],
        ),
        // In the wrong order.
        (
            OddResponse::Order,
            vec![("From-Path", &to[..1]), ("To-Path", &from[..1])],
        ),
        // Both mistakes.
        (
            OddResponse::Order,
            vec![("From-Path", from), ("To-Path", to)],
        ),
        // The whole way back.
        (
            OddResponse::WholePath,
            vec![("To-Path", from), ("From-Path", &to[..1])],
        ),
        (
            OddResponse::WholePath,
            vec![("To-Path", from), ("From-Path", to)],
        ),
    ]
}

/// RSP-04, RSP-07: the message was delivered and is not reported.
#[test]
fn a_success_counts_whatever_its_paths() {
    let (mut world, a, b) = world();
    let first = sent(&mut world, &a, &b, "m0", "yes");
    let kinds: Vec<OddResponse> = replays(&first).iter().map(|(kind, _)| *kind).collect();
    respond(&mut world, b.peer, &first, 200);
    // The same head over and over: by comparing, too.
    for round in 0..3 {
        for (number, kind) in kinds.iter().enumerate() {
            let before = counted(&world, *kind);
            let got = sent(&mut world, &a, &b, &format!("m{round}x{number}"), "yes");
            let octets = with_paths(&got, "200 OK", &replays(&got)[number].1, "");
            world.write(b.peer, &octets);
            world.run();
            assert!(world.messages(a.peer).is_empty(), "{kind:?} ends here");
            assert!(world.is_quiet(), "{kind:?}: nothing is waited for");
            assert_eq!(counted(&world, *kind), before + 1, "{kind:?}");
        }
    }
    world.advance(Duration::from_secs(40));
    assert!(world.messages(a.peer).is_empty(), "no false 408");
    assert_eq!(world.odd_responses.len(), 1, "one line for the connection");
    world.end();
}

/// RSP-04, RSP-09
#[test]
fn a_failure_counts_whatever_its_paths() {
    for wish in ["yes", "partial"] {
        let (mut world, a, b) = world();
        for number in 0..6 {
            let got = sent(&mut world, &a, &b, &format!("m{number}"), wish);
            let octets = with_paths(&got, "413 Stop it", &replays(&got)[number].1, "");
            world.write(b.peer, &octets);
            world.run();
            let report = last(&mut world, a.peer);
            assert_eq!(report.status(), Some((0, 413, Some("Stop it"))));
        }
        world.end();
    }
}

/// RSP-04: without any path, or for nothing that is open on the connection, it is dropped; the one that counts still does.
#[test]
fn a_response_without_paths_or_to_nothing_is_dropped() {
    let (mut world, a, b) = world();
    let other = world.connect(0, Transport::Tls);
    let got = sent(&mut world, &a, &b, "m1", "yes");
    let mut stray = got.clone();
    stray.tid = "aaaaaaaaaaaaaaaaaaaa".to_owned();
    let fits: Paths<'_> = vec![
        ("To-Path", &got.from_path[..1]),
        ("From-Path", &got.to_path),
    ];
    for (peer, octets) in [
        (b.peer, with_paths(&got, "403 No", &[], "")),
        (b.peer, with_paths(&got, "403 No", &[], "X-Path: x\r\n")),
        (b.peer, with_paths(&stray, "403 No", &fits, "")),
        // The right one, by another connection.
        (a.peer, with_paths(&got, "403 No", &fits, "")),
        (other, with_paths(&got, "403 No", &fits, "")),
    ] {
        world.write(peer, &octets);
        world.run();
        assert!(world.messages(a.peer).is_empty());
    }
    assert_eq!(counted(&world, OddResponse::NoPaths), 2);
    assert_eq!(counted(&world, OddResponse::Unmatched), 3);
    respond(&mut world, b.peer, &got, 403);
    world.run();
    assert_eq!(
        last(&mut world, a.peer).status().map(|status| status.1),
        Some(403)
    );
    world.end();
}

/// D-40: 1xx is a habit of SIP. The final response decides, and without one the hop timer does.
#[test]
fn a_provisional_response_completes_nothing() {
    let (mut world, a, b) = world();
    let trying = |request: &Message| Builder::response_to(request, 100, Some("Trying")).encode();
    for (id, code) in [("m1", Some(200)), ("m2", Some(481)), ("m3", None)] {
        let got = sent(&mut world, &a, &b, id, "yes");
        for _ in 0..3 {
            world.write(b.peer, &trying(&got));
            world.run();
        }
        assert!(world.messages(a.peer).is_empty());
        assert!(!world.is_quiet(), "it is still waited for");
        if let Some(code) = code {
            respond(&mut world, b.peer, &got, code);
        }
        world.advance(Duration::from_secs(31));
        let reported: Vec<_> = world
            .messages(a.peer)
            .iter()
            .map(|report| report.status().map(|status| status.1))
            .collect();
        match code {
            Some(200) => assert_eq!(reported, []),
            code => assert_eq!(reported, [Some(code.unwrap_or(408))]),
        }
    }
    assert_eq!(counted(&world, OddResponse::Provisional), 9);
    // Nor does it travel back.
    let got = nickname(&mut world, &a, &b, "nick1");
    world.write(b.peer, &trying(&got));
    world.run();
    assert!(world.messages(a.peer).is_empty());
    respond(&mut world, b.peer, &got, 425);
    world.run();
    assert_eq!(last(&mut world, a.peer).code(), Some(425));
    world.end();
}

/// A NICKNAME of `a` that has arrived at `b`.
fn nickname(world: &mut World, a: &Client, b: &Client, tid: &str) -> Message {
    let path = a.path_to(b);
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let request = Builder::request(tid, "NICKNAME")
        .to_path(&path)
        .from_path(&[&a.uri])
        .header("Use-Nickname", "\"x\"");
    world.write(a.peer, &request.encode());
    world.run();
    last(world, b.peer)
}

/// RSP-05, RSP-11: an answer that has lost its way is put on it again, with its headers, and is from whoever gave it.
#[test]
fn an_answer_to_a_forwarded_request_finds_its_way_whatever_its_paths() {
    // By one URI of ours, and by two in a row.
    for (mut world, a, b) in [world(), {
        let mut world = World::new(Options::default());
        let a = client(&mut world, 0, "a");
        let b = client(&mut world, 0, "b");
        (world, a, b)
    }] {
        let mut tids = (0..).map(|number| format!("nick{number}"));
        for number in 0..7 {
            let tid = tids.next().expect("without end");
            let got = nickname(&mut world, &a, &b, &tid);
            let mut ways = replays(&got);
            // To the previous hop alone, as to a SEND.
            ways.push((
                OddResponse::NoWayOn,
                vec![
                    ("To-Path", &got.from_path[..1]),
                    ("From-Path", &got.to_path),
                ],
            ));
            let octets = with_paths(&got, "425 Taken", &ways[number].1, "X: kept\r\n");
            world.write(b.peer, &octets);
            world.run();
            let answer = last(&mut world, a.peer);
            assert_eq!(
                (answer.tid.as_str(), answer.code()),
                (tid.as_str(), Some(425))
            );
            assert_eq!(answer.comment(), Some("Taken"));
            assert_eq!(answer.to_path, [a.uri.as_str()], "{:?}", ways[number].0);
            assert_eq!(answer.from_path[0], a.token, "{:?}", ways[number].0);
            assert!(
                answer.from_path.contains(&b.uri),
                "{:?}: {answer:?}",
                ways[number].0
            );
            assert_eq!(answer.header("X"), Some("kept"));
            assert!(world.is_quiet());
        }
        world.end();
    }
}

/// SEC-09: text that breaks the grammar reaches nobody; that the message was delivered, or not, is told all the same.
#[test]
fn text_that_breaks_the_grammar_never_comes_back_with_a_response() {
    let bad: [(&[u8], &[u8]); 6] = [
        (b"403 No\x07 way\x1b[31m", b""),
        (b"403 N\xc5", b""),
        (b"403 No\nTo-Path: x", b""),
        (b"403 No", b"X: a\x00b\r\n"),
        (b"403 No", b"X: \xff\xfe\r\n"),
        (b"403 No", b"no colon\r\n"),
    ];
    let is_clean = |message: &Message| {
        let text = std::str::from_utf8(&message.raw).expect("UTF-8");
        let control = |c: char| c.is_control() && !matches!(c, '\r' | '\n');
        assert!(
            !text.contains(control) && !text.contains("To-Path: x"),
            "{text:?}"
        );
    };
    let (mut world, a, b) = world();
    for (number, (status, more)) in bad.into_iter().enumerate() {
        let answer = |got: &Message| {
            let (tid, to, from) = (&got.tid, &got.from_path, &got.to_path[0]);
            let to = match got.method() {
                Some("SEND") => to[0].clone(),
                _ => to.join(" "),
            };
            [
                format!("MSRP {tid} ").as_bytes(),
                status,
                format!("\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\n").as_bytes(),
                more,
                format!("-------{tid}$\r\n").as_bytes(),
            ]
            .concat()
        };
        for wish in ["yes", "partial"] {
            let got = sent(&mut world, &a, &b, &format!("{wish}{number}"), wish);
            world.write(b.peer, &answer(&got));
            world.run();
            let report = last(&mut world, a.peer);
            is_clean(&report);
            assert_eq!(report.status().map(|status| status.1), Some(403));
        }
        let tid = format!("nick{number}");
        let got = nickname(&mut world, &a, &b, &tid);
        world.write(b.peer, &answer(&got));
        world.run();
        let answer = last(&mut world, a.peer);
        is_clean(&answer);
        assert_eq!(
            (answer.tid.as_str(), answer.code()),
            (tid.as_str(), Some(403))
        );
        assert_eq!(answer.header("X"), None);
        assert!(world.sockets[b.peer].alive());
    }
    assert_eq!(counted(&world, OddResponse::Malformed), 18);
    world.end();
}

/// SEC-09, D-33: a success or a challenge that breaks the grammar is none for the AUTH that it answers.
#[test]
fn an_auth_with_a_broken_answer_is_told_that_none_came() {
    let mut world = World::new(Options::default());
    let a = client(&mut world, 0, "a");
    let link = dial_in(&mut world, 0);
    let near = Builder::request("near", "SEND")
        .to_path(&[&a.token, &a.uri])
        .from_path(&[R2_URI, FAR])
        .header("Message-ID", "near")
        .encode();
    world.write(link, &near);
    world.run();
    let arrived = last(&mut world, a.peer);
    respond(&mut world, a.peer, &arrived, 200);
    world.run();
    last(&mut world, link);
    for (number, (status, code)) in [("200 OK", 408), ("401 Who", 408), ("403 No", 403)]
        .into_iter()
        .enumerate()
    {
        let auth = Builder::request(&format!("auth{number}"), "AUTH")
            .to_path(&[&a.token, "msrps://r2.example.net:2855;tcp"])
            .from_path(&[&a.uri]);
        world.write(a.peer, &auth.encode());
        world.run();
        let got = last(&mut world, link);
        let paths: Paths<'_> = vec![("To-Path", &got.from_path), ("From-Path", &got.to_path)];
        world.write(
            link,
            &with_paths(&got, status, &paths, "Use-Path: x\x01y\r\n"),
        );
        world.run();
        assert_eq!(last(&mut world, a.peer).code(), Some(code), "{status}");
    }
    end_sessions(world);
}

/// RSP-11, SEC-09: a comment without end is no use to anybody and is left out.
#[test]
fn a_comment_of_two_kilobytes_is_not_passed_on_in_a_report() {
    let (mut world, a, b) = world();
    for (octets, passed) in [(512, true), (513, false), (1900, false)] {
        let comment = "x".repeat(octets);
        let got = sent(&mut world, &a, &b, &format!("m{octets}"), "yes");
        let octets = Builder::response_to(&got, 403, Some(&comment)).encode();
        world.write(b.peer, &octets);
        world.run();
        let report = last(&mut world, a.peer);
        let expected = passed.then_some(comment.as_str()).or(Some("Forbidden"));
        assert_eq!(report.status(), Some((0, 403, expected)));
    }
    world.end();
}

/// Responses are looked at as they come, whoever they come from: none of this closes a connection by itself (ERR-09).
#[test]
fn no_odd_response_closes_a_connection() {
    let (mut world, a, b) = world();
    let peers: [Peer; 2] = [a.peer, b.peer];
    for peer in peers {
        for octets in [
            "MSRP abcd 200 OK\r\n-------abcd$\r\n",
            "MSRP abcd 100 Trying\r\nFrom-Path: x\r\n-------abcd$\r\n",
            "MSRP abcd 999\r\nTo-Path:\r\nFrom-Path:\t\r\n-------abcd$\r\n",
            "MSRP abcd 200 OK\r\nTo-Path: a\r\nTo-Path: b\r\n\r\nbody\r\n-------abcd+\r\n",
        ] {
            world.write(peer, octets.as_bytes());
            world.run();
            assert!(world.messages(peer).is_empty());
            assert!(world.sockets[peer].alive());
        }
    }
    world.end();
}
