//! What systemd wants to hear (sd_notify(3)): ready, reloading, stopping, a line for `systemctl status`; and that every
//! shard is alive, as often as its watchdog asks. Without systemd nothing is said to nobody.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::shard::Mesh;

use super::drain;

/// The way to systemd, if it started us; cheap to clone.
#[derive(Clone)]
pub struct Systemd(Option<Arc<(UnixDatagram, SocketAddr)>>);

impl Systemd {
    /// By `NOTIFY_SOCKET`.
    pub fn of_environment() -> Self {
        let way = std::env::var_os("NOTIFY_SOCKET").and_then(|name| {
            let address = match name.as_bytes().split_first()? {
                (b'@', name) => SocketAddr::from_abstract_name(name),
                _ => SocketAddr::from_pathname(&name),
            };
            let socket = UnixDatagram::unbound().ok()?;
            // A full socket must not hold up signals and metrics.
            socket.set_nonblocking(true).ok()?;
            Some(Arc::new((socket, address.ok()?)))
        });
        Systemd(way)
    }

    fn say(&self, text: &str) {
        if let Some((socket, address)) = self.0.as_deref() {
            // Nobody could be told of a failure but systemd.
            let _ = socket.send_to_addr(text.as_bytes(), address);
        }
    }

    pub fn ready(&self, status: &str) {
        self.say(&format!("READY=1\nSTATUS={status}"));
    }

    pub fn status(&self, status: &str) {
        self.say(&format!("STATUS={status}"));
    }

    /// Until the next `ready`.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
        self.say(&format!(
            "RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=Reading the configuration again"
        ));
    }

    /// The drain has begun and takes up to `longest`, whatever TimeoutStopSec= says.
    pub fn stopping(&self, longest: Duration) {
        self.say(&format!(
            "STOPPING=1\nEXTEND_TIMEOUT_USEC={}\nSTATUS=Draining for up to {} s",
            longest.as_micros(),
            longest.as_secs()
        ));
    }

    /// Feeds the watchdog while every shard answers its inbox. Runs until it is dropped.
    pub async fn feed_watchdog(self, mesh: Mesh) {
        let Some(period) = watchdog() else { return };
        // Asked four times in a period, with a quarter for the answer: one that comes late is no alarm.
        let quarter = period / 4;
        let mut alarmed = false;
        loop {
            let answers = drain::status(&mesh, quarter).await;
            let silent: Vec<usize> = (0..answers.len())
                .filter(|shard| answers[*shard].is_none())
                .collect();
            if silent.is_empty() {
                let connections: usize = answers.iter().flatten().map(|s| s.connections).sum();
                self.say(&format!(
                    "WATCHDOG=1\nSTATUS=Serving {connections} connections"
                ));
                alarmed = false;
            } else if !std::mem::replace(&mut alarmed, true) {
                tracing::error!(shards = ?silent, "does not answer; the watchdog is not fed");
                self.status(&format!("Shards that do not answer: {silent:?}"));
            }
            tokio::time::sleep(quarter).await;
        }
    }
}

/// How often the watchdog wants to be fed, if at all (sd_watchdog_enabled(3)).
fn watchdog() -> Option<Duration> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    if let Ok(pid) = std::env::var("WATCHDOG_PID")
        && pid.parse() != Ok(std::process::id())
    {
        return None;
    }
    number("WATCHDOG_USEC")
        .filter(|micros| *micros > 0)
        .map(Duration::from_micros)
}
