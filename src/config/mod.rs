//! The operator's file: TOML in, typed settings out, and every mistake with its place (design: operator's contract).
//!
//! [`load`] reads a file, fills in defaults, checks each value and what contradicts what, and collects all problems instead
//! of stopping at the first. It opens no other file and no socket: `server::check` does that.

mod environment;
mod limits;
mod model;
mod printer;
mod problem;
mod quotas;
mod reader;
#[cfg(test)]
mod reference;
mod rooms;
mod rules;
mod setting;
mod units;
mod visit;

use std::path::Path;

use toml::de::DeTable;

pub use limits::Limits;
pub use model::{
    Admin, AdminAddress, Algorithm, Auth, Config, Dial, Dns, Listen, Log, LogFormat, LogLevel,
    Peers, Postgres, Relay, Tls, TlsExtra, Transport, User,
};
pub use problem::{Place, Problem, Problems, Severity};
pub use reader::Places;
pub use setting::{DnsName, Nameserver, Origin, RelayHost, Secret, Setting, TextSetting, Word};
pub use units::{format_duration, parse_duration};
pub use visit::Visitor;

/// A file that was read. It may be used only if `problems` has no error.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    pub places: Places,
    pub problems: Problems,
}

/// The largest file that is read; a longer one is no configuration.
const FILE_OCTETS_MAX: u64 = 4 * 1_048_576;

/// Reads the operator's file, and the variables of the environment that stand before its keys.
pub fn load(path: &Path) -> Loaded {
    let mut problems = Problems::new(path);
    let too_long =
        std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() > FILE_OCTETS_MAX);
    let text = match std::fs::read(path) {
        Ok(_) if too_long => {
            problems.error(
                None,
                "this is no configuration: it has more than 4 MiB",
                "name the right file with --config",
            );
            String::new()
        }
        Ok(octets) => match String::from_utf8(octets) {
            Ok(text) => return parse(path, &text, &environment::of_process()),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(error.as_bytes());
                problems.error(
                    Some(Place::of(&text, valid)),
                    "the file is not UTF-8",
                    "save it as UTF-8 text",
                );
                String::new()
            }
        },
        Err(error) => {
            let help = match error.kind() {
                std::io::ErrorKind::NotFound => {
                    "name the file with --config; msrpd.sample.toml is one to start from"
                }
                std::io::ErrorKind::PermissionDenied => "let the user that runs msrpd read it",
                _ => "name a readable file with --config",
            };
            problems.error(None, format!("cannot read it: {error}"), help);
            String::new()
        }
    };
    debug_assert!(text.is_empty());
    Loaded {
        config: Config::default(),
        places: Places::default(),
        problems,
    }
}

/// Reads `text` as if it stood in the file `path`. What `variables` (name, value) say stands before it.
pub fn parse(path: &Path, text: &str, variables: &[(String, String)]) -> Loaded {
    let names = variables.iter().map(|(name, _)| name.clone());
    let mut problems = Problems::new(path).with_variables(names);
    let variables: Vec<_> = variables.iter().map(environment::Variable::parse).collect();
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let place = error.span().map(|span| Place::of(text, span.start));
        let what = error.message().trim().replace('\n', "; ");
        problems.error(
            place,
            format!("syntax: {what}"),
            "the file is TOML 1.0: key = value below [section] lines",
        );
    }
    let syntax_is_sound = !problems.has_errors();
    let folder = std::path::absolute(path)
        .ok()
        .and_then(|path| path.parent().map(Path::to_owned))
        .unwrap_or_default();
    let mut names = printer::Names::default();
    Config::default().visit(&mut names);
    let mut config = Config::default();
    let mut reader = reader::Reader::new(
        text,
        &folder,
        root.get_ref(),
        &variables,
        &names.names,
        &mut problems,
    );
    config.visit(&mut reader);
    let places = reader.finish();
    // What a syntax error swallowed would come out as missing or contradictory.
    if syntax_is_sound {
        rules::judge(&config, &places, &mut problems);
    }
    problems.sort();
    Loaded {
        config,
        places,
        problems,
    }
}

/// The settings in force as a file that reads back to the same; it holds no secret.
pub fn print(config: &Config) -> String {
    let mut printer = printer::Printer::default();
    config.clone().visit(&mut printer);
    printer.out
}

/// Full names of all keys.
pub fn keys() -> Vec<String> {
    let mut names = printer::Names::default();
    Config::default().visit(&mut names);
    names.names
}

#[cfg(test)]
mod tests;
