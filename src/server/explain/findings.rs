//! What is wrong, or merely odd, with one message: what the relay refuses, and what it lets pass for the sake of deployed
//! clients. Each finding names the section that says how it should be.

use std::collections::{HashMap, VecDeque};

use crate::auth::{Authorization, IllFormed};
use crate::wire::{ByteRange, Flag, Head, Kind, Method, Scheme, Uri};

/// A message of a capture.
pub(super) struct Seen {
    /// Where it begins.
    pub at: usize,
    pub head: Head,
    pub body_octets: usize,
}

impl Seen {
    pub fn new(at: usize, head: Head) -> Self {
        Self {
            at,
            head,
            body_octets: 0,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Level {
    /// Refused, dropped, or useless.
    Wrong,
    /// Against the letter, and let pass.
    Odd,
}

#[derive(PartialEq, Eq, Debug)]
pub(super) struct Finding {
    pub level: Level,
    pub what: String,
    pub section: &'static str,
}

impl Finding {
    pub fn wrong(what: impl Into<String>, section: &'static str) -> Self {
        Self {
            level: Level::Wrong,
            what: what.into(),
            section,
        }
    }

    fn odd(what: impl Into<String>, section: &'static str) -> Self {
        Self {
            level: Level::Odd,
            ..Self::wrong(what, section)
        }
    }
}

/// Requests that a response is compared with.
const REQUESTS_MAX: usize = 4096;
/// Body of a request other than SEND (RFC 4975 §7.1).
const OTHER_BODY_MAX: usize = 10_240;
/// A chunk above this has to be interruptible (RFC 4975 §5.1).
const INTERRUPTIBLE: usize = 2048;

/// Judges messages in the order of the capture.
#[derive(Default)]
pub(super) struct Findings {
    /// To-Path, From-Path and method of the last requests, by transact-id.
    requests: HashMap<Vec<u8>, Asked>,
    order: VecDeque<Vec<u8>>,
}

struct Asked {
    to: Vec<u8>,
    from: Vec<u8>,
    method: Method,
}

impl Findings {
    pub fn of(&mut self, seen: &Seen, flag: Flag) -> Vec<Finding> {
        let mut found = Vec::new();
        let head = &seen.head;
        transact_id(head, &mut found);
        if let Some(fault) = head.fault() {
            let answer = match head.paths_readable() && head.method().is_some() {
                true => "refused with 400",
                false => "dropped in silence",
            };
            found.push(Finding::wrong(
                format!("{fault}; {answer}"),
                fault.section(),
            ));
            return found;
        }
        paths(head, &mut found);
        match head.kind() {
            Kind::Request(method) => {
                self.remember(head, method);
                request(seen, method, flag, &mut found);
            }
            Kind::Response { code } => self.response(seen, code, flag, &mut found),
        }
        found
    }

    fn remember(&mut self, head: &Head, method: Method) {
        let asked = Asked {
            to: head.to_path().text().into(),
            from: head.from_path().text().into(),
            method,
        };
        let id = head.transact_id().to_vec();
        if self.requests.insert(id.clone(), asked).is_none() {
            self.order.push_back(id);
        }
        if self.order.len() > REQUESTS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.requests.remove(&oldest);
        }
    }

    fn response(&self, seen: &Seen, code: u16, flag: Flag, found: &mut Vec<Finding>) {
        let head = &seen.head;
        if flag != Flag::Complete {
            found.push(Finding::wrong(
                "a response ends with $; dropped",
                "RFC 4975 §7.2",
            ));
        }
        if code < 200 {
            found.push(Finding::odd(
                "a code below 200 completes no transaction; it is ignored",
                "RFC 4975 §7.2, §10",
            ));
        }
        if code == 401 && head.www_authenticate().next().is_none() {
            found.push(Finding::wrong(
                "a 401 has a WWW-Authenticate",
                "RFC 4976 §6.3",
            ));
        }
        let Some(asked) = self.requests.get(head.transact_id()) else {
            return;
        };
        if asked.method == Method::Report {
            found.push(Finding::wrong(
                "a REPORT is never answered; dropped",
                "RFC 4975 §7.1.2",
            ));
        }
        if asked.method == Method::Auth && code == 200 && head.use_path().is_none() {
            found.push(Finding::wrong(
                "the 200 to an AUTH has a Use-Path",
                "RFC 4976 §5.1",
            ));
        }
        let first = |path: &[u8]| {
            path.split(|octet| *octet == b' ')
                .next()
                .map(<[u8]>::to_vec)
        };
        let to = match asked.method {
            Method::Send => first(&asked.from),
            _ => Some(asked.from.clone()),
        };
        if Some(head.to_path().text()) != to.as_deref() {
            let whose = match asked.method {
                Method::Send => "the first From-Path URI",
                _ => "the whole From-Path",
            };
            found.push(Finding::odd(
                format!(
                    "To-Path of the response is not {whose} of the request; it counts all the same"
                ),
                "RFC 4975 §7.2",
            ));
        }
        if Some(head.from_path().text()) != first(&asked.to).as_deref() {
            found.push(Finding::odd(
                "From-Path of the response is not the first To-Path URI of the request; it counts all the same",
                "RFC 4975 §7.2",
            ));
        }
    }
}

fn transact_id(head: &Head, found: &mut Vec<Finding>) {
    let id = head.transact_id();
    if id.len() > 32 {
        found.push(Finding::odd(
            format!(
                "the transact-id has {} characters, the grammar has 4 to 32; up to 64 are taken",
                id.len()
            ),
            "RFC 4975 §9",
        ));
    }
    if id.contains(&b'_') {
        found.push(Finding::odd(
            "the transact-id has a _, which the grammar has not; taken",
            "RFC 4975 §9",
        ));
    }
}

fn paths(head: &Head, found: &mut Vec<Finding>) {
    let is_auth = head.method() == Some(Method::Auth);
    for (index, uri) in head.to_path().uris().enumerate() {
        let Ok(uri) = Uri::parse(uri) else { continue };
        if uri.port().is_none() && !is_auth && index > 0 {
            found.push(Finding::wrong(
                format!("{uri} in To-Path has no port: only in AUTH a name is looked up"),
                "RFC 4976 §8",
            ));
        }
    }
    let hops = head.from_path().len();
    if head.method().is_some() && hops > 1 {
        let relays = head
            .from_path()
            .uris()
            .take(hops - 1)
            .filter_map(|uri| Uri::parse(uri).ok());
        for uri in relays.filter(|uri| uri.scheme() == Scheme::Msrp) {
            found.push(Finding::odd(
                format!("{uri} in From-Path: a relay is reached by msrps"),
                "RFC 4976 §9.2",
            ));
        }
    }
}

fn request(seen: &Seen, method: Method, flag: Flag, found: &mut Vec<Finding>) {
    let head = &seen.head;
    if method != Method::Send {
        if flag != Flag::Complete {
            found.push(Finding::wrong(
                "only SEND is chunked: any other request ends with $",
                "RFC 4975 §5.1",
            ));
        }
        if seen.body_octets > OTHER_BODY_MAX {
            found.push(Finding::wrong(
                format!("the body has {} octets, and only a SEND may have more than 10240; the relay closes", seen.body_octets),
                "RFC 4975 §7.1",
            ));
        }
    }
    match method {
        Method::Send => send(seen, flag, found),
        Method::Report => report(head, found),
        Method::Auth => auth(head, found),
        Method::Nickname | Method::Other => {}
    }
}

fn send(seen: &Seen, flag: Flag, found: &mut Vec<Finding>) {
    let (head, octets) = (&seen.head, seen.body_octets as u64);
    if head.message_id().is_none() {
        found.push(Finding::wrong(
            "a SEND has a Message-ID; refused with 400",
            "RFC 4975 §7.1.1",
        ));
    }
    if head.has_blank_line() && head.content_type().is_none() {
        found.push(Finding::odd("a body has a Content-Type", "RFC 4975 §7.1"));
    }
    let Some(range) = head.byte_range() else {
        if head.has_blank_line() {
            found.push(Finding::odd(
                "a SEND with a body should have a Byte-Range; the relay puts one in",
                "RFC 4975 §7.1.1",
            ));
        }
        return;
    };
    let whole = range.start == 1 && flag == Flag::Complete;
    let last = range.start + octets - 1;
    let said = || said(&range, whole, octets);
    if range.end.is_some_and(|end| end != last) {
        found.push(Finding::odd(
            format!(
                "Byte-Range says {range}, and the body has {octets} octets{}",
                said()
            ),
            "RFC 4975 §7.1.1",
        ));
    } else if range
        .total
        .is_some_and(|total| last > total || whole && last < total)
    {
        found.push(Finding::odd(
            format!(
                "Byte-Range says {range}, and the chunk ends at octet {last}{}",
                said()
            ),
            "RFC 4975 §7.1.1",
        ));
    }
    if octets as usize > INTERRUPTIBLE && range.end.is_some() {
        found.push(Finding::odd(
            "a chunk of more than 2048 octets has * as the end of its range, for it may be interrupted",
            "RFC 4975 §7.1.1",
        ));
    }
}

fn said(_: &ByteRange, whole: bool, octets: u64) -> String {
    match whole {
        true => format!("; octets count, a short one leaves as 1-{octets}/{octets}"),
        false => "; the octets count".to_owned(),
    }
}

fn report(head: &Head, found: &mut Vec<Finding>) {
    let missing = [
        (head.status().is_none(), "Status"),
        (head.message_id().is_none(), "Message-ID"),
        (head.byte_range().is_none(), "Byte-Range"),
    ];
    for (_, name) in missing.iter().filter(|(missing, _)| *missing) {
        found.push(Finding::odd(
            format!("a REPORT has a {name}; its receiver may not know what it is about"),
            "RFC 4975 §7.1.2",
        ));
    }
}

fn auth(head: &Head, found: &mut Vec<Finding>) {
    let target = head.to_path().last().and_then(|uri| Uri::parse(uri).ok());
    if let Some(uri) = target.filter(|uri| uri.scheme() == Scheme::Msrp) {
        found.push(Finding::wrong(
            format!("{uri}: AUTH goes to an msrps URI, over TLS"),
            "RFC 4976 §5.1, §9.2",
        ));
    }
    let Some(value) = head.authorization() else {
        return;
    };
    match Authorization::parse(value) {
        Err(IllFormed) => found.push(Finding::wrong(
            "Authorization lacks one of username, realm, nonce, response (32 or 64 hex digits), qop=auth, nc (8 hex digits), \
             cnonce, or has one twice, or uri without quotes; refused with 400",
            "RFC 4976 §9.1, RFC 2617 §3.2.2",
        )),
        Ok(None) => found.push(Finding::wrong("Authorization is not Digest; challenged again with 401", "RFC 4976 §9.1")),
        Ok(Some(credentials)) => {
            let named = credentials.uri.map(|uri| Uri::parse(uri.as_bytes()));
            let other = match (named, target) {
                (Some(Ok(named)), Some(target)) => !named.equivalent(&target),
                (Some(Err(_)), _) => true,
                _ => false,
            };
            if other {
                found.push(Finding::wrong(
                    "the uri of Authorization is not the rightmost To-Path URI; refused with 400",
                    "RFC 4976 §9.1",
                ));
            }
        }
    }
}
