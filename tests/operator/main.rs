//! What the operator does, done with the real binary: check, config, dev, passwd, start, reload, end.

mod attacks;
mod call;
mod checking;
mod commands;
mod dashboards;
mod documents;
mod examples;
mod explaining;
mod integrating;
mod page;
mod place;
mod running;
mod signals;
mod systemd;
