//! Answers for as long as they count, those that say that there is none included (DNS-07).

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::Failure;
use super::service::Service;

/// Names kept.
const CACHE_MAX: usize = 4096;
/// Longest lives of answers, and of those that there is none.
const TTL_MAX: Duration = Duration::from_secs(3600);
const NEGATIVE_TTL_MAX: Duration = Duration::from_secs(30);
/// Failures that have no TTL (no answer, refused, no record and no SOA) are remembered this long.
pub(super) const FAILURE_TTL: Duration = Duration::from_secs(2);

/// What was asked.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Asked {
    Addresses(String),
    Services(String),
}

/// What a name has.
#[derive(Clone, Debug)]
pub(super) enum Records {
    Addresses(Vec<IpAddr>),
    Services(Vec<Service>),
}

pub(super) type Answer = Result<Records, Failure>;

#[derive(Default)]
pub(super) struct Cache {
    entries: HashMap<Asked, Entry>,
}

struct Entry {
    until: Instant,
    used: Instant,
    answer: Answer,
}

impl Cache {
    pub fn get(&mut self, now: Instant, asked: &Asked) -> Option<Answer> {
        let entry = self.entries.get_mut(asked)?;
        if entry.until <= now {
            return None;
        }
        entry.used = now;
        Some(entry.answer.clone())
    }

    /// Keeps an answer for its TTL. Where there is no room the one goes that was used longest ago.
    pub fn insert(&mut self, now: Instant, asked: Asked, answer: Answer, ttl: Option<Duration>) {
        let ttl = match &answer {
            Ok(_) => ttl.unwrap_or_default().min(TTL_MAX),
            Err(_) => ttl.map_or(FAILURE_TTL, |ttl| ttl.min(NEGATIVE_TTL_MAX)),
        };
        if ttl.is_zero() {
            return;
        }
        if self.entries.len() >= CACHE_MAX && !self.entries.contains_key(&asked) {
            self.entries.retain(|_, entry| now < entry.until);
        }
        if self.entries.len() >= CACHE_MAX && !self.entries.contains_key(&asked) {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used);
            if let Some(oldest) = oldest.map(|(asked, _)| asked.clone()) {
                self.entries.remove(&oldest);
            }
        }
        let entry = Entry {
            until: now + ttl,
            used: now,
            answer,
        };
        self.entries.insert(asked, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_07_what_is_used_stays_and_the_rest_is_bounded() {
        let mut cache = Cache::default();
        let now = Instant::now();
        let name = |number: usize| Asked::Addresses(format!("n{number}.example"));
        let records = || Ok(Records::Addresses(Vec::new()));
        let minute = Some(Duration::from_secs(60));
        for number in 0..2 * CACHE_MAX {
            let now = now + Duration::from_millis(number as u64);
            cache.insert(now, name(number), records(), minute);
            assert!(cache.get(now, &name(0)).is_some(), "used all the time");
        }
        assert_eq!(cache.entries.len(), CACHE_MAX);
        assert!(cache.get(now, &name(1)).is_none(), "unused for longest");
        let later = now + Duration::from_secs(90);
        assert!(cache.get(later, &name(0)).is_none(), "over");
        cache.insert(now, name(0), records(), Some(Duration::ZERO));
        assert!(cache.get(later, &name(0)).is_none());
    }

    #[test]
    fn dns_07_failures_count_for_their_own_time() {
        let mut cache = Cache::default();
        let now = Instant::now();
        let name = || Asked::Services("_msrps._tcp.a.example".into());
        let hour = Some(Duration::from_secs(3600));
        for (ttl, lasts) in [(None, FAILURE_TTL), (hour, NEGATIVE_TTL_MAX)] {
            cache.insert(now, name(), Err(Failure::NoRecord), ttl);
            let end = now + lasts;
            let before = end - Duration::from_millis(1);
            assert!(matches!(cache.get(before, &name()), Some(Err(_))));
            assert!(cache.get(end, &name()).is_none());
        }
    }
}
