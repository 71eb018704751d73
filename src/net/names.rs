//! The addresses of a name (RFC 4976 §8, DNS-01 to DNS-07), asked for by shards and found on the control thread.
//!
//! An IP literal is its own answer, `localhost` and the names below it are loopback without a question (RFC 6761 §6.3).
//! Everything else goes to the operator's name servers or the system's: a name with a port for its addresses, one without
//! for `_msrps._tcp` and then the addresses of what serves it. Time, the number of questions under way, the number of
//! records and addresses and the size of the cache are bounded; a question that cannot be put is answered with an error,
//! never left hanging. What is known already is answered at once; for the rest the askers take turns.

mod cache;
mod service;
#[cfg(test)]
mod tests;
mod turns;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup as Found;
use hickory_resolver::lookup_ip::LookupIp;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::RData;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;

use super::dial::{ResolveRequest, Resolved, Resolver};

use cache::{Answer, Asked, Cache, Records};
use service::Service;
use turns::Turns;

/// Requests that may wait to be looked at; shards get an error beyond it.
const WAITING_MAX: usize = 1024;
/// Questions put at the same time, those for the targets of a service included. Each takes up to four sockets: two types of
/// address, two servers. How many names are being resolved is for the shards to bound (`limits.dials`).
const QUESTIONS_MAX: usize = 128;
/// Those on behalf of one asker: names that no server answers for keep what they have for as long as they may.
const QUESTIONS_OF_ONE_MAX: usize = 48;
/// One next hop, all servers and retries together; shorter than any sensible `dial.connect_timeout`. Where a service
/// record has to be found first, each of the two steps has half of it.
const TIMEOUT: Duration = Duration::from_secs(4);
/// One question to one server.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(1500);
/// Addresses of one name that are tried; the rest is ignored.
const ADDRESSES_MAX: usize = 8;
/// Targets of one service that are tried, in the order of RFC 2782.
const TARGETS_MAX: usize = 8;
/// Addresses of one next hop in all: a quarter of a second for each is all that a dial has.
const PLACES_MAX: usize = 16;

/// The port of a name without one, when it has no SRV record (RFC 4976 §8).
const DEFAULT_PORT: u16 = 2855;

/// Where the draws among the targets of a service come from.
pub type Random = Box<dyn FnMut() -> u64>;

/// Answers shards on the control thread.
pub struct Names {
    requests: mpsc::Receiver<ResolveRequest>,
    lookup: Rc<Lookup>,
}

struct Lookup {
    /// Absent where the system names no server; the reason is in the error.
    resolver: Result<TokioResolver, String>,
    cache: RefCell<Cache>,
    turns: Rc<Turns>,
    random: RefCell<Random>,
}

/// Why there is no answer.
#[derive(Clone, Debug)]
enum Failure {
    /// The servers say that the name has no such record.
    NoRecord,
    /// Nothing is known: no server, no answer, a refusal.
    Unknown(String),
}

impl Names {
    /// To be called on the control thread's runtime. Without `nameservers` the system's are asked.
    pub fn new(nameservers: &[SocketAddr], random: Random) -> (Resolver, Names) {
        let (sender, requests) = mpsc::channel(WAITING_MAX);
        let lookup = Lookup {
            resolver: resolver(nameservers),
            cache: RefCell::default(),
            turns: Turns::new(QUESTIONS_MAX, QUESTIONS_OF_ONE_MAX),
            random: RefCell::new(random),
        };
        (
            sender,
            Names {
                requests,
                lookup: Rc::new(lookup),
            },
        )
    }

    /// Answers until every asker is gone.
    pub async fn run(mut self) {
        let tasks = LocalSet::new();
        tasks
            .run_until(async {
                let mut under_way = JoinSet::new();
                while let Some(request) = self.requests.recv().await {
                    while under_way.try_join_next().is_some() {}
                    let lookup = self.lookup.clone();
                    under_way.spawn_local(async move {
                        let ResolveRequest {
                            host,
                            port,
                            on_behalf_of,
                            mut reply,
                        } = request;
                        tokio::select! {
                            found = lookup.find(&host, port, on_behalf_of) => drop(reply.send(found)),
                            () = reply.closed() => {}
                        }
                    });
                }
            })
            .await;
    }
}

impl Lookup {
    async fn find(
        self: &Rc<Self>,
        host: &str,
        port: Option<u16>,
        asker: u64,
    ) -> Result<Vec<Resolved>, String> {
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        if let Some(known) = without_asking(host) {
            return Ok(places(None, port.unwrap_or(DEFAULT_PORT), known));
        }
        match port {
            Some(port) => self.addresses(&name, None, port, asker, TIMEOUT).await,
            None => self.by_service(&name, asker).await,
        }
    }

    /// RFC 4976 §8: the service record's targets, or the name itself at the default port.
    async fn by_service(self: &Rc<Self>, name: &str, asker: u64) -> Result<Vec<Resolved>, String> {
        let services = match self.services(format!("_msrps._tcp.{name}"), asker).await {
            Ok(services) => services,
            Err(Failure::NoRecord) => {
                let port = DEFAULT_PORT;
                return self.addresses(name, None, port, asker, TIMEOUT / 2).await;
            }
            // That nobody knows is not that there is none: the record could lead elsewhere.
            Err(Failure::Unknown(why)) => return Err(why),
        };
        let targets = service::in_order(services, &mut *self.random.borrow_mut());
        if targets.is_empty() {
            return Err("its SRV record says that it offers no MSRP service".into());
        }
        // All at once: a target whose servers are silent must not use up the others' time.
        let mut lookups = JoinSet::new();
        for (index, target) in targets.into_iter().take(TARGETS_MAX).enumerate() {
            let lookup = self.clone();
            lookups.spawn_local(async move {
                let name = &target.target;
                let (port, within) = (target.port, TIMEOUT / 2);
                let found = lookup.addresses(name, Some(name), port, asker, within);
                (index, found.await)
            });
        }
        let mut found = lookups.join_all().await;
        found.sort_by_key(|(index, _)| *index);
        let (mut all, mut failure) = (Vec::new(), String::new());
        for (_, of_one) in found {
            match of_one {
                Ok(places) => all.extend(places),
                Err(why) => failure = why,
            }
        }
        all.truncate(PLACES_MAX);
        match all.is_empty() {
            true => Err(failure),
            false => Ok(all),
        }
    }

    async fn services(&self, name: String, asker: u64) -> Result<Vec<Service>, Failure> {
        let question =
            |resolver: TokioResolver, name| async move { resolver.srv_lookup(name).await };
        let read = |found: Found| {
            let services: Vec<Service> = found
                .answers()
                .iter()
                .filter_map(|record| match &record.data {
                    RData::SRV(found) => Some(Service {
                        priority: found.priority,
                        weight: found.weight,
                        port: found.port,
                        target: found
                            .target
                            .to_ascii()
                            .trim_end_matches('.')
                            .to_ascii_lowercase(),
                    }),
                    _ => None,
                })
                .collect();
            let until = found.valid_until();
            match services.is_empty() {
                true => (Err(Failure::NoRecord), None),
                false => (Ok(Records::Services(services)), Some(until)),
            }
        };
        let asked = Asked::Services(name);
        match self.ask(asked, asker, TIMEOUT / 2, question, read).await? {
            Records::Services(services) => Ok(services),
            Records::Addresses(_) => Err(Failure::NoRecord),
        }
    }

    async fn addresses(
        &self,
        name: &str,
        target: Option<&str>,
        port: u16,
        asker: u64,
        within: Duration,
    ) -> Result<Vec<Resolved>, String> {
        if is_loopback_name(name) {
            return Ok(places(target, port, LOOPBACK));
        }
        let question =
            |resolver: TokioResolver, name| async move { resolver.lookup_ip(name).await };
        let read = |found: LookupIp| {
            let addresses: Vec<IpAddr> = found.iter().take(ADDRESSES_MAX).collect();
            let until = found.valid_until();
            match addresses.is_empty() {
                true => (Err(Failure::NoRecord), None),
                false => (Ok(Records::Addresses(addresses)), Some(until)),
            }
        };
        let asked = Asked::Addresses(name.to_owned());
        match self.ask(asked, asker, within, question, read).await {
            Ok(Records::Addresses(found)) => Ok(places(target, port, found)),
            Ok(Records::Services(_)) => Err(Failure::NoRecord.to_string()),
            Err(failure) => Err(failure.to_string()),
        }
    }

    /// Puts a question when it is the asker's turn, unless the answer is known.
    async fn ask<T, F: Future<Output = Result<T, NetError>>>(
        &self,
        asked: Asked,
        asker: u64,
        within: Duration,
        question: impl FnOnce(TokioResolver, String) -> F,
        read: impl FnOnce(T) -> (Answer, Option<Instant>),
    ) -> Answer {
        if let Some(known) = self.known(&asked) {
            return known;
        }
        let resolver = match &self.resolver {
            Ok(resolver) => resolver.clone(),
            Err(problem) => return Err(Failure::Unknown(problem.clone())),
        };
        let (Asked::Addresses(name) | Asked::Services(name)) = &asked;
        // With its dot: search domains are for people at a prompt.
        let question = question(resolver, format!("{name}."));
        let is_put = Cell::new(false);
        let in_turn = async {
            let _turn = self.turns.take(asker).await;
            // Somebody else may have asked it meanwhile.
            match self.known(&asked) {
                Some(known) => Err(known),
                None => {
                    is_put.set(true);
                    Ok(question.await)
                }
            }
        };
        let (answer, ttl) = match timeout(within, in_turn).await {
            Ok(Err(known)) => return known,
            Ok(Ok(Ok(found))) => {
                let (answer, until) = read(found);
                let left = |until: Instant| until.saturating_duration_since(Instant::now());
                (answer, until.map(left))
            }
            Ok(Ok(Err(error))) if error.is_no_records_found() => {
                (Err(Failure::NoRecord), negative_ttl(&error))
            }
            Ok(Ok(Err(error))) => (Err(Failure::Unknown(error.to_string())), None),
            // That an asker waits behind his own questions says nothing about the name.
            Err(_) if !is_put.get() => {
                let why = "too many names are being looked up";
                return Err(Failure::Unknown(why.into()));
            }
            Err(_) => {
                let why = "no name server answered in time";
                (Err(Failure::Unknown(why.into())), None)
            }
        };
        let mut cache = self.cache.borrow_mut();
        cache.insert(Instant::now(), asked, answer.clone(), ttl);
        answer
    }

    fn known(&self, asked: &Asked) -> Option<Answer> {
        self.cache.borrow_mut().get(Instant::now(), asked)
    }
}

/// For how long there is none, if the servers say so (RFC 2308 §5).
fn negative_ttl(error: &NetError) -> Option<Duration> {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            none.negative_ttl.map(|ttl| Duration::from_secs(ttl.into()))
        }
        _ => None,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRecord => f.write_str("the name has no address"),
            Self::Unknown(why) => f.write_str(why),
        }
    }
}

/// Places to try; `target` is that of the SRV record, if one led here.
fn places(
    target: Option<&str>,
    port: u16,
    addresses: impl IntoIterator<Item = IpAddr>,
) -> Vec<Resolved> {
    let place = |address| Resolved {
        name: target.map(str::to_owned),
        address,
        port,
    };
    addresses.into_iter().map(place).collect()
}

/// IP literals (IPv6 with or without brackets) and loopback names.
fn without_asking(host: &str) -> Option<Vec<IpAddr>> {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    if let Ok(address) = bare.parse() {
        return Some(vec![address]);
    }
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    is_loopback_name(&name).then(|| LOOPBACK.to_vec())
}

const LOOPBACK: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

fn is_loopback_name(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

fn resolver(nameservers: &[SocketAddr]) -> Result<TokioResolver, String> {
    let no_servers = |error: &dyn std::fmt::Display| {
        format!("no name server is known ({error}); set dns.nameservers or mend /etc/resolv.conf")
    };
    let mut builder = match nameservers {
        [] => TokioResolver::builder_tokio().map_err(|error| no_servers(&error))?,
        servers => {
            let servers = servers.iter().map(|server| name_server(*server)).collect();
            let config = ResolverConfig::from_name_servers(servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
    };
    bound(builder.options_mut());
    builder.build().map_err(|error| no_servers(&error))
}

fn name_server(server: SocketAddr) -> NameServerConfig {
    let mut config = NameServerConfig::udp_and_tcp(server.ip());
    for connection in &mut config.connections {
        connection.port = server.port();
    }
    config
}

fn bound(options: &mut ResolverOpts) {
    options.timeout = ATTEMPT_TIMEOUT;
    options.attempts = 1;
    // A address family without a route costs a connect at once, so the commoner one goes first.
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    // Its own could not be asked without putting the question.
    options.cache_size = 0;
}
