//! Relays as `msrpd dev` runs them, on ports of their own.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a relay may take to come up or to end: a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy)]
pub struct Ports {
    tls: u16,
    web: u16,
    admin: u16,
}

impl Ports {
    /// Ports that nobody has, below those that the kernel gives to outgoing connections: they are taken again after a restart.
    pub fn free() -> Self {
        let mut found: Vec<TcpListener> = Vec::new();
        while found.len() < 3 {
            let mut random = [0; 2];
            getrandom::fill(&mut random).expect("the kernel has random octets");
            let port = 12_000 + u16::from_ne_bytes(random) % 20_000;
            found.extend(TcpListener::bind((Ipv4Addr::LOCALHOST, port)));
        }
        let port = |index: usize| found[index].local_addr().expect("an address").port();
        Self {
            tls: port(0),
            web: port(1),
            admin: port(2),
        }
    }
}

pub struct Relay {
    folder: PathBuf,
    arguments: Vec<&'static str>,
    ports: Ports,
    child: Child,
}

impl Relay {
    /// `msrpd dev`.
    pub fn alone(folder: &Path) -> Self {
        let ports = Ports::free();
        write_config(folder, "msrpd", "relay", "relay.localhost", ports);
        Self::start(folder, vec!["dev"], ports)
    }

    /// A half of `msrpd dev --two`, so that the other one stays while this one is gone.
    pub fn one_of_two(folder: &Path, name: &'static str, ports: Ports) -> Self {
        write_config(folder, name, name, &format!("{name}.localhost"), ports);
        Self::start(folder, vec!["dev", "--one-of-two", name], ports)
    }

    fn start(folder: &Path, arguments: Vec<&'static str>, ports: Ports) -> Self {
        let child = spawn(folder, &arguments);
        let mut relay = Self {
            folder: folder.to_owned(),
            arguments,
            ports,
            child,
        };
        relay.is_ready();
        relay
    }

    pub fn page(&self) -> String {
        format!("http://127.0.0.1:{}/", self.ports.admin)
    }

    fn is_ready(&mut self) {
        let end = Instant::now() + PATIENCE;
        while !self.answers_ready() {
            let ended = self.child.try_wait().expect("a child");
            assert!(ended.is_none() && Instant::now() < end, "{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn answers_ready(&self) -> bool {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.ports.admin))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(
                b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            )?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    fn log(&self) -> String {
        let log = self.folder.join(log_name(&self.arguments));
        std::fs::read_to_string(log).unwrap_or_default()
    }

    /// Drains.
    pub fn end_in_order(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a pid"), Signal::TERM).expect("a signal is sent");
        let end = Instant::now() + PATIENCE;
        while self.child.try_wait().expect("a child").is_none() {
            assert!(Instant::now() < end, "{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("it is killed");
        self.child.wait().expect("it has ended");
    }

    pub fn start_again(&mut self) {
        self.child = spawn(&self.folder, &self.arguments);
        self.is_ready();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let log = self.log();
        if std::thread::panicking() {
            eprintln!("--- the relay's log:\n{log}");
        } else {
            assert!(!log.contains("panicked at"), "{log}");
        }
    }
}

fn log_name(arguments: &[&str]) -> String {
    format!("{}.log", arguments.last().expect("arguments"))
}

fn spawn(folder: &Path, arguments: &[&str]) -> Child {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(folder.join(log_name(arguments)))
        .expect("a file for the log");
    Command::new(env!("CARGO_BIN_EXE_msrpd"))
        .args(arguments)
        .arg("--dir")
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("msrpd runs")
}

/// What `msrpd dev` would write, with other ports; what is there is kept.
fn write_config(folder: &Path, file: &str, name: &str, host: &str, ports: Ports) {
    let Ports { tls, web, admin } = ports;
    let config = format!(
        r#"[relay]
hosts = ["{host}"]
workers = 2
drain_timeout = "2s"
[[listen]]
address = "127.0.0.1:{tls}"
transport = "tls"
[[listen]]
address = "127.0.0.1:{web}"
transport = "ws"
[tls]
certificate = "{name}.pem"
key = "{name}.key"
peer_ca = "ca.pem"
[peers]
allow = ["relay-a.localhost", "relay-b.localhost"]
[auth]
realm = "relay.localhost"
htdigest = "users.htdigest"
[dial]
allow = ["127.0.0.0/8", "::1/128"]
[admin]
address = "127.0.0.1:{admin}"
[log]
format = "text"
"#
    );
    std::fs::write(folder.join(format!("{file}.toml")), config).expect("a file is written");
}
