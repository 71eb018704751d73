//! The result of a run: as numbers (JSON, `docs/loadgen-json.md`), as a table for people, and as exit code.

mod configuration;
mod host;
mod latency;
mod parts;
mod table;
pub mod text;
mod values;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::hostile::HostileResult;
use crate::ledger::{Counts, Wrong};
use crate::notices::Notice;

pub use configuration::configuration;
pub use host::Host;
pub use latency::{Latency, QUANTILES};
pub use parts::{
    ChurnResult, FilmResult, GroupResult, Interval, Measured, Own, ReconnectResult, Relay, SetUp,
    StandingResult, Verdict,
};

pub use table::Tone;
pub use values::{is_known, known, shown};

/// Of the JSON. It rises with every change that a reader could notice.
pub const SCHEMA: u32 = 3;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    pub schema: u32,
    /// msrpload's.
    pub version: String,
    /// Of the scraped relays, such as `msrpd 1.2.3`; empty where none says it.
    pub relay_versions: Vec<String>,
    pub workload: String,
    /// The command line, without passwords.
    pub command: String,
    /// When the measured stretch began (RFC 3339).
    pub began: String,
    pub host: Host,
    /// What the run was to do, options and defaults resolved.
    pub configuration: Value,
    /// Of messages due in the measured stretch. `wrong` is of the whole run.
    pub counts: Counts,
    /// Of messages due before it.
    pub warmup: Counts,
    /// Faults that belong to no session.
    pub stray: Wrong,
    /// Of messages due in the measured stretch.
    pub success_reports: u64,
    pub lost_connections: u64,
    pub measured: Measured,
    /// Where there are several groups that the run is about.
    pub groups: Vec<GroupResult>,
    pub films: Option<FilmResult>,
    pub churn: Option<ChurnResult>,
    pub standing: Option<StandingResult>,
    pub hostile: Option<HostileResult>,
    pub reconnect: Option<ReconnectResult>,
    pub set_up: SetUp,
    pub relay: Option<Relay>,
    /// What the relay says it measured itself in the same stretch, by the names of its metrics.
    pub scraped_us: BTreeMap<String, Latency>,
    pub own: Own,
    pub intervals: Vec<Interval>,
    /// Quantiles (0 to 1) of the delivery latency with their microseconds.
    pub percentiles_us: Vec<(f64, f64)>,
    pub waited_at_end_seconds: f64,
    /// What went wrong, by kind, code and cause.
    pub notices: Vec<Notice>,
    /// Events that are in no row above.
    pub notices_dropped: u64,
    pub warnings: Vec<String>,
    pub thresholds: Vec<Verdict>,
    pub missed_thresholds: Vec<String>,
    /// Why the run ended before its time.
    pub ended_early: Option<String>,
    pub fatal: Option<String>,
}

impl Summary {
    pub fn wrong(&self) -> u64 {
        let all = self.all_counts().map(|counts| counts.wrong.total());
        all.sum::<u64>() + self.stray.total()
    }

    /// Of all kinds of sessions, the warm-up included.
    fn all_counts(&self) -> impl Iterator<Item = &Counts> {
        let films = self.films.iter().map(|films| &films.counts);
        let standing = self.standing.iter().map(|standing| &standing.counts);
        [&self.counts, &self.warmup]
            .into_iter()
            .chain(films)
            .chain(standing)
    }

    /// 0, 1 or 2 as `--help` says.
    pub fn exit_code(&self) -> u8 {
        let nothing = self.counts.sent > 0 && self.counts.delivered == 0;
        // With --reconnect it was expected that connections are lost, and what was under way on them.
        let (lost_with_them, lost_connections) = match &self.reconnect {
            Some(reconnect) => (reconnect.lost, 0),
            None => (0, self.lost_connections),
        };
        let lost: u64 = self.all_counts().map(|c| c.lost).sum();
        let unanswered =
            self.all_counts().any(|c| c.unanswered + c.unconfirmed > 0) && self.reconnect.is_none();
        let bad = lost > lost_with_them
            || unanswered
            || self.wrong() > 0
            || lost_connections > 0
            || nothing
            || !self.missed_thresholds.is_empty();
        let sent = self.counts.sent + self.warmup.sent;
        match (&self.fatal, bad) {
            (Some(_), _) if sent == 0 => 2,
            (Some(_), _) | (None, true) => 1,
            (None, false) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_lost_or_wrong_is_exit_code_1() {
        let good = Summary {
            counts: Counts {
                sent: 5,
                delivered: 5,
                acknowledged: 5,
                ..Counts::default()
            },
            ..Summary::default()
        };
        assert_eq!(good.exit_code(), 0);
        let with = |change: fn(&mut Summary)| {
            let mut summary = good.clone();
            change(&mut summary);
            summary.exit_code()
        };
        assert_eq!(with(|s| s.counts.lost = 1), 1);
        assert_eq!(with(|s| s.warmup.lost = 1), 1);
        assert_eq!(with(|s| s.counts.unanswered = 1), 1);
        assert_eq!(with(|s| s.counts.unconfirmed = 1), 1);
        assert_eq!(with(|s| s.counts.wrong.octets = 1), 1);
        assert_eq!(with(|s| s.counts.wrong.refused_although_delivered = 1), 1);
        assert_eq!(with(|s| s.stray.answers = 1), 1);
        assert_eq!(with(|s| s.lost_connections = 1), 1);
        assert_eq!(with(|s| s.counts.delivered = 0), 1);
        assert_eq!(with(|s| s.fatal = Some("gone".into())), 1);
        assert_eq!(with(|s| s.counts.reported = 1), 0);
        let outage = |lost| ReconnectResult {
            lost,
            ..ReconnectResult::default()
        };
        let lost_in_outage = |lost| {
            let mut summary = good.clone();
            (summary.counts.lost, summary.lost_connections) = (3, 2);
            summary.reconnect = Some(outage(lost));
            summary.exit_code()
        };
        assert_eq!((lost_in_outage(3), lost_in_outage(2)), (0, 1));
    }
}
