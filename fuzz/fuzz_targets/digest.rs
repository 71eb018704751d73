//! Any text as an Authorization, a second line as the To-Path URI: nothing panics, and the judgement is what the digest,
//! computed afresh, says; the same comes out where users are looked up elsewhere. Also as an htdigest file: what was read is written and read back.
//!
//! A fuzzer guesses no digest, so names in braces stand for what a client would know: `{fresh}` and `{old}` are
//! nonces of the relay, `{md5}` and `{sha256}` alice's right response to the fresh one with nc 1 and cnonce `c`,
//! `{late}` hers to the old one, `{forbidden}` that of a user who is disabled.
#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use msrpd::auth::{
    Algorithm, Authenticator, Authorization, Ha1, Hashes, Judgement, NonceKeys, Proof, Quoting, Settings,
    Users, response,
};
use msrpd::wire::Uri;

const HOST: &str = "relay.example.com";
const REALM: &str = "example.com";
const URI: &[u8] = b"msrps://relay.example.com;tcp";
const PASSWORDS: [(&str, &str); 2] = [("alice", "wonderland"), ("mallory", "x")];

struct Scene {
    auth: Authenticator,
    /// Knows nobody and looks everybody up.
    asks: Authenticator,
    now: Instant,
    fresh: String,
    old: String,
}

static SCENE: LazyLock<Scene> = LazyLock::new(|| {
    let start = Instant::now();
    let mut users = Users::default();
    for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
        for (user, password) in PASSWORDS {
            let ha1 = Ha1::of(algorithm, user, REALM, password);
            users
                .set(user, REALM, algorithm, ha1)
                .expect("a legal name");
        }
    }
    let settings = Settings {
        realm: Some(REALM.into()),
        algorithms: vec![Algorithm::Sha256, Algorithm::Md5],
        disabled: vec!["mallory".into()],
        ..Settings::default()
    };
    let lifetime = settings.nonce_lifetime;
    let keys = NonceKeys::new(vec![[7; 32]], start, Duration::from_secs(1_700_000_000));
    let keys = Arc::new(keys);
    let looks_up = Settings {
        looks_up: true,
        ..settings.clone()
    };
    let asks = Authenticator::new(Arc::new(looks_up), Arc::default(), keys.clone());
    let auth = Authenticator::new(Arc::new(settings), Arc::new(users), keys);
    let nonce = |now, random| {
        let challenge = &auth.challenge(now, [random; 24], HOST, false, Quoting::Standard)[0];
        let (_, rest) = challenge.split_once("nonce=\"").expect("a nonce");
        rest.split('"').next().expect("a quote").to_owned()
    };
    let now = start + lifetime;
    let (fresh, old) = (nonce(now, 1), nonce(start, 2));
    Scene {
        auth,
        asks,
        now,
        fresh,
        old,
    }
});

fuzz_target!(|input: &[u8]| {
    if let Ok(text) = std::str::from_utf8(input) {
        check_users(text);
    }
    let line = input.iter().position(|octet| *octet == b'\n');
    let (template, uri) = match line {
        Some(end) => (&input[..end], &input[end + 1..]),
        None => (input, URI),
    };
    let authorization = filled(template, uri);
    let judgement = SCENE.auth.judge(SCENE.now, HOST, &authorization, uri);
    let expected = expected(&authorization, uri);
    assert_eq!(
        name(&judgement),
        expected,
        "{}",
        authorization.escape_ascii()
    );
    if let Judgement::Proved(proof) = &judgement {
        check_answer(&authorization, proof);
    }
    check_looked_up(&authorization, uri, expected);
});

/// Whoever is asked for a user says what the users' file says, and it comes to the same.
fn check_looked_up(authorization: &[u8], uri: &[u8], expected: &str) {
    let judgement = SCENE.asks.judge(SCENE.now, HOST, authorization, uri);
    let Judgement::LookUp { user, realm } = &judgement else {
        // Before anybody is asked about: the form, and whether the nonce is one of ours.
        let before = ["missing", "malformed", "wrong"];
        assert!(before.contains(&expected));
        return assert_eq!(name(&judgement), expected);
    };
    assert_eq!(&**realm, REALM);
    let known = PASSWORDS.iter().find(|(known, _)| *known == &**user);
    let hashes = known.map(|(user, password)| Hashes {
        md5: Some(Ha1::of(Algorithm::Md5, user, REALM, password)),
        sha256: Some(Ha1::of(Algorithm::Sha256, user, REALM, password)),
    });
    let found = hashes.as_ref();
    let judgement = SCENE
        .asks
        .judge_found(SCENE.now, HOST, authorization, uri, found);
    assert_eq!(name(&judgement), expected);
}

/// Puts in what stands for the names in braces.
fn filled(template: &[u8], uri: &[u8]) -> Vec<u8> {
    let answer = |algorithm: Algorithm, (user, password): (&str, &str), nonce: &str| {
        digest(
            algorithm,
            user,
            password,
            [nonce, "00000001", "c"],
            b"AUTH",
            uri,
        )
    };
    let [alice, mallory] = PASSWORDS;
    let mut filled = template.to_vec();
    // Each once: a long input shall not grow without bound.
    for name in [
        "{fresh}",
        "{old}",
        "{md5}",
        "{sha256}",
        "{late}",
        "{forbidden}",
    ] {
        let Some(at) = filled
            .windows(name.len())
            .position(|window| window == name.as_bytes())
        else {
            continue;
        };
        let text = match name {
            "{fresh}" => SCENE.fresh.clone(),
            "{old}" => SCENE.old.clone(),
            "{md5}" => answer(Algorithm::Md5, alice, &SCENE.fresh),
            "{sha256}" => answer(Algorithm::Sha256, alice, &SCENE.fresh),
            "{late}" => answer(Algorithm::Md5, alice, &SCENE.old),
            _ => answer(Algorithm::Md5, mallory, &SCENE.fresh),
        };
        filled.splice(at..at + name.len(), text.bytes());
    }
    filled
}

/// The judgement by another way: everything is computed, then looked at.
fn expected(authorization: &[u8], uri: &[u8]) -> &'static str {
    let credentials = match Authorization::parse(authorization) {
        Ok(Some(credentials)) => credentials,
        Ok(None) => return "missing",
        Err(_) => return "malformed",
    };
    if credentials.realm != REALM {
        return "missing";
    }
    let hashed = credentials.uri.map_or(uri, str::as_bytes);
    let equivalent = || Some(Uri::parse(hashed).ok()?.equivalent(&Uri::parse(uri).ok()?));
    if credentials.uri.is_some() && equivalent() != Some(true) {
        return "malformed";
    }
    let password = PASSWORDS
        .iter()
        .find(|(user, _)| *user == credentials.username);
    let algorithm = Algorithm::from_name(credentials.algorithm.unwrap_or("MD5"));
    let (Some((user, password)), Some(algorithm)) = (password, algorithm) else {
        return "wrong";
    };
    let asked = [credentials.nonce, credentials.nc, credentials.cnonce];
    let right = digest(algorithm, user, password, asked, b"AUTH", hashed);
    if !right.eq_ignore_ascii_case(credentials.response) {
        return "wrong";
    }
    match credentials.nonce {
        nonce if nonce == SCENE.old => "stale",
        nonce if nonce != SCENE.fresh => "wrong",
        _ if *user == "mallory" => "forbidden",
        _ => "proved",
    }
}

/// With H(A1) from the password, not from the store.
fn digest(
    algorithm: Algorithm,
    user: &str,
    password: &str,
    asked: [&str; 3],
    method: &[u8],
    uri: &[u8],
) -> String {
    let ha1 = algorithm.hash(&[user.as_bytes(), REALM.as_bytes(), password.as_bytes()]);
    let [nonce, nc, cnonce] = asked;
    response(algorithm, &ha1, nonce, nc, cnonce, method, uri)
}

/// Authentication-Info says the request's cnonce and nc, and nothing breaks out of its quotes (AUT-15, SEC-09).
fn check_answer(authorization: &[u8], proof: &Proof) {
    let Ok(Some(credentials)) = Authorization::parse(authorization) else {
        unreachable!("it proved something");
    };
    assert_eq!((&*proof.user, &*proof.realm), ("alice", REALM));
    assert_eq!(u32::from_str_radix(credentials.nc, 16), Ok(proof.nc));
    assert!(proof.nc > 0 && proof.nonce_expires > SCENE.now);
    let info = SCENE.auth.authentication_info(SCENE.now, [3; 24], proof);
    assert!(!info.chars().any(char::is_control), "{info:?}");
    let rest = info
        .strip_prefix("nextnonce=\"")
        .expect("nextnonce comes first");
    let (_, rest) = rest.split_once("\", rspauth=\"").expect("then rspauth");
    let (rspauth, rest) = rest.split_once("\", cnonce=\"").expect("then cnonce");
    assert_eq!(rspauth.len(), credentials.response.len());
    let rest = rest.strip_prefix(credentials.cnonce).expect("as it came");
    assert_eq!(rest, format!("\", nc={}, qop=auth", credentials.nc));
    let mut octets = credentials.cnonce.bytes();
    while let Some(octet) = octets.next() {
        assert_ne!(octet, b'"', "{info}");
        if octet == b'\\' {
            octets.next().expect("it escapes something of its own");
        }
    }
}

fn check_users(text: &str) {
    if let Ok(users) = Users::parse(text) {
        assert_eq!(Users::parse(&users.to_string()), Ok(users));
    }
}

fn name(judgement: &Judgement) -> &'static str {
    match judgement {
        Judgement::Missing => "missing",
        Judgement::Malformed => "malformed",
        Judgement::Wrong => "wrong",
        Judgement::Stale => "stale",
        Judgement::Forbidden => "forbidden",
        Judgement::Proved(_) => "proved",
        Judgement::LookUp { .. } => "looked up",
    }
}
