//! Two parties who can reach one another through the relay, in the three ways there are.

use std::time::Duration;

use msrpload::codec::Message;

use super::client::{Client, SOON};
use super::message::{Draft, response};
use super::peer::Peer;
use super::relay::{self, Relay};

pub struct Link {
    /// Authenticated.
    pub a: Client,
    /// Foreign, or authenticated too.
    pub p: Client,
    /// To-Path with which `a` reaches `p`.
    pub to_p: String,
    /// To-Path with which `p` reaches `a`.
    pub to_a: String,
    /// How many URIs of `to_p` are the relay's own; the same holds for `to_a`.
    own: usize,
}

impl Link {
    /// P is foreign and connects in over TLS. Works with any relay.
    pub fn inbound(relay: &Relay) -> Self {
        Self::with_inbound(Client::authenticated(relay, "alice"), Client::tls(relay))
    }

    /// P is foreign and connects in over plain TCP (D-24).
    pub fn inbound_tcp(relay: &Relay) -> Self {
        let mut p = Client::tcp(relay);
        p.uri = p.uri.replacen("msrps:", "msrp:", 1);
        Self::with_inbound(Client::authenticated(relay, "alice"), p)
    }

    /// The first SEND of P makes its URI known to the relay (D-34).
    pub fn with_inbound(mut a: Client, mut p: Client) -> Self {
        let to_a = format!("{} {}", a.token, a.uri);
        let to_p = format!("{} {}", a.token, p.uri);
        p.send(
            Draft::send(&to_a, &p.uri)
                .range("1-0/0")
                .failure_report("no")
                .octets(),
        );
        a.expect_method("SEND");
        Self {
            a,
            p,
            to_p,
            to_a,
            own: 1,
        }
    }

    /// P is foreign and is dialled by the relay over TLS.
    pub fn dialled(relay: &Relay) -> Self {
        Self::with_dialled(Client::authenticated(relay, "alice"), &Peer::tls())
    }

    pub fn with_dialled(a: Client, peer: &Peer) -> Self {
        Self::dialled_at(a, peer, &peer.uri)
    }

    /// As [`Self::with_dialled`], P's path being this one.
    pub fn dialled_at(mut a: Client, peer: &Peer, path: &str) -> Self {
        let to_a = format!("{} {}", a.token, a.uri);
        let to_p = format!("{} {path}", a.token);
        a.send(
            Draft::send(&to_p, &a.uri)
                .range("1-0/0")
                .failure_report("no")
                .octets(),
        );
        let mut p = peer.accept();
        path.clone_into(&mut p.uri);
        p.expect_method("SEND");
        Self {
            a,
            p,
            to_p,
            to_a,
            own: 1,
        }
    }

    /// Both have tokens of this relay (URI-11). Consecutive connections go to different shards.
    pub fn neighbours(relay: &Relay) -> Self {
        let a = Client::authenticated(relay, "alice");
        Self::between(a, Client::authenticated(relay, "bob"))
    }

    /// The same for two that have tokens already.
    pub fn between(a: Client, p: Client) -> Self {
        let to_a = format!("{} {} {}", p.token, a.token, a.uri);
        let to_p = format!("{} {} {}", a.token, p.token, p.uri);
        Self {
            a,
            p,
            to_p,
            to_a,
            own: 2,
        }
    }

    /// All ways that the relay under test allows.
    pub fn all_ways(relay: &Relay) -> Vec<(&'static str, Self)> {
        let mut links = vec![
            ("inbound", Self::inbound(relay)),
            ("neighbours", Self::neighbours(relay)),
        ];
        if !relay::is_elsewhere() {
            links.push(("inbound_tcp", Self::inbound_tcp(relay)));
            links.push(("dialled", Self::dialled(relay)));
        }
        links
    }

    /// A draft of a SEND from A to P.
    pub fn draft(&self) -> Draft {
        Draft::send(&self.to_p, &self.a.uri)
    }

    /// A draft of a SEND from P to A.
    pub fn draft_back(&self) -> Draft {
        Draft::send(&self.to_a, &self.p.uri)
    }

    /// What P must see in To-Path and From-Path of what A sends.
    pub fn paths_at_p(&self) -> (String, String) {
        moved(&self.to_p, &self.a.uri, self.own)
    }

    /// What A must see of what P sends.
    pub fn paths_at_a(&self) -> (String, String) {
        moved(&self.to_a, &self.p.uri, self.own)
    }

    /// A sends this, and it must not be forwarded: what P sees next is what A sends after it. The
    /// answers that A got to it, at most one.
    #[track_caller]
    pub fn refused(&mut self, octets: &[u8]) -> Option<Message> {
        self.a.send(octets);
        let marker = self.draft().text("marker");
        self.a.send(marker.octets());
        let got = self.p.expect();
        assert_eq!(
            got.message_id(),
            Some(marker.message_id.as_str()),
            "this was forwarded:\n{got:?}"
        );
        self.p.send(response(&got, "200 OK"));
        assert_eq!(self.a.response_to(&marker.tid).code(), Some(200));
        let mut answers = self.a.drain(Duration::from_millis(150));
        assert!(answers.len() <= 1, "one answer at most: {answers:?}");
        answers.pop()
    }

    /// As [`Self::refused`], with this code.
    #[track_caller]
    pub fn refused_with(&mut self, code: u16, octets: &[u8]) -> Message {
        let shown = String::from_utf8_lossy(&octets[..octets.len().min(400)]).into_owned();
        let Some(answer) = self.refused(octets) else {
            panic!("no {code} came to\n{shown}");
        };
        assert_eq!(answer.code(), Some(code), "to\n{shown}\ncame\n{answer:?}");
        answer
    }

    /// As [`Self::refused`], without any answer.
    #[track_caller]
    pub fn ignored(&mut self, octets: &[u8]) {
        if let Some(answer) = self.refused(octets) {
            panic!("silence was due, this came:\n{answer:?}");
        }
    }

    /// A sends this; what P gets, unanswered.
    #[track_caller]
    pub fn pass(&mut self, draft: &Draft) -> Message {
        self.a.send(draft.octets());
        let got = self.p.expect();
        let (to, from) = self.paths_at_p();
        assert_eq!(
            (got.to_path.join(" "), got.from_path.join(" ")),
            (to, from),
            "the paths of\n{got:?}"
        );
        got
    }

    /// One more message goes through both ways: nothing has suffered.
    #[track_caller]
    pub fn still_works(&mut self) {
        let (sent, back) = (
            self.draft().text("still there?"),
            self.draft_back().text("still here."),
        );
        self.a.send(sent.octets());
        let got = self
            .p
            .find(SOON, |m| m.message_id() == Some(&sent.message_id));
        assert_eq!(got.body(), b"still there?");
        assert_eq!(self.a.response_to(&sent.tid).code(), Some(200));
        self.p.send(response(&got, "200 OK"));
        self.p.send(back.octets());
        let got = self
            .a
            .find(SOON, |m| m.message_id() == Some(&back.message_id));
        assert_eq!(got.body(), b"still here.");
        assert_eq!(self.p.response_to(&back.tid).code(), Some(200));
        self.a.send(response(&got, "200 OK"));
    }
}

/// The relay's own URIs go to the front of From-Path, one after the other (URI-02, URI-11).
fn moved(to: &str, from: &str, own: usize) -> (String, String) {
    let uris: Vec<&str> = to.split(' ').collect();
    let (own, rest) = uris.split_at(own);
    let mut back: Vec<&str> = own.iter().rev().copied().collect();
    back.push(from);
    (rest.join(" "), back.join(" "))
}
