//! When messages of an open loop are due: a rate over time, and how arrivals scatter around it.
//!
//! The rate is made of pieces that are constant or linear in time. Every message has a *position*: how many were due before it.
//! [`Profile::time_at`] turns a position into a time, so that no delay of one message moves the next, and sessions share a
//! profile by taking positions in turn.

use std::time::Duration;

use crate::pattern::mix;
use crate::units::{parse_duration, parse_rate};

/// How arrivals scatter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Arrivals {
    /// At equal distances.
    #[default]
    Even,
    /// Independent of each other, as those of many people are.
    Poisson,
}

/// A rate that is held, or that changes linearly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stage {
    pub length: Duration,
    /// Messages per second at its two ends.
    pub from: f64,
    pub to: f64,
}

/// The rate over time, with time 0 at the beginning of the measured stretch.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    pieces: Vec<Piece>,
}

/// Seconds, messages, messages per second.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Piece {
    begins: f64,
    /// Messages due before it.
    position: f64,
    rate: f64,
    /// Change of the rate per second.
    slope: f64,
}

impl Piece {
    fn rate_at(&self, time: f64) -> f64 {
        self.rate + self.slope * (time - self.begins)
    }

    fn position_at(&self, time: f64) -> f64 {
        let after = time - self.begins;
        self.position + (self.rate + self.slope * after / 2.0) * after
    }

    /// When so many have been due; the root of a square equation, written so that it holds for a slope of 0 as well.
    fn time_at(&self, position: f64) -> f64 {
        let more = position - self.position;
        if more <= 0.0 {
            return self.begins;
        }
        let root = (self.rate * self.rate + 2.0 * self.slope * more)
            .max(0.0)
            .sqrt();
        self.begins + 2.0 * more / (self.rate + root)
    }
}

impl Profile {
    /// One rate for ever.
    pub fn constant(rate: f64) -> Self {
        Self::new(Duration::ZERO, &[], rate)
    }

    /// The stages, then `after` for ever. The warm-up before them has the rate that they begin with.
    pub fn staged(warmup: Duration, stages: &[Stage]) -> Self {
        let after = stages.last().map_or(0.0, |last| last.to);
        Self::new(warmup, stages, after)
    }

    fn new(warmup: Duration, stages: &[Stage], after: f64) -> Self {
        let first = stages.first().map_or(after, |stage| stage.from);
        let mut profile = Self {
            pieces: vec![Piece {
                begins: -warmup.as_secs_f64(),
                position: 0.0,
                rate: first,
                slope: 0.0,
            }],
        };
        let mut begins = 0.0;
        for stage in stages {
            let length = stage.length.as_secs_f64();
            if length > 0.0 {
                profile.push(begins, stage.from, (stage.to - stage.from) / length);
            }
            begins += length;
        }
        profile.push(begins, after, 0.0);
        profile
    }

    fn push(&mut self, begins: f64, rate: f64, slope: f64) {
        let last = self.pieces.last().copied();
        let last = last.expect("a profile has a piece");
        if slope == 0.0 && last.slope == 0.0 && last.rate == rate {
            return;
        }
        self.pieces.push(Piece {
            begins,
            position: last.position_at(begins),
            rate,
            slope,
        });
    }

    /// Seconds from the beginning of the measured stretch; infinite where it never comes to that.
    pub fn time_at(&self, position: f64) -> f64 {
        let after = self
            .pieces
            .partition_point(|piece| piece.position <= position);
        self.pieces[after.saturating_sub(1)].time_at(position)
    }

    pub fn rate_at(&self, time: f64) -> f64 {
        self.piece_at(time).rate_at(time)
    }

    fn piece_at(&self, time: f64) -> &Piece {
        let after = self.pieces.partition_point(|piece| piece.begins <= time);
        &self.pieces[after.saturating_sub(1)]
    }

    /// The same rate times `factor` from this time on.
    pub fn scaled(&self, time: f64, factor: f64) -> Self {
        let now = *self.piece_at(time);
        let mut pieces: Vec<Piece> = self
            .pieces
            .iter()
            .copied()
            .filter(|piece| piece.begins < time)
            .collect();
        let later = self
            .pieces
            .iter()
            .copied()
            .filter(|piece| piece.begins >= time);
        let mut scaled = Self { pieces: Vec::new() };
        let rest = std::iter::once(Piece {
            begins: time,
            rate: now.rate_at(time),
            ..now
        })
        .chain(later);
        for mut piece in rest {
            piece.position = match scaled.pieces.last() {
                None => now.position_at(time),
                Some(last) => last.position_at(piece.begins),
            };
            piece.rate *= factor;
            piece.slope *= factor;
            scaled.pieces.push(piece);
        }
        pieces.append(&mut scaled.pieces);
        Self { pieces }
    }
}

/// One session's positions in a profile.
#[derive(Clone, Copy, Debug, Default)]
pub struct Places {
    pub next: f64,
    step: f64,
    arrivals: Arrivals,
    random: u64,
}

impl Places {
    /// Of the session with this number among `sessions` that share a profile.
    pub fn new(arrivals: Arrivals, number: usize, sessions: usize, seed: u64) -> Self {
        let mut places = Self {
            next: number as f64,
            step: sessions as f64,
            arrivals,
            random: mix(seed ^ 0x6172_7269_7661_6c73),
        };
        if arrivals == Arrivals::Poisson {
            places.next = 0.0;
            places.advance();
        }
        places
    }

    pub fn advance(&mut self) {
        self.next += match self.arrivals {
            Arrivals::Even => self.step,
            Arrivals::Poisson => {
                self.random = mix(self.random);
                // From above 0 to 1, so that the logarithm is finite.
                let unit = ((self.random >> 11) + 1) as f64 / (1_u64 << 53) as f64;
                -unit.ln() * self.step
            }
        };
    }
}

/// `5000`, `5k`, or a ramp such as `1k..20k/60s`.
pub fn parse_rates(text: &str) -> Result<Vec<Stage>, String> {
    let Some((from, rest)) = text.split_once("..") else {
        let rate = parse_rate(text)?;
        return Ok(vec![Stage {
            length: Duration::ZERO,
            from: rate,
            to: rate,
        }]);
    };
    let (to, length) = rest
        .split_once('/')
        .ok_or_else(|| format!("`{text}` does not say in what time: write 1k..20k/60s"))?;
    Ok(vec![Stage {
        length: parse_length(length)?,
        from: parse_rate(from)?,
        to: parse_rate(to)?,
    }])
}

/// `ramp 10s 5k, hold 30s, ramp 5s 0`: a ramp begins where the stage before ended, the first one at 0.
pub fn parse_stages(text: &str) -> Result<Vec<Stage>, String> {
    let mut stages = Vec::new();
    let mut rate = 0.0;
    for part in text.split(',').map(str::trim) {
        let words: Vec<&str> = part.split_whitespace().collect();
        let stage = match words[..] {
            ["ramp", length, to] => Stage {
                length: parse_length(length)?,
                from: rate,
                to: parse_rate(to)?,
            },
            ["hold", length] => Stage {
                length: parse_length(length)?,
                from: rate,
                to: rate,
            },
            ["hold", length, at] => Stage {
                length: parse_length(length)?,
                from: parse_rate(at)?,
                to: parse_rate(at)?,
            },
            _ => {
                return Err(format!(
                    "`{part}` is no stage: write `ramp 10s 5k`, `hold 30s` or `hold 30s 2k`"
                ));
            }
        };
        rate = stage.to;
        stages.push(stage);
    }
    match stages
        .iter()
        .any(|stage| stage.from > 0.0 || stage.to > 0.0)
    {
        true => Ok(stages),
        false => Err("no stage has a rate above 0".into()),
    }
}

fn parse_length(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("a stage takes more than no time".into()),
        length => Ok(length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Profile {
        /// Messages due before this time.
        fn position_at(&self, time: f64) -> f64 {
            self.piece_at(time).position_at(time)
        }

        fn due_within(&self, duration: Duration) -> f64 {
            self.position_at(duration.as_secs_f64()) - self.position_at(0.0)
        }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_constant_rate_is_due_at_equal_distances() {
        let profile = Profile::constant(200.0);
        assert!((profile.time_at(100.0) - 0.5).abs() < 1e-9);
        assert!((profile.due_within(seconds(3)) - 600.0).abs() < 1e-9);
    }

    #[test]
    fn the_warm_up_lies_before_the_measured_stretch() {
        let stages = parse_rates("100").unwrap();
        let profile = Profile::staged(seconds(2), &stages);
        assert!((profile.time_at(0.0) + 2.0).abs() < 1e-9);
        assert!((profile.position_at(0.0) - 200.0).abs() < 1e-9);
    }

    #[test]
    fn a_ramp_is_due_as_the_area_below_it() {
        let profile = Profile::staged(Duration::ZERO, &parse_rates("1k..20k/60s").unwrap());
        assert!((profile.due_within(seconds(60)) - 630_000.0).abs() < 1e-3);
        assert!((profile.rate_at(30.0) - 10_500.0).abs() < 1e-6);
        for time in [0.0, 0.5, 17.0, 59.9, 80.0] {
            let back = profile.time_at(profile.position_at(time));
            assert!((back - time).abs() < 1e-6, "{time}: {back}");
        }
    }

    #[test]
    fn stages_follow_each_other_also_by_way_of_nothing() {
        let stages =
            parse_stages("ramp 10s 5k, hold 30s, ramp 5s 0, hold 5s, hold 1s 100").unwrap();
        let profile = Profile::staged(seconds(1), &stages);
        let due = 25_000.0 + 150_000.0 + 12_500.0;
        assert!((profile.position_at(45.0) - due).abs() < 1e-3);
        assert!((profile.position_at(50.0) - due).abs() < 1e-3);
        let next = profile.time_at(due + 1.0);
        assert!((next - 50.01).abs() < 1e-6, "{next}");
        assert!(parse_stages("ramp 10s").is_err() && parse_stages("hold 5s").is_err());
        assert!(parse_rates("1k..2k").is_err() && parse_rates("1k..2k/0s").is_err());
    }

    #[test]
    fn a_profile_that_ends_at_nothing_never_gets_further() {
        let profile = Profile::staged(
            Duration::ZERO,
            &parse_stages("hold 1s 10, ramp 1s 0").unwrap(),
        );
        assert!(profile.time_at(16.0).is_infinite());
    }

    #[test]
    fn a_changed_rate_holds_from_then_on() {
        let profile = Profile::staged(
            Duration::ZERO,
            &parse_stages("hold 10s 100, ramp 10s 200").unwrap(),
        );
        let doubled = profile.scaled(5.0, 2.0);
        assert!((doubled.position_at(5.0) - 500.0).abs() < 1e-9);
        assert!((doubled.position_at(10.0) - 1_500.0).abs() < 1e-9);
        assert!((doubled.position_at(20.0) - 4_500.0).abs() < 1e-6);
        assert!((doubled.time_at(250.0) - 2.5).abs() < 1e-9);
    }

    #[test]
    fn sessions_share_a_profile_and_poisson_scatters_by_its_rate() {
        let mut even: Vec<f64> = (0..4)
            .flat_map(|number| {
                let mut places = Places::new(Arrivals::Even, number, 4, 0);
                std::iter::from_fn(move || {
                    let place = places.next;
                    places.advance();
                    Some(place)
                })
                .take(3)
            })
            .collect();
        even.sort_by(f64::total_cmp);
        assert_eq!(even, (0..12).map(f64::from).collect::<Vec<_>>());

        let mut places = Places::new(Arrivals::Poisson, 0, 1, 7);
        let mut gaps = Vec::new();
        for _ in 0..20_000 {
            let before = places.next;
            places.advance();
            gaps.push(places.next - before);
        }
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // Exponential: the deviation is as large as the mean.
        assert!((0.97..1.03).contains(&mean), "{mean}");
        assert!((0.93..1.07).contains(&variance), "{variance}");
    }
}
