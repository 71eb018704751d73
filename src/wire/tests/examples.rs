//! Every message of the wire examples decodes, and the relay's own ones come out of the encoders octet by octet.

use super::*;

/// Our transact-ids have another form than those of the examples: the example with ours in place of its own.
fn with_tid(octets: &[u8], tid: &TransactId) -> String {
    let text = String::from_utf8(octets.to_vec()).unwrap();
    let theirs = text[5..].split(' ').next().unwrap().to_owned();
    text.replace(&theirs, str::from_utf8(tid.as_bytes()).unwrap())
}

fn text(octets: Vec<u8>) -> String {
    String::from_utf8(octets).unwrap()
}

/// SYN-01, SYN-05, SYN-24
#[test]
fn every_message_decodes_without_fault_and_can_be_answered() {
    let mut count = 0;
    for (name, octets) in EXAMPLES {
        let messages = decode([*octets]);
        assert_eq!(messages.len(), example(name).len(), "{name}");
        for message in &messages {
            assert_eq!(message.head.fault(), None, "{name}");
            assert!(message.head.paths_readable(), "{name}");
        }
        count += messages.len();
    }
    assert_eq!(count, 108);
}

/// FWD-06, URI-02, URI-11, SYN-12, FNS-01, RPT-12: pairs of a message and what the relay makes of it.
#[test]
fn forwarded_requests_are_reproduced_octet_by_octet() {
    let tid = TransactId::from_random(*b"thirteen bits");
    for (name, incoming, outgoing, hops) in [
        ("W-04", 0, 1, 1),
        ("W-04", 4, 5, 1),
        ("W-05", 0, 2, 1),
        ("W-05", 4, 5, 1),
        ("W-06", 0, 2, 1),
        ("W-06", 2, 4, 1),
        ("W-06", 6, 7, 1),
        ("W-06", 7, 8, 1),
        ("W-07", 0, 2, 1),
        ("W-08", 0, 2, 1),
        ("W-08", 2, 4, 1),
        ("W-08", 6, 7, 1),
        ("W-09", 0, 2, 1),
        ("W-11", 0, 2, 1),
        ("W-12", 0, 1, 1),
        ("W-13", 0, 1, 1),
        ("W-17", 0, 1, 1),
        ("W-17", 4, 5, 1),
        ("W-18", 0, 2, 2),
        ("W-18", 4, 5, 2),
        ("W-19", 0, 2, 1),
        ("W-20", 0, 2, 1),
    ] {
        let messages = example(name);
        let message = decode_one(messages[incoming]);
        let template = Template::forwarded(&message.head, hops);
        let mut out = Vec::new();
        template.encode(&mut out, &tid, message.head.byte_range());
        out.extend_from_slice(&message.body);
        encode_end(
            &mut out,
            tid.as_bytes(),
            message.flag,
            template.has_blank_line(),
        );
        assert_eq!(
            text(out),
            with_tid(messages[outgoing], &tid),
            "{name} message {outgoing}"
        );
    }
}

/// CHK-04, CHK-08
#[test]
fn the_pieces_of_an_interrupted_chunk_are_reproduced() {
    let messages = example("W-10");
    let message = decode_one(messages[0]);
    let template = Template::forwarded(&message.head, 1);
    for (outgoing, start, body, flag) in [
        (2, 1, &message.body[..13], Flag::More),
        (4, 14, &message.body[13..], Flag::Complete),
    ] {
        let tid = TransactId::from_random([start as u8; 13]);
        let range = ByteRange {
            start,
            end: None,
            total: template.total(),
        };
        let mut out = Vec::new();
        template.encode(&mut out, &tid, Some(range));
        out.extend_from_slice(body);
        encode_end(&mut out, tid.as_bytes(), flag, true);
        assert_eq!(text(out), with_tid(messages[outgoing], &tid));
    }
}

/// RSP-01, RSP-02, RSP-03: responses of the relay, by the headers that they have.
#[test]
fn responses_of_the_relay_are_reproduced_octet_by_octet() {
    for (name, request, response) in [
        ("W-01", 0, 1),
        ("W-01", 2, 3),
        ("W-02", 0, 1),
        ("W-02", 2, 3),
        ("W-03", 0, 1),
        ("W-03", 2, 3),
        ("W-05", 0, 1),
        ("W-06", 0, 1),
        ("W-06", 2, 3),
        ("W-07", 0, 1),
        ("W-08", 2, 3),
        ("W-14", 0, 1),
        ("W-14", 2, 3),
        ("W-15", 0, 1),
        ("W-15", 2, 3),
        ("W-16", 0, 1),
        ("W-16", 2, 3),
        ("W-17", 4, 6),
        ("W-18", 0, 1),
        ("W-19", 0, 1),
        ("W-19", 4, 5),
        ("W-20", 0, 1),
    ] {
        let messages = example(name);
        let request = head(messages[request]);
        let expected = head(messages[response]);
        let Kind::Response { code } = expected.kind() else {
            panic!("{name} message {response} is no response");
        };
        let headers: Vec<_> = expected.headers().skip(2).collect();
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (str::from_utf8(name).unwrap(), *value))
            .collect();
        let mut out = Vec::new();
        encode_response(
            &mut out,
            request.transact_id(),
            code,
            expected.comment().unwrap(),
            request.from_path().first().unwrap(),
            request.to_path().first().unwrap(),
            &headers,
        );
        assert_eq!(
            text(out),
            text(messages[response].to_vec()),
            "{name} message {response}"
        );
    }
}

/// RPT-07..10, RSP-09: the SEND, the failure, and the REPORT that the relay makes of them.
#[test]
fn reports_of_the_relay_are_reproduced_octet_by_octet() {
    let tid = TransactId::from_random([7; 13]);
    for (name, send, failure, report) in [
        ("W-07", 0, Some(3), 4),
        ("W-07", 0, Some(5), 6),
        ("W-08", 2, Some(5), 6),
        ("W-09", 0, None, 3),
        ("W-12", 0, Some(2), 3),
        ("W-20", 0, Some(3), 4),
    ] {
        let messages = example(name);
        let send = decode_one(messages[send]);
        let failure = failure.map(|at: usize| head(messages[at]));
        let (code, comment) = match &failure {
            None => (408, Some(&b"Timeout"[..])),
            Some(failure) => match failure.kind() {
                Kind::Response { code } => (code, failure.comment()),
                Kind::Request(_) => panic!("{name}: the failure is no response"),
            },
        };
        let template = Template::forwarded(&send.head, 1);
        // CHK-10: what was sent counts.
        let range = ByteRange {
            start: 1,
            end: Some(send.body.len() as u64),
            total: template.total(),
        };
        let mut out = Vec::new();
        encode_report(&mut out, &tid, &template, range, code, comment);
        assert_eq!(
            text(out),
            with_tid(messages[report], &tid),
            "{name} message {report}"
        );
    }
}

/// RSP-05
#[test]
fn responses_passed_on_are_reproduced_octet_by_octet() {
    for (name, request, incoming, outgoing) in
        [("W-04", 0, 2, 3), ("W-04", 4, 6, 7), ("W-17", 0, 2, 3)]
    {
        let messages = example(name);
        let request = head(messages[request]);
        let mut out = Vec::new();
        let response = head(messages[incoming]);
        let tid = request.transact_id();
        assert!(response_forwarded(
            &response,
            &WayBack::of(&response, 1),
            tid,
            &mut out
        ));
        assert_eq!(
            text(out),
            text(messages[outgoing].to_vec()),
            "{name} message {outgoing}"
        );
    }
}

/// RSP-11
#[test]
fn a_response_whose_to_path_names_only_us_is_passed_on_to_the_path_given() {
    let messages = example("W-04");
    let request = head(messages[0]);
    let response = text(messages[2].to_vec()).replacen(
        " msrps://alice-pc.example.com:7654/oNcM1GIbSoGt2MLk;tcp",
        "",
        1,
    );
    let response = head(response);
    let mut out = Vec::new();
    let tid = request.transact_id();
    let way = WayBack::of(&response, 1);
    assert!(!response_forwarded(&response, &way, tid, &mut out));
    assert!(out.is_empty());
    let way = WayBack {
        to_path: request.from_path(),
        ..way
    };
    assert!(response_forwarded(&response, &way, tid, &mut out));
    assert_eq!(text(out), text(messages[3].to_vec()));
}

/// RSP-05, URI-11: the way back of a request that took two of our URIs in one go.
#[test]
fn a_response_moves_past_two_own_uris_at_once() {
    let report = head(example("W-18")[4]);
    let path = str::from_utf8(report.to_path().text()).unwrap();
    let octets = format!(
        "MSRP abcd 200 OK\r\nTo-Path: {path}\r\nFrom-Path: msrp://c:1/c;tcp\r\n-------abcd$\r\n"
    );
    let mut out = Vec::new();
    let came = head(octets);
    assert!(response_forwarded(
        &came,
        &WayBack::of(&came, 2),
        b"efgh",
        &mut out
    ));
    let response = head(&out);
    assert_eq!(response.transact_id(), b"efgh");
    assert_eq!(response.to_path().len(), 1);
    let from: Vec<_> = response.from_path().uris().collect();
    let to: Vec<_> = report.to_path().uris().collect();
    assert_eq!(from, [to[1], to[0], b"msrp://c:1/c;tcp"]);
}

#[test]
fn heads_of_the_examples_say_what_is_written_in_them() {
    let report = head(example("W-05")[4]);
    assert_eq!(report.kind(), Kind::Request(Method::Report));
    assert_eq!(report.transact_id(), b"kKYX2O8Xqtdz7yjw");
    assert_eq!(report.message_id(), Some(&b"2WGlxLWo1C6R"[..]));
    assert_eq!(report.byte_range().unwrap().to_string(), "1-22/22");
    let status = report.status().unwrap();
    assert_eq!((status.namespace, status.code), (0, 200));
    assert_eq!(status.comment, Some(&b"OK"[..]));
    assert_eq!(report.to_path().len(), 2);
    assert!(!report.has_blank_line());

    let challenge = head(example("W-02")[1]);
    assert_eq!(challenge.kind(), Kind::Response { code: 401 });
    assert_eq!(challenge.comment(), Some(&b"Unauthorized"[..]));
    assert_eq!(challenge.method_text(), b"");
    assert_eq!(challenge.www_authenticate().count(), 2);

    let auth = head(example("W-04")[4]);
    assert_eq!(auth.method(), Some(Method::Auth));
    assert_eq!(auth.expires(), Some(1800));
    assert!(auth.authorization().unwrap().starts_with(b"Digest "));
    let granted = head(example("W-04")[6]);
    assert_eq!(Path::new(granted.use_path().unwrap()).len(), 2);
    assert!(granted.authentication_info().is_some());

    let quiet = head(example("W-12")[0]);
    assert_eq!(quiet.failure_report(), FailureReport::Partial);
    let silent = head(example("W-13")[0]);
    assert_eq!(silent.failure_report(), FailureReport::No);
    assert!(!silent.success_report());
    assert!(head(example("W-05")[0]).success_report());
    assert_eq!(
        head(example("W-17")[0]).header("use-nickname"),
        Some(&b"\"Alice the great\""[..])
    );
}
