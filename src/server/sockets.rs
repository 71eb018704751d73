//! Listening sockets: bound by us, or opened by systemd beforehand and handed over (sd_listen_fds(3)).
//!
//! What was handed over is told by its address. It stays with systemd when we end: what waits in its queue is for whoever
//! starts next, so we neither empty nor close that.

use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;

use crate::net::listener::{self, Families};

/// Sockets for one address, one for each shard.
pub struct Listeners {
    pub sockets: Vec<TcpListener>,
    pub inherited: bool,
}

/// The sockets that systemd has opened for us.
pub struct Given(Vec<(SocketAddr, TcpListener)>);

impl Given {
    /// Those of this process, or what is wrong with one.
    pub fn of_process() -> Result<Self, String> {
        let mut fds = ListenFd::from_env();
        let mut given = Vec::new();
        for index in 0..fds.len() {
            let listener = fds.take_tcp_listener(index).and_then(|listener| {
                let Some(listener) = listener else {
                    return Ok(None);
                };
                listener.set_nonblocking(true)?;
                Ok(Some((listener.local_addr()?, listener)))
            });
            match listener {
                Ok(listener) => given.extend(listener),
                Err(error) => {
                    return Err(format!(
                        "the socket that systemd handed over as descriptor {} cannot be used: {error}. \
                         The .socket unit needs ListenStream= with an IP address and a port",
                        index + 3
                    ));
                }
            }
        }
        Ok(Given(given))
    }

    /// Sockets for `address`, one for each of `shards`: those handed over, else new ones. Shards that share a socket
    /// take turns by who is quickest; the sockets that we bind ourselves each have a queue of their own.
    pub fn listen(
        &mut self,
        address: SocketAddr,
        families: Families,
        shards: usize,
    ) -> Result<Listeners, String> {
        let (ours, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(given, _)| *given == address);
        self.0 = others;
        if ours.is_empty() {
            let sockets =
                listener::bind(address, families, shards).map_err(|problem| problem.to_string())?;
            return Ok(Listeners {
                sockets,
                inherited: false,
            });
        }
        let shared =
            (0..shards.max(ours.len())).map(|shard| ours[shard % ours.len()].1.try_clone());
        let sockets = shared.collect::<Result<_, _>>().map_err(|error| {
            format!("cannot share the socket for {address}: {error}; raise LimitNOFILE=")
        })?;
        Ok(Listeners {
            sockets,
            inherited: true,
        })
    }

    /// Addresses that nobody asked for.
    pub fn left(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().map(|(address, _)| *address)
    }
}
