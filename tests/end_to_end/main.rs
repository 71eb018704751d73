//! The real binary with two shards and real TLS sockets: what crosses between the shards, what a
//! drain leaves behind, and what bad company may cost the others.
//!
//! The tests take turns: throughput and the time of a drain mean little beside one another.

mod balancer;
mod closing;
mod crossing;
mod database;
mod descriptors;
mod draining;
mod draining_under_load;
mod figures;
mod ipv6;
mod isolation;
mod log;
mod mistakes;
mod pair;
mod quotas;
mod records;
mod reloading;
mod stalled;
mod standing_still;

// The world of the conformance suite; not all of it is needed here.
#[allow(dead_code)]
#[path = "../conformance/support/mod.rs"]
mod support;
