//! Read buffers that the kernel picks from when octets have come: an idle connection holds
//! none. One ring of them for each shard.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::task::{Poll, Waker};

/// 16 MiB of address space; pages are touched as they are used. A power of two.
const COUNT: u16 = 256;
/// Four TLS records of the largest size, nearly: with less, nearly every full record would be
/// cut between two reads.
pub const BUFFER_OCTETS: usize = 65_536;
pub(super) const GROUP: u16 = 0;

const REGISTER_PBUF_RING: libc::c_uint = 22;

/// `struct io_uring_buf`; the ring's tail lies in `reserved` of the first one.
#[repr(C)]
struct Entry {
    address: u64,
    length: u32,
    id: u16,
    reserved: u16,
}

/// `struct io_uring_buf_reg`.
#[repr(C)]
struct Registration {
    ring_address: u64,
    ring_entries: u32,
    group: u16,
    flags: u16,
    reserved: [u64; 3],
}

/// The provided buffers of a shard. Lives as long as its ring.
pub struct Buffers {
    ring: NonNull<Entry>,
    memory: NonNull<u8>,
    tail: Cell<u16>,
    lent: Cell<u16>,
    /// Connections that found no buffer.
    waiting: RefCell<Vec<Waker>>,
}

fn map(octets: usize) -> io::Result<NonNull<u8>> {
    // SAFETY: an anonymous mapping of our own; the result is checked.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            octets,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(address.cast()).ok_or_else(|| io::Error::other("mmap gave a null page"))
}

impl Buffers {
    pub(super) fn register(ring_fd: RawFd) -> io::Result<Self> {
        let ring: NonNull<Entry> = map(usize::from(COUNT) * size_of::<Entry>())?.cast();
        let memory = map(usize::from(COUNT) * BUFFER_OCTETS)?;
        let registration = Registration {
            ring_address: ring.as_ptr() as u64,
            ring_entries: u32::from(COUNT),
            group: GROUP,
            flags: 0,
            reserved: [0; 3],
        };
        // SAFETY: the kernel reads one registration, which outlives the call; the two mappings
        // are never unmapped while the ring lives (they live as long as the process).
        let result = unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                ring_fd,
                REGISTER_PBUF_RING,
                &registration,
                1 as libc::c_uint,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        let buffers = Self {
            ring,
            memory,
            tail: Cell::new(0),
            lent: Cell::new(COUNT),
            waiting: RefCell::new(Vec::new()),
        };
        for id in 0..COUNT {
            buffers.give(id);
        }
        Ok(buffers)
    }

    /// Gives a buffer (back) to the kernel.
    fn give(&self, id: u16) {
        let tail = self.tail.get();
        let index = usize::from(tail & (COUNT - 1));
        // SAFETY: index < COUNT, so the entry lies in the mapping, and so does the buffer. The
        // kernel reads an entry only after the tail has passed it. `reserved` is not written:
        // in entry 0 it is the tail.
        unsafe {
            let entry = self.ring.as_ptr().add(index);
            (*entry).address = self.memory.as_ptr().add(usize::from(id) * BUFFER_OCTETS) as u64;
            (*entry).length = BUFFER_OCTETS as u32;
            (*entry).id = id;
            let shared = AtomicU16::from_ptr(&raw mut (*self.ring.as_ptr()).reserved);
            shared.store(tail.wrapping_add(1), Ordering::Release);
        }
        self.tail.set(tail.wrapping_add(1));
        self.lent.set(self.lent.get() - 1);
        for waker in self.waiting.borrow_mut().drain(..) {
            waker.wake();
        }
    }

    /// A completion named this buffer: it is ours until it is dropped.
    pub(super) fn take(self: &Rc<Self>, id: u16, length: usize) -> Buffer {
        assert!(
            id < COUNT && length <= BUFFER_OCTETS,
            "the kernel names a buffer of the ring"
        );
        self.lent.set(self.lent.get() + 1);
        Buffer {
            ring: self.clone(),
            id,
            length,
        }
    }

    /// Waits until a buffer may be free.
    pub async fn available(&self) {
        let mut asked = false;
        poll_fn(|context| {
            if asked || self.lent.get() < COUNT {
                // Others may be quicker; the caller tries again.
                return Poll::Ready(());
            }
            asked = true;
            self.waiting.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
        if !asked {
            // A buffer is there now, yet the read just failed for want of one: let others run.
            tokio::task::yield_now().await;
        }
    }
}

/// What one read brought; returns to the kernel when dropped.
pub struct Buffer {
    ring: Rc<Buffers>,
    id: u16,
    length: usize,
}

impl Buffer {
    pub fn octets_mut(&mut self) -> &mut [u8] {
        // SAFETY: between completion and `give` the kernel does not touch the buffer, and this
        // value alone stands for it; the length was checked against the buffer's.
        unsafe {
            let start = self
                .ring
                .memory
                .as_ptr()
                .add(usize::from(self.id) * BUFFER_OCTETS);
            std::slice::from_raw_parts_mut(start, self.length)
        }
    }

    pub fn len(&self) -> usize {
        self.length
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.ring.give(self.id);
    }
}
