//! msrpd: an MSRP relay (RFC 4975, RFC 4976).

pub mod wire;
