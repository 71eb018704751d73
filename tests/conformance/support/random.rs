//! Octets for bodies, and one place at a time for tests that need the machine.

use std::sync::{LazyLock, Mutex, MutexGuard};

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

/// The same seed gives the same octets.
pub struct Octets(ChaCha8Rng);

impl Octets {
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    pub fn fill(&mut self, octets: &mut [u8]) {
        self.0.fill_bytes(octets);
    }

    pub fn take(&mut self, count: usize) -> Vec<u8> {
        let mut octets = vec![0; count];
        self.fill(&mut octets);
        octets
    }
}

/// Tests that move many octets take turns, so that the clocks of the others stay honest.
pub fn heavy() -> MutexGuard<'static, ()> {
    static TURN: LazyLock<Mutex<()>> = LazyLock::new(|| Mutex::new(()));
    TURN.lock().unwrap_or_else(|e| e.into_inner())
}
