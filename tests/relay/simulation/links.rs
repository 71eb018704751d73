//! Links between the relays of a chain: what crosses them, and what happens to them.

use super::*;

impl Simulation {
    /// Ends of links that this relay still knows.
    fn link_ends(&self) -> Vec<Peer> {
        (0..self.world.sockets.len())
            .filter(|peer| self.world.sockets[*peer].partner.is_some())
            .filter(|peer| self.world.sockets[*peer].alive())
            .collect()
    }

    /// A link is made, or something crosses one.
    pub(super) fn link_step(&mut self) {
        if !self.world.dialling.is_empty() && self.dice.chance(15) {
            return self.dial_ends();
        }
        // What a relay has closed is still under way to the other one.
        let ends: Vec<Peer> = (0..self.world.sockets.len())
            .filter(|peer| self.world.sockets[*peer].partner.is_some())
            .collect();
        if ends.is_empty() {
            return;
        }
        let first = self.dice.roll(ends.len());
        let amount = self.dice.amount();
        for step in 0..ends.len() {
            let peer = ends[(first + step) % ends.len()];
            if self.world.fetch(peer, amount) || self.world.notice(peer) {
                return;
            }
        }
    }

    /// What came of a dial.
    pub(super) fn dial_ends(&mut self) {
        let index = self.dice.roll(self.world.dialling.len());
        if self.liar_is_dialled(index) {
            return;
        }
        if self.world.dial_target(index).is_none() || (self.trouble && self.dice.chance(15)) {
            if self.world.dial_target(index).is_some() {
                self.troubled += 1;
            }
            self.world.dial_fails(index);
        } else {
            let shard = self.dice.roll(4);
            self.world.dial_connects(index, shard);
        }
    }

    /// Whatever can cross the links now, crosses them: relays of one house are quick.
    pub(super) fn settle_links(&mut self) {
        for round in 0.. {
            assert!(round < 100_000, "links go round and round");
            let mut moved = false;
            while !self.world.dialling.is_empty() && self.world.dial_target(0).is_some() {
                self.world.dial_connects(0, round);
                moved = true;
            }
            for (from, to) in self.world.links() {
                while self.world.deliver(from, to) {
                    moved = true;
                }
            }
            for peer in self.link_ends() {
                moved |= self.world.transmit(peer);
                moved |= self.world.take(peer, usize::MAX);
                moved |= self.world.fetch(peer, usize::MAX);
                moved |= self.world.read_some(peer, usize::MAX);
                moved |= self.world.notice(peer);
            }
            if !moved {
                return;
            }
        }
    }

    /// A link dies, or nothing crosses it for a while.
    pub(super) fn link_fault(&mut self) {
        let ends = self.link_ends();
        if ends.is_empty() {
            return;
        }
        let peer = self.dice.pick(&ends);
        self.troubled += 1;
        if self.dice.chance(50) {
            self.world.reset(peer);
        } else {
            let time = self.dice.pick(&[1_u64, 5, 20, 40]);
            self.world.sockets[peer].stalled_until =
                Some(self.world.now + Duration::from_secs(time));
        }
    }
}
