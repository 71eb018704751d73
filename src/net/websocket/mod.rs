//! WebSocket, server side (RFC 6455), as a pure transformer of octets: the HTTP upgrade, frames in both directions,
//! control frames and the closing handshake. It owns no socket and knows no MSRP beyond the name of the subprotocol
//! (RFC 7977 §4.1): it says where a message ends, and what stands in it is for others.
//!
//! The framing is our own. `tungstenite` owns its stream and collects each message in memory of its own;
//! `websocket-sans-io` has had one release and leaves all validation to its user, so that it would save the reading
//! of a header of 14 octets. The request head of the upgrade is read by `httparse`.

mod close;
mod frame;
mod handshake;
mod mask;
mod session;
#[cfg(test)]
mod tests;
mod utf8;

pub use close::CloseCode;
pub use handshake::{Origins, UpgradeRefused};
pub use session::{Event, Failure, WebSocket, WebSocketLimits};
