//! The cases of the Autobahn fuzzing client that apply to a server which speaks a subprotocol of one kind and
//! negotiates no extension, and the opening handshake. Each runs cut at every octet.

use std::sync::Arc;

use super::close::CloseCode;
use super::handshake::{Origins, UpgradeRefused};
use super::session::{Event, Failure, WebSocket, WebSocketLimits};

const LIMITS: WebSocketLimits = WebSocketLimits {
    message_octets: 1 << 20,
};

const REQUEST: &str = "GET /chat?x=1 HTTP/1.1\r\nHost: relay.example.com\r\nUpgrade: websocket\r\n\
    Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: sip, msrp\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

/// What a connection said and gave away.
#[derive(Debug, Default, PartialEq, Eq, Clone)]
struct Outcome {
    messages: Vec<Vec<u8>>,
    /// Octets of a message that has not ended.
    open: Vec<u8>,
    closed: bool,
    out: Vec<u8>,
    failure: Option<Failure>,
}

fn run(octets: &[u8], cuts: &[usize], begin: WebSocket) -> (Outcome, WebSocket) {
    let mut socket = begin;
    let mut outcome = Outcome::default();
    let mut from = 0;
    for to in cuts.iter().copied().chain([octets.len()]) {
        let mut piece = octets[from..to].to_vec();
        from = to;
        let Outcome {
            messages,
            open,
            closed,
            out,
            ..
        } = &mut outcome;
        let read = socket.read(
            &mut piece,
            true,
            &mut |event| match event {
                Event::Open => {}
                Event::Message(octets) => messages.push(octets.to_vec()),
                Event::Part(octets) => {
                    assert!(!octets.is_empty());
                    open.extend_from_slice(octets);
                }
                Event::End => messages.push(std::mem::take(open)),
                Event::Closed => *closed = true,
            },
            out,
        );
        if let Err(failure) = read {
            outcome.failure = Some(failure);
            // How much of the message came before its fault depends on the cuts.
            outcome.open.clear();
            break;
        }
    }
    (outcome, socket)
}

fn fresh(origins: &[&str]) -> WebSocket {
    let origins: Vec<String> = origins.iter().map(|origin| (*origin).to_owned()).collect();
    WebSocket::new(Arc::new(Origins::new(&origins)), LIMITS)
}

fn open() -> WebSocket {
    let (outcome, socket) = run(REQUEST.as_bytes(), &[], fresh(&[]));
    assert_eq!(outcome.failure, None);
    assert!(socket.is_open());
    socket
}

/// The same whole, cut anywhere, and octet by octet. A failure stops the reading, so that what came before it may
/// differ in how it was cut, and nothing else.
fn frames(octets: &[u8]) -> Outcome {
    let (whole, _) = run(octets, &[], open());
    let step = octets.len().div_ceil(400).max(1);
    for cut in (0..octets.len()).step_by(step) {
        assert_eq!(run(octets, &[cut], open()).0, whole, "cut at {cut}");
    }
    if octets.len() < 20_000 {
        let everywhere: Vec<usize> = (0..octets.len()).collect();
        assert_eq!(run(octets, &everywhere, open()).0, whole);
    }
    whole
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let mut octets = vec![first];
    match payload.len() {
        len @ 0..=125 => octets.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            octets.push(0x80 | 126);
            octets.extend((len as u16).to_be_bytes());
        }
        len => {
            octets.push(0x80 | 127);
            octets.extend((len as u64).to_be_bytes());
        }
    }
    octets.extend(key);
    octets.extend(payload.iter().zip(key.iter().cycle()).map(|(a, b)| a ^ b));
    octets
}

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
const NOT_FIN: u8 = 0x80;

fn all(frames: &[Vec<u8>]) -> Vec<u8> {
    frames.concat()
}

fn fails(octets: &[u8]) -> CloseCode {
    match frames(octets).failure {
        Some(Failure::Broken(code, _)) => code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn section_1_messages_of_every_length() {
    for len in [0, 125, 126, 127, 128, 65_535, 65_536] {
        for opcode in [TEXT, BINARY] {
            let payload = vec![b'*'; len];
            let outcome = frames(&frame(opcode, &payload));
            assert_eq!(outcome.messages, [payload]);
            assert_eq!(outcome.failure, None);
        }
    }
}

#[test]
fn section_2_pings_and_pongs() {
    let binary: Vec<u8> = vec![0x00, 0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0x00, 0xff];
    for payload in [&b""[..], b"Hello, world!", &binary, &[0xfe; 125]] {
        let expected = [&[0x8a, payload.len() as u8][..], payload].concat();
        assert_eq!(frames(&frame(PING, payload)).out, expected);
    }
    assert_eq!(fails(&frame(PING, &[0xfe; 126])), CloseCode::Protocol);
    assert_eq!(frames(&frame(PONG, b"unasked")).out, b"");
    let ten: Vec<Vec<u8>> = (0..10).map(|n| frame(PING, &[b'0' + n])).collect();
    assert_eq!(frames(&all(&ten)).out.len(), 30);
}

#[test]
fn section_3_reserved_bits() {
    for bits in 1..8_u8 {
        for opcode in [TEXT, BINARY, CLOSE, PING, PONG] {
            let octets = all(&[frame(TEXT, b"before"), frame(opcode | bits << 4, b"")]);
            let outcome = frames(&octets);
            assert_eq!(outcome.messages, [b"before"], "what came before counts");
            assert!(matches!(
                outcome.failure,
                Some(Failure::Broken(CloseCode::Protocol, _))
            ));
        }
    }
}

#[test]
fn section_4_reserved_opcodes() {
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        assert_eq!(fails(&frame(0x80 | opcode, b"")), CloseCode::Protocol);
        assert_eq!(fails(&frame(0x80 | opcode, b"x")), CloseCode::Protocol);
    }
}

#[test]
fn section_5_fragmentation() {
    let begin = frame(TEXT & !NOT_FIN, b"fragment1");
    let end = frame(0x80, b"fragment2");
    let outcome = frames(&all(&[begin.clone(), end.clone()]));
    assert_eq!(outcome.messages, [b"fragment1fragment2"]);
    // Control frames between, which are answered at once.
    let outcome = frames(&all(&[begin.clone(), frame(PING, b"p"), end.clone()]));
    assert_eq!(outcome.messages, [b"fragment1fragment2"]);
    assert_eq!(outcome.out, [0x8a, 1, b'p']);
    // A control frame in pieces.
    for control in [PING, PONG, CLOSE] {
        assert_eq!(fails(&frame(control & !NOT_FIN, b"")), CloseCode::Protocol);
    }
    // A continuation of nothing, and a message inside another one.
    for fin in [0x00, 0x80] {
        assert_eq!(fails(&frame(fin, b"x")), CloseCode::Protocol);
        let after = all(&[begin.clone(), end.clone(), frame(fin, b"x")]);
        assert_eq!(fails(&after), CloseCode::Protocol);
    }
    assert_eq!(
        fails(&all(&[begin.clone(), frame(TEXT, b"x")])),
        CloseCode::Protocol
    );
    assert_eq!(
        fails(&all(&[begin, frame(BINARY, b"x")])),
        CloseCode::Protocol
    );
    // Empty fragments.
    let empty = all(&[frame(0x01, b""), frame(0x00, b""), frame(0x80, b"")]);
    assert_eq!(frames(&empty).messages, [b""]);
    let middle = all(&[frame(0x02, b""), frame(0x00, b"middle"), frame(0x80, b"")]);
    assert_eq!(frames(&middle).messages, [b"middle"]);
}

#[test]
fn section_6_text_is_utf_8() {
    let text = "κόσμε \u{10ffff} \u{0}".as_bytes();
    assert_eq!(frames(&frame(TEXT, text)).messages, [text]);
    // A character cut by frames.
    let pieces: Vec<Vec<u8>> = text
        .iter()
        .enumerate()
        .map(|(index, octet)| {
            let first = if index == 0 { 0x01 } else { 0x00 };
            let fin = if index + 1 == text.len() { 0x80 } else { 0 };
            frame(first | fin, &[*octet])
        })
        .collect();
    assert_eq!(frames(&all(&pieces)).messages, [text]);
    let invalid: [&[u8]; 10] = [
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
        b"\xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xfe",
        b"\x80",
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xed\xbf\xbf",
        b"\xce",
        b"\xf0\x9d",
    ];
    for payload in invalid {
        assert_eq!(
            fails(&frame(TEXT, payload)),
            CloseCode::NotUtf8,
            "{payload:?}"
        );
        assert_eq!(frames(&frame(BINARY, payload)).messages, [payload]);
    }
    // It fails as soon as it cannot become valid, before the frame ends.
    let long = frame(TEXT, &[&b"\xed\xa0\x80"[..], &[b'x'; 100]].concat());
    let (outcome, _) = run(&long[..20], &[], open());
    assert!(matches!(
        outcome.failure,
        Some(Failure::Broken(CloseCode::NotUtf8, _))
    ));
}

#[test]
fn section_7_closing() {
    // Without a code, with one, with a reason.
    let payloads: [&[u8]; 3] = [b"", &[0x03, 0xe8], b"\x03\xe9going away"];
    for payload in payloads {
        let octets = all(&[
            frame(TEXT, b"last"),
            frame(CLOSE, payload),
            frame(TEXT, b"late"),
        ]);
        let (outcome, mut socket) = run(&octets, &[], open());
        assert_eq!(
            outcome.messages,
            [b"last"],
            "what follows a close is not read"
        );
        assert!(outcome.closed);
        let mut out = Vec::new();
        socket.close(CloseCode::GoingAway, &mut out);
        let code = payload.get(..2).unwrap_or(&[0x03, 0xe9]);
        assert_eq!(
            out,
            [&[0x88, 2][..], code].concat(),
            "their code comes back"
        );
    }
    assert_eq!(fails(&frame(CLOSE, &[0x03])), CloseCode::Protocol);
    assert_eq!(fails(&frame(CLOSE, &[0; 126])), CloseCode::Protocol);
    assert_eq!(
        fails(&frame(CLOSE, b"\x03\xe8\xce\xba\xed\xa0\x80")),
        CloseCode::NotUtf8
    );
    for code in [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999_u16,
    ] {
        assert!(frames(&frame(CLOSE, &code.to_be_bytes())).closed, "{code}");
    }
    for code in [
        0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535_u16,
    ] {
        assert_eq!(
            fails(&frame(CLOSE, &code.to_be_bytes())),
            CloseCode::Protocol,
            "{code}"
        );
    }
}

#[test]
fn section_9_large_messages_in_one_frame_and_in_many() {
    let payload: Vec<u8> = (0..1 << 20)
        .map(|index: u32| b'a' + (index % 23) as u8)
        .collect();
    assert_eq!(
        run(&frame(BINARY, &payload), &[100, 70_000], open())
            .0
            .messages,
        std::slice::from_ref(&payload)
    );
    for piece in [64, 1024, 65_536] {
        let count = payload.len() / piece;
        let octets: Vec<u8> = payload
            .chunks(piece)
            .enumerate()
            .flat_map(|(index, piece)| {
                let first = if index == 0 { 0x01 } else { 0x00 };
                let fin = if index + 1 == count { 0x80 } else { 0 };
                frame(first | fin, piece)
            })
            .collect();
        assert_eq!(
            run(&octets, &[], open()).0.messages,
            std::slice::from_ref(&payload)
        );
    }
    let too_large = frame(BINARY, &vec![0; (1 << 20) + 1]);
    assert!(matches!(
        run(&too_large, &[], open()).0.failure,
        Some(Failure::Broken(CloseCode::TooBig, _))
    ));
    let half = frame(0x02, &vec![0; 1 << 19]);
    let rest = frame(0x80, &vec![0; (1 << 19) + 1]);
    assert!(matches!(
        run(&all(&[half, rest]), &[], open()).0.failure,
        Some(Failure::Broken(CloseCode::TooBig, _))
    ));
}

#[test]
fn frames_are_masked_and_lengths_are_the_shortest() {
    assert_eq!(fails(&[TEXT, 1, b'x']), CloseCode::Protocol);
    assert_eq!(
        fails(&[TEXT, 0x80 | 126, 0, 125, 1, 2, 3, 4]),
        CloseCode::Protocol
    );
    let long = [
        &[TEXT, 0x80 | 127][..],
        &65_535_u64.to_be_bytes(),
        &[1, 2, 3, 4],
    ]
    .concat();
    assert_eq!(fails(&long), CloseCode::Protocol);
    let negative = [
        &[BINARY, 0x80 | 127][..],
        &(1_u64 << 63).to_be_bytes(),
        &[1, 2, 3, 4],
    ]
    .concat();
    assert_eq!(fails(&negative), CloseCode::Protocol);
}

#[test]
fn wsk_04_utf_8_leaves_as_text_and_the_rest_as_binary() {
    let socket = open();
    for (message, first) in [(&b"MSRP a\xc3\xa9"[..], 0x81), (b"MSRP \xff", 0x82)] {
        let mut out = Vec::new();
        socket.write(message, &mut out);
        assert_eq!(out, [&[first, message.len() as u8][..], message].concat());
    }
    for (len, header) in [
        (125, vec![0x81, 125]),
        (126, vec![0x81, 126, 0, 126]),
        (65_535, vec![0x81, 126, 0xff, 0xff]),
        (65_536, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
    ] {
        let mut out = Vec::new();
        socket.write(&vec![b'x'; len], &mut out);
        assert_eq!(&out[..header.len()], header);
        assert_eq!(out.len(), header.len() + len);
    }
}

#[test]
fn wsk_08_idle_clients_are_pinged_and_two_pings_without_an_answer_are_the_end() {
    let mut socket = open();
    let mut out = Vec::new();
    assert!(socket.ping(&mut out), "it has just spoken");
    assert_eq!(out, b"");
    assert!(socket.ping(&mut out) && socket.ping(&mut out));
    assert_eq!(out, [0x89, 0, 0x89, 0]);
    assert!(!socket.ping(&mut out));
    let mut pong = frame(PONG, b"");
    let mut socket = open();
    socket.ping(&mut out);
    socket.ping(&mut out);
    socket.read(&mut pong, true, &mut |_| {}, &mut out).unwrap();
    out.clear();
    assert!(socket.ping(&mut out));
    assert_eq!(out, b"", "the pong counts");
    assert!(socket.ping(&mut out) && socket.ping(&mut out) && !socket.ping(&mut out));
}

#[test]
fn a_client_that_does_not_read_gets_no_pongs() {
    let mut socket = open();
    let mut out = Vec::new();
    let mut ping = frame(PING, b"x");
    socket
        .read(&mut ping, false, &mut |_| {}, &mut out)
        .unwrap();
    assert_eq!(out, b"");
}

fn upgrade(request: &str, origins: &[&str]) -> (String, Option<Failure>) {
    let octets = request.as_bytes();
    let (whole, _) = run(octets, &[], fresh(origins));
    if octets.len() < 2000 {
        let everywhere: Vec<usize> = (0..octets.len()).collect();
        assert_eq!(run(octets, &everywhere, fresh(origins)).0, whole);
    }
    (String::from_utf8(whole.out).unwrap(), whole.failure)
}

#[test]
fn wsk_02_wsk_03_the_opening_handshake() {
    let (answer, failure) = upgrade(REQUEST, &[]);
    assert_eq!(failure, None);
    // The key and its answer are those of RFC 6455 §1.3.
    assert_eq!(
        answer,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: msrp\r\n\r\n"
    );
    let refused = [
        ("Version: 13", "Version: 8", "426", UpgradeRefused::Version),
        (
            "dGhlIHNhbXBsZSBub25jZQ==",
            "c2hvcnQ=",
            "400",
            UpgradeRefused::Key,
        ),
        ("Sec-WebSocket-Key: ", "X: ", "400", UpgradeRefused::Key),
        ("sip, msrp", "sip", "400", UpgradeRefused::Subprotocol),
        (
            "Sec-WebSocket-Protocol: ",
            "X: ",
            "400",
            UpgradeRefused::Subprotocol,
        ),
        (
            "Upgrade: websocket\r\n",
            "",
            "426",
            UpgradeRefused::NotWebSocket,
        ),
        (
            "keep-alive, Upgrade",
            "keep-alive",
            "426",
            UpgradeRefused::NotWebSocket,
        ),
        ("GET ", "POST ", "426", UpgradeRefused::NotWebSocket),
        ("HTTP/1.1", "HTTP/1.0", "426", UpgradeRefused::NotWebSocket),
        (
            "Host: relay.example.com\r\n",
            "",
            "400",
            UpgradeRefused::NotHttp,
        ),
        (
            "GET ",
            "MSRP a786hjs2 SEND\r\n",
            "400",
            UpgradeRefused::NotHttp,
        ),
    ];
    for (from, to, status, why) in refused {
        assert!(REQUEST.contains(from), "{from}");
        let (answer, failure) = upgrade(&REQUEST.replacen(from, to, 1), &[]);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{from}: {answer}"
        );
        assert_eq!(failure, Some(Failure::Refused(why)), "{from}");
        if status == "426" {
            assert!(answer.contains("\r\nSec-WebSocket-Version: 13\r\n"));
        }
    }
    let many: String = (0..65).map(|n| format!("X-{n}: y\r\n")).collect();
    let long = format!("X: {}\r\n", "y".repeat(8192));
    for more in [many, long] {
        let (answer, failure) =
            upgrade(&REQUEST.replacen("Host:", &format!("{more}Host:"), 1), &[]);
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        assert_eq!(failure, Some(Failure::Refused(UpgradeRefused::TooLarge)));
    }
    let health = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    assert!(upgrade(health, &[]).0.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[test]
fn wsk_13_the_origin_is_checked_and_echoed() {
    let with = |origin: &str| REQUEST.replacen("Host:", &format!("Origin: {origin}\r\nHost:"), 1);
    let allowed = ["https://chat.example.com", "http://localhost:8080"];
    for origin in [
        "https://chat.example.com",
        "https://CHAT.example.com",
        "https://chat.example.com:443",
        "http://localhost:8080",
    ] {
        let (answer, failure) = upgrade(&with(origin), &allowed);
        assert_eq!(failure, None, "{origin}");
        assert!(answer.contains(&format!("\r\nAccess-Control-Allow-Origin: {origin}\r\n")));
    }
    for origin in [
        "http://chat.example.com",
        "https://chat.example.com:8443",
        "https://evil-chat.example.com",
        "https://chat.example.com.evil.test",
        "http://localhost",
        "null",
    ] {
        let (answer, failure) = upgrade(&with(origin), &allowed);
        assert!(answer.starts_with("HTTP/1.1 403 "), "{origin}: {answer}");
        assert_eq!(failure, Some(Failure::Refused(UpgradeRefused::Origin)));
        assert_eq!(upgrade(&with(origin), &[]).1, None, "no list allows all");
    }
}
