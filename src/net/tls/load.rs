//! Certificates, keys and authorities from files, with errors that say which file, what is
//! wrong and what to do.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use webpki::EndEntityCert;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Certificate, ChainLimits, TlsContext};

/// What is wrong with a file, and what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsProblem {
    pub file: PathBuf,
    pub what: String,
}

impl fmt::Display for TlsProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.file.as_os_str().is_empty() {
            return f.write_str(&self.what);
        }
        write!(f, "{}: {}", self.file.display(), self.what)
    }
}

impl std::error::Error for TlsProblem {}

fn problem(file: &Path, what: impl Into<String>) -> TlsProblem {
    TlsProblem {
        file: file.into(),
        what: what.into(),
    }
}

/// A certificate chain and its key.
#[derive(Clone, Copy)]
pub struct CertificateFiles<'a> {
    /// PEM, leaf first.
    pub certificate: &'a Path,
    pub key: &'a Path,
}

impl TlsContext {
    /// Reads certificate chain (leaf first), key and authorities, and checks that they fit
    /// together and cover `hosts` now (TLS-01). Without `peer_ca` the system's roots count.
    pub fn load(
        certificate: &Path,
        key: &Path,
        peer_ca: Option<&Path>,
        hosts: &[String],
    ) -> Result<Self, Vec<TlsProblem>> {
        let default = CertificateFiles { certificate, key };
        Self::load_several(default, &[], peer_ca, hosts, ChainLimits::default())
    }

    /// The same with further certificates, which clients get that ask for a name of theirs
    /// (TLS-04). The default one has to cover the first of `hosts`, which goes into Use-Path; each
    /// other one may be covered by any. `chains` bounds what others may show.
    pub fn load_several(
        default: CertificateFiles<'_>,
        extra: &[CertificateFiles<'_>],
        peer_ca: Option<&Path>,
        hosts: &[String],
        chains: ChainLimits,
    ) -> Result<Self, Vec<TlsProblem>> {
        let mut problems = Vec::new();
        let all = std::iter::once(&default).chain(extra);
        let identities: Vec<Option<Identity>> =
            all.map(|files| identity(files, &mut problems)).collect();
        let roots = collect(read_roots(peer_ca), &mut problems);
        // What could not be read might have covered them.
        if identities.iter().all(Option::is_some) {
            let identities: Vec<&Identity> = identities.iter().flatten().collect();
            problems.extend(uncovered(default.certificate, &identities, hosts));
        }
        let identities: Option<Vec<Identity>> = identities.into_iter().collect();
        let (Some(identities), Some(roots), true) = (identities, roots, problems.is_empty()) else {
            return Err(problems);
        };
        let (keys, certificates): (Vec<_>, Vec<_>) = identities
            .into_iter()
            .map(|identity| (Arc::new(identity.key), identity.certificate))
            .unzip();
        let (first, others) = keys.split_first().expect("the default one at least");
        super::context(first.clone(), others, roots, chains, certificates).map_err(|error| {
            let what = format!("TLS cannot be set up: {error}");
            vec![problem(default.certificate, what)]
        })
    }
}

/// A certificate that may be used, with its key.
struct Identity {
    key: CertifiedKey,
    certificate: Certificate,
}

impl Identity {
    fn covers(&self, host: &str) -> bool {
        let leaf = self.key.cert.first();
        leaf.and_then(|leaf| EndEntityCert::try_from(leaf).ok())
            .zip(ServerName::try_from(host).ok())
            .is_some_and(|(leaf, name)| leaf.verify_is_valid_for_subject_name(&name).is_ok())
    }
}

fn identity(files: &CertificateFiles<'_>, problems: &mut Vec<TlsProblem>) -> Option<Identity> {
    let CertificateFiles { certificate, key } = *files;
    let chain = collect(read_chain(certificate), problems);
    let private = collect(read_key(key), problems);
    let chain = chain?;
    let not_after = match check_dates(certificate, &chain[0]) {
        Ok(not_after) => Some(not_after),
        Err(found) => {
            problems.push(found);
            None
        }
    };
    let key = CertifiedKey::from_der(chain, private?, &super::provider()).map_err(|error| {
        problem(
            key,
            format!(
                "this key does not belong to the certificate in {} ({error}); give the key that the certificate was made for",
                certificate.display()
            ),
        )
    });
    let key = collect(key, problems)?;
    let certificate = Certificate {
        file: certificate.to_owned(),
        not_after: not_after?,
    };
    Some(Identity { key, certificate })
}

/// Names of ours that no certificate has, or the first one not the default certificate.
fn uncovered(default: &Path, identities: &[&Identity], hosts: &[String]) -> Vec<TlsProblem> {
    let mut problems = Vec::new();
    for (index, host) in hosts.iter().enumerate() {
        let may_cover = if index == 0 {
            &identities[..1]
        } else {
            identities
        };
        if !may_cover.iter().any(|identity| identity.covers(host)) {
            problems.push(problem(
                default,
                format!("the certificate does not cover {host}: its subjectAltName must hold every name of relay.hosts"),
            ));
        }
    }
    problems
}

fn collect<T>(result: Result<T, TlsProblem>, problems: &mut Vec<TlsProblem>) -> Option<T> {
    result.map_err(|found| problems.push(found)).ok()
}

fn read_chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsProblem> {
    let certificates = read_certificates(file)?;
    if certificates.is_empty() {
        return Err(problem(
            file,
            "there is no certificate in this file; it must hold the chain in PEM form, leaf first",
        ));
    }
    Ok(certificates)
}

fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsProblem> {
    let text =
        std::fs::read(file).map_err(|error| problem(file, format!("cannot be read: {error}")))?;
    CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| problem(file, format!("is not PEM: {error:?}; each certificate must stand between BEGIN and END CERTIFICATE")))
}

fn read_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsProblem> {
    let text =
        std::fs::read(file).map_err(|error| problem(file, format!("cannot be read: {error}")))?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        problem(file, format!("there is no usable private key in this file ({error:?}); it must be PKCS#8, SEC1 or PKCS#1 in PEM form, without a passphrase"))
    })
}

pub(super) fn read_roots(file: Option<&Path>) -> Result<RootCertStore, TlsProblem> {
    let mut roots = RootCertStore::empty();
    let Some(file) = file else {
        // A machine without any is one that talks to no other relay.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(problem(
                Path::new(""),
                "the system has no certificate authorities; set tls.peer_ca or install ca-certificates",
            ));
        }
        return Ok(roots);
    };
    let certificates = read_certificates(file)?;
    if certificates.is_empty() {
        return Err(problem(
            file,
            "there is no certificate authority in this file",
        ));
    }
    for certificate in certificates {
        roots.add(certificate).map_err(|error| {
            problem(
                file,
                format!("holds an authority that cannot be used: {error}"),
            )
        })?;
    }
    Ok(roots)
}

/// Dates of our own certificate; when it expires.
fn check_dates(file: &Path, leaf: &CertificateDer<'_>) -> Result<SystemTime, TlsProblem> {
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|error| {
        problem(
            file,
            format!("the first certificate cannot be read: {error}"),
        )
    })?;
    EndEntityCert::try_from(leaf).map_err(|error| {
        problem(
            file,
            format!("the first certificate cannot be used: {error}"),
        )
    })?;
    let validity = parsed.validity();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| now.as_secs() as i64);
    if now > validity.not_after.timestamp() {
        let until = validity.not_after;
        let what = format!("the certificate expired on {until}; renew it");
        return Err(problem(file, what));
    }
    if now < validity.not_before.timestamp() {
        let from = validity.not_before;
        let what = format!("the certificate is not valid before {from}; check the clock");
        return Err(problem(file, what));
    }
    let not_after = u64::try_from(validity.not_after.timestamp()).unwrap_or(0);
    Ok(UNIX_EPOCH + Duration::from_secs(not_after))
}
