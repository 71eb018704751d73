//! By WebSocket (RFC 7977): every workload, mixed pairs, and what goes wrong with it.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod fake_relay;
#[allow(dead_code, reason = "each test program uses a part of it")]
mod program;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use fake_relay::{FakeRelay, Fault, HOST, HOST_B};
use program::{Run, World, bare};

const SHORT: &[&str] = &[
    "--duration",
    "500ms",
    "--warmup",
    "0s",
    "--patience",
    "5s",
    "--pairs",
    "3",
    "--rate",
    "100",
    "--quiet",
];

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// A relay with all four ways in, and their options.
fn world(fault: Fault) -> (World, Vec<String>) {
    let world = World::new(fault);
    let addresses = [("--wss", true), ("--ws", false)];
    let options = addresses.into_iter().flat_map(|(option, tls)| {
        [
            option.to_owned(),
            world.relay.listen_for_web(tls).to_string(),
        ]
    });
    let options = options.collect();
    (world, options)
}

fn run(world: &World, options: &[String], workload: &str, arguments: &[&str]) -> Run {
    let options = options.iter().map(String::as_str);
    let arguments: Vec<&str> = arguments.iter().copied().chain(options).collect();
    let mut command = world.command(&[&[workload], &arguments[..]].concat());
    let child = command
        .args(["--user", "alice:wonderland"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    world.end(child)
}

/// Against a relay of its own.
fn run_fresh(workload: &str, arguments: &[&str]) -> Run {
    let (world, options) = world(Fault::None);
    run(&world, &options, workload, arguments)
}

fn assert_good(run: &Run, what: &str) {
    assert_eq!(run.code, 0, "{what}: {}\n{}", run.stdout, run.stderr);
    let sent = run.number("/counts/sent");
    assert!(sent > 5.0, "{what}: {}", run.stdout);
    assert_eq!(run.number("/counts/delivered"), sent, "{what}");
    assert_eq!(run.number("/counts/acknowledged"), sent, "{what}");
}

#[test]
fn every_shape_of_chat_goes_by_websocket_with_tls_and_without() {
    for transport in ["wss", "ws"] {
        for sender in ["foreign", "both", "authenticated"] {
            let (world, options) = world(Fault::None);
            let by = [
                "--transport",
                transport,
                "--sender",
                sender,
                "--success-report",
            ];
            let run = run(&world, &options, "chat", &[SHORT, &by].concat());
            assert_good(&run, &format!("{transport}, {sender}"));
            let seen = world.relay.web();
            assert_eq!(read(&seen.connections), 6);
            // Each AUTH comes twice: for the challenge, and with the answer to it.
            assert_eq!(read(&seen.auths), 2 * world.relay.auths());
            assert_eq!(run.number("/set_up/upgrade_us/count"), 6.0);
            let handshakes = if transport == "wss" { 6.0 } else { 0.0 };
            assert_eq!(run.number("/set_up/handshake_us/count"), handshakes);
            let sent = run.number("/counts/sent") as u64;
            // Bodies are noise; all else is text.
            assert_eq!(read(&seen.binaries), sent);
            assert!(read(&seen.texts) > 2 * sent, "200s and REPORTs");
            assert!(read(&seen.pongs) >= 6);
        }
    }
}

#[test]
fn senders_and_receivers_may_come_by_different_ways() {
    for (sender, receiver, web) in [
        ("wss", "tls", 3),
        ("tls", "wss", 3),
        ("ws", "wss", 6),
        ("wss", "ws", 6),
    ] {
        let (world, options) = world(Fault::None);
        let by = [
            "--sender-transport",
            sender,
            "--receiver-transport",
            receiver,
            "--sender",
            "both",
        ];
        let run = run(&world, &options, "chat", &[SHORT, &by].concat());
        assert_good(&run, &format!("{sender} to {receiver}"));
        assert_eq!(read(&world.relay.web().connections), web);
        let group = run.text("/configuration/groups/0");
        assert!(
            group.contains(&format!("\"sender_transport\":\"{sender}\"")),
            "{group}"
        );
    }
}

#[test]
fn long_chunks_go_in_fragments_and_are_read_back() {
    let (world, options) = world(Fault::None);
    let files = [
        "--transport",
        "wss",
        "--message-size",
        "300KiB",
        "--chunk-size",
        "200KiB",
    ];
    let run = run(&world, &options, "file", &[SHORT, &files].concat());
    assert_good(&run, "file");
}

/// For workloads that know neither pairs nor windows.
const TIMES: &[&str] = &[
    "--duration",
    "500ms",
    "--warmup",
    "0s",
    "--quiet",
    "--transport",
    "wss",
];

#[test]
fn films_and_chats_go_by_websocket_apart_and_on_shared_connections() {
    let films = [
        "--transport",
        "wss",
        "--films",
        "1",
        "--film-size",
        "200KiB",
        "--film-count",
        "2",
    ];
    let apart = run_fresh("mixed", &[SHORT, &films].concat());
    assert_good(&apart, "mixed");
    assert_eq!(apart.number("/films/counts/delivered"), 2.0);
    let shared = [SHORT, &films, &["--film-on", "shared"]].concat();
    assert_good(&run_fresh("mixed", &shared), "mixed, shared");
}

#[test]
fn idle_connections_are_held_by_websocket() {
    let (world, options) = world(Fault::None);
    let idle = [TIMES, &["--connections", "5"]].concat();
    let got = run(&world, &options, "idle", &idle);
    assert_eq!(got.code, 0, "{}", got.stderr);
    assert_eq!(read(&world.relay.web().connections), 5);
    assert_eq!(got.number("/set_up/upgrade_us/count"), 5.0);
}

#[test]
fn clients_that_come_and_go_say_a_close_frame() {
    let (world, options) = world(Fault::None);
    let churn = [TIMES, &["--pairs", "2", "--messages", "2"]].concat();
    let got = run(&world, &options, "churn", &churn);
    assert_good(&got, "churn");
    let seen = world.relay.web();
    let (connections, closes) = (read(&seen.connections), read(&seen.closes));
    assert!(connections > 4 && closes > 4, "{connections}, {closes}");
}

#[test]
fn bad_company_comes_by_websocket_with_tls_and_without() {
    for transport in ["wss", "ws"] {
        let hostile = [
            "--transport",
            transport,
            "--hostile",
            "12",
            "--patience",
            "500ms",
        ];
        let got = run_fresh("hostile", &[SHORT, &hostile].concat());
        // The fake relay does not tell a sender that its receiver stands still, so the run does not end well.
        let sent = got.number("/counts/sent");
        assert!(sent > 5.0, "{}", got.stdout);
        assert_eq!(got.number("/counts/delivered"), sent);
        for kind in [
            "silent",
            "half_handshake",
            "noise",
            "noise_in_tls",
            "slow",
            "stranger",
        ] {
            let opened = got.number(&format!("/hostile/kinds/{kind}/opened"));
            assert!(opened >= 1.0, "{kind} by {transport}");
        }
    }
}

#[test]
fn the_mix_of_sizes_and_the_chain_go_by_websocket() {
    let window = [TIMES, &["--pairs", "3", "--rate", "100"]].concat();
    assert_good(&run_fresh("mix", &window), "mix");

    let folder = tempfile::tempdir().unwrap();
    let (ca, ca_b) = (folder.path().join("ca.pem"), folder.path().join("ca-b.pem"));
    let [a, b] = FakeRelay::start_two(&ca, &ca_b);
    let (wss, ws_b) = (a.listen_for_web(true), b.listen_for_web(false));
    let of_relays = format!(
        "address = \"{}\"\nwss = \"{wss}\"\nhost = \"{HOST}\"\nca = \"ca.pem\"\n\
         [via]\naddress = \"{}\"\nws = \"{ws_b}\"\nhost = \"{HOST_B}\"\nca = \"ca-b.pem\"\n",
        a.address, b.address
    );
    std::fs::write(folder.path().join("dev.toml"), of_relays).unwrap();
    let chain = |sender: &str, receiver: &str| {
        let by = [
            "--sender-transport",
            sender,
            "--receiver-transport",
            receiver,
        ];
        let output = bare(folder.path())
            .args([
                "chain",
                "--user",
                "alice:wonderland",
                "--via-user",
                "bob:builder",
            ])
            .args([SHORT, &by, &["--dev", ".", "--json", "result.json"]].concat())
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for (sender, receiver, web) in [("wss", "ws", 6), ("tls", "ws", 3), ("wss", "tls", 3)] {
        let before = (read(&a.web().connections), a.chained());
        let said = chain(sender, receiver);
        let text = std::fs::read_to_string(folder.path().join("result.json")).unwrap();
        let result: serde_json::Value = serde_json::from_str(&text).unwrap();
        let delivered = result
            .pointer("/counts/delivered")
            .unwrap()
            .as_u64()
            .unwrap();
        assert!(
            delivered > 5 && result["counts"]["lost"] == 0,
            "{said}\n{text}"
        );
        assert!(a.chained() - before.1 >= delivered);
        assert_eq!(read(&a.web().connections) - before.0, web);
    }
    let said = chain("wss", "wss");
    assert!(
        said.contains("second relay of --dev does not say"),
        "{said}"
    );
}

#[test]
fn scenario_groups_come_by_their_own_ways() {
    let (world, options) = world(Fault::None);
    let scenario = r#"
        duration = "500ms"
        warmup = 0
        [[group]]
        name = "browsers"
        sessions = 2
        sender = "both"
        transport = "wss"
        window = 1
        [[group]]
        name = "to browsers"
        sessions = 2
        receiver_transport = "ws"
        window = 1
        [[group]]
        name = "phones"
        sessions = 1
        window = 1
    "#;
    std::fs::write(world.path("ways.toml"), scenario).unwrap();
    let run = run(&world, &options, "--scenario", &["ways.toml", "--quiet"]);
    assert_good(&run, "scenario");
    assert_eq!(read(&world.relay.web().connections), 4 + 2);
}

#[test]
fn faults_are_found_by_websocket_too() {
    for (fault, member) in [
        (Fault::Lose(3), "/counts/lost"),
        (Fault::Corrupt(3), "/counts/wrong/octets"),
        (Fault::Double(3), "/counts/wrong/doubled_octets"),
    ] {
        let (world, options) = world(fault);
        let by = ["--transport", "wss", "--patience", "500ms"];
        let run = run(&world, &options, "chat", &[SHORT, &by].concat());
        assert_eq!(run.code, 1, "{fault:?}: {}", run.stdout);
        assert!(run.number(member) > 0.0, "{fault:?}: {}", run.result);
    }
}

/// Accepts one connection after the other, reads a request and answers this.
fn answers(octets: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let _ = socket.read(&mut [0; 4096]);
            let _ = socket.write_all(octets);
            let _ = socket.read(&mut [0; 4096]);
        }
    });
    address
}

/// Reads a request and closes, as a relay does where it expected MSRP.
fn answers_nothing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let _ = socket.read(&mut [0; 4096]);
        }
    });
    address
}

#[test]
fn what_is_wrong_with_websocket_is_said_with_what_to_do() {
    let (world, options) = world(Fault::None);
    let refused =
        answers(b"HTTP/1.1 403 Forbidden\r\n\r\nThis origin is not allowed.\n").to_string();
    let silent = answers(b"").to_string();
    let ws = |address: &str, more: &[&str]| {
        let ways = ["--transport", "ws", "--ws", address];
        let run = run(&world, &[], "chat", &[SHORT, &ways, more].concat());
        assert_eq!(run.code, 2, "{}", run.stderr);
        run.stderr
    };
    let said = ws(&refused, &[]);
    assert!(
        said.contains("403 Forbidden") && said.contains("not allowed"),
        "{said}"
    );
    let said = ws(&silent, &["--connect-timeout", "300ms"]);
    assert!(
        said.contains("WebSocket is not answered after 0.3 s"),
        "{said}"
    );
    let closed = answers_nothing().to_string();
    let said = ws(&closed, &[]);
    assert!(
        said.contains("closed by the relay; does WebSocket listen at this address"),
        "{said}"
    );
    for (workload, arguments, part) in [
        ("chat", &["--transport", "wss", "--tls"][..], "--tls"),
        (
            "chat",
            &["--sender", "both", "--sender-transport", "tcp"],
            "AUTH needs TLS",
        ),
        (
            "chat",
            &[
                "--sender",
                "authenticated",
                "--receiver",
                "listens",
                "--receiver-transport",
                "ws",
            ],
            "dials no WebSocket",
        ),
        ("chat", &["--transport", "tcp"], "--tcp HOST:PORT"),
        ("pipe", &["--transport", "wss"], "--transport"),
    ] {
        let run = run(&world, &options, workload, arguments);
        assert!(
            run.code == 2 && run.stderr.contains(part),
            "{arguments:?}: {}",
            run.stderr
        );
    }
}
