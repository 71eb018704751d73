//! The octets choose what happens to the relay machine: clients, shards, faults and their order
//! as in `tests/relay`, with all its checks. Two octets are one choice; spent, the run ends.
// The world offers what scenarios want too.
#![allow(dead_code)]
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/relay/dice.rs"]
mod dice;
#[path = "../../tests/relay/setup.rs"]
mod setup;
#[path = "../../tests/relay/simulation/mod.rs"]
mod simulation;
#[path = "../../tests/relay/web.rs"]
mod web;
#[path = "../../tests/relay/world.rs"]
mod world;

fuzz_target!(|input: &[u8]| simulation::Simulation::run_octets(input));
