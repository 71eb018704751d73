//! A seeded simulation: clients, relay shards and faults in an order that the dice choose.
//!
//! After every step the machine's own invariants hold and what leaves parses strictly; each
//! piece that arrives is compared with what was sent. At the end everybody reads and answers
//! again, and then everything must drain: each acknowledged octet was delivered or reported,
//! nothing was told twice, and no table holds anything.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use msrpd::relay::Settings;
use msrpload::codec::{Builder, Message};

use crate::dice::Dice;
use crate::setup::{self, Client};
use crate::world::{Options, Peer, World};

/// What happens in one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    /// Everybody reads and answers in time: everything must arrive, nothing may be told.
    Gentle,
    /// Resets, stalls, refusals, silence.
    Rough,
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
    tells_total: bool,
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
}

pub struct Simulation {
    pub world: World,
    dice: Dice,
    weather: Weather,
    actors: Vec<Actor>,
    texts: Vec<Text>,
    by_id: BTreeMap<String, usize>,
    texts_max: usize,
    large: bool,
    draining: bool,
    /// The bounds are so low that messages may be refused for them.
    tight: bool,
}

/// Whom no client of ours sends to: the relay must never connect there (SEC-01).
const NOBODY: &str = "msrps://x.example.org:2855/x;tcp";
const NOISE_OCTETS: usize = 1 << 20;

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
        noise
    })
}

impl Simulation {
    /// Runs one seed to its end; panics on the first thing that is wrong.
    pub fn run_seed(seed: u64) {
        Self::run(Dice::seeded(seed), seed);
    }

    /// What the fuzzer calls.
    #[allow(dead_code, reason = "used by the fuzz target")]
    pub fn run_octets(octets: &[u8]) {
        Self::run(Dice::of(octets), 1);
    }

    fn run(dice: Dice, seed: u64) {
        let mut simulation = Self::new(dice, seed);
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

    fn new(mut dice: Dice, seed: u64) -> Self {
        let weather = if dice.chance(30) {
            Weather::Gentle
        } else {
            Weather::Rough
        };
        let workers = dice.pick(&[1, 1, 2, 2, 3, 4]);
        let large = dice.chance(15);
        let tight = dice.chance(50);
        let settings = settings(&mut dice, tight);
        let world = World::new(Options {
            workers,
            seed,
            settings,
            handoff_delay: Duration::ZERO,
            kernel_octets: dice.pick(&[512, 4096, 65_536, 65_536]),
        });
        let texts_max = 4 + dice.roll(20);
        let mut simulation = Self {
            world,
            dice,
            weather,
            actors: Vec::new(),
            texts: Vec::new(),
            by_id: BTreeMap::new(),
            texts_max,
            large,
            draining: false,
            tight,
        };
        for _ in 0..2 + simulation.dice.roll(3) {
            simulation.join(false);
        }
        for _ in 0..simulation.dice.roll(3) {
            simulation.join(true);
        }
        simulation
    }

    /// A new client, with streams to those who are there, and theirs to it.
    fn join(&mut self, foreign: bool) {
        let index = self.actors.len();
        let shard = self.dice.roll(self.world.shards.len());
        let name = format!("c{index}");
        let client = if foreign {
            setup::foreign(&mut self.world, shard, &name)
        } else {
            setup::client(&mut self.world, shard, &name)
        };
        let peer = client.peer;
        self.world.sockets[peer].reading = false;
        let seen = self.world.sockets[peer].fetched;
        let produced = self.world.sockets[peer].written;
        self.actors.push(Actor {
            client,
            foreign,
            streams: Vec::new(),
            out: VecDeque::new(),
            produced,
            open: None,
            tids: BTreeMap::new(),
            next_tid: 0,
            owed: VecDeque::new(),
            told: VecDeque::new(),
            stalled_until: None,
            seen,
            shut: false,
            hostile: false,
            nicknames: BTreeMap::new(),
        });
        for other in 0..index {
            if self.is_alive(other) {
                self.link(index, other);
                self.link(other, index);
            }
        }
    }

    /// Sessions over two URIs of ours, or one where the sender is no client of ours.
    fn link(&mut self, from: usize, to: usize) {
        let (sender, receiver) = (&self.actors[from], &self.actors[to]);
        if receiver.foreign || sender.hostile || receiver.hostile {
            return;
        }
        let (a, b) = (&sender.client, &receiver.client);
        let stream = if sender.foreign {
            Stream {
                to: vec![b.token.clone(), b.uri.clone()],
                from_at_receiver: vec![b.token.clone(), a.uri.clone()],
                receiver: to,
            }
        } else {
            Stream {
                to: vec![a.token.clone(), b.token.clone(), b.uri.clone()],
                from_at_receiver: vec![b.token.clone(), a.token.clone(), a.uri.clone()],
                receiver: to,
            }
        };
        self.actors[from].streams.push(stream);
    }

    /// The foreign client has been heard of: it can be reached by its URI (D-34).
    fn link_back(&mut self, foreign: usize, to: usize) {
        let (p, a) = (&self.actors[foreign].client, &self.actors[to].client);
        let stream = Stream {
            to: vec![a.token.clone(), p.uri.clone()],
            from_at_receiver: vec![a.token.clone(), a.uri.clone()],
            receiver: foreign,
        };
        let streams = &mut self.actors[to].streams;
        if !streams.iter().any(|known| known.receiver == foreign) {
            streams.push(stream);
        }
    }

    fn is_alive(&self, actor: usize) -> bool {
        self.world.sockets[self.actors[actor].client.peer].alive()
    }

    fn is_gentle(&self) -> bool {
        self.weather == Weather::Gentle
    }

    fn step(&mut self) {
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
                self.take_somewhere(actor, amount);
            }
            74..84 => self.fetch(actor),
            84..90 => self.deliver(),
            90 if !self.world.dialling.is_empty() => self.world.dial_fails(0),
            90..94 => self.answer(actor, false),
            94..97 => self.time_passes(),
            97..99 if !self.is_gentle() => self.fault(actor),
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

    fn take_somewhere(&mut self, first: usize, amount: usize) {
        for step in 0..self.actors.len() {
            let actor = (first + step) % self.actors.len();
            if self.world.take(self.actors[actor].client.peer, amount) {
                return;
            }
        }
    }

    fn fetch(&mut self, first: usize) {
        let amount = self.dice.amount();
        for step in 0..self.actors.len() {
            let actor = (first + step) % self.actors.len();
            if !self.is_stalled(actor) && self.world.fetch(self.actors[actor].client.peer, amount) {
                self.read(actor);
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
        }
        self.world.now = until;
        self.world.time_out();
    }

    fn fault(&mut self, actor: usize) {
        match self.dice.roll(10) {
            0..2 => {
                self.world.reset(self.actors[actor].client.peer);
                if self.actors.len() < 12 && !self.draining {
                    self.join(false);
                }
            }
            2..7 => {
                let time = self.dice.pick(&[1_u64, 5, 20, 40]);
                self.actors[actor].stalled_until = Some(self.world.now + Duration::from_secs(time));
            }
            7 => self.shut(actor),
            8 if self.dice.chance(20) && !self.draining => {
                self.draining = true;
                let deadline = self.world.now + Duration::from_secs(20);
                for shard in &mut self.world.shards {
                    shard.drain(self.world.now, deadline);
                }
                self.world.obey();
            }
            _ => self.hostile(),
        }
    }

    fn shut(&mut self, actor: usize) {
        let peer = self.actors[actor].client.peer;
        let idle = self.actors[actor].out.is_empty() && self.actors[actor].open.is_none();
        if idle && !self.actors[actor].shut && self.is_alive(actor) {
            self.actors[actor].shut = true;
            self.world.shut(peer);
        }
    }

    /// Somebody sends frames that are nearly right.
    fn hostile(&mut self) {
        if self.actors.len() >= 12 || self.draining {
            return;
        }
        let index = self.actors.len();
        let victim = self.dice.roll(index);
        let shard = self.dice.roll(self.world.shards.len());
        let client = setup::foreign(&mut self.world, shard, &format!("evil{index}"));
        let peer = client.peer;
        self.world.sockets[peer].reading = true;
        self.world.sockets[peer].sends_broken_uris = true;
        let to = self.actors[victim].client.clone();
        let mut octets = Vec::new();
        for number in 0..1 + self.dice.roll(4) {
            let tid = format!("evil{number}");
            let path = if to.token.is_empty() {
                vec![to.uri.as_str()]
            } else if self.dice.chance(30) {
                vec![to.token.as_str(), NOBODY]
            } else {
                vec![to.token.as_str(), to.uri.as_str()]
            };
            let body = self.dice.roll(300);
            octets.extend(
                Builder::request(
                    &tid,
                    self.dice
                        .pick(&["SEND", "SEND", "SEND", "FOO", "REPORT", "AUTH"]),
                )
                .to_path(&path)
                .from_path(&[&client.uri])
                .header("Message-ID", "evil")
                .header("Byte-Range", "1-*/*")
                .header("Failure-Report", self.dice.pick(&["yes", "no", "partial"]))
                .header("Content-Type", "text/plain")
                .body(&noise()[..body])
                .flag(self.dice.pick(b"$$+#"))
                .encode(),
            );
        }
        for _ in 0..self.dice.roll(4) {
            let at = self.dice.roll(octets.len());
            match self.dice.roll(4) {
                0 => octets[at] = self.dice.roll(256) as u8,
                1 => {
                    octets.remove(at);
                }
                2 => octets.insert(at, self.dice.roll(256) as u8),
                _ => octets.truncate(at.max(1)),
            }
        }
        self.world.write(peer, &octets);
        self.actors.push(Actor {
            client,
            foreign: true,
            streams: Vec::new(),
            out: VecDeque::new(),
            produced: octets.len() as u64,
            open: None,
            tids: BTreeMap::new(),
            next_tid: 0,
            owed: VecDeque::new(),
            told: VecDeque::new(),
            stalled_until: None,
            seen: 0,
            shut: false,
            hostile: true,
            nicknames: BTreeMap::new(),
        });
    }

    /// A request that is not SEND, end to end.
    fn something_else(&mut self, actor: usize) {
        if self.actors[actor].open.is_some() || !self.can_write(actor) {
            return;
        }
        let streams = self.actors[actor].streams.len();
        if streams == 0 {
            return;
        }
        let stream = self.dice.roll(streams);
        let stream = self.actors[actor].streams[stream].clone();
        let tid = self.fresh_tid(actor);
        let to: Vec<&str> = stream.to.iter().map(String::as_str).collect();
        let octets = Builder::request(&tid, "NICKNAME")
            .to_path(&to)
            .from_path(&[&self.actors[actor].client.uri])
            .header("Use-Nickname", "\"Åse\"")
            .encode();
        self.actors[actor].nicknames.insert(tid, 0);
        self.queue(actor, &octets);
    }

    fn fresh_tid(&mut self, actor: usize) -> String {
        self.actors[actor].next_tid += 1;
        format!("t{actor}x{}", self.actors[actor].next_tid)
    }

    fn queue(&mut self, actor: usize, octets: &[u8]) {
        self.actors[actor].out.extend(octets);
        self.actors[actor].produced += octets.len() as u64;
    }

    fn can_write(&self, actor: usize) -> bool {
        self.is_alive(actor) && !self.actors[actor].shut && !self.actors[actor].hostile
    }

    /// The actor makes more of its chunk, or begins another one.
    fn produce(&mut self, first: usize) {
        for step in 0..self.actors.len() {
            let actor = (first + step) % self.actors.len();
            if self.can_write(actor) && self.actors[actor].out.len() < 100_000 {
                match self.actors[actor].open.clone() {
                    Some(open) => self.go_on(actor, open),
                    None => self.begin(actor),
                }
                return;
            }
        }
    }

    fn begin(&mut self, actor: usize) {
        let unfinished: Vec<usize> = (0..self.texts.len())
            .filter(|text| self.texts[*text].sender == actor && !self.texts[*text].done)
            .collect();
        let text = if !unfinished.is_empty() && self.dice.chance(70) {
            self.dice.pick(&unfinished)
        } else {
            match self.new_text(actor) {
                Some(text) => text,
                None if unfinished.is_empty() => return,
                None => self.dice.pick(&unfinished),
            }
        };
        self.begin_chunk(actor, text);
    }

    fn new_text(&mut self, actor: usize) -> Option<usize> {
        let streams = self.actors[actor].streams.len();
        if self.texts.len() >= self.texts_max || streams == 0 {
            return None;
        }
        let stream = self.dice.roll(streams);
        let stream = self.actors[actor].streams[stream].clone();
        let total = match self.dice.roll(10) {
            0 => 0,
            1..5 => self.dice.roll(400),
            5..8 => self.dice.roll(6000),
            _ if self.large => self.dice.roll(900_000),
            _ => self.dice.roll(60_000),
        } as u64;
        let id = format!("m{}", self.texts.len());
        let wish = self
            .dice
            .pick(&[Wish::Absent, Wish::Yes, Wish::Yes, Wish::Partial, Wish::No]);
        self.by_id.insert(id.clone(), self.texts.len());
        self.texts.push(Text {
            id,
            sender: actor,
            stream,
            wish,
            total,
            tells_total: self.dice.chance(60),
            has_body: total > 0 || self.dice.chance(50),
            offset: self.dice.roll(NOISE_OCTETS - total as usize),
            next: 1,
            done: false,
            failed: false,
            chunks: Vec::new(),
            pieces: Vec::new(),
            reports: Vec::new(),
        });
        Some(self.texts.len() - 1)
    }

    fn begin_chunk(&mut self, actor: usize, index: usize) {
        let tid = self.fresh_tid(actor);
        let text = &self.texts[index];
        let left = text.total + 1 - text.next;
        let octets = match self.dice.roll(4) {
            0 => left.min(self.dice.roll(3000) as u64),
            1 => left.min(self.dice.roll(30_000) as u64),
            _ => left,
        };
        let end = text.next + octets;
        let total = if text.tells_total {
            text.total.to_string()
        } else {
            "*".to_owned()
        };
        let last = end - 1;
        let range = match self.dice.roll(4) {
            0 if text.next == 1 && !text.tells_total => None,
            1 if text.has_body => Some(format!("{}-{last}/{total}", text.next)),
            _ if !text.has_body => Some("1-0/0".to_owned()),
            _ => Some(format!("{}-*/{total}", text.next)),
        };
        let to: Vec<&str> = text.stream.to.iter().map(String::as_str).collect();
        let mut builder = Builder::request(&tid, "SEND")
            .to_path(&to)
            .from_path(&[&self.actors[actor].client.uri])
            .header("Message-ID", &text.id)
            .maybe_header("Byte-Range", range.as_deref())
            .maybe_header("Failure-Report", text.wish.header());
        if text.has_body {
            builder = builder.header("Content-Type", "text/plain").body(b"");
        }
        let head = builder.encode_head();
        let text = &mut self.texts[index];
        text.chunks.push(Chunk {
            start: text.next,
            end: None,
            flag: 0,
            end_offset: None,
            response: None,
        });
        let chunk = text.chunks.len() - 1;
        self.actors[actor].tids.insert(tid.clone(), (index, chunk));
        self.actors[actor].open = Some((index, end, tid));
        self.queue(actor, &head);
        if self.dice.chance(50) {
            let open = self.actors[actor].open.clone().expect("opened above");
            self.go_on(actor, open);
        }
    }

    fn go_on(&mut self, actor: usize, (index, end, tid): (usize, u64, String)) {
        let most = self.dice.amount().min(40_000) as u64;
        let failed = self.texts[index].failed;
        let gentle = self.is_gentle();
        let text = &self.texts[index];
        let octets = (end - text.next).min(most);
        let at = text.offset + (text.next - 1) as usize;
        let body = &noise()[at..at + octets as usize];
        self.queue(actor, body);
        let text = &mut self.texts[index];
        text.next += octets;
        let aborts = (failed && self.dice.chance(60)) || (!gentle && self.dice.chance(1));
        if text.next < end && !aborts {
            return;
        }
        self.end_chunk(actor, index, &tid, aborts);
    }

    fn end_chunk(&mut self, actor: usize, index: usize, tid: &str, aborts: bool) {
        let text = &mut self.texts[index];
        let whole = text.next == text.total + 1;
        let flag = match (aborts, whole) {
            (true, _) => b'#',
            (false, true) => b'$',
            (false, false) => b'+',
        };
        text.done = flag != b'+' || text.failed;
        let next = text.next;
        let before = if text.has_body { "\r\n" } else { "" };
        let line = format!("{before}-------{tid}{}\r\n", char::from(flag));
        self.queue(actor, line.as_bytes());
        let offset = self.actors[actor].produced;
        let chunk = self.texts[index]
            .chunks
            .last_mut()
            .expect("a chunk is open");
        chunk.end = Some(next);
        chunk.flag = flag;
        chunk.end_offset = Some(offset);
        self.actors[actor].open = None;
    }

    fn write(&mut self, first: usize) {
        let amount = self.dice.amount();
        for step in 0..self.actors.len() {
            let actor = (first + step) % self.actors.len();
            let peer = self.actors[actor].client.peer;
            if self.actors[actor].out.is_empty() || !self.is_alive(actor) {
                continue;
            }
            let room = 65_536_usize.saturating_sub(self.world.sockets[peer].inbound_len());
            let octets = amount.min(room).min(self.actors[actor].out.len());
            if octets > 0 {
                let octets: Vec<u8> = self.actors[actor].out.drain(..octets).collect();
                self.world.write(peer, &octets);
                return;
            }
        }
    }

    /// The actor looks at what has arrived.
    fn read(&mut self, actor: usize) {
        let peer = self.actors[actor].client.peer;
        for message in self.world.messages(peer) {
            self.actors[actor].seen += message.raw.len() as u64;
            match (message.code(), message.method()) {
                (Some(code), _) => self.response(actor, &message, code),
                (None, Some("SEND")) => self.piece(actor, &message),
                (None, Some("REPORT")) => self.report(actor, &message),
                (None, Some("NICKNAME")) => self.owe(actor, &message, None, 200),
                _ => {}
            }
        }
    }

    fn response(&mut self, actor: usize, message: &Message, code: u16) {
        if self.actors[actor].hostile {
            return;
        }
        if let Some(answers) = self.actors[actor].nicknames.get_mut(&message.tid) {
            *answers += 1;
            assert_eq!(*answers, 1, "one answer to a NICKNAME: {message:?}");
            assert!(
                code == 200 || code == 413 || self.weather == Weather::Rough,
                "NICKNAME refused in gentle weather: {message:?}"
            );
            return;
        }
        let Some(&(index, chunk)) = self.actors[actor].tids.get(&message.tid) else {
            panic!("a response to nothing: {message:?}");
        };
        let consumed = self.world.sockets[self.actors[actor].client.peer].consumed;
        let text = &mut self.texts[index];
        assert_ne!(text.wish, Wish::No, "FWD-04: {message:?}");
        let chunk = &mut text.chunks[chunk];
        assert_eq!(chunk.response, None, "a second response: {message:?}");
        chunk.response = Some(code);
        if code == 200 {
            assert!(text.wish.is_yes(), "FWD-05: {message:?}");
            let ended = chunk.end_offset.is_some_and(|end| end <= consumed);
            assert!(
                ended,
                "D-09, a 200 before the end-line was read: {message:?}"
            );
        } else {
            assert!(
                self.weather == Weather::Rough || code == 413,
                "refused in gentle weather: {message:?}"
            );
            text.failed = true;
            if self.actors[actor]
                .open
                .as_ref()
                .is_none_or(|open| open.0 != index)
            {
                text.done = true;
            }
        }
    }

    fn report(&mut self, actor: usize, message: &Message) {
        let Some(&index) = message.message_id().and_then(|id| self.by_id.get(id)) else {
            return;
        };
        let (namespace, code, _) = message.status().expect("RPT-08: a Status");
        assert_eq!(namespace, 0);
        let uri = self.actors[actor].client.uri.clone();
        let text = &mut self.texts[index];
        assert_eq!(text.sender, actor, "RPT-11: {message:?}");
        assert!(text.wish != Wish::No, "RPT-01: {message:?}");
        assert_eq!(message.to_path, [uri], "RPT-07: {message:?}");
        let range = message.byte_range().expect("RPT-09: a Byte-Range");
        let end = range.end.expect("RPT-09: a range with an end") + 1;
        assert!(
            range.start <= end && end <= text.next,
            "RPT-09: beyond what was sent: {message:?}"
        );
        assert!(
            self.weather == Weather::Rough || code == 413,
            "reported in gentle weather: {message:?}"
        );
        text.reports.push(Report {
            start: range.start,
            end,
            code,
            at: self.world.now,
        });
        text.failed = true;
        if self.actors[actor]
            .open
            .as_ref()
            .is_none_or(|open| open.0 != index)
        {
            text.done = true;
        }
    }

    fn piece(&mut self, actor: usize, message: &Message) {
        let peer = self.actors[actor].client.peer;
        let seen = self.actors[actor].seen;
        let known = message
            .message_id()
            .and_then(|id| self.by_id.get(id))
            .copied();
        let Some(index) = known else {
            self.owe(actor, message, None, 200);
            return;
        };
        let taken_at = self.world.taken_at(peer, seen);
        let text = &mut self.texts[index];
        let body = message.body();
        assert_eq!(
            text.stream.receiver, actor,
            "delivered to somebody else: {message:?}"
        );
        assert_eq!(
            message.from_path, text.stream.from_at_receiver,
            "URI-02: {message:?}"
        );
        assert_eq!(
            message.to_path,
            text.stream.to[text.stream.to.len() - 1..],
            "URI-02"
        );
        assert_eq!(
            message.header("Failure-Report"),
            text.wish.header(),
            "CHK-16"
        );
        assert_eq!(message.body.is_some(), text.has_body, "SYN-12: {message:?}");
        let range = message.byte_range();
        let start = range.map_or(1, |range| range.start);
        let end = start + body.len() as u64;
        let at = text.offset + (start - 1) as usize;
        assert!(end <= text.next, "beyond what was sent: {start}..{end}");
        assert!(
            noise()[at..at + body.len()] == *body,
            "octets {start}..{end} of {} differ",
            text.id
        );
        if let Some(range) = range {
            let total = if text.has_body {
                text.tells_total.then_some(text.total)
            } else {
                Some(0)
            };
            assert_eq!(range.total, total, "CHK-08: {message:?}");
            assert!(
                range.end.is_none_or(|last| last + 1 == end),
                "CHK-09: {message:?}"
            );
            assert!(range.end.is_none() || body.len() <= 2048, "CHK-02");
        }
        if let Some(last) = text.pieces.last() {
            assert!(start >= last.end, "CHK-12: {start} after {}", last.end);
            assert_ne!(last.flag, b'$', "a piece after the last one");
        }
        if message.flag == b'$' {
            assert_eq!(end, text.total + 1, "CHK-05: `$` in the middle");
            assert_eq!(
                text.chunks.last().map(|chunk| chunk.flag),
                Some(b'$'),
                "CHK-05, CHK-06"
            );
        }
        text.pieces.push(Piece {
            start,
            end,
            flag: message.flag,
            peer,
            taken_at,
            answered: None,
        });
        let piece = text.pieces.len() - 1;
        let (wish, sender) = (text.wish, text.sender);
        // Elsewhere its URI may become known later than its octets arrive.
        let known = self.world.shards.len() == 1 || !self.is_gentle();
        if self.actors[sender].foreign && self.is_alive(sender) && known {
            self.link_back(sender, actor);
        }
        if wish == Wish::No {
            return;
        }
        let code = if self.is_gentle() {
            200
        } else {
            self.dice
                .pick(&[200, 200, 200, 200, 200, 200, 200, 413, 481, 0])
        };
        if code != 0 {
            self.owe(actor, message, Some((index, piece)), code);
        }
    }

    fn owe(&mut self, actor: usize, message: &Message, piece: Option<(usize, usize)>, code: u16) {
        let late = if self.is_gentle() || self.dice.chance(80) {
            0
        } else {
            self.dice.roll(45_000) as u64
        };
        let octets = Builder::response_to(message, code, None).encode();
        self.actors[actor].owed.push_back(Owed {
            octets,
            piece,
            success: code == 200,
            due: self.world.now + Duration::from_millis(late),
        });
    }

    fn answer(&mut self, first: usize, all: bool) {
        for step in 0..self.actors.len() {
            let actor = (first + step) % self.actors.len();
            if !self.can_write(actor) {
                self.actors[actor].owed.clear();
            }
            if self.actors[actor].open.is_some() || self.actors[actor].owed.is_empty() {
                continue;
            }
            let position = (0..self.actors[actor].owed.len())
                .find(|at| all || self.actors[actor].owed[*at].due <= self.world.now);
            let Some(position) = position else { continue };
            let owed = self.actors[actor]
                .owed
                .remove(position)
                .expect("found above");
            self.queue(actor, &owed.octets);
            if let Some((text, piece)) = owed.piece
                && owed.success
            {
                let offset = self.actors[actor].produced;
                self.actors[actor].told.push_back((offset, text, piece));
            }
            return;
        }
    }

    /// Notes which successes the relay has read.
    fn note_answers(&mut self) {
        let dials = &self.world.dialling;
        assert!(
            !dials
                .iter()
                .any(|dial| dial.target.contains("x.example.org")),
            "UPT-10: dials for a stranger: {dials:?}"
        );
        let now = self.world.now;
        for actor in &mut self.actors {
            let consumed = self.world.sockets[actor.client.peer].consumed;
            while actor.told.front().is_some_and(|told| told.0 <= consumed) {
                let (_, text, piece) = actor.told.pop_front().expect("looked at above");
                self.texts[text].pieces[piece].answered = Some(now);
            }
        }
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
            while !self.world.dialling.is_empty() {
                self.world.dial_fails(0);
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

    fn send_the_rest(&mut self, actor: usize) {
        for text in 0..self.texts.len() {
            while self.texts[text].sender == actor && !self.texts[text].done {
                self.begin_chunk(actor, text);
                while let Some(open) = self.actors[actor].open.clone() {
                    self.go_on(actor, open);
                }
            }
        }
    }

    fn is_at_rest(&self) -> bool {
        let all_read = self
            .world
            .sockets
            .iter()
            .all(|socket| !socket.alive() || socket.inbound_len() == 0);
        all_read && self.world.is_quiet()
    }

    fn state(&self) -> String {
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

    fn check(&self) {
        for text in &self.texts {
            let sender = &self.actors[text.sender];
            let heard = self.is_alive(text.sender) && !sender.shut;
            self.check_once_told(text);
            self.check_not_early(text);
            if heard {
                self.check_nothing_lost(text);
            }
            // Overload refuses what asks for no answer in silence (FWD-04).
            if self.is_gentle() && !text.failed && (text.wish != Wish::No || !self.tight) {
                self.check_delivered(text);
            }
        }
        if self.is_gentle() {
            for actor in &self.actors {
                assert!(
                    actor.nicknames.values().all(|answers| *answers == 1),
                    "FNS-04: an answer is lost"
                );
            }
        }
    }

    /// RPT-06: no octet is signalled twice, nor reported after the receiver's answer was read.
    fn check_once_told(&self, text: &Text) {
        let mut told: Vec<(u64, u64, String)> = Vec::new();
        for chunk in &text.chunks {
            if let (Some(code), Some(end)) = (chunk.response.filter(|code| *code != 200), chunk.end)
            {
                told.push((chunk.start, end, format!("response {code}")));
            }
        }
        for report in &text.reports {
            told.push((report.start, report.end, format!("REPORT {}", report.code)));
        }
        told.sort();
        for pair in told.windows(2) {
            assert!(
                pair[0].1 <= pair[1].0,
                "RPT-06: {} told twice: {told:?}",
                text.id
            );
        }
        let empty = told.iter().filter(|(start, end, _)| start == end).count();
        let empty_chunks = text
            .chunks
            .iter()
            .filter(|chunk| chunk.end == Some(chunk.start))
            .count();
        assert!(
            empty <= empty_chunks,
            "RPT-06: {} told too often: {told:?}",
            text.id
        );
        let whole = |piece: &&Piece| piece.start < piece.end && piece.flag != b'#';
        for piece in text.pieces.iter().filter(whole) {
            let Some(answered) = piece.answered else {
                continue;
            };
            if answered >= piece.taken_at + Duration::from_secs(30) {
                continue;
            }
            let twice = told
                .iter()
                .find(|(start, end, _)| *start < piece.end && piece.start < *end);
            let shut = self.actors[text.stream.receiver].shut;
            let ended_at = self.world.sockets[piece.peer].ended_at;
            let lost = shut || ended_at.is_some_and(|at| at <= answered);
            // A refusal of the chunk that is still coming in covers what was delivered of it.
            let refused = twice.is_some_and(|told| told.2.starts_with("response"));
            assert!(
                twice.is_none() || lost || refused || self.draining,
                "RSP-08: {}..{} of {} was taken at {:?}, answered at {:?} and still reported: {told:?}",
                piece.start,
                piece.end,
                text.id,
                piece.taken_at - self.world.began,
                answered - self.world.began,
            );
        }
    }

    /// TMR-01, TMR-07: a 408 comes 30 s after the kernel took the last octet, not before.
    fn check_not_early(&self, text: &Text) {
        for report in text.reports.iter().filter(|report| report.code == 408) {
            for piece in &text.pieces {
                let overlaps = report.start < piece.end && piece.start < report.end;
                let socket = &self.world.sockets[piece.peer];
                let shut = self.actors[text.stream.receiver].shut;
                let lost = shut || socket.ended_at.is_some_and(|at| at <= report.at);
                // A piece that ends `#` was given up for what came before it.
                if overlaps && !lost && !self.draining && piece.flag != b'#' {
                    assert_ne!(text.wish, Wish::Partial, "RPT-03: {}", text.id);
                    assert!(
                        report.at >= piece.taken_at + Duration::from_secs(30),
                        "TMR-01: {} {}..{} reported at {:?}, piece {}..{}{} of {} reported after {:?}",
                        text.id,
                        report.start,
                        report.end,
                        report.at - self.world.began,
                        piece.start,
                        piece.end,
                        char::from(piece.flag),
                        text.stream.receiver,
                        report.at.saturating_duration_since(piece.taken_at)
                    );
                }
            }
        }
    }

    /// FWD-03: what was acknowledged was delivered or reported; what asks for an answer has one.
    fn check_nothing_lost(&self, text: &Text) {
        for chunk in &text.chunks {
            if !text.wish.is_yes() || chunk.end.is_none() {
                continue;
            }
            assert!(
                chunk.response.is_some(),
                "FWD-02: no response to {}..{:?} of {}",
                chunk.start,
                chunk.end,
                text.id
            );
            if chunk.response != Some(200) {
                continue;
            }
            let end = chunk.end.expect("looked at above");
            let mut known: Vec<(u64, u64)> = text
                .pieces
                .iter()
                .map(|piece| (piece.start, piece.end))
                .collect();
            known.extend(text.reports.iter().map(|report| (report.start, report.end)));
            known.sort_unstable();
            let mut at = chunk.start;
            let mut touched = false;
            for (start, stop) in known {
                touched |= start <= chunk.start && chunk.start <= stop;
                if start <= at {
                    at = at.max(stop);
                }
            }
            assert!(
                at >= end && (touched || end > chunk.start),
                "FWD-03: {} was answered up to {end} and is known up to {at}",
                text.id
            );
        }
    }

    fn check_delivered(&self, text: &Text) {
        let mut at = 1;
        for piece in &text.pieces {
            assert_eq!(piece.start, at, "a gap in {}", text.id);
            at = piece.end;
        }
        assert_eq!(at, text.next, "{} ends early", text.id);
        let flag = text.pieces.last().map(|piece| piece.flag);
        let sent = text.chunks.last().map(|chunk| chunk.flag);
        assert_eq!(flag, sent, "CHK-05: the last flag of {}", text.id);
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
        if dice.chance(20) {
            limits.queued_octets_total = 65_536;
        }
    }
    settings
}
