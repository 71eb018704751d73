//! What can be wrong with octets that claim to be MSRP.

use std::fmt;

/// A violation of RFC 4975 §9 in what was received. `at` fields hold a shortened, escaped extract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CodecError {
    /// The start line is no request and no response line (SYN-01).
    StartLine { at: String },
    /// The transact-id has a wrong length or a character that is not allowed (SYN-02).
    TransactId { at: String },
    /// To-Path is not the first or From-Path not the second header, or one is repeated (SYN-03).
    Paths { at: String },
    /// A URI in a path does not fit the grammar (SYN-19).
    Uri { at: String },
    /// A header line without colon, with a bad name, folded, or with control characters (SYN-07, SYN-08).
    HeaderLine { at: String },
    /// A header that is known carries a value that does not parse (SYN-21).
    HeaderValue { at: String },
    /// A header that may stand once stands twice (SYN-21).
    Repeated { at: String },
    /// A response or a request other than SEND ends with `+` or `#` (SYN-18).
    Flag { at: String },
    /// The head has grown past what this reader accepts.
    HeadTooLong { octets: usize },
    /// The body is larger than the reader was told to collect.
    BodyTooLong { octets: usize },
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StartLine { at } => write!(f, "no MSRP start line (SYN-01): {at}"),
            Self::TransactId { at } => write!(f, "illegal transact-id (SYN-02): {at}"),
            Self::Paths { at } => write!(
                f,
                "To-Path and From-Path must be the first two headers, once each (SYN-03): {at}"
            ),
            Self::Uri { at } => write!(f, "illegal MSRP URI (SYN-19): {at}"),
            Self::HeaderLine { at } => write!(f, "malformed header line (SYN-07, SYN-08): {at}"),
            Self::HeaderValue { at } => write!(f, "malformed header value (SYN-21): {at}"),
            Self::Repeated { at } => write!(f, "repeated header (SYN-21): {at}"),
            Self::Flag { at } => write!(f, "only SEND may be chunked (SYN-18): {at}"),
            Self::HeadTooLong { octets } => write!(f, "head of more than {octets} octets"),
            Self::BodyTooLong { octets } => write!(f, "body of more than {octets} octets"),
        }
    }
}

impl std::error::Error for CodecError {}

/// An extract for an error message: escaped, at most 400 octets of the input.
pub(crate) fn extract(octets: &[u8]) -> String {
    octets[..octets.len().min(400)].escape_ascii().to_string()
}
