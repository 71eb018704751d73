//! Connections that the machine wants opened: names, addresses in turn, each one checked
//! right before it is dialled, then TLS. All of it within `connect_timeout`.

use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::Instant;

use tokio::sync::oneshot;

use crate::net::dial::{ResolveRequest, Resolved};
use crate::net::listener;
use crate::net::tls::{ClientVerify, TlsSession};
use crate::net::uring;
use crate::relay::{Authority, ConnectionKey, Loss, Verify};

use super::socket::Socket;
use super::{Settings, Shard, flush, reader};

/// Opens a connection for the machine's key.
pub(super) async fn dial(shard: Rc<Shard>, key: ConnectionKey, target: Authority, verify: Verify) {
    let settings = shard.settings.borrow().clone();
    shard.mailbox.mesh().placed(shard.id);
    let outcome = tokio::time::timeout(
        settings.connect_timeout,
        attempt(&shard, &settings, key, &target, verify),
    )
    .await;
    let loss = match outcome {
        Ok(Ok(())) => return,
        Ok(Err(loss)) => loss,
        Err(_) => Loss::DialFailed("timed out".into()),
    };
    tracing::info!(%target, ?loss, "next hop not reached");
    let now = shard.now();
    let had_socket = shard.take(key);
    shard.relay.borrow_mut().lost(now, key, loss);
    match had_socket {
        // Its reader counts it out.
        Some(socket) => socket.kill(),
        None => shard.mailbox.mesh().left(shard.id),
    }
    shard.ask_flush();
}

async fn attempt(
    shard: &Rc<Shard>,
    settings: &Settings,
    key: ConnectionKey,
    target: &Authority,
    verify: Verify,
) -> Result<(), Loss> {
    let places = resolve(shard, target).await?;
    let mut last = Loss::DialFailed("the name has no address".into());
    for place in places {
        let address = SocketAddr::new(place.address, place.port);
        let begun = Instant::now();
        if let Err(denied) = settings.dial.permits(address) {
            last = Loss::DialDenied(denied.to_string());
            continue;
        }
        match tokio::net::TcpStream::connect(address)
            .await
            .and_then(tokio::net::TcpStream::into_std)
        {
            // The ring waits by itself; a non-blocking socket would make it say EAGAIN.
            Ok(stream) if stream.set_nonblocking(false).is_err() => {
                last = Loss::DialFailed("socket unusable".into())
            }
            Ok(stream) => {
                return secure(shard, settings, key, stream, address, target, verify, begun).await;
            }
            Err(error) => last = Loss::DialFailed(error.to_string()),
        }
    }
    Err(last)
}

async fn resolve(shard: &Shard, target: &Authority) -> Result<Vec<Resolved>, Loss> {
    let (reply, answer) = oneshot::channel();
    let request = ResolveRequest {
        host: target.host.to_string(),
        port: target.port,
        reply,
    };
    let unavailable = || Loss::DialFailed("the resolver is not available".into());
    shard
        .resolver
        .try_send(request)
        .map_err(|_| unavailable())?;
    answer
        .await
        .map_err(|_| unavailable())?
        .map_err(Loss::DialFailed)
}

#[expect(clippy::too_many_arguments, reason = "the parts of one attempt")]
async fn secure(
    shard: &Rc<Shard>,
    settings: &Settings,
    key: ConnectionKey,
    stream: TcpStream,
    remote: SocketAddr,
    target: &Authority,
    verify: Verify,
    begun: Instant,
) -> Result<(), Loss> {
    listener::tune(&stream);
    let tls = client_session(settings, target, verify)?;
    let mut socket = Socket::new(stream, remote, tls, begun);
    socket.judged = verify
        != Verify::LastHop {
            unverified_ok: true,
        };
    let socket = Rc::new(socket);
    if !shard.relay.borrow().has(key) {
        return Err(Loss::Closed);
    }
    shard.insert(key, socket.clone());
    match &socket.tls {
        None => {
            let now = shard.now();
            shard.relay.borrow_mut().established(now, key, None);
        }
        Some(tls) => {
            tls.borrow_mut()
                .start(&mut socket.pending.borrow_mut())
                .map_err(|error| Loss::Tls(error.to_string()))?;
            flush::flush_socket(shard, &socket);
        }
    }
    uring::spawn(reader::read(shard.clone(), socket.clone()));
    shard.ask_flush();
    while !socket.established.get() {
        if socket.dead.get() || socket.key.get() != Some(key) {
            // The machine has heard of it from the reader.
            return Ok(());
        }
        socket.changed.notified().await;
    }
    Ok(())
}

fn client_session(
    settings: &Settings,
    target: &Authority,
    verify: Verify,
) -> Result<Option<TlsSession>, Loss> {
    let verify = match verify {
        Verify::Plain => return Ok(None),
        Verify::LastHop {
            unverified_ok: true,
        } => ClientVerify::Unverified,
        Verify::LastHop {
            unverified_ok: false,
        }
        | Verify::Relay => ClientVerify::Full,
    };
    let context = settings
        .tls
        .as_ref()
        .ok_or_else(|| Loss::DialFailed("no certificate is configured".into()))?;
    let session = context
        .client(&target.host.to_string(), verify)
        .map_err(|error| Loss::DialFailed(error.to_string()))?;
    Ok(Some(session))
}
