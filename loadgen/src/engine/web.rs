//! WebSocket between TLS and MSRP (RFC 7977): the upgrade, then each MSRP message in a message of its own.

use msrpload::websocket::{Event, Fault, Frames, Opcode, Upgrade, UpgradeError, write_frame};

use crate::ids;
use crate::pattern::mix;

use super::outbox::End;

/// What the layers below hand up.
#[derive(Clone, Copy, Debug)]
pub enum Incoming<'a> {
    Octets(&'a [u8]),
    /// A WebSocket message ends here. Without WebSocket there is none.
    End,
}

/// Why a WebSocket connection ended.
#[derive(Debug)]
pub enum WebError<E> {
    Upgrade(UpgradeError),
    Broken(&'static str),
    Sink(E),
}

pub struct Web {
    host: String,
    state: State,
    frames: Frames,
    /// Masks follow from this and are different for each frame.
    seed: u64,
    /// A part of a message has gone out.
    begun: bool,
    /// The relay has said goodbye, with this code.
    closed: Option<Option<u16>>,
}

enum State {
    Upgrading { upgrade: Upgrade, asked: bool },
    Open,
}

impl Web {
    /// `host` is the relay's name with the port where it listens.
    pub fn new(host: String) -> Self {
        let nonce = ids::letters();
        let seed = u64::from_ne_bytes(ids::letters());
        Self {
            host,
            state: State::Upgrading {
                upgrade: Upgrade::new(nonce),
                asked: false,
            },
            frames: Frames::default(),
            seed,
            begun: false,
            closed: None,
        }
    }

    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// The relay's close frame has come; its code.
    pub fn closed(&self) -> Option<Option<u16>> {
        self.closed
    }

    /// The request, once.
    pub fn ask(&mut self) -> Option<String> {
        match &mut self.state {
            State::Upgrading { upgrade, asked } if !*asked => {
                *asked = true;
                Some(upgrade.request(&self.host))
            }
            _ => None,
        }
    }

    /// Takes decrypted octets; appends to `out` what WebSocket itself has to answer.
    pub fn receive<E>(
        &mut self,
        mut octets: &[u8],
        out: &mut Vec<u8>,
        sink: &mut impl FnMut(Incoming<'_>) -> Result<(), E>,
    ) -> Result<(), WebError<E>> {
        if let State::Upgrading { upgrade, .. } = &mut self.state {
            match upgrade.receive(octets).map_err(WebError::Upgrade)? {
                None => return Ok(()),
                Some(used) => octets = &octets[used..],
            }
            self.state = State::Open;
        }
        let (seed, closed) = (&mut self.seed, &mut self.closed);
        let result = self.frames.read(octets, &mut |event| {
            // Behind a close frame there is nothing.
            if closed.is_some() {
                return Ok(());
            }
            match event {
                Event::Octets(octets) => sink(Incoming::Octets(octets))?,
                Event::End => sink(Incoming::End)?,
                Event::Ping(payload) => {
                    write_frame(out, Opcode::Pong, true, next_mask(seed), payload);
                }
                Event::Close(code) => {
                    let payload = code.map(u16::to_be_bytes);
                    let payload = payload.as_ref().map_or(&[][..], |code| &code[..]);
                    write_frame(out, Opcode::Close, true, next_mask(seed), payload);
                    *closed = Some(code);
                }
            }
            Ok(())
        });
        result.map_err(|fault| match fault {
            Fault::Broken(what) => WebError::Broken(what),
            Fault::Sink(error) => WebError::Sink(error),
        })
    }

    /// Appends the frames of these messages; what follows the last end goes as a fragment of the message that begins there.
    pub fn frame(&mut self, octets: &[u8], ends: &[End], out: &mut Vec<u8>) {
        let mut from = 0;
        for (end, opcode) in ends {
            self.fragment(*opcode, true, &octets[from..*end], out);
            from = *end;
        }
        if from < octets.len() {
            self.fragment(Opcode::Binary, false, &octets[from..], out);
        }
    }

    fn fragment(&mut self, opcode: Opcode, last: bool, octets: &[u8], out: &mut Vec<u8>) {
        let opcode = match std::mem::replace(&mut self.begun, !last) {
            true => Opcode::Continuation,
            false => opcode,
        };
        write_frame(out, opcode, last, next_mask(&mut self.seed), octets);
    }

    /// Appends a close frame (RFC 6455 §5.5.1), unless that was said already.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        if self.is_open() && self.closed.is_none() {
            let normal = 1000_u16.to_be_bytes();
            write_frame(out, Opcode::Close, true, next_mask(&mut self.seed), &normal);
        }
    }
}

/// Nobody here is to be protected from a script that chooses octets, which masks are for: fresh and well mixed is enough.
fn next_mask(seed: &mut u64) -> [u8; 4] {
    *seed = seed.wrapping_add(1);
    let mixed = mix(*seed).to_ne_bytes();
    [mixed[0], mixed[1], mixed[2], mixed[3]]
}
