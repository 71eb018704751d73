//! One socket with or without TLS: octets in, octets out, never waiting.
//!
//! Buffers for work in progress belong to the thread ([`Scratch`]); a link keeps only a cut record
//! and what the kernel did not take, so that idle ones cost little and busy ones stay in the cache.

use std::io::{self, Read, Write};

use mio::net::TcpStream;

use super::tls::{Fault, Tls};

/// As much as one read takes: the default socket buffer holds about as much, and a larger buffer
/// would leave the second-level cache.
const READ_OCTETS: usize = 128 * 1024;

/// Buffers that all links of a thread use in turn.
pub struct Scratch {
    read: Vec<u8>,
    write: Vec<u8>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            read: vec![0; READ_OCTETS],
            write: Vec::new(),
        }
    }
}

/// Why a link ended.
#[derive(Debug)]
pub enum LinkError<E> {
    Io(io::Error),
    Tls(rustls::Error),
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
    /// The beginning of a TLS record.
    cut: Vec<u8>,
    /// What the kernel did not take.
    waiting: Vec<u8>,
    waiting_at: usize,
    connected: bool,
}

impl Link {
    pub fn new(stream: TcpStream, tls: Option<Tls>, connected: bool) -> Self {
        Self {
            stream,
            tls,
            cut: Vec::new(),
            waiting: Vec::new(),
            waiting_at: 0,
            connected,
        }
    }

    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Messages may be sent.
    pub fn is_open(&self) -> bool {
        self.connected && self.tls.as_ref().is_none_or(Tls::is_established)
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

    /// Reads once, at most `limit` octets, and gives the plain octets to `sink` in pieces.
    pub fn read<E>(
        &mut self,
        scratch: &mut Scratch,
        limit: usize,
        mut sink: impl FnMut(&[u8]) -> Result<(), E>,
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
        let Some(tls) = &mut self.tls else {
            sink(input).map_err(LinkError::Sink)?;
            return Ok(outcome);
        };
        scratch.write.clear();
        let result = tls.receive(input, &mut scratch.write, &mut sink);
        let flushed = self.put(&mut scratch.write);
        let received = result.map_err(|fault| match fault {
            Fault::Tls(e) => LinkError::Tls(e),
            Fault::Sink(e) => LinkError::Sink(e),
        })?;
        flushed.map_err(LinkError::Io)?;
        self.cut.clear();
        self.cut.extend_from_slice(&input[received.used..]);
        outcome.ended |= received.closed;
        Ok(outcome)
    }

    /// Starts TLS: a client speaks first.
    pub fn start_tls(&mut self, scratch: &mut Scratch) -> Result<(), LinkError<()>> {
        let Some(tls) = &mut self.tls else {
            return Ok(());
        };
        scratch.write.clear();
        tls.receive(&mut [], &mut scratch.write, &mut |_| Ok(()))
            .map_err(|fault| match fault {
                Fault::Tls(e) => LinkError::Tls(e),
                Fault::Sink(()) => unreachable!("nothing was received"),
            })?;
        self.put(&mut scratch.write).map_err(LinkError::Io)
    }

    /// Sends all of `plain` (encrypted together) and empties it; what the kernel does not take
    /// waits here. Call when open only, and not while something waits.
    pub fn write(
        &mut self,
        plain: &mut Vec<u8>,
        scratch: &mut Scratch,
    ) -> Result<(), LinkError<()>> {
        match &mut self.tls {
            None => self.put(plain).map_err(LinkError::Io),
            Some(tls) => {
                scratch.write.clear();
                tls.encrypt(plain, &mut scratch.write)
                    .map_err(LinkError::Tls)?;
                plain.clear();
                self.put(&mut scratch.write).map_err(LinkError::Io)
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

    /// Says goodbye: close_notify, then the end of the stream.
    pub fn close(&mut self) {
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
