//! msrpload: a load generator for RFC 4976 relays that accounts for every octet.
//!
//! Reads the command line, runs, prints; see `--help` for what it does and its exit codes.

mod dev;
mod engine;
mod hdr_log;
mod hostile;
mod ids;
mod ledger;
mod options;
mod pattern;
mod plan;
mod progress;
mod ranges;
mod report;
mod resolve;
mod run;
mod scrape;
mod sizes;
mod summary;
mod threshold;
mod usage;

use std::process::ExitCode;

use clap::Parser;

use options::{Options, Workload};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let result = if arguments.nth(1).is_some_and(|word| word == "merge") {
        // The word itself stands where clap expects the program's name.
        let options = hdr_log::Merge::parse_from(std::env::args_os().skip(1));
        hdr_log::merge(&options).map(|()| 0)
    } else {
        run_with(&Options::parse())
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("msrpload: {error}");
            ExitCode::from(2)
        }
    }
}

fn run_with(options: &Options) -> Result<u8, String> {
    let resolved = resolve::resolve(options)?;
    raise_file_limit();
    if !options.quiet {
        eprintln!("{}", headline(options, &resolved.plan));
    }
    let watched = run::Watched {
        pids: resolved.relay_pids,
        scraped: resolved.scraped,
    };
    let (mut summary, trace) = run::run(resolved.plan, &watched, options.quiet)?;
    summary.workload = format!("{:?}", options.workload).to_lowercase();
    if let Some(thresholds) = &options.threshold {
        summary.missed_thresholds = thresholds.missed(|name| summary.value(name));
    }
    if let Some(file) = &options.json {
        let text = serde_json::to_string_pretty(&summary).map_err(|e| e.to_string())?;
        std::fs::write(file, text + "\n").map_err(|e| format!("--json {}: {e}", file.display()))?;
    }
    if let Some(file) = &options.hdr {
        hdr_log::write(file, trace.began, &trace.log_lines())?;
    }
    if let Some(file) = &options.report {
        report::write(file, &summary, &trace)?;
    }
    if summary.fatal.is_none() || summary.counts.sent > 0 {
        print!("{}", summary.table());
    }
    if let Some(fatal) = &summary.fatal {
        eprintln!("msrpload: {fatal}");
    }
    Ok(summary.exit_code())
}

fn headline(options: &Options, plan: &plan::Plan) -> String {
    let mut what = match options.workload {
        Workload::Idle => format!("{} idle connections", plan.connections),
        _ => {
            let pace = match plan.rate {
                Some(rate) => format!("{rate} messages/s"),
                None => format!("window {}", plan.window),
            };
            format!("{} pairs, {pace}, messages of {}", plan.pairs, plan.sizes)
        }
    };
    if let Some(films) = plan.films {
        what += &format!(
            ", beside {} films of {} octets,",
            films.sessions, films.octets
        );
    }
    if plan.hostile > 0 {
        what += &format!(", beside {} hostile connections,", plan.hostile);
    }
    let through = plan
        .relays
        .iter()
        .map(|r| format!("{} at {}", r.host, r.address));
    format!(
        "{what} through {}, {:.0} s after {:.0} s of warm-up",
        through.collect::<Vec<_>>().join(" and "),
        plan.duration.as_secs_f64(),
        plan.warmup.as_secs_f64()
    )
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
