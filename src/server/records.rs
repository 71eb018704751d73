//! Records of sessions, one line of JSON each, into a file or a unix socket (docs/records.md).
//!
//! A thread of its own writes them, so that neither a shard nor the control thread waits for a disk or a reader. What the
//! sink does not take waits in the channel; once that is full, records are lost, counted, and that is said once.

mod line;
mod output;
mod writer;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::Duration;

use crate::config::Config;
use crate::metrics::RecordTotals;
use crate::shard::{RecordCounts, Records};

use output::Output;
pub use output::{Probed, probe};
use writer::Writer;

/// Where records go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    File(PathBuf),
    /// A stream socket that somebody else listens on.
    Socket(PathBuf),
}

impl Target {
    /// As configured, if at all.
    pub fn of(config: &Config) -> Option<Self> {
        let records = &config.records;
        let file = records.file.clone().map(Self::File);
        file.or_else(|| records.socket.clone().map(Self::Socket))
    }

    /// The key of the configuration that names it.
    pub fn key(&self) -> &'static str {
        match self {
            Self::File(_) => "records.file",
            Self::Socket(_) => "records.socket",
        }
    }

    pub fn path(&self) -> &PathBuf {
        match self {
            Self::File(path) | Self::Socket(path) => path,
        }
    }
}

/// What the control thread wants of the writer.
#[derive(Default)]
struct Orders {
    reopen: AtomicBool,
    /// No further record comes: what is there is written, then the thread ends.
    end: AtomicBool,
}

/// The writer's thread, from outside.
pub struct Sink {
    target: Target,
    depth: usize,
    records: Records,
    orders: Arc<Orders>,
    counts: Arc<RecordCounts>,
    ended: mpsc::Receiver<()>,
}

impl Sink {
    /// As configured, if at all. The error says what to do.
    pub fn configured(config: &Config, counts: &Arc<RecordCounts>) -> Result<Option<Self>, String> {
        let Some(target) = Target::of(config) else {
            return Ok(None);
        };
        let path = target.path().display().to_string();
        let host = config.relay.hosts.first();
        let host = host.map_or_else(String::new, ToString::to_string);
        let depth = config.limits.records_waiting;
        match Self::start(target, depth, host, counts.clone()) {
            Ok(sink) => Ok(Some(sink)),
            Err(error) => Err(format!(
                "cannot write to {path}: {error}; see to it that the relay's user may"
            )),
        }
    }

    /// Opens a file, which must be possible; a socket, or a pipe, may find its reader later. `host` stands in every record.
    fn start(
        target: Target,
        depth: usize,
        host: String,
        counts: Arc<RecordCounts>,
    ) -> io::Result<Self> {
        let output = match Output::open(&target) {
            Ok(output) => Some(output),
            Err(error) if output::may_come(&target, &error) => None,
            Err(error) => return Err(error),
        };
        let (records, notes) = Records::channel(depth, counts.clone());
        let orders = Arc::<Orders>::default();
        let (end, ended) = mpsc::channel();
        let writer = Writer::new(
            target.clone(),
            output,
            host,
            notes,
            orders.clone(),
            counts.clone(),
        );
        std::thread::Builder::new()
            .name("records".to_owned())
            .spawn(move || {
                writer.run();
                let _ = end.send(());
            })?;
        Ok(Sink {
            target,
            depth,
            records,
            orders,
            counts,
            ended,
        })
    }

    /// Whether it is what the configuration asks for.
    pub fn is_as(&self, config: &Config) -> bool {
        Target::of(config).as_ref() == Some(&self.target)
            && config.limits.records_waiting == self.depth
    }

    /// For the shards.
    pub fn records(&self) -> Records {
        self.records.clone()
    }

    /// Closes the file and opens it again under its name.
    pub fn reopen(&self) {
        self.orders.reopen.store(true, Relaxed);
        self.records.nudge();
    }

    /// The shards have another one: it ends once it has written what it has.
    pub fn retire(self) {
        self.orders.end.store(true, Relaxed);
        self.records.nudge();
    }

    /// The shards have ended: what they sent is written, unless that takes too long.
    pub fn finish(self, patience: Duration) {
        self.orders.end.store(true, Relaxed);
        self.records.nudge();
        if self.ended.recv_timeout(patience).is_err() {
            let waiting = self.counts.waiting.load(Relaxed);
            tracing::error!(
                lost = waiting,
                "records could not be written before the end"
            );
        }
    }
}

/// For the metrics.
pub fn totals(counts: &RecordCounts) -> RecordTotals {
    RecordTotals {
        written: counts.written.load(Relaxed),
        lost: counts.lost.load(Relaxed),
        waiting: counts.waiting.load(Relaxed),
        up: !counts.down.load(Relaxed),
    }
}

#[cfg(test)]
mod tests;
