//! What the other side got wrong, told to the operator: an integrator's first mistake stands in the relay's log and need
//! not be guessed. A [`Notice`] has what came, escaped, cut and without what proves anything, and what was expected.
//!
//! A source is told of once a minute for each kind of mistake, by the shard that a hash of it names; the others pass on one
//! a second at most. The tables of sources are bounded, so strangers can fill no log. Notices are made where something is
//! refused, never on the walk of a message that is served.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::auth::Authorization;
use crate::metrics::RefusalReason;
use crate::wire::{DecodeError, Excerpt, Head, Method, Scheme, Uri};

use super::Relay;
use super::auth_request::addressed_host;
use super::command::{Command, Refusal};
use super::handoff::Handoff;
use super::keyed_hash::shard_of;
use super::keys::ConnectionKey;
use super::quotas::Prefix;
use super::route::Request;
use super::shown::{cut, shown};

/// One line for the operator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    /// Who sent it; none where that is not known.
    pub remote: Option<SocketAddr>,
    /// What is wrong.
    pub kind: NoticeKind,
    /// What came: printable ASCII of at most a few hundred characters, without secrets.
    pub came: String,
    /// What was expected instead; as long at most.
    pub expected: String,
    /// Mistakes of this kind that came from there since the last notice and got none.
    pub more: u64,
}

/// Kinds of mistakes; a source has one notice a minute for each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum NoticeKind {
    /// AUTH to a name that is not ours.
    AuthTarget,
    /// Another request whose To-Path begins with somebody else.
    NotOurs,
    /// AUTH on a connection without TLS.
    PlainAuth,
    /// Credentials for another realm than the challenge's.
    Realm,
    /// AUTH of one user again and again, and each time 401.
    Challenges,
    /// A URI of ours that is refused.
    Token(Why),
    /// A request that is not well-formed.
    Malformed,
    /// Octets that are no MSRP.
    Framing,
}

/// What the operator may know about a refusal. Its sender may not: to him all refused tokens are alike (UPT-12).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Why {
    /// No session has this token, or had it of late.
    Unknown,
    /// The session's time is over.
    Expired,
    /// The connection of the session's client has ended, and the session with it.
    Closed,
    /// The session was ended because the relay shuts down, or its holder is no longer let in.
    Ended,
    /// The session is somebody else's, and does not lead where the request is to go.
    Elsewhere,
    /// It is another user's.
    User,
    /// Ours are `msrps`.
    Scheme,
    /// Ours are `tcp`.
    Transport,
    /// A port of ours, but another one than the URI was handed out with.
    Port,
    /// A path that no session allows: it ends here, or leads here twice.
    Path,
    /// Malformed: a URI behind ours has no port.
    NoPort,
    /// Malformed: it would be too long once it is forwarded or answered.
    TooLong,
    /// Malformed: a request other than SEND does not end with `$`.
    Chunked,
    /// Malformed: too long a body in a request other than SEND.
    Body,
    /// Malformed: what Authorization must have is missing or ill-formed.
    Authorization,
}

impl Why {
    /// There was such a session.
    fn is_over(self) -> bool {
        matches!(self, Self::Expired | Self::Closed | Self::Ended)
    }

    /// As it stands in the log.
    pub fn text(self) -> &'static str {
        match self {
            Self::Unknown => {
                "unknown: no session of this relay has this session-id, or had it of late"
            }
            Self::Expired => "expired",
            Self::Closed => "ended: the connection of its AUTH has closed",
            Self::Ended => "ended: the relay shuts down, or its holder is not let in any more",
            Self::Elsewhere => {
                "bound elsewhere: it was sent neither by its holder nor on to its holder"
            }
            Self::User => "bound elsewhere: another user's",
            Self::Scheme => "wrong scheme",
            Self::Transport => "wrong transport",
            Self::Port => "wrong port",
            Self::Path => "a path that ends at this relay, or leads to it twice",
            Self::NoPort => "a URI behind this relay's has no port",
            Self::TooLong => "too long to be forwarded or answered",
            Self::Chunked => "a request other than SEND does not end with $",
            Self::Body => "too long a body in a request other than SEND",
            Self::Authorization => "Authorization lacks a parameter, or has one that is ill-formed",
        }
    }
}

/// What an AUTH that got 401 had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unproved {
    Nothing,
    OtherScheme,
    OtherRealm,
    OldNonce,
    Wrong,
}

impl Unproved {
    fn text(self) -> &'static str {
        match self {
            Self::Nothing => "without Authorization",
            Self::OtherScheme => "without Digest credentials",
            Self::OtherRealm => "for another realm",
            Self::OldNonce => "with a nonce that is too old or was used before",
            Self::Wrong => "with an unknown user or a wrong response",
        }
    }
}

/// AUTHs in a row on one connection that all got 401.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Challenges {
    /// The hash of the user whom the last one named; 0: none did.
    user: u32,
    times: u8,
}

impl Challenges {
    /// One more. Whoever names another user begins anew; an AUTH without credentials belongs to the user before it.
    fn count(&mut self, user: Option<u32>) -> u8 {
        if let Some(user) = user {
            if self.user != 0 && self.user != user {
                self.times = 0;
            }
            self.user = user;
        }
        self.times = self.times.saturating_add(1);
        self.times
    }
}

/// A source has one notice in this time for each kind.
const EVERY: Duration = Duration::from_secs(60);
/// A shard passes on one in this time to the shard that sees to that.
const PASSED_ON_EVERY: Duration = Duration::from_secs(1);
/// So many AUTHs in a row that got 401 make a loop: the first of a user has no nonce, and the second may have an old one.
const LOOP: u8 = 3;
/// The same where none of late had credentials: several sessions may ask for challenges at once.
const LOOP_WITHOUT: u8 = 6;

type Mistake = (Option<Prefix>, NoticeKind);

struct Told {
    /// There is none before that.
    next: Instant,
    more: u64,
}

/// Of whom notices were given.
#[derive(Default)]
pub(super) struct Notices {
    told: BTreeMap<Mistake, Told>,
    /// The same, the one that may have its next first.
    order: BTreeSet<(Instant, Mistake)>,
}

impl Notices {
    /// Whether this one, and `more` like it, are to be told; if so, how many besides were not since the last one. `bound` is
    /// for the table: while it is full of those that must wait for their next, further sources go untold.
    fn admit(
        &mut self,
        now: Instant,
        mistake: Mistake,
        more: u64,
        every: Duration,
        bound: usize,
    ) -> Option<u64> {
        let next = now + every;
        if let Some(told) = self.told.get_mut(&mistake) {
            if now < told.next {
                told.more = told.more.saturating_add(1 + more);
                return None;
            }
            self.order.remove(&(told.next, mistake));
            self.order.insert((next, mistake));
            told.next = next;
            return Some(std::mem::take(&mut told.more).saturating_add(more));
        }
        while self.told.len() >= bound.max(1) {
            let (next, first) = *self.order.first()?;
            if now < next {
                return None;
            }
            self.order.remove(&(next, first));
            self.told.remove(&first);
        }
        self.told.insert(mistake, Told { next, more: 0 });
        self.order.insert((next, mistake));
        Some(more)
    }
}

impl Relay {
    /// Tells what came and what was expected, unless this source had a notice of this kind just now.
    fn notice(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        kind: NoticeKind,
        tell: impl FnOnce(&Self) -> (String, String),
    ) {
        let remote = self.connections.get(key).and_then(|c| c.remote);
        let source = remote.map(Prefix::of);
        let home = source.map_or(self.shard, |source| {
            let hash = self.hash_key.hash(&[b"notices", &source.octets()]);
            shard_of(hash, self.workers)
        });
        let is_here = home == self.shard;
        let every = if is_here { EVERY } else { PASSED_ON_EVERY };
        let bound = self.settings.limits.notices_remembered;
        let Some(more) = self.notices.admit(now, (source, kind), 0, every, bound) else {
            return;
        };
        let (came, expected) = tell(self);
        let notice = Box::new(Notice {
            remote,
            kind,
            came: cut(came),
            expected: cut(expected),
            more,
        });
        if is_here {
            self.commands.push_back(Command::Notice(notice));
        } else {
            self.hand(home, Handoff::Notice(notice));
        }
    }

    /// Another shard's, of a source that this one sees to.
    pub(super) fn noticed(&mut self, now: Instant, mut notice: Box<Notice>) {
        let mistake = (notice.remote.map(Prefix::of), notice.kind);
        let bound = self.settings.limits.notices_remembered;
        if let Some(more) = self.notices.admit(now, mistake, notice.more, EVERY, bound) {
            notice.more = more;
            self.commands.push_back(Command::Notice(notice));
        }
    }

    /// A request whose first To-Path URI is not ours.
    pub(super) fn notice_not_ours(&mut self, now: Instant, key: ConnectionKey, head: &Head) {
        let is_auth = head.method() == Some(Method::Auth);
        let kind = match is_auth {
            true => NoticeKind::AuthTarget,
            false => NoticeKind::NotOurs,
        };
        self.notice(now, key, kind, |relay| {
            let first = head.to_path().first().unwrap_or_default();
            let came = format!(
                "{} to {}: {}",
                method(head.method_text()),
                shown(first),
                relay.what_is_foreign(first)
            );
            let settings = &relay.settings;
            let mut names = settings.hosts.join(" or ");
            if is_auth {
                for domain in &settings.domains {
                    let _ = write!(names, " or {domain}");
                }
            }
            let ports: Vec<String> = settings.ports.iter().map(u16::to_string).collect();
            let ports = ports.join(" or ");
            let expected = match is_auth {
                true => format!(
                    "an msrps URI with transport tcp, host {names}, port {ports} or none, and no session-id"
                ),
                false => format!("a URI that AUTH gave: host {names}, port {ports}"),
            };
            (came, expected)
        });
    }

    /// Which part of this URI is not ours.
    fn what_is_foreign(&self, uri: &[u8]) -> &'static str {
        let Ok(uri) = Uri::parse(uri) else {
            return "no MSRP URI";
        };
        let (settings, port) = (&self.settings, uri.port());
        if !settings.is_ours(&uri.canonical_host()) {
            "its host is not this relay"
        } else if uri.scheme() != Scheme::Msrps {
            "its scheme is not msrps"
        } else if port.is_some_and(|port| !settings.ports.contains(&port)) {
            "its port is not this relay's"
        } else if port.is_none() && uri.session_id().is_some() {
            "it has no port"
        } else {
            "its host is a domain, or its transport not tcp"
        }
    }

    /// AUTH to us, and nothing protects it.
    pub(super) fn notice_plain_auth(&mut self, now: Instant, key: ConnectionKey, head: &Head) {
        self.notice(now, key, NoticeKind::PlainAuth, |_| {
            let path = shown(head.to_path().text());
            (
                format!("AUTH with To-Path {path} on a TCP listener"),
                "AUTH by TLS (RFC 4976 section 9.1)".to_owned(),
            )
        });
    }

    /// A request is refused: says why if it is malformed or its token is not taken.
    pub(super) fn notice_refusal(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        head: &Head,
        refusal: &Refusal,
    ) {
        if refusal.reason == RefusalReason::Malformed {
            let why = refusal.why;
            self.notice(now, key, NoticeKind::Malformed, |_| malformed(head, why));
        } else if let Some(why) = refusal.why {
            // Late ones about sessions that have just ended are nobody's mistake.
            if !(why.is_over() && head.method() == Some(Method::Report)) {
                self.notice_token(now, key, head.method_text(), head.to_path().text(), why);
            }
        }
    }

    /// A request that has waited for another shard's word is refused.
    pub(super) fn notice_undeliverable(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        request: &Request,
        refusal: &Refusal,
    ) {
        let is_report = request.template.method() == Method::Report;
        if let Some(why) = refusal.why
            && !(is_report && why.is_over())
        {
            let method = request.template.method_text();
            self.notice_token(now, key, method, &request.own_uri, why);
        }
    }

    /// A URI of ours at the beginning of `to_path` is refused.
    pub(super) fn notice_token(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        method_text: &[u8],
        to_path: &[u8],
        why: Why,
    ) {
        self.notice(now, key, NoticeKind::Token(why), |_| {
            let expected = match why {
                Why::Scheme => "scheme msrps, or msrp on a TCP listener with its own port",
                Why::Transport => "transport tcp",
                Why::Port => "the port that AUTH gave the URI with",
                Why::Path => "one or two URIs of this relay and then the next hop",
                _ => {
                    "the Use-Path URI of an AUTH whose connection lives, sent by its holder, or by others with the holder's own URI next"
                }
            };
            (
                format!(
                    "{} with To-Path {}: {}",
                    method(method_text),
                    shown(to_path),
                    why.text()
                ),
                expected.to_owned(),
            )
        });
    }

    /// What this connection has sent cannot be told into messages any more.
    pub(super) fn notice_framing(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        error: DecodeError,
        lost: Option<(usize, Excerpt)>,
    ) {
        let received = self.connections.get(key).map_or(0, |c| c.received);
        self.notice(now, key, NoticeKind::Framing, |_| {
            let (rest, begins) = lost.unwrap_or((0, Excerpt::of(&[])));
            let at = received.saturating_sub(rest as u64);
            let begins = begins.as_bytes();
            let protocol = match begins {
                [0x16, 3, ..] => ", which is TLS",
                _ if begins.starts_with(b"GET ") || begins.starts_with(b"POST ") => {
                    ", which is HTTP"
                }
                _ => "",
            };
            let came = format!("at octet {at}: {}{protocol}", shown(begins));
            let expected = match error {
                DecodeError::NotOneMessage => {
                    "exactly one MSRP message in each WebSocket message".to_owned()
                }
                DecodeError::HeadTooLong { octets_max } => {
                    format!("a head of at most {octets_max} octets")
                }
                _ => "MSRP SP transact-id SP method CRLF".to_owned(),
            };
            (came, format!("{expected} ({})", plain(error.section())))
        });
    }

    /// The transport below MSRP is broken.
    pub(super) fn notice_transport(&mut self, now: Instant, key: ConnectionKey, what: &str) {
        let received = self.connections.get(key).map_or(0, |c| c.received);
        self.notice(now, key, NoticeKind::Framing, |_| {
            (
                format!("behind octet {received}: {}", what.escape_debug()),
                "WebSocket frames of a client (RFC 6455 section 5)".to_owned(),
            )
        });
    }

    /// Credentials that prove nothing got 401: for another realm, of another scheme, or simply wrong.
    pub(super) fn notice_credentials(&mut self, now: Instant, key: ConnectionKey, head: &Head) {
        let host = addressed_host(head.to_path().last().unwrap_or_default());
        let credentials = head.authorization().map(Authorization::parse);
        let unproved = match credentials {
            Some(Ok(Some(credentials))) if credentials.realm != self.auth.realm(&host) => {
                self.notice(now, key, NoticeKind::Realm, |relay| {
                    let user = shown(credentials.username.as_bytes());
                    let realm = shown(credentials.realm.as_bytes());
                    (
                        format!("AUTH of user {user} with realm {realm}"),
                        format!("realm \"{}\", as its 401 says", relay.auth.realm(&host)),
                    )
                });
                Unproved::OtherRealm
            }
            Some(Ok(Some(_))) => Unproved::Wrong,
            _ => Unproved::OtherScheme,
        };
        self.notice_challenge(now, key, head, unproved);
    }

    /// One more 401.
    pub(super) fn notice_challenge(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        head: &Head,
        unproved: Unproved,
    ) {
        let authorization = head.authorization().map(Authorization::parse);
        let credentials = authorization.and_then(Result::ok).flatten();
        let user = credentials.as_ref().map(|credentials| {
            let (name, realm) = (&credentials.username, &credentials.realm);
            let parts = [b"challenged", name.as_bytes(), realm.as_bytes()];
            (self.hash_key.hash(&parts) as u32).max(1)
        });
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.speaks_for_many() {
            return;
        }
        let times = connection.challenges.count(user);
        if times < if user.is_some() { LOOP } else { LOOP_WITHOUT } {
            return;
        }
        self.notice(now, key, NoticeKind::Challenges, |relay| {
            let host = addressed_host(head.to_path().last().unwrap_or_default());
            let of = credentials.map_or(String::new(), |credentials| {
                format!(" of user {}", shown(credentials.username.as_bytes()))
            });
            (
                format!(
                    "{times} AUTHs in a row, the last one{of} {}",
                    unproved.text()
                ),
                format!(
                    "Authorization made with the last 401's nonce, realm \"{}\", and a password of that realm",
                    relay.auth.realm(&host)
                ),
            )
        });
    }
}

/// A method as it came.
fn method(text: &[u8]) -> String {
    match text {
        b"" => "a request".to_owned(),
        _ if text.len() < 16 && text.iter().all(u8::is_ascii_alphanumeric) => {
            String::from_utf8_lossy(text).into_owned()
        }
        _ => shown(text),
    }
}

fn malformed(head: &Head, why: Option<Why>) -> (String, String) {
    let method = method(head.method_text());
    let (to, from) = (head.to_path(), head.from_path());
    let paths = || {
        format!(
            "To-Path {}, From-Path {}",
            shown(to.text()),
            shown(from.text())
        )
    };
    let expected = head
        .fault()
        .map_or("RFC 4975 section 9, RFC 4976 section 6", |fault| {
            fault.section()
        });
    let broken = to.uris().chain(from.uris());
    let broken = broken
        .into_iter()
        .find_map(|uri| Some((uri, Uri::parse(uri).err()?)));
    let came = match (head.fault(), broken, why) {
        (_, Some((uri, error)), _) => format!("{method} with URI {}: {error}", shown(uri)),
        (Some(fault), None, _) => format!("{method} with {}: {fault}", paths()),
        (None, None, Some(why)) => format!("{method} with {}: {}", paths(), why.text()),
        (None, None, None) => format!("{method} with {}", paths()),
    };
    (came, plain(expected))
}

/// The name of a section in ASCII, as the rest of the line.
fn plain(section: &str) -> String {
    section.replace('§', "section ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_07_a_source_has_one_notice_a_minute_and_sources_are_bounded() {
        const BOUND: usize = 64;
        let mut notices = Notices::default();
        let now = Instant::now();
        let source = |n: u32| Some(Prefix::V4(n));
        let mut admit = |at, n, kind| notices.admit(at, (source(n), kind), 0, EVERY, BOUND);
        assert_eq!(admit(now, 1, NoticeKind::Framing), Some(0));
        assert_eq!(admit(now, 1, NoticeKind::Framing), None);
        assert_eq!(admit(now, 1, NoticeKind::Framing), None);
        assert_eq!(admit(now, 1, NoticeKind::Realm), Some(0), "another kind");
        assert_eq!(
            admit(now, 2, NoticeKind::Framing),
            Some(0),
            "another source"
        );
        assert_eq!(admit(now + EVERY, 1, NoticeKind::Framing), Some(2));
        assert_eq!(admit(now + EVERY * 2, 1, NoticeKind::Framing), Some(0));
        let later = now + EVERY * 2;
        let told = (10..5000).filter(|n| admit(later, *n, NoticeKind::Framing).is_some());
        assert_eq!(
            told.count(),
            BOUND - 1,
            "one is young, and the others made room"
        );
        assert_eq!(admit(now + EVERY * 3, 6000, NoticeKind::Framing), Some(0));
        assert_eq!(notices.told.len(), BOUND);
        assert_eq!(notices.order.len(), BOUND);
    }

    #[test]
    fn sec_07_what_other_shards_have_not_passed_on_is_counted() {
        let mut notices = Notices::default();
        let now = Instant::now();
        let mistake = (None, NoticeKind::Framing);
        let mut admit = |at, more| notices.admit(at, mistake, more, EVERY, 16);
        assert_eq!(admit(now, 3), Some(3));
        assert_eq!(admit(now, 4), None);
        assert_eq!(admit(now + EVERY, 5), Some(1 + 4 + 5));
    }

    #[test]
    fn aut_12_a_loop_is_of_one_user() {
        let mut challenges = Challenges::default();
        assert_eq!(challenges.count(None), 1);
        assert_eq!(challenges.count(Some(7)), 2);
        assert_eq!(challenges.count(None), 3);
        assert_eq!(challenges.count(Some(7)), 4);
        assert_eq!(challenges.count(Some(8)), 1);
    }
}
