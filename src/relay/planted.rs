//! Faults that the simulation must find: its self-test. Each names a mistake that a relay can
//! make; the places where it is made ask [`planted`], which is a constant `false` unless the
//! crate is built with the feature `planted-faults`.

/// A mistake, planted for the thread that runs the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A chunk is held and its 200 never goes out.
    LostVerdict,
    /// The 200 goes out at the head.
    EarlyOk,
    /// A bound is reached and the source is still read.
    UnpausedSource,
    /// The source may be read again and nobody says so.
    LostResume,
    /// A continuation's Byte-Range starts one octet too late.
    OffByOneRange,
    /// What left does not count as gone.
    CreditLost,
    /// One failure, two REPORTs.
    ReportTwice,
    /// The last piece ends `+`.
    WrongFlag,
    /// Whoever knows a token may send onward under it.
    DirectionUnchecked,
    /// The hop timer is half as long.
    ShortTimer,
    /// An answered piece stays in custody.
    CustodyKept,
    /// Two handoffs to one shard change places.
    HandoffReordered,
    /// A piece ends `+` and what was queued behind it is forgotten.
    NoContinuation,
    /// An octet of a body changes.
    OctetFlipped,
    /// A SEND with Failure-Report no is answered.
    ResponseToNo,
    /// A response travels back under the transact-id of the outgoing hop.
    TransactIdKept,
    /// A session is recorded before what it had begun is counted.
    RecordTooSoon,
    /// A message whose head came before leaves with the Message-ID that came with it then.
    MessageIdKept,
    /// A link dies and nobody hears what was on it.
    LinkLossUntold,
    /// A connection has gone and is still taken for the way to its next hop.
    HopKept,
    /// A token that a relay holds serves whoever knows it.
    RelayTokenUnchecked,
    /// A film that waits for answers of the next relay does not go on when they come.
    AnswerUnheeded,
    /// A REPORT that comes by a link goes no further.
    LinkReportDropped,
    /// What a stranger claims serves hops that are not the last, and AUTHs.
    ClaimOnTheWay,
    /// Two messages leave in one WebSocket message.
    FramesJoined,
    /// A piece that is interrupted near its end is written to that end, whatever its frame holds.
    FrameExceeded,
    /// A chunk is waited for whose source is not read.
    FrameWaits,
    /// Where a WebSocket message ends is not looked at.
    FrameEndUnheeded,
}

#[cfg(feature = "planted-faults")]
impl Fault {
    /// Those that show in one relay.
    pub const OF_ONE_RELAY: [Self; 18] = [
        Self::LostVerdict,
        Self::EarlyOk,
        Self::UnpausedSource,
        Self::LostResume,
        Self::OffByOneRange,
        Self::CreditLost,
        Self::ReportTwice,
        Self::WrongFlag,
        Self::DirectionUnchecked,
        Self::ShortTimer,
        Self::CustodyKept,
        Self::HandoffReordered,
        Self::NoContinuation,
        Self::OctetFlipped,
        Self::ResponseToNo,
        Self::TransactIdKept,
        Self::RecordTooSoon,
        Self::MessageIdKept,
    ];

    /// Those that show with WebSocket clients.
    pub const OF_WEBSOCKETS: [Self; 4] = [
        Self::FramesJoined,
        Self::FrameExceeded,
        Self::FrameWaits,
        Self::FrameEndUnheeded,
    ];

    /// Those that show between relays.
    pub const OF_LINKS: [Self; 6] = [
        Self::LinkLossUntold,
        Self::HopKept,
        Self::RelayTokenUnchecked,
        Self::AnswerUnheeded,
        Self::LinkReportDropped,
        Self::ClaimOnTheWay,
    ];
}

#[cfg(feature = "planted-faults")]
mod store {
    use super::Fault;
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
    }

    /// Plants a fault into every machine that this thread runs, or takes it out again.
    pub fn plant(fault: Option<Fault>) {
        PLANTED.set(fault);
    }

    pub(in crate::relay) fn planted(fault: Fault) -> bool {
        PLANTED.get() == Some(fault)
    }
}

#[cfg(feature = "planted-faults")]
pub use store::plant;
#[cfg(feature = "planted-faults")]
pub(super) use store::planted;

#[cfg(not(feature = "planted-faults"))]
pub(super) const fn planted(_: Fault) -> bool {
    false
}
