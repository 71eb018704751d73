//! The exchanges of `wire-examples.md` with two relays, line by line, the relay under test in either place; transact-ids,
//! nonces and tokens are the relay's.

use msrpload::digest::Challenge;

use crate::rows;
use crate::support::client::{Client, own_uri};
use crate::support::message::{Draft, assert_lines, assert_octets, report, response};
use crate::support::relay::shared;
use crate::support::relay2::{R2, own_token};

rows! {
    any: [],
    own: [
        w_04_chained_auth_through_the_inner_relay,
        w_04_chained_auth_at_the_answering_relay,
        w_06_send_through_two_relays_leaving,
        w_06_send_through_two_relays_arriving,
        w_08_failure_behind_the_second_relay,
        w_08_failure_at_the_second_relay,
        w_17_other_methods_through_two_relays,
    ],
}

/// R is the relay of Alice; the test answers as R2.
fn w_04_chained_auth_through_the_inner_relay() {
    let relay = shared();
    let r2 = R2::on_2855();
    let mut a = Client::authenticated(relay, "alice");
    let (ta, uri, outer) = (a.token.clone(), a.uri.clone(), r2.uri());
    let first = Draft::request("AUTH", &format!("{ta} {outer}"), &uri);
    a.send(first.octets());
    let mut link = r2.accept();
    let got = link.expect_method("AUTH");
    assert_octets(
        &got,
        &format!("MSRP {{tid}} AUTH\nTo-Path: {outer}\nFrom-Path: {ta} {uri}\n-------{{tid}}$\n"),
    );
    assert_ne!(got.tid, first.tid, "a new transact-id (D-05)");
    let challenge = format!(
        "Digest realm=\"{}\", nonce=\"b166Ixm9dYRxH8IcLrXUu4YzJ7t6Wux+\", opaque=\"5e7494662ea04ad8e731cc25c6140eb6\", \
         qop=\"auth\"",
        r2.host
    );
    link.send(format!(
        "MSRP {tid} 401 Unauthorized\r\nTo-Path: {ta} {uri}\r\nFrom-Path: {outer}\r\n\
         WWW-Authenticate: {challenge}\r\n-------{tid}$\r\n",
        tid = got.tid
    ));
    let refusal = a.response_to(&first.tid);
    assert_octets(
        &refusal,
        &format!(
            "MSRP {{tid}} 401 Unauthorized\nTo-Path: {uri}\nFrom-Path: {ta} {outer}\n\
             WWW-Authenticate: {challenge}\n-------{{tid}}$\n"
        ),
    );

    a.set_user("alice", "looking-glass");
    let answer = a.answer_for(&outer, &Challenge::parse(&challenge).unwrap(), 1);
    let authorization = &answer.authorization;
    let second = Draft::request("AUTH", &format!("{ta} {outer}"), &uri)
        .line(&format!("Authorization: {authorization}"))
        .line("Expires: 1800");
    a.send(second.octets());
    let got = link.expect_method("AUTH");
    assert_octets(
        &got,
        &format!(
            "MSRP {{tid}} AUTH\nTo-Path: {outer}\nFrom-Path: {ta} {uri}\nAuthorization: {authorization}\n\
             Expires: 1800\n-------{{tid}}$\n"
        ),
    );
    let headers = format!(
        "Use-Path: {ta} {}\nAuthentication-Info: nextnonce=\"EE5zbNiRfTIFdqSOFIl/UQRwFJjglbGT\", rspauth=\"{}\", \
         cnonce=\"x\", nc=00000001, qop=auth\nExpires: 1800\n",
        r2.token(),
        answer.rspauth
    );
    link.send(format!(
        "MSRP {tid} 200 OK\r\nTo-Path: {ta} {uri}\r\nFrom-Path: {outer}\r\n{}-------{tid}$\r\n",
        headers.replace('\n', "\r\n"),
        tid = got.tid
    ));
    let granted = a.response_to(&second.tid);
    assert_octets(
        &granted,
        &format!(
            "MSRP {{tid}} 200 OK\nTo-Path: {uri}\nFrom-Path: {ta} {outer}\n{headers}-------{{tid}}$\n"
        ),
    );
}

/// R is the one that answers; the test forwards as the inner relay.
fn w_04_chained_auth_at_the_answering_relay() {
    let relay = shared();
    let r2 = R2::new();
    let mut link = r2.connect(relay);
    let uri = relay.uri();
    let (t2, client) = (r2.token(), own_uri("alice"));
    link.uri = format!("{t2} {client}");
    let refusal = link.auth(&[]);
    let challenge = refusal.header("WWW-Authenticate").unwrap().to_owned();
    assert_lines(
        &refusal,
        &format!(
            "MSRP {{tid}} 401 Unauthorized\nTo-Path: {t2} {client}\nFrom-Path: {uri}\n\
             WWW-Authenticate: {challenge}\n-------{{tid}}$\n"
        ),
    );
    let answer = link.answer(&Challenge::parse(&challenge).unwrap(), 1);
    let authorization = format!("Authorization: {}", answer.authorization);
    let granted = link.auth(&[&authorization, "Expires: 1800"]);
    let own = own_token(granted.header("Use-Path").unwrap());
    let info = granted.header("Authentication-Info").unwrap();
    for part in [
        format!("rspauth=\"{}\"", answer.rspauth),
        "nc=00000001".to_owned(),
        "qop=auth".to_owned(),
    ] {
        assert!(info.contains(&part), "{part} in {info}");
    }
    assert!(own.starts_with(&format!("msrps://{}:{}/", relay.host, relay.port())));
    assert_lines(
        &granted,
        &format!(
            "MSRP {{tid}} 200 OK\nTo-Path: {t2} {client}\nFrom-Path: {uri}\nUse-Path: {t2} {own}\n\
             Authentication-Info: {info}\nExpires: 1800\n-------{{tid}}$\n"
        ),
    );
    // And the path that was handed out leads to the client.
    let mut p = Client::tls(relay);
    let draft = p.say(&format!("{own} {t2} {client}"), "Hello");
    let got = link.expect_method("SEND");
    assert_octets(
        &got,
        &format!(
            "MSRP {{tid}} SEND\nTo-Path: {t2} {client}\nFrom-Path: {own} {}\nMessage-ID: {}\nByte-Range: 1-5/5\n\
             Content-Type: text/plain\n\nHello\n-------{{tid}}$\n",
            p.uri, draft.message_id
        ),
    );
}

/// R is the relay of Alice, R2 that of Bob.
fn w_06_send_through_two_relays_leaving() {
    let relay = shared();
    let r2 = R2::new();
    let mut a = Client::authenticated(relay, "alice");
    let (ta, uri) = (a.token.clone(), a.uri.clone());
    let (tp, p) = (r2.token(), own_uri("bob"));
    let send = Draft::send(&format!("{ta} {tp} {p}"), &uri)
        .message_id("cAHIdUEBgm5e")
        .line("Success-Report: yes")
        .text("Two hops, one message.");
    a.send(send.octets());
    assert_lines(
        &a.expect(),
        &format!(
            "MSRP {tid} 200 OK\nTo-Path: {uri}\nFrom-Path: {ta}\nMessage-ID: cAHIdUEBgm5e\n-------{tid}$\n",
            tid = send.tid
        ),
    );
    let mut link = r2.accept();
    let got = link.expect_method("SEND");
    assert_octets(
        &got,
        &format!(
            "MSRP {{tid}} SEND\nTo-Path: {tp} {p}\nFrom-Path: {ta} {uri}\nMessage-ID: cAHIdUEBgm5e\nByte-Range: 1-22/22\n\
             Success-Report: yes\nContent-Type: text/plain\n\nTwo hops, one message.\n-------{{tid}}$\n"
        ),
    );
    link.send(response(&got, "200 OK"));
    let tid = "Y1n8MzpKaPTdQOC4";
    link.send(
        Draft::request("REPORT", &format!("{ta} {uri}"), &format!("{tp} {p}"))
            .tid(tid)
            .message_id("cAHIdUEBgm5e")
            .range("1-22/22")
            .line("Status: 000 200 OK")
            .octets(),
    );
    let report = a.expect_method("REPORT");
    assert_ne!(report.tid, tid);
    assert_octets(
        &report,
        &format!(
            "MSRP {{tid}} REPORT\nTo-Path: {uri}\nFrom-Path: {ta} {tp} {p}\nMessage-ID: cAHIdUEBgm5e\n\
             Byte-Range: 1-22/22\nStatus: 000 200 OK\n-------{{tid}}$\n"
        ),
    );
}

/// R is the relay of Bob; the test is that of Alice.
fn w_06_send_through_two_relays_arriving() {
    let relay = shared();
    let r1 = R2::new();
    let mut p = Client::authenticated(relay, "bob");
    let (tp, uri) = (p.token.clone(), p.uri.clone());
    let (ta, a) = (r1.token(), own_uri("alice"));
    let mut link = r1.connect(relay);
    let send = Draft::send(&format!("{tp} {uri}"), &format!("{ta} {a}"))
        .message_id("cAHIdUEBgm5e")
        .line("Success-Report: yes")
        .text("Two hops, one message.");
    link.send(send.octets());
    assert_lines(
        &link.expect(),
        &format!(
            "MSRP {tid} 200 OK\nTo-Path: {ta}\nFrom-Path: {tp}\nMessage-ID: cAHIdUEBgm5e\n-------{tid}$\n",
            tid = send.tid
        ),
    );
    let got = p.expect_method("SEND");
    assert_octets(
        &got,
        &format!(
            "MSRP {{tid}} SEND\nTo-Path: {uri}\nFrom-Path: {tp} {ta} {a}\nMessage-ID: cAHIdUEBgm5e\nByte-Range: 1-22/22\n\
             Success-Report: yes\nContent-Type: text/plain\n\nTwo hops, one message.\n-------{{tid}}$\n"
        ),
    );
    p.send(response(&got, "200 OK"));
    p.send(report(&got, "000 200 OK", "1-22/22").octets());
    assert_octets(
        &link.expect_method("REPORT"),
        &format!(
            "MSRP {{tid}} REPORT\nTo-Path: {ta} {a}\nFrom-Path: {tp} {uri}\nMessage-ID: cAHIdUEBgm5e\n\
             Byte-Range: 1-22/22\nStatus: 000 200 OK\n-------{{tid}}$\n"
        ),
    );
}

/// R is the relay of Alice: it only passes the REPORT on.
fn w_08_failure_behind_the_second_relay() {
    let relay = shared();
    let r2 = R2::new();
    let mut a = Client::authenticated(relay, "alice");
    let (ta, uri) = (a.token.clone(), a.uri.clone());
    let (tp, p) = (r2.token(), own_uri("bob"));
    let send = Draft::send(&format!("{ta} {tp} {p}"), &uri)
        .message_id("fkFT0l1rN1U8")
        .content("text/html", b"This one will be refused.");
    a.send(send.octets());
    assert_eq!(a.expect_code(200).tid, send.tid);
    let mut link = r2.accept();
    let got = link.expect_method("SEND");
    link.send(response(&got, "200 OK"));
    link.send(
        Draft::request("REPORT", &format!("{ta} {uri}"), &tp)
            .message_id("fkFT0l1rN1U8")
            .range("1-25/25")
            .line("Status: 000 415 Unsupported media type")
            .octets(),
    );
    assert_octets(
        &a.expect(),
        &format!(
            "MSRP {{tid}} REPORT\nTo-Path: {uri}\nFrom-Path: {ta} {tp}\nMessage-ID: fkFT0l1rN1U8\nByte-Range: 1-25/25\n\
             Status: 000 415 Unsupported media type\n-------{{tid}}$\n"
        ),
    );
}

/// R is the second relay: its REPORT has two URIs in To-Path (RPT-07).
fn w_08_failure_at_the_second_relay() {
    let relay = shared();
    let r1 = R2::new();
    let mut p = Client::authenticated(relay, "bob");
    let (tp, uri) = (p.token.clone(), p.uri.clone());
    let (ta, a) = (r1.token(), own_uri("alice"));
    let mut link = r1.connect(relay);
    let send = Draft::send(&format!("{tp} {uri}"), &format!("{ta} {a}"))
        .message_id("fkFT0l1rN1U8")
        .content("text/html", b"This one will be refused.");
    link.send(send.octets());
    assert_eq!(link.expect_code(200).tid, send.tid);
    let got = p.expect_method("SEND");
    assert_octets(
        &got,
        &format!(
            "MSRP {{tid}} SEND\nTo-Path: {uri}\nFrom-Path: {tp} {ta} {a}\nMessage-ID: fkFT0l1rN1U8\nByte-Range: 1-25/25\n\
             Content-Type: text/html\n\nThis one will be refused.\n-------{{tid}}$\n"
        ),
    );
    p.send(response(&got, "415 Unsupported media type"));
    assert_lines(
        &link.expect(),
        &format!(
            "MSRP {{tid}} REPORT\nTo-Path: {ta} {a}\nFrom-Path: {tp}\nMessage-ID: fkFT0l1rN1U8\nByte-Range: 1-25/25\n\
             Status: 000 415 Unsupported media type\n-------{{tid}}$\n"
        ),
    );
}

fn w_17_other_methods_through_two_relays() {
    let relay = shared();
    let mut session = R2::new().linked(relay);
    let nickname = Draft::request("NICKNAME", &session.to_p, &session.a.uri)
        .line("Use-Nickname: \"Alice the great\"");
    session.a.send(nickname.octets());
    let got = session.p.expect_method("NICKNAME");
    let (to, from) = session.paths_at_p();
    assert_octets(
        &got,
        &format!(
            "MSRP {{tid}} NICKNAME\nTo-Path: {to}\nFrom-Path: {from}\nUse-Nickname: \"Alice the great\"\n-------{{tid}}$\n"
        ),
    );
    // The far end has answered with its whole path; R2 has moved itself to the front.
    session.p.send(format!(
        "MSRP {tid} 425 Nickname reserved or already in use\r\nTo-Path: {from}\r\nFrom-Path: {to}\r\n-------{tid}$\r\n",
        tid = got.tid
    ));
    assert_octets(
        &session.a.response_to(&nickname.tid),
        &format!(
            "MSRP {{tid}} 425 Nickname reserved or already in use\nTo-Path: {}\nFrom-Path: {}\n-------{{tid}}$\n",
            session.a.uri, session.to_p
        ),
    );
}
