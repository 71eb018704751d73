//! How many connections there are of each kind, kept as they change: whoever scrapes must not make
//! a shard look at all of them.

use super::Relay;
use super::connection::Connection;
use super::keys::ConnectionKey;

impl Relay {
    /// A new connection.
    pub(super) fn enter(&mut self, connection: Connection) -> ConnectionKey {
        self.holders.enter(connection.party, 0);
        let key = self.connections.insert(connection);
        self.settle_party(key);
        self.recount_own(key);
        self.recount(key);
        key
    }

    /// It is gone; its place is to be freed.
    pub(super) fn leave_table(&mut self, key: ConnectionKey) -> Option<Connection> {
        let connection = self.connections.take_out(key)?;
        self.remembered -= connection.own;
        // What is left of it counts for nobody until it ends, too.
        self.holders.leave(connection.party, connection.remembered);
        if connection.dialled.is_some() {
            self.dial_over(key);
        }
        if let Some((transport, role)) = connection.counted {
            self.metrics.connections[transport as usize][role as usize] -= 1;
        }
        Some(connection)
    }

    /// What a connection is to us may have changed.
    pub(super) fn recount(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let now = (connection.transport.label(), connection.role());
        let before = connection.counted.replace(now);
        if before == Some(now) {
            return;
        }
        let counts = &mut self.metrics.connections;
        counts[now.0 as usize][now.1 as usize] += 1;
        if let Some((transport, role)) = before {
            counts[transport as usize][role as usize] -= 1;
        }
    }

    /// Panics unless a count of all comes to the same.
    pub(super) fn assert_census(&self) {
        let mut counts = self.metrics.connections;
        for (key, connection) in self.connections.iter() {
            let label = (connection.transport.label(), connection.role());
            assert_eq!(connection.counted, Some(label), "{key:?}");
            counts[label.0 as usize][label.1 as usize] -= 1;
        }
        assert!(counts.as_flattened().iter().all(|count| *count == 0));
    }
}
