//! The process is stopped for longer than its timers, as by a pause of the whole machine.

use std::thread;
use std::time::Duration;

use crate::pair::two_shards;
use crate::support::client::{Client, SOON};
use crate::support::link::Link;
use crate::support::message::response;
use crate::support::random::heavy;

/// Longer than the hop timer.
const PAUSE: Duration = Duration::from_secs(33);
const CHUNKS: usize = 200;

/// TMR-01: what had been answered by the end of the pause is not reported.
#[test]
fn tmr_01_a_relay_that_was_stopped_reports_nothing_that_was_answered() {
    let _turn = heavy();
    let relay = two_shards();
    let mut link = Link::neighbours(&relay);
    let mut arrived = Vec::new();
    for number in 0..CHUNKS {
        let draft = link.draft().text(&format!("chunk {number}"));
        link.a.send(draft.octets());
        arrived.push(link.p.expect_method("SEND"));
        assert_eq!(link.a.response_to(&draft.tid).code(), Some(200));
    }
    relay.stand_still();
    for request in &arrived {
        link.p.send(response(request, "200 OK"));
    }
    thread::sleep(PAUSE);
    relay.signal(libc::SIGCONT);
    let failed = |client: &mut Client| client.receive(SOON).is_ok();
    assert!(!failed(&mut link.a), "nothing is reported");
    let reported = relay.metric("msrpd_chunks_reported_total", &[]);
    assert_eq!(reported, 0.0);
    link.a.send(link.draft().text("on").octets());
    link.p.expect_method("SEND");
}
