//! The clients of `examples/`, through a relay that `msrpd dev` runs and against each other.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::place::{Place, Running};

/// A relay for one test, made by `msrpd dev` on ports of its own.
struct Dev {
    place: Place,
    _running: Running,
}

impl Dev {
    fn start() -> Self {
        Self::with("")
    }

    /// With more lines in `[auth]`.
    fn with(auth: &str) -> Self {
        let place = Place::new();
        std::fs::create_dir(place.path("dev")).expect("a folder");
        let config = r#"[relay]
hosts = ["relay.localhost", "localhost"]
workers = 2
[[listen]]
address = "127.0.0.1:0"
[tls]
certificate = "relay.pem"
key = "relay.key"
peer_ca = "ca.pem"
[auth]
realm = "relay.localhost"
htdigest = "users.htdigest"
algorithms = ["SHA-256", "MD5"]
AUTH
[dial]
allow = ["127.0.0.0/8"]
[admin]
address = "127.0.0.1:0"
[log]
format = "text"
"#;
        place.write("dev/msrpd.toml", &config.replace("AUTH", auth));
        let mut command = place.msrpd(&["dev", "--dir", "dev"]);
        command.stdout(Stdio::null());
        let running = Running::start(command, place.path("log"));
        // Clients take the address from here.
        let dev = place.read("dev/dev.toml");
        let address = running.addresses[0].to_string();
        place.write("dev/dev.toml", &dev.replace("127.0.0.1:2855", &address));
        Dev {
            place,
            _running: running,
        }
    }

    fn folder(&self) -> PathBuf {
        self.place.path("dev")
    }

    fn python(&self, arguments: &[&str]) -> Client {
        let mut command = Command::new("python3");
        command.arg(repository().join("examples/client.py"));
        Client::start(command.args(arguments))
    }

    fn python_user(&self, user: &str, expected: &str) -> Client {
        let folder = self.folder().display().to_string();
        self.python(&["--dev", &folder, "--user", user, "--expect", expected])
    }

    fn rust_user(&self, user: &str, expected: &str) -> Client {
        let mut command = Command::new(rust_client());
        Client::start(command.arg(self.folder()).args([user, expected]))
    }
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `cargo test` makes examples too; `cargo test --test operator` does not.
fn rust_client() -> PathBuf {
    static MADE: Mutex<()> = Mutex::new(());
    let _one = MADE.lock();
    let profile = Path::new(env!("CARGO_BIN_EXE_msrpd")).parent();
    let client = profile.expect("a folder").join("examples/client");
    let changed = |file: &Path| std::fs::metadata(file).and_then(|file| file.modified());
    let source = changed(&repository().join("examples/client.rs")).expect("the source");
    if changed(&client).is_ok_and(|made| made >= source) {
        return client;
    }
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut build = Command::new(cargo);
    build.args(["build", "--locked", "--quiet", "--example", "client"]);
    let status = build.current_dir(repository()).status().expect("cargo");
    assert!(status.success(), "cargo build --example client: {status}");
    repository().join("target/debug/examples/client")
}

/// A client that runs, with its input and what it printed.
struct Client {
    child: Child,
    input: Option<ChildStdin>,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Client {
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the client runs");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let streams: [Box<dyn std::io::Read + Send>; 2] = [
            Box::new(child.stdout.take().expect("stdout")),
            Box::new(child.stderr.take().expect("stderr")),
        ];
        for stream in streams {
            let lines = lines.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    lines.lock().expect("no panic").push(line);
                }
            });
        }
        let input = child.stdin.take();
        Client {
            child,
            input,
            lines,
        }
    }

    fn say(&mut self, line: &str) {
        let input = self.input.as_mut().expect("the input is open");
        writeln!(input, "{line}").expect("the client reads");
    }

    /// What follows this word on the first line that begins with it.
    fn printed(&self, word: &str) -> String {
        let begun = Instant::now();
        loop {
            let lines = self.lines.lock().expect("no panic").clone();
            let mut rest = lines.iter().filter_map(|line| line.strip_prefix(word));
            if let Some(rest) = rest.next() {
                return rest.trim().to_owned();
            }
            let waited = begun.elapsed() > Duration::from_secs(40);
            assert!(!waited, "no {word} in {lines:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends its input; its exit code.
    fn end(&mut self) -> Option<i32> {
        self.input = None;
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            let lines = self.lines.lock().expect("no panic").clone();
            let waited = begun.elapsed() > Duration::from_secs(40);
            assert!(!waited, "still running: {lines:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first opens the session (RFC 4975 §5.4), and each gets what the other said.
fn talk(mut active: Client, mut passive: Client) {
    let (ours, theirs) = (active.printed("path "), passive.printed("path "));
    active.say(&format!("/to {theirs}"));
    active.say("Hello, Bob");
    assert_eq!(passive.printed("received "), "Hello, Bob");
    passive.say(&format!("/to {ours}"));
    passive.say("Grüß dich, Alice");
    assert_eq!(active.printed("received "), "Grüß dich, Alice");
    for client in [&active, &passive] {
        client.printed("delivered ");
    }
    assert_eq!((active.end(), passive.end()), (Some(0), Some(0)));
}

#[test]
fn client_py_talks_to_client_py() {
    let dev = Dev::start();
    talk(dev.python_user("alice", "1"), dev.python_user("bob", "1"));
}

#[test]
fn client_rs_talks_to_client_rs() {
    let dev = Dev::start();
    talk(dev.rust_user("alice", "1"), dev.rust_user("bob", "1"));
}

#[test]
fn client_py_talks_to_client_rs() {
    let dev = Dev::start();
    talk(dev.python_user("alice", "1"), dev.rust_user("bob", "1"));
}

#[test]
fn client_py_without_a_relay_talks_to_one_behind_it() {
    let dev = Dev::start();
    let ca = dev.folder().join("ca.pem").display().to_string();
    let peer = dev.python(&["--peer", "--ca", &ca, "--expect", "1"]);
    talk(peer, dev.python_user("alice", "1"));
    let peer = dev.python(&["--peer", "--ca", &ca, "--expect", "1"]);
    talk(peer, dev.rust_user("bob", "1"));
}

#[test]
fn a_long_line_of_client_py_goes_in_chunks_and_arrives_as_one_message() {
    let dev = Dev::start();
    for mut receiver in [dev.python_user("bob", "1"), dev.rust_user("bob", "1")] {
        let mut sender = dev.python_user("alice", "0");
        sender.printed("path ");
        sender.say(&format!("/to {}", receiver.printed("path ")));
        let text = "0123456789".repeat(900);
        sender.say(&text);
        assert_eq!(receiver.printed("received "), text);
        assert_eq!((sender.end(), receiver.end()), (Some(0), Some(0)));
    }
}

/// UPT-13: the same URI for longer, so nobody has to be told.
#[test]
fn client_py_has_its_uri_prolonged_before_it_ends() {
    let dev = Dev::with("expires_min = 1\nexpires_default = 2");
    let (active, passive) = (dev.python_user("alice", "1"), dev.python_user("bob", "1"));
    for client in [&active, &passive] {
        client.printed("path ");
    }
    std::thread::sleep(Duration::from_secs(5));
    talk(active, passive);
}

/// RFC 4976 §6.4.1: the relay answered for a message that then could not be delivered.
#[test]
fn what_is_not_delivered_ends_a_client_with_1() {
    let dev = Dev::start();
    let gone = {
        let client = dev.rust_user("bob", "0");
        client.printed("path ")
    };
    let unreachable = "msrps://localhost:1/x;tcp";
    for (path, code) in [(&*gone, "481"), (unreachable, "408")] {
        for mut client in [dev.python_user("alice", "0"), dev.rust_user("alice", "0")] {
            client.printed("path ");
            client.say(&format!("/to {path}"));
            client.say("Anybody?");
            let failed = client.printed("failed ");
            let (_, status) = failed.split_once(' ').expect("a Message-ID and a status");
            assert!(status.starts_with(code), "{failed}");
            assert_eq!(client.end(), Some(1));
        }
    }
}

#[test]
fn a_wrong_password_ends_a_client_with_1_and_says_so() {
    let dev = Dev::start();
    let users = dev.place.read("dev/dev.toml");
    let users = users.replace("password = \"", "password = \"not-");
    dev.place.write("dev/dev.toml", &users);
    for mut client in [dev.python_user("alice", "0"), dev.rust_user("alice", "0")] {
        assert_eq!(client.end(), Some(1));
        let lines = client.lines.lock().expect("no panic").join("\n");
        assert!(lines.contains("AUTH: 401 Unauthorized"), "{lines}");
    }
}
