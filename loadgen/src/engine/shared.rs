//! What the threads of the engine and the display tell each other.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

use hdrhistogram::Histogram;

use super::record::histogram;

/// When the stretches of a run begin; fixed once every thread is ready.
#[derive(Clone, Copy, Debug)]
pub struct Timeline {
    pub start: Instant,
    pub measure_from: Instant,
    pub measure_until: Instant,
}

/// A thread's view for the display.
#[derive(Clone, Debug)]
pub struct Live {
    pub connections: usize,
    pub sent: u64,
    pub delivered: u64,
    pub acknowledged: u64,
    pub reported: u64,
    pub wrong: u64,
    pub octets: u64,
    pub unsettled: usize,
    /// Delivery latencies since the display last took them.
    pub recent: Histogram<u64>,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            connections: 0,
            sent: 0,
            delivered: 0,
            acknowledged: 0,
            reported: 0,
            wrong: 0,
            octets: 0,
            unsettled: 0,
            recent: histogram(),
        }
    }
}

pub struct Shared {
    pub epoch: Instant,
    pub run: [u8; 3],
    pub timeline: OnceLock<Timeline>,
    pub threads_ready: AtomicUsize,
    /// A thread cannot go on: all end now, with an account.
    stop: AtomicBool,
    pub live: Vec<Mutex<Live>>,
}

impl Shared {
    pub fn new(threads: usize, run: [u8; 3]) -> Self {
        Self {
            epoch: Instant::now(),
            run,
            timeline: OnceLock::new(),
            threads_ready: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            live: (0..threads).map(|_| Mutex::default()).collect(),
        }
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
