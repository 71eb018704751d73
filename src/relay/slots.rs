//! A slab whose keys carry a generation, so that a key that outlived its value never names
//! its successor. Relations inside the machine are such keys, not references.

use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;

/// A key of [`Slots`]; made by the `key!` macro, one type for each kind of value.
pub trait Key: Copy + Eq + Hash + fmt::Debug {
    /// Makes a key of its parts.
    fn new(slot: u32, generation: u32) -> Self;
    /// Place in the slab.
    fn slot(self) -> usize;
    /// How often the place had been used before.
    fn generation(self) -> u32;
}

/// Declares a key type.
macro_rules! key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub struct $name {
            slot: u32,
            generation: u32,
        }
        impl $crate::relay::slots::Key for $name {
            fn new(slot: u32, generation: u32) -> Self {
                Self { slot, generation }
            }
            fn slot(self) -> usize {
                self.slot as usize
            }
            fn generation(self) -> u32 {
                self.generation
            }
        }
    };
}
pub(crate) use key;

struct Slot<V> {
    generation: u32,
    value: Option<V>,
}

/// Places that a table keeps, used or not.
const KEPT: usize = 256;

/// Values by generational key.
pub struct Slots<K, V> {
    slots: Vec<Slot<V>>,
    free: Vec<u32>,
    /// What a new place begins with: more than any that was given back had.
    generation: u32,
    len: usize,
    /// Places that are neither used nor free.
    held: usize,
    key: PhantomData<K>,
}

impl<K: Key, V> Default for Slots<K, V> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            generation: 0,
            len: 0,
            held: 0,
            key: PhantomData,
        }
    }
}

impl<K: Key, V> Slots<K, V> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn insert(&mut self, value: V) -> K {
        self.len += 1;
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            slot.value = Some(value);
            return K::new(index, slot.generation);
        }
        let index = u32::try_from(self.slots.len())
            .expect("fewer than 2^32 slots: each is bounded by a limit");
        let generation = self.generation;
        self.slots.push(Slot {
            generation,
            value: Some(value),
        });
        K::new(index, generation)
    }

    pub fn remove(&mut self, key: K) -> Option<V> {
        let value = self.take_out(key)?;
        self.free_place(key);
        Some(value)
    }

    /// The key names nothing from here on, but nothing comes to its place until
    /// [`free_place`](Self::free_place): for tables that go by places.
    pub fn take_out(&mut self, key: K) -> Option<V> {
        let slot = self.slots.get_mut(key.slot())?;
        if slot.generation != key.generation() {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.len -= 1;
        self.held += 1;
        Some(value)
    }

    /// The place of a value that was taken out, once for each, may be used again.
    pub fn free_place(&mut self, key: K) {
        self.held -= 1;
        self.free.push(key.slot() as u32);
    }

    pub fn get(&self, key: K) -> Option<&V> {
        let slot = self.slots.get(key.slot())?;
        if slot.generation != key.generation() {
            return None;
        }
        slot.value.as_ref()
    }

    pub fn get_mut(&mut self, key: K) -> Option<&mut V> {
        let slot = self.slots.get_mut(key.slot())?;
        if slot.generation != key.generation() {
            return None;
        }
        slot.value.as_mut()
    }

    pub fn contains(&self, key: K) -> bool {
        self.get(key).is_some()
    }

    /// In the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            slot.value
                .as_ref()
                .map(|value| (K::new(index as u32, slot.generation), value))
        })
    }

    /// Gives back the memory of places at the end that nothing is in, if many are free. Those at the
    /// front are used first from here on. No key that was given out names what comes there later.
    pub fn give_back(&mut self) {
        if self.held > 0 || self.slots.len() < KEPT || self.len * 4 > self.slots.len() {
            return;
        }
        while let Some(last) = self.slots.pop_if(|slot| slot.value.is_none()) {
            self.generation = self.generation.max(last.generation.wrapping_add(1));
        }
        let places = self.slots.len() as u32;
        self.free.retain(|index| *index < places);
        self.free.sort_unstable_by(|one, other| other.cmp(one));
        self.slots.shrink_to(KEPT);
        self.free.shrink_to(KEPT);
    }

    /// How many places there are, in use or not.
    #[cfg(test)]
    pub fn places(&self) -> usize {
        self.slots.capacity()
    }

    /// The values, in the order of their places.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.slots.iter_mut().filter_map(|slot| slot.value.as_mut())
    }

    pub fn keys(&self) -> Vec<K> {
        self.iter().map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    key!(TestKey);

    #[test]
    fn a_key_never_names_the_successor_of_its_value() {
        let mut slots: Slots<TestKey, &str> = Slots::default();
        let first = slots.insert("first");
        assert_eq!(slots.remove(first), Some("first"));
        let second = slots.insert("second");
        assert_eq!(first.slot(), second.slot());
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get(second), Some(&"second"));
        assert_eq!(slots.len(), 1);
    }

    #[test]
    fn places_that_are_free_are_given_back_and_their_keys_stay_void() {
        let mut slots: Slots<TestKey, usize> = Slots::default();
        let keys: Vec<TestKey> = (0..10_000).map(|number| slots.insert(number)).collect();
        for key in keys.iter().skip(1) {
            slots.remove(*key);
        }
        slots.give_back();
        assert!(slots.places() <= KEPT);
        let again: Vec<TestKey> = (0..10_000).map(|number| slots.insert(number)).collect();
        assert!(keys.iter().skip(1).all(|key| slots.get(*key).is_none()));
        assert_eq!(slots.get(keys[0]), Some(&0));
        assert_eq!(again[0].slot(), 1, "the front is used first");
        assert!(
            again
                .iter()
                .enumerate()
                .all(|(number, key)| slots.get(*key) == Some(&number))
        );
    }
}
