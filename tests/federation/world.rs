//! Relays with names of their own, found by SRV, and clients that AUTH at one through the others.

use std::sync::atomic::{AtomicU32, Ordering};

use msrpload::codec::Message;

use crate::support::client::{Client, SOON};
use crate::support::dns::{Names, Record};
use crate::support::message::{Draft, response};
use crate::support::relay::{Relay, Setup, htdigest};

/// A relay and the domain that leads to it by SRV.
pub struct Node {
    pub relay: Relay,
    pub domain: String,
}

impl Node {
    pub fn new() -> Self {
        Self::with(|setup| setup)
    }

    /// With a configuration that `change` has changed.
    pub fn with(change: impl FnOnce(Setup) -> Setup) -> Self {
        let node = Self::unannounced(&own_name("domain"), change);
        node.announce(&[&node]);
        node
    }

    /// Nothing leads to it yet.
    pub fn unannounced(domain: &str, change: impl FnOnce(Setup) -> Setup) -> Self {
        // A realm of its own: a challenge for our realm is not forwarded from another relay (AUT-23).
        let setup = Setup::new()
            .named(&own_name("relay"), domain)
            .set("auth.realm", domain)
            .file("users.htdigest", &htdigest(&[domain]));
        Self {
            relay: change(setup).start(),
            domain: domain.to_owned(),
        }
    }

    /// The domain leads to these, the first before the second.
    pub fn announce(&self, nodes: &[&Node]) {
        let record = |(index, node): (usize, &&Node)| {
            let priority = u16::try_from(index).expect("few nodes");
            Record::Srv(priority, 0, node.relay.port(), node.relay.host.clone())
        };
        let records: Vec<Record> = nodes.iter().enumerate().map(record).collect();
        Names::get().set(&self.service(), &records);
    }

    pub fn service(&self) -> String {
        format!("_msrps._tcp.{}", self.domain)
    }

    /// What an AUTH from elsewhere is addressed to.
    pub fn uri(&self) -> String {
        format!("msrps://{};tcp", self.domain)
    }

    /// How many connections to and from other relays there are.
    pub fn links(&self) -> f64 {
        self.relay.metric("msrpd_connections", &["role=\"relay\""])
    }

    /// Waits until there are so many.
    pub fn has_links(&self, wanted: f64) {
        let is = |links| links == wanted;
        let role = ["role=\"relay\""];
        self.relay.metric_becomes("msrpd_connections", &role, is);
    }

    /// Changes a file of the relay and has it read again.
    pub fn reload(&self, file: &str, change: impl FnOnce(String) -> String) {
        let path = self.relay.dir().join(file);
        let text = std::fs::read_to_string(&path).expect("a file of the relay");
        std::fs::write(&path, change(text)).expect("a file can be written");
        let before = self.relay.log().matches("reloaded").count();
        self.relay.signal(libc::SIGHUP);
        let end = std::time::Instant::now() + SOON;
        while self.relay.log().matches("reloaded").count() == before {
            assert!(std::time::Instant::now() < end, "{}", self.relay.log());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

/// A name below `peers.example` that nobody else has; its address is loopback.
pub fn own_name(kind: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{kind}-{number}.peers.example")
}

/// AUTH to `uri` through the relays of `through`: the answer to right credentials.
pub fn ask_to_join(client: &mut Client, through: &str, uri: &str) -> Message {
    let path = format!("{through} {uri}");
    let challenge = client.challenge_for(&path);
    let answer = client.answer_for(uri, &challenge, 1);
    let authorization = format!("Authorization: {}", answer.authorization);
    client.auth_to(&path, &[&authorization])
}

/// As [`ask_to_join`], through the client's own relay; the Use-Path.
#[track_caller]
pub fn join(client: &mut Client, uri: &str) -> String {
    let own = client.token.clone();
    join_through(client, &own, uri)
}

/// As [`ask_to_join`]; the Use-Path.
#[track_caller]
pub fn join_through(client: &mut Client, through: &str, uri: &str) -> String {
    let granted = ask_to_join(client, through, uri);
    assert_eq!(granted.code(), Some(200), "AUTH failed:\n{granted:?}");
    let use_path = granted.header("Use-Path");
    use_path.expect("a 200 has a Use-Path").to_owned()
}

/// The path in the other direction: what a client with this Use-Path tells others, followed by its own URI.
pub fn path_to(use_path: &str, client: &Client) -> String {
    let mut uris: Vec<&str> = use_path.split(' ').rev().collect();
    uris.push(&client.uri);
    uris.join(" ")
}

/// One chunk along a path, delivered and answered at both ends.
#[track_caller]
pub fn chat(from: &mut Client, path: &str, to: &mut Client, text: &str) {
    let draft = Draft::send(path, &from.uri).text(text);
    from.send(draft.octets());
    let got = to.find(SOON, |m| m.message_id() == Some(&draft.message_id));
    assert_eq!(got.body(), text.as_bytes());
    to.send(response(&got, "200 OK"));
    let answer = from.response_to(&draft.tid);
    assert_eq!(
        answer.code(),
        Some(200),
        "the SEND was refused:\n{answer:?}"
    );
}
