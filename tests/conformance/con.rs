//! Connections, probation, reuse, drain: RFC 4975 §5.4, RFC 4976 §6.1, §6.2, §6.4.2, §6.5; rows CON.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::rows;
use crate::support::assembly::Assembly;
use crate::support::client::{Client, Ending, QUIET, SOON};
use crate::support::link::Link;
use crate::support::message::{Draft, report, response};
use crate::support::peer::Peer;
use crate::support::pki::TRUSTED;
use crate::support::relay::{Relay, Setup, shared};
use crate::support::tls::ClientTls;

rows! {
    any: [
        con_02_failed_requests_in_probation_close,
        con_02_challenges_are_no_failures,
        con_03_live_token_keeps_its_connection,
        con_10_what_came_before_a_half_close_is_handled,
        con_11_client_loss_fails_what_was_on_its_way,
        con_13_passive_client_is_a_full_party,
    ],
    own: [
        con_01_challenge_is_no_success,
        con_04_idle_dialled_connection_is_closed,
        con_05_full_relay_sheds_the_oldest_unauthenticated,
        con_05_shards_share_the_room_for_strangers,
        con_05_full_relay_sheds_the_least_recently_used,
        con_06_two_names_are_two_connections,
        con_08_first_requests_share_one_attempt,
        con_08_first_requests_of_all_shards_share_one_attempt,
        con_09_nobody_is_dialled_for_a_client,
        con_12_drain_ends_everything_properly,
        con_12_idle_sessions_drain_at_once,
        con_14_draining_relay_refuses_new_work_only,
    ],
}

fn con_01_challenge_is_no_success() {
    let relay = Setup::new().set("limits.probation", "2s").start();
    let mut challenged = Client::tls(&relay);
    let mut kept = Link::inbound(&relay);
    let mut tcp = Link::inbound_tcp(&relay);
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(1500) {
        challenged.challenge();
        std::thread::sleep(Duration::from_millis(300));
    }
    challenged.closed_within(Duration::from_secs(4));
    // A valid SEND of P is a success.
    kept.still_works();
    tcp.still_works();
}

fn con_02_failed_requests_in_probation_close() {
    let relay = shared();
    let a = Client::authenticated(relay, "alice");
    let bad_token = a.token.replacen(";tcp", "x;tcp", 1);
    let mut p = Client::tls(relay);
    for number in 0..6 {
        let draft = Draft::send(&format!("{bad_token} {}", a.uri), &p.uri).text("bad");
        p.write(&draft.octets(), Duration::from_secs(1));
        match p.receive(SOON) {
            Ok(answer) => assert_eq!(answer.code(), Some(481)),
            Err(_) => {
                assert!(number >= 3, "closed after {number}");
                return;
            }
        }
    }
    p.closed();
}

fn con_02_challenges_are_no_failures() {
    let relay = shared();
    let mut a = Client::tls(relay);
    for _ in 0..10 {
        a.challenge();
    }
    // AUTH, 401, AUTH, 423, AUTH, 401, AUTH, 200.
    let challenge = a.challenge();
    let authorization = format!("Authorization: {}", a.answer(&challenge, 1).authorization);
    assert_eq!(a.auth(&[&authorization, "Expires: 5"]).code(), Some(423));
    for _ in 0..6 {
        // A replay: stale.
        assert_eq!(a.auth(&[&authorization]).code(), Some(401));
    }
    a.obtain_token();
    // What has succeeded once may fail as often as it likes.
    let bad = Draft::send(
        &format!("{} {}", a.token.replacen(";tcp", "x;tcp", 1), a.uri),
        &a.uri,
    )
    .text("bad");
    for _ in 0..10 {
        a.send(bad.octets());
        assert_eq!(a.expect().code(), Some(481));
    }
    let token = a.token.clone();
    a.send(Draft::send(&token, &a.uri).range("1-0/0").octets());
    assert_eq!(a.expect().code(), Some(200));
}

fn con_03_live_token_keeps_its_connection() {
    // Longer than probation, and than the hop timer; ten minutes would be the same code.
    let mut links = Link::all_ways(shared());
    std::thread::sleep(Duration::from_secs(40));
    for (_, link) in &mut links {
        link.still_works();
    }
}

fn con_04_idle_dialled_connection_is_closed() {
    let relay = Setup::new().set("dial.idle_timeout", "2s").start();
    let peer = Peer::tls();
    let mut link = Link::with_dialled(Client::authenticated(&relay, "alice"), &peer);
    let began = Instant::now();
    assert_eq!(link.p.closed_within(Duration::from_secs(8)), Ending::Clean);
    assert!(
        began.elapsed() >= Duration::from_millis(1800),
        "{:?}",
        began.elapsed()
    );
    // Not the client's, and the next SEND opens another.
    let draft = Draft::send(&link.to_p, &link.a.uri).text("again");
    link.a.send(draft.octets());
    assert_eq!(peer.accept().expect_method("SEND").body(), b"again");
    assert_eq!(link.a.expect_code(200).tid, draft.tid);
}

fn con_05_full_relay_sheds_the_oldest_unauthenticated() {
    let relay = Setup::new()
        .set("limits.unauthenticated", 8)
        .set("relay.workers", 1)
        .start();
    let mut link = Link::inbound(&relay);
    let mut strangers: Vec<Client> = (0..8).map(|_| Client::tls(&relay)).collect();
    let mut more: Vec<Client> = (0..4).map(|_| Client::tls(&relay)).collect();
    for stranger in &mut strangers[..3] {
        stranger.closed();
    }
    for client in &mut more {
        client.challenge();
    }
    link.still_works();
    // An established session is never shed, whatever knocks.
    let flood: Vec<Client> = (0..40).map(|_| Client::tls(&relay)).collect();
    link.still_works();
    drop(flood);
}

fn con_05_shards_share_the_room_for_strangers() {
    let relay = Setup::new()
        .set("limits.unauthenticated", 8)
        .set("relay.workers", 2)
        .start();
    let mut strangers: Vec<Client> = (0..8).map(|_| Client::tls(&relay)).collect();
    for stranger in &mut strangers {
        stranger.challenge();
    }
    // Each goes to the shard that has fewer just then: of so many, four or more to each.
    let more: Vec<_> = (0..32)
        .map(|_| Client::tls_with(&relay, &ClientTls::default()))
        .collect();
    for stranger in &mut strangers {
        stranger.closed();
    }
    drop(more);
}

fn con_05_full_relay_sheds_the_least_recently_used() {
    for workers in [1, 2] {
        let relay = Setup::new()
            .set("relay.workers", workers)
            .set("limits.connections", 6)
            .set("limits.unauthenticated", 4)
            .start();
        // Two sessions, each with a stranger who has sent to it: four in all. Nobody but strangers may go.
        let mut links = [(); 2].map(|()| Link::inbound(&relay));
        let mut busy = Client::authenticated(&relay, "bob");
        let mut fourth = Client::authenticated(&relay, "bob");
        // Whoever was used just now stays, and the newcomer is told by being closed.
        assert!(Client::tls_with(&relay, &ClientTls::default()).is_err());
        std::thread::sleep(Duration::from_millis(5200));
        links[1].still_works();
        // The stranger of the first pair is the one that was unused for longest. It may live on another shard than
        // the one that takes the newcomer, which then comes in at its second try.
        let until = Instant::now() + SOON;
        let mut newcomer = loop {
            if let Ok(client) = Client::tls_with(&relay, &ClientTls::default()) {
                break client;
            }
            assert!(Instant::now() < until, "no room is made");
            std::thread::sleep(Duration::from_millis(50));
        };
        newcomer.challenge();
        links[0].p.closed();
        links[1].still_works();
        for client in [&mut links[0].a, &mut busy, &mut fourth] {
            let draft = Draft::send(&client.token, &client.uri).range("1-0/0");
            client.send(draft.octets());
            assert_eq!(client.response_to(&draft.tid).code(), Some(200));
        }
        assert_eq!(
            relay.metric("msrpd_connections_closed_total", &["shed"]),
            1.0
        );
    }
}

fn con_06_two_names_are_two_connections() {
    let relay = shared();
    let peer =
        Peer::tls_with(&TRUSTED.leaf(&["127.0.0.1", "one.peers.example", "two.peers.example"]));
    let mut a = Client::authenticated(relay, "alice");
    let hosts = ["one.peers.example", "two.peers.example", "127.0.0.1"];
    let mut connections: Vec<(String, Client)> = Vec::new();
    for host in hosts {
        let uri = peer.uri_at(host);
        a.say(&format!("{} {uri}", a.token), host);
        let mut p = peer.accept();
        let got = p.expect_method("SEND");
        assert_eq!(got.body(), host.as_bytes());
        p.send(response(&got, "200 OK"));
        connections.push((uri, p));
    }
    // Each goes on by its own; letter case is no difference.
    for (uri, p) in &mut connections {
        let uri = uri.replacen("peers.example", "PEERS.Example", 1);
        a.say(&format!("{} {uri}", a.token), "again");
        let got = p.find(SOON, |m| m.method() == Some("SEND"));
        p.send(response(&got, "200 OK"));
    }
    peer.nobody_connects(Duration::from_millis(50));
    // Never between msrps and msrp: to `msrp` nothing goes at all (TLS-12).
    let plain = connections[2].0.replacen("msrps:", "msrp:", 1);
    let draft = Draft::send(&format!("{} {plain}", a.token), &a.uri).text("in clear?");
    a.send(draft.octets());
    assert_eq!(a.response_to(&draft.tid).code(), Some(403));
    connections[2].1.silence(Duration::from_millis(100));
}

fn con_08_first_requests_share_one_attempt() {
    let peer = Peer::tls();
    let mut a = Client::authenticated(shared(), "alice");
    let path = format!("{} {}", a.token, peer.uri);
    let drafts: Vec<Draft> = (0..100)
        .map(|i| Draft::send(&path, &a.uri).text(&format!("{i}")))
        .collect();
    a.send(drafts.iter().flat_map(Draft::octets).collect::<Vec<u8>>());
    let mut p = peer.accept();
    for number in 0..100 {
        let got = p.expect_method("SEND");
        assert_eq!(got.body(), number.to_string().as_bytes());
        p.send(response(&got, "200 OK"));
    }
    for draft in &drafts {
        assert_eq!(a.expect_code(200).tid, draft.tid);
    }
    peer.nobody_connects(Duration::from_millis(100));
}

fn con_08_first_requests_of_all_shards_share_one_attempt() {
    let relay = shared();
    for _ in 0..5 {
        let peer = Peer::tls();
        let mut clients: Vec<Client> = (0..8)
            .map(|_| Client::authenticated(relay, "alice"))
            .collect();
        for client in &mut clients {
            let path = format!("{} {}", client.token, peer.uri);
            client.send(Draft::send(&path, &client.uri).text("first").octets());
        }
        let mut p = peer.accept();
        let tokens: HashSet<String> = (0..8)
            .map(|_| {
                let got = p.expect_method("SEND");
                p.send(response(&got, "200 OK"));
                got.from_path[0].clone()
            })
            .collect();
        assert_eq!(tokens.len(), 8);
        clients
            .iter_mut()
            .for_each(|client| drop(client.expect_code(200)));
        peer.nobody_connects(Duration::from_millis(50));
    }
}

fn con_09_nobody_is_dialled_for_a_client() {
    let relay = shared();
    // A client whose URI names somebody who listens; it goes, and others send to it.
    let listening = Peer::tls();
    let mut a = Client::tls(relay);
    a.uri.clone_from(&listening.uri);
    a.obtain_token();
    let Link { a, mut p, to_a, .. } = Link::with_inbound(a, Client::tls(relay));
    a.kill();
    std::thread::sleep(Duration::from_millis(100));
    for draft in [
        Draft::send(&to_a, &p.uri).text("back?"),
        Draft::request("NICKNAME", &to_a, &p.uri),
    ] {
        p.send(draft.octets());
        assert_eq!(p.response_to(&draft.tid).code(), Some(481));
    }
    listening.nobody_connects(Duration::from_millis(500));
}

fn con_10_what_came_before_a_half_close_is_handled() {
    for (way, mut link) in Link::all_ways(shared()) {
        let mut octets = Vec::new();
        for number in 0..10 {
            octets.extend(
                link.draft()
                    .failure_report("no")
                    .text(&number.to_string())
                    .octets(),
            );
        }
        let last = link.draft().text("the last");
        octets.extend(last.octets());
        link.a.send(octets);
        link.a.half_close();
        for number in 0..10 {
            assert_eq!(
                link.p.expect_method("SEND").body(),
                number.to_string().as_bytes(),
                "{way}"
            );
        }
        assert_eq!(link.p.expect_method("SEND").body(), b"the last", "{way}");
        // What is owed is still sent.
        assert_eq!(link.a.expect_code(200).tid, last.tid, "{way}");
    }
}

fn con_11_client_loss_fails_what_was_on_its_way() {
    for reset in [false, true] {
        let Link { a, mut p, to_a, .. } = Link::inbound(shared());
        // A reads nothing; some is answered, some queued, some in flight.
        let mut sent = HashSet::new();
        let mut told = HashSet::new();
        for _ in 0..50 {
            let draft = Draft::send(&to_a, &p.uri).text(&"k".repeat(1500));
            p.send(draft.octets());
            sent.insert(draft.message_id.clone());
        }
        match reset {
            true => a.reset(),
            false => a.kill(),
        }
        let mut tids = 0;
        while told.len() < sent.len() {
            let message = p.expect();
            let about = message.message_id().expect("about a message").to_owned();
            let code = match message.code() {
                Some(200) => {
                    tids += 1;
                    continue;
                }
                Some(code) => code,
                None => message.status().unwrap().1,
            };
            assert_eq!(code, 481);
            assert!(
                sent.contains(&about) && told.insert(about),
                "one signal each"
            );
        }
        assert!(tids <= 50);
        p.silence(QUIET);
        let draft = Draft::send(&to_a, &p.uri).text("later");
        p.send(draft.octets());
        assert_eq!(p.expect_code(481).tid, draft.tid);
    }
}

fn con_13_passive_client_is_a_full_party() {
    let relay = shared();
    let mut a = Client::authenticated(relay, "alice");
    let mut p = Client::tls(relay);
    let to_a = format!("{} {}", a.token, a.uri);
    let draft = p.say(&to_a, "are you there?");
    let got = a.expect_method("SEND");
    // A only answers and reports.
    a.send(report(&got, "000 200 OK", "1-14/14").octets());
    assert_eq!(
        p.report_about(&draft.message_id, SOON).status().unwrap().1,
        200
    );
    a.send(response(&got, "413 Enough"));
    assert_eq!(
        p.report_about(&draft.message_id, SOON).status().unwrap().1,
        413
    );
}

fn sigterm(relay: &Relay) {
    relay.signal(libc::SIGTERM);
}

fn con_12_drain_ends_everything_properly() {
    let relay = Setup::new().set("relay.drain_timeout", "6s").start();
    // A film under way that the drain has to interrupt, and chats.
    let mut film = Link::inbound(&relay);
    let mut chats: Vec<Link> = (0..4).map(|_| Link::neighbours(&relay)).collect();
    let draft = film.draft().range("1-*/100000000").body(&[]);
    film.a.send(draft.head());
    film.a.send(vec![b'f'; 50_000]);
    film.p.expect_partial(1);
    let mut open = Vec::new();
    for chat in &mut chats {
        let draft = chat.draft().text("unanswered");
        let got = chat.pass(&draft);
        chat.a.expect_code(200);
        open.push((draft, got));
    }
    sigterm(&relay);
    let began = Instant::now();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(relay.get("/readyz").map(|(code, _)| code), Some(503));
    // An answer under way still counts.
    chats[0].p.send(response(&open[0].1, "200 OK"));
    let whole = {
        let mut whole = Assembly::new();
        whole.take(&mut film.p, Duration::from_secs(8));
        whole
    };
    assert_eq!(whole.flag(), b'+', "no chunk without an end-line");
    assert!(
        began.elapsed() >= Duration::from_millis(2500),
        "half of the drain's time: {:?}",
        began.elapsed()
    );
    // At the end the rest is reported, then everybody is told good-bye.
    for (chat, (draft, _)) in chats.iter_mut().zip(&open).skip(1) {
        let report = chat.a.report_about(&draft.message_id, SOON);
        assert_eq!(report.method(), Some("REPORT"));
        assert_eq!(chat.a.closed_within(SOON), Ending::Clean);
        assert_eq!(chat.p.closed_within(SOON), Ending::Clean);
    }
    assert_eq!(chats[0].a.closed_within(SOON), Ending::Clean);
    film.p.drain(SOON);
    assert!(film.p.is_between_messages());
    let status = relay.exit_within(Duration::from_secs(10));
    assert!(status.success(), "{status}\n{}", relay.log());
    assert!(
        began.elapsed() < Duration::from_secs(12),
        "{:?}",
        began.elapsed()
    );
}

fn con_12_idle_sessions_drain_at_once() {
    let relay = Setup::new().start();
    let mut clients: Vec<Client> = (0..100)
        .map(|_| Client::authenticated(&relay, "alice"))
        .collect();
    let began = Instant::now();
    sigterm(&relay);
    for client in &mut clients {
        assert_eq!(client.closed_within(SOON), Ending::Clean);
    }
    drop(clients);
    let status = relay.exit_within(Duration::from_secs(5));
    assert!(status.success(), "{status}");
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
}

fn con_14_draining_relay_refuses_new_work_only() {
    let relay = Setup::new().set("relay.drain_timeout", "8s").start();
    let mut link = Link::neighbours(&relay);
    let mut bystander = Client::authenticated(&relay, "carol");
    // A chunk in hand holds the relay.
    let draft = link.draft().range("1-*/9000").body(&[]);
    link.a.send(draft.head());
    link.a.send(vec![b'd'; 5000]);
    link.p.expect_partial(1);
    let question = link.draft_back().text("before");
    link.p.send(question.octets());
    let mut whole = Assembly::new();
    assert_eq!(whole.take(&mut link.p, SOON), b'+');
    link.p.expect_code(200);
    let asked = link.a.expect_method("SEND");
    sigterm(&relay);
    std::thread::sleep(Duration::from_millis(300));
    // New work is refused, without a REPORT.
    let (token, uri) = (bystander.token.clone(), bystander.uri.clone());
    let refused =
        Draft::send(&format!("{token} {} {}", link.p.token, link.p.uri), &uri).text("new");
    bystander.send(refused.octets());
    assert_eq!(bystander.response_to(&refused.tid).code(), Some(481));
    assert_eq!(bystander.auth(&[]).code(), Some(408));
    // The chunk in hand ends properly.
    link.a.send(vec![b'd'; 4000]);
    link.a.send(draft.end());
    while whole.octets < 9000 {
        whole.take(&mut link.p, SOON);
    }
    assert_eq!(whole.flag(), b'$');
    assert_eq!(link.a.response_to(&draft.tid).code(), Some(200));
    // Responses and REPORTs still pass.
    link.a.send(report(&asked, "000 200 OK", "1-6/6").octets());
    assert_eq!(
        link.p
            .report_about(&question.message_id, SOON)
            .status()
            .unwrap()
            .1,
        200
    );
    link.a.send(response(&asked, "413 Stop"));
    assert_eq!(
        link.p
            .report_about(&question.message_id, SOON)
            .status()
            .unwrap()
            .1,
        413
    );
    for piece in &whole.pieces {
        link.p.send(response(&piece.message, "200 OK"));
    }
    // Nothing is held any more: the end.
    assert_eq!(bystander.closed_within(SOON), Ending::Clean);
    drop((link, bystander));
    assert!(relay.exit_within(Duration::from_secs(10)).success());
}
