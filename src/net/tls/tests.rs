//! Two sessions and the octets between them, cut in every way.

mod belief;
mod chains;
#[path = "../../../tests/der/mod.rs"]
mod der;
mod endings;
mod files;
mod misdeeds;
mod octets;
mod resumption;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, date_time_ymd,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;

use super::*;

/// An authority and the folder that its files are in.
struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

impl Authority {
    fn new() -> Self {
        Self::named("an authority")
    }

    fn named(name: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        fs::write(
            folder.path().join("ca.pem"),
            params.self_signed(&key).unwrap().pem(),
        )
        .unwrap();
        Self {
            folder,
            issuer: Issuer::new(params, key),
        }
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn issue(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Files {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        self.write(&pem, &key)
    }

    fn self_signed(&self, name: &str) -> Files {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        self.write(&pem, &key)
    }

    fn write(&self, certificate: &str, key: &KeyPair) -> Files {
        let count = fs::read_dir(self.folder.path()).unwrap().count();
        let files = Files {
            certificate: self.folder.path().join(format!("{count}.pem")),
            key: self.folder.path().join(format!("{count}.key")),
        };
        fs::write(&files.certificate, certificate).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    fn context(&self, names: &[&str]) -> TlsContext {
        self.load(&self.issue(names, |_| {}), &[]).unwrap()
    }

    fn load(&self, files: &Files, hosts: &[&str]) -> Result<TlsContext, Vec<TlsProblem>> {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        TlsContext::load(&files.certificate, &files.key, Some(&self.ca()), &hosts)
    }
}

/// Both ends of a connection and what is on the way between them.
struct Link {
    client: TlsSession,
    server: TlsSession,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    at_server: Vec<u8>,
    at_client: Vec<u8>,
    server_done: usize,
    client_done: usize,
}

impl Link {
    fn new(client: TlsSession, server: TlsSession) -> Self {
        Self {
            client,
            server,
            to_server: Vec::new(),
            to_client: Vec::new(),
            at_server: Vec::new(),
            at_client: Vec::new(),
            server_done: 0,
            client_done: 0,
        }
    }

    /// Moves what is on the way until nothing is, in reads of `cut` octets.
    fn run(&mut self, cut: usize) -> Result<(), TlsError> {
        while !self.to_server.is_empty() || !self.to_client.is_empty() {
            for piece in std::mem::take(&mut self.to_server).chunks_mut(cut) {
                let at = &mut self.at_server;
                let outcome = self.server.read(
                    piece,
                    &mut |octets| at.extend_from_slice(octets),
                    &mut self.to_client,
                )?;
                self.server_done += usize::from(outcome.handshake_done_now);
            }
            for piece in std::mem::take(&mut self.to_client).chunks_mut(cut) {
                let at = &mut self.at_client;
                let outcome = self.client.read(
                    piece,
                    &mut |octets| at.extend_from_slice(octets),
                    &mut self.to_server,
                )?;
                self.client_done += usize::from(outcome.handshake_done_now);
            }
        }
        Ok(())
    }

    fn handshake(&mut self, cut: usize) -> Result<(), TlsError> {
        self.client.start(&mut self.to_server)?;
        self.run(cut)
    }
}

fn linked(client: &TlsContext, server: &TlsContext, cut: usize) -> Link {
    let session = client.client("relay.example", ClientVerify::Full).unwrap();
    let mut link = Link::new(session, server.server());
    link.handshake(cut).unwrap();
    assert!(link.client.is_established() && link.server.is_established());
    link
}

/// Of a session that is not one of ours, for its configuration verifies.
fn nobodys() -> Arc<Belief> {
    Arc::new(Belief::new(
        RootCertStore::empty(),
        ChainLimits::default(),
        &provider(),
    ))
}

/// A client that is not one of ours.
fn foreign_client(authority: &Authority, change: impl FnOnce(&mut ClientConfig)) -> TlsSession {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(authority.ca()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    change(&mut config);
    let name = ServerName::try_from("relay.example").unwrap();
    TlsSession::client(Arc::new(config), name, nobodys(), ClientVerify::Unverified).unwrap()
}

fn tls12_client(authority: &Authority) -> TlsSession {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(authority.ca()).unwrap())
        .unwrap();
    let config = tls12_config(roots);
    let name = ServerName::try_from("relay.example").unwrap();
    TlsSession::client(Arc::new(config), name, nobodys(), ClientVerify::Unverified).unwrap()
}

fn tls12_config(roots: RootCertStore) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

fn body(octets: usize) -> Vec<u8> {
    (0..octets).map(|index| (index * 31 % 251) as u8).collect()
}
