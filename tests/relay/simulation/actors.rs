//! Who takes part: clients with sessions, foreign clients, and the paths between them.

use super::*;

impl Simulation {
    /// A new client, with streams to those who are there, and theirs to it.
    pub(super) fn join(&mut self, foreign: bool) {
        let index = self.actors.len();
        let shard = self.dice.roll(self.world.shards.len());
        let name = format!("c{index}");
        let client = if foreign {
            setup::foreign(&mut self.world, shard, &name)
        } else {
            setup::client(&mut self.world, shard, &name)
        };
        let peer = client.peer;
        self.world.sockets[peer].reading = false;
        let seen = self.world.sockets[peer].fetched;
        let produced = self.world.sockets[peer].written;
        self.actors.push(Actor {
            client,
            foreign,
            streams: Vec::new(),
            out: VecDeque::new(),
            produced,
            open: None,
            tids: BTreeMap::new(),
            next_tid: 0,
            owed: VecDeque::new(),
            told: VecDeque::new(),
            stalled_until: None,
            seen,
            shut: false,
            hostile: false,
            nicknames: BTreeMap::new(),
        });
        for other in 0..index {
            if self.is_alive(other) {
                self.link(index, other);
                self.link(other, index);
            }
        }
    }

    /// Sessions over two URIs of ours, or one where the sender is no client of ours.
    pub(super) fn link(&mut self, from: usize, to: usize) {
        let (sender, receiver) = (&self.actors[from], &self.actors[to]);
        if receiver.foreign || sender.hostile || receiver.hostile {
            return;
        }
        let (a, b) = (&sender.client, &receiver.client);
        let stream = if sender.foreign {
            Stream {
                to: vec![b.token.clone(), b.uri.clone()],
                from_at_receiver: vec![b.token.clone(), a.uri.clone()],
                receiver: to,
            }
        } else {
            Stream {
                to: vec![a.token.clone(), b.token.clone(), b.uri.clone()],
                from_at_receiver: vec![b.token.clone(), a.token.clone(), a.uri.clone()],
                receiver: to,
            }
        };
        self.actors[from].streams.push(stream);
    }

    /// The foreign client has been heard of: it can be reached by its URI (D-34).
    pub(super) fn link_back(&mut self, foreign: usize, to: usize) {
        let (p, a) = (&self.actors[foreign].client, &self.actors[to].client);
        let stream = Stream {
            to: vec![a.token.clone(), p.uri.clone()],
            from_at_receiver: vec![a.token.clone(), a.uri.clone()],
            receiver: foreign,
        };
        let streams = &mut self.actors[to].streams;
        if !streams.iter().any(|known| known.receiver == foreign) {
            streams.push(stream);
        }
    }

    pub(super) fn is_alive(&self, actor: usize) -> bool {
        self.world.sockets[self.actors[actor].client.peer].alive()
    }

    pub(super) fn can_write(&self, actor: usize) -> bool {
        self.is_alive(actor) && !self.actors[actor].shut && !self.actors[actor].hostile
    }

    pub(super) fn fresh_tid(&mut self, actor: usize) -> String {
        self.actors[actor].next_tid += 1;
        format!("t{actor}x{}", self.actors[actor].next_tid)
    }

    pub(super) fn queue(&mut self, actor: usize, octets: &[u8]) {
        self.actors[actor].out.extend(octets);
        self.actors[actor].produced += octets.len() as u64;
    }
}
