//! The octets that messages carry: a fixed table of noise, entered at a place that the message's
//! id decides. So any slice of any message can be checked without keeping the message, and octets
//! that belong to another message or another position do not fit.

/// Octets until the noise repeats. Prime, so that no chunk size is a multiple of it.
const PERIOD: usize = 65_521;

/// Makes and checks bodies.
pub struct Pattern {
    /// The noise twice, so that a slice of up to one period is contiguous anywhere.
    table: Vec<u8>,
}

impl Default for Pattern {
    fn default() -> Self {
        Self::new()
    }
}

impl Pattern {
    pub fn new() -> Self {
        let mut table: Vec<u8> = (0..PERIOD as u64 / 8 + 1)
            .flat_map(|i| mix(i + 1).to_le_bytes())
            .take(PERIOD)
            .collect();
        table.extend_from_within(..);
        Self { table }
    }

    /// Where the message begins in the table.
    pub fn origin(session: u32, sequence: u64) -> usize {
        let hash = mix((u64::from(session) << 40) ^ sequence);
        // The high 32 bits scaled to the period.
        (((hash >> 32) * PERIOD as u64) >> 32) as usize
    }

    /// Appends `octets` octets of the message from position `at` (counted from 0).
    pub fn append(&self, out: &mut Vec<u8>, origin: usize, at: u64, mut octets: usize) {
        let mut from = self.place(origin, at);
        while octets > 0 {
            let piece = octets.min(PERIOD);
            out.extend_from_slice(&self.table[from..from + piece]);
            from = (from + piece) % PERIOD;
            octets -= piece;
        }
    }

    /// Whether these octets are the message's from position `at` on.
    pub fn matches(&self, origin: usize, at: u64, octets: &[u8]) -> bool {
        let mut from = self.place(origin, at);
        for piece in octets.chunks(PERIOD) {
            if self.table[from..from + piece.len()] != *piece {
                return false;
            }
            from = (from + piece.len()) % PERIOD;
        }
        true
    }

    fn place(&self, origin: usize, at: u64) -> usize {
        (origin + (at % PERIOD as u64) as usize) % PERIOD
    }
}

/// The finaliser of splitmix64.
pub fn mix(value: u64) -> u64 {
    let mut z = value
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_slice_is_checked_alone_and_any_other_place_differs() {
        let pattern = Pattern::new();
        let origin = Pattern::origin(3, 77);
        let mut body = Vec::new();
        pattern.append(&mut body, origin, 0, 200_000);
        let mut pieces = Vec::new();
        for at in (0..200_000).step_by(4099) {
            pattern.append(&mut pieces, origin, at as u64, 4099.min(200_000 - at));
        }
        assert_eq!(pieces, body);
        assert!(pattern.matches(origin, 70_000, &body[70_000..199_000]));
        assert!(!pattern.matches(origin, 70_001, &body[70_000..70_016]));
        assert!(!pattern.matches(Pattern::origin(3, 78), 70_000, &body[70_000..70_016]));
        assert!(!pattern.matches(Pattern::origin(4, 77), 70_000, &body[70_000..70_016]));
        body[123_456] ^= 1;
        assert!(!pattern.matches(origin, 0, &body));
    }
}
