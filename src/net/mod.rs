//! Sockets and their ring operations, TLS, listeners, names: octets, and no MSRP.

pub mod address;
pub mod dial;
pub mod directory;
pub mod half_open;
pub mod listener;
pub mod names;
pub mod postgres;
pub mod proxy_header;
pub mod tls;
pub mod uring;
pub mod websocket;
