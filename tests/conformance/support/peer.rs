//! A foreign client that waits to be dialled.

use std::io::{self, ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use msrpload::codec::{Message, fresh_tid};
use rustls::{ServerConfig, ServerConnection};

use super::client::{Client, SOON};
use super::pki::{Identity, TRUSTED};
use super::tls::server_config;

pub struct Peer {
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    /// Its URI by address.
    pub uri: String,
    pub port: u16,
}

impl Peer {
    /// With a certificate that the relay can verify, for the address and for some names.
    pub fn tls() -> Self {
        Self::tls_with(&TRUSTED.leaf(&["127.0.0.1", "bob.localhost", "p.peers.example"]))
    }

    pub fn tls_with(identity: &Identity) -> Self {
        Self::new("msrps", Some(server_config(identity)))
    }

    pub fn tls_configured(config: Arc<ServerConfig>) -> Self {
        Self::new("msrps", Some(config))
    }

    pub fn tcp() -> Self {
        Self::new("msrp", None)
    }

    /// At an address of the test's choice.
    pub fn listening(address: SocketAddr, config: Arc<ServerConfig>) -> Self {
        Self::bound("msrps", address, Some(config))
    }

    fn new(scheme: &str, tls: Option<Arc<ServerConfig>>) -> Self {
        Self::bound(scheme, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), tls)
    }

    fn bound(scheme: &str, address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind(address).expect("the address is free");
        listener
            .set_nonblocking(true)
            .expect("a listener can be polled");
        let port = listener
            .local_addr()
            .expect("a bound socket has an address")
            .port();
        let uri = format!("{scheme}://127.0.0.1:{port}/{};tcp", fresh_tid());
        Self {
            listener,
            tls,
            uri,
            port,
        }
    }

    /// Another URI of this peer, with this host.
    pub fn uri_at(&self, host: &str) -> String {
        format!("msrps://{host}:{}/{};tcp", self.port, fresh_tid())
    }

    /// The next connection, with its handshake done.
    pub fn accept(&self) -> Client {
        self.handshake(self.accept_socket(SOON).expect("the relay connects"))
            .expect("the relay does its TLS handshake")
    }

    /// TLS, or nothing, on a connection that was accepted.
    pub fn handshake(&self, mut socket: TcpStream) -> io::Result<Client> {
        let session = match &self.tls {
            None => None,
            Some(config) => {
                let mut session =
                    ServerConnection::new(config.clone()).map_err(io::Error::other)?;
                while session.is_handshaking() {
                    session.complete_io(&mut socket)?;
                }
                while session.wants_write() {
                    session.write_tls(&mut socket)?;
                }
                Some(session)
            }
        };
        Ok(Client::accepted(session, socket, self.uri.clone()))
    }

    pub fn accept_socket(&self, within: Duration) -> Option<TcpStream> {
        let until = Instant::now() + within;
        loop {
            match self.listener.accept() {
                Ok((socket, _)) => {
                    socket.set_nonblocking(false).expect("a socket can block");
                    socket.set_nodelay(true).expect("a socket has options");
                    socket
                        .set_read_timeout(Some(SOON))
                        .expect("a timeout can be set");
                    socket
                        .set_write_timeout(Some(SOON))
                        .expect("a timeout can be set");
                    return Some(socket);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    if Instant::now() >= until {
                        return None;
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(e) => panic!("accepting failed: {e}"),
            }
        }
    }

    /// Nobody has connected, and nobody does in the given time.
    pub fn nobody_connects(&self, for_long: Duration) {
        assert!(
            self.accept_socket(for_long).is_none(),
            "the relay has connected"
        );
    }

    /// Lets the relay's handshake fail, or not; the message that arrives all the same.
    pub fn gets_message(&self, within: Duration) -> Option<(Client, Message)> {
        let socket = self.accept_socket(within)?;
        let mut client = self.handshake(socket).ok()?;
        let message = client.receive(within).ok()?;
        Some((client, message))
    }

    /// Everything that a connection brings in clear, for peers that speak no TLS.
    pub fn raw_octets(&self, within: Duration) -> Vec<u8> {
        let mut octets = Vec::new();
        if let Some(mut socket) = self.accept_socket(within) {
            socket
                .set_read_timeout(Some(Duration::from_millis(300)))
                .expect("a timeout can be set");
            let _ = socket.read_to_end(&mut octets);
        }
        octets
    }
}
