//! `msrpload search`: the highest rate at which a set of bounds holds, and the curve of latency over throughput on the way.
//!
//! Each step is a run of its own at one rate. The rate doubles until a bound is broken (or halves until all are kept), then
//! the gap between the highest that held and the lowest that did not is halved until it is small enough.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::arrivals::Stage;
use crate::cli;
use crate::options::{Options, Stages};
use crate::output::{Output, print};
use crate::report;
use crate::resolve::resolve;
use crate::run::{Conduct, run};
use crate::summary::text::{micros, rounded};
use crate::summary::{Host, SCHEMA, Summary};
use crate::threshold::{Thresholds, parse};
use crate::units::parse_rate;

/// Steps of one search at most.
const STEPS_MAX: usize = 40;
/// For messages that do not come, unless the options say otherwise.
const PATIENCE: Duration = Duration::from_secs(5);
/// Whatever else is asked for: a rate that was not sent did not hold.
const ALWAYS: &str = "achieved>=99%";

/// Finds the highest rate at which bounds hold.
#[derive(Clone, Debug, Args)]
pub struct Search {
    #[command(flatten)]
    pub options: Options,
    /// The bounds, as for --threshold. That 99 % of what was due was sent belongs to them always.
    #[arg(long, value_name = "LIST", value_parser = parse, help_heading = "Search")]
    slo: Thresholds,
    /// The rate to begin with.
    #[arg(long, value_name = "PER_SECOND", default_value = "1000", value_parser = parse_rate, help_heading = "Search")]
    from: f64,
    /// The highest rate to try.
    #[arg(long, value_name = "PER_SECOND", default_value = "1M", value_parser = parse_rate, help_heading = "Search")]
    to: f64,
    /// How near the found rate is to the true one, in per cent.
    #[arg(
        long,
        value_name = "PERCENT",
        default_value_t = 3.0,
        help_heading = "Search"
    )]
    precision: f64,
}

/// One rate that was tried.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    pub rate: f64,
    pub held: bool,
    /// The bounds that were not kept.
    pub missed: Vec<String>,
    pub result: Summary,
}

#[derive(Serialize)]
struct Found<'a> {
    schema: u32,
    kind: &'static str,
    version: &'static str,
    command: String,
    host: Host,
    slo: String,
    /// The highest rate that held; `null`: none did.
    rate: Option<f64>,
    /// The lowest that did not; `null`: all did.
    broken_at: Option<f64>,
    /// By rate.
    steps: &'a [Step],
}

/// Narrows down the highest rate that holds.
#[derive(Debug)]
struct Bracket {
    next: f64,
    limits: (f64, f64),
    precision: f64,
    held: Option<f64>,
    broken: Option<f64>,
}

impl Bracket {
    fn new(from: f64, to: f64, precision: f64) -> Self {
        Self {
            next: from.min(to),
            limits: (1.0_f64.min(from), to),
            precision,
            held: None,
            broken: None,
        }
    }

    /// Takes what came of [`Self::next`]; false: there is nothing more to try.
    fn tried(&mut self, held: bool) -> bool {
        match held {
            true => self.held = Some(self.next),
            false => self.broken = Some(self.next),
        }
        let (low, high) = self.limits;
        self.next = match (self.held, self.broken) {
            (Some(held), Some(broken)) if broken / held <= 1.0 + self.precision => return false,
            (Some(held), Some(broken)) => (held * broken).sqrt(),
            (Some(held), None) if held >= high => return false,
            (Some(held), None) => (held * 2.0).min(high),
            (None, Some(broken)) if broken <= low => return false,
            (None, Some(broken)) => (broken / 2.0).max(low),
            (None, None) => self.next,
        };
        true
    }
}

pub fn search(search: &Search, signals: &Arc<AtomicUsize>) -> Result<u8, String> {
    if search.options.stages.is_some()
        || search.options.rate.is_some()
        || search.options.window.is_some()
    {
        return Err(
            "search looks for the rate itself: leave --rate, --stages and --window out".into(),
        );
    }
    if search.options.scenario.is_some() {
        return Err("search changes one rate: leave --scenario out".into());
    }
    let positive = search.from > 0.0 && search.to > 0.0 && search.precision > 0.0;
    if !positive {
        return Err("--from, --to and --precision must be more than nothing".into());
    }
    let mut json = Output::maybe("--json", search.options.json.as_ref())?;
    let mut page = Output::maybe("--report", search.options.report.as_ref())?;
    let unused: [(&str, &Option<PathBuf>); 2] = [
        ("--hdr", &search.options.hdr),
        ("--trace", &search.options.trace),
    ];
    if let Some((option, _)) = unused.iter().find(|(_, file)| file.is_some()) {
        return Err(format!("search makes many runs: {option} is for one"));
    }
    let slo = search.slo.clone().and(parse(ALWAYS)?);
    let mut bracket = Bracket::new(search.from, search.to, search.precision / 100.0);
    let mut steps: Vec<Step> = Vec::new();
    while steps.len() < STEPS_MAX {
        let step = try_rate(search, bracket.next, &slo, signals)?;
        if signals.load(Ordering::Relaxed) > 0 {
            // What was cut short decides nothing.
            break;
        }
        eprintln!("{}", line(&step));
        let held = step.held;
        steps.push(step);
        if !bracket.tried(held) {
            break;
        }
    }
    steps.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    let found = Found {
        schema: SCHEMA,
        kind: "search",
        version: env!("CARGO_PKG_VERSION"),
        command: cli::shown(std::env::args()),
        host: Host::this(),
        slo: slo.to_string(),
        rate: bracket.held,
        broken_at: bracket.broken,
        steps: &steps,
    };
    if let Some(json) = &mut json {
        let text = serde_json::to_string_pretty(&found).map_err(|e| e.to_string())?;
        json.write((text + "\n").as_bytes())?;
    }
    if let Some(page) = &mut page {
        page.write(report::search_page(&found.command, &found.slo, found.rate, &steps).as_bytes())?;
    }
    print(&table(&slo, &bracket, &steps))?;
    Ok(u8::from(bracket.held.is_none()))
}

fn try_rate(
    search: &Search,
    rate: f64,
    slo: &Thresholds,
    signals: &Arc<AtomicUsize>,
) -> Result<Step, String> {
    let mut options = search.options.clone();
    options.rate = Some(Stages(vec![Stage {
        length: Duration::ZERO,
        from: rate,
        to: rate,
    }]));
    // A rate that leaves messages behind is decided without waiting for each of them.
    options.patience.get_or_insert(PATIENCE);
    let resolved = resolve(&options)?;
    let conduct = Conduct {
        watched: resolved.watched,
        quiet: options.quiet,
        title: format!("msrpload search: {} messages/s", rounded(rate)),
        signals: Arc::clone(signals),
        thresholds: Thresholds::default(),
        trace: None,
        published: Arc::default(),
    };
    let (mut result, _) = run(resolved.plan, &conduct)?;
    if let Some(fatal) = result.fatal.as_ref().filter(|_| result.exit_code() == 2) {
        return Err(fatal.clone());
    }
    result.workload = resolved.workload;
    let verdicts = slo.verdicts(|name| result.value(name));
    let missed: Vec<String> = verdicts
        .iter()
        .filter_map(crate::summary::Verdict::missed)
        .collect();
    result.thresholds = verdicts;
    Ok(Step {
        rate,
        held: missed.is_empty() && result.fatal.is_none(),
        missed,
        result,
    })
}

fn line(step: &Step) -> String {
    let m = &step.result.measured;
    let time = |us: Option<f64>| us.map_or_else(|| "-".to_owned(), micros);
    let mut text = format!(
        "{:>12} messages/s  {:>12} delivered  p50 {:>9}  p99 {:>9}  p99.9 {:>9}  {}",
        rounded(step.rate),
        rounded(m.messages_per_second),
        time(m.delivery_us.p50),
        time(m.delivery_us.p99),
        time(m.delivery_us.p999),
        if step.held { "held" } else { "broken: " }
    );
    text += &step.missed.join("; ");
    text
}

fn table(slo: &Thresholds, bracket: &Bracket, steps: &[Step]) -> String {
    let mut out = String::new();
    for step in steps {
        let _ = writeln!(out, "{}", line(step));
    }
    let _ = match (bracket.held, bracket.broken) {
        (Some(held), Some(broken)) => writeln!(
            out,
            "\n  {slo} holds up to {} messages/s, and no longer at {}",
            rounded(held),
            rounded(broken)
        ),
        (Some(held), None) => writeln!(
            out,
            "\n  {slo} holds at {} messages/s, the highest rate that was tried (--to)",
            rounded(held)
        ),
        (None, Some(broken)) => writeln!(
            out,
            "\n  {slo} does not hold even at {} messages/s",
            rounded(broken)
        ),
        (None, None) => writeln!(out, "\n  nothing was tried"),
    };
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(capacity: f64, from: f64, to: f64) -> (Option<f64>, usize) {
        let mut bracket = Bracket::new(from, to, 0.03);
        for steps in 1..STEPS_MAX {
            let held = bracket.next <= capacity;
            if !bracket.tried(held) {
                return (bracket.held, steps);
            }
        }
        panic!("{bracket:?} does not end");
    }

    #[test]
    fn any_capacity_is_found_from_wherever_it_begins() {
        for capacity in [3.0, 90.0, 1_000.0, 44_444.0, 700_000.0] {
            for from in [1.0, 1_000.0, 500_000.0] {
                let (rate, steps) = found(capacity, from, 1e6);
                let rate = rate.unwrap();
                assert!(
                    rate <= capacity && rate > capacity * 0.96,
                    "{capacity} from {from}: {rate}"
                );
                assert!(steps < 30, "{steps}");
            }
        }
        assert_eq!(found(2e6, 1_000.0, 1e6).0, Some(1e6));
        assert_eq!(found(0.5, 1_000.0, 1e6).0, None);
    }
}
