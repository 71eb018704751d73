//! New sockets: each goes, unread, to the shard with the fewest connections.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use ipnet::IpNet;

use crate::metrics::RefusalReason;
use crate::net::address::plain;
use crate::net::listener;
use crate::net::uring;
use crate::relay::{Accepted, ShardId, Transport};

use super::mesh::ShardMessage;
use super::socket::Socket;
use super::{Shard, flush, reader};

/// A listener of this shard.
pub struct Listening {
    pub listener: TcpListener,
    /// Somebody else opened it and keeps it open: it outlives us.
    pub inherited: bool,
    pub transport: Transport,
    /// Port for Use-Path URIs handed out on what it accepts.
    pub use_path_port: u16,
    /// Balancers, whose connections begin with a PROXY header; nobody else's does.
    pub proxies: Vec<IpNet>,
}

/// While there is no descriptor to accept with: look again so often.
const RETRY: Duration = Duration::from_millis(100);
/// A TCP handshake that was under way when the drain began takes no longer.
const HANDSHAKE: Duration = Duration::from_millis(100);
/// Accepted in one go, so that a flood of connects leaves room for the others.
const AT_ONCE: usize = 64;

/// Accepts until the drain.
pub(super) async fn run(shard: Rc<Shard>, listening: Listening) {
    shard.accepting.set(shard.accepting.get() + 1);
    accept(&shard, listening).await;
    shard.accepting.set(shard.accepting.get() - 1);
    shard.ask_flush();
}

async fn accept(shard: &Rc<Shard>, listening: Listening) {
    let Listening {
        listener,
        inherited,
        transport,
        use_path_port,
        proxies,
    } = listening;
    let Ok(listener) = uring::watch(listener) else {
        return;
    };
    let accepted = |remote: SocketAddr| Accepted {
        transport,
        remote,
        use_path_port,
        by_proxy: is_one_of(&proxies, remote),
    };
    while !shard.draining.get() {
        let ready = tokio::select! {
            biased;
            () = shard.drain.notified() => break,
            ready = listener.readable() => ready,
        };
        let queue = take(shard, listener.get_ref(), AT_ONCE, &accepted);
        if queue == Queue::Stuck {
            // The connection waits in the queue; nobody spins.
            tokio::time::sleep(RETRY).await;
        }
        if let Ok(mut ready) = ready {
            if queue == Queue::Empty {
                ready.clear_ready()
            } else {
                ready.retain_ready()
            }
        }
        shard.ask_flush();
    }
    // What waits in the queue of a socket that is not ours is for whoever starts next.
    if !inherited {
        let _ = listener::let_nobody_in(listener.get_ref());
        empty(shard, listener.get_ref(), &accepted).await;
        // Whose handshake was under way is through by then.
        tokio::time::sleep(HANDSHAKE).await;
        empty(shard, listener.get_ref(), &accepted).await;
    }
}

fn is_one_of(networks: &[IpNet], address: SocketAddr) -> bool {
    networks
        .iter()
        .any(|network| network.contains(&address.ip()))
}

/// Takes all that waits. Closing a listener resets what is in its queue.
async fn empty(
    shard: &Rc<Shard>,
    listener: &TcpListener,
    accepted: &dyn Fn(SocketAddr) -> Accepted,
) {
    loop {
        match take(shard, listener, AT_ONCE, accepted) {
            Queue::Empty => return,
            Queue::Stuck => tokio::time::sleep(RETRY).await,
            Queue::More => tokio::task::yield_now().await,
        }
    }
}

/// How a queue was left.
#[derive(PartialEq, Eq)]
enum Queue {
    Empty,
    More,
    /// There is nothing to accept with.
    Stuck,
}

fn take(
    shard: &Rc<Shard>,
    listener: &TcpListener,
    at_once: usize,
    accepted: &dyn Fn(SocketAddr) -> Accepted,
) -> Queue {
    for _ in 0..at_once {
        match listener.accept() {
            Ok((stream, remote)) => place(shard, stream, accepted(plain(remote))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Queue::Empty,
            Err(error) if is_shortage(&error) => return Queue::Stuck,
            Err(_) => {}
        }
    }
    Queue::More
}

fn is_shortage(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

fn place(shard: &Rc<Shard>, stream: TcpStream, accepted: Accepted) {
    let mesh = shard.mailbox.mesh();
    if mesh.connections() >= shard.settings.borrow().connections && !make_room(shard) {
        // Established ones go on; this one is told by being closed (CON-05).
        shard
            .relay
            .borrow_mut()
            .metrics_mut()
            .refusal(RefusalReason::TooManyConnections);
        return;
    }
    let to = mesh.emptiest(shard.id);
    mesh.placed(to);
    if to == shard.id {
        adopt(shard, stream, accepted);
    } else {
        shard
            .outbox
            .borrow_mut()
            .send(mesh, to, ShardMessage::Socket { stream, accepted });
    }
}

/// Closing connections that may still count while others take their places: a few, for what they
/// hold comes out of the descriptors kept for the rest of the process.
const CLOSING_MAX: usize = 64;

/// Lets go of a connection that nobody would miss, so that there is room for another. Where this
/// shard has none the others are asked, and whoever comes next may find room.
pub(super) fn make_room(shard: &Rc<Shard>) -> bool {
    if shard.closing.get() >= CLOSING_MAX {
        return false;
    }
    let now = shard.now();
    let shed = shard.relay.borrow_mut().shed(now);
    if shed {
        flush::follow(shard);
    } else {
        let mesh = shard.mailbox.mesh();
        for other in (0..mesh.shards())
            .map(ShardId)
            .filter(|other| *other != shard.id)
        {
            // One that has no room in its inbox has other worries.
            let _ = mesh.send(other, ShardMessage::MakeRoom);
        }
    }
    shed
}

/// The socket lives on this shard from here on.
pub(super) fn adopt(shard: &Rc<Shard>, stream: TcpStream, accepted: Accepted) {
    let now = shard.now();
    listener::tune(&stream);
    let settings = shard.settings.borrow().clone();
    let tls = match (accepted.transport, &settings.tls) {
        (Transport::Tcp | Transport::Ws, _) => None,
        (Transport::Tls | Transport::Wss, Some(context)) => Some(context.server()),
        (Transport::Tls | Transport::Wss, None) => {
            shard.mailbox.mesh().left(shard.id);
            return;
        }
    };
    let mut socket = Socket::new(stream, accepted.remote, tls, now);
    if accepted.by_proxy {
        socket.expect_proxy_header();
    }
    let socket = Rc::new(socket);
    // A slot that the machine has just freed may be given to this one: its old socket must have
    // been let go by then.
    flush::follow(shard);
    let mut relay = shard.relay.borrow_mut();
    let key = relay.accept(now, accepted);
    shard.insert(key, socket.clone());
    if socket.established.get() {
        relay.established(now, key, None);
    }
    drop(relay);
    uring::spawn(reader::read(shard.clone(), socket));
    shard.ask_flush();
}
