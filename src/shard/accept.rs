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
use crate::net::websocket::WebSocket;
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
    /// Its number among the listeners of the configuration.
    pub index: usize,
    /// Who may connect; empty: all.
    pub only_from: Vec<IpNet>,
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
        index,
        only_from,
        proxies,
    } = listening;
    let Ok(listener) = uring::watch(listener) else {
        return;
    };
    let by = Arrival {
        index,
        accepted: &|remote: SocketAddr| Accepted {
            transport,
            remote,
            use_path_port,
            by_proxy: is_one_of(&proxies, remote),
        },
        only_from: &only_from,
    };
    while !shard.draining.get() {
        let ready = tokio::select! {
            biased;
            () = shard.drain.notified() => break,
            ready = listener.readable() => ready,
        };
        let queue = take(shard, listener.get_ref(), AT_ONCE, &by);
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
        empty(shard, listener.get_ref(), &by).await;
        // Whose handshake was under way is through by then.
        tokio::time::sleep(HANDSHAKE).await;
        empty(shard, listener.get_ref(), &by).await;
    }
}

/// How what a listener accepts is to be taken.
struct Arrival<'a> {
    index: usize,
    accepted: &'a dyn Fn(SocketAddr) -> Accepted,
    only_from: &'a [IpNet],
}

impl Arrival<'_> {
    fn lets_in(&self, remote: SocketAddr) -> bool {
        self.only_from.is_empty() || is_one_of(self.only_from, remote)
    }
}

fn is_one_of(networks: &[IpNet], address: SocketAddr) -> bool {
    networks
        .iter()
        .any(|network| network.contains(&address.ip()))
}

/// Takes all that waits. Closing a listener resets what is in its queue.
async fn empty(shard: &Rc<Shard>, listener: &TcpListener, by: &Arrival<'_>) {
    loop {
        match take(shard, listener, AT_ONCE, by) {
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

fn take(shard: &Rc<Shard>, listener: &TcpListener, at_once: usize, by: &Arrival<'_>) -> Queue {
    for _ in 0..at_once {
        match listener.accept() {
            Ok((stream, remote)) if by.lets_in(remote) => {
                place(shard, stream, (by.accepted)(plain(remote)), by.index);
            }
            Ok((_, remote)) => {
                let remote = plain(remote);
                tracing::info!(%remote, "refused: only the listener's TLS terminators may connect to it");
                shard
                    .relay
                    .borrow_mut()
                    .metrics_mut()
                    .refusal(RefusalReason::Source);
            }
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

fn place(shard: &Rc<Shard>, stream: TcpStream, accepted: Accepted, listener: usize) {
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
        adopt(shard, stream, accepted, listener);
    } else {
        let arrived = ShardMessage::Socket {
            stream,
            accepted,
            listener,
        };
        shard.outbox.borrow_mut().send(mesh, to, arrived);
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
pub(super) fn adopt(shard: &Rc<Shard>, stream: TcpStream, accepted: Accepted, listener: usize) {
    let now = shard.now();
    listener::tune(&stream);
    let settings = shard.settings.borrow().clone();
    let tls = match (accepted.transport, &settings.tls) {
        (Transport::Tcp | Transport::Ws, _) => None,
        (Transport::Tls, Some(context)) => Some(context.server()),
        (Transport::Wss, Some(context)) => Some(context.server_for_web()),
        (Transport::Tls | Transport::Wss, None) => {
            shard.mailbox.mesh().left(shard.id);
            return;
        }
    };
    let mut socket = Socket::new(stream, accepted.remote, tls, now);
    if matches!(accepted.transport, Transport::Ws | Transport::Wss) {
        let origins = settings.origins.get(listener).cloned().unwrap_or_default();
        socket.expect_upgrade(WebSocket::new(origins, settings.websocket));
    }
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
