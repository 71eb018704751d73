//! The operator's settings as plain typed values: section by section as they stand in the file, with their defaults.
//!
//! `visit` names each key once, with the sentence that `msrpd config` and `docs/configuration.md` show.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::limits::Limits;
use super::quotas::Quotas;
use super::setting::{DnsName, Nameserver, Origin, RelayHost, Secret, TextSetting, Word};
use super::visit::Visitor;

/// Everything that the operator decides.
#[derive(Clone, Debug)]
pub struct Config {
    pub relay: Relay,
    pub listen: Vec<Listen>,
    pub tls: Tls,
    pub peers: Peers,
    pub auth: Auth,
    pub dns: Dns,
    pub dial: Dial,
    pub limits: Limits,
    pub quotas: Quotas,
    pub admin: Admin,
    pub log: Log,
    pub records: Records,
}

/// `[relay]`
#[derive(Clone, Debug)]
pub struct Relay {
    pub hosts: Vec<RelayHost>,
    pub domains: Vec<DnsName>,
    pub workers: u16,
    pub drain_timeout: Duration,
    pub drain_delay: Duration,
    pub block_unknown_methods: bool,
    pub signed_content_only: bool,
}

/// `[[listen]]`
#[derive(Clone, Debug)]
pub struct Listen {
    pub address: SocketAddr,
    pub transport: Transport,
    pub advertise_port: Option<u16>,
    pub ipv6_only: bool,
    pub proxy_protocol_from: Vec<IpNet>,
    pub origins: Vec<Origin>,
    pub tls_terminated_by: Vec<IpNet>,
}

impl Listen {
    /// Who may connect: `ws` carries what was TLS in front of a terminator, so that nobody else may speak it. Empty: all.
    pub fn only_from(&self) -> Vec<IpNet> {
        match self.transport {
            Transport::Ws if !self.address.ip().is_loopback() => {
                [&self.proxy_protocol_from[..], &self.tls_terminated_by].concat()
            }
            _ => Vec::new(),
        }
    }
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tls,
    Tcp,
    Wss,
    Ws,
}

impl Transport {
    /// Whether a listener of this kind needs `[tls]`.
    pub fn is_encrypted(self) -> bool {
        matches!(self, Transport::Tls | Transport::Wss)
    }
}

/// `[tls]`
#[derive(Clone, Debug, Default)]
pub struct Tls {
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub peer_ca: Option<PathBuf>,
    pub extra: Vec<TlsExtra>,
}

/// `[[tls.extra]]`
#[derive(Clone, Debug, Default)]
pub struct TlsExtra {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// `[peers]`
#[derive(Clone, Debug, Default)]
pub struct Peers {
    pub allow: Vec<DnsName>,
    pub block: Vec<DnsName>,
}

/// `[auth]`
#[derive(Clone, Debug)]
pub struct Auth {
    pub realm: Option<Word>,
    pub realms: BTreeMap<DnsName, Word>,
    pub htdigest: Option<PathBuf>,
    pub shared_secret_files: Vec<PathBuf>,
    pub disabled: Vec<Word>,
    pub expires_min: u32,
    pub expires_max: u32,
    pub expires_default: u32,
    pub algorithms: Vec<Algorithm>,
    pub nonce_lifetime: Duration,
    pub farm_key_file: Option<PathBuf>,
    pub users: Vec<User>,
    pub postgres: Postgres,
}

/// `[[auth.users]]`
#[derive(Clone, Debug, Default)]
pub struct User {
    pub name: Option<Word>,
    pub realm: Option<Word>,
    pub password: Option<Secret>,
    pub password_file: Option<PathBuf>,
    pub ha1: Option<Secret>,
    pub ha1_sha256: Option<Secret>,
}

/// `[auth.postgres]`
#[derive(Clone, Debug)]
pub struct Postgres {
    pub url: Option<Secret>,
    pub url_file: Option<PathBuf>,
    pub ca: Option<PathBuf>,
    pub query: String,
    pub connections: u16,
    pub timeout: Duration,
    pub cache: Duration,
    pub negative_cache: Duration,
}

impl Postgres {
    /// Whether users are looked up in a database.
    pub fn is_used(&self) -> bool {
        self.url.is_some() || self.url_file.is_some()
    }
}

impl Default for Postgres {
    fn default() -> Self {
        Postgres {
            url: None,
            url_file: None,
            ca: None,
            query: "SELECT * FROM subscriber WHERE username = $1 AND domain = $2".to_owned(),
            connections: 4,
            timeout: Duration::from_secs(2),
            cache: Duration::from_secs(30),
            negative_cache: Duration::from_secs(10),
        }
    }
}

/// A digest algorithm that challenges offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Md5,
    Sha256,
}

/// `[dns]`
#[derive(Clone, Debug, Default)]
pub struct Dns {
    pub nameservers: Vec<Nameserver>,
}

/// `[dial]`
#[derive(Clone, Debug)]
pub struct Dial {
    pub allow: Vec<IpNet>,
    pub last_hop_tcp: bool,
    pub last_hop_unverified: bool,
    pub connect_timeout: Duration,
    pub idle_timeout: Duration,
    pub links_per_next_hop: u32,
    pub srv_targets: BTreeMap<DnsName, DnsName>,
}

/// `[admin]`
#[derive(Clone, Debug)]
pub struct Admin {
    pub address: AdminAddress,
    pub hosts: Vec<DnsName>,
}

/// Where metrics and probes are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    At(SocketAddr),
    Off,
}

/// `[records]`
#[derive(Clone, Debug, Default)]
pub struct Records {
    pub file: Option<PathBuf>,
    pub socket: Option<PathBuf>,
}

/// `[log]`
#[derive(Clone, Debug)]
pub struct Log {
    pub format: LogFormat,
    pub level: LogLevel,
    pub repeats: u32,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text if stderr is a terminal, JSON otherwise.
    Auto,
    Text,
    Json,
}

/// What is worth a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            relay: Relay {
                hosts: Vec::new(),
                domains: Vec::new(),
                workers: 0,
                drain_timeout: Duration::from_secs(30),
                drain_delay: Duration::ZERO,
                block_unknown_methods: false,
                signed_content_only: false,
            },
            listen: vec![Listen::default()],
            tls: Tls::default(),
            peers: Peers::default(),
            auth: Auth {
                realm: None,
                realms: BTreeMap::new(),
                htdigest: None,
                shared_secret_files: Vec::new(),
                disabled: Vec::new(),
                expires_min: 60,
                expires_max: 86_400,
                expires_default: 86_400,
                algorithms: vec![Algorithm::Md5],
                nonce_lifetime: Duration::from_secs(300),
                farm_key_file: None,
                users: Vec::new(),
                postgres: Postgres::default(),
            },
            dns: Dns::default(),
            dial: Dial {
                allow: Vec::new(),
                last_hop_tcp: false,
                last_hop_unverified: false,
                connect_timeout: Duration::from_secs(5),
                idle_timeout: Duration::from_secs(3600),
                links_per_next_hop: 2,
                srv_targets: BTreeMap::new(),
            },
            limits: Limits::default(),
            quotas: Quotas::default(),
            admin: Admin {
                address: AdminAddress::At(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9855)),
                hosts: Vec::new(),
            },
            log: Log {
                format: LogFormat::Auto,
                level: LogLevel::Info,
                repeats: 20,
            },
            records: Records::default(),
        }
    }
}

impl Default for Listen {
    fn default() -> Self {
        Listen {
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 2855),
            transport: Transport::Tls,
            advertise_port: None,
            ipv6_only: false,
            proxy_protocol_from: Vec::new(),
            origins: Vec::new(),
            tls_terminated_by: Vec::new(),
        }
    }
}

impl Config {
    /// Shows every section and key to `v`, in the order of the sample file.
    pub fn visit<V: Visitor>(&mut self, v: &mut V) {
        let second = Duration::from_secs(1);
        let relay = &mut self.relay;
        v.section("relay", "Who this relay is.", |v| {
            v.required(
                "hosts",
                "names of this relay in MSRP URIs and AUTH To-Paths; the first goes into Use-Path, others may be addresses",
                &mut relay.hosts,
            );
            v.key("domains", "SIP domains served: also accepted in a one-URI AUTH To-Path", &mut relay.domains);
            v.bounded("workers", "shards, one thread each; 0 is one per available core", &mut relay.workers, 0..=256);
            v.bounded(
                "drain_timeout",
                "how long a shutdown waits for what is held; chunks that have begun may take half of it",
                &mut relay.drain_timeout,
                second..=second * 3600,
            );
            v.bounded(
                "drain_delay",
                "how long `/readyz` says 503 and all is served as before, until a shutdown begins: for balancers to see it",
                &mut relay.drain_delay,
                Duration::ZERO..=Duration::from_secs(600),
            );
            v.key(
                "block_unknown_methods",
                "answer 501 to methods that no RFC names, instead of forwarding them (RFC 4976, 6.4.2)",
                &mut relay.block_unknown_methods,
            );
            v.key(
                "signed_content_only",
                "answer 415 to bodies whose type is not multipart/signed (RFC 4976, 9.4)",
                &mut relay.signed_content_only,
            );
        });
        v.sections(
            "listen",
            "Where clients and other relays connect; one for each address.",
            &mut self.listen,
            |v, listen| {
                v.required(
                    "address",
                    "IP address and port to listen on",
                    &mut listen.address,
                );
                v.key(
                    "transport",
                    "tls | tcp | wss | ws; ws is WebSocket behind a server that ends TLS; no AUTH by tcp",
                    &mut listen.transport,
                );
                v.key(
                    "advertise_port",
                    "port for Use-Path where it differs from the address (NAT, balancer)",
                    &mut listen.advertise_port,
                );
                v.key(
                    "ipv6_only",
                    "[::] without IPv4; so it is anyway where another [[listen]] has IPv4 and the same port",
                    &mut listen.ipv6_only,
                );
                v.key(
                    "proxy_protocol_from",
                    "balancers: their connections begin with a PROXY header (version 1 or 2), which names the client",
                    &mut listen.proxy_protocol_from,
                );
                v.key(
                    "origins",
                    "wss and ws: whose web pages may connect (https://chat.example.com); absent: all",
                    &mut listen.origins,
                );
                v.key(
                    "tls_terminated_by",
                    "ws: the servers that end TLS in front of it; only they and proxy_protocol_from may connect",
                    &mut listen.tls_terminated_by,
                );
            },
        );
        let tls = &mut self.tls;
        v.section("tls", "The relay's certificate, and whom it believes.", |v| {
            v.key("certificate", "PEM file with the chain, leaf first; its SAN must name all hosts", &mut tls.certificate);
            v.key("key", "PEM file with the leaf's private key", &mut tls.key);
            v.key(
                "peer_ca",
                "PEM file with the authorities for other relays and next hops; absent: the system's roots",
                &mut tls.peer_ca,
            );
            v.sections(
                "extra",
                "Further certificates, chosen by the name that a client asks for (SNI); any other name gets [tls] certificate.",
                &mut tls.extra,
                |v, extra| {
                    v.required("certificate", "PEM file with the chain, leaf first", &mut extra.certificate);
                    v.required("key", "PEM file with the leaf's private key", &mut extra.key);
                },
            );
        });
        let peers = &mut self.peers;
        v.section(
            "peers",
            "Other relays, by the name in their certificate.",
            |v| {
                v.key(
                    "allow",
                    "relays that may use this one and are dialled; empty: every one whose certificate verifies",
                    &mut peers.allow,
                );
                v.key(
                    "block",
                    "relays that may not, and are not dialled; any name of a certificate counts",
                    &mut peers.block,
                );
            },
        );
        let auth = &mut self.auth;
        v.section("auth", "Who may AUTH, and for how long.", |v| {
            v.key("realm", "realm of every challenge; absent: the name that the client addressed", &mut auth.realm);
            v.key("realms", "realm by addressed name, before `realm`", &mut auth.realms);
            v.key("htdigest", "users' file, lines of user:realm:MD5(user:realm:password); see msrpd passwd", &mut auth.htdigest);
            v.key(
                "shared_secret_files",
                "files with one secret each, for credentials that are good for a time (user SECONDS:NAME); see msrpd mint",
                &mut auth.shared_secret_files,
            );
            v.key("disabled", "users that are refused with 403 although they are in the users' file", &mut auth.disabled);
            v.bounded("expires_min", "shortest life of a session that a client may ask for, in seconds", &mut auth.expires_min, 1..=31_536_000);
            v.bounded("expires_max", "longest life of a session that a client may ask for, in seconds", &mut auth.expires_max, 1..=31_536_000);
            v.bounded("expires_default", "life of a session whose client asks for none, in seconds", &mut auth.expires_default, 1..=31_536_000);
            v.key("algorithms", "digest algorithms offered, strongest first: \"SHA-256\", \"MD5\"", &mut auth.algorithms);
            v.bounded(
                "nonce_lifetime",
                "how long a challenge may be answered; afterwards the client gets a new one (stale)",
                &mut auth.nonce_lifetime,
                second..=second * 86_400,
            );
            v.key(
                "farm_key_file",
                "keys that all relays behind one SRV name share: one or two lines of 64 hex digits, the newest first",
                &mut auth.farm_key_file,
            );
        v.sections(
            "users",
            "Single users, who come before those of the file.",
            &mut auth.users,
            |v, user| {
                v.required("name", "the user's name", &mut user.name);
                v.key(
                    "realm",
                    "absent: `auth.realm`, else the first of `relay.hosts`",
                    &mut user.realm,
                );
                v.key(
                    "password",
                    "the password itself; one of the four below [[auth.users]] is needed",
                    &mut user.password,
                );
                v.key(
                    "password_file",
                    "a file that holds the password on one line",
                    &mut user.password_file,
                );
                v.key(
                    "ha1",
                    "MD5(name:realm:password), 32 hex digits",
                    &mut user.ha1,
                );
                v.key(
                    "ha1_sha256",
                    "SHA-256(name:realm:password), 64 hex digits; may stand beside ha1",
                    &mut user.ha1_sha256,
                );
            },
        );
        let postgres = &mut auth.postgres;
        v.section(
            "postgres",
            "Users in a PostgreSQL database, asked for those whom nothing above knows: Kamailio's and OpenSIPS's table `subscriber`, or any query.",
            |v| {
                v.key("url", "postgresql://USER:PASSWORD@HOST/DATABASE, or key=value words; sslmode=require for TLS", &mut postgres.url);
                v.key("url_file", "a file that holds the URL on one line", &mut postgres.url_file);
                v.key("ca", "PEM file with the authorities for the server's certificate; absent: the system's roots", &mut postgres.ca);
                v.key(
                    "query",
                    "gives the row of user $1 in realm $2; its columns ha1 (MD5) and ha1_sha256 are read, one may be missing",
                    &mut postgres.query,
                );
                v.bounded("connections", "connections to the database", &mut postgres.connections, 1..=64);
                v.bounded(
                    "timeout",
                    "how long a look-up may take, connecting included; then the AUTH is answered with 408",
                    &mut postgres.timeout,
                    second / 10..=second * 20,
                );
                v.bounded("cache", "how long a user's hashes are remembered; SIGHUP forgets them", &mut postgres.cache, Duration::ZERO..=second * 3600);
                v.bounded("negative_cache", "how long it is remembered that there is no such user", &mut postgres.negative_cache, Duration::ZERO..=second * 3600);
            },
        );
        });
        let dns = &mut self.dns;
        v.section("dns", "How names of next hops are resolved.", |v| {
            v.key(
                "nameservers",
                "name servers to ask; empty: the system's",
                &mut dns.nameservers,
            );
        });
        let dial = &mut self.dial;
        v.section("dial", "Connections that the relay opens.", |v| {
            v.key(
                "allow",
                "networks that may be dialled although they are private, loopback, link-local or the like",
                &mut dial.allow,
            );
            v.key("last_hop_tcp", "may plain TCP be opened to a foreign client that is the last hop?", &mut dial.last_hop_tcp);
            v.key(
                "last_hop_unverified",
                "may such a client's certificate be one that cannot be verified?",
                &mut dial.last_hop_unverified,
            );
            v.bounded(
                "connect_timeout",
                "resolving, connecting and TLS together",
                &mut dial.connect_timeout,
                second / 10..=second * 30,
            );
            v.bounded(
                "idle_timeout",
                "a connection without sessions that was not used for so long is closed",
                &mut dial.idle_timeout,
                second..=second * 604_800,
            );
            v.bounded(
                "links_per_next_hop",
                "connections to one other relay; the second is for films only",
                &mut dial.links_per_next_hop,
                1..=2,
            );
            v.key(
                "srv_targets",
                "domains whose SRV target shows a certificate of its own name only, and that name",
                &mut dial.srv_targets,
            );
        });
        let limits = &mut self.limits;
        v.section("limits", "Every bound; sizes are octets.", |v| {
            limits.visit(v)
        });
        let quotas = &mut self.quotas;
        v.section(
            "quotas",
            "What one user, realm or source prefix may have, counted over all workers; 0 is no bound.",
            |v| quotas.visit(v),
        );
        let admin = &mut self.admin;
        v.section(
            "admin",
            "Metrics and probes: GET /metrics, /histograms, /healthz, /readyz.",
            |v| {
                v.key(
                    "address",
                    "IP address and port, or \"off\"; there is no access control, keep it private",
                    &mut admin.address,
                );
                v.key(
                    "hosts",
                    "names that requests may be for (Host) besides localhost, names without a dot and the address",
                    &mut admin.hosts,
                );
            },
        );
        let log = &mut self.log;
        v.section("log", "Log lines on stderr.", |v| {
            v.key(
                "format",
                "auto | text | json; auto is text on a terminal and JSON elsewhere",
                &mut log.format,
            );
            v.key(
                "level",
                "error | warn | info | debug | trace",
                &mut log.level,
            );
            v.key(
                "repeats",
                "lines of one kind in 10 s (at debug and trace 50 times as many); what is more is counted and told in one line; 0 is no bound",
                &mut log.repeats,
            );
        });
        let records = &mut self.records;
        v.section(
            "records",
            "One line of JSON for each session that has ended; docs/records.md has the schema.",
            |v| {
                v.key(
                    "file",
                    "file that they are appended to; SIGUSR1 opens it again under its name",
                    &mut records.file,
                );
                v.key(
                    "socket",
                    "unix stream socket that they are sent to, instead of a file",
                    &mut records.socket,
                );
            },
        );
    }

    /// The port that Use-Path names for sessions of clients on listener `index`: its own if it is `tls`, else the first
    /// `tls` listener's.
    pub fn use_path_listener(&self, index: usize) -> Option<usize> {
        match self.listen[index].transport {
            Transport::Tls => Some(index),
            _ => self
                .listen
                .iter()
                .position(|listen| listen.transport == Transport::Tls),
        }
    }
}

/// A setting that is one of a few words.
macro_rules! words {
    ($type:ty, $expected:literal, $($variant:ident = $word:literal),+) => {
        impl TextSetting for $type {
            const EXPECTED: &'static str = $expected;
            fn parse(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(format!("`{text}` is none of the words that can stand here")),
                }
            }
            fn text(&self) -> String {
                match self {
                    $(Self::$variant => $word.to_owned(),)+
                }
            }
        }
    };
}
words!(
    Transport,
    "\"tls\", \"tcp\", \"wss\" or \"ws\"",
    Tls = "tls",
    Tcp = "tcp",
    Wss = "wss",
    Ws = "ws"
);
words!(
    Algorithm,
    "\"MD5\" or \"SHA-256\"",
    Md5 = "MD5",
    Sha256 = "SHA-256"
);
words!(
    LogFormat,
    "\"auto\", \"text\" or \"json\"",
    Auto = "auto",
    Text = "text",
    Json = "json"
);
words!(
    LogLevel,
    "\"error\", \"warn\", \"info\", \"debug\" or \"trace\"",
    Error = "error",
    Warn = "warn",
    Info = "info",
    Debug = "debug",
    Trace = "trace"
);

impl TextSetting for AdminAddress {
    const EXPECTED: &'static str =
        "an IP address and a port, such as \"127.0.0.1:9855\", or \"off\"";
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(AdminAddress::Off),
            _ => SocketAddr::parse(text).map(AdminAddress::At),
        }
    }
    fn text(&self) -> String {
        match self {
            AdminAddress::At(address) => address.to_string(),
            AdminAddress::Off => "off".to_owned(),
        }
    }
}
