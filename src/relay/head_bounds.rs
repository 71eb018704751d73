//! How long the heads may be that come in, and those that leave.
//!
//! A head changes on its way: our transact-id is longer than most, our URI moves to From-Path, a Byte-Range is
//! added. If the next relay had the same bound as this one, a head just below it here would be above it there, and
//! would end a link that many users share. So what would exceed the bound after rewriting is refused here, an answer may
//! be `ANSWER_ROOM_OCTETS` longer than a request, and from a verified relay `LINK_ROOM_*` more is accepted than is ever
//! sent.

use crate::wire::{DecoderLimits, Head, START_LINE_OCTETS_MAX, Template, TransactId};

use super::Relay;
use super::command::Refusal;
use super::keys::ConnectionKey;
use super::limits::{
    ANSWER_ROOM_OCTETS, LINK_ROOM_LINES, LINK_ROOM_OCTETS, LINK_ROOM_URIS, Limits,
};
use super::notices::Why;

/// What rewriting adds to a head besides a blank behind each colon: a transact-id of ours for the shortest, in the start
/// line and in the end-line, and the longest Byte-Range.
const GROWTH_OCTETS: usize = 2 * TransactId::OCTETS + Template::RANGE_OCTETS_MAX;

/// A URI is not shorter: `msrp://a;tcp`.
const URI_OCTETS_MIN: usize = 12;

/// Octets of a start line around the transact-id and the method or the code: `MSRP`, two spaces, CRLF.
const START_LINE_OCTETS: usize = 8;

/// What the answer to an AUTH has besides both paths, Use-Path and what it repeats of the request: two challenges, or
/// Authentication-Info, and a URI of ours.
const AUTH_ANSWER_OCTETS: usize = 2048;

impl Limits {
    /// How a connection is decoded that is no verified relay's.
    pub(super) fn of_heads(&self) -> DecoderLimits {
        DecoderLimits {
            head_octets_max: self.head_octets_effective(),
            header_lines_max: self.header_lines,
            uris_per_path_max: self.uris_per_path,
            keeps_framing: false,
        }
    }

    /// How a link to a verified relay is decoded: a bad head costs its request, and not the link.
    pub(super) fn of_heads_by_link(&self) -> DecoderLimits {
        DecoderLimits {
            head_octets_max: self.head_octets_effective() + LINK_ROOM_OCTETS,
            header_lines_max: self.header_lines + LINK_ROOM_LINES,
            uris_per_path_max: self.uris_per_path + LINK_ROOM_URIS,
            keeps_framing: true,
        }
    }

    /// No decoder takes more than its own bound.
    fn head_octets_effective(&self) -> usize {
        self.head_octets
            .min(DecoderLimits::HEAD_OCTETS_MAX - LINK_ROOM_OCTETS)
    }

    /// Octets of an answer or a REPORT, head and end-line.
    fn answer_octets(&self) -> usize {
        self.head_octets_effective() + ANSWER_ROOM_OCTETS
    }
}

impl Relay {
    /// The certificate of this connection has verified: others may share it.
    pub(super) fn trust_heads(&mut self, key: ConnectionKey) {
        let limits = self.settings.limits.of_heads_by_link();
        if let Some(connection) = self.connections.get_mut(key) {
            connection.decoder.set_limits(limits);
        }
    }

    /// Why a request cannot leave with this head, if so: it would be longer than what we accept ourselves. The head has no
    /// fault.
    pub(super) fn outgrown(&self, head: &Head, hops: usize) -> Option<Refusal> {
        let limits = &self.settings.limits;
        let octets_max = limits.head_octets_effective();
        let lines = head.header_lines() + usize::from(head.byte_range().is_none());
        let start_line = START_LINE_OCTETS + TransactId::OCTETS + head.method_text().len();
        let fits = lines <= limits.header_lines && start_line <= START_LINE_OCTETS_MAX;
        let from_path = head.from_path();
        let few_uris = |count: usize| count + hops <= limits.uris_per_path;
        // What most heads are far from is not counted.
        let fits = fits
            && (few_uris(from_path.text().len() / URI_OCTETS_MIN + 1) || few_uris(from_path.len()))
            && (head.octets() + lines + GROWTH_OCTETS <= octets_max
                || Template::forwarded(head, hops).octets_max() <= octets_max);
        (!fits).then(|| Refusal::MALFORMED.because(Why::TooLong))
    }

    /// Whether a response that is passed on, or a REPORT of ours, is not too long for whoever it goes to.
    pub(super) fn fits_back(&self, octets: &[u8]) -> bool {
        let start_line = memchr::memchr(b'\n', octets).map_or(octets.len(), |lf| lf + 1);
        start_line <= START_LINE_OCTETS_MAX && octets.len() <= self.settings.limits.answer_octets()
    }

    /// Whether no answer to this AUTH can be too long. Its From-Path comes back twice, and what its Authorization says is
    /// repeated.
    pub(super) fn auth_answer_fits(&self, head: &Head) -> bool {
        let first = head.to_path().first().unwrap_or_default();
        let repeated = [head.message_id(), head.authorization()];
        let repeated: usize = repeated.iter().flatten().map(|value| value.len()).sum();
        let octets = 2 * head.from_path().text().len() + first.len() + repeated;
        octets + AUTH_ANSWER_OCTETS <= self.settings.limits.answer_octets()
    }
}
