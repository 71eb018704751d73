//! A look at a run from outside, a few times a second: for the view, the metrics, and thresholds that end a run.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::engine::record::histogram;
use crate::engine::shared::{Live, Shared};
use crate::plan::Plan;
use crate::summary::Latency;
use crate::usage::ProcessUsage;

/// How often there is something new to see.
pub const EVERY: Duration = Duration::from_millis(250);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    #[default]
    SettingUp,
    WarmUp,
    Measuring,
    /// Messages under way are waited for.
    Settling,
}

/// What there is to see.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub phase: Phase,
    /// Since the run began.
    pub elapsed: Duration,
    /// Of the warm-up and the measured stretch; `None`: nobody knows.
    pub left: Option<Duration>,
    /// How much of both is over, from 0 to 1.
    pub share: f64,
    pub connections: usize,
    pub connections_wanted: usize,
    /// Messages a second: what is asked for, and what was delivered in about the last second.
    pub target: Option<f64>,
    pub rate: f64,
    pub megabytes_per_second: f64,
    /// Since the last look.
    pub recent: Latency,
    /// Since the measured stretch began.
    pub whole: Latency,
    pub sent: u64,
    pub delivered: u64,
    pub acknowledged: u64,
    pub reported: u64,
    pub wrong: u64,
    pub octets: u64,
    pub lost_connections: u64,
    pub unsettled: usize,
    /// Shares of one core in about the last second, and resident octets.
    pub relay_cpu: Option<f64>,
    pub relay_rss: Option<u64>,
    pub own_cpu: Option<f64>,
}

impl Snapshot {
    /// By the names of thresholds, as far as it is known while a run goes on.
    pub fn value(&self, name: &str) -> Option<f64> {
        let own = match name {
            "sent" => self.sent,
            "delivered" => self.delivered,
            "acknowledged" => self.acknowledged,
            "reported" => self.reported,
            "wrong" => self.wrong,
            "lost_connections" => self.lost_connections,
            "rate" => return Some(self.rate),
            _ => return self.whole.by_name(name),
        };
        Some(own as f64)
    }
}

/// Where others find the latest one.
pub type Published = Arc<Mutex<Snapshot>>;

pub struct Observer {
    plan: Arc<Plan>,
    shared: Arc<Shared>,
    pids: Vec<u32>,
    began: Instant,
    wanted: usize,
    whole: Histogram<u64>,
    /// The looks of the last second, the earliest first.
    looks: VecDeque<Look>,
    published: Published,
}

/// What an earlier look saw.
#[derive(Clone, Copy)]
struct Look {
    at: Instant,
    delivered: u64,
    octets: u64,
    relay: Option<ProcessUsage>,
    own: Option<ProcessUsage>,
}

/// The threads tell a few times a second what they have done: rates are over more than one such step.
const RATES_OVER: Duration = Duration::from_millis(900);

impl Observer {
    pub fn new(plan: Arc<Plan>, shared: Arc<Shared>, pids: &[u32], published: Published) -> Self {
        Self {
            wanted: plan.connections_wanted(),
            plan,
            shared,
            pids: pids.to_vec(),
            began: Instant::now(),
            whole: histogram(),
            looks: VecDeque::new(),
            published,
        }
    }

    /// The measured stretch begins: what was before does not count.
    pub fn begin_measuring(&mut self) {
        collect(&self.shared);
        self.whole.reset();
    }

    pub fn look(&mut self, phase: Phase) -> Snapshot {
        let live = collect(&self.shared);
        if phase != Phase::WarmUp && phase != Phase::SettingUp {
            self.whole
                .add(&live.recent)
                .expect("all have the same bounds");
        }
        let now = Instant::now();
        let this = Look {
            at: now,
            delivered: live.delivered,
            octets: live.octets,
            relay: ProcessUsage::read(&self.pids),
            own: ProcessUsage::own(),
        };
        while self
            .looks
            .get(1)
            .is_some_and(|look| now - look.at >= RATES_OVER)
        {
            self.looks.pop_front();
        }
        let earlier = self.looks.front().copied().unwrap_or(this);
        let seconds = (now - earlier.at).as_secs_f64().max(1e-3);
        self.looks.push_back(this);
        let share = |now: Option<ProcessUsage>, before: Option<ProcessUsage>| {
            let used = now?.since(&before?).cpu.as_secs_f64();
            Some(used / seconds)
        };
        let timeline = self.shared.timeline.get();
        let since = timeline.map_or(Duration::ZERO, |t| now.saturating_duration_since(t.start));
        let length = self.plan.warmup + self.plan.duration;
        let measured = timeline.map_or(0.0, |t| {
            now.saturating_duration_since(t.measure_from).as_secs_f64()
        });
        let snapshot = Snapshot {
            phase,
            elapsed: self.began.elapsed(),
            left: timeline.map(|_| length.saturating_sub(since)),
            share: (since.as_secs_f64() / length.as_secs_f64().max(1e-3)).min(1.0),
            connections: live.connections,
            connections_wanted: self.wanted,
            target: self
                .plan
                .rate_at(measured)
                .map(|rate| rate * self.shared.rate_factor()),
            rate: live.delivered.saturating_sub(earlier.delivered) as f64 / seconds,
            megabytes_per_second: live.octets.saturating_sub(earlier.octets) as f64 / seconds / 1e6,
            recent: Latency::of(&live.recent),
            whole: Latency::of(&self.whole),
            sent: live.sent,
            delivered: live.delivered,
            acknowledged: live.acknowledged,
            reported: live.reported,
            wrong: live.wrong,
            octets: live.octets,
            lost_connections: live.lost_connections,
            unsettled: live.unsettled,
            relay_cpu: share(this.relay, earlier.relay),
            relay_rss: this.relay.map(|usage| usage.rss_octets),
            own_cpu: share(this.own, earlier.own),
        };
        if let Ok(mut published) = self.published.lock() {
            *published = snapshot.clone();
        }
        snapshot
    }
}

/// The threads' views together; takes the recent latencies away.
fn collect(shared: &Shared) -> Live {
    let mut sum = Live {
        recent: histogram(),
        ..Live::default()
    };
    for live in &shared.live {
        let Ok(mut live) = live.lock() else {
            continue;
        };
        sum.connections += live.connections;
        sum.sent += live.sent;
        sum.delivered += live.delivered;
        sum.acknowledged += live.acknowledged;
        sum.reported += live.reported;
        sum.wrong += live.wrong;
        sum.octets += live.octets;
        sum.unsettled += live.unsettled;
        sum.lost_connections += live.lost_connections;
        sum.recent
            .add(&live.recent)
            .expect("all have the same bounds");
        live.recent.reset();
    }
    sum
}
