//! One socket of the shard: its TLS, what waits to be sent below MSRP, and in which stage of
//! its life it is.

use std::cell::{Cell, RefCell};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::Instant;

use tokio::sync::Notify;

use crate::net::proxy_header::ProxyHeader;
use crate::net::tls::TlsSession;
use crate::net::websocket::{CloseCode, WebSocket};
use crate::relay::ConnectionKey;

/// A connected socket. Its reader task, a send under way and the shard's table share it.
pub(super) struct Socket {
    pub stream: Rc<TcpStream>,
    /// The other side, or whom it said that it speaks for.
    pub remote: Cell<SocketAddr>,
    /// What has come of the PROXY header that is to be first.
    pub proxy_header: RefCell<Option<ProxyHeader>>,
    /// Void once the machine has let go of it.
    pub key: Cell<Option<ConnectionKey>>,
    pub tls: Option<RefCell<TlsSession>>,
    /// Where messages have frames.
    pub web: Option<Box<RefCell<WebSocket>>>,
    /// What a close frame says where WebSocket itself has failed.
    pub close_code: Cell<Option<CloseCode>>,
    /// Handshakes done (at once for TCP, unless a PROXY header is due).
    pub established: Cell<bool>,
    /// When it was accepted or the connect began, for the handshake's duration.
    pub begun: Instant,
    /// Octets below MSRP: handshake, alerts.
    pub pending: RefCell<Vec<u8>>,
    pub sending: Cell<bool>,
    /// When the last send began; None: a while ago, nothing is under way.
    pub sent_last: Cell<Option<Instant>>,
    /// Let go: close_notify and half-close once the send under way is done.
    pub closing: Cell<bool>,
    pub half_closed: Cell<bool>,
    /// It is counted as one of the shard's connections: a dialled one once it is up.
    pub placed: Cell<bool>,
    /// Its reader has ended.
    pub reader_gone: Cell<bool>,
    /// Whether its certificate may speak for a relay: not where we dialled without verifying.
    pub judged: bool,
    /// We dialled it and want its certificate to be believed when the handshake is done, by the settings of that moment.
    pub must_prove: bool,
    /// Nothing more is read or written.
    pub dead: Cell<bool>,
    /// Wakes its reader (room again, or the end) and who waits for its handshake.
    pub changed: Notify,
}

impl Socket {
    pub fn new(
        stream: TcpStream,
        remote: SocketAddr,
        tls: Option<TlsSession>,
        begun: Instant,
    ) -> Self {
        Self {
            stream: Rc::new(stream),
            remote: Cell::new(remote),
            proxy_header: RefCell::new(None),
            key: Cell::new(None),
            established: Cell::new(tls.is_none()),
            tls: tls.map(RefCell::new),
            web: None,
            close_code: Cell::new(None),
            begun,
            pending: RefCell::new(Vec::new()),
            sending: Cell::new(false),
            sent_last: Cell::new(None),
            closing: Cell::new(false),
            half_closed: Cell::new(false),
            placed: Cell::new(true),
            reader_gone: Cell::new(false),
            judged: true,
            must_prove: false,
            dead: Cell::new(false),
            changed: Notify::new(),
        }
    }

    /// Nothing counts before the HTTP request has been upgraded.
    pub fn expect_upgrade(&mut self, web: WebSocket) {
        self.web = Some(Box::new(RefCell::new(web)));
        self.established.set(false);
    }

    /// Nothing counts before the PROXY header has come.
    pub fn expect_proxy_header(&mut self) {
        self.proxy_header = RefCell::new(Some(ProxyHeader::default()));
        self.established.set(false);
    }

    /// Sends what waits below MSRP, an alert most likely, as far as the kernel takes it at once.
    pub fn flush_alert(&self) {
        let pending = std::mem::take(&mut *self.pending.borrow_mut());
        if !pending.is_empty() && !self.sending.get() && !self.dead.get() {
            let _ = socket2::SockRef::from(&*self.stream)
                .send_with_flags(&pending, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
        }
    }

    /// Ends it now: what is under way completes at once with an error.
    pub fn kill(&self) {
        self.dead.set(true);
        self.key.set(None);
        let _ = self.stream.shutdown(Shutdown::Both);
        self.changed.notify_one();
    }
}
