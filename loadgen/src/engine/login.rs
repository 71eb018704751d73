//! The client's side of AUTH (RFC 4976 §5.1): a request without credentials, the answer to the
//! challenge, and the Use-Path that comes of it.

use msrpload::codec::Head;
use msrpload::digest::{Answer, Asker, AuthenticationInfo, Challenge, Spelling, fresh_cnonce};

use crate::plan::{Relay, User};

/// Challenges answered before we give up; more than one only where the nonce was stale.
const TRIES_MAX: u32 = 3;

/// An AUTH under way.
pub struct Login {
    user: User,
    /// How it names the relay.
    uri: String,
    /// When the first request went out, on the engine's clock.
    pub started: u64,
    /// When the latest did.
    pub asked_at: u64,
    answer: Option<Answer>,
    tries: u32,
}

/// What follows from a response.
pub enum Reply {
    /// Ask again with this Authorization.
    Again(String),
    /// The URIs of the Use-Path.
    Done(Vec<String>),
}

impl Login {
    pub fn new(user: User, uri: String, started: u64) -> Self {
        Self {
            user,
            uri,
            started,
            asked_at: started,
            answer: None,
            tries: 0,
        }
    }

    pub fn user(&self) -> &User {
        &self.user
    }

    /// Takes a response to AUTH; an error says what to do.
    pub fn answered(&mut self, code: u16, head: &Head<'_>, relay: &Relay) -> Result<Reply, String> {
        match code {
            401 => self.challenged(head, relay).map(Reply::Again),
            200 => self.accepted(head).map(Reply::Done),
            _ => Err(format!(
                "the relay answered AUTH of `{}` with: {}",
                self.user.name,
                msrpload::codec::shown(head.raw)
            )),
        }
    }

    fn challenged(&mut self, head: &Head<'_>, relay: &Relay) -> Result<String, String> {
        let values: Vec<String> = head
            .headers()
            .filter(|(name, _)| name.eq_ignore_ascii_case(b"WWW-Authenticate"))
            .map(|(_, value)| text(value))
            .collect();
        let challenge = Challenge::choose(values.iter().map(String::as_str))
            .map_err(|e| format!("the relay's challenge is unusable: {e}"))?;
        let (name, realm) = (&self.user.name, &challenge.realm);
        if (self.tries > 0 && !challenge.stale) || self.tries >= TRIES_MAX {
            return Err(format!(
                "the relay refused user `{name}` in realm `{realm}` (401): check --user NAME:PASSWORD, and that the relay knows the user in this realm"
            ));
        }
        if let Some(wanted) = relay.realm.as_ref().filter(|r| *r != realm) {
            return Err(format!(
                "the relay asks for realm `{realm}`, not `{wanted}`: check --realm"
            ));
        }
        let asker = Asker {
            user: name,
            password: &self.user.password,
            uri: &self.uri,
        };
        // Some relays insist on `uri`, and all must accept it (AUT-09).
        let spelling = Spelling {
            uri: true,
            all_quoted: false,
        };
        let answer = Answer::new(&challenge, asker, &fresh_cnonce(), 1, spelling);
        let authorization = answer.authorization.clone();
        self.answer = Some(answer);
        self.tries += 1;
        Ok(authorization)
    }

    fn accepted(&self, head: &Head<'_>) -> Result<Vec<String>, String> {
        let use_path = head.header("Use-Path").map(text).unwrap_or_default();
        if use_path.is_empty() {
            return Err("the relay answered AUTH with 200 but without Use-Path".into());
        }
        // Not every deployed relay proves itself; a wrong proof is another matter.
        if let (Some(value), Some(answer)) = (head.header("Authentication-Info"), &self.answer) {
            AuthenticationInfo::parse(&text(value))
                .and_then(|info| answer.verify(&info))
                .map_err(|e| e.to_string())?;
        }
        Ok(use_path.split(' ').map(str::to_owned).collect())
    }
}

/// How a client names the relay that it logs in to: without port and session (AUT-03); by WebSocket with the port to which
/// it connects (RFC 7977 §8.1).
pub fn auth_uri(host: &str, web_port: Option<u16>) -> String {
    match web_port {
        None => format!("msrps://{host};tcp"),
        Some(port) => format!("msrps://{host}:{port};ws"),
    }
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}
