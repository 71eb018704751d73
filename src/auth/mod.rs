//! Digest authentication as RFC 4976 §9.1 profiles RFC 2617, with RFC 7616's SHA-256 beside
//! MD5: challenges, nonces, verdicts (D-04, D-15 to D-18). Pure: time and random octets come in,
//! and passwords are never known, only H(A1).
//!
//! [`Authenticator::judge`] says what credentials are worth; a [`Judgement::Proved`] becomes a
//! 200 only after the [`NonceLedger`] of the shard that keeps the nonce took the claim, and after
//! Expires was looked at (AUT-18), which is the relay's part.

mod authorization;
mod challenge;
mod digest;
mod farm_keys;
mod nonce;
mod nonce_ledger;
mod shared_secret;
mod users;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use subtle::ConstantTimeEq;

pub use authorization::{Authorization, IllFormed};
pub use challenge::realms;
pub use digest::{Algorithm, response};
pub use farm_keys::{FarmKey, FarmKeyError, parse_farm_keys};
pub use nonce::{NonceKeys, WallClock};
pub use nonce_ledger::NonceLedger;
pub use shared_secret::{SharedSecret, timed_username};
pub use users::{Ha1, Hashes, Users, UsersError, check_name};

use crate::wire::Uri;

use nonce::{Age, Lifetimes};
use users::Known;

/// What the operator decides about AUTH.
#[derive(Clone, Debug)]
pub struct Settings {
    /// One realm for all names. None: the addressed name is the realm (D-04).
    pub realm: Option<String>,
    /// Realms of single names, which come first (AUT-06).
    pub realms: BTreeMap<String, String>,
    /// Those offered, strongest first whatever the order here (D-17).
    pub algorithms: Vec<Algorithm>,
    /// How long a nonce may be used; generous, because deployed clients retry once only (D-16).
    pub nonce_lifetime: Duration,
    /// Users that are known and may not use this relay (AUT-17).
    pub disabled: Vec<String>,
    /// Somebody else is to be asked for users whom nobody here knows.
    pub looks_up: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            realm: None,
            realms: BTreeMap::new(),
            algorithms: vec![Algorithm::Md5],
            nonce_lifetime: Duration::from_secs(300),
            disabled: Vec::new(),
            looks_up: false,
        }
    }
}

/// Judges credentials. One for each shard; users and keys are shared.
#[derive(Clone)]
pub struct Authenticator {
    settings: Arc<Settings>,
    users: Arc<Users>,
    keys: Arc<NonceKeys>,
    lifetimes: Lifetimes,
    wall: WallClock,
}

/// Which parameters of a challenge stand in quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quoting {
    /// As RFC 2617 and RFC 7616 have it: algorithm and stale are bare (AUT-04).
    Standard,
    /// All: a deployed WebSocket client reads no bare ones.
    All,
}

impl Quoting {
    fn push(self, value: &mut String, word: &str) {
        match self {
            Self::Standard => value.push_str(word),
            Self::All => value.extend(["\"", word, "\""]),
        }
    }
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
    /// Nobody here knows the user: look for his hashes, then [`Authenticator::judge_found`].
    LookUp {
        /// Whom.
        user: Arc<str>,
        /// Where.
        realm: Arc<str>,
    },
}

/// Credentials that were right, and what the answer needs of them.
#[derive(Clone)]
pub struct Proof {
    /// Who.
    pub user: Arc<str>,
    /// Where.
    pub realm: Arc<str>,
    /// Names the nonce; random bits of ours.
    pub nonce_id: u128,
    /// The nonce's count, at least 1.
    pub nc: u32,
    /// The same for each use of the nonce.
    pub nonce_expires: Instant,
    /// What is left of a credential that is good for a time.
    pub left: Option<Duration>,
    cnonce: Box<str>,
    nc_text: Box<str>,
    rspauth: Box<str>,
}

/// What proves stays out of logs (SEC-04).
impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut proof = f.debug_struct("Proof");
        proof.field("user", &self.user).field("realm", &self.realm);
        proof.finish_non_exhaustive()
    }
}

impl Authenticator {
    /// Settings, users and keys are the same for all shards.
    pub fn new(settings: Arc<Settings>, users: Arc<Users>, keys: Arc<NonceKeys>) -> Self {
        let lifetimes = Lifetimes::new(settings.nonce_lifetime);
        let wall = keys.clock();
        Self {
            settings,
            users,
            keys,
            lifetimes,
            wall,
        }
    }

    /// Other settings and users from now on.
    pub fn reconfigure(&mut self, now: Instant, settings: Arc<Settings>, users: Arc<Users>) {
        self.lifetimes.change(now, settings.nonce_lifetime);
        self.settings = settings;
        self.users = users;
    }

    /// What the clock on the wall says now; it may have been set since the last time.
    pub fn set_wall_clock(&mut self, wall: WallClock) {
        self.wall = wall;
    }

    /// Other keys of nonces from now on.
    pub fn set_keys(&mut self, keys: Arc<NonceKeys>) {
        self.keys = keys;
    }

    /// The realm of an addressed name.
    pub fn realm<'a>(&'a self, host: &'a str) -> &'a str {
        let mut realms = self.settings.realms.iter();
        realms
            .find(|(name, _)| name.eq_ignore_ascii_case(host))
            .map(|(_, realm)| realm.as_str())
            .or(self.settings.realm.as_deref())
            .unwrap_or(host)
    }

    /// Values of the WWW-Authenticate headers for the addressed name `host`, strongest first,
    /// MD5 last (AUT-04, AUT-07). `random` must come from a CSPRNG and not be used again.
    pub fn challenge(
        &self,
        now: Instant,
        random: [u8; 24],
        host: &str,
        stale: bool,
        quoting: Quoting,
    ) -> Vec<String> {
        let realm = quotable(self.realm(host));
        let nonce = self.keys.mint_by(now, &self.wall, &random);
        // Nobody reads it again, but deployed clients fail without it (D-17).
        let opaque = hex(&random[16..]);
        let offered = &self.settings.algorithms;
        // Absent means MD5; deployed clients ignore the parameter or never saw it.
        let named = *offered != [Algorithm::Md5];
        Algorithm::STRONGEST_FIRST
            .into_iter()
            .filter(|algorithm| offered.contains(algorithm))
            .map(|algorithm| {
                let mut value = format!(
                    "Digest realm=\"{realm}\", nonce=\"{nonce}\", opaque=\"{opaque}\", qop=\"auth\""
                );
                if named {
                    value.push_str(", algorithm=");
                    quoting.push(&mut value, algorithm.name());
                }
                if stale {
                    value.push_str(", stale=");
                    quoting.push(&mut value, "true");
                }
                value
            })
            .collect()
    }

    /// Judges an Authorization for the name `host`; `uri` is the rightmost To-Path URI as text.
    ///
    /// First the form, then the digest, then the nonce, then the user: `stale=true` and 403 are
    /// for those only who know the password (AUT-13, AUT-17).
    pub fn judge(&self, now: Instant, host: &str, authorization: &[u8], uri: &[u8]) -> Judgement {
        self.weigh(now, host, authorization, uri, None)
    }

    /// The same once somebody else was asked: `found` are the user's hashes, none if there is
    /// no such user.
    pub fn judge_found(
        &self,
        now: Instant,
        host: &str,
        authorization: &[u8],
        uri: &[u8],
        found: Option<&Hashes>,
    ) -> Judgement {
        self.weigh(now, host, authorization, uri, Some(found))
    }

    fn weigh(
        &self,
        now: Instant,
        host: &str,
        authorization: &[u8],
        uri: &[u8],
        found: Option<Option<&Hashes>>,
    ) -> Judgement {
        let realm = self.realm(host);
        let credentials = match Authorization::parse(authorization) {
            Ok(Some(credentials)) => credentials,
            Ok(None) => return Judgement::Missing,
            Err(IllFormed) => return Judgement::Malformed,
        };
        if credentials.realm != realm {
            return Judgement::Missing;
        }
        let Some(hashed_uri) = digest_uri(&credentials, uri) else {
            return Judgement::Malformed;
        };
        let Some(algorithm) = self.algorithm(&credentials) else {
            return Judgement::Wrong;
        };

        // An unknown user takes the way of a known one, down to the last comparison (AUT-12).
        let known = match found {
            None => self.users.find(&credentials.username, realm, algorithm),
            Some(found) => match found.and_then(|hashes| hashes.of(algorithm).as_ref()) {
                Some(ha1) => Known::Listed(ha1),
                None => Known::Otherwise,
            },
        };
        let decoy = Ha1::decoy(algorithm);
        let (hashes, is_known) = match &known {
            Known::Nobody | Known::Otherwise => (std::slice::from_ref(&decoy), false),
            Known::Listed(ha1) => (std::slice::from_ref(*ha1), true),
            Known::Timed { hashes, .. } => (hashes.as_slice(), true),
        };
        let digest = |ha1: &Ha1, method| {
            let Authorization {
                nonce, nc, cnonce, ..
            } = credentials;
            response(algorithm, ha1.text(), nonce, nc, cnonce, method, hashed_uri)
        };
        let given = credentials.response.to_ascii_lowercase();
        let proves = |ha1: &&Ha1| {
            let right = digest(ha1, b"AUTH");
            bool::from(right.as_bytes().ct_eq(given.as_bytes()))
        };
        // All are tried, so that time does not tell which of them it was.
        let right: Vec<&Ha1> = hashes.iter().filter(proves).collect();
        let age = self
            .keys
            .age_by(now, &self.wall, credentials.nonce, &self.lifetimes);
        let Some(ha1) = right.first().filter(|_| is_known) else {
            // Only whoever was challenged may make us ask. A name that looks like one of a
            // credential for a time may be anybody's once no secret proves it.
            let unknown = matches!(known, Known::Nobody | Known::Timed { .. });
            if unknown && self.settings.looks_up && !matches!(age, Age::NotOurs) {
                return Judgement::LookUp {
                    user: (&*credentials.username).into(),
                    realm: realm.into(),
                };
            }
            return Judgement::Wrong;
        };
        let (user, left) = match known {
            Known::Timed { user, ends, .. } => match self.wall.left_until(now, ends) {
                // Past its time it is no credential any more.
                None => return Judgement::Wrong,
                left => (user, left),
            },
            _ => (&*credentials.username, None),
        };
        let (nonce_id, nonce_expires) = match age {
            Age::NotOurs => return Judgement::Wrong,
            Age::Old => return Judgement::Stale,
            Age::Fresh { id, expires } => (id, expires),
        };
        if self
            .settings
            .disabled
            .iter()
            .any(|disabled| disabled == user)
        {
            return Judgement::Forbidden;
        }
        Judgement::Proved(Proof {
            rspauth: digest(ha1, b"").into(),
            user: user.into(),
            realm: realm.into(),
            nonce_id,
            nc: credentials.count,
            nonce_expires,
            left,
            cnonce: credentials.cnonce.into(),
            nc_text: credentials.nc.into(),
        })
    }

    /// Absent means MD5; one that was not offered fails (AUT-07).
    fn algorithm(&self, credentials: &Authorization<'_>) -> Option<Algorithm> {
        let algorithm = match credentials.algorithm {
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
            self.keys.mint_by(now, &self.wall, &random),
            proof.rspauth,
            proof.cnonce,
            proof.nc_text
        )
    }
}

/// The text that goes into H(A2): the rightmost To-Path URI as received, or the `uri`
/// parameter if it is equivalent but spelled otherwise (AUT-08, AUT-09, D-15).
fn digest_uri<'a>(credentials: &Authorization<'a>, to_path: &'a [u8]) -> Option<&'a [u8]> {
    let Some(given) = credentials.uri else {
        return Some(to_path);
    };
    let given_uri = Uri::parse(given.as_bytes()).ok()?;
    let addressed = Uri::parse(to_path).ok()?;
    given_uri.equivalent(&addressed).then_some(given.as_bytes())
}

/// A realm as it stands between quotes. [`check_name`] lets none pass that needs this; a header
/// must not depend on that (SEC-09).
fn quotable(realm: &str) -> String {
    let mut quoted = String::with_capacity(realm.len());
    for character in realm.chars().filter(|c| !c.is_control()) {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted
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
