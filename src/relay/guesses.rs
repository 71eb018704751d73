//! Failed AUTHs, counted by whom they came from and whom they were for (AUT-22, SEC-06).
//!
//! A connection is closed after a few; a new one costs a guesser a handshake and no more. So
//! failures count, too, for the source prefix whatever the user, for the user whatever the source,
//! and for both together. The shard that keeps a count tells all others once it is used up, and
//! until it has drained AUTHs from there are answered 408 without being judged.
//!
//! Nobody can lock a user out by this from where he has not failed himself: what the user's own
//! count stops, once it is used up, is each source that has failed for him in the last moments,
//! after one failure instead of many. Users are known by a keyed hash here, whether they exist or
//! not.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

use super::Relay;
use super::handoff::Handoff;
use super::keyed_hash::shard_of;
use super::keys::{ConnectionKey, ShardId};
use super::quotas::Prefix;
use crate::auth::Authorization;
use crate::metrics::RefusalReason;
use crate::wire::Head;

/// A failure on this connection counts towards its end for so long.
pub(super) const REMEMBERED: Duration = Duration::from_secs(600);

/// A failed AUTH at the shard that counts it.
#[derive(Clone, Copy, Debug)]
pub enum Guess {
    /// Of a source prefix, by its hash.
    Prefix(u64),
    /// Of a user, and of the user from that source, by their hashes.
    User { user: u64, both: u64 },
}

/// Whom an AUTH is for and whom it comes from.
#[derive(Clone, Copy, Debug)]
struct Guesser {
    user: u64,
    both: u64,
    /// Of a client.
    prefix: Option<u64>,
}

/// When a count that drains evenly will have drained. It holds `most` failures in a `window`.
#[derive(Clone, Copy, Debug)]
struct Drained(Instant);

impl Drained {
    fn new(now: Instant) -> Self {
        Self(now)
    }

    /// One more. If that was the last that fits: until when there is no room for another.
    fn count(&mut self, now: Instant, most: u32, window: Duration) -> Option<Instant> {
        if most == 0 {
            return None;
        }
        let one = window / most;
        self.0 = self.0.max(now) + one;
        let room = self.0.checked_sub(one * (most - 1)).unwrap_or(now);
        (room > now).then_some(room)
    }
}

/// A table that forgets what was put into it first.
pub(super) struct Recent<K, V> {
    entries: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K: Copy + Eq + Hash, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            order: VecDeque::new(),
        }
    }
}

impl<K: Copy + Eq + Hash, V> Recent<K, V> {
    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }

    pub fn get_or_insert(&mut self, key: K, bound: usize, new: V) -> &mut V {
        if !self.entries.contains_key(&key) {
            while self.order.len() >= bound.max(1)
                && let Some(first) = self.order.pop_front()
            {
                self.entries.remove(&first);
            }
            self.order.push_back(key);
        }
        self.entries.entry(key).or_insert(new)
    }

    /// Those at the front that are over.
    fn forget_while(&mut self, over: impl Fn(&V) -> bool) {
        while let Some(first) = self.order.front()
            && self.entries.get(first).is_none_or(&over)
        {
            self.entries.remove(first);
            self.order.pop_front();
        }
    }
}

/// Of one shard.
#[derive(Default)]
pub(super) struct Guesses {
    /// What this shard counts.
    counts: Recent<u64, Drained>,
    /// Whose AUTHs are not judged, and until when; the same on all shards.
    stopped: Recent<u64, Instant>,
}

impl Guesses {
    /// Counts and stops that are kept.
    pub fn len(&self) -> usize {
        self.counts.entries.len() + self.stopped.entries.len()
    }

    fn stops(&self, now: Instant, key: u64) -> bool {
        let until = self.stopped.entries.get(&key);
        until.is_some_and(|until| now < *until)
    }
}

impl Relay {
    fn guesser(&self, key: ConnectionKey, head: &Head) -> Option<Guesser> {
        let connection = self.connections.get(key)?;
        let credentials = Authorization::parse(head.authorization()?).ok()??;
        let (name, realm) = (
            credentials.username.as_bytes(),
            credentials.realm.as_bytes(),
        );
        let hash = |parts: &[&[u8]]| self.hash_key.hash(parts);
        let user = hash(&[b"guessed", name, realm]);
        let relay = self.relay_name(key, head);
        let prefix = connection.remote.map(|remote| Prefix::of(remote).octets());
        let (both, prefix) = match (&relay, &prefix) {
            // It speaks for many addresses.
            (Some(relay), _) => (hash(&[b"from relay", name, realm, relay.as_bytes()]), None),
            (None, Some(prefix)) => {
                let both = hash(&[b"from prefix", name, realm, prefix]);
                (both, Some(hash(&[b"prefix", prefix])))
            }
            (None, None) => (user, None),
        };
        Some(Guesser { user, both, prefix })
    }

    /// Too many AUTHs have failed: this one is answered without a look at its credentials.
    pub(super) fn is_stopped(&mut self, now: Instant, key: ConnectionKey, head: &Head) -> bool {
        self.guesses.stopped.forget_while(|until| *until <= now);
        self.recount_tables();
        if self.guesses.stopped.entries.is_empty() {
            return false;
        }
        let Some(guesser) = self.guesser(key, head) else {
            return false;
        };
        let stopped = [Some(guesser.both), guesser.prefix];
        let mut stopped = stopped.into_iter().flatten();
        if !stopped.any(|key| self.guesses.stops(now, key)) {
            return false;
        }
        self.metrics.refusal(RefusalReason::AuthRate);
        self.answer_other(key, head, 408, &[]);
        self.request_failed(now, key);
        true
    }

    /// Credentials were wrong: counts them everywhere, and ends a client's connection after
    /// several (AUT-22).
    pub(super) fn guessed(&mut self, now: Instant, key: ConnectionKey, head: &Head) {
        let guesser = self.guesser(key, head);
        if let Some(Guesser { user, both, prefix }) = guesser {
            let home = shard_of(user, self.workers);
            self.guess_to(now, home, Guess::User { user, both });
            if let Some(prefix) = prefix {
                let home = shard_of(prefix, self.workers);
                self.guess_to(now, home, Guess::Prefix(prefix));
            }
        }
        self.auth_failed(now, key, guesser.map_or(0, |guesser| guesser.user));
    }

    /// Credentials were right: what failed for this user on this connection is forgotten, and for
    /// no other one.
    pub(super) fn guessed_right(&mut self, key: ConnectionKey, user: &str, realm: &str) {
        let parts = [b"guessed".as_slice(), user.as_bytes(), realm.as_bytes()];
        let user = self.hash_key.hash(&parts);
        if let Some(connection) = self.connections.get_mut(key) {
            connection
                .failed_auths
                .retain(|(failed, _)| *failed != user);
        }
    }

    fn guess_to(&mut self, now: Instant, home: ShardId, guess: Guess) {
        if home == self.shard {
            self.count_guess(now, guess);
        } else {
            self.hand(home, Handoff::Guess(guess));
        }
    }

    /// At the shard that counts for it.
    pub(super) fn count_guess(&mut self, now: Instant, guess: Guess) {
        let limits = &self.settings.limits;
        let (window, bound) = (limits.auth_failures_window, limits.auth_failures_remembered);
        let counts = &mut self.guesses.counts;
        counts.forget_while(|drained| drained.0 <= now);
        let mut count = |key: u64, most: u32| {
            let drained = counts.get_or_insert(key, bound, Drained::new(now));
            (drained.count(now, most, window), drained.0)
        };
        let stop = match guess {
            Guess::Prefix(prefix) => {
                let (until, _) = count(prefix, limits.auth_failures_per_prefix);
                until.map(|until| (prefix, until))
            }
            Guess::User { user, both } => {
                let (until, drained) = count(both, limits.auth_failures_per_user_and_prefix);
                let (used_up, _) = count(user, limits.auth_failures_per_user);
                // Whoever has not failed for him is not stopped by what others did.
                until
                    .or(used_up.and(Some(drained)))
                    .map(|until| (both, until))
            }
        };
        self.recount_tables();
        if let Some((key, until)) = stop {
            self.stop_guesses(key, until);
            let own = self.shard;
            let others = (0..self.workers).map(ShardId);
            for other in others.filter(|other| *other != own) {
                self.hand(other, Handoff::StopGuesses { key, until });
            }
        }
    }

    /// Until then AUTHs of this source, or of this user from there, are not judged.
    pub(super) fn stop_guesses(&mut self, key: u64, until: Instant) {
        let bound = self.settings.limits.auth_failures_remembered;
        let stopped = &mut self.guesses.stopped;
        *stopped.get_or_insert(key, bound, until) = until;
        self.recount_tables();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_holds_so_many_in_a_window_and_drains_evenly() {
        let began = Instant::now();
        let window = Duration::from_secs(600);
        let mut drained = Drained::new(began);
        let counts: Vec<bool> = (0..61)
            .map(|_| drained.count(began, 60, window).is_some())
            .collect();
        let full = counts.iter().position(|full| *full);
        assert_eq!(full, Some(59), "the sixtieth is the last for now");
        let mut drained = Drained::new(began);
        let mut now = began;
        let mut judged = 0;
        while now < began + Duration::from_secs(6000) {
            judged += 1;
            if let Some(until) = drained.count(now, 60, window) {
                now = until;
            }
        }
        assert!((658..=661).contains(&judged), "{judged} in 100 minutes");
        assert_eq!(drained.count(now, 0, window), None, "0 is no bound");
    }

    #[test]
    fn sec_07_what_is_remembered_is_bounded_and_what_is_over_goes() {
        let now = Instant::now();
        let mut recent: Recent<u64, Instant> = Recent::default();
        for key in 0..100 {
            *recent.get_or_insert(key, 8, now) = now + Duration::from_secs(key);
            *recent.get_or_insert(key, 8, now) = now + Duration::from_secs(key);
        }
        assert_eq!((recent.entries.len(), recent.order.len()), (8, 8));
        let later = now + Duration::from_secs(95);
        recent.forget_while(|until| *until <= later);
        assert_eq!((recent.entries.len(), recent.order.len()), (4, 4));
    }
}
