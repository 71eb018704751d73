//! `--tolerance`: by how much a figure may be worse.

/// Per cent, for all figures and for some by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Tolerance {
    all: f64,
    named: Vec<(String, f64)>,
}

/// `5%`, `5%,p99=10%,rate=2%`.
pub fn parse(text: &str) -> Result<Tolerance, String> {
    let mut tolerance = Tolerance {
        all: 5.0,
        named: Vec::new(),
    };
    for part in text.split(',').map(str::trim) {
        match part.split_once('=') {
            None => tolerance.all = percent(part)?,
            Some((name, value)) => tolerance.named.push((path(name.trim()), percent(value)?)),
        }
    }
    Ok(tolerance)
}

fn percent(text: &str) -> Result<f64, String> {
    match text.trim().trim_end_matches('%').trim_end().parse::<f64>() {
        Ok(percent) if percent >= 0.0 && percent.is_finite() => Ok(percent),
        _ => Err(format!("`{text}` is no tolerance; write 5%, or 5%,p99=10%")),
    }
}

/// The short names that thresholds use, or a path of the table.
fn path(name: &str) -> String {
    match name {
        "mean" | "p50" | "p90" | "p95" | "p99" | "max" => format!("measured.delivery_us.{name}"),
        "p99.9" => "measured.delivery_us.p999".into(),
        "p99.99" => "measured.delivery_us.p9999".into(),
        "rate" => "measured.messages_per_second".into(),
        "mbps" => "measured.megabytes_per_second".into(),
        "relay_us" => "relay.cpu_us_per_message".into(),
        other => other.into(),
    }
}

impl Tolerance {
    /// For the figure with this path.
    pub fn percent(&self, path: &str) -> f64 {
        let named = self.named.iter().find(|(name, _)| name == path);
        named.map_or(self.all, |(_, percent)| *percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_override_what_is_for_all() {
        let tolerance = parse("2%, p99=10%,relay.cpu_seconds=50").unwrap();
        assert_eq!(tolerance.percent("measured.delivery_us.p50"), 2.0);
        assert_eq!(tolerance.percent("measured.delivery_us.p99"), 10.0);
        assert_eq!(tolerance.percent("relay.cpu_seconds"), 50.0);
        assert!(parse("much").is_err() && parse("p99=-1%").is_err());
    }
}
