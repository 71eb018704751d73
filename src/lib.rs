//! msrpd: an MSRP relay (RFC 4975, RFC 4976).

pub mod auth;
pub mod metrics;
pub mod relay;
pub mod wire;
