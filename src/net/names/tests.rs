//! The resolver against a name server of the test's own.

use std::cell::RefCell;

use tokio::net::UdpSocket;
use tokio::sync::oneshot;

use super::*;

/// Answers from a table, and remembers what it was asked.
struct Zone {
    records: Vec<(&'static str, Record)>,
    /// Names for which no answer comes.
    silent: Vec<&'static str>,
    ttl: u8,
    /// Whether "there is none" says for how long.
    with_soa: bool,
    asked: RefCell<Vec<(String, u16)>>,
}

enum Record {
    A(&'static str),
    Aaaa(&'static str),
    Srv(u16, u16, u16, &'static str),
}

const SRV: u16 = 33;

impl Record {
    fn kind(&self) -> u16 {
        match self {
            Self::A(_) => 1,
            Self::Aaaa(_) => 28,
            Self::Srv(..) => SRV,
        }
    }

    fn data(&self) -> Vec<u8> {
        let octets = |address: &str| match address.parse().expect("an address") {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        match self {
            Self::A(address) | Self::Aaaa(address) => octets(address),
            Self::Srv(priority, weight, port, target) => {
                let numbers = [priority, weight, port];
                let mut data: Vec<u8> = numbers.iter().flat_map(|n| n.to_be_bytes()).collect();
                for label in target.split('.').filter(|label| !label.is_empty()) {
                    data.push(label.len() as u8);
                    data.extend(label.bytes());
                }
                data.push(0);
                data
            }
        }
    }
}

impl Zone {
    fn new(records: Vec<(&'static str, Record)>) -> Self {
        Self {
            records,
            silent: Vec::new(),
            ttl: 60,
            with_soa: false,
            asked: RefCell::default(),
        }
    }

    async fn serve(&self, server: UdpSocket) {
        let mut question = [0; 1500];
        loop {
            let (len, from) = server.recv_from(&mut question).await.expect("a question");
            if let Some(answer) = self.answer(&question[..len]) {
                server.send_to(&answer, from).await.expect("an answer");
            }
        }
    }

    fn answer(&self, question: &[u8]) -> Option<Vec<u8>> {
        let (mut name, mut at) = (String::new(), 12);
        while question[at] != 0 {
            let end = at + 1 + usize::from(question[at]);
            name.push_str(std::str::from_utf8(&question[at + 1..end]).expect("letters"));
            name.push('.');
            at = end;
        }
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let kind = u16::from_be_bytes([question[at + 1], question[at + 2]]);
        self.asked.borrow_mut().push((name.clone(), kind));
        if self.silent.contains(&name.as_str()) {
            return None;
        }
        let of_name = || self.records.iter().filter(|(owner, _)| *owner == name);
        let found: Vec<&Record> = of_name()
            .map(|(_, record)| record)
            .filter(|record| record.kind() == kind)
            .collect();
        let code = if of_name().count() == 0 { 0x83 } else { 0x80 };
        let mut out = question[..2].to_vec();
        let soa = self.with_soa && found.is_empty();
        out.extend([
            0x85,
            code,
            0,
            1,
            0,
            found.len() as u8,
            0,
            u8::from(soa),
            0,
            0,
        ]);
        out.extend(&question[12..at + 5]);
        for record in found {
            let data = record.data();
            out.extend([0xc0, 12]);
            out.extend(kind.to_be_bytes());
            out.extend([0, 1, 0, 0, 0, self.ttl]);
            out.extend((data.len() as u16).to_be_bytes());
            out.extend(data);
        }
        if soa {
            // Its two names are the root; the last of the five numbers counts (RFC 2308 §5).
            out.extend([0xc0, 12, 0, 6, 0, 1, 0, 0, 0, self.ttl, 0, 22, 0, 0]);
            out.extend(
                [1_u32, 1, 1, 1, self.ttl.into()]
                    .iter()
                    .flat_map(|n| n.to_be_bytes()),
            );
        }
        Some(out)
    }

    fn asked(&self, name: &str, kind: u16) -> usize {
        let asked = self.asked.borrow();
        let is = |question: &&(String, u16)| question.0 == name && question.1 == kind;
        asked.iter().filter(is).count()
    }
}

async fn ask(resolver: &Resolver, host: &str, port: Option<u16>) -> Result<Vec<Resolved>, String> {
    ask_for(0, resolver, host, port).await
}

async fn ask_for(
    on_behalf_of: u64,
    resolver: &Resolver,
    host: &str,
    port: Option<u16>,
) -> Result<Vec<Resolved>, String> {
    let (reply, answer) = oneshot::channel();
    resolver
        .send(ResolveRequest {
            host: host.into(),
            port,
            on_behalf_of,
            reply,
        })
        .await
        .expect("the resolver runs");
    answer.await.expect("every question is answered")
}

/// The places as `target address:port`, the target only where SRV led there.
async fn found(resolver: &Resolver, host: &str, port: Option<u16>) -> Vec<String> {
    let found = ask(resolver, host, port).await.expect("places");
    let line = |place: &Resolved| {
        let target = place.name.as_deref().unwrap_or_default();
        format!("{target} {}", place.socket_address())
            .trim()
            .to_owned()
    };
    found.iter().map(line).collect()
}

fn run<F: Future<Output = ()>>(zone: &Zone, test: impl FnOnce(Resolver) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let server = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let address = server.local_addr().expect("an address");
        let (resolver, names) = Names::new(&[address], Box::new(|| 0));
        tokio::select! {
            () = names.run() => panic!("the resolver ended"),
            () = zone.serve(server) => {}
            () = test(resolver) => {}
        }
    });
}

#[test]
fn dns_02_literals_and_loopback_names_are_not_asked_for() {
    let zone = Zone::new(Vec::new());
    run(&zone, |resolver| async move {
        assert_eq!(
            found(&resolver, "192.0.2.7", Some(7)).await,
            ["192.0.2.7:7"]
        );
        assert_eq!(
            found(&resolver, "[2001:db8::1]", Some(7)).await,
            ["[2001:db8::1]:7"]
        );
        for name in [
            "localhost",
            "relay.localhost",
            "LOCALHOST.",
            "a.b.LocalHost",
        ] {
            let found = ask(&resolver, name, None).await.expect("a loopback name");
            let is_here = |place: &Resolved| place.address.is_loopback() && place.port == 2855;
            assert!(found.iter().all(is_here), "{name}");
        }
    });
    assert!(zone.asked.borrow().is_empty());
    run(&zone, |resolver| async move {
        let no_loopback_name = ask(&resolver, "localhost.example", Some(1)).await;
        no_loopback_name.expect_err("no loopback name");
    });
    assert!(zone.asked("localhost.example", 1) > 0);
}

#[test]
fn dns_01_a_name_with_a_port_is_asked_for_its_addresses_only() {
    let zone = Zone::new(vec![
        ("p.example", Record::A("192.0.2.9")),
        ("p.example", Record::Aaaa("2001:db8::9")),
        (
            "_msrps._tcp.p.example",
            Record::Srv(0, 0, 9, "elsewhere.example"),
        ),
    ]);
    run(&zone, |resolver| async move {
        assert_eq!(
            found(&resolver, "P.example", Some(4444)).await,
            ["192.0.2.9:4444", "[2001:db8::9]:4444"]
        );
    });
    assert!(zone.asked.borrow().iter().all(|(_, kind)| *kind != SRV));
}

#[test]
fn dns_03_a_name_without_port_leads_to_what_its_srv_record_names_in_order() {
    let zone = Zone::new(vec![
        (
            "_msrps._tcp.outer.example",
            Record::Srv(20, 0, 2857, "third.example"),
        ),
        (
            "_msrps._tcp.outer.example",
            Record::Srv(10, 1, 2856, "second.example"),
        ),
        (
            "_msrps._tcp.outer.example",
            Record::Srv(5, 9, 4000, "first.example"),
        ),
        ("first.example", Record::A("192.0.2.1")),
        ("first.example", Record::Aaaa("2001:db8::1")),
        ("second.example", Record::A("192.0.2.2")),
        // The third has no address: it is passed over.
    ]);
    run(&zone, |resolver| async move {
        let expected = [
            "first.example 192.0.2.1:4000",
            "first.example [2001:db8::1]:4000",
            "second.example 192.0.2.2:2856",
        ];
        assert_eq!(found(&resolver, "outer.example", None).await, expected);
        // From the cache.
        assert_eq!(found(&resolver, "outer.example", None).await, expected);
    });
    assert_eq!(zone.asked("_msrps._tcp.outer.example", SRV), 1);
    assert_eq!(zone.asked("first.example", 1), 1);
    assert_eq!(zone.asked("outer.example", 1), 0);
}

#[test]
fn dns_03_a_name_without_srv_record_is_reached_at_2855() {
    let zone = Zone::new(vec![("plain.example", Record::A("192.0.2.3"))]);
    run(&zone, |resolver| async move {
        for _ in 0..2 {
            let places = found(&resolver, "plain.example", None).await;
            assert_eq!(places, ["192.0.2.3:2855"]);
        }
    });
    // That there is none is remembered, too (DNS-07).
    assert_eq!(zone.asked("_msrps._tcp.plain.example", SRV), 1);
}

#[test]
fn dns_05_a_service_that_is_not_offered_has_no_other_way() {
    let zone = Zone::new(vec![
        ("_msrps._tcp.none.example", Record::Srv(0, 0, 0, ".")),
        ("none.example", Record::A("192.0.2.4")),
    ]);
    run(&zone, |resolver| async move {
        ask(&resolver, "none.example", None)
            .await
            .expect_err("no service");
    });
    assert_eq!(zone.asked("none.example", 1), 0);
}

#[test]
fn dns_07_that_nobody_knows_the_srv_record_is_not_that_there_is_none() {
    let zone = Zone {
        silent: vec!["_msrps._tcp.quiet.example"],
        ..Zone::new(vec![("quiet.example", Record::A("192.0.2.5"))])
    };
    run(&zone, |resolver| async move {
        ask(&resolver, "quiet.example", None)
            .await
            .expect_err("silence");
    });
    assert_eq!(zone.asked("quiet.example", 1), 0);
}

#[test]
fn dns_06_a_silent_target_does_not_hide_the_next_one() {
    let zone = Zone {
        silent: vec!["first.example"],
        ..Zone::new(vec![
            (
                "_msrps._tcp.half.example",
                Record::Srv(1, 0, 1, "first.example"),
            ),
            (
                "_msrps._tcp.half.example",
                Record::Srv(2, 0, 2, "second.example"),
            ),
            ("second.example", Record::A("192.0.2.2")),
        ])
    };
    run(&zone, |resolver| async move {
        let begun = Instant::now();
        let places = found(&resolver, "half.example", None).await;
        assert_eq!(places, ["second.example 192.0.2.2:2"]);
        assert!(begun.elapsed() < TIMEOUT, "{:?}", begun.elapsed());
    });
}

#[test]
fn dns_07_failures_are_remembered_briefly_and_silence_costs_bounded_time_and_nobody_else() {
    let zone = Zone {
        silent: vec!["a.example"],
        ..Zone::new(vec![("b.example", Record::A("192.0.2.6"))])
    };
    run(&zone, |resolver| async move {
        let begun = Instant::now();
        let other = async {
            found(&resolver, "b.example", Some(1)).await;
            begun.elapsed()
        };
        let silence = async {
            let silence = ask(&resolver, "a.example", Some(1)).await;
            silence.expect_err("silence");
            begun.elapsed()
        };
        let (silence, other) = tokio::join!(silence, other);
        assert!(silence <= TIMEOUT + Duration::from_secs(1), "{silence:?}");
        assert!(other < silence, "{other:?}");
    });
    let before = zone.asked.borrow().len();
    run(&zone, |resolver| async move {
        for name in ["c.example", "C.example."] {
            ask(&resolver, name, Some(1))
                .await
                .expect_err("no such name");
        }
    });
    // One question for A and one for AAAA, put once.
    assert_eq!(zone.asked.borrow().len() - before, 2);
}

#[test]
fn dns_07_what_one_name_may_bring_is_bounded() {
    let addresses = (1..=20).map(|n| Record::A(format!("192.0.2.{n}").leak()));
    let services = (1..=20).map(|n| Record::Srv(n, 1, 7, "many.example"));
    let zone = Zone::new(
        addresses
            .map(|record| ("many.example", record))
            .chain(services.map(|record| ("_msrps._tcp.many.example", record)))
            .collect(),
    );
    run(&zone, |resolver| async move {
        assert_eq!(
            found(&resolver, "many.example", Some(7)).await.len(),
            ADDRESSES_MAX
        );
        assert_eq!(
            found(&resolver, "many.example", None).await.len(),
            PLACES_MAX
        );
    });
}

#[test]
fn dns_07_an_answer_counts_for_its_ttl() {
    let zone = Zone {
        ttl: 1,
        ..Zone::new(vec![
            (
                "_msrps._tcp.short.example",
                Record::Srv(1, 1, 7, "short.example"),
            ),
            ("short.example", Record::A("192.0.2.8")),
        ])
    };
    run(&zone, |resolver| async move {
        for _ in 0..3 {
            found(&resolver, "short.example", None).await;
        }
        tokio::time::sleep(Duration::from_millis(2100)).await;
        found(&resolver, "short.example", None).await;
    });
    assert_eq!(zone.asked("_msrps._tcp.short.example", SRV), 2);
    assert_eq!(zone.asked("short.example", 1), 2);
}

/// Longer than failures that say nothing about it.
#[test]
fn dns_07_that_there_is_none_counts_for_the_ttl_of_its_soa() {
    let zone = Zone {
        with_soa: true,
        ..Zone::new(vec![("plain.example", Record::A("192.0.2.3"))])
    };
    run(&zone, |resolver| async move {
        for _ in 0..2 {
            found(&resolver, "plain.example", None).await;
            let none = ask(&resolver, "none.example", Some(1)).await;
            none.expect_err("no such name");
            tokio::time::sleep(cache::FAILURE_TTL + Duration::from_millis(200)).await;
        }
    });
    assert_eq!(zone.asked("_msrps._tcp.plain.example", SRV), 1);
    assert_eq!(zone.asked("none.example", 1), 1);
}

/// A hundred names that nobody answers for wait beside the one that is answered, not before it.
#[test]
fn dns_07_names_that_hang_do_not_hold_up_others() {
    let hanging: Vec<&'static str> = (0..100).map(|n| &*format!("h{n}.example").leak()).collect();
    let zone = Zone {
        silent: hanging.clone(),
        ..Zone::new(vec![("b.example", Record::A("192.0.2.6"))])
    };
    run(&zone, |resolver| async move {
        let mut all = JoinSet::new();
        for name in hanging {
            let resolver = resolver.clone();
            all.spawn(async move { ask(&resolver, name, Some(1)).await.is_ok() });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        found(&resolver, "b.example", Some(1)).await;
        assert!(all.try_join_next().is_none(), "all of them hang still");
        while let Some(answered) = all.join_next().await {
            assert!(!answered.expect("an answer"));
        }
    });
}

/// More askers than it takes to keep every turn at the name servers, all with names that nobody
/// answers for.
async fn hang_all(resolver: &Resolver, hanging: &[&'static str]) -> JoinSet<bool> {
    let mut all = JoinSet::new();
    let askers = QUESTIONS_MAX.div_ceil(QUESTIONS_OF_ONE_MAX);
    for (number, name) in hanging.iter().enumerate() {
        let (resolver, name) = (resolver.clone(), *name);
        let asker = 1 + (number % askers) as u64;
        all.spawn(async move { ask_for(asker, &resolver, name, Some(1)).await.is_ok() });
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    all
}

fn hanging(count: usize) -> Vec<&'static str> {
    (0..count)
        .map(|n| &*format!("h{n}.example").leak())
        .collect()
}

/// Addresses need no name server, and what is in the cache needs no turn.
#[test]
fn dns_07_literals_and_known_names_are_answered_while_every_turn_is_taken() {
    let hanging = hanging(2 * QUESTIONS_MAX);
    let zone = Zone {
        silent: hanging.clone(),
        ..Zone::new(vec![
            ("known.example", Record::A("192.0.2.6")),
            (
                "_msrps._tcp.service.example",
                Record::Srv(1, 1, 7, "known.example"),
            ),
        ])
    };
    run(&zone, |resolver| async move {
        found(&resolver, "known.example", Some(1)).await;
        found(&resolver, "service.example", None).await;
        ask(&resolver, "none.example", Some(1))
            .await
            .expect_err("no such name");
        let mut all = hang_all(&resolver, &hanging).await;
        let asked = 1;
        for (host, port) in [("192.0.2.7", Some(7)), ("known.example", Some(2))] {
            let places = ask_for(asked, &resolver, host, port).await;
            assert_eq!(places.expect("places").len(), 1, "{host}");
        }
        let places = ask_for(asked, &resolver, "service.example", None).await;
        assert_eq!(places.expect("places").len(), 1);
        let none = ask_for(asked, &resolver, "none.example", Some(1)).await;
        assert_eq!(none, Err("the name has no address".into()), "known, too");
        assert!(all.try_join_next().is_none(), "all of them hang still");
    });
    assert_eq!(zone.asked("known.example", 1), 1);
}

/// One asker cannot keep the servers from another, however many names he has that nobody answers
/// for.
#[test]
fn dns_07_one_asker_with_names_that_hang_does_not_hold_up_another() {
    let hanging = hanging(4 * QUESTIONS_MAX);
    let zone = Zone {
        silent: hanging.clone(),
        ..Zone::new(vec![("b.example", Record::A("192.0.2.6"))])
    };
    run(&zone, |resolver| async move {
        let mut all = JoinSet::new();
        for name in hanging {
            let resolver = resolver.clone();
            all.spawn(async move { ask_for(1, &resolver, name, Some(1)).await.is_ok() });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        let places = ask_for(2, &resolver, "b.example", Some(1)).await;
        assert_eq!(places.expect("places").len(), 1);
        assert!(all.try_join_next().is_none(), "all of them hang still");
    });
}
