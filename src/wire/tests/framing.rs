//! Where messages end, and what is body (RFC 4975 §7.1; SYN-09..13, 20, 22, 25).

use super::*;

/// SYN-10
#[test]
fn only_the_complete_end_line_ends_a_body() {
    let bodies: [&[u8]; 9] = [
        b"a\r\n-------d93kswow$-------d93kswow$\r\nb",
        b"a\r\n-------otherone$\r\nb",
        b"a\r\n-------d93kswowx\r\nb",
        b"a\r\n-------d93kswow$ \r\nb",
        b"a\r\n-------d93kswow$\nb",
        b"a\r\n------d93kswow$\r\nb",
        b"a\r\n--------d93kswow$\r\nb",
        b"a\n-------d93kswow$\r\nb",
        b"a\r\n-------D93KSWOW$\r\nb",
    ];
    for body in bodies {
        for flag in [Flag::Complete, Flag::More, Flag::Abort] {
            let message = decode_one(&send_body(body, flag));
            assert_eq!(message.body, body);
            assert_eq!(message.flag, flag);
        }
    }
}

/// SYN-10
#[test]
fn a_megabyte_of_hyphens_or_of_near_misses_is_body_and_takes_linear_time() {
    let hyphens = vec![b'-'; 1 << 20];
    let line_ends = b"\r\n".repeat(1 << 19);
    let near_misses = b"\r\n-------d93kswow%".repeat(1 << 16);
    for body in [hyphens, line_ends, near_misses] {
        let started = std::time::Instant::now();
        let octets = send_body(&body, Flag::Complete);
        assert!(decode_one(&octets).body == body);
        assert!(decode(octets.chunks(1000))[0].body == body);
        assert!(started.elapsed().as_secs() < 5);
    }
}

/// SYN-11
#[test]
fn the_line_end_before_the_end_line_is_not_body() {
    assert_eq!(
        decode_one(&send_body(b"abcd", Flag::Complete)).body,
        b"abcd"
    );
    for body in [&b"abcd\r\n"[..], b"\r\n", b"\r\n\r\n", b"\r", b"\n", b"a\r"] {
        assert_eq!(decode_one(&send_body(body, Flag::Complete)).body, body);
    }
}

/// SYN-12, SYN-13
#[test]
fn bodiless_and_empty_body_are_two_things() {
    let bodiless = decode_one(&send_with("Message-ID: 1\r\nByte-Range: 1-0/0\r\n"));
    assert!(!bodiless.head.has_blank_line());
    assert_eq!(bodiless.flag, Flag::Complete);

    let empty = decode_one(&send_body(b"", Flag::Complete));
    assert!(empty.head.has_blank_line());
    assert_eq!(empty.body, b"");

    let short = decode_one(&send_with(
        "Message-ID: 1\r\nContent-Type: text/plain\r\n\r\n",
    ));
    assert!(short.head.has_blank_line());
    assert_eq!(short.body, b"");
}

/// SYN-13: what looks like the end-line of an empty body need not be one.
#[test]
fn a_body_may_begin_with_hyphens() {
    for body in [
        &b"-------d93kswow%\r\nx"[..],
        b"------",
        b"-------",
        b"--",
        b"-------d93kswow$.",
    ] {
        let octets = send_body(body, Flag::Complete);
        assert_eq!(decode_one(&octets).body, body);
        assert_eq!(decode(octets.chunks(1))[0].body, body);
    }
}

/// D-30
#[test]
fn a_blank_line_begins_a_body_also_without_content_type() {
    let message = decode_one(&send_with("Message-ID: 1\r\n\r\nhello\r\n"));
    assert_eq!(message.body, b"hello");
    assert_eq!(message.head.fault(), None);
}

/// SYN-05, D-30
#[test]
fn a_response_may_have_paths_only() {
    let response = head(
        "MSRP abcd 200\r\nTo-Path: msrps://r:1/t;tcp\r\nFrom-Path: msrp://b:1/b;tcp\r\n-------abcd$\r\n",
    );
    assert_eq!(response.fault(), None);
    assert_eq!(response.comment(), None);
    assert_eq!(response.kind(), Kind::Response { code: 200 });
}

/// SYN-14
#[test]
fn a_body_is_any_octets() {
    let body: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    assert!(decode_one(&send_body(&body, Flag::Complete)).body == body);
}

#[test]
fn bodies_are_slices_of_what_was_pushed() {
    let octets = Bytes::from(send_body(&[b'x'; 5000], Flag::Complete));
    let within = |slice: &[u8]| octets.as_ptr_range().contains(&slice.as_ptr());
    let mut decoder = Decoder::new(DecoderLimits::default());
    decoder.push(octets.clone());
    let Ok(Some(Event::Head(head))) = decoder.next() else {
        panic!("no head");
    };
    assert!(within(head.transact_id()));
    let Ok(Some(Event::Body(body))) = decoder.next() else {
        panic!("no body");
    };
    assert_eq!(body.len(), 5000);
    assert!(within(&body));
}

#[test]
fn nothing_pushed_is_held_once_more_is_needed() {
    let mut message = send_body(&[b'x'; 60_000], Flag::Complete);
    message.extend_from_slice(b"MSRP abcd SEN");
    for cut in [100, 30_000, message.len()] {
        let octets = Bytes::from(message[..cut].to_vec());
        let mut decoder = Decoder::new(DecoderLimits::default());
        decoder.push(octets.clone());
        while decoder.next().unwrap().is_some() {}
        assert!(octets.is_unique(), "cut at {cut}");
        assert!(decoder.held_octets() < 1000);
    }
}

#[test]
fn a_small_remainder_is_copied_out_on_request() {
    let octets = Bytes::from(send_body(&[b'x'; 60_000], Flag::Complete));
    let mut decoder = Decoder::new(DecoderLimits::default());
    decoder.push(octets.clone());
    assert!(matches!(decoder.next(), Ok(Some(Event::Head(_)))));
    assert!(matches!(decoder.next(), Ok(Some(Event::Body(_)))));
    assert!(!octets.is_unique());
    decoder.compact();
    assert!(octets.is_unique());
    assert!(!decoder.is_between_messages());
    assert_eq!(decoder.next(), Ok(Some(Event::End(Flag::Complete))));
    assert!(decoder.is_between_messages());
}

/// SYN-22
#[test]
fn an_open_message_is_not_between_messages() {
    let octets = send_body(b"abcd", Flag::Complete);
    for end in 1..octets.len() {
        let mut collected = Collected::default();
        collected.push(&octets[..end]);
        assert!(!collected.decoder.is_between_messages(), "{end}");
        assert!(collected.messages.is_empty());
    }
}

/// SYN-22: other protocols never send a line end.
#[test]
fn another_protocol_is_told_by_its_first_octets() {
    for octets in [&b"\x16\x03\x01"[..], b"G", b"MSRQ", b"msrp"] {
        let mut collected = Collected::default();
        collected.push(octets);
        assert!(matches!(collected.error, Some(DecodeError::NotMsrp(_))));
        // Framing is lost for good.
        collected.error = None;
        collected.push(&send_body(b"", Flag::Complete));
        assert!(matches!(collected.error, Some(DecodeError::NotMsrp(_))));
        assert_eq!(collected.decoder.held_octets(), 0);
    }
}

/// SYN-25
#[test]
fn a_megabyte_of_header_line_loses_the_framing_without_growth_of_memory() {
    let mut octets = send_with("");
    octets.truncate(octets.len() - 18);
    octets.extend_from_slice(b"X: ");
    octets.resize(1 << 20, b'x');
    let mut collected = Collected::default();
    for piece in octets.chunks(10_000) {
        collected.push(piece);
        assert!(collected.decoder.held_octets() < 80_000);
    }
    assert_eq!(
        collected.error,
        Some(DecodeError::HeadTooLong {
            octets_max: 32 * 1024
        })
    );
}

/// SYN-09, SYN-25
#[test]
fn the_bound_that_is_named_does_not_depend_on_the_cut() {
    let octets = vec![b'x'; 40_000];
    for head_octets_max in [700, 32 * 1024] {
        let mut errors = Vec::new();
        for size in [1, 600, 5000, octets.len()] {
            let mut collected = Collected::new(DecoderLimits {
                head_octets_max,
                ..DecoderLimits::default()
            });
            collected.push(b"MSRP ");
            octets.chunks(size).for_each(|piece| collected.push(piece));
            errors.push(collected.error.expect("far too long"));
        }
        assert!(errors.iter().all(|error| *error == errors[0]), "{errors:?}");
    }
}

/// SYN-25
#[test]
fn a_head_of_exactly_the_limit_is_read_and_one_octet_more_is_not() {
    let fits = send_with(&format!("Message-ID: 1\r\nX: {}\r\n", "x".repeat(1000)));
    for (head_octets_max, error) in [(fits.len(), false), (fits.len() - 1, true)] {
        for size in [1, fits.len()] {
            let mut collected = Collected::new(DecoderLimits {
                head_octets_max,
                ..DecoderLimits::default()
            });
            fits.chunks(size).for_each(|piece| collected.push(piece));
            assert_eq!(collected.error.is_some(), error, "pieces of {size}");
            assert_eq!(collected.messages.len(), usize::from(!error));
        }
    }
}

/// SYN-24
#[test]
fn a_hundred_messages_in_one_push_are_a_hundred_messages() {
    let octets = send_body(b"abcd", Flag::Complete).repeat(100);
    assert_eq!(decode([&octets[..]]).len(), 100);
}

/// SYN-02
#[test]
fn transact_ids_of_any_legal_form_frame() {
    for tid in [
        "abcd",
        "a.-+%=0Z",
        "a-------",
        "01234567890123456789012345678901",
    ] {
        let body = format!("\r\n-------{tid}\r\n");
        let octets = String::from_utf8(send_body(body.as_bytes(), Flag::Complete)).unwrap();
        let message = decode_one(octets.replace("d93kswow", tid).as_bytes());
        assert_eq!(message.head.transact_id(), tid.as_bytes());
        assert_eq!(message.body, body.as_bytes());
    }
}

/// An idle connection costs little.
#[test]
fn an_idle_decoder_is_small() {
    assert!(size_of::<Decoder>() <= 192, "{}", size_of::<Decoder>());
}
