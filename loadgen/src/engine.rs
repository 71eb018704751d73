//! The engine: one thread, one epoll, many connections, nothing that waits.
//!
//! A turn takes the events that are there, parses in place, lets sessions queue what they may send
//! and writes once per connection. A session and both its connections live on one thread, so the
//! ledger needs no lock. Time is read per event, not per message.

mod board;
mod connection;
mod endpoint;
mod link;
pub mod record;
mod requests;
mod session;
mod setup;
pub mod shared;
mod template;
mod timer;
mod tls;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};

use crate::ids;
use crate::ledger::{Counts, Wrong};
use crate::pattern::Pattern;
use crate::plan::Plan;
use crate::usage::ThreadUsage;

use board::Board;
use connection::{Connection, Stage, Throttle};
use endpoint::EndpointError;
use link::{Link, LinkError, Scratch};
use record::Record;
use requests::Request;
use session::{Outgoing, Stage as SessionStage};
use shared::{Live, Shared, Timeline};
use tls::Tls;

const TIMER: Token = Token(usize::MAX);
/// Tokens of listeners lie above those of connections.
const LISTENERS: usize = 1 << 40;

/// Plain octets queued on a connection before its sessions wait: enough for full records and one
/// large write, little enough to stay in the cache.
const QUEUED_OCTETS: usize = 64 * 1024;
/// Reads of one connection in one turn, so that a film does not hold up the rest.
const READS_PER_TURN: usize = 4;
/// Open loop: unsettled messages of one session beyond which the relay has clearly lost the race.
const UNSETTLED_MAX: usize = 100_000;
const DISPLAY_EVERY: u64 = 200_000_000;

/// What a thread hands over at its end.
pub struct Outcome {
    pub counts: Counts,
    pub stray: Wrong,
    pub record: Record,
    /// CPU of this thread over the measured stretch.
    pub usage: ThreadUsage,
    pub success_reports: u64,
    pub connections: usize,
    /// Connections that ended although nobody here closed them.
    pub lost_connections: u64,
    pub waited_at_end: Duration,
    pub notices: Vec<String>,
    pub notices_dropped: u64,
    pub fatal: Option<String>,
}

pub struct Engine {
    shared: Arc<Shared>,
    poll: Poll,
    events: Events,
    timer: timer::Timer,
    board: Board,
    connections: Vec<Connection>,
    listeners: Vec<(TcpListener, usize)>,
    scratch: Scratch,
    dirty: Vec<usize>,
    unread: Vec<usize>,
    /// Throttled connections, by when they may read again.
    throttled: BinaryHeap<Reverse<(u64, usize)>>,
    /// Open loop: sessions by when their next message is due.
    scheduled: BinaryHeap<Reverse<(u64, usize)>>,
    /// Connections to be opened, and how many are being opened.
    next_queued: usize,
    opening: usize,
    open: usize,
    /// From when to when messages are begun.
    sending: (u64, u64),
    period: f64,
    lost_connections: u64,
    usage_marks: [Option<ThreadUsage>; 2],
    displayed_at: u64,
    closing: bool,
}

impl Engine {
    pub fn new(plan: Arc<Plan>, shared: Arc<Shared>, thread: usize) -> io::Result<Self> {
        let poll = Poll::new()?;
        let timer = timer::Timer::new(poll.registry(), TIMER)?;
        let board = Board::new(Arc::clone(&plan), thread, shared.run, shared.epoch);
        let period = plan.rate.map_or(0.0, |rate| 1e9 * plan.pairs as f64 / rate);
        let mut engine = Self {
            shared,
            poll,
            events: Events::with_capacity(1024),
            timer,
            board,
            connections: Vec::new(),
            listeners: Vec::new(),
            scratch: Scratch::default(),
            dirty: Vec::new(),
            unread: Vec::new(),
            throttled: BinaryHeap::new(),
            scheduled: BinaryHeap::new(),
            next_queued: 0,
            opening: 0,
            open: 0,
            sending: (u64::MAX, u64::MAX),
            period,
            lost_connections: 0,
            usage_marks: [None, None],
            displayed_at: 0,
            closing: false,
        };
        engine.prepare()?;
        Ok(engine)
    }

    /// Runs to the end and gives the account.
    pub fn run(mut self) -> Outcome {
        let ready = self.set_up();
        if !ready {
            self.shared.stop();
        }
        self.shared.threads_ready.fetch_add(1, Ordering::SeqCst);
        if ready {
            self.work();
            if self.board.fatal.is_some() {
                self.shared.stop();
            }
        }
        let waited = if ready { self.settle() } else { Duration::ZERO };
        self.close();
        self.account(waited)
    }

    fn failed(&self) -> bool {
        self.board.fatal.is_some() || self.shared.is_stopped()
    }

    /// Connects, logs in, binds the sessions. False: it is not worth going on.
    fn set_up(&mut self) -> bool {
        let deadline = Instant::now() + setup::time_allowed(self.connections.len());
        while !self.failed() {
            self.open_more();
            if self.is_set_up() {
                return true;
            }
            if Instant::now() > deadline {
                let stuck = self.describe_stuck();
                self.board.fatal = Some(format!("setting up takes too long: {stuck}"));
            }
            self.turn(Some(Duration::from_millis(100)));
        }
        false
    }

    /// The measured stretch with its warm-up.
    fn work(&mut self) {
        let timeline = loop {
            if let Some(timeline) = self.shared.timeline.get() {
                break *timeline;
            }
            if self.failed() {
                return;
            }
            self.turn(Some(Duration::from_millis(2)));
        };
        self.begin(timeline);
        let until = self.sending.1;
        while self.board.read_clock() < until && !self.failed() {
            self.mark_usage();
            let left = Duration::from_nanos(until.saturating_sub(self.board.now));
            self.turn(Some(left.min(Duration::from_millis(50))));
            if self.everything_is_broken() {
                let text = "every connection is lost: the relay has closed them or is gone; its log should say why";
                self.board.fatal.get_or_insert_with(|| text.into());
            }
        }
        self.mark_usage();
    }

    fn begin(&mut self, timeline: Timeline) {
        let clock = |at| self.board.instant_to_clock(at);
        let (start, from, until) = (
            clock(timeline.start),
            clock(timeline.measure_from),
            clock(timeline.measure_until),
        );
        self.sending = (start, until);
        self.board.record.window = (from, until);
        for place in 0..self.board.sessions.len() {
            if self.board.plan.rate.is_some() {
                // Spread the sessions evenly over one period.
                let share = f64::from(self.board.sessions[place].id) / self.board.plan.pairs as f64;
                let due = start + (share * self.period) as u64;
                self.board.sessions[place].next_due = due;
                self.scheduled.push(Reverse((due, place)));
            } else {
                self.board.ready.push(place);
            }
        }
        while self.board.read_clock() < start {
            self.poll_once(Some(Duration::from_nanos(start - self.board.now)));
        }
    }

    /// Waits for what is not settled, as long as patience lasts.
    fn settle(&mut self) -> Duration {
        let began = Instant::now();
        let patience = self.board.plan.patience;
        while self.unsettled() > 0
            && began.elapsed() < patience
            && !self.everything_is_broken()
            && !self.shared.is_stopped()
        {
            self.turn(Some(Duration::from_millis(50)));
        }
        began.elapsed()
    }

    fn unsettled(&self) -> usize {
        self.board
            .sessions
            .iter()
            .map(|s| s.ledger.unsettled())
            .sum::<usize>()
            + self.board.held.len()
    }

    fn everything_is_broken(&self) -> bool {
        self.open == 0 && !self.connections.is_empty()
    }

    fn close(&mut self) {
        self.closing = true;
        for connection in &mut self.connections {
            if let Some(link) = &mut connection.link {
                link.close();
            }
        }
    }

    fn account(mut self, waited_at_end: Duration) -> Outcome {
        let mut counts = Counts::default();
        for session in &mut self.board.sessions {
            session.ledger.close();
            counts.add(session.ledger.counts());
        }
        self.display(true);
        let usage = match self.usage_marks {
            [Some(before), Some(after)] => after.since(&before),
            _ => ThreadUsage::default(),
        };
        Outcome {
            counts,
            stray: self.board.stray,
            usage,
            success_reports: self.board.success_reports,
            connections: self.open,
            lost_connections: self.lost_connections,
            waited_at_end,
            notices: self.board.notices,
            notices_dropped: self.board.notices_dropped,
            fatal: self.board.fatal,
            record: self.board.record,
        }
    }

    /// Takes CPU readings at the ends of the measured stretch.
    fn mark_usage(&mut self) {
        let (from, until) = self.board.record.window;
        let now = self.board.now;
        if self.usage_marks[0].is_none() && now >= from {
            self.usage_marks[0] = ThreadUsage::read();
        }
        if self.usage_marks[1].is_none() && now >= until {
            self.usage_marks[1] = ThreadUsage::read();
        }
    }

    /// One round: events, what is due, what may be sent, one write per connection.
    fn turn(&mut self, longest: Option<Duration>) {
        let wait = self.time_to_wait(longest);
        self.poll_once(wait);
        self.read_unread();
        self.handle_due();
        self.pump_ready();
        self.flush();
        if self.board.now - self.displayed_at >= DISPLAY_EVERY {
            self.display(false);
        }
    }

    fn time_to_wait(&mut self, longest: Option<Duration>) -> Option<Duration> {
        if !self.unread.is_empty() || !self.board.ready.is_empty() || !self.dirty.is_empty() {
            return Some(Duration::ZERO);
        }
        let due = [
            self.board.held.peek().map(|Reverse(held)| held.due),
            self.throttled.peek().map(|Reverse((due, _))| *due),
            self.scheduled
                .peek()
                .map(|Reverse((due, _))| *due)
                .filter(|due| *due < self.sending.1),
        ];
        let Some(due) = due.into_iter().flatten().min() else {
            return longest;
        };
        let now = self.board.read_clock();
        if due <= now {
            return Some(Duration::ZERO);
        }
        let left = Duration::from_nanos(due - now);
        if longest.is_some_and(|longest| longest < left) {
            return longest;
        }
        // A timer that cannot be set costs precision only.
        let _ = self.timer.set(left);
        longest
    }

    fn poll_once(&mut self, wait: Option<Duration>) {
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        if let Err(error) = self.poll.poll(&mut events, wait)
            && error.kind() != io::ErrorKind::Interrupted
        {
            self.board.fatal = Some(format!("epoll: {error}"));
        }
        self.board.read_clock();
        for event in &events {
            match event.token() {
                TIMER => {}
                Token(token) if token >= LISTENERS => self.accept(token - LISTENERS),
                Token(key) => {
                    if event.is_writable() {
                        self.writable(key);
                    }
                    if event.is_readable() || event.is_read_closed() || event.is_error() {
                        self.readable(key);
                    }
                }
            }
        }
        self.events = events;
    }

    fn writable(&mut self, key: usize) {
        let connection = &mut self.connections[key];
        let Some(link) = &mut connection.link else {
            return;
        };
        if connection.stage == Stage::Opening && connection.tcp_at == 0 {
            match link.check_connected() {
                Ok(false) => return,
                Ok(true) => {
                    connection.tcp_at = self.board.now;
                    self.board
                        .record
                        .connecting
                        .saturating_record(self.board.now - connection.opened_at);
                    if let Err(error) = link.start_tls(&mut self.scratch) {
                        return self.fail(key, &describe(&error));
                    }
                    self.opened(key);
                }
                Err(error) => return self.fail_to_connect(key, &error),
            }
            return;
        }
        match link.resume() {
            Ok(()) if link.waiting() == 0 => {
                self.board.ready.append(&mut connection.endpoint.blocked);
                self.touch(key);
            }
            Ok(()) => {}
            Err(error) => self.fail(key, &error.to_string()),
        }
    }

    fn readable(&mut self, key: usize) {
        for _ in 0..READS_PER_TURN {
            let connection = &mut self.connections[key];
            let Some(link) = &mut connection.link else {
                return;
            };
            if connection.stage == Stage::Opening && connection.tcp_at == 0 {
                // An error of connect() shows as readability, too.
                return self.writable(key);
            }
            let limit = match &mut connection.throttle {
                None => usize::MAX,
                Some(throttle) => match throttle.refill(self.board.now) {
                    0 => {
                        self.throttled
                            .push(Reverse((self.board.now + 2_000_000, key)));
                        return;
                    }
                    octets => octets as usize,
                },
            };
            let endpoint = &mut connection.endpoint;
            let board = &mut self.board;
            let result = link.read(&mut self.scratch, limit, |octets| {
                endpoint.receive(octets, key, board)
            });
            let said_something = !endpoint.out.is_empty();
            let outcome = match result {
                Ok(outcome) => outcome,
                Err(error) => {
                    let text = describe_received(&error);
                    return self.fail(key, &text);
                }
            };
            if let Some(throttle) = &mut connection.throttle {
                throttle.credit = throttle.credit.saturating_sub(outcome.octets as u64);
            }
            if connection.stage != Stage::Ready {
                self.opened(key);
            }
            if said_something {
                self.touch(key);
            }
            if outcome.ended {
                let clean = self.connections[key].endpoint.is_between_messages();
                let text = if clean {
                    "closed by the relay"
                } else {
                    "closed by the relay in the middle of a message"
                };
                return self.fail(key, text);
            }
            if outcome.drained {
                return;
            }
        }
        if !std::mem::replace(&mut self.connections[key].unread, true) {
            self.unread.push(key);
        }
    }

    fn read_unread(&mut self) {
        for key in std::mem::take(&mut self.unread) {
            self.connections[key].unread = false;
            self.board.read_clock();
            self.readable(key);
        }
    }

    fn accept(&mut self, listener: usize) {
        loop {
            let (listener, place) = &self.listeners[listener];
            let place = *place;
            let (mut stream, _) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            let _ = stream.set_nodelay(true);
            let tls = match &self.board.plan.server_config {
                Some(config) => match Tls::server(Arc::clone(config)) {
                    Ok(tls) => Some(tls),
                    Err(error) => {
                        self.board.fatal = Some(format!("TLS as a server: {error}"));
                        return;
                    }
                },
                None => None,
            };
            let key = self.connections.len();
            let interests = Interest::READABLE | Interest::WRITABLE;
            if let Err(error) = self
                .poll
                .registry()
                .register(&mut stream, Token(key), interests)
            {
                self.board.fatal = Some(format!("epoll: {error}"));
                return;
            }
            let uri = self.receiver_uri(place);
            let mut connection = Connection::new(uri, None, Some(place));
            connection.link = Some(Link::new(stream, tls, true));
            connection.stage = Stage::Opening;
            connection.opened_at = self.board.now;
            connection.tcp_at = self.board.now;
            connection.throttle = self.throttle();
            self.connections.push(connection);
            self.next_queued = self.connections.len();
            self.opening += 1;
            self.board.sessions[place].receiver = Some(key);
            self.opened(key);
        }
    }

    fn throttle(&self) -> Option<Throttle> {
        self.board
            .plan
            .receiver_rate
            .map(|octets_per_second| Throttle {
                octets_per_second,
                credit: 0,
                refilled_at: self.board.now,
            })
    }

    /// Held 200s, throttled readers and scheduled messages whose time has come.
    fn handle_due(&mut self) {
        let now = self.board.now;
        while let Some(Reverse(held)) = self.board.held.peek()
            && held.due <= now
        {
            let Some(Reverse(held)) = self.board.held.pop() else {
                break;
            };
            self.board.record.lateness.saturating_record(now - held.due);
            if self.board.record.measures(now) {
                self.board.record.held.saturating_record(now - held.since);
            }
            self.connections[held.connection]
                .endpoint
                .out
                .extend_from_slice(&held.octets);
            self.touch(held.connection);
        }
        while let Some(&Reverse((due, key))) = self.throttled.peek()
            && due <= now
        {
            self.throttled.pop();
            self.readable(key);
        }
        while let Some(&Reverse((due, place))) = self.scheduled.peek()
            && due <= now
            && due < self.sending.1
        {
            self.scheduled.pop();
            if self.board.record.measures(due) {
                self.board.record.lateness.saturating_record(now - due);
            }
            self.board.ready.push(place);
        }
    }

    fn pump_ready(&mut self) {
        if self.board.ready.is_empty() {
            return;
        }
        // A session may stand here several times; the second time finds nothing to do.
        let mut ready = std::mem::take(&mut self.board.ready);
        for place in ready.drain(..) {
            self.pump(place);
        }
        // Keep the room; pumping adds nothing to the list.
        if self.board.ready.is_empty() {
            self.board.ready = ready;
        }
    }

    /// Queues what the session may send, until its connection is full.
    fn pump(&mut self, place: usize) {
        if !self.board.sessions[place].is_ready() {
            return;
        }
        let key = self.board.sessions[place].sender;
        loop {
            if self.connections[key].link.is_none() {
                return;
            }
            if self.board.sessions[place].outgoing.is_none() && !self.begin_message(place) {
                return;
            }
            let connection = &mut self.connections[key];
            if connection.endpoint.out.len() >= QUEUED_OCTETS || link_is_busy(connection) {
                if !connection.endpoint.blocked.contains(&place) {
                    connection.endpoint.blocked.push(place);
                }
                self.touch(key);
                return;
            }
            self.send_piece(place, key);
            self.touch(key);
        }
    }

    /// Begins the next message if there may be one now.
    fn begin_message(&mut self, place: usize) -> bool {
        let now = self.board.now;
        let session = &mut self.board.sessions[place];
        if now < self.sending.0 || now >= self.sending.1 {
            return false;
        }
        let due_at = match self.board.plan.rate {
            None if session.ledger.unsettled() >= self.board.plan.window => return false,
            None => now,
            Some(_) => {
                let due = session.next_due;
                if due > now || due >= self.sending.1 {
                    self.schedule(place);
                    return false;
                }
                if session.ledger.unsettled() >= UNSETTLED_MAX {
                    self.board.fatal = Some(format!(
                        "{UNSETTLED_MAX} messages of one session are under way: the relay does not keep up with --rate"
                    ));
                    return false;
                }
                // Each message has its own place on the time line; delays do not shift it.
                session.next_due = due + self.period as u64;
                due
            }
        };
        let session = &mut self.board.sessions[place];
        let size = session.draw_size();
        let message = session.ledger.begin(size, due_at);
        if self.board.record.measures(now) {
            self.board.record.sums.sent += 1;
        }
        session.outgoing = Some(Outgoing {
            message,
            size,
            origin: Pattern::origin(session.id, message),
            at: 0,
            chunk_end: 0,
            tid: [0; ids::TID_OCTETS],
        });
        true
    }

    fn schedule(&mut self, place: usize) {
        let due = self.board.sessions[place].next_due;
        let known = self
            .scheduled
            .peek()
            .is_some_and(|Reverse((_, p))| *p == place);
        if due < self.sending.1 && !known {
            self.scheduled.push(Reverse((due, place)));
        }
    }

    /// Queues the next piece of the message that is going out.
    fn send_piece(&mut self, place: usize, key: usize) {
        let plan = &self.board.plan;
        let endpoint = &mut self.connections[key].endpoint;
        let session = &mut self.board.sessions[place];
        let (Some(outgoing), Some(template)) = (&mut session.outgoing, &session.template) else {
            return;
        };
        if outgoing.at == outgoing.chunk_end {
            let from = outgoing.at;
            let to = outgoing.size.min(from + plan.chunk_octets);
            let message = outgoing.message;
            let request = Request::Chunk {
                session: place,
                message,
                from,
                to,
            };
            outgoing.tid = endpoint.request(request, plan.report);
            outgoing.chunk_end = to;
            let id = ids::message_id(self.board.run, session.id, message);
            template.head(
                &mut endpoint.out,
                &outgoing.tid,
                &id,
                (from, to),
                outgoing.size,
            );
            session.ledger.chunk_sent(message, to == outgoing.size);
        }
        let piece = (outgoing.chunk_end - outgoing.at).min(QUEUED_OCTETS as u64);
        self.board.pattern.append(
            &mut endpoint.out,
            outgoing.origin,
            outgoing.at,
            piece as usize,
        );
        outgoing.at += piece;
        if outgoing.at == outgoing.chunk_end {
            let whole = outgoing.at == outgoing.size;
            template::end_line(
                &mut endpoint.out,
                &outgoing.tid,
                if whole { b'$' } else { b'+' },
            );
            if whole {
                session.outgoing = None;
            }
        }
    }

    /// The connection has something to write.
    fn touch(&mut self, key: usize) {
        if !std::mem::replace(&mut self.connections[key].dirty, true) {
            self.dirty.push(key);
        }
    }

    fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for key in dirty.drain(..) {
            let connection = &mut self.connections[key];
            connection.dirty = false;
            let Some(link) = &mut connection.link else {
                continue;
            };
            if !link.is_open() || link.waiting() > 0 {
                continue;
            }
            if !connection.endpoint.out.is_empty()
                && let Err(error) = link.write(&mut connection.endpoint.out, &mut self.scratch)
            {
                self.fail(key, &describe(&error));
                continue;
            }
            if link.waiting() == 0 {
                self.board.ready.append(&mut connection.endpoint.blocked);
            }
        }
        // Failing may have touched others.
        if self.dirty.is_empty() {
            self.dirty = dirty;
        }
    }

    fn display(&mut self, last: bool) {
        self.displayed_at = self.board.now;
        let Ok(mut live) = self.shared.live[self.board.thread].lock() else {
            return;
        };
        let mut counts = Counts::default();
        // With many sessions this is worth doing seldom only, and it is.
        for session in &self.board.sessions {
            counts.add(session.ledger.counts());
        }
        live.connections = self.open;
        live.sent = counts.sent;
        live.delivered = counts.delivered;
        live.acknowledged = counts.acknowledged;
        live.reported = counts.reported;
        live.wrong = counts.wrong.total() + self.board.stray.total();
        live.octets = counts.octets_delivered;
        live.unsettled = if last { 0 } else { self.unsettled() };
        let Live { recent, .. } = &mut *live;
        recent
            .add(&self.board.record.recent)
            .expect("all have the same bounds");
        self.board.record.recent.reset();
    }

    fn fail(&mut self, key: usize, why: &str) {
        let connection = &mut self.connections[key];
        let Some(mut link) = connection.link.take() else {
            return;
        };
        let _ = self.poll.registry().deregister(link.stream());
        let was = std::mem::replace(&mut connection.stage, Stage::Closed);
        if was == Stage::Ready {
            self.open -= 1;
        } else {
            self.opening -= 1;
        }
        if self.closing {
            return;
        }
        self.lost_connections += 1;
        let uri = connection.endpoint.uri.clone();
        let to = link
            .stream()
            .peer_addr()
            .map(|a| a.to_string())
            .unwrap_or_default();
        self.board
            .notice(|| format!("connection {uri} {to}: {why}"));
        let setting_up = self.sending.0 == u64::MAX;
        if setting_up {
            let advice = setup::advice(why, was, &self.board.plan);
            self.board
                .fatal
                .get_or_insert_with(|| format!("{why}{advice}"));
        }
        for session in &mut self.board.sessions {
            if session.sender == key || session.receiver == Some(key) {
                session.stage = SessionStage::Broken;
            }
        }
    }
}

fn link_is_busy(connection: &Connection) -> bool {
    connection
        .link
        .as_ref()
        .is_none_or(|link| link.waiting() > 0)
}

fn describe(error: &LinkError<()>) -> String {
    match error {
        LinkError::Io(error) => error.to_string(),
        LinkError::Tls(error) => format!("TLS: {error}"),
        LinkError::Sink(()) => "refused".into(),
    }
}

fn describe_received(error: &LinkError<EndpointError>) -> String {
    match error {
        LinkError::Io(error) => error.to_string(),
        LinkError::Tls(error) => format!("TLS: {error}"),
        LinkError::Sink(EndpointError::Codec(error)) => {
            format!("the relay sent no valid MSRP: {error}")
        }
        LinkError::Sink(EndpointError::Auth(text)) => text.clone(),
    }
}
