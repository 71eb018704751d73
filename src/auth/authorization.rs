//! The Authorization header: tolerant where deployed clients need it (D-17), strict in what is
//! required (AUT-10). Borrows from the header and never fails on a value, only on the form.

use std::borrow::Cow;

/// Digest credentials. Quoted and bare values are taken alike, unknown parameters ignored.
///
/// What is hashed stands here as it stood between the quotes (RFC 2617 §3.2.2.5, `unq`), what
/// is looked up or compared with its escapes undone. No `Debug`: nonce and response are secrets
/// (SEC-04).
#[derive(Clone, PartialEq, Eq)]
pub struct Authorization<'a> {
    pub username: Cow<'a, str>,
    pub realm: Cow<'a, str>,
    pub nonce: &'a str,
    /// 32 or 64 hex digits.
    pub response: &'a str,
    /// Fit to stand between quotes in a header of ours.
    pub cnonce: &'a str,
    /// Eight hex digits.
    pub nc: &'a str,
    /// What they say; at least 1.
    pub count: u32,
    pub algorithm: Option<&'a str>,
    pub uri: Option<&'a str>,
}

/// The Authorization is Digest, and something required is missing, doubled or ill-formed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IllFormed;

/// The cnonce is the one value that goes back; clients use 8 to 40 octets.
const CNONCE_OCTETS_MAX: usize = 256;

/// Users and realms are looked up, and remembered where nobody knows them. A realm is a host's name
/// or what an operator writes; a nonce of ours is shorter.
const NAME_OCTETS_MAX: usize = 255;

impl<'a> Authorization<'a> {
    /// `Ok(None)`: another scheme than Digest, or nothing at all.
    pub fn parse(value: &'a [u8]) -> Result<Option<Self>, IllFormed> {
        let Some(rest) = after_scheme(value) else {
            return Ok(None);
        };
        let text = std::str::from_utf8(rest).map_err(|_| IllFormed)?;
        if text.chars().any(|c| c.is_control() && c != '\t') {
            return Err(IllFormed);
        }
        let mut found = Parameters::default();
        let mut rest = skip_separators(text);
        while !rest.is_empty() {
            let (name, value, after) = parameter(rest).ok_or(IllFormed)?;
            if let Some(slot) = found.slot(name)
                && slot.replace(value).is_some()
            {
                return Err(IllFormed);
            }
            rest = after;
        }
        found.check().map(Some).ok_or(IllFormed)
    }
}

/// Values by the names that matter.
#[derive(Default)]
struct Parameters<'a> {
    username: Option<Value<'a>>,
    realm: Option<Value<'a>>,
    nonce: Option<Value<'a>>,
    response: Option<Value<'a>>,
    cnonce: Option<Value<'a>>,
    nc: Option<Value<'a>>,
    qop: Option<Value<'a>>,
    algorithm: Option<Value<'a>>,
    uri: Option<Value<'a>>,
}

#[derive(Clone, Copy)]
struct Value<'a> {
    text: &'a str,
    quoted: bool,
}

impl<'a> Parameters<'a> {
    fn slot(&mut self, name: &str) -> Option<&mut Option<Value<'a>>> {
        let slots = [
            ("username", &mut self.username),
            ("realm", &mut self.realm),
            ("nonce", &mut self.nonce),
            ("response", &mut self.response),
            ("cnonce", &mut self.cnonce),
            ("nc", &mut self.nc),
            ("qop", &mut self.qop),
            ("algorithm", &mut self.algorithm),
            ("uri", &mut self.uri),
        ];
        slots
            .into_iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, slot)| slot)
    }

    fn check(self) -> Option<Authorization<'a>> {
        let is_hex = |text: &str| text.bytes().all(|octet| octet.is_ascii_hexdigit());
        let filled = |value: Option<Value<'a>>| Some(value?.text).filter(|text| !text.is_empty());
        let nc = filled(self.nc).filter(|nc| nc.len() == 8 && is_hex(nc))?;
        let count = u32::from_str_radix(nc, 16).ok().filter(|nc| *nc > 0)?;
        let response = filled(self.response)
            .filter(|response| matches!(response.len(), 32 | 64) && is_hex(response))?;
        filled(self.qop).filter(|qop| qop.eq_ignore_ascii_case("auth"))?;
        // RFC 4976 §9.1 wants the quotes here, and here nobody needs tolerance (AUT-09).
        let uri = match self.uri {
            Some(uri) if !uri.quoted => return None,
            uri => uri.map(|uri| uri.text),
        };
        Some(Authorization {
            username: filled(self.username)
                .map(unescaped)
                .filter(|name| name.len() <= NAME_OCTETS_MAX)?,
            realm: Some(unescaped(self.realm?.text))
                .filter(|name| name.len() <= NAME_OCTETS_MAX)?,
            nonce: filled(self.nonce).filter(|nonce| nonce.len() <= NAME_OCTETS_MAX)?,
            response,
            cnonce: filled(self.cnonce)
                .filter(|cnonce| cnonce.len() <= CNONCE_OCTETS_MAX && !cnonce.contains('\t'))?,
            nc,
            count,
            algorithm: self.algorithm.map(|algorithm| algorithm.text),
            uri,
        })
    }
}

/// What follows the scheme, if that is Digest.
fn after_scheme(value: &[u8]) -> Option<&[u8]> {
    let value = value.trim_ascii();
    let end = value.iter().position(|octet| matches!(octet, b' ' | b'\t'));
    let (scheme, rest) = value.split_at(end.unwrap_or(value.len()));
    scheme.eq_ignore_ascii_case(b"Digest").then_some(rest)
}

/// One `name=value` and what stands after the comma that follows.
fn parameter(text: &str) -> Option<(&str, Value<'_>, &str)> {
    let (name, rest) = text.split_once('=')?;
    let name = name.trim_end_matches(BLANKS);
    if name.is_empty() || !name.bytes().all(is_token) {
        return None;
    }
    let rest = rest.trim_start_matches(BLANKS);
    let (value, rest) = match rest.strip_prefix('"') {
        Some(quoted) => {
            let end = closing_quote(quoted)?;
            let text = &quoted[..end];
            (Value { text, quoted: true }, &quoted[end + 1..])
        }
        None => {
            let end = rest.find(',').unwrap_or(rest.len());
            let text = rest[..end].trim_end_matches(BLANKS);
            // A backslash would escape the quote that we put behind it.
            if text.contains(['"', '\\', ' ', '\t']) {
                return None;
            }
            let quoted = false;
            (Value { text, quoted }, &rest[end..])
        }
    };
    let rest = rest.trim_start_matches(BLANKS);
    (rest.is_empty() || rest.starts_with(',')).then(|| (name, value, skip_separators(rest)))
}

/// A list may have empty elements (RFC 7230 §7).
fn skip_separators(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', ','])
}

const BLANKS: [char; 2] = [' ', '\t'];

/// Where the quote stands that no backslash escapes.
fn closing_quote(text: &str) -> Option<usize> {
    let mut octets = text.bytes().enumerate();
    while let Some((index, octet)) = octets.next() {
        match octet {
            b'"' => return Some(index),
            b'\\' => drop(octets.next()?),
            _ => {}
        }
    }
    None
}

fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return text.into();
    }
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        plain.extend(match character {
            '\\' => characters.next(),
            other => Some(other),
        });
    }
    plain.into()
}

/// RFC 7230 §3.2.6
fn is_token(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "Digest username=\"alice\", realm=\"example.com\", nonce=\"n+/=\", \
        opaque=\"00\", qop=auth, nc=0000000A, cnonce=\"c\", \
        response=\"680521922c7de0b6b0cf6bae1513552f\"";

    fn parse(text: &str) -> Option<Authorization<'_>> {
        Authorization::parse(text.as_bytes()).unwrap_or_else(|IllFormed| panic!("{text}"))
    }

    fn ill_formed(text: &str) -> bool {
        Authorization::parse(text.as_bytes()).is_err()
    }

    /// AUT-11
    #[test]
    fn spellings_that_mean_the_same() {
        let good = parse(GOOD);
        assert!(
            good.as_ref()
                .is_some_and(|good| good.count == 10 && good.nc == "0000000A")
        );
        for other in [
            GOOD.replace(", ", ","),
            GOOD.replace(", ", " ,\t"),
            GOOD.replace('=', " = ").replace("n+/ = ", "n+/="),
            GOOD.replace('"', ""),
            GOOD.replace("auth", "\"auth\"")
                .replace("0000000A", "\"0000000A\""),
            GOOD.replace("Digest", "DIGEST")
                .replace("username", "UserName"),
            format!("  {GOOD} , "),
            GOOD.replace(", ", ", , "),
            format!("{GOOD}, foo=bar, x!=\"a, \\\"b\", foo=again"),
        ] {
            assert!(parse(&other) == good, "{other}");
        }
    }

    /// AUT-10
    #[test]
    fn what_is_required_must_be_there_once_and_well_formed() {
        for name in [
            "username", "realm", "nonce", "qop", "nc", "cnonce", "response",
        ] {
            let without = GOOD.replacen(&format!("{name}="), "other=", 1);
            assert!(ill_formed(&without), "{without}");
            assert!(ill_formed(&format!("{GOOD}, {name}=x")), "{name} twice");
        }
        for (right, wrong) in [
            ("0000000A", "1"),
            ("0000000A", "0000000g"),
            ("0000000A", "00000000"),
            ("0000000A", "+000000A"),
            ("qop=auth", "qop=auth-int"),
            ("qop=auth", "qop=\"auth,auth-int\""),
            ("=\"6805", "=\"zz05"),
            ("=\"6805", "=\"05"),
            ("=\"6805", "=\"00000000000000000000000000000000006805"),
            ("\"alice\"", "\"alice"),
            ("\"alice\"", "\"\""),
            ("\"alice\"", "\"al\u{7f}ice\""),
            ("\"alice\"", "\"al\r\nice\""),
            ("\"alice\"", "\"alice\"x"),
            ("\"alice\"", "ali ce"),
            ("\"alice\"", "ali\"ce"),
            ("\"c\"", "\"\""),
            ("\"c\"", "c\\"),
            ("\"c\"", "\"c\td\""),
            ("\"c\"", "\"c\\\""),
            (", nc", " nc"),
            ("username", "user name"),
            ("username=", "=\"x\", username="),
            ("username", "\u{fc}sername"),
        ] {
            let text = GOOD.replacen(right, wrong, 1);
            assert_ne!(text, GOOD);
            assert!(ill_formed(&text), "{text}");
        }
        let long = "c".repeat(CNONCE_OCTETS_MAX);
        assert!(parse(&GOOD.replace("\"c\"", &long)).is_some());
        assert!(ill_formed(&GOOD.replace("\"c\"", &format!("{long}c"))));
        assert!(Authorization::parse(b"Digest username=\"\xff\"").is_err());
    }

    /// AUT-09
    #[test]
    fn a_uri_is_optional_and_quoted() {
        let uri = "msrps://a;tcp";
        let quoted = format!("{GOOD}, uri=\"{uri}\"");
        assert_eq!(parse(&quoted).and_then(|parsed| parsed.uri), Some(uri));
        assert!(ill_formed(&format!("{GOOD}, uri={uri}")));
    }

    /// AUT-05
    #[test]
    fn other_schemes_are_no_credentials() {
        for text in [
            "",
            " ",
            "Basic YTpi",
            "Digestive username=\"alice\"",
            "\u{e9} x=y",
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
        assert!(ill_formed("Digest"));
        assert!(Authorization::parse(b"\xff\xfe").is_ok_and(|none| none.is_none()));
    }

    #[test]
    fn escapes_are_undone_for_what_is_looked_up_and_kept_in_what_is_hashed() {
        let text = GOOD
            .replace("alice", "al\\\"i\\ce\\\\")
            .replace("\"c\"", "\"c\\\"\\\\\"");
        let parsed = parse(&text).expect("digest");
        assert_eq!(parsed.username, "al\"ice\\");
        assert_eq!(parsed.cnonce, "c\\\"\\\\");
    }
}
