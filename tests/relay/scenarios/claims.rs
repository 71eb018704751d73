//! What a stranger says of itself in From-Path, and what it gets by that (D-34, CON-06, SEC-11).

use std::collections::BTreeSet;

use msrpd::relay::{Transport, Verify};
use msrpload::codec::{Builder, Message};

use crate::relays::{FAR, R2, R2_URI, dial_in};
use crate::setup::{Client, client, client_uri, foreign, last, reload, respond, settings, whole};
use crate::world::{Options, Peer, World};

/// A client of no relay.
const P: &str = "msrps://p.example.net:2855/sp;tcp";
/// The same without TLS.
const PLAIN_P: &str = "msrp://p.example.net:2855/sp;tcp";

/// What a stranger writes into From-Path.
const CLAIMS: [(&str, &[&str]); 20] = [
    ("a relay's authority", &["msrps://r2.example.net:2855;tcp"]),
    ("a relay's URI", &[R2_URI]),
    ("a relay's URI and its client's", &[R2_URI, FAR]),
    (
        "another URI of the relay",
        &["msrps://r2.example.net:2855/t9;tcp"],
    ),
    (
        "the relay in capitals",
        &["MSRPS://R2.Example.NET:2855/t2;TCP"],
    ),
    (
        "the relay with an escape",
        &["msrps://%722.example.net:2855/t2;tcp"],
    ),
    (
        "the relay by a user",
        &["msrps://bob@r2.example.net:2855/t2;tcp;x=1"],
    ),
    (
        "the relay at another port",
        &["msrps://r2.example.net:2856/t2;tcp"],
    ),
    (
        "the relay without TLS",
        &["msrp://r2.example.net:2855/t2;tcp"],
    ),
    ("the far client's URI", &[FAR]),
    (
        "a last hop's authority",
        &["msrps://p.example.net:2855;tcp"],
    ),
    ("a last hop without TLS", &[PLAIN_P]),
    (
        "a last hop by WebSocket",
        &["msrps://p.example.net:2855/sp;ws"],
    ),
    (
        "another session of it",
        &["msrps://p.example.net:2855/other;tcp"],
    ),
    ("a last hop", &[P]),
    ("our authority", &["msrps://relay.example.com:2855;tcp"]),
    ("a URI of ours", &["msrps://relay.example.com:2855/x;tcp"]),
    ("a domain of ours", &["msrps://example.com:2855/x;tcp"]),
    ("a client's URI", &["msrps://b.invalid:2855/sb;tcp"]),
    ("a listed relay", &["msrps://listed.example.net:2855/t;tcp"]),
];

/// Who sends what to whom: a method, whether by `a` (under whose token the stranger wrote) or by
/// `b`, and the To-Path behind the token.
type Traffic = (&'static str, bool, &'static [&'static str]);

const TRAFFIC: [Traffic; 22] = [
    ("AUTH", true, &["msrps://r2.example.net:2855;tcp"]),
    ("AUTH", false, &["msrps://r2.example.net:2855;tcp"]),
    ("AUTH", true, &[R2_URI]),
    ("AUTH", true, &[P]),
    ("AUTH", true, &["msrps://listed.example.net:2855/t;tcp"]),
    ("AUTH", true, &["msrps://listed.example.net:2855;tcp"]),
    ("SEND", true, &[R2_URI, FAR]),
    ("SEND", false, &[R2_URI, FAR]),
    ("SEND", true, &["msrps://r2.example.net:2856/t2;tcp", FAR]),
    ("SEND", true, &[P, FAR]),
    (
        "SEND",
        true,
        &["msrps://listed.example.net:2855/t;tcp", FAR],
    ),
    ("SEND", true, &["msrps://listed.example.net:2855/t;tcp"]),
    ("SEND", false, &[R2_URI]),
    ("SEND", false, &[P]),
    ("SEND", true, &["msrps://p.example.net:2855/third;tcp"]),
    ("SEND", true, &["msrps://q.example.net:2855/sp;tcp"]),
    ("SEND", false, &[FAR]),
    ("SEND", false, &["msrps://p.example.net:2855/other;tcp"]),
    ("NICKNAME", true, &[R2_URI, FAR]),
    ("NICKNAME", false, &[P]),
    ("FOO", true, &[P, FAR]),
    ("REPORT", true, &[R2_URI, FAR]),
];

fn listing() -> msrpd::relay::Settings {
    let mut settings = settings();
    settings.peers_allow = vec![R2.into(), "listed.example.net".into()];
    settings
}

fn request(method: &str, tid: &str, to: &[&str], from: &[&str]) -> Vec<u8> {
    let request = Builder::request(tid, method).to_path(to).from_path(from);
    match method {
        "SEND" => request.header("Message-ID", tid).body(b"hi").encode(),
        "REPORT" => request
            .header("Message-ID", tid)
            .header("Byte-Range", "1-2/2")
            .header("Status", "000 200 OK")
            .encode(),
        _ => request.encode(),
    }
}

/// A stranger on a connection of its own writes to `a`, and is believed or not.
fn claims(
    world: &mut World,
    shard: usize,
    transport: Transport,
    a: &Client,
    from: &[&str],
) -> Peer {
    let stranger = world.connect(shard, transport);
    let to = [a.token.as_str(), &a.uri];
    world.write(stranger, &request("SEND", "claim1", &to, from));
    world.run();
    assert_eq!(last(world, stranger).code(), Some(200), "{from:?}");
    let arrived = last(world, a.peer);
    respond(world, a.peer, &arrived, 200);
    world.run();
    stranger
}

fn sends(world: &mut World, from: &Client, method: &str, tid: &str, to: &[&str]) {
    let mut path = vec![from.token.as_str()];
    path.extend(to);
    world.write(from.peer, &request(method, tid, &path, &[&from.uri]));
    world.run();
}

/// Whether somebody who has proved to be the next hop gets it or is looked for, or the operator
/// does not let it be one.
fn goes_on(world: &mut World, from: &Client, link: Option<Peer>) -> bool {
    let forbidden = |message: &Message| message.code() == Some(403);
    world.messages(from.peer).iter().any(forbidden)
        || !world.dialling.is_empty()
        || link.is_some_and(|link| !world.messages(link).is_empty())
}

/// D-34, CON-06, SEC-11: whatever a stranger with a token says that it is, it gets nothing that is
/// for a relay, under another token, or for another hop than the last.
#[test]
fn d_34_no_claim_catches_what_is_for_others() {
    let mut cases = 0;
    for (claim, from) in CLAIMS {
        for transport in [Transport::Tls, Transport::Tcp] {
            for (workers, linked) in [(1, true), (1, false), (3, true), (3, false)] {
                let options = Options {
                    workers,
                    settings: listing(),
                    ..Options::default()
                };
                let mut world = World::new(options);
                let a = client(&mut world, 0, "a");
                let b = client(&mut world, usize::from(workers - 1), "b");
                let stranger = claims(&mut world, usize::from(workers / 2), transport, &a, from);
                let link = linked.then(|| {
                    let link = dial_in(&mut world, usize::from(workers / 2));
                    let to = [b.token.as_str(), &b.uri];
                    world.write(link, &request("SEND", "near", &to, &[R2_URI, FAR]));
                    world.run();
                    world.messages(link);
                    let arrived = last(&mut world, b.peer);
                    respond(&mut world, b.peer, &arrived, 200);
                    world.run();
                    link
                });
                for (number, (method, by_a, to)) in TRAFFIC.into_iter().enumerate() {
                    // Nothing that waits for a dial catches what comes next.
                    while !world.dialling.is_empty() {
                        world.dial_fails(0);
                        world.run();
                    }
                    world.advance(std::time::Duration::from_secs(40));
                    let from = if by_a { &a } else { &b };
                    sends(&mut world, from, method, &format!("tid{number}"), to);
                    let case = format!(
                        "{claim} by {transport:?}, {workers} shards, link {linked}: {method} to {to:?} by a {by_a}"
                    );
                    assert_eq!(world.messages(stranger).len(), 0, "{case}");
                    assert!(goes_on(&mut world, from, link), "{case}: goes nowhere");
                    cases += 1;
                }
                end(world);
            }
        }
    }
    assert!(cases >= 60, "{cases}");
}

fn end(mut world: World) {
    while !world.dialling.is_empty() {
        world.dial_fails(0);
        world.run();
    }
    world.end();
}

/// D-34, FWD-08: a peer that wrote to a token is reached by its whole URI, under that token.
#[test]
fn d_34_what_the_holder_of_the_token_sends_to_that_last_hop_goes_back_to_the_peer() {
    for (transport, uri) in [(Transport::Tls, P), (Transport::Tcp, PLAIN_P)] {
        for workers in [1, 3] {
            let mut world = World::new(Options::workers(workers));
            let a = client(&mut world, 0, "a");
            let peer = claims(&mut world, usize::from(workers - 1), transport, &a, &[uri]);
            for method in ["SEND", "NICKNAME", "FOO", "REPORT"] {
                sends(&mut world, &a, method, "tid1", &[uri]);
                assert_eq!(last(&mut world, peer).method(), Some(method));
                assert!(world.dialling.is_empty());
            }
            world.messages(a.peer);
            // Spelt otherwise it is the same URI.
            let spelt = uri.replace("p.example.net", "%70.Example.net");
            sends(&mut world, &a, "SEND", "tid2", &[&spelt]);
            assert_eq!(last(&mut world, peer).method(), Some("SEND"));
            world.end();
        }
    }
}

/// D-34: the same through a relay that holds the token.
#[test]
fn d_34_a_token_that_a_relay_holds_leads_its_client_to_the_peer() {
    let mut world = World::new(Options::workers(2));
    let link = dial_in(&mut world, 1);
    let token = crate::relays::chained_auth(&mut world, link);
    let peer = world.connect(0, Transport::Tls);
    world.write(peer, &request("SEND", "near", &[&token, R2_URI, FAR], &[P]));
    world.run();
    assert_eq!(last(&mut world, peer).code(), Some(200));
    let arrived = last(&mut world, link);
    respond(&mut world, link, &arrived, 200);
    world.write(link, &request("SEND", "far1", &[&token, P], &[R2_URI, FAR]));
    world.run();
    assert_eq!(last(&mut world, peer).method(), Some("SEND"));
    assert!(world.dialling.is_empty());
    crate::relays::end_sessions(world);
}

/// D-34: the first connection keeps a URI as long as it lives; then it is an ordinary next hop
/// until somebody gives it again.
#[test]
fn d_34_the_first_connection_keeps_the_uri_and_has_no_heir() {
    for workers in [1, 3] {
        let mut world = World::new(Options::workers(workers));
        let a = client(&mut world, 0, "a");
        let first = claims(
            &mut world,
            usize::from(workers - 1),
            Transport::Tls,
            &a,
            &[P],
        );
        let second = claims(&mut world, 0, Transport::Tls, &a, &[P]);
        sends(&mut world, &a, "SEND", "tid1", &[P]);
        let arrived = last(&mut world, first);
        respond(&mut world, first, &arrived, 200);
        world.run();
        assert!(world.messages(second).is_empty());
        world.reset(first);
        sends(&mut world, &a, "SEND", "tid2", &[P]);
        assert_eq!(world.dialling.len(), 1);
        assert!(world.messages(second).is_empty());
        world.dial_fails(0);
        world.run();
        world.messages(a.peer);
        let third = claims(&mut world, 0, Transport::Tls, &a, &[P]);
        world.messages(a.peer);
        sends(&mut world, &a, "SEND", "tid3", &[P]);
        assert_eq!(last(&mut world, third).method(), Some("SEND"));
        assert!(world.messages(second).is_empty());
        world.end();
    }
}

/// D-34: what was refused is no claim, whatever it said.
#[test]
fn d_34_a_request_that_is_refused_claims_nothing() {
    let mut world = World::new(Options::workers(1));
    let a = client(&mut world, 0, "a");
    let stranger = world.connect(0, Transport::Tls);
    let unknown = a.token.replace(";tcp", "x;tcp");
    let elsewhere = "msrps://x.example.net:2855/x;tcp";
    for to in [[unknown.as_str(), &a.uri], [&a.token, elsewhere]] {
        world.write(stranger, &request("SEND", "claim1", &to, &[P]));
        world.run();
        assert_eq!(last(&mut world, stranger).code(), Some(481));
    }
    sends(&mut world, &a, "SEND", "tid1", &[P]);
    assert_eq!(world.dialling.len(), 1);
    assert!(world.messages(stranger).is_empty());
    end(world);
}

/// D-34: a claim ends with the session that it was made under, and with a session of its own.
#[test]
fn d_34_a_claim_ends_with_either_session() {
    for workers in [1, 3] {
        let mut world = World::new(Options::workers(workers));
        let a = client(&mut world, 0, "a");
        let far = usize::from(workers - 1);
        let peer = claims(&mut world, far, Transport::Tls, &a, &[P]);
        world.reset(a.peer);
        let again = client(&mut world, 0, "a");
        sends(&mut world, &again, "SEND", "tid1", &[P]);
        assert_eq!(world.dialling.len(), 1, "another token");
        world.dial_fails(0);
        world.run();
        assert!(world.messages(peer).is_empty());
        world.messages(again.peer);
        let mut becomes = foreign(&mut world, far, "p");
        becomes.peer = claims(&mut world, far, Transport::Tls, &again, &[P]);
        let auth = crate::setup::auth_uri(0);
        assert!(crate::setup::authenticate_at(
            &mut world,
            &mut becomes,
            &auth,
            None
        ));
        world.advance(std::time::Duration::from_secs(3));
        sends(&mut world, &again, "SEND", "tid2", &[P]);
        assert_eq!(world.dialling.len(), 1, "it is a client now");
        assert!(world.messages(becomes.peer).is_empty());
        end(world);
    }
}

/// SEC-07: what may be claimed under one token, and by one connection, is bounded.
#[test]
fn sec_07_claims_are_bounded_for_each_token_and_each_connection() {
    let mut bounded = settings();
    bounded.limits.claims_per_session = 3;
    bounded.limits.uris_per_connection = 2;
    for workers in [1, 2] {
        let options = Options {
            workers,
            settings: bounded.clone(),
            ..Options::default()
        };
        let mut world = World::new(options);
        let a = client(&mut world, 0, "a");
        let uri = |number: usize| format!("msrps://p{number}.example.net:2855/s;tcp");
        // Two on one connection, of which a third claim is forgotten; then the token is full.
        let first = world.connect(usize::from(workers - 1), Transport::Tls);
        let mut peers = Vec::new();
        for number in 0..3 {
            let to = a.uri.replace("/sa", &format!("/s{number}"));
            let octets = request("SEND", "claim1", &[&a.token, &to], &[&uri(number)]);
            world.write(first, &octets);
            world.run();
            assert_eq!(last(&mut world, first).code(), Some(200));
            peers.push(first);
        }
        for number in 3..6 {
            peers.push(claims_among(&mut world, &a, &uri(number)));
        }
        world.messages(a.peer);
        let mut reached = BTreeSet::new();
        for (number, peer) in peers.iter().enumerate() {
            sends(
                &mut world,
                &a,
                "SEND",
                &format!("tid{number}"),
                &[&uri(number)],
            );
            if !world.messages(*peer).is_empty() {
                reached.insert(number);
            }
        }
        assert_eq!(reached, BTreeSet::from([0, 1, 3]));
        assert_eq!(world.dialling.len(), 3);
        end(world);
    }
}

fn claims_among(world: &mut World, a: &Client, uri: &str) -> Peer {
    let stranger = world.connect(0, Transport::Tls);
    world.write(
        stranger,
        &request("SEND", "claim1", &[&a.token, &a.uri], &[uri]),
    );
    world.run();
    assert_eq!(last(world, stranger).code(), Some(200));
    stranger
}

/// D-34: once somebody has proved to be the host, the claim counts no more, not even for a chat that
/// went by it and whose messages look alike.
#[test]
fn d_34_a_claim_yields_to_a_link_that_proves_to_be_that_host() {
    for workers in [1, 3] {
        let mut world = World::new(Options::workers(workers));
        let a = client(&mut world, 0, "a");
        let far = usize::from(workers - 1);
        let stranger = claims(&mut world, far, Transport::Tls, &a, &[R2_URI]);
        let r2 = Client {
            peer: stranger,
            uri: R2_URI.into(),
            token: String::new(),
            use_path: Vec::new(),
        };
        for number in 0..5 {
            let octets = whole(&a, &r2, &format!("m{number}"), "yes", b"hello");
            world.write(a.peer, &octets);
            world.run();
            let arrived = last(&mut world, stranger);
            respond(&mut world, stranger, &arrived, 200);
            world.run();
            assert_eq!(last(&mut world, a.peer).code(), Some(200));
        }
        let link = dial_in(&mut world, far);
        world.write(
            link,
            &request("SEND", "near", &[&a.token, &a.uri], &[R2_URI, FAR]),
        );
        world.run();
        world.messages(link);
        world.messages(a.peer);
        let octets = whole(&a, &r2, "m9", "yes", b"hello");
        world.write(a.peer, &octets);
        world.run();
        assert!(world.messages(stranger).is_empty());
        let arrived = world.messages(link);
        assert!(
            arrived
                .iter()
                .any(|message| message.method() == Some("SEND"))
        );
        world.reset(link);
        world.run();
        world.end();
    }
}

/// D-34: the same where the last hop was dialled and its certificate names it.
#[test]
fn d_34_a_claim_does_not_pass_a_last_hop_that_was_verified() {
    for workers in [1, 3] {
        let mut world = World::new(Options::workers(workers));
        let a = client(&mut world, 0, "a");
        sends(
            &mut world,
            &a,
            "SEND",
            "tid1",
            &["msrps://p.example.net:2855/first;tcp"],
        );
        assert!(matches!(world.dialling[0].verify, Verify::LastHop { .. }));
        let honest = world.dial_succeeds(0, Some(&["p.example.net"]));
        world.run();
        let arrived = last(&mut world, honest);
        respond(&mut world, honest, &arrived, 200);
        world.run();
        world.messages(a.peer);
        let stranger = claims(
            &mut world,
            usize::from(workers - 1),
            Transport::Tls,
            &a,
            &[P],
        );
        sends(&mut world, &a, "SEND", "tid2", &[P]);
        assert_eq!(last(&mut world, honest).method(), Some("SEND"));
        assert!(world.messages(stranger).is_empty());
        world.end();
    }
}

/// D-34, AUT-24: a host that the operator lists from now on is not claimed any more.
#[test]
fn d_34_a_claim_ends_when_the_operator_lists_its_host() {
    let mut world = World::new(Options::workers(1));
    let a = client(&mut world, 0, "a");
    let stranger = claims(&mut world, 0, Transport::Tls, &a, &[P]);
    sends(&mut world, &a, "SEND", "tid1", &[P]);
    let arrived = last(&mut world, stranger);
    respond(&mut world, stranger, &arrived, 200);
    world.run();
    reload(&mut world, |settings| {
        settings.peers_block = vec!["p.example.net".into()]
    });
    sends(&mut world, &a, "SEND", "tid2", &[P]);
    assert!(world.messages(stranger).is_empty());
    end(world);
}

/// UPT-11: a client's URI leads to the client, whoever claims it.
#[test]
fn upt_11_a_claim_does_not_come_between_a_token_and_its_client() {
    let mut world = World::new(Options::workers(2));
    let a = client(&mut world, 0, "a");
    let b = client(&mut world, 1, "b");
    let stranger = claims(&mut world, 1, Transport::Tls, &a, &[&client_uri("b")]);
    let octets = whole(&a, &b, "m1", "yes", b"hello");
    world.write(a.peer, &octets);
    world.run();
    let arrived: Message = last(&mut world, b.peer);
    respond(&mut world, b.peer, &arrived, 200);
    world.run();
    assert!(world.messages(stranger).is_empty());
    world.end();
}
