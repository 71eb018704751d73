//! What systemd hears, wants and hands over, played by the test itself.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::place::{Place, Running, said};

/// The socket that systemd would listen on.
struct Ear(UnixDatagram);

impl Ear {
    fn at(place: &Place) -> Self {
        Self::of(UnixDatagram::bind(place.path("notify")).expect("a socket"))
    }

    fn of(socket: UnixDatagram) -> Self {
        let brief = Duration::from_millis(50);
        socket.set_read_timeout(Some(brief)).expect("a timeout");
        Self(socket)
    }

    fn next(&self) -> Option<String> {
        let mut octets = [0; 4096];
        let length = self.0.recv(&mut octets).ok()?;
        Some(String::from_utf8(octets[..length].to_vec()).expect("text"))
    }

    /// The first message from now on that has this line.
    #[track_caller]
    fn hears(&self, line: &str) -> String {
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            if let Some(said) = self.next()
                && said.lines().any(|said| said == line)
            {
                return said;
            }
        }
        panic!("{line} was not said");
    }

    /// How often this line is said in a time.
    fn counts(&self, line: &str, within: Duration) -> usize {
        let until = Instant::now() + within;
        let mut count = 0;
        while Instant::now() < until {
            let said = self.next().unwrap_or_default();
            count += said.lines().filter(|said| *said == line).count();
        }
        count
    }
}

fn run_with(place: &Place, variables: &[(&str, &str)]) -> Running {
    let mut command = place.msrpd(&["run", "--config", "msrpd.toml"]);
    command.envs(variables.iter().copied());
    Running::start(command, place.path("log"))
}

#[test]
fn readiness_reloads_and_the_end_are_told() {
    let place = Place::new();
    let ear = Ear::at(&place);
    let mut running = run_with(&place, &[("NOTIFY_SOCKET", "notify")]);
    assert!(ear.hears("READY=1").contains("STATUS=Serving"));
    running.signal(Signal::HUP);
    let reloading = ear.hears("RELOADING=1");
    let since = reloading
        .lines()
        .find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    assert!(since.is_some_and(|since| since.parse::<u64>().is_ok_and(|since| since > 0)));
    ear.hears("READY=1");
    place.change("drain_timeout", "drain_timeuot");
    running.signal(Signal::HUP);
    ear.hears("RELOADING=1");
    assert!(ear.hears("READY=1").contains("found errors"));
    running.signal(Signal::TERM);
    let stopping = ear.hears("STOPPING=1");
    // drain_timeout and what comes after it.
    assert!(
        stopping.contains("EXTEND_TIMEOUT_USEC=5000000"),
        "{stopping}"
    );
    assert!(stopping.contains("STATUS=Draining"), "{stopping}");
    assert_eq!(running.ended(Duration::from_secs(5)).code(), Some(0));
}

#[test]
fn an_abstract_socket_hears_too_and_a_failed_start_is_told() {
    let place = Place::new();
    let name = format!("msrpd-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("an address");
    let ear = Ear::of(UnixDatagram::bind_addr(&address).expect("a socket"));
    let name = format!("@{name}");
    let running = run_with(&place, &[("NOTIFY_SOCKET", &name)]);
    ear.hears("READY=1");
    drop(running);
    place.change("workers = 2", "workers = 2000");
    let mut command = place.msrpd(&["run", "--config", "msrpd.toml"]);
    let output = command.env("NOTIFY_SOCKET", &name).output();
    assert_eq!(said(&output.expect("msrpd runs")).0, Some(1));
    ear.hears("STATUS=Not started: relay.workers: 2000 is out of range");
}

#[test]
fn the_watchdog_is_fed_while_every_shard_answers() {
    let place = Place::new();
    let ear = Ear::at(&place);
    let variables = [("NOTIFY_SOCKET", "notify"), ("WATCHDOG_USEC", "2000000")];
    let mut running = run_with(&place, &variables);
    ear.hears("READY=1");
    // Idle shards sleep, and answer all the same.
    assert!(ear.counts("WATCHDOG=1", Duration::from_secs(3)) >= 3);
    let stopped = Stopped::thread(running.pid(), "shard-1");
    running.log_line("does not answer");
    while ear.next().is_some() {}
    assert_eq!(ear.counts("WATCHDOG=1", Duration::from_millis(2500)), 0);
    drop(stopped);
    ear.hears("WATCHDOG=1");
    running.signal(Signal::TERM);
    assert_eq!(running.ended(Duration::from_secs(5)).code(), Some(0));
}

#[test]
fn a_watchdog_of_another_process_is_not_fed() {
    let place = Place::new();
    let ear = Ear::at(&place);
    let variables = [
        ("NOTIFY_SOCKET", "notify"),
        ("WATCHDOG_USEC", "400000"),
        ("WATCHDOG_PID", "1"),
    ];
    let _running = run_with(&place, &variables);
    ear.hears("READY=1");
    assert_eq!(ear.counts("WATCHDOG=1", Duration::from_secs(1)), 0);
}

/// A thread of another process that a debugger, this test, has stopped; it goes on when this is dropped. Only the thread
/// that stopped it can let it go.
struct Stopped(libc::pid_t);

impl Stopped {
    fn thread(pid: u32, name: &str) -> Self {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("threads");
        let task = tasks.flatten().map(|task| task.path()).find(|task| {
            let comm = std::fs::read_to_string(task.join("comm"));
            comm.is_ok_and(|comm| comm.trim() == name)
        });
        let task = task.expect("a thread of that name");
        let id = task.file_name().and_then(|id| id.to_str()?.parse().ok());
        let id: libc::pid_t = id.expect("a number");
        let none = std::ptr::null_mut::<libc::c_void>;
        // SAFETY: these calls take numbers only; nothing of ours is read or written but the status.
        unsafe {
            let seized = libc::ptrace(libc::PTRACE_SEIZE, id, none(), none());
            assert_eq!(seized, 0, "{}", std::io::Error::last_os_error());
            assert_eq!(libc::ptrace(libc::PTRACE_INTERRUPT, id, none(), none()), 0);
            let mut status = 0;
            assert_eq!(libc::waitpid(id, &raw mut status, libc::__WALL), id);
        }
        Self(id)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let none = std::ptr::null_mut::<libc::c_void>;
        // SAFETY: as above.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, self.0, none(), none()) };
    }
}

/// Runs with these sockets handed over, as systemd does.
fn handed(place: &Place, sockets: &[&TcpListener]) -> Command {
    let mut command = Command::new("sh");
    // The sockets come as stdin and stdout, the only ones that a child gets by itself.
    let count = sockets.len();
    let script = format!(
        "exec 3<&0 4<&1 0</dev/null 1>&2; export LISTEN_PID=$$ LISTEN_FDS={count}; exec {} run --config msrpd.toml",
        env!("CARGO_BIN_EXE_msrpd")
    );
    command.args(["-c", &script]).current_dir(place.path(""));
    let mut sockets = sockets
        .iter()
        .map(|socket| socket.try_clone().expect("a copy"));
    let as_stdio = |socket: TcpListener| Stdio::from(std::os::fd::OwnedFd::from(socket));
    command.stdin(sockets.next().map_or(Stdio::null(), as_stdio));
    command.stdout(sockets.next().map_or(Stdio::null(), as_stdio));
    command
}

#[test]
fn sockets_that_are_handed_over_are_used_and_stay_open() {
    let place = Place::new();
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = tcp.local_addr().expect("an address");
    let admin = TcpListener::bind("127.0.0.1:0").expect("a port");
    let admin_address = admin.local_addr().expect("an address").to_string();
    place.change(
        "\"127.0.0.1:0\"\ntransport = \"tcp\"",
        &format!("\"{address}\"\ntransport = \"tcp\""),
    );
    place.change(
        "[admin]\naddress = \"127.0.0.1:0\"",
        &format!("[admin]\naddress = \"{admin_address}\""),
    );
    // Who connects before the start waits.
    let mut early = TcpStream::connect(address).expect("it listens");
    let mut running = Running::start(handed(&place, &[&tcp, &admin]), place.path("log"));
    assert_eq!(running.addresses[1], address);
    assert!(running.get("/readyz").starts_with("HTTP/1.1 200"));
    let mut others: Vec<TcpStream> = (0..7)
        .map(|_| TcpStream::connect(address).expect("it listens"))
        .collect();
    for stream in others.iter_mut().chain([&mut early]) {
        answers(stream);
    }
    // One socket, and yet both shards have connections.
    let begun = Instant::now();
    loop {
        let metrics = running.get("/metrics");
        let connections = ["0", "1"].map(|shard| {
            let series = format!("msrpd_shard_connections{{shard=\"{shard}\"}} ");
            let value = metrics.lines().find_map(|line| line.strip_prefix(&series));
            value.map_or(0, |value| value.parse::<u32>().expect("a number"))
        });
        if connections.iter().sum::<u32>() == 8 && !connections.contains(&0) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{metrics}");
    }
    running.signal(Signal::TERM);
    assert_eq!(running.ended(Duration::from_secs(5)).code(), Some(0));
    // Between two runs nobody is refused, and the next one serves who waited.
    let mut between = TcpStream::connect(address).expect("systemd listens");
    let running = Running::start(handed(&place, &[&tcp, &admin]), place.path("log2"));
    answers(&mut between);
    drop(running);
}

/// A request that names no session is refused: somebody is there.
fn answers(stream: &mut TcpStream) {
    let request = "MSRP abcd1234 SEND\r\nTo-Path: msrps://relay.example.com:PORT/nobody;tcp msrp://a.example.com:1/x;tcp\r\n\
        From-Path: msrp://b.example.com:1/y;tcp\r\nMessage-ID: 12345\r\nByte-Range: 1-0/0\r\n-------abcd1234$\r\n";
    let port = stream.peer_addr().expect("a port").port().to_string();
    let request = request.replace("PORT", &port);
    stream.write_all(request.as_bytes()).expect("sent");
    let patience = Some(Duration::from_secs(10));
    stream.set_read_timeout(patience).expect("a timeout");
    let mut octets = [0; 13];
    stream.read_exact(&mut octets).expect("an answer");
    assert_eq!(&octets, b"MSRP abcd1234");
}

#[test]
fn a_socket_that_nobody_asked_for_ends_start_up() {
    let place = Place::new();
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = other.local_addr().expect("an address");
    let output = handed(&place, &[&other]).output().expect("msrpd runs");
    let (code, text) = said(&output);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains(&format!("systemd handed over a socket for {address}"))
            && text.contains("add a [[listen]]"),
        "{text}"
    );
}

/// `systemd-analyze`, on the unit as it is packaged but for the path of the binary, which has to be there.
fn analyze(arguments: &[&str]) -> Option<(Option<i32>, String)> {
    let place = Place::new();
    let deploy = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd");
    for name in ["msrpd.service", "msrpd.socket"] {
        let unit = std::fs::read_to_string(deploy.join(name)).expect("the unit");
        place.write(
            name,
            &unit.replace("/usr/bin/msrpd", env!("CARGO_BIN_EXE_msrpd")),
        );
    }
    let mut command = Command::new("systemd-analyze");
    command
        .args(arguments)
        .arg("msrpd.service")
        .arg("msrpd.socket");
    if arguments.contains(&"security") {
        command = Command::new("systemd-analyze");
        command.args(arguments).arg("msrpd.service");
    }
    match command.current_dir(place.path("")).output() {
        Ok(output) => Some(said(&output)),
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
            println!("systemd-analyze is not installed: the unit is not analyzed");
            None
        }
    }
}

#[test]
fn the_units_are_well_formed_and_hardened() {
    if let Some((code, text)) = analyze(&["verify", "--man=no"]) {
        assert_eq!((code, text.trim()), (Some(0), ""), "{text}");
    }
    // In tenths: at most 2.0.
    if let Some((code, text)) = analyze(&["security", "--offline=yes", "--threshold=20"]) {
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("Overall exposure level"), "{text}");
    }
}
