//! A WebSocket client of the tests (RFC 6455, RFC 7977), octet by octet, so that it can break every rule. What it
//! receives is checked: one MSRP message in each WebSocket message, text where that is UTF-8 (WSK-04, WSK-05, WSK-07).

#![allow(dead_code, reason = "not every suite comes by WebSocket")]

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::TcpStream;

use msrpload::codec::Message;
use msrpload::codec::stream::{Scanner, Step};
use rustls::{ClientConnection, StreamOwned};

thread_local! {
    /// Whether clients of the test on this thread come by WebSocket.
    static BY_WEB: Cell<bool> = const { Cell::new(false) };
}

/// Runs a test with clients that come by WebSocket.
pub fn by_web(test: impl FnOnce()) {
    BY_WEB.set(true);
    test();
}

pub fn is_by_web() -> bool {
    BY_WEB.get()
}

pub const TEXT: u8 = 0x81;
pub const BINARY: u8 = 0x82;
pub const CLOSE: u8 = 0x88;
pub const PING: u8 = 0x89;
pub const PONG: u8 = 0x8a;

/// The request that opens a connection.
pub fn request(host: &str) -> String {
    format!(
        "GET /msrp HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: msrp\r\n\r\n"
    )
}

/// A masked frame that begins with this octet.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let key = [0x12, 0x34, 0x56, 0x78];
    let mut octets = vec![first];
    match payload.len() {
        len @ 0..=125 => octets.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            octets.push(0x80 | 126);
            octets.extend((len as u16).to_be_bytes());
        }
        len => {
            octets.push(0x80 | 127);
            octets.extend((len as u64).to_be_bytes());
        }
    }
    octets.extend(key);
    octets.extend(payload.iter().zip(key.iter().cycle()).map(|(a, b)| a ^ b));
    octets
}

/// What the connection runs over.
pub enum Below {
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    Plain(TcpStream),
}

impl Below {
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Tls(stream) => &stream.sock,
            Self::Plain(socket) => socket,
        }
    }
}

impl Read for Below {
    fn read(&mut self, octets: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tls(stream) => stream.read(octets),
            Self::Plain(socket) => socket.read(octets),
        }
    }
}

impl Write for Below {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.flush()?;
        let written = match self {
            Self::Tls(stream) => stream.conn.writer().write(octets)?,
            Self::Plain(socket) => socket.write(octets)?,
        };
        // What the socket does not take now is met again at the next write.
        let _ = self.flush();
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            // `StreamOwned` would go on to a read, and block there, when the socket takes no more.
            Self::Tls(stream) => {
                while stream.conn.wants_write() {
                    stream.conn.write_tls(&mut stream.sock)?;
                }
                stream.sock.flush()
            }
            Self::Plain(socket) => socket.flush(),
        }
    }
}

/// A frame that the relay sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub first: u8,
    pub payload: Vec<u8>,
}

/// An open WebSocket connection.
pub struct Web {
    pub below: Below,
    inbound: Vec<u8>,
    outbound: Outbound,
    /// Octets of frames that the relay did not take yet.
    unwritten: Vec<u8>,
    /// With what messages leave.
    pub opcode: u8,
    /// Frames other than messages.
    pub control: Vec<Frame>,
}

impl Web {
    /// Sends the request and reads the answer, which must be 101.
    pub fn open(mut below: Below, request: &str) -> io::Result<Self> {
        below.write_all(request.as_bytes())?;
        let (head, inbound) = read_head(&mut below)?;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert!(head.contains("\r\nSec-WebSocket-Protocol: msrp\r\n"));
        assert!(!head.to_ascii_lowercase().contains("extensions"));
        Ok(Self {
            below,
            inbound,
            outbound: Outbound::default(),
            unwritten: Vec::new(),
            opcode: BINARY,
            control: Vec::new(),
        })
    }

    /// Sends each MSRP message in a WebSocket message of its own, in fragments as the octets are given.
    pub fn write_msrp(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.write_unwritten()?;
        for frame in self.outbound.frames(self.opcode, octets) {
            self.unwritten.extend(frame);
        }
        // What is not taken now comes before the next octets are accepted.
        let _ = self.write_unwritten();
        Ok(octets.len())
    }

    fn write_unwritten(&mut self) -> io::Result<()> {
        while !self.unwritten.is_empty() {
            let written = self.below.write(&self.unwritten)?;
            self.unwritten.drain(..written);
        }
        self.below.flush()
    }

    /// What was not taken before, for no longer than a read may last.
    fn write_while_reading(&mut self) -> io::Result<()> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        let socket = self.below.socket();
        let patience = socket.write_timeout()?;
        socket.set_write_timeout(socket.read_timeout()?)?;
        let _ = self.write_unwritten();
        self.below.socket().set_write_timeout(patience)
    }

    pub fn write_raw(&mut self, octets: &[u8]) {
        self.below.write_all(octets).expect("the relay reads");
        self.below.flush().expect("the relay reads");
    }

    /// Reads once, behind what was not taken before, and gives the octets of whole MSRP messages. None: the relay has closed.
    pub fn read_msrp(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.write_while_reading()?;
        let mut octets = [0; 32 * 1024];
        let mut count = 0;
        if self.inbound.is_empty() || first_frame(&self.inbound).is_none() {
            count = self.below.read(&mut octets)?;
            if count == 0 {
                return Ok(None);
            }
        }
        self.inbound.extend_from_slice(&octets[..count]);
        let mut messages = Vec::new();
        while let Some((frame, len)) = first_frame(&self.inbound) {
            self.inbound.drain(..len);
            match frame.first {
                TEXT | BINARY => {
                    let is_text = std::str::from_utf8(&frame.payload).is_ok();
                    assert_eq!(frame.first == TEXT, is_text, "WSK-04: {frame:?}");
                    if let Err(e) = Message::parse(&frame.payload) {
                        panic!("WSK-05: not one message in a frame: {e}");
                    }
                    messages.extend(frame.payload);
                }
                CLOSE => {
                    self.control.push(frame);
                    return match messages.is_empty() {
                        true => Ok(None),
                        false => Ok(Some(messages)),
                    };
                }
                PING | PONG => self.control.push(frame),
                other => panic!("WSK-07: a frame that begins with {other:#x}"),
            }
        }
        Ok(Some(messages))
    }

    pub fn send_close(&mut self) {
        let _ = self.below.write_all(&frame(CLOSE, &1000_u16.to_be_bytes()));
        let _ = self.below.flush();
        if let Below::Tls(stream) = &mut self.below {
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    }
}

/// Reads an HTTP response head; what follows it.
pub fn read_head(below: &mut Below) -> io::Result<(String, Vec<u8>)> {
    let mut octets = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let count = below.read(&mut piece)?;
        octets.extend_from_slice(&piece[..count]);
        if let Some(at) = octets.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = octets.split_off(at + 4);
            let head = String::from_utf8(octets).expect("a response head is text");
            return Ok((head, rest));
        }
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The unmasked, whole frame at the front and its length.
pub fn first_frame(octets: &[u8]) -> Option<(Frame, usize)> {
    let [first, second, rest @ ..] = octets else {
        return None;
    };
    assert_eq!(second & 0x80, 0, "WSK-07: a server masks nothing");
    let (len, rest) = match second {
        126 => {
            let (len, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*len)), rest)
        }
        127 => {
            let (len, rest) = rest.split_first_chunk::<8>()?;
            (u64::from_be_bytes(*len) as usize, rest)
        }
        len => (usize::from(*len), rest),
    };
    let payload = rest.get(..len)?.to_vec();
    let used = octets.len() - rest.len() + len;
    let first = *first;
    Some((Frame { first, payload }, used))
}

/// Octets of MSRP on their way into frames.
#[derive(Default)]
struct Outbound {
    scanner: Option<Scanner>,
    /// What the scanner has not used up, and how much of its end was not sent.
    tail: Vec<u8>,
    unsent: usize,
    /// Fragments of the message were sent.
    begun: bool,
}

impl Outbound {
    fn frames(&mut self, opcode: u8, octets: &[u8]) -> Vec<Vec<u8>> {
        self.tail.extend_from_slice(octets);
        self.unsent += octets.len();
        let mut frames = Vec::new();
        let mut here = Vec::new();
        loop {
            let scanner = self.scanner.get_or_insert_with(Scanner::new);
            let (used, ends) = match scanner.step(&self.tail) {
                Ok(Step::More) => break,
                Ok(Step::Head { used, .. } | Step::Body { used, .. }) => (used, false),
                Ok(Step::End { used, .. }) => (used, true),
                // What the strict scanner does not read is sent all the same.
                Err(_) => (end_of_malformed(&self.tail), true),
            };
            let sent = self.tail.len() - self.unsent;
            here.extend_from_slice(&self.tail[sent.min(used)..used]);
            self.unsent = self.unsent.min(self.tail.len() - used);
            self.tail.drain(..used);
            if ends {
                frames.push(self.fragment(opcode, &here, true));
                here.clear();
                self.scanner = None;
            }
            if self.tail.is_empty() {
                break;
            }
        }
        here.extend_from_slice(&self.tail[self.tail.len() - self.unsent..]);
        self.unsent = 0;
        if !here.is_empty() {
            frames.push(self.fragment(opcode, &here, false));
        }
        frames
    }

    fn fragment(&mut self, opcode: u8, octets: &[u8], last: bool) -> Vec<u8> {
        let first = match std::mem::replace(&mut self.begun, !last) {
            false => opcode & 0x0f,
            true => 0,
        };
        frame(first | if last { 0x80 } else { 0 }, octets)
    }
}

/// Behind the end-line of the message at the front, by its transact-id alone; all of it where there is none.
fn end_of_malformed(octets: &[u8]) -> usize {
    let text = String::from_utf8_lossy(octets);
    let Some(tid) = text.split([' ', '\r']).nth(1).filter(|tid| !tid.is_empty()) else {
        return octets.len();
    };
    let mark = format!("-------{tid}");
    let at = octets
        .windows(mark.len())
        .position(|window| window == mark.as_bytes());
    at.map_or(octets.len(), |at| octets.len().min(at + mark.len() + 3))
}
