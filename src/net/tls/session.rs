//! One TLS connection: ciphertext in, octets out, and the other way round, in the caller's
//! buffers. Between messages it holds no buffer.

use std::fmt;
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use rustls::{ClientConfig, ServerConfig};

use super::TlsContext;

/// TLS failed; the text says how.
#[derive(Debug)]
pub struct TlsError(String);

impl TlsError {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsError {}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        Self(error.to_string())
    }
}

/// What a read brought besides octets.
#[derive(Clone, Copy, Default, Debug)]
pub struct ReadOutcome {
    /// The handshake was completed by it.
    pub handshake_done_now: bool,
    /// The other side will send nothing more.
    pub close_notify: bool,
}

enum Side {
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
}

/// A TLS connection, accepted or dialled.
pub struct TlsSession {
    side: Side,
    established: bool,
    close_notify: bool,
    /// A record that was cut by the end of a read, and before the handshake is done all that
    /// was not consumed.
    cut: Vec<u8>,
}

/// Header of a record.
const RECORD_HEADER: usize = 5;
/// What one record takes beyond its octets, in either version.
const RECORD_OVERHEAD: usize = 64;
const RECORD_OCTETS: usize = 16_384;

impl TlsSession {
    pub(super) fn server(config: Arc<ServerConfig>) -> Self {
        let connection = UnbufferedServerConnection::new(config)
            .expect("the configuration was built for a server");
        Self::new(Side::Server(Box::new(connection)))
    }

    pub(super) fn client(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, TlsError> {
        Ok(Self::new(Side::Client(Box::new(
            UnbufferedClientConnection::new(config, name)?,
        ))))
    }

    fn new(side: Side) -> Self {
        Self {
            side,
            established: false,
            close_notify: false,
            cut: Vec::new(),
        }
    }

    pub fn is_established(&self) -> bool {
        self.established
    }

    /// A client's first flight.
    pub fn start(&mut self, out: &mut Vec<u8>) -> Result<(), TlsError> {
        self.process(&mut [], &mut |_| {}, out).map(|_| ())
    }

    /// Consumes ciphertext, decrypting in place; each record's octets go to `plain`, what must
    /// be answered below MSRP is appended to `out`. On an error `out` may hold an alert.
    pub fn read(
        &mut self,
        input: &mut [u8],
        plain: &mut dyn FnMut(&[u8]),
        out: &mut Vec<u8>,
    ) -> Result<ReadOutcome, TlsError> {
        let was = (self.established, self.close_notify);
        let mut rest = input;
        if !self.cut.is_empty() {
            // Only the cut record is completed here, the others stay where they are. A
            // handshake message may span records, so until it is done all are kept together.
            let wanted = if self.established {
                self.missing()
            } else {
                rest.len()
            };
            let (head, tail) = rest.split_at_mut(wanted.min(rest.len()));
            self.cut.extend_from_slice(head);
            rest = tail;
            if self.established && self.missing() > 0 && rest.is_empty() {
                return Ok(self.outcome(was));
            }
            self.process_cut(plain, out)?;
            if !self.cut.is_empty() && !rest.is_empty() {
                self.cut.extend_from_slice(rest);
                self.process_cut(plain, out)?;
                return Ok(self.outcome(was));
            }
        }
        if !rest.is_empty() {
            let used = self.process(rest, plain, out)?;
            if used < rest.len() {
                self.cut.extend_from_slice(&rest[used..]);
            }
        }
        Ok(self.outcome(was))
    }

    fn outcome(&self, (established, close_notify): (bool, bool)) -> ReadOutcome {
        ReadOutcome {
            handshake_done_now: self.established && !established,
            close_notify: self.close_notify && !close_notify,
        }
    }

    /// Octets that the cut record wants, as far as its header tells.
    fn missing(&self) -> usize {
        match self.cut.get(3..RECORD_HEADER) {
            Some(length) => {
                let whole = RECORD_HEADER + usize::from(u16::from_be_bytes([length[0], length[1]]));
                whole.saturating_sub(self.cut.len())
            }
            None => RECORD_HEADER - self.cut.len(),
        }
    }

    fn process_cut(
        &mut self,
        plain: &mut dyn FnMut(&[u8]),
        out: &mut Vec<u8>,
    ) -> Result<(), TlsError> {
        let mut cut = std::mem::take(&mut self.cut);
        let used = self.process(&mut cut, plain, out)?;
        if used < cut.len() {
            cut.drain(..used);
            self.cut = cut;
        }
        Ok(())
    }

    fn process(
        &mut self,
        input: &mut [u8],
        plain: &mut dyn FnMut(&[u8]),
        out: &mut Vec<u8>,
    ) -> Result<usize, TlsError> {
        let mut used = 0;
        loop {
            let (consumed, next) = match &mut self.side {
                Side::Server(connection) => step(
                    connection.process_tls_records(&mut input[used..]),
                    plain,
                    out,
                ),
                Side::Client(connection) => step(
                    connection.process_tls_records(&mut input[used..]),
                    plain,
                    out,
                ),
            };
            used += consumed;
            match next {
                Ok(Next::Again) => {}
                Ok(Next::PeerClosed) => self.close_notify = true,
                Ok(Next::Blocked) => break,
                Err(error) => {
                    self.alert(out);
                    return Err(error.into());
                }
            }
        }
        self.established |= !match &self.side {
            Side::Server(connection) => connection.is_handshaking(),
            Side::Client(connection) => connection.is_handshaking(),
        };
        Ok(used)
    }

    /// After an error: what rustls wants to say about it.
    fn alert(&mut self, out: &mut Vec<u8>) {
        for _ in 0..4 {
            let (_, next) = match &mut self.side {
                Side::Server(connection) => {
                    step(connection.process_tls_records(&mut []), &mut |_| {}, out)
                }
                Side::Client(connection) => {
                    step(connection.process_tls_records(&mut []), &mut |_| {}, out)
                }
            };
            if !matches!(next, Ok(Next::Again)) {
                return;
            }
        }
    }

    /// Encrypts all of `plain` and appends the records.
    pub fn write(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), TlsError> {
        match &mut self.side {
            Side::Server(connection) => {
                encrypt(|| connection.process_tls_records(&mut []), plain, out)
            }
            Side::Client(connection) => {
                encrypt(|| connection.process_tls_records(&mut []), plain, out)
            }
        }
    }

    /// Says that nothing more will come from us.
    pub fn close_notify(&mut self, out: &mut Vec<u8>) {
        if !self.established {
            return;
        }
        let begin = out.len();
        out.resize(begin + RECORD_OVERHEAD, 0);
        let mut written = 0;
        macro_rules! close {
            ($connection:expr) => {
                match $connection.process_tls_records(&mut []).state {
                    Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                        written = traffic.queue_close_notify(&mut out[begin..]).unwrap_or(0);
                    }
                    _ => {}
                }
            };
        }
        match &mut self.side {
            Side::Server(connection) => close!(connection),
            Side::Client(connection) => close!(connection),
        }
        out.truncate(begin + written);
    }

    /// The names of the other side's certificate if it verifies now.
    pub fn verified_names(&self, context: &TlsContext) -> Option<Vec<String>> {
        let chain = match &self.side {
            Side::Server(connection) => connection.peer_certificates(),
            Side::Client(connection) => connection.peer_certificates(),
        }?;
        context.judge(chain)
    }
}

enum Next {
    Again,
    PeerClosed,
    Blocked,
}

/// Handles one state of the connection; says how much input it has consumed.
fn step<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    plain: &mut dyn FnMut(&[u8]),
    out: &mut Vec<u8>,
) -> (usize, Result<Next, rustls::Error>) {
    let UnbufferedStatus {
        mut discard, state, ..
    } = status;
    let next = match state {
        Err(error) => Err(error),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                None => break Ok(Next::Again),
                Some(Err(error)) => break Err(error),
                Some(Ok(record)) => {
                    discard += record.discard;
                    plain(record.payload);
                }
            }
        },
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            let begin = out.len();
            let mut size = 4096;
            loop {
                out.resize(begin + size, 0);
                match data.encode(&mut out[begin..]) {
                    Ok(written) => {
                        out.truncate(begin + written);
                        break Ok(Next::Again);
                    }
                    Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
                        size = required_size
                    }
                    Err(EncodeError::AlreadyEncoded) => {
                        out.truncate(begin);
                        break Ok(Next::Again);
                    }
                }
            }
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Ok(Next::Again)
        }
        Ok(ConnectionState::PeerClosed) => Ok(Next::PeerClosed),
        Ok(_) => Ok(Next::Blocked),
    };
    (discard, next)
}

fn encrypt<'a, Data: 'a>(
    status: impl FnOnce() -> UnbufferedStatus<'a, 'a, Data>,
    plain: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), TlsError> {
    let begin = out.len();
    let mut size = plain.len() + (plain.len() / RECORD_OCTETS + 2) * RECORD_OVERHEAD;
    match status().state? {
        ConnectionState::WriteTraffic(mut traffic) => loop {
            out.resize(begin + size, 0);
            match traffic.encrypt(plain, &mut out[begin..]) {
                Ok(written) => {
                    out.truncate(begin + written);
                    return Ok(());
                }
                Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size })) => {
                    size = required_size
                }
                Err(error) => return Err(TlsError::new(error.to_string())),
            }
        },
        _ => Err(TlsError::new("the connection cannot be written to")),
    }
}
