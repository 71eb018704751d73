//! What bad company costs: closed-loop pairs keep at least 80 % of the throughput that they have
//! alone (FWD-15, SEC-06, SEC-07). Alone and beside are measured in turns within one run, and each turn is
//! compared with its neighbour, so that whatever else the machine does weighs on both.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::pair::{across, chat, two_shards};
use crate::support::link::Link;
use crate::support::random::{Octets, heavy};
use crate::support::relay::Relay;

/// So long is each of the two measurements of a turn.
const STRETCH: Duration = Duration::from_millis(600);
/// Turns that must be taken, and that may be where the machine is busy.
const TURNS: usize = 5;
const TURNS_MAX: usize = 9;
/// Share of the throughput alone that must be left.
const LEFT: f64 = 0.8;
const PAIRS: usize = 2;
const HOSTILE: usize = 200;

#[test]
fn scrape_every_100_ms_leaves_the_others_their_throughput() {
    compare("scrapes", |relay, running| {
        while running.load(Relaxed) {
            let (code, _) = relay.get("/metrics").expect("/metrics answers");
            assert_eq!(code, 200);
            thread::sleep(Duration::from_millis(100));
        }
    });
}

#[test]
fn receiver_that_stands_still_leaves_the_others_their_throughput() {
    compare("a receiver that stands still", |relay, running| {
        let mut film = Link::neighbours(relay);
        let draft = film.draft().failure_report("no").range("1-*/*").body(&[]);
        film.a.send(draft.head());
        // P reads nothing, so A is stopped before long, and keeps trying.
        let frames = [b'f'; 64 * 1024];
        let mut stopped = false;
        while running.load(Relaxed) {
            let written = film.a.write(&frames, Duration::from_millis(50));
            stopped |= written < frames.len();
        }
        assert!(stopped, "the relay takes a film that nobody reads");
    });
}

#[test]
fn hostile_connections_leave_the_others_their_throughput() {
    compare("hostile connections", |relay, running| {
        let mut hostile: Vec<Hostile> = (0..HOSTILE).map(|n| Hostile::new(relay, n)).collect();
        while running.load(Relaxed) {
            // Each does its worst ten times a second, spread evenly.
            for some in hostile.chunks_mut(HOSTILE / 20) {
                some.iter_mut().for_each(|one| one.annoy(relay));
                thread::sleep(Duration::from_millis(5));
            }
        }
    });
}

/// Measures in turns, with and without what `nuisance` does until it is told to stop.
fn compare(what: &str, nuisance: impl Fn(&Relay, &AtomicBool) + Sync) {
    let _turn = heavy();
    let relay = two_shards();
    let mut pairs: Vec<Link> = (0..PAIRS).map(|_| across(&relay)).collect();
    let mut shares = Vec::new();
    loop {
        let alone = throughput(&mut pairs);
        let running = AtomicBool::new(true);
        let beside = thread::scope(|scope| {
            scope.spawn(|| nuisance(&relay, &running));
            thread::sleep(Duration::from_millis(100));
            let beside = throughput(&mut pairs);
            running.store(false, Relaxed);
            beside
        });
        shares.push(beside / alone);
        let share = median(&shares);
        if shares.len() >= TURNS && (share >= LEFT || shares.len() == TURNS_MAX) {
            eprintln!(
                "beside {what}: {:.0} % of alone {alone:.0}/s",
                share * 100.0
            );
            assert!(share >= LEFT, "beside {what} only {shares:.2?} are left");
            break;
        }
    }
    // Whatever they do, nobody makes series.
    let (code, text) = relay.get("/metrics").expect("/metrics answers");
    assert_eq!(code, 200);
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    assert!(series <= 500, "{series} series");
    drop(pairs);
    relay.assert_ledger_is_settled();
}

/// Messages per second that all pairs together get acknowledged, one at a time each.
fn throughput(pairs: &mut [Link]) -> f64 {
    let began = Instant::now();
    let chats: usize = thread::scope(|scope| {
        let talk = |link: &mut Link| {
            let mut chats = 0;
            while began.elapsed() < STRETCH {
                chat(link, "a line as people write them");
                chats += 1;
            }
            chats
        };
        let threads: Vec<_> = pairs
            .iter_mut()
            .map(|link| scope.spawn(move || talk(link)))
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).sum()
    });
    chats as f64 / began.elapsed().as_secs_f64()
}

fn median(shares: &[f64]) -> f64 {
    let mut sorted = shares.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// One of those who come to harm.
enum Hostile {
    /// Sends a request octet by octet.
    Slowloris(TcpStream),
    /// Begins a TLS handshake and leaves it at that.
    HalfHandshake(#[allow(dead_code, reason = "it is only kept open")] TcpStream),
    /// Sends what means nothing, and comes again once it is thrown out.
    Garbage(TcpStream, Box<Octets>),
}

impl Hostile {
    fn new(relay: &Relay, number: usize) -> Self {
        match number % 3 {
            0 => {
                let request = b"MSRP slow1234 SEND\r\nTo-Path: msrp://";
                let mut stream = connect(relay.tcp);
                stream.write_all(request).expect("the relay listens");
                Self::Slowloris(stream)
            }
            1 => {
                let mut stream = connect(relay.tls);
                let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
                stream.write_all(&hello).expect("the relay listens");
                Self::HalfHandshake(stream)
            }
            _ => Self::Garbage(connect(relay.tls), Box::new(Octets::new(number as u64))),
        }
    }

    fn annoy(&mut self, relay: &Relay) {
        match self {
            Self::Slowloris(stream) => {
                let _ = stream.write(b"a");
            }
            Self::HalfHandshake(_) => {}
            Self::Garbage(stream, octets) => {
                let _ = stream.write(&octets.take(64));
                let still_open = matches!(
                    stream.read(&mut [0; 64]),
                    Err(e) if e.kind() == ErrorKind::WouldBlock
                );
                if !still_open {
                    *stream = connect(relay.tls);
                }
            }
        }
    }
}

fn connect(address: std::net::SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the relay listens");
    stream
        .set_nonblocking(true)
        .expect("a socket can be polled");
    stream
}
