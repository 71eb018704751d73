//! Where a request goes (RFC 4976 §6.4): from To-Path to a flow on some connection.
//!
//! An [`Opening`] is asked once for each route. It visits the shard of each token that the
//! To-Path begins with, then the home shard of the next hop, then the shard of the connection
//! that leads there, where the flow is made. On one shard all of this is one loop.

use std::time::Instant;

use bytes::Bytes;

use crate::metrics::{Along, RefusalReason};
use crate::wire::{Authority, Head, Path, Scheme, Uri};

use super::Relay;
use super::command::{Refusal, Verify};
use super::connection::{Connection, Transport};
use super::dials::{Class, Payer, User};
use super::film_links::FilmWay;
use super::flow::Flow;
use super::handoff::{Handoff, Hop, Opening, Purpose, Source, Stage, Up};
use super::keys::{ConnectionKey, FlowKey, Place, ReturnAddress, RouteKey, SessionKey, ShardId};
use super::memory::hop_entry;
use super::notices::Why;
use super::pace::Pace;
use super::planted::{Fault, planted};
use super::route::{Lane, Route, Target};
use super::session::{Holder, Token};
use super::settings::Naming;
use super::uses::Use;
use super::ways::Share;

/// Connections to a next hop that fell silent, beside which no further one is dialled.
const SILENT_MAX: usize = 2;

/// What one stage of an opening comes to.
enum Step {
    Again,
    /// It waits for a link to this relay.
    Parked(Authority),
    To(ShardId),
    Opened(FlowKey),
    Refused(Refusal),
}

impl Relay {
    /// The route for a valid request that goes onward; opened if there is none.
    pub(super) fn route_for(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        head: &Head,
        purpose: Purpose,
        lane: Lane,
    ) -> Result<RouteKey, Refusal> {
        let relay = self.relay_named_again(key, head);
        if relay.as_ref().is_some_and(|name| !self.lets_in(key, name)) {
            return Err(Refusal::FORBIDDEN);
        }
        let connection = self.connections.get_mut(key).ok_or(Refusal::NO_SESSION)?;
        let last = connection.last_route.filter(|last| {
            let route = self.routes.get(*last);
            route.is_some_and(|route| {
                !route.retired && route.lane == lane && route.to_path == head.to_path().text()
            })
        });
        let known = last.or_else(|| {
            let routes = connection.routes_for(lane);
            routes.get(head.to_path().text()).copied()
        });
        if let Some(known) = known {
            connection.last_route = Some(known);
            let route = self.routes.get(known).expect("a connection's routes exist");
            let expired = route.expires.is_some_and(|expires| expires <= now);
            let void = route
                .session
                .is_some_and(|session| !self.sessions.is_live(now, session));
            let looks_again = route.looks_again && route.is_between_messages();
            let may_stay = !expired && !void && !looks_again && self.is_still_claimed(route);
            if route.relay == relay && may_stay {
                return Ok(known);
            }
            self.retire(known);
        }
        let to_path = Bytes::copy_from_slice(head.to_path().text());
        let mut route = Route::new(now, key, to_path.clone());
        self.make_room_for_route(now, key, &route)?;
        let plain = route.memory();
        self.remember(key, plain);
        route.relay = relay.clone();
        route.lane = lane;
        route.gives = self.standing(key, head, relay.is_some()).map(Box::new);
        let route = self.routes.insert(route);
        self.route_changed(route, plain);
        let connection = self.connections.get_mut(key).expect("looked up above");
        let routes = connection.routes_for(lane);
        routes.insert(to_path.clone(), route);
        self.advance(
            now,
            Box::new(Opening {
                back: ReturnAddress {
                    shard: self.shard,
                    route,
                },
                source: Source {
                    place: Place {
                        shard: self.shard,
                        connection: key,
                    },
                    relay,
                },
                to_path,
                hop: 0,
                purpose,
                stage: Stage::Token,
                wanted: Use::LastHop,
                may_dial: false,
                film: lane == Lane::Films,
                payer: None,
                with_chats: false,
                retried: false,
                passed: [None; 2],
                expires: None,
            }),
        );
        self.settle_opening(now, route)
    }

    /// What is decided at once is answered at once, without a detour over the route's queue.
    fn settle_opening(&mut self, now: Instant, route: RouteKey) -> Result<RouteKey, Refusal> {
        if let Some(position) = self
            .ups
            .iter()
            .position(|(back, _)| back.shard == self.shard && back.route == route)
        {
            let (_, up) = self.ups.remove(position).expect("found above");
            if let Up::NotOpened(refusal) = up {
                self.forget_route(route);
                return Err(refusal);
            }
            self.up(now, route, up);
        }
        Ok(route)
    }

    /// Whether a way that goes by what a peer claims may still be taken: somebody may have proved to
    /// be that host since.
    pub(super) fn is_still_claimed(&self, route: &Route) -> bool {
        let host = route.claimed.as_deref();
        host.is_none_or(|host| !self.served.contains(host)) && !route.doubted
    }

    /// What may be reached by what has changed: every route asks again before its next request.
    pub(super) fn doubt_routes(&mut self) {
        for key in self.routes.keys() {
            if let Some(route) = self.routes.get_mut(key) {
                route.doubted = true;
            }
        }
    }

    /// Makes the connection known at the hop's home.
    pub(super) fn reachable_by(&mut self, now: Instant, key: ConnectionKey, hop: Hop) {
        let bound = self.settings.limits.uris_per_connection;
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.hops.len() >= bound || connection.hops.contains(&hop) {
            return;
        }
        if !self.has_memory(key, hop_entry(&hop)) {
            return self.metrics.refusal(RefusalReason::Memory);
        }
        if let Some(connection) = self.connections.get_mut(key) {
            connection.hops.push(hop.clone());
        }
        self.recount_own(key);
        self.count_served(key);
        self.tell_home(now, hop, key);
    }

    /// Lets the hop's home know of this connection.
    pub(super) fn tell_home(&mut self, now: Instant, hop: Hop, key: ConnectionKey) {
        let place = Place {
            shard: self.shard,
            connection: key,
        };
        let home = self.hash_key.home(hop.authority(), self.workers);
        if home == self.shard {
            self.register(now, hop, place);
        } else {
            self.hand(home, Handoff::Register { hop, place });
        }
    }

    /// Takes an opening as far as this shard can.
    pub(super) fn advance(&mut self, now: Instant, mut opening: Box<Opening>) {
        let up = loop {
            let step = match opening.stage {
                Stage::Token => self.at_token(now, &mut opening),
                Stage::Locate => self.at_home(now, &mut opening),
                Stage::Deliver {
                    connection,
                    session,
                } => self.at_connection(&mut opening, connection, session),
            };
            match step {
                Step::Again => {}
                Step::Parked(relay) => {
                    self.park(opening, &relay);
                    return;
                }
                Step::To(shard) => {
                    self.hand(shard, Handoff::Open(opening));
                    return;
                }
                Step::Opened(flow) => {
                    break Up::Opened {
                        shard: self.shard,
                        flow,
                        expires: opening.expires,
                        with_chats: opening.with_chats,
                        claimed: opening.wanted == Use::Claim,
                        frames: self.flows.get(flow).is_some_and(Flow::is_framed),
                    };
                }
                Step::Refused(refusal) => {
                    self.hand_in(opening.back, &opening.passed, Share::default());
                    break Up::NotOpened(refusal);
                }
            }
        };
        self.ups.push_back((opening.back, up));
    }

    /// The token is live, and either leads back to its holder or comes from it (UPT-10, D-20).
    fn at_token(&mut self, now: Instant, opening: &mut Opening) -> Step {
        let path = opening.to_path.clone();
        let uris: Vec<&[u8]> = Path::new(&path).uris().collect();
        let (Some(own), Some(next)) = (uris.get(opening.hop), uris.get(opening.hop + 1)) else {
            return Step::Refused(Refusal::NO_SESSION);
        };
        let (Ok(own), Ok(next)) = (Uri::parse(own), Uri::parse(next)) else {
            return Step::Refused(Refusal::NO_SESSION);
        };
        let Some(token) = own
            .session_id()
            .and_then(|id| Token::parse(id, self.workers))
        else {
            return Step::Refused(Refusal::NO_SESSION.because(Why::Unknown));
        };
        if token.shard != self.shard {
            return Step::To(token.shard);
        }
        let Some(key) = self.sessions.live(now, token, &own) else {
            let why = self.sessions.why_not(now, token).unwrap_or(Why::Port);
            return Step::Refused(Refusal::NO_SESSION.because(why));
        };
        let session = self.sessions.get(key).expect("just found");
        opening.payer = Some(Payer {
            user: User {
                name: session.user.clone(),
                realm: session.realm.clone(),
            },
            session: (self.shard, key),
        });
        let same = |first: Uri<'_>| first.session_id() == own.session_id();
        if opening.hop > 0 && Uri::parse(uris[0]).is_ok_and(same) {
            // The same token twice (URI-12), in whatever spelling.
            return Step::Refused(Refusal::NO_SESSION.because(Why::Path));
        }
        if session.leads_to(&next) {
            self.pass(key, Along::Received, opening.back, &mut opening.passed);
            return self.way_back(key, opening);
        }
        let from_holder = match &session.holder {
            Holder::Client(connection) => {
                opening.source.place
                    == Place {
                        shard: self.shard,
                        connection: *connection,
                    }
            }
            Holder::Relay(name) => {
                opening.source.relay.as_ref() == Some(name) || planted(Fault::RelayTokenUnchecked)
            }
        };
        if opening.hop > 0 || !(from_holder || planted(Fault::DirectionUnchecked)) {
            return Step::Refused(Refusal::NO_SESSION.because(Why::Elsewhere));
        }
        let expires = session.expires;
        self.pass(key, Along::Sent, opening.back, &mut opening.passed);
        if opening.back.shard == self.shard {
            if let Some(route) = self.routes.get_mut(opening.back.route) {
                route.session = Some(key);
            }
        } else {
            opening.expires = Some(expires);
        }
        if self.settings.naming(&next) == Naming::Ours {
            opening.hop += 1;
            return Step::Again;
        }
        opening.may_dial = true;
        let is_last = uris.len() == opening.hop + 2;
        let claimable = is_last && opening.purpose != Purpose::Auth;
        let believed = claimable || planted(Fault::ClaimOnTheWay);
        if let Some(claimant) = self.claimant(key, &next).filter(|_| believed) {
            opening.wanted = Use::Claim;
            return self.deliver_at(claimant, opening);
        }
        if !claimable {
            opening.wanted = Use::Relay;
        }
        opening.stage = Stage::Locate;
        Step::Again
    }

    /// Case (b): to the session's holder and nobody else.
    fn way_back(&mut self, key: SessionKey, opening: &mut Opening) -> Step {
        let session = self.sessions.get(key).expect("the caller found it");
        match &session.holder {
            Holder::Client(connection) => {
                opening.wanted = Use::Session;
                opening.stage = Stage::Deliver {
                    connection: *connection,
                    session: Some(key),
                };
            }
            Holder::Relay(_) => {
                // Whoever sends under the token may make us dial that relay, and no other (CON-09).
                opening.expires = Some(session.expires);
                opening.may_dial = true;
                opening.wanted = Use::Relay;
                opening.stage = Stage::Locate;
            }
        }
        Step::Again
    }

    /// At the home of the next hop: the connection that serves it, or a new one.
    fn at_home(&mut self, now: Instant, opening: &mut Opening) -> Step {
        let index = opening.hop + 1;
        let path = opening.to_path.clone();
        let path = Path::new(&path);
        let Some(Ok(next)) = path.uris().nth(index).map(Uri::parse) else {
            return Step::Refused(Refusal::NO_SESSION);
        };
        let authority = next.authority();
        let home = self.hash_key.home(&authority, self.workers);
        if home != self.shard {
            return Step::To(home);
        }
        if opening.wanted == Use::Relay && !self.settings.allows_peer(&authority.host.to_string()) {
            return Step::Refused(Refusal::FORBIDDEN);
        }
        if opening.film {
            match self.film_way(now, &authority, opening) {
                FilmWay::By(place) => return self.deliver_at(place, opening),
                FilmWay::Wait => return Step::Parked(authority),
                FilmWay::WithChats => opening.with_chats = true,
            }
        }
        let known = match opening.wanted {
            Use::Relay => self.known_relay(&authority, opening),
            Use::LastHop | Use::Claim | Use::Session => self.known_last_hop(&authority),
        };
        let place = match known {
            Some(place) => {
                if place.shard == self.shard && opening.may_dial {
                    self.join_dial(now, place.connection, &opening.payer);
                }
                place
            }
            None => match self.dial_or_silent(now, authority, opening) {
                Ok(place) => place,
                Err(refusal) => return Step::Refused(refusal),
            },
        };
        self.deliver_at(place, opening)
    }

    /// The connection that this home knows for a relay: a link that is up, a last hop that has proved
    /// as much, or a link that is being dialled.
    fn known_relay(&self, authority: &Authority, opening: &Opening) -> Option<Place> {
        let link = Hop::Relay(authority.clone());
        let last_hop = Hop::LastHop(authority.clone());
        // The operator may know it by a name that he does not let in: then a link has to tell.
        let tried = usize::from(opening.retried);
        self.first_up([&link, &last_hop].into_iter().take(2 - tried))
            .or_else(|| self.sure(&link))
    }

    /// The first of these that somebody serves who is up.
    fn first_up<'a>(&self, hops: impl IntoIterator<Item = &'a Hop>) -> Option<Place> {
        let is_up = |place| self.is_up(place);
        let up = |hop| {
            self.next_hops
                .find_sure(hop, is_up)
                .filter(|place| is_up(*place))
        };
        hops.into_iter().find_map(up)
    }

    /// The connection that this home knows for a last hop: one that is up and has proved most, else
    /// the one that is being dialled for it.
    fn known_last_hop(&self, authority: &Authority) -> Option<Place> {
        let verify = self.last_hop(authority.scheme)?;
        let own = Hop::dialled(authority.clone(), verify);
        let link = Hop::Relay(authority.clone());
        let verified = Hop::LastHop(authority.clone());
        self.first_up([&link, &verified, &own])
            .or_else(|| self.sure(&own))
    }

    /// Nobody leads there who was heard since an answer was due: a fresh dial, or, where that cannot be, who fell silent
    /// (D-41).
    fn dial_or_silent(
        &mut self,
        now: Instant,
        authority: Authority,
        opening: &Opening,
    ) -> Result<Place, Refusal> {
        let own = self
            .last_hop(authority.scheme)
            .map(|verify| Hop::dialled(authority.clone(), verify));
        let hops = [
            Some(Hop::Relay(authority.clone())),
            Some(Hop::LastHop(authority.clone())),
            own.filter(|_| opening.wanted != Use::Relay),
        ];
        let silent: usize = hops
            .iter()
            .flatten()
            .map(|hop| self.next_hops.silent(hop))
            .sum();
        let instead = hops
            .iter()
            .flatten()
            .filter(|_| silent > 0)
            .find_map(|hop| self.known(hop));
        match instead {
            // Whoever answers to nothing shall not collect connections.
            Some(place) if silent >= SILENT_MAX => Ok(place),
            _ => match self.dial_for(now, authority, opening) {
                Ok(connection) => Ok(Place {
                    shard: self.shard,
                    connection,
                }),
                Err(refusal) => instead.ok_or(refusal),
            },
        }
    }

    /// How a last hop is dialled, if the operator lets it be.
    fn last_hop(&self, scheme: Scheme) -> Option<Verify> {
        match scheme {
            Scheme::Msrps => Some(Verify::LastHop {
                unverified_ok: self.settings.last_hop_unverified,
            }),
            Scheme::Msrp => self.settings.last_hop_tcp.then_some(Verify::Plain),
        }
    }

    /// On to the connection that leads there.
    fn deliver_at(&self, place: Place, opening: &mut Opening) -> Step {
        opening.stage = Stage::Deliver {
            connection: place.connection,
            session: None,
        };
        if place.shard == self.shard {
            Step::Again
        } else {
            Step::To(place.shard)
        }
    }

    /// The same, if it was heard since an answer was due.
    fn sure(&self, hop: &Hop) -> Option<Place> {
        self.next_hops.find_sure(hop, |place| self.is_up(place))
    }

    /// The connection that this home knows for a hop. One of this shard may still be dialled.
    pub(super) fn known(&self, hop: &Hop) -> Option<Place> {
        self.next_hops.find(hop, |place| self.is_up(place))
    }

    /// One of this shard may still be dialled; others make themselves known once they are up.
    fn is_up(&self, place: Place) -> bool {
        let connection = || self.connections.get(place.connection);
        place.shard != self.shard || connection().is_some_and(|known| known.established)
    }

    /// Opens a connection to a next hop, if this request may cause one (CON-09, SEC-01).
    fn dial_for(
        &mut self,
        now: Instant,
        authority: Authority,
        opening: &Opening,
    ) -> Result<ConnectionKey, Refusal> {
        let to_relay = opening.wanted == Use::Relay;
        // A REPORT opens no connection to a client (RPT-11).
        if !opening.may_dial || (opening.purpose == Purpose::Report && !to_relay) {
            return Err(Refusal::NO_SESSION);
        }
        let verify = match authority.scheme {
            Scheme::Msrps if to_relay => Some(Verify::Relay),
            Scheme::Msrp if to_relay => None,
            scheme => self.last_hop(scheme),
        };
        let verify = verify.ok_or(Refusal::FORBIDDEN)?;
        self.dial(now, authority, verify, opening.payer.clone())
    }

    /// At the home of the authority: a connection to it, unless one failed just now.
    pub(super) fn dial(
        &mut self,
        now: Instant,
        authority: Authority,
        verify: Verify,
        payer: Option<Payer>,
    ) -> Result<ConnectionKey, Refusal> {
        let hop = Hop::dialled(authority.clone(), verify);
        self.dial_as(now, authority, verify, hop, payer)
    }

    /// The same, for what the connection is to be known by.
    pub(super) fn dial_as(
        &mut self,
        now: Instant,
        authority: Authority,
        verify: Verify,
        hop: Hop,
        payer: Option<Payer>,
    ) -> Result<ConnectionKey, Refusal> {
        if self.draining.is_some() || &*authority.transport != "tcp" {
            return Err(Refusal::NO_SESSION);
        }
        if verify == Verify::Relay && !self.settings.allows_peer(&authority.host.to_string()) {
            return Err(Refusal::FORBIDDEN);
        }
        let transport = match verify {
            Verify::Plain => Transport::Tcp,
            Verify::Relay | Verify::LastHop { .. } => Transport::Tls,
        };
        if self.next_hops.is_backing_off(now, &hop) {
            return Err(Refusal::NEXT_HOP_LOST);
        }
        let mut connection = Connection::new(now, transport, &self.settings.limits);
        connection.dialled = Some(Box::new(authority.clone()));
        connection.dialled_for = Some(verify);
        connection.use_path_port = self.settings.use_path_port;
        connection.hops.push(hop.clone());
        let class = match payer.is_none() || self.next_hops.has_met(&authority.host) {
            true => Class::Known,
            false => Class::New,
        };
        let key = self.enter(connection);
        if !self.ask_dial(now, key, authority, verify, payer, class) {
            self.leave_table(key);
            return Err(Refusal::NO_DIAL);
        }
        let place = Place {
            shard: self.shard,
            connection: key,
        };
        self.next_hops.dialled(hop.clone(), place);
        self.recount_tables();
        self.tell_several(&hop);
        Ok(key)
    }

    /// At the connection: makes the flow.
    fn at_connection(
        &mut self,
        opening: &mut Opening,
        key: ConnectionKey,
        session: Option<SessionKey>,
    ) -> Step {
        let may_be_taken = self.may_be_taken(opening, key);
        let connection = self.connections.get_mut(key);
        let Some(connection) = connection.filter(|_| may_be_taken) else {
            return match session {
                Some(_) => Step::Refused(Refusal::CLIENT_GONE),
                None if opening.retried => Step::Refused(Refusal::NEXT_HOP_LOST),
                None => {
                    // It went while this was on its way; its home hears of that before this.
                    opening.retried = true;
                    if opening.wanted == Use::Claim {
                        opening.wanted = Use::LastHop;
                    }
                    opening.stage = Stage::Locate;
                    Step::Again
                }
            };
        };
        let limits = &self.settings.limits;
        let waits = connection.is_dialling();
        if waits
            && (connection.egress.flows.len() >= limits.dialling_routes
                || connection.waiting_octets >= limits.dialling_octets)
        {
            return Step::Refused(Refusal::STOP);
        }
        let mut flow = Flow::new(key, opening.back, opening.source.place, session);
        flow.from_relay = opening.source.relay.is_some();
        flow.pace = Pace::of(&self.settings.limits, connection, flow.from_relay);
        flow.rate = Some(self.resting.join(key, opening.source.place));
        flow.waits = waits;
        flow.way = Some(self.custodies.ways.open(opening.back, opening.passed));
        let flow = self.flows.insert(flow);
        connection.egress.flows.insert(flow);
        Step::Opened(flow)
    }

    /// Whether this connection is there, and may serve for what is wanted of it.
    fn may_be_taken(&self, opening: &Opening, key: ConnectionKey) -> bool {
        let Some(connection) = self.connections.get(key) else {
            return false;
        };
        let next = Path::new(&opening.to_path).uris().nth(opening.hop + 1);
        let Some(Ok(next)) = next.map(Uri::parse) else {
            return false;
        };
        connection.closing.is_none()
            && connection.may_serve(&self.settings, opening.wanted, &next.authority())
    }

    /// The route's To-Path is free for another one; it goes once it is idle.
    pub(super) fn retire(&mut self, key: RouteKey) {
        let Some(route) = self.routes.get_mut(key) else {
            return;
        };
        route.retired = true;
        let (source, to_path, lane) = (route.source, route.to_path.clone(), route.lane);
        if let Some(connection) = self.connections.get_mut(source) {
            let routes = connection.routes_for(lane);
            if routes.get(&to_path) == Some(&key) {
                routes.remove(&to_path);
            }
            connection.retired.insert(key);
        }
        self.drop_if_retired(key);
    }

    pub(super) fn drop_if_retired(&mut self, key: RouteKey) {
        let Some(route) = self.routes.get(key) else {
            return;
        };
        let source = route.source;
        let closing = self
            .connections
            .get(source)
            .is_some_and(|source| source.closing.is_some());
        let done = if closing {
            route.is_settled()
        } else {
            route.is_settled() && route.is_idle()
        };
        if !route.retired || !done {
            return;
        }
        if let Target::Flow { shard, flow } = route.target {
            self.down_to(shard, flow, super::route::Down::SourceGone);
        }
        self.forget_route(key);
    }
}
