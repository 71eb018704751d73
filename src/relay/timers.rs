//! The shard's timer wheel: everything that waits, but for transactions and sessions, which have
//! lists of their own. Entries are not cancelled; who is woken looks whether there is still a reason.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use super::keys::{ConnectionKey, RouteKey, TransactionKey};
use super::quotas::StandingKey;

/// What is due.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Timer {
    /// No success yet (RFC 4976 §6.1)?
    Probation(ConnectionKey),
    /// A message begun that does not go on (SEC-06)?
    Progress(ConnectionKey),
    /// Output that the kernel does not take (TMR-08)?
    Stall(ConnectionKey),
    /// Unused for long (CON-04)?
    Idle(ConnectionKey),
    /// A shared source was paused long enough for one session (FWD-16).
    SharedPause(RouteKey),
    /// A link was paused long enough for a session that is alone on it.
    LinkPause(RouteKey),
    /// A transaction whose timer stood still.
    Transaction(TransactionKey),
    /// A dial that waits for its turn.
    DialTurn(ConnectionKey),
    /// A subject whose bucket somebody waits for, or that may be forgotten.
    Quota(StandingKey),
    /// Chunks that were begun must end now: half of the drain time is over.
    DrainHalf,
    /// The drain time is over.
    DrainEnd,
}

const TICK_MILLIS: u64 = 16;
const TICK: Duration = Duration::from_millis(TICK_MILLIS);
const SLOTS: usize = 4096;

/// A wheel of 65 s at 16 ms; what lies further ahead waits in a heap. Never early, late by
/// at most one tick (TMR-07).
pub(super) struct Timers {
    origin: Instant,
    /// The next tick to be looked at.
    tick: u64,
    slots: Vec<Vec<Timer>>,
    /// One bit for each slot that holds something.
    occupied: Vec<u64>,
    far: BinaryHeap<Reverse<(u64, Timer)>>,
}

impl Timers {
    pub fn new(now: Instant) -> Self {
        Self {
            origin: now,
            tick: 0,
            slots: (0..SLOTS).map(|_| Vec::new()).collect(),
            occupied: vec![0; SLOTS / 64],
            far: BinaryHeap::new(),
        }
    }

    pub fn set(&mut self, at: Instant, timer: Timer) {
        let nanos = at.saturating_duration_since(self.origin).as_nanos();
        let tick = u64::try_from(nanos.div_ceil(TICK.as_nanos()))
            .unwrap_or(u64::MAX)
            .max(self.tick);
        if tick - self.tick >= SLOTS as u64 {
            self.far.push(Reverse((tick, timer)));
        } else {
            self.put(tick, timer);
        }
    }

    fn put(&mut self, tick: u64, timer: Timer) {
        let slot = tick as usize % SLOTS;
        self.slots[slot].push(timer);
        self.occupied[slot / 64] |= 1 << (slot % 64);
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        let near = self.next_occupied();
        let far = self.far.peek().map(|Reverse((tick, _))| *tick);
        let tick = match (near, far) {
            (Some(near), Some(far)) => near.min(far),
            (near, far) => near.or(far)?,
        };
        Some(self.at(tick))
    }

    /// When a tick begins. An `Instant` has room for the end of all ticks.
    fn at(&self, tick: u64) -> Instant {
        self.origin + Duration::from_millis(tick.saturating_mul(TICK_MILLIS))
    }

    fn next_occupied(&self) -> Option<u64> {
        let from = self.tick as usize % SLOTS;
        let words = self.occupied.len();
        for step in 0..=words {
            let word = (from / 64 + step) % words;
            let mut bits = self.occupied[word];
            if step == 0 {
                bits &= u64::MAX << (from % 64);
            } else if step == words {
                bits &= !(u64::MAX << (from % 64));
            }
            if bits != 0 {
                let slot = word * 64 + bits.trailing_zeros() as usize;
                let ahead = (slot + SLOTS - from) % SLOTS;
                return Some(self.tick + ahead as u64);
            }
        }
        None
    }

    /// Takes what is due at `now`, in order of time.
    pub fn due(&mut self, now: Instant, due: &mut Vec<Timer>) {
        let nanos = now.saturating_duration_since(self.origin).as_nanos();
        let until = u64::try_from(nanos / TICK.as_nanos()).unwrap_or(u64::MAX);
        loop {
            while self
                .far
                .peek()
                .is_some_and(|Reverse((tick, _))| *tick - self.tick < SLOTS as u64)
            {
                if let Some(Reverse((tick, timer))) = self.far.pop() {
                    self.put(tick, timer);
                }
            }
            let next = match (self.next_occupied(), self.far.peek()) {
                (Some(near), _) => near,
                (None, Some(Reverse((tick, _)))) => *tick,
                (None, None) => until + 1,
            };
            if next > until {
                self.tick = self.tick.max(until + 1).min(next);
                return;
            }
            self.tick = next;
            if next - self.tick < SLOTS as u64 {
                let slot = next as usize % SLOTS;
                if self.occupied[slot / 64] & (1 << (slot % 64)) != 0 {
                    self.occupied[slot / 64] &= !(1 << (slot % 64));
                    due.append(&mut self.slots[slot]);
                    self.slots[slot].shrink_to(16);
                    self.tick = next + 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::slots::Key;
    use super::*;

    fn probe(number: u32) -> Timer {
        Timer::Probation(ConnectionKey::new(number, 0))
    }

    #[test]
    fn tmr_07_timers_never_fire_early_and_at_most_a_tick_late() {
        let start = Instant::now();
        let mut timers = Timers::new(start);
        let waits: Vec<u64> = (0..400).map(|n| (n * 7919) % 180_000).collect();
        for (number, wait) in waits.iter().enumerate() {
            timers.set(start + Duration::from_millis(*wait), probe(number as u32));
        }
        let mut seen = 0;
        while let Some(at) = timers.next_deadline() {
            let mut due = Vec::new();
            timers.due(at, &mut due);
            assert!(!due.is_empty(), "woken for nothing at {:?}", at - start);
            for timer in due {
                let Timer::Probation(key) = timer else {
                    unreachable!()
                };
                let wanted = start + Duration::from_millis(waits[key.slot()]);
                assert!(at >= wanted && at - wanted <= TICK, "{:?}", at - wanted);
                seen += 1;
            }
        }
        assert_eq!(seen, waits.len());
    }

    /// TMR-07: a shard that has run for 795 days and longer wakes for what is due, and for nothing else.
    #[test]
    fn tmr_07_timers_are_in_time_after_2_to_the_32_ticks_and_after_10_years() {
        let ten_years = 10 * 366 * 86_400 * 1000 / TICK_MILLIS;
        for tick in [(1 << 32) - 1, 1 << 32, (1 << 32) + 1, ten_years] {
            let start = Instant::now();
            let mut timers = Timers::new(start);
            let now = start + Duration::from_millis(tick * TICK_MILLIS);
            let mut due = Vec::new();
            timers.due(now - TICK, &mut due);
            for (number, wait) in [0, 1, 16, 30_000, 86_400_000].into_iter().enumerate() {
                let wanted = now + Duration::from_millis(wait);
                timers.set(wanted, probe(number as u32));
                let at = timers.next_deadline().expect("it is set");
                assert!(at >= wanted && at - wanted <= TICK, "{tick} {wait}");
                timers.due(at - Duration::from_millis(1), &mut due);
                assert!(due.is_empty(), "{tick} {wait}");
                timers.due(at, &mut due);
                assert_eq!(due, vec![probe(number as u32)]);
                due.clear();
            }
        }
    }

    #[test]
    fn a_timer_set_in_the_past_is_due_at_once() {
        let start = Instant::now();
        let mut timers = Timers::new(start);
        let mut due = Vec::new();
        timers.due(start + Duration::from_secs(100), &mut due);
        timers.set(start + Duration::from_secs(1), probe(1));
        timers.due(start + Duration::from_secs(100) + TICK, &mut due);
        assert_eq!(due, vec![probe(1)]);
    }
}
