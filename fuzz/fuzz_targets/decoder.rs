//! Any octets, as if received: events come in the order of RFC 4975 §9, every accessor copes, and what would be
//! forwarded is legal and says the same as what came in. CRLF between messages is skipped, and where the input has an odd
//! length the framing is kept as on a link to another relay.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use msrpd::wire::{
    Decoder, DecoderLimits, EndLineGuard, Event, Flag, Head, Kind, Template, TransactId, Uri,
    WayBack, encode_end, encode_report, encode_response, response_forwarded,
};

const TID: [u8; 13] = *b"thirteen bits";

fuzz_target!(|octets: &[u8]| {
    let by_link = octets.len() % 2 == 1;
    let mut decoder = Decoder::new(DecoderLimits {
        head_octets_max: if by_link { 700 } else { 32 * 1024 },
        keeps_framing: by_link,
        ..DecoderLimits::default()
    });
    decoder.skip_crlf();
    decoder.push(Bytes::copy_from_slice(octets));
    let mut open = false;
    let mut accounted = 0;
    while let Ok(Some(event)) = decoder.next() {
        match event {
            Event::Head(head) => {
                assert!(!open);
                open = true;
                accounted += head.octets();
                check_head(&head);
            }
            Event::Body(body) => {
                assert!(open);
                assert!(!body.is_empty());
                accounted += body.len();
                check_guard(&body);
            }
            Event::End(_) => {
                assert!(open);
                open = false;
            }
        }
    }
    assert!(accounted <= octets.len());
    assert!(decoder.held_octets() < 70_000);
});

fn check_head(head: &Head) {
    for (name, value) in head.headers() {
        if let Ok(name) = str::from_utf8(name) {
            assert!(head.header(name).is_some());
        }
        assert!(value.trim_ascii_start().len() <= value.len());
    }
    let _ = (head.comment(), head.method_text(), head.message_id());
    let _ = (head.status(), head.expires(), head.authorization());
    let _ = (head.use_path(), head.www_authenticate().count());
    if head.paths_readable() {
        for uri in head.from_path().uris() {
            let uri = Uri::parse(uri).expect("a readable From-Path parses");
            assert!(uri.equivalent(&uri));
        }
        check_answer(head);
    }
    if head.fault().is_some() {
        return;
    }
    match head.kind() {
        Kind::Request(_) => check_forwarded(head),
        Kind::Response { .. } => {
            let mut out = Vec::new();
            if response_forwarded(head, &WayBack::of(head, 1), b"abcd", &mut out) {
                let passed_on = decode(&out);
                assert_eq!(passed_on.fault(), None);
                assert_eq!(passed_on.kind(), head.kind());
                assert_eq!(passed_on.comment(), head.comment());
                assert_eq!(passed_on.headers().count(), head.headers().count());
            }
        }
    }
}

/// What can be answered gets an answer that decodes, unless the URI that we would answer as is the wrong one.
fn check_answer(head: &Head) {
    let us = head.to_path().first().expect("a readable path has a URI");
    let mut out = Vec::new();
    encode_response(
        &mut out,
        head.transact_id(),
        400,
        head.comment().unwrap_or(b"Bad request"),
        head.from_path().text(),
        us,
        &[],
    );
    let answer = decode(&out);
    assert_eq!(answer.transact_id(), head.transact_id());
    assert!(answer.fault().is_none() || Uri::parse(us).is_err() || head.fault().is_some());
}

fn check_forwarded(head: &Head) {
    let tid = TransactId::from_random(TID);
    for hops in 0..3.min(head.to_path().len()) {
        let template = Template::forwarded(head, hops);
        assert!(template.same_message(&template.clone()));
        let mut out = Vec::new();
        template.encode(&mut out, &tid, head.byte_range());
        encode_end(
            &mut out,
            tid.as_bytes(),
            Flag::Complete,
            template.has_blank_line(),
        );
        let forwarded = decode(&out);
        assert_eq!(forwarded.fault(), None);
        assert_eq!(forwarded.method_text(), head.method_text());
        assert_eq!(forwarded.message_id(), head.message_id());
        assert_eq!(forwarded.byte_range(), head.byte_range());
        assert_eq!(forwarded.failure_report(), head.failure_report());
        assert_eq!(forwarded.success_report(), head.success_report());
        assert_eq!(forwarded.has_blank_line(), head.has_blank_line());
        assert_eq!(forwarded.headers().count(), head.headers().count());
        assert_eq!(template.incoming_from_path(), head.from_path().text());
        assert_eq!(forwarded.to_path().len() + hops, head.to_path().len());
        assert_eq!(forwarded.from_path().len(), head.from_path().len() + hops);
        // What is in our form stays as it is.
        let again = Template::forwarded(&forwarded, 0);
        let mut same = Vec::new();
        again.encode(&mut same, &tid, forwarded.byte_range());
        encode_end(
            &mut same,
            tid.as_bytes(),
            Flag::Complete,
            again.has_blank_line(),
        );
        assert_eq!(out, same);

        if let (Some(range), Some(_), true) = (head.byte_range(), head.message_id(), hops > 0) {
            let mut out = Vec::new();
            encode_report(&mut out, &tid, &template, range, 408, None);
            let report = decode(&out);
            assert_eq!(report.fault(), None);
            assert_eq!(report.to_path(), head.from_path());
            assert_eq!(report.from_path().len(), hops);
        }
    }
}

/// The guard finds in one slice what it finds in two.
fn check_guard(body: &[u8]) {
    let tid = TransactId::from_random(TID);
    let whole = EndLineGuard::new().first_collision(&tid, body);
    let (front, back) = body.split_at(body.len() / 2);
    let mut guard = EndLineGuard::new();
    let cut = match guard.first_collision(&tid, front) {
        Some(at) => Some(at),
        None => guard.first_collision(&tid, back).map(|at| front.len() + at),
    };
    assert_eq!(whole, cut);
}

/// The head of what we wrote; the limits leave room for what we added.
fn decode(octets: &[u8]) -> Head {
    let mut decoder = Decoder::new(DecoderLimits {
        head_octets_max: 48 * 1024,
        header_lines_max: 200,
        uris_per_path_max: 64,
        keeps_framing: false,
    });
    decoder.push(Bytes::copy_from_slice(octets));
    let Ok(Some(Event::Head(head))) = decoder.next() else {
        panic!("no head in {}", octets.escape_ascii());
    };
    assert_eq!(decoder.next(), Ok(Some(Event::End(Flag::Complete))));
    assert_eq!(decoder.next(), Ok(None));
    assert!(decoder.is_between_messages());
    head
}
