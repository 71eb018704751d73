use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;

const URI: &[u8] = b"msrps://relay.example.com;tcp";

fn authenticator(now: Instant, algorithms: Vec<Algorithm>) -> Authenticator {
    let mut users = Users::default();
    for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
        let ha1 = Ha1::of(algorithm, "alice", "example.com", "wonderland");
        users
            .set("alice", "example.com", algorithm, ha1)
            .expect("a legal name");
        let ha1 = Ha1::of(algorithm, "mallory", "example.com", "x");
        users
            .set("mallory", "example.com", algorithm, ha1)
            .expect("a legal name");
    }
    let settings = Settings {
        realm: Some("example.com".into()),
        algorithms,
        disabled: vec!["mallory".into()],
        ..Settings::default()
    };
    let keys = NonceKeys::new(vec![[7; 32]], now, Duration::from_secs(1_000_000));
    Authenticator::new(Arc::new(settings), Arc::new(users), Arc::new(keys))
}

fn nonce_of(challenge: &str) -> String {
    challenge
        .split("nonce=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("a nonce")
        .to_owned()
}

fn credentials(nonce: &str, user: &str, password: &str, nc: &str) -> String {
    let ha1 = Ha1::of(Algorithm::Md5, user, "example.com", password).text();
    let response = response(Algorithm::Md5, &ha1, nonce, nc, "c0ffee", b"AUTH", URI);
    format!(
        "Digest username=\"{user}\", realm=\"example.com\", nonce=\"{nonce}\", qop=auth, nc={nc}, cnonce=\"c0ffee\", \
         response=\"{response}\""
    )
}

#[test]
fn aut_08_the_arithmetic_of_the_wire_examples() {
    let md5 = |ha1: &str, nonce: &str, nc: &str, cnonce: &str, uri: &str| {
        let auth = response(
            Algorithm::Md5,
            ha1,
            nonce,
            nc,
            cnonce,
            b"AUTH",
            uri.as_bytes(),
        );
        let rsp = response(Algorithm::Md5, ha1, nonce, nc, cnonce, b"", uri.as_bytes());
        (auth, rsp)
    };
    let alice = Ha1::of(Algorithm::Md5, "alice", "example.com", "wonderland").text();
    assert_eq!(alice, "93dfce8dfebfae8af4a726982429d23a");
    let uri = "msrps://relay.example.com;tcp";
    assert_eq!(
        md5(
            &alice,
            "Z2uLuEznJn3VIN7KSBHI8QpT5jY1LwaY",
            "00000001",
            "f2a9c4d18b7e0356",
            uri
        ),
        (
            "680521922c7de0b6b0cf6bae1513552f".into(),
            "2d8f3f63ca64f1a6f8284e900f3fc92a".into()
        )
    );
    assert_eq!(
        md5(
            &alice,
            "zl379JDvsMUTLavvM3cwC586IWu1sGT/",
            "00000002",
            "aa55c3300f77e1d2",
            uri
        ),
        (
            "e8c5e3bdad20555d14b56c889a627251".into(),
            "27b486ab31d0648f1a44b89aabbdcea6".into()
        )
    );
    let sha = Ha1::of(Algorithm::Sha256, "alice", "example.com", "wonderland").text();
    let uri = b"msrps://alice@example.com:2855;tcp";
    assert_eq!(
        response(
            Algorithm::Sha256,
            &sha,
            "hyHWZO9gCWqlWeGqbHLK8frPXOCLA6pp",
            "00000001",
            "3d5b7f9100c2e4a6",
            b"AUTH",
            uri
        ),
        "6ff8d857eb97d34448bd481c106a8f03a20062a71e756b0069d16a22ab3c83e9"
    );
    let outer = Ha1::of(
        Algorithm::Md5,
        "alice",
        "outer.example.net",
        "looking-glass",
    )
    .text();
    assert_eq!(
        md5(
            &outer,
            "b166Ixm9dYRxH8IcLrXUu4YzJ7t6Wux+",
            "00000001",
            "0e6f1d2c3b4a5968",
            "msrps://outer.example.net;tcp"
        ),
        (
            "5ac75e91d0f13ca905e94b6d7a0b2d7d".into(),
            "0874898f36cd38a849e6e4150db32352".into()
        )
    );
}

#[test]
fn aut_04_a_challenge_has_what_deployed_clients_need() {
    let now = Instant::now();
    let one = authenticator(now, vec![Algorithm::Md5]).challenge(
        now,
        [9; 24],
        "relay.example.com",
        false,
    );
    assert_eq!(one.len(), 1);
    assert!(one[0].starts_with("Digest realm=\"example.com\", nonce=\""));
    assert!(one[0].contains(", opaque=\"") && one[0].ends_with(", qop=\"auth\""));
    let two = authenticator(now, vec![Algorithm::Sha256, Algorithm::Md5])
        .challenge(now, [9; 24], "x", true);
    assert!(two[0].ends_with(", algorithm=SHA-256, stale=true"));
    assert!(two[1].ends_with(", algorithm=MD5, stale=true"));
}

#[test]
fn aut_13_stale_only_when_the_digest_is_right() {
    let now = Instant::now();
    let auth = authenticator(now, vec![Algorithm::Md5]);
    let nonce = nonce_of(&auth.challenge(now, [1; 24], "relay.example.com", false)[0]);
    let judge = |later: u64, text: &str| {
        auth.judge(
            now + Duration::from_secs(later),
            "relay.example.com",
            text.as_bytes(),
            URI,
        )
    };
    let right = credentials(&nonce, "alice", "wonderland", "00000001");
    assert!(matches!(judge(299, &right), Judgement::Proved(_)));
    assert!(matches!(judge(301, &right), Judgement::Stale));
    assert!(matches!(
        judge(301, &credentials(&nonce, "alice", "wrong", "00000001")),
        Judgement::Wrong
    ));
    assert!(matches!(
        judge(1, &credentials(&nonce, "nobody", "wonderland", "00000001")),
        Judgement::Wrong
    ));
    assert!(matches!(
        judge(1, &credentials("AAAA", "alice", "wonderland", "00000001")),
        Judgement::Wrong
    ));
    assert!(matches!(
        judge(1, &credentials(&nonce, "mallory", "x", "00000001")),
        Judgement::Forbidden
    ));
}

#[test]
fn aut_09_10_11_parameters_required_tolerated_and_compared() {
    let now = Instant::now();
    let auth = authenticator(now, vec![Algorithm::Md5]);
    let nonce = nonce_of(&auth.challenge(now, [1; 24], "relay.example.com", false)[0]);
    let judge = |text: &str| auth.judge(now, "relay.example.com", text.as_bytes(), URI);
    let right = credentials(&nonce, "alice", "wonderland", "00000001");
    assert!(matches!(
        judge(&right.replace("qop=auth, nc=00000001", "qop=\"auth\",nc=\"00000001\"")),
        Judgement::Proved(_)
    ));
    assert!(matches!(
        judge(&format!(
            "{right}, foo=bar, uri=\"msrps://RELAY.example.com;tcp\""
        )),
        Judgement::Wrong
    ));
    assert!(matches!(
        judge(&format!("{right}, uri=\"msrps://relay.example.com;tcp\"")),
        Judgement::Proved(_)
    ));
    assert!(matches!(
        judge(&format!("{right}, uri=\"msrps://other.example.com;tcp\"")),
        Judgement::Malformed
    ));
    for name in [
        "username", "nonce", "qop", "nc", "cnonce", "response", "realm",
    ] {
        let without = right.replacen(&format!("{name}="), "x-other=", 1);
        assert!(matches!(judge(&without), Judgement::Malformed), "{name}");
    }
    assert!(matches!(
        judge(&right.replace("realm=\"example.com\"", "realm=\"other\"")),
        Judgement::Missing
    ));
    assert!(matches!(judge("Basic YWxpY2U6eA=="), Judgement::Missing));
    assert!(matches!(
        judge(&format!("{right}, algorithm=SHA-256")),
        Judgement::Wrong
    ));
}

#[test]
fn aut_14_a_count_is_taken_once_and_must_rise() {
    let now = Instant::now();
    let expires = now + Duration::from_secs(300);
    let mut ledger = NonceLedger::new(2);
    assert!(ledger.claim(now, 1, 1, expires));
    assert!(!ledger.claim(now, 1, 1, expires));
    assert!(ledger.claim(now, 1, 5, expires));
    assert!(!ledger.claim(now, 1, 4, expires));
    assert!(ledger.claim(now, 2, 1, expires));
    assert!(
        !ledger.claim(now, 3, 1, expires),
        "at the bound a new nonce is refused, none is forgotten"
    );
    assert!(ledger.claim(expires, 3, 1, expires + Duration::from_secs(300)));
}

#[test]
fn sec_05_users_come_from_an_htdigest_file_whose_faults_are_named() {
    let errors = Users::parse(
        "alice:example.com:93dfce8dfebfae8af4a726982429d23a\nbob:x\n\n# note\neve:r:zz\n",
    )
    .expect_err("two lines are wrong");
    assert_eq!(
        errors.iter().map(|error| error.line).collect::<Vec<_>>(),
        [2, 5]
    );
    let users =
        Users::parse("alice:example.com:93dfce8dfebfae8af4a726982429d23a\n").expect("one user");
    assert_eq!(
        users.lookup("alice", "example.com", Algorithm::Md5),
        Some(&Ha1::of(
            Algorithm::Md5,
            "alice",
            "example.com",
            "wonderland"
        ))
    );
    assert_eq!(
        users.to_string(),
        "alice:example.com:93dfce8dfebfae8af4a726982429d23a\n"
    );
    assert!(!format!("{users:?}").contains("93dfce8"));
}
