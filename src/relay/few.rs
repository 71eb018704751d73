//! A queue that usually holds one thing and then allocates nothing.

use std::collections::VecDeque;

/// First in, first out.
#[derive(Debug)]
pub(super) struct Few<T> {
    first: Option<T>,
    rest: VecDeque<T>,
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self {
            first: None,
            rest: VecDeque::new(),
        }
    }
}

impl<T> Few<T> {
    pub fn one(value: T) -> Self {
        Self {
            first: Some(value),
            rest: VecDeque::new(),
        }
    }

    pub fn push_back(&mut self, value: T) {
        match self.first {
            None => self.first = Some(value),
            Some(_) => self.rest.push_back(value),
        }
    }

    pub fn push_front(&mut self, value: T) {
        if let Some(first) = self.first.replace(value) {
            self.rest.push_front(first);
        }
    }

    pub fn pop_front(&mut self) -> Option<T> {
        let first = self.first.take()?;
        self.first = self.rest.pop_front();
        if self.first.is_none() {
            // A burst must not keep its memory for ever.
            self.rest = VecDeque::new();
        }
        Some(first)
    }

    pub fn pop_back(&mut self) -> Option<T> {
        self.rest.pop_back().or_else(|| self.first.take())
    }

    /// Takes out the first for which `leaves` holds.
    pub fn take_first(&mut self, mut leaves: impl FnMut(&T) -> bool) -> Option<T> {
        if leaves(self.first.as_ref()?) {
            return self.pop_front();
        }
        let index = self.rest.iter().position(leaves)?;
        self.rest.remove(index)
    }

    pub fn front(&self) -> Option<&T> {
        self.first.as_ref()
    }

    pub fn front_mut(&mut self) -> Option<&mut T> {
        self.first.as_mut()
    }

    pub fn back_mut(&mut self) -> Option<&mut T> {
        if self.rest.is_empty() {
            self.first.as_mut()
        } else {
            self.rest.back_mut()
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(self.rest.iter())
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.first.iter_mut().chain(self.rest.iter_mut())
    }

    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }
}
