//! A transport that frames messages: each of its own holds exactly one of MSRP (RFC 7977 §5.1).

use super::*;

/// What a framed decoder makes of these messages of the transport, each given in pieces of `step` octets.
fn framed(messages: &[&[u8]], step: usize) -> Result<usize, DecodeError> {
    let mut decoder = Decoder::framed(DecoderLimits::default());
    let mut ends = 0;
    for message in messages {
        for piece in message.chunks(step) {
            decoder.push(Bytes::copy_from_slice(piece));
            while let Some(event) = decoder.next()? {
                ends += usize::from(matches!(event, Event::End(_)));
            }
        }
        decoder.push_end();
        while let Some(event) = decoder.next()? {
            ends += usize::from(matches!(event, Event::End(_)));
        }
    }
    Ok(ends)
}

/// WSK-05
#[test]
fn one_in_each_is_decoded() {
    for (name, _) in EXAMPLES {
        let messages = example(name);
        for step in [1, 3, 50, usize::MAX] {
            assert_eq!(
                framed(&messages, step),
                Ok(messages.len()),
                "{name} by {step}"
            );
        }
    }
}

/// WSK-05
#[test]
fn two_in_one_half_a_one_and_none_are_faults() {
    let one = send_body(b"abcd", Flag::Complete);
    let two = [&one[..], &one].concat();
    let half = &one[..one.len() - 5];
    for step in [1, 50, usize::MAX] {
        for wrong in [&two[..], half, b"", &one[1..]] {
            let outcome = framed(&[&one, wrong, &one], step);
            assert!(outcome.is_err(), "{outcome:?} by {step}");
        }
        assert_eq!(framed(&[&two], step), Err(DecodeError::NotOneMessage));
    }
}

/// The end of the transport's message waits its turn behind octets that were not decoded yet.
#[test]
fn ends_keep_their_place_among_octets() {
    let one = send_body(b"abcd", Flag::Complete);
    let mut decoder = Decoder::framed(DecoderLimits::default());
    for _ in 0..3 {
        decoder.push(Bytes::copy_from_slice(&one));
        decoder.push_end();
    }
    let mut ends = 0;
    while let Some(event) = decoder.next().expect("one in each") {
        ends += usize::from(matches!(event, Event::End(_)));
    }
    assert_eq!(ends, 3);
    assert!(decoder.is_between_messages());
}
