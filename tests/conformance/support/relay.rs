//! The relay under test: one that the suite starts with a configuration of its own, or one that
//! runs elsewhere (`MSRPD_CONFORMANCE_TARGET`).

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{LazyLock, Mutex, OnceLock, mpsc};
use std::time::{Duration, Instant};

use msrpload::digest::Algorithm;

use super::dns::Names;
use super::pki::{Identity, TRUSTED};

/// Name of the relay in certificates and URIs.
pub const HOST: &str = "relay.example.com";
/// Realm of all users.
pub const REALM: &str = "example.com";
/// Users of every relay that the suite starts.
pub const USERS: [(&str, &str); 4] = [
    ("alice", "wonderland"),
    ("bob", "builder"),
    ("carol", "christmas"),
    ("mallory", "malice"),
];

/// How long a relay may take to come up: a debug build on a busy machine.
const START_MAX: Duration = Duration::from_secs(30);

pub struct Relay {
    /// Name to use in AUTH and for TLS.
    pub host: String,
    pub tls: SocketAddr,
    /// Plain TCP listener (D-24).
    pub tcp: SocketAddr,
    /// WebSocket listeners, with TLS and without.
    pub wss: SocketAddr,
    pub ws: SocketAddr,
    /// Users and passwords; a relay elsewhere may have one only.
    users: Vec<(String, String)>,
    /// Authority of a relay elsewhere.
    pub ca_pem: Option<String>,
    admin: SocketAddr,
    child: Mutex<Option<Child>>,
    dir: Option<tempfile::TempDir>,
}

/// The relay that all tests share which need nothing special. Its resolver knows `*.peers.example`
/// as loopback and remembers what it was asked ([`Names`]).
pub fn shared() -> &'static Relay {
    SHARED.get_or_init(|| elsewhere().unwrap_or_else(|| Setup::new().start()))
}

static SHARED: OnceLock<Relay> = OnceLock::new();

/// Whether the suite runs against a relay that it did not start.
pub fn is_elsewhere() -> bool {
    std::env::var_os("MSRPD_CONFORMANCE_TARGET").is_some()
}

fn elsewhere() -> Option<Relay> {
    let variable = |name: &str| std::env::var(format!("MSRPD_CONFORMANCE_{name}")).ok();
    let target = variable("TARGET")?;
    let tls = std::net::ToSocketAddrs::to_socket_addrs(&target.as_str())
        .expect("MSRPD_CONFORMANCE_TARGET is host:port")
        .next()
        .expect("MSRPD_CONFORMANCE_TARGET resolves");
    let ca_pem = variable("CA")
        .map(|path| fs::read_to_string(path).expect("MSRPD_CONFORMANCE_CA can be read"));
    let host = variable("HOST")
        .unwrap_or_else(|| target.rsplit_once(':').expect("host:port").0.to_owned());
    let user = variable("USER").unwrap_or_else(|| "alice".to_owned());
    let password = variable("PASSWORD").unwrap_or_else(|| "wonderland".to_owned());
    Some(Relay {
        host,
        tls,
        tcp: tls,
        wss: tls,
        ws: tls,
        users: vec![(user, password)],
        ca_pem,
        admin: tls,
        child: Mutex::new(None),
        dir: None,
    })
}

impl Relay {
    /// Somebody on loopback who poses as a relay.
    pub fn at(host: &str, port: u16) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            host: host.to_owned(),
            tls: address,
            tcp: address,
            wss: address,
            ws: address,
            users: USERS
                .map(|(user, password)| (user.to_owned(), password.to_owned()))
                .to_vec(),
            ca_pem: None,
            admin: address,
            child: Mutex::new(None),
            dir: None,
        }
    }

    /// The password of a user. With a single user everybody is that one.
    pub fn credentials(&self, user: &str) -> (&str, &str) {
        let found = self
            .users
            .iter()
            .find(|(name, _)| name == user)
            .or(self.users.first());
        let (user, password) = found.expect("there is a user");
        (user, password)
    }

    /// Browsers come to this port of loopback.
    #[allow(dead_code, reason = "most do with the listener that there is")]
    pub fn with_web_port(mut self, port: u16) -> Self {
        self.wss.set_port(port);
        self
    }

    pub fn admin_port(&self) -> u16 {
        self.admin.port()
    }

    /// The port that Use-Path URIs carry.
    pub fn port(&self) -> u16 {
        self.tls.port()
    }

    /// `msrps://HOST;tcp`: what an AUTH is addressed to.
    pub fn uri(&self) -> String {
        format!("msrps://{};tcp", self.host)
    }

    pub fn dir(&self) -> &Path {
        self.dir
            .as_ref()
            .expect("the suite has started this relay")
            .path()
    }

    pub fn pid(&self) -> i32 {
        let child = self.child.lock().unwrap();
        child.as_ref().expect("the relay runs").id().cast_signed()
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: kill() takes two numbers and touches no memory of ours.
        let result = unsafe { libc::kill(self.pid(), signal) };
        assert_eq!(result, 0, "the relay can be signalled");
    }

    /// Stops all its threads where they are, until SIGCONT; kill() comes back before they all stand.
    #[allow(dead_code, reason = "one relay alone is not stopped")]
    pub fn stand_still(&self) {
        self.signal(libc::SIGSTOP);
        let stands = |task: &fs::DirEntry| {
            let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(") ")
                .is_none_or(|(_, state)| state.starts_with('T'))
        };
        let tasks = format!("/proc/{}/task", self.pid());
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let tasks = fs::read_dir(&tasks).expect("the threads of a process of ours");
            if tasks.flatten().all(|task| stands(&task)) {
                return;
            }
            assert!(Instant::now() < until, "a thread does not stop");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until the process has ended.
    pub fn exit_within(&self, within: Duration) -> ExitStatus {
        let end = Instant::now() + within;
        let mut child = self.child.lock().unwrap();
        let child = child.as_mut().expect("the relay runs");
        loop {
            if let Some(status) = child.try_wait().expect("the relay can be waited for") {
                return status;
            }
            assert!(
                Instant::now() < end,
                "the relay has not ended within {within:?}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Resident memory in octets.
    pub fn resident(&self) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the relay runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("VmRSS is there");
        let kib: u64 = line
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .expect("VmRSS is a number");
        kib * 1024
    }

    /// What the relay has written to stderr.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir().join("relay.log")).unwrap_or_default()
    }

    /// A GET on the admin listener: status code and body.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect_timeout(&self.admin, Duration::from_secs(2)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let code = answer.split(' ').nth(1)?.parse().ok()?;
        let body = answer.split_once("\r\n\r\n")?.1.to_owned();
        Some((code, body))
    }

    /// The sum of all series of a metric whose label set holds every one of `labels`.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let (code, text) = self.get("/metrics").expect("/metrics answers");
        assert_eq!(code, 200, "/metrics answers 200");
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| {
                let (series, value) = line.rsplit_once(' ')?;
                let (series_name, series_labels) = series.split_once('{').unwrap_or((series, ""));
                let wanted =
                    series_name == name && labels.iter().all(|label| series_labels.contains(label));
                wanted.then(|| value.parse::<f64>().expect("a metric is a number"))
            })
            .sum()
    }

    /// Waits until a metric satisfies `wanted`; the numbers of a shard lag a little behind.
    pub fn metric_becomes(&self, name: &str, labels: &[&str], wanted: impl Fn(f64) -> bool) -> f64 {
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            let value = self.metric(name, labels);
            if wanted(value) {
                return value;
            }
            assert!(Instant::now() < end, "{name}{labels:?} stays at {value}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What the ledger says: everything taken is accounted for, and nothing is held once the
    /// conversation is over (design §1 *Ledger*).
    pub fn assert_ledger_is_settled(&self) {
        self.metric_becomes("msrpd_chunks_held", &[], |held| held == 0.0);
        let taken = self.metric("msrpd_chunks_taken_total", &[]);
        let settled: f64 = ["answered", "reported", "released", "dropped"]
            .iter()
            .map(|how| self.metric(&format!("msrpd_chunks_{how}_total"), &[]))
            .sum();
        assert_eq!(taken, settled, "chunks taken and chunks settled differ");
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let child = self.child.lock().unwrap_or_else(|e| e.into_inner()).take();
        let Some(mut child) = child else { return };
        let _ = child.kill();
        let _ = child.wait();
        let log = self.log();
        if std::thread::panicking() {
            let tail: Vec<&str> = log.lines().rev().take(15).collect();
            eprintln!("--- end of the relay's log:");
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        } else {
            assert_no_panic(&log);
        }
    }
}

/// Nothing that a remote side sends may panic.
fn assert_no_panic(log: &str) {
    if let Some(at) = log.find("panicked at") {
        let lines: Vec<&str> = log[at..].lines().take(12).collect();
        panic!("the relay has {}", lines.join("\n"));
    }
}

/// After all tests: the shared relay has done without a panic.
pub fn check_shared() {
    if let Some(relay) = SHARED.get()
        && relay.dir.is_some()
    {
        assert_no_panic(&relay.log());
    }
}

/// A relay to be started: the default configuration of the suite and what a test changes in it.
pub struct Setup {
    dir: tempfile::TempDir,
    host: String,
    config: toml::Table,
    tls: SocketAddr,
    tcp: SocketAddr,
    wss: SocketAddr,
    ws: SocketAddr,
    admin: SocketAddr,
}

impl Setup {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("msrpd-conformance-")
            .tempdir()
            .expect("a temporary folder");
        let [tls, tcp, wss, ws, admin] =
            [(); 5].map(|()| SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())));
        let identity = TRUSTED.leaf(&[HOST, "localhost"]);
        let file = |name: &str, text: &str| {
            fs::write(dir.path().join(name), text).expect("a file can be written")
        };
        file("ca.pem", &TRUSTED.pem());
        file("relay.pem", &identity.chain_pem);
        file("relay.key", &identity.key_pem);
        file("users.htdigest", &htdigest(&[REALM]));
        let config = format!(
            r#"
            [relay]
            hosts = ["{HOST}"]
            domains = ["example.com", "example.org"]
            workers = 2
            [[listen]]
            address = "{tls}"
            transport = "tls"
            [[listen]]
            address = "{tcp}"
            transport = "tcp"
            [[listen]]
            address = "{wss}"
            transport = "wss"
            [[listen]]
            address = "{ws}"
            transport = "ws"
            [tls]
            certificate = "relay.pem"
            key = "relay.key"
            peer_ca = "ca.pem"
            [auth]
            realm = "{REALM}"
            htdigest = "users.htdigest"
            [dns]
            nameservers = ["{}"]
            [dial]
            allow = ["127.0.0.0/8"]
            [admin]
            address = "{admin}"
            [log]
            format = "text"
            level = "info"
            "#,
            Names::get().address,
        );
        let config = config.parse().expect("the suite's configuration is TOML");
        Self {
            dir,
            host: HOST.to_owned(),
            config,
            tls,
            tcp,
            wss,
            ws,
            admin,
        }
    }

    /// A relay with another name, which serves this domain too; its certificate has both.
    #[allow(dead_code, reason = "one relay alone does with the usual name")]
    pub fn named(mut self, host: &str, domain: &str) -> Self {
        host.clone_into(&mut self.host);
        self.identity(&TRUSTED.leaf(&[host, domain]))
            .set_list("relay.hosts", &[host])
            .set_list("relay.domains", &[domain])
    }

    /// Its TLS listener is at IPv6's loopback address, by which it may be called too.
    #[allow(dead_code, reason = "for relays that find one another")]
    pub fn at_ipv6(mut self, host: &str) -> Self {
        self.tls.set_ip(std::net::Ipv6Addr::LOCALHOST.into());
        self.config["listen"][0]["address"] = self.tls.to_string().into();
        self.identity(&TRUSTED.leaf(&[host, "::1"]))
            .set_list("relay.hosts", &[host, "::1"])
    }

    /// Its TLS listener is at `[::]`, and is reached by IPv4.
    #[allow(dead_code, reason = "for listeners of both families")]
    pub fn at_any_ipv6(mut self, host: &str) -> Self {
        let any = SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, self.tls.port()));
        self.config["listen"][0]["address"] = any.to_string().into();
        self.identity(&TRUSTED.leaf(&[host, "::1"]))
            .set_list("relay.hosts", &[host])
    }

    /// It has IPv6 alone.
    #[allow(dead_code, reason = "for listeners of both families")]
    pub fn ipv6_only(mut self) -> Self {
        self.tls.set_ip(std::net::Ipv6Addr::LOCALHOST.into());
        let listener = self.config["listen"][0].as_table_mut().expect("a section");
        listener.insert("ipv6_only".to_owned(), true.into());
        self
    }

    /// Its listeners are at every address of the host, and it dials whom it finds in this network.
    #[allow(dead_code, reason = "only where there is more than loopback")]
    pub fn everywhere(mut self, network: &str) -> Self {
        for (index, port) in [self.tls.port(), self.tcp.port()].into_iter().enumerate() {
            self.config["listen"][index]["address"] = format!("0.0.0.0:{port}").into();
        }
        self.set_list("dial.allow", &["127.0.0.0/8", network])
    }

    /// Sets `section.key`.
    pub fn set(mut self, key: &str, value: impl Into<toml::Value>) -> Self {
        let (section, key) = key.split_once('.').expect("section.key");
        let section = self
            .config
            .entry(section)
            .or_insert_with(|| toml::Table::new().into());
        section
            .as_table_mut()
            .expect("a section")
            .insert(key.to_owned(), value.into());
        self
    }

    /// Takes `section.key` out again.
    pub fn unset(mut self, key: &str) -> Self {
        let (section, key) = key.split_once('.').expect("section.key");
        self.config[section]
            .as_table_mut()
            .expect("a section")
            .remove(key);
        self
    }

    pub fn set_list(self, key: &str, values: &[&str]) -> Self {
        let values: Vec<toml::Value> = values.iter().map(|&value| value.into()).collect();
        self.set(key, values)
    }

    /// Sets a list of all listeners.
    #[allow(dead_code, reason = "only where a balancer stands in front")]
    pub fn set_listeners_list(mut self, key: &str, values: &[&str]) -> Self {
        let listeners = self.config["listen"].as_array_mut().expect("listeners");
        for listener in listeners {
            let values: Vec<toml::Value> = values.iter().map(|&value| value.into()).collect();
            let listener = listener.as_table_mut().expect("a section");
            listener.insert(key.to_owned(), values.into());
        }
        self
    }

    /// One more listener.
    #[allow(dead_code, reason = "most do with those that there are")]
    pub fn listener(mut self, text: &str) -> Self {
        let listener: toml::Table = text.parse().expect("a section");
        let listeners = self.config["listen"].as_array_mut().expect("listeners");
        listeners.push(listener.into());
        self
    }

    /// Starts it without any range that may be dialled although it is special.
    pub fn start_denying(self) -> Relay {
        self.set_list("dial.allow", &[]).start()
    }

    /// Replaces the relay's certificate.
    pub fn identity(self, identity: &Identity) -> Self {
        self.file("relay.pem", &identity.chain_pem)
            .file("relay.key", &identity.key_pem)
    }

    /// Writes a file beside the configuration.
    pub fn file(self, name: &str, text: &str) -> Self {
        fs::write(self.dir.path().join(name), text).expect("a file can be written");
        self
    }

    fn write(&self) -> PathBuf {
        let path = self.dir.path().join("msrpd.toml");
        fs::write(&path, self.config.to_string()).expect("the configuration can be written");
        path
    }

    /// Runs `msrpd check` on this configuration: whether it is content, and what it says.
    pub fn check(&self) -> (bool, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_msrpd"))
            .args(["check", "--config"])
            .arg(self.write())
            .output()
            .expect("msrpd can be run");
        let said =
            String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        (output.status.success(), said.into_owned())
    }

    /// Starts the relay and waits until it is ready.
    pub fn start(self) -> Relay {
        let config = self.write();
        let log = File::create(self.dir.path().join("relay.log")).expect("the log can be made");
        let mut command = Command::new(env!("CARGO_BIN_EXE_msrpd"));
        command
            .args(["run", "--config"])
            .arg(config)
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log);
        let child = spawn(command);
        let relay = Relay {
            host: self.host,
            tls: self.tls,
            tcp: self.tcp,
            wss: self.wss,
            ws: self.ws,
            users: USERS
                .iter()
                .map(|(user, password)| ((*user).to_owned(), (*password).to_owned()))
                .collect(),
            ca_pem: None,
            admin: self.admin,
            child: Mutex::new(Some(child)),
            dir: Some(self.dir),
        };
        let end = Instant::now() + START_MAX;
        while relay.get("/readyz").is_none_or(|(code, _)| code != 200) {
            let ended = relay
                .child
                .lock()
                .unwrap()
                .as_mut()
                .and_then(|child| child.try_wait().ok().flatten());
            assert!(
                ended.is_none(),
                "the relay has ended at once ({ended:?}):\n{}",
                relay.log()
            );
            assert!(
                Instant::now() < end,
                "the relay is not ready after {START_MAX:?}:\n{}",
                relay.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        relay
    }
}

/// Lines for all [`USERS`] in these realms, one per algorithm.
pub fn htdigest(realms: &[&str]) -> String {
    let mut text = String::new();
    for realm in realms {
        for (user, password) in USERS {
            for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
                let ha1 = algorithm.hash(&format!("{user}:{realm}:{password}"));
                text += &format!("{user}:{realm}:{ha1}\n");
            }
        }
    }
    text
}

/// A port that nobody else in this process gets, below the range from which the kernel serves
/// outgoing connections.
pub fn free_port() -> u16 {
    static TAKEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);
    let mut taken = TAKEN.lock().unwrap();
    loop {
        let mut random = [0; 2];
        getrandom::fill(&mut random).expect("the kernel has random octets");
        let port = 12_000 + u16::from_ne_bytes(random) % 20_000;
        if !taken.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            taken.insert(port);
            return port;
        }
    }
}

/// Starts a process that ends with ours. The kernel's death signal watches the *thread* that
/// forked, so one thread that lives as long as we do starts them all.
fn spawn(command: Command) -> Child {
    type Order = (Command, mpsc::Sender<std::io::Result<Child>>);
    static SPAWNER: LazyLock<Mutex<mpsc::Sender<Order>>> = LazyLock::new(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in orders {
                // SAFETY: prctl is async-signal-safe and the closure touches nothing else.
                unsafe {
                    command.pre_exec(|| {
                        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                        Ok(())
                    });
                }
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    let (answer, child) = mpsc::channel();
    SPAWNER
        .lock()
        .unwrap()
        .send((command, answer))
        .expect("the spawner lives");
    child
        .recv()
        .expect("the spawner answers")
        .expect("msrpd can be started")
}
