//! Reads a head line by line, as far as octets are there (RFC 4975 §9).
//!
//! Each octet is looked at a fixed number of times, however the head was cut. A line ends with CRLF and with
//! nothing else: a bare LF is a control octet inside a line (SYN-08).

use bytes::Bytes;

use super::{
    byte_range::ByteRange,
    decoder::DecoderLimits,
    end_line::{Flag, HYPHENS, end_line},
    error::{DecodeError, Excerpt, HeadFault},
    head::{Facts, Fields, Head, HeaderLine, Lines, parse_expires},
    header_name::HeaderName,
    known_heads::KnownHeads,
    report_headers::{FailureReport, Status, parse_success_report},
    start_line::{Kind, Method, PROTOCOL, StartLine},
    text::{TOKEN, all, is_control, is_printable_ascii, trimmed},
    uri::Uri,
};

/// A head of which some lines have been read.
#[derive(Debug)]
pub(super) struct HeadParser {
    start: Option<StartLine>,
    headers_at: usize,
    /// Where the line that is being read begins.
    line_at: usize,
    /// Up to here no end of that line was found.
    scanned: usize,
    lines: Lines,
    facts: Facts,
    /// Names that have occurred.
    seen: u32,
    paths_repeated: bool,
    to_path_splits: bool,
    from_path_parses: bool,
    /// There are other blanks between URIs than one SP.
    spaced: bool,
}

/// How far a head has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Octets are missing.
    NeedMore,
    /// The head is complete.
    Complete {
        /// Octets from the start line to the CRLF of the last header.
        head_len: usize,
        /// Octets with the blank line or the end-line.
        taken: usize,
        /// The flag, where the end-line follows at once: a bodiless message.
        end: Option<Flag>,
    },
    /// It is too long, and only its beginning counts; the rest is to be read past.
    TooLong {
        /// Octets from the start line to the CRLF of the last header that counts.
        head_len: usize,
        /// Whether a line begins there.
        at_line: bool,
    },
}

impl HeadParser {
    pub(super) fn new() -> Self {
        Self {
            start: None,
            headers_at: 0,
            line_at: 0,
            scanned: 0,
            // What clients send has up to nine.
            lines: Lines::with_capacity(10),
            facts: Facts {
                fault: None,
                byte_range: None,
                failure_report: FailureReport::default(),
                success_report: false,
                paths_readable: false,
                in_our_form: true,
            },
            seen: 0,
            paths_repeated: false,
            to_path_splits: false,
            from_path_parses: false,
            spaced: false,
        }
    }

    /// Reads on. `octets` begin with the head's first octet and hold all that was given before.
    pub(super) fn read(
        &mut self,
        octets: &[u8],
        limits: &DecoderLimits,
        known: &KnownHeads,
    ) -> Result<Progress, DecodeError> {
        if self.start.is_none() {
            // Other protocols are told by their first octets: they may never send a line end.
            let differs = octets
                .iter()
                .zip(PROTOCOL)
                .position(|(one, other)| one != other);
            if let Some(at) = differs {
                return Err(DecodeError::NotMsrp(Excerpt::of(&octets[..=at])));
            }
        }
        while let Some(found) = memchr::memchr(b'\n', &octets[self.scanned..]) {
            let lf = self.scanned + found;
            if let Some(error) = self.too_long(lf + 1, limits) {
                return self.past(octets, error, limits);
            }
            self.scanned = lf + 1;
            if lf == self.line_at || octets[lf - 1] != b'\r' {
                self.fault(HeadFault::ControlOctet);
                continue;
            }
            let line_at = std::mem::replace(&mut self.line_at, lf + 1);
            let line = &octets[line_at..lf - 1];
            let Some(start) = self.start else {
                self.start_line(line, limits)?;
                continue;
            };
            let end = match line.first() {
                None => None,
                Some(b'-') if line.starts_with(HYPHENS) => {
                    let tid = &octets[PROTOCOL.len()..][..usize::from(start.tid_len)];
                    let flag = end_line(line, tid);
                    if flag.is_none() {
                        self.header_line(octets, line_at, lf - 1, limits, known);
                        continue;
                    }
                    flag
                }
                Some(_) => {
                    self.header_line(octets, line_at, lf - 1, limits, known);
                    continue;
                }
            };
            return Ok(Progress::Complete {
                head_len: line_at,
                taken: lf + 1,
                end,
            });
        }
        self.scanned = octets.len();
        match self.too_long(octets.len(), limits) {
            Some(error) => self.past(octets, error, limits),
            None => Ok(Progress::NeedMore),
        }
    }

    /// Makes the head, once it is complete; `raw` are its octets up to the CRLF of the last header.
    pub(super) fn finish(mut self, mut raw: Bytes, blank_line: bool) -> Head {
        let start = self.start.expect("a complete head has a start line");
        let in_place = |at: usize, name| self.lines.get(at).is_some_and(|line| line.name == name);
        if !in_place(0, HeaderName::ToPath) || !in_place(1, HeaderName::FromPath) {
            self.fault(HeadFault::PathMisplaced);
        }
        self.facts.paths_readable =
            !self.paths_repeated && self.to_path_splits && self.from_path_parses;
        if self.spaced {
            raw = space_by_one(&raw, &mut self.lines);
        }
        let is_send = start.kind == Kind::Request(Method::Send);
        if is_send && self.seen & HeaderName::MessageId.bit() == 0 {
            self.fault(HeadFault::MessageIdMissing);
        }
        Head(Box::new(Fields {
            raw,
            start,
            headers_at: self.headers_at as u16,
            lines: self.lines,
            facts: self.facts,
            blank_line,
        }))
    }

    /// The lower bound is the one that is named, however many octets come at once (SYN-09).
    fn too_long(&self, octets: usize, limits: &DecoderLimits) -> Option<DecodeError> {
        let start_line_max = limits.start_line_octets_max();
        if self.start.is_none()
            && octets > start_line_max
            && start_line_max <= limits.head_octets_max
        {
            return Some(DecodeError::StartLineTooLong {
                octets_max: start_line_max,
            });
        }
        (octets > limits.head_octets_max).then_some(DecodeError::HeadTooLong {
            octets_max: limits.head_octets_max,
        })
    }

    /// The rest of the head is not kept. Where the transact-id is known, its end can still be told.
    fn past(
        &mut self,
        octets: &[u8],
        error: DecodeError,
        limits: &DecoderLimits,
    ) -> Result<Progress, DecodeError> {
        if !limits.keeps_framing {
            return Err(error);
        }
        let at_line = self.start.is_some();
        if !at_line {
            let start = StartLine::of_past(octets).ok_or(error)?;
            self.line_at = usize::from(start.rest);
            self.headers_at = self.line_at;
            self.start = Some(start);
        }
        self.fault(HeadFault::TooLong);
        Ok(Progress::TooLong {
            head_len: self.line_at,
            at_line,
        })
    }

    fn fault(&mut self, fault: HeadFault) {
        self.facts.fault.get_or_insert(fault);
    }

    fn start_line(&mut self, line: &[u8], limits: &DecoderLimits) -> Result<(), DecodeError> {
        let start = match StartLine::parse(line) {
            Err(error @ DecodeError::StartLine(_)) if limits.keeps_framing => {
                self.fault(HeadFault::StartLineIllegal);
                StartLine::of_past(line).ok_or(error)?
            }
            start => start?,
        };
        self.start = Some(start);
        self.headers_at = self.line_at;
        self.check_text(line);
        Ok(())
    }

    /// Whether the line is `utf8text` (SYN-08).
    fn check_text(&mut self, line: &[u8]) -> bool {
        if is_printable_ascii(line) {
            return true;
        }
        if line.iter().any(|&octet| is_control(octet)) {
            self.fault(HeadFault::ControlOctet);
            return false;
        }
        if std::str::from_utf8(line).is_err() {
            self.fault(HeadFault::NotUtf8);
            return false;
        }
        true
    }

    fn header_line(
        &mut self,
        octets: &[u8],
        start: usize,
        end: usize,
        limits: &DecoderLimits,
        known: &KnownHeads,
    ) {
        if self.lines.len() >= limits.header_lines_max {
            return self.fault(HeadFault::TooManyHeaders);
        }
        let line = &octets[start..end];
        let is_text = self.check_text(line);
        if matches!(line[0], b' ' | b'\t') {
            return self.fault(HeadFault::LineFolded);
        }
        let Some(colon) = memchr::memchr(b':', line) else {
            return self.fault(HeadFault::ColonMissing);
        };
        let name = HeaderName::classify(&line[..colon]);
        // Names that are known are legal.
        let is_name = || line[0].is_ascii_alphabetic() && all(&line[..colon], TOKEN);
        if name.canonical().is_none() && !is_name() {
            return self.fault(HeadFault::NameIllegal);
        }
        let (from, to) = trimmed(&line[colon + 1..]);
        let value = &line[colon + 1..][from..to];
        self.lines.push(HeaderLine {
            name,
            start: start as u16,
            colon: (start + colon) as u16,
            value: (
                (start + colon + 1 + from) as u16,
                (start + colon + 1 + to) as u16,
            ),
            end: (end + 2) as u16,
        });
        self.note_form(name, line, colon, from, to);
        let repeated = self.seen & name.bit() != 0;
        if repeated && name.is_single() {
            self.paths_repeated |= matches!(name, HeaderName::ToPath | HeaderName::FromPath);
            self.fault(HeadFault::Repeated(name));
        }
        self.seen |= name.bit();
        if is_text {
            self.header_value(name, value, limits, known);
        }
    }

    /// Notes whether the line, and its place, are as we would write them.
    fn note_form(&mut self, name: HeaderName, line: &[u8], colon: usize, from: usize, to: usize) {
        const MIME: u32 = 1 << HeaderName::ContentType as u32
            | 1 << HeaderName::ContentId as u32
            | 1 << HeaderName::ContentDescription as u32
            | 1 << HeaderName::ContentDisposition as u32
            | 1 << HeaderName::OtherMime as u32;
        let in_place = if name.is_mime() {
            self.seen & HeaderName::ContentType.bit() == 0
        } else {
            self.seen & MIME == 0
        };
        // Paths are written anew in any case.
        let spelled = match name {
            HeaderName::ToPath | HeaderName::FromPath => true,
            _ => name.canonical().is_none_or(|canonical| {
                canonical.as_bytes() == &line[..colon]
                    && from == 1
                    && line[colon + 1] == b' '
                    && colon + 1 + to == line.len()
            }),
        };
        self.facts.in_our_form &= in_place && spelled;
    }

    /// Reads the value of a known header.
    fn header_value(
        &mut self,
        name: HeaderName,
        value: &[u8],
        limits: &DecoderLimits,
        known: &KnownHeads,
    ) {
        let legal = match name {
            HeaderName::ToPath | HeaderName::FromPath => {
                return self.path(name, value, limits, known);
            }
            HeaderName::MessageId => !value.is_empty(),
            HeaderName::ByteRange => {
                self.facts.byte_range = ByteRange::parse(value);
                self.facts.byte_range.is_some()
            }
            HeaderName::FailureReport => {
                let parsed = FailureReport::parse(value);
                self.facts.failure_report = parsed.unwrap_or_default();
                parsed.is_some()
            }
            HeaderName::SuccessReport => {
                let parsed = parse_success_report(value);
                self.facts.success_report = parsed.unwrap_or_default();
                parsed.is_some()
            }
            HeaderName::Status => Status::parse(value).is_some(),
            HeaderName::Expires | HeaderName::MinExpires | HeaderName::MaxExpires => {
                parse_expires(value).is_some()
            }
            _ => true,
        };
        if !legal {
            self.fault(HeadFault::ValueIllegal(name));
        }
    }

    fn path(&mut self, name: HeaderName, value: &[u8], limits: &DecoderLimits, known: &KnownHeads) {
        let kind = self.start.expect("headers follow a start line").kind;
        if known.has_path(kind, name, value) {
            return self.path_splits(name, true);
        }
        let mut count = 0;
        let mut error = None;
        for uri in value.split(|octet| matches!(octet, b' ' | b'\t')) {
            // Deployed senders separate URIs by several blanks, or by a tab (SYN-03).
            if uri.is_empty() {
                self.spaced = true;
                continue;
            }
            count += 1;
            // Read on: the refusal needs the paths, and the head is bounded anyway.
            if count == limits.uris_per_path_max.saturating_add(1) {
                self.fault(HeadFault::TooManyUris);
            }
            if let Err(wrong) = Uri::parse(uri) {
                if !is_printable_ascii(uri) {
                    return self.fault(HeadFault::PathIllegal(name));
                }
                error.get_or_insert(wrong);
            }
        }
        if count == 0 {
            return self.fault(HeadFault::PathIllegal(name));
        }
        self.spaced |= memchr::memchr(b'\t', value).is_some();
        if let Some(error) = error {
            self.fault(HeadFault::UriIllegal(error));
        }
        self.path_splits(name, error.is_none());
    }

    /// The path is one of URIs; whether each of them `parses` matters for From-Path.
    fn path_splits(&mut self, name: HeaderName, parses: bool) {
        match name {
            HeaderName::ToPath => self.to_path_splits = true,
            _ => self.from_path_parses = parses,
        }
    }
}

/// The head with one SP between the URIs of its paths, which is how they leave (SYN-03).
fn space_by_one(raw: &[u8], lines: &mut Lines) -> Bytes {
    let mut octets = Vec::with_capacity(raw.len());
    let mut copied = 0;
    for line in lines {
        octets.extend_from_slice(&raw[copied..usize::from(line.start)]);
        let moved = usize::from(line.start) - octets.len();
        let moved_by = |at: u16| at - moved as u16;
        let (from, to) = (usize::from(line.value.0), usize::from(line.value.1));
        octets.extend_from_slice(&raw[usize::from(line.start)..from]);
        line.start = moved_by(line.start);
        line.colon = moved_by(line.colon);
        line.value.0 = octets.len() as u16;
        match line.name {
            HeaderName::ToPath | HeaderName::FromPath => {
                let blank = |octet: &u8| matches!(octet, b' ' | b'\t');
                let uris = raw[from..to].split(blank).filter(|uri| !uri.is_empty());
                for (number, uri) in uris.enumerate() {
                    if number > 0 {
                        octets.push(b' ');
                    }
                    octets.extend_from_slice(uri);
                }
            }
            _ => octets.extend_from_slice(&raw[from..to]),
        }
        line.value.1 = octets.len() as u16;
        copied = usize::from(line.end);
        octets.extend_from_slice(&raw[to..copied]);
        line.end = octets.len() as u16;
    }
    octets.extend_from_slice(&raw[copied..]);
    octets.into()
}
