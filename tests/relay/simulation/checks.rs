//! What must be true at the end of a run.

use super::*;

impl Simulation {
    pub(super) fn check(&self) {
        for text in &self.texts {
            let sender = &self.actors[text.sender];
            let heard = self.is_alive(text.sender) && !sender.shut;
            self.check_once_told(text);
            self.check_not_early(text);
            if heard {
                self.check_nothing_lost(text);
            }
            // Overload refuses what asks for no answer in silence (FWD-04).
            if self.is_gentle() && !text.failed && (text.wish != Wish::No || !self.tight) {
                self.check_delivered(text);
            }
        }
        if self.is_gentle() {
            for actor in &self.actors {
                assert!(
                    actor.nicknames.values().all(|answers| *answers == 1),
                    "FNS-04: an answer is lost"
                );
            }
        }
    }

    /// RPT-06: no octet is signalled twice, nor reported after the receiver's answer was read.
    pub(super) fn check_once_told(&self, text: &Text) {
        let mut told: Vec<(u64, u64, String)> = Vec::new();
        for chunk in &text.chunks {
            if let (Some(code), Some(end)) = (chunk.response.filter(|code| *code != 200), chunk.end)
            {
                told.push((chunk.start, end, format!("response {code}")));
            }
        }
        for report in &text.reports {
            told.push((report.start, report.end, format!("REPORT {}", report.code)));
        }
        told.sort();
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
        for report in text.reports.iter().filter(|report| report.code == 408) {
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
                "FWD-03: {} was answered up to {end} and is known up to {at}",
                text.id
            );
        }
    }

    pub(super) fn check_delivered(&self, text: &Text) {
        let mut at = 1;
        for piece in &text.pieces {
            assert_eq!(piece.start, at, "a gap in {}", text.id);
            at = piece.end;
        }
        assert_eq!(at, text.next, "{} ends early", text.id);
        let flag = text.pieces.last().map(|piece| piece.flag);
        let sent = text.chunks.last().map(|chunk| chunk.flag);
        assert_eq!(flag, sent, "CHK-05: the last flag of {}", text.id);
    }
}
