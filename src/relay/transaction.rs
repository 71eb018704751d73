//! Requests that went out and wait for their response: looked up by transact-id, timed by one
//! list in which all wait equally long (RFC 4976 §6.4.1, §6.4.3).

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::{Duration, Instant};

use crate::wire::{Authority, FailureReport, Template};

use super::custody::Covered;
use super::keys::{ConnectionKey, FlowKey, Place, TransactionKey};
use super::slots::Slots;

/// Our own transact-ids are random, so their bits are hash enough; nobody else inserts.
#[derive(Default)]
pub(super) struct TakeBits(u64);

impl Hasher for TakeBits {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, octets: &[u8]) {
        for octet in octets {
            self.0 = self.0.rotate_left(8) ^ u64::from(*octet);
        }
    }
    fn write_u128(&mut self, value: u128) {
        self.0 = value as u64 ^ (value >> 64) as u64;
    }
}

/// A map whose keys are random bits of our own making.
pub(super) type RandomKeyMap<V> = HashMap<u128, V, BuildHasherDefault<TakeBits>>;

/// Lets go of room that is hardly used.
pub(super) fn give_back<V>(map: &mut RandomKeyMap<V>) {
    if map.capacity() / 8 > map.len() {
        map.shrink_to(256);
    }
}

/// Where the request stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    /// Its end-line is not yet written.
    Sending,
    /// Written; the kernel has not taken all of it.
    Written,
    /// The kernel has its last octet: the timer runs.
    Waiting,
}

/// A SEND piece, or another request whose response travels back.
#[derive(Debug)]
pub(super) enum Kind {
    Send(Piece),
    Other(Forwarded),
}

impl Kind {
    /// What it keeps of its request.
    pub fn octets(&self) -> usize {
        match self {
            Self::Send(piece) => piece.template.len(),
            Self::Other(forwarded) => {
                forwarded.incoming_transact_id.len()
                    + forwarded.incoming_from_path.len()
                    + forwarded.own_uri.len()
            }
        }
    }
}

/// One outgoing SEND.
#[derive(Debug)]
pub(super) struct Piece {
    pub flow: FlowKey,
    pub template: Template,
    /// Position of its first octet.
    pub start: u64,
    /// Position after its last octet; its start until the end-line is written.
    pub end: u64,
    pub covered: Covered,
    pub failure_report: FailureReport,
    /// 2xx came before its end-line was written (RSP-10).
    pub answered_early: bool,
}

/// A request other than SEND that went out.
#[derive(Debug)]
pub(super) struct Forwarded {
    pub return_to: Place,
    /// The transact-id under which it came in.
    pub incoming_transact_id: Box<[u8]>,
    /// From-Path as it came in, for answers that lost their way (RSP-11).
    pub incoming_from_path: Box<[u8]>,
    /// The first To-Path URI as it came in: who answers if we do.
    pub own_uri: Box<[u8]>,
    /// How many URIs of ours stand at the front of To-Path in the answer.
    pub hops: usize,
    pub auth: Option<ForwardedAuth>,
}

/// What a forwarded AUTH's answer needs to be judged by (AUT-23).
#[derive(Clone, Debug)]
pub(super) struct ForwardedAuth {
    /// The relay that it had credentials for, if it had any.
    pub credentials_for: Option<Box<Authority>>,
}

#[derive(Debug)]
pub(super) struct Transaction {
    pub id: u128,
    pub connection: ConnectionKey,
    pub progress: Progress,
    pub kind: Kind,
    /// When the kernel had its last octet.
    pub sent_at: Option<Instant>,
    pub deadline: Instant,
    /// For how long its connection had not been read when it began to wait.
    pub unread_before: Duration,
    previous: Option<TransactionKey>,
    next: Option<TransactionKey>,
    listed: bool,
    /// Those of the same connection that were begun before and after it.
    older: Option<TransactionKey>,
    younger: Option<TransactionKey>,
}

/// All open transactions of a shard.
#[derive(Default)]
pub(super) struct Transactions {
    by_key: Slots<TransactionKey, Transaction>,
    by_id: RandomKeyMap<TransactionKey>,
    first: Option<TransactionKey>,
    last: Option<TransactionKey>,
    /// The youngest and the oldest of each connection, by its place in the machine's table: the loss
    /// of one connection looks at its own transactions only.
    youngest: Vec<Option<TransactionKey>>,
    oldest: Vec<Option<TransactionKey>>,
    /// What they hold, by the same place, and in all.
    octets_of: Vec<usize>,
    octets: usize,
}

impl Transactions {
    pub fn begin(
        &mut self,
        now: Instant,
        id: u128,
        connection: ConnectionKey,
        progress: Progress,
        kind: Kind,
    ) -> TransactionKey {
        if self.youngest.len() <= connection.slot() {
            self.youngest.resize(connection.slot() + 1, None);
            self.oldest.resize(connection.slot() + 1, None);
            self.octets_of.resize(connection.slot() + 1, 0);
        }
        let older = self.youngest[connection.slot()];
        let key = self.by_key.insert(Transaction {
            id,
            connection,
            progress,
            kind,
            sent_at: None,
            deadline: now,
            unread_before: Duration::ZERO,
            previous: None,
            next: None,
            listed: false,
            older,
            younger: None,
        });
        if let Some(older) = older.and_then(|older| self.by_key.get_mut(older)) {
            older.younger = Some(key);
        }
        self.youngest[connection.slot()] = Some(key);
        self.oldest[connection.slot()].get_or_insert(key);
        self.by_id.insert(id, key);
        let octets = self.by_key.get(key).map_or(0, Transaction::memory);
        self.octets_of[connection.slot()] += octets;
        self.octets += octets;
        key
    }

    pub fn get(&self, key: TransactionKey) -> Option<&Transaction> {
        self.by_key.get(key)
    }

    pub fn get_mut(&mut self, key: TransactionKey) -> Option<&mut Transaction> {
        self.by_key.get_mut(key)
    }

    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// The open transaction of `connection` with this transact-id (RSP-04).
    pub fn find(&self, id: u128, connection: ConnectionKey) -> Option<TransactionKey> {
        let key = *self.by_id.get(&id)?;
        let transaction = self.by_key.get(key)?;
        (transaction.connection == connection).then_some(key)
    }

    pub fn give_back(&mut self) {
        self.by_key.give_back();
        give_back(&mut self.by_id);
        if self.by_key.len() == 0 {
            // By the places of connections, of which there may have been many more.
            self.youngest = Vec::new();
            self.oldest = Vec::new();
            self.octets_of = Vec::new();
        }
    }

    /// What all of them hold.
    pub fn octets(&self) -> usize {
        self.octets
    }

    /// What those of one connection hold.
    pub fn octets_of(&self, connection: ConnectionKey) -> usize {
        self.octets_of.get(connection.slot()).copied().unwrap_or(0)
    }

    /// The first that was begun of those of one connection.
    pub fn oldest_of(&self, connection: ConnectionKey) -> Option<TransactionKey> {
        let key = self.oldest.get(connection.slot()).copied().flatten()?;
        let oldest = self.by_key.get(key)?;
        (oldest.connection == connection).then_some(key)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Transaction> {
        self.by_key.iter().map(|(_, transaction)| transaction)
    }

    /// All that wait do so for longer.
    pub fn prolong(&mut self, time: Duration) {
        for transaction in self.by_key.values_mut() {
            transaction.deadline += time;
        }
    }

    pub fn keys(&self) -> Vec<TransactionKey> {
        self.by_key.keys()
    }

    /// More chunks than one wait for its answer.
    pub fn grew(&mut self, key: TransactionKey, octets: usize) {
        if let Some(transaction) = self.by_key.get(key) {
            self.octets_of[transaction.connection.slot()] += octets;
            self.octets += octets;
        }
    }

    pub fn remove(&mut self, key: TransactionKey) -> Option<Transaction> {
        self.unlist(key);
        let transaction = self.by_key.remove(key)?;
        let octets = transaction.memory();
        self.octets_of[transaction.connection.slot()] -= octets;
        self.octets -= octets;
        let (older, younger) = (transaction.older, transaction.younger);
        match younger.and_then(|younger| self.by_key.get_mut(younger)) {
            Some(younger) => younger.older = older,
            None => self.youngest[transaction.connection.slot()] = older,
        }
        match older.and_then(|older| self.by_key.get_mut(older)) {
            Some(older) => older.younger = younger,
            None => self.oldest[transaction.connection.slot()] = younger,
        }
        self.by_id.remove(&transaction.id);
        Some(transaction)
    }

    /// The kernel has its last octet: it waits `patience` from now, and for as long as its
    /// connection's unread time grows.
    pub fn wait(
        &mut self,
        key: TransactionKey,
        now: Instant,
        patience: Duration,
        unread: Duration,
    ) {
        self.unlist(key);
        let last = self.last;
        let Some(transaction) = self.by_key.get_mut(key) else {
            return;
        };
        transaction.progress = Progress::Waiting;
        transaction.sent_at.get_or_insert(now);
        transaction.deadline = now + patience;
        transaction.unread_before = unread;
        transaction.previous = last;
        transaction.next = None;
        transaction.listed = true;
        match last.and_then(|last| self.by_key.get_mut(last)) {
            Some(before) => before.next = Some(key),
            None => self.first = Some(key),
        }
        self.last = Some(key);
    }

    /// Its timer stands still: somebody else wakes it.
    pub fn stand_still(&mut self, key: TransactionKey) {
        self.unlist(key);
    }

    /// When the first of the list is due. All wait equally long, so the list is in order but
    /// for the few whose timer stood still, which come early and are put back.
    pub fn next_deadline(&self) -> Option<Instant> {
        Some(self.by_key.get(self.first?)?.deadline)
    }

    pub fn first_due(&self, now: Instant) -> Option<TransactionKey> {
        let first = self.first?;
        (self.by_key.get(first)?.deadline <= now).then_some(first)
    }

    fn unlist(&mut self, key: TransactionKey) {
        let Some(transaction) = self.by_key.get_mut(key) else {
            return;
        };
        if !std::mem::take(&mut transaction.listed) {
            return;
        }
        let (previous, next) = (transaction.previous.take(), transaction.next.take());
        match previous.and_then(|previous| self.by_key.get_mut(previous)) {
            Some(before) => before.next = next,
            None => self.first = next,
        }
        match next.and_then(|next| self.by_key.get_mut(next)) {
            Some(after) => after.previous = previous,
            None => self.last = previous,
        }
    }
}
