//! Finding the next hop: RFC 4976 §8, RFC 2782; rows DNS. The suite's name server says what each name has, and remembers
//! what it was asked.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::rows;
use crate::support::client::{Client, SOON};
use crate::support::dns::{Kind, Names, Record, own_loopback};
use crate::support::link::Link;
use crate::support::message::{Draft, response};
use crate::support::peer::Peer;
use crate::support::pki::TRUSTED;
use crate::support::relay::{Relay, Setup, shared};
use crate::support::relay2::{R2, own_host};

rows! {
    any: [],
    own: [
        dns_01_host_with_port_is_looked_up_as_it_is,
        dns_02_address_needs_a_port,
        dns_03_name_without_srv_is_dialled_at_2855,
        dns_03_service_record_leads_to_its_target,
        dns_04_priorities_and_weights_count,
        dns_05_no_service_is_no_next_hop,
        dns_06_dead_target_is_followed_by_the_next,
        tls_10_certificate_is_that_of_the_domain,
        dns_06_dead_address_is_followed_by_the_next,
        dns_07_hanging_resolver_stops_nobody_else,
        dns_07_answers_are_kept,
        dns_07_one_account_leaves_the_others_the_name_servers,
        sec_03_one_accounts_dials_leave_the_others_theirs,
        con_05_nobody_goes_for_a_connection_that_never_is,
    ],
}

fn dns_01_host_with_port_is_looked_up_as_it_is() {
    let relay = shared();
    let names = Names::get();
    let r2 = R2::new();
    // A service record that leads elsewhere: for a URI with a port nobody looks at it.
    let elsewhere = Peer::tls_with(&r2.identity);
    let service = format!("_msrps._tcp.{}", r2.host);
    let srv = Record::Srv(0, 0, elsewhere.port, r2.host.clone());
    names.set(&service, &[srv]);
    let mut a = Client::authenticated(relay, "alice");
    let draft = Draft::send(&format!("{} {}", a.token, r2.token()), &a.uri).text("hello");
    a.send(draft.octets());
    let mut link = r2.accept();
    assert_eq!(link.expect_method("SEND").body(), b"hello");
    let auth = format!("msrps://{}:{};tcp", r2.host, r2.peer.port);
    a.send(Draft::request("AUTH", &format!("{} {auth}", a.token), &a.uri).octets());
    link.expect_method("AUTH");
    elsewhere.nobody_connects(Duration::from_millis(100));
    assert!(!names.was_asked(&service));
    let asked = names.questions(&r2.host);
    assert!(
        asked.contains(&Kind::A)
            && asked
                .iter()
                .all(|kind| matches!(kind, Kind::A | Kind::Aaaa)),
        "{asked:?}"
    );
}

fn dns_02_address_needs_a_port() {
    let relay = shared();
    let mut link = Link::inbound(relay);
    let token = link.a.token.clone();
    // A SEND's next hop needs one in any case (URI-10).
    let draft = Draft::send(&format!("{token} msrps://192.0.2.1/x;tcp"), &link.a.uri).text("x");
    link.refused_with(400, &draft.octets());
    // With a port an address is used as it is, IPv6 too; without one there is no next hop.
    let relay6 = Setup::new().set_list("dial.allow", &["::1/128"]).start();
    let mut a = Client::authenticated(&relay6, "alice");
    let address = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    let r2 = R2::at(address, "[::1]".to_owned(), TRUSTED.leaf(&["::1"]));
    let spellings = ["[::1]", "[0:0:0:0:0:0:0:1]"];
    for spelling in spellings {
        let uri = r2.peer.uri_at(spelling);
        a.say(&format!("{} {uri}", a.token), spelling);
    }
    let mut link = r2.accept();
    for spelling in spellings {
        let got = link.expect_method("SEND");
        assert_eq!(got.body(), spelling.as_bytes());
        link.send(response(&got, "200 OK"));
    }
    r2.peer.nobody_connects(Duration::from_millis(50));
    let asked = Names::get().questions("192.0.2.1").len() + Names::get().questions("::1").len();
    assert_eq!(asked, 0);
    for host in ["127.0.0.1", "[::1]"] {
        let draft = Draft::request("AUTH", &format!("{} msrps://{host};tcp", a.token), &a.uri);
        a.send(draft.octets());
        let code = a.response_to(&draft.tid).code();
        assert!(matches!(code, Some(400 | 408)), "{host}: {code:?}");
    }
}

fn dns_03_name_without_srv_is_dialled_at_2855() {
    let relay = shared();
    let r2 = R2::on_2855();
    let mut a = Client::authenticated(relay, "alice");
    a.send(Draft::request("AUTH", &format!("{} {}", a.token, r2.uri()), &a.uri).octets());
    let mut link = r2.accept();
    assert_eq!(link.expect_method("AUTH").to_path, [r2.uri()]);
    assert!(Names::get().questions(&r2.host).contains(&Kind::A));
}

fn dns_06_dead_address_is_followed_by_the_next() {
    let relay = shared();
    let host = own_host();
    let alive = own_loopback();
    let identity = TRUSTED.leaf(&[&host]);
    let r2 = R2::at(SocketAddr::from((alive, 0)), host, identity);
    let records = [
        Record::Aaaa(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        Record::A(own_loopback()),
        Record::A(own_loopback()),
        Record::A(alive),
    ];
    Names::get().set(&r2.host, &records);
    let mut a = Client::authenticated(relay, "alice");
    a.say(&format!("{} {}", a.token, r2.token()), "at last");
    assert_eq!(r2.accept().expect_method("SEND").body(), b"at last");
    let asked = Names::get().questions(&r2.host);
    assert!(
        asked.contains(&Kind::A) && asked.contains(&Kind::Aaaa),
        "{asked:?}"
    );
}

fn dns_07_hanging_resolver_stops_nobody_else() {
    let relay = shared();
    let names = Names::get();
    names.be_silent_about("hanging.example");
    let mut bystander = Link::inbound(relay);
    let mut a = Client::authenticated(relay, "alice");
    let began = Instant::now();
    let drafts: Vec<Draft> = (0..40)
        .map(|i| {
            let uri = format!("msrps://h{i}.hanging.example:2855/x;tcp");
            Draft::send(&format!("{} {uri}", a.token), &a.uri).text("into the void")
        })
        .collect();
    drafts.iter().for_each(|draft| a.send(draft.octets()));
    let mut slowest = Duration::ZERO;
    while began.elapsed() < Duration::from_secs(3) {
        let chat = Instant::now();
        bystander.still_works();
        slowest = slowest.max(chat.elapsed());
    }
    assert!(slowest < Duration::from_secs(2), "a chat took {slowest:?}");
    for draft in &drafts {
        let failed = a.find(SOON, |m| {
            m.code().is_none_or(|code| code != 200) && m.message_id() == Some(&draft.message_id)
        });
        let code = failed
            .code()
            .or_else(|| failed.status().map(|(_, code, _)| code));
        assert_eq!(code, Some(408), "{failed:?}");
    }
    // The limit is dial.connect_timeout, 5 s; the machine may be busy.
    assert!(began.elapsed() < Duration::from_secs(12));
}

fn dns_07_answers_are_kept() {
    let relay = Setup::new().set("dial.idle_timeout", "1s").start();
    let (kept, fleeting) = (R2::new(), R2::new());
    let loopback = [Record::A(Ipv4Addr::LOCALHOST)];
    Names::get().set_for(&fleeting.host, &loopback, 1);
    let mut a = Client::authenticated(&relay, "alice");
    for round in 1..=2 {
        for r2 in [&kept, &fleeting] {
            a.say(&format!("{} {}", a.token, r2.token()), "hello");
            let mut link = r2.accept();
            let got = link.expect_method("SEND");
            link.send(response(&got, "200 OK"));
            link.closed_within(Duration::from_secs(8));
        }
        for (r2, due) in [(&kept, 1), (&fleeting, round)] {
            let asked = Names::get().questions(&r2.host);
            let times = asked.iter().filter(|kind| **kind == Kind::A).count();
            assert_eq!(times, due, "in round {round}: {asked:?}");
        }
    }
}

/// A domain whose relay is found by SRV: its name, that of the target, and where the target listens.
struct Service {
    domain: String,
    target: String,
    address: Ipv4Addr,
    r2: R2,
}

impl Service {
    /// `names`: what the certificate holds, of the domain and the target.
    fn new(names: impl Fn(&str, &str) -> Vec<String>) -> Self {
        let (domain, target) = (own_host(), own_host());
        let names = names(&domain, &target);
        let identity = TRUSTED.leaf(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let address = own_loopback();
        let r2 = R2::at(SocketAddr::from((address, 0)), domain.clone(), identity);
        let service = Self {
            domain,
            target,
            address,
            r2,
        };
        Names::get().set(&service.target, &[Record::A(address)]);
        Names::get().set(&service.name(), &[service.record(0, 0)]);
        service
    }

    fn name(&self) -> String {
        format!("_msrps._tcp.{}", self.domain)
    }

    fn record(&self, priority: u16, weight: u16) -> Record {
        Record::Srv(priority, weight, self.r2.peer.port, self.target.clone())
    }

    fn auth(&self, a: &Client) -> Draft {
        let to = format!("{} msrps://{};tcp", a.token, self.domain);
        Draft::request("AUTH", &to, &a.uri)
    }
}

fn dns_03_service_record_leads_to_its_target() {
    let relay = shared();
    let service = Service::new(|domain, target| vec![domain.to_owned(), target.to_owned()]);
    let mut a = Client::authenticated(relay, "alice");
    a.send(service.auth(&a).octets());
    let mut link = service.r2.accept();
    let got = link.expect_method("AUTH");
    assert_eq!(got.to_path, [format!("msrps://{};tcp", service.domain)]);
    let names = Names::get();
    assert!(names.questions(&service.name()).contains(&Kind::Srv));
    assert!(names.questions(&service.target).contains(&Kind::A));
    assert!(
        names.questions(&service.domain).is_empty(),
        "the name itself is not asked for"
    );
    // The URIs that this relay hands out have its port, and its name or the target's: they lead to the same link.
    for host in [&service.domain, &service.target] {
        let to = format!(
            "msrps://{host}:{}/t2;tcp msrps://bob.example.org:1/b;tcp",
            service.r2.peer.port
        );
        a.say(&format!("{} {to}", a.token), host);
        let got = link.expect_method("SEND");
        assert_eq!(got.body(), host.as_bytes());
        link.send(response(&got, "200 OK"));
    }
    service.r2.peer.nobody_connects(Duration::from_millis(20));
}

fn dns_04_priorities_and_weights_count() {
    let relay = shared();
    let names = Names::get();
    // Two targets with weights 1 and 3, and one of a worse priority that is never tried.
    let targets: Vec<(Record, TcpListener)> = [(1, 1), (1, 3), (2, 60_000)]
        .iter()
        .map(|(priority, weight)| {
            let (address, target) = (own_loopback(), own_host());
            names.set(&target, &[Record::A(address)]);
            let listener = TcpListener::bind((address, 0)).expect("a port is free");
            listener
                .set_nonblocking(true)
                .expect("a listener can be polled");
            let port = listener.local_addr().unwrap().port();
            (Record::Srv(*priority, *weight, port, target), listener)
        })
        .collect();
    let records: Vec<Record> = targets.iter().map(|(record, _)| record.clone()).collect();
    let mut a = Client::authenticated(relay, "alice");
    const DRAWS: usize = 200;
    let mut taken = [0; 3];
    for _ in 0..DRAWS {
        // Each domain is another next hop, so each is dialled once.
        let domain = own_host();
        names.set(&format!("_msrps._tcp.{domain}"), &records);
        let to = format!("{} msrps://{domain};tcp", a.token);
        a.send(Draft::request("AUTH", &to, &a.uri).octets());
        let until = Instant::now() + SOON;
        'taken: loop {
            for (at, (_, listener)) in targets.iter().enumerate() {
                // Who connects is sent away without TLS.
                if listener.accept().is_ok() {
                    taken[at] += 1;
                    break 'taken;
                }
            }
            assert!(Instant::now() < until, "nobody was dialled");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(a.expect().code(), Some(408));
    }
    // A quarter of 200 is 50, give or take 6; more than four times that is no chance.
    assert!((24..=76).contains(&taken[0]), "{taken:?}");
    assert_eq!(taken[2], 0, "{taken:?}");
}

fn dns_05_no_service_is_no_next_hop() {
    let relay = shared();
    let r2 = R2::on_2855();
    let no_service = Record::Srv(0, 0, 0, ".".to_owned());
    Names::get().set(&format!("_msrps._tcp.{}", r2.host), &[no_service]);
    let mut a = Client::authenticated(relay, "alice");
    let began = Instant::now();
    let draft = Draft::request("AUTH", &format!("{} {}", a.token, r2.uri()), &a.uri);
    a.send(draft.octets());
    assert_eq!(a.response_to(&draft.tid).code(), Some(408));
    assert!(began.elapsed() < Duration::from_secs(4), "at once");
    r2.peer.nobody_connects(Duration::from_millis(200));
    assert!(Names::get().questions(&r2.host).is_empty(), "no fallback");
}

fn dns_06_dead_target_is_followed_by_the_next() {
    let relay = shared();
    let names = Names::get();
    let service = Service::new(|domain, _| vec![domain.to_owned()]);
    // The best target has no address, the next one nobody at home, the third a dead address before the good one.
    let (nameless, dead) = (format!("{}.invalid", own_host()), own_host());
    names.set(&dead, &[Record::A(own_loopback())]);
    let good = Record::A(service.address);
    names.set(&service.target, &[Record::A(own_loopback()), good]);
    let records = [
        service.record(30, 0),
        Record::Srv(20, 0, service.r2.peer.port, dead),
        Record::Srv(10, 0, 2855, nameless),
    ];
    names.set(&service.name(), &records);
    let mut a = Client::authenticated(relay, "alice");
    a.send(service.auth(&a).octets());
    service.r2.accept().expect_method("AUTH");
}

fn tls_10_certificate_is_that_of_the_domain() {
    // Whoever answers for the name of the target only might be anybody: SRV records are not proven.
    let of_target = |_: &str, target: &str| vec![target.to_owned()];
    let service = Service::new(of_target);
    let mut a = Client::authenticated(shared(), "alice");
    let draft = service.auth(&a);
    a.send(draft.octets());
    let socket = service.r2.peer.accept_socket(SOON).expect("R connects");
    assert!(service.r2.peer.handshake(socket).is_err(), "R goes on");
    assert_eq!(a.response_to(&draft.tid).code(), Some(408));
    // Unless the operator says so, for this domain and this target.
    let (pinned, other) = (Service::new(of_target), Service::new(of_target));
    let mut pins = toml::Table::new();
    pins.insert(pinned.domain.clone(), pinned.target.clone().into());
    pins.insert(other.domain.clone(), pinned.target.clone().into());
    let relay = Setup::new().set("dial.srv_targets", pins).start();
    let mut a = Client::authenticated(&relay, "alice");
    a.send(pinned.auth(&a).octets());
    pinned.r2.accept().expect_method("AUTH");
    let draft = other.auth(&a);
    a.send(draft.octets());
    let socket = other.r2.peer.accept_socket(SOON).expect("R connects");
    assert!(other.r2.peer.handshake(socket).is_err(), "another target");
    assert_eq!(a.response_to(&draft.tid).code(), Some(408));
}

/// SENDs of one account to hosts that come to nothing, 20 each 25 ms, for as long as something else takes.
fn beside_a_flood<T>(
    relay: &Relay,
    uri: impl Fn(usize) -> String + Sync,
    something: impl FnOnce() -> T,
) -> T {
    let mut a = Client::authenticated(relay, "mallory");
    // However `something` ends, it ends with it.
    let lives = Arc::new(());
    let watched = Arc::downgrade(&lives);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                if watched.strong_count() == 0 {
                    return;
                }
                let path = format!("{} {}", a.token, uri(number));
                a.send(Draft::send(&path, &a.uri).text("into the void").octets());
                if number % 20 == 0 {
                    a.drain(Duration::from_millis(25));
                }
            }
        });
        // Let it take all that it can get.
        std::thread::sleep(Duration::from_secs(1));
        let _lives = lives;
        something()
    })
}

/// How many of so many next hops that nobody has asked for before are dialled for this user.
fn reached(relay: &Relay, user: &str, of: usize) -> usize {
    let mut b = Client::authenticated(relay, user);
    let mut is_reached = || {
        let r2 = R2::new();
        let path = format!("{} {}", b.token, r2.token());
        b.send(Draft::send(&path, &b.uri).text("hello").octets());
        r2.peer.accept_socket(Duration::from_secs(2)).is_some()
    };
    (0..of).filter(|_| is_reached()).count()
}

fn dns_07_one_account_leaves_the_others_the_name_servers() {
    let relay = Setup::new().start();
    Names::get().be_silent_about("hanging.example");
    let uri = |number| format!("msrps://h{number}.hanging.example:2855/x;tcp");
    let reached = beside_a_flood(&relay, uri, || reached(&relay, "bob", 10));
    assert_eq!(reached, 10);
}

/// A socket that the kernel lets nobody connect to any more: its queue is full, and what knocks is
/// not answered.
struct BlackHole {
    port: u16,
    _listener: socket2::Socket,
    _queued: Vec<std::net::TcpStream>,
}

impl BlackHole {
    fn new() -> Self {
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let listener = listener.expect("a socket");
        // At every address of 127.0.0.0/8.
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        listener.bind(&any.into()).expect("a port is free");
        listener.listen(0).expect("it listens");
        let address = listener.local_addr().expect("an address");
        let port = address.as_socket().expect("an IPv4 address").port();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let knock = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200));
        let queued = std::iter::from_fn(|| knock().ok()).take(64).collect();
        Self {
            port,
            _listener: listener,
            _queued: queued,
        }
    }
}

impl BlackHole {
    /// One of its many addresses.
    fn uri(&self, number: usize) -> String {
        let (high, low) = (number / 250 % 250, number % 250);
        format!("msrps://127.7.{high}.{low}:{}/x;tcp", self.port)
    }
}

fn sec_03_one_accounts_dials_leave_the_others_theirs() {
    let relay = Setup::new()
        .set("limits.connections", 300)
        .set("limits.unauthenticated", 20)
        .start();
    let hole = BlackHole::new();
    let uri = |number| hole.uri(number);
    let reached = beside_a_flood(&relay, uri, || reached(&relay, "bob", 10));
    assert_eq!(reached, 10);
}

fn con_05_nobody_goes_for_a_connection_that_never_is() {
    let relay = Setup::new()
        .set("limits.connections", 60)
        .set("limits.unauthenticated", 20)
        .start();
    let hole = BlackHole::new();
    // Foreign clients that are quiet for as long as it takes to count as unused.
    let mut b = Client::authenticated(&relay, "bob");
    let mut quiet: Vec<Client> = (0..20)
        .map(|number| {
            let mut p = Client::tls(&relay);
            p.uri = format!("msrps://p{number}.example.net:2855/p;tcp");
            let draft = Draft::send(&format!("{} {}", b.token, b.uri), &p.uri).text("hello");
            p.send(draft.octets());
            let got = b.expect_method("SEND");
            b.send(response(&got, "200 OK"));
            p.response_to(&draft.tid);
            p
        })
        .collect();
    std::thread::sleep(Duration::from_secs(6));
    let shed = || relay.metric("msrpd_connections_closed_total", &["reason=\"shed\""]);
    let shed = beside_a_flood(&relay, |number| hole.uri(number), shed);
    assert_eq!(shed, 0.0);
    for p in &mut quiet {
        let draft = Draft::send(&format!("{} {}", b.token, b.uri), &p.uri).text("still here");
        p.send(draft.octets());
        let got = b.expect_method("SEND");
        b.send(response(&got, "200 OK"));
        assert_eq!(p.response_to(&draft.tid).code(), Some(200));
    }
}
