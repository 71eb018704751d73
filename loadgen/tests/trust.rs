//! Whom clients trust and what they show: of a scenario's groups, and of the command line.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod fake_relay;
#[allow(dead_code, reason = "each test program uses a part of it")]
mod program;

use std::fs;

use fake_relay::{FakeRelay, Fault, HOST};
use program::{World, bare};
use rcgen::generate_simple_self_signed;

/// Runs a scenario and says how it ended and what it said.
fn run(
    folder: &std::path::Path,
    relay: &FakeRelay,
    scenario: &str,
    more: &[&str],
) -> (i32, String) {
    fs::write(folder.join("who.toml"), scenario).unwrap();
    let output = bare(folder)
        .args(["--scenario", "who.toml", "--quiet", "--host", HOST])
        .args([
            "--address",
            &relay.address.to_string(),
            "--user",
            "alice:wonderland",
        ])
        .args(more)
        .env("SSL_CERT_FILE", folder.join("system.pem"))
        .env_remove("SSL_CERT_DIR")
        .output()
        .unwrap();
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (output.status.code().unwrap_or(-1), said)
}

fn group(name: &str, more: &str) -> String {
    format!("[[group]]\nname = \"{name}\"\nsessions = 2\nsender = \"both\"\nwindow = 1\n{more}\n")
}

const TIMES: &str = "duration = \"300ms\"\nwarmup = 0\n";

#[test]
fn a_group_shows_its_client_certificate_to_a_relay_that_asks_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let client = generate_simple_self_signed(vec!["client.test".to_owned()]).unwrap();
    fs::write(folder.join("client.pem"), client.cert.pem()).unwrap();
    fs::write(
        folder.join("client.key"),
        client.signing_key.serialize_pem(),
    )
    .unwrap();
    let relay = FakeRelay::start_asking(&folder.join("ca.pem"), client.cert.der());
    // Paths of the file are relative to it.
    let shown = "client_certificate = \"client.pem\"\nclient_key = \"client.key\"";
    let ca = ["--ca", folder.join("ca.pem").to_str().unwrap()].map(str::to_owned);
    let ca = [ca[0].as_str(), ca[1].as_str()];
    let (code, said) = run(
        folder,
        &relay,
        &(TIMES.to_owned() + &group("badged", shown)),
        &ca,
    );
    assert_eq!(code, 0, "{said}");
    let both = TIMES.to_owned() + &group("badged", shown) + &group("plain", "");
    let (code, said) = run(folder, &relay, &both, &ca);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("ertificate"), "{said}");
    // Those of the command line do for groups that have none of their own.
    let given = [
        "--client-certificate",
        "client.pem",
        "--client-key",
        "client.key",
    ];
    let (code, said) = run(folder, &relay, &both, &[&ca[..], &given].concat());
    assert_eq!(code, 0, "{said}");
}

#[test]
fn a_group_trusts_the_authorities_of_the_system_where_it_says_so() {
    let world = World::new(Fault::None);
    let folder = world.folder.path();
    fs::rename(world.path("ca.pem"), world.path("system.pem")).unwrap();
    let other = generate_simple_self_signed(vec!["other.test".to_owned()]).unwrap();
    fs::write(world.path("other.pem"), other.cert.pem()).unwrap();
    for (lines, more, good) in [
        ("ca = \"other.pem\"", &[][..], false),
        ("ca = \"other.pem\"\nsystem_roots = true", &[], true),
        ("system_roots = true", &["--ca", "other.pem"], true),
        ("", &["--ca", "other.pem"], false),
        ("", &["--ca", "other.pem", "--system-roots"], true),
        ("", &[], true),
    ] {
        let scenario = TIMES.to_owned() + &group("trusting", lines);
        let (code, said) = run(folder, &world.relay, &scenario, more);
        match good {
            true => assert_eq!(code, 0, "{lines} {more:?}: {said}"),
            false => {
                assert_eq!(code, 2, "{lines} {more:?}: {said}");
                assert!(said.contains("invalid peer certificate"), "{said}");
            }
        }
    }
}
