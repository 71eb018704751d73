//! Protocol sentences, each played against the machine.

mod chains;
mod chunks;
mod claims;
mod closing;
mod dials;
mod exempt;
mod fairness;
mod film_links;
mod forwarding;
mod head_bounds;
mod hops;
mod huge;
mod links;
mod looking_up;
mod odd_responses;
mod pacing;
mod pausing;
mod quotas;
mod ranges;
mod records;
mod refresh;
mod refusals;
mod short_walk;
mod signals;
mod slow_receivers;
mod uses;
