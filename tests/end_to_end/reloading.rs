//! SIGHUP, and certificates that change by themselves, with clients connected.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::{ClientConfig, ClientConnection};

use crate::pair::two_shards;
use crate::support::client::{Client, SOON};
use crate::support::link::Link;
use crate::support::message::Draft;
use crate::support::peer::Peer;
use crate::support::pki::{Identity, TRUSTED};
use crate::support::relay::{HOST, Relay, htdigest};
use crate::support::tls::{Anything, ClientTls, provider};

/// Changes the configuration of a running relay, key by key, and nothing else.
pub fn change(relay: &Relay, changes: &[(&str, &str)]) {
    let path = relay.dir().join("msrpd.toml");
    let text = std::fs::read_to_string(&path).expect("the configuration");
    let mut config: toml::Table = text.parse().expect("TOML");
    for (key, value) in changes {
        let (section, key) = key.split_once('.').expect("section.key");
        let value: toml::Table = format!("v = {value}").parse().expect("a value");
        let section = config
            .entry(section)
            .or_insert_with(|| toml::Table::new().into());
        let section = section.as_table_mut().expect("a section");
        section.insert(key.to_owned(), value["v"].clone());
    }
    std::fs::write(path, config.to_string()).expect("the configuration");
}

fn write(relay: &Relay, name: &str, text: &str) {
    std::fs::write(relay.dir().join(name), text).expect("a file");
}

/// SIGHUP; waits until the log has one more line with these words.
pub fn reload(relay: &Relay, words: &str) {
    let before = relay.log().matches(words).count();
    relay.signal(libc::SIGHUP);
    logged(relay, words, before + 1);
}

fn logged(relay: &Relay, words: &str, times: usize) {
    let until = Instant::now() + SOON;
    while relay.log().matches(words).count() < times {
        assert!(Instant::now() < until, "no {words} in:\n{}", relay.log());
        sleep(Duration::from_millis(20));
    }
    // Every shard has taken it by then.
}

pub const RELOADED: &str = " reloaded file=";

#[test]
fn a_reload_touches_no_session() {
    let relay = two_shards();
    let mut link = Link::neighbours(&relay);
    let mut foreign = Link::inbound_tcp(&relay);
    change(
        &relay,
        &[
            ("limits.connections", "2"),
            ("limits.unauthenticated", "2"),
            ("limits.queued_octets_per_session", "16384"),
            ("limits.transactions_per_session", "16"),
            ("dial.allow", "[]"),
            ("log.level", "\"debug\""),
        ],
    );
    // Alice is no user any more.
    let others: String = htdigest(&["example.com"])
        .lines()
        .filter(|line| !line.starts_with("alice:"))
        .map(|line| format!("{line}\n"))
        .collect();
    write(&relay, "users.htdigest", &others);
    reload(&relay, RELOADED);

    // Far more connections than are allowed now, a session of nobody: all go on.
    link.still_works();
    foreign.still_works();
    assert_eq!(relay.metric("msrpd_connections", &["role=\"relay\""]), 0.0);
    let before = relay.metric("msrpd_refusals_total", &["too_many_connections"]);
    let refused = Client::tls_with(&relay, &ClientTls::default());
    assert!(refused.is_err(), "a connection beyond the lowered limit");
    relay.metric_becomes("msrpd_refusals_total", &["too_many_connections"], |now| {
        now > before
    });

    change(&relay, &[("limits.connections", "0")]);
    reload(&relay, RELOADED);
    let mut nobody = Client::tls(&relay);
    let challenge = nobody.challenge();
    let answer = nobody.answer(&challenge, 1);
    let line = format!("Authorization: {}", answer.authorization);
    assert_eq!(nobody.auth(&[&line]).code(), Some(401), "alice is gone");
    drop(nobody);
    logged(&relay, "DEBUG", 1);

    // New rules of dialling, on whatever shard.
    for user in ["bob", "carol"] {
        let peer = Peer::tls();
        let mut a = Client::authenticated(&relay, user);
        let draft = Draft::send(&format!("{} {}", a.token, peer.uri), &a.uri).text("inside?");
        a.send(draft.octets());
        let failed = a.find(SOON, |m| m.code() != Some(200));
        let report = failed.status().map(|(_, code, _)| code);
        let code = failed.code().or(report);
        assert!(matches!(code, Some(403 | 408)), "{failed:?}");
        peer.nobody_connects(Duration::from_millis(100));
    }
    change(&relay, &[("dial.allow", "[\"127.0.0.0/8\"]")]);
    reload(&relay, RELOADED);
    let bob = Client::authenticated(&relay, "bob");
    Link::with_dialled(bob, &Peer::tls()).still_works();
}

#[test]
fn a_removed_users_session_ends_at_its_expiry() {
    let relay = crate::support::relay::Setup::new()
        .set("relay.workers", 2)
        .set("auth.expires_min", 1)
        .start();
    let mut link = Link::neighbours(&relay);
    link.a.obtain_token_with(&["Expires: 3"]);
    let granted = Instant::now();
    let token = link.a.token.clone();
    let to_p = link.to_p.split_once(' ').expect("two URIs").1.to_owned();
    write(
        &relay,
        "users.htdigest",
        &format!("bob:example.com:{}\n", "0".repeat(32)),
    );
    reload(&relay, RELOADED);
    let code = |link: &mut Link| {
        let draft = Draft::send(&format!("{token} {to_p}"), &link.a.uri).text("still me");
        link.a.send(draft.octets());
        link.a.response_to(&draft.tid).code()
    };
    if granted.elapsed() < Duration::from_secs(2) {
        assert_eq!(code(&mut link), Some(200), "it is alive");
    }
    sleep(Duration::from_millis(3200).saturating_sub(granted.elapsed()));
    assert_eq!(code(&mut link), Some(481), "it has expired");
    // The session that was granted for longer is alive.
    let mut long = Draft::send(&link.to_p, &link.a.uri);
    long = long.text("and I");
    link.a.send(long.octets());
    assert_eq!(link.a.response_to(&long.tid).code(), Some(200));
}

#[test]
fn a_reload_takes_realm_algorithms_and_who_is_disabled() {
    let relay = two_shards();
    let mut old = Client::tls(&relay);
    assert_eq!(old.challenge().realm, "example.com");
    write(
        &relay,
        "users.htdigest",
        &htdigest(&["example.com", "other"]),
    );
    change(
        &relay,
        &[
            ("auth.realm", "\"other\""),
            ("auth.algorithms", "[\"SHA-256\", \"MD5\"]"),
            ("auth.disabled", "[\"bob\"]"),
        ],
    );
    reload(&relay, RELOADED);
    // On both shards: two connections in a row go to different ones.
    for _ in 0..2 {
        let mut new = Client::tls(&relay);
        let offered = new.auth(&[]);
        let headers: Vec<_> = offered.headers_named("WWW-Authenticate").collect();
        assert_eq!(headers.len(), 2, "{headers:?}");
        assert!(headers[0].contains("SHA-256") && headers[0].contains("realm=\"other\""));
        new.obtain_token();
    }
    let mut link = Link::inbound(&relay);
    link.still_works();
    // Who was connected before has a new challenge to answer, too.
    old.obtain_token();
}

/// The chain that whoever asks for `name` is shown.
fn shown(relay: &Relay, name: &str) -> Vec<u8> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    let name = name.to_owned().try_into().expect("a name");
    let mut session = ClientConnection::new(Arc::new(config), name).expect("a session");
    let mut socket = std::net::TcpStream::connect(relay.tls).expect("it listens");
    while session.is_handshaking() {
        session.complete_io(&mut socket).expect("a handshake");
    }
    session.peer_certificates().expect("a chain")[0].to_vec()
}

fn becomes(relay: &Relay, name: &str, identity: &Identity) {
    let until = Instant::now() + SOON;
    while shown(relay, name) != *identity.chain[0] {
        assert!(
            Instant::now() < until,
            "still the old one:\n{}",
            relay.log()
        );
        sleep(Duration::from_millis(100));
    }
}

#[test]
fn tls_04_certificates_by_name_come_and_go_with_a_reload() {
    let relay = two_shards();
    let mut link = Link::neighbours(&relay);
    let default = shown(&relay, HOST);
    assert_eq!(shown(&relay, "example.com"), default, "an unknown name");
    let extra = TRUSTED.leaf(&["example.com"]);
    write(&relay, "extra.pem", &extra.chain_pem);
    write(&relay, "extra.key", &extra.key_pem);
    let table = "[{ certificate = \"extra.pem\", key = \"extra.key\" }]";
    change(&relay, &[("tls.extra", table)]);
    reload(&relay, RELOADED);
    for _ in 0..2 {
        assert_eq!(shown(&relay, "example.com"), *extra.chain[0]);
        assert_eq!(shown(&relay, HOST), default);
    }
    let name = "msrpd_tls_certificate_expiry_timestamp_seconds";
    assert!(relay.metric(name, &["relay.pem"]) > 0.0);
    assert!(relay.metric(name, &["extra.pem"]) > 0.0);
    change(&relay, &[("tls.extra", "[]")]);
    reload(&relay, RELOADED);
    assert_eq!(shown(&relay, "example.com"), default);
    assert_eq!(relay.metric(name, &["extra.pem"]), 0.0);
    link.still_works();
}

#[test]
fn certificates_are_taken_as_soon_as_their_files_change() {
    let relay = two_shards();
    let mut link = Link::neighbours(&relay);
    let name = "msrpd_tls_certificate_expiry_timestamp_seconds";
    let new = TRUSTED.leaf_with(&[HOST, "localhost"], |params| {
        params.not_after = rcgen::date_time_ymd(2090, 1, 1);
    });
    let before = relay.metric(name, &[]);
    write(&relay, "relay.pem", &new.chain_pem);
    write(&relay, "relay.key", &new.key_pem);
    becomes(&relay, HOST, &new);
    relay.metric_becomes(name, &[], |now| now != before);
    link.still_works();
    // What cannot be used is said once, and the old one stays.
    write(&relay, "relay.key", "no key");
    logged(&relay, "are not taken", 1);
    sleep(Duration::from_millis(4500));
    assert_eq!(relay.log().matches("are not taken").count(), 1);
    assert_eq!(shown(&relay, HOST), *new.chain[0]);
    let newer = TRUSTED.leaf(&[HOST, "localhost"]);
    write(&relay, "relay.key", &newer.key_pem);
    write(&relay, "relay.pem", &newer.chain_pem);
    becomes(&relay, HOST, &newer);
    link.still_works();
}
