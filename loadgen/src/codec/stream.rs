//! The scanner: MSRP in place, out of a buffer that the caller owns and reuses.
//!
//! Contract: call [`Scanner::step`] with everything received and not yet used, in order; take the
//! `used` octets it names off the front; at [`Step::More`] keep the rest and come back with more
//! behind it. A body comes in as many [`Step::Body`] slices as it likes, never with an octet of the
//! end-line (RFC 4975 §7.1). After an error the stream is out of step for good.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::error::{CodecError, extract};
use super::head::{Head, TID_OCTETS_MAX, parse_head};

/// Longest head accepted. A relay that makes a longer one is broken; the tests send up to 32 KiB.
pub const HEAD_OCTETS_MAX: usize = 64 * 1024;

const HYPHENS: &[u8] = b"-------";

static BODY_END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\n-------"));

/// What the next octets are.
#[derive(Debug)]
pub enum Step<'a> {
    /// Nothing can be said before more octets are there.
    More,
    /// Start line and headers of a message.
    Head { head: Head<'a>, used: usize },
    /// A part of the body, not empty.
    Body { octets: &'a [u8], used: usize },
    /// The end-line with its flag: `$`, `+` or `#`.
    End { flag: u8, used: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At a start line.
    Between,
    /// After the blank line, no octet of the body seen yet.
    BodyStart,
    Body,
    /// At the end-line of a message without body.
    EndLine,
}

/// One per direction of a connection.
#[derive(Clone, Debug)]
pub struct Scanner {
    state: State,
    tid: [u8; TID_OCTETS_MAX],
    tid_octets: u8,
    may_be_chunked: bool,
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}

impl Scanner {
    pub fn new() -> Self {
        Self {
            state: State::Between,
            tid: [0; TID_OCTETS_MAX],
            tid_octets: 0,
            may_be_chunked: false,
        }
    }

    /// An end of the stream is clean only here.
    pub fn is_between_messages(&self) -> bool {
        self.state == State::Between
    }

    pub fn step<'a>(&mut self, input: &'a [u8]) -> Result<Step<'a>, CodecError> {
        match self.state {
            State::Between => self.head(input),
            State::BodyStart => self.body_start(input),
            State::Body => self.body(input),
            State::EndLine => self.end_line(input, 0),
        }
    }

    fn head<'a>(&mut self, input: &'a [u8]) -> Result<Step<'a>, CodecError> {
        let Some((head, used)) = parse_head(input)? else {
            // The few octets that are there must at least be able to become a start line.
            let seen = input.len().min(5);
            if input[..seen] != b"MSRP "[..seen] {
                return Err(CodecError::StartLine { at: extract(input) });
            }
            if input.len() > HEAD_OCTETS_MAX {
                return Err(CodecError::HeadTooLong {
                    octets: HEAD_OCTETS_MAX,
                });
            }
            return Ok(Step::More);
        };
        self.tid[..head.tid.len()].copy_from_slice(head.tid);
        self.tid_octets = head.tid.len() as u8;
        self.may_be_chunked = head.is_send();
        self.state = if head.has_body {
            State::BodyStart
        } else {
            State::EndLine
        };
        Ok(Step::Head { head, used })
    }

    /// An empty body may lack its own CRLF (SYN-13).
    fn body_start<'a>(&mut self, input: &'a [u8]) -> Result<Step<'a>, CodecError> {
        let seen = input.len().min(HYPHENS.len());
        if input[..seen] == HYPHENS[..seen] {
            match self.compare_end_line(input) {
                Comparison::Whole => return self.end_line(input, 0),
                Comparison::SoFar => return Ok(Step::More),
                Comparison::Differs => {}
            }
        }
        self.state = State::Body;
        self.body(input)
    }

    fn body<'a>(&mut self, input: &'a [u8]) -> Result<Step<'a>, CodecError> {
        let mut from = 0;
        while let Some(found) = BODY_END.find(&input[from..]) {
            let at = from + found;
            match self.compare_end_line(&input[at + 2..]) {
                Comparison::Whole if at == 0 => return self.end_line(input, 2),
                Comparison::Whole | Comparison::SoFar if at > 0 => {
                    return Ok(Step::Body {
                        octets: &input[..at],
                        used: at,
                    });
                }
                Comparison::Whole | Comparison::SoFar => return Ok(Step::More),
                Comparison::Differs => from = at + 2,
            }
        }
        // A CRLF and some hyphens at the very end may become the end-line.
        let tail = &input[input.len().saturating_sub(2 + HYPHENS.len() - 1).max(from)..];
        let held = (0..tail.len())
            .find(|&i| b"\r\n-------".starts_with(&tail[i..]))
            .map_or(0, |i| tail.len() - i);
        match input.len() - held {
            0 => Ok(Step::More),
            clear => Ok(Step::Body {
                octets: &input[..clear],
                used: clear,
            }),
        }
    }

    fn end_line<'a>(&mut self, input: &'a [u8], skip: usize) -> Result<Step<'a>, CodecError> {
        let line = &input[skip..];
        match self.compare_end_line(line) {
            Comparison::Whole => {}
            Comparison::SoFar => return Ok(Step::More),
            Comparison::Differs => return Err(CodecError::HeaderLine { at: extract(line) }),
        }
        let flag_at = HYPHENS.len() + usize::from(self.tid_octets);
        let flag = line[flag_at];
        if flag != b'$' && !self.may_be_chunked {
            return Err(CodecError::Flag {
                at: extract(&line[..flag_at + 1]),
            });
        }
        self.state = State::Between;
        Ok(Step::End {
            flag,
            used: skip + flag_at + 3,
        })
    }

    /// Compares what stands at the front of `line` with our end-line.
    fn compare_end_line(&self, line: &[u8]) -> Comparison {
        let tid = &self.tid[..usize::from(self.tid_octets)];
        let fixed = HYPHENS.len() + tid.len();
        let hyphens = line.len().min(HYPHENS.len());
        if line[..hyphens] != HYPHENS[..hyphens] {
            return Comparison::Differs;
        }
        let rest = &line[hyphens..];
        let seen = rest.len().min(tid.len());
        if rest[..seen] != tid[..seen] {
            return Comparison::Differs;
        }
        let flag_ok = line
            .get(fixed)
            .is_none_or(|f| matches!(f, b'$' | b'+' | b'#'));
        let cr_ok = line.get(fixed + 1).is_none_or(|&b| b == b'\r');
        let lf_ok = line.get(fixed + 2).is_none_or(|&b| b == b'\n');
        match flag_ok && cr_ok && lf_ok {
            false => Comparison::Differs,
            true if line.len() >= fixed + 3 => Comparison::Whole,
            true => Comparison::SoFar,
        }
    }
}

enum Comparison {
    Whole,
    SoFar,
    Differs,
}
