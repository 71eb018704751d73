//! msrpd: an MSRP relay (RFC 4975, RFC 4976).

pub mod admin;
pub mod auth;
pub mod config;
pub mod metrics;
pub mod net;
pub mod relay;
pub mod server;
pub mod shard;
pub mod wire;
