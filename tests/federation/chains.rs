//! AUTH from the inside to the outside, relay by relay, and messages along the way that it made (RFC 4976 §5.1).

use std::time::Duration;

use crate::support::client::Client;
use crate::support::dns::{Kind, Names};
use crate::support::message::Draft;
use crate::world::{Node, ask_to_join, chat, join, join_through, path_to};

#[test]
fn upt_04_a_client_joins_a_second_relay_that_srv_leads_to_and_messages_pass_both_ways() {
    let (a, b) = (Node::new(), Node::new());
    let mut alice = Client::authenticated(&a.relay, "alice");
    let mut bob = Client::authenticated(&b.relay, "bob");

    let use_path = join(&mut alice, &b.uri());
    let (first, second) = use_path.split_once(' ').expect("two URIs");
    assert_eq!(first, alice.token);
    // Its own name and port, not the domain's (DNS-08, UPT-01).
    let place = format!("msrps://{}:{}/", b.relay.host, b.relay.port());
    assert!(second.starts_with(&place), "{use_path}");
    let asked = Names::get().questions(&b.service());
    assert!(asked.contains(&Kind::Srv), "{asked:?}");

    let to_bob = format!("{use_path} {} {}", bob.token, bob.uri);
    let to_alice = format!("{} {}", bob.token, path_to(&use_path, &alice));
    for text in ["first", "second"] {
        chat(&mut alice, &to_bob, &mut bob, text);
        chat(&mut bob, &to_alice, &mut alice, text);
    }
    // All of it over one connection, found again by the name and port of the token.
    assert_eq!((a.links(), b.links()), (1.0, 1.0));
    a.relay.assert_ledger_is_settled();
    b.relay.assert_ledger_is_settled();
}

#[test]
fn upt_04_a_third_relay_is_joined_through_the_second() {
    let [a, b, c] = [(); 3].map(|()| Node::new());
    let mut alice = Client::authenticated(&a.relay, "alice");
    let mut bob = Client::authenticated(&c.relay, "bob");
    let two = join(&mut alice, &b.uri());
    let three = join_through(&mut alice, &two, &c.uri());
    assert!(three.starts_with(&format!("{two} ")), "{three}");

    let to_bob = format!("{three} {} {}", bob.token, bob.uri);
    let to_alice = format!("{} {}", bob.token, path_to(&three, &alice));
    chat(&mut alice, &to_bob, &mut bob, "through three");
    chat(&mut bob, &to_alice, &mut alice, "and back");
    for (node, links) in [(&a, 1.0), (&b, 2.0), (&c, 1.0)] {
        assert_eq!(node.links(), links, "{}", node.relay.host);
        node.relay.assert_ledger_is_settled();
    }
}

/// The token is bound to the relay A, not to the shard or connection of the client that got it.
#[test]
fn upt_09_clients_of_all_shards_share_one_link() {
    let (a, b) = (Node::new(), Node::new());
    let mut bob = Client::authenticated(&b.relay, "bob");
    let mut clients: Vec<Client> = (0..6)
        .map(|_| Client::authenticated(&a.relay, "alice"))
        .collect();
    for client in &mut clients {
        let use_path = join(client, &b.uri());
        let to_bob = format!("{use_path} {} {}", bob.token, bob.uri);
        let to_client = format!("{} {}", bob.token, path_to(&use_path, client));
        chat(client, &to_bob, &mut bob, "from some shard");
        chat(&mut bob, &to_client, client, "to some shard");
    }
    assert_eq!((a.links(), b.links()), (1.0, 1.0));
}

#[test]
fn upt_13_a_token_of_the_second_relay_is_prolonged_through_the_first() {
    let (a, b) = (Node::new(), Node::new());
    let mut alice = Client::authenticated(&a.relay, "alice");
    let use_path = join(&mut alice, &b.uri());
    let (first, second) = use_path.split_once(' ').expect("two URIs");
    assert_eq!(join_through(&mut alice, first, second), use_path);
}

#[test]
fn aut_20_the_second_relay_knows_no_user_without_the_right_password() {
    let (a, b) = (Node::new(), Node::new());
    let mut alice = Client::authenticated(&a.relay, "alice");
    let through = alice.token.clone();
    let path = format!("{through} {}", b.uri());
    let challenge = alice.challenge_for(&path);
    let mut other = Client::authenticated(&a.relay, "mallory");
    // Mallory's password under alice's challenge, as somebody who is not in the realm of B.
    let answer = other.answer_for("msrps://elsewhere.example;tcp", &challenge, 1);
    let line = format!("Authorization: {}", answer.authorization);
    assert_eq!(alice.auth_to(&path, &[&line]).code(), Some(401));
    // The link and the others on it are unharmed.
    let through = other.token.clone();
    assert_eq!(
        ask_to_join(&mut other, &through, &b.uri()).code(),
        Some(200)
    );
}

/// Loss of the far relay is told for what was under way, and a new one takes over under the old name.
#[test]
fn rpt_14_the_loss_of_a_relay_is_reported_to_the_client_behind_another() {
    let (a, b) = (Node::new(), Node::new());
    let mut alice = Client::authenticated(&a.relay, "alice");
    let bob = Client::authenticated(&b.relay, "bob");
    let use_path = join(&mut alice, &b.uri());
    let to_bob = format!("{use_path} {} {}", bob.token, bob.uri);
    // B stands still, so it has the chunk and has not answered it.
    b.relay.stand_still();
    let draft = Draft::send(&to_bob, &alice.uri).text("lost on the way");
    alice.send(draft.octets());
    assert_eq!(alice.response_to(&draft.tid).code(), Some(200));
    b.relay.signal(libc::SIGKILL);
    let report = alice.expect_method_within("REPORT", Duration::from_secs(5));
    assert_eq!(report.header("Status"), Some("000 408 Timeout"));
    assert_eq!(report.message_id(), Some(draft.message_id.as_str()));
    a.relay.assert_ledger_is_settled();
}
