//! The follow-up of a batch: what other shards sent, what the machine commands, and for each
//! connection with output one encryption and one send.

use std::rc::{Rc, Weak};
use std::time::Duration;

use crate::net::tls::TlsError;
use crate::net::uring::{self, Outgoing};
use crate::relay::{CloseReason, Command, ConnectionKey, Loss};

use super::mesh::ShardMessage;
use super::socket::Socket;
use super::{Shard, dialling, half_open, inbox, looking_up, notices, reader, web};

/// Vectors kept for sends, and how large one may be to be kept.
const SPARE_MAX: usize = 256;
const SPARE_OCTETS_MAX: usize = 131_072;
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
    let mut octets = shard.spare.borrow_mut().pop().unwrap_or_default();
    let mut pending = socket.pending.borrow_mut();
    octets.append(&mut pending);
    *pending = Vec::new();
    drop(pending);
    let mut from_machine = false;
    if socket.established.get()
        && let Some(key) = socket.key.get()
    {
        let now = shard.now();
        match &socket.tls {
            _ if socket.web.is_some() => match transmit_framed(shard, socket, key, &mut octets) {
                Ok(any) => from_machine = any,
                Err(error) => {
                    reader::lost(shard, socket, Loss::Tls(error.to_string()));
                    return;
                }
            },
            None => {
                let before = octets.len();
                let mut relay = shard.relay.borrow_mut();
                from_machine = relay.transmit(now, key, &mut octets);
                relay.metrics_mut().octets_out += (octets.len() - before) as u64;
            }
            Some(tls) => {
                let mut plain = shard.plain.borrow_mut();
                plain.clear();
                let mut relay = shard.relay.borrow_mut();
                from_machine = relay.transmit(now, key, &mut plain);
                relay.metrics_mut().octets_out += plain.len() as u64;
                drop(relay);
                if from_machine && let Err(error) = tls.borrow_mut().write(&plain, &mut octets) {
                    reader::lost(shard, socket, Loss::Tls(error.to_string()));
                    return;
                }
            }
        }
    }
    if octets.is_empty() {
        give_back(shard, octets);
        if socket.closing.get() {
            half_close(socket);
        }
        return;
    }
    socket.sending.set(true);
    half_open::sending(shard, socket, shard.now());
    uring::spawn(send(shard.clone(), socket.clone(), octets, from_machine));
}

/// The same for a connection whose messages have frames.
fn transmit_framed(
    shard: &Shard,
    socket: &Socket,
    key: ConnectionKey,
    octets: &mut Vec<u8>,
) -> Result<bool, TlsError> {
    let Some(web) = &socket.web else {
        return Ok(false);
    };
    let mut plain = shard.plain.borrow_mut();
    plain.clear();
    let mut relay = shard.relay.borrow_mut();
    if !relay.transmit(shard.now(), key, &mut plain) {
        return Ok(false);
    }
    relay.metrics_mut().octets_out += plain.len() as u64;
    let ends = relay.frame_ends(key);
    match &socket.tls {
        None => web::frame(&web.borrow(), &plain, ends, octets),
        Some(tls) => {
            let mut framed = shard.framed.borrow_mut();
            framed.clear();
            web::frame(&web.borrow(), &plain, ends, &mut framed);
            tls.borrow_mut().write(&framed, octets)?;
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
        if !matches!(result, Ok(1..)) {
            socket.sending.set(false);
            let loss = result
                .err()
                .map_or(Loss::Closed, |error| reader::loss(&error));
            reader::lost(&shard, &socket, loss);
            return;
        }
        if outgoing.taken == outgoing.octets.len() {
            break;
        }
        if from_machine && let Some(key) = socket.key.get() {
            let now = shard.now();
            shard.relay.borrow_mut().progress(now, key);
        }
        shard.ask_flush();
    }
    give_back(&shard, outgoing.octets);
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

fn give_back(shard: &Shard, mut octets: Vec<u8>) {
    let mut spare = shard.spare.borrow_mut();
    if spare.len() < SPARE_MAX && octets.capacity() > 0 && octets.capacity() <= SPARE_OCTETS_MAX {
        octets.clear();
        spare.push(octets);
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
