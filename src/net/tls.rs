//! TLS: who we are, whom we believe, and sessions that turn records into octets and back
//! without buffers of their own (`rustls::unbuffered`). The one door to rustls.

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
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

pub use database::DatabaseTls;
pub use error::TlsError;
pub use load::{CertificateFiles, TlsProblem};
pub use session::{ReadOutcome, TlsSession};

/// How far the server that we dialled must prove whom we reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientVerify {
    /// Chain and name (TLS-08, TLS-09).
    Full,
    /// Only that it holds the key of whatever certificate it shows (D-25).
    Unverified,
}

/// Certificate, authorities and resumption state of the process; cheap to clone. A reload
/// makes a new one.
#[derive(Clone)]
pub struct TlsContext(Arc<Inner>);

struct Inner {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    unverified: Arc<ClientConfig>,
    roots: Arc<RootCertStore>,
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

    /// For an accepted connection.
    pub fn server(&self) -> TlsSession {
        TlsSession::server(self.0.server.clone())
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
        let (config, roots) = match verify {
            ClientVerify::Full => (&self.0.client, Some(self.0.roots.clone())),
            ClientVerify::Unverified => (&self.0.unverified, None),
        };
        TlsSession::client(config.clone(), name, roots)
    }

    /// The dNSNames of a certificate whose chain verifies now (RFC 4976 §6.3, TLS-07). To be
    /// asked after every handshake, a resumed one too: there nobody else looks.
    pub fn judge(&self, chain: &[CertificateDer<'_>]) -> Option<Vec<String>> {
        verify::judge(chain, &self.0.roots, UnixTime::now())
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
    let provider = rustls::crypto::ring::default_provider();
    #[cfg(not(feature = "ring"))]
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    Arc::new(provider)
}

fn ticketer() -> Result<Arc<dyn rustls::server::ProducesTickets>, rustls::Error> {
    #[cfg(feature = "ring")]
    return rustls::crypto::ring::Ticketer::new();
    #[cfg(not(feature = "ring"))]
    return rustls::crypto::aws_lc_rs::Ticketer::new();
}

fn context(
    default: Arc<CertifiedKey>,
    extra: &[Arc<CertifiedKey>],
    roots: Arc<RootCertStore>,
    certificates: Vec<Certificate>,
) -> Result<TlsContext, rustls::Error> {
    let provider = provider();
    let by_name = Arc::new(choose::ByName::new(default.clone(), extra));
    let always = Arc::new(SingleCertAndKey::from(default));
    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(verify::AnyCertificate::new(&provider)))
        .with_cert_resolver(by_name);
    // Tickets instead of the default cache, which is small and behind a lock.
    server.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    server.ticketer = ticketer()?;
    server.send_tls13_tickets = 1;
    server.max_early_data_size = 0;

    let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(
        roots.clone(),
        provider.clone(),
    )
    .build()
    .map_err(|error| rustls::Error::General(error.to_string()))?;
    let client = |verifier: Arc<dyn rustls::client::danger::ServerCertVerifier>| {
        let mut config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(always.clone());
        config.resumption = Resumption::in_memory_sessions(RESUMABLE);
        Ok::<_, rustls::Error>(Arc::new(config))
    };
    let client_full = client(verifier)?;
    let unverified = client(Arc::new(verify::AnyCertificate::new(&provider)))?;
    Ok(TlsContext(Arc::new(Inner {
        server: Arc::new(server),
        client: client_full,
        unverified,
        roots,
        certificates,
    })))
}
