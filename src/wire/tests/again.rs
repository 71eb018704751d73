//! Messages whose head came before are told by comparison, and come to the same as when they are read.

use super::*;

const PATHS: &str = "To-Path: msrps://relay.example.com:2855/TA;tcp msrps://bob.example.org:8145/b;tcp\r\n\
     From-Path: msrps://alice.example.com:7654/a;tcp\r\n";
/// More than any body here.
const BODY_MAX: usize = 400;

fn message(start: &str, headers: &str, body: Option<&str>, flag: char) -> Vec<u8> {
    let tid = start.split(' ').next().unwrap();
    let body = body.map_or(String::new(), |body| format!("\r\n{body}\r\n"));
    format!("MSRP {start}\r\n{PATHS}{headers}{body}-------{tid}{flag}\r\n").into_bytes()
}

/// A decoder that has read these messages.
fn after(messages: &[&[u8]]) -> Decoder {
    let mut collected = Collected::default();
    messages.iter().for_each(|message| collected.push(message));
    assert_eq!(collected.error, None);
    collected.decoder
}

/// How the decoder takes `octets` without reading them.
fn again(decoder: &mut Decoder, octets: &[u8]) -> Option<Again> {
    decoder.push(Bytes::copy_from_slice(octets));
    let lent = decoder.lend().unwrap();
    assert_eq!(lent, octets);
    let shape = decoder.shape();
    let again = decoder.again(&lent, BODY_MAX, shape);
    decoder.give_back(Bytes::new());
    again
}

/// What was taken is what a decoder reads that knows nothing.
fn assert_same(again: &Again, octets: &[u8]) {
    let read = decode_one(&octets[..again.taken()]);
    assert_eq!(read.head.fault(), None);
    assert_eq!(again.kind, read.head.kind());
    assert_eq!(again.transact_id(octets), read.head.transact_id());
    let own = TransactId::parse(read.head.transact_id());
    assert_eq!(again.own_id, own);
    let id = read.head.message_id().unwrap_or_default();
    assert_eq!(again.message_id(octets), id);
    assert_eq!(again.byte_range, read.head.byte_range());
    assert_eq!(again.to_path(octets), read.head.to_path().text());
    assert_eq!(again.body(octets), read.body);
    assert_eq!(again.flag, read.flag);
}

const SEND: &str = "d93kswow SEND";
const HEADERS: &str = "Message-ID: 87652\r\nByte-Range: 1-5/5\r\nContent-Type: text/plain\r\n";

#[test]
fn transact_id_message_id_and_byte_range_may_differ() {
    let first = message(SEND, HEADERS, Some("Hello"), '$');
    for (start, id, range, body, flag) in [
        ("d93kswow SEND", "87652", "1-5/5", "Hello", '$'),
        ("aaaaaaaaaaaaaaaaaaaa SEND", "1", "1-5/5", "world", '$'),
        ("x.y-z%+= SEND", "a b", "1-*/*", "a longer body", '+'),
        ("0000 SEND", "<x@y>", "6-7/9", "-\r\n------\r\n", '#'),
    ] {
        let headers =
            format!("Message-ID: {id}\r\nByte-Range: {range}\r\nContent-Type: text/plain\r\n");
        let next = message(start, &headers, Some(body), flag);
        let behind = [&next[..], &first[..]].concat();
        for octets in [&next, &behind] {
            let mut decoder = after(&[&first, &first]);
            let again = again(&mut decoder, octets).expect("its head came before");
            assert_eq!(again.taken(), next.len());
            assert_same(&again, octets);
        }
    }
}

#[test]
fn responses_are_told_too() {
    let response = |tid: &str| message(&format!("{tid} 200 OK"), "", None, '$');
    let mut decoder = after(&[&response("aaaabbbb")]);
    for tid in ["aaaabbbb", "abcdefghijklmnopqrst"] {
        let octets = response(tid);
        let again = again(&mut decoder, &octets).expect("its head came before");
        assert_same(&again, &octets);
        assert_eq!(again.message_id(&octets), b"");
    }
    let refused = message("aaaabbbb 413", "", None, '$');
    assert!(again(&mut decoder, &refused).is_none());
}

/// SYN-08, SYN-09, SYN-10, SYN-21, SYN-25
#[test]
fn whatever_else_differs_is_read() {
    let first = message(SEND, HEADERS, Some("Hello"), '$');
    let with = |headers: &str| message(SEND, headers, Some("Hello"), '$');
    let text = String::from_utf8(first.clone()).unwrap();
    let long = "x".repeat(BODY_MAX + 1);
    let mut others = vec![
        with("Message-ID: \r\nByte-Range: 1-5/5\r\nContent-Type: text/plain\r\n"),
        with("Message-ID: 1 \r\nByte-Range: 1-5/5\r\nContent-Type: text/plain\r\n"),
        with("Message-ID:  1\r\nByte-Range: 1-5/5\r\nContent-Type: text/plain\r\n"),
        with("Message-ID: \u{e5}\r\nByte-Range: 1-5/5\r\nContent-Type: text/plain\r\n"),
        with("Message-ID: a\u{1}b\r\nByte-Range: 1-5/5\r\nContent-Type: text/plain\r\n"),
        with("Message-ID: a\nb\r\nByte-Range: 1-5/5\r\nContent-Type: text/plain\r\n"),
        with("Message-ID: a\rb\r\nByte-Range: 1-5/5\r\nContent-Type: text/plain\r\n"),
        with("Message-ID: 1\r\nByte-Range: 0-5/5\r\nContent-Type: text/plain\r\n"),
        with("Message-ID: 1\r\nByte-Range: 1-5/5 \r\nContent-Type: text/plain\r\n"),
        with("Message-ID: 1\r\nByte-Range: 1-5/5x\r\nContent-Type: text/plain\r\n"),
        with("Message-ID: 1\r\nContent-Type: text/plain\r\n"),
        with("Message-ID: 1\r\nByte-Range: 1-5/5\r\nContent-Type: text/plaim\r\n"),
        with(&format!("{HEADERS}X: y\r\n")),
        message(SEND, HEADERS, None, '$'),
        message(SEND, HEADERS, Some(&long), '$'),
        message(SEND, HEADERS, Some("a\r\n-------d93kswox$"), '$'),
        message(SEND, HEADERS, Some("-------"), '$'),
        message(SEND, HEADERS, Some("Hello"), '?'),
        message("d93 SEND", HEADERS, Some("Hello"), '$'),
        message(".93kswow SEND", HEADERS, Some("Hello"), '$'),
        message("d93kswow SEMD", HEADERS, Some("Hello"), '$'),
        text.replace("/TA", "/TB").into_bytes(),
        text.replace("alice", "Alice").into_bytes(),
        text.replace("MSRP", "MSRQ").into_bytes(),
        text.replacen("\r\n", "\n", 1).into_bytes(),
    ];
    others.extend((0..first.len()).map(|cut| first[..cut].to_vec()));
    for octets in others {
        let mut decoder = after(&[&first, &first]);
        let taken = (!octets.is_empty())
            .then(|| again(&mut decoder, &octets))
            .flatten();
        assert_eq!(taken, None, "{}", octets.escape_ascii());
    }
}

/// SYN-25: a bound of the head holds for those that are compared, too.
#[test]
fn a_longer_message_id_is_still_bounded() {
    let limits = |head_octets_max| DecoderLimits {
        head_octets_max,
        ..DecoderLimits::default()
    };
    let with = |id: &str| {
        let headers = HEADERS.replace("87652", id);
        message(SEND, &headers, Some("Hello"), '$')
    };
    let (first, longer) = (with("1"), with("12345678"));
    let head = decode_one(&longer).head.octets() + 2;
    for (bound, fits) in [(head, true), (head - 1, false)] {
        let mut collected = Collected::new(limits(bound));
        collected.push(&first);
        collected.push(&first);
        assert_eq!(again(&mut collected.decoder, &longer).is_some(), fits);
    }
}

/// A head gets the shape of the one before only if they are alike, and once it has come twice.
#[test]
fn only_sends_with_the_shape_that_is_asked_for_are_told() {
    let first = message(SEND, HEADERS, Some("Hello"), '$');
    let other = message(SEND, &format!("X: y\r\n{HEADERS}"), Some("Hello"), '$');
    let auth = message("d93kswow AUTH", "", None, '$');
    let fault = message(SEND, "Byte-Range: 1-5/5\r\n", None, '$');
    assert_eq!(after(&[&first]).shape(), None);
    let shape = after(&[&first, &first]).shape();
    assert!(shape.is_some());
    assert_eq!(after(&[&first, &first, &auth]).shape(), None);
    assert_eq!(after(&[&fault, &fault]).shape(), None);
    let mut decoder = after(&[&first, &first, &other, &other]);
    assert!(decoder.shape().is_some_and(|other| Some(other) != shape));
    assert!(again(&mut decoder, &other).is_some());
    assert!(again(&mut decoder, &first).is_none());
    assert_eq!(decoder.again(&other, BODY_MAX, shape), None);
    assert_eq!(decoder.again(&other, BODY_MAX, None), None);
}

/// RSP-01, RSP-03
#[test]
fn an_answer_that_is_made_again_is_the_one_that_is_written() {
    let read = decode_one(&message(SEND, HEADERS, Some("Hello"), '$')).head;
    let to = read.from_path().first().unwrap();
    let from = read.to_path().first().unwrap();
    let answers = AnswerAgain::new(200, "OK", to, from);
    for (tid, id) in [(&b"abcd"[..], &b"1"[..]), (b"aaaabbbbccccdddd", b"<2@x>")] {
        let written = |code, comment: &str| {
            let mut out = Vec::new();
            encode_response(
                &mut out,
                tid,
                code,
                comment,
                to,
                from,
                &[("Message-ID", id)],
            );
            out
        };
        let mut out = Vec::new();
        answers.encode(&mut out, tid, id);
        assert_eq!(out, written(200, "OK"));
        let kept = answers.keep(tid, id);
        assert_eq!(kept.octets(), out);
        assert_eq!(kept.message_id(), id);
        let mut refused = Vec::new();
        kept.encode_as(&mut refused, 413, "Stop");
        assert_eq!(refused, written(413, "Stop"));
    }
}

/// A template for a head that came before is the one that would be made of it.
#[test]
fn a_template_that_is_made_again_is_the_one_of_the_head() {
    for headers in [
        HEADERS,
        "Byte-Range: 1-5/5\r\nMessage-ID: 87652\r\nContent-Type: text/plain\r\n",
        "content-type: text/plain\r\nMESSAGE-ID: 87652\r\nByte-Range:1-5/5\r\n",
        "Message-ID: 87652\r\n",
    ] {
        let of = |id: &str, range: &str| {
            let headers = headers.replace("87652", id).replace("1-5/5", range);
            let read = decode_one(&message(SEND, &headers, Some("Hello"), '$')).head;
            (Template::forwarded(&read, 1), read.byte_range())
        };
        let (first, _) = of("87652", "1-5/5");
        for (id, range) in [("87652", "1-5/5"), ("1", "6-*/10"), ("<a@b.c>", "1-*/*")] {
            let (whole, range) = of(id, range);
            let again = first.again(id.as_bytes(), range);
            assert!(again.same_message(&whole) && whole.same_message(&again));
            assert_eq!(again.len(), whole.len());
            let tid = TransactId::from_random([7; 13]);
            let (mut one, mut two) = (Vec::new(), Vec::new());
            again.encode(&mut one, &tid, range);
            whole.encode(&mut two, &tid, range);
            assert_eq!(one, two);
        }
    }
}
