//! An octet that chooses the cuts, one that says what the rest is, and octets of a WebSocket connection: the handshake and
//! what follows it, frames of an open connection, or what masked frames are made of (each: its first octet, the length of its
//! payload, the payload). However they are cut, messages, answers and failure are the same, and they are those that a plain
//! reading of RFC 6455 over the whole input gives.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use msrpd::net::websocket::{CloseCode, Event, Failure, Origins, WebSocket, WebSocketLimits};

/// So that small inputs reach it.
const MESSAGE_OCTETS: u64 = 300;

const REQUEST: &[u8] =
    b"GET /msrp HTTP/1.1\r\nHost: relay.example.com\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: msrp\r\n\r\n";

/// What a connection said and gave away.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    opened: bool,
    messages: Vec<Vec<u8>>,
    /// Octets of a message that has not ended; none after a failure, for how much came before it depends on the cuts.
    open: Vec<u8>,
    closed: bool,
    out: Vec<u8>,
    failure: Option<Failure>,
}

fuzz_target!(|input: &[u8]| {
    let [seed, kind, octets @ ..] = input else {
        return;
    };
    match kind % 3 {
        0 => handshake(octets, *seed),
        1 => frames(octets, *seed),
        _ => frames(&composed(octets), *seed),
    }
    written(octets);
});

fn handshake(octets: &[u8], seed: u8) {
    let begin = || fresh(&["https://chat.example.com"]);
    let (whole, _) = read([octets], begin());
    assert_eq!(read(octets.chunks(1), begin()).0, whole);
    assert_eq!(read(cuts(octets, seed), begin()).0, whole);
    if let Some(Failure::Refused(_)) = whole.failure {
        assert!(!whole.opened && !whole.out.starts_with(b"HTTP/1.1 101 "));
    }
    if whole.opened {
        assert!(whole.out.starts_with(b"HTTP/1.1 101 "));
    } else if whole.failure.is_none() {
        assert_eq!(whole.out, b"");
    }
    if whole.out.is_empty() {
        return;
    }
    let head = (whole.out)
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .expect("an answer has an end");
    let head = std::str::from_utf8(&whole.out[..head]).expect("an answer is text");
    // What the request says does not add lines.
    let known = [
        "upgrade",
        "connection",
        "sec-websocket-accept",
        "sec-websocket-protocol",
        "sec-websocket-version",
        "access-control-allow-origin",
        "content-type",
        "content-length",
    ];
    for line in head.split("\r\n").skip(1) {
        let name = line.split(':').next().expect("a split has a first");
        assert!(
            known.contains(&name.to_ascii_lowercase().as_str()),
            "{line}"
        );
    }
}

fn frames(octets: &[u8], seed: u8) {
    let (whole, mut socket) = read([octets], opened());
    assert_eq!(whole, plain(octets));
    assert_eq!(read(octets.chunks(1), opened()).0, whole);
    assert_eq!(read(cuts(octets, seed), opened()).0, whole);
    // The answer to a close repeats its code.
    let mut out = Vec::new();
    socket.close(CloseCode::Policy, &mut out);
    assert!(out.len() == 4 && out[..2] == [0x88, 2]);
    if !whole.closed {
        assert_eq!(out[2..], 1008_u16.to_be_bytes());
    }
    // Nothing is read after an end.
    if whole.closed || whole.failure.is_some() {
        let (after, _) = read([&masked(0x81, b"late")[..]], socket);
        assert_eq!(after, Outcome::default());
    }
}

/// One whole frame, unmasked, text where it is UTF-8 (D-26).
fn written(message: &[u8]) {
    let mut out = Vec::new();
    opened().write(message, &mut out);
    let first = if std::str::from_utf8(message).is_ok() {
        0x81
    } else {
        0x82
    };
    let header = match message.len() {
        len @ 0..=125 => vec![first, len as u8],
        len @ 126..=0xffff => [&[first, 126], &(len as u16).to_be_bytes()[..]].concat(),
        len => [&[first, 127], &(len as u64).to_be_bytes()[..]].concat(),
    };
    assert!(out.starts_with(&header) && out[header.len()..] == *message);
}

fn fresh(origins: &[&str]) -> WebSocket {
    let origins: Vec<String> = origins.iter().map(|origin| (*origin).to_owned()).collect();
    let limits = WebSocketLimits {
        message_octets: MESSAGE_OCTETS,
    };
    WebSocket::new(Arc::new(Origins::new(&origins)), limits)
}

fn opened() -> WebSocket {
    let (outcome, socket) = read([REQUEST], fresh(&[]));
    assert!(outcome.opened);
    socket
}

fn read<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    mut socket: WebSocket,
) -> (Outcome, WebSocket) {
    let mut outcome = Outcome::default();
    for piece in pieces {
        let mut piece = piece.to_vec();
        let Outcome {
            opened,
            messages,
            open,
            closed,
            out,
            ..
        } = &mut outcome;
        let mut take = |event: Event<'_>| {
            assert!(!*closed, "an event after the close");
            match event {
                Event::Open => {
                    assert!(!*opened);
                    *opened = true;
                }
                Event::Message(octets) => {
                    assert!(open.is_empty() && !octets.is_empty());
                    messages.push(octets.to_vec());
                }
                Event::Part(octets) => {
                    assert!(!octets.is_empty());
                    open.extend_from_slice(octets);
                }
                Event::End => messages.push(std::mem::take(open)),
                Event::Closed => *closed = true,
            }
        };
        if let Err(failure) = socket.read(&mut piece, true, &mut take, out) {
            outcome.failure = Some(failure);
            outcome.open.clear();
            break;
        }
    }
    if outcome.closed {
        // A message that a close cuts off never ends.
        outcome.open.clear();
    }
    (outcome, socket)
}

/// The same from the text of RFC 6455 §5 to §8, with all octets at hand.
fn plain(mut octets: &[u8]) -> Outcome {
    let mut outcome = Outcome::default();
    // Whether it is text, and what came of it.
    let mut message: Option<(bool, Vec<u8>)> = None;
    let mut announced = 0_u64;
    let fails = |mut outcome: Outcome, code: CloseCode, what: &'static str| {
        outcome.failure = Some(Failure::Broken(code, what));
        outcome
    };
    let wrong = |outcome, what| fails(outcome, CloseCode::Protocol, what);
    loop {
        let Some(&first) = octets.first() else { break };
        let (fin, control) = (first & 0x80 != 0, first & 0x08 != 0);
        if first & 0x70 != 0 {
            return wrong(outcome, "a frame with a reserved bit");
        }
        if ![0, 1, 2, 8, 9, 10].contains(&(first & 15)) {
            return wrong(outcome, "a frame with a reserved opcode");
        }
        let odd = "a control frame in pieces or of more than 125 octets";
        if control && !fin {
            return wrong(outcome, odd);
        }
        let Some(&second) = octets.get(1) else { break };
        if second < 0x80 {
            return wrong(outcome, "a frame that is not masked");
        }
        let short = u64::from(second & 0x7f);
        if control && short > 125 {
            return wrong(outcome, odd);
        }
        let more = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some(extended) = octets.get(2..2 + more) else {
            break;
        };
        let extended = (extended.iter()).fold(0, |sum, octet| sum << 8 | u64::from(*octet));
        let len = if more == 0 { short } else { extended };
        let illegal = match more {
            2 => len < 126,
            8 => len < 65_536 || len >> 63 == 1,
            _ => false,
        };
        if illegal {
            return wrong(outcome, "a frame with an illegal length");
        }
        let Some(mask) = octets.get(2 + more..6 + more) else {
            break;
        };
        let rest = &octets[6 + more..];
        if !control {
            if (first & 15 == 0) == message.is_none() {
                return wrong(
                    outcome,
                    match first & 15 {
                        0 => "a continuation of nothing",
                        _ => "a message inside another one",
                    },
                );
            }
            if first & 15 != 0 {
                message = Some((first & 15 == 1, Vec::new()));
                announced = 0;
            }
            announced = announced.saturating_add(len);
            if announced > MESSAGE_OCTETS {
                return fails(outcome, CloseCode::TooBig, "a message is too large");
            }
        }
        let here = rest.len().min(usize::try_from(len).unwrap_or(usize::MAX));
        let complete = here as u64 == len;
        let payload: Vec<u8> = (rest[..here].iter().enumerate())
            .map(|(at, octet)| octet ^ mask[at % 4])
            .collect();
        octets = &rest[here..];
        if control {
            if !complete {
                break;
            }
            match first & 15 {
                8 => {
                    if let Some(code) = illegal_close(&payload) {
                        return fails(outcome, code, "a close frame with an illegal payload");
                    }
                    outcome.closed = true;
                    return outcome;
                }
                9 => {
                    outcome.out.extend([0x8a, payload.len() as u8]);
                    outcome.out.extend(payload);
                }
                _ => {}
            }
            continue;
        }
        let (is_text, so_far) = message.as_mut().expect("looked at above");
        so_far.extend(payload);
        let last = fin && complete;
        if let (true, Err(error)) = (*is_text, std::str::from_utf8(so_far)) {
            if last || error.error_len().is_some() {
                return fails(outcome, CloseCode::NotUtf8, "a text message is not UTF-8");
            }
        }
        if last {
            let (_, whole) = message.take().expect("looked at above");
            outcome.messages.push(whole);
        }
        if !complete {
            break;
        }
    }
    outcome.open = message.map_or_else(Vec::new, |(_, octets)| octets);
    outcome
}

fn illegal_close(payload: &[u8]) -> Option<CloseCode> {
    let code = match payload {
        [] => return None,
        [_] => return Some(CloseCode::Protocol),
        [high, low, ..] => u16::from(*high) << 8 | u16::from(*low),
    };
    let legal = match code {
        0..=999 | 1004..=1006 | 1015..=2999 | 5000.. => false,
        1000..=1003 | 1007..=1014 | 3000..=4999 => true,
    };
    match std::str::from_utf8(&payload[2..]) {
        _ if !legal => Some(CloseCode::Protocol),
        Err(_) => Some(CloseCode::NotUtf8),
        Ok(_) => None,
    }
}

/// Masked frames of the first octets, lengths and payloads that the input says.
fn composed(mut items: &[u8]) -> Vec<u8> {
    let mut octets = Vec::new();
    while let [first, len, rest @ ..] = items {
        let (payload, rest) = rest.split_at(usize::from(*len).min(rest.len()));
        octets.extend(masked(*first, payload));
        items = rest;
    }
    octets
}

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let key = [0x37, 0xfa, 0x21, first];
    let mut octets = vec![first];
    match payload.len() {
        len @ 0..=125 => octets.push(0x80 | len as u8),
        len => {
            octets.push(0x80 | 126);
            octets.extend((len as u16).to_be_bytes());
        }
    }
    octets.extend(key);
    octets.extend(payload.iter().zip(key.iter().cycle()).map(|(a, b)| a ^ b));
    octets
}

/// Pieces of varying length, mostly short.
fn cuts(mut octets: &[u8], seed: u8) -> Vec<&[u8]> {
    let mut state = u32::from(seed) << 8 | 1;
    let mut pieces = Vec::new();
    while !octets.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let longest = 1 << (state >> 29);
        let len = (state >> 8) as usize % longest + 1;
        let (piece, rest) = octets.split_at(len.min(octets.len()));
        pieces.push(piece);
        octets = rest;
    }
    pieces
}
