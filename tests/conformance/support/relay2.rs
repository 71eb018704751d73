//! A second relay, R2, played by the test: it has a certificate for its name from an authority that R believes, connects
//! to R with it, and waits to be dialled by R, whose certificate it wants to see.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use msrpload::codec::fresh_tid;

use super::client::Client;
use super::dns::{Names, Record, own_loopback};
use super::link::Link;
use super::peer::Peer;
use super::pki::{Authority, Identity, TRUSTED};
use super::relay::Relay;
use super::tls::{ClientTls, mutual_server_config};

pub struct R2 {
    /// Name in its URIs; each R2 has one of its own.
    pub host: String,
    pub identity: Arc<Identity>,
    /// Where it waits to be dialled.
    pub peer: Peer,
}

impl R2 {
    pub fn new() -> Self {
        let host = own_host();
        let identity = TRUSTED.leaf(&[&host]);
        Self::with(host, identity)
    }

    /// With this name and whatever certificate.
    pub fn with(host: String, identity: Identity) -> Self {
        Self::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), host, identity)
    }

    /// Listens on port 2855 of an address that its name has: what R dials without a port and without SRV (DNS-03).
    pub fn on_2855() -> Self {
        let host = own_host();
        let address = own_loopback();
        Names::get().set(&host, &[Record::A(address)]);
        let identity = TRUSTED.leaf(&[&host]);
        Self::at(SocketAddr::from((address, 2855)), host, identity)
    }

    pub fn at(address: SocketAddr, host: String, identity: Identity) -> Self {
        let peer = Peer::listening(address, mutual_server_config(&identity, &TRUSTED));
        Self {
            host,
            identity: Arc::new(identity),
            peer,
        }
    }

    /// Believes only certificates of this authority.
    pub fn wanting(authority: &Authority) -> Self {
        let mut r2 = Self::new();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        r2.peer = Peer::listening(address, mutual_server_config(&r2.identity, authority));
        r2
    }

    /// A URI that this relay might have handed out.
    pub fn token(&self) -> String {
        format!(
            "msrps://{}:{}/{};tcp",
            self.host,
            self.peer.port,
            fresh_tid()
        )
    }

    /// What an AUTH to it is addressed to.
    pub fn uri(&self) -> String {
        format!("msrps://{};tcp", self.host)
    }

    /// From-Path of a client behind it: a token of this relay and the client's own URI.
    pub fn path_of_client(&self) -> String {
        format!("{} {}", self.token(), super::client::own_uri("bob"))
    }

    pub fn client_tls(&self) -> ClientTls {
        ClientTls {
            identity: Some(self.identity.clone()),
            ..ClientTls::default()
        }
    }

    /// A connection to R. What is sent on it comes from a client behind R2 unless the test changes `uri`.
    pub fn connect(&self, relay: &Relay) -> Client {
        let mut link =
            Client::tls_with(relay, &self.client_tls()).expect("the TLS handshake succeeds");
        link.uri = self.path_of_client();
        link
    }

    /// R dials: the connection, once R has shown its certificate.
    pub fn accept(&self) -> Client {
        let mut link = self.peer.accept();
        link.uri = self.path_of_client();
        link
    }

    /// A has a session with a client behind R2, which has connected in.
    pub fn linked(&self, relay: &Relay) -> Link {
        Link::with_inbound(Client::authenticated(relay, "alice"), self.connect(relay))
    }

    /// A has a session with a client behind R2, and R has dialled R2 for it.
    pub fn dialled(&self, relay: &Relay) -> Link {
        let a = Client::authenticated(relay, "alice");
        Link::dialled_at(a, &self.peer, &self.path_of_client())
    }
}

/// The last URI of a Use-Path: the one that the relay under test made.
pub fn own_token(use_path: &str) -> String {
    let last = use_path.rsplit(' ').next();
    last.expect("a Use-Path has a last URI").to_owned()
}

/// A name below `peers.example` that nobody else has.
pub fn own_host() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("r2-{number}.peers.example")
}
