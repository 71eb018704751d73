//! Transact-ids and Message-IDs that can be read back into numbers without a table.
//!
//! Fixed lengths, so that they are patched into pre-built octets: base 32 in lower case, five bits
//! a letter, the most significant first.

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

const VALUES: [u8; 256] = {
    let mut values = [0xff_u8; 256];
    let mut i = 0;
    while i < 32 {
        values[ALPHABET[i] as usize] = i as u8;
        i += 1;
    }
    values
};

/// Fills `out` with the value.
pub fn put(out: &mut [u8], mut value: u64) {
    for place in out.iter_mut().rev() {
        *place = ALPHABET[(value & 31) as usize];
        value >>= 5;
    }
}

pub fn read(text: &[u8]) -> Option<u64> {
    text.iter()
        .try_fold(0_u64, |value, &b| match VALUES[usize::from(b)] {
            0xff => None,
            bits => Some(value << 5 | u64::from(bits)),
        })
}

/// Four letters of salt, ten of a number that rises by connection.
pub const TID_OCTETS: usize = 14;

pub fn tid(salt: [u8; 4], number: u64) -> [u8; TID_OCTETS] {
    let mut out = [0; TID_OCTETS];
    out[..4].copy_from_slice(&salt);
    put(&mut out[4..], number);
    out
}

pub fn tid_number(salt: [u8; 4], tid: &[u8]) -> Option<u64> {
    (tid.len() == TID_OCTETS && tid[..4] == salt).then(|| read(&tid[4..]))?
}

/// Three letters of the run, six of the session, eight of the message's number in the session.
pub const MESSAGE_ID_OCTETS: usize = 17;

pub fn message_id(run: [u8; 3], session: u32, sequence: u64) -> [u8; MESSAGE_ID_OCTETS] {
    let mut out = [0; MESSAGE_ID_OCTETS];
    out[..3].copy_from_slice(&run);
    put(&mut out[3..9], u64::from(session));
    put(&mut out[9..], sequence);
    out
}

/// Session and number.
pub fn read_message_id(run: [u8; 3], id: &[u8]) -> Option<(u32, u64)> {
    if id.len() != MESSAGE_ID_OCTETS || id[..3] != run {
        return None;
    }
    Some((read(&id[3..9])? as u32, read(&id[9..])?))
}

/// `n` random letters.
pub fn letters<const N: usize>() -> [u8; N] {
    let mut random = [0_u8; N];
    getrandom::fill(&mut random).expect("the kernel has random octets");
    random.map(|b| ALPHABET[usize::from(b % 32)])
}

/// Appends the number in decimal.
pub fn decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_back() {
        let tid = tid(*b"salt", 123_456_789);
        assert_eq!(tid_number(*b"salt", &tid), Some(123_456_789));
        assert_eq!(tid_number(*b"pepp", &tid), None);
        let id = message_id(*b"run", 0x12_3456, 9_999_999_999);
        assert_eq!(
            read_message_id(*b"run", &id),
            Some((0x12_3456, 9_999_999_999))
        );
        assert_eq!(read_message_id(*b"run", b"something else"), None);
        assert_eq!(read(b"abc1"), None);
    }

    #[test]
    fn decimals_are_plain() {
        let mut out = Vec::new();
        for value in [0, 7, 10, 2048, u64::MAX] {
            decimal(&mut out, value);
            out.push(b' ');
        }
        assert_eq!(out, b"0 7 10 2048 18446744073709551615 ");
    }
}
