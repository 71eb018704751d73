//! Links to other relays: which connection leads where, and what a certificate entitles to
//! (CON-06 to CON-09, TLS-07, D-34).

use std::time::Duration;

use msrpd::relay::{CloseReason, Reached, Verify};
use msrpload::codec::{Message, build_send};

use crate::relays::{FAR, R2, R2_URI, chained_auth, dial_in, end_sessions, verified};
use crate::setup::{Client, client, foreign, last, respond, settings};
use crate::world::{Ended, Options, Peer, World};

/// What `a` sends to the far client through the other relay.
fn send_far(world: &mut World, a: &Client, tid: &str) {
    send_by(world, a, tid, R2_URI);
}

fn send_by(world: &mut World, a: &Client, tid: &str, relay: &str) {
    let to = [a.token.as_str(), relay, FAR];
    let octets = build_send(tid, &to, &[&a.uri], tid, "1-2/2", b"hi", b'$');
    world.write(a.peer, &octets);
    world.run();
}

/// What the far client sends to `a` through the other relay.
fn send_near(world: &mut World, link: Peer, a: &Client, tid: &str) {
    let to = [a.token.as_str(), &a.uri];
    let octets = build_send(tid, &to, &[R2_URI, FAR], tid, "1-2/2", b"hi", b'$');
    world.write(link, &octets);
    world.run();
}

/// A SEND has arrived there and is answered.
fn arrives(world: &mut World, link: Peer) -> Message {
    let arrived = last(world, link);
    respond(world, link, &arrived, 200);
    world.run();
    arrived
}

/// The link stands at R2, and has shown by a request that it does.
fn link_in(world: &mut World, shard: usize, a: &Client) -> Peer {
    let link = dial_in(world, shard);
    send_near(world, link, a, "near");
    arrives(world, a.peer);
    assert_eq!(last(world, link).code(), Some(200));
    link
}

/// CON-07, D-34: requests go back by the connection that the other relay opened.
#[test]
fn con_07_a_relay_that_connected_in_gets_requests_over_its_connection() {
    for (workers, shard) in [(1, 0), (3, 2)] {
        let mut world = World::new(Options::workers(workers));
        let a = client(&mut world, 0, "a");
        let link = link_in(&mut world, shard, &a);
        send_far(&mut world, &a, "far1");
        assert!(world.dialling.is_empty());
        arrives(&mut world, link);
        assert_eq!(last(&mut world, a.peer).code(), Some(200));
        world.end();
    }
}

/// TLS-07: a certificate that is no longer good ends the rights at once and the link in order.
#[test]
fn tls_07_a_link_that_no_longer_verifies_is_closed_in_order_and_replaced() {
    let mut world = World::new(Options::workers(2));
    let a = client(&mut world, 0, "a");
    let link = link_in(&mut world, 1, &a);
    world.rejudge(link, verified(&[R2]));
    send_far(&mut world, &a, "far1");
    let arrived = last(&mut world, link);
    assert_eq!(last(&mut world, a.peer).code(), Some(200));
    world.rejudge(link, None);
    assert_eq!(
        world.sockets[link].ended,
        Some(Ended::Closed(CloseReason::Unverified))
    );
    world.run();
    let report = last(&mut world, a.peer);
    assert_eq!(
        report.header("Status"),
        Some("000 408 Timeout"),
        "{arrived:?}"
    );
    send_far(&mut world, &a, "far2");
    assert_eq!(world.dialling.len(), 1);
    assert_eq!(world.dialling[0].verify, Verify::Relay);
    world.end();
}

/// DNS-03, DNS-08: the AUTH's next hop had no port; the URI that comes back has one, and a host
/// of the farm.
#[test]
fn dns_08_a_link_found_by_srv_serves_the_uris_of_the_host_that_it_reached() {
    for workers in [1, 4] {
        let mut world = World::new(Options::workers(workers));
        let a = client(&mut world, 0, "a");
        let auth = msrpload::codec::Builder::request("tid1", "AUTH")
            .to_path(&[&a.token, "msrps://example.net;tcp"])
            .from_path(&[&a.uri])
            .encode();
        world.write(a.peer, &auth);
        world.run();
        assert_eq!(world.dialling.len(), 1);
        assert_eq!(world.dialling[0].target, "msrps://example.net;tcp");
        world.dial_reaches(
            0,
            Reached {
                target: Some("R2.example.net.".into()),
                port: 2855,
            },
        );
        let link = world.dial_succeeds(0, Some(&["example.net", R2]));
        world.run();
        assert_eq!(last(&mut world, link).from_path.len(), 2);
        for (tid, relay) in [("far1", R2_URI), ("far2", "msrps://example.net:2855/x;tcp")] {
            send_by(&mut world, &a, tid, relay);
            assert!(world.dialling.is_empty(), "{relay} is there already");
            arrives(&mut world, link);
            assert_eq!(last(&mut world, a.peer).code(), Some(200));
        }
        send_by(&mut world, &a, "far3", "msrps://r2.example.net:2856/x;tcp");
        assert_eq!(world.dialling.len(), 1, "another port is another relay");
        world.end();
    }
}

/// TLS-10: the target of the SRV record alone proves nothing.
#[test]
fn tls_10_a_srv_target_that_the_certificate_does_not_name_is_dialled_by_its_own_name() {
    let mut world = World::new(Options::workers(1));
    let a = client(&mut world, 0, "a");
    let auth = msrpload::codec::Builder::request("tid1", "AUTH")
        .to_path(&[&a.token, "msrps://example.net;tcp"])
        .from_path(&[&a.uri])
        .encode();
    world.write(a.peer, &auth);
    world.run();
    world.dial_reaches(
        0,
        Reached {
            target: Some(R2.into()),
            port: 2855,
        },
    );
    world.dial_succeeds(0, Some(&["example.net"]));
    world.run();
    send_far(&mut world, &a, "far1");
    assert_eq!(world.dialling.len(), 1);
    assert_eq!(world.dialling[0].target, "msrps://r2.example.net:2855;tcp");
    world.end();
}

/// CON-08: whoever asks first causes the dial, on whatever shard, and all others wait for it.
#[test]
fn con_08_a_hundred_first_sends_from_all_shards_make_one_connection() {
    let mut world = World::new(Options::workers(4));
    let clients: Vec<Client> = (0..100)
        .map(|number| client(&mut world, number % 4, &format!("c{number}")))
        .collect();
    for (number, client) in clients.iter().enumerate() {
        let to = [client.token.as_str(), R2_URI, FAR];
        let id = format!("msg{number}");
        let octets = build_send(&id, &to, &[&client.uri], &id, "1-2/2", b"hi", b'$');
        world.write(client.peer, &octets);
    }
    world.run();
    assert_eq!(world.dialling.len(), 1);
    let link = world.dial_succeeds(0, Some(&[R2]));
    world.run();
    assert_eq!(world.messages(link).len(), 100);
    for client in &clients {
        assert_eq!(last(&mut world, client.peer).code(), Some(200));
    }
    world.end();
}

/// CON-07: of two dials that crossed the older serves, and the younger takes over.
#[test]
fn con_07_of_two_links_the_older_serves_and_the_younger_inherits() {
    for workers in [1, 2] {
        let mut world = World::new(Options::workers(workers));
        let a = client(&mut world, 0, "a");
        send_far(&mut world, &a, "far1");
        assert_eq!(world.dialling.len(), 1);
        assert_eq!(last(&mut world, a.peer).code(), Some(200));
        let theirs = link_in(&mut world, usize::from(workers - 1), &a);
        // Theirs is up already, and ours is not.
        let b = client(&mut world, 0, "b");
        send_far(&mut world, &b, "far2");
        arrives(&mut world, theirs);
        let ours = world.dial_succeeds(0, Some(&[R2]));
        world.run();
        arrives(&mut world, ours);
        let c = client(&mut world, 0, "c");
        send_far(&mut world, &c, "far3");
        arrives(&mut world, ours);
        world.reset(ours);
        world.run();
        send_far(&mut world, &c, "far4");
        assert!(world.dialling.is_empty(), "the younger is there");
        arrives(&mut world, theirs);
        world.end();
    }
}

/// Back-off: a next hop that was not reached is left alone, and who asks hears at once.
#[test]
fn rpt_05_after_a_failed_dial_requests_fail_at_once_until_the_back_off_ends() {
    for workers in [1, 2] {
        let mut world = World::new(Options::workers(workers));
        let a = client(&mut world, 0, "a");
        send_far(&mut world, &a, "far1");
        assert_eq!(
            last(&mut world, a.peer).code(),
            Some(200),
            "queued: it is ours"
        );
        world.dial_fails(0);
        world.run();
        assert_eq!(
            last(&mut world, a.peer).header("Status"),
            Some("000 408 Timeout")
        );
        send_far(&mut world, &a, "far2");
        assert!(world.dialling.is_empty());
        assert_eq!(last(&mut world, a.peer).code(), Some(408));
        world.advance(Duration::from_secs(2));
        send_far(&mut world, &a, "far3");
        assert_eq!(world.dialling.len(), 1, "the back-off is over");
        world.dial_fails(0);
        world.run();
        world.messages(a.peer);
        world.advance(Duration::from_millis(1500));
        send_far(&mut world, &a, "far4");
        assert!(world.dialling.is_empty(), "the second one is longer");
        assert_eq!(last(&mut world, a.peer).code(), Some(408));
        // The other relay is there after all, and says so.
        let link = link_in(&mut world, 0, &a);
        send_far(&mut world, &a, "far5");
        arrives(&mut world, link);
        world.reset(link);
        world.run();
        world.messages(a.peer);
        send_far(&mut world, &a, "far6");
        assert_eq!(world.dialling.len(), 1, "its link ended the back-off");
        world.end();
    }
}

/// SEC-07: what waits for a dial is bounded, and what is beyond is refused once.
#[test]
fn sec_07_what_waits_for_a_dial_is_bounded() {
    let mut settings = settings();
    settings.limits.dialling_routes = 3;
    settings.limits.dialling_octets = 65_536;
    let mut world = World::new(Options {
        settings,
        ..Options::workers(2)
    });
    let clients: Vec<Client> = (0..5)
        .map(|number| client(&mut world, number % 2, &format!("c{number}")))
        .collect();
    let codes: Vec<Option<u16>> = clients
        .iter()
        .map(|client| {
            send_far(&mut world, client, "far1");
            last(&mut world, client.peer).code()
        })
        .collect();
    assert_eq!(
        codes,
        [Some(200), Some(200), Some(200), Some(413), Some(413)]
    );
    let body = [b'x'; 30_000];
    for (number, code) in [(0, 200), (1, 200), (2, 200), (0, 413)] {
        let client = &clients[number];
        let to = [client.token.as_str(), R2_URI, FAR];
        let octets = build_send(
            "big1",
            &to,
            &[&client.uri],
            "big1",
            "1-30000/30000",
            &body,
            b'$',
        );
        world.write(client.peer, &octets);
        world.run();
        assert_eq!(last(&mut world, client.peer).code(), Some(code));
    }
    let link = world.dial_succeeds(0, Some(&[R2]));
    world.run();
    let ends = world.messages(link);
    let ends = ends.iter().filter(|piece| piece.flag == b'$');
    assert_eq!(ends.count(), 6);
    send_far(&mut world, &clients[4], "far2");
    arrives(&mut world, link);
    world.end();
}

/// CON-09, UPT-09: a stranger's request to a live token whose holder is a verified relay makes
/// us dial that relay, verified as one, and no other.
#[test]
fn con_09_a_token_of_a_relay_makes_us_dial_that_relay_and_no_other() {
    for workers in [1, 3] {
        let mut settings = settings();
        settings.last_hop_unverified = true;
        let mut world = World::new(Options {
            settings,
            ..Options::workers(workers)
        });
        let link = dial_in(&mut world, 0);
        let token = chained_auth(&mut world, link);
        world.reset(link);
        world.run();
        let p = foreign(&mut world, usize::from(workers - 1), "p");
        for next in [
            "msrps://x.example.org:2855/t2;tcp",
            "msrps://r2.example.net:2855/other;tcp",
            "msrps://r2.example.net:2856/t2;tcp",
            "msrp://r2.example.net:2855/t2;tcp",
        ] {
            let q = foreign(&mut world, 0, "q");
            let send = build_send(
                "tid0",
                &[&token, next],
                &[&q.uri],
                "m0",
                "1-2/2",
                b"hi",
                b'$',
            );
            world.write(q.peer, &send);
            world.run();
            assert_eq!(last(&mut world, q.peer).code(), Some(481), "{next}");
            assert!(world.dialling.is_empty(), "{next}");
        }
        // Also with the relay as last hop, where the operator waives certificates of clients.
        for (number, path) in [vec![&*token, R2_URI], vec![&token, R2_URI, FAR]]
            .iter()
            .enumerate()
        {
            let id = format!("msg{number}");
            let send = build_send(&id, path, &[&p.uri], &id, "1-2/2", b"hi", b'$');
            world.write(p.peer, &send);
            world.run();
            assert_eq!(world.dialling.len(), 1);
            assert_eq!(world.dialling[0].verify, Verify::Relay);
            assert_eq!(world.dialling[0].target, "msrps://r2.example.net:2855;tcp");
            assert_eq!(last(&mut world, p.peer).code(), Some(200));
        }
        let again = world.dial_succeeds(0, Some(&[R2]));
        world.run();
        assert_eq!(world.messages(again).len(), 2);
        end_sessions(world);
    }
}

/// UPT-09: nobody stands in for the relay by giving its URI as his own.
#[test]
fn upt_09_a_stranger_who_gives_a_relays_uri_does_not_get_its_requests() {
    let mut world = World::new(Options::workers(1));
    let a = client(&mut world, 0, "a");
    let link = dial_in(&mut world, 0);
    let token = chained_auth(&mut world, link);
    let thief = world.connect(0, msrpd::relay::Transport::Tls);
    let to = [a.token.as_str(), &a.uri];
    let send = build_send("tid1", &to, &[R2_URI], "m1", "1-2/2", b"hi", b'$');
    world.write(thief, &send);
    world.run();
    assert_eq!(last(&mut world, thief).code(), Some(200));
    world.messages(a.peer);
    let p = foreign(&mut world, 0, "p");
    let send = build_send(
        "tid2",
        &[&token, R2_URI, FAR],
        &[&p.uri],
        "m2",
        "1-2/2",
        b"hi",
        b'$',
    );
    world.write(p.peer, &send);
    world.run();
    assert!(world.messages(thief).is_empty());
    arrives(&mut world, link);
    end_sessions(world);
}

/// RPT-11, D-07: our REPORT goes to another connection of the relay that sent, a new one if need
/// be, and never opens one to a client.
#[test]
fn rpt_11_a_report_takes_another_connection_of_the_relay_that_sent() {
    for (workers, second) in [(1, true), (2, true), (3, true), (1, false), (3, false)] {
        let mut world = World::new(Options::workers(workers));
        let a = client(&mut world, 0, "a");
        let link = link_in(&mut world, usize::from(workers - 1), &a);
        send_near(&mut world, link, &a, "near1");
        assert_eq!(last(&mut world, link).code(), Some(200));
        assert_eq!(world.messages(a.peer).len(), 1, "and it is not answered");
        let other = second.then(|| link_in(&mut world, 0, &a));
        world.reset(link);
        world.run();
        world.advance(Duration::from_secs(31));
        let other = other.unwrap_or_else(|| {
            assert_eq!(world.dialling[0].verify, Verify::Relay);
            assert_eq!(world.dialling.len(), 1);
            world.dial_succeeds(0, Some(&[R2]))
        });
        world.run();
        let report = last(&mut world, other);
        assert_eq!(report.header("Status"), Some("000 408 Timeout"));
        assert_eq!(report.to_path, [R2_URI, FAR]);
        world.end();
    }
}

/// RPT-11: a REPORT that waits for a link when that link dies takes the next one.
#[test]
fn rpt_11_a_report_that_was_not_written_takes_another_link() {
    let mut world = World::new(Options::workers(1));
    let clients = [client(&mut world, 0, "a"), client(&mut world, 0, "b")];
    let link = link_in(&mut world, 0, &clients[0]);
    for to in &clients {
        send_near(&mut world, link, to, "near1");
        assert_eq!(last(&mut world, link).code(), Some(200));
        world.messages(to.peer);
    }
    let third = client(&mut world, 0, "c");
    let other = link_in(&mut world, 0, &third);
    world.sockets[link].reading = false;
    world.sockets[link].kernel_max = 1;
    // The clients are lost: the link stands still with the first REPORT, and the second waits.
    for to in &clients {
        world.reset(to.peer);
        world.run();
    }
    world.reset(link);
    world.run();
    let report = last(&mut world, other);
    assert_eq!(report.header("Status"), Some("000 481 No such session"));
    assert_eq!(report.to_path, [R2_URI, FAR]);
    world.end();
}

/// RPT-11: a client that has gone is not called.
#[test]
fn rpt_11_no_report_makes_us_dial_a_client() {
    let mut world = World::new(Options::workers(1));
    let a = client(&mut world, 0, "a");
    let p = foreign(&mut world, 0, "p");
    let to = [a.token.as_str(), &a.uri];
    let send = build_send("tid1", &to, &[&p.uri], "m1", "1-2/2", b"hi", b'$');
    world.write(p.peer, &send);
    world.run();
    world.reset(p.peer);
    world.advance(Duration::from_secs(31));
    assert!(world.dialling.is_empty());
    let report = msrpload::codec::Builder::request("tid2", "REPORT")
        .to_path(&[&a.token, &p.uri])
        .from_path(&[&a.uri])
        .header("Message-ID", "m1")
        .header("Byte-Range", "1-2/2")
        .header("Status", "000 200 OK")
        .encode();
    world.write(a.peer, &report);
    world.run();
    assert!(world.dialling.is_empty(), "nor does one that is forwarded");
    world.end();
}

/// RPT-14, CON-11: the loss of a link is told at once to all who had something on it.
#[test]
fn rpt_14_the_loss_of_a_link_is_reported_at_once_on_every_shard() {
    let mut world = World::new(Options::workers(3));
    let clients: Vec<Client> = (0..30)
        .map(|number| client(&mut world, number % 3, &format!("c{number}")))
        .collect();
    let link = link_in(&mut world, 1, &clients[0]);
    // Half of it is open, and half of it queued: the link takes no more.
    for client in &clients[..15] {
        send_far(&mut world, client, "far1");
        assert_eq!(last(&mut world, client.peer).code(), Some(200));
    }
    world.sockets[link].reading = false;
    world.sockets[link].kernel_max = 1;
    for client in &clients[15..] {
        send_far(&mut world, client, "far2");
        assert_eq!(last(&mut world, client.peer).code(), Some(200));
    }
    world.reset(link);
    world.run();
    for client in &clients {
        let report = last(&mut world, client.peer);
        assert_eq!(report.header("Status"), Some("000 408 Timeout"));
    }
    assert!(world.is_quiet(), "nothing is held");
    for client in &clients {
        send_far(&mut world, client, "far3");
        assert_eq!(last(&mut world, client.peer).code(), Some(200));
    }
    assert_eq!(world.dialling.len(), 1, "new traffic dials anew");
    let link = world.dial_succeeds(0, Some(&[R2]));
    world.run();
    assert_eq!(world.messages(link).len(), 30);
    world.end();
}

/// UPT-09: a session that a relay holds outlives its links, whichever side opens the next one.
#[test]
fn upt_09_sessions_of_a_relay_outlive_its_links() {
    for workers in [1, 4] {
        let mut world = World::new(Options::workers(workers));
        let p = client(&mut world, 0, "p");
        let mut link = dial_in(&mut world, 0);
        let token = chained_auth(&mut world, link);
        for round in 0..6 {
            world.reset(link);
            world.run();
            // Theirs and ours by turns.
            let id = format!("msg{round}");
            let send = build_send(
                &id,
                &[&p.token, &token, R2_URI, FAR],
                &[&p.uri],
                &id,
                "1-2/2",
                b"hi",
                b'$',
            );
            if round % 2 == 0 {
                link = dial_in(&mut world, round % usize::from(workers));
            }
            // Onward, under the token and by whom it was handed out to.
            if round % 2 == 0 {
                let to = [token.as_str(), &p.token, &p.uri];
                let near = build_send(&id, &to, &[R2_URI, FAR], &id, "1-2/2", b"hi", b'$');
                world.write(link, &near);
                world.run();
                assert_eq!(last(&mut world, link).code(), Some(200), "{round}");
                arrives(&mut world, p.peer);
            }
            world.write(p.peer, &send);
            world.run();
            if round % 2 == 1 {
                assert_eq!(world.dialling.len(), 1);
                link = world.dial_succeeds(0, Some(&[R2]));
                world.run();
            }
            assert_eq!(last(&mut world, p.peer).code(), Some(200), "{round}");
            let arrived = arrives(&mut world, link);
            assert_eq!(arrived.to_path, [R2_URI, FAR]);
        }
        end_sessions(world);
    }
}

/// URI-12, SYN-25: paths that lead in a ring come to their end.
#[test]
fn uri_12_rings_and_endless_paths_end() {
    let mut world = World::new(Options::workers(2));
    let a = client(&mut world, 0, "a");
    let b = client(&mut world, 1, "b");
    let spelt = a.token.replace("relay.example.com", "RELAY.example.com");
    let x = "msrps://x.example.org:2855/x;tcp";
    let rings: [&[&str]; 5] = [
        &[&a.token, &a.token, x],
        &[&a.token, &a.token, &a.uri],
        &[&a.token, &spelt, &a.uri],
        &[&a.token, &b.token, &a.token, &a.uri],
        &[&a.token, &b.token, &a.token, &b.token, &b.uri],
    ];
    for (number, to) in rings.iter().enumerate() {
        let id = format!("ring{number}");
        let send = build_send(&id, to, &[&a.uri], &id, "1-2/2", b"hi", b'$');
        world.write(a.peer, &send);
        world.run();
        let answers = world.messages(a.peer);
        assert_eq!(answers.len(), 1, "{to:?}: {answers:?}");
        assert_eq!(answers[0].code(), Some(481), "{to:?}");
        assert!(world.dialling.is_empty());
        assert!(world.messages(b.peer).is_empty());
    }
    let mut long = vec![a.token.as_str()];
    long.extend(std::iter::repeat_n(R2_URI, 32));
    let send = build_send("long", &long, &[&a.uri], "long", "1-2/2", b"hi", b'$');
    world.write(a.peer, &send);
    world.run();
    assert!(
        world
            .messages(a.peer)
            .iter()
            .all(|answer| answer.code() != Some(200))
    );
    assert!(world.dialling.is_empty());
    world.end();
}
