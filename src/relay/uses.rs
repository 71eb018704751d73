//! What a connection may be used for, by how it came about and what it has proved: the one table
//! that every next hop is held to (CON-06, TLS-07, TLS-12, D-24, D-25, D-34). It is asked when a
//! connection is taken for a request, not only when it is dialled.

use crate::wire::{Authority, Scheme, Uri};

use super::command::Verify;
use super::connection::{Connection, Transport};
use super::settings::Settings;

/// How a connection came about, and what it has proved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// To or from another relay: its certificate verified.
    Relay,
    /// Dialled as a last hop; its certificate verified.
    LastHop,
    /// Dialled as a last hop; nobody looked at its certificate (D-25).
    Unverified,
    /// Dialled as a last hop without TLS (D-24).
    Plain,
    /// It connected in and got a URI of ours by AUTH.
    Client,
    /// It connected in and has proved nothing.
    Stranger,
}

/// What somebody wants a connection for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Use {
    /// A next hop that has to be a relay: an AUTH's, one that is not the last, the relay that
    /// holds a token, the one that a REPORT of ours goes back to.
    Relay,
    /// The last hop of a request other than AUTH.
    LastHop,
    /// The last hop again, for the holder of the token under which the other side claimed the URI.
    Claim,
    /// A session of its own leads there.
    Session,
}

impl Kind {
    /// The table. Names, schemes and the operator's lists come on top.
    pub fn may_serve(self, wanted: Use) -> bool {
        match self {
            Self::Relay => matches!(wanted, Use::Relay | Use::LastHop | Use::Claim),
            // Its handshake was a relay's: the same check, and our certificate was shown.
            Self::LastHop => matches!(wanted, Use::Relay | Use::LastHop),
            Self::Unverified | Self::Plain => wanted == Use::LastHop,
            Self::Client => wanted == Use::Session,
            Self::Stranger => wanted == Use::Claim,
        }
    }
}

impl Connection {
    pub fn kind(&self) -> Kind {
        match self.dialled_for {
            Some(Verify::Relay) => Kind::Relay,
            Some(Verify::LastHop {
                unverified_ok: false,
            }) => Kind::LastHop,
            Some(Verify::LastHop {
                unverified_ok: true,
            }) => Kind::Unverified,
            Some(Verify::Plain) => Kind::Plain,
            None if !self.sessions.is_empty() => Kind::Client,
            None if self.verified.is_some() => Kind::Relay,
            None => Kind::Stranger,
        }
    }

    /// Whether it may be taken for this now: it may have been dialled for something else, and the
    /// operator may have changed his mind since.
    pub fn may_serve(&self, settings: &Settings, wanted: Use, to: &Authority) -> bool {
        let kind = self.kind();
        if !kind.may_serve(wanted) {
            return false;
        }
        match wanted {
            Use::Session => return true,
            Use::Claim => return self.dialled.is_none(),
            Use::Relay | Use::LastHop => {}
        }
        let scheme = match kind {
            Kind::Plain => Scheme::Msrp,
            _ => Scheme::Msrps,
        };
        let leads_there = || self.hops.iter().any(|hop| hop.authority() == to);
        to.scheme == scheme && self.is_allowed(settings, wanted, to) && leads_there()
    }

    /// Whether the operator lets it lead there.
    fn is_allowed(&self, settings: &Settings, wanted: Use, to: &Authority) -> bool {
        match (self.kind(), &self.verified) {
            (Kind::Relay, Some(names)) => settings.lets_in(&to.host.to_string(), names),
            // Until its handshake is done the name that it was dialled by is all there is.
            (Kind::Relay, None) => self.is_dialling() && settings.allows_peer(&to.host.to_string()),
            (Kind::LastHop, Some(names)) => {
                wanted == Use::LastHop || settings.lets_in(&to.host.to_string(), names)
            }
            (Kind::LastHop, None) => wanted == Use::LastHop && self.is_dialling(),
            (Kind::Unverified, _) => settings.last_hop_unverified,
            (Kind::Plain, _) => settings.last_hop_tcp,
            (Kind::Client | Kind::Stranger, _) => false,
        }
    }
}

impl Transport {
    /// Whether requests to this URI travel on such a connection: `msrps` only over TLS, which a `ws` connection had in
    /// front of its terminator.
    pub fn carries(self, uri: &Uri<'_>) -> bool {
        let (scheme, transport): (_, &[u8]) = match self {
            Self::Tls => (Scheme::Msrps, b"tcp"),
            Self::Tcp => (Scheme::Msrp, b"tcp"),
            Self::Wss | Self::Ws => (Scheme::Msrps, b"ws"),
        };
        uri.scheme() == scheme && uri.transport().eq_ignore_ascii_case(transport)
    }
}
