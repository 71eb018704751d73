//! Exact octets against a running relay, over real sockets: the rows of the conformance checklist
//! (README.md beside this file has the table); where a row needs a second relay, the test plays it.
//!
//! Every relay is started with a configuration, a certificate authority and ports of its own.
//! With `MSRPD_CONFORMANCE_TARGET=host:port` (and `_CA`, `_HOST`, `_USER`, `_PASSWORD`) the rows
//! that work with any relay run against that one instead, and the others count as ignored.

mod aut;
mod chk;
mod con;
mod dialling;
mod err;
mod fns;
mod fwd;
mod harness;
mod in_clear;
mod open_relay;
mod rel_auth;
mod rel_fwd;
mod rel_links;
mod rel_tls;
mod rel_wire;
mod rpt;
mod rsp;
mod sec;
mod sec_claims;
mod support;
mod syn;
mod tls;
mod tmr;
mod upt;
mod uri;
mod wire_examples;
mod wsk;
mod wsk_client;
mod wsk_flow;

fn main() {
    support::run::run(all_rows())
}

fn all_rows() -> Vec<libtest_mimic::Trial> {
    let mut rows = Vec::new();
    // Those that sleep for a timer of 30 s begin first.
    for topic in [
        tmr::rows,
        rpt::rows,
        wire_examples::rows,
        con::rows,
        rsp::rows,
        harness::rows,
        syn::rows,
        chk::rows,
        uri::rows,
        in_clear::rows,
        aut::rows,
        upt::rows,
        fwd::rows,
        fns::rows,
        tls::rows,
        err::rows,
        sec::rows,
        sec_claims::rows,
        open_relay::rows,
        rel_tls::rows,
        rel_fwd::rows,
        rel_links::rows,
        rel_auth::rows,
        dialling::rows,
        rel_wire::rows,
        wsk::rows,
        wsk_client::rows,
        wsk_flow::rows,
        wsk::repeated,
    ] {
        rows.extend(topic());
    }
    rows
}
