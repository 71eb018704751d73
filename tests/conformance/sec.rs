//! Security: RFC 4975 §14, RFC 4976 §9; rows SEC.

use std::time::{Duration, Instant};

use msrpload::digest::{Answer, Asker, Spelling, fresh_cnonce};

use crate::rows;
use crate::support::assembly::Assembly;
use crate::support::client::{Client, QUIET, SOON};
use crate::support::dns::Names;
use crate::support::link::Link;
use crate::support::message::{Draft, response};
use crate::support::peer::Peer;
use crate::support::random::{Octets, heavy};
use crate::support::relay::{REALM, Setup, USERS, free_port, shared};

rows! {
    any: [
        sec_02_stolen_token_reaches_its_client_only,
        sec_08_body_forges_no_frames,
        sec_09_headers_cannot_be_injected,
        sec_10_one_request_is_not_amplified,
        sec_11_from_path_gives_no_rights,
    ],
    own: [
        sec_01_no_open_relay,
        sec_03_dialled_addresses_are_filtered,
        sec_04_secrets_stay_out_of_the_log,
        sec_05_hashes_are_enough,
        sec_06_slow_senders_are_bounded,
        sec_06_stopping_inside_a_message_is_bounded,
        sec_07_hostile_input_does_not_grow_memory,
        sec_12_unsigned_content_is_refused_on_demand,
        sec_14_refusals_are_counted,
    ],
}

fn sec_01_no_open_relay() {
    let relay = shared();
    let stranger = Peer::tls();
    let link = Link::inbound(relay);
    let mut random = Octets::new(101);
    let by_name = stranger.uri_at("victim1.peers.example");
    for round in 0..60 {
        let mut anonymous = if round % 3 == 2 {
            Client::tcp(relay)
        } else {
            Client::tls(relay)
        };
        let id: String = random
            .take(26)
            .iter()
            .map(|b| char::from(b'a' + b % 26))
            .collect();
        let first = match round % 6 {
            0 => format!("msrps://relay.example.com:{}/{id};tcp", relay.port()),
            1 => link.a.token.clone(),
            2 => relay.uri(),
            3 => format!("{0} {0}", link.a.token),
            4 => link.a.token.replacen("msrps:", "msrp:", 1),
            _ => stranger.uri.clone(),
        };
        let next = if round % 2 == 0 {
            &stranger.uri
        } else {
            &by_name
        };
        let method = ["SEND", "NICKNAME", "REPORT", "AUTH", "FOO"][round % 5];
        let draft = Draft::request(method, &format!("{first} {next}"), &anonymous.uri)
            .message_id("openrly1");
        let draft = if method == "REPORT" {
            draft.range("1-1/1").line("Status: 000 200")
        } else {
            draft
        };
        anonymous.send(draft.octets());
        if let Ok(answer) = anonymous.receive(Duration::from_millis(50)) {
            assert!(
                matches!(answer.code(), Some(400 | 403 | 481 | 501)),
                "{answer:?}"
            );
        }
    }
    stranger.nobody_connects(Duration::from_millis(300));
    assert!(!Names::get().was_asked("victim1.peers.example"));
}

fn sec_02_stolen_token_reaches_its_client_only() {
    let relay = shared();
    let mut link = Link::inbound(relay);
    let mut thief = Client::tls(relay);
    thief.uri.clone_from(&link.a.uri);
    // Delivery to A works, and nothing else.
    let draft = Draft::send(&link.to_a, "msrps://thief.example.net:1/x;tcp").text("hello A");
    thief.send(draft.octets());
    assert_eq!(thief.response_to(&draft.tid).code(), Some(200));
    assert_eq!(link.a.expect_method("SEND").body(), b"hello A");
    for draft in [
        Draft::send(&link.to_p, &thief.uri).text("as A"),
        Draft::send(&link.a.token.clone(), &thief.uri).range("1-0/0"),
        Draft::request("AUTH", &link.a.token.clone(), &thief.uri),
    ] {
        thief.send(draft.octets());
        let code = thief.response_to(&draft.tid).code();
        assert!(matches!(code, Some(401 | 481)), "{code:?}");
    }
    // It cannot take P's place either (D-34): the first connection keeps the URI.
    let mut usurper = Client::tls(relay);
    usurper.uri.clone_from(&link.p.uri);
    usurper.send(
        Draft::send(&link.to_a, &usurper.uri)
            .failure_report("no")
            .text("I am P")
            .octets(),
    );
    link.a.expect_method("SEND");
    let to_p = link.draft().text("to P");
    link.pass(&to_p);
    usurper.silence(Duration::from_millis(100));
    thief.kill();
    usurper.kill();
    link.a.expect_code(200);
    link.still_works();
}

fn sec_03_dialled_addresses_are_filtered() {
    // Loopback is not allowed here, but for one port's network.
    let relay = Setup::new()
        .set_list("dial.allow", &["127.0.0.2/32"])
        .start();
    let stranger = Peer::tls();
    let mut a = Client::authenticated(&relay, "alice");
    let own = format!("msrps://127.0.0.1:{}/x;tcp", relay.port());
    for uri in [
        stranger.uri.clone(),
        stranger.uri_at("denied.peers.example"),
        stranger.uri_at("denied.localhost"),
        stranger.uri_at("[::1]"),
        stranger.uri_at("[::ffff:127.0.0.1]"),
        stranger.uri_at("0.0.0.0"),
        stranger.uri_at("[::]"),
        "msrps://169.254.169.254:80/x;tcp".to_owned(),
        "msrps://10.0.0.1:22/x;tcp".to_owned(),
        "msrps://192.168.0.1:22/x;tcp".to_owned(),
        "msrps://[fe80::1]:22/x;tcp".to_owned(),
        "msrps://[fd00::1]:22/x;tcp".to_owned(),
        "msrps://224.0.0.1:22/x;tcp".to_owned(),
        own,
    ] {
        let draft = Draft::send(&format!("{} {uri}", a.token), &a.uri).text("inside?");
        a.send(draft.octets());
        let failed = a.find(SOON, |m| m.code() != Some(200));
        let code = failed
            .code()
            .or_else(|| failed.status().map(|(_, code, _)| code));
        assert!(matches!(code, Some(403 | 408)), "{uri}: {failed:?}");
        a.drain(Duration::from_millis(20));
    }
    stranger.nobody_connects(Duration::from_millis(200));
    // The shared relay may dial loopback, but not its own listeners.
    let mut a = Client::authenticated(shared(), "alice");
    let own = format!("msrps://127.0.0.1:{}/x;tcp", shared().port());
    let draft = Draft::send(&format!("{} {own}", a.token), &a.uri).text("myself?");
    a.send(draft.octets());
    let failed = a.find(SOON, |m| m.code() != Some(200));
    let code = failed
        .code()
        .or_else(|| failed.status().map(|(_, code, _)| code));
    assert!(matches!(code, Some(403 | 408)), "{failed:?}");
}

fn sec_04_secrets_stay_out_of_the_log() {
    let relay = Setup::new().start();
    let mut link = Link::dialled(&relay);
    let challenge = link.a.challenge();
    let answer = link.a.answer(&challenge, 1);
    link.a
        .auth(&[&format!("Authorization: {}", answer.authorization)]);
    link.a
        .auth(&[&format!("Authorization: {}", answer.authorization)]);
    link.a
        .send(link.draft().text("a very private body").octets());
    link.p.expect_method("SEND");
    let draft = Draft::send(
        &format!(
            "{} msrps://127.0.0.1:{}/dead;tcp",
            link.a.token,
            free_port()
        ),
        &link.a.uri,
    );
    link.a.send(draft.text("another private body").octets());
    let mut stray = Client::tls(&relay);
    stray.send(format!("GARBAGE {}\r\n", link.a.token));
    stray.closed();
    let (token, uri) = (link.a.token.clone(), link.a.uri.clone());
    drop(link);
    std::thread::sleep(Duration::from_millis(300));
    let log = relay.log();
    let id = |uri: &str| {
        uri.rsplit_once('/')
            .unwrap()
            .1
            .split(';')
            .next()
            .unwrap()
            .to_owned()
    };
    for secret in [
        id(&token),
        id(&uri),
        challenge.nonce,
        answer.response,
        answer.rspauth,
        "private body".to_owned(),
        "wonderland".to_owned(),
    ] {
        assert!(!log.contains(&secret), "{secret} stands in the log:\n{log}");
    }
    assert!(!log.contains("panicked"), "{log}");
}

fn sec_05_hashes_are_enough() {
    // The users' file has never held a password.
    let relay = Setup::new().start();
    let file = std::fs::read_to_string(relay.dir().join("users.htdigest")).unwrap();
    for (user, password) in USERS {
        assert!(file.contains(&format!("{user}:{REALM}:")) && !file.contains(password));
        Client::authenticated(&relay, user);
    }
}

fn sec_06_slow_senders_are_bounded() {
    let relay = Setup::new().set("limits.probation", "3s").start();
    let link = Link::inbound(&relay);
    let mut slow: Vec<Client> = (0..10).map(|_| Client::tls(&relay)).collect();
    let octets = Draft::send(&link.to_a, &slow[0].uri).text("never").octets();
    let began = Instant::now();
    // One octet now and then does not prolong a probation.
    let mut sent = 0;
    while began.elapsed() < Duration::from_millis(2500) {
        for client in &mut slow {
            client.write(&octets[sent..=sent], Duration::from_millis(100));
        }
        sent += 1;
        std::thread::sleep(Duration::from_millis(250));
    }
    for client in &mut slow {
        client.closed_within(Duration::from_secs(5));
    }
    let Link { mut a, .. } = link;
    let token = a.token.clone();
    a.send(Draft::send(&token, &a.uri).range("1-0/0").octets());
    assert_eq!(a.expect().code(), Some(200));
}

fn sec_06_stopping_inside_a_message_is_bounded() {
    // Also for those who have proved themselves.
    let relay = Setup::new()
        .set("limits.head_timeout", "2s")
        .set("limits.body_timeout", "4s")
        .start();
    let (mut head, mut body) = (Link::inbound(&relay), Link::inbound(&relay));
    let draft = head.draft().text("never ends");
    let octets = draft.head();
    head.a.send(&octets[..octets.len() / 2]);
    let film = body.draft().range("1-*/100000").body(&[]);
    body.a.send(film.head());
    body.a.send(vec![b'b'; 5000]);
    let began = Instant::now();
    head.a.closed_within(Duration::from_secs(8));
    assert!(
        began.elapsed() >= Duration::from_millis(1800),
        "{:?}",
        began.elapsed()
    );
    // Octets that come now and then are no silence.
    for _ in 0..4 {
        body.a.send(b"more");
        std::thread::sleep(Duration::from_secs(1));
    }
    body.a.silence(Duration::from_millis(500));
    body.a.closed_within(Duration::from_secs(10));
    let got = body.p.expect_method("SEND");
    assert_eq!(
        got.flag, b'+',
        "what had been forwarded ends properly (CHK-19)"
    );
}

fn sec_07_hostile_input_does_not_grow_memory() {
    let _turn = heavy();
    let relay = Setup::new().start();
    let mut link = Link::inbound(&relay);
    let token = link.a.token.clone();
    // Everything once, so that pools and tables have their size.
    hostile(&mut link, 200);
    let before = relay.resident();
    hostile(&mut link, 4000);
    let grown = relay.resident().saturating_sub(before);
    assert!(grown < 12 * 1024 * 1024, "{grown} octets more");
    // Connections that begin something and leave.
    for round in 0..200 {
        let mut stray = Client::tls(&relay);
        let octets = Draft::send(&format!("{token} {}", link.a.uri), &stray.uri)
            .range("1-*/*")
            .body(&[b'x'; 3000]);
        let octets = octets.octets();
        stray.send(&octets[..octets.len() * (round % 10 + 1) / 11]);
        match round % 3 {
            0 => stray.kill(),
            1 => stray.reset(),
            _ => drop(stray),
        }
        link.a.drain(Duration::from_millis(1));
    }
    link.a.drain(Duration::from_millis(300));
    let grown = relay.resident().saturating_sub(before);
    assert!(grown < 16 * 1024 * 1024, "{grown} octets more");
    link.still_works();
}

/// Requests that might make a careless relay allocate; A takes all answers, P gets what is good.
fn hostile(link: &mut Link, count: usize) {
    let paths: Vec<String> = (0..14)
        .map(|i| format!("msrps://h{i}.invalid:1/x;tcp"))
        .collect();
    for number in 0..count {
        let draft = match number % 6 {
            0 => link
                .draft()
                .range("9000000000000000000-*/9223372036854775807")
                .text("x")
                .flag('+'),
            1 => Draft::send(&format!("{} {}", link.a.token, paths.join(" ")), "x").text("x"),
            2 => link
                .draft()
                .lines(&["X-A: a"; 60])
                .failure_report("partial")
                .text("x"),
            3 => link.draft().range("x").text("x"),
            4 => link
                .draft()
                .message_id(&"m".repeat(1000))
                .range("1-*/*")
                .text("")
                .flag('+'),
            _ => Draft::request("NICKNAME", &link.to_p, &link.a.uri).line("Use-Nickname: \"x\""),
        };
        link.a.send(draft.octets());
        if matches!(number % 6, 0 | 2 | 4 | 5) {
            let got = link.p.expect();
            link.p.send(response(&got, "200 OK"));
        }
        if number % 50 == 0 {
            link.a.drain(Duration::from_millis(5));
        }
    }
    link.a.drain(Duration::from_millis(100));
}

fn sec_08_body_forges_no_frames() {
    let _turn = heavy();
    let mut link = Link::inbound(shared());
    // End-lines with transact-ids that a careless relay might use, each with a forged request behind.
    let mut body = Vec::new();
    for number in 0..100_000_u32 {
        let tid = match number % 4 {
            0 => format!("{number:08}"),
            1 => format!("{number:x}tid"),
            2 => format!("abcd{number}"),
            _ => format!("{number:020}"),
        };
        body.extend_from_slice(format!("\r\n-------{tid}$\r\nMSRP forged SEND\r\n").as_bytes());
    }
    let draft = link.draft().body(&body);
    std::thread::scope(|scope| {
        scope.spawn(|| link.a.send(draft.octets()));
        let got = Assembly::new().answering().finish(&mut link.p);
        assert!(
            got.body == body,
            "{} octets instead of {}",
            got.octets,
            body.len()
        );
    });
    assert_eq!(link.a.response_to(&draft.tid).code(), Some(200));
    link.p.silence(Duration::from_millis(100));
}

fn sec_09_headers_cannot_be_injected() {
    let relay = shared();
    let mut link = Link::inbound(relay);
    // By a response's comment, which comes back in a REPORT.
    let draft = link.draft().text("x");
    let got = link.pass(&draft);
    link.a.expect_code(200);
    link.p
        .send(response(&got, "413 Stop\tthat: \"now\" \u{e5}"));
    let report = link.a.expect_method("REPORT");
    assert!(report.headers.len() <= 5, "{report:?}");
    // By URIs.
    for uri in [
        "msrps://x\r\nX-Injected: 1\r\n:1/x;tcp",
        "msrps://x:1/x;tcp\tX-Injected: 1",
        "msrps://x:1/\";tcp",
    ] {
        let draft = Draft::send(&format!("{} {uri}", link.a.token), &link.a.uri).text("x");
        if let Some(answer) = link.refused(&draft.octets()) {
            assert_eq!(answer.code(), Some(400));
            assert_eq!(answer.header("X-Injected"), None);
        }
    }
    // By user and realm.
    let uri = relay.uri();
    for user in [
        "al\"ice",
        "al\\ice",
        "alice\", realm=\"other",
        "a: b",
        "\u{e5}\u{1F98A}",
        "",
    ] {
        let mut a = Client::tls(relay);
        let challenge = a.challenge();
        let asker = Asker {
            user,
            password: "x",
            uri: &uri,
        };
        let answer = Answer::new(&challenge, asker, &fresh_cnonce(), 1, Spelling::default());
        let refusal = a.auth(&[&format!("Authorization: {}", answer.authorization)]);
        assert!(
            matches!(refusal.code(), Some(400 | 401)),
            "{user:?}: {refusal:?}"
        );
    }
    let mut a = Client::tls(relay);
    let line = "Authorization: Digest username=\"al\r\nX-Injected: 1\r\n\"";
    a.send(Draft::request("AUTH", &uri, &a.uri).line(line).octets());
    let refusal = a.expect();
    assert!(matches!(refusal.code(), Some(400 | 401)), "{refusal:?}");
    assert_eq!(refusal.header("X-Injected"), None);
}

fn sec_10_one_request_is_not_amplified() {
    for (way, mut link) in Link::all_ways(shared()) {
        let mut out = 0;
        let mut sent = 0;
        for number in 0..20 {
            let draft = match number % 4 {
                0 => link.draft().text("x"),
                1 => link.draft().range("x").text("x"),
                2 => Draft::send(&link.to_p.replacen(";tcp", "x;tcp", 1), &link.a.uri).text("x"),
                _ => Draft::request("FOO", &link.to_p, &link.a.uri),
            };
            let octets = draft.octets();
            sent += octets.len();
            link.a.send(octets);
        }
        let (at_p, at_a) = (link.p.drain(QUIET), link.a.drain(QUIET));
        for message in at_p.iter().chain(&at_a) {
            out += message.raw.len();
        }
        assert_eq!((at_p.len(), at_a.len()), (10, 15), "{way}");
        assert!(out < sent * 3, "{way}: {out} octets for {sent}");
    }
}

fn sec_11_from_path_gives_no_rights() {
    let relay = shared();
    let mut anonymous = Client::tls(relay);
    let mut a = Client::authenticated(relay, "alice");
    // It claims to be a relay, and later somebody sends to that relay.
    let claimed = "msrps://r2.unreachable.example:2855/abc;tcp";
    let from = format!("{claimed} msrps://far.example.net:1/x;tcp");
    let draft = Draft::send(&format!("{} {}", a.token, a.uri), &from)
        .failure_report("no")
        .text("from R2");
    anonymous.send(draft.octets());
    a.expect_method("SEND");
    // By its whole URI only it can be reached (D-34), never as that authority.
    let sibling = "msrps://r2.unreachable.example:2855/other;tcp";
    let draft = Draft::send(
        &format!("{} {sibling} msrps://far.example.net:1/x;tcp", a.token),
        &a.uri,
    )
    .text("secret");
    a.send(draft.octets());
    anonymous.silence(Duration::from_millis(300));
    let failed = a.find(SOON, |m| m.code() != Some(200));
    let code = failed
        .code()
        .or_else(|| failed.status().map(|(_, code, _)| code));
    assert_ne!(code, Some(200), "{failed:?}");
}

fn sec_12_unsigned_content_is_refused_on_demand() {
    let relay = Setup::new().set("relay.signed_content_only", true).start();
    let mut link = Link::inbound(&relay);
    let signed = |link: &Link| {
        link.draft()
            .content("Multipart/Signed; boundary=x", b"--x--")
    };
    for kind in [
        "text/plain",
        "message/cpim",
        "multipart/mixed; boundary=multipart/signed",
    ] {
        let draft = link.draft().content(kind, b"x");
        link.a.send(draft.octets());
        assert_eq!(link.a.response_to(&draft.tid).code(), Some(415), "{kind}");
    }
    let draft = signed(&link);
    let got = link.pass(&draft);
    assert_eq!(got.body(), b"--x--");
    assert_eq!(link.a.expect_code(200).tid, draft.tid);
    let bodiless = link.draft().range("1-0/0");
    link.pass(&bodiless);
}

fn sec_14_refusals_are_counted() {
    let relay = Setup::new().start();
    let mut link = Link::neighbours(&relay);
    let code = |code: &str| {
        relay.metric(
            "msrpd_responses_total",
            &[&format!("code=\"{code}\""), "direction=\"out\""],
        )
    };
    let (challenged, unknown) = (code("401"), code("481"));
    link.a.challenge();
    let draft = Draft::send(&link.to_p.replacen(";tcp", "x;tcp", 1), &link.a.uri).text("x");
    link.a.send(draft.octets());
    link.a.expect_code(481);
    relay.metric_becomes(
        "msrpd_responses_total",
        &["code=\"401\"", "direction=\"out\""],
        |n| n >= challenged + 1.0,
    );
    relay.metric_becomes(
        "msrpd_responses_total",
        &["code=\"481\"", "direction=\"out\""],
        |n| n >= unknown + 1.0,
    );
    assert!(relay.metric("msrpd_refusals_total", &[]) >= 1.0);
    let mut stray = Client::tls(&relay);
    stray.send("GARBAGE\r\n");
    stray.closed();
    relay.metric_becomes("msrpd_connections_closed_total", &[], |n| n >= 1.0);
    // Two clients of one relay on two shards: the way between them is counted, too.
    for _ in 0..2 {
        let draft = link.draft().text("across");
        let got = link.pass(&draft);
        link.p.send(response(&got, "200 OK"));
        link.a.expect_code(200);
    }
    relay.metric_becomes("msrpd_handoffs_total", &[], |n| n > 0.0);
    relay.assert_ledger_is_settled();
}
