//! SIGHUP: the file is read again as a whole, and either all of it takes effect or nothing.
//!
//! What only a restart can change keeps its old value, and that is said.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;

use crate::auth::NonceKeys;
use crate::config::{self, Config, Loaded};
use crate::shard::{Mesh, ShardMessage};

use super::check;
use super::{boot, drain, log};

/// The settings in force and where they came from.
pub struct Reloader {
    pub path: PathBuf,
    pub config: Config,
    pub bound: Vec<SocketAddr>,
    pub admin: Option<SocketAddr>,
    pub level: log::Level,
    pub nonce_keys: Arc<NonceKeys>,
    /// When the certificate expires, for the metrics.
    pub expiry: watch::Sender<Option<SystemTime>>,
}

impl Reloader {
    /// Reads the file again and gives every shard what is new.
    pub async fn reload(&mut self, mesh: &Mesh) {
        let mut loaded = config::load(&self.path);
        let prepared = check::prepare(&mut loaded);
        let Loaded {
            config: mut new,
            problems,
            ..
        } = loaded;
        for problem in problems.iter() {
            tracing::warn!("{problem}");
        }
        let Some(prepared) = prepared else {
            tracing::error!(file = %self.path.display(), "not reloaded: the file has errors, the old settings stay");
            return;
        };
        for key in self.keep_what_needs_a_restart(&mut new) {
            tracing::warn!(key, "changed in the file; takes effect with a restart only");
        }
        let workers = usize::from(mesh.shards());
        let settings = Arc::new(boot::shard_settings(
            &new,
            &prepared,
            &self.nonce_keys,
            &self.bound,
            self.admin,
            workers,
        ));
        self.nonce_keys = settings.nonce_keys.clone();
        drain::tell_all(mesh, || ShardMessage::Reload(settings.clone())).await;
        self.level.set(&new.log);
        let _ = self
            .expiry
            .send(settings.tls.as_ref().map(|tls| tls.not_after()));
        self.config = new;
        tracing::info!(file = %self.path.display(), "reloaded");
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
        keep!("dns.nameservers", dns.nameservers);
        keep!("auth.realm", auth.realm);
        keep!("auth.realms", auth.realms);
        keep!("auth.algorithms", auth.algorithms);
        keep!("auth.nonce_lifetime", auth.nonce_lifetime);
        keep!("auth.disabled", auth.disabled);
        keep!("log.format", log.format);
        kept
    }
}
