//! Who is believed, and for how long: authorities and lists of relays that change while links are up.

use crate::support::client::{Client, SOON};
use crate::support::message::Draft;
use crate::support::pki::{STRANGER, TRUSTED};
use crate::world::{Node, ask_to_join, chat, join, path_to};

#[test]
fn tls_07_a_link_ends_when_its_authority_is_struck_out_and_comes_back_with_it() {
    let (a, b) = (Node::new(), Node::new());
    let mut alice = Client::authenticated(&a.relay, "alice");
    let mut bob = Client::authenticated(&b.relay, "bob");
    let use_path = join(&mut alice, &b.uri());
    let to_bob = format!("{use_path} {} {}", bob.token, bob.uri);
    chat(&mut alice, &to_bob, &mut bob, "while A is believed");
    assert_eq!(b.links(), 1.0);

    b.reload("ca.pem", |_| STRANGER.pem());
    b.has_links(0.0);
    // A dials anew, and B takes it for a client that has no such session.
    let draft = Draft::send(&to_bob, &alice.uri).text("while it is not");
    alice.send(draft.octets());
    assert_eq!(alice.response_to(&draft.tid).code(), Some(200));
    let report = alice.find(SOON, |m| m.method() == Some("REPORT"));
    assert_eq!(report.header("Status"), Some("000 481 No such session"));

    // Whoever was taken for a client stays one; A's next connection is a relay's again (UPT-09).
    b.reload("ca.pem", |_| TRUSTED.pem());
    let to_alice = format!("{} {}", bob.token, path_to(&use_path, &alice));
    chat(&mut bob, &to_alice, &mut alice, "B dials A for the token");
    b.has_links(1.0);
    b.relay.assert_ledger_is_settled();
}

#[test]
fn aut_24_a_reload_of_the_list_of_relays_ends_the_link_of_one_that_is_blocked() {
    let (a, b) = (Node::new(), Node::new());
    let mut alice = Client::authenticated(&a.relay, "alice");
    let through = alice.token.clone();
    join(&mut alice, &b.uri());
    assert_eq!(b.links(), 1.0);

    // All names of its certificate: it could use any of them in a From-Path.
    let names = [&a.relay.host, &a.domain];
    b.reload("msrpd.toml", |text| {
        format!("{text}\n[peers]\nblock = {names:?}\n")
    });
    b.has_links(0.0);
    assert_eq!(ask_code(&mut alice, &through, &b.uri()), Some(403));

    // Those who may, in place of those who may not.
    let list = |list: &str| {
        let list = format!("\n[peers]\nallow = {list}\n");
        move |text: String| {
            let (before, _) = text.split_once("\n[peers]").expect("a list of relays");
            format!("{before}{list}")
        }
    };
    b.reload("msrpd.toml", list("[\"elsewhere.example\"]"));
    assert_eq!(ask_code(&mut alice, &through, &b.uri()), Some(403));
    b.reload("msrpd.toml", list(&format!("{names:?}")));
    let granted = ask_to_join(&mut alice, &through, &b.uri());
    assert_eq!(granted.code(), Some(200), "{granted:?}");
}

/// The code that an AUTH without credentials gets.
fn ask_code(client: &mut Client, through: &str, uri: &str) -> Option<u16> {
    client.auth_to(&format!("{through} {uri}"), &[]).code()
}

/// A link that stays good is not touched by a reload.
#[test]
fn tls_13_a_reload_leaves_links_that_are_good() {
    let (a, b) = (Node::new(), Node::new());
    let mut alice = Client::authenticated(&a.relay, "alice");
    let mut bob = Client::authenticated(&b.relay, "bob");
    let use_path = join(&mut alice, &b.uri());
    let to_bob = format!("{use_path} {} {}", bob.token, bob.uri);
    for node in [&a, &b] {
        // One authority more, and the old one.
        node.reload("ca.pem", |text| text + &STRANGER.pem());
    }
    chat(&mut alice, &to_bob, &mut bob, "as before");
    let dialled = a.relay.log().matches("next hop not reached").count();
    assert_eq!((a.links(), b.links(), dialled), (1.0, 1.0, 0));
    let closed = b.relay.metric("msrpd_connections_closed_total", &[]);
    assert_eq!(closed, 0.0);
}
