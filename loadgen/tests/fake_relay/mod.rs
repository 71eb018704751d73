//! A small relay in the test's own process: enough of RFC 4976 for the load generator to run
//! through, with faults that can be planted. It is slow and has blocking threads; it is here so
//! that msrpload is tested without msrpd.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use msrpload::codec::{Builder, Message, Parser, Uri, fresh_tid};
use msrpload::digest::{Algorithm, params};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
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
    /// All connections end.
    Vanish(u64),
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// A connection and what goes out by it.
type Holder = (u64, Sender<Vec<u8>>);

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
    /// Foreign clients that sent something.
    peers: Mutex<HashMap<String, Sender<Vec<u8>>>>,
}

pub struct FakeRelay {
    pub address: SocketAddr,
    state: Arc<State>,
}

impl FakeRelay {
    /// Starts it; the authority of its certificate goes to `ca`.
    pub fn start(ca: &Path, fault: Fault) -> Self {
        Self::listen(State::new(fault), 0, ca)
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
        let key = rcgen::generate_simple_self_signed(vec![HOSTS[relay].to_owned()]).unwrap();
        std::fs::write(ca, key.cert.pem()).unwrap();
        let private =
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![key.cert.der().clone()], private)
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
                socket
                    .set_read_timeout(Some(Duration::from_millis(1)))
                    .unwrap();
                socket.set_nodelay(true).unwrap();
                let stream = Box::new(StreamOwned::new(tls, socket));
                let (sender, receiver) = channel();
                let state = Arc::clone(&shared);
                thread::spawn(move || state.serve(relay, stream, sender, &receiver));
            }
        });
        Self { address, state }
    }
}

impl State {
    fn new(fault: Fault) -> Arc<Self> {
        Arc::new(Self {
            fault,
            forwarded: AtomicU64::new(0),
            chained: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            next_key: AtomicU64::new(0),
            gone: AtomicBool::new(false),
            tokens: Mutex::default(),
            peers: Mutex::default(),
        })
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
            match stream.read(&mut buffer) {
                Ok(0) => return,
                Ok(octets) => {
                    parser.feed(&buffer[..octets]);
                    while let Some(message) = parser.next().expect("msrpload sends valid MSRP") {
                        self.handle(relay, key, &sender, message);
                    }
                }
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => return,
            }
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
            Some("AUTH") => self.on_auth(relay, key, sender, &message),
            Some("SEND") => self.on_send(key, sender, &message),
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
        let answer = send.header("Failure-Report").is_none();
        if let Some((_, owner)) = last.as_ref().filter(|(owner, _)| *owner != key) {
            self.pass_on(number, send, sender, owner, &to, &from, answer);
        } else {
            let known = self.peers.lock().unwrap().get(&to[0]).cloned();
            let next = known.unwrap_or_else(|| self.dial(&to[0]));
            self.pass_on(number, send, sender, &next, &to, &from, answer);
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
        if self.fault != Fault::Withhold200(number) {
            respond(200);
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
            let _ = next.send(piece);
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
