//! Responses: RFC 4975 §7.2, RFC 4976 §6.4.3; rows RSP.

use std::time::Duration;

use msrpload::codec::Message;

use crate::rows;
use crate::support::client::{Client, QUIET, SOON};
use crate::support::link::Link;
use crate::support::message::{Draft, response};
use crate::support::relay::{Relay, shared};

rows! {
    any: [
        rsp_01_response_to_send_goes_to_the_previous_hop_only,
        rsp_02_response_to_other_methods_lists_the_whole_path,
        rsp_03_response_repeats_the_message_id,
        rsp_04_stray_responses_are_dropped,
        rsp_05_response_travels_back,
        rsp_06_response_to_nobody_is_dropped,
        rsp_07_responses_to_send_end_here,
        rsp_08_success_stops_the_timer,
        rsp_09_failure_becomes_a_report,
        rsp_10_failure_before_the_end_of_the_chunk,
    ],
    own: [
        rsp_04_connection_and_transact_id_decide,
        rsp_04_provisional_response_is_waited_on,
        rsp_11_answer_to_a_nickname_finds_its_way,
        sec_09_responses_bring_no_controls,
    ],
}

fn rsp_01_response_to_send_goes_to_the_previous_hop_only() {
    let mut link = Link::inbound(shared());
    let from = format!(
        "{} msrps://one.invalid:1/x;tcp msrps://two.invalid/y;ws",
        link.p.uri
    );
    for (to, code) in [
        (link.to_a.clone(), 200),
        (link.to_a.replacen(";tcp", "x;tcp", 1), 481),
    ] {
        let draft = Draft::send(&to, &from).text("three behind me");
        link.p.send(draft.octets());
        let answer = link.p.expect_code(code);
        assert_eq!(answer.tid, draft.tid);
        assert_eq!(answer.to_path, [link.p.uri.clone()]);
        assert_eq!(answer.from_path, [to.split(' ').next().unwrap().to_owned()]);
        assert_eq!((answer.flag, answer.body), (b'$', None));
    }
}

fn rsp_02_response_to_other_methods_lists_the_whole_path() {
    let relay = shared();
    let mut p = Client::tls(relay);
    let a = Client::authenticated(relay, "alice");
    let from = format!(
        "{} msrps://one.invalid:1/x;tcp msrps://two.invalid/y;ws",
        p.uri
    );
    let wrong = a.token.replacen(";tcp", "x;tcp", 1);
    for (method, to, code) in [
        ("AUTH", relay.uri(), 401),
        ("NICKNAME", format!("{wrong} {}", a.uri), 481),
        ("FOO", format!("{wrong} {}", a.uri), 481),
    ] {
        let draft = Draft::request(method, &to, &from);
        p.send(draft.octets());
        let answer = p.response_to(&draft.tid);
        assert_eq!(
            (answer.code(), answer.to_path.join(" ")),
            (Some(code), from.clone()),
            "{method}"
        );
    }
}

fn rsp_03_response_repeats_the_message_id() {
    let mut link = Link::inbound(shared());
    let draft = link.draft().text("id");
    link.pass(&draft);
    assert_eq!(
        link.a.expect_code(200).message_id(),
        Some(draft.message_id.as_str())
    );
    let draft = Draft::request("FOO", &link.a.token.clone(), &link.a.uri);
    assert_eq!(link.refused_with(501, &draft.octets()).message_id(), None);
}

fn rsp_04_stray_responses_are_dropped() {
    for (_, mut link) in Link::all_ways(shared()) {
        let open = link.draft().text("open");
        let got = link.pass(&open);
        link.a.expect_code(200);
        let (token, uri) = (link.a.token.clone(), link.p.uri.clone());
        for stray in [
            format!(
                "MSRP stray001 200 OK\r\nTo-Path: {token}\r\nFrom-Path: {uri}\r\n-------stray001$\r\n"
            ),
            format!(
                "MSRP stray002 403 Forbidden\r\nTo-Path: {token}\r\nFrom-Path: {uri}\r\n-------stray002$\r\n"
            ),
            // An open transaction, without a word about whose it is.
            format!("MSRP {0} 404 Not here\r\n-------{0}$\r\n", got.tid),
            // Broken ones.
            "MSRP stray003 200 OK\r\n-------stray003$\r\n".to_owned(),
            format!(
                "MSRP stray004 200 OK\r\nFrom-Path: {uri}\r\nTo-Path: {token}\r\n-------stray004$\r\n"
            ),
            format!(
                "MSRP stray005 999\r\nTo-Path: {token}\r\nFrom-Path: nonsense\r\n-------stray005$\r\n"
            ),
            format!(
                "MSRP stray006 200 OK\r\nTo-Path: {token}\r\nFrom-Path: {uri}\r\nno colon\r\n-------stray006$\r\n"
            ),
        ] {
            link.p.send(stray);
        }
        link.a.silence(Duration::from_millis(200));
        link.p.send(response(&got, "403 But this one counts"));
        let report = link.a.expect_method("REPORT");
        assert_eq!(report.status(), Some((0, 403, Some("But this one counts"))));
        // Twice is stray.
        link.p.send(response(&got, "403 But this one counts"));
        link.a.silence(Duration::from_millis(100));
        link.still_works();
    }
}

fn rsp_05_response_travels_back() {
    for (way, mut link) in Link::all_ways(shared()) {
        let draft = Draft::request("NICKNAME", &link.to_p, &link.a.uri).line("Use-Nickname: \"x\"");
        let got = link.pass(&draft);
        let mut octets = String::from_utf8(response(&got, "423 Try later")).unwrap();
        octets = octets.replace(
            "\r\n-------",
            "\r\nX-First: 1\r\nx-second: \u{e5}\r\nMin-Expires: 60\r\n-------",
        );
        link.p.send(octets);
        let answer = link.a.expect_code(423);
        assert_eq!(answer.tid, draft.tid, "{way}");
        assert_eq!(answer.to_path, [link.a.uri.clone()], "{way}");
        // Every URI of the relay has moved over, one after the other.
        let mut passed: Vec<String> = got.from_path[..got.from_path.len() - 1].to_vec();
        passed.reverse();
        passed.push(link.p.uri.clone());
        assert_eq!(answer.from_path, passed, "{way}");
        let text = String::from_utf8(answer.raw).unwrap();
        assert!(
            text.contains("X-First: 1\r\nx-second: \u{e5}\r\nMin-Expires: 60\r\n-------"),
            "{way}: {text}"
        );
    }
}

fn rsp_06_response_to_nobody_is_dropped() {
    for (way, mut link) in Link::all_ways(shared()) {
        let draft = Draft::request("NICKNAME", &link.to_p, &link.a.uri);
        let got = link.pass(&draft);
        let uri = link.a.uri.clone();
        link.a.kill();
        std::thread::sleep(Duration::from_millis(100));
        link.p.send(response(&got, "200 OK"));
        assert!(link.p.drain(QUIET).is_empty(), "{way}: about {uri}");
        // The connection is as good as before.
        let b = Client::authenticated(shared(), "carol");
        let to_b = format!("{} {}", b.token, b.uri);
        let to_b = if way == "neighbours" {
            format!("{} {to_b}", link.p.token)
        } else {
            to_b
        };
        let draft = Draft::send(&to_b, &link.p.uri).text("next");
        link.p.send(draft.octets());
        assert_eq!(link.p.response_to(&draft.tid).code(), Some(200), "{way}");
    }
}

fn rsp_07_responses_to_send_end_here() {
    for (way, mut link) in Link::all_ways(shared()) {
        let draft = link.draft().text("listen");
        let got = link.pass(&draft);
        link.a.expect_code(200);
        link.p.send(format!(
            "MSRP {0} 200 OK\r\nTo-Path: {1}\r\nFrom-Path: {2}\r\n-------{0}$\r\n",
            got.tid,
            got.from_path.join(" "),
            got.to_path[0]
        ));
        let came = link.a.drain(Duration::from_millis(150));
        assert!(came.is_empty(), "{way}: {came:?}");
        link.still_works();
    }
}

fn rsp_08_success_stops_the_timer() {
    let mut links = Link::all_ways(shared());
    let mut open = Vec::new();
    for (_, link) in &mut links {
        for _ in 0..3 {
            let draft = link.draft().text("patience");
            open.push((link.pass(&draft), draft));
            link.a.expect_code(200);
        }
    }
    std::thread::sleep(Duration::from_secs(28));
    let mut open = open.into_iter();
    for (_, link) in &mut links {
        // Any 2xx is a success; with Message-ID or without, with paths only.
        let (got, _) = open.next().unwrap();
        link.p.send(response(&got, "200 OK"));
        let (got, _) = open.next().unwrap();
        link.p.send(response(&got, "299 Well"));
        let (got, _) = open.next().unwrap();
        link.p.send(format!(
            "MSRP {0} 200\r\nTo-Path: {1}\r\nFrom-Path: {2}\r\n-------{0}$\r\n",
            got.tid, got.from_path[0], got.to_path[0]
        ));
    }
    std::thread::sleep(Duration::from_secs(4));
    for (way, link) in &mut links {
        let came = link.a.drain(Duration::from_millis(50));
        assert!(came.is_empty(), "{way}: {came:?}");
    }
}

fn rsp_09_failure_becomes_a_report() {
    for (way, mut link) in Link::all_ways(shared()) {
        for status in [
            "400 Bad",
            "403 Forbidden",
            "413 Stop",
            "428 Unheard of",
            "481",
            "501 No",
            "599 \u{fc}ber",
            "300 Other",
        ] {
            for failure_report in ["yes", "partial", "no"] {
                let draft = link.draft().failure_report(failure_report).text("fail");
                let got = link.pass(&draft);
                if failure_report == "yes" {
                    link.a.expect_code(200);
                }
                link.p.send(response(&got, status));
                if failure_report == "no" {
                    continue;
                }
                let report = link.a.expect_method("REPORT");
                assert_eq!(
                    report.message_id(),
                    Some(draft.message_id.as_str()),
                    "{way}"
                );
                let (namespace, code, _) = report.status().unwrap();
                assert_eq!(
                    (namespace, code),
                    (0, status[..3].parse().unwrap()),
                    "{way}"
                );
            }
        }
        let rest = link.a.drain(Duration::from_millis(150));
        assert!(rest.is_empty(), "{way}: {rest:?}");
    }
}

fn rsp_10_failure_before_the_end_of_the_chunk() {
    for (way, mut link) in Link::all_ways(shared()) {
        let draft = link.draft().range("1-*/1000000").body(&[]);
        link.a.send(draft.head());
        link.a.send(vec![b'e'; 20_000]);
        link.p.expect_partial(1);
        // Nothing but the head is needed to refuse.
        let tid = link.p.partial_tid();
        link.p.send(format!(
            "MSRP {tid} 413 Stop\r\nTo-Path: {}\r\nFrom-Path: {}\r\n-------{tid}$\r\n",
            link.paths_at_p().1.split(' ').next().unwrap(),
            link.p.uri
        ));
        // The chunk ends, aborted (D-35), and A is told while it still sends (D-08).
        let got = link.p.find(SOON, |m| m.method() == Some("SEND"));
        assert_eq!(got.flag, b'#', "{way}");
        let refusal = link.a.expect_code(413);
        assert_eq!(refusal.tid, draft.tid, "{way}");
        link.a.send(vec![b'e'; 200_000]);
        link.a.send(draft.end());
        let rest = link.a.drain(Duration::from_millis(200));
        assert!(rest.is_empty(), "{way}: one signal: {rest:?}");
        let rest = link.p.drain(Duration::from_millis(100));
        assert!(rest.is_empty(), "{way}: nothing more of it: {rest:?}");
        link.still_works();
    }
}

/// A response with these paths, in this order.
fn answer(request: &Message, status: &str, paths: [(&str, &str); 2]) -> String {
    let [(first, one), (second, other)] = paths;
    let tid = &request.tid;
    format!("MSRP {tid} {status}\r\n{first}: {one}\r\n{second}: {other}\r\n-------{tid}$\r\n")
}

/// The paths of responses as deployed clients write them (D-40): the last URI of From-Path instead of the first, both as
/// they were, in the wrong order, the whole way back.
fn deployed_paths(request: &Message) -> [[(&'static str, String); 2]; 4] {
    let (to, from) = (request.to_path.join(" "), request.from_path.join(" "));
    let last = request.from_path.last().unwrap().clone();
    let first = request.from_path[0].clone();
    [
        [("To-Path", last), ("From-Path", to.clone())],
        [("To-Path", to.clone()), ("From-Path", from.clone())],
        [("From-Path", to.clone()), ("To-Path", first)],
        [("To-Path", from), ("From-Path", to)],
    ]
}

fn odd_responses(relay: &Relay) -> f64 {
    let kinds = ["not_to_us", "unswapped", "order", "whole_path"];
    kinds
        .iter()
        .map(|kind| relay.metric("msrpd_responses_odd_total", &[&format!("kind=\"{kind}\"")]))
        .sum()
}

fn rsp_04_connection_and_transact_id_decide() {
    let relay = shared();
    for (way, mut link) in Link::all_ways(relay) {
        let before = odd_responses(relay);
        for style in 0..4 {
            for status in ["200 OK", "413 Stop"] {
                let got = link.pass(&link.draft().text("whose?"));
                link.a.expect_code(200);
                let [one, other] = &deployed_paths(&got)[style];
                let paths = [(one.0, one.1.as_str()), (other.0, other.1.as_str())];
                link.p.send(answer(&got, status, paths));
                if status.starts_with('4') {
                    let report = link.a.expect_method("REPORT");
                    assert_eq!(
                        report.status().map(|status| status.1),
                        Some(413),
                        "{way} {style}"
                    );
                    assert_eq!(report.message_id(), got.message_id());
                }
            }
        }
        link.a.silence(QUIET);
        link.still_works();
        assert!(odd_responses(relay) >= before + 8.0, "{way}");
    }
}

fn rsp_04_provisional_response_is_waited_on() {
    for (way, mut link) in Link::all_ways(shared()) {
        for status in ["200 OK", "481 No such session"] {
            let got = link.pass(&link.draft().text("try"));
            link.a.expect_code(200);
            link.p.send(response(&got, "100 Trying"));
            link.p.send(response(&got, "180"));
            link.a.silence(Duration::from_millis(100));
            link.p.send(response(&got, status));
            if status.starts_with('4') {
                let report = link.a.expect_method("REPORT");
                assert_eq!(report.status().map(|status| status.1), Some(481), "{way}");
            }
        }
        link.a.silence(QUIET);
    }
}

fn rsp_11_answer_to_a_nickname_finds_its_way() {
    for (way, mut link) in Link::all_ways(shared()) {
        for style in 0..5 {
            let draft =
                Draft::request("NICKNAME", &link.to_p, &link.a.uri).line("Use-Nickname: \"x\"");
            let got = link.pass(&draft);
            // The last one: to the previous hop alone.
            let to_us = [
                ("To-Path", got.from_path[0].clone()),
                ("From-Path", got.to_path.join(" ")),
            ];
            let styles = deployed_paths(&got);
            let [one, other] = styles.get(style).unwrap_or(&to_us);
            let paths = [(one.0, one.1.as_str()), (other.0, other.1.as_str())];
            link.p.send(answer(&got, "425 Taken", paths));
            let answer = link.a.expect_code(425);
            assert_eq!(answer.tid, draft.tid, "{way} {style}");
            assert_eq!(answer.to_path, [link.a.uri.clone()], "{way} {style}");
            let from = answer.from_path.join(" ");
            assert!(
                from.starts_with(&link.a.token) && from.contains(&link.p.uri),
                "{way} {style}: {from}"
            );
        }
    }
}

fn sec_09_responses_bring_no_controls() {
    for (way, mut link) in Link::all_ways(shared()) {
        for (status, line) in [
            (&b"403 \x1b[31mNo\x07"[..], &b""[..]),
            (b"403 N\xf6", b""),
            (b"403 No\nX: y", b""),
            (b"403 No", b"X: a\x00b\r\n"),
            (b"403 No", b"X: \xff\r\n"),
        ] {
            for method in ["SEND", "NICKNAME"] {
                let draft = match method {
                    "SEND" => link.draft().text("clean?"),
                    _ => Draft::request(method, &link.to_p, &link.a.uri),
                };
                let got = link.pass(&draft);
                if method == "SEND" {
                    link.a.expect_code(200);
                }
                let mut octets = response(&got, "@@");
                let at = octets.windows(2).position(|two| two == b"@@").unwrap();
                octets.splice(at..at + 2, status.iter().copied());
                let end = octets.len() - got.tid.len() - 10;
                octets.splice(end..end, line.iter().copied());
                link.p.send(octets);
                // The codec refuses controls and what is not UTF-8.
                let told = link.a.expect();
                let code = told.code().or(told.status().map(|status| status.1));
                assert_eq!(code, Some(403), "{way}: {told:?}");
                assert!(told.header("X").is_none(), "{way}: {told:?}");
            }
        }
        link.still_works();
    }
}
