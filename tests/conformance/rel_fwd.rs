//! Requests, responses and REPORTs between relays, the second one played by the test: RFC 4976 §6.4, §6.5; rows FWD,
//! CHK, RSP, RPT, CON, ERR and SEC as far as they need another relay.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use msrpload::codec::Message;

use crate::rows;
use crate::support::assembly::Assembly;
use crate::support::client::{Client, Ending, QUIET, SOON, own_uri};
use crate::support::dns::Names;
use crate::support::link::Link;
use crate::support::message::{Draft, response};
use crate::support::peer::Peer;
use crate::support::pki::{Identity, STRANGER};
use crate::support::random::{Octets, heavy};
use crate::support::relay::{Setup, shared};
use crate::support::relay2::{R2, own_token};
use crate::support::tls::ClientTls;

rows! {
    any: [],
    own: [
        fwd_08_relay_that_connected_in_is_reached_on_its_connection,
        fwd_12_sessions_of_a_relay_do_not_block_one_another,
        fwd_16_stuck_session_on_a_relay_link_is_refused_once,
        chk_13_sessions_on_a_relay_link_take_turns,
        chk_14_stalled_chunk_gives_way_on_a_relay_link,
        rsp_06_response_to_a_lost_client_opens_nothing,
        rsp_07_responses_of_a_relay_to_send_end_here,
        rpt_07_report_has_the_whole_way_back,
        rpt_14_lost_relay_link_is_reported_at_once,
        con_04_idle_relay_link_is_closed,
        con_06_relay_is_reached_by_scheme_host_and_port,
        con_07_relay_link_serves_both_ways,
        con_08_hundred_first_requests_make_one_link,
        con_09_stranger_makes_us_dial_the_holder_only,
        err_03_request_for_somebody_else_on_a_relay_link,
        tls_07_unverified_relay_may_deliver_to_a_client,
        sec_11_from_path_of_a_relay_gives_no_rights,
    ],
}

fn fwd_08_relay_that_connected_in_is_reached_on_its_connection() {
    let relay = shared();
    let r2 = R2::new();
    let mut session = r2.linked(relay);
    session.still_works();
    // Other clients, on other shards, and other sessions of that relay.
    for number in 0..4 {
        let mut b = Client::authenticated(relay, "bob");
        b.say(
            &format!("{} {}", b.token, r2.path_of_client()),
            &format!("{number}"),
        );
        let got = session.p.expect_method("SEND");
        assert_eq!(got.body(), number.to_string().as_bytes());
        session.p.send(response(&got, "200 OK"));
    }
    r2.peer.nobody_connects(Duration::from_millis(50));
    assert!(!Names::get().was_asked(&r2.host));
}

fn con_07_relay_link_serves_both_ways() {
    let relay = shared();
    // Dialled by R, it serves requests that the other relay has.
    let r2 = R2::new();
    let mut session = r2.dialled(relay);
    session.still_works();
    let mut b = Client::authenticated(relay, "bob");
    let draft = Draft::send(&format!("{} {}", b.token, b.uri), &r2.path_of_client()).text("new");
    session.p.send(draft.octets());
    assert_eq!(session.p.response_to(&draft.tid).code(), Some(200));
    assert_eq!(b.expect_method("SEND").body(), b"new");
    // An AUTH over it is one of a relay.
    session.p.set_user("alice", "wonderland");
    let uri = relay.uri();
    let refusal = session.p.auth_to(&uri, &[]);
    assert_eq!(refusal.code(), Some(401));
    r2.peer.nobody_connects(Duration::from_millis(50));
}

fn con_08_hundred_first_requests_make_one_link() {
    let relay = shared();
    let r2 = R2::new();
    let mut clients: Vec<Client> = (0..10)
        .map(|_| Client::authenticated(relay, "alice"))
        .collect();
    for client in &mut clients {
        let octets: Vec<u8> = (0..10)
            .flat_map(|_| {
                let path = format!("{} {}", client.token, r2.path_of_client());
                Draft::send(&path, &client.uri).text("first").octets()
            })
            .collect();
        client.send(octets);
    }
    let mut link = r2.accept();
    let mut tids = HashSet::new();
    for _ in 0..100 {
        let got = link.expect_method("SEND");
        link.send(response(&got, "200 OK"));
        tids.insert(got.tid);
    }
    assert_eq!(tids.len(), 100);
    for client in &mut clients {
        (0..10).for_each(|_| drop(client.expect_code(200)));
    }
    r2.peer.nobody_connects(Duration::from_millis(100));
    let asked = Names::get().questions(&r2.host);
    assert!(asked.len() <= 2, "one look-up: {asked:?}");
}

fn con_06_relay_is_reached_by_scheme_host_and_port() {
    let relay = shared();
    let r2 = R2::new();
    let mut session = r2.linked(relay);
    // Another spelling of the host is the same relay, another port is not.
    let upper = r2.token().replacen("peers.example", "PEERS.Example", 1);
    session
        .a
        .say(&format!("{} {upper}", session.a.token), "same");
    let got = session.p.expect_method("SEND");
    session.p.send(response(&got, "200 OK"));
    let elsewhere = Peer::tls_with(&r2.identity);
    let other = elsewhere.uri_at(&r2.host);
    session
        .a
        .say(&format!("{} {other}", session.a.token), "another");
    assert_eq!(elsewhere.accept().expect_method("SEND").body(), b"another");
    // Never in clear, whatever there is.
    let plain = r2.token().replacen("msrps:", "msrp:", 1);
    let draft = Draft::send(&format!("{} {plain}", session.a.token), &session.a.uri).text("clear");
    session.a.send(draft.octets());
    assert_eq!(session.a.response_to(&draft.tid).code(), Some(403));
    session.p.silence(Duration::from_millis(100));
    r2.peer.nobody_connects(Duration::from_millis(10));
}

fn con_04_idle_relay_link_is_closed() {
    let relay = Setup::new().set("dial.idle_timeout", "2s").start();
    let r2 = R2::new();
    let mut session = r2.dialled(&relay);
    let began = Instant::now();
    // Used by either side it stays.
    while began.elapsed() < Duration::from_secs(3) {
        std::thread::sleep(Duration::from_millis(500));
        session.still_works();
    }
    let idle = Instant::now();
    assert_eq!(
        session.p.closed_within(Duration::from_secs(10)),
        Ending::Clean
    );
    assert!(
        idle.elapsed() >= Duration::from_millis(1500),
        "{:?}",
        idle.elapsed()
    );
    let draft = session.draft().text("again");
    session.a.send(draft.octets());
    assert_eq!(r2.accept().expect_method("SEND").body(), b"again");
    assert_eq!(session.a.response_to(&draft.tid).code(), Some(200));
}

fn con_09_stranger_makes_us_dial_the_holder_only() {
    let relay = shared();
    let r2 = R2::new();
    let mut link = r2.connect(relay);
    link.obtain_token();
    let (token, path) = (own_token(&link.token), link.uri.clone());
    link.kill();
    std::thread::sleep(Duration::from_millis(200));
    // The stranger's next hop must be the URI that the AUTH came from, to the letter.
    let elsewhere = Peer::tls_with(&r2.identity);
    let (first, client) = path.split_once(' ').unwrap();
    let mut p = Client::tls(relay);
    for next in [
        elsewhere.uri.clone(),
        elsewhere.uri_at(&r2.host),
        r2.token(),
        first.replacen("msrps:", "msrp:", 1),
    ] {
        let mut thief = Client::tls(relay);
        let draft = Draft::send(&format!("{token} {next} {client}"), &thief.uri).text("there?");
        thief.send(draft.octets());
        assert_eq!(thief.response_to(&draft.tid).code(), Some(481), "{next}");
    }
    elsewhere.nobody_connects(Duration::from_millis(100));
    r2.peer.nobody_connects(Duration::from_millis(10));
    let draft = p.say(&format!("{token} {path}"), "to the holder");
    let mut link = r2.accept();
    let chain = link.shown_certificates().expect("R shows its certificate");
    assert_eq!(chain.len(), 1);
    let got = link.expect_method("SEND");
    assert_eq!(got.message_id(), Some(&*draft.message_id));
    assert_eq!(got.from_path.join(" "), format!("{token} {}", p.uri));
    link.send(response(&got, "200 OK"));
    r2.peer.nobody_connects(Duration::from_millis(50));
}

fn err_03_request_for_somebody_else_on_a_relay_link() {
    // One bad message must not hurt all users of the link (D-12).
    let relay = shared();
    let r2 = R2::new();
    for mut session in [r2.linked(relay), R2::new().dialled(relay)] {
        let stranger = "msrps://elsewhere.example.org:2855/x;tcp msrps://y.example.org:1/y;tcp";
        let from = session.p.uri.clone();
        for (draft, told) in [
            (Draft::send(stranger, &from).text("lost"), true),
            (
                Draft::send(stranger, &from)
                    .failure_report("partial")
                    .text("lost"),
                true,
            ),
            (
                Draft::send(stranger, &from)
                    .failure_report("no")
                    .text("lost"),
                false,
            ),
            (Draft::request("NICKNAME", stranger, &from), true),
            (
                Draft::request("REPORT", stranger, &from)
                    .message_id("r123")
                    .range("1-1/1")
                    .line("Status: 000 200"),
                false,
            ),
            (
                Draft::request("AUTH", "msrps://elsewhere.example.org;tcp", &from),
                true,
            ),
        ] {
            session.p.send(draft.octets());
            if told {
                assert_eq!(session.p.response_to(&draft.tid).code(), Some(481));
            } else {
                session.p.silence(Duration::from_millis(150));
            }
        }
        session.still_works();
    }
    assert!(!Names::get().was_asked("elsewhere.example.org"));
}

fn tls_07_unverified_relay_may_deliver_to_a_client() {
    // D-38: a relay with a private certificate, or none: the token allows delivery to its client.
    let relay = shared();
    let r2 = R2::new();
    let private = ClientTls {
        identity: Some(std::sync::Arc::new(Identity::self_signed(&[&r2.host]))),
        ..ClientTls::default()
    };
    for tls in [private, ClientTls::default()] {
        let mut a = Client::authenticated(relay, "alice");
        let mut link = Client::tls_with(relay, &tls).expect("the handshake goes on");
        link.uri = r2.path_of_client();
        let draft = link.say(&format!("{} {}", a.token, a.uri), "from afar");
        let got = a.expect_method("SEND");
        assert_eq!(got.from_path.join(" "), format!("{} {}", a.token, link.uri));
        a.send(response(&got, "415 No"));
        let told = link.report_about(&draft.message_id, SOON);
        assert_eq!(told.to_path.join(" "), link.uri);
        // It has no rights of a relay: a request for somebody else ends the connection.
        link.send(
            Draft::send("msrps://elsewhere.example.org:2855/x;tcp", &link.uri)
                .text("x")
                .octets(),
        );
        link.closed();
    }
}

fn sec_11_from_path_of_a_relay_gives_no_rights() {
    let relay = shared();
    let r2 = R2::new();
    let mut link = r2.connect(relay);
    link.obtain_token();
    let (token, path) = (own_token(&link.token), link.uri.clone());
    let mut a = Client::authenticated(relay, "alice");
    let stranger = Peer::tls();
    let impostors = [
        ClientTls::default(),
        ClientTls {
            identity: Some(std::sync::Arc::new(STRANGER.leaf(&[&r2.host]))),
            ..ClientTls::default()
        },
        R2::new().client_tls(),
    ];
    for tls in impostors {
        let mut impostor = Client::tls_with(relay, &tls).expect("the handshake goes on");
        // The relay's token is not theirs, wherever they want to go.
        for to in [
            format!("{token} {}", stranger.uri),
            format!("{token} {} {}", a.token, a.uri),
            token.clone(),
        ] {
            let draft = Draft::send(&to, &path).text("as R2");
            impostor.send(draft.octets());
            assert_eq!(impostor.response_to(&draft.tid).code(), Some(481), "{to}");
            impostor = Client::tls_with(relay, &tls).expect("the handshake goes on");
        }
        // They may deliver to A, and are not taken for the relay because of it.
        impostor.uri.clone_from(&path);
        impostor.say(&format!("{} {}", a.token, a.uri), "I am R2");
        let got = a.expect_method("SEND");
        a.send(response(&got, "200 OK"));
        let other = format!("{} {}", a.token, r2.path_of_client());
        link.say(&format!("{token} {} {}", a.token, a.uri), "the real one");
        let got = a.expect_method("SEND");
        a.send(response(&got, "200 OK"));
        a.say(&other, "to the relay");
        let got = link.expect_method("SEND");
        assert_eq!(got.body(), b"to the relay");
        link.send(response(&got, "200 OK"));
        impostor.silence(Duration::from_millis(50));
        drop(impostor);
    }
    stranger.nobody_connects(Duration::from_millis(100));
}

fn rsp_06_response_to_a_lost_client_opens_nothing() {
    let relay = shared();
    let r2 = R2::new();
    let listening = Peer::tls();
    let mut a = Client::tls(relay);
    a.uri.clone_from(&listening.uri);
    a.obtain_token();
    let mut session = Link::with_inbound(a, r2.connect(relay));
    let nickname = Draft::request("NICKNAME", &session.to_p, &session.a.uri);
    session.a.send(nickname.octets());
    let asked = session.p.expect_method("NICKNAME");
    let chat = session.pass(&Draft::send(&session.to_p, &session.a.uri).text("and a SEND"));
    let Link { a, mut p, .. } = session;
    a.kill();
    std::thread::sleep(Duration::from_millis(200));
    p.send(response(&asked, "200 OK"));
    p.send(response(&chat, "403 No"));
    p.silence(QUIET);
    listening.nobody_connects(Duration::from_millis(100));
}

fn rsp_07_responses_of_a_relay_to_send_end_here() {
    let mut session = R2::new().linked(shared());
    for code in [200, 413] {
        let draft = session.draft().text("question");
        let got = session.pass(&draft);
        assert_eq!(session.a.expect_code(200).tid, draft.tid);
        // With the whole path in To-Path, as if to the far client.
        session.p.send(format!(
            "MSRP {tid} {code}\r\nTo-Path: {}\r\nFrom-Path: {}\r\n-------{tid}$\r\n",
            got.from_path.join(" "),
            got.to_path.join(" "),
            tid = got.tid
        ));
        match code {
            200 => session.a.silence(QUIET),
            code => {
                let told = session.a.expect_method("REPORT");
                assert_eq!(told.status().unwrap().1, code);
                session.a.silence(QUIET);
            }
        }
    }
    session.still_works();
}

fn rpt_07_report_has_the_whole_way_back() {
    let relay = shared();
    let r2 = R2::new();
    let mut session = r2.linked(relay);
    // Three relays deep.
    let from = format!("{} {} {}", r2.token(), R2::new().token(), own_uri("zoe"));
    let draft = Draft::send(&session.to_a, &from).text("from afar");
    session.p.send(draft.octets());
    let answer = session.p.expect_code(200);
    assert_eq!(
        answer.to_path.join(" "),
        from.split(' ').next().unwrap(),
        "one URI (RSP-01)"
    );
    let got = session.a.expect_method("SEND");
    session.a.send(response(&got, "481 Gone"));
    let told = session.p.expect_method("REPORT");
    assert_eq!(told.to_path.join(" "), from);
    assert_eq!(told.from_path, [session.a.token.clone()]);
    assert_eq!(told.status().unwrap().1, 481);
    // Refused for its token there is only the response.
    let to = format!(
        "{} {}",
        session.a.token.replacen(";tcp", "x;tcp", 1),
        session.a.uri
    );
    let draft = Draft::send(&to, &from).text("bad token");
    session.p.send(draft.octets());
    assert_eq!(session.p.expect_code(481).to_path.len(), 1);
    // Refused as another method it has the whole way (RSP-02).
    let draft = Draft::request("NICKNAME", &to, &from);
    session.p.send(draft.octets());
    assert_eq!(session.p.expect_code(481).to_path.join(" "), from);
    session.p.silence(Duration::from_millis(150));
}

/// The status that a REPORT or a refusal tells.
fn told(message: &Message) -> u16 {
    message
        .code()
        .or_else(|| message.status().map(|(_, code, _)| code))
        .expect("a code")
}

fn rpt_14_lost_relay_link_is_reported_at_once() {
    for reset in [false, true] {
        let relay = Setup::new().start();
        let r2 = R2::new();
        // A token that came by way of R2, and must outlive its connections.
        let mut holder = r2.connect(&relay);
        holder.obtain_token();
        let (token, path) = (own_token(&holder.token), holder.uri.clone());
        holder.half_close();
        holder.closed();
        std::thread::sleep(Duration::from_millis(200));
        // Clients on both shards.
        let mut clients: Vec<Client> = (0..4)
            .map(|_| Client::authenticated(&relay, "alice"))
            .collect();
        let mut link = None;
        // Message-IDs and the octets of which nothing has been heard.
        let mut open: Vec<HashMap<String, u64>> = vec![HashMap::new(); 4];
        for number in 0..12 {
            let (client, open) = (&mut clients[number % 4], &mut open[number % 4]);
            let to = format!("{} {}", client.token, r2.path_of_client());
            open.insert(client.say(&to, "unanswered").message_id, 10);
            let link = link.get_or_insert_with(|| r2.accept());
            link.expect_method("SEND");
        }
        // R2 stops reading: what comes now is queued; two with Failure-Report no are nobody's.
        let link = link.unwrap();
        for (client, open) in clients.iter_mut().zip(&mut open) {
            let to = format!("{} {}", client.token, r2.path_of_client());
            for number in 0..40 {
                let draft = Draft::send(&to, &client.uri).body(&vec![b'q'; 16_000]);
                let draft = match number {
                    7 => draft.failure_report("no"),
                    _ => draft,
                };
                if client.write(&draft.octets(), Duration::from_millis(50)) < draft.octets().len() {
                    panic!("the source of a chat is paused");
                }
                if number != 7 {
                    open.insert(draft.message_id, 16_000);
                }
            }
        }
        std::thread::sleep(Duration::from_millis(300));
        match reset {
            true => link.reset(),
            false => link.kill(),
        }
        let lost = Instant::now();
        for (client, open) in clients.iter_mut().zip(&mut open) {
            // One REPORT for each piece, over its range: all of the message, and nothing twice.
            let mut ranges = HashSet::new();
            while open.values().any(|left| *left > 0) {
                let message = client.expect_within(Duration::from_secs(5));
                if message.code() == Some(200) {
                    continue;
                }
                assert_eq!(told(&message), 408, "{message:?}");
                let id = message.message_id().unwrap().to_owned();
                let range = message.byte_range().expect("a range");
                assert!(ranges.insert((id.clone(), range.start)), "{message:?}");
                let left = open.get_mut(&id).expect("a message of this client's");
                let octets = range.end.expect("an end") + 1 - range.start;
                *left = left.checked_sub(octets).expect("nothing twice");
            }
        }
        // One second by the checklist; the machine may be busy.
        assert!(
            lost.elapsed() < Duration::from_secs(5),
            "{:?}",
            lost.elapsed()
        );
        for client in &mut clients {
            client.silence(Duration::from_millis(100));
        }
        relay.assert_ledger_is_settled();
        // The same sessions go on over a new link, from every shard, and in both directions.
        let mut link = None;
        for client in &mut clients {
            let to = format!("{} {}", client.token, r2.path_of_client());
            client.say(&to, "again");
            let link = link.get_or_insert_with(|| r2.accept());
            let got = link.expect_method("SEND");
            link.send(response(&got, "200 OK"));
        }
        let mut link = link.unwrap();
        let draft = Draft::send(
            &format!("{token} {} {}", clients[0].token, clients[0].uri),
            &path,
        )
        .text("my token lives");
        link.send(draft.octets());
        assert_eq!(link.response_to(&draft.tid).code(), Some(200));
        assert_eq!(clients[0].expect_method("SEND").body(), b"my token lives");
        r2.peer.nobody_connects(Duration::from_millis(50));
    }
}

fn chk_13_sessions_on_a_relay_link_take_turns() {
    let _turn = heavy();
    const OCTETS: usize = 8 * 1024 * 1024;
    let relay = Setup::new().set("dial.links_per_next_hop", 1).start();
    let r2 = R2::new();
    let mut films: Vec<Client> = ["alice", "bob"]
        .map(|user| Client::authenticated(&relay, user))
        .into();
    let mut chat = Client::authenticated(&relay, "carol");
    let to = format!("{} {}", chat.token, r2.path_of_client());
    chat.say(&to, "first");
    let mut link = r2.accept();
    let got = link.expect_method("SEND");
    link.send(response(&got, "200 OK"));
    std::thread::scope(|scope| {
        for (seed, film) in films.iter_mut().enumerate() {
            let to = format!("{} {}", film.token, r2.path_of_client());
            let body = Octets::new(seed as u64).take(OCTETS);
            scope.spawn(move || {
                let draft = Draft::send(&to, &film.uri)
                    .message_id(&format!("film{seed}"))
                    .range(&format!("1-*/{OCTETS}"))
                    .body(&body);
                film.send(draft.octets());
                assert_eq!(film.response_to(&draft.tid).code(), Some(200));
            });
        }
        let mut whole = [Assembly::new(), Assembly::new()];
        let mut flags = [0_u8; 2];
        let (mut turns, mut last) = (0, usize::MAX);
        let mut chats = 0;
        while flags.contains(&0) || flags.contains(&b'+') {
            let got = link.expect_within(SOON);
            if got.code().is_some() {
                continue;
            }
            link.send(response(&got, "200 OK"));
            let Some(film) = got.message_id().and_then(|id| id.strip_prefix("film")) else {
                // A line of the chat: while both films run it has had to wait for little.
                chats += 1;
                continue;
            };
            let film: usize = film.parse().unwrap();
            if film != last {
                (turns, last) = (turns + 1, film);
            }
            flags[film] = whole[film].take_received(got);
            if chats < 20 && turns > chats {
                let draft = Draft::send(&to, &chat.uri).text("a line");
                chat.send(draft.octets());
                let sent: u64 = whole.iter().map(|film| film.octets).sum();
                // What is in the kernel and in this test's buffers is before it, and no more.
                let mut waited = 0;
                loop {
                    let got = link.expect_within(SOON);
                    if got.code().is_some() {
                        continue;
                    }
                    link.send(response(&got, "200 OK"));
                    if got.message_id() == Some(&draft.message_id) {
                        chats += 1;
                        break;
                    }
                    waited += got.body().len();
                    let film: usize = got.message_id().unwrap()[4..].parse().unwrap();
                    flags[film] = whole[film].take_received(got);
                }
                assert!(waited < OCTETS / 2, "{waited} octets of films after {sent}");
                assert_eq!(chat.response_to(&draft.tid).code(), Some(200));
            }
        }
        assert!(turns >= 8, "the films take turns: {turns}");
        assert!(chats >= 5, "{chats}");
        assert_eq!(flags, [b'$'; 2]);
        for (seed, film) in whole.iter().enumerate() {
            assert!(film.body == Octets::new(seed as u64).take(OCTETS));
        }
    });
}

fn chk_14_stalled_chunk_gives_way_on_a_relay_link() {
    let relay = shared();
    let r2 = R2::new();
    let mut session = r2.linked(relay);
    let chunk = session.draft().range("1-*/9000").body(&[]);
    session.a.send(chunk.head());
    session.a.send(vec![b'c'; 5000]);
    session.p.expect_partial(1);
    // The source stalls; a client on the other shard, and one on the same, still get through.
    let mut whole = Assembly::new();
    for number in 0..3 {
        let mut b = Client::authenticated(relay, "bob");
        let draft = b.say(&format!("{} {}", b.token, r2.path_of_client()), "meanwhile");
        if number == 0 {
            assert_eq!(whole.take(&mut session.p, SOON), b'+');
        }
        let got = session.p.expect_method("SEND");
        assert_eq!(got.message_id(), Some(&*draft.message_id));
        session.p.send(response(&got, "200 OK"));
    }
    session.a.send(vec![b'd'; 4000]);
    session.a.send(chunk.end());
    while whole.octets < 9000 {
        whole.take(&mut session.p, SOON);
    }
    assert_eq!(whole.flag(), b'$');
    assert_eq!(&whole.body[4999..5001], b"cd");
    assert_eq!(session.a.response_to(&chunk.tid).code(), Some(200));
}

/// R2 with sessions to so many clients of R, all over one connection.
fn many(r2: &R2, relay: &crate::support::relay::Relay, count: usize) -> (Client, Vec<Client>) {
    let mut link = r2.connect(relay);
    let clients = (0..count)
        .map(|_| {
            let mut client = Client::authenticated(relay, "bob");
            link.say(&format!("{} {}", client.token, client.uri), "hello");
            let got = client.expect_method("SEND");
            client.send(response(&got, "200 OK"));
            client
        })
        .collect();
    (link, clients)
}

fn fwd_12_sessions_of_a_relay_do_not_block_one_another() {
    let _turn = heavy();
    let relay = Setup::new().start();
    let r2 = R2::new();
    let (mut link, mut clients) = many(&r2, &relay, 50);
    let (stuck, rest) = clients.split_first_mut().unwrap();
    // The first of fifty reads nothing any more.
    let to = format!("{} {}", stuck.token, stuck.uri);
    for _ in 0..200 {
        let octets = Draft::send(&to, &link.uri).body(&vec![b's'; 8000]).octets();
        link.send(octets);
    }
    for round in 0..3 {
        for (number, client) in rest.iter_mut().enumerate() {
            let text = format!("{round}.{number}");
            let to = format!("{} {}", client.token, client.uri);
            let draft = Draft::send(&to, &link.uri).text(&text);
            link.send(draft.octets());
            let got = client.expect_method("SEND");
            assert_eq!(got.body(), text.as_bytes());
            client.send(response(&got, "200 OK"));
            assert_eq!(link.response_to(&draft.tid).code(), Some(200));
            let back = format!("{} {}", client.token, link.uri);
            let draft = client.say(&back, "and back");
            let got = link.find(SOON, |m| m.message_id() == Some(&draft.message_id));
            link.send(response(&got, "200 OK"));
        }
    }
    // What could not be held was refused, and nothing else.
    let codes: HashSet<u16> = link.drain(QUIET).iter().map(told).collect();
    assert!(
        codes.iter().all(|code| matches!(code, 200 | 413)),
        "{codes:?}"
    );
}

fn fwd_16_stuck_session_on_a_relay_link_is_refused_once() {
    let _turn = heavy();
    let relay = Setup::new().start();
    let r2 = R2::new();
    let (mut link, mut clients) = many(&r2, &relay, 20);
    let (stuck, rest) = clients.split_first_mut().unwrap();
    let film = Draft::send(&format!("{} {}", stuck.token, stuck.uri), &link.uri)
        .range("1-*/40000000")
        .body(&[]);
    link.send(film.head());
    // As much as a chunk brings until it is refused; the chats go on in between, by the same connection.
    let (mut sent, mut refusals, mut slowest) = (0, Vec::new(), Duration::ZERO);
    let body = vec![b'f'; 100_000];
    for round in 0..200 {
        link.send(&body);
        sent += body.len();
        if round % 10 != 0 {
            continue;
        }
        refusals.extend(link.drain(Duration::from_millis(1)));
    }
    link.send(film.end());
    for client in rest.iter_mut() {
        let began = Instant::now();
        let draft = Draft::send(&format!("{} {}", client.token, client.uri), &link.uri).text("on");
        link.send(draft.octets());
        let got = client.expect_method("SEND");
        slowest = slowest.max(began.elapsed());
        client.send(response(&got, "200 OK"));
        assert_eq!(link.response_to(&draft.tid).code(), Some(200));
    }
    refusals.extend(link.drain(Duration::from_secs(1)));
    let codes: Vec<u16> = refusals.iter().map(told).collect();
    assert_eq!(codes, [413], "one signal after {sent} octets: {refusals:?}");
    assert!(
        slowest < Duration::from_secs(2),
        "a chat waited for {slowest:?}"
    );
    // The rest of that message is refused at once, the client's other messages are not.
    let rest_of_it = Draft::send(&format!("{} {}", stuck.token, stuck.uri), &link.uri)
        .message_id(&film.message_id)
        .range("30000000-30000003/40000000")
        .body(b"more");
    link.send(rest_of_it.octets());
    assert_eq!(link.response_to(&rest_of_it.tid).code(), Some(413));
}
