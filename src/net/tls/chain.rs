//! A certificate chain as the other side sends it, before anybody believes it: how much of it is
//! looked at, and the one path through it that is tried.
//!
//! Building paths in every way that the names allow costs whoever verifies seconds, for a few
//! kilooctets that need no valid signature. So a chain is bounded before it is parsed, and at each
//! step the first certificate that has the issuer's name is taken, up to the first authority that
//! we know: as many signatures are checked as the path has certificates, and a chain that no
//! authority of ours signed costs one.

use std::fmt;

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::EndEntityCert;
use x509_parser::nom::Parser;
use x509_parser::prelude::{FromDer, X509CertificateParser};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// How much of a certificate chain is looked at; both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainLimits {
    /// Certificates, the leaf included.
    pub certificates: usize,
    /// Octets of all of them.
    pub octets: usize,
}

impl Default for ChainLimits {
    fn default() -> Self {
        Self {
            // A leaf, two or three authorities, and what servers send besides.
            certificates: 6,
            octets: 16_384,
        }
    }
}

/// Authorities between with keys of P-384, or of RSA above 4,096 bits. A hierarchy of three levels
/// under its root has two; each costs as much as half a handshake.
const COSTLY_MAX: usize = 2;

/// Why a chain proves nothing.
#[derive(Debug, PartialEq, Eq)]
pub enum Disbelief {
    Empty,
    /// More than `limits.chain_certificates` or `limits.chain_octets`; nothing of it was parsed.
    TooLong {
        certificates: usize,
        octets: usize,
    },
    /// Not X.509 v3, an unknown critical extension, or no certificate at all.
    Malformed(webpki::Error),
    /// RSA below 2,048 bits, a curve other than P-256, P-384 and Ed25519, or something else.
    Key,
    /// More authorities between with keys that cost much than are checked.
    Costly,
    /// Its issuers lead to no authority that we know.
    NoPath,
    /// The path does not hold: dates, usages, constraints or signatures.
    Invalid(webpki::Error),
}

impl std::error::Error for Disbelief {}

impl fmt::Display for Disbelief {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("there is no certificate"),
            Self::TooLong {
                certificates,
                octets,
            } => write!(
                f,
                "a chain of {certificates} certificates and {octets} octets is beyond limits.chain_certificates or limits.chain_octets"
            ),
            Self::Malformed(error) => write!(f, "not a certificate that can be used: {error}"),
            Self::Key => f.write_str(
                "a kind of key that is not believed (RSA of 2048 bits or more, P-256, P-384 and Ed25519 are)",
            ),
            Self::Costly => write!(
                f,
                "more than {COSTLY_MAX} authorities between with keys of P-384, or of RSA above 4096 bits"
            ),
            Self::NoPath => f.write_str("its issuers lead to no known authority"),
            Self::Invalid(error) => write!(f, "{error}"),
        }
    }
}

/// What a handshake's signature by a key costs us to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyKind {
    /// Less than the rest of a handshake.
    Cheap,
    /// Several handshakes: checked only of those whom an authority vouches for.
    Costly,
}

impl KeyKind {
    /// `None`: a key that nobody is believed by.
    pub fn of(certificate: &EndEntityCert<'_>) -> Option<Self> {
        let key = certificate.subject_public_key_info();
        let (_, key) = SubjectPublicKeyInfo::from_der(&key).ok()?;
        match key.parsed().ok()? {
            PublicKey::RSA(rsa) => {
                let bits = rsa.key_size();
                // The exponent multiplies the cost; all but a few use 65,537.
                let usual = rsa.try_exponent().is_ok_and(|exponent| exponent <= 65_537);
                match bits {
                    2048..=4096 if usual => Some(Self::Cheap),
                    2048..=8192 if usual => Some(Self::Costly),
                    _ => None,
                }
            }
            PublicKey::EC(_) => {
                let curve = key.algorithm.parameters.as_ref()?.as_oid().ok()?;
                match curve.to_id_string().as_str() {
                    "1.2.840.10045.3.1.7" => Some(Self::Cheap),
                    "1.3.132.0.34" => Some(Self::Costly),
                    _ => None,
                }
            }
            _ => (key.algorithm.algorithm.to_id_string() == "1.3.101.112").then_some(Self::Cheap),
        }
    }
}

/// A leaf and its issuers, up to the one that an authority of ours is said to have signed.
pub(super) struct Path<'a> {
    pub leaf: EndEntityCert<'a>,
    pub intermediates: Vec<CertificateDer<'a>>,
    leaf_der: &'a CertificateDer<'a>,
}

impl<'a> Path<'a> {
    /// Looks at names only; whether the path holds is for a verification to say.
    pub fn find(
        chain: &'a [CertificateDer<'a>],
        roots: &RootCertStore,
        limits: ChainLimits,
    ) -> Result<Self, Disbelief> {
        within(chain, limits)?;
        let (leaf_der, rest) = chain.split_first().ok_or(Disbelief::Empty)?;
        let leaf = EndEntityCert::try_from(leaf_der).map_err(Disbelief::Malformed)?;
        KeyKind::of(&leaf).ok_or(Disbelief::Key)?;
        let mut others: Vec<(EndEntityCert<'a>, &'a CertificateDer<'a>)> = rest
            .iter()
            .filter_map(|der| Some((EndEntityCert::try_from(der).ok()?, der)))
            .collect();
        let mut intermediates = Vec::new();
        let mut passed: Vec<Vec<u8>> = Vec::new();
        let mut costly = 0;
        let mut issuer = leaf.issuer().to_vec();
        while !is_known(roots, &issuer) {
            let next = others.iter().position(|(it, _)| it.subject() == issuer);
            let Some(next) = next.filter(|_| !passed.contains(&issuer)) else {
                return Err(Disbelief::NoPath);
            };
            let (certificate, der) = others.swap_remove(next);
            let kind = KeyKind::of(&certificate).ok_or(Disbelief::Key)?;
            costly += usize::from(kind == KeyKind::Costly);
            if costly > COSTLY_MAX {
                return Err(Disbelief::Costly);
            }
            intermediates.push(CertificateDer::from(der.as_ref()));
            passed.push(std::mem::replace(
                &mut issuer,
                certificate.issuer().to_vec(),
            ));
        }
        Ok(Self {
            leaf,
            intermediates,
            leaf_der,
        })
    }

    /// Since when and until when all certificates of the path are valid.
    pub fn validity(&self) -> Option<(UnixTime, UnixTime)> {
        let all = std::iter::once(self.leaf_der.as_ref());
        let all = all.chain(self.intermediates.iter().map(AsRef::as_ref));
        let mut window = (0, u64::MAX);
        for der in all {
            let mut parser = X509CertificateParser::new().with_deep_parse_extensions(false);
            let (_, certificate) = parser.parse(der).ok()?;
            let validity = certificate.validity();
            let seconds = |timestamp: i64| u64::try_from(timestamp).unwrap_or(0);
            window.0 = window.0.max(seconds(validity.not_before.timestamp()));
            window.1 = window.1.min(seconds(validity.not_after.timestamp()));
        }
        let time = |seconds| UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        Some((time(window.0), time(window.1)))
    }
}

/// Before any of it is parsed.
pub(super) fn within(chain: &[CertificateDer<'_>], limits: ChainLimits) -> Result<(), Disbelief> {
    let octets: usize = chain.iter().map(|certificate| certificate.len()).sum();
    if chain.len() > limits.certificates || octets > limits.octets {
        return Err(Disbelief::TooLong {
            certificates: chain.len(),
            octets,
        });
    }
    Ok(())
}

fn is_known(roots: &RootCertStore, name: &[u8]) -> bool {
    roots
        .roots
        .iter()
        .any(|anchor| anchor.subject.as_ref() == name)
}
