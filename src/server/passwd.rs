//! `msrpd passwd FILE REALM USER`: adds or changes a user of an htdigest file.
//!
//! The password comes from the terminal, twice, or from stdin where that is no terminal; never from the command line, which
//! everybody on the machine can read. All lines of the user change: a hash of the old password must not stay valid because it
//! is of another algorithm. The file is replaced as a whole, so that a relay that reads it meanwhile sees the old users or the
//! new ones, and its folder is locked from reading to renaming, so that two who change it at once both do.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::auth::{Algorithm, Ha1, Users, check_name};

use crate::config;

use super::{OK, WRONG};

/// Runs the command: a hash of MD5, which every client knows, of SHA-256, or of all that the
/// configuration offers; and of each algorithm that the user has a hash of.
pub fn passwd(
    file: &Path,
    realm: &str,
    user: &str,
    sha256: bool,
    config: Option<&Path>,
) -> ExitCode {
    let algorithms = match (config, sha256) {
        (Some(config), _) => {
            let loaded = config::load(config);
            if loaded.problems.has_errors() {
                eprint!("{}", loaded.problems);
                return ExitCode::from(WRONG);
            }
            let offered = loaded.config.auth.algorithms.into_iter();
            offered.map(Algorithm::from).collect()
        }
        (None, true) => vec![Algorithm::Sha256],
        (None, false) => vec![Algorithm::Md5],
    };
    match change(file, realm, user, &algorithms) {
        Ok(said) => {
            println!("{said}");
            ExitCode::from(OK)
        }
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::from(WRONG)
        }
    }
}

fn change(
    file: &Path,
    realm: &str,
    user: &str,
    algorithms: &[Algorithm],
) -> Result<String, String> {
    check_name("realm", realm)?;
    check_name("user", user)?;
    // Before anybody types a password in vain.
    read(file)?;
    let password = password(user)?;
    let cannot_write = |error| format!("{}: cannot write it: {error}", file.display());
    let _lock = lock_folder(file).map_err(cannot_write)?;
    let mut text = read(file)?;
    let mut known = false;
    let mut written = Vec::new();
    for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
        let mut new = Users::default();
        let hash = Ha1::of(algorithm, user, realm, &password);
        new.set(user, realm, algorithm, hash)?;
        let (with, had) = with_line(&text, &new.to_string());
        known |= had;
        if had || algorithms.contains(&algorithm) {
            text = with;
            written.push(algorithm.name());
        }
    }
    replace(file, &text).map_err(cannot_write)?;
    let done = if known { "changed" } else { "added" };
    Ok(format!(
        "{done} {user} in realm {realm} ({}); a running relay takes it up with SIGHUP",
        written.join(", ")
    ))
}

/// What is in it, if it is good. A file that is not there is empty.
fn read(file: &Path) -> Result<String, String> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(format!("{}: cannot read it: {error}", file.display())),
    };
    let Err(errors) = Users::parse(&text) else {
        return Ok(text);
    };
    let lines: Vec<String> = errors
        .iter()
        .map(|error| format!("{}:{}: {}", file.display(), error.line, error.what))
        .collect();
    Err(format!(
        "{}\n  help: mend or remove these lines first",
        lines.join("\n")
    ))
}

/// Held until it is dropped. The file itself cannot be locked: it is replaced.
fn lock_folder(file: &Path) -> io::Result<File> {
    let folder = File::open(folder_of(&followed(file)))?;
    rustix::fs::flock(&folder, rustix::fs::FlockOperation::LockExclusive)?;
    Ok(folder)
}

/// A link stays a link: what it leads to is replaced.
fn followed(file: &Path) -> PathBuf {
    fs::canonicalize(file).unwrap_or_else(|_| file.to_owned())
}

fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// `text` with `line` in the place of the one for the same user, realm and algorithm, else at the end. Comments and order
/// stay.
fn with_line(text: &str, line: &str) -> (String, bool) {
    let line = line.trim_end();
    let key = |line: &str| {
        line.trim_end()
            .rsplit_once(':')
            .map(|(names, hash)| (names.to_owned(), hash.len()))
    };
    let mut out = String::with_capacity(text.len() + line.len() + 1);
    let mut known = false;
    for old in text.lines() {
        let same = !old.starts_with('#') && key(old) == key(line);
        known |= same;
        out.push_str(if same { line } else { old });
        out.push('\n');
    }
    if !known {
        out.push_str(line);
        out.push('\n');
    }
    (out, known)
}

fn password(user: &str) -> Result<String, String> {
    let stdin = io::stdin();
    let password = if stdin.is_terminal() {
        let ask = |prompt: String| {
            rpassword::prompt_password(prompt)
                .map_err(|error| format!("cannot read the password: {error}"))
        };
        let first = ask(format!("Password for {user}: "))?;
        if ask("Once more: ".to_owned())? != first {
            return Err("the two passwords differ; nothing was changed".to_owned());
        }
        first
    } else {
        let mut line = String::new();
        stdin
            .lock()
            .read_line(&mut line)
            .map_err(|error| format!("cannot read the password from stdin: {error}"))?;
        line.trim_end_matches(['\r', '\n']).to_owned()
    };
    match password.is_empty() {
        true => Err("the password is empty; nothing was changed".to_owned()),
        false => Ok(password),
    }
}

/// Writes a new file beside the old one and renames it: mode and owner as before, 0600 for a new one.
pub(super) fn replace(file: &Path, text: &str) -> io::Result<()> {
    let file = followed(file);
    let old = fs::metadata(&file).ok();
    let mut beside = file.clone().into_os_string();
    beside.push(format!(".new-{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let written = (|| {
        let mut new = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside)?;
        new.write_all(text.as_bytes())?;
        if let Some(old) = &old {
            new.set_permissions(fs::Permissions::from_mode(old.mode() & 0o777))?;
            // Only root may give a file away; for others it is theirs already, or stays theirs.
            let _ = std::os::unix::fs::fchown(&new, Some(old.uid()), Some(old.gid()));
        }
        new.sync_all()?;
        fs::rename(&beside, &file)?;
        File::open(folder_of(&file))?.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_line_is_replaced_in_its_place() {
        let text = "# staff\nalice:r:0123456789abcdef0123456789abcdef\nbob:r:0123456789abcdef0123456789abcdef";
        let new = "alice:r:ffffffffffffffffffffffffffffffff\n";
        let (out, known) = with_line(text, new);
        assert!(known);
        assert_eq!(
            out,
            "# staff\nalice:r:ffffffffffffffffffffffffffffffff\nbob:r:0123456789abcdef0123456789abcdef\n"
        );
        let sha = format!("alice:r:{}\n", "0".repeat(64));
        let (out, known) = with_line(&out, &sha);
        assert!(!known, "the MD5 line stays beside it");
        assert!(out.ends_with(&sha));
        assert_eq!(with_line("", new).0, new);
    }
}
