//! Characters and numbers of the grammar in RFC 4975 §9 that several headers share.

/// `ident-char` of RFC 4975 §9, and `_` (D-43): what a transact-id consists of.
pub(super) const IDENT: u8 = 1;
/// `token` of RFC 4975 §9.
pub(super) const TOKEN: u8 = 2;
/// Characters of a session-id: unreserved of RFC 3986, `+`, `=`, `/`.
pub(super) const SESSION_ID: u8 = 4;
/// Characters of a registered name (RFC 3986 §3.2.2) less `;`, which ends an MSRP authority; `%` is seen to apart.
pub(super) const HOST: u8 = 8;
/// Characters of userinfo (RFC 3986 §3.2.1); `%` is seen to apart.
pub(super) const USERINFO: u8 = 16;

static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut octet = 0x21;
    while octet < 0x7f {
        let c = octet as u8;
        let mut class = 0;
        if c.is_ascii_alphanumeric() {
            class = IDENT | TOKEN | SESSION_ID | HOST | USERINFO;
        } else {
            if matches!(c, b'.' | b'-' | b'+' | b'%' | b'=' | b'_') {
                class |= IDENT;
            }
            if matches!(c, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'~') {
                class |= TOKEN;
            }
            if matches!(c, b'-' | b'.' | b'_' | b'~' | b'+' | b'=' | b'/') {
                class |= SESSION_ID;
            }
            if matches!(
                c,
                b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&'..=b',' | b'='
            ) {
                class |= HOST | USERINFO;
            }
            if matches!(c, b':' | b';') {
                class |= USERINFO;
            }
        }
        table[octet] = class;
        octet += 1;
    }
    table
}

/// Whether every octet belongs to the class.
pub(super) fn all(octets: &[u8], class: u8) -> bool {
    octets.iter().all(|&o| CLASSES[o as usize] & class != 0)
}

/// Whether the octet belongs to the class.
pub(super) fn is(octet: u8, class: u8) -> bool {
    CLASSES[octet as usize] & class != 0
}

/// Whether all octets are printable ASCII. By blocks without an early exit within, which compile to vector code.
pub(super) fn is_printable_ascii(octets: &[u8]) -> bool {
    const BLOCK: usize = 16;
    let plain = |octets: &[u8]| {
        octets
            .iter()
            .fold(true, |ok, &o| ok & (o.wrapping_sub(0x20) < 0x5f))
    };
    let (blocks, rest) = octets.as_chunks::<BLOCK>();
    blocks.iter().all(|block| plain(block))
        && match octets.last_chunk::<BLOCK>() {
            // The last block once more, as far as it overlaps, is cheaper than octet by octet.
            Some(last) if !rest.is_empty() => plain(last),
            _ => plain(rest),
        }
}

/// Whether the octet may not stand in `utf8text`: controls other than HTAB, DEL.
pub(super) fn is_control(octet: u8) -> bool {
    (octet < 0x20 && octet != b'\t') || octet == 0x7f
}

/// The text without SP and HTAB at both ends, as offsets into `text`.
pub(super) fn trimmed(text: &[u8]) -> (usize, usize) {
    let blank = |o: &u8| matches!(o, b' ' | b'\t');
    let Some(start) = text.iter().position(|o| !blank(o)) else {
        return (0, 0);
    };
    let end = text.len() - text.iter().rev().take_while(|o| blank(o)).count();
    (start, end)
}

/// A number of one or more digits, at most `max`.
pub(super) fn decimal(digits: &[u8], max: u64) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let mut value: u64 = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value
            .checked_mul(10)?
            .checked_add(u64::from(digit - b'0'))?;
    }
    (value <= max).then_some(value)
}

/// Exactly three digits.
pub(super) fn three_digits(text: &[u8]) -> Option<u16> {
    match text {
        [a, b, c] if text.iter().all(u8::is_ascii_digit) => {
            Some(u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0'))
        }
        _ => None,
    }
}

/// Writes a number in decimal digits before the end of `text`; says where they begin.
pub(super) fn decimal_before(text: &mut [u8], end: usize, mut value: u64) -> usize {
    let mut at = end;
    loop {
        at -= 1;
        text[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return at;
        }
    }
}

/// Appends a code of three digits.
pub(super) fn push_code(out: &mut Vec<u8>, code: u16) {
    let code = code % 1000;
    out.extend_from_slice(&[
        b'0' + (code / 100) as u8,
        b'0' + (code / 10 % 10) as u8,
        b'0' + (code % 10) as u8,
    ]);
}

/// Appends text that may hold what a remote side chose, without the octets that would end its line (SEC-09).
pub(super) fn push_text(out: &mut Vec<u8>, text: &[u8]) {
    if is_printable_ascii(text) {
        out.extend_from_slice(text);
    } else {
        out.extend(text.iter().copied().filter(|&o| !is_control(o)));
    }
}
