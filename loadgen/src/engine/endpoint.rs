//! MSRP on one connection: AUTH, responses and REPORTs to what we sent, and the receiving end of
//! other clients' messages. It parses in place and appends what it has to say to `out`.

use crate::ids;
use crate::ledger::Report;
use crate::pattern::{Pattern, mix};
use crate::plan::User;
use msrpload::codec::stream::{Scanner, Step};
use msrpload::codec::{ByteRange, CodecError, FailureReport, Head, Kind, Method};

use super::board::{Board, Held};
use super::login::{Login, Reply, auth_uri};
use super::requests::{Request, Requests};
use super::session::BINDING;

/// Requests remembered where every one is answered; the bound is never reached in a working run.
const REMEMBERED_MAX: usize = 1 << 22;
/// Where only failures are answered, the latest few suffice to name the failed one.
const REMEMBERED_UNANSWERED_MAX: usize = 1024;

/// Why an endpoint cannot go on.
#[derive(Debug)]
pub enum EndpointError {
    /// The relay sent something that is no MSRP.
    Codec(CodecError),
    /// AUTH did not succeed.
    Auth(String),
}

impl From<CodecError> for EndpointError {
    fn from(error: CodecError) -> Self {
        Self::Codec(error)
    }
}

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
}

pub struct Endpoint {
    /// Our own URI.
    pub uri: String,
    /// What the relay gave us, as in To-Path.
    pub use_path: Vec<String>,
    pub out: Vec<u8>,
    pub requests: Requests,
    /// Sessions that wait until the kernel takes more.
    pub blocked: Vec<usize>,
    /// The session whose chunk is open.
    pub in_chunk: Option<usize>,
    /// The relay that we are connected to.
    relay: usize,
    scanner: Scanner,
    /// The beginning of something that the scanner could not use yet.
    cut: Vec<u8>,
    /// The AUTH that is under way; a foreign client makes none.
    login: Option<Login>,
    incoming: Option<Incoming>,
    /// The 200 of the chunk that is coming in.
    answer: Vec<u8>,
}

impl Endpoint {
    pub fn new(uri: String, relay: usize) -> Self {
        Self {
            uri,
            relay,
            in_chunk: None,
            use_path: Vec::new(),
            out: Vec::new(),
            requests: Requests::new(),
            blocked: Vec::new(),
            scanner: Scanner::new(),
            cut: Vec::new(),
            login: None,
            incoming: None,
            answer: Vec::new(),
        }
    }

    /// Starts the AUTH of RFC 4976 §5.1.
    pub fn log_in(&mut self, user: User, board: &Board) {
        self.login = Some(Login::new(user, board.now));
        self.send_auth(&board.plan.relays[self.relay].host, None);
    }

    /// Ready to send and receive messages.
    pub fn is_ready(&self) -> bool {
        self.login.is_none()
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

    /// Handles received octets. `me` is this connection's key.
    pub fn receive(
        &mut self,
        octets: &[u8],
        me: usize,
        board: &mut Board,
    ) -> Result<(), EndpointError> {
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
                    self.on_body(octets, board);
                    at += used;
                }
                Step::End { flag, used } => {
                    self.on_end(flag, me, board);
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
        self.incoming = None;
        // Whose receiver came through a proxy is known by its first SEND.
        let to_us = head.to_path == self.uri.as_bytes() || self.uri.is_empty();
        if !to_us {
            board.stray.headers += 1;
            board.notice(|| format!("To-Path is not {}: {}", self.uri, shown(head)));
        }
        match head.kind {
            Kind::Response { code, .. } => self.on_response(code, head, board),
            Kind::Request {
                method: Method::Send,
                ..
            } => {
                self.on_send(head, me, board);
                Ok(())
            }
            Kind::Request {
                method: Method::Report,
                ..
            } => {
                on_report(head, board);
                Ok(())
            }
            Kind::Request { .. } => {
                board.stray.unknown += 1;
                board.notice(|| format!("unasked request: {}", shown(head)));
                Ok(())
            }
        }
    }

    fn on_send(&mut self, head: &Head<'_>, me: usize, board: &mut Board) {
        let id = head
            .message_id
            .and_then(|id| ids::read_message_id(board.run, id));
        let place = id.and_then(|(session, _)| board.local_session(session));
        let (Some((id, message)), Some(place)) = (id, place) else {
            board.stray.unknown += 1;
            board.notice(|| format!("a SEND that nobody sent: {}", shown(head)));
            return;
        };
        self.answer.clear();
        let answer = head.failure_report.is_none_or(|f| f == FailureReport::Yes);
        if answer {
            put_200(&mut self.answer, head);
        }
        if self.uri.is_empty() {
            self.uri = String::from_utf8_lossy(head.to_path).into_owned();
            board.adopted.push((me, place));
        }
        let session = &mut board.sessions[place];
        if message == BINDING {
            self.incoming = Some(Incoming {
                session: place,
                message,
                origin: 0,
                range: ByteRange {
                    start: 1,
                    end: Some(0),
                    total: Some(0),
                },
                at: 0,
                answer,
            });
            return;
        }
        let size = session.ledger.size(message);
        let range = head.byte_range.unwrap_or(ByteRange {
            start: 1,
            end: None,
            total: None,
        });
        let expected_report = match board.plan.report {
            Report::Yes => None,
            Report::Partial => Some(FailureReport::Partial),
            Report::No => Some(FailureReport::No),
        };
        let same = head.from_path == session.arriving_from
            && session.receiver == Some(me)
            && head.failure_report == expected_report
            && head.success_report == board.plan.success_report
            && head.has_body
            && size.is_none_or(|size| range.total.is_none_or(|total| total == size));
        if !same {
            session.ledger.wrong().headers += 1;
            board.notice(|| format!("arrived changed: {}", shown(head)));
        }
        self.incoming = Some(Incoming {
            session: place,
            message,
            origin: Pattern::origin(id, message),
            range,
            at: range.start - 1,
            answer,
        });
    }

    fn on_body(&mut self, octets: &[u8], board: &mut Board) {
        let Some(incoming) = &mut self.incoming else {
            return;
        };
        let right = board.pattern.matches(incoming.origin, incoming.at, octets);
        if !right {
            let (message, at) = (incoming.message, incoming.at);
            board.notice(|| format!("wrong octets in message {message} from position {at} on"));
        }
        let (place, at) = (incoming.session, incoming.at);
        incoming.at += octets.len() as u64;
        let arrived = octets.len() as u64;
        board.octets_arrived(place, arrived);
        let ledger = &mut board.sessions[place].ledger;
        let progress = ledger.arrived(incoming.message, at, arrived, right);
        board.progressed(place, progress);
    }

    fn on_end(&mut self, flag: u8, me: usize, board: &mut Board) {
        let Some(incoming) = self.incoming.take() else {
            return;
        };
        let place = incoming.session;
        if incoming.message == BINDING {
            board.binding_progressed(place, true, false);
        } else {
            board.chunk_arrived(place);
            let ledger = &mut board.sessions[place].ledger;
            let end = incoming.range.end;
            let total = ledger.size(incoming.message).or(incoming.range.total);
            // A chunk may end early with `+` or `#`, never late; `$` is for the last octet only.
            let bad = end
                .is_some_and(|end| incoming.at > end || (flag == b'$' && incoming.at != end))
                || (flag == b'$' && total.is_some_and(|total| incoming.at != total));
            if bad {
                ledger.wrong().ranges += 1;
                let at = incoming.at;
                board.notice(|| {
                    format!(
                        "chunk ends with {} at {at}, {:?}, {total:?}",
                        char::from(flag),
                        incoming.range
                    )
                });
            }
        }
        if incoming.answer {
            self.give_200(me, board);
        }
    }

    /// Sends the 200 of the chunk that has ended, now or later.
    fn give_200(&mut self, me: usize, board: &mut Board) {
        let Some((low, high)) = board.plan.hold else {
            self.out.extend_from_slice(&self.answer);
            return;
        };
        let (low, high) = (low.as_nanos() as u64, high.as_nanos() as u64);
        board.random = board.random.wrapping_add(1);
        let hold = low + mix(board.random) % (high - low + 1);
        board.held.push(std::cmp::Reverse(Held {
            due: board.now + hold,
            since: board.now,
            connection: me,
            octets: self.answer.clone(),
        }));
    }

    fn on_response(
        &mut self,
        code: u16,
        head: &Head<'_>,
        board: &mut Board,
    ) -> Result<(), EndpointError> {
        match self.requests.take(head.tid) {
            Some(Request::Auth) => self.on_auth_response(code, head, board)?,
            Some(Request::Binding { session }) => {
                if code == 200 {
                    board.binding_progressed(session, false, true);
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
                }
                let progress = ours.ledger.answered(message, from, to, code);
                if code != 200 || !from_hop {
                    board.notice(|| format!("answered: {}", shown(head)));
                }
                board.progressed(session, progress);
                if code != 200 {
                    board.failed(session, message);
                }
            }
            Some(Request::Answered) | None => {
                board.stray.answers += 1;
                board.notice(|| format!("a response to nothing: {}", shown(head)));
            }
        }
        Ok(())
    }

    fn send_auth(&mut self, host: &str, authorization: Option<&str>) {
        let tid = self.requests.push(Request::Auth, REMEMBERED_MAX);
        let tid = String::from_utf8_lossy(&tid);
        let octets = msrpload::codec::Builder::request(&tid, "AUTH")
            .to_path(&[&auth_uri(host)])
            .from_path(&[&self.uri])
            .maybe_header("Authorization", authorization)
            .encode();
        self.out.extend_from_slice(&octets);
    }

    fn on_auth_response(
        &mut self,
        code: u16,
        head: &Head<'_>,
        board: &mut Board,
    ) -> Result<(), EndpointError> {
        let Some(login) = &mut self.login else {
            return Ok(());
        };
        match login
            .answered(code, head, &board.plan.relays[self.relay])
            .map_err(EndpointError::Auth)?
        {
            Reply::Again(authorization) => {
                self.send_auth(&board.plan.relays[self.relay].host, Some(&authorization));
            }
            Reply::Done(use_path) => {
                let took = board.now - login.started;
                board.took_to_set_up(took, |record| &mut record.auth);
                self.use_path = use_path;
                self.login = None;
            }
        }
        Ok(())
    }
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

fn on_report(head: &Head<'_>, board: &mut Board) {
    let id = head
        .message_id
        .and_then(|id| ids::read_message_id(board.run, id));
    let place = id.and_then(|(session, _)| board.local_session(session));
    let code = head
        .status
        .and_then(|s| std::str::from_utf8(&s[4..7]).ok()?.parse::<u16>().ok());
    let (Some((_, message)), Some(place), Some(code)) = (id, place, code) else {
        board.stray.answers += 1;
        board.notice(|| format!("a REPORT about nothing: {}", shown(head)));
        return;
    };
    if message == BINDING {
        board.fatal.get_or_insert_with(|| {
            format!(
                "the first SEND of a session did not get through: {} (if the relay was to dial: it must be allowed to, for msrpd `[dial] allow`)",
                shown(head)
            )
        });
        return;
    }
    if code == 200 {
        board.success_reports += 1;
        return;
    }
    board.notice(|| format!("reported: {}", shown(head)));
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
    let progress = ledger.reported(message, range.start - 1, end);
    board.progressed(place, progress);
    board.failed(place, message);
}

/// A head for a notice, on one line.
fn shown(head: &Head<'_>) -> String {
    msrpload::codec::shown(head.raw)
}
