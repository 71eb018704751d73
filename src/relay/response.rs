//! Responses (RFC 4976 §6.4.3): they complete transactions; those to SEND end here, those to
//! other requests travel back under the transact-id that the request came with.

use std::time::Instant;

use crate::metrics::{Direction, OddResponse};
use crate::wire::{self, Head, HeadFault, Kind as HeadKind, Path, TransactId, Uri, WayBack};

use super::Relay;
use super::command::{Command, Refusal};
use super::custody::Fate;
use super::keys::{ConnectionKey, TransactionKey};
use super::planted::{Fault, planted};
use super::settings::Naming;
use super::transaction::{Forwarded, Kind, Progress, Transaction};

impl Relay {
    /// A whole response is in. Which request it answers is told by its connection and transact-id alone (RSP-04, D-40); what
    /// answers none is dropped without reaction (ERR-09).
    pub(super) fn response(&mut self, now: Instant, key: ConnectionKey, head: &Head) {
        let HeadKind::Response { code } = head.kind() else {
            return;
        };
        let open = TransactId::parse(head.transact_id())
            .and_then(|id| self.transactions.find(id, key))
            .and_then(|found| Some((found, self.transactions.get(found)?)));
        let Some((found, transaction)) = open else {
            self.metrics.odd_response(OddResponse::Unmatched);
            return;
        };
        let odd = self.oddity(head, code, transaction);
        if let Some(odd) = odd {
            self.odd_response(key, odd);
        }
        if matches!(odd, Some(OddResponse::Provisional | OddResponse::NoPaths)) {
            return;
        }
        self.note_answer(now, found);
        let Some(transaction) = self.transactions.get(found) else {
            return;
        };
        match &transaction.kind {
            Kind::Send(_) if is_success(code) => self.send_succeeded(found),
            Kind::Send(_) => {
                // SEC-09: text that breaks the grammar goes to nobody.
                let comment = head.comment().filter(|_| is_clean(head));
                self.piece_failed(found, &Refusal::downstream(code, comment));
            }
            Kind::Other(_) => self.forward_response(now, found, head, code),
        }
    }

    /// It counts, and the first one of a connection is told.
    fn odd_response(&mut self, key: ConnectionKey, kind: OddResponse) {
        self.metrics.odd_response(kind);
        if let Some(connection) = self.connections.get_mut(key)
            && !std::mem::replace(&mut connection.odd_told, true)
        {
            let connection = key;
            self.commands
                .push_back(Command::OddResponse { connection, kind });
        }
    }

    /// What is odd about a response, if anything. Most spell our URI as the request did.
    fn oddity(&self, head: &Head, code: u16, transaction: &Transaction) -> Option<OddResponse> {
        if (100..200).contains(&code) {
            return Some(OddResponse::Provisional);
        }
        let (to, from) = (head.to_path(), head.from_path());
        let Some(first) = to.first().or(from.first()) else {
            return Some(OddResponse::NoPaths);
        };
        if !is_clean(head) {
            return Some(OddResponse::Malformed);
        }
        let (asked, hops) = match &transaction.kind {
            Kind::Send(piece) => (piece.template.from_path().first(), None),
            Kind::Other(forwarded) => (Some(&*forwarded.own_uri), Some(forwarded.hops)),
        };
        if head.fault().is_some() {
            return Some(OddResponse::Order);
        }
        if asked != Some(first) && !self.is_ours(first) {
            let unswapped = from.first().is_some_and(|uri| self.is_ours(uri));
            return Some(match unswapped {
                true => OddResponse::Unswapped,
                false => OddResponse::NotToUs,
            });
        }
        match hops {
            None => (to.text().len() > first.len()).then_some(OddResponse::WholePath),
            Some(hops) => (to.len() <= hops).then_some(OddResponse::NoWayOn),
        }
    }

    fn is_ours(&self, uri: &[u8]) -> bool {
        Uri::parse(uri).is_ok_and(|uri| self.settings.naming(&uri) == Naming::Ours)
    }

    /// How long the next hop took.
    pub(super) fn note_answer(&mut self, now: Instant, key: TransactionKey) {
        let sent_at = self.transactions.get(key).and_then(|open| open.sent_at);
        if let Some(sent_at) = sent_at {
            let took = now.saturating_duration_since(sent_at);
            self.metrics.transaction_duration.record(took);
        }
    }

    /// 2xx to a SEND of ours, which may still be on its way (RSP-10).
    pub(super) fn send_succeeded(&mut self, key: TransactionKey) {
        match self.transactions.get_mut(key) {
            Some(Transaction {
                progress: Progress::Sending,
                kind: Kind::Send(piece),
                ..
            }) => piece.answered_early = true,
            _ => self.piece_ended(key, Fate::Answered),
        }
    }

    /// RSP-05: our URIs move to From-Path and the transact-id is set back.
    fn forward_response(&mut self, now: Instant, key: TransactionKey, head: &Head, code: u16) {
        let Some(transaction) = self.transactions.remove(key) else {
            return;
        };
        let Kind::Other(forwarded) = transaction.kind else {
            return;
        };
        if self.asks_for_ours(head, &forwarded, transaction.connection) {
            return self.unanswered(now, forwarded, &Refusal::FORBIDDEN);
        }
        if !is_clean(head) {
            return self.answer_without(now, forwarded, code);
        }
        let way = self.way_of_response(head, &forwarded);
        let uris = way.from_path.len() + way.own.len();
        let transact_id = if planted(Fault::TransactIdKept) {
            head.transact_id()
        } else {
            &forwarded.incoming_transact_id
        };
        let mut octets = Vec::new();
        wire::response_forwarded(head, &way, transact_id, &mut octets);
        if uris > self.settings.limits.uris_per_path || !self.fits_back(&octets) {
            // It cannot be told as it is: as if none had come (D-33).
            return self.unanswered(now, forwarded, &Refusal::NEXT_HOP_LOST);
        }
        self.metrics.response(code, Direction::Out);
        let Forwarded {
            return_to, auth, ..
        } = forwarded;
        let failed_auth = auth
            .and_then(|auth| auth.credentials_for)
            .filter(|_| code == 401 && !is_stale(head));
        self.return_response(now, return_to, octets.into(), failed_auth);
    }

    /// The paths of a response that travels back. Where it has lost its way it is put on it again, from what the request
    /// came with (RSP-11, D-40).
    fn way_of_response<'a>(&self, head: &'a Head, forwarded: &'a Forwarded) -> WayBack<'a> {
        let back = Path::new(&forwarded.incoming_from_path);
        let is_ours = |uri: &[u8]| *uri == *forwarded.own_uri || self.is_ours(uri);
        let (to, from) = (head.to_path(), head.from_path());
        let mut own: Vec<&[u8]> = to
            .uris()
            .take(forwarded.hops)
            .take_while(|uri| is_ours(uri))
            .collect();
        let (_, rest) = to.split(own.len());
        if own.len() == forwarded.hops && !rest.is_empty() {
            return WayBack::of(head, forwarded.hops);
        }
        // With the paths as the request had them, whoever answers stands in To-Path.
        let unswapped = own.is_empty() && from.first().is_some_and(is_ours);
        own.reverse();
        if own.len() < forwarded.hops {
            own.insert(0, &forwarded.own_uri);
        }
        WayBack {
            to_path: back,
            own,
            from_path: if unswapped { to } else { from },
        }
    }

    /// What the next hop said cannot be passed on, for it breaks the grammar (SEC-09): its code alone is. To an AUTH a
    /// success or a challenge without its headers is none (D-33).
    fn answer_without(&mut self, now: Instant, forwarded: Forwarded, code: u16) {
        if forwarded.auth.is_some() && (is_success(code) || code == 401) {
            return self.unanswered(now, forwarded, &Refusal::NEXT_HOP_LOST);
        }
        self.metrics.response(code, Direction::Out);
        let Forwarded {
            return_to,
            incoming_transact_id,
            incoming_from_path,
            own_uri,
            ..
        } = forwarded;
        let (tid, to) = (&incoming_transact_id, &incoming_from_path);
        self.answer_forwarded(now, return_to, tid, to, &own_uri, code);
    }
}

/// Whether its text may be passed on: it is as the grammar has it, but for the order of the paths.
fn is_clean(head: &Head) -> bool {
    matches!(head.fault(), None | Some(HeadFault::PathMisplaced)) && head.paths_readable()
}

pub(super) fn is_success(code: u16) -> bool {
    (200..300).contains(&code)
}

/// Whether a 401 says that only the nonce was old (AUT-23).
fn is_stale(head: &Head) -> bool {
    head.www_authenticate().any(|value| {
        let value = value.to_ascii_lowercase();
        memchr::memmem::find(&value, b"stale=true").is_some()
            || memchr::memmem::find(&value, b"stale=\"true\"").is_some()
    })
}
