//! More time for a URI that was handed out (UPT-13), and the question whether the sender holds
//! one. A relay's session lives on the shard that made it, and its requests come by whatever
//! link the relay uses now: then that shard is asked.

use std::sync::Arc;
use std::time::Instant;

use crate::auth::Proof;
use crate::wire::{FailureReport, Head, Uri};

use super::Relay;
use super::auth_request::{AuthStep, PendingAuth};
use super::command::{Refusal, comment_of};
use super::handoff::Handoff;
use super::keys::{ConnectionKey, PendingAuthKey, SessionKey, ShardId};
use super::notices::Why;
use super::session::{Holder, Token};

/// A session that the sender of a request names as its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Held {
    /// It is, and this shard keeps it.
    Here(SessionKey),
    /// That shard knows; only a verified relay is believed so far.
    Elsewhere(ShardId),
}

/// A question to the shard that keeps a relay's session.
#[derive(Debug)]
pub struct Question {
    pub(super) from: ShardId,
    pub(super) pending: PendingAuthKey,
    /// The token URI.
    pub(super) uri: Box<[u8]>,
    /// The relay that asks, as its certificate says.
    pub(super) relay: Arc<str>,
    /// It wants more time, and this user has proved to be who it is.
    pub(super) prolong: Option<Prolong>,
}

#[derive(Debug)]
pub(super) struct Prolong {
    pub user: Arc<str>,
    pub realm: Arc<str>,
    pub until: Instant,
}

impl Relay {
    /// The live session of this token URI, if the sender holds it.
    pub(super) fn held(
        &self,
        now: Instant,
        key: ConnectionKey,
        head: &Head,
        uri: &Uri<'_>,
    ) -> Option<Held> {
        let token = Token::parse(uri.session_id()?, self.workers)?;
        let relay = self.relay_name(key, head);
        if token.shard != self.shard {
            return relay.map(|_| Held::Elsewhere(token.shard));
        }
        let session = self.sessions.live(now, token, uri)?;
        let held = match &self.sessions.get(session)?.holder {
            Holder::Client(holder) => *holder == key,
            Holder::Relay(name) => relay.as_ref() == Some(name),
        };
        held.then_some(Held::Here(session))
    }

    /// Why the sender does not [hold](Self::held) what the one URI of this request's To-Path names.
    pub(super) fn why_not_held(&self, now: Instant, head: &Head) -> Why {
        let uri = Uri::parse(head.to_path().first().unwrap_or_default());
        let session_id = uri.as_ref().ok().and_then(|uri| uri.session_id());
        match session_id.and_then(|id| Token::parse(id, self.workers)) {
            None => Why::Unknown,
            // A client's sessions are where its connection is.
            Some(token) if token.shard != self.shard => Why::Elsewhere,
            Some(token) => self.sessions.why_not(now, token).unwrap_or(Why::Elsewhere),
        }
    }

    /// The session named by the one URI of this request's To-Path (FWD-14).
    pub(super) fn held_by_sender(
        &self,
        now: Instant,
        key: ConnectionKey,
        head: &Head,
    ) -> Option<Held> {
        let uri = Uri::parse(head.to_path().first()?).ok()?;
        self.held(now, key, head, &uri)
    }

    /// Asks the shard that keeps the session; the answer goes on with the request.
    pub(super) fn ask_keeper(
        &mut self,
        keeper: ShardId,
        pending: PendingAuth,
        prolong: Option<Prolong>,
    ) {
        let Some(relay) = self.relay_name(pending.connection, &pending.head) else {
            return;
        };
        let uri = pending.head.to_path().first().unwrap_or_default().into();
        let Some(pending) = self.keep_waiting(pending) else {
            return;
        };
        let question = Question {
            from: self.shard,
            pending,
            uri,
            relay,
            prolong,
        };
        self.hand(keeper, Handoff::Ask(Box::new(question)));
    }

    /// At the shard that keeps the session: its Use-Path, if that relay holds it, and for more
    /// time if the user is the same.
    pub(super) fn asked(&mut self, now: Instant, question: Question) {
        let session = self.kept_for(now, &question);
        let use_path = session.and_then(|session| match &question.prolong {
            None => Some(session),
            Some(prolong) => self
                .prolong(now, session, &prolong.user, &prolong.realm, prolong.until)
                .ok(),
        });
        let use_path = use_path.and_then(|session| {
            let session = self.sessions.get(session)?;
            Some(session.use_path.clone())
        });
        let answer = Handoff::Answer {
            pending: question.pending,
            use_path,
        };
        self.hand(question.from, answer);
    }

    fn kept_for(&self, now: Instant, question: &Question) -> Option<SessionKey> {
        let uri = Uri::parse(&question.uri).ok()?;
        let token = Token::parse(uri.session_id()?, self.workers)?;
        let session = self.sessions.live(now, token, &uri)?;
        match &self.sessions.get(session)?.holder {
            Holder::Relay(name) => (*name == question.relay).then_some(session),
            Holder::Client(_) => None,
        }
    }

    /// UPT-13: the same URI lives on, for the same user only.
    pub(super) fn prolong(
        &mut self,
        now: Instant,
        key: SessionKey,
        user: &str,
        realm: &str,
        until: Instant,
    ) -> Result<SessionKey, Refusal> {
        let session = self.sessions.get(key).ok_or(Refusal::NO_SESSION)?;
        let same = *session.user == *user && *session.realm == *realm;
        if !same || session.expires <= now {
            let why = if same { Why::Expired } else { Why::User };
            return Err(Refusal::NO_SESSION.because(why));
        }
        self.sessions.set_end(key, until);
        Ok(key)
    }

    /// The shard that keeps the session has answered.
    pub(super) fn answered(
        &mut self,
        now: Instant,
        pending: PendingAuthKey,
        use_path: Option<Box<[u8]>>,
    ) {
        let Some(pending) = self.take_waiting(pending) else {
            return;
        };
        let PendingAuth {
            connection: key,
            head,
            step,
            ..
        } = pending;
        if self
            .connections
            .get(key)
            .is_none_or(|connection| connection.closing.is_some())
        {
            return;
        }
        match (step, use_path) {
            (AuthStep::Hold(held), Some(_)) => self.judge_auth(now, key, head, Some(held)),
            (AuthStep::Keepalive, Some(_)) => self.keepalive_answered(key, &head),
            (AuthStep::Keepalive, None) => {
                let refusal = Refusal::NO_SESSION.because(Why::Elsewhere);
                self.refuse_send(now, key, &head, &refusal);
            }
            (AuthStep::Prolong { proof, expires }, Some(use_path)) => {
                self.granted(now, key, &head, &use_path, expires, &proof);
            }
            (AuthStep::Hold(_) | AuthStep::Prolong { .. }, None) => {
                let refusal = Refusal::NO_SESSION.because(Why::Elsewhere);
                self.refuse_request(now, key, &head, &refusal);
            }
            // Those wait for somebody else.
            (AuthStep::LookUp { .. } | AuthStep::Claim { .. } | AuthStep::Admit { .. }, _) => {}
        }
    }

    /// FWD-14: the end-line of a SEND that ends here is in.
    pub(super) fn keepalive_end(&mut self, now: Instant, key: ConnectionKey, head: Head) {
        match self.held_by_sender(now, key, &head) {
            Some(Held::Here(_)) => self.keepalive_answered(key, &head),
            Some(Held::Elsewhere(keeper)) => {
                let pending = PendingAuth {
                    connection: key,
                    head,
                    began: now,
                    step: AuthStep::Keepalive,
                };
                self.ask_keeper(keeper, pending, None);
            }
            None => {
                let why = self.why_not_held(now, &head);
                self.refuse_send(now, key, &head, &Refusal::NO_SESSION.because(why));
            }
        }
    }

    fn keepalive_answered(&mut self, key: ConnectionKey, head: &Head) {
        if head.failure_report() == FailureReport::Yes {
            self.answer_send(key, head, 200, comment_of(200));
        }
    }
}

/// What a prolonged session's answer needs, once its shard has agreed.
pub(super) fn prolong_of(proof: &Proof, until: Instant) -> Prolong {
    Prolong {
        user: Arc::from(&*proof.user),
        realm: Arc::from(&*proof.realm),
        until,
    }
}
