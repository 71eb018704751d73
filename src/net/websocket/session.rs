//! One WebSocket connection, server side, as a transformer of octets.

use std::sync::Arc;

use super::close::{self, CloseCode};
use super::frame::{self, CONTROL_OCTETS_MAX, HEADER_OCTETS_MAX, Header, Malformed, Opcode};
use super::handshake::{self, HEAD_OCTETS_MAX, Origins, Upgrade, UpgradeRefused};
use super::mask;
use super::utf8::Utf8;

/// Bounds of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebSocketLimits {
    /// Octets of one incoming message. It is passed on while it arrives, so that this bounds no memory.
    pub message_octets: u64,
}

/// What came in.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The upgrade is done, and its answer appended to `out`: messages may flow.
    Open,
    /// A message that lies in one piece.
    Message(&'a [u8]),
    /// Octets of a message, never none. Others follow, or [`End`](Self::End).
    Part(&'a [u8]),
    /// The message is complete, of which parts came. One without any octets ends with this alone.
    End,
    /// The other side sends no more messages. It expects [`WebSocket::close`].
    Closed,
}

/// Why the connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No upgrade. The HTTP answer is appended to `out`.
    Refused(UpgradeRefused),
    /// A rule of RFC 6455 is broken: what, and the code for [`WebSocket::close`].
    Broken(CloseCode, &'static str),
}

/// A connection from the request that upgrades it to its closing handshake.
#[derive(Debug)]
pub struct WebSocket {
    state: State,
    limits: WebSocketLimits,
    /// A frame header of which a part has come.
    header: [u8; HEADER_OCTETS_MAX],
    header_len: u8,
    /// The frame whose payload arrives.
    frame: Option<Frame>,
    /// The message whose frames arrive.
    message: Option<Message>,
    /// Payload of the control frame that arrives.
    control: Vec<u8>,
    /// The other side's close code, if it said one.
    their_code: Option<[u8; 2]>,
    /// Something came since the last [`WebSocket::ping`].
    heard: bool,
    unanswered_pings: u8,
}

#[derive(Debug)]
enum State {
    /// The request head, as far as it has come.
    Upgrade {
        octets: Vec<u8>,
        origins: Arc<Origins>,
    },
    Open,
    /// The other side has closed, or broken a rule: nothing is read any more.
    Ended,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    header: Header,
    /// Octets of its payload that have come.
    position: u64,
}

#[derive(Clone, Copy, Debug)]
struct Message {
    /// A text message: what came of it, for its validity.
    text: Option<Utf8>,
    octets: u64,
    /// Octets of it were given away.
    begun: bool,
}

/// Pings without an answer before the other side counts as gone.
const PINGS_MAX: u8 = 2;

impl WebSocket {
    /// For an accepted connection of which nothing was read.
    pub fn new(origins: Arc<Origins>, limits: WebSocketLimits) -> Self {
        Self {
            state: State::Upgrade {
                octets: Vec::new(),
                origins,
            },
            limits,
            header: [0; HEADER_OCTETS_MAX],
            header_len: 0,
            frame: None,
            message: None,
            control: Vec::new(),
            their_code: None,
            heard: false,
            unanswered_pings: 0,
        }
    }

    /// Takes all of `input`, which it unmasks in place; hands what it holds to `event`, in order; appends answers
    /// (the upgrade's, pongs) to `out`. With `pongs` false pings go without answer: the other side does not read.
    pub fn read(
        &mut self,
        input: &mut [u8],
        pongs: bool,
        event: &mut dyn FnMut(Event<'_>),
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        self.heard = true;
        let mut rest = Vec::new();
        let input = match &mut self.state {
            State::Ended => return Ok(()),
            State::Open => input,
            State::Upgrade { octets, origins } => {
                let room = HEAD_OCTETS_MAX.saturating_sub(octets.len());
                let before = octets.len();
                octets.extend_from_slice(&input[..input.len().min(room)]);
                match handshake::read(octets, origins, out) {
                    Upgrade::NeedMore => return Ok(()),
                    Upgrade::Refused(why) => {
                        self.state = State::Ended;
                        return Err(Failure::Refused(why));
                    }
                    Upgrade::Done(taken) => {
                        // What was kept of earlier reads was not a whole head, so the end is in this one.
                        let taken = taken - before;
                        self.state = State::Open;
                        event(Event::Open);
                        rest.extend_from_slice(&input[taken..]);
                        &mut rest[..]
                    }
                }
            }
        };
        let frames = self.frames(input, pongs, event, out);
        if let Err(failure) = frames {
            self.end();
            return Err(failure);
        }
        Ok(())
    }

    /// Appends `message` as one frame: text where all of it is UTF-8, else binary (D-26).
    pub fn write(&self, message: &[u8], out: &mut Vec<u8>) {
        let opcode = match std::str::from_utf8(message) {
            Ok(_) => Opcode::Text,
            Err(_) => Opcode::Binary,
        };
        frame::write(out, opcode, message.len());
        out.extend_from_slice(message);
    }

    /// Appends a close frame, the last one that we send. An answer to the other side's repeats its code.
    pub fn close(&mut self, code: CloseCode, out: &mut Vec<u8>) {
        if matches!(self.state, State::Upgrade { .. }) {
            return;
        }
        let code = self.their_code.unwrap_or((code as u16).to_be_bytes());
        frame::write(out, Opcode::Close, code.len());
        out.extend_from_slice(&code);
    }

    /// To be called at regular intervals: appends a ping if nothing came since the last call. False: the other side
    /// has left two pings unanswered.
    pub fn ping(&mut self, out: &mut Vec<u8>) -> bool {
        if !matches!(self.state, State::Open) {
            return true;
        }
        if std::mem::take(&mut self.heard) {
            self.unanswered_pings = 0;
            return true;
        }
        if self.unanswered_pings >= PINGS_MAX {
            return false;
        }
        self.unanswered_pings += 1;
        frame::write(out, Opcode::Ping, 0);
        true
    }

    /// The upgrade is done.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    fn end(&mut self) {
        self.state = State::Ended;
        self.control = Vec::new();
        self.frame = None;
        self.message = None;
    }

    fn frames(
        &mut self,
        mut input: &mut [u8],
        pongs: bool,
        event: &mut dyn FnMut(Event<'_>),
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        loop {
            let mut frame = match self.frame.take() {
                Some(frame) => frame,
                None => {
                    let (header, rest) = self.header(input)?;
                    input = rest;
                    let Some(header) = header else { return Ok(()) };
                    self.begins(&header)?;
                    Frame {
                        header,
                        position: 0,
                    }
                }
            };
            let left = frame.header.payload - frame.position;
            let here = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
            let (payload, rest) = input.split_at_mut(here);
            input = rest;
            mask::apply(payload, frame.header.mask, frame.position);
            frame.position += payload.len() as u64;
            let complete = frame.position == frame.header.payload;
            match frame.header.opcode.is_control() {
                true => self.control.extend_from_slice(payload),
                false => self.data(payload, complete && frame.header.fin, event)?,
            }
            if !complete {
                self.frame = Some(frame);
                return Ok(());
            }
            if frame.header.opcode.is_control()
                && self.control_frame(frame.header.opcode, pongs, out)?
            {
                self.end();
                event(Event::Closed);
                return Ok(());
            }
        }
    }

    /// The next header, if it is complete, and what follows it.
    fn header<'a>(
        &mut self,
        input: &'a mut [u8],
    ) -> Result<(Option<Header>, &'a mut [u8]), Failure> {
        let kept = usize::from(self.header_len);
        let more = input.len().min(HEADER_OCTETS_MAX - kept);
        self.header[kept..kept + more].copy_from_slice(&input[..more]);
        match frame::read(&self.header[..kept + more]).map_err(broken)? {
            Some((header, len)) => {
                self.header_len = 0;
                Ok((Some(header), &mut input[len - kept..]))
            }
            None => {
                self.header_len = (kept + more) as u8;
                Ok((None, &mut input[more..]))
            }
        }
    }

    /// Whether a frame may begin here, and with it a message.
    fn begins(&mut self, header: &Header) -> Result<(), Failure> {
        let octets = match (header.opcode, &self.message) {
            (Opcode::Continuation, None) => return Err(protocol("a continuation of nothing")),
            (Opcode::Text | Opcode::Binary, Some(_)) => {
                return Err(protocol("a message inside another one"));
            }
            (Opcode::Text | Opcode::Binary, None) => {
                self.message = Some(Message {
                    text: (header.opcode == Opcode::Text).then(Utf8::default),
                    octets: 0,
                    begun: false,
                });
                0
            }
            (Opcode::Continuation, Some(message)) => message.octets,
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => return Ok(()),
        };
        let octets = octets.saturating_add(header.payload);
        if octets > self.limits.message_octets {
            return Err(Failure::Broken(CloseCode::TooBig, "a message is too large"));
        }
        if let Some(message) = &mut self.message {
            message.octets = octets;
        }
        Ok(())
    }

    /// Octets of a message; `last`: they are its end.
    fn data(
        &mut self,
        payload: &[u8],
        last: bool,
        event: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Failure> {
        const NOT_UTF8: Failure =
            Failure::Broken(CloseCode::NotUtf8, "a text message is not UTF-8");
        let Some(message) = &mut self.message else {
            return Err(protocol("a continuation of nothing"));
        };
        if let Some(text) = &mut message.text {
            text.push(payload).map_err(|_| NOT_UTF8)?;
            if last {
                text.end().map_err(|_| NOT_UTF8)?;
            }
        }
        let whole = last && !message.begun && !payload.is_empty();
        message.begun |= !payload.is_empty();
        if whole {
            event(Event::Message(payload));
        } else {
            if !payload.is_empty() {
                event(Event::Part(payload));
            }
            if last {
                event(Event::End);
            }
        }
        if last {
            self.message = None;
        }
        Ok(())
    }

    /// A control frame is complete. True: it was a close.
    fn control_frame(
        &mut self,
        opcode: Opcode,
        pongs: bool,
        out: &mut Vec<u8>,
    ) -> Result<bool, Failure> {
        let payload = std::mem::take(&mut self.control);
        debug_assert!(payload.len() as u64 <= CONTROL_OCTETS_MAX);
        match opcode {
            Opcode::Ping if pongs => {
                frame::write(out, Opcode::Pong, payload.len());
                out.extend_from_slice(&payload);
            }
            Opcode::Close => {
                close::is_legal(&payload).map_err(|code| {
                    Failure::Broken(code, "a close frame with an illegal payload")
                })?;
                self.their_code = payload.first_chunk::<2>().copied();
                return Ok(true);
            }
            _ => {}
        }
        Ok(false)
    }
}

fn protocol(what: &'static str) -> Failure {
    Failure::Broken(CloseCode::Protocol, what)
}

fn broken(malformed: Malformed) -> Failure {
    protocol(match malformed {
        Malformed::ReservedBits => "a frame with a reserved bit",
        Malformed::Opcode => "a frame with a reserved opcode",
        Malformed::Unmasked => "a frame that is not masked",
        Malformed::Control => "a control frame in pieces or of more than 125 octets",
        Malformed::Length => "a frame with an illegal length",
    })
}
