//! `[limits]`: every bound, its default, and the sentence that says why it is there.

use std::time::Duration;

use super::visit::Visitor;

/// `[limits]`
#[derive(Clone, Debug)]
pub struct Limits {
    pub connections: u32,
    pub chain_certificates: usize,
    pub chain_octets: usize,
    pub unauthenticated: usize,
    pub probation: Duration,
    pub auth_failures: u32,
    pub auth_failures_per_prefix: u32,
    pub auth_failures_per_user_and_prefix: u32,
    pub auth_failures_per_user: u32,
    pub auth_failures_window: Duration,
    pub auth_failures_remembered: usize,
    pub notices_remembered: usize,
    pub probation_failures: u32,
    pub sessions_per_connection: usize,
    pub routes_per_connection: usize,
    pub queued_octets_per_session: usize,
    pub queued_octets_shared: usize,
    pub queued_octets_total: usize,
    pub queued_octets_per_connection: usize,
    pub remembered_octets_total: usize,
    pub remembered_octets_per_connection: usize,
    pub link_piece_octets: usize,
    pub link_unanswered_octets: usize,
    pub link_octets_per_second: u64,
    pub control_octets: usize,
    pub shared_pause: Duration,
    pub stall_timeout: Duration,
    pub transactions_per_session: usize,
    pub websocket_chunk_octets: usize,
    pub websocket_message_octets: u64,
    pub websocket_ping: Duration,
    pub head_octets: usize,
    pub header_lines: usize,
    pub uris_per_path: usize,
    pub head_timeout: Duration,
    pub body_timeout: Duration,
    pub nonces: usize,
    pub look_ups: usize,
    pub look_ups_per_connection: usize,
    pub uris_per_connection: usize,
    pub claims_per_session: usize,
    pub dials: usize,
    pub dials_reserved: usize,
    pub dials_per_user: usize,
    pub dials_per_session: usize,
    pub dialled_per_user: usize,
    pub dials_waiting: usize,
    pub dials_waiting_per_user: usize,
    pub dial_wait: Duration,
    pub dialling_routes: usize,
    pub dialling_octets: usize,
    pub back_offs: usize,
    pub gone_links: usize,
    pub records_waiting: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 0,
            chain_certificates: 6,
            chain_octets: 16_384,
            unauthenticated: 4096,
            probation: Duration::from_secs(30),
            auth_failures: 3,
            auth_failures_per_prefix: 300,
            auth_failures_per_user_and_prefix: 60,
            auth_failures_per_user: 300,
            auth_failures_window: Duration::from_secs(600),
            auth_failures_remembered: 65_536,
            notices_remembered: 1024,
            probation_failures: 3,
            sessions_per_connection: 131_072,
            routes_per_connection: 16_384,
            queued_octets_per_session: 65_536,
            queued_octets_shared: 1_048_576,
            queued_octets_total: 1_073_741_824,
            queued_octets_per_connection: 4_194_304,
            remembered_octets_total: 2_147_483_648,
            remembered_octets_per_connection: 16_777_216,
            link_piece_octets: 262_144,
            link_unanswered_octets: 1_048_576,
            link_octets_per_second: 67_108_864,
            control_octets: 1_048_576,
            shared_pause: Duration::from_millis(250),
            stall_timeout: Duration::from_secs(30),
            transactions_per_session: 16_384,
            websocket_chunk_octets: 65_536,
            websocket_message_octets: 1 << 40,
            websocket_ping: Duration::from_secs(30),
            head_octets: 32_768,
            header_lines: 128,
            uris_per_path: 32,
            head_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(300),
            nonces: 1_048_576,
            look_ups: 1024,
            look_ups_per_connection: 4,
            uris_per_connection: 1024,
            claims_per_session: 256,
            dials: 256,
            dials_reserved: 64,
            dials_per_user: 64,
            dials_per_session: 32,
            dialled_per_user: 2048,
            dials_waiting: 8192,
            dials_waiting_per_user: 1024,
            dial_wait: Duration::from_secs(10),
            dialling_routes: 4096,
            dialling_octets: 16_777_216,
            back_offs: 4096,
            gone_links: 1024,
            records_waiting: 65_536,
        }
    }
}

impl Limits {
    pub(super) fn visit<V: Visitor>(&mut self, v: &mut V) {
        let second = Duration::from_secs(1);
        let mebi = 1_048_576;
        v.bounded(
            "connections",
            "connections in all; 0 is the hard limit of file descriptors less 256; a number that does not fit ends start-up",
            &mut self.connections,
            0..=100_000_000,
        );
        v.bounded(
            "chain_certificates",
            "certificates in what the other side of a TLS handshake shows; a longer chain proves nothing and is not looked at",
            &mut self.chain_certificates,
            1..=16,
        );
        v.bounded(
            "chain_octets",
            "octets of all of them; it bounds every message of a handshake, which strangers may begin",
            &mut self.chain_octets,
            4096..=49_152,
        );
        v.bounded(
            "unauthenticated",
            "connections without a first success; beyond it the oldest goes, so that strangers cannot take all",
            &mut self.unauthenticated,
            1..=10_000_000,
        );
        v.bounded(
            "probation",
            "from the TCP accept to the first success (RFC 4976, 6.1)",
            &mut self.probation,
            second..=second * 600,
        );
        v.bounded(
            "auth_failures",
            "failed AUTHs before a client's connection is closed; guessing passwords must cost a handshake",
            &mut self.auth_failures,
            1..=1000,
        );
        v.bounded(
            "auth_failures_per_prefix",
            "failed AUTHs of one source prefix, whatever the user, in a window; beyond it AUTHs from there get 408 until some have drained; 0: no bound",
            &mut self.auth_failures_per_prefix,
            0..=1_000_000,
        );
        v.bounded(
            "auth_failures_per_user_and_prefix",
            "the same of one user from one source prefix, or through one other relay",
            &mut self.auth_failures_per_user_and_prefix,
            0..=1_000_000,
        );
        v.bounded(
            "auth_failures_per_user",
            "the same of one user from all sources; beyond it each source that fails for him is stopped at once, and no other one",
            &mut self.auth_failures_per_user,
            0..=1_000_000,
        );
        v.bounded(
            "auth_failures_window",
            "the window of these counts: one that is used up has drained after so long",
            &mut self.auth_failures_window,
            second..=second * 86_400,
        );
        v.bounded(
            "auth_failures_remembered",
            "counts of failed AUTHs that one shard keeps",
            &mut self.auth_failures_remembered,
            1024..=16 * mebi,
        );
        v.bounded(
            "notices_remembered",
            "sources, for each kind of mistake, that one shard remembers to have told in the log, once a minute each; beyond it others go untold; as many ended sessions, to tell why one is refused",
            &mut self.notices_remembered,
            16..=mebi,
        );
        v.bounded(
            "probation_failures",
            "failed requests before a connection without a first success is closed",
            &mut self.probation_failures,
            1..=1000,
        );
        v.bounded(
            "sessions_per_connection",
            "Use-Path URIs that one connection may hold; another relay needs one for each of its clients'",
            &mut self.sessions_per_connection,
            1..=16 * mebi,
        );
        v.bounded(
            "routes_per_connection",
            "next hops that one connection may have in use at once",
            &mut self.routes_per_connection,
            1..=16 * mebi,
        );
        v.bounded(
            "queued_octets_per_session",
            "what one session may hold in memory; beyond it its source is not read",
            &mut self.queued_octets_per_session,
            16_384..=64 * mebi,
        );
        v.bounded(
            "queued_octets_shared",
            "the same where the source carries other sessions too, which must not stop",
            &mut self.queued_octets_shared,
            16_384..=1024 * mebi,
        );
        v.bounded(
            "queued_octets_total",
            "all queued octets together; beyond it every session has its private bound only",
            &mut self.queued_octets_total,
            mebi..=1 << 46,
        );
        v.bounded(
            "queued_octets_per_connection",
            "what all that one connection sends may hold, other relays excepted: a stranger could spell one session in many ways",
            &mut self.queued_octets_per_connection,
            262_144..=1024 * mebi,
        );
        v.bounded(
            "remembered_octets_total",
            "all that other sides make the relay remember: paths, sessions, requests that wait, claims, and what is queued; from three quarters of it on whoever holds more than a fair share (16 KiB at least) gets 413, for an AUTH 403 or 408; the last eighth is for users and relays",
            &mut self.remembered_octets_total,
            64 * mebi..=1024 * 1024 * mebi,
        );
        v.bounded(
            "remembered_octets_per_connection",
            "the same of one connection, other relays excepted, without what is queued",
            &mut self.remembered_octets_per_connection,
            mebi / 4..=1024 * mebi,
        );
        v.bounded(
            "link_piece_octets",
            "a SEND to another relay ends after so many octets, so that answers come while the message flows",
            &mut self.link_piece_octets,
            16_384..=64 * mebi,
        );
        v.bounded(
            "link_unanswered_octets",
            "what one session may have sent to another relay without an answer (Failure-Report yes): a film waits at its source, not in the link before the chats",
            &mut self.link_unanswered_octets,
            65_536..=1024 * mebi,
        );
        v.bounded(
            "link_octets_per_second",
            "what one session may send in a second by a link to another relay that other sessions use: no film takes the cores of both relays",
            &mut self.link_octets_per_second,
            (mebi as u64)..=1 << 40,
        );
        v.bounded(
            "control_octets",
            "responses and REPORTs that wait for one connection; beyond it that connection is not read",
            &mut self.control_octets,
            65_536..=1024 * mebi,
        );
        v.bounded(
            "shared_pause",
            "how long one session may pause a source that others share, in any 10 s; then its message gets 413",
            &mut self.shared_pause,
            Duration::ZERO..=second * 5,
        );
        v.bounded(
            "stall_timeout",
            "output waits and the other side takes no octet, or its host acknowledges none, for so long: the connection is lost",
            &mut self.stall_timeout,
            second..=second * 3600,
        );
        v.bounded(
            "transactions_per_session",
            "chunks of one session that wait for an answer; beyond it a chunk gets 413",
            &mut self.transactions_per_session,
            16..=16 * mebi,
        );
        v.bounded(
            "websocket_chunk_octets",
            "octets of one WebSocket message that the relay sends; a browser holds each as a whole",
            &mut self.websocket_chunk_octets,
            8192..=16 * mebi,
        );
        v.bounded(
            "websocket_message_octets",
            "octets of one WebSocket message that it takes; passed on while it arrives, so that this bounds no memory",
            &mut self.websocket_message_octets,
            4 * mebi as u64..=1 << 62,
        );
        v.bounded(
            "websocket_ping",
            "how often an idle WebSocket client is pinged; two pings without an answer end its connection",
            &mut self.websocket_ping,
            second..=second * 3600,
        );
        v.bounded(
            "head_octets",
            "start line and headers of one message, as it comes in and as it would leave; a verified relay may send 4096 more",
            &mut self.head_octets,
            16_384..=44 * 1024,
        );
        v.bounded(
            "header_lines",
            "header lines of one message",
            &mut self.header_lines,
            64..=65_536,
        );
        v.bounded(
            "uris_per_path",
            "URIs in one To-Path or From-Path",
            &mut self.uris_per_path,
            16..=1024,
        );
        v.bounded(
            "head_timeout",
            "a message that was begun must show its whole head within this; slow senders hold memory",
            &mut self.head_timeout,
            second..=second * 3600,
        );
        v.bounded(
            "body_timeout",
            "a body that was begun must go on within this, unless it is the relay that does not read",
            &mut self.body_timeout,
            second..=second * 86_400,
        );
        v.bounded(
            "nonces",
            "answered challenges that one shard remembers, so that none is answered twice",
            &mut self.nonces,
            1024..=64 * mebi,
        );
        v.bounded(
            "look_ups",
            "users being looked up in a database; beyond it AUTH gets 408",
            &mut self.look_ups,
            1..=mebi,
        );
        v.bounded(
            "look_ups_per_connection",
            "the same of one connection that is no relay's",
            &mut self.look_ups_per_connection,
            1..=mebi,
        );
        v.bounded(
            "uris_per_connection",
            "URIs of foreign clients that one incoming connection is remembered for",
            &mut self.uris_per_connection,
            1..=mebi,
        );
        v.bounded(
            "claims_per_session",
            "URIs of foreign clients that are remembered for one Use-Path URI they have written to",
            &mut self.claims_per_session,
            1..=mebi,
        );
        v.bounded(
            "dials",
            "connections being opened at the same time; those that exceed it wait for their turn, user by user",
            &mut self.dials,
            2..=65_536,
        );
        v.bounded(
            "dials_reserved",
            "those of them that only next hops get that were reached before",
            &mut self.dials_reserved,
            0..=65_536,
        );
        v.bounded(
            "dials_per_user",
            "those of one user: whoever names hosts that do not answer waits for himself alone",
            &mut self.dials_per_user,
            1..=65_536,
        );
        v.bounded(
            "dials_per_session",
            "those of one session",
            &mut self.dials_per_session,
            1..=65_536,
        );
        v.bounded(
            "dialled_per_user",
            "connections to last hops that one user had dialled and that are up, with those to come; beyond it requests that need another get 408",
            &mut self.dialled_per_user,
            1..=1_048_576,
        );
        v.bounded(
            "dials_waiting",
            "connections that wait to be opened; beyond it the user with the most loses the youngest, and what waited for it gets 408",
            &mut self.dials_waiting,
            1..=mebi,
        );
        v.bounded(
            "dials_waiting_per_user",
            "those of one user; beyond it requests that need another get 408",
            &mut self.dials_waiting_per_user,
            1..=mebi,
        );
        v.bounded(
            "dial_wait",
            "how long a connection waits to be opened; then what waited for it gets 408",
            &mut self.dial_wait,
            second..=second * 25,
        );
        v.bounded(
            "dialling_routes",
            "paths that may wait for one connection while it is being opened; beyond it their messages get 413",
            &mut self.dialling_routes,
            1..=mebi,
        );
        v.bounded(
            "dialling_octets",
            "octets waiting for one connection while it is being opened; beyond it new chunks get 413",
            &mut self.dialling_octets,
            65_536..=1024 * mebi,
        );
        v.bounded(
            "back_offs",
            "next hops that one shard remembers as not reached just now, so that they are not dialled for each request",
            &mut self.back_offs,
            1..=mebi,
        );
        v.bounded(
            "gone_links",
            "lost connections of other relays that one shard remembers; REPORTs still due to them take another one",
            &mut self.gone_links,
            1..=mebi,
        );
        v.bounded(
            "records_waiting",
            "records of sessions that wait to be written; beyond it they are lost and counted, for no shard waits for a disk",
            &mut self.records_waiting,
            1..=16 * mebi,
        );
    }
}
