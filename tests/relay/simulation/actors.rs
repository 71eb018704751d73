//! Who takes part: clients with sessions, foreign clients, and the paths between them.

use super::*;

impl Simulation {
    /// A new client, with streams to those who are there, and theirs to it.
    pub(super) fn join(&mut self, foreign: bool) {
        let index = self.actors.len();
        let shard = self.dice.roll(self.world.shards.len());
        let name = format!("c{index}");
        let began = self.world.now;
        let transport = self.way_in();
        let mut client = setup::foreign_by(&mut self.world, shard, &name, transport);
        if !foreign {
            let way = setup::way(transport);
            client.uri = setup::client_uri(&name).replace(";tcp", &format!(";{way}"));
            let mut uri = setup::auth_uri(self.world.relay_of(shard));
            if way == "ws" && self.dice.chance(50) {
                uri = uri.replace(";tcp", ":443;ws");
            }
            let made = setup::authenticate_at(&mut self.world, &mut client, &uri, self.expires);
            assert!(made, "AUT-02: no URI of its own relay");
            self.authenticate_outwards(&mut client);
        }
        let peer = client.peer;
        self.world.sockets[peer].reading = false;
        let seen = self.world.sockets[peer].fetched;
        let produced = self.world.sockets[peer].written;
        let mut actor = Actor::new(client, foreign);
        (actor.seen, actor.produced) = (seen, produced);
        let lives = Duration::from_secs(u64::from(self.expires.unwrap_or(86_400)));
        actor.lives_until = vec![began + lives; actor.client.use_path.len()];
        self.actors.push(actor);
        for other in 0..index {
            if self.is_alive(other) {
                self.link(index, other);
                self.link(other, index);
            }
        }
    }

    /// From inside to outside (RFC 4976 §5.1), at up to two further relays.
    fn authenticate_outwards(&mut self, client: &mut Client) {
        if !self.chain {
            return;
        }
        let own = self.world.relay_of(self.world.sockets[client.peer].shard);
        let mut others: Vec<usize> = (0..self.world.relays.len()).collect();
        others.retain(|relay| *relay != own);
        for _ in 0..self.dice.roll(3).min(others.len()) {
            let relay = others.remove(self.dice.roll(others.len()));
            let uri = setup::auth_uri(relay);
            if !setup::authenticate_at(&mut self.world, client, &uri, self.expires) {
                // Behind a film whose receiver stands still it may take a while.
                assert!(!self.is_gentle(), "AUT-19: no URI of relay {relay}");
                return;
            }
        }
    }

    pub(super) fn relay_of(&self, uri: &str) -> Option<usize> {
        (0..self.world.relays.len()).find(|relay| uri.contains(&setup::host(*relay)))
    }

    /// How many relays a path of their URIs visits; two URIs of one in a row are one visit.
    pub(super) fn stops(&self, path: &[String]) -> usize {
        let relays: Vec<_> = path.iter().map(|uri| self.relay_of(uri)).collect();
        1 + relays.windows(2).filter(|pair| pair[0] != pair[1]).count()
    }

    /// Sessions over the URIs of both, or of one where the sender is no client of ours.
    pub(super) fn link(&mut self, from: usize, to: usize) {
        let (sender, receiver) = (&self.actors[from], &self.actors[to]);
        if receiver.foreign || sender.hostile || receiver.hostile {
            return;
        }
        let path = sender.client.path_to(&receiver.client);
        if self.comes_back(&path) {
            return;
        }
        let connected = self.world.sockets[sender.client.peer].shard;
        if self.relay_of(&path[0]) == Some(self.world.relay_of(connected)) {
            self.add_stream(from, to, path);
        }
    }

    /// Whether a path leads to a relay that it has left before: no relay takes that (URI-12).
    fn comes_back(&self, path: &[String]) -> bool {
        let mut stops: Vec<_> = path.iter().filter_map(|uri| self.relay_of(uri)).collect();
        stops.dedup();
        let mut seen = BTreeSet::new();
        !stops.into_iter().all(|relay| seen.insert(relay))
    }

    /// The foreign client has been heard of: it can be reached by its URI (D-34).
    pub(super) fn link_back(&mut self, foreign: usize, to: usize) {
        let streams = &self.actors[to].streams;
        if !streams.iter().any(|known| known.receiver == foreign) {
            let path = (self.actors[to].client).path_to(&self.actors[foreign].client);
            self.add_stream(to, foreign, path);
        }
    }

    pub(super) fn add_stream(&mut self, from: usize, receiver: usize, to: Vec<String>) {
        let mut from_at_receiver: Vec<String> = to[..to.len() - 1].to_vec();
        from_at_receiver.reverse();
        from_at_receiver.push(self.actors[from].client.uri.clone());
        self.actors[from].streams.push(Stream {
            to,
            from_at_receiver,
            receiver,
        });
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
