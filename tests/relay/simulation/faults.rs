//! What goes wrong.

use super::*;

impl Simulation {
    pub(super) fn fault(&mut self, actor: usize) {
        if self.trouble && self.dice.chance(40) {
            return self.link_fault();
        }
        if self.web && self.dice.chance(20) {
            return self.break_rules(actor);
        }
        match self.dice.roll(10) {
            0..2 => {
                self.world.reset(self.actors[actor].client.peer);
                if self.actors.len() < 12 && !self.draining {
                    self.join(false);
                }
            }
            2..7 => {
                let time = self.dice.pick(&[1_u64, 5, 20, 40]);
                self.actors[actor].stalled_until = Some(self.world.now + Duration::from_secs(time));
            }
            7 => self.shut(actor),
            8 if self.dice.chance(20) && !self.draining && !self.chain => {
                self.draining = true;
                let deadline = self.world.now + Duration::from_secs(20);
                for shard in &mut self.world.shards {
                    shard.drain(self.world.now, deadline);
                }
                self.world.obey();
            }
            _ => self.hostile(),
        }
    }

    pub(super) fn shut(&mut self, actor: usize) {
        let peer = self.actors[actor].client.peer;
        let idle = self.actors[actor].out.is_empty() && self.actors[actor].open.is_none();
        if idle && !self.actors[actor].shut && self.is_alive(actor) {
            self.actors[actor].shut = true;
            if self.world.sockets[peer].web.is_some() && self.dice.chance(70) {
                self.world.close_web(peer);
                if self.dice.chance(50) {
                    return;
                }
            }
            self.world.shut(peer);
        }
    }

    /// Somebody sends frames that are nearly right.
    pub(super) fn hostile(&mut self) {
        if self.actors.len() >= 12 || self.draining {
            return;
        }
        let index = self.actors.len();
        let victim = self.dice.roll(index);
        let shard = self.dice.roll(self.world.shards.len());
        let transport = self.way_in();
        let client = setup::foreign_by(&mut self.world, shard, &format!("evil{index}"), transport);
        let peer = client.peer;
        self.world.sockets[peer].sends_broken_uris = true;
        let to = self.actors[victim].client.clone();
        let claim = self.claim();
        let from: Vec<&str> = match &claim[..] {
            [] => vec![&client.uri],
            claim => claim.iter().map(String::as_str).collect(),
        };
        let mut octets = Vec::new();
        let mut ends = Vec::new();
        for number in 0..1 + self.dice.roll(4) {
            let tid = format!("evil{number}");
            let path = if to.token.is_empty() {
                vec![to.uri.as_str()]
            } else if self.dice.chance(30) {
                vec![to.token.as_str(), NOBODY]
            } else {
                vec![to.token.as_str(), to.uri.as_str()]
            };
            let body = self.dice.roll(300);
            octets.extend(
                Builder::request(
                    &tid,
                    self.dice
                        .pick(&["SEND", "SEND", "SEND", "FOO", "REPORT", "AUTH"]),
                )
                .to_path(&path)
                .from_path(&from)
                .header("Message-ID", "evil")
                .header("Byte-Range", "1-*/*")
                .header("Failure-Report", self.dice.pick(&["yes", "no", "partial"]))
                .header("Content-Type", "text/plain")
                .body(&noise()[..body])
                .flag(self.dice.pick(b"$$+#"))
                .encode(),
            );
            ends.push(octets.len());
        }
        if setup::way(transport) == "ws" {
            octets = self.spoilt_frames(&octets, &ends);
        }
        for _ in 0..self.dice.roll(4) {
            if octets.is_empty() {
                break;
            }
            let at = self.dice.roll(octets.len());
            match self.dice.roll(4) {
                0 => octets[at] = self.dice.roll(256) as u8,
                1 => {
                    octets.remove(at);
                }
                2 => octets.insert(at, self.dice.roll(256) as u8),
                _ => octets.truncate(at.max(1)),
            }
        }
        match setup::way(transport) {
            "ws" => self.world.write_frames(peer, &octets),
            _ => self.world.write(peer, &octets),
        }
        let mut actor = Actor::new(client, true);
        (actor.produced, actor.hostile) = (octets.len() as u64, true);
        self.actors.push(actor);
    }

    /// Whom a stranger says to be, in three of four cases: a relay, by whatever URI of it, or a client, or the liar.
    /// None of that leads to it (D-34).
    fn claim(&mut self) -> Vec<String> {
        let whose = self.dice.roll(self.actors.len());
        let whose = &self.actors[whose].client;
        let mut claim: Vec<String> = whose.use_path.iter().rev().cloned().collect();
        if let Some(liar) = self.liar {
            claim.push(self.actors[liar].client.uri.clone());
        }
        if !whose.use_path.is_empty() {
            claim.push(whose.uri.clone());
        }
        match self.dice.roll(4) {
            0 => return Vec::new(),
            1 if !claim.is_empty() => {
                let first = self.dice.roll(claim.len());
                claim.rotate_left(first);
            }
            2 => claim.truncate(1),
            _ => claim.reverse(),
        }
        claim
    }

    /// Whoever is a stranger gets answers, REPORTs about what it sent, and nothing that is for others.
    pub(super) fn captures(&self, actor: usize, message: &Message) {
        // Its octets may be spoilt, and with them the Message-ID.
        let own = !message
            .message_id()
            .is_some_and(|id| self.by_id.contains_key(id));
        assert!(
            message.code().is_some() || (message.method() == Some("REPORT") && own),
            "D-34: stranger {actor} gets what is for others: {message:?}"
        );
    }
}
