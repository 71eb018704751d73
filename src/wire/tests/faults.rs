//! Heads that are malformed but framable (SYN-03, 07, 08, 19, 21, 23, 25), and odd ones that are not malformed.

use super::*;

const TO: &str =
    "To-Path: msrps://relay.example.com:2855/TA;tcp msrps://bob.example.org:8145/b;tcp\r\n";
const FROM: &str = "From-Path: msrps://alice.example.com:7654/a;tcp\r\n";
const ID: &str = "Message-ID: 1\r\n";

/// The fault of a SEND with these header lines, and whether it can be answered. SYN-23: the next message on the
/// connection is not disturbed, whether the faulty one has a body or not.
fn fault(headers: impl AsRef<[u8]>) -> (Option<HeadFault>, bool) {
    let start: &[u8] = b"MSRP d93kswow SEND\r\n";
    let next = send_body(b"next", Flag::Complete);
    let bodiless = [start, headers.as_ref(), b"-------d93kswow$\r\n", &next].concat();
    let with_body = [
        start,
        headers.as_ref(),
        b"\r\nb\r\n-------d93kswow+\r\n",
        &next,
    ]
    .concat();
    let [bare, followed] = [bodiless, with_body].map(|stream| {
        let messages = decode([&stream[..]]);
        assert_eq!(messages, decode(stream.chunks(1)));
        assert_eq!(messages.len(), 2);
        assert_eq!(messages[1].body, b"next");
        assert_eq!(messages[1].head.fault(), None);
        let head = &messages[0].head;
        (head.fault(), head.paths_readable())
    });
    assert_eq!(bare, followed);
    bare
}

fn only(fault: HeadFault, readable: bool) -> (Option<HeadFault>, bool) {
    (Some(fault), readable)
}

/// SYN-03
#[test]
fn paths_are_the_first_two_headers_once_each() {
    // With both of them it can be answered, wherever they stand.
    let elsewhere = only(HeadFault::PathMisplaced, true);
    let misplaced = only(HeadFault::PathMisplaced, false);
    assert_eq!(fault([TO, FROM, ID].concat()), (None, true));
    assert_eq!(fault([FROM, TO, ID].concat()), elsewhere);
    assert_eq!(fault([ID, TO, FROM].concat()), elsewhere);
    assert_eq!(fault([TO, ID, FROM].concat()), elsewhere);
    assert_eq!(fault([TO, ID].concat()), misplaced);
    assert_eq!(fault([FROM, ID].concat()), misplaced);
    assert_eq!(fault(ID), misplaced);
    assert_eq!(fault(""), misplaced);
    assert_eq!(
        fault([TO, FROM, ID, TO].concat()),
        only(HeadFault::Repeated(HeaderName::ToPath), false)
    );
    assert_eq!(
        fault([TO, FROM, FROM, ID].concat()),
        only(HeadFault::Repeated(HeaderName::FromPath), false)
    );
}

/// What a connection has seen before changes nothing, though paths that come again are not read again.
#[test]
fn a_head_is_judged_the_same_after_any_other() {
    const LEGAL: &str = "msrps://alice.example.com:7654/a;tcp";
    let paths = [
        LEGAL,
        "",
        " ",
        "msrps://bob.example.org:8145/b;tcp",
        "msrps://alice.example.com:7654/a",
        "http://alice.example.com:7654/a;tcp",
        "msrps://alice.example.com:7654/a;tcp msrps://alice.example.com:7654/a;tcp",
        "msrps://alice.example.com:7654/a;tcp ",
        "alice",
        "msrps://\u{e9}.example.com:7654/a;tcp",
    ];
    let mut heads = Vec::new();
    for start in ["d93kswow SEND", "d93kswow 200 OK", "d93kswow AUTH"] {
        for to in paths {
            for from in paths {
                heads.push(format!(
                    "MSRP {start}\r\nTo-Path: {to}\r\nFrom-Path:{from}\r\n{ID}-------d93kswow$\r\n"
                ));
            }
        }
    }
    for head in &heads {
        let alone = decode_one(head.as_bytes());
        for before in &heads {
            let both = decode([before.as_bytes(), head.as_bytes()]);
            assert_eq!(both[1], alone, "{before}{head}");
        }
    }
}

/// SYN-04
#[test]
fn names_and_words_are_read_in_any_case() {
    let head = head(
        "MSRP abcd SEND\r\nto-path: msrp://r:1/t;tcp msrp://b:1/b;tcp\r\nFROM-PATH: msrp://a:1/a;tcp\r\n\
         MESSAGE-ID: 9x7\r\nfailure-report: NO\r\nSUCCESS-REPORT: Yes\r\nbyte-range: 3-*/9\r\n-------abcd$\r\n",
    );
    assert_eq!(head.fault(), None);
    assert_eq!(head.to_path().len(), 2);
    assert_eq!(head.message_id(), Some(&b"9x7"[..]));
    assert_eq!(head.failure_report(), FailureReport::No);
    assert!(head.success_report());
    assert_eq!(head.byte_range().unwrap().to_string(), "3-*/9");
}

/// RFC 4975 §9 wants exactly one SP after the colon; deployed senders do not always.
#[test]
fn blanks_around_a_value_are_not_part_of_it() {
    let head = head(send_with(
        "Message-ID:m1\r\nByte-Range:  1-*/9\t\r\nFailure-Report: \tno \r\nX-Empty:\r\nX-Blank:  \r\n",
    ));
    assert_eq!(head.fault(), None);
    assert_eq!(head.message_id(), Some(&b"m1"[..]));
    assert_eq!(head.byte_range().unwrap().total, Some(9));
    assert_eq!(head.failure_report(), FailureReport::No);
    assert_eq!(head.header("x-empty"), Some(&b""[..]));
    assert_eq!(head.header("X-Blank"), Some(&b""[..]));
    assert_eq!(head.header("X-Missing"), None);
}

/// SYN-07
#[test]
fn folded_lines_and_lines_without_a_name_are_faults() {
    let with = |line: &str| fault([TO, FROM, ID, line].concat());
    assert_eq!(with(" folded\r\n"), only(HeadFault::LineFolded, true));
    assert_eq!(with("\tX: y\r\n"), only(HeadFault::LineFolded, true));
    assert_eq!(with("no colon\r\n"), only(HeadFault::ColonMissing, true));
    for line in [
        ": v\r\n",
        "X y: v\r\n",
        "X : v\r\n",
        "7: v\r\n",
        "(x): v\r\n",
    ] {
        assert_eq!(with(line), only(HeadFault::NameIllegal, true), "{line}");
    }
    assert_eq!(
        with("-------d93kswowx\r\n"),
        only(HeadFault::ColonMissing, true)
    );
    assert_eq!(
        with("-------d93kswow$: x\r\n"),
        only(HeadFault::NameIllegal, true)
    );
    let folded = [
        "To-Path: msrps://r:1/t;tcp\r\n msrp://b:1/b;tcp\r\n",
        FROM,
        ID,
    ];
    assert_eq!(fault(folded.concat()), only(HeadFault::LineFolded, true));
}

/// SYN-08
#[test]
fn controls_in_a_head_are_faults() {
    for value in [
        "a\nTo-Path: x",
        "a\rb",
        "a\0b",
        "a\x1bb",
        "a\x7fb",
        "a\r\r",
        "\n",
    ] {
        let with = fault([TO, FROM, ID, "Foo: ", value, "\r\n"].concat());
        assert_eq!(with, only(HeadFault::ControlOctet, true), "{value:?}");
    }
    // A path that holds one is not echoed.
    let path = TO.replace("TA", "T\nA");
    assert_eq!(
        fault([&path, FROM, ID].concat()),
        only(HeadFault::ControlOctet, false)
    );
    assert_eq!(
        fault([TO, FROM, ID, "Foo: a\tb\r\n"].concat()),
        (None, true)
    );
}

/// SYN-08
#[test]
fn text_is_utf_8() {
    assert_eq!(
        fault([TO, FROM, ID, "Use-Nickname: \"Åse\"\r\n"].concat()),
        (None, true)
    );
    let latin = [
        TO.as_bytes(),
        FROM.as_bytes(),
        ID.as_bytes(),
        b"X: \xc5se\r\n",
    ];
    assert_eq!(fault(latin.concat()), only(HeadFault::NotUtf8, true));
}

/// SYN-08: the comment of a response too.
#[test]
fn a_comment_with_controls_is_a_fault() {
    for (comment, expected) in [
        ("OK", None),
        ("Ünlucky", None),
        ("O\rK", Some(HeadFault::ControlOctet)),
        ("O\nK", Some(HeadFault::ControlOctet)),
    ] {
        let octets = format!("MSRP abcd 200 {comment}\r\n{TO}{FROM}-------abcd$\r\n");
        assert_eq!(head(octets).fault(), expected, "{comment:?}");
    }
}

/// SYN-19
#[test]
fn a_uri_that_breaks_the_grammar_can_be_answered_unless_the_answer_goes_there() {
    let bare = TO.replace(";tcp", "");
    assert_eq!(
        fault([&bare, FROM, ID].concat()),
        only(HeadFault::UriIllegal(UriError::Transport), true)
    );
    let bare = FROM.replace(";tcp", "");
    assert_eq!(
        fault([TO, &bare, ID].concat()),
        only(HeadFault::UriIllegal(UriError::Transport), false)
    );
}

/// SYN-03: RFC 4975 §9 has one SP, deployed senders have several, or a tab; behind the decoder there is one.
#[test]
fn uris_are_separated_by_blanks() {
    let one = decode_one(&send_with(
        "Message-ID: 1\r\nByte-Range: 1-*/*\r\nX: a  b\r\n",
    ))
    .head;
    for blanks in ["  ", "\t", " \t ", "          "] {
        let octets = send_with("Message-ID: 1\r\nByte-Range: 1-*/*\r\nX: a  b\r\n");
        let octets = String::from_utf8(octets).unwrap();
        let spaced = octets
            .replace("tcp msrps", &format!("tcp{blanks}msrps"))
            .replace("To-Path: ", &format!("To-Path:{blanks}"))
            .replace(
                "a;tcp\r\n",
                &format!("a;tcp{blanks}msrps://b.invalid:1/b;tcp{blanks}\r\n"),
            );
        let from = "msrps://alice.example.com:7654/a;tcp msrps://b.invalid:1/b;tcp";
        for size in [1, 13, spaced.len()] {
            let head = decode(spaced.as_bytes().chunks(size)).remove(0).head;
            assert_eq!(head.fault(), None, "{blanks:?}");
            assert_eq!(head.to_path(), one.to_path());
            assert_eq!(head.from_path().text(), from.as_bytes());
            assert_eq!(head.message_id(), Some(&b"1"[..]));
            assert_eq!(head.header("X"), Some(&b"a  b"[..]));
            let mut out = Vec::new();
            let tid = TransactId::from_random([7; 13]);
            Template::forwarded(&head, 1).encode(&mut out, &tid, head.byte_range());
            let out = String::from_utf8(out).unwrap();
            let paths = format!(
                "To-Path: msrps://bob.example.org:8145/b;tcp\r\n\
                 From-Path: msrps://relay.example.com:2855/TA;tcp {from}\r\n\
                 Message-ID: 1\r\nByte-Range: 1-*/*\r\nX: a  b\r\n"
            );
            assert!(out.ends_with(&paths), "{out}");
        }
    }
}

/// SYN-03: a path that holds no URI, or something else, is none.
#[test]
fn paths_hold_uris_and_nothing_else() {
    let illegal = only(HeadFault::PathIllegal(HeaderName::ToPath), false);
    for to in [
        "To-Path:\r\n".to_owned(),
        "To-Path: \r\n".to_owned(),
        TO.replace("bob", "b\u{f6}b"),
    ] {
        assert_eq!(fault([&to, FROM, ID].concat()), illegal, "{to}");
    }
    assert_eq!(
        fault([&TO.replace("tcp msrps", "tcp,msrps"), FROM, ID].concat()),
        only(HeadFault::UriIllegal(UriError::Transport), true)
    );
}

/// SYN-21
#[test]
fn single_valued_headers_occur_once() {
    for (name, value) in [
        (HeaderName::SuccessReport, "yes"),
        (HeaderName::FailureReport, "yes"),
        (HeaderName::ByteRange, "1-*/*"),
        (HeaderName::Status, "000 200 OK"),
        (HeaderName::Expires, "60"),
        (HeaderName::UsePath, "msrps://r:1/t;tcp"),
        (HeaderName::Authorization, "Digest x=y"),
        (HeaderName::ContentType, "text/plain"),
        (HeaderName::ContentId, "<a@b>"),
    ] {
        let line = format!("{}: {value}\r\n", name.canonical().unwrap());
        let again = line.to_uppercase();
        let once = [TO, FROM, ID, &line].concat();
        assert_eq!(fault(&once), (None, true), "{name}");
        assert_eq!(
            fault(once + &again.replace("000 200 OK", "000 408")),
            only(HeadFault::Repeated(name), true)
        );
    }
    assert_eq!(
        fault([TO, FROM, ID, ID].concat()),
        only(HeadFault::Repeated(HeaderName::MessageId), true)
    );
    let repeatable = "WWW-Authenticate: Digest a=b\r\nX: 1\r\nContent-Foo: 1\r\n";
    assert_eq!(
        fault([TO, FROM, ID, repeatable, repeatable].concat()),
        (None, true)
    );
}

/// SYN-21, CHK-22
#[test]
fn known_headers_must_parse() {
    for (name, value) in [
        (HeaderName::SuccessReport, "partial"),
        (HeaderName::FailureReport, "maybe"),
        (HeaderName::FailureReport, ""),
        (HeaderName::ByteRange, "0-1/2"),
        (HeaderName::ByteRange, "1-*/999999999999999999999999999999"),
        (HeaderName::ByteRange, "one-two/three"),
        (HeaderName::Status, "200 OK"),
        (HeaderName::Expires, "soon"),
        (HeaderName::Expires, ""),
        (HeaderName::MinExpires, "-1"),
    ] {
        let line = format!("{}: {value}\r\n", name.canonical().unwrap());
        assert_eq!(
            fault([TO, FROM, ID, &line].concat()),
            only(HeadFault::ValueIllegal(name), true),
            "{line}"
        );
    }
    assert_eq!(
        fault([TO, FROM, "Message-ID: \r\n"].concat()),
        only(HeadFault::ValueIllegal(HeaderName::MessageId), true)
    );
}

/// SYN-21
#[test]
fn a_send_needs_a_message_id_and_other_methods_do_not() {
    assert_eq!(
        fault([TO, FROM].concat()),
        only(HeadFault::MessageIdMissing, true)
    );
    for method in ["AUTH", "REPORT", "NICKNAME", "WIGGLE"] {
        let octets = format!("MSRP abcd {method}\r\n{TO}{FROM}-------abcd$\r\n");
        assert_eq!(head(octets).fault(), None, "{method}");
    }
    // Its text is opaque.
    for id in ["x", "a b", "ö", "-;-", &"x".repeat(5000)] {
        let line = format!("Message-ID: {id}\r\n");
        assert_eq!(fault([TO, FROM, &line].concat()), (None, true));
    }
}

#[test]
fn an_expires_beyond_measure_is_the_largest_number() {
    let expires = |text: &str| {
        let line = format!("Message-ID: 1\r\nExpires: {text}\r\n");
        head(send_with(&line)).expires()
    };
    assert_eq!(expires("3600"), Some(3600));
    assert_eq!(expires("4294967295"), Some(u32::MAX));
    assert_eq!(expires("4294967296"), Some(u32::MAX));
    assert_eq!(expires("99999999999999999999999999"), Some(u32::MAX));
}

/// SYN-25
#[test]
fn header_lines_and_uris_have_a_limit() {
    let lines = |count: usize| [TO, FROM, ID, &"X: y\r\n".repeat(count - 3)].concat();
    assert_eq!(fault(lines(64)), (None, true));
    assert_eq!(fault(lines(128)), (None, true));
    assert_eq!(fault(lines(129)), only(HeadFault::TooManyHeaders, true));

    let uris = |count: usize| {
        let uris = vec!["msrps://relay.example.com:2855/TA;tcp"; count];
        [&format!("To-Path: {}\r\n", uris.join(" ")), FROM, ID].concat()
    };
    assert_eq!(fault(uris(16)), (None, true));
    assert_eq!(fault(uris(32)), (None, true));
    assert_eq!(fault(uris(33)), only(HeadFault::TooManyUris, true));
}

/// The first thing in reading order is the one named.
#[test]
fn the_first_fault_is_named() {
    assert_eq!(
        fault([TO, FROM, "nonsense\r\nByte-Range: x\r\n"].concat()),
        only(HeadFault::ColonMissing, true)
    );
}
