//! No more than so many lines of one kind: what strangers can cause over and over must neither
//! fill a disk nor hold up a shard. What is left out is counted, and told in one line.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// The bound counts in windows of this length.
const WINDOW: Duration = Duration::from_secs(10);
/// Whoever asks for debug wants to see more.
const DEBUG_SHARE: u32 = 50;

/// Shared by the layer, and by whoever tells what it left out.
#[derive(Clone)]
pub(super) struct Repeats(Arc<Inner>);

struct Inner {
    /// Lines of one kind in a window; 0: any number.
    lines_max: AtomicU32,
    /// As many as there are places in the program that log.
    kinds: Mutex<HashMap<Identifier, Kind>>,
}

struct Kind {
    metadata: &'static Metadata<'static>,
    window: Instant,
    lines: u32,
    left_out: u64,
}

/// Lines of one kind that nobody has seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct LeftOut {
    /// The room that logs them, and the line there.
    pub target: &'static str,
    pub line: u32,
    pub lines: u64,
}

impl Repeats {
    pub fn new(lines_max: u32) -> Self {
        Self(Arc::new(Inner {
            lines_max: AtomicU32::new(lines_max),
            kinds: Mutex::default(),
        }))
    }

    pub fn set(&self, lines_max: u32) {
        self.0.lines_max.store(lines_max, Ordering::Relaxed);
    }

    fn lets_pass(&self, now: Instant, metadata: &'static Metadata<'static>) -> bool {
        let mut lines_max = self.0.lines_max.load(Ordering::Relaxed);
        if *metadata.level() > Level::INFO {
            lines_max = lines_max.saturating_mul(DEBUG_SHARE);
        }
        if lines_max == 0 {
            return true;
        }
        let mut kinds = self.0.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = kinds.entry(metadata.callsite()).or_insert_with(|| Kind {
            metadata,
            window: now,
            lines: 0,
            left_out: 0,
        });
        if now.saturating_duration_since(kind.window) >= WINDOW {
            (kind.window, kind.lines) = (now, 0);
        }
        kind.lines = kind.lines.saturating_add(1);
        let passes = kind.lines <= lines_max;
        kind.left_out += u64::from(!passes);
        passes
    }

    /// What was left out in windows that are over, or at all; it is not told again.
    pub fn left_out(&self, now: Instant, at_the_end: bool) -> Vec<LeftOut> {
        let mut kinds = self.0.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let due = kinds.values_mut().filter(|kind| {
            let over = now.saturating_duration_since(kind.window) >= WINDOW;
            kind.left_out > 0 && (over || at_the_end)
        });
        due.map(|kind| LeftOut {
            target: kind.metadata.target(),
            line: kind.metadata.line().unwrap_or(0),
            lines: std::mem::take(&mut kind.left_out),
        })
        .collect()
    }
}

impl<S: Subscriber> Layer<S> for Repeats {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.lets_pass(Instant::now(), event.metadata())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tracing_subscriber::prelude::*;

    use super::*;

    /// Counts what comes through.
    struct Seen(Arc<Mutex<Vec<Level>>>);

    impl<S: Subscriber> Layer<S> for Seen {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().unwrap().push(*event.metadata().level());
        }
    }

    fn seen(repeats: &Repeats, log: impl FnOnce()) -> usize {
        let levels = Arc::<Mutex<Vec<Level>>>::default();
        let subscriber = tracing_subscriber::registry()
            .with(repeats.clone())
            .with(Seen(levels.clone()));
        tracing::subscriber::with_default(subscriber, log);
        levels.lock().unwrap().len()
    }

    #[test]
    fn lines_of_one_kind_are_bounded_and_the_rest_is_counted() {
        let repeats = Repeats::new(20);
        let passed = seen(&repeats, || {
            for number in 0..1000 {
                tracing::info!(number, "of one kind");
                if number % 100 == 0 {
                    tracing::info!("of another");
                }
            }
        });
        assert_eq!(passed, 20 + 10);
        let now = Instant::now();
        assert_eq!(repeats.left_out(now, false), []);
        let left_out = repeats.left_out(now + WINDOW, false);
        assert_eq!(left_out.len(), 1);
        assert_eq!(left_out[0].lines, 980);
        assert!(left_out[0].target.ends_with("repeats::tests"));
        assert_eq!(repeats.left_out(now + WINDOW, true), []);
    }

    #[test]
    fn the_next_window_begins_anew_and_no_bound_is_none() {
        let repeats = Repeats::new(2);
        let log = |times| {
            move || {
                for _ in 0..times {
                    tracing::warn!("again");
                }
            }
        };
        assert_eq!(seen(&repeats, log(5)), 2);
        for kind in repeats.0.kinds.lock().unwrap().values_mut() {
            kind.window -= WINDOW;
        }
        assert_eq!(seen(&repeats, log(5)), 2);
        assert_eq!(repeats.left_out(Instant::now(), true)[0].lines, 6);
        repeats.set(0);
        assert_eq!(seen(&repeats, log(5)), 5);
    }

    #[test]
    fn debug_may_say_more() {
        let repeats = Repeats::new(2);
        let passed = seen(&repeats, || {
            (0..500).for_each(|_| tracing::debug!("in detail"));
        });
        assert_eq!(passed, 100);
    }
}
