//! A relay that is reached by IPv6 alone.

use std::net::{Ipv6Addr, TcpListener};
use std::time::Duration;

use crate::support::client::{Client, Nothing};
use crate::support::link::Link;
use crate::support::message::Draft;
use crate::support::relay::Setup;
use crate::support::tls::ClientTls;

#[test]
fn sessions_and_dials_by_ipv6() {
    let relay = Setup::new()
        .at_ipv6("relay.example.com")
        .set_list("dial.allow", &["::1/128"])
        .set("dial.last_hop_tcp", true)
        .set("log.level", "debug")
        .start();
    assert!(relay.tls.is_ipv6());
    Link::inbound(&relay).still_works();
    Link::neighbours(&relay).still_works();

    // A last hop by its literal, and one that no range opens.
    let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let mut a = Client::authenticated(&relay, "alice");
    let to = format!("{} msrp://[::1]:{port}/peer;tcp", a.token);
    a.send(Draft::send(&to, &a.uri).text("by IPv6").octets());
    let (socket, from) = listener.accept().expect("the relay connects");
    assert!(from.is_ipv6());
    let mut peer = Client::accepted(None, socket, format!("msrp://[::1]:{port}/peer;tcp"));
    assert_eq!(peer.expect_method("SEND").body(), b"by IPv6");
    let denied = format!("{} msrp://[::ffff:127.0.0.1]:{port}/peer;tcp", a.token);
    let draft = Draft::send(&denied, &a.uri).text("IPv4 in disguise");
    a.send(draft.octets());
    let told = a.find(Duration::from_secs(5), |message| {
        message.method() == Some("REPORT") || message.code().is_some_and(|code| code != 200)
    });
    assert!(told.code().is_none_or(|code| code >= 400));

    // A token of its own by literal: the relay knows itself by that name, too.
    let by_literal = a.token.replacen("relay.example.com", "[::1]", 1);
    let mut b = Client::tls(&relay);
    let to = format!("{by_literal} {}", a.uri);
    b.send(Draft::send(&to, &b.uri).text("to the literal").octets());
    let arrived = a.find(Duration::from_secs(5), |m| m.method() == Some("SEND"));
    assert_eq!(arrived.body(), b"to the literal");
    a.kill();
    let logged = || relay.log().contains("remote=[::1]:");
    let until = std::time::Instant::now() + Duration::from_secs(5);
    while !logged() {
        assert!(std::time::Instant::now() < until, "{}", relay.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A listener at `[::]` has IPv4, whose addresses count as such: in the log, for balancers and for quotas.
#[test]
fn the_unspecified_ipv6_address_serves_ipv4_as_ipv4() {
    let relay = Setup::new()
        .at_any_ipv6("relay.example.com")
        .set("log.level", "debug")
        .set("quotas.prefix", toml::toml! { connections = 2 })
        .start();
    assert!(relay.tls.is_ipv4());
    let first = Client::authenticated(&relay, "alice");
    let _second = Client::authenticated(&relay, "bob");
    let third = Client::tls_with(&relay, &ClientTls::default());
    assert!(third.map_or(true, |mut third| matches!(
        third.receive(Duration::from_secs(5)),
        Err(Nothing::Ended(_))
    )));
    first.kill();
    let until = std::time::Instant::now() + Duration::from_secs(5);
    while !relay.log().contains("remote=127.0.0.1:") {
        assert!(std::time::Instant::now() < until, "{}", relay.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!relay.log().contains("::ffff:"));
}

/// With `ipv6_only` the same address leaves IPv4 alone.
#[test]
fn ipv6_only_listens_on_ipv6_only() {
    let relay = Setup::new()
        .at_any_ipv6("relay.example.com")
        .ipv6_only()
        .start();
    let by_ipv4 = std::net::SocketAddr::from(([127, 0, 0, 1], relay.tls.port()));
    std::net::TcpStream::connect(by_ipv4).expect_err("nobody listens");
    Client::authenticated(&relay, "alice");
}
