//! Any octets as what a next hop says while requests wait for it to answer. `@` and a digit stand for the transact-id of one of
//! them, `~` and a digit for a URI. Whatever comes, what the sender hears is in the grammar, each request is told of once,
//! and once the hop timer has run out nothing is open.
// The world offers what scenarios want too.
#![allow(dead_code)]
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use msrpload::codec::Builder;

#[path = "../../tests/relay/setup.rs"]
mod setup;
#[path = "../../tests/relay/web.rs"]
mod web;
#[path = "../../tests/relay/world.rs"]
mod world;

use setup::{client, whole};
use world::{Options, World};

fuzz_target!(|input: &[u8]| {
    let mut world = World::new(Options::workers(2));
    let a = client(&mut world, 0, "a");
    let b = client(&mut world, 1, "b");
    let path = a.path_to(&b);
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let nickname = Builder::request("nick", "NICKNAME")
        .to_path(&path)
        .from_path(&[&a.uri])
        .encode();
    world.write(a.peer, &whole(&a, &b, "yes", "yes", b"hello"));
    world.write(a.peer, &whole(&a, &b, "partial", "partial", b"hello"));
    world.write(a.peer, &nickname);
    world.run();
    let open = world.messages(b.peer);
    assert_eq!(open.len(), 3);
    world.messages(a.peer);

    let tids: Vec<&str> = open.iter().map(|request| &*request.tid).collect();
    let uris = [
        &*a.uri,
        &*b.uri,
        &*a.token,
        &*b.token,
        "msrps://x.invalid:1/x;tcp",
    ];
    world.sockets[b.peer].sends_broken_uris = true;
    world.write(b.peer, &filled(input, &tids, &uris));
    world.run();
    world.advance(Duration::from_secs(70));

    // What does not parse strictly fails in there.
    let heard = world.messages(a.peer);
    for id in ["yes", "partial"] {
        let reports = heard.iter().filter(|message| {
            // Ours, and none that the next hop has sent.
            message.method() == Some("REPORT")
                && message.message_id() == Some(id)
                && message
                    .from_path
                    .iter()
                    .all(|uri| *uri == a.token || *uri == b.token)
        });
        assert!(reports.count() <= 1, "{heard:?}");
    }
    let answers = heard.iter().filter(|message| message.tid == "nick");
    assert!(answers.count() <= 1, "{heard:?}");
    for shard in &world.shards {
        shard.assert_invariants();
    }
    world.end();
});

/// The input with what a next hop would know.
fn filled(input: &[u8], tids: &[&str], uris: &[&str]) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = input.iter();
    while let Some(&octet) = rest.next() {
        let known = match octet {
            b'@' => tids,
            b'~' => uris,
            _ => {
                octets.push(octet);
                continue;
            }
        };
        let which = usize::from(rest.next().copied().unwrap_or_default());
        octets.extend_from_slice(known[which % known.len()].as_bytes());
    }
    octets
}
