//! The follow-up of a batch: what other shards sent, what the machine commands, and for each
//! connection with output one encryption and one send.

use std::io;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::time::Duration;

use crate::net::tls::TlsError;
use crate::net::uring::{self, Outgoing};
use crate::relay::{CloseReason, Command, ConnectionKey, Loss};

use super::mesh::ShardMessage;
use super::socket::Socket;
use super::{Shard, dialling, half_open, inbox, looking_up, notices, reader, web};

/// Room for what the machine gives at once, nearly always: 64 KiB and the head of the piece that goes beyond.
const PLAIN_OCTETS: usize = 68_608;
/// Memory that a send may hold beyond its octets: what a receiver does not take stays there for as long.
const WASTE_OCTETS_MAX: usize = 8192;
/// A receiver has made no room for so long: it may make none for longer.
const STALLED: Duration = Duration::from_secs(1);
/// How long a closed connection is read on, so that its last octets are not reset.
const LINGER: Duration = Duration::from_secs(1);

/// Runs once after each batch of completions.
pub(super) async fn run(shard: Rc<Shard>) {
    loop {
        shard.flush.notified().await;
        shard.flush_asked.set(false);
        shard.now();
        inbox::empty(&shard);
        follow(&shard);
        finish_batch(&shard);
    }
}

/// Follows the machine's commands until there are none.
pub(super) fn follow(shard: &Rc<Shard>) {
    loop {
        let command = shard.relay.borrow_mut().poll_command();
        let Some(command) = command else { break };
        match command {
            Command::Transmit(key) => transmit(shard, key),
            Command::Resume(key) => {
                if let Some(socket) = shard.socket(key) {
                    socket.changed.notify_one();
                }
            }
            Command::Close { connection, reason } => close(shard, connection, &reason),
            Command::Abort { connection, reason } => abort(shard, connection, &reason),
            Command::Dial {
                connection,
                target,
                verify,
                on_behalf_of,
            } => {
                let wanted = dialling::Wanted {
                    key: connection,
                    target,
                    verify,
                    on_behalf_of,
                };
                uring::spawn(dialling::dial(shard.clone(), wanted));
            }
            Command::LookUp { asker, user, realm } => {
                uring::spawn(looking_up::look_up(shard.clone(), asker, user, realm));
            }
            Command::OddResponse { connection, kind } => {
                if let Some(socket) = shard.socket(connection) {
                    tracing::info!(
                        remote = %socket.remote.get(),
                        kind = kind.text(),
                        "odd responses come by this connection; see msrpd_responses_odd_total"
                    );
                }
            }
            Command::Notice(notice) => notices::write(&notice),
            Command::SessionEnded(record) => {
                if let Some(records) = &shard.settings.borrow().records {
                    records.send(record);
                }
            }
            Command::Handoffs { to, handoffs } => {
                let mesh = shard.mailbox.mesh();
                shard
                    .outbox
                    .borrow_mut()
                    .send(mesh, to, ShardMessage::Handoffs(handoffs));
            }
        }
    }
}

fn finish_batch(shard: &Rc<Shard>) {
    if let Some(began) = shard.batch_began.take() {
        shard
            .relay
            .borrow_mut()
            .metrics_mut()
            .loop_duration
            .record(began.elapsed());
    }
    shard.now.set(None);
    if !shard.outbox.borrow().is_empty() && !shard.retrying.replace(true) {
        uring::spawn(retry(shard.clone()));
    }
    let next = shard.relay.borrow().next_timeout();
    if next.is_some_and(|next| shard.armed.get().is_none_or(|armed| next < armed)) {
        shard.timer.notify_one();
    }
}

/// Tries again what other shards had no room for.
async fn retry(shard: Rc<Shard>) {
    tokio::time::sleep(Duration::from_millis(1)).await;
    let empty = {
        let mut outbox = shard.outbox.borrow_mut();
        outbox.retry(shard.mailbox.mesh());
        outbox.is_empty()
    };
    shard.retrying.set(false);
    if empty {
        shard.uncongested.notify_waiters();
    }
    shard.ask_flush();
}

/// Sends what the socket's handshake and the machine have to send, if no send is under way.
pub(super) fn transmit(shard: &Rc<Shard>, key: ConnectionKey) {
    let Some(socket) = shard.socket(key) else {
        return;
    };
    flush_socket(shard, &socket);
}

pub(super) fn flush_socket(shard: &Rc<Shard>, socket: &Rc<Socket>) {
    if socket.sending.get() || socket.dead.get() {
        return;
    }
    let mut octets = std::mem::take(&mut *socket.pending.borrow_mut());
    let mut from_machine = false;
    if socket.established.get()
        && let Some(key) = socket.key.get()
    {
        match transmit_from_machine(shard, socket, key, &mut octets) {
            Ok(any) => from_machine = any,
            Err(error) => {
                reader::lost(shard, socket, Loss::Tls(error.to_string()));
                return;
            }
        }
    }
    if octets.is_empty() {
        if socket.closing.get() {
            half_close(socket);
        }
        return;
    }
    socket.sending.set(true);
    half_open::sending(shard, socket, shard.now());
    uring::spawn(send(shard.clone(), socket.clone(), octets, from_machine));
}

/// Appends what the machine has to send, in its frames and encrypted where the connection has such. It lies in memory of its
/// own size: much of it may wait there for a receiver that has stopped reading.
fn transmit_from_machine(
    shard: &Shard,
    socket: &Socket,
    key: ConnectionKey,
    octets: &mut Vec<u8>,
) -> Result<bool, TlsError> {
    let mut plain = shard.plain.borrow_mut();
    plain.clear();
    plain.reserve(PLAIN_OCTETS);
    let mut relay = shard.relay.borrow_mut();
    if !relay.transmit(shard.now(), key, &mut plain) {
        return Ok(false);
    }
    relay.metrics_mut().octets_out += plain.len() as u64;
    let mut framed = shard.framed.borrow_mut();
    let ready = match &socket.web {
        None => &mut *plain,
        Some(web) => {
            framed.clear();
            web::frame(&web.borrow(), &plain, relay.frame_ends(key), &mut framed);
            &mut *framed
        }
    };
    match &socket.tls {
        Some(tls) => tls.borrow_mut().write(ready, octets)?,
        None if octets.is_empty() && ready.capacity() - ready.len() <= WASTE_OCTETS_MAX => {
            *octets = std::mem::take(ready);
        }
        None => {
            octets.reserve_exact(ready.len());
            octets.extend_from_slice(ready);
        }
    }
    Ok(true)
}

/// One send, however often the kernel takes only a part of it.
async fn send(shard: Rc<Shard>, socket: Rc<Socket>, octets: Vec<u8>, from_machine: bool) {
    let mut outgoing = Outgoing { octets, taken: 0 };
    loop {
        let (result, back) = uring::send(&socket.stream, outgoing).await;
        outgoing = back;
        match result {
            Ok(1..) if outgoing.taken == outgoing.octets.len() => break,
            Ok(1..) => {
                if from_machine && let Some(key) = socket.key.get() {
                    let now = shard.now();
                    shard.relay.borrow_mut().progress(now, key);
                }
                shard.ask_flush();
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => {
                socket.sending.set(false);
                let loss = result
                    .err()
                    .map_or(Loss::Closed, |error| reader::loss(&error));
                reader::lost(&shard, &socket, loss);
                return;
            }
        }
        wait_for_room(&shard, &socket, &mut outgoing).await;
    }
    drop(outgoing);
    socket.sending.set(false);
    match socket.key.get() {
        Some(key) => {
            if from_machine {
                let now = shard.now();
                shard.relay.borrow_mut().sent(now, key);
            }
            // What the machine asked for while something else was on its way was put off.
            if !from_machine || !socket.pending.borrow().is_empty() {
                flush_socket(&shard, &socket);
            }
        }
        None => flush_socket(&shard, &socket),
    }
    shard.ask_flush();
}

/// The kernel has taken as much as it has room for. What it has taken need not stay here too while the receiver reads nothing.
async fn wait_for_room(shard: &Shard, socket: &Socket, outgoing: &mut Outgoing) {
    let mut writable = pin!(uring::writable(&socket.stream));
    if tokio::time::timeout(STALLED, &mut writable).await.is_err() {
        outgoing.octets = outgoing.octets[outgoing.taken..].to_vec();
        outgoing.taken = 0;
        if let Some(key) = socket.key.get() {
            shard.relay.borrow_mut().receiver_stalls(key);
        }
        writable.await;
    }
}

/// The machine has let go: close_notify, half-close, read on for a moment.
fn close(shard: &Rc<Shard>, key: ConnectionKey, reason: &CloseReason) {
    let Some(socket) = shard.take(key) else {
        return;
    };
    tracing::debug!(remote = %socket.remote.get(), %reason, "connection closed");
    web::close(&socket, reason);
    if let Some(tls) = &socket.tls {
        tls.borrow_mut()
            .close_notify(&mut socket.pending.borrow_mut());
    }
    socket.closing.set(true);
    if !socket.reader_gone.get() {
        shard.closing.set(shard.closing.get() + 1);
    }
    flush_socket(shard, &socket);
    socket.changed.notify_one();
    // A send under way may take longer, but not for ever.
    let patience = shard.settings.borrow().relay.limits.stall_timeout;
    uring::spawn(linger(Rc::downgrade(&socket), patience));
}

/// Ends a closing socket if nobody else has by then.
async fn linger(socket: Weak<Socket>, patience: Duration) {
    tokio::time::sleep(patience).await;
    if let Some(socket) = socket.upgrade() {
        socket.kill();
    }
}

fn half_close(socket: &Rc<Socket>) {
    if !socket.half_closed.replace(true) {
        let _ = socket.stream.shutdown(std::net::Shutdown::Write);
        // With its reader gone there is nothing to read on for.
        if socket.reader_gone.get() {
            socket.dead.set(true);
        } else {
            uring::spawn(linger(Rc::downgrade(socket), LINGER));
        }
    }
}

fn abort(shard: &Rc<Shard>, key: ConnectionKey, reason: &CloseReason) {
    let Some(socket) = shard.take(key) else {
        return;
    };
    tracing::debug!(remote = %socket.remote.get(), %reason, "connection ended");
    if *reason == CloseReason::Stalled {
        // What the other side does not take must not stay in the kernel either.
        let _ = socket2::SockRef::from(&*socket.stream).set_linger(Some(Duration::ZERO));
    }
    socket.kill();
}
