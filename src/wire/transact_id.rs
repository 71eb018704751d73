//! Transact-ids of requests that leave this relay (SYN-02, SYN-16, D-05): 100 random bits in base32.
//!
//! They are ours alone, so they have one form of fixed length, and a response that carries one can be
//! looked up by number.

use std::fmt;

/// A transact-id that this relay made: 20 characters of `a-z2-7`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TransactId {
    text: [u8; Self::OCTETS],
}

impl TransactId {
    /// Characters of the text; five bits each.
    pub const OCTETS: usize = 20;

    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

    /// Makes one of random octets; the last four bits of them go unused.
    pub fn from_random(random: [u8; 13]) -> Self {
        let mut bits = [0; 16];
        bits[3..].copy_from_slice(&random);
        Self::from_key(u128::from_be_bytes(bits) >> 4)
    }

    fn from_key(key: u128) -> Self {
        let mut text = [0; Self::OCTETS];
        for (at, character) in text.iter_mut().enumerate() {
            let shift = 5 * (Self::OCTETS - 1 - at);
            *character = Self::ALPHABET[(key >> shift) as usize & 31];
        }
        Self { text }
    }

    /// The text, as in a start line.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// The 100 bits as a number.
    pub fn to_key(&self) -> u128 {
        Self::parse(&self.text).expect("the text was made of the alphabet")
    }

    /// The number of a transact-id that came back; `None` where it cannot be one of ours.
    pub fn parse(tid: &[u8]) -> Option<u128> {
        if tid.len() != Self::OCTETS {
            return None;
        }
        // Two halves of 50 bits: arithmetic in 64 bits, and one look whether all was of the alphabet.
        let half = |characters: &[u8]| {
            characters.iter().fold((0, 0), |(key, seen), character| {
                let value = VALUES[usize::from(*character)];
                (key << 5 | u64::from(value & 31), seen | value)
            })
        };
        let (high, low) = tid.split_at(Self::OCTETS / 2);
        let ((high, one), (low, other)) = (half(high), half(low));
        ((one | other) & FOREIGN == 0).then_some(u128::from(high) << 50 | u128::from(low))
    }
}

/// Marks what is not of the alphabet.
const FOREIGN: u8 = 0x80;

/// The five bits of each character.
const VALUES: [u8; 256] = {
    let mut values = [FOREIGN; 256];
    let mut at = 0;
    while at < 32 {
        values[TransactId::ALPHABET[at] as usize] = at as u8;
        at += 1;
    }
    values
};

impl fmt::Debug for TransactId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransactId({})", self.text.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_key_are_two_forms_of_the_same_bits() {
        for random in [[0; 13], [0xff; 13], *b"thirteen bits"] {
            let tid = TransactId::from_random(random);
            assert_eq!(TransactId::parse(tid.as_bytes()), Some(tid.to_key()));
            assert_eq!(TransactId::from_key(tid.to_key()), tid);
            assert!(tid.to_key() < 1 << 100);
        }
        assert_eq!(
            TransactId::from_random([0; 13]).as_bytes(),
            b"aaaaaaaaaaaaaaaaaaaa"
        );
        assert_eq!(
            TransactId::from_random([0xff; 13]).as_bytes(),
            b"77777777777777777777"
        );
    }

    /// SYN-16
    #[test]
    fn each_of_the_100_bits_counts() {
        let base = TransactId::from_random([0; 13]);
        for bit in 0..100 {
            let mut random = [0; 13];
            random[bit / 8] |= 0x80 >> (bit % 8);
            assert_ne!(TransactId::from_random(random), base, "bit {bit}");
        }
    }

    /// RSP-04
    #[test]
    fn a_foreign_transact_id_has_no_key() {
        for tid in [
            &b""[..],
            b"abcd",
            b"aaaaaaaaaaaaaaaaaaa",
            b"aaaaaaaaaaaaaaaaaaaaa",
            b"aaaaaaaaaaaaaaaaaaa1",
            b"Aaaaaaaaaaaaaaaaaaaa",
        ] {
            assert_eq!(TransactId::parse(tid), None);
        }
    }
}
