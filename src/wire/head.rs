//! A head that was read: start line and headers of one message, as slices of the octets that came in.

use bytes::Bytes;

use super::{
    byte_range::ByteRange,
    error::HeadFault,
    header_name::HeaderName,
    path::Path,
    report_headers::{FailureReport, Status},
    start_line::{Kind, Method, PROTOCOL, StartLine},
    text::decimal,
};

/// Where the header lines stand, in order.
pub(super) type Lines = Vec<HeaderLine>;

/// Where a header line stands in the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeaderLine {
    pub(super) name: HeaderName,
    pub(super) start: u16,
    /// Where the colon is.
    pub(super) colon: u16,
    /// The value, without blanks at both ends.
    pub(super) value: (u16, u16),
    /// End of the line, with its CRLF.
    pub(super) end: u16,
}

/// Start line and headers of one message.
///
/// What a head with a [`fault`](Self::fault) says may be incomplete: then only [`kind`](Self::kind) and
/// [`transact_id`](Self::transact_id) can be relied on, and the paths if [`paths_readable`](Self::paths_readable).
///
/// It may share the memory of the octets that were pushed: keep a [`Template`](super::Template), not a head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head(pub(super) Box<Fields>);

/// What a head consists of; apart, for a head is moved often, and few connections are within a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    /// From the start line to the CRLF of the last header; neither blank line nor end-line.
    pub(super) raw: Bytes,
    pub(super) start: StartLine,
    /// Where the CRLF of the start line ends.
    pub(super) headers_at: u16,
    pub(super) lines: Lines,
    pub(super) facts: Facts,
    pub(super) blank_line: bool,
}

/// What was learned while reading the header lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) fault: Option<HeadFault>,
    pub(super) byte_range: Option<ByteRange>,
    pub(super) failure_report: FailureReport,
    pub(super) success_report: bool,
    pub(super) paths_readable: bool,
    /// All headers but the paths already stand as we would write them (SYN-04, SYN-06, SYN-15).
    pub(super) in_our_form: bool,
}

impl Head {
    /// Request or response.
    pub fn kind(&self) -> Kind {
        self.0.start.kind
    }

    /// The method, if this is a request.
    pub fn method(&self) -> Option<Method> {
        match self.0.start.kind {
            Kind::Request(method) => Some(method),
            Kind::Response { .. } => None,
        }
    }

    /// The transact-id as received.
    pub fn transact_id(&self) -> &[u8] {
        &self.0.raw[PROTOCOL.len()..PROTOCOL.len() + usize::from(self.0.start.tid_len)]
    }

    /// The method's name; empty for a response.
    pub fn method_text(&self) -> &[u8] {
        match self.0.start.kind {
            Kind::Request(_) => self.start_line_rest(),
            Kind::Response { .. } => &[],
        }
    }

    /// The comment of a response.
    pub fn comment(&self) -> Option<&[u8]> {
        match self.0.start.kind {
            Kind::Request(_) => None,
            Kind::Response { .. } => self.start_line_rest().get(4..).filter(|c| !c.is_empty()),
        }
    }

    /// To-Path; a path of no URIs where there is none.
    pub fn to_path(&self) -> Path<'_> {
        Path::new(self.value(HeaderName::ToPath).unwrap_or_default())
    }

    /// From-Path; a path of no URIs where there is none.
    pub fn from_path(&self) -> Path<'_> {
        Path::new(self.value(HeaderName::FromPath).unwrap_or_default())
    }

    /// Message-ID as received.
    pub fn message_id(&self) -> Option<&[u8]> {
        self.value(HeaderName::MessageId)
    }

    /// Byte-Range, where there is one and it parses.
    pub fn byte_range(&self) -> Option<ByteRange> {
        self.0.facts.byte_range
    }

    /// Failure-Report; yes where it is absent.
    pub fn failure_report(&self) -> FailureReport {
        self.0.facts.failure_report
    }

    /// Success-Report; no where it is absent.
    pub fn success_report(&self) -> bool {
        self.0.facts.success_report
    }

    /// Expires in seconds; more than a `u32` holds counts as its largest number.
    pub fn expires(&self) -> Option<u32> {
        parse_expires(self.value(HeaderName::Expires)?)
    }

    /// Authorization.
    pub fn authorization(&self) -> Option<&[u8]> {
        self.value(HeaderName::Authorization)
    }

    /// All WWW-Authenticate, in order.
    pub fn www_authenticate(&self) -> impl Iterator<Item = &[u8]> {
        self.0
            .lines
            .iter()
            .filter(|line| line.name == HeaderName::WwwAuthenticate)
            .map(|line| self.slice(line.value))
    }

    /// Authentication-Info.
    pub fn authentication_info(&self) -> Option<&[u8]> {
        self.value(HeaderName::AuthenticationInfo)
    }

    /// Use-Path.
    pub fn use_path(&self) -> Option<&[u8]> {
        self.value(HeaderName::UsePath)
    }

    /// Content-Type.
    pub fn content_type(&self) -> Option<&[u8]> {
        self.value(HeaderName::ContentType)
    }

    /// Status of a REPORT.
    pub fn status(&self) -> Option<Status<'_>> {
        Status::parse(self.value(HeaderName::Status)?)
    }

    /// The value of the first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers()
            .find(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// All headers in order, names as received, values without blanks at both ends.
    pub fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0
            .lines
            .iter()
            .map(|line| (self.slice((line.start, line.colon)), self.slice(line.value)))
    }

    /// Whether a blank line follows, and so a body, be it empty (SYN-13); without it the message is bodiless (SYN-12).
    pub fn has_blank_line(&self) -> bool {
        self.0.blank_line
    }

    /// What is wrong with this head, if anything: the first thing in reading order.
    pub fn fault(&self) -> Option<HeadFault> {
        self.0.facts.fault
    }

    /// Whether a response to this head can be addressed: there is one To-Path and one From-Path, wherever they stand
    /// (SYN-03), every From-Path URI parses, and the To-Path can at least be told into URIs of visible ASCII (a URI of it
    /// may break the grammar: that is a [`fault`](Self::fault) to answer with 400, SYN-19).
    pub fn paths_readable(&self) -> bool {
        self.0.facts.paths_readable
    }

    /// Octets of the head on the wire, less blank line and end-line.
    pub fn octets(&self) -> usize {
        self.0.raw.len()
    }

    /// The same head, which keeps none of the memory alive that the octets came in: for one that waits.
    #[must_use]
    pub fn into_own_memory(mut self) -> Self {
        self.0.raw = Bytes::copy_from_slice(&self.0.raw);
        self.0.lines.shrink_to_fit();
        self
    }

    /// Octets that a head in [its own memory](Self::into_own_memory) takes.
    pub fn memory(&self) -> usize {
        size_of::<Fields>() + self.0.raw.len() + self.0.lines.len() * size_of::<HeaderLine>()
    }

    /// Header lines, the paths among them.
    pub fn header_lines(&self) -> usize {
        self.0.lines.len()
    }

    /// Method, or code with comment, as received, but for a blank behind it.
    pub(super) fn start_line_rest(&self) -> &[u8] {
        self.slice((self.0.start.rest, self.0.start.end))
    }

    pub(super) fn slice(&self, (start, end): (u16, u16)) -> &[u8] {
        &self.0.raw[usize::from(start)..usize::from(end)]
    }

    pub(super) fn value(&self, name: HeaderName) -> Option<&[u8]> {
        let line = self.0.lines.iter().find(|line| line.name == name)?;
        Some(self.slice(line.value))
    }
}

/// Reads Expires (RFC 4976 §7); a number of any length is one, and the largest we can tell is far beyond any limit.
pub(super) fn parse_expires(value: &[u8]) -> Option<u32> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    is_number
        .then(|| decimal(value, u64::from(u32::MAX)).map_or(u32::MAX, |seconds| seconds as u32))
}
