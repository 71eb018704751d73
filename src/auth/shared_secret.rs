//! Credentials that are good for a time and stand in no list: whoever shares a secret with this
//! relay makes them, as for TURN servers (coturn's `use-auth-secret`).
//!
//! The user name is `SECONDS[:USER]`, the first part being the end of its life in Unix time; the
//! password is the Base64 text of HMAC-SHA-1 over the user name under the secret. The digest is
//! computed over that password, so both algorithms work.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha1::Sha1;

use super::digest::Algorithm;
use super::users::Ha1;

/// The shortest secret that is taken: 80 bits if its characters are hex digits.
pub const SECRET_OCTETS_MIN: usize = 20;

/// One secret. Several are known while one follows the other.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedSecret(Box<[u8]>);

/// It stays out of logs (SEC-04).
impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret(..)")
    }
}

impl SharedSecret {
    /// Reads a file that holds the secret and maybe a line end. The error never says what it holds.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let secret = text.trim_ascii();
        if secret.iter().any(u8::is_ascii_control) {
            return Err("it holds more than one line".into());
        }
        if secret.len() < SECRET_OCTETS_MIN {
            return Err(format!(
                "the secret has {} octets, fewer than {SECRET_OCTETS_MIN}",
                secret.len()
            ));
        }
        Ok(Self(secret.into()))
    }

    /// The password that belongs to a user name.
    pub fn password(&self, username: &str) -> String {
        let mut code = Hmac::<Sha1>::new_from_slice(&self.0).expect("HMAC takes any key");
        code.update(username.as_bytes());
        STANDARD.encode(code.finalize().into_bytes())
    }

    pub(super) fn ha1(&self, algorithm: Algorithm, username: &str, realm: &str) -> Ha1 {
        Ha1::of(algorithm, username, realm, &self.password(username))
    }
}

/// A user name that ends at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TimedName<'a> {
    /// Seconds since 1970.
    pub ends: u64,
    /// Whom it was made for; the whole name where nobody is named.
    pub user: &'a str,
}

impl<'a> TimedName<'a> {
    pub fn parse(username: &'a str) -> Option<Self> {
        let (seconds, user) = username.split_once(':').unwrap_or((username, username));
        let digits = !seconds.is_empty() && seconds.bytes().all(|octet| octet.is_ascii_digit());
        if !digits || user.is_empty() {
            return None;
        }
        let ends = seconds.parse().ok()?;
        Some(Self { ends, user })
    }
}

/// The user name of a credential for `user` that ends at `ends`, in seconds since 1970.
pub fn timed_username(ends: u64, user: &str) -> String {
    format!("{ends}:{user}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with `echo -n NAME | openssl dgst -sha1 -hmac SECRET -binary | base64`.
    #[test]
    fn the_password_is_the_one_that_turn_servers_expect() {
        let secret = SharedSecret::parse(b"north-by-northwest-1959\n").expect("long enough");
        assert_eq!(
            secret.password("1700000000:alice"),
            "xX3k/TX3xq4fXKbnnDoDkfWpE0g="
        );
    }

    #[test]
    fn a_timed_name_begins_with_a_time() {
        let timed = |ends, user| Some(TimedName { ends, user });
        assert_eq!(TimedName::parse("17:alice"), timed(17, "alice"));
        assert_eq!(TimedName::parse("17:a:b"), timed(17, "a:b"));
        assert_eq!(TimedName::parse("17"), timed(17, "17"));
        for name in [
            "",
            "alice",
            ":alice",
            "17:",
            "+17:a",
            "99999999999999999999:a",
        ] {
            assert_eq!(TimedName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn short_or_broken_secrets_are_refused_without_being_shown() {
        for text in ["", "short", "two lines of\nmany characters each"] {
            let error = SharedSecret::parse(text.as_bytes()).expect_err("refused");
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
        let secret = SharedSecret::parse(b"  0123456789abcdefghij\r\n").expect("long enough");
        assert!(!format!("{secret:?}").contains("0123"));
    }
}
