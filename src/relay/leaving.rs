//! What ends with a connection may be many thousand sessions, flows and requests. Each turn ends a
//! part of them, so that others wait for no more than that.
//!
//! First what is queued in its flows fails, then its open transactions do, the oldest first, then the
//! flows themselves end (RPT-14).

use std::collections::VecDeque;
use std::ops::Bound;
use std::time::Instant;

use super::Relay;
use super::command::Refusal;
use super::keys::{ConnectionKey, FlowKey, ReturnAddress, SessionKey};
use super::records::EndCause;

/// Sessions, chunks, transactions, flows and routes that end in one turn. Each may cost a REPORT.
pub const ENDS_AT_ONCE: usize = 512;

/// A session that fewer pass tells them at once.
const WAYS_AT_ONCE: usize = 16;

/// What a connection leaves that has ended, or of which nothing but what it is owed is left.
pub(super) struct Leaving {
    connection: ConnectionKey,
    /// Its responses, REPORTs and the end-line of an open chunk still go out.
    wire_alive: bool,
    /// The code for what was on its way to it.
    refusal: Refusal,
    /// What ends its sessions.
    cause: EndCause,
    sessions: VecDeque<SessionKey>,
    flows: Vec<FlowKey>,
    stage: Stage,
}

/// What is next.
#[derive(Clone, Copy)]
enum Stage {
    Sessions,
    /// What is queued in the flows from this one on.
    Queues(usize),
    Transactions,
    /// The flows from this one on.
    Flows(usize),
    Done,
}

impl Leaving {
    pub fn new(
        connection: ConnectionKey,
        wire_alive: bool,
        refusal: Refusal,
        cause: EndCause,
        sessions: impl IntoIterator<Item = SessionKey>,
        flows: Vec<FlowKey>,
    ) -> Self {
        Self {
            connection,
            wire_alive,
            refusal,
            cause,
            sessions: sessions.into_iter().collect(),
            flows,
            stage: Stage::Sessions,
        }
    }
}

/// What ends in the next turns.
#[derive(Default)]
pub(super) struct Ends {
    connections: VecDeque<Leaving>,
    /// Sessions whose ways are to hear that they have ended, from behind this one on.
    sessions: VecDeque<(SessionKey, Option<ReturnAddress>)>,
}

impl Ends {
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty() && self.sessions.is_empty()
    }

    /// Whether something is left of this connection.
    pub fn has(&self, key: ConnectionKey) -> bool {
        (self.connections.iter()).any(|leaving| leaving.connection == key)
    }

    /// Connections that leave something.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }
}

impl Relay {
    /// The first part at once: for most connections that is all.
    pub(super) fn work_off_now(&mut self, now: Instant, mut leaving: Leaving) {
        let mut left = self.settings.ends_at_once;
        if !self.work_off(now, &mut leaving, &mut left) {
            self.ends.connections.push_back(leaving);
        }
    }

    /// Some of what ends. There may be more.
    pub(super) fn go_on_ending(&mut self, now: Instant) {
        let mut left = self.settings.ends_at_once;
        while left > 0
            && let Some((session, told)) = self.ends.sessions.pop_front()
        {
            if let Some(told) = self.tell_ways(now, session, told, &mut left) {
                self.ends.sessions.push_front((session, told));
            }
        }
        while left > 0
            && let Some(mut leaving) = self.ends.connections.pop_front()
        {
            if !self.work_off(now, &mut leaving, &mut left) {
                self.ends.connections.push_front(leaving);
            }
        }
        if self.ends.is_empty() {
            self.ends = Ends::default();
        }
    }

    /// A session has ended: what passes it is to begin nothing more under it.
    pub(super) fn tell_ways_of(&mut self, now: Instant, session: SessionKey) {
        let ways = self.ending.get(&session);
        let mut ways = ways.map_or(0, |(ended, ..)| ended.ways.len());
        if ways <= WAYS_AT_ONCE {
            self.tell_ways(now, session, None, &mut ways);
        } else {
            self.ends.sessions.push_back((session, None));
        }
    }

    /// If there are more: the last one that was told.
    fn tell_ways(
        &mut self,
        now: Instant,
        key: SessionKey,
        mut told: Option<ReturnAddress>,
        left: &mut usize,
    ) -> Option<Option<ReturnAddress>> {
        let behind = |told: Option<ReturnAddress>| {
            let from = told.map_or(Bound::Unbounded, Bound::Excluded);
            (from, Bound::Unbounded)
        };
        while let Some((session, ..)) = self.ending.get(&key)
            && let Some(back) = session.ways.range(behind(told)).next().copied()
        {
            if *left == 0 {
                return Some(told);
            }
            *left -= 1;
            told = Some(back);
            self.way_hears_of_end(now, back);
        }
        None
    }

    /// So much of what a connection leaves ends. True: there is no more.
    fn work_off(&mut self, now: Instant, leaving: &mut Leaving, left: &mut usize) -> bool {
        while !matches!(leaving.stage, Stage::Done) {
            if *left == 0 {
                return false;
            }
            leaving.stage = self.end_one(now, leaving, left);
        }
        let key = leaving.connection;
        if let Some(connection) = self.connections.get_mut(key) {
            connection.leaves = false;
            self.settle_later(key);
        } else if !leaving.wire_alive {
            self.connections.free_place(key);
        }
        true
    }

    /// Ends one thing, and says what is next.
    fn end_one(&mut self, now: Instant, leaving: &mut Leaving, left: &mut usize) -> Stage {
        let (refusal, wire_alive) = (&leaving.refusal, leaving.wire_alive);
        match leaving.stage {
            Stage::Sessions => match leaving.sessions.pop_front() {
                Some(session) => {
                    *left -= 1;
                    self.end_session(now, session, leaving.cause);
                    Stage::Sessions
                }
                None => Stage::Queues(0),
            },
            Stage::Queues(at) => match leaving.flows.get(at) {
                Some(flow) if self.fail_flow(*flow, refusal, wire_alive, left) => {
                    Stage::Queues(at + 1)
                }
                Some(_) => Stage::Queues(at),
                None => Stage::Transactions,
            },
            Stage::Transactions => match self.transactions.oldest_of(leaving.connection) {
                Some(transaction) => {
                    *left -= 1;
                    self.fail_transaction(now, transaction, refusal);
                    Stage::Transactions
                }
                None => Stage::Flows(0),
            },
            Stage::Flows(at) => match leaving.flows.get(at) {
                // Something may have come meanwhile.
                Some(flow) if self.fail_flow(*flow, refusal, wire_alive, left) => {
                    self.close_flow(*flow, refusal, wire_alive);
                    Stage::Flows(at + 1)
                }
                Some(_) => Stage::Flows(at),
                None if self.transactions.oldest_of(leaving.connection).is_some() => {
                    Stage::Transactions
                }
                None => Stage::Done,
            },
            Stage::Done => Stage::Done,
        }
    }
}
