//! A farm: nodes behind one name that share a key, and nothing else (docs/farm.md).

use std::time::Duration;

use crate::support::client::Client;
use crate::world::{Node, chat, join, own_name};

const OLD: &str = "0f0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const NEW: &str = "f00102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn member(domain: &str, keys: &str) -> Node {
    Node::unannounced(domain, |setup| {
        setup
            .set("auth.farm_key_file", "farm.keys")
            .file("farm.keys", keys)
    })
}

/// Takes a challenge at one node and answers it at another: the code.
fn challenged_at_one_answered_at_other(one: &Node, other: &Node) -> Option<u16> {
    let uri = one.uri();
    let mut first = Client::tls(&one.relay);
    let challenge = first.challenge_for(&uri);
    let mut second = Client::authenticated(&other.relay, "alice");
    let answer = second.answer_for(&uri, &challenge, 1);
    let line = format!("Authorization: {}", answer.authorization);
    second.auth_to(&uri, &[&line]).code()
}

#[test]
fn aut_14_a_challenge_of_one_member_is_answered_at_another() {
    let domain = own_name("farm");
    let (one, two) = (member(&domain, OLD), member(&domain, OLD));
    let outsider = Node::unannounced(&domain, |setup| setup);
    assert_eq!(challenged_at_one_answered_at_other(&one, &two), Some(200));
    assert_eq!(challenged_at_one_answered_at_other(&two, &one), Some(200));
    assert_eq!(
        challenged_at_one_answered_at_other(&outsider, &one),
        Some(401)
    );
    assert_eq!(
        challenged_at_one_answered_at_other(&one, &outsider),
        Some(401)
    );
}

/// What docs/farm.md says about the change of a key, step by step.
#[test]
fn aut_14_the_key_is_changed_node_by_node_without_a_refusal() {
    let domain = own_name("farm");
    let (one, two) = (member(&domain, OLD), member(&domain, OLD));
    let both_ways = |step: &str| {
        assert_eq!(
            challenged_at_one_answered_at_other(&one, &two),
            Some(200),
            "{step}"
        );
        assert_eq!(
            challenged_at_one_answered_at_other(&two, &one),
            Some(200),
            "{step}"
        );
    };
    for (step, keys) in [
        ("the new one is known", format!("{OLD}\n{NEW}\n")),
        ("the new one is used", format!("{NEW}\n{OLD}\n")),
        ("the old one is gone", NEW.to_owned()),
    ] {
        one.reload("farm.keys", |_| keys.clone());
        both_ways(step);
        two.reload("farm.keys", |_| keys.clone());
        both_ways(step);
    }
    let former = member(&domain, OLD);
    assert_eq!(
        challenged_at_one_answered_at_other(&former, &one),
        Some(401)
    );
}

#[test]
fn dns_08_each_member_names_itself_and_when_one_dies_clients_go_on_at_another() {
    let domain = own_name("farm");
    let (one, two) = (member(&domain, OLD), member(&domain, OLD));
    one.announce(&[&one, &two]);
    let outside = Node::new();
    let mut bob = Client::authenticated(&outside.relay, "bob");
    // The other relay finds the first member by SRV; what it hands out leads to that member alone.
    let use_path = join(&mut bob, &one.uri());
    assert!(
        use_path.contains(&format!("//{}:", one.relay.host)),
        "{use_path}"
    );
    let mut alice = Client::authenticated(&one.relay, "alice");
    assert!(alice.token.contains(&format!("//{}:", one.relay.host)));

    one.relay.signal(libc::SIGKILL);
    one.relay.exit_within(Duration::from_secs(5));
    alice.closed();
    // Client and relay come to the second one, each by the same SRV record.
    let mut alice = Client::authenticated(&two.relay, "alice");
    assert!(alice.token.contains(&format!("//{}:", two.relay.host)));
    let use_path = join(&mut bob, &two.uri());
    assert!(
        use_path.contains(&format!("//{}:", two.relay.host)),
        "{use_path}"
    );
    let to_alice = format!("{use_path} {} {}", alice.token, alice.uri);
    chat(&mut bob, &to_alice, &mut alice, "found again");
}

/// Members are relays to one another: a session of each in one path.
#[test]
fn dns_08_clients_of_two_members_reach_each_other() {
    let domain = own_name("farm");
    let (one, two) = (member(&domain, OLD), member(&domain, OLD));
    let mut alice = Client::authenticated(&one.relay, "alice");
    let mut bob = Client::authenticated(&two.relay, "bob");
    let to_bob = format!("{} {} {}", alice.token, bob.token, bob.uri);
    let to_alice = format!("{} {} {}", bob.token, alice.token, alice.uri);
    chat(&mut alice, &to_bob, &mut bob, "to the other member");
    chat(
        &mut bob,
        &to_alice,
        &mut alice,
        "and back over the same link",
    );
    assert_eq!((one.links(), two.links()), (1.0, 1.0));
}

/// The kernel goes on accepting for a member that stands still.
#[test]
fn dns_06_a_member_that_stands_still_is_passed_over() {
    let domain = own_name("farm");
    let (one, two) = (member(&domain, OLD), member(&domain, OLD));
    one.announce(&[&one, &two]);
    let outside = Node::with(|setup| setup.set("dial.connect_timeout", "3s"));
    let mut bob = Client::authenticated(&outside.relay, "bob");
    one.relay.stand_still();
    let use_path = join(&mut bob, &one.uri());
    assert!(
        use_path.contains(&format!("//{}:", two.relay.host)),
        "{use_path}"
    );
    // One connection, counted once.
    outside.has_links(1.0);
    let all = outside.relay.metric("msrpd_connections", &[]);
    assert_eq!(all, 2.0, "bob's and the link");
    one.relay.signal(libc::SIGCONT);
}
