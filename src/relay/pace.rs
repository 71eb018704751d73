//! A bound on how fast one session sends by a link that others use too (design: *Pausing*): a film
//! rests for a moment after each share, so that it keeps neither the link nor both relays' cores
//! at what they can. Its source waits for it. Where that cannot be, no film rests: behind the first
//! relay, and when more is queued than a source alone leaves there, for the source carries chats too.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::Relay;
use super::flow::Flow;
use super::keys::FlowKey;
use super::limits::{LINK_BURST, LINK_BURST_OCTETS};

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

/// Flows that rest, and until when. One that has ended stays here until its time.
pub(super) type Resting = BTreeSet<(Instant, FlowKey)>;

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
        if self.queued >= pace.rests_below {
            self.ahead = Ahead::default();
        } else if rate > 0
            && let Some(until) = self.ahead.write(now, octets, rate)
            && !std::mem::replace(&mut self.rests, true)
        {
            resting.insert((until, key));
        }
    }
}

impl Relay {
    pub(super) fn next_rested(&self) -> Option<Instant> {
        self.resting.first().map(|(until, _)| *until)
    }

    /// Whoever has rested goes on.
    pub(super) fn wake_rested(&mut self, now: Instant) {
        while let Some((until, key)) = self.resting.first().copied()
            && until <= now
        {
            self.resting.pop_first();
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
