//! Files that a run writes: opened before it begins, so that a wrong path costs no run.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Files that were made and not written yet.
static UNWRITTEN: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Takes such files away, where the program ends at once.
pub fn remove_unwritten() {
    if let Ok(mut unwritten) = UNWRITTEN.lock() {
        for path in unwritten.drain(..) {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A file that can be written. What was in it stays until something new is.
#[derive(Debug)]
pub struct Output {
    option: &'static str,
    path: PathBuf,
    file: File,
    /// It was not there before, and is to go if nothing gets written.
    is_new: bool,
    is_written: bool,
}

impl Output {
    pub fn open(option: &'static str, path: &Path) -> Result<Self, String> {
        let is_new = !path.exists();
        if is_new && let Ok(mut unwritten) = UNWRITTEN.lock() {
            unwritten.push(path.to_owned());
        }
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path);
        Ok(Self {
            option,
            path: path.to_owned(),
            file: file.map_err(|e| format!("{option} {}: {e}", path.display()))?,
            is_new,
            is_written: false,
        })
    }

    /// Where there is such an option.
    pub fn maybe(option: &'static str, path: Option<&PathBuf>) -> Result<Option<Self>, String> {
        path.map(|path| Self::open(option, path)).transpose()
    }

    fn will_be_written(&mut self) {
        self.is_written = true;
        if let Ok(mut unwritten) = UNWRITTEN.lock() {
            unwritten.retain(|path| *path != self.path);
        }
    }

    /// Puts this in place of what was there.
    pub fn write(&mut self, octets: &[u8]) -> Result<(), String> {
        self.will_be_written();
        let written = self
            .file
            .set_len(0)
            .and_then(|()| self.file.rewind())
            .and_then(|()| self.file.write_all(octets))
            .and_then(|()| self.file.flush());
        // /dev/stdout and pipes have no length.
        let written = match written {
            Err(error) if error.kind() == ErrorKind::InvalidInput => self.file.write_all(octets),
            other => other,
        };
        written.map_err(|e| format!("{} {}: {e}", self.option, self.path.display()))
    }

    /// For what writes while the run goes on.
    pub fn into_file(mut self) -> Result<File, String> {
        self.will_be_written();
        let _ = self.file.set_len(0);
        self.file
            .try_clone()
            .map_err(|e| format!("{} {}: {e}", self.option, self.path.display()))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if self.is_new && !self.is_written {
            // An empty file would be taken for a result.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Prints to stdout. Whoever reads may stop whenever he likes.
pub fn print(text: &str) -> Result<(), String> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(format!("stdout: {error}")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_what_it_has_until_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result.json");
        std::fs::write(&path, "the result of last week").unwrap();
        drop(Output::open("--json", &path).unwrap());
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "the result of last week"
        );
        Output::open("--json", &path)
            .unwrap()
            .write(b"new")
            .unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        let other = folder.path().join("other.json");
        drop(Output::open("--json", &other).unwrap());
        assert!(!other.exists());
        let error = Output::open("--json", &folder.path().join("no/such/folder")).unwrap_err();
        assert!(error.starts_with("--json "), "{error}");
    }
}
