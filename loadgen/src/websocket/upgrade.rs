//! The opening handshake of a client (RFC 6455 §4.1, RFC 7977 §4.1).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

/// RFC 6455 §1.3.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const SUBPROTOCOL: &str = "msrp";
/// More than any server needs for its answer.
const ANSWER_OCTETS_MAX: usize = 8192;

/// Why there is no WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpgradeError {
    /// The server says no: its status line, and the beginning of what it says about it.
    Refused(String),
    /// It answers something that RFC 6455 or RFC 7977 does not allow.
    Broken(&'static str),
}

impl fmt::Display for UpgradeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(said) => write!(f, "the upgrade to WebSocket was refused: {said}"),
            Self::Broken(what) => write!(f, "the upgrade to WebSocket failed: {what}"),
        }
    }
}

impl std::error::Error for UpgradeError {}

/// One handshake.
#[derive(Debug)]
pub struct Upgrade {
    key: String,
    answer: Vec<u8>,
}

impl Upgrade {
    /// `nonce` must be fresh.
    pub fn new(nonce: [u8; 16]) -> Self {
        Self {
            key: STANDARD.encode(nonce),
            answer: Vec::new(),
        }
    }

    /// What to send. `host` is the server's name, with the port where that is not the scheme's own.
    pub fn request(&self, host: &str) -> String {
        format!(
            "GET /msrp HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {}\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n",
            self.key
        )
    }

    /// Takes received octets. `None`: more of the answer has to come; else how many of these belong to it, and frames may
    /// follow.
    pub fn receive(&mut self, octets: &[u8]) -> Result<Option<usize>, UpgradeError> {
        let before = self.answer.len();
        self.answer.extend_from_slice(octets);
        let end = memchr::memmem::find(&self.answer, b"\r\n\r\n");
        let Some(end) = end.filter(|end| *end <= ANSWER_OCTETS_MAX) else {
            return match self.answer.len() {
                0..=ANSWER_OCTETS_MAX => Ok(None),
                _ => Err(UpgradeError::Broken("its answer has no end")),
            };
        };
        let head = String::from_utf8_lossy(&self.answer[..end]).into_owned();
        self.judge(&head, &self.answer[end + 4..])?;
        Ok(Some(end + 4 - before))
    }

    fn judge(&self, head: &str, body: &[u8]) -> Result<(), UpgradeError> {
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap_or_default();
        if !status.starts_with("HTTP/1.1 101") {
            let said = String::from_utf8_lossy(body);
            let said = said.trim().chars().take(200);
            let said: String = said.map(|c| if c.is_control() { ' ' } else { c }).collect();
            return Err(UpgradeError::Refused(match said.is_empty() {
                true => status.to_owned(),
                false => format!("{status}: {said}"),
            }));
        }
        let headers: Vec<(&str, &str)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim(), value.trim()))
            .collect();
        let value = |name: &str| {
            let mut found = headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
            found.next().map(|(_, value)| *value)
        };
        let is = |name: &str, wanted: &str| {
            value(name).is_some_and(|value| value.eq_ignore_ascii_case(wanted))
        };
        let accept = STANDARD.encode(Sha1::digest(format!("{}{GUID}", self.key)));
        if !is("Upgrade", "websocket") || !is("Connection", "upgrade") {
            return Err(UpgradeError::Broken("its 101 upgrades to nothing"));
        }
        if value("Sec-WebSocket-Accept") != Some(&accept) {
            return Err(UpgradeError::Broken("its Sec-WebSocket-Accept is wrong"));
        }
        if value("Sec-WebSocket-Protocol") != Some(SUBPROTOCOL) {
            return Err(UpgradeError::Broken(
                "it does not choose the subprotocol msrp",
            ));
        }
        match value("Sec-WebSocket-Extensions") {
            None => Ok(()),
            Some(_) => Err(UpgradeError::Broken("it chooses an extension unasked")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of RFC 6455 §1.3 is these octets in base 64.
    const NONCE: [u8; 16] = *b"the sample nonce";
    const ANSWER: &str = "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nConnection: Upgrade\r\n\
                          Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: msrp\r\n\r\n";

    #[test]
    fn handshake_of_rfc_6455_1_3_with_the_subprotocol_msrp() {
        let request = Upgrade::new(NONCE).request("relay.test:8443");
        assert!(request.contains("\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"));
        assert!(request.contains("\r\nHost: relay.test:8443\r\n"));
        for piece in [1, 7, 1000] {
            let mut upgrade = Upgrade::new(NONCE);
            let octets = [ANSWER.as_bytes(), b"\x81\x00"].concat();
            let mut used = 0;
            for piece in octets.chunks(piece) {
                match upgrade.receive(piece).unwrap() {
                    None => used += piece.len(),
                    Some(more) => {
                        used += more;
                        break;
                    }
                }
            }
            assert_eq!(used, ANSWER.len(), "pieces of {piece}");
        }
    }

    #[test]
    fn answers_that_open_no_connection_say_why() {
        let judged = |answer: &str| Upgrade::new(NONCE).receive(answer.as_bytes()).unwrap_err();
        let refused = judged("HTTP/1.1 403 Forbidden\r\n\r\nThis origin is not allowed.\n");
        assert_eq!(
            refused.to_string(),
            "the upgrade to WebSocket was refused: HTTP/1.1 403 Forbidden: This origin is not allowed."
        );
        for (from, to, part) in [
            ("s3pPLMBi", "AAAAAAAA", "Accept"),
            ("Protocol: msrp", "Protocol: sip", "subprotocol"),
            ("WebSocket\r\n", "h2c\r\n", "nothing"),
            (
                "\r\n\r\n",
                "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
                "extension",
            ),
        ] {
            let wrong = judged(&ANSWER.replacen(from, to, 1)).to_string();
            assert!(wrong.contains(part), "{wrong}");
        }
        let endless = "HTTP/1.1 101 x\r\n".repeat(1000);
        assert!(judged(&endless).to_string().contains("no end"));
    }
}
