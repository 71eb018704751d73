//! The process stands still, stopped or on a machine that is: what could not be heard meanwhile
//! counts against nobody (TMR-01, TMR-08, SEC-06).

use std::time::Duration;

use crate::setup::{client, respond, whole};
use crate::world::{Options, World};

const GAP: Duration = Duration::from_secs(62);

/// Time passes in which no shard is called.
fn stand_still(world: &mut World, told: bool) {
    world.now += GAP;
    if told {
        for shard in &mut world.shards {
            shard.stood_still(world.now, GAP);
        }
    }
    world.time_out();
}

/// TMR-01: answers that lie in the sockets are taken after a pause of the process, and nothing is
/// reported that was answered; what is not answered is reported when its 30 s are over.
#[test]
fn tmr_01_a_pause_of_the_process_reports_nothing_that_was_answered() {
    for told in [true, false] {
        let mut world = World::new(Options::default());
        let a = client(&mut world, 0, "a");
        let b = client(&mut world, 0, "b");
        for number in 0..201 {
            world.write(a.peer, &whole(&a, &b, &format!("m{number}"), "yes", b"hi"));
        }
        world.run();
        assert_eq!(world.messages(a.peer).len(), 201);
        let arrived = world.messages(b.peer);
        world.advance(Duration::from_secs(1));
        for request in &arrived[1..] {
            respond(&mut world, b.peer, request, 200);
        }
        stand_still(&mut world, told);
        world.run();
        let reports = world.messages(a.peer).len();
        if !told {
            assert_eq!(reports, 201, "what this is about");
        } else {
            assert_eq!(reports, 0);
            world.advance(Duration::from_secs(28));
            assert!(world.messages(a.peer).is_empty());
            world.advance(Duration::from_secs(2));
            assert_eq!(world.messages(a.peer).len(), 1, "that one had its time");
        }
        world.end();
    }
}

/// TMR-08: a receiver is not given up for the time in which nobody looked whether it takes octets.
#[test]
fn tmr_08_a_pause_of_the_process_gives_up_no_receiver() {
    let mut world = World::new(Options::default());
    let a = client(&mut world, 0, "a");
    let b = client(&mut world, 0, "b");
    world.sockets[b.peer].reading = false;
    world.write(a.peer, &whole(&a, &b, "m1", "no", &[b'x'; 200_000]));
    world.run();
    assert!(world.sockets[b.peer].has_flight(), "it takes no more");
    world.advance(Duration::from_secs(10));
    stand_still(&mut world, true);
    world.run();
    assert!(world.sockets[b.peer].alive());
    // Of its 30 s it has had 10.
    world.advance(Duration::from_secs(19));
    assert!(world.sockets[b.peer].alive());
    world.advance(Duration::from_secs(2));
    assert!(!world.sockets[b.peer].alive());
    world.end();
}

/// SEC-06: a message that was begun goes on after the pause, and its sender is not too slow for it.
#[test]
fn sec_06_a_pause_of_the_process_makes_no_sender_slow() {
    let mut world = World::new(Options::default());
    let a = client(&mut world, 0, "a");
    let b = client(&mut world, 0, "b");
    let octets = whole(&a, &b, "m1", "no", b"hi");
    world.write(a.peer, &octets[..40]);
    world.run();
    stand_still(&mut world, true);
    world.run();
    assert!(world.sockets[a.peer].alive());
    world.write(a.peer, &octets[40..]);
    world.run();
    assert_eq!(world.messages(b.peer).len(), 1);
    world.end();
}
