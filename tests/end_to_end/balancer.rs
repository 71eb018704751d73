//! Connections that a balancer passes on, with a PROXY header in front.

use std::io::Read;
use std::time::{Duration, Instant};

use crate::support::client::{Client, Nothing, SOON};
use crate::support::message::Draft;
use crate::support::relay::{Relay, Setup};

const LINE: &[u8] = b"PROXY TCP4 203.0.113.7 198.51.100.1 40001 2855\r\n";
const UNKNOWN: &[u8] = b"PROXY UNKNOWN\r\n";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2, TCP over IPv6, with something after the addresses.
fn binary() -> Vec<u8> {
    let mut body = Vec::new();
    for ip in ["2001:db8::7", "2001:db8::1"] {
        body.extend(ip.parse::<std::net::Ipv6Addr>().unwrap().octets());
    }
    body.extend([0x9c, 0x42, 0x0b, 0x27]);
    body.extend([0x04, 0, 2, 9, 9]);
    let head = [SIGNATURE, &[0x21, 0x21, 0, body.len() as u8]].concat();
    [head, body].concat()
}

fn local() -> Vec<u8> {
    [SIGNATURE, &[0x20, 0, 0, 0]].concat()
}

fn behind_a_balancer(network: &str) -> Setup {
    Setup::new()
        .set_listeners_list("proxy_protocol_from", &[network])
        .set("log.level", "debug")
}

fn logged(relay: &Relay, words: &str) {
    let until = Instant::now() + SOON;
    while !relay.log().contains(words) {
        assert!(Instant::now() < until, "no {words} in:\n{}", relay.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_balancers_header_names_the_client() {
    let relay = behind_a_balancer("127.0.0.0/8").start();
    let (binary, local) = (binary(), local());
    let octet_by_octet: Vec<&[u8]> = LINE.chunks(1).collect();
    for before in [
        &[LINE][..],
        &[&binary[..20], &binary[20..]],
        &[UNKNOWN],
        &[&local],
        &octet_by_octet,
    ] {
        let mut client = Client::tls_behind(&relay, before).expect("the handshake succeeds");
        client.obtain_token();
        client.kill();
    }
    logged(&relay, "remote=203.0.113.7:40001");
    logged(&relay, "remote=[2001:db8::7]:40002");
    logged(&relay, "remote=127.0.0.1:");
}

#[test]
fn a_balancer_may_stand_before_the_plain_listener_too() {
    let relay = behind_a_balancer("127.0.0.1").start();
    let mut a = Client::tls_behind(&relay, &[LINE]).expect("the handshake succeeds");
    a.obtain_token();
    let mut foreign = Client::tcp(&relay);
    let draft = Draft::send(&format!("{} {}", a.token, a.uri), &foreign.uri).text("hello");
    // The header and a message in one segment.
    foreign.send([LINE, draft.octets().as_ref()].concat());
    assert_eq!(a.expect_method("SEND").body(), b"hello");
    assert_eq!(foreign.response_to(&draft.tid).code(), Some(200));
}

#[test]
fn only_a_balancer_may_name_somebody_else() {
    let relay = behind_a_balancer("192.0.2.0/24").start();
    for before in [&[LINE][..], &[&binary()]] {
        assert!(Client::tls_behind(&relay, before).is_err());
    }
    let mut client = Client::tls(&relay);
    client.obtain_token();
    let log = relay.log();
    assert!(!log.contains("203.0.113.7") && !log.contains("2001:db8::7"));
}

#[test]
fn a_balancer_without_a_header_is_let_go() {
    let relay = behind_a_balancer("127.0.0.1").start();
    assert!(Client::tls_behind(&relay, &[b""]).is_err());
    let mut plain = Client::tcp(&relay);
    plain.send("MSRP a786hjs2 SEND\r\n");
    plain.closed();
    relay.metric_becomes(
        "msrpd_connections_closed_total",
        &["reason=\"proxy_header\""],
        |closed| closed == 2.0,
    );
}

#[test]
fn the_header_is_due_within_the_probation_time() {
    let relay = behind_a_balancer("127.0.0.1")
        .set("limits.probation", "1s")
        .start();
    let mut silent = std::net::TcpStream::connect(("127.0.0.1", relay.port())).unwrap();
    std::io::Write::write_all(&mut silent, &LINE[..9]).unwrap();
    let began = Instant::now();
    silent.set_read_timeout(Some(SOON)).unwrap();
    assert_eq!(silent.read(&mut [0]).unwrap(), 0);
    assert!(began.elapsed() > Duration::from_millis(500));
    relay.metric_becomes(
        "msrpd_connections_closed_total",
        &["reason=\"probation\""],
        |closed| closed == 1.0,
    );
}

/// SEC-06: connections whose header names nobody count for the balancer, by a quota of their own; clients that it names
/// are not in their way, nor they in the clients'.
#[test]
fn a_balancers_own_connections_have_a_quota_of_their_own() {
    let relay = behind_a_balancer("127.0.0.0/8")
        .set("quotas.balancer", toml::toml! { connections = 2 })
        .set("quotas.prefix", toml::toml! { connections = 1 })
        .start();
    let local = local();
    let ends = |mut client: Client| matches!(client.receive(SOON), Err(Nothing::Ended(_)));
    let mut first = Client::tls_behind(&relay, &[UNKNOWN]).expect("one");
    first.obtain_token();
    let mut second = Client::tls_behind(&relay, &[&local]).expect("two");
    second.obtain_token();
    for before in [UNKNOWN, &local[..]] {
        let third = Client::tls_behind(&relay, &[before]);
        assert!(third.map_or(true, ends), "the third is let in");
    }
    let refused = |subject| {
        let subject = format!("subject=\"{subject}\"");
        let labels = [subject.as_str(), "quota=\"connections\""];
        relay.metric("msrpd_quota_exceeded_total", &labels)
    };
    assert_eq!((refused("balancer"), refused("prefix")), (2.0, 0.0));
    let mut named = Client::tls_behind(&relay, &[LINE]).expect("a client");
    named.obtain_token();
    let again = Client::tls_behind(&relay, &[LINE]);
    assert!(again.map_or(true, ends), "a second one of the same address");
    assert_eq!((refused("balancer"), refused("prefix")), (2.0, 1.0));
    // A place is free again when its connection has gone.
    first.kill();
    let until = Instant::now() + SOON;
    loop {
        let next = Client::tls_behind(&relay, &[UNKNOWN]);
        if next.is_ok_and(|mut client| {
            matches!(
                client.receive(Duration::from_millis(300)),
                Err(Nothing::Timeout)
            )
        }) {
            break;
        }
        assert!(Instant::now() < until, "no place is free");
    }
}
