//! Planted faults of every kind are found, and what is no fault is not.

use super::*;

/// A measured message that was due at 5 and sent at 6.
fn of(size: u64) -> Begun {
    Begun {
        size,
        due_at: 5,
        sent_at: 6,
        measured: true,
        traced: false,
    }
}

/// A message of 100 octets in one chunk, sent and answered.
fn sent(ledger: &mut Ledger) -> u64 {
    let message = ledger.begin(of(100));
    ledger.chunk_sent(message, true, 7);
    ledger.answered(message, 0, 100, 200, 7);
    message
}

#[test]
fn message_settles_by_answer_and_arrival() {
    let mut ledger = Ledger::new(Report::Yes, false);
    let message = ledger.begin(of(100));
    ledger.chunk_sent(message, false, 7);
    ledger.chunk_sent(message, true, 7);
    // The relay joined the two chunks and cut them elsewhere.
    assert_eq!(ledger.arrived(message, 0, 70, true, 7), Progress::default());
    let whole = ledger.arrived(message, 70, 30, true, 7);
    assert_eq!((whole.delivered, whole.settled), (Some(5), false));
    ledger.answered(message, 0, 50, 200, 7);
    let done = ledger.answered(message, 50, 100, 200, 7);
    assert_eq!((done.acknowledged, done.settled), (Some(5), true));
    assert_eq!(ledger.unsettled(), 0);
    ledger.close();
    let counts = ledger.counts();
    assert_eq!(
        (counts.sent, counts.acknowledged, counts.delivered),
        (1, 1, 1)
    );
    assert_eq!(
        (counts.lost, counts.wrong.total(), counts.octets_delivered),
        (0, 0, 100)
    );
}

#[test]
fn without_answers_due_arrival_settles() {
    for report in [Report::No, Report::Partial] {
        let mut ledger = Ledger::new(report, false);
        let message = ledger.begin(of(100));
        ledger.chunk_sent(message, true, 7);
        assert!(ledger.arrived(message, 0, 100, true, 7).settled);
        assert_eq!(ledger.counts().wrong.total(), 0);
    }
}

#[test]
fn planted_loss_is_found() {
    let mut ledger = Ledger::new(Report::Yes, false);
    let first = sent(&mut ledger);
    let second = sent(&mut ledger);
    ledger.arrived(first, 0, 100, true, 7);
    ledger.arrived(second, 0, 60, true, 7);
    ledger.close();
    assert_eq!((ledger.counts().delivered, ledger.counts().lost), (1, 1));
}

#[test]
fn planted_loss_of_the_answer_is_found() {
    let mut ledger = Ledger::new(Report::Yes, false);
    let message = ledger.begin(of(100));
    ledger.chunk_sent(message, true, 7);
    ledger.arrived(message, 0, 100, true, 7);
    ledger.close();
    assert_eq!(
        (ledger.counts().delivered, ledger.counts().unanswered),
        (1, 1)
    );
}

#[test]
fn planted_doubling_is_found_early_and_late() {
    let mut ledger = Ledger::new(Report::Yes, false);
    let message = sent(&mut ledger);
    ledger.arrived(message, 0, 60, true, 7);
    ledger.arrived(message, 50, 50, true, 7);
    assert_eq!(ledger.counts().wrong.doubled_octets, 10);
    ledger.arrived(message, 0, 100, true, 7);
    assert_eq!(ledger.counts().wrong.doubled_octets, 110);
    assert_eq!(ledger.counts().delivered, 1);
}

#[test]
fn planted_wrong_octets_are_found() {
    let mut ledger = Ledger::new(Report::Yes, false);
    let message = sent(&mut ledger);
    ledger.arrived(message, 0, 100, false, 7);
    assert_eq!(ledger.counts().wrong.octets, 1);
    assert_eq!(ledger.counts().octets_delivered, 0);
}

#[test]
fn octets_outside_and_messages_never_sent_are_found() {
    let mut ledger = Ledger::new(Report::Yes, false);
    let message = sent(&mut ledger);
    ledger.arrived(message, 90, 11, true, 7);
    ledger.arrived(message + 1, 0, 1, true, 7);
    ledger.reported(message + 1, 0, 1, 408, 7);
    assert_eq!(ledger.counts().wrong.unknown, 2);
    assert_eq!(ledger.counts().wrong.answers, 1);
}

#[test]
fn pieces_in_wrong_order_are_found() {
    let mut ledger = Ledger::new(Report::Yes, false);
    let message = sent(&mut ledger);
    ledger.arrived(message, 50, 50, true, 7);
    assert!(ledger.arrived(message, 0, 50, true, 7).settled);
    assert_eq!(ledger.counts().wrong.order, 1);
}

#[test]
fn refusal_and_report_settle_once() {
    let mut ledger = Ledger::new(Report::Yes, false);
    let refused = ledger.begin(of(100));
    ledger.chunk_sent(refused, true, 7);
    assert!(ledger.answered(refused, 0, 100, 481, 7).settled);
    let reported = sent(&mut ledger);
    assert!(ledger.reported(reported, 0, 100, 408, 7).settled);
    assert_eq!(
        (ledger.counts().reported, ledger.counts().wrong.total()),
        (2, 0)
    );
    // Octets that come nevertheless are late, not doubled.
    ledger.arrived(reported, 0, 60, true, 7);
    assert_eq!(ledger.counts().wrong.total(), 0);
}

#[test]
fn an_abandoned_message_settles_with_its_failure() {
    let mut ledger = Ledger::new(Report::Yes, false);
    let message = ledger.begin(of(1000));
    ledger.chunk_sent(message, false, 7);
    ledger.arrived(message, 0, 60, true, 7);
    assert!(!ledger.answered(message, 0, 100, 413, 7).settled);
    let done = ledger.abandoned(message, 7);
    assert_eq!((done.settled, done.reported), (true, Some(5)));
    assert_eq!((ledger.counts().reported, ledger.unsettled()), (1, 0));
}

#[test]
fn two_signals_for_one_failure_are_found_rpt_06() {
    let mut ledger = Ledger::new(Report::Yes, false);
    let message = ledger.begin(of(100));
    ledger.chunk_sent(message, false, 7);
    ledger.answered(message, 0, 50, 408, 7);
    ledger.reported(message, 0, 50, 408, 7);
    assert_eq!(ledger.counts().wrong.answers, 1);
}

#[test]
fn answers_that_are_not_due_are_found() {
    let mut no = Ledger::new(Report::No, false);
    let message = no.begin(of(100));
    no.answered(message, 0, 100, 200, 7);
    no.reported(message, 0, 100, 408, 7);
    assert_eq!(no.counts().wrong.answers, 2);
    let mut partial = Ledger::new(Report::Partial, false);
    let message = partial.begin(of(100));
    partial.answered(message, 0, 100, 200, 7);
    assert_eq!(partial.counts().wrong.answers, 1);
}

#[test]
fn overtaking_is_counted_but_not_wrong() {
    let mut ledger = Ledger::new(Report::Yes, false);
    let first = sent(&mut ledger);
    let second = sent(&mut ledger);
    ledger.arrived(second, 0, 100, true, 7);
    ledger.arrived(first, 0, 100, true, 7);
    assert_eq!(
        (ledger.counts().overtaken, ledger.counts().wrong.total()),
        (1, 0)
    );
}

#[test]
fn a_message_that_was_refused_and_came_is_wrong_in_whatever_order_that_is_seen() {
    let mut first_refused = Ledger::new(Report::Yes, false);
    let message = first_refused.begin(of(100));
    first_refused.chunk_sent(message, true, 7);
    assert!(first_refused.answered(message, 0, 100, 481, 7).settled);
    assert_eq!(first_refused.counts().reported, 1);
    first_refused.arrived(message, 0, 60, true, 8);
    assert_eq!(first_refused.counts().wrong.total(), 0);
    let whole = first_refused.arrived(message, 60, 40, true, 9);
    assert_eq!(whole.contradicted, Some(Told::Refused(481)));
    assert_eq!(whole.delivered, Some(5));

    let mut first_arrived = Ledger::new(Report::Yes, false);
    let message = first_arrived.begin(of(100));
    first_arrived.chunk_sent(message, true, 7);
    first_arrived.arrived(message, 0, 100, true, 8);
    let refused = first_arrived.answered(message, 0, 100, 481, 9);
    assert_eq!(refused.contradicted, Some(Told::Refused(481)));

    for counts in [first_refused.counts(), first_arrived.counts()] {
        assert_eq!(counts.wrong.refused_although_delivered, 1);
        assert_eq!((counts.delivered, counts.reported, counts.lost), (1, 0, 0));
    }
}

#[test]
fn a_report_about_what_arrived_is_counted_but_may_be_due() {
    let mut ledger = Ledger::new(Report::Yes, false);
    let message = sent(&mut ledger);
    ledger.reported(message, 0, 100, 408, 7);
    ledger.arrived(message, 0, 100, true, 8);
    assert_eq!(ledger.counts().reported_although_delivered, 1);
    assert_eq!(
        (ledger.counts().delivered, ledger.counts().wrong.total()),
        (1, 0)
    );
}

#[test]
fn with_success_reports_a_message_settles_by_its_own() {
    let mut ledger = Ledger::new(Report::Yes, true);
    let message = sent(&mut ledger);
    assert!(!ledger.arrived(message, 0, 100, true, 7).settled);
    let done = ledger.confirmed(message, 8);
    assert_eq!((done.settled, done.confirmed), (true, Some(5)));
    // Twice is once too often.
    ledger.confirmed(message, 9);
    assert_eq!(ledger.counts().wrong.answers, 1);
    let without = sent(&mut ledger);
    ledger.arrived(without, 0, 100, true, 9);
    ledger.close();
    assert_eq!(
        (ledger.counts().unconfirmed, ledger.counts().unanswered),
        (1, 0)
    );
}

#[test]
fn the_warm_up_is_counted_apart() {
    let mut ledger = Ledger::new(Report::Yes, false);
    let warm = ledger.begin(Begun {
        measured: false,
        ..of(100)
    });
    ledger.chunk_sent(warm, true, 6);
    let measured = sent(&mut ledger);
    ledger.arrived(measured, 0, 100, true, 7);
    ledger.close();
    assert_eq!((ledger.counts().sent, ledger.counts().lost), (1, 0));
    assert_eq!((ledger.warmup().sent, ledger.warmup().lost), (1, 1));
}

#[test]
fn what_is_open_at_the_end_says_since_when() {
    let mut ledger = Ledger::new(Report::Yes, false);
    sent(&mut ledger);
    let without_200 = ledger.begin(of(100));
    ledger.chunk_sent(without_200, true, 7);
    ledger.arrived(without_200, 0, 100, true, 8);
    let open = ledger.close();
    let seen: Vec<_> = open
        .iter()
        .map(|o| (o.due_at, o.lost, o.unanswered))
        .collect();
    assert_eq!(seen, [(5, true, false), (5, false, true)]);
}

#[test]
fn fates_are_kept_for_the_trace() {
    let mut ledger = Ledger::new(Report::Yes, false);
    let traced = |size| Begun {
        traced: true,
        ..of(size)
    };
    let refused = ledger.begin(traced(10));
    ledger.chunk_sent(refused, true, 7);
    ledger.answered(refused, 0, 10, 481, 8);
    let lost = ledger.begin(traced(10));
    ledger.chunk_sent(lost, true, 7);
    let good = ledger.begin(traced(10));
    ledger.chunk_sent(good, true, 7);
    ledger.answered(good, 0, 10, 200, 9);
    ledger.arrived(good, 0, 10, true, 10);
    ledger.close();
    let fates: Vec<_> = ledger
        .take_traced()
        .iter()
        .map(|t| (t.message, t.fate, t.code))
        .collect();
    assert_eq!(
        fates,
        [
            (refused, Fate::Refused, Some(481)),
            (good, Fate::Delivered, None),
            (lost, Fate::Lost, None)
        ]
    );
    assert!(!ledger.has_traced());
}
