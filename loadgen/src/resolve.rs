//! From the command line to a [`Plan`]: looks up, reads, checks, and says what is missing.

mod groups;
mod ignored;
mod relays;
mod scenario;
mod tls;
mod transports;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgMatches, ValueEnum};
use rustls::ServerConfig;

use crate::dev::Dev;
use crate::options::{FilmOn, Options, StandingOption, Workload};
use crate::plan::{Plan, Rounds, Standing, Transport, Work};
use crate::run::Watched;
use crate::scrape::Target;
use crate::threshold::Thresholds;

use relays::{first_relay, second_relay};
use scenario::Scenario;

/// A plan, and what belongs to its run.
pub struct Resolved {
    pub plan: Plan,
    pub watched: Watched,
    pub thresholds: Thresholds,
    /// As results name it.
    pub workload: String,
}

/// Messages a second of an open loop that was not told.
const RATE: f64 = 1_000.0;

/// Refuses options that the workload does not look at. `matches` is of the subcommand that has them.
pub fn check_options(options: &Options, matches: &ArgMatches) -> Result<(), String> {
    ignored::check(options, matches)
}

pub fn resolve(options: &Options) -> Result<Resolved, String> {
    let dev = match &options.dev {
        Some(folder) => Some(read_dev(folder)?),
        None => None,
    };
    let dev = dev.as_ref();
    let scenario = options
        .scenario
        .as_deref()
        .map(Scenario::read)
        .transpose()?;
    let times = times(options, scenario.as_ref())?;
    let groups = match &scenario {
        Some(scenario) => scenario.groups(options, times.warmup)?,
        None => groups::of_options(options, times.warmup)?,
    };
    let idle_transport = options.transport.unwrap_or(Transport::Tls).of(true);
    let (mut to_first, to_second) = transports::used(&groups);
    if !wants_via(options) {
        to_first.extend(&to_second);
    }
    if matches!(options.workload, Workload::Idle | Workload::Hostile) {
        to_first.push(idle_transport);
    }
    let mut relays = vec![first_relay(options, dev, &to_first)?];
    if wants_via(options) {
        let second = second_relay(options, dev, &relays[0], &to_second)?;
        relays.push(second);
    }
    let mut shapes = groups.iter().flat_map(|group| &group.shapes);
    let listens = shapes.any(|shape| shape.receiver_listens());
    let threads = options.threads.unwrap_or(options.cpu.len().max(1)).max(1);
    if options.workload == Workload::Pipe && threads > 1 {
        return Err(
            "pipe has one listener and so one thread: give --cpu one core and leave --threads out"
                .into(),
        );
    }
    let pairs: usize = groups
        .iter()
        .filter(|group| group.shares.is_none())
        .map(|group| group.carriers())
        .sum();
    let plan = Plan {
        work: match options.workload {
            Workload::Idle => Work::Idle,
            _ => Work::Messages,
        },
        relays,
        server_config: server_config(options, dev, listens)?,
        listen_address: options.listen_address,
        listen_port: options.listen_port,
        listen_host: options
            .listen_host
            .clone()
            .unwrap_or_else(|| "localhost".into()),
        connections: options.connections,
        idle_transport,
        rounds: (options.workload == Workload::Churn).then(|| Rounds {
            rate: groups::constant_rate(options),
        }),
        standing: standing(options)?,
        hostile: match options.workload {
            Workload::Hostile => options.hostile,
            _ => 0,
        },
        threads: threads.min(match options.workload {
            Workload::Idle => options.connections,
            _ => pairs,
        }),
        groups,
        cpus: options.cpu.clone(),
        source_spread: options.source_spread,
        opening_at_once: options.opening.max(1),
        connect_timeout: options.connect_timeout.max(Duration::from_millis(1)),
        auth_timeout: options.auth_timeout.max(Duration::from_millis(1)),
        reconnect: options.reconnect,
        warmup: times.warmup,
        duration: times.duration,
        patience: times.patience,
        trace_every: match options.trace {
            Some(_) => options.trace_every,
            None => 0,
        },
    };
    let thresholds = options.threshold.clone().unwrap_or_default();
    Ok(Resolved {
        plan,
        watched: Watched {
            pids: relay_pids(options, dev)?,
            scraped: scraped(options, dev)?,
        },
        thresholds: match &scenario {
            Some(scenario) => scenario.thresholds()?.and(thresholds),
            None => thresholds,
        },
        workload: match &scenario {
            Some(_) => "scenario".into(),
            None => format!("{:?}", options.workload).to_lowercase(),
        },
    })
}

struct Times {
    warmup: Duration,
    duration: Duration,
    patience: Duration,
}

/// The command line comes before the scenario, that before the stages' length and the defaults.
fn times(options: &Options, scenario: Option<&Scenario>) -> Result<Times, String> {
    let of_scenario = scenario.map_or(Ok([None; 3]), Scenario::times)?;
    let [warmup, duration, patience] = of_scenario;
    let stages = match scenario {
        Some(scenario) => scenario.stages_length()?,
        None => groups::stages_length(options),
    };
    Ok(Times {
        warmup: options.warmup.or(warmup).unwrap_or(Duration::from_secs(1)),
        duration: options
            .duration
            .or(duration)
            .or(stages)
            .unwrap_or(Duration::from_secs(10)),
        patience: options
            .patience
            .or(patience)
            .unwrap_or(Duration::from_secs(35)),
    })
}

fn wants_via(options: &Options) -> bool {
    options.via || options.via_address.is_some() || options.workload == Workload::Chain
}

fn standing(options: &Options) -> Result<Standing, String> {
    match options.standing {
        None if options.workload == Workload::Hostile => Ok(Standing::Chat),
        None => Ok(Standing::Nobody),
        Some(StandingOption::Chat) => Ok(Standing::Chat),
        Some(StandingOption::Film)
            if options.workload != Workload::Mixed
                || options.films == 0
                || options.film_on == FilmOn::Shared =>
        {
            Err(
                "--standing film is for the workload mixed, with films on connections of their own"
                    .into(),
            )
        }
        Some(StandingOption::Film) => Ok(Standing::Film),
    }
}

fn relay_pids(options: &Options, dev: Option<&Dev>) -> Result<Vec<u32>, String> {
    for pid in &options.relay_pids {
        if !Path::new(&format!("/proc/{pid}")).exists() {
            return Err(format!("there is no process {pid}: check --relay-pid"));
        }
    }
    match (dev, &options.dev) {
        (Some(dev), Some(folder)) if options.relay_pids.is_empty() => {
            Ok(dev.relay_pids(folder, wants_via(options)))
        }
        _ => Ok(options.relay_pids.clone()),
    }
}

fn scraped(options: &Options, dev: Option<&Dev>) -> Result<Vec<Target>, String> {
    let via = dev.and_then(|dev| dev.via.as_ref());
    let via = via.filter(|_| wants_via(options));
    let mut targets = Vec::new();
    for text in &options.scrape {
        if !text.is_empty() {
            targets.push(Target::parse(text)?);
            continue;
        }
        let known = [
            dev.and_then(|d| d.admin.as_ref()),
            via.and_then(|v| v.admin.as_ref()),
        ];
        for address in known.into_iter().flatten() {
            targets.push(Target::parse(address)?);
        }
    }
    match targets.is_empty() && !options.scrape.is_empty() {
        true => Err(
            "scrape what? Give --scrape the relay's admin address, such as http://127.0.0.1:9855"
                .into(),
        ),
        false => Ok(targets),
    }
}

fn read_dev(folder: &Path) -> Result<Dev, String> {
    let name = folder.as_os_str().to_string_lossy();
    if !folder.exists() && Workload::from_str(&name, false).is_ok() {
        return Err(format!(
            "`{name}` was read as the folder of --dev; write the workload first: msrpload {name} --dev"
        ));
    }
    Dev::read(folder)
}

fn server_config(
    options: &Options,
    dev: Option<&Dev>,
    listens: bool,
) -> Result<Option<Arc<ServerConfig>>, String> {
    if !listens || (options.tcp.is_some() && options.workload != Workload::Pipe) {
        return Ok(None);
    }
    let given = options
        .listen_certificate
        .as_ref()
        .zip(options.listen_key.as_ref());
    let Some((chain, key)) =
        given.or_else(|| dev.and_then(|d| d.certificate.as_ref().zip(d.key.as_ref())))
    else {
        return Ok(None);
    };
    tls::server_config(chain, key).map(Some)
}
