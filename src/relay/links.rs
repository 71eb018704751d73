//! Links to other relays, beyond what is common to all connections: what one can be reached by
//! once it is known where it leads, and what becomes of it when its certificate is judged again
//! (RFC 4976 §6.1, §8, §9.2).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::wire::{Authority, Decoder, DecoderLimits, Event, Host, Scheme, Uri};

use super::Relay;
use super::command::{CloseReason, Loss, Verify};
use super::connection::Connection;
use super::handoff::{Handoff, Hop};
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

/// Connections of verified relays that have gone, for as long as REPORTs may be due to them.
#[derive(Default)]
pub(super) struct GoneLinks {
    names: HashMap<ConnectionKey, Arc<VerifiedNames>>,
    /// The first to go first.
    order: VecDeque<(ConnectionKey, Instant)>,
    octets: usize,
}

fn gone_entry(names: &VerifiedNames) -> usize {
    let names = names.names.iter().map(|name| name.len());
    names
        .map(|octets| octets + size_of::<String>())
        .sum::<usize>()
        + size_of::<VerifiedNames>()
}

/// Longer than a chunk waits in a queue that stalls and then for its answer.
const GONE_MEMORY: Duration = Duration::from_secs(120);

impl GoneLinks {
    fn insert(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        names: Arc<VerifiedNames>,
        bound: usize,
    ) {
        while let Some((first, gone)) = self.order.front().copied()
            && (self.order.len() >= bound || gone + GONE_MEMORY <= now)
        {
            self.order.pop_front();
            let names = self.names.remove(&first);
            self.octets -= names.map_or(0, |names| gone_entry(&names));
        }
        self.order.push_back((key, now));
        self.octets += gone_entry(&names);
        self.names.insert(key, names);
    }

    /// What they hold.
    pub fn octets(&self) -> usize {
        self.octets
    }

    pub fn get(&self, key: ConnectionKey) -> Option<&VerifiedNames> {
        self.names.get(&key).map(|names| &**names)
    }

    pub fn knows(&self, key: ConnectionKey) -> bool {
        self.get(key).is_some()
    }
}

impl Relay {
    /// The connect of a dialled connection went through to this place. Before `established`.
    pub fn reached(&mut self, key: ConnectionKey, reached: Reached) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.reached = Some(Box::new(reached));
        }
    }

    /// A dialled connection that is up serves for every authority that it provably is: a relay's
    /// Use-Path URIs have a port also when the URI that led to it had none (UPT-01, DNS-08).
    pub(super) fn came_up(&mut self, now: Instant, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        for flow in &connection.egress.flows {
            if let Some(flow) = self.flows.get_mut(*flow) {
                flow.waits = false;
            }
        }
        if let [films @ Hop::Films(_)] = &connection.hops[..] {
            let films = films.clone();
            self.tell_home(now, films, key);
            return self.count_served(key);
        }
        for hop in also(connection) {
            self.reachable_by(now, key, hop);
        }
        self.count_served(key);
    }

    /// The other side of a dial has spoken: whoever asks may dial it again at once.
    pub(super) fn dial_succeeded(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connections.get(key) {
            for hop in &connection.hops {
                self.next_hops.reached(hop);
            }
            self.recount_tables();
        }
    }

    /// A dial came to nothing, a refused certificate included: with TLS 1.3 that shows only after
    /// the handshake.
    pub(super) fn judge_dial(&mut self, now: Instant, key: ConnectionKey, loss: &Loss) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        let refused = matches!(loss, Loss::Tls(_)) && !connection.heard;
        if connection.closing.is_some()
            || connection.dialled.is_none()
            || (connection.established && !refused)
            || self.waits_for_turn(key)
        {
            return;
        }
        let bound = self.settings.limits.back_offs;
        for hop in connection.hops.clone() {
            if matches!(hop, Hop::Films(_))
                || self.hash_key.home(hop.authority(), self.workers) != self.shard
            {
                // Its home hears of it with its end.
                continue;
            }
            let [jitter] = self.random.octets();
            self.next_hops.not_reached(now, hop, jitter, bound);
        }
        self.recount_tables();
    }

    /// A verified relay's connection has gone; REPORTs may still be due to it.
    pub(super) fn remember_gone(&mut self, now: Instant, key: ConnectionKey) {
        if let Some(connection) = self.connections.get(key)
            && let Some(names) = &connection.verified
        {
            let bound = self.settings.limits.gone_links;
            self.gone_links.insert(now, key, names.clone(), bound);
            self.recount_tables();
        }
    }

    /// REPORTs of ours whose connection has gone take another one to the relay that it led to,
    /// if it was one (RPT-11).
    pub(super) fn lead_strays(&mut self, now: Instant) {
        for (source, octets, code) in std::mem::take(&mut self.strays) {
            if let Some(relay) = self.previous_relay(source, &octets) {
                self.report_by_relay(now, relay, octets, code);
            }
        }
    }

    /// The relay that a REPORT goes back to, if the connection that has gone was verified for it.
    fn previous_relay(&self, gone: ConnectionKey, report: &Bytes) -> Option<Authority> {
        let names = self.gone_links.get(gone)?;
        let mut decoder = Decoder::new(DecoderLimits {
            head_octets_max: usize::MAX,
            header_lines_max: usize::MAX,
            uris_per_path_max: usize::MAX,
            keeps_framing: true,
        });
        decoder.push(report.clone());
        let Ok(Some(Event::Head(head))) = decoder.next() else {
            return None;
        };
        let first = Uri::parse(head.to_path().first()?).ok()?;
        let authority = first.authority();
        let is_relay = authority.scheme == Scheme::Msrps
            && authority.port.is_some()
            && names.matches(&authority.host.to_string());
        is_relay.then_some(authority)
    }

    /// At the relay's home: by the connection that leads there, or a new one (D-07).
    pub(super) fn report_by_relay(
        &mut self,
        now: Instant,
        relay: Authority,
        octets: Bytes,
        code: u16,
    ) {
        let home = self.hash_key.home(&relay, self.workers);
        if home != self.shard {
            let report = Handoff::ReportOn {
                relay,
                octets,
                code,
            };
            return self.hand(home, report);
        }
        if !self.settings.allows_peer(&relay.host.to_string()) {
            return;
        }
        let known = self.known(&Hop::Relay(relay.clone()));
        let place = match known {
            Some(place) => place,
            None => match self.dial(now, relay, Verify::Relay, None) {
                Ok(connection) => Place {
                    shard: self.shard,
                    connection,
                },
                Err(_) => return,
            },
        };
        if place.shard != self.shard {
            let to = place.connection;
            return self.hand(place.shard, Handoff::Report { to, octets, code });
        }
        let room = self.settings.limits.control_octets;
        let has_room = self
            .connections
            .get(place.connection)
            .is_some_and(|connection| connection.egress.control_octets < room);
        if has_room {
            self.reported(place.connection, octets, code);
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
        self.tread_no_more(key);
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
        connection.named = None;
        self.recount_own(key);
        self.recount(key);
        if !stays {
            self.close(now, key, CloseReason::Unverified);
            self.deliver_ups(now);
            return;
        }
        self.give_up_other_names(now, key);
        self.deliver_ups(now);
    }

    /// A relay was dialled by a name that is let in, and has another one that is blocked.
    pub(super) fn is_blocked(&self, key: ConnectionKey, names: &VerifiedNames) -> bool {
        self.connections.get(key).is_some_and(|connection| {
            connection.is_to_relay() && !is_still_good(&self.settings, connection, names)
        })
    }

    /// What it was reached by and its certificate no longer names.
    fn give_up_other_names(&mut self, now: Instant, key: ConnectionKey) {
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
        self.recount_own(key);
        for hop in given_up {
            self.unreachable_by(now, hop, place, false);
        }
        self.count_served(key);
    }
}

/// The authorities besides the dialled one that its certificate vouches for.
fn also(connection: &Connection) -> Vec<Hop> {
    let (Some(dialled), Some(verify), Some(reached), Some(names)) = (
        &connection.dialled,
        connection.dialled_for,
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
            ..(**dialled).clone()
        })
        .filter(|authority| *authority != **dialled)
        .map(|authority| Hop::dialled(authority, verify))
        .collect()
}

impl VerifiedNames {
    /// Whether this host is named. An address is compared during the handshake alone: it holds as
    /// long as the chain does (TLS-09).
    pub(super) fn vouch_for(&self, host: &Host) -> bool {
        match host {
            Host::Name(name) => self.matches(name),
            Host::Ip(_) => true,
        }
    }
}

/// Whether a verified connection may stay under other settings or another certificate store.
fn is_still_good(settings: &Settings, connection: &Connection, names: &VerifiedNames) -> bool {
    match &connection.dialled {
        Some(dialled) => {
            // The target of an SRV record counts where the operator let it stand for its domain (D-14).
            let target = connection
                .reached
                .as_ref()
                .and_then(|r| r.target.as_deref());
            (names.vouch_for(&dialled.host) || target.is_some_and(|target| names.matches(target)))
                && (!connection.is_to_relay() || settings.lets_in(&dialled.host.to_string(), names))
        }
        None => settings.lets_in_some(names),
    }
}
