//! WebSocket as a client of RFC 7977 speaks it (RFC 6455): the request that opens a connection, frames out, frames in.
//!
//! Octets in, octets out: no socket, no TLS, and nothing of MSRP but the name of the subprotocol.

mod frame;
mod incoming;
mod upgrade;

pub use frame::{Opcode, write_frame};
pub use incoming::{Event, Fault, Frames};
pub use upgrade::{Upgrade, UpgradeError};
