//! Questions that shards put to the control thread: the addresses of a name.

use std::net::IpAddr;

use tokio::sync::{mpsc, oneshot};

/// Addresses wanted. An IP literal is answered as it is.
#[derive(Debug)]
pub struct ResolveRequest {
    pub host: String,
    /// None: a next hop without port, to be found by SRV `_msrps._tcp` (RFC 4976 §8).
    pub port: Option<u16>,
    pub reply: oneshot::Sender<Result<Vec<Resolved>, String>>,
}

/// One place to try, in the order of preference.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resolved {
    pub address: IpAddr,
    pub port: u16,
}

/// The way to the control thread's resolver.
pub type Resolver = mpsc::Sender<ResolveRequest>;
