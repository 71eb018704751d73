//! The addresses of a name (RFC 4976 §8, DNS-01 to DNS-07), asked for by shards and found on the control thread.
//!
//! An IP literal is its own answer, `localhost` and the names below it are loopback without a question (RFC 6761 §6.3).
//! Everything else goes to the operator's name servers or the system's. Time, the number of questions under way, the number
//! of addresses and the size of the caches are bounded; a question that cannot be put is answered with an error, never
//! left hanging.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, LocalSet};

use super::dial::{ResolveRequest, Resolved, Resolver};

/// Questions that may wait to be looked at; shards get an error beyond it.
const WAITING_MAX: usize = 1024;
/// Names being resolved at the same time. A name server that hangs must not make this grow.
const UNDER_WAY_MAX: usize = 256;
/// One name, all servers and retries together; shorter than any sensible `dial.connect_timeout`.
const TIMEOUT: Duration = Duration::from_secs(4);
/// One question to one server.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(1500);
/// Addresses of one name that are tried; the rest is ignored.
const ADDRESSES_MAX: usize = 8;
/// Answers kept for their TTL, in records sets.
const CACHE_SIZE: u64 = 4096;
const TTL_MAX: Duration = Duration::from_secs(3600);
const NEGATIVE_TTL_MAX: Duration = Duration::from_secs(30);
/// Failures that have no TTL (no answer, refused) are remembered this long, for so many names (DNS-07).
const FAILURE_TTL: Duration = Duration::from_secs(2);
const FAILURES_MAX: usize = 1024;

/// The port of a name without one, when it has no SRV record (RFC 4976 §8).
const DEFAULT_PORT: u16 = 2855;

/// Answers shards on the control thread.
pub struct Names {
    requests: mpsc::Receiver<ResolveRequest>,
    lookup: Rc<Lookup>,
}

struct Lookup {
    /// Absent where the system names no server; the reason is in the error.
    resolver: Result<TokioResolver, String>,
    failures: RefCell<HashMap<String, (Instant, String)>>,
}

impl Names {
    /// To be called on the control thread's runtime. Without `nameservers` the system's are asked.
    pub fn new(nameservers: &[SocketAddr]) -> (Resolver, Names) {
        let (sender, requests) = mpsc::channel(WAITING_MAX);
        let lookup = Lookup {
            resolver: resolver(nameservers),
            failures: RefCell::default(),
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
                    if under_way.len() >= UNDER_WAY_MAX {
                        let _ = request
                            .reply
                            .send(Err("too many names are being resolved".into()));
                        continue;
                    }
                    let lookup = self.lookup.clone();
                    under_way.spawn_local(async move {
                        let ResolveRequest {
                            host,
                            port,
                            mut reply,
                        } = request;
                        tokio::select! {
                            found = lookup.find(&host, port) => drop(reply.send(found)),
                            () = reply.closed() => {}
                        }
                    });
                }
            })
            .await;
    }
}

impl Lookup {
    async fn find(&self, host: &str, port: Option<u16>) -> Result<Vec<Resolved>, String> {
        let port = port.unwrap_or(DEFAULT_PORT);
        let at_port = |address| Resolved { address, port };
        if let Some(known) = without_asking(host) {
            return Ok(known.into_iter().map(at_port).collect());
        }
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        if let Some((until, failure)) = self.failures.borrow().get(&name)
            && Instant::now() < *until
        {
            return Err(failure.clone());
        }
        let failure = match &self.resolver {
            Err(problem) => problem.clone(),
            // With its dot: search domains are for people at a prompt.
            Ok(resolver) => {
                match tokio::time::timeout(TIMEOUT, resolver.lookup_ip(format!("{name}."))).await {
                    Ok(Ok(found)) => {
                        let addresses: Vec<Resolved> =
                            found.iter().take(ADDRESSES_MAX).map(at_port).collect();
                        match addresses.is_empty() {
                            false => return Ok(addresses),
                            true => "the name has no address".into(),
                        }
                    }
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => "no name server answered in time".into(),
                }
            }
        };
        self.remember(name, &failure);
        Err(failure)
    }

    fn remember(&self, name: String, failure: &str) {
        let mut failures = self.failures.borrow_mut();
        let now = Instant::now();
        if failures.len() >= FAILURES_MAX {
            failures.retain(|_, (until, _)| now < *until);
        }
        if failures.len() < FAILURES_MAX {
            failures.insert(name, (now + FAILURE_TTL, failure.to_owned()));
        }
    }
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
    (name == "localhost" || name.ends_with(".localhost")).then(|| {
        vec![
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ]
    })
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
    options.cache_size = CACHE_SIZE;
    options.positive_max_ttl = Some(TTL_MAX);
    options.negative_max_ttl = Some(NEGATIVE_TTL_MAX);
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UdpSocket;
    use tokio::sync::oneshot;

    async fn ask(
        resolver: &Resolver,
        host: &str,
        port: Option<u16>,
    ) -> Result<Vec<Resolved>, String> {
        let (reply, answer) = oneshot::channel();
        resolver
            .send(ResolveRequest {
                host: host.into(),
                port,
                reply,
            })
            .await
            .expect("the resolver runs");
        answer.await.expect("every question is answered")
    }

    fn run<F: Future<Output = ()>>(test: impl FnOnce(Resolver) -> F, nameservers: &[SocketAddr]) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let (resolver, names) = Names::new(nameservers);
            tokio::select! {
                () = names.run() => panic!("the resolver ended"),
                () = test(resolver) => {}
            }
        });
    }

    #[test]
    fn dns_02_literals_and_loopback_names_are_not_asked_for() {
        // Nobody answers at this address: a question would fail.
        let nowhere = ["127.0.0.1:1".parse().expect("an address")];
        let test = |resolver: Resolver| async move {
            let found = ask(&resolver, "192.0.2.7", Some(7))
                .await
                .expect("a literal");
            assert_eq!(
                found,
                [Resolved {
                    address: "192.0.2.7".parse().expect("an address"),
                    port: 7
                }]
            );
            let found = ask(&resolver, "[2001:db8::1]", Some(7))
                .await
                .expect("a literal");
            assert_eq!(
                found[0].address,
                "2001:db8::1".parse::<IpAddr>().expect("an address")
            );
            for name in [
                "localhost",
                "relay.localhost",
                "LOCALHOST.",
                "a.b.LocalHost",
            ] {
                let found = ask(&resolver, name, None).await.expect("a loopback name");
                assert!(
                    found
                        .iter()
                        .all(|place| place.address.is_loopback() && place.port == 2855),
                    "{name}"
                );
            }
            ask(&resolver, "localhost.example", Some(1))
                .await
                .expect_err("no loopback name");
        };
        run(test, &nowhere);
    }

    #[test]
    fn dns_07_failures_are_remembered_briefly_and_a_silent_server_costs_bounded_time() {
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        silent.set_nonblocking(true).expect("a socket");
        let address = [silent.local_addr().expect("an address")];
        let test = |resolver: Resolver| async move {
            let begun = Instant::now();
            ask(&resolver, "a.example", Some(1))
                .await
                .expect_err("silence");
            assert!(
                begun.elapsed() <= TIMEOUT + Duration::from_secs(1),
                "{:?}",
                begun.elapsed()
            );
            let again = Instant::now();
            ask(&resolver, "A.example.", Some(1))
                .await
                .expect_err("silence, remembered");
            assert!(
                again.elapsed() < Duration::from_millis(500),
                "{:?}",
                again.elapsed()
            );
            drop(silent);
        };
        run(test, &address);
    }

    #[test]
    fn dns_01_addresses_are_asked_of_the_operators_servers() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_nonblocking(true).expect("a socket");
        let address = [socket.local_addr().expect("an address")];
        let test = |resolver: Resolver| async move {
            let server = UdpSocket::from_std(socket).expect("a socket");
            let answers = async {
                let mut question = [0; 1500];
                loop {
                    let (len, from) = server.recv_from(&mut question).await.expect("a question");
                    server
                        .send_to(&answer(&question[..len]), from)
                        .await
                        .expect("an answer");
                }
            };
            tokio::select! {
                () = answers => {}
                found = ask(&resolver, "p.peers.example", Some(4444)) => {
                    let found = found.expect("an address");
                    assert!(found.contains(&Resolved { address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)), port: 4444 }));
                }
            }
        };
        run(test, &address);
    }

    /// An A record 192.0.2.9 for whatever is asked; nothing for other types.
    fn answer(question: &[u8]) -> Vec<u8> {
        let name_end = 12
            + question[12..]
                .iter()
                .position(|octet| *octet == 0)
                .expect("a name")
            + 1;
        let is_a = question[name_end..name_end + 2] == [0, 1];
        let mut out = question[..2].to_vec();
        out.extend([0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
        out.extend(&question[12..name_end + 4]);
        if is_a {
            out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 9]);
        }
        out
    }
}
