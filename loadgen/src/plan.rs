//! What a run shall do, resolved: addresses looked up, certificates read, nothing left to doubt.
//! The engine reads it and changes nothing.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};

use crate::arrivals::{Arrivals, Profile};
use crate::ledger::Report;
use crate::sizes::Sizes;

#[derive(Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub password: String,
}

/// Never the password.
impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// By what a client reaches a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    /// TLS over TCP.
    Tls,
    /// Plain TCP. Only foreign clients can: AUTH needs TLS (RFC 4976 §9.2).
    Tcp,
    /// WebSocket over TLS (RFC 7977).
    Wss,
    /// WebSocket without TLS, as behind a server that ends it.
    Ws,
}

impl Transport {
    pub const ALL: [Self; 4] = [Self::Tls, Self::Tcp, Self::Wss, Self::Ws];

    /// What a client takes that logs in, or does not.
    pub fn of(self, authenticated: bool) -> Self {
        match self {
            Self::Tcp if authenticated => Self::Tls,
            other => other,
        }
    }

    pub fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    pub fn is_web(self) -> bool {
        matches!(self, Self::Wss | Self::Ws)
    }

    /// For sentences: what a server has to speak.
    pub fn spoken(self) -> &'static str {
        match self {
            Self::Tls => "TLS",
            Self::Tcp => "MSRP without TLS",
            Self::Wss | Self::Ws => "WebSocket",
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Tcp => "tcp",
            Self::Wss => "wss",
            Self::Ws => "ws",
        }
    }
}

/// A relay that clients log in to.
pub struct Relay {
    /// Where it listens, by transport; where it is not known for one, it is another's.
    pub addresses: [SocketAddr; 4],
    /// Its name in URIs.
    pub host: String,
    pub server_name: ServerName<'static>,
    pub realm: Option<String>,
    pub users: Vec<User>,
    pub client_config: Arc<ClientConfig>,
}

impl Relay {
    pub fn address(&self, transport: Transport) -> SocketAddr {
        self.addresses[transport as usize]
    }
}

/// Who stands at the two ends of a session, and who connects where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A foreign sender connects to the relay and sends to `TB b`; the receiver is authenticated.
    Foreign,
    /// Both are authenticated: `TA TB b`. With two relays the receiver is at the second.
    Both,
    /// The sender is authenticated; the foreign receiver connects to the relay and speaks first.
    ReceiverConnects,
    /// The sender is authenticated; the relay dials the foreign receiver, who listens here.
    RelayDials,
    /// No relay: a proxy between a sender and a listener here. Octets are those of a chat with a foreign sender.
    Piped,
}

impl Shape {
    pub fn sender_logs_in(self) -> bool {
        !matches!(self, Self::Foreign | Self::Piped)
    }

    /// The receiver logs in at its relay.
    pub fn receiver_logs_in(self) -> bool {
        matches!(self, Self::Foreign | Self::Both)
    }

    /// The receiver is dialled, and so has no connection before the first SEND.
    pub fn receiver_listens(self) -> bool {
        matches!(self, Self::RelayDials | Self::Piped)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Messages between pairs.
    Messages,
    /// Authenticated connections that do nothing.
    Idle,
}

/// When messages begin.
#[derive(Clone, Debug, PartialEq)]
pub enum Pace {
    /// Closed loop: as long as fewer than this many of a session are unsettled.
    Window(usize),
    /// Open loop: when they are due, all sessions of the group together.
    Open(Arrivals, Profile),
}

/// What a group is there for: results are kept apart by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// What the run is about.
    Main,
    /// Big messages beside it.
    Film,
}

/// Sessions that do alike.
#[derive(Clone)]
pub struct Group {
    pub name: String,
    pub role: Role,
    pub sessions: usize,
    /// Chat sessions that share their two connections, each with a URI and an AUTH of its own.
    pub sessions_per_connection: usize,
    /// By the connections and sessions of this group instead of some of their own.
    pub shares: Option<usize>,
    /// Taken in turn.
    pub shapes: Vec<Shape>,
    pub sender_transport: Transport,
    pub receiver_transport: Transport,
    pub pace: Pace,
    pub sizes: Sizes,
    pub chunk_octets: u64,
    /// Messages of each session, in a round where there are rounds; `None`: until the end.
    pub messages_max: Option<u64>,
    pub report: Report,
    /// Ask for success reports; receivers make them.
    pub success_report: bool,
    pub content_type: String,
    /// Receivers keep their 200s back for a time drawn from here.
    pub hold: Option<(Duration, Duration)>,
    /// Octets per second that one receiver reads.
    pub receiver_rate: Option<u64>,
    /// Instead of the relay's: with a client certificate, or other authorities.
    pub client_config: Option<Arc<ClientConfig>>,
}

/// Whose receiver reads nothing from the beginning of the run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Nobody,
    /// One chat's.
    Chat,
    /// One film's.
    Film,
}

/// Clients that come and go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rounds {
    /// Rounds a second of all pairs together; `None`: as fast as it goes.
    pub rate: Option<f64>,
}

pub struct Plan {
    pub work: Work,
    /// The relay where senders log in, and with `--via` the one where receivers do.
    pub relays: Vec<Relay>,
    /// For receivers that listen. `None`: they listen by plain TCP.
    pub server_config: Option<Arc<ServerConfig>>,
    /// Where receivers listen (each at a port of its own, piped ones at this port), and the host of their URIs.
    pub listen_address: IpAddr,
    pub listen_port: u16,
    pub listen_host: String,
    pub groups: Vec<Group>,
    /// Idle connections, and by what they come; bad company comes by the same.
    pub connections: usize,
    pub idle_transport: Transport,
    /// Both clients of a pair leave once the messages of a round are settled, and come back.
    pub rounds: Option<Rounds>,
    pub standing: Standing,
    /// Connections of bad company at the first relay.
    pub hostile: usize,
    pub threads: usize,
    pub cpus: Vec<usize>,
    /// Source addresses 127.x.y.z instead of one.
    pub source_spread: bool,
    pub opening_at_once: usize,
    /// For TCP, TLS and the upgrade to WebSocket of one connection.
    pub connect_timeout: Duration,
    /// For the answer to an AUTH.
    pub auth_timeout: Duration,
    /// What is lost connects again.
    pub reconnect: bool,
    pub warmup: Duration,
    pub duration: Duration,
    /// How long to wait at the end while nothing gets settled any more.
    pub patience: Duration,
    /// One of so many messages is traced; 0: none.
    pub trace_every: u64,
}

/// A session's place in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    pub group: usize,
    /// Its number within the group.
    pub number: usize,
    /// Of all pairs of connections, the one that it uses.
    pub carrier: usize,
    /// Which of the sessions on that pair it is.
    pub seat: usize,
    pub shape: Shape,
}

impl Plan {
    /// Sessions of all groups.
    pub fn sessions(&self) -> usize {
        self.groups.iter().map(|group| group.sessions).sum()
    }

    /// All sessions, in the order of their ids.
    pub fn slots(&self) -> Vec<Slot> {
        let mut slots: Vec<Slot> = Vec::with_capacity(self.sessions());
        let mut carriers = 0;
        let mut firsts = Vec::new();
        for (group, one) in self.groups.iter().enumerate() {
            firsts.push(slots.len());
            for number in 0..one.sessions {
                slots.push(match one.shares {
                    Some(other) => {
                        let host = firsts[other] + number % self.groups[other].sessions;
                        Slot {
                            group,
                            number,
                            ..slots[host]
                        }
                    }
                    None => {
                        let pair = number / one.sessions_per_connection;
                        Slot {
                            group,
                            number,
                            carrier: carriers + pair,
                            seat: number % one.sessions_per_connection,
                            shape: one.shapes[pair % one.shapes.len()],
                        }
                    }
                });
            }
            if one.shares.is_none() {
                carriers += one.carriers();
            }
        }
        slots
    }

    /// Connections that the sessions open; what a relay dials is not among them.
    pub fn connections_wanted(&self) -> usize {
        if self.work == Work::Idle {
            return self.connections;
        }
        let own = self.groups.iter().filter(|group| group.shares.is_none());
        own.map(|group| {
            let ends = |carrier: usize| match group.shapes[carrier % group.shapes.len()]
                .receiver_listens()
            {
                true => 1,
                false => 2,
            };
            (0..group.carriers()).map(ends).sum::<usize>()
        })
        .sum()
    }

    /// By what clients connect to this relay, each once.
    pub fn ways(&self, relay: usize) -> Vec<Transport> {
        let mut ways: Vec<Transport> = match self.work == Work::Idle || self.hostile > 0 {
            true if relay == 0 => vec![self.idle_transport],
            _ => Vec::new(),
        };
        for group in &self.groups {
            for shape in &group.shapes {
                if relay == 0 {
                    ways.push(group.sender_transport.of(shape.sender_logs_in()));
                }
                if relay == self.last_relay() && !shape.receiver_listens() {
                    ways.push(group.receiver_transport.of(shape.receiver_logs_in()));
                }
            }
        }
        Transport::ALL
            .into_iter()
            .filter(|transport| ways.contains(transport))
            .collect()
    }

    /// The relay where receivers are.
    pub fn last_relay(&self) -> usize {
        self.relays.len() - 1
    }

    /// Results of the group with this number go by its number, those of a receiver that stands still by one more.
    pub fn buckets(&self) -> usize {
        self.groups.len() + 1
    }

    /// Whether the messages of a group begin when they are due.
    pub fn is_open_loop(&self) -> bool {
        self.groups
            .iter()
            .any(|group| matches!(group.pace, Pace::Open(..)))
    }

    /// Messages a second that are due at this time of the measured stretch, of all groups.
    pub fn rate_at(&self, time: f64) -> Option<f64> {
        let rates = self.groups.iter().filter_map(|group| match &group.pace {
            Pace::Open(_, profile) => Some(profile.rate_at(time)),
            Pace::Window(_) => None,
        });
        rates.reduce(|sum, rate| sum + rate)
    }
}

impl Group {
    /// Pairs of connections.
    pub fn carriers(&self) -> usize {
        self.sessions.div_ceil(self.sessions_per_connection)
    }
}

#[cfg(test)]
impl Plan {
    /// One that does nothing, for tests of what is said about runs.
    pub fn idle_for_tests() -> Self {
        Self {
            work: Work::Idle,
            relays: Vec::new(),
            server_config: None,
            listen_address: IpAddr::from([127, 0, 0, 1]),
            listen_port: 0,
            listen_host: String::new(),
            groups: Vec::new(),
            connections: 1,
            idle_transport: Transport::Tls,
            rounds: None,
            standing: Standing::Nobody,
            hostile: 0,
            threads: 1,
            cpus: Vec::new(),
            source_spread: false,
            opening_at_once: 1,
            connect_timeout: Duration::from_secs(5),
            auth_timeout: Duration::from_secs(10),
            reconnect: false,
            warmup: Duration::ZERO,
            duration: Duration::from_secs(1),
            patience: Duration::ZERO,
            trace_every: 0,
        }
    }
}
