//! The record of a session: what it carried and how it ended. It is made once the session has
//! ended and every way that passed it has handed in its share: until then chunks that it had
//! begun may still be under way.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::metrics::{self, Along, Traffic};

use super::Relay;
use super::command::Command;
use super::handoff::Handoff;
use super::keys::{ReturnAddress, RouteKey, SessionKey};
use super::notices::Why;
use super::planted::{Fault, planted};
use super::route::Down;
use super::session::{Holder, Session};
use super::ways::{AllPassed, Passed, Share};

/// A session that has ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionRecord {
    pub began: Instant,
    pub ended: Instant,
    pub user: Arc<str>,
    pub realm: Arc<str>,
    /// The other side of the connection that it was granted on; none where that is not known.
    pub peer: Option<SocketAddr>,
    /// The relay that held it for one of its clients.
    pub relay: Option<Arc<str>>,
    pub cause: EndCause,
    /// What its holder sent.
    pub sent: Traffic,
    /// What was on its way to its holder.
    pub received: Traffic,
}

/// Why a session ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndCause {
    /// Its time was over (UPT-06).
    Expired,
    /// Its client's connection ended (UPT-08).
    Closed(metrics::CloseReason),
    /// The relay was shut down.
    Drained,
    /// Its holder is no longer let in.
    Revoked,
}

impl EndCause {
    pub(super) fn of(reason: metrics::CloseReason) -> Self {
        match reason {
            metrics::CloseReason::Drain => Self::Drained,
            metrics::CloseReason::Unverified => Self::Revoked,
            reason => Self::Closed(reason),
        }
    }
}

/// Sessions that have ended and wait for shares.
pub(super) type Ending = BTreeMap<SessionKey, (Session, Instant, EndCause)>;

impl Relay {
    /// A To-Path passes this session, for the route `back`.
    pub(super) fn pass(
        &mut self,
        key: SessionKey,
        along: Along,
        back: ReturnAddress,
        passed: &mut AllPassed,
    ) {
        let shard = self.shard;
        if let Some(session) = self.sessions.get_mut(key)
            && let Some(free) = passed.iter_mut().find(|place| place.is_none())
        {
            session.ways.insert(back);
            *free = Some(Passed {
                shard,
                session: key,
                along,
            });
        }
    }

    /// The session is no more. What was begun under it goes on; its record waits for that.
    pub(super) fn end_session(
        &mut self,
        now: Instant,
        key: SessionKey,
        cause: EndCause,
    ) -> Option<Holder> {
        let mut session = self.sessions.remove(key)?;
        self.forget_session(&session.holder, session.memory());
        // Its record needs neither.
        session.use_path = Box::default();
        session.leads_to = Box::default();
        let why = match cause {
            EndCause::Expired => Why::Expired,
            EndCause::Closed(_) => Why::Closed,
            EndCause::Drained | EndCause::Revoked => Why::Ended,
        };
        let bound = self.settings.limits.notices_remembered;
        self.sessions.remember_end(session.token, why, bound);
        self.session_left(now, &mut session);
        self.metrics.sessions = self.sessions.len() as u64;
        let holder = session.holder.clone();
        let claims = std::mem::take(&mut session.claims);
        self.claims_end(session.token, claims);
        self.remember_session(&holder, session.memory());
        self.ending.insert(key, (session, now, cause));
        self.tell_ways_of(now, key);
        if planted(Fault::RecordTooSoon) {
            self.record(key);
        }
        self.record_if_complete(key);
        Some(holder)
    }

    /// A session that this way passes has ended.
    pub(super) fn way_hears_of_end(&mut self, now: Instant, back: ReturnAddress) {
        if back.shard == self.shard {
            self.session_over(now, back.route);
        } else {
            let route = back.route;
            self.hand(back.shard, Handoff::SessionOver { route });
        }
    }

    /// A session that this route passes has ended: nothing further begins on it.
    pub(super) fn session_over(&mut self, now: Instant, key: RouteKey) {
        if let Some(route) = self.routes.get_mut(key) {
            route.expires = Some(now);
            self.push(now, key, Down::SessionOver);
        }
    }

    /// Hands in what is due of ways that are done.
    #[inline]
    pub(super) fn hand_in_shares(&mut self) {
        if !self.custodies.ways.done.is_empty() {
            self.hand_in_all();
        }
    }

    #[cold]
    fn hand_in_all(&mut self) {
        while let Some(way) = self.custodies.ways.done.pop() {
            self.hand_in(way.back, &way.passed, way.share);
        }
    }

    /// Each session that was passed gets its share.
    pub(super) fn hand_in(&mut self, back: ReturnAddress, passed: &AllPassed, share: Share) {
        for Passed {
            shard,
            session,
            along,
        } in passed.iter().flatten().copied()
        {
            if shard == self.shard {
                self.shared(session, back, along, share);
            } else {
                let share = Handoff::Share {
                    session,
                    back,
                    along,
                    share,
                };
                self.hand(shard, share);
            }
        }
    }

    /// At the session's shard: a way has handed in.
    pub(super) fn shared(
        &mut self,
        key: SessionKey,
        back: ReturnAddress,
        along: Along,
        share: Share,
    ) {
        let session = match self.sessions.get_mut(key) {
            Some(session) => session,
            None => match self.ending.get_mut(&key) {
                Some((session, ..)) => session,
                None => return,
            },
        };
        session.traffic[along as usize].add(&share.traffic);
        if along == Along::Sent {
            session.traffic[Along::Received as usize].reports += share.reports_back;
        }
        session.ways.remove(&back);
        self.record_if_complete(key);
    }

    fn record_if_complete(&mut self, key: SessionKey) {
        if self
            .ending
            .get(&key)
            .is_some_and(|(session, ..)| session.ways.is_empty())
        {
            self.record(key);
        }
    }

    fn record(&mut self, key: SessionKey) {
        let Some((session, ended, cause)) = self.ending.remove(&key) else {
            return;
        };
        self.forget_session(&session.holder, session.memory());
        let [sent, received] = session.traffic;
        let record = SessionRecord {
            began: session.began,
            ended,
            user: session.user,
            realm: session.realm,
            peer: session.peer,
            relay: match session.holder {
                Holder::Client(_) => None,
                Holder::Relay(name) => Some(name),
            },
            cause,
            sent,
            received,
        };
        self.commands
            .push_back(Command::SessionEnded(Box::new(record)));
    }

    /// Records that wait for shares.
    pub fn records_due(&self) -> usize {
        self.ending.len()
    }

    /// Before the end, on all shards: what is still under way will not be waited for.
    pub fn cut_records_short(&mut self, now: Instant) {
        self.now = now;
        self.custodies.ways.cut_short();
        self.deliver_ups(now);
    }

    /// At the end: makes the records that still wait, with what is known of them.
    pub fn last_records(&mut self) {
        while let Some(key) = self.ending.keys().next().copied() {
            self.record(key);
        }
    }
}
