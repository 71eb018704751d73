//! TLS and certificate identity, as far as clients are concerned: RFC 4976 §9.2, RFC 6125 §6.4;
//! rows TLS.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::client::{ResolvesClientCert, Resumption};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConfig, SignatureScheme};

use crate::rows;
use crate::support::client::{Client, SOON};
use crate::support::link::Link;
use crate::support::message::{Draft, response};
use crate::support::peer::Peer;
use crate::support::pki::{Identity, STRANGER, TRUSTED};
use crate::support::relay::{HOST, Relay, Setup, shared};
use crate::support::tls::{Anything, ClientTls, provider};

rows! {
    any: [
        tls_02_old_versions_are_refused,
        tls_02_both_versions_work,
        tls_03_only_forward_secret_suites,
        tls_04_no_server_name_gets_the_default_certificate,
        tls_05_client_certificate_is_asked_for_and_not_required,
        tls_06_certificate_that_does_not_verify_makes_a_client,
        tls_14_no_early_data_and_resumption_works,
    ],
    own: [
        tls_01_start_refuses_a_certificate_without_the_name,
        tls_01_certificate_names_the_relay,
        tls_04_server_name_is_sent,
        tls_07_certificate_counts_for_its_own_names_only,
        tls_08_nothing_is_said_to_who_does_not_verify,
        tls_09_names_are_compared_as_rfc_6125_says,
        tls_11_tls_never_falls_back_to_tcp,
        tls_12_plain_tcp_to_the_last_hop_only_if_allowed,
        tls_12_unverified_last_hop_only_if_allowed,
        tls_13_certificate_is_replaced_without_dropping_anybody,
    ],
}

fn tls_01_start_refuses_a_certificate_without_the_name() {
    let fine = Setup::new();
    let (content, said) = fine.check();
    assert!(content, "{said}");
    for identity in [
        TRUSTED.leaf(&["other.example.com"]),
        TRUSTED.common_name_only(HOST),
    ] {
        let (content, said) = Setup::new().identity(&identity).check();
        assert!(
            !content,
            "a certificate without the name was accepted: {said}"
        );
        assert!(said.contains(HOST), "the name is told: {said}");
    }
}

fn tls_01_certificate_names_the_relay() {
    // The client's verifier has checked chain and DNS-ID.
    let client = Client::tls(shared());
    let chain = client
        .session()
        .peer_certificates()
        .expect("a certificate is shown");
    let (_, leaf) = x509_parser::parse_x509_certificate(&chain[0]).expect("it is one");
    let names = leaf
        .subject_alternative_name()
        .unwrap()
        .expect("with a SAN");
    assert!(format!("{:?}", names.value).contains(HOST));
}

/// A ClientHello by hand: this version, these suites, no extension but SNI.
fn client_hello(version: [u8; 2], suites: &[u16]) -> Vec<u8> {
    let mut body = version.to_vec();
    body.extend_from_slice(&[7; 32]);
    body.push(0);
    body.extend_from_slice(&((suites.len() * 2) as u16).to_be_bytes());
    suites
        .iter()
        .for_each(|suite| body.extend_from_slice(&suite.to_be_bytes()));
    body.extend_from_slice(&[1, 0]);
    let name = HOST.as_bytes();
    let mut extensions = vec![0, 0];
    extensions.extend_from_slice(&((name.len() + 5) as u16).to_be_bytes());
    extensions.extend_from_slice(&((name.len() + 3) as u16).to_be_bytes());
    extensions.push(0);
    extensions.extend_from_slice(&(name.len() as u16).to_be_bytes());
    extensions.extend_from_slice(name);
    // supported_groups and signature_algorithms, for servers that want them.
    extensions.extend_from_slice(&[0, 10, 0, 6, 0, 4, 0, 23, 0, 29]);
    extensions.extend_from_slice(&[0, 13, 0, 8, 0, 6, 4, 3, 4, 1, 8, 4]);
    body.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
    body.extend_from_slice(&extensions);
    let mut hello = vec![1, 0];
    hello.extend_from_slice(&(body.len() as u16).to_be_bytes());
    hello.extend_from_slice(&body);
    let mut record = vec![22, 3, 1];
    record.extend_from_slice(&(hello.len() as u16).to_be_bytes());
    record.extend_from_slice(&hello);
    record
}

/// The type of the record that answers a ClientHello (22 handshake, 21 alert), or `None` for a close.
fn answer_to_hello(relay: &Relay, hello: &[u8]) -> Option<u8> {
    let mut socket = TcpStream::connect(relay.tls).expect("the relay listens");
    socket
        .set_read_timeout(Some(SOON))
        .expect("a timeout can be set");
    socket.write_all(hello).expect("a hello can be sent");
    let mut octets = [0; 1];
    match socket.read(&mut octets) {
        Ok(1) => Some(octets[0]),
        Ok(_) => None,
        Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => None,
        Err(e) => panic!("no answer to a ClientHello: {e}"),
    }
}

const ECDHE_ECDSA_AES_128_GCM: u16 = 0xC02B;
const ECDHE_RSA_AES_128_GCM: u16 = 0xC02F;

fn tls_02_old_versions_are_refused() {
    let suites = [
        ECDHE_ECDSA_AES_128_GCM,
        ECDHE_RSA_AES_128_GCM,
        0xC009,
        0xC013,
        0x002F,
        0x0035,
        0x000A,
    ];
    assert_eq!(
        answer_to_hello(shared(), &client_hello([3, 3], &suites)),
        Some(22),
        "TLS 1.2 is answered"
    );
    for (name, version) in [
        ("SSL 3.0", [3, 0]),
        ("TLS 1.0", [3, 1]),
        ("TLS 1.1", [3, 2]),
    ] {
        let answer = answer_to_hello(shared(), &client_hello(version, &suites));
        assert_ne!(answer, Some(22), "{name}");
    }
}

fn tls_02_both_versions_work() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let tls = ClientTls {
            versions: vec![version],
            ..ClientTls::default()
        };
        let mut a = Client::tls_with(shared(), &tls).expect("the handshake succeeds");
        assert_eq!(a.session().protocol_version(), Some(version.version));
        a.obtain_token();
        Link::with_inbound(a, Client::tls_with(shared(), &tls).unwrap()).still_works();
    }
}

fn tls_03_only_forward_secret_suites() {
    // TLS_RSA_WITH_AES_128_CBC_SHA (mandatory in 4976, D-23), its kin, and ECDHE with CBC.
    for suites in [
        &[0x002F][..],
        &[0x0035, 0x009C, 0x009D],
        &[0xC009, 0xC00A, 0xC013, 0xC014],
        &[0x0001, 0x0004],
    ] {
        let answer = answer_to_hello(shared(), &client_hello([3, 3], suites));
        assert_ne!(answer, Some(22), "{suites:04x?}");
    }
    let suite = Client::tls(shared())
        .session()
        .negotiated_cipher_suite()
        .expect("negotiated")
        .suite();
    let name = format!("{suite:?}");
    assert!(name.contains("GCM") || name.contains("POLY1305"), "{name}");
}

fn tls_04_no_server_name_gets_the_default_certificate() {
    let tls = ClientTls {
        without_sni: true,
        ..ClientTls::default()
    };
    let mut a = Client::tls_with(shared(), &tls).expect("no SNI is needed");
    a.obtain_token();
    // An unknown name gets the default certificate, too; whether that is good is the client's choice.
    let relay = shared();
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    let mut session =
        ClientConnection::new(Arc::new(config), "unknown.example.net".try_into().unwrap()).unwrap();
    let mut socket = TcpStream::connect(relay.tls).unwrap();
    while session.is_handshaking() {
        session
            .complete_io(&mut socket)
            .expect("an unknown SNI is no error");
    }
    assert_eq!(session.peer_certificates(), a.session().peer_certificates());
}

/// Remembers the SNI of whoever connects.
#[derive(Debug)]
struct Listening(Arc<CertifiedKey>, Arc<Mutex<Vec<Option<String>>>>);

impl ResolvesServerCert for Listening {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.1
            .lock()
            .unwrap()
            .push(hello.server_name().map(str::to_owned));
        Some(self.0.clone())
    }
}

fn certified(identity: &Identity) -> Arc<CertifiedKey> {
    let key = provider()
        .key_provider
        .load_private_key(identity.key())
        .expect("the key is usable");
    Arc::new(CertifiedKey::new(identity.chain.clone(), key))
}

fn tls_04_server_name_is_sent() {
    let names = Arc::new(Mutex::new(Vec::new()));
    let identity = TRUSTED.leaf(&["127.0.0.1", "sni.peers.example", "bob.localhost"]);
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Listening(certified(&identity), names.clone())));
    let peer = Peer::tls_configured(Arc::new(config));
    let mut a = Client::authenticated(shared(), "alice");
    for host in ["sni.peers.example", "bob.localhost"] {
        a.say(&format!("{} {}", a.token, peer.uri_at(host)), "hello");
        assert_eq!(peer.accept().expect_method("SEND").body(), b"hello");
        assert_eq!(names.lock().unwrap().pop(), Some(Some(host.to_owned())));
    }
    // An address is no server name (RFC 6066 §3).
    a.say(&format!("{} {}", a.token, peer.uri), "hello");
    peer.accept().expect_method("SEND");
    assert_eq!(names.lock().unwrap().pop(), Some(None));
}

/// Remembers that a certificate was asked for, and has none.
#[derive(Debug, Default)]
struct Asked {
    asked: AtomicBool,
    hints: AtomicUsize,
}

impl ResolvesClientCert for Asked {
    fn resolve(&self, hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        self.hints.store(hints.len(), Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn tls_05_client_certificate_is_asked_for_and_not_required() {
    for versions in [vec![&rustls::version::TLS12], vec![&rustls::version::TLS13]] {
        let asked = Arc::new(Asked::default());
        let mut config = ClientTls {
            versions,
            ca_pem: shared().ca_pem.clone(),
            ..ClientTls::default()
        }
        .config();
        config.client_auth_cert_resolver = asked.clone();
        let name = shared().host.clone().try_into().unwrap();
        let mut session = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut socket = TcpStream::connect(shared().tls).unwrap();
        while session.is_handshaking() {
            session
                .complete_io(&mut socket)
                .expect("without a certificate the handshake succeeds");
        }
        assert!(
            asked.asked.load(Ordering::Relaxed),
            "CertificateRequest was sent"
        );
        assert_eq!(
            asked.hints.load(Ordering::Relaxed),
            0,
            "no authority is named (design §2)"
        );
    }
    // And such a client goes on to Digest.
    Client::authenticated(shared(), "alice");
}

fn tls_06_certificate_that_does_not_verify_makes_a_client() {
    for identity in [
        Identity::self_signed(&["alice-pc.example.com"]),
        STRANGER.leaf(&["r2.example.net"]),
        STRANGER.expired(&["r2.example.net"]),
        STRANGER.common_name_only("alice"),
    ] {
        for versions in [vec![&rustls::version::TLS12], vec![&rustls::version::TLS13]] {
            let identity = Some(Arc::new(identity.clone()));
            let tls = ClientTls {
                identity,
                versions,
                ..ClientTls::default()
            };
            let mut a = Client::tls_with(shared(), &tls).expect("the handshake goes on");
            a.challenge();
            a.obtain_token();
            Link::with_inbound(a, Client::tls(shared())).still_works();
        }
    }
}

fn tls_07_certificate_counts_for_its_own_names_only() {
    let relay = shared();
    let identity = TRUSTED.leaf(&["r2.example.net"]);
    let tls = ClientTls {
        identity: Some(Arc::new(identity)),
        ..ClientTls::default()
    };
    // From-Path is not in the certificate: a client like any other. It is challenged, its token is
    // bound to the connection, it may be sent to.
    let mut a = Client::tls_with(relay, &tls).expect("the handshake succeeds");
    a.obtain_token();
    let mut link = Link::with_inbound(a, Client::tls(relay));
    link.still_works();
    let mut other = Client::tls_with(relay, &tls).expect("the handshake succeeds");
    other.uri.clone_from(&link.a.uri);
    let draft = Draft::send(&link.to_p, &other.uri).text("by another connection");
    other.send(draft.octets());
    assert_eq!(other.expect().code(), Some(481), "no relay rights");
    link.p.silence(Duration::from_millis(100));
}

/// What A hears when it sends to this peer by this URI, and whether the peer heard anything.
fn told_about(relay: &Relay, peer: &Peer, uri: &str) -> (Option<u16>, bool) {
    let mut a = Client::authenticated(relay, "alice");
    let draft = Draft::send(&format!("{} {uri}", a.token), &a.uri).text("is it you?");
    a.send(draft.octets());
    let mut heard = peer.gets_message(Duration::from_secs(3));
    if let Some((p, got)) = &mut heard {
        p.send(response(got, "200 OK"));
    }
    let told = a
        .drain(Duration::from_millis(500))
        .into_iter()
        .find_map(|m| {
            m.code()
                .filter(|code| *code != 200)
                .or_else(|| m.status().map(|(_, code, _)| code))
        });
    (told, heard.is_some())
}

fn tls_08_nothing_is_said_to_who_does_not_verify() {
    let relay = shared();
    for (what, identity) in [
        ("expired", TRUSTED.expired(&["127.0.0.1"])),
        ("wrong authority", STRANGER.leaf(&["127.0.0.1"])),
        ("wrong name", TRUSTED.leaf(&["r2.example.net"])),
        ("no SAN", TRUSTED.common_name_only("127.0.0.1")),
        ("self-signed", Identity::self_signed(&["127.0.0.1"])),
    ] {
        let peer = Peer::tls_with(&identity);
        assert_eq!(
            told_about(relay, &peer, &peer.uri),
            (Some(408), false),
            "{what}"
        );
    }
    let peer = Peer::tls();
    assert_eq!(told_about(relay, &peer, &peer.uri), (None, true));
}

fn tls_09_names_are_compared_as_rfc_6125_says() {
    let relay = shared();
    for (san, host, fits) in [
        ("a.peers.example", "a.peers.example", true),
        ("A.Peers.EXAMPLE", "a.peers.example", true),
        ("a.peers.example", "A.PEERS.Example", true),
        ("*.peers.example", "a.peers.example", true),
        ("*.peers.example", "a.b.peers.example", false),
        ("*.b.peers.example", "b.peers.example", false),
        ("a*.peers.example", "ab.peers.example", false),
        ("b.peers.example", "a.peers.example", false),
        ("127.0.0.1", "127.0.0.1", true),
        ("127.0.0.2", "127.0.0.1", false),
        ("localhost", "127.0.0.1", false),
    ] {
        let peer = Peer::tls_with(&TRUSTED.leaf(&[san]));
        let (told, heard) = told_about(relay, &peer, &peer.uri_at(host));
        assert_eq!(
            (told.is_none(), heard),
            (fits, fits),
            "{san} for {host}: {told:?}"
        );
    }
    let peer = Peer::tls_with(&TRUSTED.common_name_only("a.peers.example"));
    assert_eq!(
        told_about(relay, &peer, &peer.uri_at("a.peers.example")),
        (Some(408), false),
        "CN is ignored"
    );
}

fn tls_11_tls_never_falls_back_to_tcp() {
    let relay = Setup::new()
        .set("dial.last_hop_tcp", true)
        .set("dial.last_hop_unverified", true)
        .start();
    let plain = Peer::tcp();
    let uri = plain.uri.replacen("msrp:", "msrps:", 1);
    let mut a = Client::authenticated(&relay, "alice");
    let draft = Draft::send(&format!("{} {uri}", a.token), &a.uri).text("secret");
    a.send(draft.octets());
    let octets = plain.raw_octets(SOON);
    assert!(!octets.windows(6).any(|w| w == b"secret"), "never in clear");
    assert_eq!(octets.first(), Some(&22), "a ClientHello, and nothing else");
    let failed = a.find(SOON, |m| m.code() != Some(200));
    assert_eq!(
        failed
            .code()
            .or_else(|| failed.status().map(|(_, code, _)| code)),
        Some(408)
    );
    plain.nobody_connects(Duration::from_millis(200));
}

fn tls_12_plain_tcp_to_the_last_hop_only_if_allowed() {
    let plain = Peer::tcp();
    let mut a = Client::authenticated(shared(), "alice");
    let draft = Draft::send(&format!("{} {}", a.token, plain.uri), &a.uri).text("in clear");
    a.send(draft.octets());
    assert_eq!(a.expect().code(), Some(403));
    plain.nobody_connects(Duration::from_millis(200));

    let relay = Setup::new().set("dial.last_hop_tcp", true).start();
    let mut link = Link::with_dialled(Client::authenticated(&relay, "alice"), &plain);
    link.still_works();
    // Towards a relay never: two URIs left.
    let beyond = Peer::tcp();
    let path = format!(
        "{} {} msrps://x.example.net:1/x;tcp",
        link.a.token, beyond.uri
    );
    let draft = Draft::send(&path, &link.a.uri).text("to a relay in clear");
    link.a.send(draft.octets());
    assert_eq!(link.a.response_to(&draft.tid).code(), Some(403));
    beyond.nobody_connects(Duration::from_millis(200));
}

fn tls_12_unverified_last_hop_only_if_allowed() {
    let relay = Setup::new().set("dial.last_hop_unverified", true).start();
    let peer = Peer::tls_with(&Identity::self_signed(&["bob.invalid"]));
    Link::with_dialled(Client::authenticated(&relay, "alice"), &peer).still_works();
    // Never for a relay (D-25).
    let other = Peer::tls_with(&Identity::self_signed(&["r2.invalid"]));
    let (told, heard) = told_about(
        &relay,
        &other,
        &format!("{} msrps://x.example.net:1/x;tcp", other.uri),
    );
    assert!(told.is_some() && !heard, "{told:?}");
}

fn tls_13_certificate_is_replaced_without_dropping_anybody() {
    let relay = Setup::new().start();
    let mut link = Link::dialled(&relay);
    let old = link.a.session().peer_certificates().unwrap().to_vec();
    let identity = TRUSTED.leaf(&[HOST, "localhost"]);
    std::fs::write(relay.dir().join("relay.pem"), &identity.chain_pem).unwrap();
    std::fs::write(relay.dir().join("relay.key"), &identity.key_pem).unwrap();
    relay.signal(libc::SIGHUP);
    let until = Instant::now() + SOON;
    loop {
        let fresh = Client::tls(&relay);
        if fresh.session().peer_certificates() == Some(&identity.chain[..]) {
            break;
        }
        assert_eq!(fresh.session().peer_certificates(), Some(&old[..]));
        assert!(Instant::now() < until, "the new certificate is not shown");
        std::thread::sleep(Duration::from_millis(50));
    }
    link.still_works();
    // A broken one changes nothing.
    std::fs::write(relay.dir().join("relay.key"), "no key").unwrap();
    relay.signal(libc::SIGHUP);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(
        Client::tls(&relay).session().peer_certificates(),
        Some(&identity.chain[..])
    );
    link.still_works();
}

fn tls_14_no_early_data_and_resumption_works() {
    let relay = shared();
    let mut config = ClientTls {
        ca_pem: relay.ca_pem.clone(),
        ..ClientTls::default()
    }
    .config();
    config.enable_early_data = true;
    let config = Arc::new(config);
    let mut kinds = Vec::new();
    for _ in 0..3 {
        let name = relay.host.clone().try_into().unwrap();
        let mut session = ClientConnection::new(config.clone(), name).unwrap();
        assert!(
            session.early_data().is_none(),
            "no ticket allows early data"
        );
        let mut socket = TcpStream::connect(relay.tls).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        while session.is_handshaking() {
            session
                .complete_io(&mut socket)
                .expect("the handshake succeeds");
        }
        kinds.push(session.handshake_kind());
        // Tickets of TLS 1.3 come after the handshake, at the latest with the answer to an AUTH.
        let uri = "msrps://x.example.com:1/x;tcp";
        session
            .writer()
            .write_all(&Draft::request("AUTH", &relay.uri(), uri).octets())
            .unwrap();
        let mut octets = [0; 4096];
        while session.wants_write() {
            session.write_tls(&mut socket).unwrap();
        }
        loop {
            session.read_tls(&mut socket).expect("the AUTH is answered");
            session.process_new_packets().expect("TLS is in order");
            if session
                .reader()
                .read(&mut octets)
                .is_ok_and(|octets| octets > 0)
            {
                break;
            }
        }
    }
    assert_eq!(kinds[0], Some(HandshakeKind::Full));
    assert_eq!(kinds[2], Some(HandshakeKind::Resumed), "{kinds:?}");
}
