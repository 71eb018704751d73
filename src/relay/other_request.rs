//! Requests other than SEND (RFC 4976 §6.4.2): forwarded whole, without a response of ours
//! where a response travels end to end (FNS-02), and in silence where none exists (FNS-03).

use std::time::Instant;

use bytes::Bytes;

use crate::metrics::Direction;
use crate::wire::{self, Authority, Flag, Head, Kind as HeadKind, Method, Template};

use super::Relay;
use super::auth_request::AuthTarget;
use super::chain_auth::forwarded_auth;
use super::command::{Refusal, comment_of};
use super::egress::Whole;
use super::handoff::{Handoff, Purpose, Up};
use super::keys::{ConnectionKey, FlowKey, Place};
use super::planted::{Fault, planted};
use super::receive::method_label;
use super::route::{Down, Lane, Request, RequestKind};
use super::send_request::Addressed;
use super::transaction::{Forwarded, Kind, Progress};

impl Relay {
    /// A whole request other than SEND is in.
    pub(super) fn other_request(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        head: Head,
        body: Option<Vec<u8>>,
    ) {
        let HeadKind::Request(method) = head.kind() else {
            return;
        };
        if head.fault().is_some() {
            self.refuse_request(now, key, &head, &Refusal::MALFORMED);
            return;
        }
        if method == Method::Auth {
            match self.auth_target(now, key, &head) {
                AuthTarget::Onward => {}
                AuthTarget::Here(refresh) => return self.auth_request(now, key, head, refresh),
                AuthTarget::Refused(refusal) => {
                    return self.refuse_request(now, key, &head, &refusal);
                }
                AuthTarget::Foreign => return self.not_ours_other(now, key, &head),
            }
        }
        let hops = if method == Method::Auth {
            1
        } else {
            match self.addressed(key, &head) {
                Addressed::Onward { hops } => hops,
                Addressed::ToUs => return self.refuse_request(now, key, &head, &Refusal::METHOD),
                Addressed::Refused(refusal) => {
                    return self.refuse_request(now, key, &head, &refusal);
                }
                Addressed::Foreign => return self.not_ours_other(now, key, &head),
            }
        };
        if let Some(refusal) = self.outgrown(&head, hops) {
            return self.refuse_request(now, key, &head, &refusal);
        }
        if method == Method::Other && self.settings.block_unknown_methods {
            return self.refuse_request(now, key, &head, &Refusal::METHOD);
        }
        if self.draining.is_some() && method != Method::Report {
            let refusal = if method == Method::Auth {
                Refusal::NEXT_HOP_LOST
            } else {
                Refusal::DRAINING
            };
            return self.refuse_request(now, key, &head, &refusal);
        }
        if planted(Fault::LinkReportDropped)
            && method == Method::Report
            && (self.connections.get(key)).is_some_and(|link| link.verified.is_some())
        {
            return;
        }
        let (kind, purpose) = match method {
            Method::Report => (RequestKind::Report, Purpose::Report),
            Method::Auth => {
                if let Some(refusal) = self.chain_is_exhausted(now, key, &head) {
                    return self.refuse_request(now, key, &head, &refusal);
                }
                (RequestKind::Auth(forwarded_auth(&head)), Purpose::Auth)
            }
            _ => (RequestKind::Other, Purpose::Other),
        };
        let lane = match purpose {
            Purpose::Auth => Lane::Auths,
            _ => Lane::Chats,
        };
        let route = match self.route_for(now, key, &head, purpose, lane) {
            Ok(route) => route,
            Err(refusal) => {
                let told = refusal.code != 408 || method == Method::Auth;
                if told {
                    self.refuse_request(now, key, &head, &refusal);
                }
                return;
            }
        };
        let stops = match method {
            Method::Report => self.must_stop_report(now, route),
            _ => self.must_stop(now, route),
        };
        if stops {
            return self.refuse_request(now, key, &head, &Refusal::STOP);
        }
        if let Some(route) = self.routes.get_mut(route) {
            route.used = now;
        }
        self.accepted_if_open(key, route);
        let request = Request {
            template: Template::forwarded(&head, hops),
            range: head.byte_range(),
            status: head.status().map_or(0, |status| status.code),
            body: body.map(Bytes::from),
            return_to: Place {
                shard: self.shard,
                connection: key,
            },
            incoming_transact_id: head.transact_id().into(),
            incoming_from_path: head.from_path().text().into(),
            own_uri: head.to_path().first().unwrap_or_default().into(),
            hops,
            kind,
        };
        self.push(now, route, Down::Request(Box::new(request)));
        self.deliver_ups(now);
        self.judge_pause(now, route);
    }

    fn not_ours_other(&mut self, now: Instant, key: ConnectionKey, head: &Head) {
        if self.relay_name(key, head).is_some() {
            self.notice_not_ours(now, key, head);
            self.refuse_request(now, key, head, &Refusal::NO_SESSION);
        } else {
            self.not_ours(now, key, head);
        }
    }

    /// At the outgoing connection: queued between chunks, never inside one (FNS-10).
    pub(super) fn request_goes_out(&mut self, now: Instant, key: FlowKey, request: Request) {
        let flow = self.flows.get(key).expect("the caller looked");
        let (back, connection_key, way) = (flow.back, flow.connection, flow.way);
        if flow
            .session
            .is_some_and(|session| !self.sessions.is_live(now, session))
        {
            self.ups
                .push_back((back, super::handoff::Up::Credit(request.cost())));
            self.undeliverable(now, request, &Refusal::NO_SESSION);
            return;
        }
        let waits = self.flows.get(key).is_some_and(|flow| flow.waits);
        if waits && self.is_crowded(connection_key) {
            self.ups
                .push_back((back, super::handoff::Up::Credit(request.cost())));
            self.undeliverable(now, request, &Refusal::NEXT_HOP_LOST);
            return;
        }
        let answered = !matches!(request.kind, RequestKind::Report);
        if answered
            && self
                .flows
                .get(key)
                .is_some_and(|flow| self.is_beyond_answers(flow))
        {
            self.ups.push_back((back, Up::Credit(request.cost())));
            return self.undeliverable(now, request, &Refusal::MEMORY);
        }
        let cost = request.cost();
        let id = self.random.transact_id();
        let mut octets = Vec::with_capacity(cost + 64);
        request.template.encode(&mut octets, &id, request.range);
        if let Some(body) = &request.body {
            octets.extend_from_slice(body);
        }
        wire::encode_end(
            &mut octets,
            id.as_bytes(),
            Flag::Complete,
            request.body.is_some(),
        );
        self.metrics
            .request(method_label(request.template.method()), Direction::Out);
        if matches!(request.kind, RequestKind::Report) {
            self.metrics
                .report(request.status, crate::metrics::ReportOrigin::Forwarded);
            if let Some(way) = way {
                self.custodies
                    .ways
                    .report_passes(way, &mut self.metrics.ledger);
            }
        }
        let transaction = match request.kind {
            RequestKind::Report => None,
            RequestKind::Auth(_) | RequestKind::Other => {
                let auth = match request.kind {
                    RequestKind::Auth(auth) => Some(auth),
                    _ => None,
                };
                let forwarded = Forwarded {
                    return_to: request.return_to,
                    incoming_transact_id: request.incoming_transact_id,
                    incoming_from_path: request.incoming_from_path,
                    own_uri: request.own_uri,
                    hops: request.hops,
                    auth,
                };
                Some(self.transactions.begin(
                    now,
                    id.to_key(),
                    connection_key,
                    Progress::Sending,
                    Kind::Other(forwarded),
                ))
            }
        };
        let Some(connection) = self.connections.get_mut(connection_key) else {
            return;
        };
        connection.egress.push_request(Whole {
            octets: octets.into(),
            back: Some((back, cost)),
            transaction,
            own_report: None,
        });
        self.announce(connection_key);
    }

    /// A request that cannot go on: an AUTH is answered, whatever was refused for its token
    /// too, the rest is silence (D-33, FNS-03).
    pub(super) fn undeliverable(&mut self, now: Instant, request: Request, refusal: &Refusal) {
        self.metrics.refusal(refusal.reason);
        let told = match request.kind {
            RequestKind::Report => false,
            RequestKind::Auth(_) => true,
            RequestKind::Other => refusal.code != 408,
        };
        if told {
            let Request {
                return_to,
                incoming_transact_id,
                incoming_from_path,
                own_uri,
                ..
            } = request;
            self.answer_forwarded(
                now,
                return_to,
                &incoming_transact_id,
                &incoming_from_path,
                &own_uri,
                refusal.code,
            );
        }
    }

    /// Answers a forwarded request in the place of its next hop.
    pub(super) fn answer_forwarded(
        &mut self,
        now: Instant,
        return_to: Place,
        transact_id: &[u8],
        to: &[u8],
        from: &[u8],
        code: u16,
    ) {
        let mut octets = Vec::new();
        wire::encode_response(
            &mut octets,
            transact_id,
            code,
            comment_of(code),
            to,
            from,
            &[],
        );
        self.return_response(now, return_to, octets.into(), None);
    }

    /// A response goes to the connection its request came by; if that is gone, nowhere (RSP-06).
    pub(super) fn return_response(
        &mut self,
        now: Instant,
        to: Place,
        octets: Bytes,
        failed_auth: Option<Box<Authority>>,
    ) {
        if to.shard == self.shard {
            self.returned(now, to.connection, octets, failed_auth);
        } else {
            self.hand(
                to.shard,
                Handoff::Response {
                    to: to.connection,
                    octets,
                    failed_auth,
                },
            );
        }
    }

    pub(super) fn returned(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        octets: Bytes,
        failed_auth: Option<Box<Authority>>,
    ) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        connection.egress.push_response(&octets);
        self.announce(key);
        self.judge_control(key);
        if let Some(target) = failed_auth {
            self.chain_failed(now, key, &target);
        }
    }
}
