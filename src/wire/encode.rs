//! Messages and end-lines as they leave: the relay's own responses and REPORTs, and responses passed on.
//!
//! RFC 4975 §7.2, §7.1.2; RFC 4976 §6.4.1, §6.4.3. Every start line and header ends where it should, whatever
//! text a remote side chose (SEC-09). Templates of forwarded requests are in `template.rs`.

use super::{
    byte_range::ByteRange,
    end_line::{Flag, HYPHENS},
    head::Head,
    path::Path,
    start_line::PROTOCOL,
    template::{Template, Writer, copy_headers},
    text::{push_code, push_text},
    transact_id::TransactId,
};

/// Appends an end-line; `after_body` puts the CRLF before it that ends a body.
pub fn encode_end(out: &mut Vec<u8>, tid: &[u8], flag: Flag, after_body: bool) {
    if after_body {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(HYPHENS);
    out.extend_from_slice(tid);
    out.extend_from_slice(&[flag.as_octet(), b'\r', b'\n']);
}

/// Appends a whole response, end-line included (RSP-01..03). `tid` and the paths are text of the request;
/// an empty comment is left out, with its space.
pub fn encode_response(
    out: &mut Vec<u8>,
    tid: &[u8],
    code: u16,
    comment: impl AsRef<[u8]>,
    to_path: &[u8],
    from_path: &[u8],
    headers: &[(&str, &[u8])],
) {
    out.extend_from_slice(PROTOCOL);
    out.extend_from_slice(tid);
    push_code_and_comment(out, code, comment.as_ref());
    push_paths(out, to_path, from_path);
    for (name, value) in headers {
        push_header(out, name, value);
    }
    encode_end(out, tid, Flag::Complete, false);
}

/// A response to requests of one shape (see [`Shape`](super::Shape)), which repeats their Message-ID (RSP-03).
#[derive(Clone, Debug)]
pub struct AnswerAgain {
    /// What stands between the transact-id and the value of Message-ID.
    text: Box<[u8]>,
    /// Where the start line ends in it, without its CRLF.
    start_line_end: usize,
}

impl AnswerAgain {
    /// The paths are text of the requests, as for [`encode_response`].
    pub fn new(code: u16, comment: impl AsRef<[u8]>, to_path: &[u8], from_path: &[u8]) -> Self {
        let mut text = Vec::new();
        push_code_and_comment(&mut text, code, comment.as_ref());
        let start_line_end = text.len();
        push_paths(&mut text, to_path, from_path);
        text.extend_from_slice(b"Message-ID: ");
        Self {
            text: text.into(),
            start_line_end,
        }
    }

    /// Appends the whole response. `tid` and `message_id` are those of a request without fault.
    pub fn encode(&self, out: &mut Vec<u8>, tid: &[u8], message_id: &[u8]) {
        out.reserve(self.text.len() + 2 * tid.len() + message_id.len() + 24);
        out.extend_from_slice(PROTOCOL);
        out.extend_from_slice(tid);
        out.extend_from_slice(&self.text);
        out.extend_from_slice(message_id);
        out.extend_from_slice(b"\r\n-------");
        out.extend_from_slice(tid);
        out.extend_from_slice(b"$\r\n");
    }

    /// The whole response, for later.
    pub fn keep(&self, tid: &[u8], message_id: &[u8]) -> KeptAnswer {
        let mut octets = Vec::new();
        self.encode(&mut octets, tid, message_id);
        let code_at = PROTOCOL.len() + tid.len();
        let message_id_at = code_at + self.text.len();
        KeptAnswer {
            octets: octets.into(),
            code_at,
            start_line_end: code_at + self.start_line_end,
            message_id: (message_id_at, message_id_at + message_id.len()),
        }
    }
}

/// A response that waits until it may go out, or until another one has to.
#[derive(Clone, Debug)]
pub struct KeptAnswer {
    octets: Box<[u8]>,
    /// Where the space before the code stands.
    code_at: usize,
    start_line_end: usize,
    message_id: (usize, usize),
}

impl KeptAnswer {
    /// The whole response.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Message-ID of the request.
    pub fn message_id(&self) -> &[u8] {
        &self.octets[self.message_id.0..self.message_id.1]
    }

    /// Appends the same response with another code and comment.
    pub fn encode_as(&self, out: &mut Vec<u8>, code: u16, comment: impl AsRef<[u8]>) {
        out.extend_from_slice(&self.octets[..self.code_at]);
        push_code_and_comment(out, code, comment.as_ref());
        out.extend_from_slice(&self.octets[self.start_line_end..]);
    }
}

/// Appends a whole REPORT about a failed chunk, end-line included (RPT-07..10): to all of the From-Path that
/// the request came with, from our URI in it. Two own URIs in a row stand as if we had passed the REPORT to ourselves.
pub fn encode_report(
    out: &mut Vec<u8>,
    tid: &TransactId,
    of: &Template,
    range: ByteRange,
    code: u16,
    comment: Option<&[u8]>,
) {
    out.extend_from_slice(PROTOCOL);
    out.extend_from_slice(tid.as_bytes());
    out.extend_from_slice(b" REPORT\r\n");
    push_header(out, "To-Path", of.incoming_from_path());
    out.extend_from_slice(b"From-Path:");
    for uri in Path::new(of.own_uris()).uris().rev() {
        out.push(b' ');
        out.extend_from_slice(uri);
    }
    out.extend_from_slice(b"\r\n");
    push_header(out, "Message-ID", of.message_id());
    out.extend_from_slice(b"Byte-Range: ");
    range.encode(out);
    out.extend_from_slice(b"\r\nStatus: 000 ");
    push_code(out, code);
    push_comment(out, comment.unwrap_or_default());
    out.extend_from_slice(b"\r\n");
    encode_end(out, tid.as_bytes(), Flag::Complete, false);
}

/// The paths of a response on its way back (RSP-05).
#[derive(Clone, Debug)]
pub struct WayBack<'a> {
    /// To whom it goes on.
    pub to_path: Path<'a>,
    /// URIs of ours that it has come by, as they stand at the front of From-Path: the one that it came to first is last.
    pub own: Vec<&'a [u8]>,
    /// From whom it is.
    pub from_path: Path<'a>,
}

impl<'a> WayBack<'a> {
    /// As the response says it: the first `hops` To-Path URIs are ours.
    pub fn of(head: &'a Head, hops: usize) -> Self {
        let (own, to_path) = head.to_path().split(hops);
        Self {
            to_path,
            own: own.uris().rev().collect(),
            from_path: head.from_path(),
        }
    }
}

/// Appends a response on its way back, end-line included: the transact-id is the one of the incoming request, all else but
/// the paths is unchanged. Nothing is appended and `false` is returned where there is nobody left to send it to.
pub fn response_forwarded(
    head: &Head,
    way: &WayBack<'_>,
    incoming_tid: &[u8],
    out: &mut Vec<u8>,
) -> bool {
    if way.to_path.is_empty() {
        return false;
    }
    let mut text = Writer(std::mem::take(out));
    text.push(PROTOCOL);
    text.push(incoming_tid);
    text.push(b" ");
    text.push(head.start_line_rest());
    text.push(b"\r\nTo-Path: ");
    text.push(way.to_path.text());
    text.push(b"\r\nFrom-Path: ");
    for uri in &way.own {
        text.push(uri);
        text.push(b" ");
    }
    text.push(way.from_path.text());
    text.push(b"\r\n");
    copy_headers(head, &mut text, true);
    *out = text.0;
    encode_end(out, incoming_tid, Flag::Complete, false);
    true
}

/// What follows the transact-id in a start line.
fn push_code_and_comment(out: &mut Vec<u8>, code: u16, comment: &[u8]) {
    out.push(b' ');
    push_code(out, code);
    push_comment(out, comment);
}

/// The end of the start line, and the paths.
fn push_paths(out: &mut Vec<u8>, to_path: &[u8], from_path: &[u8]) {
    out.extend_from_slice(b"\r\n");
    push_header(out, "To-Path", to_path);
    push_header(out, "From-Path", from_path);
}

fn push_header(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    push_text(out, value);
    out.extend_from_slice(b"\r\n");
}

fn push_comment(out: &mut Vec<u8>, comment: &[u8]) {
    if !comment.is_empty() {
        out.push(b' ');
        push_text(out, comment);
    }
}
