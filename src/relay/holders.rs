//! Who makes this shard remember how much, and who may go on once memory is short (SEC-06, SEC-07).
//!
//! A connection is charged to a *party*: the user whose session it holds, the relay that it speaks for, or else the
//! source prefix that it comes from. Whoever opens many connections is one party all the same. Below three quarters of the
//! total nobody is asked for more than the share of a connection. Above them only those go on that hold no more than a fair
//! share, and the last parts are kept for those who have proved who they are:
//!
//! | in use, up to | who may make us remember more |
//! |---|---|
//! | 3/4 | everybody |
//! | 7/8 | every party that holds less than a fair share |
//! | 15/16 | the same, if it is a user or a relay |
//! | all of it | relays that hold less than an eighth of it |

use std::collections::HashMap;
use std::sync::Arc;

use super::Relay;
use super::connection::Connection;
use super::keyed_hash::HashKey;
use super::keys::ConnectionKey;
use super::quotas::Prefix;
use super::session::Holder;

/// What a party may hold when memory is short, however many parties there are: a session, and a few
/// routes and requests.
pub(super) const FAIR_OCTETS: usize = 16_384;

/// What is known of a party.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Rank {
    /// It comes from somewhere.
    Stranger,
    /// It has proved to be a user.
    User,
    /// A verified relay, which carries many.
    Relay,
}

/// To whom something is charged: a hash of its name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Party {
    pub rank: Rank,
    hash: u64,
}

impl Party {
    /// Nobody is known yet.
    pub const UNKNOWN: Self = Self {
        rank: Rank::Stranger,
        hash: 0,
    };

    pub fn user(key: &HashKey, user: &str, realm: &str) -> Self {
        Self {
            rank: Rank::User,
            hash: key.hash(&[b"held by", user.as_bytes(), realm.as_bytes()]),
        }
    }

    pub fn relay(key: &HashKey, name: &str) -> Self {
        Self {
            rank: Rank::Relay,
            hash: key.hash(&[b"held by", name.as_bytes()]),
        }
    }

    fn source(key: &HashKey, prefix: Prefix) -> Self {
        Self {
            rank: Rank::Stranger,
            hash: key.hash(&[b"held by", &prefix.octets()]),
        }
    }
}

/// Of one party.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Holding {
    octets: usize,
    connections: usize,
}

/// What each party holds; those that hold nothing and have no connection are not known.
#[derive(Default)]
pub(super) struct Holders {
    parties: HashMap<Party, Holding>,
}

impl Holders {
    /// What the party holds.
    pub fn octets(&self, party: Party) -> usize {
        self.parties.get(&party).map_or(0, |holding| holding.octets)
    }

    /// How many parties there are.
    pub fn len(&self) -> usize {
        self.parties.len()
    }

    pub fn add(&mut self, party: Party, octets: usize) {
        if octets > 0 {
            self.parties.entry(party).or_default().octets += octets;
        }
    }

    pub fn take(&mut self, party: Party, octets: usize) {
        if octets > 0 {
            self.change(party, |holding| holding.octets -= octets);
        }
    }

    /// A connection is charged to it, with what it holds already.
    pub fn enter(&mut self, party: Party, octets: usize) {
        let holding = self.parties.entry(party).or_default();
        holding.connections += 1;
        holding.octets += octets;
    }

    /// It is not any more.
    pub fn leave(&mut self, party: Party, octets: usize) {
        self.change(party, |holding| {
            holding.connections -= 1;
            holding.octets -= octets;
        });
    }

    pub fn shrink_to(&mut self, kept: usize) {
        self.parties.shrink_to(kept);
    }

    fn change(&mut self, party: Party, change: impl FnOnce(&mut Holding)) {
        let Some(holding) = self.parties.get_mut(&party) else {
            debug_assert!(false, "a party that is charged is known");
            return;
        };
        change(holding);
        if *holding == Holding::default() {
            self.parties.remove(&party);
        }
    }
}

/// The steps of one shard's part of the total.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steps {
    /// So much is for everybody.
    pub free: usize,
    strangers: usize,
    users: usize,
    all: usize,
}

impl Steps {
    pub fn of(total: usize, workers: u16) -> Self {
        let all = total / usize::from(workers.max(1));
        Self {
            free: all - all / 4,
            strangers: all - all / 8,
            users: all - all / 16,
            all,
        }
    }
}

impl Relay {
    /// Memory is short: whoever asks for more is looked at.
    #[inline]
    pub(super) fn is_memory_short(&self) -> bool {
        self.remembered() >= self.memory_steps.free
    }

    /// What each party may hold while memory is short.
    pub(super) fn fair_octets(&self) -> usize {
        let each = self.memory_steps.all / 8 / self.holders.len().max(1);
        each.max(FAIR_OCTETS)
    }

    /// Whether there is room for so much more for a party that would then hold `holds` in all.
    pub(super) fn has_room_for(&self, rank: Rank, octets: usize, holds: usize) -> bool {
        let steps = &self.memory_steps;
        let used = self.remembered() + octets;
        let of_rank = match rank {
            Rank::Stranger => steps.strangers,
            Rank::User | Rank::Relay => steps.users,
        };
        used <= steps.free
            || (used <= of_rank && holds <= self.fair_octets())
            || (rank == Rank::Relay && used <= steps.all && holds <= steps.all / 8)
    }

    /// To whom this connection is charged, as far as is known of it now.
    fn party_of(&self, connection: &Connection) -> Party {
        let key = &self.hash_key;
        if connection.speaks_for_many() {
            let named = connection.named.as_ref().and_then(|n| n.relay.as_deref());
            let dialled = connection.dialled.as_ref().map(|d| d.host.to_string());
            return Party::relay(key, named.or(dialled.as_deref()).unwrap_or_default());
        }
        if connection.party.rank == Rank::User {
            return connection.party;
        }
        let first = connection.sessions.first();
        if let Some(session) = first.and_then(|session| self.sessions.get(*session)) {
            return Party::user(key, &session.user, &session.realm);
        }
        match connection.remote {
            Some(remote) => Party::source(key, Prefix::of(remote)),
            None => Party::UNKNOWN,
        }
    }

    /// More may be known of whom this connection is to be charged to.
    pub(super) fn settle_party(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        let party = self.party_of(connection);
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let before = std::mem::replace(&mut connection.party, party);
        if before != party {
            let octets = connection.remembered;
            self.holders.leave(before, octets);
            self.holders.enter(party, octets);
        }
    }

    /// To whom a session is charged that outlives its connections.
    pub(super) fn party_of_relay(&self, name: &Arc<str>) -> Party {
        Party::relay(&self.hash_key, name)
    }
}

impl Relay {
    /// Panics unless a count of all comes to the same.
    pub(super) fn assert_holders(&self) {
        let mut counted = Holders::default();
        for (_, connection) in self.connections.iter() {
            counted.enter(connection.party, connection.remembered);
        }
        let ending = self.ending.values().map(|(session, ..)| session);
        for session in self.sessions.iter().chain(ending) {
            if let Holder::Relay(name) = &session.holder {
                counted.add(self.party_of_relay(name), session.memory());
            }
        }
        assert_eq!(
            counted.parties, self.holders.parties,
            "what each party holds"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_party_is_known_while_it_holds_something_or_has_a_connection() {
        let key = HashKey::new([1; 16]);
        let alice = Party::user(&key, "alice", "example.com");
        let mut holders = Holders::default();
        holders.enter(alice, 0);
        holders.add(alice, 100);
        holders.enter(alice, 50);
        assert_eq!(holders.octets(alice), 150);
        holders.leave(alice, 50);
        holders.take(alice, 100);
        assert_eq!((holders.octets(alice), holders.len()), (0, 1));
        holders.leave(alice, 0);
        assert_eq!(holders.len(), 0);
    }

    #[test]
    fn the_same_name_as_user_and_as_relay_is_two_parties() {
        let key = HashKey::new([1; 16]);
        let user = Party::user(&key, "r2.example.com", "");
        assert_ne!(user, Party::relay(&key, "r2.example.com"));
    }
}
