//! SIGHUP: the file is read again as a whole, and either all of it takes effect or nothing.
//!
//! What only a restart can change keeps its old value, and that is said. Certificates are taken without a signal too, as
//! soon as their files change: who renews them need not know about us.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use crate::config::{self, Config, Places, Problems};
use crate::metrics::Facts;
use crate::net::postgres::AccessSender;
use crate::shard::{self, Mesh, RecordCounts, ShardMessage};

use super::check::{self, Prepared};
use super::records::{Sink, Target};
use super::watched::Watched;
use super::{boot, drain, log};

/// The settings in force and where they came from.
pub struct Reloader {
    pub path: PathBuf,
    pub config: Config,
    pub settings: Arc<shard::Settings>,
    pub bound: Vec<SocketAddr>,
    pub admin: Option<SocketAddr>,
    pub level: log::Level,
    /// Where users are looked up.
    pub database: AccessSender,
    pub watched: Watched,
    pub records: Option<Sink>,
    pub record_counts: Arc<RecordCounts>,
    /// For the metrics.
    pub facts: watch::Sender<Facts>,
}

/// What the metrics say after `settings` were taken.
pub fn facts(settings: &shard::Settings) -> Facts {
    Facts {
        certificates: expiries(settings),
        reload_successful: true,
        reloaded: SystemTime::now(),
    }
}

fn expiries(settings: &shard::Settings) -> Vec<(String, SystemTime)> {
    let certificates = settings.tls.iter().flat_map(|tls| tls.certificates());
    certificates
        .map(|own| (own.file.display().to_string(), own.not_after))
        .collect()
}

/// A shard that says nothing for so long takes its settings later than the log says.
const PATIENCE: Duration = Duration::from_secs(1);

/// Gives every shard its settings and waits until each has taken them, so that what the log then says is true: an inbox is
/// emptied in order, and the answer to a question behind the settings comes after them.
async fn hand_out(mesh: &Mesh, settings: &Arc<shard::Settings>) {
    drain::tell_all(mesh, || ShardMessage::Reload(settings.clone())).await;
    drain::status(mesh, PATIENCE).await;
}

impl Reloader {
    /// Reads the file again and gives every shard what is new. False: it has errors, and nothing has changed.
    pub async fn reload(&mut self, mesh: &Mesh) -> bool {
        // Who has renamed the file of records waits for this, whatever else there is to be read.
        if let Some(records) = &self.records {
            records.reopen();
        }
        let Some((new, prepared, watched)) = self.read() else {
            return self.not_reloaded("the file has errors");
        };
        let Ok(records) = self.other_records(&new) else {
            return self.not_reloaded("records cannot be written");
        };
        let settings = Arc::new(boot::shard_settings(
            &new,
            &prepared,
            &self.settings.nonce_keys,
            &self.bound,
            self.admin,
            records.as_ref().unwrap_or(&self.records).as_ref(),
        ));
        // What was remembered of users is forgotten before anybody asks again.
        self.database.send_replace(prepared.database.clone());
        hand_out(mesh, &settings).await;
        if let Some(records) = records
            && let Some(old) = std::mem::replace(&mut self.records, records)
        {
            old.retire();
        }
        self.level.set(&new.log);
        self.facts.send_replace(facts(&settings));
        self.settings = settings;
        self.watched = watched;
        self.config = new;
        tracing::info!(file = %self.path.display(), "reloaded");
        true
    }

    fn not_reloaded(&self, why: &str) -> bool {
        tracing::error!(file = %self.path.display(), "not reloaded: {why}, the old settings stay");
        self.facts
            .send_modify(|facts| facts.reload_successful = false);
        false
    }

    /// Where records are to go from now on, if that has changed.
    fn other_records(&self, new: &Config) -> Result<Option<Option<Sink>>, ()> {
        let same = match &self.records {
            Some(records) => records.is_as(new),
            None => Target::of(new).is_none(),
        };
        if same {
            return Ok(None);
        }
        match Sink::configured(new, &self.record_counts) {
            Ok(records) => Ok(Some(records)),
            Err(problem) => {
                tracing::error!("records: {problem}");
                Err(())
            }
        }
    }

    /// The file as a whole, with the old values where a restart is needed. `None` if anything is wrong; it is logged.
    fn read(&self) -> Option<(Config, Prepared, Watched)> {
        let mut loaded = config::load(&self.path);
        let watched = Watched::new(&loaded.config);
        let mut prepared = check::prepare(&mut loaded);
        let kept = self.keep_what_needs_a_restart(&mut loaded.config);
        if prepared.is_some() && !kept.is_empty() {
            // The values kept have to fit to the rest: the certificate to the old hosts.
            loaded.problems = Problems::new(&self.path);
            prepared = check::prepare(&mut loaded);
        }
        say(&loaded.problems);
        let prepared = prepared?;
        for key in kept {
            tracing::warn!(key, "changed in the file; takes effect with a restart only");
        }
        Some((loaded.config, prepared, watched))
    }

    /// Takes certificates whose files have changed. To be called from time to time.
    pub async fn look(&mut self, mesh: &Mesh) {
        self.level.tell_left_out(false);
        if !self.watched.changed() {
            return;
        }
        let mut problems = Problems::new(&self.path);
        let tls = check::certificates(&self.config, &Places::default(), &mut problems);
        say(&problems);
        if tls.is_none() {
            tracing::error!("certificates have changed and are not taken; the old ones stay");
            return;
        }
        let settings = Arc::new(shard::Settings {
            tls,
            ..(*self.settings).clone()
        });
        hand_out(mesh, &settings).await;
        self.facts
            .send_modify(|facts| facts.certificates = expiries(&settings));
        self.settings = settings;
        tracing::info!("certificates have changed and are taken");
    }

    fn keep_what_needs_a_restart(&self, new: &mut Config) -> Vec<&'static str> {
        let old = &self.config;
        let mut kept = Vec::new();
        macro_rules! keep {
            ($key:literal, $($field:ident).+) => {
                if format!("{:?}", new.$($field).+) != format!("{:?}", old.$($field).+) {
                    new.$($field).+ = old.$($field).+.clone();
                    kept.push($key);
                }
            };
        }
        keep!("relay.workers", relay.workers);
        keep!("relay.hosts", relay.hosts);
        keep!("listen", listen);
        keep!("admin.address", admin.address);
        keep!("admin.hosts", admin.hosts);
        keep!("dns.nameservers", dns.nameservers);
        keep!("log.format", log.format);
        kept
    }
}

fn say(problems: &Problems) {
    for problem in problems.iter() {
        match problem.severity {
            config::Severity::Error => tracing::error!("{}", problem.without_severity()),
            config::Severity::Warning => tracing::warn!("{}", problem.without_severity()),
        }
    }
}
