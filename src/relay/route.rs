//! The source's side of a path: what one connection sends under one To-Path, how much of it
//! is outstanding, and when that pauses the connection or refuses a message.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::wire::{ByteRange, FailureReport, Flag, Head, Host, KeptAnswer, Template};

use super::claims::Standing;
use super::keyed_hash::HashKey;
use super::keys::{ConnectionKey, FlowKey, Place, RouteKey, SessionKey, ShardId};
use super::limits::{
    BEGUN_MESSAGES, PAUSE_WINDOW, PAUSES_REMEMBERED, REFUSED_MEMORY, REFUSED_MESSAGES,
};
use super::slots::Slots;
use super::transaction::ForwardedAuth;

/// Where what is sent on a route goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Target {
    /// Somebody is finding out.
    Opening,
    /// A flow of this or another shard.
    Flow { shard: ShardId, flow: FlowKey },
}

/// What a route carries: each kind has routes of its own, for it takes another way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lane {
    /// All but what follows.
    Chats,
    /// Films that go by other links than chats.
    Films,
    /// AUTHs to further relays.
    Auths,
}

/// Why a route holds its connection paused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pause {
    /// Nothing else lives on the connection: until the queue has halved, on a link to a relay for
    /// a third of `stall_timeout` at most.
    Alone { since: Instant },
    /// Others wait too: for `shared_pause` at most.
    Shared { since: Instant },
}

/// A request other than SEND on its way to a flow.
#[derive(Debug)]
pub struct Request {
    pub(super) template: Template,
    pub(super) range: Option<ByteRange>,
    /// Of a REPORT.
    pub(super) status: u16,
    pub(super) body: Option<Bytes>,
    pub(super) return_to: Place,
    pub(super) incoming_transact_id: Box<[u8]>,
    pub(super) incoming_from_path: Box<[u8]>,
    /// The first To-Path URI: who answers if we do.
    pub(super) own_uri: Box<[u8]>,
    pub(super) hops: usize,
    pub(super) kind: RequestKind,
}

/// What a request other than SEND needs.
#[derive(Clone, Debug)]
pub(super) enum RequestKind {
    /// No response, ever (FNS-03).
    Report,
    /// Its response travels back; a failure on the way is told (D-33).
    Auth(ForwardedAuth),
    /// Its response travels back; a failure on the way is silence.
    Other,
}

impl Request {
    pub(super) fn cost(&self) -> usize {
        self.template.len() + self.body.as_ref().map_or(0, Bytes::len) + 64
    }
}

/// What a source sends into a flow, in order.
#[derive(Debug)]
pub enum Down {
    /// A SEND's head; `range` as it came in.
    Begin {
        sequence: u32,
        template: Template,
        range: Option<ByteRange>,
    },
    Body(Bytes),
    /// What is common to the heads of the short chunks that follow.
    Like(Box<Template>),
    /// A short chunk, whole, with such a head.
    Again(ShortChunk),
    /// The end-line came at `received`.
    End {
        flag: Flag,
        received: Instant,
    },
    /// The rest of the chunk will come late, if at all.
    Stall,
    /// The source is paused: nothing of the chunk that is arriving is worth a wait.
    Hurry,
    /// The rest of the chunk will never come (CHK-19).
    Cut,
    /// The source's shard refuses the chunk that is arriving (FWD-16).
    Stop,
    Request(Box<Request>),
    /// A session that it passes has ended: nothing further begins.
    SessionOver,
    /// The source is gone; what is whole is still delivered.
    SourceGone,
}

/// A whole chunk with a head that came before.
#[derive(Debug)]
pub struct ShortChunk {
    pub(super) sequence: u32,
    /// Message-ID, then the body, in which there are no seven hyphens in a row.
    pub(super) octets: Bytes,
    pub(super) message_id_len: usize,
    pub(super) range: Option<ByteRange>,
    pub(super) flag: Flag,
    pub(super) received: Instant,
    /// What it costs besides its body.
    pub(super) head_cost: usize,
}

impl ShortChunk {
    pub(super) fn cost(&self) -> usize {
        self.head_cost + self.octets.len() - self.message_id_len
    }
}

/// A chunk whose verdict is awaited, with what its answer needs.
#[derive(Debug)]
pub(super) struct Unanswered {
    pub sequence: u32,
    pub failure_report: FailureReport,
    pub answer: Answer,
}

/// What the answer to a SEND is made of.
#[derive(Debug)]
pub(super) enum Answer {
    Of(Head),
    /// It would be this one.
    Kept(KeptAnswer),
}

impl Unanswered {
    pub fn message_id(&self) -> &[u8] {
        match &self.answer {
            Answer::Of(head) => head.message_id().unwrap_or_default(),
            Answer::Kept(answer) => answer.message_id(),
        }
    }
}

/// A Message-ID that was refused with 413 (D-35).
#[derive(Debug)]
struct RefusedMessage {
    message_id: u64,
    until: Instant,
}

/// One source, one To-Path.
pub(super) struct Route {
    pub source: ConnectionKey,
    pub to_path: Bytes,
    /// How many URIs of ours a SEND's To-Path begins with, once one has come.
    pub hops: Option<usize>,
    /// The sender's own session, where it is kept here: checked for each request.
    pub session: Option<SessionKey>,
    /// When the token ends, as its shard said.
    pub expires: Option<Instant>,
    pub target: Target,
    /// The verified relay that it was opened for.
    pub relay: Option<Arc<str>>,
    /// By what its source can be reached once the route is open (D-34).
    pub gives: Option<Box<Standing>>,
    /// What it carries.
    pub lane: Lane,
    /// The host of its last hop, where that is reached by what a peer claims (D-34).
    pub claimed: Option<Box<Host>>,
    /// What it was allowed may be allowed no longer: the next request finds its way anew.
    pub doubted: bool,
    /// Its connection fell silent (D-41): once no message is under way the next request finds its way anew.
    pub looks_again: bool,
    /// It is, and its link is the one of the chats.
    pub with_chats: bool,
    /// Its flow waits for chunks that fit into a frame of the transport.
    pub frames: bool,
    /// Octets that came of the chunk that is arriving, and of those before it that ended `+`: its flow may have merged
    /// them. And whether the flow was told not to wait for the rest.
    pub arriving_octets: usize,
    pub hurried: bool,
    /// Messages of which a chunk has gone by it and more is to come, the latest last: by keyed hashes, for a Message-ID may
    /// be as long as a head.
    begun: VecDeque<u64>,
    /// Another route has taken its To-Path: it goes once it is idle.
    pub retired: bool,
    /// What came while the route was opening.
    pub pending: VecDeque<Down>,
    /// Octets of the heads that wait with it for their answers.
    pub kept_heads: usize,
    /// Chunks with their end-line in and no verdict yet; with their end-line not yet in, the
    /// connection holds the head.
    pub unanswered: VecDeque<Unanswered>,
    pub next_sequence: u32,
    /// Cost of what was sent into the flow and has not reached the kernel.
    pub outstanding: usize,
    /// Some of it has, since its source was last asked for more.
    pub credited: bool,
    /// What the head of the chunk that is coming in costs: it may have nothing to send yet, and
    /// must not keep its own source paused.
    pub head_cost: usize,
    pub pause: Option<Pause>,
    /// A shared pause ended without its queue having halved: until it has, what is too much is
    /// refused at once.
    pub stuck: bool,
    /// Is the message that flows a film?
    pub film: bool,
    pub used: Instant,
    /// Pauses of a shared source in the last 10 s: their ends and how long they were.
    pauses: VecDeque<(Instant, Duration)>,
    refused: VecDeque<RefusedMessage>,
}

impl Route {
    pub fn new(now: Instant, source: ConnectionKey, to_path: Bytes) -> Self {
        Self {
            source,
            to_path,
            hops: None,
            session: None,
            expires: None,
            target: Target::Opening,
            relay: None,
            gives: None,
            lane: Lane::Chats,
            claimed: None,
            doubted: false,
            looks_again: false,
            with_chats: false,
            frames: false,
            arriving_octets: 0,
            hurried: false,
            begun: VecDeque::new(),
            retired: false,
            pending: VecDeque::new(),
            kept_heads: 0,
            unanswered: VecDeque::new(),
            next_sequence: 0,
            outstanding: 0,
            credited: false,
            head_cost: 0,
            pause: None,
            stuck: false,
            film: false,
            used: now,
            pauses: VecDeque::new(),
            refused: VecDeque::new(),
        }
    }

    /// The number of the chunk that begins now.
    pub fn next(&mut self, now: Instant) -> u32 {
        self.used = now;
        let sequence = self.next_sequence;
        self.next_sequence = sequence.wrapping_add(1);
        sequence
    }

    /// Nothing is to be considered but its bounds.
    pub fn is_plain(&self) -> bool {
        !self.retired
            && self.lane == Lane::Chats
            && !self.doubted
            && !self.looks_again
            && !self.stuck
            && self.pause.is_none()
            && self.refused.is_empty()
    }

    /// No message is under way: chunks of one keep their order only by one link (CHK-12).
    pub fn is_between_messages(&self) -> bool {
        self.begun.is_empty() && self.head_cost == 0
    }

    /// A chunk of this message has gone by it and was not its last.
    pub fn has_begun(&self, key: &HashKey, message_id: &[u8]) -> bool {
        if self.begun.is_empty() {
            return false;
        }
        self.begun.contains(&key.hash(&[message_id]))
    }

    /// A chunk of this message has gone by it.
    pub fn note_chunk(&mut self, key: &HashKey, message_id: &[u8], flag: Flag) {
        if self.begun.is_empty() && flag != Flag::More {
            return;
        }
        let message_id = key.hash(&[message_id]);
        let known = self.begun.iter().position(|begun| *begun == message_id);
        match (known, flag) {
            (None, Flag::More) => {
                if self.begun.len() >= BEGUN_MESSAGES {
                    self.begun.pop_front();
                }
                self.begun.push_back(message_id);
            }
            (Some(known), Flag::Complete | Flag::Abort) => {
                self.begun.remove(known);
            }
            _ => {}
        }
    }

    /// Nothing is on its way; it may be forgotten.
    pub fn is_idle(&self) -> bool {
        self.outstanding == 0
            && self.pending.is_empty()
            && self.unanswered.is_empty()
            && self.pause.is_none()
    }

    /// Every request that was whole has its verdict.
    pub fn is_settled(&self) -> bool {
        self.target != Target::Opening && self.pending.is_empty() && self.unanswered.is_empty()
    }

    /// What counts against its bound: it leaves as soon as the next hop takes it.
    pub fn queued(&self) -> usize {
        self.outstanding.saturating_sub(self.head_cost)
    }

    /// A chunk has come whole; the next one may be merged with it if it ended `+` (CHK-11).
    pub fn chunk_ended(&mut self, flag: Flag, more: usize) {
        self.arriving_octets = match flag {
            Flag::More => self.arriving_octets + more,
            Flag::Complete | Flag::Abort => 0,
        };
    }

    /// Nothing is outstanding but what may be one with the chunk that is arriving: no credit comes before its flow writes
    /// some of it.
    pub fn holds_arriving_only(&self) -> bool {
        self.queued() <= self.arriving_octets
    }

    /// How long it may still pause a shared source (FWD-16).
    pub fn pause_left(&mut self, now: Instant, allowed: Duration) -> Duration {
        while self
            .pauses
            .front()
            .is_some_and(|(end, _)| *end + PAUSE_WINDOW <= now)
        {
            self.pauses.pop_front();
        }
        allowed.saturating_sub(self.pauses.iter().map(|(_, time)| *time).sum())
    }

    /// Of too many pauses the two oldest count as one, which ended with the later.
    pub fn spend_pause(&mut self, now: Instant, spent: Duration) {
        self.pauses.push_back((now, spent));
        if self.pauses.len() > PAUSES_REMEMBERED
            && let Some((_, oldest)) = self.pauses.pop_front()
            && let Some((_, next)) = self.pauses.front_mut()
        {
            *next += oldest;
        }
    }

    /// Whether it remembers messages that were refused.
    pub fn has_refused(&self) -> bool {
        self.refused.capacity() > 0
    }

    pub fn remember_refused(&mut self, now: Instant, key: &HashKey, message_id: &[u8]) {
        self.forget_refused(now);
        if self.refused.len() >= REFUSED_MESSAGES {
            self.refused.pop_front();
        }
        self.refused.push_back(RefusedMessage {
            message_id: key.hash(&[message_id]),
            until: now + REFUSED_MEMORY,
        });
    }

    pub fn is_refused(&mut self, now: Instant, key: &HashKey, message_id: &[u8]) -> bool {
        self.forget_refused(now);
        if self.refused.is_empty() {
            return false;
        }
        let message_id = key.hash(&[message_id]);
        self.refused
            .iter()
            .any(|refused| refused.message_id == message_id)
    }

    fn forget_refused(&mut self, now: Instant) {
        while self
            .refused
            .front()
            .is_some_and(|refused| refused.until <= now)
        {
            self.refused.pop_front();
        }
    }
}

/// All routes of a shard.
pub(super) type Routes = Slots<RouteKey, Route>;
