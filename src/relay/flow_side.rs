//! The outgoing connection's end of a route: chunks queue, custody begins, failures turn into
//! refusals or REPORTs (RFC 4976 §6.4.1).

use std::time::Instant;

use bytes::Bytes;

use crate::metrics::DropReason;
use crate::wire::{self, ByteRange, FailureReport, Flag, Template};

use super::Relay;
use super::command::{Command, Refusal};
use super::custody::{Covered, Fate};
use super::egress::Egress;
use super::flow::{Arriving, Flow, OutChunk};
use super::handoff::{Handoff, Up};
use super::keys::{ConnectionKey, CustodyKey, FlowKey, Place, TransactionKey};
use super::planted::{Fault, planted};
use super::route::Down;
use super::route_side::cost;
use super::transaction::{Kind, Piece, Progress};

impl Relay {
    /// Something for a flow of this shard.
    pub(super) fn down(&mut self, now: Instant, key: FlowKey, down: Down) {
        // One that is closed only writes the end-line of its open piece.
        let Some(flow) = self.flows.get(key).filter(|flow| !flow.closed) else {
            // It ended while this was on its way; the source hears of that, or has.
            if let Down::Request(request) = down {
                self.undeliverable(now, *request, &Refusal::NEXT_HOP_LOST);
            }
            return;
        };
        if flow.waits
            && let Some(connection) = self.connections.get_mut(flow.connection)
        {
            connection.waiting_octets += cost(&down);
        }
        match down {
            Down::Begin {
                sequence,
                template,
                range,
            } => self.chunk_begins(now, key, sequence, template, range),
            Down::Body(octets) => self.chunk_goes_on(key, octets),
            Down::Like(template) => self.chunks_are_like(key, template),
            Down::Again(chunk) => self.chunk_again(now, key, chunk),
            Down::End { flag, received } => self.chunk_ends(key, flag, received),
            Down::Stall => self.chunk_stalls(key),
            Down::Hurry => self.flow_hurries(key),
            Down::Cut => self.chunk_is_cut(key),
            Down::Stop => self.chunk_is_stopped(key),
            Down::Request(request) => self.request_goes_out(now, key, *request),
            Down::SessionOver => self.way_over(key),
            Down::SourceGone => self.flow_source_gone(key),
        }
    }

    fn chunk_begins(
        &mut self,
        now: Instant,
        key: FlowKey,
        sequence: u32,
        template: Template,
        range: Option<ByteRange>,
    ) {
        let flow = self.flows.get_mut(key).expect("the caller looked");
        let (back, source) = (flow.back, flow.source);
        let failure_report = template.failure_report();
        let start = range.map_or(1, |range| range.start);
        let custody = self
            .custodies
            .begin(back, source, sequence, start, failure_report, flow.way);
        let mut arriving = Arriving {
            custody,
            refused: false,
        };
        let refusal = self.refusal_of_chunk(now, key, failure_report);
        let flow = self.flows.get_mut(key).expect("the caller looked");
        let chunk = OutChunk::new(template, range, custody);
        let cost = chunk.charge;
        if let Some(refusal) = refusal {
            self.custodies
                .rest_resolved(custody, Fate::Released, &mut self.metrics.ledger);
            arriving.refused = true;
            flow.arriving = Some(arriving);
            self.ups
                .push_back((back, Up::Refused { sequence, refusal }));
            self.ups.push_back((back, Up::Credit(cost)));
            return;
        }
        flow.arriving = Some(arriving);
        flow.hurries = false;
        let saved = cost - flow.enter(chunk);
        if saved > 0 {
            self.ups.push_back((back, Up::Credit(saved)));
            // What came before need not wait for more of this one.
            self.flow_has_output(key);
        }
        self.make_room_for_chunk(key, failure_report);
    }

    /// Why a chunk may not begin in this flow, if so.
    pub(super) fn refusal_of_chunk(
        &self,
        now: Instant,
        key: FlowKey,
        failure_report: FailureReport,
    ) -> Option<Refusal> {
        let flow = self.flows.get(key).expect("the caller looked");
        let live = |session| self.sessions.is_live(now, session);
        if !flow.session.is_none_or(live) {
            return Some(Refusal::NO_SESSION);
        }
        let crowded = flow.waits && self.is_crowded(flow.connection);
        // With Failure-Report partial the oldest makes room, where the flow has one.
        let refused = match failure_report {
            FailureReport::Yes => true,
            FailureReport::Partial => flow.partials.is_empty(),
            FailureReport::No => false,
        };
        if refused && self.is_beyond_answers(flow) {
            return Some(Refusal::MEMORY);
        }
        let full = failure_report == FailureReport::Yes && self.is_full(flow);
        (crowded || full).then_some(Refusal::STOP)
    }

    /// As many transactions are open as may be.
    pub(super) fn is_full(&self, flow: &Flow) -> bool {
        flow.transactions >= self.settings.limits.transactions_per_session
            || self.is_beyond_answers(flow)
    }

    /// A chunk that began with Failure-Report partial takes the place of the oldest such one.
    pub(super) fn make_room_for_chunk(&mut self, key: FlowKey, failure_report: FailureReport) {
        let full = self.flows.get(key).is_some_and(|flow| self.is_full(flow));
        if full && failure_report == FailureReport::Partial {
            self.forget_oldest_partial(key);
        }
    }

    /// More waits for this dial than may.
    pub(super) fn is_crowded(&self, key: ConnectionKey) -> bool {
        self.connections.get(key).is_some_and(|connection| {
            connection.waiting_octets > self.settings.limits.dialling_octets
        })
    }

    fn chunk_goes_on(&mut self, key: FlowKey, octets: Bytes) {
        let flow = self.flows.get_mut(key).expect("the caller looked");
        match flow.arriving {
            Some(Arriving { refused: false, .. }) => {
                flow.queued += octets.len();
                let chunk = flow
                    .queue
                    .back_mut()
                    .expect("an arriving chunk is the last of its queue");
                chunk.push(octets);
                self.flow_has_output(key);
            }
            _ => self.ups.push_back((flow.back, Up::Credit(octets.len()))),
        }
    }

    /// The source is not read any more, so that a chunk which waits for its rest would wait for its own flow.
    fn flow_hurries(&mut self, key: FlowKey) {
        let flow = self.flows.get_mut(key).expect("the caller looked");
        flow.hurries = true;
        self.flow_has_output(key);
    }

    fn chunk_ends(&mut self, key: FlowKey, flag: Flag, received: Instant) {
        let flow = self.flows.get_mut(key).expect("the caller looked");
        let Some(Arriving {
            custody,
            refused: false,
        }) = flow.arriving.take()
        else {
            return;
        };
        let chunk = flow
            .queue
            .back_mut()
            .expect("an arriving chunk is the last of its queue");
        chunk.ends(flag, received);
        let octets = chunk.arrived();
        let back = flow.back;
        let ends_message = flag == Flag::Complete;
        self.custodies
            .take(custody, octets, ends_message, &mut self.metrics.ledger);
        let sequence = self.custodies.get(custody).expect("just taken").sequence;
        let last = sequence;
        self.ups.push_back((back, Up::Taken { sequence, last }));
        self.flow_has_output(key);
    }

    /// The chunk's source stalls: if it stands open on the wire it ends with `+`, so that the next hop does not wait for it
    /// (SEC-06).
    fn chunk_stalls(&mut self, key: FlowKey) {
        let Some(flow) = self.flows.get_mut(key) else {
            return;
        };
        let connection_key = flow.connection;
        if flow.is_framed() {
            self.flow_hurries(key);
        }
        if let Some(connection) = self.connections.get_mut(connection_key)
            && connection.egress.end_open(key)
        {
            self.announce(connection_key);
        }
    }

    /// The source is lost inside the chunk: what came of it leaves and ends `+`, which is the
    /// truth (CHK-19, D-29). Nobody is left to be told about it.
    fn chunk_is_cut(&mut self, key: FlowKey) {
        let flow = self.flows.get_mut(key).expect("the caller looked");
        let Some(Arriving {
            custody,
            refused: false,
        }) = flow.arriving.take()
        else {
            return;
        };
        if let Some(custody) = self.custodies.get_mut(custody) {
            custody.mute = true;
        }
        let chunk = flow
            .queue
            .back_mut()
            .expect("an arriving chunk is the last of its queue");
        let untouched = chunk.piece.is_none()
            && !chunk.continued
            && chunk.unsent == 0
            && chunk.parts.len() == 1;
        if untouched {
            let cost = chunk.charge;
            flow.queue.take_first(|chunk| {
                chunk
                    .parts
                    .front()
                    .is_some_and(|part| part.custody == custody)
            });
            flow.queued -= cost;
            let back = flow.back;
            self.ups.push_back((back, Up::Credit(cost)));
            self.custodies
                .rest_resolved(custody, Fate::Released, &mut self.metrics.ledger);
        } else {
            chunk.end = Some(Flag::More);
            let end = chunk.next_position();
            chunk
                .parts
                .back_mut()
                .expect("its own part is the last")
                .end = Some(end);
            self.flow_has_output(key);
        }
    }

    /// The source has refused the chunk itself: what is queued of it is not sent, or ends `#`
    /// (D-35). Chunks before it that were answered stay, so that one refusal is all there is.
    fn chunk_is_stopped(&mut self, key: FlowKey) {
        let flow = self.flows.get_mut(key).expect("the caller looked");
        let Some(Arriving {
            custody,
            refused: false,
        }) = flow.arriving.take()
        else {
            return;
        };
        if let Some(custody) = self.custodies.get_mut(custody) {
            custody.mute = true;
        }
        let flow = self.flows.get_mut(key).expect("looked up above");
        let (back, last) = (flow.back, flow.queue.back_mut());
        let Some(gone) = last.and_then(OutChunk::drop_last_part) else {
            self.abort_chunk_of(key, custody, &Refusal::STOP, true);
            return;
        };
        flow.queued = flow.queued.saturating_sub(gone);
        self.ups.push_back((back, Up::Credit(gone)));
        self.custodies
            .rest_resolved(custody, Fate::Released, &mut self.metrics.ledger);
        self.flow_has_output(key);
    }

    /// What is whole is still delivered; then the flow goes.
    pub(super) fn flow_source_gone(&mut self, key: FlowKey) {
        if !self.flows.contains(key) {
            return;
        }
        self.chunk_is_cut(key);
        let flow = self.flows.get_mut(key).expect("looked up above");
        flow.arriving = None;
        flow.source_gone = true;
        self.way_over(key);
        self.drop_flow_if_done(key);
    }

    /// Nothing further that comes into the flow counts for a session.
    pub(super) fn way_over(&mut self, key: FlowKey) {
        if let Some(way) = self.flows.get_mut(key).and_then(|flow| flow.way.take()) {
            self.custodies.ways.over(way);
        }
    }

    fn drop_flow_if_done(&mut self, key: FlowKey) {
        let Some(flow) = self.flows.get(key) else {
            return;
        };
        if flow.source_gone && flow.queue.is_empty() {
            let connection_key = flow.connection;
            let flow = self.flows.remove(key).expect("looked up above");
            self.resting.leave(&flow);
            if let Some(connection) = self.connections.get_mut(connection_key) {
                connection.egress.forget_flow(key, &flow, &self.flows);
                // A closing connection may have waited for this alone: `transmit` looks.
                let egress = &mut connection.egress;
                if connection.closing.is_some() && !egress.in_flight && !egress.announced {
                    egress.announced = true;
                    self.commands.push_back(Command::Transmit(connection_key));
                }
            }
        }
    }

    pub(super) fn flow_credited(&mut self, key: FlowKey, octets: usize) {
        if let Some(flow) = self.flows.get_mut(key) {
            flow.queued = flow.queued.saturating_sub(octets);
        }
        self.drop_flow_if_done(key);
    }

    pub(super) fn flow_has_output(&mut self, key: FlowKey) {
        self.line_up(key, Egress::schedule);
    }

    /// What the flow has waited for is there, and was not its turn.
    pub(super) fn flow_goes_on(&mut self, key: FlowKey) {
        self.line_up(key, Egress::schedule_last);
    }

    /// Gives the flow its place in line, if it may write.
    fn line_up(&mut self, key: FlowKey, schedule: fn(&mut Egress, FlowKey, &mut Flow)) {
        let Some(flow) = self.flows.get_mut(key) else {
            return;
        };
        let connection_key = flow.connection;
        let Some(connection) = self.connections.get_mut(connection_key) else {
            return;
        };
        if flow.is_ready(connection.egress.turns.unread) {
            schedule(&mut connection.egress, key, flow);
            self.announce(connection_key);
        } else if flow.waits_for_answers() {
            connection.egress.turns.wait(key);
        }
    }

    /// A piece needs no answer any more; the flow may have waited for that.
    fn piece_answered(&mut self, piece: &Piece) {
        let Some(flow) = self.flows.get_mut(piece.flow) else {
            return;
        };
        flow.transactions -= 1;
        if piece.failure_report == FailureReport::Yes {
            // Until its end-line is written the octets count with the open piece.
            flow.unanswered -= (piece.end - piece.start) as usize;
        }
        if flow.pace.is_some() && !planted(Fault::AnswerUnheeded) {
            self.flow_goes_on(piece.flow);
        }
    }

    /// The kernel has the piece's last octet: the hop timer runs (TMR-01).
    pub(super) fn piece_sent(&mut self, now: Instant, key: TransactionKey) {
        let mut patience = self.settings.limits.hop_timeout;
        if planted(Fault::ShortTimer) {
            patience /= 2;
        }
        let Some(transaction) = self.transactions.get_mut(key) else {
            return;
        };
        if transaction.progress == Progress::Sending {
            return;
        }
        transaction.sent_at = Some(now);
        let answered = matches!(&transaction.kind, Kind::Send(piece) if piece.answered_early);
        let connection = transaction.connection;
        if answered {
            self.piece_ended(key, Fate::Answered);
        } else {
            let unread = self.unread_time(connection);
            self.transactions.wait(key, now, patience, unread);
        }
    }

    /// The piece needs no further word.
    pub(super) fn piece_ended(&mut self, key: TransactionKey, fate: Fate) {
        let Some(transaction) = self.transactions.remove(key) else {
            return;
        };
        let Kind::Send(piece) = transaction.kind else {
            return;
        };
        self.piece_answered(&piece);
        if planted(Fault::CustodyKept) {
            return;
        }
        for custody in piece.covered.iter() {
            self.custodies
                .piece_resolved(*custody, fate, &mut self.metrics.ledger);
        }
    }

    /// The piece failed: one signal for what it carried, and the rest of its chunk is not sent
    /// (RPT-06, RSP-10, D-35).
    pub(super) fn piece_failed(&mut self, key: TransactionKey, refusal: &Refusal) {
        let Some(transaction) = self.transactions.remove(key) else {
            return;
        };
        let Kind::Send(piece) = transaction.kind else {
            return;
        };
        self.piece_answered(&piece);
        if transaction.progress == Progress::Sending {
            self.abort_front(piece.flow, refusal);
            return;
        }
        self.tell(
            &piece.template,
            piece.start,
            piece.end,
            &piece.covered,
            refusal,
        );
        let last = piece.covered.iter().last().copied();
        for custody in piece.covered.iter() {
            let fate = self.fate_of_failure(*custody);
            self.custodies
                .piece_resolved(*custody, fate, &mut self.metrics.ledger);
        }
        if let Some(last) = last {
            self.abort_chunk_of(piece.flow, last, refusal, true);
        }
    }

    /// The open piece of the flow's first chunk failed while it was written.
    fn abort_front(&mut self, key: FlowKey, refusal: &Refusal) {
        let first = self
            .flows
            .get(key)
            .and_then(|flow| flow.queue.front())
            .and_then(|chunk| chunk.parts.front());
        if let Some(custody) = first.map(|part| part.custody) {
            self.abort_chunk_of(key, custody, refusal, true);
        }
    }

    /// What is queued of the chunk that holds this custody is not sent. An open piece ends `#`.
    fn abort_chunk_of(
        &mut self,
        key: FlowKey,
        custody: CustodyKey,
        refusal: &Refusal,
        wire_alive: bool,
    ) {
        let Some(flow) = self.flows.get_mut(key) else {
            return;
        };
        let holds = |chunk: &OutChunk| chunk.parts.iter().any(|part| part.custody == custody);
        let Some(chunk) = flow.queue.iter_mut().find(|chunk| holds(chunk)) else {
            return;
        };
        let begun = chunk
            .piece
            .as_ref()
            .map_or(chunk.position, |piece| piece.start);
        let end = chunk.next_position();
        let template = chunk.template.clone();
        let mut covered = Covered::default();
        for part in chunk.parts.iter() {
            covered.push_back(part.custody);
        }
        let cleared = chunk.clear_body();
        let open = chunk.piece.is_some() && wire_alive;
        // What is said here is all that is said: no answer to the open piece matters any more.
        let transaction = chunk
            .piece
            .as_mut()
            .and_then(|piece| piece.transaction.take());
        if transaction.is_some_and(|key| self.transactions.remove(key).is_some()) {
            flow.transactions -= 1;
        }
        if let Some(piece) = &mut chunk.piece {
            flow.unanswered -= std::mem::take(&mut piece.unanswered);
        }
        let told = std::mem::replace(&mut chunk.aborted, true);
        chunk.end = Some(Flag::Abort);
        chunk.received = None;
        let credit = cleared + std::mem::take(&mut chunk.charge);
        if !open {
            flow.queue.take_first(holds);
        }
        flow.queued = flow.queued.saturating_sub(credit);
        let back = flow.back;
        if let Some(arriving) = &mut flow.arriving
            && covered.iter().any(|custody| *custody == arriving.custody)
        {
            arriving.refused = true;
        }
        self.ups.push_back((back, Up::Credit(credit)));
        if !told {
            self.tell(&template, begun, end, &covered, refusal);
        }
        for custody in covered.iter() {
            let fate = self.fate_of_failure(*custody);
            if open {
                self.custodies.darken(*custody, fate);
            } else {
                self.custodies
                    .rest_resolved(*custody, fate, &mut self.metrics.ledger);
            }
        }
        // An open piece still gets its end-line; and what stood behind the chunk may be able to
        // go where that one waited for answers.
        self.flow_has_output(key);
        if !open {
            self.drop_flow_if_done(key);
        }
    }

    /// Signals a failure over `start..end`: chunks already answered get one REPORT together,
    /// a chunk that is still coming in is refused (D-08).
    fn tell(
        &mut self,
        template: &Template,
        start: u64,
        end: u64,
        covered: &Covered,
        refusal: &Refusal,
    ) {
        let mut report_to: Option<(Place, CustodyKey)> = None;
        let mut end = end;
        for key in covered.iter() {
            let Some(custody) = self.custodies.get_mut(*key) else {
                continue;
            };
            if custody.taken {
                if custody.failure_report != FailureReport::No && !custody.mute {
                    report_to = Some((custody.source, *key));
                }
            } else {
                end = end.min(custody.start.max(start));
                if !std::mem::replace(&mut custody.mute, true) {
                    let (back, sequence) = (custody.back, custody.sequence);
                    self.ups.push_back((
                        back,
                        Up::Refused {
                            sequence,
                            refusal: refusal.clone(),
                        },
                    ));
                }
            }
        }
        let told = report_to.filter(|(source, _)| self.may_be_told(*source));
        let Some((source, custody)) = told else {
            return;
        };
        self.custodies
            .report_made(custody, &mut self.metrics.ledger);
        let id = self.random.transact_id();
        let total = template
            .total()
            .or((!template.has_blank_line()).then_some(0));
        let range = ByteRange {
            start,
            end: Some(end.saturating_sub(1)),
            total,
        };
        let mut octets = Vec::new();
        wire::encode_report(
            &mut octets,
            &id,
            template,
            range,
            refusal.code,
            Some(refusal.comment()),
        );
        let (octets, code) = (octets.into(), refusal.code);
        if source.shard == self.shard {
            self.reported(source.connection, octets, code);
        } else {
            self.hand(
                source.shard,
                Handoff::Report {
                    to: source.connection,
                    octets,
                    code,
                },
            );
        }
    }

    /// A source on this shard may have gone; one on another shard says so when it goes.
    fn may_be_told(&self, source: Place) -> bool {
        source.shard != self.shard
            || self.connections.contains(source.connection)
            || self.gone_links.knows(source.connection)
    }

    fn fate_of_failure(&self, key: CustodyKey) -> Fate {
        match self.custodies.get(key) {
            Some(custody) if custody.failure_report == FailureReport::No => {
                Fate::Dropped(DropReason::FailureReportNo)
            }
            Some(custody) if !self.may_be_told(custody.source) => {
                Fate::Dropped(DropReason::SourceGone)
            }
            _ => Fate::Reported,
        }
    }

    /// Too many open transactions never pause anybody: two sides could wait for answers behind
    /// each other's requests. With Failure-Report partial no answer is the usual case.
    fn forget_oldest_partial(&mut self, key: FlowKey) {
        while let Some(flow) = self.flows.get_mut(key) {
            let Some(oldest) = flow.partials.pop_front() else {
                return;
            };
            if self
                .transactions
                .get(oldest)
                .is_some_and(|transaction| transaction.progress == Progress::Waiting)
            {
                self.metrics.forgotten += 1;
                self.piece_ended(oldest, Fate::Released);
                return;
            }
        }
    }

    /// The flow's connection takes nothing more: everything queued in it fails, up to `left` chunks. With
    /// `wire_alive` an open piece still gets its end-line. True: there is no more.
    pub(super) fn fail_flow(
        &mut self,
        key: FlowKey,
        refusal: &Refusal,
        wire_alive: bool,
        left: &mut usize,
    ) -> bool {
        loop {
            let done = *left == 0;
            *left = left.saturating_sub(1);
            let Some(flow) = self.flows.get_mut(key) else {
                return true;
            };
            let Some(chunk) = flow
                .queue
                .iter_mut()
                .find(|chunk| !(chunk.aborted && wire_alive))
            else {
                return true;
            };
            if done {
                return false;
            }
            let custody = chunk
                .parts
                .front()
                .expect("a chunk has a part until it is written")
                .custody;
            self.abort_chunk_of(key, custody, refusal, wire_alive);
        }
    }
}
