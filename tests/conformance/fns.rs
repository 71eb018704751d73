//! Forwarding other requests: RFC 4976 §6.4.2; rows FNS.

use std::time::Duration;

use crate::rows;
use crate::support::client::{Client, QUIET, SOON};
use crate::support::link::Link;
use crate::support::message::{Draft, report, response};
use crate::support::relay::{Setup, free_port, shared};

rows! {
    any: [
        fns_01_other_methods_pass_the_same_checks,
        fns_02_relay_answers_no_forwarded_method,
        fns_03_report_is_never_answered,
        fns_04_responses_find_their_way_back,
        fns_06_method_for_the_relay_itself,
        fns_08_auth_without_token_is_no_way_through,
        fns_10_other_requests_go_between_chunks,
    ],
    own: [
        fns_03_undeliverable_report_is_dropped_in_silence,
        fns_05_unknown_methods_are_blocked_on_demand,
    ],
}

fn request(method: &str, to: &str, from: &str) -> Draft {
    let draft = Draft::request(method, to, from);
    match method {
        "REPORT" => draft
            .message_id("reported")
            .range("1-1/1")
            .line("Status: 000 200 OK"),
        "NICKNAME" => draft.line("Use-Nickname: \"x\""),
        _ => draft.line("X-Any: thing"),
    }
}

const METHODS: [&str; 5] = ["REPORT", "NICKNAME", "FOO", "FILE_OFFSET", "X"];

fn fns_01_other_methods_pass_the_same_checks() {
    for (way, mut link) in Link::all_ways(shared()) {
        for method in METHODS {
            let got = link.pass(&request(method, &link.to_p, &link.a.uri));
            assert_eq!(got.method(), Some(method), "{way}");
            // And towards the client.
            link.p
                .send(request(method, &link.to_a, &link.p.uri).octets());
            let got = link.a.expect_method(method);
            assert_eq!(
                (got.to_path.join(" "), got.from_path.join(" ")),
                link.paths_at_a(),
                "{way}"
            );
        }
    }
    let link = Link::inbound(shared());
    let mut b = Client::authenticated(shared(), "bob");
    let Link { mut a, mut p, .. } = link;
    for method in METHODS {
        let draft = request(method, &format!("{} {}", a.token, p.uri), &b.uri);
        b.send(draft.octets());
        if method != "REPORT" {
            assert_eq!(
                b.response_to(&draft.tid).code(),
                Some(481),
                "{method} by another's token"
            );
        }
    }
    b.silence(QUIET);
    p.silence(Duration::from_millis(50));
    a.silence(Duration::from_millis(50));
}

fn fns_02_relay_answers_no_forwarded_method() {
    for (way, mut link) in Link::all_ways(shared()) {
        for method in METHODS {
            let draft = request(method, &link.to_p, &link.a.uri);
            let got = link.pass(&draft);
            let early = link.a.drain(Duration::from_millis(100));
            assert!(early.is_empty(), "{way}, {method}: {early:?}");
            if method != "REPORT" {
                link.p.send(response(&got, "200 OK"));
                let answer = link.a.expect_code(200);
                assert_eq!(answer.tid, draft.tid, "{way}, {method}");
                assert_eq!(
                    answer.from_path.last(),
                    Some(&link.p.uri),
                    "{way}, {method}: from the far end"
                );
            }
        }
    }
}

fn fns_03_report_is_never_answered() {
    let mut link = Link::inbound(shared());
    let wrong = link.a.token.replacen(";tcp", "x;tcp", 1);
    for bad in [
        request("REPORT", &format!("{wrong} {}", link.p.uri), &link.a.uri),
        request(
            "REPORT",
            &format!("{} msrps://portless.example.net/x;tcp", link.a.token),
            &link.a.uri,
        ),
        Draft::request("REPORT", &link.to_p, &link.a.uri)
            .message_id("m")
            .range("bad")
            .line("Status: 000 200"),
        Draft::request("REPORT", &link.to_p, &link.a.uri)
            .message_id("m")
            .range("1-1/1")
            .line("Status: nonsense"),
        Draft::request("REPORT", &link.to_p, &link.a.uri)
            .message_id("m")
            .line("no colon"),
    ] {
        link.ignored(&bad.octets());
    }
    // A far end that answers all the same is not heard.
    let got = link.pass(&request("REPORT", &link.to_p, &link.a.uri));
    link.p.send(response(&got, "481 What message?"));
    link.a.silence(QUIET);
    link.still_works();
}

fn fns_03_undeliverable_report_is_dropped_in_silence() {
    let mut a = Client::authenticated(shared(), "alice");
    let dead = format!("{} msrps://127.0.0.1:{}/x;tcp", a.token, free_port());
    a.send(request("REPORT", &dead, &a.uri).octets());
    a.silence(Duration::from_secs(1));
}

fn fns_04_responses_find_their_way_back() {
    for (way, mut link) in Link::all_ways(shared()) {
        let drafts: Vec<Draft> = (0..10)
            .map(|_| request("NICKNAME", &link.to_p, &link.a.uri))
            .collect();
        drafts.iter().for_each(|draft| link.a.send(draft.octets()));
        let mut got: Vec<_> = drafts
            .iter()
            .map(|_| link.p.expect_method("NICKNAME"))
            .collect();
        // In another order than they came in.
        got.reverse();
        for (number, request) in got.iter().enumerate() {
            link.p
                .send(response(request, &format!("42{number} Number {number}")));
        }
        for (number, draft) in drafts.iter().rev().enumerate() {
            let answer = link.a.expect();
            assert_eq!(
                (answer.code(), &answer.tid),
                (Some(420 + number as u16), &draft.tid),
                "{way}"
            );
            assert_eq!(
                answer.comment(),
                Some(format!("Number {number}").as_str()),
                "{way}"
            );
        }
    }
}

fn fns_05_unknown_methods_are_blocked_on_demand() {
    let strict = Setup::new()
        .set("relay.block_unknown_methods", true)
        .start();
    for mut link in [Link::inbound(&strict), Link::neighbours(&strict)] {
        for method in ["FOO", "FILE_OFFSET"] {
            let draft = request(method, &link.to_p, &link.a.uri);
            assert_eq!(link.refused_with(501, &draft.octets()).tid, draft.tid);
        }
        for method in ["REPORT", "NICKNAME"] {
            link.pass(&request(method, &link.to_p, &link.a.uri));
        }
    }
}

fn fns_06_method_for_the_relay_itself() {
    let mut link = Link::inbound(shared());
    let token = link.a.token.clone();
    for method in ["NICKNAME", "FOO"] {
        let draft = request(method, &token, &link.a.uri);
        let refusal = link.refused_with(501, &draft.octets());
        assert_eq!(refusal.from_path, std::slice::from_ref(&token));
    }
    let report = request("REPORT", &token, &link.a.uri);
    link.ignored(&report.octets());
}

fn fns_08_auth_without_token_is_no_way_through() {
    let relay = shared();
    let mut a = Client::authenticated(relay, "alice");
    let draft = Draft::request(
        "AUTH",
        &format!("{} msrps://r2.peers.example;tcp", relay.uri()),
        &a.uri,
    );
    a.send(draft.octets());
    let refusal = a.expect_code(481);
    assert_eq!(refusal.tid, draft.tid);
    assert_eq!(refusal.header("WWW-Authenticate"), None);
    assert!(!crate::support::dns::Names::get().was_asked("r2.peers.example"));
}

fn fns_10_other_requests_go_between_chunks() {
    let mut link = Link::inbound(shared());
    // A's chunk stalls; the answer that A owes P, and a REPORT, go ahead of its continuation.
    let question = link.draft_back().text("and?");
    link.p.send(question.octets());
    link.p.expect_code(200);
    let asked = link.a.expect_method("SEND");
    // P is known by its URI to both of them (D-34).
    let mut b = Client::authenticated(shared(), "bob");
    link.p
        .say(&format!("{} {}", b.token, b.uri), "are you there?");
    b.expect_method("SEND");
    let chunk = link.draft().range("1-*/9000").body(&[]);
    link.a.send(chunk.head());
    link.a.send(vec![b'c'; 5000]);
    link.p.expect_partial(1);
    b.send(request("NICKNAME", &format!("{} {}", b.token, link.p.uri), &b.uri).octets());
    let mut whole = crate::support::assembly::Assembly::new();
    assert_eq!(whole.take(&mut link.p, QUIET * 10), b'+');
    link.p.expect_method("NICKNAME");
    link.a.send(vec![b'c'; 4000]);
    link.a.send(chunk.end());
    link.a.send(report(&asked, "000 200 OK", "1-4/4").octets());
    while whole.octets < 9000 {
        let piece = link.p.find(SOON, |m| m.method() == Some("SEND"));
        whole.take_received(piece);
    }
    assert_eq!(whole.flag(), b'$');
    // Ahead of the continuation or behind it.
    link.p.find(SOON, |m| m.method() == Some("REPORT"));
}
