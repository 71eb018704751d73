//! Several real relays on loopback, with a name server and authorities of the test's own: what one relay alone cannot show.

mod chains;
mod farm;
mod finding;
mod trust;
mod world;

// The world of the conformance suite; not all of it is needed here.
#[allow(dead_code)]
#[path = "../conformance/support/mod.rs"]
mod support;
