//! What sessions carried, in one direction.

/// Sums over chunks that were taken (see [`super::Ledger`]) and over REPORTs.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Traffic {
    /// Octets of the chunks' bodies.
    pub octets: u64,
    /// Chunks taken.
    pub chunks: u64,
    /// Chunks that were the last of their message (`$`).
    pub messages: u64,
    /// REPORTs.
    pub reports: u64,
    /// Chunks taken that failed: reported, or dropped because that may not or cannot be told.
    pub failed: u64,
}

impl Traffic {
    /// A chunk was taken.
    pub fn chunk(&mut self, octets: u64, ends_message: bool) {
        self.octets += octets;
        self.chunks += 1;
        self.messages += u64::from(ends_message);
    }

    /// Takes in what somebody else counted.
    pub fn add(&mut self, other: &Self) {
        self.octets += other.octets;
        self.chunks += other.chunks;
        self.messages += other.messages;
        self.reports += other.reports;
        self.failed += other.failed;
    }
}
