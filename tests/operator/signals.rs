//! What each signal does to a relay that serves.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::place::{Place, Running};

fn serves(running: &Running) -> bool {
    running.get("/healthz").contains("200 OK")
}

/// Signals that are not for us end nothing.
#[test]
fn what_says_nothing_to_the_relay_does_not_end_it() {
    let place = Place::new();
    let mut running = place.run();
    for signal in [
        Signal::USR1,
        Signal::USR2,
        Signal::ALARM,
        Signal::VTALARM,
        Signal::PROF,
        Signal::IO,
        Signal::PIPE,
    ] {
        running.signal(signal);
    }
    running.log_line("SIGUSR2: this version has no upgrade in place");
    running.log_line("SIGUSR1: there is no file to open again");
    assert!(serves(&running));
    running.signal(Signal::TERM);
    assert_eq!(running.ended(Duration::from_secs(3)).code(), Some(0));
}

/// SIGQUIT ends as a second SIGTERM does, without a drain.
#[test]
fn sigquit_ends_at_once() {
    let place = Place::new();
    let mut running = place.run();
    running.signal(Signal::QUIT);
    assert_eq!(running.ended(Duration::from_secs(3)).code(), Some(3));
    assert!(running.log().contains("SIGQUIT"));
    assert!(!running.log().contains("draining"));
}

/// For logrotate: the file was renamed, and is made again under its name.
#[test]
fn sigusr1_opens_the_file_of_records_again() {
    let place = Place::new();
    let file = place.path("records.jsonl");
    place.change(
        "[[listen]]",
        &format!("[records]\nfile = \"{}\"\n\n[[listen]]", file.display()),
    );
    let running = place.run();
    assert!(file.exists());
    std::fs::rename(&file, place.path("records.1")).expect("it is renamed");
    running.signal(Signal::USR1);
    let begun = Instant::now();
    while !file.exists() {
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{}",
            running.log()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(serves(&running));
}

/// relay.drain_delay: balancers see that it is not ready, and those who have not seen it yet are served.
#[test]
fn it_serves_while_balancers_look_away() {
    let place = Place::new();
    place.change("drain_timeout", "drain_delay = \"3s\"\ndrain_timeout");
    let mut running = place.run();
    assert!(running.get("/readyz").contains("200 OK"));
    running.signal(Signal::TERM);
    running.log_line("not ready any more; draining after relay.drain_delay");
    let begun = Instant::now();
    assert!(running.get("/readyz").contains("503"));
    assert!(serves(&running));
    let listener = running.addresses[0];
    let connected = std::net::TcpStream::connect(listener);
    if begun.elapsed() < Duration::from_secs(2) {
        connected.expect("it still listens");
    }
    assert_eq!(running.ended(Duration::from_secs(8)).code(), Some(0));
    assert!(
        begun.elapsed() > Duration::from_millis(2500),
        "{:?}",
        begun.elapsed()
    );
}

/// A second signal does not wait for the delay.
#[test]
fn a_second_signal_ends_the_delay_too() {
    let place = Place::new();
    place.change("drain_timeout", "drain_delay = \"10m\"\ndrain_timeout");
    let mut running = place.run();
    running.signal(Signal::TERM);
    running.log_line("not ready any more");
    running.signal(Signal::TERM);
    assert_eq!(running.ended(Duration::from_secs(3)).code(), Some(3));
}
