//! `msrpd dev`: everything that a relay needs to be tried out, made in a folder and run.
//!
//! An authority, a certificate for `relay.localhost` (RFC 6761: always this machine) and `localhost`, two users, a
//! configuration, and `dev.toml`, by which `msrpload --dev` finds them. What is there already is kept; certificates that no
//! longer hold are made anew.

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::auth::{Algorithm, Ha1, Users};
use crate::net::tls::TlsContext;

use super::WRONG;
use super::passwd::replace;

/// The relay's name, and one that every resolver knows.
const HOSTS: [&str; 2] = ["relay.localhost", "localhost"];
const REALM: &str = "relay.localhost";
const USERS: [&str; 2] = ["alice", "bob"];

/// Makes what is missing in `folder` and runs it.
pub fn dev(folder: &Path) -> ExitCode {
    if let Err(problem) = furnish(folder) {
        eprintln!("error: {problem}");
        return ExitCode::from(WRONG);
    }
    if let Err(error) = replace(
        &folder.join("msrpd.pid"),
        &format!("{}\n", std::process::id()),
    ) {
        eprintln!(
            "error: {}: cannot write it: {error}",
            folder.join("msrpd.pid").display()
        );
        return ExitCode::from(WRONG);
    }
    introduce(folder);
    super::run(&folder.join("msrpd.toml"))
}

fn introduce(folder: &Path) {
    let next = match folder == Path::new("msrpd-dev") {
        true => "cargo run --release -p loadgen -- --dev".to_owned(),
        false => format!(
            "cargo run --release -p loadgen -- --dev {}",
            folder.display()
        ),
    };
    let dev = fs::read_to_string(folder.join("dev.toml")).unwrap_or_default();
    let dev: toml::Table = dev.parse().unwrap_or_default();
    let word = |table: &toml::Table, key: &str| {
        let word = table.get(key).and_then(toml::Value::as_str);
        word.unwrap_or("?").to_owned()
    };
    let users = dev.get("users").and_then(toml::Value::as_array);
    let users: Vec<String> = users
        .into_iter()
        .flatten()
        .filter_map(toml::Value::as_table)
        .map(|user| {
            format!(
                "{} (password {})",
                word(user, "name"),
                word(user, "password")
            )
        })
        .collect();
    println!(
        "relay     {}, named {}, reached from this machine only",
        word(&dev, "address"),
        word(&dev, "host")
    );
    println!("users     {}", users.join(", "));
    println!("metrics   http://{}/metrics", word(&dev, "admin"));
    println!("files     {}", folder.display());
    println!();
    println!("Next, in another terminal:");
    println!();
    println!("    {next}");
    println!();
}

fn furnish(folder: &Path) -> Result<(), String> {
    let failed = |what: &Path| {
        let what = what.display().to_string();
        move |error: io::Error| {
            format!("{what}: cannot write it: {error}; name another folder with --dir")
        }
    };
    fs::create_dir_all(folder).map_err(failed(folder))?;
    let write = |name: &str, text: &str| {
        let file = folder.join(name);
        replace(&file, text).map_err(failed(&file))
    };
    if !certificates_hold(folder) {
        let made = certificates().map_err(|error| format!("cannot make certificates: {error}"))?;
        for (name, text) in made {
            write(name, &text)?;
        }
    }
    // Users and dev.toml belong together: one has the hashes of the passwords in the other.
    if !folder.join("users.htdigest").exists() || !folder.join("dev.toml").exists() {
        let mut users = Users::default();
        let mut listed = String::new();
        for user in USERS {
            let password = password()?;
            for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
                users.set(
                    user,
                    REALM,
                    algorithm,
                    Ha1::of(algorithm, user, REALM, &password),
                )?;
            }
            listed.push_str(&format!(
                "\n[[users]]\nname = \"{user}\"\npassword = \"{password}\"\n"
            ));
        }
        write("users.htdigest", &users.to_string())?;
        write("dev.toml", &format!("{DEV}{listed}"))?;
    }
    if !folder.join("msrpd.toml").exists() {
        write("msrpd.toml", CONFIG)?;
    }
    Ok(())
}

fn certificates_hold(folder: &Path) -> bool {
    let hosts = HOSTS.map(str::to_owned);
    let holds = |name: &str, hosts: &[String]| {
        let file = |extension: &str| folder.join(format!("{name}.{extension}"));
        TlsContext::load(
            &file("pem"),
            &file("key"),
            Some(&folder.join("ca.pem")),
            hosts,
        )
        .is_ok()
    };
    holds("relay", &hosts) && holds("receiver", &hosts[1..])
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
    let relay: Vec<String> = HOSTS.map(str::to_owned).to_vec();
    let receiver = ["localhost", "127.0.0.1", "::1"]
        .map(str::to_owned)
        .to_vec();
    for (pem, key_file, names) in [
        ("relay.pem", "relay.key", relay),
        ("receiver.pem", "receiver.key", receiver),
    ] {
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

const CONFIG: &str = r#"# Made by `msrpd dev`, for this machine only; change what you like, it is kept.
# All keys: msrpd.sample.toml

[relay]
hosts = ["relay.localhost", "localhost"]
drain_timeout = "5s"

[[listen]]
address = "127.0.0.1:2855"
transport = "tls"

[tls]
certificate = "relay.pem"
key = "relay.key"
peer_ca = "ca.pem"

[auth]
realm = "relay.localhost"
htdigest = "users.htdigest"

[dial]
allow = ["127.0.0.0/8", "::1/128"]

[admin]
address = "127.0.0.1:9855"
"#;

const DEV: &str = r#"# By this file `msrpload --dev` finds the relay. Paths are relative to this folder.
address = "127.0.0.1:2855"
host = "relay.localhost"
realm = "relay.localhost"
admin = "127.0.0.1:9855"
ca = "ca.pem"
pid = "msrpd.pid"
# For receivers that listen themselves: a certificate of the same authority for localhost.
certificate = "receiver.pem"
key = "receiver.key"
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_folder_is_furnished_once_and_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        furnish(folder.path()).expect("furnished");
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
        furnish(folder.path()).expect("kept");
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
        for address in ["127.0.0.1:2855", "127.0.0.1:9855"] {
            assert!(read("msrpd.toml").contains(address) && read("dev.toml").contains(address));
        }
    }

    #[test]
    fn certificates_that_do_not_hold_are_made_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        furnish(folder.path()).expect("furnished");
        fs::write(folder.path().join("relay.pem"), "spoiled").expect("spoiled");
        let users = fs::read_to_string(folder.path().join("users.htdigest")).expect("a file");
        furnish(folder.path()).expect("mended");
        assert!(certificates_hold(folder.path()));
        assert_eq!(
            fs::read_to_string(folder.path().join("users.htdigest")).expect("a file"),
            users
        );
    }
}
