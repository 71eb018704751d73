//! Use-Path URIs, tokens, expiry, direction: RFC 4976 §4.2, §5.1, §6.3, §6.4; rows UPT.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use msrpload::codec::{Uri, fresh_tid};
use msrpload::digest::Challenge;

use crate::rows;
use crate::support::client::{Client, QUIET, SOON, transport};
use crate::support::dns::Names;
use crate::support::link::Link;
use crate::support::message::{Draft, report, response};
use crate::support::peer::Peer;
use crate::support::relay::{Setup, shared};

rows! {
    any: [
        upt_01_use_path_is_a_full_uri,
        upt_02_tokens_are_distinct_and_unpredictable,
        upt_03_every_auth_yields_a_token_and_all_work,
        upt_07_default_expiry_is_long,
        upt_08_token_dies_with_its_connection,
        upt_12_unknown_and_misbound_tokens_are_refused_alike,
        upt_13_refresh_is_for_the_holder_only,
    ],
    own: [
        upt_02_tokens_do_not_repeat_after_a_restart,
        upt_06_token_expires,
        upt_10_token_works_for_its_holder_or_towards_it,
        upt_11_client_is_reached_on_its_connection_only,
        upt_13_refresh_prolongs_the_same_uri,
        upt_14_what_began_before_expiry_may_finish,
    ],
}

/// A relay whose tokens may live for two seconds.
fn short_lived() -> Setup {
    Setup::new().set("auth.expires_min", 2)
}

fn session_id(token: &str) -> &str {
    Uri::parse(token)
        .expect("a token is a URI")
        .session_id
        .expect("it has a session-id")
}

fn upt_01_use_path_is_a_full_uri() {
    let relay = shared();
    let mut a = Client::tls(relay);
    let granted = a.obtain_token();
    assert_eq!(granted.headers_named("Use-Path").count(), 1);
    let uri = Uri::parse(&a.token).expect("one URI");
    assert_eq!(
        (uri.scheme, uri.transport, uri.params, uri.userinfo),
        ("msrps", "tcp", None, None)
    );
    assert_eq!(
        (uri.host, uri.port),
        (relay.host.as_str(), Some(relay.port()))
    );
    assert!(uri.host.contains('.'), "fully qualified");
}

/// Many tokens by one client, without a round trip for a challenge.
fn many_tokens(a: &mut Client, count: u32) -> Vec<String> {
    let challenge = a.challenge();
    (1..=count)
        .map(|nc| {
            let authorization =
                format!("Authorization: {}", a.answer(&challenge, nc).authorization);
            let granted = a.auth(&[&authorization]);
            assert_eq!(granted.code(), Some(200), "{granted:?}");
            granted.header("Use-Path").unwrap().to_owned()
        })
        .collect()
}

fn upt_02_tokens_are_distinct_and_unpredictable() {
    let relay = shared();
    let mut seen = HashSet::new();
    let mut values: Vec<HashSet<u8>> = Vec::new();
    for _ in 0..4 {
        for token in many_tokens(&mut Client::tls(relay), 500) {
            let id = session_id(&token).to_owned();
            values.resize(values.len().max(id.len()), HashSet::new());
            for (octet, seen) in id.bytes().zip(&mut values) {
                seen.insert(octet);
            }
            assert!(seen.insert(id), "a token came twice");
        }
    }
    let lengths: HashSet<usize> = seen.iter().map(String::len).collect();
    assert_eq!(lengths.len(), 1, "of one length");
    let bits: f64 = values.iter().map(|seen| (seen.len() as f64).log2()).sum();
    assert!(bits >= 80.0, "{bits} bits at most");
}

fn upt_02_tokens_do_not_repeat_after_a_restart() {
    let mut seen = HashSet::new();
    for _ in 0..3 {
        let relay = Setup::new().start();
        for token in many_tokens(&mut Client::tls(&relay), 50) {
            assert!(
                seen.insert(session_id(&token).to_owned()),
                "a token came again"
            );
        }
    }
}

fn upt_03_every_auth_yields_a_token_and_all_work() {
    let relay = shared();
    let mut a = Client::tls(relay);
    let mut p = Client::tls(relay);
    let tokens = many_tokens(&mut a, 100);
    for token in &tokens {
        let draft = Draft::send(&format!("{token} {}", a.uri), &p.uri)
            .failure_report("no")
            .text(token);
        p.send(draft.octets());
        let got = a.expect_method("SEND");
        assert_eq!(got.body(), token.as_bytes());
        assert_eq!(&got.from_path[0], token);
        a.send(
            Draft::send(&format!("{token} {}", p.uri), &a.uri)
                .failure_report("no")
                .text("back")
                .octets(),
        );
        assert_eq!(&p.expect_method("SEND").from_path[0], token);
    }
}

/// The code of the answer to a SEND from P to A by this token; A takes the message if it comes.
fn try_token(a: &mut Client, p: &mut Client, token: &str) -> Option<u16> {
    let draft = Draft::send(&format!("{token} {}", a.uri), &p.uri).text("try");
    p.send(draft.octets());
    let code = p.response_to(&draft.tid).code();
    if code == Some(200) {
        let got = a.expect_method("SEND");
        a.send(response(&got, "200 OK"));
    }
    code
}

fn upt_06_token_expires() {
    let relay = short_lived().start();
    let mut a = Client::tls(&relay);
    let mut p = Client::tls(&relay);
    let before = Instant::now();
    let granted = a.obtain_token_with(&["Expires: 3"]);
    let after = Instant::now();
    assert_eq!(granted.header("Expires"), Some("3"));
    let token = a.token.clone();
    while before.elapsed() < Duration::from_millis(2500) {
        assert_eq!(try_token(&mut a, &mut p, &token), Some(200));
        std::thread::sleep(Duration::from_millis(100));
    }
    std::thread::sleep(Duration::from_millis(4100).saturating_sub(after.elapsed()));
    assert_eq!(try_token(&mut a, &mut p, &token), Some(481));
    // From its holder, too.
    let draft = Draft::send(&format!("{token} {}", p.uri), &a.uri).text("late");
    a.send(draft.octets());
    assert_eq!(a.response_to(&draft.tid).code(), Some(481));
    p.silence(QUIET);
    // The connection lives, and may have another token.
    a.obtain_token();
    let token = a.token.clone();
    assert_eq!(try_token(&mut a, &mut p, &token), Some(200));
}

fn upt_07_default_expiry_is_long() {
    let granted = Client::tls(shared()).obtain_token();
    let expires: u64 = granted.header("Expires").unwrap().parse().unwrap();
    assert!(expires >= 86_400, "{expires}");
}

fn upt_08_token_dies_with_its_connection() {
    let relay = shared();
    for reset in [false, true] {
        let Link { a, mut p, .. } = Link::inbound(relay);
        let (uri, token) = (a.uri.clone(), a.token.clone());
        match reset {
            true => a.reset(),
            false => a.kill(),
        }
        std::thread::sleep(Duration::from_millis(100));
        let mut again = Client::tls(relay);
        again.uri = uri;
        // Before and after the same user is back with a token of its own.
        for back in [false, true] {
            if back {
                again.obtain_token();
                assert_ne!(again.token, token);
            }
            assert_eq!(try_token(&mut again, &mut p, &token), Some(481));
            let draft = Draft::send(&format!("{token} {}", p.uri), &again.uri).text("revive");
            again.send(draft.octets());
            assert_eq!(again.response_to(&draft.tid).code(), Some(481));
        }
    }
}

fn upt_10_token_works_for_its_holder_or_towards_it() {
    let relay = shared();
    let stranger = Peer::tls();
    let Link { mut a, mut p, .. } = Link::inbound(relay);
    let mut b = Client::authenticated(relay, "bob");
    let onward = format!("{} {}", a.token, stranger.uri);
    let b_token = b.token.clone();
    for who in [&mut p, &mut b] {
        for draft in [
            Draft::send(&onward, &who.uri).text("relay me"),
            Draft::send(&onward, &a.uri).text("I am A"),
            Draft::send(&format!("{} {}", a.token, b_token), &who.uri).text("to yourself"),
        ] {
            who.send(draft.octets());
            assert_eq!(who.response_to(&draft.tid).code(), Some(481));
        }
    }
    let token = a.token.clone();
    assert_eq!(try_token(&mut a, &mut p, &token), Some(200));
    assert_eq!(
        try_token(&mut a, &mut b, &token),
        Some(200),
        "B as a foreign client of A"
    );
    // Delivered on the bound connection only, whatever the session-id (D-20) ...
    let sibling = a.uri.replacen(session_id(&a.uri), &fresh_tid(), 1);
    let draft = Draft::send(&format!("{} {sibling}", a.token), &p.uri).text("sibling");
    p.send(draft.octets());
    assert_eq!(p.response_to(&draft.tid).code(), Some(200));
    assert_eq!(a.expect_method("SEND").to_path, [sibling]);
    // ... but scheme, host, port and transport have to be equal.
    let way = match transport() {
        "ws" => (";ws", ";tcp"),
        _ => (";tcp", ";ws"),
    };
    for (from, to) in [
        ("msrps:", "msrp:"),
        ("-pc.", "-mac."),
        (":7654", ":7655"),
        way,
    ] {
        let other = a.uri.replacen(from, to, 1);
        let draft = Draft::send(&format!("{} {other}", a.token), &p.uri).text("somewhere else");
        p.send(draft.octets());
        assert_eq!(p.response_to(&draft.tid).code(), Some(481), "{other}");
    }
    stranger.nobody_connects(Duration::from_millis(200));
    a.silence(Duration::from_millis(100));
}

fn upt_11_client_is_reached_on_its_connection_only() {
    let relay = shared();
    let stranger = Peer::tls();
    for uri in [
        "msrps://df7jal23ls0d.invalid:2855/UOyH2u6s39ZjgWBR;tcp".to_owned(),
        "msrps://client.peers.example:2855/abc;tcp".to_owned(),
        "msrps://df7jal23ls0d.invalid:2855/UOyH2u6s39ZjgWBR;ws".to_owned(),
        stranger.uri.clone(),
    ] {
        let mut a = Client::tls(relay);
        a.uri.clone_from(&uri);
        a.obtain_token();
        let mut link = Link::with_inbound(a, Client::tls(relay));
        link.still_works();
        let mut b = Client::authenticated(relay, "bob");
        let path = format!("{} {} {uri}", b.token, link.a.token);
        b.say(&path, "from a neighbour");
        let got = link.a.expect_method("SEND");
        assert_eq!(got.to_path, [uri]);
    }
    stranger.nobody_connects(Duration::from_millis(100));
    assert!(!Names::get().was_asked("client.peers.example") && !Names::get().was_asked("invalid"));
}

fn upt_12_unknown_and_misbound_tokens_are_refused_alike() {
    let relay = shared();
    let Link { a, mut p, .. } = Link::inbound(relay);
    let gone = Client::authenticated(relay, "bob").token.clone();
    std::thread::sleep(Duration::from_millis(100));
    let id = session_id(&a.token);
    let unknown = a
        .token
        .replacen(id, &id.chars().rev().collect::<String>(), 1);
    let short = a.token.replacen(id, "x", 1);
    let long = a.token.replacen(id, &"x".repeat(500), 1);
    let mut texts = HashSet::new();
    let mut codes = HashSet::new();
    for token in [&a.token, &gone, &unknown, &short, &long] {
        for _ in 0..3 {
            let draft = Draft::send(&format!("{token} {}", p.uri), &p.uri).text("whose?");
            p.send(draft.octets());
            let refusal = p.response_to(&draft.tid);
            let text = String::from_utf8(refusal.raw.clone()).unwrap();
            let text = text
                .replace(token.as_str(), "TOKEN")
                .replace(&refusal.tid, "TID");
            texts.insert(text.replace(&draft.message_id, "ID"));
            codes.insert(refusal.code());
        }
    }
    assert_eq!(codes, HashSet::from([Some(481)]));
    assert_eq!(texts.len(), 1, "{texts:?}");
}

/// An AUTH to a live token with the client's own credentials.
fn refresh(
    client: &mut Client,
    token: &str,
    challenge: &Challenge,
    nc: u32,
    expires: u32,
) -> msrpload::codec::Message {
    let authorization = format!(
        "Authorization: {}",
        client.answer_for(token, challenge, nc).authorization
    );
    client.auth_to(token, &[&authorization, &format!("Expires: {expires}")])
}

fn upt_13_refresh_prolongs_the_same_uri() {
    let relay = short_lived().start();
    let mut a = Client::tls(&relay);
    let mut p = Client::tls(&relay);
    a.obtain_token_with(&["Expires: 4"]);
    let token = a.token.clone();
    let began = Instant::now();
    for round in 0..2 {
        std::thread::sleep(Duration::from_millis(2500));
        // Without credentials nothing is prolonged.
        let challenge = a.challenge_for(&token);
        let granted = refresh(&mut a, &token, &challenge, 1, 4);
        assert_eq!(granted.code(), Some(200), "round {round}: {granted:?}");
        assert_eq!(granted.header("Use-Path"), Some(token.as_str()));
        assert_eq!(granted.header("Expires"), Some("4"));
        assert_eq!(granted.from_path, std::slice::from_ref(&token));
        assert_eq!(try_token(&mut a, &mut p, &token), Some(200));
    }
    assert!(began.elapsed() > Duration::from_secs(5));
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(
        try_token(&mut a, &mut p, &token),
        Some(200),
        "past the first and the second expiry"
    );
    std::thread::sleep(Duration::from_millis(4000));
    assert_eq!(try_token(&mut a, &mut p, &token), Some(481));
    // After expiry it is an unknown token, also for its holder.
    let challenge = a.challenge();
    assert_eq!(refresh(&mut a, &token, &challenge, 1, 4).code(), Some(481));
}

fn upt_13_refresh_is_for_the_holder_only() {
    let relay = shared();
    let a = Client::authenticated(relay, "alice");
    let mut same_user = Client::authenticated(relay, "alice");
    let mut other = Client::authenticated(relay, "bob");
    let mut anonymous = Client::tls(relay);
    for who in [&mut same_user, &mut other, &mut anonymous] {
        let challenge = who.challenge();
        let refusal = refresh(who, &a.token, &challenge, 1, 600);
        assert_eq!(refusal.code(), Some(481), "{refusal:?}");
        assert_eq!(refusal.header("Use-Path"), None);
    }
    if relay.credentials("bob").0 != relay.credentials("alice").0 {
        // Another user on the holder's connection.
        let mut a = a;
        let challenge = a.challenge();
        let token = a.token.clone();
        let answer = other.answer_for(&token, &challenge, 1);
        let refusal = a.auth_to(
            &token,
            &[&format!("Authorization: {}", answer.authorization)],
        );
        assert_ne!(refusal.code(), Some(200), "{refusal:?}");
    }
}

fn upt_14_what_began_before_expiry_may_finish() {
    let relay = short_lived().start();
    let mut a = Client::tls(&relay);
    a.obtain_token_with(&["Expires: 3"]);
    let began = Instant::now();
    let mut link = Link::with_inbound(a, Client::tls(&relay));
    // A transaction that is open when the token expires, and a chunk that is under way.
    let open = link.draft().text("answer me later");
    let got = link.pass(&open);
    link.a.expect_code(200);
    let chunk = link.draft().range("1-*/6000").body(&[]);
    link.a.send(chunk.head());
    link.a.send(vec![b'c'; 3000]);
    link.p.expect_partial(1);
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "the machine is too busy for this test"
    );
    std::thread::sleep(Duration::from_secs(4).saturating_sub(began.elapsed()));
    link.a.send(vec![b'c'; 3000]);
    link.a.send(chunk.end());
    let mut whole = crate::support::assembly::Assembly::new();
    while whole.take(&mut link.p, SOON) == b'+' {}
    assert_eq!((whole.octets, whole.flag()), (6000, b'$'));
    assert_eq!(link.a.response_to(&chunk.tid).code(), Some(200));
    // The late failure is still told.
    link.p.send(response(&got, "404 Gone"));
    assert_eq!(
        link.a
            .report_about(&open.message_id, SOON)
            .status()
            .unwrap()
            .1,
        404
    );
    // A REPORT that starts now is dropped.
    link.p.send(report(&got, "000 200 OK", "1-15/15").octets());
    link.a.silence(QUIET);
    let late = link.draft_back().text("too late");
    link.p.send(late.octets());
    assert_eq!(link.p.response_to(&late.tid).code(), Some(481));
}
