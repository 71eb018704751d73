//! `msrpd run`: start, reload, end.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::place::{HOST, Place, said};

#[test]
fn the_ready_line_says_what_it_listens_on() {
    let place = Place::new();
    let mut running = place.run();
    let line = running.log_line("ready");
    for word in [
        "INFO",
        "tls 127.0.0.1:",
        "tcp 127.0.0.1:",
        HOST,
        "workers=2",
    ] {
        assert!(line.contains(word), "no {word} in {line}");
    }
    for address in running.addresses.clone() {
        TcpStream::connect(address).expect("somebody listens");
    }
    let metrics = running.get("/metrics");
    for word in [
        "msrpd_build_info",
        "msrpd_shard_up{shard=\"1\"} 1",
        "msrpd_tls_certificate_expiry_timestamp_seconds",
    ] {
        assert!(metrics.contains(word), "no {word} in {metrics}");
    }
    assert!(
        running
            .get("/histograms")
            .contains("msrpd_forward_duration_seconds")
    );
    assert!(running.get("/healthz").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_port_in_use_ends_start_up_with_one_clear_message() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    place.change("127.0.0.1:0", &address);
    let (code, text) = said(&place.output(&["run", "--config", "msrpd.toml"]));
    assert_eq!(code, Some(1));
    let wanted = format!("error: msrpd.toml:7:1: listen[0].address: cannot listen on {address}");
    assert!(
        text.contains(&wanted) && text.contains("another process listens there"),
        "{text}"
    );
    assert!(text.contains("msrpd.toml: 1 error"), "{text}");
}

#[test]
fn io_uring_that_is_not_allowed_ends_start_up_with_what_to_do() {
    use std::os::unix::process::CommandExt;
    let place = Place::new();
    let op = |code: u32, jt, jf, k| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    // As a container's seccomp profile: EPERM for io_uring_setup, all else as ever.
    let mut filter = [
        op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        op(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            0,
            1,
            libc::SYS_io_uring_setup as u32,
        ),
        op(
            libc::BPF_RET | libc::BPF_K,
            0,
            0,
            libc::SECCOMP_RET_ERRNO | libc::EPERM as u32,
        ),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let mut command = place.msrpd(&["run", "--config", "msrpd.toml"]);
    // SAFETY: prctl is async-signal-safe; the program is the closure's own and outlives the calls.
    unsafe {
        command.pre_exec(move || {
            let program = libc::sock_fprog {
                len: filter.len() as u16,
                filter: filter.as_mut_ptr(),
            };
            let allowed = libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            let mode = libc::SECCOMP_MODE_FILTER;
            match allowed + libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    let (code, text) = said(&command.output().expect("msrpd runs"));
    assert_eq!(code, Some(1), "{text}");
    for words in [
        "error: msrpd.toml: io_uring is not allowed here: ",
        "help: Set `sysctl kernel.io_uring_disabled=0`",
        "seccomp profile that permits io_uring_setup, io_uring_enter and io_uring_register",
        "msrpd.toml: 1 error",
    ] {
        assert!(text.contains(words), "no {words} in {text}");
    }
}

#[test]
fn two_relays_do_not_share_a_port_without_a_word() {
    let place = Place::new();
    let running = place.run();
    place.change("127.0.0.1:0", &running.addresses[0].to_string());
    let (code, text) = said(&place.output(&["run", "--config", "msrpd.toml"]));
    assert_eq!(code, Some(1));
    assert!(
        text.contains("listen[0].address: cannot listen on"),
        "{text}"
    );
}

#[test]
fn sigterm_drains_and_exits_with_0() {
    let place = Place::new();
    for signal in [Signal::TERM, Signal::INT] {
        let mut running = place.run();
        let mut idle = TcpStream::connect(running.addresses[1]).expect("a connection");
        let begun = Instant::now();
        running.signal(signal);
        // Closed in order: an end of stream, not a reset.
        assert_eq!(idle.read(&mut [0; 16]).expect("no reset"), 0);
        drop(idle);
        assert_eq!(running.ended(Duration::from_secs(3)).code(), Some(0));
        assert!(
            begun.elapsed() < Duration::from_secs(2),
            "{:?}",
            begun.elapsed()
        );
        assert!(running.log().contains("draining"), "{}", running.log());
    }
}

#[test]
fn a_second_signal_ends_at_once_with_3() {
    let place = Place::new();
    let mut running = place.run();
    // Somebody who does not close: the relay reads on for up to 1 s.
    let _idle = TcpStream::connect(running.addresses[1]).expect("a connection");
    std::thread::sleep(Duration::from_millis(200));
    running.signal(Signal::TERM);
    running.log_line("draining");
    std::thread::sleep(Duration::from_millis(300));
    running.signal(Signal::TERM);
    assert_eq!(running.ended(Duration::from_millis(500)).code(), Some(3));
}

#[test]
fn sighup_reads_everything_again_or_nothing() {
    let place = Place::new();
    let mut running = place.run();
    let expiry = |running: &super::place::Running| {
        let metrics = running.get("/metrics");
        metrics
            .lines()
            .find(|line| line.starts_with("msrpd_tls_certificate_expiry"))
            .expect("a line")
            .to_owned()
    };
    let before = expiry(&running);
    place.certify(&[HOST], |params| {
        params.not_after = rcgen::date_time_ymd(2090, 1, 1)
    });
    place.change("workers = 2", "workers = 1");
    running.signal(Signal::HUP);
    running.log_line(" reloaded");
    assert!(
        running.log().contains("relay.workers"),
        "a restart is asked for: {}",
        running.log()
    );
    let after = expiry(&running);
    assert_ne!(before, after);
    place.write("relay.pem", "spoilt");
    running.signal(Signal::HUP);
    let line = running.log_line("not reloaded");
    let successful = |running: &super::place::Running, value: u8| {
        let line = format!("\nmsrpd_config_last_reload_successful {value}\n");
        let metrics = running.get("/metrics");
        assert!(metrics.contains(&line), "no {line} in {metrics}");
        assert!(metrics.contains("\nmsrpd_config_last_reload_success_timestamp_seconds "));
    };
    successful(&running, 0);
    assert!(line.contains("ERROR"), "{line}");
    assert!(
        running.log().contains("tls.certificate"),
        "{}",
        running.log()
    );
    assert_eq!(expiry(&running), after, "the old one stays");
    place.certify(&[HOST], |_| {});
    place.change("[[listen]]\naddress", "[[listen]]\nadress");
    running.signal(Signal::HUP);
    running.log_line("listen[0].adress: unknown key");
    successful(&running, 0);
    place.change("adress", "address");
    running.signal(Signal::HUP);
    let begun = Instant::now();
    let reloads = |log: &str| {
        let done = |line: &&str| line.contains("reloaded") && !line.contains("not reloaded");
        log.lines().filter(done).count()
    };
    while reloads(&running.log()) < 2 {
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{}",
            running.log()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    successful(&running, 1);
    running.signal(Signal::TERM);
    assert_eq!(running.ended(Duration::from_secs(3)).code(), Some(0));
}
