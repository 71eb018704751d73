//! A chain as the other side of a handshake may show it, of certificates that an authority has signed, changed octets of them, and
//! octets of the input: as many signatures are checked as it has certificates at most, and only a chain that begins with a relay's
//! own certificate, unchanged, gives names.
//!
//! Each item: an octet that chooses the certificate (0 to 15), or takes the next octets as they are (16 and above, two octets of
//! length). With 128 added, the two octets that follow say which octet is changed, the next one how.
#![no_main]

#[path = "../../tests/der/mod.rs"]
mod der;

use std::cell::Cell;
use std::sync::LazyLock;
use std::time::Duration;

use der::Template;
use libfuzzer_sys::fuzz_target;
use msrpd::net::tls::{Belief, ChainLimits};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, PublicKeyData, SigningKey,
};
use rustls::RootCertStore;
use rustls::pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm, UnixTime,
};

const AUTHORITY: &str = "authority";
const RELAY: &str = "relay.example";
/// In the certificates' time.
const NOW: Duration = Duration::from_secs(1_800_000_000);

thread_local! {
    static SIGNATURES: Cell<usize> = const { Cell::new(0) };
}

#[derive(Debug)]
struct Counting(&'static dyn SignatureVerificationAlgorithm);

impl SignatureVerificationAlgorithm for Counting {
    fn verify_signature(
        &self,
        key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        SIGNATURES.set(SIGNATURES.get() + 1);
        self.0.verify_signature(key, message, signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.0.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.0.signature_alg_id()
    }
}

struct Scene {
    belief: Belief,
    certificates: Vec<Vec<u8>>,
    /// Leaves that give names if their chain holds.
    relays: Vec<Vec<u8>>,
}

static SCENE: LazyLock<Scene> = LazyLock::new(|| {
    let key = || KeyPair::generate().expect("a key");
    let authority = key();
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.distinguished_name.remove(DnType::CommonName);
    params
        .distinguished_name
        .push(DnType::CommonName, AUTHORITY);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = params.self_signed(&authority).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(root.der().clone()).expect("an authority");

    let mut provider = rustls::crypto::ring::default_provider();
    let all = provider.signature_verification_algorithms.all.iter();
    let counting =
        all.map(|it| &*Box::leak(Box::new(Counting(*it))) as &dyn SignatureVerificationAlgorithm);
    provider.signature_verification_algorithms.all = Vec::leak(counting.collect());
    let belief = Belief::new(roots, ChainLimits::default(), &provider);

    let signed = |template: &Template, by: &KeyPair| {
        template.signed(|tbs| by.sign(tbs).expect("a signature"))
    };
    let ca = |issuer: &str, subject: &str, key: &KeyPair| {
        let mut template = Template::new(issuer, subject, key.subject_public_key_info());
        template.extensions.push(der::authority());
        template
    };
    let leaf = |issuer: &str, key: Vec<u8>| {
        let mut template = Template::new(issuer, RELAY, key);
        template.extensions.push(der::dns_names(&[RELAY]));
        template
    };
    let own = || key().subject_public_key_info();
    let (one, two, three) = (key(), key(), key());
    let relays = vec![
        signed(&leaf(AUTHORITY, own()), &authority),
        signed(&leaf("one", own()), &one),
        signed(&leaf("two", own()), &two),
        signed(&leaf("X", own()), &three),
    ];
    let mut v1 = leaf(AUTHORITY, own());
    v1.v3 = false;
    let mut critical = leaf(AUTHORITY, own());
    critical
        .extensions
        .push(der::extension(&[0x2a, 3, 4], true, &[5, 0]));
    let mut ended = leaf(AUTHORITY, own());
    ended.not_after = "20210101000000Z";
    let mut certificates = relays.clone();
    certificates.extend([
        signed(&ca(AUTHORITY, "one", &one), &authority),
        signed(&ca("one", "two", &two), &one),
        signed(&ca(AUTHORITY, "X", &three), &authority),
        ca("X", "X", &key()).junk(),
        ca("X", "X", &key()).junk(),
        ca(AUTHORITY, AUTHORITY, &key()).junk(),
        signed(&leaf(AUTHORITY, der::rsa_key(1024, &[1, 0, 1])), &authority),
        signed(
            &leaf(AUTHORITY, der::curve_key(der::P521, &[4; 133])),
            &authority,
        ),
        signed(&v1, &authority),
        signed(&critical, &authority),
        signed(&ended, &authority),
        root.der().to_vec(),
    ]);
    Scene {
        belief,
        certificates,
        relays,
    }
});

fuzz_target!(|input: &[u8]| {
    let mut rest = input;
    let mut chain: Vec<Vec<u8>> = Vec::new();
    while let Some(certificate) = item(&mut rest) {
        chain.push(certificate);
        if chain.len() > 20 {
            break;
        }
    }
    let shown: Vec<CertificateDer<'_>> = chain.iter().map(|der| der.as_slice().into()).collect();
    SIGNATURES.set(0);
    let judged = SCENE.belief.judge(&shown, UnixTime::since_unix_epoch(NOW));
    let signatures = SIGNATURES.get();
    assert!(signatures <= chain.len(), "{signatures}");
    if judged.is_err() {
        return;
    }
    let verified = judged.expect("it is none");
    assert!(chain.len() <= ChainLimits::default().certificates);
    assert!(SCENE.relays.contains(&chain[0]), "names of a stranger");
    assert_eq!(verified.names, [RELAY]);
    assert!(verified.not_after.as_secs() > NOW.as_secs());
    SIGNATURES.set(0);
    let again = SCENE
        .belief
        .judge_again(&shown, UnixTime::since_unix_epoch(NOW));
    assert_eq!((again, SIGNATURES.get()), (Ok(verified), 0));
});

fn item(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let (kind, mut behind) = rest.split_first()?;
    let which = usize::from(kind & 0x7f);
    let mut certificate = match SCENE.certificates.get(which) {
        Some(certificate) => certificate.clone(),
        None => {
            let (length, octets) = behind.split_at_checked(2)?;
            let length = usize::from(u16::from_be_bytes([length[0], length[1]])).min(octets.len());
            let (octets, after) = octets.split_at(length);
            behind = after;
            octets.to_vec()
        }
    };
    if kind & 0x80 != 0 {
        let (change, after) = behind.split_at_checked(3)?;
        let at = usize::from(u16::from_be_bytes([change[0], change[1]]));
        behind = after;
        if let Some(octet) = certificate.get_mut(at) {
            *octet ^= change[2];
        }
    }
    *rest = behind;
    Some(certificate)
}
