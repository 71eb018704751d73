//! Log lines on stderr: text for people, JSON for machines.

mod repeats;

use std::io::IsTerminal;
use std::time::Instant;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;
use tracing_subscriber::reload;

use crate::config::{Log, LogFormat, TextSetting};

use repeats::Repeats;

/// Changes a running log.
pub struct Level {
    filter: Box<dyn Fn(&Log) + Send>,
    repeats: Repeats,
}

impl Level {
    pub fn set(&self, log: &Log) {
        (self.filter)(log);
        self.repeats.set(log.repeats);
    }

    /// Says what was left out because there was too much of it; to be called from time to time,
    /// and at the end.
    pub fn tell_left_out(&self, at_the_end: bool) {
        for left_out in self.repeats.left_out(Instant::now(), at_the_end) {
            tracing::warn!(
                lines = left_out.lines,
                of = %format_args!("{}:{}", left_out.target, left_out.line),
                "lines of one kind are left out (log.repeats)"
            );
        }
    }
}

/// Starts logging. A second call in the same process changes nothing.
pub fn start(log: &Log) -> Level {
    let (filter, handle) = reload::Layer::new(filter(log));
    let terminal = std::io::stderr().is_terminal();
    let text = match log.format {
        LogFormat::Auto => terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let repeats = Repeats::new(log.repeats);
    let registry = tracing_subscriber::registry()
        .with(filter)
        .with(repeats.clone());
    let _ = match text {
        true => registry
            .with(
                fmt::layer()
                    .with_writer(std::io::stderr)
                    .with_ansi(terminal)
                    .with_target(false),
            )
            .try_init(),
        false => registry
            .with(
                fmt::layer()
                    .with_writer(std::io::stderr)
                    .json()
                    .flatten_event(true),
            )
            .try_init(),
    };
    let filter = Box::new(move |log: &Log| {
        let _ = handle.reload(self::filter(log));
    });
    Level { filter, repeats }
}

/// What libraries say below a warning is theirs to debug, unless everything is wanted.
fn filter(log: &Log) -> EnvFilter {
    let level = log.level.text();
    match level.as_str() {
        "trace" => EnvFilter::new("trace"),
        "error" => EnvFilter::new("error"),
        level => EnvFilter::new(format!("warn,msrpd={level}")),
    }
}
