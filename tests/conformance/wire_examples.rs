//! The exchanges of `wire-examples.md` that need one relay, line by line; transact-ids, nonces and
//! tokens are the relay's. `rel_wire.rs` has those with two relays; W-15 needs WebSocket.

use std::time::{Duration, Instant};

use msrpload::codec::Message;
use msrpload::digest::Challenge;

use crate::rows;
use crate::support::client::{Client, QUIET, SOON};
use crate::support::link::Link;
use crate::support::message::{Draft, assert_lines, assert_octets, report, response};
use crate::support::peer::Peer;
use crate::support::relay::{Setup, shared};

rows! {
    any: [
        w_01_auth_challenge_credentials_200,
        w_03_nextnonce_and_a_stale_nonce,
        w_05_send_200s_and_success_report_inbound,
        w_09_no_answer_within_30_s,
        w_10_interrupted_chunk_and_continuation,
        w_11_abort,
        w_12_failure_report_partial,
        w_13_failure_report_no,
        w_14_interval_out_of_bounds,
        w_16_invalid_token_and_request_for_somebody_else,
        w_18_both_parties_on_the_same_relay,
        w_19_bodiless_send,
        w_20_near_misses_and_a_short_chunk,
    ],
    own: [
        w_02_auth_with_sha_256_uri_and_served_domain,
        w_05_send_200s_and_success_report_dialled,
        w_07_far_side_refuses,
        w_17_other_methods_and_their_responses,
    ],
}

/// Names and values of a digest header, and which values were quoted.
fn shape(params: &[msrpload::digest::Param]) -> Vec<(&str, bool)> {
    params
        .iter()
        .map(|param| (param.name.as_str(), param.quoted))
        .collect()
}

fn header_names(message: &Message) -> Vec<&str> {
    message
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect()
}

fn w_01_auth_challenge_credentials_200() {
    let relay = shared();
    let mut a = Client::tls(relay);
    let uri = relay.uri();
    let refusal = a.auth(&[]);
    assert_eq!(refusal.comment(), Some("Unauthorized"));
    assert_eq!(refusal.to_path, [a.uri.clone()]);
    assert_eq!(refusal.from_path, std::slice::from_ref(&uri));
    assert!(
        header_names(&refusal)[2..]
            .iter()
            .all(|name| *name == "WWW-Authenticate"),
        "{refusal:?}"
    );
    let challenge = Challenge::parse(refusal.header("WWW-Authenticate").unwrap()).unwrap();
    let shape = shape(&challenge.params);
    for quoted in ["realm", "nonce", "opaque", "qop"] {
        assert!(
            shape.contains(&(quoted, true)),
            "{quoted} is quoted: {refusal:?}"
        );
    }
    assert!(!challenge.stale);

    let authorization = format!("Authorization: {}", a.answer(&challenge, 1).authorization);
    let granted = a.auth(&[&authorization, "Expires: 3600"]);
    assert_eq!(granted.comment(), Some("OK"));
    let (use_path, info) = (
        granted.header("Use-Path").unwrap(),
        granted.header("Authentication-Info").unwrap(),
    );
    assert_lines(
        &granted,
        &format!(
            "MSRP {{tid}} 200 OK\nTo-Path: {}\nFrom-Path: {uri}\nUse-Path: {use_path}\n\
             Authentication-Info: {info}\nExpires: 3600\n-------{{tid}}$\n",
            a.uri
        ),
    );
    let prefix = format!("msrps://{}:{}/", relay.host, relay.port());
    assert!(
        use_path.starts_with(&prefix) && use_path.ends_with(";tcp"),
        "{use_path}"
    );
}

fn w_02_auth_with_sha_256_uri_and_served_domain() {
    let relay = Setup::new()
        .set_list("auth.algorithms", &["SHA-256", "MD5"])
        .start();
    let mut a = Client::tls(&relay);
    let uri = "msrps://alice@example.com:2855;tcp";
    let refusal = a.auth_to(uri, &[]);
    assert_eq!(refusal.code(), Some(401));
    let algorithms: Vec<_> = refusal
        .headers_named("WWW-Authenticate")
        .map(|value| Challenge::parse(value).unwrap().algorithm.name())
        .collect();
    assert_eq!(algorithms, ["SHA-256", "MD5"], "strongest first, MD5 last");
    let text = refusal.header("WWW-Authenticate").unwrap();
    assert!(
        text.contains("algorithm=SHA-256") && text.contains("qop=\"auth\""),
        "{text}"
    );
    let challenge = Challenge::parse(text).unwrap();
    let answer = a.answer_for(uri, &challenge, 1);
    let authorization = format!("Authorization: {}, uri=\"{uri}\"", answer.authorization);
    let granted = a.auth_to(uri, &[&authorization]);
    assert_eq!(granted.code(), Some(200), "{granted:?}");
    assert_eq!(granted.from_path, [uri.to_owned()]);
    assert_eq!(granted.header("Expires"), Some("86400"));
    let info =
        msrpload::digest::AuthenticationInfo::parse(granted.header("Authentication-Info").unwrap());
    answer
        .verify(&info.unwrap())
        .expect("rspauth over the same text");

    // A client that knows only MD5, quotes everything and names no algorithm.
    let md5 = refusal
        .headers_named("WWW-Authenticate")
        .map(|value| Challenge::parse(value).unwrap())
        .find(|challenge| challenge.algorithm.name() == "MD5")
        .unwrap();
    let quoted = a.answer_for(uri, &md5, 2).authorization;
    let quoted = quoted
        .replace("qop=auth", "qop=\"auth\"")
        .replace("nc=00000002", "nc=\"00000002\"");
    let granted = a.auth_to(uri, &[&format!("Authorization: {quoted}")]);
    assert_eq!(granted.code(), Some(200), "{granted:?}");
}

fn w_03_nextnonce_and_a_stale_nonce() {
    let relay = shared();
    let mut a = Client::tls(relay);
    let first = a.obtain_token();
    let info = first.header("Authentication-Info").unwrap();
    let info = msrpload::digest::AuthenticationInfo::parse(info).unwrap();
    let mut challenge = a.challenge();
    challenge.nonce = info.nextnonce.expect("nextnonce is sent");
    let line = format!("Authorization: {}", a.answer(&challenge, 1).authorization);
    let granted = a.auth(&[&line]);
    assert_eq!(granted.code(), Some(200), "{granted:?}");
    assert_ne!(granted.header("Use-Path"), first.header("Use-Path"));

    let refusal = a.auth(&[&line]);
    assert_eq!(refusal.code(), Some(401), "{refusal:?}");
    let again = Challenge::parse(refusal.header("WWW-Authenticate").unwrap()).unwrap();
    assert!(again.stale, "{refusal:?}");
    assert!(
        shape(&again.params).contains(&("stale", false)),
        "stale is not quoted: {refusal:?}"
    );
    assert_ne!(again.nonce, challenge.nonce);
    assert_eq!(
        header_names(&refusal),
        ["To-Path", "From-Path", "WWW-Authenticate"]
    );
}

/// A says this to P, in this shape; what P got.
fn w_05(mut link: Link) {
    let draft = link
        .draft()
        .message_id("2WGlxLWo1C6R")
        .line("Success-Report: yes")
        .text("Hi Bob, lunch at noon?");
    link.a.send(draft.octets());
    let (a, p, token) = (link.a.uri.clone(), link.p.uri.clone(), link.a.token.clone());
    let answer = link.a.expect();
    assert_eq!(answer.tid, draft.tid);
    assert_lines(
        &answer,
        &format!(
            "MSRP {{tid}} 200 OK\nTo-Path: {a}\nFrom-Path: {token}\nMessage-ID: 2WGlxLWo1C6R\n-------{{tid}}$\n"
        ),
    );
    let got = link.p.expect();
    assert_ne!(got.tid, draft.tid);
    assert_octets(
        &got,
        &format!(
            "MSRP {{tid}} SEND\nTo-Path: {p}\nFrom-Path: {token} {a}\nMessage-ID: 2WGlxLWo1C6R\n\
             Byte-Range: 1-22/22\nSuccess-Report: yes\nContent-Type: text/plain\n\nHi Bob, lunch at noon?\n\
             -------{{tid}}$\n"
        ),
    );
    link.p.send(response(&got, "200 OK"));
    let told = report(&got, "000 200 OK", "1-22/22");
    link.p.send(told.octets());
    let came = link.a.expect();
    assert_ne!(came.tid, told.tid);
    assert_octets(
        &came,
        &format!(
            "MSRP {{tid}} REPORT\nTo-Path: {a}\nFrom-Path: {token} {p}\nMessage-ID: 2WGlxLWo1C6R\n\
             Byte-Range: 1-22/22\nStatus: 000 200 OK\n-------{{tid}}$\n"
        ),
    );
    link.p.silence(QUIET);
    link.a.silence(QUIET);
}

fn w_05_send_200s_and_success_report_inbound() {
    w_05(Link::inbound(shared()));
}

fn w_05_send_200s_and_success_report_dialled() {
    w_05(Link::dialled(shared()));
}

fn w_07_far_side_refuses() {
    for status in ["481 No such session", "403 Forbidden"] {
        let mut link = Link::dialled(shared());
        let draft = link
            .draft()
            .message_id("pbZjcQ9syZ7e")
            .text("Are you still there?");
        let got = link.pass(&draft);
        let (a, p, token) = (link.a.uri.clone(), link.p.uri.clone(), link.a.token.clone());
        assert_octets(
            &got,
            &format!(
                "MSRP {{tid}} SEND\nTo-Path: {p}\nFrom-Path: {token} {a}\nMessage-ID: pbZjcQ9syZ7e\n\
                 Byte-Range: 1-20/20\nContent-Type: text/plain\n\nAre you still there?\n-------{{tid}}$\n"
            ),
        );
        link.a.expect_code(200);
        link.p.send(response(&got, status));
        assert_lines(
            &link.a.expect(),
            &format!(
                "MSRP {{tid}} REPORT\nTo-Path: {a}\nFrom-Path: {token}\nMessage-ID: pbZjcQ9syZ7e\n\
                 Byte-Range: 1-20/20\nStatus: 000 {status}\n-------{{tid}}$\n"
            ),
        );
        link.a.silence(QUIET);
    }
}

fn w_09_no_answer_within_30_s() {
    let mut link = Link::inbound(shared());
    let draft = link
        .draft()
        .message_id("By7viMO9WcKB")
        .line("Failure-Report: yes")
        .text("Echo?");
    let began = Instant::now();
    let got = link.pass(&draft);
    let read = Instant::now();
    link.a.expect_code(200);
    let report = link
        .a
        .expect_method_within("REPORT", Duration::from_secs(36));
    assert!(
        began.elapsed() >= Duration::from_secs(30),
        "early: {:?}",
        began.elapsed()
    );
    assert!(
        read.elapsed() <= Duration::from_millis(32_500),
        "late: {:?}",
        read.elapsed()
    );
    let comment = report
        .status()
        .and_then(|(_, _, comment)| comment)
        .map(|c| format!(" {c}"))
        .unwrap_or_default();
    assert_lines(
        &report,
        &format!(
            "MSRP {{tid}} REPORT\nTo-Path: {}\nFrom-Path: {}\nMessage-ID: By7viMO9WcKB\nByte-Range: 1-5/5\n\
             Status: 000 408{comment}\n-------{{tid}}$\n",
            link.a.uri, link.a.token
        ),
    );
    // Too late (TMR-02).
    link.p.send(response(&got, "200 OK"));
    link.a.silence(QUIET);
    link.still_works();
}

fn w_10_interrupted_chunk_and_continuation() {
    let mut link = Link::inbound(shared());
    let body = vec![b'n'; 26_000];
    let draft = link
        .draft()
        .message_id("nnvIuSIUsUHq")
        .range("1-*/26000")
        .content("text/plain", &[]);
    link.a.send(draft.head());
    link.a.send(&body[..13_000]);
    link.p.expect_partial(1);
    let back = link
        .draft_back()
        .message_id("PSoVfWSEKsu3")
        .text("owes me a response");
    link.p.send(back.octets());
    let (a, p, token) = (link.a.uri.clone(), link.p.uri.clone(), link.a.token.clone());
    let piece = |start: usize, octets: usize, flag: char| {
        format!(
            "MSRP {{tid}} SEND\nTo-Path: {p}\nFrom-Path: {token} {a}\nMessage-ID: nnvIuSIUsUHq\n\
             Byte-Range: {start}-*/26000\nContent-Type: text/plain\n\n{}\n-------{{tid}}{flag}\n",
            "n".repeat(octets)
        )
    };
    let first = link.p.expect();
    let cut = first.body().len();
    assert_octets(&first, &piece(1, cut, '+'));
    let answer = link.p.expect();
    assert_eq!(answer.tid, back.tid);
    assert_lines(
        &answer,
        &format!(
            "MSRP {{tid}} 200 OK\nTo-Path: {p}\nFrom-Path: {token}\nMessage-ID: PSoVfWSEKsu3\n-------{{tid}}$\n"
        ),
    );
    link.a.send(&body[13_000..]);
    link.a.send(draft.end());
    let second = link.p.expect();
    assert_ne!(second.tid, first.tid);
    assert_eq!(second.body().len() + cut, 26_000);
    assert_octets(&second, &piece(cut + 1, second.body().len(), '$'));
    link.p.send(response(&first, "200 OK"));
    link.p.send(response(&second, "413 Stop"));
    assert_eq!(link.a.find(SOON, |m| m.code().is_some()).tid, draft.tid);
    // The REPORT covers the refused piece only.
    let report = link.a.report_about("nnvIuSIUsUHq", SOON);
    assert_lines(
        &report,
        &format!(
            "MSRP {{tid}} REPORT\nTo-Path: {a}\nFrom-Path: {token}\nMessage-ID: nnvIuSIUsUHq\n\
             Byte-Range: {}-26000/26000\nStatus: 000 413 Stop\n-------{{tid}}$\n",
            cut + 1
        ),
    );
}

fn w_11_abort() {
    let mut link = Link::inbound(shared());
    let draft = link
        .draft()
        .message_id("TR5uNRjKMWT4")
        .range("1-*/4000")
        .body(b"abcdefgh")
        .flag('#');
    let got = link.pass(&draft);
    assert_octets(
        &got,
        &format!(
            "MSRP {{tid}} SEND\nTo-Path: {}\nFrom-Path: {} {}\nMessage-ID: TR5uNRjKMWT4\nByte-Range: {}\n\
             Content-Type: application/octet-stream\n\nabcdefgh\n-------{{tid}}#\n",
            link.p.uri,
            link.a.token,
            link.a.uri,
            got.header("Byte-Range").unwrap()
        ),
    );
    let range = got.header("Byte-Range").unwrap();
    assert!(matches!(range, "1-*/4000" | "1-8/4000"), "{range}");
    let answer = link.a.expect_code(200);
    assert_eq!(answer.header("Message-ID"), Some("TR5uNRjKMWT4"));
    link.p.send(response(&got, "200 OK"));
    link.a.silence(QUIET);
}

fn w_12_failure_report_partial() {
    let mut link = Link::inbound(shared());
    let draft = link
        .draft()
        .message_id("a88Wyck0Y2P7")
        .failure_report("partial")
        .content("text/html", b"<p>quiet</p>");
    let got = link.pass(&draft);
    assert_octets(
        &got,
        &format!(
            "MSRP {{tid}} SEND\nTo-Path: {}\nFrom-Path: {} {}\nMessage-ID: a88Wyck0Y2P7\nByte-Range: 1-12/12\n\
             Failure-Report: partial\nContent-Type: text/html\n\n<p>quiet</p>\n-------{{tid}}$\n",
            link.p.uri, link.a.token, link.a.uri
        ),
    );
    link.a.silence(QUIET);
    link.p.send(response(&got, "415 Unsupported media type"));
    assert_lines(
        &link.a.expect(),
        &format!(
            "MSRP {{tid}} REPORT\nTo-Path: {}\nFrom-Path: {}\nMessage-ID: a88Wyck0Y2P7\nByte-Range: 1-12/12\n\
             Status: 000 415 Unsupported media type\n-------{{tid}}$\n",
            link.a.uri, link.a.token
        ),
    );
}

fn w_13_failure_report_no() {
    for status in ["200 OK", "481 No such session"] {
        let mut link = Link::inbound(shared());
        let draft = link
            .draft()
            .message_id("NsVRFNS3Tzrd")
            .failure_report("no")
            .line("Success-Report: no");
        let got = link.pass(&draft.text("Server restarts in 5 minutes"));
        assert_octets(
            &got,
            &format!(
                "MSRP {{tid}} SEND\nTo-Path: {}\nFrom-Path: {} {}\nMessage-ID: NsVRFNS3Tzrd\nByte-Range: 1-28/28\n\
                 Failure-Report: no\nSuccess-Report: no\nContent-Type: text/plain\n\n\
                 Server restarts in 5 minutes\n-------{{tid}}$\n",
                link.p.uri, link.a.token, link.a.uri
            ),
        );
        link.p.send(response(&got, status));
        link.a.silence(QUIET);
    }
}

fn w_14_interval_out_of_bounds() {
    let relay = shared();
    let mut a = Client::tls(relay);
    let challenge = a.challenge();
    for (nc, expires, limit) in [
        (1, "5", "Min-Expires: 60"),
        (2, "604800", "Max-Expires: 86400"),
    ] {
        let authorization = format!("Authorization: {}", a.answer(&challenge, nc).authorization);
        let refusal = a.auth(&[&authorization, &format!("Expires: {expires}")]);
        assert_lines(
            &refusal,
            &format!(
                "MSRP {{tid}} 423 Interval Out-of-Bounds\nTo-Path: {}\nFrom-Path: {}\n{limit}\n-------{{tid}}$\n",
                a.uri,
                relay.uri()
            ),
        );
    }
    // The nonce has suffered from neither.
    let authorization = format!("Authorization: {}", a.answer(&challenge, 3).authorization);
    assert_eq!(a.auth(&[&authorization, "Expires: 60"]).code(), Some(200));
}

fn w_16_invalid_token_and_request_for_somebody_else() {
    let relay = shared();
    let link = Link::inbound(relay);
    let victim = "msrps://victim.peers.example:2855/8TcdFsRAwPomZzdv;tcp";
    let mut mallory = Client::tls(relay);
    let unknown = format!("{}unknown;tcp", link.a.token.strip_suffix(";tcp").unwrap());
    for token in [unknown.as_str(), &link.a.token] {
        let draft = Draft::send(&format!("{token} {victim}"), &mallory.uri)
            .message_id("B21qX2z93pU9")
            .text("relay me");
        mallory.send(draft.octets());
        let refusal = mallory.expect();
        assert_eq!(refusal.tid, draft.tid);
        assert_lines(
            &refusal,
            &format!(
                "MSRP {{tid}} 481 No such session\nTo-Path: {}\nFrom-Path: {token}\nMessage-ID: B21qX2z93pU9\n\
                 -------{{tid}}$\n",
                mallory.uri
            ),
        );
    }
    let elsewhere = "msrps://elsewhere.peers.example:2855/svzKrAGlGfuwFPzg7AKWs2;tcp";
    mallory.send(
        Draft::send(&format!("{elsewhere} {victim}"), &mallory.uri)
            .text("relay me")
            .octets(),
    );
    mallory.closed();
    let names = crate::support::dns::Names::get();
    assert!(
        !names.was_asked("victim.peers.example") && !names.was_asked("elsewhere.peers.example")
    );
}

fn w_17_other_methods_and_their_responses() {
    let relay = shared();
    let mut link = Link::dialled(relay);
    let (a, p, token) = (link.a.uri.clone(), link.p.uri.clone(), link.a.token.clone());
    let draft =
        Draft::request("NICKNAME", &link.to_p, &a).line("Use-Nickname: \"Alice the great\"");
    let got = link.pass(&draft);
    assert_ne!(got.tid, draft.tid);
    assert_octets(
        &got,
        &format!(
            "MSRP {{tid}} NICKNAME\nTo-Path: {p}\nFrom-Path: {token} {a}\nUse-Nickname: \"Alice the great\"\n-------{{tid}}$\n"
        ),
    );
    link.a.silence(QUIET);
    link.p
        .send(response(&got, "425 Nickname reserved or already in use"));
    let answer = link.a.expect();
    assert_eq!(answer.tid, draft.tid);
    assert_octets(
        &answer,
        &format!(
            "MSRP {{tid}} 425 Nickname reserved or already in use\nTo-Path: {a}\nFrom-Path: {token} {p}\n-------{{tid}}$\n"
        ),
    );
    let draft = Draft::request("WIGGLE", &link.to_p, &a).line("X-Strength: 7");
    let got = link.pass(&draft);
    assert_octets(
        &got,
        &format!(
            "MSRP {{tid}} WIGGLE\nTo-Path: {p}\nFrom-Path: {token} {a}\nX-Strength: 7\n-------{{tid}}$\n"
        ),
    );
    link.a.silence(QUIET);

    let peer = Peer::tls();
    let strict = Setup::new()
        .set("relay.block_unknown_methods", true)
        .start();
    let mut link = Link::with_dialled(Client::authenticated(&strict, "alice"), &peer);
    let draft = Draft::request("WIGGLE", &link.to_p, &link.a.uri).line("X-Strength: 7");
    let refusal = link.refused_with(501, &draft.octets());
    assert_eq!(refusal.tid, draft.tid);
    assert_lines(
        &refusal,
        &format!(
            "MSRP {{tid}} 501 Method not supported\nTo-Path: {}\nFrom-Path: {}\n-------{{tid}}$\n",
            link.a.uri, link.a.token
        ),
    );
}

fn w_18_both_parties_on_the_same_relay() {
    let mut link = Link::neighbours(shared());
    let (a, b, ta, tb) = (
        link.a.uri.clone(),
        link.p.uri.clone(),
        link.a.token.clone(),
        link.p.token.clone(),
    );
    let draft = link
        .draft()
        .message_id("6uy6N2gEA3X4")
        .line("Success-Report: yes")
        .text("Hello neighbour");
    link.a.send(draft.octets());
    let answer = link.a.expect();
    assert_eq!(answer.tid, draft.tid);
    assert_lines(
        &answer,
        &format!(
            "MSRP {{tid}} 200 OK\nTo-Path: {a}\nFrom-Path: {ta}\nMessage-ID: 6uy6N2gEA3X4\n-------{{tid}}$\n"
        ),
    );
    let got = link.p.expect();
    assert_octets(
        &got,
        &format!(
            "MSRP {{tid}} SEND\nTo-Path: {b}\nFrom-Path: {tb} {ta} {a}\nMessage-ID: 6uy6N2gEA3X4\n\
             Byte-Range: 1-15/15\nSuccess-Report: yes\nContent-Type: text/plain\n\nHello neighbour\n-------{{tid}}$\n"
        ),
    );
    link.p.send(response(&got, "200 OK"));
    link.p.send(report(&got, "000 200 OK", "1-15/15").octets());
    assert_octets(
        &link.a.expect(),
        &format!(
            "MSRP {{tid}} REPORT\nTo-Path: {a}\nFrom-Path: {ta} {tb} {b}\nMessage-ID: 6uy6N2gEA3X4\n\
             Byte-Range: 1-15/15\nStatus: 000 200 OK\n-------{{tid}}$\n"
        ),
    );
    link.a.silence(QUIET);
    link.p.silence(QUIET);
}

fn w_19_bodiless_send() {
    let relay = shared();
    let mut a = Client::authenticated(relay, "alice");
    let mut p = Client::tls(relay);
    let draft = Draft::send(&format!("{} {}", a.token, a.uri), &p.uri)
        .message_id("SDbOmMFxLueK")
        .range("1-0/0");
    p.send(draft.octets());
    let answer = p.expect();
    assert_eq!(answer.tid, draft.tid);
    assert_lines(
        &answer,
        &format!(
            "MSRP {{tid}} 200 OK\nTo-Path: {}\nFrom-Path: {}\nMessage-ID: SDbOmMFxLueK\n-------{{tid}}$\n",
            p.uri, a.token
        ),
    );
    let got = a.expect();
    assert_octets(
        &got,
        &format!(
            "MSRP {{tid}} SEND\nTo-Path: {}\nFrom-Path: {} {}\nMessage-ID: SDbOmMFxLueK\nByte-Range: 1-0/0\n-------{{tid}}$\n",
            a.uri, a.token, p.uri
        ),
    );
    a.send(response(&got, "200 OK"));
    let own = a.token.clone();
    let draft = Draft::send(&own, &a.uri)
        .message_id("8tT4vWNHwVR4")
        .range("1-0/0")
        .line("Keep-Alive: yes");
    a.send(draft.octets());
    let answer = a.expect();
    assert_eq!(answer.tid, draft.tid);
    assert_lines(
        &answer,
        &format!(
            "MSRP {{tid}} 200 OK\nTo-Path: {}\nFrom-Path: {own}\nMessage-ID: 8tT4vWNHwVR4\n-------{{tid}}$\n",
            a.uri
        ),
    );
    p.silence(QUIET);
}

fn w_20_near_misses_and_a_short_chunk() {
    let mut link = Link::inbound(shared());
    let draft = link
        .draft()
        .tid("pVcQcjaL5mzauZ0Y")
        .message_id("qSlm0IuXHVmW")
        .range("1-*/500")
        .flag('+');
    let body = "-------pVcQcjaL5mzauZ0Yx\r\n------pVcQcjaL5mzauZ0Y$\r\n-------pVcQcjaL5mzauZ0Y\r\n\
                -------BEpwLkdrxjLLDGJb$\r\nlast line ends in CRLF\r\n";
    assert_eq!(body.len(), 126);
    let got = link.pass(&draft.text(body));
    assert_octets(
        &got,
        &format!(
            "MSRP {{tid}} SEND\nTo-Path: {}\nFrom-Path: {} {}\nMessage-ID: qSlm0IuXHVmW\nByte-Range: {}\n\
             Content-Type: text/plain\n\n{}\n-------{{tid}}+\n",
            link.p.uri,
            link.a.token,
            link.a.uri,
            got.header("Byte-Range").unwrap(),
            body.replace("\r\n", "\n")
        ),
    );
    let range = got.header("Byte-Range").unwrap();
    assert!(matches!(range, "1-*/500" | "1-126/500"), "{range}");
    assert_eq!(link.a.expect_code(200).tid, "pVcQcjaL5mzauZ0Y");
    link.p.send(response(&got, "413 Stop"));
    assert_lines(
        &link.a.expect(),
        &format!(
            "MSRP {{tid}} REPORT\nTo-Path: {}\nFrom-Path: {}\nMessage-ID: qSlm0IuXHVmW\nByte-Range: 1-126/500\n\
             Status: 000 413 Stop\n-------{{tid}}$\n",
            link.a.uri, link.a.token
        ),
    );
}
