//! The one task of a connection: it awaits octets, decrypts them and feeds the machine.

use std::io;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use crate::net::half_open;
use crate::net::proxy_header::Progress;
use crate::net::uring;
use crate::relay::{ConnectionKey, Loss};

use super::socket::Socket;
use super::{Shard, dialling, flush, judging, web};

/// A read during the handshake, or after the machine has let go.
const SMALL_READ: usize = 16_384;

/// Reads until the end of the stream.
pub(super) async fn read(shard: Rc<Shard>, socket: Rc<Socket>) {
    let mut habit = uring::Habit::default();
    loop {
        if socket.dead.get() {
            break;
        }
        if !shard.outbox.borrow().is_empty() {
            shard.uncongested.notified().await;
            continue;
        }
        let room = read_room(&shard, &socket);
        if room == 0 {
            socket.changed.notified().await;
            continue;
        }
        match uring::receive(&socket.stream, &shard.buffers, room, &mut habit).await {
            Ok(Some(mut buffer)) => {
                if let Some(octets) = past_proxy_header(&shard, &socket, buffer.octets_mut()) {
                    self::octets(&shard, &socket, octets);
                }
                if !socket.pending.borrow().is_empty() {
                    flush::flush_socket(&shard, &socket);
                }
            }
            Ok(None) => {
                end_of_stream(&shard, &socket);
                break;
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                shard.buffers.available().await;
                continue;
            }
            Err(error) => {
                lost(&shard, &socket, loss(&error));
                break;
            }
        }
        shard.ask_flush();
    }
    shard.ask_flush();
    finished(&shard, &socket);
}

/// How much may be read now. The front of a record that waits in TLS takes its share of what the machine has room for.
fn read_room(shard: &Shard, socket: &Socket) -> usize {
    let key = match socket.key.get() {
        Some(key) if socket.established.get() => key,
        _ => return SMALL_READ,
    };
    let mut relay = shard.relay.borrow_mut();
    let Some(tls) = &socket.tls else {
        return relay.read_room(key);
    };
    let tls = tls.borrow();
    match tls.missing_octets() {
        None => relay.read_room(key),
        Some(missing) => relay.read_room_behind(key, tls.held_octets(), missing),
    }
}

/// Takes the PROXY header away where one is due; what is left for TLS or MSRP.
fn past_proxy_header<'a>(
    shard: &Shard,
    socket: &Socket,
    octets: &'a mut [u8],
) -> Option<&'a mut [u8]> {
    let progress = match &mut *socket.proxy_header.borrow_mut() {
        Some(header) => header.read(octets),
        None => return Some(octets),
    };
    match progress {
        Ok(Progress::NeedMore) => None,
        Ok(Progress::Complete { taken, source }) => {
            socket.proxy_header.replace(None);
            let mut relay = shard.relay.borrow_mut();
            match (socket.key.get(), source) {
                (Some(key), Some(source)) => {
                    socket.remote.set(source);
                    relay.remote_is(key, source);
                }
                (Some(key), None) => relay.remote_is_balancer(key),
                (None, _) => {}
            }
            drop(relay);
            if let (Some(key), None, None) = (socket.key.get(), &socket.tls, &socket.web) {
                socket.established.set(true);
                shard.relay.borrow_mut().established(shard.now(), key, None);
            }
            Some(&mut octets[taken..]).filter(|octets| !octets.is_empty())
        }
        Err(malformed) => {
            let remote = socket.remote.get();
            tracing::debug!(%remote, %malformed, "connection ended");
            lost(shard, socket, Loss::NoProxyHeader);
            None
        }
    }
}

fn octets(shard: &Rc<Shard>, socket: &Rc<Socket>, octets: &mut [u8]) {
    let Some(key) = socket.key.get() else { return };
    if socket.web.is_some() {
        return web::octets(shard, socket, key, octets);
    }
    let now = shard.now();
    let Some(tls) = &socket.tls else {
        let mut relay = shard.relay.borrow_mut();
        relay.metrics_mut().octets_in += octets.len() as u64;
        let taken = relay.receive_lent(now, key, octets);
        for octets in octets[taken..].chunks(Batch::OCTETS_MAX) {
            relay.receive(now, key, Bytes::copy_from_slice(octets));
        }
        return;
    };
    let mut batch = Batch::default();
    let outcome = {
        let mut pending = socket.pending.borrow_mut();
        let mut plain = |mut record: &[u8]| {
            // Nearly all that comes is whole chats; what follows something else waits for it.
            if batch.is_empty() && socket.established.get() {
                let mut relay = shard.relay.borrow_mut();
                let taken = relay.receive_lent(now, key, record);
                relay.metrics_mut().octets_in += taken as u64;
                record = &record[taken..];
            }
            batch.record(record);
        };
        tls.borrow_mut().read(octets, &mut plain, &mut pending)
    };
    batch.seal();
    if matches!(&outcome, Ok(outcome) if outcome.handshake_done_now) {
        established(shard, socket, key);
    }
    let mut relay = shard.relay.borrow_mut();
    // What came before an error counts (CON-10).
    for octets in batch.sealed {
        relay.metrics_mut().octets_in += octets.len() as u64;
        relay.receive(now, key, octets);
    }
    match outcome {
        Ok(outcome) if outcome.close_notify => relay.end_of_stream(now, key),
        Ok(_) => {}
        Err(error) => {
            drop(relay);
            lost(shard, socket, Loss::Tls(error.to_string()));
        }
    }
}

/// Decrypted records in memory of their own. Small ones share an allocation, but none is
/// larger than a record: what a queued slice keeps alive stays honest.
#[derive(Default)]
struct Batch {
    open: BytesMut,
    sealed: Vec<Bytes>,
}

impl Batch {
    /// Of one allocation, where no TLS makes records too.
    const OCTETS_MAX: usize = 16_384;

    fn is_empty(&self) -> bool {
        self.open.is_empty() && self.sealed.is_empty()
    }

    fn record(&mut self, record: &[u8]) {
        if self.open.len() + record.len() > Self::OCTETS_MAX {
            self.seal();
        }
        self.open.extend_from_slice(record);
    }

    fn seal(&mut self) {
        if !self.open.is_empty() {
            self.sealed.push(std::mem::take(&mut self.open).freeze());
        }
    }
}

/// The handshake is done: the machine may speak.
pub(super) fn established(shard: &Rc<Shard>, socket: &Rc<Socket>, key: ConnectionKey) {
    let verified = shard.verified(socket);
    // The handshake was judged by the settings of its beginning; a reload may have come between (TLS-08).
    if socket.must_prove && verified.is_none() {
        return lost(shard, socket, Loss::Tls("its authority was removed".into()));
    }
    if socket
        .tls
        .as_ref()
        .is_some_and(|tls| tls.borrow().showed_too_much())
    {
        let remote = socket.remote.get();
        tracing::info!(%remote, "a certificate chain beyond limits.chain_certificates or limits.chain_octets proves nothing");
    }
    if !dialling::take_place(shard, socket) {
        return lost(shard, socket, dialling::no_room());
    }
    // Making room may have ended this one, too.
    if socket.key.get() != Some(key) {
        return;
    }
    socket.established.set(true);
    let now = shard.now();
    let mut relay = shard.relay.borrow_mut();
    relay
        .metrics_mut()
        .handshake_duration
        .record(now.saturating_duration_since(socket.begun));
    relay.established(now, key, verified);
    drop(relay);
    judging::watch(shard, socket);
    socket.changed.notify_waiters();
}

pub(super) fn end_of_stream(shard: &Shard, socket: &Socket) {
    if let Some(key) = socket.key.get() {
        let now = shard.now();
        if socket.established.get() {
            shard.relay.borrow_mut().end_of_stream(now, key);
        } else {
            lost(shard, socket, Loss::Closed);
        }
    }
}

/// Why the kernel reads or sends no more.
pub(super) fn loss(error: &io::Error) -> Loss {
    match half_open::is_silence(error) {
        true => Loss::Vanished,
        false => Loss::Closed,
    }
}

/// The socket is of no more use.
pub(super) fn lost(shard: &Shard, socket: &Socket, loss: Loss) {
    if let Some(key) = socket.key.get() {
        let now = shard.now();
        tracing::debug!(remote = %socket.remote.get(), ?loss, "connection lost");
        shard.relay.borrow_mut().lost(now, key, loss);
        shard.take(key);
    }
    socket.flush_alert();
    socket.kill();
    shard.ask_flush();
}

/// The reader is the last to leave a closing socket.
fn finished(shard: &Shard, socket: &Socket) {
    socket.reader_gone.set(true);
    if socket.closing.get() {
        shard.closing.set(shard.closing.get() - 1);
    }
    count_out(shard, socket);
    socket.changed.notify_waiters();
}

/// It is no connection of the shard any more.
pub(super) fn count_out(shard: &Shard, socket: &Socket) {
    if socket.placed.replace(false) {
        shard.mailbox.mesh().left(shard.id);
    }
}
