//! Bad company for the workload `hostile`: connections that say nothing, too little, too slowly or
//! nonsense, beside traffic that must not notice. Whoever is thrown out comes again.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use serde::{Deserialize, Serialize};

use msrpload::websocket::{Opcode, Upgrade, write_frame};

use crate::ids;
use crate::plan::{Plan, Transport};

/// How often each is looked at, and how long one that was thrown out waits.
const TURN: Duration = Duration::from_millis(5);
const AGAIN: Duration = Duration::from_millis(100);
/// A slow one says one octet in this time.
const SLOW: Duration = Duration::from_millis(100);
const CONNECT_MAX: Duration = Duration::from_secs(1);

/// What became of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fate {
    pub opened: u64,
    /// The relay has ended it.
    pub ended: u64,
    /// It was not let in.
    pub refused: u64,
}

/// What became of all, by kind.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct HostileResult {
    pub connections: usize,
    pub kinds: BTreeMap<String, Fate>,
}

impl HostileResult {
    /// Of all kinds together.
    pub fn sum(&self) -> Fate {
        self.kinds.values().fold(Fate::default(), |sum, one| Fate {
            opened: sum.opened + one.opened,
            ended: sum.ended + one.ended,
            refused: sum.refused + one.refused,
        })
    }
}

/// The thread that plays all of them.
pub struct Company {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<HostileResult>,
}

impl Company {
    /// Begins with `count` connections to the plan's first relay.
    pub fn start(plan: &Plan, count: usize) -> io::Result<Self> {
        let relay = &plan.relays[0];
        let target = Target {
            address: relay.address(plan.idle_transport),
            transport: plan.idle_transport,
            config: relay.client_config.clone(),
            name: relay.server_name.clone(),
            host: relay.host.clone(),
        };
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::Builder::new()
            .name("hostile".into())
            .spawn(move || play(&target, count, &stopped))?;
        Ok(Self { stop, thread })
    }

    /// All leave; what became of them.
    pub fn end(self) -> HostileResult {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

struct Target {
    address: SocketAddr,
    transport: Transport,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    host: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Connects and says nothing.
    Silent,
    /// Breaks off in its ClientHello, or without TLS in its request for WebSocket.
    HalfHandshake,
    /// Noise where the first octets are due.
    Noise,
    /// Noise where MSRP is due, or frames.
    NoiseInTls,
    /// A head octet by octet: that of its first request.
    Slow,
    /// Sends to sessions that do not exist.
    Stranger,
}

const KINDS: [Kind; 6] = [
    Kind::Silent,
    Kind::HalfHandshake,
    Kind::Noise,
    Kind::NoiseInTls,
    Kind::Slow,
    Kind::Stranger,
];

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::HalfHandshake => "half_handshake",
            Self::Noise => "noise",
            Self::NoiseInTls => "noise_in_tls",
            Self::Slow => "slow",
            Self::Stranger => "stranger",
        }
    }

    fn speaks_tls(self) -> bool {
        matches!(self, Self::NoiseInTls | Self::Slow | Self::Stranger)
    }

    /// Where there is WebSocket, it speaks through that.
    fn upgrades(self) -> bool {
        matches!(self, Self::NoiseInTls | Self::Stranger)
    }
}

fn play(target: &Target, count: usize, stopped: &AtomicBool) -> HostileResult {
    let mut result = HostileResult {
        connections: count,
        ..HostileResult::default()
    };
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let began = Instant::now();
    let mut seats: Vec<Seat> = (0..count)
        .map(|seat| Seat {
            kind: KINDS[seat % KINDS.len()],
            // Not all at once.
            due: began + TURN * (seat as u32 % 50),
            open: None,
        })
        .collect();
    while !stopped.load(Ordering::Relaxed) {
        for seat in &mut seats {
            seat.turn(target, &mut noise, &mut result);
        }
        thread::sleep(TURN);
    }
    result
}

/// One place among the bad company: a connection, or a wait for the next.
struct Seat {
    kind: Kind,
    due: Instant,
    open: Option<Connection>,
}

struct Connection {
    socket: TcpStream,
    tls: Option<ClientConnection>,
    /// Until frames may flow.
    upgrade: Option<Upgrade>,
    said: usize,
}

impl Seat {
    fn turn(&mut self, target: &Target, noise: &mut Noise, result: &mut HostileResult) {
        let now = Instant::now();
        let fate = result.kinds.entry(self.kind.name().to_owned()).or_default();
        let Some(connection) = &mut self.open else {
            if now >= self.due {
                match Connection::open(self.kind, target) {
                    Ok(connection) => {
                        fate.opened += 1;
                        self.open = Some(connection);
                    }
                    Err(_) => fate.refused += 1,
                }
                self.due = now + AGAIN;
            }
            return;
        };
        let speaks = now >= self.due;
        if speaks {
            self.due = now + SLOW;
        }
        if connection
            .goes_on(self.kind, speaks, target, noise)
            .is_err()
        {
            fate.ended += 1;
            self.open = None;
            self.due = now + AGAIN;
        }
    }
}

impl Connection {
    fn open(kind: Kind, target: &Target) -> io::Result<Self> {
        let socket = TcpStream::connect_timeout(&target.address, CONNECT_MAX)?;
        socket.set_nonblocking(true)?;
        let client = || {
            ClientConnection::new(target.config.clone(), target.name.clone())
                .map_err(io::Error::other)
        };
        let mut connection = Self {
            socket,
            tls: None,
            upgrade: None,
            said: 0,
        };
        if target.transport.is_web() && kind.upgrades() {
            connection.upgrade = Some(Upgrade::new(ids::letters()));
        }
        if kind == Kind::HalfHandshake {
            let mut hello = Vec::new();
            match target.transport.is_tls() {
                true => {
                    client()?.write_tls(&mut hello)?;
                }
                false => hello.extend_from_slice(target.request().as_bytes()),
            }
            connection.socket.write_all(&hello[..hello.len() / 2])?;
        } else if kind.speaks_tls() && target.transport.is_tls() {
            connection.tls = Some(client()?);
        }
        Ok(connection)
    }

    /// Says what is due, hears what comes. An error: it is over.
    fn goes_on(
        &mut self,
        kind: Kind,
        speaks: bool,
        target: &Target,
        noise: &mut Noise,
    ) -> io::Result<()> {
        if speaks {
            match kind {
                Kind::Silent | Kind::HalfHandshake => {}
                Kind::Noise => self.say(&noise.octets())?,
                Kind::Slow => {
                    let head = match target.transport.is_web() {
                        true => target.request(),
                        false => head(&target.host, "SLOWLY"),
                    };
                    let at = self.said % head.len();
                    self.say_within(&head.as_bytes()[at..=at])?;
                }
                Kind::NoiseInTls | Kind::Stranger => match &self.upgrade {
                    Some(upgrade) if self.said == 0 => {
                        let request = upgrade.request(&target.host);
                        self.say_within(request.as_bytes())?;
                    }
                    Some(_) => {}
                    None if kind == Kind::NoiseInTls => self.say_within(&noise.octets())?,
                    None => {
                        let send = head(&target.host, "nobody").into_bytes();
                        self.say_within(&target.framed(send))?;
                    }
                },
            }
        }
        self.hear()
    }

    fn say(&mut self, octets: &[u8]) -> io::Result<()> {
        self.said += octets.len();
        until_blocked(self.socket.write(octets).map(|_| ()))
    }

    /// In TLS, where there is some.
    fn say_within(&mut self, octets: &[u8]) -> io::Result<()> {
        let Some(tls) = &mut self.tls else {
            return self.say(octets);
        };
        if !tls.is_handshaking() {
            self.said += octets.len();
            tls.writer().write_all(octets)?;
        }
        Ok(())
    }

    fn hear(&mut self) -> io::Result<()> {
        let mut octets = [0; 4096];
        let Some(tls) = &mut self.tls else {
            return match self.socket.read(&mut octets) {
                Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
                Ok(len) => self.heard(&octets[..len]),
                Err(error) => until_blocked(Err(error)),
            };
        };
        while tls.wants_write() {
            match tls.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) => {
                    until_blocked(Err(error))?;
                    break;
                }
            }
        }
        match tls.read_tls(&mut self.socket) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) => return until_blocked(Err(error)),
        }
        tls.process_new_packets().map_err(io::Error::other)?;
        match tls.reader().read(&mut octets) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(len) => self.heard(&octets[..len]),
            Err(error) => until_blocked(Err(error)),
        }
    }

    fn heard(&mut self, octets: &[u8]) -> io::Result<()> {
        if let Some(upgrade) = &mut self.upgrade
            && upgrade.receive(octets).map_err(io::Error::other)?.is_some()
        {
            self.upgrade = None;
        }
        Ok(())
    }
}

impl Target {
    /// For an upgrade to WebSocket.
    fn request(&self) -> String {
        Upgrade::new(ids::letters()).request(&self.host)
    }

    fn framed(&self, message: Vec<u8>) -> Vec<u8> {
        if !self.transport.is_web() {
            return message;
        }
        let mut frame = Vec::new();
        write_frame(&mut frame, Opcode::Text, true, ids::letters(), &message);
        frame
    }
}

fn until_blocked(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        other => other,
    }
}

/// A SEND to a session that nobody has.
fn head(host: &str, session: &str) -> String {
    format!(
        "MSRP hostile1 SEND\r\nTo-Path: msrps://{host}:2855/{session};tcp msrps://x.invalid:1/x;tcp\r\n\
         From-Path: msrps://y.invalid:1/y;tcp\r\nMessage-ID: hostile1\r\nByte-Range: 1-1/1\r\n\
         Content-Type: text/plain\r\n\r\nx\r\n-------hostile1$\r\n"
    )
}

/// Octets without a meaning, the same ones in each run.
struct Noise(u64);

impl Noise {
    fn octets(&mut self) -> [u8; 64] {
        std::array::from_fn(|_| {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 32) as u8
        })
    }
}
