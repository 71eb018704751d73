//! What counts for which session. A flow has one *way*: the sessions whose URIs its To-Path
//! passes here, one or two. Chunks are counted on it when they are taken and when they get their
//! fate; once the way is over and all its chunks have their fate, each session gets its share.
//! So a chunk costs a few additions, and nothing crosses shards for it.

use crate::metrics::{Along, Ledger, Traffic};

use super::keys::{ReturnAddress, SessionKey, ShardId, WayKey};
use super::slots::Slots;

/// A session that a To-Path passes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Passed {
    pub shard: ShardId,
    pub session: SessionKey,
    pub along: Along,
}

/// In the order of the To-Path: two own URIs in a row at most (FWD-12).
pub(super) type AllPassed = [Option<Passed>; 2];

/// What a session gets of a way.
#[derive(Clone, Copy, Default, Debug)]
pub struct Share {
    /// Along the way.
    pub(super) traffic: Traffic,
    /// REPORTs of ours, which went back to the sender.
    pub(super) reports_back: u64,
}

/// The way of one flow.
pub(super) struct Way {
    /// The route that it was opened for: by this the sessions know it.
    pub back: ReturnAddress,
    pub passed: AllPassed,
    pub share: Share,
    /// Chunks without their fate.
    open: u32,
    /// No further chunk begins.
    over: bool,
}

impl Way {
    fn each(&self, ledger: &mut Ledger, mut count: impl FnMut(&mut Traffic)) {
        for passed in self.passed.iter().flatten() {
            count(&mut ledger.sessions[passed.along as usize]);
        }
    }
}

/// All ways of a shard.
#[derive(Default)]
pub(super) struct Ways {
    ways: Slots<WayKey, Way>,
    /// Those whose shares are to be handed in; none between calls.
    pub done: Vec<Way>,
}

impl Ways {
    pub fn give_back(&mut self) {
        self.ways.give_back();
        self.done.shrink_to(64);
    }

    pub fn open(&mut self, back: ReturnAddress, passed: AllPassed) -> WayKey {
        self.ways.insert(Way {
            back,
            passed,
            share: Share::default(),
            open: 0,
            over: false,
        })
    }

    pub fn len(&self) -> usize {
        self.ways.len()
    }

    /// A chunk begins.
    pub fn chunk_begins(&mut self, key: WayKey) {
        if let Some(way) = self.ways.get_mut(key) {
            way.open += 1;
        }
    }

    /// It was taken.
    pub fn chunk_taken(
        &mut self,
        key: WayKey,
        octets: u64,
        ends_message: bool,
        ledger: &mut Ledger,
    ) {
        if let Some(way) = self.ways.get_mut(key) {
            way.share.traffic.chunk(octets, ends_message);
            way.each(ledger, |traffic| traffic.chunk(octets, ends_message));
        }
    }

    /// It has its fate, or never was ours.
    pub fn chunk_resolved(&mut self, key: WayKey, failed: bool, ledger: &mut Ledger) {
        let Some(way) = self.ways.get_mut(key) else {
            return;
        };
        if failed {
            way.share.traffic.failed += 1;
            way.each(ledger, |traffic| traffic.failed += 1);
        }
        way.open -= 1;
        if way.over && way.open == 0 {
            self.finish(key);
        }
    }

    /// A REPORT passes.
    pub fn report_passes(&mut self, key: WayKey, ledger: &mut Ledger) {
        if let Some(way) = self.ways.get_mut(key) {
            way.share.traffic.reports += 1;
            way.each(ledger, |traffic| traffic.reports += 1);
        }
    }

    /// A REPORT of ours about a chunk goes back to the session that sent it, if there is one.
    pub fn report_made(&mut self, key: WayKey, ledger: &mut Ledger) {
        let Some(way) = self.ways.get_mut(key) else {
            return;
        };
        let sent = |passed: &Passed| passed.along == Along::Sent;
        if way.passed.iter().flatten().any(sent) {
            way.share.reports_back += 1;
            ledger.sessions[Along::Received as usize].reports += 1;
        }
    }

    /// Nothing further begins on it.
    pub fn over(&mut self, key: WayKey) {
        if let Some(way) = self.ways.get_mut(key) {
            way.over = true;
            if way.open == 0 {
                self.finish(key);
            }
        }
    }

    /// Whatever its chunks may still come to does not count any more.
    pub fn cut_short(&mut self) {
        for key in self.ways.keys() {
            self.done.extend(self.ways.remove(key));
        }
    }

    #[cold]
    fn finish(&mut self, key: WayKey) {
        self.done.extend(self.ways.remove(key));
    }
}
