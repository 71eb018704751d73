//! Sessions: the Use-Path URIs that this shard handed out (RFC 4976 §6.3).
//!
//! A session-id is 24 URL-safe characters over 144 bits: the shard's number, masked by the
//! random part so that no structure shows, and 128 random bits. It names the shard that keeps
//! the session, so there is no table that shards share; a number that names no shard is an
//! unknown token like any other.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::metrics::{Along, Traffic};
use crate::wire::{Scheme, Uri};

use super::claims::Claims;
use super::guesses::Recent;
use super::keys::{ConnectionKey, ReturnAddress, SessionKey, ShardId};
use super::notices::Why;
use super::quotas::Counted;
use super::slots::Slots;
use super::transaction::{RandomKeyMap, give_back};

/// A parsed session-id of ours.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Token {
    pub shard: ShardId,
    pub bits: u128,
}

impl Token {
    const OCTETS: usize = 18;
    const CHARACTERS: usize = 24;

    pub fn new(shard: ShardId, random: [u8; 16]) -> Self {
        Self {
            shard,
            bits: u128::from_be_bytes(random),
        }
    }

    /// None: not of our making, whatever shards there are (URI-07: no normalisation).
    pub fn parse(session_id: &[u8], workers: u16) -> Option<Self> {
        if session_id.len() != Self::CHARACTERS {
            return None;
        }
        let mut octets = [0; Self::OCTETS];
        URL_SAFE_NO_PAD.decode_slice(session_id, &mut octets).ok()?;
        let (masked, random) = octets.split_first_chunk::<2>()?;
        let bits = u128::from_be_bytes(random.try_into().ok()?);
        let shard = u16::from_be_bytes(*masked) ^ Self::mask(bits);
        (shard < workers).then_some(Self {
            shard: ShardId(shard),
            bits,
        })
    }

    pub fn text(self) -> String {
        let mut octets = [0; Self::OCTETS];
        octets[..2].copy_from_slice(&(self.shard.0 ^ Self::mask(self.bits)).to_be_bytes());
        octets[2..].copy_from_slice(&self.bits.to_be_bytes());
        URL_SAFE_NO_PAD.encode(octets)
    }

    fn mask(bits: u128) -> u16 {
        (bits ^ (bits >> 37) ^ (bits >> 83)) as u16
    }
}

/// Who may send under a session, and whom it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// The client on this very connection; both end together (UPT-08).
    Client(ConnectionKey),
    /// The verified relay of this name, over whatever connection (UPT-09).
    Relay(Arc<str>),
}

/// One URI that we handed out.
#[derive(Debug)]
pub(super) struct Session {
    pub token: Token,
    pub holder: Holder,
    /// First From-Path URI of the AUTH: where the session leads (UPT-10 case b).
    pub leads_to: Box<[u8]>,
    /// The whole Use-Path of the AUTH's answer.
    pub use_path: Box<[u8]>,
    pub user: Arc<str>,
    pub realm: Arc<str>,
    pub expires: Instant,
    /// How the URI's port reads; a token under another one is unknown.
    pub port: u16,
    pub began: Instant,
    /// The other side of the connection that it was granted on.
    pub peer: Option<SocketAddr>,
    /// What is counted for it somewhere, where there are quotas.
    pub counted: Option<Box<Counted>>,
    /// What ways have handed in, by [`Along`].
    pub traffic: [Traffic; Along::COUNT],
    /// URIs of peers that wrote to it (D-34).
    pub claims: Claims,
    /// Routes whose ways pass it and have not handed in.
    pub ways: BTreeSet<ReturnAddress>,
}

impl Session {
    /// Whether `next` is this session's way back (D-20): for a client equal scheme, host,
    /// port and transport, for a relay the exact URI.
    pub fn leads_to(&self, next: &Uri<'_>) -> bool {
        let Ok(back) = Uri::parse(&self.leads_to) else {
            return false;
        };
        match self.holder {
            Holder::Client(_) => back.same_authority(next),
            Holder::Relay(_) => back.equivalent(next),
        }
    }
}

/// All sessions of a shard.
#[derive(Default)]
pub(super) struct Sessions {
    by_key: Slots<SessionKey, Session>,
    by_token: RandomKeyMap<SessionKey>,
    /// When each ends: one entry, however often it is given more time.
    ends: BTreeSet<(Instant, SessionKey)>,
    /// The last ones that ended, by their tokens, and why.
    ended: Recent<u128, Why>,
}

impl Sessions {
    pub fn insert(&mut self, session: Session) -> SessionKey {
        let (bits, expires) = (session.token.bits, session.expires);
        let key = self.by_key.insert(session);
        self.ends.insert((expires, key));
        self.by_token.insert(bits, key);
        key
    }

    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    pub fn get(&self, key: SessionKey) -> Option<&Session> {
        self.by_key.get(key)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Session> {
        self.by_key.iter().map(|(_, session)| session)
    }

    pub fn get_mut(&mut self, key: SessionKey) -> Option<&mut Session> {
        self.by_key.get_mut(key)
    }

    /// The session of a token, if it lives and its URI agrees in all parts (D-13). A URI of ours with scheme `msrp` is the
    /// spelling of a TCP listener, whose port was looked at (D-42).
    pub fn live(&self, now: Instant, token: Token, uri: &Uri<'_>) -> Option<SessionKey> {
        let key = *self.by_token.get(&token.bits)?;
        let session = self.by_key.get(key)?;
        let agrees = uri.port() == Some(session.port) || uri.scheme() == Scheme::Msrp;
        (agrees && now < session.expires).then_some(key)
    }

    /// The session of a token that was found good before, if it is still there.
    pub fn of_token(&self, token: Token) -> Option<SessionKey> {
        self.by_token.get(&token.bits).copied()
    }

    /// Why no URI with this token, or not this one, is [live](Self::live); none if its session is.
    pub fn why_not(&self, now: Instant, token: Token) -> Option<Why> {
        match self.by_token.get(&token.bits) {
            Some(key) => (!self.is_live(now, *key)).then_some(Why::Expired),
            None => Some(self.ended.get(&token.bits).copied().unwrap_or(Why::Unknown)),
        }
    }

    /// Why the session of this token has ended; `bound` of them are kept.
    pub fn remember_end(&mut self, token: Token, why: Why, bound: usize) {
        self.ended.get_or_insert(token.bits, bound, why);
    }

    pub fn is_live(&self, now: Instant, key: SessionKey) -> bool {
        self.by_key
            .get(key)
            .is_some_and(|session| now < session.expires)
    }

    pub fn give_back(&mut self) {
        self.by_key.give_back();
        give_back(&mut self.by_token);
    }

    /// It ends then, earlier or later than it would have.
    pub fn set_end(&mut self, key: SessionKey, expires: Instant) {
        if let Some(session) = self.by_key.get_mut(key) {
            self.ends.remove(&(session.expires, key));
            session.expires = expires;
            self.ends.insert((expires, key));
        }
    }

    /// When the next one ends.
    pub fn next_end(&self) -> Option<Instant> {
        self.ends.first().map(|(end, _)| *end)
    }

    /// One that has come to its end.
    pub fn first_ended(&self, now: Instant) -> Option<SessionKey> {
        let (end, key) = self.ends.first()?;
        (*end <= now).then_some(*key)
    }

    pub fn keys(&self) -> Vec<SessionKey> {
        self.by_key.keys()
    }

    pub fn remove(&mut self, key: SessionKey) -> Option<Session> {
        let session = self.by_key.remove(key)?;
        self.by_token.remove(&session.token.bits);
        self.ends.remove(&(session.expires, key));
        Some(session)
    }
}

/// The sessions that one connection got.
pub(super) type SessionSet = BTreeSet<SessionKey>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upt_02_a_token_names_its_shard_and_no_other_text_does() {
        for shard in [0, 1, 7, 300] {
            let token = Token::new(ShardId(shard), *b"0123456789abcdef");
            let text = token.text();
            assert_eq!(text.len(), Token::CHARACTERS);
            assert_eq!(Token::parse(text.as_bytes(), 512), Some(token));
        }
        let text = Token::new(ShardId(1), *b"0123456789abcdef").text();
        assert_eq!(Token::parse(text.as_bytes(), 1), None, "no such shard");
        assert_eq!(Token::parse(&text.as_bytes()[1..], 2), None);
        assert_eq!(Token::parse(format!("{text}=").as_bytes(), 2), None);
    }
}
