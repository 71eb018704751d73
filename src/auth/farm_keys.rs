//! The key file that the relays of a farm share: one key on a line, 64 hex digits, the newest first. Two at most, so that
//! a key can be changed at one node after the other. Blank lines and those that begin with `#` say nothing.

/// A key as [`super::NonceKeys`] wants it.
pub type FarmKey = [u8; 32];

/// What is wrong with a line; never its content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FarmKeyError {
    /// From 1.
    pub line: usize,
    pub what: &'static str,
}

/// Newest first. All errors are found, not only the first.
pub fn parse_farm_keys(text: &str) -> Result<Vec<FarmKey>, Vec<FarmKeyError>> {
    let (mut keys, mut errors) = (Vec::new(), Vec::new());
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match key(line) {
            Ok(key) if keys.contains(&key) => errors.push((index, "this key stands there twice")),
            Ok(_) if keys.len() == 2 => {
                errors.push((index, "a third key; two can be valid at a time"))
            }
            Ok(key) => keys.push(key),
            Err(what) => errors.push((index, what)),
        }
    }
    if keys.is_empty() && errors.is_empty() {
        errors.push((0, "there is no key in this file"));
    }
    match errors.is_empty() {
        true => Ok(keys),
        false => Err(errors
            .into_iter()
            .map(|(index, what)| FarmKeyError {
                line: index + 1,
                what,
            })
            .collect()),
    }
}

fn key(line: &str) -> Result<FarmKey, &'static str> {
    let digits = line.as_bytes();
    if digits.len() != 64 {
        return Err("a key has 64 hex digits");
    }
    let mut key = FarmKey::default();
    for (octet, pair) in key.iter_mut().zip(digits.chunks(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        match (digit(0), digit(1)) {
            (Some(high), Some(low)) => *octet = (high * 16 + low) as u8,
            _ => return Err("a key has hex digits only"),
        }
    }
    match key.iter().all(|octet| *octet == key[0]) {
        true => Err("this is no random key"),
        false => Ok(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const OLD: &str = "FF0102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F";

    #[test]
    fn keys_are_read_newest_first() {
        let keys = parse_farm_keys(&format!("# ours\n\n{NEW}\r\n  {OLD}\n")).expect("two keys");
        assert_eq!(keys.len(), 2);
        assert_eq!(keys[0][..3], [0, 1, 2]);
        assert_eq!(keys[1][..3], [0xff, 1, 2]);
    }

    #[test]
    fn each_bad_line_is_named_and_none_is_repeated() {
        let zeros = "0".repeat(64);
        let text = format!(
            "{NEW}\nshort\n{NEW}\n{}\n{zeros}\n{OLD}\n{}\n",
            "x".repeat(64),
            &OLD.replace("FF", "EE")
        );
        let errors = parse_farm_keys(&text).expect_err("errors");
        let lines: Vec<usize> = errors.iter().map(|error| error.line).collect();
        assert_eq!(lines, [2, 3, 4, 5, 7]);
        let empty = parse_farm_keys("# nothing\n").expect_err("no key");
        assert_eq!(empty[0].what, "there is no key in this file");
        // A letter of two octets must not be cut in the middle.
        parse_farm_keys(&"é".repeat(32)).expect_err("no hex digits");
    }
}
