//! Bounds on results that decide about the exit code: `p99<5ms,lost=0,rate>10000,achieved>99%`. One that ends in `abort` ends
//! the run as soon as it is broken.

use std::fmt;

use crate::summary::Verdict;
use crate::summary::{is_known, known, shown};
use crate::units::parse_duration;

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
    aborts: bool,
    text: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Thresholds(Vec<Threshold>);

pub fn parse(text: &str) -> Result<Thresholds, String> {
    text.split(',')
        .map(|t| parse_one(t.trim()))
        .collect::<Result<_, _>>()
        .map(Thresholds)
}

fn parse_one(text: &str) -> Result<Threshold, String> {
    let (text, aborts) = match text.strip_suffix("abort") {
        Some(rest) => (rest.trim_end(), true),
        None => (text, false),
    };
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
    if !is_known(name) {
        return Err(format!("unknown name `{name}`; known: {}", known()));
    }
    let value = value.trim();
    let number = value.strip_suffix('%').unwrap_or(value).trim_end();
    let bound = match number.parse::<f64>() {
        Ok(number) => number,
        Err(_) => parse_duration(value)?.as_secs_f64() * 1e6,
    };
    Ok(Threshold {
        name: name.into(),
        relation,
        bound,
        aborts,
        text: text.into(),
    })
}

impl Thresholds {
    /// Both.
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// What came of each. `value` gives a result by name, times in microseconds.
    pub fn verdicts(&self, value: impl Fn(&str) -> Option<f64>) -> Vec<Verdict> {
        let verdict = |t: &Threshold| {
            let value = value(&t.name);
            Verdict {
                bound: t.text.clone(),
                value,
                kept: value.is_some_and(|v| t.holds(v)),
                aborted: false,
            }
        };
        self.0.iter().map(verdict).collect()
    }

    /// The first that ends the run, by what is known now; with the value that breaks it, in words.
    pub fn breach(&self, value: impl Fn(&str) -> Option<f64>) -> Option<(String, String)> {
        let aborting = self.0.iter().filter(|t| t.aborts);
        aborting
            .filter_map(|t| Some((t, value(&t.name)?)))
            .find(|(t, v)| t.is_broken_for_good(*v))
            .map(|(t, v)| (t.text.clone(), shown(&t.name, v)))
    }
}

impl Verdict {
    /// The result with its unit.
    pub fn shown(&self) -> String {
        let name = self.bound.split(['<', '>', '=']).next().unwrap_or_default();
        self.value.map_or_else(
            || "no such result".into(),
            |value| shown(name.trim(), value),
        )
    }

    /// For the table, if it was not kept.
    pub fn missed(&self) -> Option<String> {
        match (self.kept, self.value) {
            (true, _) => None,
            (false, None) => Some(format!(
                "{}: there is no such result in this run",
                self.bound
            )),
            (false, Some(_)) => Some(format!("{}: it is {}", self.bound, self.shown())),
        }
    }
}

/// Results that only grow while a run goes on: a lower bound on them may still be reached.
const GROWING: &[&str] = &[
    "sent",
    "due",
    "acknowledged",
    "delivered",
    "reported",
    "wrong",
    "lost",
    "lost_connections",
];

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

    /// Whether more of the run cannot mend it.
    fn is_broken_for_good(&self, value: f64) -> bool {
        match GROWING.contains(&self.name.as_str()) {
            true => match self.relation {
                Relation::Above | Relation::AtLeast => false,
                Relation::Equal => value > self.bound,
                Relation::Below | Relation::AtMost => !self.holds(value),
            },
            false => !self.holds(value),
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for Thresholds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<&str> = self.0.iter().map(|t| t.text.as_str()).collect();
        f.write_str(&texts.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missed(bounds: &Thresholds, value: impl Fn(&str) -> Option<f64>) -> usize {
        bounds
            .verdicts(value)
            .iter()
            .filter_map(Verdict::missed)
            .count()
    }

    #[test]
    fn bounds_are_kept_or_missed() {
        let bounds = parse("p99<5ms, lost=0,rate>=10000,achieved>99%").unwrap();
        let good = |name: &str| match name {
            "p99" => Some(4_999.0),
            "lost" => Some(0.0),
            "rate" => Some(10_000.0),
            "achieved" => Some(99.5),
            _ => None,
        };
        assert_eq!(missed(&bounds, good), 0);
        let bad = |name: &str| good(name).map(|v| if name == "achieved" { 98.0 } else { v + 1.0 });
        assert_eq!(missed(&bounds, bad), 3);
        assert_eq!(missed(&bounds, |_| None), 4);
        assert!(parse("p98<1").is_err() && parse("p99").is_err() && parse("p99<x").is_err());
    }

    #[test]
    fn only_what_cannot_be_mended_ends_a_run() {
        let bounds = parse("delivered>1000 abort,reported=0 abort,p99<5ms abort,wrong=0").unwrap();
        let of = |reported: f64, p99: f64| {
            bounds.breach(move |name| match name {
                "delivered" => Some(3.0),
                "reported" => Some(reported),
                "p99" => Some(p99),
                _ => Some(1.0),
            })
        };
        assert_eq!(of(0.0, 100.0), None);
        assert_eq!(of(1.0, 100.0), Some(("reported=0".into(), "1".into())));
        assert_eq!(of(0.0, 6_000.0), Some(("p99<5ms".into(), "6.00 ms".into())));
    }
}
