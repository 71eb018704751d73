//! The examples of `docs/integrating.md`, octet by octet against a running relay.
//!
//! What the relay draws (nonces, session-ids, transact-ids) is put in the place of the document's; digests are computed for
//! both, so that those in the document are right, too.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use msrpload::digest::{Algorithm, params};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::place::{HOST, Place, Running};

const PASSWORDS: [(&str, &str); 2] = [("alice", "wonderland"), ("carol", "looking-glass")];

/// What the document does, in its order.
#[derive(Debug)]
enum Step {
    Message {
        from: String,
        to: String,
        octets: usize,
        text: String,
    },
    /// How the digest of the next message comes about.
    Digest(String),
    Sdp(String),
    Close(String),
}

/// The steps from the first example on.
fn steps(document: &str) -> Vec<Step> {
    let (_, examples) = document
        .split_once("\n## Example 1")
        .expect("the first example");
    let mut steps = Vec::new();
    let mut lines = examples.lines();
    let mut announced = None;
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let block = lines.by_ref().take_while(|line| *line != "```");
            let text: String = block.map(|line| format!("{line}\n")).collect();
            steps.push(match (language, announced.take()) {
                ("msrp", Some((from, to, octets))) => Step::Message {
                    from,
                    to,
                    octets,
                    text: text.replace('\n', "\r\n"),
                },
                ("text", None) => Step::Digest(text),
                ("sdp", None) => Step::Sdp(text),
                other => panic!("a block that nobody plays: {other:?}"),
            });
        } else if let Some((from, to, octets)) = announcement(line) {
            announced = Some((from.to_owned(), to.to_owned(), octets));
        } else if let Some(who) = line.strip_suffix("` closes") {
            steps.push(Step::Close(who.trim_start_matches('`').to_owned()));
        }
    }
    steps
}

/// "`alice > relay`, 161 octets"
fn announcement(line: &str) -> Option<(&str, &str, usize)> {
    let (ends, octets) = line.strip_prefix('`')?.split_once("`, ")?;
    let (from, to) = ends.split_once(" > ")?;
    Some((from, to, octets.strip_suffix(" octets")?.parse().ok()?))
}

fn header<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.split("\r\n");
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// What makes the digest of an AUTH (RFC 4976 §9.1).
struct Digest {
    user: String,
    nonce: String,
    cnonce: String,
    uri: String,
    response: String,
}

impl Digest {
    fn of(text: &str) -> Option<Self> {
        let params = params(header(text, "Authorization")?.strip_prefix("Digest ")?);
        let params = params.expect("a digest header");
        let value = |name| {
            let found = params.iter().find(|param| param.name == name);
            found.expect("the parameter").value.clone()
        };
        assert_eq!((&*value("nc"), &*value("qop")), ("00000001", "auth"));
        let to_path = header(text, "To-Path").expect("To-Path");
        let uri = to_path.rsplit(' ').next().unwrap_or_default();
        Some(Digest {
            user: value("username"),
            nonce: value("nonce"),
            cnonce: value("cnonce"),
            uri: uri.to_owned(),
            response: value("response"),
        })
    }

    fn password(&self) -> &str {
        let known = PASSWORDS.iter().find(|(user, _)| *user == self.user);
        known.expect("a password").1
    }

    fn ha1(&self) -> String {
        Algorithm::Md5.hash(&format!("{}:example.com:{}", self.user, self.password()))
    }

    /// `response` for "AUTH", `rspauth` for no method.
    fn over(&self, method: &str) -> String {
        let a2 = Algorithm::Md5.hash(&format!("{method}:{}", self.uri));
        let (nonce, cnonce) = (&self.nonce, &self.cnonce);
        Algorithm::Md5.hash(&format!(
            "{}:{nonce}:00000001:{cnonce}:auth:{a2}",
            self.ha1()
        ))
    }

    fn explained(&self) -> String {
        let hash = |text: &str| Algorithm::Md5.hash(text);
        let Digest {
            user,
            nonce,
            cnonce,
            uri,
            ..
        } = self;
        format!(
            "A1       = {user}:example.com:{}\nH(A1)    = {}\nA2       = AUTH:{uri}\nH(A2)    = {}\n\
             response = H(H(A1):{nonce}:00000001:{cnonce}:auth:H(A2))\n         = {}\n\
             A2'      = :{uri}\nH(A2')   = {}\nrspauth  = {}\n",
            self.password(),
            self.ha1(),
            hash(&format!("AUTH:{uri}")),
            self.over("AUTH"),
            hash(&format!(":{uri}")),
            self.over(""),
        )
    }
}

/// A TLS connection to the relay.
struct Link {
    stream: StreamOwned<ClientConnection, TcpStream>,
    octets: Vec<u8>,
}

impl Link {
    fn open(place: &Place, address: SocketAddr) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(place.path("ca.pem")).expect("a CA") {
            roots.add(certificate.expect("PEM")).expect("an authority");
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let socket = TcpStream::connect(address).expect("a connection");
        let patience = Some(Duration::from_secs(20));
        socket.set_read_timeout(patience).expect("a timeout");
        let name = ServerName::try_from(HOST).expect("a name");
        let tls = ClientConnection::new(Arc::new(config), name).expect("TLS");
        Link {
            stream: StreamOwned::new(tls, socket),
            octets: Vec::new(),
        }
    }

    /// The octets of the next message.
    fn read(&mut self) -> String {
        loop {
            if let Some(end) = self.end_of_message() {
                let message = self.octets.drain(..end).collect();
                return String::from_utf8(message).expect("text");
            }
            let mut octets = [0; 4096];
            let count = self.stream.read(&mut octets).expect("the relay says more");
            assert_ne!(count, 0, "the relay closed");
            self.octets.extend(&octets[..count]);
        }
    }

    fn end_of_message(&self) -> Option<usize> {
        let text = std::str::from_utf8(&self.octets).ok()?;
        let tid = text.strip_prefix("MSRP ")?.split(' ').next()?;
        let end = format!("\r\n-------{tid}");
        Some(text.find(&end)? + end.len() + 3).filter(|end| *end <= text.len())
    }
}

/// The document's values and those of the relay that runs.
#[derive(Default)]
struct Values(Vec<(String, String)>);

impl Values {
    fn is(&mut self, written: &str, live: &str) {
        if written != live && !self.0.iter().any(|(known, _)| known == written) {
            self.0.push((written.to_owned(), live.to_owned()));
        }
    }

    fn live(&self, text: &str) -> String {
        let replace =
            |text: String, (written, live): &(String, String)| text.replace(written, live);
        self.0.iter().fold(text.to_owned(), replace)
    }

    /// Takes from a message what only the relay can know before it says it.
    fn learn(&mut self, written: &str, live: &str) {
        for name in ["nonce", "opaque", "nextnonce"] {
            let value = |text: &str| {
                let (_, rest) = text.split_once(&format!(" {name}=\""))?;
                Some(rest.split('"').next()?.to_owned())
            };
            if let (Some(written), Some(live)) = (value(written), value(live)) {
                self.is(&written, &live);
            }
        }
        let session = |text: &str| {
            let (_, id) = header(text, "Use-Path")?.rsplit_once('/')?;
            Some(id.strip_suffix(";tcp")?.to_owned())
        };
        if let (Some(written), Some(live)) = (session(written), session(live)) {
            self.is(&written, &live);
        }
        // A request's transact-id is the relay's.
        let tid = |text: &str| text.split(' ').nth(1).unwrap_or_default().to_owned();
        self.is(&tid(written), &tid(live));
    }
}

fn wait_for_sessions(running: &Running, count: usize) {
    let begun = Instant::now();
    let line = format!("\nmsrpd_sessions {count}\n");
    while !running.get("/metrics").contains(&line) {
        assert!(begun.elapsed() < Duration::from_secs(20), "no {line}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn integrating_md_s_examples_are_what_the_relay_does() {
    let place = Place::new();
    place.change(
        "transport = \"tls\"\n",
        "transport = \"tls\"\nadvertise_port = 2855\n",
    );
    let users = PASSWORDS.map(|(user, password)| {
        let ha1 = Algorithm::Md5.hash(&format!("{user}:example.com:{password}"));
        format!("{user}:example.com:{ha1}\n")
    });
    place.write("users.htdigest", &users.concat());
    let running = place.run();

    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/integrating.md");
    let steps = steps(&std::fs::read_to_string(file).expect("the document"));
    let mut links: HashMap<String, Link> = HashMap::new();
    let mut values = Values::default();
    // By the URI that is the client's own: the Use-Path that it got (RFC 4976 §5.1).
    let mut use_paths: HashMap<String, String> = HashMap::new();
    let mut explained = None;
    let (mut messages, mut paths) = (0, 0);
    for step in &steps {
        match step {
            Step::Message {
                from,
                to,
                octets,
                text,
            } if to == "relay" => {
                messages += 1;
                assert_eq!(text.len(), *octets, "{text}");
                let mut live = values.live(text);
                if let Some(digest) = Digest::of(text) {
                    assert_eq!(digest.response, digest.over("AUTH"), "{text}");
                    if let Some(explained) = explained.take() {
                        assert_eq!(explained, digest.explained());
                    }
                    let ours = Digest::of(&live).expect("the same header");
                    values.is(&digest.response, &ours.over("AUTH"));
                    values.is(&digest.over(""), &ours.over(""));
                    live = values.live(text);
                }
                let link = links
                    .entry(from.clone())
                    .or_insert_with(|| Link::open(&place, running.addresses[0]));
                link.stream.write_all(live.as_bytes()).expect("written");
            }
            Step::Message {
                from,
                to,
                octets,
                text,
            } => {
                messages += 1;
                assert_eq!((&**from, text.len()), ("relay", *octets), "{text}");
                let live = links.get_mut(to).expect("a client").read();
                values.learn(text, &live);
                assert_eq!(values.live(text), live);
                if let Some(use_path) = header(text, "Use-Path") {
                    let own = header(text, "To-Path").expect("To-Path");
                    use_paths.insert(own.to_owned(), use_path.to_owned());
                }
            }
            Step::Digest(text) => explained = Some(text.clone()),
            Step::Sdp(text) => {
                paths += 1;
                let line = text.lines().find_map(|line| line.strip_prefix("a=path:"));
                let mut path: Vec<&str> = line.expect("a path").split(' ').collect();
                let own = path.pop().expect("a URI");
                path.reverse();
                let is_own = |step: &Step| match step {
                    Step::Message { from, text, .. } => {
                        from != "relay" && header(text, "From-Path") == Some(own)
                    }
                    _ => false,
                };
                assert!(steps.iter().any(is_own), "nobody's URI: {own}");
                let use_path = use_paths.get(own).map_or("", |path| path);
                assert_eq!(path.join(" "), use_path, "{text}");
            }
            Step::Close(who) => {
                let mut link = links.remove(who).expect("a client");
                link.stream.conn.send_close_notify();
                let _ = link.stream.flush();
                drop(link);
                wait_for_sessions(&running, 1);
            }
        }
    }
    assert_eq!(
        (messages, paths, explained),
        (41, 4, None),
        "all of it was played"
    );
}
