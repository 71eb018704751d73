//! What can be wrong with octets that came in: framing that is lost, and heads that are malformed yet framable.
//!
//! A [`DecodeError`] ends the connection (SYN-22). A [`HeadFault`] leaves the stream in step, and the relay
//! answers it where an answer is due (SYN-23).

use std::{error, fmt};

use super::{header_name::HeaderName, uri::UriError};

/// Framing is lost, for good; the octets named were wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// What should begin a message does not begin with `MSRP` and a space.
    NotMsrp(Excerpt),
    /// The start line is neither that of a request nor that of a response (SYN-01).
    StartLine(Excerpt),
    /// The transact-id breaks RFC 4975 §9 (SYN-02), so that no end-line can be told.
    TransactId(Excerpt),
    /// No line end within the longest start line that is read.
    StartLineTooLong {
        /// The limit.
        octets_max: usize,
    },
    /// No end of the head within the longest head that is read (SYN-25).
    HeadTooLong {
        /// The limit.
        octets_max: usize,
    },
    /// A transport that frames messages gave other than exactly one MSRP message in one of its own (RFC 7977 §5.1).
    NotOneMessage,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotMsrp(octets) => write!(f, "message begins with \"{octets}\", not \"MSRP \""),
            Self::StartLine(octets) => write!(f, "start line \"{octets}\" is unreadable"),
            Self::TransactId(octets) => write!(f, "transact-id \"{octets}\" is illegal"),
            Self::StartLineTooLong { octets_max } => {
                write!(f, "start line is longer than {octets_max} octets")
            }
            Self::HeadTooLong { octets_max } => {
                write!(f, "head is longer than {octets_max} octets")
            }
            Self::NotOneMessage => {
                f.write_str("a message of the transport does not hold exactly one MSRP message")
            }
        }
    }
}

impl error::Error for DecodeError {}

impl DecodeError {
    /// Where it stands how it should be.
    pub fn section(&self) -> &'static str {
        match self {
            Self::NotMsrp(_) | Self::StartLine(_) | Self::StartLineTooLong { .. } => "RFC 4975 §9",
            Self::TransactId(_) => "RFC 4975 §7.1, §9",
            Self::HeadTooLong { .. } => "limits.head_octets",
            Self::NotOneMessage => "RFC 7977 §5.1",
        }
    }
}

impl HeadFault {
    /// Where it stands how it should be: an RFC's section, or the relay's own limit.
    pub fn section(&self) -> &'static str {
        match self {
            Self::TooLong => "limits.head_octets",
            Self::TooManyHeaders => "limits.header_lines",
            Self::TooManyUris => "limits.uris_per_path",
            Self::UriIllegal(_) => "RFC 4975 §6, §9",
            Self::MessageIdMissing => "RFC 4975 §7.1.1",
            Self::PathMisplaced | Self::PathIllegal(_) => "RFC 4975 §7.1, §9",
            Self::ValueIllegal(name) | Self::Repeated(name) => name.section(),
            Self::StartLineIllegal
            | Self::LineFolded
            | Self::ColonMissing
            | Self::NameIllegal
            | Self::ControlOctet
            | Self::NotUtf8 => "RFC 4975 §9",
        }
    }
}

/// The first octets of something wrong, for logs; shown with escapes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Excerpt {
    octets: [u8; Self::OCTETS_MAX],
    len: u8,
}

impl Excerpt {
    /// Enough for an illegal transact-id and to recognise another protocol.
    pub const OCTETS_MAX: usize = 40;

    /// Takes at most the first [`Self::OCTETS_MAX`] octets.
    pub fn of(octets: &[u8]) -> Self {
        let len = octets.len().min(Self::OCTETS_MAX);
        let mut kept = [0; Self::OCTETS_MAX];
        kept[..len].copy_from_slice(&octets[..len]);
        Self {
            octets: kept,
            len: len as u8,
        }
    }

    /// The same of two pieces, one behind the other.
    pub(super) fn of_both(first: &[u8], second: &[u8]) -> Self {
        let mut excerpt = Self::of(first);
        let from = usize::from(excerpt.len);
        let more = second.len().min(Self::OCTETS_MAX - from);
        excerpt.octets[from..from + more].copy_from_slice(&second[..more]);
        excerpt.len += more as u8;
        excerpt
    }

    /// The octets as they came.
    pub fn as_bytes(&self) -> &[u8] {
        &self.octets[..usize::from(self.len)]
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().escape_ascii().fmt(f)
    }
}

impl fmt::Debug for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// The first thing that is wrong with a head whose message can still be framed to its end-line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadFault {
    /// Longer than what is read (SYN-25), on a connection whose framing is kept all the same.
    TooLong,
    /// Neither that of a request nor that of a response (SYN-01), on such a connection.
    StartLineIllegal,
    /// To-Path is not the first header or From-Path not the second (SYN-03).
    PathMisplaced,
    /// A header line begins with SP or HTAB: folding, which MSRP does not have (SYN-07).
    LineFolded,
    /// A header line has no colon (SYN-07).
    ColonMissing,
    /// A header name holds something other than token characters, or none (SYN-07).
    NameIllegal,
    /// A bare CR, a bare LF, a NUL or another control in the head (SYN-08).
    ControlOctet,
    /// The head's text is not UTF-8 (SYN-08).
    NotUtf8,
    /// A header that may occur once occurs again (SYN-03, SYN-21).
    Repeated(HeaderName),
    /// A known header whose value does not parse (SYN-21).
    ValueIllegal(HeaderName),
    /// A path holds no URI, or something other than visible ASCII and blanks between URIs.
    PathIllegal(HeaderName),
    /// A URI of a path breaks the grammar (SYN-19).
    UriIllegal(UriError),
    /// A SEND without Message-ID (SYN-21).
    MessageIdMissing,
    /// More header lines than the limit (SYN-25).
    TooManyHeaders,
    /// More URIs in a path than the limit (SYN-25).
    TooManyUris,
}

impl fmt::Display for HeadFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => f.write_str("head is too long"),
            Self::StartLineIllegal => f.write_str("start line is unreadable"),
            Self::PathMisplaced => {
                f.write_str("To-Path is not the first header or From-Path not the second")
            }
            Self::LineFolded => f.write_str("header line is folded"),
            Self::ColonMissing => f.write_str("header line has no colon"),
            Self::NameIllegal => f.write_str("header name is illegal"),
            Self::ControlOctet => f.write_str("control octet in the head"),
            Self::NotUtf8 => f.write_str("head is not UTF-8"),
            Self::Repeated(name) => write!(f, "{name} is repeated"),
            Self::ValueIllegal(name) => write!(f, "{name} does not parse"),
            Self::PathIllegal(name) => write!(f, "{name} is not URIs separated by blanks"),
            Self::UriIllegal(error) => write!(f, "URI in a path: {error}"),
            Self::MessageIdMissing => f.write_str("SEND has no Message-ID"),
            Self::TooManyHeaders => f.write_str("too many header lines"),
            Self::TooManyUris => f.write_str("too many URIs in a path"),
        }
    }
}
