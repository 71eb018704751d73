//! How octets from the other side are shown to the operator: quoted, escaped, cut, and with nothing in full that could
//! prove anything (SEC-04): session-ids, user parts, nonces, responses, and whatever else looks random.

use std::fmt::Write as _;

/// Octets shown of one text.
const SHOWN_OCTETS: usize = 200;
/// Words of this length and more may prove something: only their beginning is shown.
const SECRET_FROM: usize = 16;
const SECRET_SHOWN: usize = 4;
/// Characters of one line's part.
const LINE_CHARACTERS: usize = 600;
/// Parameters that are secret however short they are.
const SECRET_NAMES: [&[u8]; 7] = [
    b"response",
    b"nonce",
    b"cnonce",
    b"nextnonce",
    b"opaque",
    b"rspauth",
    b"password",
];
/// Schemes of credentials that are secret as a whole.
const SECRET_SCHEMES: [&[u8]; 2] = [b"Basic", b"Bearer"];
const HIDDEN: &str = "...";

/// The octets between quotes.
pub(super) fn shown(octets: &[u8]) -> String {
    let is_cut = octets.len() > SHOWN_OCTETS;
    let mut rest = &octets[..octets.len().min(SHOWN_OCTETS)];
    let mut text = String::from("\"");
    while !rest.is_empty() {
        rest = match rest.strip_prefix(b"://") {
            Some(authority) => show_authority(&mut text, authority),
            None => show_run(&mut text, rest),
        };
    }
    text.push_str(if is_cut { "...\"" } else { "\"" });
    text
}

/// A line's part, not longer than any may be.
pub(super) fn cut(mut text: String) -> String {
    if let Some((at, _)) = text.char_indices().nth(LINE_CHARACTERS) {
        text.truncate(at);
        text.push_str(HIDDEN);
    }
    text
}

fn escaped(text: &mut String, octets: &[u8]) {
    let _ = write!(text, "{}", octets.escape_ascii());
}

/// Host and port of a URI; its user part and session-id are hidden. Gives what follows.
fn show_authority<'a>(text: &mut String, rest: &'a [u8]) -> &'a [u8] {
    text.push_str("://");
    let ends = |octet: &u8| matches!(octet, b'/' | b';' | b'"' | b'<' | b'>' | 0..=b' ');
    let (authority, rest) = split_at(rest, ends);
    let user = authority.iter().rposition(|octet| *octet == b'@');
    if let Some(at) = user {
        text.push_str(HIDDEN);
        escaped(text, &authority[at..]);
    } else {
        escaped(text, authority);
    }
    if rest.first() != Some(&b'/') {
        return rest;
    }
    text.push('/');
    let ends = |octet: &u8| matches!(octet, b';' | b'"' | b'<' | b'>' | 0..=b' ');
    let (session_id, rest) = split_at(&rest[1..], ends);
    text.push_str(if session_id.is_empty() { "" } else { HIDDEN });
    rest
}

/// A word, or what stands between words. Gives what follows.
fn show_run<'a>(text: &mut String, rest: &'a [u8]) -> &'a [u8] {
    let in_word = |octet: &u8| {
        octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'+' | b'/' | b'~')
    };
    if !in_word(&rest[0]) {
        // Not past the beginning of an authority.
        let (first, _) = rest.split_at(1);
        escaped(text, first);
        return &rest[1..];
    }
    let (word, after) = split_at(rest, |octet| !in_word(octet));
    let is_one_of = |names: &[&[u8]]| names.iter().any(|name| word.eq_ignore_ascii_case(name));
    if is_one_of(&SECRET_NAMES) && after.first() == Some(&b'=') {
        escaped(text, word);
        text.push('=');
        text.push_str(HIDDEN);
        return match after[1..].strip_prefix(b"\"") {
            Some(value) => {
                let (_, rest) = split_at(value, |octet| *octet == b'"');
                rest.get(1..).unwrap_or_default()
            }
            None => split_at(&after[1..], |octet| matches!(octet, b',' | 0..=b' ')).1,
        };
    }
    if is_one_of(&SECRET_SCHEMES) && after.first() == Some(&b' ') {
        escaped(text, word);
        text.push(' ');
        text.push_str(HIDDEN);
        return split_at(&after[1..], |octet| matches!(octet, b',' | 0..=b' ')).1;
    }
    // One that reaches the end may go on there.
    let long = match after.is_empty() {
        true => SECRET_FROM / 2,
        false => SECRET_FROM,
    };
    if word.len() >= long {
        escaped(text, &word[..SECRET_SHOWN]);
        text.push_str(HIDDEN);
    } else {
        escaped(text, word);
    }
    after
}

fn split_at(octets: &[u8], ends: impl Fn(&u8) -> bool) -> (&[u8], &[u8]) {
    octets.split_at(octets.iter().position(ends).unwrap_or(octets.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_04_what_is_shown_is_escaped_cut_and_proves_nothing() {
        for (octets, text) in [
            (
                "msrps://relay.example.com:2855/s3cr;tcp",
                "msrps://relay.example.com:2855/...;tcp",
            ),
            (
                "msrps://alice:pw@r.example.com/x",
                "msrps://...@r.example.com/...",
            ),
            (
                "msrps://[2001:db8::1]:2855;tcp a",
                "msrps://[2001:db8::1]:2855;tcp a",
            ),
            (
                "Digest response=\"0123abcd\", realm=\"r\"",
                "Digest response=..., realm=\\\"r\\\"",
            ),
            ("NONCE=abc,cnonce=\"d", "NONCE=...,cnonce=..."),
            ("Basic YTpi, x", "Basic ..., x"),
            ("a\r\n\0\u{1b}\"'b", "a\\r\\n\\x00\\x1b\\\"\\'b"),
            ("0123456789abcdefg rest", "0123... rest"),
            ("ends 01234567", "ends 0123..."),
        ] {
            assert_eq!(shown(octets.as_bytes()), format!("\"{text}\""));
        }
        assert!(shown(&[b' '; 5000]).len() < 300);
        assert!(shown(&[0xff; 5000]).len() < 900);
        assert!(shown(&[b'x'; 5000]).len() < 20);
        assert!(cut("x".repeat(5000)).len() < 700);
    }

    #[test]
    fn sec_04_wherever_a_text_is_cut_its_secrets_stay_hidden() {
        let token = "Zm9vYmFyYmF6cXV4Zm9vYmFy";
        let text = format!(
            "AUTH msrps://relay.example.com:2855/{token};tcp {token} nonce=\"{token}\", {token}{token}"
        );
        for pad in 0..SHOWN_OCTETS {
            for from in 0..text.len() {
                let octets = format!("{}{}", " ".repeat(pad), &text[from..]);
                let seen = shown(octets.as_bytes());
                assert!(!seen.contains(&token[..9]), "{seen}");
            }
        }
    }
}
