//! What the clients see: every octet is compared, every answer and REPORT is noted, and
//! answers are owed.

use super::*;

impl Simulation {
    /// The actor looks at what has arrived.
    pub(super) fn read(&mut self, actor: usize) {
        let peer = self.actors[actor].client.peer;
        for message in self.world.messages(peer) {
            self.actors[actor].seen += message.raw.len() as u64;
            if self.liar == Some(actor) {
                self.lie(&message);
                continue;
            }
            if self.actors[actor].hostile {
                self.captures(actor, &message);
                continue;
            }
            match (message.code(), message.method()) {
                (Some(code), _) => self.response(actor, &message, code),
                (None, Some("SEND")) => self.piece(actor, &message),
                (None, Some("REPORT")) => self.report(actor, &message),
                (None, Some("NICKNAME")) => self.owe(actor, &message, None, 200),
                _ => {}
            }
        }
    }

    pub(super) fn response(&mut self, actor: usize, message: &Message, code: u16) {
        if self.actors[actor].hostile {
            return;
        }
        if let Some(answers) = self.actors[actor].nicknames.get_mut(&message.tid) {
            *answers += 1;
            assert_eq!(*answers, 1, "one answer to a NICKNAME: {message:?}");
            assert!(
                matches!(code, 200 | 413)
                    || self.weather == Weather::Rough
                    || code == 481 && (0..self.actors.len()).any(|actor| self.may_be_dead(actor)),
                "NICKNAME refused in gentle weather: {message:?}"
            );
            return;
        }
        if self.refreshed(actor, message, code) {
            return;
        }
        if !self.is_gentle() && message.tid.starts_with("auth") {
            // The answer to an AUTH that was given up.
            return;
        }
        let Some(&(index, chunk)) = self.actors[actor].tids.get(&message.tid) else {
            panic!("a response to nothing: {message:?}");
        };
        let consumed = self.world.sockets[self.actors[actor].client.peer].consumed;
        let text = &mut self.texts[index];
        assert_ne!(text.wish, Wish::No, "FWD-04: {message:?}");
        let chunk = &mut text.chunks[chunk];
        assert_eq!(chunk.response, None, "a second response: {message:?}");
        chunk.response = Some(code);
        if code == 200 {
            assert!(text.wish.is_yes(), "FWD-05: {message:?}");
            let ended = chunk.end_offset.is_some_and(|end| end <= consumed);
            assert!(
                ended,
                "D-09, a 200 before the end-line was read: {message:?}"
            );
        } else {
            assert!(
                self.weather == Weather::Rough || matches!(code, 413 | 481),
                "refused in gentle weather: {message:?}"
            );
            text.failed = true;
            if self.actors[actor]
                .open
                .as_ref()
                .is_none_or(|open| open.0 != index)
            {
                text.done = true;
            }
            self.check_no_session(&self.texts[index], code, message);
        }
    }

    pub(super) fn report(&mut self, actor: usize, message: &Message) {
        let Some(&index) = message.message_id().and_then(|id| self.by_id.get(id)) else {
            return;
        };
        if self.liar.is_some_and(|liar| {
            let uri = &self.actors[liar].client.uri;
            message.from_path.contains(uri)
        }) {
            return;
        }
        let (namespace, code, _) = message.status().expect("RPT-08: a Status");
        assert_eq!(namespace, 0, "{message:?}");
        let uri = self.actors[actor].client.uri.clone();
        let stop = self.stops(&message.from_path) - 1;
        let text = &mut self.texts[index];
        assert_eq!(text.sender, actor, "RPT-11: {message:?}");
        assert!(text.wish != Wish::No, "RPT-01: {message:?}");
        assert_eq!(message.to_path, [uri], "RPT-07: {message:?}");
        let range = message.byte_range().expect("RPT-09: a Byte-Range");
        let end = range.end.expect("RPT-09: a range with an end") + 1;
        assert!(
            range.start <= end && end <= text.next,
            "RPT-09: beyond what was sent: {message:?}"
        );
        assert!(
            self.weather == Weather::Rough || matches!(code, 413 | 481),
            "reported in gentle weather: {message:?}"
        );
        text.reports.push(Report {
            stop,
            start: range.start,
            end,
            code,
            at: self.world.now,
        });
        text.failed = true;
        if self.actors[actor]
            .open
            .as_ref()
            .is_none_or(|open| open.0 != index)
        {
            text.done = true;
        }
        self.check_no_session(&self.texts[index], code, message);
    }

    pub(super) fn piece(&mut self, actor: usize, message: &Message) {
        let peer = self.actors[actor].client.peer;
        let seen = self.actors[actor].seen;
        let known = message
            .message_id()
            .and_then(|id| self.by_id.get(id))
            .copied();
        if message.message_id() == Some(webs::FORGED) {
            assert_ne!(message.flag, b'$', "WSK-05: it came whole: {message:?}");
        }
        let Some(index) = known else {
            self.owe(actor, message, None, 200);
            return;
        };
        let taken_at = self.world.taken_at(peer, seen);
        let text = &mut self.texts[index];
        let body = message.body();
        assert_eq!(
            text.stream.receiver, actor,
            "delivered to somebody else: {message:?}"
        );
        assert_eq!(
            message.from_path, text.stream.from_at_receiver,
            "URI-02: {message:?}"
        );
        assert_eq!(
            message.to_path,
            text.stream.to[text.stream.to.len() - 1..],
            "URI-02"
        );
        assert_eq!(
            message.header("Failure-Report"),
            text.wish.header(),
            "CHK-16"
        );
        assert_eq!(message.body.is_some(), text.has_body, "SYN-12: {message:?}");
        let range = message.byte_range();
        let start = range.map_or(1, |range| range.start);
        let end = start + body.len() as u64;
        let at = text.offset + (start - 1) as usize;
        assert!(end <= text.next, "beyond what was sent: {start}..{end}");
        assert!(
            noise()[at..at + body.len()] == *body,
            "octets {start}..{end} of {} differ",
            text.id
        );
        if let Some(range) = range {
            let claimed = if text.has_body { text.claimed } else { Some(0) };
            // What is whole has the right total, and so has the last piece where that one's is too small (D-39).
            let ends = message.flag == b'$' && range.end.is_some();
            let total = match ends && (start == 1 || claimed.is_none_or(|total| total < end - 1)) {
                true => Some(end - 1),
                false => claimed,
            };
            // A long one may have been whole before its head left, too.
            let ended = text.chunks.last().is_some_and(|chunk| chunk.flag == b'$');
            let was_whole = ended && range.total == Some(text.total) && (!ends || total == claimed);
            assert!(
                range.total == total || was_whole,
                "CHK-08, {total:?}: {message:?}"
            );
            assert!(
                range.end.is_none_or(|last| last + 1 == end),
                "CHK-09: {message:?}"
            );
            assert!(range.end.is_none() || body.len() <= 2048, "CHK-02");
        }
        // What was whole when its link was lost is still delivered, beside what comes by the next.
        let torn = |socket: &crate::world::Socket| socket.partner.is_some() && !socket.alive();
        if let Some(last) = text.pieces.last()
            && !self.world.sockets.iter().any(torn)
        {
            assert!(start >= last.end, "CHK-12: {start} after {}", last.end);
            assert_ne!(last.flag, b'$', "a piece after the last one");
        }
        if message.flag == b'$' {
            assert_eq!(end, text.total + 1, "CHK-05: `$` in the middle");
            assert_eq!(
                text.chunks.last().map(|chunk| chunk.flag),
                Some(b'$'),
                "CHK-05, CHK-06"
            );
        }
        text.pieces.push(Piece {
            start,
            end,
            flag: message.flag,
            peer,
            taken_at,
            answered: None,
        });
        let piece = text.pieces.len() - 1;
        let (wish, sender) = (text.wish, text.sender);
        // Elsewhere its URI may become known later than its octets arrive.
        let known = self.world.shards.len() == 1 || !self.is_gentle();
        if self.actors[sender].foreign && self.is_alive(sender) && known {
            self.link_back(sender, actor);
        }
        if wish == Wish::No || self.actors[actor].answered_early.contains(&message.tid) {
            return;
        }
        let code = if self.is_gentle() {
            200
        } else {
            self.dice
                .pick(&[200, 200, 200, 200, 200, 200, 200, 413, 481, 0])
        };
        if code != 0 {
            self.owe(actor, message, Some((index, piece)), code);
        }
    }

    pub(super) fn owe(
        &mut self,
        actor: usize,
        message: &Message,
        piece: Option<(usize, usize)>,
        code: u16,
    ) {
        let late = if self.is_gentle() || self.dice.chance(80) {
            0
        } else {
            self.dice.roll(45_000) as u64
        };
        if let Some((text, _)) = piece {
            self.texts[text].refused_481 |= code == 481;
        }
        let octets = Builder::response_to(message, code, None).encode();
        self.actors[actor].owed.push_back(Owed {
            octets,
            piece,
            success: code == 200,
            due: self.world.now + Duration::from_millis(late),
        });
    }

    /// A refusal of a chunk that is still coming in (RSP-10).
    pub(super) fn answer_early(&mut self, actor: usize) {
        let peer = self.actors[actor].client.peer;
        let mut octets = self.world.pending(peer);
        let Some(head) = octets.windows(4).position(|four| four == b"\r\n\r\n") else {
            return;
        };
        octets.truncate(head + 4);
        let Some(tid) = octets.split(|octet| *octet == b' ').nth(1) else {
            return;
        };
        let end = [b"\r\n-------", tid, b"#\r\n"].concat();
        let tid = String::from_utf8_lossy(tid).into_owned();
        octets.extend(end);
        let Ok(message) = Message::parse(&octets) else {
            return;
        };
        let known = message.message_id().and_then(|id| self.by_id.get(id));
        let Some(text) = known.copied() else { return };
        let asks = self.texts[text].wish != Wish::No;
        if asks && message.method() == Some("SEND") && !self.actors[actor].hostile {
            let code = self.dice.pick(&[400, 413, 413, 481]);
            self.texts[text].refused_481 |= code == 481;
            if self.actors[actor].answered_early.insert(tid) {
                self.owe(actor, &message, None, code);
            }
        }
    }

    pub(super) fn answer(&mut self, first: usize, all: bool) {
        for step in 0..self.actors.len() {
            let actor = (first + step) % self.actors.len();
            if !self.can_write(actor) {
                self.actors[actor].owed.clear();
            }
            if self.actors[actor].open.is_some() || self.actors[actor].owed.is_empty() {
                continue;
            }
            let position = (0..self.actors[actor].owed.len())
                .find(|at| all || self.actors[actor].owed[*at].due <= self.world.now);
            let Some(position) = position else { continue };
            let owed = self.actors[actor]
                .owed
                .remove(position)
                .expect("found above");
            self.queue(actor, &owed.octets);
            if let Some((text, piece)) = owed.piece
                && owed.success
            {
                let offset = self.actors[actor].produced;
                self.actors[actor].told.push_back((offset, text, piece));
            }
            return;
        }
    }

    /// Notes which successes the relay has read.
    pub(super) fn note_answers(&mut self) {
        let dials = &self.world.dialling;
        assert!(
            !dials
                .iter()
                .any(|dial| dial.target.contains("x.example.org")),
            "UPT-10: dials for a stranger: {dials:?}"
        );
        assert!(
            !dials.iter().any(|dial| dial.target.ends_with(";ws")),
            "WSK-14: {dials:?}"
        );
        let now = self.world.now;
        for actor in &mut self.actors {
            let socket = &self.world.sockets[actor.client.peer];
            // What was read of a connection that is held for a quota waits.
            let waits = self.slowed && self.world.shards[socket.shard].read_room(socket.key) == 0;
            let consumed = if waits && socket.alive() {
                0
            } else {
                socket.consumed
            };
            while actor.told.front().is_some_and(|told| told.0 <= consumed) {
                let (_, text, piece) = actor.told.pop_front().expect("looked at above");
                self.texts[text].pieces[piece].answered = Some(now);
            }
        }
    }
}
