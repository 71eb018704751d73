//! A listener whose connections are few, prompt and fairly shared.
//!
//! Nothing keeps strangers away but the operator's choice of an address, and probes have to be
//! answered whatever they do. So a request has to come within a few seconds, and who comes when all
//! places are taken gets that of whoever was answered least: a probe, which says at once what it
//! wants, is served before anybody who only holds places.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep, sleep_until};

/// Scrapers and probes at one time.
const CONNECTIONS_MAX: usize = 64;
/// Those of one source: an IPv4 address, or 64 bits of IPv6.
const OF_ONE_SOURCE: usize = 16;
/// From the accept, or the first octet of a later request, to the first octet of its answer.
const REQUEST: Duration = Duration::from_secs(5);
/// Between an answer and the next request, and for each octet of an answer that is taken.
const IDLE: Duration = Duration::from_secs(30);
/// A whole answer, however steadily it is taken.
const ANSWER: Duration = Duration::from_secs(60);
/// While there is no descriptor to accept with.
const RETRY: Duration = Duration::from_millis(100);

pub(super) struct BoundedListener {
    listener: TcpListener,
    places: Arc<Places>,
    next: u64,
}

impl BoundedListener {
    pub(super) fn new(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(BoundedListener {
            listener: TcpListener::from_std(listener)?,
            places: Arc::default(),
            next: 0,
        })
    }
}

impl Listener for BoundedListener {
    type Io = BoundedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let accepted = TcpListener::accept(&self.listener).await;
            let Ok((stream, remote)) = accepted else {
                tokio::time::sleep(RETRY).await;
                continue;
            };
            let Ok(place) = self.places.take(self.next, &stream, remote) else {
                continue;
            };
            self.next += 1;
            let now = Instant::now();
            let stream = BoundedStream {
                stream,
                deadline: Box::pin(sleep_until(now + REQUEST)),
                began: now,
                stage: Stage::Request,
                place,
            };
            return (stream, remote);
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// Who is connected, in the order of coming.
#[derive(Default)]
struct Places(Mutex<Vec<Taken>>);

struct Taken {
    number: u64,
    source: Source,
    /// Its socket, to end it.
    socket: OwnedFd,
    /// An answer is on its way.
    answered: Arc<AtomicBool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    V4(u32),
    V6(u64),
}

impl Source {
    fn of(remote: SocketAddr) -> Self {
        match remote.ip().to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip.to_bits()),
            IpAddr::V6(ip) => Self::V6((ip.to_bits() >> 64) as u64),
        }
    }
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, Vec<Taken>> {
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn take(
        self: &Arc<Self>,
        number: u64,
        stream: &TcpStream,
        remote: SocketAddr,
    ) -> io::Result<Place> {
        let source = Source::of(remote);
        let answered = Arc::new(AtomicBool::new(false));
        let socket = stream.as_fd().try_clone_to_owned()?;
        let mut taken = self.lock();
        let share = |source| taken.iter().filter(|one| one.source == source).count();
        let crowded = if share(source) >= OF_ONE_SOURCE {
            Some(source)
        } else if taken.len() >= CONNECTIONS_MAX {
            taken
                .iter()
                .map(|one| one.source)
                .max_by_key(|source| share(*source))
        } else {
            None
        };
        if let Some(crowded) = crowded {
            let of_it = || (0..taken.len()).filter(|at| taken[*at].source == crowded);
            let waits = |at: &usize| !taken[*at].answered.load(Ordering::Relaxed);
            let goes = of_it().find(waits).or_else(|| of_it().next());
            if let Some(goes) = goes {
                let gone = taken.remove(goes);
                let _ = socket2::SockRef::from(&gone.socket).shutdown(std::net::Shutdown::Both);
            }
        }
        taken.push(Taken {
            number,
            source,
            socket,
            answered: answered.clone(),
        });
        Ok(Place {
            places: self.clone(),
            number,
            answered,
        })
    }
}

/// A place, free again when it is dropped.
struct Place {
    places: Arc<Places>,
    number: u64,
    answered: Arc<AtomicBool>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().retain(|one| one.number != self.number);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// A request is coming in.
    Request,
    /// It is being answered, or was; the next one has not begun.
    Answer,
}

pub(super) struct BoundedStream {
    stream: TcpStream,
    deadline: Pin<Box<Sleep>>,
    /// When the stage began.
    began: Instant,
    stage: Stage,
    place: Place,
}

impl BoundedStream {
    fn wait_until(&mut self, deadline: Instant) {
        self.deadline.as_mut().reset(deadline);
    }

    fn enter(&mut self, stage: Stage) {
        let answered = stage == Stage::Answer;
        self.place.answered.store(answered, Ordering::Relaxed);
        (self.stage, self.began) = (stage, Instant::now());
    }

    /// What the socket has to wait for it does not wait for long.
    fn in_time<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        match self.deadline.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for BoundedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if polled.is_pending() {
            return self.in_time(cx);
        }
        // More octets of a request do not prolong it.
        if self.stage == Stage::Answer {
            self.enter(Stage::Request);
            let deadline = self.began + REQUEST;
            self.wait_until(deadline);
        }
        polled
    }
}

impl AsyncWrite for BoundedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, octets);
        if polled.is_pending() {
            return self.in_time(cx);
        }
        if self.stage == Stage::Request {
            self.enter(Stage::Answer);
        }
        let deadline = (Instant::now() + IDLE).min(self.began + ANSWER);
        self.wait_until(deadline);
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
