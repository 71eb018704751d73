//! Which shard keeps what is one for all shards: a keyed hash (SipHash), so that nobody outside can
//! choose names that all land on one shard, or that are taken for one another. The key is the same
//! on all shards of a process, and fixed in tests, where runs have to be repeated.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::keys::ShardId;

/// The key, from the operating system's generator.
#[derive(Clone, Copy)]
pub(super) struct HashKey([u8; 16]);

impl HashKey {
    pub fn new(key: [u8; 16]) -> Self {
        Self(key)
    }

    /// Over these parts, each with its length, so that no two lists of parts are one text.
    pub fn hash(&self, parts: &[&[u8]]) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        for part in parts {
            hasher.write_u64(part.len() as u64);
            hasher.write(part);
        }
        hasher.finish()
    }

    pub fn shard(&self, parts: &[&[u8]], workers: u16) -> ShardId {
        shard_of(self.hash(parts), workers)
    }
}

/// The shard that keeps what has this hash.
pub(super) fn shard_of(hash: u64, workers: u16) -> ShardId {
    ShardId((hash % u64::from(workers.max(1))) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What FNV-1a without a key spreads as whoever chooses the names wants.
    fn fnv(octets: &[u8]) -> u64 {
        octets.iter().fold(0xcbf2_9ce4_8422_2325, |hash, octet| {
            (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3)
        })
    }

    #[test]
    fn sec_06_names_chosen_for_one_shard_under_one_key_are_spread_under_another() {
        let mine = HashKey::new([1; 16]);
        let other = HashKey::new([2; 16]);
        let names = || (0_u32..).map(|n| format!("h{n}.example"));
        let of_fnv = names().filter(|name| fnv(name.as_bytes()) % 8 == 3);
        let of_other = names().filter(|name| other.shard(&[name.as_bytes()], 8).0 == 3);
        for chosen in [
            of_fnv.take(800).collect::<Vec<_>>(),
            of_other.take(800).collect(),
        ] {
            let mut on = [0; 8];
            for name in &chosen {
                on[usize::from(mine.shard(&[name.as_bytes()], 8).0)] += 1;
            }
            assert!(on.iter().all(|count| (50..=150).contains(count)), "{on:?}");
        }
    }

    #[test]
    fn parts_are_kept_apart() {
        let key = HashKey::new([7; 16]);
        assert_ne!(key.hash(&[b"ab", b"c"]), key.hash(&[b"a", b"bc"]));
        assert_eq!(key.hash(&[b"ab", b"c"]), key.hash(&[b"ab", b"c"]));
    }
}
