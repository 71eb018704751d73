//! Numbers as plain data, and their text: counters, gauges and histograms of one shard, merged
//! at a scrape. Nothing here knows a thread or a clock.

mod histogram;
mod labels;
mod ledger;
mod render;
mod traffic;

pub use histogram::{Histogram, Quantiles};
pub use labels::{
    Along, CloseReason, Direction, DropReason, LookUpLabel, MethodLabel, OddResponse, QuotaLabel,
    RefusalReason, ReportOrigin, RoleLabel, SubjectLabel, TransportLabel,
};
pub use ledger::Ledger;
pub use render::{
    Facts, ProcessMetrics, RecordTotals, ShardSnapshot, forward_total, histograms_json, render,
};
pub use traffic::Traffic;

/// Response and status codes that have a label of their own; all others count as `other`.
pub(crate) const CODES: [u16; 13] = [
    200, 400, 401, 403, 408, 413, 415, 423, 425, 426, 481, 501, 506,
];

fn code_index(code: u16) -> usize {
    CODES
        .iter()
        .position(|known| *known == code)
        .unwrap_or(CODES.len())
}

/// The numbers of one shard.
#[derive(Clone, Default)]
pub struct ShardMetrics {
    pub(crate) requests: [[u64; Direction::COUNT]; MethodLabel::COUNT],
    pub(crate) responses: [[u64; Direction::COUNT]; CODES.len() + 1],
    pub(crate) reports: [[u64; ReportOrigin::COUNT]; CODES.len() + 1],
    pub(crate) odd_responses: [u64; OddResponse::COUNT],
    pub(crate) refusals: [u64; RefusalReason::COUNT],
    pub(crate) look_ups: [u64; LookUpLabel::COUNT],
    pub(crate) quotas: [[u64; QuotaLabel::COUNT]; SubjectLabel::COUNT],
    pub(crate) closed: [u64; CloseReason::COUNT],
    /// Connections by transport and role.
    pub connections: [[u64; RoleLabel::COUNT]; TransportLabel::COUNT],
    /// The custody ledger.
    pub ledger: Ledger,
    /// MSRP octets received, decrypted.
    pub octets_in: u64,
    /// MSRP octets sent, before encryption.
    pub octets_out: u64,
    /// How often a source was not read because of what was queued of it.
    pub pauses: u64,
    /// Transactions with `Failure-Report: partial` that were forgotten at their bound.
    pub forgotten: u64,
    /// CRLF between messages.
    pub crlf_skipped: u64,
    /// Messages handed to other shards.
    pub handoffs: u64,
    /// Live sessions.
    pub sessions: u64,
    /// Last octet of a chunk received to its last octet handed to the kernel.
    pub forward_duration: Histogram,
    /// The next hop's answer time.
    pub transaction_duration: Histogram,
    /// TCP accepted (or dialled) to TLS established.
    pub handshake_duration: Histogram,
    /// AUTH received to answered.
    pub auth_duration: Histogram,
    /// One batch of completions and its follow-up.
    pub loop_duration: Histogram,
}

impl ShardMetrics {
    /// A request, when its head was read or written.
    pub fn request(&mut self, method: MethodLabel, direction: Direction) {
        self.requests[method as usize][direction as usize] += 1;
    }

    /// A response.
    pub fn response(&mut self, code: u16, direction: Direction) {
        self.responses[code_index(code)][direction as usize] += 1;
    }

    /// A REPORT sent, by the code of its Status.
    pub fn report(&mut self, status: u16, origin: ReportOrigin) {
        self.reports[code_index(status)][origin as usize] += 1;
    }

    /// A response came in that was odd.
    pub fn odd_response(&mut self, kind: OddResponse) {
        self.odd_responses[kind as usize] += 1;
    }

    /// How many of them there were.
    pub fn odd_responses(&self, kind: OddResponse) -> u64 {
        self.odd_responses[kind as usize]
    }

    /// Something refused.
    pub fn refusal(&mut self, reason: RefusalReason) {
        self.refusals[reason as usize] += 1;
    }

    /// How often something was refused for this reason.
    pub fn refused(&self, reason: RefusalReason) -> u64 {
        self.refusals[reason as usize]
    }

    /// A user was looked up.
    pub fn looked_up(&mut self, result: LookUpLabel) {
        self.look_ups[result as usize] += 1;
    }

    /// How many look-ups have ended so.
    pub fn look_ups(&self, result: LookUpLabel) -> u64 {
        self.look_ups[result as usize]
    }

    /// A quota stood in the way: refused, or a connection not read for a while.
    pub fn quota_exceeded(&mut self, subject: SubjectLabel, quota: QuotaLabel) {
        self.quotas[subject as usize][quota as usize] += 1;
    }

    /// How often that was so.
    pub fn quotas_exceeded(&self, subject: SubjectLabel, quota: QuotaLabel) -> u64 {
        self.quotas[subject as usize][quota as usize]
    }

    /// A connection ended.
    pub fn closed(&mut self, reason: CloseReason) {
        self.closed[reason as usize] += 1;
    }

    /// How many connections have ended so.
    pub fn closures(&self, reason: CloseReason) -> u64 {
        self.closed[reason as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn codes_outside_the_set_are_others() {
        for (index, code) in CODES.into_iter().enumerate() {
            assert_eq!(code_index(code), index);
        }
        for code in [0, 100, 299, 404, 999] {
            assert_eq!(code_index(code), CODES.len());
        }
    }

    #[test]
    fn labels_are_distinct_and_index_their_arrays() {
        let texts: std::collections::BTreeSet<_> = CloseReason::ALL.map(CloseReason::text).into();
        assert_eq!(texts.len(), CloseReason::COUNT);
        for (index, reason) in RefusalReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }

    /// A scrape holds a shard for less than 200 us; loose here, for a slow build on a busy
    /// machine.
    #[test]
    fn a_copy_is_quick() {
        let mut metrics = ShardMetrics::default();
        for micros in 0..100_000 {
            let duration = Duration::from_micros(micros * 37);
            metrics.forward_duration.record(duration);
            metrics.transaction_duration.record(duration);
            metrics.handshake_duration.record(duration);
            metrics.auth_duration.record(duration);
            metrics.loop_duration.record(duration);
        }
        let copy = || {
            let began = Instant::now();
            let copy = metrics.clone();
            let took = began.elapsed();
            assert_eq!(copy.loop_duration.count(), 100_000);
            took
        };
        let quickest = (0..50).map(|_| copy()).min().expect("fifty copies");
        println!("a copy takes {quickest:?}");
        assert!(quickest < Duration::from_millis(1), "{quickest:?}");
    }
}
