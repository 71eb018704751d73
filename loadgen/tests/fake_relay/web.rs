//! The fake relay's WebSocket: `tungstenite`, which shares no code with msrpload.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::thread;
use std::time::Duration;

use msrpload::codec::Message as Msrp;
use tungstenite::handshake::HandshakeError;
use tungstenite::handshake::server::{Request, Response};
use tungstenite::{Error, Message, WebSocket};

use super::{State, Stream};

#[derive(Default)]
pub struct Seen {
    pub connections: AtomicU64,
    /// AUTHs that name the relay by `;ws`.
    pub auths: AtomicU64,
    pub texts: AtomicU64,
    pub binaries: AtomicU64,
    pub pongs: AtomicU64,
    pub closes: AtomicU64,
}

impl State {
    pub(super) fn serve_web(
        self: &Arc<Self>,
        relay: usize,
        stream: Box<dyn Stream>,
        sender: Sender<Vec<u8>>,
        receiver: &Receiver<Vec<u8>>,
    ) {
        let key = self.next_key.fetch_add(1, Ordering::Relaxed);
        let Some(mut web) = upgrade(stream) else {
            return;
        };
        self.web.connections.fetch_add(1, Ordering::Relaxed);
        web.write(Message::Ping((&b"are you there"[..]).into()))
            .unwrap();
        while !self.gone.load(Ordering::Relaxed) {
            match web.read() {
                Ok(message) => {
                    let counter = match message {
                        Message::Text(_) => &self.web.texts,
                        Message::Binary(_) => &self.web.binaries,
                        Message::Pong(ref payload) => {
                            assert_eq!(&payload[..], b"are you there");
                            &self.web.pongs
                        }
                        Message::Close(_) => &self.web.closes,
                        _ => panic!("{message:?}"),
                    };
                    counter.fetch_add(1, Ordering::Relaxed);
                    if matches!(message, Message::Text(_) | Message::Binary(_)) {
                        let octets = message.into_data();
                        let message = Msrp::parse(&octets).expect("one message in each");
                        let by_ws = message.to_path[0].ends_with(";ws");
                        if message.method() == Some("AUTH") && by_ws {
                            self.web.auths.fetch_add(1, Ordering::Relaxed);
                        }
                        self.handle(relay, key, &sender, message);
                    }
                }
                Err(Error::Io(e))
                    if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => return,
            }
            while let Ok(octets) = receiver.try_recv() {
                let message = match String::from_utf8(octets) {
                    Ok(text) => Message::Text(text.into()),
                    Err(octets) => Message::Binary(octets.into_bytes().into()),
                };
                if web.write(message).is_err_and(|e| !is_blocked(&e)) {
                    return;
                }
            }
            while let Err(error) = web.flush() {
                if !is_blocked(&error) {
                    return;
                }
            }
        }
    }
}

fn is_blocked(error: &Error) -> bool {
    match error {
        Error::Io(e) => matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        _ => false,
    }
}

#[allow(clippy::result_large_err, reason = "as tungstenite wants it")]
fn upgrade(stream: Box<dyn Stream>) -> Option<WebSocket<Box<dyn Stream>>> {
    let choose = |request: &Request, mut response: Response| {
        assert_eq!(request.headers()["Sec-WebSocket-Protocol"], "msrp");
        let chosen = "msrp".parse().unwrap();
        response
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", chosen);
        Ok(response)
    };
    let mut handshake = tungstenite::accept_hdr(stream, choose);
    loop {
        match handshake {
            Ok(web) => return Some(web),
            Err(HandshakeError::Interrupted(more)) => {
                thread::sleep(Duration::from_micros(300));
                handshake = more.handshake();
            }
            Err(HandshakeError::Failure(_)) => return None,
        }
    }
}
