//! What one user, realm or source prefix may have, over all shards (SEC-06).
//!
//! Each subject has a home, the shard `hash(subject) mod workers` (design: *Placement*). Sessions
//! and connections are counted there, exactly: the home is asked once per accept or AUTH and told
//! when they end. Rates are a bucket at the home that lends to the shards what they may spend for
//! a twentieth of a second; a shard asks for more before that is used up, never for each chunk.
//! Whoever has spent more than was lent is not read until it is paid back: what exceeds a rate is
//! slowed and not refused.
//!
//! A verified relay speaks for many users and addresses: the sessions that it gets for them
//! count, its own connections and what passes them do not.

mod admission;
mod bucket;
mod hold;
mod home;
mod share;
mod spend;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

pub(super) use admission::Admission;
pub(super) use home::{Homes, Question, StandingKey};
pub(super) use share::{ShareKey, Shares};

use super::keyed_hash::HashKey;
use super::keys::{ConnectionKey, PendingAuthKey, SessionKey, ShardId};
use crate::metrics::{QuotaLabel, SubjectLabel};

/// Bounds of one subject over all shards; 0: none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Quota {
    /// Sessions that live at the same time; past it AUTH is answered 403.
    pub sessions: u32,
    /// Connections: of a user or realm those that hold a session of theirs, of a prefix all
    /// that are accepted from it. Past it AUTH is answered 403, and what is accepted is closed.
    pub connections: u32,
    /// AUTHs in a second: of a user or realm those whose digest is right, of a prefix all.
    pub auths_per_second: u32,
    /// Messages begun in a second; every other request, and every SEND that is refused, is one.
    pub messages_per_second: u32,
    /// Octets of requests in a second, heads and bodies.
    pub octets_per_second: u64,
    /// Octets of one message; a larger one is refused with 413.
    pub message_octets: u64,
}

impl Quota {
    fn rate(&self, kind: Rate) -> u64 {
        match kind {
            Rate::Auths => self.auths_per_second.into(),
            Rate::Messages => self.messages_per_second.into(),
            Rate::Octets => self.octets_per_second,
        }
    }

    fn has_rates(&self) -> bool {
        Rate::ALL.iter().any(|rate| self.rate(*rate) > 0)
    }
}

/// The bounds of every kind of subject. Swapped with the settings on reload.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Quotas {
    pub user: Quota,
    pub realm: Quota,
    pub prefix: Quota,
    /// Of a balancer's own connections, whose PROXY header names nobody.
    pub balancer: Quota,
}

impl Quotas {
    fn of(&self, kind: SubjectLabel) -> &Quota {
        match kind {
            SubjectLabel::User => &self.user,
            SubjectLabel::Realm => &self.realm,
            SubjectLabel::Prefix => &self.prefix,
            SubjectLabel::Balancer => &self.balancer,
        }
    }

    /// Whether anything is bounded at all: nothing costs anything otherwise.
    pub(super) fn any(&self) -> bool {
        *self != Self::default()
    }
}

/// What is spent at a rate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Rate {
    Auths,
    Messages,
    Octets,
}

impl Rate {
    const ALL: [Self; 3] = [Self::Auths, Self::Messages, Self::Octets];

    fn label(self) -> QuotaLabel {
        match self {
            Self::Auths => QuotaLabel::Auths,
            Self::Messages => QuotaLabel::Messages,
            Self::Octets => QuotaLabel::Octets,
        }
    }
}

/// Whom a bound is for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Subject {
    User { user: Arc<str>, realm: Arc<str> },
    Realm(Arc<str>),
    Prefix(Prefix),
    Balancer(Prefix),
}

/// An IPv4 address, or the 64 bits of an IPv6 address that one subscriber line has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Prefix {
    V4(u32),
    V6(u64),
}

impl Subject {
    pub fn user(user: &Arc<str>, realm: &Arc<str>) -> Self {
        Self::User {
            user: user.clone(),
            realm: realm.clone(),
        }
    }

    pub fn prefix(address: SocketAddr) -> Self {
        Self::Prefix(Prefix::of(address))
    }

    /// Where a connection comes from: a client, or a balancer that speaks for itself.
    pub fn source(address: SocketAddr, of_balancer: bool) -> Self {
        match of_balancer {
            true => Self::Balancer(Prefix::of(address)),
            false => Self::prefix(address),
        }
    }

    fn kind(&self) -> SubjectLabel {
        match self {
            Self::User { .. } => SubjectLabel::User,
            Self::Realm(_) => SubjectLabel::Realm,
            Self::Prefix(_) => SubjectLabel::Prefix,
            Self::Balancer(_) => SubjectLabel::Balancer,
        }
    }

    /// The shard that counts for it: the same on every shard.
    fn home(&self, key: &HashKey, workers: u16) -> ShardId {
        match self {
            Self::User { user, realm } => {
                key.shard(&[b"user", user.as_bytes(), realm.as_bytes()], workers)
            }
            Self::Realm(realm) => key.shard(&[b"realm", realm.as_bytes()], workers),
            Self::Prefix(prefix) => key.shard(&[b"prefix", &prefix.octets()], workers),
            Self::Balancer(prefix) => key.shard(&[b"balancer", &prefix.octets()], workers),
        }
    }
}

impl Prefix {
    /// An IPv4 address in the dress of IPv6 is an IPv4 address.
    pub fn of(address: SocketAddr) -> Self {
        match address.ip().to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip.to_bits()),
            IpAddr::V6(ip) => Self::V6((ip.to_bits() >> 64) as u64),
        }
    }

    /// IPv4 and IPv6 are told apart.
    pub fn octets(self) -> [u8; 9] {
        let (family, bits) = match self {
            Self::V4(bits) => (4, u64::from(bits)),
            Self::V6(bits) => (6, bits),
        };
        let mut octets = [family; 9];
        octets[1..].copy_from_slice(&bits.to_be_bytes());
        octets
    }
}

/// What is counted at a subject's home for a session or connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Claim {
    pub session: bool,
    pub connection: bool,
    /// Not counted, but spent.
    pub auth: bool,
}

impl Claim {
    /// Of a connection by its prefix.
    const CONNECTION: Self = Self {
        session: false,
        connection: true,
        auth: false,
    };

    fn is_empty(self) -> bool {
        self == Self::default()
    }

    fn counts(self) -> bool {
        self.session || self.connection
    }

    /// The connection that another claim has counted, unless this one has.
    fn take_over(&mut self, other: &mut Self) {
        if !self.connection {
            self.connection = std::mem::take(&mut other.connection);
        }
    }
}

/// Who waits for a home's verdict.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asker {
    Auth(PendingAuthKey),
    Accept(ConnectionKey),
    /// Nobody: it is there already, and counted whatever the bound.
    Established,
}

/// Between shards.
#[derive(Debug)]
pub enum QuotaHandoff {
    /// To the home: may there be one more?
    Ask(Box<Question>),
    /// From the home; what stands in the way.
    Verdict(Verdict),
    /// To the home: what was counted has gone.
    Leave(Left),
    /// To the home: a shard wants to spend more.
    Borrow(Box<home::Borrowing>),
    /// From the home.
    Lent(home::Loan),
    /// To the home: nothing more is spent here.
    Settle(Box<home::Balance>),
}

/// A home's answer.
#[derive(Debug)]
pub struct Verdict {
    subject: Subject,
    claim: Claim,
    asker: Asker,
    refused: Option<QuotaLabel>,
}

/// What a home need not count any more.
#[derive(Debug)]
pub struct Left {
    subject: Subject,
    claim: Claim,
}

/// What is counted somewhere for a session: of its user, its realm and its prefix.
#[derive(Clone, Debug, Default)]
pub(super) struct Counted {
    pub user: Claim,
    pub realm: Claim,
    pub prefix: Claim,
    /// `prefix` is that of a balancer which speaks for itself.
    pub of_balancer: bool,
    /// Where its holder spends.
    pub shares: [Option<ShareKey>; 2],
}

impl Counted {
    fn claim(&mut self, kind: SubjectLabel) -> &mut Claim {
        match kind {
            SubjectLabel::User => &mut self.user,
            SubjectLabel::Realm => &mut self.realm,
            SubjectLabel::Prefix => &mut self.prefix,
            SubjectLabel::Balancer => {
                self.of_balancer = true;
                &mut self.prefix
            }
        }
    }
}

/// What is kept for an accepted connection while there are quotas.
#[derive(Debug, Default)]
pub(super) struct Spending {
    /// It counts for its prefix.
    pub counted: bool,
    /// The home of its prefix was asked, and has counted it unless it says otherwise.
    pub asked: bool,
    /// Where it spends for its prefix.
    pub prefix: Option<ShareKey>,
    /// The session under which it sends what is coming in.
    pub session: Option<SessionKey>,
    /// Position of the next octet of the message that is coming in, and the last that may come.
    pub position: u64,
    pub last: Option<u64>,
}
