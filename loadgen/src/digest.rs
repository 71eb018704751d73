//! HTTP Digest as an MSRP client does it: RFC 2617 and RFC 7616 as profiled by RFC 4976 §9.1.
//!
//! Reads a challenge, makes the Authorization, checks what comes back in Authentication-Info.
//! Knows MD5 and SHA-256 with `qop=auth`, which is all that MSRP allows. No randomness of its own
//! but in [`fresh_cnonce`].

use std::fmt;

use md5::{Digest as _, Md5};
use sha2::Sha256;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

    /// H() of the RFCs, in lower-case hex.
    pub fn hash(self, text: &str) -> String {
        match self {
            Self::Md5 => hex(&Md5::digest(text)),
            Self::Sha256 => hex(&Sha256::digest(text)),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DigestError {
    /// Not `Digest name=value, ...`.
    Syntax(String),
    /// A parameter that must be there is not.
    Missing(&'static str),
    /// An algorithm or qop that MSRP does not know.
    Unsupported(String),
    /// The relay's proof that it knows the password is wrong, or speaks of another request.
    WrongProof(String),
}

impl fmt::Display for DigestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(text) => write!(f, "malformed digest header: {text}"),
            Self::Missing(name) => write!(f, "digest header lacks `{name}`"),
            Self::Unsupported(what) => write!(f, "digest header asks for unsupported {what}"),
            Self::WrongProof(what) => write!(f, "Authentication-Info does not fit: {what}"),
        }
    }
}

impl std::error::Error for DigestError {}

/// One `name=value` of a digest header, with what a test may want to know about its spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    pub name: String,
    pub value: String,
    pub quoted: bool,
}

/// Splits `name=value, name="value"`; a scheme word must be off already.
pub fn params(text: &str) -> Result<Vec<Param>, DigestError> {
    let syntax = || DigestError::Syntax(text.to_owned());
    let mut out = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, tail) = rest.split_once('=').ok_or_else(syntax)?;
        let name = name.trim();
        if name.is_empty()
            || !name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        {
            return Err(syntax());
        }
        let (value, quoted, tail) = match tail.strip_prefix('"') {
            Some(inner) => {
                let (value, used) = unquote(inner).ok_or_else(syntax)?;
                (value, true, &inner[used..])
            }
            None => {
                let end = tail.find(',').unwrap_or(tail.len());
                (tail[..end].trim().to_owned(), false, &tail[end..])
            }
        };
        out.push(Param {
            name: name.to_owned(),
            value,
            quoted,
        });
        rest = match tail.trim_start() {
            "" => "",
            more => more.strip_prefix(',').ok_or_else(syntax)?.trim_start(),
        };
    }
    Ok(out)
}

/// The text up to the closing quote, and how many octets that took with the quote.
fn unquote(inner: &str) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, at + 1)),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

fn find<'a>(params: &'a [Param], name: &str) -> Option<&'a str> {
    params
        .iter()
        .find(|p| p.name.eq_ignore_ascii_case(name))
        .map(|p| p.value.as_str())
}

/// The value of a WWW-Authenticate header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    pub realm: String,
    pub nonce: String,
    pub opaque: Option<String>,
    pub algorithm: Algorithm,
    pub stale: bool,
    /// All parameters as they stood.
    pub params: Vec<Param>,
}

impl Challenge {
    pub fn parse(value: &str) -> Result<Self, DigestError> {
        let text = strip_scheme(value)?;
        let params = params(text)?;
        let need = |name| {
            find(&params, name)
                .map(str::to_owned)
                .ok_or(DigestError::Missing(name))
        };
        let qop = need("qop")?;
        if !qop
            .split(',')
            .any(|q| q.trim().eq_ignore_ascii_case("auth"))
        {
            return Err(DigestError::Unsupported(format!("qop {qop}")));
        }
        Ok(Self {
            realm: need("realm")?,
            nonce: need("nonce")?,
            opaque: find(&params, "opaque").map(str::to_owned),
            algorithm: algorithm(&params)?,
            stale: find(&params, "stale").is_some_and(|s| s.eq_ignore_ascii_case("true")),
            params,
        })
    }

    /// The strongest of several WWW-Authenticate values that we can answer.
    pub fn choose<'a>(values: impl IntoIterator<Item = &'a str>) -> Result<Self, DigestError> {
        let mut best: Option<Self> = None;
        let mut error = DigestError::Missing("WWW-Authenticate");
        for value in values {
            match Self::parse(value) {
                Ok(challenge)
                    if best
                        .as_ref()
                        .is_none_or(|b| challenge.algorithm > b.algorithm) =>
                {
                    best = Some(challenge);
                }
                Ok(_) => {}
                Err(e) => error = e,
            }
        }
        best.ok_or(error)
    }
}

fn strip_scheme(value: &str) -> Result<&str, DigestError> {
    match value.trim().split_once(' ') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("Digest") => Ok(rest),
        _ => Err(DigestError::Syntax(value.to_owned())),
    }
}

fn algorithm(params: &[Param]) -> Result<Algorithm, DigestError> {
    match find(params, "algorithm") {
        None => Ok(Algorithm::Md5),
        Some(a) if a.eq_ignore_ascii_case("MD5") => Ok(Algorithm::Md5),
        Some(a) if a.eq_ignore_ascii_case("SHA-256") => Ok(Algorithm::Sha256),
        Some(a) => Err(DigestError::Unsupported(format!("algorithm {a}"))),
    }
}

/// How the Authorization is spelled; deployed clients differ (D-15, D-17).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spelling {
    /// Adds `uri=`.
    pub uri: bool,
    /// Quotes `qop` and `nc` as well.
    pub all_quoted: bool,
}

/// An answer to a challenge, and what it needs to check the relay's own proof.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The value of the Authorization header.
    pub authorization: String,
    pub response: String,
    /// The rspauth that only somebody with the password can send back.
    pub rspauth: String,
    cnonce: String,
    nc: String,
}

/// Who answers. `uri` is the rightmost To-Path URI of the AUTH, as text (RFC 4976 §9.1).
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    pub user: &'a str,
    pub password: &'a str,
    pub uri: &'a str,
}

impl Answer {
    /// `nc` counts the uses of this nonce, from 1.
    pub fn new(
        challenge: &Challenge,
        asker: Asker<'_>,
        cnonce: &str,
        nc: u32,
        spelling: Spelling,
    ) -> Self {
        let Challenge {
            realm,
            nonce,
            algorithm,
            ..
        } = challenge;
        let Asker {
            user,
            password,
            uri,
        } = asker;
        let nc = format!("{nc:08x}");
        let ha1 = algorithm.hash(&format!("{user}:{realm}:{password}"));
        let proof = |a2: String| {
            algorithm.hash(&format!(
                "{ha1}:{nonce}:{nc}:{cnonce}:auth:{}",
                algorithm.hash(&a2)
            ))
        };
        let response = proof(format!("AUTH:{uri}"));
        let rspauth = proof(format!(":{uri}"));
        let mut out = format!(
            "Digest username={}, realm={}, nonce={}",
            quote(user),
            quote(realm),
            quote(nonce)
        );
        if let Some(opaque) = &challenge.opaque {
            out += &format!(", opaque={}", quote(opaque));
        }
        out += &match spelling.all_quoted {
            true => format!(", qop=\"auth\", nc=\"{nc}\""),
            false => format!(", qop=auth, nc={nc}"),
        };
        out += &format!(", cnonce={}, response=\"{response}\"", quote(cnonce));
        if *algorithm != Algorithm::Md5 {
            out += &format!(", algorithm={}", algorithm.name());
        }
        if spelling.uri {
            out += &format!(", uri={}", quote(uri));
        }
        Self {
            authorization: out,
            response,
            rspauth,
            cnonce: cnonce.to_owned(),
            nc,
        }
    }

    /// Checks the Authentication-Info of the 200 (AUT-15).
    pub fn verify(&self, info: &AuthenticationInfo) -> Result<(), DigestError> {
        let wrong = |what: String| Err(DigestError::WrongProof(what));
        if info.cnonce != self.cnonce {
            return wrong(format!("cnonce {} instead of {}", info.cnonce, self.cnonce));
        }
        if info.nc != self.nc {
            return wrong(format!("nc {} instead of {}", info.nc, self.nc));
        }
        if info.rspauth != self.rspauth {
            return wrong(format!(
                "rspauth {} instead of {}",
                info.rspauth, self.rspauth
            ));
        }
        Ok(())
    }
}

/// The value of an Authentication-Info header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthenticationInfo {
    pub nextnonce: Option<String>,
    pub rspauth: String,
    pub cnonce: String,
    pub nc: String,
    pub qop: String,
    /// All parameters as they stood.
    pub params: Vec<Param>,
}

impl AuthenticationInfo {
    pub fn parse(value: &str) -> Result<Self, DigestError> {
        let params = params(value)?;
        let need = |name| {
            find(&params, name)
                .map(str::to_owned)
                .ok_or(DigestError::Missing(name))
        };
        Ok(Self {
            nextnonce: find(&params, "nextnonce").map(str::to_owned),
            rspauth: need("rspauth")?,
            cnonce: need("cnonce")?,
            nc: need("nc")?,
            qop: need("qop")?,
            params,
        })
    }
}

/// 16 hex digits from the kernel's generator.
pub fn fresh_cnonce() -> String {
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random).expect("the kernel has random octets");
    hex(&random)
}

fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const W01: &str = r#"Digest realm="example.com", nonce="Z2uLuEznJn3VIN7KSBHI8QpT5jY1LwaY", opaque="f1584b995a4770986ad75bb8d29e9734", qop="auth""#;

    fn alice(uri: &str) -> Asker<'_> {
        Asker {
            user: "alice",
            password: "wonderland",
            uri,
        }
    }

    #[test]
    fn md5_vector_of_w_01_aut_08() {
        let challenge = Challenge::choose([W01]).unwrap();
        let asker = alice("msrps://relay.example.com;tcp");
        let answer = Answer::new(
            &challenge,
            asker,
            "f2a9c4d18b7e0356",
            1,
            Spelling::default(),
        );
        assert_eq!(
            answer.authorization,
            r#"Digest username="alice", realm="example.com", nonce="Z2uLuEznJn3VIN7KSBHI8QpT5jY1LwaY", opaque="f1584b995a4770986ad75bb8d29e9734", qop=auth, nc=00000001, cnonce="f2a9c4d18b7e0356", response="680521922c7de0b6b0cf6bae1513552f""#
        );
        let info = r#"nextnonce="BICpPS6bCUuJ4I4Bl2CJrBgZOvgCxmtj", rspauth="2d8f3f63ca64f1a6f8284e900f3fc92a", cnonce="f2a9c4d18b7e0356", nc=00000001, qop=auth"#;
        let info = AuthenticationInfo::parse(info).unwrap();
        answer.verify(&info).unwrap();
        assert_eq!(
            info.nextnonce.as_deref(),
            Some("BICpPS6bCUuJ4I4Bl2CJrBgZOvgCxmtj")
        );
        let forged = AuthenticationInfo {
            rspauth: "2d8f".into(),
            ..info
        };
        assert!(matches!(
            answer.verify(&forged),
            Err(DigestError::WrongProof(_))
        ));
    }

    #[test]
    fn sha256_vector_of_w_02_aut_07() {
        let md5 = r#"Digest realm="example.com", nonce="hyHWZO9gCWqlWeGqbHLK8frPXOCLA6pp", opaque="417c4fa3b4135a6c64e05f8d35f71648", qop="auth", algorithm=MD5"#;
        let sha = md5.replace("=MD5", "=SHA-256");
        let challenge = Challenge::choose([sha.as_str(), md5]).unwrap();
        assert_eq!(challenge.algorithm, Algorithm::Sha256);
        let asker = alice("msrps://alice@example.com:2855;tcp");
        let with_uri = Spelling {
            uri: true,
            all_quoted: false,
        };
        let answer = Answer::new(&challenge, asker, "3d5b7f9100c2e4a6", 1, with_uri);
        assert_eq!(
            answer.response,
            "6ff8d857eb97d34448bd481c106a8f03a20062a71e756b0069d16a22ab3c83e9"
        );
        assert_eq!(
            answer.rspauth,
            "66de1ee12fb6eae82d412aadf7981d002ca898eeffe20eb51f44d003901c9d1f"
        );
        assert!(
            answer
                .authorization
                .ends_with(r#", algorithm=SHA-256, uri="msrps://alice@example.com:2855;tcp""#)
        );

        let old = Challenge::choose([md5]).unwrap();
        let quoted = Spelling {
            uri: false,
            all_quoted: true,
        };
        let answer = Answer::new(&old, asker, "85a0dca8b1", 1, quoted);
        assert_eq!(answer.response, "6455089fe9a7c552431b08cd46812ac9");
        assert_eq!(answer.rspauth, "9c9e12b62b290a6ac8566a3efed85aa9");
        assert!(
            answer
                .authorization
                .contains(r#"qop="auth", nc="00000001""#)
        );
    }

    #[test]
    fn nextnonce_vector_of_w_03_aut_16() {
        let mut challenge = Challenge::choose([W01]).unwrap();
        challenge.nonce = "BICpPS6bCUuJ4I4Bl2CJrBgZOvgCxmtj".into();
        let asker = alice("msrps://relay.example.com;tcp");
        let answer = Answer::new(
            &challenge,
            asker,
            "77aa01fe42c9d3b8",
            1,
            Spelling::default(),
        );
        assert_eq!(answer.response, "a6cd7bf96ded207a15c5e8d2ca045717");
        assert_eq!(answer.rspauth, "21de6148133a612de60108208e6313ae");
    }

    #[test]
    fn stale_and_oddly_spaced_parameters_are_read() {
        let text = r#"Digest realm="a \"b\", c",nonce=abc , qop="auth,auth-int", stale=TRUE"#;
        let challenge = Challenge::parse(text).unwrap();
        assert_eq!(challenge.realm, r#"a "b", c"#);
        assert_eq!(challenge.nonce, "abc");
        assert!(challenge.stale);
        for bad in [
            "Basic realm=\"x\"",
            "Digest realm",
            "Digest realm=\"x",
            "Digest realm=\"x\" nonce=y",
        ] {
            assert!(
                matches!(Challenge::parse(bad), Err(DigestError::Syntax(_))),
                "{bad}"
            );
        }
        assert_eq!(
            Challenge::parse("Digest realm=\"x\", qop=\"auth\""),
            Err(DigestError::Missing("nonce"))
        );
    }
}
