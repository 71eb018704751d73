//! Metrics and probes over HTTP, on the control thread: `/metrics`, `/histograms`, `/healthz`, `/readyz`; for `msrpd dev` also
//! the chat page.
//!
//! It asks for copies of the shards' numbers by a channel and turns them into text; it never sees a connection or a
//! message. Connections, the time they may idle and the size of what they may send are bounded, since nothing keeps
//! strangers away but the operator's choice of an address.

mod bounded;
mod host;
mod page;

use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::extract::State as Extract;
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::{mpsc, oneshot, watch};

use crate::metrics::{
    Facts, ProcessMetrics, Quantiles, RecordTotals, ShardSnapshot, forward_total, histograms_json,
    render,
};

use bounded::BoundedListener;
pub use host::Hosts;
pub use page::Page;

/// A question for every shard's numbers.
pub struct Scrape {
    pub reply: oneshot::Sender<Vec<ShardSnapshot>>,
}

/// What the pages are made of.
#[derive(Clone)]
pub struct State {
    scrapes: mpsc::Sender<Scrape>,
    ready: watch::Receiver<bool>,
    facts: watch::Receiver<Facts>,
    records: Arc<dyn Fn() -> RecordTotals + Send + Sync>,
    quantiles: Arc<Mutex<Quantiles>>,
}

impl State {
    pub fn new(
        scrapes: mpsc::Sender<Scrape>,
        ready: watch::Receiver<bool>,
        facts: watch::Receiver<Facts>,
        records: impl Fn() -> RecordTotals + Send + Sync + 'static,
    ) -> Self {
        State {
            scrapes,
            ready,
            facts,
            records: Arc::new(records),
            quantiles: Arc::default(),
        }
    }

    async fn snapshots(&self) -> Option<Vec<ShardSnapshot>> {
        let (reply, answer) = oneshot::channel();
        self.scrapes.send(Scrape { reply }).await.ok()?;
        answer.await.ok()
    }
}

/// Serves until the process ends, who asks for one of `hosts`; a `page` beside the numbers, if there is one. `listener` must
/// not block.
pub async fn serve(
    listener: std::net::TcpListener,
    hosts: Hosts,
    state: State,
    page: Option<Page>,
) {
    let listener = match BoundedListener::new(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "metrics and probes are not served"),
    };
    if let Err(error) = axum::serve(listener, router(hosts, state, page)).await {
        tracing::error!(%error, "metrics and probes are no longer served");
    }
}

fn router(hosts: Hosts, state: State, page: Option<Page>) -> Router {
    page.map_or_else(Router::new, Page::router)
        .route("/metrics", get(metrics))
        .route("/histograms", get(histograms))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .fallback(|| async {
            (
                StatusCode::NOT_FOUND,
                "not found; there are /metrics, /histograms, /healthz and /readyz\n",
            )
        })
        .layer(middleware::from_fn_with_state(hosts, host::check))
        .with_state(state)
}

async fn metrics(Extract(state): Extract<State>) -> Response {
    let Some(shards) = state.snapshots().await else {
        return ending();
    };
    let recent_forward = {
        let mut quantiles = state
            .quantiles
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        quantiles.observe(Instant::now(), &forward_total(&shards))
    };
    let process = ProcessMetrics {
        facts: state.facts.borrow().clone(),
        records: (state.records)(),
        recent_forward,
    };
    let text = render(&shards, &process);
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        text,
    )
        .into_response()
}

async fn histograms(Extract(state): Extract<State>) -> Response {
    let Some(shards) = state.snapshots().await else {
        return ending();
    };
    (
        [(header::CONTENT_TYPE, "application/json")],
        histograms_json(&shards),
    )
        .into_response()
}

async fn readyz(Extract(state): Extract<State>) -> Response {
    match *state.ready.borrow() {
        true => "ready\n".into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response(),
    }
}

fn ending() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "ending\n").into_response()
}

#[cfg(test)]
mod tests;
