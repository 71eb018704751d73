//! Hosts that can vanish: each is a network namespace with one cable to the relay's.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// From here on the process, and what it starts, has a network of its own. Before any thread is started.
pub fn leave_the_machines_network() -> Result<(), String> {
    if unshare(libc::CLONE_NEWNET).is_err() {
        // Whoever is not root may be it in a namespace of his own.
        let (user, group) = (rustix::process::getuid(), rustix::process::getgid());
        unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET).map_err(|error| error.to_string())?;
        let write = |name: &str, text: String| {
            std::fs::write(format!("/proc/self/{name}"), text)
                .map_err(|error| format!("{name}: {error}"))
        };
        write("setgroups", "deny".to_owned())?;
        write("uid_map", format!("0 {} 1", user.as_raw()))?;
        write("gid_map", format!("0 {} 1", group.as_raw()))?;
    }
    try_ip("link set lo up")
}

/// The calling thread, and what it starts from now on.
fn unshare(what: i32) -> io::Result<()> {
    // SAFETY: it takes a number and touches no memory of ours.
    match unsafe { libc::unshare(what) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn try_ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .map_err(|error| format!("iproute2 is needed: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("ip {arguments}: {said}"))
        }
    }
}

#[track_caller]
fn ip(arguments: &str) {
    try_ip(arguments).unwrap_or_else(|said| panic!("{said}"));
}

/// A host beside the relay's.
pub struct Host {
    namespace: File,
    number: u8,
}

impl Host {
    pub fn new() -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let cable = |namespace: &str| {
            ip("link set lo up");
            ip(&format!(
                "link add eth0 type veth peer name far{number} netns {namespace}"
            ));
            ip(&format!("addr add 10.77.{number}.2/24 dev eth0"));
            ip("link set eth0 up");
        };
        let home = std::process::id().to_string();
        let namespace = thread::scope(|scope| {
            let made = scope.spawn(|| {
                unshare(libc::CLONE_NEWNET).expect("the first one was granted");
                cable(&home);
                File::open("/proc/thread-self/ns/net").expect("a thread has a network")
            });
            made.join().expect("a host is made")
        });
        ip(&format!("addr add 10.77.{number}.1/24 dev far{number}"));
        ip(&format!("link set far{number} up"));
        Self { namespace, number }
    }

    pub fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.number, 2)
    }

    /// Where this host sees the relay.
    pub fn relay(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.number, 1)
    }

    /// Sockets that this opens are this host's.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        thread::scope(|scope| {
            let here = scope.spawn(|| {
                let network = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(self.namespace.as_fd(), network)
                    .expect("the namespace is ours");
                work()
            });
            match here.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Its address is nobody's from now on: nothing comes from it, and what is sent to it has no taker.
    pub fn vanish(&self) {
        self.run(|| ip(&format!("addr del {}/24 dev eth0", self.address())));
    }

    /// It goes on receiving, and nothing that it sends arrives.
    pub fn fall_silent(&self) {
        self.run(|| ip(&format!("route add blackhole {}/32", self.relay())));
    }

    /// It is there again, and knows of all its connections.
    pub fn come_back(&self) {
        self.run(|| {
            let _ = try_ip(&format!("route del blackhole {}/32", self.relay()));
            let _ = try_ip(&format!("addr add {}/24 dev eth0", self.address()));
        });
    }

    /// The NAT in front of it forgets this port of its: nothing passes by it in either direction.
    pub fn forget_port(&self, port: u16) {
        let address = self.address();
        ip(&format!(
            "rule add to {address} ipproto tcp dport {port} blackhole"
        ));
        self.run(|| ip(&format!("rule add ipproto tcp sport {port} blackhole")));
    }
}
