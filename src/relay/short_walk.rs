//! The walk of a short message that has come whole and whose head came before on its connection, as most chats do:
//! transact-id, Message-ID and Byte-Range differ, and whatever was found out about the rest still holds.
//!
//! The long walk (`receive`, `send_request`, `forward`, `route_side`, `flow_side`) makes the rules. This one comes
//! to the same end in one step where none of them would refuse, wait, join or pause; in doubt it leaves the message
//! to the long one.

use std::time::Instant;

use bytes::{Buf, Bytes};

use crate::metrics::{Direction, MethodLabel};
use crate::wire::{Again, AnswerAgain, FailureReport, Flag, Head, Kind, Shape, Template};

use super::Relay;
use super::command::comment_of;
use super::custody::Fate;
use super::flow::{CHUNK_OVERHEAD, OutChunk};
use super::keys::{ConnectionKey, RouteKey};
use super::limits::{FILM_OCTETS, INTERRUPTIBLE_OCTETS};
use super::planted::{Fault, planted};
use super::response::is_success;
use super::route::{Route, Target};
use super::transaction::{Kind as TransactionKind, Progress};

/// A SEND that has taken the long walk, as far as all with its shape are alike.
pub(super) struct Trodden {
    shape: Shape,
    route: RouteKey,
    template: Template,
    /// Its 200.
    answer: AnswerAgain,
}

impl Relay {
    /// Takes what messages at the front of the input may go this way.
    pub(super) fn walk_short(&mut self, now: Instant, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.ends || connection.closing.is_some() {
            return;
        }
        let Some(mut octets) = connection.decoder.lend() else {
            return;
        };
        let before = octets.len();
        while let Some(taken) = self.step(now, key, &octets) {
            octets.advance(taken);
        }
        let any = octets.len() < before;
        if let Some(connection) = self.connections.get_mut(key) {
            connection.decoder.give_back(octets);
            if any {
                connection.unfinished_since = None;
            }
        }
        if any {
            self.announce(key);
            self.judge_control(key);
        }
    }

    /// Takes the first message, and says how long it was.
    fn step(&mut self, now: Instant, key: ConnectionKey, octets: &[u8]) -> Option<usize> {
        let connection = self.connections.get(key)?;
        let trodden = connection.trodden.as_ref().map(|trodden| trodden.shape);
        let again = connection
            .decoder
            .again(octets, INTERRUPTIBLE_OCTETS, trodden)?;
        let taken = match again.kind {
            Kind::Request(_) => self.short_send(now, key, &again, octets),
            Kind::Response { code } => self.short_response(now, key, &again, octets, code),
        };
        taken.then(|| again.taken())
    }

    /// After the long walk of a SEND whose head had come before: the next one may take the short one.
    pub(super) fn tread(
        &mut self,
        key: ConnectionKey,
        route: RouteKey,
        head: &Head,
        template: &Template,
    ) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let Some(shape) = connection.decoder.shape() else {
            return;
        };
        let here = |route: &Route| matches!(route.target, Target::Flow { shard, .. } if shard == self.shard);
        if !self.routes.get(route).is_some_and(here) {
            return;
        }
        if connection
            .trodden
            .as_ref()
            .is_some_and(|known| known.shape == shape && known.route == route)
        {
            return;
        }
        let (Some(to), Some(from)) = (head.from_path().first(), head.to_path().first()) else {
            return;
        };
        connection.trodden = Some(Box::new(Trodden {
            shape,
            route,
            template: template.clone(),
            answer: AnswerAgain::new(200, comment_of(200), to, from),
        }));
    }

    /// What was found out may not hold any longer.
    pub(super) fn tread_no_more(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.trodden = None;
        }
    }

    fn short_send(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        again: &Again,
        octets: &[u8],
    ) -> bool {
        let limits = &self.settings.limits;
        let Some(connection) = self.connections.get_mut(key) else {
            return false;
        };
        let Some(trodden) = connection.trodden.as_deref() else {
            return false;
        };
        let route_key = trodden.route;
        let Some(route) = self.routes.get_mut(route_key) else {
            return false;
        };
        let Target::Flow { shard, flow } = route.target else {
            return false;
        };
        let flow_key = flow;
        let flow = self.flows.get_mut(flow).filter(|_| shard == self.shard);
        let Some(flow) = flow else {
            return false;
        };
        let (id, body, range) = (
            again.message_id(octets),
            again.body(octets),
            again.byte_range,
        );
        let template = &trodden.template;
        let failure_report = template.failure_report();
        let live = |session| self.sessions.is_live(now, session);
        let longest = CHUNK_OVERHEAD + template.len() + id.len() + body.len();
        let plain = self.draining.is_none()
            && again.flag != Flag::Abort
            && connection.proven
            && connection.spending.is_none()
            && connection.film_routes.is_empty()
            && range.and_then(|range| range.total) <= Some(FILM_OCTETS)
            && route.is_plain()
            && route.expires.is_none_or(|expires| now < expires)
            && route.session.is_none_or(live)
            && flow.is_plain()
            && flow.session.is_none_or(live)
            && flow.transactions < limits.transactions_per_session
            && route.queued() + longest < limits.queued_octets_per_session
            && connection.outstanding + longest < limits.queued_octets_per_connection;
        if !plain {
            return false;
        }

        // From here on it is ours.
        self.metrics.request(MethodLabel::Send, Direction::In);
        let sequence = route.next(now);
        route.film = false;
        route.note_chunk(id, again.flag);
        let start = range.map_or(1, |range| range.start);
        let custody = self.custodies.begin(
            flow.back,
            flow.source,
            sequence,
            start,
            failure_report,
            flow.way,
        );
        self.custodies.take(
            custody,
            body.len() as u64,
            again.flag == Flag::Complete,
            &mut self.metrics.ledger,
        );
        let cost = flow.enter(OutChunk::new(template.again(id, range), range, custody))
            + flow.complete(Bytes::copy_from_slice(body), again.flag, now);
        route.outstanding += cost;
        self.outstanding += cost;
        connection.outstanding += cost;
        if failure_report == FailureReport::Yes && !planted(Fault::LostVerdict) {
            let (tid, answer) = (again.transact_id(octets), &trodden.answer);
            connection
                .egress
                .push_response_with(|out| answer.encode(out, tid, id));
            self.metrics.response(200, Direction::Out);
        }
        connection.last_route = Some(route_key);
        connection.chat_moved(now, route_key);
        self.flow_has_output(flow_key);
        true
    }

    fn short_response(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        again: &Again,
        octets: &[u8],
        code: u16,
    ) -> bool {
        if !is_success(code) || again.flag != Flag::Complete || !again.body(octets).is_empty() {
            return false;
        }
        let Some(found) = again.own_id.and_then(|id| self.transactions.find(id, key)) else {
            return false;
        };
        let Some(transaction) = self.transactions.get(found) else {
            return false;
        };
        let TransactionKind::Send(piece) = &transaction.kind else {
            return false;
        };
        // Spelled as the request had it (RSP-04).
        let asked = piece.template.from_path().first().unwrap_or_default();
        let ours = again.to_path(octets).strip_prefix(asked);
        if transaction.progress == Progress::Sending || !matches!(ours, Some([] | [b' ', ..])) {
            return false;
        }
        self.metrics.response(code, Direction::In);
        if let Some(sent_at) = transaction.sent_at {
            let took = now.saturating_duration_since(sent_at);
            self.metrics.transaction_duration.record(took);
        }
        self.piece_ended(found, Fate::Answered);
        true
    }
}
