//! Which connection leads where. Every authority has one home shard, found by hashing, which
//! knows the connection that serves it, on whatever shard, and dials if there is none: so one
//! connection serves all shards (FWD-08, CON-06, CON-08) without a table that they share. The
//! home also remembers whom it could not reach, so that a dead next hop is not dialled for
//! each request.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::wire::{Authority, Host, Scheme};

use super::handoff::Hop;
use super::keyed_hash::HashKey;
use super::keys::{Place, ShardId};
use super::memory::{hop_entry, host_entry};
use super::silent::Pulse;

/// What this shard knows as home.
#[derive(Default)]
pub(super) struct NextHops {
    /// The one that was heard last, or is being dialled, first.
    known: HashMap<Hop, Vec<Known>>,
    back_offs: BTreeMap<Hop, BackOff>,
    met: Met,
    /// What the two tables above hold, see [`octets`](Self::octets).
    octets: usize,
}

/// Hosts that were reached, the one that was for the last time longest ago first.
#[derive(Default)]
struct Met {
    hosts: HashMap<Host, u64>,
    order: VecDeque<(Host, u64)>,
    count: u64,
    /// What they hold.
    octets: usize,
}

impl Met {
    fn insert(&mut self, host: &Host) {
        self.count += 1;
        let octets = host_entry(host);
        if self.hosts.insert(host.clone(), self.count).is_none() {
            self.octets += octets;
        }
        self.order.push_back((host.clone(), self.count));
        self.octets += octets;
        while self.hosts.len() > MET_MAX || self.order.len() > 2 * MET_MAX {
            let Some((host, count)) = self.order.pop_front() else {
                return;
            };
            self.octets -= host_entry(&host);
            if self.hosts.get(&host) == Some(&count) {
                self.octets -= host_entry(&host);
                self.hosts.remove(&host);
            }
        }
    }
}

/// A connection to a next hop.
#[derive(Clone, Copy, Debug)]
struct Known {
    place: Place,
    /// It fell silent while an answer was due.
    silent: bool,
}

impl Known {
    fn of(place: Place) -> Self {
        Self {
            place,
            silent: false,
        }
    }

    fn place(&self) -> Place {
        self.place
    }
}

/// A next hop that could not be reached is left alone for a while.
#[derive(Debug)]
struct BackOff {
    until: Instant,
    /// How long the next one is.
    next: Duration,
}

/// Hosts that one shard remembers as reached: more than one relay has neighbours.
const MET_MAX: usize = 4096;
/// The first pause after a failed dial. It doubles with each further one.
const BACK_OFF: Duration = Duration::from_secs(1);
/// The longest: a relay that is back is found again within half a minute.
const BACK_OFF_MAX: Duration = Duration::from_secs(30);

/// Entries that a table keeps room for.
const KEPT: usize = 256;

impl BackOff {
    /// Another failure doubles its pause.
    fn is_fresh(&self, now: Instant) -> bool {
        now < self.until + BACK_OFF_MAX
    }
}

impl NextHops {
    /// Somebody is being dialled: no success yet.
    pub fn dialled(&mut self, hop: Hop, place: Place) {
        self.make_known(&hop);
        self.known
            .entry(hop)
            .or_default()
            .insert(0, Known::of(place));
    }

    /// Whoever makes itself known was heard just now.
    pub fn register(&mut self, hop: Hop, place: Place) {
        if matches!(hop, Hop::Relay(_) | Hop::LastHop(_)) {
            self.reached(&hop);
        }
        self.make_known(&hop);
        let known = self.known.entry(hop).or_default();
        known.retain(|known| known.place != place);
        known.insert(0, Known::of(place));
    }

    pub fn unregister(&mut self, hop: &Hop, place: Place) {
        let Some(known) = self.known.get_mut(hop) else {
            return;
        };
        known.retain(|known| known.place != place);
        if known.is_empty() {
            self.known.remove(hop);
            self.octets -= hop_entry(hop);
        }
    }

    fn make_known(&mut self, hop: &Hop) {
        if !self.known.contains_key(hop) {
            self.octets += hop_entry(hop);
        }
    }

    /// What all of it holds: of each entry its name and a fixed cost.
    pub fn octets(&self) -> usize {
        self.octets + self.met.octets
    }

    /// Panics unless a count of all comes to the same.
    pub fn assert_octets(&self) {
        let hops = self.known.keys().chain(self.back_offs.keys());
        assert_eq!(
            hops.map(hop_entry).sum::<usize>(),
            self.octets,
            "of next hops"
        );
        let met = self.met.order.iter().map(|(host, _)| host);
        let met = met.chain(self.met.hosts.keys()).map(host_entry);
        assert_eq!(
            met.sum::<usize>(),
            self.met.octets,
            "of hosts that were reached"
        );
    }

    /// Forgets failed dials that nobody asks for any more, and gives back room.
    pub fn give_back(&mut self, now: Instant) {
        self.forget_old(now);
        self.known.shrink_to(KEPT);
        self.met.hosts.shrink_to(KEPT);
        self.met.order.shrink_to(KEPT);
    }

    fn forget_old(&mut self, now: Instant) {
        let octets = &mut self.octets;
        self.back_offs.retain(|hop, back_off| {
            let stays = back_off.is_fresh(now);
            if !stays {
                *octets -= hop_entry(hop);
            }
            stays
        });
    }

    /// One of its connections was heard, or fell silent (D-41).
    pub fn pulse(&mut self, hop: &Hop, place: Place, pulse: Pulse) {
        let Some(known) = self.known.get_mut(hop) else {
            return;
        };
        let Some(at) = known.iter().position(|known| known.place == place) else {
            return;
        };
        match pulse {
            Pulse::Silent => known[at].silent = true,
            Pulse::Heard => {
                known[at].silent = false;
                known[..=at].rotate_right(1);
            }
        }
    }

    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// All connections to it, if there are several.
    pub fn several(&self, hop: &Hop) -> Vec<Place> {
        let known = self.known.get(hop).filter(|known| known.len() > 1);
        known
            .into_iter()
            .flatten()
            .map(|known| known.place)
            .collect()
    }

    /// The connection that was heard last of those that are up; if none is, one that is being dialled.
    pub fn find(&self, hop: &Hop, is_up: impl Fn(Place) -> bool) -> Option<Place> {
        let known = self.known.get(hop)?;
        self.find_sure(hop, &is_up)
            .or_else(|| {
                known
                    .iter()
                    .find(|known| is_up(known.place))
                    .map(Known::place)
            })
            .or(known.first().map(Known::place))
    }

    /// The same without those that fell silent.
    pub fn find_sure(&self, hop: &Hop, is_up: impl Fn(Place) -> bool) -> Option<Place> {
        let sure = || {
            self.known
                .get(hop)
                .into_iter()
                .flatten()
                .filter(|known| !known.silent)
        };
        sure()
            .find(|known| is_up(known.place))
            .or_else(|| sure().next())
            .map(Known::place)
    }

    /// How many connections to it fell silent.
    pub fn silent(&self, hop: &Hop) -> usize {
        let known = self.known.get(hop).into_iter().flatten();
        known.filter(|known| known.silent).count()
    }

    pub fn is_silent(&self, hop: &Hop, place: Place) -> bool {
        let mut known = self.known.get(hop).into_iter().flatten();
        known.any(|known| known.place == place && known.silent)
    }

    /// Whether a dial failed so recently that another one would only cost time.
    pub fn is_backing_off(&self, now: Instant, hop: &Hop) -> bool {
        self.back_offs
            .get(hop)
            .is_some_and(|back_off| now < back_off.until)
    }

    /// A dial failed. `jitter` of 256 keeps shards and relays from knocking in step. At most
    /// `bound` are remembered; the one that ends first is forgotten first.
    pub fn not_reached(&mut self, now: Instant, hop: Hop, jitter: u8, bound: usize) {
        let known = self.back_offs.get(&hop);
        let pause = match known.filter(|known| known.is_fresh(now)) {
            Some(known) => known.next,
            None => BACK_OFF,
        };
        if self.back_offs.len() >= bound {
            self.forget_old(now);
        }
        if self.back_offs.len() >= bound && !self.back_offs.contains_key(&hop) {
            let first = self.back_offs.iter().min_by_key(|(_, known)| known.until);
            if let Some(first) = first.map(|(hop, _)| hop.clone()) {
                self.forget_back_off(&first);
            }
        }
        let jitter = pause / 4 * u32::from(jitter) / 256;
        let back_off = BackOff {
            until: now + pause + jitter,
            next: (pause * 2).min(BACK_OFF_MAX),
        };
        let octets = hop_entry(&hop);
        if self.back_offs.insert(hop, back_off).is_none() {
            self.octets += octets;
        }
    }

    fn forget_back_off(&mut self, hop: &Hop) {
        if self.back_offs.remove(hop).is_some() {
            self.octets -= hop_entry(hop);
        }
    }

    /// It can be reached after all.
    pub fn reached(&mut self, hop: &Hop) {
        self.forget_back_off(hop);
        self.met.insert(&hop.authority().host);
    }

    /// Whether this host was reached before, on whatever port.
    pub fn has_met(&self, host: &Host) -> bool {
        self.met.hosts.contains_key(host)
    }
}

impl HashKey {
    /// The home of an authority: the same on every shard.
    pub fn home(&self, authority: &Authority, workers: u16) -> ShardId {
        let scheme: &[u8] = match authority.scheme {
            Scheme::Msrp => b"p",
            Scheme::Msrps => b"s",
        };
        let address;
        let host = match &authority.host {
            Host::Name(name) => name.as_bytes(),
            Host::Ip(ip) => {
                address = ip.to_string();
                address.as_bytes()
            }
        };
        let port = authority.port.unwrap_or(0).to_be_bytes();
        let transport = authority.transport.as_bytes();
        self.shard(&[scheme, host, &port, transport], workers)
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::ConnectionKey;
    use super::super::slots::Key;
    use super::*;
    use crate::wire::Uri;

    fn hop(number: u32) -> Hop {
        let uri = format!("msrps://r{number}.example.net:2855/t;tcp");
        let uri = Uri::parse(uri.as_bytes()).expect("well-formed");
        Hop::Relay(uri.authority())
    }

    fn place(slot: u32) -> Place {
        Place {
            shard: ShardId(0),
            connection: ConnectionKey::new(slot, 0),
        }
    }

    #[test]
    fn d_41_the_connection_that_was_heard_last_serves_and_a_silent_one_comes_last() {
        let mut hops = NextHops::default();
        let any = |_: Place| true;
        hops.register(hop(1), place(1));
        hops.register(hop(1), place(2));
        assert_eq!(hops.find(&hop(1), any), Some(place(2)));
        assert_eq!(hops.find(&hop(1), |up| up == place(1)), Some(place(1)));
        assert_eq!(hops.find(&hop(1), |_| false), Some(place(2)));
        hops.pulse(&hop(1), place(1), Pulse::Heard);
        assert_eq!(hops.find_sure(&hop(1), any), Some(place(1)));
        hops.pulse(&hop(1), place(1), Pulse::Silent);
        assert_eq!(hops.find_sure(&hop(1), any), Some(place(2)));
        hops.pulse(&hop(1), place(2), Pulse::Silent);
        assert_eq!(hops.find_sure(&hop(1), any), None);
        assert_eq!(hops.silent(&hop(1)), 2);
        assert_eq!(hops.find(&hop(1), any), Some(place(1)), "better than none");
        hops.pulse(&hop(1), place(2), Pulse::Heard);
        assert_eq!(hops.find_sure(&hop(1), any), Some(place(2)));
        assert_eq!(hops.several(&hop(1)), [place(2), place(1)]);
        hops.unregister(&hop(1), place(2));
        assert_eq!(hops.find(&hop(1), any), Some(place(1)));
        assert_eq!(hops.several(&hop(1)), []);
        hops.unregister(&hop(1), place(1));
        assert_eq!(hops.len(), 0);
    }

    #[test]
    fn a_back_off_doubles_to_half_a_minute_and_success_ends_it() {
        let mut hops = NextHops::default();
        let mut now = Instant::now();
        let mut lasted = Vec::new();
        for _ in 0..7 {
            hops.not_reached(now, hop(1), 0, 8);
            let began = now;
            while hops.is_backing_off(now, &hop(1)) {
                now += Duration::from_secs(1);
            }
            lasted.push((now - began).as_secs());
        }
        assert_eq!(lasted, [1, 2, 4, 8, 16, 30, 30]);
        hops.reached(&hop(1));
        hops.not_reached(now, hop(1), 255, 8);
        assert!(hops.is_backing_off(now + Duration::from_millis(1200), &hop(1)));
        assert!(!hops.is_backing_off(now + Duration::from_millis(1250), &hop(1)));
        now += BACK_OFF + BACK_OFF_MAX * 2;
        hops.not_reached(now, hop(1), 0, 8);
        assert!(!hops.is_backing_off(now + BACK_OFF, &hop(1)), "long ago");
    }

    #[test]
    fn sec_07_the_memory_of_failed_dials_is_bounded() {
        let mut hops = NextHops::default();
        let now = Instant::now();
        for number in 0..100 {
            let at = now + Duration::from_millis(u64::from(number));
            hops.not_reached(at, hop(number), 0, 8);
            assert!(hops.back_offs.len() <= 8);
        }
        let soon = now + Duration::from_millis(100);
        assert!(!hops.is_backing_off(soon, &hop(0)));
        assert!(hops.is_backing_off(soon, &hop(99)));
    }
}
