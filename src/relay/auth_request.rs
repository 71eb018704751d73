//! AUTH (RFC 4976 §5.1, §6.3): who may get a URI of ours, and the URI.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::auth::{Judgement, Proof, Quoting};
use crate::wire::{Head, Path, Uri};

use super::Relay;
use super::command::{CloseReason, Refusal};
use super::connection::Connection;
use super::guesses::REMEMBERED;
use super::handoff::Handoff;
use super::keys::{ConnectionKey, PendingAuthKey, Place, SessionKey, ShardId};
use super::notices::{Challenges, Unproved, Why};
use super::quotas::Admission;
use super::refresh::{Held, prolong_of};
use super::send_request::misspelt;
use super::session::{Holder, Session, Token};
use super::settings::Naming;

/// What the To-Path of an AUTH asks for.
pub(super) enum AuthTarget {
    /// A new URI, or more time for one (UPT-13).
    Here(Option<Held>),
    /// To a further relay, under a URI of ours (FNS-07).
    Onward,
    Refused(Refusal),
    Foreign,
}

/// A request for us that waits for what another shard knows.
pub(super) struct PendingAuth {
    pub connection: ConnectionKey,
    pub head: Head,
    pub began: Instant,
    pub step: AuthStep,
}

/// What it waits for.
pub(super) enum AuthStep {
    /// Does that relay hold the session that it wants prolonged?
    Hold(Held),
    /// Its digest is right: may the nonce be used with this count?
    Claim {
        proof: Box<Proof>,
        refresh: Option<Held>,
    },
    /// Nobody here knows the user: who knows him elsewhere?
    LookUp { refresh: Option<Held> },
    /// It is fresh: do the homes of user, realm and prefix agree?
    Admit {
        proof: Box<Proof>,
        refresh: Option<Held>,
        admission: Admission,
    },
    /// All is right: does its session get more time?
    Prolong { proof: Box<Proof>, expires: u32 },
    /// No AUTH, a SEND that ends here (FWD-14).
    Keepalive,
}

impl Relay {
    pub(super) fn auth_target(&self, now: Instant, key: ConnectionKey, head: &Head) -> AuthTarget {
        let path = head.to_path();
        let uris: Vec<&[u8]> = path.uris().collect();
        let Some(Ok(first)) = uris.first().map(|uri| Uri::parse(uri)) else {
            return AuthTarget::Refused(Refusal::MALFORMED);
        };
        let plain = (self.connections.get(key)).is_some_and(Connection::is_plain);
        if plain && self.settings.serves_in_clear(&first) {
            return AuthTarget::Here(None);
        }
        let by_websocket = self.is_framed(key);
        if first.session_id().is_none() {
            return match (self.settings.serves(&first, by_websocket), uris.len()) {
                (false, _) => AuthTarget::Foreign,
                (true, 1) => AuthTarget::Here(None),
                // The token-less form would make us an AUTH proxy for strangers (D-02, FNS-08).
                (true, _) => AuthTarget::Refused(Refusal::NO_SESSION.because(Why::Path)),
            };
        }
        match self.settings.naming(&first) {
            Naming::Foreign => AuthTarget::Foreign,
            Naming::Misspelt => AuthTarget::Refused(misspelt(&first)),
            Naming::Ours => match uris.get(1).map(|uri| Uri::parse(uri)) {
                None => match self.held(now, key, head, &first) {
                    Some(held) => AuthTarget::Here(Some(held)),
                    None => {
                        let why = self.why_not_held(now, head);
                        AuthTarget::Refused(Refusal::NO_SESSION.because(why))
                    }
                },
                Some(Ok(next))
                    if self.settings.naming(&next) != Naming::Ours
                        && !self.settings.serves(&next, by_websocket)
                        && !self.settings.comes_back(uris[2..].iter().copied()) =>
                {
                    AuthTarget::Onward
                }
                Some(_) => AuthTarget::Refused(Refusal::NO_SESSION.because(Why::Path)),
            },
        }
    }

    /// An AUTH for us.
    pub(super) fn auth_request(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        head: Head,
        refresh: Option<Held>,
    ) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        let is_relay = connection.speaks_for_many();
        if connection.is_plain() {
            // AUT-01: no challenge ever leaves by a plain connection.
            self.notice_plain_auth(now, key, &head);
            self.refuse_request(now, key, &head, &Refusal::FORBIDDEN);
            self.close(now, key, CloseReason::PlainAuth);
            return;
        }
        if self.draining.is_some() {
            self.refuse_request(now, key, &head, &Refusal::NEXT_HOP_LOST);
            return;
        }
        if self
            .relay_name(key, &head)
            .is_some_and(|name| !self.lets_in(key, &name))
        {
            self.refuse_request(now, key, &head, &Refusal::FORBIDDEN);
            return;
        }
        if !self.auth_answer_fits(&head) {
            let refusal = Refusal::MALFORMED.because(Why::TooLong);
            self.refuse_request(now, key, &head, &refusal);
            return;
        }
        if !is_relay {
            self.spend_auth(now, key);
        }
        match refresh {
            Some(held @ Held::Elsewhere(keeper)) => {
                let pending = PendingAuth {
                    connection: key,
                    head,
                    began: now,
                    step: AuthStep::Hold(held),
                };
                self.ask_keeper(keeper, pending, None);
            }
            _ => self.judge_auth(now, key, head, refresh),
        }
    }

    /// Its credentials; whom it names as its own is known to be.
    pub(super) fn judge_auth(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        head: Head,
        refresh: Option<Held>,
    ) {
        let uri = head.to_path().last().unwrap_or_default();
        let host = addressed_host(uri);
        let Some(authorization) = head.authorization() else {
            self.challenge(now, key, &head, false);
            self.notice_challenge(now, key, &head, Unproved::Nothing);
            return;
        };
        if self.is_stopped(now, key, &head) {
            return;
        }
        let judgement = self.auth.judge(now, &host, authorization, uri);
        self.act_on(now, key, head, refresh, judgement, now);
    }

    /// What the credentials are worth; the AUTH came at `began`.
    pub(super) fn act_on(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        head: Head,
        refresh: Option<Held>,
        judgement: Judgement,
        began: Instant,
    ) {
        match judgement {
            Judgement::LookUp { user, realm } => {
                self.look_up(now, key, head, refresh, user, realm);
            }
            Judgement::Missing | Judgement::Wrong => {
                self.challenge(now, key, &head, false);
                self.notice_credentials(now, key, &head);
                self.metrics
                    .refusal(crate::metrics::RefusalReason::Credentials);
                self.guessed(now, key, &head);
                self.request_failed(now, key);
            }
            Judgement::Stale => {
                self.challenge(now, key, &head, true);
                self.notice_challenge(now, key, &head, Unproved::OldNonce);
            }
            Judgement::Malformed => {
                let refusal = Refusal::MALFORMED.because(Why::Authorization);
                self.refuse_request(now, key, &head, &refusal);
            }
            // The password was right: no failed attempt, and no failed request (AUT-17).
            Judgement::Forbidden => {
                self.metrics
                    .refusal(crate::metrics::RefusalReason::Forbidden);
                self.answer_other(key, &head, 403, &[]);
            }
            Judgement::Proved(proof) => self.claim(now, key, head, refresh, proof, began),
        }
    }

    /// The nonce may be used once with each count, whatever shard sees it (AUT-14, AUT-25).
    fn claim(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        head: Head,
        refresh: Option<Held>,
        proof: Proof,
        began: Instant,
    ) {
        let keeper = ShardId((proof.nonce_id % u128::from(self.workers)) as u16);
        if keeper == self.shard {
            let fresh = self
                .nonces
                .claim(now, proof.nonce_id, proof.nc, proof.nonce_expires);
            self.recount_tables();
            self.judged(now, key, &head, refresh, &proof, fresh, began);
            return;
        }
        let proof = Box::new(proof);
        let pending = self.keep_waiting(PendingAuth {
            connection: key,
            head,
            began,
            step: AuthStep::Claim {
                proof: proof.clone(),
                refresh,
            },
        });
        let Some(pending) = pending else {
            return;
        };
        self.hand(
            keeper,
            Handoff::Claim {
                from: self.shard,
                pending,
                proof,
            },
        );
    }

    pub(super) fn claimed(&mut self, now: Instant, pending: PendingAuthKey, fresh: bool) {
        let Some(pending) = self.take_waiting(pending) else {
            return;
        };
        let PendingAuth {
            connection,
            head,
            began,
            step,
        } = pending;
        let AuthStep::Claim { proof, refresh } = step else {
            return;
        };
        self.judged(now, connection, &head, refresh, &proof, fresh, began);
    }

    #[expect(clippy::too_many_arguments, reason = "what was kept of one AUTH")]
    fn judged(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        head: &Head,
        refresh: Option<Held>,
        proof: &Proof,
        fresh: bool,
        began: Instant,
    ) {
        if self
            .connections
            .get(key)
            .is_none_or(|connection| connection.closing.is_some())
        {
            return;
        }
        if fresh {
            let relay = self.relay_name(key, head).is_some();
            if let Some(admission) = self.admission(key, relay, refresh, proof) {
                let step = AuthStep::Admit {
                    proof: Box::new(proof.clone()),
                    refresh,
                    admission,
                };
                return self.ask_homes(
                    now,
                    PendingAuth {
                        connection: key,
                        head: head.clone(),
                        began,
                        step,
                    },
                );
            }
            self.grant(now, key, head, refresh, proof);
        } else {
            self.challenge(now, key, head, true);
            self.notice_challenge(now, key, head, Unproved::OldNonce);
        }
        self.metrics
            .auth_duration
            .record(now.saturating_duration_since(began));
    }

    /// The session, if a new one was made.
    pub(super) fn grant(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        head: &Head,
        refresh: Option<Held>,
        proof: &Proof,
    ) -> Option<SessionKey> {
        let settings = self.settings.clone();
        // No session outlives the credential it was made with.
        let left = proof.left.map_or(u32::MAX, |left| {
            u32::try_from(left.as_secs()).unwrap_or(u32::MAX)
        });
        let max = settings.expires_max.min(left);
        let min = settings.expires_min.min(max);
        let expires = head.expires().unwrap_or(settings.expires_default.min(max));
        let bound = if expires < min {
            Some(("Min-Expires", min))
        } else if expires > max {
            Some(("Max-Expires", max))
        } else {
            None
        };
        if let Some((name, bound)) = bound {
            self.metrics.refusal(crate::metrics::RefusalReason::Expires);
            self.answer_other(key, head, 423, &[(name, bound.to_string().as_bytes())]);
            return None;
        }
        let until = now + Duration::from_secs(u64::from(expires));
        let session = match refresh {
            Some(Held::Here(session)) => {
                self.prolong(now, session, &proof.user, &proof.realm, until)
            }
            Some(Held::Elsewhere(keeper)) => {
                let pending = PendingAuth {
                    connection: key,
                    head: head.clone(),
                    began: now,
                    step: AuthStep::Prolong {
                        proof: Box::new(proof.clone()),
                        expires,
                    },
                };
                self.ask_keeper(keeper, pending, Some(prolong_of(proof, until)));
                return None;
            }
            None => self.new_session(now, key, head, until, proof),
        };
        let session = match session {
            Ok(session) => session,
            Err(refusal) => {
                self.refuse_request(now, key, head, &refusal);
                return None;
            }
        };
        let use_path = self
            .sessions
            .get(session)
            .expect("just made or found")
            .use_path
            .clone();
        self.granted(now, key, head, &use_path, expires, proof);
        refresh.is_none().then_some(session)
    }

    /// The URI is theirs for so many seconds (AUT-14, UPT-06).
    pub(super) fn granted(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        head: &Head,
        use_path: &[u8],
        expires: u32,
        proof: &Proof,
    ) {
        let info = self
            .auth
            .authentication_info(now, self.random.octets(), proof);
        let expires = expires.to_string();
        let headers: [(&str, &[u8]); 3] = [
            ("Use-Path", use_path),
            ("Authentication-Info", info.as_bytes()),
            ("Expires", expires.as_bytes()),
        ];
        self.answer_other(key, head, 200, &headers);
        self.guessed_right(key, &proof.user, &proof.realm);
        if let Some(connection) = self.connections.get_mut(key) {
            connection.challenges = Challenges::default();
        }
        self.request_succeeded(key);
    }

    fn new_session(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        head: &Head,
        until: Instant,
        proof: &Proof,
    ) -> Result<SessionKey, Refusal> {
        let relay = self.relay_name(key, head);
        let connection = self.connections.get(key).ok_or(Refusal::NO_SESSION)?;
        if relay.is_none()
            && connection.sessions.len() >= self.settings.limits.sessions_per_connection
        {
            return Err(Refusal::FORBIDDEN);
        }
        let port = connection.use_path_port;
        let token = Token::new(self.shard, self.random.octets());
        let host = self.settings.hosts.first().map_or("", String::as_str);
        let uri = format!("msrps://{host}:{port}/{};tcp", token.text())
            .into_bytes()
            .into_boxed_slice();
        let from = head.from_path();
        let session = Session {
            token,
            holder: relay.clone().map_or(Holder::Client(key), Holder::Relay),
            leads_to: from.first().unwrap_or_default().into(),
            use_path: use_path(from, &uri),
            user: Arc::from(&*proof.user),
            realm: Arc::from(&*proof.realm),
            expires: until,
            port,
            began: now,
            peer: connection.remote,
            counted: None,
            traffic: Default::default(),
            claims: Default::default(),
            ways: Default::default(),
        };
        let octets = session.memory();
        if !self.has_memory_for_session(key, &session) {
            return Err(Refusal::NO_MORE_SESSIONS);
        }
        self.remember_session(&session.holder, octets);
        let session = self.sessions.insert(session);
        self.metrics.sessions = self.sessions.len() as u64;
        match relay {
            None => {
                self.became_client(now, key, session);
                self.session_spends(now, key, session);
            }
            // D-34: requests back find this connection by the URI that it gave.
            Some(_) => {
                if let Some(standing) = self.standing(key, head, true) {
                    self.stands(now, key, standing);
                }
            }
        }
        Ok(session)
    }

    /// A connection that holds a session is reached by it alone: what it was reachable by
    /// before is given up (D-34, UPT-11).
    fn became_client(&mut self, now: Instant, key: ConnectionKey, session: SessionKey) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        connection.sessions.insert(session);
        let hops = std::mem::take(&mut connection.hops);
        self.settle_party(key);
        self.recount_own(key);
        self.recount(key);
        let place = Place {
            shard: self.shard,
            connection: key,
        };
        for hop in hops {
            self.unreachable_by(now, hop, place, false);
        }
        self.give_up_claims(key);
        self.count_served(key);
    }

    fn challenge(&mut self, now: Instant, key: ConnectionKey, head: &Head, stale: bool) {
        let host = addressed_host(head.to_path().last().unwrap_or_default());
        let random = self.random.octets();
        let quoting = match self.is_framed(key) {
            true => Quoting::All,
            false => Quoting::Standard,
        };
        let values = self.auth.challenge(now, random, &host, stale, quoting);
        let headers: Vec<(&str, &[u8])> = values
            .iter()
            .map(|value| ("WWW-Authenticate", value.as_bytes()))
            .collect();
        self.answer_other(key, head, 401, &headers);
    }

    fn is_framed(&self, key: ConnectionKey) -> bool {
        let connection = self.connections.get(key);
        connection.is_some_and(|connection| connection.transport.is_framed())
    }

    /// AUT-22, AUT-23: several failures end a client's connection, never a relay's. `user` is the
    /// hash of whom it was for; 0 for somebody of another relay.
    pub(super) fn auth_failed(&mut self, now: Instant, key: ConnectionKey, user: u64) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.speaks_for_many() || connection.dialled.is_some() {
            return;
        }
        let failed = &mut connection.failed_auths;
        failed.retain(|(_, at)| now.saturating_duration_since(*at) < REMEMBERED);
        failed.push((user, now));
        if failed.len() >= self.settings.limits.auth_failures as usize {
            self.close(now, key, CloseReason::TooManyAuthFailures);
        }
    }
}

/// The host that an AUTH addresses, in canonical form: it chooses the realm (AUT-06).
pub(super) fn addressed_host(uri: &[u8]) -> String {
    Uri::parse(uri)
        .map(|uri| uri.canonical_host().to_string())
        .unwrap_or_default()
}

/// From-Path without its last URI, reversed, then our own (UPT-04, D-01).
fn use_path(from: Path<'_>, own: &[u8]) -> Box<[u8]> {
    let mut uris: Vec<&[u8]> = from.uris().collect();
    uris.pop();
    uris.reverse();
    uris.push(own);
    uris.join(&b' ').into()
}
