//! Values with units, as command lines and scenario files have them.

use std::time::Duration;

use jiff::SignedDuration;

/// `10s`, `500ms`, `2m`, `1h 30m`; a bare number is seconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time; write 10s, 500ms or 2m");
    let duration = match text.parse::<f64>() {
        Ok(seconds) => SignedDuration::try_from_secs_f64(seconds).map_err(|_| wrong())?,
        Err(_) => text.parse::<SignedDuration>().map_err(|_| wrong())?,
    };
    duration.try_into().map_err(|_| wrong())
}

/// `300`, `64KiB`, `1MiB`, `2GiB`, also with kB, MB, GB of thousands.
pub fn parse_octets(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let value: u64 = digits
        .parse()
        .map_err(|_| format!("`{text}` is no size; write 300, 64KiB or 1MiB"))?;
    let unit: u64 = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        unit => return Err(format!("unknown unit `{unit}`; write KiB, MiB or GiB")),
    };
    match value.checked_mul(unit) {
        Some(octets) if octets > 0 => Ok(octets),
        _ => Err(format!("`{text}` is out of range")),
    }
}

/// `5000`, `5k`, `1.5M`: per second, 0 or more.
pub fn parse_rate(text: &str) -> Result<f64, String> {
    let text = text.trim();
    let (number, scale) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1e3),
        Some(b'M') => (&text[..text.len() - 1], 1e6),
        _ => (text, 1.0),
    };
    match number.parse::<f64>() {
        Ok(rate) if rate >= 0.0 && rate.is_finite() => Ok(rate * scale),
        _ => Err(format!("`{text}` is no rate; write 500, 5k or 1.5k")),
    }
}

/// `5ms-500ms`; without units milliseconds are meant.
pub fn parse_hold(text: &str) -> Result<(Duration, Duration), String> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let one = |t: &str| match t.bytes().all(|b| b.is_ascii_digit()) {
        true => parse_duration(&format!("{t}ms")),
        false => parse_duration(t),
    };
    let (low, high) = (one(low)?, one(high)?);
    (low <= high)
        .then_some((low, high))
        .ok_or_else(|| format!("`{text}` runs backwards"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_duration("2min"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("0s"), Ok(Duration::ZERO));
        for text in ["soon", "-1s", "", "5 parsecs", "NaN"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_and_rates_are_read() {
        assert_eq!(parse_octets("64KiB"), Ok(65_536));
        assert_eq!(parse_octets("4GiB"), Ok(1 << 32));
        assert!(parse_octets("0").is_err() && parse_octets("1x").is_err());
        assert_eq!(parse_rate("1.5k"), Ok(1_500.0));
        assert!(parse_rate("-1").is_err() && parse_rate("k").is_err());
    }

    #[test]
    fn ranges_of_times_are_read() {
        let hold = (Duration::from_millis(5), Duration::from_millis(500));
        assert_eq!(parse_hold("5-500"), Ok(hold));
        assert_eq!(parse_hold("5ms-0.5s"), Ok(hold));
        assert!(parse_hold("9ms-5ms").is_err());
    }
}
