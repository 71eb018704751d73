//! Rows found, and users that there are not, for a while.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::directory::Row;

/// Users remembered of each kind: whoever makes up names must not push out those that there are.
const REMEMBERED_MAX: usize = 16_384;

type User = (Arc<str>, Arc<str>);

pub(super) struct Memory {
    known: HashMap<User, (Instant, Arc<Row>)>,
    nobody: HashMap<User, Instant>,
    cache: Duration,
    negative_cache: Duration,
}

impl Memory {
    pub fn new(cache: Duration, negative_cache: Duration) -> Self {
        Self {
            known: HashMap::new(),
            nobody: HashMap::new(),
            cache,
            negative_cache,
        }
    }

    /// The user's row, or that there is none; nothing if that is not known.
    pub fn get(
        &mut self,
        now: Instant,
        user: &Arc<str>,
        realm: &Arc<str>,
    ) -> Option<Option<Arc<Row>>> {
        let key = (user.clone(), realm.clone());
        if let Some((until, row)) = self.known.get(&key) {
            if now < *until {
                return Some(Some(row.clone()));
            }
            self.known.remove(&key);
        }
        if let Some(until) = self.nobody.get(&key) {
            if now < *until {
                return Some(None);
            }
            self.nobody.remove(&key);
        }
        None
    }

    pub fn put(&mut self, now: Instant, user: &Arc<str>, realm: &Arc<str>, row: Option<Arc<Row>>) {
        let key = (user.clone(), realm.clone());
        match row {
            Some(row) if !self.cache.is_zero() => {
                if self.known.len() >= REMEMBERED_MAX {
                    self.known.retain(|_, (until, _)| now < *until);
                }
                if self.known.len() < REMEMBERED_MAX {
                    self.known.insert(key, (now + self.cache, row));
                }
            }
            None if !self.negative_cache.is_zero() => {
                if self.nobody.len() >= REMEMBERED_MAX {
                    self.nobody.retain(|_, until| now < *until);
                }
                if self.nobody.len() < REMEMBERED_MAX {
                    self.nobody.insert(key, now + self.negative_cache);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_known_for_its_time() {
        let mut memory = Memory::new(Duration::from_secs(30), Duration::from_secs(10));
        let now = Instant::now();
        let (alice, bob, realm): (Arc<str>, Arc<str>, Arc<str>) =
            ("alice".into(), "bob".into(), "example.com".into());
        memory.put(now, &alice, &realm, Some(Arc::default()));
        memory.put(now, &bob, &realm, None);
        let after = |seconds| now + Duration::from_secs(seconds);
        assert!(matches!(
            memory.get(after(29), &alice, &realm),
            Some(Some(_))
        ));
        assert!(matches!(memory.get(after(9), &bob, &realm), Some(None)));
        assert!(memory.get(after(10), &bob, &realm).is_none());
        assert!(memory.get(after(30), &alice, &realm).is_none());
        assert!(memory.get(now, &alice, &"example.org".into()).is_none());
    }

    #[test]
    fn names_that_are_made_up_take_a_bounded_place_and_nobody_elses() {
        let mut memory = Memory::new(Duration::from_secs(30), Duration::from_secs(10));
        let now = Instant::now();
        let realm: Arc<str> = "example.com".into();
        let alice: Arc<str> = "alice".into();
        memory.put(now, &alice, &realm, Some(Arc::default()));
        for number in 0..2 * REMEMBERED_MAX {
            memory.put(now, &number.to_string().into(), &realm, None);
        }
        assert_eq!(memory.nobody.len(), REMEMBERED_MAX);
        assert!(matches!(memory.get(now, &alice, &realm), Some(Some(_))));
        let later = now + Duration::from_secs(11);
        memory.put(later, &"again".into(), &realm, None);
        assert_eq!(memory.nobody.len(), 1);
    }
}
