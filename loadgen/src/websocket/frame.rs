//! Frames on their way out (RFC 6455 §5.2): masked, as those of a client have to be.

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// More of the message whose first frame came before.
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    pub(super) fn of(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }

    fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }

    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Appends a frame with this payload; `last`: its message ends with it.
pub fn write_frame(out: &mut Vec<u8>, opcode: Opcode, last: bool, key: [u8; 4], payload: &[u8]) {
    const MASKED: u8 = 0x80;
    let mut header = [0; 14];
    header[0] = opcode.bits() | if last { 0x80 } else { 0 };
    let len = match payload.len() {
        octets @ 0..=125 => {
            header[1] = MASKED | octets as u8;
            2
        }
        octets @ 126..=0xffff => {
            header[1] = MASKED | 126;
            header[2..4].copy_from_slice(&(octets as u16).to_be_bytes());
            4
        }
        octets => {
            header[1] = MASKED | 127;
            header[2..10].copy_from_slice(&(octets as u64).to_be_bytes());
            10
        }
    };
    header[len..len + 4].copy_from_slice(&key);
    out.extend_from_slice(&header[..len + 4]);
    let from = out.len();
    out.extend_from_slice(payload);
    mask(&mut out[from..], key);
}

/// Combines octets with the key, eight at a step (RFC 6455 §5.3).
fn mask(octets: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut blocks = octets.chunks_exact_mut(8);
    for block in &mut blocks {
        let mut eight = [0; 8];
        eight.copy_from_slice(block);
        block.copy_from_slice(&(u64::from_ne_bytes(eight) ^ wide).to_ne_bytes());
    }
    for (octet, mask) in blocks.into_remainder().iter_mut().zip(key.iter().cycle()) {
        *octet ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(opcode: Opcode, last: bool, key: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_frame(&mut out, opcode, last, key, payload);
        out
    }

    #[test]
    fn frames_of_rfc_6455_5_7() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        assert_eq!(
            framed(Opcode::Text, true, key, b"Hello"),
            [
                0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58
            ]
        );
        assert_eq!(
            framed(Opcode::Text, false, [0; 4], b"Hel"),
            [0x01, 0x83, 0, 0, 0, 0, b'H', b'e', b'l']
        );
        assert_eq!(
            framed(Opcode::Continuation, true, [0; 4], b"lo")[..2],
            [0x80, 0x82]
        );
        assert_eq!(framed(Opcode::Pong, true, key, b"Hello")[..2], [0x8a, 0x85]);
        let long = framed(Opcode::Binary, true, [0; 4], &[7; 256]);
        assert_eq!(long[..4], [0x82, 0xfe, 0x01, 0x00]);
        let longer = framed(Opcode::Binary, true, [0; 4], &[7; 65_536]);
        assert_eq!(longer[..10], [0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!((long.len(), longer.len()), (8 + 256, 14 + 65_536));
    }

    #[test]
    fn masking_twice_is_none_at_any_length() {
        let key = [1, 2, 3, 4];
        for len in 0..40 {
            let plain: Vec<u8> = (0..len).collect();
            let mut octets = plain.clone();
            mask(&mut octets, key);
            for (at, octet) in octets.iter().enumerate() {
                assert_eq!(*octet, plain[at] ^ key[at % 4]);
            }
            mask(&mut octets, key);
            assert_eq!(octets, plain);
        }
    }
}
