//! From the operator's file to running shards.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::auth::{Authenticator, NonceKeys};
use crate::config::{self, AdminAddress, Config, Loaded, Problems, Transport};
use crate::net::dial::Resolver;
use crate::net::directory::Directory;
use crate::net::listener::Families;
use crate::net::names::{Names, Random};
use crate::net::postgres::{self, AccessSender, Users};
use crate::net::websocket::WebSocketLimits;
use crate::relay::{self, ShardId};
use crate::shard::{self, Listening, RecordCounts, ShardStart, Shards};

use super::check::{self, Prepared, unix_now};
use super::records::Sink;
use super::sockets::{Given, Listeners};
use super::{descriptors, log};

/// A relay that serves.
pub struct Booted {
    pub path: PathBuf,
    pub config: Config,
    /// What was bound, in the order of the file; port 0 has become a real one.
    pub bound: Vec<SocketAddr>,
    pub settings: Arc<shard::Settings>,
    pub shards: Shards,
    pub names: Names,
    pub users: Users,
    /// Where users are looked up.
    pub database: AccessSender,
    pub admin: Option<TcpListener>,
    pub level: log::Level,
    pub records: Option<Sink>,
    pub record_counts: Arc<RecordCounts>,
    pub runtime: tokio::runtime::Runtime,
}

/// Starts everything, or says all that is in the way.
pub fn boot(path: &Path) -> Result<Booted, Problems> {
    let mut loaded = config::load(path);
    let Some(prepared) = check::prepare(&mut loaded) else {
        return Err(loaded.problems);
    };
    let Loaded {
        config,
        places,
        mut problems,
    } = loaded;
    descriptors::raise();
    // Huge pages would make resident what many small things leave free between them: a KiB for each
    // idle connection, and nothing measurable is faster for them. Without the right nothing is lost.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let level = log::start(&config.log);
    let workers = workers(&config);
    let mut given = Given::of_process().map_err(|problem| with(&problems, problem))?;
    let mut refuse = |key: &str, problem: String| {
        let (what, help) = problem.split_once("; ").unwrap_or((&problem, ""));
        problems.error(places.of(key), format!("{key}: {what}"), help);
    };
    // All bound before the first accept.
    let mut listeners = Vec::new();
    for (index, listen) in config.listen.iter().enumerate() {
        match given.listen(listen.address, config.families(index), workers) {
            Ok(bound) => listeners.push(bound),
            Err(problem) => refuse(&format!("listen[{index}].address"), problem),
        }
    }
    let admin = match config.admin.address {
        AdminAddress::Off => None,
        AdminAddress::At(address) => match given.listen(address, Families::Both, 1) {
            Ok(mut bound) => bound.sockets.pop(),
            Err(problem) => {
                refuse("admin.address", problem);
                None
            }
        },
    };
    let record_counts = Arc::<RecordCounts>::default();
    let records = match Sink::configured(&config, &record_counts) {
        Ok(records) => records,
        Err(problem) => {
            refuse("records", problem);
            None
        }
    };
    for address in given.left() {
        let what = format!("systemd handed over a socket for {address}, which is no address here");
        refuse(
            "listen",
            format!("{what}; add a [[listen]] with it, or take it out of the .socket unit"),
        );
    }
    if problems.has_errors() {
        problems.sort();
        return Err(problems);
    }
    for problem in problems.iter() {
        tracing::warn!("{}", problem.without_severity());
    }
    let bound: Vec<SocketAddr> = listeners
        .iter()
        .zip(&config.listen)
        .map(|(bound, listen)| address_of(&bound.sockets[0], listen.address))
        .collect();
    let admin_address = admin
        .as_ref()
        .and_then(|listener| listener.local_addr().ok());
    let own_key = random().map_err(|problem| with(&problems, problem))?;
    let nonce_keys = NonceKeys::new(vec![own_key], Instant::now(), unix_now());
    let settings = Arc::new(shard_settings(
        &config,
        &prepared,
        &nonce_keys,
        &bound,
        admin_address,
        records.as_ref(),
    ));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            with(
                &problems,
                format!("cannot start the control thread: {error}"),
            )
        })?;
    let (resolver, names) = runtime.block_on(async { Names::new(&config.nameservers(), draws()) });
    let (directory, database, users) = postgres::users(prepared.database.clone());
    let shards = start_shards(&config, &settings, resolver, directory, listeners, &bound)
        .map_err(|problem| with(&problems, problem))?;
    Ok(Booted {
        path: path.to_owned(),
        config,
        bound,
        settings,
        shards,
        names,
        users,
        database,
        admin,
        level,
        records,
        record_counts,
        runtime,
    })
}

fn address_of(listener: &TcpListener, configured: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(configured)
}

/// Shards: as configured, or one for each core that this process may use.
pub fn workers(config: &Config) -> usize {
    match usize::from(config.relay.workers) {
        0 => std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(256),
        workers => workers,
    }
}

/// What shards start with, and what a reload gives them anew.
pub fn shard_settings(
    config: &Config,
    prepared: &Prepared,
    nonce_keys: &NonceKeys,
    bound: &[SocketAddr],
    admin: Option<SocketAddr>,
    records: Option<&Sink>,
) -> shard::Settings {
    let ports = |of: &dyn Fn(Transport) -> bool| {
        let listeners = config.listen.iter().zip(bound);
        let mut ports: Vec<u16> = listeners
            .filter(|(listen, _)| of(listen.transport))
            .flat_map(|(listen, bound)| listen.advertise_port.into_iter().chain([bound.port()]))
            .collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    };
    let (all_ports, tcp_ports) = (ports(&|_| true), ports(&|of| of == Transport::Tcp));
    let use_path_port = use_path_port(config, bound, 0);
    let own = bound.iter().copied().chain(admin).collect();
    shard::Settings {
        relay: Arc::new(config.relay_settings(all_ports, tcp_ports, use_path_port)),
        auth: Arc::new(config.auth_settings()),
        users: prepared.users.clone(),
        nonce_keys: Arc::new(nonce_keys.in_farm(&prepared.farm_keys)),
        tls: prepared.tls.clone(),
        dial: Arc::new(config.dial_policy(own)),
        srv_targets: config.srv_targets(),
        connect_timeout: config.dial.connect_timeout,
        connections: prepared.connections,
        records: records.map(Sink::records),
        websocket: WebSocketLimits {
            message_octets: config.limits.websocket_message_octets,
        },
        websocket_ping: config.limits.websocket_ping,
        origins: config.origins(),
    }
}

fn start_shards(
    config: &Config,
    settings: &Arc<shard::Settings>,
    resolver: Resolver,
    directory: Directory,
    listeners: Vec<Listeners>,
    bound: &[SocketAddr],
) -> Result<Shards, String> {
    let workers = workers(config);
    let now = Instant::now();
    let auth = Authenticator::new(
        settings.auth.clone(),
        settings.users.clone(),
        settings.nonce_keys.clone(),
    );
    let hash_key = random()?;
    let mut starts = Vec::new();
    for shard in 0..workers {
        starts.push(ShardStart {
            relay: relay::Start {
                settings: settings.relay.clone(),
                auth: auth.clone(),
                shard: ShardId(shard as u16),
                workers: workers as u16,
                seed: random()?,
                hash_key,
                now,
            },
            listeners: Vec::new(),
        });
    }
    for (index, of_one_address) in listeners.into_iter().enumerate() {
        let use_path_port = use_path_port(config, bound, index);
        let Listeners { sockets, inherited } = of_one_address;
        for (shard, listener) in sockets.into_iter().enumerate() {
            let transport = transport(config.listen[index].transport);
            starts[shard % workers].listeners.push(Listening {
                listener,
                inherited,
                transport,
                use_path_port,
                index,
                only_from: config.listen[index].only_from(),
                proxies: config.listen[index].proxy_protocol_from.clone(),
            });
        }
    }
    shard::start(settings.clone(), resolver, directory, starts)
}

/// Sessions of a listener's clients are reached at its own port, or at the first `tls` listener's (WSK-11).
fn use_path_port(config: &Config, bound: &[SocketAddr], index: usize) -> u16 {
    let index = config
        .use_path_listener(index)
        .expect("the rules of the configuration demand a tls listener");
    config.listen[index]
        .advertise_port
        .unwrap_or(bound[index].port())
}

fn transport(transport: Transport) -> relay::Transport {
    match transport {
        Transport::Tls => relay::Transport::Tls,
        Transport::Tcp => relay::Transport::Tcp,
        Transport::Wss => relay::Transport::Wss,
        Transport::Ws => relay::Transport::Ws,
    }
}

/// For the choice among targets of equal priority: where the system gives nothing, the first will do.
fn draws() -> Random {
    Box::new(|| getrandom::u64().unwrap_or_default())
}

fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut octets = [0; N];
    getrandom::fill(&mut octets)
        .map_err(|error| format!("the system gives no random octets: {error}"))?;
    Ok(octets)
}

fn with(problems: &Problems, problem: String) -> Problems {
    let mut problems = problems.clone();
    let (what, help) = problem.split_once(". ").unwrap_or((&problem, ""));
    problems.error(None, what, help);
    problems
}
