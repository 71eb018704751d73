//! From octets to requests and responses: what the decoder's events belong to, and what
//! becomes of messages that are not well-formed (RFC 4975 §7.3, D-12).

use std::time::Instant;

use bytes::Bytes;

use crate::metrics::{Direction, MethodLabel, RefusalReason};
use crate::wire::{self, Event, FailureReport, Flag, Head, Kind, Method, Uri};

use super::Relay;
use super::command::{CloseReason, Refusal, comment_of};
use super::connection::{Connection, Incoming, NamedItself, Speaks};
use super::keys::ConnectionKey;
use super::limits::COPY_BELOW_OCTETS;
use super::memory::waiting_steps;
use super::notices::Why;
use super::route::Down;

/// A longer URI is read again each time, and not kept.
const NAMED_OCTETS_MAX: usize = 1024;

impl Relay {
    /// Octets of a stream, or of a message of the transport, which `ends` behind them.
    pub(super) fn receive_octets(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        octets: Bytes,
        ends: bool,
    ) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.deaf {
            return;
        }
        connection.used = now;
        connection.heard_at = Some(now);
        connection.received += octets.len() as u64;
        let listens = connection.listens;
        let news = !std::mem::replace(&mut connection.heard, true) && connection.dialled.is_some();
        connection.decoder.push(octets);
        if ends {
            connection.decoder.push_end();
        }
        if news {
            self.dial_succeeded(key);
        }
        if listens {
            self.heard_again(now, key);
        }
        self.decode(now, key);
    }

    /// Goes on with what was read before the connection was held.
    pub(super) fn go_on(&mut self, now: Instant, key: ConnectionKey) {
        self.decode(now, key);
        let ends = |connection: &Connection| connection.held == 0 && connection.end_waits;
        if self.connections.get(key).is_some_and(ends) {
            self.close(now, key, CloseReason::EndOfStream);
        }
        self.deliver_ups(now);
    }

    pub(super) fn decode(&mut self, now: Instant, key: ConnectionKey) {
        let counted = self.has_spending(key);
        loop {
            match counted {
                true => self.hold_before_message(key),
                false => self.walk_short(now, key),
            }
            let Some(connection) = self.connections.get_mut(key) else {
                return;
            };
            if connection.deaf {
                return;
            }
            if connection.held != 0 {
                break;
            }
            match connection.decoder.next() {
                Ok(Some(Event::Head(head))) => self.head(now, key, head),
                Ok(Some(Event::Body(octets))) => self.body(now, key, octets),
                Ok(Some(Event::End(flag))) => self.end(now, key, flag),
                Ok(None) => {
                    if counted {
                        self.hold_if_anything_is_owed(key);
                    }
                    break;
                }
                Err(error) => {
                    let lost = connection.decoder.lost();
                    self.notice_framing(now, key, error, lost);
                    self.close(now, key, CloseReason::Framing(error.to_string()));
                    return;
                }
            }
            self.deliver_ups(now);
        }
        self.watch_progress(now, key);
    }

    /// A message that was begun must go on (SEC-06).
    fn watch_progress(&mut self, now: Instant, key: ConnectionKey) {
        let limits = &self.settings.limits;
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        self.metrics.crlf_skipped += u64::from(connection.decoder.take_crlf_skipped());
        if connection.decoder.is_between_messages() {
            connection.unfinished_since = None;
            if connection.undecoded > 0 {
                connection.undecoded = 0;
                self.recount_own(key);
            }
            return;
        }
        // Inside a body each octet counts as progress, inside a head only its end does.
        let in_head = matches!(connection.incoming, Incoming::Nothing);
        let fresh = connection.unfinished_since.is_none();
        if fresh || !in_head {
            connection.unfinished_since = Some(now);
        }
        if fresh {
            let first_look = if in_head {
                limits.head_timeout
            } else {
                limits.body_timeout / 2
            };
            self.look_at_progress(key, now + first_look);
        }
        self.count_undecoded(now, key);
    }

    /// An unfinished head, and what was read of a connection that is held, count (SEC-07). Whoever has
    /// more of it than its part while memory is short goes: there is nothing yet to be answered.
    fn count_undecoded(&mut self, now: Instant, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let undecoded = waiting_steps(connection.decoder.held_octets());
        let before = std::mem::replace(&mut connection.undecoded, undecoded);
        if before == undecoded {
            return;
        }
        let in_head = connection.held == 0 && matches!(connection.incoming, Incoming::Nothing);
        self.recount_own(key);
        if in_head && before < undecoded && self.is_beyond_its_part(key) {
            self.close(now, key, CloseReason::Memory);
        }
    }

    fn head(&mut self, now: Instant, key: ConnectionKey, head: Head) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        connection.unfinished_since = None;
        let ends = connection.ends;
        let incoming = match head.kind() {
            // It waited for a quota and its sender has gone: nobody was promised anything.
            Kind::Request(_) if ends => Incoming::PastIt,
            Kind::Request(method) => {
                self.learn_who_speaks(now, key, &head);
                self.metrics.request(method_label(method), Direction::In);
                let octets = head.octets();
                let incoming = match method {
                    Method::Send => self.send_head(now, key, head),
                    _ => whole(head),
                };
                if self.has_spending(key) {
                    // What goes into a route has counted as a message there.
                    let counted = matches!(incoming, Incoming::Send { .. });
                    self.spend_head(now, key, octets, !counted);
                }
                incoming
            }
            Kind::Response { code } => {
                self.metrics.response(code, Direction::In);
                whole(head)
            }
        };
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        connection.incoming = incoming;
    }

    fn body(&mut self, now: Instant, key: ConnectionKey, octets: Bytes) {
        let bound = self.settings.limits.non_send_body_octets;
        self.spend_body_of_none(now, key, octets.len());
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        match &mut connection.incoming {
            Incoming::Send { route, .. } => {
                let route = *route;
                // A short body must not keep its whole record alive while it waits.
                let octets = if octets.len() < COPY_BELOW_OCTETS {
                    Bytes::copy_from_slice(&octets)
                } else {
                    octets
                };
                let fits =
                    connection.spending.is_none() || self.spend_octets(now, key, octets.len());
                if !fits {
                    return self.stop_too_large(now, route);
                }
                self.push(now, route, Down::Body(octets));
                self.judge_pause(now, route);
            }
            Incoming::Whole {
                body,
                has_body,
                head,
            } => {
                *has_body = true;
                if body.len() + octets.len() > bound {
                    let head = head.clone();
                    self.body_too_long(now, key, &head);
                } else {
                    body.extend_from_slice(&octets);
                }
            }
            Incoming::Nothing | Incoming::PastIt | Incoming::Keepalive(_) => {}
        }
    }

    /// SYN-17: not forwarded, and closed unless it is a relay's; 400 first if the method takes a response.
    fn body_too_long(&mut self, now: Instant, key: ConnectionKey, head: &Head) {
        if matches!(head.kind(), Kind::Request(method) if method != Method::Report)
            && head.paths_readable()
        {
            let refusal = Refusal::MALFORMED.because(Why::Body);
            self.refuse_request(now, key, head, &refusal);
        }
        match self.connections.get_mut(key) {
            // Others share the link.
            Some(connection) if connection.speaks_for_many() => {
                connection.incoming = Incoming::PastIt;
            }
            _ => self.close(now, key, CloseReason::BodyTooLong),
        }
    }

    fn end(&mut self, now: Instant, key: ConnectionKey, flag: Flag) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        match std::mem::replace(&mut connection.incoming, Incoming::Nothing) {
            Incoming::Send {
                route,
                sequence,
                head,
            } => self.send_end(now, key, route, sequence, head, flag),
            Incoming::Keepalive(head) => self.keepalive_end(now, key, head),
            Incoming::Whole {
                head,
                body,
                has_body,
            } => {
                // Only SEND is chunked: anything else that does not end `$` is discarded (SYN-18).
                if flag != Flag::Complete {
                    if head.method().is_some() {
                        let refusal = Refusal::MALFORMED.because(Why::Chunked);
                        self.refuse_request(now, key, &head, &refusal);
                    }
                    return;
                }
                match head.kind() {
                    Kind::Response { .. } => self.response(now, key, &head),
                    Kind::Request(_) => {
                        self.other_request(now, key, head, has_body.then_some(body))
                    }
                }
            }
            Incoming::Nothing | Incoming::PastIt => {}
        }
    }

    /// Answers a SEND that R refuses or takes: To-Path is the leftmost From-Path URI alone
    /// (RSP-01, D-06).
    pub(super) fn answer_send(
        &mut self,
        key: ConnectionKey,
        head: &Head,
        code: u16,
        comment: &[u8],
    ) {
        let (Some(to), Some(from)) = (head.from_path().first(), head.to_path().first()) else {
            return;
        };
        self.encode_answer(key, head, code, comment, to, from, &[]);
    }

    /// Answers another request: To-Path is the whole From-Path (RSP-02).
    pub(super) fn answer_other(
        &mut self,
        key: ConnectionKey,
        head: &Head,
        code: u16,
        headers: &[(&str, &[u8])],
    ) {
        let Some(from) = head.to_path().first() else {
            return;
        };
        self.encode_answer(
            key,
            head,
            code,
            comment_of(code),
            head.from_path().text(),
            from,
            headers,
        );
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one response")]
    fn encode_answer(
        &mut self,
        key: ConnectionKey,
        head: &Head,
        code: u16,
        comment: &[u8],
        to: &[u8],
        from: &[u8],
        headers: &[(&str, &[u8])],
    ) {
        let mut octets = std::mem::take(&mut self.scratch);
        octets.clear();
        let with_id: Vec<(&str, &[u8])>;
        let only_id;
        // RSP-03: repeated when the request had one that is fit to leave by us.
        let headers = match head.message_id().filter(|_| head.fault().is_none()) {
            Some(id) if headers.is_empty() => {
                only_id = [("Message-ID", id)];
                &only_id[..]
            }
            Some(id) => {
                with_id = [&[("Message-ID", id)], headers].concat();
                &with_id[..]
            }
            None => headers,
        };
        wire::encode_response(
            &mut octets,
            head.transact_id(),
            code,
            comment,
            to,
            from,
            headers,
        );
        self.metrics.response(code, Direction::Out);
        self.respond(key, &octets);
        self.scratch = octets;
    }

    /// Refuses a SEND before anybody took it. Failure-Report no: silence (FWD-04).
    pub(super) fn refuse_send(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        head: &Head,
        refusal: &Refusal,
    ) {
        self.metrics.refusal(refusal.reason);
        self.notice_refusal(now, key, head, refusal);
        if head.paths_readable() && head.failure_report() != FailureReport::No {
            self.answer_send(key, head, refusal.code, refusal.comment());
        }
        self.request_refused(now, key, refusal);
    }

    /// Refuses a request other than SEND. REPORT: silence (FNS-03).
    pub(super) fn refuse_request(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        head: &Head,
        refusal: &Refusal,
    ) {
        self.metrics.refusal(refusal.reason);
        self.notice_refusal(now, key, head, refusal);
        let silent = matches!(head.kind(), Kind::Request(Method::Report)) || !head.paths_readable();
        if !silent {
            self.answer_other(key, head, refusal.code, &[]);
        }
        self.request_refused(now, key, refusal);
    }

    /// That it was too much at once speaks against nobody.
    pub(super) fn request_refused(&mut self, now: Instant, key: ConnectionKey, refusal: &Refusal) {
        if !matches!(
            refusal.reason,
            RefusalReason::Overload | RefusalReason::Memory
        ) {
            self.request_failed(now, key);
        }
    }

    /// A request was accepted for forwarding, or an AUTH succeeded (CON-01).
    pub(super) fn request_succeeded(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connections.get_mut(key)
            && !std::mem::replace(&mut connection.proven, true)
        {
            // D-44: whoever is known may keep the connection alive by line ends.
            connection.decoder.skip_crlf();
            if connection.dialled.is_none() {
                self.probation.leave(key);
                self.recount(key);
            }
        }
    }

    /// Several failures and no success: closed (CON-02, D-37).
    pub(super) fn request_failed(&mut self, now: Instant, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.proven || connection.speaks_for_many() || connection.dialled.is_some() {
            return;
        }
        connection.failed_requests += 1;
        if connection.failed_requests >= self.settings.limits.probation_failures {
            self.close(now, key, CloseReason::TooManyFailures);
        }
    }

    /// The same as [`relay_name`](Self::relay_name), without a look at what the last request said too.
    pub(super) fn relay_named_again(
        &mut self,
        key: ConnectionKey,
        head: &Head,
    ) -> Option<std::sync::Arc<str>> {
        let connection = self.connections.get(key)?;
        connection.verified.as_ref()?;
        let first = head.from_path().first()?;
        if let Some(known) = &connection.named
            && *known.first == *first
        {
            return known.relay.clone();
        }
        let name = self.relay_name(key, head);
        if first.len() > NAMED_OCTETS_MAX {
            return name;
        }
        let connection = self.connections.get_mut(key)?;
        connection.named = Some(Box::new(NamedItself {
            first: first.into(),
            relay: name.clone(),
        }));
        name
    }

    /// A request says for whom it speaks, by its first From-Path URI. It is one word for all: a
    /// connection that has spoken for somebody else is never a relay's again.
    fn learn_who_speaks(&mut self, now: Instant, key: ConnectionKey, head: &Head) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        if connection.verified.is_none() || connection.dialled.is_some() {
            return;
        }
        let before = connection.speaks;
        let named = self.relay_named_again(key, head);
        let is_relay = named.is_some_and(|name| self.lets_in(key, &name));
        let speaks = match (is_relay, before) {
            (true, Speaks::Unknown | Speaks::AsRelay) => Speaks::AsRelay,
            _ => Speaks::AsClient,
        };
        if speaks == before {
            return;
        }
        if let Some(connection) = self.connections.get_mut(key) {
            connection.speaks = speaks;
        }
        self.settle_party(key);
        match speaks {
            Speaks::AsRelay => self.forget_spending(now, key),
            _ if before == Speaks::AsRelay && self.settings.quotas.any() => {
                self.count_connection(now, key);
            }
            _ => {}
        }
        self.judge_control(key);
    }

    /// Whether the operator lets this verified relay in, by all the names that it has (AUT-24).
    pub(super) fn lets_in(&self, key: ConnectionKey, name: &str) -> bool {
        let names = self
            .connections
            .get(key)
            .and_then(|connection| connection.verified.as_ref());
        names.is_some_and(|names| self.settings.lets_in(name, names))
    }

    /// The name of the verified relay that sent this, if its certificate names the host of the
    /// first From-Path URI and the operator lets it in (TLS-07, AUT-24).
    pub(super) fn relay_name(
        &self,
        key: ConnectionKey,
        head: &Head,
    ) -> Option<std::sync::Arc<str>> {
        let verified = self.connections.get(key)?.verified.as_ref()?;
        let first = Uri::parse(head.from_path().first()?).ok()?;
        let host = first.canonical_host().bare().to_string();
        verified.matches(&host).then(|| host.into())
    }
}

fn whole(head: Head) -> Incoming {
    let has_body = head.has_blank_line();
    Incoming::Whole {
        head,
        body: Vec::new(),
        has_body,
    }
}

pub(super) fn method_label(method: Method) -> MethodLabel {
    match method {
        Method::Send => MethodLabel::Send,
        Method::Auth => MethodLabel::Auth,
        Method::Report => MethodLabel::Report,
        Method::Nickname => MethodLabel::Nickname,
        Method::Other => MethodLabel::Other,
    }
}
