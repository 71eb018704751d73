//! The arithmetic of RFC 2617 §3.2.2 and RFC 7616 §3.4 with qop=auth.

use md5::Md5;
use sha2::{Digest, Sha256};

use super::hex;

/// A hash that may be offered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Algorithm {
    Md5,
    Sha256,
}

impl Algorithm {
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Md5, Self::Sha256]
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// H() over the parts joined by `:`, as hex digits.
    pub fn hash(self, parts: &[&[u8]]) -> String {
        let joined = parts.join(&b':');
        match self {
            Self::Md5 => hex(&Md5::digest(&joined)),
            Self::Sha256 => hex(&Sha256::digest(&joined)),
        }
    }
}

/// H(H(A1):nonce:nc:cnonce:auth:H(method:uri)); an empty method gives `rspauth`.
pub fn response(
    algorithm: Algorithm,
    ha1: &str,
    nonce: &str,
    nc: &str,
    cnonce: &str,
    method: &[u8],
    uri: &[u8],
) -> String {
    let ha2 = algorithm.hash(&[method, uri]);
    algorithm.hash(&[
        ha1.as_bytes(),
        nonce.as_bytes(),
        nc.as_bytes(),
        cnonce.as_bytes(),
        b"auth",
        ha2.as_bytes(),
    ])
}
