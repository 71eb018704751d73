//! How a message ended.

use serde::Serialize;

/// Who told the sender that a message had failed, and with which code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// By the response to a chunk.
    Refused(u16),
    /// By a REPORT.
    Reported(u16),
}

impl Told {
    pub fn code(self) -> u16 {
        match self {
            Self::Refused(code) | Self::Reported(code) => code,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    Delivered,
    /// A 200 or a success report that was due never came.
    DeliveredUnanswered,
    /// The sender was told that it had failed.
    DeliveredThoughFailed,
    Refused,
    Reported,
    Lost,
}

/// A message whose account is ended, for the trace. Times are nanoseconds on the engine's clock.
#[derive(Clone, Copy, Debug)]
pub struct Traced {
    pub message: u64,
    pub size: u64,
    pub due_at: u64,
    pub sent_at: u64,
    pub measured: bool,
    pub arrived_at: Option<u64>,
    pub acknowledged_at: Option<u64>,
    pub confirmed_at: Option<u64>,
    pub fate: Fate,
    pub code: Option<u16>,
}

/// A message that was open when the account was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfinished {
    pub due_at: u64,
    /// Neither did it arrive, nor was its failure told.
    pub lost: bool,
    /// Its last answer did not come.
    pub unanswered: bool,
}
