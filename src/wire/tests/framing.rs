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

/// SYN-02, SYN-10, D-43: also against bodies full of what resembles the end-line.
#[test]
fn transact_ids_of_any_legal_form_frame() {
    let longest = "0a-_".repeat(16);
    for tid in [
        "abcd",
        "a.-+%=0Z",
        "a-------",
        "01234567890123456789012345678901",
        "9f1c2d3e-aaaa-4bbb-8ccc-0123456789ab",
        "Zm9v_YmFy",
        &longest,
    ] {
        let shorter = &tid[..tid.len() - 1];
        let body = format!(
            "\r\n-------{tid}\r\n-------{shorter}$\r\n-------{tid}{tid}$\r\n-------{tid}_$\r\n-------{tid}$\n\r\n-------{tid} $\r\n"
        );
        for start in ["SEND", "SEND "] {
            let octets = String::from_utf8(send_body(body.as_bytes(), Flag::Complete)).unwrap();
            let octets = octets.replace("d93kswow SEND", &format!("d93kswow {start}"));
            let octets = octets.replace("d93kswow", tid);
            let octets = octets.as_bytes();
            let message = decode_one(octets);
            assert_eq!(message.head.transact_id(), tid.as_bytes());
            assert_eq!(message.head.method_text(), b"SEND");
            assert_eq!(message.body, body.as_bytes());
            let whole = std::slice::from_ref(&message);
            assert_eq!(decode(octets.chunks(1)), whole);
            let end = octets.len() - tid.len() - 12..octets.len();
            for at in end {
                assert_eq!(decode([&octets[..at], &octets[at..]]), whole);
            }
        }
    }
}

/// D-43: what is behind a code is its comment; a lone blank is none.
#[test]
fn one_blank_behind_a_method_or_a_code_is_no_part_of_it() {
    let paths = "To-Path: msrps://r:1/t;tcp\r\nFrom-Path: msrp://b:1/b;tcp\r\n";
    for (start, comment) in [("200", None), ("200 ", None), ("200 OK ", Some("OK "))] {
        let head = head(format!("MSRP abcd {start}\r\n{paths}-------abcd$\r\n"));
        assert_eq!(head.fault(), None);
        assert_eq!(head.comment(), comment.map(str::as_bytes));
        let mut out = Vec::new();
        assert!(response_forwarded(
            &head,
            &WayBack::of(&head, 0),
            b"tid1",
            &mut out
        ));
        let line = format!(
            "MSRP tid1 {}\r\nTo-Path",
            start.strip_suffix("200 ").map_or(start, |_| "200")
        );
        assert!(out.starts_with(line.as_bytes()), "{start:?}");
    }
    let head = head(format!("MSRP abcd WIGGLE \r\n{paths}-------abcd$\r\n"));
    assert_eq!(head.method_text(), b"WIGGLE");
}

/// D-44
#[test]
fn line_ends_between_messages_are_skipped_only_where_they_may_be() {
    let message = send_body(b"abcd", Flag::Complete);
    for blank in ["\r\n", "\r\n\r\n", "\r\n\r\n\r\n\r\n"] {
        let stream = [blank.as_bytes(), &message, blank.as_bytes(), &message].concat();
        for size in [1, 3, stream.len()] {
            let mut strict = Collected::default();
            stream.chunks(size).for_each(|piece| strict.push(piece));
            assert!(matches!(strict.error, Some(DecodeError::NotMsrp(_))));
            let mut lenient = Collected::default();
            lenient.decoder.skip_crlf();
            stream.chunks(size).for_each(|piece| lenient.push(piece));
            assert_eq!(lenient.error, None);
            assert_eq!(lenient.messages.len(), 2);
            assert_eq!(lenient.decoder.take_crlf_skipped() as usize, blank.len());
            assert_eq!(lenient.decoder.take_crlf_skipped(), 0);
            assert!(lenient.decoder.is_between_messages());
        }
    }
    // Anything else there is lost framing, and so is a line end within a message's head.
    for wrong in [
        "\n", "\r\r\n", "\n\r", "\r\n\n", "\r\n ", " \r\n", "\0", "\r\nX",
    ] {
        for size in [1, 100] {
            let mut collected = Collected::default();
            collected.decoder.skip_crlf();
            let stream = [&message, wrong.as_bytes(), &message[..]].concat();
            stream.chunks(size).for_each(|piece| collected.push(piece));
            assert_eq!(collected.messages.len(), 1, "{wrong:?}");
            assert!(
                matches!(collected.error, Some(DecodeError::NotMsrp(_))),
                "{wrong:?}"
            );
        }
    }
    let mut half = Collected::default();
    half.decoder.skip_crlf();
    half.push(b"\r\n\r");
    assert!(!half.decoder.is_between_messages(), "it must go on");
}

/// SYN-25: where the framing is kept, what is too long is told as far as it goes, and read past to its end.
#[test]
fn a_head_that_is_too_long_can_be_read_past() {
    let limits = DecoderLimits {
        head_octets_max: 3000,
        keeps_framing: true,
        ..DecoderLimits::default()
    };
    let long = |line: &str| {
        let line = line.repeat(4000 / line.len());
        let headers = format!("Message-ID: 1\r\n{line}\r\n");
        String::from_utf8(send_with(&headers)).unwrap()
    };
    let next = send_body(b"next", Flag::Complete);
    for line in [
        "X: y\r\n",
        "-------d93kswow$",
        "X: \n",
        "X: -------d93kswow$\n\n\r",
        "-------d93kswow$ \r\n",
        "-------d93kswowx\r\n",
        "\r\r",
    ] {
        let bodiless = long(line);
        let with_body = bodiless.replace(
            "\r\n-------d93kswow$\r\n",
            "\r\n\r\n\r\n-------d93kswo$\r\n-------d93kswow+\r\n",
        );
        for octets in [&bodiless, &with_body] {
            let stream = [octets.as_bytes(), &next].concat();
            let mut whole = Collected::new(limits);
            whole.push(&stream);
            assert_eq!(whole.error, None, "{line:?}");
            assert_eq!(whole.messages.len(), 2, "{line:?}");
            let head = &whole.messages[0].head;
            assert!(head.fault().is_some() && head.paths_readable(), "{line:?}");
            assert_eq!(head.transact_id(), b"d93kswow");
            assert_eq!(whole.messages[1].body, b"next");
            assert_eq!(whole.messages[1].head.fault(), None);
            for size in [1, 2, 7, 1000, 2999, 3000, 3001] {
                let mut cut = Collected::new(limits);
                for piece in stream.chunks(size) {
                    cut.push(piece);
                    assert!(cut.decoder.held_octets() < 8000);
                }
                assert_eq!(cut.error, None, "{line:?} in pieces of {size}");
                assert_eq!(cut.messages, whole.messages, "{line:?} in pieces of {size}");
            }
        }
    }
}

/// SYN-22, SYN-25: the same for a start line.
#[test]
fn a_start_line_that_is_too_long_or_unreadable_can_be_read_past() {
    let limits = DecoderLimits {
        keeps_framing: true,
        ..DecoderLimits::default()
    };
    let paths = "To-Path: msrps://r:1/t;tcp\r\nFrom-Path: msrp://b:1/b;tcp\r\n";
    let long = "A".repeat(3000);
    let next = send_body(b"next", Flag::Complete);
    for (line, kind) in [
        ("send", Kind::Request(Method::Other)),
        ("", Kind::Request(Method::Other)),
        ("SEND  ", Kind::Request(Method::Other)),
        ("2000", Kind::Response { code: 200 }),
        (&long, Kind::Request(Method::Other)),
        (&format!("481 {long}"), Kind::Response { code: 481 }),
        (
            &format!("481 {long}\n-------abcd$\n"),
            Kind::Response { code: 481 },
        ),
    ] {
        for end in ["-------abcd$\r\n", "\r\nbody\r\n-------abcd$\r\n"] {
            let stream = [
                format!("MSRP abcd {line}\r\n{paths}{end}").as_bytes(),
                &next,
            ]
            .concat();
            let mut whole = Collected::new(limits);
            whole.push(&stream);
            assert_eq!(whole.error, None, "{line}");
            assert_eq!(whole.messages.len(), 2, "{line}");
            assert!(whole.messages[0].head.fault().is_some());
            assert_eq!(whole.messages[0].head.kind(), kind, "{line}");
            for size in [1, 7, 1000] {
                let mut cut = Collected::new(limits);
                stream.chunks(size).for_each(|piece| cut.push(piece));
                assert_eq!(cut.messages, whole.messages, "{line} in pieces of {size}");
            }
        }
    }
}

/// An idle connection costs little.
#[test]
fn an_idle_decoder_is_small() {
    assert!(size_of::<Decoder>() <= 192, "{}", size_of::<Decoder>());
}
