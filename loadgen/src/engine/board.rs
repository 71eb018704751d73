//! What all connections of one thread share: the sessions and what is to be done next about them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Instant;

use hdrhistogram::Histogram;

use crate::ledger::{Progress, Wrong};
use crate::pattern::Pattern;
use crate::plan::Plan;

use super::record::Record;
use super::session::{Session, Stage};

/// Examples of what went wrong that one thread keeps; the rest is only counted.
const NOTICES_MAX: usize = 20;

/// A 200 that waits for its time.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    pub due: u64,
    pub since: u64,
    pub connection: usize,
    pub octets: Vec<u8>,
}

pub struct Board {
    pub plan: Arc<Plan>,
    pub thread: usize,
    pub run: [u8; 3],
    epoch: Instant,
    /// Nanoseconds since the epoch; set per event, not per message.
    pub now: u64,
    pub pattern: Pattern,
    pub sessions: Vec<Session>,
    /// Sessions that may be able to send.
    pub ready: Vec<usize>,
    /// Sessions whose first SEND has arrived and was answered.
    pub bound: usize,
    /// Connections that came through a proxy, with the session that their first SEND named.
    pub adopted: Vec<(usize, usize)>,
    pub held: BinaryHeap<Reverse<Held>>,
    pub record: Record,
    /// When something was last settled or an octet arrived.
    pub moved_at: u64,
    /// Faults that belong to no session.
    pub stray: Wrong,
    pub success_reports: u64,
    pub notices: Vec<String>,
    pub notices_dropped: u64,
    /// What makes going on useless.
    pub fatal: Option<String>,
    pub random: u64,
}

impl Board {
    pub fn new(plan: Arc<Plan>, thread: usize, run: [u8; 3], epoch: Instant) -> Self {
        Self {
            plan,
            thread,
            run,
            epoch,
            now: 0,
            pattern: Pattern::new(),
            sessions: Vec::new(),
            ready: Vec::new(),
            bound: 0,
            adopted: Vec::new(),
            held: BinaryHeap::new(),
            record: Record::default(),
            moved_at: 0,
            stray: Wrong::default(),
            success_reports: 0,
            notices: Vec::new(),
            notices_dropped: 0,
            fatal: None,
            random: thread as u64,
        }
    }

    pub fn read_clock(&mut self) -> u64 {
        self.now = self.epoch.elapsed().as_nanos() as u64;
        self.now
    }

    pub fn instant_to_clock(&self, instant: Instant) -> u64 {
        instant.saturating_duration_since(self.epoch).as_nanos() as u64
    }

    /// The session of an id that this thread gave.
    pub fn local_session(&self, id: u32) -> Option<usize> {
        let threads = self.plan.threads as u32;
        let place = (id / threads) as usize;
        (id as usize % self.plan.threads == self.thread && place < self.sessions.len())
            .then_some(place)
    }

    pub fn notice(&mut self, text: impl FnOnce() -> String) {
        if self.notices.len() < NOTICES_MAX {
            self.notices.push(text());
        } else {
            self.notices_dropped += 1;
        }
    }

    /// Books what an event completed.
    pub fn progressed(&mut self, session: usize, progress: Progress) {
        let role = self.sessions[session].flow.role;
        if let Some(due_at) = progress.delivered {
            self.record.delivered(role, self.now, due_at);
        }
        if let Some(due_at) = progress.acknowledged {
            self.record.acknowledged(role, self.now, due_at);
        }
        if let Some(due_at) = progress.reported {
            self.record.reported(role, self.now, due_at);
        }
        if progress.settled {
            self.moved_at = self.now;
            self.ready.push(session);
        }
    }

    /// Books a step of a connection's beginning: all before the run, in a run of rounds those that are measured.
    pub fn took_to_set_up(
        &mut self,
        took: u64,
        which: impl Fn(&mut Record) -> &mut Histogram<u64>,
    ) {
        if self.plan.round.is_none() || self.record.measures(self.now) {
            which(&mut self.record).saturating_record(took);
        }
    }

    pub fn octets_arrived(&mut self, session: usize, octets: u64) {
        self.moved_at = self.now;
        let role = self.sessions[session].flow.role;
        self.record.octets_arrived(role, self.now, octets);
    }

    pub fn chunk_arrived(&mut self, session: usize) {
        if self.record.measures(self.now) {
            let role = self.sessions[session].flow.role;
            self.record.sums_of(role).chunks += 1;
        }
    }

    /// A part of this message has failed: if it is still going out, that ends (RFC 4975 §10.5 for 413; after other
    /// codes the rest would only fail as well).
    pub fn failed(&mut self, session: usize, message: u64) {
        let failed = &mut self.sessions[session];
        if failed.outgoing.is_some_and(|out| out.message == message) {
            failed.abort = true;
            self.ready.push(session);
        }
    }

    /// The first SEND of a session has arrived, or was answered.
    pub fn binding_progressed(&mut self, session: usize, now_arrived: bool, now_answered: bool) {
        let stage = &mut self.sessions[session].stage;
        let Stage::Binding { arrived, answered } = *stage else {
            return;
        };
        let (arrived, answered) = (arrived | now_arrived, answered | now_answered);
        *stage = match arrived && answered {
            true => Stage::Ready,
            false => Stage::Binding { arrived, answered },
        };
        if arrived && answered {
            self.bound += 1;
            self.ready.push(session);
        }
    }
}
