//! Heads of requests as they leave (SYN-04, SYN-06, SYN-12, SYN-15, URI-02, CHK-11, CHK-16).

use super::*;

const TID: &str = "aaaaaaaaaaaaaaaaaaaa";

fn tid() -> TransactId {
    TransactId::from_random([0; 13])
}

fn encoded(template: &Template, range: Option<ByteRange>) -> String {
    let mut out = Vec::new();
    template.encode(&mut out, &tid(), range);
    String::from_utf8(out).unwrap()
}

/// What a SEND with these headers leaves as, after its paths.
fn forwarded(headers: &str) -> String {
    let head = head(send_with(headers));
    assert_eq!(head.fault(), None);
    let text = encoded(&Template::forwarded(&head, 1), head.byte_range());
    let paths = format!(
        "MSRP {TID} SEND\r\nTo-Path: msrps://bob.example.org:8145/b;tcp\r\nFrom-Path: \
         msrps://relay.example.com:2855/TA;tcp msrps://alice.example.com:7654/a;tcp\r\n"
    );
    text.strip_prefix(&paths).unwrap().to_owned()
}

/// SYN-06
#[test]
fn what_is_in_our_form_leaves_as_it_came() {
    for headers in [
        "Message-ID: 1\r\n",
        "Message-ID: 1\r\nByte-Range: 1-*/9\r\n",
        "Byte-Range: 1-*/9\r\nMessage-ID: 1\r\n",
        "X-A: 1\r\nMessage-ID: 1\r\nx-b:   2  \r\nByte-Range: 1-2/3\r\nKeep-Alive: yes\r\n",
        "Message-ID: 1\r\nContent-ID: <a>\r\nContent-Disposition: render; a=\"b\"\r\nContent-Type: text/plain\r\n\r\n\r\n",
        "Message-ID: 1\r\nUse-Nickname: \"Åse\"\r\nX:\r\n",
    ] {
        let expected = headers.strip_suffix("\r\n\r\n\r\n").map_or_else(
            || headers.to_owned(),
            |headers| format!("{headers}\r\n\r\n"),
        );
        assert_eq!(forwarded(headers), expected);
    }
}

/// SYN-04
#[test]
fn known_names_leave_in_the_case_of_the_rfc_and_unknown_ones_as_they_came() {
    assert_eq!(
        forwarded(
            "MESSAGE-id:1\r\nkeep-alive:yes\r\nbyte-range: 1-2/3\r\nfailure-report:  NO \r\n"
        ),
        "Message-ID: 1\r\nkeep-alive:yes\r\nByte-Range: 1-2/3\r\nFailure-Report: NO\r\n"
    );
}

/// SYN-06, SYN-15
#[test]
fn extension_headers_go_before_mime_headers_and_content_type_is_last() {
    assert_eq!(
        forwarded(
            "Content-Type: text/plain\r\nX-A: 1\r\nContent-ID: <a>\r\nMessage-ID: 1\r\nContent-Foo: 2\r\nX-B: 2\r\n\r\n\r\n"
        ),
        "X-A: 1\r\nMessage-ID: 1\r\nX-B: 2\r\nContent-ID: <a>\r\nContent-Foo: 2\r\nContent-Type: text/plain\r\n\r\n"
    );
    assert_eq!(
        forwarded("Content-Type: text/plain\r\nContent-ID: <a>\r\nMessage-ID: 1\r\n"),
        "Message-ID: 1\r\nContent-ID: <a>\r\nContent-Type: text/plain\r\n"
    );
}

/// CHK-17
#[test]
fn a_byte_range_that_did_not_come_goes_after_the_message_id() {
    let range = ByteRange::parse(b"1-*/*");
    for headers in [
        "X-A: 1\r\nMessage-ID: 1\r\nX-B: 2\r\n",
        "x-a: 1\r\nmessage-id: 1\r\nX-B: 2\r\n",
    ] {
        let template = Template::forwarded(&head(send_with(headers)), 1);
        assert!(
            encoded(&template, range)
                .ends_with("1\r\nMessage-ID: 1\r\nByte-Range: 1-*/*\r\nX-B: 2\r\n")
        );
        assert!(encoded(&template, None).ends_with("1\r\nMessage-ID: 1\r\nX-B: 2\r\n"));
    }
}

/// CHK-09
#[test]
fn the_byte_range_of_a_piece_stands_where_the_chunks_stood() {
    let template = Template::forwarded(
        &head(send_with(
            "X-A: 1\r\nByte-Range: 1-2/3\r\nX-B: 2\r\nMessage-ID: 1\r\n",
        )),
        1,
    );
    assert_eq!(template.total(), Some(3));
    let text = encoded(&template, ByteRange::parse(b"2-*/3"));
    assert!(text.ends_with("X-A: 1\r\nByte-Range: 2-*/3\r\nX-B: 2\r\nMessage-ID: 1\r\n"));
    assert_eq!(template.message_id(), b"1");
}

/// SYN-12, SYN-13
#[test]
fn the_blank_line_leaves_if_it_came() {
    let bodiless = Template::forwarded(&head(send_with("Message-ID: 1\r\n")), 1);
    assert!(!encoded(&bodiless, None).ends_with("\r\n\r\n"));
    let empty = Template::forwarded(&head(send_with("Message-ID: 1\r\n\r\n\r\n")), 1);
    assert!(encoded(&empty, None).ends_with("\r\n\r\n"));
    assert!(!empty.same_message(&bodiless));
}

/// URI-02, URI-11, SYN-20
#[test]
fn paths_move_one_uri_at_a_time_with_their_text() {
    let octets = "MSRP abcd SEND\r\n\
        to-path:  MSRPS://R/1;TCP msrps://bob@%72:2/x;ws;k=v msrp://[0::1]:3/3;tcp \r\n\
        From-Path: msrps://x.invalid/q;ws msrp://a:9/a;dc\r\nMessage-ID: 1\r\n-------abcd$\r\n";
    let head = head(octets);
    assert_eq!(head.fault(), None);
    for (hops, to, own, next) in [
        (
            0,
            "MSRPS://R/1;TCP msrps://bob@%72:2/x;ws;k=v msrp://[0::1]:3/3;tcp",
            "",
            "MSRPS://R/1;TCP",
        ),
        (
            1,
            "msrps://bob@%72:2/x;ws;k=v msrp://[0::1]:3/3;tcp",
            "MSRPS://R/1;TCP",
            "msrps://bob@%72:2/x;ws;k=v",
        ),
        (
            2,
            "msrp://[0::1]:3/3;tcp",
            "msrps://bob@%72:2/x;ws;k=v MSRPS://R/1;TCP",
            "msrp://[0::1]:3/3;tcp",
        ),
        // The last one stays whatever is asked for.
        (
            9,
            "msrp://[0::1]:3/3;tcp",
            "msrps://bob@%72:2/x;ws;k=v MSRPS://R/1;TCP",
            "msrp://[0::1]:3/3;tcp",
        ),
    ] {
        let template = Template::forwarded(&head, hops);
        let incoming = "msrps://x.invalid/q;ws msrp://a:9/a;dc";
        let from = format!("{own} {incoming}");
        assert_eq!(template.to_path().text(), to.as_bytes());
        assert_eq!(template.from_path().text(), from.trim_start().as_bytes());
        assert_eq!(template.own_uris(), own.as_bytes());
        assert_eq!(template.incoming_from_path(), incoming.as_bytes());
        assert_eq!(template.next_uri(), next.as_bytes());
        assert_eq!(
            encoded(&template, None),
            format!(
                "MSRP {TID} SEND\r\nTo-Path: {to}\r\nFrom-Path: {}\r\nMessage-ID: 1\r\n",
                from.trim_start()
            )
        );
    }
}

/// CHK-11
#[test]
fn pieces_may_be_merged_if_all_but_start_and_end_of_the_byte_range_is_equal() {
    let template = |headers: &str| Template::forwarded(&head(send_with(headers)), 1);
    let first = template("Message-ID: 1\r\nByte-Range: 1-5/9\r\nX: y\r\n");
    for (headers, same) in [
        ("Message-ID: 1\r\nByte-Range: 6-*/9\r\nX: y\r\n", true),
        ("message-id: 1\r\nX: y\r\nByte-Range: 6-*/9\r\n", true),
        ("Message-ID: 1\r\nByte-Range: 6-*/10\r\nX: y\r\n", false),
        ("Message-ID: 2\r\nByte-Range: 6-*/9\r\nX: y\r\n", false),
        ("Message-ID: 1\r\nByte-Range: 6-*/9\r\nX: z\r\n", false),
        ("Message-ID: 1\r\nByte-Range: 6-*/9\r\n", false),
        (
            "Message-ID: 1\r\nByte-Range: 6-*/9\r\nFailure-Report: yes\r\nX: y\r\n",
            false,
        ),
    ] {
        assert_eq!(first.same_message(&template(headers)), same, "{headers}");
    }
    let other_path = String::from_utf8(send_with("Message-ID: 1\r\nByte-Range: 6-*/9\r\nX: y\r\n"))
        .unwrap()
        .replace("/TA", "/TC");
    assert!(!first.same_message(&Template::forwarded(&head(other_path), 1)));
}

/// URI-11, RPT-07
#[test]
fn a_report_for_two_own_uris_has_gone_the_way_back_through_both() {
    let send = head(example("W-18")[0]);
    let template = Template::forwarded(&send, 2);
    let mut out = Vec::new();
    let range = send.byte_range().unwrap();
    encode_report(&mut out, &tid(), &template, range, 408, None);
    let report = head(&out);
    assert_eq!(report.fault(), None);
    assert_eq!(report.to_path(), send.from_path());
    let (own, _) = send.to_path().split(2);
    assert_eq!(report.from_path(), own);
    assert_eq!(report.status().unwrap().comment, None);
    assert!(
        String::from_utf8(out)
            .unwrap()
            .contains("Status: 000 408\r\n")
    );
}

/// SEC-09
#[test]
fn text_of_others_cannot_end_a_line() {
    let mut out = Vec::new();
    encode_response(
        &mut out,
        b"abcd",
        400,
        "no\r\nTo-Path: x",
        b"msrp://a:1/a;tcp",
        b"msrps://r:1/t;tcp",
        &[("X", b"y\r\n\0-------abcd$\r\nz\t\xc3\xa5")],
    );
    let response = head(&out);
    assert_eq!(response.fault(), None);
    assert_eq!(response.comment(), Some(&b"noTo-Path: x"[..]));
    assert_eq!(
        response.header("x"),
        Some("y-------abcd$z\t\u{e5}".as_bytes())
    );
}

/// SYN-01
#[test]
fn an_empty_comment_leaves_no_space() {
    let mut out = Vec::new();
    encode_response(&mut out, b"abcd", 200, "", b"a", b"b", &[]);
    assert_eq!(
        out,
        b"MSRP abcd 200\r\nTo-Path: a\r\nFrom-Path: b\r\n-------abcd$\r\n"
    );
}

#[test]
fn a_template_holds_no_more_than_it_needs() {
    let head = head(example("W-05")[0]);
    let template = Template::forwarded(&head, 1);
    assert!(template.len() < head.octets());
    assert!(size_of::<Template>() <= 40, "{}", size_of::<Template>());
}
