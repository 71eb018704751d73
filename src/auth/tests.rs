//! The door as the relay uses it.

use super::*;

const URI: &[u8] = b"msrps://relay.example.com;tcp";
const HOST: &str = "relay.example.com";
const LIFETIME: Duration = Duration::from_secs(300);

fn users() -> Users {
    let mut users = Users::default();
    for algorithm in Algorithm::STRONGEST_FIRST {
        for (user, realm, password) in [
            ("alice", "example.com", "wonderland"),
            ("alice", "example.org", "wonderland"),
            ("mallory", "example.com", "x"),
        ] {
            let ha1 = Ha1::of(algorithm, user, realm, password);
            users
                .set(user, realm, algorithm, ha1)
                .expect("a legal name");
        }
    }
    users
}

fn settings() -> Settings {
    Settings {
        realm: Some("example.com".into()),
        disabled: vec!["mallory".into()],
        ..Settings::default()
    }
}

fn with(now: Instant, settings: Settings) -> Authenticator {
    let keys = NonceKeys::new(vec![[7; 32]], now, Duration::from_secs(1_000_000));
    Authenticator::new(Arc::new(settings), Arc::new(users()), Arc::new(keys))
}

/// A client: it answers `nonce` with one count.
struct Client<'a> {
    algorithm: Algorithm,
    user: &'a str,
    realm: &'a str,
    password: &'a str,
    nc: &'a str,
    cnonce: &'a str,
    uri: &'a [u8],
}

const ALICE: Client<'_> = Client {
    algorithm: Algorithm::Md5,
    user: "alice",
    realm: "example.com",
    password: "wonderland",
    nc: "00000001",
    cnonce: "c0ffee",
    uri: URI,
};

impl Client<'_> {
    fn digest(&self, nonce: &str, method: &[u8]) -> String {
        let ha1 = Ha1::of(self.algorithm, self.user, self.realm, self.password);
        response(
            self.algorithm,
            ha1.text(),
            nonce,
            self.nc,
            self.cnonce,
            method,
            self.uri,
        )
    }

    fn credentials(&self, nonce: &str) -> String {
        let Self {
            user,
            realm,
            nc,
            cnonce,
            ..
        } = self;
        let response = self.digest(nonce, b"AUTH");
        format!(
            "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", qop=auth, nc={nc}, \
             cnonce=\"{cnonce}\", response=\"{response}\""
        )
    }
}

fn quoted<'a>(header: &'a str, name: &str) -> &'a str {
    let (_, rest) = header.split_once(&format!("{name}=\"")).expect(name);
    rest.split('"').next().expect("a closing quote")
}

fn fresh_nonce(auth: &Authenticator, now: Instant) -> String {
    quoted(
        &auth.challenge(now, [1; 24], HOST, false, Quoting::Standard)[0],
        "nonce",
    )
    .to_owned()
}

#[test]
fn aut_04_aut_05_a_challenge_has_what_deployed_clients_need_and_no_more() {
    let now = Instant::now();
    let one = with(now, settings()).challenge(now, [9; 24], HOST, false, Quoting::Standard);
    let nonce = quoted(&one[0], "nonce");
    let opaque = "09".repeat(8);
    assert_eq!(
        one,
        [format!(
            "Digest realm=\"example.com\", nonce=\"{nonce}\", opaque=\"{opaque}\", qop=\"auth\""
        )]
    );
}

#[test]
fn aut_07_algorithms_are_offered_strongest_first() {
    let now = Instant::now();
    let offer = |algorithms: &[Algorithm]| {
        let algorithms = algorithms.to_vec();
        with(
            now,
            Settings {
                algorithms,
                ..settings()
            },
        )
        .challenge(now, [9; 24], HOST, true, Quoting::Standard)
    };
    for order in [
        [Algorithm::Sha256, Algorithm::Md5],
        [Algorithm::Md5, Algorithm::Sha256],
    ] {
        let both = offer(&order);
        assert!(both[0].ends_with(", qop=\"auth\", algorithm=SHA-256, stale=true"));
        assert!(both[1].ends_with(", qop=\"auth\", algorithm=MD5, stale=true"));
        assert_eq!(quoted(&both[0], "nonce"), quoted(&both[1], "nonce"));
    }
    let sha256 = offer(&[Algorithm::Sha256]);
    assert!(sha256.len() == 1 && sha256[0].contains(", algorithm=SHA-256"));
}

#[test]
fn aut_07_what_was_not_offered_fails() {
    let now = Instant::now();
    let sha256 = Client {
        algorithm: Algorithm::Sha256,
        ..ALICE
    };
    for (offered, md5_is_right, sha256_is_right) in [
        (vec![Algorithm::Md5], true, false),
        (vec![Algorithm::Sha256], false, true),
        (vec![Algorithm::Sha256, Algorithm::Md5], true, true),
    ] {
        let auth = with(
            now,
            Settings {
                algorithms: offered,
                ..settings()
            },
        );
        let nonce = fresh_nonce(&auth, now);
        let proved = |text: &str| {
            let judgement = auth.judge(now, HOST, text.as_bytes(), URI);
            assert!(
                matches!(judgement, Judgement::Proved(_) | Judgement::Wrong),
                "{judgement:?}"
            );
            matches!(judgement, Judgement::Proved(_))
        };
        let md5 = ALICE.credentials(&nonce);
        let sha256 = sha256.credentials(&nonce);
        assert_eq!(proved(&md5), md5_is_right);
        assert_eq!(proved(&format!("{md5}, algorithm=\"md5\"")), md5_is_right);
        assert_eq!(
            proved(&format!("{sha256}, algorithm=SHA-256")),
            sha256_is_right
        );
        assert!(!proved(&format!("{md5}, algorithm=SHA-256")));
        assert!(!proved(&format!("{md5}, algorithm=MD5-sess")));
        assert!(!proved(&sha256), "MD5 where none is named");
    }
}

#[test]
fn aut_06_each_name_has_its_realm() {
    let now = Instant::now();
    let of = |realm: Option<&str>| {
        let realms = [("Example.org", "example.org")];
        with(
            now,
            Settings {
                realm: realm.map(Into::into),
                realms: realms
                    .map(|(name, realm)| (name.into(), realm.into()))
                    .into(),
                ..settings()
            },
        )
    };
    assert_eq!(of(None).realm(HOST), HOST);
    assert_eq!(of(Some("example.com")).realm(HOST), "example.com");
    assert_eq!(of(Some("example.com")).realm("example.org"), "example.org");

    let auth = of(Some("example.com"));
    let challenge = &auth.challenge(now, [1; 24], "example.org", false, Quoting::Standard)[0];
    assert_eq!(quoted(challenge, "realm"), "example.org");
    let nonce = quoted(challenge, "nonce");
    let for_org = Client {
        realm: "example.org",
        ..ALICE
    }
    .credentials(nonce);
    let judge = |host: &str, text: &str| auth.judge(now, host, text.as_bytes(), URI);
    assert!(matches!(
        judge("example.org", &for_org),
        Judgement::Proved(_)
    ));
    // AUT-10: the realm of another name is no credential for this one.
    assert!(matches!(judge(HOST, &for_org), Judgement::Missing));
}

#[test]
fn aut_05_other_schemes_are_no_credentials() {
    let now = Instant::now();
    let auth = with(now, settings());
    for text in ["", "Basic YWxpY2U6d29uZGVybGFuZA==", "Bearer x"] {
        assert!(matches!(
            auth.judge(now, HOST, text.as_bytes(), URI),
            Judgement::Missing
        ));
    }
}

#[test]
fn aut_12_aut_13_aut_17_only_the_right_digest_learns_more_than_no() {
    let now = Instant::now();
    let auth = with(now, settings());
    let nonce = fresh_nonce(&auth, now);
    let judge = |later: Duration, client: Client<'_>, nonce: &str| {
        auth.judge(now + later, HOST, client.credentials(nonce).as_bytes(), URI)
    };
    let guess = Client {
        password: "guess",
        ..ALICE
    };
    let nobody = Client {
        user: "nobody",
        ..ALICE
    };
    let mallory = Client {
        user: "mallory",
        password: "x",
        ..ALICE
    };
    let mallory_guess = Client {
        user: "mallory",
        ..ALICE
    };
    let soon = Duration::from_secs(299);
    assert!(matches!(judge(soon, ALICE, &nonce), Judgement::Proved(_)));
    assert!(matches!(judge(soon, guess, &nonce), Judgement::Wrong));
    assert!(matches!(judge(soon, nobody, &nonce), Judgement::Wrong));
    assert!(matches!(judge(soon, mallory, &nonce), Judgement::Forbidden));
    assert!(matches!(
        judge(soon, mallory_guess, &nonce),
        Judgement::Wrong
    ));
    assert!(matches!(judge(soon, ALICE, "not ours"), Judgement::Wrong));

    let guess = Client {
        password: "guess",
        ..ALICE
    };
    let mallory = Client {
        user: "mallory",
        password: "x",
        ..ALICE
    };
    assert!(matches!(judge(LIFETIME, ALICE, &nonce), Judgement::Stale));
    assert!(matches!(judge(LIFETIME, guess, &nonce), Judgement::Wrong));
    assert!(matches!(judge(LIFETIME, mallory, &nonce), Judgement::Stale));
}

/// The H(A1) that stands in for unknown users opens nothing.
#[test]
fn aut_12_the_decoy_is_no_password() {
    let now = Instant::now();
    let auth = with(now, settings());
    let nonce = fresh_nonce(&auth, now);
    let right = response(
        Algorithm::Md5,
        Ha1::decoy(Algorithm::Md5).text(),
        &nonce,
        "00000001",
        "c0ffee",
        b"AUTH",
        URI,
    );
    let text = Client {
        user: "nobody",
        ..ALICE
    }
    .credentials(&nonce);
    let text = text.replace(quoted(&text, "response"), &right);
    assert!(matches!(
        auth.judge(now, HOST, text.as_bytes(), URI),
        Judgement::Wrong
    ));
}

/// The quickest of many, so that what else runs here does not count; the bound is loose, because
/// it guards against another way through the code, not against nanoseconds.
#[test]
fn aut_12_an_unknown_user_takes_as_long_as_a_wrong_password() {
    let now = Instant::now();
    let auth = with(now, settings());
    let nonce = fresh_nonce(&auth, now);
    let quickest = |client: Client<'_>| {
        let text = client.credentials(&nonce);
        let once = || {
            let began = Instant::now();
            for _ in 0..20 {
                assert!(matches!(
                    auth.judge(now, HOST, text.as_bytes(), URI),
                    Judgement::Wrong
                ));
            }
            began.elapsed()
        };
        (0..200)
            .map(|_| once())
            .min()
            .expect("200 runs")
            .as_secs_f64()
            / 20.0
    };
    let known = quickest(Client {
        password: "guess",
        ..ALICE
    });
    let unknown = quickest(Client {
        user: "alicf",
        ..ALICE
    });
    println!(
        "known {:.2} us, unknown {:.2} us",
        known * 1e6,
        unknown * 1e6
    );
    assert!(
        (0.75..1.33).contains(&(unknown / known)),
        "{unknown} {known}"
    );
}

#[test]
fn aut_08_aut_09_the_uri_parameter_is_hashed_if_it_means_the_same() {
    let now = Instant::now();
    let auth = with(now, settings());
    let nonce = fresh_nonce(&auth, now);
    let judge = |hashed: &str, given: &str| {
        let text = Client {
            uri: hashed.as_bytes(),
            ..ALICE
        }
        .credentials(&nonce);
        auth.judge(
            now,
            HOST,
            format!("{text}, uri=\"{given}\"").as_bytes(),
            URI,
        )
    };
    let to_path = std::str::from_utf8(URI).expect("ASCII");
    let other = "MSRPS://a@Relay.Example.%63om;TCP;x=y";
    assert!(matches!(judge(to_path, to_path), Judgement::Proved(_)));
    assert!(matches!(judge(other, other), Judgement::Proved(_)));
    assert!(matches!(judge(to_path, other), Judgement::Wrong));
    for foreign in [
        "msrps://relay.example.com:2855;tcp",
        "msrps://example.com;tcp",
        "sip:x",
        "",
        "msrp\\s",
    ] {
        assert!(
            matches!(judge(foreign, foreign), Judgement::Malformed),
            "{foreign}"
        );
    }
}

#[test]
fn aut_11_credentials_as_ag_projects_sends_them() {
    let now = Instant::now();
    let auth = with(now, settings());
    let nonce = fresh_nonce(&auth, now);
    let text = ALICE
        .credentials(&nonce)
        .replace("qop=auth, nc=00000001", "qop=\"auth\",nc=\"00000001\"");
    let text = format!("{text},algorithm=\"MD5\",opaque=\"00\", foo=bar");
    assert!(matches!(
        auth.judge(now, HOST, text.as_bytes(), URI),
        Judgement::Proved(_)
    ));
    let upper = text.replace(
        quoted(&text, "response"),
        &quoted(&text, "response").to_uppercase(),
    );
    assert!(matches!(
        auth.judge(now, HOST, upper.as_bytes(), URI),
        Judgement::Proved(_)
    ));
}

#[test]
fn aut_15_aut_16_the_answer_proves_the_relay_and_brings_the_next_nonce() {
    let now = Instant::now();
    let auth = with(now, settings());
    let nonce = fresh_nonce(&auth, now);
    let client = Client {
        nc: "0000000A",
        cnonce: "a\\\"b",
        ..ALICE
    };
    let text = client.credentials(&nonce);
    let Judgement::Proved(proof) = auth.judge(now, HOST, text.as_bytes(), URI) else {
        panic!("right credentials");
    };
    assert_eq!(
        (&*proof.user, &*proof.realm, proof.nc),
        ("alice", "example.com", 10)
    );
    assert_eq!(proof.nonce_expires, now + LIFETIME);
    assert_eq!(proof.nonce_id, u128::from_be_bytes([1; 16]));

    let info = auth.authentication_info(now, [2; 24], &proof);
    let next = quoted(&info, "nextnonce");
    let rspauth = client.digest(&nonce, b"");
    assert_eq!(
        info,
        format!(
            "nextnonce=\"{next}\", rspauth=\"{rspauth}\", cnonce=\"a\\\"b\", nc=0000000A, qop=auth"
        )
    );
    let again = auth.judge(now, HOST, ALICE.credentials(next).as_bytes(), URI);
    assert!(
        matches!(again, Judgement::Proved(proof) if proof.nonce_id == u128::from_be_bytes([2; 16]))
    );
}

#[test]
fn other_settings_count_from_now_on() {
    let now = Instant::now();
    let mut auth = with(now, settings());
    let nonce = fresh_nonce(&auth, now);
    let changed = Settings {
        realm: Some("example.org".into()),
        algorithms: vec![Algorithm::Sha256],
        nonce_lifetime: Duration::from_secs(10),
        disabled: vec!["alice".into()],
        ..Settings::default()
    };
    auth.reconfigure(now, Arc::new(changed), Arc::new(users()));
    let judge = |later: u64, client: &Client<'_>| {
        let algorithm = client.algorithm.name();
        let text = format!("{}, algorithm={algorithm}", client.credentials(&nonce));
        auth.judge(now + Duration::from_secs(later), HOST, text.as_bytes(), URI)
    };
    let challenge = auth
        .challenge(now, [0; 24], HOST, false, Quoting::Standard)
        .join("; ");
    assert!(challenge.contains("realm=\"example.org\"") && challenge.contains("SHA-256"));
    assert!(!challenge.contains("MD5"));
    assert!(
        matches!(judge(0, &ALICE), Judgement::Missing),
        "the old realm"
    );
    let new = Client {
        realm: "example.org",
        ..ALICE
    };
    assert!(
        matches!(judge(0, &new), Judgement::Wrong),
        "MD5 is not offered"
    );
    let new = Client {
        algorithm: Algorithm::Sha256,
        ..new
    };
    assert!(matches!(judge(9, &new), Judgement::Forbidden));
    assert!(matches!(judge(10, &new), Judgement::Stale));
}

#[test]
fn other_users_count_from_now_on() {
    let now = Instant::now();
    let mut auth = with(now, settings());
    let text = ALICE.credentials(&fresh_nonce(&auth, now));
    auth.reconfigure(now, Arc::new(settings()), Arc::default());
    assert!(matches!(
        auth.judge(now, HOST, text.as_bytes(), URI),
        Judgement::Wrong
    ));
}

#[test]
fn sec_09_nothing_breaks_out_of_a_quoted_string() {
    let now = Instant::now();
    let realm = "a\"b\\c\r\nX-Injected: 1";
    let auth = with(
        now,
        Settings {
            realm: Some(realm.into()),
            ..settings()
        },
    );
    let challenge = &auth.challenge(now, [1; 24], HOST, false, Quoting::Standard)[0];
    assert!(
        challenge.starts_with("Digest realm=\"a\\\"b\\\\cX-Injected: 1\", nonce=\""),
        "{challenge}"
    );
    for cnonce in ["a\r\nX: 1", "a\\", "a\0", "\"", ""] {
        let client = Client {
            realm,
            cnonce,
            ..ALICE
        };
        let text = client.credentials("x");
        assert!(
            matches!(
                auth.judge(now, HOST, text.as_bytes(), URI),
                Judgement::Malformed
            ),
            "{cnonce:?}"
        );
    }
}

#[test]
fn sec_04_debug_shows_no_proof() {
    let now = Instant::now();
    let auth = with(now, settings());
    let text = ALICE.credentials(&fresh_nonce(&auth, now));
    let judgement = auth.judge(now, HOST, text.as_bytes(), URI);
    assert_eq!(
        format!("{judgement:?}"),
        "Proved(Proof { user: \"alice\", realm: \"example.com\", .. })"
    );
}

const SECRET: &[u8] = b"north-by-northwest-1959";
/// When the tests' clock begins, in Unix time.
const BEGINS: u64 = 1_000_000;

fn with_secrets(now: Instant, secrets: &[&[u8]]) -> Authenticator {
    let mut users = users();
    let secrets = secrets
        .iter()
        .map(|secret| SharedSecret::parse(secret).expect("long enough"));
    users.set_secrets(secrets.collect());
    let mut auth = with(now, settings());
    auth.reconfigure(now, Arc::new(settings()), Arc::new(users));
    auth
}

fn judge_timed(auth: &Authenticator, now: Instant, user: &str, password: &str) -> Judgement {
    let nonce = fresh_nonce(auth, now);
    let client = Client {
        user,
        password,
        ..ALICE
    };
    auth.judge(now, HOST, client.credentials(&nonce).as_bytes(), URI)
}

#[test]
fn a_timed_credential_proves_its_user_until_it_ends() {
    let now = Instant::now();
    let old = b"the secret before this one".as_slice();
    let auth = with_secrets(now, &[SECRET, old]);
    let name = timed_username(BEGINS + 100, "carol");
    for secret in [SECRET, old] {
        let password = SharedSecret::parse(secret)
            .expect("long enough")
            .password(&name);
        let Judgement::Proved(proof) = judge_timed(&auth, now, &name, &password) else {
            panic!("not proved");
        };
        assert_eq!(
            (&*proof.user, proof.left),
            ("carol", Some(Duration::from_secs(100)))
        );
        let late = now + Duration::from_secs(100);
        assert!(matches!(
            judge_timed(&auth, late, &name, &password),
            Judgement::Wrong
        ));
    }
}

#[test]
fn a_timed_credential_of_another_secret_time_or_user_is_wrong() {
    let now = Instant::now();
    let auth = with_secrets(now, &[SECRET]);
    let name = timed_username(BEGINS + 100, "carol");
    let password = SharedSecret::parse(SECRET)
        .expect("long enough")
        .password(&name);
    let other = SharedSecret::parse(b"a secret that nobody told us").expect("long enough");
    for (user, password) in [
        (name.as_str(), other.password(&name).as_str()),
        (&timed_username(BEGINS + 101, "carol"), &password),
        (&timed_username(BEGINS + 100, "mallory"), &password),
        ("carol", &password),
    ] {
        assert!(
            matches!(judge_timed(&auth, now, user, password), Judgement::Wrong),
            "{user}"
        );
    }
    // Without a secret nobody is known by one.
    let bare = with_secrets(now, &[]);
    assert!(matches!(
        judge_timed(&bare, now, &name, &password),
        Judgement::Wrong
    ));
    // Those who are refused by name are refused however they prove it.
    let name = timed_username(BEGINS + 100, "mallory");
    let password = SharedSecret::parse(SECRET)
        .expect("long enough")
        .password(&name);
    assert!(matches!(
        judge_timed(&auth, now, &name, &password),
        Judgement::Forbidden
    ));
}

/// D-18: with the clock put forward an hour a credential that is good for 120 s is none any more, and
/// one put back makes no old one good for longer than it says.
#[test]
fn a_timed_credential_ends_by_the_wall_clock_however_that_is_set() {
    let now = Instant::now();
    let auth = with_secrets(now, &[SECRET]);
    let name = timed_username(BEGINS + 120, "carol");
    let secret = SharedSecret::parse(SECRET).expect("long enough");
    let password = secret.password(&name);
    let second = Duration::from_secs(1);
    let begins = Duration::from_secs(BEGINS);
    let proved = |auth: &Authenticator, now| {
        matches!(
            judge_timed(auth, now, &name, &password),
            Judgement::Proved(_)
        )
    };
    assert!(proved(&auth, now));
    let mut forward = auth.clone();
    forward.set_wall_clock(WallClock::new(now + second, begins + 3600 * second));
    assert!(!proved(&forward, now + second), "an hour later");
    forward.set_wall_clock(WallClock::new(now + 2 * second, begins + 2 * second));
    assert!(proved(&forward, now + 2 * second), "set right again");
    assert!(proved(&forward, now + 118 * second));
    assert!(!proved(&forward, now + 121 * second));
}

/// What docs/farm.md says: with a key of the farm a node that was restarted takes an Authorization
/// again that it took before, as any other node does; with its own key alone it takes none. And a
/// node whose clock is behind takes one for as much longer.
#[test]
fn a_farms_nonce_is_good_once_at_each_node_and_after_each_restart() {
    let now = Instant::now();
    let second = Duration::from_secs(1);
    let unix = Duration::from_secs(BEGINS);
    let node = |own: u8, farm: &[FarmKey], unix_now| {
        let keys = NonceKeys::new(vec![[own; 32]], now, unix_now).in_farm(farm);
        Authenticator::new(Arc::new(settings()), Arc::new(users()), Arc::new(keys))
    };
    let takes = |node: &Authenticator, ledger: &mut NonceLedger, nonce: &str, at| {
        let credentials = ALICE.credentials(nonce);
        match node.judge(at, HOST, credentials.as_bytes(), URI) {
            Judgement::Proved(proof) => {
                ledger.claim(at, proof.nonce_id, proof.nc, proof.nonce_expires)
            }
            _ => false,
        }
    };
    let ledger = || NonceLedger::new(1024);
    for (farm, again) in [(&[[7; 32]][..], true), (&[][..], false)] {
        let before = node(1, farm, unix);
        let nonce = fresh_nonce(&before, now);
        let mut known = ledger();
        assert!(takes(&before, &mut known, &nonce, now));
        assert!(!takes(&before, &mut known, &nonce, now), "once");
        let restarted = node(2, farm, unix);
        assert_eq!(takes(&restarted, &mut ledger(), &nonce, now), again);
        let behind = node(3, farm, unix - 60 * second);
        let late = now + 359 * second;
        assert_eq!(takes(&behind, &mut ledger(), &nonce, late), again);
        assert!(!takes(&behind, &mut ledger(), &nonce, late + second));
    }
}
