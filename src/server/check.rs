//! What the operator's file names, looked at: certificates, users, descriptors, addresses.
//!
//! `msrpd check` and start-up go through the same door, so that what passes the one does not fail in the other. Every
//! problem is noted; the first does not hide the second.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::auth::{FarmKey, SharedSecret, Users, parse_farm_keys};
use crate::config::{self, AdminAddress, Config, Loaded, Place, Places, Problems, TextSetting};
use crate::net::listener::{self, Families};
use crate::net::postgres::Access;
use crate::net::tls::{CertificateFiles, TlsContext, TlsProblem};

use super::records::{self as sink, Target};
use super::{descriptors, users};

/// What the file names, read and found good.
pub struct Prepared {
    pub tls: Option<TlsContext>,
    pub users: Arc<Users>,
    /// Where users are looked up whom nothing else knows.
    pub database: Option<Arc<Access>>,
    /// Newest first; empty outside a farm.
    pub farm_keys: Vec<FarmKey>,
    /// Connections that fit.
    pub connections: usize,
}

/// A certificate that ends within this time deserves a word.
const EXPIRY_NOTICE: Duration = Duration::from_secs(14 * 86_400);

/// Reads the files that `loaded` names and notes what is wrong with them. `None` if anything is.
pub fn prepare(loaded: &mut Loaded) -> Option<Prepared> {
    let Loaded {
        config,
        places,
        problems,
    } = loaded;
    let tls = certificates(config, places, problems);
    let users = users(config, places, problems);
    let database = users::database(config, places, problems);
    let farm_keys = farm_keys(config, places, problems);
    records(config, places, problems);
    let connections = descriptors::connections(config, descriptors::hard_limit());
    if let Err((what, help)) = &connections {
        problems.error(places.of("limits.connections"), what, help);
    }
    problems.sort();
    if problems.has_errors() {
        return None;
    }
    Some(Prepared {
        tls,
        users: users?,
        database,
        farm_keys: farm_keys?,
        connections: connections.ok()?,
    })
}

/// Certificates and authorities, as far as they are configured.
pub fn certificates(
    config: &Config,
    places: &Places,
    problems: &mut Problems,
) -> Option<TlsContext> {
    let (Some(certificate), Some(key)) = (&config.tls.certificate, &config.tls.key) else {
        return None;
    };
    let default = CertificateFiles { certificate, key };
    let extra: Vec<CertificateFiles> = config
        .tls
        .extra
        .iter()
        .map(|extra| CertificateFiles {
            certificate: &extra.certificate,
            key: &extra.key,
        })
        .collect();
    let context = match TlsContext::load_several(
        default,
        &extra,
        config.tls.peer_ca.as_deref(),
        &config.certified_names(),
        config.chain_limits(),
    ) {
        Ok(context) => context,
        Err(found) => {
            for problem in found {
                let key = tls_key(&problem, config);
                let text = problem.what;
                let (what, help) = text.split_once("; ").unwrap_or((&text, ""));
                let file = problem.file.display();
                problems.error(places.of(&key), format!("{key}: {file}: {what}"), help);
            }
            return None;
        }
    };
    let keys = extra_keys(config, "certificate");
    let keys = std::iter::once("tls.certificate".to_owned()).chain(keys);
    for (key, certificate) in keys.zip(context.certificates()) {
        let left = certificate
            .not_after
            .duration_since(SystemTime::now())
            .unwrap_or_default();
        if left < EXPIRY_NOTICE {
            let days = left.as_secs() / 86_400;
            let what = format!("{key}: expires in {days} days");
            let help = "renew it; a running relay takes the new file by itself";
            problems.warning(places.of(&key), what, help);
        }
    }
    let keys = extra_keys(config, "key").zip(config.tls.extra.iter().map(|extra| &extra.key));
    for (key, file) in std::iter::once(("tls.key".to_owned(), key)).chain(keys) {
        let help = "who has it can pose as this relay: chmod o-r";
        readable_by_others(&key, file, places.of(&key), help, problems);
    }
    Some(context)
}

fn extra_keys(config: &Config, name: &'static str) -> impl Iterator<Item = String> {
    (0..config.tls.extra.len()).map(move |index| format!("tls.extra[{index}].{name}"))
}

/// The key that names the file in question.
fn tls_key(problem: &TlsProblem, config: &Config) -> String {
    let tls = &config.tls;
    let is = |path: &Option<PathBuf>| path.as_ref() == Some(&problem.file);
    if is(&tls.certificate) {
        return "tls.certificate".to_owned();
    }
    if is(&tls.key) {
        return "tls.key".to_owned();
    }
    if is(&tls.peer_ca) {
        return "tls.peer_ca".to_owned();
    }
    for (index, extra) in tls.extra.iter().enumerate() {
        if extra.certificate == problem.file {
            return format!("tls.extra[{index}].certificate");
        }
        if extra.key == problem.file {
            return format!("tls.extra[{index}].key");
        }
    }
    "tls".to_owned()
}

fn users(config: &Config, places: &Places, problems: &mut Problems) -> Option<Arc<Users>> {
    let listed = listed_users(config, places, problems);
    let secrets = shared_secrets(config, places, problems);
    let mut users = listed?;
    users::inline(config, places, problems, &mut users)?;
    users.set_secrets(secrets?);
    Some(Arc::new(users))
}

fn listed_users(config: &Config, places: &Places, problems: &mut Problems) -> Option<Users> {
    let Some(path) = &config.auth.htdigest else {
        return Some(Users::default());
    };
    let place = places.of("auth.htdigest");
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let what = format!("auth.htdigest: cannot read {}: {error}", path.display());
            problems.error(
                place,
                what,
                "`msrpd passwd FILE REALM USER` makes such a file",
            );
            return None;
        }
    };
    let help = "its hashes are as good as passwords: chmod o-r";
    readable_by_others("auth.htdigest", path, place, help, problems);
    match Users::parse(&text) {
        Ok(users) => {
            useless(config, places, &users, problems);
            Some(users)
        }
        Err(errors) => {
            for error in errors {
                let line = Place {
                    line: u32::try_from(error.line).unwrap_or(u32::MAX),
                    column: 1,
                };
                let help = "a line is user:realm:HEX, 32 hex digits for MD5 or 64 for SHA-256; `msrpd passwd` writes it";
                problems.error_in(path, Some(line), error.what, help);
            }
            None
        }
    }
}

/// What nobody in the users' file could answer.
fn useless(config: &Config, places: &Places, users: &Users, problems: &mut Problems) {
    let Some(realm) = config.auth.realm.as_ref().map(|realm| realm.as_str()) else {
        return;
    };
    if config.auth.postgres.is_used() {
        return;
    }
    let offered = &config.auth.algorithms;
    let can = |algorithm: &config::Algorithm| users.any_in(realm, (*algorithm).into());
    if !offered.iter().any(can) {
        let what = format!("auth.realm: no user in the users' file can AUTH in realm `{realm}`");
        let help =
            "the second field of its lines is the realm; `msrpd passwd FILE REALM USER` writes one";
        problems.warning(places.of("auth.realm"), what, help);
        return;
    }
    for algorithm in offered.iter().filter(|algorithm| !can(algorithm)) {
        let name = algorithm.text();
        let what = format!("auth.algorithms: no user in the users' file has a {name} hash");
        let help = "clients that choose it cannot AUTH; add lines for it, or do not offer it";
        problems.warning(places.of("auth.algorithms"), what, help);
    }
}

fn shared_secrets(
    config: &Config,
    places: &Places,
    problems: &mut Problems,
) -> Option<Vec<SharedSecret>> {
    const KEY: &str = "auth.shared_secret_files";
    let place = places.of(KEY);
    let mut secrets = Vec::new();
    for path in &config.auth.shared_secret_files {
        let file = path.display();
        match read_secret(path) {
            Ok(secret) => {
                let help = "who has it can make users: chmod o-r";
                readable_by_others(KEY, path, place, help, problems);
                secrets.push(secret);
            }
            Err(what) => {
                let help =
                    "a file holds one secret on one line, such as `openssl rand -hex 32` writes";
                problems.error(place, format!("{KEY}: {file}: {what}"), help);
            }
        }
    }
    (secrets.len() == config.auth.shared_secret_files.len()).then_some(secrets)
}

/// The secret in a file; the error tells no octet of it.
pub fn read_secret(path: &Path) -> Result<SharedSecret, String> {
    let text = std::fs::read(path).map_err(|error| format!("cannot read it: {error}"))?;
    SharedSecret::parse(&text)
}

/// The keys of the farm that this relay belongs to.
fn farm_keys(config: &Config, places: &Places, problems: &mut Problems) -> Option<Vec<FarmKey>> {
    const FORMAT: &str = "the file holds one or two lines of 64 hex digits, the newest key first; `openssl rand -hex 32` makes one";
    let Some(path) = &config.auth.farm_key_file else {
        return Some(Vec::new());
    };
    let place = places.of("auth.farm_key_file");
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let what = format!(
                "auth.farm_key_file: cannot read {}: {error}",
                path.display()
            );
            problems.error(place, what, FORMAT);
            return None;
        }
    };
    let help = "who has them makes challenges that this relay believes: chmod o-r";
    readable_by_others("auth.farm_key_file", path, place, help, problems);
    match parse_farm_keys(&text) {
        Ok(keys) => Some(keys),
        Err(errors) => {
            for error in errors {
                let line = Place {
                    line: u32::try_from(error.line).unwrap_or(u32::MAX),
                    column: 1,
                };
                problems.error_in(path, Some(line), error.what, FORMAT);
            }
            None
        }
    }
}

/// Whether records can be written.
fn records(config: &Config, places: &Places, problems: &mut Problems) {
    let Some(target) = Target::of(config) else {
        return;
    };
    let (key, path) = (target.key(), target.path().display());
    match sink::probe(&target) {
        Ok(sink::Probed::Good) => {}
        Ok(sink::Probed::NobodyThere(why)) => {
            let what = format!("{key}: nobody takes records at {path} now: {why}");
            let help = "start whoever collects them; until then they wait, as many as limits.records_waiting";
            problems.warning(places.of(key), what, help);
        }
        Err(why) => {
            let what = format!("{key}: {path}: {why}");
            let help = match target {
                Target::File(_) => {
                    "name a file that the relay's user may write, in a folder that exists"
                }
                Target::Socket(_) => "name the unix stream socket that a collector listens on",
            };
            problems.error(places.of(key), what, help);
        }
    }
}

/// H(A1) is as good as the password for this relay, and a secret as all passwords (SEC-05).
pub fn readable_by_others(
    key: &str,
    path: &Path,
    place: Option<Place>,
    help: &str,
    problems: &mut Problems,
) {
    use std::os::unix::fs::PermissionsExt;
    if std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o004 != 0) {
        let what = format!(
            "{key}: everybody on this machine can read {}",
            path.display()
        );
        problems.warning(place, what, help);
    }
}

/// Notes the addresses that cannot be listened on now.
pub fn addresses(loaded: &mut Loaded) {
    let Loaded {
        config,
        places,
        problems,
    } = loaded;
    let listen = config.listen.iter().enumerate().map(|(index, listen)| {
        let key = format!("listen[{index}].address");
        (key, listen.address, config.families(index))
    });
    let admin = match config.admin.address {
        AdminAddress::At(address) => Some(("admin.address".to_owned(), address, Families::Both)),
        AdminAddress::Off => None,
    };
    let all: Vec<(String, SocketAddr, Families)> = listen.chain(admin).collect();
    for (key, address, families) in all {
        if let Err(error) = listener::probe(address, families) {
            let problem = listener::BindProblem { address, error }.to_string();
            let (what, help) = problem.split_once("; ").unwrap_or((&problem, ""));
            problems.error(places.of(&key), format!("{key}: {what}"), help);
        }
    }
    problems.sort();
}

/// Time since 1970.
pub fn unix_now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
