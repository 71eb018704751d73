//! msrpload: a load generator for RFC 4976 relays that accounts for every octet.
//!
//! Reads the command line, runs, prints; see `--help` for what it does and its exit codes.

mod arrivals;
mod cli;
mod compare;
mod dev;
mod engine;
mod hdr_log;
mod hostile;
mod ids;
mod ledger;
mod manual;
mod metrics;
mod notices;
mod observer;
mod options;
mod output;
mod pattern;
mod plan;
mod ranges;
mod report;
mod resolve;
mod run;
mod scrape;
mod search;
mod signals;
mod sizes;
mod summary;
mod threshold;
mod trace;
mod units;
mod usage;
mod view;

use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use clap::{ArgMatches, CommandFactory, FromArgMatches};

use cli::{Cli, Command};
use options::Options;
use output::Output;
use plan::{Pace, Plan, Role, Transport};
use run::Conduct;
use summary::text::rounded;
use summary::{Summary, Verdict};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let result = match Cli::from_arg_matches(&matches) {
        Ok(cli) => carry_out(&cli, &matches),
        Err(error) => error.exit(),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("msrpload: {error}");
            ExitCode::from(2)
        }
    }
}

fn carry_out(cli: &Cli, matches: &ArgMatches) -> Result<u8, String> {
    match &cli.command {
        None => run_with(&cli.options, matches),
        Some(Command::Merge(merge)) => hdr_log::merge(merge).map(|()| 0),
        Some(Command::Compare(compare)) => compare::compare(compare),
        Some(Command::Search(search)) => {
            let matches = matches.subcommand_matches("search").unwrap_or(matches);
            resolve::check_options(&search.options, matches)?;
            raise_file_limit();
            search::search(search, &signals::listen()?)
        }
        Some(Command::Completions { shell }) => manual::completions(*shell).map(|()| 0),
        Some(Command::Manual { folder }) => manual::write(folder).map(|()| 0),
    }
}

/// Files that are written when a run is over.
struct Outputs {
    json: Option<Output>,
    hdr: Option<Output>,
    report: Option<Output>,
}

fn run_with(options: &Options, matches: &ArgMatches) -> Result<u8, String> {
    resolve::check_options(options, matches)?;
    let resolved = resolve::resolve(options)?;
    let mut outputs = Outputs {
        json: Output::maybe("--json", options.json.as_ref())?,
        hdr: Output::maybe("--hdr", options.hdr.as_ref())?,
        report: Output::maybe("--report", options.report.as_ref())?,
    };
    let trace = Output::maybe("--trace", options.trace.as_ref())?;
    let conduct = Conduct {
        title: headline(&resolved.workload, &resolved.plan),
        watched: resolved.watched,
        quiet: options.quiet,
        signals: signals::listen()?,
        thresholds: resolved.thresholds,
        trace: trace
            .map(Output::into_file)
            .transpose()?
            .map(Mutex::new)
            .map(Arc::new),
        published: Arc::default(),
    };
    if let Some(address) = options.metrics {
        metrics::serve(address, Arc::clone(&conduct.published))?;
    }
    raise_file_limit();
    if !options.quiet {
        eprintln!("{}", conduct.title);
    }
    let (mut summary, trace) = run::run(resolved.plan, &conduct)?;
    summary.workload = resolved.workload;
    summary.command = cli::shown(std::env::args());
    judge(&mut summary, &conduct);
    outputs.write(&summary, &trace)?;
    if summary.fatal.is_none() || summary.counts.sent + summary.warmup.sent > 0 {
        output::print(&summary.table())?;
    }
    if let Some(fatal) = &summary.fatal {
        eprintln!("msrpload: {fatal}");
    }
    Ok(summary.exit_code())
}

fn judge(summary: &mut Summary, conduct: &Conduct) {
    let mut verdicts = conduct.thresholds.verdicts(|name| summary.value(name));
    let why = summary.ended_early.as_deref().unwrap_or_default();
    for verdict in &mut verdicts {
        verdict.aborted = why.contains(&format!("because {} was broken", verdict.bound));
        // The part of the run that followed does not take it back.
        verdict.kept &= !verdict.aborted;
    }
    summary.missed_thresholds = verdicts.iter().filter_map(Verdict::missed).collect();
    summary.thresholds = verdicts;
}

impl Outputs {
    fn write(&mut self, summary: &Summary, trace: &run::Trace) -> Result<(), String> {
        if let Some(json) = &mut self.json {
            let text = serde_json::to_string_pretty(summary).map_err(|e| e.to_string())?;
            json.write((text + "\n").as_bytes())?;
        }
        if let Some(hdr) = &mut self.hdr {
            hdr_log::write(hdr, trace.began, &trace.log_lines())?;
        }
        if let Some(page) = &mut self.report {
            page.write(report::page(summary, trace).as_bytes())?;
        }
        Ok(())
    }
}

fn headline(workload: &str, plan: &Plan) -> String {
    let mut what = match plan.groups.is_empty() {
        true => vec![format!("{} idle connections", plan.connections)],
        false => plan.groups.iter().map(describe).collect(),
    };
    if plan.hostile > 0 {
        what.push(format!("{} hostile connections", plan.hostile));
    }
    let through = (0..plan.relays.len()).map(|relay| {
        let ways = plan.ways(relay).into_iter().map(|transport| {
            let address = plan.relays[relay].address(transport);
            match transport {
                Transport::Tls => address.to_string(),
                other => format!("{address} ({})", other.name()),
            }
        });
        let ways = ways.collect::<Vec<_>>().join(" and ");
        format!("{} at {ways}", plan.relays[relay].host)
    });
    format!(
        "{workload}: {} through {}, {:.0} s after {:.0} s of warm-up",
        what.join(", beside "),
        through.collect::<Vec<_>>().join(" and "),
        plan.duration.as_secs_f64(),
        plan.warmup.as_secs_f64()
    )
}

fn describe(group: &plan::Group) -> String {
    let pace = match &group.pace {
        Pace::Open(_, profile) => format!("{} messages/s", rounded(profile.rate_at(0.0))),
        Pace::Window(window) => format!("window {window}"),
    };
    match group.role {
        Role::Main => format!(
            "{} sessions, {pace}, messages of {}",
            group.sessions, group.sizes
        ),
        Role::Film => format!("{} films of {}", group.sessions, group.sizes),
    }
}

/// Every connection is a file descriptor; the soft limit is often 1024.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // If it does not work, connecting says so.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
}
