//! Which sockets have output under way, so that the kernel ends those whose host has gone (D-41). A socket counts as such
//! from a send until nothing was sent on it for a while, so that one in use costs no call of the kernel.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::net::half_open;
use crate::relay::ConnectionKey;

use super::Shard;
use super::socket::Socket;

/// A socket is looked at so long after its first send, and again while there are others: it is quiet when the last one is
/// as old as this. Twice this is less than keepalive waits, and a probe finds the patience of the quiet.
const LOOK: Duration = Duration::from_secs(45);
const _: () = assert!(2 * LOOK.as_secs() < half_open::PROBE_AFTER.as_secs());

/// The machine ends a connection that takes nothing after `limits.stall_timeout`, a relay's a little later, and knows
/// better why: the kernel comes after it.
const AFTER_THE_MACHINE: Duration = Duration::from_millis(750);

/// Sockets with output under way, in the order in which they are looked at.
pub(super) type Watched = VecDeque<(Instant, ConnectionKey)>;

/// Something is about to be sent.
pub(super) fn sending(shard: &Shard, socket: &Socket, now: Instant) {
    if socket.sent_last.replace(Some(now)).is_some() {
        return;
    }
    half_open::output_is_under_way(&socket.stream, patience(shard));
    // One that the machine has let go of ends soon, and is not looked at.
    if let Some(key) = socket.key.get() {
        let mut watched = shard.watched.borrow_mut();
        watched.push_back((now + LOOK, key));
        if watched.len() == 1 {
            shard.watch.notify_one();
        }
    }
}

/// The operator has changed it.
pub(super) fn patience_changed(shard: &Shard, sockets: &[Rc<Socket>]) {
    let patience = patience(shard);
    for socket in sockets {
        if socket.sent_last.get().is_some() {
            half_open::output_is_under_way(&socket.stream, patience);
        }
    }
}

fn patience(shard: &Shard) -> Duration {
    shard.settings.borrow().relay.limits.stall_timeout + AFTER_THE_MACHINE
}

/// Looks at the sockets when they are due.
pub(super) async fn run(shard: Rc<Shard>) {
    loop {
        let next = shard.watched.borrow().front().copied();
        match next {
            None => shard.watch.notified().await,
            Some((due, _)) if due > Instant::now() => tokio::time::sleep_until(due.into()).await,
            Some((due, key)) => {
                shard.watched.borrow_mut().pop_front();
                look(&shard, due, key);
            }
        }
    }
}

fn look(shard: &Shard, due: Instant, key: ConnectionKey) {
    let Some(socket) = shard.socket(key) else {
        return;
    };
    // What is sent later than `stall_timeout` before has been acknowledged, or the kernel would have ended it.
    let patience = patience(shard).max(LOOK);
    let quiet = |sent: Instant| sent + patience <= due;
    if socket.sending.get() || !socket.sent_last.get().is_some_and(quiet) {
        shard.watched.borrow_mut().push_back((due + LOOK, key));
    } else {
        socket.sent_last.set(None);
        half_open::nothing_is_under_way(&socket.stream);
    }
}
