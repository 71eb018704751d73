//! The codec against W-01, W-05, W-19 and W-20 of the wire examples, cut everywhere, and against
//! what a relay must never emit.

use super::*;

const SEND: &[u8] = b"MSRP lQ4AoR2b7HRZxPku SEND\r\n\
To-Path: msrps://relay.example.com:2855/6feVCdwK8JxiFRH9IZDR8M;tcp msrps://bob.example.org:8145/Q0sqxfgKZDzSwk1d;tcp\r\n\
From-Path: msrps://alice-pc.example.com:7654/oNcM1GIbSoGt2MLk;tcp\r\n\
Message-ID: 2WGlxLWo1C6R\r\n\
Byte-Range: 1-22/22\r\n\
Success-Report: yes\r\n\
Content-Type: text/plain\r\n\r\n\
Hi Bob, lunch at noon?\r\n-------lQ4AoR2b7HRZxPku$\r\n";

const BODILESS: &[u8] = b"MSRP 9cCFypoljH1Cewf0 SEND\r\n\
To-Path: msrps://relay.example.com:2855/6feVCdwK8JxiFRH9IZDR8M;tcp msrps://alice-pc.example.com:7654/oNcM1GIbSoGt2MLk;tcp\r\n\
From-Path: msrps://bob.example.org:8145/Q0sqxfgKZDzSwk1d;tcp\r\n\
Message-ID: SDbOmMFxLueK\r\n\
Byte-Range: 1-0/0\r\n\
-------9cCFypoljH1Cewf0$\r\n";

const NEAR_MISSES: &[u8] = b"MSRP pVcQcjaL5mzauZ0Y SEND\r\n\
To-Path: msrps://bob.example.org:8145/Q0sqxfgKZDzSwk1d;tcp\r\n\
From-Path: msrps://relay.example.com:2855/6feVCdwK8JxiFRH9IZDR8M;tcp msrps://alice-pc.example.com:7654/oNcM1GIbSoGt2MLk;tcp\r\n\
Message-ID: qSlm0IuXHVmW\r\n\
Byte-Range: 1-*/500\r\n\
Content-Type: text/plain\r\n\r\n\
-------pVcQcjaL5mzauZ0Yx\r\n\
------pVcQcjaL5mzauZ0Y$\r\n\
-------pVcQcjaL5mzauZ0Y\r\n\
-------BEpwLkdrxjLLDGJb$\r\n\
last line ends in CRLF\r\n\
\r\n-------pVcQcjaL5mzauZ0Y+\r\n";

const RESPONSE: &[u8] = b"MSRP lQ4AoR2b7HRZxPku 200 OK\r\n\
To-Path: msrps://alice-pc.example.com:7654/oNcM1GIbSoGt2MLk;tcp\r\n\
From-Path: msrps://relay.example.com:2855/6feVCdwK8JxiFRH9IZDR8M;tcp\r\n\
-------lQ4AoR2b7HRZxPku$\r\n";

const EMPTY_BODY: &[u8] =
    b"MSRP abcd SEND\r\nTo-Path: msrp://a:1/b;tcp\r\nFrom-Path: msrp://c:1/d;tcp\r\n\
Message-ID: x\r\nContent-Type: text/plain\r\n\r\n\r\n-------abcd$\r\n";

/// The other spelling of an empty body.
const EMPTY_BODY_SHORT: &[u8] =
    b"MSRP abcd SEND\r\nTo-Path: msrp://a:1/b;tcp\r\nFrom-Path: msrp://c:1/d;tcp\r\n\
Message-ID: x\r\nContent-Type: text/plain\r\n\r\n-------abcd$\r\n";

fn drain(parser: &mut Parser) -> Vec<Message> {
    std::iter::from_fn(|| parser.next().unwrap()).collect()
}

#[test]
fn messages_are_the_same_however_the_octets_are_cut_syn_09_syn_24() {
    let all = [
        SEND,
        BODILESS,
        NEAR_MISSES,
        RESPONSE,
        EMPTY_BODY,
        EMPTY_BODY_SHORT,
    ];
    let stream = all.concat();
    let mut whole = Parser::new();
    whole.feed(&stream);
    let expected = drain(&mut whole);
    assert_eq!(
        expected
            .iter()
            .map(|m| m.raw.as_slice())
            .collect::<Vec<_>>(),
        all
    );
    for cut in 1..stream.len() {
        let mut parser = Parser::new();
        parser.feed(&stream[..cut]);
        let mut got = drain(&mut parser);
        parser.feed(&stream[cut..]);
        got.extend(drain(&mut parser));
        assert_eq!(got, expected, "cut at {cut}");
        assert!(parser.is_between_messages());
    }
    let mut parser = Parser::new();
    let mut got = Vec::new();
    for octet in &stream {
        parser.feed(std::slice::from_ref(octet));
        got.extend(drain(&mut parser));
    }
    assert_eq!(got, expected);
}

#[test]
fn request_is_taken_apart() {
    let send = Message::parse(SEND).unwrap();
    assert_eq!(send.method(), Some("SEND"));
    assert_eq!(send.tid, "lQ4AoR2b7HRZxPku");
    assert_eq!(send.to_path.len(), 2);
    assert_eq!(
        send.from_path,
        ["msrps://alice-pc.example.com:7654/oNcM1GIbSoGt2MLk;tcp"]
    );
    assert_eq!(send.headers[0].0, "To-Path");
    assert_eq!(
        send.headers[2],
        ("Message-ID".into(), "2WGlxLWo1C6R".into())
    );
    assert_eq!(
        send.byte_range(),
        Some(ByteRange {
            start: 1,
            end: Some(22),
            total: Some(22)
        })
    );
    assert_eq!(send.body.as_deref(), Some(&b"Hi Bob, lunch at noon?"[..]));
    assert_eq!(send.flag, b'$');
}

#[test]
fn response_is_taken_apart() {
    let response = Message::parse(RESPONSE).unwrap();
    assert_eq!(
        (response.code(), response.comment()),
        (Some(200), Some("OK"))
    );
    assert_eq!(response.body, None);
}

#[test]
fn near_misses_of_the_end_line_are_body_syn_10_syn_11() {
    let send = Message::parse(NEAR_MISSES).unwrap();
    assert_eq!(send.body().len(), 126);
    assert!(send.body().ends_with(b"CRLF\r\n"));
    assert_eq!(send.flag, b'+');
    assert_eq!(send.byte_range().unwrap().end, None);
}

#[test]
fn bodiless_and_empty_differ_syn_12_syn_13() {
    assert_eq!(Message::parse(BODILESS).unwrap().body, None);
    assert_eq!(Message::parse(EMPTY_BODY).unwrap().body, Some(Vec::new()));
    assert_eq!(
        Message::parse(EMPTY_BODY_SHORT).unwrap().body,
        Some(Vec::new())
    );
}

#[test]
fn report_status_is_read() {
    let report = Builder::request("abcd", "REPORT")
        .to_path(&["msrp://a:1/b;tcp"])
        .from_path(&["msrp://c:1/d;tcp"])
        .header("Message-ID", "m")
        .header("Byte-Range", "1-22/22")
        .header("Status", "000 481 No such session")
        .encode();
    let report = Message::parse(&report).unwrap();
    assert_eq!(report.status(), Some((0, 481, Some("No such session"))));
}

#[test]
fn builder_makes_what_the_parser_reads() {
    let octets = build_send(
        "abcd",
        &["msrp://a:1/b;tcp"],
        &["msrp://c:1/d;tcp"],
        "m",
        "1-*/9",
        b"hello",
        b'+',
    );
    let send = Message::parse(&octets).unwrap();
    assert_eq!((send.body(), send.flag), (&b"hello"[..], b'+'));
    let answer = Builder::response_to(&send, 200, Some("OK")).encode();
    let answer = Message::parse(&answer).unwrap();
    assert_eq!(
        (answer.to_path, answer.from_path),
        (send.from_path, send.to_path)
    );
    assert!(head::is_tid(fresh_tid().as_bytes()));
}

/// What stands between the start line and the end-line of these is fine.
fn framed(start: &str, headers: &str, flag: char) -> Result<Message, CodecError> {
    let tid = start.split(' ').nth(1).unwrap();
    Message::parse(format!("{start}\r\n{headers}-------{tid}{flag}\r\n").as_bytes())
}

const PATHS: &str = "To-Path: msrp://a:1/b;tcp\r\nFrom-Path: msrp://c:1/d;tcp\r\n";

#[test]
fn bad_start_lines_are_refused_syn_01() {
    for start in [
        "msrp abcd SEND",
        "MSRP abcd Send",
        "MSRP abcd SEND ",
        "MSRP abcd 20 OK",
        "MSRP abcd 200 ",
        "MSRP abcd 2000",
        "MSRP abcd ",
    ] {
        assert!(
            matches!(framed(start, PATHS, '$'), Err(CodecError::StartLine { .. })),
            "{start}"
        );
    }
    framed("MSRP abcd 200", PATHS, '$').unwrap();
}

#[test]
fn bad_transact_ids_are_refused_syn_02() {
    for tid in ["abc", "-abcd", "ab_cd", &"a".repeat(33)] {
        let result = framed(&format!("MSRP {tid} SEND"), PATHS, '$');
        assert!(
            matches!(result, Err(CodecError::TransactId { .. })),
            "{tid}"
        );
    }
    for tid in ["abcd", "a.-+%=Z9", &"a".repeat(32)] {
        framed(&format!("MSRP {tid} SEND"), PATHS, '$').unwrap();
    }
}

#[test]
fn paths_elsewhere_than_in_front_are_refused_syn_03() {
    let to = "To-Path: msrp://a:1/b;tcp\r\n";
    let from = "From-Path: msrp://c:1/d;tcp\r\n";
    for headers in [
        format!("{from}{to}"),
        to.to_owned(),
        format!("{to}X: y\r\n{from}"),
        format!("{to}{from}{to}"),
        format!("{to}{from}from-path: msrp://c:1/d;tcp\r\n"),
        format!("To-Path: msrp://a:1/b;tcp  msrp://a:1/b;tcp\r\n{from}"),
        format!("To-Path:msrp://a:1/b;tcp\r\n{from}"),
    ] {
        let result = framed("MSRP abcd SEND", &headers, '$');
        assert!(
            matches!(result, Err(CodecError::Paths { .. })),
            "{headers}: {result:?}"
        );
    }
    let no_transport = "To-Path: msrp://a:1/b\r\nFrom-Path: msrp://c:1/d;tcp\r\n";
    assert!(matches!(
        framed("MSRP abcd SEND", no_transport, '$'),
        Err(CodecError::Uri { .. })
    ));
}

#[test]
fn bad_header_lines_are_refused_syn_07_syn_08_syn_21() {
    for line in [
        "X y\r\n",
        " folded: x\r\n",
        "X: a\nb\r\n",
        "X: a\rb\r\n",
        "X: a\0b\r\n",
        ": x\r\n",
    ] {
        let result = framed("MSRP abcd SEND", &format!("{PATHS}{line}"), '$');
        assert!(
            matches!(result, Err(CodecError::HeaderLine { .. })),
            "{line:?}: {result:?}"
        );
    }
    for line in [
        "Byte-Range: 0-1/1\r\n",
        "Byte-Range: 1\r\n",
        "Failure-Report: maybe\r\n",
        "Status: 200 OK\r\n",
    ] {
        let result = framed("MSRP abcd SEND", &format!("{PATHS}{line}"), '$');
        assert!(
            matches!(result, Err(CodecError::HeaderValue { .. })),
            "{line:?}"
        );
    }
    let twice = format!("{PATHS}Message-ID: a\r\nMessage-ID: a\r\n");
    assert!(matches!(
        framed("MSRP abcd SEND", &twice, '$'),
        Err(CodecError::Repeated { .. })
    ));
}

#[test]
fn only_send_is_chunked_syn_18() {
    for start in ["MSRP abcd REPORT", "MSRP abcd 200 OK", "MSRP abcd AUTH"] {
        for flag in ['+', '#'] {
            assert!(
                matches!(framed(start, PATHS, flag), Err(CodecError::Flag { .. })),
                "{start}"
            );
        }
        framed(start, PATHS, '$').unwrap();
    }
}

#[test]
fn hyphens_without_end_cost_linear_time() {
    let mut octets = b"MSRP abcd SEND\r\nTo-Path: msrp://a:1/b;tcp\r\nFrom-Path: msrp://c:1/d;tcp\r\nMessage-ID: x\r\n\r\n".to_vec();
    for _ in 0..100_000 {
        octets.extend_from_slice(b"\r\n-------");
    }
    octets.extend_from_slice(b"\r\n-------abcd$\r\n");
    assert_eq!(Message::parse(&octets).unwrap().body().len(), 900_000);
}

#[test]
fn octets_that_cannot_become_msrp_are_refused_at_once() {
    let mut parser = Parser::new();
    parser.feed(b"HT");
    assert!(parser.next().is_err());
}
