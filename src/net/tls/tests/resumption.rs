//! Sessions that go on where an earlier one was: a certificate is judged each time (TLS-14).

use super::*;

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

/// TLS-14, TLS-08: who was believed under a certificate is not believed by a ticket after its end, as server or as client.
#[test]
fn tls_14_a_certificate_that_has_ended_is_not_good_for_a_resumption() {
    use std::time::{Duration, Instant, UNIX_EPOCH};
    let authority = Authority::new();
    let context = authority.context(&["relay.example"]);
    let short = authority.issue(&["relay.example"], |params| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        params.not_after = date_time_ymd(1970, 1, 1) + since + Duration::from_secs(3);
    });
    let short = authority.load(&short, &[]).unwrap();
    linked(&context, &short, usize::MAX);
    let as_server = linked(&context, &short, usize::MAX);
    assert!(as_server.client.is_resumed());
    linked(&short, &context, usize::MAX);
    let as_client = linked(&short, &context, usize::MAX);
    assert!(as_client.server.is_resumed());
    assert!(as_client.server.verified_names(&context).is_some());

    let begun = Instant::now();
    while as_client.server.verified_names(&context).is_some() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it ends");
        std::thread::sleep(Duration::from_millis(50));
    }
    // Judged again, the link that is up is no relay's any more; nor is a new one that resumes it.
    let again = linked(&short, &context, usize::MAX);
    assert!(again.server.is_resumed());
    assert_eq!(again.server.verified_names(&context), None);
    let session = context.client("relay.example", ClientVerify::Full).unwrap();
    let mut again = Link::new(session, short.server());
    let refused = again.handshake(usize::MAX);
    assert!(
        matches!(refused, Err(TlsError::Certificate(_))),
        "{refused:?}"
    );
    assert!(!again.client.is_established());
}
