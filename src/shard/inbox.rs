//! What other shards and the control thread want.

use std::rc::Rc;
use std::sync::Arc;

use super::mesh::{ShardMessage, Status};
use super::socket::Socket;
use super::{Settings, Shard, accept, flush, half_open};

/// Messages taken in one go: the sockets must have their turn too.
const AT_ONCE: usize = 512;

/// Waits for messages and asks for a flush, which takes them.
pub(super) async fn run(shard: Rc<Shard>) {
    loop {
        shard.mailbox.wait().await;
        shard.ask_flush();
        // The flush empties the inbox before this task looks again.
        tokio::task::yield_now().await;
    }
}

pub(super) fn empty(shard: &Rc<Shard>) {
    for _ in 0..AT_ONCE {
        let Some(message) = shard.mailbox.try_receive() else {
            return;
        };
        take(shard, message);
    }
    shard.ask_flush();
}

fn take(shard: &Rc<Shard>, message: ShardMessage) {
    let now = shard.now();
    match message {
        ShardMessage::Handoffs(handoffs) => {
            let mut relay = shard.relay.borrow_mut();
            for handoff in handoffs {
                relay.handoff(now, handoff);
            }
        }
        ShardMessage::Socket {
            stream,
            accepted,
            listener,
        } => accept::adopt(shard, stream, accepted, listener),
        ShardMessage::Scrape(reply) => {
            let _ = reply.send(Box::new(shard.numbers()));
        }
        ShardMessage::Status(reply) => {
            let relay = shard.relay.borrow();
            let _ = reply.send(Status {
                drained: relay.is_drained()
                    && shard.accepting.get() == 0
                    && shard.outbox.borrow().is_empty(),
                connections: relay.connections(),
                closing: shard.closing.get(),
                held: relay.metrics().ledger.held,
                records_due: relay.records_due(),
            });
        }
        ShardMessage::Reload(settings) => reload(shard, settings),
        ShardMessage::MakeRoom => {
            if shard.closing.get() == 0 {
                shard.relay.borrow_mut().shed(now);
            }
        }
        ShardMessage::Drain { deadline } => {
            shard.draining.set(true);
            shard.drain.notify_waiters();
            shard.relay.borrow_mut().drain(now, deadline);
        }
        ShardMessage::CloseAll => shard.relay.borrow_mut().close_all(now),
        ShardMessage::CutRecordsShort => shard.relay.borrow_mut().cut_records_short(now),
        ShardMessage::Stop => {
            shard.relay.borrow_mut().last_records();
            flush::follow(shard);
            shard.stop.notify_one();
        }
    }
}

/// Other settings from now on. Whoever is believed by its certificate has to be believed under the new authorities and
/// lists of relays, too; the certificate is the one that it showed.
fn reload(shard: &Rc<Shard>, settings: Arc<Settings>) {
    let now = shard.now();
    let mut relay = shard.relay.borrow_mut();
    relay.reconfigure(
        now,
        settings.relay.clone(),
        settings.auth.clone(),
        settings.users.clone(),
    );
    relay.set_nonce_keys(settings.nonce_keys.clone());
    *shard.settings.borrow_mut() = settings;
    let sockets: Vec<Rc<Socket>> = shard.sockets.borrow().iter().flatten().cloned().collect();
    half_open::patience_changed(shard, &sockets);
    for socket in sockets {
        if let Some(key) = socket.key.get().filter(|_| socket.established.get()) {
            relay.rejudged(now, key, shard.verified(&socket));
        }
    }
}
