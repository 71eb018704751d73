//! The end-line (RFC 4975 §7.1, §9): seven hyphens, transact-id, flag, CRLF; preceded by a CRLF that is not body.
//!
//! [`EndLineScan`] finds it in what comes in, however it is cut (SYN-09), and takes nothing less for it
//! (SYN-10). [`EndLineGuard`] keeps the outgoing one out of bodies that we send (SYN-16).
//! Both are linear in the octets, whatever they are.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::{start_line::TRANSACT_ID_OCTETS_MAX, transact_id::TransactId};

/// What begins every end-line.
pub(super) const HYPHENS: &[u8] = b"-------";

pub(super) const CRLF_HYPHENS: &[u8] = b"\r\n-------";

pub(super) static CRLF_HYPHENS_FINDER: LazyLock<Finder<'static>> =
    LazyLock::new(|| Finder::new(CRLF_HYPHENS));

pub(super) static HYPHENS_FINDER: LazyLock<Finder<'static>> =
    LazyLock::new(|| Finder::new(HYPHENS));

/// The continuation flag: how a chunk stands to its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flag {
    /// `$`: the message ends here.
    Complete,
    /// `+`: more of the message follows in another chunk.
    More,
    /// `#`: the sender gives the message up.
    Abort,
}

impl Flag {
    /// As it is written.
    pub fn as_octet(self) -> u8 {
        match self {
            Self::Complete => b'$',
            Self::More => b'+',
            Self::Abort => b'#',
        }
    }

    /// Reads it.
    pub fn from_octet(octet: u8) -> Option<Self> {
        match octet {
            b'$' => Some(Self::Complete),
            b'+' => Some(Self::More),
            b'#' => Some(Self::Abort),
            _ => None,
        }
    }
}

/// Reads a whole end-line, given without its CRLF.
pub(super) fn end_line(line: &[u8], tid: &[u8]) -> Option<Flag> {
    let flag = line.strip_prefix(HYPHENS)?.strip_prefix(tid)?;
    match flag {
        [flag] => Flag::from_octet(*flag),
        _ => None,
    }
}

/// Looks for the end-line of one body. Between calls it remembers how much of CRLF and end-line has matched
/// at the end of what it saw; those octets are held back, for they may turn out to be no body.
#[derive(Clone, Debug)]
pub(super) struct EndLineScan {
    tid: [u8; TRANSACT_ID_OCTETS_MAX],
    tid_len: u8,
    /// Octets of CRLF, hyphens, tid, flag, CR that have matched and are held back.
    matched: u8,
    /// Of those, the ones that are not body even if no end-line follows: the CRLF of the blank line (SYN-13).
    not_body: u8,
    flag: Flag,
}

/// What a scan found in some input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// So many octets are body; look again at what follows them.
    Body(usize),
    /// The octets held back are body; take them by [`EndLineScan::release`], then look again.
    Held,
    /// The end-line is complete; so many octets of the input belong to it.
    End(usize, Flag),
    /// All of the input is held back.
    NeedMore,
}

impl EndLineScan {
    /// For a body that begins now. The CRLF of the blank line before it may be the one before the end-line.
    pub(super) fn new(tid: &[u8]) -> Self {
        let mut kept = [0; TRANSACT_ID_OCTETS_MAX];
        kept[..tid.len()].copy_from_slice(tid);
        Self {
            tid: kept,
            tid_len: tid.len() as u8,
            matched: 2,
            not_body: 2,
            flag: Flag::Complete,
        }
    }

    /// Looks at input that follows all input looked at before.
    pub(super) fn scan(&mut self, input: &[u8]) -> Found {
        if self.matched > 0 {
            let held_before = self.matched;
            return match self.extend(input) {
                Extended::End(taken) => Found::End(taken, self.flag),
                Extended::NeedMore => Found::NeedMore,
                Extended::Mismatch if held_before > self.not_body => Found::Held,
                // Nothing from earlier input is held: the octets just looked at are scanned as body,
                // and no CRLF lies before them that could begin an end-line.
                Extended::Mismatch => {
                    self.matched = 0;
                    self.not_body = 0;
                    self.search(input)
                }
            };
        }
        self.search(input)
    }

    /// Gives the octets held back, after [`Found::Held`].
    pub(super) fn release(&mut self) -> Vec<u8> {
        let held = (usize::from(self.not_body)..usize::from(self.matched))
            .filter_map(|at| self.expected(at))
            .collect();
        self.matched = 0;
        self.not_body = 0;
        held
    }

    /// Finds the first place in `input` from which on it could be CRLF and end-line, nothing being held.
    fn search(&mut self, input: &[u8]) -> Found {
        let mut from = 0;
        while let Some(at) = CRLF_HYPHENS_FINDER.find(&input[from..]) {
            let at = from + at;
            if !self.could_be_end_line(&input[at..]) {
                // The next CR cannot lie within the nine octets that matched.
                from = at + CRLF_HYPHENS.len();
                continue;
            }
            // What lies before the candidate is body, and the next look at it begins with the candidate.
            if at > 0 {
                return Found::Body(at);
            }
            return match self.extend(input) {
                Extended::End(taken) => Found::End(taken, self.flag),
                _ => Found::NeedMore,
            };
        }
        let tail = partial_suffix(&input[from..]);
        if tail == input.len() {
            self.matched = tail as u8;
            return Found::NeedMore;
        }
        Found::Body(input.len() - tail)
    }

    /// Whether `input`, which begins with CRLF and hyphens, goes on as the end-line, or ends within it.
    fn could_be_end_line(&self, input: &[u8]) -> bool {
        let tid = &self.tid[..usize::from(self.tid_len)];
        let after = &input[CRLF_HYPHENS.len()..];
        match after.strip_prefix(tid) {
            None => tid.starts_with(after),
            Some([]) => true,
            Some([flag, line_end @ ..]) => {
                Flag::from_octet(*flag).is_some()
                    && (line_end.starts_with(b"\r\n") || b"\r\n".starts_with(line_end))
            }
        }
    }

    /// Matches on from what is held. On a mismatch nothing changes.
    fn extend(&mut self, input: &[u8]) -> Extended {
        let flag_at = CRLF_HYPHENS.len() + usize::from(self.tid_len);
        let mut matched = usize::from(self.matched);
        let mut flag = self.flag;
        for (taken, &octet) in input.iter().enumerate() {
            if matched == flag_at {
                match Flag::from_octet(octet) {
                    Some(found) => flag = found,
                    None => return Extended::Mismatch,
                }
            } else if self.expected(matched) != Some(octet) {
                return Extended::Mismatch;
            } else if matched == flag_at + 2 {
                self.flag = flag;
                return Extended::End(taken + 1);
            }
            matched += 1;
        }
        self.flag = flag;
        self.matched = matched as u8;
        Extended::NeedMore
    }

    /// The octet at a place in CRLF, hyphens, tid, flag, CRLF; the flag as it was found.
    fn expected(&self, at: usize) -> Option<u8> {
        let tid_at = CRLF_HYPHENS.len();
        let flag_at = tid_at + usize::from(self.tid_len);
        match at {
            _ if at < tid_at => Some(CRLF_HYPHENS[at]),
            _ if at < flag_at => Some(self.tid[at - tid_at]),
            _ if at == flag_at => Some(self.flag.as_octet()),
            _ => b"\r\n".get(at - flag_at - 1).copied(),
        }
    }
}

enum Extended {
    End(usize),
    NeedMore,
    Mismatch,
}

/// How many octets at the end of `input` begin CRLF and seven hyphens.
fn partial_suffix(input: &[u8]) -> usize {
    let longest = input.len().min(CRLF_HYPHENS.len() - 1);
    (1..=longest)
        .rev()
        .find(|&len| input.ends_with(&CRLF_HYPHENS[..len]))
        .unwrap_or(0)
}

/// Watches the body octets sent under one transact-id for the end-line that would end them (SYN-16).
///
/// Our transact-ids are unpredictable, so a hit is chance. But then anything that resembles the end-line is to
/// be kept off the wire: hyphens and tid are enough, without the CRLF before and the flag after them, for there are
/// receivers that look no closer.
#[derive(Clone, Debug, Default)]
pub struct EndLineGuard {
    /// Octets of hyphens and tid that match at the end of what was sent; 7 stands for seven hyphens or more.
    matched: u8,
}

impl EndLineGuard {
    /// For a chunk that begins now; make a new one for every chunk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks at the next body octets of the chunk. `Some(offset)`: only the octets before the offset may
    /// be sent under this tid; the others go into a new chunk under a new tid, with a new guard.
    pub fn first_collision(&mut self, tid: &TransactId, slice: &[u8]) -> Option<usize> {
        let tid = tid.as_bytes();
        let mut at = 0;
        loop {
            if self.matched == 0 {
                // A run of hyphens at the very end may be the beginning of a longer one.
                let Some(found) = HYPHENS_FINDER.find(&slice[at..]) else {
                    let run = slice[at..].iter().rev().take(6);
                    self.matched = run.take_while(|&&o| o == b'-').count() as u8;
                    return None;
                };
                at += found + HYPHENS.len();
                self.matched = HYPHENS.len() as u8;
            }
            let &octet = slice.get(at)?;
            let matched = usize::from(self.matched);
            if matched >= HYPHENS.len() && octet == tid[matched - HYPHENS.len()] {
                self.matched += 1;
                if usize::from(self.matched) == HYPHENS.len() + tid.len() {
                    self.matched = 0;
                    return Some(at);
                }
            } else if octet == b'-' {
                // The base32 of our tids has no hyphen, so a hyphen extends a run or begins one.
                self.matched = if matched < HYPHENS.len() {
                    self.matched + 1
                } else if matched == HYPHENS.len() {
                    self.matched
                } else {
                    1
                };
            } else {
                self.matched = 0;
            }
            at += 1;
        }
    }
}
