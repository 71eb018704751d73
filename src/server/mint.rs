//! `msrpd mint`: a user name and a password that are good for a time, for whoever gives them to clients (a web service,
//! usually). The relay knows them by the secret alone; no list is touched.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::auth::{check_name, timed_username};

use super::check::{read_secret, unix_now};
use super::{OK, WRONG};

/// Prints the credential of `user` for `lifetime` from now: `username` and `password`, a line each.
pub fn mint(secret_file: &Path, lifetime: Duration, user: &str) -> ExitCode {
    match credential(secret_file, lifetime, user) {
        Ok(text) => {
            print!("{text}");
            ExitCode::from(OK)
        }
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::from(WRONG)
        }
    }
}

fn credential(secret_file: &Path, lifetime: Duration, user: &str) -> Result<String, String> {
    check_name("user", user)?;
    let secret = read_secret(secret_file).map_err(|what| {
        let file = secret_file.display();
        format!("{file}: {what}\n  help: name the file that [auth] shared_secret_files names; `openssl rand -hex 32` makes a secret")
    })?;
    let username = timed_username(unix_now().saturating_add(lifetime).as_secs(), user);
    let password = secret.password(&username);
    Ok(format!("username {username}\npassword {password}\n"))
}
