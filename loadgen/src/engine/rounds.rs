//! Rounds: both clients of a pair leave once their messages are settled, and come back as new ones.

use crate::plan::User;

use super::connection::{Connection, Stage};
use super::session::Stage as SessionStage;
use super::{Engine, setup};

impl Engine {
    /// After a flush: ends the rounds that are over, begins what is due.
    pub(super) fn leave_and_return(&mut self) {
        if self.leaving.is_empty() {
            return;
        }
        self.leaving.sort_unstable();
        self.leaving.dedup();
        for place in std::mem::take(&mut self.leaving) {
            let session = &self.board.sessions[place];
            let ends = [Some(session.sender), session.receiver];
            let ends: Vec<usize> = ends.into_iter().flatten().collect();
            if session.stage != SessionStage::Ready {
                continue;
            }
            let is_writing = |key: &usize| {
                let connection = &self.connections[*key];
                let waits = connection.link.as_ref().is_some_and(|l| l.waiting() > 0);
                waits || !connection.endpoint.out.is_empty()
            };
            if ends.iter().any(is_writing) {
                // The last 200 has to get out first.
                self.leaving.push(place);
                continue;
            }
            for key in ends {
                self.leave(key);
            }
            self.end_round(place);
        }
    }

    fn leave(&mut self, key: usize) {
        let old = &mut self.connections[key];
        let Some(mut link) = old.link.take() else {
            return;
        };
        link.close();
        let _ = self.poll.registry().deregister(link.stream());
        if old.stage == Stage::Ready {
            self.open -= 1;
        }
        let (user, relay): (Option<User>, usize) = (old.user.take(), old.relay);
        let tls = user.is_some() || self.board.plan.foreign_tls;
        let mut new = Connection::new(setup::client_uri(key, tls), user, relay);
        new.sessions = std::mem::take(&mut old.sessions);
        new.stands_still = old.stands_still;
        new.throttle = old.throttle.take();
        *old = new;
    }

    fn end_round(&mut self, place: usize) {
        let now = self.board.read_clock();
        let session = &mut self.board.sessions[place];
        session.stage = SessionStage::Opening;
        session.earlier = session.ledger.counts().sent;
        if self.board.record.measures(now) {
            let took = now.saturating_sub(session.round_due);
            self.board.record.rounds.saturating_record(took);
        }
        if self.board.plan.rate.is_none() {
            session.next_due = now;
        }
        let due = session.next_due;
        match due <= now {
            true => self.begin_round(place),
            false => self.schedule(place),
        }
    }

    /// Connects both clients again; the session's first SEND and its messages follow by themselves.
    pub(super) fn begin_round(&mut self, place: usize) {
        let session = &mut self.board.sessions[place];
        if session.next_due >= self.sending.1 || self.board.now >= self.sending.1 {
            return;
        }
        session.round_due = session.next_due;
        session.next_due += self.period as u64;
        if session.is_ready() {
            // The first round uses the connections that are there.
            self.board.ready.push(place);
            return;
        }
        let ends = [Some(session.sender), session.receiver];
        for key in ends.into_iter().flatten() {
            self.open(key);
        }
    }
}
