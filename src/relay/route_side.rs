//! The source's end of a route: what goes into the flow, and what comes back from it
//! (verdicts, credit, REPORTs, the end).

use std::time::Instant;

use bytes::Bytes;

use crate::metrics::Direction;
use crate::wire::{FailureReport, KeptAnswer, Path, Uri};

use super::Relay;
use super::command::{Refusal, comment_of};
use super::connection::Incoming;
use super::egress::Whole;
use super::flow::CHUNK_OVERHEAD;
use super::handoff::{Handoff, Up};
use super::keys::{ConnectionKey, FlowKey, ReturnAddress, RouteKey, ShardId};
use super::planted::{Fault, planted};
use super::route::{Answer, Down, Target, Unanswered};

impl Relay {
    /// Sends something into the route's flow, or keeps it until there is one.
    pub(super) fn push(&mut self, now: Instant, key: RouteKey, down: Down) {
        let Some(route) = self.routes.get_mut(key) else {
            return;
        };
        let cost = cost(&down);
        route.outstanding += cost;
        self.outstanding += cost;
        match down {
            Down::Begin { .. } => {
                route.head_cost = cost;
                // It cannot be hurried before its flow knows of it.
                route.hurried = true;
            }
            Down::Body(_) => route.arriving_octets += cost,
            Down::End { flag, .. } => {
                let head = std::mem::take(&mut route.head_cost);
                route.chunk_ended(flag, head);
            }
            Down::Cut => {
                route.head_cost = 0;
                route.arriving_octets = 0;
            }
            Down::Again(ref chunk) => route.chunk_ended(chunk.flag, cost),
            _ => {}
        }
        let source = route.source;
        if let Some(connection) = self.connections.get_mut(source) {
            connection.outstanding += cost;
        }
        self.judge_control(source);
        let Some(route) = self.routes.get_mut(key) else {
            return;
        };
        let begins = matches!(down, Down::Begin { .. });
        match route.target {
            Target::Opening => route.pending.push_back(down),
            Target::Flow { shard, flow } if shard == self.shard => self.down(now, flow, down),
            Target::Flow { shard, flow } => self.down_to(shard, flow, down),
        }
        if begins {
            self.hurry_begun(now, key);
        }
    }

    pub(super) fn down_to(&mut self, shard: ShardId, flow: FlowKey, down: Down) {
        if shard == self.shard {
            // Only ends come this way, and they look at no clock.
            self.flow_source_gone(flow);
        } else {
            self.hand(shard, Handoff::Down { flow, down });
        }
    }

    /// Delivers what flows of this shard had to say; what is for other shards is handed off.
    /// Closing connections that wait for nothing more go.
    ///
    /// Ends every call of the machine. Within itself it does nothing: what a delivery leads to
    /// is worked off by the outermost loop, so the stack does not grow with it.
    pub(super) fn deliver_ups(&mut self, now: Instant) {
        if std::mem::replace(&mut self.delivering, true) {
            return;
        }
        loop {
            while let Some((back, up)) = self.ups.pop_front() {
                if back.shard == self.shard {
                    self.up(now, back.route, up);
                } else {
                    self.hand_up(back, up);
                }
            }
            if self.strays.is_empty() && self.settling.is_empty() {
                break;
            }
            self.lead_strays(now);
            self.settle_next(now);
        }
        self.delivering = false;
        self.hand_in_shares();
    }

    /// Verdicts of one route that follow one another go in one.
    fn hand_up(&mut self, back: ReturnAddress, up: Up) {
        let before = self.outgoing[usize::from(back.shard.0)].last_mut();
        if let Up::Taken { sequence, last } = up
            && let Some(Handoff::Up {
                route,
                up: Up::Taken { last: known, .. },
            }) = before
            && *route == back.route
            && known.wrapping_add(1) == sequence
        {
            *known = last;
            return;
        }
        self.hand(
            back.shard,
            Handoff::Up {
                route: back.route,
                up,
            },
        );
    }

    pub(super) fn up(&mut self, now: Instant, key: RouteKey, up: Up) {
        if !self.routes.contains(key) {
            if let Up::Opened { shard, flow, .. } = up {
                // The source went while its route was being opened.
                self.down_to(shard, flow, Down::SourceGone);
            }
            return;
        }
        match up {
            Up::Opened {
                shard,
                flow,
                expires,
                with_chats,
                claimed,
                frames,
            } => {
                if let Some(route) = self.routes.get_mut(key) {
                    route.with_chats = with_chats;
                    route.frames = frames;
                    let last = Path::new(&route.to_path).last().map(Uri::parse);
                    if let Some(Ok(last)) = last.filter(|_| claimed) {
                        route.claimed = Some(Box::new(last.canonical_host()));
                    }
                }
                self.opened(now, key, shard, flow, expires);
            }
            Up::NotOpened(refusal) => self.not_opened(now, key, &refusal),
            Up::Taken { sequence, last } => self.taken(key, sequence, last),
            Up::Refused { sequence, refusal } => self.chunk_refused(now, key, sequence, &refusal),
            Up::Credit(octets) => self.credited(now, key, octets),
            Up::LookAgain => self.look_again_soon(key),
            Up::Closed(refusal) => self.flow_closed(now, key, &refusal),
        }
    }

    fn opened(
        &mut self,
        now: Instant,
        key: RouteKey,
        shard: ShardId,
        flow: FlowKey,
        expires: Option<Instant>,
    ) {
        let route = self.routes.get_mut(key).expect("the caller looked");
        route.target = Target::Flow { shard, flow };
        // A session that it passes may have ended meanwhile.
        route.expires = route.expires.or(expires);
        let before = route.memory();
        let pending = std::mem::take(&mut route.pending);
        let source = route.source;
        let gives = route.gives.take();
        route.kept_heads = 0;
        self.route_changed(key, before);
        self.request_succeeded(source);
        if let Some(standing) = gives {
            self.stands(now, source, *standing);
        }
        for down in pending {
            if shard == self.shard {
                self.down(now, flow, down);
            } else {
                self.hand(shard, Handoff::Down { flow, down });
            }
        }
        self.drop_if_retired(key);
    }

    /// A request on an open route is accepted for forwarding; one that opens it is so once the
    /// token's shard has agreed (CON-01).
    pub(super) fn accepted_if_open(&mut self, source: ConnectionKey, key: RouteKey) {
        if self
            .routes
            .get(key)
            .is_some_and(|route| route.target != Target::Opening)
        {
            self.request_succeeded(source);
        }
    }

    /// Whatever waits for the route is refused, once, and the route goes.
    fn not_opened(&mut self, now: Instant, key: RouteKey, refusal: &Refusal) {
        let route = self.routes.get_mut(key).expect("the caller looked");
        let source = route.source;
        let pending = std::mem::take(&mut route.pending);
        for down in pending {
            if let Down::Request(request) = down {
                self.notice_undeliverable(now, source, &request, refusal);
                self.undeliverable(now, *request, refusal);
                if self.connections.contains(source) {
                    self.request_refused(now, source, refusal);
                }
            }
        }
        self.refuse_all(now, key, refusal);
        self.forget_route(key);
    }

    /// Everything on the route that has no verdict yet is refused.
    fn refuse_all(&mut self, now: Instant, key: RouteKey, refusal: &Refusal) {
        // Refusing what came before may have closed the connection, and its routes went with it.
        let Some(route) = self.routes.get_mut(key) else {
            return;
        };
        let source = route.source;
        for unanswered in std::mem::take(&mut route.unanswered) {
            self.refuse_unanswered(now, source, &unanswered, refusal);
        }
        self.refuse_arriving(now, key, None, refusal);
    }

    /// Refuses the chunk that is still coming in, if it goes by this route; the rest of it is
    /// read past (RPT-13).
    pub(super) fn refuse_arriving(
        &mut self,
        now: Instant,
        key: RouteKey,
        wanted: Option<u32>,
        refusal: &Refusal,
    ) -> bool {
        let Some(source) = self.routes.get(key).map(|route| route.source) else {
            return false;
        };
        let Some(connection) = self.connections.get_mut(source) else {
            return false;
        };
        let arriving = matches!(
            &connection.incoming,
            Incoming::Send { route, sequence, .. } if *route == key && wanted.is_none_or(|wanted| wanted == *sequence)
        );
        if !arriving {
            return false;
        }
        let Incoming::Send { head, .. } =
            std::mem::replace(&mut connection.incoming, Incoming::PastIt)
        else {
            unreachable!("matched above");
        };
        if refusal.code == 413
            && let Some(id) = head.message_id()
        {
            self.remember_refused(now, key, id);
        }
        self.refuse_send(now, source, &head, refusal);
        true
    }

    /// Somebody holds these chunks: their 200s go out (FWD-02, FWD-03, D-09).
    fn taken(&mut self, key: RouteKey, first: u32, last: u32) {
        let chunks = last.wrapping_sub(first);
        // Verdicts come in order; chunks with Failure-Report no leave no entry.
        while let Some(route) = self.routes.get_mut(key) {
            let next = route.unanswered.front();
            if next.is_none_or(|next| next.sequence.wrapping_sub(first) > chunks) {
                break;
            }
            let unanswered = route.unanswered.pop_front().expect("looked at above");
            let source = route.source;
            if unanswered.failure_report == FailureReport::Yes && !planted(Fault::LostVerdict) {
                match &unanswered.answer {
                    Answer::Of(head) => self.answer_send(source, head, 200, comment_of(200)),
                    Answer::Kept(answer) => self.answer_as_kept(source, answer),
                }
            }
        }
        self.drop_if_retired(key);
    }

    fn answer_as_kept(&mut self, source: ConnectionKey, answer: &KeptAnswer) {
        self.metrics.response(200, Direction::Out);
        self.respond(source, answer.octets());
    }

    /// The same as [`refuse_send`](Self::refuse_send), for a chunk that is whole.
    fn refuse_unanswered(
        &mut self,
        now: Instant,
        source: ConnectionKey,
        unanswered: &Unanswered,
        refusal: &Refusal,
    ) {
        let answer = match &unanswered.answer {
            Answer::Of(head) => return self.refuse_send(now, source, head, refusal),
            Answer::Kept(answer) => answer,
        };
        self.metrics.refusal(refusal.reason);
        if unanswered.failure_report != FailureReport::No {
            let mut octets = Vec::new();
            answer.encode_as(&mut octets, refusal.code, refusal.comment());
            self.metrics.response(refusal.code, Direction::Out);
            self.respond(source, &octets);
        }
        self.request_refused(now, source, refusal);
    }

    fn chunk_refused(&mut self, now: Instant, key: RouteKey, sequence: u32, refusal: &Refusal) {
        if self.refuse_arriving(now, key, Some(sequence), refusal) {
            return;
        }
        let route = self.routes.get_mut(key).expect("the caller looked");
        let Some(position) = route
            .unanswered
            .iter()
            .position(|waiting| waiting.sequence == sequence)
        else {
            return;
        };
        let unanswered = route.unanswered.remove(position).expect("found above");
        let source = route.source;
        if refusal.code == 413 {
            self.remember_refused(now, key, unanswered.message_id());
        }
        self.refuse_unanswered(now, source, &unanswered, refusal);
        self.drop_if_retired(key);
    }

    fn credited(&mut self, now: Instant, key: RouteKey, octets: usize) {
        let route = self.routes.get_mut(key).expect("the caller looked");
        let octets = octets.min(route.outstanding);
        route.outstanding -= octets;
        route.credited = true;
        self.outstanding -= octets;
        let source = route.source;
        if let Some(connection) = self.connections.get_mut(source) {
            connection.outstanding -= octets;
        }
        // What was paused for this route may go on before anything else is made of the pause.
        self.judge_resume(now, key);
        self.judge_control(source);
        self.drop_if_retired(key);
    }

    fn less_outstanding(&mut self, source: ConnectionKey, octets: usize) {
        if let Some(connection) = self.connections.get_mut(source) {
            connection.outstanding -= octets;
        }
        self.judge_control(source);
    }

    /// A REPORT that we made goes to where the SEND came from (RPT-11).
    pub(super) fn reported(&mut self, source: ConnectionKey, octets: Bytes, code: u16) {
        let Some(connection) = self.connections.get_mut(source) else {
            self.strays.push((source, octets, code));
            return;
        };
        for _ in 0..1 + u8::from(planted(Fault::ReportTwice)) {
            connection.egress.push_request(Whole {
                octets: octets.clone(),
                back: None,
                transaction: None,
                own_report: Some(code),
            });
        }
        self.announce(source);
        self.judge_control(source);
    }

    fn flow_closed(&mut self, now: Instant, key: RouteKey, refusal: &Refusal) {
        self.refuse_all(now, key, refusal);
        self.forget_route(key);
    }

    /// The route ends here; its flow is gone or was told.
    pub(super) fn forget_route(&mut self, key: RouteKey) {
        let Some(route) = self.routes.remove(key) else {
            return;
        };
        self.forget(route.source, route.memory());
        self.outstanding -= route.outstanding;
        self.less_outstanding(route.source, route.outstanding);
        if let Some(connection) = self.connections.get_mut(route.source) {
            connection.retired.remove(&key);
            let routes = connection.routes_for(route.lane);
            if routes.get(&route.to_path) == Some(&key) {
                routes.remove(&route.to_path);
            }
        }
        self.settle_later(route.source);
        if route.pause.is_some() {
            self.unpause(route.source);
        }
    }

    /// Ends a route from the source's side.
    pub(super) fn drop_route(&mut self, now: Instant, key: RouteKey) {
        let Some(route) = self.routes.get_mut(key) else {
            return;
        };
        let target = route.target;
        let pending = std::mem::take(&mut route.pending);
        if let Target::Flow { shard, flow } = target {
            self.down_to(shard, flow, Down::SourceGone);
        }
        for down in pending {
            if let Down::Request(request) = down {
                self.undeliverable(now, *request, &Refusal::NEXT_HOP_LOST);
            }
        }
        self.forget_route(key);
    }
}

/// What counts against the source until the kernel has it.
pub(super) fn cost(down: &Down) -> usize {
    match down {
        Down::Begin { template, .. } => CHUNK_OVERHEAD + template.len(),
        Down::Body(octets) => octets.len(),
        Down::Again(chunk) => chunk.cost(),
        Down::Request(request) => request.cost(),
        Down::Like(_)
        | Down::End { .. }
        | Down::Stall
        | Down::Hurry
        | Down::Cut
        | Down::Stop
        | Down::SessionOver
        | Down::SourceGone => 0,
    }
}
