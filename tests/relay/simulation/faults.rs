//! What goes wrong.

use super::*;

impl Simulation {
    pub(super) fn fault(&mut self, actor: usize) {
        if self.trouble && self.dice.chance(40) {
            return self.link_fault();
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
        let client = setup::foreign(&mut self.world, shard, &format!("evil{index}"));
        let peer = client.peer;
        self.world.sockets[peer].sends_broken_uris = true;
        let to = self.actors[victim].client.clone();
        let mut octets = Vec::new();
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
                .from_path(&[&client.uri])
                .header("Message-ID", "evil")
                .header("Byte-Range", "1-*/*")
                .header("Failure-Report", self.dice.pick(&["yes", "no", "partial"]))
                .header("Content-Type", "text/plain")
                .body(&noise()[..body])
                .flag(self.dice.pick(b"$$+#"))
                .encode(),
            );
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
        self.world.write(peer, &octets);
        let mut actor = Actor::new(client, true);
        (actor.produced, actor.hostile) = (octets.len() as u64, true);
        self.actors.push(actor);
    }
}
