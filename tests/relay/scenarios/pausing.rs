//! When a source is not read, and when it is read again (FWD-15, FWD-16, design: *Pausing*).

use msrpload::codec::build_send;

use crate::setup::{client, settings};
use crate::world::{Options, World};

/// Answers that a client does not take stop it from making more of them, and only so long.
#[test]
fn a_client_that_leaves_its_answers_is_read_again_once_it_takes_them() {
    let mut settings = settings();
    settings.limits.control_octets = 2000;
    let mut world = World::new(Options {
        settings,
        kernel_octets: 512,
        ..Options::default()
    });
    world.read_max = 500;
    let a = client(&mut world, 0, "a");
    let b = client(&mut world, 0, "b");
    world.sockets[a.peer].reading = false;
    for number in 0..60 {
        let id = format!("m{number}");
        let tid = format!("tid{number}");
        let to = [a.token.as_str(), &b.token, &b.uri];
        world.write(
            a.peer,
            &build_send(&tid, &to, &[&a.uri], &id, "1-2/2", b"hi", b'$'),
        );
    }
    world.run();
    assert!(
        world.sockets[a.peer].inbound_len() > 0,
        "it is read no more"
    );
    world.sockets[a.peer].reading = true;
    world.run();
    assert_eq!(world.sockets[a.peer].inbound_len(), 0);
    assert_eq!(world.messages(a.peer).len(), 60);
    assert_eq!(world.messages(b.peer).len(), 60);
    world.end();
}
