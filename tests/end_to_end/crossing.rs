//! Two clients of one relay on different shards (URI-11): all that goes between them is handed off.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::pair::{across, chat, two_shards};
use crate::support::client::SOON;
use crate::support::message::{Draft, report, response};
use crate::support::random::heavy;

/// FWD-02, RSP-05, RPT-04, RPT-12.
#[test]
fn send_response_and_report_cross_between_shards() {
    let _turn = heavy();
    let relay = two_shards();
    let mut link = across(&relay);
    chat(&mut link, "once more");

    let nickname = Draft::request("NICKNAME", &link.to_p, &link.a.uri).line("Use-Nickname: \"x\"");
    link.a.send(nickname.octets());
    let got = link.p.expect_method("NICKNAME");
    assert_ne!(got.tid, nickname.tid);
    link.p.send(response(&got, "425 Nickname taken"));
    assert_eq!(link.a.response_to(&nickname.tid).code(), Some(425));

    let draft = link.draft().line("Success-Report: yes").text("tell me");
    let got = link.pass(&draft);
    link.p.send(response(&got, "200 OK"));
    link.p.send(report(&got, "000 200 OK", "1-7/7").octets());
    let told = link.a.report_about(&draft.message_id, SOON);
    assert_eq!(told.status().map(|(_, code, _)| code), Some(200));
    assert_eq!(link.a.response_to(&draft.tid).code(), Some(200));

    let draft = link.draft().text("refuse me");
    let got = link.pass(&draft);
    link.p.send(response(&got, "413 Enough"));
    let told = link.a.report_about(&draft.message_id, SOON);
    assert_eq!(told.status().map(|(_, code, _)| code), Some(413));
    relay.assert_ledger_is_settled();
    assert_eq!(relay.metric("msrpd_chunks_reported_total", &[]), 1.0);
}

/// RPT-05, CON-11: the receiver goes while its answer is due; the sender on the other shard hears of it.
#[test]
fn receiver_lost_on_another_shard_is_reported_at_once() {
    let _turn = heavy();
    let relay = two_shards();
    for reset in [true, false] {
        let mut link = across(&relay);
        let draft = link.draft().text("lost");
        link.pass(&draft);
        assert_eq!(link.a.response_to(&draft.tid).code(), Some(200));
        match reset {
            true => link.p.reset(),
            false => link.p.kill(),
        }
        let told = link
            .a
            .report_about(&draft.message_id, Duration::from_secs(2));
        assert_eq!(told.status().map(|(_, code, _)| code), Some(481));
        link.a.silence(Duration::from_millis(200));
    }
    relay.assert_ledger_is_settled();
}

/// CHK-19: the sender goes in mid-chunk; the receiver on the other shard gets the end-line.
#[test]
fn sender_lost_on_another_shard_ends_its_chunk() {
    let _turn = heavy();
    let relay = two_shards();
    for reset in [true, false] {
        let mut link = across(&relay);
        let draft = link.draft().range("1-*/10000").body(&[]);
        link.a.send(draft.head());
        link.a.send([b'k'; 5000]);
        link.p.expect_partial(1);
        match reset {
            true => link.a.reset(),
            false => link.a.kill(),
        }
        let got = link.p.expect_method("SEND");
        assert_eq!(got.flag, b'+');
        assert!(got.body().iter().all(|octet| *octet == b'k'));
        link.p.send(response(&got, "200 OK"));
        link.p.silence(Duration::from_millis(200));
    }
    relay.assert_ledger_is_settled();
}

/// The text that an operator's Prometheus reads, after a conversation.
#[test]
fn metrics_are_well_formed() {
    let _turn = heavy();
    let relay = two_shards();
    drop(across(&relay));
    relay.assert_ledger_is_settled();
    let (_, text) = relay.get("/metrics").expect("/metrics answers");
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = promtool else {
        assert!(std::env::var_os("CI").is_none(), "CI installs promtool");
        eprintln!("promtool is not installed; the text is not checked with it");
        return;
    };
    let mut stdin = promtool.stdin.take().expect("stdin is a pipe");
    stdin.write_all(text.as_bytes()).expect("promtool reads");
    drop(stdin);
    let output = promtool.wait_with_output().expect("promtool ends");
    let said = String::from_utf8_lossy(&output.stderr);
    // Gauges, although they have quantiles: see the same test of the exposition itself.
    let known =
        "msrpd_forward_latency_seconds non-summary metrics should not have \"quantile\" label";
    let unknown: Vec<&str> = said
        .lines()
        .filter(|line| !line.is_empty() && *line != known)
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    assert!(matches!(output.status.code(), Some(0 | 3)), "{said}");
}
