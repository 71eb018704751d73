//! Where a name leads: what SRV records and addresses do to a dial between real relays.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::support::client::Client;
use crate::support::dns::{Kind, Names, Record, own_loopback};
use crate::support::pki::TRUSTED;
use crate::world::{Node, ask_to_join, join, own_name};

/// The certificate has to be for the name in the URI; the operator may let that of the target do.
#[test]
fn tls_10_an_srv_target_without_the_domains_certificate_is_refused_unless_it_is_pinned() {
    let (host, domain) = (own_name("relay"), own_name("domain"));
    let b = Node::unannounced(&domain, |setup| {
        setup
            .named(&host, &domain)
            .identity(&TRUSTED.leaf(&[&host]))
    });
    b.announce(&[&b]);
    let a = Node::new();
    let mut alice = Client::authenticated(&a.relay, "alice");
    let path = format!("{} {}", alice.token, b.uri());
    assert_eq!(alice.auth_to(&path, &[]).code(), Some(408));

    let mut pins = toml::Table::new();
    pins.insert(domain.clone(), host.into());
    let pinning = Node::with(|setup| setup.set("dial.srv_targets", pins));
    let mut alice = Client::authenticated(&pinning.relay, "alice");
    join(&mut alice, &b.uri());
    // The pin is for that target alone: another certificate is refused as before.
    let (host, elsewhere) = (own_name("relay"), own_name("domain"));
    let other = Node::unannounced(&elsewhere, |setup| {
        setup
            .named(&host, &elsewhere)
            .identity(&TRUSTED.leaf(&[&host]))
    });
    b.announce(&[&other]);
    let again = Node::with(|setup| {
        let mut pins = toml::Table::new();
        pins.insert(domain, b.relay.host.clone().into());
        setup.set("dial.srv_targets", pins)
    });
    let mut alice = Client::authenticated(&again.relay, "alice");
    let path = format!("{} {}", alice.token, b.uri());
    assert_eq!(alice.auth_to(&path, &[]).code(), Some(408));
}

/// A reload judges a pinned link by what it was let in for.
#[test]
fn tls_10_a_pinned_link_outlives_a_reload() {
    let (host, domain) = (own_name("relay"), own_name("domain"));
    let b = Node::unannounced(&domain, |setup| {
        setup
            .named(&host, &domain)
            .identity(&TRUSTED.leaf(&[&host]))
    });
    b.announce(&[&b]);
    let mut pins = toml::Table::new();
    pins.insert(domain, host.into());
    let a = Node::with(|setup| setup.set("dial.srv_targets", pins));
    let mut alice = Client::authenticated(&a.relay, "alice");
    join(&mut alice, &b.uri());
    a.reload("ca.pem", |text| text);
    assert_eq!(a.links(), 1.0);
}

#[test]
fn dns_06_an_srv_target_that_refuses_is_passed_over() {
    let (a, b) = (Node::new(), Node::new());
    let records = [
        Record::Srv(1, 0, b.relay.port(), own_name("dead")),
        Record::Srv(2, 0, b.relay.port(), b.relay.host.clone()),
    ];
    let Record::Srv(_, _, _, dead) = &records[0] else {
        unreachable!("the first record is an SRV record")
    };
    Names::get().set(dead, &[Record::A(own_loopback())]);
    Names::get().set(&b.service(), &records);
    let mut alice = Client::authenticated(&a.relay, "alice");
    join(&mut alice, &b.uri());
    assert!(Names::get().was_asked(dead));
}

/// An address that swallows the connect must not use up the time of the next one: all that a dial has is 3 s.
#[test]
fn dns_06_a_silent_address_costs_a_moment() {
    let b = Node::new();
    let a = Node::with(|setup| setup.set("dial.connect_timeout", "3s"));
    let silent = own_loopback();
    let _full = full_listener((silent, b.relay.port()).into());
    let addresses = [Record::A(silent), Record::A(Ipv4Addr::LOCALHOST)];
    Names::get().set(&b.relay.host, &addresses);
    let mut alice = Client::authenticated(&a.relay, "alice");
    join(&mut alice, &b.uri());
}

/// Nobody accepts, and the queue has no room: the kernel drops further SYNs.
fn full_listener(address: SocketAddr) -> (Socket, Vec<Socket>) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&address.into()).expect("its own address");
    socket.listen(0).expect("it listens");
    let mut waiting = Vec::new();
    for _ in 0..8 {
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        client.set_nonblocking(true).expect("a socket has options");
        let _ = client.connect(&address.into());
        waiting.push(client);
    }
    std::thread::sleep(Duration::from_millis(50));
    let refused = TcpStream::connect_timeout(&address, Duration::from_millis(300));
    refused.expect_err("the queue is full");
    (socket, waiting)
}

#[test]
fn dns_02_an_ipv6_literal_leads_where_it_says_with_a_certificate_for_the_address() {
    let host = own_name("relay");
    let b = Node::unannounced(&own_name("domain"), |setup| {
        setup.named(&host, &host).at_ipv6(&host)
    });
    let a = Node::with(|setup| setup.set_list("dial.allow", &["127.0.0.0/8", "::1/128"]));
    let mut alice = Client::authenticated(&a.relay, "alice");
    let uri = format!("msrps://[::1]:{};tcp", b.relay.port());
    let use_path = join(&mut alice, &uri);
    assert!(
        use_path.contains(&format!(" msrps://{host}:")),
        "{use_path}"
    );
}

/// The token names a host whose only address is an IPv6 one.
#[test]
fn dns_06_an_aaaa_record_alone_will_do() {
    let host = own_name("relay");
    Names::get().set(&host, &[Record::Aaaa(std::net::Ipv6Addr::LOCALHOST)]);
    let b = Node::unannounced(&own_name("domain"), |setup| {
        setup.named(&host, &host).at_ipv6(&host)
    });
    let a = Node::with(|setup| setup.set_list("dial.allow", &["127.0.0.0/8", "::1/128"]));
    let mut alice = Client::authenticated(&a.relay, "alice");
    let uri = format!("msrps://{host}:{};tcp", b.relay.port());
    join(&mut alice, &uri);
    assert!(Names::get().questions(&host).contains(&Kind::Aaaa));
    assert!(!Names::get().was_asked(&format!("_msrps._tcp.{host}")));
}

#[test]
fn dns_05_a_domain_that_offers_no_service_is_not_dialled() {
    let a = Node::new();
    let domain = own_name("none");
    let root = Record::Srv(0, 0, 0, ".".to_owned());
    Names::get().set(&format!("_msrps._tcp.{domain}"), &[root]);
    let mut alice = Client::authenticated(&a.relay, "alice");
    let path = format!("{} msrps://{domain};tcp", alice.token);
    assert_eq!(alice.auth_to(&path, &[]).code(), Some(408));
    let asked = Names::get().questions(&domain);
    assert!(
        !asked.contains(&Kind::A) && !asked.contains(&Kind::Aaaa),
        "{asked:?}"
    );
}

/// While a name is looked up in vain, others pass.
#[test]
fn dns_07_a_resolver_that_hangs_holds_up_nobody() {
    let (a, b) = (Node::new(), Node::new());
    let domain = own_name("silent");
    Names::get().be_silent_about(&domain);
    let mut waiting = Client::authenticated(&a.relay, "alice");
    let path = format!("{} msrps://{domain};tcp", waiting.token);
    let draft = crate::support::message::Draft::request("AUTH", &path, &waiting.uri);
    waiting.send(draft.octets());
    let mut alice = Client::authenticated(&a.relay, "alice");
    let through = alice.token.clone();
    let granted = ask_to_join(&mut alice, &through, &b.uri());
    assert_eq!(granted.code(), Some(200), "{granted:?}");
    assert_eq!(waiting.response_to(&draft.tid).code(), Some(408));
}
