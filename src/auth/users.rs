//! Users as Apache's `htdigest` keeps them: `user:realm:H(user:realm:password)`, 32 hex digits
//! for MD5, 64 for SHA-256. The hash is as good as the password for this realm (SEC-05).

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::digest::Algorithm;
use super::shared_secret::{SharedSecret, TimedName};

/// H(A1) of one user, realm and algorithm, in lower-case hex.
#[derive(Clone, PartialEq, Eq)]
pub struct Ha1(Box<str>);

impl Ha1 {
    /// Of a password.
    pub fn of(algorithm: Algorithm, user: &str, realm: &str, password: &str) -> Self {
        let hash = algorithm.hash(&[user.as_bytes(), realm.as_bytes(), password.as_bytes()]);
        Self(hash.into())
    }

    /// Stands for the one of a user who is not known; it never decides, and is as long as one.
    pub(super) fn decoy(algorithm: Algorithm) -> Self {
        Self("0".repeat(Self::digits(algorithm)).into())
    }

    fn digits(algorithm: Algorithm) -> usize {
        match algorithm {
            Algorithm::Md5 => 32,
            Algorithm::Sha256 => 64,
        }
    }

    /// Of hex digits as a users' file or table has them, blanks around them left away.
    pub fn from_hex(algorithm: Algorithm, digits: &str) -> Option<Self> {
        let digits = digits.trim();
        (digits.len() == Self::digits(algorithm)
            && digits.bytes().all(|octet| octet.is_ascii_hexdigit()))
        .then(|| Self(digits.to_ascii_lowercase().into()))
    }

    pub(super) fn text(&self) -> &str {
        &self.0
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
    /// The misdeed. Never the hash.
    pub what: String,
}

impl fmt::Display for UsersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

/// All users.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Users {
    /// By realm, then by name: a look-up borrows both.
    realms: BTreeMap<Box<str>, BTreeMap<Box<str>, Hashes>>,
    /// For users who stand in no list; any of them may prove one.
    secrets: Vec<SharedSecret>,
}

/// What is known about the user that credentials name.
pub(super) enum Known<'a> {
    Nobody,
    /// He stands in the list, with a hash of the other kind.
    Otherwise,
    Listed(&'a Ha1),
    /// By one of these, until `ends` (seconds since 1970).
    Timed {
        user: &'a str,
        ends: u64,
        hashes: Vec<Ha1>,
    },
}

/// What one user can be proved by.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Hashes {
    /// For MD5.
    pub md5: Option<Ha1>,
    /// For SHA-256.
    pub sha256: Option<Ha1>,
}

impl Hashes {
    pub(super) fn of(&self, algorithm: Algorithm) -> &Option<Ha1> {
        match algorithm {
            Algorithm::Md5 => &self.md5,
            Algorithm::Sha256 => &self.sha256,
        }
    }

    fn of_mut(&mut self, algorithm: Algorithm) -> &mut Option<Ha1> {
        match algorithm {
            Algorithm::Md5 => &mut self.md5,
            Algorithm::Sha256 => &mut self.sha256,
        }
    }
}

impl Users {
    /// Reads an htdigest file. Empty lines and lines that begin with `#` are passed over.
    pub fn parse(text: &str) -> Result<Self, Vec<UsersError>> {
        let mut users = Self::default();
        let mut errors = Vec::new();
        let mut lines: HashMap<(&str, &str, Algorithm), usize> = HashMap::new();
        for (line, text) in (1..).zip(text.lines()) {
            if text.trim().is_empty() || text.starts_with('#') {
                continue;
            }
            let read = read_line(text).and_then(|(user, realm, algorithm, ha1)| {
                match lines.insert((user, realm, algorithm), line) {
                    Some(first) => Err(format!(
                        "{user} stands twice in realm {realm}, first on line {first}; remove one"
                    )),
                    None => users.set(user, realm, algorithm, ha1),
                }
            });
            if let Err(what) = read {
                errors.push(UsersError { line, what });
            }
        }
        if errors.is_empty() {
            Ok(users)
        } else {
            Err(errors)
        }
    }

    /// The H(A1) of a user, if this algorithm can prove him.
    pub fn lookup(&self, user: &str, realm: &str, algorithm: Algorithm) -> Option<&Ha1> {
        self.realms.get(realm)?.get(user)?.of(algorithm).as_ref()
    }

    /// Whether any listed user can prove who he is in this realm with this algorithm.
    pub fn any_in(&self, realm: &str, algorithm: Algorithm) -> bool {
        let users = self
            .realms
            .get(realm)
            .into_iter()
            .flat_map(BTreeMap::values);
        users
            .into_iter()
            .any(|hashes| hashes.of(algorithm).is_some())
    }

    /// Who `username` is: those in the list first.
    pub(super) fn find<'a>(
        &'a self,
        username: &'a str,
        realm: &str,
        algorithm: Algorithm,
    ) -> Known<'a> {
        if let Some(ha1) = self.lookup(username, realm, algorithm) {
            return Known::Listed(ha1);
        }
        let listed = self
            .realms
            .get(realm)
            .is_some_and(|users| users.contains_key(username));
        match TimedName::parse(username) {
            Some(TimedName { ends, user }) if !listed && !self.secrets.is_empty() => Known::Timed {
                user,
                ends,
                hashes: self
                    .secrets
                    .iter()
                    .map(|secret| secret.ha1(algorithm, username, realm))
                    .collect(),
            },
            _ if listed => Known::Otherwise,
            _ => Known::Nobody,
        }
    }

    /// Credentials made with any of `secrets` prove users too.
    pub fn set_secrets(&mut self, secrets: Vec<SharedSecret>) {
        self.secrets = secrets;
    }

    /// Adds or changes a user; an error if a name cannot stand in the file ([`check_name`]).
    pub fn set(
        &mut self,
        user: &str,
        realm: &str,
        algorithm: Algorithm,
        ha1: Ha1,
    ) -> Result<(), String> {
        check_name("user", user)?;
        check_name("realm", realm)?;
        let hashes = self.realms.entry(realm.into()).or_default();
        *hashes.entry(user.into()).or_default().of_mut(algorithm) = Some(ha1);
        Ok(())
    }

    /// Forgets a user's hashes of both kinds.
    pub fn remove(&mut self, user: &str, realm: &str) {
        if let Some(users) = self.realms.get_mut(realm) {
            users.remove(user);
        }
    }

    /// Users; one with hashes of both kinds counts once.
    pub fn len(&self) -> usize {
        self.realms.values().map(BTreeMap::len).sum()
    }

    /// Whether nobody can be known.
    pub fn is_empty(&self) -> bool {
        self.realms.is_empty() && self.secrets.is_empty()
    }
}

/// The file's text, sorted by realm and user.
impl fmt::Display for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (realm, users) in &self.realms {
            for (user, hashes) in users {
                for ha1 in [&hashes.md5, &hashes.sha256].into_iter().flatten() {
                    writeln!(f, "{user}:{realm}:{}", ha1.text())?;
                }
            }
        }
        Ok(())
    }
}

/// Whether a user or realm can stand in the file and in a header (SEC-09).
pub fn check_name(what: &str, name: &str) -> Result<(), String> {
    let illegal = |c: char| c.is_control() || matches!(c, ':' | '"' | '\\');
    if name.is_empty() {
        Err(format!("the {what} is empty"))
    } else if name.trim() != name {
        Err(format!("the {what} `{name}` begins or ends with a blank"))
    } else if name.contains(illegal) {
        Err(format!(
            "the {what} holds a colon, a quote, a backslash or a control character"
        ))
    } else {
        Ok(())
    }
}

fn read_line(line: &str) -> Result<(&str, &str, Algorithm, Ha1), String> {
    let fields: Vec<&str> = line.split(':').collect();
    let [user, realm, hash] = fields[..] else {
        return Err(format!(
            "{} instead of user:realm:hash; make the line with `msrpd passwd`",
            match fields.len() {
                1 => "no colon".to_owned(),
                n => format!("{n} fields"),
            }
        ));
    };
    check_name("user", user)?;
    check_name("realm", realm)?;
    let hash = hash.trim_end();
    if !hash.bytes().all(|octet| octet.is_ascii_hexdigit()) {
        return Err(format!(
            "the hash of {user} is not hexadecimal; a password does not stand here, but \
             MD5(user:realm:password): use `msrpd passwd`"
        ));
    }
    let algorithm = match hash.len() {
        32 => Algorithm::Md5,
        64 => Algorithm::Sha256,
        digits => {
            return Err(format!(
                "the hash of {user} has {digits} digits, not 32 (MD5) or 64 (SHA-256)"
            ));
        }
    };
    let ha1 = Ha1(hash.to_ascii_lowercase().into());
    Ok((user, realm, algorithm, ha1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: &str = "93dfce8dfebfae8af4a726982429d23a";

    fn errors(text: &str) -> Vec<String> {
        let errors = Users::parse(text).expect_err("an error");
        errors.iter().map(ToString::to_string).collect()
    }

    /// SEC-05
    #[test]
    fn an_htdigest_file_is_read_and_written_back() {
        let sha256 = "8a76b8adf2eb7492ff78f57bc361a5c93e2f53c6e93f7ee91f68b5382cfea14f";
        let text = format!(
            "# users\r\n\r\nbob:example.com:{}\r\nalice:example.com:{}\r\nalice:example.com:{sha256}\n\
             al ice:z:{ALICE}",
            "0".repeat(32),
            ALICE.to_uppercase(),
        );
        let users = Users::parse(&text).expect("legal");
        assert_eq!(users.len(), 3);
        for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
            let ha1 = Ha1::of(algorithm, "alice", "example.com", "wonderland");
            assert_eq!(users.lookup("alice", "example.com", algorithm), Some(&ha1));
        }
        assert_eq!(users.lookup("bob", "example.com", Algorithm::Sha256), None);
        assert_eq!(users.lookup("alice", "z", Algorithm::Md5), None);
        let written = users.to_string();
        assert!(written.starts_with(&format!(
            "alice:example.com:{ALICE}\nalice:example.com:{sha256}\nbob:"
        )));
        assert_eq!(Users::parse(&written), Ok(users));
    }

    #[test]
    fn every_wrong_line_is_named_and_told_what_is_wrong_with_it() {
        let text = format!(
            "alice:example.com:{ALICE}\nbob\nbob:secret\neve:r:zz\n# x\neve:r:abc\n:r:{ALICE}\n\
             a:b:c:{ALICE}\nalice:example.com:{ALICE}\n mallory:r:{ALICE}\n"
        );
        let errors = errors(&text);
        for (error, (line, word)) in errors.iter().zip([
            (2, "no colon"),
            (3, "2 fields"),
            (4, "not hexadecimal"),
            (6, "3 digits"),
            (7, "user is empty"),
            (8, "4 fields"),
            (9, "first on line 1"),
            (10, "blank"),
        ]) {
            assert!(error.starts_with(&format!("line {line}: ")), "{error}");
            assert!(error.contains(word), "{error}");
        }
        assert_eq!(errors.len(), 8, "{errors:?}");
    }

    /// SEC-09
    #[test]
    fn names_that_would_break_file_or_header_are_refused() {
        let mut users = Users::default();
        for name in ["", "a:b", "a\"b", "a\\b", "a\r\nb", "a\u{7f}", " a"] {
            let ha1 = Ha1::of(Algorithm::Md5, name, "r", "x");
            assert!(
                users.set(name, "r", Algorithm::Md5, ha1.clone()).is_err(),
                "{name:?}"
            );
            assert!(
                users.set("a", name, Algorithm::Md5, ha1).is_err(),
                "{name:?}"
            );
        }
        assert!(users.is_empty());
    }

    /// SEC-04
    #[test]
    fn debug_tells_no_hash() {
        let users = Users::parse(&format!("alice:example.com:{ALICE}\n")).expect("legal");
        assert!(!format!("{users:?}").contains(&ALICE[..8]));
        assert!(!errors(&format!("alice:example.com:{ALICE}0\n"))[0].contains(&ALICE[..8]));
    }
}
