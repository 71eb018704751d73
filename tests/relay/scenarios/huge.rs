//! A chunk of more than 4 GiB passes in the same memory as any other (CHK-01, CHK-22): the
//! machine alone, without sockets, so that it takes seconds.

use bytes::Bytes;
use msrpload::codec::{Builder, build_send};

use crate::setup::{Client, client};
use crate::world::{Options, World};

const PIECE: usize = 32_768;
const PIECES: usize = 131_074;
const TOTAL: u64 = (PIECE * PIECES) as u64;

/// The body repeats this; a multiple of no buffer's length.
const PERIOD: usize = 65_521;

fn pattern() -> Bytes {
    let octet = |at: usize| (((at % PERIOD) * 31) >> 3) as u8;
    (0..PERIOD + PIECE).map(octet).collect()
}

/// What reached a receiver that compares body octets where they are.
struct Compared {
    pattern: Bytes,
    position: u64,
}

impl Compared {
    fn body(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            let at = (self.position % PERIOD as u64) as usize;
            let (part, rest) = octets.split_at(octets.len().min(PIECE));
            assert!(part == &self.pattern[at..][..part.len()], "octets changed");
            self.position += part.len() as u64;
            octets = rest;
        }
    }
}

/// The relay's next octets to a client, which takes them at once.
fn sent_to(world: &mut World, to: &Client) -> Vec<u8> {
    world.obey();
    let (shard, key) = (world.sockets[to.peer].shard, world.sockets[to.peer].key);
    let mut all = Vec::new();
    loop {
        let mut out = Vec::new();
        if !world.shards[shard].transmit(world.now, key, &mut out) {
            return all;
        }
        world.shards[shard].sent(world.now, key);
        world.obey();
        all.append(&mut out);
    }
}

fn receive(world: &mut World, from: &Client, octets: Bytes) {
    let (shard, key) = (world.sockets[from.peer].shard, world.sockets[from.peer].key);
    let room = world.shards[shard].read_room(key);
    assert!(room >= octets.len(), "room for {room} of {}", octets.len());
    world.shards[shard].receive(world.now, key, octets);
}

#[test]
fn chk_01_a_chunk_of_more_than_4_gib_passes_without_being_held() {
    let mut world = World::new(Options::default());
    let a = client(&mut world, 0, "a");
    let b = client(&mut world, 0, "b");
    let c = client(&mut world, 0, "c");
    world.checks = false;
    let film = Builder::request("tid1", "SEND")
        .to_path(&[&a.token, &b.token, &b.uri])
        .from_path(&[&a.uri])
        .header("Message-ID", "film")
        .header("Byte-Range", &format!("1-{TOTAL}/{TOTAL}"))
        .header("Content-Type", "video/x")
        .body(b"");
    let pattern = pattern();
    let mut compared = Compared {
        pattern: pattern.clone(),
        position: 0,
    };
    receive(&mut world, &a, film.encode_head().into());
    let (mut given, mut most_held) = (0_u64, 0);
    let mut begun = false;
    for _ in 0..PIECES - 1 {
        let at = (given % PERIOD as u64) as usize;
        receive(&mut world, &a, pattern.slice(at..at + PIECE));
        given += PIECE as u64;
        let out = sent_to(&mut world, &b);
        let head = match begun {
            true => 0,
            false => {
                4 + out
                    .windows(4)
                    .position(|four| four == b"\r\n\r\n")
                    .expect("a head")
            }
        };
        begun = true;
        compared.body(&out[head..]);
        most_held = most_held.max(given - compared.position);
        assert_eq!(world.shards[0].metrics().ledger.held, 0, "it is not whole");
    }
    assert!(
        most_held <= 2 * PIECE as u64,
        "{most_held} octets were held"
    );
    // Somebody else's message cuts the chunk: the rest has a range beyond 32 bits.
    let hello = build_send(
        "tid2",
        &[&c.token, &b.token, &b.uri],
        &[&c.uri],
        "hello",
        "1-2/2",
        b"hi",
        b'$',
    );
    receive(&mut world, &c, hello.into());
    let at = (given % PERIOD as u64) as usize;
    receive(&mut world, &a, pattern.slice(at..at + PIECE));
    receive(&mut world, &a, film.encode_end().into());
    let out = sent_to(&mut world, &b);
    let text = String::from_utf8_lossy(&out);
    assert!(text.contains("\r\nMessage-ID: hello\r\n"), "CHK-03");
    let start = compared.position + 1;
    assert!(start > 1 << 32);
    let range = format!("\r\nByte-Range: {start}-*/{TOTAL}\r\n");
    assert!(text.contains(&range), "CHK-04, CHK-22: no {range}");
    let last = out.windows(4).rposition(|four| four == b"\r\n\r\n");
    let tail = &out[last.expect("a head") + 4..];
    let end = tail.windows(9).rposition(|nine| nine == b"\r\n-------");
    let end = end.expect("an end-line");
    compared.body(&tail[..end]);
    assert_eq!(compared.position, TOTAL);
    assert!(tail.ends_with(b"$\r\n"), "CHK-05");
    let ok = sent_to(&mut world, &a);
    assert!(ok.starts_with(b"MSRP tid1 200"), "one 200, at its end");
}
