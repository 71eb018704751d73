//! Receive and send as operations with one completion. An operation owns its socket: entries
//! reach the kernel when the thread parks, and a descriptor closed before that may by then be
//! another client's.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::rc::Rc;

use io_uring::{cqueue, opcode, squeue, types};
use tokio_uring::{OneshotOutputTransform, UnsubmittedOneshot};

use super::buffers::{Buffer, Buffers, Group};

/// `IORING_RECVSEND_POLL_FIRST`.
const POLL_FIRST: u16 = 1;

struct Received(Group);

impl OneshotOutputTransform for Received {
    type Output = io::Result<Option<Buffer>>;
    type StoredData = (Rc<TcpStream>, Rc<Buffers>);

    fn transform_oneshot_output(
        self,
        (_, buffers): Self::StoredData,
        cqe: cqueue::Entry,
    ) -> Self::Output {
        let buffer = cqueue::buffer_select(cqe.flags());
        let length = usize::try_from(cqe.result()).unwrap_or(0);
        // A buffer may be named even where nothing came: it returns by being dropped.
        let buffer = buffer.map(|id| buffers.take(self.0, id, length));
        if cqe.result() < 0 {
            return Err(io::Error::from_raw_os_error(-cqe.result()));
        }
        Ok(buffer.filter(|buffer| !buffer.is_empty()))
    }
}

/// How a connection reads, by what came last.
#[derive(Clone, Copy, Debug)]
pub struct Habit {
    /// More than this is made room for.
    came: usize,
    /// The last read left nothing: the next one had better wait for more.
    poll_first: bool,
}

impl Default for Habit {
    fn default() -> Self {
        Self {
            came: 0,
            poll_first: true,
        }
    }
}

impl Habit {
    /// Below this a read that could have brought more has emptied the socket.
    const POLL_FIRST_BELOW: usize = 8192;

    /// Whoever sent much at once will do so again: room for it is made until little came for a while.
    fn note(&mut self, came: usize, asked: usize) {
        let emptied = came < asked;
        self.came = came.max(self.came - self.came / 8);
        self.poll_first = emptied && came < Self::POLL_FIRST_BELOW;
    }
}

/// Reads at most `limit` octets into a buffer that the kernel picks, a larger one where more came last. `None`: end of stream.
/// With all buffers of that size lent it reads less, and with all lent the error is `ENOBUFS`.
pub async fn receive(
    socket: &Rc<TcpStream>,
    buffers: &Rc<Buffers>,
    limit: usize,
    habit: &mut Habit,
) -> io::Result<Option<Buffer>> {
    let mut group = Group::after(habit.came);
    loop {
        let asked = limit.min(group.octets());
        let received = receive_into(socket, buffers, group, asked, habit.poll_first).await;
        match (&received, group.smaller()) {
            (Err(error), Some(smaller)) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                group = smaller;
                continue;
            }
            (Ok(Some(buffer)), _) => habit.note(buffer.len(), asked),
            _ => {}
        }
        return received;
    }
}

/// `poll_first` spares the attempt where nothing is expected to be there yet.
async fn receive_into(
    socket: &Rc<TcpStream>,
    buffers: &Rc<Buffers>,
    group: Group,
    asked: usize,
    poll_first: bool,
) -> io::Result<Option<Buffer>> {
    let fd = types::Fd(socket.as_raw_fd());
    let entry = opcode::Recv::new(fd, std::ptr::null_mut(), asked as u32)
        .buf_group(group.number())
        .build();
    let mut entry = entry.flags(squeue::Flags::BUFFER_SELECT);
    if poll_first {
        // SAFETY: the entry is the kernel's 64-octet record, whose u16 at offset 2 (`ioprio`)
        // holds these flags for a receive; the crate has no setter for it.
        unsafe {
            let flags = (&raw mut entry).cast::<u8>().add(2).cast::<u16>();
            flags.write_unaligned(flags.read_unaligned() | POLL_FIRST);
        }
    }
    UnsubmittedOneshot::new((socket.clone(), buffers.clone()), Received(group), entry)
        .submit()
        .await
}

/// Octets on their way out. Comes back from each send, so that its memory is used again.
pub struct Outgoing {
    pub octets: Vec<u8>,
    /// How many of them the kernel has taken.
    pub taken: usize,
}

struct Sent;

impl OneshotOutputTransform for Sent {
    type Output = (io::Result<usize>, Outgoing);
    type StoredData = (Rc<TcpStream>, Outgoing);

    fn transform_oneshot_output(
        self,
        (_, mut outgoing): Self::StoredData,
        cqe: cqueue::Entry,
    ) -> Self::Output {
        if cqe.result() < 0 {
            return (Err(io::Error::from_raw_os_error(-cqe.result())), outgoing);
        }
        let taken = cqe.result() as usize;
        outgoing.taken += taken;
        (Ok(taken), outgoing)
    }
}

/// Sends what the kernel has not taken yet; it may take less than all. The error is `EAGAIN` where it has no room: nothing
/// waits there for a receiver with its memory.
pub async fn send(socket: &Rc<TcpStream>, outgoing: Outgoing) -> (io::Result<usize>, Outgoing) {
    let rest = &outgoing.octets[outgoing.taken..];
    let fd = types::Fd(socket.as_raw_fd());
    // The octets live on the heap and move into the operation, which keeps them in place until
    // its completion.
    let entry = opcode::Send::new(fd, rest.as_ptr(), rest.len() as u32)
        .flags(libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT)
        .build();
    UnsubmittedOneshot::new((socket.clone(), outgoing), Sent, entry)
        .submit()
        .await
}

struct Writable;

impl OneshotOutputTransform for Writable {
    type Output = ();
    type StoredData = Rc<TcpStream>;

    fn transform_oneshot_output(self, _: Self::StoredData, _: cqueue::Entry) {}
}

/// Waits until the kernel has room for what is sent, or the connection has ended.
pub async fn writable(socket: &Rc<TcpStream>) {
    let fd = types::Fd(socket.as_raw_fd());
    let entry = opcode::PollAdd::new(fd, libc::POLLOUT as u32).build();
    UnsubmittedOneshot::new(socket.clone(), Writable, entry)
        .submit()
        .await;
}
