//! What all connections of one thread share: the sessions and what is to be done next about them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::ledger::{Progress, Wrong};
use crate::notices::{Kind, Notices};
use crate::pattern::Pattern;
use crate::plan::{Group, Plan, Role};
use crate::trace::Tracer;

use super::record::Record;
use super::session::{Session, Stage};
use super::stalls::{STALL_NANOS, Stalls};

/// A 200 that waits for its time.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    pub due: u64,
    pub since: u64,
    pub connection: usize,
    pub octets: Vec<u8>,
}

/// An id that is none of this thread's sessions.
const ELSEWHERE: u32 = u32::MAX;

pub struct Board {
    pub plan: Arc<Plan>,
    pub thread: usize,
    pub run: [u8; 3],
    epoch: Instant,
    /// Nanoseconds since the epoch; set per event, not per message.
    pub now: u64,
    pub pattern: Pattern,
    pub sessions: Vec<Session>,
    /// By session id, where it stands in `sessions`.
    places: Vec<u32>,
    /// Sessions that may be able to send.
    pub ready: Vec<usize>,
    /// Sessions whose first SEND has arrived and was answered.
    pub bound: usize,
    /// Connections that came through a proxy, with the session that their first SEND named.
    pub adopted: Vec<(usize, usize)>,
    pub held: BinaryHeap<Reverse<Held>>,
    pub record: Record,
    pub stalls: Stalls,
    /// Nanoseconds that we mean to wait.
    may_wait: u64,
    pub tracer: Option<Tracer>,
    /// When something was last settled or an octet arrived.
    pub moved_at: u64,
    /// Faults that belong to no session.
    pub stray: Wrong,
    /// Of messages due in the measured stretch.
    pub success_reports: u64,
    /// AUTHs that succeeded.
    pub auths: u64,
    pub notices: Notices,
    /// What makes going on useless.
    pub fatal: Option<String>,
    pub random: u64,
}

impl Board {
    pub fn new(plan: Arc<Plan>, thread: usize, run: [u8; 3], epoch: Instant) -> Self {
        let mut record = Record::new(plan.buckets());
        let main = |group: &&Group| group.role == Role::Main;
        if plan.groups.iter().filter(main).count() == 1 {
            record.only_main = plan.groups.iter().position(|group| main(&group));
        }
        let places = vec![ELSEWHERE; plan.sessions()];
        Self {
            plan,
            thread,
            run,
            epoch,
            now: 0,
            pattern: Pattern::new(),
            sessions: Vec::new(),
            places,
            ready: Vec::new(),
            bound: 0,
            adopted: Vec::new(),
            held: BinaryHeap::new(),
            record,
            stalls: Stalls::default(),
            may_wait: 0,
            tracer: None,
            moved_at: 0,
            stray: Wrong::default(),
            success_reports: 0,
            auths: 0,
            notices: Notices::default(),
            fatal: None,
            random: thread as u64,
        }
    }

    /// Between two looks at the clock we look at nothing else. What is longer than we meant to wait, and than a turn takes, is
    /// our own standing still.
    pub fn read_clock(&mut self) -> u64 {
        let now = self.epoch.elapsed().as_nanos() as u64;
        let allowed = std::mem::take(&mut self.may_wait);
        if now - self.now > STALL_NANOS.saturating_add(allowed) && self.now > 0 {
            self.stalls.push(self.now, now);
        }
        self.now = now;
        now
    }

    /// Until the next look at the clock this may pass; `None`: any time.
    pub fn may_wait(&mut self, time: Option<Duration>) {
        self.may_wait = time.map_or(u64::MAX, |time| time.as_nanos() as u64);
    }

    pub fn instant_to_clock(&self, instant: Instant) -> u64 {
        instant.saturating_duration_since(self.epoch).as_nanos() as u64
    }

    /// A session of this thread; returns its place.
    pub fn add_session(&mut self, session: Session) -> usize {
        let place = self.sessions.len();
        self.places[session.id as usize] = place as u32;
        self.sessions.push(session);
        place
    }

    /// The session of an id that this thread gave.
    pub fn local_session(&self, id: u32) -> Option<usize> {
        let place = *self.places.get(id as usize)?;
        (place != ELSEWHERE).then_some(place as usize)
    }

    /// Counts what went wrong with a session.
    pub fn note(
        &mut self,
        kind: Kind,
        code: Option<u16>,
        session: usize,
        example: impl FnOnce() -> String,
    ) {
        let id = self.sessions[session].id;
        self.notices.note(kind, code, "", Some(id), example);
    }

    /// Counts what went wrong with none in particular.
    pub fn note_stray(&mut self, kind: Kind, example: impl FnOnce() -> String) {
        self.notices.note(kind, None, "", None, example);
    }

    /// How long the relay took for what was due then: up to now, less the time that we stood still.
    fn took(&self, due_at: u64) -> u64 {
        self.stalls.awake(due_at, self.now)
    }

    /// Books what an event completed.
    pub fn progressed(&mut self, session: usize, progress: Progress) {
        let owner = self.sessions[session].flow.owner;
        if let Some(due_at) = progress.delivered {
            let took = self.took(due_at);
            self.record.delivered(owner, self.now, due_at, took);
        }
        if let Some(due_at) = progress.acknowledged {
            let took = self.took(due_at);
            self.record.acknowledged(owner, self.now, due_at, took);
        }
        if progress.settled {
            self.moved_at = self.now;
            self.ready.push(session);
        }
        if progress.confirmed.is_some()
            || progress.reported.is_some()
            || progress.contradicted.is_some()
        {
            self.progressed_seldom(session, progress);
        }
        if progress.settled && self.tracer.is_some() {
            self.trace(session);
        }
    }

    fn progressed_seldom(&mut self, session: usize, progress: Progress) {
        let owner = self.sessions[session].flow.owner;
        if let Some(due_at) = progress.confirmed {
            let took = self.took(due_at);
            self.record.confirmed(owner, due_at, took);
            self.success_reports += u64::from(self.record.measures(due_at));
        }
        if let Some(due_at) = progress.reported {
            let took = self.took(due_at);
            self.record.reported(owner, self.now, due_at, took);
        }
        if let Some(told) = progress.contradicted {
            self.note(Kind::Contradicted, Some(told.code()), session, String::new);
        }
    }

    /// Writes down the messages of a session that are settled.
    pub fn trace(&mut self, session: usize) {
        let Some(tracer) = &mut self.tracer else {
            return;
        };
        let session = &mut self.sessions[session];
        if session.ledger.has_traced() {
            let group = &self.plan.groups[session.slot.group].name;
            for traced in session.ledger.take_traced() {
                tracer.line(self.run, session.id, group, self.record.window.0, &traced);
            }
        }
    }

    /// Ends the account of a session. What is open has waited until now at least.
    pub fn close_account(&mut self, session: usize) -> u64 {
        let owner = self.sessions[session].flow.owner;
        let mut lost = 0;
        for open in self.sessions[session].ledger.close() {
            let waited = self.took(open.due_at);
            lost += u64::from(open.lost);
            self.record
                .waited(owner, open.due_at, waited, open.lost, open.unanswered);
        }
        self.trace(session);
        lost
    }

    /// Books a step of a connection's beginning: all before the run, in a run of rounds those that are measured.
    pub fn took_to_set_up(
        &mut self,
        took: u64,
        which: impl Fn(&mut Record) -> &mut Histogram<u64>,
    ) {
        if self.plan.rounds.is_none() || self.record.measures(self.now) {
            which(&mut self.record).saturating_record(took);
        }
    }

    pub fn octets_arrived(&mut self, session: usize, octets: u64) {
        self.moved_at = self.now;
        let owner = self.sessions[session].flow.owner;
        self.record.octets_arrived(owner, self.now, octets);
    }

    pub fn chunk_arrived(&mut self, session: usize) {
        if self.record.measures(self.now) {
            let bucket = self.sessions[session].flow.owner.bucket;
            self.record.buckets[bucket].sums.chunks += 1;
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
        let one = &mut self.sessions[session];
        let Stage::Binding { arrived, answered } = one.stage else {
            return;
        };
        let (arrived, answered) = (arrived | now_arrived, answered | now_answered);
        if !arrived || !answered {
            one.stage = Stage::Binding { arrived, answered };
            return;
        }
        one.stage = Stage::Ready;
        if one.broken_at != 0 {
            let took = self.stalls.awake(one.broken_at, self.now);
            self.record.recovery.saturating_record(took);
            one.broken_at = 0;
            one.free_since = self.now;
        }
        self.bound += 1;
        self.ready.push(session);
    }
}
