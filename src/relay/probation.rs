//! Connections without a first success (RFC 4976 §6.1, CON-01), and which of them goes when there
//! are more than the operator allows: the oldest of the source prefix that holds most. Whoever
//! opens thousands from one address pushes out his own, and not who pauses before AUTH.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::keys::ConnectionKey;
use super::quotas::Prefix;

/// Those of one shard.
#[derive(Default)]
pub(super) struct Probation {
    entries: HashMap<ConnectionKey, (Prefix, u64)>,
    prefixes: HashMap<Prefix, BTreeMap<u64, ConnectionKey>>,
    /// How many each prefix has; of those with as many the one with the oldest comes last.
    ranks: BTreeSet<(usize, Reverse<u64>, Prefix)>,
    count: u64,
}

impl Probation {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn enter(&mut self, key: ConnectionKey, prefix: Prefix) {
        self.count += 1;
        self.put(key, prefix, self.count);
    }

    /// It turns out to come from somewhere else. It keeps its age.
    pub fn moves(&mut self, key: ConnectionKey, prefix: Prefix) {
        if let Some(number) = self.take(key) {
            self.put(key, prefix, number);
        }
    }

    /// It has passed, or is gone.
    pub fn leave(&mut self, key: ConnectionKey) {
        self.take(key);
    }

    /// The one that goes first.
    pub fn first_to_go(&self) -> Option<ConnectionKey> {
        let (_, Reverse(oldest), prefix) = self.ranks.last()?;
        self.prefixes.get(prefix)?.get(oldest).copied()
    }

    /// Lets memory go beyond room for so many.
    pub fn shrink_to(&mut self, kept: usize) {
        self.entries.shrink_to(kept);
        self.prefixes.shrink_to(kept);
    }

    fn put(&mut self, key: ConnectionKey, prefix: Prefix, number: u64) {
        self.entries.insert(key, (prefix, number));
        self.change(prefix, |of_prefix| {
            of_prefix.insert(number, key);
        });
    }

    fn take(&mut self, key: ConnectionKey) -> Option<u64> {
        let (prefix, number) = self.entries.remove(&key)?;
        self.change(prefix, |of_prefix| {
            of_prefix.remove(&number);
        });
        Some(number)
    }

    fn change(&mut self, prefix: Prefix, change: impl FnOnce(&mut BTreeMap<u64, ConnectionKey>)) {
        let of_prefix = self.prefixes.entry(prefix).or_default();
        if let Some(rank) = rank(prefix, of_prefix) {
            self.ranks.remove(&rank);
        }
        change(of_prefix);
        match rank(prefix, of_prefix) {
            Some(rank) => {
                self.ranks.insert(rank);
            }
            None => {
                self.prefixes.remove(&prefix);
            }
        }
    }
}

fn rank(
    prefix: Prefix,
    of_prefix: &BTreeMap<u64, ConnectionKey>,
) -> Option<(usize, Reverse<u64>, Prefix)> {
    let (oldest, _) = of_prefix.first_key_value()?;
    Some((of_prefix.len(), Reverse(*oldest), prefix))
}

#[cfg(test)]
mod tests {
    use super::super::slots::Key;
    use super::*;

    fn key(number: u32) -> ConnectionKey {
        ConnectionKey::new(number, 0)
    }

    #[test]
    fn con_05_the_prefix_with_most_loses_its_oldest_and_of_equals_the_oldest_goes() {
        let mut probation = Probation::default();
        for (number, prefix) in [(1, 9), (2, 7), (3, 8), (4, 7)] {
            probation.enter(key(number), Prefix::V4(prefix));
        }
        let mut order = Vec::new();
        while let Some(first) = probation.first_to_go() {
            order.push(first.slot());
            probation.leave(first);
        }
        assert_eq!(order, [2, 1, 3, 4]);
        assert!(probation.prefixes.is_empty() && probation.ranks.is_empty());
    }

    #[test]
    fn con_05_whoever_is_spoken_for_counts_for_himself_and_keeps_his_age() {
        let mut probation = Probation::default();
        for number in 1..=4 {
            probation.enter(key(number), Prefix::V4(1));
        }
        probation.moves(key(1), Prefix::V4(2));
        assert_eq!(probation.first_to_go(), Some(key(2)));
        probation.leave(key(2));
        probation.leave(key(3));
        assert_eq!(
            probation.first_to_go(),
            Some(key(1)),
            "the oldest of equals"
        );
        probation.moves(key(9), Prefix::V4(3));
        assert_eq!(probation.len(), 2, "nobody comes in by moving");
    }
}
