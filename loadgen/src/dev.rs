//! The folder that `msrpd dev` makes: where its relay listens and who may log in.
//!
//! `dev.toml` of one relay has the keys of [`Dev`]. With `msrpd dev --two` it describes relay A and has a table `[via]`
//! that describes relay B, where receivers log in with `--via`:
//!
//! ```toml
//! [via]
//! address = "127.0.0.1:2856"       # where B listens for TLS
//! host = "relay-b.localhost"       # B's name in URIs and in its certificate
//! realm = "relay-b.localhost"      # absent: any
//! ca = "ca.pem"                    # absent: A's
//! ws = "127.0.0.1:2881"            # where it listens for WebSocket without TLS, and so `wss`; absent: not
//! pid = "relay-b.pid"              # a file with B's process id; absent: not watched
//! admin = "127.0.0.1:9856"         # absent: not scraped
//!
//! [[via.users]]                    # absent: A's users
//! name = "bob"
//! password = "..."
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub struct Dev {
    pub address: String,
    pub host: String,
    pub realm: Option<String>,
    pub ca: PathBuf,
    pub pid: Option<PathBuf>,
    /// For receivers that listen: a certificate of the same authority.
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// Where it listens for WebSocket, over TLS and without.
    pub wss: Option<String>,
    pub ws: Option<String>,
    /// Where `/histograms` is.
    pub admin: Option<String>,
    #[serde(default)]
    pub users: Vec<DevUser>,
    /// The second relay.
    pub via: Option<DevVia>,
}

#[derive(Debug, Deserialize)]
pub struct DevVia {
    pub address: String,
    pub host: String,
    pub realm: Option<String>,
    pub ca: Option<PathBuf>,
    pub pid: Option<PathBuf>,
    pub wss: Option<String>,
    pub ws: Option<String>,
    pub admin: Option<String>,
    #[serde(default)]
    pub users: Vec<DevUser>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct DevUser {
    pub name: String,
    pub password: String,
}

impl Dev {
    /// Reads `dev.toml`; paths in it are relative to the folder.
    pub fn read(folder: &Path) -> Result<Self, String> {
        let file = folder.join("dev.toml");
        let text = fs::read_to_string(&file).map_err(|error| {
            format!(
                "cannot read {}: {error}\nStart a relay first, in another terminal: cargo run --release -- dev",
                file.display()
            )
        })?;
        let mut dev: Self =
            toml::from_str(&text).map_err(|e| format!("{}: {e}", file.display()))?;
        dev.ca = folder.join(&dev.ca);
        for path in [&mut dev.pid, &mut dev.certificate, &mut dev.key]
            .into_iter()
            .flatten()
        {
            *path = folder.join(&path);
        }
        if let Some(via) = &mut dev.via {
            for path in [&mut via.ca, &mut via.pid].into_iter().flatten() {
                *path = folder.join(&path);
            }
        }
        Ok(dev)
    }

    /// The processes of the relays that are running.
    pub fn relay_pids(&self, folder: &Path, via: bool) -> Vec<u32> {
        let first = self.pid.clone().unwrap_or_else(|| folder.join("relay.pid"));
        let second = self.via.as_ref().filter(|_| via);
        [Some(first), second.and_then(|via| via.pid.clone())]
            .into_iter()
            .flatten()
            .filter_map(|file| fs::read_to_string(file).ok()?.trim().parse::<u32>().ok())
            .filter(|pid| Path::new(&format!("/proc/{pid}")).exists())
            .collect()
    }
}
