//! One direction of conversation: a sender, a receiver, and the account of what passed.

use crate::arrivals::Places;
use crate::ids::TID_OCTETS;
use crate::ledger::{Ledger, Report};
use crate::pattern::mix;
use crate::plan::{self, Group, Shape, Slot};
use crate::sizes::Sizes;

use super::record::Owner;
use super::template::{Asked, SendTemplate};

/// The number of a session's first, bodiless SEND; no message gets as far.
pub const BINDING: u64 = (1 << 40) - 1;

/// A message whose chunks are going out.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing {
    pub message: u64,
    pub size: u64,
    pub origin: usize,
    /// The next octet to send, from 0.
    pub at: u64,
    /// Where the open chunk ends; equal to `at` between chunks.
    pub chunk_end: u64,
    pub tid: [u8; TID_OCTETS],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its clients are being connected.
    Opening,
    /// The first SEND is under way.
    Binding {
        arrived: bool,
        answered: bool,
    },
    Ready,
    /// One of its connections is gone.
    Broken,
}

/// When the next message may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As long as fewer than this many are unsettled.
    Window(usize),
    /// Whenever one is due.
    Open,
}

/// What a session sends, and how its receiver takes it.
#[derive(Clone, Debug)]
pub struct Flow {
    pub owner: Owner,
    pub pace: Pace,
    pub report: Report,
    pub success_report: bool,
    pub sizes: Sizes,
    pub chunk_octets: u64,
    /// Messages in all, or of a round; `None`: until the end of the run.
    pub messages_max: Option<u64>,
    /// Nanoseconds for which its 200s are held.
    pub hold: Option<(u64, u64)>,
}

impl Flow {
    /// Of a session of this group; `bucket` is where its results go.
    pub fn new(group: &Group, owner: Owner) -> Self {
        let nanos = |d: std::time::Duration| d.as_nanos() as u64;
        Self {
            owner,
            pace: match group.pace {
                plan::Pace::Window(window) => Pace::Window(window),
                plan::Pace::Open(..) => Pace::Open,
            },
            report: group.report,
            success_report: group.success_report,
            sizes: group.sizes.clone(),
            chunk_octets: group.chunk_octets,
            messages_max: group.messages_max,
            hold: group.hold.map(|(low, high)| (nanos(low), nanos(high))),
        }
    }

    /// Its receiver reads nothing.
    pub fn stands_still(&self) -> bool {
        self.owner.role.is_none()
    }
}

pub struct Session {
    /// Unique in the run, also over threads.
    pub id: u32,
    pub slot: Slot,
    pub shape: Shape,
    pub flow: Flow,
    pub stage: Stage,
    pub sender: usize,
    /// `None` as long as the relay has not dialled.
    pub receiver: Option<usize>,
    pub template: Option<SendTemplate>,
    /// From-Path as it must arrive.
    pub arriving_from: Vec<u8>,
    /// The URI that answers the sender.
    pub first_hop: Vec<u8>,
    pub ledger: Ledger,
    pub outgoing: Option<Outgoing>,
    /// The message that is going out has failed: the rest need not follow.
    pub abort: bool,
    /// Messages begun in earlier rounds.
    pub earlier: u64,
    /// When this round was to begin.
    pub round_due: u64,
    /// Open loop: which messages of the group's profile are this session's, and when the next one (or the next round) is due.
    pub places: Places,
    pub next_due: u64,
    /// The engine will look at it when the next one is due.
    pub is_scheduled: bool,
    /// A message was due and its connection took no more.
    pub is_blocked: bool,
    /// Since when its connection takes messages again; what waited before waited for the relay.
    pub free_since: u64,
    /// When it lost a connection.
    pub broken_at: u64,
    random: u64,
}

impl Session {
    pub fn new(id: u32, slot: Slot, flow: Flow, sender: usize, receiver: Option<usize>) -> Self {
        let ledger = Ledger::new(flow.report, flow.success_report);
        Self {
            id,
            slot,
            shape: slot.shape,
            flow,
            stage: Stage::Opening,
            sender,
            receiver,
            template: None,
            arriving_from: Vec::new(),
            first_hop: Vec::new(),
            ledger,
            outgoing: None,
            abort: false,
            earlier: 0,
            round_due: 0,
            places: Places::default(),
            next_due: 0,
            is_scheduled: false,
            is_blocked: false,
            free_since: 0,
            broken_at: 0,
            random: u64::from(id),
        }
    }

    /// Sets what depends on the Use-Paths. `to_path` is the sender's full To-Path.
    pub fn address(&mut self, to_path: &[&str], from: &str, asked: &Asked<'_>) {
        self.template = Some(SendTemplate::new(&to_path.join(" "), from, asked));
        self.arriving_from = match self.shape {
            Shape::Piped => from.as_bytes().to_vec(),
            _ => passed(to_path, from).into_bytes(),
        };
        self.first_hop = to_path[0].as_bytes().to_vec();
    }

    /// The size of the next message.
    pub fn draw_size(&mut self) -> u64 {
        if let Sizes::Fixed(size) = self.flow.sizes {
            return size;
        }
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.flow.sizes.draw(mix(self.random))
    }

    /// As many messages have begun as there may be.
    pub fn has_begun_all(&self) -> bool {
        let begun = self.ledger.begun() - self.earlier;
        self.flow.messages_max.is_some_and(|max| begun >= max)
    }

    pub fn is_ready(&self) -> bool {
        self.stage == Stage::Ready
    }

    /// Its two connections, as far as they are there.
    pub fn ends(&self) -> impl Iterator<Item = usize> + use<> {
        [Some(self.sender), self.receiver].into_iter().flatten()
    }
}

/// From-Path at the far end: each relay has moved its URI to the front (RFC 4976 §6.4.1).
pub fn passed(to_path: &[&str], from: &str) -> String {
    let mut uris: Vec<&str> = to_path[..to_path.len() - 1].iter().rev().copied().collect();
    uris.push(from);
    uris.join(" ")
}
