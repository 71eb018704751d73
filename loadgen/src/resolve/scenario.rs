//! `--scenario`: groups of clients from a TOML file, each with its own sizes, rates and sessions.
//!
//! Relays, users and what is written come from the command line; docs/load-testing.md has an example.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use serde::Deserialize;

use crate::arrivals::{Arrivals, Profile, Stage, parse_rates, parse_stages};
use crate::options::{FailureReport, Options, Receiver, Sender, content_type};
use crate::plan::{Group, Pace, Role, Shape, Transport};
use crate::sizes;
use crate::threshold::{self, Thresholds};
use crate::units::{parse_duration, parse_hold, parse_octets};

use super::relays::client_certificate;
use super::tls::{ClientTls, client_config};
use super::transports::Wishes;
use super::{groups, read_dev, wants_via};

/// The file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    warmup: Option<Text>,
    duration: Option<Text>,
    patience: Option<Text>,
    #[serde(default)]
    thresholds: Vec<String>,
    group: Vec<GroupText>,
    /// Where it was read from, for messages and relative paths.
    #[serde(skip)]
    file: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupText {
    name: String,
    sessions: usize,
    sessions_per_connection: Option<usize>,
    sender: Option<String>,
    receiver: Option<String>,
    transport: Option<String>,
    sender_transport: Option<String>,
    receiver_transport: Option<String>,
    size: Option<Text>,
    chunk_size: Option<Text>,
    window: Option<usize>,
    rate: Option<Text>,
    stages: Option<String>,
    arrivals: Option<String>,
    messages: Option<u64>,
    failure_report: Option<String>,
    #[serde(default)]
    success_report: bool,
    content_type: Option<String>,
    hold: Option<Text>,
    receiver_rate: Option<Text>,
    /// Its results are kept apart, as those of films beside chats.
    #[serde(default)]
    bulk: bool,
    client_certificate: Option<PathBuf>,
    client_key: Option<PathBuf>,
    ca: Option<PathBuf>,
    system_roots: Option<bool>,
}

/// A value that may be written with or without quotes.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Text {
    Words(String),
    Whole(u64),
    Broken(f64),
}

impl Text {
    fn read<T>(&self, parse: impl Fn(&str) -> Result<T, String>) -> Result<T, String> {
        match self {
            Self::Words(text) => parse(text),
            Self::Whole(number) => parse(&number.to_string()),
            Self::Broken(number) => parse(&number.to_string()),
        }
    }
}

impl Scenario {
    pub fn read(file: &Path) -> Result<Self, String> {
        let text =
            fs::read_to_string(file).map_err(|e| format!("--scenario {}: {e}", file.display()))?;
        let mut scenario = Self::parse(&text).map_err(|e| format!("{}: {e}", file.display()))?;
        scenario.file = file.to_owned();
        Ok(scenario)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let scenario: Self = toml::from_str(text).map_err(|e| e.to_string())?;
        let mut names: Vec<&str> = scenario
            .group
            .iter()
            .map(|group| group.name.as_str())
            .collect();
        names.sort_unstable();
        match (
            names.is_empty(),
            names.windows(2).find(|pair| pair[0] == pair[1]),
        ) {
            (true, _) => Err("no [[group]] in it".into()),
            (_, Some(pair)) => Err(format!("two groups are called `{}`", pair[0])),
            (false, None) => Ok(scenario),
        }
    }

    fn wrong(&self, error: String) -> String {
        format!("{}: {error}", self.file.display())
    }

    /// Warm-up, duration, patience.
    pub fn times(&self) -> Result<[Option<Duration>; 3], String> {
        let one = |text: &Option<Text>| {
            text.as_ref()
                .map(|text| text.read(parse_duration))
                .transpose()
        };
        let read = || {
            Ok([
                one(&self.warmup)?,
                one(&self.duration)?,
                one(&self.patience)?,
            ])
        };
        read().map_err(|e: String| self.wrong(e))
    }

    pub fn thresholds(&self) -> Result<Thresholds, String> {
        let mut all = Thresholds::default();
        for text in &self.thresholds {
            all = all.and(threshold::parse(text).map_err(|e| self.wrong(e))?);
        }
        Ok(all)
    }

    /// How long the longest stages of a group take, if one has some.
    pub fn stages_length(&self) -> Result<Option<Duration>, String> {
        let mut longest = Duration::ZERO;
        for group in &self.group {
            let stages = group
                .rates()
                .map_err(|e| self.wrong(e))?
                .unwrap_or_default();
            longest = longest.max(stages.iter().map(|stage| stage.length).sum());
        }
        Ok((longest > Duration::ZERO).then_some(longest))
    }

    pub fn groups(&self, options: &Options, warmup: Duration) -> Result<Vec<Group>, String> {
        let folder = self.file.parent().unwrap_or(Path::new("."));
        let group = |group: &GroupText| {
            group
                .resolve(options, warmup, folder)
                .map_err(|e| self.wrong(format!("group `{}`: {e}", group.name)))
        };
        let groups: Vec<Group> = self.group.iter().map(group).collect::<Result<_, _>>()?;
        match groups.iter().any(|group| group.role == Role::Main) {
            true => Ok(groups),
            false => Err(self.wrong("every group is `bulk`: what is the run about?".into())),
        }
    }
}

impl GroupText {
    fn rates(&self) -> Result<Option<Vec<Stage>>, String> {
        match (&self.rate, &self.stages) {
            (Some(_), Some(_)) => Err("`rate` and `stages` exclude each other".into()),
            (Some(rate), None) => rate.read(parse_rates).map(Some),
            (None, Some(stages)) => parse_stages(stages).map(Some),
            (None, None) => Ok(None),
        }
    }

    fn resolve(&self, options: &Options, warmup: Duration, folder: &Path) -> Result<Group, String> {
        let per_connection = self.sessions_per_connection.unwrap_or(1);
        if self.sessions == 0 || per_connection == 0 {
            return Err(
                "`sessions` and `sessions_per_connection` must be more than nothing".into(),
            );
        }
        let shapes = self.shapes(options)?;
        if per_connection > 1 && shapes.iter().any(|shape| shape.receiver_listens()) {
            return Err("with `sessions_per_connection` receivers connect".into());
        }
        let (sender_transport, receiver_transport) = self.transports(options, &shapes)?;
        let octets = |text: &Option<Text>| {
            text.as_ref()
                .map(|text| text.read(parse_octets))
                .transpose()
        };
        Ok(Group {
            name: self.name.clone(),
            role: match self.bulk {
                true => Role::Film,
                false => Role::Main,
            },
            sessions: self.sessions,
            sessions_per_connection: per_connection,
            shares: None,
            sender_transport,
            receiver_transport,
            shapes,
            pace: self.pace(warmup)?,
            sizes: match &self.size {
                Some(size) => size.read(sizes::parse)?,
                None => options.size.clone(),
            },
            chunk_octets: octets(&self.chunk_size)?.unwrap_or(options.chunk_size),
            messages_max: self.messages,
            report: groups::report(named(&self.failure_report, FailureReport::Yes)?),
            success_report: self.success_report,
            content_type: match &self.content_type {
                Some(text) => content_type(text)?,
                None => options.content_type.clone(),
            },
            hold: self
                .hold
                .as_ref()
                .map(|text| text.read(parse_hold))
                .transpose()?,
            receiver_rate: octets(&self.receiver_rate)?,
            client_config: self.client_config(options, folder)?,
        })
    }

    fn shapes(&self, options: &Options) -> Result<Vec<Shape>, String> {
        let mut given = options.clone();
        given.sender = self
            .sender
            .as_ref()
            .map(|_| named(&self.sender, Sender::Foreign))
            .transpose()?;
        given.receiver = named(&self.receiver, Receiver::Connects)?;
        given.workload = crate::options::Workload::Chat;
        groups::shapes(&given)
    }

    fn transports(
        &self,
        options: &Options,
        shapes: &[Shape],
    ) -> Result<(Transport, Transport), String> {
        let one = |text: &Option<String>| {
            let given = text.as_ref();
            given.map(|_| named(text, Transport::Tls)).transpose()
        };
        let wishes = Wishes {
            both: one(&self.transport)?,
            sender: one(&self.sender_transport)?,
            receiver: one(&self.receiver_transport)?,
        };
        wishes.or(options).resolve(options, shapes)
    }

    fn pace(&self, warmup: Duration) -> Result<Pace, String> {
        let arrivals = named(&self.arrivals, Arrivals::Even)?;
        match (self.rates()?, self.window) {
            (Some(_), Some(_)) => Err("a `window` and a rate exclude each other".into()),
            (Some(stages), None)
                if stages
                    .iter()
                    .any(|stage| stage.from > 0.0 || stage.to > 0.0) =>
            {
                Ok(Pace::Open(arrivals, Profile::staged(warmup, &stages)))
            }
            (None, Some(window @ 1..)) => Ok(Pace::Window(window)),
            _ => Err("how fast? Give `rate`, `stages` or `window`, and more than nothing".into()),
        }
    }

    /// Where a group has TLS settings of its own.
    fn client_config(
        &self,
        options: &Options,
        folder: &Path,
    ) -> Result<Option<std::sync::Arc<rustls::ClientConfig>>, String> {
        let own = [&self.client_certificate, &self.client_key, &self.ca];
        if own.iter().all(|file| file.is_none()) && self.system_roots.is_none() {
            return Ok(None);
        }
        if wants_via(options) {
            return Err(
                "with a second relay all groups trust alike: leave certificates and roots out"
                    .into(),
            );
        }
        let [certificate, key, ca] = own.map(|file| file.as_ref().map(|file| folder.join(file)));
        if certificate.is_some() != key.is_some() {
            return Err("`client_certificate` and `client_key` belong together".into());
        }
        let dev = options.dev.as_deref().map(read_dev).transpose()?;
        let by_default = || options.ca.clone().or_else(|| Some(dev?.ca));
        let ca = ca.or_else(by_default);
        let tls = ClientTls {
            ca: ca.as_deref(),
            system_roots: self.system_roots.unwrap_or(options.system_roots),
            certificate: certificate
                .as_deref()
                .zip(key.as_deref())
                .or_else(|| client_certificate(options)),
        };
        client_config(&tls, "ca").map(Some)
    }
}

/// A word of a list, as the command line has it.
fn named<T: ValueEnum>(text: &Option<String>, by_default: T) -> Result<T, String> {
    match text {
        None => Ok(by_default),
        Some(text) => T::from_str(text, false).map_err(|_| {
            let names = T::value_variants()
                .iter()
                .filter_map(ValueEnum::to_possible_value);
            let names: Vec<String> = names.map(|value| value.get_name().to_owned()).collect();
            format!("`{text}` is none of {}", names.join(", "))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use crate::ledger::Report;
    use clap::Parser;

    const EVENING: &str = r#"
        duration = "20s"
        warmup = 2
        thresholds = ["p99<50ms", "talkers.p99<10ms abort"]

        [[group]]
        name = "talkers"
        sessions = 40
        sessions_per_connection = 4
        sender = "both"
        size = "lognormal:200:1.2"
        rate = "1k..2k/10s"
        arrivals = "poisson"
        success_report = true
        content_type = "text/plain"

        [[group]]
        name = "pictures"
        sessions = 3
        size = "2MiB"
        window = 1
        bulk = true
        failure_report = "partial"
    "#;

    fn groups_of(text: &str) -> Result<Vec<Group>, String> {
        let options = Cli::parse_from(["msrpload", "--scenario", "x.toml"]).options;
        Scenario::parse(text)?.groups(&options, Duration::from_secs(2))
    }

    #[test]
    fn groups_are_read_with_their_own_habits() {
        let scenario = Scenario::parse(EVENING).unwrap();
        let seconds = |s| Some(Duration::from_secs(s));
        assert_eq!(scenario.times().unwrap(), [seconds(2), seconds(20), None]);
        assert_eq!(scenario.stages_length().unwrap(), seconds(10));
        assert_eq!(
            scenario.thresholds().unwrap().to_string(),
            "p99<50ms,talkers.p99<10ms"
        );
        let groups = groups_of(EVENING).unwrap();
        let [talkers, pictures] = &groups[..] else {
            panic!("two groups");
        };
        assert_eq!(
            (talkers.carriers(), &talkers.shapes[..]),
            (10, &[Shape::Both][..])
        );
        assert!(matches!(talkers.pace, Pace::Open(Arrivals::Poisson, _)));
        assert!(talkers.success_report && talkers.content_type == "text/plain");
        assert_eq!(
            (pictures.role, pictures.report),
            (Role::Film, Report::Partial)
        );
        assert_eq!(pictures.sizes, sizes::Sizes::Fixed(2 << 20));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_group() {
        let with = |line: &str| format!("[[group]]\nname = \"a\"\nsessions = 1\n{line}");
        for (line, part) in [
            ("", "how fast"),
            ("window = 0", "how fast"),
            ("window = 2\nrate = 5", "exclude"),
            ("rate = \"x\"", "`x`"),
            ("window = 2\nsender = \"nobody\"", "foreign"),
            ("window = 2\nclient_key = \"k.pem\"", "belong together"),
            ("window = 2\nbulk = true", "bulk"),
        ] {
            let error = groups_of(&with(line)).err().unwrap_or_default();
            assert!(error.contains(part), "{line}: {error}");
        }
        let unknown = Scenario::parse(&with("wndow = 2")).unwrap_err();
        assert!(unknown.contains("wndow"), "{unknown}");
        let twice = with("window = 1") + "\n" + &with("window = 1");
        assert!(Scenario::parse(&twice).unwrap_err().contains("`a`"));
    }
}
