//! The engine: one thread, one epoll, many connections, nothing that waits.
//!
//! A turn takes the events that are there, parses in place, lets sessions queue what they may send
//! and writes once per connection. A session and both its connections live on one thread, so the
//! ledger needs no lock. Time is read per event, not per message.

mod board;
mod connection;
mod endpoint;
mod giving_up;
mod link;
mod login;
mod outbox;
mod reconnect;
pub mod record;
mod requests;
mod rounds;
mod sending;
pub mod series;
mod session;
mod setup;
pub mod shared;
mod sockets;
mod stalls;
mod template;
mod timer;
mod tls;
mod web;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::{Events, Poll, Token};

use crate::arrivals::{Places, Profile};
use crate::ledger::{Counts, Wrong};
use crate::notices::Notices;
use crate::plan::{self, Plan};
use crate::trace::{TraceFile, Tracer};
use crate::usage::ThreadUsage;

use board::Board;
use connection::Connection;
use link::Scratch;
use record::Record;
use session::Pace;
use shared::{Live, Shared, Timeline};

const TIMER: Token = Token(usize::MAX);
/// Tokens of listeners lie above those of connections.
const LISTENERS: usize = 1 << 40;

/// In place of a listener's session: the first SEND tells.
const ANY_SESSION: usize = usize::MAX;

const DISPLAY_EVERY: u64 = 200_000_000;

/// What a thread hands over at its end.
pub struct Outcome {
    /// By bucket, of messages due in the measured stretch and of those due before it.
    pub counts: Vec<Counts>,
    pub warmup: Counts,
    pub stray: Wrong,
    pub record: Record,
    /// CPU of this thread over the measured stretch.
    pub usage: ThreadUsage,
    pub stalled: Stalled,
    pub success_reports: u64,
    pub connections: usize,
    /// Connections that ended although nobody here closed them.
    pub lost_connections: u64,
    pub reconnected: Reconnected,
    /// Connections whose receiver stands still that the relay has ended.
    pub standing_ended: u64,
    /// How much of the measured stretch was run.
    pub measured: Duration,
    pub waited_at_end: Duration,
    pub notices: Notices,
    pub fatal: Option<String>,
    /// Why the trace is not whole.
    pub trace_error: Option<String>,
}

/// How a thread itself stood still in the measured stretch and while it waited for the rest.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stalled {
    pub times: u64,
    pub total: Duration,
    pub longest: Duration,
}

/// What came of connections that were lost and opened again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reconnected {
    /// Sessions that lost a connection, once for each time.
    pub sessions_broken: u64,
    /// Of these, back and able to send.
    pub sessions_back: u64,
    /// Messages that were under way when a connection was lost, and of which nothing was heard any more.
    pub lost: u64,
    /// AUTHs that succeeded after the run had begun.
    pub auths: u64,
    pub attempts_failed: u64,
}

impl Reconnected {
    pub fn add(&mut self, other: &Self) {
        self.sessions_broken += other.sessions_broken;
        self.sessions_back += other.sessions_back;
        self.lost += other.lost;
        self.auths += other.auths;
        self.attempts_failed += other.attempts_failed;
    }
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
    /// By group: when its messages are due, in an open loop.
    profiles: Vec<Option<Profile>>,
    /// The rate times this, as the user has changed it by now.
    rate_factor: f64,
    /// Sessions whose round is over.
    leaving: Vec<usize>,
    round_period: u64,
    /// Lost connections, by when they are opened again.
    returning: BinaryHeap<Reverse<(u64, usize)>>,
    reconnected: Reconnected,
    /// Connections being opened, by when their next step must be done.
    expected: BinaryHeap<Reverse<(u64, usize)>>,
    /// Connections to be opened, and how many are being opened.
    next_queued: usize,
    opening: usize,
    open: usize,
    /// From when to when messages are begun.
    sending: (u64, u64),
    /// No message begins any more.
    is_over: bool,
    lost_connections: u64,
    standing_ended: u64,
    usage_marks: [Option<ThreadUsage>; 2],
    displayed_at: u64,
    closing: bool,
}

impl Engine {
    pub fn new(
        plan: Arc<Plan>,
        shared: Arc<Shared>,
        thread: usize,
        trace: Option<TraceFile>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let timer = timer::Timer::new(poll.registry(), TIMER)?;
        let mut board = Board::new(Arc::clone(&plan), thread, shared.run, shared.epoch);
        board.tracer = trace.map(Tracer::new);
        let profile = |group: &plan::Group| match &group.pace {
            plan::Pace::Open(_, profile) => Some(profile.clone()),
            plan::Pace::Window(_) => None,
        };
        let rounds = plan.rounds.and_then(|rounds| rounds.rate);
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
            profiles: plan.groups.iter().map(profile).collect(),
            rate_factor: 1.0,
            leaving: Vec::new(),
            round_period: rounds.map_or(0.0, |rate| 1e9 * plan.sessions() as f64 / rate) as u64,
            returning: BinaryHeap::new(),
            reconnected: Reconnected::default(),
            expected: BinaryHeap::new(),
            next_queued: 0,
            opening: 0,
            open: 0,
            sending: (u64::MAX, u64::MAX),
            is_over: false,
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
        while !self.failed() && !self.shared.is_ending() {
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
            if self.failed() || self.shared.is_ending() {
                return;
            }
            self.turn(Some(Duration::from_millis(2)));
        };
        self.begin(timeline);
        let until = self.sending.1;
        while self.board.read_clock() < until && !self.failed() && !self.shared.is_ending() {
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
        // What was due until the very end still goes out.
        self.turn(Some(Duration::ZERO));
        self.is_over = true;
        self.count_not_sent();
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
        self.board.auths = 0;
        for place in 0..self.board.sessions.len() {
            self.board.sessions[place].round_due = start;
            self.begin_session(place, start);
        }
        while self.board.read_clock() < start {
            self.poll_once(Some(Duration::from_nanos(start - self.board.now)));
        }
    }

    fn begin_session(&mut self, place: usize, start: u64) {
        let plan = Arc::clone(&self.board.plan);
        let session = &mut self.board.sessions[place];
        let (slot, group) = (session.slot, &plan.groups[session.slot.group]);
        // Films and what stands still are few and long: they begin with the measured stretch.
        let warms_up = session.flow.owner.is_main();
        let from = self.board.record.window.0;
        match &group.pace {
            plan::Pace::Open(arrivals, _) => {
                session.places =
                    Places::new(*arrivals, slot.number, group.sessions, session.id.into());
                self.board.sessions[place].next_due = self.due_at(place);
                while !warms_up && self.board.sessions[place].next_due < from {
                    self.next_due(place);
                }
                self.schedule(place);
            }
            plan::Pace::Window(_) if !warms_up => {
                session.next_due = from;
                self.schedule(place);
            }
            plan::Pace::Window(_) if self.round_period > 0 => {
                // Spread the sessions evenly over one period.
                let share = f64::from(session.id) / plan.sessions() as f64;
                session.next_due = start + (share * self.round_period as f64) as u64;
                self.schedule(place);
            }
            plan::Pace::Window(_) => self.board.ready.push(place),
        }
    }

    /// Waits for what is not settled, as long as patience lasts.
    fn settle(&mut self) -> Duration {
        let began = Instant::now();
        let patience = self.board.plan.patience.as_nanos() as u64;
        let since = self.board.read_clock();
        let enough = self.shared.signals();
        while self.unsettled() > 0
            && self
                .board
                .stalls
                .awake(self.board.moved_at.max(since), self.board.now)
                < patience
            && !self.everything_is_broken()
            && !self.shared.is_stopped()
            && self.shared.signals() == enough
        {
            self.turn(Some(Duration::from_millis(50)));
        }
        // A round ends a turn after its last message.
        self.turn(Some(Duration::ZERO));
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
        let lost = self.lost_connections > 0 && !self.board.plan.reconnect;
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
        self.board.read_clock();
        let mut counts = vec![Counts::default(); self.board.plan.buckets()];
        let mut warmup = Counts::default();
        for place in 0..self.board.sessions.len() {
            self.close_round(place);
            self.board.close_account(place);
            let session = &self.board.sessions[place];
            counts[session.flow.owner.bucket].add(session.ledger.counts());
            warmup.add(session.ledger.warmup());
        }
        self.board.record.complete();
        self.display(true);
        let usage = match self.usage_marks {
            [Some(before), Some(after)] => after.since(&before),
            _ => ThreadUsage::default(),
        };
        let (from, until) = self.board.record.window;
        let began = from.min(self.board.now);
        let (times, longest) = self.board.stalls.count(began, self.board.now);
        let total = self.board.stalls.within(began, self.board.now);
        self.reconnected.auths = self.board.auths;
        self.reconnected.sessions_back = self.board.record.recovery.len();
        Outcome {
            counts,
            warmup,
            standing_ended: self.standing_ended,
            stray: self.board.stray,
            usage,
            stalled: Stalled {
                times,
                total: Duration::from_nanos(total),
                longest: Duration::from_nanos(longest),
            },
            success_reports: self.board.success_reports,
            connections: self.open,
            lost_connections: self.lost_connections,
            reconnected: self.reconnected,
            measured: Duration::from_nanos(until - from),
            waited_at_end,
            notices: self.board.notices,
            fatal: self.board.fatal,
            trace_error: self.board.tracer.take().and_then(Tracer::finish),
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
        self.give_up_connecting();
        self.reconnect();
        if self.board.now - self.displayed_at >= DISPLAY_EVERY {
            self.display(false);
            self.follow_rate();
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
            self.returning.peek().map(|Reverse((due, _))| *due),
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
            if self.board.record.measures(now) {
                self.board.record.lateness.saturating_record(now - held.due);
                self.board.record.held.saturating_record(now - held.since);
            }
            self.connections[held.connection]
                .endpoint
                .out
                .text(&held.octets);
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
            match self.board.plan.rounds {
                Some(_) => {
                    if self.board.record.measures(due) {
                        self.board.record.lateness.saturating_record(now - due);
                    }
                    self.begin_round(place);
                }
                None => self.board.ready.push(place),
            }
        }
    }

    /// Takes over a rate that the user has changed.
    fn follow_rate(&mut self) {
        let factor = self.shared.rate_factor();
        if factor == self.rate_factor || self.sending.0 == u64::MAX || self.is_over {
            return;
        }
        let now = (self.board.now as f64 - self.board.record.window.0 as f64) / 1e9;
        for profile in self.profiles.iter_mut().flatten() {
            *profile = profile.scaled(now, factor / self.rate_factor);
        }
        self.rate_factor = factor;
        self.scheduled.clear();
        for place in 0..self.board.sessions.len() {
            let session = &mut self.board.sessions[place];
            if session.flow.pace == Pace::Open {
                session.is_scheduled = false;
                self.board.sessions[place].next_due = self.due_at(place);
                self.schedule(place);
            }
        }
    }

    fn display(&mut self, last: bool) {
        self.displayed_at = self.board.now;
        let Ok(mut live) = self.shared.live[self.board.thread].lock() else {
            return;
        };
        let (mut counts, mut sent) = (Counts::default(), 0);
        // With many sessions this is worth doing seldom only, and it is.
        for session in &self.board.sessions {
            counts.add(session.ledger.counts());
            counts.add(session.ledger.warmup());
            sent += session.ledger.begun();
        }
        live.connections = self.open;
        live.sent = sent;
        live.delivered = counts.delivered;
        live.acknowledged = counts.acknowledged;
        live.reported = counts.reported;
        live.wrong = counts.wrong.total() + self.board.stray.total();
        live.octets = counts.octets_delivered;
        live.lost_connections = self.lost_connections;
        live.unsettled = if last { 0 } else { self.unsettled() };
        let Live { recent, .. } = &mut *live;
        recent
            .add(&self.board.record.recent)
            .expect("all have the same bounds");
        self.board.record.recent.reset();
    }
}
