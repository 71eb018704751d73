//! msrpd: an MSRP relay (RFC 4975, RFC 4976).

pub mod auth;
pub mod metrics;
pub mod net;
pub mod relay;
pub mod shard;
pub mod wire;
