//! Forwarding SEND: RFC 4976 §3, §6.4, §6.4.1; rows FWD.

use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::rows;
use crate::support::assembly::Assembly;
use crate::support::client::{Client, QUIET, SOON, transport};
use crate::support::dns::Names;
use crate::support::link::Link;
use crate::support::message::{Draft, lasting_headers, response};
use crate::support::peer::Peer;
use crate::support::random::{Octets, heavy};
use crate::support::relay::{Setup, shared};

rows! {
    any: [
        fwd_02_answers_at_the_end_line,
        fwd_02_no_answer_before_the_end_line,
        fwd_04_failure_report_no_is_silence,
        fwd_05_failure_report_partial_is_answered_with_errors_only,
        fwd_07_headers_flag_and_body_pass_unchanged,
        fwd_08_peer_that_connected_in_is_reached_on_its_connection,
        fwd_09_relay_makes_no_success_report,
        fwd_10_bodiless_send_goes_end_to_end,
        fwd_11_passive_client_is_reached,
        fwd_13_content_is_nobodys_business,
        fwd_14_send_to_the_relay_itself,
    ],
    own: [
        fwd_01_nothing_leaves_before_the_checks,
        fwd_06_equal_transact_ids_get_different_ones,
        fwd_08_existing_connection_is_used,
        fwd_12_sessions_on_one_connection_do_not_block_one_another,
        fwd_15_slow_next_hop_slows_the_sender,
        fwd_16_stuck_session_of_a_shared_source_is_refused_once,
    ],
}

fn fwd_01_nothing_leaves_before_the_checks() {
    let relay = shared();
    let stranger = Peer::tls();
    let by_name = stranger.uri_at("unchecked.peers.example");
    for next in [&stranger.uri, &by_name] {
        let mut a = Client::authenticated(relay, "alice");
        let b = Client::authenticated(relay, "bob");
        let id = a.token.rsplit_once('/').unwrap().1;
        let unknown = a.token.replacen(&id[..4], "aaaa", 1);
        for (to, from, line) in [
            (format!("{} {next}", b.token), a.uri.clone(), "X-Fine: yes"),
            (format!("{unknown} {next}"), a.uri.clone(), "X-Fine: yes"),
            (
                format!("{} {next}", a.token),
                a.uri.clone(),
                "Byte-Range: wrong",
            ),
            (format!("{} {next}", a.token), a.uri.clone(), "no colon"),
            (
                format!("{} {next}", a.token),
                "nonsense".to_owned(),
                "X-Fine: yes",
            ),
        ] {
            let draft = Draft::send(&to, &from)
                .line(line)
                .without_range()
                .text("let me out");
            a.send(draft.octets());
            let answers = a.drain(Duration::from_millis(150));
            assert!(
                answers.iter().all(|m| matches!(m.code(), Some(400 | 481))),
                "{answers:?}"
            );
        }
        let mut stray = Client::tls(relay);
        stray.send(
            Draft::send(
                &format!("msrps://elsewhere.example.net:1/x;tcp {next}"),
                &stray.uri,
            )
            .octets(),
        );
        stray.closed();
    }
    stranger.nobody_connects(Duration::from_millis(200));
    assert!(!Names::get().was_asked("unchecked.peers.example"));
}

fn fwd_02_answers_at_the_end_line() {
    for (way, mut link) in Link::all_ways(shared()) {
        let draft = link.draft().text("no hurry");
        let began = Instant::now();
        link.a.send(draft.octets());
        let answer = link.a.expect_code(200);
        // 100 ms on a machine of one's own; what counts is that P has nothing to do with it.
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{way}: {:?}",
            began.elapsed()
        );
        assert_eq!(answer.tid, draft.tid, "{way}");
        let got = link.p.expect_method("SEND");
        assert_ne!(got.tid, draft.tid, "{way}: P does not see A's tid");
        link.p.send(response(&got, "200 OK"));
        link.a.silence(Duration::from_millis(100));
    }
}

fn fwd_02_no_answer_before_the_end_line() {
    for (way, mut link) in Link::all_ways(shared()) {
        let draft = link.draft().range("1-*/10000").body(&[]);
        link.a.send(draft.head());
        link.a.send(vec![b'e'; 10_000]);
        link.p.expect_partial(1);
        let early = link.a.drain(Duration::from_millis(200));
        assert!(early.is_empty(), "{way}: {early:?}");
        link.a.send(draft.end());
        assert_eq!(link.a.expect_code(200).tid, draft.tid, "{way}");
        let got = Assembly::new().answering().finish(&mut link.p);
        assert_eq!(got.octets, 10_000, "{way}");
    }
}

fn fwd_04_failure_report_no_is_silence() {
    for (_, mut link) in Link::all_ways(shared()) {
        let good = link.draft().failure_report("no").text("quiet");
        link.pass(&good);
        let token = link.a.token.replacen(";tcp", "x;tcp", 1);
        for bad in [
            link.draft().failure_report("no").range("bad").text("quiet"),
            Draft::send(&format!("{token} {}", link.p.uri), &link.a.uri)
                .failure_report("no")
                .text("quiet"),
            Draft::send(
                &format!("{} msrps://portless.example.net/x;tcp", link.a.token),
                &link.a.uri,
            )
            .failure_report("no")
            .text("quiet"),
        ] {
            link.ignored(&bad.octets());
        }
        link.a.silence(QUIET);
    }
}

fn fwd_05_failure_report_partial_is_answered_with_errors_only() {
    let mut link = Link::inbound(shared());
    let good = link.draft().failure_report("partial").text("quiet");
    let got = link.pass(&good);
    link.a.silence(QUIET);
    link.p.send(response(&got, "200 OK"));
    link.a.silence(QUIET);
    let token = link.a.token.replacen(";tcp", "x;tcp", 1);
    let bad = Draft::send(&format!("{token} {}", link.p.uri), &link.a.uri)
        .failure_report("partial")
        .text("quiet");
    link.refused_with(481, &bad.octets());
}

fn fwd_06_equal_transact_ids_get_different_ones() {
    let relay = shared();
    let peer = Peer::tls();
    let mut link = Link::with_dialled(Client::authenticated(relay, "alice"), &peer);
    let mut b = Client::authenticated(relay, "bob");
    let from_a = link.draft().tid("sametid1").text("from A");
    let from_b = Draft::send(&format!("{} {}", b.token, peer.uri), &b.uri)
        .tid("sametid1")
        .text("from B");
    link.a.send(from_a.octets());
    b.send(from_b.octets());
    let (one, two) = (link.p.expect_method("SEND"), link.p.expect_method("SEND"));
    assert_ne!(one.tid, two.tid);
    assert!(one.tid != "sametid1" && two.tid != "sametid1");
    // Answers crosswise: each refusal reaches the right sender.
    for got in [&two, &one] {
        let code = if got.body() == b"from A" {
            "404 not A"
        } else {
            "403 not B"
        };
        link.p.send(response(got, code));
    }
    link.a.expect_code(200);
    b.expect_code(200);
    assert_eq!(
        link.a
            .report_about(&from_a.message_id, SOON)
            .status()
            .unwrap()
            .1,
        404
    );
    assert_eq!(
        b.report_about(&from_b.message_id, SOON).status().unwrap().1,
        403
    );
}

fn fwd_07_headers_flag_and_body_pass_unchanged() {
    for (way, mut link) in Link::all_ways(shared()) {
        for flag in ['$', '+', '#'] {
            let draft = link
                .draft()
                .lines(&[
                    "Failure-Report: yes",
                    "Success-Report: yes",
                    "X-Extension: a, b;c=\"d\"",
                    "Content-Disposition: render;handling=optional",
                ])
                .range("1-11/20")
                .content(
                    "text/x-odd;charset=utf-8;a=\"b c\"",
                    b"\0\r\n--\r\n\xff\xfe-\n",
                )
                .flag(flag);
            let got = link.pass(&draft);
            let lines: Vec<String> = lasting_headers(&got)
                .iter()
                .map(|(n, v)| format!("{n}: {v}"))
                .collect();
            assert_eq!(
                lines,
                [
                    &format!("Message-ID: {}", draft.message_id),
                    "Failure-Report: yes",
                    "Success-Report: yes",
                    "X-Extension: a, b;c=\"d\"",
                    "Content-Disposition: render;handling=optional",
                    "Content-Type: text/x-odd;charset=utf-8;a=\"b c\"",
                ],
                "{way}"
            );
            assert_eq!(got.body(), b"\0\r\n--\r\n\xff\xfe-\n", "{way}");
            assert_eq!(char::from(got.flag), flag, "{way}");
            link.p.send(response(&got, "200 OK"));
            assert_eq!(link.a.expect_code(200).tid, draft.tid, "{way}");
        }
    }
}

fn fwd_08_existing_connection_is_used() {
    let relay = shared();
    let peer = Peer::tls();
    let mut link = Link::with_dialled(Client::authenticated(relay, "alice"), &peer);
    // From both shards, also to another session of the same authority.
    for user in ["bob", "carol", "alice"] {
        let mut other = Client::authenticated(relay, user);
        for uri in [peer.uri.clone(), peer.uri_at("127.0.0.1")] {
            other.say(&format!("{} {uri}", other.token), "by the same connection");
            let got = link.p.expect_method("SEND");
            assert_eq!(got.to_path, [uri]);
            link.p.send(response(&got, "200 OK"));
        }
    }
    link.still_works();
    peer.nobody_connects(Duration::from_millis(100));
    // Once it is gone, a new one is opened.
    link.p.kill();
    std::thread::sleep(Duration::from_millis(200));
    let draft = Draft::send(&link.to_p, &link.a.uri).text("again");
    link.a.send(draft.octets());
    assert_eq!(peer.accept().expect_method("SEND").body(), b"again");
}

fn fwd_08_peer_that_connected_in_is_reached_on_its_connection() {
    let relay = shared();
    let (a, mut p) = (Client::authenticated(relay, "alice"), Client::tls(relay));
    p.uri = format!("msrps://inbound.peers.example:2855/abc;{}", transport());
    let mut link = Link::with_inbound(a, p);
    link.still_works();
    // Another client of the relay does so once P has written to it, too (D-34).
    let mut b = Client::authenticated(relay, "bob");
    link.p.say(&format!("{} {}", b.token, b.uri), "hello b");
    b.expect_method("SEND");
    b.say(&format!("{} {}", b.token, link.p.uri), "to the same");
    let got = link.p.expect_method("SEND");
    assert_eq!(got.from_path, [b.token.clone(), b.uri.clone()]);
    assert!(!Names::get().was_asked("inbound.peers.example"));
}

fn fwd_09_relay_makes_no_success_report() {
    for (way, mut link) in Link::all_ways(shared()) {
        let draft = link.draft().line("Success-Report: yes").text("tell me");
        let got = link.pass(&draft);
        assert_eq!(got.header("Success-Report"), Some("yes"), "{way}");
        link.a.expect_code(200);
        link.p.send(response(&got, "200 OK"));
        link.a.silence(QUIET);
    }
}

fn fwd_10_bodiless_send_goes_end_to_end() {
    for (way, mut link) in Link::all_ways(shared()) {
        // Also with a keepalive's header, as deployed clients send it (D-32).
        let draft = link.draft().range("1-0/0").line("Keep-Alive: yes");
        let got = link.pass(&draft);
        assert_eq!((got.body, got.flag), (None, b'$'), "{way}");
        assert_eq!(link.a.expect_code(200).tid, draft.tid, "{way}");
    }
}

fn fwd_11_passive_client_is_reached() {
    let relay = shared();
    let mut a = Client::authenticated(relay, "alice");
    for round in 0..3 {
        let mut p = Client::tls(relay);
        let draft = p.say(&format!("{} {}", a.token, a.uri), "hello first");
        let got = a.expect_method("SEND");
        assert_eq!(
            got.message_id(),
            Some(draft.message_id.as_str()),
            "round {round}"
        );
        a.send(response(&got, "200 OK"));
        p.silence(Duration::from_millis(50));
    }
}

fn fwd_12_sessions_on_one_connection_do_not_block_one_another() {
    let relay = shared();
    // Fifty clients of the relay talk with one peer over one connection, both ways; the first of
    // them reads nothing.
    let peer = Peer::tls();
    let mut link = Link::with_dialled(Client::authenticated(relay, "alice"), &peer);
    let mut clients: Vec<Client> = (0..49)
        .map(|_| Client::authenticated(relay, "bob"))
        .collect();
    // The source carries all of them (FWD-16), before the first one gets stuck.
    for client in &mut clients {
        talk(&mut link, client);
    }
    let stuck = Draft::send(&link.to_a, &link.p.uri)
        .failure_report("no")
        .body(&vec![b's'; 16 * 1024])
        .octets();
    for _ in 0..40 {
        link.p.send(&stuck);
    }
    for client in &mut clients {
        let took = talk(&mut link, client);
        assert!(took < Duration::from_secs(3), "{took:?}");
    }
    peer.nobody_connects(Duration::from_millis(50));
    // And the first one has lost nothing.
    for _ in 0..40 {
        let mut whole = Assembly::new();
        while whole.take(&mut link.a, SOON) == b'+' {}
        assert_eq!(whole.octets, 16 * 1024);
    }
}

/// One message from P to this client and one back, by P's connection; how long it took.
fn talk(link: &mut Link, client: &mut Client) -> Duration {
    let began = Instant::now();
    let to_client = format!("{} {}", client.token, client.uri);
    link.p.send(
        Draft::send(&to_client, &link.p.uri)
            .text("and you?")
            .octets(),
    );
    let got = client.expect_method("SEND");
    assert_eq!(got.body(), b"and you?");
    client.send(response(&got, "200 OK"));
    client.say(&format!("{} {}", client.token, link.p.uri), "fine");
    let got = link.p.find(SOON, |m| m.method() == Some("SEND"));
    assert_eq!(got.body(), b"fine");
    link.p.send(response(&got, "200 OK"));
    began.elapsed()
}

fn fwd_13_content_is_nobodys_business() {
    let mut link = Link::inbound(shared());
    let cpim = "From: <im:a@b>\r\nTo: <im:c@d>\r\nDateTime: 2026-01-01T00:00:00Z\r\n\r\n\
                Content-Type: text/plain\r\n\r\nhello\r\n";
    let imdn = "<?xml version=\"1.0\"?><imdn xmlns=\"urn:ietf:params:xml:ns:imdn\"/>";
    for (kind, body) in [
        ("message/cpim", cpim.as_bytes()),
        ("message/imdn+xml", imdn.as_bytes()),
        (
            "multipart/signed; boundary=\"-------x\"",
            b"---------x\r\n\r\n---------x--\r\n",
        ),
        (
            "application/pkcs7-mime; smime-type=enveloped-data",
            b"0\x80\x06\x09*\x86H\x86\xf7\r\n\x01",
        ),
        ("application/im-iscomposing+xml", b"<isComposing/>"),
    ] {
        let draft = link.draft().content(kind, body);
        let got = link.pass(&draft);
        assert_eq!((got.header("Content-Type"), got.body()), (Some(kind), body));
        link.p.send(response(&got, "200 OK"));
        link.a.expect_code(200);
    }
}

fn fwd_14_send_to_the_relay_itself() {
    let mut link = Link::inbound(shared());
    let token = link.a.token.clone();
    let keepalive = Draft::send(&token, &link.a.uri).range("1-0/0");
    link.a.send(keepalive.octets());
    let answer = link.a.expect_code(200);
    assert_eq!(
        (&answer.tid, &answer.from_path[0]),
        (&keepalive.tid, &token)
    );
    let bare = Draft::send(&token, &link.a.uri);
    link.a.send(bare.octets());
    assert_eq!(link.a.expect_code(200).tid, bare.tid);
    let with_body = Draft::send(&token, &link.a.uri).text("for whom?");
    link.refused_with(481, &with_body.octets());
    // Not on somebody else's connection.
    let draft = Draft::send(&token, &link.p.uri).range("1-0/0");
    link.p.send(draft.octets());
    assert_eq!(link.p.response_to(&draft.tid).code(), Some(481));
    link.a.silence(Duration::from_millis(100));
    link.still_works();
}

fn fwd_15_slow_next_hop_slows_the_sender() {
    const OCTETS: usize = 24 * 1024 * 1024;
    let _turn = heavy();
    for (way, mut link) in [
        ("dialled", Link::dialled(shared())),
        ("inbound", Link::inbound(shared())),
        ("neighbours", Link::neighbours(shared())),
    ] {
        let draft = link.draft().range(&format!("1-*/{OCTETS}")).body(&[]);
        let body = Octets::new(15).take(OCTETS);
        link.a.send(draft.head());
        // P does not read: at some point A's writes block.
        let written = link.a.write(&body, Duration::from_secs(2));
        assert!(
            written < OCTETS,
            "{way}: the relay has swallowed everything"
        );
        // While A waits for P, nobody is told anything.
        let early = link.a.drain(Duration::from_millis(100));
        assert!(early.is_empty(), "{way}: {early:?}");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                link.a.send(&body[written..]);
                link.a.send(draft.end());
            });
            let got = Assembly::new().answering().finish(&mut link.p);
            assert_eq!(got.sha256()[..], Sha256::digest(&body)[..], "{way}");
        });
        assert_eq!(link.a.response_to(&draft.tid).code(), Some(200), "{way}");
    }
}

fn fwd_16_stuck_session_of_a_shared_source_is_refused_once() {
    let _turn = heavy();
    // A source with twenty sessions; the receiver of the first stops reading while far more than
    // any bound is sent to it.
    let relay = Setup::new()
        .set("limits.queued_octets_shared", 262_144)
        .start();
    let mut source = Client::tls(&relay);
    let stuck = Client::authenticated(&relay, "alice");
    let mut others: Vec<Client> = (0..19)
        .map(|_| Client::authenticated(&relay, "bob"))
        .collect();
    let chat = |source: &mut Client, other: &mut Client, text: &str| {
        let draft = Draft::send(&format!("{} {}", other.token, other.uri), &source.uri).text(text);
        let began = Instant::now();
        source.send(draft.octets());
        let got = other.expect_method("SEND");
        other.send(response(&got, "200 OK"));
        assert_eq!(got.body(), text.as_bytes());
        (draft.tid, began.elapsed())
    };
    for other in &mut others {
        chat(&mut source, other, "warm");
    }
    let to_stuck = format!("{} {}", stuck.token, stuck.uri);
    let film = Draft::send(&to_stuck, &source.uri).flag('+');
    let part = vec![b'f'; 100_000];
    let mut tids = Vec::new();
    let mut slowest = Duration::ZERO;
    let mut start = 1;
    for round in 0..200 {
        let chunk = film
            .clone()
            .tid(&format!("film{round}"))
            .range(&format!("{start}-*/*"))
            .body(&part);
        start += part.len();
        source.send(chunk.octets());
        tids.push(chunk.tid.clone());
        let (_, took) = chat(
            &mut source,
            &mut others[round % 19],
            &format!("line {round}"),
        );
        slowest = slowest.max(took);
    }
    assert!(
        slowest < Duration::from_secs(3),
        "a chat line took {slowest:?}"
    );
    let answers = source.drain(Duration::from_secs(1));
    let film_id = &film.message_id;
    let told: Vec<_> = answers
        .iter()
        .filter(|m| match m.code() {
            Some(200) => false,
            Some(_) => tids.contains(&m.tid),
            None => m.message_id() == Some(film_id),
        })
        .collect();
    let codes =
        |m: &&msrpload::codec::Message| m.code().or_else(|| m.status().map(|(_, code, _)| code));
    assert!(
        !told.is_empty(),
        "20 MB went to a receiver that does not read, and nobody was told"
    );
    assert!(told.iter().all(|m| codes(m) == Some(413)), "{told:?}");
    let refused: std::collections::HashSet<&str> = told
        .iter()
        .filter(|m| m.code().is_some())
        .map(|m| m.tid.as_str())
        .collect();
    assert_eq!(
        refused.len(),
        told.iter().filter(|m| m.code().is_some()).count(),
        "one signal per chunk"
    );
    for other in &mut others {
        chat(&mut source, other, "still here");
    }
}
