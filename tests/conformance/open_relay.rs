//! The open-relay and SSRF matrix: RFC 4976 §3.1, §6.4, §9.3, §9.4; rows SEC-01 to SEC-03, SEC-11, FWD-01, UPT-10,
//! URI-12, CON-09. Each case is one request of somebody who may not have what it asks for: who sends, with which
//! To-Path, what the answer is. Whatever it is, nothing is forwarded, nobody is dialled, and where no name may be
//! looked up, none is.

use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::rows;
use crate::support::client::{Client, Nothing, QUIET, SOON};
use crate::support::dns::{Names, Record};
use crate::support::message::Draft;
use crate::support::peer::Peer;
use crate::support::pki::TRUSTED;
use crate::support::relay::{Relay, Setup};
use crate::support::relay2::{R2, own_host, own_token};
use crate::support::tls::server_config;

rows! {
    any: [],
    own: [
        sec_01_open_relay_matrix,
        sec_03_ssrf_matrix,
        sec_03_ssrf_matrix_of_own_listeners,
        sec_03_ssrf_matrix_of_names,
        sec_03_matrix_has_a_hundred_cases,
    ],
}

/// What a case is about: `open_relay.txt` has them.
struct Case {
    name: &'static str,
    sender: Sender,
    /// Of a request, or the code of a response.
    method: &'static str,
    /// To-Path, with places for [`World::path`].
    to: String,
    due: Due,
}

/// Who sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sender {
    /// A new TLS connection without a certificate.
    Stranger,
    /// A new connection to the plain listener.
    StrangerInClear,
    /// A user with a token of her own.
    Mallory,
    /// A verified relay, R2, by a new connection.
    Relay,
    /// Another verified relay, R3.
    OtherRelay,
    /// Somebody with R2's name in a certificate of an authority that nobody knows.
    FalseRelay,
    /// A verified relay that the operator has blocked.
    BlockedRelay,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Due {
    /// A response with this code, once.
    Code(u16),
    Silence,
    Closed,
}

fn cases() -> Vec<Case> {
    let lines = include_str!("open_relay.txt").lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let parts: Vec<&str> = line.split(" | ").collect();
            let [name, sender, method, to, due] = parts[..] else {
                panic!("not a case: {line}");
            };
            let sender = match sender {
                "Stranger" => Sender::Stranger,
                "StrangerInClear" => Sender::StrangerInClear,
                "Mallory" => Sender::Mallory,
                "Relay" => Sender::Relay,
                "OtherRelay" => Sender::OtherRelay,
                "FalseRelay" => Sender::FalseRelay,
                "BlockedRelay" => Sender::BlockedRelay,
                other => panic!("who is {other}?"),
            };
            let due = match due {
                "silence" => Due::Silence,
                "closed" => Due::Closed,
                code => Due::Code(code.parse().expect("a code")),
            };
            Case {
                name,
                sender,
                method,
                to: unescaped(to),
                due,
            }
        })
        .collect()
}

/// Name and host of this kind, of `open_relay_hosts.txt`.
fn hosts(kind: &str) -> Vec<(&'static str, &'static str)> {
    let prefix = format!("{kind} | ");
    include_str!("open_relay_hosts.txt")
        .lines()
        .filter_map(|line| line.strip_prefix(&prefix))
        .map(|line| line.split_once(" | ").expect("name and host"))
        .map(|(name, host)| (name, if host == "{nothing}" { "" } else { host }))
        .collect()
}

/// `\u{n}` is a character.
fn unescaped(text: &str) -> String {
    let mut parts = text.split("\\u{");
    let mut plain = parts.next().expect("a first part").to_owned();
    for part in parts {
        let (number, rest) = part.split_once('}').expect("the number ends");
        let number = u32::from_str_radix(number, 16).expect("a number");
        plain.push(char::from_u32(number).expect("a character"));
        plain.push_str(rest);
    }
    plain
}

struct World {
    relay: Relay,
    x: Peer,
    alice: Client,
    mallory: Client,
    r2: R2,
    r3: R2,
    blocked: R2,
    r2_token: String,
    gone: (String, String),
    expired: String,
    second: String,
    name: String,
}

impl World {
    fn new() -> Self {
        let (r2, r3, blocked) = (R2::new(), R2::new(), R2::new());
        let relay = Setup::new()
            .set_list("peers.block", &[&blocked.host])
            .set("auth.expires_min", 1)
            .set("limits.auth_failures", 1000)
            .start();
        let mut alice = Client::authenticated(&relay, "alice");
        let first = alice.token.clone();
        alice.obtain_token_with(&["Expires: 1"]);
        let expired = std::mem::replace(&mut alice.token, first);
        let mut mallory = Client::authenticated(&relay, "mallory");
        let second = mallory.token.clone();
        mallory.obtain_token();
        let gone = Client::authenticated(&relay, "bob");
        let mut link = r2.connect(&relay);
        link.obtain_token();
        let world = Self {
            x: anywhere(&[]),
            r2_token: own_token(&link.token),
            gone: (gone.token.clone(), gone.uri.clone()),
            name: own_host(),
            relay,
            alice,
            mallory,
            r2,
            r3,
            blocked,
            expired,
            second,
        };
        gone.kill();
        std::thread::sleep(Duration::from_millis(1500));
        world
    }

    fn path(&self, template: &str) -> String {
        let (ta, own, x) = (&self.alice.token, &self.mallory.token, &self.x.uri);
        let port = self.relay.port();
        let clear = |uri: &str| uri.replacen("msrps:", "msrp:", 1);
        let next_port = |uri: &str, port: u16| {
            uri.replacen(&format!(":{port}/"), &format!(":{}/", port + 1), 1)
        };
        let id = |uri: &str| {
            uri.rsplit_once('/')
                .unwrap()
                .1
                .trim_end_matches(";tcp")
                .to_owned()
        };
        let with_id = |uri: &str, new: &str| uri.replacen(&id(uri), new, 1);
        let unknown = with_id(ta, &"A".repeat(24));
        let x_by = |transport: &str| x.replacen(";tcp", transport, 1);
        let alice = &self.alice.uri;
        let forty = vec!["msrps://h.invalid:1/x;tcp"; 40].join(" ");
        let r2 = self.r2.token();
        let own_id = id(own);
        let parts: &[(&str, String)] = &[
            ("X", x.clone()),
            ("X;ws", x_by(";ws")),
            ("X;wss", x_by(";wss")),
            ("X;udp", x_by(";udp")),
            ("X;dc", x_by(";dc")),
            ("X in clear", clear(x)),
            ("X;alice", format!("{x};{}", "alice-pc.example.com")),
            ("name", self.x.uri_at(&self.name)),
            ("unknown", unknown),
            ("gone", self.gone.0.clone()),
            ("gone's client", self.gone.1.clone()),
            ("expired", self.expired.clone()),
            ("relay", self.relay.uri()),
            (
                "relay:port",
                format!("msrps://{}:{port};tcp", self.relay.host),
            ),
            ("alice", alice.clone()),
            ("alice's token", ta.clone()),
            ("alice, port + 1", next_port(alice, 7654)),
            ("alice in clear", clear(alice)),
            ("alice;ws", alice.replacen(";tcp", ";ws", 1)),
            ("below alice", alice.replacen("msrps://", "msrps://x.", 1)),
            (
                "alice@X",
                x.replacen("msrps://", &format!("msrps://{}@", alice_host(alice)), 1),
            ),
            ("alice's token, port + 1", next_port(ta, port)),
            (
                "alice's token, no port",
                ta.replacen(&format!(":{port}/"), "/", 1),
            ),
            (
                "alice's token, other host",
                ta.replacen(&self.relay.host, "relay.example.org", 1),
            ),
            ("own", own.clone()),
            ("second", self.second.clone()),
            ("own in clear", clear(own)),
            ("own;ws", own.replacen(";tcp", ";ws", 1)),
            ("own, small", with_id(own, &swap_case(&own_id))),
            ("own, cut", with_id(own, &own_id[..23])),
            ("own, prolonged", with_id(own, &format!("{own_id}A"))),
            ("own, folder", with_id(own, &format!("./{own_id}"))),
            (
                "own, upper host",
                own.replacen(&self.relay.host, &self.relay.host.to_uppercase(), 1),
            ),
            ("forty", forty),
            ("R2's token", self.r2_token.clone()),
            ("R2, port + 1", next_port(&r2, self.r2.peer.port)),
            ("R2, other id", r2.clone()),
            ("R2 in clear", clear(&r2)),
        ];
        let mut path = template.to_owned();
        for (name, uri) in parts {
            path = path.replace(&format!("{{{name}}}"), uri);
        }
        assert!(!path.contains('{'), "{path}");
        path
    }

    fn connect(&self, sender: Sender) -> Client {
        match sender {
            Sender::Stranger => Client::tls(&self.relay),
            Sender::StrangerInClear => Client::tcp(&self.relay),
            Sender::Relay => self.r2.connect(&self.relay),
            Sender::OtherRelay => self.r3.connect(&self.relay),
            Sender::BlockedRelay => self.blocked.connect(&self.relay),
            Sender::FalseRelay => {
                let identity = crate::support::pki::STRANGER.leaf(&[&self.r2.host]);
                R2::with(self.r2.host.clone(), identity).connect(&self.relay)
            }
            Sender::Mallory => unreachable!("she has a connection of her own"),
        }
    }
}

fn alice_host(uri: &str) -> String {
    let rest = uri.trim_start_matches("msrps://");
    rest.split(':').next().unwrap().to_owned()
}

fn swap_case(id: &str) -> String {
    let swap = |c: char| match c.is_ascii_lowercase() {
        true => c.to_ascii_uppercase(),
        false => c.to_ascii_lowercase(),
    };
    id.chars().map(swap).collect()
}

/// X listens on every address of this machine, IPv4 and IPv6, and has a certificate for all that it might be called.
fn anywhere(names: &[&str]) -> Peer {
    let mut all = vec![
        "127.0.0.1",
        "::1",
        "localhost",
        "*.peers.example",
        "*.localhost",
    ];
    all.extend_from_slice(names);
    let config = server_config(&TRUSTED.leaf(&all));
    Peer::listening(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)), config)
}

/// A request, or a response, as the table names it.
fn draft(method: &str, to: &str, from: &str) -> Draft {
    match method {
        "SEND" => Draft::send(to, from).text("relay me"),
        "REPORT" => Draft::request("REPORT", to, from)
            .message_id("openrly1")
            .range("1-1/1")
            .line("Status: 000 200"),
        method => Draft::request(method, to, from),
    }
}

/// What came of this request: exactly what is due, and nothing but it.
fn check(case: &str, client: &mut Client, draft: &Draft, due: Due, marker: &Draft) {
    client.send(draft.octets());
    if due == Due::Closed {
        match client.receive(SOON) {
            Err(Nothing::Ended(_)) => return,
            other => panic!("{case}: a close was due, this came: {other:?}"),
        }
    }
    // The answer to what is sent behind it may overtake the one that is due, for the two may visit different shards.
    client.send(marker.octets());
    let expected: Vec<u16> = match due {
        Due::Code(code) => vec![code],
        _ => Vec::new(),
    };
    let (mut codes, mut marked) = (Vec::new(), false);
    while !marked || codes.len() < expected.len() {
        match client.receive(SOON) {
            Ok(message) if message.tid == marker.tid => marked = true,
            Ok(message) => codes.push(message.code().expect("a response")),
            Err(nothing) => panic!("{case}: {nothing:?} after {codes:?}"),
        }
    }
    let more = client.drain(Duration::from_millis(15));
    assert!(
        codes == expected && more.is_empty(),
        "{case}: {codes:?} {more:?}"
    );
}

fn sec_01_open_relay_matrix() {
    let mut world = World::new();
    let before = forwarded(&world.relay);
    for case in cases() {
        let Case {
            name,
            sender,
            method,
            due,
            ..
        } = case;
        let to = world.path(&case.to);
        let unknown = world.path("{unknown}");
        let mut own = None;
        let client = match sender {
            Sender::Mallory => &mut world.mallory,
            sender => own.insert(world.connect(sender)),
        };
        let from = match sender {
            // Nothing may be sent to whomever From-Path names (D-07).
            Sender::Stranger => world.x.uri.clone(),
            _ => client.uri.clone(),
        };
        let marker = Draft::send(&unknown, &from).range("1-0/0");
        if method == "AUTH" && sender == Sender::StrangerInClear {
            // Here the connection ends, too (AUT-01).
            client.send(draft(method, &to, &from).octets());
            assert_eq!(Due::Code(client.expect().code().unwrap()), due, "{name}");
            client.closed();
            continue;
        }
        // A blocked relay hears 403 to the marker as well; only that an answer comes counts.
        check(name, client, &draft(method, &to, &from), due, &marker);
    }
    world.x.nobody_connects(QUIET);
    for relay in [&world.r2, &world.r3, &world.blocked] {
        relay.peer.nobody_connects(Duration::from_millis(5));
    }
    world.alice.silence(Duration::from_millis(50));
    assert_eq!(forwarded(&world.relay), before);
    for name in [
        &*world.name,
        "victim.peers.example",
        "elsewhere.example.net",
    ] {
        assert!(!Names::get().was_asked(name), "{name} was looked up");
    }
    world.relay.assert_ledger_is_settled();
    // Those who have rights still have them.
    let to = format!("{} {}", world.alice.token, world.alice.uri);
    let mut p = Client::tls(&world.relay);
    p.say(&to, "good");
    assert_eq!(world.alice.expect_method("SEND").body(), b"good");
}

/// Equal for the spellings of addresses that mean the same.
fn canonical(host: &str) -> String {
    let host = host.rsplit('@').next().unwrap().to_lowercase();
    let host = ["%31=1", "%32=2", "%37=7", "%2e=.", "%61=a"]
        .iter()
        .map(|pair| pair.split_once('=').unwrap())
        .fold(host, |host, (escape, plain)| host.replace(escape, plain));
    match host.trim_matches(['[', ']']).parse::<Ipv6Addr>() {
        Ok(address) => address.to_string(),
        Err(_) => host,
    }
}

/// A SEND with one's own token to this next hop; what A is told, once.
fn told(a: &mut Client, next: &str) -> Option<u16> {
    let draft = Draft::send(&format!("{} {next}", a.token), &a.uri).text("inside?");
    a.send(draft.octets());
    loop {
        let Ok(told) = a.receive(SOON) else {
            panic!("nothing is told about {next}");
        };
        assert!(told.tid == draft.tid || told.message_id() == Some(&draft.message_id));
        if told.code() != Some(200) {
            return told.code().or(told.status().map(|(_, code, _)| code));
        }
    }
}

/// Requests that left; REPORTs of the relay's own about what failed may leave in any number.
fn forwarded(relay: &Relay) -> f64 {
    let all = relay.metric("msrpd_requests_total", &["direction=\"out\""]);
    all - relay.metric("msrpd_reports_total", &["origin=\"relay\""])
}

/// How many dials ended so.
fn ended(relay: &Relay, reason: &str) -> f64 {
    relay.metric(
        "msrpd_connections_closed_total",
        &[&format!("reason=\"{reason}\"")],
    )
}

fn sec_03_ssrf_matrix() {
    let relay = Setup::new().start_denying();
    let x = anywhere(&[]);
    let addresses = hosts("address");
    let mut a = Client::authenticated(&relay, "mallory");
    for (case, host) in &addresses {
        let code = told(&mut a, &x.uri_at(host));
        assert_eq!(code, Some(408), "{case}: {host}");
        assert!(
            !Names::get().was_asked(host),
            "{case}: {host} was looked up"
        );
    }
    // Every one was judged and denied; none was tried. What is spelled in another way and was denied a moment ago fails
    // without being judged again.
    let distinct: HashSet<String> = addresses.iter().map(|(_, host)| canonical(host)).collect();
    relay.metric_becomes(
        "msrpd_connections_closed_total",
        &["reason=\"dial_denied\""],
        |denied| denied as usize >= distinct.len(),
    );
    assert_eq!(ended(&relay, "dial_failed"), 0.0);
    for (case, host) in hosts("spelling") {
        let code = told(&mut a, &x.uri_at(host));
        assert!(matches!(code, Some(400 | 408)), "{case}: {host}: {code:?}");
    }
    for (case, host) in hosts("malformed") {
        assert_eq!(told(&mut a, &x.uri_at(host)), Some(400), "{case}: {host}");
    }
    for port in ["0", "65536", "99999", "-1", "80x", ""] {
        let code = told(&mut a, &format!("msrps://127.0.0.1:{port}/x;tcp"));
        assert!(matches!(code, Some(400 | 408)), "port {port}: {code:?}");
    }
    // By other methods, and for a relay with a token of its own, the same.
    let nickname = Draft::request("NICKNAME", &format!("{} {}", a.token, x.uri), &a.uri);
    a.send(nickname.octets());
    let auth = Draft::request(
        "AUTH",
        &format!("{} msrps://127.0.0.1:{};tcp", a.token, x.port),
        &a.uri,
    );
    a.send(auth.octets());
    assert_eq!(a.response_to(&auth.tid).code(), Some(408));
    let r2 = R2::new();
    let mut link = r2.connect(&relay);
    link.obtain_token();
    link.token = own_token(&link.token);
    for (case, host) in addresses.iter().step_by(5) {
        assert_eq!(told(&mut link, &x.uri_at(host)), Some(408), "relay: {case}");
    }
    a.drain(Duration::from_millis(50));
    x.nobody_connects(QUIET);
    relay.assert_ledger_is_settled();
}

fn sec_03_ssrf_matrix_of_names() {
    let relay = Setup::new().start_denying();
    let x = anywhere(&[]);
    let names = Names::get();
    let mut a = Client::authenticated(&relay, "mallory");
    let v4 = |text: &str| Record::A(text.parse().expect("an address"));
    let v6 = |text: &str| Record::Aaaa(text.parse().expect("an address"));
    let cases: Vec<(&str, Vec<Record>)> = vec![
        ("loopback", vec![v4("127.0.0.1")]),
        ("unspecified", vec![v4("0.0.0.0")]),
        ("private", vec![v4("10.0.0.1")]),
        ("metadata", vec![v4("169.254.169.254")]),
        ("multicast", vec![v4("224.0.0.1")]),
        ("IPv6 loopback", vec![v6("::1")]),
        ("IPv6 unspecified", vec![v6("::")]),
        ("mapped loopback", vec![v6("::ffff:127.0.0.1")]),
        ("compatible loopback", vec![v6("::127.0.0.1")]),
        ("NAT64 loopback", vec![v6("64:ff9b::7f00:1")]),
        ("6to4 loopback", vec![v6("2002:7f00:1::1")]),
        ("Teredo loopback", vec![v6("2001:0:1:1:1:1:80ff:fffe")]),
        ("IPv6 private", vec![v6("fd00::1")]),
        ("IPv6 link-local", vec![v6("fe80::1")]),
        (
            "one bad after the other",
            vec![v4("127.0.0.1"), v4("10.0.0.1"), v6("::1")],
        ),
        (
            "eight of them",
            (1..=8).map(|i| v4(&format!("127.0.0.{i}"))).collect(),
        ),
    ];
    let count = cases.len() as f64;
    let hosts: Vec<String> = cases
        .iter()
        .map(|(case, records)| {
            let host = own_host();
            names.set(&host, records);
            assert_eq!(told(&mut a, &x.uri_at(&host)), Some(408), "{case}");
            host
        })
        .collect();
    relay.metric_becomes(
        "msrpd_connections_closed_total",
        &["reason=\"dial_denied\""],
        |denied| denied == count,
    );
    assert_eq!(ended(&relay, "dial_failed"), 0.0);
    // Rebinding: what a name leads to is judged when it is dialled, not when it was good.
    let rebound = own_host();
    names.set_for(&rebound, &[v4("127.0.0.1")], 0);
    assert_eq!(told(&mut a, &x.uri_at(&rebound)), Some(408));
    x.nobody_connects(QUIET);
    assert!(hosts.iter().all(|host| names.was_asked(host)));
}

fn sec_03_ssrf_matrix_of_own_listeners() {
    // The relay may dial loopback, but never itself, under whatever name.
    let relay = Setup::new()
        .set_list("dial.allow", &["127.0.0.0/8", "::1/128", "0.0.0.0/8"])
        .start();
    let mut a = Client::authenticated(&relay, "mallory");
    let myself = own_host();
    Names::get().set(&myself, &[Record::A(Ipv4Addr::LOCALHOST)]);
    let mut denied = 0.0;
    for port in [relay.port(), relay.tcp.port(), relay.admin_port()] {
        for host in [
            "127.0.0.1",
            "0.0.0.0",
            "[::ffff:127.0.0.1]",
            "[::127.0.0.1]",
            "%31%32%37.0.0.1",
            &myself,
            "myself.localhost",
        ] {
            let code = told(&mut a, &format!("msrps://{host}:{port}/x;tcp"));
            // `localhost` is ::1 as well, where nobody listens.
            assert_eq!(code, Some(408), "{host}:{port}");
            // What is spelled in another way and has just been denied is not judged again.
            denied += f64::from(u8::from(!matches!(
                host,
                "myself.localhost" | "%31%32%37.0.0.1"
            )));
        }
    }
    relay.metric_becomes(
        "msrpd_connections_closed_total",
        &["reason=\"dial_denied\""],
        |seen| seen >= denied,
    );
    assert_eq!(forwarded(&relay), 0.0);
}

fn sec_03_matrix_has_a_hundred_cases() {
    let requests = cases();
    let mut names: Vec<String> = requests.iter().map(|case| case.name.to_owned()).collect();
    for kind in ["address", "spelling", "malformed"] {
        let hosts = hosts(kind);
        assert!(hosts.len() >= 10, "{kind}");
        names.extend(hosts.iter().map(|(name, _)| format!("{kind}: {name}")));
    }
    let distinct: HashSet<&String> = names.iter().collect();
    assert_eq!(distinct.len(), names.len(), "names are given once");
    assert!(requests.len() >= 100, "{}", requests.len());
    let lines = |text: &str| {
        let cases = text
            .lines()
            .filter(|line| line.contains(" | ") && !line.starts_with('#'));
        cases.count()
    };
    let all = lines(include_str!("open_relay.txt")) + lines(include_str!("open_relay_hosts.txt"));
    assert_eq!(names.len(), all, "every line is a case");
}
