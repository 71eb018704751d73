//! Certificates, keys and authorities from files, and which of them is shown.

use super::*;

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
        TlsContext::load_several(
            default,
            &extra,
            Some(&authority.ca()),
            &hosts,
            ChainLimits::default(),
        )
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
