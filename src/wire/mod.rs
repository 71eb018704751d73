//! MSRP as octets: RFC 4975 §5.1 (framing), §6 (URIs), §9 (syntax), with the headers that RFC 4976 adds.
//!
//! [`Decoder`] turns the octets of one connection into [`Event`]s: a [`Head`], slices of its body, the
//! [`Flag`] of its end-line. [`Template`] and the `encode_*` functions turn decisions back into octets.
//! Nothing here judges a request: a head that is malformed but framable is handed on with its
//! [`HeadFault`], because the answer to it is a matter of the relay.
//!
//! This room knows no socket, clock, thread or randomness, keeps no state beyond one connection's
//! place in the stream, and nothing that a remote side sends makes it panic or grow without bound.

mod byte_range;
mod decoder;
mod encode;
mod end_line;
mod error;
mod head;
mod head_parser;
mod header_name;
mod known_heads;
mod past_head;
mod path;
mod report_headers;
mod start_line;
mod template;
mod text;
mod transact_id;
mod uri;

pub use byte_range::ByteRange;
pub use decoder::{Decoder, DecoderLimits, Event};
pub use encode::{
    AnswerAgain, KeptAnswer, WayBack, encode_end, encode_report, encode_response,
    response_forwarded,
};
pub use end_line::{EndLineGuard, Flag};
pub use error::{DecodeError, Excerpt, HeadFault};
pub use head::Head;
pub use header_name::HeaderName;
pub use known_heads::{Again, Shape};
pub use path::Path;
pub use report_headers::{FailureReport, Status};
pub use start_line::{Kind, Method, START_LINE_OCTETS_MAX};
pub use template::Template;
pub use transact_id::TransactId;
pub use uri::{Authority, Host, Scheme, Uri, UriError};

#[cfg(test)]
mod tests;
