//! What the machine asks of its shard, and why connections end.

use std::fmt;
use std::sync::Arc;

use crate::metrics;
use crate::wire::Authority;

use super::handoff::Handoff;
use super::keys::{ConnectionKey, ShardId};
use super::limits::COMMENT_OCTETS_MAX;
use super::looking_up::LookUpKey;
use super::notices::{Notice, Why};
use super::records::SessionRecord;

/// The slow path out of the machine. After any call, [`super::Relay::poll_command`] until `None`.
#[derive(Debug)]
pub enum Command {
    /// This connection has output and no send in flight: call `transmit` once in this tick.
    Transmit(ConnectionKey),
    /// `read_room` is no longer 0.
    Resume(ConnectionKey),
    /// All output was given to `transmit`. Once it is sent: close_notify, half-close, read
    /// on for at most 1 s without passing it on, close. The key is void.
    Close {
        connection: ConnectionKey,
        reason: CloseReason,
    },
    /// End it now. The key is void.
    Abort {
        connection: ConnectionKey,
        reason: CloseReason,
    },
    /// Connect to `target`, then call `established` or `lost`.
    Dial {
        connection: ConnectionKey,
        target: Authority,
        verify: Verify,
        /// Whose turn it takes at the name servers: one number for each user, 0 for the relay.
        on_behalf_of: u64,
    },
    /// For another shard's machine, in order; a few dozen at most.
    Handoffs { to: ShardId, handoffs: Vec<Handoff> },
    /// Find out what this user can be proved by, then call [`super::Relay::looked_up`].
    LookUp {
        asker: LookUpKey,
        user: Arc<str>,
        realm: Arc<str>,
    },
    /// Worth a line in the log: the first odd response of this connection. They count all the same.
    OddResponse {
        connection: ConnectionKey,
        kind: metrics::OddResponse,
    },
    /// Tell the operator what the other side got wrong.
    Notice(Box<Notice>),
    /// A session has ended, and all that counts for it is counted.
    SessionEnded(Box<SessionRecord>),
}

/// How far a dialled connection must prove whom it leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verify {
    /// TLS; chain and name; our own certificate is presented (TLS-08).
    Relay,
    /// TLS to a foreign client; chain and name unless the operator waived them (D-25).
    LastHop { unverified_ok: bool },
    /// TCP to a foreign client, scheme `msrp`, where the operator allows it (D-24).
    Plain,
}

/// Why a socket is gone, as the shard saw it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Loss {
    /// Closed or reset by the other side.
    Closed,
    /// The kernel gave it up: the other host acknowledged nothing for the stall time, or answered no probe (D-41).
    Vanished,
    /// TLS failed: during the handshake or later.
    Tls(String),
    /// Name, connect or handshake failed within `connect_timeout`.
    DialFailed(String),
    /// The address is one that the operator does not let us dial (SEC-03).
    DialDenied(String),
    /// It came by a balancer, and without a PROXY header that can be read.
    NoProxyHeader,
    /// Its HTTP request was answered, and did not become a WebSocket connection.
    NotUpgraded,
    /// A WebSocket client has left pings unanswered.
    Unresponsive,
}

/// Why a connection was ended by us.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CloseReason {
    /// No successful request within the probation time.
    Probation,
    /// More connections on probation than `limits.unauthenticated`; this was the oldest.
    Crowded,
    /// Several failed requests, none successful (CON-02).
    TooManyFailures,
    /// Several failed AUTHs (AUT-22, AUT-23).
    TooManyAuthFailures,
    /// A request for somebody else (ERR-03).
    NotOurs,
    /// Framing lost; which octets were wrong.
    Framing(String),
    /// A request other than SEND with more than 10,240 octets (SYN-17).
    BodyTooLong,
    /// AUTH on a plain connection (AUT-01).
    PlainAuth,
    /// Too many connections of one source prefix.
    Quota,
    /// A message begun did not go on in time (SEC-06).
    TooSlow,
    /// Memory was short, and a request that had not come whole was more than its sender's part (SEC-07).
    Memory,
    /// Nothing passed for `idle_timeout`, and no session lives on it.
    Idle,
    /// Unused for longest when another connection needed its place (CON-05).
    Shed,
    /// The other side ended its stream and is owed nothing more.
    EndOfStream,
    /// The other side took no octet for `stall_timeout` (TMR-08).
    Stalled,
    /// A relay's certificate no longer verifies, or the operator no longer lets it in.
    Unverified,
    /// The relay is shutting down.
    Drain,
}

impl CloseReason {
    pub(super) fn label(&self) -> metrics::CloseReason {
        use metrics::CloseReason as Label;
        match self {
            Self::Probation => Label::Probation,
            Self::Crowded => Label::Crowded,
            Self::Quota => Label::Quota,
            Self::TooManyFailures => Label::Failures,
            Self::TooManyAuthFailures => Label::AuthFailures,
            Self::NotOurs => Label::NotOurs,
            Self::Framing(_) => Label::Framing,
            Self::BodyTooLong => Label::BodyTooLong,
            Self::PlainAuth => Label::PlainAuth,
            Self::TooSlow => Label::TooSlow,
            Self::Memory => Label::Memory,
            Self::Idle => Label::Idle,
            Self::Shed => Label::Shed,
            Self::EndOfStream => Label::EndOfStream,
            Self::Stalled => Label::Stalled,
            Self::Unverified => Label::Unverified,
            Self::Drain => Label::Drain,
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Probation => "no successful request within the probation time",
            Self::Crowded => "too many connections on probation, this was the oldest",
            Self::Quota => "too many connections of one source prefix",
            Self::TooManyFailures => "several failed requests and none successful",
            Self::TooManyAuthFailures => "several failed AUTH requests",
            Self::NotOurs => "a request whose To-Path does not begin with this relay",
            Self::Framing(what) => return write!(f, "framing lost: {what}"),
            Self::BodyTooLong => "a request other than SEND with more than 10240 octets of body",
            Self::PlainAuth => "AUTH on a connection without TLS",
            Self::TooSlow => "a message that was begun did not go on in time",
            Self::Memory => "memory is short, and what it sends is more than its part",
            Self::Idle => "unused for the idle time",
            Self::Shed => "unused for longest when another connection needed its place",
            Self::EndOfStream => "the other side ended its stream",
            Self::Stalled => "the other side took nothing for the stall time",
            Self::Unverified => "the certificate of a relay is no longer good",
            Self::Drain => "the relay is shutting down",
        })
    }
}

/// Why a request is not served; becomes a response, or a REPORT where the 200 is out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    pub code: u16,
    /// Only what a next hop said; our own codes have fixed comments.
    pub comment: Option<Box<[u8]>>,
    pub(super) reason: metrics::RefusalReason,
    /// What the log may say about it, and the answer may not (UPT-12).
    pub(super) why: Option<Why>,
}

impl Refusal {
    const fn own(code: u16, reason: metrics::RefusalReason) -> Self {
        Self {
            code,
            comment: None,
            reason,
            why: None,
        }
    }

    /// The same, with what the log may say about it.
    pub(super) fn because(self, why: Why) -> Self {
        Self {
            why: Some(why),
            ..self
        }
    }

    /// Malformed, but framed (ERR-01).
    pub const MALFORMED: Self = Self::own(400, metrics::RefusalReason::Malformed);
    /// Token unknown, expired or bound to somebody else: one answer for all (UPT-12).
    pub const NO_SESSION: Self = Self::own(481, metrics::RefusalReason::NoSession);
    /// The client that the token leads to has gone (D-10).
    pub const CLIENT_GONE: Self = Self::own(481, metrics::RefusalReason::ClientGone);
    /// Draining (CON-14).
    pub const DRAINING: Self = Self::own(481, metrics::RefusalReason::Draining);
    /// Policy forbids the target (D-10).
    pub const FORBIDDEN: Self = Self::own(403, metrics::RefusalReason::Forbidden);
    /// Name, connect, TLS or connection failed (D-10).
    pub const NEXT_HOP_LOST: Self = Self::own(408, metrics::RefusalReason::NextHopLost);
    /// Too many connections are being opened, or wait for that.
    pub const NO_DIAL: Self = Self::own(408, metrics::RefusalReason::Dials);
    /// Past a bound where the source cannot be paused (FWD-16).
    pub const STOP: Self = Self::own(413, metrics::RefusalReason::Overload);
    /// It would make us remember more than it may.
    pub const MEMORY: Self = Self::own(413, metrics::RefusalReason::Memory);
    /// The same of an AUTH.
    pub const NO_MORE_SESSIONS: Self = Self::own(403, metrics::RefusalReason::Memory);
    /// The same of a request that would have to wait for somebody's word.
    pub const NO_ROOM_TO_WAIT: Self = Self::own(408, metrics::RefusalReason::Memory);
    /// Content that the operator does not let through (SEC-12).
    pub const CONTENT: Self = Self::own(415, metrics::RefusalReason::Content);
    /// Blocked or meant for the relay itself (FNS-05, FNS-06).
    pub const METHOD: Self = Self::own(501, metrics::RefusalReason::Method);

    /// What a next hop answered.
    pub(super) fn downstream(code: u16, comment: Option<&[u8]>) -> Self {
        Self {
            code,
            comment: comment
                .filter(|comment| comment.len() <= COMMENT_OCTETS_MAX)
                .map(Into::into),
            reason: metrics::RefusalReason::Downstream,
            why: None,
        }
    }

    /// The comment of a response or status line.
    pub(super) fn comment(&self) -> &[u8] {
        match &self.comment {
            Some(comment) => comment,
            None => comment_of(self.code),
        }
    }
}

/// The RFC's words for a code (RFC 4975 §10, RFC 4976 §10).
pub(super) fn comment_of(code: u16) -> &'static [u8] {
    match code {
        200 => b"OK",
        400 => b"Bad Request",
        401 => b"Unauthorized",
        403 => b"Forbidden",
        408 => b"Timeout",
        413 => b"Stop",
        415 => b"Unsupported media type",
        423 => b"Interval Out-of-Bounds",
        481 => b"No such session",
        501 => b"Method not supported",
        _ => b"",
    }
}
