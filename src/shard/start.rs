//! Threads: one for each core, each with its engine, its machine and its listeners.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, Once, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::metrics::ShardMetrics;
use crate::net::dial::Resolver;
use crate::net::directory::Directory;
use crate::net::uring::{self, Engine};
use crate::relay::{self, Relay};

pub use super::accept::Listening;
use super::mesh::{Mailbox, Mesh, Outbox, mesh};
use super::{Settings, Shard, accept, flush, half_open, inbox, web};

/// Threads of shards are named so, with their number.
const THREAD_NAME: &str = "shard-";

/// What one shard starts with.
pub struct ShardStart {
    pub relay: relay::Start,
    pub listeners: Vec<Listening>,
}

/// The running shards.
pub struct Shards {
    pub mesh: Mesh,
    pub threads: Vec<JoinHandle<()>>,
}

/// Starts all shards, pinned to a core each where there are enough. All engines are up when
/// this returns; the error of the first that could not start says what to do.
pub fn start(
    settings: Arc<Settings>,
    resolver: Resolver,
    directory: Directory,
    starts: Vec<ShardStart>,
) -> Result<Shards, String> {
    end_process_on_panic();
    let (mesh, mailboxes) = mesh(starts.len() as u16);
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let pin = starts.len() <= cores.len();
    let mut threads = Vec::new();
    // One after the other: each finds its own ring among the process's descriptors.
    for (index, (start, mailbox)) in starts.into_iter().zip(mailboxes).enumerate() {
        let (ready, is_ready) = mpsc::channel();
        let core = pin.then(|| cores[index]);
        let (settings, resolver) = (settings.clone(), resolver.clone());
        let directory = directory.clone();
        let thread = std::thread::Builder::new()
            .name(format!("{THREAD_NAME}{index}"))
            .spawn(move || {
                if let Some(core) = core {
                    core_affinity::set_for_current(core);
                }
                match Engine::start() {
                    Ok(engine) => {
                        let _ = ready.send(Ok(()));
                        run(&engine, settings, resolver, directory, start, mailbox);
                    }
                    Err(problem) => {
                        let _ = ready.send(Err(problem));
                    }
                }
            })
            .map_err(|error| format!("cannot start a thread for shard {index}: {error}"))?;
        is_ready
            .recv()
            .map_err(|_| format!("shard {index} ended while it started"))??;
        threads.push(thread);
    }
    Ok(Shards { mesh, threads })
}

/// Half a relay is worse than none: a panic in a shard ends the process. The runtime catches
/// what a task throws, so a guard on the thread would not see it; the hook does.
fn end_process_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            tell(panic);
            if std::thread::current()
                .name()
                .is_some_and(|name| name.starts_with(THREAD_NAME))
            {
                std::process::abort();
            }
        }));
    });
}

fn run(
    engine: &Engine,
    settings: Arc<Settings>,
    resolver: Resolver,
    directory: Directory,
    start: ShardStart,
    mailbox: Mailbox,
) {
    let shards = mailbox.mesh().shards();
    let shard = Rc::new(Shard {
        id: mailbox.shard(),
        relay: RefCell::new(Relay::new(start.relay)),
        settings: RefCell::new(settings),
        sockets: RefCell::new(Vec::new()),
        buffers: engine.buffers(),
        mailbox,
        outbox: RefCell::new(Outbox::new(shards)),
        resolver,
        directory,
        flush: Notify::new(),
        flush_asked: Cell::new(false),
        uncongested: Notify::new(),
        timer: Notify::new(),
        armed: Cell::new(None),
        now: Cell::new(None),
        batch_began: Cell::new(None),
        wall_due: Cell::new(Instant::now()),
        plain: RefCell::new(Vec::new()),
        watched: RefCell::default(),
        watch: Notify::new(),
        record: RefCell::new(Vec::new()),
        framed: RefCell::new(Vec::new()),
        closing: Cell::new(0),
        retrying: Cell::new(false),
        draining: Cell::new(false),
        accepting: Cell::new(0),
        drain: Notify::new(),
        stop: Notify::new(),
    });
    engine.block_on(async {
        uring::spawn(flush::run(shard.clone()));
        uring::spawn(inbox::run(shard.clone()));
        uring::spawn(timers(shard.clone()));
        uring::spawn(half_open::run(shard.clone()));
        uring::spawn(tidy_memory(shard.clone()));
        uring::spawn(web::ping(shard.clone()));
        for listening in start.listeners {
            uring::spawn(accept::run(shard.clone(), listening));
        }
        shard.stop.notified().await;
    });
}

/// So often freed memory goes back.
const TIDY: Duration = Duration::from_secs(10);

/// How large the vectors may stay in which octets lie before they are encrypted.
const PLAIN_WHEN_TIDY_OCTETS: usize = 131_072;

async fn tidy_memory(shard: Rc<Shard>) {
    loop {
        tokio::time::sleep(TIDY).await;
        let now = Instant::now();
        shard.relay.borrow_mut().give_back_memory(now);
        shard.plain.borrow_mut().shrink_to(PLAIN_WHEN_TIDY_OCTETS);
        shard.framed.borrow_mut().shrink_to(PLAIN_WHEN_TIDY_OCTETS);
        uring::give_back_memory();
    }
}

/// Woken so much too late, the process has stood still.
const STOOD_STILL: Duration = Duration::from_secs(1);
/// So long the sockets have then for what lies in them, before anybody is given up.
const SOCKETS_FIRST: Duration = Duration::from_millis(100);

/// Wakes the machine when it wants to be woken.
async fn timers(shard: Rc<Shard>) {
    loop {
        let next = shard.relay.borrow().next_timeout();
        shard.armed.set(next);
        let Some(next) = next else {
            shard.timer.notified().await;
            continue;
        };
        // At least so often, so that a gap is seen for as long as it was.
        let asleep = Instant::now();
        let wake = next.clamp(asleep, asleep + STOOD_STILL);
        tokio::select! {
            () = tokio::time::sleep_until(wake.into()) => {}
            () = shard.timer.notified() => continue,
        }
        shard.now.set(None);
        let now = shard.now();
        let gap = now.saturating_duration_since(wake);
        if gap >= STOOD_STILL {
            // What was due meanwhile may have come: answers, and room at receivers.
            tracing::warn!(?gap, "the process has stood still");
            shard.relay.borrow_mut().stood_still(now, gap);
            tokio::time::sleep(SOCKETS_FIRST).await;
        } else if next <= now {
            shard.relay.borrow_mut().handle_timeout(now);
        }
        shard.ask_flush();
        // More may be due at once: the sockets have their turn between.
        tokio::task::yield_now().await;
    }
}

impl Shard {
    /// A copy of the numbers.
    pub(super) fn numbers(&self) -> ShardMetrics {
        self.relay.borrow().metrics().clone()
    }
}
