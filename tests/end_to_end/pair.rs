//! Two clients whose connections live on different shards.

use crate::support::client::SOON;
use crate::support::link::Link;
use crate::support::message::response;
use crate::support::relay::{Relay, Setup};

/// A relay with two shards.
pub fn two_shards() -> Relay {
    Setup::new().set("relay.workers", 2).start()
}

/// Both authenticated; it is checked that what one says to the other crosses between the shards.
pub fn across(relay: &Relay) -> Link {
    let before = relay.metric("msrpd_handoffs_total", &[]);
    let mut link = Link::neighbours(relay);
    chat(&mut link, "from shard to shard");
    relay.metric_becomes("msrpd_handoffs_total", &[], |now| now > before);
    link
}

/// One chunk from A to P with both of its 200s.
pub fn chat(link: &mut Link, text: &str) {
    let draft = link.draft().text(text);
    link.a.send(draft.octets());
    let got = link
        .p
        .find(SOON, |m| m.message_id() == Some(&draft.message_id));
    assert_eq!(got.body(), text.as_bytes());
    link.p.send(response(&got, "200 OK"));
    assert_eq!(link.a.response_to(&draft.tid).code(), Some(200));
}
