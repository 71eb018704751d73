//! TLS: who we are, whom we believe, and sessions that turn records into octets and back
//! without buffers of their own (`rustls::unbuffered`). The one door to rustls.

mod algorithms;
mod chain;
mod choose;
mod database;
mod error;
mod load;
mod session;
#[cfg(test)]
mod tests;
mod verify;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, NamedGroup, RootCertStore, ServerConfig};

pub use chain::{ChainLimits, Disbelief};
pub use database::DatabaseTls;
pub use error::TlsError;
pub use load::{CertificateFiles, TlsProblem};
pub use session::{ReadOutcome, TlsSession};
pub use verify::{Belief, Verified};

/// How far the server that we dialled must prove whom we reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientVerify {
    /// Chain and name (TLS-08, TLS-09).
    Full,
    /// Nothing: whatever certificate it shows counts for nothing (D-25).
    Unverified,
}

/// Certificate, authorities and resumption state of the process; cheap to clone. A reload
/// makes a new one.
#[derive(Clone)]
pub struct TlsContext(Arc<Inner>);

struct Inner {
    server: Arc<ServerConfig>,
    /// Asks for no certificate: a browser would ask its user (TLS-05).
    web: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    unverified: Arc<ClientConfig>,
    belief: Arc<Belief>,
    certificates: Vec<Certificate>,
}

/// One of our own certificates.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub file: PathBuf,
    /// When it expires.
    pub not_after: SystemTime,
}

/// Sessions that dialled connections may resume: a few for each next hop.
const RESUMABLE: usize = 1024;

impl TlsContext {
    /// Our own certificates, the default one first.
    pub fn certificates(&self) -> &[Certificate] {
        &self.0.certificates
    }

    fn belief(&self) -> &Arc<Belief> {
        &self.0.belief
    }

    /// For an accepted connection.
    pub fn server(&self) -> TlsSession {
        TlsSession::server(self.0.server.clone(), self.0.belief.clone())
    }

    /// For an accepted connection of a browser: it is asked for no certificate, and speaks HTTP/1.1 first.
    pub fn server_for_web(&self) -> TlsSession {
        TlsSession::server(self.0.web.clone(), self.0.belief.clone())
    }

    /// For a connection to `host`, as it stands in a URI: a name (sent as SNI) or an address,
    /// IPv6 in brackets or not (which needs an iPAddress in the certificate).
    pub fn client(&self, host: &str, verify: ClientVerify) -> Result<TlsSession, TlsError> {
        let bare = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(host);
        let name = ServerName::try_from(bare.to_owned())
            .map_err(|_| TlsError::NotAHost(host.to_owned()))?;
        let config = match verify {
            ClientVerify::Full => &self.0.client,
            ClientVerify::Unverified => &self.0.unverified,
        };
        TlsSession::client(config.clone(), name, self.0.belief.clone(), verify)
    }
}

impl fmt::Debug for TlsContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsContext").finish_non_exhaustive()
    }
}

/// ECDHE with AEAD, TLS 1.2 and 1.3 (D-23).
fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    #[cfg(feature = "ring")]
    let mut provider = rustls::crypto::ring::default_provider();
    #[cfg(not(feature = "ring"))]
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    if cfg!(feature = "ring") {
        provider.signature_verification_algorithms = algorithms::ALGORITHMS;
    }
    // One exchange by it costs as much as six handshakes by the others, and who may ask for it has
    // proved nothing. Everybody else knows P-256, which TLS 1.3 demands (RFC 8446 §9.1).
    provider
        .kx_groups
        .retain(|group| group.name() != NamedGroup::secp384r1);
    Arc::new(provider)
}

fn ticketer() -> Result<Arc<dyn rustls::server::ProducesTickets>, rustls::Error> {
    #[cfg(feature = "ring")]
    return rustls::crypto::ring::Ticketer::new();
    #[cfg(not(feature = "ring"))]
    return rustls::crypto::aws_lc_rs::Ticketer::new();
}

/// Tickets instead of the default cache, which is small and behind a lock.
fn resume_by_tickets(server: &mut ServerConfig) -> Result<(), rustls::Error> {
    server.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    server.ticketer = Arc::new(verify::Tickets(ticketer()?));
    server.send_tls13_tickets = 1;
    server.max_early_data_size = 0;
    Ok(())
}

fn context(
    default: Arc<CertifiedKey>,
    extra: &[Arc<CertifiedKey>],
    roots: RootCertStore,
    limits: ChainLimits,
    certificates: Vec<Certificate>,
) -> Result<TlsContext, rustls::Error> {
    let provider = provider();
    let belief = Arc::new(Belief::new(roots, limits, &provider));
    let by_name = Arc::new(choose::ByName::new(default.clone(), extra));
    let always = Arc::new(SingleCertAndKey::from(default));
    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(verify::AnyCertificate(belief.clone())))
        .with_cert_resolver(by_name.clone());
    resume_by_tickets(&mut server)?;
    let mut web = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(by_name);
    resume_by_tickets(&mut web)?;
    web.alpn_protocols = vec![b"http/1.1".to_vec()];

    let client = |verifier: Arc<dyn rustls::client::danger::ServerCertVerifier>| {
        let mut config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(always.clone());
        config.resumption = Resumption::in_memory_sessions(RESUMABLE);
        Ok::<_, rustls::Error>(Arc::new(config))
    };
    let client_full = client(Arc::new(verify::ByName(belief.clone())))?;
    let unverified = client(Arc::new(verify::AnyCertificate(belief.clone())))?;
    Ok(TlsContext(Arc::new(Inner {
        server: Arc::new(server),
        web: Arc::new(web),
        client: client_full,
        unverified,
        belief,
        certificates,
    })))
}
