//! msrpload: a load generator for RFC 4976 relays that accounts for every octet.
//!
//! It shares no code with msrpd: a codec that both used would let both make the same mistake.
//! [`codec`] and [`digest`] are public because msrpd's conformance tests speak through them too.

pub mod codec;
pub mod digest;
