//! What leaves by one connection, and in which order: responses, then REPORTs and other
//! requests, then the sessions in turn (deficit round robin; who just came goes first).
//!
//! Alone, a message keeps one open chunk while it flows. As soon as something else waits it
//! ends with `+`, after at most 2,048 more octets (RFC 4975 §5.1, §7.1.1). A chunk once begun
//! always gets its end-line.

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use bytes::Bytes;

use crate::metrics::{Direction, MethodLabel, ReportOrigin, ShardMetrics};
use crate::wire::{self, EndLineGuard, FailureReport, Flag, TransactId};

use super::custody::{Covered, Custodies};
use super::flow::{Flow, Flows, OpenPiece, OutChunk, Turn};
use super::keys::{ConnectionKey, FlowKey, ReturnAddress, TransactionKey};
use super::limits::{FLUSH_OCTETS, FLUSH_SHARED_OCTETS, INTERRUPTIBLE_OCTETS, QUANTUM_OCTETS};
use super::pace::{Pace, Resting};
use super::planted::{Fault, planted};
use super::random::Random;
use super::responses::Responses;
use super::transaction::{Kind, Piece, Progress, Transaction, Transactions};
use super::turns::Turns;

/// A whole request other than SEND, or a REPORT of ours.
#[derive(Debug)]
pub(super) struct Whole {
    pub octets: Bytes,
    /// Whose route it counts on, and how much, until the kernel has it.
    pub back: Option<(ReturnAddress, usize)>,
    pub transaction: Option<TransactionKey>,
    /// It is a REPORT of ours, with this code.
    pub own_report: Option<u16>,
}

/// What the flush under way carries and what happens once the kernel has it.
#[derive(Debug)]
pub(super) enum Carried {
    /// A written piece: its timer starts.
    Piece {
        transaction: TransactionKey,
        received: Option<Instant>,
    },
    /// A written piece for which no answer is due.
    Released {
        covered: Covered,
        received: Option<Instant>,
    },
    /// A request whose response is awaited.
    Request(TransactionKey),
    /// Cost that the route no longer has outstanding.
    Credit {
        back: ReturnAddress,
        flow: Option<FlowKey>,
        octets: usize,
    },
}

/// Output of one connection.
#[derive(Default)]
pub(super) struct Egress {
    responses: Responses,
    requests: VecDeque<Whole>,
    /// Octets in the two queues above that requests of this connection made: responses, and
    /// REPORTs of ours. What others send here counts with them.
    pub control_octets: usize,
    pub turns: Turns,
    /// The flow whose SEND stands open on the wire.
    open: Option<FlowKey>,
    /// Flows that lead here.
    pub flows: BTreeSet<FlowKey>,
    pub in_flight: bool,
    /// Since when the kernel has taken nothing of the flush under way.
    pub waiting_since: Option<Instant>,
    pub carried: Vec<Carried>,
    /// A Transmit command is out and not yet followed.
    pub announced: bool,
}

/// The parts of the machine that writing needs.
pub(super) struct Pen<'a> {
    pub flows: &'a mut Flows,
    pub books: Books<'a>,
}

/// Where it is noted what was written.
pub(super) struct Books<'a> {
    pub custodies: &'a mut Custodies,
    pub transactions: &'a mut Transactions,
    pub random: &'a mut Random,
    pub metrics: &'a mut ShardMetrics,
    pub resting: &'a mut Resting,
    pub now: Instant,
    pub connection: ConnectionKey,
}

impl Egress {
    pub fn push_response(&mut self, octets: &[u8]) {
        self.control_octets += octets.len();
        self.responses.push(octets);
    }

    /// One that is written where it waits.
    pub fn push_response_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.control_octets += self.responses.push_with(write);
    }

    pub fn push_request(&mut self, request: Whole) {
        if request.back.is_none() {
            self.control_octets += request.octets.len();
        }
        self.requests.push_back(request);
    }

    /// REPORTs of ours that were not written, with their codes: the connection has gone.
    pub fn unwritten_reports(&mut self) -> impl Iterator<Item = (Bytes, u16)> {
        std::mem::take(&mut self.requests)
            .into_iter()
            .filter_map(|request| Some((request.octets, request.own_report?)))
    }

    /// The flow has something to send.
    pub fn schedule(&mut self, key: FlowKey, flow: &mut Flow) {
        if self.open != Some(key) {
            self.turns.come(key, flow);
        }
    }

    /// The flow may go on: what it waited for was not its turn, so it comes last.
    pub fn schedule_last(&mut self, key: FlowKey, flow: &mut Flow) {
        if self.open != Some(key) {
            self.turns.come_last(key, flow);
        }
    }

    fn is_ready(&self, key: FlowKey, flows: &Flows) -> bool {
        flows
            .get(key)
            .is_some_and(|flow| flow.is_ready(self.turns.unread))
    }

    /// Whether the flow has its place: in line, as the open one, or with nothing to write.
    pub fn is_in_place(&self, key: FlowKey, flow: &Flow) -> bool {
        flow.turn != Turn::None || self.open == Some(key) || !flow.is_ready(self.turns.unread)
    }

    /// A flow that was just taken out of `flows`.
    pub fn forget_flow(&mut self, key: FlowKey, flow: &Flow, flows: &Flows) {
        self.flows.remove(&key);
        self.turns.forget(key, flow, flows);
        if self.open == Some(key) {
            self.open = None;
        }
    }

    fn has_control(&self) -> bool {
        !self.responses.is_empty() || !self.requests.is_empty()
    }

    /// Whether `transmit` would write something.
    pub fn has_output(&mut self, flows: &mut Flows) -> bool {
        self.has_control()
            || self.open.is_some_and(|key| self.is_ready(key, flows))
            || self.turns.is_waited_for(flows)
    }

    /// Nothing queued, nothing open, nothing in flight.
    pub fn is_idle(&self, flows: &Flows) -> bool {
        !self.in_flight
            && !self.has_control()
            && self
                .flows
                .iter()
                .all(|key| flows.get(*key).is_none_or(|flow| flow.queue.is_empty()))
    }

    /// Appends what is to be sent now. True if there was anything.
    pub fn transmit(&mut self, out: &mut Vec<u8>, pen: &mut Pen<'_>) -> bool {
        let begin = out.len();
        if let Some(open) = self.open
            && (self.has_control() || self.turns.is_waited_for(pen.flows))
        {
            self.interrupt(open, out, pen);
        }
        let flush = if self.flows.len() > 1 {
            FLUSH_SHARED_OCTETS
        } else {
            FLUSH_OCTETS
        };
        let budget = begin + flush;
        if self.open.is_none() {
            // Whole requests must not keep the sessions out for ever.
            let share = if self.turns.is_waited_for(pen.flows) {
                flush / 2
            } else {
                flush
            };
            self.write_control(out, budget, share, pen);
        }
        while out.len() < budget {
            let Some(key) = self.next_turn(pen.flows) else {
                break;
            };
            self.take_turn(key, out, budget, pen);
        }
        out.len() > begin
    }

    /// Responses up to `budget`; of other requests at least one, and not more than `share`.
    fn write_control(&mut self, out: &mut Vec<u8>, budget: usize, share: usize, pen: &mut Pen<'_>) {
        let mut written = 0;
        while out.len() < budget {
            if let Some(octets) = self.responses.write_first(out) {
                self.control_octets -= octets;
            } else if let Some(request) = self.requests.front()
                && written > 0
                && written + request.octets.len() > share
            {
                break;
            } else if let Some(request) = self.requests.pop_front() {
                written += request.octets.len();
                out.extend_from_slice(&request.octets);
                match request.back {
                    Some((back, octets)) => self.carried.push(Carried::Credit {
                        back,
                        flow: None,
                        octets,
                    }),
                    None => self.control_octets -= request.octets.len(),
                }
                if let Some(code) = request.own_report {
                    let metrics = &mut *pen.books.metrics;
                    metrics.request(MethodLabel::Report, Direction::Out);
                    metrics.report(code, ReportOrigin::Relay);
                }
                if let Some(key) = request.transaction
                    && let Some(transaction) = pen.books.transactions.get_mut(key)
                {
                    transaction.progress = Progress::Written;
                    self.carried.push(Carried::Request(key));
                }
            } else {
                break;
            }
        }
        if self.requests.is_empty() {
            self.requests.shrink_to(4);
        }
    }

    /// Whose turn it is: the open one's, else as the line stands.
    fn next_turn(&mut self, flows: &mut Flows) -> Option<FlowKey> {
        match self.open {
            Some(open) => self.is_ready(open, flows).then_some(open),
            None => self.turns.next(flows),
        }
    }

    /// Ends the open chunk: by its own end if that is near, else with `+`.
    fn interrupt(&mut self, key: FlowKey, out: &mut Vec<u8>, pen: &mut Pen<'_>) {
        self.open = None;
        let Some(flow) = pen.flows.get_mut(key) else {
            return;
        };
        let Some(chunk) = flow.queue.front_mut() else {
            return;
        };
        let Some(piece) = &chunk.piece else { return };
        let written = (chunk.position - piece.start) as usize;
        let near = chunk.end.is_some() && chunk.unsent <= INTERRUPTIBLE_OCTETS;
        let limit = if near {
            chunk.unsent
        } else {
            INTERRUPTIBLE_OCTETS.saturating_sub(written)
        };
        let wrote = write_body(chunk, limit, out);
        flow.note_written(wrote.octets);
        let gone = wrote.octets + flow.take_charge();
        flow.deficit -= wrote.octets as isize;
        let back = flow.back;
        self.count_for_rate(key, wrote.octets, pen);
        self.credit(back, key, gone);
        self.end_piece(key, out, pen);
        let flow = pen.flows.get_mut(key).expect("looked up above");
        self.turns.come_last(key, flow);
    }

    fn take_turn(&mut self, key: FlowKey, out: &mut Vec<u8>, budget: usize, pen: &mut Pen<'_>) {
        self.open = None;
        loop {
            let alone = !self.turns.is_waited_for(pen.flows);
            let flow = pen.flows.get_mut(key).expect("next_turn found it");
            if alone {
                flow.deficit = QUANTUM_OCTETS as isize;
            }
            if flow.deficit <= 0 || out.len() >= budget || !flow.is_ready(self.turns.unread) {
                // The turn is over, or the source stalls. Alone, the chunk stays open.
                match (flow.has_open_piece(), alone) {
                    (true, true) => self.open = Some(key),
                    (true, false) => self.interrupt(key, out, pen),
                    (false, _) => self.turns.come_last(key, flow),
                }
                return;
            }
            let before = out.len();
            let room = budget - before;
            let room = if alone {
                room
            } else {
                room.min(flow.deficit as usize)
            };
            let back = flow.back;
            if let Some((carried, gone)) = write_whole(key, flow, out, &mut pen.books) {
                self.carried.push(carried);
                self.count_for_rate(key, out.len() - before, pen);
                self.credit(back, key, gone);
            } else {
                let (gone, ends) = write_some(key, flow, room, out, &mut pen.books);
                self.count_for_rate(key, out.len() - before, pen);
                self.credit(back, key, gone);
                if ends {
                    self.end_piece(key, out, pen);
                }
            }
            let flow = pen
                .flows
                .get_mut(key)
                .expect("a turn does not end its flow");
            // What nobody waited for is not held against it.
            flow.deficit = if alone {
                0
            } else {
                flow.deficit - (out.len() - before) as isize
            };
        }
    }

    /// What the flow has written counts for its rate, where others use the connection.
    fn count_for_rate(&self, key: FlowKey, octets: usize, pen: &mut Pen<'_>) {
        if self.flows.len() > 1
            && let Some(flow) = pen.flows.get_mut(key)
        {
            flow.wrote_beside_others(pen.books.now, key, octets, pen.books.resting);
        }
    }

    /// Writes the end-line of the open piece (the chunk's own flag if all of it is written,
    /// else `+`) and hands the piece to what watches over it.
    fn end_piece(&mut self, key: FlowKey, out: &mut Vec<u8>, pen: &mut Pen<'_>) {
        let flow = pen.flows.get_mut(key).expect("the caller holds the flow");
        let chunk = flow.queue.front_mut().expect("a piece is open");
        let piece = chunk.piece.take().expect("a piece is open");
        let whole = chunk.end.is_some() && chunk.unsent == 0;
        let mut flag = chunk.end.filter(|_| whole).unwrap_or(Flag::More);
        if planted(Fault::WrongFlag) && flag == Flag::Complete {
            flag = Flag::More;
        }
        if planted(Fault::NoContinuation) && !whole && chunk.end.is_some() {
            chunk.position += chunk.clear_body() as u64;
        }
        wire::encode_end(
            out,
            piece.id.as_bytes(),
            flag,
            chunk.template.has_blank_line(),
        );
        chunk.continued = true;
        let covered = cover(chunk, whole, pen.books.custodies);
        let received = chunk.received.filter(|_| whole);
        let position = chunk.position;
        let carried = match piece.transaction {
            None => Carried::Released { covered, received },
            Some(key) => match pen.books.transactions.get_mut(key) {
                Some(Transaction {
                    progress,
                    kind: Kind::Send(send),
                    ..
                }) => {
                    *progress = Progress::Written;
                    send.end = position;
                    send.covered = covered;
                    Carried::Piece {
                        transaction: key,
                        received,
                    }
                }
                // It failed while it was written: all has been said about it.
                _ => {
                    flow.unanswered -= piece.unanswered;
                    Carried::Released {
                        covered,
                        received: None,
                    }
                }
            },
        };
        self.carried.push(carried);
        if whole {
            let (back, gone) = (flow.back, flow.take_charge());
            flow.queue.pop_front();
            self.credit(back, key, gone);
        }
    }

    fn credit(&mut self, back: ReturnAddress, flow: FlowKey, more: usize) {
        if more == 0 {
            return;
        }
        for carried in self.carried.iter_mut().rev().take(3) {
            if let Carried::Credit {
                flow: Some(last),
                octets,
                ..
            } = carried
                && *last == flow
            {
                *octets += more;
                return;
            }
        }
        self.carried.push(Carried::Credit {
            back,
            flow: Some(flow),
            octets: more,
        });
    }
}

/// Writes the flow's first chunk in one go, if it is short and whole. Says what happens once the kernel has it, and what
/// has left the queue.
fn write_whole(
    key: FlowKey,
    flow: &mut Flow,
    out: &mut Vec<u8>,
    books: &mut Books<'_>,
) -> Option<(Carried, usize)> {
    let first = flow.queue.front()?;
    let fits = |pace: Pace| first.unsent <= pace.piece_octets;
    if !first.is_untouched() || !flow.pace.is_none_or(fits) {
        return None;
    }
    let mut chunk = flow.queue.pop_front()?;
    let id = fresh_id(&chunk, books.random);
    let octets = chunk.unsent;
    let start = chunk.position;
    chunk.template.encode(out, &id, chunk.range());
    books.metrics.request(MethodLabel::Send, Direction::Out);
    while let Some(slice) = chunk.pop(usize::MAX) {
        push_body(out, &slice);
    }
    let mut flag = chunk.end?;
    if planted(Fault::WrongFlag) && flag == Flag::Complete {
        flag = Flag::More;
    }
    let has_body = chunk.template.has_blank_line();
    wire::encode_end(out, id.as_bytes(), flag, has_body);
    let custody = chunk.parts.front()?.custody;
    books.custodies.piece_written(custody, true);
    let (covered, received) = (Covered::one(custody), chunk.received);
    let gone = octets + chunk.charge;
    let failure_report = chunk.template.failure_report();
    if failure_report == FailureReport::No {
        return Some((Carried::Released { covered, received }, gone));
    }
    let piece = Piece {
        flow: key,
        template: chunk.template,
        start,
        end: start + octets as u64,
        covered,
        failure_report,
        answered_early: false,
    };
    let transaction = books.transactions.begin(
        books.now,
        id.to_key(),
        books.connection,
        Progress::Written,
        Kind::Send(piece),
    );
    flow.transactions += 1;
    match failure_report {
        FailureReport::Partial => flow.partials.push_back(transaction),
        _ => flow.unanswered += octets,
    }
    let carried = Carried::Piece {
        transaction,
        received,
    };
    Some((carried, gone))
}

fn push_body(out: &mut Vec<u8>, slice: &[u8]) {
    out.extend_from_slice(slice);
    if planted(Fault::OctetFlipped)
        && slice.len() > 100
        && let Some(octet) = out.last_mut()
    {
        *octet ^= 1;
    }
}

/// Writes at most about `room` octets of the flow's first chunk, in its open piece or a new
/// one. Says what has left its queue, and whether the piece must end here.
fn write_some(
    key: FlowKey,
    flow: &mut Flow,
    room: usize,
    out: &mut Vec<u8>,
    books: &mut Books<'_>,
) -> (usize, bool) {
    let chunk = flow.queue.front_mut().expect("a ready flow has a chunk");
    if chunk.piece.is_none()
        && let Some(transaction) = begin_piece(key, chunk, out, books)
    {
        flow.transactions += 1;
        if chunk.template.failure_report() == FailureReport::Partial {
            flow.partials.push_back(transaction);
        }
    }
    let short = chunk.end.is_some() && chunk.unsent <= INTERRUPTIBLE_OCTETS;
    let room = if short { chunk.unsent } else { room.max(1) };
    let left = flow
        .pace
        .map(|pace| pace.piece_octets.saturating_sub(chunk.piece_octets()));
    let wrote = write_body(chunk, left.map_or(room, |left| room.min(left)), out);
    let full = left.is_some_and(|left| wrote.octets >= left);
    let whole = chunk.end.is_some() && chunk.unsent == 0;
    flow.note_written(wrote.octets);
    let gone = wrote.octets + flow.take_charge();
    (gone, wrote.collided || whole || full)
}

/// What `write_body` did.
struct Wrote {
    octets: usize,
    /// The next octets would complete the piece's own end-line: it must end here (SYN-16).
    collided: bool,
}

/// Starts an outgoing SEND under a fresh transact-id; a transaction watches over it if there
/// can be an answer that matters.
fn begin_piece(
    key: FlowKey,
    chunk: &mut OutChunk,
    out: &mut Vec<u8>,
    books: &mut Books<'_>,
) -> Option<TransactionKey> {
    let id = fresh_id(chunk, books.random);
    chunk.template.encode(out, &id, chunk.range());
    books.metrics.request(MethodLabel::Send, Direction::Out);
    let failure_report = chunk.template.failure_report();
    let transaction = (failure_report != FailureReport::No).then(|| {
        let piece = Piece {
            flow: key,
            template: chunk.template.clone(),
            start: chunk.position,
            end: chunk.position,
            covered: Covered::default(),
            failure_report,
            answered_early: false,
        };
        books.transactions.begin(
            books.now,
            id.to_key(),
            books.connection,
            Progress::Sending,
            Kind::Send(piece),
        )
    });
    chunk.piece = Some(Box::new(OpenPiece {
        id,
        transaction,
        start: chunk.position,
        unanswered: 0,
        guard: EndLineGuard::default(),
    }));
    transaction
}

/// A short chunk cannot be cut any more, so its transact-id must not occur in it.
fn fresh_id(chunk: &OutChunk, random: &mut Random) -> TransactId {
    loop {
        let id = random.transact_id();
        if !chunk.is_short() || chunk.clean {
            return id;
        }
        let mut guard = EndLineGuard::default();
        if !chunk
            .body()
            .any(|slice| guard.first_collision(&id, slice).is_some())
        {
            return id;
        }
    }
}

fn write_body(chunk: &mut OutChunk, limit: usize, out: &mut Vec<u8>) -> Wrote {
    let mut wrote = Wrote {
        octets: 0,
        collided: false,
    };
    let Some(mut piece) = chunk.piece.take() else {
        return wrote;
    };
    let mut left = limit.min(chunk.writable());
    while left > 0 {
        let Some(mut slice) = chunk.pop(left) else {
            break;
        };
        let collision = piece.guard.first_collision(&piece.id, &slice);
        if let Some(at) = collision {
            let rest = slice.split_off(at);
            if !rest.is_empty() {
                chunk.unpop(rest);
            }
            wrote.collided = true;
        }
        push_body(out, &slice);
        chunk.position += slice.len() as u64;
        wrote.octets += slice.len();
        left -= slice.len();
        if wrote.collided {
            break;
        }
    }
    chunk.piece = Some(piece);
    wrote
}

/// The custodies that a piece which ends at the chunk's position holds octets of. Parts that
/// are written to their end leave the chunk.
fn cover(chunk: &mut OutChunk, whole: bool, custodies: &mut Custodies) -> Covered {
    let mut covered = Covered::default();
    let mut reached = None;
    while let Some(part) = chunk.parts.front() {
        if !whole && reached.is_some_and(|reached| reached >= chunk.position) {
            break;
        }
        let complete =
            whole || part.end.is_some_and(|end| end <= chunk.position) && chunk.parts.len() > 1;
        covered.push_back(part.custody);
        custodies.piece_written(part.custody, complete);
        if !complete {
            break;
        }
        reached = part.end;
        chunk.parts.pop_front();
    }
    covered
}
