//! Read buffers that the kernel picks from when octets have come: an idle connection holds
//! none. One ring of each size for each shard.
//!
//! The kernel takes them in the order in which they came back, so that each is touched before long and stays: what they take
//! together is what a shard keeps for reading, 2.5 MiB.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::task::{Poll, Waker};

/// A size, and how many buffers there are of it, a power of two.
struct Class {
    octets: usize,
    count: u16,
}

/// For lines, for bursts of them, and for bulk transfers, few of which arrive in the same moment. The largest are four TLS
/// records of the largest size, nearly: with less, nearly every full record would be cut between two reads.
const CLASSES: [Class; 3] = [
    Class {
        octets: 4096,
        count: 256,
    },
    Class {
        octets: 16_384,
        count: 32,
    },
    Class {
        octets: 65_536,
        count: 16,
    },
];

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

/// The provided buffers of one size.
struct Provided {
    class: &'static Class,
    ring: NonNull<Entry>,
    memory: NonNull<u8>,
    tail: Cell<u16>,
    lent: Cell<u16>,
}

/// The provided buffers of a shard. Lives as long as its ring.
pub struct Buffers {
    provided: [Provided; CLASSES.len()],
    /// Connections that found no buffer.
    waiting: RefCell<Vec<Waker>>,
}

/// Buffers of one size: the number of their group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Group(u16);

impl Group {
    /// The smallest buffers that hold more than came last.
    pub(super) fn after(came: usize) -> Self {
        let larger = CLASSES.iter().position(|class| class.octets > came);
        Self(larger.unwrap_or(CLASSES.len() - 1) as u16)
    }

    /// The next smaller ones, of which there are more.
    pub(super) fn smaller(self) -> Option<Self> {
        self.0.checked_sub(1).map(Self)
    }

    pub(super) fn octets(self) -> usize {
        CLASSES[usize::from(self.0)].octets
    }

    pub(super) fn number(self) -> u16 {
        self.0
    }
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

impl Provided {
    fn register(ring_fd: RawFd, group: u16, class: &'static Class) -> io::Result<Self> {
        let ring: NonNull<Entry> = map(usize::from(class.count) * size_of::<Entry>())?.cast();
        let memory = map(usize::from(class.count) * class.octets)?;
        let registration = Registration {
            ring_address: ring.as_ptr() as u64,
            ring_entries: u32::from(class.count),
            group,
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
        let provided = Self {
            class,
            ring,
            memory,
            tail: Cell::new(0),
            lent: Cell::new(class.count),
        };
        for id in 0..class.count {
            provided.give(id);
        }
        Ok(provided)
    }

    fn start_of(&self, id: u16) -> *mut u8 {
        debug_assert!(
            id < self.class.count,
            "the kernel names a buffer of the ring"
        );
        // SAFETY: the buffer lies in the mapping.
        unsafe {
            self.memory
                .as_ptr()
                .add(usize::from(id) * self.class.octets)
        }
    }

    /// Gives a buffer (back) to the kernel.
    fn give(&self, id: u16) {
        let tail = self.tail.get();
        let index = usize::from(tail & (self.class.count - 1));
        // SAFETY: index < count, so the entry lies in the mapping, and so does the buffer. The
        // kernel reads an entry only after the tail has passed it. `reserved` is not written:
        // in entry 0 it is the tail.
        unsafe {
            let entry = self.ring.as_ptr().add(index);
            (*entry).address = self.start_of(id) as u64;
            (*entry).length = self.class.octets as u32;
            (*entry).id = id;
            let shared = AtomicU16::from_ptr(&raw mut (*self.ring.as_ptr()).reserved);
            shared.store(tail.wrapping_add(1), Ordering::Release);
        }
        self.tail.set(tail.wrapping_add(1));
        self.lent.set(self.lent.get() - 1);
    }
}

impl Buffers {
    pub(super) fn register(ring_fd: RawFd) -> io::Result<Self> {
        let register = |group: usize| Provided::register(ring_fd, group as u16, &CLASSES[group]);
        Ok(Self {
            provided: [register(0)?, register(1)?, register(2)?],
            waiting: RefCell::new(Vec::new()),
        })
    }

    /// A completion named this buffer: it is ours until it is dropped.
    pub(super) fn take(self: &Rc<Self>, group: Group, id: u16, length: usize) -> Buffer {
        let provided = &self.provided[usize::from(group.0)];
        assert!(
            id < provided.class.count && length <= provided.class.octets,
            "the kernel names a buffer of the ring"
        );
        provided.lent.set(provided.lent.get() + 1);
        Buffer {
            buffers: self.clone(),
            group,
            id,
            length,
        }
    }

    fn any_free(&self) -> bool {
        let free = |provided: &Provided| provided.lent.get() < provided.class.count;
        self.provided.iter().any(free)
    }

    /// Waits until a buffer may be free.
    pub async fn available(&self) {
        let mut asked = false;
        poll_fn(|context| {
            if asked || self.any_free() {
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
    buffers: Rc<Buffers>,
    group: Group,
    id: u16,
    length: usize,
}

impl Buffer {
    fn provided(&self) -> &Provided {
        &self.buffers.provided[usize::from(self.group.0)]
    }

    pub fn octets_mut(&mut self) -> &mut [u8] {
        let start = self.provided().start_of(self.id);
        // SAFETY: between completion and `give` the kernel does not touch the buffer, and this
        // value alone stands for it; the length was checked against the buffer's.
        unsafe { std::slice::from_raw_parts_mut(start, self.length) }
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
        self.provided().give(self.id);
        for waker in self.buffers.waiting.borrow_mut().drain(..) {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffers_of_a_shard_take_two_and_a_half_mib() {
        let octets = |class: &Class| usize::from(class.count) * class.octets;
        assert_eq!(CLASSES.iter().map(octets).sum::<usize>(), 5 << 19);
        assert!(CLASSES.iter().all(|class| class.count.is_power_of_two()));
    }

    #[test]
    fn a_read_has_room_for_more_than_came_last() {
        let octets = |came| Group::after(came).octets();
        assert_eq!([0, 4095, 4096].map(octets), [4096, 4096, 16_384]);
        assert_eq!([16_383, 16_384].map(octets), [16_384, 65_536]);
        assert_eq!([65_535, 65_536].map(octets), [65_536, 65_536]);
        assert_eq!(Group::after(0).smaller(), None);
        assert_eq!(Group::after(4096).smaller(), Some(Group::after(0)));
    }
}
