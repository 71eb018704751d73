//! The simulation's self-test: each planted fault is found within a bounded number of seeds.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use msrpd::relay::{Fault, plant};

use crate::simulation::Simulation;

/// Within so many seeds every fault must be found.
const SEEDS: u64 = 3000;

#[test]
fn every_planted_fault_is_found() {
    let mut faults: Vec<(Fault, fn(u64))> = Vec::new();
    for fault in Fault::OF_ONE_RELAY {
        faults.push((fault, Simulation::run_seed));
    }
    for fault in Fault::OF_WEBSOCKETS {
        faults.push((fault, Simulation::run_web));
    }
    for fault in Fault::OF_LINKS {
        faults.push((fault, Simulation::run_chain));
    }
    let faults = Mutex::new(faults);
    let missed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let next = faults.lock().expect("no panic under the lock").pop();
                    let Some((fault, run)) = next else { return };
                    match seed_that_finds(fault, run) {
                        Some(seed) => eprintln!("{fault:?} is found by seed {seed}"),
                        None => missed.lock().expect("no panic under the lock").push(fault),
                    }
                }
            });
        }
    });
    let missed = missed.into_inner().expect("no panic under the lock");
    assert!(
        missed.is_empty(),
        "not found within {SEEDS} seeds: {missed:?}"
    );
}

fn seed_that_finds(fault: Fault, run: fn(u64)) -> Option<u64> {
    plant(Some(fault));
    let found = (1..=SEEDS).find(|seed| catch_unwind(AssertUnwindSafe(|| run(*seed))).is_err());
    plant(None);
    found
}
