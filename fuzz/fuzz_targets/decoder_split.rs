//! However the octets are cut, the events are the same (SYN-09); and messages that are told by comparison are those that
//! would have been read. The first two octets of the input choose the cuts, and whether the framing is kept as on a link to
//! another relay and CRLF between messages skipped.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use msrpd::wire::{ByteRange, DecodeError, Decoder, DecoderLimits, Event, Flag, Head, Kind, Shape};

/// Heads, whole bodies and flags; and how it ended: whether between messages, or the error.
#[derive(Debug, PartialEq)]
struct Seen {
    heads: Vec<Head>,
    bodies: Vec<Vec<u8>>,
    flags: Vec<Flag>,
    end: Result<bool, DecodeError>,
}

fuzz_target!(|input: &[u8]| {
    let [seed, step, octets @ ..] = input else {
        return;
    };
    // Small limits, so that small inputs reach them.
    let limits = DecoderLimits {
        head_octets_max: 700,
        header_lines_max: 12,
        uris_per_path_max: 6,
        keeps_framing: step % 2 == 1,
    };
    let whole = decode([octets], limits, 1);
    assert_eq!(told(&whole), compared(octets, limits));
    assert_eq!(whole, decode(octets.chunks(1), limits, 1));
    assert_eq!(whole, decode(cuts(octets, *seed, *step), limits, 1));
    // Pushed ahead of the events, some pieces at a time.
    let ahead = usize::from(step % 5) + 1;
    assert_eq!(whole, decode(cuts(octets, *step, *seed), limits, ahead));
});

fn decoder(limits: DecoderLimits) -> Decoder {
    let mut decoder = Decoder::new(limits);
    if limits.keeps_framing {
        decoder.skip_crlf();
    }
    decoder
}

/// A whole message, as far as a message whose head came before says it.
#[derive(Debug, PartialEq)]
struct Told {
    kind: Kind,
    transact_id: Vec<u8>,
    message_id: Vec<u8>,
    to_path: Vec<u8>,
    byte_range: Option<ByteRange>,
    body: Vec<u8>,
    flag: Flag,
}

impl Told {
    fn of(head: &Head, body: &[u8], flag: Flag) -> Self {
        Self {
            kind: head.kind(),
            transact_id: head.transact_id().to_vec(),
            message_id: head.message_id().unwrap_or_default().to_vec(),
            to_path: head.to_path().text().to_vec(),
            byte_range: head.byte_range(),
            body: body.to_vec(),
            flag,
        }
    }
}

fn told(seen: &Seen) -> Vec<Told> {
    let messages = seen.heads.iter().zip(&seen.bodies).zip(&seen.flags);
    messages
        .map(|((head, body), flag)| Told::of(head, body, *flag))
        .collect()
}

/// Whatever can be told by comparison is.
fn compared(octets: &[u8], limits: DecoderLimits) -> Vec<Told> {
    let mut decoder = decoder(limits);
    decoder.push(Bytes::copy_from_slice(octets));
    let mut told = Vec::new();
    let mut open: Option<(Head, Vec<u8>)> = None;
    let mut send: Option<Shape> = None;
    loop {
        if let Some(mut lent) = decoder.lend() {
            while let Some(again) = decoder.again(&lent, 64, send) {
                told.push(Told {
                    kind: again.kind,
                    transact_id: again.transact_id(&lent).to_vec(),
                    message_id: again.message_id(&lent).to_vec(),
                    to_path: again.to_path(&lent).to_vec(),
                    byte_range: again.byte_range,
                    body: again.body(&lent).to_vec(),
                    flag: again.flag,
                });
                lent = lent.split_off(again.taken());
            }
            decoder.give_back(lent);
        }
        match decoder.next() {
            Ok(Some(Event::Head(head))) => {
                send = decoder.shape().or(send);
                open = Some((head, Vec::new()));
            }
            Ok(Some(Event::Body(body))) => {
                open.as_mut()
                    .expect("a head comes first")
                    .1
                    .extend_from_slice(&body);
            }
            Ok(Some(Event::End(flag))) => {
                let (head, body) = open.take().expect("a head comes first");
                told.push(Told::of(&head, &body, flag));
            }
            Ok(None) | Err(_) => return told,
        }
    }
}

/// Pieces of varying length, mostly short, as two octets choose.
fn cuts(mut octets: &[u8], seed: u8, step: u8) -> Vec<&[u8]> {
    let mut state = u32::from(seed) << 8 | u32::from(step) | 1;
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

fn decode<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    limits: DecoderLimits,
    ahead: usize,
) -> Seen {
    let mut decoder = decoder(limits);
    let mut seen = Seen {
        heads: Vec::new(),
        bodies: Vec::new(),
        flags: Vec::new(),
        end: Ok(true),
    };
    for (number, piece) in pieces.into_iter().enumerate() {
        decoder.push(Bytes::copy_from_slice(piece));
        if number % ahead == 0 {
            drain(&mut decoder, &mut seen);
        }
    }
    drain(&mut decoder, &mut seen);
    // What is held without an end in sight is bounded by the longest head and its growth by doubling.
    assert!(decoder.held_octets() < 4096);
    if seen.end.is_ok() {
        seen.end = Ok(decoder.is_between_messages());
    }
    seen
}

fn drain(decoder: &mut Decoder, seen: &mut Seen) {
    loop {
        match decoder.next() {
            Ok(None) => return,
            Ok(Some(Event::Head(head))) => {
                seen.heads.push(head);
                seen.bodies.push(Vec::new());
            }
            Ok(Some(Event::Body(body))) => {
                let whole = seen.bodies.last_mut().expect("a body follows a head");
                whole.extend_from_slice(&body);
            }
            Ok(Some(Event::End(flag))) => {
                seen.flags.push(flag);
                assert_eq!(seen.flags.len(), seen.heads.len());
            }
            Err(error) => {
                seen.end = Err(error);
                return;
            }
        }
    }
}
