//! Tests of the room as a whole. The examples are the exact octets of one exchange per file of `tests/data/wire`,
//! message after message.

mod again;
mod cuts;
mod examples;
mod faults;
mod framed;
mod framing;
mod guard;
mod templates;

use bytes::Bytes;

use super::*;

/// One message as it was decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Message {
    head: Head,
    body: Vec<u8>,
    flag: Flag,
}

/// Decodes pieces of a stream that holds whole messages only.
fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Message> {
    let mut collected = Collected::default();
    for piece in pieces {
        collected.push(piece);
    }
    assert_eq!(collected.error, None);
    assert!(collected.decoder.is_between_messages());
    assert_eq!(collected.decoder.held_octets(), 0);
    collected.messages
}

/// Decodes a stream of one message.
fn decode_one(octets: &[u8]) -> Message {
    let mut messages = decode([octets]);
    assert_eq!(messages.len(), 1);
    messages.remove(0)
}

/// The head of one message.
fn head(octets: impl AsRef<[u8]>) -> Head {
    decode_one(octets.as_ref()).head
}

/// What came out of a decoder so far.
struct Collected {
    decoder: Decoder,
    messages: Vec<Message>,
    open: Option<(Head, Vec<u8>)>,
    error: Option<DecodeError>,
}

impl Default for Collected {
    fn default() -> Self {
        Self::new(DecoderLimits::default())
    }
}

impl Collected {
    fn new(limits: DecoderLimits) -> Self {
        Self {
            decoder: Decoder::new(limits),
            messages: Vec::new(),
            open: None,
            error: None,
        }
    }

    fn push(&mut self, octets: &[u8]) {
        self.decoder.push(Bytes::copy_from_slice(octets));
        loop {
            match self.decoder.next() {
                Ok(None) => return,
                Ok(Some(Event::Head(head))) => {
                    assert!(self.open.replace((head, Vec::new())).is_none());
                }
                Ok(Some(Event::Body(octets))) => {
                    assert!(!octets.is_empty());
                    self.open.as_mut().unwrap().1.extend_from_slice(&octets);
                }
                Ok(Some(Event::End(flag))) => {
                    let (head, body) = self.open.take().unwrap();
                    self.messages.push(Message { head, body, flag });
                }
                Err(error) => {
                    self.error = Some(error);
                    return;
                }
            }
        }
    }
}

macro_rules! examples {
    ($($name:literal),*) => {
        &[$(($name, include_bytes!(concat!("../../../tests/data/wire/", $name, ".msrp")))),*]
    };
}

/// Name and octets of every example.
const EXAMPLES: &[(&str, &[u8])] = examples!(
    "W-01", "W-02", "W-03", "W-04", "W-05", "W-06", "W-07", "W-08", "W-09", "W-10", "W-11", "W-12",
    "W-13", "W-14", "W-15", "W-16", "W-17", "W-18", "W-19", "W-20"
);

/// The messages of an example, each as its octets.
fn example(name: &str) -> Vec<&'static [u8]> {
    let (_, mut rest) = *EXAMPLES.iter().find(|(found, _)| *found == name).unwrap();
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let tid = rest[5..].split(|&o| o == b' ').next().unwrap();
        let len = [b'$', b'+', b'#']
            .iter()
            .filter_map(|&flag| {
                let end = [b"\r\n-------", tid, &[flag], b"\r\n"].concat();
                memchr::memmem::find(rest, &end).map(|at| at + end.len())
            })
            .min()
            .unwrap();
        let (message, after) = rest.split_at(len);
        messages.push(message);
        rest = after;
    }
    messages
}

/// A SEND with the given header lines after the paths.
fn send_with(headers: &str) -> Vec<u8> {
    format!(
        "MSRP d93kswow SEND\r\n\
         To-Path: msrps://relay.example.com:2855/TA;tcp msrps://bob.example.org:8145/b;tcp\r\n\
         From-Path: msrps://alice.example.com:7654/a;tcp\r\n\
         {headers}-------d93kswow$\r\n"
    )
    .into_bytes()
}

/// A SEND with a body.
fn send_body(body: &[u8], flag: Flag) -> Vec<u8> {
    let mut octets = send_with("Message-ID: 87652\r\nContent-Type: text/plain\r\n\r\n");
    octets.truncate(octets.len() - b"-------d93kswow$\r\n".len());
    octets.extend_from_slice(body);
    encode_end(&mut octets, b"d93kswow", flag, true);
    octets
}
