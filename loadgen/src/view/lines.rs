//! A line a second, for logs and pipes.

use std::time::{Duration, Instant};

use crate::observer::{Phase, Snapshot};
use crate::summary::text::{grouped, micros, rounded};

const EVERY: Duration = Duration::from_secs(1);

#[derive(Default)]
pub struct Lines {
    last: Option<Instant>,
}

impl Lines {
    pub fn show(&mut self, snapshot: &Snapshot, patience: Duration) {
        let due = self.last.is_none_or(|last| last.elapsed() >= EVERY);
        if due && let Some(text) = text(snapshot, patience) {
            self.last = Some(Instant::now());
            eprintln!("{text}");
        }
    }
}

/// The line for now; `None`: there is nothing to say yet.
pub fn text(s: &Snapshot, patience: Duration) -> Option<String> {
    let elapsed = format!("{:>6.1} s  ", s.elapsed.as_secs_f64());
    let rest = match s.phase {
        Phase::SettingUp if s.elapsed < EVERY => return None,
        Phase::SettingUp => format!("{} of {} connections", s.connections, s.connections_wanted),
        Phase::Settling if s.unsettled == 0 => return None,
        Phase::Settling => format!(
            "waiting, {} s at most after the last sign of life, for {} messages that are neither delivered and answered nor reported",
            patience.as_secs(),
            grouped(s.unsettled as u64)
        ),
        Phase::WarmUp | Phase::Measuring => flow(s),
    };
    Some(elapsed + &rest)
}

fn flow(s: &Snapshot) -> String {
    let mut text = format!("{} messages/s", rounded(s.rate));
    if let Some(target) = s.target {
        text += &format!(" of {}", rounded(target));
    }
    text += &format!("  {:.1} MB/s", s.megabytes_per_second);
    for (name, value) in [("p50", s.recent.p50), ("p99", s.recent.p99)] {
        if let Some(value) = value {
            text += &format!("  {name} {}", micros(value));
        }
    }
    text += &format!(
        "  sent {}  delivered {}",
        grouped(s.sent),
        grouped(s.delivered)
    );
    for (name, count) in [
        ("reported", s.reported),
        ("wrong", s.wrong),
        ("connections lost", s.lost_connections),
    ] {
        if count > 0 {
            text += &format!("  {name} {}", grouped(count));
        }
    }
    if s.phase == Phase::WarmUp {
        text += "  (warm-up)";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_since_when_and_what_was_asked_for() {
        let mut snapshot = Snapshot {
            phase: Phase::Measuring,
            elapsed: Duration::from_millis(12_340),
            rate: 4_998.4,
            target: Some(5_000.0),
            reported: 2,
            ..Snapshot::default()
        };
        let line = text(&snapshot, Duration::ZERO).unwrap();
        assert!(
            line.starts_with("  12.3 s  4,998 messages/s of 5,000"),
            "{line}"
        );
        assert!(
            line.ends_with("reported 2") && !line.contains("p50"),
            "{line}"
        );
        snapshot.phase = Phase::Settling;
        assert_eq!(text(&snapshot, Duration::ZERO), None);
    }
}
