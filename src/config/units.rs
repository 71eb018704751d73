//! Durations as the operator writes them: a number and its unit, `"30s"`, `"250ms"`, `"5m"`, `"1h"`, `"1d"`.
//!
//! A bare number is refused: whoever reads `timeout = 30` in a file cannot see whether it means seconds.

use std::time::Duration;

const UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// Reads `"1h"`, also `"1h 30m"`; whole numbers only.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let unit_missing = || {
        format!(
            "`{}` is no duration; write a number and a unit (ms, s, m, h, d), such as \"30s\"",
            text
        )
    };
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(unit_missing());
    }
    let mut milliseconds: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().map_err(|_| unit_missing())?;
        rest = rest[digits..].trim_start();
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = &rest[..letters];
        let (_, factor) = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(unit_missing)?;
        rest = rest[letters..].trim_start();
        milliseconds = number
            .checked_mul(*factor)
            .and_then(|part| milliseconds.checked_add(part))
            .ok_or_else(|| format!("`{text}` is too long a time"))?;
    }
    Ok(Duration::from_millis(milliseconds))
}

/// Writes a duration so that [`parse_duration`] reads it back, in the largest unit that holds it whole.
pub fn format_duration(duration: Duration) -> String {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (unit, factor) = UNITS
        .iter()
        .rev()
        .find(|(_, factor)| milliseconds != 0 && milliseconds.is_multiple_of(*factor))
        .unwrap_or(&("s", 1_000));
    format!("{}{unit}", milliseconds / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration(" 1h 30m "), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("0s"), Ok(Duration::ZERO));
        for bad in [
            "",
            "30",
            "s",
            "-1s",
            "1.5s",
            "1 fortnight",
            "1S",
            "30s x",
            "99999999999999999999s",
            "300000000000000d",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_written_as_they_are_read() {
        for text in [
            "250ms", "30s", "5m", "1h", "1d", "90s", "0s", "36h", "1500ms",
        ] {
            let duration = parse_duration(text).expect("a duration");
            assert_eq!(format_duration(duration), text);
        }
    }
}
