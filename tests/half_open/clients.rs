//! Clients, authenticated and foreign, whose host vanishes.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::host::Host;
use crate::rows;
use crate::support::client::{Client, SOON};
use crate::support::link::Link;
use crate::support::message::{Draft, response};
use crate::support::relay::{Relay, Setup};
use crate::support::tls::ClientTls;

rows! {
    any: [],
    own: [
        d_41_silent_client_is_found_by_keepalive_within_3_minutes,
        d_41_one_lost_probe_ends_nobody,
        d_41_client_that_vanished_is_lost_at_the_default_stall_timeout,
        d_41_client_that_vanished_is_lost_after_the_stall_timeout,
        d_41_client_that_falls_silent_is_lost_after_the_stall_timeout,
        d_41_foreign_client_that_vanished_is_lost_and_its_uri_is_free_again,
        d_41_foreign_client_that_came_back_under_its_uri_gets_its_answers,
        d_41_client_behind_a_nat_that_forgot_its_port_is_lost,
        d_41_reload_changes_the_patience_with_open_connections,
    ],
}

/// What most tests set `limits.stall_timeout` to.
pub const STALL: Duration = Duration::from_secs(3);
/// D-41: so long after it a vanished host is lost at the latest. The rest is for a busy machine.
pub const LATE: Duration = Duration::from_secs(2 + 8);

pub fn relay(stall_timeout: Duration) -> Relay {
    Setup::new()
        .everywhere("10.77.0.0/16")
        .set(
            "limits.stall_timeout",
            format!("{}s", stall_timeout.as_secs()),
        )
        .set("log.level", "debug")
        .start()
}

/// Where this host finds the relay.
pub fn relay_seen_from(host: &Host, relay: &Relay) -> SocketAddr {
    (host.relay(), relay.port()).into()
}

pub fn authenticated(host: &Host, relay: &Relay, user: &str) -> Client {
    let address = relay_seen_from(host, relay);
    host.run(|| Client::authenticated_to(relay, address, user))
}

/// How many connections the relay has found to lead nowhere.
pub fn vanished(relay: &Relay) -> f64 {
    relay.metric("msrpd_connections_closed_total", &["reason=\"vanished\""])
}

/// A's chunk is answered, for the relay has it, and reported once its next hop counts as lost: with one of these codes, and
/// not before `patience` is over.
#[track_caller]
pub fn is_lost_after(link: &mut Link, patience: Duration, codes: &[u16]) {
    let began = Instant::now();
    let draft = link.draft().text("is anybody there?");
    link.a.send(draft.octets());
    assert_eq!(link.a.response_to(&draft.tid).code(), Some(200));
    let report = link.a.report_about(&draft.message_id, patience + LATE);
    let code = report.status().expect("a REPORT has a status").1;
    assert!(codes.contains(&code), "{code}");
    assert!(began.elapsed() >= patience, "early: {:?}", began.elapsed());
}

fn client_is_lost(stall: Duration, vanish: fn(&Host)) {
    let (host, relay) = (Host::new(), relay(stall));
    let alice = Client::authenticated(&relay, "alice");
    let mut link = Link::between(alice, authenticated(&host, &relay, "bob"));
    link.still_works();
    vanish(&host);
    let began = Instant::now();
    // At the defaults the hop timer may come first (RPT-02).
    is_lost_after(&mut link, stall, &[408, 481]);
    while vanished(&relay) == 0.0 {
        assert!(began.elapsed() < stall + LATE, "it is not found");
        sleep(Duration::from_millis(50));
    }
    // Its token went with its connection: who writes now is told at once (UPT-08, D-10).
    let draft = link.draft().text("and now?");
    link.a.send(draft.octets());
    assert_eq!(link.a.response_to(&draft.tid).code(), Some(481));
    relay.assert_ledger_is_settled();
}

fn d_41_client_that_vanished_is_lost_after_the_stall_timeout() {
    client_is_lost(STALL, Host::vanish);
}

fn d_41_client_that_falls_silent_is_lost_after_the_stall_timeout() {
    client_is_lost(STALL, Host::fall_silent);
}

fn d_41_client_that_vanished_is_lost_at_the_default_stall_timeout() {
    client_is_lost(Duration::from_secs(30), Host::vanish);
}

fn d_41_foreign_client_that_vanished_is_lost_and_its_uri_is_free_again() {
    let (host, relay) = (Host::new(), relay(STALL));
    let address = relay_seen_from(&host, &relay);
    let connect = || {
        let tls = ClientTls::default();
        host.run(|| Client::tls_to(&relay, address, &tls).expect("the relay is there"))
    };
    let mut link = Link::with_inbound(Client::authenticated(&relay, "alice"), connect());
    link.still_works();
    host.vanish();
    is_lost_after(&mut link, STALL, &[408]);
    host.come_back();
    // Back under its URI, it gets what is sent there (D-34).
    let mut again = connect();
    again.uri.clone_from(&link.p.uri);
    Link::with_inbound(link.a, again).still_works();
}

fn d_41_foreign_client_that_came_back_under_its_uri_gets_its_answers() {
    let (host, relay) = (Host::new(), relay(STALL));
    let address = relay_seen_from(&host, &relay);
    let connect = || {
        let tls = ClientTls::default();
        host.run(|| Client::tls_to(&relay, address, &tls).expect("the relay is there"))
    };
    let mut link = Link::with_inbound(Client::authenticated(&relay, "alice"), connect());
    link.still_works();
    let port = link.p.socket().local_addr().expect("a socket").port();
    host.forget_port(port);
    // It is back, and writes, before anybody knows that the first connection leads nowhere.
    let mut again = connect();
    again.uri.clone_from(&link.p.uri);
    let hello = Draft::send(&link.to_a, &again.uri).text("I am back");
    again.send(hello.octets());
    let got = link.a.expect_method("SEND");
    link.a.send(response(&got, "200 OK"));
    assert_eq!(again.response_to(&hello.tid).code(), Some(200));
    is_lost_after(&mut link, STALL, &[408]);
    link.p = again;
    link.still_works();
}

fn d_41_client_behind_a_nat_that_forgot_its_port_is_lost() {
    let (host, relay) = (Host::new(), relay(STALL));
    let bob = authenticated(&host, &relay, "bob");
    let address = bob.socket().local_addr().expect("a socket has an address");
    let mut link = Link::between(Client::authenticated(&relay, "alice"), bob);
    link.still_works();
    host.forget_port(address.port());
    // By another port it is there at once, under a token of its own, while the old one is not lost yet.
    let again = authenticated(&host, &relay, "bob");
    Link::between(Client::authenticated(&relay, "alice"), again).still_works();
    assert_eq!(vanished(&relay), 0.0);
    is_lost_after(&mut link, STALL, &[481]);
    assert_eq!(vanished(&relay), 1.0);
    let draft = link.draft().text("to the old token");
    link.a.send(draft.octets());
    assert_eq!(link.a.response_to(&draft.tid).code(), Some(481));
}

fn d_41_reload_changes_the_patience_with_open_connections() {
    let (host, relay) = (Host::new(), relay(Duration::from_secs(600)));
    let alice = Client::authenticated(&relay, "alice");
    let mut link = Link::between(alice, authenticated(&host, &relay, "bob"));
    link.still_works();
    let file = relay.dir().join("msrpd.toml");
    let text = std::fs::read_to_string(&file).expect("the relay has a configuration");
    let shorter = text.replace("stall_timeout = \"600s\"", "stall_timeout = \"3s\"");
    assert_ne!(text, shorter);
    std::fs::write(&file, shorter).expect("it can be written");
    relay.signal(libc::SIGHUP);
    let until = Instant::now() + SOON;
    while !relay.log().contains("reloaded") {
        assert!(Instant::now() < until, "{}", relay.log());
        sleep(Duration::from_millis(20));
    }
    host.vanish();
    is_lost_after(&mut link, STALL, &[481]);
}

fn d_41_silent_client_is_found_by_keepalive_within_3_minutes() {
    let (host, relay) = (Host::new(), relay(Duration::from_secs(30)));
    let bob = authenticated(&host, &relay, "bob");
    let mut link = Link::between(Client::authenticated(&relay, "alice"), bob);
    link.still_works();
    // Until all is acknowledged.
    sleep(Duration::from_secs(1));
    let heard = Instant::now();
    host.vanish();
    while vanished(&relay) == 0.0 {
        assert!(heard.elapsed() < Duration::from_secs(180) + LATE);
        sleep(Duration::from_millis(500));
    }
    assert!(
        heard.elapsed() > Duration::from_secs(110),
        "it was not asked"
    );
    relay.metric_becomes("msrpd_sessions", &[], |sessions| sessions == 1.0);
}

fn d_41_one_lost_probe_ends_nobody() {
    let (host, relay) = (Host::new(), relay(Duration::from_secs(30)));
    let bob = authenticated(&host, &relay, "bob");
    let mut link = Link::between(Client::authenticated(&relay, "alice"), bob);
    link.still_works();
    // The first probe comes after 120 s without a word, the second 15 s later.
    sleep(Duration::from_secs(100));
    host.fall_silent();
    sleep(Duration::from_secs(28));
    host.come_back();
    sleep(Duration::from_secs(15));
    let draft = link.draft().text("still there?");
    link.a.send(draft.octets());
    let got = link.p.expect_method("SEND");
    link.p.send(response(&got, "200 OK"));
    assert_eq!(link.a.response_to(&draft.tid).code(), Some(200));
    assert_eq!(vanished(&relay), 0.0);
}
