//! The receiving end: checks what arrives against what was sent, answers it, and reports success
//! where that is asked for.

use std::cmp::Reverse;

use msrpload::codec::{ByteRange, FailureReport, Head};

use crate::ids::{self, decimal};
use crate::ledger::Report;
use crate::notices::Kind;
use crate::pattern::{Pattern, mix};

use super::{BINDING, Board, Outbox, Seat, shown};
use crate::engine::board::Held;

/// The chunk that is coming in.
#[derive(Clone, Copy)]
struct Incoming {
    session: usize,
    message: u64,
    origin: usize,
    range: ByteRange,
    /// The next octet, from 0.
    at: u64,
    answer: bool,
    /// Octets of it completed the message.
    completed: bool,
}

pub struct Receiving {
    incoming: Option<Incoming>,
    /// The 200 of the chunk that is coming in.
    answer: Vec<u8>,
    /// Its Message-ID and both ends of a success report, where one is asked for.
    reporting: Option<Reporting>,
    /// For the transact-ids of REPORTs: nobody answers them.
    salt: [u8; 4],
    reports: u64,
}

struct Reporting {
    id: Vec<u8>,
    to_path: Vec<u8>,
    from_path: Vec<u8>,
}

impl Default for Receiving {
    fn default() -> Self {
        Self {
            incoming: None,
            answer: Vec::new(),
            reporting: None,
            salt: ids::letters(),
            reports: 0,
        }
    }
}

impl Receiving {
    /// Another message begins on the connection.
    pub fn begin(&mut self) {
        self.incoming = None;
        self.reporting = None;
    }

    pub fn on_send(&mut self, seats: &mut [Seat], head: &Head<'_>, me: usize, board: &mut Board) {
        let id = head
            .message_id
            .and_then(|id| ids::read_message_id(board.run, id));
        let place = id.and_then(|(session, _)| board.local_session(session));
        let (Some((id, message)), Some(place)) = (id, place) else {
            board.stray.unknown += 1;
            board.note_stray(Kind::UnknownSend, || shown(head));
            return;
        };
        self.answer.clear();
        let answer = head.failure_report.is_none_or(|f| f == FailureReport::Yes);
        if answer {
            put_200(&mut self.answer, head);
        }
        if let [seat] = seats
            && seat.uri.is_empty()
        {
            seat.uri = String::from_utf8_lossy(head.to_path).into_owned();
            board.adopted.push((me, place));
        }
        let range = head.byte_range.unwrap_or(ByteRange {
            start: 1,
            end: None,
            total: None,
        });
        let mut incoming = Incoming {
            session: place,
            message,
            origin: 0,
            range,
            at: range.start - 1,
            answer,
            completed: false,
        };
        if message != BINDING {
            incoming.origin = Pattern::origin(id, message);
            self.check(seats, head, me, place, message, board);
        }
        self.incoming = Some(incoming);
    }

    /// Whether the head is the one that was sent, as far as a relay may not change it.
    fn check(
        &mut self,
        seats: &[Seat],
        head: &Head<'_>,
        me: usize,
        place: usize,
        message: u64,
        board: &mut Board,
    ) {
        let session = &mut board.sessions[place];
        let size = session.ledger.size(message);
        let expected_report = match session.flow.report {
            Report::Yes => None,
            Report::Partial => Some(FailureReport::Partial),
            Report::No => Some(FailureReport::No),
        };
        let total = head.byte_range.and_then(|range| range.total);
        let same = head.from_path == session.arriving_from
            && session.receiver == Some(me)
            && (seats.len() == 1 || head.to_path == seats[session.slot.seat].uri.as_bytes())
            && head.failure_report == expected_report
            && head.success_report == session.flow.success_report
            && head.has_body
            && size.is_none_or(|size| total.is_none_or(|total| total == size));
        if !same {
            session.ledger.wrong().headers += 1;
            board.note(Kind::ChangedHead, None, place, || shown(head));
        }
        if head.success_report {
            self.reporting = Some(Reporting {
                id: head.message_id.unwrap_or_default().to_vec(),
                to_path: head.from_path.to_vec(),
                from_path: head.to_path.to_vec(),
            });
        }
    }

    pub fn on_body(&mut self, octets: &[u8], board: &mut Board) {
        let Some(incoming) = &mut self.incoming else {
            return;
        };
        let right = board.pattern.matches(incoming.origin, incoming.at, octets);
        let (place, at) = (incoming.session, incoming.at);
        if !right {
            let message = incoming.message;
            board.note(Kind::WrongOctets, None, place, || {
                format!("message {message}, from position {at} on")
            });
        }
        incoming.at += octets.len() as u64;
        let arrived = octets.len() as u64;
        board.octets_arrived(place, arrived);
        let now = board.now;
        let ledger = &mut board.sessions[place].ledger;
        let progress = ledger.arrived(incoming.message, at, arrived, right, now);
        incoming.completed |= progress.delivered.is_some();
        board.progressed(place, progress);
    }

    pub fn on_end(&mut self, flag: u8, me: usize, out: &mut Outbox, board: &mut Board) {
        let reporting = self.reporting.take();
        let Some(incoming) = self.incoming.take() else {
            return;
        };
        let place = incoming.session;
        if incoming.message == BINDING {
            board.binding_progressed(place, true, false);
        } else {
            board.chunk_arrived(place);
            check_end(&incoming, flag, board);
        }
        if incoming.answer {
            self.give_200(place, me, out, board);
        }
        if let Some(reporting) = reporting.filter(|_| incoming.completed) {
            self.report(&reporting, incoming.range.total.unwrap_or(incoming.at), out);
        }
    }

    /// Sends the 200 of the chunk that has ended, now or later.
    fn give_200(&mut self, session: usize, me: usize, out: &mut Outbox, board: &mut Board) {
        let Some((low, high)) = board.sessions[session].flow.hold else {
            out.text(&self.answer);
            return;
        };
        board.random = board.random.wrapping_add(1);
        let hold = low + mix(board.random) % (high - low + 1);
        board.held.push(Reverse(Held {
            due: board.now + hold,
            since: board.now,
            connection: me,
            octets: self.answer.clone(),
        }));
    }

    /// A success report (RFC 4975 §7.1.2): all octets of the message have arrived.
    fn report(&mut self, about: &Reporting, octets: u64, outbox: &mut Outbox) {
        let out = &mut outbox.octets;
        let tid = ids::tid(self.salt, self.reports);
        self.reports += 1;
        out.extend_from_slice(b"MSRP ");
        out.extend_from_slice(&tid);
        out.extend_from_slice(b" REPORT\r\nTo-Path: ");
        out.extend_from_slice(&about.to_path);
        out.extend_from_slice(b"\r\nFrom-Path: ");
        out.extend_from_slice(&about.from_path);
        out.extend_from_slice(b"\r\nMessage-ID: ");
        out.extend_from_slice(&about.id);
        out.extend_from_slice(b"\r\nByte-Range: 1-");
        decimal(out, octets);
        out.push(b'/');
        decimal(out, octets);
        out.extend_from_slice(b"\r\nStatus: 000 200 OK\r\n-------");
        out.extend_from_slice(&tid);
        out.extend_from_slice(b"$\r\n");
        outbox.end_text();
    }
}

/// A chunk may end early with `+` or `#`, never late; `$` is for the last octet only.
fn check_end(incoming: &Incoming, flag: u8, board: &mut Board) {
    let place = incoming.session;
    let ledger = &mut board.sessions[place].ledger;
    let end = incoming.range.end;
    let total = ledger.size(incoming.message).or(incoming.range.total);
    let bad = end.is_some_and(|end| incoming.at > end || (flag == b'$' && incoming.at != end))
        || (flag == b'$' && total.is_some_and(|total| incoming.at != total));
    if !bad {
        return;
    }
    ledger.wrong().ranges += 1;
    board.note(Kind::WrongRange, None, place, || {
        let number =
            |value: Option<u64>| value.map_or_else(|| "*".to_owned(), |value| value.to_string());
        format!(
            "a chunk of {}-{}/{} ends with {} at {}",
            incoming.range.start,
            number(end),
            number(total),
            char::from(flag),
            incoming.at
        )
    });
}

/// RFC 4975 §7.2: to the leftmost From-Path URI only, from the URI that was addressed.
fn put_200(out: &mut Vec<u8>, head: &Head<'_>) {
    out.extend_from_slice(b"MSRP ");
    out.extend_from_slice(head.tid);
    out.extend_from_slice(b" 200 OK\r\nTo-Path: ");
    out.extend_from_slice(head.first_from());
    out.extend_from_slice(b"\r\nFrom-Path: ");
    out.extend_from_slice(head.first_to());
    if let Some(id) = head.message_id {
        out.extend_from_slice(b"\r\nMessage-ID: ");
        out.extend_from_slice(id);
    }
    out.extend_from_slice(b"\r\n-------");
    out.extend_from_slice(head.tid);
    out.extend_from_slice(b"$\r\n");
}
