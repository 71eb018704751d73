//! URIs by which unverified peers that connected in are reached (D-34).
//!
//! Such a peer proves nothing: whoever knows a token may send to its client and may write what it
//! likes into From-Path. So its URI counts under that token alone, for what the token's holder
//! sends to it as the last hop, and never for the host of somebody who can prove who he is. Claims
//! live with the session that they were made under, on its shard, and end with it or with the
//! connection.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::metrics::RefusalReason;
use crate::wire::{Authority, Head, Host, Uri};

use super::Relay;
use super::handoff::{Handoff, Hop};
use super::holders::Rank;
use super::keyed_hash::HashKey;
use super::keys::{ConnectionKey, Place, SessionKey};
use super::limits::CLAIM_OCTETS_MAX;
use super::memory::CLAIMED_OCTETS;
use super::session::Token;
use super::silent::Pulse;

/// A whole URI as it compares (RFC 4975 §6.1).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ClaimedUri {
    authority: Authority,
    session_id: Box<[u8]>,
}

/// The claims made under one token, and the connections that made them.
pub(super) type Claims = BTreeMap<ClaimedUri, Claim>;

/// Who is reached by a URI.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Claim {
    place: Place,
    /// It fell silent while an answer was due: the next one takes it over (D-41).
    silent: bool,
    /// Who claimed it last while it was taken, and has it should the first fall silent.
    next: Option<Place>,
}

impl Claim {
    fn of(place: Place) -> Self {
        Self {
            place,
            silent: false,
            next: None,
        }
    }
}

/// What a connection remembers of a claim: enough to withdraw it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Claimed {
    token: Token,
    /// Of the URI. A collision costs the connection one claim.
    hash: u64,
}

/// By what the sender of a request can be reached once the request is accepted.
#[derive(Debug)]
pub(super) enum Standing {
    /// A verified relay, by the authority that its certificate names.
    Relay(Hop),
    /// An unverified peer, by its whole URI under this token.
    Claim(Token, ClaimedUri),
}

impl Claimed {
    pub(super) fn token(&self) -> Token {
        self.token
    }
}

impl ClaimedUri {
    /// None without a session-id or a port: nothing can be addressed to it.
    fn of(uri: &Uri<'_>) -> Option<Self> {
        uri.port()?;
        let session_id = uri.session_id()?;
        (uri.host().len() + session_id.len() <= CLAIM_OCTETS_MAX).then(|| Self {
            authority: uri.authority(),
            session_id: session_id.into(),
        })
    }

    /// Of its parts.
    pub(super) fn text_octets(&self) -> usize {
        self.authority.to_string().len() + self.session_id.len()
    }

    fn hash(&self, key: &HashKey) -> u64 {
        key.hash(&[self.authority.to_string().as_bytes(), &self.session_id])
    }
}

impl Relay {
    /// By what the sender of this request can be reached once it is accepted (D-34).
    pub(super) fn standing(
        &self,
        key: ConnectionKey,
        head: &Head,
        is_relay: bool,
    ) -> Option<Standing> {
        let connection = self.connections.get(key)?;
        let first = Uri::parse(head.from_path().first()?).ok()?;
        if !connection.sessions.is_empty()
            || first.port().is_none()
            || !connection.transport.carries(&first)
        {
            return None;
        }
        if is_relay {
            // Whom we dialled is known by that, but a relay may have more than one port.
            let links = connection.dialled.is_none() || connection.is_to_relay();
            return links.then(|| Standing::Relay(Hop::Relay(first.authority())));
        }
        if connection.dialled.is_some() {
            return None;
        }
        let own = Uri::parse(head.to_path().first()?).ok()?;
        let token = Token::parse(own.session_id()?, self.workers)?;
        Some(Standing::Claim(token, ClaimedUri::of(&first)?))
    }

    /// The request is accepted: its sender can be reached.
    pub(super) fn stands(&mut self, now: Instant, key: ConnectionKey, standing: Standing) {
        match standing {
            Standing::Relay(hop) => self.reachable_by(now, key, hop),
            Standing::Claim(token, uri) => self.claims(now, key, token, uri),
        }
    }

    fn claims(&mut self, now: Instant, key: ConnectionKey, token: Token, uri: ClaimedUri) {
        let bound = self.settings.limits.uris_per_connection;
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let hash = uri.hash(&self.hash_key);
        if !connection.sessions.is_empty()
            || connection.closing.is_some()
            || connection.claims.len() >= bound
            || connection.claims.contains(&Claimed { token, hash })
        {
            return;
        }
        if !self.has_memory(key, CLAIMED_OCTETS + uri.memory()) {
            return self.metrics.refusal(RefusalReason::Memory);
        }
        if let Some(connection) = self.connections.get_mut(key) {
            connection.claims.insert(Claimed { token, hash });
        }
        self.recount_own(key);
        let place = Place {
            shard: self.shard,
            connection: key,
        };
        if token.shard == self.shard {
            self.claim_uri(now, token, uri, place);
        } else {
            let claim = Handoff::ClaimUri {
                token,
                uri: Box::new(uri),
                place,
            };
            self.hand(token.shard, claim);
        }
    }

    /// At the shard that keeps the session. The first connection keeps a URI as long as it lives; if it falls silent while
    /// an answer is due, whoever claimed it last has it (D-41).
    pub(super) fn claim_uri(&mut self, now: Instant, token: Token, uri: ClaimedUri, place: Place) {
        let bound = self.settings.limits.claims_per_session;
        let may = self.may_be_claimed(&uri.authority.host);
        let hash = uri.hash(&self.hash_key);
        let octets = uri.memory();
        // Whoever claims has proved nothing: the parts of the total that are kept for users are not for claims.
        let has_room = self.has_room_for(Rank::Stranger, octets, octets);
        let session = self.sessions.of_token(token);
        let claims = session
            .and_then(|key| self.sessions.get_mut(key))
            .filter(|session| may && now < session.expires)
            .map(|session| &mut session.claims);
        let Some(claims) = claims else {
            return self.claim_refused(place, token, hash);
        };
        let full = claims.len() >= bound || !has_room;
        match claims.get_mut(&uri) {
            Some(first) if first.place == place => {}
            Some(first) if first.silent => {
                let old = std::mem::replace(first, Claim::of(place)).place;
                self.tell_claimant(old, token, Some(hash));
            }
            Some(first) => {
                first.next = Some(place);
                self.metrics.refusal(RefusalReason::Claim);
            }
            None if !full => {
                claims.insert(uri, Claim::of(place));
                self.remember_claim(octets);
            }
            None => self.claim_refused(place, token, hash),
        }
    }

    fn claim_refused(&mut self, place: Place, token: Token, hash: u64) {
        self.metrics.refusal(RefusalReason::Claim);
        self.tell_claimant(place, token, Some(hash));
    }

    /// At the shard that keeps the session: that connection was heard, or fell silent (D-41).
    pub(super) fn claim_pulse(&mut self, token: Token, place: Place, pulse: Pulse) {
        let session = self.sessions.of_token(token);
        let Some(session) = session.and_then(|key| self.sessions.get_mut(key)) else {
            return;
        };
        let mut over = Vec::new();
        for (uri, claim) in session.claims.iter_mut().filter(|(_, c)| c.place == place) {
            claim.silent = pulse == Pulse::Silent;
            if claim.silent
                && let Some(next) = claim.next
            {
                *claim = Claim::of(next);
                over.push(uri.hash(&self.hash_key));
            }
        }
        for hash in over {
            self.tell_claimant(place, token, Some(hash));
        }
    }

    /// Whether strangers may say that they are reached by URIs of this host: not where one is
    /// ours, is a relay that the operator knows, or has proved to be another connection's.
    pub(super) fn may_be_claimed(&self, host: &Host) -> bool {
        !self.settings.is_ours(host)
            && !self.settings.lists_peer(host)
            && !self.served.contains(host)
    }

    /// The connection by which the holder of this session reaches that last hop, if a peer that
    /// wrote to the session claims the URI.
    pub(super) fn claimant(&self, session: SessionKey, uri: &Uri<'_>) -> Option<Place> {
        let claims = &self.sessions.get(session)?.claims;
        if claims.is_empty() {
            return None;
        }
        let uri = ClaimedUri::of(uri)?;
        claims
            .get(&uri)
            .filter(|_| self.may_be_claimed(&uri.authority.host))
            .map(|claim| claim.place)
    }

    /// The connection ends, or got a session of its own: it is not reached by what it claimed.
    pub(super) fn give_up_claims(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let claims = std::mem::take(&mut connection.claims);
        self.recount_own(key);
        let place = Place {
            shard: self.shard,
            connection: key,
        };
        let mut last = None;
        for Claimed { token, .. } in claims {
            // They are in the order of their tokens.
            if last.replace(token) == Some(token) {
                continue;
            }
            if token.shard == self.shard {
                self.unclaim(token, place);
            } else {
                self.hand(token.shard, Handoff::UnclaimUris { token, place });
            }
        }
    }

    /// At the shard that keeps the session: that connection claims nothing any more.
    pub(super) fn unclaim(&mut self, token: Token, place: Place) {
        let session = self.sessions.of_token(token);
        let Some(session) = session.and_then(|key| self.sessions.get_mut(key)) else {
            return;
        };
        let mut over = Vec::new();
        let mut gone = 0;
        session.claims.retain(|uri, claim| {
            claim.next = claim.next.filter(|next| *next != place);
            let stays = claim.place != place;
            if !stays {
                gone += uri.memory();
            }
            if let Some(next) = claim.next.filter(|_| !stays) {
                over.push((next, uri.hash(&self.hash_key)));
            }
            stays
        });
        self.forget_claims(gone);
        for (next, hash) in over {
            self.tell_claimant(next, token, Some(hash));
        }
    }

    /// The session has ended: who claimed something under its token may forget that.
    pub(super) fn claims_end(&mut self, token: Token, claims: Claims) {
        self.forget_claims(claims.keys().map(ClaimedUri::memory).sum());
        let mut told: Vec<Place> = claims
            .into_values()
            .flat_map(|claim| [Some(claim.place), claim.next])
            .flatten()
            .collect();
        told.sort_unstable();
        told.dedup();
        for place in told {
            self.tell_claimant(place, token, None);
        }
    }

    fn tell_claimant(&mut self, place: Place, token: Token, hash: Option<u64>) {
        if place.shard == self.shard {
            self.claim_over(place.connection, token, hash);
        } else {
            let over = Handoff::ClaimOver {
                connection: place.connection,
                token,
                hash,
            };
            self.hand(place.shard, over);
        }
    }

    /// This claim, or all under that token, does not stand.
    pub(super) fn claim_over(&mut self, key: ConnectionKey, token: Token, hash: Option<u64>) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        match hash {
            Some(hash) => {
                connection.claims.remove(&Claimed { token, hash });
            }
            None => connection.claims.retain(|claim| claim.token != token),
        }
        self.recount_own(key);
    }
}
