//! `msrpd check` and `msrpd config`: planted mistakes, each found with its place and what to do.

use std::net::TcpListener;
use std::process::{Command, Stdio};

use super::place::{CONFIG, HOST, Place, said};

/// Spoils a place, checks it, and wants all of `words` said and exit code 1.
#[track_caller]
fn finds(spoil: impl FnOnce(&Place), words: &[&str]) {
    let place = Place::new();
    spoil(&place);
    let (code, text) = place.check();
    assert_eq!(code, Some(1), "{text}");
    for word in words {
        assert!(text.contains(word), "no {word} in:\n{text}");
    }
}

#[test]
fn a_good_file_passes_and_so_does_what_config_prints() {
    let place = Place::new();
    let (code, text) = place.check();
    assert_eq!((code, text.as_str()), (Some(0), "msrpd.toml: good\n"));
    let printed = place.output(&["config", "--config", "msrpd.toml"]);
    assert_eq!(printed.status.code(), Some(0));
    let printed = String::from_utf8(printed.stdout).expect("text");
    assert!(printed.contains("stall_timeout = \"30s\""), "{printed}");
    place.write("printed.toml", &printed);
    let (code, text) = said(&place.output(&["check", "--config", "printed.toml"]));
    assert_eq!(code, Some(0), "{text}");
    let again = place.output(&["config", "--config", "printed.toml"]);
    assert_eq!(String::from_utf8(again.stdout).expect("text"), printed);
}

/// What `config` prints says no secret, and passes although it says none.
#[test]
fn config_hides_secrets_and_still_passes() {
    let place = Place::new();
    let users = "[[auth.users]]\nname = \"carol\"\npassword = \"looking-glass\"\n[log]";
    place.write(
        "msrpd.toml",
        &place.read("msrpd.toml").replace("[log]", users),
    );
    assert_eq!(place.check().0, Some(0));
    let printed = place.output(&["config", "--config", "msrpd.toml"]);
    let printed = String::from_utf8(printed.stdout).expect("text");
    assert!(
        printed.contains("carol") && !printed.contains("looking-glass"),
        "{printed}"
    );
    place.write("printed.toml", &printed);
    let (code, text) = said(&place.output(&["check", "--config", "printed.toml"]));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("the password is hidden"), "{text}");
}

#[test]
fn mistakes_in_the_file_are_found() {
    let cases: &[(&str, &str, &[&str])] = &[
        ("[relay]", "[relay", &["msrpd.toml:1:", "syntax"]),
        (
            "hosts =",
            "hots =",
            &[
                "msrpd.toml:2:1: relay.hots: unknown key",
                "did you mean `hosts`?",
            ],
        ),
        (
            "hosts = [\"relay.example.com\"]\n",
            "",
            &["relay.hosts: missing", "add hosts"],
        ),
        (
            "[tls]",
            "[tsl]",
            &[
                "msrpd.toml:12:2: tsl: unknown section",
                "did you mean [tls]?",
            ],
        ),
        (
            "\"2s\"",
            "2",
            &[
                "msrpd.toml:5:17: relay.drain_timeout: found a number",
                "unit",
            ],
        ),
        (
            "\"2s\"",
            "\"2 parsecs\"",
            &["msrpd.toml:5:17: relay.drain_timeout", "ms, s, m, h, d"],
        ),
        (
            "\"2s\"",
            "\"2d\"",
            &["msrpd.toml:5:17: relay.drain_timeout", "out of range"],
        ),
        (
            "workers = 2",
            "workers = \"two\"",
            &["msrpd.toml:4:11: relay.workers: found a string"],
        ),
        (
            "workers = 2",
            "workers = 1000",
            &["msrpd.toml:4:11: relay.workers: 1000 is out of range"],
        ),
        (
            "relay.example.com",
            "relay",
            &["msrpd.toml:2:1: relay.hosts: `relay` has no dot"],
        ),
        (
            "relay.example.com",
            "192.0.2.1",
            &["msrpd.toml:2:1: relay.hosts: `192.0.2.1` is an address and stands first"],
        ),
        (
            "\"127.0.0.1:0\"",
            "\"127.0.0.1\"",
            &["msrpd.toml:7:11: listen[0].address", "has no port"],
        ),
        (
            "\"tls\"",
            "\"tlz\"",
            &["msrpd.toml:8:13: listen[0].transport: `tlz`"],
        ),
        ("\"tls\"", "\"tcp\"", &["listen: no tls listener"]),
        ("key = \"relay.key\"\n", "", &["tls.key: missing"]),
        (
            "[admin]",
            "[limits]\nconnections = 100000000\n[admin]",
            &[
                "limits.connections: 100000000 connections do not fit",
                "LimitNOFILE",
            ],
        ),
        (
            "[admin]",
            "[limits]\nprobation = \"0s\"\n[admin]",
            &["limits.probation: \"0s\" is out of range"],
        ),
        (
            "[admin]",
            "[limits]\nqueued_octets_total = 2000000\nqueued_octets_shared = 3000000\n[admin]",
            &["limits.queued_octets_shared: 3000000 is more"],
        ),
        (
            "[admin]",
            "[dial]\nallow = [\"10.0.0.1/8\"]\n[admin]",
            &["dial.allow: `10.0.0.1/8` has bits set"],
        ),
        (
            "[admin]",
            "[dns]\nnameservers = [\"ns.example.com\"]\n[admin]",
            &["dns.nameservers", "no port"],
        ),
        (
            "htdigest =",
            "expires_min = 90000\nhtdigest =",
            &["auth.expires_min: 90000 is more"],
        ),
        (
            "htdigest =",
            "realms = { \"other.org\" = \"x\" }\nhtdigest =",
            &["auth.realms: `other.org`"],
        ),
        (
            "htdigest =",
            "shared_secret_files = [\"secret\", \"secret\"]\nhtdigest =",
            &[
                "auth.shared_secret_files:",
                "stands there twice",
                "cannot read it",
                "openssl rand",
            ],
        ),
        (
            "[log]",
            "[[auth.users]]\nname = \"carol\"\n[log]",
            &["auth.users[0]: a user without a password", "password_file"],
        ),
        (
            "[log]",
            "[[auth.users]]\nname = \"carol\"\npassword = \"x\"\nha1 = \"00\"\n[log]",
            &["auth.users[0]: more than one password"],
        ),
        (
            "[log]",
            "[[auth.users]]\nname = \"carol\"\nha1 = \"secret\"\n[log]",
            &["auth.users[0]: ha1 is no such hash", "32 hex digits"],
        ),
        (
            "[log]",
            "[[auth.users]]\nnme = \"carol\"\npassword_file = \"none\"\n[log]",
            &[
                "auth.users[0].nme: unknown key",
                "auth.users[0].name: missing",
                "cannot read",
            ],
        ),
        (
            "[log]",
            "[auth.postgres]\nquery = \"SELECT 1\"\n[log]",
            &[
                "auth.postgres: no URL, so no database is asked",
                "auth.postgres.query: $1 does not stand in it",
                "$2 does not stand in it",
            ],
        ),
        (
            "[log]",
            "[auth.postgres]\nurl_file = \"no.url\"\nca = \"no.pem\"\nquery = \"SELECT $10, $2\"\n[log]",
            &[
                "auth.postgres.url_file: cannot read",
                "auth.postgres.query: $1 does not stand in it",
            ],
        ),
        (
            "[log]",
            "[auth.postgres]\nurl = \"postgresql://u:s3cret@host:port/db\"\n[log]",
            &["auth.postgres.url: invalid"],
        ),
        (
            "[log]",
            "[auth.postgres]\nurl = \"host=db user=u\"\nca = \"no.pem\"\n[log]",
            &["auth.postgres.ca: "],
        ),
        ("[log]", "[log]\nlevel = 3", &["log.level: found a number"]),
        (
            "\"127.0.0.1:0\"\ntransport = \"tls\"\n[[listen]]\naddress = \"127.0.0.1:0\"",
            "\"127.0.0.1:29855\"\ntransport = \"tls\"\n[[listen]]\naddress = \"127.0.0.1:29855\"",
            &[
                "msrpd.toml:10:1: listen[1].address: 127.0.0.1:29855 is listened on already",
                "remove one of the two",
            ],
        ),
        (
            "\"127.0.0.1:0\"\ntransport = \"tls\"\n[[listen]]\naddress = \"127.0.0.1:0\"",
            "\"0.0.0.0:29855\"\ntransport = \"tls\"\n[[listen]]\naddress = \"127.0.0.1:29855\"",
            &["listen[1].address: 0.0.0.0:29855 and 127.0.0.1:29855 overlap"],
        ),
        (
            "\"tls\"",
            "\"tls\"\nadvertise_port = 0",
            &["msrpd.toml:9:1: listen[0].advertise_port: 0 is no port"],
        ),
        (
            "\"127.0.0.1:0\"",
            "\"127.0.0.1:70000\"",
            &["msrpd.toml:7:11: listen[0].address: `70000` is no port"],
        ),
        (
            "\"127.0.0.1:0\"",
            "\"localhost:2855\"",
            &["msrpd.toml:7:11: listen[0].address: `localhost` is no IP address"],
        ),
        (
            "[[listen]]",
            "[listen]",
            &[
                "msrpd.toml:6:2: listen: there may be several",
                "two brackets",
            ],
        ),
        (
            "relay.example.com",
            "relay.example.com:2855",
            &["msrpd.toml:2:10: relay.hosts: the port `2855` does not belong"],
        ),
        (
            "relay.example.com",
            "msrps://relay.example.com",
            &["msrpd.toml:2:10: relay.hosts: `msrps://relay.example.com` is a URI"],
        ),
        (
            "\"relay.example.com\"",
            "\"relay.example.com\", \"relay.example.com\"",
            &["relay.hosts: `relay.example.com` stands there twice"],
        ),
        (
            "workers = 2",
            "workers = -2",
            &["msrpd.toml:4:11: relay.workers: -2 is out of range"],
        ),
        (
            "workers = 2",
            "workers = 2\nworkers = 3",
            &["msrpd.toml:5:1: syntax: duplicate key"],
        ),
        (
            "domains = [\"example.com\"]",
            "domains = \"example.com\"",
            &[
                "msrpd.toml:3:11: relay.domains: found a string",
                "a list in brackets",
            ],
        ),
        (
            "[relay]",
            "level = \"info\"\n[relay]",
            &[
                "msrpd.toml:1:1: level: this key stands outside its section",
                "[log]",
            ],
        ),
        (
            "[admin]",
            "[limits]\nconnections = 100\nunauthenticated = 200\n[admin]",
            &["msrpd.toml:21:1: limits.unauthenticated: 200 is more than connections, 100"],
        ),
        (
            "[admin]",
            "[quotas.user]\noctets_per_second = 4000\n[admin]",
            &["msrpd.toml:20:1: quotas.user.octets_per_second: 4000 is too slow"],
        ),
        (
            "[admin]",
            "[quotas.user]\nsessions = 20\n[quotas.realm]\nsessions = 10\n[admin]",
            &["quotas.user.sessions: 20 is more than quotas.realm.sessions, 10"],
        ),
        (
            "[admin]",
            "[limits]\nqueued_octets_per_session = 12\n[admin]",
            &["limits.queued_octets_per_session: 12 is out of range"],
        ),
        (
            "[admin]",
            "[dial]\nallow = [\"10.0.0.0/33\"]\n[admin]",
            &[
                "msrpd.toml:20:10: dial.allow: `10.0.0.0/33` is no network",
                "CIDR",
            ],
        ),
        (
            "[admin]",
            "[peers]\nallow = [\"b.example.com\"]\nblock = [\"b.example.com\"]\n[admin]",
            &["msrpd.toml:21:1: peers.block: `b.example.com` is in peers.allow too"],
        ),
        (
            "htdigest =",
            "expires_default = 90000\nhtdigest =",
            &["msrpd.toml:18:1: auth.expires_default: 90000 is not between"],
        ),
        (
            "htdigest =",
            "algorithms = [\"MD5\", \"SHA-256\"]\nhtdigest =",
            &["auth.algorithms: MD5 stands before SHA-256"],
        ),
        (
            "htdigest =",
            "algorithms = [\"SHA-1\"]\nhtdigest =",
            &["msrpd.toml:18:15: auth.algorithms: `SHA-1`", "SHA-256"],
        ),
        (
            "[log]\nformat = \"text\"",
            "[log]\nformat = \"xml\"",
            &["log.format: `xml`", "json"],
        ),
        (
            "[auth]",
            "[[tls.extra]]\ncertificate = \"extra.pem\"\n[auth]",
            &["tls.extra[0].key: missing"],
        ),
        (
            "[auth]",
            "[[tls.extra]]\ncertificate = \"relay.pem\"\nkey = \"relay.key\"\n[auth]",
            &[
                "msrpd.toml:17:1: tls.extra[0].certificate: ",
                "is named already",
            ],
        ),
        (
            "[log]",
            "[records]\nfile = \"sessions.jsonl\"\nsocket = \"collector\"\n[log]",
            &["msrpd.toml:23:1: records.socket: there is a file too"],
        ),
        (
            "[log]",
            "[limits]\nrecords_waiting = 0\n[log]",
            &["msrpd.toml:22:19: limits.records_waiting: 0 is out of range"],
        ),
        (
            "\"127.0.0.1:0\"\n[log]",
            "\"192.0.2.77:9855\"\n[log]",
            &["admin.address: cannot listen on 192.0.2.77:9855"],
        ),
    ];
    for (old, new, words) in cases {
        finds(|place| place.change(old, new), words);
    }
}

#[test]
fn mistakes_in_the_files_it_names_are_found() {
    finds(
        |place| std::fs::remove_file(place.path("relay.pem")).expect("removed"),
        &[
            "msrpd.toml:13:1: tls.certificate:",
            "relay.pem",
            "cannot be read",
        ],
    );
    finds(
        |place| std::fs::remove_file(place.path("relay.key")).expect("removed"),
        &["msrpd.toml:14:1: tls.key:", "relay.key"],
    );
    finds(
        |place| place.write("relay.pem", "no pem"),
        &["msrpd.toml:13:1: tls.certificate:"],
    );
    finds(
        |place| place.write("relay.key", ""),
        &["msrpd.toml:14:1: tls.key:"],
    );
    finds(
        |place| place.write("ca.pem", "nothing"),
        &["msrpd.toml:15:1: tls.peer_ca:"],
    );
    finds(
        |place| {
            let (_, key) = place.leaf(&[HOST], |_| {});
            place.write("relay.key", &key);
        },
        &["msrpd.toml:14:1: tls.key:", "relay.key"],
    );
    finds(
        |place| place.certify(&["other.example.com"], |_| {}),
        &["msrpd.toml:13:1: tls.certificate:", HOST],
    );
    finds(
        |place| {
            place.certify(&[HOST], |params| {
                params.not_after = rcgen::date_time_ymd(2021, 1, 1)
            })
        },
        &["msrpd.toml:13:1: tls.certificate:", "expired"],
    );
    finds(
        |place| {
            place.certify(&[HOST], |params| {
                params.not_before = rcgen::date_time_ymd(2999, 1, 1)
            })
        },
        &["msrpd.toml:13:1: tls.certificate:", "not valid"],
    );
    finds(
        |place| std::fs::remove_file(place.path("users.htdigest")).expect("removed"),
        &[
            "msrpd.toml:18:1: auth.htdigest: cannot read",
            "msrpd passwd",
        ],
    );
    finds(
        |place| {
            std::fs::remove_file(place.path("relay.pem")).expect("removed");
            std::fs::create_dir(place.path("relay.pem")).expect("a folder");
        },
        &["msrpd.toml:13:1: tls.certificate:", "cannot be read"],
    );
    finds(
        |place| {
            let key = place.read("relay.key");
            place.write("relay.key", &key.replace("PRIVATE", "ENCRYPTED PRIVATE"));
        },
        &["msrpd.toml:14:1: tls.key:", "without a passphrase"],
    );
    let extra = "[[tls.extra]]\ncertificate = \"extra.pem\"\nkey = \"extra.key\"\n[auth]";
    finds(
        |place| place.change("[auth]", extra),
        &[
            "msrpd.toml:17:1: tls.extra[0].certificate:",
            "msrpd.toml:18:1: tls.extra[0].key:",
        ],
    );
    finds(
        |place| {
            place.change("[auth]", extra);
            place.write("extra.pem", &place.leaf(&["example.com"], |_| {}).0);
            place.write("extra.key", &place.leaf(&["example.com"], |_| {}).1);
        },
        &["msrpd.toml:18:1: tls.extra[0].key:", "does not belong"],
    );
    finds(
        |place| {
            place.change("[auth]", extra);
            let (certificate, key) = place.leaf(&["example.com"], |params| {
                params.not_after = rcgen::date_time_ymd(2021, 1, 1);
            });
            place.write("extra.pem", &certificate);
            place.write("extra.key", &key);
        },
        &["msrpd.toml:17:1: tls.extra[0].certificate:", "expired"],
    );
    finds(
        |place| {
            place.write(
                "users.htdigest",
                "# staff\nalice:example.com\n\nbob:example.com:12\n",
            )
        },
        &["users.htdigest:2:", "users.htdigest:4:", "user:realm:HEX"],
    );
}

/// The farm's key file: found bad line by line, never repeated, and good with two keys.
#[test]
fn records_that_could_not_be_written_are_found() {
    for (key, target, words) in [
        (
            "file",
            "no/such/folder/sessions.jsonl",
            "No such file or directory",
        ),
        ("file", ".", "Is a directory"),
        ("socket", "no/such/folder/collector", "No such file"),
        ("socket", "users.htdigest", "it is no socket"),
    ] {
        let records = format!("[records]\n{key} = \"{target}\"\n[log]");
        let place = format!("msrpd.toml:22:1: records.{key}: ");
        finds(
            |place| place.change("[log]", &records),
            &[&place, words, "help: name "],
        );
    }
    // A collector may start later; a file is not made by looking.
    let place = Place::new();
    place.change("[log]", "[records]\nsocket = \"collector\"\n[log]");
    let (code, text) = place.check();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("nobody takes records at"), "{text}");
    place.change("socket = \"collector\"", "file = \"sessions.jsonl\"");
    let (code, text) = place.check();
    assert_eq!((code, text.as_str()), (Some(0), "msrpd.toml: good\n"));
    assert!(!place.path("sessions.jsonl").exists());
    // Not ours to write, whoever we are.
    let sealed = "/sys/kernel/uevent_seqnum";
    let records = format!("[records]\nfile = \"{sealed}\"\n[log]");
    finds(
        |place| place.change("[log]", &records),
        &[&format!("records.file: {sealed}: ")],
    );
}

#[test]
fn mistakes_in_the_farm_key_file_are_found() {
    const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    let with = |text: Option<&str>| {
        let place = Place::new();
        place.change("[auth]\n", "[auth]\nfarm_key_file = \"farm.keys\"\n");
        if let Some(text) = text {
            place.write("farm.keys", text);
        }
        place
    };
    let (code, text) = with(None).check();
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("auth.farm_key_file: cannot read") && text.contains("openssl rand"),
        "{text}"
    );

    let place = with(Some(&format!("{KEY}\n{}\n{KEY}\n", &KEY[..62])));
    let (code, text) = place.check();
    assert_eq!(code, Some(1), "{text}");
    for words in ["farm.keys:2:", "farm.keys:3:", "64 hex digits"] {
        assert!(text.contains(words), "{words} in {text}");
    }
    assert!(!text.contains(&KEY[..62]), "{text}");

    let place = with(Some(&format!("{KEY}\n{}\n", KEY.replace("00", "ff"))));
    assert_eq!(place.check().0, Some(0));
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(place.path("farm.keys"), mode).expect("a mode");
    let (code, text) = place.check();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("auth.farm_key_file: everybody"), "{text}");
}

#[test]
fn keys_come_from_the_environment_too_and_errors_name_the_variable() {
    let place = Place::new();
    let check = |name: &str, value: &str| {
        let mut command = place.msrpd(&["check", "--config", "msrpd.toml"]);
        said(&command.env(name, value).output().expect("msrpd runs"))
    };
    let (code, text) = check("MSRPD__TLS__KEY", "elsewhere.key");
    assert_eq!(code, Some(1));
    assert!(
        text.contains("error: MSRPD__TLS__KEY: tls.key: ") && text.contains("elsewhere.key"),
        "{text}"
    );
    let (code, text) = check("MSRPD__RELAY__WORKERS", "many");
    assert_eq!(code, Some(1));
    assert!(
        text.contains("error: MSRPD__RELAY__WORKERS: relay.workers: "),
        "{text}"
    );
    let (code, text) = check("MSRPD__RELAY__WORKER", "1");
    assert_eq!(code, Some(1));
    assert!(
        text.contains("did you mean MSRPD__RELAY__WORKERS?"),
        "{text}"
    );
    // As systemd hands a secret out: a file in a folder that the unit does not know beforehand.
    std::fs::rename(place.path("relay.key"), place.path("credential")).expect("moved");
    assert_eq!(place.check().0, Some(1));
    let (code, text) = check("MSRPD__TLS__KEY", "credential");
    assert_eq!(code, Some(0), "{text}");
    let mut command = place.msrpd(&["config", "--config", "msrpd.toml"]);
    let printed = command.env("MSRPD__TLS__KEY", "credential").output();
    let (code, text) = said(&printed.expect("msrpd runs"));
    assert_eq!(code, Some(0));
    assert!(text.contains("/credential\""), "{text}");
    let key = place.read("credential");
    let secret = key.lines().nth(1).expect("a key");
    assert!(!text.contains(secret), "no secret is printed");
}

#[test]
fn a_port_in_use_is_found_and_not_tried_beside_a_running_relay() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    place.change("127.0.0.1:0", &address);
    let (code, text) = place.check();
    assert_eq!(code, Some(1));
    let wanted = format!("msrpd.toml:7:1: listen[0].address: cannot listen on {address}");
    assert!(
        text.contains(&wanted) && text.contains("another process"),
        "{text}"
    );
    let (code, text) = said(&place.output(&["check", "--running", "--config", "msrpd.toml"]));
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let place = Place::new();
    place.change("workers = 2", "worker = 2");
    place.change("\"tcp\"", "\"udp\"");
    place.write("relay.pem", "spoilt");
    place.write("users.htdigest", "alice\n");
    let (code, text) = place.check();
    assert_eq!(code, Some(1));
    for word in [
        "relay.worker",
        "listen[1].transport",
        "tls.certificate",
        "users.htdigest:1:",
        "msrpd.toml: 4 errors",
    ] {
        assert!(text.contains(word), "no {word} in:\n{text}");
    }
}

#[test]
fn connections_that_do_not_fit_into_the_descriptors_are_refused() {
    let place = Place::new();
    place.change(
        "[admin]",
        "[limits]\nconnections = 800\nunauthenticated = 100\n[admin]",
    );
    let check = |limit: &str| {
        let script = format!(
            "ulimit -Sn 64 && ulimit -Hn {limit} && exec {} check --config msrpd.toml",
            env!("CARGO_BIN_EXE_msrpd")
        );
        let output = Command::new("sh")
            .args(["-c", &script])
            .current_dir(place.path(""))
            .stdin(Stdio::null())
            .output()
            .expect("a shell");
        said(&output)
    };
    let (code, text) = check("1056");
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = check("1055");
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("800 connections do not fit into 1055") && text.contains("1056"),
        "{text}"
    );
}

#[test]
fn warnings_do_not_fail() {
    let place = Place::new();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(place.path("users.htdigest"), mode).expect("a mode");
    let (code, text) = place.check();
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("warning: ")
            && text.contains("chmod o-r")
            && text.contains("good, 1 warning"),
        "{text}"
    );
    let cases: &[(&str, &str, &str)] = &[
        (
            "relay.example.com",
            "localhost",
            "relay.hosts: `localhost` in Use-Path",
        ),
        (
            "realm = \"example.com\"",
            "realm = \"other\"",
            "auth.realm: no user",
        ),
        (
            "htdigest =",
            "algorithms = [\"SHA-256\", \"MD5\"]\nhtdigest =",
            "auth.algorithms: no user in the users' file has a SHA-256 hash",
        ),
        (
            "htdigest = \"users.htdigest\"\n",
            "",
            "auth.htdigest: no users' file",
        ),
        (
            "[admin]",
            "[dial]\nconnect_timeout = \"29s\"\n[admin]",
            "dial.connect_timeout: close",
        ),
    ];
    for (old, new, words) in cases {
        let place = Place::new();
        place.certify(&[HOST, "localhost"], |_| {});
        place.change(old, new);
        let (code, text) = place.check();
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains(words) && text.contains("warning: "), "{text}");
    }
    let place = Place::new();
    let tomorrow = std::time::SystemTime::now() + std::time::Duration::from_secs(90_000);
    place.certify(&[HOST], |params| params.not_after = tomorrow.into());
    let (code, text) = place.check();
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("tls.certificate: expires in 1 days"),
        "{text}"
    );
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let place = Place::new();
    for command in ["check", "config", "run"] {
        let (code, text) = said(&place.output(&[command, "--config", "nowhere.toml"]));
        assert_eq!(code, Some(1));
        assert!(
            text.contains("nowhere.toml: cannot read it") && text.contains("help: "),
            "{text}"
        );
    }
}

#[test]
fn the_good_file_is_the_one_that_is_spoilt() {
    assert_eq!(CONFIG.lines().nth(12), Some("certificate = \"relay.pem\""));
}
