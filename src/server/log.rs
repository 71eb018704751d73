//! Log lines on stderr: text for people, JSON for machines.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;
use tracing_subscriber::reload;

use crate::config::{Log, LogFormat, TextSetting};

/// Changes the level of a running log.
pub struct Level(Box<dyn Fn(&Log) + Send>);

impl Level {
    pub fn set(&self, log: &Log) {
        (self.0)(log);
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
    let registry = tracing_subscriber::registry().with(filter);
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
    Level(Box::new(move |log| {
        let _ = handle.reload(self::filter(log));
    }))
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
