//! A connection: its socket, its MSRP, and why it exists.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::ClientConfig;
use socket2::{Domain, Protocol, Socket, Type};

use crate::pattern::mix;
use crate::plan::{Plan, Transport, User};

use super::endpoint::Endpoint;
use super::link::Link;
use super::tls::Tls;
use super::web::Web;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Not begun: too many others are being opened.
    Queued,
    /// TCP, then TLS, then the upgrade to WebSocket.
    Opening,
    LoggingIn,
    Ready,
    Closed,
    /// Lost; it is opened again when it is due.
    Returning,
}

/// Reading at a bounded rate.
pub struct Throttle {
    pub octets_per_second: u64,
    pub credit: u64,
    pub refilled_at: u64,
}

impl Throttle {
    /// Octets that may be read now.
    pub fn refill(&mut self, now: u64) -> u64 {
        let earned =
            (now - self.refilled_at) as u128 * u128::from(self.octets_per_second) / 1_000_000_000;
        if earned > 0 {
            // At most a tenth of a second's worth is saved up.
            let most = (self.octets_per_second / 10).max(1);
            self.credit = (self.credit + earned as u64).min(most);
            self.refilled_at = now;
        }
        self.credit
    }
}

pub struct Connection {
    pub link: Option<Link>,
    pub endpoint: Endpoint,
    pub stage: Stage,
    /// Who logs in; `None`: a foreign client.
    pub user: Option<User>,
    /// Which of the plan's relays it leads to.
    pub relay: usize,
    pub transport: Transport,
    /// With a client certificate of its group's; `None`: as for everybody.
    pub config: Option<Arc<ClientConfig>>,
    /// Somebody connected to us: it cannot be opened again from here.
    pub accepted: bool,
    /// Sessions that have one of their ends here.
    pub sessions: Vec<usize>,
    pub opened_at: u64,
    pub tcp_at: u64,
    /// When TLS was established, or where there is none TCP connected.
    pub secured_at: u64,
    /// When the AUTH went out whose answer is awaited.
    pub asked_at: u64,
    pub dirty: bool,
    /// The kernel may have more than we read.
    pub unread: bool,
    /// The other side has ended the stream: a short read is not the last one, for epoll tells of
    /// the end only once, together with the last octets.
    pub ending: bool,
    pub throttle: Option<Throttle>,
    /// Nothing is read once the run has begun.
    pub stands_still: bool,
}

impl Connection {
    pub fn new(uris: Vec<String>, user: Option<User>, relay: usize, transport: Transport) -> Self {
        Self {
            link: None,
            endpoint: Endpoint::new(uris, relay, transport.is_web()),
            stage: Stage::Queued,
            user,
            relay,
            transport,
            config: None,
            accepted: false,
            sessions: Vec::new(),
            opened_at: 0,
            tcp_at: 0,
            secured_at: 0,
            asked_at: 0,
            dirty: false,
            unread: false,
            ending: false,
            throttle: None,
            stands_still: false,
        }
    }
}

impl Connection {
    /// Where it leads.
    pub fn target(&self, plan: &Plan) -> SocketAddr {
        plan.relays[self.relay].address(self.transport)
    }

    /// The relay has ended the stream: in words.
    pub fn how_it_ended(&self) -> String {
        let code = self.link.as_ref().and_then(Link::closed_with);
        let code = match code {
            None => String::new(),
            Some(None) => " (WebSocket, without a code)".to_owned(),
            Some(Some(code)) => format!(" (WebSocket, {code})"),
        };
        let place = match self.endpoint.is_between_messages() {
            true => "",
            false => " in the middle of a message",
        };
        format!("closed by the relay{place}{code}")
    }

    /// A new client in its place, not connected yet.
    pub fn renew(&mut self, uris: Vec<String>) {
        let mut new = Self::new(uris, self.user.take(), self.relay, self.transport);
        new.config = self.config.take();
        new.sessions = std::mem::take(&mut self.sessions);
        new.stands_still = self.stands_still;
        new.throttle = self.throttle.take();
        *self = new;
    }
}

/// Begins to connect to a relay.
pub fn connect(plan: &Plan, connection: &Connection, number: u64) -> io::Result<Link> {
    let relay = &plan.relays[connection.relay];
    let transport = connection.transport;
    let target = connection.target(plan);
    let socket = Socket::new(
        Domain::for_address(target),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    if plan.source_spread {
        socket.bind(&SocketAddr::new(source(number), 0).into())?;
    }
    match socket.connect(&target.into()) {
        Ok(()) => {}
        Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(e) => return Err(e),
    }
    let stream = TcpStream::from_std(socket.into());
    let tls = match transport.is_tls() {
        true => Some(
            Tls::client(
                Arc::clone(connection.config.as_ref().unwrap_or(&relay.client_config)),
                relay.server_name.clone(),
            )
            .map_err(io::Error::other)?,
        ),
        false => None,
    };
    let web = transport
        .is_web()
        .then(|| Web::new(format!("{}:{}", relay.host, target.port())));
    Ok(Link::new(stream, tls, web, false))
}

/// One of 127.1.0.1 to 127.250.250.250.
fn source(number: u64) -> IpAddr {
    let hash = mix(number);
    let part = |shift: u32| 1 + ((hash >> shift) % 250) as u8;
    IpAddr::V4(Ipv4Addr::new(127, part(0), part(16), part(32)))
}
