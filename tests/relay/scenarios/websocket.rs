//! What leaves by WebSocket, each message in a frame of its own (RFC 7977 §5.1). The world looks at each of them: exactly one
//! message, no larger than the limit, text where it is UTF-8.

use msrpd::relay::Transport;
use msrpload::codec::Builder;

use crate::setup::{self, Client, authenticate_at, client, respond, settings};
use crate::world::{Options, World};

/// A client of ours that comes by WebSocket.
fn browser(world: &mut World, name: &str) -> Client {
    let mut client = setup::foreign_by(world, 0, name, Transport::Wss);
    client.uri = setup::client_uri(name).replace(";tcp", ";ws");
    let uri = "msrps://relay.example.com:443;ws";
    assert!(authenticate_at(world, &mut client, uri, None), "a 200");
    client
}

fn chunk(
    from: &Client,
    to: &Client,
    id: &str,
    tid: &str,
    range: &str,
    body: &[u8],
    flag: u8,
) -> Vec<u8> {
    let path = from.path_to(to);
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    Builder::request(tid, "SEND")
        .to_path(&path)
        .from_path(&[&from.uri])
        .header("Message-ID", id)
        .header("Byte-Range", range)
        .header("Content-Type", "text/plain")
        .body(body)
        .flag(flag)
        .encode()
}

/// WSK-06: a chunk that another session interrupts shortly before its end is not prolonged to that end.
#[test]
fn wsk_06_a_piece_that_is_interrupted_near_its_end_fits_into_its_frame() {
    let mut settings = settings();
    settings.limits.websocket_chunk_octets = 9216;
    let mut world = World::new(Options {
        settings,
        ..Options::default()
    });
    let (a, b) = (client(&mut world, 0, "a"), client(&mut world, 0, "b"));
    let p = browser(&mut world, "p");
    for len in (7000..12_000).step_by(150) {
        world.sockets[p.peer].reading = false;
        world.sockets[p.peer].kernel_max = 0;
        let range = format!("1-{len}/{len}");
        let body = vec![b'x'; len];
        for (from, id) in [(&a, "m1"), (&a, "m2"), (&b, "m3"), (&b, "m4")] {
            let id = format!("{id}x{len}");
            let octets = chunk(from, &p, &id, &format!("t{id}"), &range, &body, b'$');
            world.write(from.peer, &octets);
        }
        world.run();
        world.sockets[p.peer].reading = true;
        world.sockets[p.peer].kernel_max = 1 << 20;
        world.run();
        let pieces = world.messages(p.peer);
        let octets: usize = pieces.iter().map(|piece| piece.body().len()).sum();
        assert_eq!(octets, 4 * len);
        for piece in pieces {
            respond(&mut world, p.peer, &piece, 200);
        }
        world.run();
        for from in [&a, &b] {
            let codes: Vec<_> = world
                .messages(from.peer)
                .iter()
                .map(|it| it.code())
                .collect();
            assert_eq!(codes, [Some(200); 2], "{len}");
        }
    }
    world.end();
}

/// FWD-15, CHK-11: a chunk that would fit into one frame is waited for, but not for ever where it is one with the chunk before
/// it and its source is not read until some of both has left.
#[test]
fn fwd_15_a_source_that_waits_for_merged_chunks_to_leave_by_websocket_is_read_again() {
    let mut settings = settings();
    settings.limits.queued_octets_per_session = 4096;
    let mut world = World::new(Options {
        settings,
        ..Options::default()
    });
    world.read_max = 500;
    let a = client(&mut world, 0, "a");
    let p = browser(&mut world, "p");
    world.sockets[p.peer].reading = false;
    world.sockets[p.peer].kernel_max = 100;
    let first = chunk(&a, &p, "m1", "tid1", "1-200/200", &[b'1'; 200], b'$');
    world.write(a.peer, &first);
    world.run();
    assert!(world.sockets[p.peer].has_flight(), "what follows waits");
    let second = chunk(&a, &p, "m2", "tid2", "1-1500/5500", &[b'2'; 1500], b'+');
    let third = chunk(&a, &p, "m2", "tid3", "1501-5500/5500", &[b'3'; 4000], b'$');
    world.write(a.peer, &[second, third].concat());
    world.run();
    assert!(
        world.sockets[a.peer].inbound_len() > 0,
        "it is read no more"
    );
    world.sockets[p.peer].reading = true;
    world.run();
    assert_eq!(world.sockets[a.peer].inbound_len(), 0, "it is read again");
    let pieces = world.messages(p.peer);
    let octets: usize = pieces.iter().map(|piece| piece.body().len()).sum();
    assert_eq!(octets, 5700);
    for piece in pieces {
        respond(&mut world, p.peer, &piece, 200);
    }
    world.run();
    let codes: Vec<_> = world.messages(a.peer).iter().map(|it| it.code()).collect();
    assert_eq!(codes, [Some(200); 3]);
    world.end();
}
