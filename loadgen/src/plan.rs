//! What a run shall do, resolved: addresses looked up, certificates read, nothing left to doubt.
//! The engine reads it and changes nothing.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};

use crate::ledger::Report;
use crate::sizes::Sizes;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub password: String,
}

/// A relay that clients log in to.
pub struct Relay {
    /// Where it listens for TLS.
    pub address: SocketAddr,
    /// Its name in URIs.
    pub host: String,
    pub server_name: ServerName<'static>,
    pub realm: Option<String>,
    pub users: Vec<User>,
    pub client_config: Arc<ClientConfig>,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Messages between pairs; one session each.
    Messages,
    /// Authenticated connections that do nothing.
    Idle,
}

/// Big messages beside the chats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Films {
    /// Sessions that send one after the other.
    pub sessions: usize,
    pub octets: u64,
    /// By the connections of chats instead of some of their own.
    pub shared: bool,
    /// Octets per second that a film's receiver reads.
    pub receiver_rate: Option<u64>,
    /// Messages of each session; `None`: until the end.
    pub each: Option<u64>,
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

pub struct Plan {
    pub work: Work,
    /// The relay where senders log in, and with `--via` the one where receivers do.
    pub relays: Vec<Relay>,
    /// Where foreign clients connect.
    pub foreign_address: SocketAddr,
    pub foreign_tls: bool,
    /// For receivers that listen. `None`: they listen by plain TCP.
    pub server_config: Option<Arc<ServerConfig>>,
    /// Where receivers listen (each at a port of its own, piped ones at this port), and the host of their URIs.
    pub listen_address: IpAddr,
    pub listen_port: u16,
    pub listen_host: String,
    /// Taken in turn.
    pub shapes: Vec<Shape>,
    pub pairs: usize,
    /// Idle connections.
    pub connections: usize,
    pub window: usize,
    pub sizes: Sizes,
    pub chunk_octets: u64,
    /// Messages per second of all pairs together; `None`: closed loop.
    pub rate: Option<f64>,
    /// Messages after which both clients of a pair leave and come back; `rate` counts such rounds then.
    pub round: Option<u64>,
    pub films: Option<Films>,
    pub standing: Standing,
    /// Connections of bad company at the first relay.
    pub hostile: usize,
    pub report: Report,
    pub success_report: bool,
    /// Receivers keep their 200s back for a time drawn from here.
    pub hold: Option<(Duration, Duration)>,
    /// Octets per second that one receiver reads.
    pub receiver_rate: Option<u64>,
    pub threads: usize,
    pub cpus: Vec<usize>,
    /// Source addresses 127.x.y.z instead of one.
    pub source_spread: bool,
    pub opening_at_once: usize,
    pub warmup: Duration,
    pub duration: Duration,
    /// How long to wait at the end while nothing gets settled any more.
    pub patience: Duration,
}

impl Plan {
    /// Sessions of all kinds.
    pub fn sessions(&self) -> usize {
        self.pairs + self.films.map_or(0, |films| films.sessions)
    }

    /// Of these, the ones that do not go by another's connections.
    pub fn sessions_with_connections(&self) -> usize {
        match self.films {
            Some(films) if films.shared => self.pairs,
            _ => self.sessions(),
        }
    }

    /// The relay where receivers are.
    pub fn last_relay(&self) -> usize {
        self.relays.len() - 1
    }
}
