//! Whole messages, for tests: everything a test may want to compare, nothing left out.

use std::collections::VecDeque;

use super::error::{CodecError, extract};
use super::head::{ByteRange, Head, Kind};
use super::stream::{Scanner, Step};
use super::uri::check_uri;

/// A body of more than this is not collected unless [`Parser::with_body_octets_max`] allows it.
const BODY_OCTETS_MAX: usize = 256 * 1024 * 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    Request { method: String },
    Response { code: u16, comment: Option<String> },
}

/// One message (of a chunked message: one chunk), with its octets as received.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    pub start: Start,
    pub tid: String,
    pub to_path: Vec<String>,
    pub from_path: Vec<String>,
    /// All headers in order, names and values as they stood, the two paths first.
    pub headers: Vec<(String, String)>,
    /// `None`: bodiless, that is without a blank line (SYN-12); `Some(empty)`: an empty body (SYN-13).
    pub body: Option<Vec<u8>>,
    /// `$`, `+` or `#`.
    pub flag: u8,
    /// The exact octets from the `M` of the start line to the LF of the end-line.
    pub raw: Vec<u8>,
}

impl Message {
    /// Parses octets that are exactly one message.
    pub fn parse(octets: &[u8]) -> Result<Self, CodecError> {
        let mut parser = Parser::new();
        parser.feed(octets);
        match parser.next()? {
            Some(message) if parser.is_between_messages() => Ok(message),
            _ => Err(CodecError::StartLine {
                at: format!("not exactly one message: {}", extract(octets)),
            }),
        }
    }

    /// The first header of that name, in any letter case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub fn headers_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The method of a request.
    pub fn method(&self) -> Option<&str> {
        match &self.start {
            Start::Request { method } => Some(method),
            Start::Response { .. } => None,
        }
    }

    /// The code of a response.
    pub fn code(&self) -> Option<u16> {
        match self.start {
            Start::Request { .. } => None,
            Start::Response { code, .. } => Some(code),
        }
    }

    pub fn comment(&self) -> Option<&str> {
        match &self.start {
            Start::Response { comment, .. } => comment.as_deref(),
            Start::Request { .. } => None,
        }
    }

    pub fn message_id(&self) -> Option<&str> {
        self.header("Message-ID")
    }

    pub fn byte_range(&self) -> Option<ByteRange> {
        ByteRange::parse(self.header("Byte-Range")?.as_bytes())
    }

    /// Namespace, code and comment of a REPORT's Status.
    pub fn status(&self) -> Option<(u16, u16, Option<&str>)> {
        let value = self.header("Status")?;
        let mut words = value.splitn(3, ' ');
        Some((
            words.next()?.parse().ok()?,
            words.next()?.parse().ok()?,
            words.next(),
        ))
    }

    /// The body, empty where there is none.
    pub fn body(&self) -> &[u8] {
        self.body.as_deref().unwrap_or_default()
    }

    fn from_head(head: &Head<'_>) -> Result<Self, CodecError> {
        // The scanner has checked that lines are UTF-8.
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        let path = |value: &[u8]| -> Result<Vec<String>, CodecError> {
            text(value)
                .split(' ')
                .map(|uri| check_uri(uri).map(|()| uri.to_owned()))
                .collect()
        };
        Ok(Self {
            start: match head.kind {
                Kind::Request { text: method, .. } => Start::Request {
                    method: text(method),
                },
                Kind::Response { code, comment } => Start::Response {
                    code,
                    comment: comment.map(text),
                },
            },
            tid: text(head.tid),
            to_path: path(head.to_path)?,
            from_path: path(head.from_path)?,
            headers: head
                .headers()
                .map(|(name, value)| (text(name), text(value)))
                .collect(),
            body: head.has_body.then(Vec::new),
            flag: 0,
            raw: Vec::new(),
        })
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = self.raw.len().min(2048);
        write!(f, "{}", String::from_utf8_lossy(&self.raw[..shown]))?;
        match self.raw.len() - shown {
            0 => Ok(()),
            more => write!(f, "… and {more} more octets"),
        }
    }
}

/// Turns received octets, cut anywhere, into whole messages.
#[derive(Debug, Default)]
pub struct Parser {
    scanner: Scanner,
    buffer: Vec<u8>,
    current: Option<Message>,
    body_octets_max: Option<usize>,
    ready: VecDeque<Message>,
}

impl Parser {
    pub fn new() -> Self {
        Self::default()
    }

    /// Another bound for one body (default 256 MiB).
    pub fn with_body_octets_max(octets: usize) -> Self {
        Self {
            body_octets_max: Some(octets),
            ..Self::default()
        }
    }

    /// Takes the next received octets.
    pub fn feed(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
    }

    /// The next whole message; `None`: more octets are needed. An error repeats for good: after it
    /// nothing of this stream can be trusted.
    #[allow(
        clippy::should_implement_trait,
        reason = "fallible, and not the end when it says None"
    )]
    pub fn next(&mut self) -> Result<Option<Message>, CodecError> {
        let mut used_before = 0;
        let result = self.run(&mut used_before);
        self.buffer.drain(..used_before);
        result?;
        Ok(self.ready.pop_front())
    }

    /// Whether the stream may end here without anything being cut off.
    pub fn is_between_messages(&self) -> bool {
        self.buffer.is_empty() && self.scanner.is_between_messages()
    }

    /// Octets received that belong to no whole message yet.
    pub fn pending(&self) -> &[u8] {
        &self.buffer
    }

    fn run(&mut self, at: &mut usize) -> Result<(), CodecError> {
        while self.ready.is_empty() {
            let input = &self.buffer[*at..];
            if input.is_empty() {
                return Ok(());
            }
            match self.scanner.step(input)? {
                Step::More => return Ok(()),
                Step::Head { head, used } => {
                    let mut message = Message::from_head(&head)?;
                    message.raw.extend_from_slice(&input[..used]);
                    self.current = Some(message);
                    *at += used;
                }
                Step::Body { octets, used } => {
                    let message = self.current.as_mut().expect("a body follows its head");
                    let body = message.body.get_or_insert_default();
                    let max = self.body_octets_max.unwrap_or(BODY_OCTETS_MAX);
                    if body.len() + octets.len() > max {
                        return Err(CodecError::BodyTooLong { octets: max });
                    }
                    body.extend_from_slice(octets);
                    message.raw.extend_from_slice(&input[..used]);
                    *at += used;
                }
                Step::End { flag, used } => {
                    let mut message = self.current.take().expect("an end-line follows its head");
                    message.flag = flag;
                    message.raw.extend_from_slice(&input[..used]);
                    *at += used;
                    self.ready.push_back(message);
                }
            }
        }
        Ok(())
    }
}
