//! Another relay at the far end of a link, played by hand.

use std::sync::Arc;
use std::time::Duration;

use msrpd::relay::{Reached, VerifiedNames};

use msrpload::codec::Builder;

use crate::setup::{AUTH_URI, answer, last};
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

/// R2's client gets a URI through it (AUT-20).
pub fn chained_auth(world: &mut World, link: Peer) -> String {
    let octets = auth_through(AUTH_URI, "auth1", Some(600), None);
    world.write(link, &octets);
    world.run();
    let challenge = last(world, link);
    assert_eq!(challenge.code(), Some(401), "{challenge:?}");
    let authorization = answer(&challenge, AUTH_URI, 1);
    let octets = auth_through(AUTH_URI, "auth2", Some(600), Some(&authorization));
    world.write(link, &octets);
    world.run();
    let granted = last(world, link);
    assert_eq!(granted.code(), Some(200), "{granted:?}");
    let use_path = granted.header("Use-Path").expect("a Use-Path");
    let (theirs, ours) = use_path.split_once(' ').expect("two URIs");
    assert_eq!(theirs, R2_URI);
    ours.to_owned()
}

/// Sessions that a relay holds outlive its links: they end by their time.
pub fn end_sessions(mut world: World) {
    world.advance(Duration::from_secs(601));
    world.end();
}

/// The AUTH of R2's client as it comes over a link.
pub fn auth_through(
    to: &str,
    tid: &str,
    expires: Option<u32>,
    authorization: Option<&str>,
) -> Vec<u8> {
    let expires = expires.map(|seconds| seconds.to_string());
    Builder::request(tid, "AUTH")
        .to_path(&[to])
        .from_path(&[R2_URI, FAR])
        .maybe_header("Authorization", authorization)
        .maybe_header("Expires", expires.as_deref())
        .encode()
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
