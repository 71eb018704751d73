//! What the log says of a client that gets something wrong: a line for every kind, over TLS and TCP, and no more of them
//! than a hostile one is worth.

use std::time::{Duration, Instant};

use crate::support::client::{Client, SOON};
use crate::support::relay::{REALM, Relay, Setup};

const X: &str = "msrps://x.example.org:2855/session-of-x;tcp";

/// The line that begins with these words; `more` of them all stand in it.
#[track_caller]
fn line(relay: &Relay, words: &str, more: &[&str]) -> String {
    let until = Instant::now() + SOON;
    loop {
        let log = relay.log();
        let found =
            |line: &&str| line.contains(words) && more.iter().all(|more| line.contains(more));
        if let Some(line) = log.lines().find(found) {
            assert!(line.contains(" INFO "), "{line}");
            return line.to_owned();
        }
        assert!(
            Instant::now() < until,
            "no {words:?} with {more:?} in:\n{log}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn request(method: &str, to: &[&str]) -> String {
    let to = to.join(" ");
    format!(
        "MSRP tid12345 {method}\r\nTo-Path: {to}\r\nFrom-Path: msrps://p.invalid:1/p;tcp\r\n\
         Message-ID: id1\r\n-------tid12345$\r\n"
    )
}

/// Sends this on a connection of its own; the relay may close it or answer.
fn stranger(relay: &Relay, by_tcp: bool, octets: &str) {
    let mut stranger = match by_tcp {
        true => Client::tcp(relay),
        false => Client::tls(relay),
    };
    stranger.send(octets);
    let _ = stranger.receive(SOON);
}

/// RFC 4976 §9.1, UPT-12, SYN-22: each mistake has its line, with what came and what was expected.
#[test]
fn every_mistake_has_a_line_that_says_what_was_expected() {
    for by_tcp in [false, true] {
        let relay = Setup::new().set("auth.expires_min", 1).start();
        let (host, port) = (relay.host.as_str(), relay.tls.port());
        let told = |octets: &str, words: &str, more: &[&str]| {
            stranger(&relay, by_tcp, octets);
            line(&relay, words, more)
        };
        let expected = format!("host {host}");
        let elsewhere = "msrps://other.example.net:2855;tcp";
        told(
            &request("AUTH", &[elsewhere]),
            "AUTH to a name that is not this relay's",
            &[
                elsewhere,
                "its host is not this relay",
                &expected,
                &port.to_string(),
            ],
        );
        told(
            &request("SEND", &[X, X]),
            "request to somebody else than this relay",
            &["SEND", "x.example.org", &expected],
        );
        let a = Client::authenticated(&relay, "alice");
        let mut over = Client::tls(&relay);
        over.obtain_token_with(&["Expires: 1"]);
        let gone = Client::authenticated(&relay, "bob");
        let gone_token = gone.token.clone();
        gone.reset();
        relay.metric_becomes("msrpd_sessions", &[], |sessions| sessions == 1.0);
        let none = format!("msrps://{host}:{port}/AAAAAAAAAAAAAAAAAAAAAAAA;tcp");
        let scheme = a.token.replace("msrps:", "msrp:");
        let other_port = a
            .token
            .replace(&port.to_string(), &relay.tcp.port().to_string());
        for (path, reason) in [
            ([none.as_str(), X], "unknown"),
            ([&over.token, X], "expired"),
            ([&gone_token, X], "ended"),
            ([&a.token, X], "bound elsewhere"),
            ([&scheme, X], "wrong scheme"),
            ([&other_port, X], "wrong port"),
        ] {
            let line = told(&request("SEND", &path), "token refused", &["SEND", reason]);
            assert!(line.contains(host) && line.contains("/...;tcp"), "{line}");
        }
        told(
            &request("SEND", &[&a.token, "msrps://x.example.org/x;tcp"]),
            "malformed request",
            &["a URI behind this relay's has no port"],
        );
        let first = request("NICKNAME", &[&none, X]);
        let place = format!("at octet {}:", first.len());
        told(
            &format!("{first}GET /\u{1b}[31m HTTP/1.1\r\n\r\n"),
            "framing lost",
            &[
                &place,
                "\"GET /\\x1b[31m HTTP/1.1\\r\\n",
                "MSRP SP transact-id",
            ],
        );
        if by_tcp {
            told(
                &request("AUTH", &[&relay.uri()]),
                "AUTH without TLS",
                &["AUTH by TLS"],
            );
        } else {
            credentials_that_prove_nothing(&relay);
        }
        let log = relay.log();
        for secret in [&a.token, &over.token, &gone_token] {
            let (_, session_id) = secret.rsplit_once('/').expect("a session-id");
            assert!(!log.contains(&session_id[..24]), "{log}");
        }
        assert!(!log.contains("session-of-x"), "{log}");
        let counted = |name: &str, label: &str| relay.metric(name, &[label]) > 0.0;
        for reason in ["not_ours", "no_session", "malformed"] {
            let label = format!("reason=\"{reason}\"");
            assert!(counted("msrpd_refusals_total", &label), "{reason}");
        }
        assert!(counted(
            "msrpd_connections_closed_total",
            "reason=\"framing\""
        ));
    }
}

fn credentials_that_prove_nothing(relay: &Relay) {
    let mut client = Client::tls(relay);
    let challenge = client.challenge();
    let authorization = client.answer(&challenge, 1).authorization;
    let elsewhere = authorization.replace(REALM, "another.example");
    let answer = client.auth(&[&format!("Authorization: {elsewhere}")]);
    assert_eq!(answer.code(), Some(401));
    let expected = format!("realm \"{REALM}\"");
    line(
        relay,
        "AUTH for an unknown realm",
        &["another.example", "alice", &expected],
    );

    let mut client = Client::tls(relay);
    client.set_user("alice", "mistyped");
    client.challenge();
    for _ in 0..2 {
        let challenge = client.challenge();
        let authorization = client.answer(&challenge, 1).authorization;
        let answer = client.auth(&[&format!("Authorization: {authorization}")]);
        assert_eq!(answer.code(), Some(401));
    }
    line(
        relay,
        "AUTH in a loop of 401s",
        &["user \"alice\"", "a wrong response", &expected],
    );
    let label = "reason=\"credentials\"";
    assert!(relay.metric("msrpd_refusals_total", &[label]) >= 3.0);
    let labels = ["code=\"401\"", "direction=\"out\""];
    assert!(relay.metric("msrpd_responses_total", &labels) >= 3.0);
}

/// SEC-07: a hostile source has a line for each kind in a minute, whatever and however much it sends; no line is long, and
/// none has anything that a terminal would take for its own.
#[test]
fn sec_07_a_hostile_source_cannot_grow_the_log() {
    let relay = Setup::new().start();
    let before = relay.log();
    let noise: String = ('\u{1}'..='\u{ff}')
        .filter(|c| *c != '\n')
        .cycle()
        .take(20_000)
        .collect();
    let long = vec![X; 30].join(" ");
    for number in 0..60 {
        for octets in [
            noise.clone(),
            format!("MSRP tid{number}x {noise}\r\n"),
            request("AUTH", &[&long]),
            request("SEND", &[&long]),
            request("SEND", &[&format!("msrps:{}", "x".repeat(20_000))]),
            request("SEND", &[&format!("{X}\u{1b}[2J")]),
        ] {
            let mut stranger = Client::tcp(&relay);
            stranger.write(octets.as_bytes(), SOON);
        }
    }
    let ended = |closed: f64| closed >= 360.0;
    relay.metric_becomes("msrpd_connections_closed_total", &[], ended);
    let log = relay.log();
    let lines: Vec<&str> = log[before.len()..].lines().collect();
    assert!((4..=8).contains(&lines.len()), "{lines:#?}");
    for line in &lines {
        assert!(line.len() < 1500, "{} octets: {line}", line.len());
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}
