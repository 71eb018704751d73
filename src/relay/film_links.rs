//! The second link to another relay. Films have it to themselves: when a film's receiver is
//! slow the next relay stops reading that link, and the chats go on by the other one.
//!
//! The home of the next hop decides. A film takes the link for films if there is one. If the
//! only link is the one of the chats, another is dialled, on another shard where there is one,
//! and the film's opening waits for it; if it does not come up the film goes with the chats.
//! A film that is the first to go to a next hop dials the link for films at once.

use std::collections::HashMap;
use std::time::Instant;

use crate::wire::{Authority, Head, Scheme};

use super::Relay;
use super::command::Verify;
use super::connection::{Connection, Transport};
use super::dials::Class;
use super::handoff::{Handoff, Hop, Opening, Stage};
use super::keys::{ConnectionKey, Place, RouteKey, ShardId};
use super::limits::FILM_OCTETS;

/// Openings of films that wait for the home's dial of a second link, by next hop.
pub(super) type Parked = HashMap<Authority, Vec<Box<Opening>>>;

/// What a home has for a film.
pub(super) enum FilmWay {
    /// This link.
    By(Place),
    /// One that is being dialled; the opening waits.
    Wait,
    /// No link of its own.
    WithChats,
}

impl Relay {
    /// Whether this chunk goes by the link for films. All chunks of a message go the same way,
    /// whatever they announce.
    pub(super) fn is_film(&self, key: ConnectionKey, head: &Head, hops: usize) -> bool {
        let announced = head.byte_range().and_then(|range| range.total);
        let large = announced.is_some_and(|total| total > FILM_OCTETS);
        let Some(connection) = self.connections.get(key) else {
            return false;
        };
        if self.settings.links_per_next_hop < 2 || (!large && connection.film_routes() == 0) {
            return false;
        }
        // Whoever is last in the path is no relay.
        if head.to_path().len() < hops + 2 {
            return false;
        }
        let id = head.message_id().unwrap_or_default();
        let path = head.to_path().text();
        let begun = |route: Option<&RouteKey>| {
            route
                .and_then(|route| self.routes.get(*route))
                .is_some_and(|route| route.has_begun(&self.hash_key, id))
        };
        if large {
            !begun(connection.routes.get(path))
        } else {
            begun(connection.film_route(path).as_ref())
        }
    }

    /// A film that had to go with the chats looks again once another one begins.
    pub(super) fn look_again(&mut self, key: ConnectionKey, head: &Head) {
        let known = self
            .connections
            .get(key)
            .and_then(|connection| connection.film_route(head.to_path().text()));
        let Some(known) = known else { return };
        let id = head.message_id().unwrap_or_default();
        if self.routes.get(known).is_some_and(|route| {
            route.with_chats && route.is_idle() && !route.has_begun(&self.hash_key, id)
        }) {
            self.retire(known);
        }
    }

    /// At the home of the next relay.
    pub(super) fn film_way(
        &mut self,
        now: Instant,
        authority: &Authority,
        opening: &Opening,
    ) -> FilmWay {
        let films = Hop::Films(authority.clone());
        if let Some(place) = self.known(&films) {
            return match self.next_hops.is_silent(&films, place) {
                false => FilmWay::By(place),
                true => FilmWay::WithChats,
            };
        }
        if let Some(parked) = self.parked.get(authority) {
            return match parked.len() < self.settings.limits.dialling_routes {
                true => FilmWay::Wait,
                false => FilmWay::WithChats,
            };
        }
        let dead = |hop: &Hop| self.next_hops.is_backing_off(now, hop);
        if !opening.may_dial || dead(&films) || authority.scheme != Scheme::Msrps {
            return FilmWay::WithChats;
        }
        let chats = Hop::Relay(authority.clone());
        let Some(first) = self.known(&chats) else {
            if dead(&chats) {
                return FilmWay::WithChats;
            }
            return match self.dial_as(
                now,
                authority.clone(),
                Verify::Relay,
                films,
                opening.payer.clone(),
            ) {
                Ok(connection) => FilmWay::By(Place {
                    shard: self.shard,
                    connection,
                }),
                Err(_) => FilmWay::WithChats,
            };
        };
        self.parked.insert(authority.clone(), Vec::new());
        let next = (first.shard.0 + 1) % self.workers;
        if next == self.shard.0 {
            self.dial_second(now, authority.clone());
        } else {
            let relay = authority.clone();
            self.hand(ShardId(next), Handoff::DialSecond { relay });
        }
        // It may have failed at once.
        match self.parked.contains_key(authority) {
            true => FilmWay::Wait,
            false => FilmWay::WithChats,
        }
    }

    /// The opening waits for the link that is being dialled.
    pub(super) fn park(&mut self, opening: Box<Opening>, authority: &Authority) {
        if let Some(parked) = self.parked.get_mut(authority) {
            parked.push(opening);
        }
    }

    /// On the shard that is to have the second link.
    pub(super) fn dial_second(&mut self, now: Instant, relay: Authority) {
        let hop = Hop::Films(relay.clone());
        let may = self.draining.is_none()
            && &*relay.transport == "tcp"
            && self.settings.allows_peer(&relay.host.to_string());
        let mut connection = Connection::new(now, Transport::Tls, &self.settings.limits);
        connection.dialled = Some(Box::new(relay.clone()));
        connection.dialled_for = Some(Verify::Relay);
        connection.use_path_port = self.settings.use_path_port;
        connection.hops.push(hop.clone());
        let key = self.enter(connection);
        if may && self.ask_dial(now, key, relay, Verify::Relay, None, Class::Known) {
            return;
        }
        self.leave_table(key);
        let place = Place {
            shard: self.shard,
            connection: key,
        };
        self.unreachable_by(now, hop, place, true);
    }

    /// At the home: a connection can be reached by this.
    pub(super) fn register(&mut self, now: Instant, hop: Hop, place: Place) {
        self.next_hops.register(hop.clone(), place);
        self.recount_tables();
        self.tell_several(&hop);
        if let Hop::Films(authority) = hop {
            self.release(now, &authority, Some(place));
        }
    }

    /// At the home: it no longer can. `failed`: it came to nothing.
    pub(super) fn unregister(&mut self, now: Instant, hop: Hop, place: Place, failed: bool) {
        self.next_hops.unregister(&hop, place);
        self.recount_tables();
        let Hop::Films(authority) = &hop else { return };
        if failed {
            let [jitter] = self.random.octets();
            let bound = self.settings.limits.back_offs;
            self.next_hops.not_reached(now, hop.clone(), jitter, bound);
            let chats = Hop::Relay(authority.clone());
            if self.known(&chats).is_none() && !self.parked.contains_key(authority) {
                // It was the first: the next hop itself is not there.
                self.next_hops.not_reached(now, chats, jitter, bound);
            }
            self.recount_tables();
        }
        if self.known(&hop).is_none() {
            self.release(now, authority, None);
        }
    }

    /// The dial for films has ended: who waited for it goes by it, or with the chats.
    fn release(&mut self, now: Instant, authority: &Authority, link: Option<Place>) {
        for mut opening in self.parked.remove(authority).unwrap_or_default() {
            match link {
                Some(place) => {
                    opening.stage = Stage::Deliver {
                        connection: place.connection,
                        session: None,
                    };
                    if place.shard != self.shard {
                        self.hand(place.shard, Handoff::Open(opening));
                        continue;
                    }
                }
                None => {
                    opening.film = false;
                    opening.with_chats = true;
                }
            }
            self.advance(now, opening);
        }
    }
}
