//! A name server for the relay: `*.peers.example` is loopback unless a test says otherwise, nothing else exists, and
//! every question is remembered, so that a test can prove that none was put.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex};

pub struct Names {
    pub address: SocketAddr,
    asked: Mutex<Vec<(String, Kind)>>,
    zone: Mutex<HashMap<String, Zone>>,
    silent: Mutex<HashSet<String>>,
}

/// What a name has, and the seconds for which it counts.
struct Zone {
    records: Vec<Record>,
    ttl: u32,
}

/// One record of a name.
#[derive(Clone, Debug)]
pub enum Record {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    /// Priority, weight, port, target.
    Srv(u16, u16, u16, String),
}

/// What a question asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    A,
    Aaaa,
    Srv,
    Other,
}

impl Record {
    fn kind(&self) -> Kind {
        match self {
            Self::A(_) => Kind::A,
            Self::Aaaa(_) => Kind::Aaaa,
            Self::Srv(..) => Kind::Srv,
        }
    }

    fn data(&self) -> Vec<u8> {
        match self {
            Self::A(address) => address.octets().to_vec(),
            Self::Aaaa(address) => address.octets().to_vec(),
            Self::Srv(priority, weight, port, target) => {
                let mut data = [*priority, *weight, *port]
                    .iter()
                    .flat_map(|n| n.to_be_bytes())
                    .collect::<Vec<u8>>();
                for label in target.split('.').filter(|label| !label.is_empty()) {
                    data.push(label.len() as u8);
                    data.extend_from_slice(label.as_bytes());
                }
                data.push(0);
                data
            }
        }
    }
}

/// Unless a test says otherwise.
const TTL: u32 = 60;

impl Names {
    pub fn get() -> &'static Self {
        static NAMES: LazyLock<(Names, UdpSocket)> = LazyLock::new(|| {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a UDP port is free");
            let address = socket.local_addr().expect("a bound socket has an address");
            (
                Names {
                    address,
                    asked: Mutex::default(),
                    zone: Mutex::default(),
                    silent: Mutex::default(),
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

    /// From now on the name has these records and no others.
    pub fn set(&self, name: &str, records: &[Record]) {
        self.set_for(name, records, TTL);
    }

    /// As [`Self::set`], for so many seconds in a cache.
    pub fn set_for(&self, name: &str, records: &[Record], ttl: u32) {
        let records = records.to_vec();
        let mut zone = self.zone.lock().unwrap();
        zone.insert(name.to_ascii_lowercase(), Zone { records, ttl });
    }

    /// From now on questions for this name, and for those below it, are not answered.
    pub fn be_silent_about(&self, name: &str) {
        self.silent
            .lock()
            .unwrap()
            .insert(name.to_ascii_lowercase());
    }

    /// Whether anybody has asked for this name, or for one below it.
    pub fn was_asked(&self, name: &str) -> bool {
        let asked = self.asked.lock().unwrap();
        asked.iter().any(|(asked, _)| is_at_or_below(asked, name))
    }

    /// What was asked about exactly this name, in order.
    pub fn questions(&self, name: &str) -> Vec<Kind> {
        let asked = self.asked.lock().unwrap();
        let of = asked
            .iter()
            .filter(|(asked, _)| asked.eq_ignore_ascii_case(name));
        of.map(|(_, kind)| *kind).collect()
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
        let code = query.get(at..at + 2)?;
        let kind = match code {
            [0, 1] => Kind::A,
            [0, 28] => Kind::Aaaa,
            [0, 33] => Kind::Srv,
            _ => Kind::Other,
        };
        let question = query.get(12..at + 4)?;
        let name = labels.join(".");
        self.asked.lock().unwrap().push((name.clone(), kind));
        let silent = |silent: &String| is_at_or_below(&name, silent);
        if self.silent.lock().unwrap().iter().any(silent) {
            return None;
        }

        let (exists, records, ttl) = self.find(&name, kind);
        let mut answer = Vec::from(&query[..2]);
        // An authoritative answer; the name exists, or does not (NXDOMAIN).
        answer.extend_from_slice(if exists { &[0x85, 0x80] } else { &[0x85, 0x83] });
        answer.extend_from_slice(&[0, 1, 0, records.len() as u8, 0, 0, 0, 0]);
        answer.extend_from_slice(question);
        for record in records {
            let data = record.data();
            answer.extend_from_slice(&[0xC0, 12]);
            answer.extend_from_slice(code);
            answer.extend_from_slice(&[0, 1]);
            answer.extend_from_slice(&ttl.to_be_bytes());
            answer.extend_from_slice(&(data.len() as u16).to_be_bytes());
            answer.extend_from_slice(&data);
        }
        Some(answer)
    }

    /// Whether the name exists, its records of this kind, and for how long they count.
    fn find(&self, name: &str, kind: Kind) -> (bool, Vec<Record>, u32) {
        if let Some(Zone { records, ttl }) = self.zone.lock().unwrap().get(name) {
            let of_kind = records.iter().filter(|record| record.kind() == kind);
            return (true, of_kind.cloned().collect(), *ttl);
        }
        let known = name.ends_with(".peers.example");
        match known && kind == Kind::A {
            true => (true, vec![Record::A(Ipv4Addr::LOCALHOST)], TTL),
            false => (known, Vec::new(), TTL),
        }
    }
}

fn is_at_or_below(name: &str, zone: &str) -> bool {
    let (name, zone) = (name.to_ascii_lowercase(), zone.to_ascii_lowercase());
    name == zone || name.ends_with(&format!(".{zone}"))
}

/// A loopback address that no other test uses: there every port is free.
pub fn own_loopback() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Two suites at a time should not meet.
    static START: LazyLock<u32> = LazyLock::new(|| std::process::id() % 200 * 250);
    let number = *START + NEXT.fetch_add(1, Ordering::Relaxed);
    let [_, b, c, d] = (0x0001_0002 + number).to_be_bytes();
    Ipv4Addr::new(127, b + 1, c, d)
}
