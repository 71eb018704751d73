//! Files of certificates, looked at from time to time: have they changed, and are they complete?

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::Config;

/// Between two looks. A certificate is renewed days before it expires.
pub const LOOK: Duration = Duration::from_secs(2);

/// What tells one state of a file from another; `None` if it cannot be seen.
type Stamp = Option<(u64, u64, i64, i64, u64)>;

/// The files that `[tls]` names.
pub struct Watched {
    files: Vec<PathBuf>,
    /// As they were when they were read.
    read: Vec<Stamp>,
    /// As they were at the last look.
    seen: Vec<Stamp>,
}

impl Watched {
    pub fn new(config: &Config) -> Self {
        let tls = &config.tls;
        let own = [&tls.certificate, &tls.key, &tls.peer_ca];
        let extra = tls
            .extra
            .iter()
            .flat_map(|extra| [&extra.certificate, &extra.key]);
        Self::of(own.into_iter().flatten().chain(extra).cloned().collect())
    }

    fn of(files: Vec<PathBuf>) -> Self {
        let stamps: Vec<Stamp> = files.iter().map(|file| stamp(file)).collect();
        Watched {
            files,
            read: stamps.clone(),
            seen: stamps,
        }
    }

    /// Whether they have changed since they were read, and not since the last look: certificate and key are seldom
    /// written together. Says so once for each change.
    pub fn changed(&mut self) -> bool {
        let now: Vec<Stamp> = self.files.iter().map(|file| stamp(file)).collect();
        let settled = now == self.seen;
        self.seen = now;
        if !settled || self.seen == self.read {
            return false;
        }
        self.read.clone_from(&self.seen);
        true
    }
}

/// Of what a link leads to: renewing often means to change the link.
fn stamp(file: &Path) -> Stamp {
    let file = fs::metadata(file).ok()?;
    Some((
        file.dev(),
        file.ino(),
        file.mtime(),
        file.mtime_nsec(),
        file.size(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_once_it_has_settled_and_only_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let [first, second] = ["a", "b"].map(|name| folder.path().join(name));
        fs::write(&first, "1").expect("written");
        fs::write(&second, "1").expect("written");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&first, &link).expect("a link");
        let mut watched = Watched::of(vec![link.clone()]);
        assert!(!watched.changed() && !watched.changed());
        fs::remove_file(&link).expect("removed");
        assert!(!watched.changed(), "it may be on its way");
        std::os::unix::fs::symlink(&second, &link).expect("a link");
        assert!(!watched.changed(), "it has just changed");
        assert!(watched.changed());
        assert!(!watched.changed());
    }
}
