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
use crate::wire::{self, Flag};

use super::custody::{Covered, Custodies};
use super::flow::{Flow, Flows, Turn};
use super::keys::{ConnectionKey, FlowKey, ReturnAddress, TransactionKey};
use super::limits::{FLUSH_OCTETS, FLUSH_SHARED_OCTETS, INTERRUPTIBLE_OCTETS, QUANTUM_OCTETS};
use super::memory::further_chunks;
use super::pace::Resting;
use super::pieces::{cover, write_body, write_some, write_whole};
use super::planted::{Fault, planted};
use super::random::Random;
use super::responses::Responses;
use super::transaction::{Kind, Progress, Transaction, Transactions};
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
    /// That SEND is to end, for its source stalls.
    open_stalls: bool,
    /// Flows that lead here.
    pub flows: BTreeSet<FlowKey>,
    /// Where each message leaves in a frame of the transport: where those end that the last `transmit` wrote.
    #[allow(clippy::box_collection, reason = "most connections have none")]
    pub frame_ends: Option<Box<Vec<usize>>>,
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
    /// With `frames` it notes where each message ends, and leaves none open.
    pub fn new(frames: bool) -> Self {
        Self {
            frame_ends: frames.then(Box::default),
            ..Self::default()
        }
    }

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

    /// The flow's SEND is to end if it stands open: whether it does.
    pub fn end_open(&mut self, key: FlowKey) -> bool {
        self.open_stalls |= self.open == Some(key);
        self.open_stalls
    }

    fn has_control(&self) -> bool {
        !self.responses.is_empty() || !self.requests.is_empty()
    }

    /// Whether `transmit` would write something.
    pub fn has_output(&mut self, flows: &mut Flows) -> bool {
        self.has_control()
            || self.open_stalls
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
        let stalls = std::mem::take(&mut self.open_stalls);
        if let Some(ends) = &mut self.frame_ends {
            ends.clear();
        }
        if let Some(open) = self.open
            && (stalls || self.has_control() || self.turns.is_waited_for(pen.flows))
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
                self.frame_ends_at(out.len());
            } else if let Some(request) = self.requests.front()
                && written > 0
                && written + request.octets.len() > share
            {
                break;
            } else if let Some(request) = self.requests.pop_front() {
                written += request.octets.len();
                out.extend_from_slice(&request.octets);
                self.frame_ends_at(out.len());
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
        // What goes on needs its head once more, which shall not be most of what is sent.
        let head = chunk.template.len();
        let limit = if near {
            chunk.unsent
        } else {
            INTERRUPTIBLE_OCTETS.max(head).saturating_sub(written)
        };
        let frame = flow.pace.and_then(|pace| pace.frame_body(&chunk.template));
        let frame = frame.filter(|_| !planted(Fault::FrameExceeded));
        let limit = frame.map_or(limit, |body| limit.min(body.saturating_sub(written)));
        let wrote = write_body(chunk, limit, out);
        let goes_on = chunk.end.is_none() || chunk.unsent > 0;
        let repeated = head.saturating_sub(written + wrote.octets);
        flow.note_written(wrote.octets);
        let gone = wrote.octets + flow.take_charge();
        flow.deficit -= wrote.octets as isize;
        let back = flow.back;
        self.count_for_rate(key, wrote.octets, pen);
        self.credit(back, key, gone);
        self.end_piece(key, out, pen);
        let flow = pen.flows.get_mut(key).expect("looked up above");
        if goes_on && repeated > 0 {
            flow.repeats_head(pen.books.now, key, repeated, pen.books.resting);
        }
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
                // In a frame of the transport nothing stays open.
                match (flow.has_open_piece(), alone && self.frame_ends.is_none()) {
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
                self.frame_ends_at(out.len());
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
        if let Some(ends) = &mut self.frame_ends {
            ends.push(out.len());
        }
        chunk.continued = true;
        let covered = cover(chunk, whole, pen.books.custodies);
        let received = chunk.received.filter(|_| whole);
        let position = chunk.position;
        let further = further_chunks(&covered);
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
                    if further > 0 {
                        pen.books.transactions.grew(key, further);
                    }
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

    fn frame_ends_at(&mut self, octets: usize) {
        if let Some(ends) = &mut self.frame_ends {
            if planted(Fault::FramesJoined) {
                ends.pop();
            }
            ends.push(octets);
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
