//! What is refused, and what a refusal may end (CON-02, D-37).

use std::time::Duration;

use msrpload::codec::Builder;

use crate::setup::{client, foreign, whole};
use crate::world::{Ended, Options, World};

/// CON-02: requests of one batch wait for another shard's verdict; the refusal of the first
/// ones closes the connection under the others.
#[test]
fn refusals_from_another_shard_may_close_the_connection_they_come_to() {
    let mut world = World::new(Options::workers(2));
    let a = client(&mut world, 0, "a");
    let p = foreign(&mut world, 1, "p");
    for number in 0..5 {
        let x = format!("msrps://x{}.example.org:2855/x;tcp", number % 2);
        let request = Builder::request(&format!("tid{number}"), "NICKNAME")
            .to_path(&[&a.token, &x])
            .from_path(&[&p.uri]);
        world.write(p.peer, &request.encode());
    }
    world.run();
    assert!(matches!(
        world.sockets[p.peer].ended,
        Some(Ended::Closed(_))
    ));
    world.end();
}

/// CON-02: that a client's first chats are too many at once speaks against nobody.
#[test]
fn overload_closes_no_connection_on_probation() {
    let mut options = Options::workers(2);
    let limits = &mut options.settings.limits;
    limits.queued_octets_per_session = 1000;
    limits.queued_octets_shared = 1000;
    limits.shared_pause = Duration::ZERO;
    let mut world = World::new(options);
    let receivers = ["a", "b"].map(|name| client(&mut world, 0, name));
    let p = foreign(&mut world, 1, "p");
    let chats: Vec<u8> = (0..12)
        .flat_map(|number| {
            whole(
                &p,
                &receivers[number % 2],
                &number.to_string(),
                "yes",
                b"Hi",
            )
        })
        .collect();
    world.write(p.peer, &chats);
    world.run();
    let answers = world.messages(p.peer);
    let count = |code| {
        answers
            .iter()
            .filter(|answer| answer.code() == Some(code))
            .count()
    };
    assert!(count(413) > 3, "more than a client on probation may fail");
    assert!(count(200) >= 2);
    assert_eq!(world.sockets[p.peer].ended, None);
    world.end();
}
