//! The harness itself, against a peer that it plays: what these get wrong would be blamed on the relay.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::rows;
use crate::support::assembly::Assembly;
use crate::support::client::{Client, Ending, Nothing, QUIET, SOON};
use crate::support::dns::Names;
use crate::support::message::{Draft, assert_lines, assert_octets, response};
use crate::support::peer::Peer;
use crate::support::pki::TRUSTED;
use crate::support::relay::{HOST, Relay};

rows! {
    any: [
        harness_two_ends_understand_each_other,
        harness_pieces_are_put_together,
        harness_wrong_pieces_are_noticed,
        harness_ends_of_connections_are_told_apart,
        harness_blocked_writes_are_counted,
        harness_names_are_served_and_remembered,
        harness_readme_names_every_test,
    ],
    own: [],
}

/// A client and what stands in for the relay.
fn ends() -> (Client, Client) {
    let peer = Peer::tls_with(&TRUSTED.leaf(&[HOST]));
    let relay = Relay::at(HOST, peer.port);
    std::thread::scope(|scope| {
        let accepted = scope.spawn(|| peer.accept());
        let client = Client::tls(&relay);
        (client, accepted.join().expect("the handshake succeeds"))
    })
}

const TO: &str = "msrps://relay.example.com:2855/t;tcp msrps://far.example.org:1/p;tcp";
const FROM: &str = "msrps://near.example.org:2/a;tcp";

fn harness_two_ends_understand_each_other() {
    let (mut client, mut other) = ends();
    let draft = Draft::send(TO, FROM).message_id("m1").text("a\r\n-------b");
    client.send(draft.octets());
    let got = other.expect_method("SEND");
    assert_octets(
        &got,
        &format!(
            "MSRP {{tid}} SEND\nTo-Path: {TO}\nFrom-Path: {FROM}\nMessage-ID: m1\nByte-Range: 1-11/11\n\
             Content-Type: text/plain\n\na\n-------b\n-------{{tid}}$\n"
        ),
    );
    other.send(response(&got, "200 OK"));
    let answer = client.response_to(&draft.tid);
    let first = TO.split(' ').next().unwrap();
    assert_lines(
        &answer,
        &format!(
            "MSRP {{tid}} 200 OK\nTo-Path: {FROM}\nFrom-Path: {first}\nMessage-ID: m1\n-------{{tid}}$\n"
        ),
    );
    client.silence(Duration::from_millis(50));
}

fn harness_pieces_are_put_together() {
    let (mut client, mut other) = ends();
    let piece = |range: &str, body: &[u8]| {
        Draft::send(TO, FROM)
            .message_id("m")
            .range(range)
            .body(body)
    };
    let first = piece("1-*/9000", &[b'1'; 4000]).flag('+');
    let octets = first.octets();
    client.send(&octets[..2000]);
    other.expect_partial(1000);
    assert_eq!(other.partial_tid(), first.tid);
    client.send(&octets[2000..]);
    client.send(piece("4001-*/9000", &[b'2'; 5000]).octets());
    let got = Assembly::new().answering().finish(&mut other);
    assert_eq!((got.octets, got.pieces.len(), got.flag()), (9000, 2, b'$'));
    assert_eq!(&got.body[3999..4001], b"12");
    assert_eq!(client.drain(Duration::from_millis(100)).len(), 2);
}

fn harness_wrong_pieces_are_noticed() {
    let fails = |drafts: &[Draft]| {
        let (mut client, mut other) = ends();
        drafts.iter().for_each(|draft| client.send(draft.octets()));
        let assemble = AssertUnwindSafe(|| Assembly::new().finish(&mut other).octets);
        catch_unwind(assemble).is_err()
    };
    let piece = |range: &str, octets: usize, flag: char| {
        Draft::send(TO, FROM)
            .message_id("m")
            .range(range)
            .body(&vec![b'x'; octets])
            .flag(flag)
    };
    assert!(!fails(&[piece("1-*/6", 3, '+'), piece("4-6/6", 3, '$')]));
    assert!(
        fails(&[piece("1-*/6", 3, '+'), piece("5-*/6", 2, '$')]),
        "a gap"
    );
    assert!(
        fails(&[piece("1-*/6", 3, '+'), piece("4-7/6", 3, '$')]),
        "a stale end"
    );
    assert!(
        fails(&[piece("1-*/6", 3, '+'), piece("4-*/7", 3, '$')]),
        "another total"
    );
    assert!(
        fails(&[
            piece("1-*/6", 3, '+'),
            piece("4-*/6", 3, '$').line("X-New: 1")
        ]),
        "another header"
    );
    assert!(
        fails(&[piece("1-5000/5000", 5000, '$')]),
        "not interruptible"
    );
}

fn harness_ends_of_connections_are_told_apart() {
    let (mut client, mut other) = ends();
    other.half_close();
    assert_eq!(client.closed(), Ending::Clean);
    let (mut client, other) = ends();
    other.kill();
    assert_eq!(client.closed(), Ending::Truncated);
    let (mut client, other) = ends();
    other.reset();
    assert_eq!(client.closed(), Ending::Reset);
    let (mut client, _other) = ends();
    assert_eq!(client.receive(QUIET), Err(Nothing::Timeout));
}

fn harness_blocked_writes_are_counted() {
    const OCTETS: usize = 32 * 1024 * 1024;
    let (mut client, mut other) = ends();
    let draft = Draft::send(TO, FROM).range("1-*/*").body(&[]);
    let body: Vec<u8> = (0..OCTETS).map(|i| (i % 251) as u8).collect();
    client.send(draft.head());
    let written = client.write(&body, Duration::from_millis(300));
    assert!(0 < written && written < OCTETS, "{written}");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            client.send(&body[written..]);
            client.send(draft.end());
        });
        let mut at = 0;
        other.expect_streamed(SOON, &mut |part| {
            assert!(
                part == &body[at..at + part.len()],
                "octets are lost at {at}"
            );
            at += part.len();
        });
        assert_eq!(at, OCTETS);
    });
}

fn harness_names_are_served_and_remembered() {
    let names = Names::get();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let mut query = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in ["harness", "peers", "example"] {
        query.push(label.len() as u8);
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 1, 0, 1]);
    socket.send_to(&query, names.address).unwrap();
    let mut answer = [0; 512];
    let (octets, _) = socket.recv_from(&mut answer).unwrap();
    assert!(answer[..octets].ends_with(&[0, 4, 127, 0, 0, 1]));
    assert!(names.was_asked("HARNESS.peers.example") && !names.was_asked("other.peers.example"));
}

fn harness_readme_names_every_test() {
    let readme = include_str!("README.md");
    for row in crate::all_rows() {
        // Repeated by WebSocket it is the same row.
        let name = row.name().trim_start_matches("by_web::");
        let named = readme.contains(&format!("`{name}`"));
        assert!(
            named,
            "tests/conformance/README.md does not name {}",
            row.name()
        );
    }
}
