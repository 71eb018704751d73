//! AUTH between relays, the second one played by the test: RFC 4976 §5.1, §6.3; rows AUT, UPT, FNS and RSP as far as
//! they need another relay.

use std::time::{Duration, Instant};

use msrpload::codec::Message;
use msrpload::digest::Challenge;

use crate::rows;
use crate::support::client::{Client, QUIET, SOON, own_uri};
use crate::support::message::{Draft, response};
use crate::support::peer::Peer;
use crate::support::pki::{STRANGER, TRUSTED};
use crate::support::relay::{Relay, Setup, free_port, shared};
use crate::support::relay2::{R2, own_host, own_token};

rows! {
    any: [],
    own: [
        aut_20_client_behind_a_relay_is_challenged,
        aut_21_certificate_of_another_name_makes_a_client,
        aut_22_failures_by_way_of_a_relay_never_close,
        aut_23_wrong_credentials_for_a_far_relay_are_counted,
        aut_24_relays_are_allowed_and_blocked_by_name,
        aut_24_a_relay_blocked_by_one_name_does_not_come_in_by_another,
        aut_24_relays_that_are_not_let_in_are_not_dialled,
        aut_25_credentials_work_once_over_all_links,
        upt_04_use_path_is_the_whole_way,
        upt_09_token_of_a_relay_is_good_on_all_its_connections,
        upt_13_refresh_by_way_of_a_relay,
        upt_13_refresh_passes_through,
        fns_07_auth_goes_on_to_the_next_relay,
        fns_09_unreachable_relay_is_a_408,
        rsp_05_answer_to_auth_travels_back_untouched,
        rsp_06_answer_to_an_auth_of_nobody_is_dropped,
        rsp_11_answer_without_the_way_back_is_repaired,
        tmr_06_answer_to_auth_may_take_25_s,
    ],
}

/// A client behind R2 with a token of R; `link.token` is R's own URI afterwards.
fn behind(r2: &R2, relay: &Relay) -> Client {
    let mut link = r2.connect(relay);
    link.obtain_token();
    link.token = own_token(&link.token);
    link
}

fn aut_20_client_behind_a_relay_is_challenged() {
    let relay = shared();
    let r2 = R2::new();
    let mut link = r2.connect(relay);
    let refusal = link.auth(&[]);
    assert_eq!(refusal.code(), Some(401));
    assert_eq!(refusal.to_path.join(" "), link.uri, "the whole way back");
    assert_eq!(refusal.from_path, [relay.uri()]);
    let challenge = Challenge::choose(refusal.headers_named("WWW-Authenticate")).unwrap();
    // The certificate of the relay is no password of the client.
    let mut wrong = link.answer(&challenge, 1).authorization;
    wrong = wrong.replace("response=\"", "response=\"f");
    assert_ne!(
        link.auth(&[&format!("Authorization: {wrong}")]).code(),
        Some(200)
    );
    link.obtain_token();
}

fn aut_21_certificate_of_another_name_makes_a_client() {
    let relay = shared();
    let r2 = R2::new();
    let other = R2::new();
    // The From-Path begins with a relay that the certificate does not name.
    let mut link = r2.connect(relay);
    link.uri = other.path_of_client();
    link.obtain_token();
    let token = own_token(&link.token);
    // The token is bound to this connection, whatever stands in From-Path: neither relay has it.
    for holder in [&r2, &other] {
        let mut second = holder.connect(relay);
        second.uri.clone_from(&link.uri);
        let draft = Draft::send(&token, &second.uri).range("1-0/0");
        second.send(draft.octets());
        assert_eq!(second.response_to(&draft.tid).code(), Some(481));
    }
    let draft = Draft::send(&token, &link.uri).range("1-0/0");
    link.send(draft.octets());
    assert_eq!(link.response_to(&draft.tid).code(), Some(200));
    // And it dies with the connection (UPT-08), for nobody is a relay here.
    let (uri, back) = (
        link.uri.clone(),
        link.uri.split(' ').next().unwrap().to_owned(),
    );
    link.kill();
    std::thread::sleep(Duration::from_millis(200));
    let mut p = Client::tls(relay);
    let draft = Draft::send(&format!("{token} {uri}"), &p.uri).text("anybody?");
    p.send(draft.octets());
    assert_eq!(p.response_to(&draft.tid).code(), Some(481), "{back}");
    other.peer.nobody_connects(Duration::from_millis(200));
}

fn aut_22_failures_by_way_of_a_relay_never_close() {
    let relay = shared();
    let mut link = R2::new().connect(relay);
    for _ in 0..20 {
        let challenge = link.challenge();
        let authorization = link.answer(&challenge, 1).authorization;
        let wrong = authorization.replace("username=\"alice\"", "username=\"bob\"");
        let refusal = link.auth(&[&format!("Authorization: {wrong}")]);
        assert_eq!(refusal.code(), Some(401));
        let challenge = Challenge::choose(refusal.headers_named("WWW-Authenticate")).unwrap();
        assert!(!challenge.stale);
    }
    link.obtain_token();
}

/// Answers the AUTH that R2 has got with 401.
fn challenge_from(r2: &mut Client, nonce: &str, stale: bool) -> Message {
    let got = r2.expect_method("AUTH");
    let stale = if stale { ", stale=true" } else { "" };
    r2.send(answer(
        &got,
        "401 Unauthorized",
        &[&format!(
            "WWW-Authenticate: Digest realm=\"r2\", nonce=\"{nonce}\", opaque=\"o\", qop=\"auth\"{stale}"
        )],
    ));
    got
}

/// A response with further header lines.
fn answer(request: &Message, status: &str, lines: &[&str]) -> Vec<u8> {
    let octets = String::from_utf8(response(request, status)).expect("a response is text");
    let end = format!("-------{}$", request.tid);
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    octets.replace(&end, &format!("{lines}{end}")).into_bytes()
}

const CREDENTIALS: &str = "Authorization: Digest username=\"alice\", realm=\"r2\", nonce=\"n\", opaque=\"o\", \
     qop=auth, nc=00000001, cnonce=\"c\", response=\"00000000000000000000000000000000\"";

fn aut_23_wrong_credentials_for_a_far_relay_are_counted() {
    let relay = shared();
    let r2 = R2::new();
    let mut a = Client::authenticated(relay, "alice");
    let path = format!("{} {}", a.token, r2.token());
    let first = Draft::request("AUTH", &path, &a.uri);
    a.send(first.octets());
    let mut link = r2.accept();
    // First challenges and stale nonces are no failures.
    challenge_from(&mut link, "n", false);
    assert_eq!(a.response_to(&first.tid).code(), Some(401));
    for (lines, stale) in [(&[][..], false), (&[CREDENTIALS][..], true)] {
        for _ in 0..6 {
            let draft = Draft::request("AUTH", &path, &a.uri).lines(lines);
            a.send(draft.octets());
            challenge_from(&mut link, "n", stale);
            assert_eq!(a.response_to(&draft.tid).code(), Some(401));
        }
    }
    // Wrong credentials are; after three of them this chain is over, and nothing else.
    for _ in 0..3 {
        let draft = Draft::request("AUTH", &path, &a.uri).lines(&[CREDENTIALS]);
        a.send(draft.octets());
        challenge_from(&mut link, "n", false);
        assert_eq!(a.expect_code(401).tid, draft.tid);
    }
    let keepalive = Draft::send(&a.token.clone(), &a.uri).range("1-0/0");
    a.send(keepalive.octets());
    assert_eq!(a.response_to(&keepalive.tid).code(), Some(200));
    // Whoever goes on all the same guesses: that ends the client's connection, not the relay's.
    for _ in 0..4 {
        let draft = Draft::request("AUTH", &path, &a.uri).lines(&[CREDENTIALS]);
        a.send(draft.octets());
        assert_eq!(a.expect_code(403).tid, draft.tid);
    }
    a.closed();
    let mut b = Client::authenticated(relay, "bob");
    let path = format!("{} {}", b.token, r2.token());
    b.send(Draft::send(&path, &b.uri).text("the link lives").octets());
    assert_eq!(link.expect_method("SEND").body(), b"the link lives");
    r2.peer.nobody_connects(Duration::from_millis(100));
}

fn aut_24_relays_are_allowed_and_blocked_by_name() {
    let (good, bad) = (R2::new(), R2::new());
    for setup in [
        Setup::new().set_list("peers.allow", &[&good.host]),
        Setup::new().set_list("peers.block", &[&bad.host.to_uppercase()]),
    ] {
        let relay = setup.start();
        let mut a = Client::authenticated(&relay, "alice");
        let to_a = format!("{} {}", a.token, a.uri);
        let mut link = bad.connect(&relay);
        for draft in [
            Draft::request("AUTH", &relay.uri(), &link.uri),
            Draft::send(&to_a, &link.uri).text("may I?"),
            Draft::request("NICKNAME", &to_a, &link.uri),
        ] {
            link.send(draft.octets());
            assert_eq!(link.response_to(&draft.tid).code(), Some(403));
        }
        a.silence(QUIET);
        let mut link = behind(&good, &relay);
        link.say(&to_a, "I may");
        assert_eq!(a.expect_method("SEND").body(), b"I may");
        // The policy is about relays: a client with a certificate of its own is none.
        let mut client = bad.connect(&relay);
        client.uri = own_uri("carol");
        client.obtain_token();
    }
}

fn aut_24_a_relay_blocked_by_one_name_does_not_come_in_by_another() {
    let other = own_host();
    let host = own_host();
    let r2 = R2::with(host.clone(), TRUSTED.leaf(&[&host, &other]));
    let relay = Setup::new().set_list("peers.block", &[&other]).start();
    let mut a = Client::authenticated(&relay, "alice");
    let to_a = format!("{} {}", a.token, a.uri);
    let mut link = r2.connect(&relay);
    let draft = Draft::send(&to_a, &link.uri).text("may I?");
    link.send(draft.octets());
    assert_eq!(link.response_to(&draft.tid).code(), Some(403));
    a.silence(QUIET);
}

fn aut_24_relays_that_are_not_let_in_are_not_dialled() {
    let other = own_host();
    let (good, bad) = (R2::new(), R2::new());
    let host = own_host();
    let alias = R2::with(host.clone(), TRUSTED.leaf(&[&host, &other]));
    for (setup, also) in [
        (Setup::new().set_list("peers.allow", &[&good.host]), None),
        (
            Setup::new().set_list("peers.block", &[&bad.host, &other]),
            Some(&alias),
        ),
    ] {
        let relay = setup.start();
        let mut a = Client::authenticated(&relay, "alice");
        let to = |r2: &R2| format!("{} {} {}", a.token, r2.token(), own_uri("bob"));
        let draft = Draft::send(&to(&bad), &a.uri).text("over there?");
        let (to_alias, to_good) = (also.map(to), to(&good));
        a.send(draft.octets());
        assert_eq!(a.response_to(&draft.tid).code(), Some(403));
        if let Some(to_alias) = to_alias {
            // It shows its other name when it has been dialled.
            let draft = Draft::send(&to_alias, &a.uri).text("over there?");
            a.send(draft.octets());
            assert_eq!(a.response_to(&draft.tid).code(), Some(200));
            let report = a.expect_method("REPORT");
            assert_eq!(report.status().unwrap().1, 408);
        }
        bad.peer.nobody_connects(Duration::from_millis(100));
        let draft = Draft::send(&to_good, &a.uri).text("here?");
        a.send(draft.octets());
        let mut link = good.accept();
        assert_eq!(link.expect_method("SEND").body(), b"here?");
    }
}

fn aut_25_credentials_work_once_over_all_links() {
    let relay = shared();
    let r2 = R2::new();
    // Connections go to the emptier shard, so these are on both.
    let mut links: Vec<Client> = (0..4).map(|_| r2.connect(relay)).collect();
    let path = links[0].uri.clone();
    links.iter_mut().for_each(|link| link.uri.clone_from(&path));
    let challenge = links[0].challenge();
    let authorization = format!(
        "Authorization: {}",
        links[0].answer(&challenge, 1).authorization
    );
    let codes: Vec<_> = links
        .iter_mut()
        .map(|link| link.auth(&[&authorization]).code())
        .collect();
    assert_eq!(codes, [Some(200), Some(401), Some(401), Some(401)]);
    // A higher count is good wherever it comes, a lower one nowhere.
    let later = links[3].answer(&challenge, 5).authorization;
    let later = format!("Authorization: {later}");
    assert_eq!(links[3].auth(&[&later]).code(), Some(200));
    let earlier = links[2].answer(&challenge, 4).authorization;
    let refusal = links[2].auth(&[&format!("Authorization: {earlier}")]);
    assert_eq!(refusal.code(), Some(401));
    assert!(
        refusal
            .header("WWW-Authenticate")
            .unwrap()
            .contains("stale=true")
    );
}

fn upt_04_use_path_is_the_whole_way() {
    let relay = shared();
    let r2 = R2::new();
    let mut link = r2.connect(relay);
    let prefix = format!("msrps://{}:{}/", relay.host, relay.port());
    let (t2, t3, client) = (r2.token(), R2::new().token(), own_uri("bob"));
    for (from, use_path) in [
        (format!("{t2} {client}"), t2.clone()),
        (format!("{t2} {t3} {client}"), format!("{t3} {t2}")),
    ] {
        link.uri = from;
        link.obtain_token();
        let (rest, own) = link.token.rsplit_once(' ').expect("more than one URI");
        assert_eq!(rest, use_path);
        assert!(own.starts_with(&prefix) && own.ends_with(";tcp"), "{own}");
    }
}

fn upt_09_token_of_a_relay_is_good_on_all_its_connections() {
    let relay = shared();
    let r2 = R2::new();
    let first = behind(&r2, relay);
    let (token, path) = (first.token.clone(), first.uri.clone());
    let mut a = Client::authenticated(relay, "alice");
    let onward = format!("{token} {} {}", a.token, a.uri);
    let back = format!("{} {token} {path}", a.token);
    let mut earlier = Some(first);
    for round in 0..3 {
        // The first connection is still there, then it has gone; each new one may be on any shard.
        let mut link = r2.connect(relay);
        link.uri.clone_from(&path);
        link.say(&onward, &format!("round {round}"));
        let got = a.expect_method("SEND");
        assert_eq!(
            got.from_path.join(" "),
            format!("{} {token} {path}", a.token)
        );
        a.send(response(&got, "200 OK"));
        if round == 0 {
            earlier.take().unwrap().kill();
            std::thread::sleep(Duration::from_millis(100));
        }
        let draft = a.say(&back, "and back");
        let got = link.find(SOON, |m| m.message_id() == Some(&draft.message_id));
        assert_eq!(
            got.from_path.join(" "),
            format!("{token} {} {}", a.token, a.uri)
        );
        link.send(response(&got, "200 OK"));
        link.kill();
        std::thread::sleep(Duration::from_millis(100));
    }
    r2.peer.nobody_connects(Duration::from_millis(10));
    // Another relay's it is not, and nobody's without a certificate.
    let thieves = [
        R2::new().connect(relay),
        Client::tls(relay),
        R2::with(r2.host.clone(), STRANGER.leaf(&[&r2.host])).connect(relay),
    ];
    for mut thief in thieves {
        for from in [thief.uri.clone(), path.clone()] {
            let draft = Draft::send(&onward, &from).text("stolen");
            thief.send(draft.octets());
            assert_eq!(thief.response_to(&draft.tid).code(), Some(481), "{from}");
        }
    }
    a.silence(QUIET);
}

/// An AUTH to this URI with good credentials of the client's user; the answer.
fn refresh(link: &mut Client, token: &str, expires: u32) -> Message {
    let challenge = link.challenge_for(token);
    let answer = link.answer_for(token, &challenge, 1);
    let authorization = format!("Authorization: {}", answer.authorization);
    link.auth_to(token, &[&authorization, &format!("Expires: {expires}")])
}

fn upt_13_refresh_by_way_of_a_relay() {
    let relay = Setup::new().set("auth.expires_min", 2).start();
    let r2 = R2::new();
    let mut link = r2.connect(&relay);
    let granted = link.obtain_token_with(&["Expires: 4"]);
    let began = Instant::now();
    let use_path = granted.header("Use-Path").unwrap().to_owned();
    let token = own_token(&use_path);
    let path = link.uri.clone();
    // Over other connections of the relay, whatever shards they are on.
    let mut links: Vec<Client> = (0..3).map(|_| r2.connect(&relay)).collect();
    for other in &mut links {
        other.uri.clone_from(&path);
        let answer = refresh(other, &token, 60);
        assert_eq!(answer.code(), Some(200), "{answer:?}");
        assert_eq!(answer.header("Use-Path"), Some(&*use_path));
        assert_eq!(answer.header("Expires"), Some("60"));
    }
    // From another relay, or as another user, never.
    let mut other = R2::new().connect(&relay);
    let draft = Draft::request("AUTH", &token, &other.uri);
    other.send(draft.octets());
    assert_eq!(other.response_to(&draft.tid).code(), Some(481));
    for bob in links.iter_mut().chain([&mut link]) {
        bob.set_user("bob", "builder");
        assert_ne!(refresh(bob, &token, 60).code(), Some(200));
    }
    link.set_user("alice", "wonderland");
    std::thread::sleep(Duration::from_millis(4500).saturating_sub(began.elapsed()));
    let mut a = Client::authenticated(&relay, "alice");
    link.say(&format!("{token} {} {}", a.token, a.uri), "still mine");
    a.expect_method("SEND");
    // Shortened, it ends; and an expired one is nobody's.
    assert_eq!(refresh(&mut link, &token, 2).code(), Some(200));
    std::thread::sleep(Duration::from_millis(2500));
    let draft = Draft::request("AUTH", &token, &link.uri);
    link.send(draft.octets());
    assert_eq!(link.response_to(&draft.tid).code(), Some(481));
}

fn upt_13_refresh_passes_through() {
    // The refreshing AUTH goes by the same path: here R is the one in between.
    let relay = shared();
    let r2 = R2::new();
    let mut a = Client::authenticated(relay, "alice");
    let far = r2.token();
    let path = format!("{} {far}", a.token);
    let draft = Draft::request("AUTH", &path, &a.uri).lines(&[CREDENTIALS, "Expires: 600"]);
    a.send(draft.octets());
    let mut link = r2.accept();
    let got = link.expect_method("AUTH");
    assert_eq!(got.to_path, std::slice::from_ref(&far));
    assert_eq!(got.from_path.join(" "), format!("{} {}", a.token, a.uri));
    link.send(answer(
        &got,
        "200 OK",
        &[&format!("Use-Path: {path}"), "Expires: 600"],
    ));
    let granted = a.response_to(&draft.tid);
    assert_eq!(granted.header("Use-Path"), Some(&*path));
    assert_eq!(granted.from_path.join(" "), path);
}

fn fns_07_auth_goes_on_to_the_next_relay() {
    // With a port, without one, under a path of two more relays.
    let relay = shared();
    for port in [true, false] {
        let r2 = if port { R2::new() } else { R2::on_2855() };
        let next = match port {
            true => format!("msrps://{}:{};tcp", r2.host, r2.peer.port),
            false => r2.uri(),
        };
        let mut a = Client::authenticated(relay, "alice");
        let third = "msrps://r3.example.net:2855/t3;tcp msrps://r4.example.net;tcp";
        for rest in [next.clone(), format!("{next} {third}")] {
            let draft = Draft::request("AUTH", &format!("{} {rest}", a.token), &a.uri)
                .line("X-Extension: kept");
            a.send(draft.octets());
        }
        let mut link = r2.accept();
        let chain = link.shown_certificates().expect("R shows its certificate");
        let (_, leaf) = x509_parser::parse_x509_certificate(&chain[0]).unwrap();
        let names = leaf.subject_alternative_name().unwrap().expect("a SAN");
        assert!(format!("{:?}", names.value).contains(&relay.host));
        for rest in [next.clone(), format!("{next} {third}")] {
            let got = link.expect_method("AUTH");
            assert_eq!(got.to_path.join(" "), rest);
            assert_eq!(got.from_path.join(" "), format!("{} {}", a.token, a.uri));
            assert_eq!(got.header("X-Extension"), Some("kept"));
        }
        // R answers nothing of its own (FNS-02), and one connection carries both.
        a.silence(QUIET);
        r2.peer.nobody_connects(Duration::from_millis(10));
    }
}

fn fns_09_unreachable_relay_is_a_408() {
    let relay = shared();
    let dead = format!("msrps://dead.peers.example:{};tcp", free_port());
    let mistrusted = own_host();
    let mistrusted = R2::with(mistrusted.clone(), STRANGER.leaf(&[&mistrusted]));
    let plain = Peer::tcp();
    let misnamed = R2::with(
        own_host(),
        crate::support::pki::TRUSTED.leaf(&["other.example.net"]),
    );
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = |host: &str, port: u16| format!("msrps://{host}:{port};tcp");
    let mut a = Client::authenticated(relay, "alice");
    for (what, uri) in [
        ("refused", dead),
        (
            "no such name",
            "msrps://nowhere.example.invalid;tcp".to_owned(),
        ),
        (
            "wrong authority",
            at(&mistrusted.host, mistrusted.peer.port),
        ),
        ("wrong name", at(&misnamed.host, misnamed.peer.port)),
        ("no TLS", at("plain.peers.example", plain.port)),
        (
            "no answer",
            at("mute.peers.example", silent.local_addr().unwrap().port()),
        ),
    ] {
        let draft = Draft::request("AUTH", &format!("{} {uri}", a.token), &a.uri);
        a.send(draft.octets());
        for pair in [&mistrusted, &misnamed] {
            if let Some(socket) = pair.peer.accept_socket(Duration::from_millis(100)) {
                assert!(
                    pair.peer
                        .handshake(socket)
                        .and_then(|mut client| client
                            .receive(Duration::from_millis(500))
                            .map_err(|e| std::io::Error::other(format!("{e:?}"))))
                        .is_err(),
                    "{what}: MSRP was spoken"
                );
            }
        }
        if what == "no TLS" {
            let octets = plain.raw_octets(SOON);
            assert_eq!(octets.first(), Some(&22), "a ClientHello and nothing else");
        }
        let answer = a.response_to(&draft.tid);
        assert_eq!(answer.code(), Some(408), "{what}");
        assert_eq!(answer.to_path, [a.uri.clone()], "{what}");
        assert_eq!(answer.from_path, [a.token.clone()], "{what}");
    }
    // In clear it is never tried.
    let uri = format!("msrp://127.0.0.1:{};tcp", plain.port);
    let draft = Draft::request("AUTH", &format!("{} {uri}", a.token), &a.uri);
    a.send(draft.octets());
    let code = a.response_to(&draft.tid).code();
    assert!(matches!(code, Some(403 | 408)), "{code:?}");
    plain.nobody_connects(Duration::from_millis(200));
}

fn rsp_05_answer_to_auth_travels_back_untouched() {
    let relay = shared();
    let r2 = R2::new();
    let mut a = Client::authenticated(relay, "alice");
    let path = format!("{} {}", a.token, r2.token());
    let mut link = None;
    for (code, comment, lines) in [
        (
            423,
            Some("Interval Out-of-Bounds"),
            &["Min-Expires: 3600"][..],
        ),
        (403, None, &[][..]),
        (
            299,
            Some("Strange, but so"),
            &["X-New: \"a, b\"", "Use-Path: msrps://x.invalid:1/y;tcp"][..],
        ),
    ] {
        let draft = Draft::request("AUTH", &path, &a.uri);
        a.send(draft.octets());
        let link = link.get_or_insert_with(|| r2.accept());
        let got = link.expect_method("AUTH");
        assert_ne!(got.tid, draft.tid);
        let status = comment.map_or(code.to_string(), |comment| format!("{code} {comment}"));
        link.send(answer(&got, &status, lines));
        let back = a.response_to(&draft.tid);
        assert_eq!((back.code(), back.comment()), (Some(code), comment));
        assert_eq!(back.to_path, [a.uri.clone()]);
        assert_eq!(back.from_path.join(" "), path, "R's URI moves to the front");
        let shown = String::from_utf8_lossy(&back.raw).into_owned();
        for line in lines {
            assert!(
                shown.contains(&format!("\r\n{line}\r\n")),
                "{line} in\n{shown}"
            );
        }
    }
}

fn rsp_06_answer_to_an_auth_of_nobody_is_dropped() {
    let relay = shared();
    let r2 = R2::new();
    let listening = Peer::tls();
    let mut a = Client::tls(relay);
    a.uri.clone_from(&listening.uri);
    a.obtain_token();
    let draft = Draft::request("AUTH", &format!("{} {}", a.token, r2.token()), &a.uri);
    a.send(draft.octets());
    let mut link = r2.accept();
    let got = link.expect_method("AUTH");
    a.kill();
    std::thread::sleep(Duration::from_millis(200));
    link.send(answer(
        &got,
        "401 Unauthorized",
        &["WWW-Authenticate: Digest realm=\"x\""],
    ));
    listening.nobody_connects(Duration::from_millis(400));
    link.silence(Duration::from_millis(100));
    let mut b = Client::authenticated(relay, "bob");
    b.send(
        Draft::send(&format!("{} {}", b.token, r2.token()), &b.uri)
            .text("next")
            .octets(),
    );
    assert_eq!(link.expect_method("SEND").body(), b"next");
}

fn rsp_11_answer_without_the_way_back_is_repaired() {
    let relay = shared();
    let r2 = R2::new();
    let mut a = Client::authenticated(relay, "alice");
    let path = format!("{} {}", a.token, r2.token());
    let mut link = None;
    for code in [401, 200] {
        let draft = Draft::request("AUTH", &path, &a.uri);
        a.send(draft.octets());
        let link = link.get_or_insert_with(|| r2.accept());
        let got = link.expect_method("AUTH");
        // One To-Path URI, as in a response to SEND.
        link.send(format!(
            "MSRP {tid} {code}\r\nTo-Path: {}\r\nFrom-Path: {}\r\nX-Kept: yes\r\n-------{tid}$\r\n",
            got.from_path[0],
            got.to_path[0],
            tid = got.tid
        ));
        let answer = a.response_to(&draft.tid);
        assert_eq!(answer.code(), Some(code));
        assert_eq!(answer.to_path, [a.uri.clone()]);
        assert_eq!(answer.from_path.join(" "), path);
        assert_eq!(answer.header("X-Kept"), Some("yes"));
    }
}

fn tmr_06_answer_to_auth_may_take_25_s() {
    let relay = shared();
    let r2 = R2::new();
    let mut a = Client::authenticated(relay, "alice");
    let path = format!("{} {}", a.token, r2.token());
    let draft = Draft::request("AUTH", &path, &a.uri);
    a.send(draft.octets());
    let mut link = r2.accept();
    let got = link.expect_method("AUTH");
    a.silence(Duration::from_secs(25));
    link.send(answer(&got, "200 OK", &["Expires: 60"]));
    assert_eq!(a.response_to(&draft.tid).code(), Some(200));
}
