//! Protocol sentences, each played against the machine.

mod chains;
mod forwarding;
mod pausing;
mod refusals;
