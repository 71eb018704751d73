//! The thread that writes records.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use crate::shard::{Note, RecordCounts};

use super::output::Output;
use super::{Orders, Target, line};

/// Octets of lines that are written in one go; the rest waits in the channel.
const BATCH_OCTETS: usize = 65_536;
/// Between two tries, while the sink takes something from time to time and while it does not.
const BUSY: Duration = Duration::from_millis(5);
const DOWN: Duration = Duration::from_secs(1);
/// Between two looks at what the control thread wants.
const LOOK: Duration = Duration::from_millis(20);
/// A sink that takes nothing for so long counts as down.
const STALLED: Duration = Duration::from_secs(1);

pub struct Writer {
    target: Target,
    output: Option<Output>,
    host: String,
    notes: Receiver<Note>,
    orders: Arc<Orders>,
    counts: Arc<RecordCounts>,
    /// Lines to be written; the first may have been begun.
    lines: Vec<u8>,
    /// Octets of the first line that the output has.
    begun: usize,
    /// When it last took anything, or had nothing to take.
    moved: Instant,
    /// It was said that the sink is down.
    is_down: bool,
    /// Losses as they were when something was last said about them, or all was well.
    lost_before: u64,
    /// It was said that records are lost.
    loses: bool,
}

impl Writer {
    pub fn new(
        target: Target,
        output: Option<Output>,
        host: String,
        notes: Receiver<Note>,
        orders: Arc<Orders>,
        counts: Arc<RecordCounts>,
    ) -> Self {
        let lost_before = counts.lost.load(Relaxed);
        counts.down.store(false, Relaxed);
        Self {
            target,
            output,
            host,
            notes,
            orders,
            counts,
            lines: Vec::new(),
            begun: 0,
            moved: Instant::now(),
            is_down: false,
            lost_before,
            loses: false,
        }
    }

    /// Writes until it is told to end, or there is nobody left who could send a record.
    pub fn run(mut self) {
        if self.output.is_none() {
            self.open();
        }
        while self.take() {
            if self.orders.reopen.swap(false, Relaxed) {
                self.open();
            }
            if !self.lines.is_empty()
                && let Err(pause) = self.write()
                && self.must_end_after(pause)
            {
                break;
            }
            self.speak_of_losses();
        }
        self.give_up_the_rest();
    }

    /// Takes records while there is room; waits for one if there is nothing to do. False: there will be none.
    fn take(&mut self) -> bool {
        while self.lines.len() < BATCH_OCTETS {
            let note = match self.notes.try_recv() {
                Ok(note) => note,
                Err(_) if !self.lines.is_empty() => return true,
                Err(_) if self.orders.end.load(Relaxed) => return false,
                Err(_) => {
                    self.is_well();
                    match self.notes.recv() {
                        Ok(note) => note,
                        Err(_) => return false,
                    }
                }
            };
            match note {
                Note::Record(record) => {
                    let clocks = line::Clocks::now();
                    line::append(&record, &self.host, clocks, &mut self.lines);
                }
                Note::Nudge => return true,
            }
        }
        true
    }

    /// Opens it under its name. A line that was begun in another one begins again.
    fn open(&mut self) {
        self.output = None;
        self.begun = 0;
        match Output::open(&self.target) {
            Ok(output) => {
                self.output = Some(output);
                self.moved = Instant::now();
            }
            Err(error) => self.down(&error),
        }
    }

    /// Writes what the output takes now; the error says how long to wait before it is tried again.
    fn write(&mut self) -> Result<(), Duration> {
        if self.output.is_none() {
            self.open();
        }
        let Some(output) = &mut self.output else {
            return Err(DOWN);
        };
        match output.write(&self.lines[self.begun..]) {
            Ok(0) => self.failed(&ErrorKind::WriteZero.into()),
            Ok(octets) => {
                self.written(octets);
                Ok(())
            }
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &io::Error) -> Result<(), Duration> {
        match error.kind() {
            ErrorKind::Interrupted => Ok(()),
            ErrorKind::WouldBlock if self.moved.elapsed() < STALLED => Err(BUSY),
            ErrorKind::WouldBlock => {
                self.down(&io::Error::other("it takes nothing"));
                Err(BUSY)
            }
            // The line goes on where it was cut.
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                self.down(error);
                Err(DOWN)
            }
            _ => {
                self.down(error);
                self.output = None;
                self.begun = 0;
                Err(DOWN)
            }
        }
    }

    fn written(&mut self, octets: usize) {
        let end = self.begun + octets;
        let whole = memchr::memrchr(b'\n', &self.lines[..end]).map_or(0, |last| last + 1);
        let records = memchr::memchr_iter(b'\n', &self.lines[..whole]).count() as u64;
        self.lines.drain(..whole);
        self.begun = end - whole;
        self.counts.written.fetch_add(records, Relaxed);
        self.counts.waiting.fetch_sub(records, Relaxed);
        self.counts.down.store(false, Relaxed);
        self.moved = Instant::now();
        if std::mem::take(&mut self.is_down) {
            let sink = self.target.path().display();
            tracing::info!(%sink, "records are written again");
        }
    }

    /// Says once that the sink takes nothing.
    fn down(&mut self, error: &io::Error) {
        self.counts.down.store(true, Relaxed);
        if !std::mem::replace(&mut self.is_down, true) {
            let sink = self.target.path().display();
            tracing::error!(%sink, %error, "records cannot be written; they wait, limits.records_waiting at most");
        }
    }

    /// Says once that records are lost, until all is well again.
    fn speak_of_losses(&mut self) {
        let lost = self.counts.lost.load(Relaxed);
        if lost > self.lost_before && !std::mem::replace(&mut self.loses, true) {
            let sink = self.target.path().display();
            tracing::error!(%sink, "records are lost: limits.records_waiting are waiting");
        }
    }

    /// Nothing waits.
    fn is_well(&mut self) {
        self.moved = Instant::now();
        let lost = self.counts.lost.load(Relaxed);
        if std::mem::take(&mut self.loses) {
            let lost = lost - self.lost_before;
            tracing::warn!(lost, "records are not lost any more");
        }
        self.lost_before = lost;
    }

    /// Waits; true if the end comes first, for what does not go now would hold it up.
    fn must_end_after(&mut self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        loop {
            self.speak_of_losses();
            if self.orders.end.load(Relaxed) && self.is_down {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.orders.reopen.load(Relaxed) {
                return false;
            }
            std::thread::sleep(left.min(LOOK));
        }
    }

    /// The end, with something left that the sink does not take.
    fn give_up_the_rest(&mut self) {
        let lines = memchr::memchr_iter(b'\n', &self.lines).count() as u64;
        let queued = self
            .notes
            .try_iter()
            .filter(|note| matches!(note, Note::Record(_)));
        let lost = lines + queued.count() as u64;
        self.counts.lost.fetch_add(lost, Relaxed);
        self.counts.waiting.fetch_sub(lost, Relaxed);
        if lost > 0 {
            let sink = self.target.path().display();
            tracing::error!(%sink, lost, "records were not written before the end");
        }
    }
}
