//! A relay named `relay.example.com`, further ones, their users, and clients that know how to
//! AUTH, also through one relay at the next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use msrpd::auth::{Authenticator, NonceKeys, Settings as AuthSettings, Users};
use msrpd::relay::{ENDS_AT_ONCE, Limits, Quotas, Settings, Transport};
use msrpload::codec::{Builder, Message};
use msrpload::digest::{Algorithm, Answer, Asker, Challenge, Spelling};

use super::world::{Peer, World};

pub const HOST: &str = "relay.example.com";
pub const AUTH_URI: &str = "msrps://relay.example.com;tcp";
pub const USERS: [(&str, &str); 2] = [("alice", "wonderland"), ("bob", "builder")];

/// The name of a relay of the world.
pub fn host(relay: usize) -> String {
    match relay {
        0 => HOST.to_owned(),
        _ => format!("relay{relay}.example.net"),
    }
}

pub fn settings() -> Settings {
    Settings {
        hosts: vec![HOST.into()],
        domains: vec!["example.com".into()],
        ports: vec![2855, 2857],
        tcp_ports: vec![2857],
        use_path_port: 2855,
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
        links_per_next_hop: 2,
        ends_at_once: ENDS_AT_ONCE,
        limits: Limits::default(),
        quotas: Quotas::default(),
    }
}

/// One for each shard; all share the key, as the shards of one process do.
pub fn authenticator(now: Instant, relay: usize) -> Authenticator {
    let (settings, users) = credentials(relay);
    let keys = NonceKeys::new(
        vec![[7 + relay as u8; 32]],
        now,
        Duration::from_secs(1_800_000_000),
    );
    Authenticator::new(settings, users, Arc::new(keys))
}

/// The users of a relay, and its realm.
pub fn credentials(relay: usize) -> (Arc<AuthSettings>, Arc<Users>) {
    let realm = host(relay);
    let lines: Vec<String> = USERS
        .iter()
        .map(|(user, password)| {
            let ha1 = Algorithm::Md5.hash(&format!("{user}:{realm}:{password}"));
            format!("{user}:{realm}:{ha1}\n")
        })
        .collect();
    let Ok(users) = Users::parse(&lines.concat()) else {
        panic!("the users are well-formed")
    };
    let settings = AuthSettings {
        realm: Some(realm),
        ..AuthSettings::default()
    };
    (Arc::new(settings), Arc::new(users))
}

/// The operator changes the first relay's settings.
pub fn reload(world: &mut World, change: impl FnOnce(&mut Settings)) {
    let mut settings = settings();
    change(&mut settings);
    let settings = Arc::new(settings);
    for shard in &mut world.shards {
        let (auth, users) = credentials(0);
        shard.reconfigure(world.now, settings.clone(), auth, users);
    }
    world.obey();
    world.run();
}

/// A client of the relay on a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    pub peer: Peer,
    /// Its own URI.
    pub uri: String,
    /// The Use-Path URI that its own relay gave it; empty for a foreign client.
    pub token: String,
    /// All relays' URIs, its own relay's first.
    pub use_path: Vec<String>,
}

impl Client {
    /// The To-Path of what this one sends to another.
    pub fn path_to(&self, other: &Client) -> Vec<String> {
        let mut path = self.use_path.clone();
        path.extend(other.use_path.iter().rev().cloned());
        path.push(other.uri.clone());
        path
    }
}

/// Connects and AUTHs; its own URI has the name.
pub fn client(world: &mut World, shard: usize, name: &str) -> Client {
    let mut client = foreign(world, shard, name);
    client.uri = client_uri(name);
    let uri = auth_uri(world.relay_of(shard));
    assert!(authenticate_at(world, &mut client, &uri, None), "a 200");
    client
}

/// The own URI of a client that nobody connects to.
pub fn client_uri(name: &str) -> String {
    format!("msrps://{name}.invalid:2855/s{name};tcp")
}

/// What stands in URIs for it.
pub fn way(transport: Transport) -> &'static str {
    match transport {
        Transport::Tls | Transport::Tcp => "tcp",
        Transport::Wss | Transport::Ws => "ws",
    }
}

/// One whole message in one chunk; its transact-id is made of the Message-ID.
pub fn whole(from: &Client, to: &Client, id: &str, wish: &str, body: &[u8]) -> Vec<u8> {
    let path = from.path_to(to);
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    Builder::request(&format!("tid{id}"), "SEND")
        .to_path(&path)
        .from_path(&[&from.uri])
        .header("Message-ID", id)
        .header("Byte-Range", &format!("1-{0}/{0}", body.len()))
        .header("Failure-Report", wish)
        .header("Content-Type", "text/plain")
        .body(body)
        .encode()
}

/// Connects without AUTH.
pub fn foreign(world: &mut World, shard: usize, name: &str) -> Client {
    foreign_by(world, shard, name, Transport::Tls)
}

/// The same by this transport.
pub fn foreign_by(world: &mut World, shard: usize, name: &str, transport: Transport) -> Client {
    let peer = world.connect(shard, transport);
    let uri = format!("msrps://{name}.example.net:2855/s{name};{}", way(transport));
    Client {
        peer,
        uri,
        token: String::new(),
        use_path: Vec::new(),
    }
}

/// What an AUTH to a relay is addressed to: its name without a port.
pub fn auth_uri(relay: usize) -> String {
    format!("msrps://{};tcp", host(relay))
}

/// The whole digest exchange with a relay of one shard; gives the Use-Path.
pub fn authenticate(world: &mut World, peer: Peer, uri: &str, expires: Option<u32>) -> String {
    let mut client = Client {
        peer,
        uri: uri.to_owned(),
        token: String::new(),
        use_path: Vec::new(),
    };
    assert!(
        authenticate_at(world, &mut client, AUTH_URI, expires),
        "a 200"
    );
    client.token
}

/// The whole digest exchange with one more relay, through those that the client has AUTHed at.
/// False: it was refused, or nobody answered.
pub fn authenticate_at(
    world: &mut World,
    client: &mut Client,
    uri: &str,
    expires: Option<u32>,
) -> bool {
    let mut path: Vec<&str> = client.use_path.iter().map(String::as_str).collect();
    path.push(uri);
    world.write(
        client.peer,
        &auth(&client.uri, &path, "auth1", expires, None),
    );
    world.run_until_answered(client.peer);
    let challenge = world.messages(client.peer);
    let [challenge] = &challenge[..] else {
        return false;
    };
    if challenge.code() != Some(401) {
        return false;
    }
    let authorization = answer(challenge, uri, 1);
    world.write(
        client.peer,
        &auth(&client.uri, &path, "auth2", expires, Some(&authorization)),
    );
    world.run_until_answered(client.peer);
    let granted = world.messages(client.peer);
    let [granted] = &granted[..] else {
        return false;
    };
    if granted.code() != Some(200) {
        return false;
    }
    let use_path = granted.header("Use-Path").expect("a Use-Path");
    client.use_path = use_path.split(' ').map(str::to_owned).collect();
    client.token = client.use_path[0].clone();
    true
}

/// The Authorization that answers a 401.
pub fn answer(challenge: &Message, uri: &str, nc: u32) -> String {
    answer_as(USERS[0], challenge, uri, nc)
}

/// The same, of this user.
pub fn answer_as(
    (user, password): (&str, &str),
    challenge: &Message,
    uri: &str,
    nc: u32,
) -> String {
    let challenge = Challenge::choose(challenge.headers_named("WWW-Authenticate"))
        .expect("a challenge that can be answered");
    let asker = Asker {
        user,
        password,
        uri,
    };
    let cnonce = "c0ffee";
    Answer::new(&challenge, asker, cnonce, nc, Spelling::default()).authorization
}

pub fn auth(
    from: &str,
    to: &[&str],
    tid: &str,
    expires: Option<u32>,
    authorization: Option<&str>,
) -> Vec<u8> {
    let expires = expires.map(|seconds| seconds.to_string());
    Builder::request(tid, "AUTH")
        .to_path(to)
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
