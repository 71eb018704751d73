//! TLS settings of the two sides that the tests play: client of the relay, and peer that it dials.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};

use super::pki::{Authority, Identity, TRUSTED};

pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// What a client of the relay brings to the handshake.
#[derive(Clone, Default)]
pub struct ClientTls {
    /// Authority that must have signed the relay's certificate; the suite's own unless given.
    pub ca_pem: Option<String>,
    /// A client certificate.
    pub identity: Option<Arc<Identity>>,
    /// Versions to offer; both if empty.
    pub versions: Vec<&'static rustls::SupportedProtocolVersion>,
    /// Do not send the server's name.
    pub without_sni: bool,
}

impl ClientTls {
    pub fn config(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        match &self.ca_pem {
            Some(pem) => {
                for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                    roots
                        .add(certificate.expect("MSRPD_CONFORMANCE_CA holds certificates"))
                        .expect("a root");
                }
            }
            None => roots.add(TRUSTED.der()).expect("our authority is a root"),
        }
        let versions = match self.versions.is_empty() {
            true => rustls::ALL_VERSIONS,
            false => &self.versions,
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .expect("the versions are supported")
            .with_root_certificates(roots);
        let mut config = match &self.identity {
            Some(identity) => builder
                .with_client_auth_cert(identity.chain.clone(), identity.key())
                .expect("the key fits the certificate"),
            None => builder.with_no_client_auth(),
        };
        config.enable_sni = !self.without_sni;
        config
    }
}

/// A foreign client that the relay dials.
pub fn server_config(identity: &Identity) -> Arc<ServerConfig> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the default versions are supported")
        .with_no_client_auth()
        .with_single_cert(identity.chain.clone(), identity.key())
        .expect("the key fits the certificate");
    Arc::new(config)
}

/// A relay that R dials: it wants a certificate of this authority (RFC 4976 §9.2).
pub fn mutual_server_config(identity: &Identity, authority: &Authority) -> Arc<ServerConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der()).expect("an authority is a root");
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .expect("the verifier has a root");
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the default versions are supported")
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain.clone(), identity.key())
        .expect("the key fits the certificate");
    Arc::new(config)
}

/// Accepts any certificate: for looking at what a server presents.
#[derive(Debug)]
pub struct Anything;

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
