//! What the documents tell an operator to write down passes `msrpd check`.

use std::path::Path;
use std::process::Command;

use crate::place::{Place, said};

/// A file of the repository.
fn document(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&file).expect("a document")
}

/// The fenced blocks in this language, in order.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let opening = format!("\n```{language}\n");
    let block = |rest: &str| {
        let end = rest.find("\n```").expect("a block ends");
        rest[..=end].to_owned()
    };
    text.split(&opening).skip(1).map(block).collect()
}

fn shell(place: &Place, script: &str) {
    let mut command = Command::new("bash");
    command.args(["-euc", script]).current_dir(place.path("."));
    let (code, text) = said(&command.output().expect("bash runs"));
    assert_eq!(code, Some(0), "{text}");
}

/// Addresses are left alone: another relay may run on this machine.
fn is_good(place: &Place, file: &str) {
    let (code, text) = said(&place.output(&["check", "--running", "--config", file]));
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn readme_s_two_relays_on_two_hosts() {
    let readme = document("README.md");
    let (_, section) = readme
        .split_once("### Two relays on two hosts\n")
        .expect("the section");
    let (section, _) = section.split_once("\n## ").expect("another section");
    let place = Place::new();
    std::fs::remove_file(place.path("ca.pem")).expect("removed");
    shell(&place, &blocks(section, "sh")[0]);
    let configs = blocks(section, "toml");
    assert_eq!(configs.len(), 2);
    for (file, config) in ["first.toml", "second.toml"].iter().zip(&configs) {
        place.write(file, config);
        is_good(&place, file);
    }
    // Each certificate holds what leads to it: the host of its URIs and the domain that is looked up.
    for (name, host, domain) in [
        ("first.toml", "relay-a.example.com", "example.com"),
        ("second.toml", "relay-b.example.org", "example.org"),
    ] {
        let all = format!("hosts = [\"{host}\", \"{domain}\"]");
        place.write(
            name,
            &place
                .read(name)
                .replace(&format!("hosts = [\"{host}\"]"), &all),
        );
        is_good(&place, name);
    }
}

#[test]
fn farm_md_s_node() {
    let farm = document("docs/farm.md");
    let place = Place::new();
    place.certify(&["relay-1.example.com", "example.com"], |_| {});
    let key = &blocks(&farm, "sh")[0];
    shell(
        &place,
        key.lines().next().expect("a line that makes the key"),
    );
    place.write("node.toml", &blocks(&farm, "toml")[0]);
    is_good(&place, "node.toml");
}

#[test]
fn the_kubernetes_manifest_s_configuration() {
    let manifest = document("deploy/kubernetes/msrpd.yaml");
    let (_, text) = manifest.split_once("msrpd.toml: |\n").expect("the file");
    let config: String = text
        .lines()
        .take_while(|line| line.is_empty() || line.starts_with("    "))
        .map(|line| format!("{}\n", line.get(4..).unwrap_or_default()))
        .collect();
    let place = Place::new();
    let (certificate, key) = place.leaf(&["*.msrp.example.com", "example.com"], |_| {});
    place.write("tls.crt", &certificate);
    place.write("tls.key", &key);
    place.write("farm.keys", &format!("{}{}\n", "ab".repeat(31), "cd"));
    let folder = place.path(".").display().to_string();
    place.write("msrpd.toml", &config.replace("/etc/msrpd/secret", &folder));

    // As the kubelet expands it in each pod.
    let (_, env) = manifest
        .split_once("- name: MSRPD__RELAY__HOSTS\n              value: '")
        .expect("the pod's name");
    let value = env.split('\'').next().expect("a quoted value");
    let value = value.replace("$(POD_NAME)", "msrpd-1");
    assert_eq!(value, "[\"msrpd-1.msrp.example.com\"]");
    let mut check = place.msrpd(&["check", "--running", "--config", "msrpd.toml"]);
    let (code, text) = said(
        &check
            .env("MSRPD__RELAY__HOSTS", value)
            .output()
            .expect("runs"),
    );
    assert_eq!(code, Some(0), "{text}");

    let number = |words: &str| -> u32 {
        let (_, rest) = manifest.split_once(words).expect("the setting");
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().expect("a number")
    };
    assert!(
        number("terminationGracePeriodSeconds: ")
            > number("drain_timeout = \"") + number("drain_delay = \"") + 2
    );
    let services = manifest
        .matches("statefulset.kubernetes.io/pod-name: msrpd-")
        .count();
    assert_eq!(services, number("replicas: ") as usize);
}
