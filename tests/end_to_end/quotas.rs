//! Quotas on a running relay with two shards, and a reload of them.

use std::time::{Duration, Instant};

use crate::reloading::{RELOADED, change, reload};
use crate::support::client::{Client, SOON};
use crate::support::link::Link;
use crate::support::message::Draft;
use crate::support::relay::{Relay, Setup};

const EXCEEDED: &str = "msrpd_quota_exceeded_total";

fn with(subject: &str, quota: &str, bound: i64) -> Setup {
    let quota = toml::Table::from_iter([(quota.to_owned(), bound.into())]);
    Setup::new()
        .set("relay.workers", 2)
        .set(&format!("quotas.{subject}"), quota)
}

fn exceeded(relay: &Relay, subject: &str, quota: &str) -> f64 {
    let labels = [
        &*format!("subject=\"{subject}\""),
        &*format!("quota=\"{quota}\""),
    ];
    relay.metric(EXCEEDED, &labels)
}

/// AUTH with the right password.
fn code_of_auth(client: &mut Client) -> u16 {
    let challenge = client.challenge();
    let answer = client.answer(&challenge, 1);
    let authorization = format!("Authorization: {}", answer.authorization);
    client.auth(&[&authorization]).code().expect("a response")
}

#[test]
fn sec_06_sessions_of_a_user_are_counted_over_both_shards() {
    let relay = with("user", "sessions", 2).start();
    let mut first = Client::tls(&relay);
    let mut second = Client::tls(&relay);
    assert_eq!(code_of_auth(&mut first), 200);
    assert_eq!(code_of_auth(&mut second), 200);
    let mut third = Client::tls(&relay);
    assert_eq!(code_of_auth(&mut third), 403);
    assert_eq!(exceeded(&relay, "user", "sessions"), 1.0);
    first.kill();
    relay.metric_becomes("msrpd_sessions", &[], |sessions| sessions == 1.0);
    assert_eq!(code_of_auth(&mut third), 200);
    // One that has what it has keeps it, whatever a reload says.
    change(&relay, &[("quotas.user", "{ sessions = 1 }")]);
    reload(&relay, RELOADED);
    assert_eq!(code_of_auth(&mut second), 403);
    relay.metric_becomes("msrpd_sessions", &[], |sessions| sessions == 2.0);
    change(&relay, &[("quotas.user", "{ sessions = 0 }")]);
    reload(&relay, RELOADED);
    assert_eq!(code_of_auth(&mut second), 200);
}

/// The address that counts is the one that the balancer names.
#[test]
fn sec_06_connections_of_an_address_are_counted_behind_a_balancer() {
    let relay = with("prefix", "connections", 2)
        .set_listeners_list("proxy_protocol_from", &["127.0.0.0/8"])
        .start();
    let behind = |address: &str| {
        let header = format!("PROXY TCP4 {address} 198.51.100.1 40001 2855\r\n");
        let mut client = Client::tls_behind(&relay, &[header.as_bytes()]).ok()?;
        // It may have been closed behind the handshake.
        let auth = Draft::request("AUTH", &relay.uri(), &client.uri);
        client.write(&auth.octets(), SOON);
        client.receive(SOON).is_ok().then_some(client)
    };
    let mut kept = vec![behind("203.0.113.7").expect("one")];
    kept.push(behind("203.0.113.7").expect("two"));
    assert!(behind("203.0.113.7").is_none(), "a third");
    kept.push(behind("203.0.113.8").expect("somebody else"));
    assert_eq!(exceeded(&relay, "prefix", "connections"), 1.0);
    kept.remove(0).kill();
    let until = Instant::now() + SOON;
    while behind("203.0.113.7").is_none() {
        assert!(Instant::now() < until, "there is room again");
    }
}

/// What exceeds the rate is slowed, not refused, and a reload lifts it.
#[test]
fn sec_06_messages_are_slowed_and_a_reload_lets_them_go() {
    let relay = with("user", "messages_per_second", 50).start();
    let mut link = Link::neighbours(&relay);
    let send = |link: &mut Link, messages: usize| {
        let mut octets = Vec::new();
        for _ in 0..messages {
            let draft = link.draft().failure_report("no").text("slowly");
            octets.extend_from_slice(draft.octets().as_ref());
        }
        link.a.send(octets);
    };
    let began = Instant::now();
    send(&mut link, 150);
    for _ in 0..150 {
        link.p.expect_method("SEND");
    }
    let seconds = began.elapsed().as_secs_f64();
    assert!(seconds > 2.4, "150 messages took {seconds} s");
    assert!(exceeded(&relay, "user", "messages_per_second") > 0.0);
    link.a.silence(Duration::from_millis(50));

    send(&mut link, 3000);
    change(&relay, &[("quotas.user", "{ messages_per_second = 0 }")]);
    reload(&relay, RELOADED);
    let began = Instant::now();
    for _ in 0..3000 {
        link.p.expect_method("SEND");
    }
    assert!(began.elapsed() < Duration::from_secs(30), "not a minute");
    relay.assert_ledger_is_settled();
}

#[test]
fn sec_06_a_message_that_is_too_large_is_refused() {
    let relay = with("realm", "message_octets", 1000).start();
    let mut link = Link::neighbours(&relay);
    let draft: Draft = link.draft().text(&"x".repeat(1001));
    let refused = link.refused_with(413, draft.octets().as_ref());
    assert_eq!(refused.code(), Some(413));
    assert_eq!(exceeded(&relay, "realm", "message_octets"), 1.0);
    let draft = link.draft().text(&"x".repeat(1000));
    link.pass(&draft);
}
