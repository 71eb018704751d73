//! The one door to tokio-uring, and the only room with `unsafe`: the runtime of a shard, its
//! provided read buffers, operations of our own with a single completion each, and a word to
//! the allocator.
//!
//! Nothing above knows the ring. A raw ring with deferred task work could take this place.

mod buffers;
mod memory;
mod ops;

use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::os::fd::RawFd;
use std::rc::Rc;

use tokio::io::unix::AsyncFd;

pub use buffers::{Buffer, Buffers};
pub use memory::give_back_memory;
pub use ops::{Habit, Outgoing, receive, send, writable};

/// Entries of the submission queue: more are flushed early, not lost.
const ENTRIES: u32 = 4096;
/// `IORING_SETUP_COOP_TASKRUN` and `IORING_SETUP_SINGLE_ISSUER` come with Linux 6.0. Never
/// `DEFER_TASKRUN`: the runtime does not enter the kernel with GETEVENTS and would hang.
fn builder(modern: bool) -> tokio_uring::Builder {
    let mut ring = tokio_uring::uring_builder();
    ring.setup_cqsize(ENTRIES * 4);
    if modern {
        ring.setup_coop_taskrun();
        ring.setup_single_issuer();
    }
    let mut builder = tokio_uring::builder();
    builder.entries(ENTRIES).uring_builder(&ring);
    builder
}

/// The runtime of one shard's thread, with its read buffers.
pub struct Engine {
    runtime: tokio_uring::Runtime,
    buffers: Rc<Buffers>,
}

impl Engine {
    /// Starts on this thread. The error says what to do.
    pub fn start() -> Result<Self, String> {
        let before = ring_fds();
        let runtime = match tokio_uring::Runtime::new(&builder(true)) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                tokio_uring::Runtime::new(&builder(false))
            }
            other => other,
        }
        .map_err(|error| explain(&error))?;
        let fd = ring_fds().into_iter().find(|fd| !before.contains(fd));
        let buffers = Buffers::register(
            fd.ok_or("cannot find the ring among the open files (is /proc mounted?)")?,
        )
        .map_err(|error| {
            format!(
                "cannot register read buffers with io_uring: {error} (Linux 6.1 or later is needed)"
            )
        })?;
        Ok(Self {
            runtime,
            buffers: Rc::new(buffers),
        })
    }

    pub fn buffers(&self) -> Rc<Buffers> {
        self.buffers.clone()
    }

    /// Runs `future` and what it spawns on this thread.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }
}

/// Watches a listener for connections to accept.
pub fn watch(listener: TcpListener) -> io::Result<AsyncFd<TcpListener>> {
    // SAFETY: the listener owns its descriptor and moves into what watches it, so that the
    // descriptor stays open and the same until it is no longer watched.
    unsafe { AsyncFd::register(listener) }.map_err(Into::into)
}

/// Runs a task on the engine of this thread.
pub fn spawn<F: Future<Output = ()> + 'static>(task: F) {
    tokio_uring::spawn(task);
}

fn explain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => format!(
            "io_uring is not allowed here: {error}. Set `sysctl kernel.io_uring_disabled=0`, or, in a container, use a \
             seccomp profile that permits io_uring_setup, io_uring_enter and io_uring_register"
        ),
        Some(libc::ENOSYS) => {
            format!("this kernel has no io_uring: {error}. Linux 6.1 or later is needed")
        }
        Some(libc::ENOMEM) => {
            format!("no memory for io_uring: {error}. Raise RLIMIT_MEMLOCK (`ulimit -l`)")
        }
        Some(libc::EMFILE | libc::ENFILE) => {
            format!("no file descriptor left for io_uring: {error}. Raise RLIMIT_NOFILE")
        }
        _ => format!("io_uring cannot be set up: {error}"),
    }
}

/// tokio-uring keeps its ring's descriptor to itself.
fn ring_fds() -> Vec<RawFd> {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| {
            std::fs::read_link(entry.path())
                .is_ok_and(|target| target.as_os_str() == "anon_inode:[io_uring]")
        })
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}
