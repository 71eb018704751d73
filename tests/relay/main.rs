//! The relay machine in virtual time: scenarios named as protocol sentences, and a seeded
//! simulation of clients, shards and faults.
//!
//! `cargo test --test relay` runs all; `MSRPD_SEEDS=n` sets how many seeds, and
//! `MSRPD_SEED=n cargo test --test relay simulation_one_seed` runs one again, one of several
//! relays with `simulation_one_chain`, with WebSocket clients `simulation_one_web` and
//! `simulation_one_web_chain`; `MSRPD_TRACE=1` shows every message of it.

// The world offers what any scenario may want; not each is wanted by one today.
#![allow(dead_code)]

mod dice;
#[cfg(feature = "planted-faults")]
mod planted;
mod relays;
mod scenarios;
mod setup;
mod simulation;
mod web;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use simulation::Simulation;

/// How many seeds a run takes unless `MSRPD_SEEDS` says otherwise.
const SEEDS: u64 = 10_000;

#[test]
fn simulation_of_many_seeds() {
    many_seeds("simulation_one_seed", Simulation::run_seed);
}

#[test]
fn simulation_of_many_chains() {
    many_seeds("simulation_one_chain", Simulation::run_chain);
}

#[test]
fn simulation_of_many_webs() {
    many_seeds("simulation_one_web", Simulation::run_web);
}

#[test]
fn simulation_of_many_web_chains() {
    many_seeds("simulation_one_web_chain", Simulation::run_web_chain);
}

/// What a thread of this test has of stack. A shard's has 2 MiB; the rest is the distance to
/// whatever a remote side could make grow.
const STACK_OCTETS: usize = 262_144;

fn many_seeds(one: &str, run: fn(u64)) {
    let seeds = std::env::var("MSRPD_SEEDS")
        .map_or(SEEDS, |text| text.parse().expect("MSRPD_SEEDS is a number"));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let next = AtomicU64::new(1);
    let failed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let thread = || {
                while failed.load(Ordering::Relaxed) == 0 {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > seeds {
                        return;
                    }
                    if catch_unwind(AssertUnwindSafe(|| run(seed))).is_err() {
                        failed.store(seed, Ordering::Relaxed);
                    }
                }
            };
            std::thread::Builder::new()
                .stack_size(STACK_OCTETS)
                .spawn_scoped(scope, thread)
                .expect("a thread");
        }
    });
    let seed = failed.load(Ordering::Relaxed);
    assert_eq!(
        seed, 0,
        "seed {seed} fails; run it again: MSRPD_SEED={seed} cargo test --test relay {one}"
    );
}

/// SEC-07: no scenario needs more stack than that: nothing that a remote side sends nests
/// deeper the more it is.
#[test]
fn sec_07_all_scenarios_run_on_a_small_stack() {
    let this = std::env::current_exe().expect("the path of this test");
    let run = std::process::Command::new(this)
        .args(["scenarios::", "--quiet"])
        .env("RUST_MIN_STACK", STACK_OCTETS.to_string())
        .output()
        .expect("this test, run again");
    assert!(
        run.status.success(),
        "{}\n{}\n{}",
        run.status,
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr)
    );
}

/// Once a message was lost here that came back to a relay which it had left before (URI-12).
#[test]
fn simulation_of_a_chain_that_came_back() {
    Simulation::run_chain(77_716);
}

#[test]
fn simulation_one_seed() {
    Simulation::run_seed(one_seed());
}

#[test]
fn simulation_one_chain() {
    Simulation::run_chain(one_seed());
}

#[test]
fn simulation_one_web() {
    Simulation::run_web(one_seed());
}

#[test]
fn simulation_one_web_chain() {
    Simulation::run_web_chain(one_seed());
}

fn one_seed() -> u64 {
    std::env::var("MSRPD_SEED").map_or(1, |text| text.parse().expect("MSRPD_SEED is a number"))
}
