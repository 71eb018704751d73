//! Boot, signals, drain, reload: the only room that knows all others.
//!
//! Start-up goes file, files it names, descriptors, addresses, threads; each step reports all that is wrong with it and
//! ends the process with 1 before anything is served. The thread that started it becomes the control thread: signals,
//! metrics, names. It never touches a connection.

mod boot;
mod check;
mod control;
mod descriptors;
mod dev;
mod drain;
mod explain;
mod log;
mod mint;
mod passwd;
mod records;
mod reload;
mod scrape;
mod sockets;
mod systemd;
mod users;
mod watched;

use std::path::Path;
use std::process::ExitCode;

use crate::config::{self, Problems};

pub use dev::{dev, dev_one_of_two};
pub use explain::explain;
pub use mint::mint;
pub use passwd::passwd;

/// All is well.
const OK: u8 = 0;
/// The operator has to mend something.
const WRONG: u8 = 1;
/// A second signal came before the drain was over: what was held is gone.
const CUT_SHORT: u8 = 3;

/// `msrpd run`: serves until a signal ends it.
pub fn run(path: &Path) -> ExitCode {
    serve(path, None)
}

fn serve(path: &Path, page: Option<dev::PageUsers>) -> ExitCode {
    match boot::boot(path) {
        Ok(booted) => ExitCode::from(control::serve(booted, page)),
        Err(problems) => {
            eprintln!("{problems}");
            eprintln!("{}", verdict(&problems));
            let first = problems.iter().find(|problem| problem.is_error());
            let first = first.map_or(String::new(), |problem| problem.what.clone());
            systemd::Systemd::of_environment().status(&format!("Not started: {first}"));
            ExitCode::from(WRONG)
        }
    }
}

/// `msrpd check`: everything that start-up would find, without starting. Addresses are left alone if the relay is
/// `running`, for it holds them.
pub fn check(path: &Path, running: bool) -> ExitCode {
    let mut loaded = config::load(path);
    let prepared = check::prepare(&mut loaded);
    if !running {
        check::addresses(&mut loaded);
    }
    let problems = loaded.problems;
    if problems.iter().next().is_some() {
        eprintln!("{problems}");
    }
    if prepared.is_none() || problems.has_errors() {
        eprintln!("{}", verdict(&problems));
        return ExitCode::from(WRONG);
    }
    println!("{}: good{}", path.display(), warnings(&problems));
    ExitCode::from(OK)
}

/// `msrpd config`: the settings in force, defaults included, as a file that passes `check` again.
pub fn show(path: &Path) -> ExitCode {
    let loaded = config::load(path);
    if loaded.problems.iter().next().is_some() {
        eprintln!("{}", loaded.problems);
    }
    if loaded.problems.has_errors() {
        eprintln!("{}", verdict(&loaded.problems));
        return ExitCode::from(WRONG);
    }
    print!("{}", config::print(&loaded.config));
    ExitCode::from(OK)
}

fn verdict(problems: &Problems) -> String {
    let errors = match problems.errors() {
        1 => "1 error".to_owned(),
        errors => format!("{errors} errors"),
    };
    format!(
        "{}: {errors}{}",
        problems.file().display(),
        warnings(problems)
    )
}

fn warnings(problems: &Problems) -> String {
    match problems.warnings() {
        0 => String::new(),
        1 => ", 1 warning".to_owned(),
        warnings => format!(", {warnings} warnings"),
    }
}
