//! The machine's own stream of random octets: ChaCha20 over a seed that the shard took from
//! the operating system. Same seed, same tokens and transact-ids: runs can be repeated.

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};

use crate::wire::TransactId;

/// A cryptographic generator (RFC 4975 §14.1, D-05).
pub struct Random(ChaCha20Rng);

impl Random {
    pub fn new(seed: [u8; 32]) -> Self {
        Self(ChaCha20Rng::from_seed(seed))
    }

    pub fn octets<const N: usize>(&mut self) -> [u8; N] {
        let mut octets = [0; N];
        self.0.fill_bytes(&mut octets);
        octets
    }

    /// 100 random bits: fresh for every request of every hop.
    pub fn transact_id(&mut self) -> TransactId {
        TransactId::from_halves([self.0.next_u64(), self.0.next_u64()])
    }
}
