//! Questions that shards put to the control thread: what a user is proved by.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

/// A user wanted.
#[derive(Debug)]
pub struct Question {
    pub user: Arc<str>,
    pub realm: Arc<str>,
    /// Left unanswered, it counts as failed.
    pub reply: oneshot::Sender<Found>,
}

/// The hashes of a user's row, as they stand there. They are as good as a password (SEC-05).
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Row {
    /// For MD5.
    pub ha1: Option<String>,
    /// For SHA-256.
    pub ha1_sha256: Option<String>,
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Row(..)")
    }
}

/// What is known.
#[derive(Clone, Debug)]
pub enum Found {
    User(Arc<Row>),
    Nobody,
    /// Nobody could tell, or not in time.
    Failed,
}

/// The way to the control thread's service.
pub type Directory = mpsc::Sender<Question>;
