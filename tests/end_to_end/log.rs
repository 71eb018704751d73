//! What is in the log, and what never is.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use msrpload::digest::Algorithm;

use crate::pair::chat;
use crate::reloading::{RELOADED, reload};
use crate::support::client::{Client, SOON};
use crate::support::link::Link;
use crate::support::message::Draft;
use crate::support::relay::{REALM, Relay, Setup, USERS, free_port};

const CONTENT: &str = "what alice has to say";
const SECRET: &str = "the secret that makes users";
/// Red, and a line that nobody wrote.
const ESCAPES: &str = "\u{1b}[31m\r\nWARN forged";

fn session_id(uri: &str) -> &str {
    let (_, path) = uri.rsplit_once('/').expect("a path");
    path.split(';').next().expect("a session-id")
}

fn logged(relay: &Relay, words: &str) {
    let until = Instant::now() + SOON;
    while !relay.log().contains(words) {
        assert!(Instant::now() < until, "no {words} in:\n{}", relay.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn log_to_its_end(relay: &Relay) -> String {
    relay.signal(libc::SIGTERM);
    relay.exit_within(SOON);
    // The last line, as text and as JSON.
    let until = Instant::now() + SOON;
    loop {
        let log = relay.log();
        if log.contains("INFO ended") || log.contains("\"ended\"") {
            return log;
        }
        assert!(Instant::now() < until, "{log}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Everything that clients and strangers do, and the words of it that no line may have.
fn secrets_of_a_busy_relay(relay: &Relay, reloaded: &str) -> Vec<String> {
    let mut secrets = vec![CONTENT.to_owned(), SECRET.to_owned()];
    for (user, password) in USERS {
        secrets.push(password.to_owned());
        secrets.push(Algorithm::Md5.hash(&format!("{user}:{REALM}:{password}")));
    }
    let mut link = Link::neighbours(relay);
    chat(&mut link, CONTENT);
    secrets.push(session_id(&link.a.token).to_owned());
    secrets.push(session_id(&link.p.token).to_owned());
    // Refused by the receiver, and by us.
    let draft = link.draft().text(CONTENT);
    link.a.send(draft.octets());
    let got = link.p.expect_method("SEND");
    link.p.send(crate::support::message::response(
        &got,
        "481 No such session",
    ));
    link.a.report_about(&draft.message_id, SOON);
    // A next hop that is not there.
    let nowhere = format!(
        "{} msrps://127.0.0.1:{}/not-to-be-seen;tcp",
        link.a.token,
        free_port()
    );
    secrets.push("not-to-be-seen".to_owned());
    let draft = Draft::send(&nowhere, &link.a.uri).text(CONTENT);
    link.a.send(draft.octets());
    link.a.find(SOON, |message| {
        message.status().is_some() || message.code().is_some_and(|code| code != 200)
    });
    // Wrong passwords, and names that want to be more than names.
    let mut wrong = Client::tls(relay);
    wrong.set_user("alice", "a wrong password");
    secrets.push("a wrong password".to_owned());
    let challenge = wrong.challenge();
    let answer = wrong.answer(&challenge, 1);
    let (_, response) = answer.authorization.split_once("response=\"").expect("it");
    secrets.push(response[..32].to_owned());
    let (_, nonce) = answer.authorization.split_once("nonce=\"").expect("it");
    secrets.push(nonce[..nonce.find('"').expect("its end")].to_owned());
    let authorization = format!("Authorization: {}", answer.authorization);
    assert_eq!(wrong.auth(&[&authorization]).code(), Some(401));
    for octets in [
        format!("MSRP tid1 {ESCAPES}\r\n"),
        format!("GET /{ESCAPES} HTTP/1.1\r\n\r\n"),
    ] {
        let mut stranger = Client::tcp(relay);
        stranger.send(octets.as_bytes());
        stranger.closed();
    }
    reload(relay, reloaded);
    chat(&mut link, CONTENT);
    secrets
}

/// SEC-04, at the level that says most.
#[test]
fn sec_04_no_line_has_a_secret_and_what_strangers_send_is_escaped() {
    for (format, reloaded) in [("text", RELOADED), ("json", "\"reloaded\"")] {
        let relay = Setup::new()
            .set("log.level", "trace")
            .set("log.format", format)
            .set("auth.shared_secret_files", vec!["secret".to_owned()])
            .file("secret", &format!("{SECRET}\n"))
            .start();
        let secrets = secrets_of_a_busy_relay(&relay, reloaded);
        let log = log_to_its_end(&relay);
        assert!(log.lines().count() > 20, "{log}");
        for secret in &secrets {
            let line = log.lines().find(|line| line.contains(secret.as_str()));
            assert_eq!(line, None, "{secret} stands in the log");
        }
        let control = |character: char| character.is_control() && character != '\n';
        assert!(!log.contains(control), "{log:?}");
        assert!(!log.lines().any(|line| line.starts_with("WARN forged")));
        if format == "json" {
            for line in log.lines() {
                let line: serde_json::Value = serde_json::from_str(line).expect(line);
                assert!(line["level"].is_string() && line["timestamp"].is_string());
            }
        }
    }
}

#[test]
fn lines_that_strangers_cause_over_and_over_are_counted() {
    let relay = Setup::new().set("log.level", "debug").start();
    for _ in 0..1500 {
        let mut stranger = TcpStream::connect(relay.tls).expect("the kernel accepts");
        let _ = stranger.write_all(b"no TLS at all\r\n\r\n");
    }
    let mut a = Client::authenticated(&relay, "alice");
    for _ in 0..60 {
        let nowhere = format!("{} msrps://127.0.0.1:{}/x;tcp", a.token, free_port());
        a.send(Draft::send(&nowhere, &a.uri).text("x").octets());
    }
    logged(&relay, "next hop not reached");
    let closed = |relay: &Relay| relay.metric("msrpd_connections_closed_total", &[]);
    let until = Instant::now() + SOON;
    while closed(&relay) < 1560.0 {
        assert!(Instant::now() < until, "{} are closed", closed(&relay));
        std::thread::sleep(Duration::from_millis(50));
    }
    let log = log_to_its_end(&relay);
    let lines = |words: &str| log.lines().filter(|line| line.contains(words)).count();
    // In one window, or the end of one and the beginning of the next.
    let dials = lines("next hop not reached");
    assert!((20..=40).contains(&dials), "{dials}");
    let ends = lines("connection lost");
    assert!((1000..=1500).contains(&ends), "{ends}");
    assert!(lines("lines of one kind are left out") >= 1, "{log}");
}
