//! `msrpd explain`: reads a capture of MSRP octets with the relay's own decoder and says of each message what is wrong with
//! it, and by which section. It knows nothing of a running relay.

mod findings;

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use bytes::Bytes;

use crate::wire::{Decoder, DecoderLimits, Event, Flag, Head, Kind};

use super::{OK, WRONG};
use findings::{Finding, Findings, Level, Seen};

/// Octets shown of a header's value.
const SHOWN_MAX: usize = 400;

/// Reads the file, or stdin without one. 1 if anything is wrong or the file cannot be read.
pub fn explain(file: Option<&Path>) -> ExitCode {
    let octets = match read(file) {
        Ok(octets) => octets,
        Err(problem) => {
            eprintln!("error: {problem}");
            return ExitCode::from(WRONG);
        }
    };
    let said = explanation(octets);
    // Who reads only the beginning has seen enough.
    let _ = io::stdout().write_all(said.text.as_bytes());
    ExitCode::from(if said.wrong > 0 { WRONG } else { OK })
}

fn read(file: Option<&Path>) -> Result<Vec<u8>, String> {
    let mut octets = Vec::new();
    match file {
        Some(file) => {
            octets = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        }
        None => {
            let read = io::stdin().lock().read_to_end(&mut octets);
            read.map_err(|error| format!("stdin: {error}"))?;
        }
    }
    Ok(octets)
}

/// What there is to say, and how often something is wrong.
struct Explanation {
    text: String,
    wrong: usize,
}

fn explanation(mut octets: Vec<u8>) -> Explanation {
    let mut report = Report::default();
    if octets.contains(&b'\n') && memchr::memmem::find(&octets, b"\r\n").is_none() {
        report.line("All lines end with LF alone, as editors save them: taken as CRLF, which RFC 4975 §9 wants.");
        octets = with_crlf(&octets);
    }
    let octets = Bytes::from(octets);
    let mut at = 0;
    loop {
        let rest = octets.slice(at..);
        match report.messages(at, &rest) {
            Stopped::AtEnd => break,
            Stopped::Lost(offset) => {
                let next = memchr::memmem::find(&octets[offset + 1..], b"\nMSRP ");
                let Some(next) = next.map(|found| offset + 2 + found) else {
                    break;
                };
                report.line(&format!(
                    "A relay closes the connection here. Going on at octet {next}, where the next line begins with MSRP."
                ));
                at = next;
            }
        }
    }
    report.finish()
}

fn with_crlf(octets: &[u8]) -> Vec<u8> {
    octets
        .split_inclusive(|octet| *octet == b'\n')
        .flat_map(|line| match line.strip_suffix(b"\n") {
            Some(line) => [line, b"\r\n"],
            None => [line, b""],
        })
        .flatten()
        .copied()
        .collect()
}

enum Stopped {
    AtEnd,
    /// At this octet.
    Lost(usize),
}

#[derive(Default)]
struct Report {
    text: String,
    number: usize,
    wrong: usize,
    odd: usize,
    findings: Findings,
}

impl Report {
    /// The messages of `octets`, which begin at `offset` of the capture.
    fn messages(&mut self, offset: usize, octets: &Bytes) -> Stopped {
        let mut decoder = Decoder::new(DecoderLimits::default());
        decoder.skip_crlf();
        decoder.push(octets.clone());
        let mut open: Option<Seen> = None;
        let mut begins = offset;
        loop {
            let position = offset + octets.len() - decoder.undecoded_octets();
            if open.is_none() {
                begins = position;
            }
            match decoder.next() {
                Ok(Some(Event::Head(head))) => open = Some(Seen::new(begins, head)),
                Ok(Some(Event::Body(body))) => {
                    if let Some(open) = &mut open {
                        open.body_octets += body.len();
                    }
                }
                Ok(Some(Event::End(flag))) => {
                    if let Some(seen) = open.take() {
                        self.message(&seen, flag);
                    }
                }
                Ok(None) => {
                    self.ends_within(open, begins, offset + octets.len());
                    return Stopped::AtEnd;
                }
                Err(error) => {
                    let (lost, begins) = decoder.lost().expect("framing is lost");
                    let at = offset + octets.len() - lost;
                    self.number += 1;
                    self.heading(at, "framing lost");
                    self.line(&format!("    {begins}"));
                    self.finding(&Finding::wrong(error.to_string(), error.section()));
                    return Stopped::Lost(at);
                }
            }
        }
    }

    fn message(&mut self, seen: &Seen, flag: Flag) {
        self.number += 1;
        let body = match seen.head.has_blank_line() {
            true => format!("body of {}", octets(seen.body_octets)),
            false => "no body".to_owned(),
        };
        let flag_text = char::from(flag.as_octet());
        self.heading(
            seen.at,
            &format!("{}, {body}, ends {flag_text}", title(&seen.head)),
        );
        for (name, value) in seen.head.headers() {
            let value = shown(name, value);
            self.line(&format!("    {}: {value}", name.escape_ascii()));
        }
        let findings = self.findings.of(seen, flag);
        if findings.is_empty() {
            self.line("  good");
        }
        for finding in &findings {
            self.finding(finding);
        }
    }

    fn ends_within(&mut self, open: Option<Seen>, begins: usize, end: usize) {
        if begins == end {
            return;
        }
        self.number += 1;
        let (what, missing) = match open {
            Some(seen) => {
                let body = octets(seen.body_octets);
                let id = seen.head.transact_id().escape_ascii().to_string();
                let missing =
                    format!("no line of 7 hyphens, {id} and $, + or # follows {body} of body");
                (title(&seen.head), missing)
            }
            None => ("a message".to_owned(), "its head does not end".to_owned()),
        };
        self.heading(begins, &format!("{what}, cut off"));
        self.finding(&Finding::wrong(
            format!("the capture ends at octet {end}: {missing}"),
            "RFC 4975 §7.1",
        ));
    }

    fn heading(&mut self, at: usize, what: &str) {
        let number = self.number;
        self.line(&format!("{number}. at octet {at}: {what}"));
    }

    fn finding(&mut self, finding: &Finding) {
        let level = match finding.level {
            Level::Wrong => {
                self.wrong += 1;
                "wrong"
            }
            Level::Odd => {
                self.odd += 1;
                "odd"
            }
        };
        self.line(&format!(
            "  {level}: {} [{}]",
            finding.what, finding.section
        ));
    }

    fn line(&mut self, line: &str) {
        let _ = writeln!(self.text, "{line}");
    }

    fn finish(mut self) -> Explanation {
        let (number, wrong, odd) = (self.number, self.wrong, self.odd);
        self.line(&format!("messages: {number}, wrong: {wrong}, odd: {odd}"));
        Explanation {
            text: self.text,
            wrong,
        }
    }
}

fn title(head: &Head) -> String {
    let id = head.transact_id().escape_ascii();
    match head.kind() {
        Kind::Request(_) => format!("{} {id}", head.method_text().escape_ascii()),
        Kind::Response { code } => {
            let comment = head.comment().unwrap_or_default().escape_ascii();
            format!("response {code} {comment} {id}").replace("  ", " ")
        }
    }
}

fn octets(number: usize) -> String {
    match number {
        1 => "1 octet".to_owned(),
        number => format!("{number} octets"),
    }
}

/// A header's value, cut, and without what proves anything: what is printed here gets pasted into reports.
fn shown(name: &[u8], value: &[u8]) -> String {
    let cut = &value[..value.len().min(SHOWN_MAX)];
    let mut text = String::from_utf8_lossy(cut).into_owned();
    text.retain(|character| !character.is_control());
    if value.len() > cut.len() {
        text += "...";
    }
    let secret = [&b"authorization"[..], b"authentication-info"];
    if !secret.iter().any(|known| name.eq_ignore_ascii_case(known)) {
        return text;
    }
    for parameter in ["response", "rspauth"] {
        let Some(at) = text.to_ascii_lowercase().find(&format!("{parameter}=")) else {
            continue;
        };
        let from = at + parameter.len() + 1;
        let end = text[from..]
            .find([',', ' '])
            .map_or(text.len(), |end| from + end);
        text.replace_range(from..end, "(left out)");
    }
    text
}

#[cfg(test)]
#[path = "explain/tests.rs"]
mod tests;
