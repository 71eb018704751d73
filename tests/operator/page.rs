//! The chat page of `web/`: who serves it, and what its own tests say. `tests/browser` uses it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::place::{CONFIG, Place, Running};

/// A relay for one test, made by `msrpd dev` on ports of its own, with a listener for browsers behind the one for TLS.
fn dev(place: &Place) -> Running {
    std::fs::create_dir(place.path("dev")).expect("a folder");
    let config = "[relay]\nhosts = [\"relay.localhost\"]\nworkers = 1\n[[listen]]\naddress = \"127.0.0.1:0\"\n\
        [[listen]]\naddress = \"127.0.0.1:0\"\ntransport = \"ws\"\n\
        [tls]\ncertificate = \"relay.pem\"\nkey = \"relay.key\"\npeer_ca = \"ca.pem\"\n\
        [auth]\nrealm = \"relay.localhost\"\nhtdigest = \"users.htdigest\"\n\
        [admin]\naddress = \"127.0.0.1:0\"\n[log]\nformat = \"text\"\n";
    place.write("dev/msrpd.toml", config);
    let mut command = place.msrpd(&["dev", "--dir", "dev"]);
    command.stdout(Stdio::null());
    Running::start(command, place.path("log"))
}

/// What is named behind `before`, up to the next quotation mark.
fn named_behind<'t>(text: &'t str, before: &str) -> impl Iterator<Item = &'t str> {
    let places = text.split(before).skip(1);
    places.filter_map(|rest| rest.split_once('"').map(|(name, _)| name))
}

#[test]
fn dev_serves_the_page_and_everything_that_it_refers_to() {
    let place = Place::new();
    let relay = dev(&place);
    let mut wanted = BTreeSet::from(["/".to_owned(), "/dev.json".to_owned()]);
    let mut seen = BTreeSet::new();
    while let Some(path) = wanted.pop_first() {
        let answer = relay.get(&path);
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let head = head.to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200"), "{path}: {head}");
        let kind = match path.rsplit_once('.') {
            None => "text/html; charset=utf-8",
            Some((_, "js")) => "text/javascript; charset=utf-8",
            Some((_, "css")) => "text/css; charset=utf-8",
            Some((_, "json")) => "application/json",
            Some(_) => panic!("{path} is of no known kind"),
        };
        assert!(
            head.contains(&format!("\r\ncontent-type: {kind}\r\n")),
            "{path}: {head}"
        );
        assert!(
            head.contains("\r\nx-content-type-options: nosniff"),
            "{path}: {head}"
        );
        assert!(
            head.contains("\r\ncross-origin-resource-policy: same-origin"),
            "{path}: {head}"
        );
        let rule = "\r\ncontent-security-policy: ";
        let (_, policy) = head.split_once(rule).expect("a policy");
        let policy = policy.lines().next().expect("a line");
        let web = relay.addresses[1];
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            &format!("connect-src 'self' ws://{web};"),
        ] {
            assert!(policy.contains(part), "{path}: no {part} in {policy}");
        }
        assert!(
            !policy.contains("unsafe") && !policy.contains('*'),
            "{policy}"
        );
        seen.insert(path);
        for before in ["href=\"", "src=\"", " from \"./", "fetch(\""] {
            let named = named_behind(body, before).filter(|name| !name.starts_with("data:"));
            let named = named.map(|name| format!("/{name}"));
            wanted.extend(named.filter(|name| !seen.contains(name)));
        }
    }
    for path in ["/style.css", "/app.js", "/msrp.js"] {
        assert!(seen.contains(path), "{path} is not among {seen:?}");
    }
    for page in ["/metrics", "/healthz", "/readyz"] {
        assert!(relay.get(page).starts_with("HTTP/1.1 200"), "{page}");
    }
}

#[test]
fn the_page_of_dev_offers_the_users_whose_passwords_dev_toml_has() {
    let place = Place::new();
    let relay = dev(&place);
    let answer = relay.get("/dev.json");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    let offer: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(offer["url"], format!("ws://{}/", relay.addresses[1]));
    assert_eq!(offer["domain"], "relay.localhost");
    let dev: toml::Table = place.read("dev/dev.toml").parse().expect("TOML");
    let users = dev["users"].as_array().expect("users");
    assert_eq!(users.len(), 2);
    for (index, user) in users.iter().enumerate() {
        assert_eq!(
            offer["users"][index]["name"],
            user["name"].as_str().expect("text")
        );
        assert_eq!(
            offer["users"][index]["password"],
            user["password"].as_str().expect("text")
        );
    }
}

#[test]
fn run_serves_no_page() {
    let place = Place::new();
    let web = "[tls]\n";
    let listener = "[[listen]]\naddress = \"127.0.0.1:0\"\ntransport = \"ws\"\n[tls]\n";
    place.write("msrpd.toml", &CONFIG.replacen(web, listener, 1));
    let relay = place.run();
    for path in [
        "/",
        "/index.html",
        "/app.js",
        "/msrp.js",
        "/bubbles.js",
        "/style.css",
        "/dev.json",
    ] {
        assert!(relay.get(path).starts_with("HTTP/1.1 404"), "{path}");
    }
    assert!(relay.get("/healthz").starts_with("HTTP/1.1 200"));
}

/// `web/msrp.test.js`, by the runner that Node has built in.
#[test]
fn the_client_in_javascript_passes_its_own_tests() {
    let Ok(node) = Command::new("node").arg("--version").output() else {
        return eprintln!("skipped: node is not installed");
    };
    let version = String::from_utf8_lossy(&node.stdout).into_owned();
    let major = version.trim().trim_start_matches('v').split('.').next();
    let major: u32 = major.and_then(|major| major.parse().ok()).unwrap_or(0);
    // The first with all that the tests use: `File`, and the reporter's summary.
    if major < 20 {
        return eprintln!("skipped: node {} is too old", version.trim());
    }
    let ran = Command::new("node")
        .args(["--test", "web"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("node runs");
    let text = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{text}");
    let passed = text.lines().find_map(|line| {
        let (_, count) = line.split_once("pass ")?;
        count.trim().parse::<u32>().ok()
    });
    assert!(passed.is_some_and(|passed| passed >= 10), "{text}");
}

/// What `npm publish` would take.
#[test]
fn the_package_names_files_that_are_there() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
    let text = std::fs::read_to_string(folder.join("package.json")).expect("a file");
    let package: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    // What TypeScript needs is made of the source when the package is packed.
    assert!(
        package["scripts"]["prepack"]
            .as_str()
            .is_some_and(|made| made.contains("--declaration"))
    );
    let files = package["files"].as_array().expect("files");
    let named = files.iter().chain([&package["main"]]);
    for name in named.filter_map(serde_json::Value::as_str) {
        assert!(
            name.ends_with(".d.ts") || folder.join(name).exists(),
            "{name}"
        );
    }
    for key in [
        "name",
        "version",
        "description",
        "license",
        "exports",
        "types",
    ] {
        assert!(package.get(key).is_some(), "{key}");
    }
    assert_eq!(package["version"], env!("CARGO_PKG_VERSION"));
}
