//! What the operator decides about the machine; shared by all shards.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::auth::Authenticator;
use crate::wire::{Host, Scheme, Uri};

use super::keys::ShardId;
use super::limits::Limits;
use super::quotas::Quotas;

/// Settings of the machine, parsed into what cannot be wrong. Swapped as a whole on reload.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Names of this relay in MSRP URIs; the first goes into Use-Path.
    pub hosts: Vec<String>,
    /// SIP domains served: also accepted in the To-Path of an AUTH (D-03).
    pub domains: Vec<String>,
    /// Ports that may stand in a URI of ours: those we listen on and those advertised.
    pub ports: Vec<u16>,
    /// Those of plain TCP listeners: with scheme `msrp` they stand in another spelling of the URIs that we handed out, for
    /// whoever came in there (D-42).
    pub tcp_ports: Vec<u16>,
    /// Port of Use-Path URIs handed out on connections that we opened: the first TLS listener's,
    /// as advertised.
    pub use_path_port: u16,
    /// Answer unknown methods with 501 instead of forwarding them (FNS-05).
    pub block_unknown_methods: bool,
    /// Refuse bodies other than multipart/signed with 415 (SEC-12).
    pub signed_content_only: bool,
    /// May we open plain TCP to a foreign client that is the last hop (D-24)?
    pub last_hop_tcp: bool,
    /// May a last hop's certificate be one that we cannot verify (D-25)?
    pub last_hop_unverified: bool,
    /// Verified relays that may use us; empty: every one (AUT-24).
    pub peers_allow: Vec<String>,
    /// Verified relays that may not.
    pub peers_block: Vec<String>,
    pub expires_min: u32,
    pub expires_max: u32,
    pub expires_default: u32,
    /// A connection without sessions that was not used for so long is closed (CON-04).
    pub idle_timeout: Duration,
    /// Connections to one other relay; the second is for films only.
    pub links_per_next_hop: u32,
    /// How much one turn ends of what has ended: sessions, chunks, transactions, routes. See
    /// [`ENDS_AT_ONCE`](super::ENDS_AT_ONCE).
    pub ends_at_once: usize,
    pub limits: Limits,
    pub quotas: Quotas,
}

/// How a URI relates to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Naming {
    /// Somebody else, or a port that is not ours (ERR-03).
    Foreign,
    /// Our name and port, but not `msrps` and `tcp`: an unknown token (URI-03, URI-08).
    Misspelt,
    /// A URI of ours.
    Ours,
}

impl Settings {
    /// Whether `uri` is one that we may have handed out: our host, an explicit port of ours
    /// (URI-04 to URI-06, URI-09).
    pub(super) fn naming(&self, uri: &Uri<'_>) -> Naming {
        if !uri.port().is_some_and(|port| self.ports.contains(&port)) || !self.is_host(uri, false) {
            return Naming::Foreign;
        }
        if uri.scheme() != Scheme::Msrps || !uri.transport().eq_ignore_ascii_case(b"tcp") {
            return Naming::Misspelt;
        }
        Naming::Ours
    }

    /// Whether a path leads back to us by these URIs, which stand behind another's (URI-12). No topology needs
    /// that, and each pass would multiply what one request costs.
    pub(super) fn comes_back<'a>(&self, behind: impl IntoIterator<Item = &'a [u8]>) -> bool {
        let mut behind = behind.into_iter().filter_map(|uri| Uri::parse(uri).ok());
        behind.any(|uri| {
            let asks_us = uri.session_id().is_none() && self.serves(&uri, false);
            self.naming(&uri) != Naming::Foreign || asks_us
        })
    }

    /// The same for the first To-Path URI of what came in by a plain TCP listener, which has a spelling of its own (D-42).
    pub(super) fn naming_in_clear(&self, uri: &Uri<'_>) -> Naming {
        match self.naming(uri) {
            Naming::Misspelt if self.is_in_clear(uri) => Naming::Ours,
            naming => naming,
        }
    }

    fn is_in_clear(&self, uri: &Uri<'_>) -> bool {
        uri.scheme() == Scheme::Msrp
            && uri.transport().eq_ignore_ascii_case(b"tcp")
            && uri
                .port()
                .is_some_and(|port| self.tcp_ports.contains(&port))
    }

    /// Whether an AUTH to `uri` on a plain connection means us, by whatever spelling: it is refused as such (AUT-01).
    pub(super) fn serves_in_clear(&self, uri: &Uri<'_>) -> bool {
        self.is_host(uri, true)
    }

    /// Whether an AUTH to `uri` alone is for us: D-03 tolerates served domains, a missing
    /// port, 2855 and the transport `ws`. A WebSocket client may write any port, for behind a proxy it is
    /// never ours, and both schemes (D-26).
    pub(super) fn serves(&self, uri: &Uri<'_>, by_websocket: bool) -> bool {
        let port = uri
            .port()
            .is_none_or(|port| port == 2855 || self.ports.contains(&port));
        let transport = uri.transport();
        (by_websocket || (port && uri.scheme() == Scheme::Msrps))
            && (transport.eq_ignore_ascii_case(b"tcp") || transport.eq_ignore_ascii_case(b"ws"))
            && self.is_host(uri, true)
    }

    /// Whether this host is ours, or a domain that we serve.
    pub(super) fn is_ours(&self, host: &Host) -> bool {
        let mut names = self.hosts.iter().chain(&self.domains);
        names.any(|name| Host::from_text(name).bare() == host.bare())
    }

    /// Whether the operator's lists of relays have this host.
    pub(super) fn lists_peer(&self, host: &Host) -> bool {
        let mut listed = self.peers_allow.iter().chain(&self.peers_block);
        listed.any(|name| Host::from_text(name).bare() == host.bare())
    }

    /// Whether these settings say the same as those about who may be reached by what.
    pub(super) fn trusts_like(&self, other: &Self) -> bool {
        self.hosts == other.hosts
            && self.domains == other.domains
            && self.peers_allow == other.peers_allow
            && self.peers_block == other.peers_block
            && self.last_hop_tcp == other.last_hop_tcp
            && self.last_hop_unverified == other.last_hop_unverified
    }

    fn is_host(&self, uri: &Uri<'_>, domains_too: bool) -> bool {
        let served: &[String] = if domains_too { &self.domains } else { &[] };
        let names = || self.hosts.iter().chain(served);
        let text = uri.host();
        if names().any(|name| name.as_bytes().eq_ignore_ascii_case(text)) {
            return true;
        }
        // Only escapes, IPv6 literals and a dot at the end can spell a name in another way.
        let last_dot = text.last() == Some(&b'.');
        if !last_dot && !text.iter().any(|octet| matches!(octet, b'%' | b':' | b'[')) {
            return false;
        }
        let host = uri.canonical_host().bare();
        names().any(|name| Host::from_text(name).bare() == host)
    }

    /// Whether the operator lets the verified relay `name` use us (AUT-24).
    pub(super) fn allows_peer(&self, name: &str) -> bool {
        let is = |entry: &String| same_name(entry, name);
        !self.blocks(name) && (self.peers_allow.is_empty() || self.peers_allow.iter().any(is))
    }

    fn blocks(&self, name: &str) -> bool {
        self.peers_block.iter().any(|entry| same_name(entry, name))
    }

    /// The same for one that goes by `name` and whose certificate has these: whoever is blocked
    /// by one name does not come in by another.
    pub(super) fn lets_in(&self, name: &str, names: &VerifiedNames) -> bool {
        self.allows_peer(name) && !self.blocks_any(names)
    }

    /// The same for one that has not yet said by which of its names it goes.
    pub(super) fn lets_in_some(&self, names: &VerifiedNames) -> bool {
        let allowed = || self.peers_allow.iter().any(|entry| names.matches(entry));
        !self.blocks_any(names) && (self.peers_allow.is_empty() || allowed())
    }

    /// A certificate that is good for a blocked name is a blocked relay's, or as good as one: also one
    /// with a wildcard that stands for it.
    fn blocks_any(&self, names: &VerifiedNames) -> bool {
        self.peers_block.iter().any(|entry| names.matches(entry))
    }
}

/// What one shard's machine starts with.
pub struct Start {
    pub settings: Arc<Settings>,
    pub auth: Authenticator,
    pub shard: ShardId,
    pub workers: u16,
    /// From the operating system's generator; fixed in tests.
    pub seed: [u8; 32],
    /// The same for all shards: what they agree by it nobody outside can foresee. Fixed in tests.
    pub hash_key: [u8; 16],
    pub now: Instant,
}

/// The dNSNames of a certificate that verified; lower case, `*.` only as whole leftmost label.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VerifiedNames {
    pub names: Vec<String>,
}

impl VerifiedNames {
    /// RFC 6125 §6.4: equal, or a wildcard for exactly one leftmost label (TLS-09).
    pub fn matches(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.');
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            Some(parent) => host
                .split_once('.')
                .is_some_and(|(label, rest)| !label.is_empty() && same_name(rest, parent)),
            None => same_name(name, host),
        })
    }
}

/// A dot at the end of a name adds nothing.
fn same_name(one: &str, other: &str) -> bool {
    let bare = |name: &'_ str| name.trim_end_matches('.').len();
    one[..bare(one)].eq_ignore_ascii_case(&other[..bare(other)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_09_a_wildcard_stands_for_one_label() {
        let names = VerifiedNames {
            names: vec!["*.example.com".into(), "relay.example.org".into()],
        };
        assert!(names.matches("a.example.com"));
        assert!(names.matches("RELAY.example.org"));
        assert!(!names.matches("a.b.example.com"));
        assert!(!names.matches("example.com"));
        assert!(!names.matches(".example.com"));
    }
}
