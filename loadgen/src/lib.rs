//! MSRP and Digest as msrpload, a load generator for RFC 4976 relays, speaks them.
//!
//! It shares no code with msrpd: a codec that both used would let both make the same mistake.
//! msrpd's conformance tests speak through this library too. The program itself is in `main.rs`.

pub mod codec;
pub mod digest;
pub mod websocket;
