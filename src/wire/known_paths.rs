//! Paths that were read before on the same connection: message after message has the same two,
//! and a text that was legal once is legal again.

use super::header_name::HeaderName;
use super::start_line::{Kind, Method};

/// A longer path is read each time: most have a few hundred octets at most.
const OCTETS_MAX: usize = 512;

/// The last legal To-Path and From-Path of SEND requests, and those of responses. AUTH, which
/// connections that do nothing else send too, leaves nothing here.
#[derive(Debug, Default)]
pub(super) struct KnownPaths(Option<Box<[Vec<u8>; 4]>>);

impl KnownPaths {
    /// Whether this very text was found legal. No text, as where none was learned yet, never is.
    pub(super) fn has(&self, kind: Kind, name: HeaderName, value: &[u8]) -> bool {
        !value.is_empty()
            && place(kind, name)
                .zip(self.0.as_ref())
                .is_some_and(|(place, texts)| texts[place] == value)
    }

    pub(super) fn learn(&mut self, kind: Kind, name: HeaderName, value: &[u8]) {
        let Some(place) = place(kind, name).filter(|_| value.len() <= OCTETS_MAX) else {
            return;
        };
        let text = &mut self.0.get_or_insert_default()[place];
        text.clear();
        text.extend_from_slice(value);
    }
}

fn place(kind: Kind, name: HeaderName) -> Option<usize> {
    let kind = match kind {
        Kind::Request(Method::Send) => 0,
        Kind::Response { .. } => 2,
        Kind::Request(_) => return None,
    };
    Some(kind + usize::from(name == HeaderName::FromPath))
}
