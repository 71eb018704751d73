//! One socket with or without TLS and WebSocket: octets in, octets out, never waiting.
//!
//! Buffers for work in progress belong to the thread ([`Scratch`]); a link keeps only a cut record
//! and what the kernel did not take, so that idle ones cost little and busy ones stay in the cache.

use std::io::{self, Read, Write};

use mio::net::TcpStream;

use super::outbox::Outbox;
use super::tls::{Fault, Tls};
use super::web::{Incoming, Web, WebError};

/// As much as one read takes: the default socket buffer holds about as much, and a larger buffer
/// would leave the second-level cache.
const READ_OCTETS: usize = 128 * 1024;

/// Buffers that all links of a thread use in turn.
pub struct Scratch {
    read: Vec<u8>,
    write: Vec<u8>,
    frames: Vec<u8>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            read: vec![0; READ_OCTETS],
            write: Vec::new(),
            frames: Vec::new(),
        }
    }
}

/// Why a link ended.
#[derive(Debug)]
pub enum LinkError<E> {
    Io(io::Error),
    Tls(rustls::Error),
    Web(String),
    Sink(E),
}

/// How a read went.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadOutcome {
    pub octets: usize,
    /// The kernel has no more for now.
    pub drained: bool,
    /// The other side will send nothing more.
    pub ended: bool,
}

pub struct Link {
    stream: TcpStream,
    tls: Option<Tls>,
    web: Option<Box<Web>>,
    /// The beginning of a TLS record.
    cut: Vec<u8>,
    /// What the kernel did not take.
    waiting: Vec<u8>,
    waiting_at: usize,
    connected: bool,
}

impl Link {
    pub fn new(stream: TcpStream, tls: Option<Tls>, web: Option<Web>, connected: bool) -> Self {
        Self {
            stream,
            tls,
            web: web.map(Box::new),
            cut: Vec::new(),
            waiting: Vec::new(),
            waiting_at: 0,
            connected,
        }
    }

    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// TCP is connected, and TLS established where there is some.
    pub fn is_secured(&self) -> bool {
        self.connected && self.tls.as_ref().is_none_or(Tls::is_established)
    }

    /// Messages may be sent.
    pub fn is_open(&self) -> bool {
        self.is_secured() && self.web.as_ref().is_none_or(|web| web.is_open())
    }

    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// It goes by WebSocket.
    pub fn is_web(&self) -> bool {
        self.web.is_some()
    }

    /// The code with which the relay has ended WebSocket: it may have said none.
    pub fn closed_with(&self) -> Option<Option<u16>> {
        self.web.as_ref()?.closed()
    }

    /// Octets that wait for the kernel.
    pub fn waiting(&self) -> usize {
        self.waiting.len() - self.waiting_at
    }

    /// On writability of a socket that was connecting: whether it is connected now.
    pub fn check_connected(&mut self) -> io::Result<bool> {
        if self.connected {
            return Ok(true);
        }
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        match self.stream.peer_addr() {
            Ok(_) => {
                self.stream.set_nodelay(true)?;
                self.connected = true;
                Ok(true)
            }
            Err(e) if e.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Reads once, at most `limit` octets, and gives what it holds to `sink` in pieces.
    pub fn read<E>(
        &mut self,
        scratch: &mut Scratch,
        limit: usize,
        mut sink: impl FnMut(Incoming<'_>) -> Result<(), E>,
    ) -> Result<ReadOutcome, LinkError<E>> {
        let carried = self.cut.len();
        scratch.read[..carried].copy_from_slice(&self.cut);
        let room = (scratch.read.len() - carried).min(limit.max(1));
        let octets = match self.stream.read(&mut scratch.read[carried..carried + room]) {
            Ok(octets) => octets,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                return Ok(ReadOutcome {
                    drained: true,
                    ..ReadOutcome::default()
                });
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(ReadOutcome::default()),
            Err(e) => return Err(LinkError::Io(e)),
        };
        let mut outcome = ReadOutcome {
            octets,
            drained: octets < room,
            ended: octets == 0,
        };
        if octets == 0 {
            return Ok(outcome);
        }
        let input = &mut scratch.read[..carried + octets];
        scratch.frames.clear();
        let (web, answers) = (&mut self.web, &mut scratch.frames);
        let mut plain = |octets: &[u8]| match web {
            None => sink(Incoming::Octets(octets)).map_err(LinkError::Sink),
            Some(web) => web.receive(octets, answers, &mut sink).map_err(web_error),
        };
        let Some(tls) = &mut self.tls else {
            let result = plain(input);
            self.put(&mut scratch.frames).map_err(LinkError::Io)?;
            result?;
            outcome.ended |= self.closed_with().is_some();
            return Ok(outcome);
        };
        scratch.write.clear();
        let result = tls.receive(input, &mut scratch.write, &mut plain);
        let flushed = self.put(&mut scratch.write);
        let received = result.map_err(|fault| match fault {
            Fault::Tls(e) => LinkError::Tls(e),
            Fault::Sink(e) => e,
        })?;
        flushed.map_err(LinkError::Io)?;
        self.cut.clear();
        self.cut.extend_from_slice(&input[received.used..]);
        outcome.ended |= received.closed || self.closed_with().is_some();
        self.ask(&mut scratch.frames);
        self.put_plain(&mut scratch.frames, &mut scratch.write)?;
        Ok(outcome)
    }

    /// Starts TLS, or else WebSocket: a client speaks first.
    pub fn start(&mut self, scratch: &mut Scratch) -> Result<(), LinkError<()>> {
        let Some(tls) = &mut self.tls else {
            scratch.frames.clear();
            self.ask(&mut scratch.frames);
            return self.put(&mut scratch.frames).map_err(LinkError::Io);
        };
        scratch.write.clear();
        tls.receive(&mut [], &mut scratch.write, &mut |_| Ok(()))
            .map_err(|fault| match fault {
                Fault::Tls(e) => LinkError::Tls(e),
                Fault::Sink(()) => unreachable!("nothing was received"),
            })?;
        self.put(&mut scratch.write).map_err(LinkError::Io)
    }

    /// Appends the request for an upgrade, once it may be made.
    fn ask(&mut self, out: &mut Vec<u8>) {
        if self.is_secured()
            && let Some(request) = self.web.as_mut().and_then(|web| web.ask())
        {
            out.extend_from_slice(request.as_bytes());
        }
    }

    /// Sends all of `out` (encrypted together) and empties it; what the kernel does not take
    /// waits here. Call when open only, and not while something waits.
    pub fn write(&mut self, out: &mut Outbox, scratch: &mut Scratch) -> Result<(), LinkError<()>> {
        match &mut self.web {
            None => self.put_plain(&mut out.octets, &mut scratch.write),
            Some(web) => {
                let (octets, ends) = out.messages();
                scratch.frames.clear();
                web.frame(octets, ends, &mut scratch.frames);
                out.clear();
                self.put_plain(&mut scratch.frames, &mut scratch.write)
            }
        }
    }

    /// Sends plain octets, by TLS where there is some, and empties them.
    fn put_plain<E>(
        &mut self,
        plain: &mut Vec<u8>,
        records: &mut Vec<u8>,
    ) -> Result<(), LinkError<E>> {
        if plain.is_empty() {
            return Ok(());
        }
        match &mut self.tls {
            None => self.put(plain).map_err(LinkError::Io),
            Some(tls) => {
                records.clear();
                tls.encrypt(plain, records).map_err(LinkError::Tls)?;
                plain.clear();
                self.put(records).map_err(LinkError::Io)
            }
        }
    }

    /// On writability: gives the kernel what waits.
    pub fn resume(&mut self) -> io::Result<()> {
        while self.waiting() > 0 {
            match self.stream.write(&self.waiting[self.waiting_at..]) {
                Ok(octets) => self.waiting_at += octets,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.waiting.clear();
        self.waiting_at = 0;
        Ok(())
    }

    /// Says goodbye: a close frame, close_notify, then the end of the stream.
    pub fn close(&mut self) {
        if let Some(web) = self.web.as_mut().filter(|web| web.is_open()) {
            let (mut frame, mut records) = (Vec::new(), Vec::new());
            web.close(&mut frame);
            let _ = self.put_plain::<()>(&mut frame, &mut records);
        }
        if let Some(tls) = self.tls.as_mut().filter(|tls| tls.is_established()) {
            let mut out = Vec::new();
            tls.close(&mut out);
            // Whether it gets through is all the same now.
            let _ = self.put(&mut out);
        }
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    fn put(&mut self, octets: &mut Vec<u8>) -> io::Result<()> {
        let mut at = 0;
        if self.waiting() == 0 {
            while at < octets.len() {
                match self.stream.write(&octets[at..]) {
                    Ok(written) => at += written,
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(e),
                }
            }
        }
        self.waiting.extend_from_slice(&octets[at..]);
        octets.clear();
        Ok(())
    }
}

fn web_error<E>(error: WebError<E>) -> LinkError<E> {
    match error {
        WebError::Upgrade(error) => LinkError::Web(error.to_string()),
        WebError::Broken(what) => LinkError::Web(format!("the relay breaks WebSocket: {what}")),
        WebError::Sink(error) => LinkError::Sink(error),
    }
}
