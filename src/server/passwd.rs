//! `msrpd passwd FILE REALM USER`: adds or changes a user of an htdigest file.
//!
//! The password comes from the terminal, twice, or from stdin where that is no terminal; never from the command line, which
//! everybody on the machine can read. The file is replaced as a whole, so that a relay that reads it meanwhile sees the
//! old users or the new ones.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::auth::{Algorithm, Ha1, Users, check_name};

use super::{OK, WRONG};

/// Runs the command. Without `sha256` the hash is MD5, which every client knows.
pub fn passwd(file: &Path, realm: &str, user: &str, sha256: bool) -> ExitCode {
    match change(file, realm, user, sha256) {
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

fn change(file: &Path, realm: &str, user: &str, sha256: bool) -> Result<String, String> {
    check_name("realm", realm)?;
    check_name("user", user)?;
    // Before anybody types a password in vain.
    let old = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(format!("{}: cannot read it: {error}", file.display())),
    };
    if let Err(errors) = Users::parse(&old) {
        let lines: Vec<String> = errors
            .iter()
            .map(|error| format!("{}:{}: {}", file.display(), error.line, error.what))
            .collect();
        return Err(format!(
            "{}\n  help: mend or remove these lines first",
            lines.join("\n")
        ));
    }
    let password = password(user)?;
    let algorithm = if sha256 {
        Algorithm::Sha256
    } else {
        Algorithm::Md5
    };
    let mut new = Users::default();
    new.set(
        user,
        realm,
        algorithm,
        Ha1::of(algorithm, user, realm, &password),
    )?;
    let (text, known) = with_line(&old, &new.to_string());
    replace(file, &text)
        .map_err(|error| format!("{}: cannot write it: {error}", file.display()))?;
    let done = if known { "changed" } else { "added" };
    Ok(format!(
        "{done} {user} in realm {realm}; a running relay takes it up with SIGHUP"
    ))
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
    // A link stays a link: what it leads to is replaced.
    let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
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
        fs::rename(&beside, &file)
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
