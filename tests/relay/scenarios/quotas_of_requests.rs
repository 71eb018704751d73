//! Rates count every request, its head and its body (SEC-06): whatever a client sends that is no
//! chunk of a message, or none that goes anywhere, costs as much to read.

use std::time::Duration;

use msrpd::relay::{Quota, Quotas};
use msrpload::codec::Builder;

use crate::setup::{Client, client, settings};
use crate::world::{Options, World};

const SECOND: Duration = Duration::from_secs(1);
const RATE: u64 = 100_000;

/// Alice, who may send so much, and bob.
fn world(user: Quota) -> (World, Client, Client) {
    let mut settings = settings();
    settings.quotas = Quotas {
        user,
        ..Quotas::default()
    };
    let mut world = World::new(Options {
        settings,
        ..Options::workers(2)
    });
    world.checks = false;
    let (a, b) = (client(&mut world, 0, "a"), client(&mut world, 1, "b"));
    (world, a, b)
}

/// How much of these requests the relay reads in ten seconds, and how many of them reach bob.
fn read_in_ten_seconds(
    world: &mut World,
    from: &Client,
    to: &Client,
    request: &dyn Fn(usize) -> Vec<u8>,
) -> (u64, usize) {
    let before = world.sockets[from.peer].consumed;
    let mut written = 0;
    for number in 0.. {
        let octets = request(number);
        written += octets.len();
        world.write(from.peer, &octets);
        if written > 3_000_000 {
            break;
        }
    }
    let mut arrived = 0;
    for _ in 0..100 {
        world.advance(SECOND / 10);
        arrived += world.messages(to.peer).len();
        world.messages(from.peer);
    }
    (world.sockets[from.peer].consumed - before, arrived)
}

fn assert_rate(read: u64) {
    // One read and one message may be ahead of what is paid for.
    let bounds = 9 * RATE..=11 * RATE + 2 * 65_536;
    assert!(bounds.contains(&read), "{read} octets in ten seconds");
}

fn octets_quota() -> Quota {
    Quota {
        octets_per_second: RATE,
        ..Quota::default()
    }
}

#[test]
fn sec_06_bodies_of_reports_count_for_the_rate() {
    let (mut world, a, b) = world(octets_quota());
    let path = a.path_to(&b);
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let report = |number: usize| {
        Builder::request(&format!("rep{number}"), "REPORT")
            .to_path(&path)
            .from_path(&[&a.uri])
            .header("Message-ID", &format!("m{number}"))
            .header("Byte-Range", "1-2/2")
            .header("Status", "000 200 OK")
            .header("Content-Type", "text/plain")
            .body(&[b'x'; 10_000])
            .encode()
    };
    let (read, arrived) = read_in_ten_seconds(&mut world, &a, &b, &report);
    assert_rate(read);
    assert!(arrived > 80, "{arrived} arrive");
}

#[test]
fn sec_06_heads_count_for_the_rate() {
    let (mut world, a, b) = world(octets_quota());
    let path = a.path_to(&b);
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let filler = "x".repeat(29_000);
    let send = |number: usize| {
        Builder::request(&format!("tid{number}"), "SEND")
            .to_path(&path)
            .from_path(&[&a.uri])
            .header("Message-ID", &format!("m{number}"))
            .header("Byte-Range", "1-2/2")
            .header("Failure-Report", "no")
            .header("X-Filler", &filler)
            .header("Content-Type", "text/plain")
            .body(b"hi")
            .encode()
    };
    let (read, arrived) = read_in_ten_seconds(&mut world, &a, &b, &send);
    assert_rate(read);
    assert!(arrived > 25, "{arrived} arrive");
}

#[test]
fn sec_06_what_is_refused_and_read_past_counts_for_the_rate() {
    let (mut world, a, b) = world(octets_quota());
    let elsewhere = a.token.replace(";tcp", "x;tcp");
    let send = |number: usize| {
        Builder::request(&format!("tid{number}"), "SEND")
            .to_path(&[&elsewhere, &b.uri])
            .from_path(&[&a.uri])
            .header("Message-ID", &format!("m{number}"))
            .header("Byte-Range", "1-20000/20000")
            .header("Content-Type", "text/plain")
            .body(&[b'x'; 20_000])
            .encode()
    };
    let (read, arrived) = read_in_ten_seconds(&mut world, &a, &b, &send);
    assert_rate(read);
    assert_eq!(arrived, 0);
}

#[test]
fn sec_06_requests_other_than_send_count_as_messages() {
    let (mut world, a, b) = world(Quota {
        messages_per_second: 50,
        ..Quota::default()
    });
    let path = a.path_to(&b);
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    for method in ["REPORT", "NICKNAME"] {
        let request = |number: usize| {
            Builder::request(&format!("req{number}"), method)
                .to_path(&path)
                .from_path(&[&a.uri])
                .header("Message-ID", &format!("m{number}"))
                .header("Byte-Range", "1-2/2")
                .header("Status", "000 200 OK")
                .encode()
        };
        for number in 0..2000 {
            world.write(a.peer, &request(number));
        }
        let mut arrived = 0;
        for _ in 0..100 {
            world.advance(SECOND / 10);
            arrived += world.messages(b.peer).len();
        }
        assert!((450..=550).contains(&arrived), "{arrived} of {method}");
        if method == "REPORT" {
            // The rest is read at the same rate.
            world.advance(SECOND * 40);
            world.messages(b.peer);
        }
    }
}
