//! Connections that end with as many routes as one may have: each goes once, and whatever it
//! takes with it is worked off without a deeper stack (CON-10, CON-12, RPT-14, SEC-07).

use std::time::Duration;

use msrpd::metrics::CloseReason as Label;
use msrpd::relay::Limits;
use msrpload::codec::Builder;

use crate::relays::{FAR, R2_URI, dial_in, end_sessions};
use crate::setup::{Client, auth_uri, authenticate_at, client, foreign};
use crate::world::{Options, Peer, World};

/// As many as a connection may have.
fn routes() -> usize {
    Limits::default().routes_per_connection
}

fn world(workers: u16) -> World {
    World::unchecked(Options {
        workers,
        ..options()
    })
}

/// With room for all of them.
fn options() -> Options {
    let mut options = Options::default();
    options.settings.limits.remembered_octets_per_connection = 1 << 30;
    options
}

/// One short message by each of so many paths that differ in their last URI only: nobody asks
/// for an answer.
fn write_by_many_paths(world: &mut World, from: Peer, path: &[&str], from_path: &[&str], to: &str) {
    let (authority, _) = to.rsplit_once('/').expect("a URI with a session-id");
    let mut octets = Vec::new();
    for number in 0..routes() {
        let last = format!("{authority}/r{number};tcp");
        let to = [path, &[&last]].concat();
        let send = Builder::request("tid1", "SEND")
            .to_path(&to)
            .from_path(from_path)
            .header("Message-ID", "m1")
            .header("Byte-Range", "1-1/1")
            .header("Failure-Report", "no")
            .header("Content-Type", "text/plain")
            .body(b"x");
        octets.extend_from_slice(&send.encode());
    }
    world.write(from, &octets);
}

/// A stranger that knows the token of `a` opens every route that it may.
fn stranger(world: &mut World, shard: usize, a: &Client) -> Client {
    let stranger = foreign(world, shard, "m");
    write_by_many_paths(world, stranger.peer, &[&a.token], &[&stranger.uri], &a.uri);
    stranger
}

fn closed(world: &World, label: Label) -> u64 {
    let shards = world.shards.iter();
    shards.map(|shard| shard.metrics().closures(label)).sum()
}

/// All that have been closed, for whatever reason.
fn closed_at_all(world: &World) -> u64 {
    Label::ALL
        .into_iter()
        .map(|label| closed(world, label))
        .sum()
}

/// CON-10: a stranger that ends its stream in order is closed once, and nobody else.
#[test]
fn con_10_a_source_of_many_routes_ends_its_stream() {
    for workers in [1, 2] {
        let mut world = world(workers);
        let a = client(&mut world, 0, "a");
        let shard = usize::from(workers) - 1;
        let stranger = stranger(&mut world, shard, &a);
        world.shut(stranger.peer);
        world.run();
        assert_eq!(world.messages(a.peer).len(), routes());
        assert!(!world.sockets[stranger.peer].alive());
        assert_eq!(closed(&world, Label::EndOfStream), 1);
        assert_eq!(closed_at_all(&world), 1);
        world.end();
    }
}

/// RPT-14: its connection is reset.
#[test]
fn rpt_14_a_source_of_many_routes_is_lost() {
    for workers in [1, 2] {
        let mut world = world(workers);
        let a = client(&mut world, 0, "a");
        let shard = usize::from(workers) - 1;
        let stranger = stranger(&mut world, shard, &a);
        world.run();
        world.reset(stranger.peer);
        world.run();
        assert_eq!(closed(&world, Label::Lost), 1);
        assert_eq!(closed_at_all(&world), 1);
        world.end();
    }
}

/// CON-10: the receiver of many routes goes, in order and by a reset, while it is sent to.
#[test]
fn con_10_a_receiver_of_many_routes_ends() {
    for in_order in [true, false] {
        let mut world = world(1);
        let a = client(&mut world, 0, "a");
        let stranger = stranger(&mut world, 0, &a);
        world.sockets[a.peer].reading = false;
        world.run();
        if in_order {
            world.shut(a.peer);
            world.run();
            world.sockets[a.peer].reading = true;
        } else {
            world.reset(a.peer);
        }
        world.advance(Duration::ZERO);
        let label = if in_order {
            Label::EndOfStream
        } else {
            Label::Lost
        };
        assert_eq!(closed(&world, label), 1);
        assert!(!world.sockets[a.peer].alive());
        assert!(world.sockets[stranger.peer].alive());
        world.end();
    }
}

/// CON-12: a drain ends the sources of many routes and their receiver.
#[test]
fn con_12_a_drain_ends_many_routes() {
    let mut world = world(2);
    let a = client(&mut world, 0, "a");
    stranger(&mut world, 0, &a);
    stranger(&mut world, 1, &a);
    world.run();
    let deadline = world.now + Duration::from_secs(10);
    for shard in &mut world.shards {
        shard.drain(world.now, deadline);
    }
    world.obey();
    world.run();
    for shard in &mut world.shards {
        assert!(shard.is_drained());
        shard.close_all(world.now);
    }
    world.obey();
    world.advance(Duration::ZERO);
    assert_eq!(closed(&world, Label::Drain), 3);
    assert_eq!(closed_at_all(&world), 3);
    world.end();
}

/// TLS-07: a relay's link has many routes, and its certificate is no longer good.
#[test]
fn tls_07_a_link_of_many_routes_is_judged_again() {
    let mut world = world(1);
    let a = client(&mut world, 0, "a");
    let link = dial_in(&mut world, 0);
    write_by_many_paths(&mut world, link, &[&a.token], &[R2_URI, FAR], &a.uri);
    world.run();
    assert_eq!(world.messages(a.peer).len(), routes());
    world.rejudge(link, None);
    world.run();
    assert_eq!(closed(&world, Label::Unverified), 1);
    assert_eq!(closed_at_all(&world), 1);
    end_sessions(world);
}

/// RPT-14, CON-10: a link between two relays of ours with many routes ends, for both: at one it
/// is where they lead, at the other where they come from.
#[test]
fn rpt_14_both_sides_of_a_link_of_many_routes_end() {
    for in_order in [true, false] {
        let mut world = World::unchecked(Options {
            more_relays: vec![1],
            ..options()
        });
        let mut a = client(&mut world, 0, "a");
        assert!(authenticate_at(&mut world, &mut a, &auth_uri(1), None));
        let b = client(&mut world, 1, "b");
        let path: Vec<&str> = (a.use_path.iter().chain([&b.token]))
            .map(String::as_str)
            .collect();
        // The token of `a` at the second relay is not needed on the way there.
        let path = [path[0], path[path.len() - 1]];
        write_by_many_paths(&mut world, a.peer, &path, &[&a.uri], &b.uri);
        world.run();
        assert_eq!(world.messages(b.peer).len(), routes());
        let link = (0..world.sockets.len())
            .find(|peer| world.sockets[*peer].partner.is_some() && world.sockets[*peer].alive())
            .expect("a link");
        if in_order {
            world.rejudge(link, None);
        } else {
            world.reset(link);
        }
        world.advance(Duration::ZERO);
        assert_eq!(closed_at_all(&world), 2, "both ends, once each");
        world.end();
    }
}
