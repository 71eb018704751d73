//! What a receiver that reads slowly, or has stopped, may cost: memory and the kernel's send queue while the relay runs, and what
//! was acknowledged and is lost where the relay is killed (FWD-15, TMR-08).

use std::collections::HashSet;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use msrpload::codec::Message;

use crate::pair::two_shards;
use crate::support::client::Client;
use crate::support::link::Link;
use crate::support::message::Draft;
use crate::support::random::heavy;
use crate::support::relay::{Relay, Setup};

/// What one such receiver may cost, and lose.
const BOUND: u64 = 128 * 1024;
/// Chunks of the films, and what a film has.
const SIZES: [usize; 2] = [2048, 65_536];
const FILM: usize = 4 << 20;
/// So long does a write wait for room.
const PATIENCE: Duration = Duration::from_millis(50);
const STALLED: usize = 100;
/// Those that come before: what all share is touched by them.
const FIRST: usize = 50;
/// Longer than freed memory takes to go back.
const SETTLED: Duration = Duration::from_secs(12);

/// A bulk transfer in chunks, that goes out as fast as it is taken.
struct Film {
    octets: Vec<u8>,
    written: usize,
}

impl Film {
    fn new(link: &Link, size: usize) -> Self {
        let body = vec![b'f'; size];
        let id = link.draft().message_id;
        let chunk = |number: usize| {
            let start = number * size + 1;
            Draft::send(&link.to_p, &link.a.uri)
                .message_id(&id)
                .range(&format!("{start}-{}/{FILM}", start + size - 1))
                .content("application/x", &body)
                .flag('+')
                .octets()
        };
        Self {
            octets: (0..FILM / size).flat_map(chunk).collect(),
            written: 0,
        }
    }

    /// Writes until nothing more is taken.
    fn go_on(&mut self, a: &mut Client) {
        self.written += a.write(&self.octets[self.written..], PATIENCE);
    }
}

fn body_octets(messages: &[Message]) -> usize {
    messages.iter().map(|message| message.body().len()).sum()
}

/// FWD-02: a 200 says that the relay is responsible. What it holds for a slow receiver is bounded, so that no more than that is
/// lost with it, whenever it is killed.
#[test]
fn kill_loses_at_most_128_kib_of_what_was_acknowledged_to_a_slow_receivers_sender() {
    let _turn = heavy();
    for (size, reads) in [(2048, 0), (2048, 8), (65_536, 0)] {
        let relay = two_shards();
        let mut link = Link::neighbours(&relay);
        small_buffers(&link);
        let mut film = Film::new(&link, size);
        film.go_on(&mut link.a);
        let mut came = Vec::new();
        for _ in 0..reads {
            came.push(link.p.expect_method("SEND"));
            film.go_on(&mut link.a);
        }
        assert!(film.written < film.octets.len(), "the receiver is slow");
        // Nothing moves any more when these are in.
        let answers = link.a.drain(Duration::from_millis(500));
        relay.signal(libc::SIGKILL);
        let is_200 = |message: &Message| message.code() == Some(200);
        let acknowledged = answers.iter().filter(|m| is_200(m)).count() * size;
        came.extend(link.p.drain(Duration::from_secs(2)));
        let partial = link.p.partial_octets().unwrap_or(0) as usize;
        let received = body_octets(&came) + partial;
        let lost = acknowledged.saturating_sub(received);
        eprintln!("{size}, after {reads} reads: {acknowledged} acknowledged, {lost} lost");
        assert!(acknowledged > 0 && received > 0);
        assert!(
            lost as u64 <= BOUND,
            "{lost} octets of {acknowledged} are lost"
        );
    }
}

/// FWD-15: user memory and the kernel's send queue together; the idle connections do not count.
#[test]
fn receivers_that_stop_reading_cost_128_kib_each() {
    let _turn = heavy();
    for size in SIZES {
        each_costs_at_most_the_bound(size);
    }
}

fn each_costs_at_most_the_bound(size: usize) {
    let relay = Setup::new()
        .set("relay.workers", 1)
        .set("limits.stall_timeout", "10m")
        .start();
    let link = |_| {
        let link = Link::neighbours(&relay);
        small_buffers(&link);
        link
    };
    let mut links: Vec<Link> = (0..FIRST + STALLED).map(link).collect();
    let (first, rest) = links.split_at_mut(FIRST);
    stall(first, size);
    let before = settled(&relay);
    stall(rest, size);
    let after = settled(&relay);
    let user = after.saturating_sub(before) / STALLED as u64;
    let queues = send_queues(&relay, rest);
    assert_eq!(queues.len(), STALLED, "every receiver has its socket");
    let kernel = queues.iter().sum::<u64>() / STALLED as u64;
    eprintln!("{size}: {user} octets of memory and {kernel} in the kernel for each receiver");
    assert!(kernel > 0, "they are stalled");
    assert!(
        user + kernel <= BOUND,
        "{user} octets of memory and {kernel} in the kernel"
    );
}

/// What lies in the clients' own is neither the relay's nor lost.
fn small_buffers(link: &Link) {
    socket2::SockRef::from(link.p.socket())
        .set_recv_buffer_size(32 * 1024)
        .expect("an option");
    socket2::SockRef::from(link.a.socket())
        .set_send_buffer_size(64 * 1024)
        .expect("an option");
}

fn stall(links: &mut [Link], size: usize) {
    for link in links {
        let mut film = Film::new(link, size);
        film.go_on(&mut link.a);
    }
}

/// The least that is resident while nothing moves.
fn settled(relay: &Relay) -> u64 {
    let until = Instant::now() + SETTLED;
    let mut least = u64::MAX;
    while Instant::now() < until {
        thread::sleep(Duration::from_millis(500));
        least = least.min(relay.resident());
    }
    least
}

/// Octets in the send queues of the relay's sockets towards these receivers (proc(5)).
fn send_queues(relay: &Relay, links: &[Link]) -> Vec<u64> {
    let port = |link: &Link| link.p.socket().local_addr().expect("connected").port();
    let receivers: HashSet<u16> = links.iter().map(port).collect();
    let table = fs::read_to_string(format!("/proc/{}/net/tcp", relay.pid())).expect("proc");
    let queue = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let port = |at: usize| u16::from_str_radix(fields[at].rsplit_once(':')?.1, 16).ok();
        let ours = port(1)? == relay.tls.port() && receivers.contains(&port(2)?);
        let (sent, _) = fields[4].split_once(':')?;
        ours.then(|| u64::from_str_radix(sent, 16).ok())?
    };
    table.lines().skip(1).filter_map(queue).collect()
}
