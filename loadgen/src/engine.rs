//! The engine: one thread, one epoll, many connections, nothing that waits.
//!
//! A turn takes the events that are there, parses in place, lets sessions queue what they may send
//! and writes once per connection. A session and both its connections live on one thread, so the
//! ledger needs no lock. Time is read per event, not per message.

mod board;
mod connection;
mod endpoint;
mod link;
mod login;
pub mod record;
mod requests;
mod rounds;
mod sending;
pub mod series;
mod session;
mod setup;
pub mod shared;
mod sockets;
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
use mio::{Events, Poll, Token};

use crate::ledger::{Counts, Wrong};
use crate::plan::Plan;
use crate::usage::ThreadUsage;

use board::Board;
use connection::Connection;
use link::Scratch;
use record::Record;
use session::{Pace, Role};
use shared::{Live, Shared, Timeline};

const TIMER: Token = Token(usize::MAX);
/// Tokens of listeners lie above those of connections.
const LISTENERS: usize = 1 << 40;

/// In place of a listener's session: the first SEND tells.
const ANY_SESSION: usize = usize::MAX;

const DISPLAY_EVERY: u64 = 200_000_000;

/// What a thread hands over at its end.
pub struct Outcome {
    pub counts: Counts,
    pub film_counts: Counts,
    pub standing_counts: Counts,
    pub stray: Wrong,
    pub record: Record,
    /// CPU of this thread over the measured stretch.
    pub usage: ThreadUsage,
    pub success_reports: u64,
    pub connections: usize,
    /// Connections that ended although nobody here closed them.
    pub lost_connections: u64,
    /// Connections whose receiver stands still that the relay has ended.
    pub standing_ended: u64,
    /// How much of the measured stretch was run.
    pub measured: Duration,
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
    /// Sessions whose round is over.
    leaving: Vec<usize>,
    /// Connections to be opened, and how many are being opened.
    next_queued: usize,
    opening: usize,
    open: usize,
    /// From when to when messages are begun.
    sending: (u64, u64),
    period: f64,
    lost_connections: u64,
    standing_ended: u64,
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
            leaving: Vec::new(),
            next_queued: 0,
            opening: 0,
            open: 0,
            sending: (u64::MAX, u64::MAX),
            period,
            lost_connections: 0,
            standing_ended: 0,
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
        self.cut_short();
        self.mark_usage();
    }

    /// A run that ends early was measured until now only.
    fn cut_short(&mut self) {
        let now = self.board.read_clock();
        let (from, until) = self.board.record.window;
        self.board.record.window = (from, until.min(now).max(from));
        self.sending.1 = self.sending.1.min(now);
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
        let length = series::interval(self.board.plan.duration);
        self.board.record.series = series::Series::new(from, length);
        for place in 0..self.board.sessions.len() {
            let in_rounds = self.board.plan.round.is_some();
            let scheduled = match self.board.sessions[place].flow.pace {
                Pace::Open => true,
                Pace::Window(_) => in_rounds && self.board.plan.rate.is_some(),
            };
            self.board.sessions[place].round_due = start;
            if scheduled {
                // Spread the sessions evenly over one period.
                let share = f64::from(self.board.sessions[place].id) / self.board.plan.pairs as f64;
                let due = start + (share * self.period) as u64;
                self.board.sessions[place].next_due = due;
                self.schedule(place);
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
        let patience = self.board.plan.patience.as_nanos() as u64;
        let since = self.board.read_clock();
        while self.unsettled() > 0
            && self.board.now - self.board.moved_at.max(since) < patience
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
        let lost = self.lost_connections > 0;
        self.open + self.opening == 0 && lost && !self.connections.is_empty()
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
        let [mut counts, mut film_counts, mut standing_counts] = [Counts::default(); 3];
        for session in &mut self.board.sessions {
            session.ledger.close();
            let sum = match session.flow.role {
                Role::Main => &mut counts,
                Role::Film => &mut film_counts,
                Role::Standing => &mut standing_counts,
            };
            sum.add(session.ledger.counts());
        }
        self.display(true);
        let usage = match self.usage_marks {
            [Some(before), Some(after)] => after.since(&before),
            _ => ThreadUsage::default(),
        };
        Outcome {
            counts,
            film_counts,
            standing_counts,
            standing_ended: self.standing_ended,
            stray: self.board.stray,
            usage,
            success_reports: self.board.success_reports,
            connections: self.open,
            lost_connections: self.lost_connections,
            measured: Duration::from_nanos(self.board.record.window.1 - self.board.record.window.0),
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
        self.leave_and_return();
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
            self.board.sessions[place].is_scheduled = false;
            if self.board.record.measures(due) {
                self.board.record.lateness.saturating_record(now - due);
            }
            match self.board.plan.round {
                Some(_) => self.begin_round(place),
                None => self.board.ready.push(place),
            }
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
}
