//! Bounds on results that decide about the exit code: `p99<5ms,lost=0,rate>10000`.

use std::fmt;

use crate::options::parse_duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Below,
    AtMost,
    Equal,
    AtLeast,
    Above,
}

/// One bound. Times are in microseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    name: String,
    relation: Relation,
    bound: f64,
    text: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Thresholds(Vec<Threshold>);

const NAMES: &[&str] = &[
    "p50",
    "p90",
    "p99",
    "p99.9",
    "max",
    "ack_p99",
    "sent",
    "acknowledged",
    "delivered",
    "reported",
    "lost",
    "wrong",
    "rate",
    "mbps",
    "relay_us",
    "relay_ns_per_octet",
    "rss_kib_per_connection",
    "own_us",
    "films_delivered",
    "films_reported",
    "films_lost",
    "standing_reported_max",
];

pub fn parse(text: &str) -> Result<Thresholds, String> {
    text.split(',')
        .map(|t| parse_one(t.trim()))
        .collect::<Result<_, _>>()
        .map(Thresholds)
}

fn parse_one(text: &str) -> Result<Threshold, String> {
    let at = text
        .find(['<', '>', '='])
        .ok_or_else(|| format!("`{text}` has no <, <=, =, >= or >"))?;
    let (name, rest) = text.split_at(at);
    let (relation, value) = [
        ("<=", Relation::AtMost),
        (">=", Relation::AtLeast),
        ("<", Relation::Below),
        (">", Relation::Above),
        ("=", Relation::Equal),
    ]
    .into_iter()
    .find_map(|(sign, relation)| Some((relation, rest.strip_prefix(sign)?)))
    .expect("one of the signs stands there");
    let name = name.trim();
    if !NAMES.contains(&name) {
        return Err(format!("unknown name `{name}`; known: {}", NAMES.join(" ")));
    }
    let value = value.trim();
    let bound = match value.parse::<f64>() {
        Ok(number) => number,
        Err(_) => parse_duration(value)?.as_secs_f64() * 1e6,
    };
    Ok(Threshold {
        name: name.into(),
        relation,
        bound,
        text: text.into(),
    })
}

impl Thresholds {
    /// Those that are missed, as sentences. `value` gives a result by name, times in microseconds.
    pub fn missed(&self, value: impl Fn(&str) -> Option<f64>) -> Vec<String> {
        self.0
            .iter()
            .filter_map(|t| match value(&t.name) {
                None => Some(format!("{t}: there is no such result in this run")),
                Some(v) if t.holds(v) => None,
                Some(v) => Some(format!("{t}: it is {v:.3}")),
            })
            .collect()
    }
}

impl Threshold {
    fn holds(&self, value: f64) -> bool {
        match self.relation {
            Relation::Below => value < self.bound,
            Relation::AtMost => value <= self.bound,
            Relation::Equal => (value - self.bound).abs() < 1e-9,
            Relation::AtLeast => value >= self.bound,
            Relation::Above => value > self.bound,
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_kept_or_missed() {
        let bounds = parse("p99<5ms, lost=0,rate>=10000").unwrap();
        let good = |name: &str| match name {
            "p99" => Some(4_999.0),
            "lost" => Some(0.0),
            "rate" => Some(10_000.0),
            _ => None,
        };
        assert!(bounds.missed(good).is_empty());
        let bad = |name: &str| good(name).map(|v| v + 1.0);
        assert_eq!(bounds.missed(bad).len(), 2);
        assert_eq!(bounds.missed(|_| None).len(), 3);
        assert!(parse("p98<1").is_err() && parse("p99").is_err() && parse("p99<x").is_err());
    }
}
