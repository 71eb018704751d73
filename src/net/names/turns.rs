//! Turns at the name servers: so many questions under way in all and on behalf of one asker; what
//! exceeds that waits, and the askers take turns. Whoever asks for names that no server answers
//! for waits for himself.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use tokio::sync::oneshot;

/// Asks for what the relay itself needs, and has no bound but that of all.
const RELAY: u64 = 0;

/// Questions under way and those that wait.
pub(super) struct Turns {
    inner: RefCell<Inner>,
    under_way_max: usize,
    of_one_max: usize,
}

#[derive(Default)]
struct Inner {
    under_way: usize,
    askers: HashMap<u64, Asker>,
    /// Askers that have something waiting, in turn; each stands here at most once.
    ring: VecDeque<u64>,
}

#[derive(Default)]
struct Asker {
    under_way: usize,
    waiting: VecDeque<oneshot::Sender<Turn>>,
    in_ring: bool,
}

/// A question may be put as long as this lives.
pub(super) struct Turn {
    turns: Rc<Turns>,
    asker: u64,
}

impl Turns {
    pub fn new(under_way_max: usize, of_one_max: usize) -> Rc<Self> {
        Rc::new(Self {
            inner: RefCell::default(),
            under_way_max,
            of_one_max,
        })
    }

    /// Waits for a turn. How long is the caller's affair: a wait that is given up costs nobody his.
    pub async fn take(self: &Rc<Self>, asker: u64) -> Turn {
        loop {
            let (sender, receiver) = oneshot::channel();
            {
                let mut inner = self.inner.borrow_mut();
                let of_one = inner.askers.entry(asker).or_default();
                of_one.waiting.push_back(sender);
                inner.stand_in_ring(asker);
            }
            self.serve();
            if let Ok(turn) = receiver.await {
                return turn;
            }
        }
    }

    /// Gives what is free to whose turn it is.
    fn serve(self: &Rc<Self>) {
        loop {
            let Some((asker, sender)) = self.next() else {
                return;
            };
            let turn = Turn {
                turns: self.clone(),
                asker,
            };
            // Whoever has given up meanwhile gives it back by dropping it, which serves again.
            drop(sender.send(turn));
        }
    }

    fn next(&self) -> Option<(u64, oneshot::Sender<Turn>)> {
        let mut inner = self.inner.borrow_mut();
        while inner.under_way < self.under_way_max {
            let asker = inner.ring.pop_front()?;
            let Some(of_one) = inner.askers.get_mut(&asker) else {
                continue;
            };
            of_one.in_ring = false;
            of_one.waiting.retain(|waiting| !waiting.is_closed());
            // With his share used up he comes back into the ring when one of his questions ends.
            if (of_one.under_way < self.of_one_max || asker == RELAY)
                && let Some(sender) = of_one.waiting.pop_front()
            {
                of_one.under_way += 1;
                inner.under_way += 1;
                inner.stand_in_ring(asker);
                return Some((asker, sender));
            }
            inner.forget_if_idle(asker);
        }
        None
    }
}

impl Inner {
    fn stand_in_ring(&mut self, asker: u64) {
        if let Some(of_one) = self.askers.get_mut(&asker)
            && !of_one.in_ring
            && !of_one.waiting.is_empty()
        {
            of_one.in_ring = true;
            self.ring.push_back(asker);
        }
    }

    fn forget_if_idle(&mut self, asker: u64) {
        let idle =
            |of_one: &Asker| of_one.under_way == 0 && of_one.waiting.is_empty() && !of_one.in_ring;
        if self.askers.get(&asker).is_some_and(idle) {
            self.askers.remove(&asker);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        {
            let mut inner = self.turns.inner.borrow_mut();
            inner.under_way -= 1;
            if let Some(of_one) = inner.askers.get_mut(&self.asker) {
                of_one.under_way -= 1;
            }
            inner.stand_in_ring(self.asker);
            inner.forget_if_idle(self.asker);
        }
        self.turns.clone().serve();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let tasks = tokio::task::LocalSet::new();
        tasks.block_on(&runtime.expect("a runtime"), test);
    }

    /// Who has got a turn, as far as they go now.
    async fn settled() {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    fn takes(turns: &Rc<Turns>, asker: u64, got: &Rc<RefCell<Vec<(u64, Turn)>>>) {
        let (turns, got) = (turns.clone(), got.clone());
        tokio::task::spawn_local(async move {
            let turn = turns.take(asker).await;
            got.borrow_mut().push((asker, turn));
        });
    }

    #[test]
    fn dns_07_one_asker_has_his_share_and_the_others_take_turns() {
        run(async {
            let turns = Turns::new(4, 2);
            let got = Rc::new(RefCell::new(Vec::new()));
            for _ in 0..10 {
                takes(&turns, 1, &got);
            }
            settled().await;
            assert_eq!(got.borrow().len(), 2, "his share");
            for asker in [2, 3, 2, 3] {
                takes(&turns, asker, &got);
            }
            settled().await;
            let order = |got: &Vec<(u64, Turn)>| -> Vec<u64> {
                got.iter().map(|(asker, _)| *asker).collect()
            };
            assert_eq!(order(&got.borrow()), [1, 1, 2, 3], "all");
            for _ in 0..6 {
                let ended = got.borrow_mut().remove(0);
                drop(ended);
                settled().await;
                let got = order(&got.borrow());
                let of_first = got.iter().filter(|asker| **asker == 1).count();
                assert!(of_first <= 2, "{got:?}");
            }
            drop(got.take());
            settled().await;
        });
    }

    #[test]
    fn dns_07_a_wait_that_is_given_up_costs_nobody_his_turn() {
        run(async {
            let turns = Turns::new(1, 1);
            let first = turns.take(1).await;
            let given_up = tokio::task::spawn_local({
                let turns = turns.clone();
                async move { drop(turns.take(1).await) }
            });
            settled().await;
            given_up.abort();
            settled().await;
            drop(first);
            drop(turns.take(2).await);
            let inner = turns.inner.borrow();
            assert_eq!(inner.under_way, 0);
            assert!(inner.askers.is_empty() && inner.ring.is_empty());
        });
    }
}
