//! Users in PostgreSQL, with a server of the test's own: Kamailio's and OpenSIPS's tables, and what
//! a database does that is restarted, hangs or is somebody else's.

mod server;

use std::time::{Duration, Instant};

use msrpload::digest::Algorithm;

use crate::pair::{across, chat};
use crate::reloading::{RELOADED, reload};
use crate::support::client::{Client, SOON};
use crate::support::pki::{Authority, TRUSTED};
use crate::support::random::heavy;
use crate::support::relay::{Relay, Setup};

use server::Server;

/// As Kamailio's `kamctl` makes it.
const KAMAILIO: &str = "CREATE TABLE subscriber (
    id SERIAL PRIMARY KEY NOT NULL,
    username VARCHAR(64) DEFAULT '' NOT NULL,
    domain VARCHAR(64) DEFAULT '' NOT NULL,
    password VARCHAR(64) DEFAULT '' NOT NULL,
    ha1 VARCHAR(128) DEFAULT '' NOT NULL,
    ha1b VARCHAR(128) DEFAULT '' NOT NULL,
    CONSTRAINT subscriber_account_idx UNIQUE (username, domain))";
/// As OpenSIPS's `opensips-cli` makes it.
const OPENSIPS: &str = "CREATE TABLE subscriber (
    id SERIAL PRIMARY KEY NOT NULL,
    username VARCHAR(64) DEFAULT '' NOT NULL,
    domain VARCHAR(64) DEFAULT '' NOT NULL,
    password VARCHAR(25) DEFAULT '' NOT NULL,
    ha1 VARCHAR(64) DEFAULT '' NOT NULL,
    ha1_sha256 VARCHAR(64) DEFAULT '' NOT NULL,
    ha1_sha512t256 VARCHAR(64) DEFAULT '' NOT NULL,
    CONSTRAINT subscriber_account_idx UNIQUE (username, domain))";
const REALM: &str = "example.com";
const CACHED: Duration = Duration::from_millis(200);

fn database(table: &str) -> Server {
    let server = Server::start();
    server.query("kamailio", table);
    server.query("kamailio", "GRANT SELECT ON subscriber TO msrpd");
    server
}

fn add(server: &Server, user: &str, password: &str, columns: &[(&str, Algorithm)]) {
    let a1 = format!("{user}:{REALM}:{password}");
    let hashes = columns.iter().map(|(_, algorithm)| algorithm.hash(&a1));
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let values: Vec<String> = hashes.map(|hash| format!("'{hash}'")).collect();
    server.query(
        "kamailio",
        &format!(
            "INSERT INTO subscriber (username, domain, {}) VALUES ('{user}', '{REALM}', {})",
            names.join(", "),
            values.join(", ")
        ),
    );
}

const HA1: (&str, Algorithm) = ("ha1", Algorithm::Md5);
const HA1_SHA256: (&str, Algorithm) = ("ha1_sha256", Algorithm::Sha256);

fn settings(url: &str) -> toml::Table {
    let cached = format!("{}ms", CACHED.as_millis());
    [
        ("url_file", "database.url"),
        ("timeout", "1s"),
        ("cache", &cached),
        ("negative_cache", &cached),
    ]
    .map(|(key, value)| (key.to_owned(), value.into()))
    .into_iter()
    .chain((!url.contains("sslmode")).then(|| ("connections".to_owned(), 2.into())))
    .collect()
}

fn relay(url: &str) -> Setup {
    Setup::new()
        .set("relay.workers", 2)
        .set("auth.postgres", settings(url))
        .file("database.url", &format!("{url}\n"))
}

/// The code of an AUTH as this user, on a connection of its own.
fn code(relay: &Relay, user: &str, password: &str) -> u16 {
    let mut client = Client::tls(relay);
    code_on(&mut client, user, password)
}

fn code_on(client: &mut Client, user: &str, password: &str) -> u16 {
    client.set_user(user, password);
    let challenge = client.challenge();
    let answer = client.answer(&challenge, 1);
    let authorization = format!("Authorization: {}", answer.authorization);
    client.auth(&[&authorization]).code().expect("a response")
}

fn becomes(relay: &Relay, user: &str, password: &str, wanted: u16) {
    let until = Instant::now() + 3 * SOON;
    loop {
        let found = code(relay, user, password);
        if found == wanted {
            return;
        }
        assert!(Instant::now() < until, "{found} for {user}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn look_ups(relay: &Relay, result: &str) -> f64 {
    relay.metric(
        "msrpd_user_lookups_total",
        &[&format!("result=\"{result}\"")],
    )
}

#[test]
fn aut_12_users_stand_in_kamailios_table() {
    if !server::is_there() {
        return;
    }
    let server = database(KAMAILIO);
    add(&server, "dora", "explorer", &[HA1]);
    for url in [server.url(), server.url_of_socket()] {
        let relay = relay(&url).start();
        assert_eq!(code(&relay, "dora", "explorer"), 200);
        assert_eq!(code(&relay, "dora", "wrong"), 401);
        assert_eq!(code(&relay, "nobody", "explorer"), 401);
        assert_eq!(code(&relay, "'; DROP TABLE subscriber; --", "x"), 401);
        // Who stands in the users' file is not looked for.
        let (user, password) = relay.credentials("alice");
        assert_eq!(code(&relay, user, password), 200);
        assert_eq!(look_ups(&relay, "found"), 2.0);
        assert_eq!(look_ups(&relay, "unknown"), 2.0);
        assert_eq!(look_ups(&relay, "failed"), 0.0);
        assert!(!relay.log().contains("s3cret"));
    }
}

#[test]
fn aut_07_users_stand_in_opensips_table_with_both_hashes() {
    if !server::is_there() {
        return;
    }
    let server = database(OPENSIPS);
    add(&server, "dora", "explorer", &[HA1, HA1_SHA256]);
    add(&server, "old", "explorer", &[HA1]);
    for (algorithms, of_old) in [(&["MD5"][..], 200), (&["SHA-256"], 401)] {
        let relay = relay(&server.url())
            .set_list("auth.algorithms", algorithms)
            .start();
        assert_eq!(code(&relay, "dora", "explorer"), 200);
        assert_eq!(code(&relay, "dora", "wrong"), 401);
        assert_eq!(code(&relay, "old", "explorer"), of_old);
    }
}

#[test]
fn aut_12_what_was_found_is_remembered_and_sighup_forgets_it() {
    if !server::is_there() {
        return;
    }
    let server = database(KAMAILIO);
    let mut for_long = settings(&server.url());
    for_long.insert("cache".to_owned(), "1h".into());
    for_long.insert("negative_cache".to_owned(), "1h".into());
    let relay = relay(&server.url()).set("auth.postgres", for_long).start();
    assert_eq!(code(&relay, "dora", "explorer"), 401);
    add(&server, "dora", "explorer", &[HA1]);
    assert_eq!(code(&relay, "dora", "explorer"), 401);
    reload(&relay, RELOADED);
    assert_eq!(code(&relay, "dora", "explorer"), 200);
    server.query("kamailio", "DELETE FROM subscriber");
    assert_eq!(code(&relay, "dora", "explorer"), 200);
    reload(&relay, RELOADED);
    assert_eq!(code(&relay, "dora", "explorer"), 401);
}

/// While it hangs AUTH fails at once after the first, and sessions do not notice.
#[test]
fn aut_22_a_database_that_hangs_costs_408_and_nothing_else() {
    if !server::is_there() {
        return;
    }
    let _turn = heavy();
    let server = database(KAMAILIO);
    add(&server, "dora", "explorer", &[HA1]);
    let relay = relay(&server.url()).start();
    let mut link = across(&relay);
    assert_eq!(code(&relay, "dora", "explorer"), 200);
    std::thread::sleep(CACHED);

    server.signal(libc::SIGSTOP);
    let mut client = Client::tls(&relay);
    let began = Instant::now();
    assert_eq!(code_on(&mut client, "dora", "explorer"), 408);
    assert!(began.elapsed() > Duration::from_millis(900), "it was tried");
    // As often as it likes: no attempt has failed.
    let began = Instant::now();
    let mut quick = 0;
    for _ in 0..40 {
        let one = Instant::now();
        assert_eq!(code_on(&mut client, "dora", "explorer"), 408);
        quick += usize::from(one.elapsed() < Duration::from_millis(500));
        chat(&mut link, "goes on");
    }
    assert!(quick >= 30, "{quick} of 40 in {:?}", began.elapsed());
    let (user, password) = relay.credentials("alice");
    assert_eq!(code_on(&mut client, user, password), 200);
    assert_eq!(
        relay.log().matches("users cannot be looked up").count(),
        1,
        "{}",
        relay.log()
    );

    server.signal(libc::SIGCONT);
    becomes(&relay, "dora", "explorer", 200);
    let until = Instant::now() + SOON;
    while !relay.log().contains("users are looked up again") {
        assert!(Instant::now() < until, "{}", relay.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(look_ups(&relay, "failed") >= 41.0);
}

/// A connection that the server has closed is not the database's end.
#[test]
fn aut_12_a_database_may_be_restarted_away_and_back() {
    if !server::is_there() {
        return;
    }
    let mut server = database(KAMAILIO);
    add(&server, "dora", "explorer", &[HA1]);
    let relay = relay(&server.url()).start();
    assert_eq!(code(&relay, "dora", "explorer"), 200);
    std::thread::sleep(CACHED);
    server.stop();
    server.run(&[]);
    assert_eq!(code(&relay, "dora", "explorer"), 200);
    std::thread::sleep(CACHED);
    server.stop();
    assert_eq!(code(&relay, "dora", "explorer"), 408);
    server.run(&[]);
    becomes(&relay, "dora", "explorer", 200);
    // What it does not like to be asked is said, and is no failed attempt.
    server.query("kamailio", "DROP TABLE subscriber");
    std::thread::sleep(CACHED);
    assert_eq!(code(&relay, "dora", "explorer"), 408);
    assert!(relay.log().contains("subscriber"), "{}", relay.log());
}

#[test]
fn tls_08_a_database_server_must_prove_its_name() {
    if !server::is_there() {
        return;
    }
    let mut server = database(KAMAILIO);
    add(&server, "dora", "explorer", &[HA1]);
    server.stop();
    server.certificate(&TRUSTED.leaf(&["localhost"]));
    server.run(&["-c", "ssl=on"]);
    let url = server.url_of_localhost();
    let believing = |ca: &str| {
        let mut postgres = settings(&url);
        postgres.insert("ca".to_owned(), "database-ca.pem".into());
        relay(&url)
            .set("auth.postgres", postgres)
            .file("database-ca.pem", ca)
            .start()
    };
    assert_eq!(code(&believing(&TRUSTED.pem()), "dora", "explorer"), 200);
    let stranger = Authority::impostor();
    let relay = believing(&stranger.pem());
    assert_eq!(code(&relay, "dora", "explorer"), 408);
    assert!(relay.log().contains("certificate"), "{}", relay.log());
    server.stop();
    server.certificate(&TRUSTED.leaf(&["another.example.com"]));
    server.run(&["-c", "ssl=on"]);
    assert_eq!(code(&believing(&TRUSTED.pem()), "dora", "explorer"), 408);
}
