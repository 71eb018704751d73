//! What a stranger who knows one token says of itself in From-Path, over real sockets (D-34, SEC-11).

use std::time::Duration;

use crate::rows;
use crate::support::client::{Client, QUIET, SOON};
use crate::support::message::{Draft, report, response};
use crate::support::peer::Peer;
use crate::support::relay::{Setup, shared};
use crate::support::relay2::R2;

rows! {
    any: [
        sec_11_claim_serves_one_token_and_the_last_hop_only,
    ],
    own: [
        sec_11_claimed_relay_gets_no_auth_and_no_chain,
        sec_11_claim_does_not_pass_a_verified_link,
        tls_12_claim_by_tcp_gets_nothing_in_clear,
    ],
}

/// A stranger writes to A with this From-Path.
fn claim(mut stranger: Client, a: &mut Client, from: &str) -> Client {
    let draft = Draft::send(&format!("{} {}", a.token, a.uri), from).text("it is me");
    stranger.send(draft.octets());
    assert_eq!(stranger.response_to(&draft.tid).code(), Some(200), "{from}");
    let got = a.find(SOON, |message| message.method() == Some("SEND"));
    a.send(response(&got, "200 OK"));
    stranger
}

/// What a stranger may say of a relay's URI and of its client's.
fn spellings(uri: &str) -> Vec<String> {
    let (host, _) = uri.rsplit_once('/').expect("a session-id");
    let far = "msrps://far.invalid:2855/far;tcp";
    vec![
        uri.to_owned(),
        format!("{host};tcp"),
        format!("{uri} {far}"),
        format!("{host}/other;tcp"),
        uri.to_uppercase().replace(";TCP", ";tcp"),
        uri.replacen("://", "://bob@", 1),
        uri.replacen("msrps:", "msrp:", 1),
        uri.replacen(";tcp", ";ws", 1),
        far.to_owned(),
    ]
}

fn sec_11_claim_serves_one_token_and_the_last_hop_only() {
    let relay = shared();
    let mut a = Client::authenticated(relay, "alice");
    let mut b = Client::authenticated(relay, "bob");
    let uri = "msrps://claims.unreachable.example:2855/abc;tcp";
    let mut stranger = claim(Client::tls(relay), &mut a, uri);
    // Under another token, as a hop on the way, and for an AUTH it gets nothing.
    let far = "msrps://far.invalid:2855/far;tcp";
    for (by_a, method, to) in [
        (false, "SEND", uri.to_owned()),
        (false, "NICKNAME", uri.to_owned()),
        (false, "AUTH", uri.to_owned()),
        (true, "SEND", format!("{uri} {far}")),
        (true, "AUTH", uri.to_owned()),
        (true, "AUTH", format!("{uri} {far}")),
        (true, "FOO", format!("{uri} {far}")),
        (true, "SEND", uri.replacen("/abc", "/abd", 1)),
        (true, "SEND", uri.replacen("2855", "2856", 1)),
    ] {
        let from = if by_a { &mut a } else { &mut b };
        let draft = Draft::request(method, &format!("{} {to}", from.token), &from.uri);
        let draft = match method {
            "SEND" => draft.message_id("secret01").text("secret"),
            _ => draft,
        };
        from.send(draft.octets());
        stranger.silence(Duration::from_millis(60));
    }
    // Under the token that it wrote to, as the last hop, it is reached.
    a.drain(QUIET);
    a.say(&format!("{} {uri}", a.token), "for the peer");
    assert_eq!(stranger.expect_method("SEND").body(), b"for the peer");
}

/// 9 claims by 2 transports, 4 kinds of traffic each.
fn sec_11_claimed_relay_gets_no_auth_and_no_chain() {
    let relay = Setup::new().start();
    let r2 = R2::new();
    let uri = r2.token();
    let mut strangers = Vec::new();
    let mut a = Client::authenticated(&relay, "alice");
    for from in spellings(&uri) {
        strangers.push(claim(Client::tls(&relay), &mut a, &from));
        strangers.push(claim(Client::tcp(&relay), &mut a, &from));
    }
    let mut b = Client::authenticated(&relay, "bob");
    let far = "msrps://far.invalid:2855/far;tcp";
    let name = format!("msrps://{}:{};tcp", r2.host, r2.peer.port);
    let mut link = None;
    for number in 0..2 {
        for (method, to) in [
            ("AUTH", name.clone()),
            ("AUTH", uri.clone()),
            ("SEND", format!("{uri} {far}")),
            ("NICKNAME", format!("{uri} {far}")),
        ] {
            let from = if number == 0 { &mut b } else { &mut a };
            let draft = Draft::request(method, &format!("{} {to}", from.token), &from.uri);
            let draft = match method {
                "SEND" => draft.message_id("secret01").text("secret"),
                _ => draft,
            };
            from.send(draft.octets());
            // The relay that can prove it gets it.
            let link = link.get_or_insert_with(|| r2.accept());
            let got = link.find(SOON, |message| message.method() == Some(method));
            if method == "SEND" {
                link.send(response(&got, "200 OK"));
            }
        }
    }
    for mut stranger in strangers {
        stranger.silence(Duration::from_millis(5));
    }
}

fn sec_11_claim_does_not_pass_a_verified_link() {
    let relay = shared();
    let peer = Peer::tls();
    let mut a = Client::authenticated(relay, "alice");
    // A has reached P, which has proved to be its host.
    a.say(&format!("{} {}", a.token, peer.uri), "hello P");
    let mut p = peer.accept();
    let got = p.expect_method("SEND");
    p.send(response(&got, "200 OK"));
    let mut stranger = claim(Client::tls(relay), &mut a, &peer.uri);
    a.drain(QUIET);
    let mut again = Client::authenticated(relay, "alice");
    again.say(&format!("{} {}", again.token, peer.uri), "by another");
    assert_eq!(p.expect_method("SEND").body(), b"by another");
    a.say(&format!("{} {}", a.token, peer.uri), "once more");
    assert_eq!(p.expect_method("SEND").body(), b"once more");
    a.send(report(&got, "000 200 OK", "1-4/4").octets());
    stranger.silence(Duration::from_millis(100));
}

fn tls_12_claim_by_tcp_gets_nothing_in_clear() {
    let relay = shared();
    let peer = Peer::tls();
    let mut a = Client::authenticated(relay, "alice");
    let mut stranger = claim(Client::tcp(relay), &mut a, &peer.uri);
    let draft = Draft::request("SEND", &format!("{} {}", a.token, peer.uri), &a.uri);
    let draft = draft.message_id("secret01").text("by TLS only");
    a.send(draft.octets());
    assert_eq!(peer.accept().expect_method("SEND").body(), b"by TLS only");
    stranger.silence(Duration::from_millis(100));
}
