//! WebSocket between a far end and the machine (RFC 6455, RFC 7977): the relay's end is the one that shards use, joined to
//! the machine as `shard/web.rs` joins it; the far end is written anew here. It cuts what it sends into fragments wherever
//! its octets come in pieces, with pings, pongs and empty fragments between, and looks at every frame that it reads.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use msrpd::net::websocket::{CloseCode, Event, Failure, Origins, WebSocket, WebSocketLimits};
use msrpd::relay::{CloseReason, ConnectionKey, Relay};
use msrpload::codec::stream::{Scanner, Step};

/// What one incoming message may have.
pub const MESSAGE_OCTETS: u64 = 4 << 20;
/// While so much below MSRP waits to be sent, pings go without answer.
const PENDING_OCTETS_MAX: usize = 4096;

const REQUEST: &[u8] = b"GET /msrp HTTP/1.1\r\nHost: relay.example.com\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: msrp\r\n\r\n";

pub const TEXT: u8 = 0x81;
pub const BINARY: u8 = 0x82;
pub const CLOSE: u8 = 0x88;
pub const PING: u8 = 0x89;
pub const PONG: u8 = 0x8a;
/// The last fragment of a message.
pub const LAST: u8 = 0x80;

/// One connection, both ends.
pub struct Web {
    relay: WebSocket,
    /// What the relay says below MSRP: it goes before what the machine sends next.
    below: Vec<u8>,
    close_code: Option<CloseCode>,
    /// Octets that have left the relay: on the wire, and of MSRP; and where its frames end in both.
    wire: u64,
    plain: u64,
    ends: VecDeque<(u64, u64)>,
    taken: u64,
    /// The far end's.
    sends: Outbound,
    count: u64,
    unread: Vec<u8>,
    /// Its pings that may still be answered.
    pings: VecDeque<Vec<u8>>,
    /// It has sent frames that were made elsewhere, pings maybe among them.
    pub strange: bool,
    /// Pongs that it owes.
    pongs: Vec<u8>,
    /// With what code the relay has closed.
    closed: Option<u16>,
    /// With what code the far end has.
    closes: Option<u16>,
    /// It has broken a rule that ends the connection with this code.
    pub broken: Option<CloseCode>,
    octets_max: usize,
}

/// What a read came to, beside what the machine was given.
#[derive(Default)]
pub struct Read {
    /// Octets of MSRP in it.
    pub octets: usize,
    /// The far end has closed.
    pub closed: bool,
}

enum Item {
    Octets(Bytes, bool),
    Closed,
}

impl Web {
    /// With its opening handshake behind it; the relay sends messages of at most so many octets.
    pub fn open(octets_max: usize) -> Self {
        let limits = WebSocketLimits {
            message_octets: MESSAGE_OCTETS,
        };
        let mut relay = WebSocket::new(Arc::new(Origins::default()), limits);
        let mut answer = Vec::new();
        for piece in REQUEST.chunks(50) {
            let read = relay.read(&mut piece.to_vec(), true, &mut |_| {}, &mut answer);
            assert_eq!(read, Ok(()));
        }
        assert!(relay.is_open() && answer.starts_with(b"HTTP/1.1 101 "));
        Self {
            relay,
            below: Vec::new(),
            close_code: None,
            wire: 0,
            plain: 0,
            ends: VecDeque::new(),
            taken: 0,
            sends: Outbound::default(),
            count: 0,
            unread: Vec::new(),
            pings: VecDeque::new(),
            strange: false,
            pongs: Vec::new(),
            closed: None,
            closes: None,
            broken: None,
            octets_max,
        }
    }

    /// The relay reads these octets of the wire.
    pub fn read(
        &mut self,
        now: Instant,
        relay: &mut Relay,
        key: ConnectionKey,
        octets: &mut [u8],
    ) -> Read {
        let mut read = Read::default();
        let mut items = Vec::new();
        let mut answers = Vec::new();
        let pongs = self.below.len() < PENDING_OCTETS_MAX;
        let mut take = |event: Event<'_>| {
            items.push(match event {
                Event::Open => panic!("it is open"),
                Event::Message(octets) => {
                    read.octets += octets.len();
                    // Every other one is lent first, as a shard lends them all.
                    let lends = octets.len().is_multiple_of(2) && items.is_empty();
                    if lends && relay.receive_framed_lent(now, key, octets) {
                        return;
                    }
                    Item::Octets(Bytes::copy_from_slice(octets), true)
                }
                Event::Part(octets) => {
                    read.octets += octets.len();
                    Item::Octets(Bytes::copy_from_slice(octets), false)
                }
                Event::End => Item::Octets(Bytes::new(), true),
                Event::Closed => Item::Closed,
            });
        };
        let outcome = self.relay.read(octets, pongs, &mut take, &mut answers);
        self.below.extend(answers);
        for item in items {
            match item {
                Item::Octets(octets, ends) => relay.receive_framed(now, key, octets, ends),
                Item::Closed => {
                    read.closed = true;
                    relay.end_of_stream(now, key);
                }
            }
        }
        match outcome {
            Ok(()) => {}
            Err(Failure::Broken(code, what)) => {
                self.close_code = Some(code);
                relay.framing_failed(now, key, what);
            }
            Err(refused) => panic!("it was upgraded: {refused:?}"),
        }
        read
    }

    /// Frames what the machine wants to send.
    pub fn frame(&mut self, plain: &[u8], ends: &[usize]) -> Vec<u8> {
        assert_eq!(ends.last(), Some(&plain.len()), "every message has its end");
        let mut wire = self.take_below().unwrap_or_default();
        let before = self.wire - wire.len() as u64;
        let mut begin = 0;
        for end in ends {
            self.relay.write(&plain[begin..*end], &mut wire);
            self.plain += (end - begin) as u64;
            self.ends
                .push_back((before + wire.len() as u64, self.plain));
            begin = *end;
        }
        self.wire = before + wire.len() as u64;
        wire
    }

    /// What the relay says below MSRP, to be sent now.
    pub fn take_below(&mut self) -> Option<Vec<u8>> {
        let below = std::mem::take(&mut self.below);
        self.wire += below.len() as u64;
        Some(below).filter(|below| !below.is_empty())
    }

    /// So many octets more of the wire were taken by the kernel; octets of MSRP that lie there in whole frames.
    pub fn took(&mut self, octets: usize) -> Option<u64> {
        self.taken += octets as u64;
        let mut plain = None;
        while let Some((_, octets)) = self.ends.front().filter(|end| end.0 <= self.taken) {
            plain = Some(*octets);
            self.ends.pop_front();
        }
        plain
    }

    /// The relay's timer for idle clients. False: this one is gone.
    pub fn ping(&mut self) -> bool {
        self.relay.ping(&mut self.below)
    }

    /// The machine has let go: what is left to be sent.
    pub fn close(&mut self, reason: &CloseReason) -> Vec<u8> {
        let code = self.close_code.unwrap_or(match reason {
            CloseReason::EndOfStream | CloseReason::Idle | CloseReason::Shed => CloseCode::Normal,
            CloseReason::Drain => CloseCode::GoingAway,
            CloseReason::Framing(_) => CloseCode::Protocol,
            CloseReason::BodyTooLong => CloseCode::TooBig,
            _ => CloseCode::Policy,
        });
        self.relay.close(code, &mut self.below);
        self.take_below().expect("a close frame")
    }

    /// Octets of MSRP as the far end sends them.
    pub fn sends(&mut self, octets: &[u8]) -> Vec<u8> {
        let mut wire = Vec::new();
        for (first, payload) in self.sends.fragments(octets, self.count.is_multiple_of(3)) {
            self.count += 1;
            match self.count % 23 {
                5 => {
                    let payload = self.count.to_be_bytes();
                    wire.extend(frame(PING, &payload));
                    self.pings.push_back(payload.to_vec());
                }
                11 => wire.extend(frame(PONG, b"nobody asked")),
                // Nothing, as the beginning of the message.
                17 if first & 0x0f != 0 => {
                    wire.extend(frame(first & 0x0f, b""));
                    wire.extend(frame(first & 0x80, &payload));
                    continue;
                }
                _ => {}
            }
            wire.extend(frame(first, &payload));
        }
        wire
    }

    /// The far end's last frame.
    pub fn sends_close(&mut self) -> Vec<u8> {
        self.closes = Some([1000, 1001, 4000][self.count as usize % 3]);
        frame(CLOSE, &self.closes.expect("set above").to_be_bytes())
    }

    /// Whether the far end is inside a message.
    pub fn is_inside(&self) -> bool {
        self.sends.begun
    }

    /// Pongs that the far end owes.
    pub fn take_pongs(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.pongs)
    }

    /// The far end reads: the messages that are complete.
    pub fn arrives(&mut self, octets: &[u8]) -> Vec<Vec<u8>> {
        self.unread.extend_from_slice(octets);
        let mut messages = Vec::new();
        while let Some((first, payload, len)) = whole_frame(&self.unread) {
            self.unread.drain(..len);
            assert_eq!(self.closed, None, "RFC 6455 §5.5.1: a frame behind a close");
            match first {
                TEXT | BINARY => {
                    let is_text = std::str::from_utf8(&payload).is_ok();
                    assert_eq!(first == TEXT, is_text, "WSK-04: {payload:?}");
                    assert!(
                        payload.len() <= self.octets_max,
                        "WSK-06: {} octets: {}",
                        payload.len(),
                        String::from_utf8_lossy(&payload)
                    );
                    messages.push(payload);
                }
                PING => self.pongs.extend(frame(PONG, &payload)),
                PONG if self.strange => {}
                PONG => {
                    // Some may go without answer, none has two.
                    let pings = &mut self.pings;
                    while pings.pop_front().expect("WSK-08: a pong for nothing") != payload {}
                }
                CLOSE => {
                    let code = payload[..2].try_into().expect("a code");
                    self.closed = Some(u16::from_be_bytes(code));
                }
                other => panic!("WSK-07: a frame that begins with {other:#x}"),
            }
        }
        messages
    }

    /// Looks back on a connection that has closed, and all of whose octets were read.
    pub fn assert_closed(&self, reason: &CloseReason) {
        let code = self.closed.expect("WSK-08: a close frame is the last");
        match (self.closes, self.broken) {
            (Some(theirs), None) if *reason == CloseReason::EndOfStream && !self.strange => {
                assert_eq!(code, theirs, "RFC 6455 §5.5.1");
            }
            (_, Some(broken)) if matches!(reason, CloseReason::Framing(_)) => {
                assert_eq!(code, broken as u16, "{reason}");
            }
            _ => {}
        }
    }
}

/// A masked frame that begins with this octet.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let len = payload.len() as u8;
    let key = [0x37, first, len, 0x9c];
    let mut octets = header(first, payload.len() as u64);
    octets.extend(key);
    octets.extend(payload.iter().zip(key.iter().cycle()).map(|(a, b)| a ^ b));
    octets
}

/// The header of such a frame, without its key.
pub fn header(first: u8, payload: u64) -> Vec<u8> {
    let mut octets = vec![first];
    match payload {
        0..=125 => octets.push(0x80 | payload as u8),
        126..=0xffff => {
            octets.push(0x80 | 126);
            octets.extend((payload as u16).to_be_bytes());
        }
        _ => {
            octets.push(0x80 | 127);
            octets.extend(payload.to_be_bytes());
        }
    }
    octets
}

/// The relay's frame at the front: its first octet, its payload, and how long it is.
fn whole_frame(octets: &[u8]) -> Option<(u8, Vec<u8>, usize)> {
    let [first, second, rest @ ..] = octets else {
        return None;
    };
    assert!(*second < 0x80, "WSK-07: a server masks nothing");
    let (len, rest) = match second {
        126 => {
            let (len, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*len)), rest)
        }
        127 => {
            let (len, rest) = rest.split_first_chunk::<8>()?;
            (u64::from_be_bytes(*len) as usize, rest)
        }
        len => (usize::from(*len), rest),
    };
    let payload = rest.get(..len)?.to_vec();
    Some((*first, payload, octets.len() - rest.len() + len))
}

/// Octets of MSRP on their way into frames, each message into its own.
#[derive(Default)]
struct Outbound {
    scanner: Scanner,
    /// What the scanner has not used up, and how much of its end was not sent.
    tail: Vec<u8>,
    unsent: usize,
    /// Fragments of the message were sent.
    begun: bool,
}

impl Outbound {
    /// First octets and payloads; whole messages that may be text are, if that is wanted.
    fn fragments(&mut self, octets: &[u8], text: bool) -> Vec<(u8, Vec<u8>)> {
        self.tail.extend_from_slice(octets);
        self.unsent += octets.len();
        let mut fragments = Vec::new();
        let mut here = Vec::new();
        while !self.tail.is_empty() {
            let (used, ends) = match self.scanner.step(&self.tail).expect("well-formed") {
                Step::More => break,
                Step::Head { used, .. } | Step::Body { used, .. } => (used, false),
                Step::End { used, .. } => (used, true),
            };
            let sent = self.tail.len() - self.unsent;
            here.extend_from_slice(&self.tail[sent.min(used)..used]);
            self.unsent = self.unsent.min(self.tail.len() - used);
            self.tail.drain(..used);
            if ends {
                fragments.push(self.fragment(std::mem::take(&mut here), true, text));
            }
        }
        here.extend_from_slice(&self.tail[self.tail.len() - self.unsent..]);
        self.unsent = 0;
        if !here.is_empty() {
            fragments.push(self.fragment(here, false, text));
        }
        fragments
    }

    fn fragment(&mut self, octets: Vec<u8>, last: bool, text: bool) -> (u8, Vec<u8>) {
        let opcode = match std::mem::replace(&mut self.begun, !last) {
            true => 0,
            false if text && last && std::str::from_utf8(&octets).is_ok() => 1,
            false => 2,
        };
        (opcode | if last { LAST } else { 0 }, octets)
    }
}
