use super::*;

const TO: &str = "msrps://relay.example.com:2855/tok;tcp msrps://bob.example.org:1/b;tcp";
const FROM: &str = "msrps://alice.example.com:2/a;tcp";

fn said(text: &str) -> String {
    explanation(text.replace('\n', "\r\n").into_bytes()).text
}

/// A SEND whose headers after the paths, and what follows them, are these.
fn send(rest: &str) -> String {
    format!("MSRP tid1x SEND\nTo-Path: {TO}\nFrom-Path: {FROM}\n{rest}")
}

#[track_caller]
fn says(octets: &str, wanted: &[&str]) {
    let said = said(octets);
    for wanted in wanted {
        assert!(said.contains(wanted), "wanted {wanted:?} in\n{said}");
    }
}

#[test]
fn a_good_message_is_good() {
    let good =
        send("Message-ID: m1\nByte-Range: 1-2/2\nContent-Type: text/plain\n\nhi\n-------tid1x$\n");
    says(
        &good,
        &[
            "1. at octet 0: SEND tid1x, body of 2 octets, ends $",
            "    To-Path: msrps://relay.example.com:2855/tok;tcp",
            "  good",
            "messages: 1, wrong: 0, odd: 0",
        ],
    );
    let answer = format!(
        "MSRP tid1x 200 OK\nTo-Path: {FROM}\nFrom-Path: {}\n-------tid1x$\n",
        TO.split(' ').next().unwrap()
    );
    says(
        &(good.clone() + &answer),
        &["2. at octet", "messages: 2, wrong: 0, odd: 0"],
    );
    let swapped = answer.replacen(
        "From-Path: msrps://relay.example.com:2855/tok;tcp",
        &format!("From-Path: {FROM}"),
        1,
    );
    says(
        &(good + &swapped),
        &[
            "odd: From-Path of the response is not the first To-Path URI",
            "odd: 1",
        ],
    );
}

#[test]
fn what_is_wrong_with_a_head_has_its_section() {
    for (rest, wanted) in [
        (
            "-------tid1x$\n",
            "SEND has no Message-ID; refused with 400 [RFC 4975 §7.1.1]",
        ),
        (
            "Message-ID: m1\nByte-Range: 1-x/2\n-------tid1x$\n",
            "Byte-Range does not parse; refused with 400 [RFC 4975 §7.1.1, §9]",
        ),
        (
            "Message-ID: m1\nMessage-ID: m2\n-------tid1x$\n",
            "Message-ID is repeated; refused with 400",
        ),
        (
            "Message-ID: m1\n folded\n-------tid1x$\n",
            "header line is folded",
        ),
    ] {
        says(
            &send(rest),
            &[&format!("  wrong: {wanted}"), "wrong: 1, odd: 0"],
        );
    }
    let no_transport = send("Message-ID: m1\n-------tid1x$\n").replacen("/b;tcp", "/b", 1);
    says(
        &no_transport,
        &[
            "wrong: URI in a path: transport is missing or illegal",
            "[RFC 4975 §6, §9]",
        ],
    );
    let no_port = send("Message-ID: m1\n-------tid1x$\n").replacen(
        "bob.example.org:1/",
        "bob.example.org/",
        1,
    );
    says(
        &no_port,
        &["has no port: only in AUTH a name is looked up [RFC 4976 §8]"],
    );
}

#[test]
fn what_is_let_pass_is_odd() {
    for (rest, wanted) in [
        (
            "Message-ID: m1\nByte-Range: 1-25/25\nContent-Type: text/plain\n\nhi\n-------tid1x$\n",
            "Byte-Range says 1-25/25, and the body has 2 octets; octets count, a short one leaves as 1-2/2 [RFC 4975 §7.1.1]",
        ),
        (
            "Message-ID: m1\nByte-Range: 1-2/9\nContent-Type: text/plain\n\nhi\n-------tid1x$\n",
            "Byte-Range says 1-2/9, and the chunk ends at octet 2",
        ),
        (
            "Message-ID: m1\nContent-Type: text/plain\n\nhi\n-------tid1x$\n",
            "a SEND with a body should have a Byte-Range",
        ),
        (
            "Message-ID: m1\nByte-Range: 1-2/2\n\nhi\n-------tid1x$\n",
            "a body has a Content-Type [RFC 4975 §7.1]",
        ),
    ] {
        says(&send(rest), &[&format!("  odd: {wanted}")]);
    }
    let large = format!(
        "Message-ID: m1\nByte-Range: 1-3000/3000\nContent-Type: text/plain\n\n{}\n-------tid1x$\n",
        "x".repeat(3000)
    );
    says(
        &send(&large),
        &["odd: a chunk of more than 2048 octets has *"],
    );
    let uuid = "0f8fad5b-d9cb-469f-a165-70867728950e";
    let long = send("Message-ID: m1\n-------tid1x$\n").replace("tid1x", uuid);
    says(
        &long,
        &["odd: the transact-id has 36 characters", "wrong: 0"],
    );
}

#[test]
fn an_auth_is_read_to_its_credentials_and_keeps_its_digest_to_itself() {
    let auth = |authorization: &str| {
        format!(
            "MSRP tid1x AUTH\nTo-Path: msrps://relay.example.com;tcp\nFrom-Path: {FROM}\n{authorization}-------tid1x$\n"
        )
    };
    says(&auth(""), &["AUTH tid1x, no body", "  good"]);
    let digest = "0123456789abcdef0123456789abcdef";
    let good = format!(
        "Authorization: Digest username=\"a\", realm=\"r\", nonce=\"n\", qop=auth, nc=00000001, cnonce=\"c\", response=\"{digest}\"\n"
    );
    let text = said(&auth(&good));
    assert!(
        text.contains("  good") && text.contains("response=(left out)"),
        "{text}"
    );
    assert!(!text.contains(digest), "{text}");
    says(
        &auth(&good.replace("cnonce=\"c\", ", "")),
        &[
            "wrong: Authorization lacks one of username",
            "[RFC 4976 §9.1",
        ],
    );
    says(
        &auth("Authorization: Basic YTpi\n"),
        &["wrong: Authorization is not Digest"],
    );
    says(
        &auth(&good.replace("nc=", "uri=\"msrps://other.example.com;tcp\", nc=")),
        &["is not the rightmost To-Path URI"],
    );
}

#[test]
fn where_framing_is_lost_it_says_where_and_goes_on() {
    let good = send("Message-ID: m1\n-------tid1x$\n");
    let lost = format!("{good}GET / HTTP/1.1\nHost: x\n\n{good}");
    let at = good.replace('\n', "\r\n").len();
    says(
        &lost,
        &[
            &format!("2. at octet {at}: framing lost"),
            "    GET / HTTP/1.1\\r\\nHost: x\\r\\n",
            "wrong: message begins with \"G",
            "Going on at octet",
            "3. at octet",
            "messages: 3, wrong: 1, odd: 0",
        ],
    );
    let tid = send("Message-ID: m1\n-------ti$\n").replace("tid1x", "ti");
    says(
        &(good.clone() + &tid),
        &[
            &format!("2. at octet {at}: framing lost"),
            "transact-id \"ti\" is illegal",
            "[RFC 4975 §7.1, §9]",
        ],
    );
}

#[test]
fn a_capture_that_is_cut_off_says_what_is_missing() {
    let whole = send("Message-ID: m1\nContent-Type: text/plain\n\nhi\n-------tid1x$\n");
    says(
        &whole[..whole.len() - 5],
        &[
            "SEND tid1x, cut off",
            "no line of 7 hyphens, tid1x and $, + or # follows",
        ],
    );
    says(
        &whole[..30],
        &["1. at octet 0: a message, cut off", "its head does not end"],
    );
    says("", &["messages: 0, wrong: 0"]);
}

#[test]
fn what_an_editor_saved_is_read_too() {
    let text = explanation(send("Message-ID: m1\n-------tid1x$\n").into_bytes()).text;
    assert!(text.starts_with("All lines end with LF alone"), "{text}");
    assert!(text.contains("  good"), "{text}");
}

/// However wild, it ends, and says what it did not like.
#[test]
fn noise_is_no_reason_to_panic() {
    let mut state = 1_u32;
    let good =
        send("Message-ID: m1\nByte-Range: 1-2/2\nContent-Type: text/plain\n\nhi\n-------tid1x$\n");
    for _ in 0..2000 {
        let mut octets = good.repeat(3).replace('\n', "\r\n").into_bytes();
        for _ in 0..4 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = (state >> 8) as usize % octets.len();
            octets[at] = (state >> 24) as u8;
        }
        assert!(explanation(octets).text.contains("messages: "));
    }
}
