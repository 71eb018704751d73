//! Two sessions and the octets between them, cut in every way.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;

use super::*;

/// An authority and the folder that its files are in.
struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

impl Authority {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        fs::write(
            folder.path().join("ca.pem"),
            params.self_signed(&key).unwrap().pem(),
        )
        .unwrap();
        Self {
            folder,
            issuer: Issuer::new(params, key),
        }
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn issue(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Files {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        self.write(&pem, &key)
    }

    fn self_signed(&self, name: &str) -> Files {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        self.write(&pem, &key)
    }

    fn write(&self, certificate: &str, key: &KeyPair) -> Files {
        let count = fs::read_dir(self.folder.path()).unwrap().count();
        let files = Files {
            certificate: self.folder.path().join(format!("{count}.pem")),
            key: self.folder.path().join(format!("{count}.key")),
        };
        fs::write(&files.certificate, certificate).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    fn context(&self, names: &[&str]) -> TlsContext {
        self.load(&self.issue(names, |_| {}), &[]).unwrap()
    }

    fn load(&self, files: &Files, hosts: &[&str]) -> Result<TlsContext, Vec<TlsProblem>> {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        TlsContext::load(&files.certificate, &files.key, Some(&self.ca()), &hosts)
    }
}

/// Both ends of a connection and what is on the way between them.
struct Link {
    client: TlsSession,
    server: TlsSession,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    at_server: Vec<u8>,
    at_client: Vec<u8>,
    server_done: usize,
    client_done: usize,
}

impl Link {
    fn new(client: TlsSession, server: TlsSession) -> Self {
        Self {
            client,
            server,
            to_server: Vec::new(),
            to_client: Vec::new(),
            at_server: Vec::new(),
            at_client: Vec::new(),
            server_done: 0,
            client_done: 0,
        }
    }

    /// Moves what is on the way until nothing is, in reads of `cut` octets.
    fn run(&mut self, cut: usize) -> Result<(), TlsError> {
        while !self.to_server.is_empty() || !self.to_client.is_empty() {
            for piece in std::mem::take(&mut self.to_server).chunks_mut(cut) {
                let at = &mut self.at_server;
                let outcome = self.server.read(
                    piece,
                    &mut |octets| at.extend_from_slice(octets),
                    &mut self.to_client,
                )?;
                self.server_done += usize::from(outcome.handshake_done_now);
            }
            for piece in std::mem::take(&mut self.to_client).chunks_mut(cut) {
                let at = &mut self.at_client;
                let outcome = self.client.read(
                    piece,
                    &mut |octets| at.extend_from_slice(octets),
                    &mut self.to_server,
                )?;
                self.client_done += usize::from(outcome.handshake_done_now);
            }
        }
        Ok(())
    }

    fn handshake(&mut self, cut: usize) -> Result<(), TlsError> {
        self.client.start(&mut self.to_server)?;
        self.run(cut)
    }
}

fn linked(client: &TlsContext, server: &TlsContext, cut: usize) -> Link {
    let session = client.client("relay.example", ClientVerify::Full).unwrap();
    let mut link = Link::new(session, server.server());
    link.handshake(cut).unwrap();
    assert!(link.client.is_established() && link.server.is_established());
    link
}

/// A client that is not one of ours.
fn foreign_client(authority: &Authority, change: impl FnOnce(&mut ClientConfig)) -> TlsSession {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(authority.ca()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    change(&mut config);
    let name = ServerName::try_from("relay.example").unwrap();
    TlsSession::client(Arc::new(config), name, None).unwrap()
}

fn tls12_client(authority: &Authority) -> TlsSession {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(authority.ca()).unwrap())
        .unwrap();
    let config = tls12_config(roots);
    let name = ServerName::try_from("relay.example").unwrap();
    TlsSession::client(Arc::new(config), name, None).unwrap()
}

fn tls12_config(roots: RootCertStore) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

fn body(octets: usize) -> Vec<u8> {
    (0..octets).map(|index| (index * 31 % 251) as u8).collect()
}

#[test]
fn octets_arrive_however_they_are_cut() {
    let authority = Authority::new();
    let context = authority.context(&["relay.example"]);
    let sent = body(40_000);
    for cut in (1..=30).chain([100, 517, 4096, 16_405, 16_406, 16_407, 65_536]) {
        let mut link = linked(&context, &context, cut);
        assert_eq!((link.server_done, link.client_done), (1, 1));
        link.client.write(&sent, &mut link.to_server).unwrap();
        link.server.write(&sent[..9], &mut link.to_client).unwrap();
        link.run(cut).unwrap();
        assert_eq!(link.at_server, sent, "cut {cut}");
        assert_eq!(link.at_client, &sent[..9], "cut {cut}");
        assert_eq!(link.server.held_octets() + link.client.held_octets(), 0);
    }
}

#[test]
fn records_split_at_every_octet() {
    let authority = Authority::new();
    let context = authority.context(&["relay.example"]);
    let mut link = linked(&context, &context, usize::MAX);
    let sent = body(60);
    for first in 0..3 * (60 + 22) {
        for _ in 0..3 {
            link.client.write(&sent, &mut link.to_server).unwrap();
        }
        let mut octets = std::mem::take(&mut link.to_server);
        let (front, back) = octets.split_at_mut(first.min(246));
        let mut received = Vec::new();
        for piece in [front, back] {
            link.server
                .read(
                    piece,
                    &mut |octets| received.extend_from_slice(octets),
                    &mut link.to_client,
                )
                .unwrap();
        }
        assert_eq!(received, sent.repeat(3), "first {first}");
        assert_eq!(link.server.held_octets(), 0);
    }
}

#[test]
fn big_bodies_pass_in_full_records() {
    let authority = Authority::new();
    let context = authority.context(&["relay.example"]);
    let mut link = linked(&context, &context, 65_536);
    let sent = body(3 << 20);
    let mut out = b"already there".to_vec();
    link.client.write(&sent, &mut out).unwrap();
    assert_eq!(&out[..13], b"already there");
    // 192 records of 16 KiB, 22 octets each on top (TLS 1.3).
    assert_eq!(out.len(), 13 + sent.len() + 192 * 22);
    link.to_server = out.split_off(13);
    link.run(65_536).unwrap();
    assert!(link.at_server == sent);
}

#[test]
fn tls12_works_with_aead_suites() {
    // TLS-02, TLS-03
    let authority = Authority::new();
    let context = authority.context(&["relay.example"]);
    for cut in [1, 7, 65_536] {
        let mut link = Link::new(tls12_client(&authority), context.server());
        link.handshake(cut).unwrap();
        assert_eq!(link.server.version(), Some("TLSv1.2"));
        let sent = body(50_000);
        link.server.write(&sent, &mut link.to_client).unwrap();
        link.client.write(&sent, &mut link.to_server).unwrap();
        link.run(cut).unwrap();
        assert!(link.at_client == sent && link.at_server == sent);
        link.server.close_notify(&mut link.to_client);
        link.run(cut).unwrap();
    }
}

#[test]
fn sessions_are_resumed_and_names_judged_again() {
    // TLS-14
    let authority = Authority::new();
    let context = authority.context(&["relay.example", "R2.example"]);
    let names = Some(vec!["relay.example".to_owned(), "r2.example".to_owned()]);
    let first = linked(&context, &context, usize::MAX);
    assert!(!first.server.is_resumed());
    assert_eq!(first.server.verified_names(&context), names);
    let second = linked(&context, &context, 3);
    assert!(second.server.is_resumed() && second.client.is_resumed());
    assert_eq!(second.server.verified_names(&context), names);
    assert_eq!(second.client.verified_names(&context), names);
    // Roots that do not know the chain judge it, although the handshake was resumed.
    let other = Authority::new().context(&["relay.example"]);
    assert_eq!(second.server.verified_names(&other), None);
}

#[test]
fn reload_ends_resumption() {
    // TLS-13
    let authority = Authority::new();
    let client = authority.context(&["relay.example"]);
    let server = authority.context(&["relay.example"]);
    linked(&client, &server, usize::MAX);
    assert!(linked(&client, &server, usize::MAX).server.is_resumed());
    let reloaded = authority.context(&["relay.example"]);
    assert!(!linked(&client, &reloaded, usize::MAX).server.is_resumed());
}

#[test]
fn unverified_session_is_never_resumed_as_a_verified_one() {
    // TLS-08, D-25
    let authority = Authority::new();
    let client = authority.context(&["relay.example"]);
    let server = authority
        .load(&authority.self_signed("relay.example"), &[])
        .unwrap();
    for _ in 0..2 {
        let session = client
            .client("relay.example", ClientVerify::Unverified)
            .unwrap();
        let mut link = Link::new(session, server.server());
        link.handshake(usize::MAX).unwrap();
        assert_eq!(link.client.verified_names(&client), None);
    }
    let session = client.client("relay.example", ClientVerify::Full).unwrap();
    let mut link = Link::new(session, server.server());
    assert!(matches!(
        link.handshake(usize::MAX),
        Err(TlsError::Certificate(_))
    ));
}

#[test]
fn client_without_certificate_is_served() {
    // TLS-05
    let authority = Authority::new();
    let context = authority.context(&["relay.example"]);
    let mut link = Link::new(foreign_client(&authority, |_| {}), context.server());
    link.handshake(usize::MAX).unwrap();
    assert!(link.server.is_established());
    assert_eq!(link.server.verified_names(&context), None);
}

#[test]
fn client_without_sni_gets_the_default_certificate() {
    // TLS-04
    let authority = Authority::new();
    let context = authority.context(&["relay.example"]);
    let client = foreign_client(&authority, |config| config.enable_sni = false);
    let mut link = Link::new(client, context.server());
    link.handshake(usize::MAX).unwrap();
    assert!(link.server.is_established());
}

#[test]
fn self_signed_client_is_served_but_nobody() {
    // TLS-06, D-22
    let authority = Authority::new();
    let server = authority.context(&["relay.example"]);
    let client = authority
        .load(&authority.self_signed("r2.example"), &[])
        .unwrap();
    for resumed in [false, true] {
        let link = linked(&client, &server, usize::MAX);
        assert_eq!(link.server.is_resumed(), resumed);
        assert_eq!(link.server.verified_names(&server), None);
    }
}

#[test]
fn certificate_usages_of_relays() {
    // TLS-15
    use ExtendedKeyUsagePurpose as Usage;
    let authority = Authority::new();
    let server = authority.context(&["relay.example"]);
    for (usages, accepted) in [
        (vec![], true),
        (vec![Usage::ServerAuth], true),
        (vec![Usage::ClientAuth], true),
        (vec![Usage::CodeSigning, Usage::ClientAuth], true),
        (vec![Usage::CodeSigning], false),
    ] {
        let files = authority.issue(&["r2.example"], |params| {
            params.extended_key_usages = usages.clone();
        });
        let client = authority.load(&files, &[]).unwrap();
        let link = linked(&client, &server, usize::MAX);
        assert_eq!(
            link.server.verified_names(&server).is_some(),
            accepted,
            "{usages:?}"
        );
    }
}

#[test]
fn server_name_must_match() {
    // TLS-08, TLS-09
    let authority = Authority::new();
    let client = authority.context(&["client.example"]);
    for (names, host, verifies) in [
        (&["relay.example"][..], "relay.example", true),
        (&["relay.example"][..], "RELAY.example", true),
        (&["other.example"][..], "relay.example", false),
        (&["*.farm.example"][..], "a.farm.example", true),
        (&["*.farm.example"][..], "a.b.farm.example", false),
        (&["*.farm.example"][..], "farm.example", false),
        (&["127.0.0.1"][..], "127.0.0.1", true),
        (&["::1"][..], "[::1]", true),
        (&["::1"][..], "::1", true),
        (&["127.0.0.1"][..], "127.0.0.2", false),
        (&[][..], "relay.example", false),
    ] {
        let server = authority.context(names);
        let session = client.client(host, ClientVerify::Full).unwrap();
        let mut link = Link::new(session, server.server());
        let result = link.handshake(usize::MAX);
        if verifies {
            assert_eq!(result, Ok(()), "{names:?} {host}");
        } else {
            assert!(
                matches!(result, Err(TlsError::Certificate(_))),
                "{names:?} {host}: {result:?}"
            );
            // The server hears why.
            let mut alert = std::mem::take(&mut link.to_server);
            let heard = link.server.read(&mut alert, &mut |_| {}, &mut Vec::new());
            assert!(matches!(heard, Err(TlsError::Alert(_))), "{heard:?}");
        }
    }
}

#[test]
fn common_name_does_not_count() {
    // TLS-09
    let authority = Authority::new();
    let files = authority.issue(&[], |params| {
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "relay.example");
    });
    let problems = authority.load(&files, &["relay.example"]).unwrap_err();
    assert!(problems[0].to_string().contains("does not cover"));
}

#[test]
fn plain_text_is_refused_within_a_record_header() {
    // TLS-11
    let authority = Authority::new();
    let context = authority.context(&["relay.example"]);
    let mut server = context.server();
    let mut out = Vec::new();
    let refused = b"MSRP a786hjs2 SEND"
        .iter()
        .position(|octet| server.read(&mut [*octet], &mut |_| {}, &mut out).is_err());
    assert!(refused.unwrap() < 5);
    // A fatal alert.
    assert_eq!((out[0], out[5]), (21, 2));
    assert_eq!(
        server.read(&mut [0], &mut |_| {}, &mut out),
        Err(TlsError::Ended)
    );
    assert_eq!(server.held_octets(), 0);
}

#[test]
fn changed_record_ends_the_session_with_an_alert() {
    let authority = Authority::new();
    let context = authority.context(&["relay.example"]);
    for cut in [1, usize::MAX] {
        let mut link = linked(&context, &context, usize::MAX);
        link.client.write(b"first", &mut link.to_server).unwrap();
        let intact = link.to_server.len();
        link.client.write(b"second", &mut link.to_server).unwrap();
        link.to_server[intact + 7] ^= 1;
        assert!(matches!(link.run(cut), Err(TlsError::Misbehaved(_))));
        assert_eq!(link.at_server, b"first");
        let mut alert = std::mem::take(&mut link.to_client);
        assert!(!alert.is_empty());
        let heard = link.client.read(&mut alert, &mut |_| {}, &mut Vec::new());
        assert_eq!(heard, Err(TlsError::Alert("BadRecordMac".into())));
        assert!(!link.server.is_established());
    }
}

#[test]
fn each_side_closes_for_itself() {
    let authority = Authority::new();
    let context = authority.context(&["relay.example"]);
    let mut link = linked(&context, &context, usize::MAX);
    link.client.write(b"last", &mut link.to_server).unwrap();
    link.client.close_notify(&mut link.to_server);
    link.client.close_notify(&mut link.to_server);
    assert_eq!(
        link.client.write(b"more", &mut link.to_server),
        Err(TlsError::Ended)
    );
    // What follows the close_notify is ignored.
    link.to_server.extend_from_slice(b"junk");
    let mut received = Vec::new();
    let outcome = link
        .server
        .read(
            &mut std::mem::take(&mut link.to_server),
            &mut |octets| received.extend_from_slice(octets),
            &mut link.to_client,
        )
        .unwrap();
    assert!(outcome.close_notify);
    assert_eq!(received, b"last");
    // The other direction is still open.
    assert!(link.server.is_established());
    link.server.write(b"answer", &mut link.to_client).unwrap();
    link.server.close_notify(&mut link.to_client);
    link.run(1).unwrap();
    assert_eq!(link.at_client, b"answer");
    assert_eq!(
        link.server.write(b"more", &mut link.to_client),
        Err(TlsError::Ended)
    );
}

#[test]
fn nothing_is_written_before_the_handshake() {
    let authority = Authority::new();
    let context = authority.context(&["relay.example"]);
    let mut server = context.server();
    let mut out = Vec::new();
    assert_eq!(server.write(b"x", &mut out), Err(TlsError::NotEstablished));
    server.close_notify(&mut out);
    assert!(out.is_empty());
}

#[test]
fn key_updates_are_answered() {
    let authority = Authority::new();
    let context = authority.context(&["relay.example"]);
    for cut in [1, 1000] {
        let mut link = linked(&context, &context, cut);
        for round in 0..3 {
            link.client.request_key_update();
            link.client
                .write(b"from client", &mut link.to_server)
                .unwrap();
            link.run(cut).unwrap();
            let sent = body(20_000);
            link.server.write(&sent, &mut link.to_client).unwrap();
            link.run(cut).unwrap();
            assert!(link.at_client.ends_with(&sent), "round {round}");
            assert!(link.at_server.ends_with(b"from client"));
        }
    }
}

#[test]
fn handshake_message_over_many_records() {
    let authority = Authority::new();
    let context = authority.context(&["relay.example"]);
    let mut client = context.client("relay.example", ClientVerify::Full).unwrap();
    let mut hello = Vec::new();
    client.start(&mut hello).unwrap();
    // The ClientHello again, in records of 9 octets.
    let records: Vec<u8> = hello[5..]
        .chunks(9)
        .flat_map(|part| [&[22, 3, 1, 0, part.len() as u8], part].concat())
        .collect();
    for cut in [1, 4, 5, 13, 100, usize::MAX] {
        let mut server = context.server();
        let mut out = Vec::new();
        for piece in records.clone().chunks_mut(cut) {
            server.read(piece, &mut |_| {}, &mut out).unwrap();
        }
        assert_eq!(out.first(), Some(&22), "cut {cut}");
        assert_eq!(server.held_octets(), 0);
    }
}

#[test]
fn endless_handshake_message_is_refused() {
    let authority = Authority::new();
    let context = authority.context(&["relay.example"]);
    // A ClientHello that announces 65,535 octets, then records of one octet each.
    let mut octets = vec![22, 3, 1, 0, 4, 1, 0, 0xff, 0xff];
    for _ in 0..65_534 {
        octets.extend_from_slice(&[22, 3, 1, 0, 1, 0]);
    }
    for cut in [1000, usize::MAX] {
        let mut server = context.server();
        let mut octets = octets.clone();
        let result = octets
            .chunks_mut(cut)
            .try_for_each(|piece| server.read(piece, &mut |_| {}, &mut Vec::new()).map(|_| ()));
        assert!(result.is_err());
        assert_eq!(server.held_octets(), 0);
    }
}

#[test]
fn junk_never_panics() {
    let authority = Authority::new();
    let context = authority.context(&["relay.example"]);
    let mut flight = Vec::new();
    context
        .client("relay.example", ClientVerify::Full)
        .unwrap()
        .start(&mut flight)
        .unwrap();
    for index in 0..flight.len() {
        for value in [0, 0xff, flight[index] ^ 1, flight[index] ^ 0x80] {
            let mut octets = flight.clone();
            octets[index] = value;
            let mut server = context.server();
            let mut out = Vec::new();
            let _ = server.read(&mut octets, &mut |_| {}, &mut out);
            let _ = server.read(&mut flight.clone(), &mut |_| {}, &mut out);
        }
    }
    let mut link = linked(&context, &context, usize::MAX);
    for typ in 0..=255 {
        let mut server = context.server();
        let mut record = vec![typ, 3, 3, 0, 3, 1, 2, 3];
        let _ = server.read(&mut record, &mut |_| {}, &mut Vec::new());
        let mut record = vec![typ, 3, 3, 0, 0];
        let _ = link.server.read(&mut record, &mut |_| {}, &mut Vec::new());
    }
}

#[test]
fn old_versions_are_refused() {
    // TLS-02: a ClientHello for TLS 1.1, without extensions.
    let authority = Authority::new();
    let context = authority.context(&["relay.example"]);
    let mut hello = vec![22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 2];
    hello.extend_from_slice(&[7; 32]);
    hello.extend_from_slice(&[0, 0, 2, 0xc0, 0x14, 1, 0]);
    let mut server = context.server();
    let mut out = Vec::new();
    let result = server.read(&mut hello, &mut |_| {}, &mut out);
    assert!(
        matches!(result, Err(TlsError::Incompatible(_))),
        "{result:?}"
    );
    // A fatal alert: rustls misses the extensions of TLS 1.2 first.
    assert_eq!((out[0], out[5]), (21, 2));
}

#[test]
fn files_that_do_not_fit_are_refused() {
    // TLS-01
    let authority = Authority::new();
    let good = authority.issue(&["relay.example", "*.farm.example", "127.0.0.1"], |_| {});
    let context = authority
        .load(&good, &["relay.example", "a.farm.example", "127.0.0.1"])
        .unwrap();
    assert!(context.certificates()[0].not_after > std::time::SystemTime::now());

    let text = |files: &Files, hosts: &[&str]| {
        let problems = authority.load(files, hosts).unwrap_err();
        let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
        texts.join("; ")
    };
    let missing = text(&good, &["relay.example", "other.example", "third.example"]);
    assert!(missing.contains("cover other.example") && missing.contains("cover third.example"));

    let other = authority.issue(&["relay.example"], |_| {});
    let mixed = Files {
        certificate: good.certificate.clone(),
        key: other.key.clone(),
    };
    assert!(text(&mixed, &[]).contains("does not belong"));
    let expired = authority.issue(&["relay.example"], |params| {
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    assert!(text(&expired, &[]).contains("expired on"));
    let early = authority.issue(&["relay.example"], |params| {
        params.not_before = date_time_ymd(3000, 1, 1);
    });
    assert!(text(&early, &[]).contains("not valid before"));
    let swapped = Files {
        certificate: good.key.clone(),
        key: good.certificate.clone(),
    };
    let both = text(&swapped, &[]);
    assert!(both.contains("no certificate") && both.contains("no usable private key"));
    let absent = Files {
        certificate: "absent.pem".into(),
        key: good.key.clone(),
    };
    assert!(text(&absent, &[]).starts_with("absent.pem: cannot be read"));
}

#[test]
fn expired_relay_is_nobody() {
    // TLS-07
    let authority = Authority::new();
    let server = authority.context(&["relay.example"]);
    let expired = authority.issue(&["r2.example"], |params| {
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let chain = [CertificateDer::from_pem_file(&expired.certificate).unwrap()];
    assert_eq!(server.judge(&chain), None);
    assert_eq!(server.judge(&[]), None);
    assert_eq!(server.judge(&[CertificateDer::from(vec![1, 2, 3])]), None);
}

#[test]
fn error_inside_a_handshake_message_is_no_panic() {
    // rustls counts positions in the octets it was shown and not given back; showing it fewer
    // panics, before anybody has proved anything.
    let authority = Authority::new();
    let context = authority.context(&["relay.example"]);
    let part = [22, 3, 1, 0, 5, 1, 0, 0, 0xff, 7];
    let wrong = [99, 3, 1, 0, 1, 0];
    for cut in [1, 3, 10, usize::MAX] {
        let mut server = context.server();
        let mut out = Vec::new();
        let result = [&part[..], &wrong[..]]
            .concat()
            .chunks_mut(cut)
            .try_for_each(|piece| server.read(piece, &mut |_| {}, &mut out).map(|_| ()));
        assert!(matches!(result, Err(TlsError::Misbehaved(_))), "{result:?}");
        assert_eq!((out[0], out[5]), (21, 2));
    }
}

#[test]
fn octets_after_a_close_notify_are_not_kept() {
    let authority = Authority::new();
    let context = authority.context(&["relay.example"]);
    let mut link = linked(&context, &context, usize::MAX);
    link.client.close_notify(&mut link.to_server);
    link.run(usize::MAX).unwrap();
    for _ in 0..100 {
        let outcome = link
            .server
            .read(&mut [0; 4096], &mut |_| {}, &mut link.to_client)
            .unwrap();
        assert!(outcome.close_notify);
        assert_eq!(link.server.held_octets(), 0);
    }
}

/// The certificate that a client which asks for `name` is shown.
fn shown(server: &TlsContext, client: &TlsContext, name: &str) -> Vec<u8> {
    let client = client.client(name, ClientVerify::Unverified).unwrap();
    let mut link = Link::new(client, server.server());
    link.handshake(usize::MAX).unwrap();
    link.client.peer_leaf().unwrap()
}

#[test]
fn tls_04_the_name_asked_for_chooses_the_certificate() {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let authority = Authority::new();
    let default = authority.issue(&["relay.example", "both.example"], |_| {});
    let domain = authority.issue(
        &["Domain.example", "both.example", "third.relay.example"],
        |_| {},
    );
    let wildcard = authority.issue(&["*.farm.example"], |_| {});
    let several = |default: &Files, extra: &[&Files], hosts: &[&str]| {
        let files = |files: &'_ Files| (files.certificate.clone(), files.key.clone());
        let pairs: Vec<_> = extra.iter().map(|extra| files(extra)).collect();
        let extra: Vec<_> = pairs
            .iter()
            .map(|(certificate, key)| CertificateFiles { certificate, key })
            .collect();
        let default = CertificateFiles {
            certificate: &default.certificate,
            key: &default.key,
        };
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        TlsContext::load_several(default, &extra, Some(&authority.ca()), &hosts)
    };
    let hosts = ["relay.example", "third.relay.example"];
    let server = several(&default, &[&domain, &wildcard], &hosts).unwrap();
    let leaf = |files: &Files| {
        CertificateDer::from_pem_file(&files.certificate)
            .unwrap()
            .to_vec()
    };
    let client = authority.context(&["client.example"]);
    for (name, files) in [
        ("relay.example", &default),
        ("both.example", &default),
        ("domain.example", &domain),
        ("DOMAIN.example", &domain),
        ("a.farm.example", &wildcard),
        ("a.b.farm.example", &default),
        ("farm.example", &default),
        ("unknown.example", &default),
        // An address is never sent: no name is asked for.
        ("192.0.2.1", &default),
    ] {
        assert!(shown(&server, &client, name) == leaf(files), "{name}");
    }
    assert_eq!(server.certificates().len(), 3);
    assert_eq!(server.certificates()[1].file, domain.certificate);
    // The first host goes into Use-Path: the default certificate itself has to cover it.
    let problems = several(&default, &[&domain], &["domain.example"]).unwrap_err();
    assert!(problems[0].to_string().contains("cover domain.example"));
}
