//! Records of sessions on their way to whoever writes them: a bounded channel, which no shard
//! ever waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::relay::SessionRecord;

/// What comes to the writer.
pub enum Note {
    Record(Box<SessionRecord>),
    /// Nothing to write; it has something else to do.
    Nudge,
}

/// What became of records, ever, of the whole process.
#[derive(Default)]
pub struct RecordCounts {
    /// Taken by the file or the socket.
    pub written: AtomicU64,
    /// There was no room for them, or the process ended before they were written.
    pub lost: AtomicU64,
    /// On their way.
    pub waiting: AtomicU64,
    /// The file or the socket does not take them.
    pub down: AtomicBool,
}

/// The way in; each shard has one.
#[derive(Clone)]
pub struct Records {
    sender: SyncSender<Note>,
    counts: Arc<RecordCounts>,
}

impl Records {
    /// A channel for so many.
    pub fn channel(depth: usize, counts: Arc<RecordCounts>) -> (Self, Receiver<Note>) {
        let (sender, receiver) = sync_channel(depth);
        (Self { sender, counts }, receiver)
    }

    /// Sends a record off. One that finds no room is lost, and counted.
    pub fn send(&self, record: Box<SessionRecord>) {
        // Counted first: the writer may be quicker than we are.
        self.counts.waiting.fetch_add(1, Relaxed);
        if self.sender.try_send(Note::Record(record)).is_err() {
            self.counts.waiting.fetch_sub(1, Relaxed);
            self.counts.lost.fetch_add(1, Relaxed);
        }
    }

    /// Wakes the writer. One that has no room for this is awake.
    pub fn nudge(&self) {
        let _ = self.sender.try_send(Note::Nudge);
    }
}
