//! The opening handshake (RFC 6455 §4.2, RFC 7977 §4.1): an HTTP request becomes a WebSocket connection that speaks
//! `msrp`, or gets a short answer that says why it does not.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// The largest request head.
pub(super) const HEAD_OCTETS_MAX: usize = 8192;
const HEADERS_MAX: usize = 64;
const SUBPROTOCOL: &str = "msrp";
/// RFC 6455 §1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Which web pages may connect: an Origin is a scheme, a host and a port, compared exactly but for letter case.
/// Empty: all. A request without Origin comes from no web page and is let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Vec<String>);

impl Origins {
    /// Each as a browser sends it: `https://chat.example.com`, with the port where it is not the scheme's own.
    pub fn new(origins: &[String]) -> Self {
        Self(origins.iter().map(|origin| normal(origin)).collect())
    }

    fn allow(&self, origin: &str) -> bool {
        self.0.is_empty() || self.0.contains(&normal(origin))
    }
}

/// Lower case, without the port that the scheme has anyway.
fn normal(origin: &str) -> String {
    let origin = origin.trim().to_ascii_lowercase();
    let port = match origin.split_once("://") {
        Some(("https", _)) => ":443",
        Some(("http", _)) => ":80",
        _ => return origin,
    };
    origin
        .strip_suffix(port)
        .map(str::to_owned)
        .unwrap_or(origin)
}

/// Why a request was not upgraded; for metrics and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeRefused {
    /// It is no HTTP request, or one without Host.
    NotHttp,
    /// More than 8 KiB or 64 headers.
    TooLarge,
    /// HTTP, and no request for a WebSocket: a browser's address line, a probe.
    NotWebSocket,
    /// `Sec-WebSocket-Version` is not 13.
    Version,
    /// No key, or one that is not 16 octets.
    Key,
    /// `msrp` is not among the subprotocols.
    Subprotocol,
    /// Its web page is not among the allowed origins.
    Origin,
    /// The request was for `/healthz`.
    Health,
}

/// What has come of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Upgrade {
    NeedMore,
    /// So many octets were the request; the answer is written.
    Done(usize),
    /// The answer is written, and the connection is to be closed.
    Refused(UpgradeRefused),
}

/// Reads the request at the front of `octets` and appends the answer to `out` once it is complete.
pub(super) fn read(octets: &[u8], origins: &Origins, out: &mut Vec<u8>) -> Upgrade {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let within = &octets[..octets.len().min(HEAD_OCTETS_MAX)];
    let taken = match request.parse(within) {
        Ok(httparse::Status::Complete(taken)) => taken,
        Ok(httparse::Status::Partial) if octets.len() < HEAD_OCTETS_MAX => {
            return Upgrade::NeedMore;
        }
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return refuse(out, UpgradeRefused::TooLarge);
        }
        Err(_) => return refuse(out, UpgradeRefused::NotHttp),
    };
    match judge(&request, origins) {
        Ok(accepted) => {
            accepted.write(out);
            Upgrade::Done(taken)
        }
        Err(why) => refuse(out, why),
    }
}

struct Accepted<'a> {
    key: &'a str,
    origin: Option<&'a str>,
}

impl Accepted<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        let mut hash = Sha1::new();
        hash.update(self.key.as_bytes());
        hash.update(GUID);
        let accept = STANDARD.encode(hash.finalize());
        out.extend_from_slice(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
        );
        out.extend_from_slice(accept.as_bytes());
        out.extend_from_slice(b"\r\nSec-WebSocket-Protocol: msrp\r\n");
        if let Some(origin) = self.origin {
            out.extend_from_slice(b"Access-Control-Allow-Origin: ");
            out.extend_from_slice(origin.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
}

fn judge<'a>(
    request: &httparse::Request<'_, 'a>,
    origins: &Origins,
) -> Result<Accepted<'a>, UpgradeRefused> {
    let headers = Headers(request.headers);
    let path = request.path.unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default();
    let upgrades = headers.lists("upgrade", |token| token.eq_ignore_ascii_case("websocket"));
    if !upgrades && request.method == Some("GET") && path == "/healthz" {
        return Err(UpgradeRefused::Health);
    }
    if request.version == Some(1) && headers.one("host").is_none() {
        return Err(UpgradeRefused::NotHttp);
    }
    let is_upgrade = request.method == Some("GET")
        && request.version == Some(1)
        && upgrades
        && headers.lists("connection", |token| token.eq_ignore_ascii_case("upgrade"));
    if !is_upgrade {
        return Err(UpgradeRefused::NotWebSocket);
    }
    if headers.one("sec-websocket-version") != Some("13") {
        return Err(UpgradeRefused::Version);
    }
    let key = headers
        .one("sec-websocket-key")
        .ok_or(UpgradeRefused::Key)?;
    if !STANDARD.decode(key).is_ok_and(|octets| octets.len() == 16) {
        return Err(UpgradeRefused::Key);
    }
    if !headers.lists("sec-websocket-protocol", |token| token == SUBPROTOCOL) {
        return Err(UpgradeRefused::Subprotocol);
    }
    let origin = headers.one("origin");
    if !origin.is_none_or(|origin| origins.allow(origin)) {
        return Err(UpgradeRefused::Origin);
    }
    Ok(Accepted { key, origin })
}

/// The headers of a request.
struct Headers<'h, 'a>(&'h [httparse::Header<'a>]);

impl<'a> Headers<'_, 'a> {
    fn all(&self, name: &'static str) -> impl Iterator<Item = &'a str> + '_ {
        self.0
            .iter()
            .filter(move |header| header.name.eq_ignore_ascii_case(name))
            .filter_map(|header| std::str::from_utf8(header.value).ok())
            .map(str::trim)
    }

    /// The value of a header that may come once.
    fn one(&self, name: &'static str) -> Option<&'a str> {
        let mut values = self.all(name);
        values.next().filter(|_| values.next().is_none())
    }

    /// Whether one of the tokens of a list is such a one.
    fn lists(&self, name: &'static str, is: impl Fn(&str) -> bool) -> bool {
        self.all(name)
            .any(|value| value.split(',').any(|token| is(token.trim())))
    }
}

fn refuse(out: &mut Vec<u8>, why: UpgradeRefused) -> Upgrade {
    let (status, header, text) = answer(why);
    let head = format!(
        "HTTP/1.1 {status}\r\n{header}Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        text.len()
    );
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(text.as_bytes());
    Upgrade::Refused(why)
}

/// Status, further headers, text.
fn answer(why: UpgradeRefused) -> (&'static str, &'static str, &'static str) {
    match why {
        UpgradeRefused::NotHttp => (
            "400 Bad Request",
            "",
            "This is no HTTP/1.1 request with a Host.\n",
        ),
        UpgradeRefused::TooLarge => (
            "431 Request Header Fields Too Large",
            "",
            "The request head is limited to 8192 octets and 64 header lines.\n",
        ),
        UpgradeRefused::NotWebSocket => (
            "426 Upgrade Required",
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            "This port of an MSRP relay takes WebSocket connections with the subprotocol msrp (RFC 7977).\n",
        ),
        UpgradeRefused::Version => (
            "426 Upgrade Required",
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            "The WebSocket version must be 13 (RFC 6455).\n",
        ),
        UpgradeRefused::Key => (
            "400 Bad Request",
            "",
            "Sec-WebSocket-Key must hold 16 octets in base64 (RFC 6455 section 4.1).\n",
        ),
        UpgradeRefused::Subprotocol => (
            "400 Bad Request",
            "",
            "Sec-WebSocket-Protocol must offer msrp (RFC 7977 section 4.1).\n",
        ),
        UpgradeRefused::Origin => (
            "403 Forbidden",
            "",
            "Web pages of this origin may not connect here.\n",
        ),
        UpgradeRefused::Health => ("200 OK", "", "ok\n"),
    }
}
