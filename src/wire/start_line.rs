//! The start line (RFC 4975 §9): `MSRP SP transact-id SP method`, or `… SP 3DIGIT [SP comment]`.
//!
//! A start line that cannot be read loses the framing, for without a transact-id no end-line can be told.

use super::{
    error::{DecodeError, Excerpt},
    text::{IDENT, all, three_digits},
};

/// What begins every message.
pub(super) const PROTOCOL: &[u8] = b"MSRP ";

/// The longest start line that is read, with its CRLF. A transact-id has 64 octets at most; the rest is room for a comment.
pub const START_LINE_OCTETS_MAX: usize = 2048;

/// Longest transact-id: twice what `ident` of RFC 4975 §9 allows (D-43).
pub(super) const TRANSACT_ID_OCTETS_MAX: usize = 64;

/// Shortest one.
pub(super) const TRANSACT_ID_OCTETS_MIN: usize = 4;

/// Which sort of message a head begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request, by its method.
    Request(Method),
    /// A response, by its code.
    Response {
        /// Three digits, any.
        code: u16,
    },
}

/// The methods that the relay treats differently; names are case-sensitive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// RFC 4975.
    Send,
    /// RFC 4976.
    Auth,
    /// RFC 4975.
    Report,
    /// RFC 7701.
    Nickname,
    /// Any other of capitals and `_` (D-27).
    Other,
}

/// The start line as offsets into itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StartLine {
    pub(super) kind: Kind,
    pub(super) tid_len: u8,
    /// Where the method, or the code, begins.
    pub(super) rest: u16,
    /// Where the method, or the comment, ends.
    pub(super) end: u16,
}

impl StartLine {
    /// Reads a line, given without its CRLF. The comment's text is judged elsewhere.
    pub(super) fn parse(line: &[u8]) -> Result<Self, DecodeError> {
        let Some(after) = line.strip_prefix(PROTOCOL) else {
            return Err(DecodeError::NotMsrp(Excerpt::of(line)));
        };
        let tid_len = memchr::memchr(b' ', after).unwrap_or(after.len());
        let tid = &after[..tid_len];
        if !is_transact_id(tid) {
            return Err(DecodeError::TransactId(Excerpt::of(tid)));
        }
        let unreadable = || DecodeError::StartLine(Excerpt::of(line));
        let rest = after.get(tid_len + 1..).ok_or_else(unreadable)?;
        // One blank behind a method, or behind a code without a comment, is let pass (D-43).
        let rest = match rest {
            [word @ .., b' '] if memchr::memchr(b' ', word).is_none() => word,
            _ => rest,
        };
        let kind = match rest {
            [b'0'..=b'9', ..] => {
                let code = rest.get(..3).and_then(three_digits);
                match (code, rest.get(3)) {
                    (Some(code), None | Some(b' ')) => Kind::Response { code },
                    _ => return Err(unreadable()),
                }
            }
            b"SEND" => Kind::Request(Method::Send),
            b"REPORT" => Kind::Request(Method::Report),
            b"AUTH" => Kind::Request(Method::Auth),
            b"NICKNAME" => Kind::Request(Method::Nickname),
            [_, ..] if rest.iter().all(|o| matches!(o, b'A'..=b'Z' | b'_')) => {
                Kind::Request(Method::Other)
            }
            _ => return Err(unreadable()),
        };
        Ok(Self::of(kind, tid_len, rest.len()))
    }

    /// What can be told of a line that is too long, or whose rest is unreadable: whose end-line to look for. `None` without
    /// a legal transact-id. A code is told from anything else; a method is not.
    pub(super) fn of_past(octets: &[u8]) -> Option<Self> {
        let after = octets.strip_prefix(PROTOCOL)?;
        let longest = after.len().min(TRANSACT_ID_OCTETS_MAX + 1);
        let tid_len = memchr::memchr(b' ', &after[..longest])?;
        if !is_transact_id(&after[..tid_len]) {
            return None;
        }
        let kind = match after.get(tid_len + 1..tid_len + 4).map(three_digits) {
            Some(Some(code)) => Kind::Response { code },
            _ => Kind::Request(Method::Other),
        };
        Some(Self::of(kind, tid_len, 0))
    }

    fn of(kind: Kind, tid_len: usize, rest_len: usize) -> Self {
        let rest = PROTOCOL.len() + tid_len + 1;
        Self {
            kind,
            tid_len: tid_len as u8,
            rest: rest as u16,
            end: (rest + rest_len) as u16,
        }
    }
}

/// `ident` of RFC 4975 §9, and what deployed clients send beyond it (SYN-02, D-43).
fn is_transact_id(tid: &[u8]) -> bool {
    (TRANSACT_ID_OCTETS_MIN..=TRANSACT_ID_OCTETS_MAX).contains(&tid.len())
        && tid[0].is_ascii_alphanumeric()
        && all(tid, IDENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(line: &str) -> Result<Kind, DecodeError> {
        StartLine::parse(line.as_bytes()).map(|line| line.kind)
    }

    /// SYN-01, D-27
    #[test]
    fn requests_and_responses_are_told_apart() {
        assert_eq!(kind("MSRP abcd SEND"), Ok(Kind::Request(Method::Send)));
        assert_eq!(kind("MSRP abcd REPORT"), Ok(Kind::Request(Method::Report)));
        assert_eq!(kind("MSRP abcd AUTH"), Ok(Kind::Request(Method::Auth)));
        assert_eq!(
            kind("MSRP abcd NICKNAME"),
            Ok(Kind::Request(Method::Nickname))
        );
        assert_eq!(
            kind("MSRP abcd FILE_OFFSET"),
            Ok(Kind::Request(Method::Other))
        );
        assert_eq!(kind("MSRP abcd SENDS"), Ok(Kind::Request(Method::Other)));
        assert_eq!(kind("MSRP abcd 200"), Ok(Kind::Response { code: 200 }));
        assert_eq!(kind("MSRP abcd 200 OK"), Ok(Kind::Response { code: 200 }));
        assert_eq!(kind("MSRP abcd 599 "), Ok(Kind::Response { code: 599 }));
        // D-43: one trailing blank.
        assert_eq!(kind("MSRP abcd SEND "), Ok(Kind::Request(Method::Send)));
        assert_eq!(kind("MSRP abcd WIGGLE "), Ok(Kind::Request(Method::Other)));
        assert_eq!(
            kind("MSRP abcd 481 No  such session"),
            Ok(Kind::Response { code: 481 })
        );
    }

    /// SYN-01
    #[test]
    fn names_are_case_sensitive_and_separated_by_one_space() {
        for line in ["msrp abcd SEND", "MSRPabcd SEND", "GARBAGE", "", "MSRP"] {
            assert!(
                matches!(kind(line), Err(DecodeError::NotMsrp(_))),
                "{line:?}"
            );
        }
        for line in [
            "MSRP abcd send",
            "MSRP abcd Send",
            "MSRP abcd",
            "MSRP abcd ",
            "MSRP abcd  SEND",
            "MSRP abcd  ",
            "MSRP abcd SEND  ",
            "MSRP abcd SEND\t",
            "MSRP abcd SE ND",
            "MSRP abcd SEND 200",
            "MSRP abcd 20",
            "MSRP abcd 2000",
            "MSRP abcd 20x",
            "MSRP abcd 200OK",
            "MSRP abcd SEND\nTo-Path: x",
        ] {
            assert!(
                matches!(kind(line), Err(DecodeError::StartLine(_))),
                "{line:?}"
            );
        }
    }

    /// SYN-02, D-43
    #[test]
    fn transact_ids_have_4_to_64_characters_of_ident_and_underscores() {
        let (longest, longer) = ("0a".repeat(32), "0a".repeat(32) + "b");
        for tid in [
            "abcd",
            "a.-+%=0Z",
            "0123456789012345678901234567890a",
            "9f1c2d3e-aaaa-4bbb-8ccc-0123456789ab",
            "Zm9v_YmFy-Zg",
            "a---",
            "a___",
            &longest,
        ] {
            assert!(kind(&format!("MSRP {tid} SEND")).is_ok(), "{tid}");
        }
        for tid in [
            "", "abc", &longer, "ab~d", ".abc", "-abc", "_abc", "ab\td", "abcé",
        ] {
            assert!(
                matches!(
                    kind(&format!("MSRP {tid} SEND")),
                    Err(DecodeError::TransactId(_))
                ),
                "{tid}"
            );
        }
    }
}
