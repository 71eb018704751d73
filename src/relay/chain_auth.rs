//! AUTHs on their way to further relays (AUT-23). A next relay may lie about what the user's credentials
//! are worth, and about whose they are: only the chain through it suffers, not what else the user has here.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::auth::realms;
use crate::metrics::RefusalReason;
use crate::wire::{Authority, Head, Uri};

use super::Relay;
use super::command::{CloseReason, Refusal};
use super::keys::ConnectionKey;
use super::limits::{CHAINS_MEMORY, CHAINS_REMEMBERED};
use super::transaction::{Forwarded, ForwardedAuth};

/// Refused credentials of one connection, by the relay that they were for.
#[derive(Default)]
pub(super) struct FailedChains {
    targets: BTreeMap<Authority, u32>,
    /// Of all relays that there was no place for.
    others: u32,
    /// When the last of them failed.
    last: Option<Instant>,
}

impl FailedChains {
    /// A user who has mistyped now and then is no guesser.
    fn forget_old(&mut self, now: Instant) {
        let is_old = |last| now.saturating_duration_since(last) >= CHAINS_MEMORY;
        if self.last.is_some_and(is_old) {
            *self = Self::default();
        }
    }

    fn count(&mut self, target: &Authority) -> &mut u32 {
        if self.targets.len() >= CHAINS_REMEMBERED && !self.targets.contains_key(target) {
            return &mut self.others;
        }
        self.targets.entry(target.clone()).or_default()
    }

    fn failures(&self, target: &Authority) -> u32 {
        match self.targets.get(target) {
            Some(failures) => *failures,
            None if self.targets.len() >= CHAINS_REMEMBERED => self.others,
            None => 0,
        }
    }
}

/// What a forwarded AUTH's answer will be judged by.
pub(super) fn forwarded_auth(head: &Head) -> ForwardedAuth {
    let last = head.to_path().last().map(Uri::parse);
    let target = match last {
        Some(Ok(last)) if head.authorization().is_some() => Some(Box::new(Authority {
            host: last.canonical_host().bare(),
            ..last.authority()
        })),
        _ => None,
    };
    ForwardedAuth {
        credentials_for: target,
    }
}

impl Relay {
    /// Why this AUTH goes no further, if so: the relay that it is for has refused several of this
    /// connection's. Whoever goes on all the same guesses, and is closed after as many again.
    pub(super) fn chain_is_exhausted(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        head: &Head,
    ) -> Option<Refusal> {
        let bound = self.settings.limits.auth_failures;
        let target = forwarded_auth(head).credentials_for?;
        let connection = self.connections.get_mut(key)?;
        let failed = connection.failed_chains.as_mut()?;
        failed.forget_old(now);
        if failed.failures(&target) < bound {
            return None;
        }
        let failures = failed.count(&target);
        *failures = failures.saturating_add(1);
        if *failures > bound.saturating_mul(2) {
            self.close(now, key, CloseReason::TooManyAuthFailures);
        }
        Some(Refusal::FORBIDDEN)
    }

    /// A further relay has refused credentials of this connection.
    pub(super) fn chain_failed(&mut self, now: Instant, key: ConnectionKey, target: &Authority) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        // A relay speaks for many, and each of them is counted where it is known.
        if connection.speaks_for_many() || connection.dialled.is_some() {
            return;
        }
        let failed = connection.failed_chains.get_or_insert_default();
        failed.forget_old(now);
        failed.last = Some(now);
        let failures = failed.count(target);
        *failures = failures.saturating_add(1);
        self.recount_own(key);
    }

    /// Whether an answer from elsewhere asks for credentials that are for us. A client would give
    /// them to whoever asks. Relays that the operator lists may be of one realm with us.
    pub(super) fn asks_for_ours(
        &mut self,
        head: &Head,
        forwarded: &Forwarded,
        from: ConnectionKey,
    ) -> bool {
        if forwarded.auth.is_none() && head.www_authenticate().next().is_none() {
            return false;
        }
        let link = self.connections.get(from);
        let names = link.and_then(|link| link.verified.as_ref());
        let listed = |entry: &String| names.is_some_and(|names| names.matches(entry));
        if self.settings.peers_allow.iter().any(listed) {
            return false;
        }
        let served = || self.settings.hosts.iter().chain(&self.settings.domains);
        let ours = |realm: &[u8]| {
            served().any(|host| self.auth.realm(host).as_bytes().eq_ignore_ascii_case(realm))
        };
        let asks = head
            .www_authenticate()
            .any(|value| realms(value).iter().any(|realm| ours(realm)));
        if asks {
            self.metrics.refusal(RefusalReason::ForeignChallenge);
        }
        asks
    }
}
