//! Either side ends for itself.

use super::*;

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
