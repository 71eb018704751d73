//! What the user sees while a run goes on: a bar on a terminal, a line a second elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::engine::record::{histogram, quantile};
use crate::engine::shared::{Live, Shared};
use crate::summary::{grouped, micros};

/// Shows the state of a run on stderr.
pub struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
    last: Instant,
    /// How long the stretch was that the last words were about.
    spoke_after: Duration,
    delivered: u64,
    octets: u64,
}

/// How often [`Progress::update`] has something new to say.
pub const EVERY: Duration = Duration::from_millis(250);
const LINE_EVERY: Duration = Duration::from_secs(1);

impl Progress {
    pub fn new(quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let style = ProgressStyle::with_template("{elapsed_precise} [{bar:30}] {wide_msg}")
                .expect("the template is valid")
                .progress_chars("=> ");
            ProgressBar::new(1000).with_style(style)
        });
        Self {
            bar,
            quiet,
            last: Instant::now(),
            spoke_after: LINE_EVERY,
            delivered: 0,
            octets: 0,
        }
    }

    /// While connections are being opened.
    pub fn setting_up(&mut self, shared: &Shared, wanted: usize) {
        if !self.is_due() {
            return;
        }
        let open: usize = shared
            .live
            .iter()
            .filter_map(|l| Some(l.lock().ok()?.connections))
            .sum();
        self.show(
            open as f64 / wanted.max(1) as f64,
            &format!("{open} of {wanted} connections"),
        );
    }

    /// While messages flow. `share` is the part of the run that is over.
    pub fn update(&mut self, shared: &Shared, share: f64) {
        if !self.is_due() {
            return;
        }
        let live = collect(shared);
        let seconds = self.spoke_after.as_secs_f64();
        let rate = (live.delivered - self.delivered.min(live.delivered)) as f64 / seconds;
        let mb = (live.octets - self.octets.min(live.octets)) as f64 / seconds / 1e6;
        (self.delivered, self.octets) = (live.delivered, live.octets);
        let us = |q| micros(quantile(&live.recent, q).as_secs_f64() * 1e6);
        let mut text = format!(
            "{} messages/s  {mb:.1} MB/s  p50 {}  p99 {}  sent {}  delivered {}",
            grouped(rate.round() as u64),
            us(0.5),
            us(0.99),
            grouped(live.sent),
            grouped(live.delivered),
        );
        if live.reported + live.wrong > 0 {
            text += &format!("  reported {}  wrong {}", live.reported, live.wrong);
        }
        self.show(share, &text);
    }

    /// While the last messages are waited for.
    pub fn settling(&mut self, shared: &Shared, patience: Duration, waited: Duration) {
        let unsettled = collect(shared).unsettled;
        if unsettled > 0 && self.is_due() {
            let text = format!(
                "waiting up to {} s for {} messages that are neither delivered and answered nor reported",
                patience.saturating_sub(waited).as_secs(),
                grouped(unsettled as u64)
            );
            self.show(1.0, &text);
        }
    }

    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn show(&mut self, share: f64, text: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_position((share.clamp(0.0, 1.0) * 1000.0) as u64);
                bar.set_message(text.to_owned());
            }
            None if self.quiet => {}
            None => eprintln!("{text}"),
        }
    }

    /// Whether to say something now: lines come once a second, a bar is redrawn each time.
    fn is_due(&mut self) -> bool {
        let due = self.bar.is_some() || self.last.elapsed() >= LINE_EVERY;
        if due {
            self.spoke_after = self.last.elapsed();
            self.last = Instant::now();
        }
        due
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
        sum.recent
            .add(&live.recent)
            .expect("all have the same bounds");
        live.recent.reset();
    }
    sum
}
