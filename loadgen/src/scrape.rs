//! The relay's own view of the measured stretch: `/histograms` before and after, and the difference.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use serde::Deserialize;
use ureq::Agent;

use crate::engine::record::histogram;

const TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_OCTETS_MAX: u64 = 16 << 20;

/// Cumulative histograms by name, in nanoseconds.
pub type Reading = BTreeMap<String, Histogram<u64>>;

#[derive(Deserialize)]
struct Encoded {
    hdr_v2_base64: String,
}

/// A place that answers with histograms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    host: String,
    path: String,
}

impl Target {
    /// `http://127.0.0.1:9855/histograms`; the scheme and the path may be left out.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("http://").unwrap_or(text);
        if rest.contains("://") {
            return Err(format!("`{text}`: only http:// can be scraped"));
        }
        let (host, path) = match rest.split_once('/') {
            None | Some((_, "")) => (rest.trim_end_matches('/'), "histograms"),
            Some((host, path)) => (host, path),
        };
        let port = host
            .rsplit_once(':')
            .and_then(|(_, p)| p.parse::<u16>().ok());
        if port.is_none() {
            return Err(format!("`{text}` has no port: write http://127.0.0.1:9855"));
        }
        Ok(Self {
            host: host.to_owned(),
            path: format!("/{path}"),
        })
    }

    pub fn read(&self) -> Result<Reading, String> {
        let failed = |what: &str| format!("--scrape http://{}{}: {what}", self.host, self.path);
        let body = self
            .get(&self.path)
            .map_err(|e| failed(&format!("{e}; is this the relay's admin address?")))?;
        decode(&body).map_err(|e| failed(&e))
    }

    /// What runs there, if its `/metrics` say so.
    pub fn version(&self) -> Option<String> {
        let body = self.get("/metrics").ok()?;
        build_info(&String::from_utf8_lossy(&body))
    }

    fn get(&self, path: &str) -> Result<Vec<u8>, ureq::Error> {
        let agent: Agent = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .build()
            .into();
        let url = format!("http://{}{path}", self.host);
        let mut answer = agent.get(url).call()?;
        answer
            .body_mut()
            .with_config()
            .limit(ANSWER_OCTETS_MAX)
            .read_to_vec()
    }
}

/// Name and version of a metric `NAME_build_info{version="VERSION"}`, as Prometheus has it by custom.
fn build_info(metrics: &str) -> Option<String> {
    let mut lines = metrics.lines().filter(|line| !line.starts_with('#'));
    lines.find_map(|line| {
        let (name, labels) = line.split_once("_build_info{")?;
        let (_, version) = labels.split_once("version=\"")?;
        let (version, _) = version.split_once('"')?;
        Some(format!("{name} {version}"))
    })
}

fn decode(body: &[u8]) -> Result<Reading, String> {
    let encoded: BTreeMap<String, Encoded> = serde_json::from_slice(body)
        .map_err(|e| format!("no histograms as msrpd serves them: {e}"))?;
    let mut deserializer = Deserializer::new();
    let mut reading = Reading::new();
    for (name, one) in encoded {
        let octets = STANDARD
            .decode(one.hdr_v2_base64)
            .map_err(|e| format!("{name}: {e}"))?;
        let histogram = deserializer
            .deserialize(&mut octets.as_slice())
            .map_err(|e| format!("{name}: {e}"))?;
        reading.insert(name, histogram);
    }
    Ok(reading)
}

/// What came between two readings, with other relays' added.
pub fn add_difference(sum: &mut Reading, before: &Reading, after: &Reading) {
    for (name, after) in after {
        let mut stretch = after.clone();
        if let Some(before) = before.get(name) {
            // A relay that was restarted has begun at nothing again.
            let _ = stretch.subtract(before);
        }
        let sum = sum.entry(name.clone()).or_insert_with(|| {
            let mut new = histogram();
            new.auto(true);
            new
        });
        let _ = sum.add(&stretch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::serialization::{Serializer, V2Serializer};

    #[test]
    fn addresses_may_be_short() {
        let whole = Target::parse("http://127.0.0.1:9855/histograms").unwrap();
        for text in ["127.0.0.1:9855", "http://127.0.0.1:9855", "127.0.0.1:9855/"] {
            assert_eq!(Target::parse(text).as_ref(), Ok(&whole));
        }
        assert!(Target::parse("https://x:1").is_err() && Target::parse("x").is_err());
    }

    fn served(values: &[u64]) -> Vec<u8> {
        let mut one = Histogram::<u64>::new_with_bounds(1_000, 60_000_000_000, 2).unwrap();
        for value in values {
            one.record(*value).unwrap();
        }
        let mut octets = Vec::new();
        V2Serializer::new().serialize(&one, &mut octets).unwrap();
        let text = STANDARD.encode(octets);
        format!("{{\"msrpd_x\":{{\"unit\":\"ns\",\"count\":1,\"hdr_v2_base64\":\"{text}\"}}}}")
            .into_bytes()
    }

    #[test]
    fn difference_of_two_readings_is_what_came_between() {
        let before = decode(&served(&[2_000_000; 50])).unwrap();
        let all: Vec<u64> = [2_000_000; 50].into_iter().chain([9_000_000; 3]).collect();
        let after = decode(&served(&all)).unwrap();
        let mut sum = Reading::new();
        add_difference(&mut sum, &before, &after);
        let between = &sum["msrpd_x"];
        assert_eq!(between.len(), 3);
        let p50 = between.value_at_quantile(0.5) as f64;
        assert!((p50 - 9e6).abs() < 9e4, "{p50}");
        assert!(decode(b"{}").unwrap().is_empty() && decode(b"no").is_err());
    }
}
