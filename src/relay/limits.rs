//! Every bound of the machine: its default and its reason. The operator's names for them are
//! the keys of `[limits]`.

use std::time::Duration;

/// Handoffs in one batch for another shard, and how many most have.
pub(super) const HANDOFFS_AT_ONCE: usize = 64;
pub(super) const HANDOFFS_EXPECTED: usize = 8;

/// Bounds. `Default` gives the values of the sample configuration.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections without a first success on all shards, an equal share for each. Past it the
    /// oldest goes first (CON-01, CON-05).
    pub unauthenticated: usize,
    /// From the TCP accept to the first success (RFC 4976 §6.1).
    pub probation: Duration,
    /// Failed AUTHs before a client's connection is closed (D-37).
    pub auth_failures: u32,
    /// AUTHs that one source prefix (an IPv4 address, 64 bits of IPv6) may fail in a window,
    /// whatever the user; past it those from there are answered 408 without being judged until
    /// some have drained. 0: no bound. Many users may share an address.
    pub auth_failures_per_prefix: u32,
    /// Those for one user from one source prefix, or through one other relay.
    pub auth_failures_per_user_and_prefix: u32,
    /// Those for one user from all sources. Past it each source that fails for him is stopped at
    /// once; from where he has not failed he gets in, or guessers could lock him out.
    pub auth_failures_per_user: u32,
    /// In which a count of failed AUTHs that is used up drains.
    pub auth_failures_window: Duration,
    /// Counts of failed AUTHs that one shard keeps; past it the oldest is forgotten.
    pub auth_failures_remembered: usize,
    /// Mistakes of sources that one shard remembers to have told, so that each is told once a minute; and sessions that
    /// have ended, so that it can tell why one is refused. Beyond it further sources go untold.
    pub notices_remembered: usize,
    /// Failed requests before a connection on probation is closed (D-37).
    pub probation_failures: u32,
    /// What one session may hold in user space; beyond it its source is not read.
    pub queued_octets_per_session: usize,
    /// The same where the source carries other sessions that must not stop (FWD-16).
    pub queued_octets_shared: usize,
    /// All queued octets of all shards, an equal share for each; beyond it the private bound
    /// holds everywhere.
    pub queued_octets_total: usize,
    /// What all that one connection sends may hold, whatever it is called: a stranger could
    /// spell one session in many ways. A verified relay carries many; the total bounds it.
    pub queued_octets_per_connection: usize,
    /// All that remote sides make all shards remember, an equal share for each: routes, sessions,
    /// requests that wait for answers or to be judged, claims, next hops, and what is queued. From three
    /// quarters of it on whoever holds more than a fair share gets 413, or 403 to an AUTH; the last
    /// quarter is for those who hold less, the last eighth for users and relays among them.
    pub remembered_octets_total: usize,
    /// The same of one connection that is no relay's, without what is queued: four thousand paths in
    /// use, or as many chunks that its other side leaves unanswered three times over.
    pub remembered_octets_per_connection: usize,
    /// How long one session may pause a shared source in any 10 s.
    pub shared_pause: Duration,
    /// Output waits and the kernel takes nothing for so long: the connection is lost (TMR-08).
    pub stall_timeout: Duration,
    /// Open transactions of one session; beyond it a chunk is refused with 413.
    pub transactions_per_session: usize,
    /// A SEND to another relay ends after so many octets, so that it is answered, and counts as
    /// answered, while the message flows.
    pub link_piece_octets: usize,
    /// What one session may have sent to another relay without an answer (Failure-Report
    /// yes): the rest of a film waits at its own source, not in the link before the chats.
    pub link_unanswered_octets: usize,
    /// What a client's session may send in a second by a link to another relay that others use,
    /// beyond a burst of 4 ms. A film that nothing else slows would else keep the cores of
    /// both relays, and the chats on the link waiting for them.
    pub link_octets_per_second: u64,
    /// Responses and REPORTs that wait for one connection; beyond it that connection is not
    /// read, for its own requests make them.
    pub control_octets: usize,
    /// Octets of one WebSocket message that we send: a browser takes each as a whole.
    pub websocket_chunk_octets: usize,
    /// Head of one message, as it comes in and as it would leave (SYN-25). Effective up to 44 KiB.
    pub head_octets: usize,
    /// Header lines of one head (SYN-25).
    pub header_lines: usize,
    /// URIs of one path (SYN-25).
    pub uris_per_path: usize,
    /// Use-Path URIs that one connection may hold. A client needs one for each of its MSRP
    /// sessions, a relay one for each of its clients'.
    pub sessions_per_connection: usize,
    /// Next hops that one connection may have in use.
    pub routes_per_connection: usize,
    /// A message begun must show its whole head within this (SEC-06).
    pub head_timeout: Duration,
    /// A body begun must go on within this, unless it is us who do not read (SEC-06).
    pub body_timeout: Duration,
    /// The hop timer (RFC 4976 §6.4.1). Fixed by the standard; tests in virtual time only.
    pub hop_timeout: Duration,
    /// Body of a request that is not SEND (RFC 4975 §7.1, SYN-17). Fixed by the standard.
    pub non_send_body_octets: usize,
    /// Nonces remembered by one shard (D-18).
    pub nonces: usize,
    /// Users being looked up on all shards, an equal share for each; beyond it AUTH gets 408.
    pub look_ups: usize,
    /// The same of one connection that is no relay's.
    pub look_ups_per_connection: usize,
    /// Next hops that one connection may lead to, and whole URIs that it may claim (D-34).
    pub uris_per_connection: usize,
    /// URIs that peers may claim under one token (D-34).
    pub claims_per_session: usize,
    /// Connections being opened on all shards, an equal share for each; those that exceed it wait
    /// for their turn. Each may last `connect_timeout` and holds a descriptor and questions to
    /// name servers for so long.
    pub dials: usize,
    /// Those of them that only next hops get that were reached before: strangers' names must not
    /// keep the relay from its neighbours.
    pub dials_reserved: usize,
    /// Those of one user: whoever names hosts that do not answer waits for himself alone.
    pub dials_per_user: usize,
    /// Those of one session.
    pub dials_per_session: usize,
    /// Connections to last hops that one user had dialled and that are up, with those to come: others
    /// need places in the table, too.
    pub dialled_per_user: usize,
    /// Dials that wait for their turn; beyond it the user with the most loses his youngest (408).
    pub dials_waiting: usize,
    /// Those of one user; beyond it requests that need another get 408.
    pub dials_waiting_per_user: usize,
    /// How long one waits; then what waited for it fails with 408. Well below the time after
    /// which a client gives up its transaction.
    pub dial_wait: Duration,
    /// Routes that may wait for one connection to be dialled: as many as a burst of clients
    /// opens within `connect_timeout`.
    pub dialling_routes: usize,
    /// Octets that begin no further chunk for a connection that is being dialled.
    pub dialling_octets: usize,
    /// Next hops that one shard remembers as not reached just now.
    pub back_offs: usize,
    /// Connections of other relays that have gone and whose REPORTs may still be due (RPT-11).
    pub gone_links: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
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
            queued_octets_per_session: 65_536,
            queued_octets_shared: 1_048_576,
            queued_octets_total: 1_073_741_824,
            queued_octets_per_connection: 4_194_304,
            remembered_octets_total: 2_147_483_648,
            remembered_octets_per_connection: 16_777_216,
            shared_pause: Duration::from_millis(250),
            stall_timeout: Duration::from_secs(30),
            transactions_per_session: 16_384,
            link_piece_octets: 262_144,
            link_unanswered_octets: 1_048_576,
            link_octets_per_second: 67_108_864,
            control_octets: 1_048_576,
            websocket_chunk_octets: 65_536,
            head_octets: 32_768,
            header_lines: 128,
            uris_per_path: 32,
            sessions_per_connection: 131_072,
            routes_per_connection: 16_384,
            head_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(300),
            hop_timeout: Duration::from_secs(30),
            non_send_body_octets: 10_240,
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
        }
    }
}

/// An answer or a REPORT may be so much longer than the longest request: it has both paths, a code with its comment, a
/// Byte-Range, a challenge.
pub const ANSWER_ROOM_OCTETS: usize = 2048;
/// What a verified relay may send beyond what anybody else may, so that no relay with the same bounds sends what ends a link:
/// the longest answer, and for a relay that counts otherwise as much again.
pub const LINK_ROOM_OCTETS: usize = ANSWER_ROOM_OCTETS + 2048;
/// The same in header lines: Byte-Range, and as much again.
pub const LINK_ROOM_LINES: usize = 1 + 1;
/// The same in URIs: two of one relay in a row (URI-11), and as much again.
pub const LINK_ROOM_URIS: usize = 2 + 2;
/// A comment that a next hop gave is passed on in a REPORT or a response up to this: it is no use to anybody that is longer,
/// and adds to a head that may be as long as can be.
pub const COMMENT_OCTETS_MAX: usize = 512;
/// What a session that was quiet may send at once beyond `link_octets_per_second`: so much time's
/// worth, and so many octets at least, for no burst of chat lines shall rest.
pub const LINK_BURST: Duration = Duration::from_millis(4);
pub const LINK_BURST_OCTETS: u64 = 16_384;
/// A read brings at least a whole TLS record, however little room is left.
pub const READ_OCTETS_MIN: usize = 16_384;
/// A film announces more than this; it may be paused for long, a chat may not.
pub const FILM_OCTETS: u64 = 1_048_576;
/// Octets of heads that one session may repeat in a second because its pieces are shorter than its head: a usual head
/// costs its sender 3 ms then, one of 30 KB a quarter of a second.
pub const REPEATED_HEADS_PER_SECOND: u64 = 131_072;
/// A chunk above this is interruptible (RFC 4975 §5.1), and pieces are not cut below it.
pub const INTERRUPTIBLE_OCTETS: usize = 2048;
/// One flush: large enough to fill TLS records, small enough to let the next one choose.
pub const FLUSH_OCTETS: usize = 65_536;
/// One flush once a second session uses the connection: what a chat line waits behind.
pub const FLUSH_SHARED_OCTETS: usize = 16_384;
/// What a session sends in its turn while others wait.
pub const QUANTUM_OCTETS: usize = 8192;
/// Chunks of one message that are merged while they wait: each is in custody until the piece
/// that holds its last octet is written.
pub const PARTS_MAX: usize = 64;
/// A session counts as alive on its source while it moved an octet within this.
pub const ALIVE: Duration = Duration::from_secs(30);
/// The stretch in which one session may pause a shared source for `shared_pause`.
pub const PAUSE_WINDOW: Duration = Duration::from_secs(10);
/// Pauses of that stretch that a route remembers one by one.
pub const PAUSES_REMEMBERED: usize = 8;
/// How long a transaction's timer may stand still because its answers are not read.
pub const TIMER_STANDSTILL: Duration = Duration::from_secs(30);
/// How often a transaction that stands still is looked at.
pub const STANDSTILL_LOOK: Duration = Duration::from_secs(1);
/// A relay that waits for one of its own receivers to be given up may take nothing for just as
/// long: its link is given up a little later, and a chain of them not at all.
pub const LINK_STALL_GRACE: Duration = Duration::from_millis(500);
/// Relays that one connection's wrong credentials are counted for, one by one.
pub const CHAINS_REMEMBERED: usize = 16;
/// And for how long after the last of them.
pub const CHAINS_MEMORY: Duration = Duration::from_secs(600);
/// Host and session-id of a URI that a peer may claim: real ones are far shorter.
pub const CLAIM_OCTETS_MAX: usize = 512;
/// How long later chunks of a message refused with 413 are refused at once (D-35).
pub const REFUSED_MEMORY: Duration = Duration::from_secs(30);
/// Messages begun that one route remembers: whoever sends more of them at once may see one split
/// over two links.
pub const BEGUN_MESSAGES: usize = 64;
/// Message-IDs refused with 413 that one route remembers.
pub const REFUSED_MESSAGES: usize = 64;
/// Bodies below this are copied out of the record they came in: a queued slice must not
/// keep much more memory alive than it shows.
pub const COPY_BELOW_OCTETS: usize = 4096;
