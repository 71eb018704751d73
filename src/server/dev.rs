//! `msrpd dev`: everything that a relay needs to be tried out, made in a folder and run.
//!
//! An authority, a certificate for `relay.localhost` (RFC 6761: always this machine) and `localhost`, two users, a
//! configuration, and `dev.toml`, by which `msrpload --dev` finds them; and the chat page of `web/` at the admin address. What is
//! there already is kept; certificates that no longer hold are made anew. With `--two` there are two relays, `relay-a.localhost` and `relay-b.localhost`, with the same
//! users; only `dev.toml` says which of the two ways was run last.

mod page;
mod texts;
mod two;

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustix::process::Signal;

use crate::auth::{Algorithm, Ha1, Users};
use crate::net::tls::TlsContext;

use super::WRONG;
use super::passwd::replace;
pub use page::PageUsers;

/// The relay's name, and one that every resolver knows.
const HOSTS: [&str; 2] = ["relay.localhost", "localhost"];
const HOST_A: &str = "relay-a.localhost";
const HOST_B: &str = "relay-b.localhost";
const REALM: &str = "relay.localhost";
const USERS: [&str; 2] = ["alice", "bob"];

/// One relay, or two that know each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    One,
    Two,
}

/// Makes what is missing in `folder` and runs it.
pub fn dev(folder: &Path, two: bool) -> ExitCode {
    let kind = if two { Kind::Two } else { Kind::One };
    let pid = format!("{}\n", std::process::id());
    let furnished = furnish(folder, kind).and_then(|()| match kind {
        Kind::One => write(folder, "msrpd.pid", &pid),
        Kind::Two => Ok(()),
    });
    if let Err(problem) = furnished {
        eprintln!("error: {problem}");
        return ExitCode::from(WRONG);
    }
    introduce(folder, kind);
    match kind {
        Kind::One => super::serve(&folder.join("msrpd.toml"), Some(PageUsers::of(folder))),
        Kind::Two => two::run(folder),
    }
}

/// One of the two, until a signal or the end of the process that started it.
pub fn dev_one_of_two(folder: &Path, name: &str) -> ExitCode {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::TERM));
    if let Err(problem) = furnish(folder, Kind::Two) {
        eprintln!("error: {problem}");
        return ExitCode::from(WRONG);
    }
    let config = folder.join(format!("{name}.toml"));
    super::serve(&config, Some(PageUsers::of(folder)))
}

fn write(folder: &Path, name: &str, text: &str) -> Result<(), String> {
    let file = folder.join(name);
    replace(&file, text).map_err(failed(&file))
}

fn failed(what: &Path) -> impl Fn(io::Error) -> String {
    let what = what.display().to_string();
    move |error| format!("{what}: cannot write it: {error}; name another folder with --dir")
}

fn introduce(folder: &Path, kind: Kind) {
    let mut next = "cargo run --release -p loadgen -- --dev".to_owned();
    if folder != Path::new("msrpd-dev") {
        next.push_str(&format!(" {}", folder.display()));
    }
    if kind == Kind::Two {
        next.push_str(" --via");
    }
    let dev = read_dev(folder).unwrap_or_default();
    let word = |table: &toml::Table, key: &str| {
        let word = table.get(key).and_then(toml::Value::as_str);
        word.unwrap_or("?").to_owned()
    };
    let users = users_of(&dev).unwrap_or_default().into_iter();
    let users: Vec<String> = users
        .map(|(name, password)| format!("{name} (password {password})"))
        .collect();
    let via = dev.get("via").and_then(toml::Value::as_table);
    let files: &[&str] = match kind {
        Kind::One => &["msrpd.toml"],
        Kind::Two => &["relay-a.toml", "relay-b.toml"],
    };
    for (relay, file) in [Some(&dev), via].into_iter().flatten().zip(files) {
        println!(
            "relay     {}, named {}, reached from this machine only",
            word(relay, "address"),
            word(relay, "host")
        );
        println!("metrics   http://{}/metrics", word(relay, "admin"));
        match page::is_served(&folder.join(file)) {
            true => println!(
                "chat      http://{}/ in a browser, in two tabs",
                word(relay, "admin")
            ),
            false => println!(
                "chat      not served: {file} has no listener for it; remove that file to have it made anew"
            ),
        }
    }
    println!("users     {}", users.join(", "));
    println!("files     {}", folder.display());
    println!();
    println!("Next, in another terminal:");
    println!();
    println!("    {next}");
    println!();
}

fn furnish(folder: &Path, kind: Kind) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(failed(folder))?;
    if !certificates_hold(folder) {
        let made = certificates().map_err(|error| format!("cannot make certificates: {error}"))?;
        for (name, text) in made {
            write(folder, name, &text)?;
        }
    }
    users(folder, kind)?;
    // The ports of the second relay come after those of the first.
    let configs: &[(&str, &[&str], u16)] = match kind {
        Kind::One => &[("relay", &HOSTS, 0)],
        Kind::Two => &[("relay-a", &[HOST_A], 0), ("relay-b", &[HOST_B], 1)],
    };
    for (name, hosts, after) in configs {
        let file = if kind == Kind::One {
            "msrpd.toml"
        } else {
            &format!("{name}.toml")
        };
        if !folder.join(file).exists() {
            write(folder, file, &texts::config(name, hosts, kind, *after))?;
        }
    }
    Ok(())
}

/// Users and dev.toml belong together: one has the hashes of the passwords in the other.
fn users(folder: &Path, kind: Kind) -> Result<(), String> {
    let there = folder.join("users.htdigest").exists();
    if let Some(listed) = there.then(|| listed_users(folder, kind)).flatten() {
        return match listed {
            Listed::AsItIs => Ok(()),
            Listed::OfTheOtherKind(users) => write(folder, "dev.toml", &texts::dev(kind, &users)),
        };
    }
    let mut users = Users::default();
    let mut listed = String::new();
    for user in USERS {
        let password = password()?;
        for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
            let ha1 = Ha1::of(algorithm, user, REALM, &password);
            users.set(user, REALM, algorithm, ha1)?;
        }
        listed.push_str(&texts::user(user, &password));
    }
    write(folder, "users.htdigest", &users.to_string())?;
    write(folder, "dev.toml", &texts::dev(kind, &listed))
}

enum Listed {
    AsItIs,
    /// The users, to be listed again.
    OfTheOtherKind(String),
}

/// None where there is no dev.toml that can be read.
fn listed_users(folder: &Path, kind: Kind) -> Option<Listed> {
    let dev = read_dev(folder)?;
    if dev.contains_key("via") == (kind == Kind::Two) {
        return Some(Listed::AsItIs);
    }
    let users = users_of(&dev)?.into_iter();
    Some(Listed::OfTheOtherKind(
        users
            .map(|(name, password)| texts::user(&name, &password))
            .collect(),
    ))
}

fn read_dev(folder: &Path) -> Option<toml::Table> {
    let dev = fs::read_to_string(folder.join("dev.toml")).ok()?;
    dev.parse().ok()
}

/// Names and passwords.
fn users_of(dev: &toml::Table) -> Option<Vec<(String, String)>> {
    let word = |user: &toml::Value, key| Some(user.get(key)?.as_str()?.to_owned());
    let users = dev.get("users")?.as_array()?.iter();
    users
        .map(|user| Some((word(user, "name")?, word(user, "password")?)))
        .collect()
}

fn certificates_hold(folder: &Path) -> bool {
    let holds = |name: &str, hosts: &[&str]| {
        let file = |extension: &str| folder.join(format!("{name}.{extension}"));
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let ca = folder.join("ca.pem");
        TlsContext::load(&file("pem"), &file("key"), Some(&ca), &hosts).is_ok()
    };
    holds("relay", &HOSTS)
        && holds("receiver", &HOSTS[1..])
        && holds("relay-a", &[HOST_A])
        && holds("relay-b", &[HOST_B])
}

/// An authority whose key is thrown away, and what it signed.
fn certificates() -> Result<Vec<(&'static str, String)>, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
        .distinguished_name
        .push(DnType::CommonName, "msrpd dev authority");
    let key = KeyPair::generate()?;
    let authority = params.self_signed(&key)?;
    let issuer = Issuer::new(params, key);
    let mut made = vec![("ca.pem", authority.pem())];
    let leaves: [(_, _, &[&str]); 4] = [
        ("relay.pem", "relay.key", &HOSTS),
        (
            "receiver.pem",
            "receiver.key",
            &["localhost", "127.0.0.1", "::1"],
        ),
        ("relay-a.pem", "relay-a.key", &[HOST_A]),
        ("relay-b.pem", "relay-b.key", &[HOST_B]),
    ];
    for (pem, key_file, names) in leaves {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names.clone())?;
        params
            .distinguished_name
            .push(DnType::CommonName, names[0].as_str());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &issuer)?;
        made.push((pem, certificate.pem()));
        made.push((key_file, key.serialize_pem()));
    }
    Ok(made)
}

/// 20 characters, 100 random bits.
fn password() -> Result<String, String> {
    let mut octets = [0_u8; 20];
    getrandom::fill(&mut octets)
        .map_err(|error| format!("the system gives no random octets: {error}"))?;
    let letters = b"abcdefghijkmnpqrstuvwxyz23456789";
    Ok(octets
        .iter()
        .map(|octet| char::from(letters[usize::from(octet & 31)]))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_folder_is_furnished_once_and_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        furnish(folder.path(), Kind::One).expect("furnished");
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect("a file");
        let names = [
            "ca.pem",
            "relay.pem",
            "relay.key",
            "users.htdigest",
            "msrpd.toml",
            "dev.toml",
        ];
        let before = names.map(read);
        furnish(folder.path(), Kind::One).expect("kept");
        assert_eq!(names.map(read), before);
        for name in ["relay.key", "users.htdigest", "dev.toml"] {
            let mode = fs::metadata(folder.path().join(name))
                .expect("a file")
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let mut loaded = crate::config::load(&folder.path().join("msrpd.toml"));
        assert!(
            super::super::check::prepare(&mut loaded).is_some(),
            "{}",
            loaded.problems
        );
        for address in ["127.0.0.1:2855", "127.0.0.1:2880", "127.0.0.1:9855"] {
            assert!(read("msrpd.toml").contains(address) && read("dev.toml").contains(address));
        }
        assert!(read("msrpd.toml").contains("\"127.0.0.1:2880\"\ntransport = \"ws\""));
    }

    #[test]
    fn two_relays_share_users_and_authority_with_the_one() {
        let folder = tempfile::tempdir().expect("a folder");
        furnish(folder.path(), Kind::One).expect("furnished");
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect("a file");
        let kept = ["users.htdigest", "ca.pem", "msrpd.toml"];
        let (before, one) = (kept.map(read), read("dev.toml"));
        furnish(folder.path(), Kind::Two).expect("furnished");
        assert_eq!(kept.map(read), before);
        for name in ["relay-a.toml", "relay-b.toml"] {
            let mut loaded = crate::config::load(&folder.path().join(name));
            let prepared = super::super::check::prepare(&mut loaded);
            assert!(prepared.is_some(), "{}", loaded.problems);
        }
        let dev: toml::Table = read("dev.toml").parse().expect("TOML");
        assert_eq!(dev["host"].as_str(), Some(HOST_A));
        assert_eq!(dev["via"]["host"].as_str(), Some(HOST_B));
        assert!(read("relay-b.toml").contains(dev["via"]["address"].as_str().expect("text")));
        assert!(read("relay-b.toml").contains(dev["via"]["admin"].as_str().expect("text")));
        assert_eq!(dev["via"]["ws"].as_str(), Some("127.0.0.1:2881"));
        assert!(read("relay-b.toml").contains("\"127.0.0.1:2881\"\ntransport = \"ws\""));
        // And back again: the same users with the same passwords.
        furnish(folder.path(), Kind::One).expect("furnished");
        assert_eq!(read("dev.toml"), one);
    }

    /// The page tells passwords: it is for this machine, and for a browser that has where to connect to.
    #[test]
    fn there_is_a_page_only_where_it_can_be_used_and_stays_on_this_machine() {
        let folder = tempfile::tempdir().expect("a folder");
        furnish(folder.path(), Kind::One).expect("furnished");
        let config = crate::config::load(&folder.path().join("msrpd.toml")).config;
        let at = |text: &str| text.parse().expect("an address");
        let users = PageUsers::of(folder.path());
        let page = |web: &str, admin: &str| {
            let bound = [at("127.0.0.1:2855"), at(web)];
            users.page(&config, &bound, Some(at(admin))).is_some()
        };
        assert!(page("127.0.0.1:2880", "127.0.0.1:9855"));
        assert!(page("127.0.0.1:2880", "[::1]:9855"));
        assert!(!page("127.0.0.1:2880", "192.0.2.1:9855"));
        assert!(!page("127.0.0.1:2880", "0.0.0.0:9855"));
        let text = fs::read_to_string(folder.path().join("msrpd.toml")).expect("a file");
        let without = text.replace(
            "\"127.0.0.1:2880\"\ntransport = \"ws\"",
            "\"127.0.0.1:2880\"",
        );
        assert_ne!(text, without);
        write(folder.path(), "msrpd.toml", &without).expect("written");
        let config = crate::config::load(&folder.path().join("msrpd.toml")).config;
        let bound = [at("127.0.0.1:2855"), at("127.0.0.1:2880")];
        let page = users.page(&config, &bound, Some(at("127.0.0.1:9855")));
        assert!(page.is_none(), "no listener for browsers");
        assert!(!page::is_served(&folder.path().join("msrpd.toml")));
    }

    #[test]
    fn certificates_that_do_not_hold_are_made_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        furnish(folder.path(), Kind::One).expect("furnished");
        fs::write(folder.path().join("relay.pem"), "spoiled").expect("spoiled");
        let users = fs::read_to_string(folder.path().join("users.htdigest")).expect("a file");
        furnish(folder.path(), Kind::One).expect("mended");
        assert!(certificates_hold(folder.path()));
        assert_eq!(
            fs::read_to_string(folder.path().join("users.htdigest")).expect("a file"),
            users
        );
    }
}
