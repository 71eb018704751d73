//! Which certificate a client is shown: the one for the name that it asks for, else the default (TLS-04).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use webpki::EndEntityCert;

/// Certificates by name. The first one is the default, and its names are its own whoever else has them.
pub(super) struct ByName {
    default: Arc<CertifiedKey>,
    /// In lower case; a wildcard as it stands in the certificate.
    names: BTreeMap<String, Arc<CertifiedKey>>,
}

impl ByName {
    pub fn new(default: Arc<CertifiedKey>, extra: &[Arc<CertifiedKey>]) -> Self {
        let mut names = BTreeMap::new();
        for identity in std::iter::once(&default).chain(extra) {
            for name in dns_names(identity) {
                names.entry(name).or_insert_with(|| identity.clone());
            }
        }
        Self { default, names }
    }

    fn choose(&self, name: Option<&str>) -> Arc<CertifiedKey> {
        let named = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            let wildcard = || {
                let (_, domain) = name.split_once('.')?;
                self.names.get(&format!("*.{domain}"))
            };
            self.names.get(&name).or_else(wildcard)
        });
        named.unwrap_or(&self.default).clone()
    }
}

fn dns_names(identity: &CertifiedKey) -> Vec<String> {
    let leaf = identity.cert.first();
    let parsed = leaf.and_then(|leaf| EndEntityCert::try_from(leaf).ok());
    parsed.map_or(Vec::new(), |leaf| {
        leaf.valid_dns_names()
            .map(str::to_ascii_lowercase)
            .collect()
    })
}

impl fmt::Debug for ByName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByName").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.choose(client_hello.server_name()))
    }
}
