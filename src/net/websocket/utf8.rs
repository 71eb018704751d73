//! Validity of a text message that arrives in pieces (RFC 6455 §8.1).

/// Checks UTF-8 across pieces: a character may be cut anywhere.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Utf8 {
    /// The beginning of a character whose rest has not come.
    cut: [u8; 4],
    len: u8,
}

/// The octets are not UTF-8, whatever follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Invalid;

impl Utf8 {
    /// Takes the next octets of the message.
    pub fn push(&mut self, mut octets: &[u8]) -> Result<(), Invalid> {
        while self.len > 0 {
            let Some((first, rest)) = octets.split_first() else {
                return Ok(());
            };
            self.cut[usize::from(self.len)] = *first;
            self.len += 1;
            octets = rest;
            match std::str::from_utf8(&self.cut[..usize::from(self.len)]) {
                Ok(_) => self.len = 0,
                Err(error) if error.error_len().is_some() => return Err(Invalid),
                Err(_) => {}
            }
        }
        match std::str::from_utf8(octets) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_some() => Err(Invalid),
            Err(error) => {
                let tail = &octets[error.valid_up_to()..];
                self.cut[..tail.len()].copy_from_slice(tail);
                self.len = tail.len() as u8;
                Ok(())
            }
        }
    }

    /// The message has ended; the next one starts afresh.
    pub fn end(&mut self) -> Result<(), Invalid> {
        match std::mem::take(&mut self.len) {
            0 => Ok(()),
            _ => Err(Invalid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(octets: &[u8]) -> Result<(), Invalid> {
        let mut utf8 = Utf8::default();
        utf8.push(octets).and_then(|()| utf8.end())
    }

    #[test]
    fn any_cut_gives_the_same_verdict() {
        let samples: [&[u8]; 9] = [
            b"plain",
            "κόσμε, 🦀 and Åse".as_bytes(),
            b"\xce",
            b"a\xed\xa0\x80b",
            b"\xf4\x90\x80\x80",
            b"\xc0\xaf",
            b"\xf0\x9f\xa6",
            b"\xe2\x82\xac\xff",
            b"",
        ];
        for sample in samples {
            let expected = std::str::from_utf8(sample).is_ok();
            assert_eq!(whole(sample).is_ok(), expected, "{sample:?}");
            for cut in 0..=sample.len() {
                for second in cut..=sample.len() {
                    let mut utf8 = Utf8::default();
                    let pieces = [&sample[..cut], &sample[cut..second], &sample[second..]];
                    let verdict = pieces
                        .into_iter()
                        .try_for_each(|piece| utf8.push(piece))
                        .and_then(|()| utf8.end());
                    assert_eq!(
                        verdict.is_ok(),
                        expected,
                        "{sample:?} cut at {cut}, {second}"
                    );
                }
            }
        }
    }
}
