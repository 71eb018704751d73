//! Why a TLS session ended, by who did what.

use std::fmt;

use rustls::CertificateError;

/// Why a TLS session ended. It stays ended: every later call fails with [`TlsError::Ended`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsError {
    /// The remote side ended the session with this alert.
    Alert(String),
    /// The remote side's certificate does not verify, or not for the name we dialled (TLS-08).
    Certificate(String),
    /// There is no version, cipher suite, group or signature that both sides know (TLS-02, TLS-03).
    Incompatible(String),
    /// What arrived is not TLS, or breaks its rules.
    Misbehaved(String),
    /// A handshake message larger than any honest one.
    HandshakeTooLong,
    /// [`write`](super::TlsSession::write) before the handshake was done.
    NotEstablished,
    /// The session failed before, or we have said close_notify.
    Ended,
    /// The keys may not encrypt more records and TLS 1.2 cannot renew them.
    KeysExhausted,
    /// What we were to dial can stand in no certificate.
    NotAHost(String),
    /// The crypto library failed in a way that is nobody's misdeed.
    Internal(String),
}

impl std::error::Error for TlsError {}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alert(alert) => write!(f, "the remote side ended TLS with alert {alert}"),
            Self::Certificate(error) => write!(f, "the remote side's certificate: {error}"),
            Self::Incompatible(error) => write!(f, "no common TLS parameters: {error}"),
            Self::Misbehaved(error) => write!(f, "not TLS, or against its rules: {error}"),
            Self::HandshakeTooLong => write!(f, "a TLS handshake message is too long"),
            Self::NotEstablished => write!(f, "the TLS handshake is not done"),
            Self::Ended => write!(f, "the TLS session has ended"),
            Self::KeysExhausted => write!(f, "the TLS keys are used up"),
            Self::NotAHost(host) => write!(f, "{host} is neither a name nor an address"),
            Self::Internal(error) => write!(f, "TLS failed: {error}"),
        }
    }
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        use rustls::Error as E;
        match error {
            E::AlertReceived(alert) => Self::Alert(format!("{alert:?}")),
            E::InvalidCertificate(CertificateError::Other(why)) => {
                Self::Certificate(why.0.to_string())
            }
            E::InvalidCertificate(_) | E::NoCertificatesPresented => {
                Self::Certificate(error.to_string())
            }
            E::PeerIncompatible(_) => Self::Incompatible(error.to_string()),
            E::InappropriateMessage { .. }
            | E::InappropriateHandshakeMessage { .. }
            | E::InvalidMessage(_)
            | E::PeerMisbehaved(_)
            | E::DecryptError
            | E::PeerSentOversizedRecord => Self::Misbehaved(error.to_string()),
            _ => Self::Internal(error.to_string()),
        }
    }
}
