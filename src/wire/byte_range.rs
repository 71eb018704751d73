//! The `Byte-Range` header (RFC 4975 §7.1.1, §9): `start-end/total`, where end and total may be `*`.
//!
//! Numbers above 2^63-1 do not parse (CHK-22), so that a start plus the octets of any chunk fits a `u64`.
//! How the numbers relate to each other and to the body is not judged here: the octets seen count (CHK-10).

use std::fmt;

use super::text::{decimal, decimal_before};

/// Which octets of a message a chunk holds; positions count from 1 and `None` stands for `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ByteRange {
    /// Position of the chunk's first octet; 1 also for a message without content.
    pub start: u64,
    /// Position of the last octet; `None` where the sender left it open.
    pub end: Option<u64>,
    /// Octets of the whole message; `None` where the sender does not know.
    pub total: Option<u64>,
}

impl ByteRange {
    /// The largest number in a Byte-Range.
    pub const POSITION_MAX: u64 = i64::MAX as u64;

    /// Reads the header's value.
    pub fn parse(value: &[u8]) -> Option<ByteRange> {
        let dash = memchr::memchr(b'-', value)?;
        let slash = dash + 1 + memchr::memchr(b'/', &value[dash + 1..])?;
        let start = decimal(&value[..dash], Self::POSITION_MAX)?;
        if start == 0 {
            return None;
        }
        Some(ByteRange {
            start,
            end: Self::position(&value[dash + 1..slash])?,
            total: Self::position(&value[slash + 1..])?,
        })
    }

    /// Appends the value as it stands in the header.
    pub fn encode(&self, out: &mut Vec<u8>) {
        // From its end: three numbers of up to 20 digits, and what stands between.
        let mut text = [0; 64];
        let mut at = text.len();
        for (position, before) in [(self.total, b'/'), (self.end, b'-')] {
            at = match position {
                Some(value) => decimal_before(&mut text, at, value),
                None => {
                    text[at - 1] = b'*';
                    at - 1
                }
            };
            at -= 1;
            text[at] = before;
        }
        at = decimal_before(&mut text, at, self.start);
        out.extend_from_slice(&text[at..]);
    }

    fn position(text: &[u8]) -> Option<Option<u64>> {
        if text == b"*" {
            return Some(None);
        }
        decimal(text, Self::POSITION_MAX).map(Some)
    }
}

impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(24);
        self.encode(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: Option<u64>, total: Option<u64>) -> Option<ByteRange> {
        Some(ByteRange { start, end, total })
    }

    #[test]
    fn numbers_and_asterisks_are_read_and_written() {
        for (text, expected) in [
            ("1-22/22", range(1, Some(22), Some(22))),
            ("1-*/*", range(1, None, None)),
            ("4001-*/9000", range(4001, None, Some(9000))),
            // CHK-18: a message without content.
            ("1-0/0", range(1, Some(0), Some(0))),
        ] {
            assert_eq!(ByteRange::parse(text.as_bytes()), expected);
            assert_eq!(expected.unwrap().to_string(), text);
        }
    }

    /// CHK-22
    #[test]
    fn positions_up_to_two_to_the_63_less_one_work_and_larger_ones_do_not_parse() {
        let largest = "9223372036854775807-9223372036854775807/9223372036854775807";
        assert_eq!(
            ByteRange::parse(largest.as_bytes()).unwrap().to_string(),
            largest
        );
        assert_eq!(ByteRange::parse(b"9223372036854775808-*/*"), None);
        assert_eq!(ByteRange::parse(b"1-9223372036854775808/*"), None);
        assert_eq!(
            ByteRange::parse(b"1-*/999999999999999999999999999999"),
            None
        );
        assert_eq!(
            ByteRange::parse(b"000000000000000000000000000000000001-*/*"),
            range(1, None, None)
        );
    }

    /// SYN-21
    #[test]
    fn anything_else_does_not_parse() {
        for text in [
            "",
            "-",
            "1",
            "1-",
            "1-2",
            "1-2/",
            "/",
            "1/2-3",
            "-2/3",
            "*-2/3",
            "0-1/2",
            "a-b/c",
            "1-2/3 ",
            "1 -2/3",
            "+1-2/3",
            "1--2/3",
            "1-2/3/4",
            "1-**/3",
            "bytes=1-2/3",
        ] {
            assert_eq!(ByteRange::parse(text.as_bytes()), None, "{text:?}");
        }
    }
}
