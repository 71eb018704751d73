//! One direction of conversation: a sender, a receiver, and the account of what passed.

use crate::ids::TID_OCTETS;
use crate::ledger::{Ledger, Report};
use crate::pattern::mix;
use crate::plan::Shape;

use super::template::SendTemplate;

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

pub struct Session {
    /// Unique in the run, also over threads.
    pub id: u32,
    pub shape: Shape,
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
    /// Open loop: when the next message is due, in nanoseconds.
    pub next_due: u64,
    sizes: (u64, u64),
    random: u64,
}

impl Session {
    pub fn new(
        id: u32,
        shape: Shape,
        sender: usize,
        receiver: Option<usize>,
        report: Report,
        sizes: (u64, u64),
    ) -> Self {
        Self {
            id,
            shape,
            stage: Stage::Opening,
            sender,
            receiver,
            template: None,
            arriving_from: Vec::new(),
            first_hop: Vec::new(),
            ledger: Ledger::new(report),
            outgoing: None,
            next_due: 0,
            sizes,
            random: u64::from(id),
        }
    }

    /// Sets what depends on the Use-Paths. `to_path` is the sender's full To-Path.
    pub fn address(&mut self, to_path: &[&str], from: &str, report: Report, success_report: bool) {
        self.template = Some(SendTemplate::new(
            &to_path.join(" "),
            from,
            report,
            success_report,
        ));
        self.arriving_from = passed(to_path, from).into_bytes();
        self.first_hop = to_path[0].as_bytes().to_vec();
    }

    /// The size of the next message.
    pub fn draw_size(&mut self) -> u64 {
        let (low, high) = self.sizes;
        if low == high {
            return low;
        }
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        low + mix(self.random) % (high - low + 1)
    }

    pub fn is_ready(&self) -> bool {
        self.stage == Stage::Ready
    }
}

/// From-Path at the far end: each relay has moved its URI to the front (RFC 4976 §6.4.1).
pub fn passed(to_path: &[&str], from: &str) -> String {
    let mut uris: Vec<&str> = to_path[..to_path.len() - 1].iter().rev().copied().collect();
    uris.push(from);
    uris.join(" ")
}
