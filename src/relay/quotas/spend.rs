//! What a connection's messages spend, and how large one may be.

use std::time::Instant;

use super::super::Relay;
use super::super::command::Refusal;
use super::super::connection::{Connection, Incoming};
use super::super::keys::{ConnectionKey, RouteKey, SessionKey};
use super::Rate;
use super::share::ShareKey;
use crate::metrics::{QuotaLabel, SubjectLabel};
use crate::wire::Head;

impl Relay {
    /// Whether what this connection sends counts for anything.
    #[inline]
    pub(in crate::relay) fn has_spending(&self, key: ConnectionKey) -> bool {
        let connection = self.connections.get(key);
        connection.is_some_and(|connection| connection.spending.is_some())
    }

    /// Sends the head of a chunk into its route, if its message is not too large.
    pub(in crate::relay) fn begin_counted(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        route: RouteKey,
        head: Head,
        hops: usize,
    ) -> Incoming {
        let id = head.message_id().unwrap_or_default();
        let new = self
            .routes
            .get(route)
            .is_some_and(|route| !route.has_begun(&self.hash_key, id));
        self.spend_chunk(now, key, route, new);
        if let Err(kind) = self.fits(key, route, &head) {
            self.metrics.quota_exceeded(kind, QuotaLabel::MessageOctets);
            self.stop_message(now, route, &head);
            self.refuse_send(now, key, &head, &Refusal::STOP);
            return Incoming::PastIt;
        }
        self.begin(now, key, route, head, hops)
    }

    /// More octets have come than the message may have.
    pub(in crate::relay) fn stop_too_large(&mut self, now: Instant, route: RouteKey) {
        let of_route = self.routes.get(route).map(|it| (it.source, it.session));
        let bound = of_route.and_then(|(source, session)| self.message_bound(source, session));
        if let Some((_, kind)) = bound {
            self.metrics.quota_exceeded(kind, QuotaLabel::MessageOctets);
        }
        self.stop_arriving(now, route);
    }

    /// The head of a request has come in: each counts, and as a message unless its route has
    /// counted it.
    pub(in crate::relay) fn spend_head(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        octets: usize,
        is_message: bool,
    ) {
        let shares = self.spenders(key);
        let each = || shares.into_iter().flatten();
        self.spend(now, each(), Rate::Octets, octets as u64);
        if is_message {
            self.spend(now, each(), Rate::Messages, 1);
        }
    }

    /// Octets of a body have come in that goes into no route: of another request, or of a chunk
    /// that was refused and is read past.
    pub(in crate::relay) fn spend_body_of_none(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        octets: usize,
    ) {
        let connection = self.connections.get(key);
        let counts = connection.is_some_and(|connection| {
            connection.spending.is_some() && !matches!(connection.incoming, Incoming::Send { .. })
        });
        if counts {
            let shares = self.spenders(key).into_iter().flatten();
            self.spend(now, shares, Rate::Octets, octets as u64);
        }
    }

    /// An AUTH counts for the prefix that it comes from.
    pub(in crate::relay) fn spend_auth(&mut self, now: Instant, key: ConnectionKey) {
        let spending = self.connections.get(key).and_then(Connection::spending);
        let prefix = spending.and_then(|spending| spending.prefix);
        self.spend(now, prefix, Rate::Auths, 1);
    }

    /// A chunk has begun; `new` if it is the first of its message.
    fn spend_chunk(&mut self, now: Instant, key: ConnectionKey, route: RouteKey, new: bool) {
        let session = self.routes.get(route).and_then(|route| route.session);
        let Some(spending) = self
            .connections
            .get_mut(key)
            .and_then(|c| c.spending.as_mut())
        else {
            return;
        };
        spending.session = session;
        if new {
            let shares = self.spenders(key);
            self.spend(now, shares.into_iter().flatten(), Rate::Messages, 1);
        }
    }

    /// Octets of a chunk have come in. False: the message is too large.
    pub(in crate::relay) fn spend_octets(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        octets: usize,
    ) -> bool {
        let spending = self
            .connections
            .get_mut(key)
            .and_then(|c| c.spending.as_mut());
        let Some(spending) = spending else {
            return true;
        };
        spending.position += octets as u64;
        let fits = spending
            .last
            .is_none_or(|last| spending.position <= last + 1);
        let shares = self.spenders(key);
        self.spend(
            now,
            shares.into_iter().flatten(),
            Rate::Octets,
            octets as u64,
        );
        fits
    }

    /// Where the connection spends for what is coming in.
    pub(super) fn spenders(&self, key: ConnectionKey) -> [Option<ShareKey>; 3] {
        let Some(spending) = self.connections.get(key).and_then(Connection::spending) else {
            return [None; 3];
        };
        let counted = spending
            .session
            .and_then(|session| self.sessions.get(session)?.counted.as_ref());
        let [user, realm] = counted.map_or([None; 2], |counted| counted.shares);
        [user, realm, spending.prefix]
    }

    /// The largest message that may come by this route; 0: of any size. And whose bound it is.
    fn message_bound(
        &self,
        key: ConnectionKey,
        session: Option<SessionKey>,
    ) -> Option<(u64, SubjectLabel)> {
        let of_balancer = self.connections.get(key).is_some_and(|it| it.of_balancer);
        let source = match of_balancer {
            true => SubjectLabel::Balancer,
            false => SubjectLabel::Prefix,
        };
        let all = [source, SubjectLabel::User, SubjectLabel::Realm];
        let kinds = match session {
            Some(_) => &all[..],
            None => &all[..1],
        };
        let bound = |kind: &SubjectLabel| (self.settings.quotas.of(*kind).message_octets, *kind);
        let bounds = kinds.iter().map(bound);
        bounds
            .filter(|(octets, _)| *octets > 0)
            .min_by_key(|(octets, _)| *octets)
    }

    /// Whether the message of this chunk is known to be too large (D-35), and how far it may go.
    fn fits(
        &mut self,
        key: ConnectionKey,
        route: RouteKey,
        head: &Head,
    ) -> Result<(), SubjectLabel> {
        let session = self.routes.get(route).and_then(|route| route.session);
        let bound = self.message_bound(key, session);
        let Some(spending) = self
            .connections
            .get_mut(key)
            .and_then(|c| c.spending.as_mut())
        else {
            return Ok(());
        };
        let range = head.byte_range();
        spending.position = range.map_or(1, |range| range.start);
        spending.last = bound.map(|(octets, _)| octets);
        let Some((octets, kind)) = bound else {
            return Ok(());
        };
        let announced = range.and_then(|range| range.total.max(range.end));
        let known = announced
            .unwrap_or(0)
            .max(spending.position.saturating_sub(1));
        match known > octets {
            true => Err(kind),
            false => Ok(()),
        }
    }
}
