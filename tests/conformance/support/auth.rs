//! AUTH as a client does it: RFC 4976 §5.1, §9.1.

use msrpload::codec::Message;
use msrpload::digest::{Answer, Asker, AuthenticationInfo, Challenge, Spelling, fresh_cnonce};

use super::client::Client;
use super::message::Draft;

impl Client {
    /// Sends an AUTH to the relay's name with these further header lines; the answer.
    #[track_caller]
    pub fn auth(&mut self, lines: &[&str]) -> Message {
        let uri = self.relay_uri.clone();
        self.auth_to(&uri, lines)
    }

    #[track_caller]
    pub fn auth_to(&mut self, uri: &str, lines: &[&str]) -> Message {
        let draft = Draft::request("AUTH", uri, &self.uri).lines(lines);
        self.send(draft.octets());
        self.response_to(&draft.tid)
    }

    /// The challenge to an AUTH without credentials.
    #[track_caller]
    pub fn challenge(&mut self) -> Challenge {
        let uri = self.relay_uri.clone();
        self.challenge_for(&uri)
    }

    #[track_caller]
    pub fn challenge_for(&mut self, uri: &str) -> Challenge {
        let answer = self.auth_to(uri, &[]);
        assert_eq!(
            answer.code(),
            Some(401),
            "a challenge was due, this came:\n{answer:?}"
        );
        Challenge::choose(answer.headers_named("WWW-Authenticate"))
            .expect("the challenge can be answered")
    }

    /// Credentials of this client's user for an AUTH to the relay's name.
    pub fn answer(&self, challenge: &Challenge, nc: u32) -> Answer {
        self.answer_for(&self.relay_uri, challenge, nc)
    }

    pub fn answer_for(&self, uri: &str, challenge: &Challenge, nc: u32) -> Answer {
        let (user, password) = (self.user.0.as_str(), self.user.1.as_str());
        let asker = Asker {
            user,
            password,
            uri,
        };
        Answer::new(challenge, asker, &fresh_cnonce(), nc, Spelling::default())
    }

    /// Challenge, credentials, 200: a fresh token, checked as AUT-15 says.
    #[track_caller]
    pub fn obtain_token(&mut self) -> Message {
        self.obtain_token_with(&[])
    }

    #[track_caller]
    pub fn obtain_token_with(&mut self, lines: &[&str]) -> Message {
        let challenge = self.challenge();
        let answer = self.answer(&challenge, 1);
        let authorization = format!("Authorization: {}", answer.authorization);
        let mut all = vec![authorization.as_str()];
        all.extend_from_slice(lines);
        let granted = self.auth(&all);
        assert_eq!(granted.code(), Some(200), "AUTH failed:\n{granted:?}");
        let info = granted
            .header("Authentication-Info")
            .expect("a 200 has Authentication-Info (AUT-15)");
        let info = AuthenticationInfo::parse(info).expect("Authentication-Info can be read");
        answer
            .verify(&info)
            .expect("the relay proves that it knows the password");
        self.token = granted
            .header("Use-Path")
            .expect("a 200 has a Use-Path")
            .to_owned();
        granted
    }

    /// Sends a SEND to `path` and waits for its 200.
    #[track_caller]
    pub fn say(&mut self, path: &str, text: &str) -> Draft {
        let draft = Draft::send(path, &self.uri).text(text);
        self.send(draft.octets());
        let answer = self.response_to(&draft.tid);
        assert_eq!(
            answer.code(),
            Some(200),
            "the SEND was refused:\n{answer:?}"
        );
        draft
    }
}
