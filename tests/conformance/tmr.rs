//! Timers: RFC 4976 §6.1, §6.4.1, §6.4.3; rows TMR.

use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::rows;
use crate::support::assembly::Assembly;
use crate::support::client::{Client, QUIET, SOON};
use crate::support::link::Link;
use crate::support::message::{Draft, response};
use crate::support::peer::Peer;
use crate::support::random::heavy;
use crate::support::relay::{Relay, Setup, shared};

rows! {
    any: [
        tmr_01_hop_timer_runs_from_the_last_octet,
        tmr_02_answer_after_the_timer_is_dropped,
        tmr_03_partial_is_remembered_for_30_s,
        tmr_05_probation_ends_after_30_s,
        tmr_06_other_requests_are_remembered_for_30_s,
        tmr_07_timers_never_fire_early,
    ],
    own: [
        tmr_03_partial_gives_its_memory_back,
        tmr_04_failure_report_no_leaves_no_state,
        tmr_05_probation_is_configurable,
        tmr_08_next_hop_that_takes_nothing_is_lost,
    ],
}

fn tmr_01_hop_timer_runs_from_the_last_octet() {
    let mut link = Link::inbound(shared());
    let draft = link.draft().range("1-*/34000").body(&[]);
    link.a.send(draft.head());
    for _ in 0..34 {
        link.a.send(vec![b't'; 1000]);
        std::thread::sleep(Duration::from_secs(1));
    }
    link.a.send(draft.end());
    let ended = Instant::now();
    let got = Assembly::new().finish(&mut link.p);
    assert_eq!(got.octets, 34_000);
    assert_eq!(link.a.expect_code(200).tid, draft.tid);
    // Not from its beginning; and an answer at once is in time.
    for piece in &got.pieces {
        link.p.send(response(&piece.message, "200 OK"));
    }
    link.a.silence(Duration::from_secs(2));
    // The timer of a chunk that is not answered starts here, too.
    let draft = link.draft().text("no answer");
    link.pass(&draft);
    let report = link
        .a
        .report_about(&draft.message_id, Duration::from_secs(36));
    assert_eq!(report.status().unwrap().1, 408);
    assert!(ended.elapsed() >= Duration::from_secs(30));
}

fn tmr_02_answer_after_the_timer_is_dropped() {
    let mut link = Link::inbound(shared());
    let drafts =
        ["200 OK", "481 No such session"].map(|status| (link.draft().text("slow"), status));
    let mut open = Vec::new();
    for (draft, status) in &drafts {
        open.push((link.pass(draft), status));
        link.a.expect_code(200);
    }
    for _ in &drafts {
        assert_eq!(
            link.a
                .expect_method_within("REPORT", Duration::from_secs(36))
                .status()
                .unwrap()
                .1,
            408
        );
    }
    for (got, status) in &open {
        link.p.send(response(got, status));
    }
    link.a.silence(Duration::from_secs(1));
    link.still_works();
}

fn tmr_03_partial_is_remembered_for_30_s() {
    let mut links = Link::all_ways(shared());
    let mut open = Vec::new();
    for (_, link) in &mut links {
        let draft = link.draft().failure_report("partial").text("part");
        open.push((link.pass(&draft), draft));
        let draft = link.draft().failure_report("partial").text("part");
        open.push((link.pass(&draft), draft));
    }
    std::thread::sleep(Duration::from_secs(20));
    for ((way, link), open) in links.iter_mut().zip(open.chunks(2)) {
        let (got, draft) = &open[0];
        link.p.send(response(got, "403 Late but in time"));
        let report = link.a.expect_method("REPORT");
        assert_eq!(
            report.message_id(),
            Some(draft.message_id.as_str()),
            "{way}"
        );
        assert_eq!(report.status().unwrap().1, 403, "{way}");
    }
    std::thread::sleep(Duration::from_secs(20));
    for ((way, link), open) in links.iter_mut().zip(open.chunks(2)) {
        link.p.send(response(&open[1].0, "403 Too late"));
        let came = link.a.drain(Duration::from_millis(200));
        assert!(came.is_empty(), "{way}: {came:?}");
    }
}

/// Sends so many small messages to P, who reads them and says nothing.
fn flood(link: &mut Link, count: usize, failure_report: &str) {
    const BATCH: usize = 500;
    let batch = link
        .draft()
        .failure_report(failure_report)
        .text("flood")
        .octets()
        .repeat(BATCH);
    for _ in 0..count / BATCH {
        link.a.send(&batch);
        for _ in 0..BATCH {
            link.p.expect_method("SEND");
        }
    }
}

fn tmr_03_partial_gives_its_memory_back() {
    let relay = Setup::new().start();
    let mut link = Link::inbound(&relay);
    flood(&mut link, 5000, "partial");
    let open = relay.metric_becomes("msrpd_chunks_held", &[], |held| held > 0.0);
    assert!(open >= 4000.0, "{open} transactions are remembered");
    std::thread::sleep(Duration::from_secs(33));
    relay.assert_ledger_is_settled();
    assert!(relay.metric("msrpd_chunks_released_total", &[]) >= 5000.0);
    assert!(link.a.drain(Duration::from_millis(50)).is_empty());
}

fn tmr_04_failure_report_no_leaves_no_state() {
    let _turn = heavy();
    let relay = Setup::new().start();
    let mut link = Link::inbound(&relay);
    flood(&mut link, 10_000, "no");
    let before = relay.resident();
    flood(&mut link, 60_000, "no");
    let grown = relay.resident().saturating_sub(before);
    // 270 octets for each would be seen; the pools of read buffers may still grow into use.
    assert!(grown < 16 * 1024 * 1024, "{grown} octets more");
    relay.assert_ledger_is_settled();
}

/// Nothing, half a TLS handshake, a whole one, and one with half a request.
fn idle_connections(relay: &Relay) -> Vec<(&'static str, TcpStream)> {
    let tcp = TcpStream::connect(relay.tls).expect("the relay listens");
    let half = TcpStream::connect(relay.tls).expect("the relay listens");
    std::io::Write::write_all(&mut &half, &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc])
        .expect("a few octets can be written");
    vec![("TCP", tcp), ("half a ClientHello", half)]
}

fn probation(relay: &Relay, length: Duration) {
    let began = Instant::now();
    let sockets = idle_connections(relay);
    let mut silent = Client::tls(relay);
    let mut challenged = Client::tls(relay);
    challenged.challenge();
    let mut slow = Client::tls(relay);
    slow.send("MSRP a5lo8z SE");
    // These have proved themselves.
    let mut a = Client::authenticated(relay, "alice");
    let mut p = Client::tls(relay);
    p.send(
        Draft::send(&format!("{} {}", a.token, a.uri), &p.uri)
            .failure_report("no")
            .text("good")
            .octets(),
    );
    a.expect_method("SEND");
    let made = Instant::now();
    std::thread::scope(|scope| {
        for (what, client) in [
            ("silent", &mut silent),
            ("challenged", &mut challenged),
            ("slow", &mut slow),
        ] {
            scope.spawn(move || {
                client.closed_within(length + Duration::from_secs(6));
                assert!(
                    began.elapsed() >= length,
                    "{what}: early, {:?}",
                    began.elapsed()
                );
                assert!(
                    made.elapsed() <= length + Duration::from_millis(3500),
                    "{what}: late, {:?}",
                    made.elapsed()
                );
            });
        }
        for (what, mut socket) in sockets {
            scope.spawn(move || {
                socket
                    .set_read_timeout(Some(length + Duration::from_secs(6)))
                    .expect("a timeout can be set");
                let mut octets = [0; 100];
                loop {
                    match socket.read(&mut octets) {
                        Ok(1..) => {}
                        Ok(0) => break,
                        Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => break,
                        Err(e) => panic!("{what}: still open, {e}"),
                    }
                }
                assert!(
                    began.elapsed() >= length,
                    "{what}: early, {:?}",
                    began.elapsed()
                );
            });
        }
    });
    std::thread::sleep(Duration::from_secs(1));
    Link::with_inbound(a, p).still_works();
}

fn tmr_05_probation_ends_after_30_s() {
    probation(shared(), Duration::from_secs(30));
}

fn tmr_05_probation_is_configurable() {
    let relay = Setup::new().set("limits.probation", "2s").start();
    probation(&relay, Duration::from_secs(2));
}

fn tmr_06_other_requests_are_remembered_for_30_s() {
    let mut links = Link::all_ways(shared());
    let mut open = Vec::new();
    for (_, link) in &mut links {
        let draft =
            Draft::request("NICKNAME", &link.to_p, &link.a.uri).line("Use-Nickname: \"slow\"");
        open.push((link.pass(&draft), draft));
    }
    std::thread::sleep(Duration::from_secs(26));
    for ((way, link), (got, draft)) in links.iter_mut().zip(&open) {
        link.p.send(response(got, "200 OK"));
        assert_eq!(link.a.expect_code(200).tid, draft.tid, "{way}");
    }
}

fn tmr_07_timers_never_fire_early() {
    // Many transactions that were begun at different times, with traffic in between.
    let mut link = Link::inbound(shared());
    let mut due = std::collections::HashMap::new();
    for _ in 0..40 {
        let draft = link.draft().text("tick");
        let before = Instant::now();
        link.pass(&draft);
        due.insert(draft.message_id.clone(), (before, Instant::now()));
        link.a.expect_code(200);
        std::thread::sleep(Duration::from_millis(37));
    }
    for _ in 0..due.len() {
        let report = link
            .a
            .expect_method_within("REPORT", Duration::from_secs(36));
        let (before, after) = due[report.message_id().unwrap()];
        assert!(
            before.elapsed() >= Duration::from_secs(30),
            "early: {:?}",
            before.elapsed()
        );
        assert!(
            after.elapsed() <= Duration::from_millis(32_500),
            "late: {:?}",
            after.elapsed()
        );
    }
}

fn tmr_08_next_hop_that_takes_nothing_is_lost() {
    let relay = Setup::new().set("limits.stall_timeout", "3s").start();
    for dialled in [true, false] {
        let peer = Peer::tls();
        let mut link = match dialled {
            true => Link::with_dialled(Client::authenticated(&relay, "alice"), &peer),
            false => Link::inbound(&relay),
        };
        // What the relay tries after the loss must fail at once.
        drop(peer);
        let mut other = Link::inbound(&relay);
        // P takes nothing; A offers more than the kernels between them buffer.
        // A chunk fits into one WebSocket message, so that it fails as a whole there, too.
        let part = vec![b's'; 60 * 1024];
        let began = Instant::now();
        let sent: Vec<Draft> = (0..128)
            .map(|number| {
                let draft = link.draft().body(&part);
                link.a.send(draft.octets());
                if number % 8 == 0 {
                    other.still_works();
                }
                draft
            })
            .collect();
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "A was held up for {:?}",
            began.elapsed()
        );
        // Every chunk that was answered with 200 fails once: P has answered none.
        let mut told = std::collections::HashMap::<String, u32>::new();
        let until = Instant::now() + Duration::from_secs(15);
        while told.len() < sent.len() && Instant::now() < until {
            let Ok(message) = link.a.receive(SOON) else {
                break;
            };
            let about = match message.code() {
                Some(200) => continue,
                Some(_) => sent
                    .iter()
                    .find(|draft| draft.tid == message.tid)
                    .unwrap()
                    .message_id
                    .clone(),
                None => message.message_id().unwrap().to_owned(),
            };
            assert!(
                !told.is_empty() || began.elapsed() > Duration::from_millis(2900),
                "early: {:?}",
                began.elapsed()
            );
            *told.entry(about).or_default() += 1;
        }
        assert_eq!(told.len(), sent.len(), "every chunk is told of");
        assert!(told.values().all(|times| *times == 1), "once");
        link.a.silence(QUIET);
        other.still_works();
        relay.metric_becomes("msrpd_chunks_held", &[], |held| held == 0.0);
    }
}
