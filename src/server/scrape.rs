//! Copies of every shard's numbers, for whoever scrapes.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::admin::Scrape;
use crate::metrics::{ShardMetrics, ShardSnapshot};
use crate::shard::{Mesh, ShardMessage};

use super::drain::shards;

/// A shard that says nothing for so long counts with its last copy.
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks all shards at once and remembers what each said last.
pub struct Scraper {
    mesh: Mesh,
    last: Vec<ShardMetrics>,
}

impl Scraper {
    pub fn new(mesh: Mesh) -> Self {
        let last = shards(&mesh).map(|_| ShardMetrics::default()).collect();
        Scraper { mesh, last }
    }

    /// Answers one request after the other: many scrapers cost the shards no more than one at a time.
    pub async fn run(mut self, mut requests: mpsc::Receiver<Scrape>) {
        while let Some(Scrape { reply }) = requests.recv().await {
            let _ = reply.send(self.scrape().await);
        }
    }

    async fn scrape(&mut self) -> Vec<ShardSnapshot> {
        let mut answers = Vec::new();
        for shard in shards(&self.mesh) {
            let (reply, answer) = oneshot::channel();
            let asked = self.mesh.send(shard, ShardMessage::Scrape(reply)).is_ok();
            answers.push((shard.0, asked.then_some(answer)));
        }
        let deadline = Instant::now() + PATIENCE;
        let mut snapshots = Vec::new();
        for ((shard, answer), last) in answers.into_iter().zip(&mut self.last) {
            let fresh = match answer {
                Some(answer) => timeout_at(deadline, answer).await.ok().and_then(Result::ok),
                None => None,
            };
            let up = fresh.is_some();
            if let Some(fresh) = fresh {
                *last = *fresh;
            }
            snapshots.push(ShardSnapshot {
                shard,
                up,
                numbers: Box::new(last.clone()),
            });
        }
        snapshots
    }
}
