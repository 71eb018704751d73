//! Heads that were read before on the same connection: message after message has the same one, but for the
//! transact-id, Message-ID and Byte-Range.
//!
//! A message whose head is such a one again, and which has come whole, can be told by comparing
//! ([`KnownHeads::again`]): whatever was found out about the head holds once more. And a path that was legal once is
//! legal again.

use std::num::NonZeroU64;

use super::{
    byte_range::ByteRange,
    end_line::{CRLF_HYPHENS, Flag, HYPHENS, HYPHENS_FINDER},
    head::Head,
    header_name::HeaderName,
    start_line::{Kind, Method, PROTOCOL, TRANSACT_ID_OCTETS_MAX, TRANSACT_ID_OCTETS_MIN},
    text::{self, is_printable_ascii},
    transact_id::TransactId,
};

/// A longer head is read each time: most have a few hundred octets at most.
const HEAD_OCTETS_MAX: usize = 1024;
/// A longer Message-ID or Byte-Range is read header by header.
const VALUE_OCTETS_MAX: usize = 256;
/// Octets of a message behind its body, at most.
const END_OCTETS_MAX: usize = CRLF_HYPHENS.len() + TRANSACT_ID_OCTETS_MAX + 3;

/// Which head a message has: those of one connection with the same shape differ in transact-id, Message-ID and
/// Byte-Range only, and none of them has a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape(NonZeroU64);

/// A whole message whose head has come before; places are of the octets that begin with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again {
    /// Which head.
    pub shape: Shape,
    /// SEND, or a response.
    pub kind: Kind,
    /// The transact-id as [`TransactId::parse`] gives it.
    pub own_id: Option<u128>,
    /// Its Byte-Range, if the head has one.
    pub byte_range: Option<ByteRange>,
    /// The continuation flag.
    pub flag: Flag,
    tid_len: u8,
    blank_line: bool,
    message_id: (u16, u16),
    to_path: (u16, u16),
    body: (u16, u16),
    taken: u16,
}

impl Again {
    /// The transact-id.
    pub fn transact_id<'a>(&self, octets: &'a [u8]) -> &'a [u8] {
        &octets[PROTOCOL.len()..][..usize::from(self.tid_len)]
    }

    /// Message-ID; empty if the head has none.
    pub fn message_id<'a>(&self, octets: &'a [u8]) -> &'a [u8] {
        slice(octets, self.message_id)
    }

    /// To-Path.
    pub fn to_path<'a>(&self, octets: &'a [u8]) -> &'a [u8] {
        slice(octets, self.to_path)
    }

    /// The body; empty for a message without one. There are no seven hyphens in a row in it.
    pub fn body<'a>(&self, octets: &'a [u8]) -> &'a [u8] {
        slice(octets, self.body)
    }

    /// Octets of the whole message.
    pub fn taken(&self) -> usize {
        usize::from(self.taken)
    }

    /// Octets that count for the head's bound: with the blank line, or with the end-line where that follows at once.
    pub(super) fn head_octets(&self) -> usize {
        usize::from(match self.blank_line {
            true => self.body.0,
            false => self.taken,
        })
    }
}

fn slice(octets: &[u8], (start, end): (u16, u16)) -> &[u8] {
    &octets[usize::from(start)..usize::from(end)]
}

/// The last heads without fault of SEND requests and of responses. AUTH, which connections that do nothing else send
/// too, leaves nothing here.
#[derive(Debug, Default)]
pub(super) struct KnownHeads(Option<Box<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// How many there have been.
    shapes: u64,
    /// The last SEND's and the last response's.
    heads: [Option<KnownHead>; 2],
}

#[derive(Debug)]
struct KnownHead {
    shape: Shape,
    kind: Kind,
    /// What follows the transact-id, up to the blank line or the end-line.
    text: Vec<u8>,
    /// Values in it that differ from message to message, in order.
    holes: [Option<Hole>; 2],
    byte_range: Option<ByteRange>,
    to_path: (u16, u16),
    from_path: (u16, u16),
    blank_line: bool,
}

#[derive(Clone, Copy, Debug)]
struct Hole {
    is_range: bool,
    start: u16,
    end: u16,
}

/// What stands in the holes of a head, as places of the octets.
#[derive(Default)]
struct Filled {
    message_id: (u16, u16),
    byte_range: Option<ByteRange>,
    /// Where the head ends, behind its blank line.
    end: usize,
}

impl KnownHeads {
    /// Whether this very path was found legal. No text, as where none was learned yet, never is.
    pub(super) fn has_path(&self, kind: Kind, name: HeaderName, value: &[u8]) -> bool {
        let known = self.0.as_ref().zip(place(kind));
        let Some(head) = known.and_then(|(known, place)| known.heads[place].as_ref()) else {
            return false;
        };
        let path = match name {
            HeaderName::ToPath => head.to_path,
            _ => head.from_path,
        };
        !value.is_empty() && slice(&head.text, path) == value
    }

    /// Takes note of a head that was read. Says its shape, if it is remembered and has come before.
    pub(super) fn learn(&mut self, head: &Head) -> Option<Shape> {
        let place = place(head.kind())?;
        if head.fault().is_some() || head.octets() > HEAD_OCTETS_MAX {
            return None;
        }
        if let Some(known) = self
            .0
            .as_ref()
            .and_then(|known| known.heads[place].as_ref())
            && known.is_again(head)
        {
            return Some(known.shape);
        }
        let known = self.0.get_or_insert_default();
        known.shapes += 1;
        let shape = Shape(NonZeroU64::new(known.shapes)?);
        let before = known.heads[place].take();
        let text = before.map(|before| before.text).unwrap_or_default();
        known.heads[place] = Some(KnownHead::of(head, shape, text));
        None
    }

    /// The message that `octets` begin with, if it is whole, has a known head, and a body of `body_max` octets at most;
    /// of SENDs only one with this shape.
    pub(super) fn again(
        &self,
        octets: &[u8],
        body_max: usize,
        send: Option<Shape>,
    ) -> Option<Again> {
        let known = self.0.as_ref()?;
        let after = octets.strip_prefix(PROTOCOL)?;
        // Responses have a transact-id of ours.
        let own_id = match after.get(TransactId::OCTETS) {
            Some(b' ') => TransactId::parse(&after[..TransactId::OCTETS]),
            _ => None,
        };
        let tid_len = match own_id {
            Some(_) => TransactId::OCTETS,
            None => transact_id_len(after)?,
        };
        let head = match after.get(tid_len + 1)? {
            b'S' => known.heads[0]
                .as_ref()
                .filter(|head| Some(head.shape) == send)?,
            b'0'..=b'9' => known.heads[1].as_ref()?,
            _ => return None,
        };
        let tid = &after[..tid_len];
        let text_at = PROTOCOL.len() + tid_len;
        let filled = head.fill_holes(&head.text, octets, text_at)?;
        let body_at = filled.end;
        let (body_end, end_line_at) = match head.blank_line {
            true => {
                let body_end = body_at + end_of_body(&octets[body_at..], tid, body_max)?;
                (body_end, body_end + 2)
            }
            false => (body_at, body_at),
        };
        let end_line = octets[end_line_at..].strip_prefix(HYPHENS)?;
        let (flag, taken) = match end_line.strip_prefix(tid)? {
            [flag, b'\r', b'\n', ..] => {
                let end = end_line_at + HYPHENS.len() + tid_len + 3;
                (Flag::from_octet(*flag)?, u16::try_from(end).ok()?)
            }
            _ => return None,
        };
        let moved = |at: u16| at + text_at as u16;
        Some(Again {
            shape: head.shape,
            kind: head.kind,
            own_id,
            byte_range: filled.byte_range,
            flag,
            tid_len: tid_len as u8,
            blank_line: head.blank_line,
            message_id: filled.message_id,
            to_path: (moved(head.to_path.0), moved(head.to_path.1)),
            body: (body_at as u16, body_end as u16),
            taken,
        })
    }
}

impl KnownHead {
    fn of(head: &Head, shape: Shape, mut text: Vec<u8>) -> Self {
        let text_at = PROTOCOL.len() + head.transact_id().len();
        text.clear();
        text.extend_from_slice(&head.0.raw[text_at..]);
        if head.has_blank_line() {
            text.extend_from_slice(b"\r\n");
        }
        let moved = |(start, end): (u16, u16)| (start - text_at as u16, end - text_at as u16);
        let mut holes = head.0.lines.iter().filter_map(|line| {
            let is_range = match line.name {
                HeaderName::MessageId => false,
                HeaderName::ByteRange => true,
                _ => return None,
            };
            let (start, end) = moved(line.value);
            Some(Hole {
                is_range,
                start,
                end,
            })
        });
        let holes = [holes.next(), holes.next()];
        // A head without fault begins with the two paths.
        Self {
            shape,
            kind: head.kind(),
            holes,
            byte_range: head.byte_range(),
            to_path: moved(head.0.lines[0].value),
            from_path: moved(head.0.lines[1].value),
            blank_line: head.has_blank_line(),
            text,
        }
    }

    fn is_again(&self, head: &Head) -> bool {
        let text_at = PROTOCOL.len() + head.transact_id().len();
        if self.blank_line != head.has_blank_line() {
            return false;
        }
        // The blank line is no part of `raw`.
        let text = match self.blank_line {
            true => &self.text[..self.text.len() - 2],
            false => &self.text[..],
        };
        self.fill_holes(text, &head.0.raw, text_at)
            .is_some_and(|filled| filled.end == head.0.raw.len())
    }

    /// Whether `octets` have this text at `text_at`, with other values in the holes.
    fn fill_holes(&self, text: &[u8], octets: &[u8], text_at: usize) -> Option<Filled> {
        let mut filled = Filled::default();
        let (mut from, mut at) = (0, text_at);
        for hole in self.holes.iter().flatten() {
            let same = &text[from..usize::from(hole.start)];
            let rest = octets.get(at..)?.strip_prefix(same)?;
            at += same.len();
            from = usize::from(hole.end);
            let known = &text[usize::from(hole.start)..from];
            if hole.is_range {
                // Nearly all short messages of a kind have the same range.
                let (range, len) = match rest.strip_prefix(known) {
                    Some([b'\r', ..]) => (self.byte_range, known.len()),
                    _ => {
                        let value = value(rest)?;
                        (Some(ByteRange::parse(value)?), value.len())
                    }
                };
                filled.byte_range = range;
                at += len;
            } else {
                let value = value(rest)?;
                if !is_trimmed_text(value) {
                    return None;
                }
                filled.message_id = (at as u16, (at + value.len()) as u16);
                at += value.len();
            }
        }
        octets.get(at..)?.strip_prefix(&text[from..])?;
        filled.end = at + text.len() - from;
        Some(filled)
    }
}

/// How long the transact-id is that a space follows (SYN-02); in one pass.
fn transact_id_len(octets: &[u8]) -> Option<usize> {
    let ends = |octet: &u8| !text::is(*octet, text::IDENT);
    let len = octets
        .iter()
        .take(TRANSACT_ID_OCTETS_MAX + 1)
        .position(ends)?;
    let legal = len >= TRANSACT_ID_OCTETS_MIN && octets[0].is_ascii_alphanumeric();
    (legal && octets[len] == b' ').then_some(len)
}

/// What stands before the CR.
fn value(octets: &[u8]) -> Option<&[u8]> {
    let longest = octets.len().min(VALUE_OCTETS_MAX + 1);
    let end = memchr::memchr(b'\r', &octets[..longest])?;
    Some(&octets[..end])
}

/// Whether it would be the whole value of a header, and without fault.
fn is_trimmed_text(value: &[u8]) -> bool {
    match (value.first(), value.last()) {
        (Some(first), Some(last)) => *first != b' ' && *last != b' ' && is_printable_ascii(value),
        _ => false,
    }
}

/// Where the CRLF before the end-line stands, if the first seven hyphens are that end-line's.
fn end_of_body(octets: &[u8], tid: &[u8], body_max: usize) -> Option<usize> {
    let octets = &octets[..octets.len().min(body_max + END_OCTETS_MAX)];
    // At once behind the blank line there is none before them.
    let at = HYPHENS_FINDER.find(octets)?.checked_sub(2)?;
    let is_end = octets[at..].starts_with(b"\r\n") && at <= body_max;
    let after = &octets[at + CRLF_HYPHENS.len()..];
    (is_end && after.starts_with(tid)).then_some(at)
}

fn place(kind: Kind) -> Option<usize> {
    match kind {
        Kind::Request(Method::Send) => Some(0),
        Kind::Response { .. } => Some(1),
        Kind::Request(_) => None,
    }
}
