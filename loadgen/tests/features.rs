//! What the program can do beside a plain run: search, compare, scenarios, traces, metrics, the live view.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod fake_relay;
#[allow(dead_code, reason = "each test program uses a part of it")]
mod program;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fake_relay::{Fault, HOST};
use program::{World, bare};
use serde_json::Value;

const SHORT: &[&str] = &["--duration", "1s", "--warmup", "0s", "--quiet"];

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn search_finds_a_known_capacity_within_5_percent() {
    const CAPACITY: f64 = 500.0;
    // A busy machine may spoil one search, not each of three.
    let mut seen = Vec::new();
    for _ in 0..3 {
        let world = World::new(Fault::Capacity(500));
        let bounds = [
            "--slo",
            "p99<60ms,lost=0",
            "--from",
            "400",
            "--to",
            "640",
            "--precision",
            "2",
        ];
        let run = [
            "--duration",
            "3s",
            "--warmup",
            "0s",
            "--pairs",
            "4",
            "--quiet",
            "--report",
            "curve.html",
        ];
        let mut command = world.command(&[&["search", "chat"], &bounds[..], &run].concat());
        let output = command
            .args(["--user", "alice:wonderland"])
            .output()
            .unwrap();
        assert!(
            output.status.code() != Some(2),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = std::fs::read_to_string(world.path("result.json")).unwrap();
        let found: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(found["kind"], "search");
        let steps = found["steps"].as_array().unwrap();
        let rates: Vec<f64> = steps
            .iter()
            .map(|step| step["rate"].as_f64().unwrap())
            .collect();
        assert!(rates.is_sorted(), "{rates:?}");
        let page = std::fs::read_to_string(world.path("curve.html")).unwrap();
        assert!(page.contains("Latency over throughput"));
        let rate = found["rate"].as_f64();
        if rate.is_some_and(|rate| (rate - CAPACITY).abs() <= CAPACITY * 0.05) {
            assert!(rates.len() >= 3, "{rates:?}");
            let table = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(table.contains("holds up to"), "{table}");
            return;
        }
        let missed: Vec<_> = steps
            .iter()
            .map(|step| step["missed"].to_string())
            .collect();
        seen.push((rate, rates, missed));
    }
    panic!("{seen:?}");
}

#[test]
fn the_trace_has_a_line_for_each_message_with_its_fate() {
    let world = World::new(Fault::Refuse(5));
    let run = world.run(
        &[
            SHORT,
            &["--rate", "100", "--pairs", "2", "--trace", "all.ndjson"],
        ]
        .concat(),
    );
    assert_eq!(run.code, 0, "{}", run.stderr);
    let all = lines(&std::fs::read_to_string(world.path("all.ndjson")).unwrap());
    assert_eq!(all.len() as f64, run.number("/counts/sent"));
    let ids: HashSet<&str> = all
        .iter()
        .map(|line| line["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), all.len());
    let refused: Vec<&Value> = all
        .iter()
        .filter(|line| line["fate"] == "refused")
        .collect();
    assert_eq!((refused.len(), refused[0]["code"].as_u64()), (1, Some(481)));
    for line in all.iter().filter(|line| line["fate"] == "delivered") {
        let at = |name: &str| line[name].as_f64().unwrap();
        assert!(
            at("due_us") <= at("sent_us") && at("sent_us") <= at("delivered_us"),
            "{line}"
        );
        assert!(
            at("acknowledged_us") >= at("sent_us") && line["octets"] == 300,
            "{line}"
        );
    }
    let sampled = [
        "--rate",
        "100",
        "--pairs",
        "2",
        "--trace",
        "some.ndjson",
        "--trace-every",
        "10",
    ];
    let run = world.run(&[SHORT, &sampled].concat());
    let some = lines(&std::fs::read_to_string(world.path("some.ndjson")).unwrap());
    assert_eq!(some.len() as f64, run.number("/counts/sent") / 10.0);
}

#[test]
fn rates_rise_and_arrivals_scatter_as_asked() {
    let world = World::new(Fault::None);
    let run = world.run(&[
        "--rate",
        "100..300/2s",
        "--pairs",
        "3",
        "--warmup",
        "0s",
        "--quiet",
    ]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    // It takes as long as the ramp, and is due as the area below it.
    assert_eq!(
        (run.number("/measured/seconds"), run.number("/measured/due")),
        (2.0, 400.0)
    );
    let intervals = run.result["intervals"].as_array().unwrap();
    let sent = |range: std::ops::Range<usize>| -> u64 {
        intervals[range]
            .iter()
            .map(|i| i["sent"].as_u64().unwrap())
            .sum()
    };
    assert!(
        (120..=180).contains(&sent(0..10)) && (220..=280).contains(&sent(10..20)),
        "{intervals:?}"
    );
    let stages = [
        "--stages",
        "ramp 500ms 200, hold 1s, ramp 500ms 0",
        "--pairs",
        "3",
        "--warmup",
        "0s",
        "--quiet",
    ];
    let run = world.run(
        &[
            &stages[..],
            &["--arrivals", "poisson", "--trace", "t.ndjson"],
        ]
        .concat(),
    );
    assert_eq!(run.number("/measured/seconds"), 2.0);
    let due = run.number("/measured/due");
    // Poisson: 300, give or take five deviations.
    assert!((300.0 - 87.0..300.0 + 87.0).contains(&due), "{due}");
    let mut at: Vec<f64> = lines(&std::fs::read_to_string(world.path("t.ndjson")).unwrap())
        .iter()
        .map(|line| line["due_us"].as_f64().unwrap())
        .filter(|due| (500_000.0..1_500_000.0).contains(due))
        .collect();
    at.sort_by(f64::total_cmp);
    let gaps: Vec<f64> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let deviation =
        (gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64).sqrt();
    assert!(
        (0.7..1.4).contains(&(deviation / mean)),
        "{deviation} of {mean}"
    );
}

#[test]
fn receivers_report_success_to_every_sender() {
    for sender in ["foreign", "both", "authenticated"] {
        let world = World::new(Fault::None);
        let run = world.run(
            &[
                SHORT,
                &[
                    "--rate",
                    "50",
                    "--pairs",
                    "2",
                    "--success-report",
                    "--sender",
                    sender,
                ],
            ]
            .concat(),
        );
        assert_eq!(run.code, 0, "{sender}: {}\n{}", run.stdout, run.stderr);
        let sent = run.number("/counts/sent");
        assert_eq!(run.number("/success_reports"), sent, "{sender}");
        assert_eq!(world.relay.reports() as f64, sent);
        assert_eq!(run.number("/measured/confirmation_us/count"), sent);
        assert_eq!(run.number("/counts/unconfirmed"), 0.0);
    }
}

#[test]
fn several_sessions_share_connections_and_have_their_own_auth() {
    let world = World::new(Fault::None);
    let shared = [
        "--pairs",
        "6",
        "--sessions-per-connection",
        "4",
        "--sender",
        "both",
        "--rate",
        "60",
    ];
    let run = world.run(&[SHORT, &shared].concat());
    assert_eq!(run.code, 0, "{}\n{}", run.stdout, run.stderr);
    // Four sessions on one pair of connections, two on another.
    assert_eq!(run.number("/set_up/connections"), 4.0);
    assert_eq!(
        (world.relay.auths(), run.number("/set_up/auth_us/count")),
        (12, 12.0)
    );
    assert_eq!(run.number("/counts/delivered"), 60.0);
}

#[test]
fn a_scenario_has_groups_with_results_of_their_own() {
    let world = World::new(Fault::None);
    let scenario = r#"
        duration = "1s"
        warmup = 0
        thresholds = ["talkers.p99<10s", "pictures.lost=0", "delivered%>=100", "tls_p99<10s", "auth_max<10s"]
        [[group]]
        name = "talkers"
        sessions = 4
        sessions_per_connection = 2
        sender = "both"
        rate = 80
        arrivals = "poisson"
        success_report = true
        content_type = "text/plain"
        [[group]]
        name = "pictures"
        sessions = 2
        size = "40KiB"
        window = 1
    "#;
    std::fs::write(world.path("evening.toml"), scenario).unwrap();
    let mut command = world.command(&["--scenario", "evening.toml", "--quiet"]);
    let output = command
        .args(["--user", "alice:wonderland"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let result = std::fs::read_to_string(world.path("result.json")).unwrap();
    let result: Value = serde_json::from_str(&result).unwrap();
    let groups = result["groups"].as_array().unwrap();
    assert_eq!(
        (groups[0]["name"].as_str(), groups[1]["name"].as_str()),
        (Some("talkers"), Some("pictures"))
    );
    let delivered = |group: usize| groups[group]["counts"]["delivered"].as_u64().unwrap();
    assert!(
        (30..=150).contains(&delivered(0)) && delivered(1) > 4,
        "{said}"
    );
    assert_eq!(
        result["counts"]["delivered"].as_u64().unwrap(),
        delivered(0) + delivered(1)
    );
    assert_eq!(result["success_reports"].as_u64().unwrap(), delivered(0));
    assert!(said.contains("group talkers"), "{said}");
    assert_eq!(result["workload"], "scenario");
    assert_eq!(result["thresholds"].as_array().unwrap().len(), 5);
    let refused = world
        .command(&["--scenario", "evening.toml", "--rate", "5"])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--rate"));
}

#[test]
fn a_broken_threshold_ends_the_run_where_it_says_so() {
    let world = World::new(Fault::Delay(Duration::from_millis(50)));
    let bound = [
        "--duration",
        "60s",
        "--warmup",
        "0s",
        "--rate",
        "50",
        "--pairs",
        "2",
        "--quiet",
    ];
    let run = world.run(&[&bound[..], &["--threshold", "p50<10ms abort"]].concat());
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(
        run.text("/ended_early").contains("p50<10ms was broken"),
        "{}",
        run.text("/ended_early")
    );
    assert_eq!(run.result["thresholds"][0]["aborted"], true);
}

#[test]
fn metrics_are_served_while_it_runs() {
    let world = World::new(Fault::None);
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let address = port.to_string();
    let load = [
        "--rate",
        "100",
        "--pairs",
        "2",
        "--warmup",
        "0s",
        "--duration",
        "3s",
        "--quiet",
        "--metrics",
        &address,
    ];
    let mut command = world.chat(&load);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(2_000));
    let mut stream = TcpStream::connect(port).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let run = world.end(child);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(
        text.starts_with("HTTP/1.0 200") && text.contains("text/plain"),
        "{text}"
    );
    let value = |name: &str| -> f64 {
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("msrpload_{name} ")));
        line.unwrap_or_else(|| panic!("{name}: {text}"))
            .split(' ')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap()
    };
    assert_eq!(value("target_messages_per_second"), 100.0);
    assert!(value("messages_delivered_total") > 10.0 && value("delivery_seconds_count") > 10.0);
}

#[test]
fn the_live_view_shows_the_rate_and_follows_keys() {
    let world = World::new(Fault::None);
    let program = env!("CARGO_BIN_EXE_msrpload");
    let load = format!(
        "stty cols 110 rows 30; {program} chat --rate 100 --pairs 2 --warmup 0s --duration 60s --address {} --host {HOST} \
         --ca ca.pem --user alice:wonderland --json result.json",
        world.relay.address
    );
    let mut child = Command::new("script")
        .args(["-qec", &load, "/dev/null"])
        .current_dir(world.folder.path())
        .env_remove("NO_COLOR")
        .env("TERM", "xterm-256color")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("bsdutils has script");
    let (mut keys, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut seen = String::new();
    let (mut answered, mut faster, mut pressed) = (false, false, None);
    let mut buffer = [0; 4096];
    while let Ok(octets @ 1..) = screen.read(&mut buffer) {
        seen += &String::from_utf8_lossy(&buffer[..octets]);
        if !answered && seen.contains("\x1b[6n") {
            // Where the cursor stands; a terminal would answer.
            keys.write_all(b"\x1b[1;1R").unwrap();
            answered = true;
        }
        if !faster && seen.contains("target") {
            keys.write_all(b"+").unwrap();
            faster = true;
            pressed = Some(Instant::now());
        }
        if pressed.is_some_and(|since| since.elapsed() > Duration::from_secs(2)) {
            keys.write_all(b"q").unwrap();
            pressed = None;
        }
    }
    child.wait().unwrap();
    assert!(answered && faster, "{seen:?}");
    for part in ["messages/s", "p99.9", "errors", "left", "change the rate"] {
        assert!(seen.contains(part), "{part}: {seen:?}");
    }
    let result: Value =
        serde_json::from_str(&std::fs::read_to_string(world.path("result.json")).unwrap()).unwrap();
    assert!(
        result["ended_early"]
            .as_str()
            .unwrap()
            .contains("ended by the user"),
        "{result}"
    );
    let asked = result["measured"]["asked_per_second"].as_f64().unwrap();
    assert!(asked > 101.0, "+ did nothing: {asked}");
    assert_eq!(result["counts"]["lost"], 0);
}

#[test]
fn compare_tells_a_slower_relay_from_noise() {
    let results = |fault, name: &str| {
        let world = World::new(fault);
        let run = world.run(&[
            "--rate",
            "200",
            "--pairs",
            "2",
            "--warmup",
            "0s",
            "--duration",
            "2s",
            "--quiet",
        ]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        let kept =
            std::env::temp_dir().join(format!("msrpload-{}-{name}.json", std::process::id()));
        std::fs::copy(world.path("result.json"), &kept).unwrap();
        kept
    };
    let fast = results(Fault::Delay(Duration::from_millis(5)), "fast");
    let slow = results(Fault::Delay(Duration::from_millis(60)), "slow");
    let folder = tempfile::tempdir().unwrap();
    let compare = |a: &std::path::Path, b: &std::path::Path, more: &[&str]| {
        let output = bare(folder.path())
            .arg("compare")
            .args([a, b])
            .args(more)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), text)
    };
    let (code, text) = compare(&fast, &fast, &[]);
    assert!(code == Some(0) && !text.contains("WORSE"), "{text}");
    let (code, text) = compare(&fast, &slow, &["--html", "page.html"]);
    let row = text
        .lines()
        .find(|line| line.contains("measured.delivery_us.p50"))
        .unwrap();
    assert!(
        code == Some(1) && row.contains("WORSE") && row.contains('±'),
        "{text}"
    );
    let page = std::fs::read_to_string(folder.path().join("page.html")).unwrap();
    assert!(
        page.contains("Latency by percentile")
            && page.contains("Every figure")
            && !page.contains("<script")
    );
    let (code, text) = compare(&slow, &fast, &[]);
    assert!(text.contains("better"), "{code:?}: {text}");
    let (code, text) = compare(&fast, &folder.path().join("page.html"), &[]);
    assert!(code == Some(2) && text.contains("page.html"), "{text}");
    for file in [fast, slow] {
        std::fs::remove_file(file).unwrap();
    }
}

#[test]
fn packages_find_manual_pages_and_completions() {
    let folder = tempfile::tempdir().unwrap();
    assert!(
        bare(folder.path())
            .args(["manual", "man"])
            .status()
            .unwrap()
            .success()
    );
    let page = std::fs::read_to_string(folder.path().join("man/msrpload.1")).unwrap();
    assert!(
        page.starts_with(".ie") || page.contains(".TH msrpload 1"),
        "{page}"
    );
    assert!(page.contains("reconnect") && folder.path().join("man/msrpload-search.1").exists());
    for shell in ["bash", "zsh", "fish"] {
        let output = bare(folder.path())
            .args(["completions", shell])
            .output()
            .unwrap();
        assert!(
            String::from_utf8_lossy(&output.stdout).contains("sessions-per-connection"),
            "{shell}"
        );
    }
}
