//! The rest of a head of which no more is kept: read past, line by line, to where the head ends. So one head that is
//! too long costs its message and not the connection (SYN-25).
//!
//! A head ends where [`HeadParser`](super::head_parser::HeadParser) would have seen its end: at a blank line, or at the
//! end-line. Memory does not grow with what is read past.

use super::end_line::{Flag, HYPHENS, end_line};
use super::start_line::TRANSACT_ID_OCTETS_MAX;

/// The longest end-line, with its CRLF.
const LINE_OCTETS_MAX: usize = HYPHENS.len() + TRANSACT_ID_OCTETS_MAX + 3;

/// Where in the rest of a head the reader is.
#[derive(Debug)]
pub(super) struct PastHead {
    tid: Box<[u8]>,
    /// The line that is being read, as far as it could be an end-line.
    line: Vec<u8>,
    /// It cannot be one.
    long: bool,
    /// The last octet was CR.
    cr: bool,
}

/// What was found in some input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// The head goes on.
    NeedMore,
    /// It ended with a blank line; so many octets of the input belong to it.
    Blank(usize),
    /// It ended with the end-line; so many octets of the input belong to it.
    End(usize, Flag),
}

impl PastHead {
    /// For the message with this transact-id. Reading begins with a line if `at_line`, else within the start line.
    pub(super) fn new(tid: &[u8], at_line: bool) -> Self {
        Self {
            tid: tid.into(),
            line: Vec::with_capacity(LINE_OCTETS_MAX),
            long: !at_line,
            cr: false,
        }
    }

    /// The transact-id.
    pub(super) fn tid(&self) -> &[u8] {
        &self.tid
    }

    /// Memory held.
    pub(super) fn held_octets(&self) -> usize {
        size_of::<Self>() + self.tid.len() + self.line.capacity()
    }

    /// Looks at input that follows all input looked at before.
    pub(super) fn read(&mut self, input: &[u8]) -> Passed {
        let mut at = 0;
        while let Some(found) = memchr::memchr(b'\n', &input[at..]) {
            let lf = at + found;
            let line_ends = match lf {
                0 => self.cr,
                _ => input[lf - 1] == b'\r',
            };
            self.keep(&input[at..=lf]);
            at = lf + 1;
            // A bare LF ends no line (SYN-08).
            if !line_ends {
                continue;
            }
            if !self.long {
                let line = &self.line[..self.line.len() - 2];
                if line.is_empty() {
                    return Passed::Blank(at);
                }
                if let Some(flag) = end_line(line, &self.tid) {
                    return Passed::End(at, flag);
                }
            }
            self.line.clear();
            self.long = false;
        }
        self.keep(&input[at..]);
        self.cr = input.last().map_or(self.cr, |octet| *octet == b'\r');
        Passed::NeedMore
    }

    fn keep(&mut self, octets: &[u8]) {
        let room = LINE_OCTETS_MAX - self.line.len();
        self.long |= octets.len() > room;
        self.line
            .extend_from_slice(&octets[..octets.len().min(room)]);
    }
}
