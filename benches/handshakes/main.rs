//! What a handshake costs the relay in CPU time, whatever the other side sends, both ways round.
//!
//!     cargo bench --bench handshakes            # the table of perf/results
//!     cargo bench --bench handshakes -- --bound # fails where a case costs more than 3 plain ones

#[path = "../../tests/der/mod.rs"]
mod der;
mod hostile;

use std::fs;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use msrpd::net::tls::{ClientVerify, TlsContext, TlsSession};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
};
use rustix::time::{ClockId, clock_gettime};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConnection};

use hostile::{Case, Chains, Hello};

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What a handshake with any certificate may cost in plain ones.
const BOUND: f64 = 3.0;
/// A case is measured for so much CPU time, and for so many rounds at most.
const LONG_ENOUGH: Duration = Duration::from_millis(1500);
const ROUNDS: u32 = 400;

fn main() -> ExitCode {
    let bound = std::env::args().any(|argument| argument == "--bound");
    let world = World::new();
    let chains = Chains::new(&world.issuer);
    let mut worst: f64 = 0.0;
    for (title, cases, run) in [
        ("accepted", hostile::accepted(&chains), accepted as Run),
        ("dialled", hostile::dialled(&chains), dialled as Run),
    ] {
        println!(
            "| {title} | octets of certificates | us of CPU | in plain ones |\n|---|---:|---:|---:|"
        );
        let mut plain = None;
        for case in cases {
            let spent = measure(|| run(&world, &case));
            let micros = spent.as_secs_f64() * 1e6;
            let plain = *plain.get_or_insert(micros);
            if !case.vouched {
                worst = worst.max(micros / plain);
            }
            println!(
                "| {} | {} | {micros:.0} | {:.2} |",
                case.name,
                case.octets(),
                micros / plain
            );
        }
        println!();
    }
    println!("the worst that no authority vouches for costs {worst:.2} plain ones");
    if bound && worst > BOUND {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

type Run = fn(&World, &Case) -> Duration;

/// The least of some runs is disturbed by nobody; of many cheap runs the lower quartile.
fn measure(run: impl Fn() -> Duration) -> Duration {
    let mut spent = Vec::new();
    let mut total = Duration::ZERO;
    while spent.len() < 3 || (total < LONG_ENOUGH && (spent.len() as u32) < ROUNDS) {
        let one = run();
        total += one;
        spent.push(one);
    }
    spent.sort_unstable();
    spent[spent.len() / 4]
}

/// The relay and the authority of relays.
struct World {
    context: TlsContext,
    issuer: Issuer<'static, KeyPair>,
    roots: Arc<RootCertStore>,
    server: Arc<CertifiedKey>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.remove(DnType::CommonName);
        params
            .distinguished_name
            .push(DnType::CommonName, hostile::AUTHORITY);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&key).expect("a certificate");
        let issuer = Issuer::new(params.clone(), key);
        let costly = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("a key");
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, hostile::COSTLY);
        let costly = params.self_signed(&costly).expect("a certificate");
        let key = KeyPair::generate().expect("a key");
        let ours = CertificateParams::new(vec![hostile::RELAY.to_owned()])
            .and_then(|params| params.signed_by(&key, &issuer))
            .expect("a certificate");
        let file = |name: &str, text: String| {
            let file = folder.path().join(name);
            fs::write(&file, text).expect("a file");
            file
        };
        let context = TlsContext::load(
            &file("relay.pem", ours.pem()),
            &file("relay.key", key.serialize_pem()),
            Some(&file("ca.pem", ca.pem() + &costly.pem())),
            &[],
        )
        .expect("all fits together");
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).expect("PEM"))
            .expect("an authority");
        let private = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).expect("PEM");
        let signing = rustls::crypto::ring::sign::any_supported_type(&private).expect("a key");
        let chain = vec![CertificateDer::from_pem_slice(ours.pem().as_bytes()).expect("PEM")];
        Self {
            context,
            issuer,
            roots: Arc::new(roots),
            server: Arc::new(CertifiedKey::new(chain, signing)),
        }
    }
}

/// Spent by us on a connection that we accept.
fn accepted(world: &World, case: &Case) -> Duration {
    let config = case.client(&world.roots);
    if case.resumes {
        // The ticket comes by a handshake that is not counted.
        let mut other = hostile::client(&config);
        let mut ours = world.context.server();
        spend(world, &mut ours, &mut other, Hello::Whole);
    }
    let mut other = hostile::client(&config);
    let mut clock = Clock::default();
    let mut ours = clock.run(|| world.context.server());
    clock.spent + spend(world, &mut ours, &mut other, case.hello)
}

/// Spent by us on a connection that we dial.
fn dialled(world: &World, case: &Case) -> Duration {
    let config = case.server(&world.server);
    let mut other = ServerConnection::new(config).expect("a server").into();
    let mut clock = Clock::default();
    let mut ours = clock.run(|| {
        let verify = if case.unverified {
            ClientVerify::Unverified
        } else {
            ClientVerify::Full
        };
        world
            .context
            .client(hostile::RELAY, verify)
            .expect("a name")
    });
    clock.spent + spend(world, &mut ours, &mut other, Hello::Whole)
}

/// Moves octets until both have nothing to say; what our side spent, its judgement included.
fn spend(
    world: &World,
    ours: &mut TlsSession,
    other: &mut rustls::Connection,
    hello: Hello,
) -> Duration {
    let mut clock = Clock::default();
    let mut out = Vec::new();
    clock.run(|| ours.start(&mut out).expect("a hello"));
    let mut first = true;
    loop {
        let mut input = Vec::new();
        if !out.is_empty() {
            let mut octets = std::mem::take(&mut out);
            let mut rest = octets.as_mut_slice() as &[u8];
            while !rest.is_empty() {
                if other.read_tls(&mut rest).is_err() || other.process_new_packets().is_err() {
                    break;
                }
            }
            octets.clear();
        }
        while other.wants_write() {
            other.write_tls(&mut input).expect("into memory");
        }
        if input.is_empty() {
            return clock.spent;
        }
        if std::mem::take(&mut first) {
            input = hello.spell(input);
        }
        for piece in input.chunks_mut(hello.read()) {
            let ended = clock.run(|| match ours.read(piece, &mut |_| {}, &mut out) {
                Ok(outcome) => {
                    if outcome.handshake_done_now {
                        std::hint::black_box(ours.verified_names(&world.context));
                    }
                    false
                }
                Err(_) => true,
            });
            if ended {
                return clock.spent;
            }
        }
    }
}

/// CPU time of this thread while it runs.
#[derive(Default)]
struct Clock {
    spent: Duration,
}

impl Clock {
    fn run<T>(&mut self, run: impl FnOnce() -> T) -> T {
        let began = now();
        let result = run();
        self.spent += now().saturating_sub(began);
        result
    }
}

fn now() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
