//! New sockets: each goes, unread, to the shard with the fewest connections.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use crate::metrics::RefusalReason;
use crate::net::listener;
use crate::net::uring;
use crate::relay::{Accepted, Transport};

use super::mesh::ShardMessage;
use super::socket::Socket;
use super::{Shard, flush, reader};

/// A listener of this shard.
pub struct Listening {
    pub listener: TcpListener,
    pub transport: Transport,
    /// Port for Use-Path URIs handed out on what it accepts.
    pub use_path_port: u16,
}

/// While there is no descriptor to accept with: look again so often.
const RETRY: Duration = Duration::from_millis(100);
/// Accepted in one go, so that a flood of connects leaves room for the others.
const AT_ONCE: usize = 64;

/// Accepts until the drain; then empties the queue, and only then stops listening, for the
/// other way round would reset what waits.
pub(super) async fn run(shard: Rc<Shard>, listening: Listening) {
    let Listening {
        listener,
        transport,
        use_path_port,
    } = listening;
    let Ok(listener) = uring::watch(listener) else {
        return;
    };
    loop {
        let ready = if shard.draining.get() {
            None
        } else {
            tokio::select! {
                biased;
                () = shard.drain.notified() => None,
                ready = listener.readable() => ready.ok(),
            }
        };
        let draining = shard.draining.get();
        let mut more = true;
        for _ in 0..if draining { usize::MAX } else { AT_ONCE } {
            match listener.get_ref().accept() {
                Ok((stream, remote)) => place(
                    &shard,
                    stream,
                    Accepted {
                        transport,
                        remote,
                        use_path_port,
                    },
                ),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    more = false;
                    break;
                }
                Err(error) if is_shortage(&error) => {
                    // The connection waits in the queue; nobody spins.
                    tokio::time::sleep(RETRY).await;
                    if !draining {
                        break;
                    }
                }
                Err(_) => {}
            }
        }
        if draining {
            return;
        }
        if let Some(mut ready) = ready {
            if more {
                ready.retain_ready()
            } else {
                ready.clear_ready()
            }
        }
        shard.ask_flush();
    }
}

fn is_shortage(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

fn place(shard: &Rc<Shard>, stream: TcpStream, accepted: Accepted) {
    let mesh = shard.mailbox.mesh();
    if mesh.connections() >= shard.settings.borrow().connections {
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
    let socket = Rc::new(Socket::new(stream, accepted.remote, tls, now));
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
