//! Until when other relays are believed: a link is judged again as soon as the first certificate of
//! its chain has ended (TLS-07).

use std::rc::{Rc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Shard;
use super::socket::Socket;
use crate::net::uring;

/// The wall clock is looked at so often: it may jump, and a timer does not follow it.
const LOOK: Duration = Duration::from_secs(30);
/// A certificate is good for the whole second of its end.
const SECOND: Duration = Duration::from_secs(1);

/// Judges an established connection again when its certificate ends, if it has one that counts.
pub(super) fn watch(shard: &Rc<Shard>, socket: &Rc<Socket>) {
    if good_until(shard, socket).is_some() {
        uring::spawn(judge_at_its_end(shard.clone(), Rc::downgrade(socket)));
    }
}

async fn judge_at_its_end(shard: Rc<Shard>, socket: Weak<Socket>) {
    let alive = || {
        let socket = socket.upgrade()?;
        let key = socket.key.get().filter(|_| !socket.dead.get())?;
        Some((socket, key))
    };
    while let Some((socket, key)) = alive() {
        let Some(until) = good_until(&shard, &socket) else {
            let remote = socket.remote.get();
            tracing::info!(%remote, "the certificate of a relay has ended");
            let (now, verified) = (shard.now(), shard.verified(&socket));
            shard.relay.borrow_mut().rejudged(now, key, verified);
            return shard.ask_flush();
        };
        // Nobody keeps a descriptor open by waiting.
        drop(socket);
        let left = (until + SECOND).duration_since(SystemTime::now());
        tokio::time::sleep(left.unwrap_or_default().min(LOOK)).await;
    }
}

fn good_until(shard: &Shard, socket: &Socket) -> Option<SystemTime> {
    let settings = shard.settings.borrow();
    let (tls, context) = (socket.tls.as_ref()?, settings.tls.as_ref()?);
    let verified = tls.borrow().verified(context).filter(|_| socket.judged)?;
    UNIX_EPOCH.checked_add(Duration::from_secs(verified.not_after.as_secs()))
}
