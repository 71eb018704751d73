//! The chat page of `web/`, with the users of the folder to choose from.

use std::net::SocketAddr;
use std::path::Path;

use crate::admin::Page;
use crate::config::{self, Config, Listen, Transport};

/// Whether a relay with this configuration has what the page connects to.
pub(super) fn is_served(config: &Path) -> bool {
    let listeners = config::load(config).config.listen;
    listeners.iter().any(is_for_browsers)
}

fn is_for_browsers(listen: &Listen) -> bool {
    listen.transport == Transport::Ws && listen.address.ip().is_loopback()
}

/// Users whose passwords the page may tell.
#[derive(Default)]
pub struct PageUsers(Vec<(String, String)>);

impl PageUsers {
    /// Those that `dev.toml` lists; none where it cannot be read.
    pub(super) fn of(folder: &Path) -> Self {
        let dev = super::read_dev(folder).unwrap_or_default();
        Self(super::users_of(&dev).unwrap_or_default())
    }

    /// The page, where the operator's changes to the file leave room for it: there is a WebSocket listener that needs no
    /// certificate, and nobody but this machine gets to read the passwords.
    pub fn page(
        &self,
        config: &Config,
        bound: &[SocketAddr],
        admin: Option<SocketAddr>,
    ) -> Option<Page> {
        let mut listeners = config.listen.iter().zip(bound);
        let socket = listeners
            .find(|(listen, _)| is_for_browsers(listen))
            .map(|(_, bound)| *bound)?;
        admin.filter(|admin| admin.ip().is_loopback())?;
        let host = config.relay.hosts.first().map(ToString::to_string);
        let users: Vec<_> = self
            .0
            .iter()
            .map(|(name, password)| serde_json::json!({ "name": name, "password": password }))
            .collect();
        let settings = serde_json::json!({
            "url": format!("ws://{socket}/"),
            "domain": host.unwrap_or_default(),
            "users": users,
        });
        Some(Page::new(settings.to_string(), socket))
    }
}
