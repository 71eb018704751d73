//! Transact-ids of requests that leave this relay (SYN-02, SYN-16, D-05): 100 random bits in base32.
//!
//! They are ours alone, so they have one form of fixed length, and a response that carries one can be
//! looked up by number.

use std::fmt;

/// A transact-id that this relay made: 20 characters of `a-z2-7`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TransactId {
    text: [u8; Self::OCTETS],
    /// The same as two numbers of 50 bits: arithmetic in 64 bits is the cheaper one.
    halves: [u64; 2],
}

/// Bits of half a transact-id.
const HALF_BITS: u32 = 50;

impl TransactId {
    /// Characters of the text; five bits each.
    pub const OCTETS: usize = 20;

    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

    /// Makes one of random octets; the last four bits of them go unused.
    pub fn from_random(random: [u8; 13]) -> Self {
        let seven = |from: usize| {
            let octets = random[from..from + 7].iter();
            octets.fold(0, |bits, octet| bits << 8 | u64::from(*octet))
        };
        // 104 bits, the first 56 of them and the last 56.
        Self::from_halves([seven(0) >> 6, seven(6) >> 4])
    }

    /// Makes one of two random numbers; the upper 14 bits of each go unused.
    pub fn from_halves(halves: [u64; 2]) -> Self {
        let halves = halves.map(|half| half & ((1 << HALF_BITS) - 1));
        let mut text = [0; Self::OCTETS];
        let (high, low) = text.split_at_mut(Self::OCTETS / 2);
        for (characters, half) in [(high, halves[0]), (low, halves[1])] {
            for (at, character) in characters.iter_mut().enumerate() {
                let shift = HALF_BITS - 5 - 5 * at as u32;
                *character = Self::ALPHABET[(half >> shift) as usize & 31];
            }
        }
        Self { text, halves }
    }

    /// The text, as in a start line.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// The 100 bits as a number.
    pub fn to_key(&self) -> u128 {
        Self::key(self.halves)
    }

    fn key([high, low]: [u64; 2]) -> u128 {
        u128::from(high) << HALF_BITS | u128::from(low)
    }

    /// The number of a transact-id that came back; `None` where it cannot be one of ours.
    pub fn parse(tid: &[u8]) -> Option<u128> {
        if tid.len() != Self::OCTETS {
            return None;
        }
        // One look whether all was of the alphabet.
        let half = |characters: &[u8]| {
            characters.iter().fold((0, 0), |(key, seen), character| {
                let value = VALUES[usize::from(*character)];
                (key << 5 | u64::from(value & 31), seen | value)
            })
        };
        let (high, low) = tid.split_at(Self::OCTETS / 2);
        let ((high, one), (low, other)) = (half(high), half(low));
        ((one | other) & FOREIGN == 0).then(|| Self::key([high, low]))
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
            let mut bits = [0; 16];
            bits[3..].copy_from_slice(&random);
            assert_eq!(tid.to_key(), u128::from_be_bytes(bits) >> 4);
            assert_eq!(TransactId::parse(tid.as_bytes()), Some(tid.to_key()));
            assert_eq!(text_of(tid.to_key()), tid.as_bytes());
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

    fn text_of(key: u128) -> Vec<u8> {
        let digit = |at: u32| TransactId::ALPHABET[(key >> (95 - 5 * at)) as usize & 31];
        (0..20).map(digit).collect()
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
