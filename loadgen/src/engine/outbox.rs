//! What a connection will send: MSRP, and, where it goes by WebSocket, where each message ends.

use msrpload::websocket::Opcode;

use crate::ids::TID_OCTETS;

use super::template;

/// The end of a message among the octets, and as what it goes.
pub type End = (usize, Opcode);

#[derive(Debug, Default)]
pub struct Outbox {
    /// Whoever appends the end of a message says so with [`Self::end_line`] or [`Self::end_text`].
    pub octets: Vec<u8>,
    ends: Vec<End>,
    is_framed: bool,
}

impl Outbox {
    /// `is_framed`: each message becomes one of WebSocket (RFC 7977 §5.1).
    pub fn new(is_framed: bool) -> Self {
        Self {
            is_framed,
            ..Self::default()
        }
    }

    pub fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    pub fn len(&self) -> usize {
        self.octets.len()
    }

    /// Appends a whole message without a body.
    pub fn text(&mut self, message: &[u8]) {
        self.octets.extend_from_slice(message);
        self.end_text();
    }

    /// A message of nothing but head and end-line, which are ASCII, ends here.
    pub fn end_text(&mut self) {
        if self.is_framed {
            self.ends.push((self.octets.len(), Opcode::Text));
        }
    }

    /// Appends the end-line of a message with body.
    pub fn end_line(&mut self, tid: &[u8; TID_OCTETS], flag: u8) {
        template::end_line(&mut self.octets, tid, flag);
        if self.is_framed {
            self.ends.push((self.octets.len(), Opcode::Binary));
        }
    }

    /// What is in it, with the ends of messages; behind the last one stands the beginning of a message with body.
    pub fn messages(&self) -> (&[u8], &[End]) {
        (&self.octets, &self.ends)
    }

    pub fn clear(&mut self) {
        self.octets.clear();
        self.ends.clear();
    }
}
