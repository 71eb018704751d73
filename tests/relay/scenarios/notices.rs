//! What the operator is told about others' mistakes: what came, what was expected, once a minute for each source and kind,
//! and nothing that proves anything (SEC-04, SEC-07).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use msrpd::metrics::RefusalReason;
use msrpd::relay::{Notice, NoticeKind, Transport, Why};
use msrpload::codec::{Builder, Message};

use crate::relays::{R2_URI, dial_in, end_sessions};
use crate::setup::{
    AUTH_URI, Client, USERS, answer_as, auth, authenticate_at, client, foreign, last, respond,
    whole,
};
use crate::web::{BINARY, frame};
use crate::world::{Options, Peer, World};

const MINUTE: Duration = Duration::from_secs(60);
const X: &str = "msrps://x.example.org:2855/x;tcp";

fn world() -> World {
    World::new(Options::workers(2))
}

/// From here on, far ends connect from another address.
fn from(world: &mut World, number: u8) {
    world.from = IpAddr::V4(Ipv4Addr::new(198, 51, 100, number));
}

fn refused(world: &World, reason: RefusalReason) -> u64 {
    let shards = world.shards.iter();
    shards.map(|shard| shard.metrics().refused(reason)).sum()
}

/// The only notice that has come.
fn only(world: &mut World) -> Notice {
    world.run();
    let notices = std::mem::take(&mut world.notices);
    let [notice] = &notices[..] else {
        panic!("exactly one notice: {notices:?}");
    };
    notice.clone()
}

fn assert_none(world: &mut World) {
    world.run();
    assert_eq!(world.notices, []);
}

fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no {word:?} in {text:?}");
    }
}

fn request(method: &str, to: &[&str], from: &str) -> Vec<u8> {
    let mut builder = Builder::request("tid12345", method)
        .to_path(to)
        .from_path(&[from]);
    if method == "SEND" {
        builder = builder.header("Message-ID", "id1");
    }
    builder.encode()
}

/// The digest of the answer stands in here.
fn wrong(challenge: &Message, user: &str) -> String {
    answer_as((user, "mistyped"), challenge, AUTH_URI, 1)
}

fn challenged(world: &mut World, peer: Peer, authorization: Option<&str>) -> Message {
    let octets = auth(
        "msrps://c.invalid:1/c;tcp",
        &[AUTH_URI],
        "tidauth",
        None,
        authorization,
    );
    world.write(peer, &octets);
    world.run();
    let answer = last(world, peer);
    assert_eq!(answer.code(), Some(401));
    answer
}

/// AUT-01, ERR-03: AUTH to a name, port, scheme or transport that is not ours.
#[test]
fn err_03_auth_to_somebody_else_is_told_with_our_names_and_ports() {
    for (number, transport, target, reason) in [
        (
            1,
            Transport::Tls,
            "msrps://other.example.org:2855;tcp",
            "its host is not this relay",
        ),
        (
            2,
            Transport::Tls,
            "msrps://relay.example.com:9;tcp",
            "its port is not this relay's",
        ),
        (
            3,
            Transport::Tls,
            "msrp://relay.example.com:2855;tcp",
            "its scheme is not msrps",
        ),
        (
            4,
            Transport::Tls,
            "msrps://relay.example.com;sctp",
            "its transport not tcp",
        ),
        (
            5,
            Transport::Tcp,
            "msrps://other.example.org:2855;tcp",
            "its host is not this relay",
        ),
        (
            6,
            Transport::Wss,
            "msrps://other.example.org:2855;ws",
            "its host is not this relay",
        ),
    ] {
        let mut world = world();
        from(&mut world, number);
        let peer = world.connect(0, transport);
        let octets = auth("msrps://c.invalid:1/c;tcp", &[target], "tid1", None, None);
        world.write(peer, &octets);
        let notice = only(&mut world);
        assert_eq!(notice.kind, NoticeKind::AuthTarget);
        assert_eq!(notice.remote.map(|remote| remote.ip()), Some(world.from));
        says(&notice.came, &["AUTH", target, reason]);
        says(
            &notice.expected,
            &["msrps", "relay.example.com", "example.com", "2855"],
        );
        assert_eq!(notice.more, 0);
        assert_eq!(refused(&world, RefusalReason::NotOurs), 1);
    }
}

/// ERR-03: any other request to somebody else; a verified relay's, too, which is answered.
#[test]
fn err_03_a_request_to_somebody_else_is_told() {
    let mut world = world();
    from(&mut world, 1);
    let peer = world.connect(1, Transport::Tcp);
    world.write(peer, &request("SEND", &[X, X], "msrp://c.invalid:1/c;tcp"));
    let notice = only(&mut world);
    assert_eq!(notice.kind, NoticeKind::NotOurs);
    says(
        &notice.came,
        &["SEND to \"msrps://x.example.org:2855/...;tcp\""],
    );
    says(&notice.expected, &["relay.example.com", "2855"]);
    from(&mut world, 2);
    let link = dial_in(&mut world, 0);
    world.write(link, &request("NICKNAME", &[X, X], R2_URI));
    assert_eq!(only(&mut world).kind, NoticeKind::NotOurs);
    assert_eq!(last(&mut world, link).code(), Some(481));
}

/// AUT-01: AUTH to us without TLS.
#[test]
fn aut_01_auth_by_tcp_is_told() {
    let mut world = world();
    let peer = world.connect(0, Transport::Tcp);
    world.write(
        peer,
        &auth("msrp://c.invalid:1/c;tcp", &[AUTH_URI], "tid1", None, None),
    );
    let notice = only(&mut world);
    assert_eq!(notice.kind, NoticeKind::PlainAuth);
    says(&notice.expected, &["TLS"]);
    assert_eq!(refused(&world, RefusalReason::Forbidden), 1);
}

/// AUT-06: credentials for a realm that is not the challenge's.
#[test]
fn aut_06_an_unknown_realm_is_told_with_ours() {
    let mut world = world();
    let peer = world.connect(0, Transport::Tls);
    let challenge = challenged(&mut world, peer, None);
    assert_none(&mut world);
    let authorization =
        wrong(&challenge, "alice").replace("realm=\"relay.example.com\"", "realm=\"sip.example\"");
    challenged(&mut world, peer, Some(&authorization));
    let notice = only(&mut world);
    assert_eq!(notice.kind, NoticeKind::Realm);
    says(&notice.came, &["user \"alice\"", "realm \"sip.example\""]);
    says(&notice.expected, &["realm \"relay.example.com\""]);
    assert_eq!(refused(&world, RefusalReason::Credentials), 1);
}

/// AUT-12: the same user fails again and again on one connection.
#[test]
fn aut_12_a_loop_of_401s_is_told_with_its_user() {
    let mut world = world();
    let peer = world.connect(0, Transport::Tls);
    let challenge = challenged(&mut world, peer, None);
    let challenge = challenged(&mut world, peer, Some(&wrong(&challenge, "alice")));
    assert_none(&mut world);
    challenged(&mut world, peer, Some(&wrong(&challenge, "alice")));
    let notice = only(&mut world);
    assert_eq!(notice.kind, NoticeKind::Challenges);
    says(
        &notice.came,
        &["3 AUTHs in a row", "user \"alice\"", "a wrong response"],
    );
    says(&notice.expected, &["realm \"relay.example.com\""]);
    assert_eq!(refused(&world, RefusalReason::Credentials), 2);
}

/// AUT-12: a client that never reads the challenge.
#[test]
fn aut_12_a_loop_of_401s_without_credentials_is_told() {
    let mut world = world();
    let peer = world.connect(0, Transport::Tls);
    for _ in 0..5 {
        challenged(&mut world, peer, None);
    }
    assert_none(&mut world);
    challenged(&mut world, peer, None);
    let notice = only(&mut world);
    assert_eq!(notice.kind, NoticeKind::Challenges);
    says(&notice.came, &["6 AUTHs in a row", "without Authorization"]);
}

/// AUT-12: a nonce that is used twice, again and again.
#[test]
fn aut_14_a_loop_of_401s_for_used_nonces_is_told() {
    let mut world = world();
    let peer = world.connect(0, Transport::Tls);
    let challenge = challenged(&mut world, peer, None);
    let authorization = answer_as(USERS[0], &challenge, AUTH_URI, 1);
    let octets = |authorization: &str| {
        let from = "msrps://c.invalid:1/c;tcp";
        auth(from, &[AUTH_URI], "tidauth", None, Some(authorization))
    };
    world.write(peer, &octets(&authorization));
    world.run();
    assert_eq!(last(&mut world, peer).code(), Some(200));
    for _ in 0..2 {
        challenged(&mut world, peer, Some(&authorization));
    }
    assert_none(&mut world);
    challenged(&mut world, peer, Some(&authorization));
    let notice = only(&mut world);
    assert_eq!(notice.kind, NoticeKind::Challenges);
    says(&notice.came, &["3 AUTHs in a row", "was used before"]);
}

/// AUT-12: different users, and what failed before a success, make no loop.
#[test]
fn aut_12_no_loop_is_told_where_there_is_none() {
    let mut world = world();
    let peer = world.connect(0, Transport::Tls);
    let challenge = challenged(&mut world, peer, None);
    let challenge = challenged(&mut world, peer, Some(&wrong(&challenge, "alice")));
    challenged(&mut world, peer, Some(&wrong(&challenge, "bob")));
    let mut a = foreign(&mut world, 1, "a");
    for _ in 0..5 {
        let challenge = challenged(&mut world, a.peer, None);
        if a.token.is_empty() {
            challenged(&mut world, a.peer, Some(&wrong(&challenge, "alice")));
        }
        a.use_path.clear();
        assert!(authenticate_at(&mut world, &mut a, AUTH_URI, None));
    }
    assert_none(&mut world);
}

/// UPT-12, D-13, D-20: every reason for which a token is refused, on its own shard and on another one, for SEND and for
/// requests that wait for the other shard's word. The answers are alike.
#[test]
fn upt_12_a_refused_token_is_told_with_the_reason() {
    for (shard, method) in [(0, "SEND"), (1, "SEND"), (0, "NICKNAME"), (1, "NICKNAME")] {
        let mut world = world();
        let a = client(&mut world, 0, "a");
        let mut over = foreign(&mut world, 0, "over");
        assert!(authenticate_at(&mut world, &mut over, AUTH_URI, Some(60)));
        let gone = client(&mut world, 0, "gone");
        world.shut(gone.peer);
        world.advance(MINUTE + Duration::from_secs(1));
        let scheme = a.token.replace("msrps", "msrp");
        let transport = a.token.replace(";tcp", ";sctp");
        let port = a.token.replace(":2855", ":2857");
        let cases: [(Why, Vec<&str>, &str); 9] = [
            (
                Why::Unknown,
                vec![
                    "msrps://relay.example.com:2855/AAAAAAAAAAAAAAAAAAAAAAAA;tcp",
                    &a.uri,
                ],
                "Use-Path",
            ),
            (
                Why::Unknown,
                vec!["msrps://relay.example.com:2855/none;tcp", &a.uri],
                "Use-Path",
            ),
            (Why::Expired, vec![&over.token, &over.uri], "Use-Path"),
            (Why::Closed, vec![&gone.token, &gone.uri], "Use-Path"),
            (Why::Elsewhere, vec![&a.token, X], "holder"),
            (Why::Scheme, vec![&scheme, &a.uri], "msrps"),
            (Why::Transport, vec![&transport, &a.uri], "tcp"),
            (Why::Port, vec![&port, &a.uri], "port"),
            (Why::Path, vec![&a.token, &a.token], "next hop"),
        ];
        for (number, (why, path, expected)) in (1..).zip(&cases) {
            from(&mut world, number);
            let before = refused(&world, RefusalReason::NoSession);
            let peer = foreign(&mut world, shard, "p").peer;
            let octets = request(method, path, "msrps://p.invalid:1/p;tcp");
            world.write(peer, &octets);
            let notice = only(&mut world);
            assert_eq!(notice.kind, NoticeKind::Token(*why), "{notice:?}");
            says(&notice.came, &[method, "relay.example.com", why.text()]);
            says(&notice.expected, &[expected]);
            assert_eq!(last(&mut world, peer).code(), Some(481));
            assert_eq!(refused(&world, RefusalReason::NoSession), before + 1);
        }
    }
}

/// UPT-13, FWD-14: a refresh or a keepalive of somebody else's session, or of none.
#[test]
fn upt_13_a_refresh_of_a_token_that_is_not_held_is_told() {
    let mut world = world();
    let a = client(&mut world, 0, "a");
    for (number, shard, method) in [
        (1, 0, "AUTH"),
        (2, 1, "AUTH"),
        (3, 0, "SEND"),
        (4, 1, "SEND"),
    ] {
        from(&mut world, number);
        let peer = foreign(&mut world, shard, "p").peer;
        world.write(
            peer,
            &request(method, &[&a.token], "msrps://p.invalid:1/p;tcp"),
        );
        let notice = only(&mut world);
        assert_eq!(notice.kind, NoticeKind::Token(Why::Elsewhere), "{notice:?}");
        assert_eq!(last(&mut world, peer).code(), Some(481));
    }
    from(&mut world, 5);
    let peer = foreign(&mut world, 0, "p").peer;
    let none = "msrps://relay.example.com:2855/AAAAAAAAAAAAAAAAAAAAAAAA;tcp";
    world.write(peer, &request("AUTH", &[none], "msrps://p.invalid:1/p;tcp"));
    assert_eq!(only(&mut world).kind, NoticeKind::Token(Why::Unknown));
}

/// RPT-11: a REPORT that comes when the session has just ended is nobody's mistake.
#[test]
fn rpt_11_a_late_report_is_not_told() {
    for shard in [0, 1] {
        let mut world = world();
        let p = client(&mut world, shard, "p");
        let a = client(&mut world, 0, "a");
        world.write(p.peer, &whole(&p, &a, "m1", "yes", b"hello"));
        world.run();
        let got = last(&mut world, a.peer);
        respond(&mut world, a.peer, &got, 200);
        world.shut(p.peer);
        world.run();
        let report = Builder::request("tidreport", "REPORT")
            .to_path(&got.from_path.iter().map(String::as_str).collect::<Vec<_>>())
            .from_path(&[&a.uri])
            .header("Message-ID", "m1")
            .header("Byte-Range", "1-5/5")
            .header("Status", "000 200 OK");
        world.write(a.peer, &report.encode());
        assert_none(&mut world);
        assert_eq!(refused(&world, RefusalReason::NoSession), 1);
    }
}

/// SYN-19, SYN-21, URI-10: requests that are not well-formed, with what is wrong.
#[test]
fn syn_23_a_malformed_request_is_told_with_what_is_wrong() {
    let mut world = world();
    let a = client(&mut world, 0, "a");
    let p = "msrps://p.invalid:1/p;tcp";
    let no_port = "msrps://x.example.org/x;tcp";
    let cases = [
        (request("SEND", &[&a.token, "msrps:x"], p), "\"msrps:x\""),
        (request("SEND", &[&a.token, no_port], p), "has no port"),
        (request("SEND", &[&a.token, "msrps://x y;tcp"], p), "URI"),
        (
            format!(
                "MSRP tid1 SEND\r\nTo-Path: {} {X}\r\nFrom-Path: {p}\r\n-------tid1$\r\n",
                a.token
            )
            .into_bytes(),
            "Message-ID",
        ),
        (
            format!("MSRP tid1 AUTH\r\nFrom-Path: {p}\r\nTo-Path: {AUTH_URI}\r\n-------tid1$\r\n")
                .into_bytes(),
            "To-Path is not the first",
        ),
        (
            format!("MSRP tid1 AUTH\r\nTo-Path: {AUTH_URI}\r\nFrom-Path: {p}\r\n-------tid1+\r\n")
                .into_bytes(),
            "does not end with $",
        ),
        (
            auth(
                p,
                &[AUTH_URI],
                "tid1",
                None,
                Some("Digest username=\"alice\", realm=\"relay.example.com\""),
            ),
            "Authorization",
        ),
    ];
    for (number, (octets, what)) in (1..).zip(&cases) {
        for transport in [Transport::Tls, Transport::Tcp] {
            let in_clear =
                String::from_utf8_lossy(octets).contains("AUTH") && *what == "Authorization";
            if transport == Transport::Tcp && in_clear {
                continue;
            }
            let before = refused(&world, RefusalReason::Malformed);
            let second = u8::from(transport == Transport::Tcp);
            from(&mut world, 2 * number + second);
            let peer = world.connect(1, transport);
            let octets = match transport {
                Transport::Tcp => String::from_utf8_lossy(octets)
                    .replace(
                        &a.token,
                        &a.token.replace("msrps", "msrp").replace("2855", "2857"),
                    )
                    .into_bytes(),
                _ => octets.clone(),
            };
            world.write(peer, &octets);
            let notice = only(&mut world);
            assert_eq!(notice.kind, NoticeKind::Malformed, "{notice:?}");
            says(&notice.came, &[what]);
            says(&notice.expected, &["RFC"]);
            assert_eq!(refused(&world, RefusalReason::Malformed), before + 1);
        }
    }
}

/// SYN-22: where framing was lost, counted from the connection's first octet, and what stands there. On the short walk, too.
#[test]
fn syn_22_lost_framing_is_told_with_its_place_and_first_octets() {
    for (chats, cut) in [(0, false), (1, false), (6, false), (6, true)] {
        let mut world = world();
        let a = client(&mut world, 0, "a");
        let b = client(&mut world, 1, "b");
        for number in 0..chats {
            world.write(
                a.peer,
                &whole(&a, &b, &format!("m{number}"), "yes", b"hello"),
            );
            if cut {
                world.run();
            }
        }
        let place = world.sockets[a.peer].written;
        world.write(a.peer, b"HELO \x1b[31m\"relay\"\r\nQUIT\r\n");
        let notice = only(&mut world);
        assert_eq!(notice.kind, NoticeKind::Framing);
        says(
            &notice.came,
            &[
                &format!("at octet {place}:"),
                "\"HELO \\x1b[31m\\\"relay\\\"\\r\\nQUIT\\r\\n\"",
            ],
        );
        says(
            &notice.expected,
            &["MSRP SP transact-id SP method CRLF (RFC 4975"],
        );
        end_sessions(world);
    }
    for (octets, protocol) in [
        (&b"\x16\x03\x01\x02\0\x01"[..], "which is TLS"),
        (b"GET / HTTP/1.1\r\n\r\n", "which is HTTP"),
    ] {
        let mut world = world();
        let peer = world.connect(0, Transport::Tcp);
        world.write(peer, octets);
        says(&only(&mut world).came, &["at octet 0:", protocol]);
    }
}

/// RFC 7977 §5.1: two messages in one of the transport, and a transport that is broken.
#[test]
fn rfc_7977_lost_framing_of_a_websocket_is_told() {
    let mut world = world();
    let peer = world.connect(0, Transport::Wss);
    let one = auth("msrps://c.invalid:1/c;ws", &[AUTH_URI], "tid1", None, None);
    let both = [one.clone(), one.clone()].concat();
    world.write_frames(peer, &frame(BINARY, &both));
    let notice = only(&mut world);
    assert_eq!(notice.kind, NoticeKind::Framing);
    says(&notice.came, &[&format!("at octet {}:", one.len())]);
    says(&notice.expected, &["exactly one MSRP message", "RFC 7977"]);
}

/// SEC-07: one notice a minute for each source and kind; the next one says how many there were.
#[test]
fn sec_07_a_source_is_told_once_a_minute_and_the_rest_is_counted() {
    let mut world = world();
    let garbage = |world: &mut World| {
        let peer = world.connect(0, Transport::Tcp);
        world.write(peer, b"no MSRP at all\r\n");
        world.run();
    };
    for _ in 0..4 {
        garbage(&mut world);
    }
    assert_eq!(only(&mut world).more, 0);
    world.advance(MINUTE - Duration::from_secs(1));
    garbage(&mut world);
    assert_none(&mut world);
    world.advance(Duration::from_secs(1));
    garbage(&mut world);
    assert_eq!(only(&mut world).more, 4);
    world.advance(MINUTE);
    garbage(&mut world);
    assert_eq!(only(&mut world).more, 0);
    // One subscriber line of IPv6, and another.
    for (address, told) in [
        ("2001:db8::1", true),
        ("2001:db8::2", false),
        ("2001:db8:0:1::1", true),
    ] {
        world.from = IpAddr::V6(address.parse::<Ipv6Addr>().expect("an address"));
        garbage(&mut world);
        assert_eq!(
            world.notices.drain(..).count(),
            usize::from(told),
            "{address}"
        );
    }
}

/// SEC-07: the same where its connections are on different shards.
#[test]
fn sec_07_a_source_is_told_once_a_minute_whatever_shards_it_comes_to() {
    let mut world = world();
    for number in 1..20 {
        from(&mut world, number);
        for (seconds, told) in [(0, 1), (2, 0), (60, 1)] {
            world.advance(Duration::from_secs(seconds));
            for shard in [0, 1, 0, 1] {
                let peer = world.connect(shard, Transport::Tcp);
                world.write(peer, b"no MSRP at all\r\n");
                world.run();
            }
            assert_eq!(world.notices.drain(..).count(), told, "after {seconds} s");
        }
    }
}

/// SEC-07: however many sources make mistakes, the relay remembers and tells of so many in a minute.
#[test]
fn sec_07_sources_that_are_told_of_are_bounded() {
    let mut options = Options::default();
    options.settings.limits.notices_remembered = 16;
    let mut world = World::new(options);
    let garbage = |world: &mut World| {
        for number in 0..200 {
            from(world, number);
            let peer = world.connect(0, Transport::Tcp);
            world.write(peer, b"no MSRP at all\r\n");
            world.run();
        }
    };
    garbage(&mut world);
    assert_eq!(world.notices.drain(..).count(), 16);
    world.advance(MINUTE);
    garbage(&mut world);
    assert_eq!(world.notices.drain(..).count(), 16);
}

/// Sessions that ended are remembered up to the same bound; older ones are unknown.
#[test]
fn sec_07_ended_sessions_that_are_remembered_are_bounded() {
    let mut options = Options::default();
    options.settings.limits.notices_remembered = 16;
    let mut world = World::new(options);
    let gone: Vec<Client> = (0..20)
        .map(|_| {
            let gone = client(&mut world, 0, "gone");
            world.shut(gone.peer);
            world.run();
            gone
        })
        .collect();
    for (gone, why) in [(&gone[0], Why::Unknown), (&gone[19], Why::Closed)] {
        let peer = foreign(&mut world, 0, "p").peer;
        let octets = request(
            "SEND",
            &[&gone.token, &gone.uri],
            "msrps://p.invalid:1/p;tcp",
        );
        world.write(peer, &octets);
        assert_eq!(only(&mut world).kind, NoticeKind::Token(why));
    }
}

/// SEC-04: no notice has a token, a password, a digest or a nonce, whatever mistake brings them along; all of it is short
/// and printable.
#[test]
fn sec_04_no_notice_has_a_secret() {
    let mut world = world();
    let a = client(&mut world, 0, "a");
    let session_id = |uri: &str| {
        let (_, id) = uri.rsplit_once('/').expect("a path");
        id.split(';').next().expect("an id").to_owned()
    };
    let peer = world.connect(0, Transport::Tls);
    let challenge = challenged(&mut world, peer, None);
    let authorization = answer_as(USERS[0], &challenge, AUTH_URI, 1);
    let part = |name: &str| {
        let (_, value) = authorization.split_once(&format!("{name}=\"")).expect("it");
        value.split('"').next().expect("its end").to_owned()
    };
    let secrets = [
        session_id(&a.token),
        part("response"),
        part("nonce"),
        part("cnonce"),
        "hidden-by-x".to_owned(),
        "hush".to_owned(),
        USERS[0].1.to_owned(),
    ];
    let (token, x) = (&a.token, "msrps://hush@x.example.org:2855/hidden-by-x;tcp");
    let p = "msrps://p.invalid:1/hidden-by-x;tcp";
    let long: String = std::iter::repeat_n(x, 20).collect::<Vec<_>>().join(" ");
    let other_realm = authorization.replace("relay.example.com\"", "elsewhere.example\"");
    let mistakes: Vec<Vec<u8>> = vec![
        request("SEND", &[token, x], p),
        request("SEND", &[x, token], p),
        request("AUTH", &[x], p),
        request("SEND", &[token, token, x], p),
        request("SEND", &[&token.replace("2855", "2857"), x], p),
        request("SEND", &[&token.replace("msrps", "msrp"), x], p),
        request("SEND", &[&token.replace(";tcp", ""), x], p),
        request("SEND", &[&token.replace("msrps:/", "msrps:"), x], p),
        request("SEND", &[&format!("{token};{}", part("nonce")), &long], p),
        request("SEND", &[token, &format!("{x}\u{7f}")], p),
        auth(p, &[x], "tid1", None, Some(&authorization)),
        auth(p, &[AUTH_URI], "tid1", None, Some(&other_realm)),
        auth(
            p,
            &[AUTH_URI],
            "tid1",
            None,
            Some(&authorization.replace("qop", "pop")),
        ),
        auth(
            p,
            &[&format!("{AUTH_URI} {token}")],
            "tid1",
            None,
            Some(&authorization),
        ),
        format!("MSRP tid1 AUTH\r\nAuthorization: {authorization}\r\n-------tid1$\r\n")
            .into_bytes(),
        format!("Authorization: {authorization}\r\n").into_bytes(),
        format!(
            "response=\"{}\", nonce=\"{}\"\r\n",
            part("response"),
            part("nonce")
        )
        .into_bytes(),
        format!(
            "nonce=\"{}\", cnonce=\"{}\"\r\n",
            part("nonce"),
            part("cnonce")
        )
        .into_bytes(),
        format!(
            "MSRP {}{} SEND\r\n",
            session_id(token),
            part("response").repeat(2)
        )
        .into_bytes(),
        format!("To-Path: {token}\r\n").into_bytes(),
        format!("{x}\r\n").into_bytes(),
        format!("MSRP tid1 {}\r\n", session_id(token)).into_bytes(),
    ];
    let count = mistakes.len();
    for (number, octets) in (1..).zip(mistakes) {
        from(&mut world, number);
        let peer = world.connect(0, Transport::Tls);
        world.sockets[peer].sends_broken_uris = true;
        world.write(peer, &octets);
        world.run();
    }
    let notices = std::mem::take(&mut world.notices);
    assert!(notices.len() >= count, "each is told: {notices:#?}");
    for notice in &notices {
        for text in [&notice.came, &notice.expected] {
            for secret in &secrets {
                assert!(!text.contains(secret.as_str()), "{secret} in {notice:?}");
            }
            assert!(text.len() <= 610, "{notice:?}");
            assert!(
                text.bytes().all(|octet| (b' '..=b'~').contains(&octet)),
                "{notice:?}"
            );
        }
    }
    world.run();
}
