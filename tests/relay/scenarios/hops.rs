//! What each hop must do anew or leave alone: transact-ids, end-lines, URIs, tokens, probation
//! (FWD, SEC, URI, UPT, CON rows).

use std::time::Duration;

use msrpload::codec::{Builder, Message, build_send};

use crate::setup::{AUTH_URI, Client, auth, client, foreign, last, respond};
use crate::world::{Options, World};

fn send(from: &Client, to: &[&str], id: &str, body: &[u8]) -> Vec<u8> {
    build_send("tid1", to, &[&from.uri], id, "1-*/*", body, b'$')
}

fn pair(world: &mut World) -> (Client, Client) {
    let a = client(world, 0, "a");
    let b = client(world, 0, "b");
    (a, b)
}

/// FWD-06, SEC-08: a receiver that tells the sender the transact-id of the open chunk lets it forge
/// that chunk's end-line; the chunk is cut there, and every octet arrives as body.
#[test]
fn fwd_06_an_end_line_that_is_met_in_a_body_cuts_the_chunk() {
    let mut world = World::new(Options::default());
    let (a, b) = pair(&mut world);
    let request = Builder::request("tid1", "SEND")
        .to_path(&[&a.token, &b.token, &b.uri])
        .from_path(&[&a.uri])
        .header("Message-ID", "m1")
        .header("Byte-Range", "1-*/*")
        .body(b"");
    let mut body = vec![b'x'; 5000];
    world.sockets[b.peer].reading = false;
    world.write(a.peer, &request.encode_head());
    world.write(a.peer, &body);
    world.run();
    let told = world.unread_tid(b.peer);
    world.sockets[b.peer].reading = true;
    let forged = format!("before\r\n-------{told}$\r\nMSRP x SEND\r\nafter");
    body.extend_from_slice(forged.as_bytes());
    world.write(a.peer, forged.as_bytes());
    world.write(a.peer, &request.encode_end());
    world.run();
    assert_eq!(last(&mut world, a.peer).code(), Some(200));
    let pieces = world.messages(b.peer);
    assert_eq!(pieces.len(), 2, "cut once");
    assert_eq!(pieces[0].tid, told, "the forger knew it");
    assert_ne!(pieces[1].tid, told);
    let joined: Vec<u8> = pieces
        .iter()
        .flat_map(|piece| piece.body().to_vec())
        .collect();
    assert!(joined == body, "every octet is body");
    let flags: Vec<u8> = pieces.iter().map(|piece| piece.flag).collect();
    assert_eq!(flags, b"+$");
    for piece in &pieces {
        respond(&mut world, b.peer, piece, 200);
    }
    world.run();
    assert!(world.is_quiet());
    world.end();
}

/// FWD-06: requests that come with one transact-id leave with as many as there are.
#[test]
fn fwd_06_every_hop_has_a_transact_id_of_its_own() {
    let mut world = World::new(Options::default());
    let (a, b) = pair(&mut world);
    let c = client(&mut world, 0, "c");
    for round in 0..50 {
        for from in [&a, &c] {
            let to = [from.token.as_str(), &b.token, &b.uri];
            world.write(from.peer, &send(from, &to, &format!("m{round}"), b"hi"));
        }
    }
    world.run();
    let mut tids: Vec<String> = world.messages(b.peer).into_iter().map(|m| m.tid).collect();
    assert_eq!(tids.len(), 100);
    tids.sort();
    tids.dedup();
    assert_eq!(tids.len(), 100);
    // 64 bits at least, in letters and digits of 5 bits and more.
    assert!(tids.iter().all(|tid| tid.len() >= 13 && tid != "tid1"));
    world.end();
}

/// CHK-18, SYN-12: nothing to send keeps its range and has no body.
#[test]
fn chk_18_a_message_without_octets_arrives_as_one_to_zero_of_zero() {
    let mut world = World::new(Options::default());
    let (a, b) = pair(&mut world);
    let request = Builder::request("tid1", "SEND")
        .to_path(&[&a.token, &b.token, &b.uri])
        .from_path(&[&a.uri])
        .header("Message-ID", "m1")
        .header("Byte-Range", "1-0/0");
    world.write(a.peer, &request.encode());
    world.run();
    let arrived = last(&mut world, b.peer);
    assert_eq!(arrived.header("Byte-Range"), Some("1-0/0"));
    assert_eq!(arrived.header("Content-Type"), None);
    assert_eq!((arrived.body(), arrived.flag), (&b""[..], b'$'));
    respond(&mut world, b.peer, &arrived, 200);
    world.run();
    assert!(world.is_quiet());
    world.end();
}

/// UPT-12, UPT-06, UPT-10: unknown, expired and used by the wrong one: all the same answer.
#[test]
fn upt_12_tokens_are_refused_alike_whatever_is_wrong_with_them() {
    let mut world = World::new(Options::default());
    let (a, b) = pair(&mut world);
    let mut short = foreign(&mut world, 0, "short");
    let uri = short.uri.clone();
    short.token = crate::setup::authenticate(&mut world, short.peer, &uri, Some(60));
    world.advance(Duration::from_secs(62));
    let unknown = a.token.replace(";tcp", "x;tcp");
    let elsewhere = "msrps://x.example.org:2855/x;tcp";
    let mut answers: Vec<Message> = Vec::new();
    for to in [
        [unknown.as_str(), &b.uri],
        [&short.token, &short.uri],
        [&a.token, elsewhere],
    ] {
        world.write(b.peer, &send(&b, &to, "m1", b"hi"));
        world.run();
        answers.push(last(&mut world, b.peer));
    }
    for answer in &answers {
        assert_eq!(answer.code(), Some(481));
        assert_eq!(answer.comment(), answers[0].comment());
        assert_eq!(answer.to_path, [b.uri.as_str()]);
    }
    assert!(world.dialling.is_empty());
    world.end();
}

/// URI-03, URI-04, URI-06, URI-07, URI-08: what counts in a URI of ours, and what does not.
#[test]
fn uri_03_to_08_a_token_is_found_under_every_spelling_that_is_equal_and_no_other() {
    let mut world = World::new(Options::default());
    let (a, b) = pair(&mut world);
    let (_, session) = b.token.split_once(":2855/").expect("a port");
    let session = session.strip_suffix(";tcp").expect("a transport");
    let flipped: String = session
        .chars()
        .map(|c| match c.is_ascii_lowercase() {
            true => c.to_ascii_uppercase(),
            false => c.to_ascii_lowercase(),
        })
        .collect();
    for (found, spelt) in [
        (
            true,
            format!("MSRPS://relay.example.com:2855/{session};tcp"),
        ),
        (
            true,
            format!("msrps://RELAY.Example.com:2855/{session};tcp"),
        ),
        (
            true,
            format!("msrps://%72elay.example.com:2855/{session};tcp"),
        ),
        (
            true,
            format!("msrps://bob@relay.example.com:2855/{session};tcp"),
        ),
        (
            true,
            format!("msrps://relay.example.com:2855/{session};TCP;x=1"),
        ),
        (
            false,
            format!("msrp://relay.example.com:2855/{session};tcp"),
        ),
        (
            false,
            format!("msrps://relay.example.com:2855/{flipped};tcp"),
        ),
        (
            false,
            format!("msrps://relay.example.com:2855/{session};ws"),
        ),
    ] {
        world.write(a.peer, &send(&a, &[&spelt, &b.uri], "m1", b"hi"));
        world.run();
        let mut signal = world.messages(a.peer);
        let arrived = world.messages(b.peer);
        assert_eq!(arrived.len(), usize::from(found), "{spelt}: {signal:?}");
        if found {
            assert_eq!(signal.remove(0).code(), Some(200), "{spelt}");
            respond(&mut world, b.peer, &arrived[0], 200);
            world.run();
        } else {
            assert_eq!(signal.remove(0).code(), Some(481), "{spelt}");
        }
        assert!(world.dialling.is_empty(), "{spelt}");
    }
    world.end();
}

/// SYN-20: URIs of others are carried as they are.
#[test]
fn syn_20_foreign_uris_pass_octet_by_octet() {
    let mut world = World::new(Options::default());
    let (a, b) = pair(&mut world);
    let behind = "msrps://Bob%41@X.invalid:2855/q/+=;ws;k=v";
    let before = "msrps://x.invalid/q;ws";
    let request = Builder::request("tid1", "SEND")
        .to_path(&[&a.token, &b.token, &b.uri, behind])
        .from_path(&[&a.uri, before])
        .header("Message-ID", "m1")
        .body(b"hi");
    world.write(a.peer, &request.encode());
    world.run();
    let arrived = last(&mut world, b.peer);
    assert_eq!(arrived.to_path, [b.uri.as_str(), behind]);
    assert_eq!(
        arrived.from_path,
        [b.token.as_str(), &a.token, &a.uri, before]
    );
    assert_eq!(last(&mut world, a.peer).to_path, [a.uri.as_str()], "RSP-01");
    world.end();
}

/// CON-01: a challenge is no success; a request that was taken is.
#[test]
fn con_01_a_challenge_does_not_end_the_probation() {
    let mut world = World::new(Options::default());
    let (a, _) = pair(&mut world);
    let idle = foreign(&mut world, 0, "idle");
    let sends = foreign(&mut world, 0, "sends");
    let asks = auth(&idle.uri, &[AUTH_URI], "auth1", None, None);
    world.write(idle.peer, &asks);
    world.write(sends.peer, &send(&sends, &[&a.token, &a.uri], "m1", b"hi"));
    world.run();
    assert_eq!(last(&mut world, idle.peer).code(), Some(401));
    assert_eq!(last(&mut world, sends.peer).code(), Some(200));
    world.advance(Duration::from_millis(29_900));
    assert!(world.sockets[idle.peer].alive());
    world.advance(Duration::from_millis(1100));
    assert!(!world.sockets[idle.peer].alive());
    assert!(world.sockets[sends.peer].alive());
    world.end();
}

/// SYN-21, SYN-23, RSP-03: a Message-ID that is not UTF-8 is refused, and the connection goes on.
#[test]
fn syn_23_a_message_id_that_is_not_utf_8_is_refused_and_the_next_request_works() {
    let mut world = World::new(Options::default());
    let (a, b) = pair(&mut world);
    let to = [a.token.as_str(), &b.token, &b.uri];
    let mut octets = send(&a, &to, "mQ1", b"hi");
    let at = octets.windows(3).position(|three| three == b"mQ1");
    octets[at.expect("the Message-ID") + 1] = 0xFF;
    world.write(a.peer, &octets);
    world.write(a.peer, &send(&a, &to, "m2", b"hi"));
    world.run();
    let codes: Vec<_> = world.messages(a.peer).iter().map(Message::code).collect();
    assert_eq!(codes, [Some(400), Some(200)]);
    assert_eq!(last(&mut world, b.peer).message_id(), Some("m2"));
    world.end();
}
