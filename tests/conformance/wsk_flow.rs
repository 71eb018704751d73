//! WSK-15, RFC 7977 §5: what rows of CHK and FWD say of a chunk that flows, where its pieces come by WebSocket as messages of
//! their own; and a balancer in front of WebSocket listeners.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use msrpload::codec::Message;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use crate::support::client::{Client, QUIET, SOON, own_uri};
use crate::support::link::Link;
use crate::support::message::{Draft, response};
use crate::support::random::heavy;
use crate::support::relay::{HOST, Relay, Setup, free_port, shared};
use crate::support::tls::ClientTls;
use crate::support::web::{Below, Web, request};

crate::rows! {
    any: [],
    own: [
        wsk_15_response_comes_between_the_pieces_of_a_film,
        wsk_15_abort_is_carried_on_to_a_browser,
        wsk_15_browser_lost_in_mid_chunk_leaves_a_plus,
        wsk_15_no_answer_before_the_end_line,
        wsk_01_balancer_in_front_names_the_client,
    ],
}

fn browser(relay: &Relay, user: &str) -> Client {
    let mut client = Client::web(relay);
    client.set_user(user, relay.credentials(user).1);
    client.obtain_token();
    client
}

/// CHK-03, CHK-04, CHK-08, CHK-16: a browser that receives a film gets its 200 before the film's end, and the pieces around it
/// are contiguous, under the same headers.
fn wsk_15_response_comes_between_the_pieces_of_a_film() {
    const OCTETS: usize = 24 << 20;
    let _turn = heavy();
    let relay = shared();
    let mut link = Link::between(Client::authenticated(relay, "alice"), browser(relay, "bob"));
    let film = link
        .draft()
        .range(&format!("1-*/{OCTETS}"))
        .line("X-Film: yes")
        .body(&vec![b'f'; OCTETS]);
    let text = Draft::send(&link.to_a, &link.p.uri).text("may I interrupt?");
    let (a, p) = (&mut link.a, &mut link.p);
    std::thread::scope(|scope| {
        let octets = film.octets();
        let sender = scope.spawn(move || {
            a.send(octets);
            a
        });
        let (mut got, mut answered_at) = (0, None);
        let mut asked = false;
        while got < OCTETS {
            if got > 1 << 20 && !asked {
                asked = true;
                p.send(text.octets());
            }
            let piece = p.expect_within(SOON * 3);
            if piece.code().is_some() {
                assert_eq!((piece.code(), &piece.tid), (Some(200), &text.tid));
                assert_eq!(answered_at.replace(got), None);
                continue;
            }
            let range = piece.byte_range().expect("a range");
            assert_eq!(range.start, got as u64 + 1, "CHK-04");
            assert_eq!(range.total, Some(OCTETS as u64), "CHK-08");
            assert_eq!(piece.header("X-Film"), Some("yes"), "CHK-16");
            assert_eq!(piece.message_id(), Some(&film.message_id[..]), "CHK-16");
            got += piece.body().len();
            assert_eq!(piece.flag == b'$', got == OCTETS, "CHK-05");
            p.send(response(&piece, "200 OK"));
        }
        let answered_at = answered_at.expect("CHK-03: an answer before the film's end");
        assert!(answered_at < OCTETS, "{answered_at}");
        let a = sender.join().expect("the film was sent");
        let got = a.find(SOON, |message| message.method() == Some("SEND"));
        assert_eq!(got.body(), b"may I interrupt?");
        assert_eq!(a.response_to(&film.tid).code(), Some(200));
    });
}

/// The pieces that come of 200,000 octets of a chunk that has no end yet, answered; how many octets they have.
fn first_pieces(link: &mut Link, draft: &Draft) -> usize {
    link.a.send(draft.head());
    link.a.send(vec![b'b'; 200_000]);
    let mut got = 0;
    while let Ok(piece) = link.p.receive(QUIET) {
        assert_eq!(piece.flag, b'+', "WSK-05: a message is whole");
        assert!(piece.raw.len() <= 65_536, "WSK-06");
        assert_eq!(piece.byte_range().unwrap().start, got as u64 + 1);
        got += piece.body().len();
        link.p.send(response(&piece, "200 OK"));
    }
    assert!(got >= 100_000, "it is forwarded while it comes: {got}");
    got
}

/// CHK-06
fn wsk_15_abort_is_carried_on_to_a_browser() {
    let relay = shared();
    let mut link = Link::between(browser(relay, "alice"), browser(relay, "bob"));
    let draft = link.draft().range("1-*/400000").body(&[]).flag('#');
    let mut got = first_pieces(&mut link, &draft);
    link.a.send(draft.end());
    loop {
        let piece = link.p.expect_method("SEND");
        assert_ne!(piece.flag, b'$');
        got += piece.body().len();
        link.p.send(response(&piece, "200 OK"));
        if piece.flag == b'#' {
            break;
        }
    }
    assert!(got <= 200_000);
    assert_eq!(link.a.response_to(&draft.tid).code(), Some(200));
    link.still_works();
}

/// CHK-19, D-29
fn wsk_15_browser_lost_in_mid_chunk_leaves_a_plus() {
    let relay = shared();
    let mut link = Link::between(browser(relay, "alice"), browser(relay, "bob"));
    let mut other = Client::authenticated(relay, "carol");
    let draft = link.draft().range("1-*/400000").body(&[]);
    let mut got = first_pieces(&mut link, &draft);
    let Link { a, mut p, .. } = link;
    a.kill();
    while let Ok(piece) = p.receive(QUIET) {
        assert_eq!(piece.flag, b'+');
        got += piece.body().len();
        p.send(response(&piece, "200 OK"));
    }
    assert!(got <= 200_000);
    let to = format!("{} {} {}", other.token, p.token, p.uri);
    other.send(Draft::send(&to, &other.uri).text("in step").octets());
    assert_eq!(p.expect_method("SEND").body(), b"in step");
}

/// FWD-02
fn wsk_15_no_answer_before_the_end_line() {
    let relay = shared();
    let mut link = Link::between(browser(relay, "alice"), browser(relay, "bob"));
    let draft = link.draft().range("1-*/10000").body(&[]);
    link.a.send(draft.head());
    link.a.send(vec![b'e'; 10_000]);
    let early = link.a.drain(Duration::from_millis(200));
    assert!(early.is_empty(), "{early:?}");
    link.a.send(draft.end());
    assert_eq!(link.a.expect_code(200).tid, draft.tid);
    assert_eq!(link.p.expect_method("SEND").body(), [b'e'; 10_000]);
}

/// A balancer's header comes before the handshake of TLS and of WebSocket; without one nothing is said.
fn wsk_01_balancer_in_front_names_the_client() {
    const HEADER: &[u8] = b"PROXY TCP4 203.0.113.7 127.0.0.1 40000 443\r\n";
    for transport in ["ws", "wss"] {
        let port = free_port();
        let relay = Setup::new()
            .listener(&format!(
                "address = \"127.0.0.1:{port}\"\ntransport = \"{transport}\"\nproxy_protocol_from = [\"127.0.0.1\"]"
            ))
            .set("limits.probation", "1s")
            .start();
        let connect = || {
            let socket = TcpStream::connect(("127.0.0.1", port)).expect("the kernel accepts");
            socket.set_read_timeout(Some(SOON)).unwrap();
            socket
        };
        let mut socket = connect();
        // Cut in its middle.
        socket.write_all(&HEADER[..9]).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        socket.write_all(&HEADER[9..]).unwrap();
        let below = match transport {
            "ws" => Below::Plain(socket),
            _ => {
                let tls = ClientTls {
                    ca_pem: relay.ca_pem.clone(),
                    ..ClientTls::default()
                };
                let name = ServerName::try_from(HOST).unwrap();
                let mut session = ClientConnection::new(Arc::new(tls.config()), name).unwrap();
                while session.is_handshaking() {
                    session.complete_io(&mut socket).expect("TLS works");
                }
                Below::Tls(Box::new(StreamOwned::new(session, socket)))
            }
        };
        let mut web = Web::open(below, &request(HOST)).expect("the relay upgrades");
        let auth = Draft::request(
            "AUTH",
            "msrps://relay.example.com:443;ws",
            &own_uri("alice"),
        );
        web.write_msrp(&auth.octets()).unwrap();
        let octets = web.read_msrp().unwrap().expect("an answer");
        assert_eq!(Message::parse(&octets).unwrap().code(), Some(401));
        // Nobody without it.
        let mut bare = connect();
        bare.write_all(request(HOST).as_bytes()).unwrap();
        relay.metric_becomes(
            "msrpd_connections_closed_total",
            &["reason=\"proxy_header\""],
            |count| count == 1.0,
        );
    }
}
