//! Where the simulation's choices come from: a seed, or the octets of a fuzzer.

/// A stream of choices.
pub enum Dice {
    Seeded(u64),
    /// Once the octets are spent, the end of the run is played by the seed.
    Octets {
        octets: Vec<u8>,
        at: usize,
        after: u64,
    },
}

impl Dice {
    pub fn seeded(seed: u64) -> Self {
        Self::Seeded(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub fn of(octets: &[u8]) -> Self {
        Self::Octets {
            octets: octets.to_vec(),
            at: 0,
            after: 1,
        }
    }

    /// No more choices: the run comes to its end.
    pub fn is_spent(&self) -> bool {
        matches!(self, Self::Octets { octets, at, .. } if *at >= octets.len())
    }

    fn next(&mut self) -> u64 {
        match self {
            Self::Seeded(state) => split_mix(state),
            Self::Octets { octets, at, after } => {
                let Some(rest) = octets.get(*at..).filter(|rest| !rest.is_empty()) else {
                    return split_mix(after);
                };
                *at += 2;
                rest.iter()
                    .take(2)
                    .fold(0, |value, octet| value << 8 | u64::from(*octet))
            }
        }
    }

    /// A number below `below`.
    pub fn roll(&mut self, below: usize) -> usize {
        (self.next() % below.max(1) as u64) as usize
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.roll(100) < percent
    }

    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.roll(choices.len())]
    }

    /// Often small, sometimes all.
    pub fn amount(&mut self) -> usize {
        match self.roll(6) {
            0 => 1 + self.roll(4),
            1 => 1 + self.roll(60),
            2 => 1 + self.roll(3000),
            3 => 1 + self.roll(20_000),
            _ => usize::MAX,
        }
    }
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
