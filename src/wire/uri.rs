//! MSRP URIs: the grammar (RFC 4975 §6, §9; SYN-19, SYN-20) and their comparison (§6.1; URI-03..08).
//!
//! A [`Uri`] borrows the text it was read from, and that text is what travels on. Nothing is normalised but
//! the authority, and that for comparison only.

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::text::{HOST, SESSION_ID, TOKEN, USERINFO, all, decimal, is};

/// A URI as offsets into its text.
#[derive(Clone, Copy, Debug)]
pub struct Uri<'a> {
    text: &'a [u8],
    scheme: Scheme,
    host: &'a [u8],
    port: Option<u16>,
    session_id: Option<&'a [u8]>,
    transport: &'a [u8],
}

/// Which grammar rule a URI breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UriError {
    /// Neither `msrp://` nor `msrps://`.
    Scheme,
    /// Userinfo holds an illegal character.
    Userinfo,
    /// No host, one of more than 253 octets, an illegal character in it, or brackets without an IPv6 address.
    Host,
    /// Not a number up to 65535.
    Port,
    /// Empty, or an illegal character in it.
    SessionId,
    /// No `;transport`, or an illegal character in it.
    Transport,
    /// A parameter after the transport that is not `token` or `token=token`.
    Parameter,
}

/// The scheme: whether the connection is protected by TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// `msrp`
    Msrp,
    /// `msrps`
    Msrps,
}

/// A host in its one canonical form.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// Lower case, percent-encoded unreserved characters decoded.
    Name(Box<str>),
    /// An IP literal.
    Ip(IpAddr),
}

/// What a connection is looked up by: a URI without userinfo, session-id and further parameters, in canonical form.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Authority {
    /// The scheme.
    pub scheme: Scheme,
    /// The host.
    pub host: Host,
    /// The port, where the URI has one: there is no default (D-14).
    pub port: Option<u16>,
    /// The transport in lower case.
    pub transport: Box<str>,
}

/// No name in the DNS is longer (RFC 1035 §2.3.4), and hosts are remembered.
pub const HOST_OCTETS_MAX: usize = 253;
/// There is `tcp`, and `ws` besides; this leaves room for others, and none to fill memory with.
const TRANSPORT_OCTETS_MAX: usize = 32;

impl<'a> Uri<'a> {
    /// Reads a URI that takes up the whole text.
    pub fn parse(text: &'a [u8]) -> Result<Self, UriError> {
        let (scheme, rest) = Self::split_scheme(text).ok_or(UriError::Scheme)?;
        let authority_end = memchr::memchr2(b'/', b';', rest).unwrap_or(rest.len());
        // Userinfo may hold a `;`, and after the authority an `@` is illegal anyway.
        let (userinfo, authority_end) = match memchr::memchr(b'@', rest) {
            None => (0, authority_end),
            Some(at) => {
                if !all_but_escapes(&rest[..at], USERINFO) {
                    return Err(UriError::Userinfo);
                }
                let host = at + 1;
                let len = memchr::memchr2(b'/', b';', &rest[host..]);
                (host, len.map_or(rest.len(), |len| host + len))
            }
        };
        let (host, port) = Self::split_port(&rest[userinfo..authority_end])?;
        if host.len() > HOST_OCTETS_MAX {
            return Err(UriError::Host);
        }

        let after = &rest[authority_end..];
        let (session_id, parameters) = match after {
            [b'/', path @ ..] => {
                let len = memchr::memchr(b';', path).unwrap_or(path.len());
                let session_id = &path[..len];
                if session_id.is_empty() || !all(session_id, SESSION_ID) {
                    return Err(UriError::SessionId);
                }
                (Some(session_id), &path[len..])
            }
            _ => (None, after),
        };
        let [b';', parameters @ ..] = parameters else {
            return Err(UriError::Transport);
        };
        let transport_len = memchr::memchr(b';', parameters).unwrap_or(parameters.len());
        let (transport, further) = parameters.split_at(transport_len);
        if transport.is_empty()
            || transport.len() > TRANSPORT_OCTETS_MAX
            || !transport.iter().all(u8::is_ascii_alphanumeric)
        {
            return Err(UriError::Transport);
        }
        if let [b';', further @ ..] = further
            && !further.split(|&o| o == b';').all(is_parameter)
        {
            return Err(UriError::Parameter);
        }
        Ok(Self {
            text,
            scheme,
            host,
            port,
            session_id,
            transport,
        })
    }

    /// The URI as received.
    pub fn text(&self) -> &'a [u8] {
        self.text
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host as received; IPv6 literals in their brackets.
    pub fn host(&self) -> &'a [u8] {
        self.host
    }

    /// The explicit port; an empty one (`host:`) counts as absent.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The session-id as received.
    pub fn session_id(&self) -> Option<&'a [u8]> {
        self.session_id
    }

    /// The transport as received.
    pub fn transport(&self) -> &'a [u8] {
        self.transport
    }

    /// Whether both name the same session, or the same device (RFC 4975 §6.1).
    pub fn equivalent(&self, other: &Uri<'_>) -> bool {
        self.session_id == other.session_id && self.same_authority(other)
    }

    /// Whether all but the session-ids is equivalent: scheme, host, port, transport.
    pub fn same_authority(&self, other: &Uri<'_>) -> bool {
        self.scheme == other.scheme
            && self.port == other.port
            && self.transport.eq_ignore_ascii_case(other.transport)
            && same_host(self.host, other.host)
    }

    /// The canonical host.
    pub fn canonical_host(&self) -> Host {
        canonical_host(self.host)
    }

    /// The canonical authority.
    pub fn authority(&self) -> Authority {
        Authority {
            scheme: self.scheme,
            host: self.canonical_host(),
            port: self.port,
            transport: lower_case(self.transport),
        }
    }

    fn split_scheme(text: &'a [u8]) -> Option<(Scheme, &'a [u8])> {
        if text.len() < 7 || !text[..4].eq_ignore_ascii_case(b"msrp") {
            return None;
        }
        let (scheme, rest) = match text[4] {
            b's' | b'S' => (Scheme::Msrps, &text[5..]),
            _ => (Scheme::Msrp, &text[4..]),
        };
        Some((scheme, rest.strip_prefix(b"://")?))
    }

    fn split_port(authority: &'a [u8]) -> Result<(&'a [u8], Option<u16>), UriError> {
        let host_len = if authority.first() == Some(&b'[') {
            let close = memchr::memchr(b']', authority).ok_or(UriError::Host)?;
            ipv6(&authority[..=close]).ok_or(UriError::Host)?;
            close + 1
        } else {
            let len = memchr::memchr(b':', authority).unwrap_or(authority.len());
            if len == 0 || !all_but_escapes(&authority[..len], HOST) {
                return Err(UriError::Host);
            }
            len
        };
        let (host, port) = authority.split_at(host_len);
        let port = match port {
            [] | [b':'] => None,
            [b':', digits @ ..] => {
                let port = decimal(digits, u64::from(u16::MAX)).ok_or(UriError::Port)?;
                Some(port as u16)
            }
            _ => return Err(UriError::Host),
        };
        Ok((host, port))
    }
}

impl fmt::Display for Uri<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.escape_ascii().fmt(f)
    }
}

impl fmt::Display for UriError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "scheme is neither msrp nor msrps",
            Self::Userinfo => "illegal userinfo",
            Self::Host => "illegal host",
            Self::Port => "illegal port",
            Self::SessionId => "illegal session-id",
            Self::Transport => "transport is missing or illegal",
            Self::Parameter => "illegal parameter",
        })
    }
}

impl std::error::Error for UriError {}

impl Scheme {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Msrp => "msrp",
            Self::Msrps => "msrps",
        }
    }
}

impl Host {
    /// Canonicalises a host as it stands in a URI, or in a configuration: a name, an IPv4 literal, an IPv6
    /// literal with or without brackets.
    pub fn from_text(text: &str) -> Self {
        match text.parse::<Ipv6Addr>() {
            Ok(address) => Self::Ip(address.into()),
            Err(_) => canonical_host(text.as_bytes()),
        }
    }

    /// Without dots at the end. The root of the DNS may be written or not: URIs differ by it, and are looked up as they
    /// are, but it must not be another spelling for a rule about names.
    pub fn bare(&self) -> Self {
        match self {
            Self::Name(name) => Self::from_text(name.trim_end_matches('.')),
            Self::Ip(_) => self.clone(),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(address)) => address.fmt(f),
            Self::Ip(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        write!(f, ";{}", self.transport)
    }
}

/// `token` or `token=token`.
fn is_parameter(parameter: &[u8]) -> bool {
    let is_token = |text: &[u8]| !text.is_empty() && all(text, TOKEN);
    match memchr::memchr(b'=', parameter) {
        Some(at) => is_token(&parameter[..at]) && is_token(&parameter[at + 1..]),
        None => is_token(parameter),
    }
}

/// Whether the text consists of the class and of `%HH`.
fn all_but_escapes(text: &[u8], class: u8) -> bool {
    let mut rest = text.iter();
    while let Some(&octet) = rest.next() {
        if octet == b'%' {
            let mut hex = || rest.next().is_some_and(u8::is_ascii_hexdigit);
            if !(hex() && hex()) {
                return false;
            }
        } else if !is(octet, class) {
            return false;
        }
    }
    true
}

/// An IPv6 literal in brackets.
fn ipv6(host: &[u8]) -> Option<Ipv6Addr> {
    let inner = host.strip_prefix(b"[")?.strip_suffix(b"]")?;
    std::str::from_utf8(inner).ok()?.parse().ok()
}

fn same_host(one: &[u8], other: &[u8]) -> bool {
    if one.eq_ignore_ascii_case(other) {
        return true;
    }
    // Only an escape or an IPv6 literal lets texts differ that mean the same.
    let ambiguous = |host: &[u8]| memchr::memchr2(b'%', b'[', host).is_some();
    (ambiguous(one) || ambiguous(other)) && canonical_host(one) == canonical_host(other)
}

fn canonical_host(host: &[u8]) -> Host {
    if let Some(address) = ipv6(host) {
        return Host::Ip(address.into());
    }
    let decoded = decode_unreserved(host);
    let address = std::str::from_utf8(&decoded)
        .ok()
        .and_then(|text| text.parse::<Ipv4Addr>().ok());
    match address {
        Some(address) => Host::Ip(address.into()),
        None => Host::Name(lower_case(&decoded)),
    }
}

fn lower_case(text: &[u8]) -> Box<str> {
    String::from_utf8_lossy(&text.to_ascii_lowercase())
        .into_owned()
        .into_boxed_str()
}

/// Decodes percent-encoded unreserved characters (RFC 3986 §2.3) and no others: those may be delimiters.
fn decode_unreserved(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'%', text).is_none() {
        return Cow::Borrowed(text);
    }
    let hex = |octet: u8| (octet as char).to_digit(16).map(|digit| digit as u8);
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [octet, after @ ..] = rest {
        rest = after;
        if let (b'%', [high, low, after @ ..]) = (*octet, rest)
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            let value = high << 4 | low;
            if value.is_ascii_alphanumeric() || matches!(value, b'-' | b'.' | b'_' | b'~') {
                decoded.push(value);
                rest = after;
                continue;
            }
        }
        decoded.push(*octet);
    }
    Cow::Owned(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri<'_> {
        Uri::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn equivalent(one: &str, other: &str) -> bool {
        let forth = uri(one).equivalent(&uri(other));
        assert_eq!(forth, uri(other).equivalent(&uri(one)), "{one} {other}");
        if forth {
            assert_eq!(uri(one).authority(), uri(other).authority());
        }
        forth
    }

    const TA: &str = "msrps://relay.example.com:2855/6feVCdwK8JxiFRH9IZDR8M;tcp";

    #[test]
    fn a_uri_falls_into_its_parts() {
        let uri = uri("msrps://alice:x;y@Relay.example.com:2855/a/b+c=;tcp;k=v;flag");
        assert_eq!(uri.scheme(), Scheme::Msrps);
        assert_eq!(uri.host(), b"Relay.example.com");
        assert_eq!(uri.port(), Some(2855));
        assert_eq!(uri.session_id(), Some(&b"a/b+c="[..]));
        assert_eq!(uri.transport(), b"tcp");
        assert_eq!(
            uri.authority().to_string(),
            "msrps://relay.example.com:2855;tcp"
        );
    }

    /// SYN-19, SYN-20
    #[test]
    fn legal_uris_parse() {
        for text in [
            TA,
            "msrp://h/s;tcp",
            "msrps://relay.example.com;tcp",
            "msrps://x.invalid:2855/q;ws;k=v",
            "msrps://x.invalid/q;ws",
            "msrp://x.invalid/q;dc",
            "msrp://127.0.0.1:1/a;tcp",
            "msrp://[::1]:2855/a;tcp",
            "msrp://[2001:db8::192.0.2.1]/a;tcp",
            "msrp://bob@relay.example.com:2855/s;tcp",
            "msrp://b%20b@relay.example.com:2855/s;tcp",
            "MSRPS://%72elay.example.com:2855/-._~+=/;TCP",
            "msrp://h:/s;tcp",
            "msrp://h:00002855/s;tcp",
            "msrp://h//;tcp",
        ] {
            uri(text);
        }
    }

    /// SYN-19
    #[test]
    fn illegal_uris_name_the_rule_they_break() {
        for (text, error) in [
            ("", UriError::Scheme),
            ("sip:alice@example.com", UriError::Scheme),
            ("msrpx://h/s;tcp", UriError::Scheme),
            ("msrps:/h/s;tcp", UriError::Scheme),
            ("msrp://", UriError::Host),
            ("msrp:///s;tcp", UriError::Host),
            ("msrp://:2855/s;tcp", UriError::Host),
            ("msrp://h h/s;tcp", UriError::Host),
            ("msrp://h%2/s;tcp", UriError::Host),
            ("msrp://h\u{e9}/s;tcp", UriError::Host),
            ("msrp://[::1/s;tcp", UriError::Host),
            ("msrp://[::g]:1/s;tcp", UriError::Host),
            ("msrp://[::1]1/s;tcp", UriError::Host),
            ("msrp://2001:db8::1/s;tcp", UriError::Port),
            ("msrp://h:65536/s;tcp", UriError::Port),
            ("msrp://h:1x/s;tcp", UriError::Port),
            ("msrp://a b@h:1/s;tcp", UriError::Userinfo),
            ("msrp://h:1/;tcp", UriError::SessionId),
            ("msrp://h:1/a?b;tcp", UriError::SessionId),
            ("msrp://h:1/%61;tcp", UriError::SessionId),
            ("msrp://h:1/a", UriError::Transport),
            ("msrp://h:1/a;", UriError::Transport),
            ("msrp://h:1/a;t-p", UriError::Transport),
            ("msrp://h:1/a;tcp;", UriError::Parameter),
            ("msrp://h:1/a;tcp;k=", UriError::Parameter),
            ("msrp://h:1/a;tcp;k=v=w", UriError::Parameter),
            ("msrp://h:1/a;tcp;k=\"v\"", UriError::Parameter),
        ] {
            assert_eq!(
                Uri::parse(text.as_bytes()).map(|_| ()),
                Err(error),
                "{text}"
            );
        }
    }

    /// URI-03
    #[test]
    fn schemes_match_in_any_case_and_msrp_is_not_msrps() {
        assert!(equivalent(TA, &TA.replace("msrps", "MsRpS")));
        assert!(!equivalent(TA, &TA.replace("msrps", "msrp")));
    }

    /// URI-04
    #[test]
    fn hosts_match_in_any_case_after_decoding_and_without_userinfo() {
        for host in [
            "RELAY.Example.com",
            "%72elay.example.com",
            "%52ELAY%2Eexample%2ecom",
            "bob@relay.example.com",
            "b;b@relay.example.com",
        ] {
            assert!(
                equivalent(TA, &TA.replace("relay.example.com", host)),
                "{host}"
            );
        }
        assert!(!equivalent(TA, &TA.replace("relay", "relax")));
        // A reserved character stays encoded, and its digits match in any case.
        assert!(equivalent("msrp://a%2Fb:1/s;tcp", "msrp://a%2fb:1/s;tcp"));
        assert!(!equivalent("msrp://a%2Cb:1/s;tcp", "msrp://a,b:1/s;tcp"));
    }

    /// URI-05
    #[test]
    fn ip_literals_match_as_addresses() {
        assert!(equivalent(
            "msrp://[::1]:1/s;tcp",
            "msrp://[0:0:0:0:0:0:0:1]:1/s;tcp"
        ));
        assert!(equivalent(
            "msrp://[2001:DB8::1]:1/s;tcp",
            "msrp://[2001:db8:0::0:1]:1/s;tcp"
        ));
        assert!(equivalent(
            "msrp://127.0.0.1:1/s;tcp",
            "msrp://%3127.0.0.1:1/s;tcp"
        ));
        assert!(!equivalent(
            "msrp://127.0.0.1:1/s;tcp",
            "msrp://[::ffff:127.0.0.1]:1/s;tcp"
        ));
        assert_eq!(Host::from_text("::1"), Host::from_text("[0::1]"));
        assert_eq!(
            uri("msrp://[0::1]:1/s;TCP").authority().to_string(),
            "msrp://[::1]:1;tcp"
        );
    }

    /// URI-06
    #[test]
    fn ports_match_exactly_and_an_absent_one_only_an_absent_one() {
        assert!(!equivalent(TA, &TA.replace(":2855", "")));
        assert!(!equivalent(TA, &TA.replace(":2855", ":2856")));
        assert!(equivalent(TA, &TA.replace(":2855", ":02855")));
        assert!(equivalent("msrp://h/s;tcp", "msrp://h:/s;tcp"));
    }

    /// URI-07
    #[test]
    fn session_ids_match_octet_by_octet() {
        assert!(!equivalent(TA, &TA.replace("6feV", "6fev")));
        assert!(!equivalent(TA, &TA.replace("/6feV", "/./6feV")));
        assert!(!equivalent(TA, &TA.replace("/6feVCdwK8JxiFRH9IZDR8M", "")));
    }

    /// URI-08
    #[test]
    fn transports_match_in_any_case_and_further_parameters_do_not_count() {
        assert!(equivalent(TA, &TA.replace(";tcp", ";TCP")));
        assert!(equivalent(TA, &TA.replace(";tcp", ";tcp;x=1")));
        assert!(!equivalent(TA, &TA.replace(";tcp", ";ws")));
    }
}
