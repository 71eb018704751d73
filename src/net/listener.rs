//! Listening sockets, one for each shard and address, and what every connected socket is set to.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};

use super::half_open;

/// Connections that may wait to be accepted; the kernel caps it (net.core.somaxconn).
const BACKLOG: i32 = 4096;
/// What may lie unsent in the kernel before it takes more: it would only hide how slow a receiver is. The segment that goes
/// beyond it comes on top.
const NOTSENT_LOWAT: u32 = 32_768;

/// An address that cannot be listened on, and what to do.
#[derive(Debug)]
pub struct BindProblem {
    pub address: SocketAddr,
    pub error: io::Error,
}

impl fmt::Display for BindProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hint = match self.error.kind() {
            io::ErrorKind::AddrInUse => {
                "another process listens there (`ss -ltnp` shows which); stop it or choose another port"
            }
            io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE",
            io::ErrorKind::AddrNotAvailable => "no interface of this machine has that address",
            _ => "check the address",
        };
        write!(
            f,
            "cannot listen on {}: {}; {hint}",
            self.address, self.error
        )
    }
}

impl std::error::Error for BindProblem {}

/// Who reaches a listener on the unspecified address of IPv6.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Families {
    /// IPv4 too, whose addresses come in the dress of IPv6 ([`plain`](super::address::plain)).
    #[default]
    Both,
    Ipv6,
}

/// Binds `address` once for each shard, all before the first accept. With port 0 the kernel
/// chooses one, the same for all.
pub fn bind(
    address: SocketAddr,
    families: Families,
    shards: usize,
) -> Result<Vec<TcpListener>, BindProblem> {
    let problem = |error| BindProblem { address, error };
    // SO_REUSEPORT would let us join another process of the same user without a word.
    probe(address, families).map_err(problem)?;
    let first = bind_one(address, families).map_err(problem)?;
    let address_bound = first.local_addr().map_err(problem)?;
    let mut listeners = vec![first];
    for _ in 1..shards {
        listeners.push(bind_one(address_bound, families).map_err(problem)?);
    }
    for listener in &listeners {
        SockRef::from(listener).listen(BACKLOG).map_err(problem)?;
    }
    Ok(listeners)
}

/// Drops who wants to connect from now on (they try again, and are refused once the listener is closed), and still lets in
/// whose handshake is under way. A listener that is emptied first and closed then resets who came between the two.
pub fn let_nobody_in(listener: &TcpListener) -> io::Result<()> {
    let op = |code: u32, jt, jf, k| SockFilter::new(code as u16, jt, jf, k);
    // The 14th octet of a TCP header holds the flags; only a first segment has SYN without ACK.
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    SockRef::from(listener).attach_filter(&[
        op(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, FLAGS),
        op(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, SYN | ACK),
        op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, SYN),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
    ])
}

/// Whether the address could be bound, by nobody else.
pub fn probe(address: SocketAddr, families: Families) -> io::Result<()> {
    let socket = socket(address, families)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1)
}

fn socket(address: SocketAddr, families: Families) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        // Said in any case: what an address means does not depend on sysctl.
        let both = families == Families::Both && address.ip().is_unspecified();
        socket.set_only_v6(!both)?;
    }
    Ok(socket)
}

fn bind_one(address: SocketAddr, families: Families) -> io::Result<TcpListener> {
    let socket = socket(address, families)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Whether this host has the address: only then can a socket be bound to it. When in doubt, yes.
pub(super) fn is_local(ip: IpAddr) -> bool {
    match UdpSocket::bind((ip, 0)) {
        Ok(_) => true,
        Err(error) => error.kind() != io::ErrorKind::AddrNotAvailable,
    }
}

/// Settings of a connected socket. A socket that refuses one works without it.
pub fn tune(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_notsent_lowat(NOTSENT_LOWAT);
    half_open::ask_when_silent(stream);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn loopback() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    fn address(listeners: &[TcpListener]) -> SocketAddr {
        listeners[0].local_addr().expect("it is bound")
    }

    #[test]
    fn all_shards_share_one_port() {
        let listeners = bind(loopback(), Families::Both, 3).expect("a free port");
        assert_eq!(listeners.len(), 3);
        for listener in &listeners {
            assert_eq!(
                listener.local_addr().expect("it is bound"),
                address(&listeners)
            );
        }
    }

    #[test]
    fn a_second_relay_is_refused_although_it_could_join() {
        let listeners = bind(loopback(), Families::Both, 2).expect("a free port");
        let problem = bind(address(&listeners), Families::Both, 1).expect_err("it is taken");
        assert_eq!(problem.error.kind(), io::ErrorKind::AddrInUse);
        assert!(
            problem
                .to_string()
                .contains(&address(&listeners).to_string())
        );
        assert!(probe(address(&listeners), Families::Both).is_err());
    }

    #[test]
    fn an_address_can_be_taken_again_after_its_connections_ended() {
        let listeners = bind(loopback(), Families::Both, 1).expect("a free port");
        let address = address(&listeners);
        let client = TcpStream::connect(address).expect("it listens");
        listeners[0].set_nonblocking(false).expect("a socket");
        let (server, _) = listeners[0].accept().expect("it connected");
        // The side that closes first stays in TIME_WAIT.
        drop(server);
        drop(client);
        drop(listeners);
        bind(address, Families::Both, 2).expect("it is free again");
    }

    #[test]
    fn a_foreign_address_is_told_from_our_own() {
        // A documentation address: nobody has it, nothing is sent to it.
        let foreign = SocketAddr::from(([192, 0, 2, 1], 2855));
        let problem = bind(foreign, Families::Both, 1).expect_err("it is not ours");
        assert!(problem.to_string().contains("no interface"));
        assert!(!is_local(foreign.ip()));
        assert!(is_local(loopback().ip()));
    }

    #[test]
    fn who_comes_last_waits_and_who_is_in_stays() {
        let listeners = bind(loopback(), Families::Both, 1).expect("a free port");
        let address = address(&listeners);
        let in_time = TcpStream::connect(address).expect("it listens");
        let_nobody_in(&listeners[0]).expect("a filter");
        let brief = Duration::from_millis(300);
        let late = TcpStream::connect_timeout(&address, brief).expect_err("nobody is let in");
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        // Octets of who is in still come through.
        use std::io::{Read, Write};
        (&in_time).write_all(b"here").expect("connected");
        let (mut accepted, _) = listeners[0].accept().expect("it waits");
        accepted.set_nonblocking(false).expect("a socket");
        let mut octets = [0; 4];
        accepted.read_exact(&mut octets).expect("its octets");
        assert_eq!(&octets, b"here");
    }

    #[test]
    fn the_unspecified_ipv6_address_takes_ipv4_unless_it_is_to_have_ipv6_only() {
        let any = SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 0));
        for (families, reached) in [(Families::Both, true), (Families::Ipv6, false)] {
            let listeners = bind(any, families, 2).expect("a free port");
            let port = address(&listeners).port();
            let by_ipv4 = SocketAddr::from(([127, 0, 0, 1], port));
            assert_eq!(TcpStream::connect(by_ipv4).is_ok(), reached);
            let by_ipv6 = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port));
            TcpStream::connect(by_ipv6).expect("it listens");
            // Who has IPv4 at the same port is in the way of both, and of IPv6 alone not.
            drop(listeners);
            let _ipv4 = TcpListener::bind(by_ipv4).expect("it is free");
            assert_eq!(
                probe(SocketAddr::new(any.ip(), port), families).is_err(),
                reached
            );
        }
    }

    #[test]
    fn connections_are_tuned() {
        let listeners = bind(loopback(), Families::Both, 1).expect("a free port");
        let client = TcpStream::connect(address(&listeners)).expect("it listens");
        tune(&client);
        let socket = SockRef::from(&client);
        assert!(socket.tcp_nodelay().expect("an option"));
        assert!(socket.keepalive().expect("an option"));
        assert_eq!(
            socket.tcp_notsent_lowat().expect("an option"),
            NOTSENT_LOWAT
        );
    }
}
