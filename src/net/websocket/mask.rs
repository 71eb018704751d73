//! Masking (RFC 6455 §5.3): every octet of a client's payload is combined with one of four.

/// Masks or unmasks `octets` in place. `position` is how many octets of the frame's payload came before.
pub(super) fn apply(octets: &mut [u8], key: [u8; 4], position: u64) {
    let shift = (position % 4) as usize;
    let mut turned = key;
    turned.rotate_left(shift);
    let pattern: [u8; 16] = std::array::from_fn(|index| turned[index % 4]);
    let wide = u128::from_ne_bytes(pattern);
    let mut blocks = octets.chunks_exact_mut(16);
    for block in &mut blocks {
        let block: &mut [u8; 16] = block.try_into().expect("a block of 16");
        *block = (u128::from_ne_bytes(*block) ^ wide).to_ne_bytes();
    }
    for (octet, mask) in blocks.into_remainder().iter_mut().zip(pattern) {
        *octet ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_and_position_equals_octet_by_octet() {
        let key = [0x12, 0x00, 0xff, 0x9a];
        for len in 0..70 {
            for position in 0..9_u64 {
                let plain: Vec<u8> = (0..len).map(|index| (index * 7 + 3) as u8).collect();
                let expected: Vec<u8> = plain
                    .iter()
                    .enumerate()
                    .map(|(index, octet)| octet ^ key[(index + position as usize) % 4])
                    .collect();
                let mut masked = plain.clone();
                apply(&mut masked, key, position);
                assert_eq!(masked, expected, "{len} octets from {position}");
            }
        }
    }
}
