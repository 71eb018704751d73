//! What crosses shards. Octets in it are in memory of their own; nothing in it refers to the
//! sender's tables but by keys that may have become void on the way.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::auth::Proof;
use crate::metrics::Along;
use crate::wire::{Authority, Host};

use super::claims::ClaimedUri;
use super::command::{Refusal, Verify};
use super::dials::Payer;
use super::guesses::Guess;
use super::keys::{
    ConnectionKey, FlowKey, PendingAuthKey, Place, ReturnAddress, RouteKey, SessionKey, ShardId,
};
use super::notices::Notice;
use super::quotas::QuotaHandoff;
use super::refresh::Question;
use super::route::Down;
use super::session::Token;
use super::silent::Pulse;
use super::uses::Use;
use super::ways::{AllPassed, Share};

/// One message to another shard's machine.
#[derive(Debug)]
pub enum Handoff {
    /// Find a flow for a route (see `forward`).
    Open(Box<Opening>),
    /// Into a flow.
    Down { flow: FlowKey, down: Down },
    /// Back to a route.
    Up { route: RouteKey, up: Up },
    /// A response on its way back to the connection its request came by.
    Response {
        to: ConnectionKey,
        octets: Bytes,
        /// It says that credentials for this relay were wrong.
        failed_auth: Option<Box<Authority>>,
    },
    /// A REPORT of ours on its way to where the SEND came from (RPT-11).
    Report {
        to: ConnectionKey,
        octets: Bytes,
        code: u16,
    },
    /// A REPORT of ours whose connection has gone, on its way to the home of the relay that the
    /// SEND came from (RPT-11).
    ReportOn {
        relay: Authority,
        octets: Bytes,
        code: u16,
    },
    /// A connection leads to this next hop.
    Register { hop: Hop, place: Place },
    /// It no longer does; `failed` if it was dialled and never spoke.
    Unregister {
        hop: Hop,
        place: Place,
        failed: bool,
    },
    /// That connection to the next hop was heard, or fell silent (D-41).
    Pulse {
        hop: Hop,
        place: Place,
        pulse: Pulse,
    },
    /// The same for what it claims under this token.
    ClaimPulse {
        token: Token,
        place: Place,
        pulse: Pulse,
    },
    /// From the home: others lead where this connection does.
    OneOfSeveral { connection: ConnectionKey },
    /// From the home: dial another link to this relay.
    DialSecond { relay: Authority },
    /// A request under this token was accepted and its sender claims that URI (D-34).
    ClaimUri {
        token: Token,
        uri: Box<ClaimedUri>,
        place: Place,
    },
    /// That connection claims nothing under this token any more.
    UnclaimUris { token: Token, place: Place },
    /// Its claim to the URI with this hash does not stand; none: no claim under this token does.
    ClaimOver {
        connection: ConnectionKey,
        token: Token,
        hash: Option<u64>,
    },
    /// The sender's first verified link to this host is up, or its last one has gone.
    HostServed { host: Host, up: bool },
    /// May this nonce be used with this count (AUT-25)?
    Claim {
        from: ShardId,
        pending: PendingAuthKey,
        proof: Box<Proof>,
    },
    Claimed {
        pending: PendingAuthKey,
        fresh: bool,
    },
    /// To the shard that counts: an AUTH has failed.
    Guess(Guess),
    /// From there: what has this hash is not judged until then.
    StopGuesses { key: u64, until: Instant },
    /// A mistake for the log, to the shard that sees to it that its source is told of once a minute.
    Notice(Box<Notice>),
    /// Does this relay hold that session, and may it have more time (UPT-13)?
    Ask(Box<Question>),
    /// Between a subject's home and whoever counts or spends for it.
    Quota(QuotaHandoff),
    /// A session that the route passes has ended.
    SessionOver { route: RouteKey },
    /// What counts for a session of what the route `back` carried, all of it.
    Share {
        session: SessionKey,
        back: ReturnAddress,
        along: Along,
        share: Share,
    },
    /// The Use-Path of the session, if so.
    Answer {
        pending: PendingAuthKey,
        use_path: Option<Box<[u8]>>,
    },
}

/// A next hop, and how the connections that lead there were verified: what one may serve goes by
/// that (see `uses`), so one that was dialled for less is never found for more.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Hop {
    /// A relay, by its certificate.
    Relay(Authority),
    /// A verified relay's link for films.
    Films(Authority),
    /// A last hop that we dialled and whose certificate verified.
    LastHop(Authority),
    /// A last hop that we dialled without verifying it (D-25).
    Unverified(Authority),
    /// A last hop that we dialled without TLS (D-24).
    Plain(Authority),
}

impl Hop {
    /// What a connection that is dialled so is known by.
    pub(super) fn dialled(authority: Authority, verify: Verify) -> Self {
        match verify {
            Verify::Relay => Self::Relay(authority),
            Verify::LastHop {
                unverified_ok: false,
            } => Self::LastHop(authority),
            Verify::LastHop {
                unverified_ok: true,
            } => Self::Unverified(authority),
            Verify::Plain => Self::Plain(authority),
        }
    }

    /// Whether a certificate is what entitles a connection to it.
    pub(super) fn is_by_certificate(&self) -> bool {
        matches!(self, Self::Relay(_) | Self::Films(_) | Self::LastHop(_))
    }

    pub(super) fn authority(&self) -> &Authority {
        match self {
            Self::Relay(authority)
            | Self::Films(authority)
            | Self::LastHop(authority)
            | Self::Unverified(authority)
            | Self::Plain(authority) => authority,
        }
    }
}

/// Verdict, credit and failures of what was sent into a flow.
#[derive(Debug)]
pub enum Up {
    /// The flow is found: send there.
    Opened {
        shard: ShardId,
        flow: FlowKey,
        expires: Option<Instant>,
        /// A film that found no link of its own.
        with_chats: bool,
        /// It leads to a peer that claims the URI (D-34).
        claimed: bool,
        /// Each piece leaves in a frame of its own: the flow waits for chunks that fit into one.
        frames: bool,
    },
    /// There is none: whatever waits for it is refused.
    NotOpened(Refusal),
    /// Somebody holds the chunk, and those after it up to `last`: their 200s may go out.
    Taken { sequence: u32, last: u32 },
    /// The chunk is refused and nobody holds it.
    Refused { sequence: u32, refusal: Refusal },
    /// So much of what was outstanding has reached the kernel.
    Credit(usize),
    /// The flow's connection fell silent: what comes next must find its way anew (D-41).
    LookAgain,
    /// The flow has ended: what has no verdict yet gets this one, what comes next must find
    /// its way anew.
    Closed(Refusal),
}

/// The search for a flow, travelling to the shards that know.
#[derive(Debug)]
pub struct Opening {
    pub(super) back: ReturnAddress,
    pub(super) source: Source,
    /// The whole To-Path of the request.
    pub(super) to_path: Bytes,
    /// Which URI of it is under examination.
    pub(super) hop: usize,
    /// What the request is decides whether it may cause a dial.
    pub(super) purpose: Purpose,
    pub(super) stage: Stage,
    /// What it wants a connection for, once its token is found good.
    pub(super) wanted: Use,
    /// The sender may cause a dial (CON-09).
    pub(super) may_dial: bool,
    /// Under whose session.
    pub(super) payer: Option<Payer>,
    /// It is for films, and they have a link of their own.
    pub(super) film: bool,
    /// That link could not be had.
    pub(super) with_chats: bool,
    /// Its connection had gone when it came there, and it looked again.
    pub(super) retried: bool,
    /// Sessions whose tokens have been found good.
    pub(super) passed: AllPassed,
    pub(super) expires: Option<Instant>,
}

/// Where a request came from, as its shard has verified it.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub place: Place,
    /// The verified relay that its first From-Path URI names (TLS-07).
    pub relay: Option<Arc<str>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    Send,
    Auth,
    Report,
    Other,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// At the shard that the token names.
    Token,
    /// At the shard that keeps track of this next hop.
    Locate,
    /// At the shard of the connection; the session is the one whose holder is reached.
    Deliver {
        connection: ConnectionKey,
        session: Option<SessionKey>,
    },
}
