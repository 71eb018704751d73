//! The operator's settings as the rooms want them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::model::{Algorithm, Config, Listen};
use crate::net::address::DialPolicy;
use crate::net::listener::Families;
use crate::net::tls::ChainLimits;
use crate::net::websocket::Origins;
use crate::{auth, relay};

impl Config {
    /// For the machine of each shard. `ports`: those bound and those advertised; `tcp_ports`: the same of plain TCP alone;
    /// `use_path_port`: the one that we are reached at where no listener tells.
    pub fn relay_settings(
        &self,
        ports: Vec<u16>,
        tcp_ports: Vec<u16>,
        use_path_port: u16,
    ) -> relay::Settings {
        let names = |names: &[super::DnsName]| {
            names
                .iter()
                .map(|name| name.as_str().to_owned())
                .collect::<Vec<_>>()
        };
        relay::Settings {
            hosts: self.relay.hosts.iter().map(ToString::to_string).collect(),
            domains: names(&self.relay.domains),
            ports,
            tcp_ports,
            use_path_port,
            block_unknown_methods: self.relay.block_unknown_methods,
            signed_content_only: self.relay.signed_content_only,
            last_hop_tcp: self.dial.last_hop_tcp,
            last_hop_unverified: self.dial.last_hop_unverified,
            peers_allow: names(&self.peers.allow),
            peers_block: names(&self.peers.block),
            expires_min: self.auth.expires_min,
            expires_max: self.auth.expires_max,
            expires_default: self.auth.expires_default,
            idle_timeout: self.dial.idle_timeout,
            links_per_next_hop: self.dial.links_per_next_hop,
            ends_at_once: relay::ENDS_AT_ONCE,
            limits: self.relay_limits(),
            quotas: self.relay_quotas(),
        }
    }

    fn relay_quotas(&self) -> relay::Quotas {
        let quota = |quota: &super::quotas::Quota| relay::Quota {
            sessions: quota.sessions,
            connections: quota.connections,
            auths_per_second: quota.auths_per_second,
            messages_per_second: quota.messages_per_second,
            octets_per_second: quota.octets_per_second,
            message_octets: quota.message_octets,
        };
        relay::Quotas {
            user: quota(&self.quotas.user),
            realm: quota(&self.quotas.realm),
            prefix: quota(&self.quotas.prefix),
            balancer: quota(&self.quotas.balancer),
        }
    }

    fn relay_limits(&self) -> relay::Limits {
        let limits = &self.limits;
        relay::Limits {
            unauthenticated: limits.unauthenticated,
            queued_octets_total: limits.queued_octets_total,
            probation: limits.probation,
            auth_failures: limits.auth_failures,
            auth_failures_per_prefix: limits.auth_failures_per_prefix,
            auth_failures_per_user_and_prefix: limits.auth_failures_per_user_and_prefix,
            auth_failures_per_user: limits.auth_failures_per_user,
            auth_failures_window: limits.auth_failures_window,
            auth_failures_remembered: limits.auth_failures_remembered,
            notices_remembered: limits.notices_remembered,
            probation_failures: limits.probation_failures,
            queued_octets_per_session: limits.queued_octets_per_session,
            queued_octets_shared: limits.queued_octets_shared,
            shared_pause: limits.shared_pause,
            stall_timeout: limits.stall_timeout,
            transactions_per_session: limits.transactions_per_session,
            queued_octets_per_connection: limits.queued_octets_per_connection,
            remembered_octets_total: limits.remembered_octets_total,
            remembered_octets_per_connection: limits.remembered_octets_per_connection,
            link_piece_octets: limits.link_piece_octets,
            link_unanswered_octets: limits.link_unanswered_octets,
            link_octets_per_second: limits.link_octets_per_second,
            control_octets: limits.control_octets,
            websocket_chunk_octets: limits.websocket_chunk_octets,
            head_octets: limits.head_octets,
            header_lines: limits.header_lines,
            uris_per_path: limits.uris_per_path,
            sessions_per_connection: limits.sessions_per_connection,
            routes_per_connection: limits.routes_per_connection,
            head_timeout: limits.head_timeout,
            body_timeout: limits.body_timeout,
            nonces: limits.nonces,
            look_ups: limits.look_ups,
            look_ups_per_connection: limits.look_ups_per_connection,
            uris_per_connection: limits.uris_per_connection,
            claims_per_session: limits.claims_per_session,
            dials: limits.dials,
            dials_reserved: limits.dials_reserved,
            dials_per_user: limits.dials_per_user,
            dials_per_session: limits.dials_per_session,
            dialled_per_user: limits.dialled_per_user,
            dials_waiting: limits.dials_waiting,
            dials_waiting_per_user: limits.dials_waiting_per_user,
            dial_wait: limits.dial_wait,
            dialling_routes: limits.dialling_routes,
            dialling_octets: limits.dialling_octets,
            back_offs: limits.back_offs,
            gone_links: limits.gone_links,
            ..relay::Limits::default()
        }
    }

    /// Who reaches listener `index`. Where another one has the port for IPv4, `[::]` leaves IPv4 to it.
    pub fn families(&self, index: usize) -> Families {
        let listen = &self.listen[index];
        let shared = self
            .listen
            .iter()
            .any(|other| other.address.is_ipv4() && other.address.port() == listen.address.port());
        if listen.ipv6_only || (shared && listen.address.port() != 0) {
            Families::Ipv6
        } else {
            Families::Both
        }
    }

    /// For what the other side shows in TLS handshakes.
    pub fn chain_limits(&self) -> ChainLimits {
        ChainLimits {
            certificates: self.limits.chain_certificates,
            octets: self.limits.chain_octets,
        }
    }

    /// For Digest.
    pub fn auth_settings(&self) -> auth::Settings {
        auth::Settings {
            realm: self
                .auth
                .realm
                .as_ref()
                .map(|realm| realm.as_str().to_owned()),
            realms: self
                .auth
                .realms
                .iter()
                .map(|(name, realm)| (name.as_str().to_owned(), realm.as_str().to_owned()))
                .collect(),
            algorithms: self
                .auth
                .algorithms
                .iter()
                .map(|algorithm| (*algorithm).into())
                .collect(),
            nonce_lifetime: self.auth.nonce_lifetime,
            looks_up: self.auth.postgres.is_used(),
            disabled: self
                .auth
                .disabled
                .iter()
                .map(|user| user.as_str().to_owned())
                .collect(),
        }
    }

    /// For dialling; `own` are the addresses that were bound.
    pub fn dial_policy(&self, own: Vec<SocketAddr>) -> DialPolicy {
        DialPolicy {
            allow: self.dial.allow.clone(),
            own,
        }
    }

    /// Whose web pages may connect, by listener.
    pub fn origins(&self) -> Vec<Arc<Origins>> {
        let texts = |listen: &Listen| {
            let texts = listen
                .origins
                .iter()
                .map(|origin| origin.as_str().to_owned());
            texts.collect::<Vec<_>>()
        };
        let listeners = self.listen.iter();
        listeners
            .map(|listen| Arc::new(Origins::new(&texts(listen))))
            .collect()
    }

    /// Domains and the SRV targets that answer for them under a certificate of their own.
    pub fn srv_targets(&self) -> BTreeMap<String, String> {
        let pins = self.dial.srv_targets.iter();
        pins.map(|(domain, target)| (domain.as_str().to_owned(), target.as_str().to_owned()))
            .collect()
    }

    /// Name servers to ask; empty: the system's.
    pub fn nameservers(&self) -> Vec<SocketAddr> {
        self.dns.nameservers.iter().map(|server| server.0).collect()
    }

    /// Names that the certificate has to cover. Addresses in `relay.hosts` are for URIs that say them, not for TLS.
    pub fn certified_names(&self) -> Vec<String> {
        let names = self.relay.hosts.iter().filter_map(|host| host.name());
        names.map(|name| name.as_str().to_owned()).collect()
    }

    /// How long a drain may take until connections are closed; the rest is for closing them.
    pub fn drain_time(&self) -> Duration {
        self.relay.drain_timeout - Duration::from_millis(200)
    }
}

impl From<Algorithm> for auth::Algorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Md5 => auth::Algorithm::Md5,
            Algorithm::Sha256 => auth::Algorithm::Sha256,
        }
    }
}
