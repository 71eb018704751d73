//! Questions that shards put to the control thread: the addresses of a name.

use std::net::{IpAddr, SocketAddr};

use tokio::sync::{mpsc, oneshot};

/// Addresses wanted. An IP literal is answered as it is.
#[derive(Debug)]
pub struct ResolveRequest {
    pub host: String,
    /// None: a next hop without port, to be found by SRV `_msrps._tcp` (RFC 4976 §8).
    pub port: Option<u16>,
    /// Whose turn the questions take; the same number for the same user.
    pub on_behalf_of: u64,
    pub reply: oneshot::Sender<Result<Vec<Resolved>, String>>,
}

/// One place to try, in the order of preference.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resolved {
    /// The target of the SRV record that led here, lower case; None without SRV.
    pub name: Option<String>,
    pub address: IpAddr,
    pub port: u16,
}

impl Resolved {
    pub fn socket_address(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}

/// The way to the control thread's resolver.
pub type Resolver = mpsc::Sender<ResolveRequest>;
