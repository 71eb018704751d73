//! Who goes on when memory is short, and that all that is remembered counts and stops counting
//! (SEC-06, SEC-07).

use std::sync::Arc;
use std::time::Duration;

use msrpd::auth::Settings as AuthSettings;
use msrpd::relay::{LookedUp, Transport};
use msrpload::codec::Builder;

use crate::relays::{FAR, R2, R2_URI, chained_auth, dial_in, end_sessions};
use crate::setup::{
    AUTH_URI, HOST, USERS, answer, answer_as, auth, client, client_uri, credentials, foreign, last,
    settings, whole,
};
use crate::world::{Options, Peer, World};

use super::memory::{by_own_path, codes, refused};

const TOTAL: usize = 4 << 20;

/// Small enough to be filled, and a share that one connection alone does not keep others out by.
fn small() -> World {
    let mut options = Options::default();
    options.settings.limits.remembered_octets_total = TOTAL;
    World::unchecked(options)
}

/// The whole digest exchange as a user, with this From-Path.
fn ask(world: &mut World, peer: Peer, user: (&str, &str), from: &str) -> Option<u16> {
    world.write(peer, &auth(from, &[AUTH_URI], "auth1", None, None));
    world.run();
    let authorization = answer_as(user, &last(world, peer), AUTH_URI, 1);
    let auth = auth(from, &[AUTH_URI], "auth2", None, Some(&authorization));
    world.write(peer, &auth);
    world.run();
    last(world, peer).code()
}

/// Bob, on as many connections as it takes, makes us remember sessions with long From-Paths until he
/// is refused on a fresh connection. How many connections.
fn fill_as_bob(world: &mut World) -> usize {
    for connections in 1..200 {
        let peer = world.connect(0, Transport::Tls);
        let mut granted = 0;
        while granted < 4 {
            let uri = format!("msrps://b.invalid:2855/{};tcp", "s".repeat(12_000));
            if ask(world, peer, USERS[1], &uri) != Some(200) {
                break;
            }
            granted += 1;
        }
        if granted == 0 {
            return connections;
        }
    }
    panic!("nobody refuses bob");
}

/// SEC-06, SEC-07: an account fills what it can by many connections. It is stopped at three quarters
/// of the total, a new client of another user and a verified relay with much of its own are served.
#[test]
fn sec_06_an_account_that_fills_memory_shuts_nobody_else_out() {
    let mut world = small();
    let link = dial_in(&mut world, 0);
    let r2 = chained_auth(&mut world, link);
    let connections = fill_as_bob(&mut world);
    assert!((40..=70).contains(&connections), "{connections}");
    let used = world.shards[0].remembered();
    assert!(used <= TOTAL / 4 * 3 + 65_536, "{used} of {TOTAL}");
    assert!(refused(&world) > 0);
    // A newcomer from elsewhere, who has not been here before.
    world.from = "198.51.100.7".parse().expect("an address");
    let a = client(&mut world, 0, "a");
    let b = client(&mut world, 0, "b");
    for number in 0..3 {
        world.write(a.peer, &whole(&a, &b, &format!("m{number}"), "yes", b"hi"));
        world.run();
        assert_eq!(last(&mut world, a.peer).code(), Some(200));
        assert_eq!(last(&mut world, b.peer).body(), b"hi");
    }
    // The relay's users: many paths, each of which counts for the relay.
    let before = refused(&world);
    for number in 0..100 {
        world.write(
            link,
            &by_own_path(&a, &format!("{R2_URI} {FAR}"), number, "yes"),
        );
    }
    world.run();
    assert_eq!(codes(&world.messages(link), 200), 100, "chunks by the link");
    assert_eq!(codes(&world.messages(a.peer), 413), 0);
    assert_eq!(refused(&world), before);
    let uri = format!("{R2_URI} {FAR}");
    let send = Builder::request("tidback", "SEND")
        .to_path(&[&r2, R2_URI, FAR])
        .from_path(&[&a.uri])
        .header("Message-ID", "back")
        .header("Byte-Range", "1-2/2")
        .body(b"hi");
    world.write(a.peer, &send.encode());
    world.run();
    assert_eq!(last(&mut world, a.peer).code(), Some(200), "to {uri}");
    end_sessions(world);
}

/// SEC-06: strangers from many addresses, each with little, fill what is left for them; users and
/// relays still have their part.
#[test]
fn sec_06_strangers_leave_the_last_part_to_users_and_relays() {
    let mut world = small();
    let a = client(&mut world, 0, "a");
    world.sockets[a.peer].reading = false;
    let mut stopped = 0;
    for number in 0..2000_u32 {
        world.from = std::net::Ipv4Addr::from(0x0a00_0000 + number).into();
        let m = foreign(&mut world, 0, "m");
        world.write(m.peer, &by_own_path(&a, &m.uri, number as usize, "yes"));
        world.run();
        stopped += codes(&world.messages(m.peer), 413);
    }
    assert!(stopped > 500, "{stopped}");
    let used = world.shards[0].remembered();
    assert!(used <= TOTAL / 8 * 7 + 16_384, "{used} of {TOTAL}");
    let b = client(&mut world, 0, "b");
    let c = client(&mut world, 0, "c");
    world.write(b.peer, &whole(&b, &c, "m1", "yes", b"hi"));
    world.run();
    assert_eq!(last(&mut world, b.peer).code(), Some(200));
    let link = dial_in(&mut world, 0);
    world.write(link, &by_own_path(&c, &format!("{R2_URI} {FAR}"), 1, "yes"));
    world.run();
    assert_eq!(last(&mut world, link).code(), Some(200));
    world.end();
}

/// SEC-07, AUT-24: a certificate lifts the share of whoever speaks as the relay that it names, and
/// of nobody else.
#[test]
fn sec_07_a_certificate_alone_lifts_no_share() {
    let path = format!("{R2_URI} {FAR}");
    for (from, lifted) in [("msrps://c.invalid:2855/sc;tcp", false), (&*path, true)] {
        let mut options = Options::default();
        options.settings.limits.remembered_octets_per_connection = 1 << 20;
        let mut world = World::unchecked(options);
        let a = client(&mut world, 0, "a");
        world.sockets[a.peer].reading = false;
        let link = world.connect_verified(0, &[R2]);
        for number in 0..1000 {
            world.write(link, &by_own_path(&a, from, number, "yes"));
        }
        world.run();
        assert_eq!(refused(&world) == 0, lifted, "{from}");
        world.end();
    }
}

/// SEC-07, AUT-12: an AUTH that waits for a database counts with its whole head, once, and no longer
/// than it waits.
#[test]
fn sec_07_an_auth_that_waits_counts_with_its_head() {
    let mut world = World::new(Options::default());
    let (_, users) = credentials(0);
    let looks_up = Arc::new(AuthSettings {
        realm: Some(HOST.to_owned()),
        looks_up: true,
        ..AuthSettings::default()
    });
    let settings = Arc::new(settings());
    world.shards[0].reconfigure(world.now, settings, looks_up, users);
    let peer = world.connect(0, Transport::Tls);
    let uri = client_uri("c");
    world.write(peer, &auth(&uri, &[AUTH_URI], "auth1", None, None));
    world.run();
    let authorization = answer_as(("carol", "x"), &last(&mut world, peer), AUTH_URI, 1);
    let before = world.shards[0].remembered();
    for number in 0..3 {
        let request = Builder::request(&format!("auth2{number}"), "AUTH")
            .to_path(&[AUTH_URI])
            .from_path(&[&uri])
            .header("Authorization", &authorization)
            .header("X-Long", &"x".repeat(20_000));
        world.write(peer, &request.encode());
        world.run();
        let held = world.shards[0].remembered() - before;
        let bounds = (number + 1) * 20_000..(number + 1) * 24_000;
        assert!(bounds.contains(&held), "{held} for {}", number + 1);
    }
    while !world.looking_up.is_empty() {
        world.looked_up(LookedUp::Failed);
    }
    world.run();
    assert_eq!(world.shards[0].remembered(), before);
    world.end();
}

/// The same when its connection goes before the answer comes.
#[test]
fn sec_07_an_auth_that_waits_counts_until_its_answer_comes() {
    let mut options = Options::default();
    options.settings.limits.remembered_octets_per_connection = 60_000;
    let mut world = World::new(options);
    let (_, users) = credentials(0);
    let looks_up = Arc::new(AuthSettings {
        realm: Some(HOST.to_owned()),
        looks_up: true,
        ..AuthSettings::default()
    });
    let mut settings = settings();
    settings.limits.remembered_octets_per_connection = 60_000;
    world.shards[0].reconfigure(world.now, Arc::new(settings), looks_up, users);
    let peer = world.connect(0, Transport::Tls);
    let uri = client_uri("c");
    world.write(peer, &auth(&uri, &[AUTH_URI], "auth1", None, None));
    world.run();
    let authorization = answer_as(("carol", "x"), &last(&mut world, peer), AUTH_URI, 1);
    for number in 0..3 {
        let request = Builder::request(&format!("auth2{number}"), "AUTH")
            .to_path(&[AUTH_URI])
            .from_path(&[&uri])
            .header("Authorization", &authorization)
            .header("X-Long", &"x".repeat(25_000));
        world.write(peer, &request.encode());
    }
    world.run();
    assert_eq!(last(&mut world, peer).code(), Some(408), "past the share");
    assert_eq!((refused(&world), world.looking_up.len()), (1, 2));
    world.reset(peer);
    world.run();
    assert!(world.shards[0].remembered() > 50_000);
    while !world.looking_up.is_empty() {
        world.looked_up(LookedUp::Failed);
    }
    assert_eq!(
        world.shards[0].remembered(),
        world.shards[0].remembered_in_tables()
    );
    world.end();
}

/// SEC-07, D-34: what peers claim under a token counts, on both sides, until they are gone.
#[test]
fn sec_07_claims_count_until_the_claimant_goes() {
    let mut world = World::new(Options::default());
    let a = client(&mut world, 0, "a");
    let before = world.shards[0].remembered();
    let m = foreign(&mut world, 0, "m");
    for number in 0..100 {
        let from = format!("msrps://m.example.net:2855/{}{number};tcp", "s".repeat(400));
        // Whoever opens a path says by what it is reached.
        let end = Builder::request(&format!("end{number}"), "SEND")
            .to_path(&[
                &a.token,
                &format!("{}{number};tcp", a.uri.trim_end_matches(";tcp")),
            ])
            .from_path(&[&from])
            .header("Message-ID", &format!("e{number}"))
            .header("Byte-Range", "1-1/1")
            .header("Failure-Report", "no")
            .body(b"x");
        world.write(m.peer, &end.encode());
        world.run();
        world.messages(a.peer);
    }
    let held = world.shards[0].remembered() - before;
    // A hundred routes and as many claims.
    assert!(held > 100 * (3_500 + 600), "{held}");
    world.reset(m.peer);
    world.run();
    assert_eq!(world.shards[0].remembered(), before);
    world.end();
}

/// SEC-07: whom a shard could not reach counts while it is remembered, and it is for a minute or two.
#[test]
fn sec_07_back_offs_count_and_end() {
    let mut world = World::new(Options::default());
    let a = client(&mut world, 0, "a");
    let before = world.shards[0].remembered_in_tables();
    for number in 0..20 {
        let host = format!("{}{number}.example.net", "h".repeat(60));
        let to = format!("msrps://{host}:2855/x;tcp");
        let send = Builder::request(&format!("tid{number}"), "SEND")
            .to_path(&[&a.token, &to])
            .from_path(&[&a.uri])
            .header("Message-ID", &format!("m{number}"))
            .header("Byte-Range", "1-1/1")
            .body(b"x");
        world.write(a.peer, &send.encode());
        world.run();
        world.dial_fails(0);
        world.run();
    }
    world.messages(a.peer);
    let held = world.shards[0].remembered_in_tables() - before;
    assert!((20 * 250..20 * 400).contains(&held), "{held}");
    world.advance(Duration::from_secs(120));
    world.shards[0].give_back_memory(world.now);
    assert!(world.shards[0].remembered_in_tables() <= before);
    world.end();
}

/// RPT-11, SEC-07: a session that has ended counts for what its record needs, and then for nothing.
#[test]
fn sec_07_a_session_counts_until_its_record_is_made() {
    let mut world = World::new(Options::default());
    let peer = world.connect(0, Transport::Tls);
    let uri = format!("msrps://a.invalid:2855/{};tcp", "s".repeat(10_000));
    world.write(peer, &auth(&uri, &[AUTH_URI], "auth1", Some(60), None));
    world.run();
    let before = world.shards[0].remembered();
    let authorization = answer(&last(&mut world, peer), AUTH_URI, 1);
    let request = auth(&uri, &[AUTH_URI], "auth2", Some(60), Some(&authorization));
    world.write(peer, &request);
    world.run();
    assert_eq!(last(&mut world, peer).code(), Some(200));
    assert!(world.shards[0].remembered() > before + 10_000);
    world.advance(Duration::from_secs(61));
    assert_eq!(world.shards[0].sessions(), 0);
    assert!(world.shards[0].remembered() <= before + 96, "its nonce");
    world.end();
}
