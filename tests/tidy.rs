//! Holds the tree to the house: who may import whom, and which door each dependency has (ARCHITECTURE.md).
//!
//! It reads the sources as text. That is enough: paths into other rooms are written `crate::room::...`, and nobody in this
//! tree hides one in a macro.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Room, and the rooms that it may import.
const IMPORTS: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("metrics", &[]),
    ("net", &[]),
    ("auth", &["wire"]),
    ("relay", &["wire", "auth", "metrics"]),
    ("shard", &["relay", "net", "metrics"]),
    ("admin", &["metrics"]),
    ("config", &["auth", "relay", "net"]),
    (
        "server",
        &[
            "wire", "metrics", "net", "auth", "relay", "shard", "admin", "config",
        ],
    ),
];

/// A word of code, and the only places (files or folders below `src`) that may have it.
const DOORS: &[(&str, &[&str])] = &[
    ("unsafe", &["net/uring"]),
    ("tokio_uring", &["net/uring"]),
    ("io_uring", &["net/uring"]),
    ("rustls", &["net/tls.rs", "net/tls/"]),
    ("webpki", &["net/tls.rs", "net/tls/"]),
    ("crossbeam_channel", &["shard/mesh.rs"]),
    ("core_affinity", &["shard/start.rs"]),
    ("hickory_resolver", &["net/names.rs"]),
    ("tokio_postgres", &["net/postgres.rs", "net/postgres/"]),
    ("tokio_postgres_rustls", &["net/postgres.rs"]),
    ("axum", &["admin/"]),
    (
        "rcgen",
        &["server/dev.rs", "net/tls/tests.rs", "net/tls/tests/"],
    ),
    ("rpassword", &["server/passwd.rs"]),
    ("clap", &["main.rs"]),
    ("mimalloc", &["main.rs"]),
    ("tracing_subscriber", &["server/log.rs", "server/log/"]),
    ("hdrhistogram", &["metrics/"]),
];

/// What the pure rooms do without: time, randomness and octets come in, actions go out.
const PURE_ROOMS: &[&str] = &["wire", "auth", "relay"];
const IMPURE: &[&str] = &[
    "Instant::now",
    "SystemTime::now",
    "std::thread",
    "std::fs",
    "std::env",
    "std::sync::Mutex",
    "std::sync::RwLock",
    "TcpStream",
    "UdpSocket",
    "async fn",
    "async move",
    ".await",
    "tokio",
    "tracing",
    "getrandom",
    "thread_rng",
    "println!",
];

struct Source {
    /// Below `src`, such as `relay/egress.rs`.
    name: String,
    /// Without comments and, if it stands below, without the test module.
    code: String,
}

impl Source {
    fn room(&self) -> &str {
        let first = self.name.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    fn is_test(&self) -> bool {
        self.name.contains("/tests/") || self.name.ends_with("/tests.rs")
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<PathBuf> = fs::read_dir(&folder)
            .expect("the folder is there")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("the file is text");
                let name = path.strip_prefix(&root).expect("below src");
                found.push(Source {
                    name: name.to_string_lossy().into_owned(),
                    code: code(&text),
                });
            }
        }
    }
    assert!(found.len() > 50, "the sources were found");
    found
}

/// Without comments, strings on one line, and the test module at the end.
fn code(text: &str) -> String {
    let text = text
        .split("\n#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default();
    let mut out = String::new();
    for line in text.lines() {
        let line = without_strings(line);
        out.push_str(line.split("//").next().unwrap_or_default());
        out.push('\n');
    }
    out
}

fn without_strings(line: &str) -> String {
    let mut out = String::new();
    let mut in_string = false;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' if in_string => drop(characters.next()),
            // A quote as a character is no string.
            '\'' if !in_string && characters.peek() == Some(&'"') => drop(characters.next()),
            '"' => in_string = !in_string,
            _ if !in_string => out.push(character),
            _ => {}
        }
    }
    out
}

/// Whether `word` stands in `code` as a word of its own.
fn has_word(code: &str, word: &str) -> bool {
    let is_part = |octet: Option<&u8>| {
        octet.is_some_and(|octet| octet.is_ascii_alphanumeric() || *octet == b'_')
    };
    code.match_indices(word).any(|(at, _)| {
        let octets = code.as_bytes();
        let before = at.checked_sub(1).and_then(|before| octets.get(before));
        !is_part(before) && !is_part(octets.get(at + word.len()))
    })
}

/// Rooms that the code names by `crate::room` or `crate::{room, ...}`.
fn rooms_named(code: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for (at, prefix) in code.match_indices("crate::") {
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            None => drop(rooms.insert(first_word(rest))),
            Some(list) => {
                let mut depth = 1;
                let mut item = String::new();
                for character in list.chars() {
                    match character {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth == 1 => {
                            rooms.insert(first_word(item.trim()));
                            item.clear();
                            continue;
                        }
                        _ => {}
                    }
                    if depth == 0 {
                        break;
                    }
                    item.push(character);
                }
                rooms.insert(first_word(item.trim()));
            }
        }
    }
    rooms.remove("");
    rooms
}

fn first_word(text: &str) -> String {
    text.chars()
        .take_while(|character| character.is_ascii_alphanumeric() || *character == '_')
        .collect()
}

#[test]
fn imports_go_only_where_the_table_says() {
    let rooms: Vec<&str> = IMPORTS.iter().map(|(room, _)| *room).collect();
    let mut wrong = Vec::new();
    for source in sources() {
        let Some((room, may)) = IMPORTS.iter().find(|(room, _)| *room == source.room()) else {
            assert!(
                matches!(source.name.as_str(), "lib.rs" | "main.rs"),
                "src/{} is in no room of the table",
                source.name
            );
            continue;
        };
        for named in rooms_named(&source.code) {
            if named != *room && !may.contains(&named.as_str()) && rooms.contains(&named.as_str()) {
                wrong.push(format!("src/{}: `{room}` imports `{named}`", source.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_dependency_has_one_door() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (word, doors) in DOORS {
            let at_door = doors.iter().any(|door| source.name.starts_with(door));
            if has_word(&source.code, word) && !at_door {
                wrong.push(format!(
                    "src/{}: `{word}` belongs to src/{}",
                    source.name,
                    doors.join(", src/")
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_rooms_have_no_clock_socket_thread_or_chance() {
    let mut wrong = Vec::new();
    for source in sources() {
        if !PURE_ROOMS.contains(&source.room()) || source.is_test() {
            continue;
        }
        for word in IMPURE {
            if source.code.contains(word) {
                wrong.push(format!("src/{}: `{word}` in a pure room", source.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_is_left_for_later() {
    let mut wrong = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for source in sources() {
        let text = fs::read_to_string(root.join(&source.name)).expect("the file is text");
        for word in ["TODO", "FIXME", "XXX"] {
            if has_word(&text, word) {
                wrong.push(format!("src/{}: {word}", source.name));
            }
        }
        for word in ["todo!", "unimplemented!", "dbg!"] {
            if source.code.contains(word) {
                wrong.push(format!("src/{}: {word}", source.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_open_with_what_they_own() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for source in sources() {
        let text = fs::read_to_string(root.join(&source.name)).expect("the file is text");
        if source.is_test() {
            continue;
        }
        assert!(
            text.starts_with("//!"),
            "src/{} opens without a word on what it owns",
            source.name
        );
    }
}

#[test]
fn the_scanner_sees_what_it_is_to_see() {
    assert_eq!(
        rooms_named("use crate::{auth::{Users, X}, relay}; crate::wire::Uri")
            .into_iter()
            .collect::<Vec<_>>(),
        ["auth", "relay", "wire"]
    );
    assert!(has_word("unsafe { x }", "unsafe") && !has_word("unsafely", "unsafe"));
    let stripped = code(
        "a; // unsafe\nlet x = \"crate::net \\\" unsafe\"; b\n#[cfg(test)]\nmod tests {\nunsafe",
    );
    assert!(
        !stripped.contains("unsafe") && stripped.contains("b"),
        "{stripped}"
    );
}

/// With two programs in the workspace `cargo run` takes the one that a single package names.
#[test]
fn cargo_run_alone_means_the_relay() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(root.join(name)).expect("a manifest");
    assert!(read("Cargo.toml").contains("\ndefault-run = \"msrpd\"\n"));
    assert!(!read("loadgen/Cargo.toml").contains("default-run"));
}
