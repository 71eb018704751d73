//! Numbers as people read them.

/// Microseconds in the unit that reads best.
pub fn micros(us: f64) -> String {
    match us {
        _ if us < 1_000.0 => format!("{us:.0} us"),
        _ if us < 100_000.0 => format!("{:.2} ms", us / 1e3),
        _ if us < 1_000_000.0 => format!("{:.0} ms", us / 1e3),
        _ => format!("{:.2} s", us / 1e6),
    }
}

/// With as many decimals as say something.
pub fn number(value: f64) -> String {
    match value {
        v if v == v.trunc() && v.abs() < 1e15 => format!("{v:.0}"),
        v if v.abs() >= 1_000.0 => format!("{v:.0}"),
        v if v.abs() >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.3}"),
    }
}

/// `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A rate, rounded and grouped.
pub fn rounded(number: f64) -> String {
    grouped(number.round().max(0.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(123), "123");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(rounded(1_499.6), "1,500");
        assert_eq!(
            [3.0, 1_234.5, 12.34, 0.5].map(number),
            ["3", "1234", "12.3", "0.500"]
        );
        assert_eq!(micros(250.4), "250 us");
        assert_eq!(micros(2_500.0), "2.50 ms");
    }
}
