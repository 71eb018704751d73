//! Which connection leads to a relay, and what becomes of it: crossed dials, back-off, loss, certificates and lists of
//! names that change; RFC 4976 §6.1, §6.3, §6.5; rows CON, RPT and TLS as far as they need another relay.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::rows;
use crate::support::client::{Client, Ending, SOON};
use crate::support::link::Link;
use crate::support::message::{Draft, response};
use crate::support::pki::{STRANGER, TRUSTED};
use crate::support::relay::{Relay, Setup, free_port, shared};
use crate::support::relay2::{R2, own_host, own_token};

rows! {
    any: [],
    own: [
        con_07_auth_makes_its_relay_reachable,
        con_07_of_two_links_the_one_heard_last_is_used,
        con_08_failed_dial_is_not_repeated_at_once,
        con_08_relay_that_connects_in_ends_the_back_off,
        rpt_11_report_takes_another_link_of_the_relay,
        rpt_11_report_dials_the_relay_that_has_gone,
        fwd_14_keepalive_by_another_link_of_the_holder,
        tls_13_link_is_judged_again_when_the_authorities_change,
        aut_24_relay_is_blocked_and_let_in_again_by_reload,
    ],
}

/// A sends to the relay; it comes by this link and by no other.
fn arrives(a: &mut Client, r2: &R2, link: &mut Client, text: &str) {
    a.say(&format!("{} {}", a.token, r2.path_of_client()), text);
    let got = link.find(SOON, |m| m.method() == Some("SEND"));
    assert_eq!(got.body(), text.as_bytes());
    link.send(response(&got, "200 OK"));
    r2.peer.nobody_connects(Duration::from_millis(20));
}

/// R2 sends something that is accepted: the link is known as a way to R2.
fn introduces(r2: &R2, link: &mut Client, a: &mut Client) {
    let from = r2.path_of_client();
    let draft = Draft::send(&format!("{} {}", a.token, a.uri), &from).text("it is me");
    link.send(draft.octets());
    assert_eq!(link.response_to(&draft.tid).code(), Some(200));
    let got = a.expect_method("SEND");
    a.send(response(&got, "200 OK"));
}

fn con_07_auth_makes_its_relay_reachable() {
    let relay = shared();
    let r2 = R2::new();
    let mut link = r2.connect(relay);
    link.obtain_token();
    // Whoever sends to the client behind it, and whoever has another session with that relay.
    let mut p = Client::tls(relay);
    p.say(
        &format!("{} {}", own_token(&link.token), link.uri),
        "to its client",
    );
    let got = link.expect_method("SEND");
    link.send(response(&got, "200 OK"));
    let mut a = Client::authenticated(relay, "alice");
    arrives(&mut a, &r2, &mut link, "to another");
}

fn con_07_of_two_links_the_one_heard_last_is_used() {
    let relay = shared();
    for (first_in, round) in [(true, 0), (false, 1), (true, 2), (false, 3)] {
        let r2 = R2::new();
        let mut clients = [(); 3].map(|()| Client::authenticated(relay, "alice"));
        let a = &mut clients[round % 3];
        let mut older = if first_in {
            let mut link = r2.connect(relay);
            introduces(&r2, &mut link, a);
            link
        } else {
            a.say(&format!("{} {}", a.token, r2.path_of_client()), "dial");
            let mut link = r2.accept();
            let got = link.expect_method("SEND");
            link.send(response(&got, "200 OK"));
            link
        };
        let mut younger = r2.connect(relay);
        introduces(&r2, &mut younger, &mut clients[0]);
        // Whoever has a way already keeps it.
        let [mut early, mut late] = [(); 2].map(|()| Client::authenticated(relay, "bob"));
        arrives(&mut early, &r2, &mut younger, "by the younger");
        older.silence(Duration::from_millis(20));
        std::thread::sleep(Duration::from_millis(100));
        introduces(&r2, &mut older, &mut clients[1]);
        std::thread::sleep(Duration::from_millis(100));
        arrives(&mut late, &r2, &mut older, "by the older");
        younger.silence(Duration::from_millis(20));
        older.kill();
        std::thread::sleep(Duration::from_millis(200));
        for client in clients.iter_mut().chain([&mut early, &mut late]) {
            arrives(client, &r2, &mut younger, "by the younger");
        }
    }
}

/// A SEND to a relay at this place; the code that A is told, and after how long.
fn refused(a: &mut Client, r2: &str) -> (u16, Duration) {
    let began = Instant::now();
    let draft = Draft::send(&format!("{} {r2}", a.token), &a.uri).text("anybody?");
    a.send(draft.octets());
    let told = a.find(SOON, |m| {
        m.code() != Some(200) && m.message_id() == Some(&draft.message_id)
    });
    let status = told.status().map(|(_, code, _)| code);
    (told.code().or(status).expect("a code"), began.elapsed())
}

fn con_08_failed_dial_is_not_repeated_at_once() {
    let relay = shared();
    let host = own_host();
    let port = free_port();
    let path = format!("msrps://{host}:{port}/x;tcp msrps://bob.example.org:1/b;tcp");
    let mut clients = [(); 3].map(|()| Client::authenticated(relay, "alice"));
    assert_eq!(refused(&mut clients[0], &path).0, 408);
    // It comes up right then. Who asks meanwhile is told at once, on every shard, and nobody knocks.
    let identity = TRUSTED.leaf(&[&host]);
    let r2 = R2::at(
        SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        host,
        identity,
    );
    let began = Instant::now();
    for client in &mut clients {
        assert_eq!(refused(client, &path).0, 408);
        let auth = format!("{} msrps://{}:{port};tcp", client.token, r2.host);
        let draft = Draft::request("AUTH", &auth, &client.uri);
        client.send(draft.octets());
        assert_eq!(client.response_to(&draft.tid).code(), Some(408));
    }
    if began.elapsed() < Duration::from_millis(900) {
        r2.peer.nobody_connects(Duration::from_millis(1));
    }
    // Then it is dialled again.
    let mut link = loop {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "never dialled again"
        );
        let draft =
            Draft::send(&format!("{} {path}", clients[0].token), &clients[0].uri).text("now?");
        clients[0].send(draft.octets());
        if let Some(socket) = r2.peer.accept_socket(Duration::from_millis(300)) {
            break r2.peer.handshake(socket).expect("the handshake succeeds");
        }
    };
    let got = link.expect_method("SEND");
    link.send(response(&got, "200 OK"));
    clients
        .iter_mut()
        .for_each(|client| drop(client.drain(Duration::from_millis(20))));
    arrives(&mut clients[1], &r2, &mut link, "all is well");
}

fn con_08_relay_that_connects_in_ends_the_back_off() {
    let relay = shared();
    // Nobody listens where the relay's URIs lead, but it connects in.
    let mut r2 = R2::new();
    let port = free_port();
    r2.peer.port = port;
    let mut a = Client::authenticated(relay, "alice");
    assert_eq!(refused(&mut a, &r2.path_of_client()).0, 408);
    a.drain(Duration::from_millis(20));
    let mut link = r2.connect(relay);
    introduces(&r2, &mut link, &mut a);
    a.drain(Duration::from_millis(20));
    arrives(&mut a, &r2, &mut link, "at once");
}

/// R2 has a SEND of its under way to A, which has it unanswered.
fn unanswered(relay: &Relay, r2: &R2) -> (Client, Client, Draft, msrpload::codec::Message) {
    let mut a = Client::authenticated(relay, "alice");
    let mut link = r2.connect(relay);
    let to = format!("{} {}", a.token, a.uri);
    let draft = Draft::send(&to, &link.uri).text("will you?");
    link.send(draft.octets());
    assert_eq!(link.response_to(&draft.tid).code(), Some(200));
    let got = a.expect_method("SEND");
    (a, link, draft, got)
}

fn rpt_11_report_takes_another_link_of_the_relay() {
    let relay = shared();
    let r2 = R2::new();
    // Another link, on whatever shard.
    let mut b = Client::authenticated(relay, "bob");
    let mut others: Vec<Client> = (0..2).map(|_| r2.connect(relay)).collect();
    others
        .iter_mut()
        .for_each(|other| introduces(&r2, other, &mut b));
    for _ in 0..2 {
        let (mut a, link, draft, got) = unanswered(relay, &r2);
        let from = link.uri.clone();
        link.kill();
        std::thread::sleep(Duration::from_millis(200));
        a.send(response(&got, "481 Gone"));
        // The link that was heard last has it (D-41): one REPORT, with the whole way back.
        let report = others[1].report_about(&draft.message_id, SOON);
        assert_eq!(report.to_path.join(" "), from);
        assert_eq!(report.status().unwrap().1, 481);
        others[0].silence(Duration::from_millis(20));
    }
    r2.peer.nobody_connects(Duration::from_millis(20));
}

fn rpt_11_report_dials_the_relay_that_has_gone() {
    let relay = shared();
    let r2 = R2::new();
    let (mut a, link, draft, got) = unanswered(relay, &r2);
    link.kill();
    std::thread::sleep(Duration::from_millis(200));
    a.send(response(&got, "413 Stop"));
    let mut link = r2.accept();
    let report = link.expect_method("REPORT");
    assert_eq!(report.message_id(), Some(&*draft.message_id));
    assert_eq!(report.status().unwrap().1, 413);
    // Only for a relay that was verified: not for one that only says so, whatever it says.
    let listening = R2::new();
    let mut a = Client::authenticated(relay, "alice");
    let mut fraud = Client::tls(relay);
    fraud.uri = listening.path_of_client();
    let to = format!("{} {}", a.token, a.uri);
    fraud.say(&to, "will you?");
    let got = a.expect_method("SEND");
    fraud.kill();
    std::thread::sleep(Duration::from_millis(200));
    a.send(response(&got, "413 Stop"));
    listening.peer.nobody_connects(Duration::from_millis(500));
    // Nor does a response make R dial; the client's own REPORT goes to the relay as any request of its.
    let r2 = R2::new();
    let (mut a, link, _, got) = unanswered(relay, &r2);
    link.kill();
    std::thread::sleep(Duration::from_millis(200));
    a.send(response(&got, "200 OK"));
    r2.peer.nobody_connects(Duration::from_millis(500));
    a.send(crate::support::message::report(&got, "000 200 OK", "1-9/9").octets());
    let report = r2.accept().expect_method("REPORT");
    assert_eq!(report.status().unwrap().1, 200);
}

fn fwd_14_keepalive_by_another_link_of_the_holder() {
    let relay = shared();
    let r2 = R2::new();
    let mut links: Vec<Client> = (0..3).map(|_| r2.connect(relay)).collect();
    links[0].obtain_token();
    let (token, path) = (own_token(&links[0].token), links[0].uri.clone());
    for link in &mut links {
        let draft = Draft::send(&token, &path).range("1-0/0");
        link.send(draft.octets());
        assert_eq!(link.response_to(&draft.tid).code(), Some(200));
        let draft = Draft::send(&token, &path).text("to nobody");
        link.send(draft.octets());
        assert_eq!(link.response_to(&draft.tid).code(), Some(481));
    }
    let mut other = R2::new().connect(relay);
    let draft = Draft::send(&token, &other.uri).range("1-0/0");
    other.send(draft.octets());
    assert_eq!(other.response_to(&draft.tid).code(), Some(481));
}

fn tls_13_link_is_judged_again_when_the_authorities_change() {
    let relay = Setup::new().start();
    let (r2, later) = (R2::new(), own_host());
    let mut dialled = R2::new().dialled(&relay);
    let mut link = r2.connect(&relay);
    link.obtain_token();
    let (token, path) = (own_token(&link.token), link.uri.clone());
    let mut a = Client::authenticated(&relay, "alice");
    let mut p = Link::with_inbound(Client::authenticated(&relay, "bob"), Client::tls(&relay));
    // From now on only the other authority counts, for links that are up as well.
    std::fs::write(relay.dir().join("ca.pem"), STRANGER.pem()).unwrap();
    relay.signal(libc::SIGHUP);
    for link in [&mut link, &mut dialled.p] {
        let ending = link.closed_within(SOON);
        assert_eq!(ending, Ending::Clean);
    }
    // By then every shard has read it.
    let until = Instant::now() + SOON;
    while !relay.log().contains("reloaded") {
        assert!(Instant::now() < until, "{}", relay.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    let draft = Draft::send(&format!("{token} {} {}", a.token, a.uri), &path).text("still me?");
    let mut again = r2.connect(&relay);
    again.send(draft.octets());
    assert_eq!(again.response_to(&draft.tid).code(), Some(481));
    let trusted_now = R2::with(later.clone(), STRANGER.leaf(&[&later]));
    let mut link = trusted_now.connect(&relay);
    introduces(&trusted_now, &mut link, &mut a);
    arrives(&mut a, &trusted_now, &mut link, "you are a relay now");
    // Clients never noticed.
    p.still_works();
    // What held the token holds it again when it is believed again.
    std::fs::write(relay.dir().join("ca.pem"), TRUSTED.pem() + &STRANGER.pem()).unwrap();
    relay.signal(libc::SIGHUP);
    let until = Instant::now() + SOON;
    loop {
        let mut again = r2.connect(&relay);
        let draft = Draft::send(&format!("{token} {} {}", a.token, a.uri), &path).text("and now?");
        again.send(draft.octets());
        if again.response_to(&draft.tid).code() == Some(200) {
            break;
        }
        assert!(Instant::now() < until, "R2 is not believed again");
        std::thread::sleep(Duration::from_millis(50));
    }
    a.find(SOON, |m| m.body() == b"and now?");
}

fn aut_24_relay_is_blocked_and_let_in_again_by_reload() {
    let relay = Setup::new().start();
    let r2 = R2::new();
    let mut a = Client::authenticated(&relay, "alice");
    let mut link = r2.connect(&relay);
    introduces(&r2, &mut link, &mut a);
    let config = relay.dir().join("msrpd.toml");
    let open = std::fs::read_to_string(&config).unwrap();
    std::fs::write(
        &config,
        format!("{open}\n[peers]\nblock = [\"{}\"]\n", r2.host),
    )
    .unwrap();
    relay.signal(libc::SIGHUP);
    // The link ends, and by a new one nothing is let through.
    link.closed_within(SOON);
    let to = format!("{} {}", a.token, a.uri);
    // The shard that has closed it may be the first to have read the file.
    let until = Instant::now() + SOON;
    loop {
        let mut link = r2.connect(&relay);
        let draft = Draft::send(&to, &link.uri).text("me?");
        link.send(draft.octets());
        if link.response_to(&draft.tid).code() == Some(403) {
            break;
        }
        assert!(Instant::now() < until, "R2 is still let through");
        std::thread::sleep(Duration::from_millis(50));
    }
    std::fs::write(&config, open).unwrap();
    relay.signal(libc::SIGHUP);
    let until = Instant::now() + SOON;
    loop {
        let mut link = r2.connect(&relay);
        let draft = Draft::send(&to, &link.uri).text("me");
        link.send(draft.octets());
        if link.response_to(&draft.tid).code() == Some(200) {
            break;
        }
        assert!(Instant::now() < until, "R2 is not let in again");
        std::thread::sleep(Duration::from_millis(50));
    }
}
