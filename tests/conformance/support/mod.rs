//! The world around the relay: certificates, names, clients, foreign peers, and the relay itself.

pub mod assembly;
pub mod auth;
pub mod client;
pub mod dns;
pub mod link;
pub mod message;
pub mod peer;
pub mod pki;
pub mod random;
pub mod relay;
pub mod relay2;
pub mod run;
pub mod tls;
pub mod web;
