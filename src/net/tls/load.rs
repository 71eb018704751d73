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

use super::TlsContext;

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

impl TlsContext {
    /// Reads certificate chain (leaf first), key and authorities, and checks that they fit
    /// together and cover `hosts` now (TLS-01). Without `peer_ca` the system's roots count.
    pub fn load(
        certificate: &Path,
        key: &Path,
        peer_ca: Option<&Path>,
        hosts: &[String],
    ) -> Result<Self, Vec<TlsProblem>> {
        let mut problems = Vec::new();
        let chain = collect(read_chain(certificate), &mut problems);
        let private = collect(read_key(key), &mut problems);
        let roots = collect(read_roots(peer_ca), &mut problems);
        let mut not_after = UNIX_EPOCH;
        if let Some(chain) = &chain {
            match check_leaf(certificate, &chain[0], hosts) {
                Ok(until) => not_after = until,
                Err(found) => problems.extend(found),
            }
        }
        let (Some(chain), Some(private), Some(roots)) = (chain, private, roots) else {
            return Err(problems);
        };
        let identity = CertifiedKey::from_der(chain, private, &super::provider()).map_err(|error| {
            vec![problem(
                key,
                format!(
                    "this key does not belong to the certificate in {} ({error}); give the key that the certificate was made for",
                    certificate.display()
                ),
            )]
        });
        match identity {
            Err(found) => {
                problems.extend(found);
                Err(problems)
            }
            Ok(_) if !problems.is_empty() => Err(problems),
            Ok(identity) => {
                super::context(Arc::new(identity), Arc::new(roots), not_after).map_err(|error| {
                    vec![problem(
                        certificate,
                        format!("TLS cannot be set up: {error}"),
                    )]
                })
            }
        }
    }
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

fn read_roots(file: Option<&Path>) -> Result<RootCertStore, TlsProblem> {
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

/// Dates and names of our own certificate.
fn check_leaf(
    file: &Path,
    leaf: &CertificateDer<'_>,
    hosts: &[String],
) -> Result<SystemTime, Vec<TlsProblem>> {
    let mut problems = Vec::new();
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|error| {
        vec![problem(
            file,
            format!("the first certificate cannot be read: {error}"),
        )]
    })?;
    let validity = parsed.validity();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| now.as_secs() as i64);
    if now > validity.not_after.timestamp() {
        problems.push(problem(
            file,
            format!(
                "the certificate expired on {}; renew it",
                validity.not_after
            ),
        ));
    }
    if now < validity.not_before.timestamp() {
        problems.push(problem(
            file,
            format!(
                "the certificate is not valid before {}; check the clock",
                validity.not_before
            ),
        ));
    }
    let certificate = EndEntityCert::try_from(leaf).map_err(|error| {
        vec![problem(
            file,
            format!("the first certificate cannot be used: {error}"),
        )]
    })?;
    for host in hosts {
        let covered = ServerName::try_from(host.as_str())
            .is_ok_and(|name| certificate.verify_is_valid_for_subject_name(&name).is_ok());
        if !covered {
            problems.push(problem(
                file,
                format!("the certificate does not cover {host}: its subjectAltName must hold every name of relay.hosts"),
            ));
        }
    }
    let not_after = u64::try_from(validity.not_after.timestamp()).unwrap_or(0);
    if problems.is_empty() {
        Ok(UNIX_EPOCH + Duration::from_secs(not_after))
    } else {
        Err(problems)
    }
}
