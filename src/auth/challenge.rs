//! A challenge of somebody else, as it passes: whose users it asks for. Reads whatever a client might.

/// The realms that a WWW-Authenticate value names, in lower case, with escapes undone. A value may hold
/// several challenges; what follows something unreadable is looked at again from its next octet.
pub fn realms(value: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut rest = value;
    while let Some((octet, after)) = rest.split_first() {
        if *octet == b'"' {
            rest = quoted(after).1;
            continue;
        }
        let name = rest.get(..5).unwrap_or_default();
        let begins = name.eq_ignore_ascii_case(b"realm");
        if !begins {
            rest = after;
            continue;
        }
        rest = &rest[5..];
        if let Some(value) = rest.trim_ascii_start().strip_prefix(b"=") {
            let (realm, after) = match value.trim_ascii_start() {
                [b'"', text @ ..] => quoted(text),
                text => bare(text),
            };
            found.push(realm);
            rest = after;
        }
    }
    found
}

/// Up to the closing quote, and what follows it.
fn quoted(text: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut value = Vec::new();
    let mut rest = text;
    while let [octet, after @ ..] = rest {
        rest = after;
        match (*octet, rest) {
            (b'"', _) => return (value, rest),
            (b'\\', [escaped, after @ ..]) => {
                value.push(escaped.to_ascii_lowercase());
                rest = after;
            }
            (octet, _) => value.push(octet.to_ascii_lowercase()),
        }
    }
    (value, rest)
}

/// Up to a blank or a comma, and what follows.
fn bare(text: &[u8]) -> (Vec<u8>, &[u8]) {
    let ends = |octet: &u8| matches!(octet, b' ' | b'\t' | b',' | b';');
    let end = text.iter().position(ends).unwrap_or(text.len());
    (text[..end].to_ascii_lowercase(), &text[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aut_23_a_realm_is_found_however_it_is_written() {
        for (value, realm) in [
            (r#"Digest realm="Example.com", nonce="n""#, "example.com"),
            (r#"Digest nonce="n",REALM = "example.com""#, "example.com"),
            (r#"Digest realm="ex\ample.com""#, "example.com"),
            ("Digest realm=example.com,nonce=n", "example.com"),
            (
                r#"Digest nonce="realm=\"x\"", realm="example.com""#,
                "example.com",
            ),
            (r#"Basic realm="example.com"#, "example.com"),
        ] {
            assert_eq!(realms(value.as_bytes()), [realm.as_bytes()], "{value}");
        }
        let two = br#"Digest realm="a", nonce="n", Digest realm="example.com", realm=b"#;
        assert_eq!(realms(two), [&b"a"[..], b"example.com", b"b"]);
        assert!(realms(b"Digest nonce=\"realm\", realm").is_empty());
        assert!(realms(b"").is_empty());
    }
}
