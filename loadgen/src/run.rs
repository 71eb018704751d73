//! One run from plan to summary: starts the threads, keeps the time line, reads the relay's usage
//! at both ends of the measured stretch.

mod account;
mod readings;
mod warnings;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use crate::engine::record::Record;
use crate::engine::series;
use crate::engine::shared::{Shared, Timeline};
use crate::engine::{Engine, Outcome};
use crate::hdr_log::Line;
use crate::hostile::Company;
use crate::ids;
use crate::observer::{EVERY, Observer, Phase, Published};
use crate::plan::{Plan, Work};
use crate::scrape::{Reading, Target};
use crate::summary::Summary;
use crate::threshold::Thresholds;
use crate::trace::TraceFile;
use crate::view::{View, Wish};

use account::sum_up;
use readings::Readings;
pub use readings::Sample;

/// By how much one press of a key changes the rate.
const RATE_STEP: f64 = 1.1;
/// Thresholds end a run not before this much of the stretch was measured.
const BREACH_AFTER: Duration = Duration::from_secs(1);

/// What is looked at from outside while a run goes on.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// Processes of the relays.
    pub pids: Vec<u32>,
    pub scraped: Vec<Target>,
}

/// How a run is watched and ended.
pub struct Conduct {
    pub watched: Watched,
    pub quiet: bool,
    /// For the view.
    pub title: String,
    /// Signals so far; see [`crate::signals`].
    pub signals: Arc<AtomicUsize>,
    pub thresholds: Thresholds,
    pub trace: Option<TraceFile>,
    pub published: Published,
}

/// What a run leaves for logs and pictures.
pub struct Trace {
    /// When the measured stretch began.
    pub began: SystemTime,
    pub interval: Duration,
    pub record: Record,
    pub samples: Vec<Sample>,
    /// What the relays measured between two readings of theirs.
    pub scraped: Reading,
}

impl Trace {
    pub fn log_lines(&self) -> Vec<Line> {
        let intervals = self.record.series.intervals();
        let mut lines: Vec<Line> = (0_u32..)
            .zip(intervals)
            .map(|(number, interval)| Line {
                tag: "delivery",
                start: self.interval * number,
                length: self.interval,
                histogram: interval.delivery.clone(),
            })
            .collect();
        let r = &self.record;
        let [main, films, _] = r.totals();
        for (tag, histogram) in [
            ("200", &main.acknowledgement),
            ("confirmed", &main.confirmation),
            ("held", &r.held),
            ("film", &films.delivery),
            ("round", &r.rounds),
            ("tcp", &r.connecting),
            ("tls", &r.handshake),
            ("upgrade", &r.upgrade),
            ("auth", &r.auth),
            ("recovery", &r.recovery),
            ("late", &r.lateness),
        ] {
            if !histogram.is_empty() {
                lines.push(Line {
                    tag,
                    start: Duration::ZERO,
                    length: self.interval * intervals.len() as u32,
                    histogram: histogram.clone(),
                });
            }
        }
        lines
    }
}

/// A run under way.
struct Run<'a> {
    plan: Arc<Plan>,
    shared: Arc<Shared>,
    conduct: &'a Conduct,
    observer: Observer,
    view: View,
    measuring_since: Option<Instant>,
    ended_early: Option<String>,
}

/// Makes the run. An error means that it could not even begin.
pub fn run(plan: Plan, conduct: &Conduct) -> Result<(Summary, Trace), String> {
    let plan = Arc::new(plan);
    let signals = Arc::clone(&conduct.signals);
    let shared = Arc::new(Shared::new(plan.threads, ids::letters(), signals));
    let mut readings = Readings::new(&conduct.watched);
    let began = Instant::now();
    let threads = start(&plan, &shared, conduct.trace.as_ref())?;
    let mut run = Run {
        observer: Observer::new(
            Arc::clone(&plan),
            Arc::clone(&shared),
            &conduct.watched.pids,
            Arc::clone(&conduct.published),
        ),
        view: View::new(conduct.quiet, &conduct.title),
        plan,
        shared,
        conduct,
        measuring_since: None,
        ended_early: None,
    };
    // A thread that has panicked is never ready and never done; `collect` tells.
    let crashed =
        |shared: &Shared| threads.iter().any(JoinHandle::is_finished) && !shared.is_stopped();
    let mut looked = began;
    while run.shared.threads_ready.load(Ordering::SeqCst) < run.plan.threads
        && !run.shared.is_stopped()
        && !crashed(&run.shared)
    {
        thread::sleep(Duration::from_millis(5));
        if looked.elapsed() > EVERY {
            looked = Instant::now();
            run.tick(Phase::SettingUp);
        }
    }
    let set_up_time = began.elapsed();
    let mut company = None;
    if !run.shared.is_stopped() && !crashed(&run.shared) {
        readings.set_up();
        if run.plan.hostile > 0 {
            let started = Company::start(&run.plan, run.plan.hostile);
            company = Some(started.map_err(|e| format!("cannot start a thread: {e}"))?);
        }
        run.measure(&mut readings);
    }
    run.settle(&threads);
    let hostile = company.map(Company::end);
    let outcomes = collect(threads);
    run.view.finish();
    let (mut summary, record) = sum_up(&run.plan, &readings, set_up_time, outcomes?);
    summary.hostile = hostile;
    run.say_why_it_ended(&mut summary);
    let trace = Trace {
        began: readings.began,
        interval: series::interval(run.plan.duration),
        record,
        scraped: readings.scraped(),
        samples: readings.samples,
    };
    Ok((summary, trace))
}

fn start(
    plan: &Arc<Plan>,
    shared: &Arc<Shared>,
    trace: Option<&TraceFile>,
) -> Result<Vec<JoinHandle<Outcome>>, String> {
    let mut threads = Vec::new();
    for number in 0..plan.threads {
        let engine = Engine::new(Arc::clone(plan), Arc::clone(shared), number, trace.cloned());
        let engine = engine.map_err(|e| {
            format!("cannot start: {e}; is `ulimit -n` high enough, and nothing else at that port?")
        })?;
        let core = plan.cpus.get(number % plan.cpus.len().max(1)).copied();
        let body = move || {
            if let Some(id) = core
                && !core_affinity::set_for_current(core_affinity::CoreId { id })
            {
                eprintln!("warning: this machine has no core {id} for us (--cpu); not pinned");
            }
            engine.run()
        };
        let builder = thread::Builder::new().name(format!("load-{number}"));
        threads.push(
            builder
                .spawn(body)
                .map_err(|e| format!("cannot start a thread: {e}"))?,
        );
    }
    Ok(threads)
}

impl Run<'_> {
    fn measure(&mut self, readings: &mut Readings) {
        let start = Instant::now() + Duration::from_millis(20);
        let measure_from = start + self.plan.warmup;
        let measure_until = measure_from + self.plan.duration;
        self.shared
            .timeline
            .set(Timeline {
                start,
                measure_from,
                measure_until,
            })
            .expect("only this thread sets it, once");
        self.wait_until(measure_from, Phase::WarmUp);
        self.observer.begin_measuring();
        self.measuring_since = Some(measure_from);
        readings.begin();
        let interval = series::interval(self.plan.duration);
        let mut at = interval;
        while at <= self.plan.duration && !self.is_over() {
            self.wait_until(measure_from + at, Phase::Measuring);
            // A sample that comes too late would lie next to the following one, and a share between the two mean nothing.
            if measure_from.elapsed() < at + interval / 2 {
                readings.sample(at);
            }
            at += interval;
        }
        self.wait_until(measure_until, Phase::Measuring);
        readings.end();
    }

    fn is_over(&self) -> bool {
        self.shared.is_stopped() || self.shared.is_ending()
    }

    fn wait_until(&mut self, end: Instant, phase: Phase) {
        while Instant::now() < end && !self.is_over() {
            let left = end.saturating_duration_since(Instant::now());
            thread::sleep(left.min(EVERY));
            self.tick(phase);
        }
    }

    /// A look, and what follows from it.
    fn tick(&mut self, phase: Phase) {
        let snapshot = self.observer.look(phase);
        if self.plan.work == Work::Messages || phase == Phase::SettingUp {
            self.view.show(&snapshot, self.plan.patience);
        }
        for wish in self.view.wishes() {
            match wish {
                Wish::Faster => self.change_rate(RATE_STEP),
                Wish::Slower => self.change_rate(1.0 / RATE_STEP),
                Wish::End => {
                    self.ended_early
                        .get_or_insert_with(|| "ended by the user".into());
                    self.shared.end();
                }
            }
        }
        let measured = self
            .measuring_since
            .map_or(Duration::ZERO, |since| since.elapsed());
        if phase == Phase::Measuring
            && measured >= BREACH_AFTER
            && let Some((bound, value)) =
                self.conduct.thresholds.breach(|name| snapshot.value(name))
        {
            let text = format!("ended because {bound} was broken: it was {value}");
            self.ended_early.get_or_insert(text);
            self.shared.end();
        }
    }

    fn change_rate(&self, factor: f64) {
        self.shared
            .set_rate_factor(self.shared.rate_factor() * factor);
    }

    fn settle(&mut self, threads: &[JoinHandle<Outcome>]) {
        let began = Instant::now();
        let mut looked = Instant::now();
        while !threads.iter().all(JoinHandle::is_finished) {
            thread::sleep(Duration::from_millis(5));
            if began.elapsed() > Duration::from_secs(1) && looked.elapsed() > EVERY {
                looked = Instant::now();
                self.tick(Phase::Settling);
            }
        }
    }

    fn say_why_it_ended(&mut self, summary: &mut Summary) {
        let asked = self.plan.duration.as_secs_f64();
        let is_short = summary.measured.seconds < asked - 1e-3;
        let by_signal = (self.shared.signals() > 0).then(|| "ended by a signal".to_owned());
        let why = self.ended_early.take().or(by_signal);
        if let Some(why) = why.filter(|_| is_short) {
            summary.ended_early = Some(format!("{why}; {asked:.1} s were asked for"));
            if summary.counts.sent + summary.warmup.sent == 0 && self.plan.work == Work::Messages {
                summary
                    .fatal
                    .get_or_insert("ended before a message was sent".into());
            }
        }
    }
}

fn collect(threads: Vec<JoinHandle<Outcome>>) -> Result<Vec<Outcome>, String> {
    let joined = threads.into_iter().map(JoinHandle::join);
    joined
        .map(|r| r.map_err(|_| "a thread of the load generator panicked".to_owned()))
        .collect()
}
