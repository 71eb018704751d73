//! A receiver that does not keep up, behind a link between relays (FWD-15, FWD-16, RPT-12).

use std::time::Duration;

use msrpload::codec::{Builder, build_send};

use crate::relays::{FAR, R2_URI, dial_in};
use crate::setup::{Client, client, last, respond, settings};
use crate::world::{Options, Peer, World};

/// A world with little room, a client that does not read, one that does, and a link by which
/// the other relay sends.
fn slow_client_behind_a_link() -> (World, Client, Client, Peer) {
    let mut settings = settings();
    settings.limits.queued_octets_per_session = 4096;
    settings.limits.queued_octets_shared = 16_384;
    let mut world = World::new(Options {
        settings,
        kernel_octets: 512,
        ..Options::default()
    });
    let a = client(&mut world, 0, "a");
    let b = client(&mut world, 0, "b");
    let link = dial_in(&mut world, 0);
    world.sockets[a.peer].reading = false;
    (world, a, b, link)
}

/// The head and `octets` of a large message from beyond the link.
fn film(world: &mut World, link: Peer, to: &Client, octets: usize) {
    let head = Builder::request("film", "SEND")
        .to_path(&[&to.token, &to.uri])
        .from_path(&[R2_URI, FAR])
        .header("Message-ID", "film")
        .header("Byte-Range", "1-*/*")
        .header("Content-Type", "text/plain")
        .body(b"");
    world.write(link, &head.encode_head());
    world.write(link, &vec![b'x'; octets]);
}

/// RPT-12: nobody would hear of a REPORT that is not forwarded, so a film on the same way that
/// is refused must not cost it.
#[test]
fn rpt_12_a_report_passes_where_a_film_is_refused() {
    let (mut world, a, b, link) = slow_client_behind_a_link();
    let near = [b.token.as_str(), &b.uri];
    world.write(
        link,
        &build_send("chat", &near, &[R2_URI, FAR], "chat", "1-2/2", b"hi", b'$'),
    );
    world.run();
    let arrived = last(&mut world, b.peer);
    respond(&mut world, b.peer, &arrived, 200);
    film(&mut world, link, &a, 100_000);
    world.advance(Duration::from_secs(1));
    let answers = world.messages(link);
    assert!(
        answers.iter().any(|answer| answer.code() == Some(413)),
        "FWD-16: the film is refused: {answers:?}"
    );
    world.write(link, b"\r\n-------film#\r\n");
    let report = Builder::request("report1", "REPORT")
        .to_path(&[&a.token, &a.uri])
        .from_path(&[R2_URI])
        .header("Message-ID", "earlier")
        .header("Byte-Range", "1-2/2")
        .header("Status", "000 408 Timeout");
    world.write(link, &report.encode());
    world.run();
    world.sockets[a.peer].reading = true;
    world.run();
    let messages = world.messages(a.peer);
    let reports = messages.iter().filter(|m| m.method() == Some("REPORT"));
    assert_eq!(reports.count(), 1, "{messages:?}");
    world.end();
}

/// FWD-15: who stands still in front of a film that is alone on a link holds that link for a
/// third of `stall_timeout`, so that the relay at the other end does not take it for dead.
#[test]
fn fwd_15_a_link_is_read_again_before_its_other_end_gives_it_up() {
    let (mut world, a, _, link) = slow_client_behind_a_link();
    film(&mut world, link, &a, 100_000);
    let mut waited = 0;
    for _ in 0..100 {
        world.advance(Duration::from_secs(1));
        // Enough to be alive, too little for the queue to get shorter.
        world.fetch(a.peer, 50);
        waited += 1;
        if world.sockets[link].inbound_len() == 0 {
            break;
        }
    }
    assert!((9..=12).contains(&waited), "read after {waited} s");
    let refused = last(&mut world, link);
    assert_eq!(refused.code(), Some(413));
    assert!(world.sockets[link].alive() && world.sockets[a.peer].alive());
    world.end();
}
