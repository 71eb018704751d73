//! What became of every message of one session, by octet ranges.
//!
//! Relays cut and join chunks, so nothing here relies on chunks coming out as they went in. A
//! message is *settled* once its chunks have their answers (where answers are due) and every octet
//! has either arrived or been declared failed by a response or a REPORT; with success reports asked
//! for, once that has come as well. What never settles is lost. Octets that come twice, wrong or
//! unasked are counted as wrong, and so are answers; so is a message that was refused and came
//! nevertheless.
//!
//! Times are nanoseconds on the engine's clock.

mod counts;
mod fate;

use std::collections::{HashMap, VecDeque};

use crate::ranges::Ranges;

pub use counts::{Counts, Wrong};
pub use fate::{Fate, Told, Traced, Unfinished};

/// Which answers the sender asked for (RFC 4975 §7.1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    Yes,
    Partial,
    No,
}

/// A message as it begins.
#[derive(Clone, Copy, Debug, Default)]
pub struct Begun {
    pub size: u64,
    /// When it should have been sent; all waiting counts from here.
    pub due_at: u64,
    pub sent_at: u64,
    /// It was due in the measured stretch.
    pub measured: bool,
    /// Its fate is to be kept for the trace.
    pub traced: bool,
}

#[derive(Debug)]
struct Entry {
    begun: Begun,
    sent_whole: bool,
    chunks: u32,
    answers: u32,
    delivered: Ranges,
    failed: Ranges,
    /// Why it failed, if it did.
    told: Option<Told>,
    arrived_at: Option<u64>,
    acknowledged_at: Option<u64>,
    confirmed_at: Option<u64>,
    settled: bool,
}

/// A message that failed and was forgotten; its octets may come all the same.
#[derive(Debug)]
struct Late {
    begun: Begun,
    delivered: Ranges,
    told: Told,
}

/// What an event completed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The message arrived whole just now; it was due then.
    pub delivered: Option<u64>,
    /// Its last 200 came just now; it was due then.
    pub acknowledged: Option<u64>,
    /// Its success report came just now; it was due then.
    pub confirmed: Option<u64>,
    /// It has failed for good just now; it was due then.
    pub reported: Option<u64>,
    /// It came whole although its sender was told that it had failed.
    pub contradicted: Option<Told>,
    /// Nothing is open about it any more.
    pub settled: bool,
}

/// The messages of one session, sender's and receiver's view together.
#[derive(Debug)]
pub struct Ledger {
    report: Report,
    /// Success reports are due.
    confirms: bool,
    /// Messages from `base` on; settled ones leave from the front.
    open: VecDeque<Entry>,
    base: u64,
    unsettled: usize,
    last_delivered: Option<u64>,
    /// Forgotten messages that had failed.
    late: HashMap<u64, Late>,
    /// Of messages due in the measured stretch. What is wrong counts here, whenever it is seen.
    counts: Counts,
    /// Of those due before it.
    warmup: Counts,
    /// Settled messages whose fates the trace has not taken yet.
    traced: Vec<Traced>,
}

impl Ledger {
    pub fn new(report: Report, confirms: bool) -> Self {
        Self {
            report,
            confirms,
            open: VecDeque::new(),
            base: 0,
            unsettled: 0,
            last_delivered: None,
            late: HashMap::new(),
            counts: Counts::default(),
            warmup: Counts::default(),
            traced: Vec::new(),
        }
    }

    /// Messages begun and not settled.
    pub fn unsettled(&self) -> usize {
        self.unsettled
    }

    /// Messages begun in all.
    pub fn begun(&self) -> u64 {
        self.base + self.open.len() as u64
    }

    /// Of messages due in the measured stretch.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Of messages due in the warm-up.
    pub fn warmup(&self) -> &Counts {
        &self.warmup
    }

    /// For faults that are seen outside the ledger.
    pub fn wrong(&mut self) -> &mut Wrong {
        &mut self.counts.wrong
    }

    /// Fates of settled messages since the last call.
    pub fn take_traced(&mut self) -> Vec<Traced> {
        std::mem::take(&mut self.traced)
    }

    pub fn has_traced(&self) -> bool {
        !self.traced.is_empty()
    }

    /// A message begins; returns its number.
    pub fn begin(&mut self, begun: Begun) -> u64 {
        self.open.push_back(Entry {
            begun,
            sent_whole: false,
            chunks: 0,
            answers: 0,
            delivered: Ranges::default(),
            failed: Ranges::default(),
            told: None,
            arrived_at: (begun.size == 0).then_some(begun.sent_at),
            acknowledged_at: None,
            confirmed_at: None,
            settled: false,
        });
        self.unsettled += 1;
        self.sums(begun.measured).sent += 1;
        self.begun() - 1
    }

    /// The size of a message that is still open.
    pub fn size(&self, message: u64) -> Option<u64> {
        self.entry(message).map(|e| e.begun.size)
    }

    /// A chunk of it goes out; `last` with the `$`.
    pub fn chunk_sent(&mut self, message: u64, last: bool, at: u64) -> Progress {
        let Some(entry) = self.entry_mut(message) else {
            return Progress::default();
        };
        entry.chunks += 1;
        entry.sent_whole |= last;
        self.check(message, at)
    }

    /// The rest of it, because some of it has failed, will not be sent.
    pub fn abandoned(&mut self, message: u64, at: u64) -> Progress {
        if let Some(entry) = self.entry_mut(message) {
            entry.sent_whole = true;
        }
        self.check(message, at)
    }

    /// A chunk that covers `from..to` was answered.
    pub fn answered(&mut self, message: u64, from: u64, to: u64, code: u16, at: u64) -> Progress {
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
        if code != 200 {
            entry.told.get_or_insert(Told::Refused(code));
            // One signal per failed chunk (RPT-06).
            if entry.failed.insert(from, to.max(from + 1)) > 0 {
                self.counts.wrong.answers += 1;
            }
        }
        self.check(message, at)
    }

    /// A REPORT says that `from..to` failed.
    pub fn reported(&mut self, message: u64, from: u64, to: u64, code: u16, at: u64) -> Progress {
        let not_due = self.report == Report::No;
        let known = message < self.begun();
        if not_due || !known {
            self.counts.wrong.answers += 1;
        }
        let Some(entry) = self.entry_mut(message) else {
            return Progress::default();
        };
        let outside = to > entry.begun.size;
        entry.told.get_or_insert(Told::Reported(code));
        if entry.failed.insert(from, to.max(from + 1)) > 0 || outside {
            self.counts.wrong.answers += 1;
        }
        self.check(message, at)
    }

    /// A REPORT says that all of it has arrived.
    pub fn confirmed(&mut self, message: u64, at: u64) -> Progress {
        let confirms = self.confirms;
        let due_at = match self.entry_mut(message) {
            Some(entry) if confirms && entry.confirmed_at.is_none() => {
                entry.confirmed_at = Some(at);
                entry.begun.due_at
            }
            _ => {
                self.counts.wrong.answers += 1;
                return Progress::default();
            }
        };
        let mut progress = self.check(message, at);
        progress.confirmed = Some(due_at);
        progress
    }

    /// Octets `from..from + octets` arrived; `right` if they are those that were sent.
    pub fn arrived(
        &mut self,
        message: u64,
        from: u64,
        octets: u64,
        right: bool,
        at: u64,
    ) -> Progress {
        if !right {
            self.counts.wrong.octets += 1;
        }
        let to = from + octets;
        if message >= self.begun() {
            self.counts.wrong.unknown += 1;
            return Progress::default();
        }
        let Some(entry) = self.entry_mut(message) else {
            return self.arrived_late(message, from, to);
        };
        if to > entry.begun.size {
            self.counts.wrong.unknown += 1;
            return Progress::default();
        }
        let out_of_order = from < entry.delivered.end();
        let doubled = entry.delivered.insert(from, to);
        let measured = entry.begun.measured;
        if doubled > 0 {
            self.counts.wrong.doubled_octets += doubled;
        } else if out_of_order {
            self.counts.wrong.order += 1;
        }
        if right {
            self.sums(measured).octets_delivered += octets - doubled;
        }
        self.check(message, at)
    }

    /// Octets of a message that is settled: doubled, unless it had failed.
    fn arrived_late(&mut self, message: u64, from: u64, to: u64) -> Progress {
        let Some(late) = self.late.get_mut(&message) else {
            self.counts.wrong.doubled_octets += to - from;
            return Progress::default();
        };
        self.counts.wrong.doubled_octets += late.delivered.insert(from, to);
        if !late.delivered.covers(late.begun.size) {
            return Progress::default();
        }
        let Some(late) = self.late.remove(&message) else {
            return Progress::default();
        };
        let sums = self.sums(late.begun.measured);
        sums.reported -= 1;
        sums.delivered += 1;
        self.contradicted(late.told, late.begun.measured);
        Progress {
            delivered: Some(late.begun.due_at),
            contradicted: Some(late.told),
            ..Progress::default()
        }
    }

    fn contradicted(&mut self, told: Told, measured: bool) {
        match told {
            Told::Refused(_) => self.counts.wrong.refused_although_delivered += 1,
            Told::Reported(_) => self.sums(measured).reported_although_delivered += 1,
        }
    }

    /// Moves what became complete to its sum.
    fn check(&mut self, message: u64, at: u64) -> Progress {
        let mut progress = Progress::default();
        let (report, confirms) = (self.report, self.confirms);
        let Some(entry) = self.entry_mut(message) else {
            return progress;
        };
        if entry.settled || !entry.sent_whole {
            return progress;
        }
        let due_at = entry.begun.due_at;
        if entry.arrived_at.is_none() && entry.delivered.covers(entry.begun.size) {
            entry.arrived_at = Some(at);
            progress.delivered = Some(due_at);
        }
        let answered = report != Report::Yes || entry.answers >= entry.chunks;
        if report == Report::Yes
            && answered
            && entry.told.is_none()
            && entry.acknowledged_at.is_none()
        {
            entry.acknowledged_at = Some(at);
            progress.acknowledged = Some(due_at);
        }
        let arrived = entry.arrived_at.is_some();
        let confirmed = !confirms || entry.confirmed_at.is_some();
        if answered && ((arrived && confirmed) || entry.told.is_some()) {
            entry.settled = true;
            progress.settled = true;
            progress.reported = (!arrived).then_some(due_at);
            progress.contradicted = entry.told.filter(|_| arrived);
        }
        let measured = entry.begun.measured;
        if progress.delivered.is_some() || progress.acknowledged.is_some() || progress.settled {
            self.book(message, progress, arrived, measured);
        }
        progress
    }

    fn book(&mut self, message: u64, progress: Progress, arrived: bool, measured: bool) {
        if progress.delivered.is_some() {
            let overtaken = self.last_delivered.is_some_and(|last| message < last);
            self.last_delivered = self.last_delivered.max(Some(message));
            let sums = self.sums(measured);
            sums.delivered += 1;
            sums.overtaken += u64::from(overtaken);
        }
        self.sums(measured).acknowledged += u64::from(progress.acknowledged.is_some());
        if progress.settled {
            self.settle(message, progress, arrived);
        }
    }

    fn settle(&mut self, message: u64, progress: Progress, arrived: bool) {
        self.unsettled -= 1;
        let Some(entry) = self.entry(message) else {
            return;
        };
        let begun = entry.begun;
        if begun.traced {
            let traced = entry.traced(message, arrived);
            self.traced.push(traced);
        }
        if let Some(told) = progress.contradicted {
            self.contradicted(told, begun.measured);
        }
        if !arrived {
            self.sums(begun.measured).reported += 1;
            if let Some(entry) = self.entry_mut(message)
                && let Some(told) = entry.told
            {
                let delivered = std::mem::take(&mut entry.delivered);
                self.late.insert(
                    message,
                    Late {
                        begun,
                        delivered,
                        told,
                    },
                );
            }
        }
        while self.open.front().is_some_and(|e| e.settled) {
            self.open.pop_front();
            self.base += 1;
        }
    }

    /// Ends the account of what is open: it is not settled now, and never will be.
    pub fn close(&mut self) -> Vec<Unfinished> {
        let first = self.base;
        let open = std::mem::take(&mut self.open);
        self.base += open.len() as u64;
        self.unsettled = 0;
        let mut unfinished = Vec::new();
        for (message, entry) in (first..).zip(open) {
            if entry.settled {
                continue;
            }
            let arrived = entry.arrived_at.is_some();
            let due = self.report == Report::Yes && entry.told.is_none();
            let answered = !due || entry.acknowledged_at.is_some();
            let sums = self.sums(entry.begun.measured);
            match (arrived, entry.told) {
                (true, _) => {
                    sums.unanswered += u64::from(!answered);
                    sums.unconfirmed += u64::from(answered && entry.confirmed_at.is_none());
                }
                (false, Some(_)) => sums.reported += 1,
                (false, None) => sums.lost += 1,
            }
            if entry.begun.traced {
                self.traced.push(entry.traced(message, arrived));
            }
            unfinished.push(Unfinished {
                due_at: entry.begun.due_at,
                lost: !arrived && entry.told.is_none(),
                unanswered: !answered,
            });
        }
        unfinished
    }

    fn sums(&mut self, measured: bool) -> &mut Counts {
        match measured {
            true => &mut self.counts,
            false => &mut self.warmup,
        }
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

impl Entry {
    fn traced(&self, message: u64, arrived: bool) -> Traced {
        Traced {
            message,
            size: self.begun.size,
            due_at: self.begun.due_at,
            sent_at: self.begun.sent_at,
            measured: self.begun.measured,
            arrived_at: self.arrived_at,
            acknowledged_at: self.acknowledged_at,
            confirmed_at: self.confirmed_at,
            fate: match (arrived, self.told) {
                (true, None) if self.settled => Fate::Delivered,
                (true, None) => Fate::DeliveredUnanswered,
                (true, Some(_)) => Fate::DeliveredThoughFailed,
                (false, Some(Told::Refused(_))) => Fate::Refused,
                (false, Some(Told::Reported(_))) => Fate::Reported,
                (false, None) => Fate::Lost,
            },
            code: self.told.map(Told::code),
        }
    }
}

#[cfg(test)]
mod tests;
