//! A name server for the relay: `*.peers.example` is loopback, nothing else exists, and every name
//! that was asked for is remembered, so that a test can prove that none was.

use std::collections::HashSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{LazyLock, Mutex};

pub struct Names {
    pub address: SocketAddr,
    asked: Mutex<HashSet<String>>,
}

const TYPE_A: u16 = 1;

impl Names {
    pub fn get() -> &'static Self {
        static NAMES: LazyLock<(Names, UdpSocket)> = LazyLock::new(|| {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a UDP port is free");
            let address = socket.local_addr().expect("a bound socket has an address");
            (
                Names {
                    address,
                    asked: Mutex::default(),
                },
                socket,
            )
        });
        static SERVER: LazyLock<()> = LazyLock::new(|| {
            std::thread::spawn(|| {
                let (names, socket) = &*NAMES;
                let mut query = [0; 1500];
                while let Ok((octets, from)) = socket.recv_from(&mut query) {
                    if let Some(answer) = names.answer(&query[..octets]) {
                        let _ = socket.send_to(&answer, from);
                    }
                }
            });
        });
        LazyLock::force(&SERVER);
        &NAMES.0
    }

    /// Whether anybody has asked for this name, or for one below it.
    pub fn was_asked(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        let below = format!(".{name}");
        self.asked
            .lock()
            .unwrap()
            .iter()
            .any(|asked| *asked == name || asked.ends_with(&below))
    }

    /// RFC 1035 §4.1, one question.
    fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        let mut at = 12;
        let mut labels = Vec::new();
        loop {
            let length = usize::from(*query.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_ascii_lowercase());
            at += length;
        }
        let kind = u16::from_be_bytes([*query.get(at)?, *query.get(at + 1)?]);
        let question = query.get(12..at + 4)?;
        let name = labels.join(".");
        let known = name.ends_with(".peers.example");
        self.asked.lock().unwrap().insert(name);

        let address: &[u8] = match known && kind == TYPE_A {
            true => &[0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1],
            false => &[],
        };
        let mut answer = Vec::from(&query[..2]);
        // An authoritative answer; the name exists, or does not (NXDOMAIN).
        answer.extend_from_slice(if known { &[0x85, 0x80] } else { &[0x85, 0x83] });
        answer.extend_from_slice(&[0, 1, 0, u8::from(!address.is_empty()), 0, 0, 0, 0]);
        answer.extend_from_slice(question);
        answer.extend_from_slice(address);
        Some(answer)
    }
}
