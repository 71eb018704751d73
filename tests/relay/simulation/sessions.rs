//! Use-Path URIs that live longer, and what may be refused when they do not.

use super::*;

impl Simulation {
    /// An AUTH to one of the client's own URIs (UPT-13).
    pub(super) fn refresh(&mut self, actor: usize) {
        let uris = self.actors[actor].client.use_path.len();
        if self.actors[actor].open.is_some() || !self.can_write(actor) || uris == 0 {
            return;
        }
        let refresh = Refresh {
            uri: self.dice.roll(uris),
            seconds: self.dice.pick(&[60, 120, 600]),
            began: self.world.now,
        };
        self.ask(actor, refresh, None);
    }

    fn ask(&mut self, actor: usize, refresh: Refresh, authorization: Option<&str>) {
        let tid = self.fresh_tid(actor);
        let client = &self.actors[actor].client;
        let path: Vec<&str> = client.use_path[..=refresh.uri]
            .iter()
            .map(String::as_str)
            .collect();
        let seconds = Some(refresh.seconds);
        let octets = setup::auth(&client.uri, &path, &tid, seconds, authorization);
        // Granted, it counts before its answer is read; and it may be less than there was.
        let until = refresh.began + Duration::from_secs(u64::from(refresh.seconds));
        let lives = &mut self.actors[actor].lives_until[refresh.uri];
        *lives = until.min(*lives);
        self.actors[actor].auths.insert(tid, refresh);
        self.queue(actor, &octets);
    }

    /// True: it was the answer to a refresh.
    pub(super) fn refreshed(&mut self, actor: usize, message: &Message, code: u16) -> bool {
        let Some(refresh) = self.actors[actor].auths.remove(&message.tid) else {
            return false;
        };
        let use_path = self.actors[actor].client.use_path[..=refresh.uri].to_vec();
        match code {
            401 if self.actors[actor].open.is_none() && self.can_write(actor) => {
                let uri = use_path.last().expect("as asked for");
                let authorization = setup::answer(message, uri, 1);
                self.ask(actor, refresh, Some(&authorization));
            }
            401 => {}
            200 => {
                let given = message.header("Use-Path").expect("UPT-04: a Use-Path");
                assert_eq!(given, use_path.join(" "), "UPT-13: the same URI");
                let until = refresh.began + Duration::from_secs(u64::from(refresh.seconds));
                self.actors[actor].lives_until[refresh.uri] = until;
            }
            _ => assert!(
                self.draining || self.troubled > 0 || self.may_be_dead(actor) || code == 408,
                "UPT-13: refused: {message:?}"
            ),
        }
        true
    }

    /// Its relay has not begun to close its connection.
    fn is_served(&self, actor: usize) -> bool {
        let socket = &self.world.sockets[self.actors[actor].client.peer];
        self.is_alive(actor) && !self.world.shards[socket.shard].is_closing(socket.key)
    }

    /// One of its URIs may have come to its end.
    pub(super) fn may_be_dead(&self, actor: usize) -> bool {
        let now = self.world.now;
        let actor = &self.actors[actor];
        actor.lives_until.iter().any(|until| *until <= now)
    }

    /// 481 means that a session is over, and here nobody says so without reason (UPT-12, D-10).
    pub(super) fn check_no_session(&self, text: &Text, code: u16, message: &Message) {
        let receiver = text.stream.receiver;
        let reason = code != 481
            || self.draining
            || self.troubled > 0
            || self.actors[receiver].hostile
            || self.actors[receiver].shut
            || text.refused_481
            || !self.is_served(receiver)
            || self.may_be_dead(text.sender)
            || self.may_be_dead(receiver);
        assert!(
            reason,
            "UPT-12: both sessions live: {message:?}; {}",
            self.story(text)
        );
    }
}
