//! Digest authentication as RFC 4976 §9.1 profiles RFC 2617, with RFC 7616's SHA-256 beside
//! MD5: challenges, nonces, verdicts. Pure: time and random octets come in.

mod authorization;
mod digest;
mod nonce;
mod users;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use subtle::ConstantTimeEq;

pub use authorization::Authorization;
pub use digest::{Algorithm, response};
pub use nonce::{NonceKeys, NonceLedger};
pub use users::{Ha1, Users, UsersError, check_name};

use crate::wire::Uri;

use nonce::Age;

/// What the operator decides about AUTH.
#[derive(Clone, Debug)]
pub struct Settings {
    /// One realm for all names. None: the addressed name is the realm (D-04).
    pub realm: Option<String>,
    /// Realms of single names (AUT-06).
    pub realms: BTreeMap<String, String>,
    /// Offered in this order, MD5 last (D-17).
    pub algorithms: Vec<Algorithm>,
    pub nonce_lifetime: Duration,
    /// Users that are known and may not use this relay (AUT-17).
    pub disabled: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            realm: None,
            realms: BTreeMap::new(),
            algorithms: vec![Algorithm::Md5],
            nonce_lifetime: Duration::from_secs(300),
            disabled: Vec::new(),
        }
    }
}

/// Judges credentials. One for each shard; users and keys are shared.
#[derive(Clone)]
pub struct Authenticator {
    settings: Arc<Settings>,
    users: Arc<Users>,
    keys: Arc<NonceKeys>,
}

/// What a request's credentials are worth.
#[derive(Debug)]
pub enum Judgement {
    /// No digest credentials for this realm: 401.
    Missing,
    /// A required parameter is missing or ill-formed: 400 (AUT-10).
    Malformed,
    /// 401, and it counts as a failed attempt (AUT-12).
    Wrong,
    /// The digest is right, the nonce is too old: 401 with `stale=true` (AUT-13).
    Stale,
    /// Right, and not allowed: 403 (AUT-17).
    Forbidden,
    /// Right. The nonce's use must still be claimed ([`NonceLedger`]).
    Proved(Proof),
}

/// Credentials that were right, and what the answer needs of them.
#[derive(Clone, Debug)]
pub struct Proof {
    pub user: Arc<str>,
    pub realm: Arc<str>,
    /// Names the nonce; random bits of ours.
    pub nonce_id: u128,
    pub nc: u32,
    pub nonce_expires: Instant,
    cnonce: Box<str>,
    nc_text: Box<str>,
    rspauth: Box<str>,
}

impl Authenticator {
    pub fn new(settings: Arc<Settings>, users: Arc<Users>, keys: Arc<NonceKeys>) -> Self {
        Self {
            settings,
            users,
            keys,
        }
    }

    /// Other users from now on.
    pub fn set_users(&mut self, users: Arc<Users>) {
        self.users = users;
    }

    /// The realm of an addressed name.
    pub fn realm<'a>(&'a self, host: &'a str) -> &'a str {
        self.settings
            .realms
            .get(host)
            .map(String::as_str)
            .or(self.settings.realm.as_deref())
            .unwrap_or(host)
    }

    /// Values of the WWW-Authenticate headers, strongest first, MD5 last (AUT-04, AUT-07).
    pub fn challenge(
        &self,
        now: Instant,
        random: [u8; 24],
        host: &str,
        stale: bool,
    ) -> Vec<String> {
        let realm = self.realm(host);
        let nonce = self.keys.mint(now, &random);
        let opaque = hex(&random[16..]);
        let several = self.settings.algorithms.len() > 1;
        self.settings
            .algorithms
            .iter()
            .map(|algorithm| {
                let mut value = format!(
                    "Digest realm=\"{realm}\", nonce=\"{nonce}\", opaque=\"{opaque}\", qop=\"auth\""
                );
                // Absent means MD5; deployed clients ignore the parameter or never saw it.
                if several || *algorithm != Algorithm::Md5 {
                    value.push_str(", algorithm=");
                    value.push_str(algorithm.name());
                }
                if stale {
                    value.push_str(", stale=true");
                }
                value
            })
            .collect()
    }

    /// Judges an Authorization for the name `host`; `uri` is the rightmost To-Path URI as text.
    pub fn judge(&self, now: Instant, host: &str, authorization: &[u8], uri: &[u8]) -> Judgement {
        let realm = self.realm(host);
        let credentials = match Authorization::parse(authorization) {
            Ok(Some(credentials)) => credentials,
            Ok(None) => return Judgement::Missing,
            Err(()) => return Judgement::Malformed,
        };
        if credentials.realm != realm {
            return Judgement::Missing;
        }
        let Some(algorithm) = self.algorithm(&credentials) else {
            return Judgement::Wrong;
        };
        let Some(hashed_uri) = digest_uri(&credentials, uri) else {
            return Judgement::Malformed;
        };

        // An unknown user costs what a known one does, down to the last comparison (AUT-12).
        let known = self.users.lookup(&credentials.username, realm, algorithm);
        let ha1 = known.map_or_else(
            || algorithm.hash(&[&self.keys.decoy(&credentials.username)]),
            Ha1::text,
        );
        let expected = response(
            algorithm,
            &ha1,
            &credentials.nonce,
            &credentials.nc,
            &credentials.cnonce,
            b"AUTH",
            hashed_uri,
        );
        let right = bool::from(
            expected
                .as_bytes()
                .ct_eq(credentials.response.to_ascii_lowercase().as_bytes()),
        );
        let age = self
            .keys
            .age(now, &credentials.nonce, self.settings.nonce_lifetime);
        if !right || known.is_none() {
            return Judgement::Wrong;
        }
        let (nonce_id, nonce_expires) = match age {
            Age::NotOurs => return Judgement::Wrong,
            Age::Old => return Judgement::Stale,
            Age::Fresh { id, expires } => (id, expires),
        };
        if self.settings.disabled.contains(&credentials.username) {
            return Judgement::Forbidden;
        }
        let rspauth = response(
            algorithm,
            &ha1,
            &credentials.nonce,
            &credentials.nc,
            &credentials.cnonce,
            b"",
            hashed_uri,
        );
        Judgement::Proved(Proof {
            user: credentials.username.into(),
            realm: realm.into(),
            nonce_id,
            nc: u32::from_str_radix(&credentials.nc, 16).unwrap_or(0),
            nonce_expires,
            cnonce: credentials.cnonce.into(),
            nc_text: credentials.nc.into(),
            rspauth: rspauth.into(),
        })
    }

    /// Absent means MD5; one that was not offered fails (AUT-07).
    fn algorithm(&self, credentials: &Authorization) -> Option<Algorithm> {
        let algorithm = match &credentials.algorithm {
            None => Algorithm::Md5,
            Some(name) => Algorithm::from_name(name)?,
        };
        self.settings
            .algorithms
            .contains(&algorithm)
            .then_some(algorithm)
    }

    /// Authentication-Info of a 200 (AUT-15), with a nonce for the next AUTH (AUT-16).
    pub fn authentication_info(&self, now: Instant, random: [u8; 24], proof: &Proof) -> String {
        format!(
            "nextnonce=\"{}\", rspauth=\"{}\", cnonce=\"{}\", nc={}, qop=auth",
            self.keys.mint(now, &random),
            proof.rspauth,
            proof.cnonce,
            proof.nc_text
        )
    }
}

/// The text that goes into H(A2): the rightmost To-Path URI as received, or the `uri`
/// parameter if it is equivalent but spelled otherwise (AUT-08, AUT-09, D-15).
fn digest_uri<'a>(credentials: &'a Authorization, to_path: &'a [u8]) -> Option<&'a [u8]> {
    let Some(given) = &credentials.uri else {
        return Some(to_path);
    };
    let (given_uri, addressed) = (
        Uri::parse(given.as_bytes()).ok()?,
        Uri::parse(to_path).ok()?,
    );
    given_uri.equivalent(&addressed).then_some(given.as_bytes())
}

fn hex(octets: &[u8]) -> String {
    use std::fmt::Write;
    octets.iter().fold(
        String::with_capacity(octets.len() * 2),
        |mut text, octet| {
            let _ = write!(text, "{octet:02x}");
            text
        },
    )
}

#[cfg(test)]
mod tests;
