//! One connection, accepted or dialled: what arrives on it, what leaves by it, what lives
//! and dies with it.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::metrics::{RoleLabel, TransportLabel};
use crate::wire::{Authority, Decoder, Head, Host};

use super::chain_auth::FailedChains;
use super::claims::Claimed;
use super::command::{CloseReason, Verify};
use super::egress::Egress;
use super::handoff::Hop;
use super::holders::Party;
use super::keys::RouteKey;
use super::limits::{ALIVE, Limits};
use super::links::Reached;
use super::notices::Challenges;
use super::quotas::Spending;
use super::route::{Lane, Route};
use super::session::SessionSet;
use super::settings::VerifiedNames;
use super::short_walk::Trodden;

/// How octets travel on a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    Tls,
    Tcp,
    Wss,
    Ws,
}

impl Transport {
    /// Each message has a frame of its own (RFC 7977 §5.1).
    pub(super) fn is_framed(self) -> bool {
        matches!(self, Self::Wss | Self::Ws)
    }

    pub(super) fn label(self) -> TransportLabel {
        match self {
            Self::Tls => TransportLabel::Tls,
            Self::Tcp => TransportLabel::Tcp,
            Self::Wss => TransportLabel::Wss,
            Self::Ws => TransportLabel::Ws,
        }
    }
}

/// What the shard knows of a socket that it accepted.
#[derive(Clone, Copy, Debug)]
pub struct Accepted {
    pub transport: Transport,
    pub remote: SocketAddr,
    /// A PROXY header is to name whom `remote` speaks for, within the probation time.
    pub by_proxy: bool,
    /// Port for Use-Path URIs handed out here: that of the TLS listener, as advertised.
    pub use_path_port: u16,
}

fn decoder(transport: Transport, limits: &Limits) -> Decoder {
    let limits = limits.of_heads();
    match transport.is_framed() {
        true => Decoder::framed(limits),
        false => Decoder::new(limits),
    }
}

/// What the decoder's next events belong to.
pub(super) enum Incoming {
    /// Between messages.
    Nothing,
    /// A SEND on its way into a route.
    Send {
        route: RouteKey,
        sequence: u32,
        head: Head,
    },
    /// Refused, or of no concern: read to its end-line.
    PastIt,
    /// A bodiless SEND to us alone (FWD-14).
    Keepalive(Head),
    /// A request other than SEND, or a response: acted upon once it is whole.
    Whole {
        head: Head,
        body: Vec<u8>,
        has_body: bool,
    },
}

/// The first From-Path URI of a request, and the verified relay that it names if any.
pub(super) struct NamedItself {
    pub first: Box<[u8]>,
    pub relay: Option<Arc<str>>,
}

/// For whom a connection speaks. A certificate alone lifts no bound: whoever has any that verifies could
/// do without bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Speaks {
    /// No request has said so yet.
    Unknown,
    /// For many: a relay that the operator lets in, whose certificate names the host of its first
    /// From-Path URIs.
    AsRelay,
    /// For itself.
    AsClient,
}

pub(super) struct Connection {
    pub transport: Transport,
    /// The other side, or whom it speaks for; none while it is being dialled.
    pub remote: Option<SocketAddr>,
    /// `remote` is a balancer that speaks for itself, or does not know for whom.
    pub of_balancer: bool,
    pub use_path_port: u16,
    pub verified: Option<Arc<VerifiedNames>>,
    /// Whether bounds hold for it that are for one user.
    pub speaks: Speaks,
    /// The relay that its last request named itself, by the first From-Path URI.
    pub named: Option<Box<NamedItself>>,
    /// As which next hop it was dialled.
    pub dialled: Option<Box<Authority>>,
    /// For what it was dialled.
    pub dialled_for: Option<Verify>,
    /// Cost of what came for it while it was being dialled.
    pub waiting_octets: usize,
    /// An octet came from the other side.
    pub heard: bool,
    /// When the last octets came.
    pub heard_at: Option<Instant>,
    /// An answer was due, and nothing came since (D-41).
    pub silent: bool,
    /// Others lead where it does: it tells that it was heard.
    pub is_one_of_several: bool,
    /// When it last did.
    pub told_at: Option<Instant>,
    /// One of both: what comes is to be told.
    pub listens: bool,
    /// Where the dial ended.
    pub reached: Option<Box<Reached>>,
    /// Handshake done: output may flow.
    pub established: bool,
    /// We end it once its output is out.
    pub closing: Option<CloseReason>,
    /// It is closing, and its routes, flows and sessions have been ended.
    pub ended: bool,
    /// Some of that is left to be worked off.
    pub leaves: bool,
    /// Octets that count of what its decoder keeps, and of its responses and REPORTs: in whole
    /// [steps](super::memory::waiting_steps).
    pub undecoded: usize,
    pub control: usize,
    /// It had sessions when it began to end.
    pub had_sessions: bool,
    /// It is among those that are looked at next, whether they may go.
    pub settling: bool,
    /// The decoder has failed or the stream has ended: nothing more is read.
    pub deaf: bool,
    pub decoder: Decoder,
    pub incoming: Incoming,
    /// By the To-Path's text.
    pub routes: HashMap<Bytes, RouteKey>,
    /// The same for films that have a link of their own: they wait in other queues.
    #[allow(clippy::box_collection, reason = "few connections have one")]
    pub film_routes: Option<Box<HashMap<Bytes, RouteKey>>>,
    /// The same for AUTHs to further relays: those never share the way of a last hop.
    #[allow(clippy::box_collection, reason = "few connections have one")]
    pub auth_routes: Option<Box<HashMap<Bytes, RouteKey>>>,
    /// The one that was used last: most connections have one in use.
    pub last_route: Option<RouteKey>,
    /// Its last SENDs, where they are all alike.
    pub trodden: Option<Box<Trodden>>,
    /// Routes that gave up their To-Path and still have something on its way.
    pub retired: BTreeSet<RouteKey>,
    pub egress: Egress,
    pub sessions: SessionSet,
    /// The next hops that it leads to.
    pub hops: Vec<Hop>,
    /// Their hosts, as far as every shard knows that a verified link leads there.
    pub serves: Vec<Host>,
    /// URIs that it claims under tokens that it wrote to (D-34).
    pub claims: BTreeSet<Claimed>,
    /// An odd response of it was told to the log.
    pub odd_told: bool,
    /// A request succeeded: probation is over (CON-01).
    pub proven: bool,
    pub failed_requests: u32,
    /// Failed AUTHs of late: the hash of whom each was for, and when.
    pub failed_auths: Vec<(u64, Instant)>,
    /// AUTHs since the last success that got 401.
    pub challenges: Challenges,
    /// Octets of MSRP that came, ever.
    pub received: u64,
    /// Credentials for further relays that those refused.
    pub failed_chains: Option<Box<FailedChains>>,
    /// AUTHs whose user is being looked up.
    pub look_ups: usize,
    pub used: Instant,
    /// Since when a message that was begun waits for its next octet.
    pub unfinished_since: Option<Instant>,
    /// Cost of all that it sent and the kernel has not taken.
    pub outstanding: usize,
    /// The user, relay or source prefix that is charged for what this connection makes us remember.
    pub party: Party,
    /// Octets that this connection makes us remember.
    pub remembered: usize,
    /// The part of `remembered` that this struct holds: names, next hops, claims.
    pub own: usize,
    /// Its one timer of each kind: one is set and has not fired, or will at that time.
    pub stall_timer: bool,
    pub progress_timer: Option<Instant>,
    /// As what it is counted.
    pub counted: Option<(TransportLabel, RoleLabel)>,
    /// Routes that hold it paused; one more if it is held for a quota.
    pub pauses: usize,
    /// Why what was read of it waits, as bits (see `quotas`); 0: it does not.
    pub held: u8,
    /// The stream has ended behind what waits.
    pub end_waits: bool,
    /// It ends, and is not held any more.
    pub ends: bool,
    /// What it spends, where there are quotas.
    pub spending: Option<Box<Spending>>,
    pub paused_since: Option<Instant>,
    /// How long it was paused before that, ever.
    pub unread: Duration,
    /// The last two chats that moved an octet here, the latest first.
    chats: [Option<(RouteKey, Instant)>; 2],
}

impl Connection {
    pub fn new(now: Instant, transport: Transport, limits: &Limits) -> Self {
        Self {
            transport,
            remote: None,
            of_balancer: false,
            use_path_port: 0,
            verified: None,
            speaks: Speaks::Unknown,
            named: None,
            dialled: None,
            dialled_for: None,
            waiting_octets: 0,
            heard: false,
            heard_at: None,
            silent: false,
            is_one_of_several: false,
            told_at: None,
            listens: false,
            reached: None,
            established: false,
            closing: None,
            ended: false,
            leaves: false,
            undecoded: 0,
            control: 0,
            had_sessions: false,
            settling: false,
            deaf: false,
            decoder: decoder(transport, limits),
            incoming: Incoming::Nothing,
            routes: HashMap::new(),
            film_routes: None,
            auth_routes: None,
            last_route: None,
            trodden: None,
            retired: BTreeSet::new(),
            egress: Egress::new(transport.is_framed()),
            sessions: SessionSet::new(),
            hops: Vec::new(),
            serves: Vec::new(),
            claims: BTreeSet::new(),
            odd_told: false,
            proven: false,
            failed_requests: 0,
            failed_auths: Vec::new(),
            challenges: Challenges::default(),
            received: 0,
            failed_chains: None,
            look_ups: 0,
            used: now,
            unfinished_since: None,
            outstanding: 0,
            party: Party::UNKNOWN,
            remembered: 0,
            own: 0,
            stall_timer: false,
            progress_timer: None,
            counted: None,
            pauses: 0,
            held: 0,
            end_waits: false,
            ends: false,
            spending: None,
            paused_since: None,
            unread: Duration::ZERO,
            chats: [None; 2],
        }
    }

    /// What it is to us now, for the gauges.
    pub fn role(&self) -> RoleLabel {
        let leads_to_a_relay = self.dialled.is_none() || self.is_to_relay();
        match self.verified {
            Some(_) if leads_to_a_relay => RoleLabel::Relay,
            _ if !self.sessions.is_empty() => RoleLabel::Client,
            _ if self.proven || self.dialled.is_some() => RoleLabel::Foreign,
            _ => RoleLabel::Probation,
        }
    }

    /// It was dialled as a relay: verified, whatever the operator allows for last hops (TLS-08).
    pub fn is_to_relay(&self) -> bool {
        self.dialled_for == Some(Verify::Relay)
    }

    /// It speaks for many, and bounds that are for one user do not hold for it.
    pub fn speaks_for_many(&self) -> bool {
        self.speaks == Speaks::AsRelay
    }

    /// AUTH is not taken here: nothing protects it. What comes as `ws` was TLS in front of the terminator that the
    /// operator has declared.
    pub fn is_plain(&self) -> bool {
        self.transport == Transport::Tcp
    }

    /// A plain TCP listener accepted it.
    pub fn came_in_clear(&self) -> bool {
        self.transport == Transport::Tcp && self.dialled.is_none()
    }

    /// A chat moved an octet.
    pub fn chat_moved(&mut self, now: Instant, route: RouteKey) {
        match &mut self.chats[0] {
            Some((last, moved)) if *last == route => *moved = now,
            _ => {
                self.chats[1] = self.chats[0];
                self.chats[0] = Some((route, now));
            }
        }
    }

    /// Whether a chat other than this route's session lives here.
    pub fn carries_other_chats(&self, now: Instant, key: RouteKey, route: &Route) -> bool {
        // A film's own session is no other one, although its chats have a route of their own.
        let same = self.routes.get(&route.to_path).copied();
        self.chats.iter().flatten().any(|(chat, moved)| {
            *chat != key && Some(*chat) != same && now.saturating_duration_since(*moved) < ALIVE
        })
    }

    /// The routes of this kind.
    pub fn routes_for(&mut self, lane: Lane) -> &mut HashMap<Bytes, RouteKey> {
        match lane {
            Lane::Chats => &mut self.routes,
            Lane::Films => self.film_routes.get_or_insert_default(),
            Lane::Auths => self.auth_routes.get_or_insert_default(),
        }
    }

    /// How many routes there are of all kinds.
    pub fn count_routes(&self) -> usize {
        let auths = self.auth_routes.as_ref().map_or(0, |routes| routes.len());
        self.routes.len() + self.film_routes() + auths
    }

    /// How many there are for films.
    pub fn film_routes(&self) -> usize {
        self.film_routes.as_ref().map_or(0, |routes| routes.len())
    }

    /// The one for films with this To-Path.
    pub fn film_route(&self, to_path: &[u8]) -> Option<RouteKey> {
        self.film_routes.as_ref()?.get(to_path).copied()
    }

    /// All of them.
    pub fn all_routes(&self) -> impl Iterator<Item = RouteKey> + '_ {
        self.routes
            .values()
            .chain(self.film_routes.iter().flat_map(|routes| routes.values()))
            .chain(self.auth_routes.iter().flat_map(|routes| routes.values()))
            .copied()
    }

    /// It opens none any more, and those that it has are ended by others.
    pub fn forget_routes(&mut self) {
        self.routes = HashMap::new();
        self.film_routes = None;
        self.auth_routes = None;
        self.last_route = None;
    }

    /// It is not yet there.
    pub fn is_dialling(&self) -> bool {
        self.dialled.is_some() && !self.established
    }

    /// It was dialled for films, and chats have another one.
    pub fn is_for_films(&self) -> bool {
        !self.hops.is_empty() && self.hops.iter().all(|hop| matches!(hop, Hop::Films(_)))
    }

    /// Nobody would miss it.
    pub fn is_unused(&self) -> bool {
        self.sessions.is_empty()
    }
}
