//! Another relay at the far end of a link, played by hand.

use std::sync::Arc;

use msrpd::relay::{Reached, VerifiedNames};

use crate::world::{Peer, World};

/// Its name.
pub const R2: &str = "r2.example.net";
/// A URI that it handed out.
pub const R2_URI: &str = "msrps://r2.example.net:2855/t2;tcp";
/// The client that holds it.
pub const FAR: &str = "msrps://far.invalid:2855/sfar;tcp";

pub fn verified(names: &[&str]) -> Option<Arc<VerifiedNames>> {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    Some(Arc::new(VerifiedNames { names }))
}

/// R2 connects to a shard of ours.
pub fn dial_in(world: &mut World, shard: usize) -> Peer {
    world.connect_verified(shard, &[R2])
}

impl World {
    /// What a reload finds about the certificate of this connection.
    pub fn rejudge(&mut self, peer: Peer, names: Option<Arc<VerifiedNames>>) {
        let socket = &self.sockets[peer];
        self.shards[socket.shard].rejudged(self.now, socket.key, names);
        self.obey();
    }

    /// The connect went through; the handshake is still to come.
    pub fn dial_reaches(&mut self, index: usize, reached: Reached) {
        let dialling = &self.dialling[index];
        self.shards[dialling.shard].reached(dialling.key, reached);
    }
}
