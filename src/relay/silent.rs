//! Connections that fell silent while an answer was due (D-41): whoever leads there as well goes before them, or a fresh
//! dial, until an octet comes again.
//!
//! The home of a next hop keeps its connections in the order in which it heard of them last. Where there are several, each
//! tells from time to time that something came; where there is one, nobody has anything to tell.

use std::time::{Duration, Instant};

use super::Relay;
use super::claims::Claimed;
use super::handoff::{Handoff, Hop, Up};
use super::keys::{ConnectionKey, Place, RouteKey};
use super::session::Token;

/// One of several connections tells no more often that something came.
const TOLD_EVERY: Duration = Duration::from_millis(10);

/// What somebody knows of a connection that leads somewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pulse {
    /// An answer was due, and nothing has come since what it was due to was sent.
    Silent,
    /// Something came.
    Heard,
}

impl Relay {
    /// A request that went out at `sent_at` has had no answer in time.
    pub(super) fn answer_missing(&mut self, key: ConnectionKey, sent_at: Option<Instant>) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.heard_at <= sent_at {
            self.fell_silent(key);
        }
    }

    /// Nothing comes by it any more, as far as anybody can tell: from now on others go before it.
    pub(super) fn fell_silent(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let leads_nowhere = connection.hops.is_empty() && connection.claims.is_empty();
        if leads_nowhere || connection.silent || connection.closing.is_some() {
            return;
        }
        connection.silent = true;
        connection.listens = true;
        self.tell_pulse(key, Pulse::Silent);
        // What is sent from now on finds its way anew.
        let flows = self.connections.get(key).map(|c| c.egress.flows.clone());
        for flow in flows.into_iter().flatten() {
            if let Some(flow) = self.flows.get(flow) {
                self.ups.push_back((flow.back, Up::LookAgain));
            }
        }
    }

    /// The route's connection fell silent.
    pub(super) fn look_again_soon(&mut self, key: RouteKey) {
        let Some(route) = self.routes.get_mut(key) else {
            return;
        };
        route.looks_again = true;
        if route.is_between_messages() {
            self.retire(key);
        }
    }

    /// Octets came by a connection that listens for them.
    pub(super) fn heard_again(&mut self, now: Instant, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let was_silent = std::mem::take(&mut connection.silent);
        let since = |told: Instant| now.saturating_duration_since(told);
        let told = connection.told_at.map(since);
        if !was_silent && told.is_some_and(|told| told < TOLD_EVERY) {
            return;
        }
        connection.told_at = Some(now);
        connection.listens = connection.is_one_of_several;
        self.tell_pulse(key, Pulse::Heard);
    }

    /// There is another connection that leads where this one does.
    pub(super) fn one_of_several(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.is_one_of_several = true;
            connection.listens = true;
        }
    }

    /// To the homes of all next hops that it leads to, and to the shards of the tokens that it claims URIs under.
    fn tell_pulse(&mut self, key: ConnectionKey, pulse: Pulse) {
        let place = Place {
            shard: self.shard,
            connection: key,
        };
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        let hops = connection.hops.clone();
        let mut tokens: Vec<Token> = connection.claims.iter().map(Claimed::token).collect();
        tokens.dedup();
        for hop in hops {
            let home = self.hash_key.home(hop.authority(), self.workers);
            if home == self.shard {
                self.hop_pulse(&hop, place, pulse);
            } else {
                self.hand(home, Handoff::Pulse { hop, place, pulse });
            }
        }
        for token in tokens {
            if token.shard == self.shard {
                self.claim_pulse(token, place, pulse);
            } else {
                let told = Handoff::ClaimPulse {
                    token,
                    place,
                    pulse,
                };
                self.hand(token.shard, told);
            }
        }
    }

    /// At the home of a next hop.
    pub(super) fn hop_pulse(&mut self, hop: &Hop, place: Place, pulse: Pulse) {
        self.next_hops.pulse(hop, place, pulse);
    }

    /// At the home: where several lead to a next hop, it has to know who was heard last.
    pub(super) fn tell_several(&mut self, hop: &Hop) {
        for place in self.next_hops.several(hop) {
            if place.shard == self.shard {
                self.one_of_several(place.connection);
            } else {
                let connection = place.connection;
                self.hand(place.shard, Handoff::OneOfSeveral { connection });
            }
        }
    }
}
