//! Peers whose host goes without a word (D-41): no FIN and no reset ever comes. Every far host is a network namespace of
//! its own; the relay and the parties that stay are in one, too, so that nothing here touches the machine's own network.

mod clients;
mod host;
mod next_hops;

// The world of the conformance suite; not all of it is needed here.
#[allow(dead_code)]
#[path = "../conformance/support/mod.rs"]
mod support;

fn main() {
    if let Err(why) = host::leave_the_machines_network() {
        println!("skipped: no network namespaces here ({why})");
        return;
    }
    let mut rows = clients::rows();
    rows.extend(next_hops::rows());
    support::run::run(rows)
}
