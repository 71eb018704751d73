//! Names of header fields: which ones the relay knows, how the RFCs spell them, which may occur only once.
//!
//! RFC 4975 §9, RFC 4976 §7. Names match in any case and are emitted in the RFC's case (SYN-04).

use std::fmt;

/// A header field by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum HeaderName {
    /// RFC 4975 §9.
    ToPath,
    /// RFC 4975 §9.
    FromPath,
    /// RFC 4975 §9.
    MessageId,
    /// RFC 4975 §9.
    SuccessReport,
    /// RFC 4975 §9.
    FailureReport,
    /// RFC 4975 §9.
    ByteRange,
    /// RFC 4975 §9.
    Status,
    /// RFC 4976 §7.
    Expires,
    /// RFC 4976 §7.
    MinExpires,
    /// RFC 4976 §7.
    MaxExpires,
    /// RFC 4976 §7.
    UsePath,
    /// RFC 4976 §7; the only known one that may be repeated, one per algorithm.
    WwwAuthenticate,
    /// RFC 4976 §7.
    Authorization,
    /// RFC 4976 §7.
    AuthenticationInfo,
    /// RFC 4975 §9, `content-stuff`: the last header of a request with a body.
    ContentType,
    /// RFC 4975 §9, `content-stuff`.
    ContentId,
    /// RFC 4975 §9, `content-stuff`.
    ContentDescription,
    /// RFC 4975 §9, `content-stuff`.
    ContentDisposition,
    /// Any other `Content-` field: `mime-extension-field`.
    OtherMime,
    /// Any other: `ext-header`.
    Extension,
}

impl HeaderName {
    /// Recognises a name in any case.
    pub(super) fn classify(name: &[u8]) -> Self {
        let candidate = match name.len() {
            6 => Self::Status,
            7 if name[0] | 0x20 == b't' => Self::ToPath,
            7 => Self::Expires,
            8 => Self::UsePath,
            9 => Self::FromPath,
            10 if name[0] | 0x20 == b'm' => Self::MessageId,
            10 if name[0] | 0x20 == b'c' => Self::ContentId,
            10 => Self::ByteRange,
            11 if name[1] | 0x20 == b'i' => Self::MinExpires,
            11 => Self::MaxExpires,
            12 => Self::ContentType,
            13 => Self::Authorization,
            14 if name[0] | 0x20 == b's' => Self::SuccessReport,
            14 => Self::FailureReport,
            16 => Self::WwwAuthenticate,
            19 if name[0] | 0x20 == b'a' => Self::AuthenticationInfo,
            19 if name[8] | 0x20 == b'd' && name[9] | 0x20 == b'e' => Self::ContentDescription,
            19 => Self::ContentDisposition,
            _ => Self::Extension,
        };
        match candidate.canonical() {
            // Nearly always the spelling is the RFC's, and equality is much cheaper.
            Some(text) if name == text.as_bytes() || name.eq_ignore_ascii_case(text.as_bytes()) => {
                candidate
            }
            _ if name.len() > 8 && name[..8].eq_ignore_ascii_case(b"content-") => Self::OtherMime,
            _ => Self::Extension,
        }
    }

    /// Where it stands what its value looks like.
    pub(super) fn section(self) -> &'static str {
        match self {
            Self::ByteRange | Self::MessageId | Self::SuccessReport | Self::FailureReport => {
                "RFC 4975 §7.1.1, §9"
            }
            Self::Status => "RFC 4975 §7.1.2, §9",
            Self::Expires | Self::MinExpires | Self::MaxExpires => "RFC 4976 §5.1, §7",
            Self::UsePath | Self::WwwAuthenticate => "RFC 4976 §7",
            Self::Authorization | Self::AuthenticationInfo => "RFC 4976 §7, §9.1",
            Self::ToPath | Self::FromPath => "RFC 4975 §7.1, §9",
            _ => "RFC 4975 §9",
        }
    }

    /// The name as the RFC spells it; `None` for names that no table here holds.
    pub fn canonical(self) -> Option<&'static str> {
        Some(match self {
            Self::ToPath => "To-Path",
            Self::FromPath => "From-Path",
            Self::MessageId => "Message-ID",
            Self::SuccessReport => "Success-Report",
            Self::FailureReport => "Failure-Report",
            Self::ByteRange => "Byte-Range",
            Self::Status => "Status",
            Self::Expires => "Expires",
            Self::MinExpires => "Min-Expires",
            Self::MaxExpires => "Max-Expires",
            Self::UsePath => "Use-Path",
            Self::WwwAuthenticate => "WWW-Authenticate",
            Self::Authorization => "Authorization",
            Self::AuthenticationInfo => "Authentication-Info",
            Self::ContentType => "Content-Type",
            Self::ContentId => "Content-ID",
            Self::ContentDescription => "Content-Description",
            Self::ContentDisposition => "Content-Disposition",
            Self::OtherMime | Self::Extension => return None,
        })
    }

    /// Whether the field belongs to `content-stuff`, which follows all other headers (SYN-06, SYN-15).
    pub(super) fn is_mime(self) -> bool {
        matches!(
            self,
            Self::ContentType
                | Self::ContentId
                | Self::ContentDescription
                | Self::ContentDisposition
                | Self::OtherMime
        )
    }

    /// Whether a second one makes the head malformed (SYN-21).
    pub(super) fn is_single(self) -> bool {
        !matches!(
            self,
            Self::WwwAuthenticate | Self::OtherMime | Self::Extension
        )
    }

    /// This name's bit in a set of names.
    pub(super) fn bit(self) -> u32 {
        1 << self as u8
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.canonical().unwrap_or("extension header"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [HeaderName; 18] = [
        HeaderName::ToPath,
        HeaderName::FromPath,
        HeaderName::MessageId,
        HeaderName::SuccessReport,
        HeaderName::FailureReport,
        HeaderName::ByteRange,
        HeaderName::Status,
        HeaderName::Expires,
        HeaderName::MinExpires,
        HeaderName::MaxExpires,
        HeaderName::UsePath,
        HeaderName::WwwAuthenticate,
        HeaderName::Authorization,
        HeaderName::AuthenticationInfo,
        HeaderName::ContentType,
        HeaderName::ContentId,
        HeaderName::ContentDescription,
        HeaderName::ContentDisposition,
    ];

    /// SYN-04
    #[test]
    fn every_known_name_is_recognised_in_any_case() {
        for name in ALL {
            let text = name.canonical().unwrap();
            assert_eq!(HeaderName::classify(text.as_bytes()), name);
            assert_eq!(
                HeaderName::classify(text.to_lowercase().as_bytes()),
                name,
                "{text}"
            );
            assert_eq!(
                HeaderName::classify(text.to_uppercase().as_bytes()),
                name,
                "{text}"
            );
        }
    }

    #[test]
    fn other_names_are_extensions_unless_they_begin_with_content() {
        for (name, expected) in [
            ("X-Foo", HeaderName::Extension),
            ("Keep-Alive", HeaderName::Extension),
            ("Use-Nickname", HeaderName::Extension),
            ("content-", HeaderName::Extension),
            ("Content-Location", HeaderName::OtherMime),
            ("CONTENT-LANGUAGE", HeaderName::OtherMime),
            ("To-Patx", HeaderName::Extension),
            ("", HeaderName::Extension),
        ] {
            assert_eq!(HeaderName::classify(name.as_bytes()), expected, "{name}");
        }
    }
}
