//! Whether the figures say what happened: beside a relay that delays, stands still, loses and contradicts itself, and beside
//! this program's own standing still. What the fake relay recorded is the measure, for the machine may be busy.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod fake_relay;
#[allow(dead_code, reason = "each test program uses a part of it")]
mod program;

use std::time::Duration;

use fake_relay::Fault;
use program::{World, bare, signal};
use rustix::process::Signal;

/// 200 messages a second for a short stretch.
const OPEN: &[&str] = &["--rate", "200", "--pairs", "4", "--warmup", "0s", "--quiet"];

fn with(more: &[&'static str]) -> Vec<&'static str> {
    [OPEN, more].concat()
}

#[test]
fn a_relay_that_delays_by_20_ms_shows_a_p50_of_20_ms() {
    // A busy machine may spoil one run, not each of three.
    let mut seen = Vec::new();
    for _ in 0..3 {
        let world = World::new(Fault::Delay(Duration::from_millis(20)));
        let run = world.run(&with(&["--duration", "2s"]));
        assert_eq!(run.code, 0, "{}", run.stderr);
        let p50 = run.number("/measured/delivery_us/p50");
        let held = world.relay.held_p50().as_micros() as f64;
        assert!(
            p50 >= held * 0.9,
            "faster than the relay was: {p50} of {held}"
        );
        if p50 < held * 1.1 {
            return;
        }
        seen.push((p50, held));
    }
    panic!("(measured, held by the relay): {seen:?}");
}

/// Runs beside a relay that stands still for a second from then on, within two seconds of 200 messages each.
fn beside_a_pause(from_ms: u64) {
    let pause = Duration::from_secs(1);
    let world = World::new(Fault::StandStill(Duration::from_millis(from_ms), pause));
    let run = world.run(&with(&["--duration", "2s"]));
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(run.number("/measured/due"), 400.0);
    assert_eq!(run.number("/counts/delivered"), 400.0);
    // All messages that were due are in the figures, with all of their wait.
    let delivery = |name: &str| run.number(&format!("/measured/delivery_us/{name}"));
    assert_eq!(delivery("count"), 400.0);
    assert!(delivery("max") > 900_000.0, "{}", run.stdout);
    // A message in two was due while the relay stood still, or at the end as many as were left.
    let waited = (2_000 - from_ms.min(2_000)).min(1_000) as f64 / 2_000.0;
    let name = if waited > 0.4 { "p90" } else { "p95" };
    let expected = match name {
        "p90" => 1e6 * (1.0 - 0.1 / 0.5),
        _ => 1e6 - 2e6 * (0.05),
    };
    assert!(
        delivery(name) > expected * 0.85,
        "{name} {}: {}",
        delivery(name),
        run.stdout
    );
}

#[test]
fn a_relay_that_stands_still_at_the_start_is_seen_to() {
    beside_a_pause(0);
}

#[test]
fn a_relay_that_stands_still_in_the_middle_is_seen_to() {
    beside_a_pause(500);
}

#[test]
fn a_relay_that_stands_still_at_the_end_is_seen_to() {
    beside_a_pause(1_500);
}

#[test]
fn what_is_lost_has_waited_until_the_end() {
    let world = World::new(Fault::Lose(5));
    let run = world.run(&with(&["--duration", "500ms", "--patience", "1500ms"]));
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert_eq!(run.number("/counts/lost"), 1.0);
    assert_eq!(
        run.number("/measured/delivery_us/count"),
        run.number("/measured/due")
    );
    let max = run.number("/measured/delivery_us/max");
    assert!(max > 1_500_000.0, "{max}");
}

#[test]
fn what_is_open_when_patience_ends_counts_and_fails_the_run() {
    let world = World::new(Fault::StandStill(
        Duration::from_millis(500),
        Duration::from_secs(3600),
    ));
    let run = world.run(&with(&["--duration", "1s", "--patience", "1s"]));
    assert_eq!(run.code, 1);
    let (due, delivered) = (run.number("/measured/due"), run.number("/counts/delivered"));
    assert!(due == 200.0 && delivered < 120.0, "{}", run.stdout);
    assert_eq!(run.number("/measured/delivery_us/count"), due);
    assert!(
        run.number("/measured/delivery_us/p99") > 1_000_000.0,
        "{}",
        run.stdout
    );
}

#[test]
fn messages_that_a_relay_takes_no_more_are_due_and_not_sent() {
    let world = World::new(Fault::StandStill(Duration::ZERO, Duration::from_secs(3600)));
    let load = [
        "--size",
        "64KiB",
        "--patience",
        "300ms",
        "--duration",
        "2s",
        "--threshold",
        "achieved>99%",
    ];
    let run = world.run(
        &[
            &[
                "--rate", "2000", "--pairs", "2", "--warmup", "0s", "--quiet",
            ],
            &load[..],
        ]
        .concat(),
    );
    assert_eq!(run.code, 1);
    let [due, sent, not_sent] =
        ["due", "sent", "not_sent"].map(|name| run.number(&format!("/measured/{name}")));
    let own = run.number("/measured/not_sent_own");
    assert_eq!(due, 4_000.0, "{}", run.stdout);
    assert!(
        not_sent > 1_000.0 && sent + not_sent + own == due,
        "{}",
        run.stdout
    );
    assert!(run.number("/measured/achieved_percent") < 99.0);
    assert!(
        run.text("/warnings").contains("takes no more")
            || run.text("/warnings").contains("took no more")
    );
    assert!(run.text("/missed_thresholds").contains("achieved>99%"));
    assert!(run.stdout.contains("not sent"), "{}", run.stdout);
}

#[test]
fn our_own_standing_still_is_not_the_relays() {
    let world = World::new(Fault::None);
    let child = world.start(&with(&["--duration", "4s"]));
    std::thread::sleep(Duration::from_millis(1_500));
    signal(&child, Signal::STOP);
    std::thread::sleep(Duration::from_millis(1_500));
    signal(&child, Signal::CONT);
    let run = world.end(child);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(run.number("/measured/due"), 800.0);
    let max = run.number("/measured/delivery_us/max");
    assert!(max < 700_000.0, "laid to the relay: {max}");
    let stalled = run.number("/own/stalled_seconds");
    assert!((1.4..2.5).contains(&stalled), "{stalled}");
    assert!(
        run.number("/own/lateness_us/max") > 1_200_000.0,
        "{}",
        run.stdout
    );
    // Each message that was due has its lateness.
    assert_eq!(run.number("/own/lateness_us/count"), 800.0);
    assert!(
        run.text("/warnings").contains("stood still"),
        "{}",
        run.stdout
    );
}

#[test]
fn where_nothing_is_delivered_there_is_no_percentile_and_no_bound_is_kept() {
    let world = World::new(Fault::LoseAll);
    let bounds = [
        "--duration",
        "300ms",
        "--patience",
        "300ms",
        "--threshold",
        "p99<1h,max<1h",
    ];
    let run = world.run(&with(&bounds));
    assert_eq!(run.code, 1);
    assert!(
        run.result
            .pointer("/measured/delivery_us/p50")
            .unwrap()
            .is_null()
    );
    let missed = run.text("/missed_thresholds");
    assert!(
        missed.contains("p99<1h: there is no such result") && missed.contains("max<1h"),
        "{missed}"
    );
    assert!(
        run.stdout.contains("nothing was delivered"),
        "{}",
        run.stdout
    );
    let row = run
        .stdout
        .lines()
        .find(|line| line.contains("delivery"))
        .unwrap();
    assert!(!row.contains("p50"), "{row}");
}

#[test]
fn a_200_made_into_an_error_is_counted_and_fails_the_run() {
    let world = World::new(Fault::RefuseAndForward(5));
    let run = world.run(&with(&["--duration", "500ms"]));
    assert_eq!(run.code, 1, "{}", run.stdout);
    assert_eq!(run.number("/counts/wrong/refused_although_delivered"), 1.0);
    assert_eq!(run.number("/counts/delivered"), run.number("/counts/sent"));
    assert!(
        run.stdout.contains("refused although delivered"),
        "{}",
        run.stdout
    );
}

#[test]
fn a_body_cut_short_is_found() {
    let world = World::new(Fault::Truncate(5));
    let run = world.run(&with(&["--duration", "300ms", "--patience", "300ms"]));
    assert_eq!(run.code, 1);
    assert_eq!(run.number("/counts/lost"), 1.0);
    assert!(run.number("/counts/wrong/ranges") >= 1.0, "{}", run.stdout);
}

#[test]
fn memory_of_a_relay_that_has_served_before_is_not_comparable() {
    // This process is the relay, and has worked for a while.
    let spin = std::time::Instant::now();
    while spin.elapsed() < Duration::from_millis(1_200) {}
    let world = World::new(Fault::None);
    let own = std::process::id().to_string();
    let idle = [
        "idle",
        "--connections",
        "4",
        "--duration",
        "200ms",
        "--warmup",
        "0s",
        "--quiet",
    ];
    let bound = [
        "--threshold",
        "rss_kib_per_connection<100000",
        "--relay-pid",
        &own,
    ];
    let mut command = world.command(&[&idle[..], &bound].concat());
    let output = command
        .args(["--user", "alice:wonderland"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("not comparable"), "{text}");
    let result = std::fs::read_to_string(world.path("result.json")).unwrap();
    let result: serde_json::Value = serde_json::from_str(&result).unwrap();
    assert!(
        result["relay"]["rss_kib_per_connection"].is_null(),
        "{result}"
    );
    assert!(result["relay"]["served_before"].is_string());
}

#[test]
fn the_warm_up_is_in_no_figure() {
    let world = World::new(Fault::None);
    let page = world.path("run.html");
    let run = world.run(&[
        "--rate",
        "200",
        "--pairs",
        "4",
        "--warmup",
        "1s",
        "--duration",
        "1s",
        "--quiet",
        "--report",
        page.to_str().unwrap(),
    ]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    for path in [
        "/counts/sent",
        "/counts/delivered",
        "/measured/due",
        "/measured/delivery_us/count",
    ] {
        assert_eq!(run.number(path), 200.0, "{path}");
    }
    assert_eq!(run.number("/warmup/sent"), 200.0);
    assert_eq!(run.number("/measured/warmup_seconds"), 1.0);
    let said = "1.0 s after 1.0 s of warm-up";
    assert!(run.stdout.contains(said), "{}", run.stdout);
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("1.0 s measured after 1.0 s of warm-up"));
    // What goes wrong in it fails the run all the same.
    let world = World::new(Fault::Lose(5));
    let run = world.run(&[
        "--rate",
        "100",
        "--pairs",
        "4",
        "--duration",
        "300ms",
        "--patience",
        "300ms",
        "--quiet",
    ]);
    assert_eq!(
        (
            run.code,
            run.number("/counts/lost"),
            run.number("/warmup/lost")
        ),
        (1, 0.0, 1.0)
    );
    assert!(run.stdout.contains("in the warm-up"), "{}", run.stdout);
}

#[test]
fn films_and_success_reports_have_no_warm_up_either() {
    let world = World::new(Fault::None);
    let mut command = world.command(&[
        "mixed",
        "--rate",
        "50",
        "--pairs",
        "2",
        "--warmup",
        "1s",
        "--duration",
        "1s",
        "--film-size",
        "200KiB",
        "--film-count",
        "2",
        "--success-report",
        "--trace",
        "all.ndjson",
        "--quiet",
    ]);
    command.args(["--user", "alice:wonderland"]);
    let output = command.output().unwrap();
    let text = std::fs::read_to_string(world.path("result.json")).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    let result: serde_json::Value = serde_json::from_str(&text).unwrap();
    let number = |path: &str| result.pointer(path).and_then(|v| v.as_u64());
    assert_eq!(number("/films/counts/sent"), Some(2), "{text}");
    assert_eq!(number("/films/counts/delivered"), Some(2), "{text}");
    assert_eq!(number("/warmup/sent"), Some(50), "{text}");
    // Those of the chats and of the films, not those of the chats' warm-up.
    assert_eq!(number("/success_reports"), Some(50 + 2), "{text}");
    assert_eq!(world.relay.reports(), 100 + 2);
    let trace = std::fs::read_to_string(world.path("all.ndjson")).unwrap();
    for line in trace.lines().filter(|line| line.contains("\"films\"")) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["due_us"].as_f64().unwrap() >= 0.0, "{line}");
    }
}

#[test]
fn the_log_has_its_maxima_in_the_unit_that_it_names() {
    let world = World::new(Fault::Delay(Duration::from_millis(20)));
    let run = world.run(&with(&["--duration", "500ms", "--hdr", "run.hdr"]));
    assert_eq!(run.code, 0, "{}", run.stderr);
    let log = std::fs::read_to_string(world.path("run.hdr")).unwrap();
    assert!(log.contains("maxima in ms"), "{log}");
    let maxima = log.lines().filter(|line| line.starts_with("Tag=delivery,"));
    let max = maxima
        .map(|line| line.split(',').nth(3).unwrap().parse::<f64>().unwrap())
        .fold(0.0, f64::max);
    let measured = run.number("/measured/delivery_us/max") / 1e3;
    assert!(
        (max - measured).abs() <= measured * 0.01,
        "{max} ms in the log, {measured} ms in the result"
    );
    let mut merge = bare(world.folder.path());
    assert!(
        merge
            .args(["merge", "run.hdr"])
            .output()
            .unwrap()
            .status
            .success()
    );
}
