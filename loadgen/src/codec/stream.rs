//! The scanner: MSRP in place, out of a buffer that the caller owns and reuses.
//!
//! Contract: call [`Scanner::step`] with everything received and not yet used, in order; take the
//! `used` octets it names off the front; at [`Step::More`] keep the rest and come back with more
//! behind it. A body comes in as many [`Step::Body`] slices as it likes, never with an octet of the
//! end-line (RFC 4975 §7.1). After an error the stream is out of step for good.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::error::{CodecError, extract};

/// Longest head accepted. A relay that makes a longer one is broken; the tests send up to 32 KiB.
pub const HEAD_OCTETS_MAX: usize = 64 * 1024;

/// The longest transact-id (RFC 4975 §9).
const TID_OCTETS_MAX: usize = 32;

const HYPHENS: &[u8] = b"-------";

static BODY_END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\n-------"));

/// What the next octets are.
#[derive(Debug)]
pub enum Step<'a> {
    /// Nothing can be said before more octets are there.
    More,
    /// Start line and headers of a message.
    Head { head: Head<'a>, used: usize },
    /// A part of the body, not empty.
    Body { octets: &'a [u8], used: usize },
    /// The end-line with its flag: `$`, `+` or `#`.
    End { flag: u8, used: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Send,
    Auth,
    Report,
    Nickname,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    Request {
        method: Method,
        text: &'a [u8],
    },
    Response {
        code: u16,
        comment: Option<&'a [u8]>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureReport {
    Yes,
    Partial,
    No,
}

/// `start-end/total`; `None` stands for `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    pub start: u64,
    pub end: Option<u64>,
    pub total: Option<u64>,
}

impl ByteRange {
    pub fn parse(text: &[u8]) -> Option<Self> {
        let dash = memchr::memchr(b'-', text)?;
        let slash = dash + 1 + memchr::memchr(b'/', &text[dash + 1..])?;
        let start = number(&text[..dash])?;
        let end = number_or_star(&text[dash + 1..slash])?;
        let total = number_or_star(&text[slash + 1..])?;
        (start >= 1).then_some(Self { start, end, total })
    }
}

/// Start line and headers, borrowed from the receive buffer.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// From the start line to the CRLF of the last header.
    pub raw: &'a [u8],
    pub kind: Kind<'a>,
    pub tid: &'a [u8],
    pub to_path: &'a [u8],
    pub from_path: &'a [u8],
    pub message_id: Option<&'a [u8]>,
    pub byte_range: Option<ByteRange>,
    /// `None`: the header is absent, which means `yes`.
    pub failure_report: Option<FailureReport>,
    pub success_report: bool,
    pub status: Option<&'a [u8]>,
    /// Whether a blank line follows; without one the request is bodiless (SYN-12).
    pub has_body: bool,
    headers: &'a [u8],
}

impl<'a> Head<'a> {
    /// All headers in order, the two paths included; names as they stand, values without the
    /// space after the colon.
    pub fn headers(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut rest = self.headers;
        std::iter::from_fn(move || {
            let end = memchr::memchr(b'\n', rest)?;
            let line = &rest[..end - 1];
            rest = &rest[end + 1..];
            let colon = memchr::memchr(b':', line)?;
            Some((&line[..colon], line[colon + 1..].trim_ascii_start()))
        })
    }

    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers()
            .find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    pub fn is_send(&self) -> bool {
        matches!(
            self.kind,
            Kind::Request {
                method: Method::Send,
                ..
            }
        )
    }

    /// The leftmost URI of To-Path.
    pub fn first_to(&self) -> &'a [u8] {
        first_uri(self.to_path)
    }

    /// The leftmost URI of From-Path.
    pub fn first_from(&self) -> &'a [u8] {
        first_uri(self.from_path)
    }
}

fn first_uri(path: &[u8]) -> &[u8] {
    &path[..memchr::memchr(b' ', path).unwrap_or(path.len())]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At a start line.
    Between,
    /// After the blank line, no octet of the body seen yet.
    BodyStart,
    Body,
    /// At the end-line of a message without body.
    EndLine,
}

/// One per direction of a connection.
#[derive(Clone, Debug)]
pub struct Scanner {
    state: State,
    tid: [u8; TID_OCTETS_MAX],
    tid_octets: u8,
    may_be_chunked: bool,
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}

impl Scanner {
    pub fn new() -> Self {
        Self {
            state: State::Between,
            tid: [0; TID_OCTETS_MAX],
            tid_octets: 0,
            may_be_chunked: false,
        }
    }

    /// An end of the stream is clean only here.
    pub fn is_between_messages(&self) -> bool {
        self.state == State::Between
    }

    pub fn step<'a>(&mut self, input: &'a [u8]) -> Result<Step<'a>, CodecError> {
        match self.state {
            State::Between => self.head(input),
            State::BodyStart => self.body_start(input),
            State::Body => self.body(input),
            State::EndLine => self.end_line(input, 0),
        }
    }

    fn head<'a>(&mut self, input: &'a [u8]) -> Result<Step<'a>, CodecError> {
        let Some((head, used)) = parse_head(input)? else {
            // The few octets that are there must at least be able to become a start line.
            let seen = input.len().min(5);
            if input[..seen] != b"MSRP "[..seen] {
                return Err(CodecError::StartLine { at: extract(input) });
            }
            if input.len() > HEAD_OCTETS_MAX {
                return Err(CodecError::HeadTooLong {
                    octets: HEAD_OCTETS_MAX,
                });
            }
            return Ok(Step::More);
        };
        self.tid[..head.tid.len()].copy_from_slice(head.tid);
        self.tid_octets = head.tid.len() as u8;
        self.may_be_chunked = head.is_send();
        self.state = if head.has_body {
            State::BodyStart
        } else {
            State::EndLine
        };
        Ok(Step::Head { head, used })
    }

    /// An empty body may lack its own CRLF (SYN-13).
    fn body_start<'a>(&mut self, input: &'a [u8]) -> Result<Step<'a>, CodecError> {
        let seen = input.len().min(HYPHENS.len());
        if input[..seen] == HYPHENS[..seen] {
            match self.compare_end_line(input) {
                Comparison::Whole => return self.end_line(input, 0),
                Comparison::SoFar => return Ok(Step::More),
                Comparison::Differs => {}
            }
        }
        self.state = State::Body;
        self.body(input)
    }

    fn body<'a>(&mut self, input: &'a [u8]) -> Result<Step<'a>, CodecError> {
        let mut from = 0;
        while let Some(found) = BODY_END.find(&input[from..]) {
            let at = from + found;
            match self.compare_end_line(&input[at + 2..]) {
                Comparison::Whole if at == 0 => return self.end_line(input, 2),
                Comparison::Whole | Comparison::SoFar if at > 0 => {
                    return Ok(Step::Body {
                        octets: &input[..at],
                        used: at,
                    });
                }
                Comparison::Whole | Comparison::SoFar => return Ok(Step::More),
                Comparison::Differs => from = at + 2,
            }
        }
        // A CRLF and some hyphens at the very end may become the end-line.
        let tail = &input[input.len().saturating_sub(2 + HYPHENS.len() - 1).max(from)..];
        let held = (0..tail.len())
            .find(|&i| b"\r\n-------".starts_with(&tail[i..]))
            .map_or(0, |i| tail.len() - i);
        match input.len() - held {
            0 => Ok(Step::More),
            clear => Ok(Step::Body {
                octets: &input[..clear],
                used: clear,
            }),
        }
    }

    fn end_line<'a>(&mut self, input: &'a [u8], skip: usize) -> Result<Step<'a>, CodecError> {
        let line = &input[skip..];
        match self.compare_end_line(line) {
            Comparison::Whole => {}
            Comparison::SoFar => return Ok(Step::More),
            Comparison::Differs => return Err(CodecError::HeaderLine { at: extract(line) }),
        }
        let flag_at = HYPHENS.len() + usize::from(self.tid_octets);
        let flag = line[flag_at];
        if flag != b'$' && !self.may_be_chunked {
            return Err(CodecError::Flag {
                at: extract(&line[..flag_at + 1]),
            });
        }
        self.state = State::Between;
        Ok(Step::End {
            flag,
            used: skip + flag_at + 3,
        })
    }

    /// Compares what stands at the front of `line` with our end-line.
    fn compare_end_line(&self, line: &[u8]) -> Comparison {
        let tid = &self.tid[..usize::from(self.tid_octets)];
        let fixed = HYPHENS.len() + tid.len();
        let hyphens = line.len().min(HYPHENS.len());
        if line[..hyphens] != HYPHENS[..hyphens] {
            return Comparison::Differs;
        }
        let rest = &line[hyphens..];
        let seen = rest.len().min(tid.len());
        if rest[..seen] != tid[..seen] {
            return Comparison::Differs;
        }
        let flag_ok = line
            .get(fixed)
            .is_none_or(|f| matches!(f, b'$' | b'+' | b'#'));
        let cr_ok = line.get(fixed + 1).is_none_or(|&b| b == b'\r');
        let lf_ok = line.get(fixed + 2).is_none_or(|&b| b == b'\n');
        match flag_ok && cr_ok && lf_ok {
            false => Comparison::Differs,
            true if line.len() >= fixed + 3 => Comparison::Whole,
            true => Comparison::SoFar,
        }
    }
}

enum Comparison {
    Whole,
    SoFar,
    Differs,
}

/// One line without its CRLF, and where the next one begins. `None`: it has not come whole.
fn line(input: &[u8], from: usize) -> Result<Option<(&[u8], usize)>, CodecError> {
    let Some(end) = memchr::memchr(b'\n', &input[from..]).map(|i| from + i) else {
        return Ok(None);
    };
    if end == from || input[end - 1] != b'\r' {
        return Err(CodecError::HeaderLine {
            at: extract(&input[from..=end]),
        });
    }
    let line = &input[from..end - 1];
    // Folds without an early exit vectorise.
    let control = line.iter().fold(false, |bad, &b| {
        bad | ((b < 0x20) & (b != b'\t')) | (b == 0x7f)
    });
    if control || (!line.is_ascii() && std::str::from_utf8(line).is_err()) {
        return Err(CodecError::HeaderLine { at: extract(line) });
    }
    Ok(Some((line, end + 1)))
}

fn parse_head(input: &[u8]) -> Result<Option<(Head<'_>, usize)>, CodecError> {
    let Some((start, headers_at)) = line(input, 0)? else {
        return Ok(None);
    };
    let (tid, kind) = parse_start_line(start)?;
    let mut head = Head {
        raw: &[],
        kind,
        tid,
        to_path: &[],
        from_path: &[],
        message_id: None,
        byte_range: None,
        failure_report: None,
        success_report: false,
        status: None,
        has_body: false,
        headers: &[],
    };
    let Some((to_line, next)) = line(input, headers_at)? else {
        return Ok(None);
    };
    head.to_path = path_value(to_line, b"To-Path: ")?;
    let Some((from_line, next)) = line(input, next)? else {
        return Ok(None);
    };
    head.from_path = path_value(from_line, b"From-Path: ")?;
    let mut at = next;
    let mut success_seen = false;
    loop {
        if input.len() - at < 2 {
            return Ok(None);
        }
        let ends = input[at] == b'-';
        let blank = &input[at..at + 2] == b"\r\n";
        if ends || blank {
            head.has_body = blank;
            head.raw = &input[..at];
            head.headers = &input[headers_at..at];
            return Ok(Some((head, if blank { at + 2 } else { at })));
        }
        let Some((text, next)) = line(input, at)? else {
            return Ok(None);
        };
        take_header(&mut head, text, &mut success_seen)?;
        at = next;
    }
}

/// SYN-01, SYN-02.
fn parse_start_line(start: &[u8]) -> Result<(&[u8], Kind<'_>), CodecError> {
    let bad = || CodecError::StartLine { at: extract(start) };
    let rest = start.strip_prefix(b"MSRP ").ok_or_else(bad)?;
    let space = memchr::memchr(b' ', rest).ok_or_else(bad)?;
    let (tid, rest) = (&rest[..space], &rest[space + 1..]);
    if !is_tid(tid) {
        return Err(CodecError::TransactId { at: extract(start) });
    }
    if rest.first().is_some_and(u8::is_ascii_digit) {
        if rest.len() < 3 || !rest[..3].iter().all(u8::is_ascii_digit) {
            return Err(bad());
        }
        let code = rest[..3]
            .iter()
            .fold(0, |n, d| n * 10 + u16::from(d - b'0'));
        let comment = match &rest[3..] {
            [] => None,
            // A space with nothing behind it is no comment.
            [b' ', comment @ ..] if !comment.is_empty() => Some(comment),
            _ => return Err(bad()),
        };
        return Ok((tid, Kind::Response { code, comment }));
    }
    if rest.is_empty() || !rest.iter().all(|&b| b.is_ascii_uppercase() || b == b'_') {
        return Err(bad());
    }
    let method = match rest {
        b"SEND" => Method::Send,
        b"REPORT" => Method::Report,
        b"AUTH" => Method::Auth,
        b"NICKNAME" => Method::Nickname,
        _ => Method::Other,
    };
    Ok((tid, Kind::Request { method, text: rest }))
}

/// SYN-02.
pub(crate) fn is_tid(tid: &[u8]) -> bool {
    (4..=TID_OCTETS_MAX).contains(&tid.len())
        && tid[0].is_ascii_alphanumeric()
        && tid
            .iter()
            .all(|&b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+' | b'%' | b'='))
}

/// SYN-03: the line must be this path header, with URIs one space apart.
fn path_value<'a>(line: &'a [u8], name: &[u8]) -> Result<&'a [u8], CodecError> {
    let value = line
        .strip_prefix(name)
        .ok_or_else(|| CodecError::Paths { at: extract(line) })?;
    let spaced = value.first().is_some_and(|&b| b != b' ')
        && value.last() != Some(&b' ')
        && memchr::memmem::find(value, b"  ").is_none()
        && !value.contains(&b'\t');
    if !spaced {
        return Err(CodecError::Paths { at: extract(line) });
    }
    Ok(value)
}

fn take_header<'a>(
    head: &mut Head<'a>,
    text: &'a [u8],
    success_seen: &mut bool,
) -> Result<(), CodecError> {
    let malformed = || CodecError::HeaderLine { at: extract(text) };
    let colon = memchr::memchr(b':', text).ok_or_else(malformed)?;
    let (name, value) = (&text[..colon], text[colon + 1..].trim_ascii_start());
    if !name.first().is_some_and(u8::is_ascii_alphabetic) || !name.iter().all(|&b| is_token(b)) {
        return Err(malformed());
    }
    let bad_value = || CodecError::HeaderValue { at: extract(text) };
    let repeated = || CodecError::Repeated { at: extract(text) };
    // Lengths first: most lines are settled by one comparison.
    match name.len() {
        7 if name.eq_ignore_ascii_case(b"To-Path") => {
            return Err(CodecError::Paths { at: extract(text) });
        }
        9 if name.eq_ignore_ascii_case(b"From-Path") => {
            return Err(CodecError::Paths { at: extract(text) });
        }
        10 if name.eq_ignore_ascii_case(b"Message-ID") => {
            if value.is_empty() {
                return Err(bad_value());
            }
            if head.message_id.replace(value).is_some() {
                return Err(repeated());
            }
        }
        10 if name.eq_ignore_ascii_case(b"Byte-Range") => {
            let range = ByteRange::parse(value).ok_or_else(bad_value)?;
            if head.byte_range.replace(range).is_some() {
                return Err(repeated());
            }
        }
        14 if name.eq_ignore_ascii_case(b"Failure-Report") => {
            let word = match value {
                v if v.eq_ignore_ascii_case(b"yes") => FailureReport::Yes,
                v if v.eq_ignore_ascii_case(b"partial") => FailureReport::Partial,
                v if v.eq_ignore_ascii_case(b"no") => FailureReport::No,
                _ => return Err(bad_value()),
            };
            if head.failure_report.replace(word).is_some() {
                return Err(repeated());
            }
        }
        14 if name.eq_ignore_ascii_case(b"Success-Report") => {
            head.success_report = match value {
                v if v.eq_ignore_ascii_case(b"yes") => true,
                v if v.eq_ignore_ascii_case(b"no") => false,
                _ => return Err(bad_value()),
            };
            if std::mem::replace(success_seen, true) {
                return Err(repeated());
            }
        }
        6 if name.eq_ignore_ascii_case(b"Status") => {
            if !is_status(value) {
                return Err(bad_value());
            }
            if head.status.replace(value).is_some() {
                return Err(repeated());
            }
        }
        _ => {}
    }
    Ok(())
}

/// `namespace SP 3DIGIT [SP comment]`, the namespace being three digits.
fn is_status(value: &[u8]) -> bool {
    value.len() >= 7
        && value[..3].iter().all(u8::is_ascii_digit)
        && value[3] == b' '
        && value[4..7].iter().all(u8::is_ascii_digit)
        && (value.len() == 7 || value[7] == b' ')
}

fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`{|}~".contains(&b)
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    digits.iter().try_fold(0_u64, |n, &d| {
        d.is_ascii_digit().then(|| n * 10 + u64::from(d - b'0'))
    })
}

fn number_or_star(text: &[u8]) -> Option<Option<u64>> {
    match text {
        b"*" => Some(None),
        _ => number(text).map(Some),
    }
}
