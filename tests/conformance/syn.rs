//! Framing and syntax: RFC 4975 §7.1, §7.1.1, §7.3.1, §9; rows SYN of the checklist.

use std::collections::HashSet;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::rows;
use crate::support::assembly::Assembly;
use crate::support::client::{Client, QUIET, transport};
use crate::support::link::Link;
use crate::support::message::{Draft, report, response};
use crate::support::random::{Octets, heavy};
use crate::support::relay::{Setup, shared};

rows! {
    any: [
        syn_01_start_line_is_case_sensitive_and_exact,
        syn_02_transact_ids_of_every_legal_form_work,
        syn_02_illegal_transact_ids_lose_the_framing,
        syn_03_path_headers_come_first_once_each,
        syn_04_header_names_and_words_match_in_any_case,
        syn_05_response_with_paths_only_is_a_response,
        syn_06_unknown_headers_are_carried_in_order,
        syn_07_folded_and_colonless_lines_are_malformed,
        syn_08_controls_in_headers_are_refused,
        syn_08_text_beyond_ascii_passes,
        syn_09_end_line_is_found_at_every_segmentation,
        syn_10_near_misses_of_the_end_line_are_data,
        syn_11_crlf_before_the_end_line_is_not_body,
        syn_12_bodiless_request_stays_bodiless,
        syn_13_empty_body_stays_an_empty_body,
        syn_14_body_is_any_octets,
        syn_15_mime_headers_keep_order_and_text,
        syn_16_transact_ids_are_unpredictable,
        syn_17_body_of_other_methods_is_bounded,
        syn_18_only_send_is_chunked,
        syn_19_session_ids_hold_slash_plus_and_equals,
        syn_19_uri_without_transport_is_malformed,
        syn_20_foreign_uris_are_opaque,
        syn_21_send_with_wrong_headers_is_refused,
        syn_21_message_id_is_opaque,
        syn_22_lost_framing_ends_the_connection,
        syn_22_broken_message_never_completes,
        syn_22_connections_that_break_together_all_end,
        syn_23_malformed_request_leaves_the_connection_alone,
        syn_24_pipelined_sends_are_answered_in_order,
        syn_25_generous_heads_pass,
    ],
    own: [
        syn_01_blank_behind_the_method_is_let_pass,
        syn_02_transact_ids_of_deployed_clients_work,
        syn_03_paths_out_of_place_are_refused,
        syn_03_uris_are_separated_by_any_blanks,
        syn_10_near_misses_of_odd_transact_ids_are_data,
        syn_18_chunked_requests_of_other_methods_are_refused,
        syn_22_line_ends_between_messages_keep_a_connection_alive,
        syn_09_end_line_is_found_at_every_segmentation_of_tcp,
        syn_25_endless_heads_are_cut_off,
    ],
}

/// Sends something to P in which the framing is lost: closed, and P sees nothing.
fn loses_the_framing(octets: impl FnOnce(&mut Link) -> Vec<u8>) {
    let mut link = Link::inbound(shared());
    let octets = octets(&mut link);
    link.a.send(&octets);
    let shown = String::from_utf8_lossy(&octets[..octets.len().min(80)]).into_owned();
    let answers = link.a.drain(Duration::from_secs(5));
    assert!(answers.is_empty(), "to {shown} came {answers:?}");
    link.a.closed();
    link.p.silence(Duration::from_millis(100));
}

fn syn_01_start_line_is_case_sensitive_and_exact() {
    for start in [
        "msrp {tid} SEND",
        "Msrp {tid} SEND",
        "MSRP {tid} send",
        "MSRP  {tid} SEND",
        "MSRP {tid}  SEND",
        "MSRP {tid} SEND  ",
        "MSRP {tid} SEND\t",
        "MSRP {tid}",
        "MSRP {tid} 20 OK",
        "MSRP {tid} 2000 OK",
        " MSRP {tid} SEND",
    ] {
        loses_the_framing(|link| {
            let draft = link.draft().text("case");
            let text = String::from_utf8(draft.octets()).unwrap();
            let (_, rest) = text.split_once("\r\n").unwrap();
            format!("{}\r\n{rest}", start.replace("{tid}", &draft.tid)).into_bytes()
        });
    }
}

fn syn_02_transact_ids_of_every_legal_form_work() {
    let mut link = Link::inbound(shared());
    for tid in [
        "abcd",
        "0000",
        "9.-+",
        "a%=.",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345",
        "a.-+%=.-+%=.-+%=.-+%=.-+%=.-+%=",
    ] {
        let draft = link.draft().tid(tid).text("tid");
        let got = link.pass(&draft);
        assert_ne!(got.tid, tid, "the hop has a tid of its own (FWD-06)");
        assert_eq!(link.a.expect_code(200).tid, tid);
        link.p.send(response(&got, "200 OK"));
    }
    for character in ('a'..='z')
        .chain('A'..='Z')
        .chain('0'..='9')
        .chain(".-+%=".chars())
    {
        let draft = link
            .draft()
            .tid(&format!("x{character}{character}{character}"))
            .text("character");
        let got = link.pass(&draft);
        assert_eq!(link.a.expect_code(200).tid, draft.tid);
        link.p.send(response(&got, "200 OK"));
    }
}

fn syn_02_illegal_transact_ids_lose_the_framing() {
    for tid in [
        "abc",
        &"0a-_1".repeat(13),
        "_abcd",
        ".abcd",
        "ab/cd",
        "ab\u{e5}cd",
    ] {
        loses_the_framing(|link| link.draft().tid(tid).text("tid").octets());
    }
}

fn syn_03_path_headers_come_first_once_each() {
    let mut link = Link::inbound(shared());
    let to = format!("To-Path: {}", link.to_p);
    let from = format!("From-Path: {}", link.a.uri);
    let id = "Message-ID: path0001".to_owned();
    for lines in [
        vec![&from, &to, &id],
        vec![&to, &id],
        vec![&from, &id],
        vec![&id],
        vec![&to, &to, &from, &id],
        vec![&to, &from, &to, &id],
        vec![&to, &from, &from, &id],
        vec![&to, &id, &from],
        vec![&id, &to, &from],
    ] {
        let tid = Draft::send("", "").tid;
        let lines: Vec<&str> = lines.into_iter().map(String::as_str).collect();
        let octets = format!(
            "MSRP {tid} SEND\r\n{}\r\nByte-Range: 1-4/4\r\nContent-Type: text/plain\r\n\r\npath\r\n-------{tid}$\r\n",
            lines.join("\r\n")
        );
        if let Some(answer) = link.refused(octets.as_bytes()) {
            assert_eq!(answer.code(), Some(400), "to\n{octets}");
        }
    }
}

fn syn_04_header_names_and_words_match_in_any_case() {
    let mut link = Link::inbound(shared());
    let tid = Draft::send("", "").tid;
    let octets = format!(
        "MSRP {tid} SEND\r\nto-path: {}\r\nFROM-PATH: {}\r\nMESSAGE-ID: case0001\r\nbyte-range: 1-4/4\r\n\
         failure-report: NO\r\nSUCCESS-REPORT: Yes\r\ncontent-type: text/plain\r\n\r\ncase\r\n-------{tid}$\r\n",
        link.to_p, link.a.uri
    );
    link.a.send(octets);
    let got = link.p.expect_method("SEND");
    let names: Vec<&str> = got.headers.iter().map(|(name, _)| name.as_str()).collect();
    for name in [
        "To-Path",
        "From-Path",
        "Message-ID",
        "Byte-Range",
        "Failure-Report",
        "Success-Report",
        "Content-Type",
    ] {
        assert!(
            names.contains(&name),
            "{name} is emitted in the RFC's case: {names:?}"
        );
    }
    // Failure-Report: NO has been understood: there is no 200.
    link.a.silence(QUIET);
}

fn syn_05_response_with_paths_only_is_a_response() {
    let mut link = Link::inbound(shared());
    let draft = link.draft().text("who are you?");
    let got = link.pass(&draft);
    link.a.expect_code(200);
    link.p.send(format!(
        "MSRP {tid} 404\r\nTo-Path: {}\r\nFrom-Path: {}\r\n-------{tid}$\r\n",
        got.from_path[0],
        got.to_path[0],
        tid = got.tid
    ));
    let report = link.a.expect_method("REPORT");
    assert_eq!(report.message_id(), Some(draft.message_id.as_str()));
    let (namespace, code, _) = report.status().expect("a REPORT has a Status");
    assert_eq!((namespace, code), (0, 404));
}

fn syn_06_unknown_headers_are_carried_in_order() {
    let mut link = Link::inbound(shared());
    let draft = link
        .draft()
        .lines(&[
            "X-Foo: b",
            "Keep-Alive: yes",
            "x-foo: B; c=\"d, e\"",
            "Z:  two spaces",
            "X-Empty:",
            "A-Header: \ttab",
        ])
        .text("unknown");
    let got = link.pass(&draft);
    let text = String::from_utf8_lossy(&got.raw).into_owned();
    let wanted =
        "X-Foo: b\r\nKeep-Alive: yes\r\nx-foo: B; c=\"d, e\"\r\nZ:  two spaces\r\nX-Empty:";
    assert!(text.contains(wanted), "{text}");
    assert!(
        text.contains("A-Header: \ttab\r\nContent-Type: text/plain\r\n\r\n"),
        "{text}"
    );
}

fn syn_07_folded_and_colonless_lines_are_malformed() {
    let mut link = Link::inbound(shared());
    for line in [
        "X-Folded: a\r\n b",
        "X-Folded: a\r\n\tb",
        "NoColonHere",
        " Leading: space",
        ": no name",
        "Sp ace: x",
    ] {
        let draft = link.draft().line(line).text("folded");
        if let Some(answer) = link.refused(&draft.octets()) {
            assert_eq!(answer.code(), Some(400), "to {line:?}");
        }
    }
    let (first, second) = link.to_p.split_once(' ').unwrap();
    let folded = Draft::send(&format!("{first}\r\n {second}"), &link.a.uri).text("folded");
    if let Some(answer) = link.refused(&folded.octets()) {
        assert_eq!(answer.code(), Some(400));
    }
}

fn syn_08_controls_in_headers_are_refused() {
    let mut link = Link::inbound(shared());
    for line in [
        "Foo: a\nTo-Path: msrps://x.invalid:1/x;tcp",
        "Foo: a\rTo-Path: msrps://x.invalid:1/x;tcp",
        "Foo: a\0b",
        "Foo: a\x1bb",
        "Foo: a\x7fb",
        "Foo\0: a",
    ] {
        let draft = link.draft().line(line).text("control");
        link.refused_with(400, &draft.octets());
    }
    // Not UTF-8.
    let mut octets = link.draft().line("Foo: @").text("control").octets();
    let at = octets.windows(6).position(|w| w == b"Foo: @").unwrap();
    octets[at + 5] = 0xff;
    link.refused_with(400, &octets);
}

fn syn_08_text_beyond_ascii_passes() {
    let mut link = Link::inbound(shared());
    let line = "Use-Nickname: \"Åse 🦊\"";
    let draft = Draft::request("NICKNAME", &link.to_p, &link.a.uri).line(line);
    let got = link.pass(&draft);
    assert!(
        String::from_utf8_lossy(&got.raw).contains(&format!("\r\n{line}\r\n")),
        "{got:?}"
    );
}

/// A short SEND whose body is full of beginnings of end-lines.
fn treacherous(link: &Link) -> (Draft, Vec<u8>) {
    let draft = link.draft().failure_report("no");
    let body = format!(
        "ab\r\n\r\n-------\r\n-------{}\r\n-------{}x\r\n--",
        &draft.tid[..6],
        draft.tid
    );
    (draft.clone().text(&body), body.into_bytes())
}

fn syn_09_end_line_is_found_at_every_segmentation() {
    let mut link = Link::inbound(shared());
    let (draft, body) = treacherous(&link);
    let octets = draft.octets();
    for cut in 1..octets.len() {
        link.a.send(&octets[..cut]);
        std::thread::sleep(Duration::from_millis(1));
        link.a.send(&octets[cut..]);
        let got = link.p.expect_method("SEND");
        assert_eq!(got.body(), body, "cut at {cut}");
        assert_eq!(got.flag, b'$', "cut at {cut}");
    }
    for octet in &octets {
        link.a.send([*octet]);
    }
    assert_eq!(
        link.p.expect_method("SEND").body(),
        body,
        "one octet per record"
    );
}

fn syn_09_end_line_is_found_at_every_segmentation_of_tcp() {
    let mut link = Link::inbound_tcp(shared());
    let (draft, body) = treacherous(&link);
    // The same octets, the other way: only P speaks TCP.
    let text = String::from_utf8(draft.octets()).unwrap();
    let text = text.replacen(
        &format!("To-Path: {}", link.to_p),
        &format!("To-Path: {}", link.to_a),
        1,
    );
    let octets = text.replacen(
        &format!("From-Path: {}", link.a.uri),
        &format!("From-Path: {}", link.p.uri),
        1,
    );
    let octets = octets.as_bytes();
    for cut in 1..octets.len() {
        link.p.send(&octets[..cut]);
        std::thread::sleep(Duration::from_millis(1));
        link.p.send(&octets[cut..]);
        assert_eq!(link.a.expect_method("SEND").body(), body, "cut at {cut}");
    }
    for octet in octets {
        link.p.send([*octet]);
        std::thread::sleep(Duration::from_micros(200));
    }
    assert_eq!(
        link.a.expect_method("SEND").body(),
        body,
        "one octet per segment"
    );
}

fn syn_10_near_misses_of_the_end_line_are_data() {
    let _turn = heavy();
    for (way, mut link) in Link::all_ways(shared()) {
        let draft = link.draft();
        let tid = draft.tid.clone();
        let mut body = format!(
            "-------abcd1234$\r\n\r\n-------{tid}x\r\n-------{tid}$\n-------{tid}$ \r\n------{tid}$\r\n\
             \r\n-------{tid}\r\n--------{tid}$\r\n\n-------{tid}$\r\n{tid}$\r\n-------{tid}#x"
        )
        .into_bytes();
        body.extend(std::iter::repeat_n(b'-', 1024 * 1024));
        body.extend_from_slice(b"\r\n");
        body.extend(std::iter::repeat_n(b'-', 100_000));
        for _ in 0..10_000 {
            body.extend_from_slice(b"\r\n-------");
        }
        body.extend_from_slice(format!("\r\n-------{tid}").as_bytes());
        let draft = draft.body(&body);
        std::thread::scope(|scope| {
            scope.spawn(|| link.a.send(draft.octets()));
            let got = Assembly::new().answering().finish(&mut link.p);
            assert_eq!(got.sha256()[..], Sha256::digest(&body)[..], "{way}");
            assert_eq!(got.octets, body.len() as u64, "{way}");
        });
        assert_eq!(link.a.response_to(&tid).code(), Some(200), "{way}");
    }
}

fn syn_11_crlf_before_the_end_line_is_not_body() {
    let mut link = Link::inbound(shared());
    for (range, body, reported) in [
        ("1-4/4", "abcd", "1-4/4"),
        ("101-*/*", "abcd", "101-104/*"),
        ("1-*/200", "ab\r\n", "1-4/200"),
        ("1-6/6", "abcd\r\n", "1-6/6"),
    ] {
        let draft = link.draft().range(range).text(body);
        let got = link.pass(&draft);
        assert_eq!(got.body(), body.as_bytes());
        link.a.expect_code(200);
        link.p.send(response(&got, "413 Stop"));
        let report = link.a.expect_method("REPORT");
        assert_eq!(report.header("Byte-Range"), Some(reported));
    }
}

fn syn_12_bodiless_request_stays_bodiless() {
    for (way, mut link) in Link::all_ways(shared()) {
        let draft = link.draft().range("1-0/0");
        let got = link.pass(&draft);
        assert_eq!(got.body, None, "{way}: no blank line");
        assert_eq!(got.header("Content-Type"), None, "{way}");
        assert_eq!(got.header("Byte-Range"), Some("1-0/0"), "{way}");
        link.p.send(response(&got, "200 OK"));
        assert_eq!(link.a.expect_code(200).tid, draft.tid, "{way}");
    }
}

fn syn_13_empty_body_stays_an_empty_body() {
    let mut link = Link::inbound(shared());
    let draft = link.draft().range("1-0/0").text("");
    let got = link.pass(&draft);
    assert_eq!(got.body.as_deref(), Some(&b""[..]));
    assert_eq!(got.header("Content-Type"), Some("text/plain"));
    link.a.expect_code(200);
    link.p.send(response(&got, "200 OK"));

    // Without the CRLF of its own.
    let draft = link.draft().range("1-0/0").text("");
    let mut octets = draft.head();
    octets.extend_from_slice(&draft.end()[2..]);
    link.a.send(octets);
    let got = link.p.expect_method("SEND");
    assert_eq!(got.body.as_deref(), Some(&b""[..]));
    assert_eq!(got.header("Content-Type"), Some("text/plain"));
    link.p.send(response(&got, "200 OK"));
    assert_eq!(link.a.expect_code(200).tid, draft.tid);
    link.still_works();
}

fn syn_14_body_is_any_octets() {
    const BLOCK: usize = 1024 * 1024;
    const BLOCKS: usize = 64;
    let _turn = heavy();
    let mut link = Link::inbound(shared());
    let draft = link
        .draft()
        .range(&format!("1-*/{}", BLOCK * BLOCKS))
        .body(&[]);
    let (sent, got) = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let (mut octets, mut sent) = (Octets::new(14), Sha256::new());
            link.a.send(draft.head());
            for _ in 0..BLOCKS {
                let block = octets.take(BLOCK);
                sent.update(&block);
                link.a.send(block);
            }
            link.a.send(draft.end());
            sent.finalize()
        });
        let got = Assembly::new().answering().finish(&mut link.p);
        (sender.join().expect("the sender has sent"), got)
    });
    assert_eq!(got.octets, (BLOCK * BLOCKS) as u64);
    assert_eq!(got.sha256()[..], sent[..]);
    assert_eq!(got.first().header("Content-Transfer-Encoding"), None);
    assert_eq!(link.a.response_to(&draft.tid).code(), Some(200));
}

fn syn_15_mime_headers_keep_order_and_text() {
    let mut link = Link::inbound(shared());
    let mime = [
        "Content-ID: <a.b@c>",
        "Content-Disposition: attachment; filename=\"a b;c.txt\"; size=3",
        "Content-Description: ein Text",
    ];
    let draft = link
        .draft()
        .line("X-Before: 1")
        .lines(&mime)
        .content("text/plain; charset=\"UTF-8\"", b"abc");
    let got = link.pass(&draft);
    let wanted = format!(
        "{}\r\nContent-Type: text/plain; charset=\"UTF-8\"\r\n\r\n",
        mime.join("\r\n")
    );
    assert!(
        String::from_utf8_lossy(&got.raw).contains(&wanted),
        "{got:?}"
    );

    // Content-Type that did not come last leaves last; extension headers go before MIME headers.
    let tid = Draft::send("", "").tid;
    link.a.send(format!(
        "MSRP {tid} SEND\r\nTo-Path: {}\r\nFrom-Path: {}\r\nContent-Type: text/plain\r\nContent-ID: <x@y>\r\n\
         Message-ID: mime0001\r\nX-Late: 1\r\nByte-Range: 1-3/3\r\n\r\nabc\r\n-------{tid}$\r\n",
        link.to_p, link.a.uri
    ));
    let got = link
        .p
        .find(QUIET * 10, |m| m.message_id() == Some("mime0001"));
    let names: Vec<&str> = got.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.last(), Some(&"Content-Type"), "{got:?}");
    let place = |name: &str| {
        names
            .iter()
            .position(|n| *n == name)
            .unwrap_or_else(|| panic!("{name} is there"))
    };
    assert!(place("X-Late") < place("Content-ID"), "{got:?}");
}

fn syn_16_transact_ids_are_unpredictable() {
    const BATCHES: usize = 250;
    const BATCH: usize = 200;
    let _turn = heavy();
    let mut link = Link::inbound(shared());
    let draft = link.draft().failure_report("no").text("x");
    let batch = draft.octets().repeat(BATCH);
    let mut tids = HashSet::new();
    let mut values: Vec<HashSet<u8>> = Vec::new();
    let mut previous = String::new();
    let mut alike = 0_usize;
    for _ in 0..BATCHES {
        link.a.send(&batch);
        for _ in 0..BATCH {
            let tid = link.p.expect_method("SEND").tid;
            values.resize(values.len().max(tid.len()), HashSet::new());
            for (octet, seen) in tid.bytes().zip(&mut values) {
                seen.insert(octet);
            }
            alike += tid
                .bytes()
                .zip(previous.bytes())
                .filter(|(a, b)| a == b)
                .count();
            previous.clone_from(&tid);
            assert!(tids.insert(tid), "a tid came twice");
        }
    }
    // At least 64 bits: enough characters that take many values each, no counter and no prefix,
    // and no more in common with the one before than chance gives.
    let bits: f64 = values.iter().map(|seen| (seen.len() as f64).log2()).sum();
    assert!(bits >= 64.0, "{bits} bits at most");
    let expected: f64 = values
        .iter()
        .map(|seen| 1.0 / seen.len() as f64)
        .sum::<f64>()
        * (BATCHES * BATCH) as f64;
    assert!(
        (alike as f64) < expected * 1.2 + 100.0,
        "{alike} characters as in the tid before, {expected} expected"
    );
}

fn syn_17_body_of_other_methods_is_bounded() {
    for method in ["REPORT", "NICKNAME", "WIGGLE"] {
        let mut link = Link::inbound(shared());
        let draft = |link: &Link, octets: usize| {
            let draft = Draft::request(method, &link.to_p, &link.a.uri).range("1-1/1");
            let draft = if method == "REPORT" {
                draft.line("Status: 000 200 OK")
            } else {
                draft
            };
            draft.message_id("bounded0").body(&vec![b'x'; octets])
        };
        let largest = draft(&link, 10_240);
        let got = link.pass(&largest);
        assert_eq!(got.body().len(), 10_240, "{method}");
        link.a.send(draft(&link, 10_241).octets());
        let answers = link.a.drain(Duration::from_secs(3));
        match method {
            "REPORT" => assert!(answers.is_empty(), "{answers:?}"),
            _ => assert!(
                answers.len() == 1 && answers[0].code() == Some(400),
                "{method}: {answers:?}"
            ),
        }
        link.a.closed();
        link.p.silence(Duration::from_millis(100));
    }
}

fn syn_18_only_send_is_chunked() {
    let mut link = Link::inbound(shared());
    for flag in ['+', '#'] {
        let draft = Draft::request("REPORT", &link.to_p, &link.a.uri)
            .message_id("chunked1")
            .range("1-1/2")
            .line("Status: 000 200 OK")
            .flag(flag);
        link.ignored(&draft.octets());
    }
    link.still_works();
}

fn syn_19_session_ids_hold_slash_plus_and_equals() {
    let relay = shared();
    for id in ["a/b/c", "/lead", "x+y=z==", "~t-i_l.de", "+/="] {
        let a = Client::authenticated(relay, "alice");
        let mut p = Client::tls(relay);
        p.uri = format!("msrps://bob.example.org:8145/{id};{}", transport());
        if id == "/lead" {
            p.uri = format!("msrps://bob.example.org:8145//lead;{}", transport());
        }
        let mut link = Link::with_inbound(a, p);
        link.still_works();
    }
}

fn syn_19_uri_without_transport_is_malformed() {
    let mut link = Link::inbound(shared());
    for broken in [
        "msrps://bob.example.org:8145/x",
        "msrps://bob.example.org:8145/x;",
        "msrps:bob.example.org:8145/x;tcp",
        "http://bob.example.org:8145/x;tcp",
        "msrps://:8145/x;tcp",
        "msrps://bob.example.org:port/x;tcp",
        "msrps://bob.example.org:99999/x;tcp",
        "msrps://bob.example.org:8145/x<y>;tcp",
        "msrps://[::1:8145/x;tcp",
    ] {
        let draft = Draft::send(&format!("{} {broken}", link.a.token), &link.a.uri).text("broken");
        let answer = link.refused(&draft.octets());
        // Where From-Path can be read but To-Path cannot, silence is allowed (SYN-03).
        if let Some(answer) = answer {
            assert_eq!(answer.code(), Some(400), "{broken}");
        } else {
            assert_ne!(
                broken, "msrps://bob.example.org:8145/x",
                "no transport: 400"
            );
        }
    }
}

fn syn_20_foreign_uris_are_opaque() {
    let mut link = Link::inbound(shared());
    let beyond = "msrps://x.invalid:2855/q;ws;k=v msrps://y.invalid/q;dc;a=b;c msrp://user@[2001:db8::1]:9/z;tcp";
    let before = "msrps://x.invalid/q;ws msrp://anonymous.invalid;dc";
    let draft = Draft::send(
        &format!("{} {beyond}", link.to_a),
        &format!("{} {before}", link.p.uri),
    )
    .failure_report("no")
    .text("opaque");
    link.p.send(draft.octets());
    let got = link.a.expect_method("SEND");
    assert_eq!(got.to_path.join(" "), format!("{} {beyond}", link.a.uri));
    assert_eq!(
        got.from_path.join(" "),
        format!("{} {} {before}", link.a.token, link.p.uri)
    );
}

fn syn_21_send_with_wrong_headers_is_refused() {
    let mut link = Link::inbound(shared());
    let text = |link: &Link, lines: &[&str]| {
        Draft::request("SEND", &link.to_p, &link.a.uri)
            .lines(lines)
            .without_range()
            .text("wrong")
            .octets()
    };
    let right = ["Message-ID: right001", "Byte-Range: 1-5/5"];
    for wrong in [
        "Message-ID: again001",
        "Byte-Range: 1-5/5",
        "Failure-Report: maybe",
        "Success-Report: partial",
        "Success-Report: perhaps",
        "Failure-Report: yes\r\nFailure-Report: yes",
        "Success-Report: yes\r\nSuccess-Report: yes",
        "Content-Type: text/html",
        "Expires: soon",
        "Status: 200",
    ] {
        let octets = text(&link, &[right[0], right[1], wrong]);
        link.refused_with(400, &octets);
    }
    for range in [
        "5", "0-5/5", "a-5/5", "1-5", "1-x/5", "1-5/y", "-5/5", "1-5/5/5", "", "1 - 5/5", "+1-5/5",
    ] {
        let octets = text(&link, &[right[0], &format!("Byte-Range: {range}")]);
        link.refused_with(400, &octets);
    }
    let octets = text(&link, &[right[1]]);
    link.refused_with(400, &octets);
    link.still_works();
}

fn syn_21_message_id_is_opaque() {
    let mut link = Link::inbound(shared());
    let long = "m".repeat(256);
    for id in [
        "a",
        "with space and \"quotes\"",
        "ünïcode",
        "<mail@like.example>",
        &long,
    ] {
        let draft = link.draft().message_id(id).text("id");
        let got = link.pass(&draft);
        assert_eq!(got.message_id(), Some(id));
        assert_eq!(link.a.expect_code(200).tid, draft.tid);
        link.p.send(response(&got, "200 OK"));
    }
}

fn syn_22_lost_framing_ends_the_connection() {
    for garbage in [
        &b"GARBAGE\r\n"[..],
        b"GET / HTTP/1.1\r\nHost: relay.example.com\r\n\r\n",
        b"\0\0\0\0\0\0\0\0",
        b"MSRP\r\n",
    ] {
        loses_the_framing(|_| garbage.to_vec());
        // After something good, too.
        loses_the_framing(|link| {
            let mut octets = Draft::send(&link.a.token, &link.a.uri)
                .failure_report("no")
                .octets();
            octets.extend_from_slice(garbage);
            octets
        });
    }
    loses_the_framing(|_| vec![b'A'; 200_000]);
}

fn syn_22_broken_message_never_completes() {
    // The end comes inside a header, inside the body, inside the end-line.
    for keep in [40_usize, 0, 7] {
        let mut link = Link::inbound(shared());
        let draft = link.draft().body(&vec![b'x'; 5000]);
        let octets = draft.octets();
        let cut = match keep {
            40 => 40,
            keep => octets.len() - 10 - keep,
        };
        link.a.send(&octets[..cut]);
        link.a.half_close();
        for got in link.p.drain(QUIET) {
            assert_ne!(got.flag, b'$', "{got:?}");
        }
        assert!(
            link.p.is_between_messages(),
            "what was begun has its end-line (CHK-19)"
        );
    }
}

fn syn_22_connections_that_break_together_all_end() {
    // While others come and go: no end of a connection gets lost among them.
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for _ in 0..40 {
                    let mut link = Link::inbound(shared());
                    link.a.send("GARBAGE\r\n");
                    link.a.closed();
                }
            });
        }
    });
}

fn syn_23_malformed_request_leaves_the_connection_alone() {
    for (_, mut link) in Link::all_ways(shared()) {
        let draft = link.draft().range("nonsense").text("bad");
        let answer = link.refused_with(400, &draft.octets());
        assert_eq!(answer.tid, draft.tid);
        assert_eq!(answer.to_path, [link.a.uri.clone()]);
        link.still_works();
        // With Failure-Report: no there is nothing to say.
        let draft = link
            .draft()
            .range("nonsense")
            .failure_report("no")
            .text("bad");
        link.ignored(&draft.octets());
        link.still_works();
    }
}

fn syn_24_pipelined_sends_are_answered_in_order() {
    for (way, mut link) in Link::all_ways(shared()) {
        let drafts: Vec<Draft> = (0..100)
            .map(|i| link.draft().text(&format!("message {i}")))
            .collect();
        let all: Vec<u8> = drafts.iter().flat_map(Draft::octets).collect();
        link.a.send(all);
        for (i, draft) in drafts.iter().enumerate() {
            let got = link.p.expect_method("SEND");
            assert_eq!(got.body(), format!("message {i}").as_bytes(), "{way}");
            assert_eq!(got.message_id(), Some(draft.message_id.as_str()), "{way}");
            link.p.send(response(&got, "200 OK"));
        }
        for draft in &drafts {
            assert_eq!(link.a.expect_code(200).tid, draft.tid, "{way}");
        }
        link.still_works();
    }
}

fn syn_25_generous_heads_pass() {
    let mut link = Link::inbound(shared());
    // 64 header lines.
    let lines: Vec<String> = (0..58).map(|i| format!("X-Line-{i}: {i}")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let draft = link.draft().lines(&lines).text("lines");
    let got = link.pass(&draft);
    assert_eq!(got.headers.len(), 63);
    link.a.expect_code(200);
    link.p.send(response(&got, "200 OK"));
    // A head of 16 KiB.
    let line = format!("X-Long: {}", "l".repeat(15_600));
    let draft = link.draft().line(&line).text("long");
    let got = link.pass(&draft);
    assert_eq!(got.header("X-Long").map(str::len), Some(15_600));
    link.a.expect_code(200);
    link.p.send(response(&got, "200 OK"));
    // 16 URIs in a path.
    let many: Vec<String> = (0..15)
        .map(|i| format!("msrps://hop{i}.invalid:2855/s{i};tcp"))
        .collect();
    // Both are clients: a peer that proves nothing is reached as the last hop alone (D-34).
    let mut link = Link::neighbours(shared());
    let draft = Draft::send(&link.to_a, &format!("{} {}", link.p.uri, many.join(" "))).text("path");
    link.p.send(draft.octets());
    let got = link.a.expect_method("SEND");
    assert_eq!(got.from_path.len(), 18);
    assert_eq!(link.p.expect_code(200).to_path, [link.p.uri.clone()]);
    link.a.send(report(&got, "000 200 OK", "1-4/4").octets());
    let back = link.p.expect_method("REPORT");
    assert_eq!(back.to_path.len(), 16);
}

fn syn_25_endless_heads_are_cut_off() {
    let _turn = heavy();
    let relay = Setup::new().start();
    let head = |link: &Link| link.draft().head();
    let mut link = Link::inbound(&relay);
    let mut before = 0;
    for round in 0..64 {
        // By then the pools of read buffers have been used.
        if round == 32 {
            before = relay.resident();
        }
        let mut a = Client::authenticated(&relay, "carol");
        let mut octets = head(&link);
        octets.truncate(octets.len() / 2);
        if round % 2 == 0 {
            octets.extend_from_slice(b"\r\nX-Endless: ");
            octets.resize(octets.len() + 1024 * 1024, b'e');
        } else {
            octets.extend_from_slice(b"\r\n");
            (0..60_000)
                .for_each(|i| octets.extend_from_slice(format!("X-{i}: many\r\n").as_bytes()));
        }
        a.write(&octets, Duration::from_secs(2));
        let answers = a.drain(Duration::from_secs(3));
        assert!(
            answers.len() <= 1 && answers.iter().all(|m| m.code() == Some(400)),
            "{answers:?}"
        );
        a.closed();
    }
    let grown = relay.resident().saturating_sub(before);
    assert!(grown < 8 * 1024 * 1024, "{grown} octets more");
    link.still_works();
}

/// D-43: one trailing blank; what leaves has none.
fn syn_01_blank_behind_the_method_is_let_pass() {
    for (way, mut link) in Link::all_ways(shared()) {
        for method in ["SEND", "NICKNAME", "WIGGLE"] {
            for _ in 0..3 {
                let draft = match method {
                    "SEND" => link.draft().text("blank"),
                    _ => Draft::request(method, &link.to_p, &link.a.uri),
                };
                let text = String::from_utf8(draft.octets()).unwrap();
                link.a.send(text.replacen(
                    &format!(" {method}\r\n"),
                    &format!(" {method} \r\n"),
                    1,
                ));
                let got = link.p.expect_method(method);
                assert!(
                    got.raw
                        .starts_with(format!("MSRP {} {method}\r\n", got.tid).as_bytes()),
                    "{way}"
                );
                link.p.send(response(&got, "200"));
                assert_eq!(link.a.response_to(&draft.tid).code(), Some(200), "{way}");
            }
        }
        // A code without a comment may have one, too, and it does not travel on.
        let draft = Draft::request("NICKNAME", &link.to_p, &link.a.uri);
        let got = link.pass(&draft);
        link.p.send(response(&got, "425 "));
        let answer = link.a.response_to(&draft.tid);
        assert!(
            answer
                .raw
                .starts_with(format!("MSRP {} 425\r\n", draft.tid).as_bytes()),
            "{way}: {answer:?}"
        );
    }
}

/// D-43: UUIDs, base64url, up to 64 characters. The next hop sees none of it.
fn syn_02_transact_ids_of_deployed_clients_work() {
    let longest = "Zm9v_YmFy-".repeat(7)[..64].to_owned();
    for (way, mut link) in Link::all_ways(shared()) {
        for tid in [
            "9f1c2d3e-aaaa-4bbb-8ccc-0123456789ab",
            "Zm9v_YmFy-Zg",
            "abcdefghijklmnopqrstuvwxyz0123456",
            &longest,
            "a___",
        ] {
            for body in ["tid", "the same head again", "and again"] {
                let draft = link.draft().tid(tid).text(body);
                // The codec wants every request of the relay in the grammar.
                let got = link.pass(&draft);
                assert_eq!(got.body(), body.as_bytes());
                assert_eq!(link.a.expect_code(200).tid, tid, "{way}");
                link.p.send(response(&got, "200 OK"));
            }
            let draft = Draft::request("NICKNAME", &link.to_p, &link.a.uri).tid(tid);
            let got = link.pass(&draft);
            link.p.send(response(&got, "425 Taken"));
            assert_eq!(link.a.expect_code(425).tid, tid, "{way}");
        }
    }
}

/// SYN-10, SEC-08: longer transact-ids leave more room for what resembles their end-line.
fn syn_10_near_misses_of_odd_transact_ids_are_data() {
    let mut link = Link::inbound(shared());
    let longest = "9f1c2d3e_aaaa-4bbb".repeat(4)[..64].to_owned();
    for tid in [
        longest.as_str(),
        &longest[..63],
        &longest[..33],
        &longest[..32],
        "a_b-",
    ] {
        let mut body = String::new();
        for near in [
            format!("-------{tid}"),
            format!("-------{}$\r\nMSRP forged SEND", &tid[..tid.len() - 1]),
            format!("-------{tid}x$\r\nMSRP forged SEND"),
            format!("-------{tid}_$"),
            format!("-------{tid}$ \r\nMSRP forged SEND"),
            format!("-------{tid}$\nMSRP forged SEND"),
            format!("------{tid}$\r\nMSRP forged SEND"),
            format!("--------{tid}$\r\nMSRP forged SEND"),
            format!("-------{}$\r\nMSRP forged SEND", tid.to_uppercase()),
            format!("-------{tid}{tid}+"),
        ] {
            body += &format!("{near}\r\n");
        }
        let draft = link.draft().tid(tid).body(body.as_bytes());
        let octets = draft.octets();
        // At once, octet by octet where the near misses are, and cut within the end-line.
        for cut in [octets.len(), octets.len() - 40, octets.len() - 3] {
            link.a.send(&octets[..cut]);
            link.a.send(&octets[cut..]);
            let got = link.p.expect_method("SEND");
            assert!(got.body() == body.as_bytes(), "{tid}");
            link.p.send(response(&got, "200 OK"));
            assert_eq!(link.a.expect_code(200).tid, tid);
        }
    }
    link.p.silence(Duration::from_millis(100));
}

/// Never forwarded, and 400 where both paths can be read (SYN-03); for other methods too.
fn syn_03_paths_out_of_place_are_refused() {
    let mut link = Link::inbound(shared());
    let to = format!("To-Path: {}", link.to_p);
    let from = format!("From-Path: {}", link.a.uri);
    let id = "Message-ID: path0001".to_owned();
    let twice = format!("From-Path: {0}  {0}", link.a.uri);
    let spaced = to.replace(' ', "  ");
    for method in ["SEND", "NICKNAME"] {
        for (lines, answered) in [
            (vec![&from, &to, &id], true),
            (vec![&to, &id, &from], true),
            (vec![&id, &to, &from], true),
            (vec![&twice, &spaced, &id], true),
            (vec![&to, &id], false),
            (vec![&from, &id], false),
            (vec![&to, &to, &from, &id], false),
            (vec![&to, &from, &from, &id], false),
        ] {
            let tid = Draft::send("", "").tid;
            let lines: Vec<&str> = lines.into_iter().map(String::as_str).collect();
            let octets = format!(
                "MSRP {tid} {method}\r\n{}\r\n-------{tid}$\r\n",
                lines.join("\r\n")
            );
            match answered {
                true => assert_eq!(link.refused_with(400, octets.as_bytes()).tid, tid),
                false => link.ignored(octets.as_bytes()),
            }
        }
    }
    link.still_works();
}

/// SYN-03: OpenSIPS, for one, writes several blanks, others a tab. One SP leaves.
fn syn_03_uris_are_separated_by_any_blanks() {
    for (way, mut link) in Link::all_ways(shared()) {
        for blanks in ["  ", "\t", " \t  "] {
            for method in ["SEND", "NICKNAME"] {
                let from = format!("{} msrps://one.invalid:1/x;tcp", link.a.uri);
                let spaced = |path: &str| path.replace(' ', blanks);
                let (to, from) = (link.to_p.clone(), from);
                let draft = match method {
                    "SEND" => Draft::send(&spaced(&to), &spaced(&from)).text("blanks"),
                    _ => Draft::request(method, &spaced(&to), &spaced(&from)),
                };
                link.a.send(draft.octets());
                // The codec wants one SP.
                let got = link.p.expect_method(method);
                assert_eq!(got.to_path, [link.p.uri.clone()], "{way}");
                assert!(got.from_path.join(" ").ends_with(&from), "{way}");
                link.p.send(response(&got, "200 OK"));
                let answer = link.a.response_to(&draft.tid);
                assert_eq!(answer.code(), Some(200), "{way}");
                let expected = match method {
                    "SEND" => link.a.uri.clone(),
                    _ => from.clone(),
                };
                assert_eq!(answer.to_path.join(" "), expected, "{way}");
            }
        }
    }
}

/// SYN-18, SYN-23
fn syn_18_chunked_requests_of_other_methods_are_refused() {
    let mut link = Link::inbound(shared());
    for flag in ['+', '#'] {
        for method in ["NICKNAME", "WIGGLE"] {
            let draft = Draft::request(method, &link.to_p, &link.a.uri).flag(flag);
            let answer = link.refused_with(400, &draft.octets());
            assert_eq!(answer.to_path, [link.a.uri.clone()]);
        }
        let auth = Draft::request("AUTH", &shared().uri(), &link.a.uri).flag(flag);
        link.a.send(auth.octets());
        assert_eq!(link.a.response_to(&auth.tid).code(), Some(400));
    }
    link.still_works();
}

/// D-44: past probation, CRLF CRLF between messages is skipped and counted; anything else there is lost framing.
fn syn_22_line_ends_between_messages_keep_a_connection_alive() {
    let relay = shared();
    let counted = || relay.metric("msrpd_crlf_between_messages_total", &[]);
    for (way, mut link) in Link::all_ways(relay) {
        let before = counted();
        for number in 0..3 {
            link.a.send("\r\n\r\n");
            link.p.send("\r\n\r\n");
            std::thread::sleep(Duration::from_millis(20));
            if number == 1 {
                // Cut, and at once before a message.
                link.a.send("\r");
                std::thread::sleep(Duration::from_millis(20));
                link.a.send("\n\r\n");
                let draft = link.draft().text("behind line ends");
                link.a.send([b"\r\n\r\n", &draft.octets()[..]].concat());
                let got = link.p.expect_method("SEND");
                assert_eq!(got.body(), b"behind line ends", "{way}");
                link.p.send(response(&got, "200 OK"));
                assert_eq!(link.a.response_to(&draft.tid).code(), Some(200), "{way}");
            }
        }
        link.still_works();
        relay.metric_becomes("msrpd_crlf_between_messages_total", &[], |now| {
            now >= before + 16.0
        });
    }
    // On probation nothing is skipped.
    let mut stranger = Client::tls(relay);
    stranger.send("\r\n\r\n");
    stranger.closed();
    for other in ["\n\n", "\r\r", "\r\n ", "\r\n\0", "\n\r\n", "\r\nX"] {
        loses_the_framing(|link| {
            link.a.send("\r\n\r\n");
            other.as_bytes().to_vec()
        });
    }
}
