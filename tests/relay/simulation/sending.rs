//! What the clients send: texts in chunks of any size, and requests that are no SEND.

use super::*;

impl Simulation {
    /// The actor makes more of its chunk, or begins another one.
    pub(super) fn produce(&mut self, first: usize) {
        for step in 0..self.actors.len() {
            let actor = (first + step) % self.actors.len();
            if self.can_write(actor) && self.actors[actor].out.len() < 100_000 {
                match self.actors[actor].open.clone() {
                    Some(open) => self.go_on(actor, open),
                    None if self.chatty => (0..8).for_each(|_| self.chat(actor)),
                    None => self.begin(actor),
                }
                return;
            }
        }
    }

    pub(super) fn begin(&mut self, actor: usize) {
        let unfinished: Vec<usize> = (0..self.texts.len())
            .filter(|text| self.texts[*text].sender == actor && !self.texts[*text].done)
            .collect();
        let text = if !unfinished.is_empty() && self.dice.chance(70) {
            self.dice.pick(&unfinished)
        } else {
            match self.new_text(actor) {
                Some(text) => text,
                None if unfinished.is_empty() => return,
                None => self.dice.pick(&unfinished),
            }
        };
        self.begin_chunk(actor, text);
    }

    /// A short text at once.
    fn chat(&mut self, actor: usize) {
        if self.actors[actor].open.is_none() {
            self.begin(actor);
        }
        while let Some(open) = self.actors[actor].open.clone() {
            self.go_on(actor, open);
        }
    }

    pub(super) fn new_text(&mut self, actor: usize) -> Option<usize> {
        let streams = self.actors[actor].streams.len();
        if self.texts.len() >= self.texts_max || streams == 0 {
            return None;
        }
        let stream = match self.dice.roll(streams * 4) {
            roll if self.chatty && roll >= streams => 0,
            roll => roll % streams,
        };
        let stream = self.actors[actor].streams[stream].clone();
        let total = match self.dice.roll(10) {
            0 => 0,
            1..5 => self.dice.roll(400),
            5..8 => self.dice.roll(6000),
            _ if self.large => self.dice.roll(900_000),
            _ => self.dice.roll(60_000),
        } as u64;
        // Chats are short, all to one wish, and seldom full of what looks like framing.
        let total = if self.chatty { total % 500 } else { total };
        let id = format!("m{}", self.texts.len());
        let wish = self
            .dice
            .pick(&[Wish::Absent, Wish::Yes, Wish::Yes, Wish::Partial, Wish::No]);
        let wish = match self.chatty {
            true => [Wish::Absent, Wish::Yes, Wish::Partial, Wish::No][actor % 4],
            false => wish,
        };
        // Some clients always claim the same total, or count it wrongly (D-39).
        let wrong = self.dice.chance(10);
        let claimed = match wrong {
            true if self.dice.chance(50) => total.saturating_sub(self.dice.roll(30) as u64),
            true => total + self.dice.roll(30) as u64,
            false => total,
        };
        let tells_total = self.dice.chance(60) || self.chatty;
        let offset = self.dice.roll(NOISE_OCTETS - total as usize);
        let offset = match self.chatty && !offset.is_multiple_of(8) {
            true => NOISE_OCTETS + offset % (PLAIN_OCTETS - 500),
            false => offset,
        };
        self.by_id.insert(id.clone(), self.texts.len());
        self.texts.push(Text {
            id,
            sender: actor,
            stream,
            wish,
            total,
            claimed: tells_total.then_some(claimed),
            has_body: total > 0 || self.dice.chance(50),
            offset,
            next: 1,
            done: false,
            failed: false,
            chunks: Vec::new(),
            pieces: Vec::new(),
            reports: Vec::new(),
            refused_481: false,
        });
        Some(self.texts.len() - 1)
    }

    pub(super) fn begin_chunk(&mut self, actor: usize, index: usize) {
        let tid = self.fresh_tid(actor);
        let text = &self.texts[index];
        let left = text.total + 1 - text.next;
        let octets = match self.dice.roll(4) {
            0 if self.chatty => left.min(self.dice.roll(200) as u64),
            _ if self.chatty => left,
            0 => left.min(self.dice.roll(3000) as u64),
            1 => left.min(self.dice.roll(30_000) as u64),
            _ => left,
        };
        let end = text.next + octets;
        let total = match text.claimed {
            Some(total) => total.to_string(),
            None => "*".to_owned(),
        };
        let last = end - 1;
        let range = match self.dice.roll(5) {
            0 if text.next == 1 && text.claimed.is_none() => None,
            1 if text.has_body => Some(format!("{}-{last}/{total}", text.next)),
            2 if text.has_body => Some(format!("{}-{}/{total}", text.next, last + 7)),
            _ if !text.has_body => Some("1-0/0".to_owned()),
            _ => Some(format!("{}-*/{total}", text.next)),
        };
        let to: Vec<&str> = text.stream.to.iter().map(String::as_str).collect();
        let mut builder = Builder::request(&tid, "SEND")
            .to_path(&to)
            .from_path(&[&self.actors[actor].client.uri])
            .header("Message-ID", &text.id)
            .maybe_header("Byte-Range", range.as_deref())
            .maybe_header("Failure-Report", text.wish.header());
        if text.has_body {
            builder = builder.header("Content-Type", "text/plain").body(b"");
        }
        let head = builder.encode_head();
        let text = &mut self.texts[index];
        text.chunks.push(Chunk {
            start: text.next,
            end: None,
            flag: 0,
            end_offset: None,
            response: None,
        });
        let chunk = text.chunks.len() - 1;
        self.actors[actor].tids.insert(tid.clone(), (index, chunk));
        self.actors[actor].open = Some((index, end, tid));
        self.queue(actor, &head);
        if self.dice.chance(50) {
            let open = self.actors[actor].open.clone().expect("opened above");
            self.go_on(actor, open);
        }
    }

    pub(super) fn go_on(&mut self, actor: usize, (index, end, tid): (usize, u64, String)) {
        let most = self.dice.amount().min(40_000) as u64;
        let failed = self.texts[index].failed;
        let gentle = self.is_gentle();
        let text = &self.texts[index];
        let octets = (end - text.next).min(most);
        let at = text.offset + (text.next - 1) as usize;
        let body = &noise()[at..at + octets as usize];
        self.queue(actor, body);
        let text = &mut self.texts[index];
        text.next += octets;
        let aborts = (failed && self.dice.chance(60)) || (!gentle && self.dice.chance(1));
        if text.next < end && !aborts {
            return;
        }
        self.end_chunk(actor, index, &tid, aborts);
    }

    pub(super) fn end_chunk(&mut self, actor: usize, index: usize, tid: &str, aborts: bool) {
        let text = &mut self.texts[index];
        let whole = text.next == text.total + 1;
        let flag = match (aborts, whole) {
            (true, _) => b'#',
            (false, true) => b'$',
            (false, false) => b'+',
        };
        text.done = flag != b'+' || text.failed;
        let next = text.next;
        let before = if text.has_body { "\r\n" } else { "" };
        let line = format!("{before}-------{tid}{}\r\n", char::from(flag));
        self.queue(actor, line.as_bytes());
        let offset = self.actors[actor].produced;
        let chunk = self.texts[index]
            .chunks
            .last_mut()
            .expect("a chunk is open");
        chunk.end = Some(next);
        chunk.flag = flag;
        chunk.end_offset = Some(offset);
        self.actors[actor].open = None;
    }

    /// A request that is not SEND, end to end.
    pub(super) fn something_else(&mut self, actor: usize) {
        if self.actors[actor].open.is_some() || !self.can_write(actor) {
            return;
        }
        let streams = self.actors[actor].streams.len();
        if streams == 0 {
            return;
        }
        let stream = self.dice.roll(streams);
        let stream = self.actors[actor].streams[stream].clone();
        let tid = self.fresh_tid(actor);
        let to: Vec<&str> = stream.to.iter().map(String::as_str).collect();
        let octets = Builder::request(&tid, "NICKNAME")
            .to_path(&to)
            .from_path(&[&self.actors[actor].client.uri])
            .header("Use-Nickname", "\"Åse\"")
            .encode();
        self.actors[actor].nicknames.insert(tid, 0);
        self.queue(actor, &octets);
    }

    pub(super) fn write(&mut self, first: usize) {
        let amount = self.dice.amount();
        for step in 0..self.actors.len() {
            let actor = (first + step) % self.actors.len();
            let peer = self.actors[actor].client.peer;
            if self.actors[actor].out.is_empty() || !self.is_alive(actor) {
                continue;
            }
            let room = 65_536_usize.saturating_sub(self.world.sockets[peer].inbound_len());
            let octets = amount.min(room).min(self.actors[actor].out.len());
            if octets > 0 {
                let octets: Vec<u8> = self.actors[actor].out.drain(..octets).collect();
                self.world.write(peer, &octets);
                return;
            }
        }
    }

    pub(super) fn send_the_rest(&mut self, actor: usize) {
        for text in 0..self.texts.len() {
            while self.texts[text].sender == actor && !self.texts[text].done {
                self.begin_chunk(actor, text);
                while let Some(open) = self.actors[actor].open.clone() {
                    self.go_on(actor, open);
                }
            }
        }
    }
}
