//! Who is a relay, in both directions: RFC 4976 §6.1, §6.3, §9.2, RFC 6125 §6.4; rows TLS as far as they need another
//! relay. What tells a relay from a client: a request for somebody else is answered with 481 on a relay's link and ends
//! a client's connection (D-12).

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose};
use rustls::HandshakeKind;

use crate::rows;
use crate::support::client::{Client, Nothing, QUIET, SOON};
use crate::support::message::{Draft, response};
use crate::support::pki::{Authority, Identity, STRANGER, TRUSTED};
use crate::support::relay::{Relay, Setup, shared};
use crate::support::relay2::{R2, own_host};
use crate::support::tls::ClientTls;

rows! {
    any: [],
    own: [
        tls_07_relay_only_for_names_in_its_certificate,
        tls_07_certificates_of_relays_that_connect_in,
        tls_07_link_ends_with_its_certificate,
        tls_08_certificates_of_relays_that_are_dialled,
        tls_08_relay_is_shown_our_certificate,
        tls_11_relay_without_tls_is_never_spoken_to,
        tls_12_relay_is_never_reached_in_clear,
        tls_14_resumed_link_is_judged_again,
        tls_14_dialled_relay_is_judged_again_when_resumed,
        tls_15_usages_of_a_relays_certificate,
    ],
}

/// Whether R takes the sender of this client's requests for a relay.
fn is_relay(link: &mut Client) -> bool {
    let to = "msrps://elsewhere.example.org:2855/x;tcp";
    let draft = Draft::send(to, &link.uri).text("whose are you?");
    link.send(draft.octets());
    match link.receive(SOON) {
        Ok(answer) => {
            assert_eq!((answer.code(), &answer.tid), (Some(481), &draft.tid));
            true
        }
        Err(Nothing::Ended(_)) => false,
        Err(Nothing::Timeout) => panic!("neither an answer nor a close"),
    }
}

/// The start of validity and its end, in seconds from now.
fn valid(params: &mut CertificateParams, from: i64, until: i64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let at = |shift: i64| {
        let seconds = now.as_secs().checked_add_signed(shift).unwrap();
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
    };
    (params.not_before, params.not_after) = (at(from), at(until));
}

fn with_usages(name: &str, usages: &[ExtendedKeyUsagePurpose]) -> Identity {
    TRUSTED.leaf_with(&[name], |params| {
        params.extended_key_usages = usages.to_vec();
    })
}

fn tls_07_relay_only_for_names_in_its_certificate() {
    let relay = shared();
    let (host, other) = (own_host(), own_host());
    let r2 = R2::with(host.clone(), TRUSTED.leaf(&[&host, &other]));
    let path = |host: &str| format!("msrps://{host}:2855/x;tcp msrps://bob.example.org:1/b;tcp");
    // Each name of the certificate, in any case; the host of the first From-Path URI decides, nothing else in it.
    for (from, expected) in [
        (path(&host), true),
        (path(&other), true),
        (path(&host.to_uppercase()), true),
        (path(&host.replace('r', "%72")), true),
        (path("third.peers.example"), false),
        (path(&format!("x.{host}")), false),
        (path("peers.example"), false),
        (path("127.0.0.1"), false),
        (
            format!("msrps://bob.example.org:1/b;tcp {}", path(&host)),
            false,
        ),
    ] {
        let mut link = r2.connect(relay);
        link.uri = from;
        assert_eq!(is_relay(&mut link), expected, "{}", link.uri);
    }
    // It is judged by request: on one connection some come from a relay and others do not.
    let mut link = r2.connect(relay);
    assert!(is_relay(&mut link));
    link.uri = path(&other);
    assert!(is_relay(&mut link));
    link.uri = path("third.peers.example");
    assert!(!is_relay(&mut link));
}

/// A certificate, for a relay of this name, and whether it makes one.
type Case = (&'static str, String, Identity, bool);

/// What is judged alike in both directions.
fn cases() -> Vec<Case> {
    use ExtendedKeyUsagePurpose::{
        ClientAuth, CodeSigning, EmailProtection, ServerAuth, TimeStamping,
    };
    let (rogue, intermediate) = (Authority::impostor(), TRUSTED.intermediate());
    let mut cases: Vec<Case> = Vec::new();
    let mut case = |what, make: &dyn Fn(&str) -> Identity, good| {
        let host = own_host();
        let identity = make(&host);
        cases.push((what, host, identity, good));
    };
    case("fine", &|name| TRUSTED.leaf(&[name]), true);
    case(
        "several names",
        &|name| TRUSTED.leaf(&["a.example.net", name]),
        true,
    );
    case(
        "upper case",
        &|name| TRUSTED.leaf(&[&name.to_uppercase()]),
        true,
    );
    case("wildcard", &|_| TRUSTED.leaf(&["*.peers.example"]), true);
    case(
        "through an intermediate",
        &|name| intermediate.leaf(&[name]),
        true,
    );
    case(
        "without its intermediate",
        &|name| {
            let mut leaf = intermediate.leaf(&[name]);
            leaf.chain.truncate(1);
            leaf
        },
        false,
    );
    case("unknown authority", &|name| STRANGER.leaf(&[name]), false);
    case("rogue authority", &|name| rogue.leaf(&[name]), false);
    case(
        "rogue authority that shows ours",
        &|name| {
            let mut leaf = rogue.leaf(&[name]);
            leaf.chain.push(TRUSTED.der());
            leaf
        },
        false,
    );
    case("self-signed", &|name| Identity::self_signed(&[name]), false);
    case("expired", &|name| TRUSTED.expired(&[name]), false);
    case(
        "expired a minute ago",
        &|name| TRUSTED.leaf_with(&[name], |params| valid(params, -3600, -60)),
        false,
    );
    case(
        "not yet valid",
        &|name| TRUSTED.leaf_with(&[name], |params| valid(params, 3600, 7200)),
        false,
    );
    case("wrong name", &|_| TRUSTED.leaf(&["r2.example.net"]), false);
    case("name above", &|_| TRUSTED.leaf(&["peers.example"]), false);
    case(
        "name below",
        &|name| TRUSTED.leaf(&[&format!("x.{name}")]),
        false,
    );
    case(
        "common name only",
        &|name| TRUSTED.common_name_only(name),
        false,
    );
    case(
        "wildcard in a label",
        &|_| TRUSTED.leaf(&["r2*.peers.example"]),
        false,
    );
    case(
        "wildcard one label up",
        &|_| TRUSTED.leaf(&["*.example"]),
        false,
    );
    case(
        "wildcard of two labels",
        &|_| TRUSTED.leaf(&["*.*.example"]),
        false,
    );
    case(
        "wildcard below",
        &|name| TRUSTED.leaf(&[&format!("*.{name}")]),
        false,
    );
    case("wildcard alone", &|_| TRUSTED.leaf(&["*"]), false);
    case("address", &|_| TRUSTED.leaf(&["127.0.0.1"]), false);
    case("an authority's own", &|_| TRUSTED.identity(), false);
    case(
        "usage serverAuth",
        &|name| with_usages(name, &[ServerAuth]),
        true,
    );
    case(
        "both usages",
        &|name| with_usages(name, &[ServerAuth, ClientAuth]),
        true,
    );
    case(
        "usage serverAuth and another",
        &|name| with_usages(name, &[CodeSigning, ServerAuth]),
        true,
    );
    case(
        "usage codeSigning",
        &|name| with_usages(name, &[CodeSigning]),
        false,
    );
    case(
        "usages that say nothing of TLS",
        &|name| with_usages(name, &[EmailProtection, TimeStamping]),
        false,
    );
    cases
}

fn tls_07_certificates_of_relays_that_connect_in() {
    let relay = shared();
    for (what, host, identity, good) in cases() {
        let r2 = R2::with(host, identity);
        let mut link = r2.connect(relay);
        assert_eq!(is_relay(&mut link), good, "{what}");
        // Whatever it is, AUTH with Digest is open to it.
        r2.connect(relay).challenge();
    }
    // Over TLS 1.2 as well.
    for (identity, good) in [
        (TRUSTED.leaf(&["old.peers.example"]), true),
        (STRANGER.leaf(&["old.peers.example"]), false),
    ] {
        let r2 = R2::with("old.peers.example".to_owned(), identity);
        let tls = ClientTls {
            versions: vec![&rustls::version::TLS12],
            ..r2.client_tls()
        };
        let mut link = Client::tls_with(relay, &tls).expect("the handshake goes on");
        link.uri = r2.path_of_client();
        assert_eq!(is_relay(&mut link), good);
    }
}

fn tls_15_usages_of_a_relays_certificate() {
    // Public authorities issue serverAuth only; private ones issue anything. A relay that connects in needs one that is
    // about TLS, or none at all.
    use ExtendedKeyUsagePurpose::{ClientAuth, CodeSigning, OcspSigning, ServerAuth};
    let relay = shared();
    for (usages, good) in [
        (&[][..], true),
        (&[ClientAuth][..], true),
        (&[ServerAuth][..], true),
        (&[ClientAuth, ServerAuth][..], true),
        (&[ClientAuth, CodeSigning][..], true),
        (&[CodeSigning][..], false),
        (&[OcspSigning][..], false),
        (&[CodeSigning, OcspSigning][..], false),
    ] {
        let host = own_host();
        let r2 = R2::with(host.clone(), with_usages(&host, usages));
        assert_eq!(is_relay(&mut r2.connect(relay)), good, "{usages:?}");
        if good {
            // All that a relay does: a token of its own, used over another connection.
            let mut link = r2.connect(relay);
            link.obtain_token();
            let mut a = Client::authenticated(relay, "alice");
            let token = crate::support::relay2::own_token(&link.token);
            let mut second = r2.connect(relay);
            second.uri.clone_from(&link.uri);
            second.say(&format!("{token} {} {}", a.token, a.uri), "as a relay");
            assert_eq!(a.expect_method("SEND").body(), b"as a relay");
        }
    }
}

/// What R hears of a relay that it shall dial, by SEND and by AUTH, and whether the relay heard anything.
fn told_about(relay: &Relay, r2: &R2, auth: bool) -> (Option<u16>, bool) {
    let mut a = Client::authenticated(relay, "alice");
    let draft = match auth {
        true => {
            let next = format!("msrps://{}:{};tcp", r2.host, r2.peer.port);
            Draft::request("AUTH", &format!("{} {next}", a.token), &a.uri)
        }
        false => {
            let to = format!("{} {}", a.token, r2.path_of_client());
            Draft::send(&to, &a.uri).text("is it you?")
        }
    };
    a.send(draft.octets());
    let mut heard = r2.peer.gets_message(Duration::from_secs(3));
    if let Some((link, got)) = &mut heard {
        link.send(response(got, "200 OK"));
        if auth {
            assert_eq!(a.response_to(&draft.tid).code(), Some(200));
        }
        return (None, true);
    }
    let failed = a.find(SOON, |m| m.code() != Some(200));
    let code = failed.status().map(|(_, code, _)| code);
    for more in a.drain(Duration::from_millis(50)) {
        assert_eq!(more.code(), Some(200), "told once: {more:?}");
    }
    (failed.code().or(code), false)
}

fn tls_08_certificates_of_relays_that_are_dialled() {
    let relay = shared();
    let client_only = |name: &str| with_usages(name, &[ExtendedKeyUsagePurpose::ClientAuth]);
    let host = own_host();
    let mut cases = cases();
    // Who answers as a server needs a certificate for servers.
    cases.push(("usage clientAuth", host.clone(), client_only(&host), false));
    let here = "127.0.0.1".to_owned();
    cases.push((
        "its address",
        here.clone(),
        TRUSTED.leaf(&["127.0.0.1"]),
        true,
    ));
    cases.push((
        "another address",
        here.clone(),
        TRUSTED.leaf(&["127.0.0.2"]),
        false,
    ));
    cases.push((
        "a name for an address",
        here,
        TRUSTED.leaf(&["localhost"]),
        false,
    ));
    std::thread::scope(|scope| {
        for (what, host, identity, good) in cases {
            let (name, own) = (host.clone(), identity.clone());
            scope.spawn(move || {
                let r2 = R2::with(host, identity);
                let expected = if good {
                    (None, true)
                } else {
                    (Some(408), false)
                };
                assert_eq!(told_about(relay, &r2, false), expected, "{what}: SEND");
                // A relay of its own: what has failed is left alone for a while, whatever asks for it.
                let r2 = R2::with(name, own);
                assert_eq!(told_about(relay, &r2, true), expected, "{what}: AUTH");
                r2.peer.nobody_connects(Duration::from_millis(10));
            });
        }
    });
}

fn tls_08_relay_is_shown_our_certificate() {
    let relay = shared();
    let r2 = R2::new();
    let mut session = r2.dialled(relay);
    let shown = session
        .p
        .shown_certificates()
        .expect("a certificate")
        .to_vec();
    let ours = Client::tls(relay);
    assert_eq!(
        Some(&shown[..]),
        ours.shown_certificates(),
        "the one of the listener"
    );
    session.still_works();
    // A relay that wants another authority's certificate is no next hop, and hears nothing.
    let picky = R2::wanting(&STRANGER);
    let mut a = Client::authenticated(relay, "alice");
    let draft = Draft::send(&format!("{} {}", a.token, picky.path_of_client()), &a.uri).text("hm");
    a.send(draft.octets());
    let socket = picky.peer.accept_socket(SOON).expect("R connects");
    assert!(picky.peer.handshake(socket).is_err());
    let failed = a.find(SOON, |m| m.code() != Some(200));
    let code = failed.status().map(|(_, code, _)| code);
    assert_eq!(failed.code().or(code), Some(408));
}

fn tls_11_relay_without_tls_is_never_spoken_to() {
    let relay = Setup::new()
        .set("dial.last_hop_tcp", true)
        .set("dial.last_hop_unverified", true)
        .start();
    let plain = crate::support::peer::Peer::tcp();
    let uri = plain.uri_at("127.0.0.1");
    let mut a = Client::authenticated(&relay, "alice");
    let draft = Draft::send(
        &format!("{} {uri} msrps://x.example.net:1/x;tcp", a.token),
        &a.uri,
    )
    .text("secret");
    a.send(draft.octets());
    let octets = plain.raw_octets(SOON);
    assert_eq!(octets.first(), Some(&22), "a ClientHello");
    assert!(!octets.windows(6).any(|w| w == b"secret" || w == b"MSRP t"));
    let failed = a.find(SOON, |m| m.code() != Some(200));
    let code = failed.status().map(|(_, code, _)| code);
    assert_eq!(failed.code().or(code), Some(408));
    plain.nobody_connects(Duration::from_millis(100));
}

fn tls_12_relay_is_never_reached_in_clear() {
    // Also where the last hop may be; nor is a relay left unverified where a last hop is.
    let relay = Setup::new()
        .set("dial.last_hop_tcp", true)
        .set("dial.last_hop_unverified", true)
        .start();
    let plain = crate::support::peer::Peer::tcp();
    let mut a = Client::authenticated(&relay, "alice");
    for (method, rest) in [
        ("SEND", "msrps://x.example.net:1/x;tcp"),
        ("NICKNAME", "msrp://x.example.net:1/x;tcp"),
        ("AUTH", ""),
    ] {
        let to = format!("{} {} {rest}", a.token, plain.uri)
            .trim_end()
            .to_owned();
        let draft = match method {
            "SEND" => Draft::send(&to, &a.uri).text("in clear?"),
            method => Draft::request(method, &to, &a.uri),
        };
        a.send(draft.octets());
        assert_eq!(a.response_to(&draft.tid).code(), Some(403), "{method}");
    }
    plain.nobody_connects(QUIET);
    let host = own_host();
    let unverified = R2::with(host.clone(), STRANGER.leaf(&[&host]));
    assert_eq!(told_about(&relay, &unverified, false), (Some(408), false));
    let host = own_host();
    let unverified = R2::with(host.clone(), STRANGER.leaf(&[&host]));
    assert_eq!(told_about(&relay, &unverified, true), (Some(408), false));
}

/// One connection with this configuration, which may resume what an earlier one began.
fn resuming(relay: &Relay, config: &Arc<rustls::ClientConfig>, uri: &str) -> Client {
    let mut link = Client::tls_configured(relay, config.clone()).expect("the handshake succeeds");
    uri.clone_into(&mut link.uri);
    link
}

/// TLS-07: a link is a relay's until its certificate ends, and no longer; it is closed in order.
fn tls_07_link_ends_with_its_certificate() {
    let relay = shared();
    let host = own_host();
    let identity = TRUSTED.leaf_with(&[&host], |params| valid(params, -60, 5));
    let expires = Instant::now() + Duration::from_secs(5);
    let r2 = R2::with(host, identity);
    let mut link = r2.connect(relay);
    assert!(is_relay(&mut link));
    let ended = link.receive(Duration::from_secs(60));
    assert!(matches!(ended, Err(Nothing::Ended(_))), "{ended:?}");
    // The certificate's own second is counted in whole ones.
    assert!(Instant::now() + Duration::from_secs(2) > expires);
}

fn tls_14_resumed_link_is_judged_again() {
    let relay = shared();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let host = own_host();
        let identity = TRUSTED.leaf_with(&[&host], |params| valid(params, -60, 6));
        let expires = Instant::now() + Duration::from_secs(6);
        let r2 = R2::with(host, identity);
        let tls = ClientTls {
            versions: vec![version],
            ..r2.client_tls()
        };
        let config = Arc::new(tls.config());
        let uri = r2.path_of_client();
        let mut kinds = Vec::new();
        for _ in 0..3 {
            let mut link = resuming(relay, &config, &uri);
            assert!(is_relay(&mut link), "{version:?}");
            kinds.push(link.session().handshake_kind());
        }
        assert_eq!(kinds[0], Some(HandshakeKind::Full));
        assert_eq!(kinds[2], Some(HandshakeKind::Resumed), "{kinds:?}");
        // The ticket outlives the certificate, and helps nobody.
        std::thread::sleep(
            expires.saturating_duration_since(Instant::now()) + Duration::from_secs(2),
        );
        let mut link = resuming(relay, &config, &uri);
        assert_eq!(
            link.session().handshake_kind(),
            Some(HandshakeKind::Resumed)
        );
        assert!(!is_relay(&mut link), "{version:?}");
    }
}

fn tls_14_dialled_relay_is_judged_again_when_resumed() {
    let relay = Setup::new()
        .set("dial.idle_timeout", "1s")
        .set("relay.workers", 1)
        .start();
    let host = own_host();
    let identity = TRUSTED.leaf_with(&[&host], |params| valid(params, -60, 9));
    let expires = Instant::now() + Duration::from_secs(9);
    let r2 = R2::with(host, identity);
    let mut a = Client::authenticated(&relay, "alice");
    let mut kinds = Vec::new();
    for _ in 0..2 {
        a.say(&format!("{} {}", a.token, r2.path_of_client()), "hello");
        let mut link = r2.accept();
        let got = link.expect_method("SEND");
        link.send(response(&got, "200 OK"));
        assert!(is_relay(&mut link), "a dialled relay is one");
        kinds.push(link.handshake_kind());
        link.closed_within(SOON);
    }
    assert_eq!(kinds[1], Some(HandshakeKind::Resumed), "{kinds:?}");
    std::thread::sleep(expires.saturating_duration_since(Instant::now()) + Duration::from_secs(2));
    assert_eq!(told_about(&relay, &r2, false), (Some(408), false));
}
