//! Puts a message together again from the pieces in which the relay sent it, and checks each piece
//! as CHK-04, CHK-05, CHK-08 and CHK-16 want it.

use std::time::Duration;

use msrpload::codec::Message;
use sha2::{Digest, Sha256};

use super::client::{Client, SOON};
use super::message::{lasting_headers, response};

/// Bodies up to here are kept, for tests that compare octets.
const KEPT_MAX: usize = 16 * 1024 * 1024;

pub struct Piece {
    /// The message without its body.
    pub message: Message,
    pub octets: u64,
}

pub struct Assembly {
    pub pieces: Vec<Piece>,
    pub octets: u64,
    pub body: Vec<u8>,
    start: u64,
    hasher: Sha256,
    answers: bool,
}

impl Assembly {
    pub fn new() -> Self {
        Self::from(1)
    }

    /// The first piece begins at this position.
    pub fn from(start: u64) -> Self {
        Self {
            pieces: Vec::new(),
            octets: 0,
            body: Vec::new(),
            start,
            hasher: Sha256::new(),
            answers: false,
        }
    }

    /// Every piece is answered with 200.
    pub fn answering(mut self) -> Self {
        self.answers = true;
        self
    }

    /// Takes pieces until one ends with `$` or `#`.
    pub fn finish(mut self, client: &mut Client) -> Self {
        while self.take(client, SOON) == b'+' {}
        self
    }

    /// Takes the next piece, which must be the client's next message; its flag.
    pub fn take(&mut self, client: &mut Client, within: Duration) -> u8 {
        let (hasher, body) = (&mut self.hasher, &mut self.body);
        let mut octets = 0;
        let message = client.expect_streamed(within, &mut |part| {
            octets += part.len() as u64;
            hasher.update(part);
            if body.len() + part.len() <= KEPT_MAX {
                body.extend_from_slice(part);
            }
        });
        if self.answers {
            client.send(response(&message, "200 OK"));
        }
        self.add(message, octets)
    }

    /// As [`Self::take`], for a message that has been received already.
    pub fn take_received(&mut self, message: Message) -> u8 {
        let octets = message.body().to_vec();
        self.hasher.update(&octets);
        self.body.extend_from_slice(&octets);
        self.add(message, octets.len() as u64)
    }

    fn add(&mut self, message: Message, octets: u64) -> u8 {
        assert_eq!(
            message.method(),
            Some("SEND"),
            "a piece was due, this came:\n{message:?}"
        );
        let begins = self.start + self.octets;
        if let Some(range) = message.byte_range() {
            assert_eq!(range.start, begins, "the pieces join:\n{message:?}");
            if let Some(end) = range.end {
                assert_eq!(
                    end + 1,
                    range.start + octets,
                    "range-end is exact (CHK-09):\n{message:?}"
                );
                assert!(
                    octets <= 2048,
                    "over 2048 octets range-end is * (CHK-02):\n{message:?}"
                );
            }
        } else {
            assert_eq!(
                begins, 1,
                "only a first piece needs no range (CHK-17):\n{message:?}"
            );
        }
        if let Some(first) = self.pieces.first() {
            let first = &first.message;
            assert_eq!(lasting_headers(&message), lasting_headers(first), "CHK-16");
            assert_eq!(message.to_path, first.to_path);
            assert_eq!(message.from_path, first.from_path);
            let total = |m: &Message| m.byte_range().map(|range| range.total);
            assert_eq!(total(&message), total(first), "the total stays (CHK-08)");
            let reused = self
                .pieces
                .iter()
                .any(|piece| piece.message.tid == message.tid);
            assert!(!reused, "every piece has a new tid (CHK-04)");
        }
        self.octets += octets;
        let flag = message.flag;
        self.pieces.push(Piece { message, octets });
        flag
    }

    pub fn sha256(&self) -> [u8; 32] {
        self.hasher.clone().finalize().into()
    }

    pub fn first(&self) -> &Message {
        &self.pieces[0].message
    }

    pub fn flag(&self) -> u8 {
        self.pieces.last().map_or(0, |piece| piece.message.flag)
    }
}
