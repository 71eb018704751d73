//! Room for another connection when there is none: the one that was unused for longest goes
//! (RFC 4976 §6.5, CON-05). Never one with a live session, or with anything on its way.

use std::time::{Duration, Instant};

use super::Relay;
use super::command::CloseReason;
use super::keys::ConnectionKey;

/// Used more recently than this, a connection is not idle: two that take turns with a full
/// relay would push each other out.
const UNUSED: Duration = Duration::from_secs(5);
/// So long nobody looks again after nothing was found: a look goes over all connections.
const FUTILE: Duration = Duration::from_millis(100);

impl Relay {
    /// Begins to close the connection that nobody would miss most. False: there is none.
    pub fn shed(&mut self, now: Instant) -> bool {
        if self.shed_again.is_some_and(|again| now < again) {
            return false;
        }
        let oldest = self
            .connections
            .iter()
            .filter(|(key, _)| self.is_dispensable(now, *key))
            .map(|(key, connection)| (connection.used, key))
            .min();
        match oldest {
            Some((_, key)) => {
                self.close(now, key, CloseReason::Shed);
                self.deliver_ups(now);
            }
            None => self.shed_again = Some(now + FUTILE),
        }
        oldest.is_some()
    }

    fn is_dispensable(&self, now: Instant, key: ConnectionKey) -> bool {
        let Some(connection) = self.connections.get(key) else {
            return false;
        };
        connection.established
            && connection.closing.is_none()
            && connection.is_unused()
            && now.saturating_duration_since(connection.used) >= UNUSED
            && connection.unfinished_since.is_none()
            && connection.outstanding == 0
            && connection.egress.is_idle(&self.flows)
            && self.transactions.oldest_of(key).is_none()
    }
}
