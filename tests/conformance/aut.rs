//! AUTH and Digest: RFC 4976 §5.1, §6.3, §9.1; rows AUT.

use std::collections::HashSet;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use msrpload::codec::Message;
use msrpload::digest::{Answer, Asker, AuthenticationInfo, Challenge, Spelling, fresh_cnonce};

use crate::rows;
use crate::support::client::{Client, Ending};
use crate::support::message::Draft;
use crate::support::random::heavy;
use crate::support::relay::{Relay, Setup, htdigest, shared};

rows! {
    any: [
        aut_02_auth_without_credentials_is_challenged,
        aut_03_auth_for_an_unknown_host_is_not_for_us,
        aut_04_challenge_has_its_shape,
        aut_05_basic_is_never_good,
        aut_08_response_is_computed_over_the_rightmost_uri,
        aut_09_uri_parameter_must_be_equivalent,
        aut_10_required_parameters_are_required,
        aut_11_quoted_and_tight_parameters_are_read,
        aut_12_wrong_credentials_are_refused_alike,
        aut_14_credentials_work_once,
        aut_14_nonces_are_distinct,
        aut_15_relay_proves_that_it_knows_the_password,
        aut_16_nextnonce_saves_a_round_trip,
        aut_18_expires_out_of_bounds,
        aut_19_answer_is_addressed_as_the_request_was,
        aut_21_peer_without_certificate_is_a_client,
        aut_22_third_wrong_password_closes,
        aut_25_credentials_work_once_over_all_connections,
    ],
    own: [
        aut_01_no_challenge_over_plain_tcp,
        aut_03_auth_names_the_relay_in_many_ways,
        aut_06_realm_is_that_of_the_addressed_name,
        aut_07_each_offered_algorithm_works,
        aut_13_expired_nonce_is_stale,
        aut_17_disabled_user_is_forbidden,
        aut_18_no_session_outlives_a_timed_credential,
    ],
}

fn challenge_in(refusal: &Message) -> Challenge {
    assert_eq!(
        refusal.code(),
        Some(401),
        "a challenge was due, this came:\n{refusal:?}"
    );
    Challenge::choose(refusal.headers_named("WWW-Authenticate"))
        .expect("the challenge can be answered")
}

fn line(authorization: &str) -> String {
    format!("Authorization: {authorization}")
}

/// A good Authorization for a fresh challenge.
fn good(a: &mut Client) -> String {
    let challenge = a.challenge();
    a.answer(&challenge, 1).authorization
}

fn aut_01_no_challenge_over_plain_tcp() {
    let relay = shared();
    for credentials in [false, true] {
        let mut tcp = Client::tcp(relay);
        let draft = Draft::request("AUTH", &relay.uri(), &tcp.uri);
        let draft = match credentials {
            false => draft,
            true => draft.line(&line(&good(&mut Client::tls(relay)))),
        };
        tcp.send(draft.octets());
        let refusal = tcp.expect_code(403);
        assert_eq!(refusal.tid, draft.tid);
        assert_eq!(refusal.header("WWW-Authenticate"), None);
        tcp.closed();
    }
}

fn aut_02_auth_without_credentials_is_challenged() {
    let mut a = Client::tls(shared());
    for _ in 0..5 {
        assert!(!challenge_in(&a.auth(&[])).stale);
    }
}

fn aut_03_auth_names_the_relay_in_many_ways() {
    let relay = shared();
    let mut a = Client::tls(relay);
    let port = relay.port();
    for uri in [
        "msrps://relay.example.com;tcp".to_owned(),
        "msrps://alice@relay.example.com;tcp".to_owned(),
        "msrps://relay.example.com:2855;tcp".to_owned(),
        format!("msrps://relay.example.com:{port};tcp"),
        "msrps://RELAY.example.COM;tcp".to_owned(),
        "msrps://example.com;tcp".to_owned(),
        "msrps://example.com:2855;tcp".to_owned(),
        "msrps://alice@example.org:2855;tcp".to_owned(),
        "MSRPS://relay.example.com;TCP".to_owned(),
        "msrps://alice@relay.example.com;ws".to_owned(),
    ] {
        let refusal = a.auth_to(&uri, &[]);
        assert_eq!(refusal.code(), Some(401), "{uri}");
        assert_eq!(refusal.from_path, [uri]);
    }
}

fn aut_03_auth_for_an_unknown_host_is_not_for_us() {
    let relay = shared();
    for uri in [
        "msrps://unknown.example.net;tcp",
        "msrps://example.net:2855;tcp",
        "msrps://other.peers.example;tcp",
    ] {
        let mut a = Client::tls(relay);
        a.send(Draft::request("AUTH", uri, &a.uri).octets());
        a.closed();
    }
}

fn aut_04_challenge_has_its_shape() {
    let mut a = Client::tls(shared());
    let refusal = a.auth(&[]);
    for value in refusal.headers_named("WWW-Authenticate") {
        assert!(value.starts_with("Digest "), "{value}");
        let challenge = Challenge::parse(value).unwrap();
        for param in &challenge.params {
            let quoted = match param.name.as_str() {
                "realm" | "nonce" | "opaque" | "qop" => true,
                "algorithm" | "stale" => false,
                other => panic!("{other} has no place in a challenge: {value}"),
            };
            assert_eq!(param.quoted, quoted, "{} in {value}", param.name);
        }
        assert!(
            challenge.opaque.is_some_and(|opaque| !opaque.is_empty()),
            "{value}"
        );
        assert!(value.contains("qop=\"auth\""), "{value}");
    }
}

fn aut_05_basic_is_never_good() {
    let mut a = Client::tls(shared());
    // alice:wonderland
    let refusal = a.auth(&["Authorization: Basic YWxpY2U6d29uZGVybGFuZA=="]);
    challenge_in(&refusal);
    for refusal in [refusal, a.auth(&[])] {
        for value in refusal.headers_named("WWW-Authenticate") {
            let lower = value.to_ascii_lowercase();
            for never in ["basic", "auth-int", "-sess", "domain="] {
                assert!(!lower.contains(never), "{value}");
            }
        }
    }
}

fn aut_06_realm_is_that_of_the_addressed_name() {
    let relay = Setup::new()
        .unset("auth.realm")
        .file(
            "users.htdigest",
            &htdigest(&["relay.example.com", "example.com", "example.org"]),
        )
        .start();
    let mut a = Client::tls(&relay);
    for host in ["relay.example.com", "example.com", "example.org"] {
        let uri = format!("msrps://alice@{host};tcp");
        let challenge = a.challenge_for(&uri);
        assert_eq!(challenge.realm, host);
        let authorization = line(&a.answer_for(&uri, &challenge, 1).authorization);
        assert_eq!(
            a.auth_to(&uri, &[&authorization]).code(),
            Some(200),
            "{host}"
        );
    }
    // Credentials for one name are none for another (D-04, AUT-10).
    let challenge = a.challenge_for("msrps://example.com;tcp");
    let other = "msrps://example.org;tcp";
    let authorization = line(&a.answer_for(other, &challenge, 1).authorization);
    challenge_in(&a.auth_to(other, &[&authorization]));
}

fn aut_07_each_offered_algorithm_works() {
    let relay = Setup::new()
        .set_list("auth.algorithms", &["SHA-256", "MD5"])
        .start();
    let mut a = Client::tls(&relay);
    let refusal = a.auth(&[]);
    let offered: Vec<Challenge> = refusal
        .headers_named("WWW-Authenticate")
        .map(|value| Challenge::parse(value).unwrap())
        .collect();
    assert_eq!(
        offered
            .iter()
            .map(|c| c.algorithm.name())
            .collect::<Vec<_>>(),
        ["SHA-256", "MD5"]
    );
    for (nc, challenge) in (1..).zip(&offered) {
        let answer = a.answer(challenge, nc);
        assert_eq!(
            answer.response.len(),
            if challenge.algorithm.name() == "MD5" {
                32
            } else {
                64
            }
        );
        let granted = a.auth(&[&line(&answer.authorization)]);
        assert_eq!(granted.code(), Some(200), "{granted:?}");
        let info =
            AuthenticationInfo::parse(granted.header("Authentication-Info").unwrap()).unwrap();
        answer.verify(&info).expect("rspauth by the same algorithm");
    }
    // What was not offered fails, and so does an answer that lies about its algorithm.
    let md5_only = Setup::new().start();
    for algorithm in ["SHA-256", "SHA-512-256", "MD5-sess"] {
        let mut b = Client::tls(&md5_only);
        let authorization = good(&mut b);
        let refusal = b.auth(&[&line(&format!("{authorization}, algorithm={algorithm}"))]);
        assert!(
            matches!(refusal.code(), Some(400 | 401)),
            "{algorithm}: {refusal:?}"
        );
    }
}

fn aut_08_response_is_computed_over_the_rightmost_uri() {
    let relay = shared();
    let host = &relay.host;
    for uri in [
        format!("msrps://{host};tcp"),
        format!("msrps://alice@{host};tcp"),
        format!("msrps://{host}:2855;tcp"),
        format!("msrps://{host}:{};tcp", relay.port()),
        format!("MSRPS://{};TCP", host.to_uppercase()),
    ] {
        let mut a = Client::tls(relay);
        let challenge = a.challenge_for(&uri);
        let answer = a.answer_for(&uri, &challenge, 1);
        let granted = a.auth_to(&uri, &[&line(&answer.authorization)]);
        assert_eq!(granted.code(), Some(200), "{uri}");
        let info =
            AuthenticationInfo::parse(granted.header("Authentication-Info").unwrap()).unwrap();
        answer
            .verify(&info)
            .unwrap_or_else(|e| panic!("{uri}: {e}"));
    }
}

fn aut_09_uri_parameter_must_be_equivalent() {
    let relay = shared();
    let uri = relay.uri();
    let mut a = Client::tls(relay);
    let authorization = format!("{}, uri=\"{uri}\"", good(&mut a));
    assert_eq!(a.auth(&[&line(&authorization)]).code(), Some(200));
    // Equivalent but spelled otherwise: its text is what was hashed (D-15).
    let other = format!("MSRPS://{};TCP", relay.host.to_uppercase());
    let challenge = a.challenge();
    let answer = a.answer_for(&other, &challenge, 1);
    let granted = a.auth(&[&line(&format!("{}, uri=\"{other}\"", answer.authorization))]);
    assert_eq!(granted.code(), Some(200), "{granted:?}");

    for foreign in [
        "msrps://other.example.net;tcp",
        "sip:relay",
        &format!("msrps://{}:1;tcp", relay.host),
    ] {
        let mut a = Client::tls(relay);
        let challenge = a.challenge();
        let answer = a.answer_for(foreign, &challenge, 1);
        let refusal = a.auth(&[&line(&format!(
            "{}, uri=\"{foreign}\"",
            answer.authorization
        ))]);
        assert_eq!(refusal.code(), Some(400), "{foreign}");
    }
    let mut a = Client::tls(relay);
    let authorization = format!("{}, uri={uri}", good(&mut a));
    assert_eq!(
        a.auth(&[&line(&authorization)]).code(),
        Some(400),
        "not quoted"
    );
}

fn aut_10_required_parameters_are_required() {
    let relay = shared();
    for missing in [
        "username", "realm", "nonce", "response", "qop", "cnonce", "nc",
    ] {
        let mut a = Client::tls(relay);
        let authorization = good(&mut a);
        let params = authorization.strip_prefix("Digest ").unwrap();
        let kept: Vec<&str> = params
            .split(", ")
            .filter(|param| !param.starts_with(&format!("{missing}=")))
            .collect();
        assert_eq!(
            kept.len() + 1,
            params.split(", ").count(),
            "{missing} was there"
        );
        let refusal = a.auth(&[&line(&format!("Digest {}", kept.join(", ")))]);
        assert_eq!(refusal.code(), Some(400), "without {missing}");
    }
    let spoil = |change: &dyn Fn(&str) -> String| {
        let mut a = Client::tls(relay);
        let authorization = good(&mut a);
        a.auth(&[&line(&change(&authorization))]).code()
    };
    assert_eq!(
        spoil(&|good| good.replace("nc=00000001", "nc=1")),
        Some(400),
        "nc has 8 digits"
    );
    assert_eq!(
        spoil(&|good| good.replace("nc=00000001", "nc=0000000g")),
        Some(400),
        "hex ones"
    );
    assert_eq!(
        spoil(&|good| good.replace("qop=auth", "qop=auth-int")),
        Some(400),
        "no such qop"
    );
    assert_eq!(
        spoil(&|good| good.replace("response=\"", "response=\"zz")),
        Some(400),
        "no hex"
    );
    assert_eq!(
        spoil(&|good| good.replace("username=\"alice\"", "username=\"alice")),
        Some(400),
        "open quote"
    );
    assert_eq!(
        spoil(&|good| good.replace(", nc", " nc")),
        Some(400),
        "no comma"
    );
    assert_eq!(
        spoil(&|good| format!("{good}, nonce=\"again\"")),
        Some(400),
        "twice"
    );
    assert_eq!(
        spoil(&|good| good.replace("realm=\"", "realm=\"other.")),
        Some(401),
        "another realm"
    );
    assert_eq!(
        spoil(&|good| format!("{good}, foo=bar, x=\"y, z\"")),
        Some(200),
        "unknown ones are ignored"
    );
}

fn aut_11_quoted_and_tight_parameters_are_read() {
    let relay = shared();
    let spell = |change: &dyn Fn(&str) -> String| {
        let mut a = Client::tls(relay);
        let authorization = good(&mut a);
        let granted = a.auth(&[&line(&change(&authorization))]);
        assert_eq!(granted.code(), Some(200), "{granted:?}");
    };
    spell(&|good| {
        good.replace("qop=auth", "qop=\"auth\"")
            .replace("nc=00000001", "nc=\"00000001\"")
    });
    spell(&|good| good.replace(", ", ","));
    spell(&|good| good.replace(", ", " , "));
    spell(&|good| format!("{good}, algorithm=\"MD5\""));
    spell(&|good| format!("{good}, algorithm=md5"));
    spell(&|good| good.replacen("Digest", "digest", 1));
    spell(&|good| {
        good.replace("username", "Username")
            .replace("cnonce", "CNonce")
    });
}

fn aut_12_wrong_credentials_are_refused_alike() {
    let relay = shared();
    let refuse = |user: &str, password: &str| {
        let mut a = Client::tls(relay);
        let challenge = a.challenge();
        let uri = relay.uri();
        let asker = Asker {
            user,
            password,
            uri: &uri,
        };
        let answer = Answer::new(&challenge, asker, &fresh_cnonce(), 1, Spelling::default());
        let began = Instant::now();
        let refusal = a.auth(&[&line(&answer.authorization)]);
        let took = began.elapsed();
        let again = challenge_in(&refusal);
        assert!(!again.stale, "{refusal:?}");
        assert_ne!(again.nonce, challenge.nonce);
        let text = String::from_utf8(refusal.raw.clone()).unwrap();
        let text = text
            .replace(&again.nonce, "NONCE")
            .replace(&again.opaque.unwrap(), "OPAQUE");
        (
            text.replace(&refusal.tid, "TID").replace(&a.uri, "URI"),
            took,
        )
    };
    let known = relay.credentials("alice").0;
    let (wrong_password, _) = refuse(known, "not that one");
    let (unknown_user, _) = refuse("nobody-of-that-name", "not that one");
    assert_eq!(wrong_password, unknown_user);
    // A nonce that is not ours, with a digest that fits it.
    let mut a = Client::tls(relay);
    let mut challenge = a.challenge();
    let forged = challenge.nonce.chars().rev().collect();
    challenge.nonce = forged;
    let authorization = a.answer(&challenge, 1).authorization;
    assert!(!challenge_in(&a.auth(&[&line(&authorization)])).stale);
    // The same, with one character changed at each place.
    let mut a = Client::tls(relay);
    let genuine = a.challenge();
    for at in [0, 10, 20, genuine.nonce.len() - 2] {
        let mut a = Client::tls(relay);
        let mut octets = genuine.nonce.clone().into_bytes();
        octets[at] = if octets[at] == b'A' { b'B' } else { b'A' };
        let nonce = String::from_utf8(octets).unwrap();
        let challenge = Challenge {
            nonce,
            ..genuine.clone()
        };
        let authorization = a.answer(&challenge, 1).authorization;
        assert!(
            !challenge_in(&a.auth(&[&line(&authorization)])).stale,
            "changed at {at}"
        );
    }
}

fn aut_13_expired_nonce_is_stale() {
    let relay = Setup::new().set("auth.nonce_lifetime", "10s").start();
    let mut a = Client::tls(&relay);
    let challenge = a.challenge();
    let authorization = line(&a.answer(&challenge, 1).authorization);
    std::thread::sleep(Duration::from_millis(11_500));
    let again = challenge_in(&a.auth(&[&authorization]));
    assert!(again.stale, "the digest was right");
    assert_ne!(again.nonce, challenge.nonce);
    let granted = a.auth(&[&line(&a.answer(&again, 1).authorization)]);
    assert_eq!(granted.code(), Some(200), "{granted:?}");
    // With a wrong password the same nonce is not stale, but wrong.
    let challenge = a.challenge();
    std::thread::sleep(Duration::from_millis(11_500));
    let uri = relay.uri();
    let asker = Asker {
        user: "alice",
        password: "forgotten",
        uri: &uri,
    };
    let answer = Answer::new(&challenge, asker, &fresh_cnonce(), 1, Spelling::default());
    assert!(!challenge_in(&a.auth(&[&line(&answer.authorization)])).stale);
}

fn aut_14_credentials_work_once() {
    let mut a = Client::tls(shared());
    let challenge = a.challenge();
    let (first, second) = (a.answer(&challenge, 1), a.answer(&challenge, 2));
    let [first, second] = [first, second].map(|answer| line(&answer.authorization));
    assert_eq!(a.auth(&[&second]).code(), Some(200));
    for again in [&second, &first] {
        let refusal = a.auth(&[again]);
        assert!(challenge_in(&refusal).stale, "nc must rise: {refusal:?}");
        assert_eq!(refusal.header("Use-Path"), None);
    }
    // The same nonce with a higher nc stays good (D-18).
    let third = line(&a.answer(&challenge, 3).authorization);
    assert_eq!(a.auth(&[&third]).code(), Some(200));
}

fn aut_14_nonces_are_distinct() {
    const BATCHES: usize = 100;
    const BATCH: usize = 100;
    let _turn = heavy();
    let relay = shared();
    let mut a = Client::tls(relay);
    let octets = Draft::request("AUTH", &relay.uri(), &a.uri)
        .octets()
        .repeat(BATCH);
    let (mut nonces, mut opaques) = (HashSet::new(), HashSet::new());
    for _ in 0..BATCHES {
        a.send(&octets);
        for _ in 0..BATCH {
            let challenge = challenge_in(&a.expect());
            opaques.insert(challenge.opaque.unwrap());
            assert!(nonces.insert(challenge.nonce), "a nonce came twice");
        }
    }
    assert_eq!(nonces.len(), BATCHES * BATCH);
    assert!(!opaques.is_empty());
}

fn aut_15_relay_proves_that_it_knows_the_password() {
    let mut a = Client::tls(shared());
    // The client verifies rspauth, cnonce and nc.
    let granted = a.obtain_token();
    let info = AuthenticationInfo::parse(granted.header("Authentication-Info").unwrap()).unwrap();
    for param in &info.params {
        let quoted = match param.name.as_str() {
            "nextnonce" | "rspauth" | "cnonce" => true,
            "nc" | "qop" => false,
            other => panic!("{other} has no place in Authentication-Info"),
        };
        assert_eq!(param.quoted, quoted, "{}", param.name);
    }
    assert_eq!(info.qop, "auth");
}

fn aut_16_nextnonce_saves_a_round_trip() {
    let mut a = Client::tls(shared());
    let mut challenge = a.challenge();
    let mut answer = a.answer(&challenge, 1);
    for _ in 0..5 {
        let granted = a.auth(&[&line(&answer.authorization)]);
        assert_eq!(granted.code(), Some(200), "{granted:?}");
        let info =
            AuthenticationInfo::parse(granted.header("Authentication-Info").unwrap()).unwrap();
        challenge.nonce = info.nextnonce.expect("nextnonce is sent");
        answer = a.answer(&challenge, 1);
    }
}

fn aut_17_disabled_user_is_forbidden() {
    let relay = Setup::new().set_list("auth.disabled", &["bob"]).start();
    let uri = relay.uri();
    // Out of probation, and more often than wrong passwords are borne (AUT-22).
    let mut b = Client::authenticated(&relay, "alice");
    for _ in 0..4 {
        let challenge = b.challenge();
        let asker = Asker {
            user: "bob",
            password: "builder",
            uri: &uri,
        };
        let answer = Answer::new(&challenge, asker, &fresh_cnonce(), 1, Spelling::default());
        let refusal = b.auth(&[&line(&answer.authorization)]);
        assert_eq!(refusal.code(), Some(403), "{refusal:?}");
        assert_eq!(refusal.header("WWW-Authenticate"), None);
    }
    // Who does not know the password does not learn that the user is disabled.
    let challenge = b.challenge();
    let asker = Asker {
        user: "bob",
        password: "guess",
        uri: &uri,
    };
    let answer = Answer::new(&challenge, asker, &fresh_cnonce(), 1, Spelling::default());
    challenge_in(&b.auth(&[&line(&answer.authorization)]));
}

fn aut_18_expires_out_of_bounds() {
    let mut a = Client::tls(shared());
    // Without credentials the same Expires gets 401.
    challenge_in(&a.auth(&["Expires: 5"]));
    let challenge = a.challenge();
    for (nc, expires, code, limit) in [
        (1, "59", 423, Some("Min-Expires")),
        (2, "0", 423, Some("Min-Expires")),
        (3, "86401", 423, Some("Max-Expires")),
        (4, "4294967295", 423, Some("Max-Expires")),
        (5, "60", 200, None),
        (6, "86400", 200, None),
    ] {
        let authorization = line(&a.answer(&challenge, nc).authorization);
        let answer = a.auth(&[&authorization, &format!("Expires: {expires}")]);
        assert_eq!(answer.code(), Some(code), "Expires: {expires}");
        match limit {
            Some(limit) => assert!(answer.header(limit).is_some(), "{answer:?}"),
            None => assert_eq!(answer.header("Expires"), Some(expires)),
        }
    }
    for (nc, broken) in (7..).zip(["-1", "1.5", "soon", "99999999999999999999"]) {
        let authorization = line(&a.answer(&challenge, nc).authorization);
        let refusal = a.auth(&[&authorization, &format!("Expires: {broken}")]);
        assert!(
            matches!(refusal.code(), Some(400 | 423)),
            "Expires: {broken} came to {refusal:?}"
        );
    }
}

/// The binary that hands such credentials out and the relay that takes them share a secret only.
fn aut_18_no_session_outlives_a_timed_credential() {
    const SECRET: &str = "north-by-northwest-1959";
    let relay = Setup::new()
        .unset("auth.htdigest")
        .set_list("auth.shared_secret_files", &["new", "secret"])
        .file("new", "another secret, which follows it\n")
        .file("secret", &format!("{SECRET}\n"))
        .start();
    let minted = std::process::Command::new(env!("CARGO_BIN_EXE_msrpd"))
        .args(["mint", "--lifetime", "2m", "--secret-file"])
        .arg(relay.dir().join("secret"))
        .arg("carol")
        .output()
        .expect("msrpd runs");
    let minted = String::from_utf8(minted.stdout).expect("text");
    let word = |name: &str| {
        let mut lines = minted.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(key, _)| *key == name).expect("a line").1
    };
    let mut a = Client::tls(&relay);
    let uri = relay.uri();
    let ask = |a: &mut Client, password: &str, headers: &[&str]| {
        let challenge = a.challenge();
        let asker = Asker {
            user: word("username"),
            password,
            uri: &uri,
        };
        let answer = Answer::new(&challenge, asker, &fresh_cnonce(), 1, Spelling::default());
        let authorization = line(&answer.authorization);
        a.auth(&[&[authorization.as_str()], headers].concat())
    };
    challenge_in(&ask(&mut a, "guessed", &[]));
    let refused = ask(&mut a, word("password"), &["Expires: 3600"]);
    assert_eq!(refused.code(), Some(423), "{refused:?}");
    let seconds = |message: &Message, name: &str| -> u32 {
        message
            .header(name)
            .expect("there")
            .parse()
            .expect("a number")
    };
    let left = seconds(&refused, "Max-Expires");
    assert!((100..=120).contains(&left), "{left}");
    let granted = ask(&mut a, word("password"), &[]);
    assert_eq!(granted.code(), Some(200), "{granted:?}");
    assert!(seconds(&granted, "Expires") <= left);
    assert!(!relay.log().contains(SECRET));
}

fn aut_19_answer_is_addressed_as_the_request_was() {
    let relay = shared();
    let mut a = Client::tls(relay);
    let uri = format!("msrps://someone@{}:2855;tcp", relay.host);
    let from = format!("{} msrps://inner.invalid/x;ws", a.uri);
    let challenge = a.challenge_for(&uri);
    let authorization = line(&a.answer_for(&uri, &challenge, 1).authorization);
    let draft = Draft::request("AUTH", &uri, &from)
        .message_id("auth-with-id")
        .line(&authorization);
    a.send(draft.octets());
    let granted = a.expect_code(200);
    assert_eq!(granted.tid, draft.tid);
    assert_eq!(
        granted.to_path.join(" "),
        from,
        "the whole From-Path (RSP-02)"
    );
    assert_eq!(granted.from_path, [uri]);
    assert!(granted.header("Use-Path").is_some() && granted.header("Expires").is_some());
}

fn aut_21_peer_without_certificate_is_a_client() {
    let relay = shared();
    let mut a = Client::tls(relay);
    let from = format!("msrps://r2.example.net:2855/abc;tcp {}", a.uri);
    a.send(Draft::request("AUTH", &relay.uri(), &from).octets());
    let challenge = challenge_in(&a.expect());
    let authorization = line(&a.answer(&challenge, 1).authorization);
    a.send(
        Draft::request("AUTH", &relay.uri(), &from)
            .line(&authorization)
            .octets(),
    );
    let granted = a.expect_code(200);
    let use_path = granted.header("Use-Path").unwrap();
    a.token = use_path.rsplit(' ').next().unwrap().to_owned();
    // The token is bound to this connection, not to r2.example.net: a SEND by it is accepted ...
    let mut b = Client::authenticated(relay, "bob");
    let to_b = format!("{} {} {}", a.token, b.token, b.uri);
    a.send(
        Draft::send(&to_b, &from)
            .failure_report("no")
            .text("from here")
            .octets(),
    );
    assert_eq!(b.expect_method("SEND").body(), b"from here");
    // ... and the same from another anonymous connection is not.
    let mut other = Client::tls(relay);
    other.send(Draft::send(&to_b, &from).text("not from there").octets());
    assert_eq!(other.expect().code(), Some(481));
}

fn wrong_password(a: &mut Client, relay: &Relay) -> Message {
    let challenge = a.challenge();
    let uri = relay.uri();
    let asker = Asker {
        user: "alice",
        password: "wrong",
        uri: &uri,
    };
    let answer = Answer::new(&challenge, asker, &fresh_cnonce(), 1, Spelling::default());
    a.auth(&[&line(&answer.authorization)])
}

fn aut_22_third_wrong_password_closes() {
    let relay = shared();
    let mut a = Client::tls(relay);
    for _ in 0..3 {
        challenge_in(&wrong_password(&mut a, relay));
    }
    assert_eq!(a.closed(), Ending::Clean);
}

fn aut_25_credentials_work_once_over_all_connections() {
    let relay = shared();
    for _ in 0..3 {
        let mut clients: Vec<Client> = (0..20).map(|_| Client::tls(relay)).collect();
        let authorization = line(&good(&mut clients[0]));
        let start = Barrier::new(clients.len());
        let codes: Vec<Option<u16>> = std::thread::scope(|scope| {
            let running: Vec<_> = clients
                .iter_mut()
                .map(|client| {
                    scope.spawn(|| {
                        start.wait();
                        client.auth(&[&authorization]).code()
                    })
                })
                .collect();
            running
                .into_iter()
                .map(|thread| thread.join().expect("the client is answered"))
                .collect()
        });
        assert_eq!(
            codes.iter().filter(|code| **code == Some(200)).count(),
            1,
            "{codes:?}"
        );
        assert!(
            codes.iter().all(|code| matches!(code, Some(200 | 401))),
            "{codes:?}"
        );
    }
}
