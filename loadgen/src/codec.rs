//! MSRP as a strict client reads and writes it (RFC 4975 §7.1, §7.2, §9).
//!
//! Two readers share one scanner. [`stream::Scanner`] works in place on a caller's buffer and never
//! holds a body: the load engine uses it. [`Parser`] collects whole [`Message`]s: tests use it.
//! Both are strict about what a relay may emit (start line, transact-id, the two paths first, one
//! end-line that fits, `$` only outside SEND) and say which octets broke which rule.
//! Nothing here touches a socket.

mod build;
mod error;
mod head;
mod message;
pub mod stream;
#[cfg(test)]
mod tests;
mod uri;

pub use build::{Builder, build_send, fresh_tid};
pub use error::CodecError;
pub use head::{ByteRange, FailureReport, Head, Kind, Method};
pub use message::{Message, Parser, Start};
pub use uri::{Uri, check_uri};

/// An extract of octets for people: escaped, on one line, at most 400 octets of the input.
pub fn shown(octets: &[u8]) -> String {
    error::extract(octets)
}
