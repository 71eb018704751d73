//! Certificates, from files to what rustls takes.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Whom clients trust, and what they show.
#[derive(Clone, Debug, Default)]
pub struct ClientTls<'a> {
    /// `None`: the authorities of the system.
    pub ca: Option<&'a Path>,
    /// Those of the system as well.
    pub system_roots: bool,
    /// A chain and its key, for a relay that asks for one.
    pub certificate: Option<(&'a Path, &'a Path)>,
}

/// `option` is where the authorities come from, for messages.
pub fn client_config(tls: &ClientTls<'_>, option: &str) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = tls.ca {
        for certificate in certificates(file)? {
            roots
                .add(certificate)
                .map_err(|e| format!("{option} {}: {e}", file.display()))?;
        }
    }
    if tls.ca.is_none() || tls.system_roots {
        // Some of them may be unusable; what matters is that there are others.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if roots.is_empty() {
        return Err(format!(
            "which authority signed the relay's certificate? The system has none; give its PEM file with {option}"
        ));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots);
    let mut config = match tls.certificate {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder
            .with_client_auth_cert(certificates(chain)?, private_key(key, "--client-key")?)
            .map_err(|e| format!("--client-certificate {}: {e}", chain.display()))?,
    };
    // Every handshake is to be a full one, so that its cost is known.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

pub fn server_config(chain: &Path, key: &Path) -> Result<Arc<ServerConfig>, String> {
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_no_client_auth()
        .with_single_cert(certificates(chain)?, private_key(key, "--listen-key")?)
        .map_err(|e| format!("--listen-certificate {}: {e}", chain.display()))?;
    Ok(Arc::new(config))
}

fn private_key(file: &Path, option: &str) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(file).map_err(|e| format!("{option} {}: {e}", file.display()))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| format!("certificates in {}: {e}", file.display()))?;
    match found.is_empty() {
        true => Err(format!("no certificate in {}: is it PEM?", file.display())),
        false => Ok(found),
    }
}
