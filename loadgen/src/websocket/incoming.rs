//! Frames that a server sends (RFC 6455 §5), however the octets are cut.

use std::mem;

use super::frame::Opcode;

/// The longest header: what a server sends is not masked.
const HEADER_OCTETS_MAX: usize = 10;
const CONTROL_OCTETS_MAX: u64 = 125;

/// What came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Octets of a message, never none.
    Octets(&'a [u8]),
    /// The message ends here.
    End,
    /// To be answered by a pong with the same octets.
    Ping(&'a [u8]),
    /// The server closes, with this code if it says one.
    Close(Option<u16>),
}

/// Why a connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault<E> {
    /// The server breaks RFC 6455.
    Broken(&'static str),
    /// Whoever takes the events wants no more.
    Sink(E),
}

/// Reads the frames of one connection.
#[derive(Debug, Default)]
pub struct Frames {
    /// The beginning of a header.
    cut: [u8; HEADER_OCTETS_MAX],
    cut_octets: usize,
    frame: Option<Frame>,
    /// A message has begun and not ended.
    message: Option<Message>,
    control: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: Opcode,
    last: bool,
    left: u64,
}

/// A text message has to be UTF-8, wherever frames cut it.
#[derive(Clone, Copy, Debug, Default)]
struct Message {
    is_text: bool,
    /// The beginning of a character.
    cut: [u8; 4],
    cut_octets: usize,
}

impl Frames {
    /// Takes all of `input`, and gives what is in it to `sink`.
    pub fn read<E>(
        &mut self,
        mut input: &[u8],
        sink: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), Fault<E>> {
        loop {
            let frame = match self.frame.take() {
                Some(frame) => frame,
                None => match self.header(&mut input)? {
                    Some(frame) => frame,
                    None => return Ok(()),
                },
            };
            let here = usize::try_from(frame.left)
                .unwrap_or(usize::MAX)
                .min(input.len());
            let (payload, rest) = input.split_at(here);
            input = rest;
            let left = frame.left - here as u64;
            let ends = left == 0;
            match frame.opcode.is_control() {
                true => self.control.extend_from_slice(payload),
                false => self.data(payload, ends && frame.last, sink)?,
            }
            if !ends {
                self.frame = Some(Frame { left, ..frame });
                return Ok(());
            }
            if frame.opcode.is_control() {
                self.control_frame(frame.opcode, sink)?;
            }
        }
    }

    /// The header that stands at the front, with what was kept of it before.
    fn header<E>(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, Fault<E>> {
        let kept = self.cut_octets;
        let more = input.len().min(HEADER_OCTETS_MAX - kept);
        self.cut[kept..kept + more].copy_from_slice(&input[..more]);
        let seen = &self.cut[..kept + more];
        let [first, second, rest @ ..] = seen else {
            self.cut_octets = seen.len();
            *input = &[];
            return Ok(None);
        };
        let (left, used) = match second & 0x7f {
            126 => (
                rest.first_chunk()
                    .map(|len| u16::from_be_bytes(*len).into()),
                4,
            ),
            127 => (rest.first_chunk().map(|len| u64::from_be_bytes(*len)), 10),
            short => (Some(u64::from(short)), 2),
        };
        let (first, second) = (*first, *second);
        let Some(left) = left else {
            self.cut_octets = kept + more;
            *input = &[];
            return Ok(None);
        };
        self.cut_octets = 0;
        *input = &input[used - kept..];
        self.begin(first, second, left).map(Some)
    }

    fn begin<E>(&mut self, first: u8, second: u8, left: u64) -> Result<Frame, Fault<E>> {
        if first & 0x70 != 0 {
            return Err(Fault::Broken("a frame with a reserved bit"));
        }
        if second & 0x80 != 0 {
            return Err(Fault::Broken("a frame that is masked"));
        }
        let opcode = Opcode::of(first & 0x0f).ok_or(Fault::Broken("a frame of an unknown kind"))?;
        let last = first & 0x80 != 0;
        if opcode.is_control() && (!last || left > CONTROL_OCTETS_MAX) {
            return Err(Fault::Broken(
                "a control frame in pieces or of more than 125 octets",
            ));
        }
        match (opcode, &self.message) {
            (Opcode::Continuation, None) => {
                return Err(Fault::Broken("a continuation of nothing"));
            }
            (Opcode::Text | Opcode::Binary, Some(_)) => {
                return Err(Fault::Broken("a message within a message"));
            }
            (Opcode::Text | Opcode::Binary, None) => {
                self.message = Some(Message {
                    is_text: opcode == Opcode::Text,
                    ..Message::default()
                });
            }
            _ => {}
        }
        Ok(Frame { opcode, last, left })
    }

    fn data<E>(
        &mut self,
        payload: &[u8],
        ends: bool,
        sink: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), Fault<E>> {
        if let Some(message) = self.message.as_mut().filter(|message| message.is_text)
            && !(message.takes(payload) && (!ends || message.cut_octets == 0))
        {
            return Err(Fault::Broken("a text message that is not UTF-8"));
        }
        if !payload.is_empty() {
            sink(Event::Octets(payload)).map_err(Fault::Sink)?;
        }
        if ends {
            self.message = None;
            sink(Event::End).map_err(Fault::Sink)?;
        }
        Ok(())
    }

    fn control_frame<E>(
        &mut self,
        opcode: Opcode,
        sink: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), Fault<E>> {
        let payload = mem::take(&mut self.control);
        match opcode {
            Opcode::Ping => sink(Event::Ping(&payload)).map_err(Fault::Sink),
            Opcode::Close => {
                let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                sink(Event::Close(code)).map_err(Fault::Sink)
            }
            _ => Ok(()),
        }
    }
}

impl Message {
    /// Whether it can still be UTF-8 with these octets.
    fn takes(&mut self, mut octets: &[u8]) -> bool {
        while self.cut_octets > 0 {
            let Some((first, rest)) = octets.split_first() else {
                return true;
            };
            self.cut[self.cut_octets] = *first;
            self.cut_octets += 1;
            octets = rest;
            match std::str::from_utf8(&self.cut[..self.cut_octets]) {
                Ok(_) => self.cut_octets = 0,
                Err(error) if error.error_len().is_some() => return false,
                Err(_) => {}
            }
        }
        match std::str::from_utf8(octets) {
            Ok(_) => true,
            Err(error) if error.error_len().is_some() => false,
            Err(error) => {
                let tail = &octets[error.valid_up_to()..];
                self.cut[..tail.len()].copy_from_slice(tail);
                self.cut_octets = tail.len();
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events as text, octets joined.
    fn events(octets: &[u8], piece: usize) -> Result<Vec<String>, Fault<()>> {
        let mut frames = Frames::default();
        let mut seen: Vec<String> = Vec::new();
        let mut body = Vec::new();
        for piece in octets.chunks(piece) {
            frames.read(piece, &mut |event| {
                match event {
                    Event::Octets(octets) => body.extend_from_slice(octets),
                    Event::End => seen.push(format!(
                        "{:?}",
                        mem::take(&mut body).escape_ascii().to_string()
                    )),
                    other => seen.push(format!("{other:?}")),
                }
                Ok(())
            })?;
        }
        Ok(seen)
    }

    const KOSME: &[u8] = "κόσμε".as_bytes();

    #[test]
    fn any_cut_gives_the_same_events() {
        let mut octets = b"\x01\x03Hel\x89\x02hi\x00\x01l\x80\x01o".to_vec();
        octets.extend([0x81, KOSME.len() as u8]);
        octets.extend(KOSME);
        octets.extend(b"\x82\x7e\x00\x80");
        octets.extend([0xff; 128]);
        octets.extend(b"\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x01z\x8a\x00\x88\x02\x03\xe9");
        let whole = events(&octets, octets.len()).unwrap();
        assert_eq!(whole[0], "Ping([104, 105])");
        assert_eq!(whole[1], "\"Hello\"");
        assert_eq!(whole[4..], ["\"z\"", "Close(Some(1001))"]);
        for piece in 1..20 {
            assert_eq!(events(&octets, piece).unwrap(), whole, "pieces of {piece}");
        }
    }

    #[test]
    fn what_a_server_may_not_send_is_found_by_its_name() {
        for (octets, part) in [
            (&b"\x81\x81aaaab"[..], "masked"),
            (b"\xc1\x00", "reserved"),
            (b"\x83\x00", "unknown"),
            (b"\x80\x01a", "of nothing"),
            (b"\x01\x01a\x81\x01b", "within"),
            (b"\x09\x00", "control"),
            (b"\x89\x7e\x00\x80", "control"),
            (b"\x81\x01\xff", "UTF-8"),
            (b"\x81\x01\xce", "UTF-8"),
        ] {
            for piece in [1, octets.len()] {
                match events(octets, piece) {
                    Err(Fault::Broken(what)) => assert!(what.contains(part), "{what}"),
                    other => panic!("{octets:?}: {other:?}"),
                }
            }
        }
    }
}
