//! Protocol sentences, each played against the machine.

mod chains;
mod forwarding;
mod links;
mod pausing;
mod refusals;
