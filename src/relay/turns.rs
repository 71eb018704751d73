//! Whose turn it is among the flows of one connection: deficit round robin in octets.
//!
//! Who comes anew goes first, for one turn. Whoever has had that turn stands at the end of the
//! line, with or without something to send, until the line has come to him: so nobody gains by
//! leaving and coming back. Nothing here looks at more flows than it passes by.

use std::collections::{BTreeSet, VecDeque};

use super::flow::{Flow, Flows, Turn};
use super::keys::FlowKey;
use super::limits::QUANTUM_OCTETS;

/// Keys of flows that have ended and still stand in line, before they are cleared away.
const STALE_MAX: usize = 64;

#[derive(Default)]
pub(super) struct Turns {
    new: VecDeque<FlowKey>,
    old: VecDeque<FlowKey>,
    /// Keys in line whose flows have ended.
    stale: usize,
    /// Flows that had to leave the line to wait for answers, and may be in it again.
    waiting: BTreeSet<FlowKey>,
    /// The connection is not read, and so no answer comes by it: nobody waits for one. Two
    /// connections whose films wait for answers by one another would do so for ever.
    pub unread: bool,
}

impl Turns {
    /// The flow has something to send, and did not stand in line.
    pub fn come(&mut self, key: FlowKey, flow: &mut Flow) {
        if flow.turn == Turn::None {
            flow.turn = Turn::New;
            self.new.push_back(key);
        }
    }

    /// The flow has had its turn, or waited for something else than its turn.
    pub fn come_last(&mut self, key: FlowKey, flow: &mut Flow) {
        if flow.turn == Turn::None {
            flow.turn = Turn::Old;
            self.old.push_back(key);
        }
    }

    /// The flow stands aside until there are answers.
    pub fn wait(&mut self, key: FlowKey) {
        self.waiting.insert(key);
    }

    /// The connection is read from now on, or no more. Then nobody waits for answers: they come
    /// last.
    pub fn set_unread(&mut self, unread: bool, flows: &mut Flows) {
        self.unread = unread;
        if !unread {
            return;
        }
        for key in std::mem::take(&mut self.waiting) {
            if let Some(flow) = flows.get_mut(key)
                && flow.is_ready(true)
            {
                self.come_last(key, flow);
            }
        }
    }

    /// A flow that was just taken out of `flows`.
    pub fn forget(&mut self, key: FlowKey, flow: &Flow, flows: &Flows) {
        self.waiting.remove(&key);
        if flow.turn == Turn::None {
            return;
        }
        self.stale += 1;
        if self.stale > STALE_MAX + (self.new.len() + self.old.len()) / 2 {
            self.new.retain(|key| flows.contains(*key));
            self.old.retain(|key| flows.contains(*key));
            self.stale = 0;
        }
    }

    /// Whether a flow waits that has something to send. Those before it that have nothing
    /// leave: their turn has come.
    pub fn is_waited_for(&mut self, flows: &mut Flows) -> bool {
        loop {
            let Some(key) = self.new.front().or_else(|| self.old.front()) else {
                return false;
            };
            match flows.get_mut(*key) {
                Some(flow) if flow.is_ready(self.unread) => return true,
                Some(flow) => {
                    flow.turn = Turn::None;
                    if flow.waits_for_answers() {
                        self.waiting.insert(*key);
                    }
                }
                None => self.stale = self.stale.saturating_sub(1),
            }
            self.pop();
        }
    }

    /// The flow whose turn it is, with a quantum more to send.
    pub fn next(&mut self, flows: &mut Flows) -> Option<FlowKey> {
        if !self.is_waited_for(flows) {
            return None;
        }
        let key = self.pop()?;
        let flow = flows.get_mut(key).expect("it waits");
        flow.turn = Turn::None;
        flow.deficit = (flow.deficit + QUANTUM_OCTETS as isize).min(QUANTUM_OCTETS as isize);
        Some(key)
    }

    fn pop(&mut self) -> Option<FlowKey> {
        self.new.pop_front().or_else(|| self.old.pop_front())
    }
}
