//! MSRP URIs (RFC 4975 §6, §9), as far as a client looks into them.

use super::error::{CodecError, extract};

/// The parts of a URI as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uri<'a> {
    pub scheme: &'a str,
    pub userinfo: Option<&'a str>,
    pub host: &'a str,
    pub port: Option<u16>,
    pub session_id: Option<&'a str>,
    pub transport: &'a str,
    /// What follows the transport, without the first semicolon.
    pub params: Option<&'a str>,
}

impl<'a> Uri<'a> {
    pub fn parse(text: &'a str) -> Result<Self, CodecError> {
        Self::split(text).ok_or_else(|| CodecError::Uri {
            at: extract(text.as_bytes()),
        })
    }

    fn split(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        if !scheme.eq_ignore_ascii_case("msrp") && !scheme.eq_ignore_ascii_case("msrps") {
            return None;
        }
        let (before, tail) = rest.split_once(';')?;
        let (authority, session_id) = match before.split_once('/') {
            Some((authority, id)) => (authority, Some(id)),
            None => (before, None),
        };
        if session_id.is_some_and(|id| id.is_empty() || !id.bytes().all(is_session_id)) {
            return None;
        }
        let (transport, params) = match tail.split_once(';') {
            Some((transport, params)) => (transport, Some(params)),
            None => (tail, None),
        };
        if transport.is_empty() || !transport.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return None;
        }
        if params.is_some_and(|p| p.is_empty() || !p.bytes().all(|b| b.is_ascii_graphic())) {
            return None;
        }
        let (userinfo, host_port) = match authority.rsplit_once('@') {
            Some((user, host_port)) => (Some(user), host_port),
            None => (None, authority),
        };
        if userinfo.is_some_and(|user| !user.bytes().all(|b| b.is_ascii_graphic() && b != b'@')) {
            return None;
        }
        let (host, port) = split_port(host_port)?;
        Some(Self {
            scheme,
            userinfo,
            host,
            port,
            session_id,
            transport,
            params,
        })
    }
}

/// Checks one URI of a path.
pub fn check_uri(text: &str) -> Result<(), CodecError> {
    Uri::parse(text).map(|_| ())
}

fn split_port(host_port: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = if host_port.starts_with('[') {
        let end = host_port.find(']')? + 1;
        let host = &host_port[..end];
        if !host[1..end - 1]
            .bytes()
            .all(|b| b.is_ascii_hexdigit() || b == b':' || b == b'.')
        {
            return None;
        }
        match &host_port[end..] {
            "" => (host, None),
            rest => (host, Some(rest.strip_prefix(':')?)),
        }
    } else {
        let (host, port) = match host_port.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (host_port, None),
        };
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+,=".contains(&b);
        if !host.bytes().all(legal) {
            return None;
        }
        (host, port)
    };
    if host.is_empty() || host == "[]" {
        return None;
    }
    match port {
        None => Some((host, None)),
        Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
            Some((host, Some(digits.parse().ok()?)))
        }
        Some(_) => None,
    }
}

fn is_session_id(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-._~+=/".contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uri_is_taken_apart() {
        let uri = Uri::parse("msrps://bob@relay.example.com:2855/a/b+c=;tcp;k=v").unwrap();
        assert_eq!(uri.userinfo, Some("bob"));
        assert_eq!((uri.host, uri.port), ("relay.example.com", Some(2855)));
        assert_eq!(uri.session_id, Some("a/b+c="));
        assert_eq!((uri.transport, uri.params), ("tcp", Some("k=v")));
        assert_eq!(Uri::parse("msrp://[::1]:9/x;tcp").unwrap().host, "[::1]");
        assert_eq!(Uri::parse("msrps://example.com;ws").unwrap().port, None);
    }

    #[test]
    fn uri_outside_the_grammar_is_refused_syn_19() {
        for text in [
            "http://a/b;tcp",
            "msrp://a:1/b",
            "msrp://a:1/;tcp",
            "msrp://:1/b;tcp",
            "msrp://a:99999/b;tcp",
            "msrp://a:1/b;",
            "msrp://a:1/b c;tcp",
            "msrp://[::1/b;tcp",
            "",
        ] {
            assert!(Uri::parse(text).is_err(), "{text}");
        }
    }
}
