//! From the command line to a [`Plan`]: looks up, reads, checks, and says what is missing.

use std::fs;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;

use clap::ValueEnum;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::dev::{Dev, DevUser};
use crate::ledger::Report;
use crate::options::{FailureReport, FilmOn, Options, Receiver, Sender, StandingOption, Workload};
use crate::plan::{Films, Plan, Relay, Shape, Standing, User, Work};
use crate::scrape::Target;
use crate::sizes::Sizes;

/// A plan, and the processes to watch.
pub struct Resolved {
    pub plan: Plan,
    pub relay_pids: Vec<u32>,
    pub scraped: Vec<Target>,
}

/// Messages a second of an open loop that was not told.
const RATE: f64 = 1_000.0;

pub fn resolve(options: &Options) -> Result<Resolved, String> {
    let dev = match &options.dev {
        Some(folder) => Some(read_dev(folder)?),
        None => None,
    };
    let dev = dev.as_ref();
    let first = first_relay(options, dev)?;
    let address = first.address;
    let mut relays = vec![first];
    if wants_via(options) {
        let second = second_relay(options, dev, &relays[0])?;
        relays.push(second);
    }
    let shapes = shapes(options)?;
    if options.tcp.is_some() && shapes.iter().all(|s| *s == Shape::Both) {
        return Err(
            "with --sender both everybody logs in, and AUTH needs TLS: leave --tcp out".into(),
        );
    }
    let pairs = options.pairs.unwrap_or(match options.workload {
        Workload::File => 4,
        Workload::Mix => 12,
        Workload::Churn => 16,
        _ => 50,
    });
    let (window, rate) = pace(options);
    if pairs == 0
        || window == 0
        || options.connections == 0
        || rate.is_some_and(|r| r.is_nan() || r <= 0.0)
    {
        return Err("--pairs, --window, --connections and --rate must be more than nothing".into());
    }
    let threads = options.threads.unwrap_or(options.cpu.len().max(1)).max(1);
    if options.workload == Workload::Pipe && threads > 1 {
        return Err(
            "pipe has one listener and so one thread: give --cpu one core and leave --threads out"
                .into(),
        );
    }
    let plan = Plan {
        work: if options.workload == Workload::Idle {
            Work::Idle
        } else {
            Work::Messages
        },
        relays,
        foreign_address: options.tcp.as_deref().map_or(Ok(address), look_up)?,
        foreign_tls: options.tcp.is_none(),
        server_config: server_config(options, dev)?,
        listen_address: options.listen_address,
        listen_port: options.listen_port,
        listen_host: options
            .listen_host
            .clone()
            .unwrap_or_else(|| "localhost".into()),
        shapes,
        pairs,
        connections: options.connections,
        window,
        sizes: match options.workload {
            Workload::File => Sizes::Fixed(options.message_size),
            _ => options.size.clone(),
        },
        chunk_octets: options.chunk_size,
        rate,
        round: (options.workload == Workload::Churn).then_some(options.messages.max(1)),
        films: films(options)?,
        standing: standing(options)?,
        hostile: match options.workload {
            Workload::Hostile => options.hostile,
            _ => 0,
        },
        report: match options.failure_report {
            FailureReport::Yes => Report::Yes,
            FailureReport::Partial => Report::Partial,
            FailureReport::No => Report::No,
        },
        success_report: options.success_report,
        hold: options.hold,
        receiver_rate: options.receiver_rate,
        threads: threads.min(match options.workload {
            Workload::Idle => options.connections,
            _ => pairs,
        }),
        cpus: options.cpu.clone(),
        source_spread: options.source_spread,
        opening_at_once: options.opening.max(1),
        warmup: options.warmup,
        duration: options.duration,
        patience: options.patience,
    };
    Ok(Resolved {
        plan,
        relay_pids: relay_pids(options, dev)?,
        scraped: scraped(options, dev)?,
    })
}

/// Window and rate: a window asks for a closed loop, and latencies are for open ones.
fn pace(options: &Options) -> (usize, Option<f64>) {
    let closed = match options.workload {
        Workload::File => Some(2),
        Workload::Mix => Some(4),
        Workload::Churn => Some(1),
        _ => None,
    };
    match (options.window, options.rate) {
        (window, Some(rate)) if options.workload == Workload::Churn => {
            (window.unwrap_or(1), Some(rate))
        }
        (_, Some(rate)) => (1, Some(rate)),
        (Some(window), None) => (window, None),
        (None, None) => closed.map_or((1, Some(RATE)), |window| (window, None)),
    }
}

fn wants_via(options: &Options) -> bool {
    options.via || options.via_address.is_some() || options.workload == Workload::Chain
}

fn films(options: &Options) -> Result<Option<Films>, String> {
    if options.workload != Workload::Mixed {
        return Ok(None);
    }
    if options.films == 0 {
        return Ok(None);
    }
    let shared = options.film_on == FilmOn::Shared;
    if shared && options.film_receiver_rate.is_some() {
        return Err("--film-receiver-rate slows a connection as a whole, and with --film-on shared chats use it too: leave one of the two out".into());
    }
    Ok(Some(Films {
        sessions: options.films,
        octets: options.film_size,
        shared,
        receiver_rate: options.film_receiver_rate,
        each: options.film_count,
    }))
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

fn first_relay(options: &Options, dev: Option<&Dev>) -> Result<Relay, String> {
    let address_text = options.address.clone().or_else(|| Some(dev?.address.clone())).ok_or(
        "which relay? Give --dev for the one of `cargo run --release -- dev`, or --address, --host, --ca and --user",
    )?;
    let host = options.host.clone().or_else(|| Some(dev?.host.clone()));
    let host = host.unwrap_or_else(|| host_of(&address_text));
    let given = options.users.iter().map(|u| parse_user(u));
    let mut users = given.collect::<Result<Vec<_>, _>>()?;
    if let Some(file) = &options.users_file {
        users.extend(users_of_file(file)?);
    }
    if users.is_empty() {
        users.extend(dev.into_iter().flat_map(|dev| known_users(&dev.users)));
    }
    if users.is_empty() && options.workload != Workload::Pipe {
        return Err("no user: somebody must log in; give --user NAME:PASSWORD".into());
    }
    let ca = options.ca.as_ref().or(dev.map(|d| &d.ca));
    let ca =
        ca.ok_or("which authority signed the relay's certificate? Give its PEM file with --ca")?;
    Ok(Relay {
        address: look_up(&address_text)?,
        server_name: server_name(&host, "--host")?,
        host,
        realm: options.realm.clone().or_else(|| dev?.realm.clone()),
        users,
        client_config: client_config(ca, "--ca")?,
    })
}

fn second_relay(options: &Options, dev: Option<&Dev>, first: &Relay) -> Result<Relay, String> {
    let via = dev.and_then(|dev| dev.via.as_ref());
    let address_text = match (&options.via_address, via, &options.dev) {
        (Some(address), ..) => address.clone(),
        (None, Some(via), _) => via.address.clone(),
        (None, None, Some(folder)) => {
            return Err(format!(
                "{} knows of one relay only: start two with `cargo run --release -- dev --two`, or give --via-address",
                folder.join("dev.toml").display()
            ));
        }
        (None, None, None) => {
            return Err("which second relay? Give --via-address and --via-host, or --dev for the two of `cargo run --release -- dev --two`".into());
        }
    };
    let host = options.via_host.clone().or_else(|| Some(via?.host.clone()));
    let host = host.unwrap_or_else(|| host_of(&address_text));
    let given = options.via_users.iter().map(|u| parse_user(u));
    let mut users = given.collect::<Result<Vec<_>, _>>()?;
    if users.is_empty() {
        users.extend(via.into_iter().flat_map(|via| known_users(&via.users)));
    }
    if users.is_empty() {
        users.clone_from(&first.users);
    }
    let ca = options.via_ca.as_ref().or_else(|| via?.ca.as_ref());
    Ok(Relay {
        address: look_up(&address_text)?,
        server_name: server_name(&host, "--via-host")?,
        host,
        realm: options.via_realm.clone().or_else(|| via?.realm.clone()),
        users,
        client_config: match ca {
            Some(file) => client_config(file, "--via-ca")?,
            None => Arc::clone(&first.client_config),
        },
    })
}

fn server_name(host: &str, option: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(host.to_owned())
        .map_err(|_| format!("`{host}` is no host name: check {option}"))
}

fn host_of(address: &str) -> String {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.to_owned()
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

fn shapes(options: &Options) -> Result<Vec<Shape>, String> {
    if options.workload == Workload::Pipe {
        return match wants_via(options) || options.sender.is_some() {
            true => Err(
                "pipe goes through a proxy where nobody logs in: leave --via and --sender out"
                    .into(),
            ),
            false => Ok(vec![Shape::Piped]),
        };
    }
    if wants_via(options) {
        return match options.sender {
            None | Some(Sender::Both) => Ok(vec![Shape::Both]),
            Some(_) => Err(
                "with --via senders log in at the first relay and receivers at the second: leave --sender out".into(),
            ),
        };
    }
    let authenticated = match options.receiver {
        Receiver::Connects => Shape::ReceiverConnects,
        Receiver::Listens => Shape::RelayDials,
    };
    let by_default = if options.workload == Workload::Mix {
        Sender::Mix
    } else {
        Sender::Foreign
    };
    Ok(match options.sender.unwrap_or(by_default) {
        Sender::Foreign => vec![Shape::Foreign],
        Sender::Authenticated => vec![authenticated],
        Sender::Both => vec![Shape::Both],
        Sender::Mix => vec![Shape::Foreign, Shape::Both, authenticated],
    })
}

fn look_up(text: &str) -> Result<SocketAddr, String> {
    let addresses = text
        .to_socket_addrs()
        .map_err(|e| format!("`{text}`: {e}; write HOST:PORT, such as 127.0.0.1:2855"))?;
    addresses
        .into_iter()
        .next()
        .ok_or_else(|| format!("`{text}` has no address"))
}

fn parse_user(text: &str) -> Result<User, String> {
    match text.split_once(':') {
        Some((name, password)) if !name.is_empty() => Ok(User {
            name: name.to_owned(),
            password: password.to_owned(),
        }),
        _ => Err(format!("`{text}` is no NAME:PASSWORD")),
    }
}

fn users_of_file(file: &Path) -> Result<Vec<User>, String> {
    let text =
        fs::read_to_string(file).map_err(|e| format!("--users-file {}: {e}", file.display()))?;
    let lines = text.lines().map(str::trim);
    lines
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
        .map(|line| parse_user(line).map_err(|e| format!("{}: {e}", file.display())))
        .collect()
}

fn known_users(users: &[DevUser]) -> impl Iterator<Item = User> + '_ {
    users.iter().map(|user| User {
        name: user.name.clone(),
        password: user.password.clone(),
    })
}

fn client_config(file: &Path, option: &str) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots
            .add(certificate)
            .map_err(|e| format!("{option} {}: {e}", file.display()))?;
    }
    let mut config =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
    // Every handshake is to be a full one, so that its cost is known.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

fn server_config(
    options: &Options,
    dev: Option<&Dev>,
) -> Result<Option<Arc<ServerConfig>>, String> {
    let listens = options.workload == Workload::Pipe
        || (options.receiver == Receiver::Listens && options.tcp.is_none());
    if !listens {
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
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|e| format!("--listen-key {}: {e}", key.display()))?;
    let config =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_no_client_auth()
            .with_single_cert(certificates(chain)?, private)
            .map_err(|e| format!("--listen-certificate {}: {e}", chain.display()))?;
    Ok(Some(Arc::new(config)))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| format!("certificates in {}: {e}", file.display()))?;
    match found.is_empty() {
        true => Err(format!("no certificate in {}: is it PEM?", file.display())),
        false => Ok(found),
    }
}
