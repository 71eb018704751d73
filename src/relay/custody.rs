//! Responsibility for incoming chunks, from the moment their 200 is due until every outgoing
//! piece of them is resolved: the custody ledger.
//!
//! `taken = answered + reported + released + dropped + held`. The unit is the incoming chunk.
//! A chunk that was refused before its end-line never enters the ledger.

use crate::metrics::{DropReason, Ledger};
use crate::wire::FailureReport;

use super::few::Few;
use super::keys::{CustodyKey, Place, ReturnAddress, WayKey};
use super::slots::Slots;
use super::ways::Ways;

/// What became of a piece, in rising order of gravity: a chunk's fate is its worst piece's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Fate {
    /// No answer was due, and none that says otherwise came.
    Released,
    /// The next hop answered 2xx.
    Answered,
    /// A failure that may not or cannot be told.
    Dropped(DropReason),
    /// A REPORT went out.
    Reported,
}

/// One incoming chunk.
#[derive(Debug)]
pub(super) struct Custody {
    pub back: ReturnAddress,
    /// The connection it came by: failures are told there, whatever became of the route.
    pub source: Place,
    /// The source's number for it.
    pub sequence: u32,
    /// Position of its first octet.
    pub start: u64,
    pub failure_report: FailureReport,
    /// What it counts on.
    pub way: Option<WayKey>,
    /// Its end-line came and its 200, if one was due, went out.
    pub taken: bool,
    /// Refused, or its source is gone: no further signal about it.
    pub mute: bool,
    /// Octets of it, or its end, are still to be written.
    pub unsent: bool,
    /// Outgoing pieces written whole and not yet resolved.
    pub pieces: u32,
    pub fate: Option<Fate>,
}

/// All custodies of a shard, and the ledger's sums.
#[derive(Default)]
pub(super) struct Custodies {
    chunks: Slots<CustodyKey, Custody>,
    /// What they count on.
    pub ways: Ways,
}

impl Custodies {
    pub fn give_back(&mut self) {
        self.chunks.give_back();
        self.ways.give_back();
    }

    pub fn begin(
        &mut self,
        back: ReturnAddress,
        source: Place,
        sequence: u32,
        start: u64,
        failure_report: FailureReport,
        way: Option<WayKey>,
    ) -> CustodyKey {
        if let Some(way) = way {
            self.ways.chunk_begins(way);
        }
        self.chunks.insert(Custody {
            back,
            source,
            sequence,
            start,
            failure_report,
            way,
            taken: false,
            mute: false,
            unsent: true,
            pieces: 0,
            fate: None,
        })
    }

    pub fn get(&self, key: CustodyKey) -> Option<&Custody> {
        self.chunks.get(key)
    }

    pub fn get_mut(&mut self, key: CustodyKey) -> Option<&mut Custody> {
        self.chunks.get_mut(key)
    }

    pub fn len(&self) -> usize {
        self.chunks.len()
    }

    /// Chunks that were taken and are not resolved: the ledger's `held`, counted afresh.
    pub fn held(&self) -> u64 {
        self.chunks
            .iter()
            .filter(|(_, custody)| custody.taken)
            .count() as u64
    }

    /// The chunk's end-line is in, after so many octets: from here on it is ours.
    pub fn take(&mut self, key: CustodyKey, octets: u64, ends_message: bool, ledger: &mut Ledger) {
        if let Some(custody) = self.chunks.get_mut(key) {
            custody.taken = true;
            ledger.taken += 1;
            ledger.held += 1;
            if let Some(way) = custody.way {
                self.ways.chunk_taken(way, octets, ends_message, ledger);
            }
        }
    }

    /// A REPORT of ours about the chunk goes out.
    pub fn report_made(&mut self, key: CustodyKey, ledger: &mut Ledger) {
        if let Some(way) = self.chunks.get(key).and_then(|custody| custody.way) {
            self.ways.report_made(way, ledger);
        }
    }

    /// A piece that holds octets of the chunk was written whole.
    pub fn piece_written(&mut self, key: CustodyKey, was_last: bool) {
        if let Some(custody) = self.chunks.get_mut(key) {
            custody.pieces += 1;
            if was_last {
                custody.unsent = false;
            }
        }
    }

    /// A written piece came to its end.
    pub fn piece_resolved(&mut self, key: CustodyKey, fate: Fate, ledger: &mut Ledger) {
        if let Some(custody) = self.chunks.get_mut(key) {
            custody.pieces -= 1;
            custody.fate = custody.fate.max(Some(fate));
            self.settle(key, ledger);
        }
    }

    /// What was not yet written of the chunk never will be.
    pub fn rest_resolved(&mut self, key: CustodyKey, fate: Fate, ledger: &mut Ledger) {
        if let Some(custody) = self.chunks.get_mut(key) {
            custody.unsent = false;
            custody.fate = custody.fate.max(Some(fate));
            self.settle(key, ledger);
        }
    }

    /// Its fate is at least this grave, whatever becomes of its pieces.
    pub fn darken(&mut self, key: CustodyKey, fate: Fate) {
        if let Some(custody) = self.chunks.get_mut(key) {
            custody.fate = custody.fate.max(Some(fate));
        }
    }

    fn settle(&mut self, key: CustodyKey, ledger: &mut Ledger) {
        let Some(custody) = self.chunks.get(key) else {
            return;
        };
        if custody.unsent || custody.pieces > 0 {
            return;
        }
        let (taken, way) = (custody.taken, custody.way);
        let fate = custody.fate.unwrap_or(Fate::Released);
        self.chunks.remove(key);
        if let Some(way) = way {
            let failed = taken && matches!(fate, Fate::Reported | Fate::Dropped(_));
            self.ways.chunk_resolved(way, failed, ledger);
        }
        if !taken {
            return;
        }
        ledger.held -= 1;
        match fate {
            Fate::Answered => ledger.answered += 1,
            Fate::Released => ledger.released += 1,
            Fate::Reported => ledger.reported += 1,
            Fate::Dropped(reason) => ledger.dropped[reason as usize] += 1,
        }
    }
}

/// The chunks that one outgoing piece holds octets of; nearly always one.
pub(super) type Covered = Few<CustodyKey>;
