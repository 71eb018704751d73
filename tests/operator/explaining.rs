//! `msrpd explain`: captures from a file and from stdin.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use super::place::{Place, said};

fn msrpd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_msrpd"));
    command
        .arg("explain")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[test]
fn explain_finds_nothing_wrong_with_the_examples_of_the_specification() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/wire");
    let mut messages = 0;
    for file in fs::read_dir(folder).expect("the examples").flatten() {
        // W-15 begins with an HTTP upgrade.
        let name = file.file_name();
        if name == "W-15.msrp" || !name.to_string_lossy().ends_with(".msrp") {
            continue;
        }
        let output = msrpd().arg(file.path()).output().expect("msrpd runs");
        let (code, text) = said(&output);
        assert_eq!(code, Some(0), "{}: {text}", file.path().display());
        messages += text.matches(" at octet ").count();
    }
    assert!(messages > 40, "{messages} messages");
}

#[test]
fn explain_reads_stdin_and_says_what_is_wrong_where() {
    let mut child = msrpd().stdin(Stdio::piped()).spawn().expect("msrpd runs");
    let mut stdin = child.stdin.take().expect("stdin");
    let octets = "MSRP a1b2 SEND\r\nFrom-Path: msrps://a.example.com:1/a;tcp\r\nTo-Path: msrps://b.example.com:2/b;tcp\r\n\
                  Message-ID: m\r\n-------a1b2$\r\nmsrp c3d4 SEND\r\n";
    stdin.write_all(octets.as_bytes()).expect("it reads");
    drop(stdin);
    let (code, text) = said(&child.wait_with_output().expect("it ends"));
    assert_eq!(code, Some(1), "{text}");
    let at = octets.find("msrp c3d4").expect("as written above");
    for wanted in [
        "1. at octet 0: SEND a1b2",
        "wrong: To-Path is not the first header or From-Path not the second; refused with 400 [RFC 4975 §7.1, §9]",
        &format!("2. at octet {at}: framing lost"),
        "messages: 2, wrong: 2, odd: 0",
    ] {
        assert!(text.contains(wanted), "wanted {wanted:?} in\n{text}");
    }
}

#[test]
fn explain_says_which_file_cannot_be_read() {
    let place = Place::new();
    let output = msrpd()
        .arg(place.path("nothing.msrp"))
        .output()
        .expect("msrpd runs");
    let (code, text) = said(&output);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("nothing.msrp: No such file"), "{text}");
}
