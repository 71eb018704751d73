//! Certificates of the test world: an authority that the relay trusts, one that it does not, and
//! leaves with every fault that TLS-08 and TLS-09 name.

use std::sync::LazyLock;

use rcgen::{CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// The authority named in `tls.peer_ca` of every relay that the suite starts.
pub static TRUSTED: LazyLock<Authority> = LazyLock::new(|| Authority::new("Conformance CA"));

/// An authority that the relay has never heard of.
pub static STRANGER: LazyLock<Authority> = LazyLock::new(|| Authority::new("Unknown CA"));

pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// What a leaf of this authority shows beside itself: nothing for a root.
    above: Option<CertificateDer<'static>>,
}

/// A certificate with its key.
#[derive(Clone, Debug)]
pub struct Identity {
    pub chain: Vec<CertificateDer<'static>>,
    pub chain_pem: String,
    pub key_pem: String,
    key_der: Vec<u8>,
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key can be made");
        let issuer = CertifiedIssuer::self_signed(authority_params(name), key)
            .expect("an authority can be made");
        Self {
            issuer,
            above: None,
        }
    }

    /// One of the same name as the trusted one, with a key of its own.
    pub fn impostor() -> Self {
        Self::new("Conformance CA")
    }

    /// An authority below this one; its leaves show it.
    pub fn intermediate(&self) -> Self {
        let key = KeyPair::generate().expect("a key can be made");
        let params = authority_params("Conformance Intermediate CA");
        let issuer = CertifiedIssuer::signed_by(params, key, &self.issuer)
            .expect("an authority can be signed");
        let above = Some(issuer.der().clone());
        Self { issuer, above }
    }

    /// The authority's own certificate and key, as if it were a leaf.
    pub fn identity(&self) -> Identity {
        Identity::new(self.der(), self.pem(), self.issuer.key())
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub fn der(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    /// A leaf for these names; what parses as an address becomes an iPAddress SAN.
    pub fn leaf(&self, names: &[&str]) -> Identity {
        self.leaf_with(names, |_| {})
    }

    /// As [`Self::leaf`], after `change` has spoilt what it likes.
    pub fn leaf_with(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("the names are legal");
        change(&mut params);
        let key = KeyPair::generate().expect("a key can be made");
        let leaf = params
            .signed_by(&key, &self.issuer)
            .expect("a leaf can be signed");
        let mut identity = Identity::new(leaf.der().clone(), leaf.pem(), &key);
        identity.chain.extend(self.above.clone());
        identity
    }

    pub fn expired(&self, names: &[&str]) -> Identity {
        self.leaf_with(names, |params| {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        })
    }

    /// No subjectAltName at all, the name only as common name.
    pub fn common_name_only(&self, name: &str) -> Identity {
        self.leaf_with(&[], |params| {
            params.distinguished_name.push(DnType::CommonName, name)
        })
    }
}

impl Identity {
    fn new(leaf: CertificateDer<'static>, chain_pem: String, key: &KeyPair) -> Self {
        Self {
            chain: vec![leaf],
            chain_pem,
            key_pem: key.serialize_pem(),
            key_der: key.serialize_der(),
        }
    }

    /// What an endpoint makes for itself (RFC 4975 §14.4).
    pub fn self_signed(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).expect("the names are legal");
        let key = KeyPair::generate().expect("a key can be made");
        let leaf = params.self_signed(&key).expect("a leaf can be signed");
        Self::new(leaf.der().clone(), leaf.pem(), &key)
    }

    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key_der.clone()))
    }
}
