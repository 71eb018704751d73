//! However the octets are cut, the events are the same (SYN-09, SYN-24).

use super::*;

/// SYN-09
#[test]
fn every_example_cut_at_every_offset_gives_the_same_messages() {
    for (name, _) in EXAMPLES {
        for message in example(name) {
            let whole = decode([message]);
            for at in 0..=message.len() {
                let (front, back) = message.split_at(at);
                assert_eq!(decode([front, back]), whole, "{name} cut at {at}");
            }
        }
    }
}

/// SYN-09
#[test]
fn every_example_given_octet_by_octet_gives_the_same_messages() {
    for (name, octets) in EXAMPLES {
        assert_eq!(decode(octets.chunks(1)), decode([*octets]), "{name}");
        assert_eq!(decode(octets.chunks(7)), decode([*octets]), "{name}");
    }
}

/// SYN-10
#[test]
fn a_body_of_near_misses_cut_at_any_two_offsets_gives_the_same_message() {
    let body = b"-------d93kswow\r\n-------d93kswow$\r\r\n-------d93kswow$x\r\n\r\n------\r\n";
    let octets = send_body(body, Flag::More);
    let whole = decode([&octets[..]]);
    assert_eq!(whole[0].body, body);
    let body_at = octets.len() - body.len() - 20;
    for first in body_at..octets.len() {
        for second in first..octets.len() {
            let pieces = [&octets[..first], &octets[first..second], &octets[second..]];
            assert_eq!(decode(pieces), whole, "cut at {first} and {second}");
        }
    }
}

/// SYN-22: also what is wrong is the same.
#[test]
fn errors_do_not_depend_on_the_cuts() {
    let long_start = [b"MSRP abcd SEND".to_vec(), vec![b'A'; 3000]].concat();
    let long_head = [b"MSRP abcd SEND\r\nX: ".to_vec(), vec![b'x'; 40_000]].concat();
    let long_header = send_with(&format!("X: {}\r\n", "x".repeat(40_000)));
    let message = send_body(b"abcd", Flag::Complete);
    for wrong in [
        &b"GARBAGE\r\n"[..],
        b"MSRQ abcd SEND\r\n",
        b"MSRP ab SEND\r\n",
        b"MSRP abcd send\r\n",
        b"\r\nMSRP abcd SEND\r\n",
        &long_start,
        &long_head,
        &long_header,
    ] {
        let stream = [&message[..], wrong].concat();
        let mut whole = Collected::default();
        whole.push(&stream);
        assert!(whole.error.is_some());
        assert_eq!(whole.messages.len(), 1);
        for size in [1, 3, 1000] {
            let mut cut = Collected::default();
            stream.chunks(size).for_each(|piece| cut.push(piece));
            assert_eq!(cut.error, whole.error, "pieces of {size}");
            assert_eq!(cut.messages, whole.messages);
        }
    }
}

#[test]
fn octets_may_be_pushed_ahead_of_the_events() {
    let stream = EXAMPLES.iter().flat_map(|(_, octets)| octets.iter());
    let stream: Vec<u8> = stream.copied().collect();
    let whole = decode([&stream[..]]);
    let mut ahead = Collected::default();
    for piece in stream.chunks(11) {
        ahead.decoder.push(Bytes::copy_from_slice(piece));
    }
    assert_eq!(ahead.decoder.held_octets(), stream.len());
    ahead.push(b"");
    assert_eq!(ahead.messages, whole);
}

/// A slow head must not cost more than its length.
#[test]
fn a_long_head_octet_by_octet_takes_linear_time() {
    let head = send_with(&format!("Message-ID: 1\r\nX: {}\r\n", "x".repeat(32_000)));
    let started = std::time::Instant::now();
    for _ in 0..10 {
        assert_eq!(decode(head.chunks(1)).len(), 1);
    }
    // Rescanning would take 32,000 * 32,000 / 2 octets each time.
    assert!(started.elapsed().as_secs() < 5);
}
