//! A relay named `relay.example.com`, its users, and clients that know how to AUTH.

use std::sync::Arc;
use std::time::{Duration, Instant};

use msrpd::auth::{Authenticator, NonceKeys, Settings as AuthSettings, Users};
use msrpd::relay::{Limits, Settings, Transport};
use msrpload::codec::{Builder, Message};
use msrpload::digest::{Algorithm, Answer, Asker, Challenge, Spelling};

use crate::world::{Peer, World};

pub const HOST: &str = "relay.example.com";
pub const AUTH_URI: &str = "msrps://relay.example.com;tcp";
const USERS: [(&str, &str); 2] = [("alice", "wonderland"), ("bob", "builder")];

pub fn settings() -> Settings {
    Settings {
        hosts: vec![HOST.into()],
        domains: vec!["example.com".into()],
        ports: vec![2855],
        block_unknown_methods: false,
        signed_content_only: false,
        last_hop_tcp: true,
        last_hop_unverified: false,
        peers_allow: Vec::new(),
        peers_block: Vec::new(),
        expires_min: 60,
        expires_max: 86_400,
        expires_default: 86_400,
        idle_timeout: Duration::from_secs(3600),
        limits: Limits::default(),
    }
}

/// One for each shard; all share the key, as the shards of one process do.
pub fn authenticator(now: Instant) -> Authenticator {
    let lines: Vec<String> = USERS
        .iter()
        .map(|(user, password)| {
            let ha1 = Algorithm::Md5.hash(&format!("{user}:{HOST}:{password}"));
            format!("{user}:{HOST}:{ha1}\n")
        })
        .collect();
    let Ok(users) = Users::parse(&lines.concat()) else {
        panic!("the users are well-formed")
    };
    let settings = AuthSettings {
        realm: Some(HOST.into()),
        ..AuthSettings::default()
    };
    let keys = NonceKeys::new(vec![[7; 32]], now, Duration::from_secs(1_800_000_000));
    Authenticator::new(Arc::new(settings), Arc::new(users), Arc::new(keys))
}

/// A client of the relay on a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    pub peer: Peer,
    /// Its own URI.
    pub uri: String,
    /// The Use-Path URI it got; empty for a foreign client.
    pub token: String,
}

/// Connects and AUTHs; its own URI has the name.
pub fn client(world: &mut World, shard: usize, name: &str) -> Client {
    let peer = world.connect(shard, Transport::Tls);
    let uri = format!("msrps://{name}.invalid:2855/s{name};tcp");
    let token = authenticate(world, peer, &uri, None);
    Client { peer, uri, token }
}

/// Connects without AUTH.
pub fn foreign(world: &mut World, shard: usize, name: &str) -> Client {
    let peer = world.connect(shard, Transport::Tls);
    let uri = format!("msrps://{name}.example.net:2855/s{name};tcp");
    Client {
        peer,
        uri,
        token: String::new(),
    }
}

/// The whole digest exchange; gives the Use-Path.
pub fn authenticate(world: &mut World, peer: Peer, uri: &str, expires: Option<u32>) -> String {
    world.write(peer, &auth(uri, AUTH_URI, "auth1", expires, None));
    world.run();
    let challenge = last(world, peer);
    assert_eq!(challenge.code(), Some(401), "{challenge:?}");
    let authorization = answer(&challenge, AUTH_URI, 1);
    world.write(
        peer,
        &auth(uri, AUTH_URI, "auth2", expires, Some(&authorization)),
    );
    world.advance(world.handoff_delay * 4);
    let granted = last(world, peer);
    assert_eq!(granted.code(), Some(200), "{granted:?}");
    granted.header("Use-Path").expect("a Use-Path").to_owned()
}

/// The Authorization that answers a 401.
pub fn answer(challenge: &Message, uri: &str, nc: u32) -> String {
    let challenge = Challenge::choose(challenge.headers_named("WWW-Authenticate"))
        .expect("a challenge that can be answered");
    let asker = Asker {
        user: "alice",
        password: "wonderland",
        uri,
    };
    let cnonce = "c0ffee";
    Answer::new(&challenge, asker, cnonce, nc, Spelling::default()).authorization
}

pub fn auth(
    from: &str,
    to: &str,
    tid: &str,
    expires: Option<u32>,
    authorization: Option<&str>,
) -> Vec<u8> {
    let expires = expires.map(|seconds| seconds.to_string());
    Builder::request(tid, "AUTH")
        .to_path(&[to])
        .from_path(&[from])
        .maybe_header("Authorization", authorization)
        .maybe_header("Expires", expires.as_deref())
        .encode()
}

/// The one message that has arrived.
pub fn last(world: &mut World, peer: Peer) -> Message {
    let mut messages = world.messages(peer);
    assert_eq!(messages.len(), 1, "exactly one message: {messages:?}");
    messages.remove(0)
}

/// Answers a request as its receiver.
pub fn respond(world: &mut World, peer: Peer, request: &Message, code: u16) {
    let octets = Builder::response_to(request, code, Some("said the receiver")).encode();
    world.write(peer, &octets);
}
