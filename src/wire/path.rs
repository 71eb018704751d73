//! To-Path and From-Path (RFC 4975 §9): URIs separated by exactly one SP, the nearest hop first.

/// The value of a path header, borrowed from its head. The URIs are text as received (URI-02).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path<'a> {
    text: &'a [u8],
}

impl<'a> Path<'a> {
    /// Wraps the value of a path header; the empty text is a path of no URIs.
    pub fn new(text: &'a [u8]) -> Self {
        Self { text }
    }

    /// The whole value.
    pub fn text(&self) -> &'a [u8] {
        self.text
    }

    /// The URIs from left to right.
    pub fn uris(&self) -> Uris<'a> {
        Uris { rest: self.text }
    }

    /// Number of URIs.
    pub fn len(&self) -> usize {
        self.uris().count()
    }

    /// Whether there is no URI at all, as in a head without this path.
    pub fn is_empty(&self) -> bool {
        self.first().is_none()
    }

    /// The leftmost URI: the hop that the message was sent to, or came from.
    pub fn first(&self) -> Option<&'a [u8]> {
        self.uris().next()
    }

    /// The rightmost URI: the target, or the origin.
    pub fn last(&self) -> Option<&'a [u8]> {
        self.uris().next_back()
    }

    /// The path as two: its first `hops` URIs and what follows them, without the SP between.
    /// The second is empty where the path has no more URIs than that.
    pub fn split(&self, hops: usize) -> (Path<'a>, Path<'a>) {
        if hops == 0 {
            return (Path::new(&[]), *self);
        }
        match memchr::memchr_iter(b' ', self.text).nth(hops - 1) {
            Some(at) => (Path::new(&self.text[..at]), Path::new(&self.text[at + 1..])),
            None => (*self, Path::new(&[])),
        }
    }
}

/// The URIs of a path, from both ends.
#[derive(Clone, Debug)]
pub struct Uris<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Uris<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let (uri, rest) = match memchr::memchr(b' ', self.rest) {
                Some(at) => (&self.rest[..at], &self.rest[at + 1..]),
                None => (self.rest, &[][..]),
            };
            self.rest = rest;
            if !uri.is_empty() {
                return Some(uri);
            }
        }
        None
    }
}

impl<'a> DoubleEndedIterator for Uris<'a> {
    fn next_back(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let (rest, uri) = match memchr::memrchr(b' ', self.rest) {
                Some(at) => (&self.rest[..at], &self.rest[at + 1..]),
                None => (&[][..], self.rest),
            };
            self.rest = rest;
            if !uri.is_empty() {
                return Some(uri);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// URI-01
    #[test]
    fn the_leftmost_uri_is_first_and_the_rightmost_last() {
        let path = Path::new(b"a b c");
        assert_eq!(path.uris().collect::<Vec<_>>(), [b"a", b"b", b"c"]);
        assert_eq!(path.len(), 3);
        assert_eq!(path.first(), Some(&b"a"[..]));
        assert_eq!(path.last(), Some(&b"c"[..]));
        assert!(Path::new(b"").is_empty());
        assert_eq!(Path::new(b"").len(), 0);
    }

    #[test]
    fn uris_come_from_both_ends_once_each() {
        for text in ["", " ", "a", "a b c", "  a   bc ", "a b c d e"] {
            let expected: Vec<&[u8]> = text
                .as_bytes()
                .split(|&octet| octet == b' ')
                .filter(|uri| !uri.is_empty())
                .collect();
            let path = Path::new(text.as_bytes());
            assert_eq!(path.uris().collect::<Vec<_>>(), expected);
            let mut back: Vec<_> = path.uris().rev().collect();
            back.reverse();
            assert_eq!(back, expected);
            let (mut uris, mut both) = (path.uris(), Vec::new());
            while let Some(front) = uris.next() {
                both.push(front);
                both.extend(uris.next_back());
            }
            both.sort_unstable();
            assert_eq!(both, expected, "{text:?}");
        }
    }

    #[test]
    fn a_path_splits_after_any_number_of_hops() {
        let path = Path::new(b"a b c");
        for (hops, front, back) in [
            (0, "", "a b c"),
            (1, "a", "b c"),
            (2, "a b", "c"),
            (3, "a b c", ""),
            (4, "a b c", ""),
        ] {
            let expected = (Path::new(front.as_bytes()), Path::new(back.as_bytes()));
            assert_eq!(path.split(hops), expected, "{hops}");
        }
    }
}
