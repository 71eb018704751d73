//! The custody ledger: `taken = answered + reported + released + dropped + held`. The unit is
//! the incoming chunk.

use super::Traffic;
use super::labels::{Along, DropReason};

/// Sums of one shard, or of all.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Ledger {
    /// Chunks whose 200 was due.
    pub taken: u64,
    /// All their pieces have a 2xx.
    pub answered: u64,
    /// A piece failed and a REPORT went out.
    pub reported: u64,
    /// No answer was due.
    pub released: u64,
    /// A failure that may not or cannot be told, by [`DropReason`].
    pub dropped: [u64; DropReason::COUNT],
    /// Not yet any of these.
    pub held: u64,
    /// What of that counts for sessions, by [`Along`]: a chunk once for each session that it passed.
    pub sessions: [Traffic; Along::COUNT],
}

impl Ledger {
    /// Whether nothing was lost in silence.
    pub fn balanced(&self) -> bool {
        let dropped: u64 = self.dropped.iter().sum();
        self.taken == self.answered + self.reported + self.released + dropped + self.held
    }

    /// Takes in another shard's sums.
    pub fn add(&mut self, other: &Self) {
        self.taken += other.taken;
        self.answered += other.answered;
        self.reported += other.reported;
        self.released += other.released;
        for (sum, more) in self.dropped.iter_mut().zip(other.dropped) {
            *sum += more;
        }
        self.held += other.held;
        for (sum, more) in self.sessions.iter_mut().zip(&other.sessions) {
            sum.add(more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_that_vanishes_unbalances_the_ledger() {
        let mut ledger = Ledger {
            taken: 6,
            answered: 1,
            reported: 1,
            released: 1,
            held: 1,
            ..Ledger::default()
        };
        ledger.dropped[DropReason::SourceGone as usize] = 1;
        ledger.dropped[DropReason::FailureReportNo as usize] = 1;
        assert!(ledger.balanced());
        let mut both = ledger.clone();
        both.add(&ledger);
        assert!(both.balanced());
        ledger.held -= 1;
        assert!(!ledger.balanced());
    }
}
