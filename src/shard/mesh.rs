//! The mesh of shards: one bounded channel into each, and a wake-up only for one that sleeps.
//!
//! What does not fit a channel waits in order in the sender's own outbox, and while anything
//! waits there the sender reads no sockets: so the sources that fill it pause. A shard never
//! blocks and always empties its inbox, so two full channels never wait for each other.

use std::collections::VecDeque;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use tokio::sync::{Notify, oneshot};

use crate::metrics::ShardMetrics;
use crate::relay::{Accepted, Handoff, ShardId};

use super::Settings;

/// Messages that one channel holds: handoffs of that many flushes, a few dozen in each.
const DEPTH: usize = 1024;

/// What comes into a shard.
pub enum ShardMessage {
    /// From another shard's machine, in order.
    Handoffs(Vec<Handoff>),
    /// A socket accepted by a shard that has more connections.
    Socket {
        stream: TcpStream,
        accepted: Accepted,
        /// The number of the listener that it came by.
        listener: usize,
    },
    /// A copy of the numbers.
    Scrape(oneshot::Sender<Box<ShardMetrics>>),
    /// How far the drain has come.
    Status(oneshot::Sender<Status>),
    /// Other settings, users, certificates.
    Reload(Arc<Settings>),
    /// There is no room for another connection: let go of one that nobody would miss.
    MakeRoom,
    /// Accept what waits, then stop listening; nothing new begins (CON-14).
    Drain { deadline: Instant },
    /// Close all connections in order.
    CloseAll,
    /// Records of sessions do not wait any more for what is still under way.
    CutRecordsShort,
    /// Make the records that are left, and end the thread.
    Stop,
}

/// How far a shard has come with its drain.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    /// Nothing is held, nothing is under way.
    pub drained: bool,
    pub connections: usize,
    /// Sockets that still read on after our half-close.
    pub closing: usize,
    pub held: u64,
    /// Sessions that have ended and wait for what counts for them.
    pub records_due: usize,
}

struct Inbox {
    sender: Sender<ShardMessage>,
    /// The shard has emptied its inbox and waits.
    sleeping: AtomicBool,
    wake: Notify,
    connections: AtomicUsize,
}

/// The way into every shard; cheap to clone.
#[derive(Clone)]
pub struct Mesh {
    inboxes: Arc<Vec<Inbox>>,
    /// Connections being opened by all shards.
    dials: Arc<AtomicUsize>,
}

/// The receiving end of one shard.
pub(super) struct Mailbox {
    shard: ShardId,
    receiver: Receiver<ShardMessage>,
    mesh: Mesh,
}

/// Makes the channels of all shards.
pub(super) fn mesh(shards: u16) -> (Mesh, Vec<Mailbox>) {
    let mut inboxes = Vec::new();
    let mut receivers = Vec::new();
    for _ in 0..shards {
        let (sender, receiver) = bounded(DEPTH);
        inboxes.push(Inbox {
            sender,
            sleeping: AtomicBool::new(false),
            wake: Notify::new(),
            connections: AtomicUsize::new(0),
        });
        receivers.push(receiver);
    }
    let mesh = Mesh {
        inboxes: Arc::new(inboxes),
        dials: Arc::default(),
    };
    let mailboxes = receivers
        .into_iter()
        .enumerate()
        .map(|(index, receiver)| Mailbox {
            shard: ShardId(index as u16),
            receiver,
            mesh: mesh.clone(),
        })
        .collect();
    (mesh, mailboxes)
}

impl Mesh {
    /// Number of shards.
    pub fn shards(&self) -> u16 {
        self.inboxes.len() as u16
    }

    /// Puts a message into a shard's inbox; gives it back if there is no room, or nobody.
    pub fn send(&self, to: ShardId, message: ShardMessage) -> Result<(), ShardMessage> {
        let Some(inbox) = self.inboxes.get(usize::from(to.0)) else {
            return Err(message);
        };
        inbox
            .sender
            .try_send(message)
            .map_err(|error| match error {
                TrySendError::Full(message) | TrySendError::Disconnected(message) => message,
            })?;
        if inbox.sleeping.swap(false, Ordering::SeqCst) {
            inbox.wake.notify_one();
        }
        Ok(())
    }

    /// The shard with the fewest connections; `own` if none has fewer.
    pub(super) fn emptiest(&self, own: ShardId) -> ShardId {
        let count = |index: usize| self.inboxes[index].connections.load(Ordering::Relaxed);
        let mut best = usize::from(own.0);
        for index in 0..self.inboxes.len() {
            if count(index) < count(best) {
                best = index;
            }
        }
        ShardId(best as u16)
    }

    /// Connections of all shards.
    pub(super) fn connections(&self) -> usize {
        self.inboxes
            .iter()
            .map(|inbox| inbox.connections.load(Ordering::Relaxed))
            .sum()
    }

    /// Connections being opened; not among [`Self::connections`] before they are up.
    pub(super) fn dials(&self) -> usize {
        self.dials.load(Ordering::Relaxed)
    }

    pub(super) fn dial_begins(&self) {
        self.dials.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn dial_ends(&self) {
        self.dials.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a connection for a shard, from the moment it is placed.
    pub(super) fn placed(&self, shard: ShardId) {
        self.inboxes[usize::from(shard.0)]
            .connections
            .fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn left(&self, shard: ShardId) {
        self.inboxes[usize::from(shard.0)]
            .connections
            .fetch_sub(1, Ordering::Relaxed);
    }
}

impl Mailbox {
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    pub fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    pub fn try_receive(&self) -> Option<ShardMessage> {
        self.receiver.try_recv().ok()
    }

    /// Returns once there may be something in the inbox.
    pub async fn wait(&self) {
        let inbox = &self.mesh.inboxes[usize::from(self.shard.0)];
        // Not merely Release: the look into the inbox must not come before the flag.
        inbox.sleeping.store(true, Ordering::SeqCst);
        std::sync::atomic::fence(Ordering::SeqCst);
        // Who sent before the flag was up did not wake us.
        if !self.receiver.is_empty() {
            inbox.sleeping.store(false, Ordering::SeqCst);
            return;
        }
        inbox.wake.notified().await;
    }
}

/// What waits for room in other shards' channels, in order.
#[derive(Default)]
pub(super) struct Outbox {
    waiting: Vec<VecDeque<ShardMessage>>,
    len: usize,
}

impl Outbox {
    pub fn new(shards: u16) -> Self {
        Self {
            waiting: (0..shards).map(|_| VecDeque::new()).collect(),
            len: 0,
        }
    }

    pub fn send(&mut self, mesh: &Mesh, to: ShardId, message: ShardMessage) {
        let waiting = &mut self.waiting[usize::from(to.0)];
        let message = if waiting.is_empty() {
            mesh.send(to, message).err()
        } else {
            Some(message)
        };
        if let Some(message) = message {
            waiting.push_back(message);
            self.len += 1;
        }
    }

    pub fn retry(&mut self, mesh: &Mesh) {
        for (index, waiting) in self.waiting.iter_mut().enumerate() {
            while let Some(message) = waiting.pop_front() {
                if let Err(message) = mesh.send(ShardId(index as u16), message) {
                    waiting.push_front(message);
                    break;
                }
                self.len -= 1;
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}
