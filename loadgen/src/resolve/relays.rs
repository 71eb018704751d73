//! The relays: where they listen, by which name, and who logs in to them.

use std::fs;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::ServerName;

use crate::dev::{Dev, DevUser};
use crate::options::{Options, Workload};
use crate::plan::{Relay, Transport, User};

use super::tls::{ClientTls, client_config};
use super::transports::{addresses, one_address, via_addresses};

/// For a user who is given by name alone.
const PASSWORD_VARIABLE: &str = "MSRPLOAD_PASSWORD";
/// NAME:PASSWORD, where no option names a user.
const USER_VARIABLE: &str = "MSRPLOAD_USER";

/// `used`: by what clients come to it.
pub fn first_relay(
    options: &Options,
    dev: Option<&Dev>,
    used: &[Transport],
) -> Result<Relay, String> {
    let addresses = addresses(options, dev, used)?;
    let host = options.host.clone().or_else(|| Some(dev?.host.clone()));
    let host = host.unwrap_or_else(|| host_of(&addresses.first));
    let users = users_of(options, &options.users, dev.map(|dev| &dev.users[..]))?;
    if users.is_empty() && options.workload != Workload::Pipe {
        return Err("no user: somebody must log in; give --user NAME:PASSWORD".into());
    }
    let tls = ClientTls {
        ca: options.ca.as_deref().or(dev.map(|d| d.ca.as_path())),
        system_roots: options.system_roots,
        certificate: client_certificate(options),
    };
    Ok(Relay {
        addresses: addresses.all,
        server_name: server_name(&host, "--host")?,
        host: in_uris(&host),
        realm: options.realm.clone().or_else(|| dev?.realm.clone()),
        users,
        client_config: client_config(&tls, "--ca")?,
    })
}

/// `used`: by what receivers come to it.
pub fn second_relay(
    options: &Options,
    dev: Option<&Dev>,
    first: &Relay,
    used: &[Transport],
) -> Result<Relay, String> {
    let via = dev.and_then(|dev| dev.via.as_ref());
    let address_text = match (&options.via_address, via, &options.dev) {
        (Some(address), ..) => one_address(address, used)?,
        (None, Some(via), _) => via.address.clone(),
        (None, None, Some(folder)) => {
            return Err(format!(
                "{} knows of one relay only: start two with `cargo run --release -- dev --two`, or give --via-address",
                folder.join("dev.toml").display()
            ));
        }
        (None, None, None) => {
            return Err("which second relay? Give --via-address and --via-host, or --dev for the two of `cargo run --release -- dev --two`".into());
        }
    };
    let host = options.via_host.clone().or_else(|| Some(via?.host.clone()));
    let host = host.unwrap_or_else(|| host_of(&address_text));
    let mut users = with_passwords(options, &options.via_users)?;
    if users.is_empty() {
        users.extend(via.into_iter().flat_map(|via| known_users(&via.users)));
    }
    if users.is_empty() {
        users.clone_from(&first.users);
    }
    let ca = options.via_ca.as_ref().or_else(|| via?.ca.as_ref());
    let tls = ca.map(|file| ClientTls {
        ca: Some(file),
        system_roots: options.system_roots,
        certificate: client_certificate(options),
    });
    Ok(Relay {
        addresses: match (&options.via_address, via) {
            (None, Some(via)) => via_addresses(via, used)?,
            _ => [look_up(&address_text)?; 4],
        },
        server_name: server_name(&host, "--via-host")?,
        host: in_uris(&host),
        realm: options.via_realm.clone().or_else(|| via?.realm.clone()),
        users,
        client_config: match tls {
            Some(tls) => client_config(&tls, "--via-ca")?,
            None => Arc::clone(&first.client_config),
        },
    })
}

pub fn client_certificate(options: &Options) -> Option<(&Path, &Path)> {
    options
        .client_certificate
        .as_deref()
        .zip(options.client_key.as_deref())
}

fn server_name(host: &str, option: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(host.to_owned())
        .map_err(|_| format!("`{host}` is no host name: check {option}"))
}

/// Without the port, and an address of version 6 without its brackets.
fn host_of(address: &str) -> String {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    bare.unwrap_or(host).to_owned()
}

/// A host as URIs have it: with brackets where it is an address of version 6.
fn in_uris(host: &str) -> String {
    match host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    }
}

pub fn look_up(text: &str) -> Result<SocketAddr, String> {
    let addresses = text
        .to_socket_addrs()
        .map_err(|e| format!("`{text}`: {e}; write HOST:PORT, such as 127.0.0.1:2855"))?;
    addresses
        .into_iter()
        .next()
        .ok_or_else(|| format!("`{text}` has no address"))
}

/// By options, files and the environment, or else those of the folder of `msrpd dev`.
fn users_of(
    options: &Options,
    given: &[String],
    dev: Option<&[DevUser]>,
) -> Result<Vec<User>, String> {
    let mut users = with_passwords(options, given)?;
    if let Some(file) = &options.user_file {
        users.extend(users_of_file(file)?);
    }
    if users.is_empty()
        && let Ok(text) = std::env::var(USER_VARIABLE)
    {
        users.extend(with_passwords(options, &[text])?);
    }
    if users.is_empty() {
        users.extend(dev.into_iter().flat_map(known_users));
    }
    Ok(users)
}

fn with_passwords(options: &Options, given: &[String]) -> Result<Vec<User>, String> {
    let user = |text: &String| {
        let (name, password) = match text.split_once(':') {
            Some((name, password)) => (name, password.to_owned()),
            None => (text.as_str(), password(options, text)?),
        };
        match name.is_empty() {
            true => Err(format!("`{}` is no NAME:PASSWORD", hidden(text))),
            false => Ok(User {
                name: name.to_owned(),
                password,
            }),
        }
    };
    given.iter().map(user).collect()
}

/// Of a user who is given by name alone.
fn password(options: &Options, name: &str) -> Result<String, String> {
    if let Some(file) = &options.password_file {
        let text = fs::read_to_string(file);
        let text = text.map_err(|e| format!("--password-file {}: {e}", file.display()))?;
        return Ok(text.trim_end_matches(['\r', '\n']).to_owned());
    }
    std::env::var(PASSWORD_VARIABLE).map_err(|_| {
        format!(
            "no password for `{name}`: write --user {name}:PASSWORD, or give --password-file or {PASSWORD_VARIABLE} in the environment"
        )
    })
}

fn users_of_file(file: &Path) -> Result<Vec<User>, String> {
    let text =
        fs::read_to_string(file).map_err(|e| format!("--user-file {}: {e}", file.display()))?;
    let lines = text.lines().map(str::trim);
    lines
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
        .map(|line| match line.split_once(':') {
            Some((name, password)) if !name.is_empty() => Ok(User {
                name: name.to_owned(),
                password: password.to_owned(),
            }),
            _ => Err(format!(
                "{}: `{}` is no NAME:PASSWORD",
                file.display(),
                hidden(line)
            )),
        })
        .collect()
}

/// What may be a password is not repeated in a message.
fn hidden(text: &str) -> String {
    let shown: String = text.chars().take(2).collect();
    format!("{shown}...")
}

fn known_users(users: &[DevUser]) -> impl Iterator<Item = User> + '_ {
    users.iter().map(|user| User {
        name: user.name.clone(),
        password: user.password.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_version_6_need_no_host() {
        assert_eq!(host_of("[::1]:2855"), "::1");
        assert_eq!(host_of("relay.test:2855"), "relay.test");
        assert_eq!(
            (in_uris("::1").as_str(), in_uris("127.0.0.1").as_str()),
            ("[::1]", "127.0.0.1")
        );
        assert!(server_name("::1", "--host").is_ok());
    }
}
