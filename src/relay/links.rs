//! Links to other relays, beyond what is common to all connections: what one can be reached by
//! once it is known where it leads, and what becomes of it when its certificate is judged again
//! (RFC 4976 §6.1, §8, §9.2).

use std::sync::Arc;
use std::time::Instant;

use crate::wire::{Authority, Host};

use super::Relay;
use super::command::CloseReason;
use super::connection::Connection;
use super::handoff::Hop;
use super::keys::{ConnectionKey, Place};
use super::settings::{Settings, VerifiedNames};

/// Where a dial ended, which its URI alone does not tell: a next hop without port is found by
/// SRV (RFC 4976 §8).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reached {
    /// The SRV record's target, if there was one; not verified.
    pub target: Option<String>,
    pub port: u16,
}

impl Relay {
    /// The connect of a dialled connection went through to this place. Before `established`.
    pub fn reached(&mut self, key: ConnectionKey, reached: Reached) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.reached = Some(reached);
        }
    }

    /// A dialled connection that is up serves for every authority that it provably is: a relay's
    /// Use-Path URIs have a port also when the URI that led to it had none (UPT-01, DNS-08).
    pub(super) fn serves_as_well(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        for hop in also(connection) {
            self.reachable_by(key, hop);
        }
    }

    /// The certificate of an established connection was judged again, for the authorities or the
    /// operator's lists of relays have changed. `verified` as for `established`. One that is no
    /// longer good loses its rights at once and is closed in order. Nobody gains any by this.
    pub fn rejudged(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        verified: Option<Arc<VerifiedNames>>,
    ) {
        self.now = now;
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.verified.is_none() || connection.closing.is_some() {
            return;
        }
        let stays = verified
            .as_ref()
            .is_some_and(|names| is_still_good(&self.settings, connection, names));
        connection.verified = verified.filter(|_| stays);
        if !stays {
            self.close(now, key, CloseReason::Unverified);
            self.deliver_ups(now);
            return;
        }
        self.give_up_other_names(key);
    }

    /// What it was reached by and its certificate no longer names.
    fn give_up_other_names(&mut self, key: ConnectionKey) {
        let place = Place {
            shard: self.shard,
            connection: key,
        };
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let Some(names) = connection.verified.clone() else {
            return;
        };
        let (kept, given_up): (Vec<Hop>, Vec<Hop>) = std::mem::take(&mut connection.hops)
            .into_iter()
            .partition(|hop| !hop.is_by_certificate() || names.vouch_for(&hop.authority().host));
        connection.hops = kept;
        for hop in given_up {
            self.unreachable_by(hop, place);
        }
    }
}

/// The authorities besides the dialled one that its certificate vouches for.
fn also(connection: &Connection) -> Vec<Hop> {
    let (Some(dialled), Some(reached), Some(names)) = (
        &connection.dialled,
        &connection.reached,
        &connection.verified,
    ) else {
        return Vec::new();
    };
    let hosts = [
        Some(dialled.host.clone()),
        reached
            .target
            .as_deref()
            .map(|target| Host::from_text(target.trim_end_matches('.'))),
    ];
    hosts
        .into_iter()
        .flatten()
        .filter(|host| names.vouch_for(host))
        .map(|host| Authority {
            host,
            port: Some(reached.port),
            ..dialled.clone()
        })
        .filter(|authority| authority != dialled)
        .map(Hop::Authority)
        .collect()
}

impl VerifiedNames {
    /// Whether this host is named. An address is compared during the handshake alone: it holds as
    /// long as the chain does (TLS-09).
    fn vouch_for(&self, host: &Host) -> bool {
        match host {
            Host::Name(name) => self.matches(name),
            Host::Ip(_) => true,
        }
    }
}

/// Whether a verified connection may stay under other settings or another certificate store.
fn is_still_good(settings: &Settings, connection: &Connection, names: &VerifiedNames) -> bool {
    let let_in = names
        .names
        .iter()
        .any(|name| name.starts_with("*.") || settings.allows_peer(name));
    match &connection.dialled {
        Some(dialled) => {
            // The target of an SRV record counts where the operator let it stand for its domain (D-14).
            let target = connection
                .reached
                .as_ref()
                .and_then(|r| r.target.as_deref());
            (names.vouch_for(&dialled.host) || target.is_some_and(|target| names.matches(target)))
                && (!connection.to_relay || settings.allows_peer(&dialled.host.to_string()))
        }
        None => let_in,
    }
}
