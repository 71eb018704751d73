//! A folder with everything that a relay needs, and ways to spoil it.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub const HOST: &str = "relay.example.com";

/// A folder with `msrpd.toml`, certificates and users, all good. Ports are the kernel's choice.
pub struct Place {
    folder: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

pub const CONFIG: &str = r#"[relay]
hosts = ["relay.example.com"]
domains = ["example.com"]
workers = 2
drain_timeout = "2s"
[[listen]]
address = "127.0.0.1:0"
transport = "tls"
[[listen]]
address = "127.0.0.1:0"
transport = "tcp"
[tls]
certificate = "relay.pem"
key = "relay.key"
peer_ca = "ca.pem"
[auth]
realm = "example.com"
htdigest = "users.htdigest"
[admin]
address = "127.0.0.1:0"
[log]
format = "text"
"#;

impl Place {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let place = Place {
            folder: tempfile::tempdir().expect("a folder"),
            authority,
        };
        place.write("ca.pem", &place.authority.pem());
        place.certify(&[HOST], |_| {});
        place.write(
            "users.htdigest",
            "alice:example.com:0123456789abcdef0123456789abcdef\n",
        );
        place.write("msrpd.toml", CONFIG);
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file is written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(self.path(name), mode).expect("a mode is set");
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("a file is read")
    }

    /// Changes the configuration.
    pub fn change(&self, old: &str, new: &str) {
        let text = self.read("msrpd.toml");
        assert!(text.contains(old), "{old} is in the configuration");
        self.write("msrpd.toml", &text.replacen(old, new, 1));
    }

    /// A new certificate and key for the relay, after `change` has spoilt what it likes.
    pub fn certify(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) {
        let (certificate, key) = self.leaf(names, change);
        self.write("relay.pem", &certificate);
        self.write("relay.key", &key);
    }

    pub fn leaf(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let leaf = params.signed_by(&key, &self.authority).expect("a leaf");
        (leaf.pem(), key.serialize_pem())
    }

    pub fn msrpd(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_msrpd"));
        command.args(arguments).current_dir(self.folder.path());
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn output(&self, arguments: &[&str]) -> Output {
        self.msrpd(arguments).output().expect("msrpd runs")
    }

    /// Runs `msrpd check`; its exit code and what it said.
    pub fn check(&self) -> (Option<i32>, String) {
        said(&self.output(&["check", "--config", "msrpd.toml"]))
    }

    /// Starts the relay and waits until it is ready.
    pub fn run(&self) -> Running {
        Running::start(
            self.msrpd(&["run", "--config", "msrpd.toml"]),
            self.path("log"),
        )
    }
}

pub fn said(output: &Output) -> (Option<i32>, String) {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// A relay that runs; killed when this is dropped.
pub struct Running {
    child: Child,
    log: PathBuf,
    /// As the ready line says: those of `[[listen]]`, then that of `[admin]`.
    pub addresses: Vec<SocketAddr>,
}

impl Running {
    pub fn start(mut command: Command, log: PathBuf) -> Self {
        let file = fs::File::create(&log).expect("a file for the log");
        let child = command.stderr(file).spawn().expect("msrpd runs");
        let mut running = Running {
            child,
            log,
            addresses: Vec::new(),
        };
        let line = running.log_line("ready");
        running.addresses = line
            .split(|character: char| !(character.is_ascii_digit() || ".:".contains(character)))
            .filter_map(|word| word.parse().ok())
            .collect();
        running
    }

    /// The line of the log with these words, as soon as it is there.
    pub fn log_line(&mut self, words: &str) -> String {
        let begun = Instant::now();
        loop {
            let log = self.log();
            if let Some(line) = log.lines().find(|line| line.contains(words)) {
                return line.to_owned();
            }
            if let Some(status) = self.child.try_wait().expect("a child") {
                panic!("ended with {status} before it said {words}:\n{log}");
            }
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "no {words} in:\n{log}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).expect("the log")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a pid");
        kill_process(pid, signal).expect("a signal is sent");
    }

    pub fn ended(&mut self, within: Duration) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(begun.elapsed() < within, "still running:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn admin(&self) -> SocketAddr {
        *self.addresses.last().expect("an admin address")
    }

    pub fn get(&self, page: &str) -> String {
        let mut stream = TcpStream::connect(self.admin()).expect("the admin port");
        let request = format!("GET {page} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether the file is there, and only its owner may read it.
pub fn is_private(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o777 == 0o600)
}
