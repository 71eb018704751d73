//! SEND (RFC 4976 §6.4.1): validity first, then the paths, then token and direction, and only
//! then anything leaves (FWD-01).

use std::time::Instant;

use crate::wire::{FailureReport, Flag, Head, Kind as HeadKind, Method, Scheme, Template, Uri};

use super::Relay;
use super::command::{CloseReason, Refusal, comment_of};
use super::connection::{Connection, Incoming};
use super::handoff::Purpose;
use super::keys::{ConnectionKey, RouteKey};
use super::limits::FILM_OCTETS;
use super::notices::Why;
use super::planted::{Fault, planted};
use super::route::{Answer, Down, Lane, Target, Unanswered};
use super::settings::Naming;

/// What the paths of a request say to us.
pub(super) enum Addressed {
    /// To one or two URIs of ours and then somebody else.
    Onward { hops: usize },
    /// To a URI of ours and nobody else.
    ToUs,
    /// Refused as it stands.
    Refused(Refusal),
    /// Not for us at all.
    Foreign,
}

impl Relay {
    /// The head of a SEND is in.
    pub(super) fn send_head(&mut self, now: Instant, key: ConnectionKey, head: Head) -> Incoming {
        if let Some(refusal) = self.send_fault(&head) {
            self.refuse_send(now, key, &head, &refusal);
            return Incoming::PastIt;
        }
        let addressed = match self.known_hops(key, &head) {
            Some(hops) => Addressed::Onward { hops },
            None => self.addressed(key, &head),
        };
        let hops = match addressed {
            Addressed::Onward { hops } => hops,
            Addressed::ToUs => return self.send_to_us(now, key, head),
            Addressed::Refused(refusal) => {
                self.refuse_send(now, key, &head, &refusal);
                return Incoming::PastIt;
            }
            Addressed::Foreign => {
                self.not_ours(now, key, &head);
                return Incoming::PastIt;
            }
        };
        if let Some(refusal) = self.outgrown(&head, hops) {
            self.refuse_send(now, key, &head, &refusal);
            return Incoming::PastIt;
        }
        if self.draining.is_some() {
            self.refuse_send(now, key, &head, &Refusal::DRAINING);
            return Incoming::PastIt;
        }
        if self.settings.signed_content_only && !is_signed(&head) {
            self.refuse_send(now, key, &head, &Refusal::CONTENT);
            return Incoming::PastIt;
        }
        let film = self.is_film(key, &head, hops);
        if film {
            self.look_again(key, &head);
        }
        let lane = if film { Lane::Films } else { Lane::Chats };
        let route = match self.route_for(now, key, &head, Purpose::Send, lane) {
            Ok(route) => route,
            Err(refusal) => {
                self.refuse_send(now, key, &head, &refusal);
                return Incoming::PastIt;
            }
        };
        if let Some(route) = self.routes.get_mut(route) {
            route.hops = Some(hops);
        }
        if self.has_spending(key) {
            return self.begin_counted(now, key, route, head, hops);
        }
        self.begin(now, key, route, head, hops)
    }

    /// What the To-Path of a SEND says, if it is that of the connection's last SEND: `relay.hosts`
    /// and the ports change with a restart only.
    fn known_hops(&self, key: ConnectionKey, head: &Head) -> Option<usize> {
        let last = self.connections.get(key)?.last_route?;
        let route = self.routes.get(last)?;
        if *route.to_path != *head.to_path().text() {
            return None;
        }
        route.hops
    }

    /// What is wrong with a SEND by itself (SYN-21, SYN-23).
    fn send_fault(&self, head: &Head) -> Option<Refusal> {
        (head.fault().is_some() || head.message_id().is_none()).then_some(Refusal::MALFORMED)
    }

    /// Reads the To-Path of a valid request other than AUTH (URI-01, URI-10, URI-11, URI-12).
    pub(super) fn addressed(&self, key: ConnectionKey, head: &Head) -> Addressed {
        let path = head.to_path();
        let mut uris = path.uris();
        let first = uris.next().map(Uri::parse);
        let Some(Ok(first)) = first else {
            return Addressed::Refused(Refusal::MALFORMED);
        };
        match self.naming_of(key, head, &first) {
            Naming::Foreign => return Addressed::Foreign,
            Naming::Misspelt => return Addressed::Refused(misspelt(&first)),
            Naming::Ours => {}
        }
        let Some(second) = uris.next() else {
            return Addressed::ToUs;
        };
        let Ok(second) = Uri::parse(second) else {
            return Addressed::Refused(Refusal::MALFORMED);
        };
        if self.settings.naming(&second) == Naming::Ours {
            return match uris.next() {
                Some(third) if !has_port(third) => refused(Refusal::MALFORMED, Why::NoPort),
                Some(_) if !self.settings.comes_back(uris) => Addressed::Onward { hops: 2 },
                Some(_) | None => refused(Refusal::NO_SESSION, Why::Path),
            };
        }
        if second.port().is_none() {
            return refused(Refusal::MALFORMED, Why::NoPort);
        }
        if self.settings.comes_back(uris) {
            return refused(Refusal::NO_SESSION, Why::Path);
        }
        Addressed::Onward { hops: 1 }
    }

    /// How the first To-Path URI relates to us. A REPORT echoes the From-Path of a SEND, which may have come in by a plain
    /// TCP listener: it has that spelling wherever it comes from (D-42).
    fn naming_of(&self, key: ConnectionKey, head: &Head, first: &Uri<'_>) -> Naming {
        let in_clear = (self.connections.get(key)).is_some_and(Connection::came_in_clear)
            || head.kind() == HeadKind::Request(Method::Report);
        match in_clear {
            true => self.settings.naming_in_clear(first),
            false => self.settings.naming(first),
        }
    }

    /// A request for somebody else: the connection ends, but for a verified relay's, where one
    /// bad message must not hurt all its users (ERR-03, D-12).
    pub(super) fn not_ours(&mut self, now: Instant, key: ConnectionKey, head: &Head) {
        self.notice_not_ours(now, key, head);
        if self.relay_name(key, head).is_some() {
            self.refuse_send(now, key, head, &Refusal::NO_SESSION);
        } else {
            self.metrics.refusal(crate::metrics::RefusalReason::NotOurs);
            self.close(now, key, CloseReason::NotOurs);
        }
    }

    /// FWD-14: a bodiless SEND to one's own token alone is a keepalive.
    fn send_to_us(&mut self, now: Instant, key: ConnectionKey, head: Head) -> Incoming {
        if !head.has_blank_line() && self.held_by_sender(now, key, &head).is_some() {
            return Incoming::Keepalive(head);
        }
        let why = match head.has_blank_line() {
            true => Why::Path,
            false => self.why_not_held(now, &head),
        };
        self.refuse_send(now, key, &head, &Refusal::NO_SESSION.because(why));
        Incoming::PastIt
    }

    /// Sends the head into its route.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        key_of_route: RouteKey,
        head: Head,
        hops: usize,
    ) -> Incoming {
        let Some(route) = self.routes.get_mut(key_of_route) else {
            return Incoming::PastIt;
        };
        let message_id = head.message_id().unwrap_or_default();
        if route.is_refused(now, &self.hash_key, message_id) {
            self.refuse_send(now, key, &head, &Refusal::STOP);
            return Incoming::PastIt;
        }
        let waits = (self.routes.get(key_of_route))
            .is_some_and(|route| route.target == Target::Opening)
            && head.failure_report() != FailureReport::No;
        if !self.has_memory_for_chunk(key) || (waits && !self.has_memory(key, head.memory())) {
            self.refuse_send(now, key, &head, &Refusal::MEMORY);
            return Incoming::PastIt;
        }
        if self.must_stop(now, key_of_route) {
            self.stop_message(now, key_of_route, &head);
            self.refuse_send(now, key, &head, &Refusal::STOP);
            return Incoming::PastIt;
        }
        let range = head.byte_range();
        let route = self.routes.get_mut(key_of_route).expect("looked up above");
        route.film = range
            .and_then(|range| range.total)
            .is_some_and(|total| total > FILM_OCTETS)
            || route.lane == Lane::Films;
        let film = route.film;
        let sequence = route.next(now);
        if !film && let Some(connection) = self.connections.get_mut(key) {
            connection.chat_moved(now, key_of_route);
        }
        self.accepted_if_open(key, key_of_route);
        if planted(Fault::EarlyOk) {
            self.answer_send(key, &head, 200, comment_of(200));
        }
        let template = Template::forwarded(&head, hops);
        self.tread(key, key_of_route, &head, &template);
        // Known before the first octet of it can be refused.
        if let Some(connection) = self.connections.get_mut(key) {
            connection.incoming = Incoming::Send {
                route: key_of_route,
                sequence,
                head,
            };
        }
        self.push(
            now,
            key_of_route,
            Down::Begin {
                sequence,
                template,
                range,
            },
        );
        self.deliver_ups(now);
        match self.connections.get_mut(key) {
            Some(connection) => std::mem::replace(&mut connection.incoming, Incoming::Nothing),
            None => Incoming::PastIt,
        }
    }

    /// The end-line of a SEND is in.
    pub(super) fn send_end(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        key_of_route: RouteKey,
        sequence: u32,
        head: Head,
        flag: Flag,
    ) {
        if planted(Fault::ResponseToNo) && head.failure_report() == FailureReport::No {
            self.answer_send(key, &head, 200, comment_of(200));
        }
        if let Some(route) = self.routes.get_mut(key_of_route) {
            route.used = now;
            let film = route.film;
            let id = head.message_id().unwrap_or_default();
            route.note_chunk(&self.hash_key, id, flag);
            let failure_report = head.failure_report();
            if failure_report != FailureReport::No {
                let waits = route.target == Target::Opening;
                let head = if waits { head.into_own_memory() } else { head };
                let before = route.memory();
                if waits {
                    route.kept_heads += head.memory();
                }
                route.unanswered.push_back(Unanswered {
                    sequence,
                    failure_report,
                    answer: Answer::Of(head),
                });
                if waits {
                    self.route_changed(key_of_route, before);
                }
            }
            if !film && let Some(connection) = self.connections.get_mut(key) {
                connection.chat_moved(now, key_of_route);
            }
        }
        self.push(
            now,
            key_of_route,
            Down::End {
                flag,
                received: now,
            },
        );
        self.deliver_ups(now);
        if let Some(connection) = self.connections.get_mut(key) {
            connection.used = now;
        }
        self.judge_pause(now, key_of_route);
    }
}

fn refused(refusal: Refusal, why: Why) -> Addressed {
    Addressed::Refused(refusal.because(why))
}

/// Our name and port, and not the rest.
pub(super) fn misspelt(uri: &Uri<'_>) -> Refusal {
    Refusal::NO_SESSION.because(match uri.scheme() {
        Scheme::Msrps => Why::Transport,
        Scheme::Msrp => Why::Scheme,
    })
}

fn has_port(uri: &[u8]) -> bool {
    Uri::parse(uri).is_ok_and(|uri| uri.port().is_some())
}

fn is_signed(head: &Head) -> bool {
    !head.has_blank_line()
        || head.content_type().is_some_and(|value| {
            value.len() >= 16 && value[..16].eq_ignore_ascii_case(b"multipart/signed")
        })
}
