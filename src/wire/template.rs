//! The head of a request as it leaves the relay (RFC 4976 §6.4): paths moved on, all else as it came.
//!
//! A template is everything but the start line's transact-id and the Byte-Range, which differ from piece to
//! piece of a message (CHK-04, CHK-16). It is encoded once per outgoing chunk. What stands beside Message-ID is
//! shared, by the pieces of a message and by the messages whose heads are alike.

use std::sync::Arc;

use super::{
    byte_range::ByteRange,
    end_line::HYPHENS,
    head::Head,
    header_name::HeaderName,
    path::Path,
    report_headers::FailureReport,
    start_line::{Method, PROTOCOL},
    transact_id::TransactId,
};

/// Head of a request as it leaves. A clone shares nearly all of it, and so do templates of heads that differ in
/// Message-ID and Byte-Range only.
#[derive(Clone, Debug)]
pub struct Template {
    shared: Arc<Shared>,
    /// Message-ID as it came; empty where there is none.
    message_id: Box<[u8]>,
    total: Option<u64>,
}

#[derive(Debug)]
struct Shared {
    /// The head as it leaves, with any transact-id, without the value of Message-ID and without Byte-Range.
    text: Box<[u8]>,
    method: Method,
    method_len: u16,
    /// Outgoing To-Path.
    to_path: (u16, u16),
    /// Outgoing From-Path.
    from_path: (u16, u16),
    /// Where in the outgoing From-Path our own URIs end and where what came in begins.
    own_end: u16,
    incoming_at: u16,
    /// Where the value of Message-ID goes.
    message_id_at: u16,
    /// Where Byte-Range goes.
    range_at: u16,
    failure_report: FailureReport,
    success_report: bool,
    blank_line: bool,
}

/// Where the method stands.
const METHOD_AT: usize = PROTOCOL.len() + TransactId::OCTETS + 1;

impl Template {
    /// The longest Byte-Range, as a header line.
    pub const RANGE_OCTETS_MAX: usize = b"Byte-Range: -/\r\n".len() + 3 * 19;

    /// Moves the first `hops` To-Path URIs, one after the other, to the front of From-Path (URI-02), as if
    /// each of them had been a relay of its own (URI-11). The last To-Path URI always stays: a request is
    /// forwarded to somebody. The head must be a request without [`fault`](Head::fault).
    pub fn forwarded(head: &Head, hops: usize) -> Template {
        let to_path = head.to_path();
        let hops = hops.min(to_path.len().saturating_sub(1));
        let (own, remaining) = to_path.split(hops);
        let incoming = head.from_path();
        let method = head.method_text();

        let mut text = Writer(Vec::with_capacity(capacity(head, method)));
        text.0.extend_from_slice(PROTOCOL);
        text.0.resize(METHOD_AT, b' ');
        text.0.extend_from_slice(method);
        text.0.extend_from_slice(b"\r\nTo-Path: ");
        let to_path = text.push(remaining.text());
        text.0.extend_from_slice(b"\r\nFrom-Path: ");
        let from_at = text.at();
        let mut own_end = from_at;
        for uri in own.uris().rev() {
            text.push(uri);
            own_end = text.at();
            text.0.push(b' ');
        }
        let incoming_at = text.push(incoming.text()).0;
        let from_path = (from_at, text.at());
        text.0.extend_from_slice(b"\r\n");

        let copied = copy_headers(head, &mut text, false);
        if head.has_blank_line() {
            text.0.extend_from_slice(b"\r\n");
        }
        let (id_at, id_end) = copied.message_id;
        let message_id = text.0.drain(id_at..id_end).collect();
        let range_at = match copied.range_at {
            at if at > id_at => at - (id_end - id_at),
            at => at,
        };
        let shared = Shared {
            method: head.method().unwrap_or(Method::Other),
            method_len: method.len() as u16,
            to_path: places(to_path),
            from_path: places(from_path),
            own_end: place(own_end),
            incoming_at: place(incoming_at),
            message_id_at: place(id_at),
            range_at: place(range_at),
            failure_report: head.failure_report(),
            success_report: head.success_report(),
            blank_line: head.has_blank_line(),
            text: text.0.into(),
        };
        Template {
            shared: Arc::new(shared),
            message_id,
            total: head.byte_range().and_then(|range| range.total),
        }
    }

    /// For a head that differs from this one's in Message-ID and Byte-Range only, and has either if this one had.
    pub fn again(&self, message_id: &[u8], range: Option<ByteRange>) -> Template {
        Template {
            shared: self.shared.clone(),
            message_id: message_id.into(),
            total: range.and_then(|range| range.total),
        }
    }

    /// Appends the whole head: with the blank line, if the request has a body. Byte-Range stands where it stood,
    /// or else after Message-ID; `None` leaves it out.
    pub fn encode(&self, out: &mut Vec<u8>, tid: &TransactId, range: Option<ByteRange>) {
        let text = &self.shared.text;
        let id_at = usize::from(self.shared.message_id_at);
        let range_at = usize::from(self.shared.range_at);
        let begin = out.len();
        out.reserve(self.len() + Self::RANGE_OCTETS_MAX);
        if id_at <= range_at {
            out.extend_from_slice(&text[..id_at]);
            out.extend_from_slice(&self.message_id);
            out.extend_from_slice(&text[id_at..range_at]);
            encode_range(out, range);
            out.extend_from_slice(&text[range_at..]);
        } else {
            out.extend_from_slice(&text[..range_at]);
            encode_range(out, range);
            out.extend_from_slice(&text[range_at..id_at]);
            out.extend_from_slice(&self.message_id);
            out.extend_from_slice(&text[id_at..]);
        }
        out[begin + PROTOCOL.len()..][..TransactId::OCTETS].copy_from_slice(tid.as_bytes());
    }

    /// Whether chunks under both templates are pieces of one message that may be merged: all is equal but
    /// start and end of the Byte-Range (CHK-11).
    pub fn same_message(&self, other: &Template) -> bool {
        let (one, two) = (&self.shared, &other.shared);
        self.total == other.total
            && self.message_id == other.message_id
            && (Arc::ptr_eq(one, two)
                || one.message_id_at == two.message_id_at && one.text == two.text)
    }

    /// The method.
    pub fn method(&self) -> Method {
        self.shared.method
    }

    /// The method's name.
    pub fn method_text(&self) -> &[u8] {
        &self.shared.text[METHOD_AT..][..usize::from(self.shared.method_len)]
    }

    /// Message-ID as it came; empty where there is none.
    pub fn message_id(&self) -> &[u8] {
        &self.message_id
    }

    /// The outgoing To-Path.
    pub fn to_path(&self) -> Path<'_> {
        Path::new(self.slice(self.shared.to_path))
    }

    /// The outgoing From-Path.
    pub fn from_path(&self) -> Path<'_> {
        Path::new(self.slice(self.shared.from_path))
    }

    /// The next hop: the first URI of the outgoing To-Path.
    pub fn next_uri(&self) -> &[u8] {
        self.to_path().first().unwrap_or_default()
    }

    /// Our URIs as they stand at the front of the outgoing From-Path: the one that was addressed last is first.
    pub fn own_uris(&self) -> &[u8] {
        self.slice((self.shared.from_path.0, self.shared.own_end))
    }

    /// The From-Path as it came in.
    pub fn incoming_from_path(&self) -> &[u8] {
        self.slice((self.shared.incoming_at, self.shared.from_path.1))
    }

    /// Failure-Report of the request.
    pub fn failure_report(&self) -> FailureReport {
        self.shared.failure_report
    }

    /// Success-Report of the request.
    pub fn success_report(&self) -> bool {
        self.shared.success_report
    }

    /// Whether the request has a body, be it empty.
    pub fn has_blank_line(&self) -> bool {
        self.shared.blank_line
    }

    /// Total of the Byte-Range as received (CHK-08).
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// Octets of memory that the template holds, besides itself, as if it shared none.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.shared.text.len() + self.message_id.len()
    }

    /// Octets of the head with the longest Byte-Range, as a decoder counts them: to the blank line or the end-line.
    pub fn octets_max(&self) -> usize {
        let end_line = match self.shared.blank_line {
            true => 0,
            false => HYPHENS.len() + TransactId::OCTETS + b"$\r\n".len(),
        };
        self.len() + Self::RANGE_OCTETS_MAX + end_line
    }

    fn slice(&self, (start, end): (u16, u16)) -> &[u8] {
        &self.shared.text[usize::from(start)..usize::from(end)]
    }
}

fn encode_range(out: &mut Vec<u8>, range: Option<ByteRange>) {
    if let Some(range) = range {
        out.extend_from_slice(b"Byte-Range: ");
        range.encode(out);
        out.extend_from_slice(b"\r\n");
    }
}

/// Where things stand among the headers that were copied.
pub(super) struct Copied {
    message_id: (usize, usize),
    range_at: usize,
}

impl Copied {
    fn nothing(range_at: usize) -> Self {
        Self {
            message_id: (0, 0),
            range_at,
        }
    }
}

/// Copies all headers but the paths, and Byte-Range only if asked to: known names in the RFC's case, others
/// untouched, all in order, but extension headers before MIME headers and Content-Type last (SYN-04, -06, -15).
pub(super) fn copy_headers(head: &Head, text: &mut Writer, with_range: bool) -> Copied {
    if head.0.facts.in_our_form && head.fault().is_none() {
        return copy_headers_at_once(head, text, with_range);
    }
    let mut copied = Copied::nothing(text.at());
    let mut range_stands = false;
    for pass in [Pass::Plain, Pass::Mime, Pass::ContentType] {
        for line in head.0.lines.iter().filter(|line| pass.takes(line.name)) {
            if line.name == HeaderName::ByteRange && !with_range {
                copied.range_at = text.at();
                range_stands = true;
                continue;
            }
            let value = head.slice(line.value);
            let value = match line.name.canonical() {
                Some(name) => {
                    text.0.extend_from_slice(name.as_bytes());
                    text.0.extend_from_slice(b": ");
                    let value = text.push(value);
                    text.0.extend_from_slice(b"\r\n");
                    value
                }
                None => text.push(head.slice((line.start, line.end))),
            };
            if line.name == HeaderName::MessageId {
                copied.message_id = value;
                if !range_stands {
                    copied.range_at = text.at();
                }
            }
        }
    }
    copied
}

/// Copies headers that stand as we would write them anyway.
fn copy_headers_at_once(head: &Head, text: &mut Writer, with_range: bool) -> Copied {
    // Without a fault, the first two lines are the paths.
    let (from, to) = (head.0.lines[1].end, head.octets() as u16);
    let line = |name| head.0.lines.iter().find(|line| line.name == name);
    let range = line(HeaderName::ByteRange).map_or((to, to), |line| (line.start, line.end));
    let written_at = text.at();
    if with_range {
        text.push(head.slice((from, to)));
        // Nobody asks for places in what holds a Byte-Range already.
        return Copied::nothing(written_at);
    }
    text.push(head.slice((from, range.0)));
    text.push(head.slice((range.1, to)));

    // The same place after the move; what follows the Byte-Range moves by its length too.
    let moved = |at: u16| {
        let left_out = if at > range.0 { range.1 - range.0 } else { 0 };
        usize::from(at - from - left_out) + written_at
    };
    let message_id = line(HeaderName::MessageId);
    Copied {
        message_id: message_id.map_or((0, 0), |line| (moved(line.value.0), moved(line.value.1))),
        range_at: match (range.0 < to, message_id) {
            (true, _) => moved(range.0),
            (false, Some(line)) => moved(line.end),
            (false, None) => written_at,
        },
    }
}

/// The order in which headers leave.
#[derive(Clone, Copy)]
enum Pass {
    Plain,
    Mime,
    ContentType,
}

impl Pass {
    fn takes(self, name: HeaderName) -> bool {
        match name {
            HeaderName::ToPath | HeaderName::FromPath => false,
            HeaderName::ContentType => matches!(self, Self::ContentType),
            _ if name.is_mime() => matches!(self, Self::Mime),
            _ => matches!(self, Self::Plain),
        }
    }
}

/// Octets that are being written, and where what was written stands.
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn at(&self) -> usize {
        self.0.len()
    }

    pub(super) fn push(&mut self, octets: &[u8]) -> (usize, usize) {
        let start = self.at();
        self.0.extend_from_slice(octets);
        (start, self.at())
    }
}

/// A place in a template's text, which is hardly longer than a head: `DecoderLimits` sees to it that 16 bits do.
fn place(at: usize) -> u16 {
    debug_assert!(at <= usize::from(u16::MAX));
    at as u16
}

fn places((start, end): (usize, usize)) -> (u16, u16) {
    (place(start), place(end))
}

fn capacity(head: &Head, method: &[u8]) -> usize {
    METHOD_AT + method.len() + head.octets() - usize::from(head.0.headers_at) + b"\r\n\r\n".len()
}
