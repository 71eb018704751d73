//! Planted mistakes and what is said about them; what is printed reads back.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;

const GOOD: &str = r#"
[relay]
hosts = ["Relay-A.example.com"]
domains = ["example.com"]
[[listen]]
address = "127.0.0.1:2855"
[[listen]]
address = "[::1]:2855"
transport = "tls"
advertise_port = 443
[tls]
certificate = "relay-a.pem"
key = "/etc/keys/relay-a.key"
[auth]
realm = "example.com"
realms = { "example.com" = "Example" }
htdigest = "users.htdigest"
algorithms = ["SHA-256", "MD5"]
nonce_lifetime = "5m"
[dns]
nameservers = ["127.0.0.1:5353", "::1"]
[dial]
allow = ["127.0.0.0/8", "::1"]
"#;

fn parsed(text: &str) -> Loaded {
    parse(Path::new("/etc/msrpd/msrpd.toml"), text, &[])
}

#[test]
fn a_good_file_is_read_into_types() {
    let loaded = parsed(GOOD);
    assert!(!loaded.problems.has_errors(), "{}", loaded.problems);
    let config = loaded.config;
    assert_eq!(config.relay.hosts[0].to_string(), "relay-a.example.com");
    assert_eq!(config.listen.len(), 2);
    assert_eq!(config.listen[1].advertise_port, Some(443));
    assert_eq!(
        config.tls.certificate,
        Some(PathBuf::from("/etc/msrpd/relay-a.pem")),
        "relative to the file"
    );
    assert_eq!(config.tls.key, Some(PathBuf::from("/etc/keys/relay-a.key")));
    assert_eq!(config.auth.nonce_lifetime, Duration::from_secs(300));
    assert_eq!(config.auth.algorithms, [Algorithm::Sha256, Algorithm::Md5]);
    assert_eq!(
        config.dns.nameservers[1].0,
        "[::1]:53".parse::<SocketAddr>().expect("an address")
    );
    assert_eq!(config.dial.allow[1].to_string(), "::1/128");
}

#[test]
fn what_is_printed_reads_back_to_the_same() {
    let config = parsed(GOOD).config;
    let printed = print(&config);
    let again = parse(Path::new("/elsewhere/printed.toml"), &printed, &[]);
    assert!(
        !again.problems.has_errors(),
        "{}\n{printed}",
        again.problems
    );
    assert_eq!(print(&again.config), printed);
    assert_eq!(format!("{:?}", again.config), format!("{config:?}"));
}

#[test]
fn the_sample_file_is_good_and_has_every_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("msrpd.sample.toml");
    let sample = std::fs::read_to_string(&path).expect("the sample file");
    let loaded = parse(&path, &sample, &[]);
    assert!(!loaded.problems.has_errors(), "{}", loaded.problems);
    // Optional keys stand there as comments: uncommented, the file still reads.
    let whole: String = sample
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest)
                if rest.split_once(" = ").is_some_and(|(key, _)| {
                    key.bytes()
                        .all(|o| o.is_ascii_lowercase() || o.is_ascii_digit() || o == b'_')
                }) =>
            {
                rest
            }
            Some(rest) if rest.starts_with('[') && rest.ends_with(']') => rest,
            _ => line,
        })
        .collect::<Vec<_>>()
        .join("\n");
    let loaded = parse(&path, &whole, &[]);
    assert!(!loaded.problems.has_errors(), "{}", loaded.problems);
    for key in keys() {
        let written = key
            .replace("listen.", "listen[0].")
            .replace("extra.", "extra[0].")
            .replace("users.", "users[0].");
        // One of several that exclude each other stands behind a word.
        let name = key.rsplit_once('.').map_or("", |(_, name)| name);
        let instead = sample.contains(&format!("# or {name} = "));
        assert!(
            loaded.places.has(&written) || instead,
            "{key} is not in msrpd.sample.toml"
        );
    }
}

#[test]
fn the_reference_is_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let wanted = super::reference::reference();
    if std::env::var_os("MSRPD_WRITE_REFERENCE").is_some() {
        std::fs::write(&path, &wanted).expect("docs/configuration.md is written");
    }
    let found = std::fs::read_to_string(path).expect("docs/configuration.md");
    assert!(
        found == wanted,
        "write it anew: MSRPD_WRITE_REFERENCE=1 cargo test --lib config::"
    );
}

/// Replaces `old` in the good file and says what was found.
fn spoiled(old: &str, new: &str) -> String {
    assert!(GOOD.contains(old), "{old}");
    parsed(&GOOD.replace(old, new)).problems.to_string()
}

#[test]
fn each_mistake_is_found_where_it_stands() {
    let cases: &[(&str, &str, &str, &str)] = &[
        // what, instead, place and start of the message, what to do
        (
            "hosts =",
            "host =",
            "3:1: relay.host: unknown key",
            "did you mean `hosts`?",
        ),
        (
            "domains =",
            "probation =",
            "4:1: relay.probation: unknown key",
            "`probation` belongs to [limits]",
        ),
        (
            "[dns]",
            "[dsn]",
            "20:2: dsn: unknown section",
            "did you mean [dns]?",
        ),
        (
            "[dns]",
            "[resolver]",
            "20:2: resolver: unknown section",
            "the sections are relay, listen",
        ),
        (
            "\n[relay]",
            "realm = \"x\"\n[relay]",
            "1:1: realm: this key stands outside its section",
            "belongs to [auth]",
        ),
        (
            "\"5m\"",
            "300",
            "19:18: auth.nonce_lifetime: found a number",
            "with its unit",
        ),
        (
            "\"5m\"",
            "\"5 min\"",
            "19:18: auth.nonce_lifetime: `5 min` is no duration",
            "ms, s, m, h, d",
        ),
        (
            "\"5m\"",
            "\"1ms\"",
            "19:18: auth.nonce_lifetime: \"1ms\" is out of range",
            "from \"1s\" to \"1d\"",
        ),
        (
            "\"127.0.0.1:2855\"",
            "\"127.0.0.1\"",
            "6:11: listen[0].address: `127.0.0.1` has no port",
            "0.0.0.0:2855",
        ),
        (
            "\"127.0.0.1:2855\"",
            "\"relay:2855\"",
            "6:11: listen[0].address: `relay` is no IP address",
            "",
        ),
        (
            "\"127.0.0.1:2855\"",
            "\"127.0.0.1:99999\"",
            "6:11: listen[0].address: `99999` is no port",
            "",
        ),
        (
            "[::1]:2855",
            "127.0.0.1:2855",
            "8:1: listen[1].address: 127.0.0.1:2855 is listened on already",
            "remove one",
        ),
        (
            "\"tls\"",
            "\"udp\"",
            "9:13: listen[1].transport: `udp` is none of the words",
            "\"wss\" or \"ws\"",
        ),
        (
            "443",
            "\"443\"",
            "10:18: listen[1].advertise_port: found a string",
            "without quotes",
        ),
        (
            "443",
            "70000",
            "10:18: listen[1].advertise_port: 70000 is out of range",
            "65535",
        ),
        (
            "443",
            "0",
            "10:1: listen[1].advertise_port: 0 is no port",
            "",
        ),
        (
            "advertise_port = 443",
            "proxy_protocol_from = [\"192.0.2.300\"]",
            "10:24: listen[1].proxy_protocol_from: `192.0.2.300` is no network",
            "CIDR",
        ),
        (
            "\"127.0.0.0/8\"",
            "\"127.0.0.1/8\"",
            "23:10: dial.allow: `127.0.0.1/8` has bits set",
            "`127.0.0.0/8`",
        ),
        (
            "\"127.0.0.0/8\"",
            "\"localnet\"",
            "23:10: dial.allow: `localnet` is no network",
            "CIDR",
        ),
        (
            "key = \"/etc/keys/relay-a.key\"\n",
            "",
            "12:1: tls.key: missing",
            "add key",
        ),
        (
            "certificate = \"relay-a.pem\"\n",
            "",
            "12:1: tls.certificate: missing",
            "add certificate",
        ),
        (
            "certificate = \"relay-a.pem\"",
            "certificate = \"\"",
            "12:15: tls.certificate: the path is empty",
            "",
        ),
        (
            "[\"SHA-256\", \"MD5\"]",
            "[]",
            "18:1: auth.algorithms: empty",
            "offer at least one",
        ),
        (
            "[\"SHA-256\", \"MD5\"]",
            "[\"MD5\", \"SHA-256\"]",
            "18:1: auth.algorithms: MD5 stands before",
            "",
        ),
        (
            "[\"SHA-256\", \"MD5\"]",
            "[\"sha1\"]",
            "18:15: auth.algorithms: `sha1` is none",
            "\"MD5\" or \"SHA-256\"",
        ),
        (
            "{ \"example.com\" =",
            "{ \"example.net\" =",
            "16:1: auth.realms: `example.net` is neither",
            "",
        ),
        (
            "realm = \"example.com\"",
            "realm = \"a:b\"",
            "15:9: auth.realm: `a:b` cannot stand in a users' file",
            "",
        ),
        (
            "Relay-A.example.com",
            "relay-a",
            "3:1: relay.hosts: `relay-a` has no dot",
            "fully qualified",
        ),
        (
            "Relay-A.example.com",
            "192.0.2.1",
            "3:1: relay.hosts: `192.0.2.1` is an address and stands first",
            "put a name first",
        ),
        (
            "Relay-A.example.com",
            "msrps://a.example.com",
            "3:10: relay.hosts: `msrps://a.example.com` is a URI",
            "",
        ),
        (
            "Relay-A.example.com",
            "a.example.com:2855",
            "3:10: relay.hosts: the port `2855` does not belong",
            "",
        ),
        ("\"Relay-A.example.com\"", "", "3:1: relay.hosts: empty", ""),
        (
            "\"Relay-A.example.com\"",
            "\"a.example\", \"A.example\"",
            "3:1: relay.hosts: `a.example` stands there twice",
            "",
        ),
        (
            "[relay]",
            "[[relay]]",
            "2:3: relay: this is a section",
            "write [relay]",
        ),
        (
            "nonce_lifetime",
            "expires_min = 100\nexpires_max = 50\nnonce_lifetime",
            "19:1: auth.expires_min: 100 is more",
            "",
        ),
        (
            "nonce_lifetime",
            "expires_default = 90000\nnonce_lifetime",
            "19:1: auth.expires_default: 90000 is not between",
            "",
        ),
        (
            "[dns]",
            "[limits]\nunauthenticated = 200\nconnections = 100\n[dns]",
            "21:1: limits.unauthenticated: 200 is more",
            "",
        ),
        (
            "[dns]",
            "[limits]\nqueued_octets_shared = 20000\n[dns]",
            "20:2: limits.queued_octets_per_session: 65536 is more",
            "",
        ),
        (
            "[dns]",
            "[limits]\nheader_lines = 3\n[dns]",
            "21:16: limits.header_lines: 3 is out of range",
            "from 64 to",
        ),
        (
            "[dns]",
            "[limits]\nheader_lines = -3\n[dns]",
            "21:16: limits.header_lines: -3 is out of range",
            "",
        ),
        (
            "[dns]",
            "[peers]\nallow = [\"b.example\"]\nblock = [\"b.example\"]\n[dns]",
            "22:1: peers.block: `b.example` is in",
            "",
        ),
        (
            "[dns]",
            "[admin]\naddress = \"127.0.0.1:2855\"\n[dns]",
            "21:1: admin.address: 127.0.0.1:2855 is a [[listen]]",
            "",
        ),
        (
            "[dns]",
            "[admin]\naddress = \"none\"\n[dns]",
            "21:11: admin.address: `none` has no port",
            "or \"off\"",
        ),
        (
            "[dns]",
            "[log]\nlevel = \"loud\"\n[dns]",
            "21:9: log.level: `loud` is none",
            "\"trace\"",
        ),
        ("hosts = [", "hosts = ", "3:", "TOML"),
        ("[tls]", "[tls", "11:", "TOML"),
        ("[dns]", "[tls]", "20:", ""),
    ];
    for (old, new, found, help) in cases {
        let said = spoiled(old, new);
        let wanted = format!("error: /etc/msrpd/msrpd.toml:{found}");
        assert!(
            said.contains(&wanted),
            "{old} -> {new}: wanted {wanted}\ngot {said}"
        );
        assert!(
            said.contains(help),
            "{old} -> {new}: wanted {help}\ngot {said}"
        );
    }
}

#[test]
fn all_mistakes_are_reported_at_once_in_the_order_of_the_file() {
    let text = GOOD
        .replace("domains =", "domain =")
        .replace("\"5m\"", "5")
        .replace("443", "70000");
    let problems = parsed(&text).problems;
    let lines: Vec<u32> = problems
        .iter()
        .filter_map(|p| p.place)
        .map(|place| place.line)
        .collect();
    assert_eq!(lines, [4, 10, 16, 19], "{problems}");
}

#[test]
fn trust_in_everybody_is_warned_of() {
    let text = GOOD.replace(
        "advertise_port = 443",
        "proxy_protocol_from = [\"192.0.2.1\", \"::/0\"]",
    );
    let loaded = parse(Path::new("/etc/msrpd/msrpd.toml"), &text, &[]);
    let said = loaded.problems.to_string();
    let what = "listen[1].proxy_protocol_from: whoever connects can claim any address";
    assert!(said.contains(what) && !said.contains("error:"), "{said}");
}

/// The good file, and variables that stand before it.
fn overridden(variables: &[(&str, &str)]) -> Loaded {
    let variables: Vec<_> = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    parse(Path::new("/etc/msrpd/msrpd.toml"), GOOD, &variables)
}

#[test]
fn variables_of_the_environment_stand_before_the_file() {
    let loaded = overridden(&[
        ("MSRPD__AUTH__REALM", "1234"),
        ("MSRPD__DIAL__ALLOW", "[\"10.0.0.0/8\"]"),
        ("MSRPD__LIMITS__CONNECTIONS", "5_000"),
        (
            "MSRPD__LISTEN",
            "[{ address = \"127.0.0.1:1\" }, { address = \"127.0.0.1:2\", transport = \"tcp\" }]",
        ),
        ("MSRPD__RELAY__DRAIN_TIMEOUT", "7s"),
        ("MSRPD__RELAY__SIGNED_CONTENT_ONLY", "true"),
        (
            "MSRPD__TLS__EXTRA",
            "[{ certificate = \"b.pem\", key = \"/b.key\" }]",
        ),
        ("MSRPD__TLS__KEY", "/run/secrets/key"),
    ]);
    assert!(!loaded.problems.has_errors(), "{}", loaded.problems);
    let config = loaded.config;
    let realm = config.auth.realm.expect("a realm");
    assert_eq!(realm.as_str(), "1234", "a string needs no quotes");
    assert_eq!(config.dial.allow.len(), 1);
    assert_eq!(config.limits.connections, 5000);
    assert_eq!(config.listen.len(), 2, "the whole list");
    assert_eq!(config.listen[1].transport, Transport::Tcp);
    assert_eq!(config.relay.drain_timeout, Duration::from_secs(7));
    assert!(config.relay.signed_content_only);
    assert_eq!(config.tls.key, Some(PathBuf::from("/run/secrets/key")));
    assert_eq!(
        config.tls.extra[0].certificate,
        PathBuf::from("/etc/msrpd/b.pem"),
        "relative to the file"
    );
}

#[test]
fn mistakes_in_variables_name_the_variable() {
    let cases: &[(&str, &str, &[&str])] = &[
        (
            "MSRPD__TLS__KEZ",
            "x",
            &[
                "error: MSRPD__TLS__KEZ: this variable names no key",
                "did you mean MSRPD__TLS__KEY?",
            ],
        ),
        (
            "MSRPD__NONSENSE",
            "x",
            &["error: MSRPD__NONSENSE: ", "MSRPD__SECTION__KEY"],
        ),
        (
            "MSRPD__RELAY__WORKERS",
            "many",
            &[
                "error: MSRPD__RELAY__WORKERS: relay.workers: ",
                "a whole number",
            ],
        ),
        (
            "MSRPD__RELAY__WORKERS",
            "1000",
            &["error: MSRPD__RELAY__WORKERS: relay.workers: 1000 is out of range"],
        ),
        (
            "MSRPD__RELAY__DRAIN_TIMEOUT",
            "5",
            &[
                "error: MSRPD__RELAY__DRAIN_TIMEOUT: relay.drain_timeout: ",
                "unit",
            ],
        ),
        (
            "MSRPD__AUTH__REALM",
            "",
            &["error: MSRPD__AUTH__REALM: auth.realm: "],
        ),
        (
            "MSRPD__DIAL__ALLOW",
            "10.0.0.0/8",
            &[
                "error: MSRPD__DIAL__ALLOW: dial.allow: ",
                "a list in brackets",
            ],
        ),
        (
            "MSRPD__LISTEN",
            "[{ adress = \"127.0.0.1:1\" }]",
            &[
                "error: MSRPD__LISTEN: listen[0].adress: unknown key",
                "error: MSRPD__LISTEN: listen[0].address: missing",
            ],
        ),
        (
            "MSRPD__LISTEN",
            "0.0.0.0:1",
            &["error: MSRPD__LISTEN: listen: "],
        ),
        (
            "MSRPD__AUTH__EXPIRES_MIN",
            "90000",
            &["error: MSRPD__AUTH__EXPIRES_MIN: auth.expires_min: 90000 is more than expires_max"],
        ),
    ];
    for (name, value, words) in cases {
        let problems = overridden(&[(name, value)]).problems.to_string();
        for word in *words {
            assert!(problems.contains(word), "no {word} in:\n{problems}");
        }
    }
}

#[test]
fn an_empty_file_says_what_is_needed() {
    let said = parsed("").problems.to_string();
    assert!(said.contains("relay.hosts: missing"), "{said}");
    assert!(
        said.contains("tls: a tls listener needs a certificate"),
        "{said}"
    );
}

#[test]
fn a_missing_file_is_named() {
    let loaded = load(Path::new("/nonexistent/msrpd.toml"));
    let said = loaded.problems.to_string();
    assert!(
        said.contains("/nonexistent/msrpd.toml: cannot read it") && said.contains("--config"),
        "{said}"
    );
}

#[test]
fn a_file_of_noise_is_refused_without_a_panic() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let pieces = [
        "[",
        "]",
        "\"",
        "=",
        "\n",
        "relay",
        "hosts",
        ".",
        "{",
        "}",
        "é",
        "0x",
        "1",
        "''",
        "#",
        "[[listen]]",
        ",",
    ];
    for _ in 0..2000 {
        let mut text = String::new();
        for _ in 0..20 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            text.push_str(pieces[(seed % pieces.len() as u64) as usize]);
        }
        assert!(parsed(&text).problems.has_errors(), "{text}");
    }
}
