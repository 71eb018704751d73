//! The spelling that a plain TCP listener has for the URIs that the relay handed out: decision D-42, rows URI-03, AUT-01.

use crate::rows;
use crate::support::client::{Client, QUIET};
use crate::support::link::Link;
use crate::support::message::{Draft, response};
use crate::support::relay::{Relay, shared};

rows! {
    any: [],
    own: [
        uri_03_tcp_listener_has_a_spelling_of_its_own,
        uri_03_spelling_of_a_tcp_listener_counts_there_only,
        uri_12_same_token_in_two_spellings_is_refused,
        rpt_12_report_echoes_the_spelling_of_the_tcp_listener,
        aut_01_tcp_spelling_is_no_way_to_auth,
    ],
}

/// The token as a peer writes it that follows the path in clear.
fn in_clear(relay: &Relay, token: &str) -> String {
    let tls = format!(":{}/", relay.port());
    let tcp = format!(":{}/", relay.tcp.port());
    let spelt = token.replacen("msrps:", "msrp:", 1);
    let spelt = spelt.replacen(&tls, &tcp, 1);
    assert!(spelt.contains(&tcp), "{spelt}");
    spelt
}

/// P sends this to A's token in this spelling: refused, and nothing else suffers.
#[track_caller]
fn refused(from: &mut Client, spelt: &str, a: &mut Client) {
    let draft = Draft::send(&format!("{spelt} {}", a.uri), &from.uri).text("misspelt");
    from.send(draft.octets());
    assert_eq!(from.response_to(&draft.tid).code(), Some(481), "{spelt}");
    a.silence(QUIET);
}

fn uri_03_tcp_listener_has_a_spelling_of_its_own() {
    let relay = shared();
    // Consecutive connections live on different shards: both on one, and on two.
    for _ in 0..3 {
        let mut link = Link::inbound_tcp(relay);
        let spelt = in_clear(relay, &link.a.token);
        let spellings = [
            spelt.clone(),
            spelt
                .replacen("msrp:", "MSRP:", 1)
                .replace(";tcp", ";TCP;x=1"),
            link.a.token.clone(),
        ];
        for token in spellings {
            let draft = Draft::send(&format!("{token} {}", link.a.uri), &link.p.uri).text("by TCP");
            link.p.send(draft.octets());
            let got = link.a.expect_method("SEND");
            assert_eq!(got.from_path, [token.clone(), link.p.uri.clone()], "URI-02");
            let answer = link.p.response_to(&draft.tid);
            assert_eq!(answer.code(), Some(200));
            assert_eq!(answer.from_path, [token]);
            // Its answer names the relay in that spelling.
            link.a.send(response(&got, "200 OK"));
        }
        link.still_works();
        link.a.silence(QUIET);
    }
}

fn uri_03_spelling_of_a_tcp_listener_counts_there_only() {
    let relay = shared();
    let mut a = Client::authenticated(relay, "alice");
    let spelt = in_clear(relay, &a.token);
    let (mut tls, mut tcp) = (Link::inbound(relay).p, Link::inbound_tcp(relay).p);
    refused(&mut tls, &spelt, &mut a);
    let [own_port, other_port] = [relay.tcp.port(), relay.port()].map(|port| format!(":{port}/"));
    for wrong in [
        // The other listener's port, in clear; this one's, with TLS; another transport; a token of nobody's.
        spelt.replacen(&own_port, &other_port, 1),
        spelt.replacen("msrp:", "msrps:", 1),
        spelt.replacen(";tcp", ";ws", 1),
        in_clear(relay, &a.token.replacen(&a.token[40..44], "AAAA", 1)),
    ] {
        refused(&mut tcp, &wrong, &mut a);
    }
    // Nor may its holder send under it.
    let draft = Draft::send(&format!("{spelt} {}", tcp.uri), &a.uri).text("onward");
    a.send(draft.octets());
    assert_eq!(a.response_to(&draft.tid).code(), Some(481));
    tcp.silence(QUIET);
}

fn uri_12_same_token_in_two_spellings_is_refused() {
    let relay = shared();
    let mut link = Link::inbound_tcp(relay);
    let spelt = in_clear(relay, &link.a.token);
    let twice = format!("{spelt} {}", link.a.token);
    refused(&mut link.p, &twice, &mut link.a);
}

fn rpt_12_report_echoes_the_spelling_of_the_tcp_listener() {
    let relay = shared();
    let mut link = Link::inbound_tcp(relay);
    let spelt = in_clear(relay, &link.a.token);
    let draft = Draft::send(&format!("{spelt} {}", link.a.uri), &link.p.uri)
        .line("Success-Report: yes")
        .text("tell me");
    link.p.send(draft.octets());
    let got = link.a.expect_method("SEND");
    link.a.send(response(&got, "200 OK"));
    assert_eq!(link.p.response_to(&draft.tid).code(), Some(200));
    let report = Draft::request("REPORT", &got.from_path.join(" "), &link.a.uri).lines(&[
        &format!("Message-ID: {}", draft.message_id),
        "Byte-Range: 1-7/7",
        "Status: 000 200 OK",
    ]);
    link.a.send(report.octets());
    let told = link.p.expect_method("REPORT");
    assert_eq!(told.message_id(), Some(&*draft.message_id));
    assert_eq!(told.to_path, [link.p.uri.clone()]);
    assert_eq!(told.from_path, [spelt, link.a.uri.clone()]);
}

fn aut_01_tcp_spelling_is_no_way_to_auth() {
    let relay = shared();
    let a = Client::authenticated(relay, "alice");
    let spelt = in_clear(relay, &a.token);
    let name = format!("msrp://{}:{};tcp", relay.host, relay.tcp.port());
    for to in [&name, &spelt] {
        let mut tcp = Client::tcp(relay);
        tcp.send(Draft::request("AUTH", to, &tcp.uri).octets());
        let refusal = tcp.expect_code(403);
        assert_eq!(refusal.header("WWW-Authenticate"), None);
        tcp.closed();
    }
    // With TLS it is no URI of ours.
    let mut tls = Client::tls(relay);
    tls.send(Draft::request("AUTH", &spelt, &tls.uri).octets());
    tls.expect_code(481);
    tls.send(Draft::request("AUTH", &name, &tls.uri).octets());
    tls.closed();
}
