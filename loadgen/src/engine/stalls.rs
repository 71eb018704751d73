//! When this thread itself stood still: stopped, or without a core for long. Messages waited for us
//! then, and not for the relay.

/// A thread that looks this much later than it meant to has stood still.
pub const STALL_NANOS: u64 = 10_000_000;
/// More are added to the last one, so that the list stays short on a machine that has no time at all.
const STALLS_MAX: usize = 10_000;

/// Nanoseconds on the engine's clock, rising.
#[derive(Clone, Debug, Default)]
pub struct Stalls {
    list: Vec<(u64, u64)>,
    last_end: u64,
}

impl Stalls {
    pub fn push(&mut self, from: u64, to: u64) {
        self.last_end = to;
        let is_full = self.list.len() >= STALLS_MAX;
        match self.list.last_mut() {
            Some(last) if last.1 >= from || is_full => last.1 = to,
            _ => self.list.push((from, to)),
        }
    }

    /// From `from` to `to`, less the time that we stood still.
    pub fn awake(&self, from: u64, to: u64) -> u64 {
        let whole = to.saturating_sub(from);
        if from >= self.last_end {
            return whole;
        }
        whole.saturating_sub(self.within(from, to))
    }

    /// The time that we stood still between the two.
    pub fn within(&self, from: u64, to: u64) -> u64 {
        let first = self.list.partition_point(|stall| stall.1 <= from);
        let overlaps = self.list[first..].iter().take_while(|stall| stall.0 < to);
        overlaps
            .map(|stall| stall.1.min(to) - stall.0.max(from))
            .sum()
    }

    /// How often, and the longest time, between the two.
    pub fn count(&self, from: u64, to: u64) -> (u64, u64) {
        let inside = self
            .list
            .iter()
            .filter(|stall| stall.1 > from && stall.0 < to);
        inside.fold((0, 0), |(count, longest), stall| {
            (count + 1, longest.max(stall.1.min(to) - stall.0.max(from)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_we_stood_still_is_taken_off() {
        let mut stalls = Stalls::default();
        assert_eq!(stalls.awake(5, 25), 20);
        stalls.push(10, 20);
        stalls.push(40, 50);
        assert_eq!(stalls.awake(5, 25), 10);
        assert_eq!(stalls.awake(15, 18), 0);
        assert_eq!(stalls.awake(20, 40), 20);
        assert_eq!(stalls.awake(0, 100), 80);
        assert_eq!(stalls.awake(60, 70), 10);
        assert_eq!(stalls.count(15, 100), (2, 10));
        // One that goes on is one.
        stalls.push(50, 55);
        assert_eq!((stalls.count(0, 100), stalls.within(0, 100)), ((2, 15), 25));
    }
}
