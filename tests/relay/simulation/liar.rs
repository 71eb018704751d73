//! A next hop that is a verified relay and lies: wrong transact-ids, wrong ranges, answers to
//! nothing, floods of REPORTs, other people's paths.

use super::*;

const NAME: &str = "evil.example.org";
const URI: &str = "msrps://evil.example.org:2855/t;tcp";
const BEHIND: &str = "msrps://behind.example.org:2855/b;tcp";

impl Simulation {
    /// Clients send through it; it is there once it is dialled.
    pub(super) fn liar_joins(&mut self) {
        let index = self.actors.len();
        let mut client = setup::foreign(&mut self.world, 0, "liar");
        self.world.reset(client.peer);
        client.uri = URI.to_owned();
        let mut actor = Actor::new(client, true);
        actor.hostile = true;
        self.actors.push(actor);
        self.liar = Some(index);
        for sender in 0..index {
            let mut to = self.actors[sender].client.use_path.clone();
            if !to.is_empty() {
                to.extend([URI.to_owned(), BEHIND.to_owned()]);
                self.add_stream(sender, index, to);
            }
        }
    }

    /// A dial to it goes through.
    pub(super) fn liar_is_dialled(&mut self, index: usize) -> bool {
        let Some(liar) = self.liar else { return false };
        if !self.world.dialling[index].target.contains(NAME) {
            return false;
        }
        assert_eq!(
            self.world.dialling[index].verify,
            msrpd::relay::Verify::Relay
        );
        let peer = self.world.dial_succeeds(index, Some(&[NAME]));
        self.world.sockets[peer].sends_broken_uris = true;
        let actor = &mut self.actors[liar];
        actor.client.peer = peer;
        actor.seen = 0;
        actor.shut = false;
        true
    }

    /// What it does about a request. It never says what another relay would.
    pub(super) fn lie(&mut self, message: &Message) {
        let liar = self.liar.expect("who reads is there");
        let peer = self.actors[liar].client.peer;
        if !self.is_alive(liar) || self.actors[liar].shut || message.method().is_none() {
            return;
        }
        let octets = match self.dice.roll(8) {
            0 => return,
            1 => Builder::response_to(message, 200, None).encode(),
            2 if message.method() == Some("AUTH") => self.false_challenge(message),
            2 => self.false_answer(message),
            3 => [200, 413, 481]
                .map(|code| Builder::response_to(message, code, None).encode())
                .concat(),
            4 => Builder::response_to(message, self.dice.pick(&[400, 413, 999]), None).encode(),
            5 => (0..1 + self.dice.roll(30))
                .flat_map(|number| self.false_report(message, number))
                .collect(),
            6 => self.false_request(message),
            _ => self.spoilt(message),
        };
        self.world.write(peer, &octets);
    }

    /// Another's transact-id, or paths that lead elsewhere.
    fn false_answer(&mut self, message: &Message) -> Vec<u8> {
        let tid = if self.dice.chance(50) {
            "guessed1"
        } else {
            &message.tid
        };
        let to = if self.dice.chance(50) {
            vec![NOBODY]
        } else {
            message.from_path.iter().map(String::as_str).collect()
        };
        Builder::response(tid, 200, None)
            .to_path(&to)
            .from_path(&[URI])
            .encode()
    }

    /// About anybody's message, over any range.
    fn false_report(&mut self, message: &Message, number: usize) -> Vec<u8> {
        let to: Vec<&str> = message.from_path.iter().map(String::as_str).collect();
        let id = format!("m{}", self.dice.roll(20));
        let range = self.dice.pick(&[
            "1-5/5",
            "9-3/2",
            "1-*/*",
            "0-0/0",
            "1-99999999999/99999999999",
        ]);
        let code = self.dice.pick(&["000 200 OK", "000 413 Stop", "001 999 x"]);
        Builder::request(&format!("liar{number}x{}", self.dice.roll(1000)), "REPORT")
            .to_path(&to)
            .from_path(&[URI, BEHIND])
            .header("Message-ID", &id)
            .header("Byte-Range", range)
            .header("Status", code)
            .encode()
    }

    /// Under tokens that others hold, to whom they do not lead.
    fn false_request(&mut self, message: &Message) -> Vec<u8> {
        let stolen = self.dice.roll(self.actors.len());
        let stolen = self.actors[stolen].client.use_path.clone();
        let mut to: Vec<&str> = match self.dice.roll(3) {
            0 => message.from_path.iter().map(String::as_str).collect(),
            1 => stolen.iter().map(String::as_str).collect(),
            _ => stolen.last().map(String::as_str).into_iter().collect(),
        };
        if self.dice.chance(70) {
            to.push(NOBODY);
        }
        if to.is_empty() {
            return Vec::new();
        }
        let method = self.dice.pick(&["SEND", "SEND", "NICKNAME", "AUTH"]);
        Builder::request(&format!("liars{}", self.dice.roll(1000)), method)
            .to_path(&to)
            .from_path(&self.false_from())
            .header("Message-ID", "evil")
            .header("Byte-Range", "1-2/2")
            .header("Content-Type", "text/plain")
            .body(b"no")
            .encode()
    }

    /// As itself, as another relay, or as a client of that.
    fn false_from(&mut self) -> Vec<&str> {
        let other = self.dice.roll(self.actors.len());
        let other = &self.actors[other].client;
        let mut from: Vec<&str> = other.use_path.iter().rev().map(String::as_str).collect();
        from.push(&other.uri);
        match self.dice.roll(3) {
            0 => from,
            1 => [&[URI], &from[..]].concat(),
            _ => vec![URI, BEHIND],
        }
    }

    /// For whatever realm: what asks for our users' passwords goes no further (AUT-23).
    fn false_challenge(&mut self, message: &Message) -> Vec<u8> {
        let relay = self.dice.roll(self.world.relays.len());
        let realm = if self.dice.chance(50) {
            setup::host(relay)
        } else {
            "evil".to_owned()
        };
        let challenge = format!("Digest realm=\"{realm}\", nonce=\"n\", qop=\"auth\"");
        let to: Vec<&str> = message.from_path.iter().map(String::as_str).collect();
        Builder::response(&message.tid, 401, None)
            .to_path(&to)
            .from_path(&[URI])
            .header("WWW-Authenticate", &challenge)
            .encode()
    }

    /// An answer with octets changed: it may cost the connection.
    fn spoilt(&mut self, message: &Message) -> Vec<u8> {
        let mut octets = Builder::response_to(message, 200, None).encode();
        if self.dice.chance(20) {
            let at = self.dice.roll(octets.len());
            octets[at] = self.dice.roll(256) as u8;
        }
        octets
    }
}
