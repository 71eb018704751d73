//! SENDs built once and patched per chunk.

use std::fmt::Write as _;

use crate::ids::{MESSAGE_ID_OCTETS, TID_OCTETS, decimal};
use crate::ledger::Report;

/// Where the transact-id stands in the start line.
const TID_AT: usize = 5;

/// What the headers behind the Byte-Range say.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub report: Report,
    pub success_report: bool,
    pub content_type: &'a str,
}

/// The head of all SENDs of one session.
pub struct SendTemplate {
    /// Up to `Byte-Range: `, with room for the transact-id and, at the place below, the Message-ID.
    front: Vec<u8>,
    message_id_at: usize,
    /// From behind the Byte-Range to the blank line.
    back: Vec<u8>,
}

impl SendTemplate {
    pub fn new(to_path: &str, from_path: &str, asked: &Asked<'_>) -> Self {
        let mut front = format!("MSRP {} SEND\r\n", "-".repeat(TID_OCTETS)).into_bytes();
        front.extend_from_slice(
            format!("To-Path: {to_path}\r\nFrom-Path: {from_path}\r\nMessage-ID: ").as_bytes(),
        );
        let message_id_at = front.len();
        front.extend_from_slice("-".repeat(MESSAGE_ID_OCTETS).as_bytes());
        front.extend_from_slice(b"\r\nByte-Range: ");
        let mut back = String::new();
        match asked.report {
            // Yes is what an absent header means.
            Report::Yes => {}
            Report::Partial => back += "\r\nFailure-Report: partial",
            Report::No => back += "\r\nFailure-Report: no",
        }
        if asked.success_report {
            back += "\r\nSuccess-Report: yes";
        }
        let _ = write!(back, "\r\nContent-Type: {}\r\n\r\n", asked.content_type);
        Self {
            front,
            message_id_at,
            back: back.into_bytes(),
        }
    }

    /// Appends a head with a body to follow; the range counts from 0, its end is not included. Without an end the chunk
    /// may be interrupted (RFC 4975 §7.1.1).
    pub fn head(
        &self,
        out: &mut Vec<u8>,
        tid: &[u8; TID_OCTETS],
        id: &[u8; MESSAGE_ID_OCTETS],
        range: (u64, Option<u64>),
        total: u64,
    ) {
        self.front(out, tid, id);
        decimal(out, range.0 + 1);
        out.push(b'-');
        match range.1 {
            Some(end) => decimal(out, end),
            None => out.push(b'*'),
        }
        out.push(b'/');
        decimal(out, total);
        out.extend_from_slice(&self.back);
    }

    /// Appends a whole bodiless SEND, as a client's first one (RFC 4975 §5.4).
    pub fn bodiless(
        &self,
        out: &mut Vec<u8>,
        tid: &[u8; TID_OCTETS],
        id: &[u8; MESSAGE_ID_OCTETS],
    ) {
        self.front(out, tid, id);
        out.extend_from_slice(b"1-0/0\r\n-------");
        out.extend_from_slice(tid);
        out.extend_from_slice(b"$\r\n");
    }

    fn front(&self, out: &mut Vec<u8>, tid: &[u8; TID_OCTETS], id: &[u8; MESSAGE_ID_OCTETS]) {
        let at = out.len();
        out.extend_from_slice(&self.front);
        out[at + TID_AT..at + TID_AT + TID_OCTETS].copy_from_slice(tid);
        let id_at = at + self.message_id_at;
        out[id_at..id_at + MESSAGE_ID_OCTETS].copy_from_slice(id);
    }
}

/// Appends the end-line of a chunk with body.
pub fn end_line(out: &mut Vec<u8>, tid: &[u8; TID_OCTETS], flag: u8) {
    out.extend_from_slice(b"\r\n-------");
    out.extend_from_slice(tid);
    out.extend_from_slice(&[flag, b'\r', b'\n']);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids;
    use msrpload::codec::Message;

    #[test]
    fn patched_octets_are_msrp() {
        let to = "msrps://relay.example.com:2855/T;tcp msrps://b.example.com:1/b;tcp";
        let from = "msrps://a.example.com:1/a;tcp";
        let template = SendTemplate::new(
            to,
            from,
            &Asked {
                report: Report::No,
                success_report: true,
                content_type: "text/plain",
            },
        );
        let tid = ids::tid(*b"salt", 7);
        let id = ids::message_id(*b"run", 3, 4);
        let mut out = Vec::new();
        template.head(&mut out, &tid, &id, (10, Some(15)), 20);
        out.extend_from_slice(b"hello");
        end_line(&mut out, &tid, b'+');
        let send = Message::parse(&out).unwrap();
        assert_eq!(
            (send.tid.as_bytes(), send.message_id().unwrap().as_bytes()),
            (&tid[..], &id[..])
        );
        assert_eq!(send.header("Byte-Range"), Some("11-15/20"));
        assert_eq!(
            (send.header("Failure-Report"), send.header("Success-Report")),
            (Some("no"), Some("yes"))
        );
        assert_eq!(send.header("Content-Type"), Some("text/plain"));
        assert_eq!((send.body(), send.flag), (&b"hello"[..], b'+'));
        assert_eq!(send.to_path.join(" "), to);

        out.clear();
        template.bodiless(&mut out, &tid, &id);
        let binding = Message::parse(&out).unwrap();
        assert_eq!((binding.body, binding.headers.len()), (None, 4));
    }
}
