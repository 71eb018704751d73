//! What one side does wrong, and old or odd versions: errors with an alert, never a panic, never without bound.

use super::*;

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
fn nothing_is_written_before_the_handshake() {
    let authority = Authority::new();
    let context = authority.context(&["relay.example"]);
    let mut server = context.server();
    let mut out = Vec::new();
    assert_eq!(server.write(b"x", &mut out), Err(TlsError::NotEstablished));
    server.close_notify(&mut out);
    assert!(out.is_empty());
}
