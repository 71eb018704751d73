//! `--trace`: one line of JSON for each message, written while the run goes on.

use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Mutex};

use serde::Serialize;

use crate::ids;
use crate::ledger::{Fate, Traced};

/// Octets that a thread gathers before it writes them.
const GATHERED_OCTETS: usize = 64 * 1024;

/// The file that all threads write to.
pub type TraceFile = Arc<Mutex<File>>;

/// A thread's lines.
pub struct Tracer {
    file: TraceFile,
    lines: Vec<u8>,
    failed: Option<String>,
}

/// Times are microseconds from the beginning of the measured stretch (negative in the warm-up).
#[derive(Serialize)]
struct Line<'a> {
    id: &'a str,
    session: u32,
    group: &'a str,
    message: u64,
    octets: u64,
    measured: bool,
    due_us: f64,
    sent_us: f64,
    delivered_us: Option<f64>,
    acknowledged_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmed_us: Option<f64>,
    fate: Fate,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
}

impl Tracer {
    pub fn new(file: TraceFile) -> Self {
        Self {
            file,
            lines: Vec::new(),
            failed: None,
        }
    }

    /// `origin` is when the measured stretch begins, on the engine's clock.
    pub fn line(&mut self, run: [u8; 3], session: u32, group: &str, origin: u64, traced: &Traced) {
        let micros = |at: u64| (at as f64 - origin as f64) / 1e3;
        let id = ids::message_id(run, session, traced.message);
        let line = Line {
            id: &String::from_utf8_lossy(&id),
            session,
            group,
            message: traced.message,
            octets: traced.size,
            measured: traced.measured,
            due_us: micros(traced.due_at),
            sent_us: micros(traced.sent_at),
            delivered_us: traced.arrived_at.map(micros),
            acknowledged_us: traced.acknowledged_at.map(micros),
            confirmed_us: traced.confirmed_at.map(micros),
            fate: traced.fate,
            code: traced.code,
        };
        if let Err(error) = serde_json::to_writer(&mut self.lines, &line) {
            self.failed.get_or_insert(error.to_string());
        }
        self.lines.push(b'\n');
        if self.lines.len() >= GATHERED_OCTETS {
            self.write();
        }
    }

    fn write(&mut self) {
        let result = match self.file.lock() {
            Ok(mut file) => file.write_all(&self.lines),
            Err(_) => Ok(()),
        };
        if let Err(error) = result {
            self.failed.get_or_insert(error.to_string());
        }
        self.lines.clear();
    }

    /// Writes the rest; the first error, if there was one.
    pub fn finish(mut self) -> Option<String> {
        self.write();
        self.failed
    }
}
