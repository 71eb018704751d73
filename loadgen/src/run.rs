//! One run from plan to summary: starts the threads, keeps the time line, reads the relay's usage
//! at both ends of the measured stretch.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use crate::engine::record::Record;
use crate::engine::series;
use crate::engine::shared::{Shared, Timeline};
use crate::engine::{Engine, Outcome};
use crate::hdr_log::Line;
use crate::hostile::Company;
use crate::ids;
use crate::ledger::Counts;
use crate::plan::{Plan, Shape, Standing, Work};
use crate::progress::{EVERY, Progress};
use crate::scrape::{self, Reading, Target};
use crate::summary::{
    Between, ChurnResult, FilmResult, Latency, Measured, Own, Relay, SetUp, StandingResult, Summary,
};
use crate::usage::{ProcessUsage, ThreadUsage};

/// What is looked at from outside while a run goes on.
pub struct Watched {
    /// Processes of the relays.
    pub pids: Vec<u32>,
    pub scraped: Vec<Target>,
}

/// A look at the relay and at ourselves at one time of the measured stretch.
pub struct Sample {
    /// When it was due, since the beginning of the measured stretch, and when it was really taken.
    pub at: Duration,
    pub taken: Instant,
    pub relay: Option<ProcessUsage>,
    pub own: Option<ProcessUsage>,
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
        for (tag, histogram) in [
            ("200", &r.acknowledgement),
            ("held", &r.held),
            ("film", &r.films),
            ("round", &r.rounds),
            ("tcp", &r.connecting),
            ("tls", &r.handshake),
            ("auth", &r.auth),
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

/// Readings of the relay: before anything, when all is set up, at both ends of the measured
/// stretch and within it.
struct Readings {
    began: SystemTime,
    samples: Vec<Sample>,
    scraped: [Vec<Reading>; 2],
    problems: Vec<String>,
    before: Option<ProcessUsage>,
    set_up: Option<ProcessUsage>,
    from: Option<ProcessUsage>,
    until: Option<ProcessUsage>,
}

/// Makes the run. An error means that it could not even begin.
pub fn run(plan: Plan, watched: &Watched, quiet: bool) -> Result<(Summary, Trace), String> {
    let plan = Arc::new(plan);
    let shared = Arc::new(Shared::new(plan.threads, ids::letters()));
    let mut progress = Progress::new(quiet);
    let read = || ProcessUsage::read(&watched.pids);
    let mut readings = Readings {
        began: SystemTime::now(),
        samples: Vec::new(),
        scraped: [Vec::new(), Vec::new()],
        problems: Vec::new(),
        before: read(),
        set_up: None,
        from: None,
        until: None,
    };
    let began = Instant::now();
    let threads = start(&plan, &shared)?;
    let wanted = match plan.work {
        Work::Idle => plan.connections,
        Work::Messages => (0..plan.sessions_with_connections())
            .map(|pair| plan.shapes[pair % plan.shapes.len()])
            .map(|shape| if shape == Shape::RelayDials { 1 } else { 2 })
            .sum(),
    };
    // A thread that has panicked is never ready and never done; `collect` tells.
    let crashed = || threads.iter().any(JoinHandle::is_finished) && !shared.is_stopped();
    while shared.threads_ready.load(Ordering::SeqCst) < plan.threads
        && !shared.is_stopped()
        && !crashed()
    {
        thread::sleep(Duration::from_millis(5));
        if began.elapsed() > EVERY {
            progress.setting_up(&shared, wanted);
        }
    }
    let set_up_time = began.elapsed();
    let mut company = None;
    if !shared.is_stopped() && !crashed() {
        readings.set_up = read();
        if plan.hostile > 0 {
            let started = Company::start(&plan, plan.hostile);
            company = Some(started.map_err(|e| format!("cannot start a thread: {e}"))?);
        }
        measure(&plan, &shared, &mut readings, watched, &mut progress);
    }
    settle(&plan, &shared, &threads, &mut progress);
    let hostile = company.map(Company::end);
    let outcomes = collect(threads)?;
    progress.finish();
    let (mut summary, record) = sum_up(&plan, watched, &readings, set_up_time, outcomes);
    summary.hostile = hostile;
    let trace = Trace {
        began: readings.began,
        interval: series::interval(plan.duration),
        record,
        scraped: readings.scraped(),
        samples: readings.samples,
    };
    Ok((summary, trace))
}

fn start(plan: &Arc<Plan>, shared: &Arc<Shared>) -> Result<Vec<JoinHandle<Outcome>>, String> {
    let mut threads = Vec::new();
    for number in 0..plan.threads {
        let engine = Engine::new(Arc::clone(plan), Arc::clone(shared), number).map_err(|e| {
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

fn measure(
    plan: &Plan,
    shared: &Shared,
    readings: &mut Readings,
    watched: &Watched,
    progress: &mut Progress,
) {
    let start = Instant::now() + Duration::from_millis(20);
    let measure_from = start + plan.warmup;
    let measure_until = measure_from + plan.duration;
    shared
        .timeline
        .set(Timeline {
            start,
            measure_from,
            measure_until,
        })
        .expect("only this thread sets it, once");
    let whole = (plan.warmup + plan.duration).as_secs_f64();
    let mut wait_until = |end: Instant| {
        while Instant::now() < end && !shared.is_stopped() {
            thread::sleep((end - Instant::now()).min(EVERY));
            if plan.work == Work::Messages {
                progress.update(
                    shared,
                    (Instant::now() - start.min(Instant::now())).as_secs_f64() / whole,
                );
            }
        }
    };
    wait_until(measure_from);
    readings.began = SystemTime::now();
    readings.sample(Duration::ZERO, watched);
    readings.scrape(0, watched);
    let interval = series::interval(plan.duration);
    let mut at = interval;
    while at <= plan.duration && !shared.is_stopped() {
        wait_until(measure_from + at);
        readings.sample(at, watched);
        at += interval;
    }
    wait_until(measure_until);
    readings.until = ProcessUsage::read(&watched.pids);
    readings.scrape(1, watched);
}

impl Readings {
    fn sample(&mut self, at: Duration, watched: &Watched) {
        let relay = ProcessUsage::read(&watched.pids);
        if self.samples.is_empty() {
            self.from = relay;
        }
        let own = ProcessUsage::read(&[std::process::id()]);
        self.samples.push(Sample {
            at,
            taken: Instant::now(),
            relay,
            own,
        });
    }

    fn scrape(&mut self, which: usize, watched: &Watched) {
        let readings = watched.scraped.iter().map(Target::read);
        match readings.collect::<Result<Vec<_>, _>>() {
            Ok(readings) => self.scraped[which] = readings,
            Err(problem) if self.problems.is_empty() => self.problems.push(problem),
            Err(_) => {}
        }
    }

    /// What the relays measured between the two readings.
    fn scraped(&self) -> Reading {
        let mut sum = Reading::new();
        let [before, after] = &self.scraped;
        for (before, after) in before.iter().zip(after) {
            scrape::add_difference(&mut sum, before, after);
        }
        sum.retain(|_, histogram| !histogram.is_empty());
        sum
    }
}

fn settle(plan: &Plan, shared: &Shared, threads: &[JoinHandle<Outcome>], progress: &mut Progress) {
    let began = Instant::now();
    while !threads.iter().all(JoinHandle::is_finished) {
        thread::sleep(Duration::from_millis(5));
        if began.elapsed() > Duration::from_secs(1) {
            progress.settling(shared, plan.patience, began.elapsed());
            thread::sleep(EVERY);
        }
    }
}

fn collect(threads: Vec<JoinHandle<Outcome>>) -> Result<Vec<Outcome>, String> {
    let joined = threads.into_iter().map(JoinHandle::join);
    joined
        .map(|r| r.map_err(|_| "a thread of the load generator panicked".to_owned()))
        .collect()
}

fn sum_up(
    plan: &Plan,
    watched: &Watched,
    readings: &Readings,
    set_up_time: Duration,
    outcomes: Vec<Outcome>,
) -> (Summary, Record) {
    let mut record = Record::default();
    let mut usage = ThreadUsage::default();
    let mut summary = Summary {
        version: env!("CARGO_PKG_VERSION").into(),
        command: std::env::args().collect::<Vec<_>>().join(" "),
        ..Summary::default()
    };
    let mut measured = Duration::ZERO;
    let [mut film_counts, mut standing_counts] = [Counts::default(); 2];
    let mut standing_ended = 0;
    for outcome in outcomes {
        measured = measured.max(outcome.measured);
        record.merge(&outcome.record);
        usage.add(&outcome.usage);
        summary.counts.add(&outcome.counts);
        film_counts.add(&outcome.film_counts);
        standing_counts.add(&outcome.standing_counts);
        standing_ended += outcome.standing_ended;
        summary.stray.add(&outcome.stray);
        summary.success_reports += outcome.success_reports;
        summary.set_up.connections += outcome.connections;
        summary.lost_connections += outcome.lost_connections;
        summary.waited_at_end_seconds = summary
            .waited_at_end_seconds
            .max(outcome.waited_at_end.as_secs_f64());
        summary.notices.extend(outcome.notices);
        summary.notices_dropped += outcome.notices_dropped;
        summary.fatal = summary.fatal.or(outcome.fatal);
    }
    // Never zero, for rates are divided by it.
    let seconds = measured.as_secs_f64().max(1e-3);
    let sums = record.sums;
    summary.measured = Measured {
        seconds,
        sent: sums.sent,
        delivered: sums.delivered,
        chunks_received: sums.chunks,
        messages_per_second: sums.delivered as f64 / seconds,
        octets: sums.octets,
        megabytes_per_second: sums.octets as f64 / seconds / 1e6,
        delivery_us: Latency::of(&record.delivery),
        acknowledgement_us: Latency::of(&record.acknowledgement),
        held_us: Latency::of(&record.held),
    };
    let connections = summary.set_up.connections;
    summary.set_up = SetUp {
        connections,
        seconds: set_up_time.as_secs_f64(),
        connections_per_second: connections as f64 / set_up_time.as_secs_f64(),
        tcp_us: Latency::of(&record.connecting),
        handshake_us: Latency::of(&record.handshake),
        auth_us: Latency::of(&record.auth),
        relay_cpu_us_per_connection: readings.before.zip(readings.set_up).map(|(before, after)| {
            after.since(&before).cpu.as_secs_f64() * 1e6 / connections.max(1) as f64
        }),
    };
    let per = |time: f64, count: u64| (count > 0).then(|| time / count as f64);
    summary.own = Own {
        cpu_us_per_message: per(usage.cpu.as_secs_f64() * 1e6, sums.delivered),
        cpu_share: usage.cpu.as_secs_f64() / seconds,
        waited_share: usage.waited.as_secs_f64() / seconds / plan.threads as f64,
        threads: plan.threads,
        lateness_us: Latency::of(&record.lateness),
    };
    let octets = sums.octets + record.film_sums.octets + record.standing_sums.octets;
    summary.relay = relay(
        &watched.pids,
        readings,
        &summary.measured,
        octets,
        connections,
        plan.work == Work::Idle,
    );
    if let Some(films) = plan.films {
        summary.films = Some(FilmResult {
            sessions: films.sessions,
            counts: film_counts,
            octets: record.film_sums.octets,
            megabytes_per_second: record.film_sums.octets as f64 / seconds / 1e6,
            delivery_us: Latency::of(&record.films),
        });
    }
    if plan.round.is_some() {
        summary.churn = Some(churn(&record, seconds, summary.relay.as_ref()));
    }
    if plan.standing != Standing::Nobody {
        summary.standing = Some(StandingResult {
            counts: standing_counts,
            reported_after_us: Latency::of(&record.standing_reports),
            connections_ended: standing_ended,
        });
    }
    let scraped = readings.scraped();
    let scraped = scraped
        .iter()
        .map(|(name, h)| (name.clone(), Latency::of(h)));
    summary.scraped_us = scraped.collect();
    summary.between_us = summary
        .scraped_us
        .get("msrpd_forward_duration_seconds")
        .and_then(|within| {
            let own = &summary.own.lateness_us;
            Between::of(&summary.measured.delivery_us, within, own)
        });
    summary.warnings = warnings(plan, &summary);
    summary.warnings.extend(readings.problems.iter().cloned());
    (summary, record)
}

fn relay(
    pids: &[u32],
    readings: &Readings,
    measured: &Measured,
    octets: u64,
    connections: usize,
    idle: bool,
) -> Option<Relay> {
    let (from, until) = readings.from.zip(readings.until)?;
    let used = until.since(&from);
    let cpu = used.cpu.as_secs_f64();
    let per = |scale: f64, count: u64| (count > 0).then(|| cpu * scale / count as f64);
    let mib =
        |usage: Option<ProcessUsage>| usage.map_or(0.0, |u| u.rss_octets as f64 / 1_048_576.0);
    // Idle connections are looked at when they have been idle for a while.
    let held = match idle {
        true => Some(until),
        false => readings.set_up,
    };
    let grown = mib(held) - mib(readings.before);
    Some(Relay {
        pids: pids.to_vec(),
        cpu_seconds: cpu,
        user_seconds: used.user.as_secs_f64(),
        system_seconds: used.system.as_secs_f64(),
        cpu_share: cpu / measured.seconds,
        cpu_us_per_message: per(1e6, measured.delivered),
        cpu_us_per_chunk: per(1e6, measured.chunks_received),
        cpu_ns_per_octet: per(1e9, octets),
        rss_mib_before: mib(readings.before),
        rss_mib_set_up: mib(readings.set_up),
        rss_mib_end: mib(Some(until)),
        rss_kib_per_connection: grown * 1024.0 / connections.max(1) as f64,
    })
}

fn churn(record: &Record, seconds: f64, relay: Option<&Relay>) -> ChurnResult {
    let rounds = record.rounds.len();
    ChurnResult {
        rounds,
        rounds_per_second: rounds as f64 / seconds,
        handshakes_per_second: record.handshake.len() as f64 / seconds,
        auths_per_second: record.auth.len() as f64 / seconds,
        round_us: Latency::of(&record.rounds),
        tcp_us: Latency::of(&record.connecting),
        handshake_us: Latency::of(&record.handshake),
        auth_us: Latency::of(&record.auth),
        relay_cpu_us_per_round: relay
            .filter(|_| rounds > 0)
            .map(|relay| relay.cpu_seconds * 1e6 / rounds as f64),
    }
}

/// What spoils the figures.
fn warnings(plan: &Plan, summary: &Summary) -> Vec<String> {
    let mut out = Vec::new();
    let own = &summary.own;
    let relay_share = summary.relay.as_ref().map(|r| r.cpu_share);
    if own.cpu_share / plan.threads as f64 > 0.9 && relay_share.is_none_or(|share| share < 0.9) {
        let text = "the load generator was the bottleneck: rate and latency are its own; give it more cores (--cpu 1,2)";
        out.push(text.into());
    }
    if own.waited_share > 0.05 {
        out.push(format!(
            "for {:.0} % of the time something else had our core: latencies are too long; use --cpu, and keep that core free",
            own.waited_share * 100.0
        ));
    }
    if own.lateness_us.p99 > 0.2 * summary.measured.delivery_us.p99 && own.lateness_us.p99 > 500.0 {
        out.push("we were late for what was due: part of the latency is ours".into());
    }
    if let Some(films) = summary.films.as_ref().filter(|films| films.octets == 0) {
        out.push(format!(
            "no octet of a film arrived in the measured stretch ({} were sent): the chats were alone; make it --film-size larger or leave --film-count out",
            films.counts.sent
        ));
    }
    out
}
