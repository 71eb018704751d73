//! Responses that wait for a connection: many short ones, so they share their memory.

use std::collections::VecDeque;

/// Memory that is kept for the next ones.
const KEPT_OCTETS: usize = 1024;

/// From this one on: a connection that did no more than AUTH keeps nothing.
const KEPT_FROM: u8 = 4;

/// Whole responses, one behind the other.
#[derive(Default)]
pub(super) struct Responses {
    octets: Vec<u8>,
    /// Up to here they were written.
    written: usize,
    lengths: VecDeque<u32>,
    /// How many there were, up to `KEPT_FROM`.
    seen: u8,
}

impl Responses {
    pub fn push(&mut self, octets: &[u8]) {
        self.push_with(|out| out.extend_from_slice(octets));
    }

    /// One that is appended by `write`; says how long it is.
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        let before = self.octets.len();
        write(&mut self.octets);
        let length = self.octets.len() - before;
        self.lengths.push_back(length as u32);
        self.seen = KEPT_FROM.min(self.seen + 1);
        length
    }

    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Appends the first one to `out`; says how long it was.
    pub fn write_first(&mut self, out: &mut Vec<u8>) -> Option<usize> {
        let length = self.lengths.pop_front()? as usize;
        let end = self.written + length;
        out.extend_from_slice(&self.octets[self.written..end]);
        self.written = end;
        if self.lengths.is_empty() && self.seen < KEPT_FROM {
            *self = Self {
                seen: self.seen,
                ..Self::default()
            };
        } else if self.lengths.is_empty() {
            self.octets.clear();
            self.octets.shrink_to(KEPT_OCTETS);
            self.lengths.shrink_to(KEPT_OCTETS / 64);
            self.written = 0;
        } else if self.written > KEPT_OCTETS && self.written > self.octets.len() / 2 {
            self.octets.drain(..self.written);
            self.written = 0;
        }
        Some(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_leave_as_they_came_and_take_no_memory_along() {
        let mut responses = Responses::default();
        let one = |number: usize| vec![number as u8; 1 + number % 300];
        let (mut next, mut seen) = (0, 0);
        for round in 0..2000 {
            for _ in 0..round % 7 {
                responses.push(&one(next));
                next += 1;
            }
            for _ in 0..round % 6 {
                let mut out = b"x".to_vec();
                let Some(length) = responses.write_first(&mut out) else {
                    break;
                };
                assert_eq!(out[1..], one(seen)[..]);
                assert_eq!(length, out.len() - 1);
                seen += 1;
            }
        }
        let mut out = Vec::new();
        while responses.write_first(&mut out).is_some() {
            seen += 1;
        }
        assert_eq!(seen, next);
        assert!(responses.is_empty() && responses.octets.capacity() <= KEPT_OCTETS);
    }
}
