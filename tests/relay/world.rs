//! The world around the machine, in virtual time: relays of one or more shards and the mesh
//! between those, sockets as octet pipes with bounded kernel buffers, and the far ends of those
//! sockets. Between two relays of the world both ends are sockets here, each the other's partner.
//! Of a WebSocket connection the far end's octets are those of MSRP, and all offsets count them.
//!
//! [`World::run`] lets everything happen that can happen at once. The simulation takes the same
//! steps one by one, in an order of its own: [`World::read_some`], [`World::take`],
//! [`World::transmit`], [`World::deliver`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use msrpd::metrics::{Ledger, OddResponse, Traffic};
use msrpd::relay::{
    Accepted, CloseReason, Command, ConnectionKey, Handoff, LookUpKey, LookedUp, Loss, Notice,
    Quotas, Reached, Relay, SessionRecord, Settings, ShardId, Start, Transport, VerifiedNames,
    Verify,
};
use msrpload::codec::{CodecError, Message, Parser};

use super::setup;
use super::web::Web;

/// The far end of a socket, by its number.
pub type Peer = usize;

/// What a world is made of.
pub struct Options {
    pub workers: u16,
    /// Shards of each further relay; their names are [`setup::host`]'s.
    pub more_relays: Vec<u16>,
    pub seed: u64,
    pub settings: Settings,
    /// How long a handoff is under way in [`World::run`].
    pub handoff_delay: Duration,
    /// What the kernel holds for a far end that does not read.
    pub kernel_octets: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workers: 1,
            more_relays: Vec::new(),
            seed: 1,
            settings: setup::settings(),
            handoff_delay: Duration::ZERO,
            kernel_octets: 65_536,
        }
    }
}

impl Options {
    pub fn workers(workers: u16) -> Self {
        Self {
            workers,
            ..Self::default()
        }
    }
}

/// How a connection ended, as its far end saw it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ended {
    /// The relay closed in order; what was sent before can be read.
    Closed(CloseReason),
    /// The relay shut it down at once.
    Aborted(CloseReason),
    /// This end reset it.
    Reset,
    /// The other relay's end is gone.
    Gone,
}

/// One connection, seen from both sides.
pub struct Socket {
    pub shard: usize,
    pub key: ConnectionKey,
    /// Octets that the far end has written and the relay has not read.
    inbound: VecDeque<u8>,
    /// How many the relay has read, ever.
    pub consumed: u64,
    /// How many the far end has written, ever.
    pub written: u64,
    end_of_stream: bool,
    end_told: bool,
    /// The relay had no room and has not resumed since.
    parked: bool,
    /// A send under way: what the kernel has not taken of it.
    flight: Option<VecDeque<u8>>,
    wants_transmit: bool,
    /// Octets in the kernel that the far end has not read.
    kernel: VecDeque<u8>,
    pub kernel_max: usize,
    /// Octets that the kernel has taken, ever, and when: the offset after each take.
    taken: u64,
    marks: VecDeque<(u64, Instant)>,
    /// Octets that the far end has read, ever.
    pub fetched: u64,
    /// Whether [`World::run`] reads at the far end.
    pub reading: bool,
    /// It addresses us by URIs that break the grammar, and so will our answers.
    pub sends_broken_uris: bool,
    unheard: bool,
    /// Messages that the far end has heard, ever.
    heard: u64,
    /// The other end, if that is a relay's too.
    pub partner: Option<Peer>,
    /// Nothing crosses until then.
    pub stalled_until: Option<Instant>,
    partner_gone: bool,
    pub ended: Option<Ended>,
    pub ended_at: Option<Instant>,
    parser: Parser,
    arrived: VecDeque<Message>,
    /// It is a WebSocket connection.
    pub web: Option<Box<Web>>,
}

impl Socket {
    /// Whether the relay still knows this connection.
    pub fn alive(&self) -> bool {
        self.ended.is_none()
    }
    pub fn inbound_len(&self) -> usize {
        self.inbound.len()
    }
    pub fn kernel_len(&self) -> usize {
        self.kernel.len()
    }
    pub fn has_flight(&self) -> bool {
        self.flight.is_some()
    }
    pub fn end_waits(&self) -> bool {
        self.end_of_stream && !self.end_told && self.inbound.is_empty() && self.alive()
    }
}

/// A connection that the relay wants to open.
#[derive(Debug)]
pub struct Dialling {
    pub shard: usize,
    pub key: ConnectionKey,
    pub target: String,
    pub verify: Verify,
    pub on_behalf_of: u64,
}

/// A user that a relay wants looked up.
pub struct LookingUp {
    pub shard: usize,
    asker: LookUpKey,
    pub user: String,
    pub realm: String,
}

pub struct World {
    pub now: Instant,
    pub began: Instant,
    /// Of all relays, one relay's after the other's.
    pub shards: Vec<Relay>,
    /// Which of the shards are whose.
    pub relays: Vec<Range<usize>>,
    pub sockets: Vec<Socket>,
    by_key: BTreeMap<(usize, ConnectionKey), Peer>,
    /// Handoffs under way, from and to, in order, with the time from which they may arrive.
    mesh: BTreeMap<(usize, usize), VecDeque<(Instant, Handoff)>>,
    pub dialling: Vec<Dialling>,
    pub handoff_delay: Duration,
    kernel_octets: usize,
    websocket_chunk_octets: usize,
    /// Checks all invariants after every call; scenarios that move much turn it off.
    pub checks: bool,
    pub handoffs: u64,
    /// Of sessions that have ended, with the relay whose they were.
    pub records: Vec<(usize, SessionRecord)>,
    /// Reads of the relay in [`World::run`] bring at most so many octets.
    pub read_max: usize,
    /// Whether in [`World::run`] dials to relays of this world connect.
    pub connects_relays: bool,
    /// Told to the log.
    pub odd_responses: Vec<OddResponse>,
    /// Told to the log, too.
    pub notices: Vec<Notice>,
    /// Users asked for.
    pub looking_up: Vec<LookingUp>,
    /// To relays of this world.
    pub failed_dials: usize,
    /// Requests may have to wait.
    has_quotas: bool,
    /// Where far ends connect from.
    pub from: IpAddr,
    /// Says what every far end reads: for one seed that fails (`MSRPD_TRACE=1`).
    pub traces: bool,
}

/// One line for a message that has arrived whole.
fn trace(at: Duration, peer: Peer, shard: usize, partner: Option<Peer>, message: &Message) {
    let what = message.code().map_or_else(
        || message.method().unwrap_or_default().to_owned(),
        |code| code.to_string(),
    );
    let range = message.header("Byte-Range").unwrap_or_default();
    let status = message.header("Status").unwrap_or_default();
    eprintln!(
        "{at:?} shard {shard} to {peer} ({partner:?}): {} {what} {} {range} {} octets {status} {}",
        message.tid,
        message.message_id().unwrap_or_default(),
        message.body().len(),
        char::from(message.flag)
    );
}

impl World {
    pub fn new(options: Options) -> Self {
        let began = Instant::now();
        let (mut shards, mut relays) = (Vec::new(), Vec::new());
        let workers = std::iter::once(options.workers).chain(options.more_relays);
        for (relay, workers) in workers.enumerate() {
            let mut settings = options.settings.clone();
            settings.hosts[0] = setup::host(relay);
            let settings = Arc::new(settings);
            let first = shards.len();
            for shard in 0..workers {
                let mut seed = [0; 32];
                seed[..8].copy_from_slice(&options.seed.to_be_bytes());
                seed[8..10].copy_from_slice(&((first as u16) + shard).to_be_bytes());
                shards.push(Relay::new(Start {
                    settings: settings.clone(),
                    auth: setup::authenticator(began, relay),
                    shard: ShardId(shard),
                    workers,
                    seed,
                    hash_key: [7; 16],
                    now: began,
                }));
            }
            relays.push(first..shards.len());
        }
        Self {
            now: began,
            began,
            shards,
            relays,
            sockets: Vec::new(),
            by_key: BTreeMap::new(),
            mesh: BTreeMap::new(),
            dialling: Vec::new(),
            handoff_delay: options.handoff_delay,
            kernel_octets: options.kernel_octets,
            websocket_chunk_octets: options.settings.limits.websocket_chunk_octets,
            checks: true,
            handoffs: 0,
            records: Vec::new(),
            read_max: usize::MAX,
            connects_relays: true,
            odd_responses: Vec::new(),
            notices: Vec::new(),
            looking_up: Vec::new(),
            failed_dials: 0,
            has_quotas: options.settings.quotas != Quotas::default(),
            from: Ipv4Addr::LOCALHOST.into(),
            traces: std::env::var_os("MSRPD_TRACE").is_some(),
        }
    }

    /// Checked at the end only: there will be too much to look at after each call.
    pub fn unchecked(options: Options) -> Self {
        let mut world = Self::new(options);
        world.checks = false;
        world
    }

    /// Whose shard this is.
    pub fn relay_of(&self, shard: usize) -> usize {
        self.relays
            .iter()
            .position(|shards| shards.contains(&shard))
            .expect("every shard is a relay's")
    }

    /// A far end connects to a listener of this shard and finishes its handshake.
    pub fn connect(&mut self, shard: usize, transport: Transport) -> Peer {
        let peer = self.connect_raw(shard, transport);
        self.establish(peer, None);
        peer
    }

    /// A far end with a certificate that verifies for these names.
    pub fn connect_verified(&mut self, shard: usize, names: &[&str]) -> Peer {
        let peer = self.connect_raw(shard, Transport::Tls);
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        self.establish(peer, Some(Arc::new(VerifiedNames { names })));
        peer
    }

    /// The TCP accept alone.
    pub fn connect_raw(&mut self, shard: usize, transport: Transport) -> Peer {
        let port = 40_000 + (self.sockets.len() % 20_000) as u16;
        let key = self.shards[shard].accept(
            self.now,
            Accepted {
                by_proxy: false,
                transport,
                remote: SocketAddr::new(self.from, port),
                use_path_port: 2855,
            },
        );
        let peer = self.add_socket(shard, key);
        if matches!(transport, Transport::Wss | Transport::Ws) {
            let web = Web::open(self.websocket_chunk_octets);
            self.sockets[peer].web = Some(Box::new(web));
        }
        self.obey();
        peer
    }

    fn add_socket(&mut self, shard: usize, key: ConnectionKey) -> Peer {
        let peer = self.sockets.len();
        self.sockets.push(Socket {
            shard,
            key,
            inbound: VecDeque::new(),
            consumed: 0,
            written: 0,
            end_of_stream: false,
            end_told: false,
            parked: false,
            flight: None,
            wants_transmit: false,
            kernel: VecDeque::new(),
            kernel_max: self.kernel_octets,
            taken: 0,
            marks: VecDeque::new(),
            fetched: 0,
            reading: true,
            sends_broken_uris: false,
            unheard: false,
            heard: 0,
            partner: None,
            stalled_until: None,
            partner_gone: false,
            ended: None,
            ended_at: None,
            parser: Parser::new(),
            arrived: VecDeque::new(),
            web: None,
        });
        self.by_key.insert((shard, key), peer);
        peer
    }

    pub fn establish(&mut self, peer: Peer, verified: Option<Arc<VerifiedNames>>) {
        let Socket { shard, key, .. } = self.sockets[peer];
        self.shards[shard].established(self.now, key, verified);
        self.obey();
    }

    /// Follows what a connect attempt came to.
    pub fn dial_succeeds(&mut self, index: usize, names: Option<&[&str]>) -> Peer {
        let dialling = self.dialling.remove(index);
        let peer = self.add_socket(dialling.shard, dialling.key);
        let verified = names.map(|names| {
            Arc::new(VerifiedNames {
                names: names.iter().map(|name| (*name).to_owned()).collect(),
            })
        });
        self.establish(peer, verified);
        peer
    }

    /// Which relay of this world a dial leads to.
    pub fn dial_target(&self, index: usize) -> Option<usize> {
        let target = &self.dialling[index].target;
        (0..self.relays.len()).find(|relay| target.contains(&setup::host(*relay)))
    }

    /// Another relay of this world accepts the dial, on the shard of that number, and both have
    /// seen the other's certificate. Gives the dialling end; its partner is the other one.
    pub fn dial_connects(&mut self, index: usize, shard: usize) -> Peer {
        let target = self.dial_target(index).expect("a relay of this world");
        assert_eq!(self.dialling[index].verify, Verify::Relay, "TLS-08");
        let dialler = self.relay_of(self.dialling[index].shard);
        let shards = self.relays[target].clone();
        let accepted = self.connect_raw(shards.start + shard % shards.len(), Transport::Tls);
        let dialled = self.sockets.len();
        self.sockets[accepted].partner = Some(dialled);
        let names = |relay| {
            Some(Arc::new(VerifiedNames {
                names: vec![setup::host(relay)],
            }))
        };
        self.establish(accepted, names(dialler));
        let dialling = self.dialling.remove(index);
        assert_eq!(self.add_socket(dialling.shard, dialling.key), dialled);
        self.sockets[dialled].partner = Some(accepted);
        let reached = Reached {
            target: None,
            port: 2855,
        };
        self.shards[dialling.shard].reached(dialling.key, reached);
        self.establish(dialled, names(target));
        dialled
    }

    /// Every dial to a relay of this world connects.
    fn connect_relays(&mut self) -> bool {
        let mut any = false;
        while let Some(index) =
            (0..self.dialling.len()).find(|index| self.dial_target(*index).is_some())
        {
            // On one shard after the other.
            self.dial_connects(index, self.sockets.len() / 2);
            any = true;
        }
        any
    }

    pub fn dial_fails(&mut self, index: usize) {
        self.failed_dials += usize::from(self.dial_target(index).is_some());
        let dialling = self.dialling.remove(index);
        self.shards[dialling.shard].lost(
            self.now,
            dialling.key,
            Loss::DialFailed("refused".into()),
        );
        self.obey();
    }

    /// The answer to the first question for a user.
    pub fn looked_up(&mut self, found: LookedUp) {
        let asked = self.looking_up.remove(0);
        self.shards[asked.shard].looked_up(self.now, asked.asker, found);
        self.obey();
    }

    /// The far end writes.
    pub fn write(&mut self, peer: Peer, octets: &[u8]) {
        let socket = &mut self.sockets[peer];
        assert!(!socket.end_of_stream, "wrote after its end of stream");
        socket.written += octets.len() as u64;
        if !socket.alive() {
            return;
        }
        match &mut socket.web {
            Some(web) => socket.inbound.extend(web.sends(octets)),
            None => socket.inbound.extend(octets),
        }
    }

    /// The far end of a WebSocket connection writes frames of its own making.
    pub fn write_frames(&mut self, peer: Peer, octets: &[u8]) {
        let socket = &mut self.sockets[peer];
        let web = socket.web.as_mut().expect("a WebSocket connection");
        web.strange = true;
        if socket.alive() {
            socket.inbound.extend(octets);
        }
    }

    /// The relay's timer for idle WebSocket clients is due.
    pub fn ping(&mut self) {
        for peer in 0..self.sockets.len() {
            let socket = &mut self.sockets[peer];
            let alive = socket.alive();
            if let Some(web) = &mut socket.web
                && alive
                && !web.ping()
            {
                self.lose(peer, Loss::Unresponsive);
            }
        }
    }

    /// The far end of a WebSocket connection closes that, and still reads.
    pub fn close_web(&mut self, peer: Peer) {
        let socket = &mut self.sockets[peer];
        let web = socket.web.as_mut().expect("a WebSocket connection");
        let close = web.sends_close();
        if socket.alive() {
            socket.inbound.extend(close);
        }
    }

    /// The far end writes no more, and still reads.
    pub fn shut(&mut self, peer: Peer) {
        self.sockets[peer].end_of_stream = true;
    }

    /// The far end is gone: what it had not read is lost, what it wrote and the relay had not
    /// read too. Of a link both ends lose it.
    pub fn reset(&mut self, peer: Peer) {
        self.lose(peer, Loss::Closed);
    }

    /// The same, told by the relay's kernel: the far end's host acknowledges nothing (D-41).
    pub fn vanish(&mut self, peer: Peer) {
        self.lose(peer, Loss::Vanished);
    }

    fn lose(&mut self, peer: Peer, loss: Loss) {
        if !self.sockets[peer].alive() {
            return;
        }
        let Socket { shard, key, .. } = self.sockets[peer];
        self.void(peer, Ended::Reset);
        self.sockets[peer].kernel.clear();
        self.shards[shard].lost(self.now, key, loss);
        self.obey();
    }

    fn void(&mut self, peer: Peer, ended: Ended) {
        if self.traces {
            eprintln!("{:?} socket {peer} {ended:?}", self.now - self.began);
        }
        if let Some(partner) = self.sockets[peer].partner
            && !matches!(ended, Ended::Closed(_))
        {
            self.sockets[partner].partner_gone = true;
        }
        let socket = &mut self.sockets[peer];
        socket.inbound.clear();
        socket.flight = None;
        socket.wants_transmit = false;
        if matches!(ended, Ended::Aborted(_)) {
            socket.kernel.clear();
        }
        socket.ended = Some(ended);
        socket.ended_at = Some(self.now);
        self.by_key.remove(&(socket.shard, socket.key));
        self.pass_end_on(peer);
    }

    /// A link that one relay has closed in order ends for the other after its last octet.
    fn pass_end_on(&mut self, peer: Peer) {
        let socket = &self.sockets[peer];
        if let Some(partner) = socket.partner
            && matches!(socket.ended, Some(Ended::Closed(_)))
            && socket.kernel.is_empty()
        {
            self.sockets[partner].end_of_stream = true;
        }
    }

    /// A relay sees that the other end of its link is gone.
    pub fn notice(&mut self, peer: Peer) -> bool {
        let socket = &self.sockets[peer];
        if !socket.partner_gone || !socket.alive() {
            return false;
        }
        let Socket { shard, key, .. } = *socket;
        self.void(peer, Ended::Gone);
        self.sockets[peer].kernel.clear();
        self.shards[shard].lost(self.now, key, Loss::Closed);
        self.obey();
        true
    }

    /// Follows every command of every shard.
    pub fn obey(&mut self) {
        for shard in 0..self.shards.len() {
            while let Some(command) = self.shards[shard].poll_command() {
                self.follow(shard, command);
            }
            if self.checks {
                self.shards[shard].assert_invariants();
            }
        }
    }

    fn follow(&mut self, shard: usize, command: Command) {
        let peer_of = |world: &Self, key| world.by_key.get(&(shard, key)).copied();
        match command {
            Command::Transmit(key) => {
                if let Some(peer) = peer_of(self, key) {
                    let socket = &mut self.sockets[peer];
                    assert!(
                        socket.flight.is_none(),
                        "Transmit while a send is in flight"
                    );
                    socket.wants_transmit = true;
                }
            }
            Command::LookUp { asker, user, realm } => {
                self.looking_up.push(LookingUp {
                    shard,
                    asker,
                    user: user.to_string(),
                    realm: realm.to_string(),
                });
            }
            Command::Resume(key) => {
                if let Some(peer) = peer_of(self, key) {
                    self.sockets[peer].parked = false;
                }
            }
            Command::Close { connection, reason } => {
                if let Some(peer) = peer_of(self, connection) {
                    let socket = &mut self.sockets[peer];
                    assert!(
                        socket.flight.is_none(),
                        "closed in order while a send is in flight"
                    );
                    if let Some(web) = &mut socket.web {
                        socket.kernel.extend(web.close(&reason));
                    }
                    self.void(peer, Ended::Closed(reason));
                } else {
                    self.dialling
                        .retain(|d| d.key != connection || d.shard != shard);
                }
            }
            Command::Abort { connection, reason } => {
                if let Some(peer) = peer_of(self, connection) {
                    self.void(peer, Ended::Aborted(reason));
                } else {
                    self.dialling
                        .retain(|d| d.key != connection || d.shard != shard);
                }
            }
            Command::Dial {
                connection,
                target,
                verify,
                on_behalf_of,
            } => self.dialling.push(Dialling {
                shard,
                key: connection,
                target: target.to_string(),
                verify,
                on_behalf_of,
            }),
            Command::OddResponse { kind, .. } => self.odd_responses.push(kind),
            Command::Notice(notice) => self.notices.push(*notice),
            Command::SessionEnded(record) => {
                let relay = self.relay_of(shard);
                self.records.push((relay, *record));
            }
            Command::Handoffs { to, handoffs } => {
                self.handoffs += handoffs.len() as u64;
                let due = self.now + self.handoff_delay;
                let first = self.relays[self.relay_of(shard)].start;
                self.mesh
                    .entry((shard, first + usize::from(to.0)))
                    .or_default()
                    .extend(handoffs.into_iter().map(|handoff| (due, handoff)));
            }
        }
    }

    /// The relay reads at most `max` octets of what the far end wrote.
    pub fn read_some(&mut self, peer: Peer, max: usize) -> bool {
        let socket = &mut self.sockets[peer];
        if !socket.alive() {
            return false;
        }
        let (shard, key) = (socket.shard, socket.key);
        if socket.parked {
            return false;
        }
        let room = self.shards[shard].read_room(key);
        if room == 0 {
            // As a shard does: it looks again when it is told to.
            socket.parked = true;
            return false;
        }
        let octets = socket.inbound.len().min(room).min(max);
        if octets > 0 && socket.web.is_some() {
            self.read_web(peer, octets);
        } else if octets > 0 {
            let read: Vec<u8> = socket.inbound.drain(..octets).collect();
            socket.consumed += octets as u64;
            let relay = &mut self.shards[shard];
            // Every other read is lent first, as a shard lends them all.
            let taken = match octets % 2 {
                0 => relay.receive_lent(self.now, key, &read),
                _ => 0,
            };
            if taken < octets {
                relay.receive(self.now, key, Bytes::from(read).slice(taken..));
            }
        } else if socket.end_waits() {
            socket.end_told = true;
            self.shards[shard].end_of_stream(self.now, key);
        } else {
            return false;
        }
        self.obey();
        true
    }

    fn read_web(&mut self, peer: Peer, octets: usize) {
        let socket = &mut self.sockets[peer];
        let mut read: Vec<u8> = socket.inbound.drain(..octets).collect();
        let web = socket.web.as_mut().expect("the caller looked");
        let relay = &mut self.shards[socket.shard];
        let read = web.read(self.now, relay, socket.key, &mut read);
        socket.consumed += read.octets as u64;
        socket.end_told |= read.closed;
    }

    /// Follows a Transmit command: the machine's output becomes the send in flight.
    pub fn transmit(&mut self, peer: Peer) -> bool {
        let socket = &mut self.sockets[peer];
        if !std::mem::take(&mut socket.wants_transmit) {
            return false;
        }
        let mut out = Vec::new();
        let (shard, key) = (socket.shard, socket.key);
        if self.shards[shard].transmit(self.now, key, &mut out) {
            assert!(!out.is_empty(), "a transmit of nothing");
            if let Some(web) = &mut self.sockets[peer].web {
                out = web.frame(&out, self.shards[shard].frame_ends(key));
            }
            self.sockets[peer].flight = Some(out.into());
        } else {
            assert!(out.is_empty(), "octets without a send");
        }
        self.obey();
        true
    }

    /// The kernel takes at most `max` octets of the send in flight.
    pub fn take(&mut self, peer: Peer, max: usize) -> bool {
        let now = self.now;
        let socket = &mut self.sockets[peer];
        let Some(flight) = &mut socket.flight else {
            // What WebSocket itself has to say.
            let alive = socket.alive();
            let web = socket.web.as_mut().filter(|_| alive);
            let Some(below) = web.and_then(|web| web.take_below()) else {
                return false;
            };
            let web = socket.web.as_mut().expect("looked at above");
            web.took(below.len());
            socket.kernel.extend(below);
            return true;
        };
        let room = socket.kernel_max.saturating_sub(socket.kernel.len());
        let octets = flight.len().min(room).min(max);
        if octets == 0 {
            return false;
        }
        socket.kernel.extend(flight.drain(..octets));
        match &mut socket.web {
            Some(web) => socket.taken = web.took(octets).unwrap_or(socket.taken),
            None => socket.taken += octets as u64,
        }
        socket.marks.push_back((socket.taken, now));
        let (shard, key) = (socket.shard, socket.key);
        if flight.is_empty() {
            socket.flight = None;
            self.shards[shard].sent(self.now, key);
        } else {
            self.shards[shard].progress(self.now, key);
        }
        self.obey();
        true
    }

    /// The far end reads at most `max` octets; whole messages go where [`World::messages`]
    /// finds them. If it is a relay, that will be able to read them.
    pub fn fetch(&mut self, peer: Peer, max: usize) -> bool {
        let socket = &self.sockets[peer];
        if socket.stalled_until.is_some_and(|until| until > self.now) {
            return false;
        }
        let room = match socket.partner {
            Some(partner) => self
                .kernel_octets
                .saturating_sub(self.sockets[partner].inbound.len()),
            None => usize::MAX,
        };
        let socket = &mut self.sockets[peer];
        let octets = socket.kernel.len().min(max).min(room);
        if octets == 0 {
            return false;
        }
        let read: Vec<u8> = socket.kernel.drain(..octets).collect();
        if socket.web.is_some() {
            self.fetch_web(peer, &read);
            return true;
        }
        socket.fetched += octets as u64;
        if let Some(partner) = socket.partner {
            if self.sockets[partner].alive() {
                self.write(partner, &read);
            }
            self.pass_end_on(peer);
        }
        let socket = &mut self.sockets[peer];
        if socket.unheard {
            return true;
        }
        self.hear(peer, &read);
        true
    }

    fn fetch_web(&mut self, peer: Peer, read: &[u8]) {
        let socket = &mut self.sockets[peer];
        let web = socket.web.as_mut().expect("the caller looked");
        let messages = web.arrives(read);
        let pongs = web.take_pongs();
        if socket.alive() && !socket.end_of_stream {
            socket.inbound.extend(pongs);
        }
        for message in messages {
            let socket = &mut self.sockets[peer];
            socket.fetched += message.len() as u64;
            if socket.unheard {
                continue;
            }
            let before = socket.heard;
            self.hear(peer, &message);
            let socket = &self.sockets[peer];
            let one = socket.heard == before + 1 && socket.parser.is_between_messages();
            assert!(
                one || socket.unheard,
                "WSK-05: not exactly one message: {}",
                String::from_utf8_lossy(&message)
            );
        }
    }

    /// Octets of MSRP at the far end.
    fn hear(&mut self, peer: Peer, read: &[u8]) {
        let socket = &mut self.sockets[peer];
        socket.parser.feed(read);
        loop {
            match socket.parser.next() {
                Ok(Some(message)) => {
                    socket.heard += 1;
                    if self.traces {
                        let from = socket.shard;
                        let to = socket.partner;
                        trace(self.now - self.began, peer, from, to, &message);
                    }
                    if socket.partner.is_none() {
                        socket.arrived.push_back(message);
                    }
                }
                Ok(None) => break,
                // SYN-19: a 400 names the broken URI that it was asked under.
                Err(CodecError::Uri { .. }) if socket.sends_broken_uris => {
                    socket.unheard = true;
                    break;
                }
                Err(error) => panic!(
                    "what leaves does not parse strictly: {error}\n{}",
                    String::from_utf8_lossy(read)
                ),
            }
        }
    }

    /// When the kernel took the octet before this offset; forgets what came earlier.
    pub fn taken_at(&mut self, peer: Peer, offset: u64) -> Instant {
        let socket = &mut self.sockets[peer];
        while socket.marks.len() > 1 && socket.marks[0].0 < offset {
            socket.marks.pop_front();
        }
        socket.marks.front().map_or(self.now, |(_, at)| *at)
    }

    /// One handoff from one shard to another, if it is due.
    pub fn deliver(&mut self, from: usize, to: usize) -> bool {
        let Some(queue) = self.mesh.get_mut(&(from, to)) else {
            return false;
        };
        if queue.front().is_none_or(|(due, _)| *due > self.now) {
            return false;
        }
        let (_, handoff) = queue.pop_front().expect("looked at above");
        self.shards[to].handoff(self.now, handoff);
        self.obey();
        true
    }

    pub fn links(&self) -> Vec<(usize, usize)> {
        self.mesh
            .iter()
            .filter(|(_, queue)| !queue.is_empty())
            .map(|(link, _)| *link)
            .collect()
    }

    /// Everything that can happen now, happens.
    pub fn run(&mut self) {
        for round in 0.. {
            assert!(round < 1_000_000, "it goes round and round");
            let mut moved = self.connects_relays && self.connect_relays();
            for (from, to) in self.links() {
                while self.deliver(from, to) {
                    moved = true;
                }
            }
            for peer in 0..self.sockets.len() {
                moved |= self.transmit(peer);
                while self.take(peer, usize::MAX) {
                    moved = true;
                    if self.sockets[peer].reading {
                        self.fetch(peer, usize::MAX);
                    }
                    self.transmit(peer);
                }
                if self.sockets[peer].reading {
                    moved |= self.fetch(peer, usize::MAX);
                }
                moved |= self.read_some(peer, self.read_max);
                moved |= self.notice(peer);
            }
            if !moved {
                return;
            }
        }
    }

    /// Until a request that asks another shard is answered, or one that has to wait for a quota.
    pub fn run_until_answered(&mut self, peer: Peer) {
        self.run();
        self.advance(self.handoff_delay * 4);
        let mut patience = 300;
        while self.has_quotas && self.sockets[peer].arrived.is_empty() && patience > 0 {
            self.advance(Duration::from_millis(100));
            patience -= 1;
        }
    }

    /// Virtual time passes; whatever is due happens on the way, and what follows from it.
    pub fn advance(&mut self, time: Duration) {
        let until = self.now + time;
        self.run();
        let mut rounds = 0;
        while let Some(next) = self.next_event().filter(|next| *next <= until) {
            rounds += 1;
            assert!(rounds < 100_000, "timers that are due are not taken");
            self.now = next.max(self.now);
            self.time_out();
            self.run();
        }
        self.now = until;
        self.time_out();
        self.run();
    }

    /// The next timer or handoff.
    pub fn next_event(&self) -> Option<Instant> {
        let timers = self.shards.iter().filter_map(Relay::next_timeout);
        let handoffs = self
            .mesh
            .values()
            .filter_map(|queue| queue.front().map(|(due, _)| *due));
        timers.chain(handoffs).min()
    }

    /// Shards whose timers are due look at them.
    pub fn time_out(&mut self) {
        for shard in 0..self.shards.len() {
            if self.shards[shard]
                .next_timeout()
                .is_some_and(|due| due <= self.now)
            {
                self.shards[shard].handle_timeout(self.now);
            }
        }
        self.obey();
    }

    /// Takes the whole messages that this far end has read.
    pub fn messages(&mut self, peer: Peer) -> Vec<Message> {
        self.sockets[peer].arrived.drain(..).collect()
    }

    /// Octets of a message that is not yet whole at this far end.
    pub fn pending(&self, peer: Peer) -> Vec<u8> {
        self.sockets[peer].parser.pending().to_vec()
    }

    /// The transact-id at the front of what the far end has not read.
    pub fn unread_tid(&self, peer: Peer) -> String {
        let octets = self.sockets[peer].kernel.iter().skip("MSRP ".len());
        let tid = octets.take_while(|octet| **octet != b' ');
        tid.map(|octet| char::from(*octet)).collect()
    }

    /// Whether what the far end has read ends between two messages.
    pub fn is_between_messages(&self, peer: Peer) -> bool {
        self.sockets[peer].parser.is_between_messages()
    }

    pub fn is_quiet(&self) -> bool {
        self.mesh.values().all(VecDeque::is_empty) && self.shards.iter().all(Relay::is_quiet)
    }

    /// Once all sessions have ended, their records sum up to what the shards have counted.
    pub fn assert_records(&self) {
        for (relay, shards) in self.relays.iter().enumerate() {
            let mut counted = Ledger::default();
            for shard in shards.clone() {
                counted.add(&self.shards[shard].metrics().ledger);
            }
            let mut recorded = [Traffic::default(); 2];
            for (_, record) in self.records.iter().filter(|(whose, _)| *whose == relay) {
                assert!(record.began <= record.ended);
                recorded[0].add(&record.sent);
                recorded[1].add(&record.received);
            }
            assert_eq!(recorded, counted.sessions, "relay {relay}");
            let both: u64 = recorded.iter().map(|traffic| traffic.chunks).sum();
            assert!(
                (counted.taken..=2 * counted.taken).contains(&both),
                "every chunk counts for one session or two: {counted:?}"
            );
            let failed = counted.reported + counted.dropped.iter().sum::<u64>();
            let both: u64 = recorded.iter().map(|traffic| traffic.failed).sum();
            assert!((failed..=2 * failed).contains(&both), "{counted:?}");
        }
    }

    /// Every far end leaves; then nothing may be left in any table.
    pub fn end(mut self) {
        for peer in 0..self.sockets.len() {
            self.reset(peer);
        }
        self.connects_relays = false;
        // What they leave ends in many turns.
        let turns = Duration::from_secs(1);
        self.advance(turns);
        while !self.looking_up.is_empty() {
            self.looked_up(LookedUp::Failed);
        }
        // REPORTs may look for another link to the relay that their SEND came from (RPT-11).
        while !self.dialling.is_empty() {
            self.dial_fails(0);
            self.advance(turns);
        }
        // Debts are paid back at the rates of the quotas, and who borrows waits for that.
        self.advance(Duration::from_secs(10));
        if self.relays.len() > 1 {
            // A session that a relay holds outlives its connections (UPT-09).
            self.advance(Duration::from_secs(86_400));
        }
        let peers: BTreeSet<_> = self.by_key.values().collect();
        assert!(peers.is_empty(), "sockets left: {peers:?}");
        for shard in &self.shards {
            shard.assert_invariants();
            assert!(shard.is_quiet(), "something is on its way for ever");
            shard.assert_empty();
        }
        self.assert_records();
    }
}
