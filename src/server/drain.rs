//! The end of a run (CON-12): nothing new begins, what is held is finished or reported, connections are closed in order.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::{sleep, timeout_at};

use crate::relay::ShardId;
use crate::shard::{Mesh, ShardMessage, Shards, Status};

/// Between two looks at the shards.
const LOOK: Duration = Duration::from_millis(20);
/// A shard that says nothing for so long is not done yet.
const ANSWER: Duration = Duration::from_millis(500);
/// Of `drain_timeout`, kept for the last REPORTs to cross between shards and reach the kernel.
const LAST_WORDS: Duration = Duration::from_millis(400);
/// Of `drain_timeout`, kept for closing, so that all is over within a second after it.
const FOR_CLOSING: Duration = Duration::from_millis(200);
/// After the half-close a connection is read on for at most 1 s: an early close resets data under way.
const CLOSING: Duration = Duration::from_millis(1100);

/// What may come after `drain_timeout`: closing, and the end of the threads.
pub const AFTER: Duration = Duration::from_secs(3);

/// Drains all shards and ends their threads.
pub async fn drain(mesh: &Mesh, drain_timeout: Duration) {
    let begun = Instant::now();
    let deadline = begun + drain_timeout.saturating_sub(LAST_WORDS);
    tell_all(mesh, || ShardMessage::Drain { deadline }).await;
    // One look may fall between two shards' handoffs, so two in a row have to agree.
    let mut quiet_looks = 0;
    while quiet_looks < 2 && begun.elapsed() < drain_timeout.saturating_sub(FOR_CLOSING) {
        sleep(LOOK).await;
        let quiet = status(mesh, ANSWER)
            .await
            .iter()
            .all(|status| status.is_some_and(|status| status.drained));
        quiet_looks = if quiet { quiet_looks + 1 } else { 0 };
    }
    let held: u64 = status(mesh, ANSWER)
        .await
        .iter()
        .flatten()
        .map(|status| status.held)
        .sum();
    if held > 0 {
        tracing::warn!(
            held,
            "the drain ran out of time; what was held is reported as failed"
        );
    }
    tell_all(mesh, || ShardMessage::CloseAll).await;
    // A shard may answer before it has followed up what the machine closed, so here too two looks have to agree.
    let closing = Instant::now();
    let mut closed_looks = 0;
    while closed_looks < 2 && closing.elapsed() < CLOSING {
        sleep(LOOK).await;
        let open = |status: &Option<Status>| {
            status.is_none_or(|status| status.connections + status.closing + status.records_due > 0)
        };
        let closed = !status(mesh, ANSWER).await.iter().any(open);
        closed_looks = if closed { closed_looks + 1 } else { 0 };
    }
    if closed_looks < 2 {
        // Somebody takes nothing: what is still under way to it will not be heard of.
        tell_all(mesh, || ShardMessage::CutRecordsShort).await;
        status(mesh, LOOK).await;
        sleep(LOOK).await;
    }
    tell_all(mesh, || ShardMessage::Stop).await;
}

/// Waits for the threads; one that does not end is left behind with the process.
pub fn join(shards: Shards) {
    let deadline = Instant::now() + Duration::from_secs(1);
    for thread in shards.threads {
        while !thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        if thread.is_finished() {
            let _ = thread.join();
        }
    }
}

/// How far each shard is; nothing of one that has not answered after `patience`.
pub async fn status(mesh: &Mesh, patience: Duration) -> Vec<Option<Status>> {
    let mut answers = Vec::new();
    for shard in shards(mesh) {
        let (reply, answer) = oneshot::channel();
        let _ = mesh.send(shard, ShardMessage::Status(reply));
        answers.push(answer);
    }
    let deadline = tokio::time::Instant::now() + patience;
    let mut found = Vec::new();
    for answer in answers {
        found.push(timeout_at(deadline, answer).await.ok().and_then(Result::ok));
    }
    found
}

/// Says it to every shard. An inbox may be full for a moment; a shard empties it before it reads sockets.
pub async fn tell_all(mesh: &Mesh, mut message: impl FnMut() -> ShardMessage) {
    for shard in shards(mesh) {
        for _ in 0..100 {
            if mesh.send(shard, message()).is_ok() {
                break;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }
}

pub fn shards(mesh: &Mesh) -> impl Iterator<Item = ShardId> + use<> {
    (0..mesh.shards()).map(ShardId)
}
