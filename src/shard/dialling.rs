//! Connections that the machine wants opened: names, addresses in turn, each one checked
//! right before it is dialled, then TLS. All of it within `connect_timeout`.

use std::collections::VecDeque;
use std::net::TcpStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet};

use crate::net::address::plain;
use crate::net::dial::{ResolveRequest, Resolved};
use crate::net::listener;
use crate::net::tls::{ClientVerify, TlsSession};
use crate::net::uring;
use crate::relay::{Authority, ConnectionKey, Loss, Reached, Verify};

use super::mesh::Mesh;
use super::socket::Socket;
use super::{Settings, Shard, accept, flush, reader};

/// An address that has said nothing for so long gets company (RFC 8305 §5).
const STAGGER: Duration = Duration::from_millis(250);

/// Of `connect_timeout`, what a silent handshake gets while there are other places to try.
const HANDSHAKE_SHARE: u32 = 3;

/// Addresses of one next hop that are tried at the same time, each with a descriptor.
const ATTEMPTS_MAX: usize = 3;

/// Connections being opened when there is no room for more: what they hold comes out of the
/// descriptors kept for the rest of the process.
const BEYOND_MAX: usize = 64;

/// What the machine wants opened.
pub(super) struct Wanted {
    pub key: ConnectionKey,
    pub target: Authority,
    pub verify: Verify,
    pub on_behalf_of: u64,
}

/// A dial is counted as long as this lives.
struct Counted(Mesh);

impl Counted {
    /// None: there is no room. Nobody has to go for a connection that may never be.
    fn begin(mesh: &Mesh, connections_max: usize) -> Option<Self> {
        let room = connections_max.saturating_add(BEYOND_MAX);
        if mesh.connections() + mesh.dials() >= room {
            return None;
        }
        mesh.dial_begins();
        Some(Self(mesh.clone()))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dial_ends();
    }
}

pub(super) fn no_room() -> Loss {
    Loss::DialFailed("no room for another connection (limits.connections)".into())
}

/// Opens a connection for the machine's key.
pub(super) async fn dial(shard: Rc<Shard>, wanted: Wanted) {
    let settings = shard.settings.borrow().clone();
    let loss = match Counted::begin(shard.mailbox.mesh(), settings.connections) {
        None => no_room(),
        Some(_counted) => {
            let attempt = attempt(&shard, &settings, &wanted);
            match tokio::time::timeout(settings.connect_timeout, attempt).await {
                Ok(Ok(())) => return,
                Ok(Err(loss)) => loss,
                Err(_) => Loss::DialFailed("timed out".into()),
            }
        }
    };
    let Wanted { key, target, .. } = wanted;
    tracing::info!(%target, ?loss, "next hop not reached");
    let now = shard.now();
    let had_socket = shard.take(key);
    shard.relay.borrow_mut().lost(now, key, loss);
    if let Some(socket) = had_socket {
        socket.kill();
    }
    shard.ask_flush();
}

/// A dialled connection is up: it is one of `limits.connections` from now on, and another one may
/// have to go for it. False: none could, and it is not to be used.
pub(super) fn take_place(shard: &Rc<Shard>, socket: &Socket) -> bool {
    let mesh = shard.mailbox.mesh();
    if socket.placed.get() {
        return true;
    }
    if mesh.connections() >= shard.settings.borrow().connections && !accept::make_room(shard) {
        return false;
    }
    mesh.placed(shard.id);
    socket.placed.set(true);
    true
}

async fn attempt(shard: &Rc<Shard>, settings: &Settings, wanted: &Wanted) -> Result<(), Loss> {
    let Wanted {
        key,
        ref target,
        verify,
        on_behalf_of,
    } = *wanted;
    let mut places = resolve(shard, target, on_behalf_of).await?;
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
    socket.kill();
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
    let mut handles = VecDeque::new();
    let mut begun = 0;
    loop {
        let next = places.get(begun).cloned();
        let more = next.is_some();
        if let Some(place) = next {
            begun += 1;
            // It has had its time: the first to be begun is given up for the next one.
            handles.retain(|handle: &AbortHandle| !handle.is_finished());
            if handles.len() >= ATTEMPTS_MAX
                && let Some(first) = handles.pop_front()
            {
                first.abort();
            }
            handles.push_back(attempts.spawn_local(async move {
                let begun = Instant::now();
                let stream = tokio::net::TcpStream::connect(place.socket_address()).await;
                let stream = stream.and_then(tokio::net::TcpStream::into_std);
                (stream.map(|stream| (stream, begun)), place)
            }));
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
                Some(Err(_)) => last = Loss::DialFailed("timed out".into()),
            },
            () = tokio::time::sleep(STAGGER), if more => {}
        }
    }
}

async fn resolve(
    shard: &Shard,
    target: &Authority,
    on_behalf_of: u64,
) -> Result<Vec<Resolved>, Loss> {
    let (reply, answer) = oneshot::channel();
    let request = ResolveRequest {
        host: target.host.to_string(),
        port: target.port,
        on_behalf_of,
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
    let mut socket = Socket::new(stream, plain(place.socket_address()), tls, begun);
    socket.judged = verify
        != Verify::LastHop {
            unverified_ok: true,
        };
    socket.must_prove = socket.judged && verify != Verify::Plain;
    socket.placed.set(false);
    let socket = Rc::new(socket);
    if !shard.relay.borrow().has(key) {
        return Err(Loss::Closed);
    }
    if socket.tls.is_none() && !take_place(shard, &socket) {
        return Err(no_room());
    }
    if !shard.relay.borrow().has(key) {
        reader::count_out(shard, &socket);
        return Err(Loss::Closed);
    }
    shard.insert(key, socket.clone());
    let remote = plain(place.socket_address());
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
