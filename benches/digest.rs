//! What an AUTH takes: a challenge, and the judgement of its answer.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use msrpd::auth::{Algorithm, Authenticator, Ha1, Judgement, NonceKeys, Quoting, Settings, Users};
use msrpload::digest::{Answer, Asker, Challenge, Spelling};

const HOST: &str = "relay.example.com";
const URI: &str = "msrps://relay.example.com;tcp";

fn authenticator(algorithm: Algorithm, now: Instant) -> Authenticator {
    let mut users = Users::default();
    let ha1 = Ha1::of(algorithm, "alice", HOST, "wonderland");
    users
        .set("alice", HOST, algorithm, ha1)
        .expect("a legal name");
    let settings = Settings {
        realm: Some(HOST.into()),
        algorithms: vec![algorithm],
        ..Settings::default()
    };
    let keys = NonceKeys::new(vec![[7; 32]], now, Duration::from_secs(1_700_000_000));
    Authenticator::new(Arc::new(settings), Arc::new(users), Arc::new(keys))
}

fn digest(c: &mut Criterion) {
    let now = Instant::now();
    let mut group = c.benchmark_group("digest");
    for (name, algorithm) in [("MD5", Algorithm::Md5), ("SHA-256", Algorithm::Sha256)] {
        let auth = authenticator(algorithm, now);
        group.bench_function(format!("challenge, {name}"), |b| {
            b.iter(|| black_box(auth.challenge(now, [1; 24], HOST, false, Quoting::Standard)));
        });
        let challenge = &auth.challenge(now, [1; 24], HOST, false, Quoting::Standard)[0];
        let challenge = Challenge::parse(challenge).expect("a challenge");
        let asker = Asker {
            user: "alice",
            password: "wonderland",
            uri: URI,
        };
        let answer = Answer::new(&challenge, asker, "c0ffee", 1, Spelling::default());
        let authorization = answer.authorization.as_bytes();
        let judged = auth.judge(now, HOST, authorization, URI.as_bytes());
        assert!(
            matches!(judged, Judgement::Proved(_)),
            "the answer is right"
        );
        group.bench_function(format!("judgement, {name}"), |b| {
            b.iter(|| black_box(auth.judge(now, HOST, authorization, URI.as_bytes())));
        });
    }
    group.finish();
}

criterion_group!(benches, digest);
criterion_main!(benches);
