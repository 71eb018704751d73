//! `[quotas]`: what one user, realm or source prefix may have.

use super::visit::Visitor;

/// `[quotas]`
#[derive(Clone, Debug, Default)]
pub struct Quotas {
    pub user: Quota,
    pub realm: Quota,
    pub prefix: Quota,
    pub balancer: Quota,
}

/// `[quotas.user]` and its like
#[derive(Clone, Debug, Default)]
pub struct Quota {
    pub sessions: u32,
    pub connections: u32,
    pub auths_per_second: u32,
    pub messages_per_second: u32,
    pub octets_per_second: u64,
    pub message_octets: u64,
}

/// The slowest rate of octets: a read brings up to a TLS record of them.
const OCTETS_PER_SECOND_MIN: u64 = 16_384;
const MANY: u32 = 100_000_000;

impl Quotas {
    pub(super) fn visit<V: Visitor>(&mut self, v: &mut V) {
        v.section("user", "Each user of a realm.", |v| self.user.visit(v));
        v.section("realm", "All users of a realm together.", |v| {
            self.realm.visit(v)
        });
        v.section(
            "prefix",
            "Each IPv4 address, or /64 of IPv6; a verified relay's own connections do not count.",
            |v| self.prefix.visit(v),
        );
        v.section(
            "balancer",
            "Each balancer of proxy_protocol_from, for connections whose header names nobody (UNKNOWN, LOCAL): health checks. As prefix.",
            |v| self.balancer.visit(v),
        );
    }
}

impl Quota {
    fn visit<V: Visitor>(&mut self, v: &mut V) {
        v.bounded(
            "sessions",
            "sessions at the same time; past it AUTH is answered 403",
            &mut self.sessions,
            0..=MANY,
        );
        v.bounded(
            "connections",
            "connections at the same time: those that hold a session, of a prefix all that it opens; past it AUTH is answered 403, and what a prefix opens is closed",
            &mut self.connections,
            0..=MANY,
        );
        v.bounded(
            "auths_per_second",
            "AUTHs in a second: those whose digest is right, of a prefix all; what is more waits",
            &mut self.auths_per_second,
            0..=MANY,
        );
        v.bounded(
            "messages_per_second",
            "messages begun and other requests in a second; whoever sends more is read more slowly",
            &mut self.messages_per_second,
            0..=MANY,
        );
        v.bounded(
            "octets_per_second",
            "octets of requests in a second, heads and bodies, 16384 at least; whoever sends more is read more slowly",
            &mut self.octets_per_second,
            0..=1 << 50,
        );
        v.bounded(
            "message_octets",
            "octets of one message; a larger one is refused with 413",
            &mut self.message_octets,
            0..=1 << 62,
        );
    }

    /// Whether octets come more slowly than they are read.
    pub(super) fn is_too_slow(&self) -> bool {
        (1..OCTETS_PER_SECOND_MIN).contains(&self.octets_per_second)
    }
}
