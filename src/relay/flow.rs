//! One session's share of an outgoing connection: the chunks that wait for their turn.
//!
//! A chunk is queued while it still arrives. Chunks of one message that follow one another
//! while they wait are merged (CHK-11); each chunk's own bounds are kept for its custody.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use crate::wire::{ByteRange, EndLineGuard, FailureReport, Flag, Template, TransactId};

use super::few::Few;
use super::keys::{
    ConnectionKey, CustodyKey, FlowKey, Place, ReturnAddress, SessionKey, TransactionKey, WayKey,
};
use super::limits::{COPY_BELOW_OCTETS, INTERRUPTIBLE_OCTETS, PARTS_MAX};
use super::pace::{Pace, RateKey};
use super::planted::{Fault, planted};
use super::slots::Slots;

/// What a queued chunk costs besides its octets.
pub(super) const CHUNK_OVERHEAD: usize = 256;

/// An incoming chunk inside an outgoing one.
#[derive(Debug)]
pub(super) struct Part {
    pub custody: CustodyKey,
    /// Position after its last octet, once its end-line is in.
    pub end: Option<u64>,
}

/// The outgoing SEND that is being written.
pub(super) struct OpenPiece {
    pub id: TransactId,
    /// None for Failure-Report no: nothing will be matched.
    pub transaction: Option<TransactionKey>,
    pub start: u64,
    /// What of it counts as unanswered in its flow.
    pub unanswered: usize,
    pub guard: EndLineGuard,
}

/// A chunk on its way out, whole or still arriving.
pub(super) struct OutChunk {
    pub template: Template,
    /// Total of the Byte-Range, if there was one: `Some(None)` is `*`.
    pub total: Option<Option<u64>>,
    /// Where its last part should end, as far as its Byte-Range tells.
    announced: Option<u64>,
    pub parts: Few<Part>,
    /// Position of the next octet to be written.
    pub position: u64,
    body: Few<Bytes>,
    /// Octets in `body`.
    pub unsent: usize,
    /// Octets that came of the last part.
    last_part: usize,
    /// What it costs besides its octets and its source has not been credited: no more once
    /// it is being written.
    pub charge: usize,
    /// Once its end-line is in.
    pub end: Option<Flag>,
    /// When its last octet came.
    pub received: Option<Instant>,
    /// Nothing in it can be taken for an end-line, whatever the transact-id.
    pub clean: bool,
    pub piece: Option<Box<OpenPiece>>,
    /// Pieces already written; a continuation always tells its range.
    pub continued: bool,
    /// It failed, and that was told: what is open of it ends `#`.
    pub aborted: bool,
}

impl OutChunk {
    pub fn new(template: Template, range: Option<ByteRange>, custody: CustodyKey) -> Self {
        let start = range.map_or(1, |range| range.start);
        Self {
            charge: CHUNK_OVERHEAD + template.len(),
            template,
            total: range.map(|range| range.total),
            announced: range.and_then(|range| range.end.or(range.total)),
            parts: Few::one(Part { custody, end: None }),
            position: start,
            body: Few::default(),
            unsent: 0,
            last_part: 0,
            end: None,
            received: None,
            clean: false,
            piece: None,
            continued: false,
            aborted: false,
        }
    }

    /// Small slices that follow one another share their memory: each alone would cost much
    /// more than it shows.
    pub fn push(&mut self, octets: Bytes) {
        self.unsent += octets.len();
        self.last_part += octets.len();
        match self.body.back_mut() {
            Some(last) if last.len() + octets.len() <= COPY_BELOW_OCTETS => {
                let mut joined = std::mem::take(last)
                    .try_into_mut()
                    .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
                joined.extend_from_slice(&octets);
                *last = joined.freeze();
            }
            _ => self.body.push_back(octets),
        }
    }

    /// Octets that came of the chunk that is arriving.
    pub fn arrived(&self) -> u64 {
        self.last_part as u64
    }

    /// Position after the last octet in hand.
    pub fn next_position(&self) -> u64 {
        self.position + self.unsent as u64
    }

    /// Whether a chunk that starts here with this head may join (CHK-11).
    pub fn takes(&self, other: &Self) -> bool {
        self.end == Some(Flag::More)
            && self.template.has_blank_line()
            && !self.aborted
            && self.parts.len() < PARTS_MAX
            && self.next_position() == other.position
            && self.total == other.total
            && self.template.same_message(&other.template)
    }

    /// Another chunk, which has just begun, joins this one. Its head is let go: says what that
    /// gives back.
    pub fn join(&mut self, mut other: Self) -> usize {
        self.end = None;
        self.received = None;
        self.clean = false;
        self.last_part = 0;
        self.announced = other.announced;
        self.parts
            .push_back(other.parts.pop_front().expect("a new chunk has one part"));
        self.charge += CHUNK_OVERHEAD;
        other.charge - CHUNK_OVERHEAD
    }

    /// Lets the part go that is arriving, if nothing of it was written and others stand before
    /// it; says what that gives back.
    pub fn drop_last_part(&mut self) -> Option<usize> {
        if self.parts.len() < 2 || self.last_part > self.unsent {
            return None;
        }
        self.parts.pop_back();
        self.end = Some(Flag::More);
        let mut left = std::mem::take(&mut self.last_part);
        let charge = self.charge.min(CHUNK_OVERHEAD);
        let gone = left + charge;
        self.charge -= charge;
        self.unsent -= left;
        while left > 0
            && let Some(mut slice) = self.body.pop_back()
        {
            let cut = slice.len().min(left);
            left -= cut;
            if cut < slice.len() {
                slice.truncate(slice.len() - cut);
                self.body.push_back(slice);
            }
        }
        Some(gone)
    }

    /// The end-line of its last part is in.
    pub fn ends(&mut self, flag: Flag, received: Instant) {
        self.end = Some(flag);
        self.received = Some(received);
        let end = self.next_position();
        let part = self.parts.back_mut().expect("its own part is the last");
        part.end = Some(end);
    }

    /// Whether the rest of it is worth a wait, where each piece leaves in a frame of its own that holds `frame_body`
    /// octets: what fits into one is not cut, and no runts are made of the rest.
    fn waits_for_rest(&self, frame_body: usize) -> bool {
        if self.end.is_some() || self.piece.is_some() {
            return false;
        }
        let fits = |end: u64| (end + 1).saturating_sub(self.position) <= frame_body as u64;
        self.unsent < INTERRUPTIBLE_OCTETS || self.announced.is_some_and(fits)
    }

    /// Octets that may be written now. While a part still arrives its last octet stays here,
    /// so that the piece that carries the end is no empty one.
    pub fn writable(&self) -> usize {
        let kept = self.end.is_none() && self.last_part > 0;
        self.unsent.saturating_sub(usize::from(kept))
    }

    /// Octets written of the open piece.
    pub fn piece_octets(&self) -> usize {
        self.piece
            .as_ref()
            .map_or(0, |piece| (self.position - piece.start) as usize)
    }

    /// Whether there is something to write.
    pub fn is_ready(&self) -> bool {
        self.end.is_some() || self.writable() > 0
    }

    /// Short and whole: leaves in one piece that is not interruptible, with its exact range.
    pub fn is_short(&self) -> bool {
        self.end.is_some() && self.unsent <= INTERRUPTIBLE_OCTETS && self.piece.is_none()
    }

    /// Short and whole, of one incoming chunk, and nothing of it was written.
    pub fn is_untouched(&self) -> bool {
        self.is_short() && !self.continued && self.parts.len() == 1
    }

    /// The Byte-Range of the piece that begins now (CHK-02, CHK-08, CHK-09, CHK-17, CHK-18).
    pub fn range(&mut self) -> Option<ByteRange> {
        let shift = u64::from(self.continued && planted(Fault::OffByOneRange));
        let whole = !self.continued && self.end.is_some();
        if whole && self.total.is_none() && !self.template.has_blank_line() {
            return None;
        }
        let (short, last) = (self.is_short(), self.next_position() - 1);
        if self.end == Some(Flag::Complete) {
            // Many receivers go by the numbers and not by the flag, and many senders' numbers are wrong (D-39).
            let begins = whole && self.position == 1;
            let known = self.total.flatten();
            if begins || short && known.is_none_or(|total| total < last) {
                self.total = Some(Some(last));
            }
        }
        Some(ByteRange {
            start: self.position + shift,
            end: short.then_some(last),
            total: self.total.flatten(),
        })
    }

    pub fn body(&self) -> impl Iterator<Item = &Bytes> {
        self.body.iter()
    }

    /// Takes at most `limit` octets from the front of the body, as one slice.
    pub fn pop(&mut self, limit: usize) -> Option<Bytes> {
        let front = self.body.front_mut()?;
        let slice = if front.len() <= limit {
            self.body.pop_front()?
        } else {
            front.split_to(limit)
        };
        self.unsent -= slice.len();
        Some(slice)
    }

    /// Puts back what was taken and not written.
    pub fn unpop(&mut self, slice: Bytes) {
        self.unsent += slice.len();
        self.body.push_front(slice);
    }

    /// Lets the body go; says how much it was.
    pub fn clear_body(&mut self) -> usize {
        self.body = Few::default();
        std::mem::take(&mut self.unsent)
    }
}

/// In which of its connection's turns a flow stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    None,
    /// Came just now and goes before those that have sent a quantum already.
    New,
    Old,
}

/// The queue of one route on its outgoing connection.
pub(super) struct Flow {
    pub connection: ConnectionKey,
    pub back: ReturnAddress,
    /// The connection that sends.
    pub source: Place,
    /// The session whose client this leads to, where it is kept on this shard: a request that
    /// comes after its end is refused here.
    pub session: Option<SessionKey>,
    /// What its chunks count on; none once that is over.
    pub way: Option<WayKey>,
    pub queue: Few<OutChunk>,
    /// What the heads of short chunks from another shard have in common.
    pub like: Option<Box<Template>>,
    /// Cost of what is queued, the send in flight included.
    pub queued: usize,
    /// Its connection is still being dialled.
    pub waits: bool,
    /// Open transactions of SENDs.
    pub transactions: usize,
    /// Where it leads to another relay.
    pub pace: Option<Pace>,
    /// Its source is another relay.
    pub from_relay: bool,
    /// What all flows of its source have sent here ahead of their rate, and whether this one has to
    /// wait for that.
    pub rate: Option<RateKey>,
    pub rests: bool,
    /// Its source is paused: nothing of the chunk that arrives is waited for.
    pub hurries: bool,
    /// Octets written with Failure-Report yes that no response has come for.
    pub unanswered: usize,
    /// Those with Failure-Report partial, the oldest first; some may have ended.
    pub partials: VecDeque<TransactionKey>,
    pub turn: Turn,
    /// What it may still send before the next one's turn.
    pub deficit: isize,
    /// The source will send nothing more: the flow goes once its queue is empty.
    pub source_gone: bool,
    /// Its connection takes no more, and its source was told.
    pub closed: bool,
    /// The chunk that is arriving, by the source's number; refused ones are read past.
    pub arriving: Option<Arriving>,
}

/// The chunk that a source is sending into a flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arriving {
    pub custody: CustodyKey,
    /// It was refused: what still comes of it is let go.
    pub refused: bool,
}

impl Flow {
    pub fn new(
        connection: ConnectionKey,
        back: ReturnAddress,
        source: Place,
        session: Option<SessionKey>,
    ) -> Self {
        Self {
            connection,
            back,
            source,
            session,
            way: None,
            queue: Few::default(),
            like: None,
            queued: 0,
            waits: false,
            transactions: 0,
            pace: None,
            from_relay: false,
            rate: None,
            rests: false,
            hurries: false,
            unanswered: 0,
            partials: VecDeque::new(),
            turn: Turn::None,
            deficit: 0,
            source_gone: false,
            closed: false,
            arriving: None,
        }
    }

    /// Nothing is to be considered but its bounds.
    pub fn is_plain(&self) -> bool {
        !self.closed && !self.waits && !self.source_gone && self.arriving.is_none()
    }

    /// A chunk that begins joins the last one if it may (CHK-11), or queues behind it. Says what it costs.
    pub fn enter(&mut self, chunk: OutChunk) -> usize {
        let mut cost = chunk.charge;
        match self.queue.back_mut() {
            Some(last) if last.takes(&chunk) => cost -= last.join(chunk),
            _ => self.queue.push_back(chunk),
        }
        self.queued += cost;
        cost
    }

    /// All that was missing of the last chunk: a body without seven hyphens in a row. Says what it costs.
    pub fn complete(&mut self, body: Bytes, flag: Flag, now: Instant) -> usize {
        let chunk = self.queue.back_mut().expect("a chunk has entered");
        let cost = body.len();
        chunk.clean = chunk.parts.len() == 1 && !chunk.continued;
        if cost > 0 {
            chunk.push(body);
        }
        chunk.ends(flag, now);
        self.queued += cost;
        cost
    }

    /// Whether there is something to write, and it may be written; to a connection that is not
    /// read without regard to answers.
    pub fn is_ready(&self, unread: bool) -> bool {
        !self.rests
            && self.queue.front().is_some_and(|chunk| {
                chunk.is_ready() && (unread || self.may_write(chunk)) && !self.waits_for_rest(chunk)
            })
    }

    /// Each piece leaves in a frame of its own.
    pub fn is_framed(&self) -> bool {
        self.pace.is_some_and(|pace| pace.frame_octets.is_some())
    }

    fn waits_for_rest(&self, chunk: &OutChunk) -> bool {
        let frame_body = self.pace.and_then(|pace| pace.frame_body(&chunk.template));
        frame_body.is_some_and(|octets| !self.hurries && chunk.waits_for_rest(octets))
    }

    /// Whether there would be something to write if more of it were answered.
    pub fn waits_for_answers(&self) -> bool {
        self.is_ready(true) && !self.is_ready(false)
    }

    /// A piece once begun is written to its end; another one waits until enough is answered.
    /// Answers end that wait, or the hop timer does.
    fn may_write(&self, chunk: &OutChunk) -> bool {
        let Some(pace) = self.pace else { return true };
        if chunk.piece.is_some()
            || self.unanswered == 0
            || chunk.template.failure_report() != FailureReport::Yes
        {
            return true;
        }
        let piece = match chunk.end {
            Some(_) => chunk.unsent.min(pace.piece_octets),
            None => pace.piece_octets,
        };
        self.unanswered + piece <= pace.unanswered_octets
    }

    pub fn has_open_piece(&self) -> bool {
        self.queue
            .front()
            .is_some_and(|chunk| chunk.piece.is_some())
    }

    /// The first chunk is being written: what it costs besides its octets is let go.
    pub fn take_charge(&mut self) -> usize {
        self.queue
            .front_mut()
            .map_or(0, |chunk| std::mem::take(&mut chunk.charge))
    }

    /// So many octets were written into the open piece.
    pub fn note_written(&mut self, octets: usize) {
        if let Some(chunk) = self.queue.front_mut()
            && chunk.template.failure_report() == FailureReport::Yes
            && let Some(piece) = &mut chunk.piece
            && piece.transaction.is_some()
        {
            piece.unanswered += octets;
            self.unanswered += octets;
        }
    }
}

/// All flows of a shard.
pub(super) type Flows = Slots<FlowKey, Flow>;
