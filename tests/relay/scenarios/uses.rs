//! What each kind of connection may be used for (CON-06, TLS-07, TLS-08, TLS-12, D-24, D-25, D-34):
//! the table of `docs/security.md`, cell by cell.

use std::time::Duration;

use msrpd::relay::{Settings, Transport, Verify};
use msrpload::codec::{Builder, Message};

use crate::relays::{FAR, R2, R2_URI, chained_auth, verified};
use crate::setup::{
    Client, auth_uri, authenticate_at, client, foreign, last, reload, respond, settings,
};
use crate::world::{Options, Peer, World};

/// The same without TLS.
const PLAIN: &str = "msrp://r2.example.net:2855/t2;tcp";

/// How the connection to R2 came about.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    RelayDialled,
    RelayConnectedIn,
    LastHopVerified,
    LastHopUnverified,
    /// Nobody asked for its certificate, and it has a good one.
    LastHopUnverifiedByName,
    LastHopPlain,
    Client,
    PeerByTls,
    PeerByTcp,
}

/// What it is wanted for.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Use {
    /// An AUTH's next hop, by the holder of the token under which a peer claims the URI, or by another.
    Auth {
        claimed: bool,
    },
    /// A hop that is not the last.
    Chain {
        claimed: bool,
    },
    ReportOn,
    /// The last hop.
    Last {
        claimed: bool,
    },
    /// Back to the relay that holds a token.
    Holder,
}

const KINDS: [(Kind, [bool; 8]); 9] = [
    (
        Kind::RelayDialled,
        [true, true, true, true, true, true, true, true],
    ),
    (
        Kind::RelayConnectedIn,
        [true, true, true, true, true, true, true, true],
    ),
    (
        Kind::LastHopVerified,
        [true, true, true, true, true, true, true, true],
    ),
    (
        Kind::LastHopUnverified,
        [false, false, false, false, false, true, true, false],
    ),
    (
        Kind::LastHopUnverifiedByName,
        [false, false, false, false, false, true, true, false],
    ),
    (
        Kind::LastHopPlain,
        [false, false, false, false, false, true, true, false],
    ),
    (Kind::Client, [false; 8]),
    (
        Kind::PeerByTls,
        [false, false, false, false, false, true, false, false],
    ),
    (
        Kind::PeerByTcp,
        [false, false, false, false, false, true, false, false],
    ),
];

const USES: [Use; 8] = [
    Use::Auth { claimed: true },
    Use::Auth { claimed: false },
    Use::Chain { claimed: true },
    Use::Chain { claimed: false },
    Use::ReportOn,
    Use::Last { claimed: true },
    Use::Last { claimed: false },
    Use::Holder,
];

struct Cast {
    world: World,
    /// Under its token R2 has written to us.
    a: Client,
    b: Client,
    /// The token of R2's client.
    held: String,
    link: Peer,
}

fn request(method: &str, tid: &str, to: &[&str], from: &[&str]) -> Vec<u8> {
    let request = Builder::request(tid, method).to_path(to).from_path(from);
    match method {
        "SEND" => request.header("Message-ID", tid).body(b"hi").encode(),
        "REPORT" => request
            .header("Message-ID", tid)
            .header("Byte-Range", "1-2/2")
            .header("Status", "000 200 OK")
            .encode(),
        _ => request.encode(),
    }
}

fn sends(world: &mut World, from: &Client, method: &str, tid: &str, to: &[&str]) {
    let mut path = vec![from.token.as_str()];
    path.extend(to);
    world.write(from.peer, &request(method, tid, &path, &[&from.uri]));
    world.run();
}

/// Whoever has got a SEND there answers it.
fn answers(world: &mut World, peer: Peer) -> Vec<Message> {
    let arrived = world.messages(peer);
    for message in &arrived {
        if message.method() == Some("SEND") {
            respond(world, peer, message, 200);
        }
    }
    world.run();
    arrived
}

fn cast(kind: Kind, workers: u16, settings: Settings) -> Cast {
    let mut world = World::new(Options {
        workers,
        settings,
        ..Options::default()
    });
    let far = usize::from(workers - 1);
    let a = client(&mut world, 0, "a");
    let b = client(&mut world, far, "b");
    // R2's client gets a URI by a link that is gone before the rest begins.
    let before = world.connect_verified(far, &[R2]);
    let held = chained_auth(&mut world, before);
    world.reset(before);
    world.run();
    let writes_in = |world: &mut World, peer: Peer, uri: &str| {
        world.write(peer, &request("SEND", "near", &[&a.token, &a.uri], &[uri]));
        world.run();
        assert_eq!(last(world, peer).code(), Some(200));
        answers(world, a.peer);
    };
    let link = match kind {
        Kind::RelayDialled => {
            sends(&mut world, &a, "SEND", "first", &[R2_URI, FAR]);
            assert_eq!(world.dialling[0].verify, Verify::Relay);
            world.dial_succeeds(0, Some(&[R2]))
        }
        Kind::RelayConnectedIn => {
            let link = world.connect_verified(far, &[R2]);
            writes_in(&mut world, link, R2_URI);
            link
        }
        Kind::LastHopVerified | Kind::LastHopUnverified | Kind::LastHopUnverifiedByName => {
            sends(&mut world, &a, "SEND", "first", &[R2_URI]);
            let unverified_ok = kind != Kind::LastHopVerified;
            assert_eq!(world.dialling[0].verify, Verify::LastHop { unverified_ok });
            let names: &[&str] = &[R2];
            world.dial_succeeds(0, (kind != Kind::LastHopUnverified).then_some(names))
        }
        Kind::LastHopPlain => {
            sends(&mut world, &a, "SEND", "first", &[PLAIN]);
            assert_eq!(world.dialling[0].verify, Verify::Plain);
            world.dial_succeeds(0, None)
        }
        Kind::Client => {
            let mut r2 = foreign(&mut world, far, "r2");
            r2.uri = R2_URI.into();
            assert!(authenticate_at(&mut world, &mut r2, &auth_uri(0), None));
            r2.peer
        }
        Kind::PeerByTls | Kind::PeerByTcp => {
            let (transport, uri) = match kind {
                Kind::PeerByTls => (Transport::Tls, R2_URI),
                _ => (Transport::Tcp, PLAIN),
            };
            let link = world.connect(far, transport);
            writes_in(&mut world, link, uri);
            link
        }
    };
    world.run();
    answers(&mut world, link);
    for client in [&a, &b] {
        world.messages(client.peer);
    }
    assert!(world.dialling.is_empty());
    Cast {
        world,
        a,
        b,
        held,
        link,
    }
}

impl Cast {
    fn wants(&mut self, wanted: Use, uri: &str, tid: &str) {
        let world = &mut self.world;
        let by = |claimed| if claimed { &self.a } else { &self.b };
        match wanted {
            Use::Auth { claimed } => sends(world, by(claimed), "AUTH", tid, &[uri]),
            Use::Chain { claimed } => sends(world, by(claimed), "SEND", tid, &[uri, FAR]),
            Use::ReportOn => sends(world, &self.a, "REPORT", tid, &[uri, FAR]),
            Use::Last { claimed } => sends(world, by(claimed), "SEND", tid, &[uri]),
            Use::Holder => {
                let peer = world.connect(0, Transport::Tls);
                let from = "msrps://q.example.net:2855/q;tcp";
                let to = [self.held.as_str(), R2_URI, FAR];
                world.write(peer, &request("SEND", tid, &to, &[from]));
                world.run();
            }
        }
    }

    /// How the relay looks for another connection; the attempt comes to nothing.
    fn dialled(&mut self) -> Vec<Verify> {
        let mut dialled = Vec::new();
        while let Some(dialling) = self.world.dialling.first() {
            dialled.push(dialling.verify);
            self.world.dial_fails(0);
            self.world.run();
        }
        dialled
    }

    fn codes(&mut self, of_a: bool) -> Vec<Option<u16>> {
        let peer = if of_a { self.a.peer } else { self.b.peer };
        self.world
            .messages(peer)
            .iter()
            .map(Message::code)
            .collect()
    }

    fn end(mut self) {
        self.dialled();
        self.world.reset(self.a.peer);
        self.world.reset(self.b.peer);
        self.dialled();
        self.world.advance(Duration::from_secs(601));
        self.world.end();
    }
}

fn settings_for(kind: Kind) -> Settings {
    let mut settings = settings();
    settings.last_hop_unverified = matches!(
        kind,
        Kind::LastHopUnverified | Kind::LastHopUnverifiedByName
    );
    settings
}

/// CON-06, TLS-08, TLS-12, D-24, D-25, D-34: each kind of connection serves what it may and nothing
/// else, and what it may not serve is dialled as it has to be.
#[test]
fn con_06_each_kind_of_connection_serves_what_it_may_and_nothing_else() {
    for workers in [1, 3] {
        for (kind, serves) in KINDS {
            for (wanted, serves) in USES.into_iter().zip(serves) {
                let mut cast = cast(kind, workers, settings_for(kind));
                let plain = matches!(kind, Kind::LastHopPlain | Kind::PeerByTcp);
                let uri = if plain { PLAIN } else { R2_URI };
                cast.wants(wanted, uri, "tid1");
                let case = format!("{kind:?} with {workers} shards for {wanted:?}");
                let arrived = answers(&mut cast.world, cast.link);
                assert_eq!(!arrived.is_empty(), serves, "{case}: {arrived:?}");
                let to_last = matches!(wanted, Use::Last { .. });
                let unverified_ok = cast_unverified(kind);
                let expected = match (serves, plain && wanted != Use::Holder, to_last) {
                    (true, _, _) => vec![],
                    (_, true, true) => vec![Verify::Plain],
                    (_, true, false) => vec![],
                    (_, false, true) => vec![Verify::LastHop { unverified_ok }],
                    (_, false, false) => vec![Verify::Relay],
                };
                assert_eq!(cast.dialled(), expected, "{case}");
                cast.end();
            }
        }
    }
}

fn cast_unverified(kind: Kind) -> bool {
    settings_for(kind).last_hop_unverified
}

/// The same To-Path may be a last hop's SEND and an AUTH's: the one never takes the other's way.
#[test]
fn con_06_an_auth_does_not_follow_the_send_that_had_the_same_path() {
    for kind in [Kind::LastHopUnverified, Kind::PeerByTls] {
        let mut cast = cast(kind, 2, settings_for(kind));
        cast.wants(Use::Last { claimed: true }, R2_URI, "tid1");
        assert_eq!(answers(&mut cast.world, cast.link).len(), 1);
        cast.wants(Use::Auth { claimed: true }, R2_URI, "tid2");
        assert!(answers(&mut cast.world, cast.link).is_empty(), "{kind:?}");
        assert_eq!(cast.dialled(), [Verify::Relay]);
        cast.end();
    }
}

/// AUT-24: a relay that is blocked stays blocked when somebody has reached its host as a last hop.
#[test]
fn aut_24_a_last_hop_at_a_blocked_relay_does_not_open_the_way_to_it() {
    for workers in [1, 3] {
        for listed in ["blocked", "not allowed"] {
            let mut settings = settings();
            match listed {
                "blocked" => settings.peers_block = vec![R2.into()],
                _ => settings.peers_allow = vec!["another.example.net".into()],
            }
            let mut world = World::new(Options {
                workers,
                settings,
                ..Options::default()
            });
            let a = client(&mut world, 0, "a");
            let b = client(&mut world, usize::from(workers - 1), "b");
            sends(&mut world, &a, "SEND", "tid1", &[R2_URI]);
            let hop = world.dial_succeeds(0, Some(&[R2]));
            world.run();
            assert_eq!(answers(&mut world, hop).len(), 1);
            world.messages(a.peer);
            for client in [&a, &b] {
                for (method, to) in [
                    ("SEND", &[R2_URI, FAR][..]),
                    ("AUTH", &[R2_URI]),
                    ("AUTH", &["msrps://r2.example.net:2855;tcp"]),
                    ("NICKNAME", &[R2_URI, FAR]),
                ] {
                    sends(&mut world, client, method, "tid2", to);
                    let refused = last(&mut world, client.peer);
                    assert_eq!(refused.code(), Some(403), "{listed}: {method}");
                    assert!(world.messages(hop).is_empty());
                    assert!(world.dialling.is_empty());
                }
            }
            world.end();
        }
    }
}

/// AUT-24: the same where the certificate of a last hop has another name that is blocked.
#[test]
fn aut_24_a_last_hop_that_is_blocked_by_another_name_is_no_relay() {
    for workers in [1, 3] {
        let mut settings = settings();
        settings.peers_block = vec!["bad.example.net".into()];
        let mut world = World::new(Options {
            workers,
            settings,
            ..Options::default()
        });
        let a = client(&mut world, 0, "a");
        sends(&mut world, &a, "SEND", "tid1", &[R2_URI]);
        let hop = world.dial_succeeds(0, Some(&[R2, "bad.example.net"]));
        world.run();
        assert_eq!(answers(&mut world, hop).len(), 1);
        sends(&mut world, &a, "AUTH", "tid2", &[R2_URI]);
        assert!(world.messages(hop).is_empty());
        assert_eq!(world.dialling[0].verify, Verify::Relay);
        world.dial_succeeds(0, Some(&[R2, "bad.example.net"]));
        world.run();
        let codes: Vec<_> = world.messages(a.peer).iter().map(Message::code).collect();
        assert_eq!(codes, [Some(200), Some(408)]);
        world.end();
    }
}

/// TLS-12: no chain and no AUTH leaves in clear, whatever a last hop has opened.
#[test]
fn tls_12_a_plain_last_hop_does_not_carry_chains_or_auths() {
    for kind in [Kind::LastHopPlain, Kind::PeerByTcp] {
        let mut cast = cast(kind, 2, settings());
        for (by_a, wanted) in [
            (true, Use::Chain { claimed: true }),
            (false, Use::Chain { claimed: false }),
            (true, Use::Auth { claimed: true }),
            (false, Use::Auth { claimed: false }),
        ] {
            cast.wants(wanted, PLAIN, "tid1");
            assert_eq!(cast.codes(by_a), [Some(403)], "{kind:?} for {wanted:?}");
            assert!(answers(&mut cast.world, cast.link).is_empty());
            assert!(cast.dialled().is_empty());
        }
        cast.end();
    }
}

/// AUT-24, D-24, D-25: the right to use a connection is asked for when it is used: the operator's
/// change holds from the next request on, also for those who have used it before.
#[test]
fn d_25_a_connection_is_used_as_long_as_the_operator_lets_it_be() {
    type Change = fn(&mut Settings);
    let block: Change = |settings| settings.peers_block = vec![R2.into()];
    let no_tcp: Change = |settings| settings.last_hop_tcp = false;
    let verify: Change = |settings| settings.last_hop_unverified = false;
    let chain = Use::Chain { claimed: true };
    let to_last = Use::Last { claimed: true };
    for (kind, wanted, change, code, dials) in [
        (Kind::RelayDialled, chain, block, 403, vec![]),
        (Kind::RelayConnectedIn, chain, block, 403, vec![]),
        (Kind::LastHopPlain, to_last, no_tcp, 403, vec![]),
        (
            Kind::LastHopUnverified,
            to_last,
            verify,
            408,
            vec![Verify::LastHop {
                unverified_ok: false,
            }],
        ),
    ] {
        for workers in [1, 2] {
            let mut cast = cast(kind, workers, settings_for(kind));
            let uri = match kind {
                Kind::LastHopPlain => PLAIN,
                _ => R2_URI,
            };
            for number in 0..3 {
                cast.wants(wanted, uri, &format!("tid{number}"));
                assert_eq!(answers(&mut cast.world, cast.link).len(), 1, "{kind:?}");
                assert_eq!(cast.codes(true), [Some(200)]);
            }
            reload(&mut cast.world, change);
            cast.wants(wanted, uri, "tid4");
            assert!(answers(&mut cast.world, cast.link).is_empty(), "{kind:?}");
            assert_eq!(cast.dialled(), dials, "{kind:?}");
            let told = cast.world.messages(cast.a.peer);
            let told = told.iter().any(|message| {
                let status = format!("000 {code} ");
                message.code() == Some(code)
                    || message
                        .header("Status")
                        .is_some_and(|value| value.starts_with(&status))
            });
            assert!(told, "{kind:?}: {code}");
            cast.end();
        }
    }
}

/// What a reload finds about R2's certificate ends the link too.
#[test]
fn aut_24_a_link_that_is_judged_again_is_gone_for_all_uses() {
    let mut cast = cast(Kind::RelayDialled, 2, settings());
    reload(&mut cast.world, |settings| {
        settings.peers_block = vec![R2.into()];
    });
    cast.world.rejudge(cast.link, verified(&[R2]));
    assert!(!cast.world.sockets[cast.link].alive());
    cast.wants(Use::Chain { claimed: true }, R2_URI, "tid1");
    assert_eq!(cast.codes(true), [Some(403)]);
    cast.end();
}
