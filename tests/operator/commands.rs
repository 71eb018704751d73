//! `msrpd passwd`, `msrpd dev`, `--help`.

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;

use super::place::{Place, Running, is_private, said};

fn passwd(place: &Place, arguments: &[&str], password: &str) -> (Option<i32>, String) {
    let mut child = place
        .msrpd(&[&["passwd"], arguments].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("msrpd runs");
    let mut stdin = child.stdin.take().expect("stdin");
    // A command that refuses its arguments does not read.
    let _ = stdin.write_all(password.as_bytes());
    drop(stdin);
    said(&child.wait_with_output().expect("it ends"))
}

#[test]
fn passwd_adds_and_changes_users() {
    let place = Place::new();
    let (code, text) = passwd(
        &place,
        &["new.htdigest", "testrealm", "alice"],
        "wonderland\n",
    );
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("added alice in realm testrealm"), "{text}");
    assert!(is_private(&place.path("new.htdigest")));
    let line = format!("alice:testrealm:{}\n", md5("alice:testrealm:wonderland"));
    assert_eq!(place.read("new.htdigest"), line);
    let (code, _) = passwd(&place, &["new.htdigest", "testrealm", "bob"], "b");
    assert_eq!(code, Some(0));
    let before = place.read("new.htdigest");
    let (code, text) = passwd(
        &place,
        &["new.htdigest", "testrealm", "alice"],
        "looking glass\r\n",
    );
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("changed alice"), "{text}");
    let after = place.read("new.htdigest");
    assert_eq!(after.lines().count(), 2);
    assert_eq!(
        after.lines().nth(1),
        before.lines().nth(1),
        "bob is as he was"
    );
    assert_ne!(after.lines().next(), before.lines().next());
    let (code, text) = passwd(
        &place,
        &["--sha256", "new.htdigest", "testrealm", "alice"],
        "x",
    );
    assert_eq!(code, Some(0), "{text}");
    let hash = place
        .read("new.htdigest")
        .lines()
        .last()
        .and_then(|line| line.rsplit(':').next())
        .map(str::len);
    assert_eq!(hash, Some(64));
    place.change("users.htdigest", "new.htdigest");
    assert_eq!(place.check().0, Some(0));
}

/// All hashes of the old password go, whatever their algorithm; the command says which it wrote.
#[test]
fn passwd_replaces_every_hash_of_a_user() {
    let place = Place::new();
    for flags in [&[][..], &["--sha256"]] {
        let arguments = [flags, &["new.htdigest", "r", "alice"]].concat();
        assert_eq!(passwd(&place, &arguments, "old").0, Some(0));
    }
    assert_eq!(
        passwd(&place, &["new.htdigest", "r", "bob"], "old").0,
        Some(0)
    );
    let before = place.read("new.htdigest");
    let (code, text) = passwd(&place, &["new.htdigest", "r", "alice"], "new");
    assert_eq!(code, Some(0));
    assert!(
        text.contains("changed alice in realm r (MD5, SHA-256)"),
        "{text}"
    );
    let after = place.read("new.htdigest");
    assert_eq!(after.lines().count(), 3);
    let stays = |who: &str| {
        let of = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| line.starts_with(who));
            lines.map(str::to_owned).collect()
        };
        of(&before)
            .iter()
            .filter(|line| of(&after).contains(line))
            .count()
    };
    assert_eq!((stays("alice"), stays("bob")), (0, 1));
    assert!(after.contains(&md5("alice:r:new")));
}

/// With a configuration it writes what that offers.
#[test]
fn passwd_follows_the_algorithms_of_a_configuration() {
    let place = Place::new();
    place.change("[auth]\n", "[auth]\nalgorithms = [\"SHA-256\", \"MD5\"]\n");
    let arguments = ["--config", "msrpd.toml", "new.htdigest", "r", "alice"];
    let (code, text) = passwd(&place, &arguments, "x");
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("added alice in realm r (MD5, SHA-256)"),
        "{text}"
    );
    assert_eq!(place.read("new.htdigest").lines().count(), 2);
}

/// Many at once all get in, and nobody is lost.
#[test]
fn passwd_loses_nobody_when_many_run_at_once() {
    const USERS: usize = 20;
    let place = Place::new();
    std::thread::scope(|scope| {
        for number in 0..USERS {
            let place = &place;
            scope.spawn(move || {
                let user = format!("user{number}");
                let (code, text) = passwd(place, &["new.htdigest", "r", &user], "x");
                assert_eq!(code, Some(0), "{text}");
            });
        }
    });
    let text = place.read("new.htdigest");
    for number in 0..USERS {
        assert!(text.contains(&format!("user{number}:r:")), "{text}");
    }
}

fn md5(text: &str) -> String {
    use md5::{Digest, Md5};
    Md5::digest(text.as_bytes())
        .iter()
        .map(|octet| format!("{octet:02x}"))
        .collect()
}

#[test]
fn passwd_refuses_what_would_spoil_the_file() {
    let place = Place::new();
    for (realm, user) in [
        ("a:b", "alice"),
        ("r", "al:ice"),
        ("r", "al\nice"),
        ("", "alice"),
        ("r", ""),
    ] {
        let (code, text) = passwd(&place, &["new.htdigest", realm, user], "x");
        assert_eq!(code, Some(1), "{realm} {user}: {text}");
    }
    let (code, text) = passwd(&place, &["new.htdigest", "r", "alice"], "\n");
    assert_eq!(code, Some(1));
    assert!(text.contains("the password is empty"), "{text}");
    assert!(!place.path("new.htdigest").exists());
    place.write("bad.htdigest", "alice:r:12\n");
    let (code, text) = passwd(&place, &["bad.htdigest", "r", "bob"], "x");
    assert_eq!(code, Some(1));
    assert!(text.contains("bad.htdigest:1:"), "{text}");
    assert_eq!(place.read("bad.htdigest"), "alice:r:12\n");
    let (code, text) = passwd(&place, &["no/such/folder/users", "r", "bob"], "x");
    assert_eq!(code, Some(1));
    assert!(
        text.contains("no/such/folder/users: cannot write it"),
        "{text}"
    );
}

#[test]
fn dev_furnishes_a_folder_and_runs_it() {
    let place = Place::new();
    std::fs::create_dir(place.path("dev")).expect("a folder");
    // Its own ports may be taken by another run; what is there is kept, so others can be chosen.
    let config = "[relay]\nhosts = [\"relay.localhost\", \"localhost\"]\nworkers = 1\n\
        [[listen]]\naddress = \"127.0.0.1:0\"\n[tls]\ncertificate = \"relay.pem\"\nkey = \"relay.key\"\npeer_ca = \"ca.pem\"\n\
        [auth]\nhtdigest = \"users.htdigest\"\n[admin]\naddress = \"127.0.0.1:0\"\n[log]\nformat = \"text\"\n";
    place.write("dev/msrpd.toml", config);
    let mut command = place.msrpd(&["dev", "--dir", "dev"]);
    command.stdout(std::fs::File::create(place.path("out")).expect("a file"));
    let mut running = Running::start(command, place.path("log"));
    assert!(running.get("/readyz").starts_with("HTTP/1.1 200"));
    for name in [
        "ca.pem",
        "relay.pem",
        "relay.key",
        "users.htdigest",
        "dev.toml",
        "receiver.pem",
        "receiver.key",
    ] {
        assert!(is_private(&place.path("dev").join(name)), "{name}");
    }
    let out = place.read("out");
    assert!(
        out.contains("cargo run --release -p loadgen -- --dev dev\n"),
        "{out}"
    );
    let dev: toml::Table = place.read("dev/dev.toml").parse().expect("TOML");
    let users = dev["users"].as_array().expect("users");
    assert_eq!(users.len(), 2);
    for user in users {
        let (name, password) = (
            user["name"].as_str().expect("a name"),
            user["password"].as_str().expect("a password"),
        );
        assert!(out.contains(password), "the password is shown");
        let line = format!(
            "{name}:relay.localhost:{}",
            md5(&format!("{name}:relay.localhost:{password}"))
        );
        assert!(place.read("dev/users.htdigest").contains(&line), "{line}");
    }
    running.signal(Signal::TERM);
    assert_eq!(running.ended(Duration::from_secs(3)).code(), Some(0));
    assert_eq!(place.read("dev/msrpd.toml"), config, "kept");
}

#[test]
fn dev_two_runs_two_relays_and_ends_both() {
    for signal in [Signal::INT, Signal::KILL] {
        let place = Place::new();
        std::fs::create_dir(place.path("dev")).expect("a folder");
        for name in ["relay-a", "relay-b"] {
            let config = format!(
                "[relay]\nhosts = [\"{name}.localhost\"]\nworkers = 1\n[[listen]]\naddress = \"127.0.0.1:0\"\n\
                [tls]\ncertificate = \"{name}.pem\"\nkey = \"{name}.key\"\npeer_ca = \"ca.pem\"\n\
                [auth]\nhtdigest = \"users.htdigest\"\n[admin]\naddress = \"127.0.0.1:0\"\n[log]\nformat = \"text\"\n"
            );
            place.write(&format!("dev/{name}.toml"), &config);
        }
        let mut command = place.msrpd(&["dev", "--two", "--dir", "dev"]);
        command.stdout(std::fs::File::create(place.path("out")).expect("a file"));
        let mut running = Running::start(command, place.path("log"));
        running.log_line("relay-a.localhost");
        running.log_line("relay-b.localhost");
        let out = place.read("out");
        assert!(
            out.contains("cargo run --release -p loadgen -- --dev dev --via\n"),
            "{out}"
        );
        let pids = ["relay-a.pid", "relay-b.pid"].map(|file| place.read(&format!("dev/{file}")));
        assert!(pids.iter().all(|pid| lives(pid)), "{pids:?}");
        running.signal(signal);
        let status = running.ended(Duration::from_secs(5));
        assert_eq!(status.code(), (signal == Signal::INT).then_some(0));
        // With the one that started them, whatever ended it.
        let begun = std::time::Instant::now();
        while pids.iter().any(|pid| lives(pid)) {
            assert!(
                begun.elapsed() < Duration::from_secs(10),
                "{}",
                running.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(running.log().matches("draining").count(), 2);
    }
}

#[test]
fn dev_two_ends_the_one_when_the_other_cannot_start() {
    let place = Place::new();
    std::fs::create_dir(place.path("dev")).expect("a folder");
    let config = "[relay]\nhosts = [\"relay-a.localhost\"]\nworkers = 1\n[[listen]]\naddress = \"127.0.0.1:0\"\n\
        [tls]\ncertificate = \"relay-a.pem\"\nkey = \"relay-a.key\"\npeer_ca = \"ca.pem\"\n\
        [auth]\nhtdigest = \"users.htdigest\"\n[admin]\naddress = \"127.0.0.1:0\"\n";
    place.write("dev/relay-a.toml", config);
    place.write("dev/relay-b.toml", "[relay]\nhosts = 7\n");
    let (code, text) = said(&place.output(&["dev", "--two", "--dir", "dev"]));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("relay-b.toml:2:"), "{text}");
    let pid = place.read("dev/relay-a.pid");
    assert!(!lives(&pid), "it has ended with the other");
}

/// Whether the process runs; one that nobody has waited for yet does not.
fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn mint_prints_a_credential_that_ends() {
    let place = Place::new();
    place.write("secret", "north-by-northwest-1959\n");
    let (code, text) = said(&place.output(&[
        "mint",
        "--secret-file",
        "secret",
        "--lifetime",
        "2h",
        "alice",
    ]));
    assert_eq!(code, Some(0), "{text}");
    let mut lines = text.lines();
    let name = lines.next().and_then(|line| line.strip_prefix("username "));
    let (ends, user) = name
        .and_then(|name| name.split_once(':'))
        .expect("SECONDS:USER");
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    let ends: u64 = ends.parse().expect("a time");
    assert!((now + 7000..=now + 7200).contains(&ends), "{text}");
    assert_eq!(user, "alice");
    let password = lines.next().and_then(|line| line.strip_prefix("password "));
    assert_eq!(password.map(str::len), Some(28), "20 octets in Base64");

    for (arguments, word) in [
        (["mint", "--secret-file", "missing", "alice"], "cannot read"),
        (["mint", "--secret-file", "secret", "a:b"], "colon"),
    ] {
        let (code, text) = said(&place.output(&arguments));
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(word), "{text}");
    }
    place.write("secret", "short\n");
    let (code, text) = said(&place.output(&["mint", "--secret-file", "secret", "alice"]));
    assert_eq!(code, Some(1));
    assert!(
        text.contains("fewer than 20") && !text.contains("short\n"),
        "{text}"
    );
}

#[test]
fn help_shows_examples_and_a_wrong_word_gets_a_usage() {
    let place = Place::new();
    for (arguments, words) in [
        (
            &["--help"][..],
            &["msrpd dev", "msrpd check --config", "passwd"][..],
        ),
        (&["run", "--help"], &["SIGHUP", "Exit codes"]),
        (&["check", "--help"], &["--running", "systemctl reload"]),
        (&["dev", "--help"], &["--dir", "--two", "dev.toml"]),
        (&["passwd", "--help"], &["stdin", "example.com alice"]),
        (&["mint", "--help"], &["--lifetime", "use-auth-secret"]),
    ] {
        let (code, text) = said(&place.output(arguments));
        assert_eq!(code, Some(0));
        for word in words {
            assert!(text.contains(word), "no {word} in:\n{text}");
        }
    }
    assert_eq!(said(&place.output(&["serve"])).0, Some(2));
    assert_eq!(said(&place.output(&["run"])).0, Some(2));
}
