//! Chunks as they leave: SENDs under transact-ids of our own, a short one at once, another one in as many pieces as the
//! order of what leaves asks for (RFC 4975 §5.1, §7.1.1).

use crate::metrics::{Direction, MethodLabel};
use crate::wire::{self, EndLineGuard, FailureReport, Flag, TransactId};

use super::custody::{Covered, Custodies};
use super::egress::{Books, Carried};
use super::flow::{Flow, OpenPiece, OutChunk};
use super::keys::{FlowKey, TransactionKey};
use super::limits::INTERRUPTIBLE_OCTETS;
use super::pace::Pace;
use super::planted::{Fault, planted};
use super::random::Random;
use super::transaction::{Kind, Piece, Progress};

/// Writes the flow's first chunk in one go, if it is short and whole. Says what happens once the kernel has it, and what
/// has left the queue.
pub(super) fn write_whole(
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
    let range = chunk.range();
    chunk.template.encode(out, &id, range);
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
pub(super) fn write_some(
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
    let frame_body = flow.pace.and_then(|pace| pace.frame_body(&chunk.template));
    let uncut = frame_body.unwrap_or(INTERRUPTIBLE_OCTETS);
    let short = chunk.end.is_some() && chunk.unsent <= uncut;
    let room = if short { chunk.unsent } else { room.max(1) };
    let left = flow.pace.map(|pace| {
        pace.piece_body(&chunk.template)
            .saturating_sub(chunk.piece_octets())
    });
    let wrote = write_body(chunk, left.map_or(room, |left| room.min(left)), out);
    let full = left.is_some_and(|left| wrote.octets >= left);
    let whole = chunk.end.is_some() && chunk.unsent == 0;
    flow.note_written(wrote.octets);
    let gone = wrote.octets + flow.take_charge();
    (gone, wrote.collided || whole || full)
}

/// What `write_body` did.
pub(super) struct Wrote {
    pub octets: usize,
    /// The next octets would complete the piece's own end-line: it must end here (SYN-16).
    pub collided: bool,
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
    let range = chunk.range();
    chunk.template.encode(out, &id, range);
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

pub(super) fn write_body(chunk: &mut OutChunk, limit: usize, out: &mut Vec<u8>) -> Wrote {
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
pub(super) fn cover(chunk: &mut OutChunk, whole: bool, custodies: &mut Custodies) -> Covered {
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
