//! Users as Apache's `htdigest` keeps them: `user:realm:H(user:realm:password)`, 32 hex digits
//! for MD5, 64 for SHA-256. The hash is as good as the password for this realm (SEC-05).

use std::collections::BTreeMap;
use std::fmt;

use super::digest::Algorithm;

/// H(A1) of one user, realm and algorithm.
#[derive(Clone, PartialEq, Eq)]
pub struct Ha1(String);

impl Ha1 {
    /// Of a password.
    pub fn of(algorithm: Algorithm, user: &str, realm: &str, password: &str) -> Self {
        Self(algorithm.hash(&[user.as_bytes(), realm.as_bytes(), password.as_bytes()]))
    }

    pub(super) fn text(&self) -> String {
        self.0.clone()
    }
}

impl fmt::Debug for Ha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ha1(..)")
    }
}

/// A line that is not one of a user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsersError {
    /// From 1.
    pub line: usize,
    pub what: String,
}

impl fmt::Display for UsersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

/// All users.
#[derive(Clone, Default, Debug)]
pub struct Users {
    known: BTreeMap<(String, String, Algorithm), Ha1>,
}

impl Users {
    /// Reads an htdigest file. Empty lines and lines that begin with `#` are passed over.
    pub fn parse(text: &str) -> Result<Self, Vec<UsersError>> {
        let mut users = Self::default();
        let mut errors = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line_text = line.trim_end_matches('\r');
            if line_text.trim().is_empty() || line_text.starts_with('#') {
                continue;
            }
            match users.add_line(line_text) {
                Ok(()) => {}
                Err(what) => errors.push(UsersError {
                    line: index + 1,
                    what,
                }),
            }
        }
        if errors.is_empty() {
            Ok(users)
        } else {
            Err(errors)
        }
    }

    fn add_line(&mut self, line: &str) -> Result<(), String> {
        let parts: Vec<&str> = line.split(':').collect();
        let [user, realm, hash] = parts[..] else {
            return Err(format!(
                "has {} fields, not user:realm:hash; make it with `msrpd passwd`",
                parts.len()
            ));
        };
        check_name("user", user)?;
        check_name("realm", realm)?;
        let algorithm = match hash.len() {
            32 => Algorithm::Md5,
            64 => Algorithm::Sha256,
            length => {
                return Err(format!(
                    "the hash has {length} digits, not 32 (MD5) or 64 (SHA-256)"
                ));
            }
        };
        if !hash.bytes().all(|octet| octet.is_ascii_hexdigit()) {
            return Err("the hash is not hexadecimal".into());
        }
        let key = (user.to_owned(), realm.to_owned(), algorithm);
        if self
            .known
            .insert(key, Ha1(hash.to_ascii_lowercase()))
            .is_some()
        {
            return Err(format!("{user} stands twice in realm {realm}"));
        }
        Ok(())
    }

    pub fn lookup(&self, user: &str, realm: &str, algorithm: Algorithm) -> Option<&Ha1> {
        // The key is compared by value, so the tuple needs strings of its own.
        self.known
            .get(&(user.to_owned(), realm.to_owned(), algorithm))
    }

    /// Adds or changes a user. The names must pass [`check_name`].
    pub fn set(
        &mut self,
        user: &str,
        realm: &str,
        algorithm: Algorithm,
        ha1: Ha1,
    ) -> Result<(), String> {
        check_name("user", user)?;
        check_name("realm", realm)?;
        self.known
            .insert((user.to_owned(), realm.to_owned(), algorithm), ha1);
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.known.len()
    }

    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

/// Whether a user or realm can stand in the file and in a header (SEC-09).
pub fn check_name(what: &str, name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err(format!("the {what} is empty"));
    }
    if name
        .chars()
        .any(|character| character.is_control() || matches!(character, ':' | '"' | '\\'))
    {
        return Err(format!(
            "the {what} holds a colon, a quote, a backslash or a control character"
        ));
    }
    Ok(())
}

impl fmt::Display for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((user, realm, _), ha1) in &self.known {
            writeln!(f, "{user}:{realm}:{}", ha1.0)?;
        }
        Ok(())
    }
}
