//! Requests of one connection that may still be answered, found by the number in their
//! transact-id.

use std::collections::VecDeque;

use crate::ids::{self, TID_OCTETS};

/// What a response with this transact-id would answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    Auth,
    /// The first, bodiless SEND of a session.
    Binding {
        session: usize,
    },
    /// Octets `from..to` of a message.
    Chunk {
        session: usize,
        message: u64,
        from: u64,
        to: u64,
    },
    Answered,
}

pub struct Requests {
    salt: [u8; 4],
    base: u64,
    open: VecDeque<Request>,
}

impl Requests {
    pub fn new() -> Self {
        Self {
            salt: ids::letters(),
            base: 0,
            open: VecDeque::new(),
        }
    }

    /// Remembers a request. `remembered_max` bounds those whose answer may never come.
    pub fn push(&mut self, request: Request, remembered_max: usize) -> [u8; TID_OCTETS] {
        while self.open.len() >= remembered_max {
            self.open.pop_front();
            self.base += 1;
        }
        self.open.push_back(request);
        ids::tid(self.salt, self.base + self.open.len() as u64 - 1)
    }

    /// The chunk that has this transact-id ended early, at `end`.
    pub fn shorten(&mut self, tid: &[u8], end: u64) {
        let place = ids::tid_number(self.salt, tid)
            .and_then(|number| usize::try_from(number.checked_sub(self.base)?).ok());
        if let Some(Request::Chunk { to, .. }) = place.and_then(|place| self.open.get_mut(place)) {
            *to = end;
        }
    }

    /// The request that has this transact-id, if it was not answered before.
    pub fn take(&mut self, tid: &[u8]) -> Option<Request> {
        let number = ids::tid_number(self.salt, tid)?;
        let place = usize::try_from(number.checked_sub(self.base)?).ok()?;
        let request = std::mem::replace(self.open.get_mut(place)?, Request::Answered);
        while self.open.front() == Some(&Request::Answered) {
            self.open.pop_front();
            self.base += 1;
        }
        (request != Request::Answered).then_some(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_answered_once() {
        let mut requests = Requests::new();
        let first = requests.push(Request::Auth, 10);
        let second = requests.push(Request::Binding { session: 1 }, 10);
        assert_eq!(
            requests.take(&second),
            Some(Request::Binding { session: 1 })
        );
        assert_eq!(requests.take(&second), None);
        assert_eq!(requests.take(&first), Some(Request::Auth));
        assert_eq!(requests.take(&first), None);
        assert_eq!(requests.take(b"stranger"), None);
    }

    #[test]
    fn an_interrupted_chunk_is_answered_as_far_as_it_went() {
        let mut requests = Requests::new();
        let chunk = |to| Request::Chunk {
            session: 1,
            message: 2,
            from: 10,
            to,
        };
        let tid = requests.push(chunk(100), 10);
        requests.shorten(&tid, 60);
        assert_eq!(requests.take(&tid), Some(chunk(60)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut requests = Requests::new();
        let first = requests.push(Request::Auth, 2);
        let second = requests.push(Request::Auth, 2);
        requests.push(Request::Auth, 2);
        assert_eq!(requests.take(&first), None);
        assert!(requests.take(&second).is_some());
    }
}
