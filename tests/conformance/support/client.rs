//! One connection of a test: to the relay, or accepted from it. Single-threaded on purpose: what a
//! test does not ask for is not read, so "stops reading" is simply not calling.
//!
//! Everything received goes through the strict codec of msrpload, so every test also checks the
//! grammar of everything that the relay emits (SYN-01, -02, -03, -18, RPT-08).

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use msrpload::codec::stream::{Scanner, Step};
use msrpload::codec::{Message, fresh_tid};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConnection, StreamOwned};

use super::relay::Relay;
use super::tls::ClientTls;
use super::web::{self, Below, Web};

/// How long a test waits for what must come at once: generous, the machine may be busy.
pub const SOON: Duration = Duration::from_secs(10);
/// How long nothing must come where silence is the answer.
pub const QUIET: Duration = Duration::from_millis(400);
/// "Closed means that the test reads EOF or reset within 1 s": with allowance for a busy machine.
pub const CLOSE_MAX: Duration = Duration::from_secs(5);
/// A write that makes no progress for so long is stuck.
const WRITE_MAX: Duration = Duration::from_secs(30);

enum Wire {
    Client(Box<StreamOwned<ClientConnection, TcpStream>>),
    Server(Box<StreamOwned<ServerConnection, TcpStream>>),
    Plain(TcpStream),
    Web(Box<Web>),
}

/// How the other side ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By close_notify, or by a FIN where there is no TLS.
    Clean,
    /// By a FIN without close_notify.
    Truncated,
    Reset,
}

/// Why there is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nothing {
    Timeout,
    Ended(Ending),
}

/// What has come of a message whose end-line is still out.
#[derive(Default)]
struct Partial {
    head: Vec<u8>,
    body: Vec<u8>,
    body_octets: u64,
}

pub struct Client {
    wire: Wire,
    /// This side's own URI.
    pub uri: String,
    /// The URI that the relay handed out last.
    pub token: String,
    pub(super) user: (String, String),
    pub(super) relay_uri: String,
    scanner: Scanner,
    buffer: Vec<u8>,
    partial: Option<Partial>,
    ending: Option<Ending>,
    /// Messages that a test has looked past.
    kept: VecDeque<Message>,
}

impl Client {
    /// A TLS connection without a client certificate; by WebSocket where the test's clients come so.
    pub fn tls(relay: &Relay) -> Self {
        if web::is_by_web() {
            return Self::web(relay);
        }
        Self::tls_with(relay, &ClientTls::default()).expect("the TLS handshake succeeds")
    }

    /// As [`Self::tls`], waiting so long for each step of the handshake.
    #[allow(dead_code, reason = "not every suite waits so long")]
    pub fn tls_patiently(relay: &Relay, patience: Duration) -> io::Result<Self> {
        let tls = ClientTls {
            ca_pem: relay.ca_pem.clone(),
            ..ClientTls::default()
        };
        let socket = socket(TcpStream::connect(relay.tls)?)?;
        socket.set_read_timeout(Some(patience))?;
        let client = Self::tls_on(relay, socket, Arc::new(tls.config()))?;
        client.socket().set_read_timeout(Some(SOON))?;
        Ok(client)
    }

    pub fn tls_with(relay: &Relay, tls: &ClientTls) -> io::Result<Self> {
        Self::tls_to(relay, relay.tls, tls)
    }

    /// As [`Self::tls_with`], by way of another address.
    pub fn tls_to(relay: &Relay, address: SocketAddr, tls: &ClientTls) -> io::Result<Self> {
        let mut tls = tls.clone();
        tls.ca_pem = tls.ca_pem.or_else(|| relay.ca_pem.clone());
        Self::tls_by(relay, address, Arc::new(tls.config()))
    }

    /// With a configuration that several connections share: they may resume sessions.
    pub fn tls_configured(relay: &Relay, config: Arc<ClientConfig>) -> io::Result<Self> {
        Self::tls_by(relay, relay.tls, config)
    }

    fn tls_by(relay: &Relay, address: SocketAddr, config: Arc<ClientConfig>) -> io::Result<Self> {
        Self::tls_on(relay, socket(TcpStream::connect(address)?)?, config)
    }

    fn tls_on(relay: &Relay, mut socket: TcpStream, config: Arc<ClientConfig>) -> io::Result<Self> {
        let name = ServerName::try_from(relay.host.clone()).expect("the relay's name is a name");
        let mut session = ClientConnection::new(config, name).map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        let wire = Wire::Client(Box::new(StreamOwned::new(session, socket)));
        Ok(Self::new(wire, relay, "alice"))
    }

    /// A balancer's TLS connection: these octets come first, cut like that, and the handshake at once behind them.
    #[allow(dead_code, reason = "only where a balancer stands in front")]
    pub fn tls_behind(relay: &Relay, before: &[&[u8]]) -> io::Result<Self> {
        let mut socket = socket(TcpStream::connect(relay.tls)?)?;
        let tls = ClientTls {
            ca_pem: relay.ca_pem.clone(),
            ..ClientTls::default()
        };
        let name = ServerName::try_from(relay.host.clone()).expect("the relay's name is a name");
        let mut session =
            ClientConnection::new(Arc::new(tls.config()), name).map_err(io::Error::other)?;
        let (last, earlier) = before.split_last().expect("something comes first");
        for piece in earlier {
            socket.write_all(piece)?;
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut octets = last.to_vec();
        session.write_tls(&mut octets)?;
        socket.write_all(&octets)?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        let wire = Wire::Client(Box::new(StreamOwned::new(session, socket)));
        Ok(Self::new(wire, relay, "alice"))
    }

    /// A WebSocket connection over TLS.
    pub fn web(relay: &Relay) -> Self {
        Self::web_with(relay, &web::request(&relay.host)).expect("the relay upgrades")
    }

    /// The same by this request, whose answer must be 101.
    pub fn web_with(relay: &Relay, request: &str) -> io::Result<Self> {
        let web = Web::open(Self::below_web(relay)?, request)?;
        Ok(Self::new(Wire::Web(Box::new(web)), relay, "alice"))
    }

    /// The same without TLS, as from behind a terminator.
    pub fn web_plain(relay: &Relay) -> Self {
        let socket = TcpStream::connect(relay.ws).and_then(socket);
        let below = Below::Plain(socket.expect("the ws listener accepts"));
        let web = Web::open(below, &web::request(&relay.host)).expect("the relay upgrades");
        Self::new(Wire::Web(Box::new(web)), relay, "alice")
    }

    /// TLS to the port for browsers, and nothing said yet.
    pub fn below_web(relay: &Relay) -> io::Result<Below> {
        let tls = ClientTls {
            ca_pem: relay.ca_pem.clone(),
            ..ClientTls::default()
        };
        let mut socket = socket(TcpStream::connect(relay.wss)?)?;
        let name = ServerName::try_from(relay.host.clone()).expect("the relay's name is a name");
        let mut session =
            ClientConnection::new(Arc::new(tls.config()), name).map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        Ok(Below::Tls(Box::new(StreamOwned::new(session, socket))))
    }

    /// The WebSocket below.
    pub fn as_web(&mut self) -> &mut Web {
        match &mut self.wire {
            Wire::Web(web) => web,
            _ => panic!("this client does not come by WebSocket"),
        }
    }

    /// A plain TCP connection (D-24).
    pub fn tcp(relay: &Relay) -> Self {
        let socket = TcpStream::connect(relay.tcp)
            .and_then(socket)
            .expect("the TCP listener accepts");
        let mut client = Self::new(Wire::Plain(socket), relay, "alice");
        // Its URI fits its connection, whatever the others come by.
        client.uri = client.uri.replacen(";ws", ";tcp", 1);
        client
    }

    /// A TLS connection with a token.
    pub fn authenticated(relay: &Relay, user: &str) -> Self {
        let mut client = Self::tls(relay);
        client.is_user(relay, user);
        client.obtain_token();
        client
    }

    /// As [`Self::authenticated`], by way of another address.
    #[allow(dead_code, reason = "only where there is more than loopback")]
    pub fn authenticated_to(relay: &Relay, address: SocketAddr, user: &str) -> Self {
        let mut client = Self::tls_to(relay, address, &ClientTls::default())
            .expect("the TLS handshake succeeds");
        client.is_user(relay, user);
        client.obtain_token();
        client
    }

    /// The side that accepts: `session` has its handshake behind it, or there is no TLS.
    pub fn accepted(session: Option<ServerConnection>, socket: TcpStream, uri: String) -> Self {
        let wire = match session {
            Some(session) => Wire::Server(Box::new(StreamOwned::new(session, socket))),
            None => Wire::Plain(socket),
        };
        Self::of(wire, uri)
    }

    fn new(wire: Wire, relay: &Relay, user: &str) -> Self {
        let mut client = Self::of(wire, own_uri(user));
        client.is_user(relay, user);
        client.relay_uri = relay.uri();
        client
    }

    fn of(wire: Wire, uri: String) -> Self {
        Self {
            wire,
            uri,
            token: String::new(),
            user: Default::default(),
            relay_uri: String::new(),
            scanner: Scanner::new(),
            buffer: Vec::new(),
            partial: None,
            ending: None,
            kept: VecDeque::new(),
        }
    }

    fn is_user(&mut self, relay: &Relay, user: &str) {
        let (user, password) = relay.credentials(user);
        self.user = (user.to_owned(), password.to_owned());
        self.uri = own_uri(user);
    }

    pub fn handshake_kind(&self) -> Option<HandshakeKind> {
        match &self.wire {
            Wire::Client(stream) => stream.conn.handshake_kind(),
            Wire::Server(stream) => stream.conn.handshake_kind(),
            Wire::Plain(_) | Wire::Web(_) => None,
        }
    }

    /// What the next AUTHs are addressed to.
    #[allow(dead_code, reason = "most call the relay by its name")]
    pub fn set_relay_uri(&mut self, uri: &str) {
        uri.clone_into(&mut self.relay_uri);
    }

    /// Whose credentials the next AUTHs bring.
    pub fn set_user(&mut self, user: &str, password: &str) {
        self.user = (user.to_owned(), password.to_owned());
    }

    pub fn socket(&self) -> &TcpStream {
        match &self.wire {
            Wire::Client(stream) => &stream.sock,
            Wire::Server(stream) => &stream.sock,
            Wire::Plain(socket) => socket,
            Wire::Web(web) => web.below.socket(),
        }
    }

    /// The TLS session of a connection that this side opened.
    pub fn session(&self) -> &ClientConnection {
        match &self.wire {
            Wire::Client(stream) => &stream.conn,
            _ => panic!("no TLS session of ours"),
        }
    }

    /// What the other side showed in the handshake.
    pub fn shown_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        match &self.wire {
            Wire::Client(stream) => stream.conn.peer_certificates(),
            Wire::Server(stream) => stream.conn.peer_certificates(),
            Wire::Plain(_) | Wire::Web(_) => None,
        }
    }

    #[track_caller]
    pub fn send(&mut self, octets: impl AsRef<[u8]>) {
        let octets = octets.as_ref();
        let written = self.write(octets, WRITE_MAX);
        assert_eq!(written, octets.len(), "the relay takes no more octets");
    }

    /// Writes what the other side takes within `patience` of its last progress, and says how much.
    pub fn write(&mut self, octets: &[u8], patience: Duration) -> usize {
        self.socket()
            .set_write_timeout(Some(patience))
            .expect("a timeout can be set");
        let mut written = 0;
        while written < octets.len() {
            let rest = &octets[written..octets.len().min(written + 16 * 1024)];
            match self.write_some(rest) {
                Ok(0) => break,
                Ok(more) => written += more,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        written
    }

    fn write_some(&mut self, octets: &[u8]) -> io::Result<usize> {
        match &mut self.wire {
            Wire::Client(stream) => {
                // What was accepted before must be out before more is accepted: the count is honest.
                while stream.conn.wants_write() {
                    stream.conn.write_tls(&mut stream.sock)?;
                }
                let written = stream.conn.writer().write(octets)?;
                flush(|| {
                    stream
                        .conn
                        .wants_write()
                        .then(|| stream.conn.write_tls(&mut stream.sock))
                });
                Ok(written)
            }
            Wire::Server(stream) => {
                while stream.conn.wants_write() {
                    stream.conn.write_tls(&mut stream.sock)?;
                }
                let written = stream.conn.writer().write(octets)?;
                flush(|| {
                    stream
                        .conn
                        .wants_write()
                        .then(|| stream.conn.write_tls(&mut stream.sock))
                });
                Ok(written)
            }
            Wire::Plain(socket) => socket.write(octets),
            Wire::Web(web) => web.write_msrp(octets),
        }
    }

    /// Ends our direction properly: close_notify, then FIN.
    pub fn half_close(&mut self) {
        match &mut self.wire {
            Wire::Client(stream) => {
                stream.conn.send_close_notify();
                flush(|| {
                    stream
                        .conn
                        .wants_write()
                        .then(|| stream.conn.write_tls(&mut stream.sock))
                });
            }
            Wire::Server(stream) => {
                stream.conn.send_close_notify();
                flush(|| {
                    stream
                        .conn
                        .wants_write()
                        .then(|| stream.conn.write_tls(&mut stream.sock))
                });
            }
            Wire::Web(web) => web.send_close(),
            Wire::Plain(_) => {}
        }
        let _ = self.socket().shutdown(Shutdown::Write);
    }

    /// Ends with a FIN in both directions and no close_notify.
    pub fn kill(self) {
        let _ = self.socket().shutdown(Shutdown::Both);
    }

    /// Ends with a reset.
    pub fn reset(self) {
        let _ = socket2::SockRef::from(self.socket()).set_linger(Some(Duration::ZERO));
    }

    /// The next message, of whatever kind.
    #[track_caller]
    pub fn expect(&mut self) -> Message {
        self.expect_within(SOON)
    }

    #[track_caller]
    pub fn expect_within(&mut self, within: Duration) -> Message {
        match self.receive(within) {
            Ok(message) => message,
            Err(nothing) => panic!("no message: {nothing:?}"),
        }
    }

    pub fn receive(&mut self, within: Duration) -> Result<Message, Nothing> {
        match self.kept.pop_front() {
            Some(message) => Ok(message),
            None => self.read_message(Instant::now() + within, None),
        }
    }

    /// The next message, its body handed on piece by piece instead of being kept.
    #[track_caller]
    pub fn expect_streamed(&mut self, within: Duration, sink: &mut Sink<'_>) -> Message {
        if let Some(message) = self.kept.pop_front() {
            sink(message.body());
            return message;
        }
        // What a test has waited for with `expect_partial`.
        if let Some(partial) = &mut self.partial {
            sink(&std::mem::take(&mut partial.body));
        }
        self.read_message(Instant::now() + within, Some(sink))
            .unwrap_or_else(|nothing| panic!("no message: {nothing:?}"))
    }

    /// The next message must be a response with this code.
    #[track_caller]
    pub fn expect_code(&mut self, code: u16) -> Message {
        let message = self.expect();
        assert_eq!(
            message.code(),
            Some(code),
            "a {code} was due, this came:\n{message:?}"
        );
        message
    }

    /// The next message must be a request with this method.
    #[track_caller]
    pub fn expect_method(&mut self, method: &str) -> Message {
        self.expect_method_within(method, SOON)
    }

    #[track_caller]
    pub fn expect_method_within(&mut self, method: &str, within: Duration) -> Message {
        let message = self.expect_within(within);
        assert_eq!(
            message.method(),
            Some(method),
            "a {method} was due, this came:\n{message:?}"
        );
        message
    }

    /// The first message that `wanted` likes; the others are kept for later.
    #[track_caller]
    pub fn find(&mut self, within: Duration, wanted: impl Fn(&Message) -> bool) -> Message {
        if let Some(at) = self.kept.iter().position(&wanted) {
            return self.kept.remove(at).expect("it is there");
        }
        let until = Instant::now() + within;
        loop {
            match self.read_message(until, None) {
                Ok(message) if wanted(&message) => return message,
                Ok(message) => self.kept.push_back(message),
                Err(nothing) => panic!("not found ({nothing:?}) among {:?}", self.kept),
            }
        }
    }

    /// The response to this transaction.
    #[track_caller]
    pub fn response_to(&mut self, tid: &str) -> Message {
        self.find(SOON, |message| {
            message.code().is_some() && message.tid == tid
        })
    }

    /// The REPORT about this message.
    #[track_caller]
    pub fn report_about(&mut self, message_id: &str, within: Duration) -> Message {
        self.find(within, |message| {
            message.method() == Some("REPORT") && message.message_id() == Some(message_id)
        })
    }

    /// Nothing comes for so long; an end of the connection is something.
    #[track_caller]
    pub fn silence(&mut self, for_long: Duration) {
        match self.receive(for_long) {
            Err(Nothing::Timeout) => {}
            Err(ended) => panic!("the connection has ended: {ended:?}"),
            Ok(message) => panic!("silence was due, this came:\n{message:?}"),
        }
    }

    /// The other side ends the connection, and nothing comes before.
    #[track_caller]
    pub fn closed(&mut self) -> Ending {
        self.closed_within(CLOSE_MAX)
    }

    #[track_caller]
    pub fn closed_within(&mut self, within: Duration) -> Ending {
        match self.receive(within) {
            Err(Nothing::Ended(ending)) => ending,
            Err(Nothing::Timeout) => panic!("still open after {within:?}"),
            Ok(message) => panic!("a close was due, this came:\n{message:?}"),
        }
    }

    /// Everything that comes until nothing has come for `for_long`, or the connection has ended.
    pub fn drain(&mut self, for_long: Duration) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Ok(message) = self.receive(for_long) {
            messages.push(message);
        }
        messages
    }

    /// Waits until so many octets of the body of the message under way have come.
    #[track_caller]
    pub fn expect_partial(&mut self, octets: u64) {
        let until = Instant::now() + SOON;
        loop {
            match self.step(None) {
                Stepped::Message(message) => {
                    panic!("only the beginning was due, this came:\n{message:?}")
                }
                Stepped::Octets => {}
                Stepped::More => {
                    if self.partial_octets().is_some_and(|have| have >= octets) {
                        return;
                    }
                    self.fill(until).unwrap_or_else(|nothing| {
                        panic!(
                            "{nothing:?} after {:?} octets of the body",
                            self.partial_octets()
                        )
                    });
                }
            }
        }
    }

    /// Octets of the body of the message under way.
    pub fn partial_octets(&self) -> Option<u64> {
        self.partial.as_ref().map(|partial| partial.body_octets)
    }

    /// The transact-id of the message under way.
    #[track_caller]
    pub fn partial_tid(&self) -> String {
        let head = &self.partial.as_ref().expect("a message is under way").head;
        let start = head
            .split(|octet| *octet == b'\r')
            .next()
            .expect("a head has a start line");
        let tid = start
            .split(|octet| *octet == b' ')
            .nth(1)
            .expect("a start line has a tid");
        String::from_utf8(tid.to_vec()).expect("a tid is ASCII")
    }

    /// Whether the stream stands between two messages.
    pub fn is_between_messages(&self) -> bool {
        self.buffer.is_empty() && self.partial.is_none()
    }

    fn read_message(
        &mut self,
        until: Instant,
        mut sink: Option<&mut Sink<'_>>,
    ) -> Result<Message, Nothing> {
        loop {
            match self.step(sink.as_deref_mut()) {
                Stepped::Message(message) => return Ok(*message),
                Stepped::Octets => {}
                Stepped::More => self.fill(until)?,
            }
        }
    }

    fn step(&mut self, sink: Option<&mut Sink<'_>>) -> Stepped {
        if self.buffer.is_empty() {
            return Stepped::More;
        }
        let step = match self.scanner.step(&self.buffer) {
            Ok(step) => step,
            Err(e) => panic!("the relay breaks the grammar: {e}"),
        };
        let (used, stepped) = match step {
            Step::More => return Stepped::More,
            Step::Head { used, .. } => {
                let head = self.buffer[..used].to_vec();
                self.partial = Some(Partial {
                    head,
                    ..Partial::default()
                });
                (used, Stepped::Octets)
            }
            Step::Body { octets, used } => {
                let partial = self.partial.as_mut().expect("a body follows its head");
                partial.body_octets += octets.len() as u64;
                match sink {
                    Some(sink) => sink(octets),
                    None => partial.body.extend_from_slice(octets),
                }
                (used, Stepped::Octets)
            }
            Step::End { used, .. } => {
                let partial = self.partial.take().expect("an end-line follows its head");
                let mut raw = partial.head;
                raw.extend_from_slice(&partial.body);
                raw.extend_from_slice(&self.buffer[..used]);
                let message = Message::parse(&raw)
                    .unwrap_or_else(|e| panic!("the relay breaks the grammar: {e}"));
                (used, Stepped::Message(Box::new(message)))
            }
        };
        self.buffer.drain(..used);
        stepped
    }

    /// Reads once.
    fn fill(&mut self, until: Instant) -> Result<(), Nothing> {
        if let Some(ending) = self.ending {
            return Err(Nothing::Ended(ending));
        }
        let mut octets = [0; 32 * 1024];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Nothing::Timeout);
            }
            self.socket()
                .set_read_timeout(Some(left))
                .expect("a timeout can be set");
            let result = match &mut self.wire {
                Wire::Web(web) => match web.read_msrp() {
                    Ok(Some(octets)) if octets.is_empty() => continue,
                    Ok(Some(octets)) => {
                        self.buffer.extend(octets);
                        return Ok(());
                    }
                    Ok(None) => Ok(0),
                    Err(e) => Err(e),
                },
                Wire::Client(stream) => stream.read(&mut octets),
                Wire::Server(stream) => stream.read(&mut octets),
                Wire::Plain(socket) => socket.read(&mut octets),
            };
            let ending = match result {
                Ok(0) => Ending::Clean,
                Ok(count) => {
                    self.buffer.extend_from_slice(&octets[..count]);
                    return Ok(());
                }
                Err(e) => match e.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {
                        continue;
                    }
                    ErrorKind::UnexpectedEof => Ending::Truncated,
                    ErrorKind::ConnectionReset
                    | ErrorKind::BrokenPipe
                    | ErrorKind::ConnectionAborted => Ending::Reset,
                    _ => panic!("reading failed: {e}"),
                },
            };
            self.ending = Some(ending);
            return Err(Nothing::Ended(ending));
        }
    }
}

/// Takes a body piece by piece.
type Sink<'a> = dyn FnMut(&[u8]) + 'a;

enum Stepped {
    More,
    Octets,
    Message(Box<Message>),
}

/// Writes what TLS has ready; a full socket is met again at the next write.
fn flush(mut write: impl FnMut() -> Option<io::Result<usize>>) {
    while let Some(Ok(1..)) = write() {}
}

fn socket(socket: TcpStream) -> io::Result<TcpStream> {
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(SOON))?;
    socket.set_write_timeout(Some(WRITE_MAX))?;
    Ok(socket)
}

/// A URI of a client, as an endpoint would make it. Each has a host of its own: URIs that differ in
/// their session-id only are one and the same way to the relay (D-20).
pub fn own_uri(user: &str) -> String {
    let (host, id) = (fresh_tid(), fresh_tid());
    let transport = transport();
    format!("msrps://{user}-pc.{host}.example.com:7654/{id};{transport}")
}

/// What stands in the URIs of the test's clients: a URI has to fit its connection (D-34).
pub fn transport() -> &'static str {
    if web::is_by_web() { "ws" } else { "tcp" }
}
