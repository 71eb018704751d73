//! How a session sends to another relay (design: *Pausing*): in pieces, with a bound on what is
//! unanswered, and by a link that others use at a bounded rate.
//!
//! For the rate a film rests for a moment after each share, so that it keeps neither the link nor
//! both relays' cores at what they can. Its source waits for it. Where that cannot be, no film
//! rests: behind the first relay, and when more is queued than a source alone leaves there, for
//! the source carries chats too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::wire::Template;

use super::Relay;
use super::connection::Connection;
use super::flow::Flow;
use super::keys::{ConnectionKey, FlowKey, Place};
use super::limits::{
    FLUSH_OCTETS, INTERRUPTIBLE_OCTETS, LINK_BURST, LINK_BURST_OCTETS, Limits,
    REPEATED_HEADS_PER_SECOND,
};
use super::slots::{Slots, key};

/// How a session sends to another relay: a film's backlog shall wait at its own source, not in
/// the link before the chats (design: *Pausing*).
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// A piece ends after so many octets.
    pub piece_octets: usize,
    /// So many octets may have been sent and not been answered. With Failure-Report no or
    /// partial nothing is answered, and the link's own flow control is all there is.
    pub unanswered_octets: usize,
    /// So many octets it may send in a second where others use the link; 0: no bound.
    pub octets_per_second: u64,
    /// And no bound while so much is queued: a source alone is not read until there is less.
    pub rests_below: usize,
    /// Each piece leaves in a frame of its own (RFC 7977 §5.1), of so many octets at most.
    pub frame_octets: Option<usize>,
}

/// What a frame holds besides a body and a template's octets: transact-id twice, Byte-Range, end-line.
const FRAME_OVERHEAD: usize = 160;

impl Pace {
    /// How much of a body a frame holds behind such a head.
    pub fn frame_body(&self, template: &Template) -> Option<usize> {
        let room = self
            .frame_octets?
            .saturating_sub(template.len() + FRAME_OVERHEAD);
        Some(room.max(INTERRUPTIBLE_OCTETS))
    }

    /// How much of a body a piece holds behind such a head.
    pub fn piece_body(&self, template: &Template) -> usize {
        self.frame_body(template).unwrap_or(self.piece_octets)
    }

    /// Of a flow by this connection, if that leads to another relay or to a WebSocket client.
    pub fn of(limits: &Limits, connection: &Connection, from_relay: bool) -> Option<Self> {
        if connection.transport.is_framed() {
            let octets = limits.websocket_chunk_octets;
            return Some(Self {
                piece_octets: octets,
                unanswered_octets: usize::MAX,
                octets_per_second: 0,
                rests_below: 0,
                frame_octets: Some(octets),
            });
        }
        connection.verified.as_ref()?;
        let bounded = !from_relay && !connection.is_for_films();
        Some(Self {
            piece_octets: limits.link_piece_octets,
            unanswered_octets: limits.link_unanswered_octets,
            octets_per_second: if bounded {
                limits.link_octets_per_second
            } else {
                0
            },
            rests_below: (2 * limits.queued_octets_per_session + FLUSH_OCTETS)
                .min(limits.queued_octets_shared / 2),
            frame_octets: None,
        })
    }
}

/// What a session has sent ahead of its rate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ahead {
    time: Duration,
    at: Option<Instant>,
}

impl Ahead {
    /// So many octets were written at this rate, in octets per second; when more may be, if not
    /// at once.
    fn write(&mut self, now: Instant, octets: usize, rate: u64) -> Option<Instant> {
        let since = self.at.replace(now);
        let passed = since.map_or(Duration::MAX, |at| now.saturating_duration_since(at));
        self.time = self.time.saturating_sub(passed) + time_of(octets as u64, rate);
        let ahead = self.time.saturating_sub(burst(rate));
        (!ahead.is_zero()).then(|| now + ahead)
    }
}

fn burst(rate: u64) -> Duration {
    time_of(LINK_BURST_OCTETS, rate).max(LINK_BURST)
}

fn time_of(octets: u64, rate: u64) -> Duration {
    let nanos = u128::from(octets) * 1_000_000_000 / u128::from(rate);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

key!(
    /// What one source sends by one link to another relay.
    RateKey
);

/// One source's rate by one link, however many paths it spells: each has a flow of its own.
#[derive(Debug)]
struct Rated {
    link: ConnectionKey,
    source: Place,
    ahead: Ahead,
    flows: usize,
}

/// Who is ahead of the rate.
#[derive(Default)]
pub(super) struct Resting {
    /// Flows that rest, and until when. One that has ended stays here until its time.
    due: BTreeSet<(Instant, FlowKey)>,
    rates: Slots<RateKey, Rated>,
    by_source: BTreeMap<(ConnectionKey, Place), RateKey>,
}

impl Resting {
    /// One more flow of this source by this link.
    pub fn join(&mut self, link: ConnectionKey, source: Place) -> RateKey {
        let rates = &mut self.rates;
        let key = *self.by_source.entry((link, source)).or_insert_with(|| {
            rates.insert(Rated {
                link,
                source,
                ahead: Ahead::default(),
                flows: 0,
            })
        });
        if let Some(rated) = self.rates.get_mut(key) {
            rated.flows += 1;
        }
        key
    }

    /// A flow has ended.
    pub fn leave(&mut self, flow: &Flow) {
        let Some(key) = flow.rate else { return };
        let Some(rated) = self.rates.get_mut(key) else {
            return;
        };
        rated.flows -= 1;
        if rated.flows == 0 {
            let of = (rated.link, rated.source);
            self.rates.remove(key);
            self.by_source.remove(&of);
        }
    }

    pub fn rests(&self, key: FlowKey) -> bool {
        self.due.iter().any(|(_, resting)| *resting == key)
    }

    /// Panics unless there is one rate for each source of flows by a link.
    pub fn assert_counts(&self, flows: usize) {
        let counted: usize = self.rates.iter().map(|(_, rated)| rated.flows).sum();
        assert_eq!(counted, flows, "flows that share rates");
        assert_eq!(self.rates.len(), self.by_source.len());
    }
}

impl Flow {
    /// So many octets were written by a link that others use.
    pub fn wrote_beside_others(
        &mut self,
        now: Instant,
        key: FlowKey,
        octets: usize,
        resting: &mut Resting,
    ) {
        let Some(pace) = self.pace else { return };
        let rate = pace.octets_per_second;
        let Some(rated) = self.rate.and_then(|key| resting.rates.get_mut(key)) else {
            return;
        };
        if self.queued >= pace.rests_below {
            rated.ahead = Ahead::default();
        } else if rate > 0
            && let Some(until) = rated.ahead.write(now, octets, rate)
            && !std::mem::replace(&mut self.rests, true)
        {
            resting.due.insert((until, key));
        }
    }
}

impl Flow {
    /// A piece had to end with fewer octets than its head has, for its source stalls while others wait. So the next piece
    /// waits for a moment: else a source that sends octet by octet would have its head sent with each.
    pub fn repeats_head(
        &mut self,
        now: Instant,
        key: FlowKey,
        octets: usize,
        resting: &mut Resting,
    ) {
        if !std::mem::replace(&mut self.rests, true) {
            let pause = time_of(octets as u64, REPEATED_HEADS_PER_SECOND);
            resting.due.insert((now + pause, key));
        }
    }
}

impl Relay {
    /// What has waited for a link to another relay is sent at its pace, or at another one.
    pub(super) fn pace_flows(&mut self, key: ConnectionKey) {
        let link = self.connections.get(key);
        let paced = |connection: &&Connection| {
            connection.verified.is_some() || connection.transport.is_framed()
        };
        let Some(link) = link.filter(paced) else {
            return;
        };
        let flows: Vec<FlowKey> = link.egress.flows.iter().copied().collect();
        for key in &flows {
            if let Some(flow) = self.flows.get_mut(*key) {
                flow.pace = Pace::of(&self.settings.limits, link, flow.from_relay);
            }
        }
        // Who had to wait may not have to any more.
        for key in flows {
            self.flow_goes_on(key);
        }
    }

    pub(super) fn next_rested(&self) -> Option<Instant> {
        self.resting.due.first().map(|(until, _)| *until)
    }

    /// Whoever has rested goes on.
    pub(super) fn wake_rested(&mut self, now: Instant) {
        while let Some((until, key)) = self.resting.due.first().copied()
            && until <= now
        {
            self.resting.due.pop_first();
            if let Some(flow) = self.flows.get_mut(key) {
                flow.rests = false;
                self.flow_goes_on(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_over_time_is_the_rate_and_one_burst() {
        for rate in [1 << 20, 64 << 20, 10_000_000_000] {
            let began = Instant::now();
            let (mut ahead, mut now, mut written) = (Ahead::default(), began, 0_u64);
            while now < began + Duration::from_secs(4) {
                written += 16_384;
                match ahead.write(now, 16_384, rate) {
                    Some(until) => now = until,
                    None => now += Duration::from_nanos(100),
                }
            }
            let fair = rate * 4;
            // A write's time is cut to whole nanoseconds.
            let rounding = fair / 2000;
            let most = fair + LINK_BURST_OCTETS.max(rate / 250) + 2 * 16_384 + rounding;
            assert!((fair..=most).contains(&written), "{written} at {rate}");
        }
    }

    #[test]
    fn who_was_quiet_may_send_a_burst_and_no_more_for_waiting_longer() {
        let now = Instant::now();
        let mut ahead = Ahead::default();
        let burst = LINK_BURST_OCTETS as usize;
        assert_eq!(ahead.write(now, burst, 1000), None);
        let later = now + Duration::from_secs(1 << 30);
        assert_eq!(ahead.write(later, burst, 1000), None);
        let second = later + Duration::from_secs(1);
        assert_eq!(ahead.write(later, 1000, 1000), Some(second));
    }
}
