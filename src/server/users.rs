//! Users that stand in the operator's file itself, and the database for those who stand nowhere.

use std::path::Path;
use std::sync::Arc;

use crate::auth::{Algorithm, Ha1, Users};
use crate::config::{Config, Place, Places, Problems, Secret, TextSetting, User, Word};
use crate::net::postgres::{Access, AccessOptions};
use crate::net::tls::DatabaseTls;

use super::check::readable_by_others;

/// Puts the users of `[[auth.users]]` before those of the users' file. `None` if one is wrong.
pub fn inline(
    config: &Config,
    places: &Places,
    problems: &mut Problems,
    users: &mut Users,
) -> Option<()> {
    let mut good = true;
    for (index, user) in config.auth.users.iter().enumerate() {
        let at = format!("auth.users[{index}]");
        let place = places.of(&at);
        match hashes(config, user, &at, place, problems) {
            Ok(hashes) => {
                let name = user.name.as_ref().map_or("", Word::as_str);
                users.remove(name, realm(config, user));
                for (algorithm, ha1) in hashes {
                    if let Err(what) = users.set(name, realm(config, user), algorithm, ha1) {
                        problems.error(place, format!("{at}: {what}"), "choose another name");
                        good = false;
                    }
                }
            }
            Err((what, help)) => {
                problems.error(place, format!("{at}: {what}"), help);
                good = false;
            }
        }
    }
    good.then_some(())
}

fn realm<'a>(config: &'a Config, user: &'a User) -> &'a str {
    let realm = user.realm.as_ref().or(config.auth.realm.as_ref());
    let host = || {
        let first = config.relay.hosts.first()?;
        Some(first.name()?.as_str())
    };
    realm.map(Word::as_str).or_else(host).unwrap_or_default()
}

type Wrong = (String, &'static str);

fn hashes(
    config: &Config,
    user: &User,
    at: &str,
    place: Option<Place>,
    problems: &mut Problems,
) -> Result<Vec<(Algorithm, Ha1)>, Wrong> {
    let name = user.name.as_ref().map_or("", Word::as_str);
    let from_password = |password: &str| {
        [Algorithm::Md5, Algorithm::Sha256]
            .map(|algorithm| {
                let ha1 = Ha1::of(algorithm, name, realm(config, user), password);
                (algorithm, ha1)
            })
            .to_vec()
    };
    if let Some(file) = &user.password_file {
        return password(file).map(|password| from_password(&password));
    }
    let mut hidden = || {
        let what = format!("{at}: the password is hidden, so this user cannot AUTH");
        let help = "this comes from `msrpd config`: put the password, or its hash, in its place";
        problems.warning(place, what, help);
        Ok(Vec::new())
    };
    match &user.password {
        Some(Secret::Known(password)) => return Ok(from_password(password)),
        Some(Secret::Hidden) => return hidden(),
        None => {}
    }
    let mut hashes = Vec::new();
    for (algorithm, key, text) in [
        (Algorithm::Md5, "ha1", &user.ha1),
        (Algorithm::Sha256, "ha1_sha256", &user.ha1_sha256),
    ] {
        match text {
            None => {}
            Some(Secret::Hidden) => return hidden(),
            Some(Secret::Known(digits)) => match Ha1::from_hex(algorithm, digits) {
                Some(ha1) => hashes.push((algorithm, ha1)),
                None => {
                    let help =
                        "32 hex digits for ha1, 64 for ha1_sha256; `msrpd passwd` writes them";
                    return Err((format!("{key} is no such hash"), help));
                }
            },
        }
    }
    Ok(hashes)
}

/// The one line of a file that holds a secret.
pub fn password(file: &Path) -> Result<String, Wrong> {
    let help = "a file holds one password on one line";
    let text = std::fs::read_to_string(file)
        .map_err(|error| (format!("cannot read {}: {error}", file.display()), help))?;
    let line = text.trim_end_matches(['\r', '\n']);
    match Secret::parse(line) {
        Ok(Secret::Known(line)) => Ok(line),
        Ok(Secret::Hidden) => Err((format!("{} holds no password", file.display()), help)),
        Err(what) => Err((format!("{}: {what}", file.display()), help)),
    }
}

/// Where users are looked up whom nothing else knows; the server itself is not asked. None too if
/// something is wrong with it, which is noted.
pub fn database(config: &Config, places: &Places, problems: &mut Problems) -> Option<Arc<Access>> {
    let postgres = &config.auth.postgres;
    let mut wrong = |key: &str, what: String, help: &str| {
        let key = format!("auth.postgres.{key}");
        problems.error(places.of(&key), format!("{key}: {what}"), help);
    };
    let help = "write postgresql://USER:PASSWORD@HOST/DATABASE, or host=... user=... dbname=...";
    let (key, url) = match (&postgres.url_file, &postgres.url) {
        (Some(file), _) => match password(file) {
            Ok(url) => ("url_file", url),
            Err((what, _)) => {
                wrong("url_file", what, "a file holds the URL on one line");
                return None;
            }
        },
        (None, Some(Secret::Known(url))) => ("url", url.clone()),
        (None, Some(Secret::Hidden)) => {
            let what = "auth.postgres.url: the URL is hidden, so no user can be looked up";
            let help = "this comes from `msrpd config`: put the URL in its place";
            problems.warning(places.of("auth.postgres.url"), what, help);
            return None;
        }
        (None, None) => return None,
    };
    let tls = match DatabaseTls::load(postgres.ca.as_deref()) {
        Ok(tls) => tls,
        Err(problem) => {
            let help = "name a PEM file with the authorities of the server's certificate";
            wrong("ca", problem.to_string(), help);
            return None;
        }
    };
    let options = AccessOptions {
        tls,
        query: postgres.query.clone(),
        connections: usize::from(postgres.connections),
        timeout: postgres.timeout,
        cache: postgres.cache,
        negative_cache: postgres.negative_cache,
    };
    match Access::new(&url, options) {
        Ok(access) => {
            if let Some(file) = &postgres.url_file {
                let place = places.of("auth.postgres.url_file");
                let help = "who has it can read every user's hash: chmod o-r";
                readable_by_others("auth.postgres.url_file", file, place, help, problems);
            }
            Some(Arc::new(access))
        }
        Err(what) => {
            wrong(key, what, help);
            None
        }
    }
}
