//! A seeded simulation: clients, relay shards and faults in an order that the dice choose.
//!
//! After every step the machine's own invariants hold and what leaves parses strictly; each
//! piece that arrives is compared with what was sent. At the end everybody reads and answers
//! again, and then everything must drain: each acknowledged octet was delivered or reported,
//! nothing was told twice, and no table holds anything.

mod actors;
mod checks;
mod faults;
mod liar;
mod links;
mod receiving;
mod sending;
mod sessions;
mod webs;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use msrpd::relay::{ENDS_AT_ONCE, Limits, Quota, Quotas, Settings};
use msrpload::codec::{Builder, Message};

use crate::dice::Dice;
use crate::setup::{self, Client};
use crate::world::{Ended, Options, Peer, Socket, World};

/// What happens in one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    /// Everybody reads and answers in time: everything must arrive, nothing may be told.
    Gentle,
    /// Resets, stalls, refusals, silence.
    Rough,
}

/// How many relays, and whether WebSocket clients are among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    One,
    Chain,
    Web,
    WebChain,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Absent,
    Yes,
    Partial,
    No,
}

impl Wish {
    fn header(self) -> Option<&'static str> {
        match self {
            Self::Absent => None,
            Self::Yes => Some("yes"),
            Self::Partial => Some("partial"),
            Self::No => Some("no"),
        }
    }
    fn is_yes(self) -> bool {
        matches!(self, Self::Absent | Self::Yes)
    }
}

/// Where one actor sends, and how that reads at the other end.
#[derive(Clone, Debug)]
struct Stream {
    to: Vec<String>,
    from_at_receiver: Vec<String>,
    receiver: usize,
}

struct Text {
    id: String,
    sender: usize,
    stream: Stream,
    wish: Wish,
    total: u64,
    /// What its Byte-Range says of it, which may be wrong.
    claimed: Option<u64>,
    has_body: bool,
    /// Where its octets stand in the noise.
    offset: usize,
    /// Next position to be sent.
    next: u64,
    /// The sender has sent all of it, or gave it up.
    done: bool,
    failed: bool,
    chunks: Vec<Chunk>,
    pieces: Vec<Piece>,
    reports: Vec<Report>,
    /// Its receiver has said that it knows no such session.
    refused_481: bool,
}

struct Chunk {
    start: u64,
    /// Position after its last octet, once it ended.
    end: Option<u64>,
    flag: u8,
    /// Offset in the sender's stream after its end-line.
    end_offset: Option<u64>,
    response: Option<u16>,
}

struct Piece {
    start: u64,
    end: u64,
    flag: u8,
    peer: Peer,
    taken_at: Instant,
    /// The relay read a 2xx for it at this time.
    answered: Option<Instant>,
}

struct Report {
    /// The relay on the way that says so, counted from the sender's.
    stop: usize,
    start: u64,
    end: u64,
    code: u16,
    at: Instant,
}

/// A response that a receiver owes.
struct Owed {
    octets: Vec<u8>,
    piece: Option<(usize, usize)>,
    success: bool,
    due: Instant,
}

struct Actor {
    client: Client,
    foreign: bool,
    streams: Vec<Stream>,
    /// Octets that it wants to write.
    out: VecDeque<u8>,
    /// Octets that it has put into `out`, ever.
    produced: u64,
    /// The message whose chunk is open, and where that chunk shall end.
    open: Option<(usize, u64, String)>,
    tids: BTreeMap<String, (usize, usize)>,
    next_tid: u32,
    owed: VecDeque<Owed>,
    /// Successes on their way: offset after them, and the piece.
    told: VecDeque<(u64, usize, usize)>,
    stalled_until: Option<Instant>,
    /// Octets of whole messages seen.
    seen: u64,
    shut: bool,
    hostile: bool,
    nicknames: BTreeMap<String, u32>,
    /// Until when each of its Use-Path URIs lives at least.
    lives_until: Vec<Instant>,
    /// AUTHs without an answer.
    auths: BTreeMap<String, Refresh>,
    /// Transact-ids of chunks that it has answered while they came in.
    answered_early: BTreeSet<String>,
}

impl Actor {
    fn new(client: Client, foreign: bool) -> Self {
        Self {
            client,
            foreign,
            streams: Vec::new(),
            out: VecDeque::new(),
            produced: 0,
            open: None,
            tids: BTreeMap::new(),
            next_tid: 0,
            owed: VecDeque::new(),
            told: VecDeque::new(),
            stalled_until: None,
            seen: 0,
            shut: false,
            hostile: false,
            nicknames: BTreeMap::new(),
            lives_until: Vec::new(),
            auths: BTreeMap::new(),
            answered_early: BTreeSet::new(),
        }
    }
}

/// A Use-Path URI is to live longer (UPT-13).
#[derive(Clone, Debug)]
struct Refresh {
    /// Which of the client's.
    uri: usize,
    seconds: u32,
    began: Instant,
}

pub struct Simulation {
    pub world: World,
    dice: Dice,
    weather: Weather,
    actors: Vec<Actor>,
    texts: Vec<Text>,
    by_id: BTreeMap<String, usize>,
    texts_max: usize,
    /// Many short texts with much the same heads.
    chatty: bool,
    large: bool,
    draining: bool,
    /// The bounds are so low that messages may be refused for them.
    tight: bool,
    /// Quotas slow whoever sends much.
    slowed: bool,
    /// Several relays.
    chain: bool,
    /// Links between relays may die, stall and be late.
    trouble: bool,
    /// That happened to so many.
    troubled: usize,
    /// URIs that clients get live for so many seconds.
    expires: Option<u32>,
    /// The actor that is a relay and lies.
    liar: Option<usize>,
    /// Some clients come by WebSocket.
    web: bool,
}

/// Whom no client of ours sends to: the relay must never connect there (SEC-01).
const NOBODY: &str = "msrps://x.example.org:2855/x;tcp";
const NOISE_OCTETS: usize = 1 << 20;
/// Octets of plain text behind them.
const PLAIN_OCTETS: usize = 2048;

/// Octets with much in them that looks like framing (SYN-10, SEC-08).
fn noise() -> &'static [u8] {
    static NOISE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    NOISE.get_or_init(|| {
        let mut dice = Dice::seeded(4711);
        let mut noise = Vec::with_capacity(NOISE_OCTETS + 64);
        while noise.len() < NOISE_OCTETS {
            match dice.roll(12) {
                0 => noise.extend_from_slice(b"\r\n-------"),
                1 => noise.extend_from_slice(b"\r\n-------abcdefghij234567$\r\n"),
                2 => noise.extend_from_slice(b"------------"),
                3 => noise.extend_from_slice(b"\r\n\r\nMSRP aaaa SEND\r\n"),
                _ => (0..40).for_each(|_| noise.push(dice.roll(256) as u8)),
            }
        }
        noise.truncate(NOISE_OCTETS);
        noise.extend((0..PLAIN_OCTETS).map(|at| b'a' + (at % 26) as u8));
        noise
    })
}

impl Simulation {
    /// Runs one seed to its end; panics on the first thing that is wrong.
    pub fn run_seed(seed: u64) {
        Self::run(Dice::seeded(seed), seed, Kind::One, seed);
    }

    /// The same with up to four relays in a row.
    pub fn run_chain(seed: u64) {
        Self::run(Dice::seeded(seed), seed, Kind::Chain, seed);
    }

    /// One relay, to which most clients come by WebSocket.
    #[allow(dead_code, reason = "the fuzz target plays the other two")]
    pub fn run_web(seed: u64) {
        Self::run(Dice::seeded(seed), seed, Kind::Web, seed);
    }

    /// The same with up to four relays.
    #[allow(dead_code, reason = "the fuzz target plays the other two")]
    pub fn run_web_chain(seed: u64) {
        Self::run(Dice::seeded(seed), seed, Kind::WebChain, seed);
    }

    /// What the fuzzer calls.
    #[allow(dead_code, reason = "used by the fuzz target")]
    pub fn run_octets(octets: &[u8]) {
        let mut dice = Dice::of(octets);
        let kind = match dice.chance(50) {
            true => Kind::Chain,
            false => Kind::One,
        };
        // Not a choice of the dice: that would give all inputs found so far another meaning.
        Self::run(dice, 1, kind, octets.len() as u64);
    }

    fn run(dice: Dice, seed: u64, kind: Kind, bounds: u64) {
        let mut simulation = Self::new(dice, seed, kind, bounds);
        let steps = 150 + simulation.dice.roll(500);
        for _ in 0..steps {
            if simulation.dice.is_spent() {
                break;
            }
            simulation.step();
            simulation.note_answers();
        }
        simulation.finish();
    }

    fn new(mut dice: Dice, seed: u64, kind: Kind, bounds: u64) -> Self {
        let chain = matches!(kind, Kind::Chain | Kind::WebChain);
        let web = matches!(kind, Kind::Web | Kind::WebChain);
        let weather = if dice.chance(30) {
            Weather::Gentle
        } else {
            Weather::Rough
        };
        let workers = dice.pick(&[1, 1, 2, 2, 3, 4]);
        let more_relays = if chain {
            let more = 1 + dice.roll(3);
            (0..more).map(|_| dice.pick(&[1, 1, 2, 4])).collect()
        } else {
            Vec::new()
        };
        let trouble = chain && weather == Weather::Rough && dice.chance(50);
        let short = weather == Weather::Rough && dice.chance(25);
        let expires = short.then(|| dice.pick(&[60, 60, 90]));
        let large = dice.chance(15);
        let tight = dice.chance(50);
        let mut settings = settings(&mut dice, tight);
        if chain {
            // Two relays each of which has more answers to send than it may, and more under way
            // than the sockets between them hold, would wait for one another: this bound must be
            // far above what one read can cause.
            settings.limits.control_octets = Limits::default().control_octets;
        }
        settings.quotas = quotas(bounds, weather);
        let Quotas {
            user,
            realm,
            prefix,
            balancer: _,
        } = settings.quotas;
        let slowed = |quota: Quota| quota.messages_per_second > 0 || quota.octets_per_second > 0;
        let slowed = [user, realm, prefix].into_iter().any(slowed);
        settings.ends_at_once = [ENDS_AT_ONCE, 1, 3][(bounds / 3 % 3) as usize];
        settings.limits.link_octets_per_second = if bounds % 3 == 1 { 1 << 20 } else { 64 << 20 };
        if web {
            settings.limits.websocket_chunk_octets = dice.pick(&[8192, 65_536, 65_536]);
        }
        let world = World::new(Options {
            workers,
            more_relays,
            seed,
            settings,
            handoff_delay: Duration::ZERO,
            kernel_octets: dice.pick(&[512, 4096, 65_536, 65_536]),
        });
        let chatty = bounds % 5 < 2;
        let texts_max = (4 + dice.roll(20)) * if chatty { 8 } else { 1 };
        let mut simulation = Self {
            world,
            dice,
            weather,
            actors: Vec::new(),
            texts: Vec::new(),
            by_id: BTreeMap::new(),
            texts_max,
            chatty,
            large,
            draining: false,
            tight,
            slowed,
            chain,
            trouble,
            troubled: 0,
            expires,
            liar: None,
            web,
        };
        for _ in 0..2 + simulation.dice.roll(3) {
            simulation.join(false);
        }
        for _ in 0..simulation.dice.roll(3) {
            simulation.join(true);
        }
        if chain && weather == Weather::Rough && simulation.dice.chance(40) {
            simulation.liar_joins();
        }
        simulation
    }

    fn is_gentle(&self) -> bool {
        self.weather == Weather::Gentle
    }

    fn step(&mut self) {
        if self.web && !self.is_gentle() && self.dice.roll(200) == 0 {
            return self.world.ping();
        }
        if self.chain && self.dice.chance(30) {
            return self.link_step();
        }
        let actor = self.dice.roll(self.actors.len());
        let peer = self.actors[actor].client.peer;
        match self.dice.roll(100) {
            0..24 => self.produce(actor),
            24..40 => self.write(actor),
            40..54 => {
                let amount = self.dice.amount();
                self.with_any(peer, |world, peer| world.read_some(peer, amount));
            }
            54..64 => {
                self.with_any(peer, |world, peer| world.transmit(peer));
            }
            64..74 => {
                let amount = self.dice.amount();
                self.with_any(peer, |world, peer| world.take(peer, amount));
            }
            74..84 => self.fetch(actor),
            84..90 => self.deliver(),
            90 if !self.world.dialling.is_empty() => self.dial_ends(),
            90..94 => self.answer(actor, false),
            94..97 => self.time_passes(),
            97..99 if !self.is_gentle() => self.fault(actor),
            _ if self.dice.chance(50) => self.refresh(actor),
            _ => self.something_else(actor),
        }
    }

    fn with_any(&mut self, first: Peer, mut act: impl FnMut(&mut World, Peer) -> bool) {
        let peers = self.world.sockets.len();
        for step in 0..peers {
            if act(&mut self.world, (first + step) % peers) {
                return;
            }
        }
    }

    fn is_stalled(&self, actor: usize) -> bool {
        self.actors[actor]
            .stalled_until
            .is_some_and(|until| until > self.world.now)
    }

    fn fetch(&mut self, first: usize) {
        let amount = self.dice.amount();
        for step in 0..self.actors.len() {
            let actor = (first + step) % self.actors.len();
            if !self.is_stalled(actor) && self.world.fetch(self.actors[actor].client.peer, amount) {
                self.read(actor);
                if !self.is_gentle() && self.dice.chance(5) {
                    self.answer_early(actor);
                }
                return;
            }
        }
    }

    fn deliver(&mut self) {
        let links = self.world.links();
        if !links.is_empty() {
            let (from, to) = self.dice.pick(&links);
            for _ in 0..1 + self.dice.roll(8) {
                if !self.world.deliver(from, to) {
                    break;
                }
            }
        }
    }

    fn time_passes(&mut self) {
        let time = if self.is_gentle() {
            self.dice.roll(60)
        } else {
            match self.dice.roll(8) {
                0..5 => self.dice.roll(300),
                5 | 6 => self.dice.roll(4000),
                _ => self.dice.roll(35_000),
            }
        };
        self.pass(Duration::from_millis(time as u64));
    }

    /// Time passes without anything else.
    fn pass(&mut self, time: Duration) {
        let quick = self.chain && !self.trouble;
        if quick {
            self.settle_links();
        }
        let until = self.world.now + time;
        let mut rounds = 0;
        while let Some(next) = self
            .world
            .shards
            .iter()
            .filter_map(msrpd::relay::Relay::next_timeout)
            .min()
            .filter(|next| *next <= until)
        {
            rounds += 1;
            assert!(rounds < 100_000, "timers that are due are not taken");
            self.world.now = next.max(self.world.now);
            self.world.time_out();
            if quick {
                self.settle_links();
            }
        }
        self.world.now = until;
        self.world.time_out();
    }

    /// Everybody finishes, reads and answers; then everything must drain.
    fn finish(mut self) {
        self.note_answers();
        for round in 0.. {
            assert!(round < 2000, "it never comes to rest:\n{}", self.state());
            for actor in 0..self.actors.len() {
                self.actors[actor].stalled_until = None;
                while self.can_write(actor)
                    && let Some(open) = self.actors[actor].open.clone()
                {
                    self.go_on(actor, open);
                }
                if self.can_write(actor) {
                    self.send_the_rest(actor);
                }
                let peer = self.actors[actor].client.peer;
                let octets: Vec<u8> = self.actors[actor].out.drain(..).collect();
                if self.is_alive(actor) && !octets.is_empty() {
                    self.world.write(peer, &octets);
                }
                self.world.sockets[peer].reading = true;
                self.world.sockets[peer].kernel_max = 1 << 20;
            }
            for socket in &mut self.world.sockets {
                socket.stalled_until = None;
            }
            while let Some(stranger) = (0..self.world.dialling.len())
                .find(|index| self.world.dial_target(*index).is_none())
            {
                self.world.dial_fails(stranger);
            }
            self.world.run();
            self.note_answers();
            for actor in 0..self.actors.len() {
                self.read(actor);
            }
            let owes = |actor: &Actor| !actor.owed.is_empty();
            if self.actors.iter().any(owes) {
                while self.actors.iter().any(owes) {
                    self.answer(0, true);
                }
                continue;
            }
            let waits = |actor: usize| self.is_alive(actor) && !self.actors[actor].out.is_empty();
            if (0..self.actors.len()).any(waits) {
                continue;
            }
            if self.is_at_rest() {
                break;
            }
            self.world.advance(Duration::from_secs(1));
        }
        self.check();
        self.check_webs();
        if self.draining {
            self.world.advance(Duration::from_secs(30));
            for shard in &mut self.world.shards {
                assert!(shard.is_drained(), "CON-12: not drained in time");
                shard.close_all(self.world.now);
            }
            self.world.obey();
            self.world.run();
        }
        self.world.end();
    }

    fn is_at_rest(&self) -> bool {
        let all_read = self
            .world
            .sockets
            .iter()
            .all(|socket| !socket.alive() || socket.inbound_len() == 0);
        all_read && self.world.is_quiet()
    }

    fn state(&mut self) -> String {
        let mut text = String::new();
        for (index, actor) in self.actors.iter().enumerate() {
            let socket = &self.world.sockets[actor.client.peer];
            text += &format!(
                "actor {index}: alive {}, unread by the relay {}, room {}, unread by it {}, in flight {}\n",
                socket.alive(),
                socket.inbound_len(),
                self.world.shards[socket.shard].read_room(socket.key),
                socket.kernel_len(),
                socket.has_flight()
            );
        }
        for (index, shard) in self.world.shards.iter().enumerate() {
            text += &format!("shard {index}: {}\n", shard.describe());
        }
        text
    }
}

/// In every fourth run users, realms and prefixes have quotas that slow them down, and in every
/// eighth some messages are too large.
fn quotas(bounds: u64, weather: Weather) -> Quotas {
    if bounds % 4 != 3 {
        return Quotas::default();
    }
    let pick = |shift: u64, choices: [u32; 3]| choices[(bounds >> shift) as usize % 3];
    let quota = |shift| Quota {
        sessions: pick(shift, [0, 1000, 1000]),
        connections: pick(shift + 1, [1000, 0, 1000]),
        auths_per_second: pick(shift + 2, [0, 1000, 10_000]),
        // AUTHs count too, and must come within the probation.
        messages_per_second: pick(shift + 1, [25, 0, 50]),
        octets_per_second: pick(shift + 3, [0, 65_536, 1_048_576]).into(),
        message_octets: match weather {
            Weather::Gentle => 0,
            Weather::Rough => pick(shift + 2, [0, 0, 20_000]).into(),
        },
    };
    Quotas {
        user: quota(2),
        realm: quota(3),
        prefix: quota(4),
        balancer: Quota::default(),
    }
}

fn settings(dice: &mut Dice, tight: bool) -> Settings {
    let mut settings = setup::settings();
    let limits = &mut settings.limits;
    if tight {
        limits.queued_octets_per_session = dice.pick(&[4096, 16_384, 65_536]);
        limits.queued_octets_shared = dice.pick(&[32_768, 131_072, 1 << 20]);
        limits.control_octets = dice.pick(&[2000, 20_000, 1 << 20]);
        limits.transactions_per_session = dice.pick(&[4, 64, 16_384]);
        limits.link_piece_octets = dice.pick(&[4096, 65_536, 262_144]);
        limits.link_unanswered_octets = dice.pick(&[8192, 131_072, 1 << 20]);
        if dice.chance(20) {
            limits.queued_octets_total = 65_536;
        }
    }
    settings
}
