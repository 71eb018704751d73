//! Chains that cost, and certificates that no name may come from: the handshake goes on, in both
//! versions and both ways round, and nobody is made a relay.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{PublicKeyData, SigningKey as _};
use rustls::client::ResolvesClientCert;
use rustls::pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, PrivateKeyDer,
    SignatureVerificationAlgorithm, UnixTime,
};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{Signer, SigningKey};
use rustls::{ServerConnection, SignatureAlgorithm, SignatureScheme, SupportedProtocolVersion};

use super::chain::Disbelief;
use super::der::{self, Template};
use super::*;

const AUTHORITY: &str = "authority of relays";
const RELAY: &str = "relay.example";

/// An authority whose name and key make certificates octet by octet.
fn authority() -> Authority {
    Authority::named(AUTHORITY)
}

fn key_of(key: &KeyPair) -> Vec<u8> {
    key.subject_public_key_info()
}

impl Authority {
    fn sign(&self, template: &Template) -> Vec<u8> {
        template.signed(|tbs| self.issuer.key().sign(tbs).unwrap())
    }
}

/// A relay's leaf with this key.
fn leaf(key: Vec<u8>) -> Template {
    let mut leaf = Template::new(AUTHORITY, RELAY, key);
    leaf.extensions.push(der::dns_names(&[RELAY]));
    leaf
}

fn sub_ca(issuer: &str, subject: &str) -> Template {
    let key = KeyPair::generate().unwrap();
    let mut template = Template::new(issuer, subject, key_of(&key));
    template.extensions.push(der::authority());
    template
}

/// Shows a chain and signs with octets of its own or with a key.
#[derive(Clone, Debug)]
struct Shows(Arc<CertifiedKey>);

impl Shows {
    fn new(chain: Vec<Vec<u8>>, signer: Arc<dyn SigningKey>) -> Self {
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        Self(Arc::new(CertifiedKey::new(chain, signer)))
    }
}

impl ResolvesClientCert for Shows {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Shows {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// Signs with octets that are nobody's signature, in a scheme of its choice.
#[derive(Clone, Debug)]
struct Junk(SignatureScheme);

impl SigningKey for Junk {
    fn choose_scheme(&self, _: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        Some(Box::new(self.clone()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.0 {
            SignatureScheme::RSA_PSS_SHA256 | SignatureScheme::RSA_PKCS1_SHA256 => {
                SignatureAlgorithm::RSA
            }
            _ => SignatureAlgorithm::ECDSA,
        }
    }
}

impl Signer for Junk {
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        Ok(vec![0x30; 128])
    }

    fn scheme(&self) -> SignatureScheme {
        self.0
    }
}

fn signer(key: &KeyPair) -> Arc<dyn SigningKey> {
    let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    rustls::crypto::ring::sign::any_supported_type(&private).unwrap()
}

/// What a socket is read for at once during a handshake.
const READ: usize = 16_384;

static TLS12: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS12];
static TLS13: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
const VERSIONS: [&[&SupportedProtocolVersion]; 2] = [&TLS12, &TLS13];

/// A client that shows this, connected to `server`; its second connection too if it is let in.
fn shown_to(
    server: &TlsContext,
    shows: &Shows,
    versions: &'static [&'static SupportedProtocolVersion],
) -> [Result<Link, TlsError>; 2] {
    let any = Arc::new(verify::AnyCertificate(nobodys()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(any)
        .with_client_cert_resolver(Arc::new(shows.clone()));
    let config = Arc::new(config);
    [(), ()].map(|()| {
        let name = ServerName::try_from(RELAY).unwrap();
        let verify = ClientVerify::Unverified;
        let client = TlsSession::client(config.clone(), name, nobodys(), verify).unwrap();
        let mut link = Link::new(client, server.server());
        link.handshake(READ).map(|()| link)
    })
}

/// Our session with a server that shows this.
fn dialled(
    client: &TlsContext,
    verify: ClientVerify,
    shows: &Shows,
    versions: &'static [&'static SupportedProtocolVersion],
) -> Result<TlsSession, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(shows.clone()));
    let mut server = ServerConnection::new(Arc::new(config)).unwrap();
    let mut session = client.client(RELAY, verify).unwrap();
    let mut out = Vec::new();
    session.start(&mut out)?;
    loop {
        let mut rest = std::mem::take(&mut out);
        let mut rest = rest.as_mut_slice() as &[u8];
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            if server.process_new_packets().is_err() {
                break;
            }
        }
        let mut input = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut input).unwrap();
        }
        if input.is_empty() {
            return Ok(session);
        }
        for piece in input.chunks_mut(READ) {
            session.read(piece, &mut |_| {}, &mut out)?;
        }
    }
}

/// Certificates that give no name although the authority of relays has signed them, with the
/// scheme in which their owner signs the handshake.
fn odd(authority: &Authority) -> Vec<(&'static str, Shows)> {
    use SignatureScheme as Scheme;
    let key = KeyPair::generate().unwrap();
    let ordinary = key_of(&key);
    let junk = |scheme| Arc::new(Junk(scheme)) as Arc<dyn SigningKey>;
    let mut v1 = leaf(ordinary.clone());
    v1.v3 = false;
    let mut critical = leaf(ordinary);
    critical
        .extensions
        .push(der::extension(&[0x2a, 3, 4], true, &[5, 0]));
    let p521 = der::curve_key(der::P521, &[&[4], &[1; 132][..]].concat());
    let secp256k1 = der::curve_key(der::SECP256K1, &[&[4], &[1; 64][..]].concat());
    let rsa = |bits, exponent: &[u8]| leaf(der::rsa_key(bits, exponent));
    let usual: &[u8] = &[1, 0, 1];
    [
        ("X.509 v1", v1, signer(&key)),
        ("an unknown critical extension", critical, signer(&key)),
        (
            "RSA of 1024 bits",
            rsa(1024, usual),
            junk(Scheme::RSA_PSS_SHA256),
        ),
        (
            "RSA of 2040 bits",
            rsa(2040, usual),
            junk(Scheme::RSA_PSS_SHA256),
        ),
        (
            "an exponent of 33 bits",
            rsa(2048, &[1, 0, 0, 0, 1]),
            junk(Scheme::RSA_PSS_SHA256),
        ),
        ("P-521", leaf(p521), junk(Scheme::ECDSA_NISTP521_SHA512)),
        (
            "secp256k1",
            leaf(secp256k1),
            junk(Scheme::ECDSA_NISTP256_SHA256),
        ),
        (
            "Ed448",
            leaf(der::sequence(&[
                der::sequence(&[der::oid(&[0x2b, 101, 113])]),
                vec![3, 2, 0, 7],
            ])),
            junk(Scheme::ED448),
        ),
    ]
    .into_iter()
    .map(|(name, template, signer)| (name, Shows::new(vec![authority.sign(&template)], signer)))
    .chain([
        (
            "no certificate at all",
            Shows::new(vec![vec![0x30, 0]], signer(&key)),
        ),
        ("empty octets", Shows::new(vec![vec![0]], signer(&key))),
    ])
    .collect()
}

/// TLS-06, D-22: an odd certificate makes a client without a name, and no failure; signed by the authority of relays
/// it gives no rights either, resumed or not.
#[test]
fn tls_06_odd_certificate_makes_a_client_and_no_relay() {
    let authority = authority();
    let server = authority.context(&[RELAY]);
    for (name, shows) in odd(&authority) {
        for versions in VERSIONS {
            for link in shown_to(&server, &shows, versions) {
                let link = link.unwrap_or_else(|error| panic!("{name}: {error}"));
                assert!(link.server.is_established(), "{name}");
                assert_eq!(link.server.verified(&server), None, "{name}");
            }
        }
    }
}

/// D-25: the same on a last hop that need not be verified; TLS-08: where it must be, it is refused.
#[test]
fn d_25_odd_certificate_of_an_unverified_last_hop_is_accepted() {
    let authority = authority();
    let client = authority.context(&[RELAY]);
    for (name, shows) in odd(&authority) {
        for versions in VERSIONS {
            // For TLS 1.2 rustls knows no suite that a server could sign in this scheme for.
            if name == "Ed448" && versions == VERSIONS[0] {
                continue;
            }
            let session = dialled(&client, ClientVerify::Unverified, &shows, versions);
            let session = session.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(session.is_established(), "{name}");
            assert_eq!(session.verified(&client), None, "{name}");
            let refused = dialled(&client, ClientVerify::Full, &shows, versions);
            assert!(
                matches!(refused, Err(TlsError::Certificate(_))),
                "{name}: {:?}",
                refused.map(|_| ())
            );
        }
    }
}

/// TLS-07: who shows a relay's certificate and has not its key is refused, in both versions, whatever kind of key it is.
#[test]
fn tls_07_certificate_of_a_relay_without_its_key_ends_the_handshake() {
    let authority = authority();
    let server = authority.context(&[RELAY]);
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let p256 = KeyPair::generate().unwrap();
    let rsa = der::rsa_key(2048, &[1, 0, 1]);
    let large = der::rsa_key(8192, &[1, 0, 1]);
    use SignatureScheme as Scheme;
    for (key, scheme) in [
        (key_of(&p256), Scheme::ECDSA_NISTP256_SHA256),
        (key_of(&p384), Scheme::ECDSA_NISTP384_SHA384),
        (rsa, Scheme::RSA_PSS_SHA256),
        (large, Scheme::RSA_PSS_SHA256),
    ] {
        let shows = Shows::new(vec![authority.sign(&leaf(key))], Arc::new(Junk(scheme)));
        for versions in VERSIONS {
            let [first, second] = shown_to(&server, &shows, versions);
            assert!(first.is_err() && second.is_err(), "{scheme:?}");
        }
    }
    // With its key, each of them is a relay.
    for key in [&p256, &p384] {
        let shows = Shows::new(vec![authority.sign(&leaf(key_of(key)))], signer(key));
        for versions in VERSIONS {
            for (resumed, link) in shown_to(&server, &shows, versions).into_iter().enumerate() {
                let link = link.unwrap();
                assert_eq!(link.server.is_resumed(), resumed == 1);
                let names = link.server.verified_names(&server);
                assert_eq!(names, Some(vec![RELAY.to_owned()]));
            }
        }
    }
}

/// A key that costs little is asked for although nobody vouches for it (RFC 8446 §4.4.3).
#[test]
fn tls_06_wrong_signature_of_a_stranger_ends_the_handshake() {
    let authority = authority();
    let server = authority.context(&[RELAY]);
    let key = KeyPair::generate().unwrap();
    let shows = Shows::new(
        vec![leaf(key_of(&key)).junk()],
        Arc::new(Junk(SignatureScheme::ECDSA_NISTP256_SHA256)),
    );
    for versions in VERSIONS {
        assert!(shown_to(&server, &shows, versions)[0].is_err());
    }
}

/// TLS-14: a session resumed by a ticket of somebody who had proved nothing does not become a relay's when its certificate
/// becomes valid: nobody has asked for its key.
#[test]
fn tls_14_ticket_of_a_stranger_gives_no_name_later() {
    use rustls::server::ProducesTickets;
    use verify::{Seen, Tickets, Witness};
    let tickets = Tickets(ticketer().unwrap());
    let sealed = |seen, ticket| {
        let mut witness = Witness { seen, ticket };
        witness.attend(|| tickets.encrypt(b"session")).unwrap()
    };
    let opened = |sealed: &[u8]| {
        // Whatever an earlier ticket of the same hello said.
        let mut witness = Witness {
            seen: Seen::Nothing,
            ticket: true,
        };
        let plain = witness.attend(|| tickets.decrypt(sealed));
        (plain, witness.ticket)
    };
    let session = Some(b"session".to_vec());
    for (seen, ticket, verified) in [
        (Seen::Verified, false, true),
        (Seen::Stranger, true, false),
        (Seen::Ignored, true, false),
        (Seen::Nothing, true, true),
        (Seen::Nothing, false, false),
    ] {
        assert_eq!(opened(&sealed(seen, ticket)), (session.clone(), verified));
    }
    assert_eq!(opened(b"not a ticket"), (None, false));
    let mut changed = sealed(Seen::Stranger, false);
    *changed.last_mut().unwrap() ^= 1;
    assert_eq!(opened(&changed), (None, false));
}

thread_local! {
    static SIGNATURES: Cell<usize> = const { Cell::new(0) };
}

/// Counts what it is asked for by this thread and lets another one do it.
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

/// What the authority's verification says of a chain, and how many signatures it checked.
fn counted(
    authority: &Authority,
    limits: ChainLimits,
    chain: &[Vec<u8>],
) -> (Result<Verified, Disbelief>, usize) {
    let mut provider = rustls::crypto::ring::default_provider();
    let counting: Vec<&'static dyn SignatureVerificationAlgorithm> = provider
        .signature_verification_algorithms
        .all
        .iter()
        .map(|algorithm| {
            &*Box::leak(Box::new(Counting(*algorithm))) as &dyn SignatureVerificationAlgorithm
        })
        .collect();
    provider.signature_verification_algorithms.all = Vec::leak(counting);
    let roots = load::read_roots(Some(&authority.ca())).unwrap();
    let belief = Belief::new(roots, limits, &provider);
    let chain: Vec<CertificateDer<'_>> = chain.iter().map(|der| der.as_slice().into()).collect();
    SIGNATURES.set(0);
    (belief.judge(&chain, UnixTime::now()), SIGNATURES.get())
}

/// A leaf below so many authorities, each signed by the one above, leaf first.
fn genuine(authority: &Authority, between: usize) -> Vec<Vec<u8>> {
    let mut chain = Vec::new();
    let mut above: Option<KeyPair> = None;
    let mut name = AUTHORITY.to_owned();
    let sign = |above: &Option<KeyPair>, template: &Template| match above {
        Some(key) => template.signed(|tbs| key.sign(tbs).unwrap()),
        None => authority.sign(template),
    };
    for step in 0..between {
        let key = KeyPair::generate().unwrap();
        let subject = format!("between {step}");
        let mut template = Template::new(&name, &subject, key_of(&key));
        template.extensions.push(der::authority());
        chain.insert(0, sign(&above, &template));
        (above, name) = (Some(key), subject);
    }
    let mut leaf = leaf(key_of(&KeyPair::generate().unwrap()));
    leaf.issuer = der::name(&name);
    chain.insert(0, sign(&above, &leaf));
    chain
}

/// TLS-06: as many signatures are checked as the path of a genuine chain has certificates, and one of a chain that is none,
/// however its names are made to fit.
#[test]
fn tls_06_a_chain_costs_a_bounded_number_of_signatures() {
    let authority = authority();
    let limits = ChainLimits::default();
    for between in 0..=5 {
        let chain = genuine(&authority, between);
        let (judged, signatures) = counted(&authority, limits, &chain);
        assert!(judged.is_ok(), "{between}: {judged:?}");
        assert_eq!(signatures, between + 1);
    }
    let key = key_of(&KeyPair::generate().unwrap());
    let issued_by = |issuer: &str| {
        let mut leaf = leaf(key.clone());
        leaf.issuer = der::name(issuer);
        leaf.junk()
    };
    let many = |issuer: &str, count: usize| -> Vec<Vec<u8>> {
        let others = (0..count).map(|_| sub_ca(issuer, issuer).junk());
        std::iter::once(issued_by(issuer)).chain(others).collect()
    };
    let ladder = |top: &str| -> Vec<Vec<u8>> {
        let names = ["X0", "X1", "X2", "X3", "X4", top];
        let others = names.windows(2).map(|pair| sub_ca(pair[1], pair[0]).junk());
        std::iter::once(issued_by("X0")).chain(others).collect()
    };
    for (chain, signatures) in [
        (many("X", 5), 0),
        (many(AUTHORITY, 5), 1),
        (ladder("X5"), 0),
        (ladder(AUTHORITY), 1),
        // Two that issue one another.
        (
            vec![
                issued_by("A"),
                sub_ca("B", "A").junk(),
                sub_ca("A", "B").junk(),
            ],
            0,
        ),
        (vec![issued_by(RELAY), issued_by(RELAY)], 0),
    ] {
        let (judged, checked) = counted(&authority, limits, &chain);
        assert!(judged.is_err(), "{judged:?}");
        assert_eq!(checked, signatures, "{judged:?}");
    }
}

/// TLS-06: authorities between with keys that cost much to check are few, or nothing is checked.
#[test]
fn tls_06_a_chain_has_few_costly_keys() {
    let authority = authority();
    let key = || key_of(&KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap());
    for (costly, believable) in [(1, true), (2, true), (3, false), (5, false)] {
        let mut leaf = leaf(key());
        leaf.issuer = der::name("between 0");
        let mut chain = vec![leaf.junk()];
        for step in 0..costly {
            let issuer = match step + 1 == costly {
                true => AUTHORITY.to_owned(),
                false => format!("between {}", step + 1),
            };
            let mut template = Template::new(&issuer, &format!("between {step}"), key());
            template.extensions.push(der::authority());
            chain.push(template.junk());
        }
        let (judged, signatures) = counted(&authority, ChainLimits::default(), &chain);
        assert_eq!(judged == Err(Disbelief::Costly), !believable, "{judged:?}");
        assert_eq!(signatures, usize::from(believable), "{costly}: {judged:?}");
    }
}

/// A chain beyond a limit is not looked at, one at the limit is; the handshake goes on without a name.
#[test]
fn tls_06_a_chain_beyond_the_limits_proves_nothing() {
    let authority = authority();
    let chain = genuine(&authority, 2);
    let octets: usize = chain.iter().map(Vec::len).sum();
    let at = |certificates, octets| ChainLimits {
        certificates,
        octets,
    };
    assert!(counted(&authority, at(3, octets), &chain).0.is_ok());
    for limits in [at(2, octets), at(3, octets - 1)] {
        let (judged, signatures) = counted(&authority, limits, &chain);
        assert_eq!(
            judged,
            Err(Disbelief::TooLong {
                certificates: 3,
                octets
            })
        );
        assert_eq!(signatures, 0);
    }
    let server = authority.context(&[RELAY]);
    let client = authority.context(&[RELAY]);
    let key = KeyPair::generate().unwrap();
    let mut chain = vec![authority.sign(&leaf(key_of(&key)))];
    chain.extend((0..6).map(|_| sub_ca("X", "X").junk()));
    let shows = Shows::new(chain, signer(&key));
    for versions in VERSIONS {
        for link in shown_to(&server, &shows, versions) {
            assert_eq!(link.unwrap().server.verified(&server), None);
        }
        let session = dialled(&client, ClientVerify::Unverified, &shows, versions).unwrap();
        assert_eq!(session.verified(&client), None);
        match dialled(&client, ClientVerify::Full, &shows, versions).map(|_| ()) {
            Err(TlsError::Certificate(why)) => assert!(why.contains("limits.chain"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

/// No message of a handshake is longer than a chain may be, however it is cut.
#[test]
fn tls_06_handshake_message_beyond_the_limit_is_not_waited_for() {
    let authority = authority();
    let server = authority.context(&[RELAY]);
    let key = KeyPair::generate().unwrap();
    let chain = vec![leaf(key_of(&key)).junk(), vec![0x30; 40_000]];
    let shows = Shows::new(chain, signer(&key));
    for versions in VERSIONS {
        let [first, _] = shown_to(&server, &shows, versions);
        assert_eq!(first.map(|_| ()), Err(TlsError::HandshakeTooLong));
        let refused = dialled(&server, ClientVerify::Unverified, &shows, versions);
        assert_eq!(refused.map(|_| ()), Err(TlsError::HandshakeTooLong));
    }
}

/// A handshake may come in small records, as RFC 6066 §4 has it, and not in crumbs.
#[test]
fn tls_06_handshake_in_crumbs_is_refused() {
    let authority = authority();
    let server = authority.context(&[RELAY]);
    let mut hello = Vec::new();
    let mut client = server.client(RELAY, ClientVerify::Full).unwrap();
    client.start(&mut hello).unwrap();
    let records: Vec<u8> = hello[5..]
        .iter()
        .flat_map(|octet| [22, 3, 1, 0, 1, *octet])
        .collect();
    let begins = [22, 3, 1, 0, 4, 1, 0, 0x40, 0];
    let crumbs = [&begins[..], &[22, 3, 1, 0, 1, 0].repeat(512)].concat();
    for cut in [1, 100, READ] {
        let feed = |octets: &[u8]| {
            let mut session = server.server();
            let mut octets = octets.to_vec();
            octets.chunks_mut(cut).try_for_each(|piece| {
                session
                    .read(piece, &mut |_| {}, &mut Vec::new())
                    .map(|_| ())
            })
        };
        assert_eq!(feed(&records), Ok(()), "{cut}");
        assert_eq!(feed(&crumbs), Err(TlsError::HandshakeTooLong), "{cut}");
    }
}

/// TLS-14: a resumption verifies no chain again; other authorities do.
#[test]
fn tls_14_verdict_is_kept_with_the_session() {
    static CHECKED: AtomicUsize = AtomicUsize::new(0);
    #[derive(Debug)]
    struct Shared(&'static dyn SignatureVerificationAlgorithm);
    impl SignatureVerificationAlgorithm for Shared {
        fn verify_signature(
            &self,
            key: &[u8],
            message: &[u8],
            signature: &[u8],
        ) -> Result<(), InvalidSignature> {
            CHECKED.fetch_add(1, Ordering::Relaxed);
            self.0.verify_signature(key, message, signature)
        }

        fn public_key_alg_id(&self) -> AlgorithmIdentifier {
            self.0.public_key_alg_id()
        }

        fn signature_alg_id(&self) -> AlgorithmIdentifier {
            self.0.signature_alg_id()
        }
    }
    let authority = authority();
    let server = authority.context(&[RELAY]);
    let key = KeyPair::generate().unwrap();
    let shows = Shows::new(vec![authority.sign(&leaf(key_of(&key)))], signer(&key));
    for versions in VERSIONS {
        let [first, second] = shown_to(&server, &shows, versions).map(Result::unwrap);
        assert!(!first.server.is_resumed() && second.server.is_resumed());
        assert!(first.server.verified(&server).is_some());
        // Whether it was verified stands in the ticket; a verification would find no authority.
        assert!(second.server.verified(&server).is_some());
        let mut provider = rustls::crypto::ring::default_provider();
        let all = provider.signature_verification_algorithms.all.iter();
        let shared =
            all.map(|it| &*Box::leak(Box::new(Shared(*it))) as &dyn SignatureVerificationAlgorithm);
        provider.signature_verification_algorithms.all = Vec::leak(shared.collect());
        let roots = load::read_roots(Some(&authority.ca())).unwrap();
        let other = Belief::new(roots, ChainLimits::default(), &provider);
        let chain: Vec<CertificateDer<'_>> = shows.0.cert.clone();
        CHECKED.store(0, Ordering::Relaxed);
        other.judge_again(&chain, UnixTime::now()).unwrap();
        assert_eq!(CHECKED.load(Ordering::Relaxed), 0);
        other.judge(&chain, UnixTime::now()).unwrap();
        assert_eq!(CHECKED.load(Ordering::Relaxed), 1);
        // Authorities that never signed it.
        let others = Authority::named("another").context(&[RELAY]);
        assert_eq!(second.server.verified(&others), None);
    }
}

/// How long it is believed: until the first certificate of its path ends, whatever else was sent.
#[test]
fn tls_07_a_chain_is_believed_until_its_first_end() {
    let authority = authority();
    let above = KeyPair::generate().unwrap();
    let mut between = Template::new(AUTHORITY, "between", key_of(&above));
    between.extensions.push(der::authority());
    between.not_after = "20480101000000Z";
    let mut leaf = leaf(key_of(&KeyPair::generate().unwrap()));
    leaf.issuer = der::name("between");
    let mut unused = sub_ca("X", "Y");
    unused.not_after = "20210101000000Z";
    let chain = [
        leaf.signed(|tbs| above.sign(tbs).unwrap()),
        unused.junk(),
        authority.sign(&between),
    ];
    let (judged, _) = counted(&authority, ChainLimits::default(), &chain);
    let end = UnixTime::since_unix_epoch(std::time::Duration::from_secs(2_461_449_600));
    assert_eq!(judged.unwrap().not_after, end);
}
