//! With all file descriptors taken.

use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::pair::two_shards;
use crate::support::client::Client;
use crate::support::link::Link;
use crate::support::random::heavy;
use crate::support::relay::Relay;

/// Within a second, and with allowance for a machine that has other things to do.
const LET_IN: Duration = Duration::from_secs(4);
/// How many descriptors at least are left to those who connect. Whether numbers below the highest are free depends on
/// what the relay has inherited where it was started; without any nobody could be let in, whoever leaves.
const LEFT: u64 = 16;
/// How long the client waits at most.
const PATIENCE: Duration = Duration::from_secs(60);

/// Changes the soft limit of a running relay.
fn limit(relay: &Relay, descriptors: Option<u64>) {
    let pid = Pid::from_raw(relay.pid());
    let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: descriptors.or(maximum),
        maximum,
    };
    prlimit(pid, Resource::Nofile, limit).expect("the limit of a process of ours");
}

/// The highest descriptor that it has open.
fn highest(relay: &Relay) -> u64 {
    let open = std::fs::read_dir(format!("/proc/{}/fd", relay.pid())).expect("its descriptors");
    let numbers = open.map(|entry| entry.expect("an entry").file_name());
    numbers
        .filter_map(|name| name.to_str()?.parse().ok())
        .max()
        .expect("some are open")
}

/// Clock ticks, a hundredth of a second each.
fn cpu_ticks(relay: &Relay) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", relay.pid())).expect("its stat");
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let fields: Vec<&str> = fields.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn a_relay_without_descriptors_goes_on_and_lets_in_again() {
    let _turn = heavy();
    let relay = two_shards();
    let mut link = Link::neighbours(&relay);
    link.still_works();
    let descriptors = highest(&relay) + 1 + LEFT;
    limit(&relay, Some(descriptors));
    // What is free below that is taken, and the rest waits in the accept queues.
    let waiting: Vec<TcpStream> = (0..descriptors)
        .map(|_| TcpStream::connect(relay.tls).expect("the kernel accepts"))
        .collect();
    sleep(Duration::from_millis(300));
    std::thread::scope(|scope| {
        let late = scope.spawn(|| {
            let client = Client::tls_patiently(&relay, PATIENCE);
            (client, Instant::now())
        });
        // It does not spin, and sessions live.
        let before = cpu_ticks(&relay);
        sleep(Duration::from_secs(1));
        let spent = cpu_ticks(&relay) - before;
        assert!(spent < 30, "{spent} hundredths of a second in one");
        link.still_works();
        assert!(!late.is_finished(), "nobody is let in");
        // Some leave: whoever waits is let in within a second.
        let free = Instant::now();
        drop(waiting);
        let (client, let_in) = late.join().expect("the thread ends");
        let after = let_in - free;
        let (_, seen) = relay.get("/metrics").expect("/metrics answers");
        let mut client = client.unwrap_or_else(|error| panic!("{error} after {after:?}: {seen}"));
        assert!(after < LET_IN, "let in after {after:?}: {seen}");
        client.obtain_token();
    });
    link.still_works();
    limit(&relay, None);
    Link::inbound(&relay).still_works();
}
