//! More connections without a first success than the operator allows (CON-01, CON-05).

use std::net::{IpAddr, Ipv4Addr};

use msrpd::relay::Transport;

use crate::setup::{authenticate, settings};
use crate::world::{Options, Peer, World};

fn from(world: &mut World, last: u8) {
    world.from = IpAddr::V4(Ipv4Addr::new(192, 0, 2, last));
}

/// CON-05: who floods from one address pushes out his own, and not who pauses before AUTH.
#[test]
fn con_05_a_flood_from_one_prefix_leaves_the_others_their_time_before_auth() {
    for workers in [1, 2] {
        let mut settings = settings();
        settings.limits.unauthenticated = 60;
        let mut world = World::new(Options {
            settings,
            ..Options::workers(workers)
        });
        let shards = usize::from(workers);
        let mut pausing: Vec<Peer> = Vec::new();
        for number in 0..10 {
            from(&mut world, 10 + number as u8);
            pausing.push(world.connect(number % shards, Transport::Tls));
        }
        from(&mut world, 1);
        let flood: Vec<Peer> = (0..1000)
            .map(|number| world.connect(number % shards, Transport::Tls))
            .collect();
        let alive = flood.iter().filter(|peer| world.sockets[**peer].alive());
        assert_eq!(alive.count(), 50, "what the others leave");
        assert!(
            world.sockets[*flood.last().expect("one")].alive(),
            "the youngest stay"
        );
        for (number, peer) in pausing.into_iter().enumerate() {
            assert!(world.sockets[peer].alive(), "{number}");
            let uri = format!("msrps://p{number}.invalid:2855/s;tcp");
            assert!(!authenticate(&mut world, peer, &uri, None).is_empty());
        }
        world.end();
    }
}
