//! Sums of what became of messages.

use serde::{Deserialize, Serialize};

/// Sums that a run prints. All count messages unless the name says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    pub sent: u64,
    /// Every chunk of it has its 200.
    pub acknowledged: u64,
    pub delivered: u64,
    /// Not delivered, and a response or REPORT said so.
    pub reported: u64,
    /// Not delivered, and nobody said so. Known at the end only.
    pub lost: u64,
    /// Delivered or reported, but a 200 that was due never came. Known at the end only.
    pub unanswered: u64,
    /// Octets of bodies that arrived and were right.
    pub octets_delivered: u64,
    pub wrong: Wrong,
    /// Delivered, and a success report that was asked for never came. Known at the end only.
    pub unconfirmed: u64,
    /// Messages that were complete only after a later one. No fault, but worth knowing.
    pub overtaken: u64,
    /// Delivered whole, and a REPORT said that they had failed. A relay whose next hop does not answer has to say so.
    pub reported_although_delivered: u64,
}

/// What must never happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wrong {
    /// Pieces of bodies whose octets were not those that were sent.
    pub octets: u64,
    /// Octets that arrived more than once.
    pub doubled_octets: u64,
    /// Octets outside the message, or messages that were never sent.
    pub unknown: u64,
    /// Byte-Range or flag that contradict what came.
    pub ranges: u64,
    /// Pieces of one message that came before an earlier piece.
    pub order: u64,
    /// Paths or headers that are not what must arrive.
    pub headers: u64,
    /// Answers and REPORTs that were not due, or came twice.
    pub answers: u64,
    /// Messages delivered whole although the answer was an error.
    pub refused_although_delivered: u64,
}

impl Wrong {
    pub fn total(&self) -> u64 {
        self.octets
            + self.doubled_octets
            + self.unknown
            + self.ranges
            + self.order
            + self.headers
            + self.answers
            + self.refused_although_delivered
    }

    pub fn add(&mut self, other: &Self) {
        self.octets += other.octets;
        self.doubled_octets += other.doubled_octets;
        self.unknown += other.unknown;
        self.ranges += other.ranges;
        self.order += other.order;
        self.headers += other.headers;
        self.answers += other.answers;
        self.refused_although_delivered += other.refused_although_delivered;
    }
}

impl Counts {
    pub fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        self.delivered += other.delivered;
        self.reported += other.reported;
        self.lost += other.lost;
        self.unanswered += other.unanswered;
        self.octets_delivered += other.octets_delivered;
        self.unconfirmed += other.unconfirmed;
        self.overtaken += other.overtaken;
        self.reported_although_delivered += other.reported_although_delivered;
        self.wrong.add(&other.wrong);
    }
}
