//! Connections that the machine wants opened: names, addresses in turn, each one checked
//! right before it is dialled, then TLS. All of it within `connect_timeout`.

use std::net::TcpStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::net::dial::{ResolveRequest, Resolved};
use crate::net::listener;
use crate::net::tls::{ClientVerify, TlsSession};
use crate::net::uring;
use crate::relay::{Authority, ConnectionKey, Loss, Reached, Verify};

use super::socket::Socket;
use super::{Settings, Shard, accept, flush, reader};

/// An address that has said nothing for so long gets company (RFC 8305 §5).
const STAGGER: Duration = Duration::from_millis(250);

/// Of `connect_timeout`, what a silent handshake gets while there are other places to try.
const HANDSHAKE_SHARE: u32 = 3;

/// Opens a connection for the machine's key.
pub(super) async fn dial(shard: Rc<Shard>, key: ConnectionKey, target: Authority, verify: Verify) {
    let settings = shard.settings.borrow().clone();
    let full = shard.mailbox.mesh().connections() >= settings.connections;
    shard.mailbox.mesh().placed(shard.id);
    let loss = if full && !accept::make_room(&shard) {
        Loss::DialFailed("no room for another connection (limits.connections)".into())
    } else {
        let attempt = attempt(&shard, &settings, key, &target, verify);
        match tokio::time::timeout(settings.connect_timeout, attempt).await {
            Ok(Ok(())) => return,
            Ok(Err(loss)) => loss,
            Err(_) => Loss::DialFailed("timed out".into()),
        }
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
    let mut places = resolve(shard, target).await?;
    loop {
        let (stream, place, begun) = connect(settings, &mut places).await?;
        // The ring waits by itself; a non-blocking socket would make it say EAGAIN.
        if stream.set_nonblocking(false).is_err() {
            return Err(Loss::DialFailed("socket unusable".into()));
        }
        let reached = Reached {
            target: place.name.clone(),
            port: place.port,
        };
        shard.relay.borrow_mut().reached(key, reached);
        let secured = secure(shard, settings, key, stream, target, &place, verify, begun);
        if places.is_empty() {
            return secured.await;
        }
        // A kernel accepts for a process that stands still. Only silence leads on to the next place: who answers and does
        // not prove who he is ends the dial.
        let share = settings.connect_timeout / HANDSHAKE_SHARE;
        match tokio::time::timeout(share, secured).await {
            Ok(ended) => return ended,
            Err(_) if give_up(shard, key) => {}
            // The machine has let go of it meanwhile.
            Err(_) => return Ok(()),
        }
    }
}

/// The machine keeps the connection, for another socket; false if it does not know it any more.
fn give_up(shard: &Shard, key: ConnectionKey) -> bool {
    let Some(socket) = shard.take(key) else {
        return false;
    };
    // Its reader counts it out, so the next one has to be counted in.
    socket.kill();
    shard.mailbox.mesh().placed(shard.id);
    true
}

/// The first address that answers (DNS-06). The next one is tried as soon as those before have failed, and beside them
/// when they have said nothing for a while: a dead first address must not use up the whole `connect_timeout`. Leaves in
/// `places` those that have not been found wanting.
async fn connect(
    settings: &Settings,
    places: &mut Vec<Resolved>,
) -> Result<(TcpStream, Resolved, Instant), Loss> {
    let mut last = Loss::DialFailed("the name has no address".into());
    places.retain(|place| {
        let permits = settings.dial.permits(place.socket_address());
        permits
            .map_err(|denied| last = Loss::DialDenied(denied.to_string()))
            .is_ok()
    });
    let mut attempts = JoinSet::new();
    let mut begun = 0;
    loop {
        let next = places.get(begun).cloned();
        let more = next.is_some();
        if let Some(place) = next {
            begun += 1;
            attempts.spawn_local(async move {
                let begun = Instant::now();
                let stream = tokio::net::TcpStream::connect(place.socket_address()).await;
                let stream = stream.and_then(tokio::net::TcpStream::into_std);
                (stream.map(|stream| (stream, begun)), place)
            });
        }
        tokio::select! {
            ended = attempts.join_next() => match ended {
                None => return Err(last),
                Some(Ok((connected, place))) => {
                    if let Some(at) = places.iter().position(|untried| *untried == place) {
                        places.remove(at);
                        begun -= 1;
                    }
                    match connected {
                        Ok((stream, begun)) => return Ok((stream, place, begun)),
                        Err(error) => last = Loss::DialFailed(error.to_string()),
                    }
                }
                Some(Err(_)) => last = Loss::DialFailed("the attempt was given up".into()),
            },
            () = tokio::time::sleep(STAGGER), if more => {}
        }
    }
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
    target: &Authority,
    place: &Resolved,
    verify: Verify,
    begun: Instant,
) -> Result<(), Loss> {
    listener::tune(&stream);
    let tls = client_session(settings, target, place, verify)?;
    let mut socket = Socket::new(stream, place.socket_address(), tls, begun);
    socket.judged = verify
        != Verify::LastHop {
            unverified_ok: true,
        };
    socket.must_prove = socket.judged && verify != Verify::Plain;
    let socket = Rc::new(socket);
    if !shard.relay.borrow().has(key) {
        return Err(Loss::Closed);
    }
    shard.insert(key, socket.clone());
    let remote = place.socket_address();
    shard.relay.borrow_mut().remote_is(key, remote);
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
    place: &Resolved,
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
    let host = target.host.to_string();
    let session = context
        .client(reference_name(settings, &host, place), verify)
        .map_err(|error| Loss::DialFailed(error.to_string()))?;
    Ok(Some(session))
}

/// The name that the certificate has to hold: the host of the URI, not what its SRV record leads to (TLS-10), unless the
/// operator knows that the one is served under the certificate of the other (D-14).
fn reference_name<'a>(settings: &'a Settings, host: &'a str, place: &'a Resolved) -> &'a str {
    let Some(name) = &place.name else { return host };
    let is_pinned = |(domain, target): &(&String, &String)| {
        domain.eq_ignore_ascii_case(host) && target.eq_ignore_ascii_case(name)
    };
    match settings.srv_targets.iter().find(is_pinned) {
        Some((_, target)) => target,
        None => host,
    }
}
