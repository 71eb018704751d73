//! The highest count that each nonce was used with, so that no (nonce, nc) proves twice (D-18,
//! AUT-14). One per shard; a nonce belongs to the shard that its bits name (AUT-25).

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

/// Highest count of each nonce in use, kept by the shard that the nonce's bits name.
///
/// Only credentials that were right get here, so a stranger cannot fill it. A user can, with one
/// AUTH after the other; then the nonce that expires first is given up for the next one: from
/// there on it is refused, as is every unknown nonce that expires no later. So nothing can be
/// replayed, nobody is locked out, and under a flood nonces just live shorter.
pub struct NonceLedger {
    highest: HashMap<u128, u32>,
    /// When each may be forgotten, rising; never before it has expired.
    expiry: VecDeque<(Instant, u128)>,
    /// Unknown nonces that expire until then may have been given up.
    given_up: Option<Instant>,
    bound: usize,
}

impl NonceLedger {
    /// `bound`: nonces remembered, some 60 octets each.
    pub fn new(bound: usize) -> Self {
        Self {
            highest: HashMap::new(),
            expiry: VecDeque::new(),
            given_up: None,
            bound,
        }
    }

    /// Whether this use is the first with so high a count. If not, the nonce is stale.
    pub fn claim(&mut self, now: Instant, id: u128, nc: u32, expires: Instant) -> bool {
        self.forget_expired(now);
        if nc == 0 || expires <= now {
            return false;
        }
        if let Some(highest) = self.highest.get_mut(&id) {
            let rises = nc > *highest;
            *highest = nc.max(*highest);
            return rises;
        }
        if self.given_up.is_some_and(|until| expires <= until) || !self.make_room(expires) {
            return false;
        }
        // All nonces live equally long, so this is nearly always `expires` itself.
        let until = self
            .expiry
            .back()
            .map_or(expires, |(last, _)| expires.max(*last));
        self.expiry.push_back((until, id));
        self.highest.insert(id, nc);
        true
    }

    /// Nonces remembered.
    pub fn len(&self) -> usize {
        self.highest.len()
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.highest.is_empty()
    }

    fn forget_expired(&mut self, now: Instant) {
        while self.expiry.front().is_some_and(|(until, _)| *until <= now) {
            self.pop_oldest();
        }
    }

    /// At the bound, gives up the oldest for one that lives longer.
    fn make_room(&mut self, expires: Instant) -> bool {
        if self.highest.len() < self.bound {
            return true;
        }
        if self
            .expiry
            .front()
            .is_none_or(|(until, _)| *until >= expires)
        {
            return false;
        }
        self.given_up = self.pop_oldest();
        true
    }

    fn pop_oldest(&mut self) -> Option<Instant> {
        let (until, id) = self.expiry.pop_front()?;
        self.highest.remove(&id);
        Some(until)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;

    const LIFETIME: Duration = Duration::from_secs(300);

    #[test]
    fn aut_14_a_count_is_taken_once_and_must_rise() {
        let now = Instant::now();
        let expires = now + LIFETIME;
        let mut ledger = NonceLedger::new(2);
        assert!(!ledger.claim(now, 1, 0, expires), "counts begin at 1");
        assert!(ledger.claim(now, 1, 1, expires));
        assert!(!ledger.claim(now, 1, 1, expires));
        assert!(ledger.claim(now, 1, 5, expires));
        assert!(!ledger.claim(now, 1, 4, expires));
        assert!(ledger.claim(now, 2, u32::MAX, expires));
        assert!(!ledger.claim(now, 2, u32::MAX, expires));
        assert!(!ledger.claim(now, 3, 1, now), "expired");
    }

    #[test]
    fn expired_nonces_are_forgotten() {
        let now = Instant::now();
        let mut ledger = NonceLedger::new(10);
        for id in 0..10 {
            assert!(ledger.claim(now, id, 1, now + LIFETIME));
        }
        assert_eq!(ledger.len(), 10);
        assert!(ledger.claim(now + LIFETIME, 99, 1, now + 2 * LIFETIME));
        assert_eq!(ledger.len(), 1);
    }

    #[test]
    fn at_the_bound_the_oldest_is_refused_from_then_on_and_younger_ones_get_in() {
        let now = Instant::now();
        let at = |n: u64| now + LIFETIME + Duration::from_secs(n);
        let mut ledger = NonceLedger::new(2);
        assert!(ledger.claim(now, 1, 1, at(1)));
        assert!(ledger.claim(now, 2, 1, at(2)));
        assert!(
            !ledger.claim(now, 9, 1, at(1)),
            "no longer life than the oldest"
        );
        assert!(ledger.claim(now, 3, 1, at(3)));
        assert!(!ledger.claim(now, 1, 1, at(1)), "a replay");
        assert!(
            !ledger.claim(now, 1, 2, at(1)),
            "given up, though it was not used so"
        );
        assert!(ledger.claim(now, 2, 2, at(2)), "still known");
        assert_eq!(ledger.len(), 2);
        assert!(!NonceLedger::new(0).claim(now, 1, 1, at(1)));
    }

    /// However claims come, no pair is taken twice, and the bound holds.
    #[test]
    fn no_pair_is_ever_taken_twice() {
        for seed in 0..50 {
            let mut state = seed * 2 + 1;
            let mut next = move |n: u64| {
                state =
                    u64::wrapping_mul(state, 6_364_136_223_846_793_005).wrapping_add(seed * 2 + 1);
                (state >> 33) % n
            };
            let mut now = Instant::now();
            let mut ledger = NonceLedger::new(8);
            let mut nonces = Vec::new();
            let mut taken = HashSet::new();
            for id in 0..2000 {
                now += Duration::from_secs(next(10));
                // Minted with some skew, and used in any order.
                nonces.push((id, now + LIFETIME + Duration::from_secs(next(60))));
                let back = next(nonces.len().min(40) as u64) as usize;
                let (id, expires) = nonces[nonces.len() - 1 - back];
                let nc = 1 + next(3) as u32;
                if ledger.claim(now, id, nc, expires) {
                    assert!(taken.insert((id, nc)), "seed {seed}: {id} {nc} twice");
                    assert!(now < expires);
                }
                assert!(ledger.len() <= 8);
                assert_eq!(ledger.len(), ledger.expiry.len());
            }
            assert!(taken.len() > 300, "seed {seed}: {}", taken.len());
        }
    }
}
