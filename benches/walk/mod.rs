//! The walk of a message through the machine, without sockets and TLS: octets in, octets out,
//! the next hop's 200s in, the sender's 200s out.

#[path = "../../tests/relay/setup.rs"]
#[allow(dead_code)]
mod setup;
#[path = "../../tests/relay/web.rs"]
#[allow(dead_code)]
mod web;
#[path = "../../tests/relay/world.rs"]
#[allow(dead_code)]
mod world;

use std::time::{Duration, Instant};

use bytes::Bytes;
use msrpd::relay::{Command, ConnectionKey, Relay};
use msrpload::codec::{Builder, Message};

use setup::Client;
use world::{Options, World};

/// Octets of one TLS record.
const RECORD: usize = 16_384;

/// Who sends to whom.
#[derive(Clone, Copy, Debug)]
pub enum Pair {
    /// A foreign client to one of ours.
    ForeignSender,
    /// One of ours to a foreign client that the relay has dialled.
    ForeignReceiver,
    /// Two of ours.
    BothHere,
}

/// A sender, a receiver, and what passes between them.
pub struct Walk {
    relays: Vec<Relay>,
    now: Instant,
    sender: Place,
    receiver: Place,
    /// A SEND as it comes in, all alike.
    request: Vec<u8>,
    /// A 200 as the receiver sends it, and where its transact-id stands.
    answer: Vec<u8>,
    tid: String,
    out: Vec<u8>,
    to_receiver: Vec<u8>,
    to_sender: usize,
    /// Time spent in writing to the receiver; looked at by one bench only.
    egress: Option<Duration>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    shard: usize,
    key: ConnectionKey,
}

impl Walk {
    /// Chunks with a body of so many octets; with two shards the two are on different ones.
    pub fn new(pair: Pair, body_octets: usize, shards: u16) -> Self {
        let mut world = World::new(Options {
            workers: shards,
            ..Options::default()
        });
        world.checks = false;
        let other = usize::from(shards) - 1;
        let (sender, receiver) = match pair {
            Pair::ForeignSender => (
                setup::foreign(&mut world, 0, "bob"),
                setup::client(&mut world, other, "alice"),
            ),
            Pair::ForeignReceiver => (setup::client(&mut world, 0, "alice"), nobody("bob")),
            Pair::BothHere => (
                setup::client(&mut world, 0, "alice"),
                setup::client(&mut world, other, "carol"),
            ),
        };
        let path = sender.path_to(&receiver);
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let request = send(&path, &sender.uri, body_octets);
        world.write(sender.peer, &request);
        world.run();
        let receiver = match pair {
            Pair::ForeignReceiver => {
                let peer = world.dial_succeeds(0, Some(&["bob.example.net"]));
                world.run();
                Client { peer, ..receiver }
            }
            _ => receiver,
        };
        let mut first = Vec::new();
        while let Some(message) = arrived(&mut world, &receiver) {
            first.push(message);
        }
        let first = first.pop().expect("the first SEND has arrived");
        setup::respond(&mut world, receiver.peer, &first, 200);
        world.run();
        let place = |client: &Client| {
            let socket = &world.sockets[client.peer];
            Place {
                shard: socket.shard,
                key: socket.key,
            }
        };
        Self {
            now: world.now,
            sender: place(&sender),
            receiver: place(&receiver),
            request,
            answer: Builder::response_to(&first, 200, Some("OK")).encode(),
            tid: first.tid.clone(),
            relays: world.shards,
            out: Vec::new(),
            to_receiver: Vec::new(),
            to_sender: 0,
            egress: None,
        }
    }

    /// So many SENDs come in at once and are answered at once.
    pub fn pass(&mut self, window: usize) {
        self.to_receiver.clear();
        self.to_sender = 0;
        let octets = self.request.repeat(window);
        for record in octets.chunks(RECORD) {
            self.receive(self.sender, record);
        }
        self.settle();
        let answers = self.answers();
        self.receive(self.receiver, &answers);
        self.settle();
        assert!(self.to_sender > 0, "the sender has its 200s");
    }

    /// How long it takes to write so many SENDs that wait.
    #[allow(dead_code, reason = "not every bench asks")]
    pub fn egress(&mut self, window: usize) -> Duration {
        self.egress = Some(Duration::ZERO);
        self.pass(window);
        self.egress.take().unwrap_or_default()
    }

    /// As a shard does it: what is not taken at once is copied.
    fn receive(&mut self, place: Place, octets: &[u8]) {
        let relay = &mut self.relays[place.shard];
        let taken = relay.receive_lent(self.now, place.key, octets);
        if taken < octets.len() {
            let rest = Bytes::copy_from_slice(&octets[taken..]);
            relay.receive(self.now, place.key, rest);
        }
    }

    /// A 200 for each SEND that has arrived.
    fn answers(&self) -> Vec<u8> {
        const START: &[u8] = b"MSRP ";
        let mut answers = Vec::new();
        let mut rest = &self.to_receiver[..];
        while let Some(tid) = rest.get(START.len()..START.len() + self.tid.len()) {
            let at = answers.len();
            answers.extend_from_slice(&self.answer);
            let end = answers.len() - self.tid.len() - b"$\r\n".len();
            answers[at + START.len()..][..tid.len()].copy_from_slice(tid);
            answers[end..][..tid.len()].copy_from_slice(tid);
            let end_line = [b"\r\n-------", tid].concat();
            let found = memchr::memmem::find(rest, &end_line).expect("whole chunks arrive");
            rest = &rest[found + end_line.len() + b"$\r\n".len()..];
        }
        answers
    }

    fn settle(&mut self) {
        loop {
            let mut any = false;
            for shard in 0..self.relays.len() {
                while let Some(command) = self.relays[shard].poll_command() {
                    any = true;
                    self.follow(shard, command);
                }
            }
            if !any {
                return;
            }
        }
    }

    fn follow(&mut self, shard: usize, command: Command) {
        match command {
            Command::Transmit(key) => {
                let relay = &mut self.relays[shard];
                self.out.clear();
                let began = self.egress.map(|_| Instant::now());
                while relay.transmit(self.now, key, &mut self.out) {
                    relay.sent(self.now, key);
                }
                let place = Place { shard, key };
                if place == self.receiver {
                    if let (Some(began), Some(egress)) = (began, &mut self.egress) {
                        *egress += began.elapsed();
                    }
                    self.to_receiver.extend_from_slice(&self.out);
                } else if place == self.sender {
                    self.to_sender += self.out.len();
                }
            }
            Command::Handoffs { to, handoffs } => {
                for handoff in handoffs {
                    self.relays[usize::from(to.0)].handoff(self.now, handoff);
                }
            }
            Command::Resume(_) => {}
            other => panic!("nothing else happens here: {other:?}"),
        }
    }
}

fn nobody(name: &str) -> Client {
    Client {
        peer: usize::MAX,
        uri: format!("msrps://{name}.example.net:2855/s{name};tcp"),
        token: String::new(),
        use_path: Vec::new(),
    }
}

fn arrived(world: &mut World, receiver: &Client) -> Option<Message> {
    let mut messages = world.messages(receiver.peer);
    messages.pop()
}

/// A whole chunk, 300 octets as the suite counts them being those of its body.
fn send(to: &[&str], from: &str, body_octets: usize) -> Vec<u8> {
    let body: Vec<u8> = (0..body_octets as u32)
        .map(|at| b'a' + (at.wrapping_mul(2_654_435_761) >> 27) as u8 % 26)
        .collect();
    Builder::request("d93kswow3bn2kq9w", "SEND")
        .to_path(to)
        .from_path(&[from])
        .header("Message-ID", "87652491QgbT")
        .header("Byte-Range", &format!("1-{body_octets}/{body_octets}"))
        .header("Content-Type", "text/plain")
        .body(&body)
        .encode()
}
