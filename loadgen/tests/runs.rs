//! The whole program against a fake relay: good runs of every shape, and every planted fault is
//! found and sets the exit code.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod fake_relay;

use std::process::{Command, Output};

use fake_relay::{FakeRelay, Fault, HOST, HOST_B};
use serde_json::Value;

struct Run {
    code: i32,
    result: Value,
    stderr: String,
}

impl Run {
    fn number(&self, path: &str) -> u64 {
        self.result
            .pointer(path)
            .and_then(Value::as_u64)
            .unwrap_or_else(|| panic!("{path}: {}", self.result))
    }
}

fn command(relay: &FakeRelay, folder: &std::path::Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_msrpload"))
        .args(arguments)
        .args([
            "--address",
            &relay.address.to_string(),
            "--host",
            HOST,
            "--user",
            "alice:wonderland",
        ])
        .args(["--ca"])
        .arg(folder.join("ca.pem"))
        .args(["--json"])
        .arg(folder.join("result.json"))
        .output()
        .unwrap()
}

fn run(fault: Fault, arguments: &[&str]) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let relay = FakeRelay::start(&folder.path().join("ca.pem"), fault);
    let output = command(&relay, folder.path(), arguments);
    let text = std::fs::read_to_string(folder.path().join("result.json")).unwrap_or_default();
    Run {
        code: output.status.code().unwrap(),
        result: serde_json::from_str(&text).unwrap_or_default(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

const SHORT: &[&str] = &[
    "--duration",
    "500ms",
    "--warmup",
    "0s",
    "--patience",
    "500ms",
    "--pairs",
    "3",
    "--window",
    "2",
];

fn chat(fault: Fault, more: &[&str]) -> Run {
    run(fault, &[&["chat"], SHORT, more].concat())
}

fn assert_good(run: &Run) {
    assert_eq!(run.code, 0, "{}\n{}", run.stderr, run.result);
    let sent = run.number("/counts/sent");
    assert!(sent > 10, "{}", run.result);
    assert_eq!(run.number("/counts/delivered"), sent);
    assert_eq!(run.number("/counts/lost"), 0);
}

#[test]
fn every_shape_delivers_everything() {
    for sender in ["foreign", "authenticated", "both", "mix"] {
        let run = chat(Fault::None, &["--sender", sender]);
        assert_good(&run);
        assert_eq!(
            run.number("/counts/acknowledged"),
            run.number("/counts/sent"),
            "{sender}"
        );
    }
    // Plain TCP for the connections that the relay dials: the fake one knows no other.
    assert_good(&chat(
        Fault::None,
        &["--sender", "authenticated", "--receiver", "listens"],
    ));
}

#[test]
fn other_failure_reports_and_sizes_deliver_everything() {
    for report in ["no", "partial"] {
        let run = chat(
            Fault::None,
            &["--failure-report", report, "--size", "1-5000"],
        );
        assert_good(&run);
        assert_eq!(run.number("/counts/acknowledged"), 0);
    }
    assert_good(&chat(
        Fault::Recut,
        &["--size", "100-9000", "--chunk-size", "1000"],
    ));
}

#[test]
fn several_threads_share_the_pairs() {
    assert_good(&chat(Fault::None, &["--threads", "2", "--sender", "mix"]));
}

#[test]
fn open_loop_keeps_its_rate() {
    let run = run(
        Fault::None,
        &[
            "chat",
            "--duration",
            "1s",
            "--warmup",
            "200ms",
            "--pairs",
            "4",
            "--rate",
            "200",
            "--threshold",
            "rate>180,rate<220,lost=0",
        ],
    );
    assert_good(&run);
}

#[test]
fn held_answers_are_recorded() {
    let run = chat(Fault::None, &["--hold", "20ms-40ms"]);
    assert_good(&run);
    let p50 = run
        .result
        .pointer("/measured/held_us/p50")
        .and_then(Value::as_f64)
        .unwrap();
    assert!((20_000.0..45_000.0).contains(&p50), "{p50}");
}

#[test]
fn big_messages_are_cut_and_delivered() {
    let arguments = [
        "file",
        "--message-size",
        "300KiB",
        "--chunk-size",
        "64KiB",
        "--sender",
        "both",
    ];
    let run = run(Fault::None, &[&arguments, SHORT].concat());
    assert_eq!(run.code, 0, "{}", run.result);
    let sent = run.number("/counts/sent");
    assert_eq!(run.number("/counts/octets_delivered"), sent * 300 * 1024);
}

#[test]
fn slow_readers_lose_nothing() {
    let run = run(
        Fault::None,
        &[
            "chat",
            "--duration",
            "500ms",
            "--warmup",
            "0s",
            "--pairs",
            "2",
            "--window",
            "4",
            "--receiver-rate",
            "20KiB",
        ],
    );
    assert_eq!(run.code, 0, "{}", run.result);
    let octets = run.number("/measured/octets");
    assert!(octets < 2 * 20 * 1024, "{octets}");
}

#[test]
fn idle_connections_are_held() {
    let run = run(
        Fault::None,
        &[
            "idle",
            "--connections",
            "20",
            "--duration",
            "200ms",
            "--warmup",
            "0s",
            "--source-spread",
        ],
    );
    assert_eq!(run.code, 0, "{}\n{}", run.stderr, run.result);
    assert_eq!(run.number("/set_up/connections"), 20);
    assert_eq!(run.number("/set_up/auth_us/count"), 20);
}

#[test]
fn chain_logs_in_at_two_relays_and_goes_through_both() {
    let folder = tempfile::tempdir().unwrap();
    let (ca, ca_b) = (folder.path().join("ca.pem"), folder.path().join("ca-b.pem"));
    let [a, b] = FakeRelay::start_two(&ca, &ca_b);
    let address = b.address.to_string();
    let options = ["--via-address", &address, "--via-host", HOST_B];
    let options = [&options[..], &["--via-user", "bob:builder", "--via-ca"]].concat();
    let options = [&options[..], &[ca_b.to_str().unwrap()]].concat();
    let output = command(&a, folder.path(), &[&["chain"], SHORT, &options].concat());
    assert!(output.status.success(), "{output:?}");
    let text = std::fs::read_to_string(folder.path().join("result.json")).unwrap();
    let result: Value = serde_json::from_str(&text).unwrap();
    let delivered = result.pointer("/counts/delivered").and_then(Value::as_u64);
    assert!(
        delivered.is_some_and(|d| d > 10 && a.chained() >= d),
        "{text}"
    );

    // The same from the folder of `msrpd dev --two`.
    let dev = format!(
        "address = \"{}\"\nhost = \"{HOST}\"\nca = \"ca.pem\"\n\
         [[users]]\nname = \"alice\"\npassword = \"wonderland\"\n\
         [via]\naddress = \"{}\"\nhost = \"{HOST_B}\"\nrealm = \"{HOST_B}\"\nca = \"ca-b.pem\"\n\
         [[via.users]]\nname = \"bob\"\npassword = \"builder\"\n",
        a.address, b.address
    );
    std::fs::write(folder.path().join("dev.toml"), dev).unwrap();
    let before = a.chained();
    let output = Command::new(env!("CARGO_BIN_EXE_msrpload"))
        .args(["mix", "--via", "--dev"])
        .arg(folder.path())
        .args(SHORT)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(a.chained() > before + 10);
}

/// A short run beside films of 200 KiB.
fn mixed(fault: Fault, more: &[&str]) -> Run {
    let arguments = [
        "mixed",
        "--duration",
        "500ms",
        "--warmup",
        "100ms",
        "--patience",
        "700ms",
        "--pairs",
        "3",
        "--rate",
        "100",
        "--film-size",
        "200KiB",
    ];
    run(fault, &[&arguments, more].concat())
}

#[test]
fn films_beside_chats_are_accounted_for_apart() {
    // One chunk in all: on shared connections the chats have to interrupt it.
    for more in [
        &["--films", "2"][..],
        &[
            "--films",
            "2",
            "--film-on",
            "shared",
            "--chunk-size",
            "1MiB",
        ],
        &["--film-on", "shared", "--sender", "both", "--threads", "2"],
    ] {
        let run = mixed(Fault::None, more);
        assert_eq!(run.code, 0, "{more:?}: {}\n{}", run.stderr, run.result);
        let films = run.number("/films/counts/delivered");
        assert!(films > 0, "{more:?}: {}", run.result);
        assert_eq!(run.number("/films/counts/sent"), films);
        let octets = run.number("/films/counts/octets_delivered");
        assert_eq!(octets, films * 200 * 1024);
        let sent = run.number("/counts/sent");
        assert!((40..=60).contains(&sent), "{more:?}: {sent} chats");
        assert_eq!(run.number("/counts/delivered"), sent);
        assert_eq!(run.number("/counts/octets_delivered"), sent * 300);
    }
}

#[test]
fn a_throttled_film_takes_its_time_and_is_waited_for() {
    // 200 KiB at 200 KiB/s outlast the run by more than patience, but never stand still.
    let slow = ["--film-receiver-rate", "200KiB", "--film-count", "1"];
    let run = mixed(Fault::None, &[&slow[..], &["--films", "3"]].concat());
    assert_eq!(run.code, 0, "{}", run.result);
    assert_eq!(run.number("/films/counts/delivered"), 3);
    let p50 = run.result.pointer("/films/delivery_us/p50");
    assert!(p50.and_then(Value::as_f64) > Some(700_000.0), "{p50:?}");
}

#[test]
fn a_refused_film_is_not_sent_on() {
    let folder = tempfile::tempdir().unwrap();
    let relay = FakeRelay::start(&folder.path().join("ca.pem"), Fault::RefuseBig);
    let films = ["--film-size", "40MiB", "--film-count", "1"];
    let output = command(&relay, folder.path(), &[&["mixed"], SHORT, &films].concat());
    assert!(output.status.success(), "{output:?}");
    let text = std::fs::read_to_string(folder.path().join("result.json")).unwrap();
    let result: Value = serde_json::from_str(&text).unwrap();
    let count = |path| result.pointer(path).and_then(Value::as_u64);
    assert_eq!(count("/films/counts/reported"), Some(1), "{text}");
    assert_eq!(count("/films/counts/lost"), Some(0), "{text}");
    assert_eq!(count("/counts/reported"), Some(0), "{text}");
    // Chunks that were under way before the first 413 came; the film has 640.
    assert!((1..320).contains(&relay.refused()), "{}", relay.refused());
}

#[test]
fn a_receiver_that_stands_still_is_accounted_for_apart() {
    for standing in ["chat", "film"] {
        // The fake relay reports nothing, so what stands still is lost, and that is said.
        let run = mixed(Fault::None, &["--standing", standing]);
        assert_eq!(run.code, 1, "{standing}: {}", run.result);
        assert!(run.number("/standing/counts/lost") > 0, "{}", run.result);
        let sent = run.number("/counts/sent");
        assert_eq!(run.number("/counts/delivered"), sent, "{standing}");
        assert!(sent > 20);
    }
}

#[test]
fn good_traffic_goes_on_beside_bad_company() {
    let more = ["--hostile", "12"];
    let run = run(Fault::None, &[&["hostile"], SHORT, &more].concat());
    let kinds = run.result.pointer("/hostile/kinds").unwrap().clone();
    for kind in [
        "silent",
        "half_handshake",
        "noise",
        "noise_in_tls",
        "slow",
        "stranger",
    ] {
        let opened = kinds
            .pointer(&format!("/{kind}/opened"))
            .and_then(Value::as_u64);
        assert!(opened >= Some(1), "{kind}: {kinds}");
    }
    // Noise is no TLS: who sends it is thrown out, and comes again.
    assert!(run.number("/hostile/kinds/noise/ended") > 0, "{kinds}");
    let sent = run.number("/counts/sent");
    assert!(
        sent > 10 && run.number("/counts/delivered") == sent,
        "{}",
        run.result
    );
    // The fake relay reports nothing of the receiver that stands still.
    assert_eq!((run.code, run.number("/counts/lost")), (1, 0));
    assert!(run.number("/standing/counts/lost") > 0);
}

#[test]
fn clients_that_come_and_go_lose_nothing() {
    for more in [
        &["--messages", "2"][..],
        &["--messages", "1", "--sender", "mix", "--threads", "2"],
        &["--messages", "3", "--rate", "20", "--sender", "both"],
    ] {
        let run = run(Fault::None, &[&["churn"], &SHORT[..8], more].concat());
        assert_eq!(run.code, 0, "{more:?}: {}\n{}", run.stderr, run.result);
        let rounds = run.number("/churn/rounds");
        assert!(rounds > 4, "{more:?}: {}", run.result);
        let sent = run.number("/counts/sent");
        assert_eq!(run.number("/counts/delivered"), sent);
        let messages: u64 = more[1].parse().unwrap();
        assert!(sent >= rounds * messages, "{more:?}: {}", run.result);
        if more.contains(&"--rate") {
            assert!(rounds <= 10, "{rounds}");
        } else {
            assert!(run.number("/churn/auth_us/count") > 4, "{}", run.result);
        }
    }
}

#[test]
fn planted_faults_are_found() {
    let faults: &[(Fault, &str)] = &[
        (Fault::Lose(5), "/counts/lost"),
        (Fault::Double(5), "/counts/wrong/doubled_octets"),
        (Fault::Corrupt(5), "/counts/wrong/octets"),
        (Fault::Withhold200(5), "/counts/unanswered"),
        (Fault::Answer200Twice(5), "/stray/answers"),
        (Fault::Swap(5), "/counts/wrong/order"),
        (Fault::ChangeHeader(5), "/counts/wrong/headers"),
        (Fault::WrongRange(5), "/counts/wrong/ranges"),
    ];
    for (fault, place) in faults {
        let run = chat(*fault, &[]);
        assert_eq!(run.code, 1, "{fault:?}: {}", run.result);
        assert!(run.number(place) > 0, "{fault:?}: {}", run.result);
    }
}

#[test]
fn failures_that_are_told_are_reported_not_lost() {
    for fault in [Fault::Refuse(5), Fault::Report(5)] {
        let run = chat(fault, &[]);
        assert_eq!(run.code, 0, "{fault:?}: {}", run.result);
        assert_eq!(run.number("/counts/reported"), 1);
        assert_eq!(run.number("/counts/lost"), 0);
        let strict = chat(fault, &["--threshold", "reported=0"]);
        assert_eq!(strict.code, 1, "{fault:?}");
    }
}

#[test]
fn relay_that_hangs_costs_patience_and_then_counts_as_loss() {
    let run = chat(Fault::Hang(5), &[]);
    assert_eq!(run.code, 1, "{}", run.result);
    assert!(run.number("/counts/lost") > 0);
}

#[test]
fn relay_that_vanishes_ends_the_run_with_an_account() {
    let run = chat(Fault::Vanish(50), &["--duration", "4s"]);
    assert_eq!(run.code, 1, "{}", run.result);
    assert!(
        run.stderr.contains("every connection is lost"),
        "{}",
        run.stderr
    );
    assert!(run.number("/counts/lost") > 0 && run.number("/lost_connections") == 6);
    let seconds = run
        .result
        .pointer("/measured/seconds")
        .and_then(Value::as_f64);
    assert!(seconds.is_some_and(|s| s < 10.0), "{seconds:?}");
}

#[test]
fn errors_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let relay = FakeRelay::start(&ca, Fault::None);
    let text = |output: Output| {
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let program = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_msrpload"));
        command.current_dir(folder.path());
        command
    };
    let address = relay.address.to_string();

    let other = tempfile::tempdir().unwrap();
    FakeRelay::start(&other.path().join("ca.pem"), Fault::None);
    let run = program()
        .args([
            "chat",
            "--address",
            &address,
            "--host",
            HOST,
            "--user",
            "alice:wonderland",
            "--ca",
        ])
        .arg(other.path().join("ca.pem"))
        .output()
        .unwrap();
    let error = text(run);
    assert!(error.contains("--ca"), "{error}");

    let with_ca = |arguments: &[&str]| {
        text(
            program()
                .args(arguments)
                .arg("--ca")
                .arg(&ca)
                .output()
                .unwrap(),
        )
    };
    let error = with_ca(&[
        "chat",
        "--address",
        &address,
        "--host",
        HOST,
        "--user",
        "alice:wrong",
    ]);
    assert!(error.contains("401") && error.contains("--user"), "{error}");
    let error = with_ca(&["chat", "--address", &address, "--host", HOST]);
    assert!(error.contains("--user"), "{error}");
    let error = with_ca(&[
        "chat",
        "--address",
        "127.0.0.1:1",
        "--host",
        HOST,
        "--user",
        "alice:wonderland",
    ]);
    assert!(error.contains("start the relay"), "{error}");
    let error = text(program().args(["--dev"]).output().unwrap());
    assert!(error.contains("cargo run --release -- dev"), "{error}");
    let error = text(program().args(["--dev", "chat"]).output().unwrap());
    assert!(error.contains("msrpload chat --dev"), "{error}");
}

/// A proxy that copies octets, and changes one of those that go to the listener after so many.
fn proxy(to: u16, spoil_after: Option<usize>) -> u16 {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let copy = |mut from: TcpStream, mut to: TcpStream, mut spoil: Option<usize>| {
        let mut buffer = [0; 16_384];
        while let Ok(octets @ 1..) = from.read(&mut buffer) {
            match spoil {
                Some(after) if after < octets => {
                    buffer[after] ^= 0x20;
                    spoil = None;
                }
                _ => spoil = spoil.map(|after| after - octets),
            }
            if to.write_all(&buffer[..octets]).is_err() {
                return;
            }
        }
    };
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(("127.0.0.1", to)).unwrap();
            for socket in [&client, &server] {
                socket.set_nodelay(true).unwrap();
            }
            let (c, s) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || copy(client, server, spoil_after));
            std::thread::spawn(move || copy(s, c, None));
        }
    });
    port
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn pipe(folder: &std::path::Path, address: &str, port: u16, more: &[&str]) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_msrpload"))
        .args(["pipe", "--address", address, "--host", HOST])
        .args(["--listen-port", &port.to_string()])
        .args(SHORT)
        .args(more)
        .args(["--ca"])
        .arg(folder.join("ca.pem"))
        .args(["--json"])
        .arg(folder.join("result.json"))
        .output()
        .unwrap();
    let text = std::fs::read_to_string(folder.join("result.json")).unwrap_or_default();
    Run {
        code: output.status.code().unwrap(),
        result: serde_json::from_str(&text).unwrap_or_default(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn pipe_goes_through_a_proxy_to_its_own_listener() {
    let folder = tempfile::tempdir().unwrap();
    let [pem, key] = ["ca.pem", "key.pem"].map(|name| folder.path().join(name));
    let made = rcgen::generate_simple_self_signed(vec![HOST.to_owned()]).unwrap();
    std::fs::write(&pem, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let port = free_port();
    let address = format!("127.0.0.1:{}", proxy(port, None));
    let tls = ["--listen-certificate", pem.to_str().unwrap()];
    let tls = [&tls[..], &["--listen-key", key.to_str().unwrap()]].concat();
    let run = pipe(folder.path(), &address, port, &tls);
    assert_good(&run);
    assert_eq!(
        run.number("/counts/acknowledged"),
        run.number("/counts/sent")
    );
    assert_eq!(run.number("/set_up/connections"), 6);

    // In plain TCP a proxy can do harm, and is found out.
    let port = free_port();
    let address = format!("127.0.0.1:{}", proxy(port, Some(1500)));
    let run = pipe(folder.path(), &address, port, &["--tcp", &address]);
    assert_eq!(run.code, 1, "{}", run.result);
}
