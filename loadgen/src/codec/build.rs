//! Making messages: what a client sends, also deliberately wrong ones (nothing is checked here).

use super::message::Message;

/// Puts a message together line by line; [`Builder::encode`] gives its octets.
#[derive(Clone, Debug)]
pub struct Builder {
    start: String,
    tid: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    flag: u8,
}

impl Builder {
    pub fn request(tid: &str, method: &str) -> Self {
        Self::new(tid, format!("MSRP {tid} {method}"))
    }

    pub fn response(tid: &str, code: u16, comment: Option<&str>) -> Self {
        let start = match comment {
            Some(comment) => format!("MSRP {tid} {code:03} {comment}"),
            None => format!("MSRP {tid} {code:03}"),
        };
        Self::new(tid, start)
    }

    /// The response that RFC 4975 §7.2 wants: to a SEND one To-Path URI, the leftmost of the
    /// request's From-Path; to other methods all of it; From-Path the URI that was addressed.
    pub fn response_to(request: &Message, code: u16, comment: Option<&str>) -> Self {
        let to: Vec<&str> = match request.method() {
            Some("SEND") => request
                .from_path
                .iter()
                .take(1)
                .map(String::as_str)
                .collect(),
            _ => request.from_path.iter().map(String::as_str).collect(),
        };
        let from: Vec<&str> = request.to_path.iter().take(1).map(String::as_str).collect();
        Self::response(&request.tid, code, comment)
            .to_path(&to)
            .from_path(&from)
    }

    fn new(tid: &str, start: String) -> Self {
        Self {
            start,
            tid: tid.to_owned(),
            headers: Vec::new(),
            body: None,
            flag: b'$',
        }
    }

    pub fn to_path(self, uris: &[&str]) -> Self {
        let path = uris.join(" ");
        self.header("To-Path", &path)
    }

    pub fn from_path(self, uris: &[&str]) -> Self {
        let path = uris.join(" ");
        self.header("From-Path", &path)
    }

    /// Adds a header line at the end; the names of the paths are nothing special here.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds the header if there is a value.
    pub fn maybe_header(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.header(name, value),
            None => self,
        }
    }

    /// A blank line and these octets. Without a call the message is bodiless.
    pub fn body(mut self, octets: &[u8]) -> Self {
        self.body = Some(octets.to_vec());
        self
    }

    pub fn flag(mut self, flag: u8) -> Self {
        self.flag = flag;
        self
    }

    /// The head alone, with the blank line if there is a body: for tests that stop in mid-chunk.
    pub fn encode_head(&self) -> Vec<u8> {
        let mut out = format!("{}\r\n", self.start).into_bytes();
        for (name, value) in &self.headers {
            out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        if self.body.is_some() {
            out.extend_from_slice(b"\r\n");
        }
        out
    }

    /// The end-line alone, with the CRLF before it if there is a body.
    pub fn encode_end(&self) -> Vec<u8> {
        let before = if self.body.is_some() { "\r\n" } else { "" };
        format!("{before}-------{}{}\r\n", self.tid, char::from(self.flag)).into_bytes()
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.encode_head();
        out.extend_from_slice(self.body.as_deref().unwrap_or_default());
        out.extend_from_slice(&self.encode_end());
        out
    }
}

/// A SEND with one `text/plain` chunk. `range` as in `1-5/5`.
pub fn build_send(
    tid: &str,
    to: &[&str],
    from: &[&str],
    message_id: &str,
    range: &str,
    body: &[u8],
    flag: u8,
) -> Vec<u8> {
    Builder::request(tid, "SEND")
        .to_path(to)
        .from_path(from)
        .header("Message-ID", message_id)
        .header("Byte-Range", range)
        .header("Content-Type", "text/plain")
        .body(body)
        .flag(flag)
        .encode()
}

/// A transact-id that nobody can guess: 20 letters and digits, 100 random bits.
pub fn fresh_tid() -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut random = [0_u8; 20];
    getrandom::fill(&mut random).expect("the kernel has random octets");
    random
        .iter()
        .map(|b| char::from(ALPHABET[usize::from(b % 32)]))
        .collect()
}
