//! Protocol sentences, each played against the machine.

mod forwarding;
mod pausing;
mod refusals;
