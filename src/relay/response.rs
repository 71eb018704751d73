//! Responses (RFC 4976 §6.4.3): they complete transactions; those to SEND end here, those to
//! other requests travel back under the transact-id that the request came with.

use std::time::Instant;

use crate::metrics::Direction;
use crate::wire::{self, Head, Kind as HeadKind, TransactId, Uri};

use super::Relay;
use super::command::Refusal;
use super::custody::Fate;
use super::keys::{ConnectionKey, TransactionKey};
use super::planted::{Fault, planted};
use super::settings::Naming;
use super::transaction::{Forwarded, Kind, Progress, Transaction};

impl Relay {
    /// A whole response is in. What does not fit is dropped without reaction (RSP-04, ERR-09).
    pub(super) fn response(&mut self, now: Instant, key: ConnectionKey, head: &Head) {
        let HeadKind::Response { code } = head.kind() else {
            return;
        };
        if !head.paths_readable() {
            return;
        }
        let Some(id) = TransactId::parse(head.transact_id()) else {
            return;
        };
        let Some(transaction_key) = self.transactions.find(id, key) else {
            return;
        };
        if !self.is_to_us(head, transaction_key) {
            return;
        }
        self.note_answer(now, transaction_key);
        let Some(transaction) = self.transactions.get(transaction_key) else {
            return;
        };
        match &transaction.kind {
            Kind::Send(_) if is_success(code) => self.send_succeeded(transaction_key),
            Kind::Send(_) => {
                self.piece_failed(transaction_key, &Refusal::downstream(code, head.comment()))
            }
            Kind::Other(_) => self.forward_response(now, transaction_key, head, code),
        }
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

    /// RSP-04. Most answers spell our URI as the request did.
    fn is_to_us(&self, head: &Head, transaction: TransactionKey) -> bool {
        let Some(first) = head.to_path().first() else {
            return false;
        };
        let asked = match self.transactions.get(transaction).map(|open| &open.kind) {
            Some(Kind::Send(piece)) => piece.template.from_path().first(),
            _ => None,
        };
        asked == Some(first)
            || Uri::parse(first).is_ok_and(|uri| self.settings.naming(&uri) == Naming::Ours)
    }

    /// RSP-05: our URIs move to From-Path and the transact-id is set back.
    fn forward_response(&mut self, now: Instant, key: TransactionKey, head: &Head, code: u16) {
        let Some(transaction) = self.transactions.remove(key) else {
            return;
        };
        let Kind::Other(forwarded) = transaction.kind else {
            return;
        };
        let hops = forwarded.hops;
        let mut octets = Vec::new();
        // RSP-11: an answer to an AUTH that forgot the way back is put on it again.
        let repaired = (head.to_path().len() <= hops).then_some(&*forwarded.incoming_from_path);
        if repaired.is_some() && forwarded.auth.is_none() {
            return;
        }
        let transact_id = if planted(Fault::TransactIdKept) {
            head.transact_id()
        } else {
            &forwarded.incoming_transact_id
        };
        wire::response_forwarded(head, hops, transact_id, repaired, &mut octets);
        let uris = head.from_path().len() + hops;
        if uris > self.settings.limits.uris_per_path || !self.fits_back(&octets) {
            // It cannot be told as it is: as if none had come (D-33).
            return self.unanswered(now, forwarded, &Refusal::NEXT_HOP_LOST);
        }
        self.metrics.response(code, Direction::Out);
        let Forwarded {
            return_to, auth, ..
        } = forwarded;
        let failed_auth =
            auth.is_some_and(|auth| auth.had_credentials) && code == 401 && !is_stale(head);
        self.return_response(now, return_to, octets.into(), failed_auth);
    }
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
