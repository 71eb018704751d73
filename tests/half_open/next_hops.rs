//! Next hops whose host vanishes: foreign clients that were dialled, and relays.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::clients::{STALL, is_lost_after, relay, relay_seen_from};
use crate::host::Host;
use crate::rows;
use crate::support::client::Client;
use crate::support::dns::{Names, Record};
use crate::support::link::Link;
use crate::support::peer::Peer;
use crate::support::pki::{Identity, TRUSTED};
use crate::support::relay::Relay;
use crate::support::relay2::{R2, own_host};
use crate::support::tls::server_config;

rows! {
    any: [],
    own: [
        d_41_dialled_last_hop_that_vanished_is_dialled_where_its_name_points_now,
        d_41_dialled_relay_that_vanished_is_dialled_where_its_name_points_now,
        d_41_relay_that_connected_in_and_vanished_is_reached_when_it_is_back,
        d_41_relay_that_came_back_on_a_new_link_serves_before_the_old_one_is_lost,
    ],
}

/// The name leads here, for a second at a time.
fn point(name: &str, address: Ipv4Addr) {
    Names::get().set_for(name, &[Record::A(address)], 1);
}

/// A foreign client of this name that listens on the host.
fn peer(host: &Host, port: u16, identity: &Identity) -> Peer {
    let address = SocketAddr::from((host.address(), port));
    host.run(|| Peer::listening(address, server_config(identity)))
}

/// A relay of this name on the host.
fn relay_on(host: &Host, port: u16, name: &str, identity: &Identity) -> R2 {
    let address = SocketAddr::from((host.address(), port));
    host.run(|| R2::at(address, name.to_owned(), identity.clone()))
}

/// R2 connects in from the host.
fn connect(r2: &R2, host: &Host, relay: &Relay) -> Client {
    let address = relay_seen_from(host, relay);
    let tls = r2.client_tls();
    let mut link = host.run(|| Client::tls_to(relay, address, &tls).expect("a handshake"));
    link.uri = r2.path_of_client();
    link
}

/// What A sends to this path arrives by a fresh dial there.
#[track_caller]
fn arrives_by_a_dial(link: &mut Link, peer: &Peer) -> Client {
    let draft = link.draft().text("to the one that is well");
    link.a.send(draft.octets());
    let mut well = peer.accept();
    assert_eq!(
        well.expect_method("SEND").message_id(),
        Some(&*draft.message_id)
    );
    assert_eq!(link.a.response_to(&draft.tid).code(), Some(200));
    well
}

fn d_41_dialled_last_hop_that_vanished_is_dialled_where_its_name_points_now() {
    let (host, other, relay) = (Host::new(), Host::new(), relay(STALL));
    let name = own_host();
    let identity = TRUSTED.leaf(&[&name]);
    point(&name, host.address());
    let first = peer(&host, 0, &identity);
    let path = first.uri_at(&name);
    let mut link = Link::dialled_at(Client::authenticated(&relay, "alice"), &first, &path);
    host.vanish();
    point(&name, other.address());
    let second = peer(&other, first.port, &identity);
    is_lost_after(&mut link, STALL, &[408]);
    arrives_by_a_dial(&mut link, &second);
}

fn d_41_dialled_relay_that_vanished_is_dialled_where_its_name_points_now() {
    let (host, other, relay) = (Host::new(), Host::new(), relay(STALL));
    let name = own_host();
    let identity = TRUSTED.leaf(&[&name]);
    point(&name, host.address());
    let first = relay_on(&host, 0, &name, &identity);
    let mut link = first.dialled(&relay);
    host.vanish();
    point(&name, other.address());
    let second = relay_on(&other, first.peer.port, &name, &identity);
    is_lost_after(&mut link, STALL, &[408]);
    arrives_by_a_dial(&mut link, &second.peer);
}

fn d_41_relay_that_connected_in_and_vanished_is_reached_when_it_is_back() {
    let (host, relay) = (Host::new(), relay(STALL));
    let name = own_host();
    let identity = TRUSTED.leaf(&[&name]);
    point(&name, host.address());
    let r2 = relay_on(&host, 0, &name, &identity);
    let from_r2 = connect(&r2, &host, &relay);
    let mut link = Link::with_inbound(Client::authenticated(&relay, "alice"), from_r2);
    link.still_works();
    host.vanish();
    is_lost_after(&mut link, STALL, &[408]);
    host.come_back();
    let mut again = connect(&r2, &host, &relay);
    again.uri.clone_from(&link.p.uri);
    Link::with_inbound(link.a, again).still_works();
    r2.peer.nobody_connects(Duration::ZERO);
}

fn d_41_relay_that_came_back_on_a_new_link_serves_before_the_old_one_is_lost() {
    let (host, relay) = (Host::new(), relay(Duration::from_secs(600)));
    let name = own_host();
    let identity = TRUSTED.leaf(&[&name]);
    point(&name, host.address());
    let r2 = relay_on(&host, 0, &name, &identity);
    let from_r2 = connect(&r2, &host, &relay);
    let port = from_r2.socket().local_addr().expect("a socket").port();
    let mut link = Link::with_inbound(Client::authenticated(&relay, "alice"), from_r2);
    link.still_works();
    host.forget_port(port);
    let again = connect(&r2, &host, &relay);
    let mut back = Link::with_inbound(Client::authenticated(&relay, "bob"), again);
    back.still_works();
    // Whoever uses the old one goes over once it has missed an answer: an octet that it does not acknowledge.
    let draft = link.draft().text("by the old one");
    link.a.send(draft.octets());
    let report = link
        .a
        .report_about(&draft.message_id, Duration::from_secs(45));
    assert_eq!(report.status().expect("a status").1, 408);
    let draft = link.draft().text("by the new one");
    link.a.send(draft.octets());
    let got = back.p.find(Duration::from_secs(10), |m| {
        m.message_id() == Some(&draft.message_id)
    });
    assert_eq!(got.body(), b"by the new one");
    r2.peer.nobody_connects(Duration::ZERO);
}
