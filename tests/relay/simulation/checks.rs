//! What must be true at the end of a run.

use super::*;

impl Simulation {
    pub(super) fn check(&self) {
        for text in &self.texts {
            if Some(text.stream.receiver) == self.liar {
                // About what a liar was given there is no truth to check.
                continue;
            }
            let sender = &self.actors[text.sender];
            // UPT-14: a REPORT that begins after the end of a URI on its way is not forwarded.
            let over = self.may_be_dead(text.sender) || self.may_be_dead(text.stream.receiver);
            let heard = self.is_alive(text.sender) && !sender.shut && !over;
            // A link that dies or stalls takes answers and REPORTs with it: what was delivered
            // may be reported too, and what another relay would have said is not heard.
            if self.troubled == 0 {
                self.check_once_told(text);
                self.check_not_early(text);
            }
            // A link may also end by stalling, with what the kernel has of a REPORT.
            let whole = self.troubled == 0 && self.lost_ends() == 0;
            if heard && (whole || self.is_one_loss_at_most(text)) {
                self.check_nothing_lost(text);
            }
            // Overload refuses what asks for no answer in silence (FWD-04).
            // Where few transactions may be open, the oldest that asks for failures alone is forgotten.
            let may_vanish = matches!(text.wish, Wish::No | Wish::Partial) && self.tight;
            if self.is_gentle() && !text.failed && !may_vanish {
                self.check_delivered(text);
            }
        }
        // Whoever is slowed may answer too late.
        if self.is_gentle() && !self.slowed {
            for actor in &self.actors {
                assert!(
                    actor.nicknames.values().all(|answers| *answers == 1),
                    "FNS-04: an answer is lost"
                );
            }
        }
    }

    /// RPT-06: no relay signals an octet twice, nor reports it after the receiver's answer was
    /// read. Relays in a row cannot agree about more: a nearer one that is refused in the middle
    /// of its chunk says so of all of it, whatever a farther one had said of parts, or delivered.
    fn check_once_told(&self, text: &Text) {
        let stops = self.stops(&text.stream.to[..text.stream.to.len() - 1]);
        for stop in 0..stops {
            Self::check_once_told_by(text, stop);
        }
        self.check_not_told_of_delivered(text, stops - 1);
    }

    /// What this relay signalled; responses come from the sender's own.
    fn told_by(text: &Text, stop: usize) -> Vec<(u64, u64, String)> {
        let mut told: Vec<(u64, u64, String)> = Vec::new();
        for chunk in text.chunks.iter().filter(|_| stop == 0) {
            if let (Some(code), Some(end)) = (chunk.response.filter(|code| *code != 200), chunk.end)
            {
                told.push((chunk.start, end, format!("response {code}")));
            }
        }
        for report in text.reports.iter().filter(|report| report.stop == stop) {
            told.push((report.start, report.end, format!("REPORT {}", report.code)));
        }
        told.sort();
        told
    }

    fn check_once_told_by(text: &Text, stop: usize) {
        let told = Self::told_by(text, stop);
        for pair in told.windows(2) {
            assert!(
                pair[0].1 <= pair[1].0,
                "RPT-06: {} told twice: {told:?}",
                text.id
            );
        }
        let empty = told.iter().filter(|(start, end, _)| start == end).count();
        let empty_chunks = text
            .chunks
            .iter()
            .filter(|chunk| chunk.end == Some(chunk.start))
            .count();
        assert!(
            empty <= empty_chunks,
            "RPT-06: {} told too often: {told:?}",
            text.id
        );
    }

    /// RSP-08, by the relay that the receiver answers.
    fn check_not_told_of_delivered(&self, text: &Text, last: usize) {
        let told = Self::told_by(text, last);
        let whole = |piece: &&Piece| piece.start < piece.end && piece.flag != b'#';
        for piece in text.pieces.iter().filter(whole) {
            let Some(answered) = piece.answered else {
                continue;
            };
            if answered >= piece.taken_at + Duration::from_secs(30) {
                continue;
            }
            let twice = told
                .iter()
                .find(|(start, end, _)| *start < piece.end && piece.start < *end);
            let shut = self.actors[text.stream.receiver].shut;
            let ended_at = self.world.sockets[piece.peer].ended_at;
            let lost = shut || ended_at.is_some_and(|at| at <= answered);
            // A refusal of the chunk that is still coming in covers what was delivered of it.
            let refused = twice.is_some_and(|told| told.2.starts_with("response"));
            assert!(
                twice.is_none() || lost || refused || self.draining,
                "RSP-08: {}..{} of {} was taken at {:?}, answered at {:?} and still reported: {told:?}",
                piece.start,
                piece.end,
                text.id,
                piece.taken_at - self.world.began,
                answered - self.world.began,
            );
        }
    }

    /// TMR-01, TMR-07: a 408 comes 30 s after the kernel took the last octet, not before.
    pub(super) fn check_not_early(&self, text: &Text) {
        let last = self.stops(&text.stream.to[..text.stream.to.len() - 1]) - 1;
        let by_last = |report: &&Report| report.code == 408 && report.stop == last;
        for report in text.reports.iter().filter(by_last) {
            for piece in &text.pieces {
                let overlaps = report.start < piece.end && piece.start < report.end;
                let socket = &self.world.sockets[piece.peer];
                let shut = self.actors[text.stream.receiver].shut;
                let lost = shut || socket.ended_at.is_some_and(|at| at <= report.at);
                // A piece that ends `#` was given up for what came before it.
                if overlaps && !lost && !self.draining && piece.flag != b'#' {
                    assert_ne!(text.wish, Wish::Partial, "RPT-03: {}", text.id);
                    assert!(
                        report.at >= piece.taken_at + Duration::from_secs(30),
                        "TMR-01: {} {}..{} reported at {:?}, piece {}..{}{} of {} reported after {:?}",
                        text.id,
                        report.start,
                        report.end,
                        report.at - self.world.began,
                        piece.start,
                        piece.end,
                        char::from(piece.flag),
                        text.stream.receiver,
                        report.at.saturating_duration_since(piece.taken_at)
                    );
                }
            }
        }
    }

    /// FWD-03: what was acknowledged was delivered or reported; what asks for an answer has one.
    pub(super) fn check_nothing_lost(&self, text: &Text) {
        for chunk in &text.chunks {
            if !text.wish.is_yes() || chunk.end.is_none() {
                continue;
            }
            assert!(
                chunk.response.is_some(),
                "FWD-02: no response to {}..{:?} of {}",
                chunk.start,
                chunk.end,
                text.id
            );
            if chunk.response != Some(200) {
                continue;
            }
            let end = chunk.end.expect("looked at above");
            let mut known: Vec<(u64, u64)> = text
                .pieces
                .iter()
                .map(|piece| (piece.start, piece.end))
                .collect();
            known.extend(text.reports.iter().map(|report| (report.start, report.end)));
            known.sort_unstable();
            let mut at = chunk.start;
            let mut touched = false;
            for (start, stop) in known {
                touched |= start <= chunk.start && chunk.start <= stop;
                if start <= at {
                    at = at.max(stop);
                }
            }
            assert!(
                at >= end && (touched || end > chunk.start),
                "FWD-03: {} was answered up to {end} and is known up to {at}; {}",
                text.id,
                self.story(text)
            );
        }
    }

    pub(super) fn check_delivered(&self, text: &Text) {
        let mut at = 1;
        for piece in &text.pieces {
            assert_eq!(piece.start, at, "a gap in {}", text.id);
            at = piece.end;
        }
        assert_eq!(
            at,
            text.next,
            "{} ends early; {}",
            text.id,
            self.story(text)
        );
        let flag = text.pieces.last().map(|piece| piece.flag);
        let sent = text.chunks.last().map(|chunk| chunk.flag);
        assert_eq!(flag, sent, "CHK-05: the last flag of {}", text.id);
    }

    /// Ends of links that did not close in order; a link has two.
    fn lost_ends(&self) -> usize {
        let lost = |socket: &&Socket| {
            let in_order = matches!(socket.ended, None | Some(Ended::Closed(_)));
            socket.partner.is_some() && !in_order
        };
        self.world.sockets.iter().filter(lost).count()
    }

    /// At most one link was lost, the path crosses it once, and nobody beyond it had anything to
    /// report: no REPORT can have been lost with it.
    fn is_one_loss_at_most(&self, text: &Text) -> bool {
        let answered = |piece: &Piece| piece.answered.is_some() || text.wish == Wish::No;
        let path = &text.stream.to[..text.stream.to.len() - 1];
        let relays: BTreeSet<_> = path.iter().map(|uri| self.relay_of(uri)).collect();
        // Whoever could not go on beyond the link says so by it.
        self.world.failed_dials == 0
            && self.lost_ends() <= 2
            && self.stops(path) == relays.len()
            && self.is_alive(text.stream.receiver)
            && !self.actors[text.stream.receiver].shut
            && text.pieces.iter().all(answered)
    }

    /// What became of it, for the messages of failed checks.
    pub(super) fn story(&self, text: &Text) -> String {
        let pieces: Vec<_> = text
            .pieces
            .iter()
            .map(|piece| {
                (
                    piece.start,
                    piece.end,
                    char::from(piece.flag),
                    piece.answered,
                )
            })
            .collect();
        let reports: Vec<_> = text
            .reports
            .iter()
            .map(|report| (report.start, report.end, report.code, report.stop))
            .collect();
        format!(
            "sender {}, receiver {} {:?}, {:?}, path {:?}, pieces {pieces:?}, reports {reports:?}, trouble {}, answers {:?}, ended {:?}",
            text.sender,
            text.stream.receiver,
            self.world.sockets[self.actors[text.stream.receiver].client.peer].ended,
            text.wish,
            text.stream.to,
            self.troubled,
            text.chunks
                .iter()
                .map(|chunk| chunk.response)
                .collect::<Vec<_>>(),
            self.world.sockets[self.actors[text.sender].client.peer].ended
        )
    }
}
