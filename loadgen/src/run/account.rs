//! From what the threads and the readings hold to a [`Summary`].

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::engine::record::{Bucket, Record, Sums};
use crate::engine::{Outcome, Reconnected, Stalled, series};
use crate::ledger::Counts;
use crate::notices::Notices;
use crate::plan::{Plan, Role, Standing, Work};
use crate::summary::{
    ChurnResult, FilmResult, GroupResult, Host, Interval, Latency, Measured, Own, ReconnectResult,
    Relay, SCHEMA, SetUp, StandingResult, Summary, configuration,
};
use crate::usage::{ProcessUsage, ThreadUsage};

use super::readings::Readings;
use super::warnings::warnings;

/// Points of the curve of percentiles.
const CURVE_POINTS: u32 = 100;

/// What the threads hold together.
struct Sum {
    record: Record,
    /// By bucket.
    counts: Vec<Counts>,
    usage: ThreadUsage,
    busiest: Duration,
    stalled: Stalled,
    reconnected: Reconnected,
    notices: Notices,
    measured: Duration,
    standing_ended: u64,
}

pub fn sum_up(
    plan: &Plan,
    readings: &Readings,
    set_up_time: Duration,
    outcomes: Vec<Outcome>,
) -> (Summary, Record) {
    let mut summary = Summary {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").into(),
        relay_versions: readings.relay_versions.clone(),
        began: jiff::Timestamp::try_from(readings.began)
            .map_or_else(|_| String::new(), |time| format!("{time:.0}")),
        host: Host::this(),
        configuration: configuration(plan),
        ..Summary::default()
    };
    let sum = add_up(plan, outcomes, &mut summary);
    // Never zero, for rates are divided by it.
    let seconds = sum.measured.as_secs_f64().max(1e-3);
    let [main, films, standing] = sum.record.totals();
    summary.measured = measured(plan, &sum.record, &main, seconds, summary.counts.delivered);
    summary.groups = groups(plan, &sum, seconds);
    summary.set_up = set_up(
        readings,
        &sum.record,
        summary.set_up.connections,
        set_up_time,
    );
    summary.own = own(plan, &sum, &main.sums, seconds);
    let octets = main.sums.octets + films.sums.octets + standing.sums.octets;
    summary.relay = relay(plan, readings, &summary, octets);
    summary.films = films_result(plan, &sum, &films, seconds);
    if plan.rounds.is_some() {
        summary.churn = Some(churn(&sum.record, seconds, summary.relay.as_ref()));
    }
    if plan.standing != Standing::Nobody {
        summary.standing = Some(StandingResult {
            counts: sum.counts[plan.groups.len()],
            reported_after_us: Latency::of(&standing.reports),
            connections_ended: sum.standing_ended,
        });
    }
    if plan.reconnect {
        summary.reconnect = Some(reconnect(&sum, summary.lost_connections));
    }
    let scraped = readings.scraped();
    let scraped = scraped
        .iter()
        .map(|(name, h)| (name.clone(), Latency::of(h)));
    summary.scraped_us = scraped.collect();
    summary.intervals = intervals(plan, &sum.record, seconds);
    summary.percentiles_us = curve(&main.delivery, summary.counts.delivered);
    summary.notices_dropped = sum.notices.dropped;
    summary.notices = sum.notices.into_rows();
    let more = std::mem::take(&mut summary.warnings);
    summary.warnings = warnings(plan, &summary);
    summary.warnings.extend(more);
    summary.warnings.extend(readings.problems.iter().cloned());
    (summary, sum.record)
}

fn add_up(plan: &Plan, outcomes: Vec<Outcome>, summary: &mut Summary) -> Sum {
    let mut sum = Sum {
        record: Record::new(plan.buckets()),
        counts: vec![Counts::default(); plan.buckets()],
        usage: ThreadUsage::default(),
        busiest: Duration::ZERO,
        stalled: Stalled::default(),
        reconnected: Reconnected::default(),
        notices: Notices::default(),
        measured: Duration::ZERO,
        standing_ended: 0,
    };
    for outcome in outcomes {
        sum.measured = sum.measured.max(outcome.measured);
        sum.record.merge(&outcome.record);
        for (ours, theirs) in sum.counts.iter_mut().zip(&outcome.counts) {
            ours.add(theirs);
        }
        sum.usage.add(&outcome.usage);
        sum.busiest = sum.busiest.max(outcome.usage.cpu);
        // The threads stand still together, if they do.
        sum.stalled.times = sum.stalled.times.max(outcome.stalled.times);
        sum.stalled.total = sum.stalled.total.max(outcome.stalled.total);
        sum.stalled.longest = sum.stalled.longest.max(outcome.stalled.longest);
        sum.reconnected.add(&outcome.reconnected);
        sum.notices.merge(outcome.notices);
        sum.standing_ended += outcome.standing_ended;
        summary.warmup.add(&outcome.warmup);
        summary.stray.add(&outcome.stray);
        summary.success_reports += outcome.success_reports;
        summary.set_up.connections += outcome.connections;
        summary.lost_connections += outcome.lost_connections;
        let waited = outcome.waited_at_end.as_secs_f64();
        summary.waited_at_end_seconds = summary.waited_at_end_seconds.max(waited);
        summary.fatal = summary.fatal.take().or(outcome.fatal);
        if let Some(error) = outcome.trace_error {
            summary
                .warnings
                .push(format!("--trace is not whole: {error}"));
        }
    }
    sum.record
        .set_roles(plan.groups.iter().map(|group| group.role));
    let main = plan
        .groups
        .iter()
        .zip(&sum.counts)
        .filter(|(group, _)| group.role == Role::Main);
    for (_, counts) in main {
        summary.counts.add(counts);
    }
    sum
}

fn measured(plan: &Plan, record: &Record, main: &Bucket, seconds: f64, delivered: u64) -> Measured {
    let sums = &main.sums;
    let due = sums.sent + sums.not_sent + sums.not_sent_own;
    let open = plan.is_open_loop();
    Measured {
        seconds,
        warmup_seconds: plan.warmup.as_secs_f64(),
        due,
        sent: sums.sent,
        not_sent: sums.not_sent,
        not_sent_own: sums.not_sent_own,
        achieved_percent: (open && due > 0).then(|| sums.sent as f64 * 100.0 / due as f64),
        asked_per_second: open.then(|| due as f64 / seconds),
        delivered: sums.delivered,
        chunks_received: sums.chunks,
        messages_per_second: sums.delivered as f64 / seconds,
        octets: sums.octets,
        megabytes_per_second: sums.octets as f64 / seconds / 1e6,
        delivery_us: Latency::of_delivered(&main.delivery, delivered),
        acknowledgement_us: Latency::of_delivered(&main.acknowledgement, delivered),
        confirmation_us: Latency::of(&main.confirmation),
        report_us: Latency::of(&main.reports),
        held_us: Latency::of(&record.held),
    }
}

/// Where there is more than one that the run is about.
fn groups(plan: &Plan, sum: &Sum, seconds: f64) -> Vec<GroupResult> {
    let main = |place: &usize| plan.groups[*place].role == Role::Main;
    let places: Vec<usize> = (0..plan.groups.len()).filter(main).collect();
    if places.len() < 2 {
        return Vec::new();
    }
    let result = |place: usize| {
        let (group, bucket, counts) = (
            &plan.groups[place],
            &sum.record.buckets[place],
            sum.counts[place],
        );
        let not_sent = bucket.sums.not_sent + bucket.sums.not_sent_own;
        GroupResult {
            name: group.name.clone(),
            sessions: group.sessions,
            counts,
            due: bucket.sums.sent + not_sent,
            not_sent,
            messages_per_second: bucket.sums.delivered as f64 / seconds,
            megabytes_per_second: bucket.sums.octets as f64 / seconds / 1e6,
            delivery_us: Latency::of_delivered(&bucket.delivery, counts.delivered),
            acknowledgement_us: Latency::of_delivered(&bucket.acknowledgement, counts.delivered),
        }
    };
    places.into_iter().map(result).collect()
}

fn set_up(readings: &Readings, record: &Record, connections: usize, took: Duration) -> SetUp {
    SetUp {
        connections,
        seconds: took.as_secs_f64(),
        connections_per_second: connections as f64 / took.as_secs_f64(),
        tcp_us: Latency::of(&record.connecting),
        handshake_us: Latency::of(&record.handshake),
        upgrade_us: Latency::of(&record.upgrade),
        auth_us: Latency::of(&record.auth),
        relay_cpu_us_per_connection: readings.before.zip(readings.set_up).map(|(before, after)| {
            after.since(&before).cpu.as_secs_f64() * 1e6 / connections.max(1) as f64
        }),
    }
}

fn own(plan: &Plan, sum: &Sum, sums: &Sums, seconds: f64) -> Own {
    let cpu = sum.usage.cpu.as_secs_f64();
    Own {
        cpu_us_per_message: (sums.delivered > 0).then(|| cpu * 1e6 / sums.delivered as f64),
        cpu_share: cpu / seconds,
        busiest_thread_share: sum.busiest.as_secs_f64() / seconds,
        waited_share: sum.usage.waited.as_secs_f64() / seconds / plan.threads as f64,
        threads: plan.threads,
        lateness_us: Latency::of(&sum.record.lateness),
        stalls: sum.stalled.times,
        stalled_seconds: sum.stalled.total.as_secs_f64(),
        stall_seconds_max: sum.stalled.longest.as_secs_f64(),
    }
}

fn relay(plan: &Plan, readings: &Readings, summary: &Summary, octets: u64) -> Option<Relay> {
    let (from, until) = readings.from().zip(readings.until)?;
    let measured = &summary.measured;
    let used = until.since(&from);
    let cpu = used.cpu.as_secs_f64();
    let per = |scale: f64, count: u64| (count > 0).then(|| cpu * scale / count as f64);
    let mib =
        |usage: Option<ProcessUsage>| usage.map_or(0.0, |u| u.rss_octets as f64 / 1_048_576.0);
    // Idle connections are looked at when they have been idle for a while.
    let held = match plan.work {
        Work::Idle => Some(until),
        Work::Messages => readings.set_up,
    };
    let served_before = readings.before.and_then(|before| before.served_before());
    let grown = mib(held) - mib(readings.before);
    let each = grown * 1024.0 / summary.set_up.connections.max(1) as f64;
    Some(Relay {
        pids: readings.watched.pids.clone(),
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
        rss_kib_per_connection: served_before.is_none().then_some(each),
        served_before,
    })
}

fn films_result(plan: &Plan, sum: &Sum, films: &Bucket, seconds: f64) -> Option<FilmResult> {
    let mut result = FilmResult::default();
    for (place, group) in plan.groups.iter().enumerate() {
        if group.role == Role::Film {
            result.sessions += group.sessions;
            result.counts.add(&sum.counts[place]);
        }
    }
    result.octets = films.sums.octets;
    result.megabytes_per_second = films.sums.octets as f64 / seconds / 1e6;
    result.delivery_us = Latency::of_delivered(&films.delivery, result.counts.delivered);
    (result.sessions > 0).then_some(result)
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
        upgrade_us: Latency::of(&record.upgrade),
        auth_us: Latency::of(&record.auth),
        relay_cpu_us_per_round: relay
            .filter(|_| rounds > 0)
            .map(|relay| relay.cpu_seconds * 1e6 / rounds as f64),
    }
}

fn reconnect(sum: &Sum, lost_connections: u64) -> ReconnectResult {
    let r = &sum.reconnected;
    ReconnectResult {
        connections_lost: lost_connections,
        sessions_broken: r.sessions_broken,
        sessions_back: r.sessions_back,
        lost: r.lost,
        auths: r.auths,
        attempts_failed: r.attempts_failed,
        recovery_us: Latency::of(&sum.record.recovery),
    }
}

fn intervals(plan: &Plan, record: &Record, seconds: f64) -> Vec<Interval> {
    let length = series::interval(plan.duration).as_secs_f64();
    let intervals = (0_u32..).zip(record.series.intervals());
    intervals
        .map(|(number, interval)| {
            let at = f64::from(number) * length;
            let seconds = length.min(seconds - at).max(0.0);
            Interval {
                at,
                seconds,
                target_per_second: plan.rate_at(at + seconds / 2.0),
                sent: interval.sent,
                not_sent: interval.not_sent,
                lost: interval.lost,
                delivered: interval.delivered,
                acknowledged: interval.acknowledged,
                reported: interval.reported,
                octets: interval.octets,
                film_octets: interval.film_octets,
                delivery_us: Latency::of(&interval.delivery),
            }
        })
        .collect()
}

/// The higher the quantile, the denser: each nine has as many points.
fn curve(delivery: &Histogram<u64>, delivered: u64) -> Vec<(f64, f64)> {
    if delivered == 0 || delivery.is_empty() {
        return Vec::new();
    }
    let nines = (delivery.len().max(10) as f64).log10().min(6.0);
    (0..=CURVE_POINTS)
        .map(|point| {
            let quantile = 1.0 - 10_f64.powf(-nines * f64::from(point) / f64::from(CURVE_POINTS));
            (quantile, delivery.value_at_quantile(quantile) as f64 / 1e3)
        })
        .collect()
}
