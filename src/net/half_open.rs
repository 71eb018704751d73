//! Finds connections whose other host has gone without a word (D-41).
//!
//! What lies unacknowledged is the kernel's to judge: TCP_USER_TIMEOUT. Keepalive asks the silent ones, and the same option
//! says how long it asks: with it set, the kernel no longer counts unanswered probes, but ends a connection at the first one
//! once that time has passed. A connection on which nothing is under way therefore has `QUIET`, so that one lost probe
//! ends nobody, and a shorter time while there is output.

use std::io;
use std::net::TcpStream;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// Silence before the first probe. A phone wakes its radio for each.
pub const PROBE_AFTER: Duration = Duration::from_secs(120);
/// Between probes.
const PROBE_INTERVAL: Duration = Duration::from_secs(15);
/// How long the other host may be silent while nothing is under way: three probes. It ends with the interval in which this
/// passes, hence the 5 s less.
const QUIET: Duration = Duration::from_secs(160);

/// Has silent ones asked. A socket that refuses it works without.
pub fn ask_when_silent(stream: &TcpStream) {
    let keepalive = TcpKeepalive::new()
        .with_time(PROBE_AFTER)
        .with_interval(PROBE_INTERVAL);
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
    nothing_is_under_way(stream);
}

/// Output is under way: the connection ends when the other host acknowledges none of it for `patience`.
pub fn output_is_under_way(stream: &TcpStream, patience: Duration) {
    let _ = SockRef::from(stream).set_tcp_user_timeout(Some(patience));
}

/// All was acknowledged.
pub fn nothing_is_under_way(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_tcp_user_timeout(Some(QUIET));
}

/// Whether the kernel gave the connection up because nothing came back, not even a refusal: it says so itself, or names what
/// kept octets from leaving last.
pub fn is_silence(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    !matches!(
        error.kind(),
        ConnectionReset | BrokenPipe | ConnectionAborted
    )
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn three_probes_fit_into_three_minutes() {
        assert!(PROBE_AFTER + 2 * PROBE_INTERVAL < QUIET);
        assert!(QUIET < PROBE_AFTER + 3 * PROBE_INTERVAL);
        assert!(PROBE_AFTER + 3 * PROBE_INTERVAL < Duration::from_secs(180));
    }

    #[test]
    fn the_patience_follows_what_is_under_way() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("bound");
        let stream = TcpStream::connect(address).expect("it listens");
        let socket = SockRef::from(&stream);
        let patience = || socket.tcp_user_timeout().expect("an option");
        ask_when_silent(&stream);
        assert!(socket.keepalive().expect("an option"));
        assert_eq!(patience(), Some(QUIET));
        output_is_under_way(&stream, Duration::from_secs(7));
        assert_eq!(patience(), Some(Duration::from_secs(7)));
        nothing_is_under_way(&stream);
        assert_eq!(patience(), Some(QUIET));
    }
}
