//! One core: its ring, its relay, its sockets, its handoff queues. It turns completions into
//! calls of the machine and the machine's output into submissions, and decides nothing about
//! MSRP.
//!
//! Readers await their socket and feed the machine; whatever they caused is followed up once,
//! after all readers of the batch have run: commands, encryption, one send for each
//! connection (see `flush`).

mod accept;
mod dialling;
mod flush;
mod half_open;
mod inbox;
mod judging;
mod looking_up;
mod mesh;
mod notices;
mod reader;
mod records;
mod socket;
mod start;
mod web;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;

pub use mesh::{Mesh, ShardMessage, Status};
pub use records::{Note, RecordCounts, Records};
pub use start::{Listening, ShardStart, Shards, start};

use crate::net::address::DialPolicy;
use crate::net::dial::Resolver;
use crate::net::directory::Directory;
use crate::net::tls::TlsContext;
use crate::net::uring::Buffers;
use crate::net::websocket::{Origins, WebSocketLimits};
use crate::relay::{
    self, AuthSettings, ConnectionKey, NonceKeys, Relay, ShardId, Users, VerifiedNames, WallClock,
};

use mesh::{Mailbox, Outbox};
use socket::Socket;

/// What shards need to know besides the machine's settings; swapped as a whole on reload.
#[derive(Clone)]
pub struct Settings {
    pub relay: Arc<relay::Settings>,
    pub auth: Arc<AuthSettings>,
    pub users: Arc<Users>,
    pub nonce_keys: Arc<NonceKeys>,
    pub tls: Option<TlsContext>,
    pub dial: Arc<DialPolicy>,
    /// Domains whose SRV target may show a certificate of its own name instead of the domain's.
    pub srv_targets: BTreeMap<String, String>,
    /// Resolving, connecting and TLS together.
    pub connect_timeout: Duration,
    /// Connections of the whole process.
    pub connections: usize,
    /// Bounds of WebSocket connections, how often idle ones are pinged, and whose pages may connect, by listener.
    pub websocket: WebSocketLimits,
    pub websocket_ping: Duration,
    pub origins: Vec<Arc<Origins>>,
    /// Where records of sessions go, if anywhere.
    pub records: Option<Records>,
}

/// So often a shard in which anything happens looks at the clock on the wall.
const WALL_EVERY: Duration = Duration::from_secs(1);

/// State of one shard, shared by the tasks on its thread. No borrow lives over an await.
struct Shard {
    id: ShardId,
    relay: RefCell<Relay>,
    settings: RefCell<Arc<Settings>>,
    /// By the machine's slot numbers.
    sockets: RefCell<Vec<Option<Rc<Socket>>>>,
    buffers: Rc<Buffers>,
    mailbox: Mailbox,
    outbox: RefCell<Outbox>,
    resolver: Resolver,
    directory: Directory,
    /// Something happened in this batch that `flush` has to follow up.
    flush: Notify,
    flush_asked: Cell<bool>,
    /// Wakes readers that wait for room in the outbox.
    uncongested: Notify,
    /// Wakes the timer task: the next deadline came nearer.
    timer: Notify,
    armed: Cell<Option<Instant>>,
    /// The time of this batch; None: to be read again.
    now: Cell<Option<Instant>>,
    batch_began: Cell<Option<Instant>>,
    /// When to look at the clock on the wall again.
    wall_due: Cell<Instant>,
    /// What the machine sends before it is framed and encrypted.
    plain: RefCell<Vec<u8>>,
    /// Sockets with output under way, and what says that there is one.
    watched: RefCell<half_open::Watched>,
    watch: Notify,
    /// A decrypted record of a WebSocket connection while it is unmasked, and messages while they are framed.
    record: RefCell<Vec<u8>>,
    framed: RefCell<Vec<u8>>,
    /// Sockets that the machine has let go of and that are not closed yet.
    closing: Cell<usize>,
    /// A task is trying the outbox again.
    retrying: Cell<bool>,
    draining: Cell<bool>,
    /// Listeners that still accept.
    accepting: Cell<usize>,
    drain: Notify,
    stop: Notify,
}

impl Shard {
    /// Read once for each batch of completions.
    fn now(&self) -> Instant {
        if let Some(now) = self.now.get() {
            return now;
        }
        let now = Instant::now();
        self.look_at_the_wall(now);
        self.now.set(Some(now));
        self.batch_began.set(Some(now));
        now
    }

    /// Tells the machine what the clock on the wall says, which may be set while we run.
    fn look_at_the_wall(&self, now: Instant) {
        if now < self.wall_due.get() {
            return;
        }
        // Who is inside the machine now gets the time of the last look.
        if let Ok(mut relay) = self.relay.try_borrow_mut() {
            let unix_now = SystemTime::now().duration_since(UNIX_EPOCH);
            relay.set_wall_clock(WallClock::new(now, unix_now.unwrap_or_default()));
            self.wall_due.set(now + WALL_EVERY);
        }
    }

    /// Asks for a `flush` after the tasks that are ready now.
    fn ask_flush(&self) {
        if !self.flush_asked.replace(true) {
            self.flush.notify_one();
        }
    }

    fn socket(&self, key: ConnectionKey) -> Option<Rc<Socket>> {
        let socket = self.sockets.borrow().get(key.slot())?.clone()?;
        (socket.key.get() == Some(key)).then_some(socket)
    }

    fn insert(&self, key: ConnectionKey, socket: Rc<Socket>) {
        socket.key.set(Some(key));
        let mut sockets = self.sockets.borrow_mut();
        if sockets.len() <= key.slot() {
            sockets.resize_with(key.slot() + 1, || None);
        }
        sockets[key.slot()] = Some(socket);
    }

    /// The names that the certificate of an established connection proves now, by the settings in force.
    fn verified(&self, socket: &Socket) -> Option<Arc<VerifiedNames>> {
        let settings = self.settings.borrow();
        let names = match (&socket.tls, &settings.tls) {
            (Some(tls), Some(context)) if socket.judged => tls.borrow().verified_names(context),
            _ => None,
        };
        names.map(|names| Arc::new(VerifiedNames { names }))
    }

    /// The machine has let go of the key.
    fn take(&self, key: ConnectionKey) -> Option<Rc<Socket>> {
        let socket = self.socket(key)?;
        socket.key.set(None);
        self.sockets.borrow_mut()[key.slot()] = None;
        Some(socket)
    }
}
