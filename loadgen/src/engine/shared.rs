//! What the threads of the engine and the display tell each other.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
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
    pub lost_connections: u64,
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
            lost_connections: 0,
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
    /// The measured stretch ends now, in order: somebody asked for it, or a threshold was broken.
    end: AtomicBool,
    /// Signals that the process has had; each asks to come to an end.
    signals: Arc<AtomicUsize>,
    /// What the user has made of the rate, as the bits of a factor.
    rate_factor: AtomicU64,
    pub live: Vec<Mutex<Live>>,
}

impl Shared {
    pub fn new(threads: usize, run: [u8; 3], signals: Arc<AtomicUsize>) -> Self {
        Self {
            epoch: Instant::now(),
            run,
            timeline: OnceLock::new(),
            threads_ready: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            end: AtomicBool::new(false),
            signals,
            rate_factor: AtomicU64::new(1_f64.to_bits()),
            live: (0..threads).map(|_| Mutex::default()).collect(),
        }
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Ends the measured stretch.
    pub fn end(&self) {
        self.end.store(true, Ordering::Relaxed);
    }

    pub fn is_ending(&self) -> bool {
        self.end.load(Ordering::Relaxed) || self.signals() > 0
    }

    pub fn signals(&self) -> usize {
        self.signals.load(Ordering::Relaxed)
    }

    pub fn rate_factor(&self) -> f64 {
        f64::from_bits(self.rate_factor.load(Ordering::Relaxed))
    }

    pub fn set_rate_factor(&self, factor: f64) {
        self.rate_factor.store(factor.to_bits(), Ordering::Relaxed);
    }
}
