//! Rounds: both clients of a pair leave once their messages are settled, and come back as new ones.

use super::Engine;
use super::connection::Stage;
use super::session::Stage as SessionStage;

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
            let ends: Vec<usize> = session.ends().collect();
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

    /// Closes a connection and puts a new client in its place.
    pub(super) fn leave(&mut self, key: usize) {
        let old = &mut self.connections[key];
        let Some(mut link) = old.link.take() else {
            return;
        };
        link.close();
        let _ = self.poll.registry().deregister(link.stream());
        match old.stage {
            Stage::Ready => self.open -= 1,
            _ => self.opening -= 1,
        }
        self.renew(key);
    }

    fn end_round(&mut self, place: usize) {
        let now = self.board.read_clock();
        let session = &mut self.board.sessions[place];
        session.stage = SessionStage::Opening;
        session.earlier = session.ledger.begun();
        let due = session.round_due;
        if self.board.record.measures(due) {
            let took = self.board.stalls.awake(due, now);
            self.board.record.rounds.saturating_record(took);
        }
        let session = &mut self.board.sessions[place];
        if self
            .board
            .plan
            .rounds
            .is_some_and(|rounds| rounds.rate.is_none())
        {
            session.next_due = now;
        }
        match session.next_due <= now {
            true => self.begin_round(place),
            false => self.schedule(place),
        }
    }

    /// At the end: a round whose messages all went out, and that did not end, has waited until now at least.
    pub(super) fn close_round(&mut self, place: usize) {
        let session = &self.board.sessions[place];
        let waits = session.has_begun_all() && session.ledger.unsettled() > 0;
        if waits
            && self.board.plan.rounds.is_some()
            && self.board.record.measures(session.round_due)
        {
            let waited = self.board.stalls.awake(session.round_due, self.board.now);
            self.board.record.rounds.saturating_record(waited);
        }
    }

    /// Connects both clients again; the session's first SEND and its messages follow by themselves.
    pub(super) fn begin_round(&mut self, place: usize) {
        let session = &mut self.board.sessions[place];
        if session.next_due >= self.sending.1 || self.board.now >= self.sending.1 {
            return;
        }
        session.round_due = session.next_due;
        session.next_due += self.round_period;
        if session.is_ready() {
            // The first round uses the connections that are there.
            self.board.ready.push(place);
            return;
        }
        for key in session.ends() {
            self.open(key);
        }
    }
}
