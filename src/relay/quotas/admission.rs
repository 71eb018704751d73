//! Asking the homes: for a connection that was accepted, for an AUTH whose digest is right; and
//! telling them when what they count has gone.

use std::time::Instant;

use super::super::Relay;
use super::super::auth_request::{AuthStep, PendingAuth};
use super::super::command::{CloseReason, Refusal};
use super::super::connection::Connection;
use super::super::keys::{ConnectionKey, PendingAuthKey, SessionKey};
use super::super::refresh::Held;
use super::super::session::{Holder, Session};
use super::hold::Hold;
use super::home::Question;
use super::{Asker, Claim, Counted, Left, Quota, QuotaHandoff, Spending, Subject, Verdict};
use crate::auth::Proof;
use crate::metrics::{QuotaLabel, SubjectLabel};

/// Homes to ask for one AUTH, one after the other.
pub(in crate::relay) struct Admission {
    asks: Vec<(Subject, Claim)>,
    /// How many have agreed.
    agreed: usize,
}

impl Relay {
    /// A connection was accepted and it is known who it comes from.
    pub(in crate::relay) fn came_from(&mut self, now: Instant, key: ConnectionKey) {
        if !self.settings.quotas.any() {
            return;
        }
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        connection.spending.get_or_insert_default();
        let Some(remote) = connection.remote else {
            return;
        };
        let source = Subject::source(remote, connection.of_balancer);
        if self.settings.quotas.of(source.kind()).connections > 0 {
            connection.spending.get_or_insert_default().asked = true;
            self.ask(now, source, Claim::CONNECTION, Asker::Accept(key));
        }
    }

    fn ask(&mut self, now: Instant, subject: Subject, claim: Claim, asker: Asker) {
        let question = Question {
            subject: subject.clone(),
            claim,
            from: self.shard,
            asker,
        };
        self.message_home(now, &subject, QuotaHandoff::Ask(Box::new(question)));
    }

    fn leave(&mut self, now: Instant, subject: Subject, mut claim: Claim) {
        claim.auth = false;
        if !claim.is_empty() {
            let left = Left {
                subject: subject.clone(),
                claim,
            };
            self.message_home(now, &subject, QuotaHandoff::Leave(left));
        }
    }

    /// The home of its prefix has answered.
    pub(super) fn accept_admitted(&mut self, now: Instant, key: ConnectionKey, verdict: Verdict) {
        if let Some(quota) = verdict.refused {
            self.metrics.quota_exceeded(verdict.subject.kind(), quota);
            if let Some(connection) = self.connections.get(key)
                && connection.closing.is_none()
            {
                self.abort(now, key, CloseReason::Quota);
            }
            return;
        }
        let connection = self.connections.get_mut(key);
        match connection.and_then(|connection| connection.spending.as_mut()) {
            Some(spending) => spending.counted = true,
            // It has gone meanwhile, or is a relay's.
            None => self.leave(now, verdict.subject, verdict.claim),
        }
    }

    /// The connection is up: it spends for its prefix, until it turns out to be a relay's.
    pub(in crate::relay) fn spends_from(&mut self, now: Instant, key: ConnectionKey) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        let Some(remote) = connection.remote.filter(|_| connection.spending.is_some()) else {
            return;
        };
        if connection.speaks_for_many() {
            self.forget_spending(now, key);
            return;
        }
        let source = Subject::source(remote, connection.of_balancer);
        let share = self.join_share(now, source);
        if let Some(spending) = self
            .connections
            .get_mut(key)
            .and_then(|c| c.spending.as_mut())
        {
            spending.prefix = share;
        }
        if let Some(share) = share {
            self.hold_if_owed(key, share);
        }
    }

    /// It counts no more.
    pub(in crate::relay) fn forget_spending(&mut self, now: Instant, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let (remote, spending) = (connection.remote, connection.spending.take());
        let of_balancer = connection.of_balancer;
        let (Some(remote), Some(spending)) = (remote, spending) else {
            return;
        };
        if spending.counted {
            let source = Subject::source(remote, of_balancer);
            self.leave(now, source, Claim::CONNECTION);
        }
        if let Some(share) = spending.prefix {
            self.leave_share(now, share);
        }
    }

    /// Which homes are to be asked for this AUTH; none: it is granted as it is.
    pub(in crate::relay) fn admission(
        &self,
        key: ConnectionKey,
        relay: bool,
        refresh: Option<Held>,
        proof: &Proof,
    ) -> Option<Admission> {
        let quotas = &self.settings.quotas;
        if !quotas.any() {
            return None;
        }
        let connection = self.connections.get(key)?;
        let new = refresh.is_none();
        let user = Subject::user(&proof.user, &proof.realm);
        let realm = Subject::Realm(proof.realm.clone());
        let claim = |quota: &Quota, subject: &Subject| Claim {
            session: new && quota.sessions > 0,
            connection: new
                && !relay
                && quota.connections > 0
                && !self.counts_for(connection, subject),
            auth: !relay && quota.auths_per_second > 0,
        };
        let mut asks = vec![
            (user.clone(), claim(&quotas.user, &user)),
            (realm.clone(), claim(&quotas.realm, &realm)),
        ];
        if let Some(remote) = connection.remote.filter(|_| !relay) {
            let source = Subject::source(remote, connection.of_balancer);
            let claim = Claim {
                session: new && quotas.of(source.kind()).sessions > 0,
                ..Claim::default()
            };
            asks.push((source, claim));
        }
        asks.retain(|(_, claim)| !claim.is_empty());
        (!asks.is_empty()).then_some(Admission { asks, agreed: 0 })
    }

    /// Whether a session on this connection is the one by which it counts for the subject.
    fn counts_for(&self, connection: &Connection, subject: &Subject) -> bool {
        connection.sessions.iter().any(|session| {
            let Some(session) = self.sessions.get(*session) else {
                return false;
            };
            session
                .counted
                .as_ref()
                .is_some_and(|counted| match subject {
                    Subject::User { user, realm } => {
                        counted.user.connection && session.user == *user && session.realm == *realm
                    }
                    Subject::Realm(realm) => counted.realm.connection && session.realm == *realm,
                    Subject::Prefix(_) | Subject::Balancer(_) => false,
                })
        })
    }

    /// Asks the first home; the connection's next requests wait for the answers.
    pub(in crate::relay) fn ask_homes(&mut self, now: Instant, pending: PendingAuth) {
        let key = pending.connection;
        let Some(pending) = self.keep_waiting(pending) else {
            return;
        };
        self.ask_next_home(now, pending);
        let is_client = self
            .connections
            .get(key)
            .is_some_and(|connection| !connection.speaks_for_many());
        if is_client && self.pending_auths.contains(pending) {
            self.hold(key, Hold::Auth);
        }
    }

    fn ask_next_home(&mut self, now: Instant, pending: PendingAuthKey) {
        let Some(PendingAuth {
            step: AuthStep::Admit { admission, .. },
            ..
        }) = self.pending_auths.get(pending)
        else {
            return;
        };
        if let Some((subject, claim)) = admission.asks.get(admission.agreed).cloned() {
            self.ask(now, subject, claim, Asker::Auth(pending));
        }
    }

    /// A home has answered.
    pub(super) fn auth_admitted(
        &mut self,
        now: Instant,
        pending: PendingAuthKey,
        refused: Option<QuotaLabel>,
    ) {
        let Some(waiting) = self.pending_auths.get_mut(pending) else {
            return;
        };
        let AuthStep::Admit { admission, .. } = &mut waiting.step else {
            return;
        };
        if let Some(quota) = refused {
            let kind = admission.asks[admission.agreed].0.kind();
            self.metrics.quota_exceeded(kind, quota);
            return self.admission_over(now, pending, Some(quota));
        }
        admission.agreed += 1;
        if admission.agreed < admission.asks.len() {
            self.ask_next_home(now, pending);
        } else {
            self.admission_over(now, pending, None);
        }
    }

    fn admission_over(
        &mut self,
        now: Instant,
        pending: PendingAuthKey,
        refused: Option<QuotaLabel>,
    ) {
        let Some(pending) = self.take_waiting(pending) else {
            return;
        };
        let PendingAuth {
            connection: key,
            head,
            began,
            step:
                AuthStep::Admit {
                    proof,
                    refresh,
                    admission,
                },
        } = pending
        else {
            return;
        };
        self.free(key, Hold::Auth);
        let lives = self
            .connections
            .get(key)
            .is_some_and(|connection| connection.closing.is_none());
        let mut session = None;
        if !lives {
        } else if self.draining.is_some() {
            self.refuse_request(now, key, &head, &Refusal::NEXT_HOP_LOST);
        } else if refused == Some(QuotaLabel::Auths) {
            // Its turn would come too late.
            self.answer_other(key, &head, 408, &[]);
        } else if refused.is_none() {
            session = self.grant(now, key, &head, refresh, &proof);
            self.metrics
                .auth_duration
                .record(now.saturating_duration_since(began));
        } else {
            // The password was right: no failed attempt, and no failed request (AUT-17).
            self.answer_other(key, &head, 403, &[]);
        }
        let agreed = admission.asks.into_iter().take(admission.agreed);
        match session {
            Some(session) => self.counted(session, agreed),
            None => agreed.for_each(|(subject, claim)| self.leave(now, subject, claim)),
        }
    }

    /// Notes what was counted for a new session.
    fn counted(&mut self, key: SessionKey, asks: impl Iterator<Item = (Subject, Claim)>) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let counted = session.counted.get_or_insert_default();
        for (subject, claim) in asks {
            *counted.claim(subject.kind()) = claim;
        }
    }

    /// A client's new session: its user and realm spend by it.
    pub(in crate::relay) fn session_spends(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        session: SessionKey,
    ) {
        if !self.settings.quotas.any() {
            return;
        }
        let Some(made) = self.sessions.get(session) else {
            return;
        };
        let user = Subject::user(&made.user, &made.realm);
        let realm = Subject::Realm(made.realm.clone());
        let shares = [self.join_share(now, user), self.join_share(now, realm)];
        if let Some(made) = self.sessions.get_mut(session) {
            made.counted.get_or_insert_default().shares = shares;
        }
        let spending = self
            .connections
            .get_mut(key)
            .and_then(|c| c.spending.as_mut());
        if let Some(spending) = spending {
            spending.session.get_or_insert(session);
        }
        self.hold_if_anything_is_owed(key);
    }

    /// A session has ended: it counts no more. What it counted as a connection passes to another
    /// session of the same on that connection.
    pub(in crate::relay) fn session_left(&mut self, now: Instant, session: &mut Session) {
        let Some(counted) = session.counted.take() else {
            return;
        };
        let Counted {
            mut user,
            mut realm,
            prefix,
            of_balancer,
            shares,
        } = *counted;
        if let Holder::Client(key) = session.holder {
            self.pass_on(key, session, &mut user, &mut realm);
        }
        self.leave(now, Subject::user(&session.user, &session.realm), user);
        self.leave(now, Subject::Realm(session.realm.clone()), realm);
        if let Some(peer) = session.peer {
            self.leave(now, Subject::source(peer, of_balancer), prefix);
        }
        for share in shares.into_iter().flatten() {
            self.leave_share(now, share);
        }
    }

    /// The connection counts by another session of the same user and realm from now on. Two that
    /// were judged at the same time may both have counted it.
    fn pass_on(&mut self, key: ConnectionKey, left: &Session, user: &mut Claim, realm: &mut Claim) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        for other in &connection.sessions {
            if !user.connection && !realm.connection {
                return;
            }
            let Some(other) = self.sessions.get_mut(*other) else {
                continue;
            };
            if other.realm != left.realm {
                continue;
            }
            let theirs = other.counted.get_or_insert_default();
            theirs.realm.take_over(realm);
            if other.user == left.user {
                theirs.user.take_over(user);
            }
        }
    }

    /// Bounds have changed. What is established stays, is counted where it was not, and spends
    /// at the new rates.
    pub(in crate::relay) fn quotas_changed(&mut self, now: Instant) {
        if self.settings.quotas.any() {
            for key in self.connections.keys() {
                self.count_connection(now, key);
            }
            for key in self.sessions.keys() {
                self.count_session(now, key);
            }
        }
        self.serve_all(now);
        self.relieve_all(now);
        self.relieve(now);
    }

    pub(in crate::relay) fn count_connection(&mut self, now: Instant, key: ConnectionKey) {
        let quotas = self.settings.quotas;
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let Some(remote) = connection.remote else {
            return;
        };
        let source = Subject::source(remote, connection.of_balancer);
        let bound = quotas.of(source.kind()).connections > 0;
        if connection.dialled.is_some() || connection.speaks_for_many() {
            return;
        }
        let established = connection.established;
        let spending = connection.spending.get_or_insert_default();
        let spends = spending.prefix.is_some();
        if bound && !spending.asked && !std::mem::replace(&mut spending.counted, true) {
            self.ask(now, source, Claim::CONNECTION, Asker::Established);
        }
        if established && !spends {
            self.spends_from(now, key);
        }
    }

    fn count_session(&mut self, now: Instant, key: SessionKey) {
        let quotas = self.settings.quotas;
        let Some(session) = self.sessions.get(key) else {
            return;
        };
        let user = Subject::user(&session.user, &session.realm);
        let realm = Subject::Realm(session.realm.clone());
        let connection = match session.holder {
            Holder::Client(connection) => Some(connection),
            Holder::Relay(_) => None,
        };
        let counted = session.counted.as_deref().cloned().unwrap_or_default();
        let mut subjects = vec![user, realm];
        subjects.extend(
            session
                .peer
                .zip(connection.and_then(|key| self.connections.get(key)))
                .map(|(peer, connection)| Subject::source(peer, connection.of_balancer)),
        );
        for subject in subjects {
            let kind = subject.kind();
            let quota = quotas.of(kind);
            let before = *counted.clone().claim(kind);
            let holder = connection
                .filter(|_| matches!(kind, SubjectLabel::User | SubjectLabel::Realm))
                .filter(|_| quota.connections > 0)
                .and_then(|connection| self.connections.get(connection));
            let claim = Claim {
                session: quota.sessions > 0 && !before.session,
                connection: holder.is_some_and(|holder| !self.counts_for(holder, &subject)),
                auth: false,
            };
            if claim.counts() {
                if let Some(session) = self.sessions.get_mut(key) {
                    let counted = session.counted.get_or_insert_default().claim(kind);
                    counted.session |= claim.session;
                    counted.connection |= claim.connection;
                }
                self.ask(now, subject, claim, Asker::Established);
            }
        }
        if let Some(connection) = connection
            && counted.shares == [None; 2]
        {
            self.session_spends(now, connection, key);
        }
    }
}

impl Connection {
    pub(super) fn spending(&self) -> Option<&Spending> {
        self.spending.as_deref()
    }
}
