//! The headers that say which reports are wanted, and what a report says (RFC 4975 §7.1.1, §7.1.2, §9).

use super::text::three_digits;

/// Which failures the sender wants to hear of (RFC 4975 §7.1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FailureReport {
    /// All, and a 200 for what succeeded; also where the header is absent.
    #[default]
    Yes,
    /// Error responses and REPORTs, no 200 and no timeouts.
    Partial,
    /// Nothing.
    No,
}

impl FailureReport {
    /// Reads the header's value, in any case (SYN-04).
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        [
            (&b"yes"[..], Self::Yes),
            (b"no", Self::No),
            (b"partial", Self::Partial),
        ]
        .into_iter()
        .find_map(|(word, meaning)| value.eq_ignore_ascii_case(word).then_some(meaning))
    }
}

/// Reads the value of Success-Report, in any case (SYN-04).
pub(super) fn parse_success_report(value: &[u8]) -> Option<bool> {
    match FailureReport::parse(value)? {
        FailureReport::Yes => Some(true),
        FailureReport::No => Some(false),
        FailureReport::Partial => None,
    }
}

/// The value of Status: what became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status<'a> {
    /// 0 for the codes of RFC 4975.
    pub namespace: u16,
    /// Three digits, as in a response.
    pub code: u16,
    /// Text for people.
    pub comment: Option<&'a [u8]>,
}

impl<'a> Status<'a> {
    /// Reads the header's value.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let namespace = three_digits(value.get(..3)?)?;
        if *value.get(3)? != b' ' {
            return None;
        }
        let code = three_digits(value.get(4..7)?)?;
        let comment = match value.get(7) {
            None => None,
            Some(b' ') => Some(&value[8..]),
            Some(_) => return None,
        };
        Some(Self {
            namespace,
            code,
            comment,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SYN-04
    #[test]
    fn failure_report_is_read_in_any_case() {
        assert_eq!(FailureReport::parse(b"NO"), Some(FailureReport::No));
        assert_eq!(FailureReport::parse(b"Yes"), Some(FailureReport::Yes));
        assert_eq!(
            FailureReport::parse(b"pArTiAl"),
            Some(FailureReport::Partial)
        );
        assert_eq!(FailureReport::parse(b"never"), None);
        assert_eq!(FailureReport::parse(b""), None);
        assert_eq!(parse_success_report(b"YES"), Some(true));
        assert_eq!(parse_success_report(b"no"), Some(false));
        assert_eq!(parse_success_report(b"partial"), None);
    }

    /// RPT-08, RPT-12
    #[test]
    fn status_has_namespace_code_and_perhaps_a_comment() {
        let status = |namespace, code, comment| {
            Some(Status {
                namespace,
                code,
                comment,
            })
        };
        assert_eq!(
            Status::parse(b"000 200 OK"),
            status(0, 200, Some(&b"OK"[..]))
        );
        assert_eq!(Status::parse(b"000 408"), status(0, 408, None));
        assert_eq!(
            Status::parse(b"001 999 foo bar"),
            status(1, 999, Some(&b"foo bar"[..]))
        );
        for text in [
            "", "000", "000 ", "000 20", "000 2000", "00 200", "0000 200", "000  200", "000200",
            "abc 200",
        ] {
            assert_eq!(Status::parse(text.as_bytes()), None, "{text:?}");
        }
    }
}
