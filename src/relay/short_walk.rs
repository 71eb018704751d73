//! The walk of a short message that has come whole and whose head came before on its connection, as most chats do:
//! transact-id, Message-ID and Byte-Range differ, and whatever was found out about the rest still holds.
//!
//! The long walk (`receive`, `send_request`, `forward`, `route_side`, `flow_side`) makes the rules. This one comes
//! to the same end in one step where none of them would refuse, wait, join or pause; in doubt it leaves the message
//! to the long one.

use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};

use crate::metrics::{Direction, MethodLabel};
use crate::wire::{
    Again, AnswerAgain, ByteRange, FailureReport, Flag, Head, Kind, Shape, Template,
};

use super::Relay;
use super::command::comment_of;
use super::connection::Connection;
use super::flow::{CHUNK_OVERHEAD, Flow, OutChunk};
use super::handoff::{Handoff, Up};
use super::keys::{ConnectionKey, FlowKey, RouteKey, ShardId};
use super::limits::{FILM_OCTETS, INTERRUPTIBLE_OCTETS};
use super::planted::{Fault, planted};
use super::response::is_success;
use super::route::{Answer, Down, Lane, Route, ShortChunk, Target, Unanswered};
use super::transaction::Kind as TransactionKind;

/// A SEND that has taken the long walk, as far as all with its shape are alike.
pub(super) struct Trodden {
    shape: Shape,
    route: RouteKey,
    template: Template,
    /// Its 200.
    answer: AnswerAgain,
    /// The shard of its flow knows the template.
    told: bool,
}

impl Trodden {
    /// What a chunk with this Message-ID costs besides its body.
    fn head_cost(&self, message_id: &[u8]) -> usize {
        let template = &self.template;
        CHUNK_OVERHEAD + template.len() - template.message_id().len() + message_id.len()
    }
}

/// A chunk that has come whole.
struct WholeChunk {
    sequence: u32,
    template: Template,
    range: Option<ByteRange>,
    body: Bytes,
    flag: Flag,
    received: Instant,
}

impl Relay {
    /// Takes what messages at the front of the connection's input may go this way.
    pub(super) fn walk_short(&mut self, now: Instant, key: ConnectionKey) {
        let lent = self
            .connections
            .get_mut(key)
            .map(|connection| connection.decoder.lend());
        if let Some(Some(mut octets)) = lent {
            octets.advance(self.walk_along(now, key, &octets));
            if let Some(connection) = self.connections.get_mut(key) {
                connection.decoder.give_back(octets);
            }
        }
    }

    /// The same with octets that have come just now and are the connection's next. Says how many are done with.
    pub(super) fn walk_ahead(&mut self, now: Instant, key: ConnectionKey, octets: &[u8]) -> usize {
        let Some(connection) = self.connections.get_mut(key) else {
            return 0;
        };
        let begins = connection.decoder.is_between_messages()
            && connection.heard
            && !connection.deaf
            && connection.held == 0
            && connection.spending.is_none();
        if !begins {
            return 0;
        }
        connection.used = now;
        connection.heard_at = Some(now);
        if connection.listens {
            self.heard_again(now, key);
        }
        let taken = self.walk_along(now, key, octets);
        if let Some(connection) = self.connections.get_mut(key) {
            connection.received += taken as u64;
        }
        taken
    }

    /// The same with one message of a transport that frames, which must hold exactly one of MSRP. Says whether it is
    /// done with.
    pub(super) fn walk_ahead_framed(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        octets: &[u8],
    ) -> bool {
        let Some(connection) = self.connections.get(key) else {
            return false;
        };
        let trodden = connection.trodden.as_ref().map(|trodden| trodden.shape);
        let again = connection
            .decoder
            .again(octets, INTERRUPTIBLE_OCTETS, trodden);
        again.is_some_and(|again| again.taken() == octets.len())
            && self.walk_ahead(now, key, octets) == octets.len()
    }

    /// How many of these octets were messages that could go this way.
    fn walk_along(&mut self, now: Instant, key: ConnectionKey, octets: &[u8]) -> usize {
        let closes = |connection: &Connection| connection.ends || connection.closing.is_some();
        if self.connections.get(key).is_none_or(closes) {
            return 0;
        }
        let mut done = 0;
        while let Some(taken) = self.step(now, key, &octets[done..]) {
            done += taken;
        }
        if done > 0 {
            if let Some(connection) = self.connections.get_mut(key) {
                connection.unfinished_since = None;
            }
            self.announce(key);
            self.judge_control(key);
        }
        done
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
        let is_open = |route: &Route| route.target != Target::Opening && route.lane == Lane::Chats;
        if !self.routes.get(route).is_some_and(is_open) {
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
            told: false,
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
        let Some((shard, flow)) = self.short_way(now, key, again, octets) else {
            return false;
        };
        // From here on it has its verdict, or waits for it.
        self.metrics.request(MethodLabel::Send, Direction::In);
        let connection = self.connections.get_mut(key).expect("looked at above");
        let trodden = connection.trodden.as_mut().expect("looked at above");
        let route_key = trodden.route;
        let route = self.routes.get_mut(route_key).expect("looked at above");
        let id = again.message_id(octets);
        let sequence = route.next(now);
        route.film = false;
        route.note_chunk(&self.hash_key, id, again.flag);
        connection.last_route = Some(route_key);
        connection.chat_moved(now, route_key);
        let cost = match shard == self.shard {
            true => self.take_here(now, key, flow, sequence, again, octets),
            false => self.hand_over(now, key, (shard, flow), sequence, again, octets),
        };
        self.outstanding += cost;
        if let Some(route) = self.routes.get_mut(route_key) {
            route.outstanding += cost;
        }
        if let Some(connection) = self.connections.get_mut(key) {
            connection.outstanding += cost;
        }
        true
    }

    /// The flow that takes the chunk, where nothing speaks against it.
    fn short_way(
        &self,
        now: Instant,
        key: ConnectionKey,
        again: &Again,
        octets: &[u8],
    ) -> Option<(ShardId, FlowKey)> {
        let limits = &self.settings.limits;
        let connection = self.connections.get(key)?;
        let trodden = connection.trodden.as_deref()?;
        let route = self.routes.get(trodden.route)?;
        let Target::Flow { shard, flow } = route.target else {
            return None;
        };
        let live = |session| self.sessions.is_live(now, session);
        let open =
            |flow: &Flow| flow.is_plain() && flow.session.is_none_or(live) && !self.is_full(flow);
        let announced = again.byte_range.and_then(|range| range.total);
        let cost = trodden.head_cost(again.message_id(octets)) + again.body(octets).len();
        let plain = self.draining.is_none()
            && again.flag != Flag::Abort
            && announced <= Some(FILM_OCTETS)
            && connection.proven
            && connection.spending.is_none()
            && connection.film_routes() == 0
            && self.is_still_claimed(route)
            && !self.is_memory_short()
            && connection.outstanding + cost < limits.queued_octets_per_connection
            && route.is_plain()
            && route.queued() + cost < limits.queued_octets_per_session
            && route.expires.is_none_or(|expires| now < expires)
            && route.session.is_none_or(live)
            // Another shard looks at its flow itself.
            && (shard != self.shard || self.flows.get(flow).is_some_and(open));
        plain.then_some((shard, flow))
    }

    /// The flow is one of this shard's: the chunk enters it and is answered. Says what it costs.
    fn take_here(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        flow: FlowKey,
        sequence: u32,
        again: &Again,
        octets: &[u8],
    ) -> usize {
        let connection = self.connections.get_mut(key).expect("the caller looked");
        let trodden = connection.trodden.as_ref().expect("the caller looked");
        let id = again.message_id(octets);
        let template = match planted(Fault::MessageIdKept) {
            false => trodden.template.again(id, again.byte_range),
            true => trodden.template.clone(),
        };
        if template.failure_report() == FailureReport::Yes && !planted(Fault::LostVerdict) {
            self.metrics.response(200, Direction::Out);
            let (tid, answer) = (again.transact_id(octets), &trodden.answer);
            let write = |out: &mut Vec<u8>| answer.encode(out, tid, id);
            connection.egress.push_response_with(write);
        }
        let chunk = WholeChunk {
            sequence,
            template,
            range: again.byte_range,
            body: Bytes::copy_from_slice(again.body(octets)),
            flag: again.flag,
            received: now,
        };
        self.take_whole(flow, chunk)
    }

    /// The flow is another shard's: the chunk goes there in one piece, and its answer waits. Says what it costs.
    fn hand_over(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        (shard, flow): (ShardId, FlowKey),
        sequence: u32,
        again: &Again,
        octets: &[u8],
    ) -> usize {
        let connection = self.connections.get_mut(key).expect("the caller looked");
        let trodden = connection.trodden.as_mut().expect("the caller looked");
        let (id, body) = (again.message_id(octets), again.body(octets));
        let failure_report = trodden.template.failure_report();
        if failure_report != FailureReport::No
            && let Some(route) = self.routes.get_mut(trodden.route)
        {
            let answer = trodden.answer.keep(again.transact_id(octets), id);
            route.unanswered.push_back(Unanswered {
                sequence,
                failure_report,
                answer: Answer::Kept(answer),
            });
        }
        let first = !std::mem::replace(&mut trodden.told, true);
        let like = first.then(|| Down::Like(Box::new(trodden.template.clone())));
        let mut both = BytesMut::with_capacity(id.len() + body.len());
        both.extend_from_slice(id);
        both.extend_from_slice(body);
        let chunk = ShortChunk {
            sequence,
            octets: both.freeze(),
            message_id_len: id.len(),
            range: again.byte_range,
            flag: again.flag,
            received: now,
            head_cost: trodden.head_cost(id),
        };
        let cost = chunk.cost();
        for down in like.into_iter().chain([Down::Again(chunk)]) {
            self.hand(shard, Handoff::Down { flow, down });
        }
        cost
    }

    /// The chunk is ours; says what it costs.
    fn take_whole(&mut self, key: FlowKey, chunk: WholeChunk) -> usize {
        let flow = self.flows.get_mut(key).expect("the caller looked");
        let start = chunk.range.map_or(1, |range| range.start);
        let custody = self.custodies.begin(
            flow.back,
            flow.source,
            chunk.sequence,
            start,
            chunk.template.failure_report(),
            flow.way,
        );
        self.custodies.take(
            custody,
            chunk.body.len() as u64,
            chunk.flag == Flag::Complete,
            &mut self.metrics.ledger,
        );
        let cost = flow.enter(OutChunk::new(chunk.template, chunk.range, custody))
            + flow.complete(chunk.body, chunk.flag, chunk.received);
        self.flow_has_output(key);
        cost
    }

    /// What the heads have in common of the short chunks that come from another shard from now on.
    pub(super) fn chunks_are_like(&mut self, key: FlowKey, template: Box<Template>) {
        if let Some(flow) = self.flows.get_mut(key) {
            flow.like = Some(template);
        }
    }

    /// A short chunk from another shard. The rules are those of a chunk that begins.
    pub(super) fn chunk_again(&mut self, now: Instant, key: FlowKey, chunk: ShortChunk) {
        let flow = self.flows.get(key).expect("the caller looked");
        let (back, sequence, cost) = (flow.back, chunk.sequence, chunk.cost());
        let like = flow.like.as_ref().expect("it was told before");
        let failure_report = like.failure_report();
        if let Some(refusal) = self.refusal_of_chunk(now, key, failure_report) {
            self.ups
                .push_back((back, Up::Refused { sequence, refusal }));
            self.ups.push_back((back, Up::Credit(cost)));
            return;
        }
        let mut body = chunk.octets;
        let template = like.again(&body[..chunk.message_id_len], chunk.range);
        body.advance(chunk.message_id_len);
        let whole = WholeChunk {
            sequence,
            template,
            range: chunk.range,
            body,
            flag: chunk.flag,
            received: chunk.received,
        };
        let saved = cost - self.take_whole(key, whole);
        if saved > 0 {
            self.ups.push_back((back, Up::Credit(saved)));
        }
        let last = sequence;
        self.ups.push_back((back, Up::Taken { sequence, last }));
        self.make_room_for_chunk(key, failure_report);
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
        // Spelled as the request had it, and nobody else: anything else is odd, and looked at.
        let asked = piece.template.from_path().first().unwrap_or_default();
        if *again.to_path(octets) != *asked {
            return false;
        }
        self.metrics.response(code, Direction::In);
        self.note_answer(now, found);
        self.send_succeeded(found);
        true
    }
}
