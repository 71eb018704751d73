//! TLS to a database server, whose name is that of the URL.

use std::path::Path;

use rustls::ClientConfig;

use super::load::{TlsProblem, read_roots};
use super::provider;

/// Whom a database server must prove to be; used where the URL's `sslmode` wants TLS.
#[derive(Clone, Debug)]
pub struct DatabaseTls(ClientConfig);

impl DatabaseTls {
    /// Believes the authorities of `ca`, or the system's.
    pub fn load(ca: Option<&Path>) -> Result<Self, TlsProblem> {
        let roots = match ca {
            Some(_) => read_roots(ca)?,
            // Without any no server is believed; most are asked over a socket of the machine.
            None => read_roots(None).unwrap_or_else(|_| rustls::RootCertStore::empty()),
        };
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider has suites for them")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(config))
    }

    pub(in crate::net) fn config(&self) -> ClientConfig {
        self.0.clone()
    }
}
