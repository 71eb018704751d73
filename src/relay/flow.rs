//! One session's share of an outgoing connection: the chunks that wait for their turn.
//!
//! A chunk is queued while it still arrives. Chunks of one message that follow one another
//! while they wait are merged (CHK-11); each chunk's own bounds are kept for its custody.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use crate::wire::{ByteRange, EndLineGuard, Flag, Template, TransactId};

use super::few::Few;
use super::keys::{
    ConnectionKey, CustodyKey, FlowKey, Place, ReturnAddress, SessionKey, TransactionKey,
};
use super::limits::INTERRUPTIBLE_OCTETS;
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
    pub guard: EndLineGuard,
}

/// A chunk on its way out, whole or still arriving.
pub(super) struct OutChunk {
    pub template: Template,
    /// Total of the Byte-Range, if there was one: `Some(None)` is `*`.
    pub total: Option<Option<u64>>,
    pub parts: Few<Part>,
    /// Position of the next octet to be written.
    pub position: u64,
    body: Few<Bytes>,
    /// Octets in `body`.
    pub unsent: usize,
    /// Once its end-line is in.
    pub end: Option<Flag>,
    /// When its last octet came.
    pub received: Option<Instant>,
    pub piece: Option<OpenPiece>,
    /// Pieces already written; a continuation always tells its range.
    pub continued: bool,
    /// It failed, and that was told: what is open of it ends `#`.
    pub aborted: bool,
}

impl OutChunk {
    pub fn new(template: Template, range: Option<ByteRange>, custody: CustodyKey) -> Self {
        let start = range.map_or(1, |range| range.start);
        Self {
            template,
            total: range.map(|range| range.total),
            parts: Few::one(Part { custody, end: None }),
            position: start,
            body: Few::default(),
            unsent: 0,
            end: None,
            received: None,
            piece: None,
            continued: false,
            aborted: false,
        }
    }

    pub fn push(&mut self, octets: Bytes) {
        self.unsent += octets.len();
        self.body.push_back(octets);
    }

    /// Position after the last octet in hand.
    pub fn next_position(&self) -> u64 {
        self.position + self.unsent as u64
    }

    pub fn cost(&self) -> usize {
        CHUNK_OVERHEAD + self.template.len()
    }

    /// Whether a chunk that starts here with this head may join (CHK-11).
    pub fn takes(&self, other: &Self) -> bool {
        self.end == Some(Flag::More)
            && self.template.has_blank_line()
            && !self.aborted
            && self.next_position() == other.position
            && self.total == other.total
            && self.template.same_message(&other.template)
    }

    /// Octets that may be written now. While the chunk still arrives its last octet stays
    /// here, so that the piece that carries the end is never an empty one.
    pub fn writable(&self) -> usize {
        if self.end.is_some() {
            self.unsent
        } else {
            self.unsent.saturating_sub(1)
        }
    }

    /// Whether there is something to write.
    pub fn is_ready(&self) -> bool {
        self.end.is_some() || self.writable() > 0
    }

    /// Short and whole: leaves in one piece that is not interruptible, with its exact range.
    pub fn is_short(&self) -> bool {
        self.end.is_some() && self.unsent <= INTERRUPTIBLE_OCTETS && self.piece.is_none()
    }

    /// The Byte-Range of the piece that begins now (CHK-02, CHK-08, CHK-09, CHK-17, CHK-18).
    pub fn range(&self) -> Option<ByteRange> {
        let shift = u64::from(self.continued && planted(Fault::OffByOneRange));
        let whole = !self.continued && self.end.is_some();
        match self.total {
            None if whole && !self.template.has_blank_line() => None,
            None => Some(ByteRange {
                start: self.position + shift,
                end: None,
                total: None,
            }),
            Some(total) => {
                let end = self.is_short().then(|| self.next_position() - 1);
                Some(ByteRange {
                    start: self.position + shift,
                    end,
                    total,
                })
            }
        }
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
    pub queue: Few<OutChunk>,
    /// Cost of what is queued, the send in flight included.
    pub queued: usize,
    /// Open transactions of SENDs.
    pub transactions: usize,
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
            queue: Few::default(),
            queued: 0,
            transactions: 0,
            partials: VecDeque::new(),
            turn: Turn::None,
            deficit: 0,
            source_gone: false,
            closed: false,
            arriving: None,
        }
    }

    pub fn is_ready(&self) -> bool {
        self.queue.front().is_some_and(OutChunk::is_ready)
    }
}

/// All flows of a shard.
pub(super) type Flows = Slots<FlowKey, Flow>;
