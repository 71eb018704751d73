//! From the command line to a [`Plan`]: looks up, reads, checks, and says what is missing.

use std::fs;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::dev::Dev;
use crate::ledger::Report;
use crate::options::{FailureReport, Options, Receiver, Sender, Workload};
use crate::plan::{Plan, Shape, User, Work};

/// A plan, and the process to watch.
pub struct Resolved {
    pub plan: Plan,
    pub relay_pid: Option<u32>,
}

pub fn resolve(options: &Options) -> Result<Resolved, String> {
    let dev = match &options.dev {
        Some(folder) => Some(read_dev(folder)?),
        None => None,
    };
    let dev_address = dev.as_ref().map(|d| d.address.clone());
    let address_text = options.address.clone().or(dev_address).ok_or(
        "which relay? Give --dev for the one of `cargo run --release -- dev`, or --address, --host, --ca and --user",
    )?;
    let address = look_up(&address_text)?;
    let host = options
        .host
        .clone()
        .or_else(|| dev.as_ref().map(|d| d.host.clone()))
        .unwrap_or_else(|| {
            address_text
                .rsplit_once(':')
                .map_or(address_text.as_str(), |(h, _)| h)
                .to_owned()
        });
    let users = users(options, dev.as_ref())?;
    let shapes = shapes(options);
    if users.is_empty() {
        return Err("no user: somebody must log in; give --user NAME:PASSWORD".into());
    }
    if options.tcp.is_some() && shapes.iter().all(|s| *s == Shape::Both) {
        return Err(
            "with --sender both everybody logs in, and AUTH needs TLS: leave --tcp out".into(),
        );
    }
    let server_name = ServerName::try_from(host.clone())
        .map_err(|_| format!("`{host}` is no host name: check --host"))?;
    let relay_pid = options.relay_pid.or_else(|| {
        let folder = options.dev.as_ref()?;
        dev.as_ref()?.relay_pid(folder)
    });
    if let Some(pid) = options.relay_pid
        && !Path::new(&format!("/proc/{pid}")).exists()
    {
        return Err(format!("there is no process {pid}: check --relay-pid"));
    }
    let threads = options.threads.unwrap_or(options.cpu.len().max(1)).max(1);
    let pairs = options.pairs.unwrap_or(match options.workload {
        Workload::File => 4,
        Workload::Mix => 12,
        Workload::Chat | Workload::Idle => 50,
    });
    let window = options.window.unwrap_or(match options.workload {
        Workload::File => 2,
        Workload::Mix => 4,
        Workload::Chat | Workload::Idle => 16,
    });
    if pairs == 0
        || window == 0
        || options.connections == 0
        || options.rate.is_some_and(|r| r.is_nan() || r <= 0.0)
    {
        return Err("--pairs, --window, --connections and --rate must be more than nothing".into());
    }
    let plan = Plan {
        work: if options.workload == Workload::Idle {
            Work::Idle
        } else {
            Work::Messages
        },
        address,
        foreign_address: options.tcp.as_deref().map_or(Ok(address), look_up)?,
        foreign_tls: options.tcp.is_none(),
        host,
        server_name,
        realm: options
            .realm
            .clone()
            .or_else(|| dev.as_ref()?.realm.clone()),
        users,
        client_config: client_config(options, dev.as_ref())?,
        server_config: server_config(options, dev.as_ref())?,
        listen_address: options.listen_address,
        listen_host: options
            .listen_host
            .clone()
            .unwrap_or_else(|| "localhost".into()),
        shapes,
        pairs,
        connections: options.connections,
        window,
        sizes: match options.workload {
            Workload::File => (options.message_size, options.message_size),
            _ => options.size,
        },
        chunk_octets: options.chunk_size,
        rate: options.rate,
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
    Ok(Resolved { plan, relay_pid })
}

fn read_dev(folder: &Path) -> Result<Dev, String> {
    let name = folder.as_os_str();
    if !folder.exists() && ["chat", "file", "idle", "mix"].iter().any(|w| name == *w) {
        let name = name.display();
        return Err(format!(
            "`{name}` was read as the folder of --dev; write the workload first: msrpload {name} --dev"
        ));
    }
    Dev::read(folder)
}

fn shapes(options: &Options) -> Vec<Shape> {
    let authenticated = match options.receiver {
        Receiver::Connects => Shape::ReceiverConnects,
        Receiver::Listens => Shape::RelayDials,
    };
    let by_default = if options.workload == Workload::Mix {
        Sender::Mix
    } else {
        Sender::Foreign
    };
    match options.sender.unwrap_or(by_default) {
        Sender::Foreign => vec![Shape::Foreign],
        Sender::Authenticated => vec![authenticated],
        Sender::Both => vec![Shape::Both],
        Sender::Mix => vec![Shape::Foreign, Shape::Both, authenticated],
    }
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

fn users(options: &Options, dev: Option<&Dev>) -> Result<Vec<User>, String> {
    let parse = |text: &str| match text.split_once(':') {
        Some((name, password)) if !name.is_empty() => Ok(User {
            name: name.to_owned(),
            password: password.to_owned(),
        }),
        _ => Err(format!("`{text}` is no NAME:PASSWORD")),
    };
    let mut users = options
        .users
        .iter()
        .map(|u| parse(u))
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(file) = &options.users_file {
        let text = fs::read_to_string(file)
            .map_err(|e| format!("--users-file {}: {e}", file.display()))?;
        for line in text
            .lines()
            .map(str::trim)
            .filter(|l| !l.is_empty() && !l.starts_with('#'))
        {
            users.push(parse(line).map_err(|e| format!("{}: {e}", file.display()))?);
        }
    }
    if let Some(dev) = dev.filter(|_| users.is_empty()) {
        let known = dev.users.iter();
        users.extend(known.map(|u| User {
            name: u.name.clone(),
            password: u.password.clone(),
        }));
    }
    Ok(users)
}

fn client_config(options: &Options, dev: Option<&Dev>) -> Result<Arc<ClientConfig>, String> {
    let file = options
        .ca
        .as_ref()
        .or(dev.map(|d| &d.ca))
        .ok_or("which authority signed the relay's certificate? Give its PEM file with --ca")?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots
            .add(certificate)
            .map_err(|e| format!("--ca {}: {e}", file.display()))?;
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
    if options.receiver == Receiver::Connects || options.tcp.is_some() {
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
