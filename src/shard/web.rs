//! WebSocket connections (RFC 7977): between TLS and the machine their octets pass `net/websocket`, which tells where
//! each message begins and ends.

use std::rc::Rc;

use bytes::Bytes;

use crate::net::websocket::{CloseCode, Event, Failure, UpgradeRefused, WebSocket};
use crate::relay::{CloseReason, ConnectionKey, Loss};

use super::socket::Socket;
use super::{Shard, flush, reader};

/// While so much below MSRP waits to be sent, pings go without answer: the other side does not read.
const PENDING_OCTETS_MAX: usize = 4096;

/// What a read brought, in order.
enum Item {
    Open,
    /// Octets of a message; it is complete with them, or not.
    Octets(Bytes, bool),
    Closed,
}

/// Octets from the network: decrypted, unmasked, and given to the machine.
pub(super) fn octets(
    shard: &Rc<Shard>,
    socket: &Rc<Socket>,
    key: ConnectionKey,
    octets: &mut [u8],
) {
    let Some(web) = &socket.web else { return };
    let mut items = Vec::new();
    let mut answers = Vec::new();
    let pongs = socket.pending.borrow().len() < PENDING_OCTETS_MAX;
    let mut failure = None;
    let mut read = |record: &mut [u8]| {
        if failure.is_some() {
            return;
        }
        let mut take = |event: Event<'_>| take(shard, socket, key, &mut items, event);
        let read = web
            .borrow_mut()
            .read(record, pongs, &mut take, &mut answers);
        failure = read.err();
    };
    let outcome = match &socket.tls {
        None => {
            read(octets);
            None
        }
        Some(tls) => {
            let mut record = shard.record.take();
            let mut plain = |octets: &[u8]| {
                record.clear();
                record.extend_from_slice(octets);
                read(&mut record);
            };
            let mut pending = socket.pending.borrow_mut();
            let outcome = tls.borrow_mut().read(octets, &mut plain, &mut pending);
            shard.record.replace(record);
            Some(outcome)
        }
    };
    send_below(socket, &answers);
    if let Some(Failure::Refused(why)) = failure {
        return refused(shard, socket, why);
    }
    deliver(shard, socket, key, items);
    if let Some(Failure::Broken(code, what)) = failure {
        socket.close_code.set(Some(code));
        let now = shard.now();
        shard.relay.borrow_mut().framing_failed(now, key, what);
    }
    match outcome {
        None => {}
        Some(Ok(outcome)) if outcome.close_notify => reader::end_of_stream(shard, socket),
        Some(Ok(_)) => {}
        Some(Err(error)) => reader::lost(shard, socket, Loss::Tls(error.to_string())),
    }
}

/// One event of a read. Nearly all are short messages whose heads came before: those go to the machine at once, the
/// others when the read is over.
fn take(
    shard: &Rc<Shard>,
    socket: &Rc<Socket>,
    key: ConnectionKey,
    items: &mut Vec<Item>,
    event: Event<'_>,
) {
    let item = match event {
        Event::Open => Item::Open,
        Event::Message(octets) => {
            if items.is_empty() && socket.established.get() {
                let now = shard.now();
                let mut relay = shard.relay.borrow_mut();
                if relay.receive_framed_lent(now, key, octets) {
                    relay.metrics_mut().octets_in += octets.len() as u64;
                    return;
                }
            }
            Item::Octets(Bytes::copy_from_slice(octets), true)
        }
        Event::Part(octets) => Item::Octets(Bytes::copy_from_slice(octets), false),
        Event::End => Item::Octets(Bytes::new(), true),
        Event::Closed => Item::Closed,
    };
    items.push(item);
}

fn deliver(shard: &Rc<Shard>, socket: &Rc<Socket>, key: ConnectionKey, items: Vec<Item>) {
    for item in items {
        match item {
            Item::Open => reader::established(shard, socket, key),
            Item::Octets(octets, ends) => {
                let now = shard.now();
                let mut relay = shard.relay.borrow_mut();
                relay.metrics_mut().octets_in += octets.len() as u64;
                relay.receive_framed(now, key, octets, ends);
            }
            Item::Closed => reader::end_of_stream(shard, socket),
        }
    }
}

/// The request was answered with why it is not served; an operator finds the reason in the log.
fn refused(shard: &Rc<Shard>, socket: &Rc<Socket>, why: UpgradeRefused) {
    let remote = socket.remote.get();
    match why {
        UpgradeRefused::Health => tracing::debug!(%remote, "health was asked for"),
        why => tracing::info!(%remote, ?why, "WebSocket upgrade refused"),
    }
    if let Some(tls) = &socket.tls {
        tls.borrow_mut()
            .close_notify(&mut socket.pending.borrow_mut());
    }
    reader::lost(shard, socket, Loss::NotUpgraded);
}

/// Puts what WebSocket itself has to say before what the machine sends next.
fn send_below(socket: &Rc<Socket>, octets: &[u8]) {
    if octets.is_empty() {
        return;
    }
    let mut pending = socket.pending.borrow_mut();
    match &socket.tls {
        None => pending.extend_from_slice(octets),
        Some(tls) => {
            // Of a session that has ended nothing more can be sent.
            let _ = tls.borrow_mut().write(octets, &mut pending);
        }
    }
}

/// Frames what the machine appended to `plain`, message by message.
pub(super) fn frame(web: &WebSocket, plain: &[u8], ends: &[usize], out: &mut Vec<u8>) {
    let mut begin = 0;
    for end in ends {
        web.write(&plain[begin..*end], out);
        begin = *end;
    }
    debug_assert_eq!(begin, plain.len(), "every message has its end");
}

/// The machine has let go of the connection: the close frame is the last one.
pub(super) fn close(socket: &Rc<Socket>, reason: &CloseReason) {
    let Some(web) = &socket.web else { return };
    let code = socket.close_code.get().unwrap_or(match reason {
        CloseReason::EndOfStream | CloseReason::Idle | CloseReason::Shed => CloseCode::Normal,
        CloseReason::Drain => CloseCode::GoingAway,
        CloseReason::Framing(_) => CloseCode::Protocol,
        CloseReason::BodyTooLong => CloseCode::TooBig,
        _ => CloseCode::Policy,
    });
    let mut octets = Vec::new();
    web.borrow_mut().close(code, &mut octets);
    send_below(socket, &octets);
}

/// Pings idle clients; whoever leaves two pings unanswered is gone.
pub(super) async fn ping(shard: Rc<Shard>) {
    loop {
        let every = shard.settings.borrow().websocket_ping;
        tokio::time::sleep(every).await;
        let sockets: Vec<Rc<Socket>> = {
            let sockets = shard.sockets.borrow();
            let framed = |socket: &&Rc<Socket>| socket.web.is_some() && socket.established.get();
            sockets.iter().flatten().filter(framed).cloned().collect()
        };
        for socket in sockets {
            let Some(web) = &socket.web else { continue };
            let mut octets = Vec::new();
            if !web.borrow_mut().ping(&mut octets) {
                reader::lost(&shard, &socket, Loss::Unresponsive);
            } else if !octets.is_empty() {
                send_below(&socket, &octets);
                flush::flush_socket(&shard, &socket);
            }
        }
        shard.ask_flush();
    }
}
