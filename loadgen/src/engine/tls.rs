//! TLS over buffers that the engine owns (`rustls::unbuffered`): records are decrypted where they
//! were received and encrypted straight into the octets that go to the socket.

use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, InsufficientSizeError};
use rustls::{ClientConfig, ServerConfig};

/// More than a record adds to its content, in any version and suite.
const RECORD_OVERHEAD: usize = 64;
const RECORD_OCTETS: usize = 16_384;

#[allow(
    clippy::large_enum_variant,
    reason = "both are large, and they are boxed together"
)]
enum Side {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// One TLS connection without any buffer of its own.
pub struct Tls {
    side: Box<Side>,
    established: bool,
}

/// What a call of [`Tls::receive`] used and saw.
#[derive(Clone, Copy, Debug, Default)]
pub struct Received {
    /// Octets to take off the front of the input.
    pub used: usize,
    /// The other side has sent close_notify.
    pub closed: bool,
}

/// A fault of TLS, or of whoever took the plain octets.
#[derive(Debug)]
pub enum Fault<E> {
    Tls(rustls::Error),
    Sink(E),
}

/// What to do after a state was handled.
enum Next {
    Again,
    Wait,
    Closed,
}

impl Tls {
    pub fn client(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, rustls::Error> {
        let side = Side::Client(UnbufferedClientConnection::new(config, name)?);
        Ok(Self {
            side: Box::new(side),
            established: false,
        })
    }

    pub fn server(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        let side = Side::Server(UnbufferedServerConnection::new(config)?);
        Ok(Self {
            side: Box::new(side),
            established: false,
        })
    }

    /// The handshake is over as far as we are concerned.
    pub fn is_established(&self) -> bool {
        self.established
    }

    /// Handles received records: plain octets go to `sink`, what the handshake says to `out`.
    pub fn receive<E>(
        &mut self,
        input: &mut [u8],
        out: &mut Vec<u8>,
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Received, Fault<E>> {
        let mut received = Received::default();
        loop {
            let rest = &mut input[received.used..];
            let (discard, next) = match &mut *self.side {
                Side::Client(tls) => {
                    let status = tls.process_tls_records(rest);
                    let state = status.state.map_err(Fault::Tls);
                    (
                        status.discard,
                        state.and_then(|s| handle(s, out, &mut self.established, sink)),
                    )
                }
                Side::Server(tls) => {
                    let status = tls.process_tls_records(rest);
                    let state = status.state.map_err(Fault::Tls);
                    (
                        status.discard,
                        state.and_then(|s| handle(s, out, &mut self.established, sink)),
                    )
                }
            };
            received.used += discard;
            match next {
                Ok(Next::Again) => {}
                Ok(Next::Wait) => return Ok(received),
                Ok(Next::Closed) => {
                    received.closed = true;
                    return Ok(received);
                }
                Err(fault) => {
                    self.send_alert(&mut input[received.used..], out);
                    return Err(fault);
                }
            }
        }
    }

    /// Encrypts `plain` to the end of `out`. Call when established only.
    pub fn encrypt(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), rustls::Error> {
        let records = plain.len() / RECORD_OCTETS + 1;
        let at = out.len();
        out.resize(at + plain.len() + records * RECORD_OVERHEAD, 0);
        let written = self.writing(|traffic| traffic.encrypt(plain, &mut out[at..]))?;
        out.truncate(at + written);
        Ok(())
    }

    /// Puts close_notify at the end of `out`.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        let at = out.len();
        out.resize(at + RECORD_OVERHEAD, 0);
        let written = self
            .writing(|traffic| traffic.close(&mut out[at..]))
            .unwrap_or(0);
        out.truncate(at + written);
    }

    fn writing(
        &mut self,
        write: impl FnOnce(&mut dyn Traffic) -> Result<usize, EncryptError>,
    ) -> Result<usize, rustls::Error> {
        let not_now = || rustls::Error::General("TLS cannot send now".into());
        let result = match &mut *self.side {
            Side::Client(tls) => match tls.process_tls_records(&mut []).state? {
                ConnectionState::WriteTraffic(mut traffic) => write(&mut traffic),
                _ => return Err(not_now()),
            },
            Side::Server(tls) => match tls.process_tls_records(&mut []).state? {
                ConnectionState::WriteTraffic(mut traffic) => write(&mut traffic),
                _ => return Err(not_now()),
            },
        };
        result.map_err(|e| rustls::Error::General(e.to_string()))
    }

    /// After an error rustls may have an alert to send; without it the other side guesses. rustls
    /// remembers places in the input and panics if it is not there any more.
    fn send_alert(&mut self, rest: &mut [u8], out: &mut Vec<u8>) {
        for _ in 0..4 {
            let encoded = match &mut *self.side {
                Side::Client(tls) => match tls.process_tls_records(rest).state {
                    Ok(ConnectionState::EncodeTlsData(mut data)) => encode(out, |o| data.encode(o)),
                    _ => false,
                },
                Side::Server(tls) => match tls.process_tls_records(rest).state {
                    Ok(ConnectionState::EncodeTlsData(mut data)) => encode(out, |o| data.encode(o)),
                    _ => false,
                },
            };
            if !encoded {
                return;
            }
        }
    }
}

/// What both sides' `WriteTraffic` can do.
trait Traffic {
    fn encrypt(&mut self, plain: &[u8], out: &mut [u8]) -> Result<usize, EncryptError>;
    fn close(&mut self, out: &mut [u8]) -> Result<usize, EncryptError>;
}

impl<D> Traffic for rustls::unbuffered::WriteTraffic<'_, D> {
    fn encrypt(&mut self, plain: &[u8], out: &mut [u8]) -> Result<usize, EncryptError> {
        self.encrypt(plain, out)
    }

    fn close(&mut self, out: &mut [u8]) -> Result<usize, EncryptError> {
        self.queue_close_notify(out)
    }
}

fn handle<D, E>(
    state: ConnectionState<'_, '_, D>,
    out: &mut Vec<u8>,
    established: &mut bool,
    sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<Next, Fault<E>> {
    match state {
        ConnectionState::EncodeTlsData(mut data) => {
            encode(out, |o| data.encode(o));
            Ok(Next::Again)
        }
        ConnectionState::TransmitTlsData(mut data) => {
            *established |= data.may_encrypt_app_data().is_some();
            data.done();
            Ok(Next::Again)
        }
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                sink(record.map_err(Fault::Tls)?.payload).map_err(Fault::Sink)?;
            }
            Ok(Next::Again)
        }
        ConnectionState::WriteTraffic(_) => {
            *established = true;
            Ok(Next::Wait)
        }
        ConnectionState::PeerClosed | ConnectionState::Closed => Ok(Next::Closed),
        _ => Ok(Next::Wait),
    }
}

/// Gives the encoder as much room as it asks for; false if there was nothing to encode.
fn encode(
    out: &mut Vec<u8>,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> bool {
    let at = out.len();
    let mut room = 4096;
    loop {
        out.resize(at + room, 0);
        match write(&mut out[at..]) {
            Ok(written) => {
                out.truncate(at + written);
                return true;
            }
            Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
                room = required_size
            }
            Err(EncodeError::AlreadyEncoded) => {
                out.truncate(at);
                return false;
            }
        }
    }
}
