//! How big messages are: one size, a range, weighted sizes, or log-normal, as chat lines really are.

use crate::units::parse_octets;

/// A distribution of sizes in octets.
#[derive(Clone, Debug, PartialEq)]
pub enum Sizes {
    Fixed(u64),
    /// Evenly from the first to the second, both included.
    Range(u64, u64),
    /// Ranges with the sum of the weights up to and including each.
    Weighted(Vec<(u64, u64, f64)>),
    LogNormal {
        /// The natural logarithm of the median.
        mu: f64,
        sigma: f64,
        max: u64,
    },
}

/// Largest message that a log-normal distribution gives unless told otherwise.
const LOG_NORMAL_MAX: u64 = 1 << 20;

/// `300`, `100-2000`, `100=60,300-900=30,8KiB=10` or `lognormal:200:1.2[:64KiB]`.
pub fn parse(text: &str) -> Result<Sizes, String> {
    if let Some(parameters) = text.strip_prefix("lognormal:") {
        return log_normal(parameters);
    }
    if !text.contains('=') {
        return Ok(match range(text)? {
            (low, high) if low == high => Sizes::Fixed(low),
            (low, high) => Sizes::Range(low, high),
        });
    }
    let mut sum = 0.0;
    let mut weighted = Vec::new();
    for part in text.split(',') {
        let (sizes, weight) = part
            .split_once('=')
            .ok_or_else(|| format!("`{part}` has no weight; write 100=60,300-900=30"))?;
        let weight = positive(weight)?;
        let (low, high) = range(sizes)?;
        sum += weight;
        weighted.push((low, high, sum));
    }
    Ok(Sizes::Weighted(weighted))
}

fn log_normal(parameters: &str) -> Result<Sizes, String> {
    let mut parts = parameters.split(':');
    let (Some(median), Some(sigma)) = (parts.next(), parts.next()) else {
        return Err("write lognormal:MEDIAN:SIGMA or lognormal:MEDIAN:SIGMA:MAX".into());
    };
    Ok(Sizes::LogNormal {
        mu: (parse_octets(median)? as f64).ln(),
        sigma: positive(sigma)?,
        max: parts.next().map_or(Ok(LOG_NORMAL_MAX), parse_octets)?,
    })
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let (low, high) = (parse_octets(low)?, parse_octets(high)?);
    (low <= high)
        .then_some((low, high))
        .ok_or_else(|| format!("`{text}` runs backwards"))
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok(number),
        _ => Err(format!("`{text}` is no number above 0")),
    }
}

impl Sizes {
    /// A size drawn with these random bits.
    pub fn draw(&self, random: u64) -> u64 {
        match self {
            Self::Fixed(size) => *size,
            Self::Range(low, high) => within(*low, *high, random),
            Self::Weighted(parts) => {
                let Some(&(.., sum)) = parts.last() else {
                    return 1;
                };
                // The upper half picks the part, the lower half the place in it.
                let picked = unit(random) * sum;
                let part = parts.iter().find(|(.., upto)| picked < *upto);
                let &(low, high, _) = part.unwrap_or(&parts[0]);
                within(low, high, random & 0xffff_ffff)
            }
            Self::LogNormal { mu, sigma, max } => {
                // Box and Muller; the two halves are independent.
                let (a, b) = (unit(random), unit(random << 32));
                let normal = (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos();
                ((mu + sigma * normal).exp().round() as u64).clamp(1, *max)
            }
        }
    }
}

fn within(low: u64, high: u64, random: u64) -> u64 {
    low + random % (high - low + 1)
}

/// The upper 32 bits as a number from 0 to below 1.
fn unit(random: u64) -> f64 {
    (random >> 32) as f64 / (1_u64 << 32) as f64
}

impl std::fmt::Display for Sizes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fixed(size) => write!(f, "{size} octets"),
            Self::Range(low, high) => write!(f, "{low} to {high} octets"),
            Self::Weighted(_) => write!(f, "weighted sizes"),
            Self::LogNormal { mu, sigma, .. } => write!(
                f,
                "log-normal size, median {:.0} octets, sigma {sigma}",
                mu.exp()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::mix;

    fn drawn(text: &str) -> Vec<u64> {
        let sizes = parse(text).unwrap();
        let mut all: Vec<u64> = (0..20_000).map(|i| sizes.draw(mix(i))).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn sizes_come_as_they_are_distributed() {
        assert_eq!(parse("300"), Ok(Sizes::Fixed(300)));
        let range = drawn("100-2000");
        assert_eq!((range[0], range[19_999]), (100, 2000));
        let weighted = drawn("100=60,300-900=30,8KiB=10");
        let small = weighted.iter().filter(|s| **s == 100).count();
        let big = weighted.iter().filter(|s| **s == 8192).count();
        assert!((11_600..12_400).contains(&small), "{small}");
        assert!((1_800..2_200).contains(&big), "{big}");
        let log_normal = drawn("lognormal:200:1:64KiB");
        let (median, high) = (log_normal[10_000], log_normal[16_826]);
        assert!((190..210).contains(&median), "{median}");
        // One sigma above the median: e times as much.
        assert!((500..590).contains(&high), "{high}");
        assert!(log_normal[0] >= 1 && log_normal[19_999] <= 65_536);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "9-3",
            "0",
            "x",
            "100=",
            "100=0,200=1",
            "100=1,200",
            "lognormal:5",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
