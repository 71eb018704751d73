//! REPORTs that the relay makes: RFC 4975 §7.1.2, §7.1.3, RFC 4976 §6.4.1; rows RPT.

use std::time::{Duration, Instant};

use msrpload::codec::Message;

use crate::rows;
use crate::support::client::{Client, QUIET, SOON};
use crate::support::link::Link;
use crate::support::message::{Draft, report, response};
use crate::support::peer::Peer;
use crate::support::pki::{Identity, STRANGER, TRUSTED};
use crate::support::relay::{free_port, shared};

rows! {
    any: [
        rpt_02_silence_for_30_s_is_a_408,
        rpt_03_no_timeout_report_for_partial,
        rpt_04_refusal_is_reported_with_its_code,
        rpt_05_bound_client_lost_is_a_481,
        rpt_07_report_goes_the_whole_way_back,
        rpt_08_status_has_its_shape,
        rpt_09_each_failed_piece_reports_its_own_range,
        rpt_10_report_has_nothing_but_what_it_needs,
        rpt_11_nobody_is_called_back_for_a_report,
        rpt_12_reports_of_others_pass_untouched,
    ],
    own: [
        rpt_01_only_who_wants_failures_hears_of_them,
        rpt_05_unreachable_next_hop_is_a_408,
        rpt_05_next_hop_lost_before_answering_is_a_408,
        rpt_06_one_signal_per_failure,
        rpt_13_failure_is_told_while_the_chunk_comes_in,
        rpt_14_every_open_transaction_is_reported_at_once,
    ],
}

/// Where nobody listens.
fn dead_uri() -> String {
    format!("msrps://127.0.0.1:{}/dead;tcp", free_port())
}

/// What A hears in all about this SEND: codes of responses and of REPORTs, 200 left out.
fn signals(a: &mut Client, draft: &Draft, wait: Duration) -> Vec<u16> {
    a.drain(wait)
        .into_iter()
        .filter_map(|message| match message.code() {
            Some(200) => None,
            Some(code) => {
                assert_eq!(
                    message.tid, draft.tid,
                    "a response to something else:\n{message:?}"
                );
                Some(code)
            }
            None => {
                assert_eq!(
                    message.message_id(),
                    Some(draft.message_id.as_str()),
                    "about something else:\n{message:?}"
                );
                message.status().map(|(_, code, _)| code)
            }
        })
        .collect()
}

fn rpt_01_only_who_wants_failures_hears_of_them() {
    let relay = shared();
    for (failure_report, expected) in [("yes", 1), ("partial", 1), ("no", 0)] {
        // The next hop refuses.
        let mut link = Link::dialled(relay);
        let draft = link.draft().failure_report(failure_report).text("fail");
        let got = link.pass(&draft);
        link.p.send(response(&got, "404 Not here"));
        let told = signals(&mut link.a, &draft, Duration::from_millis(500));
        assert_eq!(told, vec![404; expected], "refused, {failure_report}");
        // It cannot be reached.
        let draft = Draft::send(&format!("{} {}", link.a.token, dead_uri()), &link.a.uri)
            .failure_report(failure_report)
            .text("fail");
        link.a.send(draft.octets());
        let told = signals(&mut link.a, &draft, Duration::from_secs(2));
        assert_eq!(told, vec![408; expected], "unreachable, {failure_report}");
        // It is lost after receipt. What is still open of `partial` has failed, too.
        let draft = link.draft().failure_report(failure_report).text("fail");
        link.pass(&draft);
        link.p.kill();
        let told = signals(&mut link.a, &draft, Duration::from_secs(1));
        match failure_report {
            "partial" => assert!(told.is_empty() || told == [408], "lost, partial: {told:?}"),
            _ => assert_eq!(told, vec![408; expected], "lost, {failure_report}"),
        }
        // The client at the end is gone.
        let Link { mut a, p, to_p, .. } = Link::neighbours(relay);
        p.kill();
        std::thread::sleep(Duration::from_millis(100));
        let draft = Draft::send(&to_p, &a.uri)
            .failure_report(failure_report)
            .text("fail");
        a.send(draft.octets());
        let told = signals(&mut a, &draft, Duration::from_millis(500));
        assert_eq!(told, vec![481; expected], "client gone, {failure_report}");
    }
}

fn rpt_02_silence_for_30_s_is_a_408() {
    let mut links = Link::all_ways(shared());
    let mut sent = Vec::new();
    for (_, link) in &mut links {
        let draft = link.draft().failure_report("yes").text("Echo?");
        let before = Instant::now();
        link.pass(&draft);
        sent.push((draft, before, Instant::now()));
        link.a.expect_code(200);
    }
    std::thread::scope(|scope| {
        for ((way, link), (draft, before, read)) in links.iter_mut().zip(&sent) {
            scope.spawn(move || {
                let report = link
                    .a
                    .expect_method_within("REPORT", Duration::from_secs(36));
                assert!(
                    before.elapsed() >= Duration::from_secs(30),
                    "{way}: early, {:?}",
                    before.elapsed()
                );
                assert!(
                    read.elapsed() <= Duration::from_millis(32_500),
                    "{way}: late, {:?}",
                    read.elapsed()
                );
                assert_eq!(
                    report.message_id(),
                    Some(draft.message_id.as_str()),
                    "{way}"
                );
                assert_eq!(report.header("Byte-Range"), Some("1-5/5"), "{way}");
                let (namespace, code, _) = report.status().unwrap();
                assert_eq!((namespace, code), (0, 408), "{way}");
                link.a.silence(QUIET);
            });
        }
    });
}

fn rpt_03_no_timeout_report_for_partial() {
    let mut links = Link::all_ways(shared());
    for (_, link) in &mut links {
        for failure_report in ["partial", "no"] {
            let draft = link.draft().failure_report(failure_report).text("Echo?");
            link.pass(&draft);
        }
    }
    std::thread::sleep(Duration::from_secs(33));
    for (way, link) in &mut links {
        let came = link.a.drain(Duration::from_millis(50));
        assert!(came.is_empty(), "{way}: {came:?}");
    }
}

fn rpt_04_refusal_is_reported_with_its_code() {
    for (way, mut link) in Link::all_ways(shared()) {
        for failure_report in ["yes", "partial"] {
            let draft = link.draft().failure_report(failure_report).text("fail");
            let got = link.pass(&draft);
            link.p.send(response(&got, "488 Not acceptable"));
            let report = link.a.report_about(&draft.message_id, SOON);
            assert_eq!(report.status().unwrap().1, 488, "{way}");
            // With two own URIs in a row: as if the relay had passed it to itself.
            assert_eq!(report.from_path[0], link.a.token, "{way}");
            let own = if way == "neighbours" { 2 } else { 1 };
            assert!(report.from_path.len() <= own, "{way}: {report:?}");
        }
    }
}

fn rpt_05_unreachable_next_hop_is_a_408() {
    let relay = shared();
    let wrong_name = Peer::tls_with(&TRUSTED.leaf(&["somebody.example.net"]));
    let wrong_authority = Peer::tls_with(&STRANGER.leaf(&["127.0.0.1"]));
    let self_signed = Peer::tls_with(&Identity::self_signed(&["127.0.0.1"]));
    let plain = Peer::tcp();
    let plain_uri = plain.uri.replacen("msrp:", "msrps:", 1);
    for (what, uri, peer) in [
        ("nobody listens", dead_uri(), None),
        (
            "no such name",
            "msrps://nobody.nowhere.example:2855/x;tcp".to_owned(),
            None,
        ),
        ("wrong name", wrong_name.uri.clone(), Some(&wrong_name)),
        (
            "wrong authority",
            wrong_authority.uri.clone(),
            Some(&wrong_authority),
        ),
        ("self-signed", self_signed.uri.clone(), Some(&self_signed)),
        ("no TLS", plain_uri, Some(&plain)),
    ] {
        let mut a = Client::authenticated(relay, "alice");
        let draft = Draft::send(&format!("{} {uri}", a.token), &a.uri).text("anybody?");
        a.send(draft.octets());
        match (peer, what) {
            (Some(peer), "no TLS") => {
                let octets = peer.raw_octets(SOON);
                assert!(
                    !octets.windows(5).any(|w| w == b"MSRP "),
                    "never in clear (TLS-11)"
                );
            }
            (Some(peer), _) => {
                assert!(
                    peer.gets_message(SOON).is_none(),
                    "{what}: no octet of MSRP (TLS-08)"
                )
            }
            (None, _) => {}
        }
        let told = signals(&mut a, &draft, Duration::from_secs(7));
        assert_eq!(told, [408], "{what}");
    }
}

fn rpt_05_next_hop_lost_before_answering_is_a_408() {
    for reset in [false, true] {
        let mut link = Link::dialled(shared());
        let draft = link.draft().text("lost");
        link.pass(&draft);
        link.a.expect_code(200);
        match reset {
            true => link.p.reset(),
            false => link.p.kill(),
        }
        let told = signals(&mut link.a, &draft, Duration::from_secs(1));
        assert_eq!(told, [408]);
    }
    // The same where P had connected in.
    let mut link = Link::inbound(shared());
    let draft = link.draft().text("lost");
    link.pass(&draft);
    link.a.expect_code(200);
    link.p.kill();
    assert_eq!(signals(&mut link.a, &draft, Duration::from_secs(1)), [408]);
}

fn rpt_05_bound_client_lost_is_a_481() {
    for reset in [false, true] {
        for neighbours in [false, true] {
            // Towards a client: P sends to A, or A to its neighbour.
            let (mut sender, receiver, to) = match neighbours {
                true => {
                    let Link { a, p, to_p, .. } = Link::neighbours(shared());
                    (a, p, to_p)
                }
                false => {
                    let Link { a, p, to_a, .. } = Link::inbound(shared());
                    (p, a, to_a)
                }
            };
            let mut receiver = receiver;
            let draft = Draft::send(&to, &sender.uri).text("lost");
            sender.send(draft.octets());
            receiver.expect_method("SEND");
            sender.expect_code(200);
            match reset {
                true => receiver.reset(),
                false => receiver.kill(),
            }
            assert_eq!(
                signals(&mut sender, &draft, Duration::from_secs(1)),
                [481],
                "open transaction"
            );
            let draft = Draft::send(&to, &sender.uri).text("later");
            sender.send(draft.octets());
            assert_eq!(signals(&mut sender, &draft, QUIET), [481], "new request");
        }
    }
}

fn rpt_06_one_signal_per_failure() {
    // The whole chunk is in before the failure is seen: 200, then a REPORT; or the failure is seen
    // first: the error response alone.
    let mut a = Client::authenticated(shared(), "alice");
    for _ in 0..5 {
        let draft = Draft::send(&format!("{} {}", a.token, dead_uri()), &a.uri).text("one");
        a.send(draft.octets());
        let mut came = a.drain(Duration::from_secs(1));
        let last = came.pop().expect("a failure is told");
        match (came.as_slice(), last.code()) {
            ([], Some(408)) => {}
            ([first], None) => {
                assert_eq!((first.code(), last.status().unwrap().1), (Some(200), 408))
            }
            _ => panic!("200 and a REPORT, or an error response: {came:?} {last:?}"),
        }
    }
}

fn rpt_07_report_goes_the_whole_way_back() {
    let mut link = Link::inbound(shared());
    let from = format!(
        "{} msrps://one.invalid:1/x;tcp msrps://two.invalid/y;ws",
        link.p.uri
    );
    let draft = Draft::send(&link.to_a, &from).text("from afar");
    link.p.send(draft.octets());
    let got = link.a.expect_method("SEND");
    link.p.expect_code(200);
    link.a.send(response(&got, "404 No"));
    let report = link.p.expect_method("REPORT");
    assert_eq!(report.to_path.join(" "), from);
    assert_eq!(report.from_path, [link.a.token.clone()]);
    // With two own URIs in a row: as if the relay had passed it to itself.
    let mut link = Link::neighbours(shared());
    let draft = link.draft().text("neighbour");
    let got = link.pass(&draft);
    link.a.expect_code(200);
    link.p.send(response(&got, "404 No"));
    let report = link.a.expect_method("REPORT");
    assert_eq!(report.to_path, [link.a.uri.clone()]);
    assert!(
        report.from_path == [link.a.token.clone(), link.p.token.clone()]
            || report.from_path == [link.a.token.clone()],
        "{report:?}"
    );
}

/// A REPORT that the relay makes because of this answer of P.
fn made(link: &mut Link, draft: &Draft, status: &str) -> Message {
    let got = link.pass(draft);
    link.p.send(response(&got, status));
    link.a.report_about(&draft.message_id, SOON)
}

fn rpt_08_status_has_its_shape() {
    let mut link = Link::inbound(shared());
    for (status, comment) in [
        ("481 No such session", Some("No such session")),
        ("404", None),
        ("413 a: b, \"c\" (d)", Some("a: b, \"c\" (d)")),
    ] {
        let draft = link.draft().text("fail");
        // The codec has checked the grammar.
        let (namespace, code, told) = {
            let report = made(&mut link, &draft, status);
            let (namespace, code, told) = report.status().unwrap();
            (namespace, code, told.map(str::to_owned))
        };
        assert_eq!((namespace, code), (0, status[..3].parse().unwrap()));
        assert!(
            told.is_none() || comment.is_none() || told.as_deref() == comment,
            "{told:?}"
        );
    }
}

fn rpt_09_each_failed_piece_reports_its_own_range() {
    let mut link = Link::inbound(shared());
    let draft = link.draft().range("1-*/20000").body(&[]);
    link.a.send(draft.head());
    link.a.send(vec![b'p'; 8000]);
    link.p.expect_partial(1);
    link.p.send(link.draft_back().text("cut").octets());
    let first = link.p.expect_method("SEND");
    link.p.expect_code(200);
    link.a.expect_method("SEND");
    link.a.send(vec![b'p'; 12_000]);
    link.a.send(draft.end());
    let second = link.p.expect_method("SEND");
    assert_eq!(first.body().len() + second.body().len(), 20_000);
    link.a.expect_code(200);
    for (piece, code) in [(&second, "413 Second"), (&first, "404 First")] {
        link.p.send(response(piece, code));
        let report = link.a.expect_method("REPORT");
        let start = piece.byte_range().unwrap().start;
        let end = start + piece.body().len() as u64 - 1;
        assert_eq!(
            report.header("Byte-Range"),
            Some(format!("{start}-{end}/20000").as_str())
        );
        assert_eq!(
            report.status().unwrap().1,
            code[..3].parse::<u16>().unwrap()
        );
    }
    // Without Byte-Range, and bodiless.
    let draft = link.draft().without_range().text("seven..");
    let range = made(&mut link, &draft, "404 No")
        .header("Byte-Range")
        .map(str::to_owned);
    assert!(
        matches!(range.as_deref(), Some("1-7/7" | "1-7/*")),
        "{range:?}"
    );
    let draft = link.draft().range("1-0/0");
    assert_eq!(
        made(&mut link, &draft, "404 No").header("Byte-Range"),
        Some("1-0/0")
    );
}

fn rpt_10_report_has_nothing_but_what_it_needs() {
    let mut link = Link::inbound(shared());
    let draft = link
        .draft()
        .lines(&["Failure-Report: yes", "Success-Report: yes", "X-Other: 1"])
        .text("fail");
    let report = made(&mut link, &draft, "404 No");
    let mut names: Vec<&str> = report
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["Byte-Range", "From-Path", "Message-ID", "Status", "To-Path"]
    );
    assert_eq!((report.body.as_ref(), report.flag), (None, b'$'));
    assert_ne!(report.tid, draft.tid);
}

fn rpt_11_nobody_is_called_back_for_a_report() {
    let relay = shared();
    // P gives the URI of somebody who listens as its own, sends, and goes away.
    let listening = Peer::tls();
    let Link {
        mut a, mut p, to_a, ..
    } = Link::inbound(relay);
    p.uri.clone_from(&listening.uri);
    p.send(Draft::send(&to_a, &p.uri).text("good-bye").octets());
    let got = a.expect_method("SEND");
    p.kill();
    std::thread::sleep(Duration::from_millis(100));
    a.send(response(&got, "404 No"));
    listening.nobody_connects(Duration::from_millis(500));
    a.silence(Duration::from_millis(50));
}

fn rpt_12_reports_of_others_pass_untouched() {
    for (way, mut link) in Link::all_ways(shared()) {
        let draft = link.draft().line("Success-Report: yes").text("report!");
        let got = link.pass(&draft);
        link.a.expect_code(200);
        for status in ["000 200 OK", "001 999 foo", "000 404"] {
            let told = report(&got, status, "1-7/7")
                .lines(&["X-Detail: \u{e5}; \"q\"", "Content-ID: <r@x>"])
                .content("text/plain", b"body\0of a REPORT\r\n");
            link.p.send(told.octets());
            let came = link.a.expect_method("REPORT");
            assert_ne!(came.tid, told.tid, "{way}");
            assert_eq!(came.header("Status"), Some(status), "{way}");
            assert_eq!(came.header("X-Detail"), Some("\u{e5}; \"q\""), "{way}");
            assert_eq!(came.body(), b"body\0of a REPORT\r\n", "{way}");
            assert_eq!(came.to_path, [link.a.uri.clone()], "{way}");
        }
        link.p.silence(Duration::from_millis(50));
    }
}

fn rpt_13_failure_is_told_while_the_chunk_comes_in() {
    let mut a = Client::authenticated(shared(), "alice");
    let dead = dead_uri();
    let draft = Draft::send(&format!("{} {dead}", a.token), &a.uri)
        .range("1-*/1073741824")
        .body(&[]);
    a.send(draft.head());
    a.send(vec![b'g'; 100_000]);
    let refusal = a.expect_code(408);
    assert_eq!(refusal.tid, draft.tid);
    // The rest is read and thrown away.
    for _ in 0..20 {
        a.send(vec![b'g'; 1024 * 1024]);
    }
    a.send(draft.end());
    a.silence(QUIET);
    // And the connection goes on.
    let keepalive = Draft::send(&a.token.clone(), &a.uri).range("1-0/0");
    a.send(keepalive.octets());
    assert_eq!(a.expect_code(200).tid, keepalive.tid);
}

fn rpt_14_every_open_transaction_is_reported_at_once() {
    let mut link = Link::dialled(shared());
    let open: Vec<Draft> = (0..10)
        .map(|i| link.draft().text(&format!("open {i}")))
        .collect();
    for draft in &open {
        link.pass(draft);
        link.a.expect_code(200);
    }
    link.p.kill();
    let killed = Instant::now();
    let mut reported: Vec<String> = (0..10)
        .map(|_| {
            let report = link.a.expect_method("REPORT");
            assert_eq!(report.status().unwrap().1, 408);
            report.message_id().unwrap().to_owned()
        })
        .collect();
    assert!(
        killed.elapsed() < Duration::from_secs(3),
        "{:?}",
        killed.elapsed()
    );
    link.a.silence(QUIET);
    let mut wanted: Vec<String> = open.iter().map(|draft| draft.message_id.clone()).collect();
    reported.sort();
    wanted.sort();
    assert_eq!(reported, wanted);
}
