//! A small MSRP client for text (RFC 4975, RFC 4976): rustls, the standard library, and one thread.
//!
//! ```sh
//! cargo run -- dev                                          # a relay to try it with
//! cargo run --example client -- msrpd-dev alice             # prints its path: what a=path of its SDP would say
//! cargo run --example client -- msrpd-dev bob               # the same in another terminal
//! ```
//!
//! Input: `/to PATH` names the peer, as its SDP would; any other line is a message. A third argument is how many
//! messages to wait for when the input has ended. `examples/client.py` does the same and more (refresh, chunks, no relay of
//! its own); docs/integrating.md explains what happens here.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::io::{BufRead, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use md5::{Digest, Md5};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Seconds for an answer, RFC 4975 section 7.1.1.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Octets of a chunk that we keep, for the SDP: a=max-size:65536.
const LARGEST: usize = 65_536;

/// A request or a response; `what` is the method, or the code with its comment.
struct Message {
    tid: String,
    what: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    flag: u8,
}

impl Message {
    fn new(tid: &str, what: &str, headers: &[(&str, &str)], body: Option<&str>) -> Self {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self {
            tid: tid.to_owned(),
            what: what.to_owned(),
            headers: headers.iter().map(own).collect(),
            body: body.map(|body| body.as_bytes().to_vec()),
            flag: b'$',
        }
    }

    fn get(&self, name: &str) -> &str {
        let mut headers = self.headers.iter();
        headers
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map_or("", |(_, value)| value)
    }

    fn encode(&self) -> Vec<u8> {
        let mut octets = format!("MSRP {} {}\r\n", self.tid, self.what).into_bytes();
        for (name, value) in &self.headers {
            octets.extend(format!("{name}: {value}\r\n").bytes());
        }
        if let Some(body) = &self.body {
            octets.extend([b"\r\n", &body[..], b"\r\n"].concat());
        }
        octets.extend(format!("-------{}{}\r\n", self.tid, char::from(self.flag)).bytes());
        octets
    }

    /// The first message of these octets and its length, once it is there as a whole.
    fn decode(octets: &[u8]) -> Outcome<Option<(Self, usize)>> {
        let Some(first) = find(octets, b"\r\n") else {
            return Ok(None);
        };
        let line = std::str::from_utf8(&octets[..first])?;
        let (tid, what) = line
            .strip_prefix("MSRP ")
            .and_then(|rest| rest.split_once(' '))
            .ok_or("framing lost")?;
        // The end-line is the first one that follows a CRLF, whatever stands in the body.
        let end = format!("\r\n-------{tid}");
        let mut from = first;
        let at = loop {
            let Some(at) = find(&octets[from..], end.as_bytes()).map(|at| from + at) else {
                return Ok(None);
            };
            match octets.get(at + end.len()..at + end.len() + 3) {
                None => return Ok(None),
                Some([b'$' | b'+' | b'#', b'\r', b'\n']) => break at,
                Some(_) => from = at + 2,
            }
        };
        // Without an empty line there is no body.
        let (head, body) = match find(&octets[..at + 2], b"\r\n\r\n") {
            Some(split) => (&octets[..split], octets.get(split + 4..at)),
            None => (&octets[..at], None),
        };
        let headers = std::str::from_utf8(head)?
            .split("\r\n")
            .skip(1)
            .filter_map(|line| line.split_once(": "));
        let message = Self {
            tid: tid.to_owned(),
            what: what.to_owned(),
            headers: headers
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            body: body.map(<[u8]>::to_vec),
            flag: octets[at + end.len()],
        };
        Ok(Some((message, at + end.len() + 3)))
    }
}

fn find(octets: &[u8], wanted: &[u8]) -> Option<usize> {
    octets
        .windows(wanted.len())
        .position(|octets| octets == wanted)
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn hashed(parts: &[&str]) -> String {
    hex(&Md5::digest(parts.join(":")))
}

/// 80 random bits, as transact-ids and session-ids want them (RFC 4975 section 14.1).
fn random() -> String {
    let mut octets = [0; 10];
    getrandom::fill(&mut octets).expect("the system has random octets");
    hex(&octets)
}

/// One parameter of a digest header, quoted or not.
fn parameter<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    let mut parts = header.split([' ', ',']).filter(|part| !part.is_empty());
    let value = parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.trim_matches('"'))
}

struct Client {
    stream: StreamOwned<ClientConnection, TcpStream>,
    octets: Vec<u8>,
    uri: String,
    use_path: Vec<String>,
    peer: Vec<String>,
    /// Messages whose success has not been reported.
    unreported: HashSet<String>,
    /// Chunks of messages that are not complete, by Message-ID.
    parts: HashMap<String, Vec<u8>>,
    received: usize,
    failed: bool,
}

impl Client {
    fn connect(address: &str, host: &str, ca: &Path) -> Outcome<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca)? {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(host.to_owned())?;
        let mut socket = TcpStream::connect(address)?;
        let mut tls = ClientConnection::new(Arc::new(config), name)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut socket)?;
        }
        // So that one thread can look at the input in between.
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        Ok(Self {
            stream: StreamOwned::new(tls, socket),
            octets: Vec::new(),
            // Nobody connects to us, so the host need not exist.
            uri: format!("msrps://{}.invalid:2855/{};tcp", random(), random()),
            use_path: Vec::new(),
            peer: Vec::new(),
            unreported: HashSet::new(),
            parts: HashMap::new(),
            received: 0,
            failed: false,
        })
    }

    /// The next message, if one comes within the read timeout.
    fn read(&mut self) -> Outcome<Option<Message>> {
        loop {
            if let Some((message, length)) = Message::decode(&self.octets)? {
                self.octets.drain(..length);
                return Ok(Some(message));
            }
            if self.octets.len() > 2 * LARGEST {
                return Err("a chunk is larger than what we take".into());
            }
            let mut octets = [0; 16_384];
            match self.stream.read(&mut octets) {
                Ok(0) => return Err("the relay closed the connection".into()),
                Ok(count) => self.octets.extend(&octets[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn write(&mut self, message: &Message) -> Outcome<()> {
        Ok(self.stream.write_all(&message.encode())?)
    }

    /// Sends a request and serves what comes until its response is there.
    fn request(
        &mut self,
        method: &str,
        to: &[String],
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Outcome<Message> {
        let tid = random();
        let paths = [("To-Path", &*to.join(" ")), ("From-Path", &*self.uri)];
        let request = Message::new(&tid, method, &[&paths, headers].concat(), body);
        self.write(&request)?;
        let sent = Instant::now();
        while sent.elapsed() < TIMEOUT {
            match self.read()? {
                Some(message) if message.tid == tid && !message.what.starts_with('1') => {
                    return Ok(message);
                }
                Some(message) => self.take(&message)?,
                None => {}
            }
        }
        Err(format!("{method}: no answer").into())
    }

    /// RFC 4976 section 5.1: a challenge, the answer to it, and the path that we may give to peers.
    fn auth(&mut self, host: &str, user: &str, password: &str) -> Outcome<()> {
        let to = [format!("msrps://{host};tcp")];
        let challenge = self.request("AUTH", &to, &[], None)?;
        // A relay offers one header for each algorithm; the one without a name is MD5.
        let offer = challenge
            .headers
            .iter()
            .map(|(_, value)| &**value)
            .find(|value| {
                value.starts_with("Digest ")
                    && parameter(value, "algorithm").is_none_or(|name| name == "MD5")
            });
        let offer = offer.ok_or_else(|| format!("AUTH: {}", challenge.what))?;
        let want = |name| parameter(offer, name).ok_or(format!("AUTH: no {name}"));
        let (realm, nonce, opaque) = (want("realm")?, want("nonce")?, want("opaque")?);
        let (nc, cnonce) = ("00000001", random());
        let secret = hashed(&[user, realm, password]);
        let digest = |method| {
            let request = hashed(&[method, &to[0]]);
            hashed(&[&secret, nonce, nc, &cnonce, "auth", &request])
        };
        let response = digest("AUTH");
        let authorization = format!(
            "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", opaque=\"{opaque}\", \
             qop=auth, nc={nc}, cnonce=\"{cnonce}\", response=\"{response}\""
        );
        let granted = self.request("AUTH", &to, &[("Authorization", &authorization)], None)?;
        let proof = parameter(granted.get("Authentication-Info"), "rspauth");
        if !granted.what.starts_with("200") || proof != Some(&*digest("")) {
            return Err(format!("AUTH: {}", granted.what).into());
        }
        let use_path = granted.get("Use-Path").split(' ');
        self.use_path = use_path.map(str::to_owned).collect();
        Ok(())
    }

    /// A message to the peer; an empty text is the bodiless SEND that opens a session.
    fn send(&mut self, text: &str) -> Outcome<()> {
        if text.len() > 2048 {
            return Err("a message of more than 2,048 octets wants chunks; see client.py".into());
        }
        let (ident, length) = (random(), text.len());
        let range = format!("1-{length}/{length}");
        let mut headers = vec![("Message-ID", &*ident), ("Byte-Range", &*range)];
        let body = (!text.is_empty()).then_some(text);
        if body.is_some() {
            headers.extend([("Success-Report", "yes"), ("Content-Type", "text/plain")]);
            self.unreported.insert(ident.clone());
        }
        let to = [&self.use_path[..], &self.peer[..]].concat();
        let answer = self.request("SEND", &to, &headers, body)?;
        if !answer.what.starts_with("200") {
            self.fail(&ident, &answer.what);
        }
        Ok(())
    }

    fn fail(&mut self, ident: &str, why: &str) {
        println!("failed {ident} {why}");
        self.unreported.remove(ident);
        self.failed = true;
    }

    /// A request of the peer's, or an answer that nobody waits for any more.
    fn take(&mut self, message: &Message) -> Outcome<()> {
        let ident = message.get("Message-ID").to_owned();
        match &*message.what {
            "REPORT" => {
                let status = message.get("Status").trim_start_matches("000 ");
                if !status.starts_with('2') {
                    self.fail(&ident, status);
                } else if self.unreported.remove(&ident) {
                    println!("delivered {ident}");
                }
                return Ok(());
            }
            response if response.starts_with(|first: char| first.is_ascii_digit()) => return Ok(()),
            _ => {}
        }
        let (from, is_send) = (message.get("From-Path"), message.what == "SEND");
        let status = match is_send {
            true => self.take_chunk(message, &ident)?,
            false => "501 Method not supported",
        };
        let wanted = message.get("Failure-Report").to_lowercase();
        if wanted == "no" || wanted == "partial" && status == "200 OK" {
            return Ok(());
        }
        // A SEND is answered to the hop before us, anything else to all of its From-Path.
        let back = if is_send {
            from.split(' ').next()
        } else {
            Some(from)
        };
        let paths = [
            ("To-Path", back.unwrap_or_default()),
            ("From-Path", &*self.uri),
        ];
        let response = Message::new(&message.tid, status, &paths, None);
        self.write(&response)
    }

    fn take_chunk(&mut self, message: &Message, ident: &str) -> Outcome<&'static str> {
        if message.get("To-Path") != self.uri {
            return Ok("481 No such session");
        }
        let Some(body) = &message.body else {
            return Ok("200 OK");
        };
        let start = message.get("Byte-Range").split('-').next();
        let start: usize = start.and_then(|start| start.parse().ok()).unwrap_or(1);
        let messages = self.parts.len();
        let text = self.parts.entry(ident.to_owned()).or_default();
        if start != text.len() + 1 || text.len() + body.len() > LARGEST || messages > 16 {
            self.parts.remove(ident);
            return Ok("413 Stop");
        }
        text.extend(body);
        if message.flag == b'+' {
            return Ok("200 OK");
        }
        let text = self.parts.remove(ident).unwrap_or_default();
        if message.flag == b'$' {
            println!("received {}", String::from_utf8_lossy(&text));
            self.received += 1;
            if message.get("Success-Report").eq_ignore_ascii_case("yes") {
                let range = format!("1-{0}/{0}", text.len());
                let headers = [
                    ("To-Path", message.get("From-Path")),
                    ("From-Path", &self.uri),
                    ("Message-ID", ident),
                    ("Byte-Range", &range),
                    ("Status", "000 200 OK"),
                ];
                let report = Message::new(&random(), "REPORT", &headers, None);
                self.write(&report)?;
            }
        }
        Ok("200 OK")
    }
}

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: client DIR USER [MESSAGES], DIR being the folder of `msrpd dev`";
    let folder = arguments.next().ok_or(usage)?;
    let name = arguments.next().ok_or(usage)?;
    let expected: usize = arguments.next().map_or(Ok(0), |count| count.parse())?;

    let folder = Path::new(&folder);
    let dev: toml::Table = std::fs::read_to_string(folder.join("dev.toml"))?.parse()?;
    let word = |key: &str| dev[key].as_str().unwrap_or_default();
    let mut users = dev["users"].as_array().into_iter().flatten();
    let user = users.find(|user| user["name"].as_str() == Some(&name));
    let password = user
        .and_then(|user| user["password"].as_str())
        .ok_or("no such user")?;

    let mut client = Client::connect(word("address"), word("host"), &folder.join(word("ca")))?;
    client.auth(word("host"), &name, password)?;
    // Use-Path names the relay next to us first, a=path the one next to the peer.
    let path: Vec<&str> = client.use_path.iter().rev().map(|uri| &**uri).collect();
    println!("path {} {}", path.join(" "), client.uri);

    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        let mut lines = std::io::stdin().lock().lines().map_while(Result::ok);
        lines.try_for_each(|line| sender.send(line))
    });
    loop {
        match lines.try_recv() {
            Ok(line) => match line.strip_prefix("/to ") {
                Some(path) => {
                    client.peer = path.split(' ').map(str::to_owned).collect();
                    client.send("")?;
                }
                None => client.send(&line)?,
            },
            Err(mpsc::TryRecvError::Empty) => {}
            Err(mpsc::TryRecvError::Disconnected) => {
                if client.unreported.is_empty() && client.received >= expected {
                    break;
                }
            }
        }
        if let Some(message) = client.read()? {
            client.take(&message)?;
        }
    }
    if client.failed {
        return Err("not everything was delivered".into());
    }
    Ok(())
}
