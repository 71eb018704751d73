//! A PostgreSQL server of the test's own, from the programs that are installed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::pki::Identity;
use crate::support::relay::free_port;

/// Absent where PostgreSQL is not installed; CI has it.
pub fn is_there() -> bool {
    let there = programs().is_some();
    assert!(
        there || std::env::var_os("CI").is_none(),
        "no PostgreSQL below /usr/lib/postgresql: install the package postgresql"
    );
    if !there {
        eprintln!("skipped: no PostgreSQL is installed");
    }
    there
}

fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut folders: Vec<PathBuf> = versions
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|folder| folder.join("initdb").exists())
        .collect();
    folders.sort();
    folders.pop()
}

pub struct Server {
    folder: tempfile::TempDir,
    port: u16,
    process: Option<Child>,
}

/// It does not run as root: as the package's user then.
fn as_its_user(command: &mut Command) -> &mut Command {
    if let Some((user, group)) = its_user() {
        command.uid(user).gid(group);
    }
    command
}

fn its_user() -> Option<(u32, u32)> {
    if !rustix::process::getuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("the users of this machine");
    let line = users.lines().find(|line| line.starts_with("postgres:"));
    let mut fields = line.expect("the user postgres").split(':').skip(2);
    let mut number = || fields.next()?.parse().ok();
    Some((number()?, number()?))
}

impl Server {
    /// Empty, with a database `kamailio` that `msrpd` may read by a password.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("msrpd-postgres-")
            .tempdir()
            .expect("a temporary folder");
        if let Some((user, group)) = its_user() {
            chown(folder.path(), Some(user), Some(group)).expect("its folder");
        }
        let mut server = Self {
            folder,
            port: free_port(),
            process: None,
        };
        let made = server
            .program("initdb")
            .args([
                "-U",
                "postgres",
                "-A",
                "trust",
                "--locale=C",
                "-E",
                "UTF8",
                "--no-sync",
                "-D",
            ])
            .arg(server.data())
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "{made:?}");
        // From the network by password only.
        let rules = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
        fs::write(server.data().join("pg_hba.conf"), rules).expect("its rules");
        server.run(&[]);
        server.query("postgres", "CREATE DATABASE kamailio");
        server.query("postgres", "CREATE ROLE msrpd LOGIN PASSWORD 's3cret'");
        server
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn program(&self, name: &str) -> Command {
        let program = programs().expect("looked for before").join(name);
        let mut command = Command::new(program);
        as_its_user(&mut command).current_dir(self.folder.path());
        command
    }

    /// With TLS where it has a certificate.
    pub fn run(&mut self, more: &[&str]) {
        let log = fs::File::create(self.folder.path().join("log")).expect("its log");
        let mut command = self.program("postgres");
        command
            .arg("-D")
            .arg(self.data())
            .arg("-k")
            .arg(self.folder.path())
            .args(["-p", &self.port.to_string(), "-c", "fsync=off"])
            .args([
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "max_connections=20",
            ])
            .args(more)
            .stdout(Stdio::null())
            .stderr(log);
        self.process = Some(command.spawn().expect("postgres runs"));
        let until = Instant::now() + Duration::from_secs(30);
        while !self.try_query("postgres", "SELECT 1") {
            assert!(Instant::now() < until, "{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            self.signal(libc::SIGCONT);
            // Fast shutdown: nobody is waited for.
            kill(process.id(), libc::SIGINT);
            process.wait().expect("it ends");
        }
    }

    /// To the server and each of its connections.
    pub fn signal(&self, signal: i32) {
        let Some(process) = &self.process else {
            return;
        };
        let parent = process.id();
        for child in children(parent) {
            kill(child, signal);
        }
        kill(parent, signal);
    }

    pub fn query(&self, database: &str, query: &str) {
        assert!(self.try_query(database, query), "{query}: {}", self.log());
    }

    fn try_query(&self, database: &str, query: &str) -> bool {
        let asked = self
            .program("psql")
            .args([
                "-q",
                "-U",
                "postgres",
                "-v",
                "ON_ERROR_STOP=1",
                "-d",
                database,
            ])
            .args(["-p", &self.port.to_string(), "-c", query, "-h"])
            .arg(self.folder.path())
            .output()
            .expect("psql runs");
        asked.status.success()
    }

    pub fn url(&self) -> String {
        format!("postgresql://msrpd:s3cret@127.0.0.1:{}/kamailio", self.port)
    }

    /// By name, for a certificate has to hold it.
    pub fn url_of_localhost(&self) -> String {
        format!(
            "host=localhost hostaddr=127.0.0.1 port={} user=msrpd password=s3cret dbname=kamailio \
             sslmode=require",
            self.port
        )
    }

    pub fn url_of_socket(&self) -> String {
        format!(
            "host={} port={} user=msrpd dbname=kamailio",
            self.folder.path().display(),
            self.port
        )
    }

    /// Its certificate and key, where the server finds them.
    pub fn certificate(&self, identity: &Identity) {
        for (name, text) in [
            ("server.crt", &identity.chain_pem),
            ("server.key", &identity.key_pem),
        ] {
            let path = self.data().join(name);
            fs::write(&path, text).expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
            if let Some((user, group)) = its_user() {
                chown(&path, Some(user), Some(group)).expect("its owner");
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn kill(pid: u32, signal: i32) {
    let pid = rustix::process::Pid::from_raw(pid as i32).expect("a process");
    let signal = match signal {
        libc::SIGSTOP => rustix::process::Signal::STOP,
        libc::SIGCONT => rustix::process::Signal::CONT,
        _ => rustix::process::Signal::INT,
    };
    let _ = rustix::process::kill_process(pid, signal);
}

fn children(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("/proc");
    let of_parent = |path: &Path| {
        let stat = fs::read_to_string(path.join("stat")).ok()?;
        let (_, fields) = stat.rsplit_once(')')?;
        let its_parent: u32 = fields.split_whitespace().nth(1)?.parse().ok()?;
        (its_parent == parent).then_some(())?;
        path.file_name()?.to_str()?.parse().ok()
    };
    processes
        .filter_map(|entry| of_parent(&entry.ok()?.path()))
        .collect()
}
