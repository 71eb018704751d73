//! Whose certificates count. Of a client nearly none is refused: one that proves nothing makes a
//! plain client instead of a failure (D-22).
//!
//! A chain is verified once, when it is shown. What came of it stays with the session: with the
//! connection, and in the ticket that a later one resumes by. So no chain is verified again by a
//! resumption, where only the dates are looked at; other authorities (a reload) end all tickets.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};
use webpki::{EndEntityCert, KeyUsage};

use super::chain::{ChainLimits, Disbelief, KeyKind, Path, within};

/// Authorities, and how much is looked at to find out whether they vouch for somebody.
pub struct Belief {
    pub(super) roots: RootCertStore,
    pub(super) limits: ChainLimits,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

/// What a believed chain says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verified {
    /// Its dNSNames in lower case.
    pub names: Vec<String>,
    /// The earliest end of all its certificates.
    pub not_after: UnixTime,
}

impl Belief {
    /// Believes whom `roots` vouch for.
    pub fn new(roots: RootCertStore, limits: ChainLimits, provider: &CryptoProvider) -> Self {
        Self {
            roots,
            limits,
            algorithms: provider.signature_verification_algorithms,
        }
    }

    /// Verifies a chain whose leaf counts for a relay now. Usage clientAuth, serverAuth, both or
    /// none counts; another one alone does not (TLS-15).
    pub fn judge(
        &self,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Verified, Disbelief> {
        said(&self.verify(chain, now)?, now)
    }

    fn verify<'a>(
        &self,
        chain: &'a [CertificateDer<'a>],
        now: UnixTime,
    ) -> Result<Path<'a>, Disbelief> {
        let path = Path::find(chain, &self.roots, self.limits)?;
        let verify = |usage| {
            path.leaf
                .verify_for_usage(
                    self.algorithms.all,
                    &self.roots.roots,
                    &path.intermediates,
                    now,
                    usage,
                    None,
                    None,
                )
                .map(|_| ())
        };
        match verify(KeyUsage::client_auth()) {
            // Usages are looked at before signatures, so this costs no signature twice.
            Err(webpki::Error::RequiredEkuNotFoundContext(_)) => verify(KeyUsage::server_auth()),
            verified => verified,
        }
        .map_err(Disbelief::Invalid)?;
        Ok(path)
    }

    /// The same of a chain that was verified before by these authorities: only time has passed.
    pub fn judge_again(
        &self,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Verified, Disbelief> {
        said(&Path::find(chain, &self.roots, self.limits)?, now)
    }

    /// The chain of a server that we dialled leads to an authority now and has its name (TLS-08).
    fn server(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let chain = whole(leaf, intermediates);
        let path = Path::find(&chain, &self.roots, self.limits).map_err(|why| match why {
            Disbelief::NoPath => Error::InvalidCertificate(CertificateError::UnknownIssuer),
            Disbelief::Empty => Error::NoCertificatesPresented,
            why => Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why)))),
        })?;
        let leaf = ParsedCertificate::try_from(leaf)?;
        verify_server_cert_signed_by_trust_anchor(
            &leaf,
            &self.roots,
            &path.intermediates,
            now,
            self.algorithms.all,
        )?;
        verify_server_name(&leaf, name)
    }
}

fn said(path: &Path<'_>, now: UnixTime) -> Result<Verified, Disbelief> {
    let (not_before, not_after) = path
        .validity()
        .ok_or(Disbelief::Malformed(webpki::Error::BadDerTime))?;
    if now < not_before {
        let time = now;
        return Err(Disbelief::Invalid(webpki::Error::CertNotValidYet {
            time,
            not_before,
        }));
    }
    if now > not_after {
        let time = now;
        return Err(Disbelief::Invalid(webpki::Error::CertExpired {
            time,
            not_after,
        }));
    }
    let names = path.leaf.valid_dns_names().map(str::to_ascii_lowercase);
    Ok(Verified {
        names: names.collect(),
        not_after,
    })
}

fn whole<'a>(
    leaf: &'a CertificateDer<'_>,
    intermediates: &'a [CertificateDer<'_>],
) -> Vec<CertificateDer<'a>> {
    let all = std::iter::once(leaf).chain(intermediates);
    all.map(|certificate| CertificateDer::from(certificate.as_ref()))
        .collect()
}

/// What was found out about the other side's certificate in a handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Seen {
    /// No certificate was shown in it.
    #[default]
    Nothing,
    /// More than is looked at.
    Ignored,
    /// Nobody vouches for it.
    Stranger,
    /// Its chain was verified, and the handshake does not end well without its key.
    Verified,
}

/// Of one handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Witness {
    pub seen: Seen,
    /// The session that is being resumed belongs to somebody verified.
    pub ticket: bool,
}

thread_local! {
    /// rustls asks verifier and ticketer while a session reads, and does not say for which one.
    static WITNESS: Cell<Witness> = const { Cell::new(Witness {
        seen: Seen::Nothing,
        ticket: false,
    }) };
}

impl Witness {
    /// Runs a step of the handshake that this witness is of.
    pub fn attend<T>(&mut self, step: impl FnOnce() -> T) -> T {
        WITNESS.set(*self);
        let result = step();
        *self = WITNESS.take();
        result
    }

    fn note(change: impl FnOnce(&mut Self)) {
        let mut witness = WITNESS.get();
        change(&mut witness);
        WITNESS.set(witness);
    }
}

/// Accepts whatever certificate the other side shows, or none. Of clients (TLS-05, TLS-06), who
/// are told no authorities; of servers where the operator lets us reach a last hop unverified
/// (D-25).
///
/// A signature of the handshake is checked where it gives a name, and where that costs less than a
/// handshake. Of all others (odd keys and certificates too) it is not: they are as if they had
/// shown no certificate.
pub(super) struct AnyCertificate(pub Arc<Belief>);

impl fmt::Debug for AnyCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyCertificate")
    }
}

impl AnyCertificate {
    /// Whether the handshake's signature has to be checked.
    fn counts(&self, leaf: &CertificateDer<'_>) -> bool {
        match WITNESS.get().seen {
            Seen::Verified => true,
            Seen::Stranger => EndEntityCert::try_from(leaf)
                .is_ok_and(|leaf| KeyKind::of(&leaf) == Some(KeyKind::Cheap)),
            Seen::Nothing | Seen::Ignored => false,
        }
    }
}

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let seen = match self.0.verify(&whole(end_entity, intermediates), now) {
            Ok(_) => Seen::Verified,
            Err(Disbelief::TooLong { .. }) => Seen::Ignored,
            Err(_) => Seen::Stranger,
        };
        Witness::note(|witness| witness.seen = seen);
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if !self.counts(certificate) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verify_tls12_signature(message, certificate, signature, &self.0.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if !self.counts(certificate) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verify_tls13_signature(message, certificate, signature, &self.0.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let seen = match within(&whole(end_entity, intermediates), self.0.limits) {
            Ok(()) => Seen::Stranger,
            Err(_) => Seen::Ignored,
        };
        Witness::note(|witness| witness.seen = seen);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ClientCertVerifier::verify_tls12_signature(self, message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ClientCertVerifier::verify_tls13_signature(self, message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.algorithms.supported_schemes()
    }
}

/// Accepts a server that an authority vouches for by the name that we dialled (TLS-08, TLS-09).
pub(super) struct ByName(pub Arc<Belief>);

impl fmt::Debug for ByName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByName")
    }
}

impl ServerCertVerifier for ByName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.0
            .server(end_entity, intermediates, server_name, now)
            .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.algorithms.supported_schemes()
    }
}

/// Tickets that say whether the session's owner was verified: an octet behind what rustls puts in.
#[derive(Debug)]
pub(super) struct Tickets(pub Arc<dyn rustls::server::ProducesTickets>);

impl rustls::server::ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        self.0.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.0.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let witness = WITNESS.get();
        let verified = match witness.seen {
            Seen::Nothing => witness.ticket,
            seen => seen == Seen::Verified,
        };
        self.0.encrypt(&[plain, &[u8::from(verified)]].concat())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        Witness::note(|witness| witness.ticket = false);
        let mut plain = self.0.decrypt(cipher)?;
        let verified = plain.pop()? == 1;
        Witness::note(|witness| witness.ticket = verified);
        Some(plain)
    }
}
