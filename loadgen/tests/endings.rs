//! How runs end and what they give away: signals, pipes, files, passwords, relays that do not answer or that restart.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod fake_relay;
#[allow(dead_code, reason = "each test program uses a part of it")]
mod program;

use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use fake_relay::{FakeRelay, Fault, HOST};
use program::{World, bare, signal};
use rustix::process::Signal;

const LONG: &[&str] = &[
    "--rate",
    "100",
    "--pairs",
    "2",
    "--warmup",
    "0s",
    "--duration",
    "60s",
    "--quiet",
];

#[test]
fn the_first_signal_ends_the_measured_stretch_and_everything_is_written() {
    for (first, name) in [(Signal::INT, "Ctrl-C"), (Signal::TERM, "SIGTERM")] {
        let world = World::new(Fault::None);
        let child = world.start(&[LONG, &["--report", "run.html", "--hdr", "run.hdr"]].concat());
        std::thread::sleep(Duration::from_millis(2_500));
        signal(&child, first);
        let run = world.end(child);
        assert_eq!(run.code, 0, "{name}: {}", run.stderr);
        let seconds = run.number("/measured/seconds");
        assert!((0.5..30.0).contains(&seconds), "{name}: {seconds}");
        assert!(
            run.text("/ended_early").contains("signal"),
            "{}",
            run.result
        );
        // What was under way was waited for, and all is accounted for.
        assert_eq!(run.number("/counts/delivered"), run.number("/counts/sent"));
        assert!(run.number("/measured/due") <= 100.0 * seconds + 2.0);
        assert!(run.stdout.contains("ended by a signal"), "{}", run.stdout);
        assert!(world.path("run.html").exists() && world.path("run.hdr").exists());
    }
}

#[test]
fn a_second_signal_quits() {
    // It stands still, so that the run would wait for what is under way.
    let world = World::new(Fault::StandStill(
        Duration::from_millis(200),
        Duration::from_secs(3600),
    ));
    let child = world.start(&[LONG, &["--patience", "120s"]].concat());
    std::thread::sleep(Duration::from_millis(2_500));
    signal(&child, Signal::INT);
    std::thread::sleep(Duration::from_millis(1_000));
    let asked = Instant::now();
    signal(&child, Signal::INT);
    let run = world.end(child);
    assert_eq!(run.code, 130, "{}", run.stderr);
    assert!(asked.elapsed() < Duration::from_secs(20));
    assert!(!world.path("result.json").exists(), "an empty result");
}

#[test]
fn a_file_that_cannot_be_written_costs_no_run() {
    let world = World::new(Fault::None);
    for option in ["--hdr", "--report", "--trace"] {
        let run = world.run(&[LONG, &[option, "no/such/folder/file"]].concat());
        assert_eq!(run.code, 2, "{option}: {}", run.stderr);
        assert!(run.stderr.contains(option), "{}", run.stderr);
    }
    assert_eq!(world.relay.auths(), 0, "it had begun");
}

/// Arguments and variables by which a user is named.
type Way = (
    &'static [&'static str],
    &'static [(&'static str, &'static str)],
);

#[test]
fn passwords_are_nowhere_but_in_the_argument() {
    let world = World::new(Fault::None);
    let short = [
        "--duration",
        "200ms",
        "--warmup",
        "0s",
        "--pairs",
        "2",
        "--report",
        "run.html",
        "--trace",
        "t.ndjson",
    ];
    let run = world.run(&short);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(
        run.text("/command").contains("alice:***"),
        "{}",
        run.text("/command")
    );
    for file in ["result.json", "run.html", "t.ndjson"] {
        let text = std::fs::read_to_string(world.path(file)).unwrap();
        assert!(!text.contains("wonderland"), "{file}");
    }
    assert!(!(run.stdout + &run.stderr).contains("wonderland"));

    // Three ways that keep it out of the list of processes.
    std::fs::write(world.path("users"), "# who\nalice:wonderland\n").unwrap();
    std::fs::write(world.path("password"), "wonderland\n").unwrap();
    let chat = [&["chat"], &short[..6]].concat();
    let ways: [Way; 5] = [
        (&["--user-file", "users"], &[]),
        (&["--users-file", "users"], &[]),
        (&["--user", "alice", "--password-file", "password"], &[]),
        (&["--user", "alice"], &[("MSRPLOAD_PASSWORD", "wonderland")]),
        (&[], &[("MSRPLOAD_USER", "alice:wonderland")]),
    ];
    for (arguments, environment) in ways {
        let mut command = world.command(&chat);
        let output = command
            .args(arguments)
            .envs(environment.iter().copied())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let output = world
        .command(&chat)
        .args(["--user", "alice"])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(2) && error.contains("--password-file"),
        "{error}"
    );
}

#[test]
fn whoever_reads_may_stop_reading() {
    let world = World::new(Fault::None);
    let mut command = world.chat(&[
        "--duration",
        "300ms",
        "--warmup",
        "0s",
        "--pairs",
        "2",
        "--quiet",
    ]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let run = world.end(child);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
}

#[test]
fn a_connection_that_does_not_come_about_is_given_up_with_words() {
    // It accepts, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    FakeRelay::start(&ca, Fault::None);
    let asked = Instant::now();
    let output = bare(folder.path())
        .args([
            "chat",
            "--address",
            &address,
            "--host",
            HOST,
            "--ca",
            "ca.pem",
        ])
        .args([
            "--user",
            "a:b",
            "--connect-timeout",
            "500ms",
            "--pairs",
            "1",
        ])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(
        error.contains("TLS is not established after 0.5 s") && error.contains("--connect-timeout"),
        "{error}"
    );
    assert!(asked.elapsed() < Duration::from_secs(20));
}

#[test]
fn an_address_of_version_6_needs_no_host() {
    let folder = tempfile::tempdir().unwrap();
    let relay =
        FakeRelay::start_at(&folder.path().join("ca.pem"), "::1").expect("this machine has ::1");
    let output = bare(folder.path())
        .args([
            "chat",
            "--address",
            &relay.address.to_string(),
            "--ca",
            "ca.pem",
            "--user",
            "alice:wonderland",
        ])
        .args(["--duration", "200ms", "--warmup", "0s", "--pairs", "2"])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn options_that_a_workload_ignores_are_refused() {
    let world = World::new(Fault::None);
    let output = world
        .command(&["idle", "--rate", "100", "--user", "alice:wonderland"])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(2) && error.contains("--rate") && error.contains("idle"),
        "{error}"
    );
    assert_eq!(world.relay.auths(), 0);
}

#[test]
fn a_relay_that_dies_and_returns_is_reconnected_to() {
    let world = World::new(Fault::None);
    let load = [
        "--rate",
        "200",
        "--pairs",
        "3",
        "--warmup",
        "0s",
        "--duration",
        "6s",
        "--quiet",
    ];
    let child = world.start(
        &[
            &load[..],
            &["--reconnect", "--patience", "2s", "--sender", "both"],
        ]
        .concat(),
    );
    std::thread::sleep(Duration::from_millis(2_500));
    let before = world.relay.auths();
    world.relay.die();
    std::thread::sleep(Duration::from_secs(1));
    world.relay.rise();
    let run = world.end(child);
    // Nothing but what was under way is gone, and that is no failure of the run.
    assert_eq!(run.code, 0, "{}\n{}", run.stdout, run.stderr);
    assert_eq!(
        run.number("/reconnect/sessions_broken"),
        3.0,
        "{}",
        run.stdout
    );
    assert_eq!(run.number("/reconnect/sessions_back"), 3.0);
    assert_eq!(run.number("/reconnect/connections_lost"), 6.0);
    assert_eq!(
        run.number("/reconnect/auths"),
        (world.relay.auths() - before) as f64
    );
    assert_eq!(run.number("/counts/lost"), run.number("/reconnect/lost"));
    let recovery = run.number("/reconnect/recovery_us/p50");
    assert!((900_000.0..4_000_000.0).contains(&recovery), "{recovery}");
    // What was due in the outage was sent when it was over, and waited for that long.
    assert_eq!(run.number("/measured/due"), 1_200.0);
    assert_eq!(run.number("/measured/sent"), 1_200.0);
    assert!(run.number("/measured/delivery_us/max") > 900_000.0);
    assert!(run.stdout.contains("sessions back"), "{}", run.stdout);
}

#[test]
fn notices_are_grouped_and_readable() {
    let world = World::new(Fault::Refuse(5));
    let run = world.run(&[
        "--rate",
        "100",
        "--pairs",
        "2",
        "--warmup",
        "0s",
        "--duration",
        "300ms",
        "--quiet",
    ]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let notices = run.result.pointer("/notices").unwrap().as_array().unwrap();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert_eq!(
        (notices[0]["kind"].as_str(), notices[0]["code"].as_u64()),
        (Some("refused"), Some(481))
    );
    assert_eq!(notices[0]["count"].as_u64(), Some(1));
    assert!(notices[0]["session"].is_u64());
    let row = run
        .stdout
        .lines()
        .find(|line| line.contains("notice"))
        .unwrap();
    assert!(
        row.contains("1 chunks answered with an error: 481"),
        "{row}"
    );
    for debug in ["Some(", "None", "{ ", "\\r\\n"] {
        assert!(!row.contains(debug), "{row}");
    }
}

#[test]
fn an_auth_that_nobody_answers_is_given_up_with_words() {
    // TLS works, and that is all.
    let world = World::new(Fault::Mute);
    let began = std::time::Instant::now();
    let run = world.run(&["--auth-timeout", "400ms", "--duration", "1s", "--quiet"]);
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(
        run.stderr
            .contains("AUTH for `relay.test` is not answered after 0.4 s"),
        "{}",
        run.stderr
    );
    // Not the minute that setting up may take.
    assert!(began.elapsed() < std::time::Duration::from_secs(30));
}
