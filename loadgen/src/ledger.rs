//! What became of every message of one session, by octet ranges.
//!
//! Relays cut and join chunks, so nothing here relies on chunks coming out as they went in. A
//! message is *settled* once its chunks have their answers (where answers are due) and every octet
//! has either arrived or been declared failed by a response or a REPORT. What never settles is
//! lost. Octets that come twice, wrong or unasked are counted as wrong, and so are answers.

use std::collections::{HashSet, VecDeque};

use crate::ranges::Ranges;

/// Which answers the sender asked for (RFC 4975 §7.1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    Yes,
    Partial,
    No,
}

/// Sums that a run prints. All count messages unless the name says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    pub sent: u64,
    /// Every chunk of it has its 200.
    pub acknowledged: u64,
    pub delivered: u64,
    /// Not delivered, and a response or REPORT said so.
    pub reported: u64,
    /// Not delivered, and nobody said so. Known at the end only.
    pub lost: u64,
    /// Delivered or reported, but a 200 that was due never came. Known at the end only.
    pub unanswered: u64,
    /// Octets of bodies that arrived and were right.
    pub octets_delivered: u64,
    pub wrong: Wrong,
    /// Messages that were complete only after a later one. No fault, but worth knowing.
    pub overtaken: u64,
}

/// What must never happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Wrong {
    /// Pieces of bodies whose octets were not those that were sent.
    pub octets: u64,
    /// Octets that arrived more than once.
    pub doubled_octets: u64,
    /// Octets outside the message, or messages that were never sent.
    pub unknown: u64,
    /// Byte-Range or flag that contradict what came.
    pub ranges: u64,
    /// Pieces of one message that came before an earlier piece.
    pub order: u64,
    /// Paths or headers that are not what must arrive.
    pub headers: u64,
    /// Answers and REPORTs that were not due, or came twice.
    pub answers: u64,
}

impl Wrong {
    pub fn total(&self) -> u64 {
        self.octets
            + self.doubled_octets
            + self.unknown
            + self.ranges
            + self.order
            + self.headers
            + self.answers
    }

    pub fn add(&mut self, other: &Self) {
        self.octets += other.octets;
        self.doubled_octets += other.doubled_octets;
        self.unknown += other.unknown;
        self.ranges += other.ranges;
        self.order += other.order;
        self.headers += other.headers;
        self.answers += other.answers;
    }
}

impl Counts {
    pub fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        self.delivered += other.delivered;
        self.reported += other.reported;
        self.lost += other.lost;
        self.unanswered += other.unanswered;
        self.octets_delivered += other.octets_delivered;
        self.overtaken += other.overtaken;
        self.wrong.add(&other.wrong);
    }
}

#[derive(Debug)]
struct Entry {
    size: u64,
    /// Nanoseconds on the engine's clock: when it was sent, or should have been.
    due_at: u64,
    sent_whole: bool,
    chunks: u32,
    answers: u32,
    delivered: Ranges,
    failed: Ranges,
    arrived: bool,
    acknowledged: bool,
    settled: bool,
}

/// What an event completed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The message arrived whole just now; it was due then.
    pub delivered: Option<u64>,
    /// Its last 200 came just now; it was due then.
    pub acknowledged: Option<u64>,
    /// It has failed for good just now; it was due then.
    pub reported: Option<u64>,
    /// Nothing is open about it any more.
    pub settled: bool,
}

/// The messages of one session, sender's and receiver's view together.
#[derive(Debug)]
pub struct Ledger {
    report: Report,
    /// Messages from `base` on; settled ones leave from the front.
    open: VecDeque<Entry>,
    base: u64,
    unsettled: usize,
    last_delivered: Option<u64>,
    /// Forgotten messages that were reported: octets of theirs may still come.
    reported: HashSet<u64>,
    counts: Counts,
}

impl Ledger {
    pub fn new(report: Report) -> Self {
        Self {
            report,
            open: VecDeque::new(),
            base: 0,
            unsettled: 0,
            last_delivered: None,
            reported: HashSet::new(),
            counts: Counts::default(),
        }
    }

    /// Messages begun and not settled.
    pub fn unsettled(&self) -> usize {
        self.unsettled
    }

    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// For faults that are seen outside the ledger.
    pub fn wrong(&mut self) -> &mut Wrong {
        &mut self.counts.wrong
    }

    /// A message of `size` octets begins; returns its number.
    pub fn begin(&mut self, size: u64, due_at: u64) -> u64 {
        self.open.push_back(Entry {
            size,
            due_at,
            sent_whole: false,
            chunks: 0,
            answers: 0,
            delivered: Ranges::default(),
            failed: Ranges::default(),
            arrived: size == 0,
            acknowledged: false,
            settled: false,
        });
        self.unsettled += 1;
        self.counts.sent += 1;
        self.base + self.open.len() as u64 - 1
    }

    /// The size of a message that is still open.
    pub fn size(&self, message: u64) -> Option<u64> {
        self.entry(message).map(|e| e.size)
    }

    /// A chunk of it goes out; `last` with the `$`.
    pub fn chunk_sent(&mut self, message: u64, last: bool) -> Progress {
        let Some(entry) = self.entry_mut(message) else {
            return Progress::default();
        };
        entry.chunks += 1;
        entry.sent_whole |= last;
        self.check(message)
    }

    /// The rest of it, because some of it has failed, will not be sent.
    pub fn abandoned(&mut self, message: u64) -> Progress {
        if let Some(entry) = self.entry_mut(message) {
            entry.sent_whole = true;
        }
        self.check(message)
    }

    /// A chunk that covers `from..to` was answered.
    pub fn answered(&mut self, message: u64, from: u64, to: u64, code: u16) -> Progress {
        let due = match self.report {
            Report::Yes => true,
            Report::Partial => code != 200,
            Report::No => false,
        };
        if !due {
            self.counts.wrong.answers += 1;
        }
        let Some(entry) = self.entry_mut(message) else {
            // A late refusal of a forgotten message tells nothing new.
            return Progress::default();
        };
        entry.answers += 1;
        let twice = code != 200 && entry.failed.insert(from, to.max(from + 1)) > 0;
        if twice {
            // One signal per failed chunk (RPT-06).
            self.counts.wrong.answers += 1;
        }
        self.check(message)
    }

    /// A REPORT says that `from..to` failed.
    pub fn reported(&mut self, message: u64, from: u64, to: u64) -> Progress {
        let not_due = self.report == Report::No;
        let known = message < self.base + self.open.len() as u64;
        if not_due || !known {
            self.counts.wrong.answers += 1;
        }
        let Some(entry) = self.entry_mut(message) else {
            return Progress::default();
        };
        let outside = to > entry.size;
        if entry.failed.insert(from, to.max(from + 1)) > 0 || outside {
            self.counts.wrong.answers += 1;
        }
        self.check(message)
    }

    /// Octets `from..from + octets` arrived; `right` if they are those that were sent.
    pub fn arrived(&mut self, message: u64, from: u64, octets: u64, right: bool) -> Progress {
        if !right {
            self.counts.wrong.octets += 1;
        }
        let to = from + octets;
        if message >= self.base + self.open.len() as u64 {
            self.counts.wrong.unknown += 1;
            return Progress::default();
        }
        let Some(entry) = self.entry_mut(message) else {
            if !self.reported.contains(&message) {
                self.counts.wrong.doubled_octets += octets;
            }
            return Progress::default();
        };
        if to > entry.size {
            self.counts.wrong.unknown += 1;
            return Progress::default();
        }
        let out_of_order = from < entry.delivered.end();
        let doubled = entry.delivered.insert(from, to);
        if doubled > 0 {
            self.counts.wrong.doubled_octets += doubled;
        } else if out_of_order {
            self.counts.wrong.order += 1;
        }
        if right {
            self.counts.octets_delivered += octets - doubled;
        }
        self.check(message)
    }

    /// Moves what became complete to its sum.
    fn check(&mut self, message: u64) -> Progress {
        let mut progress = Progress::default();
        let report = self.report;
        let Some(entry) = self.entry_mut(message) else {
            return progress;
        };
        if entry.settled || !entry.sent_whole {
            return progress;
        }
        let due_at = entry.due_at;
        let failed = entry.failed.total() > 0;
        if !entry.arrived && entry.delivered.covers(entry.size) {
            entry.arrived = true;
            progress.delivered = Some(due_at);
        }
        let answered = report != Report::Yes || entry.answers >= entry.chunks;
        if report == Report::Yes && answered && !failed && !entry.acknowledged {
            entry.acknowledged = true;
            progress.acknowledged = Some(due_at);
        }
        let arrived = entry.arrived;
        if answered && (arrived || failed) {
            entry.settled = true;
            progress.settled = true;
            progress.reported = (!arrived).then_some(due_at);
        }
        self.book(message, progress, arrived);
        progress
    }

    fn book(&mut self, message: u64, progress: Progress, arrived: bool) {
        if progress.delivered.is_some() {
            self.counts.delivered += 1;
            if self.last_delivered.is_some_and(|last| message < last) {
                self.counts.overtaken += 1;
            }
            self.last_delivered = self.last_delivered.max(Some(message));
        }
        self.counts.acknowledged += u64::from(progress.acknowledged.is_some());
        if !progress.settled {
            return;
        }
        self.unsettled -= 1;
        if !arrived {
            self.counts.reported += 1;
            self.reported.insert(message);
        }
        while self.open.front().is_some_and(|e| e.settled) {
            self.open.pop_front();
            self.base += 1;
        }
    }

    /// Ends the account: whatever is not settled now never will be.
    pub fn close(&mut self) {
        for entry in self.open.drain(..).filter(|e| !e.settled) {
            if entry.arrived {
                self.counts.unanswered += 1;
            } else if entry.failed.total() > 0 {
                self.counts.reported += 1;
            } else {
                self.counts.lost += 1;
            }
        }
        self.unsettled = 0;
    }

    fn entry(&self, message: u64) -> Option<&Entry> {
        self.open
            .get(usize::try_from(message.checked_sub(self.base)?).ok()?)
    }

    fn entry_mut(&mut self, message: u64) -> Option<&mut Entry> {
        self.open
            .get_mut(usize::try_from(message.checked_sub(self.base)?).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message of 100 octets in one chunk, sent and answered.
    fn sent(ledger: &mut Ledger) -> u64 {
        let message = ledger.begin(100, 5);
        ledger.chunk_sent(message, true);
        ledger.answered(message, 0, 100, 200);
        message
    }

    #[test]
    fn message_settles_by_answer_and_arrival() {
        let mut ledger = Ledger::new(Report::Yes);
        let message = ledger.begin(100, 5);
        ledger.chunk_sent(message, false);
        ledger.chunk_sent(message, true);
        // The relay joined the two chunks and cut them elsewhere.
        assert_eq!(ledger.arrived(message, 0, 70, true), Progress::default());
        let whole = ledger.arrived(message, 70, 30, true);
        assert_eq!((whole.delivered, whole.settled), (Some(5), false));
        ledger.answered(message, 0, 50, 200);
        let done = ledger.answered(message, 50, 100, 200);
        assert_eq!((done.acknowledged, done.settled), (Some(5), true));
        assert_eq!(ledger.unsettled(), 0);
        ledger.close();
        let counts = ledger.counts();
        assert_eq!(
            (counts.sent, counts.acknowledged, counts.delivered),
            (1, 1, 1)
        );
        assert_eq!(
            (counts.lost, counts.wrong.total(), counts.octets_delivered),
            (0, 0, 100)
        );
    }

    #[test]
    fn without_answers_due_arrival_settles() {
        for report in [Report::No, Report::Partial] {
            let mut ledger = Ledger::new(report);
            let message = ledger.begin(100, 5);
            ledger.chunk_sent(message, true);
            assert!(ledger.arrived(message, 0, 100, true).settled);
            assert_eq!(ledger.counts().wrong.total(), 0);
        }
    }

    #[test]
    fn planted_loss_is_found() {
        let mut ledger = Ledger::new(Report::Yes);
        let first = sent(&mut ledger);
        let second = sent(&mut ledger);
        ledger.arrived(first, 0, 100, true);
        ledger.arrived(second, 0, 60, true);
        ledger.close();
        assert_eq!((ledger.counts().delivered, ledger.counts().lost), (1, 1));
    }

    #[test]
    fn planted_loss_of_the_answer_is_found() {
        let mut ledger = Ledger::new(Report::Yes);
        let message = ledger.begin(100, 5);
        ledger.chunk_sent(message, true);
        ledger.arrived(message, 0, 100, true);
        ledger.close();
        assert_eq!(
            (ledger.counts().delivered, ledger.counts().unanswered),
            (1, 1)
        );
    }

    #[test]
    fn planted_doubling_is_found_early_and_late() {
        let mut ledger = Ledger::new(Report::Yes);
        let message = sent(&mut ledger);
        ledger.arrived(message, 0, 60, true);
        ledger.arrived(message, 50, 50, true);
        assert_eq!(ledger.counts().wrong.doubled_octets, 10);
        ledger.arrived(message, 0, 100, true);
        assert_eq!(ledger.counts().wrong.doubled_octets, 110);
        assert_eq!(ledger.counts().delivered, 1);
    }

    #[test]
    fn planted_wrong_octets_are_found() {
        let mut ledger = Ledger::new(Report::Yes);
        let message = sent(&mut ledger);
        ledger.arrived(message, 0, 100, false);
        assert_eq!(ledger.counts().wrong.octets, 1);
        assert_eq!(ledger.counts().octets_delivered, 0);
    }

    #[test]
    fn octets_outside_and_messages_never_sent_are_found() {
        let mut ledger = Ledger::new(Report::Yes);
        let message = sent(&mut ledger);
        ledger.arrived(message, 90, 11, true);
        ledger.arrived(message + 1, 0, 1, true);
        ledger.reported(message + 1, 0, 1);
        assert_eq!(ledger.counts().wrong.unknown, 2);
        assert_eq!(ledger.counts().wrong.answers, 1);
    }

    #[test]
    fn pieces_in_wrong_order_are_found() {
        let mut ledger = Ledger::new(Report::Yes);
        let message = sent(&mut ledger);
        ledger.arrived(message, 50, 50, true);
        assert!(ledger.arrived(message, 0, 50, true).settled);
        assert_eq!(ledger.counts().wrong.order, 1);
    }

    #[test]
    fn refusal_and_report_settle_once() {
        let mut ledger = Ledger::new(Report::Yes);
        let refused = ledger.begin(100, 5);
        ledger.chunk_sent(refused, true);
        assert!(ledger.answered(refused, 0, 100, 481).settled);
        let reported = sent(&mut ledger);
        assert!(ledger.reported(reported, 0, 100).settled);
        assert_eq!(
            (ledger.counts().reported, ledger.counts().wrong.total()),
            (2, 0)
        );
        // Octets that come nevertheless are late, not doubled.
        ledger.arrived(reported, 0, 100, true);
        assert_eq!(ledger.counts().wrong.total(), 0);
    }

    #[test]
    fn an_abandoned_message_settles_with_its_failure() {
        let mut ledger = Ledger::new(Report::Yes);
        let message = ledger.begin(1000, 5);
        ledger.chunk_sent(message, false);
        ledger.arrived(message, 0, 60, true);
        assert!(!ledger.answered(message, 0, 100, 413).settled);
        let done = ledger.abandoned(message);
        assert_eq!((done.settled, done.reported), (true, Some(5)));
        assert_eq!((ledger.counts().reported, ledger.unsettled()), (1, 0));
    }

    #[test]
    fn two_signals_for_one_failure_are_found_rpt_06() {
        let mut ledger = Ledger::new(Report::Yes);
        let message = ledger.begin(100, 5);
        ledger.chunk_sent(message, false);
        ledger.answered(message, 0, 50, 408);
        ledger.reported(message, 0, 50);
        assert_eq!(ledger.counts().wrong.answers, 1);
    }

    #[test]
    fn answers_that_are_not_due_are_found() {
        let mut no = Ledger::new(Report::No);
        let message = no.begin(100, 5);
        no.answered(message, 0, 100, 200);
        no.reported(message, 0, 100);
        assert_eq!(no.counts().wrong.answers, 2);
        let mut partial = Ledger::new(Report::Partial);
        let message = partial.begin(100, 5);
        partial.answered(message, 0, 100, 200);
        assert_eq!(partial.counts().wrong.answers, 1);
    }

    #[test]
    fn overtaking_is_counted_but_not_wrong() {
        let mut ledger = Ledger::new(Report::Yes);
        let first = sent(&mut ledger);
        let second = sent(&mut ledger);
        ledger.arrived(second, 0, 100, true);
        ledger.arrived(first, 0, 100, true);
        assert_eq!(
            (ledger.counts().overtaken, ledger.counts().wrong.total()),
            (1, 0)
        );
    }
}
