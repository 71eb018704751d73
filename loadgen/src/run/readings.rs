//! Looks at the relay and at ourselves: before anything, when all is set up, at both ends of the
//! measured stretch and within it.

use std::time::{Duration, Instant, SystemTime};

use crate::scrape::{self, Reading, Target};
use crate::usage::ProcessUsage;

use super::Watched;

/// A look at one time of the measured stretch.
pub struct Sample {
    /// When it was due, since the beginning of the measured stretch, and when it was really taken.
    pub at: Duration,
    pub taken: Instant,
    pub relay: Option<ProcessUsage>,
    pub own: Option<ProcessUsage>,
}

pub struct Readings {
    pub watched: Watched,
    pub began: SystemTime,
    pub samples: Vec<Sample>,
    scraped: [Vec<Reading>; 2],
    pub problems: Vec<String>,
    /// What the scraped relays say that they are.
    pub relay_versions: Vec<String>,
    pub before: Option<ProcessUsage>,
    pub set_up: Option<ProcessUsage>,
    pub until: Option<ProcessUsage>,
}

impl Readings {
    pub fn new(watched: &Watched) -> Self {
        Self {
            began: SystemTime::now(),
            samples: Vec::new(),
            scraped: [Vec::new(), Vec::new()],
            problems: Vec::new(),
            relay_versions: Vec::new(),
            before: ProcessUsage::read(&watched.pids),
            set_up: None,
            until: None,
            watched: watched.clone(),
        }
    }

    pub fn set_up(&mut self) {
        self.set_up = ProcessUsage::read(&self.watched.pids);
        let scraped = self.watched.scraped.iter();
        self.relay_versions = scraped.filter_map(Target::version).collect();
    }

    /// The measured stretch begins.
    pub fn begin(&mut self) {
        self.began = SystemTime::now();
        self.sample(Duration::ZERO);
        self.scrape(0);
    }

    pub fn end(&mut self) {
        self.until = ProcessUsage::read(&self.watched.pids);
        self.scrape(1);
    }

    pub fn sample(&mut self, at: Duration) {
        self.samples.push(Sample {
            at,
            taken: Instant::now(),
            relay: ProcessUsage::read(&self.watched.pids),
            own: ProcessUsage::own(),
        });
    }

    /// When the measured stretch began.
    pub fn from(&self) -> Option<ProcessUsage> {
        self.samples.first()?.relay
    }

    fn scrape(&mut self, which: usize) {
        let readings = self.watched.scraped.iter().map(Target::read);
        match readings.collect::<Result<Vec<_>, _>>() {
            Ok(readings) => self.scraped[which] = readings,
            Err(problem) if self.problems.is_empty() => self.problems.push(problem),
            Err(_) => {}
        }
    }

    /// What the relays measured between the two readings.
    pub fn scraped(&self) -> Reading {
        let mut sum = Reading::new();
        let [before, after] = &self.scraped;
        for (before, after) in before.iter().zip(after) {
            scrape::add_difference(&mut sum, before, after);
        }
        sum.retain(|_, histogram| !histogram.is_empty());
        sum
    }
}
