//! What a run shall do, resolved: addresses looked up, certificates read, nothing left to doubt.
//! The engine reads it and changes nothing.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};

use crate::ledger::Report;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub password: String,
}

/// Who stands at the two ends of a session, and who connects where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A foreign sender connects to the relay and sends to `TB b`; the receiver is authenticated.
    Foreign,
    /// Both are authenticated at the relay: `TA TB b`.
    Both,
    /// The sender is authenticated; the foreign receiver connects to the relay and speaks first.
    ReceiverConnects,
    /// The sender is authenticated; the relay dials the foreign receiver, who listens here.
    RelayDials,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Messages between pairs; one session each.
    Messages,
    /// Authenticated connections that do nothing.
    Idle,
}

pub struct Plan {
    pub work: Work,
    /// Where authenticated clients connect: always TLS.
    pub address: SocketAddr,
    /// Where foreign clients connect.
    pub foreign_address: SocketAddr,
    pub foreign_tls: bool,
    /// The relay's name in URIs.
    pub host: String,
    pub server_name: ServerName<'static>,
    pub realm: Option<String>,
    pub users: Vec<User>,
    pub client_config: Arc<ClientConfig>,
    /// For receivers that listen. `None`: they listen by plain TCP.
    pub server_config: Option<Arc<ServerConfig>>,
    /// Where receivers listen, and the host of their URIs.
    pub listen_address: IpAddr,
    pub listen_host: String,
    /// Taken in turn.
    pub shapes: Vec<Shape>,
    pub pairs: usize,
    /// Idle connections.
    pub connections: usize,
    pub window: usize,
    /// Smallest and largest message.
    pub sizes: (u64, u64),
    pub chunk_octets: u64,
    /// Messages per second of all pairs together; `None`: closed loop.
    pub rate: Option<f64>,
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
    /// How long to wait at the end for what is not settled.
    pub patience: Duration,
}
