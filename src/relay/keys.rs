//! Who is who inside one process: shards, connections, routes, flows, and where an answer
//! has to return to when it crosses shards.

use super::slots::{Key, key};

/// One core's number, from 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ShardId(pub u16);

key!(
    /// A connection of this shard, accepted or dialled.
    ConnectionKey
);
key!(
    /// A session: one Use-Path URI that this shard handed out.
    SessionKey
);
key!(
    /// The source's side of a path from one connection to one next hop.
    RouteKey
);
key!(
    /// The outgoing connection's side of a route: a queue with its own turn.
    FlowKey
);
key!(
    /// A request that went out and waits for its response.
    TransactionKey
);
key!(
    /// An incoming chunk that we hold responsibility for, or are about to.
    CustodyKey
);
key!(
    /// A flow's way past the sessions that what goes by it counts for.
    WayKey
);
key!(
    /// An AUTH that waits for the shard that keeps its nonce.
    PendingAuthKey
);

impl ConnectionKey {
    /// Place in the machine's table; small numbers, used again after the connection has gone.
    pub fn slot(self) -> usize {
        Key::slot(self)
    }
}

/// A connection, seen from any shard.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Place {
    pub shard: ShardId,
    pub connection: ConnectionKey,
}

/// Where verdicts, credit and REPORTs of a flow go.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ReturnAddress {
    pub shard: ShardId,
    pub route: RouteKey,
}
