//! Requests by hand, and comparisons of whole messages line by line.

use msrpload::codec::{Message, fresh_tid};

/// A request as the test writes it: nothing is checked, so it may be as wrong as a row wants.
#[derive(Clone, Debug)]
pub struct Draft {
    pub tid: String,
    pub message_id: String,
    method: String,
    to: String,
    from: String,
    lines: Vec<String>,
    range: Option<String>,
    content: Option<(String, Vec<u8>)>,
    flag: char,
}

impl Draft {
    /// A bodiless SEND with a Message-ID; paths are URIs one space apart.
    pub fn send(to: &str, from: &str) -> Self {
        Self {
            message_id: fresh_tid(),
            ..Self::request("SEND", to, from)
        }
    }

    /// Any other request, with nothing but its paths.
    pub fn request(method: &str, to: &str, from: &str) -> Self {
        Self {
            tid: fresh_tid(),
            message_id: String::new(),
            method: method.to_owned(),
            to: to.to_owned(),
            from: from.to_owned(),
            lines: Vec::new(),
            range: None,
            content: None,
            flag: '$',
        }
    }

    pub fn tid(mut self, tid: &str) -> Self {
        tid.clone_into(&mut self.tid);
        self
    }

    pub fn message_id(mut self, id: &str) -> Self {
        id.clone_into(&mut self.message_id);
        self
    }

    /// A header line between Byte-Range and Content-Type.
    pub fn line(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    pub fn lines(mut self, lines: &[&str]) -> Self {
        self.lines.extend(lines.iter().map(|&line| line.to_owned()));
        self
    }

    pub fn failure_report(self, value: &str) -> Self {
        self.line(&format!("Failure-Report: {value}"))
    }

    /// Byte-Range; without a call a body gets `1-n/n`.
    pub fn range(mut self, range: &str) -> Self {
        self.range = Some(range.to_owned());
        self
    }

    /// No Byte-Range, although there is a body.
    pub fn without_range(self) -> Self {
        self.range("")
    }

    pub fn text(self, text: &str) -> Self {
        self.content("text/plain", text.as_bytes())
    }

    pub fn body(self, octets: &[u8]) -> Self {
        self.content("application/octet-stream", octets)
    }

    pub fn content(mut self, kind: &str, octets: &[u8]) -> Self {
        self.content = Some((kind.to_owned(), octets.to_vec()));
        self
    }

    pub fn flag(mut self, flag: char) -> Self {
        self.flag = flag;
        self
    }

    /// Everything before the body, with the blank line if there is a body.
    pub fn head(&self) -> Vec<u8> {
        let mut head = format!(
            "MSRP {} {}\r\nTo-Path: {}\r\nFrom-Path: {}\r\n",
            self.tid, self.method, self.to, self.from
        );
        if !self.message_id.is_empty() {
            head += &format!("Message-ID: {}\r\n", self.message_id);
        }
        let range = match (&self.range, &self.content) {
            (Some(range), _) => range.clone(),
            (None, Some((_, body))) => format!("1-{n}/{n}", n = body.len()),
            (None, None) => String::new(),
        };
        if !range.is_empty() {
            head += &format!("Byte-Range: {range}\r\n");
        }
        for line in &self.lines {
            head += &format!("{line}\r\n");
        }
        if let Some((kind, _)) = &self.content {
            head += &format!("Content-Type: {kind}\r\n\r\n");
        }
        head.into_bytes()
    }

    /// The end-line, with the CRLF before it if there is a body.
    pub fn end(&self) -> Vec<u8> {
        let before = if self.content.is_some() { "\r\n" } else { "" };
        format!("{before}-------{}{}\r\n", self.tid, self.flag).into_bytes()
    }

    pub fn octets(&self) -> Vec<u8> {
        let mut octets = self.head();
        if let Some((_, body)) = &self.content {
            octets.extend_from_slice(body);
        }
        octets.extend_from_slice(&self.end());
        octets
    }
}

/// A response as RFC 4975 §7.2 wants it from the far end: to a SEND one To-Path URI, to other
/// methods all; `status` is the code with its comment.
pub fn response(request: &Message, status: &str) -> Vec<u8> {
    let to = match request.method() {
        Some("SEND") => request.from_path[0].clone(),
        _ => request.from_path.join(" "),
    };
    let mut octets = format!(
        "MSRP {} {status}\r\nTo-Path: {to}\r\nFrom-Path: {}\r\n",
        request.tid, request.to_path[0]
    );
    if let Some(id) = request.message_id() {
        octets += &format!("Message-ID: {id}\r\n");
    }
    octets += &format!("-------{}$\r\n", request.tid);
    octets.into_bytes()
}

/// A REPORT of the far end about a SEND that it got.
pub fn report(about: &Message, status: &str, range: &str) -> Draft {
    let from = about.to_path.join(" ");
    Draft::request("REPORT", &about.from_path.join(" "), &from)
        .message_id(about.message_id().expect("a SEND has a Message-ID"))
        .range(range)
        .line(&format!("Status: {status}"))
}

/// The octets of a message as text, `{tid}` standing for its transact-id.
fn with_tid(message: &Message, text: &str) -> String {
    text.replace("{tid}", &message.tid).replace('\n', "\r\n")
}

/// The message is exactly this; lines end with LF here, `{tid}` is any transact-id.
#[track_caller]
pub fn assert_octets(message: &Message, expected: &str) {
    let expected = with_tid(message, expected);
    let got = String::from_utf8_lossy(&message.raw);
    assert!(
        got == expected,
        "--- expected:\n{expected}\n--- got:\n{got}"
    );
}

/// As [`assert_octets`], but the headers after the two paths may come in any order: for what the
/// relay makes itself (wire-examples *Reading them*).
#[track_caller]
pub fn assert_lines(message: &Message, expected: &str) {
    let expected = with_tid(message, expected);
    let got = String::from_utf8_lossy(&message.raw);
    let sorted = |text: &str| -> Vec<String> {
        let mut lines: Vec<String> = text.split("\r\n").map(str::to_owned).collect();
        let end = lines.len().saturating_sub(2).max(3);
        lines[3..end].sort();
        lines
    };
    assert!(
        sorted(&got) == sorted(&expected),
        "--- expected, in any order:\n{expected}\n--- got:\n{got}"
    );
}

/// The header lines after the two paths, without Byte-Range: what a forwarded piece must have in
/// common with the chunk that came in (FWD-07, CHK-16).
pub fn lasting_headers(message: &Message) -> Vec<(String, String)> {
    message
        .headers
        .iter()
        .skip(2)
        .filter(|(name, _)| !name.eq_ignore_ascii_case("Byte-Range"))
        .cloned()
        .collect()
}
