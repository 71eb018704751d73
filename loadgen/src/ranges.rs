//! A set of octet positions, kept as ranges. Octets mostly come in order, so the first range is
//! kept inline and nothing is allocated until there is a hole.

/// Half-open ranges, apart from each other, rising.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    first: (u64, u64),
    more: Vec<(u64, u64)>,
}

impl Ranges {
    /// Adds `from..to`; returns how many of these positions were in the set already.
    pub fn insert(&mut self, from: u64, to: u64) -> u64 {
        if from >= to {
            return 0;
        }
        if self.more.is_empty() && self.first.1 == from {
            if self.first.0 == self.first.1 {
                self.first.0 = from;
            }
            self.first.1 = to;
            return 0;
        }
        self.insert_anywhere(from, to)
    }

    fn insert_anywhere(&mut self, from: u64, to: u64) -> u64 {
        let (mut low, mut high, mut doubled) = (from, to, 0);
        let mut kept: Vec<(u64, u64)> = Vec::with_capacity(self.more.len() + 2);
        for (a, b) in self.iter() {
            if b < from || a > to {
                kept.push((a, b));
                continue;
            }
            doubled += b.min(to).saturating_sub(a.max(from));
            low = low.min(a);
            high = high.max(b);
        }
        let place = kept.partition_point(|&(a, _)| a < low);
        kept.insert(place, (low, high));
        self.first = kept.remove(0);
        self.more = kept;
        doubled
    }

    fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        std::iter::once(self.first)
            .filter(|(a, b)| a < b)
            .chain(self.more.iter().copied())
    }

    /// Whether everything below `end` is in the set.
    pub fn covers(&self, end: u64) -> bool {
        end == 0 || (self.first.0 == 0 && self.first.1 >= end)
    }

    /// The position after the last one.
    pub fn end(&self) -> u64 {
        self.more.last().unwrap_or(&self.first).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_and_doubles_are_counted() {
        let mut set = Ranges::default();
        assert_eq!(set.insert(0, 10), 0);
        assert_eq!(set.insert(10, 20), 0);
        assert!(set.covers(20) && !set.covers(21));
        assert_eq!(set.insert(30, 40), 0);
        assert_eq!(set.insert(50, 60), 0);
        assert!(!set.covers(40));
        assert_eq!(set.insert(15, 35), 10);
        assert_eq!(set.end(), 60);
        assert!(set.covers(40));
        assert_eq!(set.insert(40, 50), 0);
        assert!(set.covers(60));
        assert_eq!(set.insert(0, 60), 60);
    }

    #[test]
    fn a_set_that_begins_late_does_not_cover() {
        let mut set = Ranges::default();
        set.insert(5, 8);
        assert!(!set.covers(8));
        assert_eq!(set.insert(0, 5), 0);
        assert!(set.covers(8) && set.covers(0));
    }
}
