//! Which connection leads where. Every authority has one home shard, found by hashing, which
//! knows the connection that serves it, on whatever shard, and dials if there is none: so one
//! connection serves all shards (FWD-08, CON-06, CON-08) without a table that they share.

use std::collections::HashMap;

use crate::wire::{Authority, Host, Scheme};

use super::handoff::Hop;
use super::keys::{Place, ShardId};

/// What this shard knows as home.
#[derive(Default)]
pub(super) struct NextHops {
    known: HashMap<Hop, Place>,
}

impl NextHops {
    /// The first connection keeps the name as long as it lives (D-34).
    pub fn register(&mut self, hop: Hop, place: Place) {
        self.known.entry(hop).or_insert(place);
    }

    pub fn unregister(&mut self, hop: &Hop, place: Place) {
        if self.known.get(hop) == Some(&place) {
            self.known.remove(hop);
        }
    }

    pub fn len(&self) -> usize {
        self.known.len()
    }

    pub fn find(&self, hop: &Hop) -> Option<Place> {
        self.known.get(hop).copied()
    }
}

/// The home of an authority: the same on every shard and in every run.
pub(super) fn home(authority: &Authority, workers: u16) -> ShardId {
    let mut hash = Fnv::default();
    hash.write(match authority.scheme {
        Scheme::Msrp => b"p",
        Scheme::Msrps => b"s",
    });
    match &authority.host {
        Host::Name(name) => hash.write(name.as_bytes()),
        Host::Ip(address) => hash.write(address.to_string().as_bytes()),
    }
    hash.write(&authority.port.unwrap_or(0).to_be_bytes());
    hash.write(authority.transport.as_bytes());
    ShardId((hash.0 % u64::from(workers.max(1))) as u16)
}

/// FNV-1a: stable, and good enough to spread authorities over shards. Nothing is looked up by
/// it, so collisions that somebody makes on purpose gain him nothing.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn write(&mut self, octets: &[u8]) {
        for octet in octets {
            self.0 = (self.0 ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
