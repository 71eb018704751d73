//! Start line and headers of one message, in place (RFC 4975 §9), with all that is checked about
//! them: SYN-01 to SYN-03, SYN-07, SYN-08, SYN-21.

use super::error::{CodecError, extract};

/// The longest transact-id (RFC 4975 §9).
pub(super) const TID_OCTETS_MAX: usize = 64;
/// Of a request: the grammar has no longer one.
const REQUEST_TID_OCTETS_MAX: usize = 32;

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

pub(super) fn parse_head(input: &[u8]) -> Result<Option<(Head<'_>, usize)>, CodecError> {
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
    let is_response = rest.first().is_some_and(u8::is_ascii_digit);
    // A response has the transact-id of the request that it answers, which may have been an odd one (D-43).
    let legal = match is_response {
        true => is_odd_tid(tid),
        false => is_tid(tid),
    };
    if !legal {
        return Err(CodecError::TransactId { at: extract(start) });
    }
    if is_response {
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
    tid.len() <= REQUEST_TID_OCTETS_MAX && !tid.contains(&b'_') && is_odd_tid(tid)
}

/// D-43: longer than the grammar has it, or with underscores.
fn is_odd_tid(tid: &[u8]) -> bool {
    (4..=TID_OCTETS_MAX).contains(&tid.len())
        && tid[0].is_ascii_alphanumeric()
        && tid.iter().all(|&b| {
            b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+' | b'%' | b'=' | b'_')
        })
}

/// SYN-03: the line must be this path header, with URIs one space apart.
fn path_value<'a>(line: &'a [u8], name: &[u8]) -> Result<&'a [u8], CodecError> {
    let value = line
        .strip_prefix(name)
        .ok_or_else(|| CodecError::Paths { at: extract(line) })?;
    let spaced = value.first().is_some_and(|&b| b != b' ')
        && value.last() != Some(&b' ')
        && !value.windows(2).any(|pair| pair == b"  ")
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
