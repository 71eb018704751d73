//! The folder that `msrpd dev` makes: where its relay listens and who may log in.

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
    #[serde(default)]
    pub users: Vec<DevUser>,
}

#[derive(Debug, Deserialize)]
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
        Ok(dev)
    }

    /// The relay's process, if it is running.
    pub fn relay_pid(&self, folder: &Path) -> Option<u32> {
        let file = self.pid.clone().unwrap_or_else(|| folder.join("relay.pid"));
        let pid = fs::read_to_string(file).ok()?.trim().parse().ok()?;
        Path::new(&format!("/proc/{pid}")).exists().then_some(pid)
    }
}
