//! Why a WebSocket connection ends (RFC 6455 §7.4).

/// A status code that we send in a close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum CloseCode {
    /// Everything was done that was to be done.
    Normal = 1000,
    /// The relay is shutting down.
    GoingAway = 1001,
    /// The other side broke RFC 6455, or sent other than one MSRP message in a WebSocket message (RFC 7977 §5.1).
    Protocol = 1002,
    /// A text message is not UTF-8.
    NotUtf8 = 1007,
    /// The other side broke a rule of the relay: failed requests, no success in time.
    Policy = 1008,
    /// A message is larger than `[limits] websocket_message_octets`.
    TooBig = 1009,
}

/// Whether the payload of a close frame is one that may be sent: none, or a code that may stand on the wire and a
/// reason in UTF-8 (RFC 6455 §5.5.1, §7.4).
pub(super) fn is_legal(payload: &[u8]) -> Result<(), CloseCode> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return match payload {
            [] => Ok(()),
            _ => Err(CloseCode::Protocol),
        };
    };
    let legal = matches!(
        u16::from_be_bytes(*code),
        1000..=1003 | 1007..=1014 | 3000..=4999
    );
    if !legal {
        return Err(CloseCode::Protocol);
    }
    match std::str::from_utf8(reason) {
        Ok(_) => Ok(()),
        Err(_) => Err(CloseCode::NotUtf8),
    }
}
