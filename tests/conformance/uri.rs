//! Paths and comparison of URIs: RFC 4975 §6.1, RFC 4976 §6.4; rows URI.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use msrpload::codec::fresh_tid;

use crate::rows;
use crate::support::client::{Client, QUIET, transport};
use crate::support::dns::Names;
use crate::support::link::Link;
use crate::support::message::{Draft, response};
use crate::support::peer::Peer;
use crate::support::relay::shared;
use crate::support::tls::ClientTls;

rows! {
    any: [
        uri_02_first_uri_moves_and_all_texts_stay,
        uri_03_scheme_matches_in_any_case_but_exactly,
        uri_04_host_matches_in_any_case_and_decoded,
        uri_05_addresses_compare_as_addresses,
        uri_06_port_must_be_equal_and_present,
        uri_07_session_id_is_compared_as_it_stands,
        uri_08_transport_matches_and_parameters_do_not_count,
        uri_09_way_of_the_connection_does_not_matter,
        uri_10_next_hop_needs_a_port,
        uri_11_two_own_uris_in_a_row_are_two_hops,
    ],
    own: [
        uri_01_second_uri_is_the_next_hop,
        uri_12_same_token_twice_is_refused,
    ],
}

/// P sends to A under another spelling of the token; what A gets.
fn delivered(link: &mut Link, token: &str) {
    let draft = Draft::send(&format!("{token} {}", link.a.uri), &link.p.uri).text("spelled");
    link.p.send(draft.octets());
    let got = link.a.expect_method("SEND");
    assert_eq!(
        got.from_path,
        [token.to_owned(), link.p.uri.clone()],
        "its text as received (URI-02)"
    );
    link.a.send(response(&got, "200 OK"));
    let answer = link.p.expect_code(200);
    assert_eq!(answer.from_path, [token.to_owned()]);
    assert_eq!(answer.tid, draft.tid);
}

/// P sends to A under something that is not the token.
fn refused(link: &mut Link, token: &str) {
    let draft = Draft::send(&format!("{token} {}", link.a.uri), &link.p.uri).text("misspelled");
    link.p.send(draft.octets());
    let answer = link.p.expect();
    assert_eq!(answer.code(), Some(481), "{token}");
    assert_eq!(answer.tid, draft.tid);
    link.still_works();
}

/// P sends to A under something that does not name the relay (ERR-03).
fn closed(link: &mut Link, token: &str) {
    let draft = Draft::send(&format!("{token} {}", link.a.uri), &link.p.uri).text("not yours");
    link.p.send(draft.octets());
    link.p.closed();
    link.a.silence(Duration::from_millis(100));
}

fn uri_01_second_uri_is_the_next_hop() {
    let relay = shared();
    let (peer, stranger) = (Peer::tls(), Peer::tls());
    let mut link = Link::with_dialled(Client::authenticated(relay, "alice"), &peer);
    let draft = link.draft().text("to the second");
    link.pass(&draft);
    link.a.expect_code(200);
    stranger.nobody_connects(Duration::from_millis(100));
    // What stands behind the next hop is no concern of this relay: nobody else is contacted.
    let back = Draft::send(&format!("{} {}", link.to_a, stranger.uri), &link.p.uri).text("far");
    link.p.send(back.octets());
    let got = link.a.expect_method("SEND");
    assert_eq!(got.to_path, [link.a.uri.clone(), stranger.uri.clone()]);
    stranger.nobody_connects(Duration::from_millis(100));
}

fn uri_02_first_uri_moves_and_all_texts_stay() {
    let mut link = Link::inbound(shared());
    let odd = [
        "MSRPS://Some.One@Far.Example.ORG:0099/aB;TCP;x=Y",
        "msrp://[2001:DB8::00:1]:1/-;tcp",
    ];
    let to = format!("{} {}", link.to_a, odd[1]);
    let from = format!("{} {}", link.p.uri, odd.join(" "));
    link.p.send(Draft::send(&to, &from).text("texts").octets());
    let got = link.a.expect_method("SEND");
    let text = String::from_utf8_lossy(&got.raw).into_owned();
    let wanted = format!(
        "\r\nTo-Path: {} {}\r\nFrom-Path: {} {from}\r\n",
        link.a.uri, odd[1], link.a.token
    );
    assert!(text.contains(&wanted), "wanted{wanted}got\r\n{text}");
}

fn uri_03_scheme_matches_in_any_case_but_exactly() {
    let mut link = Link::inbound(shared());
    let token = link.a.token.clone();
    delivered(&mut link, &token.replacen("msrps:", "MSRPS:", 1));
    delivered(&mut link, &token.replacen("msrps:", "MsRpS:", 1));
    refused(&mut link, &token.replacen("msrps:", "msrp:", 1));
}

fn uri_04_host_matches_in_any_case_and_decoded() {
    let relay = shared();
    let mut link = Link::inbound(relay);
    let host = format!("//{}:", relay.host);
    let first = relay.host.bytes().next().expect("the host has a name");
    let decoded = format!("//%{first:02x}{}:", &relay.host[1..]);
    let capital = format!("//%{first:02X}{}:", &relay.host[1..]);
    for other in [
        format!("//{}:", relay.host.to_uppercase()),
        decoded,
        capital,
        format!("//bob@{}:", relay.host),
        format!("//b%40b:x@{}:", relay.host),
    ] {
        let token = link.a.token.replacen(&host, &other, 1);
        delivered(&mut link, &token);
    }
}

fn uri_05_addresses_compare_as_addresses() {
    let relay = shared();
    // The way to a client: its host is an address, and others spell it as they like.
    let (short, long) = ("[2001:db8::1]", "[2001:0DB8:0:0:0:0:0:1]");
    let mut a = Client::tls(relay);
    a.uri = format!("msrps://{short}:7654/{};{}", fresh_tid(), transport());
    a.obtain_token();
    let mut p = Client::tls(relay);
    p.uri = format!("msrps://{short}:7655/{};{}", fresh_tid(), transport());
    let mut link = Link::with_inbound(a, p);
    let other = link.a.uri.replacen(short, long, 1);
    let draft = Draft::send(&format!("{} {other}", link.a.token), &link.p.uri).text("spelled out");
    link.p.send(draft.octets());
    assert_eq!(link.a.expect_method("SEND").to_path, [other]);
    assert_eq!(link.p.response_to(&draft.tid).code(), Some(200));
    // The way to a peer that connected in (D-34).
    let other = link.p.uri.replacen(short, long, 1);
    let draft = Draft::send(&format!("{} {other}", link.a.token), &link.a.uri).text("spelled out");
    link.a.send(draft.octets());
    assert_eq!(link.p.expect_method("SEND").to_path, [other]);
    assert_eq!(link.a.response_to(&draft.tid).code(), Some(200));
    // Another address is another client.
    let other = link.a.uri.replacen(short, "[2001:db8::2]", 1);
    let draft = Draft::send(&format!("{} {other}", link.a.token), &link.p.uri).text("not A");
    link.p.send(draft.octets());
    assert_eq!(link.p.response_to(&draft.tid).code(), Some(481));
}

fn uri_06_port_must_be_equal_and_present() {
    let relay = shared();
    let port = format!(":{}/", relay.port());
    for other in [
        "/".to_owned(),
        format!(":{}/", relay.port() ^ 1),
        ":1/".to_owned(),
    ] {
        let mut link = Link::inbound(relay);
        let token = link.a.token.replacen(&port, &other, 1);
        closed(&mut link, &token);
    }
}

fn uri_07_session_id_is_compared_as_it_stands() {
    let mut link = Link::inbound(shared());
    let token = link.a.token.clone();
    let (before, id) = token.rsplit_once('/').unwrap();
    let id = id.strip_suffix(";tcp").unwrap();
    let at = id
        .rfind(|c: char| c.is_ascii_alphabetic())
        .expect("the token has a letter");
    let flipped: String = id
        .char_indices()
        .map(|(i, c)| match (i == at, c.is_ascii_lowercase()) {
            (false, _) => c,
            (true, true) => c.to_ascii_uppercase(),
            (true, false) => c.to_ascii_lowercase(),
        })
        .collect();
    for other in [
        format!("{before}/{flipped};tcp"),
        format!("{before}/./{id};tcp"),
        format!("{before}//{id};tcp"),
        format!("{before}/{id}/;tcp"),
        format!("{before}/{id}=;tcp"),
        format!("{before}/{};tcp", &id[..id.len() - 1]),
        format!("{before}/{id}a;tcp"),
        format!("{before}/a;tcp"),
        format!("{before};tcp"),
    ] {
        refused(&mut link, &other);
    }
}

fn uri_08_transport_matches_and_parameters_do_not_count() {
    let mut link = Link::inbound(shared());
    let token = link.a.token.clone();
    for other in [";TCP", ";Tcp", ";tcp;x=1", ";tcp;x;y=z"] {
        delivered(&mut link, &token.replacen(";tcp", other, 1));
    }
    for other in [";ws", ";sctp", ";tcpx"] {
        refused(&mut link, &token.replacen(";tcp", other, 1));
    }
}

fn uri_09_way_of_the_connection_does_not_matter() {
    let relay = shared();
    let address = forwarder(relay.tls);
    let connect = || {
        let tls = ClientTls::default();
        Client::tls_to(relay, address, &tls).expect("the forwarder forwards")
    };
    let (mut a, p) = (connect(), connect());
    a.obtain_token();
    assert!(
        a.token.contains(&format!(":{}/", relay.port())),
        "the configured port, not that of the forwarder"
    );
    Link::with_inbound(a, p).still_works();
    // By an SNI that is not the relay's name, and by none (TLS-04 as far as URIs go).
    let tls = ClientTls {
        without_sni: true,
        ..ClientTls::default()
    };
    let mut a = Client::tls_with(relay, &tls).expect("no SNI is needed");
    a.obtain_token();
    Link::with_inbound(a, connect()).still_works();
}

/// Passes octets on, as a middlebox does.
fn forwarder(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener
        .local_addr()
        .expect("a bound socket has an address");
    std::thread::spawn(move || {
        for inside in listener.incoming().flatten() {
            let outside = TcpStream::connect(to).expect("the relay listens");
            for (mut from, mut to) in [
                (inside.try_clone(), outside.try_clone()),
                (Ok(outside), Ok(inside)),
            ]
            .map(|(a, b)| (a.unwrap(), b.unwrap()))
            {
                std::thread::spawn(move || io::copy(&mut from, &mut to));
            }
        }
    });
    address
}

fn uri_10_next_hop_needs_a_port() {
    let mut link = Link::inbound(shared());
    for next in [
        "msrps://portless.peers.example/x;tcp",
        "msrps://192.0.2.1/x;tcp",
        "msrps://[2001:db8::1]/x;tcp",
    ] {
        let draft = Draft::send(&format!("{} {next}", link.a.token), &link.a.uri).text("no port");
        link.refused_with(400, &draft.octets());
    }
    assert!(
        !Names::get().was_asked("portless.peers.example"),
        "no name was looked up"
    );
}

fn uri_11_two_own_uris_in_a_row_are_two_hops() {
    let relay = shared();
    // Consecutive connections go to different shards: one of these pairs crosses.
    for _ in 0..2 {
        let mut link = Link::neighbours(relay);
        let draft = link.draft().text("neighbour");
        let got = link.pass(&draft);
        assert_eq!(got.to_path, [link.p.uri.clone()]);
        assert_eq!(
            got.from_path,
            [
                link.p.token.clone(),
                link.a.token.clone(),
                link.a.uri.clone()
            ]
        );
        let answer = link.a.expect_code(200);
        assert_eq!(answer.from_path, [link.a.token.clone()], "R's first URI");
        assert_eq!(answer.to_path, [link.a.uri.clone()]);
        link.p.send(response(&got, "200 OK"));
        link.still_works();
        let _other = Client::tls(relay);
    }
}

fn uri_12_same_token_twice_is_refused() {
    let relay = shared();
    let stranger = Peer::tls();
    let mut a = Client::authenticated(relay, "alice");
    let b = Client::authenticated(relay, "bob");
    for path in [
        format!("{0} {0} {1}", a.token, stranger.uri),
        format!("{0} {0}", a.token),
        format!("{0} {0} {0}", a.token),
        format!("{0} {0} {1}", a.token, a.uri),
        // Back after another's URI.
        format!("{0} {1} {0} {1}", a.token, stranger.uri),
        format!("{} {} {} {}", a.token, stranger.uri, b.token, b.uri),
        format!("{} {} {} {}", a.token, b.token, b.uri, a.token),
    ] {
        let draft = Draft::send(&path, &a.uri).text("twice");
        a.send(draft.octets());
        let mut answers = a.drain(QUIET);
        let refusal = match answers.len() {
            // 481 at once, or 200 and then a REPORT: one signal either way.
            1 => answers.remove(0).code(),
            2 => answers.remove(1).status().map(|(_, code, _)| code),
            _ => panic!("one signal: {answers:?}"),
        };
        assert_eq!(refusal, Some(481), "{path}");
    }
    stranger.nobody_connects(Duration::from_millis(100));
}
