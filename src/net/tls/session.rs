//! One TLS connection as a pure transformer of octets, over rustls' unbuffered interface.
//!
//! Records are decrypted where they lie in the caller's read buffer. Only what cannot be processed
//! yet is copied: a record that the end of the buffer cuts, or (rare) a handshake message spread
//! over several records, which rustls wants to see again from its first record on.

use std::sync::Arc;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus,
};
use rustls::{ClientConfig, CommonState, HandshakeKind, ProtocolVersion, ServerConfig};

use super::error::TlsError;
use super::verify::{Belief, Seen, Verified, Witness};
use super::{ClientVerify, TlsContext};

/// One connection's TLS, server or client side.
///
/// After an error every call fails with [`TlsError::Ended`]; what was appended to `out` by then
/// (an alert, usually) should still be sent.
pub struct TlsSession {
    side: Side,
    /// Octets that could not be processed yet; freed when it is empty.
    carry: Vec<u8>,
    state: State,
    /// By whom the other side's chain is judged; after the handshake, by whom it was verified.
    belief: Option<Arc<Belief>>,
    /// A server that we dialled must be believed; a resumed one too, which no verifier is asked of.
    must_prove: bool,
    witness: Witness,
}

enum Side {
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Handshake,
    Established,
    /// The other side said close_notify; we may still write.
    HalfClosed,
    /// We said close_notify; we may still read.
    Closing,
    /// Both said it.
    Closed,
    Failed,
}

/// What came out of a [`TlsSession::read`] besides octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadOutcome {
    /// The handshake was completed by this call: ask for
    /// [`verified`](TlsSession::verified) now, and write.
    pub handshake_done_now: bool,
    /// The other side has said, by now, that nothing more follows. An end of the stream without it
    /// is a truncation.
    pub close_notify: bool,
}

impl TlsSession {
    pub(super) fn server(config: Arc<ServerConfig>, belief: Arc<Belief>) -> Self {
        let connection = UnbufferedServerConnection::new(config)
            .expect("the configuration was built for a server");
        Self::new(Side::Server(Box::new(connection)), belief, false)
    }

    /// `config` verifies whoever answers as `verify` says, in a handshake that is not resumed.
    pub(super) fn client(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        belief: Arc<Belief>,
        verify: ClientVerify,
    ) -> Result<Self, TlsError> {
        let connection = UnbufferedClientConnection::new(config, name)?;
        let side = Side::Client(Box::new(connection));
        Ok(Self::new(side, belief, verify == ClientVerify::Full))
    }

    fn new(side: Side, belief: Arc<Belief>, must_prove: bool) -> Self {
        Self {
            side,
            carry: Vec::new(),
            state: State::Handshake,
            belief: Some(belief),
            must_prove,
            witness: Witness::default(),
        }
    }

    /// Appends the first flight of a client. Does nothing on a server.
    pub fn start(&mut self, out: &mut Vec<u8>) -> Result<(), TlsError> {
        self.read(&mut [], &mut |_| {}, out).map(|_| ())
    }

    /// Takes all of `input`, which it overwrites; hands the plaintext to `plain`, record by record
    /// and never empty; appends what is to be sent (handshake, key update, alert) to `out`.
    pub fn read(
        &mut self,
        input: &mut [u8],
        plain: &mut dyn FnMut(&[u8]),
        out: &mut Vec<u8>,
    ) -> Result<ReadOutcome, TlsError> {
        match self.state {
            State::Failed => return Err(TlsError::Ended),
            // What follows a close_notify is ignored (RFC 8446 §6.1).
            State::HalfClosed | State::Closed => {
                return Ok(ReadOutcome {
                    handshake_done_now: false,
                    close_notify: true,
                });
            }
            State::Handshake | State::Established | State::Closing => {}
        }
        let fed = if self.state == State::Handshake {
            let mut witness = self.witness;
            let fed = witness.attend(|| self.feed(input, plain, out));
            self.witness = witness;
            fed
        } else {
            self.feed(input, plain, out)
        };
        let fed = fed.and_then(|close_notify| {
            let handshake_done_now =
                self.state == State::Handshake && !self.common().is_handshaking();
            if handshake_done_now {
                self.state = State::Established;
                self.conclude(out)?;
            }
            if close_notify {
                self.carry = Vec::new();
                self.state = match self.state {
                    State::Closing => State::Closed,
                    _ => State::HalfClosed,
                };
            }
            Ok(ReadOutcome {
                handshake_done_now,
                close_notify,
            })
        });
        if fed.is_err() {
            self.fail();
        }
        fed
    }

    /// The handshake is done and nobody has ended the session for writing.
    pub fn is_established(&self) -> bool {
        matches!(self.state, State::Established | State::HalfClosed)
    }

    /// Encrypts all of `plain` into records of 16 KiB at most, appended to `out`, behind a key
    /// update if one is due. Only while [`is_established`](Self::is_established).
    pub fn write(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), TlsError> {
        match self.state {
            State::Established | State::HalfClosed => {}
            State::Handshake => return Err(TlsError::NotEstablished),
            State::Closing | State::Closed | State::Failed => return Err(TlsError::Ended),
        }
        if plain.is_empty() {
            return Ok(());
        }
        let room = plain.len() + plain.len().div_ceil(RECORD_OCTETS_MAX) * RECORD_OVERHEAD;
        let written = match &mut self.side {
            Side::Server(connection) => {
                connection.seal(&mut self.carry, Seal::Plain(plain), room, out)
            }
            Side::Client(connection) => {
                connection.seal(&mut self.carry, Seal::Plain(plain), room, out)
            }
        };
        if written.is_err() {
            self.fail();
        }
        written
    }

    /// Says that nothing more follows from us; reading goes on. Does nothing before the handshake
    /// is done, after an error and the second time.
    pub fn close_notify(&mut self, out: &mut Vec<u8>) {
        let next = match self.state {
            State::Established => State::Closing,
            State::HalfClosed => State::Closed,
            _ => return,
        };
        let said = match &mut self.side {
            Side::Server(connection) => {
                connection.seal(&mut self.carry, Seal::CloseNotify, ALERT_ROOM, out)
            }
            Side::Client(connection) => {
                connection.seal(&mut self.carry, Seal::CloseNotify, ALERT_ROOM, out)
            }
        };
        match said {
            Ok(()) => self.state = next,
            Err(_) => self.fail(),
        }
    }

    /// What the other side has proved, judged by `context` now: the names of the chain that it
    /// showed in this handshake or in the one that this one resumed. `None`: no certificate, or
    /// none that is believed, or no handshake yet.
    ///
    /// The chain is verified again only if other authorities than those of the handshake judge.
    pub fn verified(&self, context: &TlsContext) -> Option<Verified> {
        let by = self.belief.as_ref()?;
        if matches!(self.state, State::Handshake | State::Failed) {
            return None;
        }
        let chain = self.common().peer_certificates()?;
        let now = UnixTime::now();
        let belief = context.belief();
        let verified = if Arc::ptr_eq(by, belief) {
            belief.judge_again(chain, now)
        } else {
            belief.judge(chain, now)
        };
        verified.ok()
    }

    /// The names of [`verified`](Self::verified).
    pub fn verified_names(&self, context: &TlsContext) -> Option<Vec<String>> {
        self.verified(context).map(|verified| verified.names)
    }

    /// The other side showed a chain beyond [`ChainLimits`](super::ChainLimits), which was not
    /// looked at.
    pub fn showed_too_much(&self) -> bool {
        self.witness.seen == Seen::Ignored
    }

    /// `TLSv1.2` or `TLSv1.3`, once agreed; for logs.
    pub fn version(&self) -> Option<&'static str> {
        match self.common().protocol_version()? {
            ProtocolVersion::TLSv1_3 => Some("TLSv1.3"),
            ProtocolVersion::TLSv1_2 => Some("TLSv1.2"),
            _ => None,
        }
    }

    /// The handshake was a resumption.
    pub fn is_resumed(&self) -> bool {
        self.common().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The certificate that the other side has shown.
    #[cfg(test)]
    pub(super) fn peer_leaf(&self) -> Option<Vec<u8>> {
        let chain = self.common().peer_certificates()?;
        chain.first().map(|leaf| leaf.to_vec())
    }

    /// Memory held for what could not be processed yet.
    pub fn held_octets(&self) -> usize {
        self.carry.capacity()
    }

    /// How much the record lacks whose front is held, if one is. Of a header that was cut, what it lacks itself.
    pub fn missing_octets(&self) -> Option<usize> {
        if self.carry.is_empty() {
            return None;
        }
        cut_record(&self.carry).map(|cut| cut.missing)
    }

    /// Makes the next write() renew the keys first, as rustls does when they are used up.
    #[cfg(test)]
    pub(super) fn request_key_update(&mut self) {
        let Side::Client(connection) = &mut self.side else {
            panic!("a client's test");
        };
        match connection.process_tls_records(&mut self.carry).state {
            Ok(ConnectionState::WriteTraffic(traffic)) => traffic.refresh_traffic_keys().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// Says whether a close_notify arrived.
    fn feed(
        &mut self,
        mut input: &mut [u8],
        plain: &mut dyn FnMut(&[u8]),
        out: &mut Vec<u8>,
    ) -> Result<bool, TlsError> {
        while !self.carry.is_empty() {
            if input.is_empty() {
                return Ok(false);
            }
            // A handshake message in parts needs everything behind it in one piece.
            let take = cut_record(&self.carry)
                .map_or(input.len(), |cut| cut.missing)
                .min(input.len());
            let (taken, rest) = input.split_at_mut(take);
            self.carry.extend_from_slice(taken);
            input = rest;
            // A header alone is shown to rustls at once, for it may be no TLS at all; after that
            // only a whole record is of use.
            if self.carry.len() != HEADER_OCTETS && cut_record(&self.carry).is_some() {
                continue;
            }
            let pumped = match &mut self.side {
                Side::Server(connection) => connection.pump(&mut self.carry, plain, out),
                Side::Client(connection) => connection.pump(&mut self.carry, plain, out),
            }?;
            if pumped.close_notify {
                return Ok(true);
            }
            if pumped.consumed == self.carry.len() {
                self.carry = Vec::new();
            } else {
                self.carry.drain(..pumped.consumed);
            }
            if self.carry.len() > self.carry_octets_max() || self.is_shredded(&self.carry) {
                return Err(TlsError::HandshakeTooLong);
            }
        }
        if self.is_shredded(input) {
            return Err(TlsError::HandshakeTooLong);
        }
        let pumped = match &mut self.side {
            Side::Server(connection) => connection.pump(input, plain, out),
            Side::Client(connection) => connection.pump(input, plain, out),
        }?;
        let rest = &input[pumped.consumed..];
        if !pumped.close_notify && !rest.is_empty() {
            if rest.len() > self.carry_octets_max() {
                return Err(TlsError::HandshakeTooLong);
            }
            let room = cut_record(rest).map_or(rest.len(), |cut| cut.total);
            self.carry.reserve_exact(room);
            self.carry.extend_from_slice(rest);
        }
        Ok(pumped.close_notify)
    }

    /// The handshake is done: who is not believed by now will not be.
    fn conclude(&mut self, out: &mut Vec<u8>) -> Result<(), TlsError> {
        let resumed = self.is_resumed();
        let proved = match &self.side {
            Side::Server(_) if resumed => self.witness.ticket,
            Side::Server(_) => self.witness.seen == Seen::Verified,
            Side::Client(_) => self.must_prove,
        };
        let belief = self.belief.take_if(|_| !proved);
        if let (true, true, Some(belief)) = (self.must_prove, resumed, &self.belief) {
            // Its chain may have expired since.
            let chain = self.common().peer_certificates().unwrap_or_default();
            if let Err(why) = belief.judge_again(chain, UnixTime::now()) {
                self.close_notify(out);
                return Err(TlsError::Certificate(why.to_string()));
            }
        }
        drop(belief);
        Ok(())
    }

    /// A handshake in more records than anybody needs.
    fn is_shredded(&self, octets: &[u8]) -> bool {
        self.state == State::Handshake && whole_records(octets) > RECORDS_MAX
    }

    /// In the handshake no message is longer than the longest chain that is looked at and what
    /// stands around it, however it is cut into records: rustls would take 64 KiB.
    fn carry_octets_max(&self) -> usize {
        match (&self.belief, self.state) {
            (Some(belief), State::Handshake) => {
                (belief.limits.octets + AROUND_A_CHAIN).max(CARRY_OCTETS_MIN)
            }
            _ => CARRY_OCTETS_MAX,
        }
    }

    fn fail(&mut self) {
        self.state = State::Failed;
        self.carry = Vec::new();
    }

    fn common(&self) -> &CommonState {
        match &self.side {
            Side::Server(connection) => connection,
            Side::Client(connection) => connection,
        }
    }
}

/// A record of which only the front is there.
struct CutRecord {
    missing: usize,
    /// The whole record, or its header while the length is not known.
    total: usize,
}

/// `None`: the front of `octets` is a whole record, so rustls kept it for a handshake message that
/// goes on in the next one.
fn cut_record(octets: &[u8]) -> Option<CutRecord> {
    let total = match octets {
        [_, _, _, high, low, ..] => HEADER_OCTETS + usize::from(u16::from_be_bytes([*high, *low])),
        _ => HEADER_OCTETS,
    };
    (octets.len() < total).then(|| CutRecord {
        missing: total - octets.len(),
        total,
    })
}

/// Whole records at the front of `octets`; counts no further than it has to.
fn whole_records(mut octets: &[u8]) -> usize {
    let mut records = 0;
    while let [_, _, _, high, low, rest @ ..] = octets {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some((_, behind)) = rest.split_at_checked(length) else {
            break;
        };
        records += 1;
        if records > RECORDS_MAX {
            break;
        }
        octets = behind;
    }
    records
}

struct Pumped {
    consumed: usize,
    close_notify: bool,
}

enum Seal<'a> {
    Plain(&'a [u8]),
    CloseNotify,
}

/// What rustls' two connection types share but offer by different methods.
trait Connection {
    type Data;

    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;

    /// An alert or a handshake message waits to be sent.
    fn has_output(&self) -> bool;

    /// Runs rustls' machine until it needs more input.
    fn pump(
        &mut self,
        input: &mut [u8],
        plain: &mut dyn FnMut(&[u8]),
        out: &mut Vec<u8>,
    ) -> Result<Pumped, TlsError> {
        let mut pumped = Pumped {
            consumed: 0,
            close_notify: false,
        };
        loop {
            let status = self.process(&mut input[pumped.consumed..]);
            let mut discard = status.discard;
            let mut error = None;
            let mut blocked = false;
            match status.state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        match record {
                            Ok(record) => {
                                discard += record.discard;
                                if !record.payload.is_empty() {
                                    plain(record.payload);
                                }
                            }
                            Err(cause) => {
                                error = Some(cause);
                                break;
                            }
                        }
                    }
                }
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, out)?,
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => pumped.close_notify = true,
                Ok(
                    ConnectionState::BlockedHandshake
                    | ConnectionState::WriteTraffic(_)
                    | ConnectionState::Closed,
                ) => blocked = true,
                // Early data is off; no other state exists in this version.
                Ok(_) => return Err(TlsError::Internal("unexpected state".into())),
                Err(cause) => error = Some(cause),
            }
            pumped.consumed += discard;
            if let Some(error) = error {
                self.flush_alert(&mut input[pumped.consumed..], out);
                return Err(error.into());
            }
            if blocked {
                return Ok(pumped);
            }
        }
    }

    /// After an error rustls still gives out what it queued, before it looks at the input again.
    fn flush_alert(&mut self, rest: &mut [u8], out: &mut Vec<u8>) {
        while self.has_output() {
            let Ok(ConnectionState::EncodeTlsData(data)) = self.process(rest).state else {
                return;
            };
            if encode(data, out).is_err() {
                return;
            }
        }
    }

    /// Appends records of ours, after whatever rustls wants sent before them. `carry` is what
    /// rustls has seen and not consumed; it counts positions in it.
    fn seal(
        &mut self,
        carry: &mut [u8],
        what: Seal<'_>,
        room: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), TlsError> {
        loop {
            let status = self.process(carry);
            debug_assert_eq!(status.discard, 0, "read() has processed the carry");
            match status.state {
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, out)?,
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    return append(out, room, |free| match what {
                        Seal::Plain(plain) => traffic.encrypt(plain, free),
                        Seal::CloseNotify => traffic.queue_close_notify(free),
                    });
                }
                Ok(_) => return Err(TlsError::Ended),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Connection for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }

    fn has_output(&self) -> bool {
        self.wants_write()
    }
}

impl Connection for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }

    fn has_output(&self) -> bool {
        self.wants_write()
    }
}

/// Lets `encrypt` write behind the end of `out`, with `room` octets or as many as it then asks for.
fn append(
    out: &mut Vec<u8>,
    mut room: usize,
    mut encrypt: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) -> Result<(), TlsError> {
    let start = out.len();
    loop {
        // No more than that: what is sent may wait long for its receiver.
        out.reserve_exact(room);
        out.resize(start + room, 0);
        match encrypt(&mut out[start..]) {
            Ok(written) => {
                out.truncate(start + written);
                return Ok(());
            }
            // A key update goes first and was not in the estimate.
            Err(EncryptError::InsufficientSize(size)) if size.required_size > room => {
                room = size.required_size;
            }
            Err(_) => {
                out.truncate(start);
                return Err(TlsError::KeysExhausted);
            }
        }
    }
}

fn encode<D>(mut data: EncodeTlsData<'_, D>, out: &mut Vec<u8>) -> Result<(), TlsError> {
    let start = out.len();
    let mut room = 0;
    loop {
        out.resize(start + room, 0);
        match data.encode(&mut out[start..]) {
            Ok(written) => {
                out.truncate(start + written);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(size)) if size.required_size > room => {
                room = size.required_size;
            }
            Err(error) => {
                out.truncate(start);
                return Err(TlsError::Internal(error.to_string()));
            }
        }
    }
}

/// Content type, version, length (RFC 8446 §5.1).
const HEADER_OCTETS: usize = 5;

const RECORD_OCTETS_MAX: usize = 16_384;

/// Header, explicit nonce and tag of TLS 1.2 with AES-GCM, the longest of the suites we know.
const RECORD_OVERHEAD: usize = HEADER_OCTETS + 8 + 16;

/// A close_notify in any suite.
const ALERT_ROOM: usize = 2 + RECORD_OVERHEAD;

/// What a handshake message has besides certificates: their lengths, the heads and tags of records.
const AROUND_A_CHAIN: usize = 4096;

/// A whole record, and as much again as comes with it.
const CARRY_OCTETS_MIN: usize = 20_480;

/// Records of one handshake message, or of one read during the handshake: each costs, however
/// little it holds. A full chain in records of 512 octets (RFC 6066 §4) takes 32, and a hello in
/// records of one octet is taken still.
const RECORDS_MAX: usize = 512;

/// After the handshake: a message of 64 KiB (rustls' own limit) and a cut record behind it. Who splits such a
/// message into tiny records gets less.
const CARRY_OCTETS_MAX: usize = 96 * 1024;
