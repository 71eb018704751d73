//! WebSocket (RFC 7977): rows WSK-01 to WSK-15, and the rows of other topics once more with clients that come by it.

use std::io::Write;
use std::time::Duration;

use libtest_mimic::Trial;
use msrpload::codec::Message;

use crate::support::client::{Client, SOON, own_uri};
use crate::support::link::Link;
use crate::support::message::{Draft, response};
use crate::support::relay::{HOST, Relay, Setup, shared};
use crate::support::run::row_by_web;
use crate::support::web::{
    BINARY, Below, CLOSE, Frame, PING, PONG, TEXT, Web, frame, read_head, request,
};
use crate::{aut, chk, con, err, fns, fwd, rpt, rsp, syn, tmr, upt, uri};

crate::rows! {
    any: [],
    own: [
        wsk_01_ws_needs_a_declared_terminator,
        wsk_02_opening_handshake,
        wsk_03_subprotocol_is_msrp,
        wsk_04_text_and_binary_are_read_and_written_by_what_is_in_them,
        wsk_05_exactly_one_message_in_each,
        wsk_06_large_messages_are_cut_and_small_ones_are_not,
        wsk_07_frames_are_masked_and_may_be_fragments,
        wsk_08_pings_and_closes_are_answered,
        wsk_08_idle_clients_are_pinged,
        wsk_09_bodiless_send_is_a_keepalive,
        wsk_10_every_way_to_address_auth,
        wsk_11_use_path_is_that_of_tls,
        wsk_13_origins_are_checked,
        wsk_14_all_pairs_work_and_none_is_dialled,
        wsk_15_limits_of_tls_hold,
        wsk_15_long_message_in_one_frame_needs_no_memory,
        wsk_plain_get_is_told_what_this_is,
        wsk_challenges_are_quoted,
        wsk_client_that_writes_ws_port_and_binary,
        wsk_client_that_writes_msrp_and_wrong_ranges,
        wsk_flow_of_rfc_7977_8_1_2,
        wsk_an_independent_client_is_understood,
    ],
}

/// The rows of other topics with clients that come by WebSocket.
pub fn repeated() -> Vec<Trial> {
    [
        aut::tests(),
        chk::tests(),
        con::tests(),
        err::tests(),
        fns::tests(),
        fwd::tests(),
        rpt::tests(),
        rsp::tests(),
        syn::tests(),
        tmr::tests(),
        upt::tests(),
        uri::tests(),
    ]
    .into_iter()
    .flatten()
    .filter(|(name, _)| !NOT_REPEATED.contains(name))
    .map(|(name, test)| row_by_web(name, test))
    .collect()
}

/// Most wait for the beginning of a chunk that is not complete, or count how few pieces it has: by WebSocket pieces come
/// whole, and a chunk that fits into one message is waited for. `wsk_flow` shows there what the rows say. The others have
/// their reason beside them.
const NOT_REPEATED: &[&str] = &[
    // Too slow by this client; `wsk_15_long_message_in_one_frame_needs_no_memory` sends a long chunk in its stead.
    "chk_01_chunk_of_4_gib_passes_in_bounded_memory",
    "chk_03_response_interrupts_a_flowing_chunk",
    "chk_04_interrupted_chunk_goes_on_where_it_stopped",
    "chk_06_abort_after_an_interruption_is_carried_on",
    "chk_06_abort_is_carried_on",
    "chk_08_positions_and_total_survive_a_cut",
    "chk_09_range_end_is_never_stale",
    "chk_15_idle_link_gets_few_pieces",
    "chk_16_every_piece_repeats_the_headers",
    "chk_17_missing_range_starts_at_one",
    "chk_19_sender_lost_in_mid_chunk_leaves_a_plus",
    "con_12_drain_ends_everything_properly",
    "con_14_draining_relay_refuses_new_work_only",
    "fns_10_other_requests_go_between_chunks",
    "fwd_02_no_answer_before_the_end_line",
    "rpt_09_each_failed_piece_reports_its_own_range",
    "rsp_10_failure_before_the_end_of_the_chunk",
    "upt_14_what_began_before_expiry_may_finish",
    // Its end-lines are for the eyes of a looser scanner than the one that cuts messages into frames here.
    "syn_10_near_misses_of_odd_transact_ids_are_data",
    // A frame holds a message, and no keep-alive (WSK-05).
    "syn_22_line_ends_between_messages_keep_a_connection_alive",
    // Its clients come by TLS through a forwarder, however the others come.
    "uri_09_way_of_the_connection_does_not_matter",
];

/// The answer to an HTTP request, its head and what follows it.
fn answer(relay: &Relay, request: &str) -> (String, Vec<u8>) {
    let mut below = Client::below_web(relay).expect("TLS works");
    below.write_all(request.as_bytes()).unwrap();
    read_head(&mut below).expect("an answer")
}

fn status(relay: &Relay, request: &str) -> String {
    answer(relay, request).0[9..12].to_owned()
}

/// WSK-01
fn wsk_01_ws_needs_a_declared_terminator() {
    let listen = |more: &str| {
        let text = format!("address = \"0.0.0.0:0\"\ntransport = \"ws\"\n{more}");
        Setup::new().listener(&text)
    };
    let (good, said) = listen("").check();
    assert!(!good && said.contains("ws would carry"), "{said}");
    for more in [
        "tls_terminated_by = [\"127.0.0.1\"]",
        "proxy_protocol_from = [\"127.0.0.1\"]",
    ] {
        let (good, said) = listen(more).check();
        assert!(good, "{said}");
    }
    // Who is none of them is not let in.
    let port = crate::support::relay::free_port();
    let relay = Setup::new()
        .listener(&format!(
            "address = \"0.0.0.0:{port}\"\ntransport = \"ws\"\ntls_terminated_by = [\"127.7.7.7\"]"
        ))
        .start();
    let socket = std::net::TcpStream::connect(("127.0.0.1", port)).expect("the kernel accepts");
    socket.set_read_timeout(Some(SOON)).unwrap();
    let mut below = Below::Plain(socket);
    let _ = below.write_all(request(HOST).as_bytes());
    assert!(read_head(&mut below).is_err());
    relay.metric_becomes("msrpd_refusals_total", &["reason=\"source\""], |count| {
        count == 1.0
    });
    // On loopback it serves, AUTH included.
    let mut client = Client::web_plain(&relay);
    client.obtain_token();
}

/// WSK-02
fn wsk_02_opening_handshake() {
    let relay = shared();
    Client::web(relay);
    let good = request(HOST);
    let with = |from: &str, to: &str| {
        assert!(good.contains(from));
        answer(relay, &good.replacen(from, to, 1)).0
    };
    let version = with("Version: 13", "Version: 7");
    assert!(version.starts_with("HTTP/1.1 426 "), "{version}");
    assert!(version.contains("\r\nSec-WebSocket-Version: 13\r\n"));
    for (from, to) in [
        ("Sec-WebSocket-Key: ", "X-Key: "),
        ("dGhlIHNhbXBsZSBub25jZQ==", "AAAA"),
        ("Host: ", "X-Host: "),
    ] {
        let head = with(from, to);
        assert!(head.starts_with("HTTP/1.1 400 "), "{from}: {head}");
    }
    // Any path and query; header names in any case.
    let any = good.replacen("/msrp", "/any/path?with=query", 1).replacen(
        "Sec-WebSocket-Key",
        "sec-websocket-key",
        1,
    );
    assert!(answer(relay, &any).0.starts_with("HTTP/1.1 101 "));
}

/// WSK-03
fn wsk_03_subprotocol_is_msrp() {
    let relay = shared();
    let good = request(HOST);
    let offer = |line: &str| {
        status(
            relay,
            &good.replacen("Sec-WebSocket-Protocol: msrp\r\n", line, 1),
        )
    };
    assert_eq!(offer("Sec-WebSocket-Protocol: sip, msrp\r\n"), "101");
    assert_eq!(
        offer("Sec-WebSocket-Protocol: sip\r\nSec-WebSocket-Protocol: msrp\r\n"),
        "101"
    );
    assert_eq!(offer("Sec-WebSocket-Protocol: sip\r\n"), "400");
    assert_eq!(offer(""), "400");
}

/// Both by WebSocket, with tokens of this relay.
fn web_pair(relay: &Relay) -> Link {
    let token = |user: &str| {
        let mut client = Client::web(relay);
        client.set_user(user, relay.credentials(user).1);
        client.obtain_token();
        client
    };
    Link::between(token("alice"), token("bob"))
}

/// WSK-04: what the relay sends is checked for every message of every test.
fn wsk_04_text_and_binary_are_read_and_written_by_what_is_in_them() {
    let mut link = web_pair(shared());
    for opcode in [TEXT, BINARY] {
        link.a.as_web().opcode = opcode;
        let bodies: [&[u8]; 3] = [b"plain", "\u{c5}se".as_bytes(), b"\xff\xd8\xff\xe0jpeg"];
        for body in bodies {
            if opcode == TEXT && std::str::from_utf8(body).is_err() {
                continue;
            }
            link.a.send(link.draft().body(body).octets());
            assert_eq!(link.p.expect_method("SEND").body(), body);
            assert_eq!(link.a.expect().code(), Some(200));
        }
    }
}

/// What a connection gets to know when it sends these frames.
fn ends_with(relay: &Relay, frames: &[u8]) -> u16 {
    ends_by(relay, |_| frames.to_vec())
}

/// The same for frames that name the connection's own session.
fn ends_by(relay: &Relay, frames: impl Fn(&Client) -> Vec<u8>) -> u16 {
    let mut client = Client::web(relay);
    client.obtain_token();
    let frames = frames(&client);
    client.as_web().write_raw(&frames);
    while client.receive(SOON).is_ok() {}
    let close = client.as_web().control.last().cloned();
    let close = close
        .filter(|frame| frame.first == CLOSE)
        .expect("a close frame");
    u16::from_be_bytes([close.payload[0], close.payload[1]])
}

/// WSK-05
fn wsk_05_exactly_one_message_in_each() {
    let relay = shared();
    let one = |client: &Client| {
        let keepalive = Draft::send(&client.token, &client.uri).range("1-0/0");
        keepalive.octets()
    };
    let two = |client: &Client| frame(BINARY, &[one(client), one(client)].concat());
    assert_eq!(ends_by(relay, two), 1002);
    let half = |client: &Client| {
        let one = one(client);
        frame(BINARY, &one[..one.len() - 4])
    };
    assert_eq!(ends_by(relay, half), 1002);
    assert_eq!(ends_with(relay, &frame(TEXT, b"")), 1002);
    assert_eq!(ends_with(relay, &frame(TEXT, b"\r\n\r\n")), 1002);
    // Of two in one the second reaches nobody.
    let mut link = Link::between(
        {
            let mut client = Client::web(relay);
            client.obtain_token();
            client
        },
        Client::authenticated(relay, "bob"),
    );
    let first = link.draft().text("first");
    let second = link.draft().text("second");
    let both = [first.octets(), second.octets()].concat();
    link.a.as_web().write_raw(&frame(BINARY, &both));
    assert_eq!(link.p.expect_method("SEND").body(), b"first");
    link.p.silence(Duration::from_millis(300));
}

/// WSK-06
fn wsk_06_large_messages_are_cut_and_small_ones_are_not() {
    let relay = shared();
    let mut link = Link::between(Client::authenticated(relay, "alice"), {
        let mut client = Client::web(relay);
        client.set_user("bob", relay.credentials("bob").1);
        client.obtain_token();
        client
    });
    // 10 MiB in one chunk.
    let body: Vec<u8> = (0..10 << 20)
        .map(|index: u32| ((index * 31) >> 3) as u8)
        .collect();
    let draft = link.draft().body(&body);
    let mut got = Vec::new();
    let (a, p) = (&mut link.a, &mut link.p);
    std::thread::scope(|scope| {
        let octets = draft.octets();
        scope.spawn(move || {
            a.send(octets);
            assert_eq!(a.expect_within(SOON * 3).code(), Some(200));
        });
        while got.len() < body.len() {
            let piece = p.expect_method("SEND");
            assert!(piece.raw.len() <= 65_536, "{} octets", piece.raw.len());
            assert_eq!(piece.byte_range().unwrap().start, got.len() as u64 + 1);
            got.extend_from_slice(piece.body());
            assert_eq!(piece.flag == b'$', got.len() == body.len());
            p.send(response(&piece, "200 OK"));
        }
    });
    assert!(got == body);
    // What fits is not cut, however it comes: whole, in records, in trickles.
    for len in [3000, 20_000, 60_000] {
        let draft = link
            .draft()
            .range(&format!("1-{len}/{len}"))
            .body(&vec![b'w'; len]);
        let octets = draft.octets();
        for step in [octets.len(), 7000] {
            for piece in octets.chunks(step) {
                link.a.send(piece);
                if step < octets.len() {
                    std::thread::sleep(Duration::from_millis(15));
                }
            }
            let piece = link.p.expect_method("SEND");
            assert_eq!((piece.flag, piece.body().len()), (b'$', len));
            link.p.send(response(&piece, "200 OK"));
            assert_eq!(link.a.expect().code(), Some(200));
        }
    }
}

/// WSK-07
fn wsk_07_frames_are_masked_and_may_be_fragments() {
    let relay = shared();
    let mut link = web_pair(relay);
    let octets = link.draft().text("in three fragments").octets();
    let (one, rest) = octets.split_at(10);
    let (two, three) = rest.split_at(100);
    let web = link.a.as_web();
    web.write_raw(&frame(0x01, one));
    web.write_raw(&frame(PING, b"between"));
    web.write_raw(&frame(0x00, two));
    web.write_raw(&frame(0x80, three));
    assert_eq!(link.p.expect_method("SEND").body(), b"in three fragments");
    assert_eq!(link.a.expect().code(), Some(200));
    let pong = Frame {
        first: PONG,
        payload: b"between".to_vec(),
    };
    assert_eq!(link.a.as_web().control, [pong]);
    assert_eq!(ends_with(relay, &[BINARY, 4, b'M', b'S', b'R', b'P']), 1002);
    assert_eq!(ends_with(relay, &frame(0xc1, b"MSRP")), 1002);
    assert_eq!(ends_with(relay, &frame(TEXT, b"MSRP \xff")), 1007);
}

/// WSK-08
fn wsk_08_pings_and_closes_are_answered() {
    let relay = shared();
    let mut client = Client::web(relay);
    client.obtain_token();
    client.as_web().write_raw(&frame(PING, b"abc"));
    client.as_web().write_raw(&frame(CLOSE, b"\x03\xe9bye"));
    while client.receive(SOON).is_ok() {}
    let control = &client.as_web().control;
    assert_eq!(
        (control[0].first, &control[0].payload[..]),
        (PONG, &b"abc"[..])
    );
    assert_eq!(
        (control[1].first, &control[1].payload[..2]),
        (CLOSE, &b"\x03\xe9"[..])
    );
    // A drain says 1001.
    let own = Setup::new().start();
    let mut client = Client::web(&own);
    client.obtain_token();
    own.signal(libc::SIGTERM);
    while client.receive(SOON).is_ok() {}
    let close = client
        .as_web()
        .control
        .last()
        .cloned()
        .expect("a close frame");
    assert_eq!(
        (close.first, &close.payload[..2]),
        (CLOSE, &1001_u16.to_be_bytes()[..])
    );
}

/// WSK-08
fn wsk_08_idle_clients_are_pinged() {
    let relay = Setup::new().set("limits.websocket_ping", "1s").start();
    let mut silent = Client::web(&relay);
    silent.obtain_token();
    let mut alive = Client::web(&relay);
    alive.obtain_token();
    for _ in 0..60 {
        let _ = alive.receive(Duration::from_millis(100));
        let web = alive.as_web();
        for ping in std::mem::take(&mut web.control) {
            assert_eq!(ping.first, PING);
            web.write_raw(&frame(PONG, &ping.payload));
        }
    }
    // Two pings without an answer have passed for the other one.
    silent.closed();
    let pings = &silent.as_web().control;
    assert_eq!(pings.iter().filter(|frame| frame.first == PING).count(), 2);
    relay.metric_becomes(
        "msrpd_connections_closed_total",
        &["reason=\"unresponsive\""],
        |count| count == 1.0,
    );
    alive.silence(Duration::from_millis(10));
}

/// WSK-09
fn wsk_09_bodiless_send_is_a_keepalive() {
    let mut link = web_pair(shared());
    link.a.send(link.draft().range("1-0/0").octets());
    assert_eq!(link.p.expect_method("SEND").body(), b"");
    assert_eq!(link.a.expect().code(), Some(200));
    let own = Draft::send(&link.a.token.clone(), &link.a.uri).range("1-0/0");
    link.a.send(own.octets());
    assert_eq!(link.a.expect().code(), Some(200));
}

/// An AUTH to this URI, with its digest over the URI as it is spelled.
fn auth_to(relay: &Relay, to: &str, from: &str) -> Message {
    let mut client = Client::web(relay);
    client.set_relay_uri(to);
    from.clone_into(&mut client.uri);
    client.obtain_token()
}

/// WSK-10
fn wsk_10_every_way_to_address_auth() {
    let relay = shared();
    for to in [
        "msrps://relay.example.com:443;ws",
        "msrps://alice@relay.example.com:443;ws",
        "msrps://relay.example.com;ws",
        "msrps://relay.example.com:2855;tcp",
        "msrp://relay.example.com:2856;ws",
        "msrps://example.com:8443;ws",
    ] {
        let from = "msrps://df7jal23ls0d.invalid/98cjs;ws";
        let got = auth_to(relay, to, from);
        assert_eq!(got.code(), Some(200), "{to}: {got:?}");
        assert_eq!(got.header("To-Path").unwrap(), from, "unaltered");
    }
    // By TLS a port is somebody's, and `msrp` is no scheme for AUTH.
    for to in [
        "msrps://relay.example.com:443;tcp",
        "msrp://relay.example.com:2855;tcp",
    ] {
        let mut client = Client::tls(relay);
        client.set_relay_uri(to);
        client.send(Draft::request("AUTH", to, &client.uri).octets());
        client.closed();
    }
    let mut client = Client::web(relay);
    client.send(Draft::request("AUTH", "msrps://other.example.net:443;ws", &client.uri).octets());
    client.closed();
}

/// WSK-11
fn wsk_11_use_path_is_that_of_tls() {
    let relay = shared();
    let mut client = Client::web(relay);
    client.obtain_token();
    let prefix = format!("msrps://{HOST}:{}/", relay.tls.port());
    assert!(
        client.token.starts_with(&prefix) && client.token.ends_with(";tcp"),
        "{}",
        client.token
    );
}

/// WSK-13
fn wsk_13_origins_are_checked() {
    let port = crate::support::relay::free_port();
    let relay = Setup::new()
        .listener(&format!(
            "address = \"127.0.0.1:{port}\"\ntransport = \"wss\"\norigins = [\"https://chat.example.com\"]"
        ))
        .start()
        .with_web_port(port);
    let from = |origin: &str| {
        answer(
            &relay,
            &request(HOST).replacen("Host:", &format!("Origin: {origin}\r\nHost:"), 1),
        )
        .0
    };
    let allowed = from("https://chat.example.com");
    assert!(allowed.starts_with("HTTP/1.1 101 "));
    assert!(allowed.contains("\r\nAccess-Control-Allow-Origin: https://chat.example.com\r\n"));
    for origin in [
        "https://evil.example.com",
        "http://chat.example.com",
        "https://chat.example.com:8443",
    ] {
        assert!(from(origin).starts_with("HTTP/1.1 403 "), "{origin}");
    }
    relay.metric_becomes(
        "msrpd_connections_closed_total",
        &["reason=\"not_upgraded\""],
        |count| count == 3.0,
    );
}

/// WSK-14
fn wsk_14_all_pairs_work_and_none_is_dialled() {
    let relay = shared();
    web_pair(relay).still_works();
    let web = |user: &str| {
        let mut client = Client::web(relay);
        client.set_user(user, relay.credentials(user).1);
        client.uri = "msrps://df7jal23ls0d.invalid:2855/98cjs;ws".to_owned();
        client.obtain_token();
        client
    };
    Link::between(web("alice"), Client::authenticated(relay, "bob")).still_works();
    Link::between(Client::authenticated(relay, "alice"), web("bob")).still_works();
    Link::with_inbound(web("alice"), Client::tls(relay)).still_works();
    // A path that ends at somebody's `;ws`.
    let mut client = web("alice");
    let to = format!("{} msrps://127.0.0.1:{}/x;ws", client.token, relay.port());
    client.send(Draft::send(&to, &client.uri).text("x").octets());
    client.expect_code(481);
    // The client is gone.
    let mut link = Link::between(Client::authenticated(relay, "alice"), web("bob"));
    link.still_works();
    let Link { mut a, p, to_p, .. } = link;
    p.kill();
    std::thread::sleep(Duration::from_millis(300));
    a.send(Draft::send(&to_p, &a.uri).text("x").octets());
    a.expect_code(481);
}

/// WSK-15
fn wsk_15_limits_of_tls_hold() {
    let relay = Setup::new()
        .set("limits.probation", "1s")
        .set("limits.websocket_message_octets", 4_194_304)
        .start();
    // Half a handshake counts as probation, and so does a whole one.
    let mut half = Client::below_web(&relay).expect("TLS works");
    half.write_all(b"GET / HTTP/1.1\r\nHost:").unwrap();
    let mut whole = Client::web(&relay);
    whole.closed();
    assert!(read_head(&mut half).is_err());
    relay.metric_becomes(
        "msrpd_connections_closed_total",
        &["reason=\"probation\""],
        |count| count == 2.0,
    );
    let too_large = frame(BINARY, &vec![b'x'; 4_194_305]);
    assert_eq!(ends_with(&relay, &too_large[..1000]), 1009);
    let mut client = Client::web(&relay);
    client.obtain_token();
    assert_eq!(
        relay.metric(
            "msrpd_connections",
            &["transport=\"wss\"", "role=\"client\""]
        ),
        1.0
    );
    // A token lives and dies with its connection (UPT-08).
    let to = format!("{} {}", client.token, client.uri);
    client.kill();
    std::thread::sleep(Duration::from_millis(300));
    let mut other = Client::authenticated(&relay, "bob");
    other.send(Draft::send(&to, &other.uri).text("x").octets());
    other.expect_code(481);
}

/// WSK-15: forwarded while it arrives.
fn wsk_15_long_message_in_one_frame_needs_no_memory() {
    const OCTETS: usize = 256 << 20;
    let relay = Setup::new().start();
    let mut link = Link::between(
        {
            let mut client = Client::web(&relay);
            client.obtain_token();
            client
        },
        Client::authenticated(&relay, "bob"),
    );
    link.still_works();
    let before = relay.resident();
    let draft = link.draft().body(b"");
    let (head, end) = (draft.head(), draft.end());
    let mut header = vec![BINARY, 0x80 | 127];
    header.extend(((head.len() + OCTETS + end.len()) as u64).to_be_bytes());
    header.extend([0; 4]);
    let (a, p) = (&mut link.a, &mut link.p);
    let mut most = 0;
    let mut got = 0;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let web: &mut Web = a.as_web();
            web.write_raw(&header);
            web.write_raw(&head);
            let piece = vec![b'z'; 1 << 20];
            for _ in 0..OCTETS / piece.len() {
                web.write_raw(&piece);
            }
            web.write_raw(&end);
            assert_eq!(a.expect_within(SOON * 3).code(), Some(200));
        });
        while got < OCTETS {
            let piece = p.expect_streamed(SOON * 3, &mut |octets| {
                got += octets.len();
                if got % (16 << 20) < octets.len() {
                    most = most.max(relay.resident());
                }
            });
            p.send(response(&piece, "200 OK"));
        }
    });
    assert!(
        most.saturating_sub(before) < 48 << 20,
        "{most} after {before}"
    );
}

fn wsk_plain_get_is_told_what_this_is() {
    let relay = shared();
    let (head, body) = answer(relay, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 426 "), "{head}");
    assert!(String::from_utf8_lossy(&body).contains("MSRP relay"));
    let (head, body) = answer(relay, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(body, b"ok\n");
}

fn wsk_challenges_are_quoted() {
    let relay = Setup::new()
        .set_list("auth.algorithms", &["SHA-256", "MD5"])
        .start();
    let mut client = Client::web(&relay);
    client.send(Draft::request("AUTH", "msrps://relay.example.com:443;ws", &client.uri).octets());
    let got = client.expect_code(401);
    let challenges: Vec<&str> = got.headers_named("WWW-Authenticate").collect();
    assert_eq!(challenges.len(), 2);
    for challenge in challenges {
        for parameter in challenge.strip_prefix("Digest ").unwrap().split(", ") {
            let (name, value) = parameter.split_once('=').unwrap();
            assert!(
                value.starts_with('"') && value.ends_with('"'),
                "{name}={value}"
            );
            assert!(!value.contains('='), "{name}={value}");
        }
    }
    let mut client = Client::web(&relay);
    let got = client.obtain_token();
    assert_eq!(got.code(), Some(200));
    assert!(got.header("Expires").is_some());
}

/// A client that names the listener's own port, sends all as binary, and gives up a file by a bodiless `#`.
fn wsk_client_that_writes_ws_port_and_binary() {
    let relay = shared();
    let mut a = Client::web(relay);
    a.set_relay_uri(&format!("msrps://{HOST}:{};ws", relay.wss.port()));
    a.uri = "msrps://kq3v9x.invalid:2855/f81d4fae;ws".to_owned();
    a.obtain_token();
    let mut link = Link::between(a, Client::authenticated(relay, "bob"));
    link.a.as_web().opcode = BINARY;
    let draft = link
        .draft()
        .message_id("file-1")
        .range("1-2048/10000")
        .body(&[b'f'; 2048])
        .flag('+');
    link.a.send(draft.octets());
    let piece = link.p.expect_method("SEND");
    assert_eq!((piece.flag, piece.body().len()), (b'+', 2048));
    assert_eq!(link.a.expect().code(), Some(200));
    let draft = link
        .draft()
        .message_id("file-1")
        .range("2049-*/10000")
        .flag('#');
    link.a.send(draft.octets());
    let piece = link.p.expect_method("SEND");
    assert_eq!((piece.flag, piece.body().len()), (b'#', 0));
    assert_eq!(link.a.expect().code(), Some(200));
}

/// A client that writes `msrp:` with a port of its own and always the same, wrong Byte-Range.
fn wsk_client_that_writes_msrp_and_wrong_ranges() {
    let relay = shared();
    let mut a = Client::web(relay);
    a.set_relay_uri("msrp://example.com:2856;ws");
    a.uri = "msrp://alice.example.com:2856/iau39soe2843z;ws".to_owned();
    a.obtain_token();
    let mut link = Link::between(a, Client::authenticated(relay, "bob"));
    link.a.as_web().opcode = TEXT;
    let draft = link.draft().range("1-25/25").body(b"eighteen octets ..");
    link.a.send(draft.octets());
    let got = link.p.expect_method("SEND");
    assert_eq!(got.body(), b"eighteen octets ..");
    assert_eq!(got.header("Byte-Range"), Some("1-18/18"));
    assert_eq!(link.a.expect().code(), Some(200));
}

/// The flow of RFC 7977 §8.1.2: the first AUTH without credentials, the second with `uri`.
fn wsk_flow_of_rfc_7977_8_1_2() {
    let relay = shared();
    let from = "msrps://df7jal23ls0d.invalid/98cjs;ws";
    let mut client = Client::web_with(
        relay,
        &request(HOST).replacen("Host:", "Origin: https://www.example.com\r\nHost:", 1),
    )
    .expect("the relay upgrades");
    from.clone_into(&mut client.uri);
    client.set_relay_uri("msrps://alice@relay.example.com:443;ws");
    client.send(Draft::request("AUTH", "msrps://alice@relay.example.com:443;ws", from).octets());
    let got = client.expect_code(401);
    assert_eq!(got.header("To-Path").unwrap(), from);
    assert_eq!(
        got.header("From-Path").unwrap(),
        "msrps://alice@relay.example.com:443;ws"
    );
    let got = client.obtain_token();
    assert_eq!(got.code(), Some(200));
    assert!(
        got.header("Use-Path")
            .is_some_and(|path| path.ends_with(";tcp"))
    );
    assert!(got.header("Authentication-Info").is_some());
}

/// `tungstenite` shares no code with the relay's codec, nor with the one of these tests.
fn wsk_an_independent_client_is_understood() {
    use tungstenite::client::IntoClientRequest;
    let relay = shared();
    let mut request = format!("ws://{HOST}:{}/", relay.ws.port())
        .into_client_request()
        .unwrap();
    let msrp = "msrp".parse().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", msrp);
    let socket = std::net::TcpStream::connect(relay.ws).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let (mut web, answer) = tungstenite::client(request, socket).expect("the handshake succeeds");
    assert_eq!(answer.headers()["Sec-WebSocket-Protocol"], "msrp");
    let from = own_uri("alice");
    let auth = Draft::request("AUTH", "msrps://relay.example.com:443;ws", &from);
    let text = String::from_utf8(auth.octets()).unwrap();
    web.send(tungstenite::Message::text(text)).unwrap();
    let got = web.read().expect("an answer");
    assert!(got.is_text());
    let got = Message::parse(&got.into_data()).expect("one message");
    assert_eq!(got.code(), Some(401));
    web.close(None).unwrap();
    let closed = std::iter::repeat_with(|| web.read()).find(|read| read.is_err());
    assert!(matches!(
        closed,
        Some(Err(tungstenite::Error::ConnectionClosed))
    ));
}
