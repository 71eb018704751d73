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
        (
            "\"tcp\"",
            "\"wss\"",
            &["msrpd.toml:11:1: listen[1].transport: WebSocket is not served"],
        ),
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
        ("[log]", "[log]\nlevel = 3", &["log.level: found a number"]),
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
