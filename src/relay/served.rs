//! Hosts that verified links lead to, of all shards: nobody who only claims to be such a host is
//! believed (D-34). Every shard knows them all, for it asks at each claim.

use std::collections::HashMap;

use crate::wire::Host;

use super::Relay;
use super::handoff::{Handoff, Hop};
use super::keys::{ConnectionKey, ShardId};
use super::uses::Kind;

/// Hosts that some verified link leads to.
#[derive(Default)]
pub(super) struct Served {
    /// Links of this shard, by host.
    here: HashMap<Host, usize>,
    /// Shards that have one.
    shards: HashMap<Host, usize>,
}

impl Served {
    pub fn contains(&self, host: &Host) -> bool {
        !self.shards.is_empty() && self.shards.contains_key(&host.bare())
    }

    pub fn len(&self) -> usize {
        self.here.len().max(self.shards.len())
    }
}

/// One more or one less; true if that is the first or was the last.
fn count(hosts: &mut HashMap<Host, usize>, host: &Host, more: bool) -> bool {
    let links = hosts.entry(host.clone()).or_default();
    if more {
        *links += 1;
        return *links == 1;
    }
    *links = links.saturating_sub(1);
    let last = *links == 0;
    if last {
        hosts.remove(host);
    }
    last
}

impl Relay {
    /// What this connection provably leads to may have changed.
    pub(super) fn count_served(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let proves = matches!(connection.kind(), Kind::Relay | Kind::LastHop)
            && connection.established
            && connection.verified.is_some();
        let mut now: Vec<Host> = match proves {
            true => (connection.hops.iter().map(Hop::authority))
                .map(|authority| authority.host.bare())
                .collect(),
            false => Vec::new(),
        };
        now.sort_unstable();
        now.dedup();
        let before = std::mem::replace(&mut connection.serves, now.clone());
        for host in before.iter().filter(|host| !now.contains(host)) {
            self.serves(host, false);
        }
        for host in now.iter().filter(|host| !before.contains(host)) {
            self.serves(host, true);
        }
    }

    fn serves(&mut self, host: &Host, up: bool) {
        if !count(&mut self.served.here, host, up) {
            return;
        }
        for shard in 0..self.workers {
            let shard = ShardId(shard);
            let host = host.clone();
            if shard == self.shard {
                self.host_served(&host, up);
            } else {
                self.hand(shard, Handoff::HostServed { host, up });
            }
        }
    }

    /// A shard has its first verified link to this host, or has lost its last one.
    pub(super) fn host_served(&mut self, host: &Host, up: bool) {
        count(&mut self.served.shards, host, up);
    }
}

impl Relay {
    /// Panics unless a count of all links comes to the same.
    pub(super) fn assert_served(&self) {
        let mut here = HashMap::new();
        for (_, connection) in self.connections.iter() {
            for host in &connection.serves {
                count(&mut here, host, true);
            }
        }
        assert_eq!(here, self.served.here, "hosts that links lead to");
    }
}
