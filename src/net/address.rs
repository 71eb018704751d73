//! Which addresses may be dialled (SEC-03): looked at right before the connect, after any
//! name was resolved, whatever dress an IPv4 address wears inside IPv6.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use super::listener;

/// What the operator opens, and what is never opened.
#[derive(Clone, Debug, Default)]
pub struct DialPolicy {
    /// Ranges allowed although they are special.
    pub allow: Vec<IpNet>,
    /// Our own listeners and the admin port. An unspecified address stands for all.
    pub own: Vec<SocketAddr>,
}

/// Why an address is not dialled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Denied {
    pub address: SocketAddr,
    pub why: &'static str,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not dialled: {}", self.address, self.why)
    }
}

impl DialPolicy {
    /// Whether this very address may be dialled.
    pub fn permits(&self, address: SocketAddr) -> Result<(), Denied> {
        self.permits_on(address, &listener::is_local)
    }

    /// `is_local`: whether the host has this address, asked only for the port of a listener on
    /// the unspecified one.
    fn permits_on(
        &self,
        address: SocketAddr,
        is_local: &dyn Fn(IpAddr) -> bool,
    ) -> Result<(), Denied> {
        let denied = |why| Err(Denied { address, why });
        let ip = canonical(address.ip());
        let special = special(ip);
        if self
            .own
            .iter()
            .any(|own| is_own(*own, ip, address.port(), is_local))
        {
            return denied("it is one of our own listeners");
        }
        if address.port() == 0 {
            return denied("port 0 leads nowhere");
        }
        // Where an IPv4 address is inside, only a range of IPv4 opens it.
        let opened = self.allow.iter().any(|range| range.contains(&ip));
        match special {
            Some(why) if !opened => denied(why),
            _ => Ok(()),
        }
    }
}

/// A listener on the unspecified address has the port on every local one, and on no other: all
/// relays of a private network use port 2855.
fn is_own(own: SocketAddr, ip: IpAddr, port: u16, is_local: &dyn Fn(IpAddr) -> bool) -> bool {
    own.port() == port
        && (canonical(own.ip()) == ip
            || ip.is_unspecified()
            || (own.ip().is_unspecified() && (ip.is_loopback() || is_local(ip))))
}

/// As everybody else writes it: an IPv4 address that a socket for both families shows in the dress of
/// IPv6 is an IPv4 address, for quotas, records, logs and lists of networks.
pub fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The IPv4 address inside an IPv6 one, in all forms in which a host would unwrap it.
fn canonical(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    embedded(v6).map_or(ip, IpAddr::V4)
}

fn embedded(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = v6.segments();
    let v4 = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    match s {
        // Unspecified and loopback are IPv6's own.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        // Mapped, compatible, translated (SIIT), NAT64 with the well-known prefix.
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0, 0, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x0064, 0xff9b, 0, 0, 0, 0, high, low]
        // 6to4.
        | [0x2002, high, low, ..] => Some(v4(high, low)),
        // Teredo: the client's address, inverted.
        [0x2001, 0, _, _, _, _, high, low] => Some(v4(!high, !low)),
        _ => None,
    }
}

fn special(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(v4) => special_v4(v4),
        IpAddr::V6(v6) => special_v6(v6),
    }
}

fn special_v4(ip: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, _] = ip.octets();
    Some(match (a, b, c) {
        (0, ..) => "it is unspecified",
        (127, ..) => "it is a loopback address",
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => "it is a private address",
        (169, 254, _) => "it is a link-local address",
        (100, 64..=127, _) => "it is a shared address (RFC 6598)",
        (192, 0, 0) | (192, 88, 99) | (198, 18..=19, _) => "it is reserved for special use",
        (192, 0, 2) | (198, 51, 100) | (203, 0, 113) => "it is a documentation address",
        (224..=239, ..) => "it is a multicast address",
        (240..=255, ..) => "it is reserved or a broadcast address",
        _ => return None,
    })
}

fn special_v6(ip: Ipv6Addr) -> Option<&'static str> {
    if ip.is_unspecified() {
        return Some("it is unspecified");
    }
    if ip.is_loopback() {
        return Some("it is a loopback address");
    }
    let s = ip.segments();
    Some(match (s[0], s[1]) {
        (0xff00..=0xffff, _) => "it is a multicast address",
        (0xfe80..=0xfebf, _) => "it is a link-local address",
        (0xfec0..=0xfeff, _) => "it is a site-local address",
        (0xfc00..=0xfdff, _) => "it is a private address",
        // Local-use NAT64 puts the IPv4 address wherever its operator likes.
        (0x0064, 0xff9b) => "it is a translated address",
        (0x2001, 0xdb8) | (0x3fff, 0..=0x0fff) => "it is a documentation address",
        (0x2001, 0x0000..=0x01ff) | (0x0100, 0) | (0x5f00, _) => "it is reserved for special use",
        (0x0000..=0x00ff, _) => "it is reserved for special use",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(policy: &DialPolicy, text: &str) -> bool {
        policy
            .permits(text.parse().expect("a socket address"))
            .is_ok()
    }

    #[test]
    fn sec_03_special_addresses_are_denied_in_every_dress() {
        let policy = DialPolicy::default();
        for address in [
            "127.0.0.1:22",
            "127.255.0.9:1",
            "0.0.0.0:80",
            "10.1.2.3:1",
            "172.16.0.1:1",
            "172.31.255.1:1",
            "192.168.0.1:1",
            "169.254.169.254:80",
            "100.64.0.1:1",
            "192.0.2.1:1",
            "198.51.100.7:1",
            "203.0.113.9:1",
            "198.18.0.1:1",
            "224.0.0.1:1",
            "255.255.255.255:1",
            "240.0.0.1:1",
            "[::]:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
            "[::ffff:10.0.0.1]:1",
            "[::127.0.0.1]:1",
            "[::ffff:0:127.0.0.1]:1",
            "[64:ff9b::7f00:1]:1",
            "[64:ff9b:1::a00:1]:1",
            "[64:ff9b:1:7f00:0:100:808:808]:1",
            "[2002:7f00:1::]:1",
            "[2002:c0a8:1::1]:1",
            "[2001:0:1:2:3:4:80ff:fffe]:1",
            "[fe80::1]:1",
            "[fec0::1]:1",
            "[fd00::1]:1",
            "[ff02::1]:1",
            "[2001:db8::1]:1",
            "[100::1]:1",
            "8.8.8.8:0",
        ] {
            assert!(!permits(&policy, address), "{address}");
        }
        for address in [
            "8.8.8.8:2855",
            "[2606:4700::1]:2855",
            "[::ffff:8.8.8.8]:2855",
            "172.32.0.1:1",
            "100.128.0.1:1",
        ] {
            assert!(permits(&policy, address), "{address}");
        }
    }

    #[test]
    fn sec_03_the_operator_opens_ranges_but_never_our_own_listeners() {
        let policy = DialPolicy {
            allow: vec!["127.0.0.0/8".parse().expect("a range")],
            own: vec![
                "0.0.0.0:2855".parse().expect("an address"),
                "127.0.0.1:9855".parse().expect("an address"),
            ],
        };
        assert!(permits(&policy, "127.0.0.1:7000"));
        assert!(permits(&policy, "[::ffff:127.0.0.1]:7000"));
        assert!(!permits(&policy, "127.0.0.1:2855"));
        assert!(!permits(&policy, "[::ffff:127.0.0.1]:9855"));
        assert!(!permits(&policy, "0.0.0.0:9855"));
        assert!(!permits(&policy, "10.0.0.1:7000"));
        assert!(permits(&policy, "127.0.0.2:9855"));
    }
    #[test]
    fn sec_03_a_listener_on_all_addresses_covers_those_of_this_host_only() {
        let policy = DialPolicy {
            allow: vec!["10.0.0.0/8".parse().expect("a range")],
            own: vec!["0.0.0.0:2855".parse().expect("an address")],
        };
        let host: [IpAddr; 2] = ["10.0.0.5", "8.8.4.4"].map(|ip| ip.parse().expect("an address"));
        let denied = |text: &str| {
            policy
                .permits_on(text.parse().expect("an address"), &|ip| host.contains(&ip))
                .is_err()
        };
        for own in [
            "10.0.0.5:2855",
            "8.8.4.4:2855",
            "[::ffff:8.8.4.4]:2855",
            "[64:ff9b::a00:5]:2855",
        ] {
            assert!(denied(own), "{own}");
        }
        // The next relay of the farm.
        assert!(!denied("10.0.0.6:2855"));
        assert!(!denied("10.0.0.5:2856"));
    }
}
