//! The other sides: an honest one, and all that one without a right can send.

use std::fmt;
use std::sync::Arc;

use rcgen::{Issuer, KeyPair, PublicKeyData, SigningKey as _};
use rustls::client::ResolvesClientCert;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, SignatureAlgorithm,
    SignatureScheme,
};

use crate::der::{self, Template};

pub const AUTHORITY: &str = "authority";
pub const COSTLY: &str = "authority with a P-384 key";
pub const RELAY: &str = "relay.example";

/// One other side.
#[derive(Clone)]
pub struct Case {
    pub name: &'static str,
    pub identity: Option<Arc<CertifiedKey>>,
    pub hello: Hello,
    pub resumes: bool,
    pub unverified: bool,
    pub tls12: bool,
    /// Key exchange groups, the one that a share is sent for first.
    pub groups: Vec<&'static dyn rustls::crypto::SupportedKxGroup>,
    /// An authority of ours vouches for it, or has a key that costs much: no bound holds.
    pub vouched: bool,
    pub fragment: Option<usize>,
}

/// How the first flight is cut.
#[derive(Clone, Copy, PartialEq)]
pub enum Hello {
    Whole,
    /// In records of two octets, all at once.
    Records,
    /// In records of two octets, each read alone.
    Reads,
    /// A hello that goes on for as long as it may, in records of one octet.
    Crumbs,
    /// A hello that goes on for as long as it may, in records of 100 octets.
    Endless,
}

impl Hello {
    /// What is read at once: as much as the relay reads during a handshake, or a record.
    pub fn read(self) -> usize {
        match self {
            Self::Reads => 7,
            _ => 16_384,
        }
    }

    pub fn spell(self, octets: Vec<u8>) -> Vec<u8> {
        let endless = || [&[1, 0, 0xff, 0xfb], &[0; 0xfffb][..]].concat();
        let (body, record) = match self {
            Self::Whole => return octets,
            Self::Records | Self::Reads => (octets[5..].to_vec(), 2),
            Self::Crumbs => (endless(), 1),
            Self::Endless => (endless(), 100),
        };
        body.chunks(record)
            .flat_map(|part| [&[22, 3, 1, 0, part.len() as u8], part].concat())
            .collect()
    }
}

impl Case {
    fn new(name: &'static str, identity: Option<&Arc<CertifiedKey>>) -> Self {
        Self {
            name,
            identity: identity.cloned(),
            hello: Hello::Whole,
            resumes: false,
            unverified: false,
            tls12: false,
            groups: Vec::new(),
            vouched: false,
            fragment: None,
        }
    }

    pub fn octets(&self) -> usize {
        let chain = self.identity.iter().flat_map(|identity| &identity.cert);
        chain.map(|certificate| certificate.len()).sum()
    }

    fn provider(&self) -> Arc<rustls::crypto::CryptoProvider> {
        let mut provider = ring::default_provider();
        if !self.groups.is_empty() {
            provider.kx_groups.clone_from(&self.groups);
        }
        Arc::new(provider)
    }

    fn versions(&self) -> &'static [&'static rustls::SupportedProtocolVersion] {
        static OLD: [&rustls::SupportedProtocolVersion; 1] = [&rustls::version::TLS12];
        static NEW: [&rustls::SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
        if self.tls12 { &OLD } else { &NEW }
    }

    pub fn client(&self, roots: &Arc<RootCertStore>) -> Arc<ClientConfig> {
        let mut config = ClientConfig::builder_with_provider(self.provider())
            .with_protocol_versions(self.versions())
            .expect("versions")
            .with_root_certificates(roots.clone())
            .with_client_cert_resolver(Arc::new(Shows(self.identity.clone())));
        config.max_fragment_size = self.fragment;
        Arc::new(config)
    }

    pub fn server(&self, honest: &Arc<CertifiedKey>) -> Arc<ServerConfig> {
        let shown = self.identity.clone().unwrap_or_else(|| honest.clone());
        let mut config = ServerConfig::builder_with_provider(self.provider())
            .with_protocol_versions(self.versions())
            .expect("versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Shows(Some(shown))));
        config.max_fragment_size = self.fragment;
        Arc::new(config)
    }
}

pub fn client(config: &Arc<ClientConfig>) -> rustls::Connection {
    let name = ServerName::try_from(RELAY).expect("a name");
    ClientConnection::new(config.clone(), name)
        .expect("a client")
        .into()
}

/// Shows this whatever it is asked for.
#[derive(Debug)]
struct Shows(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for Shows {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

impl ResolvesServerCert for Shows {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }
}

/// Signs with anything.
#[derive(Clone)]
struct Junk {
    scheme: SignatureScheme,
    octets: usize,
}

impl fmt::Debug for Junk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Junk")
    }
}

impl SigningKey for Junk {
    fn choose_scheme(&self, _: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        Some(Box::new(self.clone()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::RSA
    }
}

impl Signer for Junk {
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        Ok(vec![0x55; self.octets])
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

/// What they may show.
pub struct Chains {
    honest: Arc<CertifiedKey>,
    honest_two: Arc<CertifiedKey>,
    honest_p384: Arc<CertifiedKey>,
    alone_p384: Arc<CertifiedKey>,
    sub_cas: Arc<CertifiedKey>,
    sub_cas_junk: Arc<CertifiedKey>,
    sub_cas_extensions: Arc<CertifiedKey>,
    named_like_the_authority: Arc<CertifiedKey>,
    six_like_the_authority: Arc<CertifiedKey>,
    a_ladder: Arc<CertifiedKey>,
    own_ladder: Arc<CertifiedKey>,
    tiny: Arc<CertifiedKey>,
    large: Arc<CertifiedKey>,
    many_names: Arc<CertifiedKey>,
    rsa_4096: Arc<CertifiedKey>,
    rsa_8192: Arc<CertifiedKey>,
    rsa_8192_exponent: Arc<CertifiedKey>,
    named_costly: Arc<CertifiedKey>,
}

fn key_of(key: &KeyPair) -> Vec<u8> {
    key.subject_public_key_info()
}

fn signing(key: &KeyPair) -> Arc<dyn SigningKey> {
    let private = PrivateKeyDer::try_from(key.serialize_der()).expect("PKCS#8");
    ring::sign::any_supported_type(&private).expect("a key")
}

fn sub_ca(issuer: &str, subject: &str, serial: u32) -> Template {
    let key = KeyPair::generate().expect("a key");
    let mut template = Template::new(issuer, subject, key_of(&key));
    template.serial = serial;
    template.extensions.push(der::authority());
    template
}

impl Chains {
    pub fn new(issuer: &Issuer<'static, KeyPair>) -> Self {
        let key = KeyPair::generate().expect("a key");
        let sign = |tbs: &[u8]| issuer.key().sign(tbs).expect("a signature");
        let leaf = |issuer: &str| {
            let mut leaf = Template::new(issuer, RELAY, key_of(&key));
            leaf.extensions.push(der::dns_names(&[RELAY]));
            leaf
        };
        let shown = |chain: Vec<Vec<u8>>| {
            let chain = chain.into_iter().map(CertificateDer::from).collect();
            Arc::new(CertifiedKey::new(chain, signing(&key)))
        };
        let hostile = |issuer: &str, mut more: Vec<Vec<u8>>| {
            more.insert(0, leaf(issuer).junk());
            shown(more)
        };
        let twelve: Vec<Template> = (0..12).map(|serial| sub_ca("X", "X", serial)).collect();
        let junk = |count: usize| (0..count).map(|serial| sub_ca("Y", "Z", serial as u32).junk());
        let six = |name: &str, count: u32| -> Vec<Vec<u8>> {
            (0..count)
                .map(|serial| sub_ca(name, name, serial).junk())
                .collect()
        };
        let mut extended = twelve.clone();
        for template in &mut extended {
            for number in 0..250 {
                // Known extensions that nobody looks into: certificatePolicies is not critical.
                template.extensions.push(der::extension(
                    &[0x55, 0x1d, 100, number % 128],
                    false,
                    &[5, 0],
                ));
            }
        }
        // A key that signs for the next one, as somebody with a certificate for an authority could.
        let (two, five) = (
            own_chain(issuer, 1, &key, &rcgen::PKCS_ECDSA_P256_SHA256),
            own_chain(issuer, 5, &key, &rcgen::PKCS_ECDSA_P256_SHA256),
        );
        let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("a key");
        let alone = |template: Template, key: Arc<dyn SigningKey>| {
            Arc::new(CertifiedKey::new(
                vec![CertificateDer::from(template.junk())],
                key,
            ))
        };
        let rsa = |bits: usize, exponent: &[u8]| {
            let key = der::rsa_key(bits, exponent);
            let junk = Junk {
                scheme: SignatureScheme::RSA_PSS_SHA256,
                octets: bits / 8,
            };
            alone(Template::new("X", "rsa", key), Arc::new(junk))
        };
        let mut p384_leaf = Template::new(AUTHORITY, RELAY, key_of(&p384));
        p384_leaf.extensions.push(der::dns_names(&[RELAY]));
        let mut many_names = leaf(AUTHORITY);
        let names: Vec<String> = (0..1000)
            .map(|number| format!("n{number}.example"))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        many_names.extensions = vec![der::dns_names(&names)];
        let mut large = leaf("X");
        large
            .extensions
            .push(der::extension(&[0x55, 0x1d, 0x7f], false, &vec![0; 15_000]));
        Self {
            honest: shown(vec![leaf(AUTHORITY).signed(sign)]),
            honest_two: shown(two),
            own_ladder: shown(five),
            honest_p384: Arc::new(CertifiedKey::new(
                vec![CertificateDer::from(p384_leaf.signed(sign))],
                signing(&p384),
            )),
            alone_p384: alone(Template::new("X", "p384", key_of(&p384)), signing(&p384)),
            sub_cas: hostile("X", twelve.iter().map(Template::junk).collect()),
            sub_cas_junk: hostile(
                "X",
                twelve.iter().map(Template::junk).chain(junk(200)).collect(),
            ),
            sub_cas_extensions: hostile("X", extended.iter().map(Template::junk).collect()),
            named_like_the_authority: hostile(AUTHORITY, six(AUTHORITY, 12)),
            six_like_the_authority: hostile(AUTHORITY, six(AUTHORITY, 5)),
            a_ladder: hostile(
                "X0",
                (0..5)
                    .map(|step| sub_ca(&format!("X{}", step + 1), &format!("X{step}"), step).junk())
                    .collect(),
            ),
            tiny: shown(vec![vec![0x30]; 9000]),
            large: shown(vec![large.junk()]),
            many_names: shown(vec![many_names.signed(sign)]),
            named_costly: hostile(COSTLY, Vec::new()),
            rsa_4096: rsa(4096, &[1, 0, 1]),
            rsa_8192: rsa(8192, &[1, 0, 1]),
            rsa_8192_exponent: rsa(8192, &[1, 0xff, 0xff, 0xff, 0xff]),
        }
    }
}

/// A leaf for `key` below so many authorities, each signed by the one above.
fn own_chain(
    issuer: &Issuer<'static, KeyPair>,
    authorities: u32,
    key: &KeyPair,
    algorithm: &'static rcgen::SignatureAlgorithm,
) -> Vec<Vec<u8>> {
    let mut chain: Vec<Vec<u8>> = Vec::new();
    let mut above: Option<KeyPair> = None;
    let mut name = AUTHORITY.to_owned();
    for step in 0..authorities {
        let own = KeyPair::generate_for(algorithm).expect("a key");
        let subject = format!("A{step}");
        let mut template = Template::new(&name, &subject, key_of(&own));
        template.extensions.push(der::authority());
        chain.insert(
            0,
            template.signed(|tbs| sign_by(above.as_ref(), issuer, tbs)),
        );
        (above, name) = (Some(own), subject);
    }
    let mut leaf = Template::new(&name, RELAY, key_of(key));
    leaf.extensions.push(der::dns_names(&[RELAY]));
    chain.insert(0, leaf.signed(|tbs| sign_by(above.as_ref(), issuer, tbs)));
    chain
}

fn sign_by(key: Option<&KeyPair>, issuer: &Issuer<'static, KeyPair>, tbs: &[u8]) -> Vec<u8> {
    match key {
        Some(key) => key.sign(tbs),
        None => issuer.key().sign(tbs),
    }
    .expect("a signature")
}

/// The first one is plain.
pub fn accepted(chains: &Chains) -> Vec<Case> {
    let mut cases = vec![Case::new("no certificate", None)];
    let mut resumed = Case::new("no certificate, resumed", None);
    resumed.resumes = true;
    cases.push(resumed);
    cases.extend(common(chains));
    for (name, identity) in [
        ("a relay, resumed", &chains.honest),
        ("12 authorities X issued by X, resumed", &chains.sub_cas),
        (
            "5 authorities named like ours, resumed",
            &chains.six_like_the_authority,
        ),
    ] {
        let mut case = Case::new(name, Some(identity));
        case.resumes = true;
        cases.push(case);
    }
    for (name, hello) in [
        ("hello in records of two octets", Hello::Records),
        (
            "hello in records of two octets, read one by one",
            Hello::Reads,
        ),
        ("64 KiB of hello in records of one octet", Hello::Crumbs),
        ("64 KiB of hello in records of 100 octets", Hello::Endless),
    ] {
        let mut case = Case::new(name, None);
        case.hello = hello;
        cases.push(case);
    }
    for (name, groups) in [
        ("no certificate, secp384r1", vec![ring::kx_group::SECP384R1]),
        (
            "no certificate, asked for another share",
            vec![ring::kx_group::SECP384R1, ring::kx_group::SECP256R1],
        ),
    ] {
        let mut case = Case::new(name, None);
        case.groups = groups;
        cases.push(case);
    }
    cases
}

/// The first one is plain.
pub fn dialled(chains: &Chains) -> Vec<Case> {
    let mut cases = vec![Case::new("a relay", None)];
    cases.extend(common(chains));
    let unverified: Vec<Case> = common(chains)
        .into_iter()
        .map(|mut case| {
            case.unverified = true;
            case.name = Box::leak(format!("unverified: {}", case.name).into_boxed_str());
            case
        })
        .collect();
    cases.extend(unverified);
    cases
}

fn common(chains: &Chains) -> Vec<Case> {
    let mut cases: Vec<Case> = [
        ("a relay's certificate", &chains.honest, true),
        ("a relay's, one authority between", &chains.honest_two, true),
        ("a relay's, P-384", &chains.honest_p384, true),
        ("a relay's, 5 authorities between", &chains.own_ladder, true),
        ("a relay's, 1000 names", &chains.many_names, true),
        ("names an authority of P-384", &chains.named_costly, true),
        ("P-384 of nobody", &chains.alone_p384, false),
        ("12 authorities X issued by X", &chains.sub_cas, false),
        ("the same and 200 others", &chains.sub_cas_junk, false),
        (
            "the same with 250 extensions each",
            &chains.sub_cas_extensions,
            false,
        ),
        (
            "12 authorities named like ours",
            &chains.named_like_the_authority,
            false,
        ),
        (
            "5 authorities named like ours",
            &chains.six_like_the_authority,
            false,
        ),
        (
            "5 authorities, each issued by the next",
            &chains.a_ladder,
            false,
        ),
        ("9000 certificates of one octet", &chains.tiny, false),
        ("one of 15 KB", &chains.large, false),
        ("RSA of 4096 bits, wrong signature", &chains.rsa_4096, false),
        ("RSA of 8192 bits, wrong signature", &chains.rsa_8192, false),
        (
            "RSA of 8192 bits, exponent of 33",
            &chains.rsa_8192_exponent,
            false,
        ),
    ]
    .into_iter()
    .map(|(name, identity, vouched)| {
        let mut case = Case::new(name, Some(identity));
        case.vouched = vouched;
        case
    })
    .collect();
    for (name, fragment) in [
        ("one of 15 KB in records of 32 octets", 32),
        ("one of 15 KB in records of 100 octets", 100),
    ] {
        let mut cut = Case::new(name, Some(&chains.large));
        cut.fragment = Some(fragment);
        cases.push(cut);
    }
    for (name, identity) in [
        ("TLS 1.2, no certificate", None),
        (
            "TLS 1.2, 5 authorities named like ours",
            Some(&chains.six_like_the_authority),
        ),
    ] {
        let mut case = Case::new(name, identity);
        case.tls12 = true;
        cases.push(case);
    }
    cases
}
