//! What is refused, and what a refusal may end (CON-02, D-37).

use msrpload::codec::Builder;

use crate::setup::{client, foreign};
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
