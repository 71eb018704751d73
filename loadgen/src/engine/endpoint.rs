//! MSRP on one connection: AUTH, responses and REPORTs to what we sent, and (`receiving`) the other
//! end of other clients' messages. It parses in place and appends what it has to say to `out`.

mod receiving;

use msrpload::codec::stream::{Scanner, Step};
use msrpload::codec::{self, ByteRange, CodecError, Head, Method};

use crate::ids;
use crate::ledger::Report;
use crate::notices::Kind;
use crate::plan::User;

use super::board::Board;
use super::login::{Login, Reply};
use super::outbox::Outbox;
use super::requests::{Request, Requests};
use super::session::BINDING;
use super::web::Incoming;

use receiving::Receiving;

/// Requests remembered where every one is answered; the bound is never reached in a working run.
const REMEMBERED_MAX: usize = 1 << 22;
/// Where only failures are answered, the latest few suffice to name the failed one.
const REMEMBERED_UNANSWERED_MAX: usize = 1024;

/// Why an endpoint cannot go on.
#[derive(Debug)]
pub enum EndpointError {
    /// The relay sent something that is no MSRP.
    Codec(CodecError),
    /// A WebSocket message is not exactly one MSRP message (RFC 7977 §5.1).
    NotOneMessage,
    /// AUTH did not succeed.
    Auth(String),
    /// The first SEND after a lost connection was refused with this code.
    Binding(u16),
}

impl From<CodecError> for EndpointError {
    fn from(error: CodecError) -> Self {
        Self::Codec(error)
    }
}

/// One of the clients that share a connection.
#[derive(Debug, Default)]
pub struct Seat {
    /// Its own URI. Empty: whoever came through a proxy is known by its first SEND.
    pub uri: String,
    /// What the relay gave it, as in To-Path.
    pub use_path: Vec<String>,
}

pub struct Endpoint {
    /// At least one.
    pub seats: Vec<Seat>,
    pub out: Outbox,
    pub requests: Requests,
    /// Sessions that wait until the kernel takes more.
    pub blocked: Vec<usize>,
    /// The session whose chunk is open.
    pub in_chunk: Option<usize>,
    /// The relay that we are connected to, and how AUTH names it.
    relay: usize,
    auth_uri: String,
    scanner: Scanner,
    /// Messages that ended since the last WebSocket message did.
    ended: u32,
    /// The beginning of something that the scanner could not use yet.
    cut: Vec<u8>,
    /// The AUTH that is under way, and for which seat; a foreign client makes none.
    login: Option<(Login, usize)>,
    receiving: Receiving,
}

impl Endpoint {
    pub fn new(uris: Vec<String>, relay: usize, is_web: bool) -> Self {
        let seat = |uri| Seat {
            uri,
            use_path: Vec::new(),
        };
        Self {
            seats: uris.into_iter().map(seat).collect(),
            relay,
            auth_uri: String::new(),
            in_chunk: None,
            out: Outbox::new(is_web),
            requests: Requests::new(),
            blocked: Vec::new(),
            scanner: Scanner::new(),
            ended: 0,
            cut: Vec::new(),
            login: None,
            receiving: Receiving::default(),
        }
    }

    /// Starts the AUTH of RFC 4976 §5.1, for one seat after the other.
    pub fn log_in(&mut self, user: User, auth_uri: String, board: &Board) {
        self.auth_uri = auth_uri;
        self.log_in_seat(user, 0, board);
    }

    fn log_in_seat(&mut self, user: User, seat: usize, board: &Board) {
        let login = Login::new(user, self.auth_uri.clone(), board.now);
        self.login = Some((login, seat));
        self.send_auth(seat, None);
    }

    /// Ready to send and receive messages.
    pub fn is_ready(&self) -> bool {
        self.login.is_none()
    }

    /// Since when an answer to AUTH is waited for.
    pub fn waits_since(&self) -> Option<u64> {
        self.login.as_ref().map(|(login, _)| login.asked_at)
    }

    /// The far end may stop here without cutting anything off.
    pub fn is_between_messages(&self) -> bool {
        self.cut.is_empty() && self.scanner.is_between_messages()
    }

    /// Remembers a request that goes out here.
    pub fn request(&mut self, request: Request, report: Report) -> [u8; ids::TID_OCTETS] {
        let max = match report {
            Report::Yes => REMEMBERED_MAX,
            Report::Partial | Report::No => REMEMBERED_UNANSWERED_MAX,
        };
        self.requests.push(request, max)
    }

    /// Handles what was received. `me` is this connection's key.
    pub fn receive(
        &mut self,
        incoming: Incoming<'_>,
        me: usize,
        board: &mut Board,
    ) -> Result<(), EndpointError> {
        let octets = match incoming {
            Incoming::Octets(octets) => octets,
            Incoming::End => {
                let one = std::mem::take(&mut self.ended) == 1 && self.is_between_messages();
                return one.then_some(()).ok_or(EndpointError::NotOneMessage);
            }
        };
        if self.cut.is_empty() {
            let used = self.scan(octets, me, board)?;
            self.cut.extend_from_slice(&octets[used..]);
            return Ok(());
        }
        let mut joined = std::mem::take(&mut self.cut);
        joined.extend_from_slice(octets);
        let used = self.scan(&joined, me, board)?;
        joined.drain(..used);
        self.cut = joined;
        Ok(())
    }

    fn scan(
        &mut self,
        octets: &[u8],
        me: usize,
        board: &mut Board,
    ) -> Result<usize, EndpointError> {
        let mut at = 0;
        while at < octets.len() {
            match self.scanner.step(&octets[at..])? {
                Step::More => break,
                Step::Head { head, used } => {
                    self.on_head(&head, me, board)?;
                    at += used;
                }
                Step::Body { octets, used } => {
                    self.receiving.on_body(octets, board);
                    at += used;
                }
                Step::End { flag, used } => {
                    self.ended = self.ended.wrapping_add(1);
                    self.receiving.on_end(flag, me, &mut self.out, board);
                    at += used;
                }
            }
        }
        Ok(at)
    }

    fn on_head(
        &mut self,
        head: &Head<'_>,
        me: usize,
        board: &mut Board,
    ) -> Result<(), EndpointError> {
        self.receiving.begin();
        let is_to = |seat: &Seat| head.to_path == seat.uri.as_bytes() || seat.uri.is_empty();
        if !self.seats.iter().any(is_to) {
            board.stray.headers += 1;
            board.note_stray(Kind::NotForUs, || shown(head));
        }
        match head.kind {
            codec::Kind::Response { code, comment } => self.on_response(code, comment, head, board),
            codec::Kind::Request {
                method: Method::Send,
                ..
            } => {
                self.receiving.on_send(&mut self.seats, head, me, board);
                Ok(())
            }
            codec::Kind::Request {
                method: Method::Report,
                ..
            } => {
                on_report(head, board);
                Ok(())
            }
            codec::Kind::Request { .. } => {
                board.stray.unknown += 1;
                board.note_stray(Kind::UnaskedRequest, || shown(head));
                Ok(())
            }
        }
    }

    fn on_response(
        &mut self,
        code: u16,
        comment: Option<&[u8]>,
        head: &Head<'_>,
        board: &mut Board,
    ) -> Result<(), EndpointError> {
        match self.requests.take(head.tid) {
            Some(Request::Auth) => self.on_auth_response(code, head, board)?,
            Some(Request::Binding { session }) => {
                if code == 200 {
                    board.binding_progressed(session, false, true);
                } else if board.plan.reconnect && board.sessions[session].broken_at != 0 {
                    return Err(EndpointError::Binding(code));
                } else {
                    board.fatal.get_or_insert_with(|| {
                        format!(
                            "the relay refused the first SEND of a session with {code}: {}",
                            shown(head)
                        )
                    });
                }
            }
            Some(Request::Chunk {
                session,
                message,
                from,
                to,
            }) => {
                let ours = &mut board.sessions[session];
                let from_hop = head.from_path == ours.first_hop;
                if !from_hop {
                    ours.ledger.wrong().headers += 1;
                    board.note(Kind::ForeignAnswer, None, session, || shown(head));
                }
                let ours = &mut board.sessions[session];
                let progress = ours.ledger.answered(message, from, to, code, board.now);
                if code != 200 {
                    let cause = String::from_utf8_lossy(comment.unwrap_or_default()).into_owned();
                    let id = Some(ours.id);
                    let notices = &mut board.notices;
                    notices.note(Kind::Refused, Some(code), cause, id, || shown(head));
                }
                board.progressed(session, progress);
                if code != 200 {
                    board.failed(session, message);
                }
            }
            Some(Request::Answered) | None => {
                board.stray.answers += 1;
                board.note_stray(Kind::UnknownAnswer, || shown(head));
            }
        }
        Ok(())
    }

    fn send_auth(&mut self, seat: usize, authorization: Option<&str>) {
        let tid = self.requests.push(Request::Auth, REMEMBERED_MAX);
        let tid = String::from_utf8_lossy(&tid);
        let octets = codec::Builder::request(&tid, "AUTH")
            .to_path(&[&self.auth_uri])
            .from_path(&[&self.seats[seat].uri])
            .maybe_header("Authorization", authorization)
            .encode();
        self.out.text(&octets);
    }

    fn on_auth_response(
        &mut self,
        code: u16,
        head: &Head<'_>,
        board: &mut Board,
    ) -> Result<(), EndpointError> {
        let Some((login, seat)) = &mut self.login else {
            return Ok(());
        };
        let seat = *seat;
        match login
            .answered(code, head, &board.plan.relays[self.relay])
            .map_err(EndpointError::Auth)?
        {
            Reply::Again(authorization) => {
                login.asked_at = board.now;
                self.send_auth(seat, Some(&authorization));
            }
            Reply::Done(use_path) => {
                let took = board.now - login.started;
                let user = login.user().clone();
                board.took_to_set_up(took, |record| &mut record.auth);
                board.auths += 1;
                self.seats[seat].use_path = use_path;
                self.login = None;
                if seat + 1 < self.seats.len() {
                    self.log_in_seat(user, seat + 1, board);
                }
            }
        }
        Ok(())
    }
}

fn on_report(head: &Head<'_>, board: &mut Board) {
    let id = head
        .message_id
        .and_then(|id| ids::read_message_id(board.run, id));
    let place = id.and_then(|(session, _)| board.local_session(session));
    let code = head
        .status
        .and_then(|s| std::str::from_utf8(s.get(4..7)?).ok()?.parse::<u16>().ok());
    let (Some((_, message)), Some(place), Some(code)) = (id, place, code) else {
        board.stray.answers += 1;
        board.note_stray(Kind::UnknownReport, || shown(head));
        return;
    };
    if message == BINDING {
        if !board.plan.reconnect || board.sessions[place].broken_at == 0 {
            board.fatal.get_or_insert_with(|| {
                format!(
                    "the first SEND of a session did not get through: {} (if the relay was to dial: it must be allowed to, for msrpd `[dial] allow`)",
                    shown(head)
                )
            });
        }
        return;
    }
    if code == 200 {
        let progress = board.sessions[place].ledger.confirmed(message, board.now);
        board.progressed(place, progress);
        return;
    }
    let cause = head
        .status
        .and_then(|status| status.get(8..))
        .unwrap_or_default();
    let cause = String::from_utf8_lossy(cause).into_owned();
    let id = Some(board.sessions[place].id);
    board
        .notices
        .note(Kind::Reported, Some(code), cause, id, || shown(head));
    let ledger = &mut board.sessions[place].ledger;
    let range = head.byte_range.unwrap_or(ByteRange {
        start: 1,
        end: None,
        total: None,
    });
    let end = range
        .end
        .or(range.total)
        .or(ledger.size(message))
        .unwrap_or(range.start);
    let progress = ledger.reported(message, range.start - 1, end, code, board.now);
    board.progressed(place, progress);
    board.failed(place, message);
}

/// A head for a notice, on one line.
pub fn shown(head: &Head<'_>) -> String {
    codec::shown(head.raw.trim_ascii_end()).replace("\\r\\n", " | ")
}
