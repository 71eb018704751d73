//! Errors and response codes: RFC 4975 §10, RFC 4976 §6.2, §6.4.3; rows ERR.

use std::time::Duration;

use crate::rows;
use crate::support::client::{Client, QUIET, SOON};
use crate::support::link::Link;
use crate::support::message::{Draft, response};
use crate::support::relay::shared;

rows! {
    any: [
        err_01_unintelligible_requests_get_400,
        err_02_no_such_session_is_481,
        err_03_request_for_somebody_else_closes,
        err_04_codes_of_auth_stay_with_auth,
        err_06_413_stops_the_message,
        err_07_passed_on_but_never_made,
        err_08_unknown_codes_go_by_class,
        err_09_responses_are_never_answered,
        err_10_error_of_one_session_disturbs_no_other,
    ],
    own: [
        err_05_408_as_response_only_where_no_200_went_out,
    ],
}

fn err_01_unintelligible_requests_get_400() {
    let mut link = Link::inbound(shared());
    for method in ["SEND", "NICKNAME", "FOO"] {
        for line in ["no colon", "Byte-Range: x", " folded"] {
            let draft = Draft::request(method, &link.to_p, &link.a.uri)
                .message_id("intelli1")
                .line(line);
            let refusal = link.refused_with(400, &draft.octets());
            assert_eq!(refusal.tid, draft.tid);
        }
    }
    link.still_works();
}

fn err_02_no_such_session_is_481() {
    let relay = shared();
    let mut link = Link::inbound(relay);
    let gone = Client::authenticated(relay, "bob").token.clone();
    std::thread::sleep(Duration::from_millis(100));
    let unknown = link.a.token.replacen(";tcp", "x;tcp", 1);
    for token in [gone, unknown] {
        for path in [format!("{token} {}", link.p.uri), token.clone()] {
            let draft = Draft::send(&path, &link.a.uri).text("nobody");
            assert_eq!(
                link.refused_with(481, &draft.octets()).from_path,
                std::slice::from_ref(&token)
            );
        }
    }
    // Nothing to forward to.
    let draft = Draft::send(&link.a.token.clone(), &link.a.uri).text("to whom?");
    link.refused_with(481, &draft.octets());
}

fn err_03_request_for_somebody_else_closes() {
    let relay = shared();
    for to in [
        "msrps://other.example.org:2855/x;tcp".to_owned(),
        format!(
            "msrps://other.example.org:{}/x;tcp msrps://x.example.org:1/x;tcp",
            relay.port()
        ),
        "msrps://192.0.2.1:2855/x;tcp".to_owned(),
    ] {
        for method in ["SEND", "REPORT", "NICKNAME"] {
            // Also on a connection that has proved itself.
            let mut link = Link::inbound(relay);
            let draft = Draft::request(method, &to, &link.a.uri).message_id("notyours");
            let draft = if method == "REPORT" {
                draft.range("1-1/1").line("Status: 000 200")
            } else {
                draft
            };
            link.a.send(draft.octets());
            link.a.closed();
            link.p.silence(Duration::from_millis(50));
        }
    }
}

fn err_04_codes_of_auth_stay_with_auth() {
    let mut link = Link::inbound(shared());
    let unknown = link.a.token.replacen(";tcp", "x;tcp", 1);
    for draft in [
        Draft::send(&format!("{unknown} {}", link.p.uri), &link.a.uri)
            .line("Expires: 5")
            .text("x"),
        Draft::send(&link.a.token.clone(), &link.a.uri)
            .line("Authorization: Digest x=y")
            .text("x"),
        Draft::request("FOO", &link.a.token.clone(), &link.a.uri),
    ] {
        let refusal = link.refused(&draft.octets()).expect("a refusal");
        assert!(
            matches!(refusal.code(), Some(400 | 481 | 501)),
            "{refusal:?}"
        );
        for name in ["WWW-Authenticate", "Min-Expires", "Max-Expires"] {
            assert_eq!(refusal.header(name), None);
        }
    }
}

fn err_05_408_as_response_only_where_no_200_went_out() {
    // Lost after the 200: only the REPORT says 408.
    let mut link = Link::dialled(shared());
    let draft = link.draft().text("x");
    link.pass(&draft);
    assert_eq!(link.a.expect().code(), Some(200));
    link.p.kill();
    let report = link.a.expect_method("REPORT");
    assert_eq!(report.status().unwrap().1, 408);
    link.a.silence(QUIET);
}

fn err_06_413_stops_the_message() {
    let mut link = Link::inbound(shared());
    let first = link
        .draft()
        .range("1-3000/9000")
        .body(&[b'1'; 3000])
        .flag('+');
    let got = link.pass(&first);
    link.a.expect_code(200);
    link.p.send(response(&got, "413 Stop"));
    assert_eq!(
        link.a
            .report_about(&first.message_id, SOON)
            .status()
            .unwrap()
            .1,
        413
    );
    // Later chunks: refused 413 at once, or passed on for P to judge.
    let second = link
        .draft()
        .message_id(&first.message_id)
        .range("3001-6000/9000")
        .body(&[b'2'; 3000])
        .flag('+');
    link.a.send(second.octets());
    match link.a.response_to(&second.tid).code() {
        Some(413) => link.p.silence(QUIET),
        Some(200) => drop(link.p.expect_method("SEND")),
        other => panic!("413 or 200, not {other:?}"),
    }
    // Another message is another matter.
    link.still_works();
}

fn err_07_passed_on_but_never_made() {
    let mut link = Link::inbound(shared());
    for status in [
        "415 Unsupported media type",
        "501 Not implemented",
        "506 Wrong connection",
    ] {
        let draft = link
            .draft()
            .content("application/x-unheard-of", b"?")
            .text("x");
        let got = link.pass(&draft);
        assert_eq!(
            link.a.expect().code(),
            Some(200),
            "nothing is refused for its type"
        );
        link.p.send(response(&got, status));
        let report = link.a.report_about(&draft.message_id, SOON);
        assert_eq!(
            report.status().unwrap().1,
            status[..3].parse::<u16>().unwrap()
        );
    }
}

fn err_08_unknown_codes_go_by_class() {
    for (way, mut link) in Link::all_ways(shared()) {
        for status in [
            "404 Not found",
            "424 Bad alias",
            "425 In use",
            "428 Private",
            "499 What",
            "600 Six",
        ] {
            let draft = link.draft().text("x");
            let got = link.pass(&draft);
            link.a.expect_code(200);
            link.p.send(response(&got, status));
            let report = link.a.expect_method("REPORT");
            let (_, code, comment) = report.status().unwrap();
            assert_eq!(
                (code, comment),
                (status[..3].parse().unwrap(), Some(&status[4..])),
                "{way}"
            );
        }
        for status in ["200 OK", "201 Made", "299 Unheard"] {
            let draft = link.draft().text("x");
            let got = link.pass(&draft);
            link.a.expect_code(200);
            link.p.send(response(&got, status));
        }
        let rest = link.a.drain(Duration::from_millis(150));
        assert!(rest.is_empty(), "{way}: {rest:?}");
    }
}

fn err_09_responses_are_never_answered() {
    let mut link = Link::inbound(shared());
    let uri = link.p.uri.clone();
    for number in 0..50 {
        link.p.send(format!(
            "MSRP stray{number:03} 400 Bad\r\nTo-Path: {}\r\nFrom-Path: {uri}\r\n-------stray{number:03}$\r\n",
            ["msrps://x.invalid:1/x;tcp", "nonsense", &link.a.token][number % 3]
        ));
    }
    link.p.silence(QUIET);
    link.a.silence(Duration::from_millis(50));
    link.still_works();
}

fn err_10_error_of_one_session_disturbs_no_other() {
    let relay = shared();
    for (way, mut link) in Link::all_ways(relay) {
        let unknown = link.a.token.replacen(";tcp", "x;tcp", 1);
        let mut octets = Vec::new();
        let mut good = Vec::new();
        let mut bad = Vec::new();
        for number in 0..20 {
            let wrong = match number % 4 {
                0 => Draft::send(&format!("{unknown} {}", link.p.uri), &link.a.uri).text("x"),
                1 => link.draft().range("x").text("x"),
                2 => Draft::send(&link.a.token.clone(), &link.a.uri).text("x"),
                _ => Draft::request("FOO", &link.a.token.clone(), &link.a.uri),
            };
            octets.extend(wrong.octets());
            bad.push(wrong.tid);
            let right = link.draft().text(&format!("good {number}"));
            octets.extend(right.octets());
            good.push(right.tid);
        }
        link.a.send(octets);
        for number in 0..20 {
            let got = link.p.expect_method("SEND");
            assert_eq!(got.body(), format!("good {number}").as_bytes(), "{way}");
            link.p.send(response(&got, "200 OK"));
        }
        for tid in &good {
            assert_eq!(link.a.response_to(tid).code(), Some(200), "{way}");
        }
        for tid in &bad {
            assert!(
                matches!(link.a.response_to(tid).code(), Some(400 | 481 | 501)),
                "{way}"
            );
        }
        link.still_works();
    }
}
