//! A queue that usually holds one thing and then allocates nothing.

use std::collections::VecDeque;

/// First in, first out.
#[derive(Debug)]
pub(super) struct Few<T> {
    first: Option<T>,
    /// Boxed, for it is moved about more often than it is needed.
    #[allow(clippy::box_collection, reason = "see above")]
    rest: Option<Box<VecDeque<T>>>,
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self {
            first: None,
            rest: None,
        }
    }
}

impl<T> Few<T> {
    pub fn one(value: T) -> Self {
        Self {
            first: Some(value),
            rest: None,
        }
    }

    pub fn push_back(&mut self, value: T) {
        match self.first {
            None => self.first = Some(value),
            Some(_) => self.rest.get_or_insert_default().push_back(value),
        }
    }

    pub fn push_front(&mut self, value: T) {
        if let Some(first) = self.first.replace(value) {
            self.rest.get_or_insert_default().push_front(first);
        }
    }

    pub fn pop_front(&mut self) -> Option<T> {
        let next = self.rest.as_mut().and_then(|rest| rest.pop_front());
        let first = std::mem::replace(&mut self.first, next);
        if self.first.is_none() {
            // A burst must not keep its memory for ever.
            self.rest = None;
        }
        first
    }

    pub fn pop_back(&mut self) -> Option<T> {
        let last = self.rest.as_mut().and_then(|rest| rest.pop_back());
        last.or_else(|| self.first.take())
    }

    /// Takes out the first for which `leaves` holds.
    pub fn take_first(&mut self, mut leaves: impl FnMut(&T) -> bool) -> Option<T> {
        if leaves(self.first.as_ref()?) {
            return self.pop_front();
        }
        let rest = self.rest.as_mut()?;
        let index = rest.iter().position(leaves)?;
        rest.remove(index)
    }

    pub fn front(&self) -> Option<&T> {
        self.first.as_ref()
    }

    pub fn front_mut(&mut self) -> Option<&mut T> {
        self.first.as_mut()
    }

    pub fn back_mut(&mut self) -> Option<&mut T> {
        let last = self.rest.as_mut().and_then(|rest| rest.back_mut());
        last.or(self.first.as_mut())
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.first
            .iter()
            .chain(self.rest.iter().flat_map(|rest| rest.iter()))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let rest = self.rest.iter_mut().flat_map(|rest| rest.iter_mut());
        self.first.iter_mut().chain(rest)
    }

    /// Gives back memory that nothing is kept in.
    pub fn shrink(&mut self) {
        if let Some(rest) = &mut self.rest {
            rest.shrink_to_fit();
        }
    }

    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.as_ref().map_or(0, |rest| rest.len())
    }
}
