//! Frame headers (RFC 6455 §5.2).

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    pub fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    fn of(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }
}

/// The header of a client's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub fin: bool,
    pub opcode: Opcode,
    pub payload: u64,
    pub mask: [u8; 4],
}

/// What of a header is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// A reserved bit is set, and no extension was negotiated.
    ReservedBits,
    Opcode,
    /// A client's frame is not masked.
    Unmasked,
    /// A control frame in pieces, or of more than 125 octets.
    Control,
    /// A length with its highest bit set, or in more octets than it needs.
    Length,
}

/// The longest header.
pub(super) const HEADER_OCTETS_MAX: usize = 14;
/// The largest payload of a control frame.
pub(super) const CONTROL_OCTETS_MAX: u64 = 125;

/// Reads the header at the front of `octets`; how long it is. `None`: octets are missing. Whatever can be judged is
/// judged at once.
pub(super) fn read(octets: &[u8]) -> Result<Option<(Header, usize)>, Malformed> {
    let [first, rest @ ..] = octets else {
        return Ok(None);
    };
    if first & 0x70 != 0 {
        return Err(Malformed::ReservedBits);
    }
    let opcode = Opcode::of(first & 0x0f).ok_or(Malformed::Opcode)?;
    let fin = first & 0x80 != 0;
    if opcode.is_control() && !fin {
        return Err(Malformed::Control);
    }
    let [second, rest @ ..] = rest else {
        return Ok(None);
    };
    if second & 0x80 == 0 {
        return Err(Malformed::Unmasked);
    }
    let short = second & 0x7f;
    if opcode.is_control() && u64::from(short) > CONTROL_OCTETS_MAX {
        return Err(Malformed::Control);
    }
    let (payload, rest) = match short {
        126 => match rest.split_first_chunk::<2>() {
            Some((len, rest)) => (u64::from(u16::from_be_bytes(*len)), rest),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk::<8>() {
            Some((len, rest)) => (u64::from_be_bytes(*len), rest),
            None => return Ok(None),
        },
        _ => (u64::from(short), rest),
    };
    let shortest = match short {
        126 => payload > 125,
        127 => payload > u64::from(u16::MAX),
        _ => true,
    };
    if !shortest || payload > u64::MAX >> 1 {
        return Err(Malformed::Length);
    }
    let Some((mask, rest)) = rest.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let header = Header {
        fin,
        opcode,
        payload,
        mask: *mask,
    };
    Ok(Some((header, octets.len() - rest.len())))
}

/// Appends the header of a whole, unmasked frame, as servers send them.
pub(super) fn write(out: &mut Vec<u8>, opcode: Opcode, payload: usize) {
    out.push(0x80 | opcode.bits());
    match payload {
        0..=125 => out.push(payload as u8),
        126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(payload as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(payload as u64).to_be_bytes());
        }
    }
}
