//! Whose certificate counts for what.

use rustls::pki_types::UnixTime;

use super::chain::Disbelief;
use super::*;

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

/// TLS-04: a name that we do not have, or an address, gets the default certificate. What is no host name at all rustls
/// refuses before it asks for a certificate (docs/deviations.md).
#[test]
fn tls_04_what_may_stand_in_sni() {
    let authority = Authority::new();
    let context = authority.context(&["relay.example"]);
    let mut hello = Vec::new();
    let mut client = context.client("relay.example", ClientVerify::Full).unwrap();
    client.start(&mut hello).unwrap();
    let at = hello
        .windows(13)
        .position(|octets| octets == b"relay.example")
        .expect("SNI");
    for (name, served) in [
        ("other.example", true),
        ("RELAY.example", true),
        ("relay_example", true),
        ("relay.exampl.", true),
        ("192.168.100.1", true),
        ("2001:db8::1:1", true),
        ("[2001:db8::1]", false),
        ("*.example.com", false),
        ("relay..exampl", false),
        ("r\u{e9}lay.exampl", false),
    ] {
        let mut hello = hello.clone();
        hello[at..at + 13].copy_from_slice(name.as_bytes());
        let mut server = context.server();
        let mut out = Vec::new();
        let read = server.read(&mut hello, &mut |_| {}, &mut out);
        assert_eq!(read.is_ok(), served, "{name}: {read:?}");
        // A ServerHello, or a fatal alert: illegal_parameter.
        let begin = if served {
            vec![22]
        } else {
            vec![21, 3, 3, 0, 2, 2, 47]
        };
        assert!(out.starts_with(&begin), "{name}: {out:?}");
    }
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
    let judge = |chain: &[CertificateDer<'_>]| server.belief().judge(chain, UnixTime::now());
    assert!(matches!(
        judge(&chain),
        Err(Disbelief::Invalid(webpki::Error::CertExpired { .. }))
    ));
    assert_eq!(judge(&[]), Err(Disbelief::Empty));
    assert!(judge(&[CertificateDer::from(vec![1, 2, 3])]).is_err());
}
