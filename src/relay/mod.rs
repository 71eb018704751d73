//! The relay of RFC 4976 §6 as a pure machine, one per shard: octets, times and random seeds
//! come in, octets and [`Command`]s go out. No socket, no clock, no thread, no async.
//!
//! # The contract
//!
//! After any call, follow [`Relay::poll_command`] until it says `None`. For a
//! [`Command::Transmit`] call [`Relay::transmit`] once, send what it gave, and call
//! [`Relay::sent`] when the kernel has all of it; only then comes the next one. Time never
//! goes backwards. Same inputs and same seed give the same commands.
//!
//! # Inside
//!
//! A source's `route` and an outgoing connection's `flow` are the two ends of a path. They
//! talk in `route::Down` and `handoff::Up`, by direct calls on one shard and through
//! [`Handoff`]s between two: the same functions run on both sides.

mod auth_request;
mod between_shards;
mod census;
mod chain_auth;
mod claims;
mod command;
mod connection;
mod custody;
mod dials;
mod drain;
mod egress;
mod few;
mod film_links;
mod flow;
mod flow_side;
mod forward;
mod guesses;
mod handoff;
mod head_bounds;
mod holders;
mod invariants;
mod keyed_hash;
mod keys;
mod leaving;
mod limits;
mod links;
mod looking_up;
mod loss;
mod memory;
mod next_hops;
mod notices;
mod other_request;
mod pace;
mod pausing;
mod pieces;
mod planted;
mod probation;
mod quotas;
mod random;
mod receive;
mod records;
mod refresh;
mod response;
mod responses;
mod route;
mod route_side;
mod send_request;
mod served;
mod session;
mod settings;
mod shedding;
mod short_walk;
mod shown;
mod silent;
mod slots;
mod timeouts;
mod timers;
mod transaction;
mod transmit;
mod turns;
mod uses;
mod ways;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

pub use command::{CloseReason, Command, Loss, Refusal, Verify};
pub use connection::{Accepted, Transport};
pub use guesses::Guess;
pub use handoff::{Handoff, Hop, Opening, Up};
pub use keys::{ConnectionKey, Place, ShardId};
pub use leaving::ENDS_AT_ONCE;
pub use limits::Limits;
pub use links::Reached;
pub use looking_up::{LookUpKey, LookedUp};
pub use notices::{Notice, NoticeKind, Why};
#[cfg(feature = "planted-faults")]
pub use planted::{Fault, plant};
pub use quotas::{Quota, QuotaHandoff, Quotas};
pub use records::{EndCause, SessionRecord};
pub use refresh::Question;
pub use route::{Down, Request};
pub use settings::{Settings, Start, VerifiedNames};
pub use ways::Share;

// In what a shard hands to the machine, or gets from it: it needs no other room for them.
pub use crate::auth::{
    Algorithm, Ha1, Hashes, NonceKeys, Settings as AuthSettings, Users, WallClock,
};
pub use crate::wire::Authority;

use crate::auth::{Authenticator, NonceLedger};
use crate::metrics::ShardMetrics;

use auth_request::PendingAuth;
use connection::{Connection, Speaks};
use custody::Custodies;
use dials::Dials;
use film_links::Parked;
use flow::Flows;
use guesses::Guesses;
use holders::{Holders, Steps};
use keyed_hash::HashKey;
use keys::{PendingAuthKey, ReturnAddress, RouteKey};
use leaving::Ends;
use limits::FLUSH_OCTETS;
use links::GoneLinks;
use next_hops::NextHops;
use pace::Resting;
use probation::Probation;
use quotas::{Homes, Prefix, Shares};
use random::Random;
use records::Ending;
use route::Routes;
use served::Served;
use session::Sessions;
use slots::Slots;
use timers::{Timer, Timers};
use transaction::Transactions;

/// One shard's relay. See the module's contract.
pub struct Relay {
    /// The time of the call under way, or of the last one.
    now: Instant,
    settings: Arc<Settings>,
    auth: Authenticator,
    shard: ShardId,
    workers: u16,
    hash_key: HashKey,
    random: Random,
    metrics: ShardMetrics,
    connections: Slots<ConnectionKey, Connection>,
    /// Connections on probation.
    probation: Probation,
    sessions: Sessions,
    /// Sessions that have ended and are not yet recorded.
    ending: Ending,
    routes: Routes,
    /// Sum of all routes' outstanding cost.
    outstanding: usize,
    /// What is remembered on behalf of remote sides, besides what is outstanding and transactions.
    remembered: usize,
    /// The part of it that is in tables with a bound of their own.
    tables: usize,
    /// How much of it is charged to each user, relay and source prefix.
    holders: Holders,
    /// How full the total must be for strangers, users and relays to be refused.
    memory_steps: Steps,
    /// Routes whose connections have gone; some end with each turn.
    orphans: Vec<RouteKey>,
    /// What has ended and is not yet worked off; some of it is with each turn.
    ends: Ends,
    flows: Flows,
    custodies: Custodies,
    transactions: Transactions,
    next_hops: NextHops,
    /// Hosts that verified links lead to, of all shards.
    served: Served,
    /// Connections that are being opened, or wait for their turn.
    dials: Dials,
    nonces: NonceLedger,
    /// Failed AUTHs.
    guesses: Guesses,
    pending_auths: Slots<PendingAuthKey, PendingAuth>,
    /// Users being looked up.
    look_ups: usize,
    /// Subjects whose quotas this shard keeps.
    homes: Homes,
    /// Subjects that spend on this shard.
    shares: Shares,
    /// Flows that are ahead of their rate.
    resting: Resting,
    timers: Timers,
    commands: VecDeque<Command>,
    /// What is for each other shard, in order, and for which there is something.
    outgoing: Vec<Vec<Handoff>>,
    handing: VecDeque<ShardId>,
    /// Verdicts and credit not yet delivered; empty between calls.
    ups: VecDeque<(ReturnAddress, Up)>,
    /// Openings that wait for a link for films.
    parked: Parked,
    /// Links to other relays that have gone.
    gone_links: GoneLinks,
    /// REPORTs of ours whose connection has gone; none between calls.
    strays: Vec<(ConnectionKey, Bytes, u16)>,
    /// Where responses are written, one at a time.
    scratch: Vec<u8>,
    /// Of whose mistakes the operator was told.
    notices: notices::Notices,
    /// When to look again for a connection that can be spared.
    shed_again: Option<Instant>,
    /// Closing connections that may have got their last answer; none between calls.
    settling: VecDeque<ConnectionKey>,
    /// Verdicts are being delivered: whoever is called by that leaves his own to the loop.
    delivering: bool,
    draining: Option<drain::Drain>,
}

impl Relay {
    pub fn new(start: Start) -> Self {
        let limits = &start.settings.limits;
        let nonces = NonceLedger::new(limits.nonces);
        let memory_steps = Steps::of(limits.remembered_octets_total, start.workers);
        Self {
            now: start.now,
            settings: start.settings,
            auth: start.auth,
            shard: start.shard,
            workers: start.workers.max(1),
            hash_key: HashKey::new(start.hash_key),
            random: Random::new(start.seed),
            metrics: ShardMetrics::default(),
            connections: Slots::default(),
            probation: Probation::default(),
            sessions: Sessions::default(),
            ending: Ending::new(),
            routes: Routes::default(),
            outstanding: 0,
            remembered: 0,
            tables: 0,
            holders: Holders::default(),
            memory_steps,
            orphans: Vec::new(),
            ends: Ends::default(),
            flows: Flows::default(),
            custodies: Custodies::default(),
            transactions: Transactions::default(),
            next_hops: NextHops::default(),
            served: Served::default(),
            dials: Dials::default(),
            nonces,
            guesses: Guesses::default(),
            pending_auths: Slots::default(),
            look_ups: 0,
            homes: Homes::default(),
            shares: Shares::default(),
            resting: Resting::default(),
            timers: Timers::new(start.now),
            commands: VecDeque::new(),
            outgoing: (0..start.workers.max(1)).map(|_| Vec::new()).collect(),
            handing: VecDeque::new(),
            ups: VecDeque::new(),
            parked: Parked::default(),
            gone_links: GoneLinks::default(),
            strays: Vec::new(),
            scratch: Vec::new(),
            notices: notices::Notices::default(),
            shed_again: None,
            settling: VecDeque::new(),
            delivering: false,
            draining: None,
        }
    }

    /// Other settings and users from now on; what is established stays.
    pub fn reconfigure(
        &mut self,
        now: Instant,
        settings: Arc<Settings>,
        auth: Arc<AuthSettings>,
        users: Arc<Users>,
    ) {
        let before = std::mem::replace(&mut self.settings, settings);
        let total = self.settings.limits.remembered_octets_total;
        self.memory_steps = Steps::of(total, self.workers);
        if !before.trusts_like(&self.settings) {
            self.doubt_routes();
        }
        self.auth.reconfigure(now, auth, users);
        for key in self.connections.keys() {
            self.pace_flows(key);
            self.tread_no_more(key);
        }
        if before.quotas != self.settings.quotas {
            self.now = now;
            self.quotas_changed(now);
            self.deliver_ups(now);
        }
    }

    /// What the clock on the wall says: to be told every second or so in which anything happens,
    /// for it may be set while we run.
    pub fn set_wall_clock(&mut self, wall: WallClock) {
        self.auth.set_wall_clock(wall);
    }

    /// Other keys of nonces from now on.
    pub fn set_nonce_keys(&mut self, keys: Arc<NonceKeys>) {
        self.auth.set_keys(keys);
    }

    /// A socket was accepted; the probation of RFC 4976 §6.1 starts here, before any TLS.
    pub fn accept(&mut self, now: Instant, accepted: Accepted) -> ConnectionKey {
        self.now = now;
        let mut connection = Connection::new(now, accepted.transport, &self.settings.limits);
        connection.use_path_port = accepted.use_path_port;
        connection.remote = Some(accepted.remote);
        let key = self.enter(connection);
        self.timers
            .set(now + self.settings.limits.probation, Timer::Probation(key));
        self.probation.enter(key, Prefix::of(accepted.remote));
        self.crowd(now);
        if !accepted.by_proxy {
            self.came_from(now, key);
        }
        self.deliver_ups(now);
        key
    }

    /// Whom the other side speaks for, or where a dial has led.
    pub fn remote_is(&mut self, key: ConnectionKey, remote: SocketAddr) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.remote = Some(remote);
            let accepted = connection.dialled.is_none();
            self.settle_party(key);
            if accepted {
                self.probation.moves(key, Prefix::of(remote));
                self.came_from(self.now, key);
                self.deliver_ups(self.now);
            }
        }
    }

    /// The PROXY header of an accepted connection names nobody: the balancer counts itself, with a
    /// quota of its own.
    pub fn remote_is_balancer(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.of_balancer = true;
            self.came_from(self.now, key);
            self.deliver_ups(self.now);
        }
    }

    /// The connection can carry MSRP: TCP is up, TLS too where it is used. `verified` holds the
    /// names of the other side's certificate if that verified.
    pub fn established(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        verified: Option<Arc<VerifiedNames>>,
    ) {
        if let Some(names) = &verified
            && self.is_blocked(key, names)
        {
            self.judge_dial(now, key, &Loss::DialFailed("blocked".to_owned()));
            self.abort(now, key, CloseReason::Unverified);
            self.deliver_ups(now);
            return;
        }
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let dialled = connection.dialled.is_some();
        connection.established = true;
        connection.verified = verified;
        connection.named = None;
        if connection.is_to_relay() && connection.verified.is_some() {
            connection.speaks = Speaks::AsRelay;
        }
        connection.used = now;
        if connection.dialled.is_some() {
            connection.decoder.skip_crlf();
        }
        if connection.verified.is_some() {
            self.trust_heads(key);
        }
        self.settle_party(key);
        self.recount_own(key);
        self.recount(key);
        self.pace_flows(key);
        self.timers
            .set(now + self.settings.idle_timeout, Timer::Idle(key));
        self.spends_from(now, key);
        self.came_up(now, key);
        if dialled {
            self.dial_is_up(key);
        }
        self.announce(key);
        self.deliver_ups(now);
        self.relieve(now);
    }

    /// Decrypted octets, in order.
    pub fn receive(&mut self, now: Instant, key: ConnectionKey, octets: Bytes) {
        self.now = now;
        self.receive_octets(now, key, octets, false);
        self.deliver_ups(now);
        self.relieve(now);
    }

    /// Octets of a message of a transport that frames (WebSocket), in order; with `ends` it is complete. It must hold
    /// exactly one MSRP message (RFC 7977 §5.1), or the connection is closed.
    pub fn receive_framed(&mut self, now: Instant, key: ConnectionKey, octets: Bytes, ends: bool) {
        self.now = now;
        let ends = ends && !planted::planted(planted::Fault::FrameEndUnheeded);
        self.receive_octets(now, key, octets, ends);
        self.deliver_ups(now);
        self.relieve(now);
    }

    /// Takes such a message, whole and only lent, if it is short and its head came before. False: it goes into
    /// [`receive_framed`](Self::receive_framed).
    pub fn receive_framed_lent(&mut self, now: Instant, key: ConnectionKey, octets: &[u8]) -> bool {
        self.now = now;
        let taken = self.walk_ahead_framed(now, key, octets);
        if taken {
            self.deliver_ups(now);
            self.relieve(now);
        }
        taken
    }

    /// The transport of a framed connection failed in a way that its other side is to be told: what it is owed is
    /// still sent, then it is closed.
    pub fn framing_failed(&mut self, now: Instant, key: ConnectionKey, what: &str) {
        self.now = now;
        self.notice_transport(now, key, what);
        self.close(now, key, CloseReason::Framing(what.to_owned()));
        self.deliver_ups(now);
        self.relieve(now);
    }

    /// Where the messages end that the last [`transmit`](Self::transmit) appended, as places in `out`; empty for a
    /// stream.
    pub fn frame_ends(&self, key: ConnectionKey) -> &[usize] {
        let connection = self.connections.get(key);
        let ends = connection.and_then(|connection| connection.egress.frame_ends.as_deref());
        ends.map_or(&[], Vec::as_slice)
    }

    /// Takes what can be used of octets that are only lent, from their front, and says how much that was: whole short
    /// messages whose heads came before. The rest goes into [`receive`](Self::receive) next, and so it all may.
    pub fn receive_lent(&mut self, now: Instant, key: ConnectionKey, octets: &[u8]) -> usize {
        self.now = now;
        let taken = self.walk_ahead(now, key, octets);
        if taken > 0 {
            self.deliver_ups(now);
            self.relieve(now);
        }
        taken
    }

    /// The other side has ended its stream in order. What came before is handled and what it
    /// is owed is still sent (CON-10); then the machine closes.
    pub fn end_of_stream(&mut self, now: Instant, key: ConnectionKey) {
        self.now = now;
        if let Some(connection) = self.connections.get_mut(key)
            && connection.held != 0
        {
            connection.end_waits = true;
            return;
        }
        self.close(now, key, CloseReason::EndOfStream);
        self.deliver_ups(now);
        self.relieve(now);
    }

    /// The socket is gone, or was never there. The key is void afterwards.
    pub fn lost(&mut self, now: Instant, key: ConnectionKey, loss: Loss) {
        self.now = now;
        self.connection_lost(now, key, &loss);
        self.deliver_ups(now);
        self.relieve(now);
    }

    /// How many octets the next read may bring; 0: do not read until [`Command::Resume`].
    pub fn read_room(&mut self, key: ConnectionKey) -> usize {
        let Some(connection) = self.connections.get(key) else {
            return 0;
        };
        if connection.deaf || connection.paused_since.is_some() {
            return 0;
        }
        self.room(key).clamp(limits::READ_OCTETS_MIN, FLUSH_OCTETS)
    }

    /// The same where `held` octets wait below the machine, the front of a TLS record that lacks `missing`. They count with
    /// what comes; where no other record has room beside them, it is only theirs that is read to its end.
    pub fn read_room_behind(&mut self, key: ConnectionKey, held: usize, missing: usize) -> usize {
        let room = self.read_room(key);
        if room <= held + limits::READ_OCTETS_MIN {
            return room.min(missing);
        }
        room - held
    }

    /// When [`Relay::handle_timeout`] wants to be called.
    pub fn next_timeout(&self) -> Option<Instant> {
        let deadlines = [
            self.timers.next_deadline(),
            self.transactions.next_deadline(),
            self.next_rested(),
            self.sessions.next_end(),
            (!self.orphans.is_empty() || !self.ends.is_empty()).then_some(self.now),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// What the machine wants done, in order.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front().or_else(|| self.next_handoffs())
    }

    pub fn metrics(&self) -> &ShardMetrics {
        &self.metrics
    }

    pub fn metrics_mut(&mut self) -> &mut ShardMetrics {
        &mut self.metrics
    }

    /// Open connections, those still in their handshake or being dialled included, and those that
    /// have gone and left something that is not yet worked off.
    pub fn connections(&self) -> usize {
        self.connections.len() + self.ends.connections()
    }

    /// Whether the key still names a connection.
    pub fn has(&self, key: ConnectionKey) -> bool {
        self.connections.contains(key)
    }

    /// Whether we have begun to end this connection: what it is owed may still be on its way.
    pub fn is_closing(&self, key: ConnectionKey) -> bool {
        let connection = self.connections.get(key);
        connection.is_some_and(|connection| connection.closing.is_some())
    }

    /// Live sessions.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Connections on probation (CON-01).
    pub fn on_probation(&self) -> usize {
        self.probation.len()
    }

    /// Asks for a `transmit` if there is something to send and nobody was asked yet.
    fn announce(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let egress = &mut connection.egress;
        if connection.established
            && !egress.in_flight
            && !egress.announced
            && egress.has_output(&mut self.flows)
        {
            egress.announced = true;
            self.commands.push_back(Command::Transmit(key));
        }
    }

    /// Queues a whole response for this connection.
    fn respond(&mut self, key: ConnectionKey, octets: &[u8]) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.egress.push_response(octets);
            self.announce(key);
            self.judge_control(key);
        }
    }
}
