//! A small relay in the test's own process: enough of RFC 4976 for the load generator to run
//! through, with faults that can be planted. It is slow and has blocking threads; it is here so
//! that msrpload is tested without msrpd.

mod web;

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use msrpload::codec::{Builder, Message, Parser, Uri, fresh_tid};
use msrpload::digest::{Algorithm, params};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

pub const HOST: &str = "relay.test";
/// The second relay, for [`FakeRelay::start_two`]. Its realm and its user's password are others.
pub const HOST_B: &str = "relay-b.test";
const HOSTS: [&str; 2] = [HOST, HOST_B];
/// Each knows one user, by one password.
const USERS: [(&str, &str); 2] = [("alice", "wonderland"), ("bob", "builder")];

/// What the relay does wrong, to the chunk of this number (of those that are forwarded).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    Lose(u64),
    Double(u64),
    Corrupt(u64),
    Withhold200(u64),
    Answer200Twice(u64),
    /// 481 instead of 200, and nothing is forwarded. No fault of the relay at all.
    Refuse(u64),
    /// 413 to every chunk of a message of more than 100 kB. No fault.
    RefuseBig,
    /// 200 and then a REPORT instead of forwarding. No fault either.
    Report(u64),
    /// The two halves of its body in two chunks, in the wrong order.
    Swap(u64),
    /// The two halves of every body in two chunks. No fault.
    Recut,
    /// Another header value arrives.
    ChangeHeader(u64),
    /// A byte range that does not fit.
    WrongRange(u64),
    Hang(u64),
    /// Every one is lost, and acknowledged.
    LoseAll,
    /// Only the first half of the body comes, as if it were all.
    Truncate(u64),
    /// 481 instead of 200, and it is forwarded nevertheless.
    RefuseAndForward(u64),
    /// Whatever is forwarded leaves so much later.
    Delay(Duration),
    /// For this long from this time after the first message on, nothing is read and nothing leaves.
    StandStill(Duration, Duration),
    /// Messages above so many a second are queued, and wait for their turn.
    Capacity(u32),
    /// All connections end.
    Vanish(u64),
    /// Nothing is answered, not even AUTH.
    Mute,
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// By what a listener is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Tls,
    Wss,
    Ws,
}

/// A connection and what goes out by it.
type Holder = (u64, Sender<Vec<u8>>);

/// What waits: when it is due, when it came, where it goes.
struct Delayed {
    due: Instant,
    came: Instant,
    next: Sender<Vec<u8>>,
    octets: Vec<u8>,
}

struct State {
    fault: Fault,
    forwarded: AtomicU64,
    /// SENDs that went by a token of the first relay and then by one of the second.
    chained: AtomicU64,
    refused: AtomicU64,
    next_key: AtomicU64,
    gone: AtomicBool,
    /// Token URI: who holds it.
    tokens: Mutex<HashMap<String, Holder>>,
    /// When the first message came.
    first: OnceLock<Instant>,
    /// What waits for its time to leave, in order.
    delayed: Mutex<VecDeque<Delayed>>,
    /// When a relay of a known capacity can take the next piece.
    free_at: Mutex<Option<Instant>>,
    /// How long messages were held, really.
    held: Mutex<Vec<Duration>>,
    /// Successful AUTHs, and success reports that went back.
    auths: AtomicU64,
    reports: AtomicU64,
    /// What came by WebSocket.
    web: web::Seen,
    /// Foreign clients that sent something.
    peers: Mutex<HashMap<String, Sender<Vec<u8>>>>,
}

pub struct FakeRelay {
    pub address: SocketAddr,
    state: Arc<State>,
    config: Arc<ServerConfig>,
    relay: usize,
}

impl FakeRelay {
    /// Starts it; the authority of its certificate goes to `ca`.
    pub fn start(ca: &Path, fault: Fault) -> Self {
        Self::listen(State::new(fault), 0, ca)
    }

    /// It lets nobody in without a certificate of this authority.
    pub fn start_asking(ca: &Path, clients: &rustls::pki_types::CertificateDer<'static>) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(clients.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = verifier.build().unwrap();
        Self::listen_with(State::new(Fault::None), 0, ca, "127.0.0.1", Some(verifier)).unwrap()
    }

    /// At another address of this machine, for which its certificate is good.
    pub fn start_at(ca: &Path, address: &str) -> std::io::Result<Self> {
        Self::listen_at(State::new(Fault::None), 0, ca, address)
    }

    /// All connections end, and nothing listens any more.
    pub fn die(&self) {
        self.state.gone.store(true, Ordering::Relaxed);
        // The loop that accepts has a last turn.
        thread::sleep(Duration::from_millis(50));
    }

    /// It is back, and knows nobody.
    pub fn rise(&self) {
        self.state.tokens.lock().unwrap().clear();
        self.state.peers.lock().unwrap().clear();
        self.state.gone.store(false, Ordering::Relaxed);
        let listener = TcpListener::bind(self.address).unwrap();
        self.accept(listener);
    }

    /// How long messages were held at the median, by what the relay itself saw.
    pub fn held_p50(&self) -> Duration {
        let mut held = self.state.held.lock().unwrap().clone();
        held.sort_unstable();
        held[held.len() / 2]
    }

    pub fn auths(&self) -> u64 {
        self.state.auths.load(Ordering::Relaxed)
    }

    pub fn reports(&self) -> u64 {
        self.state.reports.load(Ordering::Relaxed)
    }

    /// Listens for WebSocket as well, over TLS or without.
    pub fn listen_for_web(&self, tls: bool) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        self.accept_by(listener, if tls { By::Wss } else { By::Ws });
        address
    }

    /// What came by WebSocket.
    pub fn web(&self) -> &web::Seen {
        &self.state.web
    }

    /// Two relays that know each other's tokens, with an authority each.
    pub fn start_two(ca: &Path, ca_b: &Path) -> [Self; 2] {
        let state = State::new(Fault::None);
        [
            Self::listen(Arc::clone(&state), 0, ca),
            Self::listen(state, 1, ca_b),
        ]
    }

    /// SENDs that took the way from the first to the second relay.
    pub fn chained(&self) -> u64 {
        self.state.chained.load(Ordering::Relaxed)
    }

    /// Chunks refused by [`Fault::RefuseBig`].
    pub fn refused(&self) -> u64 {
        self.state.refused.load(Ordering::Relaxed)
    }

    fn listen(state: Arc<State>, relay: usize, ca: &Path) -> Self {
        Self::listen_at(state, relay, ca, "127.0.0.1").unwrap()
    }

    fn listen_at(
        state: Arc<State>,
        relay: usize,
        ca: &Path,
        address: &str,
    ) -> std::io::Result<Self> {
        Self::listen_with(state, relay, ca, address, None)
    }

    fn listen_with(
        state: Arc<State>,
        relay: usize,
        ca: &Path,
        address: &str,
        asking: Option<Arc<dyn ClientCertVerifier>>,
    ) -> std::io::Result<Self> {
        let names = vec![HOSTS[relay].to_owned(), address.to_owned()];
        let key = rcgen::generate_simple_self_signed(names).unwrap();
        std::fs::write(ca, key.cert.pem()).unwrap();
        let private =
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = match asking {
            None => config.with_no_client_auth(),
            Some(verifier) => config.with_client_cert_verifier(verifier),
        };
        let config = config
            .with_single_cert(vec![key.cert.der().clone()], private)
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind((address, 0))?;
        let fake = Self {
            address: listener.local_addr()?,
            state,
            config,
            relay,
        };
        fake.accept(listener);
        let state = Arc::clone(&fake.state);
        thread::spawn(move || state.let_go());
        Ok(fake)
    }

    fn accept(&self, listener: TcpListener) {
        self.accept_by(listener, By::Tls);
    }

    fn accept_by(&self, listener: TcpListener, by: By) {
        let (state, config, relay) = (
            Arc::clone(&self.state),
            Arc::clone(&self.config),
            self.relay,
        );
        listener.set_nonblocking(true).unwrap();
        thread::spawn(move || {
            while !state.gone.load(Ordering::Relaxed) {
                let Ok((socket, _)) = listener.accept() else {
                    thread::sleep(Duration::from_millis(1));
                    continue;
                };
                socket.set_nonblocking(false).unwrap();
                socket
                    .set_read_timeout(Some(Duration::from_millis(1)))
                    .unwrap();
                socket.set_nodelay(true).unwrap();
                // A timeout of a socket is as coarse as the kernel's ticks.
                let precise = matches!(state.fault, Fault::Delay(_));
                socket.set_nonblocking(precise).unwrap();
                let stream: Box<dyn Stream> = match by {
                    By::Ws => Box::new(socket),
                    By::Tls | By::Wss => {
                        let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
                        Box::new(StreamOwned::new(tls, socket))
                    }
                };
                let (sender, receiver) = channel();
                let state = Arc::clone(&state);
                thread::spawn(move || match by {
                    By::Tls => state.serve(relay, stream, sender, &receiver),
                    By::Wss | By::Ws => state.serve_web(relay, stream, sender, &receiver),
                });
            }
        });
    }
}

impl State {
    fn new(fault: Fault) -> Arc<Self> {
        Arc::new(Self {
            fault,
            forwarded: AtomicU64::new(0),
            chained: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            first: OnceLock::new(),
            delayed: Mutex::default(),
            free_at: Mutex::default(),
            held: Mutex::default(),
            auths: AtomicU64::new(0),
            reports: AtomicU64::new(0),
            next_key: AtomicU64::new(0),
            gone: AtomicBool::new(false),
            tokens: Mutex::default(),
            web: web::Seen::default(),
            peers: Mutex::default(),
        })
    }

    /// Sends what has waited long enough.
    fn let_go(&self) {
        loop {
            thread::sleep(Duration::from_micros(200));
            self.stand_still();
            let mut delayed = self.delayed.lock().unwrap();
            while delayed
                .front()
                .is_some_and(|first| first.due <= Instant::now())
            {
                let first = delayed.pop_front().unwrap();
                let _ = first.next.send(first.octets);
                self.held.lock().unwrap().push(first.came.elapsed());
            }
        }
    }

    /// Waits while nothing is to move.
    fn stand_still(&self) {
        if let (Fault::StandStill(from, length), Some(first)) = (self.fault, self.first.get()) {
            let since = first.elapsed();
            if since >= from && since < from + length {
                thread::sleep(from + length - since);
            }
        }
    }

    /// Forwards a piece, now or when it is due.
    fn send_on(&self, next: &Sender<Vec<u8>>, piece: Vec<u8>) {
        let now = Instant::now();
        let mut delayed = self.delayed.lock().unwrap();
        let due = match self.fault {
            Fault::Delay(delay) => now + delay,
            // One server: the next piece begins when the one before it is done, also when that one has already left.
            Fault::Capacity(per_second) => {
                let mut free_at = self.free_at.lock().unwrap();
                let due = free_at.map_or(now, |free_at| free_at.max(now));
                *free_at = Some(due + Duration::from_secs(1) / per_second);
                due
            }
            _ => {
                let _ = next.send(piece);
                return;
            }
        };
        delayed.push_back(Delayed {
            due,
            came: now,
            next: next.clone(),
            octets: piece,
        });
    }

    fn serve(
        self: Arc<Self>,
        relay: usize,
        mut stream: Box<dyn Stream>,
        sender: Sender<Vec<u8>>,
        receiver: &Receiver<Vec<u8>>,
    ) {
        let key = self.next_key.fetch_add(1, Ordering::Relaxed);
        let mut parser = Parser::new();
        let mut buffer = vec![0; 65_536];
        while !self.gone.load(Ordering::Relaxed) {
            self.stand_still();
            match stream.read(&mut buffer) {
                Ok(0) => return,
                Ok(octets) => {
                    parser.feed(&buffer[..octets]);
                    while let Some(message) = parser.next().expect("msrpload sends valid MSRP") {
                        self.handle(relay, key, &sender, message);
                    }
                }
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if matches!(self.fault, Fault::Delay(_)) {
                        thread::sleep(Duration::from_micros(300));
                    }
                }
                Err(_) => return,
            }
            self.stand_still();
            let mut out = Vec::new();
            while let Ok(octets) = receiver.try_recv() {
                out.extend(octets);
            }
            let mut at = 0;
            while at < out.len() {
                match stream.write(&out[at..]) {
                    Ok(octets) => at += octets,
                    Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                    Err(_) => return,
                }
            }
            let _ = stream.flush();
        }
    }

    fn handle(
        self: &Arc<Self>,
        relay: usize,
        key: u64,
        sender: &Sender<Vec<u8>>,
        message: Message,
    ) {
        match message.method() {
            _ if self.fault == Fault::Mute => {}
            Some("AUTH") => self.on_auth(relay, key, sender, &message),
            Some("SEND") => self.on_send(key, sender, &message),
            Some("REPORT") => self.on_report(&message),
            _ => {}
        }
    }

    fn on_auth(&self, relay: usize, key: u64, sender: &Sender<Vec<u8>>, auth: &Message) {
        let challenge = |nonce: &str| {
            let host = HOSTS[relay];
            let text =
                format!("Digest realm=\"{host}\", nonce=\"{nonce}\", opaque=\"xyz\", qop=\"auth\"");
            Builder::response_to(auth, 401, Some("Unauthorized")).header("WWW-Authenticate", &text)
        };
        let answer = match auth.header("Authorization") {
            None => challenge("abc"),
            Some(value) => match proof(relay, value, auth.to_path.last().unwrap()) {
                None => challenge("def"),
                Some(info) => {
                    let token = format!("msrps://{}:2855/{};tcp", HOSTS[relay], fresh_tid());
                    self.auths.fetch_add(1, Ordering::Relaxed);
                    self.tokens
                        .lock()
                        .unwrap()
                        .insert(token.clone(), (key, sender.clone()));
                    Builder::response_to(auth, 200, Some("OK"))
                        .header("Use-Path", &token)
                        .header("Authentication-Info", &info)
                        .header("Expires", "3600")
                }
            },
        };
        sender.send(answer.encode()).unwrap();
    }

    fn on_send(self: &Arc<Self>, key: u64, sender: &Sender<Vec<u8>>, send: &Message) {
        let mut to = send.to_path.clone();
        let mut from = send.from_path.clone();
        if from.len() == 1 && self.owner(&to[0]).is_some_and(|(owner, _)| owner != key) {
            self.peers
                .lock()
                .unwrap()
                .insert(from[0].clone(), sender.clone());
        }
        if to.len() > 2 && to[0].contains(HOST) && to[1].contains(HOST_B) {
            self.chained.fetch_add(1, Ordering::Relaxed);
        }
        let mut last = None;
        while let Some(owner) = self.owner(&to[0]) {
            last = Some(owner);
            let own = to.remove(0);
            from.insert(0, own);
        }
        let number = match send.body() {
            [] => u64::MAX,
            _ => self.forwarded.fetch_add(1, Ordering::Relaxed) + 1,
        };
        if number != u64::MAX {
            let _ = self.first.set(Instant::now());
        }
        let answer = send.header("Failure-Report").is_none();
        if let Some((_, owner)) = last.as_ref().filter(|(owner, _)| *owner != key) {
            self.pass_on(number, send, sender, owner, &to, &from, answer);
        } else {
            let known = self.peers.lock().unwrap().get(&to[0]).cloned();
            let next = known.unwrap_or_else(|| self.dial(&to[0]));
            self.pass_on(number, send, sender, &next, &to, &from, answer);
        }
    }

    /// A success report on its way back.
    fn on_report(&self, report: &Message) {
        let mut to = report.to_path.clone();
        let mut from = report.from_path.clone();
        let mut last = None;
        while let Some(owner) = self.owner(&to[0]) {
            last = Some(owner);
            let own = to.remove(0);
            from.insert(0, own);
        }
        let foreign = self.peers.lock().unwrap().get(&to[0]).cloned();
        let next = foreign.or_else(|| last.map(|(_, sender)| sender));
        let text = |uris: &[String]| uris.join(" ");
        let mut out = Builder::request(&fresh_tid(), "REPORT")
            .header("To-Path", &text(&to))
            .header("From-Path", &text(&from));
        for (name, value) in &report.headers[2..] {
            out = out.header(name, value);
        }
        self.reports.fetch_add(1, Ordering::Relaxed);
        if let Some(next) = next {
            let _ = next.send(out.encode());
        }
    }

    fn owner(&self, uri: &str) -> Option<Holder> {
        self.tokens.lock().unwrap().get(uri).cloned()
    }

    fn dial(self: &Arc<Self>, uri: &str) -> Sender<Vec<u8>> {
        let port = Uri::parse(uri).unwrap().port.unwrap();
        let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(1)))
            .unwrap();
        let (sender, receiver) = channel();
        self.peers
            .lock()
            .unwrap()
            .insert(uri.to_owned(), sender.clone());
        let (state, own) = (Arc::clone(self), sender.clone());
        thread::spawn(move || state.serve(0, Box::new(socket), own, &receiver));
        sender
    }

    #[allow(clippy::too_many_arguments, reason = "a test relay, kept flat")]
    fn pass_on(
        &self,
        number: u64,
        send: &Message,
        back: &Sender<Vec<u8>>,
        next: &Sender<Vec<u8>>,
        to: &[String],
        from: &[String],
        answer: bool,
    ) {
        let respond = |code| {
            if answer {
                let _ = back.send(Builder::response_to(send, code, None).encode());
            }
        };
        if self.fault == Fault::Refuse(number) {
            return respond(481);
        }
        let total = send.byte_range().and_then(|range| range.total);
        if self.fault == Fault::RefuseBig && total > Some(100_000) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return respond(413);
        }
        match self.fault {
            Fault::Withhold200(n) if n == number => {}
            Fault::RefuseAndForward(n) if n == number => respond(481),
            _ => respond(200),
        }
        if self.fault == Fault::Answer200Twice(number) {
            respond(200);
        }
        let whole = |body: &[u8], start: u64, flag: u8| {
            self.forward(number, send, to, from, body, start, flag)
        };
        let start = send.byte_range().unwrap().start;
        let body = send.body();
        let half = body.len() / 2;
        let second = start + half as u64;
        let pieces = match self.fault {
            Fault::Lose(n) if n == number => vec![],
            Fault::LoseAll if !body.is_empty() => vec![],
            Fault::Truncate(n) if n == number => vec![whole(&body[..half], start, b'$')],
            Fault::Report(n) if n == number => {
                let range = send.header("Byte-Range").unwrap();
                let report = Builder::request(&fresh_tid(), "REPORT")
                    .to_path(
                        &send
                            .from_path
                            .iter()
                            .map(String::as_str)
                            .collect::<Vec<_>>(),
                    )
                    .from_path(&[&send.to_path[0]])
                    .header("Message-ID", send.message_id().unwrap())
                    .header("Byte-Range", range)
                    .header("Status", "000 408 Timeout");
                back.send(report.encode()).unwrap();
                vec![]
            }
            Fault::Double(n) if n == number => {
                vec![whole(body, start, send.flag), whole(body, start, send.flag)]
            }
            Fault::Corrupt(n) if n == number => {
                let mut body = body.to_vec();
                body[half] ^= 1;
                vec![whole(&body, start, send.flag)]
            }
            Fault::Swap(n) if n == number => {
                vec![
                    whole(&body[half..], second, send.flag),
                    whole(&body[..half], start, b'+'),
                ]
            }
            Fault::Recut if !body.is_empty() => {
                vec![
                    whole(&body[..half], start, b'+'),
                    whole(&body[half..], second, send.flag),
                ]
            }
            Fault::Vanish(n) if n == number => {
                self.gone.store(true, Ordering::Relaxed);
                vec![]
            }
            Fault::Hang(n) if n == number => {
                thread::sleep(Duration::from_secs(3600));
                vec![]
            }
            _ => vec![whole(body, start, send.flag)],
        };
        for piece in pieces {
            self.send_on(next, piece);
        }
    }

    #[allow(clippy::too_many_arguments, reason = "a test relay, kept flat")]
    fn forward(
        &self,
        number: u64,
        send: &Message,
        to: &[String],
        from: &[String],
        body: &[u8],
        start: u64,
        flag: u8,
    ) -> Vec<u8> {
        let text = |uris: &[String]| uris.join(" ");
        let mut out = Builder::request(&fresh_tid(), "SEND")
            .header("To-Path", &text(to))
            .header("From-Path", &text(from));
        for (name, value) in &send.headers[2..] {
            let total = send.byte_range().unwrap().total.unwrap();
            let mut end = start + body.len() as u64 - 1;
            if self.fault == Fault::WrongRange(number) {
                end += 1;
            }
            if self.fault == Fault::Truncate(number) {
                end = total;
            }
            out = match name.as_str() {
                "Byte-Range" if !body.is_empty() => {
                    out.header(name, &format!("{start}-{end}/{total}"))
                }
                "Message-ID" if self.fault == Fault::ChangeHeader(number) => {
                    out.header(name, value).header("Failure-Report", "no")
                }
                _ => out.header(name, value),
            };
        }
        match send.body {
            Some(_) => out.body(body).flag(flag).encode(),
            None => out.flag(flag).encode(),
        }
    }
}

/// The Authentication-Info for right credentials.
fn proof(relay: usize, authorization: &str, uri: &str) -> Option<String> {
    let params = params(authorization.strip_prefix("Digest ")?).ok()?;
    let value = |name: &str| {
        params
            .iter()
            .find(|p| p.name == name)
            .map(|p| p.value.as_str())
    };
    let (nonce, nc, cnonce) = (value("nonce")?, value("nc")?, value("cnonce")?);
    let h = |text: &str| Algorithm::Md5.hash(text);
    let (user, password) = USERS[relay];
    let ha1 = h(&format!("{user}:{}:{password}", HOSTS[relay]));
    let digest = |a2: &str| h(&format!("{ha1}:{nonce}:{nc}:{cnonce}:auth:{}", h(a2)));
    (value("response")? == digest(&format!("AUTH:{uri}")) && value("username")? == user).then(
        || {
            format!(
                "rspauth=\"{}\", cnonce=\"{cnonce}\", nc={nc}, qop=auth",
                digest(&format!(":{uri}"))
            )
        },
    )
}
